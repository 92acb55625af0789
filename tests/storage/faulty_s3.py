"""A proxy on loopback in front of S3: it notes every request, and disturbs those a test names."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE_S = 30


class Refused(NamedTuple):
    """The request goes no further, and is answered with that."""

    status: int
    code: str
    message: str = "as the test wants it"


class Lost(NamedTuple):
    """The request is passed on; of its answer, that many bytes of the body come back, or none."""

    body_bytes: int | None = None


class Request(NamedTuple):
    """What was asked, in S3's words."""

    method: str
    path: str
    query: str


Disturb = Callable[[Request], Refused | Lost | None]


class FaultyS3:
    """The proxy: `disturb` says what happens to a request, None is nothing."""

    def __init__(self, endpoint: str) -> None:
        self.requests: list[Request] = []
        self.disturb: Disturb = lambda _: None
        self._server = _server(self, urlsplit(endpoint).netloc)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def once(self, wanted: Callable[[Request], bool], fault: Refused | Lost) -> None:
        """Disturb the first such request."""
        left = [fault]
        self.disturb = lambda request: left.pop() if left and wanted(request) else None

    def always(self, wanted: Callable[[Request], bool], fault: Refused | Lost) -> None:
        """Disturb every such request."""
        self.disturb = lambda request: fault if wanted(request) else None

    @contextmanager
    def serving(self) -> Iterator["FaultyS3"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def _server(proxy: FaultyS3, upstream: str) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = urlsplit(self.path)
            request = Request(self.command, parts.path, parts.query)
            proxy.requests.append(request)
            fault = proxy.disturb(request)
            if isinstance(fault, Refused):
                told = f"<Code>{fault.code}</Code><Message>{fault.message}</Message>"
                self._answer(fault.status, [], f"<Error>{told}</Error>".encode())
                return
            status, headers, answer = self._passed_on(body)
            if fault is None:
                self._answer(status, headers, answer)
                return
            self.close_connection = True
            if fault.body_bytes is not None:
                self._answer(status, headers, answer, body_bytes=fault.body_bytes)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def _passed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = HTTPConnection(upstream, timeout=PATIENCE_S)
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def _answer(
            self,
            status: int,
            headers: list[tuple[str, str]],
            body: bytes,
            *,
            body_bytes: int | None = None,
        ) -> None:
            self.send_response_only(status)
            size = str(len(body))
            for name, value in headers:
                if name.lower() == "content-length":
                    size = value  # of an answer to HEAD, which has no body
                elif name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", size)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[:body_bytes])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server

"""A source of weights on loopback that knows ranges and ETags, and faults on demand."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from inference.provenance import Weights

PATH = "/weights.bin"


@dataclass
class Source:
    """One file, and how the next requests for it go wrong.

    `cut_after` has, for each coming request, the number of bytes after which it is cut off;
    `statuses` what it is answered with instead; `moves` the addresses by path that are elsewhere.
    """

    data: bytes
    etag: str = '"one"'
    knows_ranges: bool = True
    sends_length: bool = True
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    moves: dict[str, str] = field(default_factory=dict)
    range_offset: int = 0
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Answer a request as the faults want it."""
        if to.path in self.moves:
            to.send_response(302)
            to.send_header("Location", self.moves[to.path])
            to.end_headers()
            return
        asked = to.headers["Range"]
        self.asked.append(asked)
        if self.statuses:
            to.send_response(self.statuses.pop(0))
            to.end_headers()
            return
        start = 0
        if asked and self.knows_ranges and to.headers["If-Range"] == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            to.send_response(206)
            told = start + self.range_offset
            to.send_header("Content-Range", f"bytes {told}-{len(self.data) - 1}/{len(self.data)}")
        else:
            to.send_response(200)
        to.send_header("ETag", self.etag)
        if self.sends_length:
            to.send_header("Content-Length", str(len(self.data) - start))
        to.end_headers()
        body = self.data[start:]
        to.wfile.write(body[: self.cut_after.pop(0)] if self.cut_after else body)

    def row(self, *, data: bytes | None = None) -> Weights:
        """The catalogue's row of this file; of other bytes if `data` is given."""
        meant = self.data if data is None else data
        return Weights(
            id="weights",
            file="weights.bin",
            architecture="builtin",
            scale=2,
            licence="MIT",
            sha256=sha256(meant).hexdigest(),
            size_bytes=len(meant),
            attribution="nobody",
            url=f"{self.url}{PATH}",
        )


@contextmanager
def serving(source: Source, *, tls: ssl.SSLContext | None = None) -> Iterator[Source]:
    """Serve the source while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):  # clients leave when they have had enough
                source.answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    source.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield source
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Real servers on loopback, honest and hostile, and names that resolve as a test wants."""

import os
import socket
import socketserver
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import takewhile
from threading import Event, Thread

from jobs.wire import AddressInfo

Script = Callable[[socket.socket], None]
Answers = Mapping[str, bytes | Script]


class Server(socketserver.ThreadingTCPServer):
    """Keeps every request it is sent, and answers each path with bytes or by a script."""

    request_queue_size = 64

    def __init__(self, answers: Answers, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.requests: list[bytes] = []
        self.port = int(self.socket.getsockname()[1])
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def url(self, path: str = "/", *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


class _Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        with suppress(ConnectionError):  # clients leave when they have had enough
            lines = list(takewhile(bytes.strip, iter(self.rfile.readline, b"")))
            sizes = [int(line[15:]) for line in lines if line.startswith(b"Content-Length:")]
            self.server.requests.append(b"".join(lines) + b"\r\n" + self.rfile.read(sum(sizes)))
            answer = self.server.answers[lines[0].split()[1].decode()]
            script = sending(answer) if isinstance(answer, bytes) else answer
            script(self.connection)


@contextmanager
def serving(answers: Answers, *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server that runs while the block does."""
    with Server(answers, tls) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def listening(address: str = "127.0.0.1") -> Iterator[tuple[socket.socket, int]]:
    """A port that connections can be made to, though nobody accepts them."""
    with socket.create_server((address, 0)) as listener:
        listener.setblocking(False)
        yield listener, int(listener.getsockname()[1])


def is_untouched(listener: socket.socket) -> bool:
    """Whether nobody has connected."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


class Names:
    """A resolver that knows some names, each with one answer after another, and what it was asked.

    `Names({"a.test": [["127.0.0.1"], ["10.0.0.1"]]})` gives a.test another address the second time.
    """

    def __init__(self, turns: Mapping[str, list[list[str]]]) -> None:
        self._turns = {name: iter(answers) for name, answers in turns.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *, type: int) -> list[AddressInfo]:
        self.asked.append(host)
        addresses = next(self._turns.get(host, iter([])), None)
        if addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, type, 0, "", (address, port)) for address in addresses]


def ok(body: bytes, *headers: str) -> bytes:
    return status(200, f"Content-Length: {len(body)}", *headers) + body


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} -", *headers, "", ""]).encode()


def sending(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def endless(head: bytes, piece: bytes, *, pause_s: float = 0) -> Script:
    """Sends `head`, then `piece` for ever: fast as a flood, or with a pause as a drip."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while not Event().wait(pause_s):
            connection.sendall(piece)

    return send


def waiting(head: bytes) -> Script:
    """Sends `head`, then nothing until the client leaves."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        connection.recv(1)

    return send


def reset(head: bytes) -> Script:
    """Sends `head`, then resets the connection."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())

    return send

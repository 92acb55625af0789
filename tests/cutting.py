"""A proxy on loopback that cuts or mutes a connection once some bytes passed to the server."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class CuttingProxy:
    """Stands before a PostgreSQL server; its clients speak to it without encryption."""

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        assert upstream.hostname is not None
        assert upstream.port is not None
        self._upstream = (upstream.hostname, upstream.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = upstream_url.replace(f":{upstream.port}", f":{port}")
        self.cuts = 0
        self._needle: bytes | None = None
        self._stays_down = False
        self._mutes = False
        self._is_down = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve until the block ends."""
        accepting = threading.Thread(target=self._accept)
        accepting.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            accepting.join()
            for thread in self._threads:
                thread.join()

    def cut_after(self, needle: bytes, *, stay_down: bool = False) -> None:
        """Cut the first connection that sends these bytes, once the server has answered them; with
        `stay_down`, take no other until told to come back."""
        with self._lock:
            self._needle, self._stays_down, self._mutes = needle, stay_down, False

    def mute_after(self, needle: bytes) -> None:
        """Keep the first connection that sends these bytes open, and its answers to ourselves."""
        with self._lock:
            self._needle, self._stays_down, self._mutes = needle, False, True

    def come_back(self) -> None:
        """Take connections again."""
        with self._lock:
            self._is_down = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_down:
                client.close()
                continue
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as server, suppress(OSError):
            is_doomed = False
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    chunk = ready.recv(CHUNK_BYTES)
                    if not chunk:
                        return
                    if ready is server and is_doomed:
                        if self._mutes:
                            continue
                        return  # the answer is lost
                    (server if ready is client else client).sendall(chunk)
                    is_doomed = is_doomed or (ready is client and self._is_met(chunk))

    def _is_met(self, chunk: bytes) -> bool:
        with self._lock:
            if self._needle is None or self._needle not in chunk:
                return False
            self._needle = None
            self.cuts += 1
            self._is_down = self._stays_down
            return True

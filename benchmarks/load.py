"""A small HTTP load: prepared requests over keep-alive connections, counted by status.

The load shares its cores with the server it measures, so it costs as little as it can: requests are
bytes made beforehand, and of an answer only the status and the length are read.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Load:
    """What came back: how many answers by status, and how long each took."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers a second, whatever they said."""
        return len(self.latencies_s) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of the answers stayed under."""
        return sorted(self.latencies_s)[int(share * (len(self.latencies_s) - 1))] * 1000


def request(method: str, path: str, *, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request's bytes, for a keep-alive connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def send(port: int, prepared: bytes, *, clients: int, seconds: float) -> Load:
    """Send one request over and over from `clients` connections at once, for about `seconds`."""
    return asyncio.run(_send(port, prepared, clients=clients, seconds=seconds, each=None))


def send_once_each(port: int, prepared: bytes, *, clients: int) -> Load:
    """Send one request from each of `clients` connections, all at once."""
    return asyncio.run(_send(port, prepared, clients=clients, seconds=60, each=1))


async def _send(
    port: int, prepared: bytes, *, clients: int, seconds: float, each: int | None
) -> Load:
    load = Load()
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    begun = time.perf_counter()
    until = begun + seconds

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while time.perf_counter() < until and sent != each:
            sent += 1
            at = time.perf_counter()
            writer.write(prepared)
            status = await _answer(reader)
            load.latencies_s.append(time.perf_counter() - at)
            load.statuses[status] += 1
        writer.close()

    await asyncio.gather(*(client(*connection) for connection in connections))
    load.seconds = time.perf_counter() - begun
    return load


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split(b" ", 2)[1])

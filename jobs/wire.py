"""Sockets against the clock: looking names up, connecting, reading and writing by one deadline.

Everything here raises `TimeoutError` once the deadline has passed and another `OSError` for what
else goes wrong. It judges nothing: which addresses may be connected to is `jobs.outbound`'s affair.
"""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread

import httpcore2

from jobs.address_guard import Address, literal

MAX_CONNECT_TRIES = 4
MAX_LOOKUPS = 64

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
Resolve = Callable[..., Sequence[AddressInfo]]  # called as socket.getaddrinfo(host, port, type=...)


class Deadline:
    """A point in time, `deadline_s` after it was made."""

    def __init__(self, clock: Callable[[], float], deadline_s: float) -> None:
        self._clock = clock
        self._end_s = clock() + deadline_s

    def left_s(self) -> float:
        """The seconds until then, more than 0; raises `TimeoutError` when there are none."""
        left_s = self._end_s - self._clock()
        if left_s <= 0:
            raise TimeoutError
        return left_s


class Lookups:
    """Asks the resolver, whose call cannot be interrupted and may outlast any deadline.

    So each call has a daemon thread of its own, and a caller whose time is up leaves it behind.
    There are at most `max_lookups` such threads; while all are stuck, further callers wait.
    """

    def __init__(self, resolve: Resolve, *, max_lookups: int = MAX_LOOKUPS) -> None:
        self._resolve = resolve
        self._free = BoundedSemaphore(max_lookups)

    def addresses(self, host: str, port: int, *, deadline: Deadline) -> list[Address]:
        """All addresses of `host`, in the resolver's order of preference."""
        if not self._free.acquire(timeout=deadline.left_s()):
            raise TimeoutError
        answer: Future[Sequence[AddressInfo]] = Future()
        Thread(target=self._look_up, args=(host, port, answer), daemon=True).start()
        found = answer.result(timeout=deadline.left_s())
        return [_address(str(sockaddr[0])) for *_, sockaddr in found]

    def _look_up(self, host: str, port: int, answer: Future[Sequence[AddressInfo]]) -> None:
        try:
            answer.set_result(self._resolve(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            answer.set_exception(error)
        finally:
            self._free.release()


def _address(text: str) -> Address:
    address = literal(text)
    if address is None:
        raise OSError(f"the resolver answered {text!r}")
    return address


def dialled(addresses: Sequence[Address], port: int, *, deadline: Deadline) -> socket.socket:
    """A connection to the first of the addresses that takes one.

    Each try gets an equal share of the time left, so that a dead address does not use up all of it.
    """
    failure = OSError("no address")
    tries = addresses[:MAX_CONNECT_TRIES]
    for number, address in enumerate(tries):
        share_s = deadline.left_s() / (len(tries) - number)
        try:
            connected = socket.create_connection((str(address), port), timeout=share_s)
        except OSError as error:
            failure = error
        else:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connected
    raise failure


class Wire(httpcore2.NetworkStream):
    """A connected socket that takes no longer than the deadline and no more than `max_bytes`.

    The limit is on all that comes in, so it also bounds what a limit on the body does not see:
    heads, interim answers, the framing of chunks. httpcore2's own time-outs are ignored: they are
    per operation, and a drip never exceeds them.
    """

    def __init__(self, connected: socket.socket, *, deadline: Deadline, max_bytes: int) -> None:
        self._socket = connected
        self._deadline = deadline
        self._left_bytes = max_bytes

    def admit(self, more_bytes: int) -> None:
        """Raise the limit."""
        self._left_bytes += more_bytes

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        self._socket.settimeout(self._deadline.left_s())
        data = self._socket.recv(max_bytes)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise OSError("more bytes than allowed")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        unsent = memoryview(buffer)
        while unsent:
            self._socket.settimeout(self._deadline.left_s())
            unsent = unsent[self._send(unsent) :]

    def _send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except TimeoutError:
            raise
        except OSError as error:
            # Not the end: httpcore2 then reads what a server said before it stopped listening.
            raise httpcore2.WriteError from error

    def close(self) -> None:
        self._socket.close()

"""A proxy on loopback in front of DynamoDB that disturbs calls, by seed or as a test says."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE_S = 30
SLOW_S = 0.05
COMMIT = "TransactWriteItems"
BATCH = "BatchGetItem"
QUERY = "Query"
INDEX_QUERY = "Query of an index"


class Fault(Enum):
    """What happens to a call."""

    DROPPED = "it is made, and its answer is dropped"
    CUT = "it is made, and its answer ends early"
    LATE_ANSWER = "it is made, and its answer comes after the client has given up"
    LATE_CALL = "it is made only after the client has given up"
    SLOW = "it is made after a moment"
    DOUBLED = "it is made twice, and the second answer returned"
    FAILED_BEFORE = "it is answered with 500 and not made"
    FAILED_AFTER = "it is made and answered with 500"
    CONFLICT = "it is cancelled by another transaction"
    IN_PROGRESS = "it is made, and said to be under way still"
    THROTTLED = "it is throttled"
    UNDONE = "only its first item is read"
    STALE = "the index answers as it did when it was last asked the same undisturbed"

    def suits(self, operation: str) -> bool:
        """Whether it can happen to such a call."""
        only = {
            Fault.CONFLICT: COMMIT,
            Fault.IN_PROGRESS: COMMIT,
            Fault.UNDONE: BATCH,
            Fault.STALE: INDEX_QUERY,
        }
        return only.get(self, operation) == operation


Disturb = Callable[[str], Fault | None]
"""What happens to the next call of that operation; None is nothing."""


class FaultProxy:
    """The proxy. With a seed, one call in `every` is disturbed, by any fault that suits it.

    `late_s` is to be longer than the client waits. `faults` counts what was done, `calls` all.
    """

    def __init__(
        self, upstream: str, *, seed: int | None = None, every: int = 3, late_s: float = 1.0
    ) -> None:
        self.late_s = late_s
        self.calls = 0
        self.faults: Counter[Fault] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.disturb: Disturb = lambda _: None
        if seed is not None:
            self.disturb = one_in(every, seed=seed)
        self._index: dict[bytes, _Answer] = {}
        self._changed = threading.Condition()
        self._under_way = 0
        self._server = _server(self, urlsplit(upstream).netloc)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def once(self, fault: Fault, operation: str = COMMIT) -> None:
        """Disturb the next such call, and none after it."""
        self.first(1, fault, operation)

    def first(self, calls: int, fault: Fault, operation: str = COMMIT) -> None:
        """Disturb the next so many such calls."""
        left = [fault] * calls
        self.disturb = lambda called: left.pop() if left and called == operation else None

    def always(self, fault: Fault, operation: str = COMMIT) -> None:
        """Disturb every such call."""
        self.disturb = lambda called: fault if called == operation else None

    def settle(self) -> None:
        """Wait until no call is under way, the late ones included."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._under_way, PATIENCE_S)

    @contextmanager
    def serving(self) -> Iterator["FaultProxy"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
            self.settle()
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    @contextmanager
    def _call(self, operation: str, body: bytes) -> Iterator[Fault | None]:
        with self._changed:
            self.calls += 1
            self._under_way += 1
            if operation == COMMIT:
                self.bodies.append(json.loads(body))
            fault = self.disturb(operation)
            if fault is not None:
                self.faults[fault] += 1
        try:
            yield fault
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def one_in(every: int, *, seed: int) -> Disturb:
    """Disturbs one call in `every`, by any fault that suits it."""
    chance = random.Random(seed)

    def disturb(operation: str) -> Fault | None:
        if chance.randrange(every):
            return None
        return chance.choice([fault for fault in Fault if fault.suits(operation)])

    return disturb


def _refusal(status: int, code: str, **more: Any) -> _Answer:
    told = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "by the test"} | more
    return _Answer(status, [("Content-Type", "application/x-amz-json-1.0")], _json(told))


def _json(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode()


FAILED = _refusal(500, "InternalServerError")
IN_PROGRESS = _refusal(400, "TransactionInProgressException")
THROTTLED = _refusal(400, "ThrottlingException")


def _cancelled(body: bytes) -> _Answer:
    """All changes but the last are fine; that one collides."""
    others = len(json.loads(body)["TransactItems"]) - 1
    reasons = [{"Code": "None"}] * others + [{"Code": "TransactionConflict", "Message": "busy"}]
    return _refusal(400, "TransactionCanceledException", CancellationReasons=reasons)


def _server(proxy: FaultProxy, upstream: str) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            if operation == QUERY and b'"IndexName"' in body:
                operation = INDEX_QUERY
            with proxy._call(operation, body) as fault:
                try:
                    self._serve(body, fault)
                except ConnectionError:  # the client has given up
                    self.close_connection = True

        def _serve(self, body: bytes, fault: Fault | None) -> None:
            match fault:
                case None:
                    answer = self._made(body)
                    if b'"IndexName"' in body:
                        proxy._index[body] = answer
                    self._answer(answer)
                case Fault.STALE:
                    self._answer(proxy._index.get(body) or self._made(body))
                case Fault.DROPPED:
                    self._made(body)
                    self.close_connection = True
                case Fault.CUT:
                    self._answer(self._made(body), is_cut=True)
                case Fault.LATE_ANSWER:
                    answer = self._made(body)
                    _pass(proxy.late_s)
                    self._answer(answer)
                case Fault.LATE_CALL:
                    _pass(proxy.late_s)
                    self._answer(self._made(body))
                case Fault.SLOW:
                    _pass(SLOW_S)
                    self._answer(self._made(body))
                case Fault.DOUBLED:
                    self._made(body)
                    self._answer(self._made(body))
                case Fault.FAILED_BEFORE:
                    self._answer(FAILED)
                case Fault.FAILED_AFTER:
                    self._made(body)
                    self._answer(FAILED)
                case Fault.CONFLICT:
                    self._answer(_cancelled(body))
                case Fault.IN_PROGRESS:
                    self._made(body)
                    self._answer(IN_PROGRESS)
                case Fault.THROTTLED:
                    self._answer(THROTTLED)
                case Fault.UNDONE:
                    self._answer(self._half_read(body))

        def _made(self, body: bytes) -> _Answer:
            connection = HTTPConnection(upstream, timeout=PATIENCE_S)
            try:
                connection.request("POST", self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                return _Answer(answer.status, answer.getheaders(), answer.read())
            finally:
                connection.close()

        def _half_read(self, body: bytes) -> _Answer:
            request = json.loads(body)
            ((table, asked),) = request["RequestItems"].items()
            keys = asked["Keys"]
            first = request | {"RequestItems": {table: asked | {"Keys": keys[:1]}}}
            del self.headers["Content-Length"]
            answer = self._made(_json(first))
            left = {table: asked | {"Keys": keys[1:]}} if keys[1:] else {}
            told = json.loads(answer.body) | {"UnprocessedKeys": left}
            return answer._replace(body=_json(told))

        def _answer(self, answer: _Answer, *, is_cut: bool = False) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", f"{len(answer.body)}")
            self.end_headers()
            if is_cut:
                self.close_connection = True
            else:
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.request_queue_size = 128
    return server


def _pass(seconds: float) -> None:
    threading.Event().wait(seconds)

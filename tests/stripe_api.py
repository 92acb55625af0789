"""Stripe's API, small and on loopback: what it keeps, and what it answers.

It keeps what Stripe keeps, repeats its answer to an Idempotency-Key, and shapes objects and events
as Stripe does; of their members it has those that are used.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
NOW_S = 1_800_000_000
MONTH_S = 30 * 24 * 60 * 60

Object = dict[str, Any]


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, **error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


@dataclass
class StripeApi:
    """The state. `declines` is the code with which the next charges of cards are declined; `asked`
    is called before each answer."""

    url: str = ""
    declines: str | None = None
    payment_status: str = "succeeded"
    fails_with: int | None = None
    now_s: int = NOW_S
    asked: Callable[[], None] = lambda: None
    requests: list[tuple[str, str, Object]] = field(default_factory=list)
    objects: dict[str, Object] = field(default_factory=dict)
    undelivered: list[Object] = field(default_factory=list)
    _repeated: dict[str, tuple[int, Object]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def event(self, kind: str, about: Object) -> Object:
        """An event about an object as it is now."""
        shown = json.loads(json.dumps(_shown(about)))
        return {
            "id": f"evt_{next(self._numbers):016}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": self.now_s,
            "livemode": False,
            "type": kind,
            "data": {"object": shown},
        }

    def all_of(self, kind: str) -> list[Object]:
        """Every object of a kind, the oldest first."""
        return [each for each in self.objects.values() if each["object"] == kind]

    def answer(
        self, method: str, path: str, said: Object, *, key: str | None
    ) -> tuple[int, Object]:
        """The status and the body; the same again for the same Idempotency-Key."""
        with self._turn:
            self.requests.append((method, path, said))
            self.asked()
            if self.fails_with is not None:
                return self.fails_with, {"error": {"type": "api_error", "message": f"No: {KEY}"}}
            if key is not None and key in self._repeated:
                return self._repeated[key]
            try:
                answer = 200, _shown(self._done(method, path, said))
            except Refusal as refusal:
                answer = refusal.status, {"error": refusal.error}
            if key is not None:
                self._repeated[key] = answer
            return answer

    def forget(self) -> None:
        """A day passes: what is asked with a known key is done anew."""
        self._repeated.clear()

    def _done(self, method: str, path: str, said: Object) -> Object:
        match method, path.split("/")[2:]:
            case "POST", ["customers"]:
                return self._made("cus", object="customer", **said)
            case "POST", ["checkout", "sessions"]:
                return self._session(said)
            case "GET", ["checkout", "sessions"]:
                return self._listed("checkout.session", said)
            case "POST", ["billing_portal", "sessions"]:
                self._needed(said["customer"])
                return self._made(
                    "bps", object="billing_portal.session", url=f"{self.url}/portal", **said
                )
            case "GET", ["customers", customer, "payment_methods"]:
                cards = [c for c in self.all_of("payment_method") if c["customer"] == customer]
                return _page(cards[::-1], said)
            case "POST", ["payment_intents"]:
                return self._charged(said)
            case "GET", ["payment_intents", intent]:
                return self._needed(intent)
            case "GET", ["invoice_payments"]:
                return self._invoice_payments(said)
            case "GET", ["invoices"]:
                return self._listed("invoice", said, lambda each: each["status"] == said["status"])
            case "GET", ["refunds"]:
                return self._listed("refund", said)
            case "GET", ["disputes"]:
                return self._listed("dispute", said)
            case "GET", ["events"]:
                return self._undelivered(said)
        raise Refusal(404, type="invalid_request_error", message=f"Unrecognized URL {path}")

    def _listed(
        self, kind: str, said: Object, is_meant: Callable[[Object], bool] = lambda _: True
    ) -> Object:
        since = int(said.get("created", {}).get("gte", 0))
        found = [o for o in self.all_of(kind) if o["created"] >= since and is_meant(o)]
        page = _page([_shown(each) for each in reversed(found)], said)
        expanded = [each.removeprefix("data.") for each in said.get("expand", {}).values()]
        page["data"] = [
            each | {name: _shown(self.objects[each[name]]) for name in expanded}
            for each in page["data"]
        ]
        return page

    def _invoice_payments(self, said: Object) -> Object:
        wanted = said["payment"]
        return self._listed("invoice_payment", said, lambda each: each["payment"] == wanted)

    def _undelivered(self, said: Object) -> Object:
        if said["delivery_success"] != "false":
            raise Refusal(400, type="invalid_request_error", message="this fake keeps no others")
        types, since = set(said["types"].values()), int(said["created"]["gte"])
        meant = [e for e in self.undelivered if e["type"] in types and e["created"] >= since]
        return _page(meant[::-1], said)

    def _session(self, said: Object) -> Object:
        self._needed(said["customer"])
        prices = [line["price_data"] for line in said["line_items"].values()]
        if {"recurring" in price for price in prices} != {said["mode"] == "subscription"}:
            raise Refusal(400, type="invalid_request_error", message="The prices are of the other")
        session = self._made(
            "cs_test",
            object="checkout.session",
            mode=said["mode"],
            status="open",
            payment_status="unpaid",
            payment_intent=None,
            subscription=None,
            invoice=None,
            amount_total=sum(int(price["unit_amount"]) for price in prices),
            currency=prices[0]["currency"],
            customer=said["customer"],
            client_reference_id=said.get("client_reference_id"),
            metadata=said.get("metadata", {}),
            success_url=said["success_url"],
            cancel_url=said["cancel_url"],
            _intent=said.get("payment_intent_data", {}),
            _subscription=said.get("subscription_data", {}),
            _price=prices[0],
            _adaptive_pricing=said.get("adaptive_pricing"),
        )
        session["url"] = f"{self.url}/pay/{session['id']}"
        return session

    def _charged(self, said: Object) -> Object:
        self._needed(said["payment_method"])
        intent = self._intent(int(said["amount"]), said["currency"], said.get("metadata", {}))
        if self.declines is not None:
            raise Refusal(
                402, type="card_error", code=self.declines, message="Your card was declined."
            )
        if self.payment_status == "succeeded":
            self._succeed(intent)
        else:
            intent["status"] = self.payment_status
        return intent

    def _intent(self, amount: int, currency: str, metadata: Object) -> Object:
        return self._made(
            "pi",
            object="payment_intent",
            amount=amount,
            amount_received=0,
            currency=currency,
            status="requires_payment_method",
            metadata=metadata,
            latest_charge=None,
        )

    def _succeed(self, intent: Object) -> None:
        charge = self._made(
            "ch",
            object="charge",
            amount=intent["amount"],
            amount_refunded=0,
            refunded=False,
            currency=intent["currency"],
            payment_intent=intent["id"],
            metadata=intent["metadata"],
        )
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": charge["id"],
        }

    def _needed(self, object_id: str) -> Object:
        if object_id not in self.objects:
            raise Refusal(404, type="invalid_request_error", code="resource_missing", message="No")
        return self.objects[object_id]

    def _made(self, prefix: str, **members: Any) -> Object:
        made = {"id": f"{prefix}_{next(self._numbers):016}", "created": self.now_s, **members}
        self.objects[made["id"]] = made
        return made

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve until the block ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(fake: StripeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", urlsplit(self.path).query)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._answer("POST", self.rfile.read(length).decode())

        def _answer(self, method: str, form: str) -> None:
            if self.headers["Authorization"] != f"Bearer {KEY}":
                message = f"Invalid API Key provided: {self.headers['Authorization']}"
                status, answer = 401, {"error": {"type": "invalid_request", "message": message}}
            else:
                status, answer = fake.answer(
                    method,
                    urlsplit(self.path).path,
                    _parsed(form),
                    key=self.headers["Idempotency-Key"],
                )
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Request-Id", "req_fake")
            self.send_header("Stripe-Should-Retry", "false")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _parsed(form: str) -> Object:
    """A form whose names nest, `a[b][0]=c`, as objects all the way down."""
    said: Object = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        *path, last = re.findall(r"[^\[\]]+", name)
        place = said
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return said


def _shown(made: Object) -> Object:
    return {name: value for name, value in made.items() if not name.startswith("_")}


def _page(found: list[Object], said: Object) -> Object:
    limit, after = int(said.get("limit", 10)), said.get("starting_after")
    ids = [each["id"] for each in found]
    rest = found[ids.index(after) + 1 :] if after else found
    return {"object": "list", "data": rest[:limit], "has_more": len(rest) > limit, "url": "/v1"}

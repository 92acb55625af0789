"""A real service on loopback for tests: SQLite in a folder, a served app, an origin of pictures."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from PIL import Image

from billing.administration import OpenedAccount, open_account
from billing.payments import Payments
from billing.plans import SELF_HOSTED, Plans
from billing.pricing import Prices
from handlers.app import create_app
from inference.catalogue import installed_models
from inference.params import USUAL, Treatment
from inference.provenance import Weights
from jobs.dispatch import Dispatcher
from jobs.ids import system_clock
from jobs.links import Links
from jobs.outbound import Outbound
from jobs.retention import MAX_RETENTION_DAYS
from jobs.services import Services
from jobs.ticker import Ticker, in_a_thread
from storage.folder import FolderObjects
from storage.kv import Key, KeyValue
from storage.objects import Objects
from storage.sqlite import SqliteKeyValue

LOOPBACK = ip_network("127.0.0.1/32")
MAX_SOURCE_PIXELS = 4_000_000
DISPATCH_GRACE_MS = 30_000
LEASE_MS = 30_000


@dataclass
class Clock:
    """A clock that tests turn by hand."""

    now_ms: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, *, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += int(seconds * 1000)


@dataclass
class Hints:
    """A dispatcher that only remembers what it was told."""

    jobs: list[Any] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    deliveries: list[Key] = field(default_factory=list)

    def job(self, job_id: Any, *, model: str) -> None:
        self.jobs.append(job_id)
        self.models.append(model)

    def delivery(self, key: Key) -> None:
        self.deliveries.append(key)


@dataclass
class Running:
    """A service that is being served, and a client of it."""

    url: str
    services: Services
    http: httpx2.Client
    folder: Path

    def account(self, *, credits: int = 1000, **limits: int) -> "Customer":
        """A new account that talks to the service."""
        opened = open_account(
            self.services.kv, "test", credits=credits, now_ms=self.services.clock(), **limits
        )
        return Customer(opened)


@dataclass
class Customer:
    """An account with its key, in both spellings."""

    opened: OpenedAccount

    @property
    def id(self) -> str:
        return self.opened.account.id

    @property
    def apiframe(self) -> dict[str, str]:
        """Apiframe's header."""
        return {"X-API-Key": self.opened.key.apiframe_spelling}

    @property
    def vicsee(self) -> dict[str, str]:
        """VicSee's header."""
        return {"Authorization": f"Bearer {self.opened.key.vicsee_spelling}"}


@contextmanager
def running(
    folder: Path,
    *,
    kv: KeyValue | None = None,
    objects: Objects | None = None,
    outbound: Outbound | None = None,
    dispatcher: Dispatcher | None = None,
    clock: Any = system_clock,
    models: frozenset[str] | None = None,
    prices: Prices | None = None,
    max_source_pixels: int = MAX_SOURCE_PIXELS,
    treatment: Treatment = USUAL,
    face_restorer: Weights | None = None,
    plans: Plans = SELF_HOSTED,
    works_on: Callable[[str], str | None] = lambda _: None,
    metrics_token: str | None = None,
    payments: Payments | None = None,
    retention_days: int = MAX_RETENTION_DAYS,
    ticker: Ticker = in_a_thread,
    seconds: Callable[[], float] = time.monotonic,
) -> Iterator[Running]:
    """Serve the web app from `folder` on a free port; nothing works on the jobs but the test."""
    store = kv or SqliteKeyValue(folder / "store.sqlite", clock=clock)
    files = objects or FolderObjects(made(folder / "objects"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        services = Services(
            kv=store,
            objects=files,
            outbound=outbound or Outbound(allow=(LOOPBACK,)),
            dispatcher=dispatcher or Hints(),
            clock=clock,
            links=Links(url),
            prices=prices or Prices(),
            treatment=treatment,
            models=installed_models() if models is None else models,
            weights_folder=folder / "weights",
            face_restorer=face_restorer,
            max_source_pixels=max_source_pixels,
            dispatch_grace_ms=DISPATCH_GRACE_MS,
            lease_ms=LEASE_MS,
            plans=plans,
            works_on=works_on,
            payments=payments,
            retention_days=retention_days,
            ticker=ticker,
            seconds=seconds,
        )
        with (
            served(create_app(services, metrics_token=metrics_token), listener),
            httpx2.Client(base_url=url, timeout=30) as http,
        ):
            yield Running(url, services, http, folder)
    store.close()


@contextmanager
def served(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serve an app from a thread until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield  # the listener queues connections until the server takes them
    finally:
        server.should_exit = True
        thread.join()


class Origin:
    """A web server of pictures on loopback, which counts what it is asked for."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.requests: list[str] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.requests.append(self.path)
                body = origin.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                origin.received.append((dict(self.headers.items()), body))
                self.send_response(origin.answers.pop(0) if origin.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator["Origin"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def made(folder: Path) -> Path:
    """The folder, made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def picture(width_px: int = 16, height_px: int = 12, *, kind: str = "PNG") -> bytes:
    """A small gradient with an edge in it, as a file."""
    image = Image.new("RGB", (width_px, height_px))
    for x in range(width_px):
        for y in range(height_px):
            light = 255 if x > y else 40
            image.putpixel((x, y), (light, x * 255 // width_px, y * 255 // height_px))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()

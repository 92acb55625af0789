"""What the service bears: submissions and polls a second, beside a bare FastAPI route.

    python -m benchmarks.service

A real `enlarger serve` on loopback, SQLite with full synchronisation, without workers (their
arithmetic would compete for the same cores), 16 clients on this machine.
"""

import argparse
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image

from benchmarks.load import Load, request, send, send_once_each
from benchmarks.report import Row, print_table, write_results

CLIENTS = 16
PRICE_CREDITS = 8
AFFORDABLE, AT_ONCE = 20, 50
WIDTH_PX, HEIGHT_PX = 640, 480
TARGETS = {"fetched": 100, "uploaded": 150, "polls": 500}

bare = FastAPI()


@bare.post("/bare", status_code=202)
def bare_post(body: dict[str, Any]) -> dict[str, str]:
    """The least that a FastAPI route can do with a submission."""
    return {"jobId": str(len(body)), "status": "QUEUED"}


@bare.get("/bare")
def bare_get() -> dict[str, str]:
    """The least that a FastAPI route can do with a poll."""
    return {"jobId": "0", "status": "QUEUED"}


@dataclass(frozen=True)
class Served:
    """A running server and how to speak to it."""

    port: int
    headers: dict[str, str]
    data: Path

    def submission(self, image: str) -> bytes:
        """A submission of that source, as bytes."""
        params = {"image": image, "upscale_factor": 4}
        body = {"model": "topaz-image-upscale", "topazUpscaleParams": params}
        return request(
            "POST", "/v2/images/upscale", headers=self.headers, body=json.dumps(body).encode()
        )

    def call(self, method: str, path: str, *, body: bytes = b"", kind: str = "") -> Any:
        """One ordinary call; its JSON answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = self.headers | ({"Content-Type": kind} if kind else {})
        connection.request(method, path, body=body, headers=headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer


def main() -> None:
    """Measure, print beside what was asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each load")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/service.json"))
    args = parser.parse_args()

    with ExitStack() as servers:
        served = servers.enter_context(enlarger())
        bare_port = servers.enter_context(bare_server())
        image = servers.enter_context(origin(photograph()))
        rows = measured(served, bare_port, image, seconds=args.seconds)
        rows += [oversold(served), verified(served)]
    print_table("Service", rows)
    write_results(args.json, rows)
    if not all(row.is_reached for row in rows):
        sys.exit(1)


def measured(served: Served, bare_port: int, image: str, *, seconds: float) -> list[Row]:
    """The loads, each beside the same load on a bare route."""

    def load(port: int, prepared: bytes) -> Load:
        send(port, prepared, clients=CLIENTS, seconds=min(2.0, seconds))  # warm up
        return send(port, prepared, clients=CLIENTS, seconds=seconds)

    uploaded = upload(served, photograph())
    polled = json_of(served, served.submission(uploaded))["jobId"]
    poll = request("GET", f"/v2/jobs/{polled}", headers=served.headers)
    bare_body = served.submission(image).replace(b"/v2/images/upscale", b"/bare", 1)
    loads = {
        "fetched": load(served.port, served.submission(image)),
        "uploaded": load(served.port, served.submission(uploaded)),
        "polls": load(served.port, poll),
        "bare POST": load(bare_port, bare_body),
        "bare GET": load(bare_port, request("GET", "/bare", headers=served.headers)),
    }
    for name, done in loads.items():
        expected = 200 if name in ("polls", "bare GET") else 202
        assert set(done.statuses) == {expected}, f"{name}: {done.statuses}"
    labels = {
        "fetched": ("submissions/s, source fetched from loopback", "bare POST"),
        "uploaded": ("submissions/s, source uploaded before", "bare POST"),
        "polls": ("polls/s", "bare GET"),
    }
    rows = []
    for name, (label, beside) in labels.items():
        done, reference = loads[name], loads[beside]
        share = done.per_second / reference.per_second
        note = (
            f"{share:.0%} of {reference.per_second:.0f} {beside}s; "
            f"p50 {done.quantile_ms(0.5):.0f} ms, p99 {done.quantile_ms(0.99):.0f} ms"
        )
        rows.append(Row(label, TARGETS[name], round(done.per_second, 1), note=note))
    return rows


def oversold(served: Served) -> Row:
    """Fifty submissions at once on the credits of twenty jobs."""
    poor = account(served.data, credits=AFFORDABLE * PRICE_CREDITS)
    customer = Served(served.port, headers_of(poor), served.data)
    prepared = customer.submission(upload(customer, photograph()))
    load = send_once_each(served.port, prepared, clients=AT_ONCE)
    accepted, refused = load.statuses[202], load.statuses[402]
    exact = (accepted, refused) == (AFFORDABLE, AT_ONCE - AFFORDABLE)
    return Row(
        f"accepted of {AT_ONCE} at once on {AFFORDABLE} jobs' credits",
        AFFORDABLE,
        accepted,
        note=f"{refused} answered 402",
        reached=exact,
    )


def verified(served: Served) -> Row:
    """The ledger after all of it."""
    ran = enlarger_command("ledger", "verify", "--data", str(served.data))
    is_right = ran.returncode == 0
    return Row("ledger verify's exit status", 0, ran.returncode, ran.stdout.strip(), is_right)


@contextmanager
def enlarger() -> Iterator[Served]:
    """A server on an empty folder, and an account that can pay for everything."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        rich = account(data, credits=10_000_000)
        environment = {"ENLARGER_WORKERS": "0", "ENLARGER_OUTBOUND_ALLOW": "127.0.0.1/32"}
        port = free_port()
        command = ["serve", "--port", str(port), "--data", str(data)]
        with process([sys.executable, "-m", "local_app", *command], environment, port=port):
            yield Served(port, headers_of(rich), data)


@contextmanager
def bare_server() -> Iterator[int]:
    """A server of the bare routes, run as the real one is."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.service:bare", "--no-access-log"]
    with process([*command, "--port", str(port)], {}, port=port):
        yield port


@contextmanager
def process(command: list[str], environment: dict[str, str], *, port: int) -> Iterator[None]:
    """A server in a process of its own, from when it answers."""
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(server, port)
            yield
        finally:
            server.terminate()


def wait_for(server: "subprocess.Popen[bytes]", port: int, *, within_s: float = 60.0) -> None:
    """Return when the port answers."""
    until = time.monotonic() + within_s
    while server.poll() is None and time.monotonic() < until:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
    raise RuntimeError(f"{server.args!r} did not answer")


@contextmanager
def origin(picture: bytes) -> Iterator[str]:
    """A web server of one picture on loopback; yields the picture's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/photo.jpg"
        server.shutdown()


def photograph() -> bytes:
    """A JPEG of 640 by 480 with a photograph's size in bytes."""
    dice = np.random.default_rng(0)
    coarse = Image.fromarray(dice.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def upload(served: Served, picture: bytes) -> str:
    """Upload a picture; its address."""
    edge = b"benchmark"
    head = b'Content-Disposition: form-data; name="file"; filename="photo.jpg"\r\n\r\n'
    body = b"--%b\r\n%b%b\r\n--%b--\r\n" % (edge, head, picture, edge)
    kind = f"multipart/form-data; boundary={edge.decode()}"
    url: str = served.call("POST", "/v2/uploads", body=body, kind=kind)["url"]
    return url


def json_of(served: Served, prepared: bytes) -> Any:
    """The answer to a prepared submission."""
    body = prepared.partition(b"\r\n\r\n")[2]
    return served.call("POST", "/v2/images/upscale", body=body, kind="application/json")


def account(data: Path, *, credits: int) -> Any:
    """An account made by the command line, with its key."""
    ran = enlarger_command(
        *("accounts", "create", "benchmark", "--data", str(data)),
        *("--credits", str(credits), "--max-in-flight", "1000000"),
    )
    return json.loads(ran.stdout)


def headers_of(made: Any) -> dict[str, str]:
    """The headers of a customer's requests."""
    return {"X-API-Key": made["key"]["apiframe"], "Content-Type": "application/json"}


def enlarger_command(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line."""
    command = [sys.executable, "-m", "local_app", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()

"""Sources that do not answer hold their own account up, and nobody else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jobs.services import MAX_FETCHES_EACH
from tests.handlers.clients import Apiframe
from tests.running import picture, running

PATIENCE_S = 30.0


class Tarpit:
    """A web server that lets everybody wait until it is told to answer."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self._waiting = 0
        self._changed = threading.Condition()
        tarpit = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tarpit._arrived()
                assert tarpit.open.wait(PATIENCE_S)
                body = picture()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/photo.png"

    def wait_for(self, count: int) -> None:
        """Return when so many wait."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting >= count, PATIENCE_S)

    def _arrived(self) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()


@pytest.fixture
def tarpit() -> Iterator[Tarpit]:
    tarpit = Tarpit()
    thread = threading.Thread(target=tarpit.server.serve_forever, args=(0.02,))
    thread.start()
    yield tarpit
    tarpit.open.set()
    tarpit.server.shutdown()
    thread.join()
    tarpit.server.server_close()


def test_an_account_whose_sources_hang_leaves_threads_to_others(
    tmp_path: Path, tarpit: Tarpit
) -> None:
    with running(tmp_path) as service, ThreadPoolExecutor(MAX_FETCHES_EACH) as pool:
        slow = Apiframe(service, service.account())
        other = Apiframe(service, service.account())
        waiting = [pool.submit(slow.topaz, tarpit.url) for _ in range(MAX_FETCHES_EACH)]
        tarpit.wait_for(MAX_FETCHES_EACH)

        assert other.get("/me").status_code == 200
        refused = slow.topaz(tarpit.url)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0

        tarpit.open.set()
        assert {each.result().status_code for each in waiting} == {202}
        assert slow.topaz(tarpit.url).status_code == 202

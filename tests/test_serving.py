"""`enlarger serve` as a process: how it ends, and that it does not serve without its engine."""

import io
import os
import signal
import socket
from pathlib import Path

import httpx2
from PIL import Image

from jobs.audit import Audit
from jobs.ids import system_clock
from storage.sqlite import SqliteKeyValue
from tests.serving import Server, enlarger, eventually

PATIENCE_S = 20.0
SIDE_PX = 2500


def test_a_machine_whose_engine_cannot_be_loaded_stops_and_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "path" / "safetensors"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('built for another machine')")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ran = enlarger(
        *("serve", "--port", str(port), "--data", tmp_path / "data"),
        env={"PYTHONPATH": f"{broken.parent}"},
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == (
        "enlarger: the engine cannot be loaded: built for another machine"
    )


def test_a_serving_machine_audits_its_ledger(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers="0").running():
        kv = SqliteKeyValue(tmp_path / "data" / "enlarger.sqlite", clock=system_clock)
        audit = Audit(kv, system_clock)
        eventually(lambda: audit.last() is not None, what="the first audit")
        last = audit.last()
        kv.close()
    assert last is not None
    assert last.discrepancies == 0


def test_a_slow_download_does_not_keep_a_stopping_server(tmp_path: Path) -> None:
    noise = Image.frombytes("RGB", (SIDE_PX, SIDE_PX), os.urandom(3 * SIDE_PX * SIDE_PX))
    file = io.BytesIO()
    noise.save(file, "PNG", compress_level=0)  # more than the sockets' buffers can hold
    with Server(tmp_path / "data", workers="0").running() as server:
        headers = {"X-API-Key": server.demo_key}
        taken = httpx2.post(
            f"{server.url}/v2/uploads", headers=headers, files={"file": file.getvalue()}
        )
        path = taken.json()["url"].removeprefix(server.url)
        with socket.create_connection(("127.0.0.1", server.port)) as reader:
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert reader.recv(1024).startswith(b"HTTP/1.1 200")
            assert server.stop(signal.SIGTERM, within_s=PATIENCE_S) == 0

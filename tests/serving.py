"""The `enlarger` command as a customer meets it: in a process of its own, over the network."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0


def enlarger(*words: str | Path, env: Mapping[str, str] | None = None) -> Any:
    """Run the command to its end."""
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env=os.environ | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def command(*words: str | Path) -> list[str]:
    """The command line of `enlarger` in this environment."""
    return [sys.executable, "-m", "local_app", *map(str, words)]


class Server:
    """`enlarger serve` on a folder, started and killed as often as one likes, on one port."""

    def __init__(self, data: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = data
        self._settings = {f"ENLARGER_{name.upper()}": value for name, value in settings.items()}
        self._process: subprocess.Popen[str] | None = None
        self._printed: list[str] = []

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Serve until the block ends."""
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        """Start the process; returns when it answers."""
        self._process = subprocess.Popen(
            command("serve", "--port", str(self.port), "--data", self.data),
            cwd=ROOT,
            env=os.environ | self._settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()
        eventually(self._answers, what="an answer of the server")

    def command(self, *words: str | int) -> Any:
        """Run an operator's command beside it, on the same settings."""
        return enlarger(*map(str, words), "--data", self.data, env=self._settings)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def stop(self, how: signal.Signals, *, within_s: float) -> int:
        """Ask the process to stop, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(within_s)

    @property
    def printed(self) -> str:
        """What the server has printed so far."""
        return "".join(self._printed)

    @property
    def demo_key(self) -> str:
        """The key of the demo account, as printed."""
        found = re.search(r"afk_\w+", self.printed)
        assert found, self.printed
        return found.group()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.printed
        try:
            return httpx2.get(f"{self.url}/healthz").status_code == 200
        except httpx2.TransportError:
            return False

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout:
            self._printed.extend(process.stdout)


def eventually(is_so: Any, *, what: str, within_s: float = PATIENCE_S) -> None:
    """Ask until it is so, as a polling customer does; fail when it takes too long."""
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until, f"waited {within_s} s for {what}"
        threading.Event().wait(0.05)

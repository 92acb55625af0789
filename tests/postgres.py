"""A real PostgreSQL server on loopback, and a pooler before it, from Debian's packages."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psycopg
from psycopg import sql

from tests.serving import eventually

USER, PASSWORD, DATABASE = "enlarger", "correct-horse", "enlarger"
POOLED_SERVERS = 8
OTHER_USER = "postgres"
"""Who runs the servers where the tests are run by root, whom they refuse."""


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, None if they are not installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Cluster(NamedTuple):
    """A server's folder and how to start it, on the same port each time."""

    folder: Path
    words: tuple[str | Path, ...]
    server_url: str

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"{self.server_url}/{DATABASE}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """The server while the block runs; its end is at once, clients or not."""
        with _running(*self.words, log=self.folder / "log", end=signal.SIGQUIT):
            eventually(lambda: _answers(f"{self.server_url}/postgres"), what="PostgreSQL")
            yield


@contextmanager
def postgres() -> Iterator[str]:
    """A fresh server while the block runs; the address of an empty database in it."""
    with cluster() as found, found.running():
        make_database(found.server_url, DATABASE)
        yield found.url


@contextmanager
def cluster() -> Iterator[Cluster]:
    """What a fresh server needs, until the block ends."""
    found = programs()
    assert found is not None, "PostgreSQL is not installed"
    with _folder() as folder:
        data, secret = folder / "cluster", folder / "password"
        secret.write_text(PASSWORD)
        _give_away(secret)
        _run(
            *(found / "initdb", "--pgdata", data, "--username", USER, "--pwfile", secret),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
        )
        port = free_port()
        settings = (
            *("-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"),
            *("-c", f"unix_socket_directories={folder}", "-c", "max_connections=300"),
        )
        server_url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}"
        yield Cluster(folder, (found / "postgres", "-D", data, *settings), server_url)


def make_database(server_url: str, name: str, *, encoding: str = "UTF8") -> None:
    """Make an empty one."""
    made = sql.SQL("CREATE DATABASE {} TEMPLATE template0 LOCALE 'C' ENCODING {}").format(
        sql.Identifier(name), sql.Literal(encoding)
    )
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(made)


@contextmanager
def pooler(url: str) -> Iterator[str]:
    """PgBouncer in transaction mode before that server; its address."""
    port, upstream = free_port(), psycopg.conninfo.conninfo_to_dict(url)
    with _folder() as folder:
        users, settings = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        settings.write_text(
            "[databases]\n"
            f"{DATABASE} = host=127.0.0.1 port={upstream['port']} dbname={upstream['dbname']}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            "pool_mode = transaction\nmax_client_conn = 500\n"
            f"default_pool_size = {POOLED_SERVERS}\n"
        )
        for file in (users, settings):
            _give_away(file)
        pooled = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        with _running(Path(program), settings, log=folder / "log", end=signal.SIGTERM):
            eventually(lambda: _answers(pooled), what="an answer of PgBouncer")
            yield pooled


def has_pooler() -> bool:
    """Whether PgBouncer is installed."""
    return shutil.which("pgbouncer") is not None or Path("/usr/sbin/pgbouncer").exists()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        _give_away(folder)
        yield folder


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, OTHER_USER, OTHER_USER)


def _run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True, user=_user(), cwd="/")


@contextmanager
def _running(*words: str | Path, log: Path, end: signal.Signals) -> Iterator[None]:
    with log.open("a") as said:
        process = subprocess.Popen(
            words, stdout=said, stderr=subprocess.STDOUT, user=_user(), cwd="/"
        )
        try:
            yield
        finally:
            process.send_signal(end)
            process.wait()


def _user() -> str | None:
    return OTHER_USER if os.geteuid() == 0 else None

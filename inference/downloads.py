"""Weights, from where they are published into a folder: resumed, verified, and only then named.

What has arrived of a file lies in `partial/` below the folder, beside its ETag and its lock. The
ETag lets a later try go on where an earlier one ended, if the source is still the same; the lock
makes a second pull of the same file, in this process or another, wait and find it done.
"""

import fcntl
import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urljoin, urlsplit

import httpcore2

from inference.catalogue import weights_path
from inference.errors import (
    DownloadInterrupted,
    DownloadRefused,
    DownloadUnreachable,
    DownloadUnwritable,
    DownloadWrong,
)
from inference.provenance import Weights

Progress = Callable[[int, int], None]
Pause = Callable[[float], object]

MAX_TRIES = 5
FIRST_PAUSE_S = 1.0  # doubled after each further try
MAX_REDIRECTS = 5
TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 10.0}

_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 416, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_HEADERS = [("User-Agent", "Enlarger/0.1.0"), ("Accept", "*/*"), ("Accept-Encoding", "identity")]

Headers = Sequence[tuple[str, str]]


def is_whole(weights: Weights, folder: Path) -> bool:
    """Whether the file is there and has the catalogue's size and SHA-256; reads all of it."""
    path = weights_path(weights, folder)
    return path.is_file() and _is_as_catalogued(path, weights)


class Downloads:
    """Pulls weights into a folder. `tls` is for tests; `pause` waits for some seconds."""

    def __init__(
        self, folder: Path, *, tls: ssl.SSLContext | None = None, pause: Pause | None = None
    ) -> None:
        self._folder = folder
        self._tls = tls
        self._pause = pause or Event().wait

    def pull(self, weights: Weights, *, progress: Progress) -> bool:
        """Have the file; False if it was there already. Any number of processes may pull at once.

        `progress(done_bytes, all_bytes)` follows what arrives. Raises a `DownloadError`; what had
        arrived by then is kept for the next pull, unless it is wrong.
        """
        if weights.url is None:
            return False
        try:
            self._folder.joinpath("partial").mkdir(parents=True, exist_ok=True)
            partial = Partial(self._folder / "partial" / weights.file)
            with partial.locked():
                if is_whole(weights, self._folder):
                    return False
                self._complete(partial, weights, url=weights.url, progress=progress)
                os.replace(partial.path, weights_path(weights, self._folder))
                partial.discard()
        except OSError as error:  # what the network has against us arrives as httpcore2's errors
            raise DownloadUnwritable(f"{weights.file} cannot be written: {error}") from error
        return True

    def _complete(
        self, partial: "Partial", weights: Weights, *, url: str, progress: Progress
    ) -> None:
        """Fetch what is missing until the file is whole and right."""
        with httpcore2.ConnectionPool(ssl_context=self._tls) as pool:
            for number in range(MAX_TRIES):
                try:
                    has_old_part = _fetch(pool, url, partial, weights, progress=progress)
                except DownloadInterrupted:
                    if number == MAX_TRIES - 1:
                        raise
                    self._pause(FIRST_PAUSE_S * 2**number)
                    continue
                if _is_as_catalogued(partial.path, weights):
                    return
                partial.discard()
                if not has_old_part:
                    break  # in one piece and yet wrong: another try would bring the same
        raise DownloadWrong(f"{url} is not the file that the catalogue names: its SHA-256 differs")


@dataclass(frozen=True)
class Partial:
    """What has arrived of a file, and the ETag of what it is a part of."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everybody else from this file; the lock ends with the process at the latest."""
        with open(f"{self.path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def resumable(self, *, of_bytes: int) -> tuple[int, str]:
        """How many bytes can be kept, and their ETag; nothing if either is missing."""
        try:
            size_bytes, etag = self.path.stat().st_size, self._etag_path.read_text()
        except FileNotFoundError:
            return 0, ""
        return (size_bytes, etag) if size_bytes <= of_bytes else (0, "")

    def restart(self, etag: str) -> None:
        """Throw away what has arrived: another part begins, of what has that ETag.

        A weak ETag does not promise the same bytes (RFC 9110, 8.8.1), so nothing is resumed by it.
        """
        self.discard()
        if etag and not etag.startswith("W/"):
            self._etag_path.write_text(etag)

    def discard(self) -> None:
        """Leave nothing but the lock."""
        self._etag_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    @property
    def _etag_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.etag")


def _fetch(
    pool: httpcore2.ConnectionPool,
    url: str,
    partial: Partial,
    weights: Weights,
    *,
    progress: Progress,
) -> bool:
    """Fetch what is missing of the file; True if a part of it came with an earlier try."""
    kept_bytes, etag = partial.resumable(of_bytes=weights.size_bytes)
    if kept_bytes == weights.size_bytes:
        return True
    headers = [*_HEADERS]
    if kept_bytes:
        headers += [("Range", f"bytes={kept_bytes}-"), ("If-Range", etag)]
    with _answered(pool, url, headers) as response:
        if not _continues(response, partial, kept_bytes=kept_bytes, etag=etag, weights=weights):
            kept_bytes = 0
            partial.restart(_header(response, "etag"))
        _store(response, partial, weights, kept_bytes=kept_bytes, progress=progress)
    return kept_bytes > 0


def _store(
    response: httpcore2.Response,
    partial: Partial,
    weights: Weights,
    *,
    kept_bytes: int,
    progress: Progress,
) -> None:
    done_bytes = kept_bytes
    with partial.path.open("ab") as file:
        for chunk in response.iter_stream():
            done_bytes += len(chunk)
            if done_bytes > weights.size_bytes:
                break
            file.write(chunk)
            progress(done_bytes, weights.size_bytes)
        file.flush()
        os.fsync(file.fileno())
    if done_bytes > weights.size_bytes:
        partial.discard()
        raise DownloadWrong(f"{weights.url} is larger than the catalogue's file")
    if done_bytes < weights.size_bytes:
        raise DownloadInterrupted(f"{weights.url} ended after {done_bytes} bytes")


def _continues(
    response: httpcore2.Response, partial: Partial, *, kept_bytes: int, etag: str, weights: Weights
) -> bool:
    """Whether the body goes on after what is kept; False if it is the whole file.

    Raises `DownloadInterrupted` where another try may help, else what is final.
    """
    status, said = response.status, f"{weights.url} answered with status {response.status}"
    if status == 206 and kept_bytes:
        found = _RANGE.fullmatch(_header(response, "content-range"))
        is_same = _header(response, "etag") in ("", etag)
        if found and is_same and found.groups() == (str(kept_bytes), str(weights.size_bytes)):
            return True
        partial.discard()
        raise DownloadInterrupted(f"{weights.url} sent another part than the one asked for")
    if status == 416:
        partial.discard()
    if status in _PASSING:
        raise DownloadInterrupted(said)
    if status != 200:
        raise DownloadRefused(said)
    length = _header(response, "content-length")
    if length not in ("", str(weights.size_bytes)):
        raise DownloadWrong(
            f"{weights.url} has {length} bytes, the catalogue's file {weights.size_bytes}"
        )
    return False


@contextmanager
def _answered(
    pool: httpcore2.ConnectionPool, url: str, headers: Headers
) -> Iterator[httpcore2.Response]:
    """The answer after redirects, its body yet to be read; https never leads to anything else."""
    for _ in range(1 + MAX_REDIRECTS):
        try:
            with pool.stream(
                "GET", url, headers=[*headers], extensions={"timeout": TIMEOUTS}
            ) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                onward = urljoin(url, _header(response, "location"))
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
            raise DownloadUnreachable(f"{url} cannot be reached: {error or 'timeout'}") from error
        except (
            httpcore2.NetworkError,
            httpcore2.TimeoutException,
            httpcore2.ProtocolError,
        ) as error:
            raise DownloadInterrupted(
                f"{url} broke off: {error or type(error).__name__}"
            ) from error
        if urlsplit(onward).scheme not in {"https", urlsplit(url).scheme}:
            raise DownloadRefused(f"{url} leads to {onward}, which is not https")
        url = onward
    raise DownloadRefused(f"{url} is redirected too many times")


def _is_as_catalogued(path: Path, weights: Weights) -> bool:
    with path.open("rb") as file:
        return (
            os.fstat(file.fileno()).st_size == weights.size_bytes
            and hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256
        )


def _header(response: httpcore2.Response, name: str) -> str:
    """The first value of a header; empty if there is none."""
    wanted = name.encode()
    found = (value for key, value in response.headers if key.lower() == wanted)
    return next(found, b"").decode("latin-1")

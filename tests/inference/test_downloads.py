"""Pulling weights from a real source on loopback, with everything that goes wrong on the way."""

import random
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from inference.downloads import MAX_TRIES, Downloads, Pause, is_whole
from inference.errors import (
    DownloadInterrupted,
    DownloadRefused,
    DownloadUnreachable,
    DownloadUnwritable,
    DownloadWrong,
)
from inference.provenance import Weights
from inference.published import CLEAN
from tests.inference.source import PATH, Source, serving

DATA = random.Random(1).randbytes(300_000)
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def source() -> Iterator[Source]:
    with serving(Source(DATA)) as started:
        yield started


def silent(done_bytes: int, of_bytes: int) -> None:
    assert 0 < done_bytes <= of_bytes


def pull(weights: Weights, folder: Path, pause: Pause = lambda _: None) -> bool:
    return Downloads(folder, pause=pause).pull(weights, progress=silent)


def left(folder: Path) -> set[str]:
    """What lies in the folder besides locks."""
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_file_is_had_whole_and_nothing_else_is_left(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "weights"
    reports: list[tuple[int, int]] = []
    assert Downloads(folder).pull(
        source.row(), progress=lambda done, every: reports.append((done, every))
    )
    assert (folder / "weights.bin").read_bytes() == DATA
    assert left(folder) == {"weights.bin"}
    assert reports[-1] == (len(DATA), len(DATA))
    assert reports == sorted(reports)


def test_what_is_there_already_is_not_fetched(source: Source, tmp_path: Path) -> None:
    assert pull(source.row(), tmp_path)
    assert not pull(source.row(), tmp_path)
    assert len(source.asked) == 1
    assert not pull(CLEAN.x2, tmp_path)


def test_what_is_there_but_damaged_is_replaced(source: Source, tmp_path: Path) -> None:
    damaged = bytes([DATA[0] ^ 1]) + DATA[1:]
    (tmp_path / "weights.bin").write_bytes(damaged)
    assert not is_whole(source.row(), tmp_path)
    assert pull(source.row(), tmp_path)
    assert is_whole(source.row(), tmp_path)


def test_a_cut_connection_is_taken_up_where_it_ended(source: Source, tmp_path: Path) -> None:
    source.cut_after = [100_000, 50_000]
    pauses: list[float] = []
    assert pull(source.row(), tmp_path, pauses.append)
    assert source.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "weights.bin").read_bytes() == DATA
    assert pauses == [1, 2]


def test_a_later_pull_goes_on_where_an_earlier_one_gave_up(source: Source, tmp_path: Path) -> None:
    source.cut_after = [50_000] * MAX_TRIES
    with pytest.raises(DownloadInterrupted, match=r"ended after|broke off"):
        pull(source.row(), tmp_path)
    assert not (tmp_path / "weights.bin").exists()
    assert len(source.asked) == MAX_TRIES
    source.asked.clear()
    assert pull(source.row(), tmp_path)
    assert source.asked == ["bytes=250000-"]


def test_a_body_without_a_length_that_ends_early_is_taken_up(
    source: Source, tmp_path: Path
) -> None:
    source.sends_length, source.cut_after = False, [100_000]
    assert pull(source.row(), tmp_path)
    assert source.asked == [None, "bytes=100000-"]


def test_a_source_that_knows_no_ranges_is_read_from_the_start(
    source: Source, tmp_path: Path
) -> None:
    source.knows_ranges, source.cut_after = False, [100_000]
    assert pull(source.row(), tmp_path)
    assert source.asked == [None, "bytes=100000-"]
    assert (tmp_path / "weights.bin").read_bytes() == DATA


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_resumed(
    source: Source, tmp_path: Path, etag: str
) -> None:
    source.etag, source.cut_after = etag, [100_000]
    assert pull(source.row(), tmp_path)
    assert source.asked == [None, None]


def test_a_file_that_changed_between_two_tries_is_read_from_the_start(
    source: Source, tmp_path: Path
) -> None:
    right = source.row()
    source.data, source.etag, source.cut_after = DATA[::-1], '"old"', [100_000] * MAX_TRIES
    with pytest.raises(DownloadInterrupted):
        pull(right, tmp_path)
    source.data, source.etag, source.cut_after = DATA, '"new"', []
    assert pull(right, tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == DATA


def test_parts_of_two_files_under_one_etag_are_found_out_and_read_anew(
    source: Source, tmp_path: Path
) -> None:
    right = source.row()
    source.data, source.cut_after = DATA[::-1], [100_000] * MAX_TRIES
    with pytest.raises(DownloadInterrupted):
        pull(right, tmp_path)
    source.data, source.cut_after = DATA, []
    assert pull(right, tmp_path)
    assert (tmp_path / "weights.bin").read_bytes() == DATA


def test_another_part_than_the_one_asked_for_is_not_appended(
    source: Source, tmp_path: Path
) -> None:
    source.cut_after, source.range_offset = [100_000], 5
    assert pull(source.row(), tmp_path)
    assert source.asked == [None, "bytes=100000-", None]
    assert (tmp_path / "weights.bin").read_bytes() == DATA


def test_wrong_bytes_never_get_the_name(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DownloadWrong, match="SHA-256"):
        pull(source.row(data=DATA[::-1]), tmp_path)
    assert left(tmp_path) == set()
    assert len(source.asked) == 1


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_larger_file_is_refused_and_not_kept(
    source: Source, tmp_path: Path, sends_length: bool
) -> None:
    source.sends_length = sends_length
    with pytest.raises(DownloadWrong):
        pull(source.row(data=DATA[:-1]), tmp_path)
    assert left(tmp_path) == set()


def test_a_passing_refusal_is_tried_again_and_a_final_one_is_not(
    source: Source, tmp_path: Path
) -> None:
    source.statuses = [503, 429]
    assert pull(source.row(), tmp_path)
    (tmp_path / "weights.bin").unlink()
    source.statuses, source.asked = [404], []
    with pytest.raises(DownloadRefused, match="404"):
        pull(source.row(), tmp_path)
    assert len(source.asked) == 1


def test_a_range_that_the_source_will_not_give_is_given_up(source: Source, tmp_path: Path) -> None:
    source.cut_after = [100_000]
    with pytest.raises(DownloadInterrupted):
        pull(source.row(), tmp_path, _leave)
    source.statuses = [416]
    assert pull(source.row(), tmp_path)
    assert source.asked == [None, "bytes=100000-", None]


def _leave(_: float) -> None:
    raise DownloadInterrupted


def test_redirects_are_followed_up_to_a_limit(source: Source, tmp_path: Path) -> None:
    source.moves = {"/first": "second", "/second": f"{source.url}{PATH}"}
    assert pull(replace(source.row(), url=f"{source.url}/first"), tmp_path)
    (tmp_path / "weights.bin").unlink()
    source.moves = {"/first": "/first"}
    with pytest.raises(DownloadRefused, match="too many times"):
        pull(replace(source.row(), url=f"{source.url}/first"), tmp_path)


def test_a_source_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    row = replace(Source(DATA).row(), url=f"http://127.0.0.1:{port}{PATH}")
    with pytest.raises(DownloadUnreachable, match=f"127.0.0.1:{port}"):
        pull(row, tmp_path)


def test_a_folder_that_is_none_is_told(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadUnwritable, match=r"weights\.bin cannot be written"):
        pull(source.row(), tmp_path / "file" / "weights")


PROGRAM = """
import sys
from pathlib import Path
from inference.downloads import Downloads
from inference.errors import DownloadUnwritable
from inference.published import Weights
row = Weights(id="weights", file="weights.bin", architecture="builtin", scale=2, licence="MIT",
              sha256=sys.argv[2], size_bytes=int(sys.argv[3]), attribution="", url=sys.argv[4])
try:
    print(Downloads(Path(sys.argv[1])).pull(row, progress=lambda done, every: None))
except DownloadUnwritable as error:
    print("unwritable:", error)
"""


def in_a_process(row: Weights, folder: Path, *, may_write_bytes: int) -> str:
    """What a pull in a process of its own says, where no file may become larger than that."""
    said = [str(folder), row.sha256, str(row.size_bytes), str(row.url)]
    limits = (may_write_bytes, may_write_bytes)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *said],
        cwd=ROOT,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_a_disk_without_room_is_told_and_a_later_pull_goes_on(
    source: Source, tmp_path: Path
) -> None:
    said = in_a_process(source.row(), tmp_path, may_write_bytes=131_072)
    assert said.startswith("unwritable: weights.bin cannot be written")
    assert left(tmp_path) == {"weights.bin", "weights.bin.etag"}
    assert not (tmp_path / "weights.bin").exists()
    assert pull(source.row(), tmp_path)
    assert source.asked == [None, "bytes=131072-"]


def test_two_processes_that_pull_at_once_fetch_once(source: Source, tmp_path: Path) -> None:
    said: list[str] = []
    threads = [
        Thread(
            target=lambda: said.append(
                in_a_process(source.row(), tmp_path, may_write_bytes=resource.RLIM_INFINITY)
            )
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["False", "False", "True"]
    assert source.asked == [None]
    assert (tmp_path / "weights.bin").read_bytes() == DATA


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key in the same file."""
    made = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    said = ["-subj", "/CN=source", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(made), "-out", f"{made}.crt"]
    subprocess.run([*command.split(), *said, *files], check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + Path(f"{made}.crt").read_bytes())
    return made


def test_https_never_leads_to_http(source: Source, certificate: Path, tmp_path: Path) -> None:
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(Source(DATA), tls=shown) as safe:
        downloads = Downloads(tmp_path, tls=trusting)
        safe.moves = {"/plain": f"{source.url}{PATH}", "/safe": PATH}
        with pytest.raises(DownloadRefused, match="not https"):
            downloads.pull(replace(safe.row(), url=f"{safe.url}/plain"), progress=silent)
        assert source.asked == []
        assert downloads.pull(replace(safe.row(), url=f"{safe.url}/safe"), progress=silent)


def test_a_certificate_that_nobody_vouches_for_is_told(certificate: Path, tmp_path: Path) -> None:
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(certificate)
    with (
        serving(Source(DATA), tls=shown) as unknown,
        pytest.raises(DownloadUnreachable, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        pull(unknown.row(), tmp_path)

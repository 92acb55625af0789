"""The contract of `Objects`, one suite for every adapter.

An adapter is held to it in two lines:

    class TestContract(ObjectsContract):
        def new_backend(self, folder: Path) -> Folder:
            return Folder(folder)
"""

import gc
import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Protocol

import pytest

from storage.contract.processes import barrier, reports_until_killed, results, started
from storage.contract.writers import put_first, put_until_killed
from storage.objects import MAX_NAME_LENGTH, Objects, ObjectsError, read

NAME = "images/one-1.png"
PNG = "image/png"
RACERS = 8
LARGE_BYTES = 8 * 1024 * 1024
MAX_WAIT_S = 60

GOOD_NAMES = [
    "a",
    "A-Z_0.9",
    "a/b/c/d",
    "a..b",
    "-",
    "_/_",
    "x" * 200,
    "/".join(["x" * 127] * 4) + "x",
]
BAD_NAMES = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    ".a",
    "a/.b",
    "a b",
    "a\\b",
    "a\n",
    "a\0b",
    "é",
    "a%2fb",
    "x" * 201,
    "/".join(["x" * 127] * 4) + "xx",
]


class FailingFile(io.BytesIO):
    """A file of which only the first chunk can be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 0:
            raise OSError("broken disk")
        return super().read(size)


class ObjectsBackend(Protocol):
    """One object store, empty at first; it can be pickled, and opened by many processes."""

    def open(self) -> Objects: ...

    def discard(self) -> None:
        """Remove what is left of it, as far as nothing else does."""


class ObjectsContract:
    """Every promise of `storage/objects.py`."""

    def new_backend(self, folder: Path) -> ObjectsBackend:
        """A new backend, which may use a folder of its own."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[ObjectsBackend]:
        backend = self.new_backend(tmp_path)
        yield backend
        backend.discard()

    @pytest.fixture
    def objects(self, backend: ObjectsBackend) -> Objects:
        return backend.open()

    @pytest.mark.parametrize("size_bytes", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 7])
    def test_bytes_come_back(self, objects: Objects, size_bytes: int) -> None:
        data = (bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes]
        objects.put(NAME, data, content_type=PNG)
        stored = objects.get(NAME)
        assert stored is not None
        assert stored.size_bytes == size_bytes
        assert b"".join(stored.chunks) == data

    @pytest.mark.parametrize("size_bytes", [0, 1, 2**20 + 1, LARGE_BYTES])
    def test_a_file_is_stored_from_its_beginning(self, objects: Objects, size_bytes: int) -> None:
        data = (bytes(range(256)) * (size_bytes // 256 + 1))[:size_bytes]
        with tempfile.TemporaryFile() as file:
            file.write(data)
            objects.put(NAME, file, content_type=PNG)
            assert objects.put_if_absent("copy.png", file, content_type=PNG) is True
            assert objects.put_if_absent("copy.png", file, content_type=PNG) is False
            assert not file.closed
        assert read(objects, NAME) == read(objects, "copy.png") == data

    def test_a_file_that_cannot_be_read_stores_nothing(self, objects: Objects) -> None:
        with pytest.raises(ObjectsError, match="broken disk"):
            objects.put_if_absent(NAME, FailingFile(b"x" * LARGE_BYTES), content_type=PNG)
        assert objects.get(NAME) is None
        objects.put(NAME, b"old", content_type=PNG)
        with pytest.raises(ObjectsError, match="broken disk"):
            objects.put(NAME, FailingFile(b"x" * LARGE_BYTES), content_type=PNG)
        assert read(objects, NAME) == b"old"

    def test_sizes_are_told(self, objects: Objects) -> None:
        objects.put("a/one.png", b"", content_type=PNG)
        objects.put("a/b/two.png", b"12", content_type=PNG)
        objects.put("a/gone.png", b"123", content_type=PNG)
        objects.delete("a/gone.png")
        names = ["a/one.png", "a/b/two.png", "a/gone.png", "a/never.png", "a", "a/b"]
        assert [objects.size_bytes(name) for name in names] == [0, 2, None, None, None, None]

    def test_chunks_are_bounded(self, objects: Objects) -> None:
        objects.put(NAME, b"x" * (3 * 2**20), content_type=PNG)
        stored = objects.get(NAME)
        assert stored is not None
        assert max(len(chunk) for chunk in stored.chunks) <= 2**20

    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("a.jpg", "image/jpeg"),
            ("a.jpeg", "image/jpeg"),
            ("a.b.png", "image/png"),
            ("a/b.webp", "image/webp"),
            ("a.bin", "application/octet-stream"),
            ("a", "application/octet-stream"),
            ("png/a", "application/octet-stream"),
            ("png", "application/octet-stream"),
        ],
    )
    def test_the_media_type_comes_back(
        self, objects: Objects, name: str, content_type: str
    ) -> None:
        objects.put(name, b"", content_type=content_type)
        stored = objects.get(name)
        assert stored is not None
        stored.chunks.close()
        assert stored.content_type == content_type

    @pytest.mark.parametrize(
        ("name", "content_type"), [("a.png", "image/jpeg"), ("a", "image/png"), ("a.png", "")]
    )
    def test_a_type_that_the_name_denies_is_refused(
        self, objects: Objects, name: str, content_type: str
    ) -> None:
        with pytest.raises(ValueError, match="would be"):
            objects.put(name, b"", content_type=content_type)
        with pytest.raises(ValueError, match="would be"):
            objects.put_if_absent(name, b"", content_type=content_type)
        with pytest.raises(ValueError, match="would be"):
            objects.upload_url(name, content_type=content_type, size_bytes=1, expires_in_s=60)
        assert objects.get(name) is None

    def test_what_was_never_put_is_absent(self, objects: Objects) -> None:
        assert objects.get(NAME) is None
        assert read(objects, NAME) is None

    def test_read_gives_all_bytes(self, objects: Objects) -> None:
        objects.put(NAME, b"all", content_type=PNG)
        assert read(objects, NAME) == b"all"

    def test_a_put_replaces(self, objects: Objects) -> None:
        objects.put(NAME, b"a longer first", content_type=PNG)
        objects.put(NAME, b"second", content_type=PNG)
        assert read(objects, NAME) == b"second"

    def test_names_do_not_mix(self, objects: Objects) -> None:
        names = ["a/b.png", "a/b-1.png", "a/B.png", "b.png", "a/c/b.png"]
        for name in names:
            objects.put(name, name.encode(), content_type=PNG)
        assert [read(objects, name) for name in names] == [name.encode() for name in names]

    def test_a_folder_of_objects_is_no_object(self, objects: Objects) -> None:
        objects.put("a/b/c.png", b"c", content_type=PNG)
        for name in ("a", "a/b", "a/b/c.png/d"):
            assert objects.get(name) is None
            objects.delete(name)
        assert read(objects, "a/b/c.png") == b"c"

    def test_put_if_absent_stores_once(self, objects: Objects) -> None:
        assert objects.put_if_absent(NAME, b"first", content_type=PNG) is True
        assert objects.put_if_absent(NAME, b"second", content_type=PNG) is False
        assert read(objects, NAME) == b"first"

    def test_put_if_absent_yields_to_a_put(self, objects: Objects) -> None:
        objects.put(NAME, b"put", content_type=PNG)
        assert objects.put_if_absent(NAME, b"late", content_type=PNG) is False
        assert read(objects, NAME) == b"put"

    def test_a_name_is_free_again_after_a_delete(self, objects: Objects) -> None:
        objects.put(NAME, b"old", content_type=PNG)
        objects.delete(NAME)
        assert objects.put_if_absent(NAME, b"new", content_type=PNG) is True
        assert read(objects, NAME) == b"new"

    def test_a_delete_removes(self, objects: Objects) -> None:
        objects.put(NAME, b"x", content_type=PNG)
        objects.put("images/other.png", b"y", content_type=PNG)
        objects.delete(NAME)
        assert objects.get(NAME) is None
        assert read(objects, "images/other.png") == b"y"

    def test_a_delete_of_nothing_is_quiet(self, objects: Objects) -> None:
        objects.delete(NAME)
        objects.put(NAME, b"x", content_type=PNG)
        objects.delete(NAME)
        objects.delete(NAME)
        assert objects.get(NAME) is None

    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_plain_names_are_taken(self, objects: Objects, name: str) -> None:
        assert len(name) <= MAX_NAME_LENGTH
        objects.put(name, b"x", content_type="application/octet-stream")
        assert read(objects, name) == b"x"

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_other_names_are_refused(self, objects: Objects, name: str) -> None:
        octets = "application/octet-stream"
        with pytest.raises(ValueError, match="name"):
            objects.put(name, b"x", content_type=octets)
        with pytest.raises(ValueError, match="name"):
            objects.put_if_absent(name, b"x", content_type=octets)
        with pytest.raises(ValueError, match="name"):
            objects.get(name)
        with pytest.raises(ValueError, match="name"):
            objects.size_bytes(name)
        with pytest.raises(ValueError, match="name"):
            objects.url(name, expires_in_s=60)
        with pytest.raises(ValueError, match="name"):
            objects.upload_url(name, content_type=octets, size_bytes=1, expires_in_s=60)
        with pytest.raises(ValueError, match="name"):
            objects.delete(name)

    def test_a_reader_keeps_the_object_it_opened(self, objects: Objects) -> None:
        old = b"a" * (3 * 2**20)
        objects.put(NAME, old, content_type=PNG)
        stored = objects.get(NAME)
        assert stored is not None
        objects.put(NAME, b"new", content_type=PNG)
        objects.delete(NAME)
        assert b"".join(stored.chunks) == old

    def test_chunks_close_at_any_point(self, objects: Objects) -> None:
        objects.put(NAME, b"x" * (3 * 2**20), content_type=PNG)
        for read_chunks in (0, 1, 3):
            stored = objects.get(NAME)
            assert stored is not None
            chunks = iter(stored.chunks)
            for _ in range(read_chunks):
                next(chunks)
            stored.chunks.close()
            stored.chunks.close()
        del stored, chunks
        gc.collect()  # an open file would warn here, and warnings are errors

    def test_reopening_sees_everything(self, objects: Objects, backend: ObjectsBackend) -> None:
        objects.put(NAME, b"x", content_type=PNG)
        assert read(backend.open(), NAME) == b"x"

    def test_of_many_threads_one_stores(self, objects: Objects) -> None:
        start = Barrier(RACERS, timeout=MAX_WAIT_S)
        names = [f"race/{n}.png" for n in range(20)]

        def race(racer: int) -> list[str]:
            start.wait()
            own = str(racer).encode()
            return [n for n in names if objects.put_if_absent(n, own, content_type=PNG)]

        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(race, range(RACERS)))
        _one_winner_each(objects, names, won)

    def test_of_many_processes_one_stores(self, objects: Objects, backend: ObjectsBackend) -> None:
        start = barrier(RACERS)
        names = [f"race/{n}.png" for n in range(20)]
        running = [started(put_first, backend, names, f"{racer}", start) for racer in range(RACERS)]
        _one_winner_each(objects, names, results(running))

    def test_readers_see_whole_objects_while_they_are_replaced(self, objects: Objects) -> None:
        letters = [bytes([letter]) * 2**20 for letter in b"abcd"]
        objects.put(NAME, letters[0], content_type=PNG)

        def replace(_: int) -> None:
            for letter in letters * 3:
                objects.put(NAME, letter, content_type=PNG)

        with ThreadPoolExecutor(2) as pool:
            replacing = [pool.submit(replace, n) for n in range(2)]
            seen = {read(objects, NAME)}
            while not all(future.done() for future in replacing):
                seen.add(read(objects, NAME))
        assert seen <= set(letters)
        assert [future.result() for future in replacing] == [None, None]

    @pytest.mark.parametrize("after", [1, 2, 5])
    def test_a_killed_writer_leaves_a_whole_object(
        self, objects: Objects, backend: ObjectsBackend, after: int
    ) -> None:
        process, reports = started(put_until_killed, backend, NAME, LARGE_BYTES)
        last = reports_until_killed(process, reports, after=after)[-1]
        data = read(objects, NAME)
        assert data is not None
        assert len(data) == LARGE_BYTES
        assert set(data) <= {last, last + 1}
        assert len(set(data)) == 1


def _one_winner_each(objects: Objects, names: list[str], won: list[list[str]]) -> None:
    for name in names:
        winners = [racer for racer, taken in enumerate(won) if name in taken]
        assert len(winners) == 1
        assert read(objects, name) == str(winners[0]).encode()

"""The folder holds the contract of `Objects`, and what is its own: plain files."""

from pathlib import Path

import pytest

from storage.contract.objects_contract import LARGE_BYTES, NAME, PNG, ObjectsContract
from storage.contract.processes import reports_until_killed, started
from storage.contract.scratch import Folder
from storage.contract.writers import put_until_killed
from storage.folder import FolderObjects
from storage.objects import ObjectsError, read


class TestContract(ObjectsContract):
    def new_backend(self, folder: Path) -> Folder:
        return Folder(folder / "some" / "objects")


def test_an_object_is_a_plain_file(tmp_path: Path) -> None:
    FolderObjects(tmp_path).put(NAME, b"the bytes", content_type=PNG)
    assert (tmp_path / NAME).read_bytes() == b"the bytes"


def test_a_folder_has_no_addresses(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.put(NAME, b"x", content_type=PNG)
    assert objects.url(NAME, expires_in_s=60) is None


def test_nothing_temporary_stays(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.put(NAME, b"x", content_type=PNG)
    objects.put(NAME, b"y", content_type=PNG)
    assert objects.put_if_absent(NAME, b"z", content_type=PNG) is False
    assert _files(tmp_path) == [tmp_path / NAME]


def test_what_a_killed_writer_leaves_has_no_objects_name(tmp_path: Path) -> None:
    backend = Folder(tmp_path / "some" / "objects")
    for after in (1, 2, 3):
        process, reports = started(put_until_killed, backend, NAME, LARGE_BYTES)
        reports_until_killed(process, reports, after=after)
    objects = backend.open()
    root = tmp_path / "some" / "objects"
    names = [file.relative_to(root).as_posix() for file in _files(root)]
    assert NAME in names
    for left_over in set(names) - {NAME}:
        with pytest.raises(ValueError, match="name"):
            objects.get(left_over)
    assert len(read(objects, NAME) or b"") == LARGE_BYTES


def test_a_root_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectsError, match=str(tmp_path / "file")):
        FolderObjects(tmp_path / "file" / "objects")


def test_an_object_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.put(NAME, b"x", content_type=PNG)
    with pytest.raises(ObjectsError, match=NAME):
        objects.put(f"{NAME}/below.png", b"", content_type=PNG)
    with pytest.raises(ObjectsError, match="images"):
        objects.put("images", b"", content_type="application/octet-stream")
    assert read(objects, NAME) == b"x"
    assert _files(tmp_path) == [tmp_path / NAME]


def test_a_root_that_vanished_is_made_again(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path / "objects")
    (tmp_path / "objects").rmdir()
    assert objects.get(NAME) is None
    objects.put(NAME, b"x", content_type=PNG)
    assert read(objects, NAME) == b"x"


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]

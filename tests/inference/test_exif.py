"""EXIF by itself: what is kept keeps its bytes, and what is damaged harms nothing else."""

import struct

import pytest

from inference import exif
from inference.exif import density_ppi, descriptive, kept, orientation

Tag = tuple[int, int, int, bytes]  # number, type, how many, content


def directory(tags: list[Tag], *, at: int, order: str = "<", following: int = 0) -> bytes:
    """A directory that begins at that offset, and the values that do not fit into it."""
    head, behind = struct.pack(f"{order}H", len(tags)), b""
    end = at + 2 + 12 * len(tags) + 4
    for tag, kind, count, content in tags:
        place = content.ljust(4, b"\0")
        if len(content) > 4:
            place = struct.pack(f"{order}I", end + len(behind))
            behind += content + bytes(len(content) % 2)
        head += struct.pack(f"{order}HHI", tag, kind, count) + place
    return head + struct.pack(f"{order}I", following) + behind


def structure(tags: list[Tag], *, order: str = "<", following: int = 0, more: bytes = b"") -> bytes:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    first = directory(tags, at=8, order=order, following=following)
    return magic + struct.pack(f"{order}I", 8) + first + more


CAMERA: Tag = (0x0110, 2, 4, b"Box\0")


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_keep_their_types_and_bytes(order: str) -> None:
    tags: list[Tag] = [
        CAMERA,
        (0x013B, 2, 5, b"Jos\xe9\0"),  # not the ASCII that it claims to be
        (0x4746, 3, 1, struct.pack(f"{order}H", 5)),
        (0x8298, 2, 8, b"me\0you\0\0"),
        (0x9204, 10, 1, struct.pack(f"{order}ii", 2, 6)),  # signed, and not reduced to 1/3
        (0x9286, 7, 12, b"UNICODE\0h\0i\0"),
        (0xC4A5, 7, 8, b"PrintIM\0"),
    ]
    data = structure(tags, order=order)
    assert kept(exif.read(data), policy="keep") == data


def test_directories_below_are_kept_and_the_thumbnail_is_not() -> None:
    below_at, deepest_at, thumbnail_at = 60, 100, 150
    first = structure(
        [CAMERA, (0x8769, 4, 1, struct.pack("<I", below_at))], following=thumbnail_at
    ).ljust(below_at, b"\0")
    below = directory(
        [(0x9000, 7, 4, b"0232"), (0xA005, 4, 1, struct.pack("<I", deepest_at))], at=below_at
    ).ljust(deepest_at - below_at, b"\0")
    deepest = directory([(1, 2, 4, b"R98\0")], at=deepest_at).ljust(thumbnail_at - deepest_at)
    thumbnail = directory([(0x0201, 7, 9, b"THUMBNAIL")], at=thumbnail_at)
    made = kept(exif.read(first + below + deepest + thumbnail), policy="strip_gps") or b""
    assert b"0232" in made
    assert b"R98" in made
    assert b"THUMBNAIL" not in made
    assert kept(exif.read(made), policy="keep") == made


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff",
     b"x" * 2_000_000, None],
)  # fmt: skip
def test_what_cannot_be_read_is_nothing(data: bytes | None) -> None:
    said = exif.read(data)
    assert said is None
    assert orientation(said) == 1
    assert density_ppi(said) is None
    assert kept(said, policy="keep") is None


def test_a_damaged_tag_does_not_take_the_others_along() -> None:
    far_away = struct.pack("<I", 10**9)
    tags: list[Tag] = [(0x010F, 2, 100, far_away), CAMERA, (0x010E, 99, 4, b"what"),
                       (0x8769, 4, 1, far_away), (0x8825, 4, 0, b"")]  # fmt: skip
    assert kept(exif.read(structure(tags)), policy="keep") == structure([CAMERA])


def test_directories_in_a_circle_come_to_an_end() -> None:
    circle: list[Tag] = [CAMERA, (0x8769, 4, 1, struct.pack("<I", 8)),
                         (0xA005, 4, 1, struct.pack("<I", 8))]  # fmt: skip
    assert kept(exif.read(structure(circle)), policy="keep") is not None


def test_values_that_share_their_bytes_do_not_grow_without_bounds() -> None:
    shared = [(0x9000 + i, 7, 500_000, struct.pack("<I", 8)) for i in range(1000)]
    data = structure([(tag, kind, count, place) for tag, kind, count, place in shared])
    assert kept(exif.read(data + bytes(600_000)), policy="keep") is None


def test_nothing_but_an_orientation_is_nothing() -> None:
    data = structure([(0x0112, 3, 1, b"\3\0")])
    assert orientation(exif.read(data)) == 3
    assert kept(exif.read(data), policy="keep") is None


@pytest.mark.parametrize(
    "tag", [(0x0112, 3, 1, b"\0\0"), (0x0112, 3, 1, b"\x09\0"), (0x0112, 3, 2, b"\6\0\6\0"),
            (0x0112, 2, 2, b"6\0"), (0x0112, 11, 1, b"\0\0\xc0\x40"), (0x0112, 3, 0, b"")]
)  # fmt: skip
def test_an_orientation_that_is_none_is_not_applied(tag: Tag) -> None:
    assert orientation(exif.read(structure([tag]))) == 1


@pytest.mark.parametrize(("across", "down", "unit", "expected"), [
    ((300, 1), (150, 1), 2, (300.0, 150.0)),
    ((100, 1), (100, 1), 3, (254.0, 254.0)),
    ((300, 1), (300, 1), 1, None),
    ((300, 0), (300, 1), 2, None),
])  # fmt: skip
def test_density(
    across: tuple[int, int],
    down: tuple[int, int],
    unit: int,
    expected: tuple[float, float] | None,
) -> None:
    data = structure([
        (0x011A, 5, 1, struct.pack("<II", *across)), (0x011B, 5, 1, struct.pack("<II", *down)),
        (0x0128, 3, 1, struct.pack("<H", unit)),
    ])  # fmt: skip
    assert density_ppi(exif.read(data)) == expected


def test_a_tiff_files_own_tags_are_in_its_order_and_not_about_samples() -> None:
    data = structure([(0x0100, 4, 1, b"\0\0\0\5"), CAMERA, (0x4746, 3, 1, b"\0\5")], order=">")
    described = descriptive(data)
    assert described.keys() == {0x0110, 0x4746}
    assert getattr(described[0x4746], "content", None) == b"\5\0"

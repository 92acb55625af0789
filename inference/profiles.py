"""ICC profiles: whether one suits the samples, and those made of what a PNG says otherwise.

ICC.1:2010 (version 4.3).
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.png_header import MAX_ICC_BYTES

MAX_TAGS = 100

_HEADER_BYTES, _TAG_BYTES = 128, 12
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # those that say what samples look like
_CONNECTIONS = (b"XYZ ", b"Lab ")

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


class Curve(NamedTuple):
    """How samples become light: ((a x + b) ^ g) from d on, and c x below; 0 to 1."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


class Primaries(NamedTuple):
    """Chromaticities, x and y."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


def kept(icc: bytes | None, *, space: bytes) -> bytes | None:
    """A whole profile for samples of this space (`GRAY`, `RGB `, `CMYK`), or None."""
    if icc is None or not _HEADER_BYTES + 4 <= len(icc) <= MAX_ICC_BYTES:
        return None
    if icc[36:40] != b"acsp" or icc[16:20] != space:
        return None
    if icc[12:16] not in _CLASSES or icc[20:24] not in _CONNECTIONS:
        return None
    return icc if _is_whole(icc) else None


def _is_whole(icc: bytes) -> bool:
    """Every tag of the table lies within the profile."""
    size, count = int.from_bytes(icc[:4], "big"), int.from_bytes(icc[128:132], "big")
    if size > len(icc) or not 1 <= count <= MAX_TAGS:
        return False
    table = icc[_HEADER_BYTES + 4 : _HEADER_BYTES + 4 + count * _TAG_BYTES]
    if len(table) < count * _TAG_BYTES:
        return False
    return all(at + length <= size for _, at, length in struct.iter_unpack(">4sII", table))


def of_primaries(primaries: Primaries, curve: Curve) -> bytes | None:
    """An RGB profile; None where the chromaticities are no colour space."""
    if not all(y > 0 and x >= 0 and x + y <= 1 for x, y in primaries):
        return None
    white, *axes = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in primaries)
    unscaled = np.stack(axes, axis=1)
    if abs(np.linalg.det(unscaled)) < 1e-6:
        return None
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_cones(_D50) / _cones(white)) @ _BRADFORD
    matrix = adapted @ (unscaled * np.linalg.solve(unscaled, white))
    if np.abs(matrix).max() > 10:
        return None
    tags = {b"chad": b"sf32" + bytes(4) + _fixed(adapted)}
    for letter, column in zip("rgb", matrix.T, strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ " + bytes(4) + _fixed(column)
        tags[f"{letter}TRC".encode()] = _parametric(curve)
    return _profile(b"RGB ", tags)


def of_grey(curve: Curve) -> bytes:
    """A grey profile."""
    return _profile(b"GRAY", {b"kTRC": _parametric(curve)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags |= {
        b"desc": _text("Described by the picture"),
        b"cprt": _text("No copyright"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(_D50),
    }
    start = _HEADER_BYTES + 4 + _TAG_BYTES * len(tags)
    table, body = b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12s4s28x12s48x",
        start + len(body), 0x04300000, b"mntr", space, b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0), b"acsp", _fixed(_D50),
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body


def _cones(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    return _BRADFORD @ xyz


def _parametric(curve: Curve) -> bytes:
    return b"para" + struct.pack(">4xHxx", 3) + _fixed(curve)


def _text(text: str) -> bytes:
    said = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(said), 28) + said


def _fixed(values: ArrayLike) -> bytes:
    """Numbers with 16 bits behind the point."""
    return np.round(np.ravel(values) * 65_536).astype(">i4").tobytes()

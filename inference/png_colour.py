"""What a PNG's samples mean, as an ICC profile, whichever of its chunks says it.

Portable Network Graphics, third edition (W3C, 2025), section 4.3. The numbers of cICP are those of
ITU-T H.273.
"""

import struct
from collections.abc import Mapping

import numpy as np

from inference import profiles
from inference.png_header import MAX_ICC_BYTES, PngHeader, cicp, inflated
from inference.profiles import Curve, Primaries

_D65 = (0.3127, 0.3290)
SRGB = Primaries(_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_VIDEO_CURVE = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_PRIMARIES = {
    1: SRGB,
    9: Primaries(_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: Primaries((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI P3
    12: Primaries(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
_CURVES = {
    1: _VIDEO_CURVE, 4: Curve(2.2), 5: Curve(2.8), 6: _VIDEO_CURVE, 8: Curve(1.0), 13: SRGB_CURVE,
    14: _VIDEO_CURVE, 15: _VIDEO_CURVE,
}  # fmt: skip
_SRGB_GAMMA, _GAMMA_TOLERANCE, _PLACE_TOLERANCE = 1 / 2.2, 0.006, 0.002
_GAMMAS = (0.1, 5.0)


def icc(header: PngHeader) -> bytes | None:
    """What the samples mean, as a profile: cICP's, iCCP, or one made of gAMA and cHRM.

    None where that is sRGB, where nothing is said, or nothing that can be.
    """
    chunks = header.chunks
    numbers = cicp(chunks)
    if numbers[0] in _PRIMARIES and numbers[1] in _CURVES:
        return _made(header, _PRIMARIES[numbers[0]], _CURVES[numbers[1]])
    if b"iCCP" in chunks:
        _, _, packed = chunks[b"iCCP"].partition(b"\0")
        return inflated(packed[1:], most=MAX_ICC_BYTES)
    if b"sRGB" in chunks or len(chunks.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
    if not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None
    is_usual = abs(gamma - _SRGB_GAMMA) < _GAMMA_TOLERANCE
    return _made(header, _primaries(chunks), SRGB_CURVE if is_usual else Curve(1 / gamma))


def _made(header: PngHeader, primaries: Primaries, curve: Curve) -> bytes | None:
    is_srgb = np.allclose(primaries, SRGB, atol=_PLACE_TOLERANCE)
    if curve == SRGB_CURVE and (is_srgb or header.is_grey):
        return None
    return profiles.of_grey(curve) if header.is_grey else profiles.of_primaries(primaries, curve)


def _primaries(chunks: Mapping[bytes, bytes]) -> Primaries:
    content = chunks.get(b"cHRM", b"")
    if len(content) != 32:
        return SRGB
    said = [each / 100_000 for each in struct.unpack(">8I", content)]
    return Primaries(*zip(said[::2], said[1::2], strict=True))

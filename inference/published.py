"""Every file of weights that we know; those for diffusion are in a file of their own."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from inference.provenance import Weights
from inference.published_diffusion import DIFFUSION

Width = Literal["small", "base"]
Kind = Literal["photo", "clean"]


class Pair(NamedTuple):
    """The built-in networks of one width and kind."""

    x2: Weights
    x4: Weights


_SHIPPED = MappingProxyType(
    {
        "builtin_x2_small_photo": (
            372_472,
            "36fd8aa2e6d5eff82a6528e738a1afc0c98befaa6ceab1ed87b8fb0b3e08420b",
        ),
        "builtin_x4_small_photo": (
            393_280,
            "12dd409d7fe9d85aa0230b2294cdf1006616881122928f0b7a59a15cdf5d8d5a",
        ),
        "builtin_x2_base_photo": (
            825_472,
            "2be0fa701343286b017212ac5f690ac348317679b581c149d9fb08398e4172cd",
        ),
        "builtin_x4_base_photo": (
            856_648,
            "a0ec5789f1dcfde610ca734d3011ab888ed0d440803de5848b9dc4d8bd6a2120",
        ),
        "builtin_x2_small_clean": (
            372_472,
            "e7ab792988cb85b95a03dd529585005ab38cff4548f43f3bffa0464666dc6f8a",
        ),
        "builtin_x4_small_clean": (
            393_280,
            "493057ee3d9910d03968ae707ad3cca93298d4ad0b2731cb829eb504f1f5c7d3",
        ),
        "builtin_x2_base_clean": (
            825_472,
            "9c1eb92d1af4a1673ae64351574d6e091cdf43404dc542cb9ed147de9e982f41",
        ),
        "builtin_x4_base_clean": (
            856_648,
            "8ad5bd472e9712cdee15de85f4f0ca8dd9aa981cadb09b92c6d6ad044aadecc9",
        ),
    }
)
"""Sizes in bytes and SHA-256 of the files beside the code."""


def _built_in(name: str, *, scale: int) -> Weights:
    size_bytes, sha256 = _SHIPPED[name]
    return Weights(
        id=name.replace("_", "-"),
        file=f"{name}.safetensors",
        architecture="builtin",
        scale=scale,
        licence="Apache-2.0",
        sha256=sha256,
        size_bytes=size_bytes,
        attribution=(
            "Trained for this project on pictures that are in the public domain, CC0, CC BY 2.0 to "
            "4.0 or our own; credits in docs/decisions/0002-built-in-networks.md"
        ),
    )


def _pair(width: Width, kind: Kind) -> Pair:
    return Pair(
        _built_in(f"builtin_x2_{width}_{kind}", scale=2),
        _built_in(f"builtin_x4_{width}_{kind}", scale=4),
    )


BUILT_IN: Mapping[tuple[Width, Kind], Pair] = MappingProxyType(
    {
        ("small", "photo"): _pair("small", "photo"),
        ("small", "clean"): _pair("small", "clean"),
        ("base", "photo"): _pair("base", "photo"),
        ("base", "clean"): _pair("base", "clean"),
    }
)

PHOTO = BUILT_IN["base", "photo"]
"""For what people send: it has learned to take blur, noise and JPEG's traces away."""

CLEAN = BUILT_IN["base", "clean"]
"""For good pictures: it takes nothing for damage."""

SECOND_PASS = BUILT_IN["small", "clean"].x2
"""For a first network's output, which is clean, and has sixteen times the pixels."""


def _real_esrgan(
    name: str,
    *,
    version: str,
    architecture: str,
    scale: int,
    size_bytes: int,
    sha256: str,
    twin: Weights | None = None,
    twin_share: float = 0.0,
) -> Weights:
    project = "https://github.com/xinntao/Real-ESRGAN"
    return Weights(
        id=name.lower().replace("_", "-"),
        file=f"{name}.pth",
        architecture=architecture,
        scale=scale,
        licence="BSD-3-Clause",
        sha256=sha256,
        size_bytes=size_bytes,
        attribution=f"{name}, copyright (c) 2021 Xintao Wang, all rights reserved; {project}",
        url=f"{project}/releases/download/{version}/{name}.pth",
        revision=version,
        twin=twin,
        twin_share=twin_share,
    )


X4PLUS = _real_esrgan(
    "RealESRGAN_x4plus",
    version="v0.1.0",
    architecture="rrdbnet",
    scale=4,
    size_bytes=67_040_989,
    sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
)
X2PLUS = _real_esrgan(
    "RealESRGAN_x2plus",
    version="v0.2.1",
    architecture="rrdbnet",
    scale=2,
    size_bytes=67_061_725,
    sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
)
ANIME = _real_esrgan(
    "RealESRGAN_x4plus_anime_6B",
    version="v0.2.2.4",
    architecture="rrdbnet",
    scale=4,
    size_bytes=17_938_799,
    sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
)
GENERAL_WDN = _real_esrgan(
    "realesr-general-wdn-x4v3",
    version="v0.2.5.0",
    architecture="srvgg",
    scale=4,
    size_bytes=4_885_111,
    sha256="1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
)
GENERAL = _real_esrgan(
    "realesr-general-x4v3",
    version="v0.2.5.0",
    architecture="srvgg",
    scale=4,
    size_bytes=4_885_111,
    sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
    twin=GENERAL_WDN,
    twin_share=0.5,  # a denoise strength of one half: the twin leaves noise, and faint strokes, in
)


def _hofmann(name: str, *, architecture: str, scale: int, size_bytes: int, sha256: str) -> Weights:
    project = "https://github.com/Phhofm/models"
    return Weights(
        id=name.lower().replace("_", "-"),
        file=f"{name}.pth",
        architecture=architecture,
        scale=scale,
        licence="CC-BY-4.0",
        sha256=sha256,
        size_bytes=size_bytes,
        attribution=f"{name} by Philip Hofmann; {project}/releases/tag/{name}",
        url=f"{project}/releases/download/{name}/{name}.pth",
        revision=name,
    )


WEB_PHOTO = _hofmann(
    "4xNomosWebPhoto_RealPLKSR",
    architecture="realplksr",
    scale=4,
    size_bytes=29_683_482,
    sha256="a9db66c9b674c6a5025b6ef3bee71a57c33b8605d8a2de0980470f89002efbbe",
)
DAT2 = _hofmann(
    "4xNomos2_hq_dat2",
    architecture="dat",
    scale=4,
    size_bytes=140_196_334,
    sha256="1f2be2b4786b5031776aed90e1818564f5576ab1e44da9355c7f3788ea25bdea",
)
SPAN = _hofmann(
    "4xNomosUni_span_multijpg",
    architecture="span",
    scale=4,
    size_bytes=4_546_346,
    sha256="3a9037c36de90e7825c030176c8e193dfd7897ef4b5df91b8bdc59ffb6ab65ca",
)
DENOISE = _hofmann(
    "1xDeNoise_realplksr_otf",
    architecture="realplksr",
    scale=1,
    size_bytes=29_559_554,
    sha256="f4774fbe13ceaa9df390343c2baaa980061458ef27292fa6aca6740d87608a8e",
)

_ZOO_REVISION = "47534e27c9851bb1128ccc0102f1145e27f23f98"
YUNET = Weights(
    id="yunet-2026may",
    file="face_detection_yunet_2026may.onnx",
    architecture="yunet",
    scale=1,
    licence="MIT",
    sha256="ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    size_bytes=229_738,
    attribution="YuNet, copyright (c) 2020 Shiqi Yu; https://github.com/opencv/opencv_zoo",
    url=(
        f"https://media.githubusercontent.com/media/opencv/opencv_zoo/{_ZOO_REVISION}"
        "/models/face_detection_yunet/face_detection_yunet_2026may.onnx"
    ),
    revision=_ZOO_REVISION,
)


def restoreformer(sha256: str) -> Weights:
    """RestoreFormer++, by the hash that an operator states: no source of it that we could pin."""
    project = "https://github.com/wzhouxiff/RestoreFormerPlusPlus"
    return Weights(
        id="restoreformer-plus-plus",
        file="RestoreFormer++.ckpt",
        architecture="restoreformer",
        scale=1,
        licence="Apache-2.0",
        sha256=sha256,
        size_bytes=294_028_815,
        attribution=f"RestoreFormer++ by Zhouxia Wang et al.; {project}",
        url=f"{project}/releases/download/v1.0.0/RestoreFormer%2B%2B.ckpt",
        revision="v1.0.0",
    )


ALL: tuple[Weights, ...] = (
    *(weights for pair in BUILT_IN.values() for weights in pair),
    X4PLUS, X2PLUS, ANIME, GENERAL, GENERAL_WDN, WEB_PHOTO, DAT2, SPAN, DENOISE, YUNET,
    *DIFFUSION,
)  # fmt: skip
"""Every row, the built-in ones first."""

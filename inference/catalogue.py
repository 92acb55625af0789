"""What can be asked for, and which weights answer: data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from inference.errors import ModelUnknown
from inference.params import Factor

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
"""Where the weights lie that ship with the code."""


@dataclass(frozen=True)
class Weights:
    """One file of weights. `attribution` is the credit its licence or its training set asks for.

    `url` is None for what ships with the code. `twin` is a file of the same shape: every tensor is
    (1 - twin_share) times this file's plus `twin_share` times the twin's.
    """

    id: str
    file: str
    architecture: str
    scale: int
    licence: str
    sha256: str
    size_bytes: int
    attribution: str
    url: str | None = None
    revision: str = ""
    twin: "Weights | None" = None
    twin_share: float = 0.0


Recipes = Mapping[Factor, tuple[Weights, ...]]
"""The weights for each factor, in the order in which their networks run."""


@dataclass(frozen=True)
class Slot:
    """One variant of a model: what should serve it, and what does while that is not installed."""

    recipes: Recipes
    fallback: Recipes
    note: str


@dataclass(frozen=True)
class Serving:
    """The weights that serve a slot here, in the order in which their networks run."""

    weights: tuple[Weights, ...]
    is_fallback: bool


@dataclass(frozen=True)
class Model:
    """Something a customer can name."""

    id: str
    label: str
    description: str
    slots: Mapping[str, Slot]


_TRAINING_SET = (
    "Trained for this project on 570 pictures that are in the public domain, CC0, CC BY 2.0 to 4.0 "
    "or our own; credits in docs/decisions/0002-built-in-network.md"
)

BUILT_IN_X2 = Weights(
    id="builtin-x2",
    file="builtin_x2.safetensors",
    architecture="builtin",
    scale=2,
    licence="Apache-2.0",
    sha256="29ddfb79685d0ac5baf56f18c0681d2939b9945d43554126cfc2d808add20d87",
    size_bytes=372_448,
    attribution=_TRAINING_SET,
)
BUILT_IN_X4 = Weights(
    id="builtin-x4",
    file="builtin_x4.safetensors",
    architecture="builtin",
    scale=4,
    licence="Apache-2.0",
    sha256="62d591cabbbd8007a4a42ed98ae9b5234fb5a319c587b0dbda7e7b2b23bb3243",
    size_bytes=393_256,
    attribution=_TRAINING_SET,
)

_BUILT_IN = Slot(
    recipes=MappingProxyType({}),
    fallback=MappingProxyType(
        {
            1: (BUILT_IN_X2,),
            2: (BUILT_IN_X2,),
            4: (BUILT_IN_X4,),
            6: (BUILT_IN_X4, BUILT_IN_X2),
            8: (BUILT_IN_X4, BUILT_IN_X2),
        }
    ),
    note="Served by the built-in network, which is small and the same for every variant",
)
_NOT_INSTALLED = Slot(
    recipes=MappingProxyType({}),
    fallback=MappingProxyType({}),
    note="Needs diffusion weights, which this version cannot install yet",
)

TOPAZ = Model(
    id="topaz-image-upscale",
    label="Topaz Image Upscale",
    description=(
        "Faithful enlargement that adds nothing to the picture. "
        "Every variant is currently served by the built-in network."
    ),
    slots=MappingProxyType(
        dict.fromkeys(
            (
                "standard-v2",
                "low-res-v2",
                "cgi",
                "high-fidelity-v2",
                "text-refine",
                "redefine",
            ),
            _BUILT_IN,
        )
    ),
)
CLARITY = Model(
    id="clarity-upscale",
    label="Clarity Upscale",
    description="Creative enlargement that invents detail. Its weights are not installed.",
    slots=MappingProxyType({"creative": _NOT_INSTALLED}),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.id: model for model in (TOPAZ, CLARITY)})


def serving(slot: Slot, factor: Factor, *, folder: Path) -> Serving:
    """What serves a slot with the weights that `folder` has; raises `ModelUnknown` if nothing."""
    wanted = slot.recipes.get(factor, ())
    if wanted and all(is_present(weights, folder) for weights in wanted):
        return Serving(wanted, is_fallback=False)
    if factor not in slot.fallback:
        raise ModelUnknown(f"{slot.note}; nothing here enlarges by {factor}")
    return Serving(slot.fallback[factor], is_fallback=True)


def weights_path(weights: Weights, folder: Path) -> Path:
    """Where a file of weights lies: beside the code, or in the folder of those pulled."""
    return (WEIGHTS_FOLDER if weights.url is None else folder) / weights.file


def is_present(weights: Weights, folder: Path) -> bool:
    """Whether the file and its twin's have their sizes; what is in them is verified at loading."""
    files = (weights, weights.twin) if weights.twin else (weights,)
    return all(_size_bytes(weights_path(each, folder)) == each.size_bytes for each in files)


def installed_models(folder: Path = WEIGHTS_FOLDER) -> frozenset[str]:
    """The models of which every slot can be served, for every factor, with what `folder` has."""
    return frozenset(
        model.id
        for model in MODELS.values()
        if all(slot.fallback or slot.recipes for slot in model.slots.values())
        and all(
            is_present(weights, folder)
            for slot in model.slots.values()
            for factor in slot.fallback or slot.recipes
            for weights in serving(slot, factor, folder=folder).weights
        )
    )


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None

"""What can be asked for, and which weights answer: data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

WEIGHTS_FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Weights:
    """One file of weights. `attribution` is the credit its licence or its training set asks for."""

    id: str
    file: str
    scale: int
    licence: str
    sha256: str
    attribution: str


@dataclass(frozen=True)
class Slot:
    """One variant of a model: the network that serves it, by the factor that network enlarges."""

    network: str
    weights: tuple[Weights, ...]
    note: str


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
    scale=2,
    licence="Apache-2.0",
    sha256="29ddfb79685d0ac5baf56f18c0681d2939b9945d43554126cfc2d808add20d87",
    attribution=_TRAINING_SET,
)
BUILT_IN_X4 = Weights(
    id="builtin-x4",
    file="builtin_x4.safetensors",
    scale=4,
    licence="Apache-2.0",
    sha256="62d591cabbbd8007a4a42ed98ae9b5234fb5a319c587b0dbda7e7b2b23bb3243",
    attribution=_TRAINING_SET,
)

_BUILT_IN = Slot(
    network="builtin",
    weights=(BUILT_IN_X2, BUILT_IN_X4),
    note="Served by the built-in network, which is small and the same for every variant",
)
_NOT_INSTALLED = Slot(
    network="clarity",
    weights=(),
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


def installed_models(folder: Path = WEIGHTS_FOLDER) -> frozenset[str]:
    """The models of which every slot has all its weights in `folder`."""
    return frozenset(
        model.id
        for model in MODELS.values()
        if all(is_installed(slot, folder) for slot in model.slots.values())
    )


def is_installed(slot: Slot, folder: Path) -> bool:
    """Whether a slot has weights and all of their files exist."""
    return bool(slot.weights) and all((folder / weights.file).is_file() for weights in slot.weights)

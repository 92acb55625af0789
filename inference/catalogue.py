"""What can be asked for, and which networks answer: what they should be, and what they are here."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from inference.errors import ModelUnknown
from inference.params import USUAL_CREATION, CreativeOptions, Factor
from inference.provenance import Weights
from inference.published import (
    ANIME,
    CLEAN,
    DAT2,
    DENOISE,
    GENERAL,
    PHOTO,
    SECOND_PASS,
    WEB_PHOTO,
    X2PLUS,
    X4PLUS,
    YUNET,
    Pair,
)
from inference.published_diffusion import (
    CLIP_MERGES,
    CLIP_VOCABULARY,
    LCM_LORA,
    STABLE_DIFFUSION,
    TILE_CONTROLNET,
)

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
"""Where the weights lie that ship with the code."""

Recipes = Mapping[Factor, tuple[Weights, ...]]
"""The weights for each factor, in the order in which their networks run.

What they enlarge together is the factor or more; the rest is taken back by a reduction.
"""


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


def _recipes(*, one: Weights, two: Weights, four: Weights) -> Recipes:
    """Six and eight are four and then two, by a network for clean pictures: two networks in a row
    that each restore turn everything to plastic.
    """
    twice = (four, SECOND_PASS)
    return MappingProxyType({1: (one,), 2: (two,), 4: (four,), 6: twice, 8: twice})


def _built_in(pair: Pair) -> Recipes:
    return _recipes(one=pair.x2, two=pair.x2, four=pair.x4)


TOPAZ = Model(
    id="topaz-image-upscale",
    label="Topaz Image Upscale",
    description="Faithful enlargement: it restores, and invents little or nothing.",
    slots=MappingProxyType(
        {
            "standard-v2": Slot(
                recipes=_recipes(one=DENOISE, two=X2PLUS, four=WEB_PHOTO),
                fallback=_built_in(PHOTO),
                note="Photographs as the web has them: trained on noise, blur and recompression",
            ),
            "low-res-v2": Slot(
                recipes=_recipes(one=X2PLUS, two=X2PLUS, four=X4PLUS),
                fallback=_built_in(PHOTO),
                note="Small and damaged pictures: the widest range of damage in training",
            ),
            "cgi": Slot(
                recipes=_recipes(one=ANIME, two=ANIME, four=ANIME),
                fallback=_built_in(CLEAN),
                note="Drawings and renderings: flat areas stay flat, lines stay lines",
            ),
            "high-fidelity-v2": Slot(
                recipes=_recipes(one=DAT2, two=DAT2, four=DAT2),
                fallback=_built_in(CLEAN),
                note="Good pictures: trained on clean ones, so it takes nothing for damage; slow",
            ),
            "text-refine": Slot(
                recipes=_recipes(one=GENERAL, two=GENERAL, four=GENERAL),
                fallback=_built_in(CLEAN),
                note="Text: a small network, which invents least; even so it can get letters wrong",
            ),
            "redefine": Slot(
                recipes=_recipes(one=X4PLUS, two=X4PLUS, four=X4PLUS),
                fallback=_built_in(PHOTO),
                note="Texture where little is left: the one of these that invents most",
            ),
        }
    ),
)

_BESIDE_A_CHECKPOINT = (TILE_CONTROLNET, CLIP_VOCABULARY, CLIP_MERGES)

CLARITY = Model(
    id="clarity-upscale",
    label="Clarity Upscale",
    description="Creative enlargement: diffusion invents detail, as a prompt says.",
    slots=MappingProxyType(
        {
            "clarity": Slot(
                recipes=MappingProxyType(
                    dict.fromkeys((1, 2, 4, 8), (STABLE_DIFFUSION, *_BESIDE_A_CHECKPOINT))
                ),
                fallback=MappingProxyType({}),
                note="Invents detail, which no small network can do in its place",
            )
        }
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.id: model for model in (TOPAZ, CLARITY)})

FACES: tuple[Weights, ...] = (YUNET,)
"""What face enhancement needs besides a restorer, which the operator chooses."""


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
    return all(_size_bytes(weights_path(each, folder)) == each.size_bytes for each in weights.files)


def needed(slot: Slot) -> tuple[Weights, ...]:
    """Every file that a slot's recipes name, twins included, each once."""
    named = chain.from_iterable(slot.recipes.values())
    return tuple(dict.fromkeys(each for weights in named for each in weights.files))


def has_faces(folder: Path, *, restorer: Weights | None) -> bool:
    """Whether faces can be enhanced: the detector and a restorer of the operator's are here."""
    return restorer is not None and all(is_present(each, folder) for each in (*FACES, restorer))


def in_use(
    folder: Path, *, restorer: Weights | None = None, creative: CreativeOptions = USUAL_CREATION
) -> frozenset[Weights]:
    """Every file that serves something here, built-in ones and twins included."""
    served = [
        serving(slot, factor, folder=folder).weights
        for slot in TOPAZ.slots.values()
        for factor in slot.fallback
    ]
    if has_faces(folder, restorer=restorer) and restorer is not None:
        served.append((*FACES, restorer))
    if has_creative(folder, options=creative):
        served.append(creative_files(creative))
    return frozenset(each for weights in chain.from_iterable(served) for each in weights.files)


def creative_files(options: CreativeOptions) -> tuple[Weights, ...]:
    """What Clarity needs of the catalogue's; an operator's checkpoint is not among that."""
    checkpoint = () if options.checkpoint else (STABLE_DIFFUSION,)
    few_steps = (LCM_LORA,) if options.is_few_step else ()
    return (*checkpoint, *_BESIDE_A_CHECKPOINT, *few_steps)


def has_creative(folder: Path, *, options: CreativeOptions = USUAL_CREATION) -> bool:
    """Whether Clarity can be served, as the operator wants it."""
    own = [options.checkpoint] if options.checkpoint else []
    own += [lora.file for lora in options.loras]
    has_own = all(path.exists() for path in own)
    return has_own and all(is_present(weights, folder) for weights in creative_files(options))


def installed_models(
    folder: Path = WEIGHTS_FOLDER, *, creative: CreativeOptions = USUAL_CREATION
) -> frozenset[str]:
    """The models of which every slot can be served, for every factor, with what `folder` has."""
    has_faithful = all(_is_servable(slot, folder) for slot in TOPAZ.slots.values())
    has_all = {TOPAZ.id: has_faithful, CLARITY.id: has_creative(folder, options=creative)}
    return frozenset(model_id for model_id, is_here in has_all.items() if is_here)


def _is_servable(slot: Slot, folder: Path) -> bool:
    return all(
        is_present(weights, folder)
        for factor in slot.fallback
        for weights in serving(slot, factor, folder=folder).weights
    )


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None

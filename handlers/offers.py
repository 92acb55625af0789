"""What the models are, what they cost, and which networks serve them here, in words."""

from collections.abc import Iterable
from pathlib import Path

from handlers.apiframe_wire import ModelInfo
from inference.catalogue import CLARITY, MODELS, TOPAZ, Model, Slot, serving
from inference.provenance import Weights
from jobs.services import Services


def offered(services: Services) -> list[ModelInfo]:
    """Every model, whether its weights are installed or not; prices are in credits."""
    prices = services.prices
    tiers = [tier.credits for tier in prices.topaz_tiers]
    costs = {
        TOPAZ.id: (min(tiers), max(tiers), "megapixels"),
        CLARITY.id: (prices.clarity(), prices.clarity(), "flat"),
    }
    return [
        ModelInfo(
            id=model.id,
            label=model.label,
            modality="image",
            description=described(model, services),
            costMin=costs[model.id][0],
            costMax=costs[model.id][1],
            pricingMode=costs[model.id][2],
        )
        for model in MODELS.values()
    ]


def described(model: Model, services: Services) -> str:
    """The model's description, and which networks serve its slots with the weights here."""
    if model.id not in services.models:
        return f"{model.description} Its weights are not installed."
    folder = services.weights_folder
    served: dict[str, list[str]] = {}
    for name, slot in model.slots.items():
        if slot.fallback:
            served.setdefault(_networks(slot, folder), []).append(name)
    if not served:
        return model.description
    said = "; ".join(f"{', '.join(names)} by {networks}" for networks, names in served.items())
    return f"{model.description} Served here: {said}."


def _networks(slot: Slot, folder: Path) -> str:
    chosen = {factor: serving(slot, factor, folder=folder) for factor in slot.fallback}
    own = _ids(
        weights for each in chosen.values() if not each.is_fallback for weights in each.weights
    )
    meanwhile = [f"x{factor}" for factor, each in chosen.items() if each.is_fallback]
    if not own:
        return "the built-in network, while its own weights are not installed"
    return f"{own} ({', '.join(meanwhile)}: the built-in network)" if meanwhile else own


def _ids(weights: Iterable[Weights]) -> str:
    return ", ".join(dict.fromkeys(each.id for each in weights))

"""What is known of a file of weights: whose it is, where it comes from, and what must be in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LICENCES: Mapping[str, str] = MappingProxyType(
    {
        "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
        "BSD-3-Clause": "https://opensource.org/license/bsd-3-clause",
        "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
        "CreativeML-OpenRAIL-M": (
            "https://huggingface.co/spaces/CompVis/stable-diffusion-license/raw/main/license.txt"
        ),
        "MIT": "https://opensource.org/license/mit",
        "OpenRAIL": "https://huggingface.co/lllyasviel/ControlNet-v1-1",
        "OpenRAIL++-M": (
            "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/raw/main/LICENSE.md"
        ),
    }
)
"""The licences that we take weights under, with their texts; all of them allow commercial use.

The OpenRAIL ones name uses that are forbidden, and want that passed on to whoever uses a service.
"""


@dataclass(frozen=True)
class Weights:
    """One file of weights. `attribution` is the credit its licence or its training set asks for.

    `url` is None for what ships with the code; `revision` names the version that it points to.
    With a `twin`, a file of the same shape, every tensor is (1 - twin_share) times this file's plus
    `twin_share` times the twin's.
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

    @property
    def files(self) -> tuple["Weights", ...]:
        """This file and, if it has one, its twin."""
        return (self,) if self.twin is None else (self, self.twin)

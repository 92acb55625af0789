"""Group normalisation whose statistics can be those of a whole picture, while it sees a tile."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SharedNorm(nn.GroupNorm):
    """A group normalisation (Wu and He 2018, arXiv:1803.08494) with its own statistics, unless
    others are given to it. Its tensors keep their names.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias
        self.is_listening = False
        self.given: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """(1, channels, ...) normalised."""
        if self.is_listening:
            groups = features.float().reshape(self.num_groups, -1)
            variance, mean = torch.var_mean(groups, dim=1, correction=0)
            self.given = variance, mean
        elif self.given is not None:
            return self._by(*self.given, features)
        return super().forward(features)

    def _by(self, variance: Tensor, mean: Tensor, features: Tensor) -> Tensor:
        each = self.num_channels // self.num_groups
        # What a batch normalisation does at inference; it computes in fp32 whatever the features.
        return F.batch_norm(
            features,
            mean.repeat_interleave(each),
            variance.repeat_interleave(each),
            self.weight.float(),
            self.bias.float(),
            eps=self.eps,
        )


def share(network: nn.Module) -> list[SharedNorm]:
    """Put one in the place of every group normalisation of the network; gives all there are."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm) and not isinstance(child, SharedNorm):
                setattr(module, name, SharedNorm(child))
    return [module for module in network.modules() if isinstance(module, SharedNorm)]


@contextmanager
def listening(norms: list[SharedNorm]) -> Iterator[None]:
    """What goes through the network meanwhile gives the statistics for what follows."""
    for norm in norms:
        norm.is_listening = True
    try:
        yield
    finally:
        for norm in norms:
            norm.is_listening = False


@contextmanager
def forgetting(norms: list[SharedNorm]) -> Iterator[None]:
    """Afterwards each has its own statistics again."""
    try:
        yield
    finally:
        for norm in norms:
            norm.given = None

"""Where networks run, and what differs between there: numbers, sizes, and how pixels travel."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from inference.chain import Chain
from inference.errors import DeviceMissing, NotANumber
from inference.networks.network import Network
from inference.params import DeviceName
from inference.picture import Samples
from inference.tiling import Span, Windows

Bits = Literal[8, 16]
"""The depths of samples."""

TORCH_TYPES: Mapping[Bits, torch.dtype] = {8: torch.uint8, 16: torch.uint16}
"""The type of samples of so many bits."""

Source = Callable[[Span, Span], Tensor]
"""Takes a window's rows and columns, and gives its samples, (c, h, w), on the network's device, of
their own integer type and not to be changed.
"""

Fetched = Callable[[], Samples]
"""Waits for rows that are on their way, and gives them; they are whoever gets them to keep."""


class Sizes(NamedTuple):
    """How much goes through a network at once."""

    windows: Windows
    batch_tiles: int

    def smaller(self) -> "Sizes":
        """About half: first of the batch, then of the window's longer side."""
        (rows_px, columns_px), batch_tiles = self
        if batch_tiles > 1:
            return Sizes(self.windows, batch_tiles // 2)
        if columns_px >= rows_px:
            return Sizes(Windows(rows_px, columns_px // 2), 1)
        return Sizes(Windows(rows_px // 2, columns_px), 1)


class Device(ABC):
    """A processor that networks run on."""

    torch_device: torch.device
    ahead: int
    """How many finished bands may wait while later ones are computed."""

    @abstractmethod
    def prepare(self, network: Network, *, bits: Bits = 8) -> Network:
        """The network, on this device, in numbers that are precise enough for results of `bits`."""

    @abstractmethod
    def sizes(self, chain: Chain) -> Sizes:
        """What serves a chain well here."""

    @abstractmethod
    def upload(self, samples: Samples, *, width_px: int, height_px: int) -> Source:
        """Keep samples, (h, w, c), with edges repeated up to that size."""

    @abstractmethod
    def fetch(self, band: Tensor, *, is_finite: Tensor) -> Fetched:
        """Begin to bring a band back. Waiting for it raises `NotANumber` if it is not finite."""

    @abstractmethod
    def release(self) -> None:
        """Give back the memory that is kept for later, after there was too little."""


def device_named(name: DeviceName) -> Device:
    """`auto` is CUDA where there is one. Raises `DeviceMissing`."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise DeviceMissing("There is no CUDA device here")
    return Cuda() if has_cuda and name != "cpu" else Cpu()


def padded(samples: Samples, *, width_px: int, height_px: int) -> Samples:
    """Samples with their last row and column repeated up to that size."""
    height, width = samples.shape[:2]
    if (width, height) == (width_px, height_px):
        return samples
    margins = ((0, height_px - height), (0, width_px - width), (0, 0))
    return cast(Samples, np.pad(samples, margins, mode="edge"))


CPU_WINDOWS = Windows(rows_px=288, columns_px=512)
"""A fifth of it is margin for the built-in networks. In bfloat16 smaller ones are not faster; half
of it would be by a tenth in fp32, and lose that to the margins. Wide, for thin bands.
"""

LEAST_HALOS = 6
"""A window has at least this many halos a side: with fewer, most of the work would be margin."""


class Cpu(Device):
    """This machine's processor; in bfloat16, with `has_bfloat16`, where that suffices.

    For the built-in networks it does: 2 to 10 % of the values of an 8-bit result differ, nearly all
    by one level, the worst by three, and the PSNR between the two is 58 dB or more (measured on
    Kodak pictures at a third of their size). It is 1.7 times as fast.
    """

    def __init__(self, *, has_bfloat16: bool | None = None) -> None:
        self.torch_device = torch.device("cpu")
        self.ahead = 0
        self._has_bfloat16 = _has_native_bfloat16() if has_bfloat16 is None else has_bfloat16

    def prepare(self, network: Network, *, bits: Bits = 8) -> Network:
        """In bfloat16 for 8 bits, where both the network and the processor bear it; else fp32."""
        if self._has_bfloat16 and network.bears_bfloat16 and bits == 8:
            network = network.bfloat16()
        return _interleaved(network)

    def sizes(self, chain: Chain) -> Sizes:
        """One window at a time, smaller where a later network gets an enlarged one."""
        least_px = max(LEAST_HALOS * chain.overlap.halo_px, chain.overlap.least_px)
        sides = (max(side // chain.input_scale, least_px) for side in CPU_WINDOWS)
        return Sizes(Windows(*sides), batch_tiles=1)

    def upload(self, samples: Samples, *, width_px: int, height_px: int) -> Source:
        """Nothing to do but the edges."""
        whole = padded(samples, width_px=width_px, height_px=height_px)

        def window(rows: Span, columns: Span) -> Tensor:
            copy = np.array(whole[slice(*rows), slice(*columns)])  # torch wants what it could write
            return torch.from_numpy(copy).permute(2, 0, 1)

        return window

    def fetch(self, band: Tensor, *, is_finite: Tensor) -> Fetched:
        """Nothing to wait for."""
        if not is_finite:
            raise NotANumber
        rows = cast(Samples, band.numpy())
        return lambda: rows

    def release(self) -> None:
        """Freed memory is the system's already."""


CUDA_WINDOWS = Windows(rows_px=1024, columns_px=1024)
CUDA_BATCH_TILES = 1
"""A million pixels at once fill the largest cards; fewer and larger windows have less margin: of
one this large x4plus, whose margin is 64 px, keeps three quarters, of one half as wide a half.
"""


class Cuda(Device):
    """An NVIDIA card: 16-bit floats, channels last; the copies back run beside the computing.

    The host runs at most a band ahead of what it hands on, and waits for nothing else. Pinned
    memory comes from torch's cache of it, which takes a block back when its copy is done.
    """

    def __init__(self) -> None:
        self.torch_device = torch.device("cuda")
        self.ahead = 1
        self._copies = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        torch.backends.cudnn.benchmark = True  # all windows have one shape: searching pays

    def prepare(self, network: Network, *, bits: Bits = 8) -> Network:  # noqa: ARG002
        """In the 16-bit type that it bears: fp16 adds a twentieth of an 8-bit level at most."""
        return _interleaved(network.to(self.torch_device, network.half_type))

    def sizes(self, chain: Chain) -> Sizes:
        """As many pixels at once in every network of the chain."""
        least_px = max(LEAST_HALOS * chain.overlap.halo_px, chain.overlap.least_px)
        sides = (max(side, least_px) for side in CUDA_WINDOWS)
        return Sizes(Windows(*sides), max(1, CUDA_BATCH_TILES // chain.input_scale**2))

    def upload(self, samples: Samples, *, width_px: int, height_px: int) -> Source:
        """One copy, out of pinned memory."""
        whole = padded(samples, width_px=width_px, height_px=height_px)
        dtype = TORCH_TYPES[8 if whole.itemsize == 1 else 16]
        pinned = torch.empty(whole.shape, dtype=dtype, pin_memory=True)
        pinned.numpy()[...] = whole
        kept = pinned.to(self.torch_device, non_blocking=True).permute(2, 0, 1)
        return lambda rows, columns: kept[:, slice(*rows), slice(*columns)]

    def fetch(self, band: Tensor, *, is_finite: Tensor) -> Fetched:
        """Copy in the second stream, once the first has come to here."""
        rows = torch.empty(band.shape, dtype=band.dtype, pin_memory=True)
        flag = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._copies.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._copies):
            rows.copy_(band, non_blocking=True)
            flag.copy_(is_finite, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        for used in (band, is_finite):
            used.record_stream(self._copies)

        def wait() -> Samples:
            arrived.synchronize()
            if not flag:
                raise NotANumber
            return cast(Samples, rows.numpy())

        return wait

    def release(self) -> None:
        """Back to the driver, once nothing runs that uses it."""
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def _has_native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it is emulated, it is slower."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _interleaved(network: Network) -> Network:
    """Weights in the memory format that the pixels come in."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network

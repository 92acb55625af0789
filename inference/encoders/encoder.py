"""What every encoder does: check the rows that come, and gather them into bands."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import BinaryIO, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from inference.picture import Metadata, Samples

Rows = Samples
"""(n, w, channels) of 8 or 16 bits; grey without alpha may be (n, w)."""


class Shape(NamedTuple):
    """A picture's size and samples: 1 channel is grey, 2 grey and alpha, 3 RGB, 4 RGBA."""

    width_px: int
    height_px: int
    channels: Literal[1, 2, 3, 4]
    bits: Literal[8, 16]

    @property
    def row_bytes(self) -> int:
        """What one row takes in memory."""
        return self.width_px * self.channels * self.bits // 8


class Encoder(ABC):
    """A file in the making. Used as a context, it is closed at the end, or abandoned by an error.

    An abandoned file stays incomplete in the sink. Whatever `write` or `close` raise, be it the
    sink's own error, abandons the file; they refuse to go on after that.
    """

    def __init__(self, sink: BinaryIO, *, shape: Shape, metadata: Metadata) -> None:
        if min(shape.width_px, shape.height_px) < 1:
            raise ValueError(f"a picture of {shape.width_px} x {shape.height_px} pixels")
        self._sink = sink
        self._shape = shape
        self._metadata = metadata
        self._band: NDArray[np.uint8] | NDArray[np.uint16] | None = None
        self._in_band = 0
        self._rows_left = shape.height_px
        self._is_open = True
        self._start()

    def write(self, rows: Rows) -> None:
        """Take the next rows from the top, any number of them; they may be reused afterwards.

        Waits while the sink or the compression lag behind. `ValueError` for rows of another
        shape or type than was said, and for more of them.
        """
        self._check_open()
        try:
            self._gather(self._checked(rows))
        except BaseException:
            self.abandon()
            raise

    def close(self) -> None:
        """Finish the file; the sink stays open. `ValueError` if rows are missing."""
        if not self._is_open:
            return
        try:
            if self._rows_left:
                raise ValueError(f"the last {self._rows_left} rows are missing")
            self._finish()
        except BaseException:
            self.abandon()
            raise
        self._is_open = False

    def abandon(self) -> None:
        """Stop here and leave the file incomplete."""
        self._is_open, self._band = False, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    @property
    @abstractmethod
    def _band_px(self) -> int:
        """How many rows a band has; only the last may have fewer."""

    @abstractmethod
    def _start(self) -> None:
        """Write what precedes the pixels."""

    @abstractmethod
    def _encode(self, band: Rows) -> None:
        """Take a band, (n, w, channels), and keep it if need be."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what follows the pixels; all rows have been there."""

    def _check_open(self) -> None:
        if not self._is_open:
            raise ValueError("the file is closed or abandoned")

    def _checked(self, rows: Rows) -> Rows:
        shape = self._shape
        if rows.ndim == 2 and shape.channels == 1:
            rows = rows[..., None]
        if rows.dtype != f"u{shape.bits // 8}" or rows.shape[1:] != (
            shape.width_px,
            shape.channels,
        ):
            raise ValueError(f"{rows.dtype} rows of {rows.shape[1:]} for a picture of {shape}")
        if len(rows) > self._rows_left:
            raise ValueError(f"{len(rows)} rows where {self._rows_left} are left")
        return rows

    def _gather(self, rows: Rows) -> None:
        while len(rows):
            if self._band is None:
                height = min(self._band_px, self._rows_left)
                self._band, self._in_band = np.empty((height, *rows.shape[1:]), rows.dtype), 0
            taken = min(len(rows), len(self._band) - self._in_band)
            self._band[self._in_band : self._in_band + taken] = rows[:taken]
            self._in_band += taken
            self._rows_left -= taken
            rows = rows[taken:]
            if self._in_band == len(self._band):
                band, self._band = self._band, None
                self._encode(band)


def eight_bits(band: Rows) -> NDArray[np.uint8]:
    """16 bits rounded to the nearest of 8; 8 bits as they are."""
    if band.dtype == np.uint8:
        return band.astype(np.uint8, copy=False)
    return ((band.astype(np.uint32) + 128) // 257).astype(np.uint8)

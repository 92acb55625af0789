"""Threads behind an encoder: in order, not too many bands at once, and their errors told."""

import io
from collections.abc import Callable

import numpy as np
import pytest

from inference.encoders import Rows, Shape
from inference.encoders.parallel import (
    BAND_BYTES,
    BANDS_WAITING_PER_THREAD,
    MAX_THREADS,
    ParallelEncoder,
)
from inference.picture import Metadata

BANDS = 3 * MAX_THREADS * BANDS_WAITING_PER_THREAD


class Numbers(ParallelEncoder[int]):
    """Packs a band into its first value; notes in which order, and how many were under way."""

    def _start(self) -> None:
        super()._start()
        self.put: list[int] = []
        self.most_under_way = 0
        self._under_way = 0

    def _task(self, band: Rows) -> Callable[[], int]:
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        return lambda: self._value(band)

    def _value(self, band: Rows) -> int:
        value = int(band[0, 0, 0])
        if value == 255:
            raise ArithmeticError("this band cannot be packed")
        return value

    def _put(self, packed: int) -> None:
        self._under_way -= 1
        self.put.append(packed)

    def _end(self) -> None:
        self.put.append(-1)


def numbers(bands: int) -> Numbers:
    """An encoder whose bands are one row each."""
    return Numbers(io.BytesIO(), shape=Shape(BAND_BYTES, bands, 1, 8), metadata=Metadata())


def rows(*values: int) -> Rows:
    """A row of each value."""
    return np.repeat(np.array(values, np.uint8)[:, None], BAND_BYTES, axis=1)


def write_all(encoder: Numbers, value: int) -> None:
    for _ in range(BANDS):
        encoder.write(rows(value))


def test_bands_come_out_in_order_and_few_at_a_time() -> None:
    encoder = numbers(BANDS)
    with encoder:
        for number in range(BANDS):
            encoder.write(rows(number))
    assert encoder.put == [*range(BANDS), -1]
    assert encoder.most_under_way <= MAX_THREADS * BANDS_WAITING_PER_THREAD + 1


def test_what_a_thread_raises_comes_out_of_close() -> None:
    encoder = numbers(2)
    with pytest.raises(ArithmeticError), encoder:
        encoder.write(rows(1, 255))
    assert -1 not in encoder.put


def test_what_a_thread_raises_comes_out_of_a_later_write() -> None:
    encoder = numbers(BANDS)
    with pytest.raises(ArithmeticError):
        write_all(encoder, 255)
    with pytest.raises(ValueError, match="closed or abandoned"):
        encoder.write(rows(1))

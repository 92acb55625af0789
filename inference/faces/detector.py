"""Finding faces: YuNet, run by ONNX Runtime over windows of a picture at two scales.

Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research 20, 2023).
It finds faces of 10 to 300 pixels, so every picture is also looked at reduced.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

from inference.checkpoints import read_verified
from inference.picture import Samples
from inference.provenance import Weights
from inference.published import YUNET

Floats = NDArray[np.float32]

MAX_FACES = 32
MIN_FACE_PX = 16
"""Of the narrower side; below that there is nothing to restore a face from."""
MIN_SCORE = 0.7
MAX_IOU = 0.3
"""Two boxes that share more of their union are the same face."""
MAX_CANDIDATES = 2000
"""How many boxes are compared with each other, the best ones."""

REDUCTIONS = (1, 2)
FOUND_PX = 300
"""The largest face that the network knows, in the pixels that it is shown."""
WINDOW_PX = 2048
OVERLAP_PX = 320
"""What neighbouring windows share: more than a face, so that each is whole in one of them."""

_STRIDES = (8, 16, 32)
_MULTIPLE_PX = 32
_OUTPUTS = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in _STRIDES]
_NONE = np.empty((0, 1 + 4 + 10), np.float32)


@dataclass(frozen=True)
class Face:
    """In the picture's pixels, from its top left corner.

    `box` is left, top, right, bottom; `landmarks` (5, 2) are, as one looks at the picture, the left
    and the right eye, the nose's tip, the left and the right corner of the mouth, as (x, y).
    """

    score: float
    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]


class FaceDetector:
    """Looks for faces. For use by many threads."""

    def __init__(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.enable_cpu_mem_arena = False  # windows differ in size, and it keeps all it ever had
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def faces(self, colour: Samples) -> list[Face]:
        """The faces of a picture, (h, w, 3) or (h, w), at most `MAX_FACES`, the surest first."""
        found = [self._in_window(colour, window) for window in _windows(*colour.shape[:2])]
        candidates = np.concatenate((_NONE, *found))
        sides_px = candidates[:, 3:5] - candidates[:, 1:3]
        candidates = candidates[sides_px.min(axis=1) >= MIN_FACE_PX]
        return [_face(row) for row in unlike(candidates)[:MAX_FACES]]

    def _in_window(self, colour: Samples, window: "_Window") -> Floats:
        """Rows of score, box and landmarks, in the picture's pixels."""
        pixels = window.pixels(colour)
        answers = self._session.run(_OUTPUTS, {"input": pixels})
        rows = decoded(dict(zip(_OUTPUTS, answers, strict=True)), width_px=pixels.shape[3])
        rows = rows[window.has_whole(rows[:, 1:5])]
        rows[:, 1:] *= window.reduction
        rows[:, 1::2] += window.left * window.reduction
        rows[:, 2::2] += window.top * window.reduction
        return rows


def load_detector(folder: Path, *, weights: Weights = YUNET) -> FaceDetector:
    """The detector of a weights file; raises `WeightsMissing` or `WeightsBad`."""
    return FaceDetector(read_verified(weights, folder=folder))


def decoded(outputs: Mapping[str, Floats], *, width_px: int) -> Floats:
    """What the network says above `MIN_SCORE`: rows of score, left, top, right, bottom, landmarks.

    For every cell of a grid of 8, 16 and 32 pixels it gives how sure it is, twice; the middle of
    the box as a distance from the cell's corner, in cells; the logarithm of the box's size, in
    cells; and the landmarks as distances too.
    """
    found = []
    for stride in _STRIDES:
        sure = outputs[f"cls_{stride}"][0, :, 0], outputs[f"obj_{stride}"][0, :, 0]
        scores = np.sqrt(np.clip(sure[0], 0, 1) * np.clip(sure[1], 0, 1))
        at = np.flatnonzero(scores >= MIN_SCORE)
        across = width_px // stride
        corners = np.stack((at % across, at // across), axis=1).astype(np.float32)
        box = outputs[f"bbox_{stride}"][0, at]
        middles, sides = (box[:, :2] + corners) * stride, np.exp(box[:, 2:]) * stride
        landmarks = outputs[f"kps_{stride}"][0, at].reshape(-1, 5, 2) + corners[:, None]
        parts = scores[at, None], middles - sides / 2, middles + sides / 2
        found.append(np.concatenate((*parts, landmarks.reshape(-1, 10) * stride), axis=1))
    return np.concatenate(found)


def unlike(candidates: Floats) -> Floats:
    """The best of the rows, of each face one: greedy non-maximum suppression."""
    left = candidates[np.argsort(-candidates[:, 0], kind="stable")][:MAX_CANDIDATES]
    best = []
    while len(left):
        best.append(left[0])
        left = left[_overlaps(left[0, 1:5], left[:, 1:5]) <= MAX_IOU]
    return np.array(best, np.float32).reshape(-1, candidates.shape[1])


def _overlaps(box: Floats, boxes: Floats) -> Floats:
    """The box's intersection over union with each of the boxes."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    whole: Floats = (box[2:] - box[:2]).prod() + areas - shared
    overlaps: Floats = shared / whole
    return overlaps


class _Window(NamedTuple):
    """A part of the picture reduced by `reduction`, in the reduced picture's pixels."""

    top: int
    left: int
    height: int
    width: int
    reduction: int
    is_last_row: bool
    is_last_column: bool

    def pixels(self, colour: Samples) -> Floats:
        """(1, 3, h, w), blue first, 0..255, with black to the right and below."""
        by = self.reduction
        rows = slice(self.top * by, (self.top + self.height) * by)
        columns = slice(self.left * by, (self.left + self.width) * by)
        part = colour[rows, columns].astype(np.float32)
        if colour.dtype == np.uint16:
            part /= 257
        part = part.reshape(self.height, by, self.width, by, -1).mean(axis=(1, 3))
        margins = ((0, -self.height % _MULTIPLE_PX), (0, -self.width % _MULTIPLE_PX), (0, 0))
        planes = np.pad(part, margins).transpose(2, 0, 1)[::-1]
        return np.ascontiguousarray(np.broadcast_to(planes, (1, 3, *planes.shape[1:])))

    def has_whole(self, boxes: Floats) -> NDArray[np.bool_]:
        """Which of the boxes end within it, or where the picture does too.

        The others are whole in a neighbour or in the reduced picture; here they are cut.
        """
        ends = np.array([self.width, self.height], np.float32)
        starts_within = (boxes[:, :2] >= 0) | np.array([self.left == 0, self.top == 0])
        ends_within = (boxes[:, 2:] <= ends) | np.array([self.is_last_column, self.is_last_row])
        whole: NDArray[np.bool_] = (starts_within & ends_within).all(axis=1)
        return whole


def _windows(height: int, width: int) -> Iterator[_Window]:
    """Windows over the picture, and over the picture reduced if a face may be too large."""
    reductions = REDUCTIONS if max(height, width) > FOUND_PX else REDUCTIONS[:1]
    if min(height, width) < MIN_FACE_PX:
        return
    for reduction in reductions:
        size = height // reduction, width // reduction
        for (top, rows), (left, columns) in product(*map(_spans, size)):
            yield _Window(
                top, left, rows, columns, reduction,
                is_last_row=top + rows == size[0], is_last_column=left + columns == size[1],
            )  # fmt: skip


def _spans(length: int) -> list[tuple[int, int]]:
    """Starts and lengths of windows over a side."""
    starts = range(0, max(length - OVERLAP_PX, 1), WINDOW_PX - OVERLAP_PX)
    return [(start, min(WINDOW_PX, length - start)) for start in starts]


def _face(row: Floats) -> Face:
    left, top, right, bottom = map(float, row[1:5])
    landmarks = row[5:].reshape(5, 2).astype(np.float64)
    return Face(float(row[0]), (left, top, right, bottom), landmarks)

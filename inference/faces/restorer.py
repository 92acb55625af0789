"""From a picture to the restored faces that go over its enlargement."""

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.errors import NotANumber, WeightsMissing
from inference.faces.alignment import (
    CORNERS,
    SQUARE_PX,
    Similarity,
    in_square,
    square_of,
    square_points,
)
from inference.faces.blending import blended
from inference.faces.detector import MIN_FACE_PX, FaceDetector, load_detector
from inference.faces.paste import Patch, mask_at
from inference.networks.network import Network
from inference.params import FaceParams
from inference.picture import Picture
from inference.provenance import Weights


class FaceRestorer:
    """Restores by a network that takes and gives a face in its square.

    Only faces that have fewer pixels in the picture than in the square are restored: of the others
    it would take detail away, and the networks that enlarge the picture do them well.
    """

    def __init__(self, detector: FaceDetector, network: Network) -> None:
        self._detector = detector
        self._network = network

    def patches(self, picture: Picture, *, scale: int, faces: FaceParams) -> list[Patch]:
        """What `paste` puts over the picture `scale` times as large; nothing at a strength of 0.

        Raises `NotANumber` if the network gives anything else.
        """
        if faces.strength == 0:
            return []
        found = [face.landmarks for face in self._detector.faces(picture.colour)]
        squares = (square_of(landmarks) for landmarks in found if np.ptp(landmarks, axis=0).any())
        restorable = (each for each in squares if MIN_FACE_PX <= _side_px(each) <= SQUARE_PX)
        patches = (self._patch(picture, each, scale=scale, faces=faces) for each in restorable)
        return [patch for patch in patches if patch.height_px > 0 and patch.width_px > 0]

    def _patch(
        self, picture: Picture, to_square: Similarity, *, scale: int, faces: FaceParams
    ) -> Patch:
        given = in_square(picture.colour, to_square)
        colour = blended(
            given,
            self._restored(given),
            creativity=faces.creativity,
            side_px=_side_px(to_square),
            weight=_square_mask(),
        )
        to_square = to_square.of_enlarged(scale)
        side_px = round(_side_px(to_square))
        if side_px < SQUARE_PX:
            size = (side_px, side_px)
            colour = F.interpolate(colour, size=size, mode="bicubic", antialias=True).clamp_(0, 1)
        height, width = (side * scale for side in picture.colour.shape[:2])
        corners = to_square.inverse()(CORNERS)
        left, top = np.floor(corners.min(axis=0)).astype(int).clip(0)
        right, bottom = np.ceil(corners.max(axis=0)).astype(int).clip(max=(width, height))
        return Patch(
            top_px=int(top),
            left_px=int(left),
            height_px=int(bottom - top),
            width_px=int(right - left),
            colour=colour[0],
            to_square=to_square,
            opacity=faces.strength,
        )

    @torch.inference_mode()
    def _restored(self, square: Tensor) -> Tensor:
        device = next(self._network.parameters()).device
        restored: Tensor = self._network(square.to(device)).float().cpu()
        if not torch.isfinite(restored.sum()):
            raise NotANumber
        return restored.clamp_(0, 1)


class Faces:
    """A face restorer for an engine; loads the detector when it is first needed. Thread-safe.

    `network_of` gives the network of a file of weights, ready to run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        network_of: Callable[[Weights], Network],
        detector: Weights,
        restorer: Weights | None,
    ) -> None:
        self._folder = folder
        self._network_of = network_of
        self._weights = detector
        self._restorer = restorer
        self._detector: FaceDetector | None = None
        self._loading = threading.Lock()

    def restorer(self) -> FaceRestorer:
        """Ready to run; raises `WeightsMissing` or `WeightsBad`."""
        if self._restorer is None:
            raise WeightsMissing("No weights are set that restore faces")
        with self._loading:
            if self._detector is None:
                self._detector = load_detector(self._folder, weights=self._weights)
        return FaceRestorer(self._detector, self._network_of(self._restorer))


def _side_px(to_square: Similarity) -> float:
    """How many of the picture's pixels the square is wide."""
    return SQUARE_PX / to_square.scale


@cache
def _square_mask() -> Tensor:
    """Where in the square a patch shows, (1, 1, n, n); not to be changed."""
    return torch.from_numpy(mask_at(square_points())).float().view(1, 1, SQUARE_PX, SQUARE_PX)

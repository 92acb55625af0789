"""From a picture to the restored faces that go over its enlargement."""

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.catalogue import is_present, weights_path
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
from inference.published import YUNET, Weights, restoreformer


class FaceRestorer:
    """Restores by a network of any scale, which gets the square so much smaller.

    Only faces that have fewer pixels in the picture than the network is given are restored: of the
    others it would take detail away, and the picture's own network does them well.
    """

    def __init__(self, detector: FaceDetector, network: Network) -> None:
        self._detector = detector
        self._network = network
        self._most_px = SQUARE_PX // network.scale

    def patches(self, picture: Picture, *, scale: int, faces: FaceParams) -> list[Patch]:
        """What `paste` puts over the picture `scale` times as large; nothing at a strength of 0.

        Raises `NotANumber` if the network gives anything else.
        """
        if faces.strength == 0:
            return []
        found = (square_of(face.landmarks) for face in self._detector.faces(picture.colour))
        restorable = (each for each in found if MIN_FACE_PX <= _side_px(each) <= self._most_px)
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
            colour = _reduced(colour, side_px)
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
        given = _reduced(square, self._most_px).to(device)
        restored: Tensor = self._network(given).float().cpu()
        if not torch.isfinite(restored.sum()):
            raise NotANumber
        return restored.clamp_(0, 1)


class Faces:
    """Face restorers for an engine; loads the detector when it is first needed. Thread-safe.

    `network_of` gives the network of a file of weights, ready to run. With a `restorer_sha256`,
    RestoreFormer++ restores, whose file must be in the folder and have that hash: else
    `WeightsMissing`, at once, or `WeightsBad`, once it is loaded. Without, what begins to enlarge
    the picture restores its faces too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        network_of: Callable[[Weights], Network],
        restorer_sha256: str | None = None,
        detector: Weights = YUNET,
    ) -> None:
        self._folder = folder
        self._network_of = network_of
        self._restorer = None if restorer_sha256 is None else restoreformer(restorer_sha256)
        self._detector_weights = detector
        self._detector: FaceDetector | None = None
        self._loading = threading.Lock()
        if self._restorer is not None and not is_present(self._restorer, folder):
            path = weights_path(self._restorer, folder)
            raise WeightsMissing(f"A face restorer's hash is set, but {path} is not that file")

    def restorer(self, weights: Weights) -> FaceRestorer:
        """What restores the faces of a picture that the network of `weights` begins to enlarge.

        Raises `WeightsMissing` or `WeightsBad`.
        """
        with self._loading:
            if self._detector is None:
                self._detector = load_detector(self._folder, weights=self._detector_weights)
        return FaceRestorer(self._detector, self._network_of(self._restorer or weights))


def _side_px(to_square: Similarity) -> float:
    """How many of the picture's pixels the square is wide."""
    return SQUARE_PX / to_square.scale


def _reduced(square: Tensor, side_px: int) -> Tensor:
    if square.shape[-1] == side_px:
        return square
    size = (side_px, side_px)
    return F.interpolate(square, size=size, mode="bicubic", antialias=True).clamp_(0, 1)


@cache
def _square_mask() -> Tensor:
    """Where in the square a patch shows, (1, 1, n, n); not to be changed."""
    return torch.from_numpy(mask_at(square_points())).float().view(1, 1, SQUARE_PX, SQUARE_PX)

"""Restoring: from a picture with faces to the patches that go over its enlargement."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.errors import NotANumber, WeightsMissing
from inference.faces.paste import paste
from inference.faces.restorer import FaceRestorer, Faces
from inference.networks.network import Network
from inference.params import FaceParams
from inference.picture import Picture
from inference.provenance import Weights
from inference.published import YUNET, restoreformer
from tests.inference.faces import dots
from tests.inference.stand_ins import Nearest

SCALE = 4
FULL = FaceParams(strength=1, creativity=1)


class Striped(Nearest):
    """Adds stripes of eight pixels: detail that was not there."""

    def forward(self, picture: Tensor) -> Tensor:
        enlarged = super().forward(picture)
        enlarged[..., torch.arange(enlarged.shape[-1]) % 16 < 8] += 0.05
        return enlarged


class Undefined(Nearest):
    """Gives values that are not numbers."""

    def forward(self, picture: Tensor) -> Tensor:
        return super().forward(picture) * torch.nan


def restorer(network: Network) -> FaceRestorer:
    network.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
    return FaceRestorer(dots.detector(), network)


def portrait(*, left: int = 64, top: int = 96) -> dots.Pixels:
    """A dark picture with a face whose square is 64 pixels wide, around the dot's middle."""
    return dots.with_dot(dots.black(200, 200), left=left, top=top, stride=16)


def restored(picture: dots.Pixels, *, strength: float, creativity: float = 1) -> dots.Pixels:
    """The picture, its pixels repeated, with its faces restored with stripes."""
    faces = FaceParams(strength=strength, creativity=creativity)
    patches = restorer(Striped(1)).patches(Picture(picture), scale=SCALE, faces=faces)
    rows = picture.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    paste(patches, rows, top_px=0)
    return rows


def test_a_patch_lies_where_its_face_is_in_the_enlarged_picture() -> None:
    (patch,) = restorer(Nearest(1)).patches(Picture(portrait()), scale=SCALE, faces=FULL)
    square = (72 * SCALE, 40 * SCALE, 64 * SCALE, 64 * SCALE)
    placed = (patch.top_px, patch.left_px, patch.height_px, patch.width_px)
    np.testing.assert_allclose(placed, square, atol=2)


def test_the_network_gets_the_face_in_its_square() -> None:
    network = Nearest(1)
    restorer(network).patches(Picture(portrait()), scale=2, faces=FULL)
    assert network.shapes == [(1, 3, 512, 512)]


def test_a_patch_is_kept_no_larger_than_it_will_be_shown() -> None:
    (patch,) = restorer(Nearest(1)).patches(Picture(portrait()), scale=SCALE, faces=FULL)
    assert patch.colour.shape == (3, 64 * SCALE, 64 * SCALE)


def test_a_picture_without_faces_gets_no_patches() -> None:
    nobody = Picture(dots.black(200, 200))
    assert restorer(Nearest(1)).patches(nobody, scale=SCALE, faces=FULL) == []


def test_a_strength_of_nothing_leaves_the_picture_as_it_is() -> None:
    plain = portrait().repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    np.testing.assert_array_equal(restored(portrait(), strength=0), plain)


def test_more_strength_shows_more_of_the_restored_face() -> None:
    plain = restored(portrait(), strength=0).astype(float)
    changes = [np.abs(restored(portrait(), strength=step / 4) - plain).mean() for step in range(5)]
    assert changes == sorted(changes)
    assert changes[0] < changes[1] < changes[4]


def test_nothing_outside_the_faces_is_changed() -> None:
    plain = restored(portrait(), strength=0)
    changed = (restored(portrait(), strength=1) != plain).any(axis=2)
    changed[72 * SCALE : 136 * SCALE, 40 * SCALE : 104 * SCALE] = False
    assert not changed.any()


def test_a_face_that_has_more_pixels_than_the_square_is_left_alone() -> None:
    large = dots.black(1400, 1400)
    large[512:768, 512:768] = dots.DOTS[32]  # a square of 1,024 pixels, and some of 128 around it
    detector = dots.detector()
    sizes = [face.box[2] - face.box[0] for face in detector.faces(large)]
    patches = restorer(Nearest(1)).patches(Picture(large), scale=1, faces=FULL)
    assert [patch.width_px for patch in patches] == pytest.approx(
        [size for size in sizes if size <= 512], abs=2
    )


def test_a_face_at_the_picture_s_edge_is_restored_as_far_as_it_shows() -> None:
    (patch,) = restorer(Nearest(1)).patches(
        Picture(portrait(left=0, top=176)), scale=SCALE, faces=FULL
    )
    assert patch.left_px == 0
    assert patch.top_px == pytest.approx(152 * SCALE, abs=1)
    assert patch.width_px == pytest.approx(40 * SCALE, abs=1)
    assert patch.top_px + patch.height_px == 200 * SCALE


def test_a_sixteen_bit_picture_is_restored_as_its_eight_bit_twin() -> None:
    deep = portrait().astype(np.uint16) * 257
    (patch,) = restorer(Nearest(1)).patches(Picture(deep), scale=SCALE, faces=FULL)
    (twin,) = restorer(Nearest(1)).patches(Picture(portrait()), scale=SCALE, faces=FULL)
    torch.testing.assert_close(patch.colour, twin.colour)


def test_a_network_that_gives_no_numbers_is_no_restorer() -> None:
    with pytest.raises(NotANumber):
        restorer(Undefined(1)).patches(Picture(portrait()), scale=SCALE, faces=FULL)


RESTORER = restoreformer("ab" * 32)


def network_of(weights: Weights) -> Network:
    assert weights == RESTORER
    return Nearest(1)


def test_the_restorer_that_is_set_restores(tmp_path: Path) -> None:
    detector = dots.installed(tmp_path)
    faces = Faces(tmp_path, network_of=network_of, detector=detector, restorer=RESTORER)
    assert faces.restorer().patches(Picture(dots.black(64, 64)), scale=1, faces=FULL) == []


def test_without_a_restorer_faces_cannot_be_enhanced(tmp_path: Path) -> None:
    detector = dots.installed(tmp_path)
    with pytest.raises(WeightsMissing):
        Faces(tmp_path, network_of=network_of, detector=detector, restorer=None).restorer()


def test_without_the_detector_faces_cannot_be_enhanced(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="yunet"):
        Faces(tmp_path, network_of=network_of, detector=YUNET, restorer=RESTORER).restorer()

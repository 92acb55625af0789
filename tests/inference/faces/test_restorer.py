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
from inference.published import X4PLUS, Weights, restoreformer
from tests.inference.faces import dots
from tests.inference.stand_ins import Nearest
from tests.weights import present

SCALE = 4
FULL = FaceParams(strength=1, creativity=1)


class Striped(Nearest):
    """Adds fine stripes: detail that was not there."""

    def forward(self, picture: Tensor) -> Tensor:
        enlarged = super().forward(picture)
        enlarged[..., ::2] += 0.05
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
    patches = restorer(Striped(SCALE)).patches(Picture(picture), scale=SCALE, faces=faces)
    rows = picture.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    paste(patches, rows, top_px=0)
    return rows


def test_a_patch_lies_where_its_face_is_in_the_enlarged_picture() -> None:
    (patch,) = restorer(Nearest(SCALE)).patches(Picture(portrait()), scale=SCALE, faces=FULL)
    square = (72 * SCALE, 40 * SCALE, 64 * SCALE, 64 * SCALE)
    placed = (patch.top_px, patch.left_px, patch.height_px, patch.width_px)
    np.testing.assert_allclose(placed, square, atol=2)


def test_the_network_gets_the_square_as_much_smaller_as_it_enlarges() -> None:
    network = Nearest(SCALE)
    restorer(network).patches(Picture(portrait()), scale=2, faces=FULL)
    assert network.shapes == [(1, 3, 512 // SCALE, 512 // SCALE)]


def test_a_patch_is_kept_no_larger_than_it_will_be_shown() -> None:
    (patch,) = restorer(Nearest(SCALE)).patches(Picture(portrait()), scale=SCALE, faces=FULL)
    assert patch.colour.shape == (3, 64 * SCALE, 64 * SCALE)


def test_a_picture_without_faces_gets_no_patches() -> None:
    nobody = Picture(dots.black(200, 200))
    assert restorer(Nearest(SCALE)).patches(nobody, scale=SCALE, faces=FULL) == []


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


def test_a_face_that_has_more_pixels_than_the_network_gets_is_left_alone() -> None:
    assert restorer(Nearest(16)).patches(Picture(portrait()), scale=SCALE, faces=FULL) == []


def test_a_face_at_the_picture_s_edge_is_restored_as_far_as_it_shows() -> None:
    (patch,) = restorer(Nearest(SCALE)).patches(
        Picture(portrait(left=0, top=176)), scale=SCALE, faces=FULL
    )
    assert patch.left_px == 0
    assert patch.top_px == pytest.approx(152 * SCALE, abs=1)
    assert patch.width_px == pytest.approx(40 * SCALE, abs=1)
    assert patch.top_px + patch.height_px == 200 * SCALE


def test_a_sixteen_bit_picture_is_restored_as_its_eight_bit_twin() -> None:
    deep = portrait().astype(np.uint16) * 257
    (patch,) = restorer(Nearest(SCALE)).patches(Picture(deep), scale=SCALE, faces=FULL)
    (twin,) = restorer(Nearest(SCALE)).patches(Picture(portrait()), scale=SCALE, faces=FULL)
    torch.testing.assert_close(patch.colour, twin.colour)


def test_a_network_that_gives_no_numbers_is_no_restorer() -> None:
    with pytest.raises(NotANumber):
        restorer(Undefined(SCALE)).patches(Picture(portrait()), scale=SCALE, faces=FULL)


class Shelf:
    """Gives the same network for any weights, and notes which were asked for."""

    def __init__(self) -> None:
        self.asked: list[Weights] = []

    def __call__(self, weights: Weights) -> Network:
        self.asked.append(weights)
        return Nearest(SCALE)


def test_without_a_restorer_of_its_own_the_picture_s_network_restores(tmp_path: Path) -> None:
    shelf = Shelf()
    faces = Faces(tmp_path, network_of=shelf, detector=dots.installed(tmp_path))
    faces.restorer(X4PLUS)
    assert shelf.asked == [X4PLUS]


def test_restoreformer_restores_once_an_operator_states_its_hash(tmp_path: Path) -> None:
    shelf = Shelf()
    present(restoreformer("ab" * 32), folder=tmp_path)
    row = dots.installed(tmp_path)
    faces = Faces(tmp_path, network_of=shelf, restorer_sha256="ab" * 32, detector=row)
    faces.restorer(X4PLUS)
    assert [(weights.architecture, weights.sha256) for weights in shelf.asked] == [
        ("restoreformer", "ab" * 32)
    ]


def test_a_stated_restorer_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"RestoreFormer\+\+"):
        Faces(tmp_path, network_of=Shelf(), restorer_sha256="ab" * 32)


def test_a_detector_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="yunet"):
        Faces(tmp_path, network_of=Shelf()).restorer(X4PLUS)

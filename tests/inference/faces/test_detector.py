"""Finding faces: what the detector's network says becomes boxes and landmarks of the picture."""

from pathlib import Path

import numpy as np
import pytest

from inference.errors import WeightsBad, WeightsMissing
from inference.faces.detector import (
    MAX_FACES,
    OVERLAP_PX,
    WINDOW_PX,
    Face,
    decoded,
    load_detector,
    unlike,
)
from tests.inference.faces import dots


def row(score: float, left: float, top: float, right: float, bottom: float) -> list[float]:
    return [score, left, top, right, bottom, *[0.0] * 10]


def only(faces: list[Face]) -> Face:
    (face,) = faces
    return face


@pytest.mark.parametrize("stride", dots.DOTS)
def test_a_face_is_found_where_it_is_on_every_grid(stride: int) -> None:
    left, top = 5 * stride, 3 * stride
    picture = dots.with_dot(dots.black(290, 230), left=left, top=top, stride=stride)
    face = only(dots.detector().faces(picture))
    x, y, half = left + stride / 2, top + stride / 2, dots.SIDE_CELLS * stride / 2
    assert face.box == pytest.approx((x - half, y - half, x + half, y + half), abs=1e-4)
    assert face.score == pytest.approx(1)


def test_the_landmarks_are_found_in_the_order_of_the_template() -> None:
    picture = dots.with_dot(dots.black(200, 200), left=64, top=96, stride=16)
    face = only(dots.detector().faces(picture))
    np.testing.assert_allclose(face.landmarks, dots.LANDMARKS * 16 + (64, 96), atol=1e-4)


def test_a_face_too_large_for_the_network_is_found_in_the_reduced_picture() -> None:
    picture = dots.black(640, 640)
    picture[192:256, 128:192] = dots.DOTS[32]  # two cells a side, one when it is reduced
    best = max(dots.detector().faces(picture), key=lambda face: face.box[2] - face.box[0])
    assert best.box == pytest.approx((32, 96, 288, 352), abs=1e-3)
    np.testing.assert_allclose(best.landmarks, dots.LANDMARKS * 64 + (128, 192), atol=1e-3)


def test_a_sixteen_bit_picture_has_the_faces_of_its_eight_bit_twin() -> None:
    picture = dots.with_dot(dots.black(200, 200), left=64, top=96, stride=16)
    deep = picture.astype(np.uint16) * 257
    assert only(dots.detector().faces(deep)).box == only(dots.detector().faces(picture)).box


def test_a_grey_picture_is_looked_at_too() -> None:
    assert dots.detector().faces(np.full((64, 64), 200, np.uint8)) == []


def test_a_picture_thinner_than_a_face_has_none() -> None:
    assert dots.detector().faces(np.full((1, 4000, 3), 255, np.uint8)) == []


def test_a_face_in_the_overlap_of_two_windows_is_found_once() -> None:
    left = WINDOW_PX - OVERLAP_PX + 64
    picture = dots.with_dot(dots.black(WINDOW_PX + 500, 200), left=left, top=96, stride=16)
    face = only(dots.detector().faces(picture))
    assert face.box == pytest.approx((left - 24, 72, left + 40, 136), abs=1e-3)


def test_a_face_that_a_window_cuts_is_left_to_the_window_that_has_it_whole() -> None:
    left = WINDOW_PX - 16  # the first window's last cell; the box reaches beyond
    picture = dots.with_dot(dots.black(WINDOW_PX + 500, 200), left=left, top=96, stride=16)
    assert only(dots.detector().faces(picture)).box[0] == pytest.approx(left - 24, abs=1e-3)


def test_a_face_at_the_edge_of_the_picture_is_found() -> None:
    picture = dots.with_dot(dots.black(200, 200), left=0, top=0, stride=16)
    assert only(dots.detector().faces(picture)).box == pytest.approx((-24, -24, 40, 40), abs=1e-3)


def test_more_faces_than_the_limit_are_cut_to_it_the_surest_first() -> None:
    picture = dots.black(280, 280)
    for number in range(36):
        left, top = 48 * (number % 6), 48 * (number // 6)
        dots.with_dot(picture, left=left, top=top, stride=8)
        picture[top, left, 0] -= 4 * (number % 2)
    faces = dots.detector().faces(picture)
    assert len(faces) == MAX_FACES
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


def test_what_the_network_is_not_sure_of_is_no_face() -> None:
    picture = dots.with_dot(dots.black(200, 200), left=64, top=96, stride=16)
    assert dots.detector().faces(picture // 3) == []


def test_a_score_is_the_geometric_mean_of_two() -> None:
    outputs = {
        f"{name}_{stride}": np.zeros((1, (32 // stride) ** 2, length), np.float32)
        for name, length in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
        for stride in (8, 16, 32)
    }
    outputs["cls_16"][0, 3] = 0.9
    outputs["obj_16"][0, 3] = 1.6  # beyond what can be, as networks are
    (found,) = decoded(outputs, width_px=32)
    assert found[0] == pytest.approx(0.9**0.5)
    assert found[1:5] == pytest.approx([8, 8, 24, 24])


def test_of_boxes_that_overlap_the_surest_is_kept() -> None:
    candidates = np.array(
        [row(0.8, 0, 0, 10, 10), row(0.9, 1, 0, 11, 10), row(0.7, 9, 0, 19, 10)], np.float32
    )
    assert unlike(candidates)[:, 0].tolist() == pytest.approx([0.9, 0.7])


def test_a_detector_is_loaded_from_the_file_that_its_row_describes(tmp_path: Path) -> None:
    weights = dots.installed(tmp_path)
    assert load_detector(tmp_path, weights=weights).faces(dots.black(64, 64)) == []


def test_a_detector_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        load_detector(tmp_path)


def test_another_file_than_the_detector_is_refused(tmp_path: Path) -> None:
    weights = dots.installed(tmp_path)
    (tmp_path / weights.file).write_bytes(b"something else")
    with pytest.raises(WeightsBad, match="SHA-256"):
        load_detector(tmp_path, weights=weights)

"""A detector that finds coloured dots: YuNet's inputs and outputs, over a few convolutions."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference.faces.alignment import TEMPLATE
from inference.faces.detector import FaceDetector
from inference.provenance import Weights
from inference.published import YUNET

Pixels = NDArray[np.uint8]

DOTS = {8: (255, 0, 0), 16: (0, 255, 0), 32: (0, 0, 255)}
"""Of each grid the cell's colour (red, green, blue) that is taken for a face."""

SIDE_CELLS = 4.0
"""A face's box is a square of so many cells, around the middle of the dot."""

LANDMARKS = (TEMPLATE - 256) / 512 * SIDE_CELLS + 0.5
"""In cells from the cell's corner: upright, in a square as large as the box."""


def model() -> bytes:
    """The ONNX file. A cell that is half of its colour is half sure."""
    nodes, constants = [], []
    outputs = []
    for stride, colour in DOTS.items():
        kernel = np.where(np.array(colour[::-1]), 1.0, -1.0) / (255 * stride**2)
        weights = {
            "cls": (np.broadcast_to(kernel[None, :, None, None], (1, 3, stride, stride)), [0.0]),
            "obj": (np.zeros((1, 3, stride, stride)), [1.0]),
            "bbox": (np.zeros((4, 3, stride, stride)), [0.5, 0.5, *[np.log(SIDE_CELLS)] * 2]),
            "kps": (np.zeros((10, 3, stride, stride)), LANDMARKS.ravel()),
        }
        for name, (weight, bias) in weights.items():
            out = f"{name}_{stride}"
            channels = len(weight)
            constants += [
                numpy_helper.from_array(np.ascontiguousarray(weight, np.float32), f"{out}_weight"),
                numpy_helper.from_array(np.array(bias, np.float32), f"{out}_bias"),
                numpy_helper.from_array(np.array([1, -1, channels]), f"{out}_shape"),
            ]
            parts = ["input", f"{out}_weight", f"{out}_bias"]
            strides = [stride, stride]
            nodes += [
                helper.make_node("Conv", parts, [f"{out}_grid"], strides=strides),
                helper.make_node("Transpose", [f"{out}_grid"], [f"{out}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{out}_last", f"{out}_shape"], [out]),
            ]
            outputs.append(
                helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, None, channels])
            )
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(nodes, "dots", [picture], outputs, constants)
    opset = helper.make_opsetid("", 17)
    data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return data


def detector() -> FaceDetector:
    """The detector of dots."""
    return FaceDetector(model())


def installed(folder: Path) -> Weights:
    """The detector's file in a folder, and the row that describes it."""
    data = model()
    row = replace(YUNET, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    (folder / row.file).write_bytes(data)
    return row


def black(width: int, height: int) -> Pixels:
    """A picture without faces."""
    return np.zeros((height, width, 3), np.uint8)


def with_dot(picture: Pixels, *, left: int, top: int, stride: int) -> Pixels:
    """The picture with the dot of a grid at a place, which fits the grid."""
    picture[top : top + stride, left : left + stride] = DOTS[stride]
    return picture

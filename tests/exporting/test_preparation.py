"""The graph's preparation gives the pixels that the detector's geometry gives, bit for bit: of
every mode, of images that are shrunk, enlarged, cropped, mirrored and a pixel large.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from study.core.records import Geometry
from study.data.images.geometry import fit_geometry
from study.exporting.onnx_model import FORMAT, OPSET
from study.exporting.preparation import IMAGE, preparation

GEOMETRIES = (
    Geometry(size_px=64, mode="crop"),
    Geometry(size_px=64, mode="crop_black"),
    Geometry(size_px=64, mode="pad"),
    Geometry(size_px=701, mode="native"),
    Geometry(size_px=96, mode="squash"),
    Geometry(size_px=96, mode="squash", interpolation="bilinear"),
    Geometry(size_px=96, mode="resize_crop", resize_px=110, interpolation="bilinear"),
    Geometry(size_px=96, mode="resize_crop", resize_px=96),
)
SIDES = (
    *((300, 401), (32, 48), (96, 96), (701, 500), (37, 256), (2, 3), (1, 1), (5, 1), (95, 96)),
    *((64, 65), (67, 64), (20, 17)),
)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
def test_pixels_are_those_of_the_geometry(geometry: Geometry) -> None:
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(preparation(geometry), opset_imports=[opset], ir_version=FORMAT)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    for sides in SIDES:
        noise = rng.integers(0, 256, (2, *sides, 3), dtype=np.uint8)
        sharp = np.where(noise > 127, 255, 0).astype(np.uint8)  # overshoots beyond 0 and 255
        for images in (noise, sharp):
            (found,) = session.run(None, {IMAGE: images})
            expected = [fit_geometry(image, geometry) for image in images]
            np.testing.assert_array_equal(found, expected)

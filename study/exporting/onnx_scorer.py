"""Run an exported model with onnxruntime, and make it one of 8-bit numbers.

And the only file that knows onnxruntime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime import quantization

from study.core.identity import whole_file
from study.exporting.preparation import IMAGE

Pixels = NDArray[np.uint8]


class OnnxScorer:
    """A model that is run on the processor. threads: for one image."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def logit(self, pixels: Pixels) -> float:
        """Return the logit of an image (H, W, 3) uint8 RGB, of any size."""
        (found,) = self._session.run(None, {IMAGE: pixels[None]})
        return float(found[0])


class _Shown(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Iterable[Pixels]) -> None:
        self._images: Iterator[Pixels] = iter(images)

    def get_next(self) -> dict[str, Pixels] | None:
        """The next image; None after the last."""
        found = next(self._images, None)
        return None if found is None else {IMAGE: found[None]}


def to_int8(path: Path, target: Path, images: Iterable[Pixels] | None) -> None:
    """Write a model whose weights are 8-bit numbers, and whose preparation stays exact.

    images: by which the ranges of activations are measured, as convolutions need it. None: ranges
    are measured anew on each image, which suits transformers.
    """
    model = onnx.load(path)
    exact = [node.name for node in model.graph.node if node.name.startswith("prepare_")]
    common: dict[str, Any] = {
        "nodes_to_exclude": exact,
        "per_channel": True,
        # 7 bits of weights: processors without VNNI add products in 16 bits
        "reduce_range": True,
        "weight_type": quantization.QuantType.QInt8,
    }
    with whole_file(target) as file, tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.onnx"
        quantization.quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        if images is None:
            quantization.quantize_dynamic(str(ready), str(file), **common)
        else:
            quantization.quantize_static(str(ready), str(file), _Shown(images), **common)

"""Score new images with a trained detector: the one way in which MLflow's model, the Python API and
`predict` do it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from study.core.errors import DataError
from study.data.images.decode import UndecodableError, UnreadableError, decode_image
from study.data.images.geometry import fit_geometry
from study.detectors.base import Detector

BATCH = 64  # images scored at a time

Image = str | Path | NDArray[np.uint8]


def score_images(detector: Detector, images: Iterable[Image]) -> NDArray[np.float64]:
    """Return one logit per image, (N,) float64 in the order given; higher is more fake.

    images: paths, or RGB pixels (H, W, 3) uint8, which may differ in size; an array (N, H, W, 3) is
    such a sequence. Each goes through the detector's own preprocessing. In memory are the squares
    of 64 images at a time. A logit is no verdict.

    Raises DataError, naming the image, where a file cannot be decoded, or an array is no picture.
    """
    detector.eval()
    squares = (_square(detector, number, image) for number, image in enumerate(images))
    parts = [np.zeros(0)]
    with torch.inference_mode():
        while batch := list(islice(squares, BATCH)):
            pixels = torch.from_numpy(np.stack(batch))  # (B, S, S, 3) uint8
            logit: NDArray[np.float32] = detector(detector.prepare(pixels)).float().numpy()
            parts.append(logit.astype(np.float64))
    return np.concatenate(parts)


def _square(detector: Detector, number: int, image: Image) -> NDArray[np.uint8]:
    """What the detector is shown of an image: (S, S, 3) uint8."""
    geometry = detector.spec.geometry
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"image {number} is an array of shape {image.shape} and dtype {image.dtype}; give"
                " RGB pixels of shape (height, width, 3) and dtype uint8, or a path"
            )
        return fit_geometry(image, geometry)
    try:
        return fit_geometry(decode_image(Path(image)), geometry)
    except (UndecodableError, UnreadableError) as error:
        raise DataError(f"image '{image}' cannot be scored: {error}") from error

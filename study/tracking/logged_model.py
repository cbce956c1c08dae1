"""A trained detector as MLflow loads it: a folder of our own files becomes an object with
`predict`. Nothing is pickled.

MLflow imports this module by the name in its MLmodel file and calls `_load_pyfunc`; it is
not imported from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.core.errors import DataError
from study.data.images.decode import UndecodableError, UnreadableError, decode_image
from study.data.images.geometry import fit_geometry
from study.detectors.base import Detector
from study.jobs.cell import load_detector
from study.statistics.metrics import sigmoid

BATCH = 64  # images scored at a time


class DetectorModel:
    """Image files in, scores out."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector.eval()

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score image files.

        model_input: a pandas table with a column `path` (or whose first column holds the paths), or
        a list of paths. Returns a pandas table with a row an image, in the order given: `logit`,
        higher is more fake, and `probability` in [0, 1] of being fake, the sigmoid of the logit.
        Neither is a verdict. Raises DataError, naming the file, where one cannot be decoded.
        """
        import pandas as pd

        paths = list(_paths(model_input))
        batches = [self._logits(paths[i : i + BATCH]) for i in range(0, len(paths), BATCH)]
        logit = np.concatenate([np.zeros(0), *batches])
        return pd.DataFrame({"logit": logit, "probability": sigmoid(logit)})

    def _logits(self, paths: Sequence[Path]) -> NDArray[np.float64]:
        pixels = np.stack([self._pixels(path) for path in paths])  # (B, S, S, 3) uint8
        with torch.inference_mode():
            logit: NDArray[np.float32] = (
                self._detector(self._detector.prepare(torch.from_numpy(pixels))).float().numpy()
            )
        return logit.astype(np.float64)

    def _pixels(self, path: Path) -> NDArray[np.uint8]:
        try:
            return fit_geometry(decode_image(path), self._detector.spec.geometry)
        except (UndecodableError, UnreadableError) as error:
            raise DataError(f"image '{path}' cannot be scored: {error}") from error


def _paths(model_input: Any) -> Iterable[Path]:
    if hasattr(model_input, "columns"):
        model_input = model_input[
            "path" if "path" in model_input.columns else model_input.columns[0]
        ]
    return (Path(str(path)) for path in model_input)


def _load_pyfunc(path: str) -> DetectorModel:
    return DetectorModel(load_detector(Path(path)))

"""A trained detector as MLflow loads it: a folder of our own files becomes an object with
`predict`. Nothing is pickled.

MLflow imports this module by the name in its MLmodel file and calls `_load_pyfunc`; it is
not imported from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from study.detectors.base import Detector
from study.jobs.cell import load_detector
from study.jobs.score_images import score_images
from study.statistics.metrics import sigmoid


class DetectorModel:
    """Image files in, scores out."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score image files.

        model_input: a pandas table with a column `path` (or whose first column holds the paths), or
        a list of paths. Returns a pandas table with a row an image, in the order given: `logit`,
        higher is more fake, and `probability` in [0, 1] of being fake, the sigmoid of the logit.
        Neither is a verdict. Raises DataError, naming the file, where one cannot be decoded.
        """
        import pandas as pd

        logit = score_images(self._detector, [*_paths(model_input)])
        return pd.DataFrame({"logit": logit, "probability": sigmoid(logit)})


def _paths(model_input: Any) -> Iterable[Path]:
    if hasattr(model_input, "columns"):
        model_input = model_input[
            "path" if "path" in model_input.columns else model_input.columns[0]
        ]
    return (Path(str(path)) for path in model_input)


def _load_pyfunc(path: str) -> DetectorModel:
    return DetectorModel(load_detector(Path(path)))

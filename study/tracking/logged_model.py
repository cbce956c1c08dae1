"""A trained detector as MLflow loads it: a folder of our own files becomes an object with
`predict`. Nothing is pickled.

MLflow imports this module by the name in its MLmodel file and calls `_load_pyfunc`; it is
not imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.jobs.score_images import Scorer, as_images
from study.statistics.metrics import sigmoid


class DetectorModel:
    """Images in, scores out."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score images. What the study did to its images, `unify` included, is done to these.

        model_input: a pandas table with a column `path` (or whose first column holds the images),
        a list of images, or a NumPy array of RGB pixels (N, H, W, 3) uint8. An image is a path, the
        bytes of a file, a Pillow image, or pixels (H, W, 3).

        Returns a pandas table with a row an image, in the order given: `logit`, higher is more
        fake, and `probability` in [0, 1] of being fake, the sigmoid of the logit. Neither is a
        verdict. Raises DataError, naming the image, where one cannot be decoded.
        """
        import pandas as pd

        if hasattr(model_input, "columns"):
            named = "path" if "path" in model_input.columns else model_input.columns[0]
            model_input = list(model_input[named])
        logit = self._scorer.score(as_images(model_input))
        return pd.DataFrame({"logit": logit, "probability": sigmoid(logit)})


def _load_pyfunc(path: str) -> DetectorModel:
    return DetectorModel(Scorer(Path(path)))

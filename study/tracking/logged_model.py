"""A trained detector as MLflow loads it: a folder of our own files becomes an object with
`predict`. Nothing is pickled.

A model in MLflow has a small module beside it (model_code.py), which calls `_load_pyfunc`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.jobs.score_images import Scorer, as_images
from study.statistics.metrics import sigmoid
from study.tracking.model_code import BASE64, OWN_SIDE, PATH, SIDE


class DetectorModel:
    """Images in, scores out."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score images. What the study did to its images, `faces` and `unify` included, is done to
        these.

        model_input: a pandas table with a column `path`, or `image_base64` (the bytes of image
        files as text, as a request to a server holds them), or whose first column holds the images;
        a list of images; or a NumPy array of RGB pixels (N, H, W, 3) uint8. An image is a path, the
        bytes of a file, a Pillow image, or pixels (H, W, 3).
        params: `unified_px`, the side to which images are unified, in place of that of the training
        images; 0 for none. A detector that was not trained in its study has no training images: of
        a study with `data.unify`, give the side of the test set (audit.json has it).

        Returns a pandas table with a row an image, in the order given: `logit`, higher is more
        fake, `probability` in [0, 1] of being fake, the sigmoid of the logit, and `error`, why an
        image has no score, else "". Neither number is a verdict.
        """
        import pandas as pd

        given = int((params or {}).get(SIDE, OWN_SIDE))
        side = None if given == OWN_SIDE else given
        images = as_images(_images(model_input))
        logit, error = self._scorer.score_each(images, unified_px=side)
        return pd.DataFrame({"logit": logit, "probability": sigmoid(logit), "error": error})


def _images(given: Any) -> Any:
    """The images of a table, or what was given."""
    if not hasattr(given, "columns"):
        return given
    if BASE64 in given.columns:
        return [_decoded(text) for text in given[BASE64]]
    return list(given[PATH if PATH in given.columns else given.columns[0]])


def _decoded(text: Any) -> bytes:
    """The bytes of an image; none of a text that is not of base64, which is refused as no image."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""


def _load_pyfunc(path: str) -> DetectorModel:
    return DetectorModel(Scorer(Path(path)))

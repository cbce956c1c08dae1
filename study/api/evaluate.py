"""Every metric of anybody's scores, with its interval: what `study.score` prints, for arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.analysis.scored_file import CHANCE, estimates_of
from study.core.errors import DataError
from study.core.records import Scores
from study.data.csv_file import MISSING
from study.data.predictions import LARGEST

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    labels: ArrayLike, scores: ArrayLike, *, groups: Sequence[Any] | None = None
) -> pd.DataFrame:
    """Return every metric of some scores with its 95 % interval, a row each.

    labels: (N,) 0 or False for a real image, 1 or True for a fake one. scores: (N,) finite logits,
    higher is more fake. groups: (N,) what belongs together (a video, a person, a photograph), over
    which the bootstrap draws; each image is its own unless given.

    Columns: metric, threshold, value, low, high, n_real, n_fake, undefined (why a value is NaN),
    note. Thresholds: `fixed` (logit 0, p = 0.5) and `oracle` (chosen on these scores: an upper
    bound). Warns where the AUC lies wholly below 0.5.

    Raises DataError for arrays of different lengths, labels other than 0 and 1, or a score that is
    not finite. A missing group (None, NaN) is an image of its own.
    """
    import pandas as pd

    names = ("value", "low", "high", "n_real", "n_fake", "reason", "note")
    rows = estimates_of(_scores(labels, scores, groups))
    auc = next(row.estimate for row in rows if row.metric == "auc")
    if auc.high < CHANCE:
        warnings.warn(
            f"the AUC of {auc.value:.3f} lies wholly below 0.5: higher scores go with real images."
            " Labels are 1 for fake, and a higher score means fake",
            stacklevel=2,
        )
    table = [
        [row.metric, row.threshold, *(getattr(row.estimate, name) for name in names)]
        for row in rows
    ]
    columns = ["metric", "threshold", "value", "low", "high", "n_real", "n_fake"]
    return pd.DataFrame(table, columns=[*columns, "undefined", "note"])


def _scores(labels: ArrayLike, scores: ArrayLike, groups: Sequence[Any] | None) -> Scores:
    label, logit = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if label.ndim != 1 or label.shape != logit.shape:
        raise DataError(
            f"labels have the shape {label.shape} and scores {logit.shape}; both must be (N,)"
        )
    wrong = np.flatnonzero(~np.isin(label, (0, 1)))
    if wrong.size:
        raise DataError(f"label {label[wrong[0]]} at {wrong[0]} must be 0 (real) or 1 (fake)")
    bad = np.flatnonzero(~np.isfinite(logit))
    if bad.size:
        raise DataError(f"score {logit[bad[0]]} at {bad[0]} is not finite; leave such images out")
    ids: NDArray[np.str_] = np.array([f"{n:012d}" for n in range(len(label))], dtype=np.str_)
    group = ids if groups is None else _groups(groups, ids)
    huge = np.flatnonzero(np.abs(logit) > LARGEST)
    if huge.size:
        raise DataError(
            f"score {logit[huge[0]]} at {huge[0]} is beyond {LARGEST:.2g}; divide all by one number"
        )
    return Scores(
        sample_id=ids,
        group=group,
        unit=ids,
        method=np.where(label == 1, "fake", "real"),
        label=label.astype(np.uint8),
        logit=logit,
        listed=len(label),
    )


def _groups(groups: Sequence[Any], ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """Groups as texts; a missing one is the image's own id."""
    import pandas as pd

    given = list(groups)
    if len(given) != len(ids):
        raise DataError(f"{len(given)} groups for {len(ids)} images; give one for each")
    missing = [bool(pd.isna(one)) or str(one).lower() in ("", *MISSING) for one in given]
    return np.array(
        [
            f"image {own}" if lacks else str(one)
            for one, own, lacks in zip(given, ids, missing, strict=True)
        ],
        dtype=np.str_,
    )

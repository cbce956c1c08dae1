"""Every metric of anybody's scores, with its interval: what `study.score` prints, for arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.analysis.scored_file import estimates_of
from study.core.errors import DataError
from study.core.records import Scores

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
    bound).

    Raises DataError for arrays of different lengths, labels other than 0 and 1, or a score that is
    not finite.
    """
    import pandas as pd

    names = ("value", "low", "high", "n_real", "n_fake", "reason", "note")
    table = [
        [row.metric, row.threshold, *(getattr(row.estimate, name) for name in names)]
        for row in estimates_of(_scores(labels, scores, groups))
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
    group = ids if groups is None else np.array([str(one) for one in groups], dtype=np.str_)
    if group.shape != label.shape:
        raise DataError(f"{len(group)} groups for {len(label)} images; give one for each")
    return Scores(
        sample_id=ids,
        group=group,
        unit=ids,
        method=np.where(label == 1, "fake", "real"),
        label=label.astype(np.uint8),
        logit=logit,
        listed=len(label),
    )

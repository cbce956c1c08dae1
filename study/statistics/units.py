"""From images to units: the frames of one video become one score (PROTOCOL section 4).

Numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study.core.errors import ScoreError
from study.core.records import Scores
from study.statistics.ranking import Floats


def has_units(scores: Scores) -> bool:
    """Whether some unit holds several images, so that unit level differs from image level."""
    return len(np.unique(scores.unit)) < len(scores.unit)


def to_units(scores: Scores) -> Scores:
    """Return one score per unit: the logit of the mean p(fake) of its images.

    The mean is taken between log-probabilities, in float64, so that it is finite and keeps the
    order of saturated scores; a unit of one image keeps that image's logit as it is. `sample_id` is
    the unit; the result is sorted by it. `listed` counts
    units: the share of images that could be decoded is the image level's coverage, and stands
    beside both levels.

    Raises ScoreError where a unit's images differ in label, group or method, or a score is not
    finite.
    """
    order = np.argsort(scores.unit, kind="stable")
    unit, start, size = np.unique(scores.unit[order], return_index=True, return_counts=True)
    for name in ("label", "group", "method"):
        _check_constant(getattr(scores, name)[order], start, size, name=name, unit=unit)
    logit = scores.logit[order].astype(np.float64)
    if not np.isfinite(logit).all():
        bad = int(np.flatnonzero(~np.isfinite(logit))[0])
        raise ScoreError(
            f"score of {scores.sample_id[order][bad]} is {logit[bad]}: scores must be finite"
        )
    first = order[start]
    pooled = (
        np.where(size == 1, logit[start], _log_mean(logit, start) - _log_mean(-logit, start))
        if len(unit)
        else logit
    )
    return Scores(
        sample_id=unit,
        group=scores.group[first],
        unit=unit,
        method=scores.method[first],
        label=scores.label[first],
        # some scores do not fit into float32
        logit=pooled if scores.logit.dtype == np.float64 else pooled.astype(np.float32),
        listed=len(unit),
        excluded=scores.excluded,
    )


def _log_mean(logit: Floats, start: NDArray[np.intp]) -> Floats:
    """Log of each unit's summed sigmoids; the unit's size cancels between the two signs."""
    return np.asarray(np.logaddexp.reduceat(-np.logaddexp(0.0, -logit), start))


def _check_constant(
    values: NDArray[np.generic],
    start: NDArray[np.intp],
    size: NDArray[np.intp],
    *,
    name: str,
    unit: NDArray[np.str_],
) -> None:
    differs = np.flatnonzero(values != np.repeat(values[start], size))
    if differs.size:
        where = unit[np.searchsorted(start, differs[0], side="right") - 1]
        raise ScoreError(
            f"unit '{where}' holds images that differ in {name}: a unit is one video of one {name};"
            " rename the units"
        )

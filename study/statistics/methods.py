"""A test set taken apart by method: which generator fools the detector, which source of reals does
it accuse (PROTOCOL section 4); and without the images that its training set has seen (section 8).

Numpy only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from study.core.records import FAKE, REAL, Scores
from study.statistics.ranking import Ints

POOLED = ("image", "unit")  # the levels of all images of a test set
PREFIX = {FAKE: "method:", REAL: "reals:"}  # of the subset's name, by the class that is taken apart


def by_method(scores: Scores) -> dict[str, Ints]:
    """Return subset -> the places (n,) of its images, in the order of `scores`, methods by name,
    those of the fakes first.

    `method:<name>`: the fakes of that method against all reals of the test set. `reals:<name>`: the
    reals of that source against all its fakes. A class with a single method is not taken apart: its
    rows would be the pooled ones.
    """
    found: dict[str, Ints] = {}
    for label in (FAKE, REAL):
        mine = scores.label == label
        names = np.unique(scores.method[mine])
        if len(names) > 1:
            found |= {
                f"{PREFIX[label]}{name}": np.flatnonzero(~mine | (scores.method == name))
                for name in names.tolist()
            }
    return found


def without(scores: Scores, sample_ids: Collection[str]) -> Scores:
    """Return the scores of all images but those. Some or all of the ids may name no image here."""
    return part(
        scores,
        np.flatnonzero(~np.isin(scores.sample_id, np.array(sorted(sample_ids), dtype=np.str_))),
    )


def part(scores: Scores, places: Ints) -> Scores:
    """Return the scores of the images at `places` (n,). `listed` is their number: coverage is known
    of the whole test set only.
    """
    columns = {
        name: getattr(scores, name)[places]
        for name in ("sample_id", "group", "unit", "method", "label", "logit")
    }
    return replace(scores, **columns, listed=len(places), excluded=())

"""Small samples of scores for the tests of the statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from study.core.records import Scores


@pytest.fixture
def make_scores() -> Callable[..., Scores]:
    """Scores from labels and logits; each image is its own group and unit unless told otherwise."""

    def make(label, logit, group=None, unit=None, method=None) -> Scores:
        ids = np.array([f"set/{i:05d}.png" for i in range(len(label))], dtype=np.str_)
        group = ids if group is None else np.array(group, dtype=np.str_)
        return Scores(
            sample_id=ids,
            group=group,
            unit=ids if unit is None else np.array(unit, dtype=np.str_),
            method=np.full(len(label), "m") if method is None else np.array(method, dtype=np.str_),
            label=np.array(label, dtype=np.uint8),
            logit=np.array(logit, dtype=np.float32),
            listed=len(label),
        )

    return make

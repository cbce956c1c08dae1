"""What a degradation costs, with its interval, on made-up scores: two cells of one test set and one of another."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from study.planning.robustness import Groups, Robustness, _error, mean_drop
from study.records import Scores
from study.statistics.comparisons import PairedAucs

N = 120


def made(logit: np.ndarray) -> Scores:
    ids = np.array([f"{i:04d}" for i in range(N)])
    label = (np.arange(N) % 2).astype(np.uint8)
    return Scores(sample_id=ids, group=ids, unit=ids, method=ids, label=label, logit=logit.astype(np.float32), listed=N)


def cell(pairs: list[tuple[Scores, Scores]], first_group: int) -> Robustness:
    aucs = [np.mean([roc_auc_score(s.label, s.logit) for s in side]) for side in zip(*pairs, strict=True)]
    groups = Groups(pairs[0][0].sample_id, np.arange(first_group, first_group + N))
    return Robustness(
        detector="npr",
        train_on="x",
        test_on="y",
        degradation="blur1",
        auc=float(aucs[0]),
        clean=float(aucs[1]),
        images=N,
        left_out=0,
        state="done",
        reason="",
        error=_error(pairs, groups),
    )


def test_the_drops_interval_is_paired_and_cells_of_one_test_set_vary_together() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(N) % 2
    logits = [
        [base + 0.3 * rng.normal(size=N) + shift * label for shift in (0.8, 1.4)] for base in rng.normal(size=(2, N)).repeat(2, 0)
    ]
    one, two, other = (cell([(made(logits[i][0]), made(logits[i][1]))], start) for i, start in ((0, 0), (1, 0), (2, N)))
    same = PairedAucs(label, [*logits[0], *logits[1]], made(label).sample_id, rng_seed=0).contrast(np.array([1, -1, 1, -1]) / 3)
    apart = PairedAucs(label, logits[2], made(label).sample_id, rng_seed=0).contrast(np.array([1, -1]) / 3)
    found = mean_drop([one, two, other])
    assert found.value == pytest.approx(same[0] + apart[0])
    reach = stats.norm.ppf(0.975) * math.sqrt(same[1] + apart[1])
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.01)  # strata are pooled: (n - 1) / n of them counts once
    unpaired = [PairedAucs(label, [z], made(label).sample_id, rng_seed=0).contrast([1.0])[1] for z in logits[2]]
    assert mean_drop([other]).high - mean_drop([other]).low < 2 * 1.96 * math.sqrt(sum(unpaired))
    assert math.isnan(mean_drop([one, replace(two, error=None)]).low)

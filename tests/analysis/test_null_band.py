"""The null band of made-up models, by scikit-learn; and where it stands in a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from study.analysis.leakage import NO_LEAKS
from study.analysis.null_band import null_bands, null_rows
from study.analysis.results import Results
from study.analysis.score_set import ScoreSet
from study.core.records import Draw, DrawScores, Pairing, Scores
from study.render.grid import NULL_BAND, detectors, pick
from tests.analysis.score_sets import clean_cell

N, P = 80, 20
A, B = (Pairing(detector="d", train_on=x) for x in ("a", "b"))
RNG = np.random.default_rng(0)
LABEL = (np.arange(N) % 2).astype(np.uint8)
IDS = np.array([f"y/{n:03}" for n in range(N)])


def of(seed: int) -> Scores:
    return Scores(
        sample_id=IDS,
        group=IDS,
        unit=IDS,
        method=np.array(["m"] * N),
        label=LABEL,
        logit=np.random.default_rng(seed).normal(size=N).astype(np.float32),
        listed=N,
    )


def made() -> tuple[ScoreSet, Any, Any]:
    logits = {p: RNG.normal(size=(P, N)).astype(np.float32) for p in (A, B)}
    draws = tuple(Draw(kind="permuted", number=n) for n in range(P))
    drawn: Any = {(p, "y"): [(draws, DrawScores(sample_id=IDS, logits=logits[p]))] for p in (A, B)}
    cells = [clean_cell(p, "y", seed, f"{p.train_on}{seed}") for p in (A, B) for seed in (0, 1)]
    files = [(cell.scores_key, of(n)) for n, cell in enumerate(cells)]
    return ScoreSet(files, rng_seed=len, leakage=NO_LEAKS, drawn=drawn), cells, logits


def test_a_band_is_of_the_aucs_of_its_models() -> None:
    scores, cells, logits = made()
    bands = null_bands(scores, cells)
    assert [band.pairing for band in bands] == [A, B]
    for band in bands:
        expected = [roc_auc_score(LABEL, one) for one in logits[band.pairing]]
        assert band.aucs == pytest.approx(expected, abs=1e-12)
        assert band.mean == pytest.approx(np.mean(expected))
        assert band.sd == pytest.approx(np.std(expected, ddof=1))
        assert band.ends == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
        assert (band.n_real, band.n_fake) == (40, 40)


def test_a_pairing_without_such_models_has_no_band() -> None:
    scores, cells, _ = made()
    other = clean_cell(Pairing(detector="e", train_on="a"), "y", 0, "a0")
    assert [band.pairing for band in null_bands(scores, [*cells, other])] == [A, B]


def test_a_matrix_has_it_below_its_cells_and_in_none() -> None:
    scores, cells, _ = made()
    bands = null_bands(scores, cells)
    rows = null_rows(scores, bands)
    results = Results(rows=tuple(rows))
    assert not any(row.is_whole or row.is_plain for row in rows)
    assert detectors(results) == ["d"]
    grid = pick(results, "d", "auc")
    assert grid.rows() == []
    whole = grid.baselines[NULL_BAND]["y"].estimate
    assert whole.value == pytest.approx((bands[0].mean + bands[1].mean) / 2)
    assert whole.low == min(band.ends[0] for band in bands)
    assert whole.high == max(band.ends[1] for band in bands)

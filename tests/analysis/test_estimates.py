"""What is derived of scores is kept: found again, and never mistaken for that of anything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from study.analysis import estimates
from study.analysis.calibrations import Calibrations
from study.analysis.cell_rows import cell_rows
from study.analysis.estimates import cached_estimates
from study.core import parallel
from study.core.records import Pairing, Scores
from study.planning.cells import PlannedCell
from study.statistics.intervals import CellEstimates, estimate_cell
from study.statistics.likelihood_ratio import UNKNOWN, Evidence
from tests.analysis.score_sets import score_set

GIVEN = {"fixed": 0.0, "source": float("nan"), "source_fpr5": float("-inf")}
DECIDED = [GIVEN] * 2, [1.5, float("nan")], [Evidence(1.2, -0.3), UNKNOWN]
CALL: dict[str, Any] = {"rng_seed": 3, "brief": False}


def scored(seed: int, n: int = 40) -> Scores:
    ids = np.array([f"b/{i:03d}.png" for i in range(n)])
    label = (np.arange(n) % 2).astype(np.uint8)
    logit = (np.random.default_rng(seed).normal(size=n) + label).astype(np.float32)
    return Scores(
        sample_id=ids,
        group=ids,
        unit=ids,
        method=label.astype(np.str_),
        label=label,
        logit=logit,
        listed=n,
    )


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "estimates").glob("*/*"))


def test_kept_estimates_are_those_of_the_scores_and_are_derived_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = [scored(0), scored(1)]
    expected = repr(estimate_cell(seeds, *DECIDED, **CALL))
    assert repr(cached_estimates(tmp_path, seeds, *DECIDED, **CALL)) == expected
    with monkeypatch.context() as patched:
        patched.setattr(estimates, "estimate_cell", lambda *_, **__: pytest.fail("derived again"))
        assert repr(cached_estimates(tmp_path, seeds, *DECIDED, **CALL)) == expected
    (file,) = kept(tmp_path)
    file.write_text(file.read_text(encoding="utf-8")[:200], encoding="utf-8")
    assert repr(cached_estimates(tmp_path, seeds, *DECIDED, **CALL)) == expected
    assert file.stat().st_size > 200


def test_whatever_decides_the_numbers_decides_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_code: Callable[[str], None]
) -> None:
    made: list[int] = []

    def counted(*_: Any, **__: Any) -> CellEstimates:
        made.append(1)
        return CellEstimates(rows=[], oracle=())

    monkeypatch.setattr(estimates, "estimate_cell", counted)
    one = scored(0)
    group = np.array([f"g{i // 2}" for i in range(40)])
    higher = one.logit.copy()
    higher[7] = np.nextafter(higher[7], np.float32(np.inf))
    changed = [
        one,
        replace(one, logit=higher),
        replace(one, group=group),
        replace(one, label=1 - one.label),
        scored(0, n=38),
    ]
    for number, scores in enumerate(changed, start=1):
        cached_estimates(tmp_path, [scores], [GIVEN], [1.0], [UNKNOWN], **CALL)
        assert len(kept(tmp_path)) == number
    others: list[tuple[Any, Any, Any, dict[str, Any]]] = [
        ({**GIVEN, "fixed": 0.1}, 1.0, UNKNOWN, CALL),
        (dict(reversed(GIVEN.items())), 1.0, UNKNOWN, CALL),
        (GIVEN, 1.1, UNKNOWN, CALL),
        (GIVEN, 1.0, Evidence(1.0, 0.0), CALL),
        (GIVEN, 1.0, Evidence(1.0, 0.1), CALL),
        (GIVEN, 1.0, UNKNOWN, {**CALL, "rng_seed": 4}),
        (GIVEN, 1.0, UNKNOWN, {**CALL, "brief": True}),
    ]
    for number, (thresholds, temperature, evidence, call) in enumerate(
        others, start=len(changed) + 1
    ):
        cached_estimates(tmp_path, [one], [thresholds], [temperature], [evidence], **call)
        assert len(kept(tmp_path)) == number
    for number, other in enumerate(["ranking.py", "scipy"], start=len(kept(tmp_path)) + 1):
        other_code(other)
        for _ in range(2):
            cached_estimates(tmp_path, [one], [GIVEN], [1.0], [UNKNOWN], **CALL)
            assert len(made) == number
    assert len(kept(tmp_path)) == len(changed) + len(others)  # in place of that of the other code


def test_the_matrix_is_the_same_for_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, cells = score_set(
        [("b", Pairing(detector=f"d{i}", train_on="a"), scored(i), 0) for i in range(5)]
    )
    winner = cast(Any, SimpleNamespace(key="w", thresholds=GIVEN, temperature=1.0))
    planned = [PlannedCell(cell=cell, winner=winner, job=None) for cell in cells]
    calibrations = Calibrations(cast(Any, SimpleNamespace(val_scores=lambda _: scored(9))))
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(parallel, "cpu_count", lambda threads=threads: threads)
        cache = tmp_path / str(threads)
        found.append(repr(cell_rows(scores, planned, cache=cache, calibrations=calibrations)))
        assert len(kept(cache)) == 5
    assert found[0] == found[1]

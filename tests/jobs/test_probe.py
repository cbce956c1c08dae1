"""The floor of a network: its probe is the linear detector's best, and below it is flagged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from study.analysis.flags import UNDER_TUNED, under_tuned
from study.analysis.floors import Floor, floors
from study.core.records import Pairing, Scores
from study.detectors import registry
from study.jobs.probe import STRENGTHS, run_probe
from study.jobs.trial import run_trial
from study.planning.open_study import OpenStudy, open_study
from study.planning.selection import SearchHistory
from study.planning.study_file import parse_study
from study.store.store import Store
from tests.factories import write_dataset

TUNED, LINEAR = "mobilenetv2_035", "mobilenetv2_035_linear"
PX = 32


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    geometry = registry.Geometry(size_px=PX, mode="squash")
    small = {name: replace(registry.DETECTORS[name], geometry=geometry) for name in (TUNED, LINEAR)}
    with mock.patch.dict(cast("dict[str, Any]", registry.DETECTORS), small):
        write_dataset(tmp_path / "data" / "alpha", n=40, size=PX)
        network = registry.create(registry.spec_of(TUNED), 0).backbone
        torch.manual_seed(0)
        tensors = {
            n: torch.rand_like(t, device="cpu")
            for n, t in network.state_dict().items()
            if t.is_floating_point()
        }
        (tmp_path / "weights").mkdir()
        save_file(tensors, tmp_path / "weights" / "mobilenetv2_035.safetensors")
        table = {
            "name": "s",
            "detectors": [TUNED, LINEAR, "npr"],
            "train_on": ["alpha"],
            "budget": {"epochs": 1},
            "data": {"root": str(tmp_path / "data")},
        }
        yield open_study(
            parse_study(table, where="s.toml"),
            results=tmp_path / "results",
            weights_root=tmp_path / "weights",
            firewall=True,
        )


def test_the_probe_is_the_linear_detectors_best_on_source_val(opened: OpenStudy) -> None:
    tuned, linear, scratch = opened.study.pairings()
    job = opened.jobs.probe(tuned)
    # what is linear itself has none, and what has no pretrained body neither
    assert job is not None and not job.is_done()
    assert opened.jobs.probe(linear) is None and opened.jobs.probe(scratch) is None
    run_probe(job)
    assert job.is_done()
    found = opened.store.probe(job.trial.key)
    results = [
        run_trial(opened.jobs.trial(linear, n, {"C": strength}), lambda _: None)
        for n, strength in enumerate(STRENGTHS)
    ]
    assert roc_auc_score(found.label, found.logit) == pytest.approx(
        max(result.val_auc for result in results), abs=1e-12
    )
    file = opened.store.probe_file(job.trial.key)
    before = file.stat().st_mtime_ns
    run_probe(job)  # is done
    assert file.stat().st_mtime_ns == before
    assert floors(opened.jobs, {tuned: SearchHistory(trials=[], complete=False)}) == []


def scored(logit: np.ndarray, label: np.ndarray) -> Scores:
    names = np.array([f"{n:03d}" for n in range(len(label))])
    return Scores(
        sample_id=names,
        group=names,
        unit=names,
        method=names,
        label=label.astype(np.uint8),
        logit=logit.astype(np.float32),
        listed=len(label),
    )


@pytest.mark.parametrize(("shift", "below"), [(0.3, True), (2.0, False)])
def test_winners_below_the_probe_by_more_than_noise_are_under_tuned(
    opened: OpenStudy, monkeypatch: pytest.MonkeyPatch, shift: float, below: bool
) -> None:
    (tuned, *_), n = opened.study.pairings(), 200
    rng, label = np.random.default_rng(0), np.arange(n) % 2
    probe = scored(norm.ppf(rng.uniform(size=n)) + 2.0 * label, label)
    winner = scored(norm.ppf(rng.uniform(size=n)) + shift * label, label)
    job = opened.jobs.probe(tuned)
    assert job is not None
    opened.store.save_probe(job.trial.key, probe)

    class Winner:
        trial = job.trial

        def is_done(self) -> bool:
            return True

    monkeypatch.setattr(type(opened.jobs), "winners", lambda *_: [Winner(), Winner()])
    monkeypatch.setattr(Store, "val_scores", lambda *_: winner)
    (floor,) = floors(opened.jobs, {tuned: SearchHistory(trials=[], complete=True)})
    assert floor.is_below == below and isinstance(floor, Floor)
    said = under_tuned(floor, 4)
    assert (said is not None) == below
    if said:
        assert said.kind == UNDER_TUNED
        assert said.mend == 'set budget.trials = 8 and budget.epochs = "auto"'
        assert f"below the {floor.probe:.3f} of a linear probe" in said.seen
    assert floor.pairing == Pairing(detector=TUNED, train_on="alpha")

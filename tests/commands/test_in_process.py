"""Small work is done without a cluster: how long it takes is known from what was measured, and the
results are those of any launcher.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from study import cross_eval, sweep
from study.jobs.cell import CellJob
from study.jobs.degraded import degraded_jobs
from study.planning import in_process
from study.planning.cells import plan_cells
from study.planning.in_process import (
    DECODE_SECONDS,
    HEAD_SECONDS,
    JOB_SECONDS,
    SMALL_JOB_SECONDS,
    Estimates,
)
from study.planning.open_study import OpenStudy, open_study
from study.planning.searches import replay
from study.planning.selection import SearchHistory
from study.planning.study_file import load_study
from study.runtime import cluster
from tests.commands.conftest import StudyRun
from tests.commands.test_study_runs import same_store

NOTHING = SearchHistory(trials=(), complete=False)


class ClusterStartedError(Exception):
    """In place of a cluster."""


@pytest.fixture
def own(local_run: StudyRun, tmp_path: Path) -> StudyRun:
    """The finished small study, in a results folder of this test's own, without --local."""
    results = tmp_path / "results"
    shutil.copytree(local_run.store.results, results)
    arguments = [
        str(results) if word == str(local_run.store.results) else word
        for word in local_run.arguments
    ]
    arguments.remove("--local")
    return StudyRun(arguments, type(local_run.store)(results, "small"))


@pytest.fixture
def opened(own: StudyRun) -> Iterator[OpenStudy]:
    study = load_study(own.arguments[0])
    yield open_study(study, results=own.store.results, weights_root=None, firewall=False)


def test_what_is_small_is_done_without_a_cluster_and_is_the_same(
    own: StudyRun, local_run: StudyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Winners, models of draws, probes and cells; on a cluster that is named they run there."""

    def start(*_: object, **__: object) -> None:
        raise ClusterStartedError

    monkeypatch.setattr(cluster, "Cluster", start)
    monkeypatch.setattr(cluster, "SMALL_SECONDS", 1e6)  # however busy the machine is
    for folder in ("models", "draws", "scores", "draw_scores"):
        shutil.rmtree(own.store.folder / folder)
    with pytest.raises(ClusterStartedError):
        sweep.main([*own.arguments, "--address", "auto"])
    assert sweep.main(own.arguments) == 0
    with pytest.raises(ClusterStartedError):
        cross_eval.main([*own.arguments, "--address", "auto"])
    assert cross_eval.main(own.arguments) == 0
    same_store(own.store, local_run.store)
    monkeypatch.setattr(cluster, "SMALL_SECONDS", 0.0)
    shutil.rmtree(own.store.folder / "scores")
    with pytest.raises(ClusterStartedError):
        cross_eval.main(own.arguments)


def test_training_takes_what_the_trials_took(opened: OpenStudy) -> None:
    history = replay(opened)
    estimates = Estimates(opened.jobs, history)
    for pairing, searched in history.items():
        trial, result = searched.best or pytest.fail("no trial")
        longest = max(r.seconds for _, r in searched.trials)
        winner = opened.jobs.winners(pairing, searched)[0]
        assert winner.trial.params == trial.params
        assert estimates.training([winner]) == pytest.approx(JOB_SECONDS + result.seconds)
        assert estimates.training([winner] * 3) == pytest.approx(3 * (JOB_SECONDS + result.seconds))
        other = replace(winner, trial=replace(winner.trial, params={"tried": "never"}))
        assert estimates.training([other]) == pytest.approx(JOB_SECONDS + longest)
        models = opened.jobs.draws(pairing, searched)
        shares = [0.5 if draw.kind == "half" else 1.0 for job in models for draw in job.draws]
        expected = len(models) * JOB_SECONDS + sum(shares) * result.seconds
        assert models and estimates.training(models) == pytest.approx(expected)
    unknown = Estimates(opened.jobs, dict.fromkeys(history, NOTHING))
    assert unknown.training([winner]) == math.inf and unknown.training([]) == 0


def test_scoring_takes_what_looking_at_images_took(
    opened: OpenStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "cpu_count", lambda: 64)  # more than share a network's batches
    history = replay(opened)
    cells = [(c.job, c.winner) for c in plan_cells(opened, history) if isinstance(c.job, CellJob)]
    known = [(job, winner) for job, winner in cells if winner is not None]
    frozen = [pair for pair in known if pair[1].spec.name == "spectrum"]
    trained = [pair for pair in known if pair[1].spec.name == "npr"]
    images = {
        name: opened.workspace.catalog.describe(name).images("test") for name in ("alpha", "beta")
    }
    estimates = Estimates(opened.jobs, history)
    # their features are in the cache
    assert estimates.scoring(frozen, [], []) == pytest.approx(HEAD_SECONDS * len(frozen))
    job, winner = trained[0]
    pairing = winner.trial.pairing
    longest = max(e.seconds for _, r in history[pairing].trials for e in r.history)
    train = opened.workspace.catalog.describe(pairing.train_on).images("train")
    look = images[job.test_on] * longest / train
    assert estimates.scoring([(job, winner)], [], []) == pytest.approx(SMALL_JOB_SECONDS + look)
    monkeypatch.setattr(in_process, "cpu_count", lambda: 2)  # both of them look, here as elsewhere
    assert estimates.scoring([(job, winner)], [], []) == pytest.approx(SMALL_JOB_SECONDS)
    degraded = [replace(job, degradation=name, scores_key=name) for name in ("blur2", "jpeg50")]
    each = (1 + 2) * DECODE_SECONDS + 2 * longest / train
    of_stretches = [(one, winner) for one in degraded]
    found = estimates.scoring(of_stretches, [], degraded_jobs(degraded))
    assert found == pytest.approx(JOB_SECONDS + images[job.test_on] * each)
    unknown = Estimates(opened.jobs, dict.fromkeys(history, NOTHING))
    assert unknown.scoring([(job, winner)], [], []) == math.inf
    packs = opened.workspace.data.cache / "packs"
    assert packs.is_dir()
    shutil.rmtree(packs)
    more = images["alpha"] + images["beta"]
    seconds = HEAD_SECONDS * len(frozen) + more * DECODE_SECONDS
    assert estimates.scoring(frozen, [], []) == pytest.approx(seconds)


def test_features_that_are_missing_take_what_others_took(opened: OpenStudy) -> None:
    """Those of training images say what an image takes; the test images' are away."""
    history = replay(opened)
    cells = [(c.job, c.winner) for c in plan_cells(opened, history) if isinstance(c.job, CellJob)]
    frozen = [(j, w) for j, w in cells if w is not None and w.spec.name == "spectrum"]
    entries = {}
    for file in opened.workspace.data.cache.glob("features/*/*/seconds_per_image.json"):
        entries[file.parent] = json.loads(file.read_text())
    assert len(entries) == 6 and min(entries.values()) > 0  # train, val, test of two
    by_size = sorted(
        entries, key=lambda folder: sum(f.stat().st_size for f in folder.glob("*.npy"))
    )
    train = by_size[-2:]
    for folder in by_size[:-2]:
        shutil.rmtree(folder)
    images = sum(opened.workspace.catalog.describe(n).images("test") for n in ("alpha", "beta"))
    each = max(entries[folder] for folder in train)
    found = Estimates(opened.jobs, history).scoring(frozen, [], [])
    made = 2 * JOB_SECONDS + images * each  # of two test sets
    assert found == pytest.approx(HEAD_SECONDS * len(frozen) + made)
    for folder in train:
        (folder / "seconds_per_image.json").unlink()
    assert Estimates(opened.jobs, history).scoring(frozen, [], []) == math.inf

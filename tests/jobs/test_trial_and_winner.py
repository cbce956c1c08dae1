"""A trial's workers: how many come together, and what a reader is told; a winner comes back from
the store as it was trained.

The rest of the work is tested with the commands.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from study.core.errors import ConfigError
from study.core.records import EpochRecord, Pairing, Params, Trial, TrialResult
from study.data.catalog import DataConfig
from study.detectors import registry
from study.detectors.base import Detector
from study.jobs import trial as trial_job
from study.jobs.cell import CellJob, load_detector, score_cell
from study.jobs.epochs import EpochsJob, run_epochs
from study.jobs.trial import TrialJob, _StoreSession, run_trial
from study.jobs.winner import WinnerJob, run_winner
from study.jobs.workspace import TRAINED_ON, Workspace, open_catalog
from study.store.store import Store
from study.training import rate_finder
from study.training.process_group import ALONE, ProcessGroup
from study.training.runtime import TorchRuntime
from study.training.score import score
from study.training.session import FitResult
from tests.contract.stand_ins import Case, make_case
from tests.factories import write_dataset
from tests.training.fakes import tiny

RECORD = EpochRecord(
    epoch=0, phase="full", train_loss=0.5, val_auc=0.75, val_nll=0.6, learning_rate=0.1, seconds=2.0
)
RESULT = FitResult(
    history=(RECORD,),
    best_epoch=0,
    val_auc=0.75,
    val_nll=0.6,
    val_logit=np.zeros(2, np.float32),
    note="micro-batch 8 of 32",
)


def job(workers: int, tmp_path: Path) -> TrialJob:
    trial = Trial(
        key="abc",
        pairing=Pairing(detector="tiny", train_on="set"),
        number=0,
        params={},
        seed=0,
        epochs=1,
    )
    workspace = Workspace(
        results=tmp_path,
        study="s",
        data=DataConfig(root=tmp_path, cache=tmp_path),
        weights_root=None,
        threads=1,
        precision="float32",
        firewall=True,
        device="cpu",
    )
    return TrialJob(
        workspace=workspace, spec=tiny().spec, trial=trial, data_key="", workers=workers
    )


@pytest.fixture
def seen_processes(monkeypatch: pytest.MonkeyPatch) -> list[ProcessGroup]:
    """The worlds that fits are given; a group of two stands around every call."""
    seen: list[ProcessGroup] = []

    def fit(
        job: Any, report: Any, processes: ProcessGroup, **_: Any
    ) -> tuple[None, None, FitResult, float]:
        seen.append(processes)
        return None, None, RESULT, 2.0

    monkeypatch.setattr(trial_job, "fit_trial", fit)
    monkeypatch.setattr(ProcessGroup, "current", classmethod(lambda cls: cls(rank=1, size=2)))
    return seen


def test_a_trial_of_one_worker_is_alone_whatever_stands_around_it(
    seen_processes: list[ProcessGroup], tmp_path: Path
) -> None:
    result = run_trial(job(1, tmp_path), lambda _: None)
    assert seen_processes == [ALONE]
    assert (result.state, result.note, result.seconds, result.history) == (
        "done",
        "micro-batch 8 of 32",
        2.0,
        (RECORD,),
    )
    assert result.device_kind == "cpu"


def test_a_trial_of_several_workers_takes_its_place_among_them(
    seen_processes: list[ProcessGroup], tmp_path: Path
) -> None:
    run_trial(job(2, tmp_path), lambda _: None)
    assert seen_processes == [ProcessGroup(rank=1, size=2)]


def test_a_group_of_another_size_is_refused(
    seen_processes: list[ProcessGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="trial abc needs 3 workers and 2 came together"):
        run_trial(job(3, tmp_path), lambda _: None)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="trial abc needs 2 workers and 1 came together"):
        run_trial(job(2, tmp_path), lambda _: None)
    assert not seen_processes


def test_a_detector_is_built_with_the_studys_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts are embedded then, and their last bits depend on it."""
    seen: list[int] = []

    class BuiltError(Exception):
        pass

    def build(*_: Any, **__: Any) -> None:
        seen.append(torch.get_num_threads())
        raise BuiltError

    monkeypatch.setattr(
        trial_job,
        "open_catalog",
        lambda *_, **__: SimpleNamespace(key=lambda *_: "", open=lambda *_: None),
    )
    monkeypatch.setattr(registry, "build", build)
    torch.set_num_threads(2)
    with pytest.raises(BuiltError):
        run_trial(job(1, tmp_path), lambda _: None)
    assert seen == [1]


def small_workspace(tmp_path: Path, weights_root: Path | None = None) -> Workspace:
    write_dataset(tmp_path / "data" / "mine", n=24, size=16)
    return Workspace(
        results=tmp_path / "results",
        study="s",
        data=DataConfig(root=tmp_path / "data", cache=tmp_path / "cache"),
        weights_root=weights_root,
        threads=1,
        precision="float32",
        firewall=False,
        device="cpu",
    )


def won(case: Case, workspace: Workspace, params: Params, *, epochs: int) -> WinnerJob:
    """Train a winner of a small network, `w`, and return its job."""
    trial = Trial(
        key="w",
        pairing=Pairing(detector=case.name, train_on="mine"),
        number=-1,
        params=params,
        seed=0,
        epochs=epochs,
    )
    job = WinnerJob(
        workspace=workspace,
        spec=case.resolve(),
        trial=trial,
        data_key=open_catalog(workspace.data, firewall=True).key("mine", TRAINED_ON),
        winner_seed=0,
        winner_trial=0,
    )
    run_winner(job)
    return job


def kept_winner(workspace: Workspace, epochs: int) -> WinnerJob:
    """Train a network with BatchNorm and keep its epochs."""
    spec = registry.resolve("resnet18_scratch", options={"size_px": 16}, weights_root=None)
    trial = Trial(
        key="w",
        pairing=Pairing(detector="resnet18_scratch", train_on="mine"),
        number=-1,
        seed=0,
        epochs=epochs,
        params={"lr": 0.01, "batch_size": 8, "patience": 0},
    )
    data_key = open_catalog(workspace.data, firewall=True).key("mine", TRAINED_ON)
    winner = WinnerJob(
        workspace=workspace,
        spec=spec,
        trial=trial,
        data_key=data_key,
        winner_seed=0,
        winner_trial=0,
        keep_epochs=True,
    )
    run_winner(winner)
    return winner


def test_every_epoch_is_scored_with_its_own_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: there a detector that is placed has other tensors for its buffers."""
    workspace = small_workspace(tmp_path)
    kept_winner(workspace, epochs=3)
    store = Store(workspace.results, "s")
    data_key = open_catalog(workspace.data, firewall=False).key("mine", ("test",))
    cell = CellJob(
        workspace=workspace, model="w", test_on="mine", scores_key="c", data_key=data_key
    )
    expected = {}
    for epoch in range(3):
        detector = load_detector(store.model_folder("w"))
        detector.load_state_dict(load_file(store.epoch_file("w", epoch)), strict=False)
        expected[epoch] = score_cell(cell, detector).logit
    place = TorchRuntime.place

    def place_elsewhere(self: TorchRuntime, detector: Detector) -> None:
        place(self, detector)
        detector._apply(torch.clone)

    monkeypatch.setattr(TorchRuntime, "place", place_elsewhere)
    epochs_job = EpochsJob(cell=cell, epochs=(0, 1, 2))
    run_epochs(epochs_job)
    for epoch in range(3):
        np.testing.assert_array_equal(
            store.scores(epochs_job.scores_key(epoch)).logit, expected[epoch]
        )
    assert not np.array_equal(expected[1], expected[2])


def test_a_damaged_checkpoint_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Torch's own reader checks no sums: a flipped bit of a tensor would be another number."""
    store = Store(tmp_path, "s")
    session = _StoreSession(store, "k", lambda _: None)
    assert session.load() is None
    session.save({"state": {"w": torch.arange(8.0)}})
    loaded = session.load()
    assert loaded is not None and torch.equal(loaded["state"]["w"], torch.arange(8.0))
    good = store.checkpoint_file("k").read_bytes()
    for content in (good[:-1], b"no zip", good.replace(b"\x00\x00\x80@", b"\x00\x00\x80A", 1)):
        assert content != good
        store.checkpoint_file("k").write_bytes(content)
        assert session.load() is None
    assert caplog.text.count("is damaged") == 3


def test_a_winner_leaves_no_checkpoint_and_says_where_it_was_trained(tmp_path: Path) -> None:
    workspace = small_workspace(tmp_path)
    winner = kept_winner(workspace, epochs=1)
    store = Store(workspace.results, "s")
    assert store.model("w").provenance["device_kind"] == "cpu"
    assert not store.checkpoint_file("w").exists()
    store.checkpoint_file("w").touch()  # killed between the record and this
    run_winner(winner)
    assert not store.checkpoint_file("w").exists()


def test_a_winner_knows_its_head_and_its_weights_hold_what_it_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hidden layer and low-rank adaptation, as a trial's configuration asks; the store alone
    brings the detector back.
    """
    case = make_case("timm:test_vit.r160_in1k", tmp_path, monkeypatch)
    workspace = small_workspace(tmp_path, case.folder)
    catalog = open_catalog(workspace.data, firewall=True)
    params = {
        "schedule": "lora",
        "lr": 0.01,
        "batch_size": 8,
        "lora_rank": 2,
        "head_width": 6,
        "head_dropout": 0.5,
    }
    won(case, workspace, params, epochs=1)
    store = Store(workspace.results, "s")
    assert store.model("w").spec == replace(
        case.resolve(), options={"head_width": 6, "head_dropout": 0.5}
    )
    detector = load_detector(store.model_folder("w"))
    assert [tuple(p.shape) for p in detector.head.parameters()] == [
        (6, detector.n_features),
        (6,),
        (1, 6),
        (1,),
    ]
    assert (
        detector.state_dict().keys()
        == registry.build(detector.spec, weights_root=case.folder, seed=0).state_dict().keys()
    )
    runtime = TorchRuntime.resolve(device="cpu", threads=1, precision="float32")
    runtime.place(detector)
    found = score(detector, catalog.open("mine", "val", detector.spec.geometry), runtime=runtime)
    assert np.array_equal(found, store.val_scores("w").logit)


def test_a_rate_is_found_once_and_is_what_the_fit_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials of other seeds and scales have one range test, and train as with the number given."""
    workspace, tests = small_workspace(tmp_path), []
    test = trial_job.find_rate

    def counted(*args: Any, **how: Any) -> float:
        tests.append(test(*args, **how))
        return tests[-1]

    monkeypatch.setattr(trial_job, "find_rate", counted)
    monkeypatch.setattr(rate_finder, "STEPS", 8)  # enough for a test of who asks for it
    spec = registry.resolve("resnet18_scratch", options={"size_px": 16}, weights_root=None)
    data_key = open_catalog(workspace.data, firewall=True).key("mine", TRAINED_ON)

    def run(key: str, seed: int, **params: Any) -> TrialResult:
        pairing = Pairing(detector="resnet18_scratch", train_on="mine")
        fixed = {"batch_size": 8, "patience": 0}
        trial = Trial(
            key=key, pairing=pairing, number=0, seed=seed, epochs=2, params=params | fixed
        )
        job = TrialJob(workspace=workspace, spec=spec, trial=trial, data_key=data_key)
        return run_trial(job, lambda _: None)

    found = run("a", 0, lr="auto")
    scaled = run("b", 1, lr="auto", lr_scale=0.5)
    assert len(tests) == 1
    assert found.note == f"lr = {tests[0]:.2g} by a range test"
    assert scaled.note == f"lr = {tests[0] / 2:.2g} by a range test"
    given = run("c", 1, lr=tests[0] * 0.5)
    assert given.note == ""
    assert [replace(e, seconds=0.0) for e in scaled.history] == [
        replace(e, seconds=0.0) for e in given.history
    ]
    assert len(tests) == 1

"""Trials in Optuna's storage, read back by Optuna itself; and importances against a variance
computed by hand.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from study.core.errors import StoreError
from study.core.failures import Failure
from study.core.records import EpochRecord, Pairing, Trial, TrialResult
from study.search.importances import importances
from study.search.spaces import Parameter, Space, load_space
from study.tracking.optuna_record import OptunaRecord, dashboard_command, storage_address

SPACE = load_space("npr")
PAIRING = Pairing(detector="npr", train_on="a")


def trial(number: int) -> Trial:
    origin = "tpe" if number else "default"
    return Trial(
        key=f"k{number}",
        pairing=PAIRING,
        number=number,
        params=SPACE.default(),
        seed=0,
        epochs=3,
        origin=origin,
    )


def result(number: int, value: float, **changes: object) -> TrialResult:
    epochs = [
        EpochRecord(
            epoch=e,
            phase="full",
            train_loss=0.1,
            val_auc=value - 0.1 * (2 - e),
            val_nll=0.5,
            learning_rate=1e-3,
            seconds=2.0,
        )
        for e in range(3)
    ]
    made = TrialResult(
        key=f"k{number}",
        state="done",
        val_auc=value,
        val_nll=0.5,
        best_epoch=2,
        history=tuple(epochs),
        seconds=6.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def read(results: Path) -> list[optuna.trial.FrozenTrial]:
    """What another process sees: all trials of the one study in the file."""
    storage = JournalStorage(JournalFileBackend(str(results / "optuna.journal")))
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.study_name.startswith("mine: npr @ a (")
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def test_every_trial_stands_with_values_curve_and_time(tmp_path: Path) -> None:
    record = OptunaRecord("mine", results=tmp_path)
    record.add(trial(0), result(0, 0.8), SPACE)
    record.add(
        trial(1), result(1, 0.7, state="stopped", reason="stopped by asha after 3 epochs"), SPACE
    )
    record.add(
        trial(2),
        result(
            2, math.nan, state="failed", failure=Failure.parse("DivergedError: nan"), history=()
        ),
        SPACE,
    )
    first, second, third = read(tmp_path)
    assert (first.state, first.value) == (TrialState.COMPLETE, 0.8)
    assert first.params == SPACE.searched(SPACE.default())
    assert first.intermediate_values == pytest.approx({1: 0.6, 2: 0.7, 3: 0.8})
    assert first.user_attrs == {
        "key": "k0",
        "number": 0,
        "state": "done",
        "seconds": 6.0,
        "best_epoch": 2,
        "origin": "default",
    }
    assert first.duration is not None and first.duration.total_seconds() == pytest.approx(6.0)
    assert (second.state, second.user_attrs["reason"]) == (
        TrialState.PRUNED,
        "stopped by asha after 3 epochs",
    )
    assert (third.state, third.user_attrs["reason"]) == (TrialState.FAIL, "DivergedError: nan")


def test_what_is_there_is_not_written_again_by_this_or_another_command(tmp_path: Path) -> None:
    for _ in range(2):
        record = OptunaRecord("mine", results=tmp_path)
        for _ in range(2):
            record.add(trial(0), result(0, 0.8), SPACE)
    assert len(read(tmp_path)) == 1
    OptunaRecord("mine", results=tmp_path).add(trial(1), result(1, math.nan, state="failed"), SPACE)
    # tried again, with success
    OptunaRecord("mine", results=tmp_path).add(trial(1), result(1, 0.9), SPACE)
    assert [t.state for t in read(tmp_path)] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]


def test_another_space_is_another_study(tmp_path: Path) -> None:
    record = OptunaRecord("mine", results=tmp_path)
    record.add(trial(0), result(0, 0.8), SPACE)
    narrow = [
        replace(p, choices=p.choices[:1], default=p.choices[0]) if p.choices else p
        for p in SPACE.parameters
    ]
    other = Space("npr", SPACE.constants, tuple(narrow))
    record.add(replace(trial(0), params=other.default()), result(0, 0.8), other)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    assert len(optuna.get_all_study_summaries(storage)) == 2


def test_the_objective_has_its_name_and_figures_are_artifacts(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Those of the search and of the pairing's detector; one that changes keeps its place."""
    record = OptunaRecord("mine", results=tmp_path)
    record.add_figures([PAIRING], [])
    assert not (tmp_path / "optuna.journal").exists()  # nothing was searched
    record.add(trial(0), result(0, 0.8), SPACE)
    figures = [tmp_path / name for name in ("best_so_far.png", "heat_map_npr_auc.png", "roc.png")]
    for content in (b"first", b"second"):
        for path in figures:
            path.write_bytes(path.name.encode() + content)
        others = Pairing(detector="npr", train_on="b"), Pairing(detector="spectrum", train_on="a")
        OptunaRecord("mine", results=tmp_path).add_figures([PAIRING, *others], figures)
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
        (name,) = optuna.get_all_study_names(storage)
        study = optuna.load_study(study_name=name, storage=storage)
        assert study.metric_names == ["AUC on source val"]
        folder = tmp_path / "optuna_artifacts"
        found = {
            one.filename: (folder / one.artifact_id).read_bytes()
            for one in get_all_artifact_meta(study)
        }
        wanted = ("best_so_far.png", "heat_map_npr_auc.png")
        assert found == {name: name.encode() + content for name in wanted}
        assert len([*folder.iterdir()]) == 2
    assert f"--artifact-dir {folder}" in dashboard_command(tmp_path)
    assert not recwarn.list


def test_the_address_can_be_set_and_a_password_is_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage_address(tmp_path) == str(tmp_path / "optuna.journal")
    assert str(tmp_path / "optuna.journal") in dashboard_command(tmp_path)
    monkeypatch.setenv("OPTUNA_STORAGE", f"sqlite:///{tmp_path}/o.db")
    OptunaRecord("mine", results=tmp_path / "elsewhere").add(trial(0), result(0, 0.8), SPACE)
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path}/o.db")
    assert summary.n_trials == 1
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://me:secret@host/db")
    assert "secret" not in dashboard_command(tmp_path)


def test_a_storage_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="OPTUNA_STORAGE") as error:
        OptunaRecord("mine", results=tmp_path / "file").add(trial(0), result(0, 0.8), SPACE)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("OPTUNA_STORAGE", "nonsense://x")
    with pytest.raises(StoreError, match="OPTUNA_STORAGE"):
        OptunaRecord("mine", results=tmp_path).add(trial(0), result(0, 0.8), SPACE)


# Importances

LR = Parameter(name="lr", kind="float", default=0.5, low=0.0, high=1.0)
FLIP = Parameter(name="flip", kind="categorical", default=0.0, choices=(0.0, 0.5))
DROPOUT = Parameter(name="dropout", kind="float", default=0.5, low=0.0, high=1.0)
THREE = Space("three", {}, (LR, FLIP, DROPOUT))


def test_shares_of_variance_by_hand() -> None:
    """Value = lr + flip on a full grid: variances 1/12 of a uniform [0, 1] and 1/16 of {0, .5};
    dropout has none.
    """
    steps = [(n + 0.5) / 8 for n in range(8)]
    trials = [
        ({"lr": a, "flip": b, "dropout": c}, a + b)
        for a in steps
        for b in (0.0, 0.5)
        for c in steps
    ]
    shares, reason = importances(THREE, trials, seed=0)
    assert reason == ""
    assert shares is not None and list(shares) == ["lr", "flip", "dropout"]
    total = 1 / 12 + 1 / 16
    assert shares["lr"] == pytest.approx((1 / 12) / total, abs=0.05)
    assert shares["flip"] == pytest.approx((1 / 16) / total, abs=0.05)
    assert shares["dropout"] == pytest.approx(0, abs=0.01)
    assert importances(THREE, trials, seed=0) == importances(THREE, trials, seed=0)


def test_a_setting_alone_has_all_of_the_variance_as_the_forest_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside one that no trial varies, which goes through the forest."""
    values = [(n / 7, ((n * 3) % 7) / 7) for n in range(8)]
    alone = [({"lr": lr}, value) for lr, value in values]
    with monkeypatch.context() as patched:
        patched.setattr(optuna.importance, "get_param_importances", None)
        assert importances(Space("one", {}, (LR,)), alone, seed=0) == ({"lr": 1.0}, "")
    beside = [({"lr": lr, "flip": 0.0}, value) for lr, value in values]
    by_forest, _ = importances(Space("two", {}, (LR, FLIP)), beside, seed=0)
    assert by_forest == {"lr": 1.0, "flip": 0.0}


def test_where_nothing_can_be_said_the_reason_is() -> None:
    trials = [({"lr": n / 5, "flip": 0.0, "dropout": 0.5}, 0.5) for n in range(5)]
    assert importances(THREE, trials[:3], seed=0) == (
        None,
        "not known: it needs 4 trials that were done, not 3",
    )
    assert importances(THREE, trials, seed=0) == (None, "all trials have the same value")

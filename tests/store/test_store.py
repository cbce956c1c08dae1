"""The store: what is written reads back equal, nothing is half written, and what cannot be used is
refused by name.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from study.core.errors import StoreError
from study.core.failures import Failure
from study.core.records import (
    DetectorSpec,
    EpochRecord,
    Geometry,
    Pairing,
    Scores,
    TrainedDetector,
    Trial,
    TrialResult,
)
from study.store.store import Store

EPOCH = EpochRecord(
    epoch=1, phase="full", train_loss=0.5, val_auc=0.9, val_nll=0.3, learning_rate=1e-3, seconds=2.0
)
TRIAL = Trial(
    key="k1",
    pairing=Pairing(detector="npr", train_on="a+b"),
    number=0,
    params={"lr": 0.1, "schedule": "full"},
    seed=3,
    epochs=4,
)
RESULT = TrialResult(
    key="k1", state="done", val_auc=0.9, val_nll=0.3, best_epoch=1, history=(EPOCH,), seconds=2.0
)
SPEC = DetectorSpec(
    name="npr",
    family="npr",
    geometry=Geometry(size_px=8, mode="crop"),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    learner="gradient",
    options={"size_px": 8},
)


TRAINED = TrainedDetector(
    key="m1",
    trial=TRIAL,
    spec=SPEC,
    winner_seed=1,
    winner_trial=0,
    thresholds={"fixed": 0.0, "source": float("inf")},
    temperature=1.5,
    val_auc=0.9,
    val_nll=0.3,
    best_epoch=1,
    provenance={"torch": "2"},
)


def some_scores() -> Scores:
    return Scores(
        sample_id=np.array(["a/1.png", "a/ü2.png"]),
        group=np.array(["g1", "g2"]),
        unit=np.array(["u1", "u2"]),
        method=np.array(["real", "stylegan"]),
        label=np.array([0, 1], np.uint8),
        logit=np.array([-1e-7, 88.5], np.float32),
        listed=3,
        excluded=(("a/3.png", "truncated"),),
    )


def equal(a: Scores, b: Scores) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(Scores)
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results", "mine")
    store.prepare()
    return store


def test_trials_read_back_equal(store: Store) -> None:
    failure = Failure(type="DivergedError", message="loss is nan")
    failed = TrialResult(key="k2", state="failed", failure=failure)
    trials = [(TRIAL, RESULT), (dataclasses.replace(TRIAL, key="k2", number=1), failed)]
    assert store.trials() == []
    store.save_trials(trials)
    first, second = store.trials()
    assert first == trials[0]
    assert second[1].state == "failed"
    assert second[1].failure == failure
    assert second[1].permanent
    assert np.isnan(second[1].val_auc)


def test_scores_read_back_equal(store: Store) -> None:
    store.save_scores("s1", some_scores())
    assert store.has_scores("s1")
    assert not store.has_scores("s2")
    back = store.scores("s1")
    assert equal(back, some_scores())
    assert back.coverage == 2 / 3
    assert back.logit.dtype == np.float32


def test_models_read_back_equal(store: Store) -> None:
    trained = TRAINED
    weights = {"w": torch.arange(6.0).reshape(2, 3).T}
    store.save_model(trained, weights, some_scores(), (EPOCH,), 2.5)
    assert store.model("m1") == trained
    assert equal(store.val_scores("m1"), some_scores())
    assert torch.equal(
        load_file(store.model_folder("m1") / "detector.safetensors")["w"], weights["w"]
    )
    # a second writer of the same key: the first is kept
    store.save_model(trained, weights, some_scores(), (EPOCH,), 9.0)
    assert (
        json.loads((store.model_folder("m1") / "detector.json").read_text(encoding="utf-8"))[
            "seconds"
        ]
        == 2.5
    )


def test_a_model_without_weights_or_without_a_source_has_no_such_file(store: Store) -> None:
    untrained = dataclasses.replace(
        TRAINED, thresholds={"fixed": 0.0, "source": float("nan")}, temperature=float("nan")
    )
    store.save_model(untrained, {"w": torch.zeros(2)}, None, (), 0.1)
    back = store.model("m1")
    assert (
        np.isnan(back.temperature)
        and np.isnan(back.thresholds["source"])
        and back.thresholds["fixed"] == 0.0
    )
    with pytest.raises(
        StoreError, match="m1' has no scores on a source's val: the detector was not trained on any"
    ):
        store.val_scores("m1")
    store.save_model(dataclasses.replace(TRAINED, key="m2"), None, some_scores(), (), 0.1)
    assert sorted(p.name for p in store.model_folder("m2").iterdir()) == [
        "detector.json",
        "val_scores.parquet",
    ]


def test_another_schema_is_refused_by_name(store: Store) -> None:
    import pyarrow.parquet as pq

    store.save_scores("s1", some_scores())
    table = pq.read_table(store.scores_file("s1"))
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"study_schema": b"99"}),
        store.scores_file("s1"),
    )
    with pytest.raises(StoreError, match=r"s1\.parquet' has schema 99, this version reads 1"):
        store.scores("s1")
    folder = store.model_folder("m1")
    folder.mkdir(parents=True)
    (folder / "detector.json").write_text(json.dumps({"schema": 99}), encoding="utf-8")
    with pytest.raises(StoreError, match="schema 99"):
        store.model("m1")


def test_a_damaged_file_is_named(store: Store) -> None:
    store.scores_file("s1").parent.mkdir()
    store.scores_file("s1").write_bytes(b"not parquet")
    with pytest.raises(StoreError, match=r"s1\.parquet' cannot be read"):
        store.scores("s1")


def test_a_killed_writer_leaves_no_result(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save_trials([(TRIAL, RESULT)])
    monkeypatch.setattr(
        "study.store.store.write_trials", lambda path, _: (path.write_bytes(b"half"), 1 / 0)
    )
    with pytest.raises(ZeroDivisionError):
        store.save_trials([])
    assert store.trials() == [(TRIAL, RESULT)]
    assert [p.name for p in store.folder.iterdir()] == ["trials.jsonl"]


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot be written .* choose another with --results"):
        Store(tmp_path / "file", "mine").prepare()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_locks_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Of Lustre and NFS, as they are often mounted: what cannot be locked is not in use."""

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with store.lock():
        pass


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_holds_is_said_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match="in use by process"), store.lock():
        pass


def test_a_second_writer_is_refused_and_a_dead_one_is_not_in_the_way(store: Store) -> None:
    code = (
        "import sys, pathlib, study.store.store; study.store.store.Store(pathlib.Path(sys.argv[1]),"
        " 'mine').lock().__enter__()"
    )
    with store.lock():
        done = subprocess.run(
            [sys.executable, "-c", code, str(store.results)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert f"in use by process {os.getpid()}" in done.stderr
    subprocess.run([sys.executable, "-c", code, str(store.results)], check=True)

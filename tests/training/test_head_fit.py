"""A linear head alone: the training loop's result, fitted once and kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from study.core.errors import DivergedError, TrialStopped
from study.core.records import EpochRecord
from study.detectors.base import Detector
from study.training import features, head_fit
from study.training.features import FeatureStore, FrozenBody
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.session import FitResult
from tests.training.fakes import FakeSession, images, tiny
from tests.training.small_fits import RUNTIME, recipe, run, same, snapshot, without_seconds
from tests.training.test_logistic import spectrum

HEAD: dict[str, Any] = {"schedule": "head"}


def fit_at(
    place: Path,
    detector: Detector,
    *,
    beside: Sequence[Recipe] = (),
    session: FakeSession | None = None,
    seed: int = 0,
    size_px: int = 8,
    **settings: Any,
) -> FitResult:
    """A fit whose body has a place on the disk."""
    learner = detector.spec.learner
    body = replace(FrozenBody.of(detector), store=FeatureStore(place))
    return fit(
        detector,
        images(21, size_px=size_px),
        images(15, seed=1, size_px=size_px),
        Recipe.from_params(settings, learner=learner) if settings.get("C") else recipe(**settings),
        epochs=4,
        seed=seed,
        runtime=RUNTIME,
        session=session or FakeSession(),
        body=body,
        beside=beside,
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many heads each training had: grows."""
    counts: list[int] = []
    train_heads = head_fit.train_heads

    def count(views: Any, val: Any, label: Any, heads: Sequence[Any], **how: Any) -> Any:
        counts.append(len(heads))
        return train_heads(views, val, label, heads, **how)

    monkeypatch.setattr(head_fit, "train_heads", count)
    return counts


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 0.5, "dropout": 0.2},
        {"optimizer": "sgd", "lr_schedule": "plateau", "plateau_patience": 0},
        {"patience": 1, "lr": 0.5, "loss": "balanced_bce"},
    ],
    ids=["dropout", "sgd", "patience"],
)
def test_it_is_the_training_loops(
    settings: dict[str, Any], trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which trains it where there is no room for its features."""
    stacked, looped = tiny(), tiny()
    found = run(stacked, **HEAD, **settings)
    monkeypatch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)
    expected = run(looped, **HEAD, **settings)
    assert trained == [1]
    assert found.best_epoch == expected.best_epoch
    np.testing.assert_allclose(found.val_logit, expected.val_logit, rtol=0, atol=1e-5)
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.phase, one.val_auc) == (other.phase, other.val_auc)
        assert one.learning_rate == pytest.approx(other.learning_rate, rel=1e-12)
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.val_nll == pytest.approx(other.val_nll, abs=1e-5)
    for key, value in stacked.state_dict().items():
        torch.testing.assert_close(value, looped.state_dict()[key], rtol=0, atol=1e-5)


def test_what_is_not_a_linear_head_alone_is_the_loops(trained: list[int]) -> None:
    for settings in ({"schedule": "lp_ft"}, {**HEAD, "mixup": 0.4}, {**HEAD, "jpeg": 0.5}):
        run(tiny(), **settings)
    assert trained == []


def test_it_is_trained_once(tmp_path: Path, trained: list[int]) -> None:
    first, again = tiny(), tiny()
    found = fit_at(tmp_path, first, **HEAD)
    session = FakeSession()
    kept = fit_at(tmp_path, again, session=session, **HEAD)
    assert trained == [1] and same((first, found), (again, kept))
    assert session.records == list(found.history), "reported as if it had been trained"
    fit_at(tmp_path, tiny(), seed=1, **HEAD)
    fit_at(tmp_path, tiny(seed=1), **HEAD)
    assert trained == [1, 1, 1], "another seed, another head as built"


def test_those_beside_it_are_trained_along(tmp_path: Path, trained: list[int]) -> None:
    """And are what they are alone, bit for bit. Whoever draws other images is not."""
    rates = (0.02, 0.05, 0.1)
    others = [recipe(**HEAD, lr=rate) for rate in rates] + [recipe(**HEAD, batch_size=7)]
    for rate in rates:
        beside = tiny()
        found = fit_at(tmp_path / "together", beside, beside=others, **HEAD, lr=rate)
        alone = tiny()
        expected = fit_at(tmp_path / f"{rate}", alone, **HEAD, lr=rate)
        assert same((beside, found), (alone, expected))
    assert trained == [3, 1, 1, 1]
    fit_at(tmp_path / "together", tiny(), beside=others, **HEAD, batch_size=7)
    assert trained[4:] == [1]


def test_a_damaged_outcome_is_made_again(
    tmp_path: Path, trained: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = tiny(), tiny()
    expected = fit_at(tmp_path, one, **HEAD)
    (entry,) = (tmp_path / "heads").rglob("*.npz")
    content = bytearray(entry.read_bytes())
    content[-40] ^= 1
    entry.write_bytes(content)
    assert same((one, expected), (two, fit_at(tmp_path, two, **HEAD)))
    assert trained == [1, 1] and f"'{entry}' is damaged" in caplog.text


def test_a_kill_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It falls into the training, with the lock held."""
    others = [recipe(**HEAD, lr=rate) for rate in (0.02, 0.05)]
    if (child := os.fork()) == 0:
        monkeypatch.setattr(head_fit, "train_heads", lambda *_, **__: os.kill(os.getpid(), 9))
        fit_at(tmp_path, tiny(), beside=others, **HEAD)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not list((tmp_path / "heads").rglob("*.npz"))
    killed, alone = tiny(), tiny()
    found = fit_at(tmp_path, killed, beside=others, **HEAD)
    assert same((killed, found), (alone, fit_at(tmp_path / "other", alone, **HEAD)))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_logistic_regression_is_solved_once_for_all_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[int] = []
    solve = head_fit.fit_logistic
    monkeypatch.setattr(
        head_fit, "fit_logistic", lambda *a, **k: solved.append(1) or solve(*a, **k)
    )
    detectors = [spectrum() for _ in range(3)]
    found = [
        fit_at(tmp_path, detector, seed=seed, size_px=16, C=2.0)
        for seed, detector in enumerate(detectors)
    ]
    assert len(solved) == 1
    assert all(same((detectors[0], found[0]), pair) for pair in zip(detectors, found, strict=True))
    fit_at(tmp_path, spectrum(), size_px=16, C=3.0)
    assert len(solved) == 2


def test_one_that_diverges_is_told_of_each_time(tmp_path: Path, trained: list[int]) -> None:
    wild = {**HEAD, "lr": 1e30, "weight_decay": 1e10, "clip_norm": 0.0}
    messages = []
    for _ in range(2):
        session = FakeSession()
        with pytest.raises(DivergedError, match="lower lr or clip_norm") as raised:
            fit_at(tmp_path, tiny(), session=session, **wild)
        messages.append((str(raised.value), session.records))
    assert messages[0] == messages[1] and trained == [1]


def test_reports_stop_it_and_every_epoch_is_given(tmp_path: Path) -> None:
    class Keeper(FakeSession):
        def __init__(self, detector: Detector, stop: int) -> None:
            super().__init__()
            self.detector, self.stop = detector, stop
            self.kept: dict[int, Mapping[str, Tensor]] = {}

        def keep_epoch(self, epoch: int, state: Mapping[str, Tensor]) -> None:
            self.kept[epoch] = state

        def report(self, record: EpochRecord) -> None:
            super().report(record)
            state = snapshot(self.detector)
            assert set(self.kept[record.epoch]) == {"head.weight", "head.bias"}
            assert all(torch.equal(state[k], v) for k, v in self.kept[record.epoch].items())
            if record.epoch == self.stop:
                raise TrialStopped("enough")

    detector = tiny()
    session = Keeper(detector, 2)
    with pytest.raises(TrialStopped):
        fit_at(tmp_path, detector, session=session, **HEAD)
    assert [record.epoch for record in session.records] == [0, 1, 2]
    detector = tiny()
    session = Keeper(detector, -1)
    result = fit_at(tmp_path, detector, session=session, **HEAD)
    assert without_seconds(tuple(session.records)) == without_seconds(result.history)
    best = session.kept[result.best_epoch]
    assert all(torch.equal(detector.state_dict()[key], value) for key, value in best.items())
    weights = [state["head.weight"].numpy().tobytes() for state in session.kept.values()]
    assert len(set(weights)) == 4

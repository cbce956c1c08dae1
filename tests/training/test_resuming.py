"""A fit goes on where it stopped, bit for bit; a checkpoint of another fit is none."""

from __future__ import annotations

from typing import Any

import pytest

from study.core.errors import TrialStopped
from study.core.records import EpochRecord
from study.detectors.entry import UNFREEZING
from study.training import checkpoints, features
from study.training.recipe import OPTIMIZERS
from tests.training.fakes import FakeSession, InterruptedError, tiny
from tests.training.small_fits import run, same, script, without_seconds


def without_room_for_features(schedule: str, patch: pytest.MonkeyPatch) -> None:
    """Else a linear head alone is trained without checkpoints (test_head_fit.py)."""
    if schedule == "head":
        patch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)


@pytest.mark.parametrize("schedule", UNFREEZING)
def test_resuming_after_any_epoch_is_bit_for_bit(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped right after the checkpoint of every epoch in turn; the process that goes on has kept
    nothing.
    """
    without_room_for_features(schedule, monkeypatch)
    whole = tiny()
    settings = {"schedule": schedule, "dropout": 0.2, "epochs": 6}
    expected = run(whole, **settings)
    for stop in range(1, 7):
        session = FakeSession(stop_after=stop)
        with pytest.raises(InterruptedError):
            run(tiny(), session, **settings)
        features.SHARED.clear()
        session.stop_after = None
        detector = tiny()
        assert same((detector, run(detector, session, **settings)), (whole, expected)), stop
        assert [record.epoch for record in session.records] == [
            *range(stop - 1),
            *range(6),
        ], "the whole history, again"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resuming_at_every_epoch_of_one_run(optimizer: str) -> None:
    whole = tiny()
    expected = run(whole, optimizer=optimizer)
    session, detector = FakeSession(), tiny()
    for stop in range(1, 5):
        session.stop_after = stop
        detector = tiny()
        with pytest.raises(InterruptedError):
            run(detector, session, optimizer=optimizer)
    detector = tiny()
    assert same((detector, run(detector, session, optimizer=optimizer)), (whole, expected))


def test_a_run_that_ended_early_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.9, 0.5, 0.5, 0.5, 0.5, 0.5])
    session = FakeSession()
    assert len(run(tiny(), session, epochs=6, patience=2).history) == 3
    assert len(run(tiny(), session, epochs=6, patience=2).history) == 3 and session.saves == 3


@pytest.mark.parametrize(
    "change", [{"lr": 0.01}, {"seed": 1}, {"epochs": 5}, {"weight_decay": 0.1}]
)
def test_another_fits_checkpoint_is_none(change: dict[str, Any]) -> None:
    session, fresh, detector = FakeSession(), tiny(), tiny()
    run(tiny(), session)
    expected = run(fresh, **change)
    session.records.clear()
    assert same((detector, run(detector, session, **change)), (fresh, expected))
    assert [record.epoch for record in session.records] == list(range(len(expected.history)))
    state = session.load()
    assert state is not None and len(state["history"]) == len(expected.history), "it was saved over"


def test_another_versions_checkpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    session, fresh, detector = FakeSession(), tiny(), tiny()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "CHECKPOINT_SCHEMA", checkpoints.CHECKPOINT_SCHEMA - 1)
        run(tiny(), session)
    assert same((detector, run(detector, session)), (fresh, run(fresh))) and session.saves == 8


def test_a_report_stops_the_fit_and_the_next_one_hears_the_history_first() -> None:
    """A scheduler that stops at the second epoch's end stops again at the replayed one, before
    anything is trained.
    """

    class Stopping(FakeSession):
        def report(self, record: EpochRecord) -> None:
            super().report(record)
            if record.epoch == 1:
                raise TrialStopped("at the first rung")

    session = Stopping()
    for heard in ([0, 1], [0, 1, 0, 1]):
        with pytest.raises(TrialStopped, match="at the first rung"):
            run(tiny(), session)
        assert [record.epoch for record in session.records] == heard and session.saves == 2
    assert without_seconds(tuple(session.records[:2])) == without_seconds(
        tuple(session.records[2:])
    )


def test_a_checkpoint_holds_what_the_schedule_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {}
    for schedule in UNFREEZING:
        session = FakeSession()
        with monkeypatch.context() as patch:
            without_room_for_features(schedule, patch)
            run(tiny(), session, schedule=schedule)
        state = session.load()
        assert state is not None
        sizes[schedule] = set(state["state"])
    assert sizes["head"] == {"head.weight", "head.bias"}
    assert {key.split(".")[0] for key in sizes["last_stage"]} == {"head", "block2"}
    assert sizes["full"] == sizes["progressive"] == sizes["lp_ft"] == set(tiny().state_dict())

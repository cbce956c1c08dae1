"""How searches and trainings went, trial by trial and epoch by epoch. Tables for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from study.core.records import Pairing
from study.planning.search_summary import best_so_far
from study.planning.selection import SearchHistory


@dataclass(frozen=True, kw_only=True)
class TrialPoint:
    """A trial. val_auc: on source val, in [0, 1], NaN where it has none; best: of the trials up to
    it, None before the first. is_selected: it is the best of the search so far.
    """

    detector: str
    train_on: str
    number: int
    origin: str
    state: str
    val_auc: float
    best: float | None
    seconds: float
    is_selected: bool


@dataclass(frozen=True, kw_only=True)
class EpochPoint:
    """An epoch of a trial: the selected one, or the default. val_auc: on source val."""

    detector: str
    train_on: str
    which: str
    epoch: int
    phase: str
    val_auc: float
    train_loss: float


def trial_points(history: Mapping[Pairing, SearchHistory]) -> tuple[TrialPoint, ...]:
    """Return every trial that has ended, in trial order."""
    return tuple(
        TrialPoint(
            detector=pairing.detector,
            train_on=pairing.train_on,
            number=trial.number,
            origin=trial.origin,
            state=result.state,
            val_auc=result.val_auc,
            best=best,
            seconds=result.seconds,
            is_selected=searched.best is not None and searched.best[0].key == trial.key,
        )
        for pairing, searched in history.items()
        for (trial, result), best in zip(searched.trials, best_so_far(searched.trials), strict=True)
    )


def epoch_points(history: Mapping[Pairing, SearchHistory]) -> tuple[EpochPoint, ...]:
    """Return the epochs of every pairing's selected trial and of its default, where they have more
    than one.
    """
    found = []
    for pairing, searched in history.items():
        for trial, result in searched.trials:
            selected = searched.best is not None and searched.best[0].key == trial.key
            if len(result.history) < 2 or not (selected or trial.number == 0):
                continue
            found += [
                EpochPoint(
                    detector=pairing.detector,
                    train_on=pairing.train_on,
                    which="selected" if selected else "default",
                    epoch=one.epoch,
                    phase=one.phase,
                    val_auc=one.val_auc,
                    train_loss=one.train_loss,
                )
                for one in result.history
            ]
    return tuple(found)

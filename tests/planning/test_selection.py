"""Selection by source val: AUC, then NLL, then trial number; failures and undefined values never
win.
"""

from __future__ import annotations

from study.core.records import Pairing, Trial, TrialResult
from study.planning.selection import select

PAIRING = Pairing(detector="d", train_on="x")


def history(
    number: int, auc: float, nll: float, *, state: str = "done"
) -> tuple[Trial, TrialResult]:
    trial = Trial(key=f"k{number}", pairing=PAIRING, number=number, params={}, seed=0, epochs=1)
    return trial, TrialResult(key=trial.key, state=state, val_auc=auc, val_nll=nll)  # type: ignore[arg-type]


def winner(*trials: tuple[Trial, TrialResult]) -> int | None:
    selected = select(trials)
    return None if selected is None else selected[0].number


def test_higher_auc_wins_whatever_the_order() -> None:
    assert winner(history(0, 0.7, 0.1), history(1, 0.9, 0.9), history(2, 0.8, 0.1)) == 1
    assert winner(history(2, 0.8, 0.1), history(1, 0.9, 0.9), history(0, 0.7, 0.1)) == 1


def test_ties_go_to_lower_nll_then_to_the_earlier_trial() -> None:
    assert winner(history(0, 0.9, 0.5), history(1, 0.9, 0.4)) == 1
    assert winner(history(3, 0.9, 0.4), history(1, 0.9, 0.4)) == 1


def test_failed_and_undefined_trials_never_win() -> None:
    nan = float("nan")
    assert (
        winner(history(0, nan, nan), history(1, 0.99, 0.1, state="failed"), history(2, 0.5, 0.7))
        == 2
    )
    assert winner(history(0, nan, nan), history(1, nan, nan, state="failed")) is None
    assert winner() is None

"""One attempt at a piece of work, wherever it runs: an exception becomes a reason, and threads are
what the study says.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from threadpoolctl import threadpool_limits

from study.core.errors import DivergedError, TrialStopped
from study.core.records import EpochRecord, Report, TrialResult
from study.runtime.launcher import J

W = TypeVar("W")
LONGEST_REASON = 400  # characters: it stands in one line of a table


def reason_of(error: BaseException) -> str:
    """Return `<type>: <message>` in one line."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


def death_of(error: BaseException, *, times: int) -> str:
    """Return why a piece of work has no result whose worker died that many times, from what Ray
    says of its last death.
    """
    text = str(error)
    if "low on memory" in text:
        return (
            f"its worker was killed {times} times by Ray's memory monitor: the machine has not"
            " enough memory for it"
        )
    found = re.search(r"Worker exit type: (\w+)\s+Worker exit detail: ([^.]+)", text)
    cause = f"{found[1]}: {found[2]}" if found else reason_of(error)
    return f"its worker process died {times} times, most often for want of memory ({cause})"


def attempt_trial(
    work: Callable[[J, Report], TrialResult], job: J, report: Report, *, threads: int
) -> TrialResult:
    """Do one trial; what it raises becomes a failed result. Interruptions (KeyboardInterrupt,
    SystemExit) are not caught.

    Where `report` raises TrialStopped, the result is a stopped one with its text as the reason.

    threads: of BLAS during the work. In a Ray worker it would be the number of its CPUs, in a plain
    process that of the machine's cores, and sums would differ in their last digits. Torch has a
    setting of its own, made by the work (TorchRuntime).
    """
    start = time.monotonic()
    reported: dict[int, EpochRecord] = {}

    def noted(record: EpochRecord) -> None:
        reported[record.epoch] = record
        report(record)

    try:
        with threadpool_limits(limits=threads, user_api="blas"):
            return work(job, noted)
    except TrialStopped as stop:
        return stopped_trial(job.trial.key, str(stop), reported.values())
    except Exception as error:
        return TrialResult(
            key=job.trial.key,
            state="failed",
            reason=reason_of(error),
            permanent=isinstance(error, DivergedError),
            seconds=time.monotonic() - start,
        )


def stopped_trial(key: str, reason: str, history: Collection[EpochRecord]) -> TrialResult:
    """Return the result of a trial that was stopped after the epochs of `history`, in their order.

    Its scores are those of the best: the highest AUC, then the lower NLL, then the earlier epoch;
    NaN is worse than any number. Without epochs it has none: of several workers the first alone is
    told of them, and its result counts.
    """
    if not history:
        return TrialResult(key=key, state="stopped", reason=reason)
    best = max(history, key=_goodness)
    return TrialResult(
        key=key,
        state="stopped",
        reason=reason,
        val_auc=best.val_auc,
        val_nll=best.val_nll,
        best_epoch=best.epoch,
        history=tuple(history),
        seconds=sum(record.seconds for record in history),
    )


def _goodness(record: EpochRecord) -> tuple[float, float]:
    auc, nll = record.val_auc, record.val_nll
    return -math.inf if math.isnan(auc) else auc, -math.inf if math.isnan(nll) else -nll


def attempt_job(work: Callable[[W], None], job: W, *, threads: int) -> str:
    """Do one job; return "" or the reason of its failure. `threads` as in `attempt_trial`."""
    try:
        with threadpool_limits(limits=threads, user_api="blas"):
            work(job)
    except Exception as error:
        return reason_of(error)
    return ""

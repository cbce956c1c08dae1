"""One attempt at a piece of work, wherever it runs: an exception becomes a failure, and threads are
what the study says.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable

from threadpoolctl import threadpool_limits

from study.core.errors import TrialStopped
from study.core.failures import Failure, WorkFailed, failure_of, raise_elsewhere, tried
from study.core.records import EpochRecord, Report, TrialResult
from study.runtime.interface import LOST_NODES, RETRIES, J, Terms, W, Work


class Deaths:
    """How often each piece of work has lost its worker, and why."""

    def __init__(self) -> None:
        self._own: Counter[Hashable] = Counter()
        self._with_node: Counter[Hashable] = Counter()

    def again(self, work: Hashable, error: BaseException) -> bool:
        """Take in that a piece of work lost its worker; tell whether it is to be begun again."""
        counter, limit = (
            (self._with_node, LOST_NODES) if is_node_lost(error) else (self._own, RETRIES)
        )
        counter[work] += 1
        return counter[work] <= limit

    def failure(self, work: Hashable, error: BaseException) -> Failure:
        """Return why a piece of work has no result whose worker died for the last time now."""
        if is_node_lost(error):
            times = self._with_node[work]
            return Failure(
                type="NodeLost",
                message=f"the machine that it ran on was lost, {times} times",
            )
        return death_of(error, times=self._own[work])


def is_node_lost(error: BaseException) -> bool:
    """Tell by what Ray says of a worker's death whether its whole node was lost."""
    return bool(re.search(r"node (has )?died|node is dead|node was (lost|terminated)", str(error)))


def death_of(error: BaseException, *, times: int) -> Failure:
    """Return why a piece of work has no result whose worker died that many times, from what Ray
    says of its last death.
    """
    text = str(error)
    if "low on memory" in text:
        message = (
            f"its worker was killed {times} times by Ray's memory monitor: the machine has not"
            " enough memory for it"
        )
    else:
        found = re.search(r"Worker exit type: (\w+)\s+Worker exit detail: ([^.]+)", text)
        cause = f"{found[1]}: {found[2]}" if found else Failure.of(error).text
        message = f"its worker process died {times} times, most often for want of memory ({cause})"
    return Failure(type="WorkerDied", message=message)


def attempt_trial(
    work: Callable[[J, Report], TrialResult],
    job: J,
    report: Report,
    terms: Terms,
    *,
    rank: int = 0,
    several: bool = False,
) -> TrialResult:
    """Do one trial, by `tried`; what it raises becomes a failed result. Interruptions
    (KeyboardInterrupt, SystemExit) are not caught.

    Where `report` raises TrialStopped, the result is a stopped one with its text as the reason.
    rank: of this worker among those of the trial. several: whether there are others.

    `terms.threads` are those of BLAS during the work. In a Ray worker they would be the number of
    its CPUs, in a plain process that of the machine's cores, and sums would differ in their last
    digits. Torch has a setting of its own, made by the work (TorchRuntime).
    """
    start, key = time.monotonic(), job.trial.key
    reported: dict[int, EpochRecord] = {}

    def noted(record: EpochRecord) -> None:
        reported[record.epoch] = record
        report(record)

    try:
        with threadpool_limits(limits=terms.threads, user_api="blas"):
            # one of several workers cannot begin again by itself
            return work(job, noted) if several else tried(lambda: work(job, noted))
    except TrialStopped as stop:
        return stopped_trial(key, str(stop), reported.values())
    except Exception as error:
        failure = _failure(error, terms, key if rank == 0 else f"{key}-worker{rank}")
        return TrialResult(
            key=key, state="failed", failure=failure, seconds=time.monotonic() - start
        )


def attempt_job(work: Work[W], job: W, terms: Terms) -> dict[str, Failure]:
    """Do one job, by `tried`; return its failures by the key of the result, {} where all went well.
    Threads as in `attempt_trial`.
    """
    try:
        with threadpool_limits(limits=terms.threads, user_api="blas"):
            failures = dict(tried(lambda: work(job)) or {})
    except Exception as error:
        return {job.result_key: _failure(error, terms, job.result_key)}
    if terms.debug and failures:
        raise_elsewhere(next(iter(failures.values())))
    return failures


def _failure(error: Exception, terms: Terms, key: str) -> Failure:
    failure = failure_of(error, terms.failures / f"{key}.txt")
    if terms.debug:
        raise WorkFailed(str(failure)) from error
    return failure


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

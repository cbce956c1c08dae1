"""Small pieces of work for launchers: jobs that compute, fail, die or interrupt, as their records
say.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from study.core.errors import DivergedError
from study.core.identity import derive_seed, digest
from study.core.records import EpochRecord, Pairing, Params, Trial, TrialResult
from study.runtime.interface import Terms
from study.search.driver import PairingSearch, SearchDriver
from study.search.spaces import load_space

PAIRINGS = [
    Pairing(detector="mobilenetv2_035", train_on="a"),
    Pairing(detector="npr", train_on="a"),
    Pairing(detector="npr", train_on="b"),
]


def terms(folder: Path, threads: int = 1) -> Terms:
    """Terms of a launcher that leaves tracebacks in `folder/failures`."""
    return Terms(threads=threads, failures=folder / "failures")


@dataclass(frozen=True, kw_only=True)
class SmallJob:
    """A trial with the folder in which workers leave their marks, and the process to interrupt."""

    trial: Trial
    folder: Path
    driver: int
    fate: str = ""


def epoch(number: int, value: float) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        phase="full",
        train_loss=0.1,
        val_auc=value,
        val_nll=0.5,
        learning_rate=1e-3,
        seconds=0.1,
    )


def compute(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """Two epochs of something whose last digits depend on the number of threads, in torch and in
    BLAS.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(derive_seed(job.trial.key))
    weights = torch.randn(512, 256, generator=generator)
    history = []
    for number in range(2):
        weights = torch.tanh(weights @ (weights.T @ weights) / 300)
        history.append(epoch(number, float(weights.double().abs().mean())))
        report(history[-1])
    product = np.asarray(weights) @ np.asarray(weights).T
    value = float(
        np.linalg.norm(np.linalg.inv(product[:200, :200] + 50 * np.eye(200, dtype=np.float32)))
    )
    return TrialResult(
        key=job.trial.key,
        state="done",
        val_auc=value,
        val_nll=history[-1].val_auc,
        best_epoch=1,
        history=tuple(history),
    )


def meet() -> None:
    """Wait for the other workers of this trial, if it has any."""
    if dist.is_initialized():
        dist.barrier()


def befalls(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """What the job's fate says befalls the last of its workers, while the others wait for it.
    Without a fate all compute.

    `raise`, `diverge` and `full` (a disk) raise, `die` dies, `die_once` dies after an epoch, the
    first time, and `stop` is to be stopped there.
    """
    meet()
    last = not dist.is_initialized() or dist.get_rank() == dist.get_world_size() - 1
    mark = job.folder / f"died-{job.trial.key}"
    if job.fate == "raise" and last:
        raise ValueError("bad\nvalue")
    if job.fate == "diverge" and last:
        raise DivergedError("the loss is nan")
    if job.fate == "full" and last:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint.pt")
    if job.fate == "die" and last:
        os._exit(1)
    if job.fate == "stop" or (job.fate == "die_once" and not mark.exists()):
        report(epoch(0, 0.25))
        meet()
        if job.fate == "stop":
            threading.Event().wait(60)
            raise AssertionError("nobody stopped it")
        if last:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    meet()
    return compute(job, report)


def interrupting(job: SmallJob, report: Callable[[EpochRecord], None]) -> TrialResult:
    """Trial 1 presses Ctrl-C in the driver's process and goes on for long."""
    if job.trial.number == 1:
        os.kill(job.driver, signal.SIGINT)
        threading.Event().wait()
    return compute(job, report)


class RecordedSearch:
    """A driver over the pairings with what it was told.

    fates: of the trials, by number. stop: by trial number, the epoch after which the driver wants
    it stopped.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pairings: list[Pairing] = PAIRINGS,
        trials: int,
        generation: int = 3,
        fates: Sequence[str] = (),
        stop: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.results: list[tuple[SmallJob, TrialResult]] = []
        self.reported: list[tuple[int, int]] = []
        self.stop = stop

        def make_job(
            pairing: Pairing, number: int, params: Params, proposed: Sequence[Params]
        ) -> SmallJob:
            trial = Trial(
                key=digest(pairing, params),
                pairing=pairing,
                number=number,
                params=params,
                seed=0,
                epochs=2,
            )
            return SmallJob(
                trial=trial, folder=folder, driver=os.getpid(), fate=fates[number] if fates else ""
            )

        self.driver: SearchDriver[SmallJob] = SearchDriver(
            [PairingSearch(pairing=p, space=load_space(p.detector)) for p in pairings],
            trials=trials,
            generation=generation,
            study_seed=3,
            make_job=make_job,
            known=lambda _: None,
            on_result=self.add,
        )
        self.driver.report = self.report  # type: ignore[method-assign]

    def report(self, job: SmallJob, record: EpochRecord) -> str:
        number = job.trial.number
        self.reported.append((number, record.epoch))
        return (
            f"stopped after {record.epoch + 1} epochs"
            if self.stop.get(number) == record.epoch
            else ""
        )

    def add(self, job: SmallJob, result: TrialResult) -> None:
        self.results.append((job, result))

    def by_place(self) -> dict[tuple[Pairing, int], tuple[Params, TrialResult]]:
        return {(j.trial.pairing, j.trial.number): (j.trial.params, r) for j, r in self.results}


# Jobs of a list: (folder, name). A job leaves a file with its process in it.


class Piece(NamedTuple):
    folder: Path
    result_key: str

    def is_done(self) -> bool:
        return (self.folder / self.result_key).exists()


def do_piece(piece: Piece) -> None:
    """By the name: `raise` fails, `full` has no room on the disk, `empty` leaves nothing,
    `die_once` loses its worker the first time; the others are done.
    """
    folder, name = piece
    with (folder / f"{name}.log").open("a") as log:
        log.write(f"{os.getpid()}\n")
    if name == "raise":
        raise ValueError("bad piece")
    if name == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scores.parquet")
    if name == "die_once" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if name != "empty":
        (folder / name).write_text(str(os.getpid()))


def begun(folder: Path, name: str) -> int:
    """How often a piece was begun."""
    log = folder / f"{name}.log"
    return len(log.read_text().splitlines()) if log.exists() else 0

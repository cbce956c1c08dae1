"""The training loop: phases of unfreezing, epochs, a checkpoint after each, the best epoch by
source val.

It knows neither Ray nor MLflow; whoever runs it is a `Session`. Everything that decides the outcome
is in its arguments: the detector as built, the images, the recipe, epochs, seed, threads and
precision.

* The best epoch has the highest source-val AUC; ties go to the lower NLL, then to the earlier
  epoch.
* Patience counts within the last phase, from its first epoch: a phase with a share of the epochs
  always gets it, as unfreezing usually costs an epoch or two before it pays. Where the rate falls
  on a plateau, it counts from the first fall after the best epoch: what the lower rate brings is
  seen before the fit ends.
* While the head alone is trained, the frozen body's features are computed once, and while the last
  stages are, what the part below them makes (study/training/features.py, boundary.py). Where more
  is trained, or pixels change every epoch, the whole network computes.
* A linear head that is trained alone from first to last does not come here (head_fit.py), unless
  its features have no room or several workers train it; that differs by rounding.
* A checkpoint holds the tensors that the schedule ever trains, not the frozen ones: those are as
  built.
* What a step is, for one worker and several, and where memory runs out: study/training/steps.py. In
  the last case the result says so in its `note`.
* Low-rank matrices (study/training/lora.py) live while a detector is trained; a fit leaves them
  merged into the weights.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from study.core.errors import ConfigError, DataError, DivergedError, ScoreError
from study.core.identity import digest
from study.core.records import DetectorSpec, EpochRecord
from study.detectors.base import Detector
from study.statistics.metrics import auc, nll
from study.training import checkpoints
from study.training.balance import Strata, strata_key
from study.training.boundary import Boundary, find_boundary
from study.training.checkpoints import Checkpoint
from study.training.features import FEATURES, FrozenBody, head_logits
from study.training.head_fit import fit_head
from study.training.lora import adapt, merge
from study.training.losses import not_finite
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import Phase, is_better, is_over, phase_rate, phases
from study.training.score import finite_logits, score, to_input
from study.training.session import FitResult, Images, Session, report_epoch
from study.training.steps import Steps

__all__ = ["FitResult", "Session", "fit"]


def fit(
    detector: Detector,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    runtime: TorchRuntime,
    session: Session,
    processes: ProcessGroup = ALONE,
    strata: Strata | None = None,
    body: FrozenBody | None = None,
    beside: Sequence[Recipe] = (),
) -> FitResult:
    """Train a detector in place and leave the best epoch's weights in it.

    detector: as `registry.build` gives it. train, val: the source's splits, both classes in each,
    in the detector's geometry.
    epochs: at least 1; a `logistic` detector has one. seed: of order, flips and dropout.
    processes: the workers that train it together; each calls this with the same arguments, and each
    has the result.
    strata: the stratum of each training image (N,), where all are to be drawn alike often
    (study/training/balance.py).
    body: the detector's, where its features have a place on the disk.
    beside: recipes that the detector is trained by elsewhere, with the same seed and epochs; a head
    alone takes them along where that is no more work.

    Sets this process's torch to `runtime`. Continues from the session's checkpoint, bit for bit as
    if never interrupted, and first reports the epochs before it again; a checkpoint of another fit
    or version counts as none. Raises DivergedError for a loss or a val logit that is not finite;
    DataError for a split without both classes; ConfigError for images of another size, and for the
    schedule `lora` on a detector without attention; StoreError where the workers do not see the
    same checkpoint; TrialStopped, on every worker, where a report does; torch.OutOfMemoryError
    where memory does not suffice for one image, or for two where a BatchNorm is trained.
    """
    if epochs < 1:
        raise ConfigError(f"epochs = {epochs}: give a whole number from 1 on")
    check_images(detector, train, "train")
    check_images(detector, val, "val")
    runtime.apply()
    runtime.place(detector)
    how: dict[str, Any] = {"epochs": epochs, "seed": seed, "strata": strata, "body": body}
    how |= {"runtime": runtime, "session": session, "processes": processes}
    found = fit_head(detector, train, val, recipe, beside=beside, **how)
    if found is not None:
        return found
    run = _Run(detector, train, val, recipe, **how)
    for record in run.history:  # what a checkpoint brought
        report_epoch(session, record, processes)
    while not run.finished():
        run.epoch()
    return run.result()


def check_images(detector: Detector, images: Images, split: str) -> None:
    """Raise ConfigError for images not of the detector's size, DataError without both classes."""
    size_px = detector.spec.geometry.size_px
    if images.size_px != size_px:
        raise ConfigError(
            f"{detector.spec.name} sees {size_px} px, the {split} images have {images.size_px}:"
            " pack them anew"
        )
    fakes = int(np.count_nonzero(images.label))
    if fakes in (0, len(images)):
        raise DataError(
            f"split {split} has {len(images) - fakes} real and {fakes} fake images: both classes"
            " are needed"
        )


def identity_of(
    spec: DetectorSpec,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    runtime: TorchRuntime,
    workers: int,
    strata: Strata | None = None,
) -> str:
    """Return the digest of all that decides a fit: another fit's checkpoint has another."""
    several = [workers] if workers > 1 else []
    return digest(
        spec,
        train.key,
        val.key,
        recipe,
        epochs,
        seed,
        runtime.kind,
        runtime.threads,
        runtime.precision,
        *several,
        *strata_key(strata),
    )


@dataclass
class _Run:
    """One fit under way. `history` and the tensors that training changes are its state; all else
    follows from the arguments, which are those of `fit`.
    """

    detector: Detector
    train: Images
    val: Images
    recipe: Recipe
    _: KW_ONLY
    epochs: int
    seed: int
    runtime: TorchRuntime
    session: Session
    processes: ProcessGroup
    strata: Strata | None = None
    body: FrozenBody | None = None

    def __post_init__(self) -> None:
        """Plan the phases, adapt where one trains adapters, go on from the session's checkpoint."""
        self.plan = phases(self.recipe, n_stages=len(self.detector.stages()), epochs=self.epochs)
        self.identity = identity_of(
            self.detector.spec,
            self.train,
            self.val,
            self.recipe,
            epochs=self.epochs,
            seed=self.seed,
            runtime=self.runtime,
            workers=self.processes.size,
            strata=self.strata,
        )
        if any(phase.adapters for phase in self.plan):
            adapt(
                self.detector,
                rank=self.recipe.lora_rank,
                alpha=self.recipe.lora_alpha,
                blocks=self.recipe.lora_blocks,
                seed=self.seed,
            )
        stages = max(phase.stages for phase in self.plan)
        self.trained = checkpoints.trained_tensors(self.detector, stages)
        self.steps = Steps(
            self.detector,
            self.train,
            self.recipe,
            seed=self.seed,
            runtime=self.runtime,
            processes=self.processes,
            strata=self.strata,
        )
        self.history: list[EpochRecord] = []
        self.best_epoch = -1
        self.best_logit = np.empty(0, dtype=np.float32)
        self.best_state: dict[str, Tensor] = {}
        self.val_features: Tensor | None = None
        self.above: nn.Module | None = None  # what makes features of those, if they are none
        self.micro_batches = [0] * self.processes.size  # of all ranks, as of the last checkpoint
        self._resume()

    # where the run stands

    def phase(self, epoch: int) -> tuple[Phase, int]:
        """Return the phase of an epoch, and the epoch it began with."""
        start = 0
        for phase in self.plan:
            if epoch < start + phase.epochs:
                return phase, start
            start += phase.epochs
        raise AssertionError(epoch)

    def finished(self) -> bool:
        """Say whether all epochs ran, or patience ran out in the last phase."""
        total = sum(phase.epochs for phase in self.plan)
        last_start = total - self.plan[-1].epochs
        return is_over(self.recipe, self.history, self.best_epoch, last_start, total)

    def result(self) -> FitResult:
        """Put the best epoch's weights into the detector and say what was reached."""
        checkpoints.fill(self.trained, self.best_state)
        merge(self.detector)
        self.detector.eval()
        best = self.history[self.best_epoch]
        smallest = min((size for size in self.micro_batches if size), default=0)
        note = f"micro-batch {smallest} of {self.recipe.batch_size} after running out of memory"
        return FitResult(
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            val_auc=best.val_auc,
            val_nll=best.val_nll,
            val_logit=self.best_logit,
            note=note if smallest else "",
        )

    # one epoch

    def epoch(self) -> None:
        """Train one epoch, look at val, report, save."""
        began = time.perf_counter()
        epoch = len(self.history)
        phase, start = self.phase(epoch)
        if self.steps.optimizer is None:
            self._enter(phase)
        rate_of = partial(self._rate, phase, start)
        loss, rate = self.steps.epoch(epoch, phase, done=epoch - start, rate=rate_of)
        logit = self._val_logit(epoch)
        record = EpochRecord(
            epoch=epoch,
            phase=phase.name,
            train_loss=loss,
            val_auc=auc(self.val.label, logit),
            val_nll=nll(self.val.label, logit),
            learning_rate=rate,
            seconds=time.perf_counter() - began,
        )
        self.history.append(record)
        # a strict comparison leaves a tie to the earlier epoch
        if self.best_epoch < 0 or is_better(record, self.history[self.best_epoch]):
            self.best_epoch, self.best_logit = epoch, logit
            self.best_state = checkpoints.copies(self.trained)
        if epoch + 1 == start + phase.epochs:
            self.steps.end()
            self.val_features = self.above = None
        self._save()
        # the other ranks wait here until the checkpoint is on disk
        report_epoch(self.session, record, self.processes)

    def _enter(self, phase: Phase) -> None:
        """Freeze, make the phase's optimizer, and what is computed once below what it trains."""
        self.steps.begin(phase)
        below = len(self.detector.stages()) - phase.stages
        if below == 0 or phase.adapters or self.recipe.changes_pixels:
            return
        layers = FEATURES, FEATURES  # of train and of val, which is looked at in float32
        if not phase.head_alone:
            boundary = self._boundary(phase.stages)
            if boundary is None:
                return
            scoring = replace(self.runtime, precision="float32")
            layers = (
                boundary.layer(phase.stages, self.runtime),
                boundary.layer(phase.stages, scoring),
            )
            self.above = boundary.above
        body = self.body or FrozenBody.of(self.detector)
        how: dict[str, Any] = {"runtime": self.runtime, "processes": self.processes}
        train = [(self.train, flip) for flip in self.recipe.views]
        # both are asked, on every rank
        room = [
            body.fits(*train, layer=layers[0], **how),
            body.fits((self.val, False), layer=layers[1], **how),
        ]
        if all(room):
            self.steps.views = [
                body.of_images(images, flip=flip, layer=layers[0], **how) for images, flip in train
            ]
            self.steps.above = self.above
            self.val_features = body.of_images(self.val, layer=layers[1], **how)

    def _boundary(self, stages: int) -> Boundary | None:
        """Cut the network below its trained stages. Several workers do not: each would need all."""
        if self.processes.size > 1 or not self.detector.keeps_below:
            return None
        example = to_input(self.detector, self.val.gather(np.arange(2)), self.runtime.device)
        return find_boundary(self.detector, stages, example)

    def _rate(self, phase: Phase, start: int, step: int, steps: int) -> float:
        aucs = [record.val_auc for record in self.history[start:]]
        return phase_rate(self.recipe, phase.lr, aucs, step, steps)

    def _val_logit(self, epoch: int) -> NDArray[np.float32]:
        try:
            if self.val_features is None:
                return score(
                    self.detector, self.val, runtime=self.runtime, processes=self.processes
                )
            logits = head_logits(
                self.detector, self.val_features, above=self.above, processes=self.processes
            )
            return finite_logits(logits, self.val)
        except ScoreError as error:
            raise DivergedError(not_finite(epoch)) from error

    # checkpoints

    def _save(self) -> None:
        self.micro_batches = [int(size) for size in self.processes.each(self.steps.micro_batch)]
        if self.processes.rank != 0:
            return
        optimizer = self.steps.optimizer
        # The same tensors twice are written once by torch.save.
        is_best = self.best_epoch == len(self.history) - 1
        state = self.best_state if is_best else checkpoints.copies(self.trained)
        checkpoint = Checkpoint(
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            best_logit=self.best_logit,
            best_state=self.best_state,
            state=state,
            optimizer=copy.deepcopy(optimizer.state_dict()) if optimizer else None,
            micro_batches=self.micro_batches,
        )
        # first, so that a checkpoint has all of its epochs
        self.session.keep_epoch(len(self.history) - 1, state)
        checkpoints.save(self.session, self.identity, checkpoint)

    def _resume(self) -> None:
        checkpoint = checkpoints.load(self.session, self.identity, self.processes)
        if checkpoint is None:
            return
        self.history = list(checkpoint.history)
        self.best_epoch, self.best_logit = checkpoint.best_epoch, checkpoint.best_logit
        self.best_state = checkpoint.best_state
        self.micro_batches = checkpoint.micro_batches
        self.steps.micro_batch = self.micro_batches[self.processes.rank]
        checkpoints.fill(self.trained, checkpoint.state)
        if checkpoint.optimizer is not None:
            self._enter(self.phase(len(self.history) - 1)[0])
            assert self.steps.optimizer is not None
            self.steps.optimizer.load_state_dict(checkpoint.optimizer)

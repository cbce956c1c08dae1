"""A winner: a selected configuration, trained with one seed and kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from study.core.records import UNTRAINED, TrainedDetector, is_given
from study.data.names import split_union
from study.detectors import registry
from study.jobs.cell import image_scores
from study.jobs.score_images import UNIFIED
from study.jobs.trial import FitJob, fit_trial
from study.jobs.workspace import (
    FACES,
    FROZEN_PRECISION,
    frozen_precision,
    now,
    provenance,
    runtime_of,
)
from study.statistics.thresholds import FIXED, fit_temperature, source_thresholds
from study.store.store import Store


@dataclass(frozen=True, kw_only=True)
class WinnerJob(FitJob):
    """A selected configuration to train with winner seed `winner_seed` and keep; `winner_trial` is
    the trial it was found in.

    Of a detector that is not trained `data_key` is "". keep_epochs: the weights of every epoch stay
    in the store.
    """

    winner_seed: int
    winner_trial: int
    keep_epochs: bool = False

    @property
    def result_key(self) -> str:
        """The key of the winner."""
        return self.trial.key

    def is_done(self) -> bool:
        """Tell whether the store has the winner, and its epochs where they are kept."""
        store = self.workspace.store
        return store.has_model(self.trial.key) and (
            not self.keep_epochs or bool(store.epochs(self.trial.key))
        )


def run_winner(job: WinnerJob) -> None:
    """Train a selected configuration with one seed and write it to the store, thresholds from
    source val included.

    A detector that is not trained is built and written as it is; it has no source, and so none of
    what a source decides.
    """
    store = job.workspace.store
    if job.is_done():
        # of one that was killed just after its record was written
        store.drop_checkpoint(job.trial.key)
        return
    if job.spec.learner in UNTRAINED:
        _keep_untrained(store, job)
        return
    detector, val, result, seconds = fit_trial(job, lambda _: None, keep_epochs=job.keep_epochs)
    trained = _trained(
        job,
        thresholds=source_thresholds(val.label, result.val_logit),
        temperature=fit_temperature(val.label, result.val_logit),
        val_auc=result.val_auc,
        val_nll=result.val_nll,
        best_epoch=result.best_epoch,
        note=result.note,
    )
    store.save_model(
        trained, detector.state_dict(), image_scores(val, result.val_logit), result.history, seconds
    )
    if job.keep_epochs:
        store.close_epochs(job.trial.key)
    store.drop_checkpoint(job.trial.key)


def _keep_untrained(store: Store, job: WinnerJob) -> None:
    began = time.perf_counter()
    runtime_of(job.workspace).apply()
    root = job.workspace.weights_root
    detector = registry.build(job.spec, weights_root=root, seed=job.trial.seed)
    nothing = float("nan")
    trained = _trained(job, thresholds={"fixed": FIXED, "source": nothing, "source_fpr5": nothing})
    store.save_model(trained, detector.state_dict(), None, (), time.perf_counter() - began)


def _unified_px(job: WinnerJob) -> int:
    """Return the side to which the training images were unified, the smallest of a union's; 0 where
    they were not, or there are none. New images are scored at this side.
    """
    train_on = job.trial.pairing.train_on
    if not job.workspace.data.unify or is_given(train_on):
        return 0
    datasets = map(job.workspace.catalog.dataset, split_union(train_on))
    return min(dataset.unified_px or 0 for dataset in datasets)


def _trained(job: WinnerJob, *, note: str = "", **found: Any) -> TrainedDetector:
    """Return a winner's record. note: of its training. found: what its source's val gave."""
    made = {"note": note} if note else {}
    if side := _unified_px(job):
        made[UNIFIED] = str(side)
    if job.workspace.data.faces:
        made[FACES] = job.workspace.data.faces
    made |= {"device_kind": runtime_of(job.workspace).kind, "made": now()}
    precision = frozen_precision(job.spec, job.trial.params, job.workspace.precision)
    if precision != "float32":
        made[FROZEN_PRECISION] = precision
    return TrainedDetector(
        key=job.trial.key,
        trial=job.trial,
        spec=registry.with_head(job.spec, job.trial.params),
        winner_seed=job.winner_seed,
        winner_trial=job.winner_trial,
        provenance={**provenance(), **made},
        **found,
    )

"""A trial: one configuration of one pairing, trained behind the firewall, judged on source val."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from study.core.cache import Cache, read_entry, write_entry
from study.core.errors import ConfigError
from study.core.identity import derive_seed, digest
from study.core.records import DetectorSpec, Params, Report, Trial, TrialResult
from study.data.images.packs import ImageSet
from study.detectors import registry
from study.detectors.base import Detector, head_of
from study.jobs.workspace import (
    TRAINED_ON,
    Workspace,
    frozen_body,
    frozen_precision,
    open_catalog,
    refuse_changed_data,
    runtime_of,
)
from study.store.store import Store
from study.training.balance import strata_key
from study.training.features import LIBRARIES
from study.training.fit import fit
from study.training.process_group import ALONE, ProcessGroup
from study.training.rate_finder import find_rate
from study.training.recipe import AUTO, AutoRecipe, Recipe
from study.training.session import FitResult


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """A configuration to train. data_key: the content of train and val that its key stands for."""

    workspace: Workspace
    spec: DetectorSpec
    trial: Trial
    data_key: str


@dataclass(frozen=True, kw_only=True)
class TrialJob(FitJob):
    """A configuration to train and judge on source val.

    workers: processes that train it together (data parallel); each of them is given this job.
    beside: the configurations that were proposed with it and can be trained along.
    """

    workers: int = 1
    beside: tuple[Params, ...] = ()


class _StoreSession:
    """What the training loop talks to: epochs go to `report`, checkpoints to the store, and their
    weights where `keep`.
    """

    def __init__(self, store: Store, key: str, report: Report, *, keep: bool = False) -> None:
        self._file = store.checkpoint_file(key)
        self._store, self._key, self._keep = store, key, keep
        self.report = report

    def load(self) -> dict[str, Any] | None:
        content = read_entry(self._file)
        if content is None:
            return None
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), weights_only=True, map_location="cpu"
        )
        kept = (
            self._store.epoch_file(self._key, n, under_way=True).is_file()
            for n in range(len(state.get("history", ())))
        )
        return state if not self._keep or all(kept) else None

    def keep_epoch(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        if self._keep:
            self._store.save_epoch(self._key, epoch, state)

    def save(self, state: dict[str, Any]) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        write_entry(self._file, content.getvalue())


RATES = Cache("rates", [find_rate], libraries=LIBRARIES)
_LAST: dict[str, tuple[Detector, dict[str, Tensor]]] = {}  # a built detector, its head as built


def build_for(spec: DetectorSpec, recipe: Recipe, root: Path | None, seed: int) -> Detector:
    """Return a detector to train. One whose body no fit touches serves the next fit of this process
    too, with its head as built: to build a network takes longer than to fit a head.
    """
    convex = spec.learner == "logistic"
    if not convex and not recipe.trains_head_alone:
        return registry.build(spec, weights_root=root, seed=seed)
    key = digest(registry.without_head(spec) if convex else spec, 0 if convex else seed, root)
    if key not in _LAST:
        _LAST.clear()
        built = registry.build(spec, weights_root=root, seed=seed)
        _LAST[key] = built, {name: t.clone() for name, t in built.head.state_dict().items()}
    detector, head = _LAST[key]
    if detector.spec == spec:
        detector.head.load_state_dict(head)
        return detector
    with torch.random.fork_rng(devices=[]):  # another head, which no random number decides
        detector.spec, detector.head = spec, head_of(spec, detector.n_features)
    _LAST[key] = detector, {name: t.clone() for name, t in detector.head.state_dict().items()}
    return detector


def source_images(job: FitJob) -> tuple[ImageSet, ImageSet]:
    """Return train and val of a job, opened behind the firewall. Raises DataError where they are
    not those that its key stands for.
    """
    name, catalog = job.trial.pairing.train_on, open_catalog(job.workspace.data, firewall=True)
    refuse_changed_data(catalog.key(name, TRAINED_ON), job.data_key, name)
    geometry = job.spec.geometry
    return catalog.open(name, "train", geometry), catalog.open(name, "val", geometry)


def resolved(job: FitJob, params: Params, processes: ProcessGroup = ALONE) -> Recipe:
    """Return the recipe of a configuration. Its rate, where that is `auto`, is found by a range
    test on source train as it is, once for all fits with the same other settings. Several workers
    each find it, by the network: all have the same, whatever room one of them has.
    """
    spec = registry.with_head(job.spec, params)
    where = job.trial.pairing.name
    recipe = Recipe.from_params(params, learner=job.spec.learner, where=where)
    if not isinstance(recipe, AutoRecipe):
        return recipe
    workspace, runtime = job.workspace, runtime_of(job.workspace)
    train, _ = source_images(job)
    strata = train.strata(workspace.data.balance)

    kept = processes.size == 1
    body_precision = frozen_precision(spec, params, workspace.precision)

    def found() -> float:
        seed = derive_seed("range test")
        detector = registry.build(spec, weights_root=workspace.weights_root, seed=seed)
        runtime.place(detector)
        detector.frozen_precision = body_precision
        body = frozen_body(workspace, spec, lambda: detector, params) if kept else None
        return find_rate(detector, train, recipe, runtime=runtime, strata=strata, body=body)

    inputs = [spec, train.key, replace(recipe, lr=1.0), *strata_key(strata)]
    inputs += [runtime.kind, runtime.threads, runtime.precision, kept, body_precision]
    return recipe.with_rate(RATES.get(workspace.data.cache, inputs, found))


def fit_trial(
    job: FitJob,
    report: Report,
    processes: ProcessGroup = ALONE,
    *,
    keep_epochs: bool = False,
    beside: Sequence[Params] = (),
    images: tuple[ImageSet, ImageSet] | None = None,
) -> tuple[Detector, ImageSet, FitResult, float]:
    """Train the job's detector behind the firewall; return it with source val, the result, and the
    seconds of this fit.

    beside: as `fit` takes them. images: in place of train and val as they are.
    """
    workspace, trial = job.workspace, job.trial
    runtime = runtime_of(workspace)
    # before anything is computed: a detector may embed its prompts when it is built
    runtime.apply()
    train, val = images or source_images(job)
    spec = registry.with_head(job.spec, trial.params)
    recipes = [resolved(job, params, processes) for params in (trial.params, *beside)]
    detector = build_for(spec, recipes[0], workspace.weights_root, trial.seed)
    detector.frozen_precision = frozen_precision(spec, trial.params, workspace.precision)
    session = _StoreSession(workspace.store, trial.key, report, keep=keep_epochs)
    result = fit(
        detector,
        train,
        val,
        recipes[0],
        epochs=trial.epochs,
        seed=trial.seed,
        runtime=runtime,
        session=session,
        processes=processes,
        strata=train.strata(workspace.data.balance),
        body=frozen_body(workspace, spec, lambda: detector, trial.params),
        beside=recipes[1:],
    )
    if trial.params.get("lr") == AUTO:
        said = f"lr = {recipes[0].lr:.2g} by a range test"
        result = replace(result, note="; ".join(filter(None, [said, result.note])))
    return detector, val, result, sum(epoch.seconds for epoch in result.history)


def run_trial(job: TrialJob, report: Report) -> TrialResult:
    """Train one configuration; see source train and val, nothing else.

    Where the job has several workers each of them calls this in one torch.distributed group; the
    first alone calls `report`, and all have the result. Raises DivergedError for a loss that is not
    finite, TrialStopped (on every worker) where `report` does, ConfigError for a group of another
    size, and whatever the data or the device raise; `runtime/attempt.py` turns those into a
    TrialResult.
    """
    # A single worker may stand in a group too (that of winners and cells), and trains alone in it.
    processes = ProcessGroup.current() if job.workers > 1 else ALONE
    if processes.size != job.workers:
        raise ConfigError(
            f"trial {job.trial.key} needs {job.workers} workers and {processes.size} came together:"
            " run it again"
        )
    _, _, result, seconds = fit_trial(job, report, processes, beside=job.beside)
    return TrialResult(
        key=job.trial.key,
        state="done",
        val_auc=result.val_auc,
        val_nll=result.val_nll,
        best_epoch=result.best_epoch,
        history=result.history,
        seconds=seconds,
        note=result.note,
        device_kind=runtime_of(job.workspace).kind,
    )

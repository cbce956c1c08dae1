"""The three pieces of work a study is made of: a trial, a winner, a cell. What a worker runs,
wherever it runs.

Floor 3; knows neither Ray nor MLflow. A job is a small picklable record; everything else (packs,
weights) is opened by the worker from the store's root and kept for the worker's next job. Each
piece is idempotent: what the store holds is not done again.
"""

from __future__ import annotations

import functools
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.data.catalog import Catalog, DataConfig
from study.data.packs import ImageSet
from study.detectors import registry
from study.detectors.base import Detector
from study.errors import ConfigError, DataError, StoreError
from study.identity import canonical_json, whole_file
from study.records import (
    NO_DEGRADATION,
    DetectorSpec,
    EpochRecord,
    Scores,
    Split,
    Trained,
    Trial,
    TrialResult,
)
from study.statistics.thresholds import FIXED, fit_temperature, source_thresholds
from study.store import Store, read_trained
from study.training.fit import FitResult, fit
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.score import score
from study.training.world import ALONE, World

Report = Callable[[EpochRecord], None]
TRAINED_ON: tuple[Split, Split] = ("train", "val")  # the splits that training and selection see


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Enough to open the store and the data in any process. `threads` and `precision` are the
    study's, resolved.

    firewall: True in every command that trains or selects; a cell cannot be scored there, its test
    split does not open.
    """

    results: Path
    study: str
    data: DataConfig
    weights_root: Path | None
    threads: int
    precision: str
    firewall: bool
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """One configuration to train and judge on source val. `data_key`: the content of train and val
    that its key stands for.

    workers: processes that train it together (data parallel); each of them is given this job.
    """

    workspace: Workspace
    spec: DetectorSpec
    trial: Trial
    data_key: str
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class WinnerJob:
    """A selected configuration to train with winner seed `winner_seed` and keep; `winner_trial` is
    the trial it was found in.

    Of a detector that is not trained `data_key` is "". keep_epochs: the weights of every epoch stay
    in the store.
    """

    workspace: Workspace
    spec: DetectorSpec
    trial: Trial
    data_key: str
    winner_seed: int
    winner_trial: int
    keep_epochs: bool = False


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """A trained detector to score on one test set. `data_key`: the content of the test split that
    `scores_key` stands for.
    """

    workspace: Workspace
    model: str
    test_on: str
    scores_key: str
    data_key: str
    degradation: str = NO_DEGRADATION


_CATALOGS: dict[tuple[str, bool], Catalog] = {}


def open_catalog(config: DataConfig, *, firewall: bool) -> Catalog:
    """Return this process's catalog for `config`, made at its first use and kept: a worker's next
    job finds its packs open.
    """
    key = (canonical_json(config), firewall)
    if key not in _CATALOGS:
        _CATALOGS[key] = Catalog(config, firewall=firewall)
    return _CATALOGS[key]


class _StoreSession:
    """What the training loop talks to: epochs go to `report`, checkpoints to the store, and their
    weights where `keep`.
    """

    def __init__(self, store: Store, key: str, report: Report, *, keep: bool = False) -> None:
        self._file = store.checkpoint_file(key)
        self._store, self._key, self._keep = store, key, keep
        self.report = report

    def load(self) -> dict[str, Any] | None:
        if not self._file.is_file():
            return None
        state: dict[str, Any] = torch.load(self._file, weights_only=True, map_location="cpu")
        kept = (
            self._store.epoch_file(self._key, n, under_way=True).is_file()
            for n in range(len(state.get("history", ())))
        )
        return state if not self._keep or all(kept) else None

    def save(self, state: dict[str, Any]) -> None:
        if self._keep:  # first, so that a checkpoint has all of its epochs
            self._store.save_epoch(self._key, len(state["history"]) - 1, state["state"])
        with whole_file(self._file) as path:
            torch.save(state, path)


def _runtime(workspace: Workspace) -> TorchRuntime:
    return TorchRuntime.resolve(
        device=workspace.device, threads=workspace.threads, precision=workspace.precision
    )


def scoring_runtime(workspace: Workspace) -> TorchRuntime:
    """Return the runtime of all scoring, applied: float32, whatever the training was in."""
    runtime = replace(_runtime(workspace), precision="float32")
    runtime.apply()
    return runtime


def _fit(
    job: TrialJob | WinnerJob, report: Report, world: World = ALONE
) -> tuple[Detector, ImageSet, FitResult, float]:
    """Train the job's detector behind the firewall; return it with source val, the result, and the
    seconds of this fit.
    """
    workspace, trial = job.workspace, job.trial
    runtime = _runtime(workspace)
    # before anything is computed: a detector may embed its prompts when it is built
    runtime.apply()
    catalog = open_catalog(workspace.data, firewall=True)
    refuse_changed_data(
        catalog.key(trial.pairing.train_on, TRAINED_ON), job.data_key, trial.pairing.train_on
    )
    train = catalog.open(trial.pairing.train_on, "train", job.spec.geometry)
    val = catalog.open(trial.pairing.train_on, "val", job.spec.geometry)
    spec = registry.with_head(job.spec, trial.params)
    detector = registry.build(spec, weights_root=workspace.weights_root, seed=trial.seed)
    keep = isinstance(job, WinnerJob) and job.keep_epochs
    session = _StoreSession(Store(workspace.results, workspace.study), trial.key, report, keep=keep)
    result = fit(
        detector,
        train,
        val,
        Recipe.from_params(trial.params, learner=job.spec.learner, where=trial.pairing.name),
        epochs=trial.epochs,
        seed=trial.seed,
        runtime=runtime,
        session=session,
        world=world,
        strata=train.strata(workspace.data.balance),
    )
    return detector, val, result, sum(epoch.seconds for epoch in result.history)


def run_trial(job: TrialJob, report: Report) -> TrialResult:
    """Train one configuration; see source train and val, nothing else.

    Where the job has several workers each of them calls this in one torch.distributed group; the
    first alone calls `report`, and all have the result. Raises DivergedError for a loss that is not
    finite, TrialStopped (on every worker) where `report` does, ConfigError for a group of another
    size, and whatever the data or the device raise; launchers turn those into a TrialResult.
    """
    # A single worker may stand in a group too (that of winners and cells), and trains alone in it.
    world = World.current() if job.workers > 1 else ALONE
    if world.size != job.workers:
        raise ConfigError(
            f"trial {job.trial.key} needs {job.workers} workers and {world.size} came together: run"
            " it again"
        )
    _, _, result, seconds = _fit(job, report, world)
    return TrialResult(
        key=job.trial.key,
        state="done",
        val_auc=result.val_auc,
        val_nll=result.val_nll,
        best_epoch=result.best_epoch,
        history=result.history,
        seconds=seconds,
        note=result.note,
        device_kind=_runtime(job.workspace).kind,
    )


def run_winner(job: WinnerJob) -> None:
    """Train a selected configuration with one seed and write it to the store, thresholds from
    source val included.

    A detector that is not trained is built and written as it is; it has no source, and so none of
    what a source decides.
    """
    store = Store(job.workspace.results, job.workspace.study)
    if is_trained(job):
        # of one that was killed just after its record was written
        store.drop_checkpoint(job.trial.key)
        return
    if job.spec.learner == "none":
        _keep_untrained(store, job)
        return
    detector, val, result, seconds = _fit(job, lambda _: None)
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
        trained, detector.state_dict(), _scores(val, result.val_logit), result.history, seconds
    )
    if job.keep_epochs:
        store.close_epochs(job.trial.key)
    store.drop_checkpoint(job.trial.key)


def is_trained(job: WinnerJob) -> bool:
    """Tell whether the store has what a winner's job makes."""
    store = Store(job.workspace.results, job.workspace.study)
    return store.has_model(job.trial.key) and (
        not job.keep_epochs or bool(store.epochs(job.trial.key))
    )


def _keep_untrained(store: Store, job: WinnerJob) -> None:
    began = time.perf_counter()
    _runtime(job.workspace).apply()
    detector = registry.build(
        job.spec, weights_root=job.workspace.weights_root, seed=job.trial.seed
    )
    nothing = float("nan")
    trained = _trained(
        job,
        thresholds={"fixed": FIXED, "source": nothing, "source_fpr5": nothing},
        temperature=nothing,
        val_auc=nothing,
        val_nll=nothing,
        best_epoch=-1,
    )
    store.save_model(trained, detector.state_dict(), None, (), time.perf_counter() - began)


def _trained(job: WinnerJob, *, note: str = "", **found: Any) -> Trained:
    """Return a winner's record. note: of its training. found: what its source's val gave."""
    said = {"note": note} if note else {}
    return Trained(
        key=job.trial.key,
        trial=job.trial,
        spec=registry.with_head(job.spec, job.trial.params),
        winner_seed=job.winner_seed,
        winner_trial=job.winner_trial,
        provenance={
            **provenance(),
            **said,
            "device_kind": _runtime(job.workspace).kind,
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        **found,
    )


def run_cell(job: CellJob) -> None:
    """Score a trained detector on a test split and write one logit per image to the store."""
    store = Store(job.workspace.results, job.workspace.study)
    if store.has_scores(job.scores_key):
        return
    store.save_scores(job.scores_key, score_cell(job, load_detector(store.model_folder(job.model))))


def score_cell(job: CellJob, detector: Detector) -> Scores:
    """Return what a detector, the job's own or one of its epochs, scores on the job's test
    split.
    """
    workspace = job.workspace
    catalog = open_catalog(workspace.data, firewall=workspace.firewall)
    refuse_changed_data(catalog.key(job.test_on, ("test",)), job.data_key, job.test_on)
    images = catalog.open(job.test_on, "test", detector.spec.geometry)
    runtime = scoring_runtime(workspace)
    runtime.place(detector)
    return _scores(images, score(detector, images, runtime=runtime))


def refuse_changed_data(found: str, expected: str, name: str) -> None:
    """A worker lists the data anew; a result must not be kept under the key of other data. Raises
    DataError where they differ.
    """
    if found != expected:
        raise DataError(f"the data of '{name}' changed while the command ran; run it again")


def load_detector(folder: Path) -> Detector:
    """Return the trained detector of a model folder, in eval mode.

    Raises StoreError where it is missing or damaged, and for an ensemble, which is no detector of
    its own.
    """
    from safetensors.torch import load_file

    trained = read_trained(folder)
    if trained.spec.learner == "members":
        members = trained.provenance["members"]
        raise StoreError(
            f"'{folder}' is an ensemble and has no network: load its members ({members}) and"
            " combine their logits"
        )
    return registry.restore(trained.spec, load_file(folder / "detector.safetensors")).eval()


def _scores(images: ImageSet, logit: NDArray[np.float32]) -> Scores:
    return Scores(
        sample_id=images.sample_id,
        group=images.group,
        unit=images.unit,
        method=images.method,
        label=images.label,
        logit=logit,
        listed=images.listed,
        excluded=images.excluded,
    )


@functools.cache
def provenance() -> dict[str, str]:
    """What produced a result: versions of the code and of the libraries that decide numbers, and
    the processor.
    """
    names = (
        "fake-image-study",
        "torch",
        "timm",
        "open_clip_torch",
        "numpy",
        "scikit-learn",
        "pillow",
    )
    versions = {name: metadata.version(name) for name in names}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        **versions,
        "python": platform.python_version(),
        "commit": _commit(),
        "device": device,
    }


def _commit() -> str:
    """The git commit of a checkout, with `+` where files differ from it; "" for an installed
    package.
    """
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return ""
    try:
        run = functools.partial(
            subprocess.run, capture_output=True, text=True, cwd=here, timeout=10, check=True
        )
        head = run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
        return head + (
            "+" if run(["git", "status", "--porcelain", "--", "."]).stdout.strip() else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""

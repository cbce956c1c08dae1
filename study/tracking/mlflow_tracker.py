"""MLflow as a view of the store: trials, winners and the matrix are logged once each and found
again by our own keys.

And the only file that knows mlflow. It is imported on first use, because it takes two
seconds.

A run is complete when it carries the tag `study.state`, which is written last. A run that a killed
process left without it, or that has changed since (a failed trial tried again, a matrix with new
cells), is moved to MLflow's trash and written anew: metrics in MLflow can only be added to, never
replaced.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import platform
import re
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from study.analysis.results import ResultRow
from study.core.environment import need_extra
from study.core.errors import StoreError
from study.core.identity import canonical_json, digest, file_sha256
from study.core.parallel import one_at_a_time
from study.core.records import MEMBERS, EpochRecord, Pairing, TrainedDetector, Trial, TrialResult
from study.tracking.descriptions import description
from study.tracking.metric_names import (
    dataset_digest,
    dataset_name,
    metric_name,
    original_names,
    quantity,
    slug,
)
from study.tracking.mlflow_address import (
    is_server,
    own_database,
    tracking_uri,
    without_password,
)
from study.tracking.model_code import (
    BASE64,
    EXAMPLE,
    LOADER,
    OWN_SIDE,
    SIDE,
    requirements,
    write_code,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric, Run
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

NAMES = "names.json"  # what the letters of metric names stand for
BEST = "best_val_auc"
FIGURES = (".png", ".svg", ".pdf")
PARENT = "mlflow.parentRunId"  # the tag by which a run is nested under another
REGISTERED = "mlflow.modelVersions"  # the tag by which a model's page shows its versions
CHAMPION, BEST_ON = "champion", "best-on-"  # aliases of the study's registered model

# Read by mlflow when it is first used; what the user has set is kept.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # a lock file in the current folder says nothing about a detector
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
# For the first request: a server that is not there is reported in seconds, not after MLflow's eight
# minutes.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def load_mlflow() -> None:
    """Import mlflow, told to be quiet and to send nothing."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic"):  # "Creating initial MLflow database tables..." is no news
        logging.getLogger(name).setLevel(logging.WARNING)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Shorten the wait for a server, unless the user has chosen one."""
    before = {
        name: os.environ[name] for name in _IMPATIENT if os.environ[name] == _ENVIRONMENT[name]
    }
    os.environ.update({name: _IMPATIENT[name] for name in before})
    try:
        yield
    finally:
        os.environ.update(before)


@contextlib.contextmanager
def _one_line_errors(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError, ImportError) as error:
        text = without_password(" ".join(str(error).split()))[:300]
        remedy = "start the server" if is_server(uri) else "make the database writable"
        raise StoreError(
            f"MLflow at {without_password(uri)} cannot be used: {text} ({remedy}, or point"
            " MLFLOW_TRACKING_URI somewhere else)"
        ) from error
    except ValueError as error:  # so MLflow says that it cannot read a variable of its own
        if not str(error).startswith("Failed to convert"):
            raise
        raise StoreError(f"MLflow cannot be used: {error}; unset that variable") from error


@contextlib.contextmanager
def _found_by_all(uri: str) -> Iterator[None]:
    """Say where MLflow is to what asks for it by the environment alone: its registry."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI")
        os.environ.update({"MLFLOW_TRACKING_URI": before} if before is not None else {})


RunKey = tuple[str, str, str]  # kind, pairing, key
Number = tuple[str, float, int, int]  # a metric: name, value, time in milliseconds, step


def _now_ms() -> int:
    return round(time.time() * 1000)


def _tags_of(pairing: Pairing) -> dict[str, str]:
    return {
        "study.pairing": pairing.name,
        "study.detector": pairing.detector,
        "study.train_on": pairing.train_on,
    }


def _of_epoch(record: EpochRecord, at_ms: int) -> Iterator[Number]:
    """A point of every curve: the step is the epoch."""
    for name in ("train_loss", "val_auc", "val_nll", "learning_rate", "seconds"):
        shown = "epoch_seconds" if name == "seconds" else name
        yield shown, getattr(record, name), at_ms, record.epoch


def _numbers(
    result: TrialResult, start_ms: int, end_ms: int, written: Collection[int] = ()
) -> Iterator[Number]:
    """Per-epoch curves; times are those of training, as if it had begun when the run was opened.
    Then what the trial came to, where it is a number. written: epochs that are there already.
    """
    seconds = 0.0
    for record in result.history:
        seconds += record.seconds
        if record.epoch not in written:
            yield from _of_epoch(record, start_ms + round(seconds * 1000))
    best = result.best_epoch if result.best_epoch >= 0 else math.nan
    values = (BEST, result.val_auc), ("best_val_nll", result.val_nll)
    for name, value in (*values, ("seconds", result.seconds), ("best_epoch", best)):
        if math.isfinite(value):
            yield name, value, end_ms, 0


def _key_of(trial: Trial) -> RunKey:
    return "winner" if trial.number < 0 else "trial", trial.pairing.name, trial.key


def _pairing_key(name: str) -> RunKey:
    return "pairing", name, name


def _pairing_of(model: LoggedModel) -> Pairing:
    return Pairing(detector=model.tags["study.detector"], train_on=model.tags["study.train_on"])


def _configuration(run: Run) -> dict[str, str]:
    """What a trial or a winner tried: its parameters but for the seed."""
    return {name: value for name, value in run.data.params.items() if name != "seed"}


def _params(trial: Trial) -> dict[str, str]:
    own = {"seed": str(trial.seed), "max_epochs": str(trial.epochs)}
    return {slug(k): str(v) for k, v in trial.params.items()} | own


def _winner_result(trained: TrainedDetector, folder: Path) -> TrialResult:
    """How a winner's training went; its curves are in the model folder."""
    table = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
    return TrialResult(
        key=trained.trial.key,
        state="done",
        val_auc=trained.val_auc,
        val_nll=trained.val_nll,
        best_epoch=trained.best_epoch,
        history=tuple(EpochRecord(**epoch) for epoch in table.get("history", ())),
        seconds=float(table.get("seconds", 0.0)),
    )


def _content_digest(rows: Sequence[ResultRow], artifacts: Sequence[Path]) -> str:
    files = [(path.name, file_sha256(path)) for path in artifacts]
    return digest(list(rows), sorted(files))


class Tracker:
    """Writes a study to MLflow. One process at a time writes a study: the store's lock is held
    meanwhile.

    Every method raises StoreError, in one line, where MLflow cannot be reached or written.
    """

    def __init__(
        self,
        study: str,
        *,
        results: Path,
        made_by: Mapping[str, str] = MappingProxyType({}),
        data: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Open MLflow and make the database and the study's experiment where they are missing.

        The address is MLFLOW_TRACKING_URI, or `<results>/mlflow.db` with files in
        `<results>/mlartifacts`. made_by: `user`, `source.name` and others of MLflow's tags, for
        every run. data: the digest of each training set's train and val images, by its name. A run
        on one that is not there has no dataset.
        """
        self.uri = tracking_uri(results)
        self._study, self._results = study, results
        self._data = dict(data)
        self._made_by = {f"mlflow.{name}": value for name, value in made_by.items()}
        self._runs_cache: dict[RunKey, Run] | None = None
        self._models_cache: list[LoggedModel] | None = None
        self._under_way: dict[RunKey, set[int]] = {}  # runs of trials, and the epochs they have
        self._monitor: SystemMetricsMonitor | None = None
        load_mlflow()
        with _one_line_errors(self.uri), _impatient():
            from mlflow import MlflowClient

            if own := own_database(results):
                _leave_to_kernel(own.parent)
            if not is_server(self.uri):
                _make_database(self.uri, lock=results / "cache" / "mlflow.db")
                _probe_database(self.uri)

            # another program's MLFLOW_REGISTRY_URI is not for a database of our own
            registry = self.uri if own else None
            self._client: MlflowClient = MlflowClient(self.uri, registry_uri=registry)
            self._experiment = self._open_experiment(results)

    def _open_experiment(self, results: Path) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            here = (results.absolute() / "mlartifacts" / self._study).as_uri()
            if is_server(self.uri):  # it decides for itself where files go
                here = None
            # the pages for training, not chat
            kind = "custom_model_development"
            tags = {"study.name": self._study, "mlflow.experimentKind": kind}
            return self._client.create_experiment(self._study, artifact_location=here, tags=tags)
        if found.lifecycle_stage != "active":
            raise StoreError(
                f"the MLflow experiment '{self._study}' is in MLflow's trash; bring it back with"
                f" `mlflow experiments restore -x {found.experiment_id}`, or remove it for good"
                " with `mlflow gc`"
            )
        return str(found.experiment_id)

    def watch(self) -> None:
        """Log what this machine does from now on (processor, memory, network, disk, GPUs), where
        MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING asks for it: into one run for each machine, which every
        command goes on with. It ends with `close`.

        Raises ConfigError where the extra that reads these numbers is not installed.
        """
        from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING as ASKED

        with _one_line_errors(self.uri):
            if not ASKED.get():
                return
            need_extra("system", ("psutil",))
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            machine = platform.node()
            key = ("machine", "", machine)
            run = self._runs().get(key) or self._new_run(key, f"machine {machine}", {})
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._monitor = SystemMetricsMonitor(
                run.info.run_id, resume_logging=True, tracking_uri=self.uri
            )
            self._monitor.start()

    def close(self) -> None:
        """End what `watch` began, and have all that was written on the disk."""
        if self._monitor is not None:
            self._monitor.finish()
            self._client.set_terminated(self._monitor._run_id)
        if (own := own_database(self._results)) and own.is_file():
            _flush(own)

    def _runs(self) -> dict[RunKey, Run]:
        """Our runs of this experiment, by key; read once."""
        if self._runs_cache is None:
            ours = {"filter_string": "tags.`study.kind` != ''", "max_results": 1000}
            self._runs_cache = {}
            for run in self._all(self._client.search_runs, **ours):
                tags = run.data.tags
                key = tags["study.kind"], tags.get("study.pairing", ""), tags["study.key"]
                self._runs_cache[key] = run
        return self._runs_cache

    def _models(self) -> list[LoggedModel]:
        if self._models_cache is None:
            found = self._all(self._client.search_logged_models)
            self._models_cache = [model for model in found if "study.key" in model.tags]
        return self._models_cache

    def _all(self, search: Callable[..., Any], **terms: Any) -> Iterator[Any]:
        """Give what a search of this experiment finds, page by page."""
        page = None
        while page is None or page.token:
            token = page.token if page else None
            page = search([self._experiment], page_token=token, **terms)
            yield from page

    def _log(
        self,
        run_id: str,
        *,
        numbers: Iterable[Number] = (),
        params: Mapping[str, str] = MappingProxyType({}),
        tags: Mapping[str, str] = MappingProxyType({}),
        **of_model: str,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            metrics=[Metric(*number, **of_model) for number in numbers],
            params=[Param(*param) for param in params.items()],
            tags=[RunTag(*tag) for tag in tags.items()],
        )

    def _new_run(
        self,
        key: RunKey,
        name: str,
        tags: Mapping[str, str],
        *,
        seconds: float = 0.0,
        parent: str = "",
    ) -> Run:
        """Open a run in the place of any earlier one of the same key, which goes to the trash."""
        if (earlier := self._runs().pop(key, None)) is not None:
            self._client.delete_run(earlier.info.run_id)
        names = ("study.kind", "study.pairing", "study.key", PARENT)
        own = zip(names, (*key, parent), strict=True)
        all_tags = {**self._made_by, **tags, **{name: value for name, value in own if value}}
        start_ms = round((time.time() - seconds) * 1000)
        run = self._client.create_run(
            self._experiment, start_time=start_ms, tags=all_tags, run_name=name
        )
        self._runs()[key] = run
        return run

    def _complete(
        self,
        key: RunKey,
        state: str,
        *,
        end_ms: int,
        tags: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> None:
        """End a run; its state is the last thing written, by MLflow with the other tags. more: what
        `_log` takes beside.
        """
        run, status = self._runs()[key], "FAILED" if state == "failed" else "FINISHED"
        self._client.set_terminated(run.info.run_id, status, end_time=end_ms)
        final = {**tags, "study.state": state}
        self._log(run.info.run_id, tags=final, **more)
        run.data.tags.update(final)

    def _is_complete(self, key: RunKey, **tags: str) -> bool:
        run = self._runs().get(key)
        held = run.data.tags if run is not None else {}
        return "study.state" in held and all(
            held.get(f"study.{name}", "") == value for name, value in tags.items()
        )

    def _pairing_run(self, pairing: Pairing) -> str:
        """The id of a pairing's run, which its trials are nested under."""
        key = _pairing_key(pairing.name)
        # what it is opened with is all that its trials need, so it is never half written
        if key not in self._runs():
            self._new_pairing_run(key, _tags_of(pairing))
        return str(self._runs()[key].info.run_id)

    def _new_pairing_run(self, key: RunKey, tags: Mapping[str, str]) -> Run:
        """Open a pairing's run. What was nested under an earlier one moves to it."""
        earlier = self._runs().get(key)
        run = self._new_run(key, key[1], tags)
        self._client.set_terminated(run.info.run_id)
        for nested in self._runs().values() if earlier is not None else ():
            if nested.data.tags.get(PARENT) == earlier.info.run_id:
                self._client.set_tag(nested.info.run_id, PARENT, run.info.run_id)
                nested.data.tags[PARENT] = run.info.run_id
        return run

    def log_trial(self, trial: Trial, result: TrialResult) -> None:
        """Write a trial with its curves, nested under its pairing.

        A trial that is there and done stays as it is, because its key decides its result; one that
        failed is replaced where the new result is another.
        """
        with _one_line_errors(self.uri):
            self._log_trial(trial, result)

    def _log_trial(self, trial: Trial, result: TrialResult, commit: str = "") -> RunKey:
        key = _key_of(trial)
        file = result.failure.traceback_file if result.failure else None
        same = {"state": result.state, "reason": result.why}
        if self._is_complete(key, state="done") or self._is_complete(key, **same):
            return key
        if key not in self._under_way:
            self._open_trial(key, trial, result.seconds)
        written = self._under_way.pop(key)
        start_ms = self._runs()[key].info.start_time
        end_ms = start_ms + round(result.seconds * 1000)
        self._complete(
            key,
            result.state,
            end_ms=end_ms,
            numbers=_numbers(result, start_ms, end_ms, written),
            params={} if written else _params(trial),
            tags={
                "study.reason": result.why,
                "study.traceback": f"failures/{file.name}" if file else "",
                "study.note": result.note,
                "study.phases": ", ".join(dict.fromkeys(r.phase for r in result.history)),
                **_commit_tag(commit),
            },
        )
        if math.isfinite(result.val_auc):
            self._runs()[key].data.metrics[BEST] = result.val_auc
        return key

    def log_epoch(self, trial: Trial, record: EpochRecord) -> None:
        """Write an epoch of a trial under way, once. The trial's run is open until `log_trial`."""
        with _one_line_errors(self.uri):
            key = _key_of(trial)
            if self._is_complete(key, state="done"):
                return
            if key not in self._under_way:
                self._open_trial(key, trial, record.seconds)
            if record.epoch not in (written := self._under_way[key]):
                run_id = self._runs()[key].info.run_id
                params = {} if written else _params(trial)
                self._log(run_id, numbers=_of_epoch(record, _now_ms()), params=params)
                written.add(record.epoch)

    def _open_trial(self, key: RunKey, trial: Trial, seconds: float) -> None:
        """Open a trial's run, nested under its pairing. seconds: how long it has run."""
        name = f"winner, seed {-1 - trial.number}" if trial.number < 0 else f"trial {trial.number}"
        tags = {
            **_tags_of(trial.pairing),
            "study.number": str(trial.number),
            "study.origin": trial.origin,
        }
        parent = self._pairing_run(trial.pairing)
        run = self._new_run(key, name, tags, seconds=seconds, parent=parent)
        train_on = trial.pairing.train_on
        if train_on in self._data:
            self._log_inputs(run.info.run_id, "train", {train_on: self._data[train_on]})
        run.data.params.update(_params(trial))  # as they will be there
        self._under_way[key] = set()

    def log_winner(self, trained: TrainedDetector, folder: Path) -> None:
        """Write a winner as a model: our own files, loadable by `mlflow.pyfunc.load_model`. One
        that is there is not written again.

        It becomes the current model of its pairing and seed. folder: `detector.json`, and
        `detector.safetensors` for all but an ensemble; it is copied.
        """
        with _one_line_errors(self.uri):
            model = next((m for m in self._models() if _is_of(m, trained)), None)
            # a killed process left it without its files
            if model is not None and str(model.status) != "READY":
                self._client.delete_logged_model(model.model_id)
                self._models().remove(model)
                model = None
            if model is None:
                model = self._new_model(trained, folder)
            self._make_current(model)

    def _new_model(self, trained: TrainedDetector, folder: Path) -> LoggedModel:
        from mlflow.entities import LoggedModelOutput

        trial, pairing = trained.trial, trained.trial.pairing
        commit = str(trained.provenance.get("commit", ""))
        key = self._log_trial(trial, _winner_result(trained, folder), commit)
        run_id = self._runs()[key].info.run_id
        name = f"{pairing.detector}-{pairing.train_on}-seed{trained.winner_seed}"
        model = self._client.create_logged_model(
            self._experiment,
            name=re.sub(r"[^\w-]", "-", name)[:200],
            source_run_id=run_id,
            params=_params(trial)
            | {f"threshold_{k}": repr(v) for k, v in trained.thresholds.items()},
            tags=_tags_of(pairing)
            | {
                "study.key": trained.key,
                "study.seed": str(trained.winner_seed),
                "study.trial": str(trained.winner_trial),
            }
            | {f"provenance.{slug(k)}": str(v) for k, v in trained.provenance.items()},
            model_type=pairing.detector,
        )
        with tempfile.TemporaryDirectory() as scratch:
            ids = {"model_id": model.model_id, "run_id": run_id}
            data = _with_members(trained, folder, Path(scratch))
            _save_pyfunc(Path(scratch) / "model", data, trained, **ids)
            self._client.log_model_artifacts(model.model_id, str(Path(scratch) / "model"))
        output = LoggedModelOutput(model.model_id, step=max(trained.best_epoch, 0))
        self._client.log_outputs(run_id, [output])
        now_ms = _now_ms()
        source_val = ("source_val_auc", trained.val_auc), ("source_val_nll", trained.val_nll)
        numbers = [(name, value, now_ms, 0) for name, value in source_val if math.isfinite(value)]
        self._log(run_id, numbers=numbers, model_id=model.model_id)
        model = self._client.finalize_logged_model(model.model_id, "READY")
        self._models().append(model)
        return model

    def _make_current(self, model: LoggedModel) -> None:
        """Of the models of one pairing and seed, say which one the study now has."""
        for other in self._models():
            current = "true" if other is model else "false"
            if _place(other) == _place(model) and other.tags.get("study.current") != current:
                self._client.set_logged_model_tags(other.model_id, {"study.current": current})
                other.tags["study.current"] = current

    def log_matrix(
        self, rows: Sequence[ResultRow], artifacts: Sequence[Path], commit: str = ""
    ) -> str:
        """Write the matrix as one run: a metric for every cell and quantity, mean over seeds, NaN
        where it has no value; of an AUC its interval's ends, too; and the files. Its description is
        the answer and the AUCs as a table. Then each winner's own numbers as MLflow's
        model-by-dataset metrics, so that models can be ranked on a test set, and each pairing's
        numbers and parameters in its run. Return where in MLflow the matrix is shown.

        rows: all of matrix.csv; those of a part of the images (by method, without leaks) stay
        there, and are not written. Of a study that is repeated the matrix is of means, and winners
        are those of the study itself.
        artifacts: files. The same rows and files are not written a second time. commit: of the
        code that made them, "" where it is not known.
        """
        rows = [row for row in rows if row.is_whole]
        with _one_line_errors(self.uri):
            self._log_matrix_run([row for row in rows if not row.is_single], artifacts, commit)
            self._log_model_metrics([row for row in rows if row.is_first])
            self._log_pairings([row for row in rows if not row.is_single])
            run = self._runs()["matrix", "", "matrix"]
            page = f"/#/experiments/{self._experiment}/runs/{run.info.run_id}"
            return f"{page}?workflowType=machine_learning"  # beside the pages for training

    def _log_matrix_run(
        self, rows: Sequence[ResultRow], artifacts: Sequence[Path], commit: str
    ) -> None:
        key, content = ("matrix", "", "matrix"), _content_digest(rows, artifacts)
        if self._is_complete(key, content=content):
            return
        means = [row for row in rows if row.seed == "mean" and row.metric]
        cells = {
            (r.detector, r.train_on, r.test_on, r.degradation): r.state
            for r in rows
            if r.role != "baseline"
        }
        states = Counter(cells.values())
        tags = {"study.cells": canonical_json(states), **_commit_tag(commit)}
        run_id = self._new_run(key, "matrix", tags).info.run_id
        now_ms = _now_ms()
        self._log(
            run_id,
            numbers=[
                (name, value, now_ms, 0)
                for row in means
                for name, value in _values(row, metric_name(row))
            ],
            tags={"mlflow.note.content": description(means, artifacts)},
        )
        names = json.dumps(original_names(means), indent=1, ensure_ascii=False)
        self._client.log_text(run_id, names, NAMES)
        test_sets = {name: dataset_digest(name) for name in map(dataset_name, rows)}
        self._log_inputs(run_id, "test", test_sets)
        for path in artifacts:
            folder = "figures" if path.suffix in FIGURES else None
            self._client.log_artifact(run_id, str(path), folder)
        self._complete(key, "done", end_ms=_now_ms(), tags={"study.content": content})

    def _log_inputs(self, run_id: str, context: str, digests: Mapping[str, str]) -> None:
        """Write the datasets that a run reads. context: `train` or `test`. digests: by name."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", context)]
        inputs = [
            DatasetInput(Dataset(name, held, "local", canonical_json({"name": name})), tags)
            for name, held in sorted(digests.items())
        ]
        self._client.log_inputs(run_id, inputs)

    def _log_pairings(self, rows: Sequence[ResultRow]) -> None:
        """Add to the run of every pairing with winners what it came to and does not have yet: the
        val AUC of the selected trial, the winners' AUC on each clean test set (mean over seeds) and
        its interval, and the parameters that all winners share. A run with parameters or test sets
        that are not there any more is written anew.
        """
        winners: dict[str, list[LoggedModel]] = {}
        for model in self._current().values():
            winners.setdefault(model.tags["study.pairing"], []).append(model)
        aucs = [r for r in rows if r.is_plain and r.seed == "mean" and r.metric == "auc"]
        for name, models in winners.items():
            key, now_ms = _pairing_key(name), _now_ms()
            self._pairing_run(_pairing_of(models[0]))
            run = self._runs()[key]
            params = self._shared_params(name, models)
            numbers = self._best_val_auc(name, models, params)
            for row in aucs:
                if row.role == "detector" and f"{row.detector} @ {row.train_on}" == name:
                    numbers |= dict(_values(row, _on_test_set(row)))
            numbers = {what: value for what, value in numbers.items() if math.isfinite(value)}
            gone = run.data.params.items() - params.items() or set(run.data.metrics) - set(numbers)
            if gone:
                run = self._new_pairing_run(key, _tags_of(_pairing_of(models[0])))
            held = run.data
            new = [(k, v, now_ms, 0) for k, v in numbers.items() if held.metrics.get(k) != v]
            missing = {k: v for k, v in params.items() if k not in held.params}
            if new or missing:
                self._log(run.info.run_id, numbers=new, params=missing)
                held.metrics.update(numbers)
                held.params.update(params)

    def _shared_params(self, pairing: str, models: Sequence[LoggedModel]) -> dict[str, str]:
        """The parameters that the winners of a pairing have in common; no seed is one."""
        keys = [("winner", pairing, model.tags["study.key"]) for model in models]
        found = [_configuration(self._runs()[key]).items() for key in keys if key in self._runs()]
        return dict(set(found[0]).intersection(*found)) if found else {}

    def _best_val_auc(
        self, pairing: str, models: Sequence[LoggedModel], params: Mapping[str, str]
    ) -> dict[str, float]:
        """The val AUC of the trial that was selected; where nothing was searched, the highest of
        the winners. {} where there is none.
        """
        numbers = {model.tags["study.trial"] for model in models}
        keys = {model.tags["study.key"] for model in models}
        found = [
            run.data.metrics[BEST]
            for (kind, name, key), run in self._runs().items()
            if name == pairing and BEST in run.data.metrics
            if (kind == "winner" and key in keys and numbers == {"-1"})
            or (
                kind == "trial"
                and run.data.tags["study.number"] in numbers
                and _configuration(run) == params
            )
        ]
        return {BEST: max(found)} if found else {}

    def _log_model_metrics(self, rows: Sequence[ResultRow]) -> None:
        """Add to every current model the numbers that it does not have yet, each under the name of
        its test set, and linked to it. An undefined value is left out: MLflow would make it 0.
        """
        from mlflow.entities import Metric

        now_ms = _now_ms()
        for place, model in self._current().items():
            held, new = {metric.key: metric.value for metric in _by_time(model)}, []
            for row in rows:
                if (row.detector, row.train_on, row.seed) != place:
                    continue
                dataset = dataset_name(row)
                of_dataset = model.model_id, dataset, dataset_digest(dataset)
                new += [
                    Metric(name, value, now_ms, 0, *of_dataset)
                    for name, value in _values(row, _on_test_set(row))
                    if math.isfinite(value) and held.get(name) != value
                ]
            if new:
                self._client.log_batch(str(model.source_run_id), metrics=new)
                self._models_cache = None  # what it says of the models' metrics is out of date

    def _current(self) -> dict[tuple[str, str, str], LoggedModel]:
        """The models that the study now has, by detector, training set and seed."""
        return {_place(m): m for m in self._models() if m.tags.get("study.current") == "true"}

    def register(self, rows: Sequence[ResultRow], champion: str = "") -> None:
        """Make the best winner on each test set (mean AUC over seeds; of that winner its first
        seed), and the champion, versions of one registered model, which has the study's name. Their
        aliases say which they are.

        rows: as `log_matrix` takes them. champion: the pairing with that alias, "" for none.
        Raises StoreError, and changes nothing, where a registered model of somebody else has the
        name.
        """
        with _one_line_errors(self.uri):
            shown = [row for row in rows if row.is_whole and not row.is_single]
            wanted = _aliases(shown, self._current(), champion)
            if wanted:
                self._register(wanted)

    def _registered(self) -> RegisteredModel | None:
        """The registered model of the study's name, whoever made it; None where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_registered_model(self._study)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _is_ours(self, registered: RegisteredModel) -> bool:
        return bool(registered.tags.get("study.name") == self._study)

    def _register(self, wanted: Mapping[str, LoggedModel]) -> None:
        """Make models versions, and give them their aliases. wanted: by alias."""
        name, registered = self._study, self._registered()
        if registered is None:
            registered = self._client.create_registered_model(name, tags={"study.name": name})
        elif not self._is_ours(registered):
            raise StoreError(
                f"there is a registered model '{name}' that no study has made, so no winner is"
                " registered; rename that model, or the study (key `name`)"
            )
        held = dict(registered.aliases)
        found = self._client.search_model_versions(f"name = '{name}'")
        # a database does not keep a version's model, but where it came from
        versions = {version.source: str(version.version) for version in found}
        for model in wanted.values():
            if _source(model) not in versions:
                with _found_by_all(self.uri):
                    made = self._client.create_model_version(
                        name,
                        source=_source(model),
                        run_id=model.source_run_id,
                        model_id=model.model_id,
                        description=f"{model.tags['study.pairing']}, seed"
                        f" {model.tags['study.seed']}",
                    )
                versions[_source(model)] = str(made.version)
                of_model = {REGISTERED: json.dumps([{"name": name, "version": made.version}])}
                self._client.set_logged_model_tags(model.model_id, of_model)
        now = {alias: versions[_source(model)] for alias, model in wanted.items()}
        ours = {a for a in held if a == CHAMPION or a.startswith(BEST_ON)}
        for alias in ours - set(now):
            self._client.delete_registered_model_alias(name, alias)
        for alias, version in now.items():
            if str(held.get(alias)) != version:
                self._client.set_registered_model_alias(name, alias, version)

    def set_aside(self) -> None:
        """Move all that MLflow has of the study out of the way, so that it is written anew: its
        experiment goes to the trash under another name, its registered model is deleted.
        """
        with _one_line_errors(self.uri):
            # one name each, even of two in a second
            when = datetime.now().isoformat(" ", "microseconds")
            old = f"{self._study} (set aside {when})"
            self._client.rename_experiment(self._experiment, old)
            self._client.delete_experiment(self._experiment)
            registered = self._registered()
            if registered is not None and self._is_ours(registered):
                self._client.delete_registered_model(self._study)
            self._runs_cache, self._models_cache, self._under_way = None, None, {}
            self._experiment = self._open_experiment(self._results)


def _commit_tag(commit: str) -> dict[str, str]:
    """The tag by which MLflow shows a commit; none where it is not known."""
    return {"mlflow.source.git.commit": commit} if commit else {}


def _aliases(
    rows: Iterable[ResultRow], models: Mapping[tuple[str, str, str], LoggedModel], champion: str
) -> dict[str, LoggedModel]:
    """The models that have an alias, by it."""
    best: dict[str, tuple[float, LoggedModel]] = {}
    found: dict[str, LoggedModel] = {}
    for row in rows:
        model = models.get((row.detector, row.train_on, "0"))
        is_mean = row.metric == "auc" and row.seed == "mean" and row.is_plain and row.has_number
        if model is None or not is_mean:
            continue
        if row.estimate.value > best.get(row.test_on, (-1.0, model))[0]:
            best[row.test_on] = row.estimate.value, model
        if model.tags["study.pairing"] == champion:
            found[CHAMPION] = model
    for test_on, (_, model) in best.items():
        alias = BEST_ON + re.sub(r"[^\w-]", "-", test_on)
        found[alias if alias not in found else f"{alias}-{digest(test_on)[:6]}"] = model
    return found


def _source(model: LoggedModel) -> str:
    return f"models:/{model.model_id}"


def _on_test_set(row: ResultRow) -> str:
    """What a winner's number on a test set is called."""
    unit = "/unit" if row.level == "unit" else ""
    return f"{slug(quantity(row))}/{slug(dataset_name(row))}{unit}"


def _values(row: ResultRow, name: str) -> Iterator[tuple[str, float]]:
    """A number of the matrix by its name, and the ends of an AUC's interval."""
    found = row.estimate
    yield name, found.value
    if row.metric == "auc" and math.isfinite(found.low):
        yield f"{name}/low", found.low
        yield f"{name}/high", found.high


def _place(model: LoggedModel) -> tuple[str, str, str]:
    return model.tags["study.detector"], model.tags["study.train_on"], model.tags["study.seed"]


def _is_of(model: LoggedModel, trained: TrainedDetector) -> bool:
    found = model.tags["study.key"], model.tags["study.pairing"]
    return found == (trained.key, trained.trial.pairing.name)


def _by_time(model: LoggedModel) -> list[Metric]:
    return sorted(model.metrics or (), key=lambda metric: metric.timestamp)


def _make_database(uri: str, *, lock: Path) -> None:
    """Make a SQLite file that is not there: by one process, under another name, renamed when all of
    its tables are there. lock: which processes ask for it to be theirs.
    """
    import sqlalchemy
    from mlflow import MlflowClient

    url = sqlalchemy.make_url(uri)
    file = Path(url.database or "")
    if url.get_backend_name() != "sqlite" or not url.database or file.is_file():
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(lock):
        if not file.is_file():
            with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as folder:
                made = Path(folder) / "new.db"
                begun = sqlalchemy.URL.create(url.drivername, database=str(made))
                text = begun.render_as_string(hide_password=False)
                MlflowClient(tracking_uri=text).search_experiments(max_results=1)
                _flush(made)
                made.rename(file)


@cache
def _leave_to_kernel(folder: Path) -> None:
    """Have SQLite files below a folder written without waiting for the disk at every step, which is
    most of the time that they take. A killed process loses nothing by that. Where the power fails
    meanwhile, the file may be damaged: it is a view, and can be made anew.
    """
    import sqlite3

    import sqlalchemy

    below = folder.resolve()

    def begun(connection: Any, _: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        files = [row[2] for row in connection.execute("PRAGMA database_list")]
        if any(file and Path(file).resolve().is_relative_to(below) for file in files):
            connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", begun)


def _flush(file: Path) -> None:
    """Wait until a file is on the disk."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _probe_database(uri: str) -> None:
    """Connect once. MLflow itself tries ten times, for a minute and a half."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(sqlalchemy.make_url(uri))
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()


def _with_members(trained: TrainedDetector, folder: Path, scratch: Path) -> Path:
    """The folder of a detector; of an ensemble a copy that has its members in it."""
    if not trained.members:
        return folder
    whole = Path(shutil.copytree(folder, scratch / trained.key))
    for _, key in trained.members:
        shutil.copytree(folder.parent / key, whole / MEMBERS / key)
    return whole


def _save_pyfunc(
    path: Path, folder: Path, trained: TrainedDetector, *, model_id: str, run_id: str
) -> None:
    """Write an MLflow model folder around a copy of ours, with the code that loads it."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    # of the inputs nothing is said: paths, bytes, Pillow images and arrays are all taken
    texts, numbers = ("error",), ("logit", "probability")
    signature = ModelSignature(
        outputs=Schema(
            [ColSpec("double", name) for name in numbers]
            + [ColSpec("string", name) for name in texts]
        ),
        params=ParamSchema([ParamSpec(SIDE, "long", OWN_SIDE)]),
    )
    with warnings.catch_warnings(), _unchecked_requirements():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module=LOADER,
            data_path=str(folder),
            code_paths=write_code(path.with_name("code"), trained.trial.pairing.detector),
            mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
            signature=signature,
            input_example=pd.DataFrame({BASE64: [EXAMPLE]}),
            # given, or MLflow starts a process to find out
            pip_requirements=requirements(faces=bool(trained.provenance.get("faces"))),
        )


@contextlib.contextmanager
def _unchecked_requirements() -> Iterator[None]:
    """Save models without MLflow comparing their requirements with what is installed, from which
    they were read. It looks at every file of every package for that, 0.8 s a command.
    """
    from mlflow.utils import environment

    name = "warn_dependency_requirement_mismatches"
    before = getattr(environment, name, None)
    if before is None:  # it is no public name
        yield
        return
    setattr(environment, name, lambda _: None)
    try:
        yield
    finally:
        setattr(environment, name, before)

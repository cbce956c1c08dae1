"""Every trial in Optuna's own storage, for `optuna-dashboard` and Optuna's plots.

A view of the store like MLflow: written by the driver as results arrive, one Optuna study for each
pairing, each trial found again by our key. The figures of the search and of its winner's detector
are artifacts of the Optuna study. The search itself never reads it.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import math
import os
import shlex
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from study.core.errors import StoreError
from study.core.records import Pairing, Trial, TrialResult
from study.search.spaces import Space
from study.tracking.metric_names import slug

if TYPE_CHECKING:
    import optuna
    from optuna.trial import TrialState

VARIABLE = "OPTUNA_STORAGE"
OBJECTIVE = "AUC on source val"
ARTIFACTS = "optuna_artifacts"  # the folder of figures, in that of the results


def own_journal(results: Path) -> Path | None:
    """Return the journal file of the results folder; None where OPTUNA_STORAGE names a place of the
    user's.
    """
    given = os.environ.get(VARIABLE, "").strip()
    return None if given else results.absolute() / "optuna.journal"


@contextlib.contextmanager
def writing_alone(journal: Path) -> Iterator[None]:
    """Keep other writers out, by the lock that Optuna takes for each of its writes."""
    from optuna.storages.journal import JournalFileSymlinkLock

    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def storage_address(results: Path) -> str:
    """Return the address in OPTUNA_STORAGE (that of a database), else the journal file of the
    results folder.
    """
    return os.environ.get(VARIABLE, "").strip() or str(own_journal(results))


def dashboard_command(results: Path) -> str:
    """Return the command that shows the searches in a browser."""
    address = storage_address(results)
    # An address with a password in it is not printed.
    words = ["optuna-dashboard", f"${VARIABLE}" if "://" in address else shlex.quote(address)]
    figures = results.absolute() / ARTIFACTS
    if "://" not in address or figures.is_dir():  # beside a journal there is one from the start
        words += ["--artifact-dir", shlex.quote(str(figures))]
    return " ".join([*words, "--host", "127.0.0.1"])


def without_dashboard() -> str:
    """Return how to get that command, on a line of its own; "" where it is installed."""
    if importlib.util.find_spec("optuna_dashboard"):
        return ""
    return "\n        (it needs pip install optuna-dashboard)"


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, ValueError, ImportError, OptunaError, SQLAlchemyError) as error:
        text = " ".join(str(error).split())[:300]
        raise StoreError(
            f"Optuna's storage cannot be used: {text}; make it writable, or point {VARIABLE}"
            " elsewhere"
        ) from None


class OptunaRecord:
    """Writes trials to Optuna's storage, each once. Opens it at the first trial."""

    def __init__(self, study: str, *, results: Path) -> None:
        self._name, self._address = study, storage_address(results)
        self._artifacts = results / ARTIFACTS
        self._storage: optuna.storages.BaseStorage | None = None
        self._studies: dict[str, tuple[optuna.Study, set[tuple[str, int]]]] = {}

    def add(self, trial: Trial, result: TrialResult, space: Space) -> None:
        """Write a trial that has ended. One that is there with the same key, number and state is
        not written again.

        Raises StoreError where the storage cannot be used.
        """
        with _one_line_errors():
            study, held = self._study(trial, space)
            if (mark := f"{trial.key} {result.state}", trial.number) not in held:
                study.add_trial(_frozen(trial, result, space))
                held.add((mark, trial.number))

    def add_figures(self, pairings: Iterable[Pairing], files: Iterable[Path]) -> None:
        """Put figures beside the trials of each pairing, as artifacts: how the searches went, and
        the heat map of the detector. One that has changed takes the place of the old one.

        Raises StoreError where the storage cannot be used.
        """
        if "://" not in self._address and not Path(self._address).is_file():
            return  # nothing was searched
        held = {path.name: path for path in files}
        with _one_line_errors():
            import optuna

            names = optuna.get_all_study_names(self._open())
            for pairing in pairings:
                wanted = ("best_so_far.png", f"heat_map_{slug(pairing.detector)}_auc.png")
                figures = [held[name] for name in wanted if name in held]
                mine = [name for name in names if name.startswith(self._begins(pairing))]
                for name in mine if figures else ():
                    self._attach(optuna.load_study(study_name=name, storage=self._open()), figures)

    def _attach(self, study: optuna.Study, figures: Iterable[Path]) -> None:
        from optuna import artifacts

        self._artifacts.mkdir(parents=True, exist_ok=True)
        store = artifacts.FileSystemArtifactStore(base_path=self._artifacts)
        held = {one.filename: one.artifact_id for one in artifacts.get_all_artifact_meta(study)}
        for path in figures:
            if path.name in held:
                with path.open("rb") as content:
                    store.write(held[path.name], content)
            else:
                artifacts.upload_artifact(
                    artifact_store=store, file_path=str(path), study_or_trial=study
                )

    def _begins(self, pairing: Pairing) -> str:
        """What the names of a pairing's studies begin with."""
        return f"{self._name}: {pairing.name} ("

    def _study(self, trial: Trial, space: Space) -> tuple[optuna.Study, set[tuple[str, int]]]:
        import optuna

        # Optuna refuses other choices of a setting within one study, so another space is another
        # study.
        name = f"{self._begins(trial.pairing)}{space.digest[:6]})"
        if name not in self._studies:
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            study = optuna.create_study(
                storage=self._open(), study_name=name, direction="maximize", load_if_exists=True
            )
            if study.metric_names != [OBJECTIVE]:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names([OBJECTIVE])
            attributes = [t.user_attrs for t in study.get_trials(deepcopy=False)]
            held = {
                (f"{a.get('key')} {a.get('state')}", int(a.get("number", -1))) for a in attributes
            }
            self._studies[name] = study, held
        return self._studies[name]

    def _open(self) -> optuna.storages.BaseStorage:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        if self._storage is None and "://" in self._address:
            self._storage = optuna.storages.RDBStorage(self._address)
        elif self._storage is None:
            Path(self._address).parent.mkdir(parents=True, exist_ok=True)
            self._artifacts.mkdir(parents=True, exist_ok=True)
            self._storage = optuna.storages.JournalStorage(JournalFileBackend(self._address))
        return self._storage


def _frozen(trial: Trial, result: TrialResult, space: Space) -> optuna.trial.FrozenTrial:
    from optuna.trial import create_trial

    from study.search.proposals import distribution

    searched, state = space.searched(trial.params), _state(result)
    curve = {e.epoch + 1: e.val_auc for e in result.history if math.isfinite(e.val_auc)}
    frozen = create_trial(
        state=state,
        value=result.val_auc if state.name == "COMPLETE" else None,
        params=searched,
        distributions={p.name: distribution(p) for p in space.parameters if p.name in searched},
        user_attrs=_attributes(trial, result),
        intermediate_values=curve,
    )
    # Optuna takes the time from the clock; the dashboard's timeline wants when the trial ran.
    assert frozen.datetime_complete is not None
    frozen.datetime_start = frozen.datetime_complete - datetime.timedelta(seconds=result.seconds)
    return frozen


def _state(result: TrialResult) -> TrialState:
    from optuna.trial import TrialState

    if result.state == "failed" or not math.isfinite(result.val_auc):
        return TrialState.FAIL
    return TrialState.PRUNED if result.state == "stopped" else TrialState.COMPLETE


def _attributes(trial: Trial, result: TrialResult) -> dict[str, object]:
    found = {"key": trial.key, "number": trial.number, "state": result.state}
    found |= {"seconds": result.seconds, "best_epoch": result.best_epoch}
    described = {"reason": result.why, "note": result.note, "origin": trial.origin}
    return found | {name: text for name, text in described.items() if text}

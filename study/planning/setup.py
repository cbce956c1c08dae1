"""A study on this machine: every name looked up, every dataset found, every key computed. All
commands start here.

`set_up` does what is cheap and can fail (names, weights files, datasets, splits) before
anything expensive starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from study.core.errors import ConfigError, DataError
from study.core.identity import derive_seed, digest
from study.core.records import (
    NO_DEGRADATION,
    DetectorSpec,
    Geometry,
    Pairing,
    Params,
    Split,
    Trial,
    TrialResult,
)
from study.data.catalog import Catalog, DataConfig, data_root
from study.data.images.degradations import DEGRADATION_VERSION
from study.data.names import split_union
from study.detectors import registry
from study.jobs.cell import CellJob
from study.jobs.trial import TrialJob
from study.jobs.winner import WinnerJob
from study.jobs.workspace import TRAINED_ON, Workspace, open_catalog
from study.planning.selection import select
from study.planning.study import Study
from study.planning.study_file import load_study
from study.planning.warm_start import Starts, find_starts, settled_sources
from study.search.driver import PairingSearch, SearchDriver
from study.search.remembered import remembered
from study.search.spaces import Space, load_space
from study.store.store import Store
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime

TRAINING_VERSION = 2  # raised when a change of the code makes the same trial give another result
SCORING_VERSION = 1  # likewise for scores of the same weights

WINNER = "winner"
PastTrial = Sequence[tuple[Trial, TrialResult]]


@dataclass(frozen=True, kw_only=True)
class SearchHistory:
    """How far a pairing's search has come: its trials that have ended, in trial order, and whether
    its budget is used.
    """

    trials: PastTrial
    complete: bool


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A study with everything resolved. `data_keys`: content of train and val, by training set.
    `starts`: of a warm start.

    specs: of the detectors that are built (an ensemble is not). spaces: of those that are trained.
    """

    study: Study
    workspace: Workspace
    store: Store
    specs: Mapping[str, DetectorSpec]
    spaces: Mapping[str, Space]
    data_keys: Mapping[str, str]
    starts: Starts = field(default_factory=dict)

    def trial(self, pairing: Pairing, number: int, params: Params) -> Trial:
        """Return the trial of `params`; `number` below 0 is winner seed `-1 - number`, which trains
        with a seed of its own.
        """
        seed = derive_seed(self.study.seed, "trial" if number >= 0 else f"winner {-1 - number}")
        key = self._key(
            pairing, params, seed, self.study.run.workers_per_trial if number >= 0 else 1
        )
        return Trial(
            key=key,
            pairing=pairing,
            number=number,
            params=params,
            seed=seed,
            epochs=self.study.budget.epochs,
            origin=self._origin(pairing, number),
            search=self._rules(pairing) if number >= 0 else "",
        )

    def _key(self, pairing: Pairing, params: Params, seed: int, workers: int) -> str:
        """The digest of everything that decides the outcome of a fit."""
        spec = self.specs[pairing.detector]
        return digest(
            "trial",
            TRAINING_VERSION,
            spec,
            registry.entry(spec.name).arguments,
            _train_key(pairing.train_on, self.data_keys[pairing.train_on]),
            Recipe.from_params(params, learner=spec.learner, where=pairing.name),
            seed,
            self.study.budget.epochs,
            self.workspace.threads,
            self.workspace.precision,
            workers,
            *self._balance(pairing.train_on),
        )

    def _balance(self, train_on: str) -> list[str]:
        """What draws of a training set are balanced by, as a part of keys; those of a single
        dataset are balanced by class.
        """
        balance = self.study.data.balance
        return [] if balance == "none" else [balance if len(split_union(train_on)) > 1 else "class"]

    def _origin(self, pairing: Pairing, number: int) -> str:
        starts = self.starts.get(pairing, ())
        if number < 0:
            return ""  # `jobs_with` says what it is
        return (
            "default"
            if number == 0
            else starts[number - 1].origin
            if number <= len(starts)
            else self.study.search.sampler
        )

    def _rules(self, pairing: Pairing) -> str:
        """The digest of all but the results, and the order in which they come, that decides what is
        proposed for a pairing.
        """
        study, space = self.study, self.spaces[pairing.detector]
        default = self._key(
            pairing, space.default(), derive_seed(study.seed, "trial"), study.run.workers_per_trial
        )
        starts = [start.params for start in self.starts.get(pairing, ())]
        return digest(
            "search", default, study.search, study.budget.generation, space.digest, starts
        )

    def trials_of(self, pairing: Pairing) -> int:
        """Return how many trials a pairing has: the budget's, or the points of a grid that is
        smaller.
        """
        budget = self.study.budget.trials
        if self.study.search.sampler != "grid":
            return budget
        from study.search.proposals import grid_size

        return min(budget, grid_size(self.spaces[pairing.detector], self._first(pairing)))

    def epochs_of(self, pairing: Pairing) -> int:
        """Return how many epochs a fit has at most; a logistic regression has one."""
        return 1 if self.specs[pairing.detector].learner == "logistic" else self.study.budget.epochs

    def _first(self, pairing: Pairing) -> tuple[Params, ...]:
        return (
            self.spaces[pairing.detector].default(),
            *(start.params for start in self.starts.get(pairing, ())),
        )

    def trial_job(self, pairing: Pairing, number: int, params: Params) -> TrialJob:
        """Return the job that trains `params`."""
        return TrialJob(
            workspace=self.workspace,
            spec=self.specs[pairing.detector],
            trial=self.trial(pairing, number, params),
            data_key=self.data_keys[pairing.train_on],
            workers=self.study.run.workers_per_trial,
        )

    def search(
        self,
        known: Callable[[TrialJob], TrialResult | None],
        on_result: Callable[[TrialJob, TrialResult], None],
        *,
        trials: int | None = None,
    ) -> SearchDriver[TrialJob]:
        """Return the driver of this study's proposals, which has dealt nothing yet. trials: only
        the first so many.

        `known` is asked of every job; in an asynchronous search, of every trial on record that was
        proposed under the same rules.
        """
        study = self.study
        searches = [
            PairingSearch(
                pairing=p,
                space=self.spaces[p.detector],
                first=self._first(p),
                trials=self.trials_of(p),
                epochs=self.epochs_of(p),
            )
            for p in study.searched()
        ]
        return SearchDriver(
            searches,
            trials=trials or study.budget.trials,
            generation=study.budget.generation,
            study_seed=study.seed,
            make_job=self.trial_job,
            known=known,
            on_result=on_result,
            sampler=study.search.sampler,
            asynchronous=study.search.mode == "async",
            halving=study.search.scheduler == "asha",
            seconds=study.budget.gpu_seconds / self.gpus_per_trial(),
            history=lambda pairing: self._history(pairing, known),
            proposer=remembered(self.workspace.data.cache / "proposals"),
        )

    def gpus_per_trial(self) -> float:
        """Return how many devices a trial holds: GPUs, or slots where there is none."""
        return (self.study.run.gpus_per_trial or 1.0) * self.study.run.workers_per_trial

    def _history(
        self, pairing: Pairing, known: Callable[[TrialJob], TrialResult | None]
    ) -> list[tuple[TrialJob, TrialResult]]:
        """The trials on record that were proposed under these rules and would be the same trials
        today, in the order of record.
        """
        found: dict[int, tuple[TrialJob, TrialResult]] = {}
        for trial, _ in self.store.trials():
            if trial.pairing == pairing and trial.search == self._rules(pairing):
                job = self.trial_job(pairing, trial.number, trial.params)
                result = known(job) if job.trial == trial else None
                if result is not None:
                    found.setdefault(trial.number, (job, result))
        return list(found.values())

    def takes(self, result: TrialResult) -> bool:
        """Tell whether a result on record stands: done, stopped where this study has a scheduler
        that stops, or failed for good.

        A failure that need not happen again (a killed worker, a full disk) does not.
        """
        return (
            result.state == "done"
            or result.permanent
            or (result.state == "stopped" and self.study.search.scheduler == "asha")
        )

    def replay(self) -> dict[Pairing, SearchHistory]:
        """Return, by pairing that is searched, how far this study's search has come in the store.
        Trains nothing.
        """
        halving = self.study.search.scheduler == "asha"
        records = {
            trial.key: result
            for trial, result in self.store.trials()
            if result.state != "stopped" or halving
        }
        history: dict[Pairing, list[tuple[Trial, TrialResult]]] = {
            pairing: [] for pairing in self.study.searched()
        }
        driver = self.search(
            lambda job: records.get(job.trial.key),
            lambda job, result: history[job.trial.pairing].append((job.trial, result)),
        )
        complete = {pairing: driver.has_ended(pairing) for pairing in history}
        return {
            pairing: SearchHistory(
                trials=sorted(trials, key=lambda pair: pair[0].number), complete=complete[pairing]
            )
            for pairing, trials in history.items()
        }

    def winner_jobs(self, pairing: Pairing, searched: SearchHistory) -> list[WinnerJob]:
        """Return the S jobs that retrain a pairing's selected configuration; [] while it has
        none.
        """
        selected = select(searched.trials)
        if selected is None or not searched.complete:
            return []
        trial, _ = selected
        return self.jobs_with(pairing, trial.params, trial.number)

    def jobs_with(
        self, pairing: Pairing, params: Params, winner_trial: int, *, role: str = WINNER
    ) -> list[WinnerJob]:
        """Return the S jobs that train `params` on a pairing with the winners' seeds. The same
        `params` give the same jobs.

        winner_trial: the trial of the pairing's own search that tried them, -1 for none. role: what
        the record calls the result.
        """
        spec = self.specs[pairing.detector]
        # What low-rank matrices moved is merged in the end, and an epoch of theirs cannot be put
        # back.
        keeps = (
            self.study.run.keep_epochs
            and spec.learner == "gradient"
            and params.get("schedule") != "lora"
        )
        trials = [self.trial(pairing, -1 - seed, params) for seed in range(self.study.budget.seeds)]
        return [
            WinnerJob(
                workspace=self.workspace,
                spec=spec,
                trial=replace(trial, origin=f"{role} seed {seed}"),
                data_key=self.data_keys[pairing.train_on],
                winner_seed=seed,
                winner_trial=winner_trial,
                keep_epochs=role == WINNER and keeps,
            )
            for seed, trial in enumerate(trials)
        ]

    def untrained_job(self, pairing: Pairing) -> WinnerJob:
        """Return the job that builds a detector which is not trained. No data and no seed decide
        what it is.
        """
        spec, workspace = self.specs[pairing.detector], self.workspace
        arguments = registry.entry(spec.name).arguments
        key = digest(
            "untrained", TRAINING_VERSION, spec, arguments, workspace.threads, workspace.precision
        )
        trial = Trial(
            key=key, pairing=pairing, number=-1, params={}, seed=0, epochs=0, origin="not trained"
        )
        return WinnerJob(
            workspace=workspace, spec=spec, trial=trial, data_key="", winner_seed=0, winner_trial=-1
        )

    def packs_of(self, dataset: str) -> list[tuple[Split, Geometry]]:
        """Return what the study reads of a dataset: train and val for what is trained on it, test
        where it is tested on.
        """
        trained_on = {member for x in self.study.train_on for member in split_union(x)}
        wanted: list[tuple[Split, Geometry]] = []
        for spec in self.specs.values():
            splits: tuple[Split, ...] = (
                TRAINED_ON if dataset in trained_on and spec.learner != "none" else ()
            )
            splits = (*splits, "test") if dataset in self.study.test_on else splits
            wanted += [(split, spec.geometry) for split in splits]
        return list(dict.fromkeys(wanted))

    def cell_job(self, model: str, test_on: str, degradation: str = NO_DEGRADATION) -> CellJob:
        """Return the job that scores a trained detector on a test set. Raises FirewallError behind
        the firewall.
        """
        test_key = open_catalog(self.workspace.data, firewall=self.workspace.firewall).key(
            test_on, ("test",)
        )
        version = () if degradation == NO_DEGRADATION else (DEGRADATION_VERSION,)
        key = digest(
            "scores",
            SCORING_VERSION,
            model,
            test_on,
            test_key,
            degradation,
            self.workspace.threads,
            *version,
        )
        return CellJob(
            workspace=self.workspace,
            model=model,
            test_on=test_on,
            scores_key=key,
            data_key=test_key,
            degradation=degradation,
        )


def data_config(study: Study, results: Path) -> DataConfig:
    """Return where a study's data come from. Raises DataError where it names a folder that does not
    exist.
    """
    root, url = data_root(study.data.root)
    return DataConfig(
        root=root,
        url=url,
        cache=results.absolute() / "cache",
        max_per_class=study.data.max_per_class or None,
        frames_per_video=study.data.frames_per_video,
        class_folders=dict(study.data.class_folders),
        balance=study.data.balance,
        unify=study.data.unify,
        shuffle_seed=study.seed if study.data.shuffle_labels else None,
    )


def set_up(study: Study, *, results: Path, weights_root: Path | None, firewall: bool) -> Setup:
    """Resolve a study on this machine; `firewall` shuts every test split.

    Raises StudyError of the kind that fits: an unknown dataset or space, missing weights, a folder
    without usable splits.
    """
    results = results.absolute()
    built = [name for name in study.detectors if name not in study.ensembles]
    specs = {
        name: registry.resolve(
            name, options=study.detector.get(name, {}), weights_root=weights_root
        )
        for name in built
    }
    # What the study says of a detector's head is not searched.
    spaces = {
        name: load_space(name).fixed(study.detector.get(name, {}))
        for name in specs
        if specs[name].learner != "none"
    }
    data = data_config(study, results)
    store = Store(results, study.name)
    store.prepare()
    catalog = open_catalog(data, firewall=firewall)
    for name in dict.fromkeys(member for x in study.train_on for member in split_union(x)):
        catalog.dataset(name)
    for name in study.test_on:
        _has_test(catalog, name)
    study = _settled(study, store)
    workspace = Workspace(
        results=results,
        study=study.name,
        data=data,
        weights_root=weights_root,
        threads=study.run.threads,
        precision=study.run.precision,
        firewall=firewall,
    )
    return Setup(
        study=study,
        starts=find_starts(study, spaces, store),
        workspace=workspace,
        store=store,
        specs=specs,
        spaces=spaces,
        data_keys={name: catalog.key(name, TRAINED_ON) for name in study.train_on},
    )


def _train_key(name: str, data_key: str) -> str:
    """Content and order of train and val: a union's images are ordered by their dataset's name."""
    members = sorted(split_union(name))
    return digest("train", data_key, members if len(members) > 1 else [])


def _has_test(catalog: Catalog, name: str) -> None:
    if not catalog.has_test(name):
        raise DataError(
            f"dataset '{name}' has no test split; take it out of test_on, or give it one (see"
            " README, Datasets)"
        )


def _settled(study: Study, store: Store) -> Study:
    """The study with `precision = "auto"` and the warm start settled: as its store was begun with,
    else by this machine.
    """
    precision = study.run.precision
    if precision == "auto" and store.study_file.is_file():
        precision = load_study(str(store.study_file)).run.precision
    try:
        runtime = TorchRuntime.resolve(threads=study.run.threads, precision=precision)
    except ConfigError as error:
        if study.run.precision != "auto" or precision == "auto":
            raise
        raise ConfigError(
            f"the study in '{store.folder}' was begun in {precision} ({error}); go on with it on"
            " such a machine, or begin another with --set name=..."
        ) from None
    sources = settled_sources(study, store)
    return replace(
        study,
        run=replace(study.run, precision=runtime.precision),
        search=replace(study.search, warm_start=sources),
    )

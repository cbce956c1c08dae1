"""A study on this machine: every name looked up, every dataset found, every key computed. All
commands start here.

`open_study` does what is cheap and can fail (names, weights files, datasets, splits) before
anything expensive starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from study.core.errors import ConfigError, DataError, located
from study.core.paths import given_path
from study.core.records import DetectorSpec, Pairing
from study.core.validation import check_keys, read_toml
from study.data.catalog import Catalog, DataConfig, data_root
from study.data.common_groups import have_common_group
from study.data.file_index import Progress, quiet
from study.data.images.faces import check_faces
from study.data.names import parse_name, split_union
from study.detectors import registry
from study.jobs.workspace import TRAINED_ON, Workspace, open_catalog
from study.planning.jobs import Jobs
from study.planning.keys import Keys
from study.planning.study import Study
from study.planning.warm_start import Starts, find_starts, settled_sources
from study.search.driver import PairingSearch
from study.search.proposals import grid_size
from study.search.spaces import WIDE, Space, load_space
from study.store.store import Store
from study.training.runtime import TorchRuntime


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study with everything resolved. Whoever needs one part of it takes that part.

    searches: what is searched, by pairing. starts: what a warm start tries first. repeat: its
    number, 0 for the study itself (repeats.py).
    """

    study: Study
    workspace: Workspace
    store: Store
    keys: Keys
    searches: Mapping[Pairing, PairingSearch]
    starts: Starts
    repeat: int = 0

    @property
    def name(self) -> str:
        """What a repeat is called, "" where there is one."""
        return f"{self.study.repeat_word} {self.repeat}" if self.study.repeats > 1 else ""

    @property
    def jobs(self) -> Jobs:
        """What there is to train and to score."""
        return Jobs(
            workspace=self.workspace, keys=self.keys, searches=self.searches, starts=self.starts
        )


def open_study(
    study: Study,
    *,
    results: Path,
    weights_root: Path | None,
    firewall: bool,
    progress: Progress = quiet,
) -> OpenStudy:
    """Resolve a study on this machine; `firewall` shuts every test split. progress: told of long
    work on its data.

    Raises StudyError of the kind that fits: an unknown dataset or space, missing weights, a folder
    without usable splits.
    """
    results = results.absolute()
    specs = {
        name: registry.resolve(name, options=study.options_of(name), weights_root=weights_root)
        for name in study.detectors
        if name not in study.ensembles
    }
    spaces = spaces_of(study)
    specs |= {
        name: registry.with_layers(specs[name])
        for name, space in spaces.items()
        if "layer" in space.names() or space.constants.get("layer")
    }
    data = data_config(study, results)
    store = Store(results, study.name)
    store.prepare()
    catalog = open_catalog(data, firewall=firewall)
    catalog.progress = progress
    look_up_data(study, catalog)
    if not firewall:  # behind it nothing depends on how a test set is split
        data = replace(data, whole=_tested_whole(study, catalog))
        catalog = open_catalog(data, firewall=firewall)
        catalog.progress = progress
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
    starts = find_starts(study, spaces, store)
    keys = keys_of(study, specs, catalog)
    return OpenStudy(
        study=study,
        workspace=workspace,
        store=store,
        keys=keys,
        searches=searches_of(study, specs, spaces, starts, keys.epochs),
        starts=starts,
    )


def keys_of(study: Study, specs: Mapping[str, DetectorSpec], catalog: Catalog) -> Keys:
    """Return the keys of a study on the data of a catalog."""
    images = {name: sum(catalog.dataset(name).counts()["train"]) for name in study.members()}
    return Keys(
        study=study,
        specs=specs,
        data={name: catalog.key(name, TRAINED_ON) for name in study.train_on},
        epochs={
            name: study.budget.epochs_on(sum(images[member] for member in split_union(name)))
            for name in study.train_on
        },
    )


def spaces_of(study: Study) -> dict[str, Space]:
    """Return what is searched of each trained detector. What the study says of its head is not, nor
    a setting that it gives.
    """
    detectors = dict.fromkeys(pairing.detector for pairing in study.searched())
    opened, ranges = study.search.space, study.search.ranges
    known = {name for detector in detectors for name in load_space(detector, WIDE).names()}
    for where, names in {"search.ranges": ranges, "search.space": opened}.items():
        if not isinstance(names, str):
            check_keys(names, sorted(known), noun="setting", where=where)
    spaces = {}
    for name in detectors:
        space = load_space(name, opened).fixed(study.options_of(name))
        with located(f"[detector.{name}]"):
            space = space.with_given(study.given_of(name))
        with located(f"search.ranges: {name}"):
            space = space.with_ranges(ranges)
        until_plateau = study.budget.epochs == "auto" and registry.learner_of(name) == "gradient"
        spaces[name] = space.with_constants({"lr_schedule": "plateau"}) if until_plateau else space
    return spaces


def data_config(study: Study, results: Path) -> DataConfig:
    """Return where a study's data come from. Raises DataError where it names a folder or manifest
    that does not exist, ConfigError for the manifest of a dataset that the study has not, and
    where faces are to be found and cannot be.
    """
    if study.data.face_step:
        check_faces(study.data.face_step)
    root, url = data_root(study.data.root)
    named = {parse_name(name).base for name in study.datasets()}
    check_keys(study.data.manifests, sorted(named), noun="dataset", where="data.manifests")
    manifests = {n: given_path(path).absolute() for n, path in study.data.manifests.items()}
    for name, path in manifests.items():
        if not path.is_file():
            raise DataError(f"data.manifests: {name} = '{path}' is no file")
    return DataConfig(
        root=root,
        url=url,
        cache=results.absolute() / "cache",
        max_per_class=study.data.max_per_class or None,
        frames_per_video=study.data.frames_per_video,
        class_folders=dict(study.data.class_folders),
        balance=study.data.balance,
        faces=study.data.face_step,
        unify=study.data.unify,
        shuffle_seed=study.seed if study.data.shuffle_labels else None,
        whole=study.only_tested() if study.data.test_whole else (),
        manifests=manifests,
    )


def _tested_whole(study: Study, catalog: Catalog) -> tuple[str, ...]:
    """Return which test sets are tested whole: those that share no group with a training set."""
    trained = [catalog.dataset(name).without("test") for name in study.members()]
    return tuple(
        name
        for name in catalog.config.whole
        if not any(have_common_group(catalog.dataset(name), one) for one in trained)
    )


def searches_of(
    study: Study,
    specs: Mapping[str, DetectorSpec],
    spaces: Mapping[str, Space],
    starts: Starts,
    epochs: Mapping[str, int],
) -> dict[Pairing, PairingSearch]:
    """Return what of each pairing is searched. A grid that is smaller than the budget has fewer
    trials, and a recipe that is given whole has one. A logistic regression has one epoch. epochs:
    by training set.
    """
    searches = {}
    for pairing in study.searched():
        space, trials = spaces[pairing.detector], study.budget.trials
        first = [space.default(), *(start.params for start in starts.get(pairing, ()))]
        if study.search.sampler == "grid":
            trials = min(trials, grid_size(space, first))
        elif not space.names():
            trials = 1
        else:
            first += [params for params in space.portfolio() if params not in first]
        is_logistic = specs[pairing.detector].learner == "logistic"
        searches[pairing] = PairingSearch(
            pairing=pairing,
            space=space,
            first=tuple(first),
            trials=trials,
            epochs=1 if is_logistic else epochs[pairing.train_on],
        )
    return searches


def look_up_data(study: Study, catalog: Catalog) -> None:
    """Look up every dataset. Raises DataError where one is missing, or a test set has no test
    split.
    """
    for name in study.members():
        catalog.dataset(name)
    for name in study.test_on:
        if not catalog.has_test(name):
            raise DataError(
                f"dataset '{name}' has no test split; take it out of test_on, or give it one (see"
                " docs/data.md)"
            )


def _settled(study: Study, store: Store) -> Study:
    """The study with `precision = "auto"` and the warm start settled: as its store was begun with,
    else by this machine.
    """
    precision = study.run.precision
    if precision == "auto" and store.study_file.is_file():
        # this key alone: a detector of that run may be gone by now
        with located(str(store.study_file)):
            ran = read_toml(store.study_file.read_text(encoding="utf-8"))
        precision = ran.get("run", {}).get("precision", precision)
    try:
        runtime = TorchRuntime.resolve(threads=study.run.threads, precision=precision)
    except ConfigError as error:
        if study.run.precision != "auto" or precision == "auto":
            raise
        raise ConfigError(
            f"the study in '{store.folder}' was begun in {precision} ({error}); go on with it on"
            " such a machine, or begin another with --set name=..."
        ) from None
    return replace(
        study,
        run=replace(study.run, precision=runtime.precision),
        search=replace(study.search, warm_start=settled_sources(study, store)),
    )

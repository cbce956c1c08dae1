"""The outlook: what of a study is done, what is left, how large it is, and how long the rest will
take.

Time comes from trials that were measured here; before there are any, from a few steps on random
images (study/jobs/speed.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from study.core.records import UNTRAINED, DetectorSpec, Geometry, Pairing, Params, Split
from study.data.catalog import Catalog, DatasetSummary
from study.data.file_index import Progress, quiet
from study.data.names import split_union
from study.detectors import registry
from study.detectors.entry import HEAD_FIRST, LAYERS
from study.detectors.geometries import crops_of, cut_of
from study.jobs.speed import seconds_per_image
from study.jobs.workspace import TRAINED_ON, frozen_body, frozen_by, runtime_of
from study.planning.cells import PlannedCell, plan_cells
from study.planning.in_process import JOB_SECONDS, LOGISTIC_SECONDS
from study.planning.jobs import Jobs
from study.planning.open_study import OpenStudy
from study.planning.searches import replay
from study.planning.selection import SearchHistory, Trials
from study.planning.study import Study
from study.planning.variants import fits_of, variant_jobs

LOOK_SHARE = 1 / 3  # of a training step: forward alone


@dataclass(frozen=True, kw_only=True)
class PairingOutlook:
    """One pairing. Seconds are of one slot, for all of its fits that are left; NaN before anything
    like it was timed.

    draws: models on draws of its training set; drawn: those of them that are trained.

    seconds_left: if the others take as long as those that were measured. seconds_at_most: if none
    ends before its epochs are used, by the seconds per epoch of trial 0, or if all take as long as
    the longest that was measured, if that is more: >= seconds_left.
    """

    pairing: Pairing
    trials: int = 0
    done: int = 0
    failed: int = 0
    winners: int
    trained: int
    draws: int = 0
    drawn: int = 0
    val_auc: float = math.nan
    seconds_left: float = 0.0
    seconds_at_most: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A study's size and state. Bytes: `packs_bytes` of all packs, `packs_to_make` of those that
    are missing; likewise of the features of frozen bodies, at most. models_bytes: of the winners
    and models of draws that exist; models_at_most: of all of them. guessed: the detectors whose
    time is known from a few steps alone.
    """

    pairings: tuple[PairingOutlook, ...]
    cells: tuple[PlannedCell, ...]
    datasets: tuple[DatasetSummary, ...]
    packs_bytes: int
    packs_to_make: int
    features_bytes: int
    features_to_make: int
    models_bytes: int
    models_at_most: int
    guessed: tuple[str, ...] = ()

    @property
    def seconds_left(self) -> float:
        """Seconds of one slot for everything that is left to train; NaN where a pairing's are
        unknown.
        """
        return sum(p.seconds_left for p in self.pairings)

    @property
    def seconds_at_most(self) -> float:
        """Likewise, if every fit uses all its epochs or takes as long as the longest."""
        return sum(p.seconds_at_most for p in self.pairings)


def look(opened: OpenStudy, *, guess: bool = True, progress: Progress = quiet) -> Outlook:
    """Return the outlook of a study whose datasets are at hand. Trains nothing, scores nothing,
    builds no pack. guess: whether to measure the detectors that no trial has timed.
    """
    history = replay(opened)
    catalog = opened.workspace.catalog
    datasets = tuple(catalog.describe(name) for name in opened.study.datasets())
    made, missing = _packs(opened.study, opened.keys.specs, catalog, datasets)
    kept, to_keep = _features(opened, datasets)
    cells = tuple(plan_cells(opened, history))
    speeds = _speeds(opened, history, progress) if guess else {}
    searched = {one.pairing: one for one in look_at_training(opened.jobs, history, speeds)}
    kinds = ("models/*/detector.safetensors", "draws/*.safetensors")
    models = [file for kind in kinds for file in opened.store.folder.glob(kind)]
    pairings = tuple(
        searched.get(pairing) or _unsearched(opened.study, pairing, cells)
        for pairing in opened.study.pairings()
    )
    return Outlook(
        pairings=pairings,
        cells=cells,
        datasets=datasets,
        packs_bytes=made + missing,
        packs_to_make=missing,
        features_bytes=kept + to_keep,
        features_to_make=to_keep,
        models_bytes=sum(file.stat().st_size for file in models),
        models_at_most=_models(opened, pairings),
        guessed=tuple(speeds),
    )


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """Seconds of an image in an epoch, or of one look at it where the body is frozen. crops: of an
    image of val, of which the first counts as nothing beside training.
    """

    seconds: float
    is_frozen: bool
    crops: int = 1

    def of_fit(self, images: int, val: int, epochs: int, fits: float) -> float:
        """Seconds of one of `fits`; those on a frozen body share their looks. images, val: how
        many.
        """
        if self.is_frozen:
            return LOGISTIC_SECONDS + self.seconds * images / max(1.0, fits)
        further = (self.crops - 1) * val * LOOK_SHARE
        return JOB_SECONDS + self.seconds * (images + further) * epochs


Speeds = Mapping[str, _Speed]  # by detector


def _speeds(
    opened: OpenStudy, history: Mapping[Pairing, SearchHistory], progress: Progress
) -> Speeds:
    """Measure the detectors that no trial has timed."""
    timed = {
        pairing.detector
        for pairing, searched in history.items()
        if not math.isnan(_seconds_per_fit(searched.trials))
    }
    todo = {p.detector: p for p in history if p.detector not in timed}
    found: dict[str, _Speed] = {}
    for name, pairing in todo.items():
        progress("timing detectors", len(found), len(todo))
        spec = opened.keys.specs[name]
        frozen = bool(frozen_by(spec, opened.jobs.searches[pairing].space.default()))
        runtime = runtime_of(opened.workspace)
        seconds = seconds_per_image(spec, runtime, is_trained=not frozen)
        found[name] = _Speed(seconds=seconds, is_frozen=frozen, crops=crops_of(spec))
    if todo:
        progress("timing detectors", len(todo), len(todo))
    return found


def of_all(each: Sequence[Outlook], *, splits: bool) -> Outlook:
    """Return the outlook of a study with all its repeats, in which pairings stand once a repeat.
    splits: whether each has splits, and so packs and features, of its own.
    """
    first, sized = each[0], each if splits else each[:1]
    return replace(
        first,
        pairings=tuple(pairing for one in each for pairing in one.pairings),
        cells=tuple(cell for one in each for cell in one.cells),
        guessed=tuple(dict.fromkeys(name for one in each for name in one.guessed)),
        packs_bytes=sum(one.packs_bytes for one in sized),
        packs_to_make=sum(one.packs_to_make for one in sized),
        features_bytes=sum(one.features_bytes for one in sized),
        features_to_make=sum(one.features_to_make for one in sized),
        models_bytes=sum(one.models_bytes for one in each),
        models_at_most=sum(one.models_at_most for one in each),
    )


def _unsearched(study: Study, pairing: Pairing, cells: Sequence[PlannedCell]) -> PairingOutlook:
    """A detector that is not trained, or an ensemble: no trials, and winners that take no
    training.
    """
    mine = (cell.winner for cell in cells if cell.cell.pairing == pairing)
    trained = len({winner.key for winner in mine if winner is not None})
    return PairingOutlook(pairing=pairing, winners=study.seeds_of(pairing), trained=trained)


def look_at_training(
    jobs: Jobs, history: Mapping[Pairing, SearchHistory], speeds: Speeds | None = None
) -> tuple[PairingOutlook, ...]:
    """Return the outlook of the trials and winners of every pairing that is searched; no test split
    is looked at. speeds: of detectors that no trial has timed.
    """
    store = jobs.workspace.store
    further = Counter(
        job.trial.pairing
        for job in variant_jobs(jobs, history, store.failures())
        if not store.has_model(job.trial.key)
    )
    return tuple(
        _pairing(jobs, pairing, history, further[pairing], (speeds or {}).get(pairing.detector))
        for pairing in history
    )


def _pairing(
    jobs: Jobs,
    pairing: Pairing,
    history: Mapping[Pairing, SearchHistory],
    further: int,
    speed: _Speed | None,
) -> PairingOutlook:
    """further: how many other configurations are still to be trained with the winners' seeds.
    speed: of a detector that no trial has timed.
    """
    searched, search, seeds = history[pairing], jobs.searches[pairing], jobs.study.budget.seeds
    winners, catalog = jobs.winners(pairing, searched), jobs.workspace.catalog
    trained = sum(jobs.workspace.store.has_model(job.trial.key) for job in winners)
    trials = len(searched.trials) if searched.complete else search.trials
    left = trials - len(searched.trials)
    others = 0 if jobs.keys.is_repeat else fits_of(jobs.study, pairing)
    fits = seeds - trained + (further if winners else others)
    drawn = _draws(jobs, pairing, searched)
    states = Counter(result.state for _, result in searched.trials)

    def seconds(of_fit: Callable[[Trials], float]) -> float:
        each = _estimate(catalog, pairing, history, of_fit)
        if speed is not None:
            images, val = (_images(catalog, pairing, split) for split in ("train", "val"))
            each = speed.of_fit(images, val, search.epochs, left + fits + drawn.fits)
        return _of_all(jobs.study, searched, left, fits + drawn.fits, each)

    return PairingOutlook(
        pairing=pairing,
        trials=trials,
        done=len(searched.trials) - states["failed"],
        failed=states["failed"],
        winners=seeds,
        trained=trained,
        draws=drawn.models,
        drawn=drawn.done,
        val_auc=searched.best[1].val_auc if searched.best else math.nan,
        seconds_left=seconds(_seconds_per_fit),
        seconds_at_most=seconds(lambda trials: _longest_fit(trials, search.epochs)),
    )


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """Models on draws of a training set, those that are done, and how many whole fits are left. A
    fit on a half is half a fit.
    """

    models: int
    done: int
    fits: float


def _draws(jobs: Jobs, pairing: Pairing, searched: SearchHistory) -> _Draws:
    """Count the models on draws; before there is a winner, as if it trained what it can train."""
    planned = jobs.draws(pairing, searched)
    if not planned:
        heads = jobs.keys.specs[pairing.detector].learner == "logistic"
        pairs, nulls = jobs.replicates(pairing), jobs.null_models(heads=heads)
        return _Draws(models=2 * pairs + nulls, done=0, fits=pairs + nulls)
    left = [draw for job in planned if not job.is_done() for draw in job.draws]
    models = sum(len(job.draws) for job in planned)
    shares = (0.5 if draw.kind == "half" else 1.0 for draw in left)
    return _Draws(models=models, done=models - len(left), fits=sum(shares))


def _of_all(
    study: Study, searched: SearchHistory, trials: int, winners: float, each: float
) -> float:
    """Seconds of so many trials and winners of `each` seconds; a limit of device time ends the
    trials, the last one in full.
    """
    limit = study.budget.gpu_seconds / study.run.devices_per_trial
    spent = sum(result.seconds for _, result in searched.trials)
    search = trials * each if trials else 0.0
    if limit and trials:
        search = min(search, max(0.0, limit - spent) + each)
    return search + (winners * each if winners else 0.0)


def _estimate(
    catalog: Catalog,
    pairing: Pairing,
    history: Mapping[Pairing, SearchHistory],
    of_fit: Callable[[Trials], float],
) -> float:
    """Seconds of one fit by this pairing's trials; else by the same detector's elsewhere, in
    proportion to the training images.
    """
    own = of_fit(history[pairing].trials)
    if not math.isnan(own):
        return own
    others = [
        of_fit(searched.trials) / _images(catalog, other, "train")
        for other, searched in history.items()
        if other.detector == pairing.detector
    ]
    rates = [rate for rate in others if not math.isnan(rate)]
    return sum(rates) / len(rates) * _images(catalog, pairing, "train") if rates else math.nan


def _seconds_per_fit(trials: Trials) -> float:
    """Mean seconds of the trials that were not stopped; NaN where there are none."""
    seconds = [result.seconds for _, result in trials if result.state == "done"]
    return sum(seconds) / len(seconds) if seconds else math.nan


def _longest_fit(trials: Trials, epochs: int) -> float:
    """Seconds of a fit that uses all its epochs, by those per epoch of the first trial that was
    done: trial 0 unless it failed.

    No less than the longest trial took: others have larger configurations, and what a fit does once
    stands in no epoch.
    """
    done = [result for _, result in trials if result.state == "done"]
    if not done:
        return math.nan
    full = [result.seconds / len(result.history) * epochs for result in done if result.history]
    return max([*full[:1], *(result.seconds for result in done)])


def _images(catalog: Catalog, pairing: Pairing, split: Split) -> int:
    members = split_union(pairing.train_on)
    return sum(catalog.describe(name).images(split) for name in members)


def packs_of(
    study: Study, specs: Mapping[str, DetectorSpec], dataset: str
) -> list[tuple[Split, Geometry]]:
    """Return what a study reads of a dataset: train and val for what is trained on it, test where
    it is tested on.
    """
    wanted: list[tuple[Split, Geometry]] = []
    for spec in specs.values():
        trains = dataset in study.members() and spec.learner not in UNTRAINED
        splits: list[Split] = list(TRAINED_ON) if trains else []
        splits += ["test"] if dataset in study.test_on else []
        wanted += [(split, spec.geometry) for split in splits]
    return list(dict.fromkeys(wanted))


def _packs(
    study: Study,
    specs: Mapping[str, DetectorSpec],
    catalog: Catalog,
    datasets: Sequence[DatasetSummary],
) -> tuple[int, int]:
    """Bytes of the packs that exist and of those still to make; detectors of one geometry share
    theirs.
    """
    made = missing = 0
    for dataset in datasets:
        for split, geometry in packs_of(study, specs, dataset.name):
            size = dataset.images(split) * geometry.size_px**2 * 3
            packed = catalog.packed(dataset.name, split, geometry)
            made, missing = made + size * packed, missing + size * (not packed)
    return made, missing


def _features(opened: OpenStudy, datasets: Sequence[DatasetSummary]) -> tuple[int, int]:
    """Bytes of the features that exist and of those still to make, if every detector that can be
    trained by its head alone is: straight, and mirrored where it trains by gradient.
    """
    study, workspace = opened.study, opened.workspace
    wanted: dict[tuple[str, str, bool], tuple[int, bool]] = {}
    for dataset in datasets:
        for spec in opened.keys.specs.values():
            views = _views(spec)
            looks = crops_of(spec) * int(spec.options.get(LAYERS, 1))
            # a schedule that goes on to train the body keeps its head phase's features in float32
            schedules = registry.schedules_of(spec.name)
            begun: list[Params] = [{"schedule": one} for one in HEAD_FIRST if one in schedules]
            bodies = [
                body
                for params in (begun if spec.learner == "gradient" else [{}])
                if (body := frozen_body(workspace, spec, partial(registry.create, spec, 0), params))
            ]
            if not bodies or not views:
                continue
            for split, geometry in packs_of(study, {spec.name: spec}, dataset.name):
                pack = workspace.catalog.pack_key(dataset.name, split, geometry)
                cut = cut_of(spec, registry.entry(spec.name))
                size_px = cut.size_px if cut else geometry.size_px
                width = registry.n_features(spec.name, size_px)
                flips = views if split == "train" else (False,)
                for body, flip in product(bodies, flips):
                    has = body.store.has(body, pack, runtime_of(workspace), flip=flip)
                    size = dataset.images(split) * width * looks * 4
                    wanted[body.key, pack, flip] = size, has
    kept = sum(size for size, has in wanted.values() if has)
    return kept, sum(size for size, has in wanted.values() if not has)


def _views(spec: DetectorSpec) -> tuple[bool, ...]:
    """The views, straight and mirrored, whose features a detector's configurations may ask for."""
    if spec.learner == "gradient":
        schedules = set(registry.entry(spec.name).schedules)
        return (False, True) if schedules & set(HEAD_FIRST) else ()
    return (False,)


def _models(opened: OpenStudy, pairings: Sequence[PairingOutlook]) -> int:
    """Bytes of all winners, of other configurations with their seeds, and of models on draws of the
    training set, which keep what training changes. At most: an other configuration may be the
    winner's.
    """
    searched, total = opened.jobs.searches, 0
    sizes = {name: _sizes(spec) for name, spec in opened.keys.specs.items()}
    for one in pairings:
        if one.pairing.detector not in sizes:  # an ensemble, which has no weights of its own
            continue
        whole, head = sizes[one.pairing.detector]
        total += whole * one.winners
        if search := searched.get(one.pairing):
            frozen = frozen_by(opened.keys.specs[one.pairing.detector], search.space.default())
            total += whole * fits_of(opened.study, one.pairing)
            total += (head if frozen else whole) * one.draws
    return total


def _sizes(spec: DetectorSpec) -> tuple[int, int]:
    """Bytes of a detector's tensors, and of its head's alone."""
    made = registry.create(spec, 0)
    whole, head = (
        sum(one.numel() * one.element_size() for one in part.state_dict().values())
        for part in (made, made.head)
    )
    return whole, head

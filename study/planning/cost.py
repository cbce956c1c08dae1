"""The outlook: what of a study is done, what is left, how large it is, and how long the rest will
take.

Time comes from trials that were measured here; before there are any it is unknown, and
said to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.core.records import Pairing
from study.data.catalog import DatasetSummary
from study.data.names import split_union
from study.jobs.workspace import open_catalog
from study.planning.cells import PlannedCell, plan_cells
from study.planning.selection import select
from study.planning.setup import PastTrial, SearchHistory, Setup
from study.planning.variants import fits_of, variant_jobs


@dataclass(frozen=True, kw_only=True)
class PairingOutlook:
    """One pairing. Seconds are of one slot, for all of its fits that are left; NaN before anything
    like it was timed.

    seconds_left: if the others take as long as those that were measured. seconds_at_most: if none
    ends before its epochs are used, by the seconds per epoch of trial 0, or if all take as long as
    the longest that was measured, if that is more: >= seconds_left.
    """

    pairing: Pairing
    trials: int
    done: int
    failed: int
    winners: int
    trained: int
    val_auc: float
    seconds_left: float
    seconds_at_most: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A study's size and state. Bytes: `packs_bytes` of all packs, `packs_to_make` of those that
    are missing.
    """

    pairings: tuple[PairingOutlook, ...]
    cells: tuple[PlannedCell, ...]
    datasets: tuple[DatasetSummary, ...]
    packs_bytes: int
    packs_to_make: int
    models_bytes: int

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


def look(setup: Setup) -> Outlook:
    """Return the outlook of a study whose datasets are at hand. Trains nothing, scores nothing,
    builds no pack.
    """
    history = setup.replay()
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    names = dict.fromkeys(
        member for x in (*setup.study.train_on, *setup.study.test_on) for member in split_union(x)
    )
    datasets = tuple(catalog.describe(name) for name in names)
    made, missing = _packs(setup, datasets)
    cells = tuple(plan_cells(setup, history))
    searched = {outlook.pairing: outlook for outlook in look_at_training(setup, history)}
    return Outlook(
        pairings=tuple(
            searched.get(pairing) or _unsearched(setup, pairing, cells)
            for pairing in setup.study.pairings()
        ),
        cells=cells,
        datasets=datasets,
        packs_bytes=made + missing,
        packs_to_make=missing,
        models_bytes=sum(
            f.stat().st_size for f in setup.store.folder.glob("models/*/detector.safetensors")
        ),
    )


def look_at_training(
    setup: Setup, history: dict[Pairing, SearchHistory]
) -> tuple[PairingOutlook, ...]:
    """Return the outlook of the trials and winners of every pairing that is searched; no test split
    is looked at.
    """
    return tuple(_pairing(setup, pairing, history) for pairing in history)


def _pairing(
    setup: Setup, pairing: Pairing, history: dict[Pairing, SearchHistory]
) -> PairingOutlook:
    searched = history[pairing]
    jobs = setup.winner_jobs(pairing, searched)
    trained = sum(setup.store.has_model(job.trial.key) for job in jobs)
    selected = select(searched.trials)
    trials = len(searched.trials) if searched.complete else setup.trials_of(pairing)
    fits, winners = trials - len(searched.trials), setup.study.budget.seeds - trained
    further = _further(setup, pairing, history) if jobs else fits_of(setup, pairing)
    states = [result.state for _, result in searched.trials]
    return PairingOutlook(
        pairing=pairing,
        trials=trials,
        done=len(states) - states.count("failed"),
        failed=states.count("failed"),
        winners=setup.study.budget.seeds,
        trained=trained,
        val_auc=selected[1].val_auc if selected else math.nan,
        seconds_left=_of_all(
            setup,
            searched,
            fits,
            winners + further,
            _estimate(setup, pairing, history, _seconds_per_fit),
        ),
        seconds_at_most=_of_all(
            setup,
            searched,
            fits,
            winners + further,
            _estimate(setup, pairing, history, _longest_fit),
        ),
    )


def _further(setup: Setup, pairing: Pairing, history: dict[Pairing, SearchHistory]) -> int:
    """How many other configurations are still to be trained with the winners' seeds."""
    jobs = [job for job in variant_jobs(setup, history) if job.trial.pairing == pairing]
    return sum(not setup.store.has_model(job.trial.key) for job in jobs)


def _of_all(setup: Setup, searched: SearchHistory, trials: int, winners: int, each: float) -> float:
    """Seconds of so many trials and winners of `each` seconds; a limit of device time ends the
    trials, the last one in full.
    """
    limit = setup.study.budget.gpu_seconds / setup.gpus_per_trial()
    spent = sum(result.seconds for _, result in searched.trials)
    search = trials * each if trials else 0.0
    if limit and trials:
        search = min(search, max(0.0, limit - spent) + each)
    return search + (winners * each if winners else 0.0)


def _unsearched(setup: Setup, pairing: Pairing, cells: Sequence[PlannedCell]) -> PairingOutlook:
    """A detector that is not trained, or an ensemble: no trials, and winners that take no
    training.
    """
    return PairingOutlook(
        pairing=pairing,
        trials=0,
        done=0,
        failed=0,
        winners=setup.study.seeds_of(pairing),
        trained=len(
            {
                cell.winner.key
                for cell in cells
                if cell.cell.pairing == pairing and cell.winner is not None
            }
        ),
        val_auc=math.nan,
        seconds_left=0.0,
        seconds_at_most=0.0,
    )


Seconds = Callable[[Setup, Pairing, PastTrial], float]


def _estimate(
    setup: Setup, pairing: Pairing, history: dict[Pairing, SearchHistory], seconds: Seconds
) -> float:
    """Seconds of one fit by this pairing's trials; else by the same detector's elsewhere, in
    proportion to the training images.
    """
    own = seconds(setup, pairing, history[pairing].trials)
    if not math.isnan(own):
        return own
    others = {
        o: seconds(setup, o, s.trials) / _train_images(setup, o)
        for o, s in history.items()
        if o.detector == pairing.detector
    }
    rates = [rate for rate in others.values() if not math.isnan(rate)]
    return sum(rates) / len(rates) * _train_images(setup, pairing) if rates else math.nan


def _seconds_per_fit(setup: Setup, pairing: Pairing, trials: PastTrial) -> float:
    """Mean seconds of the trials that were not stopped; NaN where there are none."""
    seconds = [result.seconds for _, result in trials if result.state == "done"]
    return sum(seconds) / len(seconds) if seconds else math.nan


def _longest_fit(setup: Setup, pairing: Pairing, trials: PastTrial) -> float:
    """Seconds of a fit that uses all its epochs, by those per epoch of the first trial that was
    done: trial 0 unless it failed.

    No less than the longest trial took: others have larger configurations, and what a fit does once
    stands in no epoch.
    """
    done = [result for _, result in trials if result.state == "done"]
    if not done:
        return math.nan
    full = [
        result.seconds / len(result.history) * setup.epochs_of(pairing)
        for result in done
        if result.history
    ]
    return max([*full[:1], *(result.seconds for result in done)])


def _train_images(setup: Setup, pairing: Pairing) -> int:
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    return sum(catalog.describe(name).images("train") for name in split_union(pairing.train_on))


def _packs(setup: Setup, datasets: Sequence[DatasetSummary]) -> tuple[int, int]:
    """Bytes of the packs that exist and of those still to make; detectors of one geometry share
    theirs.
    """
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    made = missing = 0
    for dataset in datasets:
        for split, geometry in setup.packs_of(dataset.name):
            size = dataset.images(split) * geometry.size_px**2 * 3
            packed = catalog.packed(dataset.name, split, geometry)
            made, missing = made + size * packed, missing + size * (not packed)
    return made, missing

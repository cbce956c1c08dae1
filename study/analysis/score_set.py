"""The scores of a study, opened once: every file of scores is read once, and everything that is
derived takes its logits from here.

The columns that scorings of the same images share (sample ids, groups, units, methods, labels) are
held once. Three views serve all analyses: the images that several scorings have in common, their
mean logit, and the images that training has not seen.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from threading import Lock
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.overlap_groups import Identities, Images, Names, identities_of, own_names
from study.core.errors import ScoreError
from study.core.identity import derive_seed
from study.core.records import Cell, Draw, DrawKind, DrawScores, Pairing, Scores, TrainedDetector
from study.data.names import split_union
from study.data.subgroups import Subgroups, subgroups_of
from study.jobs.draws import DrawCellJob
from study.jobs.ensemble import WEIGHT
from study.planning.cells import PlannedCell, test_content
from study.planning.open_study import OpenStudy
from study.statistics.metrics import auc
from study.statistics.ranking import Floats, Ints

T = TypeVar("T")
DrawnFile = tuple[tuple[Draw, ...], DrawScores]  # some draws, and the logits of their models
Blends = Mapping[Pairing, Mapping[str, float]]  # ensembles: member -> weight of its logit
KEPT_BYTES = 1 << 29  # of what is derived of scores and kept, mostly what halves say
SHARED = ("sample_id", "group", "unit", "method", "label")  # the columns that scorings share


@dataclass(frozen=True, kw_only=True)
class Aligned(Images):
    """S scorings of the same N images of a test set: logits (S, N), float64.

    leaked: how many images of the test set leak from training. They are left out, unless a class is
    gone without them (`kept`).
    """

    logits: Floats
    leaked: int = 0
    kept: bool = False

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.label)

    @property
    def has_both_classes(self) -> bool:
        """Whether there are reals and fakes."""
        return len(np.unique(self.label)) == 2

    @property
    def aucs(self) -> list[float]:
        """The AUC of each scoring, in [0, 1]; NaN where a class is missing."""
        return [auc(self.label, logit) for logit in self.logits]

    def mean_logit(self, rows: Sequence[int] | slice = slice(None)) -> Floats:
        """Return the mean logit (N,) of the scorings at `rows`."""
        return np.asarray(np.mean(self.logits[rows], axis=0))

    def leak_free(self, leaked: Collection[str]) -> Aligned:
        """Return the same without the images of those ids, or with them where a class is gone."""
        stays = ~np.isin(self.sample_id, np.array(sorted(leaked), dtype=np.str_))
        left = replace(
            self,
            sample_id=self.sample_id[stays],
            group=self.group[stays],
            label=self.label[stays],
            logits=np.ascontiguousarray(self.logits[:, stays]),
            leaked=len(self) - int(stays.sum()),
        )
        if left.leaked and not left.has_both_classes:
            return replace(self, leaked=left.leaked, kept=True)
        return left


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The models of a pairing that are trained on R draws of its training set, scored on N images.

    numbers: (R,) of the draws, which are the same draws for every detector and training set.
    logits: (R, 2, N) of pairs of halves, (R, 1, N) of permutations; float64.
    """

    numbers: tuple[int, ...]
    logits: Floats

    def __len__(self) -> int:
        """How many draws there are."""
        return len(self.numbers)

    def of(self, numbers: Sequence[int]) -> Floats:
        """Return the logits of some of the draws, in that order."""
        return self.logits[[self.numbers.index(number) for number in numbers]]


class ScoreSet:
    """The scores of a run by their keys. drawn: the logits of models of draws, with these, by
    pairing and test set. blends: ensembles, whose models of draws are those of their members.
    leakage: which test images leak from training, and which
    cells are cross-domain. rng_seed: test set -> the seed of its resampling. identities: what tells
    which images of two test sets are the same. subgroups: test set -> what divides its images.
    repeats: the scores of the study's further repeats, in their order.
    """

    def __init__(
        self,
        files: Iterable[tuple[str, Scores]],
        *,
        rng_seed: Callable[[str], int],
        drawn: Mapping[tuple[Pairing, str], Sequence[DrawnFile]] = MappingProxyType({}),
        blends: Blends = MappingProxyType({}),
        leakage: Leakage = NO_LEAKS,
        identities: Identities = own_names,
        subgroups: Callable[[str], Subgroups] = lambda _: MappingProxyType({}),
        repeats: Sequence[ScoreSet] = (),
    ) -> None:
        """Take in the files, which are read as they come: (key, scores)."""
        held: dict[str, Scores] = {}
        self._files = {key: _sharing(scores, held) for key, scores in files}
        self.rng_seed, self.leakage, self._identities = rng_seed, leakage, identities
        self.repeats = repeats
        self._drawn, self._blends, self._subgroups = drawn, blends, subgroups
        self._derived: OrderedDict[Hashable, Any] = OrderedDict()
        self._kept_bytes, self._lock = 0, Lock()

    def of_repeat(self, number: int) -> ScoreSet:
        """Return the scores of a repeat; of 0, the study itself, these."""
        return self.repeats[number - 1] if number else self

    def identities(self, test_on: str) -> Mapping[str, Names]:
        """Return what tells which images of a test set are the same, in any repeat."""
        every = [one.identities(test_on) for one in self.repeats]
        return {name: of for one in (*every, self._identities(test_on)) for name, of in one.items()}

    def of(self, cell: Cell) -> Scores:
        """Return a scored cell's scores, with all its images."""
        return self._files[cell.scores_key]

    def leaked(self, cell: Cell) -> tuple[str, ...]:
        """Return the ids of the test images of a cell that leak from training, sorted."""
        return self.leakage.leaked(cell.pairing.train_on, cell.test_on)

    def aligned(self, keys: Iterable[str]) -> Aligned:
        """Return scorings of one test set, on the images that all of them have. Raises ScoreError
        where two hold another label or group of an image.
        """
        return align([self._files[key] for key in keys])

    def drawn(
        self, pairing: Pairing, test_on: str, kind: DrawKind, sample_id: NDArray[np.str_]
    ) -> Drawn:
        """Return what the models of a pairing's draws score on images of a clean test set, given by
        id, in that order. It has no draws where there are none. A pair of halves of which one
        failed is left out. Raises ScoreError for an image that was not scored.
        """
        halves = 2 if kind == "half" else 1
        if pairing in self._blends:
            return self._blended(pairing, test_on, kind, sample_id)
        found: dict[Draw, Floats] = {}
        for draws, scores in self._drawn.get((pairing, test_on), ()):
            if draws[0].kind == kind:
                logits = scores.logits[:, _places(scores.sample_id, sample_id, test_on)]
                found.update(zip(draws, logits.astype(np.float64), strict=True))
        good = {draw for draw, logit in found.items() if np.isfinite(logit).all()}
        whole = {
            number: [Draw(kind=kind, number=number, half=half) for half in range(halves)]
            for number in sorted({draw.number for draw in good})
        }
        whole = {number: draws for number, draws in whole.items() if good.issuperset(draws)}
        rows = [[found[draw] for draw in of_number] for of_number in whole.values()]
        stacked = np.array(rows, dtype=np.float64).reshape(len(whole), halves, len(sample_id))
        return Drawn(numbers=tuple(whole), logits=stacked)

    def _blended(
        self, pairing: Pairing, test_on: str, kind: DrawKind, sample_id: NDArray[np.str_]
    ) -> Drawn:
        """What an ensemble makes of its members' models of the same draws."""
        weights = self._blends[pairing]
        members = [Pairing(detector=name, train_on=pairing.train_on) for name in weights]
        drawn = [self.drawn(member, test_on, kind, sample_id) for member in members]
        numbers = sorted(set.intersection(*(set(one.numbers) for one in drawn)))
        logits = sum(
            (w * one.of(numbers) for w, one in zip(weights.values(), drawn, strict=True)),
            np.zeros(1),
        )
        return Drawn(numbers=tuple(numbers), logits=logits)

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gives, and keep it for the next who asks, as far as `KEPT_BYTES` go:
        what was used last stays. Several threads may ask.
        """
        with self._lock:
            if key in self._derived:
                self._derived.move_to_end(key)
                kept: T = self._derived[key]
                return kept
        found = make()
        with self._lock:
            self._kept_bytes += _bytes(found) - _bytes(self._derived.get(key))
            self._derived[key] = found
            while self._kept_bytes > KEPT_BYTES and len(self._derived) > 1:
                _, dropped = self._derived.popitem(last=False)
                self._kept_bytes -= _bytes(dropped)
        return found

    def levels(self, test_on: str, sample_id: NDArray[np.str_]) -> dict[str, dict[str, Ints]]:
        """Return what divides images of a test set, given by id: subgroup -> level -> the places
        (n,) of its images, both sorted.
        """
        found: dict[str, dict[str, Ints]] = {}
        for name, level_of in sorted(
            self.derived(("subgroups", test_on), lambda: self._subgroups(test_on)).items()
        ):
            level = np.array([level_of.get(sample, "") for sample in sample_id.tolist()])
            found[name] = {
                one: np.flatnonzero(level == one) for one in np.unique(level).tolist() if one
            }
        return found

    def images(self, keys: Iterable[str]) -> Images:
        """Return the images that some of several scorings of a test set have, sorted by id."""
        held = {id(scores.sample_id): scores for scores in (self._files[key] for key in keys)}
        columns = [(s.sample_id, s.group, s.label) for s in held.values()]
        ids, group, label = (np.concatenate(column) for column in zip(*columns, strict=True))
        sample_id, first = np.unique(ids, return_index=True)
        return Images(sample_id=sample_id, group=group[first], label=label[first])


def blends_of(cells: Iterable[PlannedCell]) -> Blends:
    """Return the ensembles among the winners of cells, with the mean over seeds of their weights.
    The models of draws are combined with these, as their own val scores are not kept.
    """
    made: dict[Pairing, dict[str, TrainedDetector]] = {}
    for planned in cells:
        if planned.winner is not None and planned.winner.spec.learner == "members":
            made.setdefault(planned.cell.pairing, {})[planned.winner.key] = planned.winner
    found: dict[Pairing, dict[str, float]] = {}
    for pairing, winners in made.items():
        options = [one.spec.options for one in winners.values()]
        names = [name for name in options[0] if name.startswith(WEIGHT)]
        found[pairing] = {
            name.removeprefix(WEIGHT): fmean(float(one[name]) for one in options) for name in names
        }
    return found


def open_scores(
    setup: OpenStudy,
    keys: Iterable[str],
    leakage: Leakage,
    drawn: Sequence[DrawCellJob] = (),
    blends: Blends = MappingProxyType({}),
    repeats: Sequence[ScoreSet] = (),
) -> ScoreSet:
    """Read a study's scores, each file once. keys: of its scored cells, and of all else that is to
    be compared. drawn: jobs whose scores are there. blends: its ensembles. repeats: the
    scores of its further repeats. Raises StoreError where one cannot be read.
    """
    seeds: dict[str, int] = {}

    def rng_seed(test_on: str) -> int:
        if test_on not in seeds:
            seeds[test_on] = derive_seed(
                setup.study.seed, "bootstrap", test_content(setup, test_on)
            )
        return seeds[test_on]

    def subgroups(test_on: str) -> Subgroups:
        found: dict[str, dict[str, str]] = {}
        for member in split_union(test_on):
            for name, of in subgroups_of(setup.workspace.catalog.dataset(member)).items():
                found.setdefault(name, {}).update(of)
        return found

    files = ((key, setup.store.scores(key)) for key in dict.fromkeys(keys))
    of_draws: dict[tuple[Pairing, str], list[DrawnFile]] = {}
    for job in drawn:
        one = job.of.draws, setup.store.draw_scores(job.scores_key)
        of_draws.setdefault((job.of.trial.pairing, job.test_on), []).append(one)
    return ScoreSet(
        files,
        rng_seed=rng_seed,
        drawn=of_draws,
        blends=blends,
        leakage=leakage,
        identities=identities_of(setup),
        subgroups=subgroups,
        repeats=repeats,
    )


def _places(held: NDArray[np.str_], wanted: NDArray[np.str_], test_on: str) -> NDArray[np.intp]:
    """Where the wanted ids stand among those held, which are sorted."""
    places = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
    lacking = np.flatnonzero(held[places] != wanted)
    if lacking.size:
        raise ScoreError(
            f"{wanted[lacking[0]]} of {test_on} was not scored by the models of draws: run"
            " cross_eval again"
        )
    return places


def _bytes(kept: object) -> int:
    return int(getattr(kept, "nbytes", 0))


def _sharing(scores: Scores, held: dict[str, Scores]) -> Scores:
    """The scores with the columns of earlier ones of the same images, where there are any."""
    content = hashlib.sha256()
    for name in SHARED:
        column = getattr(scores, name)
        content.update(f"{name} {column.dtype.str} {column.shape}\0".encode())
        content.update(column.tobytes())
    first = held.setdefault(content.hexdigest(), scores)
    return replace(scores, **{name: getattr(first, name) for name in SHARED})


def align(held: Sequence[Scores]) -> Aligned:
    """Return scorings on the images that all of them have, as `ScoreSet.aligned` does."""
    sets = {id(scores.sample_id): scores for scores in held}
    first = held[0]
    common = first.sample_id
    for scores in sets.values():
        if scores is not first:
            common = np.intersect1d(common, scores.sample_id)
    stays = {name: np.isin(scores.sample_id, common) for name, scores in sets.items()}
    images = {
        name: getattr(first, name)[stays[id(first.sample_id)]] for name in (*_CHECKED, "sample_id")
    }
    for number, scores in sets.items():
        for name in _CHECKED:
            _check_same(name, getattr(scores, name)[stays[number]], images[name], common)
    logits = [one.logit[stays[id(one.sample_id)]].astype(np.float64) for one in held]
    return Aligned(**images, logits=np.stack(logits))


_CHECKED = ("label", "group")


def _check_same(
    name: str, found: NDArray[np.generic], expected: NDArray[np.generic], images: NDArray[np.str_]
) -> None:
    differs = np.flatnonzero(found != expected)
    if differs.size:
        raise ScoreError(
            f"{name} of {images[differs[0]]} differs between scores: score its test set again with"
            " all detectors"
        )

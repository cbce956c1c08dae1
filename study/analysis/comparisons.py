"""Which detector generalises best, and is that more than noise? Every pair of detectors on the same
images (PROTOCOL section 5).

Detectors are compared by the AUCs of their single models, mean over seeds, on the images of a test
set that all of them scored. One error model counts test images, training sample and seeds
(analysis/weighted_sums.py). What the choice of test sets explains is in the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from study.analysis.headline import Bands, Headline, bands_of, headline, null_part
from study.analysis.results import ResultRow
from study.analysis.score_set import ScoreSet
from study.analysis.significance import Verdict, judge
from study.analysis.single_models import Column, column
from study.analysis.weighted_sums import Family, Term, WeightedSum, alone, families_of
from study.core.records import ELSEWHERE, NO_DEGRADATION, NO_TRAINING, Cell, Pairing, is_given
from study.statistics.comparisons import Ranks, friedman, holm, spearman
from study.statistics.error_model import NOTHING, Finding, Part
from study.statistics.ranking import Floats, Ints
from study.statistics.ranks import tied_ranks

Place = tuple[str, str]  # train_on, test_on


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two detectors compared: in one cell, or (train_on and test_on empty) in their cross-domain
    means.

    auc_first, auc_second: in [0, 1], of single models, mean over seeds. finding: of their
    difference. p_holm: over the defined comparisons of its table, in [0, 1]. note: what is to be
    said of it.
    """

    train_on: str
    test_on: str
    first: str
    second: str
    auc_first: float
    auc_second: float
    finding: Finding
    p_holm: float
    n_real: int
    n_fake: int
    n_groups: int
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the difference is."""
        return judge(self.finding, self.p_holm)


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All that a study's scores say about its detectors.

    pairs: every pair of detectors in every cell, Holm over all of them.
    cross_domain: detector -> mean AUC over `cells`, best first; by_cell: in each of them.
    cells: the cross-domain (train_on, test_on) that all these detectors have an AUC in, but those
    on test sets that the audit warns of, unless there are no others. marked: the test sets that the
    audit warns of. marked_cells: the cells that are left out for that. with_marked: detector ->
    mean AUC with these.
    left_out: detectors without any. seen: published detectors that were trained on one of these
    test sets; they have no mean.
    mean_pairs: every pair of those means, the better first, and each with those that were run
    elsewhere and have scores on all these test sets; Holm over them.
    headline: each detector against chance and the shortcut baselines.
    ranks: over families of test sets, detectors in the order of `cross_domain`.
    overlap_groups: the test sets of `cells`, those that share images together; each family is one
    block of the ranks. test_sets; agreement, rows (M, M): Spearman between those M columns over the
    pairings that were trained on neither.
    repeats: of the study, over which all of these are means.
    leaked: (train_on, test_on) -> how many of its test images leak from training. They are in all
    of these numbers.
    """

    pairs: tuple[Pair, ...]
    cross_domain: Mapping[str, float]
    by_cell: Mapping[str, tuple[float, ...]]
    cells: tuple[Place, ...]
    marked_cells: tuple[Place, ...]
    with_marked: Mapping[str, float]
    left_out: tuple[str, ...]
    mean_pairs: tuple[Pair, ...]
    headline: Headline
    ranks: Ranks
    overlap_groups: tuple[tuple[str, ...], ...]
    test_sets: tuple[str, ...]
    agreement: Floats
    rows: Ints
    leaked: Mapping[Place, int] = field(default_factory=dict)
    marked: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    repeats: int = 1

    @property
    def all_marked(self) -> bool:
        """Whether the means rest on marked test sets, as there are no others."""
        return bool(self.cells) and all(test_on in self.marked for _, test_on in self.cells)


def compare_detectors(
    scores: ScoreSet,
    cells: Iterable[Cell],
    *,
    marked: Collection[str] = (),
    rows: Sequence[ResultRow] = (),
) -> Comparisons:
    """Compare the detectors of a study by the cells that are scored; degraded ones are left out.

    A detector that is not trained stands beside the others of every training set. So does one that
    was run elsewhere, on the images that it and another both have; as its training set is not known
    it has no rank. marked: the test sets that the audit warns of. rows: of the matrix, with those
    of the shortcut baselines. Several repeats give means, but in null bands and beside strangers.

    Raises ScoreError where two detectors hold different labels or groups for the same image.
    """
    clean = [c for c in cells if c.state == "done" and c.degradation == NO_DEGRADATION]
    mine = [cell for cell in clean if cell.pairing.train_on != ELSEWHERE]
    outside = [cell for cell in clean if cell.pairing.train_on == ELSEWHERE]
    first = [cell for cell in clean if not cell.repeat]
    test_sets = tuple(dict.fromkeys(cell.test_on for cell in mine))
    columns = {y: column(scores, [c for c in mine if c.test_on == y]) for y in test_sets}
    sources = [*dict.fromkeys(cell.pairing.train_on for cell in mine)]
    pairs = _cell_pairs(scores, columns.values(), outside, first)
    pairs.sort(key=lambda pair: [*sources, NO_TRAINING, ELSEWHERE].index(pair.train_on))
    trained_on = [x for x in sources if not is_given(x)] or [NO_TRAINING]
    across = [(x, y) for x in trained_on for y in columns if scores.leakage.domain(x, y) == "cross"]
    detectors = tuple(dict.fromkeys(cell.pairing.detector for cell in mine))
    seen = _seen(scores, mine, [y for _, y in across])
    contest = _contest(scores, columns, [d for d in detectors if d not in seen], across, marked)
    others = _strangers(scores, contest, first, outside)
    agreement, numbers = spearman(_cross_domain_table(scores, columns, mine))
    strangers = dict.fromkeys(cell.pairing.detector for cell in outside)
    every = dict.fromkeys(contest.by_cell, contest) | others
    means = {name: one.mean(name) for name, one in every.items()}
    bands = bands_of(scores, [cell for cell in first if cell.pairing.train_on != ELSEWHERE])
    stands = headline(scores, bands, contest.cells, means, [*others], rows)
    return Comparisons(
        pairs=_adjusted(pairs),
        cross_domain=contest.means,
        by_cell=contest.by_cell,
        cells=contest.cells,
        marked_cells=contest.marked_cells,
        with_marked=contest.with_marked,
        left_out=(
            *(d for d in detectors if d not in contest.by_cell and d not in seen),
            *(d for d in strangers if d not in others),
        ),
        mean_pairs=_mean_pairs(contest, others, stands, bands),
        headline=stands,
        ranks=friedman(contest.by_family()),
        overlap_groups=tuple(tuple(c.test_on for c in one.columns) for one in contest.families),
        test_sets=test_sets,
        agreement=agreement,
        rows=numbers,
        leaked=_leaked(scores, clean),
        marked=tuple(marked),
        seen=tuple(d for d in detectors if d in seen),
        repeats=1 + len(scores.repeats),
    )


def _seen(scores: ScoreSet, cells: Iterable[Cell], test_sets: Collection[str]) -> set[str]:
    """Return the published detectors that were trained on one of these test sets: they have no part
    in a mean over them.
    """
    domain = scores.leakage.domain
    return {
        p.detector
        for p in dict.fromkeys(cell.pairing for cell in cells)
        if is_given(p.train_on) and any(domain(p.train_on, y) != "cross" for y in test_sets)
    }


def _leaked(scores: ScoreSet, cells: Iterable[Cell]) -> dict[tuple[str, str], int]:
    """Return how many images leak, by the training and test set of a cell."""
    scored = {(cell.pairing.train_on, cell.test_on) for cell in cells}
    found = scores.leakage.leaks.items()
    return {place: len(leak.ids()) for place, leak in found if place in scored}


def _cell_pairs(
    scores: ScoreSet, columns: Iterable[Column], outside: Iterable[Cell], cells: Sequence[Cell]
) -> list[Pair]:
    """Every pair of detectors in every cell, and with each that was run elsewhere. What would show
    depends on how many there are.
    """
    inside = [(one, couple) for one in columns for couple in _couples(one)]
    others = [both for cell in outside for both in _beside(scores, cell, cells)]
    tests = len(inside) + len(others)
    pairs = [_pair(one, couple, tests) for one, couple in inside]
    for both in others:
        one = column(scores, both)
        pairs += [_pair(one, couple, tests) for couple in _couples(one)]
    return pairs


def _couples(one: Column) -> Iterable[tuple[Pairing, Pairing]]:
    """The pairings of a column that are compared: what is not trained is compared with the
    detectors of every training set.
    """
    pairings = [p for p in one.models if isinstance(p, Pairing)]
    return [both for both in combinations(pairings, 2) if len(_trained_on(*both)) == 1]


def _pair(one: Column, pairings: tuple[Pairing, Pairing], tests: int) -> Pair:
    """Two pairings in a cell. tests: how many such comparisons are made."""
    models, (train_on,) = [one.models[pairing] for pairing in pairings], _trained_on(*pairings)
    terms = [
        Term(test_on=one.test_on, models=of, weight=weight)
        for of, weight in zip(models, (1.0, -1.0), strict=True)
    ]
    total = WeightedSum(terms=tuple(terms), families=alone(one))
    return Pair(
        train_on=train_on,
        test_on=one.test_on,
        first=pairings[0].detector,
        second=pairings[1].detector,
        auc_first=models[0].auc,
        auc_second=models[1].auc,
        finding=total.finding(tests=tests),
        p_holm=math.nan,
        note=total.note,
        **_counts([one]),
    )


def _counts(columns: Sequence[Column]) -> dict[str, int]:
    # an image that several repeats test on counts once
    labels = [one.label[np.unique(one.images.sample_id, return_index=True)[1]] for one in columns]
    fakes = sum(int((label == 1).sum()) for label in labels)
    return {
        "n_real": sum(map(len, labels)) - fakes,
        "n_fake": fakes,
        "n_groups": sum(len(one.groups) for one in columns),
    }


def _trained_on(a: Pairing, b: Pairing) -> list[str]:
    """The training sets of two pairings, of which there must be one for a comparison; what has none
    stands beside any.
    """
    named = list(dict.fromkeys((a.train_on, b.train_on)))
    own = [x for x in named if not is_given(x)]
    return own or (named if len(named) == 1 else [NO_TRAINING])


def _beside(scores: ScoreSet, cell: Cell, cells: Sequence[Cell]) -> Iterable[list[Cell]]:
    """The cells of a detector run elsewhere and of every other on its test set that it has images
    in common with: on those the two are compared.
    """
    beside: dict[Pairing, list[Cell]] = {}
    for one in cells:
        if one.test_on == cell.test_on:
            beside.setdefault(one.pairing, []).append(one)
    order = [*beside]
    for pairing, theirs in beside.items():
        # of two such detectors the first is compared
        is_later = order.index(pairing) >= order.index(cell.pairing)
        if pairing == cell.pairing or (pairing.train_on == ELSEWHERE and not is_later):
            continue
        if len(scores.aligned([theirs[0].scores_key, cell.scores_key])):
            yield [*theirs, cell]


def _adjusted(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with Holm's p over all of them."""
    adjusted = holm([pair.finding.p for pair in pairs])
    return tuple(replace(pair, p_holm=float(p)) for pair, p in zip(pairs, adjusted, strict=True))


def _mean_pairs(
    contest: _Contest, others: Mapping[str, _Contest], stands: Headline, bands: Bands
) -> tuple[Pair, ...]:
    """Every pair of means, and each mean with those of detectors that were run elsewhere. A lead
    between two that are no more than chance must be more than what training on nothing gives.
    """
    asked = [(contest, first, second) for first, second in combinations(contest.means, 2)]
    for name, one in others.items():
        for own in contest.means:
            first, second = sorted((own, name), key=lambda d: -one.means[d])
            asked.append((one, first, second))
    shown = {one.detector for one in stands.standings if one.is_more_than_chance}
    nulls = [
        NOTHING if {first, second} & shown else null_part(bands, first, second, contest.cells)
        for _, first, second in asked
    ]
    return _adjusted(
        [
            one.pair(first, second, len(asked), null)
            for (one, first, second), null in zip(asked, nulls, strict=True)
        ]
    )


@dataclass(frozen=True, kw_only=True)
class _Contest:
    """The comparison of cross-domain means.

    cells: where all detectors that are compared have an AUC, but those on marked test sets.
    families: the test sets of `cells`, those that share images together. by_cell: detector -> its
    AUCs in `cells`, best mean first. with_marked: detector -> its mean with `marked_cells`, too.
    """

    columns: Mapping[str, Column]
    cells: tuple[Place, ...]
    families: tuple[Family, ...]
    by_cell: Mapping[str, tuple[float, ...]]
    marked_cells: tuple[Place, ...] = ()
    with_marked: Mapping[str, float] = field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """Detector -> mean AUC over `cells`, best first."""
        return {d: float(np.mean(aucs)) for d, aucs in self.by_cell.items()}

    def sum_of(self, signed: Mapping[str, float]) -> WeightedSum:
        """Return the mean over cells of a weighted sum of detectors."""
        terms = []
        for x, y in self.cells:
            for detector, weight in signed.items():
                models = self.columns[y].find(detector, x)
                assert models is not None, "only cells that every detector has a number in"
                terms.append(Term(test_on=y, models=models, weight=weight / len(self.cells)))
        return WeightedSum(terms=tuple(terms), families=self.families)

    def mean(self, detector: str) -> WeightedSum:
        """Return a detector's cross-domain mean."""
        return self.sum_of({detector: 1.0})

    def by_family(self) -> Floats:
        """(families, K) what ranks the detectors: of a test set for itself their means over its
        training sets, of a family minus their mean ranks in it.
        """
        means = {
            y: [
                np.mean([self.columns[y].auc(d, x) for x, z in self.cells if z == y])
                for d in self.by_cell
            ]
            for y in dict.fromkeys(y for _, y in self.cells)
        }
        found = []
        for family in self.families:
            sets = [one.test_on for one in family.columns]
            ranked = [-np.array(means[y]) for y in sets]
            alone_in_it = len(sets) == 1
            found.append(
                means[sets[0]] if alone_in_it else -tied_ranks(ranked, axis=1).mean(axis=0)
            )
        shape = len(self.families), len(self.by_cell)
        return np.array(found, dtype=np.float64).reshape(shape)

    def pair(self, first: str, second: str, tests: int, least: Part) -> Pair:
        """Compare two cross-domain means. tests: how many such comparisons are made. least: what
        training sample and seeds count at least.
        """
        means, total = self.means, self.sum_of({first: 1.0, second: -1.0})
        training = total.training
        if training is not None:
            training = max(training, least, key=lambda part: part.variance)
        return Pair(
            train_on="",
            test_on="",
            first=first,
            second=second,
            auc_first=means[first],
            auc_second=means[second],
            finding=total.judged(training, tests=tests),
            p_holm=math.nan,
            note=total.note,
            **_counts([one for family in self.families for one in family.columns]),
        )


def _contest(
    scores: ScoreSet,
    columns: Mapping[str, Column],
    detectors: Sequence[str],
    across: Sequence[Place],
    marked: Collection[str] = (),
) -> _Contest:
    """The comparison of the detectors that have an AUC in some of the cross-domain cells `across`,
    over the cells that all of them have one in.
    """
    held = {
        d: [(x, y) for x, y in across if not math.isnan(columns[y].auc(d, x))] for d in detectors
    }
    compared = [detector for detector in detectors if held[detector]]
    every = held[compared[0]] if compared else []
    common = [place for place in every if all(place in held[one] for one in compared)]
    cells = tuple(place for place in common if place[1] not in marked) or tuple(common)
    by_cell = {d: tuple(columns[y].auc(d, x) for x, y in cells) for d in compared if cells}
    best_first = sorted(by_cell, key=lambda d: -float(np.mean(by_cell[d])))
    used = [columns[y] for y in dict.fromkeys(y for _, y in cells)]
    return _Contest(
        columns=columns,
        cells=cells,
        families=families_of(used, scores),
        by_cell={d: by_cell[d] for d in best_first},
        marked_cells=tuple(place for place in common if place not in cells),
        with_marked={
            d: float(np.mean([columns[y].auc(d, x) for x, y in common])) for d in best_first
        },
    )


def _strangers(
    scores: ScoreSet,
    contest: _Contest,
    cells: Sequence[Cell],
    outside: Sequence[Cell],
) -> dict[str, _Contest]:
    """Each detector that was run elsewhere and has scores on all test sets of the means: the same
    comparison with it, on the images that it has, too.
    """
    found: dict[str, _Contest] = {}
    sets = [*dict.fromkeys(y for _, y in contest.cells)]
    mine = [cell for cell in cells if cell.pairing.train_on != ELSEWHERE]
    for name in dict.fromkeys(cell.pairing.detector for cell in outside):
        theirs = {cell.test_on: cell for cell in outside if cell.pairing.detector == name}
        if not sets or not all(y in theirs for y in sets):
            continue
        held = {y: [*(c for c in mine if c.test_on == y), theirs[y]] for y in sets}
        if any(not len(scores.aligned(c.scores_key for c in own)) for own in held.values()):
            continue
        columns = {y: column(scores, own) for y, own in held.items()}
        one = _contest(scores, columns, [*contest.by_cell, name], contest.cells)
        if one.cells == contest.cells and name in one.by_cell:
            found[name] = one
    return found


def _cross_domain_table(
    scores: ScoreSet, columns: Mapping[str, Column], cells: Iterable[Cell]
) -> Floats:
    """(pairings, test sets) AUCs, NaN where a pairing was trained on the test set or on images of
    its dataset.
    """
    pairings = [*dict.fromkeys(cell.pairing for cell in cells)]

    def auc(pairing: Pairing, test_on: str) -> float:
        if scores.leakage.domain(pairing.train_on, test_on) != "cross":
            return math.nan
        return columns[test_on].auc(pairing.detector, pairing.train_on)

    rows = [[auc(pairing, test_on) for test_on in columns] for pairing in pairings]
    return np.array(rows, dtype=np.float64).reshape(len(pairings), len(columns))

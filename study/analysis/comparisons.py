"""Which detector generalises best, and is that more than noise? Every pair of detectors on the same
images (PROTOCOL section 5).

Detectors are compared by the AUC of their mean logit over seeds, on the images of a test
set that all of them scored. What the images' sampling explains is in the intervals; what the choice
of test sets explains is in the ranks; what the seeds explain stands beside the cross-domain means.
Only a lead that images and seeds together do not explain is more than noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from study.analysis.overlap_groups import Images, overlap_groups
from study.analysis.score_set import ScoreSet
from study.analysis.significance import Verdict, by_p, judge
from study.core.records import ELSEWHERE, NO_DEGRADATION, NO_TRAINING, Cell, Pairing
from study.statistics.comparisons import JOINT, PairedAucs, Ranks, friedman, holm, spearman
from study.statistics.delong import clustered_variance
from study.statistics.differences import Difference, Part, total_difference
from study.statistics.ranking import Floats, Ints
from study.statistics.seeds import SeedLead, lead_over_seeds, p_of_both, same_logits

Family = Mapping[str, NDArray[np.str_]]  # test set -> the group of each image, over the family
Place = tuple[str, str]  # train_on, test_on


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two detectors compared: in one cell, or (train_on and test_on empty) in their cross-domain
    means.

    auc_first, auc_second: in [0, 1]. p_holm: over the defined comparisons of its table, in [0, 1].
    seeds: of means, the lead over training seeds. p_noise: of means, the largest p of images, of
    seeds and of both at once, Holm's
        over the table; NaN where that of the seeds is unknown.
    """

    train_on: str
    test_on: str
    first: str
    second: str
    auc_first: float
    auc_second: float
    difference: Difference
    p_holm: float
    n_real: int
    n_fake: int
    n_groups: int
    seeds: SeedLead | None = None
    p_noise: float = math.nan

    @property
    def verdict(self) -> Verdict:
        """What the difference is, over images and seeds."""
        return judge(self.p_holm, by_p(self.p_noise))


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """All that a study's scores say about its detectors.

    pairs: every pair of detectors in every cell, Holm over all of them.
    cross_domain: detector -> mean AUC of its mean logit over `cells`, best first; by_cell: in each
    of them. of_single_models: the
        mean over `cells` of the mean over seeds of each seed's AUC, as in the matrix.
    cells: the cross-domain (train_on, test_on) that all these detectors have an AUC in. left_out:
    detectors without any.
    mean_pairs: every pair of those means, the better first, Holm over them.
    ranks: over families of test sets, detectors in the order of `cross_domain`.
    families: the test sets of `cells`, those that share images together; each family is one block
    of the ranks. test_sets; agreement, rows (M, M): Spearman between those M columns over the
    pairings that were trained on neither.
    leaked: (train_on, test_on) -> how many of its test images leak from training. They are in all
    of these numbers.
    marked: the test sets that the audit warns of.
    """

    pairs: tuple[Pair, ...]
    cross_domain: Mapping[str, float]
    by_cell: Mapping[str, tuple[float, ...]]
    of_single_models: Mapping[str, float]
    cells: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    mean_pairs: tuple[Pair, ...]
    ranks: Ranks
    overlap_groups: tuple[tuple[str, ...], ...]
    test_sets: tuple[str, ...]
    agreement: Floats
    rows: Ints
    leaked: Mapping[tuple[str, str], int] = field(default_factory=dict)
    marked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One test set: the pairings that are scored on it, and their AUCs on the images that all of
    them scored.

    of_seeds: for each pairing the AUC of each of its winners by seed. seedless: for each, whether
    no seed can change its logits: it
        is not trained, or several seeds gave the very same.
    """

    pairings: tuple[Pairing, ...]
    aucs: PairedAucs
    images: Images
    of_seeds: tuple[Mapping[int, float], ...]
    seedless: tuple[bool, ...]

    def find(self, detector: str, train_on: str) -> int | None:
        """Where the detector stands among the AUCs, as trained on that set or not trained at all;
        None where it is not scored.
        """
        found = (Pairing(detector=detector, train_on=source) for source in (train_on, NO_TRAINING))
        return next(
            (self.pairings.index(pairing) for pairing in found if pairing in self.pairings), None
        )

    def auc(self, detector: str, train_on: str) -> float:
        """The detector's AUC; NaN where it is not scored here."""
        at = self.find(detector, train_on)
        return math.nan if at is None else float(self.aucs.aucs[at])

    def place(self, detector: str, train_on: str) -> int:
        """Where a detector stands that is scored here."""
        at = self.find(detector, train_on)
        assert at is not None, "only cells that every detector has a number in are compared"
        return at

    def weights(self, signed: Mapping[str, float], sources: Collection[str]) -> Floats:
        """The weights (K,) of the contrast that adds each detector, with its sign, over the
        training sets `sources`.
        """
        weights = np.zeros(len(self.pairings))
        for source in sources:
            for detector, weight in signed.items():
                weights[self.place(detector, source)] += weight
        return weights


def compare_detectors(
    scores: ScoreSet, cells: Iterable[Cell], *, marked: Collection[str] = ()
) -> Comparisons:
    """Compare the detectors of a study by the cells that are scored; degraded ones are left out.

    A detector that is not trained stands beside the others of every training set. So does one that
    was run elsewhere, on the images that it and another both have; as its training set is not known
    it has no cross-domain mean, and no rank. marked: the test sets that the audit warns of.

    Raises ScoreError where two detectors hold different labels or groups for the same image.
    """
    clean = [c for c in cells if c.state == "done" and c.degradation == NO_DEGRADATION]
    mine = [cell for cell in clean if cell.pairing.train_on != ELSEWHERE]
    outside = [cell for cell in clean if cell.pairing.train_on == ELSEWHERE]
    test_sets = tuple(dict.fromkeys(cell.test_on for cell in mine))
    columns = {y: _column(scores, [c for c in mine if c.test_on == y]) for y in test_sets}
    sources = [*dict.fromkeys(cell.pairing.train_on for cell in mine)]
    pairs = [pair for name, column in columns.items() for pair in _pairs_of(name, column)]
    pairs += [pair for cell in outside for pair in _external_pairs(scores, cell, clean)]
    pairs.sort(key=lambda pair: [*sources, ELSEWHERE].index(pair.train_on))
    trained_on = [x for x in sources if x != NO_TRAINING] or sources
    domain = scores.leakage.domain
    across = [(x, y) for x in trained_on for y in columns if domain(x, y) == "cross"]
    detectors = tuple(dict.fromkeys(cell.pairing.detector for cell in mine))
    contest = _contest(scores, columns, detectors, across)
    agreement, rows = spearman(_cross_domain_table(scores, columns, mine))
    leaks, scored = scores.leakage.leaks, {(c.pairing.train_on, c.test_on) for c in clean}
    strangers = dict.fromkeys(cell.pairing.detector for cell in outside)
    return Comparisons(
        pairs=_adjusted(pairs),
        cross_domain=contest.means,
        by_cell=contest.by_cell,
        of_single_models=contest.of_single_models(),
        cells=contest.cells,
        left_out=(*(d for d in detectors if d not in contest.compared), *strangers),
        mean_pairs=_noise(_adjusted([contest.pair(*p) for p in combinations(contest.means, 2)])),
        ranks=friedman(contest.by_family()),
        overlap_groups=tuple(map(tuple, contest.families)),
        test_sets=test_sets,
        agreement=agreement,
        rows=rows,
        leaked={place: len(found.ids()) for place, found in leaks.items() if place in scored},
        marked=tuple(marked),
    )


def _column(scores: ScoreSet, cells: Sequence[Cell]) -> _Column:
    """One test set's column, from its cells."""
    held = scores.aligned(cell.scores_key for cell in cells)
    rows: dict[Pairing, dict[int, int]] = {}  # pairing -> seed -> which of the scorings it is
    for row, cell in enumerate(cells):
        rows.setdefault(cell.pairing, {})[cell.winner_seed] = row
    means = [held.mean_logit([*seeds.values()]) for seeds in rows.values()]
    rng_seed, aucs = scores.rng_seed(cells[0].test_on), held.aucs
    return _Column(
        pairings=tuple(rows),
        aucs=PairedAucs(held.label, means, held.group, rng_seed=rng_seed),
        images=held,
        of_seeds=tuple({seed: aucs[row] for seed, row in seeds.items()} for seeds in rows.values()),
        seedless=tuple(
            p.train_on == NO_TRAINING or same_logits([held.logits[row] for row in seeds.values()])
            for p, seeds in rows.items()
        ),
    )


def _pairs_of(test_on: str, column: _Column) -> Iterable[Pair]:
    aucs = column.aucs
    for (i, a), (j, b) in combinations(enumerate(column.pairings), 2):
        trained_on = _trained_on(a, b)
        # what is not trained is compared with the detectors of every training set
        if len(trained_on) == 1:
            yield Pair(
                train_on=trained_on[0],
                test_on=test_on,
                first=a.detector,
                second=b.detector,
                auc_first=float(aucs.aucs[i]),
                auc_second=float(aucs.aucs[j]),
                difference=aucs.difference(i, j),
                p_holm=math.nan,
                n_real=aucs.n_real,
                n_fake=aucs.n_fake,
                n_groups=aucs.n_groups,
            )


def _trained_on(a: Pairing, b: Pairing) -> list[str]:
    """The training sets of two pairings, of which there must be one for a comparison; what has none
    stands beside any.
    """
    named = list(dict.fromkeys((a.train_on, b.train_on)))
    return (
        [x for x in named if x not in (NO_TRAINING, ELSEWHERE)]
        or [x for x in named if x == NO_TRAINING]
        or named
    )


def _external_pairs(scores: ScoreSet, cell: Cell, cells: Sequence[Cell]) -> Iterable[Pair]:
    """A detector run elsewhere against every other on its test set, each time on the images that
    both have.
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
            yield from _pairs_of(cell.test_on, _column(scores, [*theirs, cell]))


def _adjusted(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with Holm's p over all of them."""
    adjusted = holm([pair.difference.p for pair in pairs])
    return tuple(replace(pair, p_holm=float(p)) for pair, p in zip(pairs, adjusted, strict=True))


def _noise(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with Holm's p over images and seeds."""
    adjusted = holm([pair.p_noise for pair in pairs])
    return tuple(replace(pair, p_noise=float(p)) for pair, p in zip(pairs, adjusted, strict=True))


@dataclass(frozen=True, kw_only=True)
class _Contest:
    """The comparison of cross-domain means.

    compared: the detectors that have an AUC across domains. cells: where all of them have one.
    families: the test sets of `cells`, those that share images together. by_cell: detector -> its
    AUCs in `cells`, best mean first.
    """

    columns: Mapping[str, _Column]
    compared: tuple[str, ...]
    cells: tuple[Place, ...]
    families: Sequence[Family]
    by_cell: Mapping[str, tuple[float, ...]]

    @property
    def means(self) -> dict[str, float]:
        """Detector -> mean AUC of its mean logit over `cells`, best first."""
        return {d: float(np.mean(aucs)) for d, aucs in self.by_cell.items()}

    def seeds_in(self, detector: str, place: Place) -> tuple[Mapping[int, float], bool]:
        """A detector's AUCs in one cell by seed; and whether no seed can change them."""
        x, y = place
        at = self.columns[y].place(detector, x)
        return self.columns[y].of_seeds[at], self.columns[y].seedless[at]

    def of_single_models(self) -> dict[str, float]:
        """Detector -> the mean over `cells` of the mean over seeds of each seed's AUC."""
        return {
            d: float(
                np.mean([np.mean([*self.seeds_in(d, place)[0].values()]) for place in self.cells])
            )
            for d in self.by_cell
        }

    def sources(self, test_on: str) -> list[str]:
        """The training sets of the cells of a test set."""
        return [x for x, y in self.cells if y == test_on]

    def by_family(self) -> Floats:
        """(families, K) what ranks the detectors: of a test set for itself their means over its
        training sets, of a family minus their mean ranks in it.
        """
        means = {
            y: [np.mean([self.columns[y].auc(d, x) for x in self.sources(y)]) for d in self.by_cell]
            for y in dict.fromkeys(y for _, y in self.cells)
        }
        found = [
            (
                means[next(iter(one))]
                if len(one) == 1
                else -rankdata([-np.array(means[y]) for y in one], axis=1).mean(axis=0)
            )
            for one in self.families
        ]
        shape = len(self.families), len(self.by_cell)
        return np.array(found, dtype=np.float64).reshape(shape)

    def pair(self, first: str, second: str) -> Pair:
        """Compare two cross-domain means. Within a family of test sets scorings are correlated,
        families are independent.
        """
        means, signed = self.means, {first: 1 / len(self.cells), second: -1 / len(self.cells)}
        order = [y for family in self.families for y in family]
        weights = {y: self.columns[y].weights(signed, self.sources(y)) for y in order}
        aucs = {y: self.columns[y].aucs for y in order}
        difference = self._difference(means[first] - means[second], weights)
        seeds = self._seed_lead(first, second)
        tested = [difference.p, seeds.p, p_of_both(difference.value, difference.error**2, seeds)]
        return Pair(
            train_on="",
            test_on="",
            first=first,
            second=second,
            auc_first=means[first],
            auc_second=means[second],
            difference=difference,
            p_holm=math.nan,
            n_real=sum(one.n_real for one in aucs.values()),
            n_fake=sum(one.n_fake for one in aucs.values()),
            n_groups=sum(one.n_groups for one in aucs.values()),
            seeds=seeds,
            p_noise=float(np.max(tested)),
        )

    def _difference(self, value: float, weights: Mapping[str, Floats]) -> Difference:
        """The difference of two means over images. weights: (K,) a test set."""
        aucs = {y: self.columns[y].aucs for y in weights}
        reason = "; ".join(f"{y}: {aucs[y].reason}" for y in aucs if aucs[y].reason)
        kinds = {
            JOINT if len(family) > 1 else aucs[y].how for family in self.families for y in family
        }
        note = "; ".join(f"{y}: {aucs[y].note}" for y in aucs if aucs[y].note)
        sets = f"{len(aucs)} test set{'s' if len(aucs) > 1 else ''}"
        how = f"{' and '.join(sorted(kinds))}, {sets}"
        if reason:
            return Difference(value=value, how=how, reason=reason, note=note)
        parts = [self._part(family, weights) for family in self.families]
        return total_difference(parts, how=how, note=note)

    def _part(self, family: Family, weights: Mapping[str, Floats]) -> Part:
        """What a family of test sets adds to a contrast, weights (K,) a test set; it has the pairs
        that its smallest one has.
        """
        aucs = {y: self.columns[y].aucs for y in family}
        part = Part(
            value=sum(float(weights[y] @ aucs[y].aucs) for y in family),
            variance=self._variance(family, weights),
            pairs=min(one.pairs for one in aucs.values()),
            scale=sum(float(np.abs(weights[y]).sum()) / 2 for y in family),
        )
        if part.varies:
            return part
        return replace(part, alike=all(aucs[y].every_pair_alike(weights[y]) for y in family))

    def _variance(self, family: Family, weights: Mapping[str, Floats]) -> float:
        """The sampling variance of a family's part of a contrast, weights (K,) a test set."""
        if len(family) == 1:
            (only,) = family
            return self.columns[only].aucs.contrast(weights[only])[1]
        influences = np.concatenate([self.columns[y].aucs.influence(weights[y]) for y in family])
        label = np.concatenate([self.columns[y].images.label for y in family])
        return clustered_variance(influences, label, np.concatenate([*family.values()]))

    def _seed_lead(self, first: str, second: str) -> SeedLead:
        """The lead over training seeds: of each detector the mean AUC over the cells, for every
        seed that has scored all of them.
        """
        sides, seedless = [], []
        for detector in (first, second):
            mine = [self.seeds_in(detector, place) for place in self.cells]
            aucs, fixed = zip(*mine, strict=True)
            common = [seed for seed in aucs[0] if all(seed in one for one in aucs)]
            seedless.append(all(fixed))
            sides.append([float(np.mean([one[seed] for one in aucs])) for seed in common])
        return lead_over_seeds(*sides, seedless=(seedless[0], seedless[1]))


def _contest(
    scores: ScoreSet,
    columns: Mapping[str, _Column],
    detectors: Sequence[str],
    across: Sequence[Place],
) -> _Contest:
    """The comparison of the detectors that have an AUC in some of the cross-domain cells `across`,
    over the cells that all of them have one in.
    """
    held = {
        d: [(x, y) for x, y in across if not math.isnan(columns[y].auc(d, x))] for d in detectors
    }
    compared = tuple(detector for detector in detectors if held[detector])
    every = held[compared[0]] if compared else []
    cells = tuple(place for place in every if all(place in held[one] for one in compared))
    by_cell = {d: tuple(columns[y].auc(d, x) for x, y in cells) for d in compared if cells}
    best_first = sorted(by_cell, key=lambda d: -float(np.mean(by_cell[d])))
    images = {y: columns[y].images for y in dict.fromkeys(y for _, y in cells)}
    return _Contest(
        columns=columns,
        compared=compared,
        cells=cells,
        families=overlap_groups(images, scores.identities),
        by_cell={d: by_cell[d] for d in best_first},
    )


def _cross_domain_table(
    scores: ScoreSet, columns: Mapping[str, _Column], cells: Iterable[Cell]
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

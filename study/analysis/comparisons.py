"""Which detector generalises best, and is that more than noise? Every pair of detectors on the same
images (PROTOCOL section 5).

Detectors are compared by the AUC of their mean logit over seeds, on the images of a test
set that all of them scored. What the images' sampling explains is in the intervals; what the choice
of test sets explains is in the ranks; what the seeds explain stands beside the cross-domain means.
Only a lead that images and seeds together do not explain is more than noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.overlap_groups import (
    Identities,
    Images,
    identities_of,
    overlap_groups,
    own_names,
)
from study.analysis.significance import Verdict, by_p, judge
from study.core.errors import ScoreError
from study.core.identity import derive_seed
from study.core.records import ELSEWHERE, NO_DEGRADATION, NO_TRAINING, Pairing, Scores
from study.data.names import is_in_domain
from study.planning.cells import PlannedCell, test_content
from study.planning.open_study import OpenStudy
from study.statistics.comparisons import JOINT, PairedAucs, Ranks, friedman, holm, spearman
from study.statistics.delong import clustered_variance
from study.statistics.differences import Difference, Part, total_difference
from study.statistics.metrics import auc
from study.statistics.ranking import Floats, Ints
from study.statistics.seeds import SeedLead, lead_over_seeds, p_of_both, same_logits

CellScores = tuple[
    str, Pairing, Scores, int
]  # test set, pairing, the scores of one winner, its seed
Family = Mapping[str, NDArray[np.str_]]  # test set -> the group of each image, over the family


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

    def place(self, detector: str, train_on: str) -> int | None:
        """Where the detector stands among the AUCs, as trained on that set or not trained at all;
        None where it is not scored.
        """
        found = (Pairing(detector=detector, train_on=source) for source in (train_on, NO_TRAINING))
        return next(
            (self.pairings.index(pairing) for pairing in found if pairing in self.pairings), None
        )

    def auc(self, detector: str, train_on: str) -> float:
        """The detector's AUC; NaN where it is not scored here."""
        at = self.place(detector, train_on)
        return math.nan if at is None else float(self.aucs.aucs[at])

    def seeds(self, detector: str, train_on: str) -> tuple[Mapping[int, float], bool]:
        """The AUCs of the detector, which must be scored here, by seed; and whether no seed can
        change them.
        """
        at = self.place(detector, train_on)
        assert at is not None, "only cells that every detector has a number in are compared"
        return self.of_seeds[at], self.seedless[at]

    def weights(self, signed: Mapping[str, float], sources: Collection[str]) -> Floats:
        """The weights of the contrast that adds each detector, with its sign, over the training
        sets `sources`.
        """
        weights = np.zeros(len(self.pairings))
        for source in sources:
            for detector, weight in signed.items():
                at = self.place(detector, source)
                assert at is not None, "only cells that every detector has a number in are compared"
                weights[at] += weight
        return weights


def compare_study(
    setup: OpenStudy,
    cells: Sequence[PlannedCell],
    leakage: Leakage = NO_LEAKS,
    *,
    marked: Collection[str] = (),
) -> Comparisons:
    """Compare the detectors of a study by the cells that are scored; degraded ones are left out.

    leakage: tells which cells share images with their training set and are therefore not
    cross-domain.
    marked: the test sets that the audit warns of.

    Raises ScoreError where two detectors hold different labels or groups for the same image.
    """
    done = [
        c.cell for c in cells if c.cell.state == "done" and c.cell.degradation == NO_DEGRADATION
    ]
    scores = [
        (cell.test_on, cell.pairing, setup.store.scores(cell.scores_key), cell.winner_seed)
        for cell in done
    ]
    found = compare_scores(
        scores,
        lambda test_on: derive_seed(setup.study.seed, "bootstrap", test_content(setup, test_on)),
        related=leakage.related.keys(),
        identities=identities_of(setup),
    )
    scored = {(cell.pairing.train_on, cell.test_on) for cell in done}
    leaked = {place: len(leaks.ids()) for place, leaks in leakage.leaks.items() if place in scored}
    return replace(found, leaked=leaked, marked=tuple(marked))


def compare_scores(
    scores: Sequence[CellScores],
    seed_of: Callable[[str], int],
    *,
    related: Collection[tuple[str, str]] = (),
    identities: Identities = own_names,
) -> Comparisons:
    """Compare detectors by their scores, several of one test set and pairing being of its seeds.

    A detector that is not trained stands beside the others of every training set. So does one that
    was run elsewhere, on the images that it and another both have; as its training set is not known
    it has no cross-domain mean, and no rank.

    seed_of: test set -> the seed of its resampling. related: cells that are not cross-domain
    whatever their names say.
    kin: tells which images of two test sets are the same.
    Raises ScoreError as `compare_study`.
    """
    outside = [one for one in scores if one[1].train_on == ELSEWHERE]
    outside_pairs = [
        pair for one in outside for pair in _external_pairs(one, scores, seed_of(one[0]))
    ]
    strangers = tuple(dict.fromkeys(pairing.detector for _, pairing, _, _ in outside))
    scores = [one for one in scores if one[1].train_on != ELSEWHERE]
    test_sets = tuple(dict.fromkeys(test_on for test_on, _, _, _ in scores))
    columns = {
        name: _column([one for one in scores if one[0] == name], seed_of(name))
        for name in test_sets
    }
    sources = list(dict.fromkeys(pairing.train_on for _, pairing, _, _ in scores))
    pairs = [pair for name, column in columns.items() for pair in _pairs_of(name, column)]
    pairs = sorted(
        [*pairs, *outside_pairs], key=lambda pair: [*sources, ELSEWHERE].index(pair.train_on)
    )
    detectors = tuple(dict.fromkeys(pairing.detector for _, pairing, _, _ in scores))
    trained_on = [x for x in sources if x != NO_TRAINING] or sources
    across = [
        (x, y)
        for x in trained_on
        for y in columns
        if not is_in_domain(x, y) and (x, y) not in related
    ]
    compared, cells = _common_cells(columns, detectors, across)
    by_cell = {d: tuple(columns[y].auc(d, x) for x, y in cells) for d in compared if cells}
    single = {
        d: [float(np.mean([*columns[y].seeds(d, x)[0].values()])) for x, y in cells]
        for d in by_cell
    }
    means = {d: float(np.mean(aucs)) for d, aucs in by_cell.items()}
    best_first = sorted(means, key=lambda d: -means[d])
    shared = overlap_groups(
        {y: columns[y].images for y in dict.fromkeys(y for _, y in cells)}, identities
    )
    pairings = tuple(dict.fromkeys(pairing for _, pairing, _, _ in scores))
    agreement, rows = spearman(_cross_domain_table(columns, pairings, related))
    return Comparisons(
        pairs=_adjusted(pairs),
        cross_domain={d: means[d] for d in best_first},
        by_cell={d: by_cell[d] for d in best_first},
        of_single_models={d: float(np.mean(single[d])) for d in best_first},
        cells=cells,
        left_out=(*(d for d in detectors if d not in compared), *strangers),
        mean_pairs=_noise(
            _adjusted(
                [
                    _mean_pair(columns, cells, shared, means, a, b)
                    for a, b in combinations(best_first, 2)
                ]
            )
        ),
        ranks=friedman(_by_family(_means_by_test_set(columns, best_first, cells), cells, shared)),
        overlap_groups=tuple(map(tuple, shared)),
        test_sets=test_sets,
        agreement=agreement,
        rows=rows,
    )


def _column(scored: Sequence[CellScores], rng_seed: int) -> _Column:
    """One test set's column, from its scores."""
    whole = scored[0][2]
    common = whole.sample_id
    for _, _, one, _ in scored[1:]:
        common = np.intersect1d(common, one.sample_id)
    first = _on(whole, common)
    logits: dict[Pairing, dict[int, Floats]] = {}
    for _, pairing, one, seed in scored:
        kept = _on(one, common)
        for name in ("label", "group"):
            differs = np.flatnonzero(getattr(one, name)[kept] != getattr(whole, name)[first])
            if differs.size:
                image = common[differs[0]]
                raise ScoreError(
                    f"{name} of {image} differs between scores: score its test set again with all"
                    " detectors"
                )
        logits.setdefault(pairing, {})[seed] = one.logit[kept].astype(np.float64)
    label, group = whole.label[first], whole.group[first]
    means = [np.mean(list(seeds.values()), axis=0) for seeds in logits.values()]
    return _Column(
        pairings=tuple(logits),
        aucs=PairedAucs(label, means, group, rng_seed=rng_seed),
        images=Images(sample_id=whole.sample_id[first], group=group, label=label),
        of_seeds=tuple(
            {seed: auc(label, one) for seed, one in seeds.items()} for seeds in logits.values()
        ),
        seedless=tuple(
            p.train_on == NO_TRAINING or same_logits([*seeds.values()])
            for p, seeds in logits.items()
        ),
    )


def _on(scores: Scores, images: NDArray[np.str_]) -> NDArray[np.bool_]:
    return np.isin(scores.sample_id, images)


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


def _external_pairs(one: CellScores, scores: Sequence[CellScores], rng_seed: int) -> Iterable[Pair]:
    """A detector run elsewhere against every other on its test set, each time on the images that
    both have.
    """
    test_on, pairing, own, _ = one
    seen = False
    for other in dict.fromkeys(p for name, p, _, _ in scores if name == test_on):
        seen = seen or other == pairing
        # of two such detectors the first is compared
        if other == pairing or (other.train_on == ELSEWHERE and not seen):
            continue
        theirs = [its for its in scores if its[:2] == (test_on, other)]
        if np.intersect1d(own.sample_id, theirs[0][2].sample_id).size:
            yield from _pairs_of(test_on, _column([*theirs, one], rng_seed))


def _adjusted(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with Holm's p over all of them."""
    adjusted = holm([pair.difference.p for pair in pairs])
    return tuple(replace(pair, p_holm=float(p)) for pair, p in zip(pairs, adjusted, strict=True))


def _common_cells(
    columns: Mapping[str, _Column], detectors: Sequence[str], places: Sequence[tuple[str, str]]
) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """The detectors that have an AUC in some of the cross-domain `places`, and the places that all
    of them have one in.
    """
    held = {
        d: [(x, y) for x, y in places if not math.isnan(columns[y].auc(d, x))] for d in detectors
    }
    compared = [detector for detector in detectors if held[detector]]
    every = held[compared[0]] if compared else []
    return compared, tuple(
        cell for cell in every if all(cell in held[detector] for detector in compared)
    )


def _means_by_test_set(
    columns: Mapping[str, _Column], detectors: Sequence[str], cells: Sequence[tuple[str, str]]
) -> Floats:
    """(n, K) each detector's mean AUC on each test set, over the training sets that make it
    cross-domain.
    """
    sources = {y: [x for x, target in cells if target == y] for _, y in cells}
    rows = [
        [np.mean([columns[y].auc(d, x) for x in trained]) for d in detectors]
        for y, trained in sources.items()
    ]
    return np.array(rows, dtype=np.float64).reshape(len(sources), len(detectors))


def _by_family(
    values: Floats, cells: Sequence[tuple[str, str]], shared: Sequence[Family]
) -> Floats:
    """(families, K) what ranks the detectors: of a test set for itself their means, of a family
    minus their mean ranks in it.
    """
    rows = dict(zip(dict.fromkeys(y for _, y in cells), values, strict=True))
    found = [
        (
            rows[next(iter(one))]
            if len(one) == 1
            else -rankdata([-rows[y] for y in one], axis=1).mean(axis=0)
        )
        for one in shared
    ]
    return np.array(found, dtype=np.float64).reshape(len(shared), values.shape[1])


def _mean_pair(
    columns: Mapping[str, _Column],
    cells: Sequence[tuple[str, str]],
    shared: Sequence[Family],
    means: Mapping[str, float],
    first: str,
    second: str,
) -> Pair:
    """Compare two cross-domain means. Within a family of test sets scorings are correlated,
    families are independent.
    """
    signed = {first: 1 / len(cells), second: -1 / len(cells)}
    weights = {
        y: columns[y].weights(signed, [x for x, target in cells if target == y])
        for family in shared
        for y in family
    }
    aucs = {y: columns[y].aucs for y in weights}
    reason = "; ".join(f"{y}: {aucs[y].reason}" for y in aucs if aucs[y].reason)
    kinds = {JOINT if len(family) > 1 else aucs[y].how for family in shared for y in family}
    sets = len(aucs)
    note = "; ".join(f"{y}: {aucs[y].note}" for y in aucs if aucs[y].note)
    how = f"{' and '.join(sorted(kinds))}, {sets} test set{'s' if sets > 1 else ''}"
    difference = Difference(value=means[first] - means[second], how=how, reason=reason, note=note)
    if not reason:
        difference = total_difference(
            [_part(columns, family, weights) for family in shared], how=how, note=note
        )
    seeds = _seed_lead(columns, cells, first, second)
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


def _part(columns: Mapping[str, _Column], family: Family, weights: Mapping[str, Floats]) -> Part:
    """What a family of test sets adds to a contrast, weights (K,) a test set; it has the pairs that
    its smallest one has.
    """
    aucs = {y: columns[y].aucs for y in family}
    scale = sum(float(np.abs(weights[y]).sum()) / 2 for y in family)
    variance = _variance(columns, family, weights)
    part = Part(
        value=sum(float(weights[y] @ aucs[y].aucs) for y in family),
        variance=variance,
        pairs=min(one.pairs for one in aucs.values()),
        scale=scale,
    )
    return (
        part
        if part.varies
        else replace(part, alike=all(aucs[y].every_pair_alike(weights[y]) for y in family))
    )


def _variance(
    columns: Mapping[str, _Column], family: Family, weights: Mapping[str, Floats]
) -> float:
    """The sampling variance of a family's part of a contrast, weights (K,) a test set."""
    if len(family) == 1:
        (only,) = family
        return columns[only].aucs.contrast(weights[only])[1]
    influences = np.concatenate([columns[y].aucs.influence(weights[y]) for y in family])
    label = np.concatenate([columns[y].images.label for y in family])
    return clustered_variance(influences, label, np.concatenate([*family.values()]))


def _seed_lead(
    columns: Mapping[str, _Column], cells: Sequence[tuple[str, str]], first: str, second: str
) -> SeedLead:
    """The lead over training seeds: of each detector the mean AUC over the cells, for every seed
    that has scored all of them.
    """
    sides, seedless = [], []
    for detector in (first, second):
        aucs, fixed = zip(*(columns[y].seeds(detector, x) for x, y in cells), strict=True)
        common = [seed for seed in aucs[0] if all(seed in one for one in aucs)]
        seedless.append(all(fixed))
        sides.append([float(np.mean([one[seed] for one in aucs])) for seed in common])
    return lead_over_seeds(*sides, seedless=(seedless[0], seedless[1]))


def _noise(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The pairs with Holm's p over images and seeds."""
    adjusted = holm([pair.p_noise for pair in pairs])
    return tuple(replace(pair, p_noise=float(p)) for pair, p in zip(pairs, adjusted, strict=True))


def _cross_domain_table(
    columns: Mapping[str, _Column],
    pairings: Sequence[Pairing],
    related: Collection[tuple[str, str]],
) -> Floats:
    """(pairings, test sets) AUCs, NaN where a pairing was trained on the test set or on images of
    its dataset.
    """

    def auc(pairing: Pairing, test_on: str) -> float:
        inside = is_in_domain(pairing.train_on, test_on) or (pairing.train_on, test_on) in related
        return math.nan if inside else columns[test_on].auc(pairing.detector, pairing.train_on)

    rows = [[auc(pairing, test_on) for test_on in columns] for pairing in pairings]
    return np.array(rows, dtype=np.float64).reshape(len(pairings), len(columns))

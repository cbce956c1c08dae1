"""Does a verdict hang on how an image is cut? Winners under deliveries, which are other geometries
than their own (data/images/deliveries.py): how many verdicts flip, and whether detectors keep their
ranks.

A verdict is whether a logit reaches the threshold of the winner's own source val, made with its own
geometry; of a detector without a source, logit 0. Both sides are of the same images and models, so
intervals are of the test images alone. Images that leak from training are left out. A delivery that
follows a degradation (`jpeg50+crop5`) is in the robustness tables only: its own geometry is not
scored without the degradation's cells.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.analysis.results import Domain
from study.analysis.robustness import Groups, Robustness, both_scored, group_numbers
from study.analysis.score_set import ScoreSet
from study.core.records import NO_DEGRADATION, Cell, Pairing, is_given
from study.data.images.deliveries import DELIVERIES, delivered
from study.planning.cells import PlannedCell
from study.statistics.comparisons import kendall
from study.statistics.ranking import Floats
from study.statistics.resampling import clusters
from study.statistics.shares import share_of
from study.statistics.thresholds import FIXED

EVERY = ""  # the test_on of all test sets together
SAME = "its own geometry, under which nothing can flip"
FEW = 2  # detectors: fewer have no order


@dataclass(frozen=True, kw_only=True)
class Flips:
    """A pairing's winners on a test set, or on all of them together (`EVERY`), under one delivery.

    share: of verdicts that are others than under the own geometry, mean over seeds, with its 95 %
    interval by group; to_fake, to_real: its two parts. NaN with a reason where there is none.
    threshold: `source`, or `fixed` of a detector without a source. domain: "" of all test sets.
    images, groups: counted. note: `SAME` where the delivery is what the detector does anyway, so
    that there is no interval.
    leaked: images that are left out, or kept where a class is gone without them (`kept`).
    """

    detector: str
    train_on: str
    test_on: str
    domain: Domain | Literal[""]
    delivery: str
    threshold: str
    share: float = math.nan
    low: float = math.nan
    high: float = math.nan
    to_fake: float = math.nan
    to_real: float = math.nan
    images: int = 0
    groups: int = 0
    seeds: int = 0
    leaked: int = 0
    kept: bool = False
    note: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class RankStability:
    """The order of detectors by mean AUC over cross-domain cells, under their own geometries and
    under one delivery, on the same images.

    own, delivered: detector -> mean AUC over `places`, (train_on, test_on). tau: Kendall's tau-b of
    the two orders, NaN with a reason. turned: pairs of detectors in the other order, of `pairs`.
    left_out: detectors without a cross-domain cell that all others have. marked: whether the places
    are on test sets that the audit marks, as there are no others.
    """

    delivery: str
    own: Mapping[str, float]
    delivered: Mapping[str, float]
    places: tuple[tuple[str, str], ...]
    tau: float = math.nan
    turned: int = 0
    pairs: int = 0
    left_out: tuple[str, ...] = ()
    marked: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Deliveries:
    """What deliveries change; () where the study has none."""

    flips: tuple[Flips, ...] = ()
    ranks: tuple[RankStability, ...] = ()


def deliveries(
    scores: ScoreSet,
    cells: Sequence[PlannedCell],
    degraded: Sequence[Robustness],
    *,
    marked: Collection[str] = (),
) -> Deliveries:
    """Return what deliveries change. degraded: the AUCs of degraded cells and, on the same images,
    of clean ones. marked: the test sets that the audit warns of.
    """
    return Deliveries(flips=tuple(flips(scores, cells)), ranks=tuple(ranks(degraded, marked)))


@dataclass(frozen=True, kw_only=True)
class _Turned:
    """The N images of a place: how often over seeds each verdict turns to fake and to real, (2, N);
    label and number of the group of each.
    """

    rate: Floats
    label: NDArray[np.uint8]
    group: NDArray[np.intp]


def flips(scores: ScoreSet, cells: Sequence[PlannedCell]) -> list[Flips]:
    """Return the flips of every pairing under every delivery: of each test set in the matrix's
    order, then of all of them together.
    """
    if all(planned.cell.degradation not in DELIVERIES for planned in cells):
        return []
    groups = group_numbers(scores, [planned.cell for planned in cells])
    found: dict[tuple[Pairing, str], list[tuple[Flips, _Turned | None]]] = {}
    for (pairing, test_on), block in _places(cells).items():
        cuts, threshold = _cuts(block)
        for delivery in (name for name in block if name in DELIVERIES):
            one = Flips(
                detector=pairing.detector,
                train_on=pairing.train_on,
                test_on=test_on,
                domain=scores.leakage.domain(pairing.train_on, test_on),
                delivery=delivery,
                threshold=threshold,
            )
            sides = [[p.cell for p in block[name]] for name in (NO_DEGRADATION, delivery)]
            place = _of_place(one, scores, sides[0], sides[1], cuts, groups.get(test_on))
            if _is_own(delivery, block):
                place = replace(place[0], low=math.nan, high=math.nan, note=SAME), place[1]
            found.setdefault((pairing, delivery), []).append(place)
    return [one for places in found.values() for one in (*(f for f, _ in places), _joined(places))]


def _places(
    cells: Sequence[PlannedCell],
) -> dict[tuple[Pairing, str], dict[str, list[PlannedCell]]]:
    """(pairing, test set) -> degradation -> its cells, of all seeds."""
    found: dict[tuple[Pairing, str], dict[str, list[PlannedCell]]] = {}
    for planned in cells:
        cell = planned.cell
        of_place = found.setdefault((cell.pairing, cell.test_on), {})
        of_place.setdefault(cell.degradation, []).append(planned)
    return found


def _cuts(block: Mapping[str, Sequence[PlannedCell]]) -> tuple[dict[int, float], str]:
    """Seed -> the threshold of its winner; and which one it is."""
    winners = {
        planned.cell.winner_seed: planned.winner
        for of in block.values()
        for planned in of
        if planned.winner is not None
    }
    source = {seed: one.thresholds.get("source", math.nan) for seed, one in winners.items()}
    if any(math.isnan(cut) for cut in source.values()):
        return dict.fromkeys(source, FIXED), "fixed"
    return source, "source"


def _is_own(delivery: str, block: Mapping[str, Sequence[PlannedCell]]) -> bool:
    """Whether a delivery is what the winners of a place do with an image anyway."""
    winners = [p.winner for of in block.values() for p in of if p.winner is not None]
    own = {one.spec.geometry for one in winners}
    return bool(own) and all(delivered(delivery, one) == (one,) for one in own)


def _of_place(
    one: Flips,
    scores: ScoreSet,
    clean: Sequence[Cell],
    delivered: Sequence[Cell],
    cuts: Mapping[int, float],
    groups: Groups | None,
) -> tuple[Flips, _Turned | None]:
    both = [*both_scored(scores, clean, delivered)]
    if not both or groups is None:
        lost = next((c for c in (*delivered, *clean) if c.state != "done"), delivered[0])
        return replace(one, reason=f"{lost.state.replace('_', ' ')}: {lost.reason}"), None
    pair = both[0].pair
    rates = []
    for each in both:
        after, before = each.pair.logits >= cuts[each.seed]
        rates.append(np.stack([after & ~before, before & ~after]))
    at = np.isin(groups.sample_id, pair.sample_id)
    turned = _Turned(rate=np.mean(rates, axis=0), label=pair.label, group=groups.code[at])
    found = replace(one, seeds=len(both), leaked=pair.leaked, kept=pair.kept)
    return _counted(found, [turned]), turned


def _joined(places: Sequence[tuple[Flips, _Turned | None]]) -> Flips:
    """The same of all test sets that have any."""
    held = [(one, turned) for one, turned in places if turned is not None]
    first = replace(places[0][0], test_on=EVERY, domain="", reason="", note="")
    if not held:
        return replace(first, reason=places[0][0].reason)
    lacking = len(places) - len(held)
    found = replace(
        first,
        seeds=min(one.seeds for one, _ in held),
        leaked=sum(one.leaked for one, _ in held),
        kept=any(one.kept for one, _ in held),
    )
    found = _counted(found, [turned for _, turned in held])
    if held[0][0].note == SAME:
        found = replace(found, low=math.nan, high=math.nan, note=SAME)
    more = f"{lacking} of {len(places)} test sets have no scores" if lacking else ""
    return replace(found, note="; ".join(filter(None, (found.note, more))))


def _counted(one: Flips, parts: Sequence[_Turned]) -> Flips:
    """With the numbers of these images."""
    rate = np.concatenate([part.rate for part in parts], axis=1)
    label = np.concatenate([part.label for part in parts])
    group = np.concatenate([part.group for part in parts])
    held = clusters(label, group.astype(np.str_))
    share = share_of(rate.sum(axis=0), held)
    to_fake, to_real = (float(row.mean()) for row in rate)
    return replace(
        one,
        share=share.value,
        low=share.low,
        high=share.high,
        to_fake=to_fake,
        to_real=to_real,
        images=rate.shape[1],
        groups=len(held),
        note=share.note,
    )


def ranks(degraded: Sequence[Robustness], marked: Collection[str] = ()) -> list[RankStability]:
    """Return the stability of ranks under every delivery. A detector that is not trained here
    stands beside the others of every training set, unless one of the test sets is not
    cross-domain to it.
    """
    return [
        _ranks(delivery, [row for row in degraded if row.degradation == delivery], marked)
        for delivery in DELIVERIES
        if any(row.degradation == delivery for row in degraded)
    ]


def _ranks(delivery: str, rows: Sequence[Robustness], marked: Collection[str]) -> RankStability:
    trained = [row for row in rows if not is_given(row.train_on)]
    sources = list(dict.fromkeys(row.train_on for row in trained)) or [""]
    held: dict[str, dict[tuple[str, str], Robustness]] = {}
    for row in rows:
        mine = held.setdefault(row.detector, {})
        if row.domain == "cross" and not math.isnan(row.auc):
            mine.update(
                {(x, row.test_on): row for x in sources}
                if is_given(row.train_on)
                else {(row.train_on, row.test_on): row}
            )
    across = list(dict.fromkeys((r.train_on, r.test_on) for r in trained if r.domain == "cross"))
    across = across or list(dict.fromkeys(("", row.test_on) for row in rows))
    tests = {y for _, y in across}
    seen = {
        row.detector
        for row in rows
        if is_given(row.train_on) and row.test_on in tests and row.domain != "cross"
    }
    compared = [d for d, mine in held.items() if d not in seen and any(p in mine for p in across)]
    common = [place for place in across if all(place in held[d] for d in compared)]
    places = tuple(p for p in common if p[1] not in marked) or tuple(common)
    own, delivered = (
        {d: float(np.mean([getattr(held[d][p], name) for p in places])) for d in compared if places}
        for name in ("clean", "auc")
    )
    found = RankStability(
        delivery=delivery,
        own=own,
        delivered=delivered,
        places=places,
        left_out=tuple(d for d in held if d not in own),
        marked=bool(places) and all(y in marked for _, y in places),
    )
    if len(own) < FEW:
        return replace(found, reason="fewer than two detectors have all cross-domain cells")
    tau, turned, pairs = kendall([*own.values()], [*delivered.values()])
    why = "all detectors are alike under one of the two" if math.isnan(tau) else ""
    return replace(found, tau=tau, turned=turned, pairs=pairs, reason=why)

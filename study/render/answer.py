"""Which detector generalises best, and is that more than noise? The answer in a few sentences, and
a ranked table of all detectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from study.analysis.comparisons import Comparisons, Pair
from study.analysis.headline import CHANCE, Baseline, Standing
from study.analysis.results import Flag
from study.analysis.significance import Verdict
from study.core.records import SHORTCUTS
from study.render.flags import flags_sentences
from study.render.numbers import counted, number, p_words, with_interval
from study.render.table import Cell, Column, Table, table, terminal_width, text
from study.statistics.error_model import ALPHA

QUESTION = "Which detector generalises best, and is that more than noise?"
BASELINES = dict(
    zip(
        SHORTCUTS,
        ("a classifier of file metadata", "one of border and brightness"),
        strict=True,
    )
)
NOT_COUNTED = (
    "No claim{which} is made, as the training sample is not counted (budget.replicates = 0, or"
    " models of halves are missing): intervals and p are of the test images alone."
)


def answer(found: Comparisons, flags: Iterable[Flag] = ()) -> str:
    """Return the answer to `QUESTION` in a few sentences, one a line; it says what cannot be said,
    too. flags: of pairings whose training or search was too little.
    """
    return "\n".join([_answer(found), *flags_sentences(flags)])


def answer_text(found: Comparisons, flags: Iterable[Flag] = ()) -> str:
    """Return the answer and the ranked table, for the terminal."""
    flags = [*flags]
    said = answer(found, flags)
    if not found.headline.standings:
        return said
    return f"{said}\n\n{text(ranking(found, flags), terminal_width())}"


def headline_text(found: Comparisons, *, brief: bool = False) -> str:
    """Return the first sentence of the answer alone. brief: without the null band and without
    shortcut baselines that have a number on every test set.
    """
    if found.headline.own:
        return _headline(found, brief=brief)
    why = "no test set lies outside the training set for every detector"
    if not found.test_sets:
        why = "nothing is scored yet"
    return f"Which detector generalises best cannot be said: {why}."


def _answer(found: Comparisons) -> str:
    if not found.headline.own:
        said = headline_text(found).partition(" cannot be said")[2]
        return f"{QUESTION}\nThat cannot be said{said}"
    best, *rest = found.headline.own
    lines = [QUESTION, _headline(found), *_how_tested(found)]
    if rest:
        lines += [*_leads(found, best.detector), _over_test_sets(found, best.detector)]
    else:
        lines.append("It is the only detector there: there is nothing to compare it with.")
    lines += [*_elsewhere(found), *_marks(found), *_left_out(found), *_leaks(found)]
    return "\n".join(lines)


def _headline(found: Comparisons, *, brief: bool = False) -> str:
    """The first sentence: whether any detector generalises, and which is best."""
    own, where = found.headline.own, _where(found)
    tested = [one for one in own if one.verdict in (Verdict.MORE_THAN_NOISE, Verdict.NOT_MORE)]
    first = f"the first by its mean, {own[0].detector}, {_has(own[0], brief)}"
    if found.all_marked:
        why = "all test sets are marked !"
        return f"Whether any detector generalises{where} is not claimed, as {why}: {first}."
    if not tested:
        if own[0].verdict is Verdict.NOT_COUNTED:
            return f"Whether any detector generalises{where} is not claimed: {first}."
        why = own[0].reason or "no test is defined"
        return f"Whether any detector generalises{where} cannot be tested ({why}): {first}."
    shown = [one for one in tested if one.generalises]
    if shown and shown[0] is own[0]:
        return f"{own[0].detector} generalises{_as_best(found)}: it {_has(own[0], brief)}."
    said = [f"{shown[0].detector} generalises{where}: it {_has(shown[0], brief)}."] if shown else []
    if not shown:
        of = "" if len(tested) == len(own) else " of those that can be tested"
        best = f"the best{of}, {tested[0].detector}, {_has(tested[0], brief)}"
        said.append(f"None is shown to generalise{where}: {best}.")
    if own[0] is not (shown or tested)[0]:
        said.append(
            f"That {own[0].detector} does, which is the first by its mean, is not shown: it"
            f" {_has(own[0], brief)}."
        )
    return " ".join(said)


def _as_best(found: Comparisons) -> str:
    """Where the first detector generalises, and whether it is shown to be the best."""
    best, *rest = found.headline.own
    beaten = {
        pair.second
        for pair in found.mean_pairs
        if pair.first == best.detector and pair.verdict is Verdict.MORE_THAN_NOISE
    }
    where = _where(found)
    if not rest:
        return where
    if all(one.detector in beaten for one in rest):
        return f" best{where}"
    return f"{where}, and no detector is shown to be the best"


def _where(found: Comparisons) -> str:
    """From where to where, for a sentence."""
    sources, sets = (list(dict.fromkeys(of)) for of in zip(*found.cells, strict=True))
    if len(found.cells) == 1:
        return f" from {sources[0]} to {sets[0]}"
    return f" over {counted(len(found.cells), 'cross-domain cell')} on " + counted(
        len(sets), "test set"
    )


def _has(one: Standing, brief: bool) -> str:
    """A detector's mean, chance, and the shortcut baselines."""
    mean, chance = one.mean, one.chance
    some = ""
    if one.cells > 1 and mean.counted:
        some = f" (more than chance in {one.above} of these {counted(one.cells, 'cell')})"
    held = f"has {with_interval(mean.value, mean.low, mean.high)}{some}"
    held += f"; chance is {number(CHANCE)}"
    if chance.models and not brief:
        band = with_interval(chance.value, chance.low, chance.high)
        held += f" (permuted labels give {band})"
    named = [b for b in one.baselines if not brief or b.missing or not b.has_number]
    return ", ".join([held, *map(_baseline_has, named)])


def _baseline_has(one: Baseline) -> str:
    """A baseline's mean, and which test sets it has no number on."""
    name, missing = BASELINES.get(one.name, one.name), " and ".join(one.missing)
    if not one.has_number:
        return f"{name} has no number on any of these test sets and is not compared"
    without = f" without {missing}, where it has no number" if missing else ""
    return f"{name} has {with_interval(one.value, one.low, one.high)}{without}"


def _how_tested(found: Comparisons) -> list[str]:
    """What the first sentence rests on, and what it does not count."""
    own = found.headline.own
    lines = []
    without = [one.detector for one in own if not one.mean.counted]
    if without:
        which = "" if len(without) == len(own) else f" of {listed(without)}"
        lines.append(NOT_COUNTED.format(which=which))
    bare = [one.detector for one in own if not one.chance.models]
    if bare:
        which = "" if len(bare) == len(own) else f" of {', '.join(bare)}"
        lines.append(
            f"No null band{which} was computed (budget.null_models): chance is .5, and the interval"
            " is held against it."
        )
    if not any(one.has_number for one in own[0].baselines):
        lines.append(
            "No shortcut baseline (a classifier of file metadata, or of border and brightness) has"
            " a number on any of these test sets: nothing is held against one."
        )
    else:
        lines.append(
            "The shortcut baselines (classifiers of file metadata, and of border and brightness)"
            " are cross-validated on the test sets themselves, so they know more than a detector"
            " that was trained elsewhere. controls.md has them trained as the detectors are."
        )
    return lines


def _leads(found: Comparisons, best: str) -> list[str]:
    """How far the best is ahead, and of whom by more than noise."""
    mine = [pair for pair in found.mean_pairs if pair.first == best]
    leads = {verdict: [p for p in mine if p.verdict is verdict] for verdict in Verdict}
    return [
        f"{verdict.value[0].upper()}{verdict.value[1:]}: {best}'s lead on"
        f" {listed(map(_lead, pairs))}."
        for verdict, pairs in leads.items()
        if pairs
    ]


def _lead(pair: Pair) -> str:
    d = pair.finding
    if math.isnan(d.p):
        return f"{pair.second} of {number(d.value)} ({d.reason})"
    said = f"{pair.second} of {with_interval(d.value, d.low, d.high)}, {p_words(pair.p_holm)}"
    if pair.verdict is not Verdict.NOT_MORE:
        return said
    if math.isnan(d.smallest):
        return f"{said} (the study is too small: even a true lead of 0.5 would often not show)"
    return f"{said} (a true lead of {number(d.smallest)} would show in 4 of 5 studies like this)"


def _over_test_sets(found: Comparisons, best: str) -> str:
    ranks = found.ranks
    if ranks.reason:
        return (
            "Over test sets, whether it holds for others cannot be said"
            f" ({ranks.reason}{as_one(found)})."
        )
    sets = f"{ranks.n} test sets{as_one(found)} (Friedman, {p_words(ranks.p)})"
    if not ranks.p < ALPHA:
        return (
            "Over test sets, not more than noise: the detectors' mean ranks do not differ over"
            f" {sets}."
        )
    names, mean_ranks = list(found.cross_domain), ranks.mean_ranks.tolist()
    first = names[mean_ranks.index(min(mean_ranks))]
    beside = [
        n
        for n, r in zip(names, mean_ranks, strict=True)
        if n != first and r - min(mean_ranks) < ranks.critical_difference
    ]
    words = f"not told apart from {listed(beside)}" if beside else "told apart from all others"
    other = "" if first == best else f", which is not {best}"
    return (
        f"Over test sets, the mean ranks differ over {sets}: {first} ranks first{other}, {words}."
    )


def _elsewhere(found: Comparisons) -> list[str]:
    """Detectors that were run elsewhere and have scores on all these test sets."""
    others = [one for one in found.headline.standings if one.is_given]
    if not others:
        return []
    held = (
        f"{one.detector} {with_interval(one.mean.value, one.mean.low, one.mean.high)}"
        for one in others
    )
    return [
        f"Run elsewhere, on the same test sets: {listed(held)}. What they were trained on is not"
        " known here, so that they generalise is not claimed."
    ]


def _marks(found: Comparisons) -> list[str]:
    """Which test sets the audit warns of, and what the means are with them."""
    if found.all_marked:
        inside = dict.fromkeys(y for _, y in found.cells)
        return [
            f"All test sets of these means are marked ! (a confound or a leak, see the tables):"
            f" {', '.join(inside)}. No cross-domain number rests on an unmarked one."
        ]
    marked = list(dict.fromkeys(y for _, y in found.marked_cells))
    if not marked:
        return []
    apart = found.with_marked
    first = sorted(apart, key=lambda name: -apart[name])
    shown = listed(f"{name} {number(apart[name])}" for name in first)
    them = "it" if len(marked) == 1 else "them"
    best = found.headline.own[0].detector
    stays = f"; {best} stays first" if first[0] == best else f"; {first[0]} is first, not {best}"
    return [
        f"Left out of these means, as the audit marks {them} ! (a confound or a leak, see the"
        f" tables): {', '.join(marked)}. With {them} the mean AUCs are (nothing is tested here):"
        f" {shown}{stays if len(first) > 1 else ''}."
    ]


def as_one(found: Comparisons) -> str:
    """Which test sets are no test sets of their own, for a sentence."""
    together = [" + ".join(group) for group in found.overlap_groups if len(group) > 1]
    return f", {listed(together)} being one as they share images" if together else ""


def _left_out(found: Comparisons) -> list[str]:
    said = {
        "Left out, without a cross-domain AUC": found.left_out,
        "Left out, as its authors trained it on a test set of these means": found.seen,
    }
    return [f"{why}: {listed(names)}." for why, names in said.items() if names]


def _leaks(found: Comparisons) -> list[str]:
    if not found.leaked:
        return []
    cells = listed(f"{x} -> {y} ({n})" for (x, y), n in found.leaked.items())
    inside = sum(place in found.leaked for place in found.cells)
    images = f"Test images that leak from training are in these comparisons: {cells}; {inside} of"
    images += " the cross-domain cells."
    if not inside:
        images = f"Test images leak from training in {cells}, which is no cross-domain cell."
    return [f"{images} The matrix has those cells without them, too."]


def listed(texts: Iterable[str]) -> str:
    """Return several things in one sentence."""
    return "; ".join(texts)


def ranking(found: Comparisons, flags: Iterable[Flag] = ()) -> Table:
    """Return the ranked table of all detectors."""
    flagged: dict[str, list[str]] = {}
    for flag in flags:
        flagged.setdefault(flag.detector, []).append(flag.kind)
    with_marked = bool(found.marked_cells)
    head: list[str | Column] = [
        "detector",
        Column("cross-domain mean", "interval"),
        *([Column("with test sets marked !", "number")] if with_marked else []),
        Column("in-domain mean", "number"),
        Column("gap", "number", signed=True),
        Column("permuted labels", "interval"),
        "more than chance and shortcut baselines",
        Column("FPR at the source's 1 %", "number"),
        Column("TPR there", "number"),
        Column("FPR at the source's 5 %", "number"),
        Column("TPR there", "number"),
        "flags",
    ]
    rows = []
    for one in found.headline.standings:
        marked: list[Cell] = [found.with_marked.get(one.detector, math.nan)] if with_marked else []
        kinds = ", ".join(dict.fromkeys(flagged.get(one.detector, ())))
        cells = _ranked(one, claim_words(one, found))
        rows.append([*cells[:2], *marked, *cells[2:], kinds])
    return table(head, rows)


def _ranked(one: Standing, claim: str) -> list[Cell]:
    """A detector's row."""
    mean, chance = one.mean, one.chance
    unknown = "unknown" if one.is_given else "none"
    return [
        one.detector,
        (mean.value, mean.low, mean.high),
        unknown if math.isnan(one.in_domain) else one.in_domain,
        unknown if math.isnan(one.gap) else one.gap,
        (chance.value, chance.low, chance.high) if chance.models else "not computed",
        claim,
        *(
            unknown if math.isnan(rate) else rate
            for rate in (one.fpr1, one.tpr1, one.fpr5, one.tpr5)
        ),
    ]


def claim_words(one: Standing, found: Comparisons) -> str:
    """Return whether a detector is shown to generalise, for a table; what follows a colon is why
    nothing is claimed.
    """
    if one.is_given:
        return "trained elsewhere"
    if found.all_marked:
        return "no claim: all test sets are marked !"
    if one.verdict is Verdict.MORE_THAN_NOISE:
        return f"yes, {p_words(one.p_holm)}"
    if one.verdict is Verdict.NOT_MORE:
        return f"not shown, {p_words(one.p_holm)}"
    words: str = one.verdict.value
    return words

"""Which detector generalises best, and is that more than noise? The answer in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from study.analysis.comparisons import Comparisons, Pair
from study.analysis.results import Flag
from study.analysis.significance import Verdict
from study.render.flags import flags_sentences
from study.render.numbers import counted, number, p_words, with_interval
from study.statistics.differences import ALPHA

SAME = 1e-12  # between two AUCs: below it only rounding is left
QUESTION = "Which detector generalises best, and is that more than noise?"


def answer(found: Comparisons, flags: Iterable[Flag] = ()) -> str:
    """Return the answer to `QUESTION` in a few sentences, one a line; it says what cannot be said,
    too. flags: of pairings whose training or search was too little.
    """
    return "\n".join([_answer(found), *flags_sentences(flags)])


def _answer(found: Comparisons) -> str:
    if not found.cross_domain:
        why = "no test set lies outside the training set for every detector"
        if not found.test_sets:
            why = "nothing is scored yet"
        return f"{QUESTION}\nThat cannot be said: {why}."
    best, *rest = found.cross_domain
    sets = {test_on for _, test_on in found.cells}
    over = f"{counted(len(found.cells), 'cross-domain cell')} on {counted(len(sets), 'test set')}"
    lines = [QUESTION, _headline(found, best, over)]
    if rest:
        lines += [*_leads(found, best), _over_test_sets(found, best)]
    else:
        lines.append("It is the only detector there: there is nothing to compare it with.")
    return "\n".join([*lines, *_marks(found, best), *_left_out(found), *_leaks(found)])


def _headline(found: Comparisons, best: str, over: str) -> str:
    """The best detector's mean: of single models, as the matrix has it, and of the mean logit,
    which is tested.
    """
    tested, single = found.cross_domain, found.of_single_models
    if all(math.isclose(tested[name], single[name], abs_tol=SAME) for name in tested):
        return f"{best}: cross-domain mean AUC {number(tested[best])}, over {over}."
    first = max(single, key=lambda name: single[name])
    other = f" By the mean over seeds {first} is first, with {number(single[first])}."
    return (
        f"{best}: cross-domain mean AUC {number(single[best])} (the matrix's mean over seeds) over"
        f" {over}; {number(tested[best])} for the mean logit over its seeds, on which the tests"
        f" below are made.{'' if first == best else other}"
    )


def _marks(found: Comparisons, best: str) -> list[str]:
    """Which test sets the audit warns of, and what the means are without them."""
    sets = list(dict.fromkeys(test_on for _, test_on in found.cells))
    marked = [name for name in sets if name in found.marked]
    if not marked:
        return []
    are = "is" if len(marked) == 1 else "are"
    text = (
        f"{len(marked)} of {len(sets)} test sets {are} marked ! (a confound or a leak, see the"
        f" tables): {', '.join(marked)}."
    )
    clean = [i for i, (_, test_on) in enumerate(found.cells) if test_on not in marked]
    if not clean:
        return [f"{text} No cross-domain number rests on an unmarked one."]
    means = {name: fmean(aucs[i] for i in clean) for name, aucs in found.by_cell.items()}
    first = sorted(means, key=lambda name: -means[name])
    stays = f"; {best} stays first" if first[0] == best else f"; {first[0]} is first, not {best}"
    shown = listed(f"{name} {number(means[name])}" for name in first)
    return [
        f"{text} Without them the mean AUCs of the mean logits are (nothing is tested here):"
        f" {shown}{stays if len(first) > 1 else ''}."
    ]


def _leads(found: Comparisons, best: str) -> list[str]:
    """How far the best is ahead, and of whom by more than the images' sampling and the training
    seeds explain.
    """
    mine = [pair for pair in found.mean_pairs if pair.first == best]
    leads = {verdict: [p for p in mine if p.verdict is verdict] for verdict in Verdict}
    return [
        f"{verdict.value[0].upper()}{verdict.value[1:]}: its lead on {listed(map(_lead, pairs))}."
        for verdict, pairs in leads.items()
        if pairs
    ]


def _lead(pair: Pair) -> str:
    d = pair.difference
    if math.isnan(d.p):
        return f"{pair.second} of {number(d.value)} ({d.reason}{_over_seeds(pair)})"
    lead = with_interval(d.value, d.low, d.high)
    text = f"{pair.second} of {lead}, {p_words(pair.p_holm)}{_over_seeds(pair)}"
    unseen = pair.verdict is Verdict.NOT_MORE and not math.isnan(d.smallest)
    return f"{text} (a lead of {number(d.smallest)} would show 4 times in 5)" if unseen else text


def _over_seeds(pair: Pair) -> str:
    """What seeds say of a lead, for a sentence."""
    seeds = pair.seeds
    if seeds is None:
        return ""
    if seeds.reason:
        return f", over seeds unknown ({seeds.reason})"
    if seeds.fixed:
        return ", no seed changes it"
    both = "" if math.isnan(pair.p_noise) else f", with both {p_words(pair.p_noise)}"
    return f", over seeds {with_interval(seeds.mean, seeds.low, seeds.high)}{both}"


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


def as_one(found: Comparisons) -> str:
    """Which test sets are no test sets of their own, for a sentence."""
    together = [" + ".join(group) for group in found.overlap_groups if len(group) > 1]
    return f", {listed(together)} being one as they share images" if together else ""


def _left_out(found: Comparisons) -> list[str]:
    without = f"Left out, without a cross-domain AUC: {listed(found.left_out)}."
    return [without] if found.left_out else []


def _leaks(found: Comparisons) -> list[str]:
    if not found.leaked:
        return []
    cells = listed(f"{x} -> {y} ({n})" for (x, y), n in found.leaked.items())
    inside = sum(place in found.leaked for place in found.cells)
    where = f"{inside} of the cross-domain cells" if inside else "no cross-domain cell"
    images = f"Test images that leak from training are in these comparisons: {cells}; {where}."
    return [f"{images} The matrix has those cells without them, too."]


def listed(texts: Iterable[str]) -> str:
    """Return several things in one sentence."""
    return "; ".join(texts)

"""What a study's comparisons say: the answer in words, comparisons.md, and comparisons.csv.

One line of comparisons.csv is one pair of detectors: in a cell, or, where `scope` is
`cross_domain_mean`, in the mean over the cross-domain cells. Floats come back bit for bit; NaN is
an empty field, and `reason` says why.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean

from study.analysis.comparisons import Comparisons, Pair
from study.statistics.differences import ALPHA
from study.store.store import Store

SCHEMA = 2
COLUMNS = (
    *(
        "schema",
        "scope",
        "train_on",
        "test_on",
        "first",
        "second",
        "auc_first",
        "auc_second",
        "difference",
        "low",
        "high",
    ),
    *(
        "p",
        "p_holm",
        "smallest_difference",
        "n_real",
        "n_fake",
        "n_groups",
        "how",
        "reason",
        "note",
    ),
    *("seeds_difference", "seeds_low", "seeds_high", "seeds_p", "seeds_reason", "p_noise"),
)
SAME = 1e-12  # between two AUCs: below it only rounding is left
QUESTION = "Which detector generalises best, and is that more than noise?"


def write_comparisons(found: Comparisons, store: Store) -> list[Path]:
    """Write comparisons.md, comparisons.csv and, where ranks exist, the diagram; return the files.
    Raises StoreError.
    """
    from study.render.figures import critical_difference

    files = [store.folder / "comparisons.md", store.folder / "comparisons.csv"]
    store.save_text(files[0], markdown(found))
    store.save_text(files[1], csv_text(found))
    if found.ranks.n > 1 and len(found.cross_domain) > 1:
        files.append(store.figures / "critical_difference.png")
        critical_difference(tuple(found.cross_domain), found.ranks, files[-1])
    return files


def answer(found: Comparisons) -> str:
    """Return the answer to `QUESTION` in a few sentences, one a line; it says what cannot be said,
    too.
    """
    if not found.cross_domain:
        why = (
            "nothing is scored yet"
            if not found.test_sets
            else "no test set lies outside the training set for every detector"
        )
        return f"{QUESTION}\nThat cannot be said: {why}."
    best, *rest = found.cross_domain
    cells, sets = len(found.cells), len({test_on for _, test_on in found.cells})
    over = (
        f"{cells} cross-domain cell{'s' if cells > 1 else ''} on {sets} test"
        f" set{'s' if sets > 1 else ''}"
    )
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
        return f"{best}: cross-domain mean AUC {tested[best]:.3f}, over {over}."
    first = max(single, key=lambda name: single[name])
    other = (
        ""
        if first == best
        else f" By the mean over seeds {first} is first, with {single[first]:.3f}."
    )
    return (
        f"{best}: cross-domain mean AUC {single[best]:.3f} (the matrix's mean over seeds) over"
        f" {over}; {tested[best]:.3f} for the mean logit over its seeds, on which the tests below"
        f" are made.{other}"
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
    stays = (
        ""
        if len(first) == 1
        else f"; {best} stays first"
        if first[0] == best
        else f"; {first[0]} is first, not {best}"
    )
    shown = _listed(f"{name} {means[name]:.3f}" for name in first)
    return [
        f"{text} Without them the mean AUCs of the mean logits are (nothing is tested here):"
        f" {shown}{stays}."
    ]


def _leads(found: Comparisons, best: str) -> list[str]:
    """How far the best is ahead, and of whom by more than the images' sampling and the training
    seeds explain.
    """
    mine = sorted(
        (pair for pair in found.mean_pairs if pair.first == best),
        key=lambda pair: VERDICTS.index(_verdict(pair)),
    )
    return [
        f"{kind}: its lead on {_listed(map(_lead, pairs))}."
        for kind, pairs in groupby(mine, key=_verdict)
    ]


VERDICTS = (
    "More than noise, of images and of training seeds",
    "More than noise of the images, but no more than training seeds could explain",
    "More than noise of the images; whether of training seeds too is unknown",
    "Over the images, not more than noise",
    "Cannot be tested",
)


def _verdict(pair: Pair) -> str:
    """Which of `VERDICTS` a lead has. What is undefined is neither noise nor more."""
    both, seeds, unknown, level, untested = VERDICTS
    if math.isnan(pair.p_holm):
        return untested
    if pair.p_holm >= ALPHA:
        return level
    return unknown if math.isnan(pair.p_noise) else both if pair.p_noise < ALPHA else seeds


def _lead(pair: Pair) -> str:
    d = pair.difference
    if math.isnan(d.p):
        return f"{pair.second} of {d.value:.3f} ({d.reason}{_over_seeds(pair)})"
    text = (
        f"{pair.second} of {d.value:.3f} [{d.low:.3f}, {d.high:.3f}],"
        f" {_p(pair.p_holm)}{_over_seeds(pair)}"
    )
    unseen = pair.p_holm >= ALPHA and not math.isnan(d.smallest)
    return f"{text} (a lead of {d.smallest:.3f} would show 4 times in 5)" if unseen else text


def _over_seeds(pair: Pair) -> str:
    """What seeds say of a lead, for a sentence."""
    seeds = pair.seeds
    if seeds is None:
        return ""
    if seeds.reason:
        return f", over seeds unknown ({seeds.reason})"
    if seeds.fixed:
        return ", no seed changes it"
    both = "" if math.isnan(pair.p_noise) else f", with both {_p(pair.p_noise)}"
    return f", over seeds {seeds.mean:.3f} [{seeds.low:.3f}, {seeds.high:.3f}]{both}"


def _over_test_sets(found: Comparisons, best: str) -> str:
    ranks = found.ranks
    if ranks.reason:
        return (
            "Over test sets, whether it holds for others cannot be said"
            f" ({ranks.reason}{_as_one(found)})."
        )
    sets = f"{ranks.n} test sets{_as_one(found)} (Friedman, {_p(ranks.p)})"
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
    words = f"not told apart from {_listed(beside)}" if beside else "told apart from all others"
    other = "" if first == best else f", which is not {best}"
    return (
        f"Over test sets, the mean ranks differ over {sets}: {first} ranks first{other}, {words}."
    )


def _as_one(found: Comparisons) -> str:
    """Which test sets are no test sets of their own, for a sentence."""
    overlap_groups = [" + ".join(family) for family in found.overlap_groups if len(family) > 1]
    return f", {_listed(overlap_groups)} being one as they share images" if overlap_groups else ""


def _left_out(found: Comparisons) -> list[str]:
    return (
        [f"Left out, without a cross-domain AUC: {_listed(found.left_out)}."]
        if found.left_out
        else []
    )


def _leaks(found: Comparisons) -> list[str]:
    if not found.leaked:
        return []
    cells = _listed(f"{x} -> {y} ({n})" for (x, y), n in found.leaked.items())
    inside = sum(place in found.leaked for place in found.cells)
    where = f"{inside} of the cross-domain cells" if inside else "no cross-domain cell"
    images = f"Test images that leak from training are in these comparisons: {cells}; {where}."
    return [f"{images} The matrix has those cells without them, too."]


def _listed(texts: Iterable[str]) -> str:
    return "; ".join(texts)


def _p(p: float) -> str:
    return "p undefined" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def markdown(found: Comparisons) -> str:
    """Return comparisons.md. Ends with a newline."""
    sentences = answer(found).splitlines()[1:]
    parts = [f"# {QUESTION}", "\n".join(f"* {line}" for line in sentences), _explained()]
    if len(found.cross_domain) > 1:
        parts += [
            "## Cross-domain means",
            _means(found),
            _pair_table(found.mean_pairs, cells=False),
            "## Ranks over test sets",
            _ranks(found),
        ]
    if len(found.test_sets) > 1:
        parts += ["## Do the test sets agree on which pairing is better?", _agreement(found)]
    if found.pairs:
        parts += ["## Every cell", _pair_table(found.pairs, cells=True, leaked=found.leaked)]
    return "\n\n".join(parts) + "\n"


def _explained() -> str:
    return """AUC (mean logit): of the mean logit over seeds, in effect an ensemble of them, on the
    images that all detectors
scored; mean over seeds: of single models, as in the matrix. Tests are of mean logits. [95 %
interval] of the difference: paired DeLong where every group has one image, else the paired cluster
bootstrap, never claiming more than an exact bound. p: two-sided, after Holm over the table.
Smallest: the true difference that so many images show with 80 % power at alpha .05 (in one test,
before Holm). Test sets that share images are resampled together (DeLong's variance, clustered);
others count as independent.
Over seeds: the lead of the seeds' mean AUCs with Welch's 95 % interval. p of both: the largest of
the images' p, the seeds' and that of both errors at once, after Holm: below .05 the lead is more
than noise. Between cells seeds are not compared: their spread is in matrix.csv."""


def _means(found: Comparisons) -> str:
    head = [["detector", "mean over seeds", "AUC (mean logit)"], ["---"] * 3]
    return _pipes(
        [
            *head,
            *(
                [d, _number(found.of_single_models[d]), _number(mean)]
                for d, mean in found.cross_domain.items()
            ),
        ]
    )


def _pair_table(
    pairs: Sequence[Pair], *, cells: bool, leaked: Mapping[tuple[str, str], int] | None = None
) -> str:
    place = ["train on", "test on"] if cells else []
    over = [] if cells else ["over seeds", "p of both"]
    aucs = ["AUC of first (mean logit)", "AUC of second (mean logit)"]
    head = [*place, "first", "second", *aucs, "difference", "p (Holm)", "smallest", *over, "note"]
    lines = [head, ["---"] * len(head)]
    for pair in pairs:
        d = pair.difference
        interval = "" if math.isnan(d.low) else f" [{d.low:.3f}, {d.high:.3f}]"
        of_both = [_number(pair.auc_first), _number(pair.auc_second)]
        leaks = _leak_note((leaked or {}).get((pair.train_on, pair.test_on), 0))
        note = "; ".join(
            text for text in (d.reason, d.note, d.how if "exact" in d.how else "", leaks) if text
        )
        where = [pair.train_on, pair.test_on] if cells else []
        numbers = [f"{_number(d.value)}{interval}", _bare(pair.p_holm), _number(d.smallest)]
        lines.append(
            [
                *where,
                pair.first,
                pair.second,
                *of_both,
                *numbers,
                *([] if cells else _seed_columns(pair)),
                note,
            ]
        )
    return _pipes(lines)


def _leak_note(leaked: int) -> str:
    return (
        f"{leaked} of its images leak{'s' if leaked == 1 else ''} from training" if leaked else ""
    )


def _seed_columns(pair: Pair) -> list[str]:
    seeds = pair.seeds
    assert seeds is not None, "every comparison of means has one over seeds"
    shown = (
        f"{seeds.reason}: unknown" if seeds.reason else "no seed changes it" if seeds.fixed else ""
    )
    return [
        shown or f"{_number(seeds.mean)} [{seeds.low:.3f}, {seeds.high:.3f}]",
        _bare(pair.p_noise),
    ]


def _bare(p: float) -> str:
    return _p(p).removeprefix("p ").removeprefix("= ")


def _ranks(found: Comparisons) -> str:
    ranks, names = found.ranks, list(found.cross_domain)
    words = ranks.reason or f"Friedman chi squared {ranks.statistic:.2f}, {_p(ranks.p)}"
    lines = [f"{ranks.n} test sets{_as_one(found)}. {words[0].upper()}{words[1:]}."]
    if not math.isnan(ranks.critical_difference):
        together = (
            _listed(" = ".join(names[i] for i in clique) for clique in ranks.cliques) or "none"
        )
        lines.append(
            f"Critical difference (Nemenyi, .05): {ranks.critical_difference:.2f}. Not told apart:"
            f" {together}."
        )
    table = [["detector", "mean rank"], ["---", "---"]]
    table += [
        [name, _number(float(rank))] for name, rank in zip(names, ranks.mean_ranks, strict=True)
    ]
    return "\n\n".join([*lines, _pipes(table)])


def _agreement(found: Comparisons) -> str:
    names = found.test_sets
    table = [["", *names], ["---"] * (len(names) + 1)]
    for i, name in enumerate(names):
        rho = [
            f"{_number(float(found.agreement[i, j]))} ({found.rows[i, j]})" if i != j else ""
            for j in range(len(names))
        ]
        table.append([name, *rho])
    return (
        "Spearman's rho over the pairings that were trained on neither (so many); undefined below"
        f" three.\n\n{_pipes(table)}"
    )


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _pipes(table: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in table
    )


def csv_text(found: Comparisons) -> str:
    """Return comparisons.csv, the pairs of the cells and then those of the means."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        _fields("cell", pair, found.leaked.get((pair.train_on, pair.test_on), 0))
        for pair in found.pairs
    )
    in_means = sum(found.leaked.get(place, 0) for place in found.cells)
    writer.writerows(_fields("cross_domain_mean", pair, in_means) for pair in found.mean_pairs)
    return file.getvalue()


def _fields(scope: str, pair: Pair, leaked: int) -> list[str]:
    d, seeds = pair.difference, pair.seeds
    texts = _texts(
        pair.auc_first, pair.auc_second, d.value, d.low, d.high, d.p, pair.p_holm, d.smallest
    )
    counts = [str(pair.n_real), str(pair.n_fake), str(pair.n_groups)]
    over = (
        [""] * 5
        if seeds is None
        else [*_texts(seeds.mean, seeds.low, seeds.high, seeds.p), seeds.reason]
    )
    note = "; ".join(text for text in (d.note, _leak_note(leaked)) if text)
    place = [str(SCHEMA), scope, pair.train_on, pair.test_on, pair.first, pair.second]
    return [*place, *texts, *counts, d.how, d.reason, note, *over, *_texts(pair.p_noise)]


def _texts(*numbers: float) -> list[str]:
    return ["" if math.isnan(number) else repr(number) for number in numbers]

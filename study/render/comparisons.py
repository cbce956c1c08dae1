"""What a study's comparisons say, as comparisons.md and comparisons.csv.

One line of comparisons.csv is one pair of detectors: in a cell, or, where `scope` is
`cross_domain_mean`, in the mean over the cross-domain cells. Floats come back bit for bit; NaN is
an empty field, and `reason` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from study.analysis.comparisons import Comparisons, Pair
from study.analysis.results import Flag
from study.render.answer import QUESTION, answer, as_one, listed
from study.render.numbers import number, p_words
from study.render.table import Cell, Column, csv_text, markdown, table

SCHEMA = 2
COLUMNS = (
    *("schema", "scope", "train_on", "test_on", "first", "second", "auc_first", "auc_second"),
    *("difference", "low", "high", "p", "p_holm", "smallest_difference"),
    *("n_real", "n_fake", "n_groups", "how", "reason", "note"),
    *("seeds_difference", "seeds_low", "seeds_high", "seeds_p", "seeds_reason", "p_noise"),
)


def comparisons_markdown(found: Comparisons, flags: Iterable[Flag] = ()) -> str:
    """Return comparisons.md. Ends with a newline."""
    sentences = answer(found, flags).splitlines()[1:]
    parts = [f"# {QUESTION}", "\n".join(f"* {line}" for line in sentences), EXPLAINED]
    if len(found.cross_domain) > 1:
        parts += ["## Cross-domain means", _means(found), _mean_pairs(found.mean_pairs)]
        parts += ["## Ranks over test sets", _ranks(found)]
    if len(found.test_sets) > 1:
        parts += ["## Do the test sets agree on which pairing is better?", _agreement(found)]
    if found.pairs:
        parts += ["## Every cell", _cell_pairs(found.pairs, found.leaked)]
    return "\n\n".join(parts) + "\n"


EXPLAINED = """AUC (mean logit): of the mean logit over seeds, in effect an ensemble of them, on the
images that all detectors scored; mean over seeds: of single models, as in the matrix. Tests are of
mean logits. [95 % interval] of the difference: paired DeLong where every group has one image, else
the paired cluster bootstrap, never claiming more than an exact bound. p: two-sided, after Holm over
the table. Smallest: the true difference that so many images show with 80 % power at alpha .05 (in
one test, before Holm). Test sets that share images are resampled together (DeLong's variance,
clustered); others count as independent.
Over seeds: the lead of the seeds' mean AUCs with Welch's 95 % interval. p of both: the largest of
the images' p, the seeds' and that of both errors at once, after Holm: below .05 the lead is more
than noise. Between cells seeds are not compared: their spread is in matrix.csv."""


def _means(found: Comparisons) -> str:
    head = ("detector", Column("mean over seeds", "number"), Column("AUC (mean logit)", "number"))
    means = found.cross_domain.items()
    return markdown(table(head, [(name, found.of_single_models[name], auc) for name, auc in means]))


TESTED = (
    "first",
    "second",
    Column("AUC of first (mean logit)", "number"),
    Column("AUC of second (mean logit)", "number"),
    Column("difference", "interval"),
    Column("p (Holm)", "p"),
    Column("smallest", "number"),
)


def _cell_pairs(pairs: Sequence[Pair], leaked: Mapping[tuple[str, str], int]) -> str:
    rows = [
        (pair.train_on, pair.test_on, *_tested(pair), _note(pair, _leaked_in(pair, leaked)))
        for pair in pairs
    ]
    return markdown(table(("train on", "test on", *TESTED, "note"), rows))


def _mean_pairs(pairs: Sequence[Pair]) -> str:
    over = (Column("over seeds", "interval"), Column("p of both", "p"))
    rows = [(*_tested(pair), _over_seeds(pair), pair.p_noise, _note(pair, 0)) for pair in pairs]
    return markdown(table((*TESTED, *over, "note"), rows))


def _tested(pair: Pair) -> list[Cell]:
    d = pair.difference
    aucs = (pair.auc_first, pair.auc_second)
    return [pair.first, pair.second, *aucs, (d.value, d.low, d.high), pair.p_holm, d.smallest]


def _over_seeds(pair: Pair) -> Cell:
    seeds = pair.seeds
    assert seeds is not None, "every comparison of means has one over seeds"
    if seeds.reason:
        return f"{seeds.reason}: unknown"
    return "no seed changes it" if seeds.fixed else (seeds.mean, seeds.low, seeds.high)


def _note(pair: Pair, leaked: int) -> str:
    d = pair.difference
    how = d.how if "exact" in d.how else ""
    return "; ".join(filter(None, (d.reason, d.note, how, _leaks(leaked))))


def _leaked_in(pair: Pair, leaked: Mapping[tuple[str, str], int]) -> int:
    return leaked.get((pair.train_on, pair.test_on), 0)


def _leaks(leaked: int) -> str:
    if not leaked:
        return ""
    return f"{leaked} of its images leak{'s' if leaked == 1 else ''} from training"


def _ranks(found: Comparisons) -> str:
    ranks, names = found.ranks, list(found.cross_domain)
    words = ranks.reason or f"Friedman chi squared {ranks.statistic:.2f}, {p_words(ranks.p)}"
    lines = [f"{ranks.n} test sets{as_one(found)}. {words[0].upper()}{words[1:]}."]
    if not math.isnan(ranks.critical_difference):
        together = listed(" = ".join(names[i] for i in clique) for clique in ranks.cliques)
        lines.append(
            f"Critical difference (Nemenyi, .05): {ranks.critical_difference:.2f}. Not told apart:"
            f" {together or 'none'}."
        )
    rows = zip(names, map(float, ranks.mean_ranks), strict=True)
    lines.append(markdown(table(("detector", Column("mean rank", "number")), rows)))
    return "\n\n".join(lines)


def _agreement(found: Comparisons) -> str:
    names = found.test_sets
    rho = [
        [
            f"{number(float(found.agreement[i, j]))} ({found.rows[i, j]})" if i != j else ""
            for j in range(len(names))
        ]
        for i in range(len(names))
    ]
    rows = [(name, *of) for name, of in zip(names, rho, strict=True)]
    return (
        "Spearman's rho over the pairings that were trained on neither (so many); undefined below"
        f" three.\n\n{markdown(table(('', *names), rows))}"
    )


def comparisons_csv(found: Comparisons) -> str:
    """Return comparisons.csv, the pairs of the cells and then those of the means."""
    in_means = sum(found.leaked.get(place, 0) for place in found.cells)
    rows = [_fields("cell", pair, _leaked_in(pair, found.leaked)) for pair in found.pairs]
    rows += [_fields("cross_domain_mean", pair, in_means) for pair in found.mean_pairs]
    return csv_text(table(COLUMNS, rows))


def _fields(scope: str, pair: Pair, leaked: int) -> list[Cell]:
    d, seeds = pair.difference, pair.seeds
    over: list[Cell] = [""] * 5
    if seeds is not None:
        over = [seeds.mean, seeds.low, seeds.high, seeds.p, seeds.reason]
    return [
        *(SCHEMA, scope, pair.train_on, pair.test_on, pair.first, pair.second),
        *(pair.auc_first, pair.auc_second, d.value, d.low, d.high, d.p, pair.p_holm, d.smallest),
        *(pair.n_real, pair.n_fake, pair.n_groups, d.how, d.reason),
        "; ".join(filter(None, (d.note, _leaks(leaked)))),
        *over,
        pair.p_noise,
    ]

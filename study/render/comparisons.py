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
from study.render.answer import QUESTION, answer, as_one, listed, ranking
from study.render.numbers import number, p_words
from study.render.table import Cell, Column, csv_text, markdown, table

SCHEMA = 3
COLUMNS = (
    *("schema", "scope", "train_on", "test_on", "first", "second", "auc_first", "auc_second"),
    *("difference", "low", "high", "p", "p_holm", "smallest_difference", "verdict"),
    *("training_counted", "images_variance", "training_variance", "degrees_of_freedom"),
    *("n_real", "n_fake", "n_groups", "how", "reason", "note"),
)


def comparisons_markdown(found: Comparisons, flags: Iterable[Flag] = ()) -> str:
    """Return comparisons.md. Ends with a newline."""
    flags = [*flags]
    sentences = answer(found, flags).splitlines()[1:]
    parts = [f"# {QUESTION}", "\n".join(f"* {line}" for line in sentences)]
    if found.headline.standings:
        parts += ["## All detectors", markdown(ranking(found, flags))]
    parts.append(f"{EXPLAINED} {_of_repeats(found.repeats)}")
    if len(found.cross_domain) > 1:
        parts += ["## Cross-domain means, by pairs", _mean_pairs(found.mean_pairs)]
        parts += ["## Ranks over test sets", _ranks(found)]
    if len(found.test_sets) > 1:
        parts += ["## Do the test sets agree on which pairing is better?", _agreement(found)]
    if found.pairs:
        parts += ["## Every cell", _cell_pairs(found.pairs, found.leaked)]
    return "\n\n".join(parts) + "\n"


EXPLAINED = """AUC: of single models, mean over seeds, on the images that all detectors scored.
[95 % interval]: of one model, over test images, training samples and seeds. The test sets are held
fixed, so "generalises" means to these sets. The
training sample counts by models that are trained on disjoint halves of the training groups. p:
two-sided, by the same error, after Holm over the table. Below 50 groups of a class the images' part
comes from flips of the groups' signs. Smallest: the true difference that would show 4 times in 5
after Holm's first step. Test sets that share images count as one family (DeLong's variance,
clustered). Families count as independent. Permuted labels: what the detector's models of permuted
labels have in the same mean, and the ends of the null band. More than chance and shortcut
baselines: the largest p against the null band (else against .5) and against the classifiers of file
metadata and of border and brightness, after Holm over the detectors."""


def _of_repeats(repeats: int) -> str:
    """Say whether another search is counted."""
    if repeats == 1:
        return (
            "The validation split and the configuration are held fixed: what another search would"
            " have selected is in no interval and in no p."
        )
    return (
        f"All of it is the mean over {repeats} repeats of the study, and intervals and p count what"
        " another search would have selected. Null bands, and comparisons with detectors that were"
        " run elsewhere, are of the first repeat."
    )


TESTED = (
    "first",
    "second",
    Column("AUC of first", "number"),
    Column("AUC of second", "number"),
    Column("difference", "interval"),
    Column("p (Holm)", "p"),
    Column("smallest", "number"),
    "verdict",
)


def _cell_pairs(pairs: Sequence[Pair], leaked: Mapping[tuple[str, str], int]) -> str:
    rows = [
        (pair.train_on, pair.test_on, *_tested(pair), _note(pair, _leaked_in(pair, leaked)))
        for pair in pairs
    ]
    return markdown(table(("train on", "test on", *TESTED, "note"), rows))


def _mean_pairs(pairs: Sequence[Pair]) -> str:
    rows = [(*_tested(pair), _note(pair, 0)) for pair in pairs]
    return markdown(table((*TESTED, "note"), rows))


def _tested(pair: Pair) -> list[Cell]:
    d = pair.finding
    aucs = (pair.auc_first, pair.auc_second)
    smallest: Cell = d.smallest
    if not d.counted:  # it would be of the test images alone
        smallest = ""
    elif math.isnan(d.smallest) and not math.isnan(d.p):
        smallest = "none up to 0.5"
    tested = ((d.value, d.low, d.high), pair.p_holm, smallest, pair.verdict.value)
    return [pair.first, pair.second, *aucs, *tested]


def _note(pair: Pair, leaked: int) -> str:
    d = pair.finding
    how = "" if d.how == "t" else d.how
    return "; ".join(filter(None, (d.reason, pair.note, how, _leaks(leaked))))


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
    d = pair.finding
    return [
        *(SCHEMA, scope, pair.train_on, pair.test_on, pair.first, pair.second),
        *(pair.auc_first, pair.auc_second, d.value, d.low, d.high, d.p, pair.p_holm, d.smallest),
        *(pair.verdict.value, d.counted, d.images, d.training, d.degrees),
        *(pair.n_real, pair.n_fake, pair.n_groups, d.how, d.reason),
        "; ".join(filter(None, (pair.note, _leaks(leaked)))),
    ]

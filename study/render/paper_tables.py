"""Tables for a paper: the matrix of AUCs and the ranked detectors. They are LaTeX for a document
that loads `booktabs`, and Markdown. Bold is a claim: it stands only where a difference is more than
noise.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from study.analysis.comparisons import Comparisons, Pair
from study.analysis.headline import Standing
from study.analysis.results import ResultRow, Results
from study.analysis.significance import Verdict
from study.render.grid import state_words
from study.render.marks import IN_DOMAIN, SHARES, WARNED, explained
from study.render.numbers import ends, number, p_text
from study.render.table import escaped, markdown_words

Place = tuple[str, str]  # train_on, test_on
MATRIX = (
    "Mean AUC over seeds [95 % interval] of one model, over test images, training samples and"
    " seeds. Bold: ahead of every other detector of the cell by more than noise, after Holm over"
    " all comparisons."
)
RANKED = (
    "Mean AUC over the cross-domain cells [95 % interval]. p: more than chance and than the"
    " shortcut baselines (classifiers of file metadata, and of border and brightness), after Holm."
    " Bold: ahead of every other detector by more than noise."
)


@dataclass(frozen=True)
class Markup:
    """A language that a paper is written in.

    words: a text whose characters stand for themselves. bold, small: around what is written
    already. gap: stands where another cell has a star. p, less: a p-value's name, and `<`.
    whole: notes, head and lines as a table; an empty line parts the lines around it.
    """

    words: Callable[[str], str]
    bold: Callable[[str], str]
    small: Callable[[str], str]
    gap: str
    p: str
    less: str
    whole: Callable[[Sequence[str], Sequence[str], Iterable[Sequence[str]]], str]


def _booktabs(notes: Sequence[str], head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A tabular with the rules of booktabs, below its notes as comments."""
    said = [f"% {line}" for note in notes for line in textwrap.wrap(note, 90)]
    body = [" & ".join(line) + r" \\" if line else r"\midrule" for line in lines]
    top = [rf"\begin{{tabular}}{{{'l' * len(head)}}}", r"\toprule", " & ".join(head) + r" \\"]
    parts = ["% \\usepackage{booktabs}", *said, *top, r"\midrule", *body]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _pipes(notes: Sequence[str], head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table below its notes. It has no rules, so an empty line is left out."""
    rows = [f"| {' | '.join(line)} |" for line in [head, *lines] if line]
    whole = "\n".join([rows[0], "|" + "---|" * len(head), *rows[1:]])
    return "\n\n".join([*map(markdown_words, notes), whole]) + "\n"


LATEX = Markup(
    words=escaped,
    bold=lambda text: rf"\textbf{{{text}}}",
    small=lambda text: rf"{{\footnotesize {text}}}",
    gap=r"\phantom{*}",
    p="$p$",
    less="$<$",
    whole=_booktabs,
)
MARKDOWN = Markup(
    words=markdown_words,
    bold=lambda text: f"**{text}**",
    small=lambda text: text,
    gap="",
    p="p",
    less="<",
    whole=_pipes,
)
ENDINGS = {"tex": LATEX, "md": MARKDOWN}


def matrix_table(results: Results, found: Comparisons, to: Markup) -> str:
    """Return the matrix of AUCs: training sets, below each the detectors; test sets across."""
    rows = [
        row
        for row in results.rows
        if row.is_plain and (row.seed, row.metric) == ("mean", "auc") and row.role == "detector"
    ]
    tests = list(dict.fromkeys(row.test_on for row in rows))
    cells = {(row.train_on, row.detector, row.test_on): row for row in rows}
    best = best_of_cells(found.pairs)
    marked, leaky, shared = results.warnings(), results.leaky(), results.overlaps()
    columns = [to.words(f"{y} {WARNED}" if y in marked else y) for y in tests]
    lines: list[list[str]] = []
    for source in dict.fromkeys(row.train_on for row in rows):
        mine = dict.fromkeys(row.detector for row in rows if row.train_on == source)
        for at, detector in enumerate(mine):
            words = [
                _cell(
                    cells.get((source, detector, y)),
                    WARNED * ((source, y) in leaky) + SHARES * ((source, y) in shared),
                    to,
                    is_best=best.get((source, y)) == detector,
                )
                for y in tests
            ]
            lines.append([to.words(source) if at == 0 else "", to.words(detector), *words])
        lines.append([])
    notes = [MATRIX, *map(explained, (IN_DOMAIN, WARNED, SHARES))]
    return to.whole(notes, ["train on", "detector", *columns], lines[:-1])


def best_of_cells(pairs: Iterable[Pair]) -> dict[Place, str]:
    """Return the detector that is ahead of every other by more than noise, of the cells that have
    one.
    """
    among: dict[Place, set[str]] = {}
    wins: dict[tuple[Place, str], int] = {}
    for pair in pairs:
        place = pair.train_on, pair.test_on
        among.setdefault(place, set()).update((pair.first, pair.second))
        if pair.verdict is Verdict.MORE_THAN_NOISE:
            ahead = pair.first if pair.finding.value > 0 else pair.second
            wins[place, ahead] = wins.get((place, ahead), 0) + 1
    return {place: name for (place, name), n in wins.items() if n == len(among[place]) - 1}


def _cell(row: ResultRow | None, marks: str, to: Markup, *, is_best: bool) -> str:
    if row is None or not row.has_number:
        return to.words(state_words(row))
    value = number(row.estimate.value)
    value = to.bold(value) if is_best else value
    star = to.words(IN_DOMAIN) if row.domain == "in" else to.gap
    interval = ends(row.estimate.low, row.estimate.high)
    return f"{value}{star}{to.words(marks)} {to.small(interval)}"


def ranking_table(found: Comparisons, to: Markup) -> str:
    """Return the detectors by their cross-domain means; "" where there are none."""
    standings = found.headline.standings
    if not standings:
        return ""
    first = standings[0].detector
    beaten = {
        pair.second
        for pair in found.mean_pairs
        if pair.first == first and pair.verdict is Verdict.MORE_THAN_NOISE
    }
    is_best = len(standings) > 1 and beaten == {one.detector for one in standings[1:]}
    head = ["detector", "cross-domain", "in-domain", "permuted labels", to.p]
    lines = [_ranked(one, to, bold=is_best and one.detector == first) for one in standings]
    return to.whole([RANKED], head, lines)


def _ranked(one: Standing, to: Markup, *, bold: bool) -> list[str]:
    mean, chance = one.mean, one.chance
    value = to.bold(number(mean.value)) if bold else number(mean.value)
    band = f"{number(chance.value)} {ends(chance.low, chance.high)}" if chance.models else "--"
    in_domain = "--" if math.isnan(one.in_domain) else number(one.in_domain)
    p = "--" if math.isnan(one.p_holm) else p_text(one.p_holm).replace("<", to.less)
    return [
        to.words(one.detector),
        f"{value} {to.small(ends(mean.low, mean.high))}",
        in_domain,
        band,
        p,
    ]


def paper_tables(results: Results, found: Comparisons) -> Mapping[str, str]:
    """Return the tables by the names of their files, each as LaTeX and as Markdown."""
    files = {}
    for ending, to in ENDINGS.items():
        files[f"matrix.{ending}"] = matrix_table(results, found, to)
        files[f"ranking.{ending}"] = ranking_table(found, to)
    return {name: text for name, text in files.items() if text}

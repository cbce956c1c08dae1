"""Tables for a paper, as LaTeX for a document that loads `booktabs`: the matrix of AUCs and the
ranked detectors. Bold is a claim: it stands only where a difference is more than noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from study.analysis.comparisons import Comparisons, Pair
from study.analysis.headline import Standing
from study.analysis.results import ResultRow, Results
from study.analysis.significance import Verdict
from study.render.grid import state_words
from study.render.marks import IN_DOMAIN, SHARES, WARNED, explained
from study.render.numbers import ends, number, p_text
from study.render.table import escaped

Place = tuple[str, str]  # train_on, test_on
HEAD = (
    "% \\usepackage{booktabs}. Mean AUC over seeds [95 % interval] of one model, over test\n"
    "% images, training samples and seeds. Bold: ahead of every other detector of the cell by\n"
    "% more than noise, after Holm over all comparisons.\n"
    f"% {explained('*')}\n% {explained('!')}\n% {explained('~')}\n"
)
RANKED = (
    "% \\usepackage{booktabs}. Mean AUC over the cross-domain cells [95 % interval]. p: more than\n"
    "% chance and than the classifiers without pixels, after Holm. Bold: ahead of every other\n"
    "% detector by more than noise.\n"
)


def matrix_latex(results: Results, found: Comparisons) -> str:
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
    columns = [f"{escaped(y)}{f'~{WARNED}' if y in marked else ''}" for y in tests]
    lines = []
    for source in dict.fromkeys(row.train_on for row in rows):
        mine = dict.fromkeys(row.detector for row in rows if row.train_on == source)
        for at, detector in enumerate(mine):
            words = [
                _cell(
                    cells.get((source, detector, y)),
                    WARNED * ((source, y) in leaky) + SHARES * ((source, y) in shared),
                    is_best=best.get((source, y)) == detector,
                )
                for y in tests
            ]
            lines.append([escaped(source) if at == 0 else "", escaped(detector), *words])
        lines.append([])
    return HEAD + _tabular("ll" + "l" * len(tests), ["train on", "detector", *columns], lines[:-1])


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


def _cell(row: ResultRow | None, marks: str, *, is_best: bool) -> str:
    if row is None or not row.has_number:
        return escaped(state_words(row))
    value = number(row.estimate.value)
    value = rf"\textbf{{{value}}}" if is_best else value
    star = IN_DOMAIN if row.domain == "in" else r"\phantom{*}"
    interval = ends(row.estimate.low, row.estimate.high)
    return f"{value}{star}{escaped(marks)} {{\\footnotesize {interval}}}"


def ranking_latex(found: Comparisons) -> str:
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
    head = ["detector", "cross-domain", "in-domain", "permuted labels", "$p$"]
    lines = [_ranked(one, bold=is_best and one.detector == first) for one in standings]
    return RANKED + _tabular("lllll", head, lines)


def _ranked(one: Standing, *, bold: bool) -> list[str]:
    mean, chance = one.mean, one.chance
    value = rf"\textbf{{{number(mean.value)}}}" if bold else number(mean.value)
    band = f"{number(chance.value)} {ends(chance.low, chance.high)}" if chance.models else "--"
    in_domain = "--" if math.isnan(one.in_domain) else number(one.in_domain)
    p = "--" if math.isnan(one.p_holm) else p_text(one.p_holm).replace("<", "$<$")
    interval = f"{{\\footnotesize {ends(mean.low, mean.high)}}}"
    return [escaped(one.detector), f"{value} {interval}", in_domain, band, p]


def _tabular(layout: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A tabular with the rules of booktabs; an empty line is a rule."""
    body = [" & ".join(line) + r" \\" if line else r"\midrule" for line in lines]
    top = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    return "\n".join([*top, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex_files(results: Results, found: Comparisons) -> Mapping[str, str]:
    """Return the tables by the names of their files."""
    files = {"matrix.tex": matrix_latex(results, found), "ranking.tex": ranking_latex(found)}
    return {name: text for name, text in files.items() if text}

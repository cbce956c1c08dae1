"""The report: a study as one page of HTML that asks nobody for anything.

It holds its script, its style, the plotting library and all numbers. The page itself forbids every
request (its content security policy), and nothing that comes from a file is taken for markup:
tables are escaped, and data are compressed and put into the page by the script as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from study.analysis.cell_curves import CellCurves
from study.analysis.comparisons import Comparisons
from study.analysis.deliveries import Deliveries
from study.analysis.evidence import EvidenceRow
from study.analysis.exposure import LaterRow
from study.analysis.results import Results
from study.analysis.robustness import Robustness
from study.analysis.search_curves import EpochPoint, TrialPoint
from study.analysis.tuning import Contrast
from study.core.errors import StoreError
from study.core.identity import whole_file
from study.core.records import NO_DEGRADATION
from study.render.marks import SHARES, WARNED, explained
from study.render.report import charts, payload, prose
from study.render.report.library import library, named

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The tables of a study that its page is made of; () and None where it has nothing of a kind.

    answer: in lines. texts: what comparisons.md, tables.md and others say, whole. images: small
    pictures of worst errors, test set -> id -> JPEG. importances: (pairing, which of its settings
    mattered). provenance: what it was made of, in words. again: the command that writes all
    predictions of the study; predictions: the folder it writes them into.
    """

    name: str
    results: Results
    answer: str = ""
    texts: Sequence[str] = ()
    comparisons: Comparisons | None = None
    robustness: Sequence[Robustness] = ()
    later: Sequence[LaterRow] = ()
    deliveries: Deliveries = field(default_factory=Deliveries)
    contrasts: Sequence[Contrast] = ()
    evidence: Sequence[EvidenceRow] = ()
    curves: Sequence[CellCurves] = ()
    trials: Sequence[TrialPoint] = ()
    epochs: Sequence[EpochPoint] = ()
    images: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    importances: Pairs = ()
    provenance: Pairs = ()
    again: str = ""
    predictions: str = ""


def page(report: Report, script: str) -> str:
    """Return the page. script: that of the plotting library."""
    own = files("study.render.report")
    filled = {
        "title": escape(report.name),
        "style": own.joinpath("page.css").read_text("utf-8"),
        "library": _as_script(script),
        "script": _as_script(own.joinpath("page.js").read_text("utf-8")),
        "data": payload.packed(_data(report)),
        "answer": _answer(report.answer.splitlines()),
        "findings": _findings(report.results),
        "marks": escape(explained("*!~")),
        "left_out": _left_out(report.comparisons),
        "failures": _failures(report.results),
        "importances": _importances(report.importances),
        "texts": "".join(_texts(report.texts)),
        "provenance": prose.rows(("what", "is"), [*report.provenance, ("charts", named())]),
    }
    template = own.joinpath("page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: filled[slot[1]], template)


def _answer(lines: Sequence[str]) -> str:
    """The sentences, of which the first is the answer in short."""
    said = [f"<p>{escape(line)}</p>" for line in lines[1:]]
    return "".join([f'<p class="headline">{escape(line)}</p>' for line in lines[:1]] + said)


def _left_out(found: Comparisons | None) -> str:
    """What of the matrix the means of the forest plot do not count."""
    if found is None:
        return ""
    if found.all_marked:
        return " All test sets have the mark !, so none is left out."
    return " Test sets with the mark ! are left out."


def _as_script(text: str) -> str:
    """A script as it can stand in a page."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _data(report: Report) -> payload.Json:
    drawn: dict[str, Any] = {
        "forest": charts.forest(report.comparisons) if report.comparisons else None,
        "robustness": charts.robustness_chart(report.robustness),
        "delivery": charts.delivery_chart(report.deliveries.ranks),
        "flips": charts.flips_chart(report.deliveries.flips),
        "later": charts.later_chart(report.later),
        "tuning": charts.tuning_chart(report.contrasts),
        "search": charts.search_chart(report.trials),
        "learning": charts.learning_chart(report.epochs),
    }
    return {
        "study": report.name,
        "matrix": payload.matrix(report.results),
        **payload.beside(report.results),
        "curves": payload.curves(report.curves),
        "images": payload.images(report.images),
        "evidence": payload.evidence(report.evidence),
        "charts": {name: chart for name, chart in drawn.items() if chart},
        "cell_charts": charts.cell_charts(),
        "config": charts.CONFIG,
        "again": report.again,
        "predictions": report.predictions,
    }


def _importances(found: Pairs) -> str:
    """Which settings mattered, by the trials of each search."""
    return prose.rows(("search", "what mattered, as shares of 1"), found) if found else ""


def _findings(results: Results) -> str:
    """What the audit says of columns and cells, and what was trained too little."""
    lines = [(f"{WARNED} test set", name, why) for name, why in results.warnings().items()]
    lines += [
        (f"{WARNED} leak", f"{one.train_on} → {one.test_on}", one.leak)
        for one in results.pairs
        if (one.train_on, one.test_on) in results.leaky()
    ]
    shared = results.overlaps().items()
    lines += [(f"{SHARES} shares images", " → ".join(at), why) for at, why in shared]
    lines += [
        (
            f"flag: {flag.kind}",
            f"{flag.detector} @ {flag.train_on}",
            f"{flag.seen}; {flag.mend}",
        )
        for flag in results.flags
    ]
    if not lines:
        return "<p>The audit marks nothing, and no pairing is flagged.</p>"
    return prose.rows(("mark", "where", "what"), lines)


def _failures(results: Results) -> str:
    """The cells without a number, and those of which not every image could be scored."""
    whole = [row for row in results.rows if row.metric == "auc" and not row.subset]
    lines = {}
    for row in whole:
        where = f"{row.detector} @ {row.train_on} → {row.test_on}"
        if row.degradation != NO_DEGRADATION:
            where += f", {row.degradation}"
        if row.state != "done":
            lines[where] = (where, row.state.replace("_", " "), row.reason)
        elif row.seed == "mean" and row.coverage < 1 and row.level == "image":
            lines.setdefault(
                where,
                (
                    where,
                    f"{row.coverage:.2%} of its images",
                    "the others are excluded: study.prepare names them, with the reason",
                ),
            )
    if not lines:
        return "<p>Every cell has a number, and every listed image is scored.</p>"
    return prose.rows(("cell", "state", "why"), [*lines.values()])


def _texts(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        for title, html in prose.parts(text):
            yield f"<details><summary>{escape(title)}</summary>{html}</details>"


def write_page(report: Report, path: Path, cache: Path) -> Path:
    """Write the page; it appears whole or not at all. cache: the folder that keeps the library.
    Raises StoreError where it cannot be written.
    """
    text = page(report, library(cache))
    try:
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write '{path}': {error.strerror or error}") from error
    return path

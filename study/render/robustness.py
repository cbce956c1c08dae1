"""The robustness table: what every degradation leaves of every detector's AUC, in domain and across
domains.

Rows are degradations, columns detectors: the mean AUC over cells and, in brackets, what is
gained over clean images (lost, where it is negative) in the same cells on the same images, without
those that leak from training. A detector that is at chance has nothing to lose, so the two kinds of
cells stand apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from study.analysis.robustness import Robustness, mean_drop
from study.render.numbers import number, with_interval
from study.render.table import Table, fold, markdown, table, terminal_width, text

TITLES = {
    "in": "in-domain cells",
    "cross": "cross-domain cells",
    "neither": "neither: images of the training set",
}
CAPTION = "mean over cells and seeds (change from clean, same images [95 % interval])"


def robustness_text(found: Sequence[Robustness], *, width: int | None = None) -> str:
    """Return the tables as text, "" where nothing was degraded. width: characters a line may have;
    that of the terminal.
    """
    width = width or terminal_width()
    parts = []
    for title, made in _tables(found):
        parts += [fold(f"Robustness, {title}: AUC, {CAPTION}", width), text(made, width)]
    return "\n\n".join([*parts, *(fold(note, width) for note in _notes(found))])


def robustness_markdown(found: Sequence[Robustness]) -> str:
    """Return the tables as Markdown, "" where nothing was degraded; ends with a newline."""
    if not found:
        return ""
    parts = ["## Robustness", f"AUC, {CAPTION}."]
    for title, made in _tables(found):
        parts += [f"### {title[0].upper()}{title[1:]}", markdown(made)]
    return "\n\n".join([*parts, *_notes(found)]) + "\n"


def _tables(found: Sequence[Robustness]) -> list[tuple[str, Table]]:
    """(title, table) of the cells in domain and across domains, where there are any."""
    parts = {title: [r for r in found if r.domain == domain] for domain, title in TITLES.items()}
    return [(title, _table(mine)) for title, mine in parts.items() if mine]


def _table(found: Sequence[Robustness]) -> Table:
    detectors = list(dict.fromkeys(r.detector for r in found))
    degradations = list(dict.fromkeys(r.degradation for r in found))
    places = {
        (d, g): [r for r in found if (r.detector, r.degradation) == (d, g)]
        for d in detectors
        for g in degradations
    }
    rows = [[g, *(_cell(places[d, g]) for d in detectors)] for g in degradations]
    return table(("degradation", *detectors), rows)


def _cell(found: Sequence[Robustness]) -> str:
    """E.g. `0.812 (-0.103)`, and of how many cells where some have no number; the state where none
    has.
    """
    held = [r for r in found if not math.isnan(r.auc)]
    if not found:
        return "-"
    if not held:
        state = found[0].state
        return "undefined" if state == "done" else state.replace("_", " ")
    mean, drop = fmean(r.auc for r in held), mean_drop(held)
    change = with_interval(drop.value, drop.low, drop.high, signed=True)
    some = f", {len(held)} of {len(found)} cells" if len(held) < len(found) else ""
    return f"{number(mean)} ({change}{some})"


def _notes(found: Sequence[Robustness]) -> list[str]:
    """What is left out: what was not applicable, whole test sets and single images, and what leaks.
    Each once.
    """
    return [*_left_out_notes(found), *_leak_notes(found)]


def _left_out_notes(found: Sequence[Robustness]) -> Iterator[str]:
    """For each degradation and test set; whose it is where the detectors' geometries differ in
    it.
    """
    notes: dict[tuple[str, str], dict[str, list[str]]] = {}
    for r in found:
        if r.state in ("done", "not_applicable"):
            said = notes.setdefault((r.degradation, r.test_on), {})
            said.setdefault(_left_out(r), []).append(r.detector)
    for said in notes.values():
        for sentence, detectors in said.items():
            if sentence:
                whose = f"{', '.join(dict.fromkeys(detectors))}: " if len(said) > 1 else ""
                yield whose + sentence


def _left_out(r: Robustness) -> str:
    if r.state == "not_applicable":
        return f"{r.degradation} is not applicable to {r.test_on}: {r.reason}."
    total = r.images + r.left_out + r.unmatched + (0 if r.kept else r.leaked)
    of, said = f"of {total} images of {r.test_on}", []
    if r.left_out:
        said.append(
            f"{r.degradation} is not applicable to {r.left_out} {of}; they are left out, of the"
            " clean AUC too."
        )
    if r.unmatched:
        said.append(
            f"{r.unmatched} {of} have a score under {r.degradation} but none as they are (too"
            " elongated); they are left out."
        )
    return " ".join(said)


def _leak_notes(found: Sequence[Robustness]) -> Iterator[str]:
    ends = {False: "left out", True: "kept, as a class is gone without them, under "}
    for x, y in dict.fromkeys((r.train_on, r.test_on) for r in found):
        mine = [r for r in found if (r.train_on, r.test_on) == (x, y) and r.leaked]
        for kept, end in ends.items():
            there = [r for r in mine if r.kept == kept]
            if there:
                under = ", ".join(dict.fromkeys(r.degradation for r in there)) if kept else ""
                yield (
                    f"Test images that leak from training: {x} -> {y}"
                    f" {max(r.leaked for r in there)}, {end}{under}."
                )

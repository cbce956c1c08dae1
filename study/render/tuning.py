"""What tuning has gained, as tuning.md, tuning.csv and lines for the terminal; which configurations
hold on other training sets.

One line of tuning.csv is one contrast: tuned minus another configuration of the same
pairing, on source val (`test_on` empty) or on a test set. `source` is `default`, or the training
set whose search found the other configuration best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from study.analysis.significance import Verdict
from study.analysis.tuning import VAL, Contrast
from study.planning.variants import DEFAULT
from study.render.numbers import leaked_text, leaks_words, number
from study.render.table import Cell, Column, csv_text, markdown, table

SCHEMA = 2
COLUMNS = (
    *("schema", "detector", "train_on", "source", "test_on", "tuned", "other", "difference"),
    *("seeds_low", "seeds_high", "sd", "seeds"),
    *("images_difference", "images_low", "images_high", "p", "p_holm"),
    *("same", "leaked", "leaked_kept", "reason", "undefined", "note"),
)


def tuning_markdown(found: Sequence[Contrast]) -> str:
    """Return tuning.md. Ends with a newline."""
    defaults = [c for c in found if c.source == DEFAULT]
    others = [c for c in found if c.source != DEFAULT]
    parts = ["# Tuned minus default", EXPLAINED]
    parts.append(
        _contrasts(defaults)
        if defaults
        else "The study does not train it (budget.default_winners)."
    )
    if others:
        parts += ["# Configurations moved to other training sets", MOVED]
        for detector in dict.fromkeys(c.pairing.detector for c in others):
            mine = [c for c in found if c.pairing.detector == detector]
            parts += [f"## {detector}", _moved([c for c in mine if c.test_on == VAL])]
        parts += ["## Tuned there minus tuned elsewhere", _contrasts(others)]
    return "\n\n".join(parts) + "\n"


EXPLAINED = """AUC of the selected configuration minus that of the default (trial 0), both trained
with the same seeds; mean over seeds [95 % interval over seeds, Student's t]. Source val chose the
selected one, and flatters it; test sets do not. Over images: the AUCs of the mean logits on the
same images, paired, p after Holm over the table. More than noise is what has p below .05 and an
interval over seeds without 0 (of one seed that is unknown). \\* in-domain. Test images that leak
from training are left out, and counted."""
MOVED = """Source-val AUC, mean over seeds: rows are where a configuration was found best, columns
where it is trained. The diagonal is each training set's own winner, which its source val chose."""


HEAD = (
    *("detector", "train on", "against", "on"),
    Column("tuned", "number"),
    Column("other", "number"),
    Column("difference (seeds)", "interval", signed=True),
    "sd",
    Column("over images", "interval", signed=True),
    Column("p (Holm)", "p"),
)


def _contrasts(found: Sequence[Contrast]) -> str:
    if not any(c.leaked for c in found):
        return markdown(table(HEAD, map(_row, found)))
    rows = [(*_row(c), leaked_text(c.leaked, kept=c.kept)) for c in found]
    return markdown(table((*HEAD, "leaked images"), rows))


def _row(c: Contrast) -> list[Cell]:
    star = " *" if c.test_on != VAL and c.domain == "in" else ""
    place = [c.pairing.detector, c.pairing.train_on, c.source, (c.test_on or "source val") + star]
    if c.reason:
        return [*place, c.reason, *[""] * 5]
    if c.same:
        return [*place, c.tuned, c.other, "the same models", "", "", ""]
    seeds, d = (c.seeds.mean, c.seeds.low, c.seeds.high), c.images
    images: list[Cell] = ["", ""]
    if c.test_on != VAL:
        p = f"undefined ({d.reason})" if math.isnan(c.p_holm) else c.p_holm
        images = [(d.value, d.low, d.high), p]
    return [*place, c.tuned, c.other, seeds, c.seeds.sd_text, *images]


def _moved(found: Sequence[Contrast]) -> str:
    """Config-from-X x trained-on-Y in source-val AUC; the diagonal is the tuned one's."""
    trained = list(dict.fromkeys(c.pairing.train_on for c in found))
    values: dict[tuple[str, str], Cell] = {
        (c.source, c.pairing.train_on): c.reason or c.other for c in found
    }
    values |= {(c.pairing.train_on, c.pairing.train_on): c.tuned for c in found if not c.reason}
    sources = [x for x in (DEFAULT, *trained) if any(source == x for source, _ in values)]
    head = [Column("configuration from \\ trained on"), *(Column(y, "number") for y in trained)]
    rows = [[x, *(values.get((x, y), "no winner") for y in trained)] for x in sources]
    return markdown(table(head, rows))


def tuning_line(found: Sequence[Contrast], detector: str) -> str:
    """Return what is printed of a detector: what tuning has gained on source val, in domain and
    across domains; "" if unknown. Test sets with images of the training set are in neither mean.
    """
    mine = [
        c for c in found if c.source == DEFAULT and not c.reason and c.pairing.detector == detector
    ]
    if not mine:
        return ""
    tested = [c for c in mine if c.test_on != VAL]
    kinds = {
        "source val": [c for c in mine if c.test_on == VAL],
        "in-domain": [c for c in tested if c.domain == "in"],
        "cross-domain": [c for c in tested if c.domain == "cross"],
    }
    means = [
        f"{name} {number(fmean(c.tuned - c.other for c in of), signed=True)}"
        for name, of in kinds.items()
        if of
    ]
    verdicts = Counter(c.verdict for c in tested)
    more = [c.images.value for c in tested if c.verdict is Verdict.MORE_THAN_NOISE]
    said = [f"tuned - default in AUC: {', '.join(means)}"]
    if tested:
        better = f"on {sum(v > 0 for v in more)} of {len(tested)} cells better by more than noise"
        untested = verdicts[Verdict.UNTESTED]
        counts = [better, f"on {sum(v < 0 for v in more)} worse"]
        said.append(", ".join(counts + ([f"{untested} cannot be tested"] if untested else [])))
    less = (Verdict.SEEDS_EXPLAIN, Verdict.SEEDS_UNKNOWN)
    said += [f"on {verdicts[one]} {one.value}" for one in less if verdicts[one]]
    said += leaks_words([c.kept for c in tested if c.leaked])
    same = [c.pairing.train_on for c in mine if c.test_on == VAL and c.same]
    ends = f" (the default was selected on {', '.join(same)})" if same else ""
    return "; ".join(said) + ends


def tuning_csv(found: Sequence[Contrast]) -> str:
    """Return tuning.csv. NaN is an empty field, and `reason` (no numbers at all) or `undefined`
    (none over images) says why.
    """
    return csv_text(table(COLUMNS, map(_fields, found)))


def _fields(c: Contrast) -> list[Cell]:
    s, d = c.seeds, c.images
    return [
        *(SCHEMA, c.pairing.detector, c.pairing.train_on, c.source, c.test_on),
        *(c.tuned, c.other, s.mean, s.low, s.high, s.sd, s.seeds),
        *(d.value, d.low, d.high, d.p, c.p_holm),
        *(c.same, c.leaked, c.kept, c.reason, d.reason, d.note),
    ]

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

SCHEMA = 3
COLUMNS = (
    *("schema", "detector", "train_on", "source", "test_on", "tuned", "other", "difference"),
    *("low", "high", "p", "p_holm", "sd", "seeds"),
    *("images_variance", "training_variance", "training_counted", "verdict"),
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
with the same seeds; of single models, mean over seeds. Source val chose the selected one, and
flatters it; test sets do not. [95 % interval] and p: over images, training sample and seeds, p
after Holm over the table. The default is not trained on halves of the training groups: it is taken
to vary as the selected one does, and independently, which overstates the error. sd: of the
difference, between seeds. \\* in-domain. Test images that leak from training are left out, and
counted."""
MOVED = """Source-val AUC, mean over seeds: rows are where a configuration was found best, columns
where it is trained. The diagonal is each training set's own winner, which its source val chose."""


HEAD = (
    *("detector", "train on", "against", "on"),
    Column("tuned", "number"),
    Column("other", "number"),
    Column("difference", "interval", signed=True),
    "sd",
    Column("p (Holm)", "p"),
    "verdict",
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
    d, shown = c.finding, (c.tuned, c.other)
    if c.test_on == VAL:
        return [*place, *shown, (c.seeds.mean, math.nan, math.nan), c.seeds.sd_text, "", ""]
    p = f"undefined ({d.reason})" if math.isnan(c.p_holm) else c.p_holm
    return [*place, *shown, (d.value, d.low, d.high), c.seeds.sd_text, p, c.verdict.value]


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
    more = [c.finding.value for c in tested if c.verdict is Verdict.MORE_THAN_NOISE]
    said = [f"tuned - default in AUC: {', '.join(means)}"]
    if tested:
        better = f"on {sum(v > 0 for v in more)} of {len(tested)} cells better by more than noise"
        untested = verdicts[Verdict.UNTESTED]
        counts = [better, f"on {sum(v < 0 for v in more)} worse"]
        said.append(", ".join(counts + ([f"{untested} cannot be tested"] if untested else [])))
    if verdicts[Verdict.NOT_COUNTED]:
        said.append(f"on {verdicts[Verdict.NOT_COUNTED]} {Verdict.NOT_COUNTED.value}")
    said += leaks_words([c.kept for c in tested if c.leaked])
    same = [c.pairing.train_on for c in mine if c.test_on == VAL and c.same]
    ends = f" (the default was selected on {', '.join(same)})" if same else ""
    return "; ".join(said) + ends


def tuning_csv(found: Sequence[Contrast]) -> str:
    """Return tuning.csv. NaN is an empty field, and `reason` (no numbers at all) or `undefined` (no
    test) says why.
    """
    return csv_text(table(COLUMNS, map(_fields, found)))


def _fields(c: Contrast) -> list[Cell]:
    d, verdict = c.finding, "" if c.test_on == VAL or c.reason else c.verdict.value
    return [
        *(SCHEMA, c.pairing.detector, c.pairing.train_on, c.source, c.test_on),
        *(c.tuned, c.other, c.seeds.mean, d.low, d.high, d.p, c.p_holm, c.seeds.sd, c.seeds.seeds),
        *(d.images, d.training, d.counted, verdict),
        *(c.same, c.leaked, c.kept, c.reason, d.reason, c.note),
    ]

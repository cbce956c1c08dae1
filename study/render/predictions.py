"""What is said of new images: text for a terminal, CSV, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from study.analysis.predictions import UNSURE, Prediction, Predictions, Rule
from study.core.csv_lines import csv_line
from study.render.numbers import between, json_number
from study.render.table import Cell, Column, fold, table, text
from study.statistics.metrics import sigmoid

COLUMNS = ("image", "logit", "probability", "verdict", "flipped_by", "warning", "known", "refused")
NO_PROOF = (
    "A verdict is a statistical guess, and no ground for accusing anybody: the rates above say how"
    " often a real image is called fake."
)
WIDTH = 100
OUTSIDE = "outside training"
KNOWN = "in the study"
NO_LIST = (
    "Whether the study itself has these images is not known: it has no images.parquet. cross_eval"
    " writes one."
)


def as_csv(found: Predictions) -> str:
    """Return one line an image, refused ones last."""
    rows = [_row(one) for one in (*found.images, *found.videos)]
    refused = [(name, "", "", "", "", "", "", reason) for name, reason in found.refused]
    return "".join(map(csv_line, (COLUMNS, *rows, *refused)))


def _row(one: Prediction) -> tuple[str, ...]:
    numbers = (repr(one.logit), repr(one.probability))
    return one.name, *numbers, one.verdict, " ".join(one.flipped), one.warning, one.known, ""


def as_json(found: Predictions) -> str:
    """Return everything as one JSON object."""
    winner = found.winner
    head = {
        "study": winner.folder.name,
        "detector": winner.pairing.detector,
        "train_on": winner.pairing.train_on,
        "seed": winner.seed,
        "chosen_by": winner.how or None,
        "faces": found.faces or None,
        "unified_px": found.unified_px or None,
        **_rule(found.of_images, found.threshold),
        "of_videos": _rule(found.of_videos, found.threshold) if found.of_videos else None,
    }
    rows = {
        "images": [vars(one) for one in found.images],
        "videos": [vars(one) for one in found.videos],
        "refused": [{"name": name, "reason": reason} for name, reason in found.refused],
    }
    return json.dumps({**head, **rows}, indent=1, allow_nan=False) + "\n"


def _rule(rule: Rule, threshold: str) -> dict[str, Any]:
    """How verdicts come about, for JSON."""
    return {
        "threshold": {"name": threshold, "logit": json_number(rule.cut)},
        "temperature": json_number(rule.temperature),
        "false_positive_rates": [
            {**vars(one), **{k: json_number(vars(one)[k]) for k in ("rate", "low", "high")}}
            for one in rule.rates
        ],
        "note": rule.note or None,
    }


def as_text(found: Predictions) -> str:
    """Return the predictions for a terminal."""
    winner = found.winner
    lines = [f"{winner.name}, of the study in {winner.folder}"]
    lines += [fold(f"  taken because it has {winner.how}", WIDTH)] if winner.how else []
    if found.faces:
        lines.append(f"  the largest face is cut out first ({found.faces}), as in the study")
    if found.unified_px:
        lines.append(f"  images are unified to {found.unified_px} px first, as the study's were")
    lines.append(f"  {_cut_text(found.of_images, 'image')} (threshold '{found.threshold}')")
    lines += ["", _rates(found.of_images, "images"), *_wrong_half(found.of_images)]
    lines += ["", _items(found.images, "image")]
    if rule := found.of_videos:
        cut = _cut_text(rule, "video")
        lines += ["", "videos, by the mean probability of their frames, as the study's own:"]
        lines.append(f"  {cut} (threshold '{found.threshold}', of videos)")
        lines += [fold(f"  note: {rule.note}", WIDTH)] if rule.note else []
        lines += ["", _rates(rule, "videos"), "", _items(found.videos, "video")]
        if any(one.verdict == UNSURE for one in found.videos):
            lines += [
                "",
                "unsure: more than half of the frames have another verdict than the video",
            ]
    lines += _notes(found.images)
    lines += [] if found.has_list else ["", fold(NO_LIST, WIDTH)]
    lines += [f"REFUSED {name}: {reason}" for name, reason in found.refused]
    return "\n".join([*lines, "", fold(NO_PROOF, WIDTH)])


def _wrong_half(rule: Rule) -> list[str]:
    """Warn of test sets whose real images a threshold calls fake more often than not."""
    named = [one.where for one in rule.rates if one.rate >= 0.5]
    if not named:
        return []
    sets = " and ".join(named)
    return [
        "",
        fold(
            f"warning: at this threshold most real images of {sets} are called fake. On images like"
            " those the verdict says nothing; name another threshold or winner",
            WIDTH,
        ),
    ]


def _cut_text(rule: Rule, what: str) -> str:
    cut = rule.cut
    if math.isfinite(cut):
        p = sigmoid(cut if math.isnan(rule.temperature) else cut / rule.temperature)
        return f"fake from logit {cut:.3f}, p(fake) {p:.3f}, on"
    return (
        f"every {what} is called {'fake' if cut < 0 else 'real'}: source val gave no finite limit"
    )


def _rates(rule: Rule, what: str) -> str:
    rows: list[list[Cell]] = [
        [one.where, one.rate, between(one.low, one.high), one.n_real] for one in rule.rates
    ]
    columns = (
        f"real {what} of",
        Column("called fake", "number"),
        Column("95 % interval", "interval"),
        Column(what, "count"),
    )
    return text(table(columns, rows))


def _items(images: Sequence[Prediction], what: str) -> str:
    rows: list[list[Cell]] = [
        [one.name, f"{one.logit:.3f}", one.probability, one.verdict, _mark(one)] for one in images
    ]
    columns = (what, "logit", Column("p(fake)", "number"), "verdict", "")
    return text(table(columns, rows))


def _mark(one: Prediction) -> str:
    """What the notes below say more of."""
    return ", ".join([KNOWN] * bool(one.known) + [OUTSIDE] * bool(one.warning))


def _notes(images: Iterable[Prediction]) -> list[str]:
    """What a verdict is unsure of, and what lies outside training: each once, with its number."""
    said: dict[str, int] = {}
    for one in images:
        if one.flipped:
            line = f"unsure: the verdict is another one after {', '.join(one.flipped)}"
            said[line] = said.get(line, 0) + 1
        if one.known:
            line = f"{KNOWN}: {one.known}. Its score does not tell what new images get"
            said[line] = said.get(line, 0) + 1
        if one.warning:
            line = f"{OUTSIDE}: {one.warning}"
            said[line] = said.get(line, 0) + 1
    lines = [f"{line} ({n} image{'s' * (n != 1)})" for line, n in said.items()]
    return ["", *(fold(line, WIDTH) for line in lines)] if lines else []

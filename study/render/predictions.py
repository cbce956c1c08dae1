"""What is said of new images: text for a terminal, CSV, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from study.analysis.predictions import (
    FAKE,
    REAL_WORD,
    UNSURE,
    Prediction,
    Predictions,
    Rule,
)
from study.core.csv_lines import csv_line
from study.render.numbers import json_number, with_interval
from study.render.table import Cell, Column, fold, table, text
from study.statistics.metrics import sigmoid

COLUMNS = ("image", "logit", "probability", "verdict", "flipped_by", "warning", "known", "refused")
NO_PROOF = (
    "A verdict is a statistical guess, and no ground for accusing anybody: the rates above say how"
    " often a real image is called fake, and how many fakes are found."
)
WIDTH = 100
FEW = 3  # images that a note names
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
            {k: json_number(v) if isinstance(v, float) else v for k, v in vars(one).items()}
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
    of_images, source = found.of_images, winner.pairing.train_on
    lines.append(f"  {_cut_text(of_images, 'image')} (threshold '{found.threshold}')")
    lines += ["", _rates(of_images, "images", source), *_warned(of_images)]
    lines += ["", _items(found.images, "image", of_images.cut)]
    if rule := found.of_videos:
        cut = _cut_text(rule, "video")
        lines += ["", "videos, by the mean probability of their frames, as the study's own:"]
        lines.append(f"  {cut} (threshold '{found.threshold}', of videos)")
        lines += [fold(f"  note: {rule.note}", WIDTH)] if rule.note else []
        lines += ["", _rates(rule, "videos", source), *_warned(rule)]
        lines += ["", _items(found.videos, "video", rule.cut)]
        if any(one.verdict == UNSURE for one in found.videos):
            lines += [
                "",
                "unsure: more than half of the frames have another verdict than the video",
            ]
    lines += _notes(found.images)
    lines += [] if found.has_list else ["", fold(NO_LIST, WIDTH)]
    lines += [f"REFUSED {name}: {reason}" for name, reason in found.refused]
    return "\n".join([*lines, "", fold(NO_PROOF, WIDTH)])


def _warned(rule: Rule) -> list[str]:
    """Warn of test sets whose real images a threshold calls fake more often than not, and of those
    of whose fakes it finds less than half.
    """
    wrong = [one.where for one in rule.rates if one.rate >= 0.5]
    blind = [one.where for one in rule.rates if one.found < 0.5]
    said = []
    if wrong:
        said.append(f"at this threshold most real images of {' and '.join(wrong)} are called fake")
    if blind:
        said.append(f"at this threshold most fakes of {' and '.join(blind)} are called real")
    then = "On images like those the verdict says little; another threshold or winner may do better"
    return ["", fold(f"warning: {', and '.join(said)}. {then}", WIDTH)] if said else []


def _cut_text(rule: Rule, what: str) -> str:
    cut = rule.cut
    if not math.isfinite(cut):
        called = "fake" if cut < 0 else "real"
        return f"every {what} is called {called}: source val gave no finite limit"
    is_raw = math.isnan(rule.temperature)
    p = sigmoid(cut if is_raw else cut / rule.temperature)
    scale = "" if is_raw else ", calibrated on source val"
    return f"called fake where p(fake){scale}, is at least {p:.3f} (logit {cut:.3f})"


def _rates(rule: Rule, what: str, source: str) -> str:
    rows: list[list[Cell]] = [
        [
            one.where.replace("source val", f"source val ({source})"),
            with_interval(one.rate, one.low, one.high),
            one.n_real,
            with_interval(one.found, one.found_low, one.found_high) if one.n_fake else "-",
            one.n_fake,
        ]
        for one in rule.rates
    ]
    columns = (
        f"{what} of",
        Column("reals called fake", "interval"),
        Column("reals", "count"),
        Column("fakes called fake", "interval"),
        Column("fakes", "count"),
    )
    return text(table(columns, rows))


def _items(images: Sequence[Prediction], what: str, cut: float) -> str:
    def verdict(one: Prediction) -> str:
        as_it_is = FAKE if one.logit >= cut else REAL_WORD
        return f"{UNSURE} ({as_it_is})" if one.verdict == UNSURE else one.verdict

    rows: list[list[Cell]] = [
        [one.name, f"{one.logit:.3f}", one.probability, verdict(one), _mark(one)] for one in images
    ]
    columns = (what, "logit", Column("p(fake)", "number"), "verdict", "")
    return text(table(columns, rows))


def _mark(one: Prediction) -> str:
    """What the notes below say more of."""
    return ", ".join([KNOWN] * bool(one.known) + [OUTSIDE] * bool(one.warning))


def _notes(images: Iterable[Prediction]) -> list[str]:
    """What a verdict is unsure of, and what lies outside training: each once, with its images."""
    said: dict[str, list[str]] = {}
    for one in images:
        if one.flipped:
            line = f"unsure: the verdict is another one after {', '.join(one.flipped)}"
            said.setdefault(line, []).append(one.name)
        if one.known:
            line = f"{KNOWN}: {one.known}. Its score does not tell what new images get"
            said.setdefault(line, []).append(one.name)
        if one.warning:
            said.setdefault(f"{OUTSIDE}: {one.warning}", []).append(one.name)
    lines = [f"{line} ({_named(of)})" for line, of in said.items()]
    return ["", *(fold(line, WIDTH) for line in lines)] if lines else []


def _named(images: Sequence[str]) -> str:
    """The images of a note by name; of many only how many."""
    return ", ".join(images) if len(images) <= FEW else f"{len(images)} images"

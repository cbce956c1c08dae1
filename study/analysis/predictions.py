"""What a trained detector of a finished study says of new images, and what that is worth.

An image gets a logit, a calibrated probability (the logit divided by the temperature that source
val gave) and a verdict at a named threshold. The verdict is `unsure` where a resized or re-encoded
copy of the image gets the other one. How often the same threshold calls a real image fake stands
beside it: on source val, and on every test set of the study. A video is decided as the study
decides its units (PROTOCOL section 4): by the mean probability of its frames, with the threshold
and the temperature of source val's units.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.analysis.calibrations import Calibrations
from study.analysis.results_csv import read_matrix
from study.analysis.winners import Winner
from study.core.errors import ConfigError, DataError, unknown_name
from study.core.records import NO_DEGRADATION, REAL, Estimate, Scores, TrainedDetector
from study.data.images.decode import pixel_digest
from study.data.images.degradations import degrade, parse_degradation
from study.data.images.videos import load_image, read_file_header, split_frame
from study.data.names import split_union
from study.jobs.score_images import Pixels, Scorer, Squares
from study.statistics.exact import clopper_pearson
from study.statistics.metrics import sigmoid
from study.statistics.units import has_units, to_units
from study.store.image_list import places_of
from study.store.store import Store

# What images go through on their way to whoever asks; a verdict that does not survive it is none.
COPIES = ("jpeg90", "jpeg75", "down0.75", "down0.5")
AT_ONCE = 16  # images whose copies are scored together
# what a winner's own images were for
USED = {"train": ", on which it was trained", "val": ", by which it was selected"}
FAKE, REAL_WORD, UNSURE = "fake", "real", "unsure"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often a threshold calls a real image fake (rate), and a fake one (found), each with its
    95 % interval; NaN where that is not known. where: `source val`, or a test set. n_real, n_fake:
    images.
    """

    where: str
    rate: float
    low: float
    high: float
    n_real: int
    found: float = math.nan
    found_low: float = math.nan
    found_high: float = math.nan
    n_fake: int = 0


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One image, or one video. flipped: the copies that get the other verdict, () where the verdict
    stands, and of a video. warning: what of the image lies outside of what the detector was trained
    on. known: where the study has an image with the same pixels, "" for nowhere, and of a video.
    """

    name: str
    logit: float
    probability: float
    verdict: str
    flipped: tuple[str, ...] = ()
    warning: str = ""
    known: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a logit becomes a verdict. cut: the logit from which on an image, or a video, is called
    fake; rates: how often a real one is, and a fake one. note: what is to be known of them, or "".
    """

    cut: float
    temperature: float
    rates: tuple[Rates, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """All that is said. threshold: its name. faces: the step by which the face of
    an image is cut out first, "" for none. unified_px: the side to which images were then unified,
    0 for none. has_list: whether the study's own images are known.
    of_videos, videos: where frames of a video are among the images; the rule of
    videos is another one than that of images. refused: (name, reason).
    """

    winner: Winner
    threshold: str
    faces: str
    unified_px: int
    of_images: Rule
    images: tuple[Prediction, ...]
    has_list: bool = True
    of_videos: Rule | None = None
    videos: tuple[Prediction, ...] = ()
    refused: tuple[tuple[str, str], ...]


def predict(
    winner: Winner,
    images: Sequence[tuple[str, str]],
    *,
    threshold: str,
    prepared_as: str = "",
    refused: Sequence[tuple[str, str]] = (),
    progress: Progress,
) -> Predictions:
    """Score images, (name, path) each, with a winner. threshold: its name, "" for `source`, or
    `fixed` where nothing was trained. prepared_as: the dataset
    of the study whose size `unify` gives to the images, in place of the training set's.

    Raises ConfigError for an unknown threshold or dataset, StoreError for a damaged store.
    """
    store = Store(winner.folder.parent, winner.folder.name)
    audit = _audit(store.audit_file)
    record = store.model(winner.model)
    threshold = threshold or ("fixed" if math.isnan(record.temperature) else "source")
    rule = rule_of(store, record, winner, threshold, "image")
    scorer = Scorer(store.model_folder(winner.model))
    scorer.unified_px = _side(scorer.unified_px, audit, winner, prepared_as)
    seen, broken = _score(scorer, images, progress)
    trained = [audit[name] for name in split_union(winner.pairing.train_on) if name in audit]
    places = places_of(winner.folder, {one.pixels for one in seen})
    made = [
        replace(
            _prediction(one.name, one.logits, rule, _outside(one.path, trained, scorer)),
            known=_known(winner, (places or {}).get(one.pixels, ())),
        )
        for one in seen
    ]
    has_frames = any(split_frame(one.name) for one in made)
    of_videos = rule_of(store, record, winner, threshold, "unit") if has_frames else None
    return Predictions(
        winner=winner,
        threshold=threshold,
        faces=scorer.faces,
        unified_px=scorer.unified_px,
        of_images=rule,
        images=tuple(made),
        has_list=places is not None,
        of_videos=of_videos,
        videos=tuple(of_frames(made, of_videos)) if of_videos else (),
        refused=(*refused, *broken),
    )


def _audit(path: Path) -> dict[str, Any]:
    """What audit.json knows of each dataset; nothing where there is no such file."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {one["name"]: one for one in found["datasets"]}


def rule_of(store: Store, record: TrainedDetector, winner: Winner, name: str, level: str) -> Rule:
    """Return what a named threshold is at a level, `image` or `unit`, and how often it is wrong
    there. Raises ConfigError for an unknown threshold.
    """
    made = Calibrations(store).of(record, level)
    if name not in made.thresholds:
        raise ConfigError(unknown_name("threshold", name, made.thresholds))
    cut = made.thresholds[name]
    if math.isnan(cut):
        raise ConfigError(
            f"the threshold '{name}' needs a training set, and this detector was not trained;"
            " take --threshold fixed"
        )
    rates = (*_of_val(store, record, cut, level), *_of_tests(winner, name, level))
    return Rule(cut=cut, temperature=made.temperature, rates=rates, note=made.note)


def _side(own: int, audit: Mapping[str, Any], winner: Winner, prepared_as: str) -> int:
    """The side to which images are unified: of the named dataset, else of the training set; of a
    detector without one the smallest of all.
    """
    sides = {name: int(one["unified_px"] or 0) for name, one in audit.items()}
    if prepared_as:
        if prepared_as not in sides:
            raise ConfigError(unknown_name("dataset of the study", prepared_as, sides))
        return sides[prepared_as]
    members = [sides[name] for name in split_union(winner.pairing.train_on) if name in sides]
    return own or min(members or sides.values(), default=0)


def _of_val(store: Store, record: TrainedDetector, cut: float, level: str) -> list[Rates]:
    """The rates on source val: images, or videos, count as independent."""
    if math.isnan(record.temperature):  # not trained, so there is no source
        return []
    val = store.val_scores(record.key)
    where = "source val"
    if level == "unit":
        where += "" if has_units(val) else " (single images)"
        val = to_units(val)
    called = val.logit.astype(np.float64) >= cut
    of_reals, of_fakes = (_share(called[val.label == label]) for label in (REAL, 1 - REAL))
    return [_rates(where, of_reals, of_fakes)] if of_reals[3] else []


Share = tuple[float, float, float, int]  # with its 95 % interval, and of how many


def _share(called: NDArray[np.bool_]) -> Share:
    """The share of images that are called fake, by Clopper and Pearson."""
    if not len(called):
        return math.nan, math.nan, math.nan, 0
    k, n = int(called.sum()), len(called)
    return k / n, *clopper_pearson(k, n), n


def _rates(where: str, of_reals: Share, of_fakes: Share) -> Rates:
    rate, low, high, n_real = of_reals
    found, found_low, found_high, n_fake = of_fakes
    return Rates(
        where=where,
        rate=rate,
        low=low,
        high=high,
        n_real=n_real,
        found=found,
        found_low=found_low,
        found_high=found_high,
        n_fake=n_fake,
    )


def _of_tests(winner: Winner, threshold: str, level: str) -> list[Rates]:
    """The rates on every test set, as matrix.csv has them; units are of those with videos."""
    found: dict[str, dict[str, Estimate]] = {}
    for row in read_matrix(winner.folder / "matrix.csv"):
        if (
            (row.detector, row.train_on) == (winner.pairing.detector, winner.pairing.train_on)
            and row.metric in ("real_accuracy", "fake_accuracy")
            and (row.threshold, row.seed, row.level) == (threshold, str(winner.seed), level)
            and (row.subset, row.degradation, row.leak_free) == ("", NO_DEGRADATION, False)
            and row.is_first
        ):
            found.setdefault(row.test_on, {})[row.metric] = row.estimate
    made = []
    for where, of in found.items():
        if real := of.get("real_accuracy"):
            of_reals = 1 - real.value, 1 - real.high, 1 - real.low, real.n_real
            fake = of.get("fake_accuracy")
            of_fakes = (fake.value, fake.low, fake.high, fake.n_fake) if fake else _share(_NONE)
            made.append(_rates(where, of_reals, of_fakes))
    return made


_NONE = np.zeros(0, bool)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """An image that was scored. pixels: their digest. logits: by copy."""

    name: str
    path: str
    pixels: str
    logits: dict[str, float]


def _score(
    scorer: Scorer, images: Sequence[tuple[str, str]], progress: Progress
) -> tuple[list[_Seen], list[tuple[str, str]]]:
    """Score every image and its copies; return them, and what is refused."""
    seen: list[_Seen] = []
    refused: list[tuple[str, str]] = []
    remaining = iter(images)
    done = 0
    while batch := list(islice(remaining, AT_ONCE)):
        squares: list[Squares] = []
        owners: list[tuple[_Seen, str]] = []
        for name, path in batch:
            try:
                pixels = load_image(path)
                views = _views(scorer, pixels)
            except DataError as error:
                refused.append((name, str(error)))
                continue
            seen.append(_Seen(name=name, path=path, pixels=pixel_digest(pixels), logits={}))
            squares += views.values()
            owners += [(seen[-1], copy) for copy in views]
        logits: Iterable[float] = scorer.logits(squares) if squares else ()
        for (one, copy), logit in zip(owners, logits, strict=True):
            one.logits[copy] = float(logit)
        done += len(batch)
        progress("images scored", done, len(images))
    return seen, refused


def _views(scorer: Scorer, pixels: Pixels) -> dict[str, Squares]:
    """The squares of an image and of its copies; a copy that cannot be made is left out."""
    views = {NO_DEGRADATION: scorer.squares(pixels)}
    for copy in COPIES:
        try:
            views[copy] = scorer.squares(degrade(pixels, parse_degradation(copy)))
        except DataError:
            continue
    return views


def _prediction(
    name: str, logits: Mapping[str, float], rule: Rule, warning: str = ""
) -> Prediction:
    logit = logits[NO_DEGRADATION]
    fake = logit >= rule.cut
    flipped = tuple(copy for copy, other in logits.items() if (other >= rule.cut) != fake)
    scaled = logit if math.isnan(rule.temperature) else logit / rule.temperature
    return Prediction(
        name=name,
        logit=logit,
        probability=float(sigmoid(scaled)),
        verdict=UNSURE if flipped else FAKE if fake else REAL_WORD,
        flipped=flipped,
        warning=warning,
    )


def _known(winner: Winner, places: Sequence[tuple[str, str]]) -> str:
    """Where the study has an image, for a person: of a winner's training sets also what for."""
    mine = split_union(winner.pairing.train_on)
    said = [
        f"{split} of {name}{USED.get(split, '') if name in mine else ''}" for name, split in places
    ]
    return "; ".join(said)


def _outside(path: str, trained: Sequence[Mapping[str, Any]], scorer: Scorer) -> str:
    """What of an image lies outside the training sets: its format, its size; "" for nothing, or
    where the study has no audit. How large a face is does not stand in the file.
    """
    header = read_file_header(path)
    if header is None or not trained:
        return ""
    kind, width, height = header
    short, said = min(width, height), []
    if side := scorer.unified_px:
        too_small = short < side and not scorer.faces
        return f"{short} px is enlarged to {side} px" if too_small else ""
    formats = {
        trait["kind"]
        for one in trained
        for trait in one["traits"]
        if trait["trait"] == "format" and ((trait["real"] or 0) or (trait["fake"] or 0))
    }
    if formats and kind not in formats and split_frame(path) is None:
        said.append(f"{kind}, and training images are {', '.join(sorted(formats))}")
    sides = [one["native"]["short_side"] for one in trained if one["native"]]
    if sides and not scorer.faces:
        low = min(side["p5"] for side in sides)
        high = max(side["p95"] for side in sides)
        if not low <= short <= high:
            said.append(
                f"short side {short} px, and 90 % of training images have {low:g} to {high:g} px"
            )
    return "; ".join(said)


def of_frames(images: Iterable[Prediction], rule: Rule) -> list[Prediction]:
    """Return one prediction for each video: the logit of the mean probability of its frames, as the
    study pools its units. It is unsure where more than half of the frames have another verdict
    than the video; a frame that is unsure has another one.
    """
    frames: dict[str, list[Prediction]] = {}
    for one in images:
        if frame := split_frame(one.name):
            frames.setdefault(frame[0], []).append(one)
    pooled = _pooled({name: [one.logit for one in of] for name, of in frames.items()})
    made = []
    for name, of in frames.items():
        whole = _prediction(name, {NO_DEGRADATION: pooled[name]}, rule)
        unsure = sum(one.verdict != whole.verdict for one in of) > len(of) / 2
        made.append(replace(whole, verdict=UNSURE if unsure else whole.verdict))
    return made


def _pooled(frames: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The score of each unit of its frames' logits; what their truth is has no part in it."""
    unit = np.array([name for name, logits in frames.items() for _ in logits])
    none = np.full(len(unit), "")
    units = to_units(
        Scores(
            sample_id=unit,
            group=none,
            unit=unit,
            method=none,
            label=np.zeros(len(unit), np.uint8),
            # as precise as the study's own scores
            logit=np.array([one for logits in frames.values() for one in logits], np.float32),
            listed=len(unit),
        )
    )
    return dict(zip(units.unit.tolist(), units.logit.tolist(), strict=True))

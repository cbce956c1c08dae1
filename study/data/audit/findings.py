"""What sets the classes of a dataset apart, trait by trait, and what of it a reader must be told.

A trait is compared by the AUC of the trait itself, turned so that it is at least .5; a kind (a
format, a mode) by that of having it. So many traits are looked at that some would stand out by
chance: their intervals hold all together at 95 % (Bonferroni), and only a whole interval above a
mark is worth a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.core.records import FAKE, REAL, Estimate
from study.data.audit.pixels import (
    AT,
    BORDER,
    BRIGHTNESS,
    COLOUR,
    CORNERS,
    EXTREMES,
    NEAR,
    STATISTICS,
)
from study.data.audit.traits import KINDS, METADATA, NO_JPEG, SIZES, Traits
from study.statistics.cross_validated import cross_validated_auc
from study.statistics.resampling import CONFIDENCE

Severity = Literal["info", "warning", "critical"]
# where the interval must begin for `critical`, `warning`, `info`
SEPARATES, TELLS, WEAK = 0.8, 0.6, 0.55
WORTH_A_WORD = 0.6  # the least AUC of a weak cue that is reported
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WORDS = {
    "format": "file format",
    "mode": "colour mode",
    "subsampling": "chroma subsampling",
    "tables": "kind of quantisation tables",
    "progressive": "progressive JPEG",
    "profile": "a colour profile",
    "exif": "an EXIF block",
    "jpeg_quality": "JPEG quality",
    "aspect": "aspect ratio",
    "bytes_per_pixel": "file size in bytes per pixel",
    "brightness": "mean brightness",
    "darkest": "the darkest value",
    "brightest": "the brightest value",
    **{f"black_{k}": f"of the values within {NEAR} of black, the share within {k}" for k in AT},
    **{f"white_{k}": f"of the values within {NEAR} of white, the share within {k}" for k in AT},
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know before a dataset is trusted.

    code: `metadata`, `border_and_brightness`, a trait's name, or what is wrong otherwise
    (`unreadable`, ...). sentence: for a person.
    """

    code: str
    severity: Severity
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One trait in both classes.

    kind: of a trait of words, which of them; "" of a number. real, fake: the share of the class'
    images that have it, (1,), among its JPEGs where only a JPEG can; of a number its `QUANTILES`,
    (5,). NaN where no image of the class has one. auc: of the trait alone, at least .5, its
    interval simultaneous over all traits; NaN with a reason where it does not vary or a class has
    none. higher: the class in which it is larger, or more frequent.
    """

    trait: str
    kind: str
    real: tuple[float, ...]
    fake: tuple[float, ...]
    auc: Estimate
    higher: Literal["real", "fake"]


class Column(NamedTuple):
    """One trait of the N images. word: of a trait of words, which; "" of a number. values: (N,),
    of a word 1 or 0; NaN where an image has no such trait.
    """

    trait: str
    word: str
    values: NDArray[np.float64]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which images have the trait, (N,)."""
        return ~np.isnan(self.values)

    @property
    def varies(self) -> bool:
        """Whether two images differ in it."""
        return len(np.unique(self.values[self.known])) > 1


def columns_of(traits: Traits, numbers: Sequence[str] = ()) -> list[Column]:
    """Return a column for every word of every kind, and for some numbers.

    What only a JPEG has is compared among JPEGs: how many there are is the format's matter.
    """
    words = [
        Column(name, word, np.where(found != NO_JPEG, found == word, np.nan))
        for name, found in ((name, traits.kinds[name]) for name in KINDS)
        for word in np.unique(found[found != NO_JPEG]).tolist()
    ]
    return words + [Column(name, "", traits.numbers[name]) for name in numbers]


def compare(traits: Traits) -> tuple[Comparison, ...]:
    """Compare all traits of both classes: words of kinds by their shares, numbers by quantiles."""
    columns = columns_of(traits, (*SIZES, *STATISTICS))
    confidence = 1 - (1 - CONFIDENCE) / max(sum(column.varies for column in columns), 1)
    return tuple(_comparison(traits, column, confidence) for column in columns)


def _comparison(traits: Traits, column: Column, confidence: float) -> Comparison:
    known = column.known
    label, group, held = traits.label[known], traits.group[known], column.values[known]
    real, fake = (_summary(held[label == value], column.word) for value in (REAL, FAKE))
    auc = cross_validated_auc(label, held, group, np.zeros(len(label)), confidence=confidence)
    if len(np.unique(held)) == 1 and not auc.reason:
        why = "the same in every image"
        auc = replace(auc, value=math.nan, low=math.nan, high=math.nan, reason=why)
    lower = auc.value < 0.5
    if lower:
        auc = replace(auc, value=1 - auc.value, low=1 - auc.high, high=1 - auc.low)
    return Comparison(
        trait=column.trait,
        kind=column.word,
        real=real,
        fake=fake,
        auc=auc,
        higher="real" if lower else "fake",
    )


def _summary(held: NDArray[np.float64], word: str) -> tuple[float, ...]:
    if not len(held):
        return (math.nan,) if word else (math.nan,) * len(QUANTILES)
    return (float(held.mean()),) if word else tuple(np.quantile(held, QUANTILES).tolist())


def severity(auc: Estimate) -> Severity | None:
    """Return how serious a cue is by where its interval begins; None where not worth a word."""
    for name, mark in (("critical", SEPARATES), ("warning", TELLS)):
        if auc.low > mark:
            # The names compared are the literals of the return type; mypy does not narrow a string
            # by a loop.
            return name  # type: ignore[return-value]
    return "info" if auc.low > WEAK and auc.value >= WORTH_A_WORD else None


def cue_findings(
    metadata: Estimate, border_brightness: Estimate, comparisons: Sequence[Comparison]
) -> Iterator[Finding]:
    """Yield what the two classifiers and single traits tell of the class.

    Of the metadata every trait has its own finding, and so has brightness; of colours and of
    borders the clearest.
    """
    yield from _finding("metadata", "A classifier of file metadata alone", metadata)
    for name in METADATA:
        yield from _clearest([c for c in comparisons if c.trait == name])
    subject = "A classifier of brightness, colour, border and corners alone"
    yield from _finding("border_and_brightness", subject, border_brightness)
    for names in (BRIGHTNESS[:1], (*BRIGHTNESS[1:], *COLOUR), BORDER, EXTREMES, CORNERS):
        yield from _clearest([c for c in comparisons if c.trait in names])


def _clearest(comparisons: Sequence[Comparison]) -> Iterator[Finding]:
    best = max(
        (c for c in comparisons if not math.isnan(c.auc.low)),
        key=lambda c: (c.auc.low, c.auc.value),
        default=None,
    )
    if best is not None:
        yield from _finding(
            best.trait, f"{title(best.trait)} alone", best.auc, _evidence(best, comparisons)
        )


def _finding(code: str, subject: str, auc: Estimate, evidence: str = "") -> Iterator[Finding]:
    found = severity(auc)
    if found is None:
        return
    verb = {
        "critical": "separates the classes",
        "warning": "tells the classes apart",
        "info": "is a weak cue to the class",
    }[found]
    more = f" ({evidence})" if evidence else ""
    yield Finding(code=code, severity=found, sentence=f"{subject} {verb}: {auc_words(auc)}{more}.")


def auc_words(auc: Estimate) -> str:
    """Return an AUC and its interval as sentences have them."""
    return f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"


def in_words(trait: str) -> str:
    """Return what a trait is called, without a capital."""
    plain = trait.replace("_", " ").replace(" less ", " less the ").replace(" sd", " (sd)")
    return WORDS.get(trait, plain)


def title(trait: str) -> str:
    """Return what a trait is called, with a capital."""
    return in_words(trait)[0].upper() + in_words(trait)[1:]


def _evidence(comparison: Comparison, comparisons: Sequence[Comparison]) -> str:
    """Return what the two classes look like in the trait, in words."""
    sides = {"real": comparison.real, "fake": comparison.fake}
    if not comparison.kind:
        return medians(*(found[QUANTILES.index(0.5)] for found in sides.values()))
    always = {
        side: next((c.kind for c in comparisons if getattr(c, side)[0] == 1.0), None)
        for side in sides
    }
    if always["real"] and always["fake"]:
        each = {side: kind_words(comparison.trait, word) for side, word in always.items() if word}
        return f"every real is {each['real']} and every fake {each['fake']}"
    return shares(comparison.trait, comparison.kind, comparison.real[0], comparison.fake[0])


def medians(real: float, fake: float) -> str:
    """Return the medians of a number in both classes, in words."""
    return f"median of the reals {real:.4g}, of the fakes {fake:.4g}"


def shares(trait: str, word: str, real: float, fake: float) -> str:
    """Return the shares of both classes that have a word, in words."""
    return f"{real:.0%} of the reals and {fake:.0%} of the fakes are {kind_words(trait, word)}"


def kind_words(trait: str, word: str) -> str:
    """Return what images of a kind are, to stand after "are"."""
    if trait in ("profile", "exif"):
        has = {"profile": "a profile", "exif": "EXIF"}[trait]
        return f"{'with' if word == 'yes' else 'without'} {has}"
    if trait == "progressive":
        return "progressive" if word == "yes" else "sequential"
    return word

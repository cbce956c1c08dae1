"""Confounds in part of a class: a kind of file that only one class has, and a method whose files
give it away.

What sets a tenth of the fakes apart moves the AUC of a whole class by a twentieth, and stays below
every mark of `findings.py`; in the images that have it, it is as good as the label.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from study.core.records import FAKE, REAL
from study.data.audit.findings import (
    TELLS,
    Column,
    Finding,
    Severity,
    auc_words,
    columns_of,
    in_words,
    kind_words,
    medians,
    shares,
    title,
)
from study.data.audit.traits import SIZES, Traits
from study.statistics import metrics
from study.statistics.cross_validated import cross_validated_auc
from study.statistics.resampling import CONFIDENCE

ALPHA = 1 - CONFIDENCE
# of a class: from this share of odd or leaked images on, a number that rests on them is in doubt
MANY = 0.01
CLASSES = ("real", "fake")
NAMED = 3  # methods that a sentence names
Bools = NDArray[np.bool_]


def one_class_findings(traits: Traits, separating: Collection[str]) -> Iterator[Finding]:
    """Yield a finding for every kind that only one class has, beyond chance: Fisher's exact test,
    Bonferroni over all kinds.

    Groups are counted and not images, as frames of a video are all alike. separating: traits that
    tell the classes apart as a whole.
    """
    columns = [column for column in columns_of(traits) if column.varies]
    for column in columns:
        having = np.unique(traits.label[column.values == 1]).tolist()
        if (
            column.trait not in separating
            and len(having) == 1
            and _fisher(traits, column, having[0]) * len(columns) < ALPHA
        ):
            yield _one_class(traits, column, having[0])


def _fisher(traits: Traits, column: Column, label: int) -> float:
    from scipy.stats import fisher_exact

    mine, known = traits.label == label, column.known
    with_it, of_mine, of_other = (
        len(np.unique(traits.group[which]))
        for which in (column.values == 1, known & mine, known & ~mine)
    )
    return float(fisher_exact([[with_it, of_mine - with_it], [0, of_other]]).pvalue)


def _one_class(traits: Traits, column: Column, label: int) -> Finding:
    mine, has = traits.label == label, column.values == 1
    total = int((column.known & mine).sum())
    share = has.sum() / total
    methods = np.unique(traits.method[has]).tolist()
    several = len(np.unique(traits.method[mine])) > 1
    by = f", of {' and '.join(methods)}" if several and len(methods) <= NAMED else ""
    sentence = (
        f"{title(column.trait)}: {has.sum()} of {total} {CLASSES[label]}s ({share:.1%}{by}) are"
        f" {kind_words(column.trait, column.word)}, and no {CLASSES[1 - label]} is."
    )
    severity: Severity = "warning" if share >= MANY else "info"
    return Finding(code=column.trait, severity=severity, sentence=sentence)


def method_findings(traits: Traits, separating: Collection[str]) -> Iterator[Finding]:
    """Yield for every method the clearest trait of its files that tells it from the other class,
    where a class has several methods.

    A whole interval must lie above `TELLS`; the intervals hold together over all traits and
    methods. separating: traits that tell the classes apart as a whole.
    """
    columns = [column for column in columns_of(traits, SIZES) if column.varies]
    of_class = {
        label: np.unique(traits.method[traits.label == label]).tolist() for label in (FAKE, REAL)
    }
    places = [
        (label, method)
        for label, methods in of_class.items()
        if len(methods) > 1
        for method in methods
    ]
    confidence = 1 - ALPHA / max(len(columns) * len(places), 1)
    for label, method in places:
        part = (traits.label != label) | (traits.method == method)
        cues = [
            _cue(traits, column, part, confidence)
            for column in columns
            if column.trait not in separating
        ]
        _, _, trait, words = max((cue for cue in cues if cue), default=(0, 0, "", ""))
        if trait:
            sentence = f"The {CLASSES[label]}s of {method} alone: {words}."
            yield Finding(code=trait, severity="warning", sentence=sentence)


def _cue(
    traits: Traits, column: Column, part: Bools, confidence: float
) -> tuple[float, float, str, str] | None:
    """Where its interval begins, its AUC, the trait, what to say; None where it tells nothing."""
    known = part & column.known
    fake, held = traits.label[known] == FAKE, column.values[known]
    # its interval begins below
    if fake.all() or not fake.any() or abs(metrics.auc(fake, held) - 0.5) <= TELLS - 0.5:
        return None
    sign = 1 if metrics.auc(fake, held) > 0.5 else -1
    auc = cross_validated_auc(
        fake, sign * held, traits.group[known], np.zeros(len(held)), confidence=confidence
    )
    if not auc.low > TELLS:
        return None
    if column.word:
        evidence = shares(column.trait, column.word, held[~fake].mean(), held[fake].mean())
    else:
        evidence = medians(float(np.median(held[~fake])), float(np.median(held[fake])))
    says = f"tells them from the other class: {auc_words(auc)} ({evidence})"
    return auc.low, auc.value, column.trait, f"{in_words(column.trait)} {says}"

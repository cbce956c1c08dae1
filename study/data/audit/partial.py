"""Confounds in part of a class: a kind of file that only one class has, and a method whose files
give it away.

What sets a tenth of the fakes apart moves the AUC of a whole class by a twentieth, and
stays below every mark of `findings.py`; in the images that have it, it is as good as the label.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from study.core.records import FAKE, REAL
from study.data.audit.findings import TELLS, WORDS, Finding, in_words, kind_columns, kind_words
from study.data.audit.traits import SIZES, Traits
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
    tell
    the classes apart as a whole.
    """
    kinds = [
        (name, word, values)
        for name, word, values in kind_columns(traits)
        if len(np.unique(values[~np.isnan(values)])) > 1
    ]
    for name, word, values in kinds:
        has, known = values == 1, ~np.isnan(values)
        label = _only(has, traits.label)
        if (
            name not in separating
            and label is not None
            and _fisher(traits, has, known, label) * len(kinds) < ALPHA
        ):
            yield _one_class(traits, name, word, has, known, label)


def _only(has: Bools, label: NDArray[np.uint8]) -> int | None:
    """The class that alone has it; None where both have."""
    found = np.unique(label[has])
    return int(found[0]) if len(found) == 1 else None


def _fisher(traits: Traits, has: Bools, known: Bools, label: int) -> float:
    from scipy.stats import fisher_exact

    mine = traits.label == label
    with_it = len(np.unique(traits.group[has]))
    groups = [len(np.unique(traits.group[known & of])) for of in (mine, ~mine)]
    return float(fisher_exact([[with_it, groups[0] - with_it], [0, groups[1]]]).pvalue)


def _one_class(
    traits: Traits, name: str, word: str, has: Bools, known: Bools, label: int
) -> Finding:
    total = int((known & (traits.label == label)).sum())
    share = has.sum() / total
    methods = np.unique(traits.method[has]).tolist()
    by = (
        f", of {' and '.join(methods)}"
        if len(np.unique(traits.method[traits.label == label])) > 1 and len(methods) <= NAMED
        else ""
    )
    title = WORDS[name][0].upper() + WORDS[name][1:]
    mine, other = CLASSES[label], CLASSES[1 - label]
    sentence = (
        f"{title}: {has.sum()} of {total} {mine}s ({share:.1%}{by}) are {kind_words(name, word)},"
        f" and no {other} is."
    )
    return Finding(code=name, severity="warning" if share >= MANY else "info", sentence=sentence)


def method_findings(traits: Traits, separating: Collection[str]) -> Iterator[Finding]:
    """Yield for every method the clearest trait of its files that tells it from the other class,
    where a class has several methods.

    A whole interval must lie above `TELLS`; the intervals hold together over all traits and
    methods. separating: traits that tell the classes apart as a whole.
    """
    columns = [*kind_columns(traits), *((name, "", traits.numbers[name]) for name in SIZES)]
    columns = [
        (name, word, values)
        for name, word, values in columns
        if len(np.unique(values[~np.isnan(values)])) > 1
    ]
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
    fresh = [column for column in columns if column[0] not in separating]
    for label, method in places:
        part = (traits.label != label) | (traits.method == method)
        found = [
            cue
            for name, word, values in fresh
            if (cue := _cue(traits, name, word, values, part, confidence)) is not None
        ]
        if found:
            _, _, name, words = max(found)
            yield Finding(
                code=name,
                severity="warning",
                sentence=f"The {CLASSES[label]}s of {method} alone: {words}.",
            )


def _cue(
    traits: Traits,
    name: str,
    word: str,
    values: NDArray[np.float64],
    part: Bools,
    confidence: float,
) -> tuple[float, float, str, str] | None:
    """Where its interval begins, its AUC, the trait, and what to say of it; None where it tells
    nothing apart.
    """
    known = part & ~np.isnan(values)
    fake, held = traits.label[known] == FAKE, values[known]
    # its interval begins below
    if fake.all() or not fake.any() or abs(_auc(fake, held) - 0.5) <= TELLS - 0.5:
        return None
    sign = 1 if _auc(fake, held) > 0.5 else -1
    auc = cross_validated_auc(
        fake, sign * held, traits.group[known], np.zeros(len(held)), confidence=confidence
    )
    if not auc.low > TELLS:
        return None
    sides = [(held[~fake]), (held[fake])]
    if word:
        evidence = (
            f"{sides[0].mean():.0%} of the reals and {sides[1].mean():.0%} of the fakes are"
            f" {kind_words(name, word)}"
        )
    else:
        evidence = (
            f"median of the reals {np.median(sides[0]):.4g}, of the fakes {np.median(sides[1]):.4g}"
        )
    numbers = f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    return (
        auc.low,
        auc.value,
        name,
        f"{in_words(name)} tells them from the other class: {numbers} ({evidence})",
    )


def _auc(fake: Bools, values: NDArray[np.float64]) -> float:
    """The Mann-Whitney AUC without an interval: most columns are looked at no further."""
    reals = np.sort(values[~fake])
    below = np.searchsorted(reals, values[fake], "left") + np.searchsorted(
        reals, values[fake], "right"
    )
    return float(below.mean()) / (2 * len(reals)) if len(reals) else math.nan

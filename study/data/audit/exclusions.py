"""Images that are left out, and whether that depends on their class.

A reader's limit, a broken download or a kind of file that one generator writes takes images
of one class away. What is left is no fair sample then, and no number of the matrix shows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from study.core.records import FAKE, REAL
from study.data.audit.findings import Finding
from study.data.datasets import labels
from study.data.face_regions import faceless
from study.data.images.faces import NO_FACE
from study.statistics.resampling import CONFIDENCE


def exclusion_findings(samples: pa.Table, unread: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Yield what is left out, and a warning where it is left out of one class more often than by
    chance.

    samples: of the dataset, all of them. unread: (path, reason) of those left out.
    """
    if "face" in samples.column_names:
        yield from _faceless(samples)
    reasons = {path: reason for path, reason in unread if reason != NO_FACE}
    if not reasons:
        return
    path, reason = next(iter(reasons.items()))
    sentence = f"{len(reasons)} images cannot be read and are left out, '{path}' because: {reason}."
    yield Finding(code="unreadable", severity="info", sentence=sentence)
    out = samples.filter(pc.is_in(samples["path"], value_set=pa.array(reasons)))
    lost, every = units_by_class(out), units_by_class(samples)
    p = exclusion_p(lost, every)
    if p >= 1 - CONFIDENCE:
        return
    worst = max((REAL, FAKE), key=lambda label: lost[label] / every[label])
    paths = out.filter(pc.equal(out["label"], worst))["path"].to_pylist()
    ((often, _),) = Counter(reasons[path] for path in paths).most_common(1)
    sentence = (
        f"More of one class is left out than by chance: {lost[REAL]} of {every[REAL]} real and"
        f" {lost[FAKE]} of {every[FAKE]} fake (Fisher's exact test, p = {p:.1e}), of the"
        f" {'real' if worst == REAL else 'fake'} ones mostly because: {often}. The rest is no fair"
        " sample of both classes."
    )
    yield Finding(code="exclusions", severity="warning", sentence=sentence)


def _faceless(samples: pa.Table) -> Iterator[Finding]:
    """Yield in how many images no face was found, a warning where one class has more of them."""
    out = faceless(samples)
    if not out.num_rows:
        return
    lost = [int((labels(out) == label).sum()) for label in (REAL, FAKE)]
    every = [int((labels(samples) == label).sum()) for label in (REAL, FAKE)]
    (real, fake), (reals, fakes) = lost, every
    said = (
        f"No face was found in {real} of {reals} real and {fake} of {fakes} fake images, such as"
        f" '{out['path'][0]}', and they are left out"
    )
    # frames of a video are no independent tries
    p = exclusion_p(units_by_class(out), units_by_class(samples))
    if p < 1 - CONFIDENCE:
        said += (
            f": more of one class than by chance (Fisher's exact test, by video where there are"
            f" any, p = {p:.1e}). The rest is no fair sample of both classes"
        )
    yield Finding(
        code="faceless", severity="warning" if p < 1 - CONFIDENCE else "info", sentence=f"{said}."
    )


def units_by_class(rows: pa.Table) -> tuple[int, int]:
    """Return of how many real and of how many fake units samples are. The frames of a video are one
    unit: they are lost together.
    """
    real, fake = (
        pc.count_distinct(rows.filter(pc.equal(rows["label"], label))["unit"]).as_py()
        for label in (REAL, FAKE)
    )
    return real, fake


def exclusion_p(lost: tuple[int, int], every: tuple[int, int]) -> float:
    """Return the two-sided p of Fisher's exact test that both classes lose units alike often.

    lost: of `every`, each (real, fake).
    """
    from scipy.stats import fisher_exact

    kept = [of - out for out, of in zip(lost, every, strict=True)]
    return float(fisher_exact([lost, kept]).pvalue)

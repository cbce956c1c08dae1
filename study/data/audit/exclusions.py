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
from study.statistics.resampling import CONFIDENCE


def exclusion_findings(samples: pa.Table, unread: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """Yield what is left out, and a warning where it is left out of one class more often than by
    chance.

    samples: of the dataset, all of them. unread: (path, reason) of those left out.
    """
    if not unread:
        return
    path, reason = unread[0]
    sentence = f"{len(unread)} images cannot be read and are left out, '{path}' because: {reason}."
    yield Finding(code="unreadable", severity="info", sentence=sentence)
    reasons = dict(unread)
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

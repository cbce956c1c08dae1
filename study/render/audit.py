"""An audit as JSON (audit.json, `--json`) and as text.

NaN is null in JSON, and `undefined` says why.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from study.analysis.audit import InputResolution, PairAudit, StudyAudit
from study.core.records import Estimate
from study.data.audit.dataset import DatasetAudit
from study.data.audit.findings import QUANTILES, Comparison, Severity
from study.data.audit.traits import METADATA
from study.render.numbers import between, counted, json_number, number
from study.render.table import Table, fold, table, text

SCHEMA = 1
SHOWN = (
    *METADATA,
    "brightness",
    "brightness_sd",
    "saturation",
    "border_brightness",
    "border_less_centre_brightness",
)
WIDTH = 120
REFERENCE = "a reference: it cannot tell processing from a generator's trace"


def as_json(audit: StudyAudit) -> str:
    """Return an audit as one JSON document: `datasets` has one object a dataset; of a study also
    `resolutions` and `pairs`.
    """
    document: dict[str, Any] = {"schema": SCHEMA, "datasets": [*map(_dataset, audit.datasets)]}
    if audit.pairs:
        document |= {"resolutions": [*map(_seen, audit.seen)], "pairs": [*map(_pair, audit.pairs)]}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _dataset(audit: DatasetAudit) -> dict[str, Any]:
    native = None
    if audit.native:
        sides = dict(zip(("p5", "median", "p95"), audit.native.short_side, strict=True))
        size = {"width": audit.native.width, "height": audit.native.height}
        native = {**size, "short_side": sides}
    return {
        "name": audit.name,
        "listed": audit.listed,
        "real": audit.n_real,
        "fake": audit.n_fake,
        "unread": [{"path": path, "reason": reason} for path, reason in audit.unread],
        "groups": {
            "all": audit.groups,
            "of_both_classes": audit.mixed_groups,
            "in_several_splits": audit.torn_groups,
        },
        "faces": audit.faces or None,
        "unified_px": audit.unified_px,
        "native": native,
        "metadata_auc": _estimate(audit.metadata_auc),
        "border_brightness_auc": _estimate(audit.border_brightness_auc),
        "processing_auc": _estimate(audit.processing_auc),
        "findings": [vars(finding) for finding in audit.findings],
        "traits": [_trait(comparison) for comparison in audit.comparisons],
    }


def _estimate(e: Estimate) -> dict[str, Any]:
    numbers = {name: json_number(getattr(e, name)) for name in ("value", "low", "high")}
    counts = {"n": e.n_real + e.n_fake, "n_real": e.n_real, "n_fake": e.n_fake}
    return {**numbers, **counts, "undefined": e.reason, "note": e.note}


def _trait(comparison: Comparison) -> dict[str, Any]:
    def side(values: tuple[float, ...]) -> Any:
        numbers = [json_number(value) for value in values]
        names = [f"p{q * 100:g}" for q in QUANTILES]
        return numbers[0] if comparison.kind else dict(zip(names, numbers, strict=True))

    return {
        "trait": comparison.trait,
        "kind": comparison.kind,
        "real": side(comparison.real),
        "fake": side(comparison.fake),
        "auc": _estimate(comparison.auc),
        "higher": comparison.higher,
    }


def _seen(seen: InputResolution) -> dict[str, Any]:
    geometry = {name: getattr(seen.geometry, name) for name in ("size_px", "mode", "resize_px")}
    where = {"dataset": seen.dataset, "detectors": list(seen.detectors)}
    return {**where, **geometry, "scale": seen.scale, "share_seen": seen.share}


def _pair(pair: PairAudit) -> dict[str, Any]:
    place = {"train_on": pair.train_on, "test_on": pair.test_on}
    findings = [vars(finding) for finding in pair.findings]
    return {**place, "leaked": pair.leaked, "findings": findings}


def as_text(audit: StudyAudit) -> str:
    """Return an audit for a terminal: each dataset's traits by class and what was found; of a study
    its resolutions.
    """
    parts = [_dataset_text(one) for one in audit.datasets]
    if audit.seen:
        parts.append(
            f"resolution: what detectors make of the median image\n{_seen_text(audit.seen)}"
        )
    between = [
        _fold(f"{pair.train_on} -> {pair.test_on}: {f.sentence.removeprefix(f'{pair.test_on}: ')}")
        for pair in audit.pairs
        for f in pair.findings
    ]
    if between:
        parts.append("\n".join(["between training and test sets", *between]))
    return "\n\n".join(parts)


def pairs_line(audit: StudyAudit) -> str:
    """Return where what stands between training and test sets can be read, for below the matrices;
    "" where nothing does.
    """
    mismatches = sum(
        finding.code == "resolution_mismatch" for pair in audit.pairs for finding in pair.findings
    )
    leaked = [pair.leaked for pair in audit.pairs if pair.leaked]
    found = [f"resolution mismatches {mismatches}"] if mismatches else []
    if leaked:
        what = counted(sum(leaked), "test image")
        found.append(
            f"{what} leaked from train or val, in {counted(len(leaked), 'pair')} (marked !)"
        )
    if not found:
        return ""
    return f"between training and test sets: {', '.join(found)}; study.audit tells which"


def _dataset_text(audit: DatasetAudit) -> str:
    worst_first = sorted(audit.findings, key=lambda one: -get_args(Severity).index(one.severity))
    found = [_fold(f"{one.severity}: {one.sentence}") for one in worst_first]
    lines = [
        *_head(audit),
        "",
        _indented(table(("trait", "", "real", "fake", "AUC alone"), _traits(audit))),
        "",
        f"  metadata only:         AUC {_interval(audit.metadata_auc)}",
        f"  border and brightness: AUC {_interval(audit.border_brightness_auc)}",
        f"  processing history:    AUC {_interval(audit.processing_auc)} ({REFERENCE})",
        "",
        *(found or [f"  nothing found that sets the classes apart{_limit(audit)}"]),
    ]
    return "\n".join(lines)


def _head(audit: DatasetAudit) -> list[str]:
    said = [f"{audit.name}: {audit.n_real} real, {audit.n_fake} fake images"]
    if audit.unread:
        said.append(f"{len(audit.unread)} of {audit.listed} left out")
    if audit.native:
        said.append(f"{audit.native.width:g} x {audit.native.height:g} px (median)")
    said += [audit.faces] if audit.faces else []
    said += ["re-encoded alike (unify)"] if audit.unified_px else []
    torn = "each on one side of every split"
    if audit.torn_groups:
        torn = f"{audit.torn_groups} of them in more than one split"
    groups = f"{audit.groups} groups, {audit.mixed_groups} of them with reals and fakes"
    return [", ".join(said), f"  {groups}, {torn}"]


def _limit(audit: DatasetAudit) -> str:
    """What nothing was found of could still be: the upper end of the intervals of the two
    classifiers that warn; "" where there is none.
    """
    highs = [e.high for e in (audit.metadata_auc, audit.border_brightness_auc)]
    known = [high for high in highs if math.isfinite(high)]
    if not known:
        return ""
    return f" ({audit.groups} groups: an AUC below about {max(known):.2f} could be missed)"


def _traits(audit: DatasetAudit) -> Iterator[tuple[str, str, str, str, str]]:
    """The file traits, and a few statistics of the pixels: what does not vary in one line, a number
    as its median and range.
    """
    for c in audit.comparisons:
        if c.trait in SHOWN:
            real, fake = (_share(side[0]) if c.kind else _range(side) for side in (c.real, c.fake))
            yield c.trait, c.kind, real, fake, "-" if math.isnan(c.auc.value) else _interval(c.auc)


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _range(quantiles: Sequence[float]) -> str:
    low, _, median, _, high = quantiles
    return "-" if math.isnan(median) else f"{median:.4g} ({low:.4g} to {high:.4g})"


def _interval(auc: Estimate) -> str:
    if math.isnan(auc.value):
        return f"undefined: {auc.reason}"
    note = f"  {auc.note}" if auc.note else ""
    return f"{number(auc.value)} {between(auc.low, auc.high) or '[no interval]'}{note}"


def _seen_text(seen: Sequence[InputResolution]) -> str:
    head = ("dataset", "model px", "how", "detectors", "scaled by", "share of the side seen")
    rows = [
        (
            *(s.dataset, f"{s.geometry.size_px}", s.geometry.mode, ", ".join(s.detectors)),
            *(f"x{s.scale:.3g}", f"{s.share:.0%}"),
        )
        for s in seen
    ]
    return _indented(table(head, rows))


def _indented(made: Table) -> str:
    return textwrap.indent(text(made), "  ")


def _fold(line: str) -> str:
    return textwrap.indent(fold(line, WIDTH - 2), "  ")

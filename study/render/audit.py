"""An audit as JSON (audit.json, `--json`) and as text.

NaN is null in JSON, and `undefined` says why.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from study.analysis.audit import InputResolution, PairAudit, StudyAudit
from study.core.records import Estimate
from study.data.audit.dataset import DatasetAudit
from study.data.audit.findings import QUANTILES, Comparison, Finding
from study.data.audit.traits import METADATA
from study.render.numbers import counted, json_number
from study.render.table import Table, table, text

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


def as_json(audit: StudyAudit) -> str:
    """Return an audit as one JSON document: `datasets` has one object a dataset; of a study also
    `resolutions` and `pairs`.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "datasets": [_dataset(one) for one in audit.datasets],
    }
    if audit.pairs:
        document |= {
            "resolutions": [_seen(one) for one in audit.seen],
            "pairs": [_pair(one) for one in audit.pairs],
        }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _dataset(audit: DatasetAudit) -> dict[str, Any]:
    native = audit.native
    sides = dict(zip(("p5", "median", "p95"), native.short_side, strict=True)) if native else None
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
        "unified_px": audit.unified_px,
        "native": (
            {"width": native.width, "height": native.height, "short_side": sides}
            if native
            else None
        ),
        "metadata_auc": _estimate(audit.metadata_auc),
        "border_brightness_auc": _estimate(audit.border_brightness_auc),
        "findings": [_finding(finding) for finding in audit.findings],
        "traits": [_trait(comparison) for comparison in audit.comparisons],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    numbers = {name: json_number(getattr(estimate, name)) for name in ("value", "low", "high")}
    counts = {
        "n": estimate.n_real + estimate.n_fake,
        "n_real": estimate.n_real,
        "n_fake": estimate.n_fake,
    }
    return {**numbers, **counts, "undefined": estimate.reason, "note": estimate.note}


def _finding(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "severity": finding.severity, "sentence": finding.sentence}


def _trait(comparison: Comparison) -> dict[str, Any]:
    def side(values: tuple[float, ...]) -> Any:
        numbers = [json_number(value) for value in values]
        return (
            numbers[0]
            if comparison.kind
            else dict(zip([f"p{q * 100:g}" for q in QUANTILES], numbers, strict=True))
        )

    return {
        "trait": comparison.trait,
        "kind": comparison.kind,
        "real": side(comparison.real),
        "fake": side(comparison.fake),
        "auc": _estimate(comparison.auc),
        "higher": comparison.higher,
    }


def _seen(seen: InputResolution) -> dict[str, Any]:
    geometry = {
        "size_px": seen.geometry.size_px,
        "mode": seen.geometry.mode,
        "resize_px": seen.geometry.resize_px,
    }
    return {
        "dataset": seen.dataset,
        "detectors": list(seen.detectors),
        **geometry,
        "scale": seen.scale,
        "share_seen": seen.share,
    }


def _pair(pair: PairAudit) -> dict[str, Any]:
    findings = [_finding(finding) for finding in pair.findings]
    return {
        "train_on": pair.train_on,
        "test_on": pair.test_on,
        "leaked": pair.leaked,
        "findings": findings,
    }


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
        _fold(f"{pair.train_on} -> {pair.test_on}: {f.sentence}")
        for pair in audit.pairs
        for f in pair.findings
    ]
    if between:
        parts.append("\n".join(["between training and test sets", *between]))
    return "\n\n".join(parts)


def pairs_line(audit: StudyAudit, study: str) -> str:
    """Return where what stands between training and test sets can be read, for below the matrices;
    "" where nothing does.

    study: the file or preset, as the command takes it.
    """
    mismatches = sum(
        finding.code == "resolution_mismatch" for pair in audit.pairs for finding in pair.findings
    )
    leaked = [pair.leaked for pair in audit.pairs if pair.leaked]
    found = [f"resolution mismatches {mismatches}"] if mismatches else []
    if leaked:
        found.append(f"leaked test images {sum(leaked)} in {counted(len(leaked), 'pair')}")
    return (
        f"between training and test sets: {', '.join(found)}; read them with python -m study.audit"
        f" {study}"
        if found
        else ""
    )


def _dataset_text(audit: DatasetAudit) -> str:
    lines = [
        _head(audit),
        f"  {_groups(audit)}",
        "",
        _indented(table(("trait", "", "real", "fake", "AUC alone"), _traits(audit))),
    ]
    lines += ["", f"  metadata only:         AUC {_interval(audit.metadata_auc)}"]
    lines += [f"  border and brightness: AUC {_interval(audit.border_brightness_auc)}", ""]
    found = [_fold(f"{finding.severity}: {finding.sentence}") for finding in audit.findings]
    return "\n".join(
        [*lines, *(found or [f"  nothing found that sets the classes apart{_limit(audit)}"])]
    )


def _limit(audit: DatasetAudit) -> str:
    """Return what nothing was found of could still be: the upper end of the two classifiers'
    intervals; "" where there is none.
    """
    highest = max(
        (
            e.high
            for e in (audit.metadata_auc, audit.border_brightness_auc)
            if math.isfinite(e.high)
        ),
        default=math.nan,
    )
    return (
        ""
        if math.isnan(highest)
        else f" ({audit.groups} groups: an AUC below about {highest:.2f} could be missed)"
    )


def _head(audit: DatasetAudit) -> str:
    unread = f", {len(audit.unread)} of {audit.listed} unreadable" if audit.unread else ""
    native = (
        f", {audit.native.width:g} x {audit.native.height:g} px (median)" if audit.native else ""
    )
    unified = ", re-encoded alike (unify)" if audit.unified_px else ""
    return f"{audit.name}: {audit.n_real} real, {audit.n_fake} fake images{unread}{native}{unified}"


def _groups(audit: DatasetAudit) -> str:
    torn = (
        f"{audit.torn_groups} of them in more than one split"
        if audit.torn_groups
        else "each on one side of every split"
    )
    return f"{audit.groups} groups, {audit.mixed_groups} of them with reals and fakes, {torn}"


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
    return (
        "-"
        if math.isnan(quantiles[2])
        else f"{quantiles[2]:.4g} ({quantiles[0]:.4g} to {quantiles[4]:.4g})"
    )


def _interval(auc: Estimate) -> str:
    if math.isnan(auc.value):
        return f"undefined: {auc.reason}"
    ends = f"[{auc.low:.3f}, {auc.high:.3f}]" if math.isfinite(auc.low) else "[no interval]"
    return f"{auc.value:.3f} {ends}" + (f"  {auc.note}" if auc.note else "")


def _seen_text(seen: Sequence[InputResolution]) -> str:
    head = ("dataset", "model px", "how", "detectors", "scaled by", "share of the side seen")
    rows = [
        (
            s.dataset,
            f"{s.geometry.size_px}",
            s.geometry.mode,
            ", ".join(s.detectors),
            f"x{s.scale:.3g}",
            f"{s.share:.0%}",
        )
        for s in seen
    ]
    return _indented(table(head, rows))


def _indented(made: Table) -> str:
    return textwrap.indent(text(made), "  ")


def _fold(line: str) -> str:
    return textwrap.fill(
        line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )

"""The audit of a study: every dataset of it, what its detectors make of each resolution, and its
place in the matrix.

It sees all splits, so it stands outside the firewall: nothing here is read by search or
selection.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from study.analysis.leakage import NO_LEAKS
from study.analysis.results import DatasetRow, ResultRow
from study.core.errors import FirewallError
from study.core.records import CONTROLS, NO_DEGRADATION, NO_TRAINING, Estimate, Geometry
from study.data.audit.ahead import measured_ahead
from study.data.audit.dataset import CLASSIFIERS, DatasetAudit, audit_dataset, leak_findings
from study.data.audit.findings import Finding
from study.data.audit.resolution import Native, mismatch, scale, share_seen
from study.data.catalog import Catalog
from study.data.file_index import Progress, quiet
from study.data.leaks.find import find_leaks
from study.data.names import split_union
from study.jobs.workspace import open_catalog
from study.planning.open_study import OpenStudy
from study.planning.study import Study

WHERE = "cross-validated by group over all splits of the dataset"


@dataclass(frozen=True, kw_only=True)
class InputResolution:
    """What the detectors of one geometry make of a dataset's median image.

    scale: of its short side; share: of the short side that is seen, in (0, 1].
    """

    dataset: str
    geometry: Geometry
    detectors: tuple[str, ...]
    scale: float
    share: float


@dataclass(frozen=True, kw_only=True)
class PairAudit:
    """What is to be known of training on X and testing on Y; findings may be none. leaked: test
    images that leak from training.
    """

    train_on: str
    test_on: str
    findings: tuple[Finding, ...]
    leaked: int


@dataclass(frozen=True, kw_only=True)
class StudyAudit:
    """The audit of some datasets, and of a study's use of them."""

    datasets: tuple[DatasetAudit, ...]
    seen: tuple[InputResolution, ...] = ()
    pairs: tuple[PairAudit, ...] = ()

    def of(self, name: str) -> DatasetAudit | None:
        """Return the audit of a dataset; None for a union."""
        return next((audit for audit in self.datasets if audit.name == name), None)

    def warnings(self, name: str) -> str:
        """Return the sentences by which a column is marked, of a union those of its members; ""
        where there are none.
        """
        found = [(member, self.of(member)) for member in split_union(name)]
        return " ".join(sentence for _, audit in found if audit for sentence in audit.warnings)


def audit_study(setup: OpenStudy, *, progress: Progress = quiet) -> StudyAudit:
    """Audit every dataset that a study trains or tests on, and every pairing of the two. Raises
    what `audit_datasets` raises.
    """
    study = setup.study
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    catalog.progress = progress
    names = _names(study)
    datasets = audit_datasets(catalog, names, only_tested=study.only_tested())
    native = {audit.name: audit.native for audit in datasets if audit.native is not None}
    geometries: dict[Geometry, list[str]] = {}
    for name, spec in setup.keys.specs.items():
        geometries.setdefault(spec.geometry, []).append(name)
    seen = [
        InputResolution(
            dataset=name,
            geometry=geometry,
            detectors=tuple(detectors),
            scale=scale(of, geometry),
            share=share_seen(of, geometry),
        )
        for name, of in native.items()
        for geometry, detectors in geometries.items()
    ]
    leaks = {(x, y): find_leaks(catalog, x, y) for x in study.train_on for y in study.test_on}
    pairs = [
        PairAudit(
            train_on=x,
            test_on=y,
            findings=(*_mismatches(x, y, native, geometries), *leak_findings(found)),
            leaked=len(found.ids()),
        )
        for (x, y), found in leaks.items()
    ]
    return StudyAudit(datasets=datasets, seen=tuple(seen), pairs=tuple(pairs))


def _names(study: Study) -> list[str]:
    return [member for name in (*study.train_on, *study.test_on) for member in split_union(name)]


def study_measured_ahead(setup: OpenStudy) -> AbstractContextManager[object]:
    """Measure what `audit_study` needs, in a process beside the block."""
    study = setup.study
    return measured_ahead(
        setup.workspace.data,
        _names(study),
        only_tested=study.only_tested(),
        pairs=[(x, y) for x in study.train_on for y in study.test_on],
    )


def audit_datasets(
    catalog: Catalog, names: Iterable[str], *, only_tested: Collection[str] = ()
) -> tuple[DatasetAudit, ...]:
    """Audit datasets by name, each once. only_tested: those that a study only tests on.

    Raises what `Catalog.dataset` and `audit_dataset` raise, and FirewallError for a catalog that
    hides test splits.
    """
    if catalog.firewall:
        raise FirewallError(
            "an audit reads every split: it is no part of search or selection (PROTOCOL section 8)"
        )
    return tuple(
        audit_dataset(catalog, name, only_tested=name in only_tested)
        for name in dict.fromkeys(names)
    )


def _mismatches(
    x: str, y: str, native: Mapping[str, Native], geometries: dict[Geometry, list[str]]
) -> Iterable[Finding]:
    for one in split_union(x):
        for other in split_union(y):
            if one in native and other in native:
                found = mismatch((one, native[one]), (other, native[other]), geometries)
                if found is not None:
                    yield found


def control_rows(audit: StudyAudit, test_on: Sequence[str]) -> list[ResultRow]:
    """Return the rows of the audit's three classifiers: an AUC for every test set."""
    rows = []
    for detector, field in zip(CONTROLS, CLASSIFIERS, strict=True):
        for name in test_on:
            found = audit.of(name)
            estimate: Estimate = getattr(found, field) if found else _OF_A_UNION
            coverage = (found.n_real + found.n_fake) / found.listed if found else math.nan
            rows.append(_row(detector, name, estimate, coverage))
    return rows


def dataset_rows(audit: StudyAudit, test_on: Sequence[str]) -> tuple[DatasetRow, ...]:
    """Return what the audit warns of, test set by test set, and how much of each is tested."""
    rows = []
    for name in test_on:
        row = DatasetRow(name=name, warnings=audit.warnings(name))
        if found := audit.of(name):
            row = replace(row, tested=found.tested, images=found.n_real + found.n_fake)
        rows.append(row)
    return tuple(rows)


_OF_A_UNION = Estimate(
    value=math.nan,
    low=math.nan,
    high=math.nan,
    n_real=0,
    n_fake=0,
    reason="a union is audited by its members, each apart",
)


def _row(detector: str, test_on: str, estimate: Estimate, coverage: float) -> ResultRow:
    return ResultRow(
        detector=detector,
        train_on=NO_TRAINING,
        test_on=test_on,
        role="baseline",
        degradation=NO_DEGRADATION,
        level="image",
        domain=NO_LEAKS.domain(NO_TRAINING, test_on),
        seed="mean",
        metric="auc",
        threshold="",
        estimate=replace(estimate, note="; ".join(note for note in (WHERE, estimate.note) if note)),
        coverage=coverage,
        state="done",
    )

"""The audit of a study: every dataset of it, what its detectors make of each resolution, and its place in the matrix.

Floor 3. It sees all splits, so it stands outside the firewall: nothing here is read by search or selection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from study.data.audit.dataset import DatasetAudit, audit_dataset
from study.data.audit.findings import Finding
from study.data.audit.resolution import Native, mismatch, scale, share_seen
from study.data.catalog import Catalog, split_union
from study.data.index import Progress, quiet
from study.errors import FirewallError
from study.planning.setup import Setup
from study.records import NO_DEGRADATION, NO_PIXELS, NO_TRAINING, Estimate, Geometry, MatrixRow

WHERE = "cross-validated by group over all splits of the dataset"


@dataclass(frozen=True, kw_only=True)
class Seen:
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
    """What is to be known of training on X and testing on Y; findings may be none."""

    train_on: str
    test_on: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class StudyAudit:
    """The audit of some datasets, and of a study's use of them."""

    datasets: tuple[DatasetAudit, ...]
    seen: tuple[Seen, ...] = ()
    pairs: tuple[PairAudit, ...] = ()

    def of(self, name: str) -> DatasetAudit | None:
        """Return the audit of a dataset; None for a union."""
        return next((audit for audit in self.datasets if audit.name == name), None)

    def marks(self) -> dict[str, tuple[str, ...]]:
        """Return dataset -> the sentences by which its column is marked, for those that have any."""
        return {audit.name: audit.warnings for audit in self.datasets if audit.warnings}


def audit_study(setup: Setup, *, progress: Progress = quiet) -> StudyAudit:
    """Audit every dataset that a study trains or tests on, and every pairing of the two. Raises what `audit_datasets` raises."""
    study = setup.study
    catalog = Catalog(setup.workspace.data, firewall=setup.workspace.firewall, progress=progress)
    names = [member for name in (*study.train_on, *study.test_on) for member in split_union(name)]
    datasets = audit_datasets(catalog, names)
    native = {audit.name: audit.native for audit in datasets if audit.native is not None}
    geometries: dict[Geometry, list[str]] = {}
    for name, spec in setup.specs.items():
        geometries.setdefault(spec.geometry, []).append(name)
    seen = [
        Seen(dataset=name, geometry=geometry, detectors=tuple(detectors), scale=scale(of, geometry), share=share_seen(of, geometry))
        for name, of in native.items()
        for geometry, detectors in geometries.items()
    ]
    pairs = [
        PairAudit(train_on=x, test_on=y, findings=tuple(_mismatches(x, y, native, geometries)))
        for x in study.train_on
        for y in study.test_on
    ]
    return StudyAudit(datasets=datasets, seen=tuple(seen), pairs=tuple(pairs))


def audit_datasets(catalog: Catalog, names: Iterable[str]) -> tuple[DatasetAudit, ...]:
    """Audit datasets by name, each once.

    Raises what `Catalog.dataset` and `audit_dataset` raise, and FirewallError for a catalog that hides test splits.
    """
    if catalog.firewall:
        raise FirewallError("an audit reads every split: it is no part of search or selection (PROTOCOL section 8)")
    return tuple(audit_dataset(catalog, name) for name in dict.fromkeys(names))


def _mismatches(x: str, y: str, native: Mapping[str, Native], geometries: dict[Geometry, list[str]]) -> Iterable[Finding]:
    for one in split_union(x):
        for other in split_union(y):
            if one in native and other in native:
                found = mismatch((one, native[one]), (other, native[other]), geometries)
                if found is not None:
                    yield found


def no_pixel_rows(audit: StudyAudit, test_on: Iterable[str]) -> list[MatrixRow]:
    """Return the rows of the audit's two classifiers in the matrix: an AUC for every test set."""
    rows = []
    for name in test_on:
        found = audit.of(name)
        estimates = (found.metadata_auc, found.border_brightness_auc) if found else (None, None)
        rows += [_row(detector, name, estimate, found) for detector, estimate in zip(NO_PIXELS, estimates, strict=True)]
    return sorted(rows, key=lambda row: NO_PIXELS.index(row.detector))


def _row(detector: str, test_on: str, estimate: Estimate | None, audit: DatasetAudit | None) -> MatrixRow:
    nothing = float("nan")
    reason = "" if audit else "a union is audited by its members"
    if estimate is None or audit is None:
        estimate, coverage = Estimate(value=nothing, low=nothing, high=nothing, n_real=0, n_fake=0, reason=reason), nothing
    else:
        coverage = (audit.n_real + audit.n_fake) / audit.listed
        estimate = replace(estimate, note="; ".join(note for note in (WHERE, estimate.note) if note))
    return MatrixRow(
        detector=detector,
        train_on=NO_TRAINING,
        test_on=test_on,
        degradation=NO_DEGRADATION,
        level="image",
        seed="mean",
        metric="auc",
        threshold="",
        estimate=estimate,
        coverage=coverage,
        state="done" if audit else "not_applicable",
        reason=reason,
    )

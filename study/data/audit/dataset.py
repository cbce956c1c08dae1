"""The audit of one dataset: its traits by class, the three classifiers, what was found (PROTOCOL
section 8).

All images of the dataset are audited, of every split: an audit describes the data, and
nothing of it goes back into search. `<cache>/audits/` keeps what takes time, the three classifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.core.cache import Cache
from study.core.records import FAKE, REAL, Estimate
from study.data.audit.classifiers import border_brightness_auc, metadata_auc, processing_auc
from study.data.audit.exclusions import exclusion_findings
from study.data.audit.findings import Comparison, Finding, compare, cue_findings
from study.data.audit.one_pass import read_once
from study.data.audit.partial import MANY, method_findings, one_class_findings
from study.data.audit.resolution import Native, native_resolution
from study.data.audit.traits import TRAITS, Traits, traits_of
from study.data.catalog import Catalog
from study.data.datasets import Dataset, columns_digest, group_codes, strings, words
from study.data.face_regions import faces_found
from study.data.images.decode import READERS
from study.data.leaks.find import (
    KINDS,
    NAMED,
    ORDER,
    Kind,
    Leaks,
    leaks_across,
    leaks_within,
)
from study.data.splits import straddling

CLASSIFIERS: dict[str, Callable[[Traits], Estimate]] = {
    "metadata_auc": metadata_auc,
    "border_brightness_auc": border_brightness_auc,
    "processing_auc": processing_auc,
}
LEAK = "leak_"  # the codes of findings of leaks begin with it
AUDITS = Cache(
    "audits",
    [metadata_auc, border_brightness_auc, processing_auc, *TRAITS.made_by],
    libraries=(*READERS, "scipy", "scikit-learn"),
)


@dataclass(frozen=True, kw_only=True)
class DatasetAudit:
    """What is to be known of a dataset.

    n_real, n_fake: images audited; listed: all of its images; tested: those of its test split that
    can be used. unread: (path, reason) of those without traits. groups: distinct ones;
    mixed_groups: those that hold both classes; torn_groups: those in more than one split. native:
    None without images. metadata_auc, border_brightness_auc, processing_auc: of the three
    classifiers (the last a reference, of which nothing is found), mean over folds by group, in
    [0, 1]. faces: in how many images of each class one was found, where each image is its face, and
    then the audit is of these; else "". unified_px: the side to which the study re-encodes all
    images alike, and then the audit is of these; else None, and it is of the files.
    """

    name: str
    faces: str
    unified_px: int | None
    listed: int
    tested: int
    n_real: int
    n_fake: int
    unread: tuple[tuple[str, str], ...]
    groups: int
    mixed_groups: int
    torn_groups: int
    native: Native | None
    metadata_auc: Estimate
    border_brightness_auc: Estimate
    processing_auc: Estimate
    comparisons: tuple[Comparison, ...]
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences that mark a column: of severity `warning` and `critical`. A leak marks the
        cells that it touches, and no column.
        """
        found = (f for f in self.findings if not f.code.startswith(LEAK))
        return tuple(finding.sentence for finding in found if finding.severity != "info")


def audit_dataset(catalog: Catalog, name: str, *, only_tested: bool = False) -> DatasetAudit:
    """Audit all images of a dataset; what the cache knows is not computed again. only_tested: a
    study tests on it and trains on none of it: what its splits share does not matter then.

    Raises what `Catalog.dataset` raises, DataError where a file changed since it was indexed,
    StoreError where the cache cannot be written, FirewallError where the catalog hides the test
    split.
    """
    dataset, cache = catalog.dataset(name), catalog.config.cache
    read_once(dataset, cache=cache, progress=catalog.progress)
    traits = traits_of(dataset, cache=cache, progress=catalog.progress)
    estimates = _estimates(dataset, traits, cache)
    comparisons = compare(traits)
    codes, names = group_codes(dataset.samples)
    fake = np.array(dataset.samples["label"], dtype=bool)
    held = [np.bincount(codes[of], minlength=len(names)) > 0 for of in (~fake, fake)]
    torn = straddling(codes, strings(dataset.samples["split"]))
    cues = tuple(
        cue_findings(estimates["metadata_auc"], estimates["border_brightness_auc"], comparisons)
    )
    return DatasetAudit(
        name=dataset.name,
        faces=faces_found(dataset.samples),
        unified_px=dataset.unified_px,
        listed=dataset.samples.num_rows,
        tested=sum(dataset.counts()["test"]),
        n_real=int((traits.label == 0).sum()),
        n_fake=int((traits.label == 1).sum()),
        unread=traits.unread,
        groups=len(names),
        mixed_groups=int((held[0] & held[1]).sum()),
        torn_groups=torn,
        native=native_resolution(traits),
        comparisons=comparisons,
        findings=(
            *cues,
            *_partial(traits, cues),
            *_repeats(catalog, name, only_tested),
            *exclusion_findings(dataset.samples, traits.unread),
        ),
        **estimates,
    )


def _partial(traits: Traits, cues: Iterable[Finding]) -> Iterator[Finding]:
    """Yield what sets a part of a class apart, of traits that do not tell the classes apart as a
    whole.
    """
    separating = {finding.code for finding in cues if finding.severity != "info"}
    found = list(one_class_findings(traits, separating))
    yield from found
    yield from method_findings(traits, separating | {finding.code for finding in found})


def _estimates(dataset: Dataset, traits: Traits, cache: Path) -> dict[str, Estimate]:
    def fit() -> dict[str, Estimate]:
        return {name: classifier(traits) for name, classifier in CLASSIFIERS.items()}

    regions = columns_digest(dataset.samples, ("face",), by_path=True) if dataset.faces else ""
    kept = AUDITS.get(cache, (dataset.digest, dataset.unified_px, regions), fit)
    return {name: Estimate(**kept[name]) for name in CLASSIFIERS}


def _repeats(catalog: Catalog, name: str, only_tested: bool) -> Iterator[Finding]:
    """Yield what the splits of a dataset share, and what repeats within one: the first claims too
    much, the second counts twice.
    """
    for leaks in () if only_tested else leaks_across(catalog, name):
        yield from leak_findings(leaks)
    present = set(words(catalog.dataset(name).samples["split"]))
    used = present & {"test"} if only_tested else present
    for split in (split for split in ORDER if split in used):
        within = leaks_within(catalog, name, split)
        for kind, label, sentence in _told(within):
            named = f"{sentence}{_such_as(within.examples(kind, label))}."
            yield Finding(code="duplicates", severity="info", sentence=named)
        yield from _sources(within)


def leak_findings(leaks: Leaks) -> Iterator[Finding]:
    """Yield a sentence for every kind of leak and class, with files; a warning from a hundredth of
    the class on. A fake with its source is called so.
    """
    for kind, label, sentence in _told(leaks):
        serious = leaks.share(label, kind=kind) >= MANY
        yield Finding(
            code=f"{LEAK}{kind}",
            severity="warning" if serious else "info",
            sentence=f"{sentence}{_such_as(leaks.examples(kind, label))}.",
        )
    yield from _sources(leaks)


def _told(leaks: Leaks) -> Iterator[tuple[Kind, int, str]]:
    """Give every kind of leak and class that there is, and its sentence."""
    kinds = [
        (kind, label)
        for kind in KINDS
        for label in (REAL, FAKE)
        if leaks.ids(kind=kind, label=label)
    ]
    for (kind, label), sentence in zip(kinds, leaks.sentences(), strict=True):
        yield kind, label, sentence


def _sources(leaks: Leaks) -> Iterator[Finding]:
    """Yield what of near duplicates of the other class is to be done: a fake and its source."""
    pairs = [*leaks.of_other_class(REAL), *leaks.of_other_class(FAKE)]
    if pairs:
        sentence = (
            f"{leaks.images}: {len(pairs)} of these near duplicates are of the other class: a fake"
            f" and its source{_such_as(pairs[:NAMED])}. Give both one group, so that no split parts"
            " them: prepare --describe FOLDER --propose-groups writes a manifest with such groups."
        )
        yield Finding(code=f"{LEAK}source", severity="info", sentence=sentence)


def _such_as(pairs: Sequence[tuple[str, str]]) -> str:
    """Pairs of images in words, to stand at the end of a sentence."""
    named = " and ".join(f"'{image}' (as '{source}')" for image, source in pairs)
    return f", such as {named}" if named else ""

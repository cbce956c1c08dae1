"""The scores of a study, opened once: every file of scores is read once, and everything that is
derived takes its logits from here.

The columns that scorings of the same images share (sample ids, groups, units, methods, labels) are
held once. Three views serve all analyses: the images that several scorings have in common, their
mean logit, and the images that training has not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.overlap_groups import Identities, Images, identities_of, own_names
from study.core.errors import ScoreError
from study.core.identity import derive_seed
from study.core.records import Cell, Scores
from study.planning.cells import test_content
from study.planning.open_study import OpenStudy
from study.statistics.metrics import auc
from study.statistics.ranking import Floats

SHARED = ("sample_id", "group", "unit", "method", "label")  # the columns that scorings share


@dataclass(frozen=True, kw_only=True)
class Aligned(Images):
    """S scorings of the same N images of a test set: logits (S, N), float64.

    leaked: how many images of the test set leak from training. They are left out, unless a class is
    gone without them (`kept`).
    """

    logits: Floats
    leaked: int = 0
    kept: bool = False

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.label)

    @property
    def has_both_classes(self) -> bool:
        """Whether there are reals and fakes."""
        return len(np.unique(self.label)) == 2

    @property
    def aucs(self) -> list[float]:
        """The AUC of each scoring, in [0, 1]; NaN where a class is missing."""
        return [auc(self.label, logit) for logit in self.logits]

    def mean_logit(self, rows: Sequence[int] | slice = slice(None)) -> Floats:
        """Return the mean logit (N,) of the scorings at `rows`."""
        return np.asarray(np.mean(self.logits[rows], axis=0))

    def leak_free(self, leaked: Collection[str]) -> Aligned:
        """Return the same without the images of those ids, or with them where a class is gone."""
        stays = ~np.isin(self.sample_id, np.array(sorted(leaked), dtype=np.str_))
        left = replace(
            self,
            sample_id=self.sample_id[stays],
            group=self.group[stays],
            label=self.label[stays],
            logits=np.ascontiguousarray(self.logits[:, stays]),
            leaked=len(self) - int(stays.sum()),
        )
        if left.leaked and not left.has_both_classes:
            return replace(self, leaked=left.leaked, kept=True)
        return left


class ScoreSet:
    """The scores of a run by their keys. leakage: which test images leak from training, and which
    cells are cross-domain. rng_seed: test set -> the seed of its resampling. identities: what tells
    which images of two test sets are the same.
    """

    def __init__(
        self,
        files: Iterable[tuple[str, Scores]],
        *,
        rng_seed: Callable[[str], int],
        leakage: Leakage = NO_LEAKS,
        identities: Identities = own_names,
    ) -> None:
        """Take in the files, which are read as they come: (key, scores)."""
        held: dict[str, Scores] = {}
        self._files = {key: _sharing(scores, held) for key, scores in files}
        self.rng_seed, self.leakage, self.identities = rng_seed, leakage, identities

    def of(self, cell: Cell) -> Scores:
        """Return a scored cell's scores, with all its images."""
        return self._files[cell.scores_key]

    def leaked(self, cell: Cell) -> tuple[str, ...]:
        """Return the ids of the test images of a cell that leak from training, sorted."""
        return self.leakage.leaked(cell.pairing.train_on, cell.test_on)

    def aligned(self, keys: Iterable[str]) -> Aligned:
        """Return scorings of one test set, on the images that all of them have. Raises ScoreError
        where two hold another label or group of an image.
        """
        return align([self._files[key] for key in keys])

    def images(self, keys: Iterable[str]) -> Images:
        """Return the images that some of several scorings of a test set have, sorted by id."""
        held = {id(scores.sample_id): scores for scores in (self._files[key] for key in keys)}
        columns = [(s.sample_id, s.group, s.label) for s in held.values()]
        ids, group, label = (np.concatenate(column) for column in zip(*columns, strict=True))
        sample_id, first = np.unique(ids, return_index=True)
        return Images(sample_id=sample_id, group=group[first], label=label[first])


def open_scores(setup: OpenStudy, keys: Iterable[str], leakage: Leakage) -> ScoreSet:
    """Read a study's scores, each file once. keys: of its scored cells, and of all else that is to
    be compared. Raises StoreError where one cannot be read.
    """
    seeds: dict[str, int] = {}

    def rng_seed(test_on: str) -> int:
        if test_on not in seeds:
            seeds[test_on] = derive_seed(
                setup.study.seed, "bootstrap", test_content(setup, test_on)
            )
        return seeds[test_on]

    files = ((key, setup.store.scores(key)) for key in dict.fromkeys(keys))
    return ScoreSet(files, rng_seed=rng_seed, leakage=leakage, identities=identities_of(setup))


def _sharing(scores: Scores, held: dict[str, Scores]) -> Scores:
    """The scores with the columns of earlier ones of the same images, where there are any."""
    content = hashlib.sha256()
    for name in SHARED:
        column = getattr(scores, name)
        content.update(f"{name} {column.dtype.str} {column.shape}\0".encode())
        content.update(column.tobytes())
    first = held.setdefault(content.hexdigest(), scores)
    return replace(scores, **{name: getattr(first, name) for name in SHARED})


def align(held: Sequence[Scores]) -> Aligned:
    """Return scorings on the images that all of them have, as `ScoreSet.aligned` does."""
    sets = {id(scores.sample_id): scores for scores in held}
    first = held[0]
    common = first.sample_id
    for scores in sets.values():
        if scores is not first:
            common = np.intersect1d(common, scores.sample_id)
    stays = {name: np.isin(scores.sample_id, common) for name, scores in sets.items()}
    images = {
        name: getattr(first, name)[stays[id(first.sample_id)]] for name in (*_CHECKED, "sample_id")
    }
    for number, scores in sets.items():
        for name in _CHECKED:
            _check_same(name, getattr(scores, name)[stays[number]], images[name], common)
    logits = [one.logit[stays[id(one.sample_id)]].astype(np.float64) for one in held]
    return Aligned(**images, logits=np.stack(logits))


_CHECKED = ("label", "group")


def _check_same(
    name: str, found: NDArray[np.generic], expected: NDArray[np.generic], images: NDArray[np.str_]
) -> None:
    differs = np.flatnonzero(found != expected)
    if differs.size:
        raise ScoreError(
            f"{name} of {images[differs[0]]} differs between scores: score its test set again with"
            " all detectors"
        )

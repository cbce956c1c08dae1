"""The results of a study as tables: one long table of numbers, and what is known of its test sets
of its pairs of a training set and a test set, and of how well its detectors were trained.

Everything that is shown reads these tables and nothing else: the terminal, Markdown, the figures,
MLflow, `study.load`. On disk they are `matrix.csv`, `datasets.csv`, `pairs.csv` and
`flags.csv` (results_csv.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from study.core.records import NO_DEGRADATION, CellState, Estimate

if TYPE_CHECKING:
    import pandas as pd

Role = Literal["detector", "baseline", "external", "null"]
MEAN = "mean"  # over repeats
# the note of an AUC whose interval counts neither training sample nor seeds
IMAGES_ALONE = "interval of the test images alone: the training sample is not counted"
Domain = Literal["in", "cross", "neither", "unknown"]


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One number: a line of matrix.csv.

    role: a `detector` of the study, a `baseline` (a classifier of the audit, `records.CONTROLS`),
    `external` (its scores were made elsewhere), or `null` (models of the detector that were trained
    on permuted labels: their mean AUC and the null band, analysis/null_band.py).
    level: `image`, or `unit` (a video). subset: "" for all images, `method:<name>` for the fakes of
    one method against all reals, `reals:<name>` for the reals of one source against all fakes,
    `subgroup:<name>=<level>` for the images of a level, `permuted labels` for a null band.
    leak_free: whether the test images that leak from training are left out.
    domain: `in` where the test set is a member of the training set, `cross` where it is not,
    `neither` where the two share images, `unknown` where the training set is not known.
    (A baseline is cross-validated on the test set itself, whatever its domain says.)
    seed: `0`, `1`, ... for one winner, `mean` over them. threshold: its name, "" for none.
    estimate: the number, its interval and counts; its `reason` says why it is undefined.
    coverage: scored / listed images, in [0, 1]. state, reason: of the cell.
    repeat: of a study that is repeated, `fold 0`, `fold 1`, ... or `search 0`, ..., and `mean` over
    them; else "".
    """

    detector: str
    train_on: str
    test_on: str
    role: Role
    degradation: str
    level: str
    subset: str = ""
    leak_free: bool = False
    domain: Domain
    seed: str
    metric: str
    threshold: str
    estimate: Estimate
    coverage: float
    state: CellState
    reason: str = ""
    repeat: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it is of one repeat, and its mean over repeats stands elsewhere."""
        return self.repeat not in ("", MEAN) and self.role == "detector"

    @property
    def is_first(self) -> bool:
        """Whether it is of the study itself, and so of the winners in cells.csv."""
        return self.role != "detector" or not self.repeat or self.repeat.endswith(" 0")

    @property
    def has_number(self) -> bool:
        """Whether the value is defined."""
        return self.state == "done" and math.isfinite(self.estimate.value)

    @property
    def images(self) -> int:
        """How many images, or units, the number rests on."""
        return self.estimate.n_real + self.estimate.n_fake

    @property
    def is_whole(self) -> bool:
        """Whether it is of all images of a test set, or of all units."""
        return not self.subset and not self.leak_free

    @property
    def is_plain(self) -> bool:
        """Whether it is of all single images of a clean test set, leaked ones included."""
        return self.is_whole and self.level == "image" and self.degradation == NO_DEGRADATION

    @property
    def is_plain_leak_free(self) -> bool:
        """Whether it is of all single images of a clean test set but those that leak."""
        clean = self.level == "image" and self.degradation == NO_DEGRADATION
        return clean and self.leak_free and not self.subset


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """What is known of a test set: a line of datasets.csv.

    warnings: the audit's sentences by which the column is marked, "" where there are none.
    tested, images: how many images are scored, of how many that the dataset has in all its splits.
    """

    name: str
    warnings: str = ""
    tested: int = 0
    images: int = 0


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """What a training set and a test set share: a line of pairs.csv.

    leaked: test images that leak from training. overlap: the share of the test set's dataset (all
    its splits) that is in the training set, in [0, 1], of the class of which it is more; NaN where
    it is too small to matter, or the test set is a member of the training set. n_real, n_fake: the
    images of that dataset, 0 where the overlap is NaN. note: why the pair is not cross-domain,
    or "". warnings: the audit's sentences on leaks by which the cell is marked.
    """

    train_on: str
    test_on: str
    domain: Domain
    leaked: int = 0
    overlap: float = math.nan
    n_real: int = 0
    n_fake: int = 0
    note: str = ""
    warnings: str = ""

    @property
    def leak(self) -> str:
        """What is known of leaks, in words; "" where the cell is not marked."""
        images = "1 test image" if self.leaked == 1 else f"{self.leaked} test images"
        return self.warnings or (f"{images} seen in training" if self.leaked else "")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What in a pairing's training or search was too little (flags.py): a line of flags.csv.

    kind: `under-trained`, `edge of range`, ... seen: what was seen. mend: the setting that would
    mend it.
    """

    detector: str
    train_on: str
    kind: str
    seen: str
    mend: str

    @property
    def text(self) -> str:
        """The flag in words."""
        return f"{self.kind}: {self.seen}; {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Results:
    """The tables of a study. rows: by detector, training set, test set, in the study's order.
    repeats: the numbers of single repeats, where `rows` has the means over them.
    """

    rows: tuple[ResultRow, ...]
    datasets: tuple[DatasetRow, ...] = ()
    pairs: tuple[PairRow, ...] = ()
    flags: tuple[Flag, ...] = ()
    repeats: tuple[ResultRow, ...] = ()

    def warnings(self) -> dict[str, str]:
        """Return test set -> what the audit warns of, for the test sets that are marked."""
        return {row.name: row.warnings for row in self.datasets if row.warnings}

    def overlaps(self) -> dict[tuple[str, str], str]:
        """Return (train_on, test_on) -> why it is not cross-domain, of the pairs in `neither`."""
        return {(pair.train_on, pair.test_on): pair.note for pair in self.pairs if pair.note}

    def leaks(self) -> dict[tuple[str, str], str]:
        """Return (train_on, test_on) -> what the audit says of leaks, of the marked cells."""
        return {(pair.train_on, pair.test_on): pair.warnings for pair in self.pairs}

    def leaky(self) -> set[tuple[str, str]]:
        """Return (train_on, test_on) of the pairs with test images that leak from training."""
        return {(one.train_on, one.test_on) for one in self.pairs if one.leak}

    @property
    def every_row(self) -> tuple[ResultRow, ...]:
        """The rows of matrix.csv: those of single repeats stand after all others."""
        return (*self.rows, *self.repeats)

    def frame(self) -> pd.DataFrame:
        """Return the numbers as a table of pandas, with the columns of matrix.csv but `schema`."""
        import pandas as pd

        return pd.DataFrame([flat(row) for row in self.every_row], columns=[*COLUMNS])


def flat(row: ResultRow) -> dict[str, object]:
    """Return a number as column -> value, in the order of matrix.csv."""
    estimate = vars(row.estimate)
    named = {**vars(row), **estimate, "reason": row.reason, "undefined": estimate["reason"]}
    return {name: named[name] for name in COLUMNS}


_FIELDS = [field.name for field in fields(ResultRow)]
_AT = _FIELDS.index("estimate")
_NUMBER = ("value", "low", "high", "sd", "n_real", "n_fake", "seeds")
# state and reason are of the cell, undefined and note of the number
COLUMNS = (*_FIELDS[:_AT], *_NUMBER, *_FIELDS[_AT + 1 :], "undefined", "note")

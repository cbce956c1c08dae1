"""cells.csv: which file holds the scores of which cell, and what data they are of. What another
study is compared by.

Keys are digests; the data's are those of the content of train and val, and of test.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from study.core.csv_lines import csv_line, read_text
from study.core.errors import StoreError
from study.store.files import check_schema

SCHEMA = 1
Place = tuple[str, str, str, str]  # detector, train_on, test_on, degradation


@dataclass(frozen=True, kw_only=True)
class CellFile:
    """One cell. model, scores: keys in the store, "" where there is none; train_data: "" where
    nothing was trained on.

    training, training_doubt: what training sample and seeds add to the error of the mean over seeds
    (`Part`); NaN where the training sample is not counted.
    """

    detector: str
    train_on: str
    test_on: str
    degradation: str
    seed: int
    state: str
    model: str
    scores: str
    train_data: str
    test_data: str
    training: float = math.nan
    training_doubt: float = math.nan

    @property
    def place(self) -> Place:
        """The cell without its seed."""
        return self.detector, self.train_on, self.test_on, self.degradation


NUMBERS = ("training", "training_doubt")
COLUMNS = ("schema", *(field.name for field in fields(CellFile)))


def csv_text(cells: Iterable[CellFile]) -> str:
    """Return cells.csv."""
    return "".join(map(csv_line, (COLUMNS, *((SCHEMA, *astuple(cell)) for cell in cells))))


def read_cells(path: Path) -> list[CellFile]:
    """Return what `csv_text` wrote; [] where there is no such file. Raises StoreError for one of
    another schema, or damaged.
    """
    if not path.is_file():
        return []
    cells = []
    with path.open(encoding="utf-8", newline="") as file:
        for fields in csv.DictReader(file):
            row = {name: read_text(field or "") for name, field in fields.items()}
            check_schema(row.pop("schema", ""), path)
            try:
                numbers = {name: float(row[name] or "nan") for name in NUMBERS if name in row}
                columns: dict[str, Any] = {**row, "seed": int(row["seed"]), **numbers}
                cells.append(CellFile(**columns))
            except (TypeError, KeyError, ValueError) as error:
                raise StoreError(
                    f"'{path}' cannot be read ({error}); run cross_eval again to write it anew"
                ) from None
    return cells

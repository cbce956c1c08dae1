"""Which images in a generator's folder are real, where a CSV file in it says so: the card's
`reals`.

ArtiFact's `cycle_gan/` holds photographs beside its fakes, and `cycle_gan/metadata.csv`
has a `target` for each image: 0 is real, and any other number fake (they number classes). A card
that writes

    [reals]
    file = "metadata.csv"
    path = "image_path"
    target = "target"

has every folder of fakes read so; `path` is relative to that folder. What the file does not list is
neither real nor fake.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import DataError
from study.core.records import FAKE, REAL
from study.data.csv_file import CsvFile, open_csv


def read_reals(folder: Path, reals: Mapping[str, str]) -> dict[str, int]:
    """Return the label of every image that the file in a folder of fakes lists, by its path
    relative to the folder.

    reals: as in the card. Raises DataError for a file that is missing or is not as it must be, with
    its line.
    """
    path = folder / reals["file"]
    if not path.is_file():
        raise DataError(
            f"'{path}' is missing: it says which of the images there are real; put it back, or move"
            " the folder away"
        )
    labels: dict[str, int] = {}
    with open_csv(path) as file:
        place, target = (_column(file, reals[key]) for key in ("path", "target"))
        for fields in file.rows(max(place, target)):
            image = posixpath.normpath(fields[place].strip())
            label = _label(fields[target].strip(), name=reals["target"], file=file)
            if labels.setdefault(image, label) != label:
                raise DataError(f"{path}, line {file.line}: '{image}' is real and fake")
    return labels


def relabelled(table: pa.Table, listed: Mapping[str, int], *, folder: str, file: str) -> pa.Table:
    """Return images of a folder of fakes (columns of a listing) with the labels that its file
    gives; `listed` as of `read_reals`.

    A real one's method is `real`. One that the file does not list stays a fake, and has a problem.
    """
    found = pa.array(
        [listed.get(path[len(folder) + 1 :]) for path in table["path"].to_pylist()], pa.uint8()
    )
    unlisted = f"{folder}/{file}, which says what is real, does not list it"
    columns = {
        "label": pc.coalesce(found, table["label"]),
        "method": pc.if_else(pc.fill_null(pc.equal(found, REAL), False), "real", table["method"]),
        "problem": pc.if_else(
            pc.and_(pc.is_null(found), pc.equal(table["problem"], "")), unlisted, table["problem"]
        ),
    }
    return pa.table(
        {name: columns.get(name, table[name]) for name in table.column_names}, schema=table.schema
    )


def _column(file: CsvFile, name: str) -> int:
    place = file.place(name)
    if place is None:
        raise DataError(f"{file.path}, line 1: no column '{name}' in '{','.join(file.header)}'")
    return place


def _label(text: str, *, name: str, file: CsvFile) -> int:
    try:
        return REAL if float(text) == 0 else FAKE
    except ValueError:
        raise DataError(
            f"{file.path}, line {file.line}: {name} '{text}' must be a number, 0 for a real image"
        ) from None

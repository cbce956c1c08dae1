"""Which images in a generator's folder are real, where a file in it says so: the card's `reals`.

ArtiFact's `cycle_gan/` holds photographs beside its fakes, and `cycle_gan/metadata.csv`
has a `target` for each image: 0 is real, and any other number fake (they number classes). A card
that writes

    [reals]
    file = "metadata.csv"
    path = "image_path"
    target = "target"

has every folder of fakes read so; `path` is relative to that folder, or to the one in it that
`below` names. The file may be a JSON object too, of names with an object each (DFDC's
`metadata.json`): then `target` is a key of that, and so may `group` be, the name of the original
that a fake was made of.
Real is 0 or `real`. What the file does not list is neither real nor fake.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import DataError
from study.core.records import FAKE, REAL
from study.data.csv_file import CsvFile, open_csv


def read_reals(folder: Path, reals: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """Return label and group ("" for none) of every image that the file in a folder of fakes lists,
    by its path relative to the folder.

    reals: as in the card. Raises DataError for a file that is missing or is not as it must be, with
    its line.
    """
    path = folder / reals["file"]
    if not path.is_file():
        raise DataError(
            f"'{path}' is missing: it says which of the images there are real; put it back, or move"
            " the folder away"
        )
    if path.suffix.lower() == ".json":
        return _read_json(path, reals)
    labels: dict[str, tuple[int, str]] = {}
    with open_csv(path) as file:
        place, target = (_column(file, reals[key]) for key in ("path", "target"))
        for fields in file.rows(max(place, target)):
            name = posixpath.normpath(posixpath.join(reals.get("below", ""), fields[place].strip()))
            where = f"{file.path}, line {file.line}"
            found = (_label(fields[target].strip(), name=reals["target"], where=where), "")
            if labels.setdefault(name, found) != found:
                raise DataError(f"{path}, line {file.line}: '{name}' is real and fake")
    return labels


def _read_json(path: Path, reals: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            (name, str(of[reals["target"]]), of.get(reals.get("group", "")))
            for name, of in listed.items()
        ]
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise DataError(
            f"'{path}' must be a JSON object of names with a '{reals['target']}' each:"
            f" {type(error).__name__} {' '.join(str(error).split())[:120]}"
        ) from None
    grouped = "group" in reals
    return {
        name: (
            _label(text, name=reals["target"], where=f"{path}, '{name}'"),
            _stem(str(original or name)) if grouped else "",
        )
        for name, text, original in rows
    }


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def relabelled(
    table: pa.Table, listed: Mapping[str, tuple[int, str]], *, folder: str, file: str
) -> pa.Table:
    """Return images of a folder of fakes (columns of a listing) with the labels that its file
    gives, and the groups; `listed` as of `read_reals`.

    A real one's method is `real`. One that the file does not list stays a fake, and has a problem.
    A frame in a folder is what the video of that name is.
    """
    stems = {_stem(name): of for name, of in listed.items()} if file.endswith(".json") else {}
    nothing = (None, "")
    rows = [
        listed.get(name) or stems.get(_stem(name)) or stems.get(name.partition("/")[0]) or nothing
        for name in (path[len(folder) + 1 :] for path in table["path"].to_pylist())
    ]
    found = pa.array([label for label, _ in rows], pa.uint8())
    unlisted = f"{folder}/{file}, which says what is real, does not list it"
    columns = {
        "label": pc.coalesce(found, table["label"]),
        "method": pc.if_else(pc.fill_null(pc.equal(found, REAL), False), "real", table["method"]),
        "group": pa.array([group for _, group in rows], pa.string()),
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


def _label(text: str, *, name: str, where: str) -> int:
    if text.lower() in ("real", "fake"):
        return REAL if text.lower() == "real" else FAKE
    try:
        return REAL if float(text) == 0 else FAKE
    except ValueError:
        raise DataError(
            f"{where}: {name} '{text}' must be a number, 0 for a real image, or real or fake"
        ) from None

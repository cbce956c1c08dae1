"""What a publisher's lists and a card's numbers say of a folder: which images are the test split,
and which are missing.

A card's `test_list` names a file beside the class folders whose lines end in the path of a video or
image of the test split (Celeb-DF), or a JSON object of paths with a `set` each (DFDCP); all others
are train. A card's `expected` has the number of files of a split, a class in it, or a method
(`test/fake/biggan`); `all` stands for every split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import DataError
from study.data.images.decode import VIDEO_EXTENSIONS
from study.data.layouts.listing import MISSING, Listing, column_blocks

SHOWN = 6  # named in a line
_INNER = {"videos", "frames", "images"}  # folders that a list leaves out
_CLASSES = ("real", "fake")


def with_test_list(listing: Listing, file: str, way: Sequence[Path]) -> Listing:
    """Return a listing with the split that a list gives, where it lies in one of some folders. What
    it names and is not there is `incomplete`. Raises DataError for a list that cannot be read.
    """
    path = next((folder / file for folder in reversed(way) if (folder / file).is_file()), None)
    if path is None:
        return replace(
            listing, skipped=(*listing.skipped, (file, "is not here: the split is made by group"))
        )
    wanted = dict.fromkeys(_key(name) for name in _names(path))
    found: set[str] = set()
    splits: list[str] = []
    for block in column_blocks(listing.table["path"]):
        for image in block:
            key = next((key for key in _keys(image) if key in wanted), "")
            found.add(key)
            splits.append("test" if key else "train")
    lost = [name for name in wanted if name not in found]
    place = listing.table.column_names.index("split")
    table = listing.table.set_column(place, "split", pa.array(splits, pa.string()))
    line = f"{len(lost):,} of the {len(wanted):,} in {file} are missing: {_named(lost)}"
    more = (line,) if lost else ()
    return replace(listing, table=table, incomplete=(*listing.incomplete, *more))


def _names(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            return [line.split()[-1] for line in text.splitlines() if line.strip()]
        listed = json.loads(text)
        return [name for name, of in listed.items() if of["set"] == "test"]
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"'{path}', the list of the test split, cannot be read: {why}") from None


def _key(name: str) -> str:
    """A listed name without what folders are called in which frames or videos lie, and a suffix."""
    *folders, base = [part for part in name.strip("./").split("/") if part not in _INNER]
    return "/".join([*folders[-1:], base.rpartition(".")[0] or base])


def _keys(image: str) -> list[str]:
    """What a list may call a file: itself, or the folder of a frame."""
    keys = [_key(image)]
    if not image.lower().endswith(VIDEO_EXTENSIONS):
        keys.append(_key(image.rpartition("/")[0]))
    return keys


def missing_images(
    listing: Listing, expected: Mapping[str, int], names_sha256: str, *, only: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return, in sentences, what a folder lacks of what a card says; () where it lacks nothing.

    only: methods of fakes, where no others are listed. names_sha256: of the sorted paths, "" where
    no publisher says it.
    """
    table = listing.table
    there = table.filter(pc.invert(pc.starts_with(table["problem"], MISSING)))
    counts = there.group_by(["split", "label", "method"]).aggregate([([], "count_all")])
    rows = [tuple(row.values()) for row in counts.to_pylist()]
    wanted = {name: number for name, number in expected.items() if not only or _is_of(name, only)}
    has = {name: sum(row[3] for row in rows if _covers(name, row)) for name in wanted}
    lacks = {name: wanted[name] - has[name] for name in wanted if has[name] < wanted[name]}
    if lacks:
        return (_sentence(wanted, has, lacks),)
    if names_sha256 and not only:
        paths = "\n".join(sorted(there["path"].to_pylist()))
        if hashlib.sha256(paths.encode()).hexdigest() != names_sha256:
            return ("as many images as were published, but with other names",)
    return ()


def _covers(name: str, row: tuple[str, int, str, int]) -> bool:
    split, _, rest = name.partition("/")
    kind, _, method = rest.partition("/")
    return split in ("all", row[0]) and kind in ("", _CLASSES[row[1]]) and method in ("", row[2])


def _is_of(name: str, methods: Sequence[str]) -> bool:
    """Whether an entry can be held against some methods alone: it is theirs, or of the reals."""
    parts = name.split("/")
    return len(parts) > 1 and (parts[1] == "real" or (len(parts) > 2 and parts[2] in methods))


def _sentence(wanted: Mapping[str, int], has: Mapping[str, int], lacks: Mapping[str, int]) -> str:
    fakes = {name: name.split("/")[2] for name in wanted if name.count("/") == 2}
    methods = dict.fromkeys(fakes.values())
    gone = [m for m in methods if not any(has[name] for name, of in fakes.items() if of == m)]
    generators = f"{len(gone):,} of {len(methods):,} generators, " if gone else ""
    ranked = sorted(lacks.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{name} (all {n:,})" if not has[name] else f"{name} ({n:,})" for name, n in ranked]
    return (
        f"{generators}{sum(lacks.values()):,} of {sum(wanted.values()):,} images are missing:"
        f" {_named(named)}"
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

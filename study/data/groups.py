"""Groups from paths: the split key of images whose listing gives none, by the card's
`group_pattern` (PROTOCOL section 2).

The pattern's named groups say what is read from a path:

    group    the split key
    partner  another key that the image belongs to as well (FaceForensics++: 000_003 is made of the
    videos 000 and 003). Keys that
             any image links are one group, named by all of them in order, whichever of them an
             image itself has
    video    the video that a frame is from

With partners the links are read from the whole folder, also from what a dataset leaves out, so that
all datasets made from it have the same groups; and where lists of linked keys lie beside the images
(`train.json`, `val.json`, `test.json`, as FaceForensics++ publishes them, in the folder, in one
between it and the class folders, or below `splits/` in either) these are the links, and the
official split, also of an image whose group the listing gives. A split that the listing gives wins
over the lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import DataError
from study.data.layouts.listing import column_blocks, in_blocks

LIST_FOLDERS = ("", "splits", "dataset/splits")
UNMATCHED = (
    "the card's group_pattern does not match its path; write its group into a manifest.csv, or"
    " rename the dataset's folder, which is then read without the card"
)
TORN = "its two videos are not in one list of the official split"
UNLISTED = "its video is in no list of the official split"


def pattern_columns(
    listed: pa.Table, pattern: str, *, way: Sequence[Path], others: Iterable[str] = ()
) -> pa.Table:
    """Return columns group, video, split and problem of listed images, in their order; what the
    listing gives stays.

    An image that the pattern does not match has a problem, unless its group is given: it could
    straddle a split. So has one that the lists of an official split do not know. way: the folders
    in which such lists may lie. others: paths beside the listed ones, for their links. Raises
    DataError for a broken list of the official split, and for lists that differ.
    """
    read = pa.concat_tables(
        [_read_paths(paths, pattern) for paths in column_blocks(listed["path"])]
    )
    lists: dict[str, list[list[str]]] = {}
    joined: dict[str, str] = {}
    if "partner" in re.compile(pattern).groupindex:  # it links keys, over the whole folder
        lists = _read_lists(way)
        listed_links = [pair for pairs in lists.values() for pair in pairs]
        joined = _joined(listed_links or _links(read, others, pattern))
    official = {key: split for split, pairs in lists.items() for pair in pairs for key in pair}
    if pc.any(pc.not_equal(listed["split"], "")).as_py():
        official = {}
    return pa.table(_found(listed, read, joined, official))


def _found(
    listed: pa.Table, read: pa.Table, joined: Mapping[str, str], official: Mapping[str, str]
) -> dict[str, pa.ChunkedArray]:
    given = pc.not_equal(listed["group"], "")
    key, problem = read["group"], listed["problem"]
    unmatched = pc.and_(pc.equal(key, ""), pc.invert(given))
    split = listed["split"]
    if official:
        of_key, of_partner = (
            pc.fill_null(_looked_up(read[name], official), "") for name in ("group", "partner")
        )
        torn = pc.and_(pc.not_equal(read["partner"], ""), pc.not_equal(of_partner, of_key))
        unlisted = pc.equal(of_key, "")
        reason = pc.if_else(
            unmatched, UNMATCHED, pc.if_else(unlisted, UNLISTED, pc.if_else(torn, TORN, ""))
        )
        # one that is left out is left out of some split
        split = pc.if_else(unlisted, next(iter(official.values())), of_key)
    else:
        reason = pc.if_else(unmatched, UNMATCHED, "")
    lost = pc.binary_join_element_wise("unmatched", listed["path"], " ")
    video = pc.if_else(pc.equal(read["video"], ""), listed["video"], read["video"])
    return {
        "group": pc.if_else(
            given,
            listed["group"],
            pc.if_else(unmatched, lost, pc.coalesce(_looked_up(key, joined), key)),
        ),
        "video": pc.if_else(given, listed["video"], pc.if_else(unmatched, "", video)),
        "split": split,
        "problem": pc.if_else(pc.equal(problem, ""), reason, problem),
    }


def _looked_up(column: pa.ChunkedArray, table: Mapping[str, str]) -> pa.ChunkedArray:
    """Return the value of every key of a column, null where the table has none."""
    places = pc.index_in(column, value_set=pa.array(table.keys(), pa.string()))
    return pa.array(table.values(), pa.string()).take(places)


def _read_paths(paths: Iterable[str], pattern: str) -> pa.Table:
    """Return columns group, partner, video that a pattern reads; "" where it gives nothing."""
    compiled = re.compile(pattern)
    matches = [compiled.search(path) for path in paths]

    def values(name: str) -> list[str]:
        known = name in compiled.groupindex
        return [(match[name] or "") if match and known else "" for match in matches]

    return pa.table(
        {name: pa.array(values(name), pa.string()) for name in ("group", "partner", "video")}
    )


def _links(read: pa.Table, others: Iterable[str], pattern: str) -> list[list[str]]:
    """Return the pairs of keys that some image links, each once."""
    tables = [read, *(_read_paths(block, pattern) for block in in_blocks(others))]
    pairs = pa.concat_tables(
        [
            table.select(["group", "partner"]).group_by(["group", "partner"]).aggregate([])
            for table in tables
        ]
    )
    linked = pairs.filter(
        pc.and_(pc.not_equal(pairs["group"], ""), pc.not_equal(pairs["partner"], ""))
    )
    return [
        list(pair)
        for pair in zip(linked["group"].to_pylist(), linked["partner"].to_pylist(), strict=True)
    ]


def _joined(links: Iterable[list[str]]) -> dict[str, str]:
    """Return the name of the group of every key: linked keys, sorted and joined by `_`."""
    sets: dict[str, set[str]] = {}
    for pair in links:
        together = set(pair).union(*(sets.get(key, ()) for key in pair))
        for key in together:
            sets[key] = together
    return {key: "_".join(sorted(together)) for key, together in sets.items()}


def _read_lists(way: Sequence[Path]) -> dict[str, list[list[str]]]:
    """Return every split's linked keys, {} without lists. Raises DataError where lists differ."""
    found = {folder: lists for folder in reversed(way) if (lists := _read_lists_of(folder))}
    nearest = next(iter(found), None)
    for folder, lists in found.items():
        if nearest and lists != found[nearest]:
            raise DataError(
                f"the lists of the official split in '{nearest}' and '{folder}' differ; move one of"
                " them away"
            )
    return found[nearest] if nearest else {}


def _read_lists_of(root: Path) -> dict[str, list[list[str]]]:
    for folder in (root / name for name in LIST_FOLDERS):
        paths = {split: folder / f"{split}.json" for split in ("train", "val", "test")}
        there = [path.is_file() for path in paths.values()]
        if any(there) and not all(there):
            missing = next(path for path in paths.values() if not path.is_file())
            raise DataError(
                f"'{missing}' is missing: the official split is train.json, val.json and test.json,"
                " or none of them"
            )
        if all(there):
            lists = {split: _read_list(path) for split, path in paths.items()}
            _refuse_shared(lists, folder)
            return lists
    return {}


def _read_list(path: Path) -> list[list[str]]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{path}' cannot be read as JSON: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and all(isinstance(key, str) for key in pair) for pair in pairs
    ):
        raise DataError(f'\'{path}\' must be a list of pairs of videos, [["000", "003"], ...]')
    return pairs


def _refuse_shared(lists: Mapping[str, list[list[str]]], folder: Path) -> None:
    seen: dict[str, str] = {}
    for split, pairs in lists.items():
        for key in (key for pair in pairs for key in pair):
            if seen.setdefault(key, split) != split:
                raise DataError(
                    f"the lists in '{folder}' have the video {key} in {seen[key]} and in {split}; a"
                    " video has one split"
                )

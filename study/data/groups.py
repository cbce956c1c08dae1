"""Groups from paths: the split key of images whose listing gives none, by the card's `group_pattern` (PROTOCOL section 2).

Floor 1. The pattern's named groups say what is read from a path:

    group    the split key
    partner  another key that the image belongs to as well (FaceForensics++: 000_003 is made of the videos 000 and 003). Keys that
             any image links are one group, named by all of them in order, whichever of them an image itself has
    video    the video that a frame is from

With partners the links are read from the whole folder, also from what a dataset leaves out, so that all datasets made from it have
the same groups; and where lists of linked keys lie beside the images (`train.json`, `val.json`, `test.json`, as FaceForensics++
publishes them, in the folder or below `splits/`) these are the links, and the official split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.errors import DataError

LIST_FOLDERS = ("", "splits", "dataset/splits")
UNMATCHED = "the card's group_pattern does not match its path"
TORN = "its two videos are not in one list of the official split"
UNLISTED = "its video is in no list of the official split"


def has_partners(pattern: str) -> bool:
    """Whether a pattern links keys, so that the whole folder has to be looked at."""
    return bool(pattern) and "partner" in re.compile(pattern).groupindex


def pattern_columns(listed: pa.Table, pattern: str, *, root: Path, others: Iterable[str] = ()) -> pa.Table:
    """Return columns group, video, split and problem of listed images, in their order; what the listing gives stays.

    An image that the pattern does not match has a problem: it could straddle a split. others: paths beside the listed ones, for
    their links. Raises DataError for a broken list of the official split.
    """
    matches = [re.search(pattern, path) for path in listed["path"].to_pylist()]
    lists = _read_lists(root) if has_partners(pattern) else {}
    joined = _joined(matches, lists, (re.search(pattern, path) for path in others)) if has_partners(pattern) else {}
    official = {key: split for split, pairs in lists.items() for pair in pairs for key in pair}
    if pc.any(pc.not_equal(listed["split"], "")).as_py():
        official = {}
    columns: dict[str, list[str]] = {"group": [], "video": [], "split": [], "problem": []}
    for match, row in zip(matches, listed.select(["path", *columns]).to_pylist(), strict=True):
        for name, value in _image(row, match, joined, official).items():
            columns[name].append(value)
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _image(
    row: dict[str, Any], match: re.Match[str] | None, joined: Mapping[str, str], official: Mapping[str, str]
) -> dict[str, str]:
    """The columns of one image."""
    if row["group"]:
        return {name: row[name] for name in ("group", "video", "split", "problem")}
    if match is None or not match["group"]:
        lost = next(iter(official.values()), row["split"])  # it is left out, and has to be left out of some split
        return {"group": f"unmatched {row['path']}", "video": "", "split": lost, "problem": row["problem"] or UNMATCHED}
    key, problem = match["group"], row["problem"]
    split = official.get(key, row["split"])
    if official and key not in official:
        split, problem = next(iter(official.values())), problem or UNLISTED
    partner = match.groupdict().get("partner")
    if official and partner and official.get(partner) != official.get(key):
        problem = problem or TORN
    return {
        "group": joined.get(key, key),
        "video": match.groupdict().get("video") or row["video"],
        "split": split,
        "problem": problem,
    }


def _joined(
    matches: Iterable[re.Match[str] | None], lists: Mapping[str, list[list[str]]], others: Iterable[re.Match[str] | None]
) -> dict[str, str]:
    """Return the name of the group of every key: linked keys, sorted and joined by `_`."""
    links = [pair for pairs in lists.values() for pair in pairs]
    if not lists:
        links = [
            [match["group"], match["partner"]] for source in (matches, others) for match in source if match and match["partner"]
        ]
    sets: dict[str, set[str]] = {}
    for pair in links:
        together = set(pair).union(*(sets.get(key, ()) for key in pair))
        for key in together:
            sets[key] = together
    return {key: "_".join(sorted(together)) for key, together in sets.items()}


def _read_lists(root: Path) -> dict[str, list[list[str]]]:
    """Return the linked keys of every split, or nothing where there are no lists."""
    for folder in (root / name for name in LIST_FOLDERS):
        paths = {split: folder / f"{split}.json" for split in ("train", "val", "test")}
        there = [path.is_file() for path in paths.values()]
        if any(there) and not all(there):
            missing = next(path for path in paths.values() if not path.is_file())
            raise DataError(f"'{missing}' is missing: the official split is train.json, val.json and test.json, or none of them")
        if all(there):
            lists = {split: _read_list(path) for split, path in paths.items()}
            _refuse_shared(lists, folder)
            return lists
    return {}


def _read_list(path: Path) -> list[list[str]]:
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as JSON: {' '.join(str(error).split())}") from None
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
                    f"the lists in '{folder}' have the video {key} in {seen[key]} and in {split}; a video has one split"
                )

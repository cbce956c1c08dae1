"""A described folder in words: what `python -m study.prepare --describe FOLDER` prints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from study.core.records import FAKE, REAL, SPLITS
from study.data.describe import Description
from study.data.images.videos import split_frame
from study.data.layouts.folders import CLASS_WORDS
from study.render.table import Cell, Column, table, text

SHOWN = 40  # lines of one table; what is more is counted
SIZES = 8  # sizes named of each class and format
REASONS = 20  # images that are left out, named


def describe_text(found: Description) -> str:
    """Return everything that was understood of a folder, over several lines."""
    parts = (_head, _folders, _counts, _groups, _formats, _left_out)
    return "\n\n".join("\n".join(block) for part in parts if (block := part(found)))


def _usable(found: Description, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of the images that can be used, a row each."""
    *kept, problems = (found.table[name].to_pylist() for name in (*columns, "problem"))
    rows = zip(*kept, strict=True)
    return [row for row, problem in zip(rows, problems, strict=True) if not problem]


def _head(found: Description) -> list[str]:
    lines = [f"{found.name}: {found.layout.root}", f"understood by: {found.layout.rule}"]
    if found.card:
        lines.append(
            f"read as the published dataset {found.card.name} ({found.card.title}), because its"
            " name is that of the card"
        )
    if found.layout.members:
        lines.append(
            "several datasets in one folder:"
            f" {', '.join(f'{found.name}:{member}' for member in found.layout.members)}"
        )
    for word, values in sorted(asked_words(found).items()):
        if len(values) > 1:
            lines.append(
                f"{word} is {' or '.join(values)}: a name has to say which,"
                f" {found.name}?{word}={values[0]}"
            )
    return lines


def asked_words(found: Description) -> dict[str, list[str]]:
    """Return the words of a card's folders with their values in this folder (`compression`: c23,
    c40).
    """
    words = sorted({word for part in found.layout.parts for word in part.words})
    return {
        word: sorted({part.words[word] for part in found.layout.parts if word in part.words})
        for word in words
    }


def usable_name(found: Description, *, whole: bool = False) -> str:
    """Return a name by which a study may use the folder, of several datasets the first, or all of
    them as a `whole`.
    """
    name = found.name
    if found.layout.members and not whole:
        name = f"{name}:{found.layout.members[0]}"
    conditions = [
        f"{word}={values[0]}" for word, values in asked_words(found).items() if len(values) > 1
    ]
    return f"{name}?{'&'.join(conditions)}" if conditions else name


def _folders(found: Description) -> list[str]:
    """Which folder is which class."""
    if not found.layout.parts:
        return []
    of_folder = Counter[str]()
    folders = sorted((part.folder for part in found.layout.parts), key=len, reverse=True)
    paths = found.table["path"].to_pylist()
    above = Counter(os.path.dirname(path) for path in paths)  # noqa: PTH120 - once for every file
    for name, number in above.items():
        of_folder[next(f for f in folders if f"{name}/".startswith(f"{f}/"))] += number
    rows = [
        (
            f"{part.folder}/",
            f"fake, or real by {part.reals['file']}" if part.reals else CLASS_WORDS[part.label],
            part.method + (", or the folder below" if part.methods_below else ""),
            part.split or "-",
            of_folder[part.folder],
        )
        for part in found.layout.parts
    ]
    return _lines(("class folder", "class", "method", "split", Column("images", "count")), rows)


def _counts(found: Description) -> list[str]:
    """Images and groups by split, class and method."""
    usable = _usable(found, "split", "label", "method", "group", "path")
    images = Counter(row[:3] for row in usable)
    # those without a group share "", and each is one
    groups = Counter(row[:3] for row in {row[:4] for row in usable if row[3]})
    groups.update(row[:3] for row in usable if not row[3])
    rows = [
        (split or "none", CLASS_WORDS[label], method, number, groups[split, label, method])
        for (split, label, method), number in sorted(
            images.items(), key=lambda item: ([*SPLITS, ""].index(item[0][0]), item[0][1:])
        )
    ]
    head = ("split", "class", "method", Column("images", "count"), Column("groups", "count"))
    label = Counter(row[1] for row in usable)
    frames = [frame for *_, path in usable if (frame := split_frame(path))]
    videos = ""
    if frames:
        files = {file for file, _ in frames}
        videos = f", {len(frames):,} of them frames of {len(files):,} videos"
    origin = "made by group, 70/15/15; fill in the split column to fix it otherwise"
    if found.official:
        origin = (
            "as the folder gives it (where it has train and no val, val is carved from train by"
            " group)"
        )
    origin = "none yet" if found.refusal else origin
    classes = f"{label[REAL]:,} real and {label[FAKE]:,} fake images"
    return [*_lines(head, rows), f"{classes}{videos}; split: {origin}"]


def _groups(found: Description) -> list[str]:
    """Where the groups are from, and how large they are."""
    sizes = Counter(group for (group,) in _usable(found, "group"))
    alone = sizes.pop("", 0)
    lines = []
    if sizes:
        largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:3]
        words = ", each has one"
        if largest[0][1] > 1:
            words = f", the largest {', '.join(f'{name} ({n:,})' for name, n in largest)}"
        lines.append(f"groups: {len(sizes):,} of {sizes.total():,} images{words}")
    if alone:
        lines.append(
            f"no group: {alone:,} images, each one by itself (equal pictures together). If they are"
            " frames of videos, crops of photographs or pictures of persons, fill in the group"
            " column"
        )
    return lines


def _formats(found: Description) -> list[str]:
    """File formats and sizes of each class: where they differ, they alone tell the classes
    apart.
    """
    sizes: dict[tuple[int, str], list[tuple[int, int, int]]] = {}
    for (label, form, width, height), number in found.formats.items():
        sizes.setdefault((label, form), []).append((number, width, height))
    lines = ["formats and sizes"]
    for label, form in sorted(sizes):
        mine = sorted(sizes[label, form], reverse=True)
        named = ", ".join(f"{width} x {height} ({n:,})" for n, width, height in mine[:SIZES])
        more = f" and {len(mine) - SIZES:,} other sizes" if len(mine) > SIZES else ""
        total = sum(number for number, *_ in mine)
        lines.append(
            f"  {CLASS_WORDS[label]}  {form or 'no image'}  {total:,}"
            + (f": {named}{more}" if form else "")
        )
    return lines


def _left_out(found: Description) -> list[str]:
    columns = (found.table[name].to_pylist() for name in ("path", "problem", "label"))
    rows = [row for row in zip(*columns, strict=True) if row[1]]
    bad, of_class = [row[:2] for row in rows], Counter(row[2] for row in rows)
    lines = [f"not used: {folder}: {reason}" for folder, reason in found.skipped[:SHOWN]]
    if len(found.skipped) > SHOWN:
        lines.append(f"not used: {len(found.skipped) - SHOWN:,} more")
    if bad:
        total = found.table.num_rows
        classes = f"{of_class[REAL]:,} real, {of_class[FAKE]:,} fake"
        lines.append(f"left out: {len(bad):,} of {total:,} images ({classes}), counted as coverage")
        reasons = Counter(problem for _, problem in bad)
        lines += [f"  {number:,} x {reason}" for reason, number in reasons.most_common(REASONS)]
        lines += [f"    {path}: {reason}" for path, reason in bad[:REASONS]]
    return lines or ["left out: nothing"]


def _lines(columns: Iterable[str | Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """The lines of a table of at most `SHOWN` rows."""
    more = [f"and {len(rows) - SHOWN:,} more"] if len(rows) > SHOWN else []
    return [text(table(columns, rows[:SHOWN])), *more]

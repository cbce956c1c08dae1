"""A described folder in words: what `python -m study.prepare --describe FOLDER` prints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

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
    blocks = [
        _head(found),
        _folders(found),
        _counts(found),
        _groups(found),
        _formats(found),
        _left_out(found),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


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


def usable_name(found: Description) -> str:
    """Return a name by which a study may use the folder, of several datasets the first."""
    name = f"{found.name}:{found.layout.members[0]}" if found.layout.members else found.name
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
            _method(part.method, part.methods_below),
            part.split or "-",
            of_folder[part.folder],
        )
        for part in found.layout.parts
    ]
    head = ("class folder", "class", "method", "split", Column("images", "count"))
    return _lines(head, rows)


def _method(method: str, below: bool) -> str:
    return f"{method}, or the folder below" if below else method


def _counts(found: Description) -> list[str]:
    """Images and groups by split, class and method."""
    usable = found.table.filter(pc.equal(found.table["problem"], ""))
    counted = usable.group_by(["split", "label", "method"]).aggregate(
        [([], "count_all"), ("group", "count_distinct")]
    )
    single = _singles(usable)
    rows = []
    for row in counted.to_pylist():
        key = (row["split"], row["label"], row["method"])
        # those without a group share "", and each is one
        groups = row["group_count_distinct"] + max(single[key] - 1, 0)
        rows.append((key, row["count_all"], groups))
    rows.sort(key=lambda row: (([*SPLITS, ""].index(row[0][0])), row[0][1:]))
    lines = _lines(
        ("split", "class", "method", Column("images", "count"), Column("groups", "count")),
        [
            (split or "none", CLASS_WORDS[label], method, images, groups)
            for (split, label, method), images, groups in rows
        ],
    )
    total = {
        label: int(pc.sum(pc.equal(usable["label"], label)).as_py() or 0) for label in (REAL, FAKE)
    }
    origin = "made by group, 70/15/15; fill in the split column to fix it otherwise"
    if found.official:
        origin = (
            "as the folder gives it (where it has train and no val, val is carved from train by"
            " group)"
        )
    origin = "none yet" if found.refusal else origin
    return [
        *lines,
        (
            f"{total[REAL]:,} real and {total[FAKE]:,} fake images{_of_videos(usable)}; split:"
            f" {origin}"
        ),
    ]


def _of_videos(usable: pa.Table) -> str:
    frames = [frame for frame in map(split_frame, usable["path"].to_pylist()) if frame]
    return (
        f", {len(frames):,} of them frames of {len({file for file, _ in frames}):,} videos"
        if frames
        else ""
    )


def _singles(usable: pa.Table) -> Counter[tuple[str, int, str]]:
    alone = (
        usable.filter(pc.equal(usable["group"], ""))
        .group_by(["split", "label", "method"])
        .aggregate([([], "count_all")])
    )
    return Counter(
        {(row["split"], row["label"], row["method"]): row["count_all"] for row in alone.to_pylist()}
    )


def _groups(found: Description) -> list[str]:
    """Where the groups are from, and how large they are."""
    given = found.table.filter(
        pc.and_(pc.not_equal(found.table["group"], ""), pc.equal(found.table["problem"], ""))
    )
    alone = int(
        pc.sum(
            pc.equal(found.table.filter(pc.equal(found.table["problem"], ""))["group"], "")
        ).as_py()
        or 0
    )
    lines = []
    if given.num_rows:
        sizes = (
            given.group_by("group")
            .aggregate([([], "count_all")])
            .sort_by([("count_all", "descending"), ("group", "ascending")])
        )
        largest = sizes.slice(0, 3).to_pylist()
        text = ", ".join(f"{row['group']} ({row['count_all']:,})" for row in largest)
        largest_text = f", the largest {text}" if largest[0]["count_all"] > 1 else ", each has one"
        lines.append(f"groups: {sizes.num_rows:,} of {given.num_rows:,} images{largest_text}")
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
    lines = ["formats and sizes"]
    for label in (REAL, FAKE):
        of_class = {key[1:]: number for key, number in found.formats.items() if key[0] == label}
        for form in sorted({key[0] for key in of_class}):
            sizes = sorted(
                (
                    (number, width, height)
                    for (name, width, height), number in of_class.items()
                    if name == form
                ),
                reverse=True,
            )
            total = sum(number for number, *_ in sizes)
            text = ", ".join(
                f"{width} x {height} ({number:,})" for number, width, height in sizes[:SIZES]
            )
            more = f" and {len(sizes) - SIZES:,} other sizes" if len(sizes) > SIZES else ""
            lines.append(
                f"  {CLASS_WORDS[label]}  {form or 'no image'}  {total:,}"
                + (f": {text}{more}" if form else "")
            )
    return lines


def _left_out(found: Description) -> list[str]:
    bad = found.table.filter(pc.not_equal(found.table["problem"], ""))
    lines = [f"not used: {folder}: {reason}" for folder, reason in found.skipped[:SHOWN]]
    if len(found.skipped) > SHOWN:
        lines.append(f"not used: {len(found.skipped) - SHOWN:,} more")
    if bad.num_rows:
        lines.append(
            f"left out: {bad.num_rows:,} of {found.table.num_rows:,} images, counted as coverage"
        )
        reasons = Counter(bad["problem"].to_pylist())
        lines += [f"  {number:,} x {reason}" for reason, number in reasons.most_common(REASONS)]
        pairs = zip(bad["path"].to_pylist()[:REASONS], bad["problem"].to_pylist(), strict=False)
        lines += [f"    {path}: {reason}" for path, reason in pairs]
    return lines or ["left out: nothing"]


def _lines(columns: Iterable[str | Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """The lines of a table of at most `SHOWN` rows."""
    more = [f"and {len(rows) - SHOWN:,} more"] if len(rows) > SHOWN else []
    return [text(table(columns, rows[:SHOWN])), *more]

"""What a number of the matrix is called where only letters, digits and `_ - .` are allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from study.analysis.results import ResultRow
from study.core.identity import digest
from study.core.records import NO_DEGRADATION

# characters of one part; the six parts of a name stay below the 250 that MLflow allows
MAX_PART = 40
_WORDS = {".": "dot", "+": "plus", "@": "at", "?": "q", "": "nil"}
_LETTERS = {word: letter for letter, word in _WORDS.items()}
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def slug(name: str) -> str:
    """Return a name that MLflow accepts, different for every different name.

    Letters, digits, `_` and `-` stay; any other character becomes a word between two dots: `a+b` is
    `a.plus.b`, and a character without a word of its own is written by its code point, a space as
    `.x20.`. A dot is itself replaced, so that words can always be told from text, and `unslug`
    undoes it. A result longer than `MAX_PART` is cut and ends in a digest of the name,
    `.h<digest>.`; that cannot be undone, and differs for different names as digests do.
    """
    written = (
        _UNSAFE.sub(lambda c: f".{_WORDS.get(c[0], f'x{ord(c[0]):x}')}.", name) or f".{_WORDS['']}."
    )
    if len(written) <= MAX_PART:
        return written
    end = f".h{digest(name)}."
    return _UNSAFE.sub("-", name)[: MAX_PART - len(end)] + end


def unslug(written: str) -> str:
    """Return the name that `slug` was given. Raises ValueError for one that was cut."""
    parts = written.split(".")  # text and words in turn
    for i in range(1, len(parts), 2):
        if parts[i].startswith("h"):
            raise ValueError(
                f"'{written}' was cut; names.json of the matrix' run holds the original"
            )
        parts[i] = _LETTERS[parts[i]] if parts[i] in _LETTERS else chr(int(parts[i][1:], 16))
    return "".join(parts)


def quantity(row: ResultRow) -> str:
    """Return what a row measures: `auc`, or `accuracy@source` where a threshold is used."""
    return f"{row.metric}@{row.threshold}" if row.threshold else row.metric


def cell_parts(row: ResultRow) -> tuple[str, ...]:
    """Return what the name of a cell's number is made of: quantity, detector, train_on, test_on.

    Degradation and level follow, both of them, where either is not the plain one; so no two kinds
    of cell share a form.
    """
    plain = row.degradation == NO_DEGRADATION and row.level == "image"
    return (
        quantity(row),
        row.detector,
        row.train_on,
        row.test_on,
        *(() if plain else (row.degradation, row.level)),
    )


def metric_name(row: ResultRow) -> str:
    """Return the name of a cell's number, e.g. `auc/npr/a.plus.b/c`. Different cells have different
    names.
    """
    return "/".join(slug(part) for part in cell_parts(row))


def original_names(rows: Iterable[ResultRow]) -> dict[str, str]:
    """Return slug -> original for every part of the rows' metric names that the slug rule
    changes.
    """
    parts = {part for row in rows for part in cell_parts(row)}
    return {slug(part): part for part in sorted(parts) if slug(part) != part}


def dataset_name(row: ResultRow) -> str:
    """Return the test set of a row under one name: `NAME`, or `NAME?DEGRADATION`."""
    return row.test_on if row.degradation == NO_DEGRADATION else f"{row.test_on}?{row.degradation}"


def dataset_digest(name: str) -> str:
    """Return the digest that MLflow wants beside a dataset's name."""
    return digest("dataset", name)

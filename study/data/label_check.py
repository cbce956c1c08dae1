"""Tables whose labels say the opposite of their own words.

The list of one tool becomes the input of another, and 1 means real in it: every label is turned,
and every number with it. Names of folders and files, and columns of text (`label_str`), mostly say
what an image is. Where they contradict the labels in nearly all rows, the table is refused.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError, unknown_name
from study.core.records import FAKE, REAL
from study.data.class_words import SILENT, classes_said
from study.data.csv_file import MISSING, CsvRows

NEARLY_ALL = 0.9
SHOWN = 8  # values named
FEWEST = 4  # rows that contradict; fewer are what somebody meant
# columns of text that tell what a detector said, not what an image is
_ANSWERS = re.compile(r"(?i)pred|output|decision|verdict|guess|result")
_WORDS = {REAL: "real", FAKE: "fake"}


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """Rows whose words say another class than their label does. column: where the words stand.
    first: the first such row, and its text. count, spoken: rows that contradict, and that say a
    class. reversed: nearly all of them contradict.
    """

    column: str
    first: int
    text: str
    count: int
    spoken: int
    reversed: bool


def contradictions(rows: CsvRows, labels: NDArray[np.uint8]) -> Iterator[Contradiction]:
    """Yield what contradicts the labels of a table: its columns of text, one at a time."""
    ours = [name for name in rows.columns.column_names if name not in ("label", "split", "score")]
    texts = {rows.names[name]: rows.columns[name] for name in ours}
    texts |= {name: rows.texts[name] for name in rows.texts.column_names}
    for name, column in texts.items():
        meant = _of_one_class(column, classes_said(column), labels)
        against = np.flatnonzero((meant != SILENT) & (meant != labels))
        if len(against) and not _ANSWERS.search(name):
            yield Contradiction(
                column=name,
                first=int(against[0]),
                text=column[int(against[0])].as_py(),
                count=len(against),
                spoken=int((meant != SILENT).sum()),
                reversed=len(against) >= FEWEST and _reversed(column, meant, labels),
            )


def _of_one_class(
    column: pa.ChunkedArray, meant: NDArray[np.int8], labels: NDArray[np.uint8]
) -> NDArray[np.int8]:
    """What a column says of each row, without texts that stand at both classes and are no class
    word alone: such a text (the name of a collection, `DeepFake-Detection`) says nothing of an
    image.
    """
    spoken = np.flatnonzero(meant != SILENT)
    said = pa.chunked_array([pa.concat_arrays(column.chunks).take(pa.array(spoken))])
    texts = pc.dictionary_encode(said.chunk(0))
    number = np.asarray(texts.indices)
    share = np.bincount(number, labels[spoken]) / np.bincount(number)
    is_mixed = np.minimum(share, 1 - share)[number] > 1 - NEARLY_ALL
    silenced = meant.copy()
    silenced[spoken[is_mixed & (classes_said(said, only=True) == SILENT)]] = SILENT
    return silenced


def _reversed(column: pa.ChunkedArray, meant: NDArray[np.int8], labels: NDArray[np.uint8]) -> bool:
    """Whether words of both classes stand at the wrong labels. Where they say one class alone they
    must be a folder's whole name (`Real-ESRGAN` makes fakes), and all others be of the other; where
    the others say nothing at all, the column tells what a fake was made of.
    """

    def wrong(rows: NDArray[np.bool_], label: int) -> bool:
        return bool(rows.any()) and float((labels[rows] != label).mean()) >= NEARLY_ALL

    if {REAL, FAKE} <= set(meant.tolist()):
        return wrong(meant == REAL, REAL) and wrong(meant == FAKE, FAKE)
    only = classes_said(column, only=True)
    word = int(only.max())
    nothing = pc.is_in(pc.utf8_lower(column), value_set=pa.array(["", *MISSING]))
    others = (only == SILENT) & ~np.asarray(nothing).astype(bool)
    return word != SILENT and wrong(only == word, word) and wrong(others, 1 - word)


def refuse_reversed(rows: CsvRows, labels: NDArray[np.uint8], remedy: str) -> list[tuple[str, str]]:
    """Raise DataError where a table's own words say the opposite of its labels in nearly all rows;
    return (what, why) of contradictions that are fewer.

    remedy: what turns the labels, with `{}` for the value that seems to mean fake.
    """
    notes = []
    for found in contradictions(rows, labels):
        counts = f"{found.count:,} of the {found.spoken:,} rows whose {found.column} says a class"
        where, label = rows.where(found.first), int(labels[found.first])
        if not found.reversed:
            why = f"it contradicts the label in {counts} ({where}: '{found.text}')"
            notes.append((f"column '{found.column}'", f"{why}; the label decides"))
            continue
        name, written = rows.names["label"], rows.columns["label"]
        real = written.filter(pa.array(labels == REAL))
        value = Counter(real.to_pylist()).most_common(1)[0][0] if len(real) else "0"
        raise DataError(
            f"{where}: {name} '{written[found.first]}' means {_WORDS[label]}, but {found.column}"
            f" '{found.text}' says {_WORDS[1 - label]}, and so it is in {counts}: the labels seem"
            f" to be the wrong way round. {remedy.format(shlex.quote(value))};"
            f" if they are right, change what {found.column} says"
        )
    return notes


def with_fake_label(rows: CsvRows, value: str) -> NDArray[np.uint8]:
    """Return the labels of a table in which one value means fake and one other real. Raises
    DataError where it has not these two.
    """
    words = Counter(word.lower() for word in rows.columns["label"].to_pylist())
    fakes = [word for word in words if _same(word, value)]
    where = f"{rows.path}: {rows.names['label']}"
    if not fakes:
        raise DataError(unknown_name("value", value, list(words)[:SHOWN], where=where))
    others = [word for word in words if word not in fakes]
    if len({_number(word) for word in others}) > 1 or "" in others:
        named = ", ".join(f"'{word}' ({words[word]:,} rows)" for word in others[:SHOWN])
        raise DataError(f"{where} has more than one value beside '{value}': {named}; leave it one")
    folded = pc.utf8_lower(rows.columns["label"])
    return np.asarray(pc.is_in(folded, value_set=pa.array(fakes))).astype(np.uint8)


def _same(word: str, value: str) -> bool:
    return _number(word) == _number(value.strip().lower())


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word

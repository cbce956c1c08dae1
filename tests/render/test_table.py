"""One table in its four forms, each against what a person would have typed."""

from __future__ import annotations

import csv
import io
import math

import pytest

from study.render.table import Column, Table, csv_text, escaped, markdown, table, text

NAN = math.nan
MADE = table(
    (
        "detector",
        Column("images", "count"),
        Column("AUC", "number"),
        Column("gap", "interval", signed=True),
        Column("p", "p"),
        "note",
    ),
    [
        ("npr_a|b", 1200, 0.97549, (-0.0421, -0.1, 0.01), 0.0004, "5 % & *x*"),
        ("[x]", 7, NAN, (0.5, NAN, NAN), 0.25, "two\nlines"),
        ("y", "-", "failed", "no seed", NAN, ""),
    ],
)


def test_text() -> None:
    assert (
        text(MADE)
        == """\
detector  images        AUC  gap                              p  note
npr_a|b    1,200      0.975  -0.042 [-0.100, +0.010]    < 0.001  5 % & *x*
[x]            7  undefined  +0.500                       0.250  two
                                                                 lines
y              -     failed  no seed                  undefined"""
    )


def test_a_text_that_is_too_wide_goes_on_below_with_its_first_column() -> None:
    assert (
        text(MADE, width=45)
        == """\
detector  images        AUC
npr_a|b    1,200      0.975
[x]            7  undefined
y              -     failed

detector  gap                              p
npr_a|b   -0.042 [-0.100, +0.010]    < 0.001
[x]       +0.500                       0.250
y         no seed                  undefined

detector  note
npr_a|b   5 % & *x*
[x]       two
          lines
y"""
    )
    assert text(MADE, width=500) == text(MADE)
    assert text(table(("only",), [("a very long cell",)]), width=4) == "only\na very long cell"


def test_markdown() -> None:
    assert (
        markdown(MADE)
        == """\
| detector | images | AUC | gap | p | note |
|---|---|---|---|---|---|
| npr_a\\|b | 1,200 | 0.975 | -0.042 [-0.100, +0.010] | < 0.001 | 5 % & \\*x\\* |
| [x] | 7 | undefined | +0.500 | 0.250 | two, lines |
| y | - | failed | no seed | undefined |  |"""
    )


def test_csv_has_every_bit_and_an_interval_in_three_columns() -> None:
    lines = list(csv.reader(io.StringIO(csv_text(MADE), newline="")))
    assert lines == [
        ["detector", "images", "AUC", "gap", "gap_low", "gap_high", "p", "note"],
        ["npr_a|b", "1200", "0.97549", "-0.0421", "-0.1", "0.01", "0.0004", "5 % & *x*"],
        ["[x]", "7", "", "0.5", "", "", "0.25", "two\nlines"],
        ["y", "-", "failed", "no seed", "", "", "", ""],
    ]
    third = table(("x",), [(1 / 3,)])
    assert csv_text(third) == "x\n0.3333333333333333\n"
    assert csv_text(table(("a,b", 'c"'), [])) == '"a,b","c"""\n'
    bare = csv_text(table(("x", "y"), [("a\rb", True)]))
    assert list(csv.reader(io.StringIO(bare, newline=""))) == [["x", "y"], ["a\rb", "true"]]


def test_every_character_of_a_name_stands_for_itself_in_latex() -> None:
    assert escaped("npr_a|b 5 % & *x*") == r"npr\_a\textbar{}b 5 \% \& *x*"
    assert (
        escaped("\\ $ # { } ~ ^ <")
        == r"\textbackslash{} \$ \# \{ \} \textasciitilde{} \textasciicircum{} \textless{}"
    )


def test_a_row_that_does_not_fit_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="rows must have 2 cells"):
        table(("a", "b"), [("1",)])


def test_a_table_without_rows_has_its_head() -> None:
    empty = Table((Column("a"), Column("b", "number")), ())
    assert text(empty) == "a  b" and markdown(empty) == "| a | b |\n|---|---|"

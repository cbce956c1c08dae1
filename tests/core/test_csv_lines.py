"""CSV lines: what a reader gets, and what a spreadsheet must not run."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.core.csv_lines import csv_line, read_text


def read(line: str) -> list[str]:
    (row,) = csv.reader(io.StringIO(line))
    return row


def test_values_come_back() -> None:
    values = [0.1, -2.5e-300, float("nan"), True, 7, -7, "a,b", 'say "x"', "two\nlines", "-", "+"]
    assert read(csv_line(values)) == [
        *("0.1", "-2.5e-300", "", "true", "7", "-7"),
        *("a,b", 'say "x"', "two\nlines", "-", "+"),
    ]


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "@SUM(1)", "+1+cmd", "-2+3", "\t=1", "-x.png", "=1"]
)
def test_no_text_is_a_formula(name: str) -> None:
    assert read(csv_line([name, "b"])) == [f"'{name}", "b"]
    assert read_text(f"'{name}") == name


@given(st.text())
def test_every_text_reads_back(text: str) -> None:
    (field,) = read(csv_line([text])) or [""]
    assert read_text(field) == text


@pytest.mark.parametrize("name", ["-0.5", "+3", "a=b", "fake/=x.png", "(none)", "-1.5"])
def test_other_texts_are_as_they_are(name: str) -> None:
    assert read(csv_line([name])) == [name]

"""Numbers in words, as a person would have typed them."""

from __future__ import annotations

import math

import pytest

from study.render.numbers import (
    between,
    counted,
    ends,
    json_number,
    leaked_text,
    leaks_words,
    number,
    p_text,
    p_words,
    with_interval,
)

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "shown", "signed"),
    [
        (0.8125, "0.812", "+0.812"),
        (0.9425, "0.943", "+0.943"),  # 0.942499999999999993 as a float
        (-0.0004, "0.000", "+0.000"),
        (-2.5, "-2.500", "-2.500"),
        (1234.5678, "1234.57", "+1234.57"),
        (NAN, "undefined", "undefined"),
    ],
)
def test_a_number_has_three_places(value: float, shown: str, signed: str) -> None:
    assert (number(value), number(value, signed=True)) == (shown, signed)


def test_intervals() -> None:
    assert with_interval(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"
    assert with_interval(0.5, NAN, NAN) == "0.500"
    assert with_interval(0.1, -0.1, 0.3, signed=True) == "+0.100 [-0.100, +0.300]"
    assert between(0.1, 0.2, places=4) == "[0.1000, 0.2000]" and between(NAN, 1.0) == ""
    assert ends(0.126, 1.0) == "[0.13, 1.00]" and ends(NAN, NAN) == "[no interval]"


def test_p_values() -> None:
    assert [p_text(p) for p in (0.0009, 0.001, 0.25, NAN)] == [
        "< 0.001",
        "0.001",
        "0.250",
        "undefined",
    ]
    assert [p_words(p) for p in (0.0009, 0.25, NAN)] == ["p < 0.001", "p = 0.250", "p undefined"]


def test_counts_and_leaks() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2, 1200)] == [
        "0 cells",
        "1 cell",
        "2 cells",
        "1,200 cells",
    ]
    assert leaked_text(0, kept=False) == "" and leaked_text(3, kept=False) == "3 left out"
    assert leaked_text(3, kept=True) == "3 kept: a class is gone without"
    assert leaks_words([]) == [] and leaks_words([False]) == ["leaked images left out"]
    assert leaks_words([False, True]) == ["leaked images kept where a class is gone without"]


def test_json_has_no_nan_and_no_infinity() -> None:
    assert [json_number(value) for value in (0.5, NAN, INF)] == [0.5, None, None]

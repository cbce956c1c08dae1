"""Tables against what a person would have typed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from study.analysis.results import IMAGES_ALONE, ResultRow
from study.core.records import NO_TRAINING
from study.data.names import is_in_domain
from study.render.grid import pick
from study.render.numbers import number
from study.render.summary import summary_lines, summary_of
from study.render.tables import HEADLINES, markdown_tables, text_table
from tests.render.synthetic_matrix import NAN, matrix, results, row, without_number

ROWS = [
    row("npr", "a", "a", 0.9, sd=0.0123, seeds=2),
    row("npr", "a", "b", 0.6, sd=0.02, seeds=2, note="exact bound"),
    row("npr", "a", "c", 0.4, seeds=1, reason="1 of 2 seeds missing"),
    row("npr", "a+b", "a", 0.8, sd=0.0, seeds=2),
    row("npr", "a+b", "b", 0.7, sd=0.1, seeds=2),
    without_number("npr", "a+b", "c", "failed", "OSError: disk full"),
]


def test_a_table_as_it_is_printed() -> None:
    assert (
        text_table(results(ROWS), "npr", width=100)
        == """\
npr: AUC
mean over seeds (n=1-2) [95 % interval]; sd over seeds; * in-domain

train on \\ test on  a                     b                       c
a                   0.900 [0.85, 0.95] *  0.600 [0.55, 0.65] (1)  0.400 [0.35, 0.45] (2)
                    sd 0.012              sd 0.020                n=1
a+b                 0.800 [0.75, 0.85] *  0.700 [0.65, 0.75] *    failed (3)
                    sd 0.000              sd 0.100
real / fake         100 / 150             100 / 150               100 / 150

in-domain mean 0.800 (+0.300 vs chance, 3 cells), cross-domain mean 0.500 (+0.000 vs chance, 2
  cells)
gap 0.300, worst 0.400 (-0.100 vs chance): a -> c, left out: 1 without a number
(1) exact bound
(2) 1 of 2 seeds missing
(3) OSError: disk full"""
    )


def test_no_pixel_baselines_without_an_interval_say_why() -> None:
    note = "cross-validated; no interval: constant by construction, no trait varies"
    blind = replace(
        row("(metadata only)", NO_TRAINING, "a", 0.5, low=NAN, high=NAN, note=note), seed="mean"
    )
    other = replace(
        blind,
        test_on="b",
        estimate=replace(blind.estimate, low=0.4, high=0.6, note="cross-validated"),
    )
    text = " ".join(text_table(results([*ROWS, blind, other]), "npr", width=200).split())
    assert "(metadata only) AUC 0.500 [no interval] 0.500 [0.40, 0.60]" in text
    assert "(metadata only) on a: no interval: constant by construction, no trait varies" in text


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    names = [f"dataset_{i}" for i in range(7)]
    table = text_table(results(matrix(["npr"], names)), "npr", width=width)
    assert max(map(len, table.splitlines())) <= width
    # Every column is there once, with the labels of the rows repeated beside each block.
    headers = [line for line in table.splitlines() if line.startswith("train on \\ test on")]
    assert [name for line in headers for name in line.split()[5:]] == names
    assert table.count("0.") > 7 * 7 * 3


@pytest.mark.parametrize("state", ["planned", "running", "failed", "stale", "not_applicable"])
def test_a_cell_without_a_number_says_its_state_and_why(state: str) -> None:
    rows = [row("npr", "a", "a", 0.9), without_number("npr", "a", "b", state, "because of that")]
    # the state is that of the cell, whatever is looked at
    for metric, threshold in (("auc", ""), ("f1", "source")):
        table = text_table(results(rows), "npr", metric, threshold, width=100)
        assert f"{state.replace('_', ' ')} (1)" in table
        assert "(1) because of that" in table
    # a -> a is scored, without this quantity
    assert "not measured" in text_table(results(rows), "npr", "f1", "source", width=100)
    assert not re.search(r"\b0\.000\b|\bnan\b", text_table(results(rows), "npr", width=100))


def test_an_undefined_number_is_called_undefined_and_left_out_of_the_means() -> None:
    undefined = row("npr", "a", "b", NAN, low=NAN, high=NAN)
    undefined = replace(undefined, estimate=replace(undefined.estimate, reason="one class only"))
    table = text_table(results([row("npr", "a", "a", 0.9), undefined]), "npr", width=100)
    assert "undefined (1)" in table
    assert "(1) one class only" in table
    assert "in-domain mean 0.900 (+0.400 vs chance, 1 cell), cross-domain mean undefined" in table
    assert "left out: 1 without a number" in table


def test_an_upper_bound_is_called_one() -> None:
    rows = matrix(["npr"], ["a"])
    assert "upper bound" in text_table(results(rows), "npr", "f1", "oracle", width=100)
    assert "upper bound" in markdown_tables(results(rows))
    assert "upper bound" not in text_table(results(rows), "npr", "f1", "source", width=100)


def test_prevalence_stands_beside_average_precision() -> None:
    rows = matrix(["npr"], ["a"])
    assert "prevalence          0.600" in text_table(results(rows), "npr", "ap", width=100)
    assert "prevalence" not in text_table(results(rows), "npr", "auc", width=100)


def test_coverage_stands_below_where_an_image_is_missing() -> None:
    rows = [row("npr", "a", "a"), row("npr", "a", "b", coverage=0.9876)]
    assert re.search(r"coverage +1 +0\.9876", text_table(results(rows), "npr", width=100))
    assert "coverage" not in text_table(results(rows[:1]), "npr", width=100)


def test_units_have_their_own_table() -> None:
    rows = [
        row("npr", "a", "a", 0.9),
        row("npr", "a", "a", 0.95, level="unit", n_real=10, n_fake=20),
    ]
    table = text_table(results(rows), "npr", width=100)
    assert "npr: AUC, unit level" in table
    assert re.search(r"0\.950.*\n.*\n.*10 / 20", table)
    assert "### AUC, unit level" in markdown_tables(results(rows))


def test_images_that_differ_between_rows_are_a_range() -> None:
    rows = [row("npr", "a", "a"), row("npr", "b", "a", n_real=98)]
    assert "98-100 / 150" in text_table(results(rows), "npr", width=100)


def test_degraded_cells_are_apart() -> None:
    rows = [row("npr", "a", "a", 0.9), row("npr", "a", "a", 0.7, degradation="jpeg50")]
    assert "0.700" not in text_table(results(rows), "npr", width=100)
    degraded = text_table(results(rows), "npr", width=100, degradation="jpeg50")
    assert "npr: AUC, degradation jpeg50" in degraded
    assert "0.900" not in degraded


@pytest.mark.parametrize(
    ("train_on", "test_on", "inside"),
    [
        ("a", "a", True),
        ("a+b", "a", True),
        ("a", "b", False),
        ("ab", "a", False),
        ("a", "a+b", False),
        ("b+a", "a+b", True),
        ("f", "f:x", True),
        ("f:x", "f:y", False),
        ("f:x", "f", False),
        ("f", "f:x?method=m", True),
        ("f:x", "f:x?method=m", True),
        ("f?method=m", "f", False),
        ("f?method=m", "f?method=m", True),
        ("f?method=m,n", "f?method=n", True),
        ("f?method=n", "f?method=m,n", False),
        ("f?method=m", "f?method=n", False),
        ("f?c=1", "f:x?c=1&method=m", True),
        ("f?c=1&method=m", "f?c=1", False),
        ("f?c=1", "f?method=m", False),
        ("f:x?c=1,2", "f?c=1", False),
        ("a+f", "f:x+a", True),
        ("(none)", "a", False),
        ("(f:x)", "f:x?method=m", True),
        ("(f:x)", "f", False),
        ("(f+a)", "a", True),
    ],
)
def test_in_domain_is_membership(train_on: str, test_on: str, inside: bool) -> None:
    assert is_in_domain(train_on, test_on) is inside


def test_a_detector_that_is_not_trained_has_no_gap_and_the_table_says_why() -> None:
    rows = [
        row("clip_zero_shot", NO_TRAINING, "a", 0.6),
        row("clip_zero_shot", NO_TRAINING, "b", 0.5),
    ]
    table = text_table(results(rows), "clip_zero_shot", width=120)
    assert "in-domain mean undefined, cross-domain mean 0.550 (+0.050 vs chance, 2 cells)" in table
    assert (
        "gap undefined (not trained: no test set is in-domain), worst 0.500 (+0.000 vs chance):"
        " (none) -> b" in table
    )
    assert " *" not in table.replace("; * in-domain", "")
    line = (
        "| clip_zero_shot | undefined | 0.550 | undefined (not trained: no test set is in-domain) |"
        " 0.500 ((none) -> b) | 0 |"
    )
    assert line in markdown_tables(results(rows)).splitlines()


def test_the_gap_of_an_error_rate_is_positive_where_it_grows() -> None:
    rows = [row("npr", "a", "a", 0.1, metric="eer"), row("npr", "a", "b", 0.45, metric="eer")]
    grid = pick(results(rows), "npr", "eer")
    assert summary_of(grid).gap == pytest.approx(0.35)
    assert summary_lines(grid) == [
        (
            "in-domain mean 0.100 (+0.400 vs chance, 1 cell), cross-domain mean 0.450 (+0.050 vs"
            " chance, 1 cell)"
        ),
        "gap 0.350, worst 0.450 (+0.050 vs chance): a -> b",
    ]


def test_average_precision_is_centred_on_each_test_sets_prevalence() -> None:
    rows = [
        row("npr", "a", "a", 0.9, metric="ap", n_real=100, n_fake=100),
        row("npr", "a", "b", 0.9, metric="ap", n_real=10, n_fake=90),
    ]
    assert summary_lines(pick(results(rows), "npr", "ap")) == [
        (
            "in-domain mean 0.900 (+0.400 vs chance, 1 cell), cross-domain mean 0.900 (+0.000 vs"
            " chance, 1 cell)"
        ),
        "gap 0.000 (+0.400 vs chance), worst 0.900 (+0.000 vs chance): a -> b",
    ]


def test_average_precision_is_centred_on_the_prevalence_of_each_cells_own_images() -> None:
    """Of one test set two rows have other images, as without the leaked ones: .9 - .5 and .8 - .2,
    whichever comes last.
    """
    rows = [
        row("npr", "b", "a", 0.9, metric="ap", n_real=100, n_fake=100),
        row("npr", "c", "a", 0.8, metric="ap", n_real=100, n_fake=25),
    ]
    for order in (rows, rows[::-1]):
        assert summary_of(
            pick(results(order), "npr", "ap")
        ).cross_domain_above_chance == pytest.approx((0.4 + 0.6) / 2)


def test_a_quantity_without_a_chance_level_is_not_centred() -> None:
    rows = [
        row("npr", "a", "a", 0.9, metric="f1", threshold="source"),
        row("npr", "a", "b", 0.5, metric="f1", threshold="source"),
    ]
    assert "chance" not in text_table(results(rows), "npr", "f1", "source", width=100)


def markdown_rows(text: str, heading: str) -> list[list[str]]:
    block = text.split(heading, 1)[1]
    lines = next(line for line in block.split("\n\n") if line.startswith("|")).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown_for_tracked_results() -> None:
    text = markdown_tables(results(ROWS), [("auc", "")])
    assert text.endswith("\n")
    assert markdown_rows(text, "Summary by AUC.") == [
        [
            "detector",
            "in-domain mean",
            "cross-domain mean",
            "gap",
            "worst cell",
            "cells without a number",
        ],
        ["---"] * 6,
        ["npr", "0.800", "0.500", "0.300", "0.400 (a -> c)", "1"],
    ]
    assert markdown_rows(text, "## npr\n\n### AUC") == [
        ["train on \\ test on", "a", "b", "c"],
        ["---"] * 4,
        [
            "a",
            "0.900 [0.85, 0.95] \\*, sd 0.012",
            "0.600 [0.55, 0.65] (1), sd 0.020",
            "0.400 [0.35, 0.45] (2), n=1",
        ],
        [
            "a+b",
            "0.800 [0.75, 0.85] \\*, sd 0.000",
            "0.700 [0.65, 0.75] \\*, sd 0.100",
            "failed (3)",
        ],
        ["real / fake", "100 / 150", "100 / 150", "100 / 150"],
    ]
    assert "(3) OSError: disk full" in text


def test_every_detector_and_headline_has_its_table() -> None:
    text = markdown_tables(results(matrix(["npr", "spectrum"], ["a", "b"])))
    for detector in ("npr", "spectrum"):
        own = text.split(f"## {detector}\n")[1].split("\n## ")[0]
        assert own.count("\n### ") == len(HEADLINES)


def test_reading_only_one_seed_changes_nothing() -> None:
    rows: list[ResultRow] = [
        *ROWS,
        *(replace(r, seed="0", estimate=replace(r.estimate, value=0.123)) for r in ROWS),
    ]
    assert text_table(results(rows), "npr", width=100) == text_table(
        results(ROWS), "npr", width=100
    )


def test_a_mean_whose_seeds_all_lie_outside_its_interval_has_a_footnote() -> None:
    rows = [
        row("npr", "a", "b", value, seed=str(seed), metric="ap")
        for seed, value in enumerate((0.864, 0.322))
    ]
    mean = row("npr", "a", "b", 0.593, low=0.52, high=0.66, seeds=2, sd=0.383, metric="ap")
    rows.append(mean)
    note = "^ seeds differ by more than the interval, which is of the test images alone"
    table = text_table(results(rows), "npr", "ap", width=100)
    assert "0.593 [0.52, 0.66] ^" in table and note in table.splitlines()
    # one of them is inside
    wide = [*rows[:2], replace(rows[2], estimate=replace(rows[2].estimate, low=0.3))]
    assert "seeds differ" not in text_table(results(wide), "npr", "ap", width=100)


def test_what_stands_beside_rounded_numbers_is_their_difference() -> None:
    rows = [row("npr", "a", "a", 0.9), row("npr", "a", "b", 0.2075)]
    assert summary_lines(pick(results(rows), "npr", "auc")) == [
        (
            "in-domain mean 0.900 (+0.400 vs chance, 1 cell), cross-domain mean 0.207 (-0.293 vs"
            " chance, 1 cell)"
        ),
        "gap 0.693, worst 0.207 (-0.293 vs chance): a -> b",
    ]
    errors = [row("npr", "a", "a", 0.2075, metric="eer"), row("npr", "a", "b", 0.9, metric="eer")]
    assert summary_lines(pick(results(errors), "npr", "eer")) == [
        (
            "in-domain mean 0.207 (+0.293 vs chance, 1 cell), cross-domain mean 0.900 (-0.400 vs"
            " chance, 1 cell)"
        ),
        "gap 0.693, worst 0.900 (-0.400 vs chance): a -> b",
    ]


def test_values_that_differ_in_their_last_bits_are_rounded_alike() -> None:
    sums = (0.9425, 0.9424999999999999, 0.9425000000000001)
    assert {number(value) for value in sums} == {"0.943"}
    assert (
        number(-1e-9, signed=True) == number(0.0, signed=True) == "+0.000"
        and number(NAN) == "undefined"
    )


def test_seeds_beyond_the_interval_are_said_only_where_it_is_of_the_images_alone() -> None:
    """An interval that counts training sample and seeds may leave seeds out without being false."""
    seeds = [row("npr", "a", "b", value, seed=str(i)) for i, value in enumerate((0.6, 0.9))]
    said = "seeds differ by more than the interval, which is of the test images alone"
    for note, expected in ((IMAGES_ALONE, True), ("", False)):
        mean = row("npr", "a", "b", 0.75, low=0.74, high=0.76, note=note)
        assert (said in text_table(results([*seeds, mean]), "npr")) == expected
    others = [replace(one, metric="ap") for one in seeds]
    ap = row("npr", "a", "b", 0.75, low=0.74, high=0.76, metric="ap")
    assert said in text_table(results([*others, ap]), "npr", "ap")


def test_a_test_set_of_one_class_shows_its_false_positive_rate() -> None:
    reals = {"n_real": 100, "n_fake": 0}
    rows = [
        row(value=NAN, low=NAN, high=NAN, **reals),
        row(
            value=0.97,
            low=0.92,
            high=0.99,
            metric="real_accuracy",
            threshold="source_fpr5",
            **reals,
        ),
        row(test_on="c", value=0.9),
        row(test_on="c", value=0.5, metric="real_accuracy", threshold="source_fpr5"),
    ]
    text = text_table(results(rows), "npr", width=300)
    assert "FPR at the source's 5 % FPR threshold 0.030 [0.01, 0.08]" in text
    assert text.count("FPR at") == 1  # of both classes the AUC stands

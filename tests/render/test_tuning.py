"""What is printed and written of tuned minus default, from contrasts whose numbers are known."""

from __future__ import annotations

import math
from dataclasses import replace

from study.analysis.significance import Verdict
from study.analysis.tuning import VAL, Contrast
from study.core.records import Pairing
from study.planning.variants import DEFAULT
from study.render.tuning import tuning_line, tuning_markdown
from study.statistics.differences import Difference
from study.statistics.seeds import over_seeds


def contrast(
    test_on: str,
    differences: list[float],
    *,
    source: str = DEFAULT,
    p_holm: float = math.nan,
    train_on: str = "a",
) -> Contrast:
    mean = sum(differences) / len(differences)
    return Contrast(
        pairing=Pairing(detector="npr", train_on=train_on),
        source=source,
        test_on=test_on,
        domain="in" if test_on in (VAL, train_on) else "cross",
        tuned=0.8,
        other=0.8 - mean,
        seeds=over_seeds(differences),
        images=Difference(value=mean, low=mean - 0.01, high=mean + 0.01, p=0.01),
        p_holm=p_holm,
    )


FOUND = [
    contrast(VAL, [0.05, 0.07]),
    contrast("a", [0.02, 0.04], p_holm=0.01),
    replace(contrast("b", [-0.02, -0.02], p_holm=0.02), seedless=True),
    contrast("c", [0.3, 0.3], p_holm=0.2),
]


def test_a_line_counts_cells_and_keeps_related_ones_out_of_the_means() -> None:
    line = tuning_line([*FOUND[:-1], replace(FOUND[-1], domain="neither")], "npr")
    assert (
        "source val +0.060, in-domain +0.030, cross-domain -0.020; on 0 of 3 cells better by more"
        " than noise, on 1 worse" in line
    )
    assert "cross-domain +0.140" in tuning_line(FOUND, "npr")
    assert tuning_line(FOUND, "spectrum") == "" and "cannot be tested" not in line


def test_more_than_noise_needs_an_interval_over_seeds_without_0() -> None:
    """Images say so of every cell. Of two seeds .02 and .04 the interval reaches to -.10; of .030
    and .031 it does not reach 0.
    """
    cells = {
        "wide": contrast("a", [0.02, 0.04], p_holm=0.01),
        "narrow": contrast("b", [0.030, 0.031], p_holm=0.01),
        "worse": contrast("c", [-0.030, -0.031], p_holm=0.01),
        "one": contrast("d", [0.2], p_holm=0.01),
        "alike by chance": contrast("e", [0.2, 0.2], p_holm=0.01),
        "no seed changes it": replace(contrast("f", [0.2, 0.2], p_holm=0.01), seedless=True),
        "against": replace(
            contrast("g", [-0.030, -0.031], p_holm=0.01),
            images=Difference(value=0.1, low=0.05, high=0.2, p=0.01),
        ),
    }
    assert {name for name, c in cells.items() if c.verdict is Verdict.MORE_THAN_NOISE} == {
        "narrow",
        "worse",
        "no seed changes it",
    }
    unknown = {name for name, c in cells.items() if c.verdict is Verdict.SEEDS_UNKNOWN}
    assert unknown == {"one", "alike by chance"}
    line = tuning_line(list(cells.values()), "npr")
    assert "; on 2 of 7 cells better by more than noise, on 1 worse" in line
    assert f"; on 2 {Verdict.SEEDS_EXPLAIN.value}; on 2 {Verdict.SEEDS_UNKNOWN.value}" in line


def test_what_cannot_be_tested_is_counted_and_says_why() -> None:
    lone = replace(
        contrast("d", [0.1, 0.2]),
        images=Difference(value=0.15, reason="a class comes from one group"),
    )
    same = replace(
        contrast("e", [0.0, 0.0]), images=Difference(value=0.0, reason="the same models"), same=True
    )
    line = tuning_line([*FOUND, lone, same], "npr")
    assert "on 0 of 5 cells better by more than noise, on 1 worse, 1 cannot be tested" in line
    assert "undefined (a class comes from one group)" in tuning_markdown([lone])


def test_the_table_has_both_uncertainties_apart() -> None:
    shown = tuning_markdown(FOUND)
    assert (
        r"| npr | a | default | a \* | 0.800 | 0.770 | +0.030 [-0.097, +0.157] | 0.014 | +0.030"
        r" [+0.020, +0.040] | 0.010 |" in shown
    )
    assert (
        "| npr | a | default | source val | 0.800 | 0.740 | +0.060 [-0.067, +0.187] | 0.014 |  |  |"
        in shown
    )
    same = replace(FOUND[1], same=True)
    failed = replace(FOUND[2], reason="DivergedError: the loss is nan")
    shown = tuning_markdown([same, failed])
    assert "the same models" in shown and "DivergedError: the loss is nan" in shown


def test_moved_configurations_stand_in_a_table_of_their_own() -> None:
    shown = tuning_markdown(
        [*FOUND, contrast(VAL, [0.1], source="b"), contrast(VAL, [0.2], source="a", train_on="b")]
    )
    assert "| configuration from \\ trained on | a | b |" in shown
    rows = [
        line for line in shown.splitlines() if line.startswith(("| default |", "| a |", "| b |"))
    ]
    assert rows == [
        "| default | 0.740 | no winner |",
        "| a | 0.800 | 0.600 |",
        "| b | 0.700 | 0.800 |",
    ]

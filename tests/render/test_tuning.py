"""What is printed and written of tuned minus default, from contrasts whose numbers are known."""

from __future__ import annotations

import math
from dataclasses import replace

from study.analysis.significance import Verdict
from study.analysis.tuning import VAL, Contrast
from study.core.records import Pairing
from study.planning.variants import DEFAULT
from study.render.tuning import tuning_line, tuning_markdown
from study.statistics.error_model import Finding
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
        finding=Finding(value=mean, low=mean - 0.01, high=mean + 0.01, p=0.01),
        p_holm=p_holm,
    )


FOUND = [
    contrast(VAL, [0.05, 0.07]),
    contrast("a", [0.02, 0.04], p_holm=0.01),
    contrast("b", [-0.02, -0.02], p_holm=0.02),
    contrast("c", [0.3, 0.3], p_holm=0.2),
]


def test_a_line_counts_cells_and_keeps_related_ones_out_of_the_means() -> None:
    line = tuning_line([*FOUND[:-1], replace(FOUND[-1], domain="neither")], "npr")
    assert (
        "source val +0.060, in-domain +0.030, cross-domain -0.020; on 1 of 3 cells better by more"
        " than noise, on 1 worse" in line
    )
    assert "cross-domain +0.140" in tuning_line(FOUND, "npr")
    assert tuning_line(FOUND, "spectrum") == "" and "cannot be tested" not in line


def test_cells_are_counted_by_their_verdict() -> None:
    cells = {
        "better": contrast("a", [0.030, 0.031], p_holm=0.01),
        "worse": contrast("b", [-0.030, -0.031], p_holm=0.01),
        "not more": contrast("c", [0.2], p_holm=0.06),
        "not counted": replace(
            contrast("d", [0.2, 0.2], p_holm=0.01),
            finding=Finding(value=0.2, low=0.1, high=0.3, p=0.01, counted=False),
        ),
    }
    found = [*cells.values()]
    assert [name for name, c in cells.items() if c.verdict is Verdict.MORE_THAN_NOISE] == [
        "better",
        "worse",
    ]
    line = tuning_line(found, "npr")
    assert "; on 1 of 4 cells better by more than noise, on 1 worse" in line
    assert "; on 1 no claim: the training sample is not counted" in line
    assert "| 0.010 | no claim: the training sample is not counted |" in tuning_markdown(found)


def test_what_cannot_be_tested_is_counted_and_says_why() -> None:
    lone = replace(
        contrast("d", [0.1, 0.2]),
        finding=Finding(value=0.15, reason="a class comes from one group"),
    )
    same = replace(
        contrast("e", [0.0, 0.0]), finding=Finding(value=0.0, reason="the same models"), same=True
    )
    line = tuning_line([*FOUND, lone, same], "npr")
    assert "on 1 of 5 cells better by more than noise, on 1 worse, 1 cannot be tested" in line
    assert "undefined (a class comes from one group)" in tuning_markdown([lone])


def test_the_table_has_one_interval_one_p_and_one_verdict() -> None:
    shown = tuning_markdown(FOUND)
    assert (
        r"| npr | a | default | a \* | 0.800 | 0.770 | +0.030 [+0.020, +0.040] | 0.014 | 0.010 |"
        " more than noise, of images, training sample and seeds |" in shown
    )
    assert "| npr | a | default | source val | 0.800 | 0.740 | +0.060 | 0.014 |  |  |" in shown
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

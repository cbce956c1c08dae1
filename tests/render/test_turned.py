"""Cells below chance where no question of generalisation is: said first, with what to look at."""

from __future__ import annotations

import pytest

from study.analysis.choices import Choices
from study.render.printed import printed
from study.render.tables import markdown_tables
from study.render.turned import turned_notes
from tests.render.synthetic_matrix import results, row


def test_in_domain_cells_wholly_below_a_half_are_named() -> None:
    (note,) = turned_notes(results([row("npr", "a", "a", 0.2), row("npr", "a", "b", 0.1)]))
    assert "npr a -> a 0.200 [0.150, 0.250]" in note and "a -> b" not in note
    assert "train and test splits of a use the same labels" in note


def test_it_stands_before_the_numbers() -> None:
    table = results([row("npr", "a", "a", 0.2), row("npr", "a", "b", 0.1)])
    none = Choices(gaps=(), contrasts=(), prices=())
    shown = printed(table, none, (), ("auc", ""), transfer=False)
    kept = markdown_tables(table, [("auc", "")])
    assert shown.startswith("note: worse than chance on images of their own training sets")
    assert kept.splitlines()[2].startswith("Note: worse than chance on images of their own")


def test_scores_from_elsewhere_have_their_remedy() -> None:
    rows = [row("theirs", "(elsewhere)", "b", 0.2, role="external", domain="unknown")]
    (note,) = turned_notes(results(rows))
    assert "theirs (elsewhere) -> b 0.200" in note and "with --higher-is-real" in note


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.46},  # its interval reaches above a half
        {"value": 0.7},
        {"metric": "ap"},
        {"seed": "0"},
        {"degradation": "jpeg30"},
        {"subset": "method:x"},
        {"test_on": "b", "domain": "cross"},
        {"role": "baseline"},
    ],
)
def test_others_are_no_such_cells(changes: dict[str, object]) -> None:
    given = {"detector": "npr", "train_on": "a", "test_on": "a", "value": 0.2, **changes}
    assert turned_notes(results([row(**given)])) == []


def test_two_datasets_whose_labels_mean_the_opposite_are_named() -> None:
    """At home each is learned well: only between them does it show."""
    home = [row("npr", name, name, 0.9) for name in "abc"]
    away = [row("npr", "a", "b", 0.1), row("npr", "b", "a", 0.2)]
    fine = [row("npr", "a", "c", 0.1), row("npr", "c", "a", 0.6)]
    (note,) = turned_notes(results([*home, *away, *fine]))
    assert "from a to b and back, AUC npr a -> b 0.100 [0.050, 0.150]; npr b -> a 0.200" in note
    assert turned_notes(results([*home, away[0]])) == []  # one direction may be the detector's
    other = row("spectrum", "a", "b", 0.7)  # and so may what another detector does not share
    assert turned_notes(results([*home, *away, other])) == []

"""The end of a run on the terminal, of made-up tables."""

from __future__ import annotations

import pytest

from study.analysis.results import DatasetRow
from study.core.records import SHORTCUTS
from study.render.closing import closing
from tests.analysis.test_comparisons import compared, study
from tests.render.synthetic_matrix import results, row


def shown(
    skill: dict[str, float], monkeypatch: pytest.MonkeyPatch, columns: int = 120
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    scores = study(skill, ["aa", "bb"], seeds=3)
    rows = []
    for name, strength in skill.items():
        for x, y in (("aa", "aa"), ("aa", "bb"), ("bb", "aa"), ("bb", "bb")):
            value = 0.8 if strength else 0.52
            rows.append(row(name, x, y, value, low=value - 0.1, high=value + 0.1))
    return closing(results(rows), compared(scores), (), ("auc", "")).splitlines()


def test_a_detector_that_learned_nothing_at_home_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown({"fair": 1.0, "null": 0.0}, monkeypatch)
    said = [line for line in lines if line.endswith("more than chance in-domain")]
    assert said == ["null: not shown to be more than chance in-domain"]


def test_nothing_is_said_of_detectors_that_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "chance in-domain" not in " ".join(shown({"fair": 1.0, "good": 2.0}, monkeypatch))


def test_intervals_stand_in_the_matrix_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = shown({"fair": 1.0}, monkeypatch)
    assert "fair @ aa 0.800* [0.70, 0.90] 0.800 [0.70, 0.90]" in [" ".join(w.split()) for w in wide]
    assert "95 % intervals" not in " ".join(wide)
    long = {"a_detector_of_a_long_name": 1.0}
    narrow = shown(long, monkeypatch, columns=60)
    assert "a_detector_of_a_long_name @ aa  0.800*  0.800" in narrow
    assert "95 % intervals are in tables.md" in narrow


def test_means_over_other_test_sets_are_named_below_the_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is trained on bb, so that no in-domain mean is of it."""
    monkeypatch.setenv("COLUMNS", "200")
    found = compared(study({"fair": 1.0}, ["aa", "bb"], seeds=3))
    places = [("aa", "aa"), ("aa", "bb"), ("cc", "aa"), ("cc", "bb")]
    rows = [row("fair", x, y, 0.8) for x, y in places]
    lines = closing(results(rows), found, (), ("auc", "")).splitlines()
    (said,) = (line for line in lines if line.startswith("gap: "))
    assert "in-domain means are of aa, cross-domain means of " in said
    assert not any(line.startswith("gap: ") for line in shown({"fair": 1.0}, monkeypatch))


def test_three_detectors_on_three_sets_fit_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """25 lines of 100 columns with two test sets marked for one reason; four more lines say where
    the files are, what to look at, what to do next, and where MLflow has it.
    """
    monkeypatch.setenv("COLUMNS", "100")
    sets, skill = (
        ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"],
        {"resnet18": 1.0, "npr": 0.8, "srm": 0.5},
    )
    marked = "A classifier of file metadata alone separates the classes: AUC 1.000 [0.96, 1.00]."
    audited = tuple(DatasetRow(name=name, warnings=marked * (name != sets[0])) for name in sets)
    rows = [row(d, x, y, 0.8, low=0.7, high=0.9) for d in skill for x in sets for y in sets]
    rows += [row(name, "(none)", y, 0.6) for name in SHORTCUTS for y in sets]
    found = compared(study(skill, sets, seeds=3))
    lines = closing(results(rows, datasets=audited), found, (), ("auc", "")).splitlines()
    assert len(lines) <= 25 - 4 and max(map(len, lines)) <= 100
    said = [line for line in lines if line.startswith("! ")]
    assert said == ["! bbbbbbbbbb, cccccccccc, in no mean: " + marked.partition(": AUC")[0]]

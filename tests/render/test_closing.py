"""The end of a run on the terminal, of made-up tables."""

from __future__ import annotations

import pytest

from study.render.closing import closing
from tests.analysis.test_comparisons import compared, study
from tests.render.synthetic_matrix import results, row


def shown(skill: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "120")
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

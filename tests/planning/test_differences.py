"""`ls diff`: two made-up stores whose differences are known, and a real one against itself."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from study import ls
from study.errors import ConfigError, StoreError
from study.planning.differences import BY_INTERVALS, SAME, compare_versions, open_version
from study.records import NO_PIXELS, Scores
from study.reporting.cells_csv import CellFile, csv_text
from study.reporting.differences import as_json, as_text
from study.reporting.matrix_csv import read_matrix, write_matrix
from study.statistics.comparisons import PairedAucs, holm
from study.statistics.delong import delong_interval
from study.store import Store
from tests.planning.test_comparisons import made
from tests.reporting.synthetic_matrix import row, without_number

N = 300
RNG = np.random.default_rng(5)
NOISE = RNG.normal(size=N)
SKILL = {"a": 1.2, "b": 0.6, "c": 0.9}


def logits(better: float = 0.0, fresh: int | None = None) -> dict[str, np.ndarray]:
    """A detector's logits on each test set; better: added to its skill on b; fresh: seed of what differs by training alone."""
    own = np.random.default_rng(fresh).normal(size=N) * 0.1 if fresh is not None else np.zeros(N)
    fake = np.arange(N) % 2
    return {y: NOISE + own + (skill + better * (y == "b")) * fake for y, skill in SKILL.items()}


def write(
    folder: Path, found: dict[str, np.ndarray], *, setting: int = 3, data: str = "d", keep: bool = True, group: int = 1
) -> Path:
    """Write what `ls diff` reads of a store: matrix.csv, study.toml, and where `keep` cells.csv and scores."""
    store = Store(folder.parent, folder.name)
    folder.mkdir(parents=True)
    rows, cells = [], []
    for test_on, logit in found.items():
        scores = made(test_on, logit, images_a_group=group)
        low, high = delong_interval(scores.label, [scores.logit])
        auc = roc_auc_score(scores.label, scores.logit)
        rows.append(row("npr", "a", test_on, auc, low=low, high=high))
        cells.append(
            CellFile(
                detector="npr", train_on="a", test_on=test_on, degradation="none", seed=0, state="done",
                model="m", scores=f"s{test_on}", train_data=data, test_data=data,
            )
        )  # fmt: skip
        if keep:
            store.save_scores(f"s{test_on}", scores)
    rows.append(without_number("npr", "a", "z", "failed" if keep else "planned", "why"))
    write_matrix(rows, store.matrix_file)
    store.save_text(folder / "study.toml", f'name = "x"\n[budget]\ntrials = {setting}\n')
    if keep:
        store.save_text(folder / "cells.csv", csv_text(cells))
    return folder


def diff(first: Path, second: Path):
    return compare_versions(*(open_version(str(folder), Path("nowhere")) for folder in (first, second)))


@pytest.mark.parametrize("images_a_group", [1, 5])
def test_the_cell_that_moved_is_told_from_those_that_did_not(tmp_path: Path, images_a_group: int) -> None:
    before, after = logits(), logits(better=0.5, fresh=1)
    found = diff(write(tmp_path / "x", before, group=images_a_group), write(tmp_path / "y", after, group=images_a_group))
    changes = {change.place[2]: change for change in found.changes}
    assert {name: change.moved for name, change in changes.items()} == {"a": False, "b": True, "c": False}
    for name, change in changes.items():
        old, new = made(name, before[name], images_a_group=images_a_group), made(name, after[name])
        assert change.second - change.first == pytest.approx(
            roc_auc_score(new.label, new.logit) - roc_auc_score(old.label, old.logit), abs=1e-12
        )
        assert change.difference.value == pytest.approx(change.second - change.first, abs=1e-12)
        assert change.difference.how == ("paired DeLong" if images_a_group == 1 else "paired cluster bootstrap")
        if images_a_group == 1:
            direct = PairedAucs(old.label, [old.logit, new.logit], old.group, rng_seed=0).difference(1, 0)
            assert change.difference.p == pytest.approx(direct.p)
    assert [c.p_holm for c in found.changes] == pytest.approx(holm([c.difference.p for c in found.changes]))


def test_pairing_finds_what_two_intervals_cannot(tmp_path: Path) -> None:
    """The same small step on the same images: paired it is far beyond noise, and by the two intervals it is not."""
    before, after = logits(), logits(better=0.2, fresh=1)
    with_scores = diff(write(tmp_path / "x", before), write(tmp_path / "y", after))
    without = diff(tmp_path / "x", write(tmp_path / "z", after, keep=False))
    b = {name: next(c for c in found.changes if c.place[2] == "b") for name, found in (("paired", with_scores), ("not", without))}
    assert b["paired"].moved and not b["not"].moved and b["not"].difference.how == BY_INTERVALS
    old, new = (made("b", found["b"]) for found in (before, after))
    ends = [(roc_auc_score(s.label, s.logit), *delong_interval(s.label, [s.logit])) for s in (old, new)]
    (was, was_low, was_high), (now, low, high) = ends
    found = b["not"].difference
    assert found.value == pytest.approx(now - was) and found.value > 0
    assert found.low == pytest.approx(found.value - math.hypot(now - low, was_high - was))  # MOVER: each side's own reach
    assert found.high == pytest.approx(found.value + math.hypot(high - now, was - was_low))
    expected = 2 * stats.norm.sf(found.value / (math.hypot(now - low, was_high - was) / stats.norm.ppf(0.975)))
    assert found.p == pytest.approx(expected)
    assert not without.data_known and with_scores.data_known


def test_the_same_store_is_the_same(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", logits())
    found = diff(folder, folder)
    assert {c.difference.how for c in found.changes} == {SAME} and not any(c.moved for c in found.changes)
    assert found.settings == () and found.data == () and found.only_first == found.only_second == ()


def test_classifiers_without_a_picture_are_no_cells(tmp_path: Path) -> None:
    """Their AUCs are the audit's: they enter neither the count nor Holm's family."""
    folders = [write(tmp_path / "x", logits()), write(tmp_path / "y", logits(better=0.5, fresh=1))]
    expected = diff(*folders)
    for folder in folders:
        store = Store(folder.parent, folder.name)
        plain = read_matrix(store.matrix_file)
        write_matrix([*plain, *(row(name, "(none)", "b", 0.6, low=0.59, high=0.61) for name in NO_PIXELS)], store.matrix_file)
    assert diff(*folders) == expected and len(expected.changes) == 3


def test_what_only_one_has_and_what_was_set_otherwise(tmp_path: Path) -> None:
    before, after = logits(), {k: v for k, v in logits().items() if k != "c"}
    found = diff(write(tmp_path / "x", before), write(tmp_path / "y", after, setting=9, data="other"))
    assert [place[2] for place in found.only_first] == ["c"] and found.only_second == ()
    assert found.settings == (("budget.trials", "3", "9"),)
    assert found.data == (("a", "train and val"), ("a", "test"), ("b", "test"))
    assert found.states == ((("npr", "a", "z", "none"), "failed", "failed"),)


def test_a_changed_test_set_is_compared_on_the_images_in_common(tmp_path: Path) -> None:
    first, second = write(tmp_path / "x", logits()), write(tmp_path / "y", logits(better=0.5, fresh=1))
    store = Store(tmp_path, "y")
    whole = store.scores("sb")
    half = {name: getattr(whole, name)[: N // 2] for name in ("sample_id", "group", "unit", "method", "label", "logit")}
    store.save_scores("sb", Scores(**half, listed=N // 2))
    flipped = store.scores("sc")
    store.save_scores("sc", replace(flipped, label=(1 - flipped.label).astype(np.uint8)))
    changes = {change.place[2]: change.difference for change in diff(first, second).changes}
    assert f"on the {N // 2} images that both scored" in changes["b"].note
    assert changes["c"].how == BY_INTERVALS and "another label" in changes["c"].note


def test_what_cannot_be_tested_is_counted_for_itself(tmp_path: Path) -> None:
    """All fakes of one group: no test, and so neither moved nor "not by more than noise"."""
    first, second = write(tmp_path / "x", logits()), write(tmp_path / "y", logits(better=0.5, fresh=1))
    for name in ("x", "y"):
        store = Store(tmp_path, name)
        scores = store.scores("sc")
        store.save_scores("sc", replace(scores, group=np.where(scores.label == 1, "one", scores.group)))
    found = diff(first, second)
    words = as_text(found)
    assert "1 moved by more than noise, 1 not by more than noise, 1 cannot be tested, 0 hold the same scores" in words
    assert "npr @ a -> c" in words.split("cannot be tested:")[1] and "a class comes from one group" in words
    assert [cell["untested"] for cell in json.loads(as_json(found))["cells"]] == [False, False, True]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(tmp_path / "x", logits()), write(tmp_path / "y", logits(better=0.5, fresh=1), setting=4)
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "study.toml").write_bytes((second / "study.toml").read_bytes())
    (packed / "matrix.csv.gz").write_bytes(gzip.compress((second / "matrix.csv").read_bytes()))
    assert ls.main(["diff", "x", str(second), "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1 moved by more than noise" in shown and "npr @ a -> b" in shown and "budget.trials: 3 -> 4" in shown
    assert ls.main(["diff", str(first), str(packed), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [c["test_on"] for c in found["cells"] if c["moved"]] == ["b"] and found["data"] is None
    for words, error, message in (
        (["diff", "x"], ConfigError, "diff takes two"),
        (["runs", "x"], ConfigError, "every other listing none"),
        (["diff", "x", "yy", "--results", str(tmp_path)], StoreError, "did you mean 'y'"),
        (["diff", "x", "empty", "--results", str(tmp_path)], StoreError, "has no matrix.csv"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(error, match=message):
            ls.main(words)

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
from study.analysis.cells_csv import CellFile, csv_text
from study.analysis.diff import BY_INTERVALS, SAME, compare_versions, open_version
from study.analysis.results_csv import read_matrix, write_matrix
from study.analysis.significance import Verdict
from study.core.errors import ConfigError, StoreError
from study.core.records import SHORTCUTS, Scores
from study.render.diff import as_json, as_text
from study.statistics.comparisons import holm
from study.statistics.delong import delong_interval, placements
from study.statistics.error_model import Part
from study.store.store import Store
from tests.analysis.test_comparisons import made
from tests.render.synthetic_matrix import row, without_number

N = 300
RNG = np.random.default_rng(5)
NOISE = RNG.normal(size=N)
SMALL = Part(variance=1e-5, doubt=1e-11)  # .003, with 10 degrees of freedom
SKILL = {"a": 1.2, "b": 0.6, "c": 0.9}


def logits(better: float = 0.0, fresh: int | None = None) -> dict[str, np.ndarray]:
    """A detector's logits on each test set; better: added to its skill on b; fresh: seed of what
    differs by training alone.
    """
    own = np.random.default_rng(fresh).normal(size=N) * 0.1 if fresh is not None else np.zeros(N)
    fake = np.arange(N) % 2
    return {y: NOISE + own + (skill + better * (y == "b")) * fake for y, skill in SKILL.items()}


def write(
    folder: Path,
    *found: dict[str, np.ndarray],
    setting: int = 3,
    seed: int = 0,
    data: str = "d",
    keep: bool = True,
    group: int = 1,
    training: Part | None = SMALL,
) -> Path:
    """Write what `ls diff` reads of a store: matrix.csv, study.toml, and where `keep` cells.csv and
    scores; found: of each seed. training: what training sample and seeds add, None where the sample
    is not counted.
    """
    store = Store(folder.parent, folder.name)
    folder.mkdir(parents=True)
    rows, cells = [], []
    counted = {"training": training.variance, "training_doubt": training.doubt} if training else {}
    for test_on in found[0]:
        of_seeds = [made(test_on, one[test_on], images_a_group=group) for one in found]
        low, high = delong_interval(of_seeds[0].label, [one.logit for one in of_seeds])
        aucs = [roc_auc_score(one.label, one.logit) for one in of_seeds]
        rows += [row("npr", "a", test_on, auc, seed=str(number)) for number, auc in enumerate(aucs)]
        rows.append(
            row("npr", "a", test_on, float(np.mean(aucs)), low=low, high=high, seeds=len(aucs))
        )
        for number, scores in enumerate(of_seeds):
            name = f"s{test_on}{number or ''}"
            cells.append(
                CellFile(
                    detector="npr",
                    train_on="a",
                    test_on=test_on,
                    degradation="none",
                    seed=number,
                    state="done",
                    model="m",
                    scores=name,
                    train_data=data,
                    test_data=data,
                    **counted,
                )
            )
            if keep:
                store.save_scores(name, scores)
    rows.append(without_number("npr", "a", "z", "failed" if keep else "planned", "why"))
    write_matrix(rows, store.matrix_file)
    store.save_text(
        folder / "study.toml",
        f'name = "{folder.name}"\nseed = {seed}\n[budget]\ntrials = {setting}\n',
    )
    if keep:
        store.save_text(folder / "cells.csv", csv_text(cells))
    return folder


def diff(first: Path, second: Path):
    return compare_versions(
        *(open_version(str(folder), Path("nowhere")) for folder in (first, second))
    )


@pytest.mark.parametrize("images_a_group", [1, 5])
def test_the_cell_that_moved_is_told_from_those_that_did_not(
    tmp_path: Path, images_a_group: int
) -> None:
    before, after = logits(), logits(better=0.5, fresh=1)
    found = diff(
        write(tmp_path / "x", before, group=images_a_group),
        write(tmp_path / "y", after, group=images_a_group),
    )
    changes = {change.place[2]: change for change in found.changes}
    assert {name: change.verdict for name, change in changes.items()} == {
        "a": Verdict.NOT_MORE,
        "b": Verdict.MORE_THAN_NOISE,
        "c": Verdict.NOT_MORE,
    }
    for name, change in changes.items():
        old, new = made(name, before[name], images_a_group=images_a_group), made(name, after[name])
        assert change.second - change.first == pytest.approx(
            roc_auc_score(new.label, new.logit) - roc_auc_score(old.label, old.logit), abs=1e-12
        )
        assert change.finding.value == pytest.approx(change.second - change.first, abs=1e-12)
        # one part for each side, as of independent training samples
        assert change.finding.training == pytest.approx(2e-5)
        if images_a_group == 1:
            sides = [placements(one.label, one.logit) for one in (new, old)]
            variance = sum((a - b).var(ddof=1) / len(a) for a, b in zip(*sides, strict=True))
            assert change.finding.images == pytest.approx(variance)
            degrees = (variance + 2e-5) ** 2 / (
                2e-11
                + sum(
                    ((a - b).var(ddof=1) / len(a)) ** 2 / (len(a) - 1)
                    for a, b in zip(*sides, strict=True)
                )
            )
            t = abs(change.finding.value) / math.sqrt(variance + 2e-5)
            assert change.finding.p == pytest.approx(2 * stats.t(degrees).sf(t))
    assert [c.p_holm for c in found.changes] == pytest.approx(
        holm([c.finding.p for c in found.changes])
    )


def test_pairing_finds_what_two_intervals_cannot(tmp_path: Path) -> None:
    """The same small step on the same images: paired it is far beyond noise, and by the two
    intervals it is not.
    """
    before, after = logits(), logits(better=0.2, fresh=1)
    with_scores = diff(write(tmp_path / "x", before), write(tmp_path / "y", after))
    lost = write(tmp_path / "z", after)
    for file in (lost / "scores").iterdir():
        file.unlink()
    without = diff(tmp_path / "x", lost)
    b = {
        name: next(c for c in found.changes if c.place[2] == "b")
        for name, found in (("paired", with_scores), ("not", without))
    }
    assert b["paired"].verdict is Verdict.MORE_THAN_NOISE
    assert b["not"].verdict is Verdict.NOT_MORE and b["not"].finding.how == BY_INTERVALS
    old, new = (made("b", found["b"]) for found in (before, after))
    ends = [
        (roc_auc_score(s.label, s.logit), *delong_interval(s.label, [s.logit])) for s in (old, new)
    ]
    (was, was_low, was_high), (now, low, high) = ends
    found = b["not"].finding
    assert found.value == pytest.approx(now - was) and found.value > 0
    # MOVER: each side's own reach
    assert found.low == pytest.approx(found.value - math.hypot(now - low, was_high - was))
    assert found.high == pytest.approx(found.value + math.hypot(high - now, was - was_low))
    expected = 2 * stats.norm.sf(
        found.value / (math.hypot(now - low, was_high - was) / stats.norm.ppf(0.975))
    )
    assert found.p == pytest.approx(expected)
    assert with_scores.data_known


def test_the_same_store_is_the_same(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", logits())
    found = diff(folder, folder)
    assert {c.finding.how for c in found.changes} == {SAME}
    assert {c.verdict for c in found.changes} == {Verdict.SAME}
    assert found.settings == () and found.data == () and found.only_first == found.only_second == ()


def test_classifiers_without_a_picture_are_no_cells(tmp_path: Path) -> None:
    """Their AUCs are the audit's: they enter neither the count nor Holm's family."""
    folders = [write(tmp_path / "x", logits()), write(tmp_path / "y", logits(better=0.5, fresh=1))]
    expected = diff(*folders)
    for folder in folders:
        store = Store(folder.parent, folder.name)
        plain = read_matrix(store.matrix_file)
        write_matrix(
            [*plain, *(row(name, "(none)", "b", 0.6, low=0.59, high=0.61) for name in SHORTCUTS)],
            store.matrix_file,
        )
    # NaN is not equal to itself
    assert repr(diff(*folders)) == repr(expected) and len(expected.changes) == 3


def test_what_only_one_has_and_what_was_set_otherwise(tmp_path: Path) -> None:
    before, after = logits(), {k: v for k, v in logits().items() if k != "c"}
    found = diff(
        write(tmp_path / "x", before), write(tmp_path / "y", after, setting=9, data="other")
    )
    assert [place[2] for place in found.only_first] == ["c"] and found.only_second == ()
    assert (
        found.settings == (("name", "x", "y"), ("budget.trials", "3", "9")) and not found.seed_only
    )
    assert found.data == (("a", "train and val"), ("a", "test"), ("b", "test"))
    assert found.states == ((("npr", "a", "z", "none"), "failed", "failed"),)


def test_a_changed_test_set_is_compared_on_the_images_in_common(tmp_path: Path) -> None:
    first, second = (
        write(tmp_path / "x", logits()),
        write(tmp_path / "y", logits(better=0.5, fresh=1)),
    )
    store = Store(tmp_path, "y")
    whole = store.scores("sb")
    half = {
        name: getattr(whole, name)[: N // 2]
        for name in ("sample_id", "group", "unit", "method", "label", "logit")
    }
    store.save_scores("sb", Scores(**half, listed=N // 2))
    flipped = store.scores("sc")
    store.save_scores("sc", replace(flipped, label=(1 - flipped.label).astype(np.uint8)))
    changes = {change.place[2]: change for change in diff(first, second).changes}
    assert f"on the {N // 2} images that both scored" in changes["b"].note
    assert changes["c"].finding.how == BY_INTERVALS and "another label" in changes["c"].note


def test_what_cannot_be_tested_is_counted_for_itself(tmp_path: Path) -> None:
    """All fakes of one group: no test, and so neither moved nor "not more than noise"."""
    first, second = (
        write(tmp_path / "x", logits()),
        write(tmp_path / "y", logits(better=0.5, fresh=1)),
    )
    for name in ("x", "y"):
        store = Store(tmp_path, name)
        scores = store.scores("sc")
        store.save_scores(
            "sc", replace(scores, group=np.where(scores.label == 1, "one", scores.group))
        )
    found = diff(first, second)
    words = as_text(found)
    assert f"  1 {Verdict.MORE_THAN_NOISE.value}\n" in words
    assert f"1 {Verdict.NOT_MORE.value}\n  1 cannot be tested\n\n" in words
    assert (
        "npr @ a -> c" in words.split("cannot be tested:")[1]
        and "a class comes from one group" in words
    )
    assert [cell["untested"] for cell in json.loads(as_json(found))["cells"]] == [
        False,
        False,
        True,
    ]


def test_a_change_is_more_than_noise_only_if_training_does_not_explain_it_either(
    tmp_path: Path,
) -> None:
    """The same change on b: of models that hardly vary, of models that vary by .1 from one training
    sample to the next, and of models of which that is not known.
    """
    parts = {
        "steady": (SMALL, Verdict.MORE_THAN_NOISE),
        "shaky": (Part(variance=0.01, doubt=0.00001), Verdict.NOT_MORE),
        "unknown": (None, Verdict.NOT_COUNTED),
    }
    for name, (training, verdict) in parts.items():
        first = write(tmp_path / f"{name} x", logits(), training=training)
        second = write(tmp_path / f"{name} y", logits(better=0.5, fresh=1), training=training)
        found = diff(first, second)
        change = next(c for c in found.changes if c.place[2] == "b")
        assert change.verdict is verdict
        alike = sum(c.verdict is verdict for c in found.changes)
        assert f"  {alike} {verdict.value}\n" in as_text(found)
        (cell,) = (c for c in json.loads(as_json(found))["cells"] if c["test_on"] == "b")
        assert cell["moved"] == (verdict is Verdict.MORE_THAN_NOISE)
        assert cell["training_counted"] == (training is not None)
        assert (cell["verdict"], cell["p_holm"]) == (verdict.value, change.p_holm)
    alone = diff(first, write(tmp_path / "z", logits(better=0.5, fresh=1), keep=False))
    # of a matrix alone it is not known what its intervals count
    assert {c.verdict for c in alone.changes} == {Verdict.NOT_COUNTED} and not alone.data_known


def test_row_2_what_moved_moved_in_the_matrix_too(tmp_path: Path) -> None:
    """Three seeds that err alike before, and each for itself after: every one of them is worse, and
    their mean logit is better. That was called a gain, "more than noise".
    """
    rng, fake = np.random.default_rng(2), np.arange(N) % 2
    common = rng.normal(size=N)
    before = [{"b": common + 1.0 * fake} for _ in range(3)]
    after = [{"b": 1.4 * rng.normal(size=N) + 1.1 * fake} for _ in range(3)]
    ensemble = [
        roc_auc_score(fake, np.mean([one["b"] for one in side], axis=0)) for side in (before, after)
    ]
    assert ensemble[1] > ensemble[0] + 0.02
    (change,) = diff(write(tmp_path / "x", *before), write(tmp_path / "y", *after)).changes
    assert change.second < change.first - 0.02
    assert change.finding.value == pytest.approx(change.second - change.first)
    assert change.finding.value < 0 and change.finding.low < 0
    assert not (change.verdict is Verdict.MORE_THAN_NOISE and change.finding.low > 0)


def test_two_studies_that_differ_in_the_seed_only_are_said_to(tmp_path: Path) -> None:
    first = write(tmp_path / "x", logits(fresh=1))
    reseeded, other = (
        write(tmp_path / "y", logits(fresh=2), seed=1),
        write(tmp_path / "z", logits(fresh=2), seed=1, setting=9),
    )
    assert diff(first, reseeded).seed_only and "The study files differ in the seed only" in as_text(
        diff(first, reseeded)
    )
    for second in (first, other, write(tmp_path / "u", logits(fresh=2), seed=1, data="other")):
        assert not diff(first, second).seed_only and "in the seed only" not in as_text(
            diff(first, second)
        )


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (
        write(tmp_path / "x", logits()),
        write(tmp_path / "y", logits(better=0.5, fresh=1), setting=4),
    )
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "study.toml").write_bytes((second / "study.toml").read_bytes())
    (packed / "matrix.csv.gz").write_bytes(gzip.compress((second / "matrix.csv").read_bytes()))
    assert ls.main(["diff", "x", str(second), "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert (
        f"1 {Verdict.MORE_THAN_NOISE.value}" in shown
        and "npr @ a -> b" in shown
        and "budget.trials: 3 -> 4" in shown
    )
    assert ls.main(["diff", str(first), str(packed), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [c["test_on"] for c in found["cells"] if c["p_holm"] < 0.05] == ["b"]
    assert not any(c["moved"] for c in found["cells"]) and found["data"] is None
    for words, error, message in (
        (["diff", "x"], ConfigError, "diff takes two"),
        (["runs", "x"], ConfigError, "every other listing none"),
        (["diff", "x", "yy", "--results", str(tmp_path)], StoreError, "did you mean 'y'"),
        (["diff", "x", "empty", "--results", str(tmp_path)], StoreError, "has no matrix.csv"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(error, match=message):
            ls.main(words)

"""Cells with leaked images: both numbers in the matrix and below the table, and what counts as another domain."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from study import cross_eval, sweep
from study.data.leaks import Leak, Leaks
from study.planning import cells
from study.planning.cells import PlannedCell, matrix_rows
from study.planning.comparisons import compare_scores
from study.planning.leakage import Leakage
from study.records import Cell, MatrixRow, Pairing, Scores
from study.reporting.grid import pick
from study.reporting.matrix_csv import read_matrix, write_matrix
from study.reporting.summary import summary_lines, summary_of
from study.reporting.tables import markdown_tables, text_table
from tests.data.test_near import scene
from tests.factories import write_image
from tests.reporting.synthetic_matrix import row

PAIRING = Pairing(detector="npr", train_on="a")
LEAKED = [f"b/{i:03d}.png" for i in range(0, 60, 4)]


def scored(seed: int, frames: int = 1) -> Scores:
    rng = np.random.default_rng(seed)
    ids = np.array([f"b/{i:03d}.png" for i in range(120)])
    label = (np.arange(120) // frames % 2).astype(np.uint8)
    unit = np.array([f"video {i // frames:03d}" for i in range(120)])
    logit = (rng.normal(size=120) + label + 6 * np.isin(ids, LEAKED) * (label - 0.5)).astype(np.float32)
    method = np.array(["real", "fake"])[label]
    return Scores(sample_id=ids, group=unit, unit=unit, method=method, label=label, logit=logit, listed=120)


def leaks_of(ids: list[str], label: list[int]) -> Leaks:
    found = tuple(
        Leak(image=i, source="a/x.png", kind="near", label=y, bits=2, correlation=0.99) for i, y in zip(ids, label, strict=True)
    )
    return Leaks(images="b", image_splits=("test",), source="a", source_splits=("train", "val"), real=60, fake=60, found=found)


def rows_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ids: list[str], *, frames: int = 1, related: bool = False
) -> list[MatrixRow]:
    """The matrix of one cell of two seeds in which some images leak, without a study around it."""
    monkeypatch.setattr(cells, "test_content", lambda setup, test_on: test_on)
    store = SimpleNamespace(scores=lambda key: scored(int(key), frames))
    workspace = SimpleNamespace(data=SimpleNamespace(cache=tmp_path / "cache"))
    study = SimpleNamespace(seed=0, pairings=lambda: [PAIRING], test_on=("b",))
    planned = []
    for seed in (0, 1):
        cell = Cell(pairing=PAIRING, winner_seed=seed, test_on="b", degradation="none", state="done", scores_key=str(seed))
        winner = SimpleNamespace(winner_seed=seed, thresholds={"fixed": 0.0}, temperature=1.0)
        planned.append(PlannedCell(cell=cell, winner=cast(Any, winner), job=None))
    one = scored(0, frames)
    found = leaks_of(ids, one.label[np.isin(one.sample_id, ids)].tolist())
    leakage = Leakage(leaks={("a", "b"): found}, related={("a", "b"): found} if related else {})
    return matrix_rows(cast(Any, SimpleNamespace(store=store, study=study, workspace=workspace)), planned, leakage)


def test_a_cell_stands_with_and_without_its_leaked_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = rows_with(monkeypatch, tmp_path, LEAKED)
    found = {(r.level, r.seed, r.metric, r.threshold): r for r in rows}
    for seed in (0, 1):
        one = scored(seed)
        kept = ~np.isin(one.sample_id, LEAKED)
        assert found["image", str(seed), "auc", ""].estimate.value == pytest.approx(roc_auc_score(one.label, one.logit))
        left = found["image:without_leaks", str(seed), "auc", ""].estimate
        assert left.value == pytest.approx(roc_auc_score(one.label[kept], one.logit[kept]))
        assert (left.n_real, left.n_fake) == (60 - len(LEAKED), 60)
    assert {(r.metric, r.threshold) for r in rows if r.level == "image"} == {
        (r.metric, r.threshold) for r in rows if r.level == "image:without_leaks"
    }
    write_matrix(rows, tmp_path / "matrix.csv")
    assert {r.level for r in read_matrix(tmp_path / "matrix.csv")} == {"image", "image:without_leaks"}


def test_the_tables_show_both_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = rows_with(monkeypatch, tmp_path, LEAKED)
    means = {r.level: r.estimate.value for r in rows if (r.seed, r.metric) == ("mean", "auc")}
    assert means["image:without_leaks"] < means["image"] - 0.01
    for text in (text_table(rows, "npr", width=400), markdown_tables(rows)):
        line = next(line for line in text.splitlines() if "leak from training" in line)
        assert line.startswith("(1) with the 15 test images that leak from training ")
        assert f" {means['image']:.3f} [" in line
        assert f", without {means['image:without_leaks']:.3f} [" in line
        assert line.strip().endswith("on 45 real / 60 fake")


def test_units_are_made_of_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = rows_with(monkeypatch, tmp_path, [f"b/{i:03d}.png" for i in (0, 1, 2, 3, 4, 8)], frames=4)
    counts = {r.level: (r.estimate.n_real, r.estimate.n_fake) for r in rows if (r.seed, r.metric) == ("mean", "auc")}
    assert counts == {"image": (60, 60), "unit": (15, 15), "image:without_leaks": (55, 59), "unit:without_leaks": (14, 15)}


def test_a_test_set_that_leaks_altogether_is_undefined_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = rows_with(monkeypatch, tmp_path, [f"b/{i:03d}.png" for i in range(120)])
    left = [r for r in rows if r.level == "image:without_leaks"]
    assert left
    ranked = [r.estimate for r in left if r.metric in ("auc", "ap", "nll", "accuracy")]
    assert all(np.isnan(e.value) and e.reason == "no images" for e in ranked)
    assert "without undefined (no images) on 0 real / 0 fake" in text_table(rows, "npr", width=400)


def test_common_images_make_a_cell_neither_in_domain_nor_cross_domain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = rows_with(monkeypatch, tmp_path, LEAKED, related=True)
    shared = next(r for r in rows if r.metric == "shared_images")
    assert (shared.level, shared.estimate.value) == ("dataset", len(LEAKED) / 60)
    rows += [row(train_on="a", test_on="a", value=0.9), row(train_on="a", test_on="c", value=0.7)]
    summary = summary_of(pick(rows, "npr", "auc"))
    assert (summary.in_domain_mean, summary.cross_domain_mean) == (0.9, 0.7)
    assert (summary.n_in_domain, summary.n_cross_domain, summary.n_shared) == (1, 1, 1)
    assert "in neither mean: 1 with images of the training set" in " ".join(summary_lines(pick(rows, "npr", "auc")))
    assert "not cross-domain: b: 25.0 % of test reals (15 of 60) have a near duplicate in train+val of a" in text_table(
        rows, "npr", width=400
    )


def test_comparisons_leave_such_cells_out_of_their_means() -> None:
    scores = []
    for detector, place in (("npr", 0), ("spectrum", 1)):
        for number, test_on in enumerate(("b", "c")):
            scores.append((test_on, Pairing(detector=detector, train_on="a"), scored(10 * place + number)))
    assert compare_scores(scores, len).cells == (("a", "b"), ("a", "c"))
    left = compare_scores(scores, len, related=[("a", "b")])
    assert left.cells == (("a", "c"),)
    expected = {d: roc_auc_score(s.label, s.logit) for t, p, s in scores if t == "c" for d in (p.detector,)}
    assert dict(left.cross_domain) == pytest.approx(expected)


def write_split(folder: Path, split: str, seeds: range) -> None:
    for label, word in enumerate(("real", "fake")):
        for seed in seeds:
            pixels = scene(2 * seed + label, 32)
            if label:
                pixels = np.clip(pixels.astype(int) + 10 * (np.indices((32, 32)).sum(0) % 2 * 2 - 1)[:, :, None], 0, 255)
            write_image(folder / split / word / f"{seed:04d}.png", pixels.astype(np.uint8))


def test_a_planted_leak_is_reported_with_its_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training images in the test set, re-encoded and resized, by the commands themselves."""
    folder = tmp_path / "data" / "planted"
    for split, seeds in (("train", range(40)), ("val", range(40, 56)), ("test", range(56, 76))):
        write_split(folder, split, seeds)
    for seed, name in ((1, "again.jpg"), (2, "smaller.png")):
        with Image.open(folder / "train" / "fake" / f"{seed:04d}.png") as image:
            copy = image if name.endswith("jpg") else image.resize((24, 24), Image.Resampling.BICUBIC)
            copy.save(folder / "test" / "fake" / name, **({"quality": 85} if name.endswith("jpg") else {}))
    study = tmp_path / "leak.toml"
    study.write_text(
        f'name = "leak"\ndetectors = ["spectrum"]\ntrain_on = ["planted"]\n[budget]\ntrials = 1\nepochs = 2\nseeds = 1\n'
        f'[detector.spectrum]\nsize_px = 32\n[data]\nroot = "{folder.parent}"\n',
        encoding="utf-8",
    )
    arguments = [str(study), "--results", str(tmp_path / "results"), "--local"]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    rows = read_matrix(tmp_path / "results" / "leak" / "matrix.csv")
    counts = {
        r.level: (r.estimate.n_real, r.estimate.n_fake)
        for r in rows
        if (r.detector, r.seed, r.metric) == ("spectrum", "mean", "auc")
    }
    assert counts == {"image": (20, 22), "image:without_leaks": (20, 20)}
    printed = " ".join(capsys.readouterr().out.split())
    assert "with the 2 test images that leak from training" in printed
    assert "on 20 real / 20 fake" in printed

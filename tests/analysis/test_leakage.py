"""Cells with leaked images: both numbers in the matrix and below the table, and what counts as
another domain.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from study import cross_eval, sweep
from study.analysis.calibrations import Calibrations
from study.analysis.cell_rows import cell_rows
from study.analysis.comparisons import compare_detectors
from study.analysis.leak_price import KeptEpochs, leak_prices
from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.results import ResultRow
from study.analysis.results_csv import read_matrix, write_matrix
from study.analysis.score_set import ScoreSet
from study.analysis.selection_gap import selection_gaps
from study.analysis.significance import Verdict
from study.analysis.tuning import contrasts
from study.core.records import Pairing, Scores
from study.data.leaks.find import Leak, Leaks
from study.planning.cells import PlannedCell
from study.planning.variants import DEFAULT
from study.render.answer import answer
from study.render.comparisons import comparisons_csv, comparisons_markdown
from study.render.grid import pick
from study.render.leak_price import markdown_prices, price_line
from study.render.selection_gap import gap_line, markdown_gaps
from study.render.summary import summary_cells, summary_lines, summary_of
from study.render.tables import markdown_tables, text_table
from study.render.tuning import tuning_line, tuning_markdown
from tests.analysis.score_sets import clean_cell, score_set
from tests.data.leaks.pictures import scene
from tests.factories import write_image
from tests.render.synthetic_matrix import results, row

PAIRING = Pairing(detector="npr", train_on="a")
LEAKED = [f"b/{i:03d}.png" for i in range(0, 60, 4)]


def scored(seed: int, frames: int = 1) -> Scores:
    rng = np.random.default_rng(seed)
    ids = np.array([f"b/{i:03d}.png" for i in range(120)])
    label = (np.arange(120) // frames % 2).astype(np.uint8)
    unit = np.array([f"video {i // frames:03d}" for i in range(120)])
    logit = (rng.normal(size=120) + label + 6 * np.isin(ids, LEAKED) * (label - 0.5)).astype(
        np.float32
    )
    method = np.array(["real", "fake"])[label]
    return Scores(
        sample_id=ids, group=unit, unit=unit, method=method, label=label, logit=logit, listed=120
    )


def leaks_of(ids: list[str], label: list[int]) -> Leaks:
    found = tuple(
        Leak(image=i, source="a/x.png", kind="near", label=y, source_label=y, correlation=0.99)
        for i, y in zip(ids, label, strict=True)
    )
    return Leaks(
        images="b",
        image_splits=("test",),
        source="a",
        source_splits=("train", "val"),
        real=60,
        fake=60,
        found=found,
    )


def cells_with(
    ids: list[str], frames: int = 1, *, related: bool = False, train_on: str = "a"
) -> tuple[ScoreSet, list[PlannedCell]]:
    """One cell of two seeds in which some images leak, without a study around it."""
    pairing = Pairing(detector="npr", train_on=train_on)
    scores, cells = score_set(
        [("b", pairing, scored(seed, frames), seed) for seed in (0, 1)],
        leakage=leakage_with(ids, frames, related=related, train_on=train_on),
    )
    winners = [
        SimpleNamespace(
            key=str(s), winner_seed=s, thresholds={"fixed": 0.0}, temperature=1.0, val_auc=0.9
        )
        for s in (0, 1)
    ]
    return scores, [
        PlannedCell(cell=cell, winner=cast(Any, winner), job=None)
        for cell, winner in zip(cells, winners, strict=True)
    ]


def rows_with(
    tmp_path: Path,
    ids: list[str],
    *,
    frames: int = 1,
    related: bool = False,
    train_on: str = "a",
) -> list[ResultRow]:
    """The matrix of that cell."""
    scores, planned = cells_with(ids, frames, related=related, train_on=train_on)
    store = cast(Any, SimpleNamespace(val_scores=lambda key: scored(int(key) + 2, frames)))
    cache = tmp_path / "cache"
    return cell_rows(scores, planned, cache=cache, calibrations=Calibrations(store))


def leakage_with(
    ids: list[str], frames: int = 1, *, related: bool = False, train_on: str = "a"
) -> Leakage:
    one = scored(0, frames)
    found = leaks_of(ids, one.label[np.isin(one.sample_id, ids)].tolist())
    return Leakage(
        leaks={(train_on, "b"): found}, related={(train_on, "b"): found} if related else {}
    )


def test_a_cell_stands_with_and_without_its_leaked_images(tmp_path: Path) -> None:
    rows = rows_with(tmp_path, LEAKED)
    found = {(r.level, r.leak_free, r.seed, r.metric, r.threshold): r for r in rows}
    for seed in (0, 1):
        one = scored(seed)
        kept = ~np.isin(one.sample_id, LEAKED)
        assert found["image", False, str(seed), "auc", ""].estimate.value == pytest.approx(
            roc_auc_score(one.label, one.logit)
        )
        left = found["image", True, str(seed), "auc", ""].estimate
        assert left.value == pytest.approx(roc_auc_score(one.label[kept], one.logit[kept]))
        assert (left.n_real, left.n_fake) == (60 - len(LEAKED), 60)
    assert {(r.metric, r.threshold) for r in rows if not r.leak_free} == {
        (r.metric, r.threshold) for r in rows if r.leak_free
    }
    write_matrix(rows, tmp_path / "matrix.csv")
    assert {(r.level, r.leak_free) for r in read_matrix(tmp_path / "matrix.csv")} == {
        ("image", False),
        ("image", True),
    }


def test_the_tables_show_both_numbers(tmp_path: Path) -> None:
    rows = rows_with(tmp_path, LEAKED)
    means = {r.leak_free: r.estimate.value for r in rows if (r.seed, r.metric) == ("mean", "auc")}
    assert means[True] < means[False] - 0.01
    for text in (text_table(results(rows), "npr", width=400), markdown_tables(results(rows))):
        line = next(line for line in text.splitlines() if "leak from training" in line)
        assert line.startswith("(2) with the 15 test images that leak from training ")
        assert "(1) interval of the test images alone: the training sample is not counted" in text
        assert f" {means[False]:.3f} [" in line
        assert f", without {means[True]:.3f} [" in line
        assert line.strip().endswith("on 45 real / 60 fake")
        assert "Not found: smaller crops, other turns, other colours" in text
    assert "not found" not in text_table(results([row()]), "npr", width=400)


def test_units_are_made_of_what_is_left(tmp_path: Path) -> None:
    rows = rows_with(tmp_path, [f"b/{i:03d}.png" for i in (0, 1, 2, 3, 4, 8)], frames=4)
    counts = {
        (r.level, r.leak_free): (r.estimate.n_real, r.estimate.n_fake)
        for r in rows
        if (r.seed, r.metric) == ("mean", "auc")
    }
    assert counts == {
        ("image", False): (60, 60),
        ("unit", False): (15, 15),
        ("image", True): (55, 59),
        ("unit", True): (14, 15),
    }


def test_a_test_set_that_leaks_altogether_is_undefined_without(tmp_path: Path) -> None:
    rows = rows_with(tmp_path, [f"b/{i:03d}.png" for i in range(120)])
    left = [r for r in rows if r.leak_free]
    assert left
    ranked = [r.estimate for r in left if r.metric in ("auc", "ap", "nll", "accuracy")]
    assert all(np.isnan(e.value) and e.reason == "no images" for e in ranked)
    assert "without undefined (no images) on 0 real / 0 fake" in text_table(
        results(rows), "npr", width=400
    )


def test_common_images_make_a_cell_neither_in_domain_nor_cross_domain(tmp_path: Path) -> None:
    rows = rows_with(tmp_path, LEAKED, related=True)
    shared = leakage_with(LEAKED, related=True).pair("a", "b")
    assert (shared.domain, shared.overlap, shared.leaked) == ("neither", len(LEAKED) / 60, 15)
    assert (shared.n_real, shared.n_fake) == (60, 60)
    assert {r.domain for r in rows} == {"neither"}
    rows += [row(train_on="a", test_on="a", value=0.9), row(train_on="a", test_on="c", value=0.7)]
    found = results(rows, pairs=(shared,))
    summary = summary_of(pick(found, "npr", "auc"))
    assert (summary.in_domain_mean, summary.cross_domain_mean) == (0.9, 0.7)
    assert (summary.n_in_domain, summary.n_cross_domain, summary.n_shared) == (1, 1, 1)
    assert "in neither mean: 1 with images of the training set" in " ".join(
        summary_lines(pick(found, "npr", "auc"))
    )
    assert (
        "not cross-domain: b: 25.0 % of test reals (15 of 60) have a near duplicate in train+val"
        " of a" in text_table(found, "npr", width=400)
    )


def test_a_leak_marks_the_cell_that_it_touches_and_no_other(tmp_path: Path) -> None:
    rows = rows_with(tmp_path, LEAKED)
    leakage = leakage_with(LEAKED)
    rows += [row(train_on="a", test_on="c", value=0.7)]
    found = results(rows, pairs=(leakage.pair("a", "b"), leakage.pair("a", "c")))
    assert "such as 'b/000.png' (as 'a/x.png')" in found.leaks()["a", "b"]
    assert not found.leaks()["a", "c"] and found.warnings() == {}
    (line,) = [x for x in text_table(found, "npr", width=400).splitlines() if x.startswith("a ")]
    assert line.count("!") == 1 and line.index("!") < line.index("0.700")


def test_comparisons_leave_such_cells_out_of_their_means() -> None:
    scores = []
    for detector, place in (("npr", 0), ("spectrum", 1)):
        for number, test_on in enumerate(("b", "c")):
            scores.append(
                (test_on, Pairing(detector=detector, train_on="a"), scored(10 * place + number), 0)
            )
    assert compare_detectors(*score_set(scores)).cells == (("a", "b"), ("a", "c"))
    related = Leakage(related={("a", "b"): leaks_of([], [])})
    left = compare_detectors(*score_set(scores, leakage=related))
    assert left.cells == (("a", "c"),)
    expected = {
        d: roc_auc_score(s.label, s.logit)
        for t, p, s, _ in scores
        if t == "c"
        for d in (p.detector,)
    }
    assert dict(left.cross_domain) == pytest.approx(expected)


def test_the_summary_has_both_numbers(tmp_path: Path) -> None:
    """Two in-domain cells, of which one leaks: the means by hand, and nothing more where nothing
    leaks.
    """
    rows = rows_with(tmp_path, LEAKED, train_on="b")
    rows += [row(train_on="b", test_on="c", value=0.6)]
    means = {
        r.leak_free: r.estimate.value
        for r in rows
        if (r.test_on, r.seed, r.metric) == ("b", "mean", "auc")
    }
    lines = summary_lines(pick(results(rows), "npr", "auc"))
    assert lines[0].startswith(f"in-domain mean {means[False]:.3f}")
    clean = means[True]
    assert lines[2].startswith(
        f"without leaked images: in-domain mean {clean:.3f}, cross-domain mean 0.600, gap"
        f" {clean - 0.6:.3f}"
    )
    cells = summary_cells(pick(results(rows), "npr", "auc"))
    assert (
        cells[0] == f"{means[False]:.3f}; without leaked images {clean:.3f}" and cells[1] == "0.600"
    )
    assert all("leak" not in cell for cell in summary_cells(pick(results([row()]), "npr", "auc")))


def test_the_selection_gap_is_of_images_that_training_has_not_seen() -> None:
    (gap,) = selection_gaps(*cells_with(LEAKED, train_on="b"))
    expected = []
    for seed in (0, 1):
        one = scored(seed)
        kept = ~np.isin(one.sample_id, LEAKED)
        expected.append(0.9 - roc_auc_score(one.label[kept], one.logit[kept]))
    assert (gap.gap, gap.leaked, gap.kept) == (pytest.approx(np.mean(expected)), 15, False)
    assert "| 15 left out |" in markdown_gaps([gap]) and "leaked images left out" in gap_line(
        [gap], "npr"
    )
    scores, cells = cells_with([f"b/{i:03d}.png" for i in range(120)], train_on="b")
    (gap,) = selection_gaps(scores, cells[:1])
    assert gap.kept and gap.test_auc == pytest.approx(
        roc_auc_score(scored(0).label, scored(0).logit)
    )
    assert "120 kept: a class is gone without" in markdown_gaps([gap])


def test_tuned_minus_default_is_of_images_that_training_has_not_seen() -> None:
    store = cast(Any, SimpleNamespace(failures=dict, has_model=lambda key: False))
    job = SimpleNamespace(winner_seed=0, trial=SimpleNamespace(key="none"))
    variant = cast(Any, SimpleNamespace(pairing=PAIRING, source=DEFAULT, jobs=[job]))
    label = scored(0).label[np.isin(scored(0).sample_id, LEAKED)].tolist()
    leakage = Leakage(leaks={("a", "b"): leaks_of(LEAKED, label)})
    for known, ids in ((leakage, LEAKED), (NO_LEAKS, [])):
        scores, cells = score_set(
            [("b", PAIRING, scored(first + seed), seed) for first in (0, 10) for seed in (0, 1)],
            leakage=known,
        )
        planned = [PlannedCell(cell=cell, winner=None, job=None) for cell in cells]
        made = contrasts(scores, store, planned[:2], [(variant, planned[2:])])
        (found,) = (c for c in made if c.test_on == "b")
        kept = ~np.isin(scored(0).sample_id, ids)
        aucs = {
            key: roc_auc_score(scored(key).label[kept], scored(key).logit[kept])
            for key in (0, 1, 10, 11)
        }
        assert found.tuned == pytest.approx(
            (aucs[0] + aucs[1]) / 2
        ) and found.other == pytest.approx((aucs[10] + aucs[11]) / 2)
        assert found.finding.value == pytest.approx(found.tuned - found.other)
        assert found.finding.images > 0 and found.verdict is Verdict.NOT_COUNTED
        assert (found.leaked, found.kept) == (len(ids), False)
        assert (
            ("| 15 left out |" in tuning_markdown([found]))
            == ("leaked images left out" in tuning_line([found], "npr"))
            == bool(ids)
        )


def test_the_leak_price_is_of_images_that_training_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three epochs of one winner, the second selected: by hand, with and without the leaked
    images.
    """
    job = cast(Any, SimpleNamespace(epochs=(0, 2), scores_key=str, is_done=lambda: True))
    kept_by = KeptEpochs(cell=clean_cell(PAIRING, "b", 0, "1"), selected=1, job=job)
    reals = scored(0).sample_id[scored(0).label == 0].tolist()
    for ids, leaked, kept in (([], [], False), (LEAKED, LEAKED, False), (reals, [], True)):
        label = scored(0).label[np.isin(scored(0).sample_id, ids)].tolist()
        leakage = Leakage(leaks={("a", "b"): leaks_of(ids, label)}) if ids else NO_LEAKS
        scores, _ = score_set([("b", PAIRING, scored(e), e) for e in range(3)], leakage=leakage)
        (price,) = leak_prices(scores, [kept_by])
        inside = ~np.isin(scored(0).sample_id, leaked)
        aucs = [
            roc_auc_score(scored(epoch).label[inside], scored(epoch).logit[inside])
            for epoch in range(3)
        ]
        assert (price.honest, price.claimed) == pytest.approx((aucs[1], max(aucs)))
        assert price.epochs == ((1, int(np.argmax(aucs))),)
        assert (price.leaked, price.kept) == (len(ids), kept)
        said = f"| {len(ids)} {'kept: a class is gone without' if kept else 'left out'} |"
        assert (said in markdown_prices([price])) == bool(ids)
        line = f", leaked images {'kept where a class is gone without' if kept else 'left out'}"
        assert price_line([price], "npr").endswith(line) == bool(ids)


def test_comparisons_say_which_cells_hold_leaked_images() -> None:
    pairs = [
        ("b", Pairing(detector=d, train_on="a"), scored(seed), 0)
        for seed, d in enumerate(("npr", "spectrum"))
    ]
    found = compare_detectors(*score_set(pairs))
    assert "leak" not in comparisons_markdown(found) + comparisons_csv(found)
    found = replace(found, leaked={("a", "b"): 15})
    sentence = (
        "Test images that leak from training are in these comparisons: a -> b (15); 1 of the"
        " cross-domain cells."
    )
    assert sentence in answer(found) and sentence in comparisons_markdown(found)
    assert comparisons_markdown(found).rstrip().endswith("| 15 of its images leak from training |")
    # the cell, and the mean that it is in
    assert comparisons_csv(found).count("15 of its images leak from training") == 2


def write_split(folder: Path, split: str, seeds: range) -> None:
    for label, word in enumerate(("real", "fake")):
        for seed in seeds:
            pixels = scene(2 * seed + label, 32)
            if label:
                pixels = np.clip(
                    pixels.astype(int) + 10 * (np.indices((32, 32)).sum(0) % 2 * 2 - 1)[:, :, None],
                    0,
                    255,
                )
            write_image(folder / split / word / f"{seed:04d}.png", pixels.astype(np.uint8))


def test_a_planted_leak_is_reported_with_its_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training images in the test set, re-encoded and resized, by the commands themselves."""
    folder = tmp_path / "data" / "planted"
    for split, seeds in (("train", range(40)), ("val", range(40, 56)), ("test", range(56, 76))):
        write_split(folder, split, seeds)
    for seed, name in ((1, "again.jpg"), (2, "smaller.png")):
        with Image.open(folder / "train" / "fake" / f"{seed:04d}.png") as image:
            copy = (
                image if name.endswith("jpg") else image.resize((24, 24), Image.Resampling.BICUBIC)
            )
            copy.save(
                folder / "test" / "fake" / name, **({"quality": 85} if name.endswith("jpg") else {})
            )
    study = tmp_path / "leak.toml"
    study.write_text(
        'name = "leak"\ndetectors = ["spectrum"]\ntrain_on = ["planted"]\n[budget]\ntrials ='
        " 1\nepochs = 2\nseeds = 1\n[detector.spectrum]\nsize_px = 32\n[data]\nroot ="
        f' "{folder.parent}"\n',
        encoding="utf-8",
    )
    arguments = [str(study), "--results", str(tmp_path / "results"), "--local"]
    assert sweep.main(arguments) == 0
    assert cross_eval.main([*arguments, "--full"]) == 0
    rows = read_matrix(tmp_path / "results" / "leak" / "matrix.csv")
    counts = {
        (r.level, r.leak_free): (r.estimate.n_real, r.estimate.n_fake)
        for r in rows
        if (r.detector, r.seed, r.metric) == ("spectrum", "mean", "auc")
    }
    assert counts == {("image", False): (20, 22), ("image", True): (20, 20)}
    printed = " ".join(capsys.readouterr().out.split())
    assert "with the 2 test images that leak from training" in printed
    assert "on 20 real / 20 fake" in printed

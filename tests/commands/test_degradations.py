"""Degraded test sets through `cross_eval`: each image decoded once, the scores of a fresh pack,
states, tables, restarts.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from torch import Tensor

from study import cli, cross_eval, plan, sweep
from study.core.failures import Failure
from study.core.records import NO_DEGRADATION, Scores
from study.data.catalog import Catalog, DataConfig
from study.data.images import videos
from study.data.images.decode import decode_image
from study.detectors.base import Detector
from study.jobs import degraded
from study.jobs.cell import CellJob, load_detector
from study.jobs.workspace import scoring_runtime
from study.planning.cells import PlannedCell, plan_cells
from study.planning.in_process import Estimates
from study.planning.open_study import OpenStudy, open_study
from study.planning.study_file import load_study
from study.runtime.interface import Terms
from study.runtime.local import LocalLauncher
from study.store.store import Store
from study.training.features import compute_features, head_logits
from study.training.score import score
from tests.commands.conftest import StudyRun
from tests.commands.test_study_runs import matrix
from tests.factories import files_of, picture, truncate, write_dataset, write_image

STUDY = """
name = "degraded"
detectors = ["spectrum", "npr", "ensemble"]
train_on = ["alpha"]
test_on = ["alpha", "beta"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 2
[detector.spectrum]
size_px = 32
[detector.npr]
size_px = 48
"""
SUITES = ["default", "genimage", "sidbench"]
MEMBERS = ["jpeg30", "blur1", "blur3", "down0.5", "blur2+jpeg50", "long112", "long64"]
MEMBERS += ["jpeg30+crop5"]
SMALL = 3  # reals of beta's test split that are smaller than 64 pixels


def degraded_by_hand(name: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A few members, by Pillow and scipy themselves."""

    def blur(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
        return np.rint(gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))).astype(
            np.uint8
        )

    def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    steps: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        "jpeg30": lambda image: jpeg(image, 30),
        "blur3": lambda image: blur(image, 3),
        "blur2+jpeg50": lambda image: jpeg(blur(image, 2), 50),
        "down0.5": lambda image: np.asarray(
            Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2))
        ),
    }
    return steps[name](pixels)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets with official splits; alpha has a broken test image, beta three small ones."""
    folder = tmp_path_factory.mktemp("degraded")
    write_dataset(folder / "data" / "alpha", layout="train_valid_test", n=60, size=64, seed=1)
    write_dataset(
        folder / "data" / "beta", layout="train_valid_test", n=60, size=64, seed=2, suffix=".jpg"
    )
    truncate(next(files_of(folder / "data" / "alpha" / "test" / "fake")))
    for number, path in zip(
        range(SMALL), files_of(folder / "data" / "beta" / "test" / "real"), strict=False
    ):
        write_image(path, picture(0, size=56, seed=900 + number))
    path = folder / "degraded.toml"
    path.write_text(f'{STUDY}[data]\nroot = "{folder / "data"}"\n', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def clean(study: Path) -> StudyRun:
    """The study without any degradation."""
    arguments = [str(study), "--results", str(study.parent / "results"), "--local"]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    return StudyRun(arguments, Store(study.parent / "results", "degraded"))


@pytest.fixture(scope="module")
def run(clean: StudyRun) -> StudyRun:
    """The study under some degradations, in a copy of the clean study's store."""
    results = clean.store.results.parent / "degraded"
    shutil.copytree(clean.store.results, results)
    arguments = [
        clean.arguments[0],
        "--results",
        str(results),
        "--local",
        "--degradations",
        *MEMBERS,
    ]
    assert cross_eval.main(arguments) == 0
    return StudyRun(arguments, Store(results, "degraded"))


def setup_of(run: StudyRun, *degradations: str) -> OpenStudy:
    """The study as other code has it, under other degradations where these are given."""
    chosen = load_study(str(run.store.study_file), degradations=degradations or None)
    return open_study(chosen, results=run.store.results, weights_root=None, firewall=False)


def cells_of(setup: OpenStudy) -> dict[tuple[str, str, str, int], PlannedCell]:
    return {
        (c.cell.pairing.detector, c.cell.test_on, c.cell.degradation, c.cell.winner_seed): c
        for c in plan_cells(setup)
    }


@pytest.fixture(scope="module")
def cells(run: StudyRun) -> dict[tuple[str, str, str, int], PlannedCell]:
    return cells_of(setup_of(run))


def scores_of(run: StudyRun, cell: PlannedCell) -> Scores:
    return run.store.scores(cell.cell.scores_key)


def _counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count from now on how often the bytes of each image are decoded."""
    decode, decodes = decode_image, Counter[str]()

    def counted(data: bytes) -> NDArray[np.uint8]:
        decodes[hashlib.sha256(data).hexdigest()] += 1
        return decode(data)

    monkeypatch.setattr(videos, "decode_image", counted)
    return decodes


def test_three_suites_of_two_detectors_and_two_seeds_decode_every_image_once(
    clean: StudyRun, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(clean.store.results, tmp_path / "results")
    setup = setup_of(replace(clean, store=Store(tmp_path / "results", "degraded")), *SUITES)
    decodes = _counted(monkeypatch)
    options = argparse.Namespace(
        local=True, address=None, slots=None, debug=False, results=str(tmp_path / "results")
    )
    estimates = Estimates(setup.jobs, {})  # of a search: this process scores whatever it takes
    answer = cli.answered("cross_eval", options, [])
    cross_eval._score(setup, options, plan_cells(setup), [], estimates, answer)
    files = [
        path
        for name in ("alpha", "beta")
        for path in files_of(study.parent / "data" / name / "test")
    ]
    # the first is broken, and known to be
    usable = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files[1:]}
    assert len(usable) == 2 * 24 - 1
    assert decodes == Counter(dict.fromkeys(usable, 1))
    scored = [
        c.cell
        for c in plan_cells(setup)
        if c.cell.pairing.detector != "ensemble" and c.cell.degradation != NO_DEGRADATION
    ]
    states = Counter(
        (cell.pairing.detector, cell.test_on, cell.winner_seed, cell.state) for cell in scored
    )
    places = [(d, t, s) for d in ("spectrum", "npr") for t in ("alpha", "beta") for s in (0, 1)]
    members = 10 + 3 + 2  # of the suites, each once
    assert states == {
        (*place, state): n
        for place in places
        for state, n in (("done", members - 1), ("not_applicable", 1))
    }


@pytest.mark.parametrize("name", ["jpeg30", "blur3", "blur2+jpeg50", "down0.5"])
def test_scores_are_those_of_a_pack_of_degraded_files(
    name: str,
    run: StudyRun,
    study: Path,
    tmp_path: Path,
    cells: dict[tuple[str, str, str, int], PlannedCell],
) -> None:
    for test_on in ("alpha", "beta"):
        shutil.copytree(study.parent / "data" / test_on, tmp_path / "data" / test_on)
        for path in list(files_of(tmp_path / "data" / test_on / "test")):
            try:
                pixels = np.asarray(Image.open(path).convert("RGB"))
            except OSError:
                continue  # the broken one stays as it is
            path.unlink()
            write_image(path.with_suffix(".png"), degraded_by_hand(name, pixels))
    catalog = Catalog(DataConfig(root=tmp_path / "data", cache=tmp_path / "cache"), firewall=False)
    for detector in ("spectrum", "npr"):
        for test_on in ("alpha", "beta"):
            planned = cells[detector, test_on, name, 1]
            assert planned.winner is not None and planned.job is not None
            network = load_detector(run.store.model_folder(planned.winner.key))
            images = catalog.open(test_on, "test", planned.winner.spec.geometry)
            runtime = scoring_runtime(planned.job.workspace)
            runtime.place(network)
            ours = scores_of(run, planned)
            stems = [
                [Path(sample).stem for sample in ids]
                for ids in (ours.sample_id.tolist(), images.sample_id.tolist())
            ]
            assert stems[0] == stems[1]
            assert np.array_equal(ours.logit, score(network, images, runtime=runtime))


def test_the_logit_of_several_crops_is_the_mean_of_those_of_each(
    run: StudyRun, study: Path, cells: dict[tuple[str, str, str, int], PlannedCell]
) -> None:
    """Of degraded images: the crops are torchvision's, the network scores each alone."""
    from torchvision.transforms import FiveCrop

    for detector, size in (("spectrum", 32), ("npr", 48)):
        planned = cells[detector, "beta", "jpeg30+crop5", 1]
        assert planned.winner is not None
        network = load_detector(run.store.model_folder(planned.winner.key)).eval()
        ours = scores_of(run, planned)
        for sample, logit in list(zip(ours.sample_id.tolist(), ours.logit, strict=True))[:5]:
            pixels = np.asarray(Image.open(study.parent / "data" / sample).convert("RGB"))
            crops = FiveCrop(size)(Image.fromarray(degraded_by_hand("jpeg30", pixels)))
            with torch.no_grad():
                alone = [
                    network(network.prepare(torch.from_numpy(np.array(crop)[None]))).item()
                    for crop in crops
                ]
            assert logit == pytest.approx(np.mean(alone), abs=1e-5)
            assert np.ptp(alone) > 1e-5, "else any crop would do"


def test_a_degradation_that_would_enlarge_every_image_is_not_applicable_and_says_so(
    run: StudyRun, cells: dict[tuple[str, str, str, int], PlannedCell]
) -> None:
    assert {c.cell.state for place, c in cells.items() if place[2] == "long112"} == {
        "not_applicable"
    }
    assert {c.cell.state for place, c in cells.items() if place[2] != "long112"} == {"done"}
    rows = [r for r in matrix(run.store) if r["degradation"] == "long112"]
    assert len(rows) == 3 * 2 * 3  # detectors, test sets, two seeds and their mean
    assert {(r["state"], r["value"]) for r in rows} == {("not_applicable", "")}
    found = {r["reason"] for r in rows if r["detector"] == "npr" and r["test_on"] == "alpha"}
    (reason,) = found
    assert (
        "none of its 12 real images" in reason
        and "64 x 64 pixels would be enlarged to 112 on the long edge" in reason
    )
    assert all(r["reason"].startswith("its member ") for r in rows if r["detector"] == "ensemble")


def test_images_that_would_be_enlarged_are_left_out_and_counted(
    run: StudyRun, cells: dict[tuple[str, str, str, int], PlannedCell]
) -> None:
    found = scores_of(run, cells["npr", "beta", "long64", 0])
    assert (len(found.logit), found.listed) == (24 - SMALL, 24)
    assert len(found.excluded) == SMALL
    assert {reason for _, reason in found.excluded} == {
        "56 x 56 pixels would be enlarged to 64 on the long edge"
    }
    whole = scores_of(run, cells["npr", "alpha", "long64", 0])
    assert (len(whole.logit), whole.listed) == (23, 24)
    # 64 px: nothing to do
    assert np.array_equal(
        whole.logit, scores_of(run, cells["npr", "alpha", NO_DEGRADATION, 0]).logit
    )
    row = next(
        r
        for r in matrix(run.store)
        if (r["test_on"], r["degradation"], r["detector"]) == ("beta", "long64", "npr")
    )
    assert float(row["coverage"]) == (24 - SMALL) / 24


def test_the_matrix_has_every_degradation_with_thresholds_of_clean_source_val(
    run: StudyRun, cells: dict[tuple[str, str, str, int], PlannedCell]
) -> None:
    rows = {
        (
            r["detector"],
            r["test_on"],
            r["degradation"],
            int(r["seed"]),
            r["metric"],
            r["threshold"],
        ): r
        for r in matrix(run.store)
        if (r["level"], r["subset"]) == ("image", "") and r["seed"] != "mean"
    }
    done = {place: planned for place, planned in cells.items() if planned.cell.state == "done"}
    assert len({place[2] for place in done}) == 1 + 7
    for place, planned in done.items():
        scores, winner = scores_of(run, planned), planned.winner
        assert winner is not None
        assert float(rows[(*place, "auc", "")]["value"]) == pytest.approx(
            roc_auc_score(scores.label, scores.logit)
        )
        called = scores.logit >= winner.thresholds["source"]
        assert float(rows[(*place, "accuracy", "source")]["value"]) == pytest.approx(
            (called == scores.label).mean()
        )
    for (detector, _, _, seed), planned in done.items():  # one winner, one set of thresholds
        assert planned.winner == done[detector, "alpha", NO_DEGRADATION, seed].winner


def test_an_ensembles_degraded_cell_is_made_of_its_members_degraded_cells(
    run: StudyRun, cells: dict[tuple[str, str, str, int], PlannedCell]
) -> None:
    for degradation in ("jpeg30", "blur1"):
        parts = [cells[name, "beta", degradation, 1] for name in ("npr", "spectrum")]
        expected = [
            scores_of(run, p).logit.astype(np.float64) / p.winner.temperature
            for p in parts
            if p.winner
        ]
        ours = scores_of(run, cells["ensemble", "beta", degradation, 1])
        np.testing.assert_allclose(ours.logit, np.mean(expected, axis=0), rtol=1e-5, atol=1e-5)


def test_comparisons_summaries_and_clean_tables_do_not_change(
    run: StudyRun, clean: StudyRun
) -> None:
    for name in ("comparisons.csv", "comparisons.md"):
        assert (run.store.folder / name).read_text() == (clean.store.folder / name).read_text()
    before = (clean.store.folder / "tables.md").read_text()
    after = (run.store.folder / "tables.md").read_text()
    assert after.startswith(before) and "## Robustness" in after and "## Robustness" not in before
    kept = [r for r in matrix(run.store) if r["degradation"] == NO_DEGRADATION]
    assert kept == matrix(clean.store)


def test_the_robustness_table_is_of_the_same_cells_and_images(
    run: StudyRun, cells: dict[tuple[str, str, str, int], PlannedCell]
) -> None:
    text = (run.store.folder / "tables.md").read_text().partition("## Robustness")[2]
    inside, across = text.partition("### Cross-domain cells")[::2]
    assert "### In-domain cells" in inside
    head = next(line for line in inside.splitlines() if line.startswith("| degradation"))
    column = [name.strip() for name in head.split("|")].index("npr")
    for part, test_on in ((inside, "alpha"), (across, "beta")):
        for degradation in ("blur3", "long64", "jpeg30"):
            values, before = [], []
            for seed in (0, 1):
                bad = scores_of(run, cells["npr", test_on, degradation, seed])
                good = scores_of(run, cells["npr", test_on, NO_DEGRADATION, seed])
                same = np.isin(good.sample_id, bad.sample_id)
                values.append(roc_auc_score(bad.label, bad.logit))
                before.append(roc_auc_score(good.label[same], good.logit[same]))
            line = next(line for line in part.splitlines() if line.startswith(f"| {degradation} |"))
            value, change, *interval = line.split("|")[column].split()
            assert float(value) == pytest.approx(np.mean(values), abs=6e-4)
            # none where no image changes places
            ends = [float(end.strip("[],)")) for end in interval]
            moved = float(change.strip("()"))
            assert ends[0] <= moved <= ends[1] if ends else moved == 0
            assert float(change.strip("()")) == pytest.approx(
                np.mean(values) - np.mean(before), abs=6e-4
            )
    assert f"long64 is not applicable to {SMALL} of 24 images of beta" in text
    assert "long112 is not applicable to alpha: none of its 12 real images" in text


def test_curves_are_drawn_and_mlflow_has_the_numbers_and_the_files(
    run: StudyRun, clean: StudyRun
) -> None:
    from mlflow import MlflowClient

    names = [
        f"robustness_{detector}_{family}.png"
        for detector in ("spectrum", "npr", "ensemble")
        for family in ("jpeg", "blur")
    ]
    for name in names:
        with Image.open(run.store.figures / name) as image:
            assert image.format == "PNG" and image.width > 600
    assert not list(clean.store.figures.glob("robustness_*"))
    client = MlflowClient(f"sqlite:///{run.store.results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("degraded")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], "tags.`study.kind` = 'matrix'")
    row = next(
        r
        for r in matrix(run.store)
        if (r["detector"], r["test_on"], r["degradation"], r["seed"], r["metric"], r["level"])
        == ("npr", "beta", "jpeg30", "mean", "auc", "image")
    )
    assert found.data.metrics["auc/npr/alpha/beta/jpeg30/image"] == pytest.approx(
        float(row["value"])
    )
    assert {Path(a.path).name for a in client.list_artifacts(found.info.run_id, "figures")} >= set(
        names
    )


def test_another_run_shows_what_it_is_asked_for_and_scores_nothing(
    run: StudyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(run.store.results, tmp_path / "results")
    monkeypatch.setattr(
        "study.jobs.degraded.head_logits", lambda *a, **k: pytest.fail("scored again")
    )
    arguments = [
        run.arguments[0],
        "--results",
        str(tmp_path / "results"),
        "--local",
        "--degradations",
        "blur3",
        "long112",
    ]
    assert cross_eval.main([*arguments, "--full"]) == 0
    shown = capsys.readouterr().out
    # two detectors, two seeds, two test sets, clean and two degradations
    assert "Nothing to score: 24 cells" in shown
    assert "Robustness, cross-domain cells: AUC" in shown and shown.count("spectrum: AUC") == 1
    store = Store(tmp_path / "results", "degraded")
    assert {r["degradation"] for r in matrix(store)} == {"none", "blur3", "long112"}
    assert (
        "note: this matrix is without jpeg30 blur1 down0.5 blur2+jpeg50 long64 jpeg30+crop5, which"
        " the one before had" in shown
    )
    assert (
        "\nnote: removed figures that are not of this matrix: robustness_ensemble_jpeg.png,"
        " robustness_npr_jpeg.png, " in shown
    )
    (store.figures / "mine.png").write_bytes(b"")
    assert cross_eval.main([*arguments[:4], "--set", 'detectors=["spectrum"]']) == 0
    shown = capsys.readouterr().out
    assert (
        "note: this matrix is without blur3 long112, which the one before had: their scores stay in"
        " the store" in shown
    )
    assert f"{arguments[2]} --local --degradations blur3 long112" in shown
    assert {path.name for path in store.figures.iterdir()} == {
        *("heat_map_spectrum_auc.png", "roc.png", "best_so_far.png", "tippett.png", "mine.png"),
    }
    assert cross_eval.main([*arguments[:4], "--set", 'detectors=["spectrum"]']) == 0
    shown = capsys.readouterr().out
    assert "this matrix is without" not in shown and "removed figures" not in shown


def test_plan_counts_the_degraded_cells_of_a_study(
    run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [run.arguments[0], "--results", str(run.store.results)]
    assert plan.main(arguments) == 0
    # two searched pairings with two seeds: at most as many of their defaults, on two test sets
    other = "8 of other configurations"
    said = capsys.readouterr().out
    assert f"6 winners (2 seeds), 12 cells and at most {other} (2 test sets)" in said
    assert plan.main([*arguments, "--set", 'degradations=["genimage", "jpeg40"]']) == 0
    shown = capsys.readouterr().out
    assert f"96 cells and at most {other} (2 test sets, clean and under 7 degradations)" in shown
    states = next(line for line in shown.splitlines() if line.startswith("cells: "))
    assert states == "cells: 48 done, 12 not_applicable, 36 planned"


def degraded_cells(setup: OpenStudy) -> list[CellJob]:
    jobs = [c.job for c in plan_cells(setup) if c.cell.degradation != NO_DEGRADATION]
    return [job for job in jobs if isinstance(job, CellJob)]


def test_a_kill_loses_the_stretches_under_way_and_the_next_run_does_the_rest(
    clean: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(degraded, "STRETCH", 8)
    logits: list[dict[str, NDArray[np.float32]]] = []
    for name, killed in (("whole", False), ("killed", True)):
        shutil.copytree(clean.store.results, tmp_path / name)
        store = Store(tmp_path / name, "degraded")
        cells = degraded_cells(setup_of(replace(clean, store=store), "blur1", "jpeg50"))
        jobs = degraded.degraded_jobs(cells)
        assert len(cells) == 2 * 2 * 2 * 2 and [(j.start, j.stop) for j in jobs] == [
            (0, 8),
            (8, 16),
            (16, 23),
            *_eights(24),
        ]
        if killed:
            with monkeypatch.context() as patch:
                # in the third stretch
                patch.setattr(degraded, "head_logits", _killer(after=2 * 8 + 3))
                with pytest.raises(KeyboardInterrupt):
                    run_here(jobs, store)
            assert [job.is_done() for job in jobs] == [True, True, *[False] * 4]
            degraded.assemble(cells)
            assert not any(store.has_scores(cell.scores_key) for cell in cells)
        decodes = _counted(monkeypatch)
        assert run_here(jobs, store) == {}
        assert decodes.total() == (7 + 24 if killed else 23 + 24)
        degraded.assemble(cells)
        assert not (store.folder / "parts").exists()
        logits.append({cell.scores_key: store.scores(cell.scores_key).logit for cell in cells})
    assert logits[0].keys() == logits[1].keys()
    assert all(np.array_equal(logits[0][key], logits[1][key]) for key in logits[0])


def run_here(jobs: list[degraded.DegradedJob], store: Store) -> dict[str, Failure]:
    return LocalLauncher(Terms(threads=1, failures=store.tracebacks)).run_jobs(
        jobs, degraded.run_degraded
    )


def _eights(n: int) -> list[tuple[int, int]]:
    return [(start, start + 8) for start in range(0, n, 8)]


def _killer(*, after: int) -> Callable[[Detector, Tensor], list[NDArray[np.float32]]]:
    """Scoring that is interrupted after so many calls."""
    calls = 0

    def killing(detector: Detector, features: Tensor) -> list[NDArray[np.float32]]:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return head_logits(detector, features)

    return killing


def test_winners_with_the_same_frozen_body_share_its_features_and_memory(
    clean: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(clean.store.results, tmp_path / "results")
    store = Store(tmp_path / "results", "degraded")
    cells = degraded_cells(setup_of(replace(clean, store=store), "blur1", "jpeg50"))
    seen: list[str] = []

    def noted(detector: Detector, *arguments: Any, **options: Any) -> Tensor:
        seen.append(detector.spec.name)
        return compute_features(detector, *arguments, **options)

    monkeypatch.setattr(degraded, "compute_features", noted)
    assert run_here(degraded.degraded_jobs(cells), store) == {}
    # Two test sets of one batch, two degradations. The seeds of npr have bodies of their own;
    # spectrum trains its head only.
    assert Counter(seen) == {"npr": 2 * 2 * 2, "spectrum": 2 * 2}
    kept = {folder.name: one for (folder, _), one in degraded._KEPT._kept.items()}
    assert len({one.body for one in kept.values()}) == 3
    spectra = [one for one in kept.values() if one.detector.spec.name == "spectrum"]
    first, second = (dict(one.detector.named_buffers()) for one in spectra)
    assert first and all(first[name].data_ptr() == second[name].data_ptr() for name in first)
    assert len({one.detector.head.weight.data_ptr() for one in spectra}) == 2


def test_new_winners_of_a_frozen_body_need_no_degraded_image_again(
    clean: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of heads on a body that has seen a stretch, the scores come from what the cache has."""
    shutil.copytree(clean.store.results, tmp_path / "results")
    store = Store(tmp_path / "results", "degraded")
    opened = setup_of(replace(clean, store=store), "blur1", "long40")
    cells = [c for c in degraded_cells(opened) if store.model(c.model).spec.name == "spectrum"]
    jobs = degraded.degraded_jobs(cells)
    runs: list[dict[str, Any]] = []
    for decoded in (23 + 24, 0):
        decodes = _counted(monkeypatch)
        assert run_here(jobs, store) == {}
        assert decodes.total() == decoded
        runs.append(
            {
                f"{cell.scores_key} {job.start}": store.part(cell.scores_key, job.start, job.stop)
                for job in jobs
                for cell in job.cells
            }
        )
        shutil.rmtree(store.folder / "parts")
    assert runs[0].keys() == runs[1].keys()
    for (logit, excluded), (again, excluded_again) in zip(*(r.values() for r in runs), strict=True):
        assert np.array_equal(logit, again, equal_nan=True) and excluded == excluded_again
    (damaged,) = list((tmp_path / "results").glob("cache/degraded_features/*/*"))[:1]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    decodes = _counted(monkeypatch)
    assert run_here(jobs, store) == {} and 0 < decodes.total() <= 24


def test_a_cell_that_fails_keeps_no_other_from_its_score(
    clean: StudyRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(clean.store.results, tmp_path / "results")
    arguments = [
        clean.arguments[0],
        "--results",
        str(tmp_path / "results"),
        "--local",
        "--set",
        'test_on=["beta"]',
    ]
    arguments += ["--set", 'detectors=["spectrum", "npr"]', "--degradations", "blur0.7"]

    def broken(detector: Detector, features: Tensor) -> list[NDArray[np.float32]]:
        logits = head_logits(detector, features)
        return [logit * np.nan for logit in logits] if detector.spec.name == "npr" else logits

    with monkeypatch.context() as patch:
        patch.setattr(degraded, "head_logits", broken)
        assert cross_eval.main(arguments) == 1
    line, likewise = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "FAILED npr @ alpha -> beta blur0.7 seed 0: ScoreError: the score of beta/test/fake/"
    )
    assert "is nan" in line
    assert likewise == "  and 1 more likewise: npr @ alpha -> beta blur0.7 seed 1"
    failures = Store(tmp_path / "results", "degraded").failures()
    assert len(failures) == 2
    for key, failure in failures.items():  # each cell has a traceback of its own
        assert failure.type == "ScoreError" and failure.traceback_file is not None
        assert failure.traceback_file.stem == key
        assert "in finite_logits" in failure.traceback_file.read_text(encoding="utf-8")
    rows = [
        r
        for r in matrix(Store(tmp_path / "results", "degraded"))
        if r["metric"] == "auc" and r["degradation"] == "blur0.7"
    ]
    assert {(r["detector"], r["state"]) for r in rows} == {("spectrum", "done"), ("npr", "failed")}
    assert all(math.isnan(float(r["value"] or "nan")) == (r["state"] == "failed") for r in rows)
    assert cross_eval.main(arguments) == 0
    assert "scoring 2 cells (6 are in the store)" in capsys.readouterr().out

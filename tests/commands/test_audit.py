"""`python -m study.audit`: as text and JSON, of datasets and of a study; and its place in the
matrix.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import audit, cli, cross_eval, sweep
from study.analysis.audit import PairAudit, StudyAudit, audit_study
from study.analysis.results_csv import read_results
from study.core.errors import ConfigError, DataError, FirewallError
from study.core.records import CONTROLS, NO_TRAINING
from study.data.audit.findings import Finding
from study.planning.open_study import open_study
from study.planning.study_file import load_study
from study.render.audit import as_json, pairs_line
from study.render.figures.heat_map import heat_map
from study.render.tables import text_table
from study.store.store import Store
from tests.factories import picture, write_dataset, write_video


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root: `mixed`, whose reals are JPEG and fakes PNG, and `large`, all PNG of twice the
    side.
    """
    root = tmp_path_factory.mktemp("planted")
    write_dataset(root / "mixed", n=30, size=32, seed=1)
    for path in sorted((root / "mixed" / "real").iterdir()):
        from PIL import Image

        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    write_dataset(root / "large", n=30, size=64, seed=2)
    return root


def test_json_has_one_object_a_dataset(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--data-root",
        str(planted),
        "--datasets",
        "mixed",
        "large",
        "--results",
        str(tmp_path),
        "--json",
    ]
    assert audit.main(arguments) == cli.DONE
    text = capsys.readouterr().out
    found = json.loads(text)
    assert [one["name"] for one in found["datasets"]] == ["mixed", "large"]
    mixed = found["datasets"][0]
    for name in ("metadata_auc", "border_brightness_auc"):
        assert {"value", "low", "high", "n", "n_real", "n_fake"} <= set(mixed[name])
        assert (mixed[name]["n"], mixed[name]["n_real"], mixed[name]["n_fake"]) == (60, 30, 30)
    assert mixed["metadata_auc"]["value"] == 1.0 and mixed["metadata_auc"]["low"] > 0.6
    assert all({"code", "severity", "sentence"} == set(finding) for finding in mixed["findings"])
    assert {"metadata", "format"} <= {finding["code"] for finding in mixed["findings"]}
    shares = {(t["kind"], t["real"], t["fake"]) for t in mixed["traits"] if t["trait"] == "format"}
    assert shares == {("JPEG", 1.0, 0.0), ("PNG", 0.0, 1.0)}
    assert audit.main(arguments) == cli.DONE
    assert capsys.readouterr().out == text


def test_the_text_has_a_table_and_the_findings(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        audit.main(["--data-root", str(planted), "--datasets", "mixed", "--results", str(tmp_path)])
        == cli.DONE
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mixed: 30 real, 30 fake images, 32 x 32 px (median)"
    assert next(line for line in lines if line.split()[:2] == ["format", "PNG"]).split()[2:4] == [
        "0.0%",
        "100.0%",
    ]
    assert any("every real is JPEG and every fake PNG" in line for line in lines)


def test_class_folders_of_other_names_can_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the error advises. And where nothing is found, it is said what could be missed."""
    write_dataset(tmp_path / "odd", n=12, size=16, seed=3)
    (tmp_path / "odd" / "real").rename(tmp_path / "odd" / "authentic")
    (tmp_path / "odd" / "fake").rename(tmp_path / "odd" / "generated")
    for i, path in enumerate(sorted(tmp_path.glob("odd/*/*.png"))):  # noise, of both classes alike
        noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    arguments = [
        "--data-root",
        str(tmp_path),
        "--datasets",
        "odd",
        "--results",
        str(tmp_path / "results"),
    ]
    with pytest.raises(DataError, match="audit --datasets, into --class-folder authentic=real"):
        audit.main(arguments)
    named = ["--class-folder", "authentic=real", "--class-folder", "generated=fake"]
    assert audit.main([*arguments, *named, "--json"]) == cli.DONE
    (one,) = json.loads(capsys.readouterr().out)["datasets"]
    assert (one["real"], one["fake"], one["findings"]) == (12, 12, [])
    assert audit.main([*arguments, *named]) == cli.DONE
    highest = max(one[name]["high"] or 0 for name in ("metadata_auc", "border_brightness_auc"))
    text = " ".join(capsys.readouterr().out.split())
    assert (
        f"nothing found that sets the classes apart (24 groups: an AUC below about {highest:.2f}"
        " could be missed)" in text
    )
    with pytest.raises(ConfigError, match="'x=y' must be NAME=real or NAME=fake"):
        audit.main([*arguments, "--class-folder", "x=y"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quick", "--class-folder", "a=real"], "--class-folder belongs to --datasets"),
        ([], "nothing to audit"),
        (["quick", "--datasets", "mixed"], "not both"),
        (["--datasets", "mixed", "--set", "seed=1"], "none is named"),
    ],
)
def test_contradictions_are_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        audit.main(arguments)


def test_an_unknown_dataset_names_the_nearest(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'mixed'"):
        audit.main(["--data-root", str(planted), "--datasets", "mxed", "--results", str(tmp_path)])


STUDY = """
name = "audited"
detectors = ["spectrum"]
train_on = ["large"]
test_on = ["mixed", "large"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
[detector.spectrum]
size_px = 32
"""


def test_videos_are_audited_by_themselves_and_in_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, (word, suffix) in enumerate((("real", ".mp4"), ("fake", ".avi"))):
        for number in range(15):
            pictures = [picture(label, size=16, seed=100 * number + frame) for frame in range(2)]
            write_video(tmp_path / "data" / "clips" / word / f"{number:02d}{suffix}", pictures)
    data, results = (
        ["--data-root", str(tmp_path / "data")],
        [
            "--results",
            str(tmp_path / "results"),
            "--json",
        ],
    )
    assert audit.main([*data, "--datasets", "clips", *results]) == cli.DONE
    (clips,) = json.loads(capsys.readouterr().out)["datasets"]
    assert (clips["metadata_auc"]["value"], clips["metadata_auc"]["n"]) == (1.0, 60)
    shares = {(t["kind"], t["real"], t["fake"]) for t in clips["traits"] if t["trait"] == "format"}
    assert shares == {
        ("mpeg4 video in QuickTime / MOV", 1.0, 0.0),
        ("mpeg4 video in AVI (Audio Video Interleaved)", 0.0, 1.0),
    }
    study = STUDY.replace('"large"', '"clips"').replace('"mixed", ', "")
    (tmp_path / "videos.toml").write_text(
        f'{study}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8"
    )
    assert audit.main([str(tmp_path / "videos.toml"), *results]) == cli.DONE  # as cross_eval audits
    assert json.loads(capsys.readouterr().out)["datasets"] == [clips]


@pytest.fixture(scope="module")
def run(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Store]:
    folder = tmp_path_factory.mktemp("audited")
    (folder / "audited.toml").write_text(f'{STUDY}[data]\nroot = "{planted}"\n', encoding="utf-8")
    arguments = [str(folder / "audited.toml"), "--results", str(folder / "results")]
    assert sweep.main([*arguments, "--local"]) == 0
    assert not (folder / "results" / "audited" / "audit.json").exists()
    assert cross_eval.main([*arguments, "--local"]) == 0
    return arguments, Store(folder / "results", "audited")


def test_every_matrix_has_the_control_rows(run: tuple[list[str], Store]) -> None:
    _, store = run
    with store.matrix_file.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["detector"] in CONTROLS]
    assert {(row["detector"], row["train_on"], row["test_on"]) for row in rows} == {
        (name, NO_TRAINING, test_on) for name in CONTROLS for test_on in ("mixed", "large")
    }
    history = {
        one["name"]: one
        for one in json.loads(store.audit_file.read_text(encoding="utf-8"))["datasets"]
    }
    for row in rows:
        estimate = history[row["test_on"]][
            ("metadata_auc", "border_brightness_auc", "processing_auc")[
                CONTROLS.index(row["detector"])
            ]
        ]
        assert (float(row["value"]), float(row["low"]), float(row["high"])) == tuple(
            estimate[k] for k in ("value", "low", "high")
        )
        assert (row["metric"], row["seed"], row["n_real"], row["n_fake"]) == (
            "auc",
            "mean",
            "30",
            "30",
        )


def test_every_detector_is_held_against_controls_that_are_trained_as_it_is(
    run: tuple[list[str], Store],
) -> None:
    _, store = run
    with (store.folder / "controls.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    with store.matrix_file.open(encoding="utf-8", newline="") as file:
        cells = {
            (row["detector"], row["train_on"], row["test_on"]): float(row["value"])
            for row in csv.DictReader(file)
            if (row["metric"], row["seed"], row["role"]) == ("auc", "mean", "detector")
            and not row["subset"]
            and row["leak_free"] == "false"
        }
    assert {row["control"] for row in rows} == {*CONTROLS}
    assert {(row["detector"], row["train_on"], row["test_on"]) for row in rows} == {*cells}
    for row in rows:
        found = cells[row["detector"], row["train_on"], row["test_on"]]
        assert float(row["auc"]) == pytest.approx(found, abs=1e-12)
        less = float(row["auc"]) - float(row["control_auc"])
        assert float(row["difference"]) == pytest.approx(less, abs=1e-12)
    assert "## (metadata only), trained on X\n" in (store.folder / "controls.md").read_text(
        encoding="utf-8"
    )


def test_the_tables_say_where_mismatches_are_told(run: tuple[list[str], Store]) -> None:
    _, store = run
    line = "Note: between training and test sets: resolution mismatches 1; study.audit tells which."
    assert line in (store.folder / "tables.md").read_text(encoding="utf-8")
    assert pairs_line(StudyAudit(datasets=())) == ""


def test_leaked_images_are_counted_below_the_tables() -> None:
    """Five hundred images of one kind, class and pair are five hundred."""
    sentence = Finding(code="leak_exact", severity="critical", sentence="500 leak.")
    apart = Finding(code="resolution_mismatch", severity="warning", sentence="Other sizes.")
    pairs = [("a", "b", 500, (sentence,)), ("b", "a", 2, (sentence, apart)), ("b", "b", 0, ())]
    audited = [
        PairAudit(train_on=x, test_on=y, findings=findings, leaked=n) for x, y, n, findings in pairs
    ]
    start = "between training and test sets: "
    end = "; study.audit tells which"
    both = StudyAudit(datasets=(), pairs=tuple(audited))
    assert (
        pairs_line(both)
        == f"{start}resolution mismatches 1, 502 test images leaked from train or val, in 2 pairs"
        f" (marked !){end}"
    )
    one = StudyAudit(datasets=(), pairs=tuple(audited[::2]))
    assert (
        pairs_line(one)
        == f"{start}500 test images leaked from train or val, in 1 pair (marked !){end}"
    )
    assert [pair["leaked"] for pair in json.loads(as_json(both))["pairs"]] == [500, 2, 0]


def test_marks_and_sentences_stand_in_every_table(run: tuple[list[str], Store]) -> None:
    _, store = run
    whole = (store.folder / "tables.md").read_text(encoding="utf-8")
    tables = whole.split("### ")[1:]
    assert len(tables) >= 7
    for table in tables:
        assert (
            "| mixed ! |" in table
            and "| (metadata only) AUC | 1.000 [" in table
            and "| (border and brightness) AUC |" in table
            and "| (processing history) AUC |" in table
        )
    # what they mean stands once, after all of them
    for sentence in (
        "every real is JPEG and every fake PNG",
        "from a generator's trace, and marks",
    ):
        assert whole.count(sentence) == 1 and sentence in tables[-1]
    text = text_table(read_results(store.folder), "spectrum", width=100)
    assert "mixed !" in text and "! mixed: " in text
    with_numbers = [line for line in text.splitlines() if line.startswith("(metadata only) AUC")]
    assert len(with_numbers) == 1 and with_numbers[0].split()[3] == "1.000"
    answered = (store.folder / "comparisons.md").read_text(encoding="utf-8")
    assert (
        "* All test sets of these means are marked ! (a confound or a leak, see the tables): mixed."
        " No cross-domain number rests on an unmarked one." in answered
    )


def test_baselines_are_no_detectors_in_summaries_and_comparisons(
    run: tuple[list[str], Store],
) -> None:
    _, store = run
    summary = (store.folder / "tables.md").read_text(encoding="utf-8").split("## ")[0]
    assert "spectrum" in summary and not any(name in summary for name in CONTROLS)
    for file in ("comparisons.md", "comparisons.csv"):
        assert "(metadata only)" not in (store.folder / file).read_text(encoding="utf-8")


def test_the_heat_map_has_two_lines_more(run: tuple[list[str], Store], tmp_path: Path) -> None:
    from PIL import Image

    _, store = run
    results = read_results(store.folder)
    heat_map(results, "spectrum", "auc", tmp_path / "with.png")
    detectors = tuple(row for row in results.rows if row.detector not in CONTROLS)
    heat_map(
        replace(results, rows=detectors),
        "spectrum",
        "auc",
        tmp_path / "without.png",
    )
    assert Image.open(tmp_path / "with.png").height > Image.open(tmp_path / "without.png").height


def test_mlflow_has_the_audit(run: tuple[list[str], Store]) -> None:
    from mlflow import MlflowClient

    _, store = run
    client = MlflowClient(f"sqlite:///{store.results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("audited")
    assert experiment is not None
    (matrix,) = client.search_runs([experiment.experiment_id], "tags.`study.kind` = 'matrix'")
    assert "audit.json" in {file.path for file in client.list_artifacts(matrix.info.run_id)}
    assert json.loads(matrix.data.tags["study.cells"]) == {"done": 2}


def test_a_study_says_what_its_detectors_make_of_a_resolution(
    run: tuple[list[str], Store],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments, store = run
    before = store.audit_file.stat().st_mtime_ns
    monkeypatch.setattr("study.data.audit.traits.read_traits", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(
        "study.data.audit.classifiers._out_of_fold", lambda *_: pytest.fail("fitted again")
    )
    assert audit.main(arguments) == cli.DONE
    assert (
        "Resolution mismatch: large has 64 px on its short side (median), mixed 32 px"
        in capsys.readouterr().out
    )
    assert store.audit_file.stat().st_mtime_ns == before
    history = json.loads(store.audit_file.read_text(encoding="utf-8"))
    seen = {(one["dataset"], one["mode"]): one for one in history["resolutions"]}
    assert (
        all(one["detectors"] == ["spectrum"] and one["size_px"] == 32 for one in seen.values())
        and len(seen) == 2
    )
    pairs = {
        (one["train_on"], one["test_on"]): {f["code"] for f in one["findings"]}
        for one in history["pairs"]
    }
    assert pairs == {("large", "mixed"): {"resolution_mismatch"}, ("large", "large"): set()}


def test_an_audit_behind_the_firewall_is_refused(run: tuple[list[str], Store]) -> None:
    _, store = run
    setup = open_study(
        load_study(str(store.study_file)), results=store.results, weights_root=None, firewall=True
    )
    with pytest.raises(FirewallError, match="every split"):
        audit_study(setup)

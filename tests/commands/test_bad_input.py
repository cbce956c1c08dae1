"""Bad input ends with one line on stderr that names the thing, exit code 2, and no traceback,
before anything expensive.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from study import audit, cli, cross_eval, ls, plan, prepare, sweep
from tests.factories import files_of

Main = Callable[[Sequence[str] | None], int]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(main: Main, *arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.run(lambda _: main(arguments))
        shown = capsys.readouterr()
        assert stop.value.code == cli.BAD_INPUT
        lines = shown.err.strip().splitlines()
        assert len(lines) == 1, shown.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("extra", "fragments"),
    [
        (["--set", 'detectors=["nprr"]'], ["unknown detector 'nprr'", "did you mean 'npr'?"]),
        (["--set", "budget.trails=3"], ["unknown key 'trails'", "did you mean 'trials'?"]),
        (["--set", 'train_on=["alpah"]'], ["unknown dataset 'alpah'", "did you mean 'alpha'?"]),
        (["--set", 'test_on=["gamma"]'], ["unknown dataset 'gamma'"]),
        (["--data-root", "/nowhere/at/all"], ["'/nowhere/at/all' does not exist", "--data-root"]),
        (["--set", "detector.npr.size_px=33"], ["npr", "size_px", "33"]),
        (
            ["--set", 'degradations=["wnag"]'],
            ["small.toml", "unknown degradation 'wnag'", "did you mean 'wang'?", "jpeg95"],
        ),
    ],
)
@pytest.mark.parametrize("main", [sweep.main, plan.main], ids=["sweep", "plan"])
def test_names_and_values(
    main: Main,
    extra: list[str],
    fragments: list[str],
    study_file: Path,
    tmp_path: Path,
    refusal: Callable[..., str],
) -> None:
    message = refusal(main, str(study_file), "--results", str(tmp_path), *extra)
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (plan.main, ["STUDY", "--data-root", "~nobodyhere/data"]),
        (plan.main, ["STUDY", "--weights-root", "~nobodyhere/data"]),
        (plan.main, ["STUDY", "--set", 'search.warm_start=["~nobodyhere/data"]']),
        (
            plan.main,
            [
                "STUDY",
                "--set",
                'detectors=["clip_zero_shot"]',
                "--set",
                'detector.clip_zero_shot.prompts="~nobodyhere/data.toml"',
            ],
        ),
        (prepare.main, ["--describe", "~nobodyhere/data"]),
        (audit.main, ["--datasets", "mine", "--data-root", "~nobodyhere/data"]),
    ],
)
def test_the_home_of_nobody(
    main: Main, words: list[str], study_file: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    message = refusal(
        main,
        *(str(study_file) if word == "STUDY" else word for word in words),
        "--results",
        str(tmp_path),
    )
    assert "'~nobodyhere/data" in message and "there is no user 'nobodyhere'" in message


def test_an_empty_class(
    study_file: Path, data_copy: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    for image in (data_copy / "alpha" / "fake").rglob("*.png"):
        image.unlink()
    message = refusal(
        sweep.main, str(study_file), "--results", str(tmp_path), "--data-root", str(data_copy)
    )
    assert "alpha" in message
    assert "fake" in message


def test_a_missing_class_folder(
    study_file: Path, data_copy: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    shutil.rmtree(data_copy / "alpha" / "fake")
    assert "alpha" in refusal(
        sweep.main, str(study_file), "--results", str(tmp_path), "--data-root", str(data_copy)
    )


def test_a_test_set_without_a_test_split(
    study_file: Path, data_copy: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    for split in ("train", "val"):
        shutil.copytree(data_copy / "beta", data_copy / "gamma" / split)
    message = refusal(
        sweep.main,
        str(study_file),
        "--results",
        str(tmp_path),
        "--data-root",
        str(data_copy),
        "--set",
        'test_on=["gamma"]',
    )
    assert "'gamma' has no test split" in message


def test_frames_of_one_video_on_both_sides(
    study_file: Path, data_copy: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    lines = ["path,label,group,video,split\n"]
    for i, path in enumerate(files_of(data_copy / "alpha")):
        split = ("train", "val", "test")[i % 3]
        lines.append(
            f"{path.relative_to(data_copy / 'alpha')},{path.parent.name},g{i},v{i // 6},{split}\n"
        )
    (data_copy / "alpha" / "manifest.csv").write_text("".join(lines), encoding="utf-8")
    assert "have more than one" in refusal(
        sweep.main, str(study_file), "--results", str(tmp_path), "--data-root", str(data_copy)
    )


def test_a_table_that_is_none(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "s.toml").write_text(
        'name = "s"\ndetectors = ["npr"]\ntrain_on = ["a"]\ndata = 3\n', encoding="utf-8"
    )
    assert "'data' must be a table" in refusal(
        plan.main, str(tmp_path / "s.toml"), "--data-root", str(tmp_path)
    )


def test_an_unwritable_results_folder(
    study_file: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    message = refusal(sweep.main, str(study_file), "--results", str(tmp_path / "file"))
    assert "cannot be written" in message
    assert "--results" in message


def test_pretrained_weights_that_cannot_be_had(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    monkeypatch.delenv("STUDY_WEIGHTS", raising=False)
    message = refusal(
        sweep.main,
        str(study_file),
        "--results",
        str(tmp_path),
        "--set",
        'detectors=["mobilenetv2_035"]',
    )
    assert "mobilenetv2_035.keras_in1k.safetensors" in message
    assert "--weights-root" in message


def test_cross_eval_before_sweep(
    study_file: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert "python -m study.sweep" in refusal(
        cross_eval.main, str(study_file), "--results", str(tmp_path)
    )


def test_unknown_metric_threshold_and_listing(
    study_file: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert "did you mean 'auc'?" in refusal(cross_eval.main, str(study_file), "--metric", "aucc")
    assert "'oracle'" in refusal(
        cross_eval.main, str(study_file), "--metric", "f1", "--threshold", "orcale"
    )
    assert "did you mean 'detectors'?" in refusal(ls.main, "detector")


@pytest.mark.parametrize("what", ["detectors", "datasets", "spaces", "presets", "runs"])
def test_every_listing_prints_a_table(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ls.main([what, "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip()


def test_a_degradation_that_there_is_not(
    study_file: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    arguments = (cross_eval.main, str(study_file), "--results", str(tmp_path), "--degradations")
    assert "did you mean 'sidbench'?" in refusal(*arguments, "default", "sidbensh")
    assert "jpeg50+blur2" in refusal(*arguments, "jpeg50+blur2")
    assert not (tmp_path / "small").exists()

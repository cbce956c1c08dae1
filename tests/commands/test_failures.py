"""A bug in a detector: where it is stands in a file, the file in the message, the message there
once; in this process and on Ray. And what is said of a run, on the terminal and in its log.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from unittest import mock

import pytest
from torch import Tensor

from study import cli, cross_eval, sweep
from study.core.errors import DivergedError, StoreError
from study.core.failures import Failure, WorkFailed
from study.core.records import Report, TrialResult
from study.detectors.npr import NPR
from study.jobs import cell, trial, winner
from study.store.store import Store
from tests.commands.conftest import StudyRun
from tests.tracking.mlflow_helpers import free_port

RUN_TRIAL, RUN_WINNER, RUN_CELLS = trial.run_trial, winner.run_winner, cell.run_cells
BUG = "the planted bug"


def features(self: NPR, x: Tensor) -> Tensor:
    raise RuntimeError(BUG)


HERE = f'{Path(__file__).name}", line {features.__code__.co_firstlineno + 1}, in features'


def buggy_trial(job: trial.TrialJob, report: Report) -> TrialResult:
    with mock.patch.object(NPR, "features", features):
        return RUN_TRIAL(job, report)


def buggy_winner(job: winner.WinnerJob) -> None:
    with mock.patch.object(NPR, "features", features):
        RUN_WINNER(job)


def buggy_cells(job: cell.CellsJob) -> dict[str, Failure]:
    with mock.patch.object(NPR, "features", features):
        return RUN_CELLS(job)


@pytest.fixture(params=["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def arguments(request: pytest.FixtureRequest, study_file: Path, tmp_path: Path) -> list[str]:
    """Both commands, in this process and on Ray."""
    where = (
        ["--local"]
        if request.param == "local"
        else ["--address", request.getfixturevalue("ray_address")]
    )
    settings = (
        'detectors=["npr"]',
        'train_on=["alpha"]',
        "budget.trials=3",
        "budget.default_winners=false",
    )
    return [
        str(study_file),
        "--results",
        str(tmp_path),
        *where,
        *(word for text in settings for word in ("--set", text)),
    ]


def paths_in(text: str) -> list[Path]:
    return [Path(path) for path in re.findall(r"\(traceback: ([^)]+)\)", text)]


def test_a_bug_in_a_detector_is_found_by_its_failure(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trial, "run_trial", buggy_trial)
    assert sweep.main(arguments) == 1
    shown = "".join(capsys.readouterr())
    store = Store(tmp_path, "small")
    results = {result.key: result for _, result in store.trials()}
    assert len(results) == 3
    for key, result in results.items():
        assert result.failure is not None and not result.permanent
        assert (result.failure.type, result.failure.message) == ("RuntimeError", BUG)
        assert result.failure.traceback_file == store.tracebacks / f"{key}.txt"
        assert HERE in result.failure.traceback_file.read_text(encoding="utf-8")
    assert shown.count(BUG) == 1
    (path,) = paths_in(shown)
    assert path.stem in results
    assert "FAILED npr @ alpha: no trial gave a result (3 failed: RuntimeError, as above)" in shown


def test_what_an_earlier_run_left_is_said_with_its_file(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of winners, then of cells: each leaves a file of its own, and the text stands once."""
    monkeypatch.setattr(winner, "run_winner", buggy_winner)
    assert sweep.main(arguments) == 1
    shown = "".join(capsys.readouterr())
    assert shown.count(BUG) == 1
    assert "npr @ alpha seed 1" in shown
    store = Store(tmp_path, "small")
    failures = store.failures()
    assert len(failures) == 2
    assert all(f.traceback_file == store.tracebacks / f"{k}.txt" for k, f in failures.items())
    assert all(HERE in f.traceback_file.read_text() for f in failures.values() if f.traceback_file)
    monkeypatch.undo()
    assert sweep.main(arguments) == 0
    monkeypatch.setattr(cell, "run_cells", buggy_cells)
    capsys.readouterr()
    assert cross_eval.main(arguments) == 1
    shown = capsys.readouterr().err
    assert shown.count(BUG) == 1 and "  and 1 more likewise: npr @ alpha -> alpha seed 1" in shown
    (path,) = paths_in(shown)
    assert HERE in path.read_text(encoding="utf-8")
    assert sum(failure.message == BUG for failure in store.failures().values()) == 2
    assert str(path) in store.matrix_file.read_text(encoding="utf-8")


def test_debug_raises_at_the_first_failure(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, buggy in (
        (trial, "run_trial", buggy_trial),
        (winner, "run_winner", buggy_winner),
    ):
        with monkeypatch.context() as patch, pytest.raises(WorkFailed, match=BUG) as raised:
            patch.setattr(module, name, buggy)
            sweep.main([*arguments, "--debug"])
        cause = raised.value.__cause__
        if "--local" in arguments:  # the exception itself
            assert isinstance(cause, RuntimeError) and cause.__traceback__ is not None
        else:
            assert HERE in str(raised.value)


def test_what_diverged_is_trained_again_on_request(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trial 0 diverges, as long as somebody has a hand in it; trial 2 was proposed knowing that."""
    arguments = [str(study_file), "--results", str(tmp_path), "--local"]
    for text in (
        *('detectors=["spectrum"]', 'train_on=["alpha"]', "budget.generation=1"),
        *("budget.replicates=0", "budget.null_models=0", "budget.default_winners=false"),
    ):
        arguments += ["--set", text]
    ran: list[int] = []

    def diverging(job: trial.TrialJob, report: Report) -> TrialResult:
        ran.append(job.trial.number)
        if len(ran) == 1:
            raise DivergedError("the loss is nan")
        return RUN_TRIAL(job, report)

    def outcome() -> dict[int, str]:
        trials = Store(tmp_path, "small").trials()
        return {trial.number: result.state for trial, result in trials}

    monkeypatch.setattr(trial, "run_trial", diverging)
    assert sweep.main(arguments) == 0
    assert outcome() == {0: "failed", 1: "done", 2: "done"} and ran == [0, 1, 2]
    assert sweep.main(arguments) == 0
    assert ran == [0, 1, 2]
    assert sweep.main([*arguments, "--retry", "failed"]) == 0
    assert ran[3] == 0 and outcome()[0] == "done"
    before = len(ran)
    assert sweep.main([*arguments, "--retry", "failed"]) == 0
    assert len(ran) == before


def test_less_and_more_is_said_and_the_log_has_it_all(
    local_run: StudyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    log = local_run.store.run_log
    before = log.read_text(encoding="utf-8")
    assert f"python -m study.sweep {shlex.join(local_run.arguments)}\n" in before
    assert "[18/18]" in before and " training 12 winners" in before and " scored " in before
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \S")
    assert all(stamp.match(line) for line in before.splitlines())
    capsys.readouterr()
    assert sweep.main([*local_run.arguments, "-q"]) == 0
    quiet = capsys.readouterr()
    assert quiet.out.startswith("\nselected on source val") and "next:" in quiet.out
    assert quiet.err == ""
    assert sweep.main(local_run.arguments) == 0
    assert "study small: 2 detectors x 3 training sets" in capsys.readouterr().out
    after = log.read_text(encoding="utf-8")
    assert (
        after.startswith(before)
        and after.count("study small: ") == before.count("study small: ") + 2
    )


def test_more_is_said_on_request(
    study_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trial, "run_trial", buggy_trial)
    arguments = [str(study_file), "--results", str(tmp_path), "--local"]
    for text in ('detectors=["npr"]', 'train_on=["alpha"]', "budget.trials=1"):
        arguments += ["--set", text]
    assert sweep.main([*arguments, "-v"]) == 1
    assert HERE in capsys.readouterr().out
    assert HERE not in (tmp_path / "small" / "run.log").read_text(encoding="utf-8")


def test_an_mlflow_that_another_program_left_in_the_environment_costs_its_view_only(
    local_run: StudyRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that is gone; and an address of a kind that MLflow itself has given up."""
    matrix = local_run.store.matrix_file.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    assert cross_eval.main(local_run.arguments) == cli.DONE
    said = capsys.readouterr()
    assert said.err.count("warning: nothing more is written to MLflow: MLflow at http") == 1
    assert f"python -m study.track {local_run.arguments[0]} --results" in said.err
    assert "point MLFLOW_TRACKING_URI somewhere else" in said.err
    assert "generalises" in said.out and "auc, trained on" in said.out
    assert local_run.store.matrix_file.read_bytes() == matrix
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    with pytest.raises(StoreError, match=r"MLFLOW_TRACKING_URI is 'databricks'.*unset it"):
        cross_eval.main(local_run.arguments)
    assert capsys.readouterr().out == ""

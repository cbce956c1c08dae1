"""What is misspelt is understood and said: commands, options, keys. And what helps before the first
study: versions, completion, what is missing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from study import cli, doctor, plan, sweep
from study.core.errors import ConfigError, WeightsError
from study.planning.study_file import load_study
from tests.factories import write_dataset

ROOT = Path(__file__).parents[2]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "study", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_console_script_is_the_list_of_commands() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["study"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    assert run("--version").stdout.split() == [
        "fake-image-study",
        metadata.version(project["name"]),
    ]


@pytest.mark.parametrize(
    ("typed", "meant"), [("train", "sweep"), ("swep", "sweep"), ("evaluate", "cross_eval")]
)
def test_the_nearest_command_is_named(typed: str, meant: str) -> None:
    done = run(typed)
    assert done.returncode == cli.BAD_INPUT
    assert f"unknown command '{typed}': did you mean '{meant}'?" in done.stderr


def test_a_command_may_be_written_with_a_dash() -> None:
    assert run("cross-eval", "--help").stdout.startswith("usage: python -m study.cross_eval")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["quick", "--treads=2"], "did you mean --set run.threads=2?"),
        (["quick", "--generation", "3"], "did you mean --set budget.generation=VALUE?"),
        (["quick", "--sloots", "3"], "did you mean --slots?"),
        (["quick", "slow"], "'slow' is one word too many"),
        ([], "STUDY"),
    ],
)
def test_the_nearest_option_or_key_is_named(words: Sequence[str], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        sweep.main(words)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("trials=3", "budget.trials"),
        ("data.trials=3", "budget.trials"),
        ("epoch=3", "budget.epochs"),
        ("budget.unify=true", "data.unify"),
    ],
)
def test_a_key_in_the_wrong_table_is_told_its_place(override: str, meant: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan.main(["quick", "--set", override])
    wrong = override.partition("=")[0]
    assert f"unknown key '{wrong}': did you mean '{meant}'?" in str(error.value)


def test_short_forms_are_overrides_and_are_repeated_in_the_next_command() -> None:
    parser = cli.command_parser("sweep", "", "x")
    cli.add_study_options(parser)
    words = ["quick", "--trials", "7", "--detectors", "npr, spectrum", "--set", "budget.seeds=4"]
    options = cli.parse(parser, [*words, "--max-per-class", "9"])
    study = load_study(options.study, options.set)
    assert (study.budget.trials, study.budget.seeds, study.data.max_per_class) == (7, 4, 9)
    assert study.detectors == ("npr", "spectrum")
    again = argparse.Namespace(study="quick", set=options.set, results="results")
    assert "--set budget.trials=7" in cli.again(again, "sweep")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("study cross", ["cross_eval"]),
        ("study sweep qui", ["quick"]),
        ("study sweep --epo", ["--epochs"]),
        ("study plan quick --set budget.tri", ["budget.trials="]),
    ],
)
def test_a_shell_is_offered_what_can_come_next(
    typed: str, offered: Sequence[str], tmp_path: Path
) -> None:
    found = tmp_path / "offered"
    done = run(
        _ARGCOMPLETE="1",
        _ARGCOMPLETE_IFS="\n",
        _ARGCOMPLETE_STDOUT_FILENAME=str(found),
        COMP_LINE=typed,
        COMP_POINT=str(len(typed)),
        COMP_TYPE="9",
    )
    assert done.returncode == 0, done.stderr
    assert [word.strip() for word in found.read_text(encoding="utf-8").splitlines()] == offered


def test_the_script_for_a_shell_is_one_that_bash_can_read() -> None:
    script = run("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "complete" in script and "study" in script


def test_doctor_names_what_a_study_lacks_and_nothing_where_it_lacks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("STUDY_WEIGHTS", raising=False)
    write_dataset(tmp_path / "data" / "mine", n=12, size=16)
    file = tmp_path / "s.toml"
    text = 'name = "s"\ndetectors = ["npr", "mobilenetv2_035"]\ntrain_on = ["mine", "cifake"]\n'
    file.write_text(f'{text}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8")
    places = ["--results", str(tmp_path / "results")]
    assert doctor.main([str(file), *places]) == cli.SOME_FAILED
    said = capsys.readouterr().out
    assert "missing for s: dataset cifake" in said and "dataset mine" not in said
    assert "missing for s: weights of mobilenetv2_035: missing: pretrained weights" in said
    assert metadata.version("torch") in said and "here: mine" in said
    alone = [str(file), "--train-on", "mine", *places]
    with pytest.raises(WeightsError) as refusal:
        sweep.main([*alone, "--local"])
    assert plan.main(alone) == cli.DONE
    assert f"weights of mobilenetv2_035: missing: {refusal.value}\n" in capsys.readouterr().out
    assert doctor.main([str(file), "--detectors", "npr", "--train-on", "mine", *places]) == cli.DONE
    assert "s has all it needs" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()  # nothing is made

"""A plan that is frozen before the run; the answer says whether the run matches it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from study import cli, cross_eval, plan, sweep
from study.core.errors import StoreError
from study.planning.frozen import frozen_line
from tests.factories import picture, write_dataset

FILE = """
name = "small"
detectors = ["spectrum", "npr"]
train_on = ["alpha", "beta"]
[budget]
trials = 1
epochs = 1
seeds = 1
replicates = 0
null_models = 0
default_winners = false
[detector.spectrum]
size_px = 16
[detector.npr]
size_px = 16
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    for number, name in enumerate(("alpha", "beta")):
        write_dataset(tmp_path / "data" / name, n=24, size=16, seed=number)
    (tmp_path / "small.toml").write_text(FILE, encoding="utf-8")
    places = ("--data-root", str(tmp_path / "data"), "--results", str(tmp_path / "results"))
    return [str(tmp_path / "small.toml"), *places]


def line(words: list[str]) -> str:
    """What the answer of `cross_eval` would say."""
    parser = cli.command_parser("cross_eval", "", "")
    cli.add_study_options(parser)
    return frozen_line(cli.open_study(cli.parse(parser, words), firewall=False))


def test_a_plan_says_what_is_to_be_tested_and_what_was_changed_since(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line(words) == ""
    assert plan.main([*words, "--freeze"]) == 0
    file = tmp_path / "results" / "small" / "frozen.json"
    printed, held = capsys.readouterr().out, json.loads(file.read_text())
    assert held["digest"] in printed and held["scored"] == 0
    assert held["study"]["budget.trials"] == 1 and "data.root" not in held["study"]
    assert [*held["lists"]] == ["alpha", "beta"]
    assert any(one.startswith("npr generalises") for one in held["hypotheses"])
    assert any("spectrum and npr differ" in one for one in held["hypotheses"])

    # the same data elsewhere are the same plan
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = [word.replace(str(tmp_path / "data"), str(tmp_path / "moved")) for word in words]
    assert plan.main([*moved, "--freeze"]) == 0
    assert "frozen before, and unchanged" in capsys.readouterr().out
    when, digest = held["when"][:10], held["digest"]
    assert line(moved) == f"this run matches the plan frozen on {when} (digest {digest})"

    # another sampler and one more image are another plan
    (tmp_path / "moved").rename(tmp_path / "grown")  # a command lists a folder once
    Image.fromarray(picture(1, size=16, seed=999)).save(tmp_path / "grown/beta/fake/more.png")
    changed = [word.replace("moved", "grown") for word in moved]
    changed += ["--set", "search.sampler=random"]
    with pytest.raises(StoreError, match="another plan of this study was frozen on"):
        plan.main([*changed, "--freeze"])
    said = line(changed)
    assert said.startswith("this run does not match the plan frozen on")
    assert said.endswith(": search.sampler was 'tpe' and is 'random'; the images of beta changed")


@pytest.mark.slow
def test_the_answer_says_it_and_that_a_plan_came_late(words: list[str], tmp_path: Path) -> None:
    words += ["--detectors", "spectrum"]
    assert sweep.main([*words, "--local"]) == cross_eval.main([*words, "--local"]) == cli.DONE
    assert plan.main([*words, "--freeze"]) == 0
    assert cross_eval.main([*words, "--local"]) == cli.DONE
    folder = tmp_path / "results" / "small"
    for file in ("README.md", "tables.md"):
        told = (folder / file).read_text(encoding="utf-8")
        assert "this run matches the plan frozen on" in told
        assert "after 4 cells had been scored" in told
    file = folder / "frozen.json"
    file.write_text(file.read_text().replace('"scored": 4', '"scored": 0'), encoding="utf-8")
    with pytest.raises(StoreError, match=r"frozen\.json"):
        line(words)

"""docs/adding-detectors.md, done as it says: a detector of a file of one's own, which is then a
name in studies and held to the contract by `study.check`, and a published detector.
"""

from __future__ import annotations

import hashlib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from study import check, cli, sweep
from study.core.errors import ConfigError
from study.core.identity import file_sha256
from study.detectors import registry
from study.jobs.cell import load_detector
from study.planning.open_study import open_study
from study.planning.study_file import load_study
from study.store.store import Store
from tests.contract.test_contributing import copy_project, insert, run
from tests.factories import write_dataset

PAGE = (Path(__file__).parents[2] / "docs" / "adding-detectors.md").read_text(encoding="utf-8")
OWN, THEIRS, LINE = (
    textwrap.dedent(block)
    for block in re.findall(r"^ *```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
)
NAME = "py:own_detectors:residual"
CODE = OWN + "\n\ndef unmarked(spec):\n    return Residual(spec)\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = tmp_path / "own_detectors.py"
    made.write_text(CODE, encoding="utf-8")
    sys.modules.pop("own_detectors", None)
    yield made
    sys.modules.pop("own_detectors", None)


def test_it_passes_the_checks_and_what_is_wrong_is_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([NAME]) == cli.DONE
    assert f"{NAME}: 7 of 7 checks hold" in capsys.readouterr().out
    sys.modules.pop("own_detectors")
    file.write_text(
        CODE.replace('Stage("body", (self.body,)), ', "").replace(
            'return Stage("stem", (self.stem,))', 'return (Stage("stem", (self.stem,)),)'
        ),
        encoding="utf-8",
    )
    assert check.main([NAME]) == cli.SOME_FAILED
    shown = capsys.readouterr().out
    assert "in no stage: body.0.bias" in shown and "FAILED" in shown and "ok " in shown


def test_it_is_a_name_in_a_study_and_its_file_is_in_every_key(file: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data" / "mine", n=24, size=32)
    study = tmp_path / "s.toml"
    study.write_text(
        f'name = "s"\ndetectors = ["{NAME}"]\ntrain_on = ["mine"]\n[budget]\ntrials = 1\n'
        "epochs = 1\nseeds = 1\nreplicates = 0\n"
        f'[data]\nroot = "{tmp_path / "data"}"\n',
        encoding="utf-8",
    )
    arguments = [str(study), "--results", str(tmp_path / "results"), "--local"]
    assert sweep.main(arguments) == 0
    store = Store(tmp_path / "results", "s")
    ((trial, result),) = store.trials()
    assert result.state == "done" and trial.pairing.detector == NAME
    (model,) = store.folder.glob("models/*/detector.json")
    winner = load_detector(model.parent)
    assert winner.spec.options["source_sha256"] == hashlib.sha256(CODE.encode()).hexdigest()

    def key() -> str:
        setup = open_study(
            load_study(str(study)), results=store.results, weights_root=None, firewall=True
        )
        (pairing,) = setup.study.pairings()
        return setup.keys.trial(pairing, 0, trial.params)

    assert key() == trial.key
    spec = registry.resolve(NAME, options={}, weights_root=None)
    file.write_text(CODE.replace("stride=2", "stride=3"), encoding="utf-8")
    with pytest.raises(ConfigError, match="has changed since it was imported"):
        registry.resolve(NAME, options={}, weights_root=None)
    sys.modules.pop("own_detectors")
    with pytest.raises(ConfigError, match="is not the one that it was resolved or trained with"):
        registry.create(spec, 0)
    assert key() != trial.key


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("py:own_detectors", "is not of the form py:MODULE:FACTORY"),
        ("py:own_detectors:residuals", "'residuals' of module 'own_detectors' is no factory"),
        ("py:own_detectors:unmarked", "put @detector"),
        ("py:no_such_module:x", "module 'no_such_module' cannot be imported"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(file: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.entry(name)


@pytest.mark.slow
def test_the_page_on_published_detectors_works_as_written(tmp_path: Path) -> None:
    copy_project(tmp_path)
    comment, _, body = THEIRS.partition("\n")
    (tmp_path / comment.removeprefix("# ")).write_text(body, encoding="utf-8")
    torch.manual_seed(0)
    state = {"conv.weight": torch.randn(8, 3, 3, 3), "conv.bias": torch.randn(8)}
    state |= {"fc.weight": torch.randn(1, 8), "fc.bias": torch.randn(1)}
    torch.save({"model": state}, tmp_path / "theirs.pth")
    line = textwrap.indent(LINE, "    ").replace("SHA256", file_sha256(tmp_path / "theirs.pth"))
    opening = "PUBLISHED: Mapping[str, Entry] = {\n"
    insert(tmp_path / "study" / "detectors" / "published.py", opening, line)
    shown = run(tmp_path, "study.check", "theirs", "--weights-root", str(tmp_path))
    assert "theirs: 7 of 7 checks hold" in shown
    write_dataset(tmp_path / "data" / "mine", n=12, size=32)
    study = 'name = "s"\ndetectors = ["theirs"]\ntest_on = ["mine"]\n[data]\nroot = "data"\n'
    (tmp_path / "s.toml").write_text(study, encoding="utf-8")
    run(tmp_path, "study.cross_eval", "s.toml", "--weights-root", str(tmp_path), "--local")
    shown = run(tmp_path, "study.ledger", "s")
    assert "theirs: untestable here: other test data" in shown and "mine AP " in shown

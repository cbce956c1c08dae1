"""Every command that is printed works when it is pasted: what a run prints is run, step by step,
and what help, messages and the README name is parsed.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from study import cli
from study.__main__ import commands
from study.core.errors import StudyError
from tests.factories import write_dataset

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
# up to what ends it in a sentence or a shell; of no placeholder's name
COMMAND = re.compile(r"python -m study\.[a-z_]+(?: (?:'[^'\n]*'|[^&#>`;:,()\n'])*)?")
STUDY = """
name = "printed"
detectors = ["spectrum"]
train_on = ["it's mine", "b & c"]
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
[detector.spectrum]
size_px = 32
"""
Paste = Callable[[str], str]


class Parsed(Exception):  # noqa: N818
    """A command line was understood; it goes no further."""


def printed(text: str) -> list[str]:
    """The commands in what was printed: at the end of a line, as all that a run prints are."""
    return re.findall(r"python -m study\.\w+ [^\n]*", text)


@pytest.fixture
def paste(capsys: pytest.CaptureFixture[str]) -> Paste:
    """Run a printed command as a shell would, and return what it prints."""

    def run(command: str) -> str:
        python, flag, module, *words = shlex.split(command)
        assert (python, flag) == ("python", "-m")
        assert importlib.import_module(module).main(words) == cli.DONE
        return capsys.readouterr().out

    return run


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Parse a command and do nothing."""
    whole = cli.parse

    def only(parser, arguments):  # type: ignore[no-untyped-def]
        whole(parser, arguments)
        raise Parsed

    monkeypatch.setattr(cli, "parse", only)

    def check(command: str) -> None:
        python, flag, module, *words = shlex.split(command, comments=True)
        assert (python.removeprefix(".venv/bin/"), flag) == ("python", "-m")
        with pytest.raises(Parsed):
            importlib.import_module(module).main(words)

    return check


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with two datasets that have names to be quoted."""
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "my data" / "it's mine", n=30, size=32)
    write_dataset(tmp_path / "my data" / "b & c", n=30, size=96, seed=1)
    (tmp_path / "my study.toml").write_text(STUDY, encoding="utf-8")
    return tmp_path


def only(commands: list[str], name: str) -> str:
    """The one command of a name."""
    (found,) = {c for c in commands if c.startswith(f"python -m study.{name} ")}
    return found


def test_a_study_is_led_from_command_to_command(home: Path, paste: Paste) -> None:
    """From the first look at an empty folder to the audit, by printed commands alone."""
    places = "--results 'my results' --data-root 'my data'"
    first = f"python -m study.prepare 'my study.toml' --set budget.epochs=2 {places}"
    with pytest.raises(StudyError) as error:
        paste(first.replace("prepare", "cross_eval") + " --local")
    to_sweep = only(printed(str(error.value)), "sweep")
    with pytest.raises(StudyError) as error:
        paste(first.replace("prepare", "plan") + " --budget-hours 1")
    assert "--budget-hours 1 runs" in str(error.value)
    assert only(printed(paste(first)), "sweep") == to_sweep.removesuffix(" --local")
    trained = paste(to_sweep)
    files = re.findall(r"sqlite:///([^ ']*(?: [^ ']*)*)'|optuna-dashboard '?([^']*)'?", trained)
    for name in filter(None, (one for pair in files for one in pair)):
        assert Path(unquote(name)).is_file(), name
    to_cross_eval = only(printed(trained), "cross_eval")
    assert to_cross_eval == to_sweep.replace("sweep", "cross_eval")
    looked = paste(only(printed(paste(to_cross_eval)), "audit"))
    assert "it's mine" in looked and "b & c" in looked
    paste(f"{to_cross_eval} --degradations jpeg50 blur1")
    left_out = next(line for line in paste(to_cross_eval).splitlines() if "With them: " in line)
    again = left_out.split("With them: ")[1].split(", or the study's key")[0]
    assert again == f"{to_cross_eval} --degradations jpeg50 blur1"
    assert "jpeg50" in paste(again)


def test_what_ls_and_plan_print_names_the_same_places(home: Path, paste: Paste) -> None:
    begin = only(printed(paste("python -m study.ls runs --results 'my results'")), "sweep")
    assert begin == "python -m study.sweep quick --results 'my results'"
    paste(begin.replace("sweep", "plan"))
    (home / "far.toml").write_text(STUDY.replace("b & c", "cifake"), encoding="utf-8")
    looked = paste("python -m study.plan far.toml --results 'my results' --data-root 'my data'")
    get = only(printed(looked), "prepare")
    assert get == "python -m study.prepare far.toml --results 'my results' --data-root 'my data'"


def few(folder: Path) -> None:
    """Leave three images a class, of which some split has none; the rest comes back as `later`."""
    for path in folder.glob("*/*.png"):
        if int(path.stem) > 2:
            path.rename(path.with_suffix(".later"))


def manifest(folder: Path, path: str, labels: tuple[str, str]) -> None:
    """List the images of a folder."""
    lines = ["path,label,camera"]
    for label, name in zip(labels, ("real", "fake"), strict=True):
        lines += [
            f"{path.format(name, file.name)},{label},mine"
            for file in sorted((folder / name).iterdir())
        ]
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")


DESCRIBED: dict[str, Callable[[Path], None]] = {
    "usable": lambda folder: None,
    "too few": few,
    "its own manifest, from Windows": lambda folder: manifest(folder, "D:\\x\\{}\\{}", ("0", "1")),
    "its own manifest, turned": lambda folder: manifest(folder, "{}/{}", ("1", "0")),
    "its own manifest, usable": lambda folder: manifest(folder, "{}/{}", ("0", "1")),
}


@pytest.mark.parametrize("kind", DESCRIBED)
def test_what_describe_prints_ends_in_a_study_that_can_be_planned(
    kind: str, home: Path, paste: Paste
) -> None:
    """Follow every advice: copy the manifest to its place, run the next command."""
    folder = home / "my data" / "it's mine"
    DESCRIBED[kind](folder)
    command = 'python -m study.prepare --describe "my data/it\'s mine" --results r --out out'
    if kind.endswith("turned"):
        with pytest.raises(StudyError) as error:
            paste(command)
        named = only(printed(str(error.value)), "prepare").split(" writes ")[0]
        command = f"{named} --results r --out out"
    text = paste(command)
    lines_before = rows(folder / "manifest.csv")
    written = re.search(r"^manifest: (.*) \(([\d,]+) rows", text, flags=re.MULTILINE)
    assert written is not None and int(written[2]) == rows(Path(written[1])) > 0
    assert lines_before in (0, rows(Path(written[1])))
    if kind == "too few":
        for path in folder.glob("*/*.later"):
            path.rename(path.with_suffix(".png"))
    else:
        shutil.copy(written[1], folder / "manifest.csv")
    next_one = printed(text)[-1]
    if kind != "usable" and not kind.endswith(", usable"):
        assert next_one.startswith("python -m study.prepare --describe ")
        shutil.rmtree("out")
        next_one = printed(paste(next_one))[-1]
    assert next_one.startswith("python -m study.init ")
    to_prepare = only(printed(paste(next_one)), "prepare")
    assert "it's mine" in paste(to_prepare.replace("study.prepare", "study.plan"))


def rows(path: Path) -> int:
    """The number of rows of a CSV file, 0 where there is none."""
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.is_file() else 0


def examples() -> Iterator[str]:
    """The commands at the end of every command's help."""
    for name in commands():
        yield from COMMAND.findall(importlib.import_module(f"study.{name}").EXAMPLES)


def in_readme() -> Iterator[str]:
    """The commands of the code blocks of the README and of the guides."""
    for page in (README, *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            yield from COMMAND.findall(block)


def in_messages() -> Iterator[str]:
    """The commands that messages of the source name whole, with X in the place of what is known at
    the time.
    """
    for path in sorted((ROOT / "study").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {id(part) for node in ast.walk(tree) for part in parts(node)}
        # a docstring is no message, and EXAMPLES are read whole above
        inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) not in inside and (text := text_of(node)):
                yield from COMMAND.findall(text)


def parts(node: ast.AST) -> list[ast.expr]:
    return node.values if isinstance(node, ast.JoinedStr) else []


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in parts(node))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize("command", sorted({*examples(), *in_readme(), *in_messages()}))
def test_what_help_readme_and_messages_name_is_understood(
    command: str, parse: Callable[[str], None]
) -> None:
    parse(command)

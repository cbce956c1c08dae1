"""`study.init`: a study over folders of one's own, by printed commands to a matrix."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from study import cli, init
from study.analysis.results_csv import read_matrix
from study.core.errors import StudyError
from study.planning import new_study
from study.planning.study_file import load_study
from tests.factories import picture, write_dataset, write_image

Init = Callable[..., str]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Init:
    """Run init in an empty folder, without a terminal, and return what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    def call(*words: str) -> str:
        assert init.main(words) == cli.DONE
        return capsys.readouterr().out

    return call


def classes(folder: Path, **labels: int) -> Path:
    """A folder of class folders, one for each name."""
    for name, label in labels.items():
        for number in range(30):
            write_image(folder / name / f"{number}.png", picture(label, size=16, seed=number))
    return folder


def refusal(run: Init, *words: str) -> str:
    with pytest.raises(StudyError) as error:
        run(*words)
    assert not Path("my_study.toml").exists() and not Path("my_study_data").exists()
    return str(error.value)


def test_two_folders_to_a_matrix_by_the_printed_commands(
    tmp_path: Path, run: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_study, "DETECTORS", ("spectrum",))
    write_dataset(tmp_path / "here" / "my photos", n=30, size=32)
    classes(tmp_path / "there" / "theirs", camera_photos=0, made_by_AI=1)
    commands = re.findall(r"python -m .*", run("here/my photos", "there/theirs"))
    assert [shlex.split(command)[2] for command in commands] == [
        f"study.{step}" for step in ("prepare", "sweep", "cross_eval")
    ]
    for command in commands:
        _, _, module, *words = shlex.split(command)
        local = [] if module.endswith("prepare") else ["--local"]
        assert importlib.import_module(module).main([*words, *local]) == cli.DONE
    rows = read_matrix(Path("results/my_study/matrix.csv"))
    cells = {(row.train_on, row.test_on) for row in rows if row.is_plain and row.metric == "auc"}
    names = ("my photos", "theirs")
    assert {(x, y) for x in names for y in names} <= cells


def test_few_images_and_one_dataset_are_told(tmp_path: Path, run: Init) -> None:
    write_dataset(tmp_path / "mine", n=30, size=128)
    said = run("mine")
    assert re.search(r"mine: few test images: on \d+ reals and \d+ fakes an AUC of 0\.80", said)
    assert "mine alone has no cross-domain cell: name a second dataset" in said
    assert "Share of an image's side that it sees: 50% of mine" not in said  # half is not little
    assert "npr crops" not in said


@pytest.mark.parametrize(
    ("folders", "names", "named"),
    [
        (["data/a"], ["a"], {}),
        (["data"], ["a", "b"], {}),  # a folder that holds datasets
        (["data/a/real", "data/a/fake"], ["a"], {}),  # the classes of one
        (["pics"], ["pics"], {"photos": 0, "ai": 1}),
        (["pics/photos", "pics/ai", "data/b"], ["b", "pics"], {"photos": 0, "ai": 1}),
        (["wrapped"], ["wrapped"], {"photos": 0, "ai": 1}),
        (["half"], ["half"], {"photos": 0}),
    ],
)
def test_what_folders_are(
    folders: list[str], names: list[str], named: dict[str, int], tmp_path: Path, run: Init
) -> None:
    for seed, name in enumerate(("a", "b")):
        write_dataset(tmp_path / "data" / name, n=30, size=16, seed=seed)
    classes(tmp_path / "pics", photos=0, ai=1)
    classes(tmp_path / "wrapped" / "inner", photos=0, ai=1)
    classes(tmp_path / "half", photos=0, fake=1)
    run(*folders)
    study = load_study("my_study.toml")
    assert sorted(study.train_on) == sorted(study.test_on) == names
    assert dict(study.data.class_folders) == named


def test_what_a_name_does_not_say_is_asked_for(
    tmp_path: Path, run: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal the command stops, and what it prints works."""
    classes(tmp_path / "likely", photos=0, x7=1)
    classes(tmp_path / "open", one=0, other=1)
    message = refusal(run, "likely")
    (again,) = re.findall(r"python -m study\.init (.*)", message)
    assert again == "likely --class-folder x7=fake"
    assert "say it with --class-folder one=real --class-folder other=real" in refusal(run, "open")
    run(*shlex.split(again), "--out", "first.toml")
    assert load_study("first.toml").data.class_folders == {"photos": 0, "x7": 1}
    asked, answers = [], iter(["r", "maybe", "FAKE"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: (asked.append(text), next(answers))[1])
    run("open")
    assert load_study("my_study.toml").data.class_folders == {"one": 0, "other": 1}
    assert [text.split("/")[-1] for text in asked] == ["one: real or fake? "] + 2 * [
        "other: real or fake? "
    ]
    monkeypatch.setattr("builtins.input", lambda text: "" if text.endswith("[fake] ") else "?")
    run("likely", "--out", "entered.toml")
    assert load_study("entered.toml").data.class_folders == {"photos": 0, "x7": 1}


def test_what_cannot_be_a_study_is_refused_before_a_file_is_written(
    tmp_path: Path, run: Init
) -> None:
    write_dataset(tmp_path / "photos" / "a", n=30, size=16)
    write_dataset(tmp_path / "more" / "a", n=30, size=16)
    write_dataset(tmp_path / "small", n=2, size=16)
    classes(tmp_path / "pics", photos=0, ai=1, fake=1)
    (tmp_path / "empty").mkdir()
    for words, text in (
        (["photos/b"], "unknown folder 'b'. Valid: a"),
        (["photo"], "did you mean 'photos'?"),
        (["photos/a/real/0000.png"], "is a file"),
        (["photos/a", "photos/a/"], "is named twice"),
        (["photos/a", "photos"], "lies in"),
        (["photos/a/real", "photos/a/fake", "photos/a"], "of it too"),
        (["photos/a", "more/a"], "have one name"),
        (["photos/a/real"], "it is one class"),
        (["pics/photos", "pics/ai"], "holds 'fake'"),
        (["empty"], "it holds: nothing"),
        (["small"], "to look at it: python -m study.prepare --describe"),
        (["photos/a", "--class-folder", "real=genuine"], "NAME=real or NAME=fake"),
        (["photos/a", "--out", "study.txt"], "NAME.toml"),
        (["photos/a", "--out", "nowhere/study.toml"], "is no folder"),
    ):
        assert text in refusal(run, *words), words


@pytest.mark.parametrize("there", ["my_study.toml", "my_study_data/x", "results/my_study/x"])
def test_nothing_is_written_over(there: str, tmp_path: Path, run: Init) -> None:
    write_dataset(tmp_path / "a", n=30, size=16)
    path = tmp_path / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(StudyError, match="is not written over"):
        run("a")
    assert path.read_text(encoding="utf-8") == "mine"


def test_a_dataset_that_is_only_tested_on_and_many_images(tmp_path: Path) -> None:
    new = [
        new_study.NewDataset(name="a", about="", splits=frozenset(["train", "test"]), largest=9999),
        new_study.NewDataset(name='b "', about="", splits=frozenset(["test"]), largest=10),
    ]
    text = new_study.new_study_text(
        "mine", new, root=tmp_path, class_folders={"x y": 1}, commands=[]
    )
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    study = load_study(str(tmp_path / "mine.toml"))
    assert (study.train_on, study.test_on) == (("a",), ("a", 'b "'))
    assert study.data.max_per_class == new_study.MANY

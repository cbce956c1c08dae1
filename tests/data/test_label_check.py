"""Labels that a table's own words contradict: refused where nearly all do, said where some do, and
left alone where the words mean something else.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from study import audit, cli, prepare, score
from study.core.errors import ConfigError, DataError
from study.data.class_words import SILENT, class_said
from study.data.layouts.folders import find_layout
from study.data.layouts.manifest import read_manifest
from study.data.predictions import read_predictions
from tests.factories import picture, write_image

N = 12  # images a class
FOLDERS = {
    "class folders": ("real/{}.png", "fake/{}.png"),
    "capitals, under splits": ("train/REAL/{}.png", "train/FAKE/{}.png"),
    "numbered": ("0_real/{}.png", "1_fake/{}.png"),
    "training_": ("training_real/{}.png", "training_fake/{}.png"),
    "Celeb-DF": ("Celeb-real/{}.png", "Celeb-synthesis/{}.png"),
    "FaceForensics++": ("original_sequences/a/{}.png", "manipulated_sequences/b/{}.png"),
    "like this": ("RealImages/{}.png", "AIGenerated/{}.png"),
    "file names": ("real_{}.png", "fake_{}.png"),
    "file names in one folder": ("faces/{}_original.png", "faces/{}_deepfake.png"),
    "one class says it": ("real/{}.png", "stylegan/{}.png"),
    "the other says it": ("ffhq/{}.png", "fake/{}.png"),
    "below a name of both": ("real-and-fake/real/{}.png", "real-and-fake/fake/{}.png"),
}
WORDS = {
    "label_str": ("real", "fake"),
    "class": ("Real", "Deepfake"),
    "type": ("authentic", "AI-generated"),
    "source": ("original", "stylegan"),
    "original_path": ("/kaggle/x/train/real/1.jpg", "/kaggle/x/train/fake/1.jpg"),
}


def rows_of(
    names: tuple[str, str],
    labels: tuple[str, str],
    column: str = "",
    words: tuple[str, str] = ("", ""),
) -> list[str]:
    """A header, and N rows of either class, with a score that tells them apart."""
    lines = ["path,label,score" + f",{column}" * bool(column)]
    for label in (0, 1):
        for number in range(N):
            line = f"{names[label].format(number)},{labels[label]},{label * 4 - 2 + number / N}"
            lines.append(line + f",{words[label]}" * bool(column))
    return lines


Make = Callable[[list[str]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """Write rows as the manifest of a folder with an image for each."""

    def make(lines: list[str]) -> Path:
        root = tmp_path / "data" / "mine"
        for number, line in enumerate(lines[1:]):
            write_image(root / line.split(",")[0], picture(0, size=8, seed=number))
        (root / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
        return root

    return make


TURNED = [("1", "0"), ("fake", "real"), ("Fake", "REAL")]


@pytest.mark.parametrize("labels", TURNED)
@pytest.mark.parametrize("names", FOLDERS.values(), ids=FOLDERS)
def test_turned_labels_are_refused_with_line_counts_and_remedy(
    names: tuple[str, str], labels: tuple[str, str], folder: Make
) -> None:
    root = folder(rows_of(names, labels))
    with pytest.raises(DataError) as error:
        read_manifest(root)
    message = str(error.value)
    assert f"{root / 'manifest.csv'}, line " in message
    assert f"label '{labels[0]}'" in message or f"label '{labels[1]}'" in message
    assert f"--describe {root} --fake-label {labels[1]} " in message
    spoken = N if "{" in names[0] and message.count(f"{N} of the {N} rows") else 2 * N
    assert f"in {spoken} of the {spoken} rows whose path says a class" in message
    # as a file of scores the same rows are refused too, and turned by the option
    file = root / "scores.csv"
    file.write_text("\n".join(rows_of(names, labels)), encoding="utf-8")
    with pytest.raises(DataError, match=f"--fake-label {labels[1]} to turn them"):
        read_predictions(file, {})
    turned = read_predictions(file, {}, fake_label=labels[1])
    assert turned.scores.label.tolist() == [0] * N + [1] * N


@pytest.mark.parametrize("names", FOLDERS.values(), ids=FOLDERS)
def test_labels_that_agree_are_read(names: tuple[str, str], folder: Make) -> None:
    lines = rows_of(names, ("0", "1"))
    root = folder(lines)
    listing = read_manifest(root)
    assert listing.table["label"].to_pylist() == [0] * N + [1] * N
    assert listing.skipped == ()


@pytest.mark.parametrize(("column", "words"), WORDS.items(), ids=WORDS)
def test_a_column_of_text_that_contradicts_is_refused(
    column: str, words: tuple[str, str], folder: Make
) -> None:
    names = ("a/{}.png", "b/{}.png")
    root = folder(rows_of(names, ("1", "0"), column, words))
    with pytest.raises(DataError, match=rf"{column} '.*' says (real|fake).* whose {column} says"):
        read_manifest(root)
    assert read_manifest(root, fake_label="0").table["label"].to_pylist() == [0] * N + [1] * N
    folder(rows_of(names, ("0", "1"), column, words))
    assert read_manifest(root).table["label"].to_pylist() == [0] * N + [1] * N


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        # one folder of both classes says nothing of either
        (("real_world/{}.png", "real_world/x{}.png"), ("1", "0")),
        # methods that begin with the word
        (("coco/{}.png", "Real-ESRGAN/{}.png"), ("0", "1")),
        (("coco/{}.png", "RealVisXL/{}.png"), ("0", "1")),
        (("real/{}.png", "not_real/{}.png"), ("0", "1")),
        (("humans/{}.png", "humans/g{}.png"), ("1", "0")),
        (("cars/{}.png", "humans/{}.png"), ("0", "1")),  # what they show
        (("0/{}.png", "1/{}.png"), ("1", "0")),
    ],
)
def test_what_only_looks_like_a_class_refuses_nothing(
    names: tuple[str, str], labels: tuple[str, str], folder: Make
) -> None:
    table = read_manifest(folder(rows_of(names, labels))).table
    assert table["label"].to_pylist() == [int(labels[0])] * N + [int(labels[1])] * N


@pytest.mark.parametrize("nothing", ["", "nan", "-", "None"])
def test_what_a_fake_was_made_of_is_no_label(nothing: str, folder: Make) -> None:
    """A column with the real original of every fake."""
    names, made_of = ("a/{}.png", "b/{}.png"), (nothing, "real/1.png")
    table = read_manifest(folder(rows_of(names, ("0", "1"), "made_of", made_of))).table
    assert table["label"].to_pylist() == [0] * N + [1] * N


def test_a_few_that_contradict_are_said_and_the_label_decides(folder: Make) -> None:
    lines = rows_of(("real/{}.png", "fake/{}.png"), ("real", "fake"))
    lines[2] = lines[2].replace(",real,", ",fake,")
    listing = read_manifest(folder(lines))
    assert sum(listing.table["label"].to_pylist()) == N + 1
    ((what, why),) = listing.skipped
    assert (
        what == "column 'path'" and "in 1 of the 24 rows" in why and "line 3: 'real/1.png'" in why
    )


def test_the_name_of_a_collection_of_both_classes_contradicts_nothing(folder: Make) -> None:
    names = ("a/{}.png", "b/{}.png")
    repository = ("someone/DeepFake-Detection",) * 2
    listing = read_manifest(folder(rows_of(names, ("0", "1"), "source_repo", repository)))
    assert listing.skipped == ()
    # the word alone is a label, and half of them contradict ours
    listing = read_manifest(folder(rows_of(names, ("0", "1"), "class", ("fake", "fake"))))
    assert [what for what, _ in listing.skipped] == ["column 'class'"]


def test_what_a_detector_said_is_no_evidence(tmp_path: Path) -> None:
    """A detector that is always wrong is a finding, and its file is read."""
    lines = rows_of(("a/{}.png", "b/{}.png"), ("1", "0"), "prediction", ("real", "fake"))
    (tmp_path / "p.csv").write_text("\n".join(lines), encoding="utf-8")
    assert read_predictions(tmp_path / "p.csv", {}).scores.label.tolist() == [1] * N + [0] * N


def test_the_printed_remedy_ends_in_a_dataset_that_can_be_used(
    folder: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a person would: paste the command of the error, copy the file, look again."""
    monkeypatch.chdir(tmp_path)
    root = folder(rows_of(("t/real/{}.png", "t/fake/{}.png"), ("1", "0"), "note", ("x", "y")))
    for look in (prepare.main, audit.main):
        arguments = ["--describe", str(root)] if look is prepare.main else ["--datasets", "mine"]
        arguments += [] if look is prepare.main else ["--data-root", str(root.parent)]
        with pytest.raises(DataError) as error:
            look(arguments)
    command = str(error.value).split("way round. ")[1].split(" writes ")[0]
    assert prepare.main(shlex.split(command)[3:]) == cli.DONE
    assert "next, when the manifest is in its place: " in capsys.readouterr().out
    written = (tmp_path / "mine-manifest.csv").read_text(encoding="utf-8")
    assert written.startswith("path,label,score,note,method,group,split\nt/real/0.png,real,-2.0,x,")
    (root / "manifest.csv").write_text(written, encoding="utf-8")
    assert prepare.main(["--describe", str(root), "--out", "again"]) == cli.DONE
    assert "12 real and 12 fake images" in capsys.readouterr().out


def test_a_value_of_the_label_that_cannot_be_meant(folder: Make, tmp_path: Path) -> None:
    root = folder(rows_of(("a/{}.png", "b/{}.png"), ("original", "swapped")))
    assert read_manifest(root, fake_label="SWAPPED").table["label"].to_pylist() == [0] * N + [1] * N
    with pytest.raises(DataError, match="unknown value 'swaped': did you mean 'swapped'"):
        read_manifest(root, fake_label="swaped")
    with (root / "manifest.csv").open("a", encoding="utf-8") as file:
        file.write("\na/0.jpg,other,1")
    with pytest.raises(DataError, match=r"more than one value beside 'swapped': 'original' \(12 "):
        read_manifest(root, fake_label="swapped")
    (tmp_path / "plain" / "real").mkdir(parents=True)
    (tmp_path / "plain" / "fake").mkdir()
    with pytest.raises(DataError, match=r"--fake-label 0: '.*plain' has no manifest.csv"):
        prepare.main(
            ["--describe", str(tmp_path / "plain"), "--fake-label", "0", "--out", str(tmp_path)]
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[(name, 0) for name in ("real", "REALS", "0_real", "Real_youtube", "training-real")],
        *[(name, 0) for name in ("YouTube-real", "pristine", "OriginalImages", "nature")],
        *[(name, 1) for name in ("fake", "1_fake", "Fakes", "deepfakes", "ai", "AI-generated")],
        *[(name, 1) for name in ("Celeb-synthesis", "synthetic_faces", "StyleGANFake")],
        *[(name, SILENT) for name in ("stylegan", "realistic", "unreal", "not_real", "real_fake")],
        *[(name, SILENT) for name in ("surreal", "fakery", "non-fake", "aircraft", "", "0", "air")],
    ],
)
def test_names_say_a_class_or_none(name: str, said: int) -> None:
    assert class_said(name) == said


@pytest.mark.parametrize(
    ("asked", "auc"),
    [(("--fake-label", "0"), "1.0000"), (("--higher-is-real",), "1.0000"), ((), "0.0000")],
)
def test_an_auc_wholly_below_a_half_is_said_first(
    asked: tuple[str, ...], auc: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{int(n < N)},{n / 10 - N / 10 + 0.05!r}" for n in range(2 * N)]
    (tmp_path / "p.csv").write_text("\n".join(["label,score", *lines]), encoding="utf-8")
    assert score.main([str(tmp_path / "p.csv"), *asked]) == cli.DONE
    printed = capsys.readouterr().out
    first = printed.splitlines()[0]
    assert next(line.split()[1] for line in printed.splitlines() if line[:4] == "auc ") == auc
    assert first.startswith("note: the AUC of 0.000 lies wholly below 0.5") == (auc == "0.0000")
    if auc == "0.0000":
        assert "--fake-label 0 if 0 means fake, or --higher-is-real if" in first


def test_a_method_that_lies_below_a_half_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    means = {"camera": 0.0, "easy": 3.0, "odd": -3.0}
    lines = [
        f"{int(method != 'camera')},{mean + rng.normal()!r},{method}"
        for method, mean in means.items()
        for _ in range(60 if method == "easy" else 30)
    ]
    (tmp_path / "p.csv").write_text("\n".join(["label,score,method", *lines]), encoding="utf-8")
    assert score.main([str(tmp_path / "p.csv")]) == cli.DONE
    assert capsys.readouterr().out.startswith("note: the AUC of method:odd lies wholly below 0.5")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"real": 1, "fake": 0},
            r"class folder 'real' is given as fake \(1\), .* says real",
        ),
        ({"Fakes": 0, "x": 1}, r"class folder 'Fakes' is given as real \(0\), .* 1 is fake"),
        ({"0_real": 1}, "0_real"),
        ({"Real-ESRGAN": 1, "fakery": 0, "real_fake": 0, "authentic": 0}, ""),
    ],
)
def test_class_folders_that_are_named_the_wrong_way_round(
    named: dict[str, int], message: str, tmp_path: Path
) -> None:
    for name in named:
        write_image(tmp_path / name / "x.png", picture(0, size=8))
    if message:
        with pytest.raises(ConfigError, match=message):
            find_layout(tmp_path, class_folders=named)
    else:
        assert find_layout(tmp_path, class_folders=named) is not None

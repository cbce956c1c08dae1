"""`python -m study.score`: the numbers of a file agree with scikit-learn, as a table and as
JSON.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.stats import binomtest

from study import cli, score
from study.core.errors import DataError
from study.statistics.metrics import METRICS


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """label, probability, group, method of 90 images: three frames a video, fakes by two
    methods.
    """
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 3)
    label = (group % 3 > 0).astype(int)
    method = np.array(["camera", "gan", "diffusion"])[group % 3]
    probability = 1 / (
        1 + np.exp(-(rng.normal(size=90) + rng.normal(size=30)[group] + 1.2 * label - 0.5))
    )
    return label, probability, group, method


@pytest.fixture
def file(sample, tmp_path: Path) -> Path:
    path = tmp_path / "predictions.csv"
    lines = [
        f"{y},{p!r},v{g},{m}\n"
        for y, p, g, m in zip(*(column.tolist() for column in sample), strict=True)
    ]
    path.write_text("is_fake,p_fake,video,method\n" + "".join(lines), encoding="utf-8")
    return path


NAMED = ("--label", "is_fake", "--score", "p_fake", "--group", "video", "--probability")


def test_json_has_every_number_and_they_are_scikit_learns(
    file: Path, sample, capsys: pytest.CaptureFixture[str]
) -> None:
    label, p, _, method = sample
    assert score.main([str(file), *NAMED, "--json"]) == cli.DONE
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("images", "real", "fake", "groups", "notes")} == {
        "images": 90,
        "real": 30,
        "fake": 60,
        "groups": 30,
        "notes": [],
    }
    rows = {(r["level"], r["metric"], r["threshold"]): r for r in found["rows"]}
    pooled = {(m, t) for level, m, t in rows if level == "image"}
    known = METRICS.values()
    assert pooled == {(m.name, "") for m in known if not m.of_source and not m.at_threshold} | {
        (m.name, t) for m in known if m.at_threshold for t in ("fixed", "oracle")
    }
    expected = {
        ("auc", ""): sk.roc_auc_score(label, p),
        ("ap", ""): sk.average_precision_score(label, p),
        ("brier", ""): sk.brier_score_loss(label, p),
        ("nll", ""): sk.log_loss(label, p),
        ("f1", "fixed"): sk.f1_score(label, p >= 0.5),
        ("balanced_accuracy", "fixed"): sk.balanced_accuracy_score(label, p >= 0.5),
        ("fp", "fixed"): sk.confusion_matrix(label, p >= 0.5)[0, 1],
    }
    for (metric, threshold), value in expected.items():
        row = rows["image", metric, threshold]
        assert (
            row["value"] == pytest.approx(value, abs=1e-12)
            and row["low"] <= row["value"] <= row["high"]
        )
    for name in ("gan", "diffusion"):
        kept = (label == 0) | (method == name)
        assert rows[f"method:{name}", "auc", ""]["value"] == pytest.approx(
            sk.roc_auc_score(label[kept], p[kept]), abs=1e-12
        )
        assert rows[f"method:{name}", "auc", ""]["n_fake"] == 30


def test_the_table_shows_the_same_numbers(
    file: Path, sample, capsys: pytest.CaptureFixture[str]
) -> None:
    label, p, _, method = sample
    assert score.main([str(file), *NAMED]) == cli.DONE
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    by_name = {tuple(line[:2]): line for line in lines if len(line) > 2}
    assert f"{sk.roc_auc_score(label, p):.4f}" == next(
        line[1] for line in lines if line[:1] == ["auc"]
    )
    assert f"{sk.accuracy_score(label, p >= 0.5):.4f}" == by_name["accuracy", "fixed"][2]
    gan = next(line for line in lines if line[:1] == ["method:gan"])
    right = sk.recall_score(label[method == "gan"], p[method == "gan"] >= 0.5)
    assert gan[1:3] == ["30", "30"] and gan[6] == f"{right:.4f}"


def test_json_is_json_whatever_the_output_can_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prédictions 😀.csv"
    path.write_text("label,score,method\n0,-1,réel\n1,2,\n", encoding="utf-8")
    assert score.main([str(path), "--json"]) == cli.DONE
    printed = capsys.readouterr().out
    assert printed.isascii() and json.loads(printed)["file"] == str(path)


def test_groups_widen_the_interval(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The frames of a video share an effect, so 30 videos say less than 90 images would."""
    widths = []
    for options in (NAMED, tuple(o for o in NAMED if o not in ("--group", "video"))):
        assert score.main([str(file), *options, "--json"]) == cli.DONE
        row = json.loads(capsys.readouterr().out)["rows"][0]
        assert row["metric"] == "auc"
        widths.append(row["high"] - row["low"])
    assert widths[0] > 1.2 * widths[1]


def test_one_class_is_undefined_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fakes.csv"
    path.write_text("label,score\n" + "1,2\n1,-3\n" * 5, encoding="utf-8")
    assert score.main([str(path), "--json"]) == cli.DONE
    rows = {(r["metric"], r["threshold"]): r for r in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["auc", ""]["value"] is None and rows["auc", ""]["undefined"] == "no real images"
    assert rows["recall", "fixed"]["value"] == 0.5
    assert score.main([str(path)]) == cli.DONE
    assert "undefined" in capsys.readouterr().out


def test_an_oracle_at_infinity_is_still_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "constant.csv"
    path.write_text("label,score\n" + "1,2\n0,2\n" * 5, encoding="utf-8")
    assert score.main([str(path), "--json"]) == cli.DONE
    rows = {(r["metric"], r["threshold"]): r for r in json.loads(capsys.readouterr().out)["rows"]}
    assert (
        rows["auc", ""]["value"] == rows["eer", ""]["value"] == 0.5
        and rows["balanced_accuracy", "oracle"]["value"] == 0.5
    )
    assert rows["eer_threshold", ""]["value"] == 2
    # five pairs that tie say little: an exact bound, and none of what nothing bounds
    low = 0.025 ** (1 / 5) / 2
    assert rows["auc", ""]["low"] == pytest.approx(low)
    assert rows["auc", ""]["high"] == pytest.approx(1 - low)
    assert rows["eer", ""]["low"] is None


def test_a_wrong_file_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("label,score\n1,2\nmaybe,3\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda _: score.main([str(path)]))
    assert stop.value.code == cli.BAD_INPUT
    assert (
        capsys.readouterr().err
        == f"error: {path}, line 3: label 'maybe' must be 0 or real, 1 or fake;"
        " of two other words --fake-label says which means fake\n"
    )


def test_a_semicolon_file_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "semicolons.csv"
    path.write_text("label;score\n1;2\n0;1\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"line 1: the file is separated by ';' \(label;score\); it must be by ','"
    ):
        score.main([str(path)])


def test_notes_come_first_and_counts_have_whole_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "probabilities.csv"
    rng = np.random.default_rng(1)
    lines = [f"{i % 2},{p:.3f}" for i, p in enumerate(rng.random(40))]
    path.write_text("\n".join(["label,score", *lines]), encoding="utf-8")
    assert score.main([str(path)]) == cli.DONE
    text = capsys.readouterr().out
    assert text.startswith("note: all scores lie in [0, 1]") and text.count("--probability") == 1
    assert score.main([str(path), "--json"]) == cli.DONE
    rows = {(r["metric"], r["threshold"]): r for r in json.loads(capsys.readouterr().out)["rows"]}
    shown = {tuple(line.split()[:2]): line for line in text.splitlines() if line}
    assert rows["tp", "fixed"]["value"] == 20 and rows["tp", "fixed"]["low"] % 1  # an exact bound
    for name in ("tp", "fp", "tn", "fn"):
        row = rows[name, "fixed"]
        interval = re.search(r"\[(\d+), (\d+)\]", shown[name, "fixed"])
        assert interval is not None
        low, high = map(int, interval.groups())
        assert (
            row["low"] - 1 < low <= row["low"] + 1e-9
            and row["high"] - 1e-9 <= high < row["high"] + 1
        )
        # chosen on these very images, so nothing bounds what it would count on others
        assert rows[name, "oracle"]["low"] is None and "no interval" in rows[name, "oracle"]["note"]


def test_one_group_an_image_is_no_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twenty reals and twenty fakes, four of each wrong: however the groups are named, or not at
    all, the numbers are the same.
    """
    rng = np.random.default_rng(2)
    found = []
    logits = np.where(np.arange(40) % 20 < 4, -1, 1) * np.repeat([-1, 1], 20) * (1 + rng.random(40))
    for name in ("", "g{:02d}", "{}"):
        path = tmp_path / "groups.csv"
        places = rng.permutation(40)
        lines = [
            f"{int(i >= 20)},{z!r}" + f",{name.format(places[i])}" * bool(name)
            for i, z in enumerate(logits.tolist())
        ]
        path.write_text(
            "\n".join(["label,score" + ",group" * bool(name), *lines]), encoding="utf-8"
        )
        assert score.main([str(path), "--json"]) == cli.DONE
        found.append(json.loads(capsys.readouterr().out)["rows"])
    for one, other, third in zip(*found, strict=True):
        for end in ("low", "high"):
            assert (
                one[end]
                == pytest.approx(other[end], abs=1e-12)
                == pytest.approx(third[end], abs=1e-12)
            ), one["metric"]
    rates = {r["metric"]: (r["low"], r["high"]) for r in found[0] if r["threshold"] == "fixed"}
    low, high = binomtest(16, 20).proportion_ci(method="exact")
    assert rates["recall"] == rates["real_accuracy"] == (pytest.approx(low), pytest.approx(high))


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """150 folders of 20 frames: those of a video share an effect. The last column is the folder
    again.
    """
    rng = np.random.default_rng(4)
    video = np.repeat(np.arange(150), 20)
    label = video % 2
    logit = 1.5 * (label - 0.5) * 3 + rng.normal(size=150)[video] + rng.normal(size=3_000)
    path = tmp_path / "frames.csv"
    lines = [
        f"{y},{z:.6f},videos/{v:03d}/{i:05d}.png,v{v:03d}"
        for i, (y, z, v) in enumerate(zip(label, logit, video, strict=True))
    ]
    path.write_text("\n".join(["label,score,path,video", *lines]), encoding="utf-8")
    return path


def test_many_images_a_folder_are_questioned_and_grouped_on_request(
    frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An EER of .045 [.041, .048] by images was [.022, .084] by folders, without a word."""
    found = {}
    for options in ((), ("--group-by-folder",), ("--group", "video")):
        assert score.main([str(frames), *options, "--json"]) == cli.DONE
        found[options[:1]] = json.loads(capsys.readouterr().out)
    plain, by_folder, by_column = found.values()
    assert [note.split(":")[0] for note in plain["notes"]] == [
        "path has 150 folders of 20 images each on average, like 'videos/000', and every image"
        " counts as independent. If the images of a folder belong together (frames of a video,"
        " photos of a person), all intervals are too narrow"
    ]
    assert by_folder["notes"] == by_column["notes"] == []
    assert by_folder["groups"] == 150 and by_folder["rows"] == by_column["rows"]
    widths = [
        next(r["high"] - r["low"] for r in one["rows"] if r["metric"] == "eer")
        for one in (plain, by_folder)
    ]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize(
    "name",
    [
        "test/{word}/{i}.png",
        "gen{part}/{word}/{i}.png",
        "a/{part}/{i}.png",
        "{i}.png",
        "v/{i}/0.png",
    ],
)
def test_folders_of_classes_of_few_sources_and_of_single_images_are_not_questioned(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "folders.csv"
    parts = 30 if "gen" in name else 8
    lines = [
        f"{i % 2},{i % 7 - 3},"
        + name.format(i=i, word="0_real" if i % 2 == 0 else "1_fake", part=i % parts)
        for i in range(400)
    ]
    path.write_text("\n".join(["label,score,path", *lines]), encoding="utf-8")
    assert score.main([str(path), "--json"]) == cli.DONE
    assert json.loads(capsys.readouterr().out)["notes"] == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("label,score\n0,1\n1,2\n", "has no column of paths, so --group-by-folder has no folders"),
        ("label,score,path\n0,1,a/b.png\n1,2,c.png\n", "line 3: path 'c.png' has no folder"),
    ],
)
def test_folders_that_are_not_there_are_an_error(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "none.csv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        score.main([str(path), "--group-by-folder"])

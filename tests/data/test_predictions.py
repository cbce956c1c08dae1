"""Anybody's CSV file: what is read, what is said, and which line is at fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from study.core.errors import DataError
from study.data.predictions import read_predictions
from study.statistics import metrics


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "file.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_labels_scores_groups_and_methods(written) -> None:
    read = read_predictions(
        written(
            "score,label,group,extra,method\n1.5,FAKE,a,x,gan\n-2,0,a,,\n 3 , 1"
            " ,,y,\n\n-1,Real,b,,web\n"
        ),
        {},
    )
    scores = read.scores
    assert scores.label.tolist() == [1, 0, 1, 0] and scores.logit.tolist() == [1.5, -2, 3, -1]
    assert scores.group.tolist() == ["a", "a", "line 00000004", "b"]
    assert scores.method.tolist() == ["gan", "real", "fake", "web"]
    assert scores.sample_id.tolist() == [
        "line 00000002",
        "line 00000003",
        "line 00000004",
        "line 00000006",
    ]
    assert read.notes == ()


def test_a_byte_order_mark_and_other_names_of_columns(written) -> None:
    path = written(b"\xef\xbb\xbfy,p,clip\r\n1.0,2.5,a\r\n0.0,-2.5,a\r\n")
    read = read_predictions(path, {"label": "y", "score": "p", "group": "clip"})
    assert read.scores.label.tolist() == [1, 0] and read.scores.group.tolist() == ["a", "a"]


def test_without_groups_every_image_is_its_own(written) -> None:
    read = read_predictions(written("label,score\n1,2\n0,-1\n"), {})
    assert len(set(read.scores.group)) == 2 and read.scores.method.tolist() == ["fake", "real"]


def test_scores_between_0_and_1_are_questioned(written) -> None:
    assert (
        "say --probability" in read_predictions(written("label,score\n1,0.9\n0,0.1\n"), {}).notes[0]
    )
    assert (
        read_predictions(written("label,score\n1,0.9\n0,0.1\n"), {}, unit="probability").notes == ()
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-300, 5e-324, 1 - 2**-53]),
        min_size=2,
        max_size=30,
    ),
    st.randoms(),
)
def test_probabilities_keep_their_order_and_come_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], random
) -> None:
    # far enough apart for a logit to tell them
    values = sorted({float(f"{value:.6g}") for value in values} | {0.25, 0.5})
    random.shuffle(values)
    label = [i % 2 for i in range(len(values))]
    path = tmp_path_factory.mktemp("p") / "p.csv"
    path.write_text(
        "label,score\n" + "".join(f"{y},{p!r}\n" for y, p in zip(label, values, strict=True)),
        encoding="utf-8",
    )
    read = read_predictions(path, {}, unit="probability")
    assert np.isfinite(read.scores.logit).all()
    assert np.argsort(read.scores.logit).tolist() == np.argsort(values).tolist()
    assert metrics.sigmoid(read.scores.logit) == pytest.approx(values, abs=1e-15)
    assert metrics.auc(label, read.scores.logit) == pytest.approx(
        roc_auc_score(label, values), abs=1e-12
    )
    clipped = sum(value in (0, 1) for value in values)
    assert [
        note.startswith(f"{clipped} of {len(values)} probabilities are exactly 0 or 1")
        for note in read.notes
    ] == [True] * (clipped > 0)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "line 1: the file is empty"),
        ("label,score\n", {}, "lists no images"),
        (
            "1,0.5\n0,-2e-3\n",
            {},
            "line 1: '1,0.5' is a row and no header; write",
        ),
        ("fake,0.5\n", {}, "line 1: 'fake,0.5' is a row and no header"),
        (
            "label,scores\n1,2\n",
            {},
            (
                "line 1: unknown column 'score': did you mean 'scores'? Valid: label, scores;"
                " --score NAME"
            ),
        ),
        ("label,score\n1,2\n", {"group": "video"}, "unknown column 'video'"),
        ("label,score,score\n1,2,3\n", {}, "line 1: the column 'score' stands there twice"),
        ("label,score\n1,2\n\n2,3\n", {}, "line 4: label '2' must be 0 or real, 1 or fake"),
        ("label,score\n1,2\n,3\n", {}, "line 3: label '' must be"),
        ("label,p\n1,2\n0,high\n", {"score": "p"}, "line 3: p 'high' is not a number"),
        ("label,score\n1,\n", {}, "line 2: score '' is not a number"),
        ("label,score\n1,2\n0,nan\n", {}, "line 3: score 'nan' is not finite"),
        ("label,score\n1,-inf\n", {}, "line 2: score '-inf' is not finite"),
        ("label,score\n1,2\n0\n", {}, "line 3: 1 fields, fewer than the header asks for"),
        ('label,score\n1,"2\n', {}, "line 2: unexpected end of data"),
        (b"label,score\n\xff,2\n", {}, "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(written, text, columns, message: str) -> None:
    path = written(text)
    with pytest.raises(DataError) as caught:
        read_predictions(path, columns)
    assert (
        str(path) in str(caught.value)
        and message in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_a_probability_beyond_1_and_a_missing_file(written, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: score 1.5 is no probability"):
        read_predictions(written("label,score\n1,0.5\n0,1.5\n"), {}, unit="probability")
    with pytest.raises(DataError, match=r"none.csv cannot be read: No such file"):
        read_predictions(tmp_path / "none.csv", {})
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_predictions(tmp_path, {})


def rows(*lines: str, head: str = "label,score") -> str:
    return "\n".join([head, *lines])


PERCENT = rows("1,99.4", "0,0.2", "1,51", "0,38.5")


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        (PERCENT, "", "line 2: score 99.4, and all lie in [0, 100]: .* --percent .* --logit"),
        (PERCENT, "probability", "line 2: score 99.4 is no probability in .* say --percent for"),
        (rows("1,99", "0,-2"), "probability", "line 2: score 99 is no .*; leave --probability out"),
        (rows("1,101", "0,2"), "percent", r"line 2: score 101 is no percent in \[0, 100\]"),
        (rows("1,99.4%", "0,2%"), "", "line 2: score '99.4%' is not a number; take the sign off"),
        (rows('1,"0,9"', '0,"0,2"'), "", "line 2: score '0,9' is not a number; write a point"),
        (rows("1,1e39", "0,2"), "", "line 2: score '1e39' is beyond 3.4e\\+38"),
    ],
)
def test_a_score_that_cannot_be_of_its_unit(written, text: str, unit: str, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("in [0, 100]:", r"in \[0, 100\]:")):
        read_predictions(written(text), {}, unit=unit)


def test_percentages_are_probabilities_a_hundred_times(written) -> None:
    read = read_predictions(written(PERCENT), {}, unit="percent")
    assert metrics.sigmoid(read.scores.logit) == pytest.approx([0.994, 0.002, 0.51, 0.385])
    assert read.notes == ()
    as_said = read_predictions(written(PERCENT), {}, unit="logit")
    assert as_said.scores.logit.tolist() == [99.4, 0.2, 51, 38.5] and as_said.notes == ()
    turned = read_predictions(written(PERCENT), {}, unit="percent", higher_is_real=True)
    assert turned.scores.logit.tolist() == (-read.scores.logit).tolist()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (("3", "9"), "no score is below 0, so as logits they call every image fake"),
        (("-3", "-9"), "no score is above 0, so as logits they call every image real"),
        (("0.2", "0.9"), "say --probability"),
        (("-3", "9"), ""),
    ],
)
def test_scores_of_one_sign_are_questioned(written, scores: tuple[str, str], said: str) -> None:
    notes = read_predictions(written(rows(f"0,{scores[0]}", f"1,{scores[1]}")), {}).notes
    assert said in " ".join(notes) and len(notes) == bool(said)


@pytest.mark.parametrize(
    "name", ["path", "Path", "filename", "id", "name", "image_path", "img", "sample_id", "file"]
)
def test_an_image_that_stands_there_twice_is_refused(written, name: str) -> None:
    lines = [f"x/{n}.png,{n % 2},{n - 4.5}" for n in range(10)]
    head = f"{name},label,score"
    assert len(read_predictions(written(rows(*lines, head=head)), {}).scores.label) == 10
    doubled = written(rows(*lines, *lines[3:5], head=head))
    with pytest.raises(DataError) as error:
        read_predictions(doubled, {})
    said = f"{doubled}, line 12: {name} 'x/3.png' stands in line 5 already, one of 2 repeats in 12"
    assert said in str(error.value) and f"--group {name}" in str(error.value)
    # several images of a video, as the message says
    assert len(read_predictions(doubled, {"group": name}).scores.label) == 12
    frames = [f"{line},{n}" for n, line in enumerate([*lines, *lines])]
    read_predictions(written(rows(*frames, head=f"{head},frame")), {})


@pytest.mark.parametrize(
    "word", ["nan", "None", "NA", "N/A", "null", "<NA>", "NaT", "NULL", "-", "?"]
)
def test_a_word_for_a_missing_group_is_none(written, word: str) -> None:
    lines = [f"{n % 2},{n - 4.5},{word if n < 6 else 'v'},{word}" for n in range(10)]
    read = read_predictions(written(rows(*lines, head="label,score,group,method")), {})
    assert len(set(read.scores.group)) == 7 and set(read.scores.group[6:]) == {"v"}
    assert set(read.scores.method) == {"real", "fake"}
    assert read.notes == (
        f"group '{word}' of 6 of 10 rows: a word for a missing value, read as an empty field",
        f"method '{word}' of 10 of 10 rows: a word for a missing value, read as an empty field",
    )


@pytest.mark.parametrize(("images", "others", "said"), [(6, 4, True), (5, 5, False), (8, 1, False)])
def test_a_group_of_most_images_is_questioned(
    written, images: int, others: int, said: bool
) -> None:
    lines = [f"{n % 2},{n - 4.5},{-1 if n < images else n}" for n in range(images + others)]
    read = read_predictions(written(rows(*lines, head="label,score,cluster")), {"group": "cluster"})
    assert len(set(read.scores.group)) == 1 + others
    expected = f"cluster '-1' has {images} of {images + others} images, and they count as one"
    assert [note.startswith(expected) for note in read.notes] == [True] * said


@pytest.mark.parametrize("name", ["is_real", "real", "Authentic"])
def test_a_label_that_means_real_by_its_name_is_refused(written, name: str) -> None:
    path = written(rows("1,-2", "0,2", head=f"{name},score"))
    with pytest.raises(DataError, match=f"1 in a column '{name}' means real .* --fake-label 0"):
        read_predictions(path, {"label": name})
    assert read_predictions(path, {"label": name}, fake_label="0").scores.label.tolist() == [0, 1]
    assert read_predictions(path, {"label": name}, fake_label="1").scores.label.tolist() == [1, 0]


def test_a_score_that_means_real_by_its_name_is_questioned(written) -> None:
    path = written(rows("1,-2", "0,2", head="label,p_real"))
    (note,) = read_predictions(path, {"score": "p_real"}).notes
    assert note == "the score column 'p_real' is higher for real images by its name; if so, say" + (
        " --higher-is-real"
    )
    assert read_predictions(path, {"score": "p_real"}, higher_is_real=True).notes == ()

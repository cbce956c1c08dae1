"""Every card, from the shape in which its dataset is had to a trained winner and matrix cells, with
the network refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from study import cross_eval, ls, sweep
from study.analysis.results_csv import read_matrix
from study.core.records import NO_TRAINING
from study.data.sources.cards import card_names, load_card
from study.store.store import Store
from tests.data.conftest import no_network
from tests.factories import (
    hub_copy,
    kaggle_copy,
    write_artifact,
    write_cifake,
    write_cnnspot,
    write_faces_140k,
    write_ffpp,
    write_genimage,
    write_open_images,
    write_wilddeepfake,
)
from tests.published import SHAPES

__all__ = ["no_network"]  # a fixture that pytest finds here

# Of every card a dataset to train on; of those that are several, another one to test on.
TRAIN_ON = (
    "artifact:big_gan",
    "cifake",
    "cnnspot:progan",
    "faces_140k",
    "ffpp:FaceSwap?compression=c40",
    "genimage:sd1.4",
    "open_images:flux",
    "wilddeepfake",
)
TEST_ON = (*TRAIN_ON, "ffpp:NeuralTextures", "cnnspot:biggan")
STUDY = f"""
name = "published"
detectors = ["spectrum"]
train_on = {list(TRAIN_ON)}
test_on = {list(TEST_ON)}
[budget]
trials = 1
replicates = 0
null_models = 0
epochs = 1
seeds = 1
[detector.spectrum]
size_px = 16
"""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> list[str]:
    """Every published dataset where its user has it, and the arguments of a study over all of
    them.
    """
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "HF_TOKEN", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    kaggle: dict[str, Callable[[Path], Path]] = {
        "cifake": write_cifake,
        "faces_140k": lambda folder: write_faces_140k(folder, size=16),
        "artifact": lambda folder: write_artifact(folder, size=16),
    }
    for name, write in kaggle.items():
        write(kaggle_copy(tmp_path / "kagglehub", load_card(name).handle))
    hub_copy(
        tmp_path / "hub",
        load_card("wilddeepfake").handle,
        write_wilddeepfake(tmp_path / "made", shards=12, frames=1, size=16),
    )
    write_ffpp(tmp_path / "data" / "ffpp", frames=1, size=16)
    write_genimage(tmp_path / "data" / "genimage", size=16)
    write_cnnspot(tmp_path / "data" / "cnnspot", size=16)
    write_open_images(tmp_path / "data" / "open_images", size=16)
    study = tmp_path / "published.toml"
    study.write_text(f'{STUDY}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8")
    return [str(study), "--results", str(tmp_path / "results"), "--local"]


def test_every_card_is_in_a_study_below() -> None:
    assert {*(name.split(":")[0] for name in TRAIN_ON), *SHAPES} == {
        name for name in card_names() if not name.startswith("demo_")
    }


@pytest.mark.slow
def test_the_shapes_of_the_other_cards_to_finite_cells_without_network(
    tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames, videos, tables and lists, each as a test set, and one of them to train on."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    train_on = [SHAPES["openfake"][1]]
    test_on = [name for _, name in SHAPES.values()]
    for card, (write, _) in SHAPES.items():
        if load_card(card).source == "huggingface":
            write(tmp_path / card)
            hub_copy(tmp_path / "hub", load_card(card).handle, tmp_path / card)
        else:
            write(tmp_path / "data" / card)
    study = tmp_path / "shapes.toml"
    text = STUDY.replace(str(list(TRAIN_ON)), str(train_on)).replace(
        str(list(TEST_ON)), str(test_on)
    )
    study.write_text(f'{text}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8")
    arguments = [str(study), "--results", str(tmp_path / "results"), "--local"]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    rows = read_matrix(Store(tmp_path / "results", "published").matrix_file)
    values = {
        (row.train_on, row.test_on): row.estimate.value
        for row in rows
        if row.is_plain and (row.metric, row.seed) == ("auc", "0")
    }
    assert all(math.isfinite(values[x, y]) for x in train_on for y in test_on)


def test_every_card_to_a_trained_winner_and_matrix_cells_without_network(
    tmp_path: Path, published: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(published) == 0
    assert cross_eval.main(published) == 0
    store = Store(tmp_path / "results", "published")
    assert len(list(store.folder.glob("models/*/detector.json"))) == len(TRAIN_ON)
    rows = [
        row
        for row in read_matrix(store.matrix_file)
        if row.is_plain and (row.metric, row.seed) == ("auc", "0")
    ]
    values = {
        (row.train_on, row.test_on): row.estimate.value
        for row in rows
        if row.train_on != NO_TRAINING
    }
    assert set(values) == {(x, y) for x in TRAIN_ON for y in TEST_ON}
    assert all(math.isfinite(value) for value in values.values())
    # the fakes of every fixture carry a checkerboard, which the spectrum shows
    assert all(values[x, x] > 0.9 for x in TRAIN_ON)
    written = [path.name for path in (tmp_path / "results").rglob("*")]
    assert not [name for name in written if set(name) & set(":?*")]
    capsys.readouterr()
    assert (
        ls.main(
            [
                "datasets",
                "--data-root",
                str(tmp_path / "data"),
                "--results",
                str(tmp_path / "results"),
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "ffpp:FaceSwap, ffpp:NeuralTextures" in printed
    assert "genimage:biggan, genimage:sd1.4" in printed

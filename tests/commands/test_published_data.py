"""Published datasets, from the caches that their libraries leave, to the cells of a matrix, with the network refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from study import cross_eval, ls, sweep
from study.data.cards import load_card
from study.records import NO_TRAINING
from study.reporting.matrix_csv import read_matrix
from study.store import Store
from tests.data.conftest import no_network
from tests.factories import hub_copy, kaggle_copy, write_cifake, write_ffpp, write_genimage, write_wilddeepfake

__all__ = ["no_network"]  # a fixture that pytest finds here

STUDY = """
name = "published"
detectors = ["spectrum"]
train_on = ["ffpp:FaceSwap?compression=c40", "wilddeepfake"]
test_on = ["ffpp:FaceSwap?compression=c40", "ffpp:NeuralTextures", "wilddeepfake", "cifake", "genimage:sd1.4"]
[budget]
trials = 1
epochs = 1
seeds = 1
[detector.spectrum]
size_px = 16
"""


def test_from_the_caches_of_the_hubs_to_a_matrix_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_network: None
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    write_cifake(kaggle_copy(tmp_path / "kagglehub", load_card("cifake").handle), n=60)
    hub_copy(tmp_path / "hub", load_card("wilddeepfake").handle, write_wilddeepfake(tmp_path / "made", shards=12, frames=1))
    write_ffpp(tmp_path / "data" / "ffpp", frames=1, size=16)
    write_genimage(tmp_path / "data" / "genimage", size=16)
    study = tmp_path / "published.toml"
    study.write_text(f'{STUDY}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8")
    arguments = [str(study), "--results", str(tmp_path / "results"), "--local"]
    assert sweep.main(arguments) == 0
    assert cross_eval.main(arguments) == 0
    rows = read_matrix(Store(tmp_path / "results", "published").matrix_file)
    done = {
        (row.train_on, row.test_on)
        for row in rows
        if row.train_on != NO_TRAINING and row.metric == "auc" and math.isfinite(row.estimate.value)
    }
    assert len(done) == 2 * 5
    written = [path.name for path in (tmp_path / "results").rglob("*")]
    assert not [name for name in written if set(name) & set(":?*")]
    capsys.readouterr()
    assert ls.main(["datasets", "--data-root", str(tmp_path / "data"), "--results", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr().out
    assert "ffpp:FaceSwap, ffpp:NeuralTextures" in printed
    assert "genimage:biggan, genimage:sd1.4" in printed

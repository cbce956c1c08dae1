"""A new image gets the logit that the study gave it, from every detector and by every way in:
`study.predict`, the Python API and MLflow's model; of degraded images, too.

The study is a real one, over every detector that is built and both ensembles. Networks are the
small stand-ins of the contract, but for MobileNetV2, whose own weights are used where they are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import study
from study import cross_eval, predict, sweep
from study.analysis.cells_csv import CellFile, read_cells
from study.core.records import NO_DEGRADATION, Scores
from study.data.images.decode import decode_image
from study.data.images.degradations import degrade, parse_degradation
from study.data.images.unify import unify
from study.detectors import registry
from study.store.store import Store
from tests.contract.stand_ins import LIBRARY_NAMES, SIDES, make_case
from tests.factories import write_dataset

pytestmark = pytest.mark.slow

NAMES = (*registry.names(), *LIBRARY_NAMES, *registry.ENSEMBLES)
DEGRADATIONS = ("jpeg75", "down0.5")
SIZES = {
    "spectrum": 32,
    "npr": 32,
    "resnet18_scratch": 32,
    "dinov2_linear": 98,
    **SIDES,
}  # smaller than their defaults, to be quick
WEIGHTS = Path(__file__).parents[3] / "shared" / "weights" / "mobilenetv2_035.safetensors"
FILE = """
name = "families"
detectors = {names}
train_on = ["alpha"]
test_on = ["alpha", "beta"]
degradations = ["jpeg75", "down0.5"]
[budget]
trials = 1
epochs = 3
seeds = 1
replicates = 0
null_models = 0
default_winners = false
[data]
root = "{root}"
unify = {unified}
"""


@dataclass(frozen=True)
class Finished:
    store: Store
    data: Path
    cells: list[CellFile]
    unified: bool

    def cell(self, detector: str, test_on: str, degradation: str) -> CellFile:
        where = (detector, test_on, degradation)
        return next(c for c in self.cells if (c.detector, c.test_on, c.degradation) == where)

    def scores(self, *where: str) -> Scores:
        return self.store.scores(self.cell(*where).scores)

    def paths(self, of: Scores) -> list[Path]:
        return [self.data / name for name in of.sample_id.tolist()]


def finish(
    folder: Path, names: Sequence[str], settings: Mapping[str, str], *, unified: bool
) -> Iterator[Finished]:
    """Run a study of some detectors, each with lines of its own table, to its end."""
    data, results, weights = (folder / name for name in ("data", "results", "weights"))
    for made in (data, results, weights):
        made.mkdir()
    write_dataset(data / "alpha", n=24, size=48, seed=1)
    write_dataset(data / "beta", n=24, size=64, seed=2, suffix=".jpg")
    text = FILE.format(names=json.dumps(names), root=data, unified=json.dumps(unified))
    text += "".join(f"[detector.{name}]\n{lines}\n" for name, lines in settings.items())
    file = results / "families.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in (one for one in names if one not in registry.ENSEMBLES):
            make_case(name, weights, patch)
        if WEIGHTS.is_file():
            shutil.copy(WEIGHTS, weights / "mobilenetv2_035.keras_in1k.safetensors")
        words = [str(file), "--results", str(results), "--weights-root", str(weights), "--local"]
        assert sweep.main(words) == 0
        assert cross_eval.main(words) == 0
        store = Store(results, "families")
        yield Finished(store, data, read_cells(store.folder / "cells.csv"), unified)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "unified"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    sizes = {name: f"size_px = {size}" for name, size in SIZES.items()}
    yield from finish(tmp_path_factory.mktemp("all"), NAMES, sizes, unified=request.param)


HEADS = {
    "clip_linear": 'head = "knn"\nneighbours = 5',
    "dinov2_linear": 'size_px = 98\nhead = "cosine"\nlayer = 1',
    "siglip_linear": "layer = 1",
}


@pytest.fixture(scope="module")
def other_heads(tmp_path_factory: pytest.TempPathFactory) -> Any:
    yield from finish(tmp_path_factory.mktemp("heads"), [*HEADS], HEADS, unified=False)


@pytest.mark.parametrize("detector", HEADS)
def test_other_heads_and_layers_give_the_logits_of_the_study(
    detector: str,
    other_heads: Finished,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test_every_way_in_gives_the_logits_of_the_study(detector, other_heads, tmp_path, capsys)
    test_mlflows_model_gives_the_logits_of_the_study(detector, other_heads, monkeypatch)


@pytest.mark.parametrize("detector", NAMES)
def test_every_way_in_gives_the_logits_of_the_study(
    detector: str,
    finished: Finished,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for test_on in ("alpha", "beta"):
        held = finished.scores(detector, test_on, NO_DEGRADATION)
        assert len(held.logit) > 3 and np.ptp(held.logit) > 1e-4, "else anything would be equal"
        found = said(finished, capsys, detector, finished.paths(held), test_on)
        close(found, held.logit)
    pixels = [decode_image(path) for path in finished.paths(held)]
    scorer = loaded(finished, detector)
    for degradation in DEGRADATIONS:
        degraded = finished.scores(detector, "beta", degradation)
        assert degraded.sample_id.tolist() == held.sample_id.tolist()
        ready = [as_studied(one, finished, degradation) for one in pixels]
        scorer._scorer.unified_px = 0  # `ready` is unified, and then degraded
        close(scorer.score(ready)["logit"], degraded.logit)
        if not finished.unified:
            files = [tmp_path / f"{number}.png" for number in range(len(ready))]
            for file, one in zip(files, ready, strict=True):
                Image.fromarray(one).save(file)
            close(said(finished, capsys, detector, files, "beta"), degraded.logit)


@pytest.mark.parametrize("detector", [n for n in NAMES if n not in registry.ENSEMBLES])
def test_mlflows_model_gives_the_logits_of_the_study(
    detector: str, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow has stored it. What was trained was trained on `alpha`, so that its side is that of
    alpha. To what was not trained, the side is said.
    """
    import mlflow.pyfunc

    from study.tracking.mlflow_address import tracking_uri

    uri = tracking_uri(finished.store.results)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    cell = finished.cell(detector, "alpha", NO_DEGRADATION)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("families").experiment_id
    (logged,) = (
        model
        for model in client.search_logged_models([experiment])
        if model.tags.get("study.key") == cell.model
    )
    model = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    held = finished.scores(detector, "alpha", NO_DEGRADATION)
    paths = finished.paths(held)
    forms: tuple[Any, ...] = (
        [str(path) for path in paths],
        [Image.open(path) for path in paths],
        [path.read_bytes() for path in paths],
        np.stack([decode_image(path) for path in paths]),
    )
    params = {} if cell.train_on == "alpha" else {"unified_px": side_of("alpha", finished)}
    for form in forms:
        close(model.predict(form, params=params)["logit"], held.logit)


def close(found: Any, held: NDArray[np.float32]) -> None:
    """To 1e-5, and where a logit is beyond 1 to the float32 that the store has of it."""
    np.testing.assert_allclose(np.asarray(found), held, rtol=1e-5, atol=1e-5)


def said(
    run: Finished,
    capsys: pytest.CaptureFixture[str],
    detector: str,
    paths: list[Path],
    test_on: str,
) -> list[float]:
    """The logits that `study.predict` prints."""
    capsys.readouterr()
    winner = run.cell(detector, test_on, NO_DEGRADATION)
    words = [*map(str, paths), "--with", f"{detector} @ {winner.train_on}", "--json"]
    words += ["--prepare-as", test_on, "--results", str(run.store.results)]
    assert predict.main(["families", *words]) == 0
    return [one["logit"] for one in json.loads(capsys.readouterr().out)["images"]]


def loaded(run: Finished, detector: str) -> Any:
    train_on = run.cell(detector, "beta", NO_DEGRADATION).train_on
    return study.load(run.store.folder).detector(detector, train_on=train_on)


def as_studied(pixels: NDArray[np.uint8], run: Finished, degradation: str) -> NDArray[np.uint8]:
    """An image of beta as the protocol degrades it: unified first, by beta's side."""
    if side := side_of("beta", run):
        pixels = unify(pixels, side)
    return degrade(pixels, parse_degradation(degradation))


def side_of(dataset: str, run: Finished) -> int:
    """The side to which a dataset was unified, 0 where none was."""
    audit = json.loads(run.store.audit_file.read_text(encoding="utf-8"))["datasets"]
    return next(one["unified_px"] or 0 for one in audit if one["name"] == dataset)

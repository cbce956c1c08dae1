"""A frozen body looks at each image once a view, in a whole study, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from study import cross_eval, sweep
from study.core.failures import Failure
from study.core.records import Report, TrialResult
from study.data.catalog import Catalog
from study.detectors import registry
from study.detectors.clip import ClipDetector
from study.detectors.timm_network import TimmNetwork
from study.jobs import cell, probe, trial, winner
from study.planning import open_study
from study.planning.study_file import load_study
from study.search.spaces import Space, load_space
from study.training import head_fit
from tests.contract.stand_ins import make_case
from tests.factories import write_dataset

WORK = trial.run_trial, winner.run_winner, cell.run_cells, probe.run_probe
PROBE, TUNED, TWIN = "mobilenetv2_035_linear", "mobilenetv2_035", "twin_linear"
STUDY = """
name = "probes"
detectors = ["mobilenetv2_035_linear", "mobilenetv2_035", "twin_linear"]
train_on = ["alpha", "beta"]
[budget]
trials = 3
replicates = 0
null_models = 0
epochs = 2
seeds = 3
generation = 3
default_winners = false
"""
FEATURES = TimmNetwork.features
SMALL_PX = 32  # forwards are counted, not looked at


def with_a_twin() -> Any:
    """A registry with one more detector on the same body."""
    small = {
        name: registry.replace(
            registry.DETECTORS[PROBE if name == TWIN else name],
            geometry=registry.Geometry(size_px=SMALL_PX, mode="squash"),
        )
        for name in (PROBE, TUNED, TWIN)
    }
    return mock.patch.dict(cast("dict[str, Any]", registry.DETECTORS), small)


def noted(log: Path) -> Callable[[TimmNetwork, Tensor], Tensor]:
    def features(self: TimmNetwork, x: Tensor) -> Tensor:
        with log.open("a") as file:
            file.write(f"{len(x)}\n")
        return FEATURES(self, x)

    return features


def run_trial(job: trial.TrialJob, report: Report) -> TrialResult:
    log = job.workspace.results / "forwards"
    with with_a_twin(), mock.patch.object(TimmNetwork, "features", noted(log)):
        return WORK[0](job, report)


def run_winner(job: winner.WinnerJob) -> None:
    log = job.workspace.results / "forwards"
    with with_a_twin(), mock.patch.object(TimmNetwork, "features", noted(log)):
        WORK[1](job)


def run_probe(job: probe.ProbeJob) -> None:
    log = job.workspace.results / "forwards"
    with with_a_twin(), mock.patch.object(TimmNetwork, "features", noted(log)):
        WORK[3](job)


def run_cells(job: cell.CellsJob) -> Mapping[str, Failure]:
    log = job.cells[0].workspace.results / "forwards"
    with with_a_twin(), mock.patch.object(TimmNetwork, "features", noted(log)):
        return WORK[2](job)


def head_alone(name: str, _: str) -> Space:
    """Each detector's space; of the tuned one with the schedule `head` and mirrored images."""
    space = load_space(PROBE if name == TWIN else name, "wide")
    if name != TUNED:
        return space
    kept = tuple(p for p in space.parameters if p.name in ("lr", "batch_size", "weight_decay"))
    return Space(name, {**space.constants, "schedule": "head", "flip": 0.5}, kept)


@pytest.mark.parametrize(
    "where", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])]
)
def test_each_image_is_looked_at_once_a_view(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for number, name in enumerate(("alpha", "beta")):
        write_dataset(tmp_path / "data" / name, n=30, size=SMALL_PX, seed=number)
    file, weights = tmp_path / "probes.toml", tmp_path / "weights"
    file.write_text(f'{STUDY}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8")
    weights.mkdir()
    torch.manual_seed(0)
    network = registry.create_function(registry.spec_of(PROBE))(registry.spec_of(PROBE)).backbone
    state = {
        n: torch.rand_like(t, device="cpu")
        for n, t in network.state_dict().items()
        if t.is_floating_point()
    }
    save_file(state, weights / "mobilenetv2_035.safetensors")
    results = tmp_path / "results"
    launch = (
        ["--local"] if where == "local" else ["--address", request.getfixturevalue("ray_address")]
    )
    arguments = [str(file), "--results", str(results), "--weights-root", str(weights), *launch]
    kinds = (trial, run_trial), (winner, run_winner), (cell, run_cells), (probe, run_probe)
    for module, work in kinds:
        monkeypatch.setattr(module, work.__name__, work)
    monkeypatch.setattr(open_study, "load_space", head_alone)
    with with_a_twin():
        assert sweep.main(arguments) == 0
        assert cross_eval.main(arguments) == 0
        opened = open_study.open_study(
            load_study(str(file)),
            results=results,
            weights_root=weights,
            firewall=False,
        )
        catalog: Catalog = opened.workspace.catalog
        images = {
            split: sum(catalog.describe(name).images(split) for name in ("alpha", "beta"))
            for split in ("train", "val", "test")
        }
    looked = sum(map(int, (results / "forwards").read_text().split()))
    # mirrored are the training images of the one that trains by gradient
    assert looked == 2 * images["train"] + images["val"] + images["test"]


@pytest.mark.slow
def test_a_search_over_all_layers_and_heads_looks_at_each_image_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials, winners, draws and cells; a generation's regressions are one fit."""
    write_dataset(tmp_path / "data" / "alpha", n=30, size=SMALL_PX)
    case = make_case("clip_linear", tmp_path, monkeypatch)
    file, results = tmp_path / "layers.toml", tmp_path / "results"
    file.write_text(f"""
name = "layers"
detectors = ["clip_linear"]
train_on = ["alpha"]
budget = {{ trials = 8, generation = 4, seeds = 2, replicates = 4, null_models = 2 }}
search = {{ space = "wide" }}
data = {{ root = "{tmp_path / "data"}" }}
""")
    looked: list[int] = []
    fits: list[int] = []
    look, solve = ClipDetector.features, head_fit.fit_logistic

    def seen(self: ClipDetector, x: Tensor) -> Tensor:
        looked.append(len(x))
        return look(self, x)

    def counted(*given: Any, **how: Any) -> Any:
        fits.append(len(given[3]))
        return solve(*given, **how)

    monkeypatch.setattr(ClipDetector, "features", seen)
    monkeypatch.setattr(head_fit, "fit_logistic", counted)
    words = [str(file), "--results", str(results), "--weights-root", str(case.folder), "--local"]
    assert sweep.main(words) == 0
    assert cross_eval.main(words) == 0
    opened = open_study.open_study(
        load_study(str(file)), results=results, weights_root=case.folder, firewall=False
    )
    described = opened.workspace.catalog.describe("alpha")
    assert sum(looked) == sum(described.images(split) for split in ("train", "val", "test"))
    tried = [trial.params for trial, _ in opened.store.trials()]
    linear = [one for one in tried if one["head"] != "knn"]
    assert {one["layer"] for one in tried} == {0, 1} and len(linear) < len(tried)
    assert sum(fits) == len(linear) and max(fits) > 1 and len(fits) < len(linear)

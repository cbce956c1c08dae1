"""A study against a real MLflow server, as a person sees it in a browser. Pictures of what was seen
stay in the test's folder.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study import cross_eval, sweep
from study.analysis.cells_csv import read_cells
from study.analysis.results_csv import read_results
from study.analysis.winners import champion
from study.core.records import EpochRecord
from study.store.store import Store
from study.tracking.recording import TrialRecord
from tests.factories import write_dataset
from tests.tracking.mlflow_helpers import Server

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]
SERVER = "mlflow server --backend-store-uri sqlite:///server.db --host 127.0.0.1 --port 5000"
STUDY = """
name = "pages"
detectors = ["npr"]
train_on = ["alpha", "beta"]
[budget]
trials = 2
epochs = 2
seeds = 1
replicates = 0
null_models = 0
default_winners = false
[detector.npr]
size_px = 32
"""


@pytest.fixture
def tab() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for seed, name in enumerate(("alpha", "beta")):
        write_dataset(tmp_path / "data" / name, n=30, size=32, seed=seed + 1)
    path = tmp_path / "pages.toml"
    path.write_text(f'{STUDY}[data]\nroot = "{tmp_path / "data"}"\n', encoding="utf-8")
    return path


def test_a_person_finds_a_trial_the_matrix_and_the_champion(
    study: Path,
    start_server: Callable[[str], Server],
    tab: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = start_server(f"{SERVER} --workers 1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    looked: list[str] = []

    def hear(record: TrialRecord, job: Any, epoch: EpochRecord) -> None:
        """An epoch of a second, which is shown by itself; at the first one a person looks."""
        assert record._views is not None
        record._views.add_epoch(job.trial, replace(epoch, seconds=1.0))
        if not looked:
            looked.append(job.trial.pairing.name)
            look_at_a_trial(tab, server, looked[0])
            tab.screenshot(path=tmp_path / "trial.png")

    monkeypatch.setattr(TrialRecord, "hear", hear)
    arguments = [str(study), "--results", str(tmp_path / "results"), "--local"]
    assert sweep.main(arguments) == 0 and looked
    capsys.readouterr()
    assert cross_eval.main(arguments) == 0
    (url,) = re.findall("^matrix in MLflow: (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert url.startswith(server.address)
    store = Store(tmp_path / "results", "pages")
    look_at_the_matrix(tab, url, store)
    tab.screenshot(path=tmp_path / "matrix.png", full_page=True)
    tab.goto(f"{server.address}/#/models/pages")
    tab.get_by_text("champion").first.wait_for()
    assert tab.get_by_text("best-on-beta").first.is_visible()
    tab.screenshot(path=tmp_path / "model.png")
    assert_the_champion_scores_as_the_store_says(store, tmp_path / "data")


def look_at_a_trial(tab: Any, server: Server, pairing: str) -> None:
    """It runs, and is nested under its pairing."""
    experiment = server.experiment("pages")
    while not server.runs(experiment, "attributes.status = 'RUNNING'"):
        pass  # the process that writes is on its way
    tab.goto(f"{server.address}/#/experiments/{experiment}/runs?workflowType=machine_learning")
    tab.get_by_role("link", name=pairing).first.wait_for()
    assert not tab.get_by_role("link", name="trial 0").count()
    tab.locator("[role=row]", has_text=pairing).locator("button").first.click()
    tab.get_by_role("link", name="trial 0").first.click()
    tab.get_by_text("Parent run").first.wait_for()
    assert tab.get_by_text("Running").first.is_visible()
    assert tab.get_by_role("link", name=pairing).first.is_visible()


def look_at_the_matrix(tab: Any, url: str, store: Store) -> None:
    """Within two clicks of the address that was printed: at its end is the run, whose description
    has the numbers.
    """
    tab.goto(url)
    tab.get_by_text("Show more").click()
    rows = read_results(store.folder).rows
    means = [row for row in rows if row.is_plain and (row.metric, row.seed) == ("auc", "mean")]
    mine = [row.estimate for row in means if row.role == "detector"]
    assert len(mine) == 4
    for found in mine:
        words = f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"
        assert tab.get_by_role("cell", name=words).first.is_visible(), words


def assert_the_champion_scores_as_the_store_says(store: Store, data: Path) -> None:
    """The registered model, by its alias, from the server: on files of a test set."""
    import mlflow

    best = champion(read_results(store.folder))
    (cell,) = (
        one
        for one in read_cells(store.folder / "cells.csv")
        if f"{one.detector} @ {one.train_on}" == best and one.test_on == "beta"
    )
    held = store.scores(cell.scores)
    model = mlflow.pyfunc.load_model("models:/pages@champion")
    found = model.predict([str(data / name) for name in held.sample_id.tolist()])
    np.testing.assert_allclose(found.logit, held.logit, rtol=1e-5, atol=1e-5)

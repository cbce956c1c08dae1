"""The page that scores images: what it refuses, and in a browser, what it gives."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study import export
from study.core.errors import ConfigError
from study.exporting.page import ENGINE, LARGEST, LIBRARY, runtime_files, write_page
from study.jobs.score_images import Scorer
from tests.commands.conftest import StudyRun

RUNTIME = os.environ.get("ONNXRUNTIME_WEB", "")  # a copy of npm's package onnxruntime-web
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
ABOUT = {"threshold": 0.5, "threshold_name": "source", "temperature": None, "train_on": "a"}


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A package with the files that a page takes, and nothing in them."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "1.2.3"}', encoding="utf-8")
    for name in (LIBRARY, ENGINE):
        (folder / "dist" / name).write_bytes(b"x")
    return folder


def test_a_page_is_one_file_in_which_a_name_is_no_markup(runtime: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"model")
    evil = "</script><b>"
    path = tmp_path / "page.html"
    write_page(path, model, runtime, evil, {**ABOUT, "train_on": evil}, [evil])
    text = path.read_text(encoding="utf-8")
    assert evil not in text and "{{" not in text and "1.2.3" in text
    assert "default-src 'none'" in text
    for loads in ("src=", "http://", "https://", "@import", "url("):
        assert loads not in text.replace("image.src = URL", "")
    said = text.partition('id="about">')[2].partition("</script>")[0]
    assert json.loads(said)["train_on"] == evil


def test_what_a_page_cannot_be_made_of_is_said(runtime: Path, tmp_path: Path) -> None:
    assert runtime_files(runtime) == runtime_files(runtime / "dist")
    with pytest.raises(ConfigError, match="npm install onnxruntime-web"):
        runtime_files(tmp_path)
    model = tmp_path / "large.onnx"
    with model.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ConfigError, match="the model has 64 MB, and a page holds 64 MB at most"):
        write_page(tmp_path / "page.html", model, runtime, "x", ABOUT, [])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not RUNTIME, reason="ONNXRUNTIME_WEB names no copy of onnxruntime-web")
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("detector", ["npr", "spectrum"])
def test_a_dropped_image_gets_the_logit_of_the_study(
    detector: str,
    local_run: StudyRun,
    tmp_path: Path,
) -> None:
    """From a file, without a network: the page asks for nothing and complains of nothing."""
    from playwright.sync_api import sync_playwright

    places = ("--results", str(local_run.store.results), "--out", str(tmp_path))
    words = ("small", f"{detector} @ alpha", "--page", RUNTIME, "--images", "4")
    assert export.main([*words, *places]) == 0
    rng = np.random.default_rng(0)
    image = tmp_path / "image.png"
    Image.fromarray(rng.integers(0, 256, (45, 70, 3), dtype=np.uint8)).save(image)
    about = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert about["test_sets"]
    (expected,) = Scorer(model_folder(local_run, detector)).score([image])
    asked: list[str] = []
    said: list[str] = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto((tmp_path / "page.html").as_uri())
        tab.wait_for_selector("#said[data-ready]", state="attached")
        tab.set_input_files("#file", str(image))
        tab.wait_for_selector("#said[data-logit]", state="attached")
        found = float(tab.get_attribute("#said", "data-logit") or "nan")
        words_shown = tab.inner_text("body")
        browser.close()
    assert found == pytest.approx(expected, abs=1e-4)
    assert "What a score is not" in words_shown and "No proof" in words_shown
    assert not [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]
    assert said == []


def model_folder(run: StudyRun, detector: str) -> Path:
    from study.analysis.predictions import find_winner

    winner = find_winner(run.store.folder, f"{detector} @ alpha")
    return run.store.model_folder(winner.model)

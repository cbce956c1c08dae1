"""The page that scores images: what it refuses, and in a browser, what it gives."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study import export
from study.core.errors import ConfigError
from study.exporting.page import ENGINE, LARGEST, LIBRARY, runtime_files, write_page
from study.jobs.score_images import Scorer
from tests.browser import until
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


# decoding `first.png` ends when the test says so
HELD = """
const decode = window.createImageBitmap;
window.createImageBitmap = async (file, options) => {
  const bitmap = await decode(file, options);
  if (file.name === "first.png") await new Promise((go) => { window.letGo = go; });
  return bitmap;
};
"""
# every logit that the page comes to say, with the image that it shows beside it
WATCH = """
window.pairs = [];
const said = document.getElementById("said"), image = document.getElementById("shown");
new MutationObserver(() => {
  if (said.dataset.logit) window.pairs.push([image.alt, Number(said.dataset.logit)]);
}).observe(said, { attributeFilter: ["data-logit"] });
"""


@pytest.fixture
def exported(local_run: StudyRun, tmp_path: Path) -> Callable[[str], Path]:
    """Export a detector with its page; return that."""

    def make(detector: str) -> Path:
        places = ("--results", str(local_run.store.results), "--out", str(tmp_path))
        words = ("small", "--with", f"{detector} @ alpha", "--page", RUNTIME, "--images", "4")
        assert export.main([*words, *places]) == 0
        return tmp_path / "page.html"

    return make


@pytest.fixture
def tab() -> Iterator[Any]:
    """A tab; what it asks for and complains of ends the test."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened, asked, said = browser.new_page(), [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        yield opened
        browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]
    assert said == []


def noise(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def opened(tab: Any, page: Path) -> None:
    tab.goto(page.as_uri())
    tab.wait_for_selector("#said[data-ready]", state="attached")


needs_a_browser = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not RUNTIME, reason="ONNXRUNTIME_WEB names no copy of onnxruntime-web"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


class TestInABrowser:
    """From a file, without a network: the page asks for nothing and complains of nothing."""

    pytestmark = needs_a_browser

    @pytest.mark.parametrize("detector", ["npr", "spectrum"])
    def test_a_dropped_image_gets_the_logit_of_the_study(
        self,
        detector: str,
        local_run: StudyRun,
        exported: Callable[[str], Path],
        tab: Any,
        tmp_path: Path,
    ) -> None:
        page, image = exported(detector), noise(tmp_path / "image.png", 0)
        about = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
        assert about["test_sets"]
        (expected,) = Scorer(model_folder(local_run, detector)).score([image])
        opened(tab, page)
        tab.set_input_files("#file", str(image))
        tab.wait_for_selector("#said[data-logit]", state="attached")
        found = float(tab.get_attribute("#said", "data-logit") or "nan")
        assert found == pytest.approx(expected, abs=1e-4)
        words_shown = tab.inner_text("body")
        assert "What a score is not" in words_shown and "No proof" in words_shown

    def test_the_image_that_was_dropped_last_has_its_own_logit(
        self, local_run: StudyRun, exported: Callable[[str], Path], tab: Any, tmp_path: Path
    ) -> None:
        """The first is still being decoded when the second is dropped, and ends after it."""
        page = exported("npr")
        images = [noise(tmp_path / f"{name}.png", at) for at, name in enumerate(NAMES)]
        logits = Scorer(model_folder(local_run, "npr")).score(images).tolist()
        assert len({round(logit, 3) for logit in logits}) == len(NAMES)
        tab.add_init_script(HELD)
        opened(tab, page)
        tab.evaluate(WATCH)
        for name in NAMES[:2]:
            tab.set_input_files("#file", str(tmp_path / f"{name}.png"))
        until(tab, "window.letGo && window.pairs.length === 1")
        tab.evaluate("window.letGo()")
        tab.set_input_files("#file", str(tmp_path / "third.png"))  # ends after the first
        until(tab, "window.pairs.some(([name]) => name === 'third.png')")
        pairs = tab.evaluate("window.pairs")
        assert [name for name, _ in pairs] == ["second.png", "third.png"]
        assert [logit for _, logit in pairs] == pytest.approx(logits[1:], abs=1e-4)


NAMES = ("first", "second", "third")


def model_folder(run: StudyRun, detector: str) -> Path:
    from study.analysis.winners import find_winner

    winner = find_winner(run.store.folder, f"{detector} @ alpha")
    return run.store.model_folder(winner.model)

"""The report in a browser: it asks for nothing, complains of nothing, and every switch and key does
what it says.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.analysis.results import ResultRow, Results
from study.core.records import ELSEWHERE
from study.render.grid import pick, state_words
from study.render.numbers import number
from study.render.report.library import bundled
from study.render.report.page import Report, page
from tests.browser import until
from tests.render.report_here import EVIL, NAUGHTY, curves_of, report, results_with_everything
from tests.render.synthetic_matrix import row

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
SERIOUS = ("serious", "critical")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(report(), bundled()), encoding="utf-8")
    return path


@pytest.fixture
def tab(browser: Any, file: Path) -> Iterator[Any]:
    """The page, open; what it asks for and complains of ends the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened, asked, said = context.new_page(), [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: said.append(dialog.message))
    opened.goto(file.as_uri())
    opened.wait_for_selector("html[data-ready=yes]", state="attached")
    yield opened
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    context.close()


def shown_cells(tab: Any) -> dict[tuple[str, str, str], str]:
    """What every cell of the heat map says: (detector, train on, test on) -> its first line."""
    found = tab.eval_on_selector_all(
        "#grid button",
        "all => all.map(b => [b.dataset.detector, b.dataset.train, b.dataset.test,"
        " b.firstChild.textContent])",
    )
    return {(d, x, y): words.rstrip(" *!~") for d, x, y, words in found}


def expected(results: Results, detector: str, *of: Any, leak_free: bool) -> dict[Any, str]:
    """The same by the tables' own way of picking a matrix out of the results."""
    metric, threshold, degradation, level = of
    grid = pick(results, detector, metric, threshold, degradation=degradation, level=level)
    cells = {}
    for (x, y), cell in grid.cells.items():
        row: ResultRow | None = cell.clean if leak_free and cell.clean is not None else cell.row
        has_number = row is not None and row.has_number
        words = number(row.estimate.value) if row and has_number else state_words(row)
        cells[detector, x, y] = words
    return cells


def test_every_switch_shows_the_numbers_of_the_matrix(tab: Any) -> None:
    results = results_with_everything()
    detectors = [*dict.fromkeys(r.detector for r in results.rows if r.role == "detector")]
    quantities = [*dict.fromkeys((r.metric, r.threshold) for r in results.rows)]
    switches = itertools.product(quantities, ("none", "jpeg50"), ("image", "unit"), (False, True))
    numbers = 0
    for (metric, threshold), degradation, level, leak_free in switches:
        tab.select_option("#metric", metric)
        if threshold:
            tab.select_option("#threshold", threshold)
        tab.select_option("#degradation", degradation)
        tab.select_option("#level", level)
        tab.set_checked("#leak_free", leak_free)
        wanted: dict[Any, str] = {}
        for detector in detectors:
            of = metric, threshold, degradation, level
            wanted |= expected(results, detector, *of, leak_free=leak_free)
        found = shown_cells(tab)
        for place, words in found.items():
            assert words == wanted.get(place, "not measured"), (place, metric, degradation)
        assert wanted.keys() <= found.keys()
        numbers += sum(words[0].isdigit() for words in found.values())
    assert numbers > 500


def test_each_repeat_has_its_own_matrix(browser: Any, tmp_path: Path) -> None:
    """What was run elsewhere is not repeated, and stays. Curves are of the study's own repeat."""
    folds = ("mean", "fold 0", "fold 1")
    given = row("theirs", ELSEWHERE, "b", 0.875, role="external")
    each = {
        name: [row("npr", "a", y, 0.5 + 0.1 * at + 0.01 * (y == "b"), repeat=name) for y in "ab"]
        for at, name in enumerate(folds)
    }
    results = Results(rows=(*each["mean"], given), repeats=(*each["fold 0"], *each["fold 1"]))
    path = tmp_path / "page.html"
    made = Report(name="folded", results=results, curves=(curves_of("npr", "a", "b"),))
    path.write_text(page(made, bundled()), encoding="utf-8")
    tab = browser.new_page()
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready=yes]", state="attached")
    for name in folds:
        tab.select_option("#repeat", name)
        found = {place: words for place, words in shown_cells(tab).items() if words[0].isdigit()}
        wanted = {("npr", "a", one.test_on): number(one.estimate.value) for one in each[name]}
        assert found == wanted | {("theirs", ELSEWHERE, "b"): "0.875"}
        tab.click('#grid button[data-detector="npr"][data-test="b"]')
        figures = tab.locator("#cell figure").count()
        assert bool(figures) == (name != "fold 1")
        ending = "" if name == "mean" else f", {name}"
        assert tab.inner_text("#cell-title") == f"npr: a → b{ending}"
        tab.click("#close")
    tab.close()


def test_without_repeats_there_is_no_switch_for_them(tab: Any) -> None:
    assert not tab.locator("#repeat").is_visible() and tab.locator("#level").is_visible()


def test_one_detector_alone(tab: Any) -> None:
    tab.select_option("#detector", "npr")
    assert {detector for detector, *_ in shown_cells(tab)} == {"npr"}


def test_a_cell_opens_by_mouse(tab: Any) -> None:
    tab.click('#grid button[data-detector="npr"][data-train="a"][data-test="b"]')
    dialog = tab.locator("#cell")
    assert dialog.is_visible()
    assert tab.inner_text("#cell-title") == "npr: a → b"
    until(tab, "document.querySelectorAll('#cell figure svg').length === 5")
    text = tab.inner_text("#cell-content")
    assert NAUGHTY in text and "-2.50" in text
    assert "study.score 'results/made up/predictions/npr__a__b__seed0.csv'" in text
    until(tab, "document.images.length === 1 && document.images[0].naturalWidth === 8")
    tab.click("#close")
    assert not dialog.is_visible()


def test_the_grid_is_one_tab_stop_and_enter_opens_a_cell(tab: Any) -> None:
    order = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        order.append(
            tab.evaluate("document.activeElement.id || document.activeElement.dataset.row")
        )
        if order[-1] == "0":
            break
    controls = [name for name in order if name in ("theme", "detector", "metric", "degradation")]
    assert controls == ["theme", "detector", "metric", "degradation"] and order[-1] == "0"
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp"):
        tab.keyboard.press(key)
    focused = "[document.activeElement.dataset.row, document.activeElement.dataset.at]"
    assert tab.evaluate(focused) == ["1", "1"]
    tab.keyboard.press("Enter")
    assert tab.inner_text("#cell-title") == "npr: b → b"
    tab.keyboard.press("Escape")
    assert not tab.locator("#cell").is_visible()
    assert tab.evaluate(focused) == ["1", "1"]  # back where it was


def test_the_theme_changes_by_its_button(tab: Any) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(background)
    tab.click("#theme")
    assert tab.evaluate(background) != light
    tab.click("#theme")
    assert tab.evaluate(background) == light


def test_dark_light_phone_and_print_have_no_sideways_scroll(browser: Any, file: Path) -> None:
    for width, scheme in itertools.product((390, 1280), ("light", "dark")):
        viewport = {"width": width, "height": 800}
        opened = browser.new_page(viewport=viewport, color_scheme=scheme)
        opened.goto(file.as_uri())
        opened.wait_for_selector("html[data-ready=yes]", state="attached")
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.evaluate(wide) <= 0, (width, scheme)
        opened.emulate_media(media="print")
        assert not opened.locator("nav").is_visible()
        opened.close()


def test_on_paper_nothing_is_folded(tab: Any, tmp_path: Path) -> None:
    """A table at the end of the page, that is folded on the screen."""
    pdftotext = shutil.which("pdftotext")
    if pdftotext is None:
        pytest.skip("no pdftotext")
    held = tab.evaluate("document.querySelector('#tables details:not([open]) td').textContent")
    tab.pdf(path=tmp_path / "page.pdf")
    said = [pdftotext, "-layout", str(tmp_path / "page.pdf"), "-"]
    text = subprocess.run(said, capture_output=True, text=True, check=True).stdout
    after = text[text.index("All tables") :]
    assert held.strip() and held.split()[0] in after
    assert tab.evaluate("document.querySelectorAll('#tables details[open]').length") == 0


def test_axe_finds_nothing_serious(tab: Any) -> None:
    """By axe-core, on the page and on an open cell."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for opened in (False, True):
        if opened:
            tab.click('#grid button[data-detector="npr"][data-train="a"][data-test="b"]')
        found = axe.run(tab).response["violations"]
        bad = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]
        assert not bad


def test_numbers_stand_out_on_every_colour(browser: Any, tmp_path: Path) -> None:
    """From the lowest to the highest, those on the grey in the middle too."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    rows = [row("npr", f"set {at}", "b", at / 40) for at in range(41)]
    path = tmp_path / "page.html"
    path.write_text(page(Report(name="s", results=Results(rows=tuple(rows))), bundled()), "utf-8")
    tab = browser.new_page()
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready=yes]", state="attached")
    found = axe.run(tab).response["violations"]
    assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
    tab.close()


def test_parts_without_data_are_named(browser: Any, tab: Any, tmp_path: Path) -> None:
    """A page of one cell has no chart: the page says so, where a reader would miss them."""
    path = tmp_path / "page.html"
    one = Results(rows=(row("npr", "a", "b", 0.5),))
    path.write_text(page(Report(name="s", results=one), bundled()), "utf-8")
    bare = browser.new_page()
    bare.goto(path.as_uri())
    bare.wait_for_selector("html[data-ready=yes]", state="attached")
    assert bare.inner_text("#absent") == (
        "This page has no chart for: Robustness, Deliveries, Verdicts that flip, Younger"
        " generators, Tuned against default, Search, Learning curves."
    )
    bare.close()
    assert "Deliveries" not in (tab.text_content("#absent") or "")


def test_names_stay_letters(tab: Any) -> None:
    assert EVIL in tab.inner_text("#grid")
    assert tab.evaluate("document.querySelectorAll('script').length") == 3
    assert tab.evaluate("document.images.length") == 0

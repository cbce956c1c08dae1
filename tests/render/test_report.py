"""The report's page: it holds the numbers of matrix.csv, fetches nothing, and takes no name for
markup.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.analysis.results import DatasetRow, Flag, PairRow, Results
from study.analysis.results_csv import MATRIX, write_results
from study.analysis.search_curves import EpochPoint, TrialPoint
from study.render.evidence import TIPPETT_AT
from study.render.report import charts, payload, prose
from study.render.report.library import bundled
from study.render.report.page import Report, page
from tests.render.report_here import (
    EVIL,
    NAUGHTY,
    deliveries_made_up,
    held_by_page,
    later_rows_made_up,
    report,
    results_with_everything,
)
from tests.render.synthetic_matrix import row

MOST_BYTES, MOST_LIBRARY_BYTES = 5_000_000, 1_500_000


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts by their id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._in: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = dict(attrs) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in is None:
            self.words.append(data)
        else:
            self.scripts.append((self._in, data))

    @property
    def data(self) -> payload.Json:
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == "data")
        return payload.unpacked(text)


@pytest.fixture(scope="module")
def shown() -> Page:
    return Page(page(report(), "window.vegaEmbed = () => {};"))


def test_every_mean_of_matrix_csv_is_on_the_page_and_nothing_else(
    shown: Page, tmp_path: Path
) -> None:
    write_results(results_with_everything(), tmp_path)
    found = held_by_page(shown.data["matrix"], tmp_path / MATRIX)
    assert len(found) > 200 and any(value is None for value, *_ in found.values())


def test_what_stands_beside_the_matrix(shown: Page) -> None:
    data = shown.data
    assert {one["detector"] for one in data["controls"]} >= {"(metadata only)"}
    assert data["datasets"]["b"]["warnings"] == "JPEG quality separates the classes."
    assert [one["leaked"] for one in data["pairs"]] == [7]
    assert {one["seed"] for one in data["seeds"]} == {"0", "1"}
    assert "JPEG quality separates the classes." in " ".join(shown.words)
    assert any("under-trained" in words for words in shown.words)
    assert any("not trained yet" in words for words in shown.words)


def test_a_tippett_plot_has_the_shares_of_the_ratios(shown: Page) -> None:
    (one,) = shown.data["evidence"]
    reals, fakes = (-2.0, -1.0, 0.5), (0.0, 1.0)
    assert [at for at, *_ in one["tippett"]] == pytest.approx(TIPPETT_AT.tolist())
    for at, real, fake in one["tippett"]:
        assert real == pytest.approx(sum(z >= at for z in reals) / 3, abs=1e-4)
        assert fake == pytest.approx(sum(z >= at for z in fakes) / 2, abs=1e-4)


def test_nothing_is_fetched(shown: Page) -> None:
    """No element that loads, no address, and a policy by which the browser refuses any."""
    tags = {tag for tag, _ in shown.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "audio", "video", "base"}
    for tag, attributes in shown.elements:
        assert "src" not in attributes and "srcset" not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#")
    (style,) = (text for _, text in shown.scripts if text.startswith(":root"))
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for _, a in shown.elements if a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy and "http" not in policy


def test_a_name_is_never_markup(shown: Page) -> None:
    """A detector, a test set, a file and a text that would run a script, if they were."""
    assert sum(tag == "script" for tag, _ in shown.elements) == 3
    assert not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)
    assert EVIL in shown.data["matrix"]["names"]["detector"]
    assert any(NAUGHTY in one[0] for cell in shown.data["curves"]["cells"] for one in cell["worst"])
    assert any(EVIL in words for words in shown.words)  # as letters


def test_the_end_of_a_script_in_the_library_does_not_end_it() -> None:
    text = page(Report(name="s", results=Results(rows=())), 'let a = "</script><b>";')
    assert sum(tag == "b" for tag, _ in Page(text).elements) == 0


def test_the_page_with_its_library_is_small() -> None:
    library = bundled()
    assert len(library.encode()) <= MOST_LIBRARY_BYTES
    text = page(report(), library)
    assert len(text.encode()) < MOST_BYTES
    found = Page(text)
    assert sum(tag == "script" for tag, _ in found.elements) == 3
    assert found.data["study"] == "made up"


def test_of_too_many_numbers_the_last_quantities_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = results_with_everything()
    whole = payload.matrix(results)
    each = [whole["columns"]["quantity"].count(at) for at in range(len(whole["quantities"]))]
    monkeypatch.setattr(payload, "MOST_ROWS", each[0] + each[1])
    found = payload.matrix(results)
    assert [q["metric"] for q in found["quantities"]] == ["auc", "ap"]
    assert "balanced_accuracy@source" in found["left_out"] and "eer" in found["left_out"]
    assert len(found["columns"]["value"]) == each[0] + each[1]


def test_single_repeats_are_left_out_before_any_quantity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two metrics in one cell, of two folds."""
    folds = ("mean", "fold 0", "fold 1")
    mean, *single = ([row(metric=m, repeat=name) for m in ("auc", "ap")] for name in folds)
    results = Results(rows=tuple(mean), repeats=tuple(one for of in single for one in of))
    whole = payload.matrix(results)
    assert (len(whole["columns"]["value"]), whole["left_out"]) == (6, [])
    assert (whole["names"]["repeat"], whole["own_repeat"]) == ([*folds], "fold 0")
    monkeypatch.setattr(payload, "MOST_ROWS", 5)
    found = payload.matrix(results)
    assert (len(found["columns"]["value"]), found["left_out"]) == (4, ["ap of single repeats"])


def test_how_long_a_detector_lasts() -> None:
    """A point for each younger generator; none where nothing is younger."""
    assert charts.later_chart([]) is None
    found = charts.later_chart(later_rows_made_up())
    assert found is not None
    values = [(one["months"], one["value"], one["train on"]) for one in found["data"]["values"]]
    assert values == [
        (7, 0.9, "a (until 2020-01)"),
        (31, 0.625, "a (until 2020-01)"),
        (12, 0.75, "c (until 2021)"),
    ]


def test_what_deliveries_change_is_drawn() -> None:
    """Each detector's AUC under each geometry, and the flips of all test sets together."""
    assert charts.delivery_chart([]) is None and charts.flips_chart([]) is None
    found = deliveries_made_up()
    lines, points = charts.delivery_chart(found.ranks), charts.flips_chart(found.flips)
    assert lines is not None and points is not None
    drawn = [(r["delivery"], r["detector"], r["auc"], r["rank"]) for r in lines["data"]["values"]]
    assert drawn == [
        ("own geometry", "npr", 0.75, 1),
        ("own geometry", EVIL, 0.5, 2),
        ("crop", EVIL, 0.875, 1),
        ("crop", "npr", 0.625, 2),
    ]
    flipped = [(r["detector"], r["value"], r["low"], r["high"]) for r in points["data"]["values"]]
    assert flipped == [(EVIL, 0.25, 0.125, 0.375)]


def test_markdown_makes_tables_and_no_tag_link_or_picture() -> None:
    text = "| a | b |\n|---|---|\n| <b>x</b> | [y](http://z) ![p](http://q) |\n\n<script>1</script>"
    found = Page(prose.html(text))
    assert {tag for tag, _ in found.elements} == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert "<b>x</b>" in "".join(found.words) and "![p](http://q)" in "".join(found.words)


def test_a_text_is_cut_at_its_first_two_levels_of_headings() -> None:
    parts = [*prose.parts("# One\n\ntext\n\n## Two\n\n### deep\n\nmore\n\n# Empty\n\n# Three\n\nx")]
    assert [title for title, _ in parts] == ["One", "Two", "Three"]
    assert "<h3>deep</h3>" in parts[1][1] and "text" in parts[0][1]


def test_every_chart_is_one_that_vega_lite_takes() -> None:
    """By the library itself: it compiles each, with data for the charts of a cell."""
    import vl_convert

    trials = [
        TrialPoint(
            detector="npr",
            train_on="a",
            number=i,
            origin="default",
            state="done",
            val_auc=0.5 + i / 10,
            best=0.5 + i / 10,
            seconds=1.0,
            is_selected=i == 2,
        )
        for i in range(3)
    ]
    epochs = [
        EpochPoint(
            detector="npr",
            train_on="a",
            which="selected",
            epoch=i,
            phase="head",
            val_auc=0.6,
            train_loss=float("nan"),
        )
        for i in range(2)
    ]
    drawn = [charts.search_chart(trials), charts.learning_chart(epochs)]
    data = {"values": [{"fpr": 0.1, "tpr": 0.5, "low": 0.4, "high": 0.6, "p": 0.1}]}
    drawn += [{**chart, "data": data} for chart in charts.cell_charts().values()]
    for chart in drawn:
        assert chart is not None
        compiled = vl_convert.vegalite_to_vega({**chart, "config": charts.CONFIG})
        assert compiled["marks"]


def test_the_marks_of_the_page_are_explained() -> None:
    datasets = (DatasetRow(name="b", warnings="why"),)
    pairs = (PairRow(train_on="a", test_on="b", domain="neither", note="shares 40 %"),)
    flags = (Flag(detector="npr", train_on="a", kind="found late", seen="x", mend="y"),)
    results = Results(rows=(), datasets=datasets, pairs=pairs, flags=flags)
    words = " ".join(Page(page(Report(name="s", results=results), "")).words)
    for mark in ("! test set", "~ shares images", "found late", "shares 40 %"):
        assert mark in words
    assert "* in-domain; ! at a test set" in words

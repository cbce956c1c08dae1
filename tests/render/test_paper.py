"""The figures and tables of a paper: they hold the numbers of the tables, claim nothing that is not
shown, and come in every format.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_curve

from study.analysis.cell_curves import GRID, RECALL, CellCurves, cell_curves
from study.analysis.comparisons import Comparisons
from study.analysis.results import ResultRow
from study.analysis.search_curves import EpochPoint
from study.analysis.significance import Verdict
from study.core.errors import ConfigError
from study.core.records import Pairing, Scores
from study.render.figures import canvas
from study.render.figures.cell_panels import (
    confusion_panels,
    precision_panels,
    reliability_panels,
    roc_panels,
)
from study.render.figures.forest import forest
from study.render.figures.half_life import half_life
from study.render.figures.headless import headless
from study.render.figures.heat_map import heat_maps
from study.render.figures.paper import Paper, write_paper
from study.render.figures.robustness import changes
from study.render.figures.search import learning_curves
from study.render.numbers import with_interval
from study.render.paper_tables import (
    LATEX,
    MARKDOWN,
    best_of_cells,
    matrix_table,
    ranking_table,
)
from tests.analysis.score_sets import score_set
from tests.analysis.test_comparisons import aucs_of, baseline_rows, compared, made, study
from tests.render.report_here import later_rows_made_up
from tests.render.synthetic_matrix import results, row
from tests.render.test_robustness import cell

SKILL = {"fair": 0.8, "good": 2.0, "poor": 0.1}


@pytest.fixture(scope="module")
def found() -> Comparisons:
    return compared(
        study(SKILL, ["aa", "bb"], seeds=3), rows=baseline_rows({"aa": 0.5, "bb": 0.55})
    )


def rows_of(found: Comparisons) -> list[ResultRow]:
    """Every detector's AUC in every cell, as the matrix has them."""
    scores = study(SKILL, ["aa", "bb"], seeds=3)
    return [
        row(d, x, y, float(np.mean(aucs_of(scores, d, x, y))))
        for d in found.cross_domain
        for x in ("aa", "bb")
        for y in ("aa", "bb")
    ]


def scored(seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    return made("b", np.round(rng.normal(size=240) + np.arange(240) % 2, 2))


def one_cell() -> CellCurves:
    pairing = Pairing(detector="npr", train_on="a")
    opened, cells = score_set([("b", pairing, scored(s), s) for s in range(2)])
    (found,) = cell_curves(opened, cells, most=9)
    return found


def words(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def test_the_forest_plot_says_every_mean_and_the_controls(found: Comparisons) -> None:
    figure = forest(found)
    assert figure is not None
    standings = found.headline.standings
    expected = [with_interval(s.mean.value, s.mean.low, s.mean.high) for s in standings]
    assert words(figure)[:3] == expected
    names = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert names[:3] == ["good", "fair", "poor"] and "(metadata only)" in names
    assert len(words(figure)) == len(names) == 4
    points = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert points[:3] == [one.mean.value for one in standings]


def test_a_half_life_has_a_point_for_every_younger_generator() -> None:
    assert half_life([]) is None
    figure = half_life(later_rows_made_up())
    assert figure is not None
    (panel,) = figure.axes
    first, other, chance = (line.get_xydata().tolist() for line in panel.lines)
    shown = [[(round(x), y) for x, y in points] for points in (first, other)]
    assert shown == [[(7, 0.9), (31, 0.625)], [(12, 0.75)]]
    assert {y for _, y in chance} == {0.5}
    bars = [segment.tolist() for bars in panel.collections for segment in bars.get_segments()]
    at = first[1][0]
    assert np.allclose(bars[1], [[at, 0.575], [at, 0.675]])
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["a\n(until 2020-01)", "c\n(until 2021)", "chance"]


def test_a_roc_is_that_of_every_seed_and_its_number_is_the_matrix(tmp_path: Path) -> None:
    matrix = results([row("npr", "a", "b", 0.7321)])
    figure = roc_panels([one_cell()], matrix)
    assert figure is not None
    (panel,) = figure.axes
    (said,) = panel.get_legend().get_texts()
    assert said.get_text() == "0.732 [0.68, 0.78]"
    assert "".join(panel.get_title().split()) == "testonb"
    each = []
    for seed in range(2):
        fpr, tpr, _ = roc_curve(scored(seed).label, scored(seed).logit, drop_intermediate=False)
        each.append([max(tpr[fpr <= at]) for at in GRID])
    assert np.allclose(panel.lines[0].get_ydata(), np.mean(each, axis=0))
    assert said.get_color() == panel.lines[0].get_color() == canvas.COLOURS[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["npr"]


def test_precision_is_that_of_scikit_learn() -> None:
    figure = precision_panels([one_cell()], {"b": "why"})
    assert figure is not None
    assert figure.axes[0].get_title().endswith("b !")
    each = []
    for seed in range(2):
        precision, recall, _ = precision_recall_curve(scored(seed).label, scored(seed).logit)
        # thresholds rise, so the last that reaches a recall is the highest
        each.append([precision[np.flatnonzero(recall >= r)[-1]] for r in RECALL])
    assert np.allclose(figure.axes[0].lines[0].get_ydata(), np.mean(each, axis=0))


def test_reliability_has_the_bins() -> None:
    one = one_cell()
    figure = reliability_panels([one], ())
    assert figure is not None
    assert figure.axes[0].lines[0].get_xdata().tolist() == [p for p, _, _ in one.bins]


def test_confusion_counts_are_those_of_the_matrix() -> None:
    counts = {"tn": 80.0, "fp": 20.0, "fn": 30.5, "tp": 119.5}
    rows = [
        row("npr", "a", "b", value, metric=name, threshold="source")
        for name, value in counts.items()
    ]
    figure = confusion_panels(results(rows), "npr", "source")
    assert figure is not None
    assert words(figure) == ["80", "20", "30.5", "119.5"]
    assert confusion_panels(results(rows), "npr", "fixed") is None


def test_all_matrices_on_one_scale(found: Comparisons) -> None:
    matrix = results(rows_of(found))
    figure = heat_maps(matrix)
    assert figure is not None
    shown = {axes.get_title(): [t.get_text() for t in axes.texts] for axes in figure.axes[:3]}
    for name, texts in shown.items():
        values = [r.estimate.value for r in matrix.rows if r.detector == name]
        assert texts == [f"{value:.2f}" for value in values]
    assert shown.keys() == {"good", "fair", "poor"}


def test_all_detectors_robustness_stands_in_one_axis() -> None:
    figure = changes([cell(d, p, "jpeg50", 0.7) for d in ("npr", "other") for p in ("aa", "ab")])
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["in-domain cells", "cross-domain cells"]
    points = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert points == pytest.approx([-0.2, -0.2])
    assert changes([]) is None


def test_a_phase_begins_at_its_line() -> None:
    points = [
        EpochPoint(
            detector="npr",
            train_on="a",
            which="selected",
            epoch=i,
            phase="head" if i < 2 else "all",
            val_auc=0.5 + i / 10,
            train_loss=1.0,
        )
        for i in range(4)
    ]
    figure = learning_curves(points)
    assert figure is not None
    curve, begins = figure.axes[0].lines
    assert curve.get_xdata().tolist() == [1, 2, 3, 4]
    assert set(begins.get_xdata()) == {3}


def test_colours_are_those_that_the_colour_blind_tell_apart() -> None:
    """Of Okabe and Ito's, every two differ for a deuteranope, in Lab as Machado (2009) sees it."""
    machado = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ]
    )
    colours = np.array([to_rgb(one) for one in canvas.colours_of([*"abcdefg"]).values()])
    seen = np.clip((colours**2.2) @ machado.T, 0, 1) ** (1 / 2.2)
    for i, one in enumerate(seen):
        for other in seen[i + 1 :]:
            assert np.linalg.norm(one - other) > 0.15


def test_bold_stands_only_where_all_others_are_beaten(found: Comparisons) -> None:
    text = matrix_table(results(rows_of(found)), found, LATEX)
    best = best_of_cells(found.pairs)
    for (x, y), name in best.items():
        beaten = [
            pair
            for pair in found.pairs
            if (pair.train_on, pair.test_on) == (x, y) and name in (pair.first, pair.second)
        ]
        assert len(beaten) == 2
        assert all(pair.verdict is Verdict.MORE_THAN_NOISE for pair in beaten)
    assert text.count(r"\textbf") == len(best) > 0
    assert ("aa", "aa") not in best  # in domain they are alike
    lines = [line for line in text.splitlines() if line.startswith(("aa", " &", "bb"))]
    assert len(lines) == 6 and all(line.count("&") == 3 for line in lines)


def test_the_ranking_is_bold_where_the_answer_says_best(found: Comparisons) -> None:
    assert ranking_table(found, LATEX).count(r"\textbf") == 1  # "good generalises best"
    alike = compared(study({"one": 1.0, "two": 1.0}, ["aa", "bb"], seeds=3))
    assert r"\textbf" not in ranking_table(alike, LATEX)


def test_markdown_has_the_numbers_and_the_bold_of_latex(found: Comparisons) -> None:
    """As a Markdown reader shows it, and LaTeX without its commands."""
    rows = [*results(rows_of(found)).rows, row("a|b_*", "aa", "bb", 0.5)]
    both = [matrix_table(results(rows), found, to) for to in (LATEX, MARKDOWN)]
    both += [ranking_table(found, to) for to in (LATEX, MARKDOWN)]
    for latex, text in zip(both[::2], both[1::2], strict=True):
        html = MarkdownIt("commonmark").enable("table").render(text)
        shown = [re.split("</t[hd]>", line) for line in re.findall("<tr>(.*?)</tr>", html, re.S)]
        shown = [[re.sub("<.*?>", "", cell).strip() for cell in line[:-1]] for line in shown]
        plain = re.sub(r"\\phantom\{\*\}|\\(textbf|footnotesize)|%.*", "", latex)
        plain = plain.replace(r"\textbar{}", "|").replace(r"\_", "_").replace("$", "")
        lines = [line[:-2] for line in plain.splitlines() if line.endswith(r"\\")]
        wanted = [
            [" ".join(re.sub("[{}]", "", cell).split()) for cell in one.split("&")] for one in lines
        ]
        assert [[unescape(cell) for cell in line] for line in shown] == wanted
        assert html.count("<strong>") == latex.count(r"\textbf") > 0


def paper(found: Comparisons) -> Paper:
    matrix = results(rows_of(found))
    return Paper(results=matrix, comparisons=found, robustness=(), curves=[one_cell()], epochs=())


def test_every_format_and_the_tables_are_written(found: Comparisons, tmp_path: Path) -> None:
    files = write_paper(paper(found), tmp_path, ("pdf", "svg", "png"))
    drawn = {"forest", "critical_difference", "heat_maps"}
    drawn |= {"roc", "precision_recall", "reliability"}
    assert {path.name for path in files} == {
        *(f"{name}.{kind}" for name in drawn for kind in ("pdf", "svg", "png")),
        *(f"{name}.{ending}" for name in ("matrix", "ranking") for ending in ("tex", "md")),
    }
    assert (tmp_path / "forest.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (tmp_path / "roc.svg").read_text(encoding="utf-8")[:500]
    with Image.open(tmp_path / "roc.png") as image:
        assert image.width > 300
    again = write_paper(paper(found), tmp_path / "again", ("pdf",))
    for path in again:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()  # no time is in them


def test_a_labs_own_style_holds(tmp_path: Path) -> None:
    style = tmp_path / "lab.mplstyle"
    style.write_text("font.size: 17\nlines.linewidth: 4\n", encoding="utf-8")
    with headless(style):
        from matplotlib import rcParams

        assert (rcParams["font.size"], rcParams["lines.linewidth"]) == (17, 4)
    with pytest.raises(ConfigError, match="cannot be read"), headless(tmp_path / "none.mplstyle"):
        pass


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX")
def test_the_tables_compile(found: Comparisons, tmp_path: Path) -> None:
    write_paper(paper(found), tmp_path, ())
    body = "".join(f"\\input{{{name}}}\n\n" for name in ("matrix.tex", "ranking.tex"))
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "all.tex").write_text(f"{document}{body}\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"Output written on all\.pdf \(1 page", done.stdout)

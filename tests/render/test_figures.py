"""Figures are there, hold what they should, and say what they cannot show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from study.analysis.results import IMAGES_ALONE, DatasetRow, PairRow
from study.analysis.roc import RocCurve, roc_of_means
from study.core.errors import StoreError
from study.core.records import SHORTCUTS, Pairing, Scores
from study.render.figures import canvas
from study.render.figures.heat_map import heat_map
from study.render.figures.ranks import critical_difference
from study.render.figures.robustness import robustness_curves
from study.render.figures.roc import roc_curves
from study.statistics.comparisons import friedman
from tests.analysis.score_sets import CellScores, score_set
from tests.render.synthetic_matrix import NAN, matrix, results, row, without_number


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, which are saved as well."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> FigureCanvasAgg:
        kept.append(figure)
        return FigureCanvasAgg(figure)

    monkeypatch.setattr(canvas, "FigureCanvasAgg", keep)
    return kept


def is_picture(path: Path) -> bool:
    """A PNG in which something is drawn."""
    with Image.open(path) as image:
        return (
            image.format == "PNG"
            and image.width > 300
            and np.asarray(image.convert("L")).std() > 10
        )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def patches(figure: Figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def test_a_heat_map_has_every_number_and_outlines_what_is_in_domain(
    drawn: list[Figure], tmp_path: Path
) -> None:
    rows = [
        row("npr", "a", "a", 0.9),
        row("npr", "a", "b", 0.6),
        row("npr", "a+b", "a", 0.8),
        without_number("npr", "a+b", "b", "failed", "no winner"),
        row("other", "a", "a", 0.123),
    ]
    heat_map(results(rows), "npr", "auc", tmp_path / "figures" / "heat.png")
    (figure,) = drawn
    assert is_picture(tmp_path / "figures" / "heat.png")
    assert texts(figure) == [
        "0.900",
        "[0.85, 0.95]",
        "0.600",
        "[0.55, 0.65]",
        "0.800",
        "[0.75, 0.85]",
        "failed",
    ]
    assert len(figure.axes) == 2  # the matrix and its scale
    outlined = [patch for patch in patches(figure) if not patch.get_fill()]
    centres = sorted(
        (patch.get_x() + patch.get_width() / 2, patch.get_y() + patch.get_height() / 2)
        for patch in outlined
    )
    assert np.allclose(centres, [(0, 0), (0, 1), (1, 1)])  # a -> a, a+b -> a, a+b -> b
    assert len([patch for patch in patches(figure) if patch.get_hatch()]) == 1
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "a\n100 / 150",
        "b\n100 / 150",
    ]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "a+b"]


def test_cells_that_share_images_with_training_are_marked(
    drawn: list[Figure], tmp_path: Path
) -> None:
    rows = [row("npr", "a", t, 0.6) for t in ("a", "b", "c")]
    rows.append(row("npr", "a", "b", 0.55, leak_free=True))
    shared = PairRow(train_on="a", test_on="c", domain="neither", overlap=0.1, note="shared")
    heat_map(results(rows, pairs=(shared,)), "npr", "auc", tmp_path / "heat.png")
    assert texts(drawn[0])[::2] == ["0.600", "0.600!", "0.600~"]
    title = drawn[0].axes[0].get_title(loc="left")
    assert "at a cell: images that leak from training" in title
    assert "~ shares images with the training set" in title
    heat_map(results([row()]), "npr", "auc", tmp_path / "plain.png")
    assert "leak" not in drawn[1].axes[0].get_title(loc="left") and not {*"!~"} & {
        *"".join(texts(drawn[1]))
    }


def test_a_value_without_an_interval_says_so(drawn: list[Figure], tmp_path: Path) -> None:
    one = row("npr", "a", "a", 0.9)
    rows = [
        replace(one, estimate=replace(one.estimate, low=NAN, high=NAN)),
        row("npr", "a", "b", 0.6),
    ]
    heat_map(results(rows), "npr", "auc", tmp_path / "heat.png")
    assert texts(drawn[0]) == ["0.900", "[no interval]", "0.600", "[0.55, 0.65]"]


def test_a_mean_of_seeds_has_their_spread_and_a_mark_where_none_of_them_is_in_its_interval(
    drawn: list[Figure], tmp_path: Path
) -> None:
    seeds = {"a": (0.864, 0.322), "b": (0.61, 0.59), "c": (0.65, 0.9)}
    rows = [
        row("npr", "a", t, v, seed=str(s))
        for t, values in seeds.items()
        for s, v in enumerate(values)
    ]
    alone: dict[str, object] = {"low": 0.52, "high": 0.66, "seeds": 2, "note": IMAGES_ALONE}
    rows += [
        row("npr", "a", t, sum(v) / 2, sd=abs(v[0] - v[1]) / 2**0.5, **alone)
        for t, v in seeds.items()
    ]
    heat_map(results(rows), "npr", "auc", tmp_path / "heat.png")
    mark = "^"
    assert texts(drawn[0])[::3] == [f"0.593{mark}", "0.600", "0.775"]
    assert texts(drawn[0])[2::3] == ["sd 0.383, n=2", "sd 0.014, n=2", "sd 0.177, n=2"]
    assert (
        f"{mark} seeds differ by more than the interval, which is of the test images alone"
        in drawn[0].axes[0].get_title(loc="left")
    )
    heat_map(results([r for r in rows if r.test_on != "a"]), "npr", "auc", tmp_path / "plain.png")
    assert mark not in "".join([*texts(drawn[1]), drawn[1].axes[0].get_title(loc="left")])


def test_what_the_audit_warns_of_is_marked_in_every_figure_with_a_key(
    drawn: list[Figure], tmp_path: Path
) -> None:
    rows = [row("npr", "a", t, 0.6, degradation=name) for t in "ab" for name in ("none", "jpeg50")]
    for warned in ("", "a confound"):
        audited = (DatasetRow(name="b", warnings=warned),)
        found = results([*rows, row(SHORTCUTS[0], "(none)", "b", 0.9)], datasets=audited)
        heat_map(found, "npr", "auc", tmp_path / "heat.png")
        robustness_curves(found, "npr", "jpeg", tmp_path / "jpeg.png")
        pairing = Pairing(detector="npr", train_on="a")
        roc_curves(
            curves([(t, pairing, scores(1.0), 0) for t in "ab"]),
            tmp_path / "roc.png",
            warned=["b"] if warned else [],
        )
        heat, robust, roc = drawn[-3:]
        mark, key = (" !", "! at a test set: a confound or a leak") if warned else ("", "")
        assert [label.get_text() for label in heat.axes[0].get_xticklabels()] == [
            "a\n100 / 150",
            f"b{mark}\n100 / 150",
        ]
        assert [axes.get_title().split("\n")[0] for axes in robust.axes] == [
            "test on a",
            f"test on b{mark}",
        ]
        assert [axes.get_title() for axes in roc.axes] == ["test on a", f"test on b{mark}"]
        assert "thick: in-domain" in roc.get_suptitle()
        for text in (heat.axes[0].get_title(loc="left"), robust.get_suptitle(), roc.get_suptitle()):
            assert ("! at a test set" in text) == bool(warned) and key in text


def test_a_robustness_panel_says_its_images_and_why_points_have_no_interval(
    drawn: list[Figure], tmp_path: Path
) -> None:
    why = "interval undefined: a class comes from one group"
    rows = [
        row("npr", "a", "a", 0.9, n_real=12),
        row("npr", "a", "a", 0.8, degradation="jpeg50", n_real=11, low=NAN, high=NAN, note=why),
    ]
    rows += [row("npr", "a", "b", 0.8, degradation=name) for name in ("none", "jpeg50")]
    robustness_curves(results(rows), "npr", "jpeg", tmp_path / "jpeg.png")
    assert [axes.get_title() for axes in drawn[0].axes] == [
        "test on a\n11-12 real / 150 fake",
        "test on b\n100 real / 150 fake",
    ]
    assert [" ".join(t.get_text().split()) for t in drawn[0].axes[0].texts] == [
        f"1 of 2 points: {why}"
    ]
    assert not drawn[0].axes[1].texts


def cell_colour(figure: Figure, x: int, y: int) -> tuple[float, ...]:
    cell = next(
        p
        for p in patches(figure)
        if p.get_fill() and np.allclose((p.get_x(), p.get_y()), (x - 0.5, y - 0.5))
    )
    return tuple(cell.get_facecolor()[:3])


@pytest.mark.parametrize(
    ("metric", "good", "bad"),
    [("auc", 0.9, 0.1), ("eer", 0.1, 0.9), ("balanced_accuracy", 0.9, 0.1)],
)
def test_colours_diverge_from_chance(
    drawn: list[Figure], tmp_path: Path, metric: str, good: float, bad: float
) -> None:
    rows = [
        row("npr", "a", t, v, metric=metric) for t, v in {"a": good, "b": 0.5, "c": bad}.items()
    ]
    heat_map(results(rows), "npr", metric, tmp_path / "heat.png")
    better, chance, worse = (cell_colour(drawn[0], x, 0) for x in range(3))
    assert better[0] > better[2] + 0.3  # yellow
    assert worse[2] > worse[0] + 0.1  # blue
    assert np.ptp(chance) < 0.05  # grey
    # and they stay apart in grey
    light = [np.dot(colour, (0.2126, 0.7152, 0.0722)) for colour in (worse, chance, better)]
    assert np.diff(light).min() > 0.15


def test_average_precision_diverges_from_prevalence(drawn: list[Figure], tmp_path: Path) -> None:
    heat_map(
        results([row("npr", "a", "a", 0.9, metric="ap", n_real=10, n_fake=90)]),
        "npr",
        "ap",
        tmp_path / "heat.png",
    )
    assert np.ptp(cell_colour(drawn[0], 0, 0)) < 0.05


@pytest.mark.parametrize(
    ("metric", "values"),
    [("nll", [0.2, 2.5]), ("f1", [0.2, 0.9]), ("eer_threshold", [-3.0, 4.0]), ("nll", [NAN, NAN])],
)
def test_other_quantities_have_a_scale_too(
    drawn: list[Figure], tmp_path: Path, metric: str, values: list[float]
) -> None:
    rows = [row("npr", "a", t, v, metric=metric) for t, v in zip("ab", values, strict=True)]
    heat_map(results(rows), "npr", metric, tmp_path / "heat.png")
    assert is_picture(tmp_path / "heat.png")
    assert ("undefined" in texts(drawn[0])) == np.isnan(values[0])


def test_a_heat_map_of_four_by_nine_cells(drawn: list[Figure], tmp_path: Path) -> None:
    names = [f"dataset_number_{i}" for i in range(9)]
    heat_map(
        results(matrix(["npr"], names, train_on=names[:4])), "npr", "auc", tmp_path / "heat.png"
    )
    assert len(texts(drawn[0])) == 4 * 9 * 3  # value, interval, spread over seeds
    boxes = [text.get_window_extent() for text in drawn[0].axes[0].texts]
    assert not any(
        first.overlaps(second) for i, first in enumerate(boxes) for second in boxes[i + 1 :]
    )


def scores(shift: float, *, seed: int = 0, n: int = 60, label: np.ndarray | None = None) -> Scores:
    rng = np.random.default_rng(seed)
    ids = np.array([f"b/{i:03}" for i in range(n)])
    labels = np.arange(n, dtype=np.uint8) % 2 if label is None else label
    logit = (rng.normal(size=n) + shift * labels).astype(np.float32)
    return Scores(
        sample_id=ids, group=ids, unit=ids, method=ids, label=labels, logit=logit, listed=n
    )


def curves(made: list[CellScores]) -> list[RocCurve]:
    return roc_of_means(*score_set(made))


def test_roc_curves_have_a_panel_a_test_set_and_a_curve_a_pairing(
    drawn: list[Figure], tmp_path: Path
) -> None:
    pairings = [Pairing(detector=d, train_on=t) for d in ("npr", "spectrum") for t in ("a", "b")]
    made = [
        (t, p, scores(2.0 if t == p.train_on else 0.3, seed=s), s)
        for t in ("a", "b", "c")
        for p in pairings
        for s in range(2)
    ]
    roc_curves(curves(made), tmp_path / "roc.png")
    (figure,) = drawn
    assert is_picture(tmp_path / "roc.png")
    assert [axes.get_title() for axes in figure.axes] == ["test on a", "test on b", "test on c"]
    # chance, and four pairings whatever the number of seeds
    assert [len(axes.lines) for axes in figure.axes] == [5, 5, 5]
    widths = [line.get_linewidth() for line in figure.axes[0].lines[1:]]
    assert widths == [2.4, 1.2, 2.4, 1.2]  # a is in domain for what was trained on a
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["npr, a", "npr, b", "spectrum, a", "spectrum, b", "chance"]
    colours = [line.get_color() for line in figure.axes[0].lines[1:]]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_a_roc_curve_is_that_of_the_mean_logit_over_seeds(
    drawn: list[Figure], tmp_path: Path
) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    pairing, seeds = Pairing(detector="npr", train_on="a"), [scores(1.0, seed=s) for s in range(3)]
    made = [("b", pairing, one, number) for number, one in enumerate(seeds)]
    roc_curves(curves(made), tmp_path / "roc.png")
    expected = roc_curve(seeds[0].label, np.mean([s.logit.astype(float) for s in seeds], axis=0))[
        :2
    ]
    x, y = drawn[0].axes[0].lines[1].get_data()
    grid = np.linspace(0, 1, 201)
    assert np.allclose(np.interp(grid, x, y), np.interp(grid, *expected))
    assert "ROC of the mean logit over seeds" in drawn[0].get_suptitle()
    auc = roc_auc_score(seeds[0].label, np.mean([s.logit.astype(float) for s in seeds], axis=0))
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()] == [f"{auc:.3f}"]


def test_a_test_set_with_one_class_has_no_curve_and_says_so(
    drawn: list[Figure], tmp_path: Path
) -> None:
    one_class = scores(1.0, label=np.ones(60, np.uint8))
    roc_curves(
        curves([("b", Pairing(detector="npr", train_on="a"), one_class, 0)]),
        tmp_path / "roc.png",
    )
    assert len(drawn[0].axes[0].lines) == 1
    assert texts(drawn[0]) == ["undefined: one class only"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first.png", "second.png"):
        heat_map(results(matrix(["npr"], ["a", "b"])), "npr", "auc", tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot write '.*heat\.png'"):
        heat_map(results([row()]), "npr", "auc", tmp_path / "file" / "heat.png")


def test_a_critical_difference_diagram_has_every_rank_and_a_bar_over_each_clique() -> None:
    # Five test sets with the same order but for the last two, which change places twice: ranks 1,
    # 2, 3.4, 3.6.
    values = np.tile([4.0, 3.0, 2.0, 1.0], (5, 1))
    values[:2, 2:] = [1.0, 2.0]
    ranks = friedman(values)
    figure = critical_difference(
        ["best", "second", "third", "a-very-long-name-of-a-detector-from-a-library"], ranks
    )
    assert figure is not None
    assert [text.strip() for text in texts(figure)] == [
        "best (1.00)",
        "second (2.00)",
        "(3.40) third",
        "(3.60) a-very-long-name-o...-from-a-library",
        f"critical difference {2.569 * (4 * 5 / 30) ** 0.5:.2f}",
    ]
    thick = [line.get_xdata() for line in figure.axes[0].lines if line.get_linewidth() == 4]
    assert [tuple(np.round(x, 2)) for x in thick] == [(0.98, 2.02), (1.98, 3.62)]


def test_a_diagram_of_too_few_test_sets_says_so() -> None:
    figure = critical_difference(["one", "two"], friedman(np.array([[0.5, 0.6], [0.7, 0.8]])))
    assert figure is not None
    assert "too few to test: 2 test sets" in figure.get_suptitle()
    assert texts(figure)[-1].endswith("longer than the axis")
    assert critical_difference(["one", "two"], friedman(np.array([[0.5, 0.6]]))) is None


def test_robustness_curves_go_from_clean_to_strong_and_leave_out_what_has_no_number(
    drawn: list[Figure], tmp_path: Path
) -> None:
    values = {
        "none": 0.9,
        "jpeg30": 0.6,
        "jpeg95": 0.8,
        "blur2+jpeg50": 0.55,
        "blur2": 0.7,
        "long64": 0.5,
    }
    rows = [
        row("npr", x, y, value, degradation=name)
        for x in "ab"
        for y in "ab"
        for name, value in values.items()
    ]
    rows = [r for r in rows if (r.train_on, r.test_on, r.degradation) != ("b", "a", "jpeg95")]
    rows += [
        row("npr", "b", "a", NAN, degradation="jpeg95", state="failed", low=NAN, high=NAN),
        row("npr", "a", "a", 0.1, seed="0"),
    ]
    assert robustness_curves(results(rows), "npr", "jpeg", tmp_path / "jpeg.png")
    (figure,) = drawn
    assert is_picture(tmp_path / "jpeg.png")
    assert [axes.get_title() for axes in figure.axes] == [
        f"test on {name}\n100 real / 150 fake" for name in "ab"
    ]
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert left > right  # the quality falls from left to right
        assert [text.get_text() for text in axes.get_xticklabels()] == ["30", "95", "clean"]
    curves = [line.get_ydata() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(map(float, y)) for y in curves] == [[0.6, 0.8, 0.9], [0.6, 0.9]]
    bars = [
        [(float(a[1]), float(b[1])) for a, b in bars.get_segments()]
        for bars in figure.axes[1].collections
    ]
    assert bars[0] == [pytest.approx((v - 0.05, v + 0.05)) for v in (0.6, 0.8, 0.9)]


def test_robustness_curves_leave_out_what_leaks(drawn: list[Figure], tmp_path: Path) -> None:
    rows = [
        row("npr", "a", "a", value, degradation=name)
        for name, value in {"none": 0.9, "jpeg50": 0.8, "jpeg30": 0.7}.items()
    ]
    assert robustness_curves(results(rows), "npr", "jpeg", tmp_path / "jpeg.png")
    left = {"none": 0.85, "jpeg50": 0.65, "jpeg30": NAN}  # at the strongest a class is gone without
    rows += [
        row("npr", "a", "a", value, degradation=name, leak_free=True)
        for name, value in left.items()
    ]
    assert robustness_curves(results(rows), "npr", "jpeg", tmp_path / "jpeg.png")
    curves = [
        [float(y) for y in line.get_ydata()]
        for f in drawn
        for line in f.axes[0].lines
        if line.get_marker() == "o"
    ]
    assert curves == [[0.7, 0.8, 0.9], [0.7, 0.65, 0.85]]
    assert [f.get_suptitle().endswith("; leaked images left out)") for f in drawn] == [False, True]


def test_robustness_curves_of_nothing_are_not_drawn(tmp_path: Path) -> None:
    rows = [
        row("npr", "a", "a"),
        row("npr", "a", "a", degradation="blur2+jpeg50"),
        row("other", "a", "a", degradation="blur2"),
    ]
    assert not robustness_curves(results(rows), "npr", "blur", tmp_path / "blur.png")
    assert not list(tmp_path.iterdir())

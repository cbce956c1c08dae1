"""A made-up study with one of everything that the report shows, and names that are markup."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from study.analysis.cell_curves import BINS, GRID, RECALL, CellCurves, WorstImage
from study.analysis.deliveries import EVERY, Deliveries, Flips, RankStability
from study.analysis.evidence import EvidenceRow
from study.analysis.exposure import LaterRow
from study.analysis.results import DatasetRow, Flag, PairRow, Results
from study.core.records import Estimate
from study.render.report.page import Report
from study.render.report.payload import Json
from tests.analysis.test_comparisons import compared, study
from tests.factories import encode
from tests.render.synthetic_matrix import matrix, row, without_number

EVIL = "<script>alert(1)</script>"
PICTURE = encode(Image.new("RGB", (8, 6), (200, 30, 30)), "JPEG")
NAUGHTY = '"></script><img src=x onerror=alert(1)>.png'


def results_with_everything() -> Results:
    rows = [
        *matrix(["npr", EVIL], ["a", "b", "c"]),
        *(row(test_on=y, degradation="jpeg50", value=0.6 + 1 / 16) for y in "abc"),
        row(test_on="c", leak_free=True, value=0.3125, domain="cross"),
        row(test_on="b", level="unit", value=0.9995),
        row(test_on="b", subset="method:gan", value=0.8),
        without_number("late", "a", "b", "planned", "not trained yet"),
        row("(metadata only)", "(none)", "b", 0.7),
        row("npr", "a", "b", 0.5, role="null", subset="permuted labels"),
    ]
    pairs = (
        PairRow(train_on="a", test_on="c", domain="cross", leaked=7, warnings="7 images leak."),
        PairRow(train_on="a", test_on="b", domain="cross"),
    )
    flag = Flag(detector="npr", train_on="a", kind="under-trained", seen="rises", mend="epochs")
    marked = DatasetRow(name="b", warnings="JPEG quality separates the classes.")
    return Results(rows=tuple(rows), datasets=(marked,), pairs=pairs, flags=(flag,))


def curves_of(detector: str, train_on: str, test_on: str) -> CellCurves:
    tpr = np.sqrt(GRID)
    return CellCurves(
        detector=detector,
        train_on=train_on,
        test_on=test_on,
        seeds=2,
        n_real=100,
        n_fake=150,
        tpr=tpr,
        low=tpr * 0.9,
        high=np.minimum(tpr * 1.1, 1),
        precision=np.full(len(RECALL), 0.6),
        edges=np.linspace(-3, 3, BINS + 1),
        reals=np.full(BINS, 1 / BINS),
        fakes=np.full(BINS, 1 / BINS),
        bins=((0.2, 0.3, 50), (0.8, 0.7, 50)),
        worst=(WorstImage(sample_id=NAUGHTY, is_fake=True, logit=-2.5),),
    )


def later_rows_made_up() -> list[LaterRow]:
    def later(train_on: str, until: str, months: int, value: float) -> LaterRow:
        return LaterRow(
            detector="npr",
            train_on=train_on,
            test_on="b",
            method=f"generator {months}",
            trained_until=until,
            released="2022-08",
            months=months,
            auc=Estimate(value=value, low=value - 0.05, high=value + 0.05, n_real=90, n_fake=80),
        )

    first, other = "2020-01", "2021"
    return [later("a", first, 7, 0.9), later("a", first, 31, 0.625), later("c", other, 12, 0.75)]


def deliveries_made_up() -> Deliveries:
    """Two detectors that change places, and how many verdicts flip: of one test set, and of all."""
    place = {"train_on": "a", "domain": "cross", "threshold": "source", "images": 50}
    flips = tuple(
        Flips(detector=EVIL, test_on=y, delivery="crop", share=share, low=low, high=high, **place)
        for y, share, low, high in (("b", 0.5, 0.3, 0.7), (EVERY, 0.25, 0.125, 0.375))
    )
    own, delivered = {"npr": 0.75, EVIL: 0.5}, {"npr": 0.625, EVIL: 0.875}
    places, found = (("a", "b"),), {"tau": -1.0, "turned": 1, "pairs": 1}
    ranks = RankStability(delivery="crop", own=own, delivered=delivered, places=places, **found)
    return Deliveries(flips=flips, ranks=(ranks,))


def report() -> Report:
    return Report(
        name="made up",
        results=results_with_everything(),
        answer=f"None generalises.\nIts lead on {EVIL} is small.",
        texts=(f"# A table\n\n| x |\n|---|\n| {EVIL} |\n",),
        comparisons=compared(study({"npr": 1.0, EVIL: 0.2}, ["a", "b"], n=60)),  # no null band
        later=later_rows_made_up(),
        deliveries=deliveries_made_up(),
        evidence=(
            EvidenceRow(
                detector="npr",
                train_on="a",
                test_on="b",
                numbers={},
                reals=np.array([-2.0, -1.0, 0.5]),
                fakes=np.array([0.0, 1.0]),
            ),
        ),
        curves=(curves_of("npr", "a", "b"), curves_of(EVIL, "a", "b")),
        images={"b": {NAUGHTY: PICTURE}},
        importances=(("npr @ a", "learning rate 0.71; dropout 0.29"),),
        provenance=(("matrix", "python -m study.cross_eval made_up"),),
        again="python -m study.cross_eval made_up --predictions-csv",
        predictions="results/made up/predictions",
    )


def held_by_page(matrix: Json, file: Path) -> dict[tuple[object, ...], list[object]]:
    """Assert that the cells of a page's data are those of matrix.csv, to the last bit and no more,
    and that its switches have all values of that file. Return the cells: place -> numbers.
    """
    columns, names = matrix["columns"], matrix["names"]
    found: dict[tuple[object, ...], list[object]] = {}
    for i in range(len(columns["value"])):
        quantity = matrix["quantities"][columns["quantity"][i]]
        place = tuple(of[columns[name][i]] for name, of in names.items())
        place += (quantity["metric"], quantity["threshold"], bool(columns["leak_free"][i]))
        found[place] = [columns[name][i] for name in ("value", "low", "high", "n_real", "n_fake")]
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["seed"] == "mean"]
    rows = [row for row in rows if row["role"] in ("detector", "external") and not row["subset"]]
    expected: dict[tuple[object, ...], list[object]] = {}
    for line in rows:
        place = tuple(line[name] for name in names)
        place += (line["metric"], line["threshold"], line["leak_free"] == "true")
        numbers = [float(line[name]) if line[name] else None for name in ("value", "low", "high")]
        expected[place] = [*numbers, int(line["n_real"]), int(line["n_fake"])]
    assert found == expected
    for name, of in names.items():
        assert of == [*dict.fromkeys(row[name] for row in rows)], f"the switch {name}"
    assert [(q["metric"], q["threshold"]) for q in matrix["quantities"]] == [
        *dict.fromkeys((row["metric"], row["threshold"]) for row in rows)
    ]
    return found

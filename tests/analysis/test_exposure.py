"""What dates say of cells: a backbone that may have seen the images, a generator that is younger
than the training set.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from study.analysis.exposure import Exposure, exposures, later_rows, with_exposure
from study.core.records import NO_TRAINING, Pairing
from study.data.catalog import DataConfig
from study.data.layouts.released import first_day, last_day
from study.detectors import registry
from study.detectors.weights import Source, data_until
from study.render.exposure import exposure_markdown
from tests.analysis.score_sets import clean_cell
from tests.factories import write_dataset
from tests.render.synthetic_matrix import row


@pytest.mark.parametrize(
    ("date", "first", "last"),
    [
        ("2024", "2024-01-01", "2024-12-31"),
        ("2024-08", "2024-08-01", "2024-08-31"),
        ("2024-08-05", "2024-08-05", "2024-08-05"),
    ],
)
def test_a_date_reaches_from_its_first_to_its_last_day(date: str, first: str, last: str) -> None:
    assert (first_day(date), last_day(date)) == (first, last)


def test_a_cell_is_marked_where_dates_leave_no_doubt() -> None:
    def of(**dates: Any) -> Exposure:
        return Exposure(**{"methods": {}, **dates})

    assert of(data_until="2022-03", published="2022-03").may_be_seen  # it may have been before
    assert not of(data_until="2022-03", published="2022-04").may_be_seen
    assert not of(published="2022-04").may_be_seen and not of(data_until="2022").may_be_seen
    known = {"gan": "2019", "sd": "2022-08"}
    assert of(trained_until="2021-05", methods=known).younger == {"sd": "2022-08"}
    # a year alone may begin before
    assert of(trained_until="2019-06", methods={"gan": "2019"}).younger == {}
    assert of(methods=known).younger == {} and of(methods=known).note == ""


@pytest.mark.parametrize(
    ("tag", "until"),
    [
        ("openai", "2021-01"),
        ("laion2b_s34b_b79k", "2022-03"),
        ("openai_ft_in12k_in1k", "2021-01"),
        ("fb_swsl_ig1b_ft_in1k", ""),
        ("tv_in1k", "2012"),
        ("some_tag", ""),
    ],
)
def test_the_end_of_a_backbones_data_follows_from_its_tag(tag: str, until: str) -> None:
    assert data_until(Source(backbone="b", pretrained=tag, origin="")) == until


def test_every_backbone_of_our_names_has_an_end_of_its_data() -> None:
    lines = {name: registry.entry(name) for name in registry.names()}
    sources = {name: one.source for name, one in lines.items() if one.published is None}
    assert [name for name, one in sources.items() if one and not data_until(one)] == []


def dated(root: Path, name: str, seed: int, released: str) -> None:
    folder = write_dataset(root / name, layout="manifest", n=30, size=16, seed=seed)
    lines = (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()
    lines = [f"{lines[0]},released", *(f"{line},{released}" for line in lines[1:])]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_cells_of_a_study_are_marked_by_the_dates_of_their_manifests(tmp_path: Path) -> None:
    for seed, (name, date) in enumerate({"old": "2019", "new": "2023-05", "undated": ""}.items()):
        dated(tmp_path / "data", name, seed, date)
    data = DataConfig(root=tmp_path / "data", cache=tmp_path / "cache")
    setup = cast(
        Any,
        SimpleNamespace(
            workspace=SimpleNamespace(data=data, firewall=False),
            study=SimpleNamespace(ensembles={"both": ("spectrum", "mobilenetv2_035")}),
        ),
    )
    cells = [
        clean_cell(Pairing(detector=d, train_on=x), y, 0, "")
        for d in ("spectrum", "both")
        for x in ("old", "undated", NO_TRAINING)
        for y in ("old", "new")
    ]
    found = exposures(setup, cells)
    assert {place: one.younger for place, one in found.items() if one.younger} == {
        (d, "old", "new"): {"fake": "2023-05"} for d in ("spectrum", "both")
    }
    assert found["spectrum", "old", "new"].data_until == ""
    assert found["both", "old", "new"].data_until == "2012"
    rows = [row("both", "old", "new", 0.7), row("both", "old", "old", 0.9)]
    noted = with_exposure(rows, found)
    assert noted[0].estimate.note.endswith(
        "younger than the training set (until 2019): fake (2023-05)"
    )
    assert noted[1] == rows[1]
    (later,) = later_rows(rows, found)
    assert (later.method, later.months, later.auc.value) == ("fake", 46, 0.7)
    text = exposure_markdown(found, [later])
    assert "| both | old | 2019 | fake | new | 2023-05 | 46 | 0.700 " in text
    assert exposure_markdown({}, ()) == ""

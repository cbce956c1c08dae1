"""Detectors against controls: what a classifier of files carries from one dataset to another, and
the error of a difference.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from study.analysis.controls import ControlRow, _row, _with_holm
from study.analysis.score_set import Aligned
from study.analysis.single_models import Column, halves_from, single_models
from study.core.records import CONTROLS, NO_TRAINING, PROCESSING, Pairing
from study.data.audit.classifiers import KINDS_OF_CONTROL
from study.data.audit.transfer import control_logits
from study.data.catalog import Catalog, DataConfig
from study.render.controls import controls_csv, controls_lines, controls_markdown, verdict
from tests.data.leaks.pictures import scene
from tests.factories import encode, write_manifest

N = 48  # images a class and dataset


def write_formats(folder: Path, kinds: tuple[str, str], start: int) -> None:
    """Write a dataset of which each class has a format of its own."""
    rows: list[dict[str, object]] = []
    for i in range(2 * N):
        name = f"{('real', 'fake')[i % 2]}/{i}.{kinds[i % 2]}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {"jpg": "JPEG", "png": "PNG"}[kinds[i % 2]]
        (folder / name).write_bytes(encode(Image.fromarray(scene(start + i, 24)), kind))
        split = ("train", "train", "val", "test")[i // 2 % 4]
        rows.append({"path": name, "label": i % 2, "group": f"g{i}", "split": split})
    write_manifest(folder, rows)


def test_controls_carry_what_they_learned_to_another_dataset(tmp_path: Path) -> None:
    """PNG was fake: right where it is so again, and wrong where it is the other way about."""
    write_formats(tmp_path / "data" / "x", ("jpg", "png"), 0)
    write_formats(tmp_path / "data" / "same", ("jpg", "png"), 1000)
    write_formats(tmp_path / "data" / "turned", ("png", "jpg"), 2000)
    catalog = Catalog(DataConfig(root=tmp_path / "data", cache=tmp_path / "c"), firewall=False)
    of_x = control_logits(catalog, "x", ("x", "same", "turned"))
    for y, expected in (("x", 1.0), ("same", 1.0), ("turned", 0.0)):
        found = of_x[y]
        assert set(found) == set(CONTROLS)
        ids, logit = found["(metadata only)"]
        rows = catalog.dataset(y).rows("test")
        assert ids.tolist() == sorted(rows["id"].to_pylist())
        label = dict(zip(rows["id"].to_pylist(), rows["label"].to_pylist(), strict=True))
        assert roc_auc_score([label[i] for i in ids], logit) == expected
    # a union has learned both, and knows nothing of the format
    _, logit = control_logits(catalog, "x+turned", ["same"])["same"]["(metadata only)"]
    both = [label_of == 1 for label_of in catalog.dataset("same").rows("test")["label"].to_pylist()]
    assert 0.1 < roc_auc_score(both, logit) < 0.9


def test_every_control_has_its_features() -> None:
    assert list(KINDS_OF_CONTROL) == [*CONTROLS]


def columned(halves: np.ndarray | None) -> Column:
    """A detector and a control on 200 images. halves: (R, 2, N) logits."""
    rng = np.random.default_rng(0)
    label = (np.arange(200) % 2).astype(np.uint8)
    ids = np.array([f"y/{i:03d}" for i in range(200)])
    logits = np.stack([rng.normal(size=200) + label, rng.normal(size=200) + 0.5 * label])
    images = Aligned(sample_id=ids, group=ids, label=label, logits=logits)
    mine = None if halves is None else halves_from(label, tuple(range(len(halves))), halves)
    trained = Pairing(detector="d", train_on="x")
    control = Pairing(detector=PROCESSING, train_on=NO_TRAINING)
    models = {
        trained: single_models(images, {0: 0}, trained, halves=mine),
        control: single_models(images, {0: 1}, control, halves=None),
    }
    return Column(test_on="y", images=images, models=models, rng_seed=0)


def test_the_training_sample_widens_and_its_lack_is_said() -> None:
    lacking = _row(columned(None), "d", PROCESSING, "x")
    label, (one, other) = columned(None).label, columned(None).images.logits
    assert not lacking.counted and verdict(replace(lacking, p_holm=0.0)).startswith("no claim")
    expected = roc_auc_score(label, one) - roc_auc_score(label, other)
    assert lacking.difference == pytest.approx(expected, abs=1e-12)
    rng = np.random.default_rng(2)
    counted = _row(columned(one + rng.normal(0, 2, (10, 2, 1)) * label), "d", PROCESSING, "x")
    assert counted.counted and counted.difference == lacking.difference
    assert counted.high - counted.low > lacking.high - lacking.low


def made(control: str = PROCESSING, **changes: object) -> ControlRow:
    row = ControlRow(
        detector="d",
        train_on="x",
        test_on="y",
        control=control,
        auc=0.8,
        control_auc=0.6,
        difference=0.2,
        low=0.1,
        high=0.3,
        p=0.001,
        counted=True,
        n_real=10,
        n_fake=10,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_holm_is_over_the_rows_of_a_control() -> None:
    rows = _with_holm([made(p=0.01), made(p=0.04), made(p=math.nan), made(control="probe", p=0.03)])
    assert [row.p_holm for row in rows] == pytest.approx([0.02, 0.04, math.nan, 0.03], nan_ok=True)


def test_verdicts_and_texts() -> None:
    rows = (
        made(p_holm=0.01),
        made(p_holm=0.01, difference=-0.2, test_on="z"),
        made(p_holm=0.2, control="clip_linear"),
        made(p_holm=0.01, counted=False, test_on="w"),
        made(reason="a class is missing"),
    )
    nothing = controls_lines([made(p_holm=0.01, counted=False)])
    assert [verdict(row) for row in rows] == [
        "better",
        "worse",
        "not told apart",
        "no claim: the training sample is not counted",
        "cannot be tested (a class is missing)",
    ]
    assert controls_lines(rows) == [
        "against (processing history) trained alike: a detector is better by more than noise in 1"
        " of 2 comparisons (each detector in each cell); 1 cannot be tested; 1 not claimed: the"
        " training sample is not counted",
        "against clip_linear, a frozen probe: a detector is better by more than noise in 0 of 1"
        " comparison (each detector in each cell)",
    ]
    assert nothing == [
        "against (processing history) trained alike: a detector is better by more than noise in 0"
        " of 0 comparisons (each detector in each cell); 1 not claimed: the training sample is not"
        " counted"
    ]
    text = controls_markdown(rows)
    assert "## (processing history)" in text and "+0.200 [+0.100, +0.300]" in text
    lines = controls_csv(rows).splitlines()
    assert len(lines) == 6 and lines[0].endswith(",reason,verdict") and ",better" in lines[1]
    assert controls_markdown(()) == ""

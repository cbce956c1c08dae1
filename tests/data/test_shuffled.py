"""The null control: what is dealt out anew, what stays, and that a study then finds nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from study import cross_eval, plan, sweep
from study.analysis.results_csv import read_matrix
from study.core.records import Geometry
from study.data.shuffled import shuffled
from tests.data.conftest import MakeCatalog
from tests.factories import write_dataset

PX = Geometry(size_px=16, mode="squash")


def table(*, seed: int = 0, groups: int = 200) -> pa.Table:
    """Groups of one to four images, a third of them with images of both classes."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(groups):
        for frame in range(rng.integers(1, 5)):
            label = group % 2 if group % 3 else frame % 2
            rows.append({"id": f"{group}/{frame}", "group": f"g{group}", "label": label})
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("id", pa.string()), ("group", pa.string()), ("label", pa.uint8())])
    )


def blocks(rows: pa.Table, new: pa.Table) -> dict[tuple[str, int], set[int]]:
    found: dict[tuple[str, int], set[int]] = {}
    for group, old, label in zip(
        *(c.to_pylist() for c in (rows["group"], rows["label"], new["label"])), strict=True
    ):
        found.setdefault((group, old), set()).add(label)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_dealt_to_whole_groups_and_tell_nothing_of_the_old_ones(seed: int) -> None:
    rows = table(seed=seed)
    new = shuffled(rows, "train", seed)
    assert (
        new.drop_columns(["label"]) == rows.drop_columns(["label"])
        and new["label"].type == pa.uint8()
    )
    found = blocks(rows, new)
    assert all(len(labels) == 1 for labels in found.values())
    old, label = np.array([k[1] for k in found]), np.array([min(v) for v in found.values()])
    assert label.sum() == old.sum()  # as many fakes as before
    assert (
        abs(label[old == 0].mean() - label[old == 1].mean())
        < 1 / (old == 0).sum() + 1 / (old == 1).sum()
    )


def test_seed_split_and_nothing_else_decide() -> None:
    rows = table()
    new = shuffled(rows, "train", 3)
    by_id = dict(zip(new["id"].to_pylist(), new["label"].to_pylist(), strict=True))
    turned = rows.take(np.random.default_rng(0).permutation(rows.num_rows))
    assert (
        dict(
            zip(
                turned["id"].to_pylist(),
                shuffled(turned, "train", 3)["label"].to_pylist(),
                strict=True,
            )
        )
        == by_id
    )
    assert new != shuffled(rows, "train", 4) and new != shuffled(rows, "val", 3)
    assert shuffled(rows, "test", 3) is rows


def test_train_and_val_are_opened_shuffled_under_keys_of_their_own(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "d", n=40, size=16, layout="manifest")
    plain = make_catalog()
    other = type(plain)(replace(plain.config, shuffle_seed=7), firewall=False)
    assert other.key("d", ("test",)) == plain.key("d", ("test",))
    assert len({catalog.key("d", ("train", "val")) for catalog in (plain, other)}) == 2
    for split in ("train", "val", "test"):
        a, b = plain.open("d", split, PX), other.open("d", split, PX)
        assert (a.sample_id == b.sample_id).all()
        assert (a.label == b.label).all() == (split == "test") and (a.key == b.key) == (
            split == "test"
        )
    assert (
        len([*(plain.config.cache / "packs").glob("*/[0-9a-f]*")]) == 3
    )  # the pixels are the same
    assert other.dataset("d").digest == plain.dataset("d").digest  # the audit sees the true labels


def test_a_study_of_shuffled_labels_finds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data" / "d", n=120, size=24)
    study = tmp_path / "null.toml"
    study.write_text(
        'name = "null"\ndetectors = ["spectrum"]\ntrain_on = ["d"]\n[budget]\ntrials = 1\nepochs ='
        " 3\nreplicates = 0\n"
        "seeds = 1\ndefault_winners = false\n[detector.spectrum]\nsize_px = 24\n[data]\nroot ="
        f' "{tmp_path / "data"}"\n',
        encoding="utf-8",
    )
    aucs = {}
    for name, seed, shuffle in (
        ("plain", 0, "false"),
        *((f"null{seed}", seed, "true") for seed in range(2)),
    ):
        settings = [
            part
            for key in (f"name={name}", f"seed={seed}", f"data.shuffle_labels={shuffle}")
            for part in ("--set", key)
        ]
        arguments = [str(study), "--results", str(tmp_path / "results"), *settings]
        assert (
            sweep.main([*arguments, "--local"]) == 0
            and cross_eval.main([*arguments, "--local"]) == 0
        )
        rows = read_matrix(tmp_path / "results" / name / "matrix.csv")
        wanted = ("spectrum", "auc", "mean", True)
        (aucs[name],) = (
            r.estimate for r in rows if (r.detector, r.metric, r.seed, r.is_plain) == wanted
        )
        tables = (tmp_path / "results" / name / "tables.md").read_text(encoding="utf-8")
        assert ("null control" in tables) == (shuffle == "true")
    capsys.readouterr()
    assert plan.main(arguments) == 0 and "null control" in capsys.readouterr().out
    assert aucs.pop("plain").low > 0.8
    assert all(auc.low < 0.5 < auc.high for auc in aucs.values()), aucs
    assert len({auc.value for auc in aucs.values()}) == 2

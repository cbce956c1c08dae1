"""Which test sets are tested whole, and what depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study import plan
from study.core.errors import DataError
from study.data.catalog import Catalog, DataConfig
from study.planning.open_study import OpenStudy, open_study
from study.planning.study_file import parse_study
from tests.factories import picture, write_dataset, write_ffpp, write_image, write_manifest

N = 30  # images a class


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    def make(train: str, test: str, **data: Any) -> OpenStudy:
        table = {
            "name": "s",
            "detectors": ["spectrum"],
            "train_on": [train],
            "test_on": [train, test],
            "data": {"root": str(tmp_path / "data"), **data},
        }
        study = parse_study(table, where="s.toml")
        return open_study(study, results=tmp_path / "r", weights_root=None, firewall=False)

    return make


def counts(setup: OpenStudy, name: str) -> dict[str, int]:
    return {split: sum(of) for split, of in setup.workspace.catalog.dataset(name).counts().items()}


def test_a_dataset_in_no_training_set_is_tested_whole(tmp_path: Path, opened: Any) -> None:
    for seed, name in enumerate(("mine", "other"), start=1):
        write_dataset(tmp_path / "data" / name, n=N, size=16, seed=seed)
    whole, cut = opened("mine", "other"), opened("mine", "other", test_whole=False)
    assert counts(whole, "other") == {"train": 0, "val": 0, "test": 2 * N}
    assert all(counts(cut, "other").values()) and sum(counts(cut, "other").values()) == 2 * N
    assert counts(whole, "mine") == counts(cut, "mine") and all(counts(whole, "mine").values())
    # a cell is known by its images
    keys = [setup.jobs.cell("0" * 16, "other").scores_key for setup in (whole, cut)]
    assert keys[0] != keys[1]
    same = [setup.jobs.cell("0" * 16, "mine").scores_key for setup in (whole, cut)]
    assert same[0] == same[1]


def test_a_small_dataset_that_no_split_would_leave_both_classes(
    tmp_path: Path, opened: Any
) -> None:
    write_dataset(tmp_path / "data" / "mine", n=N, size=16, seed=1)
    write_dataset(tmp_path / "data" / "other", n=3, size=16, seed=2)
    assert counts(opened("mine", "other"), "other")["test"] == 6


def test_an_official_split_stays(tmp_path: Path, opened: Any) -> None:
    write_dataset(tmp_path / "data" / "mine", n=N, size=16, seed=1)
    write_dataset(tmp_path / "data" / "other", layout="train_test", n=40, size=16, seed=2)
    assert counts(opened("mine", "other"), "other")["test"] == 20


def test_one_picture_in_both_keeps_the_cut(tmp_path: Path, opened: Any) -> None:
    """The hash of a group puts it on the same side in both datasets, and only there."""
    for seed, name in enumerate(("mine", "other"), start=1):
        write_dataset(tmp_path / "data" / name, n=N, size=16, seed=seed)
    config = DataConfig(root=tmp_path / "data", cache=tmp_path / "cache")
    mine = Catalog(config, firewall=False).dataset("mine")
    first = Path(mine.rows("train")["path"][0].as_py())
    label = ("real", "fake").index(first.parent.name)
    again = picture(label, size=16, seed=1_000_000 + int(first.stem))
    write_image(tmp_path / "data" / "other" / first.parent / "again.png", again)
    assert all(counts(opened("mine", "other"), "other").values())


def test_two_members_of_one_folder_share_the_groups_of_their_reals(
    tmp_path: Path, opened: Any
) -> None:
    write_ffpp(tmp_path / "data" / "ffpp", pairs=20, frames=1)
    assert all(counts(opened("ffpp:FaceSwap", "ffpp:NeuralTextures"), "ffpp:FaceSwap").values())
    found = counts(opened("ffpp:FaceSwap", "ffpp:NeuralTextures"), "ffpp:NeuralTextures")
    assert all(found.values())


def test_equal_keys_of_two_folders_are_no_common_group(tmp_path: Path, opened: Any) -> None:
    """Both have the groups 0, 1, ...: two people counted, each for himself."""
    for seed, name in enumerate(("mine", "other"), start=1):
        folder = write_dataset(tmp_path / "data" / name, n=N, size=16, seed=seed)
        rows = [
            {"path": f"{word}/{i:04d}.png", "label": word, "group": str(i)}
            for word in ("real", "fake")
            for i in range(N)
        ]
        write_manifest(folder, rows)  # type: ignore[arg-type]
    assert counts(opened("mine", "other"), "other")["test"] == 2 * N


def test_plan_says_how_many_of_how_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: Any
) -> None:
    for seed, name in enumerate(("mine", "other"), start=1):
        write_dataset(tmp_path / "data" / name, n=N, size=16, seed=seed)
    test = counts(opened("mine", "other"), "mine")["test"]
    names = ("name=s", 'train_on=["mine"]', 'test_on=["mine", "other"]', 'detectors=["spectrum"]')
    changes = [word for name in names for word in ("--set", name)]
    places = ["--data-root", str(tmp_path / "data"), "--results", str(tmp_path / "r")]
    assert plan.main(["quick", *changes, *places]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("tested of all" in line for line in lines)
    for name, words in (("mine", f"{test} of {2 * N}"), ("other", f"{2 * N} of {2 * N}")):
        assert any(line.startswith(name) and words in line for line in lines)


def test_one_class_suffices_for_what_is_only_tested(tmp_path: Path, opened: Any) -> None:
    """A newsroom's archive of reals."""
    write_dataset(tmp_path / "data" / "mine", n=N, size=16, seed=1)
    folder = write_dataset(tmp_path / "data" / "archive", n=N, size=16, seed=2)
    rows = [{"path": f"real/{i:04d}.png", "label": "real"} for i in range(N)]
    write_manifest(folder, rows)  # type: ignore[arg-type]
    setup = opened("mine", "archive")
    catalog = setup.workspace.catalog
    assert catalog.dataset("archive").counts()["test"] == (N, 0)
    images = catalog.open("archive", "test", setup.keys.specs["spectrum"].geometry)
    assert len(images) == N


def test_a_training_set_of_one_class_is_refused(tmp_path: Path, opened: Any) -> None:
    write_dataset(tmp_path / "data" / "mine", n=N, size=16, seed=1)
    folder = write_dataset(tmp_path / "data" / "archive", n=N, size=16, seed=2)
    rows = [{"path": f"real/{i:04d}.png", "label": "real"} for i in range(N)]
    write_manifest(folder, rows)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'archive' has no fake images"):
        opened("archive", "mine")

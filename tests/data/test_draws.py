"""Halves of training groups and permuted labels: whole groups, both classes, the same halves
everywhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.records import Draw, Geometry
from study.data.catalog import Catalog, DataConfig
from study.data.draws import can_be_halved, drawn, halves
from study.data.images.packs import ImageSet
from tests.factories import write_dataset


def made(seed: int, groups: int = 60) -> tuple[NDArray[np.str_], NDArray[np.uint8]]:
    """Groups of 1 to 5 images: reals alone, fakes alone, both."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, groups)
    kind = rng.integers(0, 3, groups)
    group = np.repeat([f"g{n}" for n in range(groups)], sizes)
    of_image = np.repeat(kind, sizes)
    label = np.where(of_image == 2, rng.integers(0, 2, len(group)), of_image).astype(np.uint8)
    return group, label


@pytest.mark.parametrize("seed", range(10))
def test_halves_are_of_whole_groups_with_both_classes_and_alike_in_size(seed: int) -> None:
    group, label = made(seed)
    half = halves(group, label, number=seed, seed=3)
    assert all(len(set(half[group == name])) == 1 for name in np.unique(group))
    for one in (0, 1):
        assert set(label[half == one]) == {0, 1}
    # each of the three kinds of groups is off by half of its largest group, at most
    for value in (0, 1):
        first, second = ((half == one) & (label == value) for one in (0, 1))
        assert abs(int(first.sum()) - int(second.sum())) <= 2 * 5


def test_pairs_of_halves_differ_and_repeat() -> None:
    group, label = made(0)
    first, second = (halves(group, label, number, seed=0) for number in (0, 1))
    assert (first != second).any()
    assert (first == halves(group, label, 0, seed=0)).all()
    assert (first != halves(group, label, 0, seed=1)).any()
    order = np.random.default_rng(0).permutation(len(group))
    assert (halves(group[order], label[order], 0, seed=0) == first[order]).all()


def test_training_sets_that_share_groups_share_their_halves() -> None:
    """But for groups next to the cut, which moves with what is not shared."""
    group, label = made(0, groups=200)
    shared = np.isin(group, [f"g{n}" for n in range(150)])
    whole, part = halves(group, label, 0, seed=0), halves(group[shared], label[shared], 0, seed=0)
    assert np.mean(whole[shared] == part) > 0.85


@pytest.mark.parametrize(
    ("group", "label", "enough"),
    [
        (["a", "b", "c", "d"], [0, 0, 1, 1], True),
        (["a", "b", "c", "c"], [0, 0, 1, 1], False),  # the fakes are one group
        (["a", "a", "b", "b"], [0, 1, 0, 1], True),
        (["a", "a", "b", "c"], [0, 1, 0, 1], False),
    ],
)
def test_too_few_groups_are_no_halves(group: list[str], label: list[int], enough: bool) -> None:
    given = np.array(group), np.array(label, dtype=np.uint8)
    assert can_be_halved(*given) is enough
    if not enough:
        with pytest.raises(DataError, match=r"cannot be halved.*budget.replicates=0"):
            halves(*given, number=0, seed=0)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[ImageSet, ImageSet]:
    write_dataset(tmp_path / "data" / "mine", n=40, size=16)
    config = DataConfig(root=tmp_path / "data", cache=tmp_path / "cache")
    catalog, geometry = Catalog(config, firewall=True), Geometry(size_px=16, mode="crop")
    assert catalog.can_be_halved("mine")
    return catalog.open("mine", "train", geometry), catalog.open("mine", "val", geometry)


def test_a_half_has_its_own_pixels_and_val_stays(sets: tuple[ImageSet, ImageSet]) -> None:
    train, val = sets
    found = [drawn(train, val, Draw(kind="half", number=2, half=half), 0) for half in (0, 1)]
    ids = [set(one.sample_id) for one, _ in found]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(train.sample_id)
    for one, same in found:
        assert same is val
        places = np.searchsorted(train.sample_id, one.sample_id)
        index = np.arange(len(one))
        assert np.array_equal(one.gather(index), train.gather(places))
        assert (one.label == train.label[places]).all()
        ((pack, rows, at),) = one.parts()
        assert (at == index).all()
        assert np.array_equal(pack.gather(rows), train.gather(places))
    assert len({train.key, *(one.key for one, _ in found)}) == 3


def test_permuted_labels_are_as_many_fakes_in_train_and_val(
    sets: tuple[ImageSet, ImageSet],
) -> None:
    found = [drawn(*sets, Draw(kind="permuted", number=n), 0) for n in range(2)]
    for of_draw in found:
        for new, old in zip(of_draw, sets, strict=True):
            assert (new.sample_id == old.sample_id).all()
            assert new.label.sum() == old.label.sum()
            assert (new.label != old.label).any()
            assert new.key != old.key
            fakes = old.label == 1  # alike in each class: nothing of the old labels is left
            assert abs(new.label[fakes].mean() - new.label[~fakes].mean()) < 2 / fakes.sum() + 0.1
    assert (found[0][0].label != found[1][0].label).any()

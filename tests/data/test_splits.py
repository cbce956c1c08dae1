"""Splits and subsets: groups never straddle, subsets nest, and datasets that share a pool agree
about it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.core.errors import DataError
from study.data.splits import assign_splits, check_splits, straddling, take_per_class

# A dataset: per image the number of its group and its label.
images = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=120)
no_split = st.just("")


def table(rows: list[tuple[int, int]]) -> tuple[Any, list[str], Any]:
    numbers = np.array([group for group, _ in rows])
    names, codes = np.unique(numbers, return_inverse=True)
    return (
        codes,
        [f"g{name}" for name in names],
        np.array([label for _, label in rows], dtype=np.uint8),
    )


def nothing_official(n: int) -> Any:
    return np.full(n, "", dtype=np.str_)


def by_hand(group: str) -> str:
    place = int.from_bytes(hashlib.sha256(b"split\0" + group.encode()).digest()[:8], "big") / 2**64
    return "train" if place < 0.70 else "val" if place < 0.85 else "test"


@given(images)
def test_groups_never_straddle_and_splits_follow_the_hash(rows: list[tuple[int, int]]) -> None:
    codes, groups, _ = table(rows)
    split = assign_splits(codes, groups, nothing_official(len(rows)))
    assert straddling(codes, split) == 0
    assert [by_hand(groups[code]) for code in codes] == split.tolist()


@given(images, images)
def test_a_shared_pool_falls_on_the_same_side_in_both_datasets(
    a: list[tuple[int, int]], b: list[tuple[int, int]]
) -> None:
    sides: dict[str, str] = {}
    for rows in (a, b):
        codes, groups, _ = table(rows)
        split = assign_splits(codes, groups, nothing_official(len(rows)))
        for code, side in zip(codes, split, strict=True):
            assert sides.setdefault(groups[code], side) == side


@given(images, st.data())
def test_official_splits_are_kept_and_val_is_carved_by_group_from_train(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    codes, groups, _ = table(rows)
    official = np.array(
        data.draw(
            st.lists(st.sampled_from(["train", "test"]), min_size=len(rows), max_size=len(rows))
        )
    )
    split = assign_splits(codes, groups, official)
    np.testing.assert_array_equal(split == "test", official == "test")
    assert straddling(codes[official == "train"], split[official == "train"]) == 0
    for code, side in zip(codes[official == "train"], split[official == "train"], strict=True):
        assert side == ("val" if by_hand(groups[code]) == "val" else "train")


@given(images, st.data())
def test_a_complete_official_split_is_untouched(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    codes, groups, _ = table([*rows, (99, 0)])
    names = st.sampled_from(["train", "val", "test"])
    official = np.array(
        [*data.draw(st.lists(names, min_size=len(rows), max_size=len(rows))), "val"]
    )
    np.testing.assert_array_equal(assign_splits(codes, groups, official), official)


@given(images, st.integers(1, 60), st.integers(0, 60))
def test_subsets_nest_and_take_whole_groups(
    rows: list[tuple[int, int]], limit: int, more: int
) -> None:
    codes, groups, label = table(rows)
    small, large = (take_per_class(codes, groups, label, n) for n in (limit, limit + more))
    assert not (small & ~large).any()
    for value in (0, 1):
        of_class = label == value
        sizes = np.bincount(codes[of_class], minlength=len(groups))
        taken = np.bincount(codes[of_class & small], minlength=len(groups))
        assert ((taken == 0) | (taken == sizes)).all()
        # a first group larger than the limit is taken alone
        assert taken.sum() <= limit or (taken > 0).sum() == 1
        assert of_class.any() == (of_class & small).any()
    assert take_per_class(codes, groups, label, len(rows)).all()


@given(images, images, st.integers(1, 40))
def test_subsets_of_a_shared_real_pool_agree(
    pool: list[tuple[int, int]], fakes: list[tuple[int, int]], limit: int
) -> None:
    reals = [(group, 0) for group, _ in pool]
    taken = []
    for others in ([(group, 1) for group, _ in fakes], [(group + 7, 1) for group, _ in fakes]):
        codes, groups, label = table([*reals, *others])
        taken.append(take_per_class(codes, groups, label, limit)[: len(reals)])
    np.testing.assert_array_equal(*taken)


@given(st.permutations(range(40)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    rows = [(number % 13, number % 2) for number in range(40)]
    codes, groups, label = table(rows)
    split, taken = (
        assign_splits(codes, groups, nothing_official(40)),
        take_per_class(codes, groups, label, 9),
    )
    shuffled, names, labels = table([rows[i] for i in order])
    np.testing.assert_array_equal(
        assign_splits(shuffled, names, nothing_official(40)), split[order]
    )
    np.testing.assert_array_equal(take_per_class(shuffled, names, labels, 9), taken[order])


def test_ratios_are_those_of_the_protocol() -> None:
    codes, groups = np.arange(20_000), [f"image {number}" for number in range(20_000)]
    split = assign_splits(codes, groups, nothing_official(20_000))
    shares = [(split == name).mean() for name in ("train", "val", "test")]
    assert np.abs(np.array(shares) - [0.70, 0.15, 0.15]).max() < 0.01  # three standard deviations
    carved = assign_splits(codes, groups, np.full(20_000, "train"))
    assert abs((carved == "val").mean() - 0.15) < 0.01


def test_subset_and_split_are_independent() -> None:
    codes, groups = np.arange(20_000), [f"image {number}" for number in range(20_000)]
    taken = take_per_class(codes, groups, np.zeros(20_000, dtype=np.uint8), 5_000)
    split = assign_splits(codes, groups, nothing_official(20_000))
    assert abs((split[taken] == "test").mean() - 0.15) < 0.02


def test_a_split_without_both_classes_is_refused_with_its_counts() -> None:
    split = np.array(["train", "train", "val", "val", "test"])
    label = np.array([0, 1, 0, 1, 1], dtype=np.uint8)
    with pytest.raises(DataError) as error:
        check_splits(split, label, name="mine", official=False)
    assert str(error.value).startswith(
        "dataset 'mine': its test split has no real images (train 1 real + 1 fake, val 1 real + 1"
        " fake, test 0 real + 1 fake)"
    )


def test_an_official_split_may_be_absent_but_not_lack_a_class() -> None:
    both = np.array([0, 1], dtype=np.uint8)
    check_splits(np.array(["test", "test"]), both, name="test only", official=True)
    with pytest.raises(DataError, match="its val split has no real"):  # nothing could be carved
        check_splits(np.array(["train", "train"]), both, name="too small", official=True)
    with pytest.raises(DataError, match="its test split has no fake"):
        check_splits(
            np.array(["test", "test"]), np.zeros(2, np.uint8), name="one class", official=True
        )
    with pytest.raises(DataError, match="its val split has no real"):
        check_splits(
            np.array(["train", "train", "test", "test"]),
            np.array([0, 1, 0, 1], np.uint8),
            name="x",
            official=False,
        )


def test_straddling_counts_groups() -> None:
    assert (
        straddling(np.array([0, 0, 1, 1, 2]), np.array(["train", "test", "val", "val", "test"]))
        == 1
    )
    assert straddling(np.array([], dtype=int), np.array([], dtype=np.str_)) == 0

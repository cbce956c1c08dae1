"""What holds of every manifest, from the CSV to the sets that training reads: drawn by hypothesis,
through the real catalog.

Which split a group belongs to, and its place in the order of subsets, are computed here from the
words of PROTOCOL section 2.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.core.records import SPLITS, Geometry
from study.data.catalog import Catalog, DataConfig
from tests.factories import picture, write_image, write_manifest

IMAGES = 40  # files of each class that rows may name
SMALL = Geometry(size_px=8, mode="squash")
Rows = list[dict[str, object]]
Study = Callable[..., Catalog]
properties = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def place(salt: str, group: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8], "big") / 2**64


def side(group: str) -> str:
    at = place("split", group)
    return "train" if at < 0.70 else "val" if at < 0.85 else "test"


def early(split: str) -> str:
    """A group of a split that every subset takes before those that are drawn."""
    least = min(place("subset", f"g{number}") for number in range(31))
    names = (f"first{number}" for number in range(100_000))
    return next(name for name in names if side(name) == split and place("subset", name) < least)


FIRST = {split: early(split) for split in SPLITS}
# A dataset: the group of each further image, real and fake ones; the six of FIRST give every split
# both classes.
groups = st.lists(st.integers(0, 30), max_size=IMAGES - 3)


def rows_of(reals: list[int], fakes: list[int]) -> Rows:
    names = [[*FIRST.values(), *(f"g{number}" for number in numbers)] for numbers in (reals, fakes)]
    return [
        {
            "path": f"{word}/{number:02d}.png",
            "label": word,
            "method": word,
            "group": group,
            "video": "",
        }
        for word, of_class in zip(("real", "fake"), names, strict=True)
        for number, group in enumerate(of_class)
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return a catalog over datasets `a`, `b` of the given rows: two folders of files that are
    there once, and hashed once.
    """
    folder = tmp_path_factory.mktemp("properties")
    for name in ("a", "b"):
        for label, word in enumerate(("real", "fake")):
            for number in range(IMAGES):
                write_image(
                    folder / "data" / name / word / f"{number:02d}.png",
                    picture(label, size=8, seed=number + 100 * (name == "b")),
                )

    def make(a: Rows, b: Rows | None = None, *, max_per_class: int | None = None) -> Catalog:
        for name, rows in (("a", a), ("b", b)):
            if rows:
                write_manifest(folder / "data" / name, rows)
        return Catalog(
            DataConfig(
                root=Path(folder / "data"), cache=folder / "cache", max_per_class=max_per_class
            ),
            firewall=False,
        )

    return make


def columns(catalog: Catalog, name: str, *wanted: str) -> list[tuple[object, ...]]:
    samples = catalog.dataset(name).samples
    return list(zip(*(samples[column].to_pylist() for column in wanted), strict=True))


@properties
@given(reals=groups, fakes=groups)
def test_no_group_straddles_splits(reals: list[int], fakes: list[int], study: Study) -> None:
    catalog = study(rows_of(reals, fakes))
    assert {(group, split) for group, split in columns(catalog, "a", "group", "split")} == {
        (group, side(str(group))) for (group,) in columns(catalog, "a", "group")
    }
    assert catalog.describe("a").straddling == 0


@properties
@given(reals=groups, fakes=groups, limit=st.integers(3, IMAGES), more=st.integers(0, IMAGES))
def test_a_smaller_subset_lies_in_every_larger_one(
    reals: list[int], fakes: list[int], limit: int, more: int, study: Study
) -> None:
    rows = rows_of(reals, fakes)
    small, large, all_of_it = (
        set(columns(study(rows, max_per_class=count), "a", "path", "split", "group"))
        for count in (limit, limit + more, None)
    )
    assert small <= large <= all_of_it
    for word in ("real", "fake"):
        of_class = sorted(path for path, _, _ in small if str(path).startswith(word))
        assert 3 <= len(of_class) <= limit
        by_group = {
            row["group"]: [
                r["path"] for r in rows if (r["label"], r["group"]) == (word, row["group"])
            ]
            for row in rows
        }
        order = sorted(
            (group for group in by_group if by_group[group]),
            key=lambda group: place("subset", str(group)),
        )
        expected: list[object] = []
        for group in order:
            if len(expected) + len(by_group[group]) > limit:
                break
            expected += by_group[group]
        assert of_class == sorted(map(str, expected))


@properties
@given(pool=groups, fakes=groups, others=groups, limit=st.integers(3, IMAGES))
def test_datasets_with_one_pool_of_reals_agree_about_it(
    pool: list[int], fakes: list[int], others: list[int], limit: int, study: Study
) -> None:
    a, b = rows_of(pool, fakes), rows_of(pool, others)
    for count in (None, limit):
        catalog = study(a, b, max_per_class=count)
        reals = [
            {
                row
                for row in columns(catalog, name, "path", "group", "split")
                if str(row[0]).startswith("real")
            }
            for name in "ab"
        ]
        assert reals[0] == reals[1]
        sides = [
            {row[0]: row[1] for row in columns(catalog, name, "group", "split")} for name in "ab"
        ]
        assert all(sides[1].get(group, split) == split for group, split in sides[0].items())


@properties
@given(reals=groups, fakes=groups, other_reals=groups, other_fakes=groups)
def test_unions_commute(
    reals: list[int], fakes: list[int], other_reals: list[int], other_fakes: list[int], study: Study
) -> None:
    catalog = study(rows_of(reals, fakes), rows_of(other_reals, other_fakes))
    assert catalog.key("a+b", ("train", "val")) == catalog.key("b+a", ("val", "train"))
    one, two = (catalog.open(name, "val", SMALL) for name in ("a+b", "b+a"))
    assert (one.key, one.sample_id.tolist(), one.listed) == (
        two.key,
        two.sample_id.tolist(),
        two.listed,
    )
    everything = np.arange(len(one))
    assert np.array_equal(one.gather(everything), two.gather(everything))
    for balance in ("class", "dataset"):
        strata, same = one.strata(balance), two.strata(balance)  # type: ignore[arg-type]
        assert strata is not None and same is not None and np.array_equal(strata, same)
        names = [
            (sample[0], label) if balance == "dataset" else label
            for sample, label in zip(one.sample_id, one.label, strict=True)
        ]
        assert (
            len(set(zip(strata.tolist(), names, strict=True)))
            == len(set(names))
            == len(set(strata.tolist()))
        )


@properties
@given(
    reals=groups,
    fakes=groups,
    shuffled=st.randoms(use_true_random=False),
    limit=st.integers(3, IMAGES),
)
def test_the_order_of_rows_does_not_matter(
    reals: list[int], fakes: list[int], shuffled: random.Random, limit: int, study: Study
) -> None:
    rows = rows_of(reals, fakes)
    other = shuffled.sample(rows, len(rows))
    for count in (None, limit):
        one, two = (study(order, max_per_class=count).dataset("a") for order in (rows, other))
        assert one.samples.equals(two.samples)
        assert one.digest == two.digest

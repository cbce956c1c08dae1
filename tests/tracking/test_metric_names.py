"""The slug rule gives different names for different originals, and only names that MLflow takes."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.results import ResultRow
from study.tracking.metric_names import (
    MAX_PART,
    dataset_name,
    metric_name,
    original_names,
    slug,
    unslug,
)
from tests.render.synthetic_matrix import matrix, row

names = st.text(max_size=12) | st.text(alphabet="ab.+@?/ -_:hx2e", max_size=12)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("faces_140k", "faces_140k"),
        ("a+b", "a.plus.b"),
        ("accuracy@source", "accuracy.at.source"),
        ("shoes?jpeg50", "shoes.q.jpeg50"),
        ("sd1.4", "sd1.dot.4"),
        ("my data/é", "my.x20.data.x2f..xe9."),
        ("", ".nil."),
    ],
)
def test_examples(name: str, written: str) -> None:
    assert slug(name) == written
    assert unslug(written) == name


@given(names)
def test_a_slug_can_be_undone_so_no_two_names_share_one(name: str) -> None:
    written = slug(name)
    if not re.search(r"\.h[0-9a-f]{20}\.$", written):  # it was not cut
        assert unslug(written) == name


@given(names, names)
def test_a_name_is_never_the_slug_of_another(first: str, second: str) -> None:
    assert (slug(first) == slug(second)) == (first == second)


def test_long_names_are_cut_and_stay_apart() -> None:
    union = "+".join(f"dataset_number_{i}" for i in range(20))
    first, second = slug(union), slug(union + "+one_more")
    assert len(first) <= MAX_PART
    assert first != second
    assert first.startswith("dataset_number_0")
    with pytest.raises(ValueError, match="was cut"):
        unslug(first)
    # A name that looks like a cut one does not become it: its dots are written out.
    assert slug(first) != first


def row_strategy() -> st.SearchStrategy[ResultRow]:
    part = st.sampled_from(["a", "a+b", "b", "none", "unit", "image", "auc", "a/b", "jpeg?50", ""])
    threshold = st.sampled_from(["", "source", "a"])
    return st.builds(
        lambda d, s, t, g, lv, m, th: row(
            d, s, t, degradation=g, level=lv, metric=m, threshold=th, domain="cross"
        ),
        *(part, part, part, part, st.sampled_from(["image", "unit"]), part, threshold),
    )


def place(r: ResultRow) -> tuple[str, ...]:
    return (r.detector, r.train_on, r.test_on, r.degradation, r.level, r.metric, r.threshold)


@given(row_strategy(), row_strategy())
def test_two_cells_never_share_a_metric(first: ResultRow, second: ResultRow) -> None:
    assert (metric_name(first) == metric_name(second)) == (place(first) == place(second))


@given(
    row_strategy()
    | st.builds(
        lambda t: row(
            t * 9, t * 9, t * 9, degradation=t * 9, level="unit", metric=t * 9, domain="cross"
        ),
        st.text(),
    )
)
def test_mlflow_takes_every_name(made: ResultRow) -> None:
    name = metric_name(made)
    # a subset of what it documents: also colons and spaces
    assert re.fullmatch(r"[A-Za-z0-9_./-]+", name)
    assert posixpath.normpath(name) == name
    assert len(name) <= 250


def test_the_name_of_a_plain_cell_is_readable() -> None:
    made = row("npr", "faces_140k+dfdc", "cifake", metric="accuracy", threshold="source")
    assert metric_name(made) == "accuracy.at.source/npr/faces_140k.plus.dfdc/cifake"
    assert (
        metric_name(row("npr", "a", "b", degradation="jpeg50", level="unit"))
        == "auc/npr/a/b/jpeg50/unit"
    )


def test_originals_are_kept_for_what_was_changed() -> None:
    rows = matrix(
        ["npr"], ["a", "b c"], train_on=["a+b c"], quantities=[("auc", ""), ("f1", "source")]
    )
    assert original_names(rows) == {
        "a.plus.b.x20.c": "a+b c",
        "b.x20.c": "b c",
        "f1.at.source": "f1@source",
    }


def test_a_degraded_test_set_is_another_dataset() -> None:
    assert dataset_name(row(test_on="b")) == "b"
    assert dataset_name(row(test_on="b", degradation="jpeg50")) == "b?jpeg50"

"""matrix.csv comes back exactly as it was written, other tools can read it, and what is not it is
refused by name.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.analysis.results import (
    COLUMNS,
    DatasetRow,
    Domain,
    Flag,
    PairRow,
    ResultRow,
    Results,
    Role,
)
from study.analysis.results_csv import (
    degradations_in,
    read_matrix,
    read_results,
    write_matrix,
    write_results,
)
from study.core.errors import StoreError
from study.core.records import CellState, Estimate
from tests.render.synthetic_matrix import NAN, matrix, results, row, without_number

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    alphabet='",\r\n a', max_size=4
)
number = st.floats()
count = st.integers(0, 10**9)
estimates = st.builds(
    Estimate,
    value=number,
    low=number,
    high=number,
    n_real=count,
    n_fake=count,
    seeds=count,
    sd=number,
    reason=text,
    note=text,
)
matrix_rows = st.builds(
    ResultRow,
    **dict.fromkeys(
        (
            "detector",
            "train_on",
            "test_on",
            "degradation",
            "level",
            "subset",
            "seed",
            "metric",
            "threshold",
            "reason",
            "repeat",
        ),
        text,
    ),
    estimate=estimates,
    coverage=number,
    state=st.sampled_from(get_args(CellState)),
    role=st.sampled_from(get_args(Role)),
    domain=st.sampled_from(get_args(Domain)),
    leak_free=st.booleans(),
)
dataset_rows = st.builds(DatasetRow, name=text, warnings=text)
pair_rows = st.builds(
    PairRow,
    **dict.fromkeys(("train_on", "test_on", "note"), text),
    **dict.fromkeys(("leaked", "n_real", "n_fake"), count),
    domain=st.sampled_from(get_args(Domain)),
    overlap=number,
)

flag_rows = st.builds(Flag, **dict.fromkeys(("detector", "train_on", "kind", "seen", "mend"), text))


def plain(made: ResultRow | DatasetRow | PairRow | Flag) -> list[Any]:
    """Everything in a row, NaN as something that equals itself, and signed zeros apart."""
    values = [*vars(made).values()]
    values += [*vars(made.estimate).values()] if isinstance(made, ResultRow) else []
    return [repr(v) if isinstance(v, float) else v for v in values if not isinstance(v, Estimate)]


@settings(max_examples=60, deadline=None)
@given(st.lists(matrix_rows, max_size=4))
def test_rows_come_back_bit_for_bit(rows: list[ResultRow]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matrix.csv"
        write_matrix(rows, path)
        assert [plain(r) for r in read_matrix(path)] == [plain(r) for r in rows]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(matrix_rows, max_size=2),
    st.lists(dataset_rows, max_size=3),
    st.lists(pair_rows, max_size=3),
    st.lists(flag_rows, max_size=3),
)
def test_all_four_tables_come_back_bit_for_bit(
    rows: list[ResultRow], datasets: list[DatasetRow], pairs: list[PairRow], flags: list[Flag]
) -> None:
    tables = (tuple(rows), tuple(datasets), tuple(pairs), tuple(flags))
    with tempfile.TemporaryDirectory() as folder:
        written = Results(**dict(zip(("rows", "datasets", "pairs", "flags"), tables, strict=True)))
        files = write_results(written, Path(folder))
        assert [path.stem for path in files] == ["matrix", "datasets", "pairs", "flags"]
        found = read_results(Path(folder))
    single = [r for r in rows if r.role == "detector" and r.repeat not in ("", "mean")]
    assert [plain(r) for r in found.rows] == [plain(r) for r in rows if r not in single]
    assert [plain(r) for r in found.repeats] == [plain(r) for r in single]
    assert [plain(r) for r in found.datasets] == [plain(r) for r in datasets]
    assert [plain(r) for r in found.pairs] == [plain(r) for r in pairs]
    assert list(found.flags) == flags


def test_a_frame_has_the_columns_and_values_of_the_file(tmp_path: Path) -> None:
    rows = [*matrix(["npr"], ["a", "b"]), without_number("npr", "a", "c", "failed", "no winner")]
    found = results(rows)
    write_matrix(rows, tmp_path / "matrix.csv")
    written = pd.read_csv(tmp_path / "matrix.csv", keep_default_na=False, na_values={"sd": [""]})
    written = written.drop(columns="schema")
    frame = found.frame()
    assert [*frame.columns] == [*written.columns]
    assert frame.leak_free.dtype == bool and len(frame) == len(rows)
    for name in ("detector", "role", "domain", "leak_free", "n_real", "state", "reason", "sd"):
        assert frame[name].equals(written[name]), name


def test_the_columns_are_those_of_the_design(tmp_path: Path) -> None:
    write_matrix([row(value=0.1 + 0.2, sd=NAN, note="exact bound")], tmp_path / "matrix.csv")
    assert (
        (tmp_path / "matrix.csv").read_text(encoding="utf-8")
        == "schema,detector,train_on,test_on,role,degradation,level,subset,leak_free,domain,"
        "seed,metric,threshold,value,low,high,sd,n_real,n_fake,seeds,coverage,state,reason,"
        "repeat,undefined,note\n"
        "2,npr,a,b,detector,none,image,,false,cross,mean,auc,,0.30000000000000004,"
        "0.25000000000000006,"
        "0.35000000000000003,,100,150,1,1.0,done,,,,exact bound\n"
    )


def test_pandas_reads_it_without_being_told_anything(tmp_path: Path) -> None:
    rows = [
        *matrix(["npr"], ["a", "b"], train_on=["a+b"]),
        without_number("npr", "a", "b", "failed", "no winner"),
    ]
    write_matrix(rows, tmp_path / "matrix.csv")
    table = pd.read_csv(tmp_path / "matrix.csv")
    assert tuple(table.columns) == ("schema", *COLUMNS)
    assert len(table) == len(rows)
    assert set(table.schema) == {2}
    assert set(table.degradation) == {"none"}
    mean = table[(table.metric == "auc") & (table.seed == "mean") & (table.test_on == "a")]
    assert mean.value.item() == next(
        r.estimate.value for r in rows if (r.metric, r.seed, r.test_on) == ("auc", "mean", "a")
    )
    assert math.isnan(table.value.iloc[-1])
    assert table.reason.iloc[-1] == "no winner"


def test_a_file_from_before_repeats_is_read(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    header = ",".join(name for name in ("schema", *COLUMNS) if name != "repeat")
    path.write_text(f"{header}\n{GOOD[:-1]}\n", encoding="utf-8")
    (found,) = read_matrix(path)
    assert (found.detector, found.repeat, found.is_single) == ("npr", "", False)


def test_an_empty_matrix_is_a_matrix(tmp_path: Path) -> None:
    write_matrix([], tmp_path / "matrix.csv")
    assert read_matrix(tmp_path / "matrix.csv") == []


HEADER = ",".join(("schema", *COLUMNS))
GOOD = "2,npr,a,b,detector,none,image,,false,in,mean,auc,,0.5,0.4,0.6,,10,10,1,1.0,done,,,,"
OLD = (
    "schema,detector,train_on,test_on,degradation,level,seed,metric,threshold,value,low,high,sd,"
    "n_real,n_fake,seeds,coverage,state,reason,undefined,note\n"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "its columns differ in coverage"),
        ("detector,value\nnpr,0.5\n", "its columns differ in coverage"),
        (HEADER.replace("value,low", "low,value") + "\n", "its columns differ in their order"),
        (f"{HEADER}\n{GOOD}\n{GOOD.replace('2,npr', '1,npr')}\n", "row 3 has schema '1'"),
        (OLD, "its columns differ in domain, leak_free, role, subset"),
        (f"{HEADER}\n\n", "row 2 has schema ''"),
        (f"{HEADER}\n{GOOD},\n", "row 2"),
        (
            f"{HEADER}\n{GOOD.replace('0.5', 'half')}\n",
            "row 2: could not convert string to float: 'half'",
        ),
        (f"{HEADER}\n{GOOD.replace('done', 'finished')}\n", "row 2: unknown state 'finished'"),
        (f"{HEADER}\n{GOOD.replace('false', 'no')}\n", "row 2: unknown leak_free 'no'"),
        (f"{HEADER}\n{GOOD.replace(',in,', ',out,')}\n", "row 2: unknown domain 'out'"),
    ],
)
def test_what_is_not_it_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(StoreError) as caught:
        read_matrix(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unwritable_folder_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read '.*matrix\.csv': No such file"):
        read_matrix(tmp_path / "matrix.csv")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot write '.*matrix\.csv'"):
        write_matrix([], tmp_path / "file" / "matrix.csv")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StoreError, match=r"is not a matrix\.csv"):
        read_matrix(tmp_path / "matrix.csv")


def test_the_old_file_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    write_matrix([row()], path)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_matrix([row(), None], path)  # type: ignore[list-item]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_degradations_of_a_matrix_are_those_of_its_rows(tmp_path: Path) -> None:
    rows = [row(degradation=name) for name in ("none", "jpeg50", "blur1", "jpeg50")]
    write_matrix(rows, tmp_path / "matrix.csv")
    assert degradations_in(tmp_path / "matrix.csv") == ["jpeg50", "blur1"]
    (tmp_path / "bad.csv").write_bytes(b"\xff\x00")
    assert degradations_in(tmp_path / "bad.csv") == degradations_in(tmp_path / "none.csv") == []

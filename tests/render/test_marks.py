"""One set of marks: docs/statistics.md explains each, and nothing shows another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from study.analysis.results import DatasetRow, PairRow, Results
from study.render.marks import MARKS
from study.render.tables import markdown_tables, text_table
from tests.render.synthetic_matrix import matrix, row

ROOT = Path(__file__).parents[2]


@pytest.fixture
def marked() -> Results:
    """In-domain cells, a confound, a leak, shared images, and seeds apart from their mean."""
    rows = matrix(["npr"], ["a", "b", "c", "d"], quantities=[("auc", "")])
    rows.append(row("npr", "a", "b", 0.55, leak_free=True))
    note = "interval of the test images alone: the training sample is not counted"
    rows.append(row("apart", "a", "b", 0.5, note=note))
    rows += [row("apart", "a", "b", v, seed=str(s)) for s, v in enumerate((0.1, 0.9))]
    pairs = (
        PairRow(train_on="a", test_on="b", domain="cross", leaked=3),
        PairRow(train_on="a", test_on="c", domain="neither", note="shares 40 %"),
    )
    datasets = (DatasetRow(name="d", warnings="the files give the class away"),)
    return Results(rows=tuple(rows), pairs=pairs, datasets=datasets)


def test_every_mark_is_explained_in_the_docs_and_no_other() -> None:
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = text.partition("## Read the marks")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`a-z0-9]+)`[^|]*\| [^|]{10,} \|$", table, re.MULTILINE)
    assert sorted({*rows}) == sorted(MARKS)


def test_tables_and_terminal_show_these_marks_alone(marked: Results) -> None:
    tables = markdown_tables(marked)
    terminal = "\n".join(text_table(marked, name, width=200) for name in ("npr", "apart"))
    cell = re.compile(r"\d\.\d{3} \[[^]]+\]((?: \\?[^\w\s(\[|,/]+)+)")
    for text in (tables, terminal):
        found = "".join(cell.findall(text)).replace("\\", "")
        assert {*found} - {" "} == {*MARKS}
        for mark, words in MARKS.items():
            assert f"{mark} {words}" in text.replace("\\", "") or words == "in-domain"
            assert words in text
    assert "d !" in tables and "d !" in terminal


def test_figures_and_the_page_know_no_other_marks() -> None:
    """None of the usual signs of footnotes stands in the code that draws or prints."""
    for path in [*(ROOT / "study" / "render").rglob("*.*")]:
        if path.suffix in (".py", ".js", ".html"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"[†‡¶§]|DAGGER|PILCROW|&(dagger|Dagger|para|sect);", text), path

"""study.report, and the page that cross_eval writes: the same numbers by both ways, and from tables
alone.
"""

from __future__ import annotations

import gzip
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from study import cross_eval, report, score
from study.analysis.results_csv import read_results
from study.core.errors import ConfigError, StoreError
from study.render.report import page as pages
from study.render.report.payload import Json, unpacked
from study.store.manifest import digests, root_of, write_manifest
from study.store.store import Store
from tests.commands.conftest import StudyRun
from tests.render.report_here import held_by_page


def data_of(path: Path) -> Json:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'id="data">([^<]*)<', text)
    assert found is not None
    return unpacked(found[1])


def places(data: Json) -> list[list[str]]:
    columns, names = data["matrix"]["columns"], data["matrix"]["names"]
    return [[of[at] for at in columns[name]] for name, of in names.items()]


def test_the_command_makes_the_page_that_cross_eval_wrote(
    local_run: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [one for one in local_run.arguments if one != "--local"]
    path = tmp_path / "page.html"
    assert report.main([*arguments, "--out", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"report: {path} (")
    mine, theirs = data_of(path), data_of(local_run.store.folder / "report.html")
    assert mine.pop("again") == theirs.pop("again").replace(" --local", "")
    assert mine == theirs
    assert "no plan was frozen" in path.read_text(encoding="utf-8")
    assert mine["charts"].keys() == {"forest", "tuning", "search", "learning"}
    rows = read_results(local_run.store.folder).rows
    pairings = {(r.detector, r.train_on, r.test_on) for r in rows if r.role == "detector"}
    shown = {(one["detector"], one["train_on"], one["test_on"]) for one in mine["curves"]["cells"]}
    assert shown == pairings


def test_a_page_of_tables_does_not_take_the_place_of_a_whole_one(
    local_run: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = local_run.store.folder
    page = (folder / "report.html").read_bytes()
    with pytest.raises(ConfigError, match=f"python -m study.report {folder.name} --results"):
        report.main([str(folder)])
    assert (folder / "report.html").read_bytes() == page
    assert report.main([str(folder), "--out", str(tmp_path / "tables.html")]) == 0
    # a name is a study, even where a folder of that name is at hand
    (tmp_path / folder.name).mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = [folder.name, "--results", str(folder.parent), "--out", "named.html"]
    assert report.main(arguments) == 0
    assert data_of(tmp_path / "named.html")["curves"]["cells"]


def test_the_page_holds_every_value_of_matrix_csv_and_every_switch(local_run: StudyRun) -> None:
    matrix = data_of(local_run.store.folder / "report.html")["matrix"]
    found = held_by_page(matrix, local_run.store.matrix_file)
    pairings, tests = 2 * 3, 2  # two detectors, a training set each and both together
    auc = [place for place in found if "auc" in place and place[-1] is False]
    assert len([place for place in auc if "image" in place]) == pairings * tests
    assert matrix["left_out"] == []


def test_the_tables_alone_make_a_page(
    local_run: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in ("datasets.csv", "pairs.csv", "flags.csv", "comparisons.md", "tables.md"):
        shutil.copy(local_run.store.folder / name, folder)
    matrix = local_run.store.matrix_file.read_bytes()
    (folder / "matrix.csv.gz").write_bytes(gzip.compress(matrix))
    held = digests(folder)
    write_manifest(Store(tmp_path, "tables"), held)
    assert report.main([str(folder), "--results", str(tmp_path)]) == 0
    assert digests(folder) == held  # the page names their root, and is none of them
    mine = data_of(folder / "report.html")
    theirs = data_of(local_run.store.folder / "report.html")
    assert mine["matrix"] == theirs["matrix"] and not mine["curves"]["cells"]
    said = (local_run.store.folder / "comparisons.md").read_text(encoding="utf-8")
    first = next(line[2:] for line in said.splitlines() if line.startswith("* "))
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert root_of(held) in text and f"{datetime.now(UTC):%Y-%m-%d} (UTC)" in text
    assert f'<p class="headline">{first}' in text.replace("&#x27;", "'").replace("&quot;", '"')


def test_what_stands_beside_a_cell_is_run_and_a_page_that_fails_costs_one_line(
    local_run: StudyRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> str:
        raise ValueError("no library today")

    data = data_of(local_run.store.folder / "report.html")
    words = data["again"].removeprefix("python -m study.cross_eval ").split()
    assert words == [*local_run.arguments, "--predictions-csv"]
    results = local_run.arguments[local_run.arguments.index("--results") + 1]
    shutil.copytree(results, tmp_path / "copy")
    monkeypatch.setattr(pages, "library", broken)
    assert cross_eval.main([one.replace(results, str(tmp_path / "copy")) for one in words]) == 0
    assert "report.html' is not drawn: no library today" in capsys.readouterr().err
    assert not (tmp_path / "copy" / "small" / "report.html").exists()  # the old one is out of date
    cell = data["curves"]["cells"][0]
    file = Path(data["predictions"].replace(results, str(tmp_path / "copy"))) / cell["predictions"]
    assert score.main([str(file), "--score", "logit"]) == 0
    printed = capsys.readouterr().out
    place = (cell["detector"], cell["train_on"], cell["test_on"])
    (row,) = [
        r
        for r in read_results(local_run.store.folder).rows
        if (r.detector, r.train_on, r.test_on) == place
        and (r.seed, r.metric, r.is_plain) == ("0", "auc", True)
    ]
    assert f"{row.estimate.value:.3f}" in printed


def test_a_study_that_is_not_scored_has_no_page(local_run: StudyRun, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no .*matrix\.csv'; first run: .*cross_eval"):
        report.main([local_run.arguments[0], "--results", str(tmp_path)])


def test_a_run_is_named_as_predict_names_it_and_other_settings_are_said(
    local_run: StudyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--results", str(local_run.store.results), "--out", str(tmp_path / "page.html")]
    assert report.main(["small", *words]) == 0
    assert "warning" not in capsys.readouterr().err
    by_name = data_of(tmp_path / "page.html")["matrix"]
    assert report.main([local_run.arguments[0], *words]) == 0
    assert "warning" not in capsys.readouterr().err
    assert data_of(tmp_path / "page.html")["matrix"] == by_name
    assert report.main(["small", *words, "--set", "budget.seeds=1"]) == 0
    assert "was last run with other settings" in capsys.readouterr().err

"""`verify` on the small study: what is as it was written, what is not, and a copy against its
manifest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from study import verify
from study.core.errors import ConfigError, StoreError
from tests.commands.conftest import StudyRun


@pytest.fixture
def copy(local_run: StudyRun, tmp_path: Path) -> Path:
    """The finished study's folder, to be damaged by one test."""
    return Path(shutil.copytree(local_run.store.folder, tmp_path / "copy"))


def damage(path: Path) -> None:
    """Flip a bit of the content, or cut a Parquet file: not every bit of those is content."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".parquet":
        del data[-20:]
    else:
        data[len(data) // 2 if path.suffix == ".json" else -4] ^= 1
    path.write_bytes(data)


def test_a_finished_study_is_as_it_was_written(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(copy)]) == 0
    said = capsys.readouterr().out
    for kind, pattern in (("scores", "scores/*.parquet"), ("models", "models/*/detector.json")):
        assert f"{len(list(copy.glob(pattern)))} {kind}" in said
    assert "18 trials, " in said  # 3 of each of 6 pairings
    assert "as it was written" in said


def test_the_manifest_holds_what_sha256sum_says(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(copy)]) == 0
    manifest = json.loads((copy / "manifest.json").read_text())
    kept = [p for p in copy.rglob("*") if p.is_file()]
    names = {p.relative_to(copy).as_posix(): p for p in kept}
    for gone in ("run.log", ".lock", "manifest.json", "report.html"):
        names.pop(gone, None)
    names = {name: p for name, p in names.items() if name.split("/")[0] != "failures"}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items()}
    assert manifest["files"] == sums
    assert {"matrix.csv", "trials.jsonl", "study.toml"} <= set(sums)
    text = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    root = hashlib.sha256(text.encode()).hexdigest()
    assert manifest["root"] == root
    assert root in capsys.readouterr().out


@pytest.mark.parametrize(
    "pattern",
    [
        "models/*/detector.json",
        "models/*/detector.safetensors",
        "models/*/val_scores.parquet",
        "scores/*.parquet",
        "draws/*.safetensors",
        "draw_scores/*.parquet",
        "trials.jsonl",
        "search.json",
    ],
)
def test_a_damaged_file_is_named(
    copy: Path, pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = sorted(copy.glob(pattern))[0]
    damage(damaged)
    assert verify.main([str(copy)]) == 1
    said = capsys.readouterr().out
    assert damaged.relative_to(copy).as_posix() in said
    assert "1 not as written" in said
    assert not (copy / "manifest.json").exists()
    assert damaged.exists()  # nothing is set aside


def test_swapped_scores_are_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = sorted(copy.glob("scores/*.parquet"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert verify.main([str(copy)]) == 1
    said = capsys.readouterr().out
    assert first.name in said
    assert second.name in said


def test_a_copy_is_proved_or_its_differences_are_named(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(copy)]) == 0
    published = shutil.copy(copy / "manifest.json", tmp_path / "published.json")
    assert verify.main([str(copy), "--against", str(published)]) == 0
    (copy / "tables.md").unlink()
    (copy / "matrix.csv").write_text("other\n")
    (copy / "note.txt").write_text("new\n")
    capsys.readouterr()
    assert verify.main([str(copy), "--against", str(published)]) == 1
    said = capsys.readouterr().out
    for line in ("tables.md: missing", "matrix.csv: changed", "note.txt: not in the manifest"):
        assert line in said


def test_a_manifest_that_was_edited_proves_nothing(copy: Path) -> None:
    assert verify.main([str(copy)]) == 0
    file = copy / "manifest.json"
    table = json.loads(file.read_text())
    table["files"]["matrix.csv"] = "0" * 64
    file.write_text(json.dumps(table))
    with pytest.raises(StoreError, match=r"manifest\.json"):
        verify.main([str(copy), "--against", str(file)])


def test_the_table_of_an_older_version_is_named_by_its_own_name(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "trials.jsonl").unlink()
    (copy / "trials.parquet").write_bytes(b"no table")
    assert verify.main([str(copy)]) == 1
    said = capsys.readouterr().out
    assert "\n  trials.parquet: " in said and "trials.jsonl" not in said and "0 trials" in said


def test_cells_scored_anew_are_those_of_the_store(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="holds the study 'small'"):
        verify.main([str(copy), "--deep", "2"])
    folder = copy.rename(copy.with_name("small"))
    assert verify.main([str(folder), "--deep", "2"]) == 0
    assert "2 cells anew; logits differ by at most 0\n" in capsys.readouterr().out


def test_bad_input_is_named(local_run: StudyRun, tmp_path: Path) -> None:
    here = ["--results", str(local_run.store.results)]
    with pytest.raises(StoreError, match="did you mean 'small'"):
        verify.main(["smal", *here])
    with pytest.raises(StoreError, match="there is no manifest"):
        verify.main(["small", *here, "--against", str(tmp_path / "none.json")])
    with pytest.raises(ConfigError, match="--deep -1"):
        verify.main(["small", *here, "--deep", "-1"])

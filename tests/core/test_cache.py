"""Entries of the cache: made once, whole or not there, and made again where they are damaged."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.core import cache as module
from study.core.cache import BLOCK, Cache, read_entry
from study.core.errors import StoreError
from study.core.identity import digest
from study.core.records import Pairing

VALUES = Cache("values", [digest])
FOLDERS = Cache("folders", [digest])
VALUE = {"a": [1.5, float("inf"), "é"], "b": None}

WRITES = """
import os, signal, sys
from pathlib import Path
from study.core.cache import Cache
from study.core.identity import digest

def wait(then):
    print("ready", flush=True)
    sys.stdin.read()
    if then == "dies":
        os.kill(os.getpid(), signal.SIGKILL)

def fill(folder):
    (folder / "half").write_bytes(bytes(1000))
    wait(sys.argv[3])
    (folder / "rest").write_bytes(bytes(9))

def value():
    wait(sys.argv[3])
    return [1, 2]

cache = Path(sys.argv[1])
if sys.argv[2] == "folder":
    Cache("folders", [digest]).folder(cache, "x", fill)
else:
    Cache("values", [digest]).get(cache, "x", value)
"""


def forgotten(*_: Any) -> Any:
    pytest.fail("made again")


def fill(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "large").write_bytes(bytes(range(256)) * (BLOCK // 256) + b"the next block")
    (folder / "empty").touch()


def entries(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts
    )


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_value_is_made_once_and_comes_back_as_json(tmp_path: Path) -> None:
    pairing = Pairing(detector="npr", train_on="a")
    expected = [{"detector": "npr", "train_on": "a"}, [1, VALUE]]
    for make in (lambda: (pairing, (1, VALUE)), forgotten):
        assert VALUES.get(tmp_path, ["x", 1], make) == expected
    (entry,) = entries(tmp_path)
    assert entry.parent.parent == tmp_path / "values"
    assert VALUES.get(tmp_path, ["x", 2], lambda: 5) == 5
    assert len(entries(tmp_path)) == 2


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    found = [FOLDERS.folder(tmp_path, "x", make) for make in (fill, forgotten)]
    assert found[0] == found[1] == FOLDERS.path(tmp_path, digest("x"))
    assert (found[0] / "in" / "large").stat().st_size == BLOCK + 14


@pytest.mark.parametrize("at", [0, 20, -1, -8])
def test_a_flipped_bit_of_a_value_is_found(tmp_path: Path, cache_said: list[str], at: int) -> None:
    VALUES.get(tmp_path, "x", lambda: VALUE)
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    flip(entry, at)
    assert read_entry(entry) is None
    cache_said.clear()
    assert VALUES.get(tmp_path, "x", lambda: VALUE) == VALUE
    (said,) = cache_said
    assert str(entry) in said and "\n" not in said
    assert entry.read_bytes() == whole
    assert VALUES.get(tmp_path, "x", forgotten) == VALUE


@pytest.mark.parametrize(
    ("name", "at"), [("in/large", 0), ("in/large", -1), ("sums.json", 0), ("sums.json", -3)]
)
def test_a_flipped_bit_of_a_folder_is_found_by_the_next_process_to_open_it(
    tmp_path: Path,
    cache_said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    at: int,
) -> None:
    folder = FOLDERS.folder(tmp_path, "x", fill)
    whole = (folder / name).read_bytes()
    flip(folder / name, at)
    monkeypatch.setattr(module, "_checked", {})
    FOLDERS.folder(tmp_path, "x", fill)
    (said,) = cache_said
    assert f"/{name}' is damaged" in said and "\n" not in said
    assert (folder / name).read_bytes() == whole
    FOLDERS.folder(tmp_path, "x", forgotten)


@pytest.mark.parametrize("change", ["more", "less", "shorter"])
def test_a_folder_of_other_files_is_made_again(tmp_path: Path, change: str) -> None:
    folder = FOLDERS.folder(tmp_path, "x", fill)
    if change == "more":
        (folder / "foreign").touch()
    elif change == "less":
        (folder / "empty").unlink()
    else:
        (folder / "in" / "large").write_bytes(b"")
    FOLDERS.folder(tmp_path, "x", fill)
    names = ["empty", "in", "inputs.json", "sums.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "in" / "large").stat().st_size == BLOCK + 14


def test_other_code_makes_another_entry_in_place_of_the_old_one(
    tmp_path: Path, other_code: Callable[[str], None]
) -> None:
    VALUES.get(tmp_path, "x", lambda: 1)
    VALUES.get(tmp_path, "y", lambda: 1)
    old = FOLDERS.folder(tmp_path, "x", fill)
    other_code("identity.py")
    assert VALUES.get(tmp_path, "x", lambda: 2) == 2
    assert VALUES.get(tmp_path, "x", forgotten) == 2
    new = FOLDERS.folder(tmp_path, "x", fill)
    assert new != old and new.is_dir() and not old.exists()
    assert len(list(tmp_path.glob("values/*/*"))) == 2  # y is still that of the old code


def test_files_of_an_earlier_layout_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "0123456789abcdef0123.json").write_text("{}", encoding="utf-8")
    assert VALUES.get(tmp_path, "x", lambda: 1) == 1
    (tmp_path / "folders" / "0123456789abcdef0123").mkdir(parents=True)
    assert FOLDERS.folder(tmp_path, "x", fill).is_dir()


def writer(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITES, str(folder), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kind", ["folder", "value"])
def test_a_kill_leaves_nothing_half(tmp_path: Path, kind: str) -> None:
    with writer(tmp_path, kind, "dies") as dying:
        dying.communicate()
    assert dying.returncode == -signal.SIGKILL
    left = [path for path in entries(tmp_path) if ".tmp" not in str(path)]
    assert left == []
    with writer(tmp_path, kind, "ends") as again:
        again.communicate()
    assert again.returncode == 0
    assert not [path for path in entries(tmp_path) if ".tmp" in str(path)]
    if kind == "folder":
        assert (FOLDERS.folder(tmp_path, "x", forgotten) / "rest").read_bytes() == bytes(9)
    else:
        assert VALUES.get(tmp_path, "x", forgotten) == [1, 2]


@pytest.mark.parametrize("kind", ["folder", "value"])
def test_two_processes_at_once_leave_one_whole_entry(tmp_path: Path, kind: str) -> None:
    """Both are at work on a value; one makes a folder, and the other waits for it."""
    with writer(tmp_path, kind, "ends") as one, writer(tmp_path, kind, "ends") as two:
        if kind == "value":
            for process in (one, two):
                assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.close()
        said = [str(process.stdout and process.stdout.read()) for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0)
    if kind == "folder":
        assert sorted(said) == ["", "ready\n"]
        assert (FOLDERS.folder(tmp_path, "x", forgotten) / "rest").read_bytes() == bytes(9)
    else:
        assert VALUES.get(tmp_path, "x", forgotten) == [1, 2]
    assert not [path for path in entries(tmp_path) if ".tmp" in str(path)]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for make in (
        lambda: VALUES.get(tmp_path / "file", "x", lambda: 1),
        lambda: FOLDERS.folder(tmp_path / "file", "x", fill),
    ):
        with pytest.raises(StoreError, match=r"file' cannot be written: .*--results") as error:
            make()
        assert "\n" not in str(error.value)


def test_what_is_refused_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        fill(folder)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        FOLDERS.folder(tmp_path, "x", refuse)
    assert entries(tmp_path) == []


def test_the_content_of_another_entry_is_made_again(
    tmp_path: Path, cache_said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two entries, files and folders, whose contents were swapped."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    def swap(first: Path, second: Path) -> None:
        between = tmp_path / "between"
        first.rename(between)
        second.rename(first)
        between.rename(second)

    files = [VALUES.path(tmp_path, f"{digest(name)}.json") for name in ("a", "b")]
    folders = []
    for name in ("a", "b"):
        VALUES.get(tmp_path, name, functools.partial(make, name))
        folders.append(FOLDERS.folder(tmp_path, name, lambda f, n=name: _fill_with(f, n)))
    swap(*files)
    swap(*folders)
    monkeypatch.setattr(module, "_checked", {})
    for name, folder in zip(("a", "b"), folders, strict=True):
        assert VALUES.get(tmp_path, name, functools.partial(make, name)) == name
        again = FOLDERS.folder(tmp_path, name, lambda f, n=name: _fill_with(f, n))
        assert again == folder and (folder / "content").read_text() == name
    assert made == ["a", "b", "a", "b"] and len(cache_said) == 4


def _fill_with(folder: Path, text: str) -> None:
    (folder / "content").write_text(text)


def test_an_error_of_a_file_that_is_read_is_not_the_caches(tmp_path: Path) -> None:
    gone = tmp_path / "elsewhere" / "weights"
    with pytest.raises(FileNotFoundError, match="weights"):
        FOLDERS.folder(tmp_path / "cache", "x", lambda _: gone.read_bytes())


def test_an_error_of_the_work_within_is_not_the_caches(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        raise ConnectionError("the server of tokens refused")

    with pytest.raises(ConnectionError, match="the server of tokens"):
        FOLDERS.folder(tmp_path, "x", make)
    assert entries(tmp_path) == []

"""What files and folders were like, to tell later whether they still are, without a library.

A file that is read is known by its SHA-256. One that is large, or not ours, is known by its size
and by the times of its last changes, as in the index of a dataset (data/file_index.py).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from study.core.identity import digest, file_sha256

PACKAGE = Path(__file__).parents[1]
ABSENT = "absent"
_PATHS = tuple(sys.path)  # as the process began: libraries add to it


def file_state(path: Path, *, by_content: bool) -> str:
    """Return what a file is like, `ABSENT` where there is none. by_content: its SHA-256 decides,
    else its size and times. Raises OSError where it cannot be read.
    """
    try:
        return file_sha256(path) if by_content else _times(path.stat())
    except FileNotFoundError:
        return ABSENT


def tree_state(folder: Path) -> str:
    """Return a digest of the paths, sizes and times of all files below a folder, `ABSENT` where it
    is none. Links are followed, each folder once. Raises OSError where one cannot be read.
    """
    if not folder.is_dir():
        return ABSENT
    hasher = hashlib.sha256()
    for path, status in _walk(folder):
        hasher.update(f"{path}\0{_times(status)}\n".encode(errors="surrogateescape"))
    return hasher.hexdigest()


def changed_since(path: Path, seconds: float) -> bool:
    """Tell whether a file, or anything below a folder, was changed at or after a moment (seconds
    since 1970). What is not there has not changed. Raises OSError.
    """
    if path.is_dir():
        return any(_last(status) >= seconds for _, status in _walk(path))
    return path.exists() and _last(path.stat()) >= seconds


def shelf_state(folder: Path) -> str:
    """Return a digest of what lies in a folder itself: the names of folders, the names, sizes and
    times of files. `ABSENT` where it is none. Raises OSError where it cannot be read.
    """
    if not folder.is_dir():
        return ABSENT
    with os.scandir(folder) as entries:
        found = [
            (e.name, "" if e.is_dir() else _times(e.stat(follow_symlinks=e.is_file())))
            for e in entries
        ]
    return digest(sorted(found))


def program_state() -> str:
    """Return a digest of what runs: the files of this package and its search spaces, the names and
    versions of all installed packages, and Python. Raises OSError.
    """
    files = [
        path
        for folder in (PACKAGE, PACKAGE.parent / "search_spaces")
        for path in sorted(folder.rglob("*"))
        if path.suffix != ".pyc" and path.is_file()
    ]
    installed = {
        path.name
        for folder in map(Path, _PATHS)
        if folder.is_dir()
        for path in folder.iterdir()
        if path.suffix in (".dist-info", ".egg-info")
    }
    code = {str(path.relative_to(PACKAGE.parent)): file_sha256(path) for path in files}
    return digest(code, sorted(installed), sys.version, sys.flags.optimize)


def files_below(folder: Path, *, without: Collection[str] = ()) -> list[Path]:
    """Return all files below a folder, sorted. without: names in the folder itself that are passed
    over. Raises OSError.
    """
    return [folder / path for path, _ in _walk(folder) if Path(path).parts[0] not in without]


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to the folder, status) of all files below it, in an order of its own."""
    seen: set[tuple[int, int]] = set()
    todo = [""]
    while todo:
        below = todo.pop()
        here = folder / below
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(here) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            path = f"{below}{entry.name}"
            if entry.is_dir():
                todo.append(f"{path}{os.sep}")
            else:
                yield path, entry.stat(follow_symlinks=entry.is_file())


def _times(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _last(status: os.stat_result) -> float:
    return max(status.st_mtime, status.st_ctime)

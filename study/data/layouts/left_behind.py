"""What systems and programs leave in folders: passed over wherever it lies, and counted.

A network drive's thumbnails would else be images of a method, and leak. The folder that macOS
zips beside the real one would hide it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

HIDDEN, FORKS = "hidden files", "._*"
# Kinds with a name of their own. macOS, Windows, Synology, QNAP, Linux, Jupyter, Python.
NAMED = {
    name.lower(): name
    for name in (
        *("__MACOSX", ".DS_Store", ".AppleDouble", "Icon\r"),
        *("Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "RECYCLER"),
        "System Volume Information",
        *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@sharebin"),
        *("lost+found", ".ipynb_checkpoints", "__pycache__"),
    )
}


def left_behind(name: str) -> str:
    """Return the kind of what was left behind, by a file's or folder's name; "" for what was not.

    >>> left_behind("@eaDir"), left_behind("thumbs.DB"), left_behind("._a.png"), left_behind("a")
    ('@eaDir', 'Thumbs.db', '._*', '')
    """
    if found := NAMED.get(name.lower()):
        return found
    if name.startswith("."):
        return FORKS if name.startswith(FORKS[:-1]) else HIDDEN
    return ""


def files_in(folder: str) -> int:
    """Return the number of files below a folder; of what may not be read none."""
    return sum(len(files) for _, _, files in os.walk(folder))


def left_beside(folders: Iterable[Path]) -> Counter[str]:
    """Return the files in what was left behind directly in some folders, by kind; hidden ones that
    no program is known for are nobody's business there.
    """
    found: Counter[str] = Counter()
    for folder in folders:
        for entry in os.scandir(folder):
            kind = left_behind(entry.name)
            if kind not in ("", HIDDEN) and entry.is_dir(follow_symlinks=False):
                found[kind] += files_in(entry.path)
    return found


def left_words(left: Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield what was left behind like the skipped folders of a listing, the most first."""
    for kind, number in sorted(left.items(), key=lambda item: (-item[1], item[0])):
        files = f"{number:,} file{'' if number == 1 else 's'}"
        yield kind, f"{files} that a system or a program left behind, none of the dataset's"

"""Files that a list means and spells otherwise: it was written on another system, or in another
folder.

Windows writes `C:\\data\\a\\0.png` and finds `0.PNG` where `0.png` lies. macOS writes accents as
letters and marks (NFD). Of a path from elsewhere the end is what counts. Nothing is taken for what
it may mean: `prepare --describe` writes the list as the disk has it.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_DRIVE = re.compile(r"^[A-Za-z]:")


def leaves(path: str) -> bool:
    """Whether a path in its one spelling is absolute, or begins above the folder."""
    return path.startswith(("/", "../"))


@dataclass(frozen=True, kw_only=True)
class Meant:
    """The file that a path means: as the disk has it, and how it is spelled there."""

    path: str
    why: str


@dataclass(frozen=True)
class FilesBelow:
    """The files of a folder, found by other spellings."""

    root: Path
    _folders: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @cached_property
    def _bases(self) -> tuple[str, ...]:
        """The folder's path as it is named, and as it really is: every row asks for it."""
        named = os.path.abspath(self.root)  # noqa: PTH100 - takes `..` away and keeps links
        return tuple(dict.fromkeys((named, os.path.realpath(self.root))))

    def relative(self, path: str) -> str:
        """Return an absolute path of what lies below the folder relative to it; others as they
        are.
        """
        for base in self._bases:
            if path.startswith(f"{base}/"):
                return path[len(base) + 1 :]
        return path

    def meant(self, path: str) -> Meant | None:
        """Return the file that a path may mean, the longest end of it that is one; None where there
        is none, or several.
        """
        plain = _DRIVE.sub("", path.replace("\\", "/"))
        names = [name for name in plain.split("/") if name not in ("", ".", "..")]
        for start in range(len(names)):
            found = self._found(names[start:])
            if found is None or (found == path and not start):
                continue
            spelled = "/".join(names[start:])
            return Meant(path=found, why=_why(path, spelled, found))
        return None

    def _found(self, names: list[str]) -> str | None:
        """A path as the disk has it, or None."""
        folder = ""
        for name in names:
            there = self._names(folder).get(_key(name), [])
            same = name if name in there else there[0] if len(there) == 1 else None
            if same is None:
                return None
            folder = posixpath.join(folder, same)
        return folder if os.path.isfile(f"{self.root}/{folder}") else None  # noqa: PTH113 - a string

    def _names(self, folder: str) -> dict[str, list[str]]:
        """What lies in a folder, by its key."""
        if folder not in self._folders:
            found: dict[str, list[str]] = {}
            try:
                names = os.listdir(f"{self.root}/{folder}")  # noqa: PTH208 - strings
            except OSError:
                names = []
            for name in names:
                found.setdefault(_key(name), []).append(name)
            self._folders[folder] = found
        return self._folders[folder]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _why(path: str, spelled: str, found: str) -> str:
    """How the disk's spelling differs, the same words for all paths of a kind."""
    if spelled != found:
        same = unicodedata.normalize("NFC", spelled) == unicodedata.normalize("NFC", found)
        return f"the disk has it in another {'Unicode form' if same else 'case'}"
    if "\\" in path and len(spelled) == len(path):
        return "folders are separated by / here, and not by \\"
    return "a path is relative to the manifest's folder"

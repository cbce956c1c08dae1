"""A listing: what a dataset's folder holds, one row an image, before anything is decoded.

Written by folders.py and manifest.py (CSV), read by datasets.py. Columns of
`Listing.table` (Arrow):

    path        str     relative to the dataset's root, `/` between folders; of a video's frame
                        `clip.mp4#frame=000012` (videos.py)
    label       uint8   0 real, 1 fake
    method      str     what made it
    group       str     the split key, "" where the listing does not say
    video       str     the video a frame is from, "" where the listing does not say
    split       str     the official split, "" where there is none
    problem     str     why the image cannot be used, "" where nothing is known against it
    size        int64   bytes, -1 where the file is missing
    changed_ns  int64   ctime, the time of last change, which nobody can set back; -1 where the file
                        is missing
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from study.core.errors import DataError
from study.data.images.decode import EXTENSIONS, VIDEO_EXTENSIONS, refuse_passing
from study.data.layouts.left_behind import files_in, left_behind

BLOCK = 1 << 16  # rows that are Python objects at a time, before they become columns
SUFFIXES = (*EXTENSIONS, *VIDEO_EXTENSIONS)
MISSING = "file is missing"
LEAVES = (
    "symbolic link that leaves the dataset's folder; put what it leads to there (cp -RL copies it)"
)

T = TypeVar("T")

LISTING_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.uint8()),
        ("method", pa.string()),
        ("group", pa.string()),
        ("video", pa.string()),
        ("split", pa.string()),
        ("problem", pa.string()),
        ("size", pa.int64()),
        ("changed_ns", pa.int64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The rows of a dataset's folder, and how they were understood (`layout`).

    skipped: (what, reason) of folders and files that were passed over.
    others: paths of the images that a subset by methods leaves out: what links groups does so for
    all subsets alike. released: method -> when it was published (2024, 2024-08, 2024-08-01), as far
    as the rows say it. incomplete: sentences that say what of the published is not here.
    """

    table: pa.Table
    layout: str
    skipped: tuple[tuple[str, str], ...] = ()
    others: pa.ChunkedArray = field(default_factory=lambda: pa.chunked_array([], pa.string()))
    released: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()


class ImageFile(NamedTuple):
    """An image file of a folder: its path relative to the root, and what `stat` says."""

    path: str
    size: int
    changed_ns: int
    problem: str


class Walker:
    """Finds image and video files below a dataset's root without ever leaving it.

    What systems leave behind is passed over, and so are files without an image's or a video's
    suffix; `images` counts the one in `left` and the other in `ignored`. A symbolic link is
    followed where its target lies inside the root, or where the root is a snapshot of the Hugging
    Face hub, whose files are links to the blobs beside it. Any other link is an image with a
    problem, or a skipped folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[tuple[str, str]] = []
        # files that `images` passed over, by their suffix in lower case
        self.ignored: Counter[str] = Counter()
        # files that systems and programs left behind, by kind (left_behind.py)
        self.left: Counter[str] = Counter()
        self._real = os.path.realpath(root)
        self._places = tuple(f"{place.rstrip(os.sep)}{os.sep}" for place in _places(self._real))

    def folders(self, folder: str) -> list[str]:
        """Return the names of the visible folders in `folder` ("" is the root), sorted."""
        return sorted(
            entry.name
            for entry in self._scan(folder)
            if not left_behind(entry.name)
            and _is_dir(entry)
            and not self._skips(entry, joined(folder, entry.name), chain=())
        )

    def images(self, folder: str) -> Iterator[ImageFile]:
        """Yield every image below `folder`, unsorted. Raises DataError for an unreadable folder."""
        above = [
            self.root,
            *(
                self.root.joinpath(*folder.split("/")[:depth])
                for depth in range(1, folder.count("/") + 2)
            ),
        ]
        waiting: list[tuple[str, tuple[str, ...]]] = [
            (folder, tuple(os.path.realpath(path) for path in above))
        ]
        while waiting:
            current, chain = waiting.pop()
            for entry in self._scan(current):
                path = joined(current, entry.name)
                if left := left_behind(entry.name):
                    self.left[left] += files_in(entry.path) if _is_dir(entry) else 1
                elif _is_dir(entry):
                    if not self._skips(entry, path, chain=chain):
                        real = (
                            os.path.realpath(entry.path)
                            if entry.is_symlink()
                            else f"{chain[-1]}{os.sep}{entry.name}"
                        )
                        waiting.append((path, (*chain, real)))
                elif entry.name.lower().endswith(SUFFIXES):
                    yield self._found(entry, path)
                else:
                    # Strings, not Paths: this runs once for every file of a dataset.
                    self.ignored[readable(os.path.splitext(entry.name)[1].lower())] += 1  # noqa: PTH122 - strings

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in a folder that are no links out of the root, sorted."""
        return sorted(
            entry.name
            for entry in self._scan(folder)
            if not left_behind(entry.name)
            and not _is_dir(entry)
            and readable(entry.name) == entry.name
        )

    def loose(self, folder: str) -> int:
        """Return the number of images directly in a folder."""
        return sum(
            entry.name.lower().endswith(SUFFIXES)
            and not left_behind(entry.name)
            and not _is_dir(entry)
            for entry in self._scan(folder)
        )

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as entries:
                return list(entries)
        except OSError as error:
            raise DataError(
                f"folder '{readable(str(self.root / folder))}' cannot be read: {error.strerror}"
            ) from None

    def _skips(self, entry: os.DirEntry[str], path: str, *, chain: tuple[str, ...]) -> bool:
        if not entry.is_symlink():
            return False
        target = os.path.realpath(entry.path)
        reason = (
            LEAVES
            if not self.holds(target)
            else "symbolic link to a folder that it lies in"
            if target in chain
            else ""
        )
        if reason and (readable(path), reason) not in self.skipped:
            self.skipped.append((readable(path), reason))
        return bool(reason)

    def holds(self, real_path: str) -> bool:
        """Whether a resolved path lies inside the root, or among the blobs of its snapshot."""
        return real_path == self._real or real_path.startswith(self._places)

    def _found(self, entry: os.DirEntry[str], path: str) -> ImageFile:
        if entry.is_symlink() and not self.holds(os.path.realpath(entry.path)):
            return ImageFile(readable(path), -1, -1, LEAVES)
        try:
            status = entry.stat()
        except OSError as error:
            return ImageFile(readable(path), -1, -1, _missing(entry.path, error))
        problem = "" if path.isascii() or readable(path) == path else "file name is not valid UTF-8"
        problem = problem or _not_a_file(status)
        return ImageFile(readable(path), status.st_size, status.st_ctime_ns, problem)


def _places(root: str) -> Iterator[str]:
    """Where a root's files really lie: in it, and, of a hub's `snapshots/COMMIT`, in `blobs`."""
    yield root
    repository, _, below = root.rpartition(f"{os.sep}snapshots{os.sep}")
    if below and Path(repository).name.startswith(("datasets--", "models--", "spaces--")):
        yield str(Path(repository, "blobs"))


def stat_file(path: str, walker: Walker) -> tuple[int, int, str]:
    """Return (bytes, changed_ns, problem) of one file; -1 and a problem where there is none, or a
    link leaves the walker's root.

    Raises DataError where the disk does not answer.
    """
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            if not walker.holds(os.path.realpath(path)):
                return -1, -1, LEAVES
            status = os.stat(path)  # noqa: PTH116 - strings, as above: once for every row of a manifest
    except (OSError, ValueError) as error:
        return -1, -1, _missing(path, error)
    return status.st_size, status.st_ctime_ns, _not_a_file(status)


def in_blocks(rows: Iterable[T], size: int = BLOCK) -> Iterator[list[T]]:
    """Yield rows in lists of `size`, the last one shorter."""
    iterator = iter(rows)
    while block := list(islice(iterator, size)):
        yield block


def column_blocks(column: pa.ChunkedArray, size: int = BLOCK) -> Iterator[list[Any]]:
    """Yield the values of a column in lists of `size`, the last one shorter."""
    for start in range(0, len(column), size):
        yield column.slice(start, size).to_pylist()


def joined(folder: str, name: str) -> str:
    """Return the path of what has a name in a folder, "" for the root."""
    return f"{folder}/{name}" if folder else name


def readable(path: str) -> str:
    """Return a path that any text file can hold: bytes that are no UTF-8 are written `\\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _not_a_file(status: os.stat_result) -> str:
    """Why a path is not to be opened: to read a pipe is to wait for ever."""
    return "" if stat.S_ISREG(status.st_mode) else "not a regular file"


def _missing(path: str, error: OSError | ValueError) -> str:
    """Why a file has no size. Raises DataError where that is not the file's fault and may pass."""
    if isinstance(error, OSError):
        refuse_passing(readable(path), error)
    if isinstance(error, FileNotFoundError):
        return MISSING
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False

"""Files elsewhere, by URL (`s3://bucket/data`, `gs://`, `abfs://`, `https://`, `sftp://`,
`file://`): listed, fetched, put.

The only `fsspec`. Each kind of URL has a driver, a package of its own, and takes its
credentials from where that driver looks for them (of S3: the environment, `~/.aws`). What is
fetched grows under a temporary name that says which version it is, goes on where it was
interrupted, and counts when it has the size that was listed.
"""

from __future__ import annotations

import posixpath
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from study.core.errors import ConfigError, DataError, in_a_line
from study.core.identity import digest
from study.core.parallel import ordered_map

T = TypeVar("T")

# package -> the kinds of URL that it is the driver of
DRIVERS = {
    "s3fs": ("s3", "s3a"),
    "gcsfs": ("gs", "gcs"),
    "adlfs": ("abfs", "abfss", "az"),
    "aiohttp": ("http", "https"),
    "paramiko": ("sftp", "ssh"),
}
# an object appears whole, and a rename is a copy
WHOLE_PUTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
PART_SUFFIX = ".part"
THREADS = 16  # requests at a time: they wait for the network, not for a processor
_TAGS = "ETag etag md5Hash content_md5 mtime LastModified last_modified created"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file elsewhere: its URL, its size in bytes (-1 where the server does not say), and what
    changes with its content.
    """

    url: str
    size: int
    tag: str


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to fetch, and where it lies in the local copy, relative, `/` between folders."""

    file: RemoteFile
    path: str


class RemoteFolder:
    """A folder elsewhere. Raises DataError, naming URL and reason, from whatever needs the network
    and does not get it.
    """

    def __init__(self, url: str) -> None:
        """Raises ConfigError for a URL of an unknown kind, and for one whose driver is not
        installed, naming the package.
        """
        self.url = url.rstrip("/")
        self._system, self._path = _driver(self.url)

    def folders(self) -> list[str]:
        """Return the visible folders directly in it, sorted; [] where it holds none or is none."""
        nothing: list[dict[str, Any]] = []
        entries = self._ask(lambda: self._system.ls(self._path, detail=True), absent=nothing)
        names = (
            posixpath.basename(str(entry["name"]).rstrip("/"))
            for entry in entries
            if entry["type"] == "directory"
        )
        return sorted(name for name in names if name and not name.startswith("."))

    def files(self, below: str = "") -> dict[str, RemoteFile]:
        """Return every file below it, or below a folder in it, by its path relative to this one,
        sorted; {} where there is none.

        Raises DataError for a name that would leave the folder.
        """
        top = f"{self._path}/{below}".rstrip("/")
        nothing: dict[str, dict[str, Any]] = {}
        found = self._ask(lambda: self._system.find(top, detail=True), absent=nothing)
        root = self._path.rstrip("/") + "/"
        files = {}
        for name in sorted(found):
            path = name.removeprefix(root)
            if path.startswith("/") or posixpath.normpath(path) != path or path.startswith("../"):
                raise DataError(
                    f"'{self.url}' holds '{path}', which is no name of a file in a folder; rename"
                    " it there"
                )
            files[path] = _file(f"{self.url}/{path}", found[name])
        return files

    def put(self, source: Path, path: str) -> RemoteFile:
        """Write a local file to `path`; a reader there sees the old one or the new one whole."""
        place = f"{self._path}/{path}"

        def write() -> RemoteFile:
            self._system.makedirs(posixpath.dirname(place), exist_ok=True)
            if _kind(self.url) in WHOLE_PUTS:
                self._system.put_file(str(source), place)
            else:
                name = f".{posixpath.basename(place)}.{uuid.uuid4().hex[:8]}.tmp"
                temporary = f"{posixpath.dirname(place)}/{name}"
                self._system.put_file(str(source), temporary)
                self._system.mv(temporary, place)
            self._system.invalidate_cache()
            return _file(f"{self.url}/{path}", self._system.info(place))

        return self._ask(write)

    def remove(self, path: str) -> None:
        """Delete a file of this folder; one that is gone is no error."""

        def delete() -> bool:
            self._system.rm_file(f"{self._path}/{path}")
            return True

        self._ask(delete, absent=True)

    def _ask(self, work: Callable[[], T], *, absent: T | None = None) -> T:
        """Do what needs the network. absent: what is returned where there is no such folder."""
        try:
            self._system.invalidate_cache()  # a listing of an hour ago is no listing
            return work()
        except FileNotFoundError:
            if absent is not None:
                return absent
            raise DataError(f"'{self.url}' does not exist") from None
        except Exception as error:  # every driver raises its own
            raise DataError(f"'{self.url}' cannot be reached: {in_a_line(error)}") from None


def look_up(urls: Sequence[str], progress: Callable[[int, int], None]) -> list[RemoteFile | None]:
    """Return what is known of files by their URLs, in order; None for one that does not exist.
    Raises DataError, ConfigError.
    """
    for url in {_kind(url): url for url in urls}.values():
        _driver(url)
    found: list[RemoteFile | None] = []
    for file in ordered_map(_look, urls, threads=THREADS, at_once=1):
        found.append(file)
        if len(found) % 256 == 0 or len(found) == len(urls):
            progress(len(found), len(urls))
    return found


def fetch_all(
    wanted: Iterable[Download], folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Fetch files into a folder, several at a time; one that is there in its size is not fetched
    again. Raises DataError.
    """
    missing = [item for item in wanted if not _is_there(folder / item.path, item.file.size)]
    for done, _ in enumerate(
        ordered_map(partial(_fetch_into, folder), missing, threads=THREADS, at_once=1), start=1
    ):
        if done % 64 == 0 or done == len(missing):
            progress(done, len(missing))


def _driver(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the URL's path there."""
    import fsspec

    kind = _kind(url)
    try:
        driver = fsspec.get_filesystem_class(kind)
        # no url_to_fs: it takes `::` in a name for a chain
        system = fsspec.filesystem(kind, **driver._get_kwargs_from_urls(url))
    except ImportError as error:
        package = next((package for package, kinds in DRIVERS.items() if kind in kinds), None)
        extra = " (or install this project with its extra [s3])" if package == "s3fs" else ""
        how = f"pip install {package}{extra}" if package else in_a_line(error)
        raise ConfigError(
            f"'{url}': {kind}:// needs a driver that is not installed: {how}"
        ) from None
    except ValueError as error:
        known = ", ".join(f"{name}://" for name in ("s3", "gs", "abfs", "https", "sftp", "file"))
        raise ConfigError(
            f"'{url}': {in_a_line(error)}; known are {known} and whatever else fsspec has"
        ) from None
    return system, str(driver._strip_protocol(url))


def _kind(url: str) -> str:
    return url.partition("://")[0].lower()


def _file(url: str, info: Mapping[str, Any]) -> RemoteFile:
    tag = next((info[key] for key in _TAGS.split() if info.get(key)), "")
    if isinstance(tag, datetime):  # some drivers give the time of a listed file as a number
        tag = tag.timestamp()
    size = info.get("size")
    return RemoteFile(url=url, size=-1 if size is None else int(size), tag=str(tag).strip('"'))


def _look(url: str) -> RemoteFile | None:
    system, path = _driver(url)
    try:
        return _file(url, system.info(path))
    except FileNotFoundError:
        return None
    except Exception as error:
        raise DataError(f"'{url}' cannot be reached: {in_a_line(error)}") from None


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and size in (-1, path.stat().st_size)


def _fetch_into(folder: Path, item: Download) -> None:
    fetch(item.file, folder / item.path)


def fetch(file: RemoteFile, target: Path) -> None:
    """Write a file to `target`, whole or not at all, going on with a part. Raises DataError."""
    system, path = _driver(file.url)
    part = target.with_name(f".{digest('part', target.name, file)}{PART_SUFFIX}")
    target.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    if not file.tag or not 0 < have <= file.size:  # without a tag nobody knows what version that is
        part.unlink(missing_ok=True)
        have = 0
    try:
        if have:
            with system.open(path, "rb") as remote, part.open("ab") as local:
                remote.seek(have)
                shutil.copyfileobj(remote, local, 1 << 20)
        else:
            system.get_file(path, str(part))
    except FileNotFoundError:
        raise DataError(f"'{file.url}' was listed and is gone; run the command again") from None
    except Exception as error:
        raise DataError(
            f"'{file.url}' cannot be fetched: {in_a_line(error)}; what is here is kept, run the"
            " command again"
        ) from None
    size = part.stat().st_size
    if file.size not in (-1, size):
        part.unlink()
        raise DataError(
            f"'{file.url}' has {size} bytes and was listed with {file.size}: it changed; run the"
            " command again"
        )
    part.replace(target)

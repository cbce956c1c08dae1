"""Archives: unpacked once into the cache, without following links or leaving their folder.

An archive is unpacked whole or not at all: under a temporary name first, then renamed. A
member that is no plain file or folder, or whose path is absolute or climbs, refuses the archive by
that member's name. So does an archive that unpacks to far more than itself, or to more files than
any set has (`MOST_TIMES`, `MOST_MEMBERS`).

`<cache>/unpacked/NAME-KEY/` is of one folder of archives; in it every archive has a folder of its
name without the suffix, and `NAME-KEY.json` beside it says what each came out of: size, ctime and
SHA-256 of the archive. An archive that is another by now is unpacked again in the place of the old
one, one that was only touched is read once and kept, and what came out of one that is gone is
deleted.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn, TypeVar, cast

from study.core.cache import writing
from study.core.errors import DataError
from study.core.identity import digest, file_sha256, whole_file, whole_folder
from study.core.parallel import one_at_a_time
from study.data.file_index import Progress, quiet
from study.data.layouts.listing import readable
from study.data.names import file_name

T = TypeVar("T")
# size, ctime and SHA-256 of an archive; nothing while its folder may be incomplete
Entry = list[int | str]
# a path, what it is if no file or folder, and the bytes of a file
Member = tuple[str, str, IO[bytes] | None]

BLOCK = 2**18  # bytes in memory at a time
# what the libraries raise for a damaged archive; the last ones come of fields that lie
_BROKEN: tuple[type[Exception], ...] = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, struct.error, RuntimeError),
    *(OSError, NotImplementedError, IndexError, OverflowError, ValueError),
)
# what comes out of an archive: images hardly get smaller in one, zeros get a thousand times smaller
MOST_TIMES, FREE_BYTES = 100, 2**28
MOST_MEMBERS = 20_000_000
NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
LONGEST_HEADER = 2**24  # bytes of one member's names and attributes, which tarfile reads whole

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")


def find_archives(folder: Path, pattern: str) -> list[Path]:
    """Return the archives of a dataset (`DatasetCard.archives`, none for "") in a folder or in a
    folder of it, sorted by path.

    Raises DataError for a folder that cannot be read, for an archive that is a link to nothing,
    and, where there are archives, for such a link in the place of a folder of them: what came out
    of an archive that is not found is deleted.
    """
    lost: list[DataError] = []
    wanted = pattern.split("/")
    places = [wanted, ["*", *wanted]] if pattern else []
    found = sorted(path for names in places for path in _matching(folder, names, lost))
    if found and lost:
        raise lost[0]
    return found


def _matching(folder: Path, names: Sequence[str], lost: list[DataError]) -> Iterator[Path]:
    """Yield the archives that lie below a folder by patterns of names. lost: takes what is wrong
    with links on the way.
    """
    with _reading("folder", folder), os.scandir(folder) as listed:
        entries = [
            e for e in listed if not e.name.startswith(".") and fnmatchcase(e.name, names[0])
        ]
    for entry in entries:
        path = folder / entry.name
        if len(names) == 1 and entry.name.endswith(SUFFIXES):
            with _reading("archive", path):
                is_file = stat.S_ISREG(entry.stat().st_mode)
            if is_file:
                yield path
        elif len(names) > 1:
            is_folder = False
            try:
                with _reading("link", path):
                    mode = entry.stat().st_mode if entry.is_symlink() else 0
                    is_folder = stat.S_ISDIR(mode) or entry.is_dir()
            except DataError as error:
                lost.append(error)
            if is_folder:
                yield from _matching(path, names[1:], lost)


def unpacked(folder: Path, found: Sequence[Path], *, cache: Path, name: str) -> Path | None:
    """Return the folder of a folder's archives where these, and no others, are unpacked already,
    else None. No archive is read.

    Raises DataError for archives that would be unpacked into one folder.
    """
    place = _place(folder, cache=cache, name=name)
    known = _read(_ledger(place))
    wanted = {path: _status(archive) for path, archive in _paths(found, folder).items()}
    there = {path: entry[:2] for path, entry in known.items() if (place / path).is_dir()}
    return place if there == wanted and len(known) == len(wanted) else None


def unpack_all(
    folder: Path, found: Sequence[Path], *, cache: Path, name: str, progress: Progress = quiet
) -> Path:
    """Unpack what is not unpacked yet, each archive into a folder of its name without the suffix;
    return the folder of them.

    Raises DataError for an archive that is broken or refused and for archives that would be
    unpacked into one folder, StoreError where the cache cannot be written.
    """
    place = _place(folder, cache=cache, name=name)
    paths = _paths(found, folder)
    with writing(cache), one_at_a_time(place):
        known = dict(_read(_ledger(place)))
        if not known and place.exists():  # nobody knows what that is from
            shutil.rmtree(place)
        for path in known.keys() - paths.keys():
            _empty(place, path, known)
            del known[path]
            _write(place, known)
        for done, (path, archive) in enumerate(paths.items(), start=1):
            _unpack_into(place, path, archive, known)
            progress(f"unpacking {name}", done, len(found))
    return place


def _unpack_into(place: Path, path: str, archive: Path, known: dict[str, Entry]) -> None:
    """Unpack one archive into a folder below `place`, unless it is there. known: what the ledger
    says, and says afterwards.
    """
    entry = known.get(path, []) if (place / path).is_dir() else []
    status = _status(archive)
    if entry[:2] == status:
        return
    with _reading("archive", archive):
        sha256 = file_sha256(archive)
    if entry[2:] != [sha256]:
        _empty(place, path, known)
        with whole_folder(place / path) as temporary:
            unpack(archive, temporary)
    known[path] = [*status, sha256]
    _write(place, known)


def _empty(place: Path, path: str, known: dict[str, Entry]) -> None:
    """Delete the folder of an archive, whoever made it; killed from here on, it is known that
    something may be there.
    """
    known[path] = []
    _write(place, known)
    if (place / path).exists():
        shutil.rmtree(place / path)


def unpack(archive: Path, into: Path) -> None:
    """Unpack one archive into an empty folder. Raises DataError naming the archive, and the member
    that it is refused for.
    """
    members = _zip_members if archive.name.endswith(".zip") else _tar_members
    limits = _Limits(archive)
    for member, wrong, source in _opened(archive, members(archive)):
        limits.add_member()
        why = f"{wrong} and no file" if wrong else _leaving(member)
        if why:
            raise DataError(
                f"archive '{archive}' holds '{member}', {why}; nothing of it is unpacked"
            )
        target = into / member
        try:
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise DataError(
                f"archive '{archive}' holds '{member}' twice, or as file and folder; nothing is"
                " unpacked"
            ) from None
        except OSError as error:
            if error.errno not in NO_NAME:
                raise
            raise DataError(
                f"archive '{archive}' holds '{member[:200]}', a name that no file can have here"
                f" ({error.strerror}); nothing of it is unpacked"
            ) from None
        with file:
            for block in _opened(archive, _blocks(source)):
                limits.add_bytes(len(block))
                file.write(block)


class _Limits:
    """How much has come out of an archive. Raises DataError above what images take."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._room = max(FREE_BYTES, MOST_TIMES * archive.stat().st_size)
        self._members = self._bytes = 0

    def add_member(self) -> None:
        self._members += 1
        if self._members > MOST_MEMBERS:
            self._refuse(f"holds more than {MOST_MEMBERS:,} files and folders")

    def add_bytes(self, number: int) -> None:
        self._bytes += number
        if self._bytes > self._room:
            what = f"unpacks to more than {MOST_TIMES} times its size and {FREE_BYTES >> 20} MB"
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        raise DataError(
            f"archive '{self._archive}' {what}, which no set of images does; nothing is unpacked."
            " If you trust it, unpack it yourself and remove the archive"
        )


def _place(folder: Path, *, cache: Path, name: str) -> Path:
    """Where the archives of a folder are unpacked to."""
    return cache / "unpacked" / f"{file_name(name)}-{digest('unpacked', os.path.realpath(folder))}"


def _paths(found: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Archives by their folders, relative to that of all. Raises DataError for two of one folder,
    or of one inside the other.
    """
    paths: dict[str, Path] = {}
    for archive in found:
        path = archive.relative_to(folder).as_posix()
        path = next(path.removesuffix(suffix) for suffix in SUFFIXES if path.endswith(suffix))
        if path in paths:
            raise DataError(
                f"archives '{paths[path]}' and '{archive}' would be unpacked into one folder;"
                " rename or remove one of them"
            )
        paths[path] = archive
    for path, archive in paths.items():
        above = next(
            (paths[str(parent)] for parent in PurePosixPath(path).parents if str(parent) in paths),
            None,
        )
        if above:
            raise DataError(
                f"archive '{archive}' would be unpacked into the folder of '{above}'; rename or"
                " remove one of them"
            )
    return paths


def _status(archive: Path) -> Entry:
    with _reading("archive", archive):
        status = archive.stat()
    return [status.st_size, status.st_ctime_ns]


@contextmanager
def _reading(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{what} '{readable(str(path))}' cannot be read: {error.strerror}"
        ) from None


def _ledger(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _read(ledger: Path) -> Mapping[str, Entry]:
    """What is unpacked, by its folder; nothing is said of a folder that may be incomplete."""
    try:
        table = json.loads(ledger.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nothing is unpacked, or nobody knows what
        return {}
    return table if isinstance(table, dict) else {}


def _write(place: Path, known: Mapping[str, Entry]) -> None:
    with whole_file(_ledger(place)) as temporary:
        temporary.write_text(json.dumps(known), encoding="utf-8")


def _leaving(member: str) -> str:
    """Why a member may not be written where its path says, "" where it may."""
    path = PurePosixPath(member)
    odd = "\\" in member or "\0" in member or ":" in member[:2]
    leaves = path.is_absolute() or ".." in path.parts or odd
    return "which would leave its folder" if leaves else ""


class _Stream:
    """The bytes of a tar archive. Its headers are read whole, so a long one, or one of a negative
    length, which reads all that follows, is refused.
    """

    def __init__(self, raw: BufferedReader | gzip.GzipFile) -> None:
        self._raw = raw
        self.seek, self.tell = raw.seek, raw.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._raw.read(size)


def _tar_members(archive: Path) -> Iterator[Member]:
    plain = archive.name.endswith(".tar")
    with (
        archive.open("rb") if plain else gzip.open(archive) as stream,
        tarfile.open(fileobj=cast("IO[bytes]", _Stream(stream)), mode="r:") as tar,
    ):
        for member in tar:
            if member.size < 0:  # older versions of tarfile go back by it, for ever
                raise tarfile.ReadError(f"'{member.name}' has {member.size} bytes")
            wrong = "a link" if member.issym() or member.islnk() else "a device"
            wrong = "" if member.isdir() or member.isreg() else wrong
            yield member.name, wrong, tar.extractfile(member) if member.isreg() else None
        # tarfile takes an archive that was cut between members for a whole one
        stream.seek(tar.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it has no end")
        while stream.read(BLOCK):  # gzip's checksum comes last
            pass


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            # the upper bits of a Unix mode: 0 unknown, 4 folder, 8 file, 10 link
            kinds = {0: "", 4: "", 8: "", 10: "a link"}
            wrong = kinds.get(member.external_attr >> 28, "a device")
            if wrong or member.is_dir():
                yield member.filename, wrong, None
            else:
                with file.open(member) as source:
                    yield member.filename, "", source


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    while block := source.read(BLOCK):
        yield block


def _opened(archive: Path, parts: Iterator[T]) -> Iterator[T]:
    """Turn what is wrong with an archive into a line that names it."""
    try:
        yield from parts
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        # these two come of what the archive says
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise DataError(
                f"archive '{archive}' cannot be read: {error.strerror or reason}"
            ) from None
        raise DataError(
            f"archive '{archive}' is broken ({reason}); delete it and get it again"
        ) from None

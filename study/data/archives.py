"""Archives: unpacked once into the cache, without following links or leaving their folder.

Floor 1. An archive is unpacked whole or not at all: under a temporary name first, then renamed. A member that is no plain file or
folder, or whose path is absolute or climbs, refuses the archive by that member's name.
"""

from __future__ import annotations

import errno
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from study.data.index import Progress, cache_writes, quiet
from study.data.names import file_name
from study.errors import DataError
from study.identity import digest, whole_folder

T = TypeVar("T")

BLOCK = 2**18  # bytes in memory at a time

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")


def find_archives(folder: Path, pattern: str) -> list[Path]:
    """Return the archives of a dataset (`DatasetCard.archives`, none for "") in a folder or in a folder of it, sorted by path."""
    found = [path for glob in (pattern, f"*/{pattern}") for path in folder.glob(glob)] if pattern else []
    return sorted(path for path in found if path.name.endswith(SUFFIXES) and path.is_file())


def unpacked(folder: Path, found: Sequence[Path], *, cache: Path, name: str) -> Path | None:
    """Return the folder of a folder's archives where all of them are unpacked already, else None."""
    place = _places(folder, found, cache=cache, name=name)
    return place if all(_place(archive, folder, place).is_dir() for archive in found) else None


def unpack_all(folder: Path, found: Sequence[Path], *, cache: Path, name: str, progress: Progress = quiet) -> Path:
    """Unpack what is not unpacked yet, each archive into a folder of its name without the suffix; return the folder of them.

    Raises DataError for an archive that is broken or refused, StoreError where the cache cannot be written.
    """
    place = _places(folder, found, cache=cache, name=name)
    for done, archive in enumerate(found, start=1):
        into = _place(archive, folder, place)
        if not into.is_dir():
            with cache_writes(cache), whole_folder(into) as temporary:
                unpack(archive, temporary)
        progress(f"unpacking {name}", done, len(found))
    return place


def unpack(archive: Path, into: Path) -> None:
    """Unpack one archive into an empty folder. Raises DataError naming the archive, and the member that it is refused for."""
    members = _zip_members if archive.name.endswith(".zip") else _tar_members
    for member, source in _opened(archive, members(archive)):
        target = into / _inside(member, archive)
        try:
            if source is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"archive '{archive}' holds '{member}' twice, or as file and folder; nothing is unpacked") from None
        with file:
            for block in _opened(archive, _blocks(source)):
                file.write(block)


def _places(folder: Path, found: Sequence[Path], *, cache: Path, name: str) -> Path:
    """Where archives are unpacked to: another place for other archives, by their names and sizes."""
    contents = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in found]
    return cache / "unpacked" / f"{file_name(name)}-{digest('unpacked', contents)}"


def _place(archive: Path, folder: Path, place: Path) -> Path:
    path = archive.relative_to(folder).as_posix()
    return place / next(path.removesuffix(suffix) for suffix in SUFFIXES if path.endswith(suffix))


def _inside(member: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member or "\0" in member or ":" in member[:2]:
        raise DataError(f"archive '{archive}' holds '{member}', which would leave its folder; nothing of it is unpacked")
    return path


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    plain = archive.name.endswith(".tar")
    with archive.open("rb") if plain else gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            if not member.isdir() and not member.isreg():
                raise _refused(archive, member.name, "a link" if member.issym() or member.islnk() else "a device")
            yield member.name, None if member.isdir() else tar.extractfile(member)
        stream.seek(tar.offset)  # tarfile takes an archive that was cut between members for a whole one
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it has no end")
        while stream.read(BLOCK):  # gzip's checksum comes last
            pass


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = member.external_attr >> 28  # the upper bits of a Unix mode: 0 unknown, 4 folder, 8 file, 10 link
            if kind not in (0, 4, 8):
                raise _refused(archive, member.filename, "a link" if kind == 10 else "a device")
            if member.is_dir():
                yield member.filename, None
            else:
                with file.open(member) as source:
                    yield member.filename, source


def _refused(archive: Path, member: str, what: str) -> DataError:
    return DataError(f"archive '{archive}' holds '{member}', {what} and no file; nothing of it is unpacked")


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    while block := source.read(BLOCK):
        yield block


def _opened(archive: Path, parts: Iterator[T]) -> Iterator[T]:
    """Turn what is wrong with an archive into a line that names it."""
    try:
        yield from parts
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # these two come of what the archive says
            raise DataError(f"archive '{archive}' cannot be read: {error.strerror or reason}") from None
        raise DataError(f"archive '{archive}' is broken ({reason}); delete it and get it again") from None

"""Local copies of datasets that lie elsewhere: fetched once, whole, then used without network.

`<cache>/remote/NAME-KEY/`, where the key is that of the URL and of the listing there
(paths, sizes, tags); while it is fetched, `NAME-KEY.partial`, which a later run goes on with.
`NAME-URLKEY.json` beside it, written last, says which copy a URL has: as long as it is there nobody
is asked. Delete it to have what changed fetched; a listing that did not change finds its copy
again.

The images of a manifest of URLs are such a copy, and the manifest.csv in it is written anew for
every change of the user's: images are fetched once, labels are those of now. URLs that did not
exist are asked for again at the next start.
"""

from __future__ import annotations

import csv
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from study.core.cache import writing
from study.core.errors import DataError
from study.core.identity import digest, file_sha256, whole_file
from study.core.parallel import one_at_a_time
from study.data.csv_file import open_csv
from study.data.file_index import Progress, quiet
from study.data.layouts.left_behind import left_behind
from study.data.layouts.listing import SUFFIXES
from study.data.layouts.manifest import MANIFEST, check_manifest, lists_urls
from study.data.names import can_name, file_name
from study.data.sources.remote import Download, RemoteFile, RemoteFolder, fetch_all, look_up

LONGEST_NAME = 255  # bytes of a file's name, in all usual file systems


class RemoteRoot:
    """A data root elsewhere: a folder per dataset, each fetched when it is first used."""

    def __init__(self, url: str, *, cache: Path, progress: Progress = quiet) -> None:
        self.url, self.cache, self.progress = url, cache, progress

    @cached_property
    def _folders(self) -> list[str]:
        return RemoteFolder(self.url).folders()

    def names(self) -> list[str]:
        """Return the folders there, but those that cannot be a dataset's name; without network,
        those that are here.

        Raises DataError where there is no network and none is here, ConfigError for a URL that
        cannot be used.
        """
        try:
            return [n for n in self._folders if can_name(n) and not left_behind(n)]
        except DataError:
            here = self._here()
            if not here:
                raise
            return here

    @property
    def is_listed(self) -> bool:
        """Whether the folders there are known by now."""
        return "_folders" in self.__dict__

    def holds(self, name: str) -> bool:
        """Whether there is a folder of that name there. Raises DataError, ConfigError."""
        return name in self._folders

    def _here(self) -> list[str]:
        pointers = sorted((self.cache / "remote").glob("*.json"))
        sources = [str(_read(pointer).get("source", "")) for pointer in pointers]
        below = f"{self.url}/"
        return [source.removeprefix(below) for source in sources if source.startswith(below)]

    def copy(self, name: str) -> Path | None:
        """Return the local copy of a dataset's folder, or None where there is none. Asks nobody."""
        return self._copy(name).folder

    def fetch(self, name: str) -> Path:
        """Return the local copy of a dataset's folder, fetched where it is missing. Raises
        DataError, ConfigError, StoreError.
        """
        remote = RemoteFolder(f"{self.url}/{name}")

        def listing() -> dict[str, RemoteFile]:
            files = remote.files()
            if not files:
                raise DataError(f"'{remote.url}' holds no files")
            return files

        return self.copy(name) or self._copy(name).make(remote.url, listing)

    def _copy(self, name: str) -> _Copy:
        key = digest("remote", f"{self.url}/{name}")
        return _Copy(name=name, key=key, cache=self.cache, progress=self.progress)


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """What lies here of one source. name: of the dataset. key: of the source."""

    name: str
    key: str
    cache: Path
    progress: Progress

    @property
    def _pointer(self) -> Path:
        return self.cache / "remote" / f"{file_name(self.name)}-{self.key}.json"

    @property
    def folder(self) -> Path | None:
        """The copy, None where there is none."""
        name = str(_read(self._pointer).get("folder", ""))
        folder = self._pointer.with_name(name) if name else None
        return folder if folder and folder.is_dir() else None

    @property
    def missing(self) -> list[str]:
        """The URLs of a manifest that did not exist when it was fetched."""
        missing = _read(self._pointer).get("missing", [])
        return [str(url) for url in missing] if isinstance(missing, list) else []

    def make(
        self,
        source: str,
        listing: Callable[[], dict[str, RemoteFile]],
        wanted: Mapping[str, str] | None = None,
    ) -> Path:
        """Return the copy of what is listed now, made where it is missing. wanted: path and URL of
        what may not exist.
        """
        with writing(self.cache), one_at_a_time(self._pointer):
            files = listing()
            table = {path: [file.url, file.size, file.tag] for path, file in files.items()}
            name = f"{file_name(self.name)}-{digest('copy', source, table)}"
            folder, unfinished = (self._pointer.with_name(name + end) for end in ("", ".partial"))
            if not folder.is_dir():
                unfinished.mkdir(parents=True, exist_ok=True)
                todo = [Download(file=file, path=path) for path, file in files.items()]
                fetch_all(todo, unfinished, partial(self.progress, f"fetching {self.name}"))
                if listing() != files:
                    raise DataError(
                        f"'{source}' changed while it was fetched; run the command again"
                    )
                unfinished.rename(folder)
            missing = [url for path, url in (wanted or {}).items() if path not in files]
            known = {"source": source, "folder": folder.name, "missing": missing}
            with whole_file(self._pointer) as temporary:
                temporary.write_text(json.dumps(known), encoding="utf-8")
        return folder


def manifest_copy(
    folder: Path,
    manifest: Path,
    *,
    name: str,
    cache: Path,
    fetch: bool,
    fake_label: str = "",
    progress: Progress = quiet,
) -> Path | None:
    """Return where a dataset's images are: the folder itself, or a copy of what its manifest
    lists, where that lists URLs.

    fetch: whether to fetch what is not here; otherwise None is returned for it. fake_label: as of
    `read_manifest`. Of a URL `s3://bucket/a.png` the copy is `s3/bucket/a.png`; a file that does
    not exist stays a row whose file is missing. Raises DataError, ConfigError, StoreError.
    """
    if not lists_urls(manifest):
        return folder
    # mistakes are named in the file that has them, and before anything is fetched
    listed, _ = check_manifest(folder, file=manifest, urls=True, fake_label=fake_label)
    sha256 = file_sha256(manifest)
    key = digest("remote", "manifest", sha256)
    copy = _Copy(name=name, key=key, cache=cache, progress=progress)
    known = copy.folder
    if not known and not fetch:
        return None
    if not known or (fetch and copy.missing and _some_appeared(copy.missing)):
        known = _fetch_listed(manifest, copy, listed["path"].to_pylist())
    _write_manifest(manifest, known / MANIFEST, sha256, cache=cache)
    return known


def _fetch_listed(manifest: Path, copy: _Copy, urls: Sequence[str]) -> Path:
    """Return the copy of the images that a manifest lists."""
    places = {url: local_path(url) for url in urls}

    def listing() -> dict[str, RemoteFile]:
        found = look_up(list(places), partial(copy.progress, f"looking up {copy.name}"))
        return {places[file.url]: file for file in found if file is not None}

    return copy.make(f"{manifest}", listing, {path: url for url, path in places.items()})


def _some_appeared(urls: Sequence[str]) -> bool:
    """Whether one of the URLs exists by now; without network what is here is all there is."""
    try:
        return any(file is not None for file in look_up(urls, lambda *_: None))
    except DataError:
        return False


def _write_manifest(manifest: Path, target: Path, sha256: str, *, cache: Path) -> None:
    """Write the copy's manifest.csv from the user's, whose SHA-256 is given, unless it was made
    from just that one.
    """
    mark = target.with_name(".manifest.sha256")
    with writing(cache), one_at_a_time(target.parent):
        if target.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == sha256:
            return
        mark.unlink(missing_ok=True)  # killed from here on, it is made again
        with whole_file(target) as temporary:
            _rewrite(manifest, temporary)
        # else it was edited meanwhile, and is read again at the next start
        if file_sha256(manifest) == sha256:
            mark.write_text(sha256, encoding="utf-8")


def local_path(url: str) -> str:
    """Return the relative path of a URL's copy. Raises DataError for a URL that names no file below
    a host or bucket.

    What is too long for a file's name (as a rule by the query of a signed URL) is a digest there,
    with the suffix of its path.
    """
    kind, _, rest = url.partition("://")
    path = posixpath.normpath(f"{kind.lower()}/{rest.lstrip('/')}")
    if path.count("/") < 1 or not path.startswith(f"{kind.lower()}/") or url.endswith("/"):
        raise DataError(f"the URL '{url}' names no file")
    return "/".join(_fitting(segment) for segment in path.split("/"))


def _fitting(segment: str) -> str:
    if len(segment.encode()) <= LONGEST_NAME:
        return segment
    suffix = posixpath.splitext(re.split(r"[?#]", segment, maxsplit=1)[0])[1]
    return digest("segment", segment) + (suffix if suffix.lower() in SUFFIXES else "")


def _rewrite(manifest: Path, target: Path) -> None:
    """Write a manifest with the local paths of its URLs, line by line as it was."""
    with open_csv(manifest) as source, target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        place = [field.lower() for field in source.header].index("path")
        writer.writerow(source.header)
        for fields in source.reader:
            is_row = any(field.strip() for field in fields)
            if is_row:
                fields[place] = local_path(fields[place].strip())
            writer.writerow(fields if is_row else [])


def _read(pointer: Path) -> Mapping[str, object]:
    try:
        table = json.loads(pointer.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent or damaged: nothing is known
        return {}
    return table if isinstance(table, dict) else {}

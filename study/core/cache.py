"""The cache: what takes long to make, and follows from its inputs and the code, is kept.

One rule for all of it. An entry lies in `<cache>/<kind>/<code>/<inputs>`: the digests of the code
that makes it (code.py) and of all that it is made of. Where either changes, the entry is another
one, so nobody has to raise a number. It then replaces the entry of the same inputs by other code.

An entry is a file or a folder. It appears whole or not at all: it is written under a temporary
name and renamed. Two processes may make the same one at once. It carries a SHA-256 of every 4 MiB.
A file is checked each time it is read, a folder when a process first opens it, by all processor
cores at once. That takes one core 0.6 s a GB, 0.09 ms an image of 224 pixels. What is damaged is
made again, with a line that says so.

A file begins with a line of JSON, its checksums and the name of the entry, and then comes the
content. The checksums of a
folder's files are the content of `sums.json` in it, and `inputs.json` says what it is made of.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.core.code import code_digest, place_of
from study.core.errors import UnwritableError
from study.core.identity import canonical_json, digest, whole_file, whole_folder
from study.core.parallel import one_at_a_time, ordered_map

BLOCK = 1 << 22  # bytes to a checksum
SUMS, INPUTS = "sums.json", "inputs.json"
ABSENT = "absent"
_LOG = logging.getLogger(__name__)
_checked: dict[Path, list[tuple[int, int]]] = {}  # sizes and times of folders that were whole


class Cache:
    """Entries of one kind: what one piece of code makes."""

    def __init__(
        self, kind: str, made_by: Sequence[Callable[..., Any]], *, libraries: Sequence[str] = ()
    ) -> None:
        """kind: name of the folder. made_by: the functions and classes that decide the content.
        libraries: those whose version decides it, as package indexes call them.
        """
        self.kind = kind
        self._code = tuple(map(place_of, made_by)), tuple(libraries)

    def path(self, cache: Path, name: str) -> Path:
        """Return where an entry lies. name: the digest of its inputs, with or without a suffix."""
        return cache / self.kind / code_digest(*self._code) / name

    def of_other_code(self, cache: Path) -> list[Path]:
        """Return the folders of entries that other code has made: nobody reads them now."""
        now = self.path(cache, "").name
        return [one for one in sorted((cache / self.kind).glob("*/")) if one.name != now]

    def get(self, cache: Path, inputs: Any, make: Callable[[], Any]) -> Any:
        """Return what `make` returns, as JSON gives it back; from the cache where that has it.

        inputs: what `digest` takes. A dataclass comes back as a mapping, a tuple as a list.
        Raises what `make` raises, and UnwritableError where the cache cannot be written.
        """
        path = self.path(cache, f"{digest(inputs)}.json")
        content = read_entry(path)
        if content is None:
            content = json.dumps(make(), default=dataclasses.asdict).encode()
            with writing(cache):
                write_entry(path, content)
                remove_others(path)
        return json.loads(content)

    def folder(self, cache: Path, inputs: Any, make: Callable[[Path], None]) -> Path:
        """Return the folder that `make` fills; the one in the cache where that has it.

        One process makes it, and others wait for it. Raises what `make` raises, and UnwritableError
        where the cache cannot be written.
        """
        path = self.path(cache, digest(inputs))
        if _damage(path):
            with writing(cache), one_at_a_time(path):
                damage = _damage(path)  # another process may have made it meanwhile
                if damage:
                    if damage != ABSENT:
                        _say(path / damage)
                    shutil.rmtree(path, ignore_errors=True)
                    with whole_folder(path) as temporary:
                        make(temporary)
                        plain = canonical_json(inputs).encode(errors="surrogatepass")
                        (temporary / INPUTS).write_bytes(plain)
                        _seal(temporary, path)
                    remove_others(path)
        return path


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Turn a failed write below the cache folder into an UnwritableError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise  # no error of the system's, but of the work that makes the entry
        if error.filename and cache.absolute() not in Path(str(error.filename)).absolute().parents:
            raise  # of a file that is read
        reason = error.strerror or type(error).__name__
        raise UnwritableError(
            f"the cache folder '{cache}' cannot be written: {reason}; name another results folder"
            " with --results"
        ) from None


def write_entry(path: Path, content: bytes, *, of: Path | None = None) -> None:
    """Write a file of the cache. of: the entry that it belongs to, if it is not one itself. Raises
    OSError.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(
            json.dumps({**_sums_of(content), "of": _place(of or path)}).encode() + b"\n" + content
        )


def read_entry(path: Path) -> bytes | None:
    """Return the content of a file of the cache; None where it is absent or damaged, and says the
    latter.
    """
    try:
        return _content(path)
    except OSError:
        return None
    except ValueError:
        _say(path)
        return None


def inputs_of(folder: Path) -> Any:
    """Return what a folder of the cache is made of, as JSON gives it back; None where it does not
    say so: it is of an older version, or damaged.
    """
    try:
        return json.loads((folder / INPUTS).read_bytes())
    except (OSError, ValueError):
        return None


def remove_others(path: Path) -> None:
    """Remove what other code made of the same inputs. Raises OSError."""
    for code in path.parent.parent.iterdir():
        if code != path.parent and code.is_dir():
            other = code / path.name
            if other.is_dir():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink(missing_ok=True)


def _say(damaged: Path) -> None:
    _LOG.warning("'%s' is damaged: it is made again", damaged)


def _content(path: Path, of: Path | None = None) -> bytes:
    """The content of a file as it was written. Raises OSError, and ValueError where it is not, and
    where it is that of another entry.
    """
    line, _, content = path.read_bytes().partition(b"\n")
    sums, place = json.loads(line), _place(of or path)
    if sums.pop("of", place) != place or sums != _sums_of(content):
        raise ValueError(path)
    return content


def _place(entry: Path) -> str:
    """What an entry is of, as it says itself."""
    return f"{entry.parent.name}/{entry.name}"


def _damage(folder: Path) -> str:
    """The name of a file that is not as it was written, `ABSENT` for no folder, "" for a whole
    one.
    """
    if not folder.is_dir():
        return ABSENT
    try:
        files = _files(folder)
        states = [file.stat() for file in files.values()]
        state = [(one.st_size, one.st_mtime_ns) for one in states]
        if _checked.get(folder) != state:
            sums = json.loads(_content(folder / SUMS, folder))
            for name in files.keys() | sums.keys():
                if name not in files or _sums_of(files[name]) != sums.get(name):
                    return str(name)
            _checked[folder] = state
    except (OSError, ValueError):
        return SUMS
    return ""


def _seal(folder: Path, entry: Path) -> None:
    """Write the checksums of all files of a folder, each of which is on the disk then. entry: the
    folder that it becomes.
    """
    files = _files(folder)
    for file in files.values():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    sums = {name: _sums_of(file) for name, file in files.items()}
    write_entry(folder / SUMS, json.dumps(sums).encode(), of=entry)


def _files(folder: Path) -> dict[str, Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in found if path.name != SUMS}


def _sums_of(content: bytes | Path) -> dict[str, Any]:
    """The number of bytes, and the SHA-256 of every block of them."""
    if isinstance(content, bytes):
        blocks = (content[start : start + BLOCK] for start in range(0, len(content), BLOCK))
        return {"bytes": len(content), "sha256": [hashlib.sha256(b).hexdigest() for b in blocks]}
    with content.open("rb") as file:
        size, number = os.fstat(file.fileno()).st_size, file.fileno()
        one = lambda start: hashlib.sha256(os.pread(number, BLOCK, start)).hexdigest()  # noqa: E731
        sha256 = list(ordered_map(one, range(0, size, BLOCK), at_once=1))
    return {"bytes": size, "sha256": sha256}

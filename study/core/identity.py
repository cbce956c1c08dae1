"""Identities and whole writes: the digest that keys every cache, and files that appear complete or
not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEY_LENGTH = 20  # hexadecimal digits: 80 bits, no accidental collision below about 10^12 keys
# metadata of a record's field that came later: at its default it is in no digest, so that what was
# keyed before it keeps its key
LATER: Mapping[str, Any] = {"later": True}


def _plain(value: Any) -> Any:
    """Reduce a value to JSON types whose text form is unique. Floats keep every bit through
    `repr`.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        held = {f.name: getattr(value, f.name) for f in fields}
        later = {f.name for f in fields if f.metadata == LATER and held[f.name] == f.default}
        return {name: _plain(one) for name, one in held.items() if name not in later}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value made of dataclasses, mappings, sequences, strings,
    numbers, booleans and None.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(*parts: Any) -> str:
    """Return a key of `KEY_LENGTH` hexadecimal digits that changes when any part of the values
    does.

    A path whose bytes are no text has one too.
    Raises TypeError for a value without a canonical form (an array, an open file): digest its bytes
    first.
    """
    return hashlib.sha256(canonical_json(parts).encode(errors="surrogatepass")).hexdigest()[
        :KEY_LENGTH
    ]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits. Raises OSError where it cannot
    be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unit_interval(salt: str, key: str) -> float:
    """Map a key to a number in [0, 1), uniformly over keys and independently over salts."""
    raw = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(raw[:8], "big") / 2**64


def derive_seed(*parts: Any) -> int:
    """Return a seed in [0, 2^31) that depends on every part, for generators that must not share a
    stream.
    """
    return int(hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:8], 16) & 0x7FFFFFFF


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{this_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


@functools.cache
def this_machine() -> str:
    """Return eight digits of where process numbers mean the same: a host, and on it a container."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a link that leads nowhere: its text is wanted
    except OSError:
        space = ""
    return digest(socket.gethostname(), space)[:8]


def _clear_dead(folder: Path) -> None:
    """Remove the temporary folders of this machine's processes that were killed; others may still
    be writing theirs.
    """
    for left in folder.glob(f".*.{this_machine()}-*.tmp"):
        pid = left.name.split("-")[-2]
        if left.is_dir() and pid.isdecimal() and not is_running(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def is_running(pid: int) -> bool:
    """Tell whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write; on success it is renamed to `path` in one step, on failure it
    is removed.

    The parent folder is made. A reader therefore never sees half a file, and a killed writer leaves
    only a `.tmp`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `path` in one step, on failure it is
    removed.

    Where another process finished the same folder first, that one is kept: both were built from the
    same key. What killed processes of this machine left beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_dead(path.parent)
    temporary = _temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

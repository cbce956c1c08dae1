"""Is a study's folder as it was written? Every record read by its own reader, and one list of
digests that goes with a published result.

A manifest holds the SHA-256 of every file that stays: records and tables. It leaves out what is
under way, set aside, or a log. Its root is the SHA-256 of the lines `<digest>  <path>`, sorted by
path, as `sha256sum` writes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from study.core.errors import StoreError
from study.core.identity import file_sha256
from study.store import image_list
from study.store.files import check_schema, read_json, unreadable
from study.store.store import RECORD, WEIGHTS, Store, read_trained
from study.store.tables import read_draw_scores, read_scores
from study.store.trials import read_older_trials, read_trials
from study.store.weights_file import read_weights

NAME = "manifest.json"
TRIALS = "trials"  # a kind of record
# folders of what does not stay, and of what `study.paper` and `study.export` make anew
PASSING = ("checkpoints", "parts", "damaged", "failures", "ray", "paper", "export")
# and the page, which names the manifest's root
LOGS = (NAME, "run.log", ".lock", "report.html")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What reading a study's records found. counts: of what was read, by kind: the trials of the
    record, and files of all else. problems: (file, what is wrong with it), files relative to the
    study's folder.
    """

    counts: Mapping[str, int]
    problems: Sequence[tuple[str, str]]


def check_records(store: Store) -> Checked:
    """Read every record of a store as who uses it reads it: its sum, its key, its schema. Nothing
    is set aside.
    """
    counts: dict[str, int] = {}
    problems = []
    for kind, path, read in _readers(store):
        counts[kind] = counts.get(kind, 0) + (kind != TRIALS)
        try:
            found = read()
            counts[kind] += found if kind == TRIALS else 0
        except StoreError as error:
            problems.append((path.relative_to(store.folder).as_posix(), str(error)))
    return Checked(counts=counts, problems=problems)


def _readers(store: Store) -> Iterator[tuple[str, Path, Callable[[], Any]]]:
    """Yield the kind of every record, its file, and what reads and checks it."""
    if (record := store.trials_record) is not None:
        yield TRIALS, record, partial(_read_trials, store, record)
    for path in sorted(store.folder.glob(f"models/*/{RECORD}")):
        yield from _of_model(path.parent)
    for path in sorted(store.folder.glob("epochs/*/*.safetensors")):
        if not path.parent.name.endswith(".part"):
            of = f"{path.parent.name} epoch {path.stem}"
            yield "epochs", path, partial(read_weights, path, of)
    for kind, read, pattern in (
        ("scores", read_scores, "scores/*.parquet"),
        ("probes", read_scores, "probes/*.parquet"),
        ("draws", read_weights, "draws/*.safetensors"),
        ("scores of draws", read_draw_scores, "draw_scores/*.parquet"),
    ):
        for path in sorted(store.folder.glob(pattern)):
            yield kind, path, partial(read, path, path.stem)
    if (images := store.folder / image_list.NAME).is_file():
        yield "tables", images, partial(image_list.read_images, images)
    for path in sorted(store.folder.glob("*.json")):
        if path.name not in (NAME, "metrics.json"):
            yield "tables", path, partial(read_json, path)


def _read_trials(store: Store, record: Path) -> int:
    """Return how many trials there are."""
    if record != store.trials_file:
        return len(read_older_trials(record, store.tracebacks))
    found = read_trials(record, store.tracebacks)
    if found.damaged:
        raise StoreError(f"{'; '.join(found.damaged)}; the next sweep runs these trials again")
    return len(found.trials)


def _of_model(folder: Path) -> Iterator[tuple[str, Path, Callable[[], Any]]]:
    yield "models", folder / RECORD, partial(_read_record, folder)
    if (weights := folder / WEIGHTS).is_file():
        yield "weights", weights, partial(read_weights, weights, folder.name)
    if (scores := folder / "val_scores.parquet").is_file():
        yield "val scores", scores, partial(read_scores, scores, folder.name)


def _read_record(folder: Path) -> None:
    if (key := read_trained(folder).key) != folder.name:
        raise StoreError(f"'{folder / RECORD}' is of {key}, another detector")


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a study that stays, by its path below the folder, sorted.

    Raises StoreError where a file cannot be read.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        passing = inside.parts[0] in PASSING or inside.parts[0].endswith(".part")
        if path.is_file() and not passing and str(inside) not in LOGS:
            try:
                found[inside.as_posix()] = file_sha256(path)
            except OSError as error:
                raise unreadable(path, error) from None
    return dict(sorted(found.items()))


def root_of(files: Mapping[str, str]) -> str:
    """Return the root digest of a list of files."""
    lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(store: Store, files: Mapping[str, str]) -> Path:
    """Write `manifest.json` into a study's folder; return its path."""
    path = store.folder / NAME
    store.save_json(path, {"study": store.folder.name, "root": root_of(files), "files": {**files}})
    return path


def read_manifest(path: Path) -> dict[str, str]:
    """Return the digests of a manifest by path. Raises StoreError where it cannot be read, is no
    manifest, or its root is not that of its files.
    """
    if not path.is_file():
        raise StoreError(f"there is no manifest '{path}'; write one: python -m study.verify STUDY")
    table = read_json(path, "get it anew from where it was published")
    check_schema(str(table["schema"]), path)
    files = table.get("files")
    if not isinstance(files, dict) or table.get("root") != root_of(files):
        raise StoreError(f"'{path}' is no manifest: its root digest is not that of its files")
    return files


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (file, what is wrong with it) of every file that is not as a manifest has it."""
    wrong = [(path, "missing") for path in expected if path not in found]
    wrong += [(p, "changed") for p, d in expected.items() if found.get(p, d) != d]
    return sorted(wrong + [(path, "not in the manifest") for path in found if path not in expected])

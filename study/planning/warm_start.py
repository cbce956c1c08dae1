"""Warm start: the best configurations of an older study, or of another pairing, are tried right
after the default one.

They are trials like any other: they count in the budget, which stays the same for all
pairings; their origin is recorded. What they are is settled when a study is begun and kept in its
store, so that it does not change while the older study grows.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.core.errors import ConfigError, StoreError
from study.core.paths import given_path
from study.core.records import Pairing, Params, Trial, TrialResult
from study.planning.selection import rank
from study.planning.study import Study
from study.search.spaces import Space
from study.store.store import SCHEMA, Store, check_schema

FILE = "warm_start.json"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A configuration found elsewhere. origin: `warm start: <study>/<pairing> trial <n>`."""

    params: Params
    origin: str


Starts = Mapping[Pairing, tuple[Start, ...]]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """An older study, or one pairing of it."""

    store: Store
    pairing: str  # its name, or "" for all


def settled_sources(study: Study, store: Store) -> tuple[str, ...]:
    """Return where a study's warm start comes from: what the study says, which must be what its
    store was begun with, if anything.

    Raises ConfigError where the store was begun otherwise: what it holds was proposed under other
    rules.
    """
    said, begun = study.search.warm_start, _begun(store)
    if begun is None:
        if said and store.trials_file.exists():
            raise ConfigError(
                f"the study in '{store.folder}' was begun without a warm start; give this one"
                " another name (--set name=...)"
            )
        return said
    if said and said != begun:
        raise ConfigError(
            f"the study in '{store.folder}' was begun with warm_start = {list(begun)}, not"
            f" {list(said)}; leave --warm-start away to go on with it, or give this one another"
            " name (--set name=...)"
        )
    return begun


def find_starts(study: Study, spaces: Mapping[str, Space], store: Store) -> Starts:
    """Return what each pairing tries after its default: from the store where it was settled there,
    else from the sources.

    study: with its sources settled. At most one generation less the default, and never more than
    the budget has room for. Raises ConfigError for a source that does not exist or has nothing for
    any pairing of this study, and for a budget of one trial.
    """
    if not study.search.warm_start:
        return {}
    kept = _read(store)
    missing = [pairing for pairing in study.searched() if pairing.name not in kept]
    sources = [_source(text, store.results) for text in study.search.warm_start] if missing else []
    room = min(max(1, study.budget.generation - 1), study.budget.trials - 1)
    if missing and room < 1:
        raise ConfigError(
            "budget.trials = 1 has room for the default configuration only: raise it, or leave"
            " warm_start away"
        )
    found = {
        pairing: tuple(_best(pairing, spaces[pairing.detector], sources, own=store, room=room))
        for pairing in missing
    }
    for text, source in zip(study.search.warm_start, sources, strict=False):
        if not kept and not any(
            any(_ranked(p, spaces[p.detector], source, store)) for p in missing
        ):
            raise ConfigError(
                f"warm_start: '{text}' has no finished trial that fits a pairing of this study"
                f" (detectors {', '.join(dict.fromkeys(p.detector for p in missing))}); its"
                f" pairings: {', '.join(_pairings(source)) or 'none'}"
            )
    return {
        pairing: kept.get(pairing.name) or found.get(pairing, ()) for pairing in study.searched()
    }


def save_starts(starts: Starts, study: Study, store: Store) -> None:
    """Settle them in the store."""
    if not study.search.warm_start:
        return
    pairings = {pairing.name: [vars(start) for start in found] for pairing, found in starts.items()}
    kept = {
        name: [vars(start) for start in found]
        for name, found in _read(store).items()
        if name not in pairings
    }
    table = {
        "schema": SCHEMA,
        "sources": list(study.search.warm_start),
        "pairings": kept | pairings,
    }
    store.save_text(store.folder / FILE, json.dumps(table, indent=2) + "\n")


def _table(store: Store) -> dict[str, object] | None:
    path = store.folder / FILE
    if not path.is_file():
        return None
    try:
        table: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StoreError(
            f"'{path}' cannot be read ({error}): the study's warm start is lost; give it another"
            " name"
        ) from None
    check_schema(str(table.get("schema", "")), path)
    return table


def _begun(store: Store) -> tuple[str, ...] | None:
    table = _table(store)
    return None if table is None else tuple(table["sources"])  # type: ignore[arg-type]


def _read(store: Store) -> dict[str, tuple[Start, ...]]:
    table = _table(store)
    pairings: dict[str, list[dict[str, object]]] = table["pairings"] if table else {}  # type: ignore[assignment]
    return {name: tuple(Start(**start) for start in found) for name, found in pairings.items()}  # type: ignore[arg-type]


def _source(text: str, results: Path) -> _Source:
    """Find `STUDY` or `STUDY/DETECTOR @ SET`; STUDY is a name below the results, or the folder of a
    store.
    """
    studies = [(text, "")]
    if " @ " in text:
        parts = text.split("/")
        studies = [("/".join(parts[:n]), "/".join(parts[n:])) for n in range(len(parts) - 1, 0, -1)]
    for name, pairing in studies:
        for folder in (given_path(name).absolute(), results / name):
            store = Store(folder.parent, folder.name)
            if store.trials_file.is_file():
                return _Source(store=store, pairing=pairing)
    here = sorted(path.parent.name for path in results.glob("*/trials.parquet"))
    raise ConfigError(
        f"warm_start: no study with trials at '{studies[0][0]}'; give the name of one in"
        f" '{results}' ({', '.join(here) or 'none yet'}), the path of a study's results folder, or"
        " one of these and '/DETECTOR @ TRAINING SET'"
    )


def _pairings(source: _Source) -> list[str]:
    return sorted({trial.pairing.name for trial, _ in source.store.trials()})


def _best(
    pairing: Pairing, space: Space, sources: Sequence[_Source], *, own: Store, room: int
) -> Iterator[Start]:
    """Give the best configurations that the space holds: the best of each source's pairings, then
    the second of each, and so on.
    """
    lists = [ranked for source in sources for ranked in _ranked(pairing, space, source, own)]
    given = [space.searched(space.default())]
    for start in (
        start for starts in itertools.zip_longest(*lists) for start in starts if start is not None
    ):
        if len(given) > room:
            return
        if space.searched(start.params) not in given:
            given.append(space.searched(start.params))
            yield start


def _ranked(pairing: Pairing, space: Space, source: _Source, own: Store) -> list[list[Start]]:
    """What the space holds of the source's finished trials, best first, by training set; the
    pairing's own before the others.
    """
    store = source.store
    is_own = store.folder.resolve() == own.folder.resolve()
    by_pairing: dict[Pairing, list[tuple[Trial, TrialResult]]] = {}
    for trial, result in store.trials():
        wanted = (
            source.pairing in ("", trial.pairing.name)
            and trial.pairing.detector == pairing.detector
        )
        if (
            wanted
            and result.state == "done"
            and math.isfinite(result.val_auc)
            and not (is_own and trial.pairing == pairing)
        ):
            by_pairing.setdefault(trial.pairing, []).append((trial, result))
    lists = []
    for other in sorted(by_pairing, key=lambda other: (other != pairing, other)):
        best = sorted(by_pairing[other], key=lambda pair: rank(pair[1], pair[0].number))
        adopted = [(trial.number, space.adopt(trial.params)) for trial, _ in best]
        origin = f"warm start: {store.folder.name}/{other.name} trial"
        lists.append(
            [
                Start(params=params, origin=f"{origin} {number}")
                for number, params in adopted
                if params is not None
            ]
        )
    return lists

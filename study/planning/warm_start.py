"""Warm start: the best configurations of an older study, or of another pairing, are tried right
after the default one.

They are trials like any other: they count in the budget, which stays the same for all
pairings; their origin is recorded. What they are is settled when a study is begun and kept in its
store, so that it does not change while the older study grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.core.errors import ConfigError
from study.core.paths import given_path
from study.core.records import Pairing, Params
from study.planning.selection import Trials, is_candidate, rank
from study.planning.study import Study
from study.search.spaces import Space
from study.store.files import read_json
from study.store.store import Store

FILE = "warm_start.json"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A configuration found elsewhere. origin: `warm start: <study>/<pairing> trial <n>`."""

    params: Params
    origin: str


Starts = Mapping[Pairing, tuple[Start, ...]]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """An older study, or one pairing of it. pairing: its name, or "" for all. is_own: whether it is
    the study that is started.
    """

    study: str
    pairing: str
    trials: Trials
    is_own: bool

    def starts(self, pairing: Pairing, space: Space) -> list[list[Start]]:
        """Return what the space holds of the finished trials, best first, by training set; the
        pairing's own before the others.
        """
        by_pairing: dict[Pairing, list[tuple[tuple[float, float, int], Params]]] = {}
        for trial, result in self.trials:
            other = trial.pairing
            if (
                is_candidate(result)
                and other.detector == pairing.detector
                and self.pairing in ("", other.name)
                and not (self.is_own and other == pairing)
            ):
                ranked = by_pairing.setdefault(other, [])
                ranked.append((rank(result, trial.number), trial.params))
        lists = []
        for other in sorted(by_pairing, key=lambda other: (other != pairing, other)):
            origin = f"warm start: {self.study}/{other.name} trial"
            best = sorted(by_pairing[other], key=lambda pair: pair[0])
            adopted = [(number, space.adopt(params)) for (_, _, number), params in best]
            lists.append(
                [
                    Start(params=params, origin=f"{origin} {number}")
                    for number, params in adopted
                    if params is not None
                ]
            )
        return lists


def settled_sources(study: Study, store: Store) -> tuple[str, ...]:
    """Return where a study's warm start comes from: what the study says, which must be what its
    store was begun with, if anything.

    Raises ConfigError where the store was begun otherwise: what it holds was proposed under other
    rules.
    """
    said, table = study.search.warm_start, _table(store)
    if table is None:
        if said and store.has_trials():
            raise ConfigError(
                f"the study in '{store.folder}' was begun without a warm start; give this one"
                " another name (--set name=...)"
            )
        return said
    begun = tuple(table["sources"])
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
    kept = _kept(store)
    missing = [pairing for pairing in study.searched() if pairing.name not in kept]
    room = min(max(1, study.budget.generation - 1), study.budget.trials - 1)
    if missing and room < 1:
        raise ConfigError(
            "budget.trials = 1 has room for the default configuration only: raise it, or leave"
            " warm_start away"
        )
    found: dict[Pairing, list[list[Start]]] = {pairing: [] for pairing in missing}
    for text in study.search.warm_start if missing else ():
        source = _source(text, store)
        of_source = {p: source.starts(p, spaces[p.detector]) for p in missing}
        if not kept and not any(any(lists) for lists in of_source.values()):
            there = sorted({trial.pairing.name for trial, _ in source.trials})
            raise ConfigError(
                f"warm_start: '{text}' has no finished trial that fits a pairing of this study"
                f" (detectors {', '.join(dict.fromkeys(p.detector for p in missing))}); its"
                f" pairings: {', '.join(there) or 'none'}"
            )
        for pairing, lists in of_source.items():
            found[pairing] += lists
    return {
        pairing: kept[pairing.name]
        if pairing.name in kept
        else _best(found[pairing], spaces[pairing.detector], room)
        for pairing in study.searched()
    }


def _best(lists: Sequence[Sequence[Start]], space: Space, room: int) -> tuple[Start, ...]:
    """The first `room` configurations that differ: the best of each list, then the second of each,
    and so on.
    """
    tried, best = [space.searched(space.default())], []
    for start in itertools.chain.from_iterable(itertools.zip_longest(*lists)):
        if start is not None and space.searched(start.params) not in tried:
            tried.append(space.searched(start.params))
            best.append(start)
    return tuple(best[:room])


def save_starts(starts: Starts, study: Study, store: Store) -> None:
    """Settle them in the store."""
    if not study.search.warm_start:
        return
    found = _kept(store) | {pairing.name: settled for pairing, settled in starts.items()}
    table = {"sources": study.search.warm_start, "pairings": found}
    store.save_json(store.folder / FILE, table)


def _kept(store: Store) -> dict[str, tuple[Start, ...]]:
    """What was settled when the study was begun, by the name of the pairing."""
    pairings = (_table(store) or {}).get("pairings", {})
    return {name: tuple(Start(**start) for start in found) for name, found in pairings.items()}


def _table(store: Store) -> dict[str, Any] | None:
    path = store.folder / FILE
    instead = "the study's warm start is lost: give it another name (--set name=...)"
    return read_json(path, instead) if path.is_file() else None


def _source(text: str, own: Store) -> _Source:
    """Find `STUDY` or `STUDY/DETECTOR @ SET`; STUDY is a name below the results, or the folder of a
    store.
    """
    studies, results = [(text, "")], own.results
    if " @ " in text:
        parts = text.split("/")
        studies = [("/".join(parts[:n]), "/".join(parts[n:])) for n in range(len(parts) - 1, 0, -1)]
    for name, pairing in studies:
        for folder in (given_path(name).absolute(), results / name):
            store = Store(folder.parent, folder.name)
            if store.has_trials():
                is_own = folder.resolve() == own.folder.resolve()
                return _Source(
                    study=folder.name, pairing=pairing, trials=store.trials(), is_own=is_own
                )
    folders = sorted(results.glob("*/"))
    here = [path.name for path in folders if Store(results, path.name).has_trials()]
    raise ConfigError(
        f"warm_start: no study with trials at '{studies[0][0]}'; give the name of one in"
        f" '{results}' ({', '.join(here) or 'none yet'}), the path of a study's results folder, or"
        " one of these and '/DETECTOR @ TRAINING SET'"
    )

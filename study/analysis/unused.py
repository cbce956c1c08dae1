"""What a folder of results holds that nothing refers to: no study in it, and no code of today.

A study refers to what it would read if it were run again: the packs and features of its datasets,
its winners with their draws and probes, and the scores of its cells. Trials are never unused:
searches and warm starts go by them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.analysis.estimates import ESTIMATES
from study.analysis.external import external_cells
from study.analysis.leak_price import kept_epochs
from study.core.cache import inputs_of
from study.core.identity import digest, is_running, this_machine
from study.core.records import Pairing
from study.data.audit.dataset import AUDITS
from study.data.audit.traits import TRAITS
from study.data.audit.transfer import LOGITS
from study.data.face_regions import FACES
from study.data.file_index import INDEX
from study.data.images.packs import PACKS
from study.data.layouts.frames import VIDEOS
from study.data.leaks.find import LEAKS
from study.data.leaks.prints import PRINTS
from study.jobs.ensemble import EnsembleJob
from study.jobs.trial import RATES
from study.planning.cells import plan_cells
from study.planning.cost import packs_of
from study.planning.open_study import OpenStudy
from study.planning.repeats import repeats_of
from study.planning.searches import replay
from study.planning.selection import SearchHistory
from study.planning.variants import draw_cells, variant_cells, variants
from study.search.remembered import PROPOSALS
from study.store.store import Store

KINDS = ("cache", "damaged", "leftovers", "results")
# kinds of entries that one piece of code makes, whatever the study
CACHES = (
    *(PACKS, RATES, PROPOSALS, AUDITS, LEAKS, ESTIMATES, LOGITS),
    *(VIDEOS.cache, TRAITS.cache, PRINTS.cache, FACES.cache, INDEX.cache),
)
# copies of datasets: to fetch or unpack one again may take a day
DATA = ("remote", "unpacked")
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, kw_only=True)
class Unused:
    """A file or folder. kind: one of `KINDS`. what: it is, in a few words. n_bytes: of all files in
    it.
    """

    kind: str
    path: Path
    what: str
    n_bytes: int

    def remove(self) -> None:
        """Delete it. Raises OSError; what is gone already does no harm."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


def unused(
    results: Path, studies: Sequence[OpenStudy], *, unknown: Collection[str] = ()
) -> list[Unused]:
    """Return what is not used, in the order of `KINDS`.

    studies: those whose folders are there, and any others that are to keep what they use. unknown:
    the names of studies that cannot be opened. What these use nobody knows, so their results, and
    packs and features of anybody, are not listed.
    """
    cache = results / "cache"
    found: list[Unused] = []
    if not studies and not unknown:
        kinds = (path for path in sorted(cache.glob("*/")) if path.name not in DATA)
        found += [_unused("cache", path, "there is no study") for path in kinds]
    else:
        found += _of_other_code(cache)
        if not unknown:
            found += _of_no_study(cache, [one for each in studies for one in repeats_of(each)])
    found += _set_aside(results)
    found += _left(results)
    for name in sorted({opened.study.name for opened in studies} - {*unknown}):
        found += _old_results([one for one in studies if one.study.name == name])
    return found


def _of_other_code(cache: Path) -> Iterator[Unused]:
    for kind in CACHES:
        for folder in kind.of_other_code(cache):
            yield _unused("cache", folder, f"{kind.kind}, made by another version")


def _of_no_study(cache: Path, studies: Sequence[OpenStudy]) -> Iterator[Unused]:
    """Packs and features of data that no study has."""
    keys = {key for one in studies for key in _pack_keys(one)}
    paths = {PACKS.path(cache, digest(key)) for key in keys}
    today = PACKS.path(cache, "")
    for folder in sorted(today.glob("[!.]*/")):
        if folder not in paths:
            yield _unused("cache", folder, "pack, of no study")
    for folder in sorted((cache / "features").glob("*/[!.]*/")):
        inputs = inputs_of(folder)  # body, layer, pack, ...
        if inputs is None or inputs[2] not in keys:
            yield _unused("cache", folder, "features, of no study")


def _pack_keys(opened: OpenStudy) -> Iterator[str]:
    catalog = opened.workspace.catalog
    for dataset in opened.study.datasets():
        for split, geometry in packs_of(opened.study, opened.keys.specs, dataset):
            yield catalog.pack_key(dataset, split, geometry)


def _set_aside(results: Path) -> Iterator[Unused]:
    for path in sorted([*results.glob("*/damaged/*"), *results.glob("*.damaged-*")]):
        yield _unused("damaged", path, "set aside when it was read")


def _left(results: Path) -> Iterator[Unused]:
    """What killed processes have left. Fits under way are none of it: they go on."""
    for path in sorted(results.rglob(".*.tmp")):
        found = _TEMPORARY.fullmatch(path.name)
        if found and found[1] == this_machine() and not is_running(int(found[2])):
            yield _unused("leftovers", path, "half written")
    for folder in sorted(path for path in results.glob("*/ray") if path.is_dir()):
        yield _unused("leftovers", folder, "files of a cluster that is gone")
    for study in sorted(path.parent for path in results.glob("*/study.toml")):
        store = Store(results, study.name)
        ended = {trial.key for trial, result in store.trials() if result.state != "failed"}
        for path in sorted(store.folder.glob("checkpoints/*.pt")):
            if path.stem in ended or store.has_model(path.stem):
                yield _unused("leftovers", path, "checkpoint of a fit that has ended")
        for path in sorted(store.folder.glob("parts/*/")):
            if store.has_scores(path.name):
                yield _unused("leftovers", path, "parts of a cell that is whole")
        for path in sorted(store.folder.glob("epochs/*.part/")):
            if store.epochs_folder(path.name.removesuffix(".part")).is_dir():
                yield _unused("leftovers", path, "epochs of a fit that has ended")


def _old_results(studies: Sequence[OpenStudy]) -> Iterator[Unused]:
    """Models, draws and scores in one folder that none of its studies has. While a search has not
    ended nobody knows which of them it will select.
    """
    used: set[str] = set()
    for one in (repeat for opened in studies for repeat in repeats_of(opened)):
        history = replay(one)
        if not all(searched.complete for searched in history.values()):
            return
        used |= _keys(one, history)
    folder = studies[0].store.folder
    for name in ("models", "epochs", "scores", "draws", "draw_scores", "probes"):
        for path in sorted(folder.glob(f"{name}/[!.]*")):
            if path.name.partition(".")[0] not in used:
                yield _unused("results", path, f"{name.replace('_', ' ')}, of other settings")


def _keys(one: OpenStudy, history: Mapping[Pairing, SearchHistory]) -> set[str]:
    """The keys of all that a study has trained and scored, or would."""
    jobs, tried = one.jobs, variants(one.jobs, history)
    cells = plan_cells(one, history)
    cells += [cell for _, mine in variant_cells(jobs, tried) for cell in mine]
    fits = [job for variant in tried for job in variant.jobs]
    fits += [jobs.untrained(pairing) for pairing in one.study.untrained()]
    used = {planned.job.key for planned in cells if isinstance(planned.job, EnsembleJob)}
    for pairing, searched in history.items():
        fits += jobs.winners(pairing, searched)
        used |= {job.trial.key for job in jobs.draws(pairing, searched)}
        used |= {job.trial.key for job in [jobs.probe(pairing)] if job is not None}
    used |= {job.trial.key for job in fits}
    used |= {planned.cell.scores_key for planned in (*cells, *external_cells(one))}
    used |= {key for kept in kept_epochs(one, cells) for key in kept.keys.values()}
    return used | {job.scores_key for job in draw_cells(jobs, history)}


def _unused(kind: str, path: Path, what: str) -> Unused:
    return Unused(kind=kind, path=path, what=what, n_bytes=_size(path))


def _size(path: Path) -> int:
    """The bytes of a file, or of all files of a folder; 0 where it is gone meanwhile."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size if path.exists() else 0
    with os.scandir(path) as entries:
        return sum(_size(path / entry.name) for entry in entries)

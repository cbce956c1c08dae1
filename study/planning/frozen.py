"""A frozen plan: what a study was going to do, written down before it was done.

`study.plan --freeze` writes `frozen.json` beside the results: the study file with every default,
the identity of every dataset's lists, the hypotheses that the answer will test, and one digest of
them all. Publish the digest, and anybody can check that the study was not changed afterwards. The
answer says whether the run matches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import pyarrow.compute as pc

from study.core.errors import StoreError
from study.core.identity import canonical_json, digest
from study.core.records import Split
from study.data.catalog import Catalog
from study.planning.cells import plan_cells
from study.planning.open_study import OpenStudy
from study.planning.searches import replay
from study.store.files import read_json

LISTED: tuple[Split, ...] = ("train", "val", "test")
# keys of the machine: no result depends on them
FREE = ("data.root", "data.manifests", "run.gpus_per_trial", "weights_root")
# keys that came later: left out where they change nothing, so that digests of older plans hold
WORDS = ("classifier without pixels", "shortcut baseline")  # as older plans say it, and today's
LATER = {"data.faces": "none", "data.folds": 1, "budget.searches": 1}


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A plan. study: every key of the study file, dotted. lists: dataset -> the identity of its
    images, labels, groups and splits. when: UTC. scored: cells that had scores by then.
    """

    study: Mapping[str, Any]
    lists: Mapping[str, str]
    hypotheses: Sequence[str]
    when: str
    scored: int

    @property
    def digest(self) -> str:
        """What to publish."""
        return digest("frozen plan", self.study, self.lists, self.hypotheses)


FIELDS = tuple(field.name for field in fields(Frozen))


def freeze(opened: OpenStudy) -> tuple[Frozen, bool]:
    """Write the plan of a study that was opened without the firewall; return it, and whether it is
    new. The same plan is not written again.

    Raises StoreError where another plan was frozen before.
    """
    file, held, now = opened.store.frozen_file, read_frozen(opened), _plan(opened)
    if held is None:
        opened.store.save_json(file, {"digest": now.digest, **asdict(now)})
        return now, True
    if changed := _changed(held, now):
        raise StoreError(
            f"another plan of this study was frozen on {held.when[:10]} in '{file}', and these"
            f" differ: {'; '.join(changed)}. Give the new plan another name (--set name=...), or"
            " delete that file"
        )
    return held, False


def read_frozen(opened: OpenStudy) -> Frozen | None:
    """Return the frozen plan of a study, None where there is none. Raises StoreError for a file
    that was changed.
    """
    file = opened.store.frozen_file
    if not file.is_file():
        return None
    table = read_json(file, "bring back the file as it was written")
    return Frozen(**{key: value for key, value in table.items() if key in FIELDS})


def frozen_line(opened: OpenStudy) -> str:
    """Return whether a run matches its frozen plan, for the answer; "" where none was frozen."""
    held = read_frozen(opened)
    if held is None:
        return ""
    late = f", after {held.scored} cells had been scored" if held.scored else ""
    name = f"the plan frozen on {held.when[:10]}{late} (digest {held.digest})"
    if changed := _changed(held, _plan(opened)):
        return f"this run does not match {name}: {'; '.join(changed)}"
    return f"this run matches {name}"


def _plan(opened: OpenStudy) -> Frozen:
    """The plan of a study as it is now."""
    study, catalog = opened.study, opened.workspace.catalog
    scored = sum(one.cell.state == "done" for one in plan_cells(opened, replay(opened)))
    # as JSON has it, so that a plan that was read equals one that was made
    plain = json.loads(canonical_json(study))
    return Frozen(
        study={
            key: value
            for key, value in _flat(plain).items()
            if not key.startswith(FREE) and LATER.get(key) != value
        },
        lists={name: catalog.key(name, _held(catalog, name)) for name in sorted(study.datasets())},
        hypotheses=_hypotheses(opened),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        scored=scored,
    )


def _held(catalog: Catalog, name: str) -> list[Split]:
    """The splits that a dataset has; one that is tested whole has one."""
    split = catalog.dataset(name).samples["split"]
    return [one for one in LISTED if pc.any(pc.equal(split, one)).as_py()]


def _hypotheses(opened: OpenStudy) -> list[str]:
    """What the answer tests, in words; the tests are those of docs/protocol.md, section 5."""
    names = opened.study.detectors
    return [
        *(
            f"{name} generalises: its mean AUC over the cross-domain cells is more than chance and"
            " than each shortcut baseline"
            for name in names
        ),
        *(f"{a} and {b} differ in that mean" for a, b in combinations(names, 2)),
    ]


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The keys of a study, dotted."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inside = isinstance(value, dict)
        found |= _flat(value, f"{above}{key}.") if inside else {f"{above}{key}": value}
    return found


def _changed(held: Frozen, now: Frozen) -> list[str]:
    """What differs between two plans, in words."""
    tests = [line.replace(*WORDS) for line in held.hypotheses]
    return [
        *(
            f"{key} was {held.study.get(key)!r} and is {now.study.get(key)!r}"
            for key in _differing(held.study, now.study)
        ),
        *(f"the images of {name} changed" for name in _differing(held.lists, now.lists)),
        *(["the hypotheses changed"] if tests != now.hypotheses else []),
    ]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]

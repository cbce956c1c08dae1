"""Detectors against controls: in each cell, is a detector better than a classifier of the files, of
borders, of what processing left, and than a frozen general-purpose network with a linear head?

Controls are trained on X and scored on Y as the detectors are. A probe is a detector of the study:
a pretrained network that is not trained, below a linear head (study/planning/keys.py). The error
is that of one model: of test images, of the training sample and of seeds, as far as halves and
seeds of the two sides tell; a classifier of the audit is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.analysis.score_set import Aligned, ScoreSet
from study.analysis.single_models import Column, SingleModels, halves_of, single_models
from study.analysis.weighted_sums import Term, WeightedSum, alone
from study.core.records import NO_DEGRADATION, NO_TRAINING, Cell, Pairing, is_given
from study.data.audit.transfer import Logits, control_logits
from study.jobs.workspace import open_catalog
from study.planning.cells import PlannedCell
from study.planning.open_study import OpenStudy
from study.statistics.comparisons import holm


@dataclass(frozen=True, kw_only=True)
class ControlRow:
    """A detector less a control in one cell: a line of controls.csv.

    auc: of the detector, mean over seeds; control_auc: of the control, of a probe mean over seeds.
    difference, low, high, p: of the two, on the same images. p_holm: over all detectors and cells
    of the control. counted: whether the training sample is in the error; where not, nothing is
    claimed. reason: why there is no difference.
    """

    detector: str
    train_on: str
    test_on: str
    control: str
    auc: float
    control_auc: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = math.nan
    counted: bool
    n_real: int
    n_fake: int
    reason: str = ""


def control_comparisons(
    setup: OpenStudy, scores: ScoreSet, cells: Sequence[PlannedCell]
) -> tuple[ControlRow, ...]:
    """Return every trained detector against every control, clean cell by clean cell; nothing of a
    study whose labels are shuffled.
    """
    if setup.study.data.shuffle_labels:
        return ()
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    places: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for planned in cells:
        cell = planned.cell
        trained = cell.pairing.train_on in setup.study.train_on
        if trained and cell.state == "done" and cell.degradation == NO_DEGRADATION:
            of = places.setdefault((cell.pairing.train_on, cell.test_on), {})
            of.setdefault(cell.pairing.detector, []).append(cell)
    probes = frozen_probes(setup, cells)
    tested: dict[str, list[str]] = {}
    for x, y in places:
        tested.setdefault(x, []).append(y)
    known = {x: control_logits(catalog, x, of_x) for x, of_x in tested.items()}
    rows = [
        row
        for (x, y), detectors in places.items()
        for row in _of_place(known[x][y], scores, x, y, detectors, probes)
    ]
    return _with_holm(rows)


def frozen_probes(setup: OpenStudy, cells: Sequence[PlannedCell]) -> tuple[str, ...]:
    """Return the detectors that are a frozen pretrained network below a linear head, in all of
    their winners.
    """
    winners: dict[str, set[bool]] = {}
    for planned in cells:
        name = planned.cell.pairing.detector
        spec, winner = setup.keys.specs.get(name), planned.winner
        if spec is not None and winner is not None and spec.pretrained:
            pairing, params = planned.cell.pairing, winner.trial.params
            is_probe = not is_given(pairing.train_on) and setup.keys.trains_heads(pairing, params)
            winners.setdefault(name, set()).add(is_probe)
    return tuple(name for name, found in winners.items() if found == {True})


def _of_place(
    known: Logits,
    scores: ScoreSet,
    x: str,
    y: str,
    detectors: Mapping[str, Sequence[Cell]],
    probes: Sequence[str],
) -> Iterator[ControlRow]:
    """Every detector against every control in one place, on the images that all have. known: what
    the classifiers of the audit say there.
    """
    held = scores.aligned(cell.scores_key for cells in detectors.values() for cell in cells)
    ids = held.sample_id
    for of, _ in known.values():
        ids = np.intersect1d(ids, of)
    if not len(ids):
        return
    places = np.searchsorted(held.sample_id, ids)
    added = [logit[np.searchsorted(of, ids)] for of, logit in known.values()]
    images = Aligned(
        sample_id=ids,
        group=held.group[places],
        label=held.label[places],
        logits=np.concatenate([held.logits[:, places], np.stack(added)]),
    )
    rows = iter(range(len(images.logits)))
    models: dict[Hashable, SingleModels] = {}
    for cells in detectors.values():
        pairing, of_seed = cells[0].pairing, {cell.winner_seed: next(rows) for cell in cells}
        halves = halves_of(scores, pairing, y, images)
        models[pairing] = single_models(images, of_seed, pairing, halves=halves)
    for name in known:  # taken as it is: no halves, and no seeds
        given = Pairing(detector=name, train_on=NO_TRAINING)
        models[given] = single_models(images, {0: next(rows)}, given, halves=None)
    own = Column(test_on=y, images=images, models=models, rng_seed=scores.rng_seed(y))
    for detector in detectors:
        for control in (*known, *(name for name in probes if name in detectors)):
            if detector != control:
                yield _row(own, detector, control, x)


def _row(own: Column, detector: str, control: str, x: str) -> ControlRow:
    one, other = own.find(detector, x), own.find(control, x)
    assert one is not None and other is not None, "both are models of the column"
    terms = tuple(
        Term(test_on=own.test_on, models=models, weight=weight)
        for models, weight in ((one, 1.0), (other, -1.0))
    )
    found = WeightedSum(terms=terms, families=alone(own)).finding()
    return ControlRow(
        detector=detector,
        train_on=x,
        test_on=own.test_on,
        control=control,
        auc=one.auc,
        control_auc=other.auc,
        difference=found.value,
        low=found.low,
        high=found.high,
        p=found.p,
        counted=found.counted,
        n_real=int((own.label == 0).sum()),
        n_fake=int((own.label == 1).sum()),
        reason=found.reason,
    )


def _with_holm(rows: Sequence[ControlRow]) -> tuple[ControlRow, ...]:
    """The rows with p after Holm's step, over those of each control."""
    adjusted: dict[int, float] = {}
    for control in dict.fromkeys(row.control for row in rows):
        mine = [i for i, row in enumerate(rows) if row.control == control and row.p == row.p]
        if mine:
            steps = holm([rows[i].p for i in mine])
            adjusted.update(zip(mine, map(float, steps), strict=True))
    return tuple(replace(row, p_holm=adjusted.get(i, math.nan)) for i, row in enumerate(rows))

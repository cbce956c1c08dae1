"""How long training and scoring will take, so that what is small is done without a cluster.

By what was measured before: the seconds of trials, and of the features that the cache has. Where
nothing like it was measured the answer is infinity. Estimates are rather too long than too short.
What this process does on all cores, as a cluster would, does not count: a trained network that lets
threads look side by side (`Detector.side_by_side`) at a test set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from study.core.parallel import cpu_count
from study.core.records import (
    NO_DEGRADATION,
    DetectorSpec,
    Geometry,
    Pairing,
    Params,
    Split,
    TrainedDetector,
    Trial,
)
from study.data.names import split_union
from study.detectors import registry
from study.detectors.geometries import crops_of
from study.jobs.cell import CellJob
from study.jobs.degraded import DegradedJob
from study.jobs.draws import DrawCellJob, DrawsJob
from study.jobs.probe import STRENGTHS, ProbeJob
from study.jobs.winner import WinnerJob
from study.jobs.workspace import TRAINED_ON, frozen_body, frozen_by, runtime_of
from study.planning.jobs import Jobs
from study.planning.selection import SearchHistory, Trials

JOB_SECONDS = 0.3  # to build a network, or to read one; and to write what came of it
SMALL_JOB_SECONDS = 0.1  # the same of one from scratch
SIDES = 8  # threads; more of them wait for Python
HEAD_SECONDS = 0.05  # to read a head, and to write what it makes of kept features
LOGISTIC_SECONDS = 0.5  # a logistic regression on kept features, where none was timed
DECODE_SECONDS = 0.02  # to decode an image, or to degrade it
Winners = Sequence[tuple[CellJob, TrainedDetector]]


class Estimates:
    """Estimates of a study's jobs. history: its trials, by pairing."""

    def __init__(self, jobs: Jobs, history: Mapping[Pairing, SearchHistory]) -> None:
        self._jobs, self._history = jobs, history
        self._catalog = jobs.workspace.catalog
        self._side_by_side: dict[str, bool] = {}  # by detector

    def training(self, todo: Iterable[WinnerJob | DrawsJob | ProbeJob]) -> float:
        """Return the seconds of winners, draws and probes, one after the other."""
        return sum(self._of_fit(job) for job in todo)

    def scoring(
        self, cells: Winners, drawn: Sequence[DrawCellJob], degraded: Sequence[DegradedJob]
    ) -> float:
        """Return the seconds of scoring, one after the other. Images and features that cells share
        are counted once. cells: clean and degraded ones. degraded: the jobs that do the latter.
        """
        winners = {job.model: winner for job, winner in cells}
        ours: list[tuple[CellJob | DrawCellJob, DetectorSpec, Trial]]
        ours = [(j, w.spec, w.trial) for j, w in cells if j.degradation == NO_DEGRADATION]
        ours += [(job, job.of.spec, job.of.trial) for job in drawn]
        stretches = sum(self._of_degraded(job, winners) for job in degraded)
        return self._of_clean(ours) + stretches

    def _of_clean(
        self, cells: Sequence[tuple[CellJob | DrawCellJob, DetectorSpec, Trial]]
    ) -> float:
        looks: dict[tuple[str, str, Geometry], float] = {}  # by body and images
        seconds = 0.0
        for job, spec, trial in cells:
            kept = frozen_by(spec, trial.params)
            look = kept, job.test_on, spec.geometry
            seconds += HEAD_SECONDS if kept else self._of_reading(spec)
            if not kept:
                seconds += self._look(spec, trial.params, trial.pairing, job.test_on)
            elif look not in looks:
                found = self._look(spec, trial.params, trial.pairing, job.test_on)
                looks[look] = JOB_SECONDS + found if found else 0.0
            if not self._catalog.packed(job.test_on, "test", spec.geometry):
                images = self._images(job.test_on, "test")
                looks["", job.test_on, spec.geometry] = images * DECODE_SECONDS
        return seconds + sum(looks.values())

    def _of_fit(self, job: WinnerJob | DrawsJob | ProbeJob) -> float:
        pairing, trials = job.trial.pairing, self._history[job.trial.pairing].trials
        if isinstance(job, ProbeJob):
            fits = len(STRENGTHS) * LOGISTIC_SECONDS
            return JOB_SECONDS + fits + self._features(job.spec, pairing, TRAINED_ON)
        shares = [0.5 if draw.kind == "half" else 1.0 for draw in getattr(job, "draws", ())]
        return JOB_SECONDS + (sum(shares) or 1.0) * _fit_seconds(trials, job.trial.params)

    def _features(self, spec: DetectorSpec, pairing: Pairing, splits: Sequence[Split]) -> float:
        """Seconds of the features of a pairing's images that the cache lacks."""
        train_on = pairing.train_on
        return sum(
            self._missing(spec, name, split, pairing)
            for name in split_union(train_on)
            for split in splits
        )

    def _look(self, spec: DetectorSpec, params: Params, pairing: Pairing, test_on: str) -> float:
        """Seconds that a network takes to look at the images of a test set."""
        if frozen_by(spec, params):
            return self._missing(spec, test_on, "test", pairing)
        looks = self._images(test_on, "test") * crops_of(spec)
        seconds = looks * self._epoch_per_image(pairing)
        by_all = self._on_all_cores(spec) and math.isfinite(seconds)
        return 0.0 if by_all else seconds

    def _on_all_cores(self, spec: DetectorSpec) -> bool:
        """Tell whether this process' cores share the batches of a network."""
        workspace = self._jobs.workspace
        if runtime_of(workspace).device != "cpu" or cpu_count() // workspace.threads > SIDES:
            return False
        if spec.name not in self._side_by_side:
            self._side_by_side[spec.name] = registry.create(spec, 0).side_by_side
        return self._side_by_side[spec.name]

    def _of_reading(self, spec: DetectorSpec) -> float:
        """Seconds to read a trained network, and to write what comes of it."""
        return JOB_SECONDS if spec.pretrained or spec.backbone else SMALL_JOB_SECONDS

    def _missing(self, spec: DetectorSpec, name: str, split: Split, pairing: Pairing) -> float:
        """Seconds of the features of one split, none where the cache has them."""
        workspace, runtime = self._jobs.workspace, runtime_of(self._jobs.workspace)
        body = frozen_body(workspace, spec, partial(registry.create, spec, 0))
        if body is None:
            return self._images(name, split) * self._epoch_per_image(pairing)
        pack = self._catalog.pack_key(name, split, spec.geometry)
        if body.store.has(body, pack, runtime, flip=False):
            return 0.0
        each = body.store.seconds_per_image(body, self._packs(spec.geometry), runtime)
        if math.isnan(each):
            each = self._epoch_per_image(pairing)
        return self._images(name, split) * each

    def _packs(self, geometry: Geometry) -> list[str]:
        """The packs of the study's training images."""
        names, key = self._jobs.study.members(), self._catalog.pack_key
        return [key(name, split, geometry) for name in names for split in TRAINED_ON]

    def _epoch_per_image(self, pairing: Pairing) -> float:
        """Seconds that an epoch takes an image, at most: more than to look at it once. Epochs of a
        head alone see no image, and do not count.
        """
        history = self._history.get(pairing)
        if history is None or self._jobs.keys.specs[pairing.detector].learner != "gradient":
            return math.inf
        whole = [
            epoch.seconds
            for _, result in history.trials
            for epoch in result.history
            if epoch.phase != "head"
        ]
        return max(whole) / self._images(pairing.train_on, "train") if whole else math.inf

    def _of_degraded(self, job: DegradedJob, winners: Mapping[str, TrainedDetector]) -> float:
        """Seconds of a stretch: every image is decoded once, degraded in every way, and looked at
        by every body.
        """
        cells = job.missing()
        ways = {cell.degradation for cell in cells}
        bodies: dict[tuple[str, str], float] = {}
        for cell in cells:
            winner = winners[cell.model]
            spec, params = winner.spec, winner.trial.params
            each = self._per_image(spec, params, winner.trial.pairing)
            bodies[frozen_by(spec, params) or winner.key, cell.degradation] = each
        images = job.stop - job.start
        loaded = JOB_SECONDS * len({cell.model for cell in cells})
        return loaded + images * ((1 + len(ways)) * DECODE_SECONDS + sum(bodies.values()))

    def _per_image(self, spec: DetectorSpec, params: Params, pairing: Pairing) -> float:
        body = frozen_body(self._jobs.workspace, spec, partial(registry.create, spec, 0))
        if body is None or not frozen_by(spec, params):
            return crops_of(spec) * self._epoch_per_image(pairing)
        packs, runtime = self._packs(spec.geometry), runtime_of(self._jobs.workspace)
        each = body.store.seconds_per_image(body, packs, runtime)
        return self._epoch_per_image(pairing) if math.isnan(each) else each

    def _images(self, name: str, split: Split) -> int:
        return sum(self._catalog.describe(member).images(split) for member in split_union(name))


def _fit_seconds(trials: Trials, params: Params) -> float:
    """Seconds of a fit: of the trial with this configuration, else the longest; infinity where none
    was done.
    """
    done = [(trial, result) for trial, result in trials if result.state == "done"]
    own = [result.seconds for trial, result in done if trial.params == params]
    return max(own or [result.seconds for _, result in done], default=math.inf)

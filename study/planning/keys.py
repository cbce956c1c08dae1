"""Keys: what decides a result. What has the same key is the same, so the store finds a result again
by its key, and a restart does only what is missing.

A key is the digest (`study/core/identity.py`) of everything that may change the result, and of a
version that is raised when the code gives another one. Nothing else is in it: no path, no name of
the study, no number of slots. Keys of what is derived from a cell stand beside it: one epoch's
scores in `study/jobs/epochs.py`, scores made elsewhere in `study/analysis/external.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.core.identity import derive_seed, digest
from study.core.records import NO_DEGRADATION, DetectorSpec, Draw, Pairing, Params
from study.data.images.degradations import DEGRADATION_VERSION
from study.data.names import split_union
from study.detectors import registry
from study.detectors.entry import LAYERS
from study.jobs.workspace import frozen_precision
from study.planning.study import Study
from study.search.driver import PairingSearch
from study.training.recipe import AutoRecipe, Recipe

# Each is raised when a change of the code gives another result for the same inputs.
TRAINING_VERSION = 2  # of a fit
PROBE_VERSION = 1  # of the choice of a linear probe on a frozen body
HEAD_VERSION = 1  # of the fit of a linear head alone
RATE_VERSION = 1  # of the rate that a range test finds on kept features
SCORING_VERSION = 1  # of the scores of the same weights
# Of a fit whose frozen part is computed in batches of its own. In float32 a convolution may round
# otherwise in a shorter batch. In bfloat16 it gives the same bits.
BOUNDARY_VERSION = 1
ENSEMBLE_VERSION = 1  # of an ensemble of the same members
DRAWS_VERSION = 2  # of the draws of a training set, and of heads that are trained for all of them
STARTS_VERSION = 1  # of the starting weights of such heads by gradient


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of what a study trains. study: with its precision settled. specs: of the detectors
    that are built, by name. data: the content of train and val, by training set. epochs: of a fit
    at most, by training set. own_seed: of a repeat, the seed of the study itself: training sets are
    drawn by it, so that halves are of the same groups in all repeats.
    """

    study: Study
    specs: Mapping[str, DetectorSpec]
    data: Mapping[str, str]
    epochs: Mapping[str, int]
    own_seed: int | None = None

    @property
    def is_repeat(self) -> bool:
        """Whether they are of a repeat of a study, not of the study itself."""
        return self.own_seed is not None

    @property
    def draw_seed(self) -> int:
        """The seed by which training sets are drawn."""
        return self.study.seed if self.own_seed is None else self.own_seed

    def seed(self, number: int) -> int:
        """Return the seed of a fit. All trials of a study share one; each winner has its own.

        number: of the trial; below 0 it is winner seed `-1 - number`.
        """
        return derive_seed(self.study.seed, "trial" if number >= 0 else f"winner {-1 - number}")

    def trial(self, pairing: Pairing, number: int, params: Params) -> str:
        """Return the key of a trial, or of a winner. number: as in `seed`."""
        run, spec = self.study.run, self.specs[pairing.detector]
        recipe = Recipe.from_params(params, learner=spec.learner, where=pairing.name)
        return digest(
            "trial",
            TRAINING_VERSION,
            spec,
            registry.entry(spec.name).arguments,
            _train_data(pairing.train_on, self.data[pairing.train_on]),
            recipe,
            self.seed(number),
            self.epochs[pairing.train_on],
            run.threads,
            run.precision,
            run.workers_per_trial if number >= 0 else 1,
            *self._balance(pairing.train_on),
            *self._boundary(recipe),
            *_rate(spec, recipe),
            *self._head(pairing, params, run.workers_per_trial if number >= 0 else 1),
            *self._frozen(spec, params),
        )

    def trains_heads(self, pairing: Pairing, params: Params) -> bool:
        """Tell whether a configuration trains a linear head alone, on features that are kept."""
        is_random = not registry.body_key(self.specs[pairing.detector])
        return bool(self._head(pairing, params, 1)) and not is_random

    def draws(self, pairing: Pairing, params: Params, draws: Sequence[Draw]) -> tuple[str, int]:
        """Return the key of the models that a configuration becomes on draws of its training set,
        and the seed of their training. Each half has its own, so that what the seeds decide is in
        the difference of two halves.
        """
        first, alone = draws[0], self.trains_heads(pairing, params)
        parts = ["draws", first.kind, *([] if alone else [first.number, first.half])]
        seed = derive_seed(self.study.seed, *parts)
        of_winner = self.trial(pairing, -1, params)
        by_gradient = alone and self.specs[pairing.detector].learner == "gradient"
        starts = [f"starts {STARTS_VERSION}"] if by_gradient else []
        key = digest("draws", DRAWS_VERSION, of_winner, self.draw_seed, draws, seed, *starts)
        return key, seed

    def probe(self, pairing: Pairing, spec: DetectorSpec) -> str:
        """Return the key of the linear probe on a pairing's frozen body. spec: of the probe."""
        return digest(
            "probe",
            PROBE_VERSION,
            HEAD_VERSION,
            spec,
            registry.entry(spec.name).arguments,
            _train_data(pairing.train_on, self.data[pairing.train_on]),
            self.study.run.threads,
            *self._balance(pairing.train_on),
            *self._frozen(spec, {}),
        )

    def beside(
        self, pairing: Pairing, params: Params, proposed: Sequence[Params]
    ) -> tuple[Params, ...]:
        """Return those of the configurations proposed together that can be trained along with
        `params`: linear heads by gradient that draw the same images, and logistic regressions on
        the layers of a body that gives several.
        """
        spec, workers = self.specs[pairing.detector], self.study.run.workers_per_trial

        def draws(one: Params) -> tuple[object, ...] | None:
            if not self._head(pairing, one, workers):
                return None
            if spec.learner == "logistic":
                return (LAYERS,) if LAYERS in spec.options and workers == 1 else None
            return Recipe.from_params(one, learner=spec.learner).draws

        mine = draws(params)
        return tuple(p for p in proposed if p != params and mine and draws(p) == mine)

    def untrained(self, detector: str) -> str:
        """Return the key of a detector that is not trained. No data and no seed decide what it is,
        but what it is shown of new images.
        """
        run, spec = self.study.run, self.specs[detector]
        arguments = registry.entry(spec.name).arguments
        faces = [step] if (step := self.study.data.face_step) else []
        return digest(
            "untrained", TRAINING_VERSION, spec, arguments, run.threads, run.precision, *faces
        )

    def rules(self, search: PairingSearch) -> str:
        """Return the key of a search: of all but the results, and the order in which they come,
        that decides what is proposed.
        """
        default, *starts = search.first
        return digest(
            "search",
            self.trial(search.pairing, 0, default),
            self.study.search,
            self.study.budget.generation,
            search.space.digest,
            starts,
        )

    def _boundary(self, recipe: Recipe) -> list[str]:
        """The version of fits whose last stages are trained for a while, in float32."""
        cut = recipe.schedule in ("last_stage", "progressive")
        return (
            [f"boundary {BOUNDARY_VERSION}"]
            if cut and self.study.run.precision == "float32"
            else []
        )

    def _head(self, pairing: Pairing, params: Params, workers: int) -> list[str | int]:
        """The version of a linear head that is trained alone; nothing for another fit."""
        spec = registry.with_head(self.specs[pairing.detector], params)
        recipe = Recipe.from_params(params, learner=spec.learner, where=pairing.name)
        by_gradient = (
            recipe.trains_head_alone
            and workers == 1
            and not spec.options.get("head_width")
            and not registry.entry(spec.name).own_head
        )
        linear = spec.learner == "logistic" and recipe.head != "knn"
        return ["head", HEAD_VERSION] if linear or by_gradient else []

    def _frozen(self, spec: DetectorSpec, params: Params) -> list[str]:
        """What a body computes in that no fit touches, where that is not float32."""
        precision = frozen_precision(spec, params, self.study.run.precision)
        return [] if precision == "float32" else [f"frozen in {precision}"]

    def _balance(self, train_on: str) -> list[str]:
        """What draws of a training set are balanced by; those of a single dataset are balanced by
        class.
        """
        balance = self.study.data.balance
        return [] if balance == "none" else [balance if len(split_union(train_on)) > 1 else "class"]


def _train_data(name: str, content: str) -> str:
    """Content and order of train and val: a union's images are ordered by their dataset's name."""
    members = sorted(split_union(name))
    return digest("train", content, members if len(members) > 1 else [])


def _rate(spec: DetectorSpec, recipe: Recipe) -> list[str]:
    """The version of a range test on kept features; nothing for another fit."""
    begins_with_head = recipe.schedule in ("head", "progressive", "lp_ft")
    kept = begins_with_head and not recipe.changes_pixels and registry.body_key(spec)
    return [f"rate {RATE_VERSION}"] if isinstance(recipe, AutoRecipe) and kept else []


def draw_cell_key(models: str, test_on: str, test_data: str, *, threads: int) -> str:
    """Return the key of the scores of the models of draws. models: their key. test_data: the
    content of the test split.
    """
    return digest("draw scores", SCORING_VERSION, models, test_on, test_data, threads)


def cell_key(model: str, test_on: str, test_data: str, degradation: str, *, threads: int) -> str:
    """Return the key of a cell's scores. model: the key of the winner. test_data: the content of
    the test split.
    """
    version = () if degradation == NO_DEGRADATION else (DEGRADATION_VERSION,)
    return digest(
        "scores", SCORING_VERSION, model, test_on, test_data, degradation, threads, *version
    )


def ensemble_key(name: str, members: Sequence[str], models: Sequence[str]) -> str:
    """Return the key of an ensemble: its rule, and the winners that it is made of. members: their
    detectors, sorted. models: their keys, in the same order.
    """
    return digest("ensemble", ENSEMBLE_VERSION, name, list(zip(members, models, strict=True)))


def ensemble_cell_key(ensemble: str, scores: Sequence[str]) -> str:
    """Return the key of an ensemble's scores. scores: the keys of its members' cells."""
    return digest("ensemble scores", ensemble, scores)

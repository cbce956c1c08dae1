"""What to try next: a sampler of Optuna's, asked as a pure function of what has been tried.

No study is kept between calls, and no storage: a fresh in-memory study is given the history in
trial order and a sampler seeded from the pairing and the generation, and is asked for one
generation of configurations. Whoever holds the history can therefore repeat every proposal.

Samplers:
  tpe      tree-structured Parzen estimator, multivariate and grouped by condition (Bergstra et al.
           2011; Falkner et al. 2018)
  random   independent draws (Bergstra & Bengio 2012): the baseline of every other
  gp       Gaussian process with log expected improvement, over the settings that every trial has;
           the others are drawn at random
  cmaes    CMA-ES (Hansen 2016) over the numbers that every trial has; choices and conditional
           settings are drawn at random
  grid     every point of the space's grid once, in an order drawn from the seed
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.core.identity import derive_seed
from study.core.records import Params
from study.search.spaces import Parameter, Space

STARTUP_TRIALS = 4
"""Results before a model proposes; until then configurations are drawn at random. Optuna's own 10
would leave a search of a dozen trials almost entirely random."""


SHOWN = 250
"""Trials of a long history that a model is shown: the best 25, and the latest of the others. So a
proposal costs the same after ten thousand trials."""


@dataclass(frozen=True, kw_only=True)
class PastTrial:
    """A trial that has ended. value: what is maximised (source-val AUC); None or NaN for a trial
    that gave none.

    generation: of the proposal, from 0; trials of one generation were proposed without knowing each
    other's values.
    stopped_after: epochs after which a scheduler stopped it, 0 for a trial that was not; its value
    is of those.
    """

    number: int
    params: Params
    value: float | None
    generation: int = 0
    stopped_after: int = 0

    @property
    def state(self) -> TrialState:
        """How it ended, in Optuna's words."""
        if self.value is None or math.isnan(self.value):
            return TrialState.FAIL
        return TrialState.PRUNED if self.stopped_after else TrialState.COMPLETE


def good_trials(n: int) -> int:
    """How many of n trials TPE takes for good: a quarter, 25 at most. Optuna's tenth is a single
    one until there are ten.
    """
    return min(math.ceil(n / 4), 25)


def shown_trials(history: Sequence[PastTrial]) -> Sequence[int]:
    """Return the places of the trials that a model is shown, in their order: at most `SHOWN`."""
    if len(history) <= SHOWN:
        return range(len(history))
    done = [n for n, trial in enumerate(history) if trial.state == TrialState.COMPLETE]
    best = sorted(done, key=lambda n: (-float(history[n].value or 0), n))[: good_trials(len(done))]
    others = sorted(set(range(len(history))) - set(best))
    return sorted([*best, *others[len(best) - SHOWN :]])


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(
        multivariate=True,
        group=True,
        constant_liar=True,
        n_startup_trials=STARTUP_TRIALS,
        gamma=good_trials,
        seed=seed,
    )


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


def _gp(seed: int) -> BaseSampler:
    independent = RandomSampler(seed=seed)
    return GPSampler(
        seed=seed,
        n_startup_trials=STARTUP_TRIALS,
        independent_sampler=independent,
        warn_independent_sampling=False,
    )


def _cmaes(seed: int, generation_seed: int) -> BaseSampler:
    """The sampler of a replay: `seed` is the pairing's, so that its own draws repeat; other
    settings are drawn anew.
    """
    independent = RandomSampler(seed=generation_seed)
    return CmaEsSampler(seed=seed, independent_sampler=independent, warn_independent_sampling=False)


_MODELS: Mapping[str, Callable[[int], BaseSampler]] = {"tpe": _tpe, "random": _random, "gp": _gp}
SAMPLERS = (*_MODELS, "cmaes", "grid")
WHOLE_GENERATIONS = ("cmaes",)
"""Samplers that learn from whole generations, and cannot be asked while some of the last one's
trials are running."""


def propose(
    space: Space,
    history: Sequence[PastTrial],
    *,
    count: int,
    seed: int,
    sampler: str = "tpe",
    first: Sequence[Params] = (),
    running: Sequence[Params] = (),
) -> list[Params]:
    """Return the next `count` configurations, constants included. The same arguments give the same
    answer, in any process.

    history: every earlier trial of the pairing that has ended, in the order in which it was learned
    of. running: those under way.
    seed: of the pairing. From it and the number of trials before follows the seed of this
    generation: a sampler seeded once and asked again after a restart would repeat its first points.
    first: configurations with which this generation begins, before the sampler is asked.
    sampler: one of SAMPLERS. `grid` returns fewer than `count` configurations, in the end none,
    when its points are used up.

    A trial without a value counts as failed: it is neither modelled nor repeated on purpose. Within
    a generation each configuration is asked for with the ones before it marked as running, so that
    they spread (constant liar).
    """
    assert len(first) <= count, "a generation begins with what fits into it"
    if sampler == "grid":
        return [
            *first,
            *_grid(
                space, [*(t.params for t in history), *running, *first], seed, count - len(first)
            ),
        ]
    generation_seed = derive_seed("generation", seed, len(history) + len(running))
    with _quiet_and_repeatable(sampler):
        if sampler == "cmaes":
            assert not running, "CMA-ES learns from whole generations"
            study = _replayed(
                space, history, _cmaes(derive_seed("generation", seed, 0), generation_seed)
            )
        else:
            study = optuna.create_study(
                sampler=_MODELS[sampler](generation_seed), direction="maximize"
            )
            shown = [history[place] for place in shown_trials(history)]
            study.add_trials([frozen_trial(space, trial) for trial in shown])
            _ask(study, space, running, len(running))
        return _ask(study, space, first, count)


def _ask(study: optuna.Study, space: Space, first: Sequence[Params], count: int) -> list[Params]:
    for params in first:
        study.enqueue_trial(space.searched(params))
    return [space.suggest(study.ask()) for _ in range(count)]


def _replayed(space: Space, history: Sequence[PastTrial], sampler: BaseSampler) -> optuna.Study:
    """A study that was asked and told, generation by generation, what the history says: CMA-ES
    keeps its state in its trials.
    """
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for _, trials in itertools.groupby(history, key=lambda trial: trial.generation):
        generation = list(trials)
        for known in generation:
            study.enqueue_trial(space.searched(known.params))
        asked = [study.ask() for _ in generation]
        for trial in asked:
            # asked for even though the values are given: it is then that the sampler's state moves
            # on
            _ = trial.relative_params
            space.suggest(trial)
        for trial, known in zip(asked, generation, strict=True):
            if known.value is not None and known.state == TrialState.PRUNED:
                trial.report(known.value, step=known.stopped_after)
            study.tell(
                trial,
                known.value if known.state == TrialState.COMPLETE else None,
                state=known.state,
            )
    return study


def _grid(space: Space, taken: Sequence[Params], seed: int, count: int) -> Iterator[Params]:
    """Give points of the grid that are not taken, drawn without repetition; grids of millions of
    points are never written out.
    """
    searched = [space.searched(params) for params in taken]
    left = (point for point in _drawn(space, seed) if space.searched(point) not in searched)
    return itertools.islice(left, max(0, count))


def _drawn(space: Space, seed: int) -> Iterator[Params]:
    """Every point of the grid once, in an order that the seed decides."""
    size, draw, seen = space.grid_size(), random.Random(derive_seed("grid", seed)), set[int]()
    while len(seen) < size:
        number = draw.randrange(size)
        if number not in seen:
            seen.add(number)
            yield space.grid_point(number)


def grid_size(space: Space, first: Sequence[Params]) -> int:
    """Return how many configurations a grid search of the space tries: its points, and what of
    `first` is not among them.
    """
    return space.grid_size() + sum(not space.is_on_grid(params) for params in first)


@contextlib.contextmanager
def _quiet_and_repeatable(sampler: str) -> Iterator[None]:
    """Keep Optuna's notices off the terminal; and sums from depending on how many cores this
    machine has.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if sampler != "gp":
            yield
            return
        import torch
        from threadpoolctl import threadpool_limits

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpool_limits(1):
                yield
        finally:
            torch.set_num_threads(threads)


def frozen_trial(space: Space, trial: PastTrial) -> FrozenTrial:
    """Return a trial in Optuna's words."""
    searched = space.searched(trial.params)
    distributions = {p.name: distribution(p) for p in space.parameters if p.name in searched}
    return create_trial(
        state=trial.state,
        params=searched,
        distributions=distributions,
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        intermediate_values=(
            {trial.stopped_after: trial.value}
            if trial.value is not None and trial.state == TrialState.PRUNED
            else {}
        ),
    )


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a searched setting in Optuna's words."""
    if parameter.kind == "float":
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return CategoricalDistribution(parameter.choices)

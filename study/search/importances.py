"""Which searched settings mattered: functional ANOVA over the trials of a pairing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from study.core.records import Params
from study.search.spaces import Space

LEAST_TRIALS = 4  # fewer say nothing


def importances(
    space: Space, trials: Sequence[tuple[Params, float]], *, seed: int
) -> tuple[dict[str, float] | None, str]:
    """Return the share of each searched setting in the variance of the values, most important
    first; or None and the reason.

    trials: configurations with their finite values. By functional ANOVA of a random forest (Hutter
    et al., ICML 2014) as Optuna computes it, over the settings that every trial has: those under a
    condition are left out. Shares are in [0, 1] and add up to 1. From a dozen trials they are a
    hint, not a measurement.
    """
    if len(trials) < LEAST_TRIALS:
        return (
            None,
            f"not known: it needs {LEAST_TRIALS} trials that were done, not {len(trials)}",
        )
    if len({value for _, value in trials}) == 1:
        return None, "all trials have the same value"
    shared = set.intersection(*(set(space.searched(params)) for params, _ in trials))
    if len(shared) == 1 and len({params[name] for params, _ in trials for name in shared}) > 1:
        # a forest says the same, and takes seconds to import
        return dict.fromkeys(shared, 1.0), ""
    import optuna

    from study.search.proposals import PastTrial, frozen_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler())
    study.add_trials(
        [
            frozen_trial(space, PastTrial(number=n, params=p, value=v))
            for n, (p, v) in enumerate(trials)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed % (1 << 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    if not found or any(math.isnan(value) for value in found.values()):
        return None, "no setting that every trial has differs between them"
    return {name: round(float(value), 4) for name, value in found.items()}, ""

"""Flags: what in a pairing's training or search was too little, and the setting that would mend it.

A number of an under-trained row misleads, however honest its interval. So each pairing is looked
at, by its source val alone:

  under-trained   the selected trial's best epoch is the last it was allowed, or its source val
                  still rises there
  edge of range   a setting of the selected trial lies at an end of its range: what is beyond was
                  not tried
  under-tuned     the winners are worse on source val than a linear probe on the same frozen body,
                  by more than noise
  found late      the selected trial is in the last third of the search
  few trials      fewer than three trials for each setting that is searched
  given recipe    the study gives some of its settings, so that its search is not that of the others
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from study.analysis.floors import Floor
from study.analysis.results import Flag
from study.core.records import Pairing, TrialResult
from study.detectors import registry
from study.planning.search_summary import best_so_far
from study.planning.selection import SearchHistory
from study.planning.study import Budget
from study.search.driver import PairingSearch
from study.search.spaces import Parameter

UNDER_TRAINED = "under-trained"
EDGE = "edge of range"
UNDER_TUNED = "under-tuned"
FOUND_LATE = "found late"
FEW_TRIALS = "few trials"
GIVEN = "given recipe"

AHEAD = 0.002  # what the last epoch must be ahead of those before it: less is a plateau
RISE = 0.01  # between the means of the last quarter of the epochs and of the quarter before
AT_EDGE = 0.05  # share of a range, on its own scale, that counts as its end
PER_SETTING = 3  # trials that a searched setting needs
BUDGET = re.compile(r"budget\.(trials|epochs) = (\d+)")


def flags(
    searches: Mapping[Pairing, PairingSearch],
    history: Mapping[Pairing, SearchHistory],
    floors: Iterable[Floor] = (),
) -> list[Flag]:
    """Return what is to be said of the pairings whose search has ended, in their order."""
    found, of_pairings = [], {floor.pairing: floor for floor in floors}
    for pairing, searched in history.items():
        if searched.complete and searched.best is not None:
            found += of_pairing(searches[pairing], searched, of_pairings.get(pairing))
    return _with_one_budget(found)


def _with_one_budget(found: Sequence[Flag]) -> list[Flag]:
    """The flags with one number for each budget: all detectors have the same, so that the largest
    that a flag asks for mends the others too. No less than the default number of trials.
    """
    most = {"trials": Budget().trials}
    for flag in found:
        for key, number in BUDGET.findall(flag.mend):
            most[key] = max(int(number), most.get(key, 0))
    return [
        replace(flag, mend=BUDGET.sub(lambda m: f"budget.{m[1]} = {most[m[1]]}", flag.mend))
        for flag in found
    ]


def of_pairing(
    search: PairingSearch, searched: SearchHistory, floor: Floor | None = None
) -> list[Flag]:
    """Return all that is to be said of one pairing, which has a selected trial."""
    assert searched.best is not None
    trial, result = searched.best
    searchable = [p for p in search.space.parameters if p.name in trial.params and not p.fixed]
    by_gradient = registry.learner_of(search.pairing.detector) == "gradient"
    said = [
        under_trained(result, search.epochs) if by_gradient else None,
        *(at_edge(parameter, trial.params[parameter.name]) for parameter in searchable),
        under_tuned(floor, len(searched.trials)) if floor else None,
        found_late(trial.number, len(searched.trials)),
        few_trials(search),
        given_recipe(search),
    ]
    pairing = {"detector": search.pairing.detector, "train_on": search.pairing.train_on}
    return [Flag(**pairing, kind=one.kind, seen=one.seen, mend=one.mend) for one in said if one]


def given_recipe(search: PairingSearch) -> Said | None:
    """Say which settings the study gives; nothing where it gives none."""
    space = search.space
    if not space.given:
        return None
    searched = {parameter.name: parameter.text() for parameter in space.parameters}
    said = ", ".join(
        f"{name} = {space.constants.get(name, searched.get(name))}" for name in space.given
    )
    if space.names():
        return Said(GIVEN, f"given: {said}", f"take them out of [detector.{space.detector}]")
    seen = f"given, and not searched: {said}"
    return Said(GIVEN, seen, f"take them out of [detector.{space.detector}] to tune it as the rest")


class Said(NamedTuple):
    """What is said of a pairing, whichever it is."""

    kind: str
    seen: str
    mend: str


def under_trained(result: TrialResult, epochs: int) -> Said | None:
    """Say that a trial's best epoch is the last it was allowed, or that its source val still rises;
    nothing where neither is so, and where patience ended it.

    epochs: at most. A last epoch that leads all before it by less than `AHEAD` is on a plateau.
    """
    curve = [record.val_auc for record in result.history]
    if len(curve) < epochs or not all(map(math.isfinite, curve)):
        return None
    quarter = max(1, len(curve) // 4)
    before = curve[-2 * quarter : -quarter]
    if len(curve) == 1 or curve[-1] - max(curve[:-1]) > AHEAD:
        seen = f"the best epoch is the last of {epochs}"
    elif fmean(curve[-quarter:]) - fmean(before) > RISE:
        rise = fmean(curve[-quarter:]) - fmean(before)
        seen = f"source val still rises after {epochs} epochs (by {rise:.3f} in the last {quarter})"
    else:
        return None
    return Said(UNDER_TRAINED, seen, f'set budget.epochs = {2 * epochs}, or "auto"')


def at_edge(parameter: Parameter, value: object) -> Said | None:
    """Say that a value lies at an end of its range; nothing where it does not, and for choices."""
    if parameter.kind == "categorical" or not isinstance(value, int | float):
        return None
    scale = math.log if parameter.log else float
    low, high = scale(parameter.low), scale(parameter.high)
    place = (scale(value) - low) / (high - low)
    if AT_EDGE <= place <= 1 - AT_EDGE:
        return None
    upper = place > 1 / 2
    wider = _wider(parameter, upper=upper)
    if wider == (parameter.low, parameter.high):
        return None  # nothing lies beyond
    seen = (
        f"{parameter.name} = {value:.3g} lies at the {'upper' if upper else 'lower'} end of"
        f" {parameter.text()}"
    )
    setting = f"set search.ranges.{parameter.name} = [{wider[0]:g}, {wider[1]:g}]"
    return Said(EDGE, seen, setting)


def _wider(parameter: Parameter, *, upper: bool) -> tuple[float, float]:
    """A range that goes on at one end: ten times as far on a log scale, by half elsewhere. What
    lies within 0 and 1 is a share, and stays there.
    """
    low, high = parameter.low, parameter.high
    if parameter.log and high != 1:
        beyond = high * 10 if upper else low / 10
    elif parameter.log:
        beyond = 1 if upper else low / 10
    else:
        half = (high - low) / 2
        beyond = high + half if upper else low - half
        beyond = min(max(beyond, 0.0), 1.0) if low >= 0 and high <= 1 else beyond
    beyond = float(f"{beyond:.3g}")
    return (low, beyond) if upper else (beyond, high)


def under_tuned(floor: Floor, trials: int) -> Said | None:
    """Say that winners are below their linear probe by more than noise; nothing where not."""
    if not floor.is_below:
        return None
    seen = (
        f"source-val AUC {floor.winners:.3f}, below the {floor.probe:.3f} of a linear probe on the"
        f" same frozen body (p = {floor.difference.p:.3f})"
    )
    return Said(UNDER_TUNED, seen, f'set budget.trials = {2 * trials} and budget.epochs = "auto"')


def found_late(number: int, trials: int) -> Said | None:
    """Say that the selected trial is in the last third of the search; nothing where it is not."""
    if trials < PER_SETTING or number < trials - trials // 3:
        return None
    seen = f"the selected trial, {number}, is in the last third of {trials}"
    return Said(FOUND_LATE, seen, f"set budget.trials = {2 * trials}")


def few_trials(search: PairingSearch) -> Said | None:
    """Say that a search has fewer than three trials for each setting; nothing where it has enough,
    or all that its grid has.
    """
    names, trials = search.space.names(), search.trials
    if trials >= min(PER_SETTING * len(names), search.space.grid_size()):
        return None
    seen = f"{trials} trials for {len(names)} searched settings, fewer than {PER_SETTING} each"
    return Said(FEW_TRIALS, seen, f"set budget.trials = {PER_SETTING * len(names)}")


def few_trials_lines(searches: Iterable[PairingSearch]) -> list[str]:
    """Return the flag of every detector whose searches have too few trials, before they begin."""
    said = {search.pairing.detector: few_trials(search) for search in searches}
    flagged = [
        Flag(detector=name, train_on="", kind=one.kind, seen=one.seen, mend=one.mend)
        for name, one in said.items()
        if one
    ]
    return [f"{one.detector}: {one.seen}; {one.mend}" for one in _with_one_budget(flagged)]


def course(searched: SearchHistory) -> str:
    """Return how a search went, in words: what the default gave, when the best was found, and since
    when nothing better was. "" before a trial was done.
    """
    curve = [value for value in best_so_far(searched.trials) if value is not None]
    if searched.best is None or not curve:
        return ""
    trial, trials = searched.best[0], len(searched.trials)
    if trial.number == 0:
        return f"the default was not beaten in {trials} trials"
    gain = searched.best[1].val_auc - curve[0]
    since = trials - 1 - trial.number
    then = f"nothing better in the {since} after it" if since else f"the last of {trials}"
    return f"{then}, {gain:+.3f} over the default"

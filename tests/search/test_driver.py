"""The driver: what is proposed depends on results alone, not on slots, order of completion, or
interruptions.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from study.core.failures import Failure
from study.core.identity import digest
from study.core.records import Pairing, Params, Trial, TrialResult
from study.search.driver import PairingSearch, SearchDriver
from study.search.spaces import Parameter, Space, load_space

PAIRINGS = [Pairing(detector="mobilenetv2_035", train_on=x) for x in ("a", "b")] + [
    Pairing(detector="spectrum", train_on="a")
]
TRIALS, GENERATION = 10, 4  # generations of 4, 4 and 2


@dataclass(frozen=True, kw_only=True)
class Job:
    trial: Trial


def make_job(pairing: Pairing, number: int, params: Params, proposed: Sequence[Params]) -> Job:
    key = digest(pairing, params)
    return Job(
        trial=Trial(key=key, pairing=pairing, number=number, params=params, seed=0, epochs=1)
    )


def outcome(job: Job) -> TrialResult:
    """A result that follows from the configuration: mostly a value, sometimes a failure, sometimes
    NaN.
    """
    draw = int(digest("outcome", job.trial.key)[:8], 16) / 16**8
    if draw < 0.1:
        return TrialResult(
            key=job.trial.key, state="failed", failure=Failure(type="ValueError", message="drawn")
        )
    return TrialResult(
        key=job.trial.key, state="done", val_auc=math.nan if draw < 0.2 else draw, val_nll=1.0
    )


class Search:
    """A driver with what it was told, and what it asked for."""

    def __init__(
        self,
        known: dict[str, TrialResult] | None = None,
        *,
        pairings: list[Pairing] = PAIRINGS,
        **changes: int,
    ) -> None:
        self.ended: list[tuple[Job, TrialResult]] = []
        self.dealt: list[Job] = []
        sizes = {"trials": TRIALS, "generation": GENERATION, "study_seed": 1} | changes
        self.driver: SearchDriver[Job] = SearchDriver(
            [PairingSearch(pairing=p, space=load_space(p.detector)) for p in pairings],
            make_job=make_job,
            known=lambda job: (known or {}).get(job.trial.key),
            on_result=lambda job, result: self.ended.append((job, result)),
            **sizes,
        )

    def play(self, *, slots: int, seed: int = 0, stop_after: int | None = None) -> Search:
        """Run with that many slots; which running job ends next is drawn. Stop with jobs in flight
        after so many have ended.
        """
        rng, running, ended = random.Random(seed), list[Job](), 0
        while True:
            while len(running) < slots and (job := self.driver.next()) is not None:
                running.append(job)
                self.dealt.append(job)
            if not running or ended == stop_after:
                return self
            job = running.pop(rng.randrange(len(running)))
            self.driver.tell(job, outcome(job))
            ended += 1

    def transcript(self) -> dict[tuple[Pairing, int], tuple[Params, str]]:
        return {(j.trial.pairing, j.trial.number): (j.trial.params, repr(r)) for j, r in self.ended}


@pytest.fixture(scope="module")
def reference() -> Search:
    return Search().play(slots=1)


def test_every_trial_ends_once_and_the_default_is_trial_0(reference: Search) -> None:
    numbers = Counter((j.trial.pairing, j.trial.number) for j, _ in reference.ended)
    assert numbers == {(p, n): 1 for p in PAIRINGS for n in range(TRIALS)}
    assert reference.driver.finished()
    for pairing in PAIRINGS:
        assert reference.transcript()[pairing, 0][0] == load_space(pairing.detector).default()


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 100])
def test_slots_and_order_of_completion_change_nothing(reference: Search, slots: int) -> None:
    for seed in range(3):
        assert Search().play(slots=slots, seed=seed).transcript() == reference.transcript()


def test_an_interruption_anywhere_changes_nothing_and_trains_nothing_twice(
    reference: Search,
) -> None:
    total = len(reference.dealt)
    for stop_after in range(total):
        first = Search().play(slots=3, seed=stop_after, stop_after=stop_after)
        known = {j.trial.key: r for j, r in first.ended}
        second = Search(known).play(slots=2, seed=stop_after + 1)
        assert second.transcript() == reference.transcript()
        assert not known.keys() & {j.trial.key for j in second.dealt}
        assert len(known) + len(second.dealt) == total


def test_interrupted_after_every_single_result_it_still_ends(reference: Search) -> None:
    known: dict[str, TrialResult] = {}
    for _ in range(len(reference.dealt)):
        run = Search(known).play(slots=2, stop_after=1)
        known |= {j.trial.key: r for j, r in run.ended}
    assert Search(known).play(slots=1).transcript() == reference.transcript()


def test_a_job_is_made_with_all_that_was_proposed_with_it() -> None:
    heard: dict[int, tuple[int, int]] = {}
    search = Search(pairings=PAIRINGS[:1])

    def listen(pairing: Pairing, number: int, params: Params, proposed: Sequence[Params]) -> Job:
        heard[number] = len(proposed), list(proposed).index(params)
        return make_job(pairing, number, params, proposed)

    search.driver._make_job = listen
    search.play(slots=2)
    assert heard == {n: (2 if n > 7 else 4, n % 4) for n in range(TRIALS)}


def test_with_everything_known_nothing_is_dealt(reference: Search) -> None:
    known = {j.trial.key: r for j, r in reference.ended}
    search = Search(known)
    assert search.driver.finished()
    assert search.driver.next() is None
    assert search.transcript() == reference.transcript()


def test_a_replay_deals_without_telling_and_sees_what_is_known(reference: Search) -> None:
    """Dealing to nobody ends at the first generation of each pairing that is not whole."""
    first = Search().play(slots=1, stop_after=7)
    known = {j.trial.key: r for j, r in first.ended}
    replay = Search(known)
    dealt = []
    while (job := replay.driver.next()) is not None:
        dealt.append(job)
    assert replay.transcript() == first.transcript()
    assert not replay.driver.finished()
    assert {j.trial.key for j in dealt}.isdisjoint(known)


def test_more_trials_begin_with_the_same_ones(reference: Search) -> None:
    longer = Search(trials=TRIALS + 5).play(slots=2).transcript()
    assert {place: longer[place] for place in reference.transcript()} == reference.transcript()


def of(found: Search, *pairings: Pairing) -> dict[tuple[Pairing, int], tuple[Params, str]]:
    return {place: row for place, row in found.transcript().items() if place[0] in pairings}


def test_neither_other_detectors_nor_later_training_sets_influence_a_pairing(
    reference: Search,
) -> None:
    for alone in (PAIRINGS[:1], PAIRINGS[:2], PAIRINGS[2:], [*PAIRINGS[::2]]):
        assert Search(pairings=alone).play(slots=2).transcript() == of(reference, *alone)
    # the second in the study's order, and what the first has found is not known
    other = Search(pairings=PAIRINGS[1:2]).play(slots=2)
    assert other.transcript() != of(reference, PAIRINGS[1])


def test_each_later_generation_begins_with_the_best_of_an_earlier_pairing(
    reference: Search,
) -> None:
    first, second = PAIRINGS[:2]
    driver, found = reference.driver, reference.transcript()
    values = {
        number: outcome(job).val_auc
        for job, _ in reference.ended
        for number in [job.trial.number]
        if job.trial.pairing == first
    }
    for generation, number in enumerate(range(GENERATION, TRIALS, GENERATION), start=1):
        known = {n: v for n, v in values.items() if n < number and not math.isnan(v)}
        best = max(known, key=lambda n: (known[n], -n))
        params = found[first, best][0]
        tried = [found[second, n][0] for n in range(number)]
        begins = found[second, number][0]
        origin = driver.origin(second, number)
        if params in tried:
            assert origin == ""
        else:
            assert begins == params and origin == f"as {first.name} trial {best}", generation
    assert any(driver.origin(second, n) for n in range(TRIALS))
    for pairing in (first, PAIRINGS[2]):  # the first of their detector
        assert not any(driver.origin(pairing, n) for n in range(TRIALS))


@pytest.mark.parametrize("changes", [{"study_seed": 2}, {"generation": 3}])
def test_seed_and_generation_size_are_part_of_the_search(
    reference: Search, changes: dict[str, int]
) -> None:
    assert Search(**changes).play(slots=1).transcript() != reference.transcript()


def test_pairings_with_equal_spaces_are_searched_apart(reference: Search) -> None:
    a, b = ([reference.transcript()[p, n][0] for n in range(1, TRIALS)] for p in PAIRINGS[:2])
    assert a != b


def test_no_slot_idles_while_another_pairing_has_work() -> None:
    """With three slots and three pairings there is always something to do until each has only its
    last generation left.
    """
    search, running = Search(), list[Job]()
    ended = 0
    while ended < 2 * TRIALS:
        while len(running) < 3:
            job = search.driver.next()
            assert job is not None, f"idle after {ended} results"
            running.append(job)
        job = running.pop(0)
        search.driver.tell(job, outcome(job))
        ended += 1


def test_the_pairing_that_is_least_far_goes_first() -> None:
    search = Search().play(slots=1)
    generations = [job.trial.number // GENERATION for job in search.dealt]
    assert generations == sorted(generations)


# Equal configurations

TINY = Space(
    "tiny", {}, (Parameter(name="batch_size", kind="categorical", default=16, choices=(16, 32)),)
)


def tiny(
    results: Callable[[Job], TrialResult], *, slots: int
) -> tuple[list[Job], list[tuple[Job, TrialResult]]]:
    """Search a space of two configurations with 8 trials; return what was dealt and what ended."""
    ended: list[tuple[Job, TrialResult]] = []
    driver: SearchDriver[Job] = SearchDriver(
        [PairingSearch(pairing=PAIRINGS[0], space=TINY)],
        trials=8,
        generation=4,
        study_seed=0,
        make_job=make_job,
        known=lambda _: None,
        on_result=lambda job, result: ended.append((job, result)),
    )
    dealt, running = list[Job](), list[Job]()
    while True:
        while len(running) < slots and (job := driver.next()) is not None:
            running.append(job)
            dealt.append(job)
        if not running:
            assert driver.finished()
            return dealt, ended
        job = running.pop()
        driver.tell(job, results(job))


@pytest.mark.parametrize("slots", [1, 4])
def test_equal_configurations_are_trained_once_and_told_to_all(slots: int) -> None:
    dealt, ended = tiny(outcome, slots=slots)
    assert len(dealt) == len({job.trial.key for job in dealt}) == 2
    assert sorted(job.trial.number for job, _ in ended) == list(range(8))
    for job, result in ended:
        assert result.key == job.trial.key
    assert next(job for job, _ in ended if job.trial.number == 0).trial.params == {"batch_size": 16}


def test_what_callbacks_raise_reaches_the_caller() -> None:
    def full(job: Job) -> TrialResult:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        tiny(full, slots=1)


def test_a_result_for_a_job_that_was_not_dealt_is_an_error_of_ours() -> None:
    search = Search()
    job = search.driver.next()
    assert job is not None
    search.driver.tell(job, outcome(job))
    with pytest.raises(AssertionError, match="was not dealt"):
        search.driver.tell(job, outcome(job))

"""Searches that depend on who is first: asynchronous ones, those with successive halving, those
with a limit of seconds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from study.core.identity import digest
from study.core.records import EpochRecord, Pairing, Params, Trial, TrialResult
from study.search.driver import PairingSearch, SearchDriver
from study.search.halving import Halving
from study.search.spaces import load_space

PAIRINGS = [Pairing(detector="npr", train_on="a"), Pairing(detector="spectrum", train_on="a")]


@dataclass(frozen=True, kw_only=True)
class Job:
    trial: Trial


def make_job(pairing: Pairing, number: int, params: Params, proposed: Sequence[Params]) -> Job:
    return Job(
        trial=Trial(
            key=digest(pairing, params),
            pairing=pairing,
            number=number,
            params=params,
            seed=0,
            epochs=9,
        )
    )


def outcome(job: Job, seconds: float = 1.0) -> TrialResult:
    draw = int(digest("outcome", job.trial.key)[:8], 16) / 16**8
    return TrialResult(key=job.trial.key, state="done", val_auc=draw, val_nll=1.0, seconds=seconds)


class Search:
    def __init__(
        self, history: list[tuple[Job, TrialResult]] | None = None, **choices: Any
    ) -> None:
        self.ended: list[tuple[Job, TrialResult]] = []
        self.dealt: list[Job] = []
        sizes = {"trials": 8, "generation": 3, "study_seed": 1} | choices
        self.driver: SearchDriver[Job] = SearchDriver(
            [PairingSearch(pairing=p, space=load_space(p.detector)) for p in PAIRINGS],
            make_job=make_job,
            known=lambda _: None,
            on_result=lambda job, result: self.ended.append((job, result)),
            history=lambda pairing: [
                (j, r) for j, r in history or [] if j.trial.pairing == pairing
            ],
            **sizes,
        )

    def play(
        self, *, slots: int, seed: int = 0, stop_after: int | None = None, seconds: float = 1.0
    ) -> Search:
        rng, running, ended = random.Random(seed), list[Job](), 0
        while True:
            while len(running) < slots and (job := self.driver.next()) is not None:
                running.append(job)
                self.dealt.append(job)
            if not running or ended == stop_after:
                return self
            job = running.pop(rng.randrange(len(running)))
            self.driver.tell(job, outcome(job, seconds))
            ended += 1

    def numbers(self) -> dict[Pairing, list[int]]:
        return {
            p: sorted(j.trial.number for j, _ in self.ended if j.trial.pairing == p)
            for p in PAIRINGS
        }


def params(search: Search) -> dict[tuple[Pairing, int], Params]:
    return {(j.trial.pairing, j.trial.number): j.trial.params for j, _ in search.ended}


@pytest.mark.parametrize("slots", [1, 3, 5])
def test_an_asynchronous_search_uses_its_budget_and_keeps_every_slot_busy(slots: int) -> None:
    search = Search(asynchronous=True).play(slots=slots, seed=slots)
    assert search.driver.finished()
    assert search.numbers() == {p: list(range(8)) for p in PAIRINGS}
    for pairing in PAIRINGS:
        assert params(search)[pairing, 0] == load_space(pairing.detector).default()
    busy = Search(asynchronous=True)
    jobs = [busy.driver.next() for _ in range(16)]
    assert None not in jobs  # by generations, two pairings would give six jobs and then wait
    assert busy.driver.next() is None


def test_an_asynchronous_search_learns_from_whatever_has_ended() -> None:
    """With one slot it has seen all before each proposal; with many, nothing: the proposals
    differ.
    """
    alone, crowd = (params(Search(asynchronous=True).play(slots=slots)) for slots in (1, 16))
    assert alone != crowd


@pytest.mark.parametrize("stop_after", [0, 1, 5, 11])
def test_an_interrupted_asynchronous_search_goes_on_from_what_was_recorded(stop_after: int) -> None:
    first = Search(asynchronous=True).play(slots=3, seed=7, stop_after=stop_after)
    second = Search(first.ended, asynchronous=True).play(slots=3, seed=8)
    assert second.driver.finished()
    assert second.numbers() == {p: list(range(8)) for p in PAIRINGS}
    held = params(first)
    assert {place: params(second)[place] for place in held} == held
    assert not {j.trial.key for j, _ in first.ended} & {j.trial.key for j in second.dealt}
    default = load_space("npr").default()
    # also where it was under way when the first was stopped
    assert params(second)[PAIRINGS[0], 0] == default


@pytest.mark.parametrize("slots", [1, 2, 6])
def test_seconds_end_a_pairing(slots: int) -> None:
    """Generations of 3 one-second trials: 3 seconds are one generation; 4.5 are one and two trials
    of the next; 100 are all.
    """
    for seconds, expected in ((3.0, 3), (4.5, 5), (100.0, 8)):
        search = Search(seconds=seconds).play(slots=slots)
        assert search.driver.finished()
        assert search.numbers() == {p: list(range(expected)) for p in PAIRINGS}
    alone = Search(asynchronous=True, seconds=3.5).play(slots=slots)
    assert {len(numbers) for numbers in alone.numbers().values()} <= (
        {4} if slots == 1 else {4, 5, 6, 7, 8}
    )


def test_a_dear_pairing_gets_fewer_trials_of_a_generation_than_a_cheap_one() -> None:
    search, running = Search(seconds=10.0, generation=8), list[Job]()
    while (job := search.driver.next()) is not None or running:
        if job is not None:
            running.append(job)
        if job is None or len(running) == 1:
            ended = running.pop()
            search.driver.tell(
                ended, outcome(ended, 6.0 if ended.trial.pairing == PAIRINGS[0] else 1.0)
            )
    assert search.numbers() == {PAIRINGS[0]: [0, 1], PAIRINGS[1]: list(range(8))}


def test_what_seconds_left_is_not_dealt_after_an_interruption_and_is_with_more_seconds() -> None:
    first = Search(seconds=2.0).play(slots=1)
    assert first.numbers() == {p: [0, 1] for p in PAIRINGS}
    known = {j.trial.key: r for j, r in first.ended}
    for seconds, expected in ((2.0, [0, 1]), (3.0, [0, 1, 2])):
        second = Search(seconds=seconds)
        second.driver._known = lambda job: known.get(job.trial.key)
        second.play(slots=1)
        assert second.numbers() == dict.fromkeys(PAIRINGS, expected)
        assert {place: params(second)[place] for place in params(first)} == params(first)


# Successive halving


def epoch(number: int, auc: float) -> EpochRecord:
    return EpochRecord(
        epoch=number,
        phase="full",
        train_loss=0.1,
        val_auc=auc,
        val_nll=0.5,
        learning_rate=1e-3,
        seconds=0.1,
    )


def test_rungs_by_hand() -> None:
    """Rungs after 1, 3 and 9 epochs; a trial goes past one if it is in the best third of those that
    reached it.
    """
    halving = Halving()
    # the first of all is the best of all
    assert [halving.report(0, epoch(e, 0.7)) for e in range(9)] == [""] * 9
    # second of two: a third of two is less than one
    assert halving.report(1, epoch(0, 0.6)) == "stopped by asha after 1 epochs"
    assert halving.report(2, epoch(0, 0.8)) == ""
    assert halving.report(2, epoch(1, 0.1)) == ""  # no rung after two epochs
    # its best is still the 0.8, ahead of trial 0's 0.7
    assert halving.report(2, epoch(2, 0.65)) == ""
    assert halving.report(3, epoch(0, 0.75)) == "stopped by asha after 1 epochs"  # second of four
    assert halving.report(4, epoch(0, 0.9)) == ""
    assert halving.report(5, epoch(0, 0.85)) == ""  # second of six: a third of six is two
    # 0.85 leads the three that got to three epochs
    assert [halving.report(5, epoch(e, 0.5)) for e in (1, 2)] == ["", ""]
    assert [halving.report(4, epoch(e, 0.5)) for e in (1, 2)] == ["", ""]  # and 0.9 the four
    assert halving.report(0, epoch(9, 0.7)) == ""  # it is past the last rung


def test_an_epoch_told_again_counts_once() -> None:
    halving = Halving()
    for number, auc in enumerate((0.5, 0.9, 0.6)):
        halving.report(number, epoch(0, auc))
    assert halving.report(1, epoch(0, 0.1)) == ""
    assert halving.report(1, epoch(1, 0.9)) == ""


def test_a_nan_is_stopped_nowhere_but_at_a_rung_it_does_not_hold() -> None:
    halving = Halving()
    assert halving.report(0, epoch(0, float("nan"))) == ""
    assert halving.report(1, epoch(0, 0.6)) == ""


def test_the_dealer_halves_each_pairing_apart_and_remembers_what_the_store_knows() -> None:
    search = Search(halving=True)
    jobs = [search.driver.next() for _ in range(6)]
    by_pairing = {p: [j for j in jobs if j is not None and j.trial.pairing == p] for p in PAIRINGS}
    good, bad = epoch(0, 0.9), epoch(0, 0.5)
    assert search.driver.report(by_pairing[PAIRINGS[0]][0], good) == ""
    # the first of its own pairing
    assert search.driver.report(by_pairing[PAIRINGS[1]][0], bad) == ""
    assert search.driver.report(by_pairing[PAIRINGS[0]][1], bad) == "stopped by asha after 1 epochs"
    later = Search(halving=True)
    known = replace(outcome(by_pairing[PAIRINGS[0]][0]), history=(good,))
    later.driver._known = lambda job: known if job.trial.key == known.key else None
    job = next(j for j in iter(later.driver.next, None) if j.trial.pairing == PAIRINGS[0])
    assert later.driver.report(job, bad) == "stopped by asha after 1 epochs"


def test_a_trial_that_has_used_its_epochs_is_not_stopped() -> None:
    driver: SearchDriver[Job] = SearchDriver(
        [PairingSearch(pairing=PAIRINGS[1], space=load_space("spectrum"), epochs=1)],
        trials=3,
        generation=3,
        study_seed=0,
        make_job=make_job,
        known=lambda _: None,
        on_result=lambda *_: None,
        halving=True,
    )
    jobs = [job for job in (driver.next() for _ in range(3)) if job is not None]
    assert [driver.report(job, epoch(0, 0.9 - n / 10)) for n, job in enumerate(jobs)] == [
        "",
        "",
        "",
    ]


def test_without_halving_nothing_is_stopped() -> None:
    search = Search()
    jobs = [search.driver.next() for _ in range(3)]
    assert [search.driver.report(j, epoch(0, 0.9 - n / 10)) for n, j in enumerate(jobs) if j] == [
        "",
        "",
        "",
    ]

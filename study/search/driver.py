"""The search over all pairings at once: proposals, dealt out as jobs to whoever has a slot free.

By generations (the default), a generation is proposed from the results of those before it and from
a seed of its own, and the next one when all of it has ended; while one pairing waits, the others'
jobs fill the slots. So neither the number of slots, nor the order in which trials end, nor an
interruption changes what is proposed: only the results do.

Each generation after the first begins with the best configuration that an earlier pairing of the
same detector (earlier in the study's order) has found in the generations before, where this one has
not tried it. So it is proposed only when those generations have ended everywhere: what they found
is then known, whoever was first. Nothing but source val is looked at.

On request a search is `async` (each proposal is made from whatever has ended by then), has `asha`
stop its trials, or is bounded by seconds of device time. Each of these makes it depend on the
machine and on who is first: it is then marked as order-dependent.

The driver holds no truth. It is rebuilt at every start, and the store answers what has been trained
before: by key where proposals can be repeated (`known`), by the record of what was proposed where
they cannot (`history`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from optuna.trial import TrialState

from study.core.identity import derive_seed
from study.core.records import EpochRecord, Pairing, Params, Trial, TrialResult
from study.search.halving import Halving
from study.search.proposals import PastTrial, propose
from study.search.remembered import Propose
from study.search.spaces import Space


class Job(Protocol):
    """What is dealt out: anything that carries its trial."""

    @property
    def trial(self) -> Trial: ...  # noqa: D102


J = TypeVar("J", bound=Job)


@dataclass(frozen=True, kw_only=True)
class PairingSearch:
    """A pairing to search, and where. first: configurations tried before the sampler is asked; ()
    for the space's default alone.

    trials: of this pairing, where it has fewer than the others (a grid that is smaller than the
    budget).
    epochs: after which a trial is over anyway, and is not stopped; 0 where that is not known.
    """

    pairing: Pairing
    space: Space
    first: tuple[Params, ...] = ()
    trials: int = sys.maxsize
    epochs: int = 0


class _Progress(Generic[J]):
    """How far one pairing's search has come.

    seconds: of all its trials, after which no more are dealt; 0 for no limit. generation: the
    number of the open one, from 0; -1 before the first. jobs: its jobs that have not ended, by
    trial number. queue: those of them that nobody works on. history: those that have ended, in the
    order in which they were learned of. origins: of trials that another pairing has found. results:
    of all trials so far, by key: equal configurations
    are trained once.
    """

    def __init__(
        self, search: PairingSearch, trials: int, seconds: float, halving: Halving | None
    ) -> None:
        self.pairing, self.space = search.pairing, search.space
        self.first = search.first or (search.space.default(),)
        self.trials, self.seconds = min(trials, search.trials), seconds
        self.halving, self.epochs = halving, search.epochs
        self.generation = -1
        self.jobs: dict[int, J] = {}
        self.queue: deque[J] = deque()
        self.history: dict[int, PastTrial] = {}
        self.origins: dict[int, str] = {}
        self.results: dict[str, TrialResult] = {}

    @property
    def begun(self) -> int:
        """How many trials have been proposed."""
        return len(self.history) + len(self.jobs)

    def is_out_of_time(self) -> bool:
        """Tell whether the trials so far, each trained once, took all the seconds there are."""
        return bool(self.seconds and self._spent() >= self.seconds)

    def is_used_up(self) -> bool:
        """Tell whether no trial is left to propose."""
        return len(self.history) >= self.trials or self.is_out_of_time()

    def has_room(self) -> bool:
        """Tell whether the seconds allow for another trial beside those under way, taken to be as
        long as the others were on average.
        """
        running = (len(self.jobs) - len(self.queue)) / max(1, len(self.results))
        return not self.seconds or self._spent() * (1 + running) < self.seconds

    def has_closed(self, generation: int) -> bool:
        """Tell whether a generation has ended, or will never begin."""
        over = self.generation == generation or self.is_used_up()
        return self.generation > generation or (not self.jobs and over)

    def best_before(self, generation: int) -> PastTrial | None:
        """Return the best trial of the generations before one; None where none gave a value."""
        known = [t for t in self.history.values() if t.generation < generation]
        done = [t for t in known if t.state == TrialState.COMPLETE]
        return max(done, key=lambda t: (t.value or 0.0, -t.number), default=None)

    def _spent(self) -> float:
        return sum(result.seconds for result in self.results.values())


class SearchDriver(Generic[J]):
    """Deals proposals over pairings. Not safe for threads: `next`, `tell`, `report` and the
    callbacks run in the caller's.

    trials: per pairing, the default configuration included. generation: proposals made at a time
    (the last one may be smaller).
    study_seed: with the pairing's name it seeds the sampler. sampler: one of `proposals.SAMPLERS`.
    asynchronous: propose one by one, from whatever has ended. halving: `asha` stops trials.
    seconds: of all trials of a pairing; when they are used up no more are dealt. 0 for no limit.
    make_job: (pairing, trial number, params, those that were proposed together) to a job. Within a
    pairing, jobs whose trials have equal keys are one piece of work.
    known: the result that the store holds for a job, or None. Such a job is never dealt, it is told
    at once.
    on_result: called once for every job that has ended: dealt, known, or the repetition of one of
    these.
    proposer: makes the proposals, as `proposals.propose` does.
    heard: told of every epoch of a job under way.
    history: of an asynchronous search, the jobs of a pairing that the store holds, in the order in
    which they were recorded.
    """

    def __init__(
        self,
        searches: Sequence[PairingSearch],
        *,
        trials: int,
        generation: int,
        study_seed: int,
        make_job: Callable[[Pairing, int, Params, Sequence[Params]], J],
        known: Callable[[J], TrialResult | None],
        on_result: Callable[[J, TrialResult], None],
        sampler: str = "tpe",
        asynchronous: bool = False,
        halving: bool = False,
        seconds: float = 0.0,
        history: Callable[[Pairing], Sequence[tuple[J, TrialResult]]] = lambda _: (),
        proposer: Propose = propose,
        heard: Callable[[J, EpochRecord], None] = lambda job, record: None,
    ) -> None:
        assert trials >= 1 and generation >= 1, (trials, generation)
        self._progress: dict[Pairing, _Progress[J]] = {
            search.pairing: _Progress(search, trials, seconds, Halving() if halving else None)
            for search in searches
        }
        assert len(self._progress) == len(searches), "a pairing is searched once"
        every = list(self._progress.values())
        self._earlier: dict[Pairing, list[_Progress[J]]] = {
            one.pairing: [e for e in every[:n] if e.pairing.detector == one.pairing.detector]
            for n, one in enumerate(every)
        }
        self._generation, self._study_seed, self._sampler = generation, study_seed, sampler
        self._asynchronous, self._proposer = asynchronous, proposer
        self._make_job, self._known, self._on_result = make_job, known, on_result
        self._heard = heard
        if asynchronous:
            for progress in self._progress.values():
                self._recall(progress, history(progress.pairing))

    def next(self) -> J | None:
        """Return a job to work on, or None while every open pairing waits for results, and when all
        have ended.

        The pairing that has come least far goes first, so that no long chain of generations is left
        for the end.
        """
        if self._asynchronous:
            return self._next_alone()
        for progress in self._progress.values():
            self._advance(progress)
        ready = [p for p in self._progress.values() if p.queue and p.has_room()]
        return min(ready, key=lambda p: p.generation).queue.popleft() if ready else None

    def finished(self) -> bool:
        """Tell whether every trial of every pairing has ended. Takes in what is known first, so it
        may call `on_result`.
        """
        # each takes in what is known
        ended = [self.has_ended(pairing) for pairing in self._progress]
        return all(ended)

    def has_ended(self, pairing: Pairing) -> bool:
        """Tell whether a pairing has used its budget and nothing of it is under way. Takes in what
        is known first.
        """
        progress = self._progress[pairing]
        if not self._asynchronous:
            for one in (*self._earlier[pairing], progress):
                self._advance(one)
        return not progress.jobs and progress.is_used_up()

    def origin(self, pairing: Pairing, number: int) -> str:
        """Return where a trial's configuration was found, if in another pairing; else ""."""
        return self._progress[pairing].origins.get(number, "")

    def tell(self, job: J, result: TrialResult) -> None:
        """Take in the result of a job that was dealt. Jobs of the same generation with an equal key
        end with it.
        """
        progress = self._progress[job.trial.pairing]
        assert progress.jobs.get(job.trial.number) == job, (
            f"trial {job.trial.number} of {job.trial.pairing.name} was not dealt"
        )
        self._end(progress, job, result)

    def report(self, job: J, record: EpochRecord) -> str:
        """Take in an epoch of a job that was dealt; return "" to let it go on, or why it is to be
        stopped now.

        Whoever runs the trial then ends it, and tells a result of state `stopped` with that reason.
        """
        self._heard(job, record)
        progress = self._progress[job.trial.pairing]
        reason = progress.halving.report(job.trial.number, record) if progress.halving else ""
        return "" if record.epoch + 1 == progress.epochs else reason

    def _drop_undealt(self, progress: _Progress[J]) -> None:
        """Give up what is left of a generation whose pairing has used its seconds."""
        if progress.is_out_of_time():
            undealt = {job.trial.key for job in progress.queue}
            progress.queue.clear()
            progress.jobs = {n: j for n, j in progress.jobs.items() if j.trial.key not in undealt}

    def _advance(self, progress: _Progress[J]) -> None:
        """Open generations until one has something left to do, or waits for an earlier pairing, or
        the budget is used.
        """
        self._drop_undealt(progress)
        earlier = self._earlier[progress.pairing]
        while not progress.jobs and not progress.is_used_up():
            if not all(one.has_closed(progress.generation) for one in earlier):
                return
            progress.generation += 1
            first = len(progress.history)
            proposed = self._propose(
                progress, first, min(self._generation, progress.trials - first)
            )
            for number, params in enumerate(proposed, start=first):
                progress.jobs[number] = self._make_job(progress.pairing, number, params, proposed)
            for job in list(progress.jobs.values()):
                if job.trial.number in progress.jobs:  # it has not ended with an equal one
                    self._settle_or_queue(progress, job)
            self._drop_undealt(progress)

    def _propose(self, progress: _Progress[J], number: int, count: int) -> list[Params]:
        """Propose `count` trials from `number` on. By generations results count in trial order,
        else in the order in which they were learned of.
        """
        history = progress.history
        return self._proposer(
            progress.space,
            [history[n] for n in (history if self._asynchronous else sorted(history))],
            count=count,
            seed=derive_seed("search", self._study_seed, progress.pairing.name),
            sampler=self._sampler,
            first=self._first(progress, number, count),
            running=[job.trial.params for job in progress.jobs.values()],
        )

    def _first(self, progress: _Progress[J], number: int, count: int) -> list[Params]:
        """What trials begin with, from `number` on: what is known to be tried first, then the best
        of earlier pairings that is not tried yet.
        """
        first = list(progress.first[number : number + count])
        if self._asynchronous or self._sampler == "grid" or progress.generation == 0:
            return first
        tried = [*progress.first, *(trial.params for trial in progress.history.values())]
        for one in self._earlier[progress.pairing] if len(first) < count else ():
            best = one.best_before(progress.generation)
            adopted = progress.space.adopt(best.params) if best else None
            if best and adopted is not None and adopted not in tried:
                origin = f"as {one.pairing.name} trial {best.number}"
                progress.origins[number + len(first)] = origin
                return [*first, adopted]
        return first

    def _settle_or_queue(self, progress: _Progress[J], job: J) -> None:
        result = progress.results.get(job.trial.key) or self._known(job)
        if result is not None:
            self._end(progress, job, result)
        elif all(waiting.trial.key != job.trial.key for waiting in progress.queue):
            progress.queue.append(job)

    def _end(self, progress: _Progress[J], job: J, result: TrialResult) -> None:
        progress.results[job.trial.key] = result
        equal = [other for other in progress.jobs.values() if other.trial.key == job.trial.key]
        for other in equal:
            del progress.jobs[other.trial.number]
            progress.history[other.trial.number] = PastTrial(
                number=other.trial.number,
                params=other.trial.params,
                value=None if result.state == "failed" else result.val_auc,
                generation=max(0, progress.generation),
                stopped_after=len(result.history) if result.state == "stopped" else 0,
            )
        if progress.halving:
            # of a trial from the store; what was reported before is passed over
            for record in result.history:
                progress.halving.report(job.trial.number, record)
        for other in equal:
            self._on_result(other, result)

    # without generations

    def _recall(self, progress: _Progress[J], history: Sequence[tuple[J, TrialResult]]) -> None:
        for job, result in history:
            if job.trial.number < progress.trials:
                progress.jobs[job.trial.number] = job
                self._end(progress, job, result)

    def _next_alone(self) -> J | None:
        for progress in sorted(self._progress.values(), key=lambda p: p.begun):
            job = self._propose_alone(progress)
            if job is not None:
                return job
        return None

    def _propose_alone(self, progress: _Progress[J]) -> J | None:
        """Propose trials until one has to be trained; None where the budget ends first, or an equal
        one is under way.
        """
        while progress.begun < progress.trials and progress.has_room():
            taken = {*progress.history, *progress.jobs}
            number = next(n for n in range(progress.trials) if n not in taken)
            (params,) = self._propose(progress, number, 1)
            job = self._make_job(progress.pairing, number, params, (params,))
            under_way = any(other.trial.key == job.trial.key for other in progress.jobs.values())
            progress.jobs[number] = job
            if not under_way:  # else it ends with the other
                self._settle_or_queue(progress, job)
            if progress.queue:
                return progress.queue.popleft()
        return None

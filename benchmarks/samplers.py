"""Which sampler finds good settings in how few trials, on a table of real trials that were trained
once over whole grids.

    python benchmarks/samplers.py [--seeds 50] [--gp-seeds 10] [--trials 48] [--samplers tpe random
    ...] [--only NAME]
                                    [--figure FILE]
    python benchmarks/samplers.py --arms [--seeds 100]

Nothing is trained. The search itself runs (the driver of a sweep, in generations of four, each seed
a study of its own), and every proposal is answered with the recorded trial nearest to it
(`recorded_trials.csv`): the same choices, and the nearest recorded learning rate on the log scale.
Trial 0 is the same for every sampler: the default of the project's own search space, or what was
recorded nearest to it (`record_trials.py`).

--arms compares what the project does beside its sampler, from the same trial 0 (the default of the
search space that ships): a small space (one optimizer, the shipped range of learning rates), and a
portfolio (the three best rows of the same detector's table on the other dataset, tried after the
default), against random draws and TPE over the whole grid. Regret after 1, 4, 8 and 16 trials.

Without it, prints, for each benchmark and sampler, the best val AUC so far (mean over seeds,
standard error), the regret, the mean val AUC of what was proposed, and a comparison with random
draws, paired by seed. Takes about ten minutes, most of them for `gp`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record_trials import BENCHMARKS, Benchmark, read_table
from scipy.stats import binomtest, wilcoxon

from study.core.identity import digest
from study.core.records import Pairing, Params, Trial, TrialResult
from study.search.driver import PairingSearch, SearchDriver
from study.search.proposals import SAMPLERS
from study.search.spaces import Space, Value, load_space

GENERATION = 4
AFTER = (4, 8, 12, 16, 24, 32, 48)  # trials
COMPARED_AFTER = (12, 24, 48)
Values = NDArray[np.float64]  # (seeds, trials): val AUC of each trial, NaN where it diverged


@dataclass(frozen=True)
class ReplayedJob:
    """A proposal, as the driver hands it out."""

    trial: Trial


class Answers:
    """The recorded val AUC of any configuration of a benchmark, by the nearest one that was
    trained.
    """

    def __init__(self, benchmark: Benchmark, rows: Sequence[Mapping[str, Any]]) -> None:
        self._levels = benchmark.levels
        self._values = {
            self._place(row): float(row["val_auc"])
            for row in rows
            if row["benchmark"] == benchmark.name
        }

    @property
    def best(self) -> float:
        return max(value for value in self._values.values() if not math.isnan(value))

    def of(self, params: Params) -> float:
        """Return the val AUC, NaN where that trial diverged."""
        return self._values[self._place(params)]

    def _place(self, params: Mapping[str, Any]) -> tuple[Value, ...]:
        return tuple(_nearest(params[name], values) for name, values in self._levels.items())


def _nearest(value: Any, levels: Sequence[Value]) -> Value:
    if isinstance(levels[0], str):
        return levels[levels.index(value)]
    return min(levels, key=lambda level: abs(math.log(float(value) / float(level))))


def search(
    benchmark: Benchmark,
    answers: Answers,
    sampler: str,
    *,
    seed: int,
    trials: int,
    space: Space | None = None,
    first: Sequence[Params] = (),
) -> list[float]:
    """Return the val AUC of every trial of one replayed search, in trial order. space: in place of
    the benchmark's. first: what is tried first, the default included.
    """
    values: list[float] = []

    def make_job(
        pairing: Pairing, number: int, params: Params, proposed: Sequence[Params]
    ) -> ReplayedJob:
        # every proposal is answered by itself, as two learning rates are hardly ever equal
        key = digest(number, params)
        return ReplayedJob(
            Trial(
                key=key,
                pairing=pairing,
                number=number,
                params=params,
                seed=0,
                epochs=benchmark.epochs,
            )
        )

    def known(job: ReplayedJob) -> TrialResult:
        value = answers.of(job.trial.params)
        state: Any = "failed" if math.isnan(value) else "done"
        return TrialResult(key=job.trial.key, state=state, val_auc=value)

    driver = SearchDriver(
        [
            PairingSearch(
                pairing=Pairing(detector=benchmark.detector, train_on=benchmark.dataset),
                space=space or benchmark.space,
                first=tuple(first),
            )
        ],
        trials=trials,
        generation=GENERATION,
        study_seed=seed,
        make_job=make_job,
        known=known,
        on_result=lambda _, result: values.append(result.val_auc),
        sampler=sampler,
    )
    assert driver.finished() and len(values) == trials
    return values


def replay(
    benchmark: Benchmark, answers: Answers, sampler: str, *, seeds: int, trials: int
) -> Values:
    """Return the searches of seeds 0, 1, ..."""
    return np.array(
        [search(benchmark, answers, sampler, seed=seed, trials=trials) for seed in range(seeds)]
    )


def best_so_far(values: Values) -> NDArray[np.float64]:
    """Return the best val AUC after each trial, (seeds, trials)."""
    return np.fmax.accumulate(values, axis=1)


def compared(values: Values, baseline: Values, after: int) -> str:
    """Say how a sampler's best and the baseline's differ after some trials, paired by seed; both
    tests are two-sided.
    """
    difference = best_so_far(values)[:, after - 1] - best_so_far(baseline)[: len(values), after - 1]
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    sign = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    rank = wilcoxon(difference).pvalue if wins + losses else 1.0
    ties = len(difference) - wins - losses
    return (
        f"after {after}: {difference.mean():+.4f} on average; {wins} won, {ties} tied, {losses}"
        f" lost: not worse in {(wins + ties) / len(difference):.0%} of seeds; sign test p ="
        f" {sign:.2g}, Wilcoxon p = {rank:.2g}"
    )


def show(name: str, answers: Answers, results: Mapping[str, Values]) -> None:
    """Print one benchmark's tables."""
    trials = next(iter(results.values())).shape[1]
    after = [number for number in AFTER if number <= trials]
    print(
        f"\n{name}: best val AUC so far, mean (standard error) over seeds; the table's best is"
        f" {answers.best:.4f}"
    )
    print(f"{'trials':<8}{'seeds':>6}" + "".join(f"{number:>16}" for number in after))
    for sampler, values in results.items():
        cells = (
            f"{mean:.4f} ({error:.4f})"
            for mean, error in map(_mean_and_error, best_so_far(values).T[np.array(after) - 1])
        )
        print(f"{sampler:<8}{len(values):>6}" + "".join(f"{cell:>16}" for cell in cells))
    print("regret: what is missing to the table's best")
    for sampler, values in results.items():
        regret = answers.best - best_so_far(values).mean(axis=0)
        print(f"{sampler:<14}" + "".join(f"{regret[number - 1]:>16.4f}" for number in after))
    print(
        "mean val AUC of the trials since the column before, the default left out: where a sampler"
        " looks"
    )
    for sampler, values in results.items():
        means = (np.nanmean(values[:, low:high]) for low, high in itertools.pairwise([1, *after]))
        print(f"{sampler:<14}" + "".join(f"{mean:>16.4f}" for mean in means))
    for sampler, values in results.items():
        for number in COMPARED_AFTER if sampler != "random" and "random" in results else ():
            if number <= trials:
                print(f"{sampler} against random {compared(values, results['random'], number)}")


ELSEWHERE = {"mobilenet": "mobilenet_dfdc", "npr": "npr_dfdc"}
ELSEWHERE |= {other: name for name, other in ELSEWHERE.items()}
REGRET_AFTER = (1, 4, 8, 16)


def _shipped(benchmark: Benchmark) -> tuple[Space, Space]:
    """The benchmark's space with the default that ships, and the small one."""
    ships = {p.name: p for p in load_space(benchmark.detector).parameters}
    whole, small = [], []
    for parameter in benchmark.space.parameters:
        own = ships.get(parameter.name)
        default = own.default if own else ships_constant(benchmark, parameter.name)
        levels = benchmark.levels[parameter.name]
        default = levels[0] if levels[1:] == () else _nearest(default, levels)
        whole.append(replace(parameter, default=default))
        if parameter.name == "lr" and own:
            ranged = replace(parameter, default=default, low=own.low, high=own.high, grid=())
            small.append(ranged)
        else:
            small.append(replace(parameter, default=default, fixed=parameter.name == "optimizer"))
    return (
        replace(benchmark.space, parameters=tuple(whole)),
        replace(benchmark.space, parameters=tuple(small)),
    )


def ships_constant(benchmark: Benchmark, name: str) -> Value:
    """Return what the space that ships has as a constant."""
    value: Value = load_space(benchmark.detector).constants[name]
    return value


def _portfolio(benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], space: Space) -> Space:
    """The space with the three best rows of the other dataset's table."""
    other = [row for row in rows if row["benchmark"] == ELSEWHERE[benchmark.name]]
    best = sorted(
        (row for row in other if row["val_auc"] == row["val_auc"]), key=lambda row: -row["val_auc"]
    )[:3]
    return replace(space, hints=tuple({n: row[n] for n in space.names()} for row in best))


def compare_arms(benchmark: Benchmark, rows: Sequence[Mapping[str, Any]], seeds: int) -> None:
    """Print the regret of every arm."""
    answers, (whole, small) = Answers(benchmark, rows), _shipped(benchmark)
    arms = {
        "random": ("random", whole),
        "tpe": ("tpe", whole),
        "tpe, portfolio": ("tpe", _portfolio(benchmark, rows, whole)),
        "random, small space": ("random", small),
        "tpe, small space": ("tpe", small),
        "tpe, small space, portfolio": ("tpe", _portfolio(benchmark, rows, small)),
    }
    print(f"\n{benchmark.name}: regret (val AUC), mean over {seeds} seeds (standard error) after")
    print(f"{'trials':<30}" + "".join(f"{number:>18}" for number in REGRET_AFTER))
    for name, (sampler, space) in arms.items():
        first = [space.default(), *space.portfolio()]
        values = np.array(
            [
                search(
                    benchmark,
                    answers,
                    sampler,
                    seed=seed,
                    trials=max(REGRET_AFTER),
                    space=space,
                    first=first,
                )
                for seed in range(seeds)
            ]
        )
        regret = answers.best - best_so_far(values)
        cells = (
            f"{mean:.4f} ({error:.4f})"
            for mean, error in (_mean_and_error(regret[:, n - 1]) for n in REGRET_AFTER)
        )
        print(f"{name:<30}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), (
        float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.nan
    )


def draw(path: Path, results: Mapping[str, tuple[Answers, Mapping[str, Values]]]) -> None:
    """Draw the mean regret over trials, with its standard error, a panel for each benchmark."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(results), figsize=(5.5 * len(results), 4), squeeze=False, layout="constrained"
    )
    for panel, (name, (answers, searches)) in zip(panels[0], results.items(), strict=True):
        for sampler, values in searches.items():
            regret, number = answers.best - best_so_far(values), np.arange(1, values.shape[1] + 1)
            mean, error = regret.mean(axis=0), regret.std(axis=0, ddof=1) / np.sqrt(len(regret))
            panel.plot(number, mean, label=sampler)
            panel.fill_between(number, mean - error, mean + error, alpha=0.2)
        panel.set(title=name, xlabel="trials", ylabel="mean regret (val AUC)", ylim=(0, None))
        panel.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument(
        "--gp-seeds",
        type=int,
        default=10,
        help="of the Gaussian process, which takes long (default 10)",
    )
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="one benchmark instead of all")
    parser.add_argument(
        "--arms", action="store_true", help="compare small spaces and portfolios instead"
    )
    parser.add_argument("--figure", type=Path, help="draw the regret curves into this file")
    options = parser.parse_args()
    rows, results = read_table(), {}
    if options.arms:
        for name in [options.only] if options.only else BENCHMARKS:
            compare_arms(BENCHMARKS[name], rows, options.seeds)
        return
    for name, benchmark in (
        BENCHMARKS.items() if options.only is None else [(options.only, BENCHMARKS[options.only])]
    ):
        answers, searches = Answers(benchmark, rows), {}
        for sampler in options.samplers:
            seeds = min(options.seeds, options.gp_seeds) if sampler == "gp" else options.seeds
            start = time.perf_counter()
            searches[sampler] = replay(
                benchmark, answers, sampler, seeds=seeds, trials=options.trials
            )
            seconds = (time.perf_counter() - start) / seeds / options.trials
            print(f"{name}, {sampler}: {seconds * 1000:.1f} ms a proposal", flush=True)
        results[name] = answers, searches
        show(name, answers, searches)
    if options.figure:
        draw(options.figure, results)


if __name__ == "__main__":
    main()

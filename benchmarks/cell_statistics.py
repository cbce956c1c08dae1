"""What the numbers of a large test set cost: 16 detectors on 20,000 images, from scores to
intervals and comparisons.

    python -m benchmarks.cell_statistics

Made-up scores, single images and ten frames a group. Estimates are what cross_eval writes of a
cell: every metric at every threshold, seed by seed and their mean, 2,000 replicates. Comparisons
are all 120 pairs. Below them the same replicates of the AUC as a loop over scikit-learn would do
them, timed on a few and multiplied. One process, one core; three minutes where it is free. Times
are those that this process computed, so that other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row, Way, in_turn
from study.analysis.comparisons import compare_detectors
from study.analysis.score_set import ScoreSet
from study.core.records import Cell, Pairing, Scores
from study.statistics.intervals import estimate_cell
from study.statistics.metrics import auc
from study.statistics.resampling import (
    REPLICATES,
    ResampledAuc,
    bootstrap_auc,
    clusters,
    draws,
)
from study.statistics.thresholds import source_thresholds

GOAL_S = 60.0  # audit and statistics together, on two cores
LOOPED = 10  # replicates that the loops are timed on


def scores(images: int, frames: int, *, detector: int, seed: int) -> Scores:
    """Half of the groups are real; a detector's scorings share a part with all others, as they see
    the same images.
    """
    label = (np.arange(images) // frames % 2).astype(np.uint8)
    shared, own = np.random.default_rng(0), np.random.default_rng([detector, seed])
    logit = shared.normal(size=images) + own.normal(size=images) + (0.5 + 0.1 * detector) * label
    ids = np.array([f"made/{i:06d}.png" for i in range(images)])
    group = np.array([f"g{i // frames:06d}" for i in range(images)])
    return Scores(
        sample_id=ids,
        group=group,
        unit=ids,
        method=np.where(label, "gan", "camera"),
        label=label,
        logit=logit.astype(np.float32),
        listed=images,
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds that this process computed."""
    began = time.process_time()
    work()
    return time.process_time() - began


def loop(one: Scores, metric: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """Seconds that `REPLICATES` would take, each written out and given to scikit-learn, by the time
    of `LOOPED`.
    """
    groups = clusters(one.label, one.group)
    counts = np.concatenate(list(draws(groups, replicates=LOOPED, rng_seed=0)))
    logit = one.logit.astype(np.float64)

    def work() -> None:
        for count in counts:
            images = np.repeat(np.arange(len(logit)), count[groups.member])
            metric(one.label[images], logit[images])

    return timed(work) / LOOPED * REPLICATES


def probability(
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> Callable[[np.ndarray, np.ndarray], float]:
    """The metric of p(fake) instead of the logit."""
    return lambda label, logit: metric(label, 1 / (1 + np.exp(-logit)))


def measure(images: int, detectors: int, seeds: int, frames: int) -> None:
    """Print the times of one kind of groups."""
    found = [
        [scores(images, frames, detector=d, seed=s) for s in range(seeds)] for d in range(detectors)
    ]
    given = source_thresholds(found[0][0].label, found[0][0].logit)
    estimates = timed(
        lambda: [estimate_cell(one, [given] * seeds, [1.0] * seeds, rng_seed=0) for one in found]
    )
    cells = [
        Cell(
            pairing=Pairing(detector=f"d{d}", train_on="x"),
            winner_seed=seed,
            test_on="made",
            degradation="none",
            state="done",
            scores_key=f"{d} {seed}",
        )
        for d in range(detectors)
        for seed in range(seeds)
    ]
    files = {f"{d} {seed}": one for d, of in enumerate(found) for seed, one in enumerate(of)}
    held = ScoreSet(files.items(), rng_seed=lambda _: 0)
    compared = timed(lambda: compare_detectors(held, cells))
    total = estimates + compared
    pairs = detectors * (detectors - 1) // 2
    print(
        f"\n{images:,} images, {frames} a group, {detectors} detectors, {seeds} seeds, {REPLICATES}"
        " replicates"
    )
    print(
        f"  estimates of {detectors} cells         {estimates:8.1f} s  "
        f" {estimates / detectors / seeds:.2f} s a scoring"
    )
    print(f"  {pairs} paired comparisons          {compared:8.1f} s")
    print(
        f"  together                       {total:8.1f} s   goal {GOAL_S:.0f}: {total / GOAL_S:.2f}"
        f" of it, {_met(total)}"
    )
    one = found[0][0]
    auc = timed(lambda: bootstrap_auc(one.label, one.logit, one.group, rng_seed=0))
    by_loop = loop(one, roc_auc_score)
    print(
        f"  AUC of one scoring             {auc:8.2f} s   scikit-learn in a loop {by_loop:.0f} s,"
        f" {by_loop / auc:.0f} times"
    )
    whole = timed(lambda: estimate_cell([one], [given], [1.0], rng_seed=0))
    three = by_loop + loop(one, average_precision_score) + loop(one, probability(brier_score_loss))
    print(
        f"  all metrics of one scoring     {whole:8.2f} s   three of them in a loop {three:.0f} s,"
        f" {three / whole:.0f} times"
    )


def goal(options: Options) -> Goal:
    """G6: the bootstrap and the AUC, on 20,000 images."""
    found = Goal("G6", "1,000 bootstrap replicates of the AUC, and the AUC, of 20,000 images")
    replicates, looped = 1000, 4
    columns = [scores(20_000, 1, detector=number, seed=0) for number in range(16)]
    first = columns[0]
    label, logit = first.label, first.logit.astype(np.float64)
    groups = clusters(label, first.group)
    few = np.concatenate(list(draws(groups, replicates=looped, rng_seed=0)))

    def resampled(count: int) -> None:
        each = [ResampledAuc(one.label, one.logit, groups) for one in columns[:count]]
        for drawn in draws(groups, replicates=replicates, rng_seed=0):
            for one in each:
                one(drawn)

    def looped_over() -> None:
        for count in few:
            images = np.repeat(np.arange(len(logit)), count[groups.member])
            roc_auc_score(label[images], logit[images])

    for count, wanted in ((1, 25), (16, 200)):
        ways = {
            PROJECT: Way(lambda count=count: resampled(count)),
            PEER: Way(looped_over, replicates / looped * count),
        }
        taken, note = (
            in_turn(ways, options.rounds),
            f"scikit-learn's {looped} replicates, multiplied",
        )
        row = Row(name=f"bootstrap, {count} column(s)", taken=taken, peer_goal=wanted, note=note)
        found.rows.append(row)
    once = {
        PROJECT: Way(lambda: [auc(label, logit) for _ in range(20)], 1 / 20),
        PEER: Way(lambda: [roc_auc_score(label, logit) for _ in range(20)], 1 / 20),
        LIMIT: Way(lambda: [np.sort(logit) for _ in range(20)], 1 / 20),
    }
    taken = in_turn(once, options.rounds)
    found.rows.append(
        Row(name="AUC", taken=taken, peer_goal=4, limit_goal=0.4, note="limit: np.sort")
    )
    return found


def _met(seconds: float) -> str:
    return "met" if seconds <= GOAL_S else "NOT met"


def main() -> None:
    """Measure both kinds of groups."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--detectors", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores; load average before the start:"
        f" {', '.join(f'{x:.1f}' for x in os.getloadavg())}"
    )
    for frames in (1, 10):
        measure(options.images, options.detectors, options.seeds, frames)


if __name__ == "__main__":
    main()

"""Is every row trained as well as it could be? Few trials with the defaults against many.

    python benchmarks/well_trained.py --data-root DATA --weights-root WEIGHTS --results FOLDER
    python benchmarks/well_trained.py --table

DATA holds the datasets `faces_140k` and `dfdc_faces224`, WEIGHTS the files of the two pretrained
networks. For each detector and training set, and three study seeds, it runs a study of 4 trials at
the default epochs, then goes on with the same study to 24 (6 for the network that is dear to
train). A line is appended to `well_trained.jsonl` beside this script after each, and what has a
line is not run again. Everything is kept in FOLDER, so it may be stopped and started at will: a
fit that was interrupted goes on after its last epoch. The studies of 4 trials all come first.

--table prints what is there: reached with 4 trials, reachable with all, and the gap.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import study
from study import cross_eval, sweep
from study.planning.open_study import open_study
from study.planning.searches import replay
from study.planning.selection import is_candidate
from study.planning.study_file import load_study

TABLE = Path(__file__).with_name("well_trained.jsonl")
FEW = 4
SEEDS = (0, 1, 2)
MANY = {  # (detector, training set) -> trials of the long search
    ("mobilenetv2_035", "faces_140k"): 24,
    ("npr", "faces_140k"): 24,
    ("npr", "dfdc_faces224"): 24,
    ("resnet18_scratch", "faces_140k"): 24,
    ("resnet18_scratch", "dfdc_faces224"): 24,
    ("timm:tf_efficientnet_lite0.in1k", "faces_140k"): 6,
}
WHAT = ("detector", "dataset", "seed", "trials")


@dataclass(frozen=True)
class Step:
    """A study with a budget."""

    detector: str
    dataset: str
    seed: int
    trials: int

    @property
    def name(self) -> str:
        """The study's name, the same for both budgets: the long one goes on with the short."""
        detector = self.detector.replace(":", "_")
        return f"well_{detector}_{self.dataset}_{self.seed}"

    @property
    def file(self) -> str:
        """The study file."""
        said = {
            "name": self.name,
            "detectors": [self.detector],
            "train_on": [self.dataset],
            "seed": self.seed,
            "budget.trials": self.trials,
            "budget.seeds": 1,
            "budget.default_winners": False,
            "budget.replicates": 0,
            "budget.null_models": 0,
        }
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in said.items())


def steps() -> Iterator[Step]:
    """Yield all, the short ones first."""
    for few in (True, False):
        for (detector, dataset), many in MANY.items():
            for seed in SEEDS:
                yield Step(detector, dataset, seed, FEW if few else many)


def read_lines() -> list[dict[str, Any]]:
    """Return the lines that are there."""
    return [json.loads(line) for line in TABLE.read_text().splitlines()] if TABLE.exists() else []


def run(step: Step, options: argparse.Namespace) -> dict[str, Any]:
    """Run a study and return its line."""
    roots = ["--data-root", str(options.data_root), "--weights-root", str(options.weights_root)]
    roots += ["--results", str(options.results), "--local"]
    file = options.results / f"{step.name}.toml"
    file.write_text(step.file, encoding="utf-8")
    began = time.process_time()
    for command in (sweep.main, cross_eval.main):
        code = command([str(file), *roots])
        if code != 0:
            raise SystemExit(f"{step.name}: exit code {code}")
    seconds = time.process_time() - began
    opened = open_study(
        load_study(str(file), data_root=str(options.data_root)),
        results=options.results,
        weights_root=options.weights_root,
        firewall=True,
    )
    (searched,) = replay(opened).values()
    trials, best, store = searched.trials, searched.best, opened.store
    assert best is not None and len(trials) == step.trials
    default = trials[0][1]
    rows = study.load(store.folder).tables.rows
    (test,) = [
        row.estimate
        for row in rows
        if (row.detector, row.metric, row.test_on) == (step.detector, "auc", step.dataset)
        and row.seed == "0"
        and row.is_plain
    ]
    return {
        **vars(step),
        "val": round(best[1].val_auc, 4),
        "test": round(test.value, 4),
        "test_low": round(test.low, 4),
        "test_high": round(test.high, 4),
        "default_val": round(default.val_auc, 4),
        "trial": best[0].number,
        "params": best[0].params,
        "epochs": best[0].epochs,
        "best_epoch": best[1].best_epoch,
        "curve": [round(epoch.val_auc, 4) for epoch in best[1].history],
        "all_vals": [round(r.val_auc, 4) if is_candidate(r) else None for _, r in trials],
        "cpu_seconds": round(seconds, 1),
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the comparison as Markdown."""
    found = {tuple(line[key] for key in WHAT): line for line in lines}
    head = "| detector | train on | seed | default val | 4 trials: val | test [95 %] |"
    text = [f"{head} long search: trials | val | test | val gap |", "|" + "---|" * 10]
    for (detector, dataset), many in MANY.items():
        for seed in SEEDS:
            few = found.get((detector, dataset, seed, FEW))
            long = found.get((detector, dataset, seed, many))
            cells = ["not run"] * 3 + [str(many)] + ["not run"] * 2 + [""]
            if few:
                test = f"{few['test']:.3f} [{few['test_low']:.3f}, {few['test_high']:.3f}]"
                cells[:3] = [f"{few['default_val']:.3f}", f"{few['val']:.3f}", test]
            if long:
                cells[4:6] = [f"{long['val']:.3f}", f"{long['test']:.3f}"]
            if few and long:
                cells[6] = f"{long['val'] - few['val']:.3f}"
            text.append(f"| {detector} | {dataset} | {seed} | {' | '.join(cells)} |")
        tests = [line["test"] for key, line in found.items() if key[:2] == (detector, dataset)]
        of_few = [
            found[(detector, dataset, seed, FEW)]["test"]
            for seed in SEEDS
            if (detector, dataset, seed, FEW) in found
        ]
        mean = fmean(of_few) if of_few else math.nan
        if tests:
            text.append(f"| {detector} | {dataset} | mean of {len(of_few)} | | | {mean:.3f} ||||||")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--weights-root", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--out", type=Path, help="the file of lines, instead of the one here")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args()
    global TABLE  # noqa: PLW0603
    TABLE = options.out or TABLE
    if not options.table:
        if None in (options.data_root, options.weights_root, options.results):
            parser.error("give --data-root, --weights-root and --results, or --table")
        options.results.mkdir(parents=True, exist_ok=True)
        held = {tuple(line[key] for key in WHAT) for line in read_lines()}
        for step in steps():
            if tuple(vars(step).values()) not in held:
                line = run(step, options)
                with TABLE.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    print(table(read_lines()))


if __name__ == "__main__":
    main()

"""Records the table that `samplers.py` replays: real trials over whole grids of settings, each
trained as a sweep trains it.

    python benchmarks/record_trials.py --data-root DATA --weights-root WEIGHTS --results FOLDER
    [--only NAME] [--limit N]

DATA holds the datasets `faces_140k` and `dfdc_faces224`, WEIGHTS the file
`mobilenetv2_035.safetensors`. Writes `recorded_trials.csv` beside this script: a row for every
configuration with its source-val AUC, NLL, epochs and seconds; a diverged one has `nan`. Rows that
are there are not trained again, so the recording may be stopped and started at will. Takes thirty
to forty-five minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.core.identity import whole_file
from study.core.records import EpochRecord, Params, TrialResult
from study.jobs.trial import run_trial
from study.planning.open_study import OpenStudy, open_study
from study.planning.study_file import parse_study
from study.runtime.attempt import attempt_trial
from study.runtime.interface import Terms
from study.search.spaces import Parameter, Space, Value

TABLE = Path(__file__).with_name("recorded_trials.csv")
SETTINGS = ("schedule", "lr", "batch_size", "optimizer")
COLUMNS = ("benchmark", *SETTINGS, "val_auc", "val_nll", "epochs", "seconds")


def _log_levels(low: float, high: float, count: int) -> tuple[float, ...]:
    """Values at equal ratios, both ends included, to four digits."""
    return tuple(float(f"{low * (high / low) ** (i / (count - 1)):.4g}") for i in range(count))


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A search problem whose answer is known everywhere on a grid.

    space: what a sampler is given; its floats are continuous. levels: the recorded values of every
    setting of the space.
    """

    name: str
    detector: str
    dataset: str
    max_per_class: int
    epochs: int
    space: Space
    levels: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def grid(self) -> Iterator[dict[str, Value]]:
        """Yield every recorded configuration, without the constants."""
        names = self.space.names()
        for values in itertools.product(*(self.levels[name] for name in names)):
            yield dict(zip(names, values, strict=True))


def _benchmark(
    name: str,
    *,
    constants: Params,
    defaults: Mapping[str, Value],
    levels: Mapping[str, tuple[Value, ...]],
    **rest: Any,
) -> Benchmark:
    """Make a benchmark whose space is spanned by the levels: floats are searched between their
    ends, on a log scale.
    """
    parameters = tuple(
        (
            Parameter(
                name=key,
                kind="float",
                default=defaults[key],
                low=float(values[0]),
                high=float(values[-1]),
                log=True,
                grid=values,
            )
            if isinstance(values[0], float)
            else Parameter(name=key, kind="categorical", default=defaults[key], choices=values)
        )
        for key, values in levels.items()
    )
    return Benchmark(
        name=name, space=Space(rest["detector"], constants, parameters), levels=levels, **rest
    )


# The defaults, which are every sampler's trial 0, are those of search_spaces/, or the recorded
# choice nearest to them: `progressive` becomes `full`, and for mobilenet batches of 32 become 16.
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        _benchmark(
            "mobilenet",
            detector="mobilenetv2_035",
            dataset="faces_140k",
            max_per_class=150,
            epochs=4,
            constants={"weight_decay": 1e-5, "patience": 3, "clip_norm": 1.0},
            defaults={"schedule": "full", "lr": 1e-3, "batch_size": 16, "optimizer": "adamw"},
            levels={
                "schedule": ("head", "last_stage", "full", "lp_ft"),
                "lr": _log_levels(1e-5, 1e-1, 7),
                "batch_size": (16, 64),
                "optimizer": ("adamw", "sgd"),
            },
        ),
        _benchmark(
            "npr",
            detector="npr",
            dataset="faces_140k",
            max_per_class=400,
            epochs=5,
            constants={"schedule": "full", "weight_decay": 1e-4, "patience": 3, "clip_norm": 1.0},
            defaults={"lr": 2e-4, "batch_size": 32, "optimizer": "adam"},
            levels={
                "lr": _log_levels(5e-5, 5e-2, 8),
                "batch_size": (16, 32, 64, 128),
                "optimizer": ("adam", "adamw", "sgd"),
            },
        ),
        # Elsewhere: other images, a smaller grid. What did well here is the portfolio of the tables
        # above in samplers.py.
        _benchmark(
            "mobilenet_dfdc",
            detector="mobilenetv2_035",
            dataset="dfdc_faces224",
            max_per_class=150,
            epochs=4,
            constants={"weight_decay": 1e-5, "patience": 3, "clip_norm": 1.0},
            defaults={"schedule": "full", "lr": 1e-3, "batch_size": 16, "optimizer": "adamw"},
            levels={
                "schedule": ("head", "last_stage", "full", "lp_ft"),
                "lr": _log_levels(1e-5, 1e-1, 7),
                "batch_size": (16, 64),
                "optimizer": ("adamw",),
            },
        ),
        _benchmark(
            "npr_dfdc",
            detector="npr",
            dataset="dfdc_faces224",
            max_per_class=400,
            epochs=5,
            constants={"schedule": "full", "weight_decay": 1e-4, "patience": 3, "clip_norm": 1.0},
            defaults={"lr": 2e-4, "batch_size": 32, "optimizer": "adam"},
            levels={
                "lr": _log_levels(5e-5, 5e-2, 8),
                "batch_size": (16, 32, 64, 128),
                "optimizer": ("adam",),
            },
        ),
    )
}


def read_table(path: Path = TABLE) -> list[dict[str, Any]]:
    """Return the recorded rows: settings as the benchmark has them, `val_auc` and `val_nll` in [0,
    1] and nats or NaN.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_parsed(row) for row in csv.DictReader(file)]


def _parsed(row: Mapping[str, str]) -> dict[str, Any]:
    levels = BENCHMARKS[row["benchmark"]].levels
    settings = {name: type(values[0])(row[name]) for name, values in levels.items()}
    numbers = {name: float(row[name]) for name in ("val_auc", "val_nll", "seconds")}
    return {"benchmark": row["benchmark"], **settings, **numbers, "epochs": int(row["epochs"])}


def _write_table(rows: list[dict[str, Any]]) -> None:
    with whole_file(TABLE) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _row(benchmark: Benchmark, settings: Params, result: TrialResult) -> dict[str, Any]:
    if result.state != "done" and not result.permanent:
        raise SystemExit(f"{benchmark.name} {dict(settings)}: {result.failure}")
    return {
        "benchmark": benchmark.name,
        **settings,
        "val_auc": float(f"{result.val_auc:.6g}"),
        "val_nll": float(f"{result.val_nll:.6g}"),
        "epochs": len(result.history),
        "seconds": round(result.seconds, 2),
    }


def _setup(benchmark: Benchmark, options: argparse.Namespace) -> OpenStudy:
    table = {
        "name": f"record_{benchmark.name}",
        "detectors": [benchmark.detector],
        "train_on": [benchmark.dataset],
        "budget": {"epochs": benchmark.epochs},
        "data": {"root": str(options.data_root), "max_per_class": benchmark.max_per_class},
        "run": {"threads": 1, "precision": options.precision},
    }
    study = parse_study(table, where="record_trials.py")
    return open_study(
        study, results=options.results, weights_root=options.weights_root, firewall=True
    )


def record(benchmark: Benchmark, options: argparse.Namespace) -> None:
    """Train what the table lacks, writing it after every trial."""
    rows = read_table()
    names = benchmark.space.names()
    held = {
        tuple(row[name] for name in names) for row in rows if row["benchmark"] == benchmark.name
    }
    todo = [settings for settings in benchmark.grid() if tuple(settings.values()) not in held][
        : options.limit
    ]
    print(f"{benchmark.name}: {len(held)} recorded, {len(todo)} to train", flush=True)
    if not todo:
        return
    setup = _setup(benchmark, options)
    (pairing,) = setup.study.pairings()
    for number, settings in enumerate(todo):
        job = setup.jobs.trial(pairing, number, {**benchmark.space.constants, **settings})
        result = attempt_trial(
            run_trial, job, _ignore, Terms(threads=1, failures=setup.store.tracebacks)
        )
        setup.store.drop_checkpoint(job.trial.key)
        rows.append(_row(benchmark, settings, result))
        _write_table(rows)
        print(
            f"  {number + 1}/{len(todo)} {settings} val AUC {result.val_auc:.3f},"
            f" {result.seconds:.1f} s",
            flush=True,
        )


def _ignore(_: EpochRecord) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--weights-root", type=Path, required=True)
    parser.add_argument(
        "--results", type=Path, required=True, help="folder for packs and checkpoints while it runs"
    )
    parser.add_argument(
        "--precision",
        default="bfloat16",
        choices=["float32", "bfloat16"],
        help="of all rows; see README.md",
    )
    parser.add_argument("--only", choices=sorted(BENCHMARKS))
    parser.add_argument("--limit", type=int, help="train at most this many of each benchmark")
    options = parser.parse_args()
    for benchmark in BENCHMARKS.values():
        if options.only in (None, benchmark.name):
            record(benchmark, options)
    bad = sum(math.isnan(row["val_auc"]) for row in read_table())
    print(f"{len(read_table())} rows in {TABLE.name}, {bad} of them diverged")


if __name__ == "__main__":
    main()

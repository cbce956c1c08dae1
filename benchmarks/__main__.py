"""The goals of speed: project, peer and limit of each, measured in one run.

    python -m benchmarks [--only G3 G6] [--rounds 3] [--json FILE]
    python -m benchmarks --data DATA_ROOT --weights WEIGHTS_ROOT --write

Ratios are of CPU seconds, so that other programs on the machine count little. --data has
`faces_140k`, `dfdc_faces224` and `shoes_midjourney`, which G12 and G13 need. --write writes the
table to results/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.goals import LIMIT, PEER, PROJECT, Goal, Options, Row

TABLE = Path(__file__).parents[1] / "results" / "benchmarks.md"
# what no short measurement is here for, and where there is another
ELSEWHERE = {
    "G9": "needs a GPU: no GPU was measured",
}


# why a goal that is not met is not, as far as was counted or profiled. Printed where it is missed.
REASONS = {
    "G1": "a machine that multiplies tiles of bfloat16 (AMX) is fast at products alone. Two"
    " thirds of the forward are beside them: norms, softmax, GELU, the casts of autocast.",
    "G2": "a step has 32 images, so a weight takes part in 64 multiplications, while the gradient,"
    " both moments and the weight itself are read and written. Memory is the limit, not products.",
    "G3": "at 32 px a row is 3 kB, copied one by one, where the limit copies one block. At 224 px"
    " nine tenths of the time go into the float32 batch of 38 MB, one tenth into the gather.",
    "G4": "the same decoding is in both. The pack also checks each file's SHA-256 and writes the"
    " pixels: at 32 px a third of the time is the kernel's, for the pages of that file.",
    "G5": "as G1.",
    "G6": "of 53 us that a replicate of a column takes, 24 are one running sum over 10,000 reals,"
    " in which each addition waits for the one before.",
    "G7": "as G1: the norms and activations of a ResNet at 32 px read and write memory.",
    "G12": "a study is five processes that each import torch or MLflow: a third of the CPU seconds."
    " The audit, MLflow's database, figures and the page are nearly half. The script has none.",
    "G14": "TPE is shown the trials before, 250 at most: up to the 250th a trial costs more than"
    " the one before it, and from there on the same.",
}


def _g1(options: Options) -> list[Goal]:
    from benchmarks.frozen_network import goals

    return goals(options)


def _g2(options: Options) -> list[Goal]:
    from benchmarks.stacked_heads import goal

    return [goal(options)]


def _g3(options: Options) -> list[Goal]:
    from benchmarks.packs import epoch

    return [epoch(options)]


def _g4(options: Options) -> list[Goal]:
    from benchmarks.packs import building

    return [building(options)]


def _g6(options: Options) -> list[Goal]:
    from benchmarks.cell_statistics import goal

    return [goal(options)]


def _g7(options: Options) -> list[Goal]:
    from benchmarks.training_loop import against_notebooks

    return [against_notebooks(options)]


def _g8(options: Options) -> list[Goal]:
    from benchmarks.training_loop import against_itself

    return [against_itself(options)]


def _g10(options: Options) -> list[Goal]:
    from benchmarks.frozen_boundary import goal

    return [goal(options)]


def _g11(options: Options) -> list[Goal]:
    from benchmarks.search_overhead import goal

    return [goal(options)]


def _g14(options: Options) -> list[Goal]:
    from benchmarks.cost_against_size import goal

    return [goal(options)]


def _g12(options: Options) -> list[Goal]:
    from benchmarks.probe_study import goals

    return list(goals(options))


MEASURED: dict[tuple[str, ...], Callable[[Options], list[Goal]]] = {
    ("G1", "G5"): _g1,
    ("G2",): _g2,
    ("G3",): _g3,
    ("G4",): _g4,
    ("G6",): _g6,
    ("G7",): _g7,
    ("G8",): _g8,
    ("G10",): _g10,
    ("G11",): _g11,
    ("G14",): _g14,
    ("G12", "G13"): _g12,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return the exit code: 0, whether or not goals are met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    known = sorted({*ELSEWHERE, *(key for keys in MEASURED for key in keys)}, key=_number)
    parser.add_argument("--only", nargs="+", metavar="GOAL", choices=known, help="some goals (all)")
    parser.add_argument("--rounds", type=int, default=3, help="of each way, in turn (3)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="root of the real datasets")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="root of the weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers as JSON")
    parser.add_argument("--write", action="store_true", help="write results/benchmarks.md")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: give a whole number from 1 on")
    options = Options(rounds=given.rounds, data=given.data, weights=given.weights)
    machine, goals, missing = _machine(), list[Goal](), dict[str, str]()
    print(machine, file=sys.stderr, flush=True)
    for keys, measure in MEASURED.items():
        if given.only and not {*keys} & {*given.only}:
            continue
        if "G12" in keys and not (given.data and given.weights):
            missing |= dict.fromkeys(keys, "needs --data and --weights")
            continue
        for goal in measure(options):
            goals.append(goal)
            print("\n".join(_lines(goal)), file=sys.stderr, flush=True)
    missing |= {key: why for key, why in ELSEWHERE.items() if not given.only or key in given.only}
    text = _table(machine, f"load average at the end: {_load()}", options, goals, missing)
    print(text)
    if given.write:
        TABLE.write_text(text, encoding="utf-8")
    if given.json:
        found = {goal.key: goal.as_json() for goal in goals}
        found |= {key: {"met": None, "reason": why} for key, why in missing.items()}
        document = {
            "machine": machine,
            "goals": dict(sorted(found.items(), key=lambda x: _number(x[0]))),
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _number(key: str) -> int:
    return int(key.removeprefix("G"))


def _load() -> str:
    return ", ".join(f"{one:.1f}" for one in os.getloadavg())


def _machine() -> str:
    """The processor, its cores and the load."""
    name = platform.processor() or platform.machine()
    lines = Path("/proc/cpuinfo")
    if lines.is_file():
        found = [line for line in lines.read_text().splitlines() if line.startswith("model name")]
        name = found[0].partition(":")[2].strip() if found else name
    return f"{name}, {os.cpu_count()} cores, load average before the start: {_load()}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _lines(goal: Goal) -> list[str]:
    """The rows of a goal in Markdown."""
    return [
        "| "
        + " | ".join(
            [
                goal.key,
                f"{goal.title}: {row.name}",
                *(_seconds(row, way) for way in (PROJECT, PEER, LIMIT)),
                _ratio(row.peer_ratio),
                _ratio(row.limit_ratio),
                row.goal,
                "yes" if row.met else "no",
                row.note,
            ]
        )
        + " |"
        for row in goal.rows
    ]


def _seconds(row: Row, way: str) -> str:
    taken = row.taken.get(way)
    return f"{taken.cpu:.3g} ({taken.wall:.3g})" if taken else ""


def _table(
    machine: str, after: str, options: Options, goals: Sequence[Goal], missing: dict[str, str]
) -> str:
    head = "| goal | what | project | peer | limit | peer ratio | limit ratio | wanted | met | |"
    rows = sorted(goals, key=lambda goal: _number(goal.key))
    missed = {one.key for one in goals if not all(row.met for row in one.rows)} & REASONS.keys()
    why = [f"* {key}, missed: {REASONS[key]}" for key in sorted(missed, key=_number)]
    lacking = [f"* {key}: {missing[key]}" for key in sorted(missing, key=_number)]
    return "\n".join(
        [
            "# Goals of speed",
            "",
            "Written by `python -m benchmarks`. CPU seconds, with those of the wall in brackets.",
            "Ratios are of CPU seconds: the peer's and the limit's, over the project's.",
            "",
            f"{machine}, {after}, {options.rounds} round(s).",
            "",
            head,
            "|---" * 10 + "|",
            *(line for goal in rows for line in _lines(goal)),
            "",
            *why,
            *lacking,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

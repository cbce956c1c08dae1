"""Cost against size: images for prepare, audit and `spectrum`, and trials of a trivial detector.

    python -m benchmarks.cost_against_size --folder FOLDER [--images 10000 100000] [--trials 10 100]
    python -m benchmarks.cost_against_size --folder FOLDER --weights WEIGHTS_ROOT

Images are generated (32 px, JPEG, half of them with a checkerboard). With --weights there is a
second study, of a linear probe on a frozen MobileNetV2, which sees them at 224 px: its pack takes
150 kB an image. Each step is a command in a process of its own: CPU seconds of it and of what it
started, and its largest resident memory. Rows are kept in FOLDER/rows.jsonl, so that the script
goes on where it stopped: a step that is measured is not measured again. At the end it prints slopes
(of the logarithms, between neighbouring sizes: 1 is linear) and draws FOLDER/cost_against_size.png.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import LIMIT, PROJECT, Goal, Options, Row, median_of

STEPS = ("prepare", "audit", "sweep", "cross_eval")
FROZEN = ("frozen sweep", "frozen cross_eval")
SIDE, QUALITY = 32, 90
STUDY = """name = "{detector}"
detectors = ["{detector}"]
train_on = ["made"]
test_on = ["made"]
[budget]
trials = 1
seeds = 1
default_winners = false
replicates = 0
null_models = 0
{fixed}
[data]
root = "{root}"
"""


def generate(folder: Path, images: int) -> None:
    """Write images, half of each class, into `real` and `fake`; what is there stays."""
    import numpy as np
    from PIL import Image

    rows, columns = np.indices((SIDE, SIDE))
    board = (6 * ((rows + columns) % 2 * 2 - 1))[:, :, None]
    for label, name in enumerate(("real", "fake")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        there = len(os.listdir(folder / name))  # noqa: PTH208 - a million names
        for number in range(max(0, there - 1), images // 2):
            rng = np.random.default_rng([label, number])
            coarse = Image.fromarray(rng.integers(40, 216, (4, 4, 3), dtype=np.uint8))
            pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.int16)
            pixels = pixels + rng.integers(-8, 9, (SIDE, SIDE, 1)) + label * board
            taken = io.BytesIO()
            made = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            made.save(taken, "JPEG", quality=QUALITY)
            (folder / name / f"{number:07}.jpg").write_bytes(taken.getvalue())


def measured(command: list[str]) -> dict[str, float]:
    """Run a command; return its seconds of the wall and the CPU, and its largest memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}\n{said[-3000:]}")
    return {
        "wall": time.perf_counter() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "mb": usage.ru_maxrss / 1024,
    }


def images(folder: Path, n: int, step: str, weights: Path | None = None) -> dict[str, float]:
    """Measure a step on so many images, in the results of the steps before it. weights: of frozen
    networks.
    """
    here = folder / str(n)
    root = here / "data"
    generate(root / "made", n)
    frozen, _, command = step.rpartition(" ")
    detector = "mobilenetv2_035_linear" if frozen else "spectrum"
    fixed = "" if frozen else "[detector.spectrum]\nsize_px = 32"
    file = here / f"{detector}.toml"
    file.write_text(STUDY.format(root=root, detector=detector, fixed=fixed), encoding="utf-8")
    words = [
        sys.executable,
        "-m",
        f"study.{command}",
        str(file),
        "--results",
        str(here / "results"),
    ]
    words += ["--local"] if command in ("sweep", "cross_eval") else []
    return measured([*words, *(["--weights-root", str(weights)] if frozen else [])])


def trials(n: int) -> dict[str, float]:
    """Measure a search of so many trials that do nothing, with everything recorded but MLflow's
    pages: proposals, dealing, the store.
    """
    code = (
        "import sys, tempfile, pathlib\n"
        "from benchmarks.search_overhead import make_setup, trial, search_driver, TrialRecord\n"
        "from study.runtime.local import LocalLauncher\n"
        "from study.runtime.interface import Terms\n"
        "import functools\n"
        "with tempfile.TemporaryDirectory() as f:\n"
        "    s = make_setup(pathlib.Path(f), 'n', training_sets=1, trials=int(sys.argv[1]),"
        " detectors=('npr',))\n"
        "    r = TrialRecord(s, None, lambda *_: None)\n"
        "    d = search_driver(s, r.known, r.add)\n"
        "    LocalLauncher(Terms(threads=1, failures=s.store.tracebacks)).run_trials("
        "d, functools.partial(trial, seconds=0))\n"
        "    assert r.ran == int(sys.argv[1])\n"
    )
    return measured([sys.executable, "-c", code, str(n)])


def goal(options: Options) -> Goal:
    """G14, at sizes that take minutes: what one more image, and one more trial, costs at a small
    size and at one four (ten) times as large.
    """
    found = Goal(
        "G14", "seconds linear in images and trials: one more, at a small size and a large"
    )
    with tempfile.TemporaryDirectory() as name:
        for step, sizes in (("prepare", (1000, 4000, 16_000)), ("trials", (10, 100, 1000))):
            rounds = [
                [trials(n) if step == "trials" else images(Path(name) / str(turn), n, step)
                 for n in sizes]
                for turn in range(options.rounds)
            ]  # fmt: skip
            taken = {
                way: median_of([_more(one[at], one[at + 1], sizes[at : at + 2]) for one in rounds])
                for way, at in ((LIMIT, 0), (PROJECT, 1))
            }
            note = f"one more of {step}, between {sizes[1]:,} and {sizes[2]:,}; the limit is one"
            note += f" between {sizes[0]:,} and {sizes[1]:,}"
            found.rows.append(Row(name=step, taken=taken, limit_goal=0.8, note=note))
    return found


def _more(
    small: dict[str, float], large: dict[str, float], sizes: Sequence[int]
) -> tuple[float, float]:
    """CPU and wall seconds of one more."""
    of = sizes[1] - sizes[0]
    return (large["cpu"] - small["cpu"]) / of, (large["wall"] - small["wall"]) / of


def slopes(rows: Sequence[dict[str, Any]], what: str) -> list[str]:
    """Return the lines of a step: size, seconds, memory, and the slope since the size before."""
    lines, before = [], None
    for row in sorted(rows, key=lambda one: one["n"]):
        text = f"{row['step']:<12}{row['n']:>10,}{row['cpu']:>10.1f}{row['wall']:>10.1f}"
        text += f"{row['mb']:>10.0f}{1e6 * row['cpu'] / row['n']:>14,.0f}"
        if before:
            times = math.log(row["n"] / before["n"])
            text += f"{math.log(row['cpu'] / before['cpu']) / times:>8.2f}"
            more = (row["mb"] - before["mb"]) * 1024 / (row["n"] - before["n"])
            text += f"{more:>14.2f}"
        lines.append(f"{text}  {what}" if not before else text)
        before = row
    return lines


def draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw CPU seconds against size, both logarithmic, with a line of slope 1."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, what in zip(axes, ("images", "trials"), strict=True):
        mine = [row for row in rows if (row["step"] == "trials") == (what == "trials")]
        for step in dict.fromkeys(row["step"] for row in mine):
            of = sorted((row["n"], row["cpu"]) for row in mine if row["step"] == step)
            axis.loglog(*zip(*of, strict=True), marker="o", label=step)
        axis.set(xlabel=what, ylabel="CPU seconds")
        if mine:
            axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Measure what is missing, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cost")
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    parser.add_argument("--weights", type=Path, help="root of the weights of frozen networks")
    options = parser.parse_args()
    folder = options.folder.resolve()
    steps = (*STEPS, *(FROZEN if options.weights else ()))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(row["step"], row["n"]) for row in rows}
    todo = [(step, n) for n in sorted(options.images) for step in steps]
    todo += [("trials", n) for n in sorted(options.trials)]
    for step, n in todo:
        if (step, n) in done:
            continue
        taken = trials(n) if step == "trials" else images(folder, n, step, options.weights)
        row = {"step": step, "n": n, **taken, "load": os.getloadavg()[0]}
        rows.append(row)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(row) + "\n")
        print(row, flush=True)
    print(
        f"\n{'step':<12}{'size':>10}{'CPU s':>10}{'wall s':>10}{'MB':>10}{'us CPU each':>14}",
        end="",
    )
    print(f"{'slope':>8}{'kB more each':>14}")
    for step in (*STEPS, *FROZEN, "trials"):
        found = [row for row in rows if row["step"] == step]
        print("\n".join(slopes(found, f"load {found[0]['load']:.1f}" if found else "")))
    draw(rows, folder / "cost_against_size.png")
    print(f"\ndrawn: {folder / 'cost_against_size.png'}")


if __name__ == "__main__":
    main()

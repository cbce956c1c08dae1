"""A probe study from end to end, against a careful script that keeps features in a variable.

    python -m benchmarks.probe_study DATA_ROOT WEIGHTS_ROOT [--rounds 2] [--ray]

Both search the strength of a logistic regression on frozen MobileNetV2 features, 20 trials on each
of three datasets, and score the 3 x 3 matrix. The script is what a careful engineer writes in forty
lines: it decodes by a pool of threads, computes each feature once, fits by scikit-learn, and prints
AUCs. The study does all that, and trains three seeds, audits the data, computes intervals and
comparisons, draws figures, and records every trial in its store, MLflow and Optuna. Rounds
alternate, each in a fresh process and an empty folder. The index of the files (hashes) is made
before, for both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.goals import PEER, PROJECT, Goal, Options, Row, Taken

DATASETS = ("faces_140k", "dfdc_faces224", "shoes_midjourney")
TRIALS = 20
SCRIPT = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, timm, torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

lists, weights = json.load(open(sys.argv[1])), sys.argv[2]
net = timm.create_model("mobilenetv2_035", pretrained=False, num_classes=0, pad_type="same")
state = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
net.load_state_dict(state)
net = net.eval().to(memory_format=torch.channels_last)


def decode(path):
    image = Image.open(path).convert("RGB").resize((224, 224), Image.BICUBIC)
    return np.asarray(image)


@torch.inference_mode()
def features(paths, pool):
    rows = []
    for at in range(0, len(paths), 64):
        batch = torch.from_numpy(np.stack(list(pool.map(decode, paths[at : at + 64]))))
        rows.append(net(batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)).numpy())
    return np.concatenate(rows)


with ThreadPoolExecutor() as pool:
    x = {s: {k: features([p for p, _ in v], pool) for k, v in one.items()}
         for s, one in lists.items()}
y = {s: {k: np.array([l for _, l in v]) for k, v in one.items()} for s, one in lists.items()}
for source in lists:
    scaler = StandardScaler().fit(x[source]["train"])
    best = (-1.0, None)
    for C in np.logspace(-5, 1, int(sys.argv[3])):
        model = LogisticRegression(C=C, max_iter=5000)
        model.fit(scaler.transform(x[source]["train"]), y[source]["train"])
        val = model.decision_function(scaler.transform(x[source]["val"]))
        best = max(best, (roc_auc_score(y[source]["val"], val), C, model), key=lambda b: b[0])
    scored = {t: roc_auc_score(y[t]["test"], best[2].decision_function(
        scaler.transform(x[t]["test"]))) for t in lists}
    print(source, best[1], {t: round(a, 3) for t, a in scored.items()})
"""


def settings(data: Path) -> list[str]:
    """Return the study as settings of `quick`'s commands."""
    names = json.dumps(DATASETS)
    chosen = (
        "name=probes",
        'detectors=["mobilenetv2_035_linear"]',
        f"train_on={names}",
        f"test_on={names}",
        f"budget.trials={TRIALS}",
        "budget.seeds=3",
        f"data.root={json.dumps(str(data))}",
        "data.max_per_class=200",
        "budget.default_winners=false",
        # the script trains nothing on draws
        "budget.replicates=0",
        "budget.null_models=0",
    )
    return [word for one in chosen for word in ("--set", one)]


def timed(command: list[str], **options: Any) -> tuple[float, float]:
    """Run a command; return its wall seconds and the CPU seconds of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    wall = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def write_lists(data: Path, results: Path, file: Path) -> None:
    """Write the images of every split as the study has them, so that both use the same."""
    from study.data.catalog import Catalog, DataConfig

    config = DataConfig(root=data, cache=results / "cache", max_per_class=200)
    catalog = Catalog(config, firewall=False)
    lists: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for name in DATASETS:
        dataset = catalog.dataset(name)
        for row in dataset.usable.select(["path", "label", "split"]).to_pylist():
            path = str(dataset.root / row["path"])
            lists.setdefault(name, {}).setdefault(row["split"], []).append((path, row["label"]))
    file.write_text(json.dumps(lists), encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="measure the study on Ray too")
    options = parser.parse_args()
    data, weights = options.data.resolve(), options.weights.resolve()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{os.cpu_count()} cores; load average before the start: {load}")
    print("CPU: of the command and what it started; of Ray's own processes it is not seen")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lists(data, folder / "indexed", folder / "lists.json")
        (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
        ways = ["script", "--local", *(["Ray"] if options.ray else [])]
        measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way in ways:
                measured[way].append(_measure(way, folder, data, weights))
        wall, cpu = ({w: min(one[i] for one in of) for w, of in measured.items()} for i in (0, 1))
        for way in ways[1:]:
            print(
                f"{way}: {wall[way] / wall['script']:.2f} x the script in wall time,"
                f" {cpu[way] / cpu['script']:.2f} x in CPU time (least of each)"
            )
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"load average at the end: {load}")


def goals(options: Options) -> tuple[Goal, Goal]:
    """G12: the study against the script. G13: its commands once more, with nothing to do."""
    end_to_end = Goal("G12", "a probe study from end to end, against a script that keeps features")
    again = Goal("G13", "a command with nothing left to do")
    assert options.data and options.weights
    data, weights = options.data.resolve(), options.weights.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lists(data, folder / "indexed", folder / "lists.json")
        (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
        measured: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            # its two threads wait for each other where other programs run, and spend seconds on it
            for way in ("script", "script, one thread", "--local", "Ray"):
                measured.setdefault(way, []).append(_measure(way, folder, data, weights))
                if way == "--local":
                    for command in ("sweep", "cross_eval"):
                        words = study_words(command, folder / "results", data, weights)
                        measured.setdefault(command, []).append(timed([*words, "--local"]))
    took = {
        way: Taken(cpu=median(cpu for _, cpu in of), wall=median(wall for wall, _ in of))
        for way, of in measured.items()
    }
    script = Taken(cpu=took["script, one thread"].cpu, wall=took["script"].wall)
    for way, wanted in (("--local", 1 / 1.5), ("Ray", 1 / 3)):
        cpu, wall = took[way].cpu / script.cpu, took[way].wall / script.wall
        note = f"{wall:.2f} x the script in wall time, "
        note += {
            "--local": f"{cpu:.2f} x in CPU seconds (the script's with one thread)",
            "Ray": "by which it is judged: the CPU seconds of Ray's processes are not seen",
        }[way]
        taken = {PROJECT: took[way], PEER: script}
        row = Row(name=way, taken=taken, peer_goal=wanted, note=note, by_wall=way == "Ray")
        end_to_end.rows.append(row)
    for command in ("sweep", "cross_eval"):
        limit = Taken(cpu=2.0, wall=2.0)
        taken, note = {PROJECT: took[command], "limit": limit}, "the limit is 2 s"
        again.rows.append(Row(name=command, taken=taken, limit_goal=1, note=note))
    return end_to_end, again


def study_words(command: str, results: Path, data: Path, weights: Path) -> list[str]:
    """The command line of a command on the study."""
    words = [sys.executable, "-m", f"study.{command}", "quick", *settings(data)]
    return [*words, "--results", str(results), "--weights-root", str(weights)]


def _measure(way: str, folder: Path, data: Path, weights: Path) -> tuple[float, float]:
    """Run one way from end to end; return its wall and CPU seconds."""
    if way.startswith("script"):
        lists, file = str(folder / "lists.json"), str(weights / "mobilenetv2_035.safetensors")
        words = [sys.executable, str(folder / "script.py"), lists, file, str(TRIALS)]
        own = {"OMP_NUM_THREADS": "1"} if way != "script" else {}
        wall, cpu = timed(words, env={**os.environ, **own})
        print(f"{way:8} {wall:6.1f} s wall, {cpu:6.1f} s CPU", flush=True)
        return wall, cpu
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(folder / "indexed", results)
    total = total_cpu = 0.0
    for command in ("sweep", "cross_eval"):
        words = study_words(command, results, data, weights)
        wall, cpu = timed([*words, *(["--local"] if way == "--local" else [])])
        print(f"{way:8} {wall:6.1f} s wall, {cpu:6.1f} s CPU  {command}", flush=True)
        total, total_cpu = total + wall, total_cpu + cpu
    return total, total_cpu


if __name__ == "__main__":
    main()

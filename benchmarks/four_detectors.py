"""Four detectors on frozen networks, forwards included, and what the notebook way takes.

    python -m benchmarks.four_detectors DATA_ROOT WEIGHTS_ROOT --results FOLDER [--ray]

`mobilenetv2_035_linear` (a logistic regression), and linear heads by gradient on three networks of
timm with at most 1 GMAC, whose weights are random from a seed, because only time is measured. Each
is searched on three datasets with 50 trials, trained with 3 seeds and the default replicates, and
scored on all three. Goal: 6 minutes on two cores.

The notebook way decodes and forwards every image anew, in every epoch of every trial. It is
measured on a slice (an epoch over 128 images, decoded by Pillow in a DataLoader with two workers,
and the network's forward) and multiplied by the epochs and images that this study has.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.goals import spent

DATASETS = ("faces_140k", "dfdc_faces224", "shoes_midjourney")
PROBE = "mobilenetv2_035_linear"
NETWORKS = {  # GMAC at 224 px, as timm's results say
    "timm:mobilenetv3_small_100": 0.06,
    "timm:lcnet_100": 0.16,
    "timm:regnetx_002": 0.20,
}
SEEDS = 3
GOAL_S = 360.0
SLICE = 128


def make_weights(given: Path, folder: Path) -> None:
    """Put the probe's weights and random ones of the networks into a folder, as timm names them."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given / "mobilenetv2_035.safetensors", folder / "mobilenetv2_035.safetensors")
    for name in NETWORKS:
        backbone = name.removeprefix("timm:")
        config = timm.get_pretrained_cfg(backbone)
        assert config is not None, f"timm has no {backbone}"
        torch.manual_seed(0)
        network = timm.create_model(backbone, pretrained=False)
        state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        save_file(state, folder / f"{backbone}.{config.tag}.safetensors")


def study_text(data: Path, trials: int, images: int) -> str:
    """Return the study file. images: of a class, 0 for all."""
    names = json.dumps(DATASETS)
    heads = "\n".join(f'[detector."{name}"]\nschedule = "head"' for name in NETWORKS)
    return f"""name = "four"
detectors = {json.dumps([PROBE, *NETWORKS])}
train_on = {names}
test_on = {names}
[budget]
trials = {trials}
seeds = {SEEDS}
[data]
root = {json.dumps(str(data))}
max_per_class = {images}
{heads}
"""


def run(command: str, words: list[str]) -> tuple[float, float]:
    """Run a command; return its wall and CPU seconds (of Ray's own processes none are seen)."""
    cpu, wall = spent(), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", f"study.{command}", *words], check=False)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}")
    return time.perf_counter() - wall, spent() - cpu


def notebook_pass(name: str, data: Path, weights: Path) -> float:
    """Seconds of the wall that the notebook way takes an image: decode, resize, forward; the best
    of three epochs over a slice, with as many threads as there are cores.
    """
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    paths = sorted((data / DATASETS[0]).rglob("*.jpg"))[:SLICE]

    class Files(Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, at: int) -> Any:
            image = (
                Image.open(paths[at]).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
            )
            return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 127.5 - 1

    backbone = "mobilenetv2_035" if name == PROBE else name.removeprefix("timm:")
    network = timm.create_model(backbone, pretrained=False, num_classes=0).eval()
    loader, best = DataLoader(Files(), batch_size=32, num_workers=2), float("inf")
    for _ in range(3):
        start = time.perf_counter()
        with torch.no_grad():
            for batch in loader:
                network(batch)
        best = min(best, (time.perf_counter() - start) / len(paths))
    return best


def passes(folder: Path) -> dict[str, int]:
    """How many images the notebook way forwards for the trials, winners and cells of this study, by
    detector. Draws, probes and intervals are not in it: the notebooks have none.
    """
    from study.planning.open_study import open_study
    from study.planning.study_file import load_study
    from study.store.store import Store

    store = Store(folder / "results", "four")
    study = load_study(str(folder / "four.toml"))
    opened = open_study(
        study, results=folder / "results", weights_root=folder / "weights", firewall=False
    )
    images = {n: opened.workspace.catalog.dataset(n).counts() for n in DATASETS}
    of = {n: {split: sum(both) for split, both in found.items()} for n, found in images.items()}
    tests = sum(one["test"] for one in of.values())
    found = dict.fromkeys([PROBE, *NETWORKS], 0)
    best: dict[tuple[str, str], tuple[float, int]] = {}
    for trial, result in store.trials():
        pair, epochs = (trial.pairing.detector, trial.pairing.train_on), len(result.history)
        found[pair[0]] += epochs * (of[pair[1]]["train"] + of[pair[1]]["val"])
        best[pair] = max(best.get(pair, (0.0, 0)), (result.val_auc, epochs))
    for (detector, source), (_, epochs) in best.items():
        fit = epochs * (of[source]["train"] + of[source]["val"])
        found[detector] += SEEDS * (fit + tests)
    return found


def say(folder: Path, data: Path, taken: Mapping[str, tuple[float, float]]) -> None:
    """Print the table."""
    wall = sum(one for one, _ in taken.values())
    cpu = sum(one for _, one in taken.values())
    for command, (seconds, computed) in taken.items():
        print(f"{command:10} {seconds:7.1f} s wall, {computed:7.1f} s CPU")
    print(f"together   {wall:7.1f} s wall, {cpu:7.1f} s CPU; goal {GOAL_S:.0f} s on two cores")
    print(f"           {cpu / 2:7.1f} s if two free cores shared the CPU seconds evenly")
    notebook = 0.0
    for name, images in passes(folder).items():
        each = notebook_pass(name, data, folder / "weights")
        notebook += images * each
        said = f"{images:,} images forwarded, {1e3 * each:.2f} ms each in a slice of {SLICE}"
        print(f"notebook way, {name}: {said}: {images * each / 3600:.2f} h")
    print(f"notebook way, together: {notebook / 3600:.1f} h, {notebook / wall:.0f} x the study")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--results", type=Path, required=True, help="a new folder")
    parser.add_argument("--ray", action="store_true", help="on Ray instead of --local")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--max-per-class", type=int, default=0, help="to try the script (0: all)")
    options = parser.parse_args()
    data, folder = options.data.resolve(), options.results.resolve()
    if folder.exists():
        parser.error(f"--results {folder} exists: name a new folder")
    make_weights(options.weights, folder / "weights")
    file = folder / "four.toml"
    file.write_text(study_text(data, options.trials, options.max_per_class), encoding="utf-8")
    words = [str(file), "--results", str(folder / "results")]
    words += ["--weights-root", str(folder / "weights"), *([] if options.ray else ["--local"])]
    print(f"{os.cpu_count()} cores; load average before the start: {os.getloadavg()}", flush=True)
    taken = {command: run(command, words) for command in ("sweep", "cross_eval")}
    print(f"load average at the end: {os.getloadavg()}")
    say(folder, data, taken)


if __name__ == "__main__":
    main()

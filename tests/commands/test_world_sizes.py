"""One, two and three workers: the same images are scored, and the same matrix comes.

Trials of several workers differ in their last digits; a search of one trial has one configuration,
which its winners train alone. Cells are shared out among a group of so many workers.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.factories import write_dataset

pytestmark = [pytest.mark.ray, pytest.mark.slow]
# a cluster of three CPUs, however many the machine has, in the process that runs the commands
PROGRAM = """
import sys
from study import cross_eval, sweep
from study.runtime.cluster import Cluster

study, results, size = sys.argv[1:]
cluster = Cluster(cpus=3)
try:
    own = [study, "--results", results, "--set", f"run.workers_per_trial={size}"]
    code = sweep.main([*own, "--address", cluster.address])
    code = code or cross_eval.main([*own, "--address", cluster.address, "--slots", size])
finally:
    cluster.close()
sys.exit(code)
"""
STUDY = """
name = "small"
detectors = ["npr"]
train_on = ["alpha", "beta"]
[budget]
trials = 1
epochs = 2
seeds = 2
replicates = 0
null_models = 0
[detector.npr]
size_px = 32
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("alpha", "beta"), start=1):
        write_dataset(folder / "datasets" / name, n=30, size=32, seed=seed)
    path = folder / "small.toml"
    path.write_text(f'{STUDY}[data]\nroot = "{folder / "datasets"}"\n', encoding="utf-8")
    return path


def test_one_two_and_three_workers_score_the_same_images_alike(study: Path, tmp_path: Path) -> None:
    matrices, scored = [], []
    for size in "123":
        results = tmp_path / size
        words = [sys.executable, "-c", PROGRAM, str(study), str(results), size]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        matrices.append((results / "small" / "matrix.csv").read_text(encoding="utf-8"))
        tables = [
            pq.read_table(path, columns=["sample_id", "label", "logit"]).to_pydict()
            for path in sorted((results / "small" / "scores").glob("*.parquet"))
        ]
        scored.append(tables)
        for table in tables:
            assert len({*table["sample_id"]}) == len(table["sample_id"]) > 0
    assert len(scored[0]) == 2 * 2 * 2  # training sets, test sets, seeds
    assert scored[0] == scored[1] == scored[2]
    assert matrices[0] == matrices[1] == matrices[2] != ""

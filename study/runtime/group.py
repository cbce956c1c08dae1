"""What training groups of Ray Train have in common: their settings, and the small files by which
their workers speak.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from study.core.identity import whole_file
from study.runtime.places import Places

START_ATTEMPTS = 20  # to find places for all workers, on a cluster that others use


class SharedFiles:
    """Small pickled files in a folder that all nodes see: whole as soon as they are seen, and still
    there when their writer is dead.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, thing: Any) -> None:
        """Write a file."""
        with whole_file(self.folder / name) as path:
            path.write_bytes(pickle.dumps(thing))

    def read(self, name: str) -> Any:
        """Return what a file holds, None where it is not there."""
        path = self.folder / name
        return pickle.loads(path.read_bytes()) if path.exists() else None


def group_settings(places: Places, *, workers: int, folder: Path) -> dict[str, Any]:
    """Return the settings of a group of `workers`, whose failures are decided here and not by Ray
    Train. folder: its own, named as no group before it.
    """
    return {
        "scaling_config": ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=places.gpus > 0,
            resources_per_worker={"CPU": places.cpus}
            | ({"GPU": places.gpus} if places.gpus else {}),
        ),
        "run_config": ray.train.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=ray.train.FailureConfig(
                max_failures=0, controller_failure_limit=START_ATTEMPTS
            ),
        ),
    }


def use_own_gpu() -> None:
    """Make the GPU that Ray Train gave this worker the current one; it may see those of all workers
    on its node.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())

"""What training groups of Ray Train have in common: how they are started, and the small files by
which their workers speak.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig

# What TorchTrainer is made of. It would have a process group for workers that need none.
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

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


class Group:
    """A group of workers that does `work`, started in a thread. `error`: what ended it, None where
    all workers came to an end of their own.

    Ray Train would install a handler for Ctrl-C that it never takes away, that waits for a group
    which is only starting, and that ends this process with exit code 0. In a thread it installs
    none, and the main thread is interrupted as ever.
    """

    def __init__(
        self,
        work: Callable[[dict[str, Any]], None],
        config: dict[str, Any],
        *,
        workers: int,
        places: Places,
        folder: Path,
        backend: str = "",
        waits: int = START_ATTEMPTS,
        trainer: type[DataParallelTrainer] = DataParallelTrainer,
    ) -> None:
        """Start. config: what `work` is given. folder: named as that of no group before it.
        backend: of torch.distributed; "" for workers that do nothing together, and need not reach
        each other. waits: how often its places are waited for, 15 s each time. Its failures are
        decided by whoever started it, and not by Ray Train.
        """
        gpus = {"GPU": places.gpus} if places.gpus else {}
        self.trainer = trainer(
            work,
            train_loop_config=config,
            backend_config=TorchConfig(backend=backend) if backend else BackendConfig(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers,
                use_gpu=places.gpus > 0,
                resources_per_worker={"CPU": places.cpus, **gpus},
            ),
            run_config=ray.train.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                failure_config=ray.train.FailureConfig(
                    max_failures=0, controller_failure_limit=waits
                ),
            ),
        )
        self.error: Exception | None = None
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.trainer.fit()
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()


def use_own_gpu() -> None:
    """Make the GPU that Ray Train gave this worker the current one; it may see those of all workers
    on its node.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())

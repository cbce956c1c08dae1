"""What the processes of one group do in test_world.py: scenarios by name, each run on every rank,
its answers left in a file.

One group of a size serves all tests, since a process takes seconds to start.
"""

from __future__ import annotations

import datetime
import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing

from study.core.errors import DivergedError, StoreError, TrialStopped
from study.core.records import EpochRecord
from study.detectors.base import Detector
from study.training import features
from study.training.augment import Batch
from study.training.features import compute_features
from study.training.fit import fit
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import phases
from study.training.score import score
from study.training.session import FitResult
from study.training.steps import Steps
from tests.training.fakes import attentive, images, limit_memory, plain, tiny

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
# images of a step: as many as ranks, fewer, and not divisible among them
BATCHES = (2, 3, 5, 7, 16)
SPLITS = (1, 63, 64, 65, 130)
Answers = dict[str, Any]


@dataclass
class FileSession:
    """A checkpoint in a file that all ranks see; `stop_at` an epoch's report the trial is
    stopped.
    """

    file: Path
    stop_at: int | None = None
    records: list[EpochRecord] = field(default_factory=list)
    saves: int = 0

    def report(self, record: EpochRecord) -> None:
        self.records.append(record)
        if record.epoch == self.stop_at:
            raise TrialStopped("by the scheduler")

    def load(self) -> dict[str, Any] | None:
        return torch.load(self.file, weights_only=True) if self.file.is_file() else None

    def keep_epoch(self, epoch: int, state: Mapping[str, torch.Tensor]) -> None:
        pass

    def save(self, state: dict[str, Any]) -> None:
        self.saves += 1
        torch.save(state, self.file)


def train(
    detector: Detector,
    session: FileSession,
    processes: ProcessGroup,
    *,
    epochs: int = 4,
    balanced: bool = False,
    **settings: Any,
) -> FitResult:
    """21 images in batches of 5, the last of 6: not divisible by 2 or 3."""
    recipe = Recipe.from_params({"batch_size": 5, "lr": 0.02, "patience": 0, **settings})
    pictures, val = images(21), images(70, seed=1)
    features.SHARED.clear()
    strata = pictures.label.astype(np.int64) if balanced else None
    return fit(
        detector,
        pictures,
        val,
        recipe,
        epochs=epochs,
        seed=0,
        runtime=RUNTIME,
        session=session,
        processes=processes,
        strata=strata,
    )


def outcome(detector: Detector, result: FitResult, session: FileSession) -> Answers:
    state = {name: value.clone() for name, value in detector.state_dict().items()}
    return {
        "result": result,
        "state": state,
        "told": [r.epoch for r in session.records],
        "saves": session.saves,
    }


def gradients(processes: ProcessGroup, folder: Path) -> Answers:
    """The gradient of one step, by batch size; the loss too."""
    answers: Answers = {}
    for n in BATCHES:
        detector = plain()
        recipe = Recipe.from_params({"clip_norm": 0.0})
        steps = Steps(detector, images(21), recipe, seed=0, runtime=RUNTIME, processes=processes)
        steps.begin(phases(recipe, n_stages=4, epochs=1)[0])
        assert steps.optimizer is not None
        steps.optimizer.step = lambda closure=None: None
        loss = steps._step(
            Batch(torch.arange(n), torch.arange(n), torch.zeros(n, dtype=torch.bool)), 0.1
        )
        answers[str(n)] = loss, {name: p.grad for name, p in detector.named_parameters()}
    return answers


def scores(processes: ProcessGroup, folder: Path) -> Answers:
    """Logits and features by the size of the split, with the images that this rank read."""
    answers: Answers = {}
    for n in SPLITS:
        pictures = images(n)
        logit = score(tiny(), pictures, runtime=RUNTIME, processes=processes)
        read = pictures.read
        answers[str(n)] = (
            logit,
            read,
            compute_features(tiny(), pictures, runtime=RUNTIME, flip=True, processes=processes),
        )
    return answers


def fits(processes: ProcessGroup, folder: Path) -> Answers:
    """Whole fits, without and with what makes shares differ."""
    answers: Answers = {}
    for name, make, settings in (
        ("plain", plain, {"schedule": "progressive", "layer_decay": 0.7}),
        ("head", plain, {"schedule": "head"}),
        ("balanced", plain, {"balanced": True, "crop": 0.5, "mixup": 0.4}),
        ("low rank", attentive, {"schedule": "lora", "lora_rank": 2, "layer_decay": 0.7}),
        ("tiny", tiny, {"schedule": "progressive", "dropout": 0.2, "clip_norm": 0.1}),
    ):
        detector, session = make(), FileSession(folder / f"{name}-{processes.size}")
        answers[name] = outcome(detector, train(detector, session, processes, **settings), session)
    return answers


def resumed(processes: ProcessGroup, folder: Path) -> Answers:
    """A fit that is stopped at its second epoch, and one that goes on from there with nothing
    kept.
    """
    session = FileSession(folder / f"resumed-{processes.size}", stop_at=1)
    stopped = ""
    try:
        train(tiny(), session, processes, schedule="progressive", dropout=0.2, clip_norm=0.1)
    except TrialStopped as error:
        stopped = str(error)
    detector, again = tiny(), FileSession(session.file)
    result = train(detector, again, processes, schedule="progressive", dropout=0.2, clip_norm=0.1)
    return {"stopped": stopped, "first": session.records, **outcome(detector, result, again)}


def seeds(processes: ProcessGroup, folder: Path) -> Answers:
    """The seeds that dropout follows from, epoch by epoch."""
    detector, seen = plain(), list[int]()
    detector.stem.register_forward_pre_hook(
        lambda *_: seen.append(torch.initial_seed()) if torch.is_grad_enabled() else None
    )
    train(detector, FileSession(folder / f"seeds-{processes.size}"), processes, epochs=2)
    return {"seen": list(dict.fromkeys(seen))}


def statistics(processes: ProcessGroup, folder: Path) -> Answers:
    """BatchNorm's after one epoch of one batch."""
    detector = tiny()
    recipe = Recipe.from_params({"batch_size": 32, "flip": 0.0, "lr": 1e-6})
    session = FileSession(folder / f"statistics-{processes.size}")
    fit(
        detector,
        images(23),
        images(15),
        recipe,
        epochs=1,
        seed=0,
        runtime=RUNTIME,
        session=session,
        processes=processes,
    )
    return {"mean": detector.stem[1].running_mean.clone()}


def short_of_memory(processes: ProcessGroup, folder: Path) -> Answers:
    """Only the last rank runs out of memory."""
    detector, session = plain(), FileSession(folder / f"short-{processes.size}")
    if processes.rank == processes.size - 1:
        limit_memory(detector.stem, 1)
    return outcome(detector, train(detector, session, processes), session)


def refused(processes: ProcessGroup, folder: Path) -> Answers:
    """What every rank must raise, although one alone has the cause."""
    answers: Answers = {}
    try:
        train(
            plain(),
            FileSession(folder / f"diverged-{processes.size}"),
            processes,
            lr=1e30,
            clip_norm=0.0,
            warmup_share=0.0,
        )
    except DivergedError as error:
        answers["diverged"] = str(error)
    file = folder / f"plain-{processes.size}" if processes.rank == 0 else folder / "nothing"
    try:
        train(plain(), FileSession(file), processes, schedule="progressive", layer_decay=0.7)
    except StoreError as error:
        answers["not shared"] = str(error)
    return answers


def identities(processes: ProcessGroup, folder: Path) -> Answers:
    """A checkpoint of one worker is none for several."""
    alone = FileSession(folder / f"alone-{processes.size}-{processes.rank}")
    train(plain(), alone, ALONE, epochs=1)
    shared, detector = FileSession(folder / f"alone-{processes.size}-0"), plain()
    processes.each(0.0)
    return outcome(detector, train(detector, shared, processes, epochs=1), shared)


def logistic(processes: ProcessGroup, folder: Path) -> Answers:
    from study.detectors import registry

    detector = registry.build(
        registry.resolve("spectrum", options={"size_px": 16}, weights_root=None),
        weights_root=None,
        seed=0,
    )
    train, val = images(90, size_px=16), images(70, seed=1, size_px=16)
    session = FileSession(folder / "logistic")
    result = fit(
        detector,
        train,
        val,
        Recipe(),
        epochs=1,
        seed=0,
        runtime=RUNTIME,
        session=session,
        processes=processes,
    )
    return {**outcome(detector, result, session), "read": train.read + val.read}


def primitives(processes: ProcessGroup, folder: Path) -> Answers:
    first, second, third = (
        torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (2,), (1,))
    )
    first.grad = torch.full((2, 3), float(processes.rank + 1))
    if processes.rank == 0:
        second.grad = torch.tensor([5.0, 7.0])
    processes.sum_gradients([first, second, third])
    means = [
        torch.tensor([float(processes.rank), torch.nan if processes.rank == 1 else 4.0]),
        torch.tensor([2.0]),
    ]
    processes.average(means, weight=0.0 if processes.rank == 1 else 1.0)
    odd = torch.tensor([[-0.0, torch.inf], [torch.nan, 1e-45]])
    mine = [(np.arange(2 * processes.rank, 2 * processes.rank + 2), odd * (processes.rank + 1))]
    return {
        "world": ProcessGroup.current(),
        "each": processes.each(0.1 * (processes.rank + 1)),
        "gradients": [first.grad, second.grad, third.grad],
        "means": means,
        "joined": processes.join(mine, (2 * processes.size, 2), "cpu"),
    }


SCENARIOS: tuple[Callable[[ProcessGroup, Path], Answers], ...] = (
    primitives,
    gradients,
    scores,
    fits,
    resumed,
    seeds,
    statistics,
    short_of_memory,
    refused,
    identities,
    logistic,
)


def _process(rank: int, size: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/group",
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=120),
    )
    RUNTIME.apply()
    answers = {
        scenario.__name__: scenario(ProcessGroup.current(), folder) for scenario in SCENARIOS
    }
    (folder / f"answers-{size}-{rank}").write_bytes(pickle.dumps(answers))
    dist.destroy_process_group()


def run_group(size: int, folder: Path) -> list[dict[str, Answers]]:
    """Run every scenario on `size` processes; return their answers, rank by rank."""
    # where a group has met before, another would wait for its dead members
    folder = Path(tempfile.mkdtemp(dir=folder))
    torch.multiprocessing.spawn(_process, args=(size, folder), nprocs=size)
    return [pickle.loads((folder / f"answers-{size}-{rank}").read_bytes()) for rank in range(size)]

"""What a fit keeps after every epoch: its history, and the tensors its schedule can change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.errors import StoreError
from study.core.records import EpochRecord
from study.detectors.base import Detector
from study.training.lora import adapter_parameters
from study.training.process_group import ProcessGroup
from study.training.session import Session

CHECKPOINT_SCHEMA = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A fit between two epochs.

    best_logit: (N,) float32 on source val. best_state, state: of the best epoch and of the last
    one, by name, on the CPU.
    optimizer: its state, None at a phase's end: the next one begins with a fresh one.
    micro_batches: of each rank, 0 for its whole share.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    best_logit: NDArray[np.float32]
    best_state: dict[str, Tensor]
    state: dict[str, Tensor]
    optimizer: dict[str, Any] | None
    micro_batches: list[int]


def save(session: Session, identity: str, checkpoint: Checkpoint) -> None:
    """Hand a checkpoint to the session, in a form that `torch.load(..., weights_only=True)` reads.

    identity: of the fit: everything that decides its outcome.
    """
    session.save(
        {
            **vars(checkpoint),
            "schema": CHECKPOINT_SCHEMA,
            "identity": identity,
            "history": [asdict(record) for record in checkpoint.history],
            "best_logit": torch.from_numpy(checkpoint.best_logit),
        }
    )


def load(session: Session, identity: str, processes: ProcessGroup) -> Checkpoint | None:
    """Return the session's checkpoint where it is of this fit and version, else None.

    Raises StoreError where the workers do not see the same one.
    """
    state = session.load()
    if state is not None and (
        state.get("schema") != CHECKPOINT_SCHEMA or state.get("identity") != identity
    ):
        state = None
    seen = processes.each(len(state["history"]) if state else 0)
    if len(set(seen)) > 1:
        raise StoreError(
            "the workers of one trial found checkpoints of"
            f" {' and '.join(f'{n:.0f}' for n in seen)} epochs: put the results on a disk that all"
            " nodes share"
        )
    if state is None:
        return None
    history = tuple(EpochRecord(**record) for record in state["history"])
    kept = {**state, "history": history, "best_logit": state["best_logit"].numpy()}
    return Checkpoint(**{field.name: kept[field.name] for field in fields(Checkpoint)})


def trained_tensors(detector: Detector, stages: int) -> dict[str, Tensor]:
    """Return what training can change, by name: parameters and saved buffers of the first stages,
    and all low-rank matrices.

    Where those are all stages it is all that is saved: statistics of a layer without parameters are
    in no stage.
    """
    saved = detector.state_dict()
    named = (*detector.named_parameters(), *detector.named_buffers())
    live = {name: tensor for name, tensor in named if name in saved}
    if stages >= len(detector.stages()):
        return live
    changed = {id(parameter) for parameter in adapter_parameters(detector)}
    for stage in detector.stages()[:stages]:
        changed |= {id(parameter) for parameter in stage.all_parameters()}
        changed |= {id(buffer) for module in stage.modules for buffer in module.buffers()}
    return {name: tensor for name, tensor in live.items() if id(tensor) in changed}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def fill(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy saved values into live tensors of the same names."""
    assert tensors.keys() == values.keys()
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(values[name])

"""The workers that train one detector together: who has which images, and how what each computed
comes together.

A `ProcessGroup` is a rank among `size` processes with one `torch.distributed` group; with one
process everything here is nothing at all. Whatever a decision rests on (a loss, a logit) is brought
together first, so that it is the same bits on every rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

T = TypeVar("T")
LEAST_SHARE = 2
"""Images of a share that is not empty: BatchNorm has no variance over one value."""


@dataclass(frozen=True)
class ProcessGroup:
    """One of `size` workers, 0 <= rank < size. Everything below but `share` and `deal` is called by
    all of them, in one order.
    """

    rank: int
    size: int

    @classmethod
    def current(cls) -> ProcessGroup:
        """Return this process's place in torch's default group; `ALONE` where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return ALONE
        return cls(rank=dist.get_rank(), size=dist.get_world_size())

    def share(self, batch: Tensor) -> Tensor:
        """Return this rank's slice of a batch (B, ...): in order, even, no single image."""
        parts = even_parts(batch, self.size, least=LEAST_SHARE)
        return parts[self.rank] if self.rank < len(parts) else batch[:0]

    def deal(self, items: Sequence[T]) -> list[T]:
        """Return this rank's items, dealt round robin."""
        return list(items[self.rank :: self.size])

    def join(
        self, parts: Iterable[tuple[NDArray[np.int64], Tensor]], shape: tuple[int, ...], device: str
    ) -> Tensor:
        """Bring rows together that were computed on one rank each, on all of them.

        parts: this rank's (index (B,), consecutive and not empty; rows (B, ...) float32), which may
        be computed as they are asked for: there is room for them all before the first. shape: of
        the whole, (N, ...). Returns the whole on `device`. No bit changes: added up are the bit
        patterns, with the zeros of the other ranks.
        """
        whole, rows_here = torch.zeros(shape, dtype=torch.float32, device=device), 0
        for index, rows in parts:
            assert rows.dtype == torch.float32, rows.dtype
            whole[index[0] : index[-1] + 1] = rows.to(device)
            rows_here += len(index)
        assert self.sum(rows_here) == shape[0], "every row is computed once"
        if self.size > 1 and whole.numel():
            bits = whole.view(torch.int32).to(_device(whole.device))
            dist.all_reduce(bits)
            whole = bits.to(device).view(torch.float32)
        return whole

    def each(self, value: float) -> list[float]:
        """Return every rank's value, in order of ranks. Nobody goes on before all are here."""
        if self.size == 1:
            return [float(value)]
        values = torch.zeros(self.size, dtype=torch.float64)
        values[self.rank] = value
        values = values.to(_device(torch.device("cpu")))
        dist.all_reduce(values)
        return [float(v) for v in values.tolist()]

    def sum(self, value: float) -> float:
        """Return the sum of all ranks' values."""
        return sum(self.each(value))

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the sum of all ranks' gradients into each; one that no rank has stays absent."""
        if self.size == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        present = torch.tensor(
            [float(p.grad is not None) for p in parameters], device=gradients[0].device
        )
        *sums, present = self._total([*gradients, present])
        for parameter, total, ranks in zip(parameters, sums, present.tolist(), strict=True):
            parameter.grad = total if ranks else None

    def average(self, tensors: Sequence[Tensor], weight: float) -> None:
        """Put the weighted mean over ranks into each tensor. weight: this rank's, not negative,
        above 0 on one of them at least.
        """
        if self.size == 1 or not tensors:
            return
        part = weight / self.sum(weight)
        # A rank without weight counts for nothing, whatever it holds: 0 x NaN would be NaN.
        scaled = [tensor * part if part else torch.zeros_like(tensor) for tensor in tensors]
        for tensor, mean in zip(tensors, self._total(scaled), strict=True):
            tensor.copy_(mean)

    @staticmethod
    def _total(tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sum tensors over ranks, all in one message; each comes back in its own layout."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        message = flat.to(_device(flat.device))
        dist.all_reduce(message)
        pieces = torch.split(message.to(flat.device), [tensor.numel() for tensor in tensors])
        return [
            torch.empty_like(t).copy_(piece.view(t.shape))
            for t, piece in zip(tensors, pieces, strict=True)
        ]


ALONE = ProcessGroup(rank=0, size=1)


def even_parts(batch: Tensor, count: int, *, least: int) -> list[Tensor]:
    """Cut a batch (B, ...) into `count` slices, in order, sizes one apart at most.

    Fewer where some would be below `least`, one where the batch itself is, and none of an empty
    batch.
    """
    count = max(1, min(count, len(batch) // least))
    return list(torch.tensor_split(batch, count)) if len(batch) else []


def _device(own: torch.device) -> torch.device:
    """Return where a tensor must lie to be sent: gloo sends from memory, NCCL from the GPU."""
    if dist.get_backend() != "nccl":
        return torch.device("cpu")
    return own if own.type == "cuda" else torch.device("cuda", torch.cuda.current_device())

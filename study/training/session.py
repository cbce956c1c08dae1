"""What the training loop is given and what it gives: images, a session to report to, a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from study.core.errors import TrialStopped
from study.core.records import EpochRecord
from study.training.process_group import ProcessGroup


class Pixels(Protocol):
    """Pictures of one size. key: identifies the content, for caches."""

    @property
    def key(self) -> str: ...  # noqa: D102

    def __len__(self) -> int: ...

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of an index (B,) as RGB (B, S, S, 3)."""
        ...


class Named(Protocol):
    """Images by name. sample_id: (N,) str."""

    @property
    def sample_id(self) -> NDArray[np.str_]: ...  # noqa: D102

    def __len__(self) -> int: ...


class Images(Pixels, Named, Protocol):
    """What training and scoring need of a split; `study.data.images.packs.ImageSet` is one.

    sample_id: sorted. label: (N,) uint8, 1 = fake. size_px: S.
    """

    @property
    def label(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def size_px(self) -> int: ...  # noqa: D102

    def parts(self) -> Sequence[tuple[Pixels, NDArray[np.intp], NDArray[np.intp]]]:
        """Return what the images come from: some pictures, which of them (n,), and their places
        (n,) here.
        """
        ...


class Session(Protocol):
    """How the loop talks to whoever runs it. It is told of every epoch of the fit, and keeps one
    checkpoint.

    Of several workers the first alone reports and saves; all load.
    """

    def report(self, record: EpochRecord) -> None:
        """Take one epoch's record, at its end. May raise TrialStopped, which ends the fit.

        A fit that goes on from a checkpoint first reports the epochs before it again, so that
        whoever schedules it sees them all.
        """
        ...

    def load(self) -> dict[str, Any] | None:
        """Return the last checkpoint, or None. `torch.load(..., weights_only=True)` can read it.

        One of another fit or version is no harm: the fit sees it by its identity, starts anew and
        saves over it.
        """
        ...

    def keep_epoch(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        """Take the trained tensors after an epoch, by name, for whoever wants every epoch's. A fit
        may give an epoch again.
        """
        ...

    def save(self, state: dict[str, Any]) -> None:
        """Keep a checkpoint, on disk and whole on return: tensors, texts, numbers, lists, dicts."""
        ...


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a training run gave. The detector itself holds the best epoch's weights.

    val_logit: (N,) float32, the best epoch's logits on source val, in the order of its images.
    note: what a reader of the result should know (a smaller micro-batch after running out of
    memory), or "".
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    val_auc: float
    val_nll: float
    val_logit: NDArray[np.float32]
    note: str = ""


def report_epoch(session: Session, record: EpochRecord, processes: ProcessGroup) -> None:
    """Report an epoch on the first rank. Where that raises TrialStopped, it is raised on every
    rank, so that none waits for it.
    """
    stop: TrialStopped | None = None
    if processes.rank == 0:
        try:
            session.report(record)
        except TrialStopped as error:
            stop = error
    if processes.sum(stop is not None):
        raise stop or TrialStopped("the first worker of this trial was told to stop")

"""How the fit of a head came out, kept: what is fitted on the same features by the same recipe is
fitted once, whoever asks.

Entries of the cache (core/cache.py), `<cache>/heads/`, one for a head. A key holds all that decides
the outcome: the body, train and val with their labels, the recipe, the epochs, the threads, the
kind of device, the precision, the code. A fit in which something is random holds its seed and its
head as built too. A logistic regression does not, so it is solved once for a trial and all winners.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from study.core.cache import Cache, read_entry, remove_others, write_entry, writing
from study.core.errors import DivergedError
from study.core.identity import digest
from study.core.parallel import one_at_a_time
from study.core.records import EpochRecord
from study.training.features import LIBRARIES, FeatureStore, FrozenBody
from study.training.score import BATCH_SIZE

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a linear head came out.

    logit: of source val, after the best epoch. weights, biases: (E, D) and (E,) float32, after each
    epoch. error: why training ended before its time, or "".
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    logit: NDArray[np.float32]
    weights: NDArray[np.float32]
    biases: NDArray[np.float32]
    error: str = ""

    def check(self) -> None:
        """Raise DivergedError where training ended before its time."""
        if self.error:
            raise DivergedError(self.error)


def linear_logits(features: Tensor, weight: Tensor, bias: Tensor) -> NDArray[np.float32]:
    """Return logits (M,) of features (M, D) by a linear head, weight (1, D) and bias (1,), in the
    batches and by the operation of scoring.
    """
    batches = [
        F.linear(part, weight, bias).squeeze(1) for part in torch.split(features, BATCH_SIZE)
    ]
    logit: NDArray[np.float32] = torch.cat(batches).cpu().numpy()
    return logit


@cache
def _entries(made_by: Sequence[Callable[..., Any]]) -> Cache:
    return Cache("heads", [FeatureStore, *made_by], libraries=LIBRARIES)


def once(
    body: FrozenBody,
    fit: Callable[[Sequence[T]], Sequence[Trained]],
    asked: Sequence[T],
    inputs: Callable[[T], Any],
    *,
    made_by: Callable[..., Any],
) -> Trained:
    """Return the outcome of the first of `asked`, from the cache where that has it.

    Else `fit` gives those of all that the cache lacks, and they are kept there. Others that ask for
    one of them meanwhile wait. fit: what is called with these; `made_by` is the code behind it.
    inputs: what decides an outcome. Where the body has no place on the disk nothing is kept, and
    the first is fitted alone.
    """
    folder = body.store.cache
    if folder is None:
        return fit(asked[:1])[0]
    entries = _entries((made_by, *body.made_by))
    paths = [entries.path(folder, f"{digest(body.key, inputs(one))}.npz") for one in asked]
    found = _read(paths[0])
    if found is None:
        # all that are asked for with one another have the same lock, whichever comes first
        lock = paths[0].with_name(digest(sorted(path.name for path in paths)))
        with writing(folder), one_at_a_time(lock):
            found = _read(paths[0])
            if found is None:
                lacking = [n for n, path in enumerate(paths) if n == 0 or _read(path) is None]
                made = fit([asked[n] for n in lacking])
                for n, trained in zip(lacking, made, strict=True):
                    write_entry(paths[n], _written(trained))
                    remove_others(paths[n])
                found = made[0]
    return found


def _written(trained: Trained) -> bytes:
    """The content of an entry: arrays, and the rest as JSON."""
    text = {
        "history": [asdict(record) for record in trained.history],
        "best_epoch": trained.best_epoch,
        "error": trained.error,
    }
    content = io.BytesIO()
    arrays = {name: getattr(trained, name) for name in ("logit", "weights", "biases")}
    np.savez(content, text=np.frombuffer(json.dumps(text).encode(), dtype=np.uint8), **arrays)
    return content.getvalue()


def _read(path: Path) -> Trained | None:
    content = read_entry(path)
    if content is None:
        return None
    with np.load(io.BytesIO(content)) as arrays:
        text = json.loads(arrays["text"].tobytes())
        return Trained(
            history=tuple(EpochRecord(**record) for record in text["history"]),
            best_epoch=text["best_epoch"],
            error=text["error"],
            **{name: arrays[name] for name in ("logit", "weights", "biases")},
        )

"""What frozen bodies see of a stretch of degraded images, kept in the cache: other winners with the
same body, of more seeds or another study, need neither the images nor the network.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.cache import Cache, read_entry, remove_others, write_entry, writing
from study.core.errors import StoreError
from study.core.identity import digest
from study.core.records import Geometry
from study.data.images.degradations import DEGRADATION_VERSION, degrade
from study.data.images.geometry import fit_geometry
from study.jobs.workspace import Workspace, runtime_of
from study.training.features import LIBRARIES, FrozenBody, compute_features

_LOG = logging.getLogger(__name__)
# a degradation, and the square that a detector makes of the degraded image
Condition = tuple[str, Geometry]


@dataclass(frozen=True)
class Seen:
    """A batch of B images in one condition. reasons: why an image is left out, "" for the others.
    features: (K, D) float32 of those.
    """

    reasons: NDArray[np.str_]
    features: Tensor | None


@dataclass
class StretchFeatures:
    """What frozen bodies see of the images from `start` to before `stop` of a test set. data_key:
    of its content.
    """

    workspace: Workspace
    data_key: str
    start: int
    stop: int
    _found: dict[tuple[str, Condition], Seen | None] = field(default_factory=dict)
    _made: dict[tuple[str, Condition], dict[int, Seen]] = field(default_factory=dict)
    _bodies: dict[str, FrozenBody] = field(default_factory=dict)

    def find(self, body: FrozenBody, seen: Condition, batch: slice) -> Seen | None:
        """Return a batch of what the cache has of a body and condition, None where it has nothing.

        batch: places in the stretch.
        """
        place = body.key, seen
        if place not in self._found:
            content = read_entry(self._path(body, seen))
            self._found[place] = None if content is None else _unpacked(content)
        whole = self._found[place]
        if whole is None:
            return None
        before = np.count_nonzero(whole.reasons[: batch.start] == "")
        reasons = whole.reasons[batch]
        kept = int(np.count_nonzero(reasons == ""))
        assert whole.features is not None
        features = whole.features[before : before + kept].to(runtime_of(self.workspace).device)
        return Seen(reasons, features)

    def add(self, body: FrozenBody, seen: Condition, start: int, batch: Seen) -> None:
        """Take what a body has seen now of the batch from a place in the stretch."""
        self._bodies[body.key] = body
        self._made.setdefault((body.key, seen), {})[start] = batch

    def keep(self) -> None:
        """Write what was seen of all of the stretch; where it cannot be written, that is said, and
        no score depends on it.
        """
        try:
            self._keep()
        except StoreError as error:
            _LOG.warning("what was seen of degraded images is not kept: %s", error)

    def _keep(self) -> None:
        for (key, seen), made in self._made.items():
            batches = [made[start] for start in sorted(made)]
            reasons = np.concatenate([one.reasons for one in batches])
            rows = [one.features.cpu().numpy() for one in batches if one.features is not None]
            if len(reasons) == self.stop - self.start and rows:
                path = self._path(self._bodies[key], seen)
                with writing(self.workspace.data.cache):
                    write_entry(path, _packed(reasons, rows))
                    remove_others(path)

    def _path(self, body: FrozenBody, seen: Condition) -> Path:
        made_by: list[Callable[..., Any]] = [compute_features, degrade, fit_geometry]
        entries = Cache("degraded_features", [*made_by, *body.made_by], libraries=LIBRARIES)
        runtime, images = runtime_of(self.workspace), (self.data_key, self.start, self.stop)
        of = body.key, seen, DEGRADATION_VERSION, images, runtime.threads, runtime.kind
        return entries.path(self.workspace.data.cache, digest(of))


def _packed(reasons: NDArray[np.str_], rows: Sequence[NDArray[np.float32]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, reasons=reasons, features=np.concatenate(rows))
    return content.getvalue()


def _unpacked(content: bytes) -> Seen:
    with np.load(io.BytesIO(content)) as arrays:
        return Seen(arrays["reasons"], torch.from_numpy(arrays["features"]))

"""What every job needs: the store and the data, opened in any process, and what made a result.

A job is a small picklable record. Everything else (packs, weights) is opened by the worker and kept
for the worker's next job. Each job is idempotent: what the store holds is not done again.
"""

from __future__ import annotations

import functools
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Protocol

import torch

from study.core.errors import DataError
from study.core.identity import canonical_json, digest
from study.core.records import DetectorSpec, Params, Split
from study.data.catalog import Catalog, DataConfig
from study.detectors import registry
from study.detectors.base import Detector
from study.store.store import Store
from study.training.features import FrozenBody, features_in
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime

FACES = "faces"  # in a detector's provenance: the step by which each image became its face
# in a detector's provenance: the precision of its body, where no fit touched it
FROZEN_PRECISION = "frozen_precision"
UNTOUCHED: Params = {"schedule": "head"}  # a configuration that trains the head alone
TRAINED_ON: tuple[Split, Split] = ("train", "val")  # the splits that training and selection see


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Enough to open the store and the data in any process. `threads` and `precision` are the
    study's, resolved.

    firewall: True in every command that trains or selects; a cell cannot be scored there, its test
    split does not open.
    """

    results: Path
    study: str
    data: DataConfig
    weights_root: Path | None
    threads: int
    precision: str
    firewall: bool
    device: str = "auto"

    @property
    def store(self) -> Store:
        """Where results are kept."""
        return Store(self.results, self.study)

    @property
    def catalog(self) -> Catalog:
        """The data; behind the firewall every test split is shut."""
        return open_catalog(self.data, firewall=self.firewall)


class Job(Protocol):
    """A piece of work whose result the store keeps under `result_key`."""

    @property
    def result_key(self) -> str: ...  # noqa: D102

    def is_done(self) -> bool:
        """Tell whether the store has the result."""
        ...


_CATALOGS: dict[tuple[str, bool], Catalog] = {}


def open_catalog(config: DataConfig, *, firewall: bool) -> Catalog:
    """Return this process's catalog for `config`, made at its first use and kept: a worker's next
    job finds its packs open.
    """
    key = (canonical_json(config), firewall)
    if key not in _CATALOGS:
        _CATALOGS[key] = Catalog(config, firewall=firewall)
    return _CATALOGS[key]


def runtime_of(workspace: Workspace) -> TorchRuntime:
    """Return the runtime of a workspace's training: device, threads and precision."""
    return TorchRuntime.resolve(
        device=workspace.device, threads=workspace.threads, precision=workspace.precision
    )


def scoring_runtime(workspace: Workspace) -> TorchRuntime:
    """Return the runtime of all scoring, applied: float32, whatever the training was in. A frozen
    body computes in its own (`frozen_precision`).
    """
    runtime = replace(runtime_of(workspace), precision="float32")
    runtime.apply()
    return runtime


def frozen_by(spec: DetectorSpec, params: Params) -> str:
    """Return the identity of a detector's body where a configuration does not train it, else ""."""
    schedule = params.get("schedule", Recipe.schedule)
    trained = spec.learner == "gradient" and schedule != "head"
    return "" if trained else registry.body_key(spec)


def frozen_precision(spec: DetectorSpec, params: Params, precision: str) -> str:
    """Return what a detector's body computes in where a configuration does not train it: the
    study's precision in vision transformers of libraries, float32 in all else. What is trained is
    always scored in float32.
    """
    reduced = registry.reduces_frozen(spec) and frozen_by(spec, params)
    return precision if reduced else "float32"


def frozen_body(
    workspace: Workspace,
    spec: DetectorSpec,
    load: Callable[[], Detector],
    params: Params = UNTOUCHED,
) -> FrozenBody | None:
    """Return what is below a detector's head, with its features in the cache; None where it is
    random, and so no other's. load: see `FrozenBody`. params: the configuration that is trained.
    """
    key, precision = registry.body_key(spec), frozen_precision(spec, params, workspace.precision)
    if not key:
        return None

    def loaded() -> Detector:
        detector = load()
        detector.frozen_precision = precision
        return detector

    return FrozenBody(
        key=key if precision == "float32" else digest("body", key, precision),
        name=spec.name,
        load=loaded,
        made_by=(registry.create_function(spec),),
        store=features_in(workspace.data.cache),
    )


def refuse_changed_data(found: str, expected: str, name: str) -> None:
    """A worker lists the data anew; a result must not be kept under the key of other data. Raises
    DataError where they differ.
    """
    if found != expected:
        raise DataError(f"the data of '{name}' changed while the command ran; run it again")


@functools.cache
def provenance() -> dict[str, str]:
    """What produced a result: versions of the code and of the libraries that decide numbers, and
    the processor.
    """
    names = (
        "fake-image-study",
        "torch",
        "timm",
        "open_clip_torch",
        "numpy",
        "scikit-learn",
        "pillow",
        "simplejpeg",
    )
    versions = {name: metadata.version(name) for name in names}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        **versions,
        "python": platform.python_version(),
        "commit": _commit(),
        "device": device,
    }


def now() -> str:
    """Return the time of the clock, UTC, as results say when they were made."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _commit() -> str:
    """The git commit of a checkout, with `+` where files differ from it; "" for an installed
    package.
    """
    package = Path(__file__).parents[1]
    if not (package.parent / ".git").exists():
        return ""
    try:
        run = functools.partial(
            subprocess.run, capture_output=True, text=True, cwd=package, timeout=10, check=True
        )
        head = run(["git", "rev-parse", "--short", "HEAD"]).stdout.strip()
        return head + (
            "+" if run(["git", "status", "--porcelain", "--", "."]).stdout.strip() else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""

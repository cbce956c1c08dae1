"""Every test starts without kept features, with one thread, and leaves torch as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from study.training import features
from study.training.runtime import TorchRuntime


@pytest.fixture(autouse=True)
def clean_process() -> Iterator[None]:
    features.SHARED.clear()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    features.SHARED.clear()


@pytest.fixture
def runtime() -> TorchRuntime:
    return TorchRuntime.resolve(device="cpu", threads=1, precision="float32")

"""How fast a detector is, by a few steps: of networks whose weights are not there, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.detectors import registry
from study.jobs import speed
from study.jobs.speed import seconds_per_image
from study.training.runtime import TorchRuntime
from tests.contract.stand_ins import make_case

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")


@pytest.mark.parametrize("name", ["spectrum", "npr", "clip_linear", "resnet18"])
@pytest.mark.parametrize("is_trained", [False, True])
def test_a_few_steps_need_no_weights(
    name: str, is_trained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_case(name, tmp_path, monkeypatch)  # small; its file is not read
    seen: list[float] = []
    clock = iter(range(1000))  # a second from one look at the clock to the next
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(next(clock)))
    seen.append(seconds_per_image(registry.spec_of(name), RUNTIME, is_trained=is_trained))
    assert seen == [1 / speed.IMAGES]
    assert next(clock) == 2  # one step was long enough

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
    for name_of_clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(speed.time, name_of_clock, lambda: float(next(clock)))
    seen.append(seconds_per_image(registry.spec_of(name), RUNTIME, is_trained=is_trained))
    assert seen == [1 / speed.FIRST]
    assert next(clock) == 2  # one step was long enough


def test_a_fast_detector_is_timed_by_larger_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of 4 takes longer an image than one of training: by hand, 0.1 s for it, then 0.16 s
    for one of 16, until half a second has gone.
    """
    ticks = iter([0.0, 0.1, *(t for n in range(3) for t in (1.0 * n, 1.0 * n + 0.16))])
    for name_of_clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(speed.time, name_of_clock, lambda: next(ticks))
    found = seconds_per_image(registry.spec_of("spectrum"), RUNTIME, is_trained=False)
    assert found == pytest.approx(0.16 / 16)
    assert next(ticks, None) is None

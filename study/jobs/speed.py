"""How fast a detector is on this machine, before any of its trials has run: a few steps on random
images. Its weights are random too: the numbers in it do not change how long it takes.
"""

from __future__ import annotations

import time
from statistics import median

import torch

from study.core.records import DetectorSpec
from study.detectors import registry
from study.detectors.base import Detector
from study.training.runtime import TorchRuntime

FIRST, MORE = 4, 16  # images of a step: of the first, and of the next ones of a fast detector
FAST = 0.25  # seconds that the first step of a fast one takes at most
LONG_ENOUGH = 0.5  # seconds, after which no further step is measured
MOST_STEPS = 5


def seconds_per_image(spec: DetectorSpec, runtime: TorchRuntime, *, is_trained: bool) -> float:
    """Return how long an image takes in an epoch: forward and backward, or forward alone where the
    body is not trained.
    """
    runtime.apply()
    detector = _filled(registry.create(spec, 0), runtime.device)
    detector.train(is_trained)
    if not is_trained and registry.reduces_frozen(spec):
        detector.frozen_precision = runtime.precision
    # a step of training takes one crop
    size = detector.cut.size_px if is_trained and detector.cut else spec.geometry.size_px
    # what other programs take of a core is no part of how long a step takes on a free one
    is_alone = runtime.device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if is_alone else time.perf_counter

    def step(count: int) -> float:
        images = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)
        images = images.to(runtime.device)
        start = clock()
        with torch.set_grad_enabled(is_trained):
            logit = detector(detector.prepare(images)).sum()
        if is_trained:
            logit.backward()
        logit.item()  # a GPU is done by then
        return clock() - start

    first = step(FIRST)  # it makes room, too
    count, found = (MORE if first <= FAST else FIRST), list[float]()
    while len(found) < MOST_STEPS and first + sum(found) <= LONG_ENOUGH:
        found.append(step(count))
    return median(found) / count if found else first / FIRST


def _filled(detector: Detector, device: str) -> Detector:
    """A network with a number wherever a file would give one."""
    state = [*detector.parameters(), *detector.buffers()]
    if any(tensor.is_meta for tensor in state):
        detector.to_empty(device=device)
        with torch.no_grad():
            for tensor in (*detector.parameters(), *detector.buffers()):
                tensor.zero_()
    return detector.to(device)

"""The learning rate that a range test finds on source train, for networks that nobody has measured.

After Smith (WACV 2017, arXiv 1506.01186): the first phase of a recipe is trained for STEPS steps
while the rate rises evenly in its logarithm from LOW to HIGH. The rate returned is a third of that
at which the smoothed loss was lowest: there the loss still falls, and is far from diverging. Where
the loss never fell, a third of the lowest rate is returned.

A third was measured, not proved. For `mobilenetv2_035` the loss was lowest at 2.4e-3, on
`faces_140k` (831 training images) and on `dfdc_faces224` (1,268) alike, so 8e-4 is found. By whole
fits the best of the rates tried is 1e-3 on both (search_spaces/mobilenetv2_035.toml).

The test sees source train alone, by a seed of its own, so every trial and winner of a pairing that
draws the same batches has the same rate. Where the first phase trains the head alone on images that
no augmentation changes but a flip, it reads kept features, as the fit does. Without room for them
the network computes, which differs by rounding.
"""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import count

import numpy as np

from study.core.errors import DivergedError
from study.core.identity import derive_seed
from study.detectors.base import Detector
from study.training.balance import Strata
from study.training.features import FrozenBody
from study.training.process_group import ALONE
from study.training.recipe import AutoRecipe
from study.training.runtime import TorchRuntime
from study.training.schedules import phases
from study.training.session import Images
from study.training.steps import Steps

LOW, HIGH = 1e-5, 1.0
STEPS = 100
SMOOTHING = 0.9  # of the exponential mean of the loss
WORSE = 4.0  # times the lowest loss: the test is over
BELOW = 1 / 3  # the rate, as a part of that with the lowest loss


class _EnoughError(Exception):
    """The test is over."""


def find_rate(
    detector: Detector,
    train: Images,
    recipe: AutoRecipe,
    *,
    runtime: TorchRuntime,
    strata: Strata | None = None,
    body: FrozenBody | None = None,
) -> float:
    """Return the rate for the first phase of a recipe, in [LOW x BELOW, HIGH x BELOW].

    detector: as built, and as `runtime.place` left it. It is trained by this: build another one
    for the fit. train: source train, both classes. body: the detector's, where a fit keeps its
    features.
    """
    steps = Steps(
        detector,
        train,
        recipe.with_rate(1.0),
        seed=derive_seed("range test"),
        runtime=runtime,
        processes=ALONE,
        strata=strata,
    )
    (phase, *_) = phases(steps.recipe, n_stages=len(detector.stages()), epochs=1)
    steps.begin(phase)
    below = len(detector.stages()) > phase.stages
    if body and below and phase.head_alone and not recipe.changes_pixels:
        views = [(train, flip) for flip in recipe.views]
        if body.fits(*views, runtime=runtime):
            steps.views = [
                body.of_images(images, flip=flip, runtime=runtime) for images, flip in views
            ]
    losses: list[float] = []

    def rate(*_: int) -> float:
        if is_over(losses):
            raise _EnoughError
        return rate_of(len(losses))

    steps.watch = losses.append
    with suppress(_EnoughError, DivergedError):
        for epoch in count():
            steps.epoch(epoch, phase, done=0, rate=rate)
    return chosen(losses)


def rate_of(step: int) -> float:
    """Return the rate of a step of the test."""
    return float(LOW * (HIGH / LOW) ** (step / (STEPS - 1)))


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential mean of losses, without its pull towards 0 at the start."""
    found, mean = [], 0.0
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**number))
    return found


def is_over(losses: list[float]) -> bool:
    """Tell whether all steps are done, or the loss has exploded."""
    if len(losses) >= STEPS:
        return True
    means = smoothed(losses)
    return len(means) > 1 and means[-1] > WORSE * min(means)


def chosen(losses: list[float]) -> float:
    """Return the rate that the losses of a test speak for. Losses that are not finite end it."""
    finite = next((n for n, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    if not finite:
        return LOW * BELOW
    return BELOW * rate_of(int(np.argmin(smoothed(losses[:finite]))))

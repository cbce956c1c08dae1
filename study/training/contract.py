"""What every detector must do, as checks: `study.check` runs them on a detector of one's own, and
the tests on every name of the registry.

Each check raises ContractError, which says what does not hold. They take seconds on a CPU, on made
pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.core.errors import StudyError
from study.core.identity import digest
from study.core.records import UNTRAINED, EpochRecord, Params
from study.detectors import registry
from study.detectors.base import Detector
from study.training.fit import fit
from study.training.losses import bce
from study.training.optimizers import make_optimizer
from study.training.recipe import AutoRecipe, Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import freeze, phases
from study.training.score import score

TOLERANCE = 1e-4  # of a logit, between batch sizes
EPOCHS = 3  # enough for every phase of every schedule
TRIED_RATE = 1e-3  # where the default recipe has one found


class ContractError(StudyError):
    """A detector does not do what every detector must."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A detector that is held to the contract. build: seed -> the network, in evaluation mode.
    default: the default configuration of its search space.
    """

    name: str
    build: Callable[[int], Detector]
    default: Params


@dataclass(frozen=True, kw_only=True)
class MadeImages:
    """Noise; on fakes lie diagonal stripes. What training needs of an image set."""

    sample_id: NDArray[np.str_]
    label: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    key: str

    @property
    def size_px(self) -> int:
        """The side of the squares, in pixels."""
        return int(self.pixels.shape[1])

    def __len__(self) -> int:
        return len(self.label)

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images at `index` (B,), as (B, S, S, 3) uint8."""
        return self.pixels[index]

    def parts(self) -> list[tuple[MadeImages, NDArray[np.intp], NDArray[np.intp]]]:
        """Return the set as its only part."""
        return [(self, np.arange(len(self)), np.arange(len(self)))]


def made_images(n: int, size_px: int, seed: int) -> MadeImages:
    """Return n images of both classes."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 5 < 2).astype(np.uint8)
    rows, columns = np.indices((size_px, size_px))
    stripes = 30 * ((rows + columns) % 4 < 2)
    pixels = rng.integers(60, 160, (n, size_px, size_px, 3))
    pixels = pixels + label[:, None, None, None] * stripes[None, :, :, None]
    return MadeImages(
        sample_id=np.array([f"made/{i:04d}.png" for i in range(n)]),
        label=label,
        pixels=pixels.astype(np.uint8),
        key=digest("made", n, seed, size_px),
    )


class LastState:
    """A session that keeps the detector's tensors after the last epoch: the best epoch, which a fit
    ends with, may be of an earlier phase.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector, self.state = detector, dict[str, Tensor]()

    def report(self, record: EpochRecord) -> None:
        """Keep the tensors of the epoch that ends."""
        self.state = {key: tensor.clone() for key, tensor in self.detector.state_dict().items()}

    def load(self) -> dict[str, Any] | None:
        """Return no checkpoint."""
        return None

    def save(self, state: dict[str, Any]) -> None:
        """Keep no checkpoint."""

    def keep_epoch(self, epoch: int, state: Mapping[str, Tensor]) -> None:
        """Keep no epoch."""


def _hold(condition: object, message: str) -> None:
    if not condition:
        raise ContractError(message)


def prepared(detector: Detector, n: int = 5) -> Tensor:
    """Return made images in the detector's geometry, as the network sees them."""
    made = made_images(n, detector.spec.geometry.size_px, seed=1)
    return detector.prepare(torch.from_numpy(made.pixels))


def check_logits(subject: Subject) -> None:
    """One finite float32 logit an image, which is the head's answer to the features."""
    detector = subject.build(0)
    x = prepared(detector, 3)
    with torch.no_grad():
        features, logits = detector.features(x), detector(x)
        classified = detector.classify(features)
    expected = (3, detector.feature_width)
    _hold(
        features.shape == expected and features.dtype == torch.float32,
        f"features are {features.dtype} {tuple(features.shape)}, not float32 {expected}",
    )
    _hold(
        logits.shape == (3,) and logits.dtype == torch.float32,
        f"logits are {logits.dtype} {tuple(logits.shape)}, not float32 (3,)",
    )
    _hold(torch.isfinite(logits).all(), f"logits are not finite: {logits.tolist()}")
    _hold(torch.equal(classified, logits), "forward is not classify of features")


def check_repeats(subject: Subject) -> None:
    """The same seed gives the same network, and the same image the same logit. Building draws from
    no generator of the caller's.
    """
    torch.manual_seed(99)
    before = torch.get_rng_state()
    detector, again = subject.build(0), subject.build(0)
    _hold(
        torch.equal(torch.get_rng_state(), before),
        "building it moves the caller's random generator",
    )
    x = prepared(detector, 3)
    with torch.no_grad():
        logits = detector(x)
        _hold(torch.equal(detector(x), logits), "the same images have other logits the second time")
        _hold(torch.equal(again(x), logits), "two networks of one seed have different logits")


def check_batches(subject: Subject) -> None:
    """A logit does not depend on the other images of its batch."""
    detector = subject.build(0)
    x = prepared(detector)
    with torch.no_grad():
        together = detector(x)
        apart = torch.cat([detector(part) for part in torch.split(x, 1)])
        turned = detector(x.flip(0)).flip(0)
    for other in (apart, turned):
        furthest = float((other - together).abs().max())
        _hold(furthest <= TOLERANCE, f"logits depend on the batch: they differ by {furthest:.2g}")


def check_stages(subject: Subject) -> None:
    """The stages hold every parameter once, from the head to the stem."""
    detector = subject.build(0)
    stages = detector.stages()
    named = {id(p): name for name, p in detector.named_parameters()}
    found = [named[id(p)] for stage in stages for p in stage.all_parameters()]
    lacking, twice = (
        sorted(set(named.values()) - {*found}),
        {n for n in found if found.count(n) > 1},
    )
    _hold(not lacking, f"in no stage: {', '.join(lacking[:5])}")
    _hold(not twice, f"in several stages: {', '.join(sorted(twice)[:5])}")
    head = {id(p) for p in detector.head.parameters()}
    first = stages[0]
    _hold(
        first.name == "head" and {id(p) for p in first.all_parameters()} == head,
        "the first stage is not the head",
    )
    if detector.spec.learner != "logistic":
        _hold(len(stages) > 1 and stages[-1].name == "stem", "the last stage is not called 'stem'")


def check_gradients(subject: Subject) -> None:
    """In each phase of each schedule exactly what is unfrozen has a gradient and moves."""
    for schedule in registry.schedules_of(subject.name):
        if schedule == "lora":
            continue
        detector = subject.build(0)
        with torch.no_grad():  # a branch that begins at 0 gives what is before it no gradient yet
            for parameter in detector.parameters():
                if parameter.ndim and not bool((parameter != 0).any()):
                    parameter.add_(0.05)
        recipe = Recipe(schedule=schedule)
        for phase in phases(recipe, n_stages=len(detector.stages()), epochs=9):
            _check_step(detector, phase.stages, f"{schedule}, phase {phase.name}")


def _check_step(detector: Detector, trainable: int, what: str) -> None:
    """One step: a gradient for every parameter of the first stages and for no other, and nothing
    below them moves.
    """
    freeze(detector, trainable)
    before = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    detector.zero_grad(set_to_none=True)
    optimizer = make_optimizer(detector, Recipe(), 1e-2)
    loss = bce(detector(prepared(detector, 4)), torch.tensor([0.0, 1.0, 0.0, 1.0]), 0.0)
    torch.autograd.backward(loss)
    open_, shut = detector.stages()[:trainable], detector.stages()[trainable:]
    named = {id(p): name for name, p in detector.named_parameters()}
    for stage in open_:
        silent = [
            named[id(p)]
            for p in stage.all_parameters()
            if p.grad is None or not bool((p.grad != 0).any())
        ]
        _hold(not silent, f"{what}: no gradient in stage {stage.name}: {', '.join(silent[:5])}")
    frozen = [p for stage in shut for p in stage.all_parameters()]
    _hold(
        all(p.grad is None and not p.requires_grad for p in frozen),
        f"{what}: a frozen stage has gradients",
    )
    optimizer.step()
    movable = {
        id(t) for stage in open_ for m in stage.modules for t in (*m.parameters(), *m.buffers())
    }
    movable |= {id(p) for stage in open_ for p in stage.parameters}
    live = dict([*detector.named_parameters(), *detector.named_buffers()])
    moved = {key for key, tensor in before.items() if not torch.equal(live[key], tensor)}
    outside = sorted(key for key in moved if id(live[key]) not in movable)
    _hold(moved, f"{what}: nothing moves")
    _hold(not outside, f"{what}: these move though they are frozen: {', '.join(outside[:5])}")


def check_fit(subject: Subject) -> None:
    """The default recipe trains every phase, and the fit reports the logits that scoring gives."""
    detector = subject.build(0)
    line = registry.entry(subject.name)
    if line.learner in UNTRAINED:
        _hold(
            not any(p.numel() for p in detector.stages()[0].all_parameters()),
            "it is not trained, and yet has a head with parameters",
        )
        return
    runtime = TorchRuntime.resolve(device="cpu", threads=1, precision="float32")
    before = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    train, val = (made_images(n, detector.spec.geometry.size_px, seed=n) for n in (8, 6))
    recipe = Recipe.from_params(subject.default, learner=line.learner)
    if isinstance(recipe, AutoRecipe):
        recipe = recipe.with_rate(TRIED_RATE)  # a range test is not what is checked
    plan = phases(recipe, n_stages=len(detector.stages()), epochs=EPOCHS)
    of_stage = {id(t): s.name for s in detector.stages() for t in s.all_parameters()}
    stage_of = {name: of_stage[id(p)] for name, p in detector.named_parameters()}
    last = LastState(detector)
    result = fit(detector, train, val, recipe, epochs=EPOCHS, seed=0, runtime=runtime, session=last)
    moved = {key for key in before if not torch.equal(last.state[key], before[key])}
    if line.learner == "gradient":
        trained = {stage.name for stage in detector.stages()[: plan[-1].stages]}
        found = {stage_of[key] for key in moved if key in stage_of}
        _hold(found == trained, f"training moved {sorted(found)}, not {sorted(trained)}")
        names = [record.phase for record in result.history]
        wanted = [phase.name for phase in plan for _ in range(phase.epochs)]
        _hold(names == wanted, f"phases were {names}, not {wanted}")
    else:
        _hold(
            moved and moved <= {"head.weight", "head.bias"},
            f"a logistic regression moved {sorted(moved)[:5]}",
        )
    same = np.array_equal(score(detector, val, runtime=runtime), result.val_logit)
    _hold(same, "scoring gives other logits than the fit reports")


def check_restored(subject: Subject) -> None:
    """From its spec and its tensors alone it comes back bit for bit."""
    detector = subject.build(0)
    state = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    restored = registry.restore(detector.spec, state).eval()
    x = prepared(detector, 3)
    with torch.no_grad():
        _hold(torch.equal(restored(x), detector(x)), "restored, it has other logits")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    check_logits,
    check_repeats,
    check_batches,
    check_stages,
    check_gradients,
    check_fit,
    check_restored,
)

"""Each check of the contract finds what breaks it. tests/contract holds every detector to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.training import contract
from study.training.contract import ContractError, Subject
from tests.training.fakes import Plain, plain

# a name of the registry with the one schedule `full`
NAME, DEFAULT = "npr", {"schedule": "full", "lr": 0.01, "batch_size": 4}


def subject(build: Callable[[int], Detector]) -> Subject:
    return Subject(name=NAME, build=lambda seed: build(seed).eval(), default=DEFAULT)


class Noisy(Plain):
    """Its logits are never the same twice."""

    def features(self, x: Tensor) -> Tensor:
        found = super().features(x)
        return found + torch.rand_like(found)


class Relative(Plain):
    """What it says of an image depends on the others of its batch."""

    def features(self, x: Tensor) -> Tensor:
        found = super().features(x)
        return found - found.mean(dim=0) if len(found) > 1 else found


class Infinite(Plain):
    """Its features are no numbers."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) / 0.0


class Idle(Plain):
    """A layer of it is never used, so it gets no gradient."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec)
        self.unused = nn.Linear(2, 2)

    def body_stages(self) -> tuple[Stage, ...]:
        return (Stage("unused", (self.unused,)), *super().body_stages())


class Careless(Plain):
    """It moves the generator of whoever builds it."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__(spec)
        torch.rand(1)


def made(kind: type[Plain]) -> Callable[[int], Detector]:
    def build(seed: int) -> Detector:
        with torch.random.fork_rng(enabled=kind is not Careless):
            torch.manual_seed(seed) if kind is not Careless else None
            return kind(plain().spec)

    return build


@pytest.mark.parametrize(
    ("check", "kind", "said"),
    [
        (contract.check_logits, Infinite, "not finite"),
        (contract.check_repeats, Noisy, "other logits the second time"),
        (contract.check_repeats, Careless, "moves the caller's random generator"),
        (contract.check_batches, Relative, "logits depend on the batch"),
        (contract.check_gradients, Idle, "no gradient in stage unused"),
        (contract.check_fit, Idle, "training moved"),
    ],
)
def test_what_breaks_the_contract_is_found(
    check: Callable[[Subject], None], kind: type[Plain], said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        check(subject(made(kind)))


@pytest.mark.parametrize(
    "check", [contract.check_logits, contract.check_repeats, contract.check_batches]
)
def test_a_sound_detector_passes(check: Callable[[Subject], None]) -> None:
    check(subject(made(Plain)))


def test_the_tolerance_is_that_of_rounding() -> None:
    assert contract.TOLERANCE <= 1e-4

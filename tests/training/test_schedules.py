"""Phases: their epochs, their rates, and what freezing does to a detector."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.detectors.entry import SCHEDULES
from study.training.recipe import Recipe
from study.training.schedules import freeze, learning_rate, phases
from tests.training.fakes import tiny


def plan(
    schedule: str, epochs: int, n_stages: int = 4, **settings: float
) -> list[tuple[str, int, int, float]]:
    recipe = Recipe.from_params({"schedule": schedule, "lr": 1.0, **settings})
    return [
        (p.name, p.stages, p.epochs, p.lr) for p in phases(recipe, n_stages=n_stages, epochs=epochs)
    ]


def test_schedules_of_one_phase_have_the_recipes_rate() -> None:
    assert plan("head", 7) == [("head", 1, 7, 1.0)]
    assert plan("last_stage", 7) == [("last_stage", 2, 7, 1.0)]
    assert plan("full", 7) == [("full", 4, 7, 1.0)]


def test_progressive_as_published() -> None:
    """Five, fifteen, fifteen epochs, each phase at its own rate."""
    ratios = {"last_stage_lr_ratio": 0.5, "full_lr_ratio": 0.1}
    found = plan("progressive", 35, head_share=5 / 35, last_stage_share=15 / 35, **ratios)
    assert found == [("head", 1, 5, 1.0), ("last_stage", 2, 15, 0.5), ("full", 4, 15, 0.1)]


def test_linear_probe_then_fine_tune() -> None:
    assert plan("lp_ft", 10, head_share=0.3, full_lr_ratio=0.01) == [
        ("head", 1, 3, 1.0),
        ("full", 4, 7, 0.01),
    ]


def test_fewer_epochs_than_phases_keep_the_first_phases() -> None:
    assert [p[0] for p in plan("progressive", 1)] == ["head"]
    assert [p[0] for p in plan("progressive", 2)] == ["head", "last_stage"]
    assert [p[0] for p in plan("progressive", 3)] == ["head", "last_stage", "full"]
    assert [p[0] for p in plan("lp_ft", 1)] == ["head"]


def test_a_small_share_still_has_an_epoch() -> None:
    assert [p[2] for p in plan("progressive", 6, head_share=0.02, last_stage_share=0.03)] == [
        1,
        1,
        4,
    ]
    assert [p[2] for p in plan("progressive", 4, head_share=0.9, last_stage_share=0.05)] == [
        2,
        1,
        1,
    ]


def test_a_detector_of_one_stage_is_trained_whole_in_every_phase() -> None:
    assert [p[1] for p in plan("progressive", 5, n_stages=1)] == [1, 1, 1]


@given(
    st.sampled_from(SCHEDULES),
    st.integers(1, 60),
    st.integers(1, 9),
    st.floats(0.01, 0.98),
    st.floats(0.01, 0.98),
)
def test_epochs_add_up_and_follow_the_shares(
    schedule: str, epochs: int, n_stages: int, head: float, last: float
) -> None:
    if head + last >= 0.99:
        head, last = head / 2, last / 2
    found = plan(schedule, epochs, n_stages=n_stages, head_share=head, last_stage_share=last)
    assert sum(p[2] for p in found) == epochs
    assert all(p[2] >= 1 and 1 <= p[1] <= n_stages for p in found)
    assert [p[1] for p in found] == sorted(p[1] for p in found)
    if schedule == "lp_ft" and 1 <= head * epochs <= epochs - 1:
        assert abs(found[0][2] - head * epochs) < 1


def test_rate_without_warm_up_is_torchs_cosine() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for step in range(12):
        assert learning_rate(0.3, step, 12, 0.0) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-12
        )
        optimizer.step()
        theirs.step()


def test_rate_rises_to_its_peak_then_falls() -> None:
    rates = [learning_rate(2.0, step, 10, 0.4) for step in range(10)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5:] == pytest.approx([1 + math.cos(math.pi * k / 6) for k in range(1, 6)])
    assert learning_rate(2.0, 0, 1, 0.9) > 0


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_gradient_reaches_exactly_the_unfrozen_parameters(stages: int) -> None:
    detector = tiny()
    freeze(detector, 4)
    freeze(detector, stages)
    detector(torch.randn(4, 3, 8, 8)).sum().backward()
    for number, stage in enumerate(detector.stages()):
        for parameter in stage.all_parameters():
            assert parameter.requires_grad == (number < stages)
            assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == (
                number < stages
            )
        assert all(
            part.training == (number < stages)
            for module in stage.modules
            for part in module.modules()
        )


def test_frozen_batchnorm_does_not_move_in_a_forward_pass() -> None:
    detector = tiny()
    freeze(detector, 2)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    detector(torch.randn(4, 3, 8, 8))
    moved = {
        key for key, value in detector.state_dict().items() if not torch.equal(value, before[key])
    }
    assert moved == {
        f"block2.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }

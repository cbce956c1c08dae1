"""The range test: its rule against pandas and by hand, and that it finds what is there to find."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.core.errors import ConfigError
from study.training.features import FeatureStore, FrozenBody
from study.training.rate_finder import (
    BELOW,
    HIGH,
    LOW,
    STEPS,
    chosen,
    find_rate,
    is_over,
    rate_of,
    smoothed,
)
from study.training.recipe import AutoRecipe, Recipe
from study.training.runtime import TorchRuntime
from tests.training.fakes import images, tiny


def auto(**settings: Any) -> AutoRecipe:
    recipe = Recipe.from_params({"lr": "auto", **settings})
    assert isinstance(recipe, AutoRecipe)
    return recipe


def test_rates_rise_evenly_in_their_logarithm() -> None:
    rates = [rate_of(step) for step in range(STEPS)]
    assert (rates[0], rates[-1]) == (LOW, pytest.approx(HIGH))
    assert np.allclose(np.diff(np.log(rates)), math.log(HIGH / LOW) / (STEPS - 1))


def test_the_mean_is_that_of_pandas() -> None:
    losses = np.random.default_rng(0).normal(0.7, 0.2, 60).tolist()
    assert np.allclose(smoothed(losses), pd.Series(losses).ewm(alpha=0.1, adjust=True).mean())


def test_a_third_of_the_rate_with_the_lowest_mean_is_chosen() -> None:
    losses = [0.7] * 40 + [0.2] * 30 + [5.0] * 5
    # the mean falls as long as the loss is 0.2, so up to step 69
    assert chosen(losses) == pytest.approx(rate_of(69) / 3)


def test_a_loss_that_only_rises_gives_the_lowest_rate() -> None:
    assert chosen([0.7 + 0.01 * n for n in range(STEPS)]) == pytest.approx(LOW * BELOW)


@pytest.mark.parametrize("losses", [[math.nan], [math.inf, 0.2]])
def test_a_loss_that_is_not_finite_at_once_gives_the_lowest_rate(losses: list[float]) -> None:
    assert chosen(losses) == pytest.approx(LOW * BELOW)


def test_what_comes_after_a_loss_that_is_not_finite_does_not_count() -> None:
    losses = [0.7, 0.6, 0.5]
    assert chosen([*losses, math.nan, 0.01]) == chosen(losses)


def test_it_ends_after_its_steps_or_where_the_loss_explodes() -> None:
    assert not is_over([])
    assert not is_over([0.7] * (STEPS - 1))
    assert is_over([0.7] * STEPS)
    assert is_over([0.1] * 20 + [50.0])


def test_it_repeats(runtime: TorchRuntime) -> None:
    runtime.apply()
    train = images(60)
    found = [find_rate(tiny(), train, auto(), runtime=runtime) for _ in range(2)]
    assert found[0] == found[1]
    assert LOW * BELOW <= found[0] <= HIGH * BELOW


def test_features_that_are_larger_want_a_lower_rate(
    runtime: TorchRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a linear head trained by plain gradient steps, inputs ten times as large give gradients
    ten times as large, and so steps that are too long a hundred times earlier.
    """
    runtime.apply()
    train, recipe = images(60), auto(schedule="head", optimizer="sgd", clip_norm=0.0, flip=0.0)

    def found(scale: float) -> float:
        detector = tiny()
        plain = detector.features
        monkeypatch.setattr(detector, "features", lambda x: scale * plain(x))
        return find_rate(detector, train, recipe, runtime=runtime)

    assert found(30.0) < found(3.0)


@pytest.mark.parametrize("schedule", ["head", "lp_ft"])
def test_a_head_is_tested_on_kept_features_and_finds_the_same_rate(
    schedule: str, runtime: TorchRuntime, tmp_path: Path
) -> None:
    """The network looks at each image twice, straight and mirrored, and not at a batch again."""
    runtime.apply()
    train, recipe = images(60), auto(schedule=schedule, batch_size=16, flip=0.5)
    expected = find_rate(tiny(), train, recipe, runtime=runtime)
    detector, looked = tiny(), []
    detector.stem.register_forward_pre_hook(lambda _, inputs: looked.append(len(inputs[0])))
    kept = FrozenBody(
        key="tiny", name="tiny", load=lambda: detector, store=FeatureStore(tmp_path / "features")
    )
    assert find_rate(detector, train, recipe, runtime=runtime, body=kept) == expected
    assert sum(looked) == 2 * 60


def test_what_changes_pixels_is_computed_anew(runtime: TorchRuntime, tmp_path: Path) -> None:
    runtime.apply()
    train, recipe = images(60), auto(schedule="head", batch_size=16, jpeg=0.5)
    detector = tiny()
    kept = FrozenBody(
        key="tiny", name="tiny", load=lambda: detector, store=FeatureStore(tmp_path / "features")
    )
    found = find_rate(detector, train, recipe, runtime=runtime, body=kept)
    assert found == find_rate(tiny(), train, recipe, runtime=runtime)
    assert not (tmp_path / "features").exists()


def test_the_scale_multiplies_what_is_found() -> None:
    recipe = auto(lr_scale=0.3, batch_size=16)
    assert recipe.with_rate(0.01) == Recipe.from_params({"lr": 0.003, "batch_size": 16})
    assert math.isnan(recipe.rate)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"lr": "fast"}, "lr = 'fast': give a number above 0, or \"auto\""),
        ({"lr": "auto", "lr_scale": -1.0}, "lr_scale = -1.0: give a number above 0"),
        ({"lr": 0.1, "lr_scale": 0.5}, 'lr_scale goes with lr = "auto"'),
    ],
)
def test_bad_settings_are_named(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Recipe.from_params(params, where="npr @ a")
    assert said in str(error.value)

"""Recipes: what can be set, what each setting takes, and what an error says."""

from __future__ import annotations

import dataclasses

import pytest

from study.core.errors import ConfigError
from study.training.recipe import Recipe, settings


def test_defaults_hold_and_every_setting_can_be_named() -> None:
    assert Recipe.from_params({}) == Recipe()
    everything = dataclasses.asdict(Recipe())
    for name in ("C", "head", "neighbours", "layer"):
        del everything[name]
    assert Recipe.from_params(everything) == Recipe()
    assert set(settings("gradient")) == {*everything, "lr_scale"}
    assert settings("logistic") == ("C", "head", "neighbours", "layer")


def test_whole_numbers_serve_as_real_ones_and_not_the_other_way_round() -> None:
    recipe = Recipe.from_params({"clip_norm": 1, "weight_decay": 0})
    assert (recipe.clip_norm, type(recipe.weight_decay)) == (1.0, float)
    with pytest.raises(ConfigError, match=r"batch_size = 32\.0: give a whole number from 2 on"):
        Recipe.from_params({"batch_size": 32.0})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rate": 0.1}, "unknown training setting 'learning_rate'"),
        ({"wieght_decay": 0.1}, "did you mean 'weight_decay'"),
        ({"C": 1.0}, "unknown training setting 'C'"),
        (
            {"schedule": "gradual"},
            "unknown schedule 'gradual'.*full, head, last_stage, lora, lp_ft, progressive",
        ),
        ({"optimizer": "adamW"}, "unknown optimizer 'adamW': did you mean 'adamw'"),
        ({"lr": 0.0}, "lr = 0.0: give a number above 0"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"lr": float("inf")}, "lr = inf"),
        ({"lr": "0.1"}, "lr = '0.1'"),
        ({"lr": True}, "lr = True"),
        ({"layer_decay": 0.0}, "layer_decay = 0.0: give a number above 0, at most 1"),
        ({"layer_decay": 1.1}, "layer_decay = 1.1"),
        ({"batch_size": 1}, "batch_size = 1"),
        ({"flip": 1.5}, "flip = 1.5: give a number from 0 to 1"),
        ({"warmup_share": 1.0}, "warmup_share = 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing = -0.1"),
        ({"patience": -1}, "patience = -1"),
        ({"head_width": 8193}, "head_width = 8193: give a whole number from 0 to 8192"),
        ({"head_width": 8.0}, r"head_width = 8\.0"),
        ({"head_dropout": 1.0}, r"head_dropout = 1\.0: give a number from 0 to below 1"),
        (
            {"schedule": "progressive", "head_share": 0.6, "last_stage_share": 0.4},
            r"last_stage_share = 1: must stay below 1",
        ),
    ],
)
def test_errors_name_setting_value_and_remedy(
    params: dict[str, float | int | str | bool], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe.from_params(params, where="search_spaces/npr.toml")
    assert str(caught.value).startswith("search_spaces/npr.toml: ") and "\n" not in str(
        caught.value
    )


def test_shares_of_other_schedules_may_overlap() -> None:
    assert (
        Recipe.from_params(
            {"schedule": "lp_ft", "head_share": 0.6, "last_stage_share": 0.6}
        ).head_share
        == 0.6
    )


def test_the_logistic_learner_has_its_own_settings() -> None:
    assert Recipe.from_params({"C": 3}, learner="logistic").C == 3.0
    with pytest.raises(ConfigError, match="unknown training setting 'lr'"):
        Recipe.from_params({"lr": 0.1}, learner="logistic")
    with pytest.raises(ConfigError, match="C = -1"):
        Recipe.from_params({"C": -1.0}, learner="logistic")

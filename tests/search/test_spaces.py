"""Search spaces: the shipped files hold together and fit their detectors; a wrong file is refused
in one line.
"""

from __future__ import annotations

import copy
import random
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from study.core.errors import ConfigError
from study.detectors import registry
from study.detectors.entry import SCHEDULES, UNFREEZING
from study.planning.study_file import load_study
from study.search.spaces import WIDE, Space, load_space, parse_space, space_file, space_names
from study.training.recipe import Recipe
from study.training.schedules import phases

VALID: dict[str, Any] = {
    "schema": 1,
    "constants": {"patience": 3},
    "space": {
        "schedule": {
            "kind": "categorical",
            "choices": ["head", "full", "lp_ft"],
            "default": "full",
        },
        "lr": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3},
        "head_share": {
            "kind": "float",
            "low": 0.1,
            "high": 0.5,
            "default": 0.2,
            "when": {"schedule": ["lp_ft"]},
        },
        "batch_size": {"kind": "int", "low": 8, "high": 64, "log": True, "default": 16},
    },
}


class Drawn:
    """Answers a space with uniformly drawn values, as a sampler without a model would."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.asked: list[str] = []

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.asked.append(name)
        return self._random.choice([low, high, self._random.uniform(low, high)])

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.asked.append(name)
        return self._random.randint(low, high)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked.append(name)
        return self._random.choice(choices)


def parsed(**changes: Any) -> Space:
    """The valid table with changes, keys joined by `__` (`space__lr__low=3`); a value of None
    removes the key.
    """
    table = copy.deepcopy(VALID)
    table["portfolio"] = changes.pop("portfolio", [])
    for path, value in changes.items():
        *folders, last = path.split("__")
        inner = table
        for folder in folders:
            inner = inner[folder]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return parse_space(table, detector="mobilenetv2_035", where="x.toml")


LIBRARY_MODELS = [
    "timm:resnet18.a1_in1k",
    "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "open_clip:ViT-B-32/openai",
]

# The shipped files


def test_every_detector_has_a_space_and_no_other_has() -> None:
    lines = {name: registry.entry(name) for name in registry.names()}
    assert space_names() == [n for n, line in lines.items() if not (line.published or line.space)]
    assert {space_file(name) for name, line in lines.items() if line.space} == {"probe"}
    for name, line in lines.items():
        assert load_space(name).names() == ([] if line.published else ["C"]) or not (
            line.published or line.space
        )


@pytest.mark.parametrize("opened", ["small", WIDE])
@pytest.mark.parametrize("name", [*space_names(), *LIBRARY_MODELS])
def test_whatever_a_space_produces_is_a_recipe_of_its_detector(name: str, opened: str) -> None:
    space, line = load_space(name, opened), registry.entry(name)
    for params in [space.default(), *(space.suggest(Drawn(seed)) for seed in range(200))]:
        recipe = Recipe.from_params(params, learner=line.learner)
        assert not line.schedules or recipe.schedule in line.schedules


def rate_of(name: str) -> str:
    """The setting of the learning rate that is searched: timm's networks have a range test."""
    return "lr_scale" if name.startswith("timm:") else "lr"


@pytest.mark.parametrize("name", [*space_names(), *LIBRARY_MODELS])
def test_small_spaces_search_rate_batch_size_and_schedules_alone(name: str) -> None:
    space, line = load_space(name), registry.entry(name)
    if line.learner != "gradient":
        assert space.names() == (["C"] if line.learner == "logistic" else [])
        return
    searched = {rate_of(name), "batch_size"}
    searched |= {"schedule"} if len(registry.schedules_of(name)) > 1 else set()
    # the recipe of another project, whose rate does not fall: whether it should is searched
    searched |= {"lr_schedule"} if "lr_schedule" in load_space(name, WIDE).names() else set()
    assert set(space.names()) == searched and len(searched) <= 4
    wide = load_space(name, WIDE)
    assert space.default() == wide.default()
    assert set(space.suggest(Drawn(1))) <= {p.name for p in wide.parameters} | {*wide.constants}


def test_a_list_of_names_opens_those_besides_the_small_ones() -> None:
    small, wide = load_space("mobilenetv2_035"), load_space("mobilenetv2_035", WIDE)
    space = load_space("mobilenetv2_035", ("flip", "weight_decay", "mixup"))
    assert space.names() == ["schedule", "lr", "batch_size", "weight_decay", "flip"]
    assert len({one.digest for one in (small, space, wide)}) == 3
    drawn = [space.suggest(Drawn(seed)) for seed in range(50)]
    assert {params["flip"] for params in drawn} == {0.0, 0.5}
    assert {params["label_smoothing"] for params in drawn} == {0.0}
    assert {params.get("full_lr_ratio", 0.3) for params in drawn} == {0.3}
    assert small.grid_size() == 5 * 3 * 3


def test_what_a_space_fixes_is_its_own_where_a_configuration_is_adopted() -> None:
    small, wide = load_space("mobilenetv2_035"), load_space("mobilenetv2_035", WIDE)
    found = {**wide.default(), "lr": 2e-3, "flip": 0.0}
    assert wide.adopt(found) == found
    assert small.adopt(found) == {**small.default(), "lr": 2e-3}
    assert small.adopt({**found, "mixup": 0.4}) is None
    assert small.searched(found) == {"schedule": "full", "lr": 2e-3, "batch_size": 32}


@pytest.mark.parametrize("name", [*space_names(), *LIBRARY_MODELS])
def test_wide_spaces_search_what_every_space_must(name: str) -> None:
    space, line = load_space(name, WIDE), registry.entry(name)
    if line.learner == "logistic":
        frozen = ["head", "C", "neighbours", *(["layer"] if line.blocks else [])]
        assert space.names() == (frozen if line.source else ["C"])
        return
    if line.learner == "none":
        assert not space.names() and not space.constants
        return
    rate = next(p for p in space.parameters if p.name == rate_of(name))
    assert rate.kind == "float" and rate.log
    assert {
        "batch_size",
        "weight_decay",
        "flip",
        "label_smoothing",
        "warmup_share",
        "dropout",
    } <= set(space.names())
    schedules = next(
        (set(p.choices) for p in space.parameters if p.name == "schedule"),
        {space.constants.get("schedule")},
    )
    assert schedules == set(registry.schedules_of(name))
    # a pretrained body that is unfrozen: its settings stand under the schedules that have them
    if len(schedules) > 1:
        more = {"layer_decay", "crop", "blur", "jpeg"}
        found = {p.name: set(p.when["schedule"]) for p in space.parameters if p.name in more}
        assert found == dict.fromkeys(more, schedules - {"head"})
    low_rank = {p.name: p.when for p in space.parameters if p.name.startswith("lora_")}
    assert all(when == {"schedule": ("lora",)} for when in low_rank.values()) and bool(
        low_rank
    ) == ("lora" in schedules)


@pytest.mark.parametrize("name", [*space_names(), *registry.LIBRARIES])
def test_header_says_what_it_is_how_to_run_it_what_it_costs_and_what_to_expect(name: str) -> None:
    text = (resources.files("search_spaces") / f"{name}.toml").read_text(encoding="utf-8")
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert header.startswith(f"# {name}: ") and re.search(
        r"python -m study\.(sweep|cross_eval) .*" + name, header
    )
    assert "# Cost: " in header and "# Expect: " in header


def test_defaults_are_the_published_configurations_or_measured_ones() -> None:
    default = {
        name: Recipe.from_params(load_space(name).default())
        for name in space_names()
        if registry.learner_of(name) == "gradient"
    }
    scratch = default["resnet18_scratch"]
    assert (scratch.optimizer, scratch.lr, scratch.batch_size, scratch.patience, scratch.flip) == (
        "adam",
        5e-4,
        16,
        3,
        0.5,
    )
    # measured: its authors' command is for 144,000 images
    assert (default["npr"].optimizer, default["npr"].lr, default["npr"].batch_size) == (
        "adamw",
        3e-3,
        32,
    )
    assert (scratch.lr_schedule, scratch.warmup_share, scratch.clip_norm) == ("constant", 0.0, 0.0)
    convnext = default["convnext_tiny"]
    assert (convnext.optimizer, convnext.batch_size, convnext.weight_decay, convnext.flip) == (
        "adam",
        64,
        0.0,
        0.0,
    )
    assert (
        convnext.lr_schedule,
        convnext.plateau_factor,
        convnext.plateau_patience,
        convnext.mixup,
    ) == ("plateau", 0.5, 3, 0.4)
    published = [("head", 5, 1e-3), ("last_stage", 15, 1e-4), ("full", 15, 1e-5)]
    epochs = load_study("seeds", ()).budget.epochs
    assert [
        (p.name, p.epochs, pytest.approx(p.lr)) for p in phases(convnext, n_stages=6, epochs=epochs)
    ] == published
    resnets = {
        name: (default[name].optimizer, default[name].batch_size, default[name].lr_schedule)
        for name in ("resnet18", "resnet50")
    }
    assert set(resnets.values()) == {("adam", 32, "constant")}
    assert [
        (p.name, p.epochs, pytest.approx(p.lr))
        for p in phases(default["resnet50"], n_stages=6, epochs=10)
    ] == [
        ("head", 5, 1e-4),
        ("full", 5, 1e-5),
    ]
    assert [(p.name, p.lr) for p in phases(default["resnet18"], n_stages=6, epochs=5)] == [
        ("full", 1e-4)
    ]


def test_clip_adapters_default_is_its_authors_recipe() -> None:
    recipe = Recipe.from_params(load_space("clip_adapter").default())
    assert (
        recipe.optimizer,
        recipe.lr,
        recipe.weight_decay,
        recipe.batch_size,
        recipe.clip_norm,
    ) == ("adamw", 1e-4, 1e-4, 32, 1.0)
    assert (recipe.schedule, recipe.patience, recipe.flip, recipe.warmup_share, recipe.dropout) == (
        "head",
        0,
        0.0,
        0.0,
        0.0,
    )


def test_a_librarys_models_share_one_space_under_their_own_names() -> None:
    one, other = load_space("timm:resnet18.a1_in1k"), load_space("timm:resnet50.a1_in1k")
    assert (one.detector, other.detector) == ("timm:resnet18.a1_in1k", "timm:resnet50.a1_in1k")
    assert (one.constants, one.parameters) == (other.constants, other.parameters)
    with pytest.raises(ConfigError, match=r"did you mean 'timm:resnet18\.a1_in1k'"):
        load_space("timm:resnet18.a1_in2k")


def test_a_librarys_model_without_attention_has_the_shared_space_without_what_needs_some() -> None:
    attentive, convolutional = (
        load_space("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", WIDE),
        load_space("timm:resnet18.a1_in1k", WIDE),
    )
    low_rank = {"lora_rank", "lora_alpha", "lora_blocks", "lora_lr_ratio"}
    assert set(attentive.names()) - set(convolutional.names()) == low_rank
    assert attentive.default() == convolutional.default()
    for space, choices in (
        (attentive, set(SCHEDULES)),
        (convolutional, set(UNFREEZING)),
    ):
        drawn = [space.suggest(Drawn(seed)) for seed in range(200)]
        assert {params["schedule"] for params in drawn} == choices
        assert all((low_rank <= set(params)) == (params["schedule"] == "lora") for params in drawn)


def test_what_a_study_says_of_a_head_is_not_searched() -> None:
    space = load_space("resnet18", WIDE)
    wide, linear = space.fixed({"head_width": 256, "size_px": 64}), space.fixed({"head_width": 0})
    assert "head_width" in space.names() and "size_px" not in wide.constants
    for fixed, width in ((wide, 256), (linear, 0)):
        assert fixed.constants["head_width"] == width and "head_width" not in fixed.names()
        for params in (fixed.suggest(Drawn(seed)) for seed in range(50)):
            assert params["head_width"] == width and ("head_dropout" in params) == (width == 256)
    assert space.fixed({}) == space and wide.digest != space.digest


def test_what_a_study_gives_is_fixed_or_chosen_among() -> None:
    whole = load_space("npr").with_given({"lr": 5e-5, "batch_size": 32, "flip": 0.0})
    assert whole.names() == [] and whole.given == ("lr", "batch_size", "flip")
    own = load_space("npr").default()
    assert whole.default() == {**own, "lr": 5e-5, "batch_size": 32, "flip": 0.0}
    some = load_space("npr").with_given({"lr": (1e-3, 3e-3), "mixup": (0.0, 0.4)})
    assert some.names() == ["mixup", "lr", "batch_size"]
    assert some.default() == {**own, "mixup": 0.0} and own["lr"] == 3e-3
    drawn = [some.suggest(Drawn(seed)) for seed in range(50)]
    assert {params["lr"] for params in drawn} == {1e-3, 3e-3}
    assert {params["mixup"] for params in drawn} == {0.0, 0.4}
    assert load_space("npr").with_given({}) == load_space("npr")
    # one that depends on another stays below it
    ratio = load_space("resnet50", WIDE).with_given({"full_lr_ratio": (0.1, 0.2)})
    for params in (ratio.suggest(Drawn(seed)) for seed in range(50)):
        assert ("full_lr_ratio" in params) == (params["schedule"] in ("progressive", "lp_ft"))


def test_the_settings_that_docs_search_adds_fit_every_detector_trained_by_gradient() -> None:
    text = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "head_width" in b)
    trained = [
        name
        for name in registry.names()
        if registry.entry(name).schedules and not registry.entry(name).own_head
    ]
    assert len(trained) >= 7
    for name in trained:
        constants = {"schedule": registry.entry(name).schedules[0]}
        space = parse_space(
            {"schema": 1, "constants": constants, **tomllib.loads(block)},
            detector=name,
            where="docs/spaces.md",
        )
        assert space.names() == ["head_width", "head_dropout", "loss", "optimizer"]


@pytest.mark.parametrize("name", ["head_width", "head_dropout"])
def test_a_detector_with_a_head_of_its_own_has_no_choice_of_one(name: str) -> None:
    table = {
        "schema": 1,
        "constants": {"schedule": "head", name: 8 if name == "head_width" else 0.5},
    }
    with pytest.raises(
        ConfigError,
        match=(
            r"x\.toml: head_width and head_dropout have no place here: clip_adapter has a head of"
        ),
    ):
        parse_space(table, detector="clip_adapter", where="x.toml")


def test_names_and_spaces_are_read_without_heavy_libraries() -> None:
    code = (
        "import sys; from study.search.spaces import *; load_space('npr'); print({'torch',"
        " 'optuna', 'ray'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )


def test_a_portfolio_is_what_the_space_searches_of_settings_that_did_well_elsewhere() -> None:
    hints = [{"lr": 3e-3}, {"schedule": "lp_ft", "lr": 2e-3}, {"lr": 1e-3}, {"lr": 3e-3}]
    space = parsed(portfolio=hints, space__head_share__wide=True)
    default = space.default()
    expected = [
        {**default, "lr": 3e-3},
        {**default, "schedule": "lp_ft", "lr": 2e-3, "head_share": 0.2},
    ]  # the default itself, and one that is named twice, are no more of them
    assert space.portfolio() == expected
    assert space.opened("small").portfolio() == expected
    # what a study fixes or puts out of range is not tried
    assert space.fixed({"lr": 5e-3}).portfolio() == [
        {**space.fixed({"lr": 5e-3}).default(), "schedule": "lp_ft", "head_share": 0.2}
    ]
    assert space.with_ranges({"lr": (5e-4, 2.5e-3)}).portfolio() == expected[1:]
    for hint, message in [
        ({"patience": 1}, "unknown searched setting 'patience'"),
        ({"lr": 1.0}, "lr = 1.0 is not within 0.0001 to 0.01"),
    ]:
        with pytest.raises(ConfigError, match=rf"x\.toml: \[\[portfolio\]\]: {message}"):
            parsed(portfolio=[hint])


# What a space gives


def test_default_leaves_out_what_its_schedule_does_not_search() -> None:
    assert parsed().default() == {"patience": 3, "schedule": "full", "lr": 1e-3, "batch_size": 16}
    assert parsed(space__schedule__default="lp_ft").default()["head_share"] == 0.2


def test_conditional_settings_are_asked_for_only_under_their_condition() -> None:
    seen = set()
    for seed in range(30):
        drawn = Drawn(seed)
        params = parsed().suggest(drawn)
        assert (
            ("head_share" in drawn.asked)
            == ("head_share" in params)
            == (params["schedule"] == "lp_ft")
        )
        seen.add(params["schedule"])
    assert seen == {"head", "full", "lp_ft"}


def test_a_condition_on_a_setting_that_is_itself_left_out_does_not_hold() -> None:
    chain = {
        "kind": "categorical",
        "choices": ["adam", "sgd"],
        "default": "adam",
        "when": {"schedule": ["lp_ft"]},
    }
    decay = {
        "kind": "float",
        "low": 0.0,
        "high": 0.1,
        "default": 0.0,
        "when": {"optimizer": ["adam"]},
    }
    space = parsed(space__optimizer=chain, space__weight_decay=decay)
    assert "weight_decay" not in space.default()
    assert (
        "weight_decay"
        in parsed(
            space__optimizer=chain, space__weight_decay=decay, space__schedule__default="lp_ft"
        ).default()
    )


def test_searched_is_the_configuration_without_constants() -> None:
    space = parsed()
    assert space.searched(space.default()) == {"schedule": "full", "lr": 1e-3, "batch_size": 16}


def test_digest_follows_the_content() -> None:
    assert parsed().digest == parsed().digest
    changed = [
        parsed(space__lr__high=2e-2),
        parsed(constants__patience=4),
        parsed(space__schedule__default="head"),
    ]
    assert len({parsed().digest, *(space.digest for space in changed)}) == 4


def test_ranges_are_readable() -> None:
    texts = {p.name: p.text() for p in parsed().parameters}
    assert texts == {
        "schedule": "head | full | lp_ft",
        "lr": "0.0001 to 0.01 (log)",
        "head_share": "0.1 to 0.5, when schedule is lp_ft",
        "batch_size": "8 to 64 (log)",
    }


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, ["x.toml", "schema = 2", "schema = 1"]),
        ({"spaces": {}}, ["x.toml", "'spaces'", "did you mean 'space'?"]),
        ({"constants__patince": 3}, ["[constants]", "'patince'", "did you mean 'patience'?"]),
        ({"constants__C": 1.0}, ["[constants]", "'C'"]),
        ({"constants__lr": 1e-3}, ["'lr'", "both a constant and searched"]),
        ({"constants__clip_norm": -1.0}, ["x.toml", "clip_norm = -1.0"]),
        ({"constants": 3}, ["'constants' must be a table", "3"]),
        ({"space__learning_rate": {}}, ["[space]", "'learning_rate'"]),
        ({"space__lr": 0.1}, ["'space.lr' must be a table", "0.1"]),
        ({"space__lr__kind": "real"}, ["[space.lr]", "'real'", "float"]),
        ({"space__lr__kind": None}, ["[space.lr]", "'None'", "float"]),
        ({"space__lr__hi": 1.0}, ["[space.lr]", "'hi'", "did you mean 'high'?"]),
        ({"space__lr__choices": [1.0]}, ["[space.lr]", "kind float", "'choices'"]),
        ({"space__lr__high": None}, ["[space.lr]", "'high' is missing"]),
        ({"space__lr__low": "1e-4"}, ["[space.lr]", "low = '1e-4'", "finite number"]),
        ({"space__lr__high": float("inf")}, ["[space.lr]", "high = inf"]),
        ({"space__lr__low": 0.5}, ["[space.lr]", "low = 0.5 must be below high = 0.01"]),
        ({"space__lr__low": 0}, ["[space.lr]", "low = 0 must be above 0"]),
        ({"space__lr__default": 1.0}, ["[space.lr]", "default = 1 must lie between"]),
        ({"space__lr__log": 1}, ["[space.lr]", "log = 1", "true or false"]),
        ({"space__batch_size__low": 8.5}, ["[space.batch_size]", "low = 8.5", "whole number"]),
        (
            {"space__batch_size__low": 1, "space__batch_size__default": 1},
            ["x.toml", "batch_size = 1"],
        ),
        ({"space__schedule__choices": ["full"]}, ["[space.schedule]", "at least two"]),
        (
            {"space__schedule__choices": ["full", "full"]},
            ["[space.schedule]", "at least two different"],
        ),
        ({"space__schedule__choices": ["full", ["head"]]}, ["[space.schedule]", "list"]),
        ({"space__schedule__choices": ["full", "lp_ft", "gradual"]}, ["schedule", "'gradual'"]),
        (
            {"space__schedule__default": "ful"},
            ["[space.schedule]", "'ful'", "did you mean 'full'?"],
        ),
        (
            {"space__head_share__when": {"schedul": ["lp_ft"]}},
            ["[space.head_share]", "'schedul'", "did you mean 'schedule'?"],
        ),
        (
            {"space__head_share__when": {"schedule": ["lpft"]}},
            ["[space.head_share]", "'lpft'", "did you mean 'lp_ft'?"],
        ),
        (
            {"space__head_share__when": {"schedule": "lp_ft"}},
            ["[space.head_share]", "lists of values"],
        ),
        ({"space__head_share__when": {"batch_size": [16]}}, ["[space.head_share]", "'batch_size'"]),
        ({"space__head_share__high": 1.0}, ["x.toml", "head_share = 1.0"]),
        (
            {"space__head_share__kind": ["float"]},
            ["[space.head_share]", "unknown kind", "categorical"],
        ),
        ({"space__head_share__grid": [0.2, 0.9]}, ["[space.head_share]", "grid: 0.9", "between"]),
        ({"space__head_share__grid": [0.2, 0.2]}, ["[space.head_share]", "twice"]),
        ({"space__head_share__grid": 0.2}, ["[space.head_share]", "list"]),
    ],
    ids=str,
)
def test_refused_in_one_line_that_names_the_key_and_the_value(
    changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**changes)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_shares_that_leave_no_epochs_for_the_last_phase_are_refused() -> None:
    share = {
        "kind": "float",
        "low": 0.1,
        "high": 0.6,
        "default": 0.2,
        "when": {"schedule": ["progressive"]},
    }
    with pytest.raises(ConfigError, match=r"head_share \+ last_stage_share = 1\.2"):
        parsed(
            space__schedule__choices=["full", "progressive"],
            space__head_share=share,
            space__last_stage_share=share,
        )


def test_a_schedule_that_the_detector_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="clip_adapter: unknown schedule 'full'"):
        parse_space(VALID, detector="clip_adapter", where="x.toml")


def test_a_librarys_model_without_attention_refuses_low_rank_adaptation() -> None:
    fixed = {"schema": 1, "constants": {"schedule": "lora"}, "space": {}}
    chosen = {"kind": "categorical", "choices": ["lora", "full", "head"], "default": "lora"}
    for table in (fixed, {"schema": 1, "space": {"schedule": chosen}}):
        assert (
            parse_space(table, detector="timm:test_vit.r160_in1k", where="x.toml").default()[
                "schedule"
            ]
            == "lora"
        )
        with pytest.raises(
            ConfigError, match=r"x\.toml: timm:resnet18\.a1_in1k: unknown schedule 'lora'"
        ):
            parse_space(table, detector="timm:resnet18.a1_in1k", where="x.toml")
    kept = {"schema": 1, "space": {"schedule": {**chosen, "default": "full"}}}
    (schedule,) = parse_space(kept, detector="timm:resnet18.a1_in1k", where="x.toml").parameters
    assert schedule.choices == ("full", "head")


def test_unknown_detector_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown search space 'resnet5'.*did you mean 'resnet50'"
    ):
        load_space("resnet5")


def test_rates_of_the_studys_own_stand_in_for_the_range_test() -> None:
    space = load_space("timm:resnet18.a1_in1k")
    assert space.default()["lr"] == "auto"
    assert space.default()["lr_scale"] == 1.0
    for given in (1e-3, (1e-3, 3e-3)):
        own = space.with_given({"lr": given})
        assert "lr_scale" not in own.default()
        assert all("lr_scale" not in params for params in own.portfolio())
    assert space.with_given({"lr": "auto"}).default() == space.default()
    fixed = load_space("mobilenetv2_035").with_given({"lr": "auto"})
    assert fixed.default()["lr"] == "auto"
    assert "lr" not in fixed.names()

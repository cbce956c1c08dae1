"""The study file: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from study.core.errors import ConfigError
from study.core.records import Pairing
from study.planning.study_file import load_study, parse_study, preset_names, to_toml

CLIP = "clip_zero_shot"
GOOD = {"name": "s", "detectors": ["npr", "spectrum"], "train_on": ["a", "b", "a+b"]}


def refused(table: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as error:
        parse_study(table, where="s.toml")
    message = str(error.value)
    assert message.startswith("s.toml")
    assert "\n" not in message
    return message


def test_defaults_are_filled_in() -> None:
    study = parse_study(GOOD, where="s.toml")
    assert (study.budget.trials, study.budget.seeds, study.seed, study.data.max_per_class) == (
        12,
        3,
        0,
        0,
    )
    assert study.data.frames_per_video == 32
    assert study.test_on == ("a", "b")  # the training sets, unions taken apart
    assert study.pairings()[:2] == [
        Pairing(detector="npr", train_on="a"),
        Pairing(detector="npr", train_on="b"),
    ]
    assert len(study.pairings()) == 6


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ({"detecters": []}, ["unknown key 'detecters'", "did you mean 'detectors'?"]),
        ({"budget": {"trails": 3}}, ["[budget]", "'trails'", "did you mean 'trials'?"]),
        ({"budget": {"trials": 0}}, ["budget.trials = 0", "at least 1"]),
        ({"budget": {"trials": True}}, ["budget.trials = True"]),
        ({"budget": {"epochs": "many"}}, ["budget.epochs = 'many'", '"default" or "auto"']),
        ({"budget": {"epochs": 0}}, ["budget.epochs = 0", "at least 1"]),
        ({"search": {"space": "large"}}, ["search.space = 'large'", '"small", "wide"']),
        ({"budget": 3}, ["'budget' must be a table"]),
        ({"detectors": ["nprr"]}, ["unknown detector 'nprr'", "did you mean 'npr'?", "spectrum"]),
        ({"detectors": []}, ["detectors = []"]),
        ({"detectors": "npr"}, ["detectors = 'npr'", "list"]),
        ({"train_on": ["a", "a"]}, ["train_on names 'a' twice"]),
        ({"test_on": ["a+b"]}, ["'a+b' is a union"]),
        (
            {"degradations": ["defualt"]},
            ["unknown degradation 'defualt'", "did you mean 'default'?"],
        ),
        ({"degradations": "default"}, ["degradations = 'default'", "list"]),
        ({"name": "../up"}, ["name = '../up'"]),
        ({"name": "cache"}, ["'cache'", "folder of its own"]),
        ({"train_on": ["a+b", "b+a"]}, ["'a+b' twice, in another order"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"run": {"precision": "fp8"}}, ["run.precision", "'fp8'", "bfloat16"]),
        ({"data": {"class_folders": {"x": 2}}}, ["class_folders"]),
        ({"data": {"root": 3}}, ["data.root = 3"]),
        ({"data": {"frames_per_video": 0}}, ["data.frames_per_video = 0"]),
        (
            {"data": {"balance": "classes"}},
            ["data.balance", "'classes'", "did you mean 'class'?", "class, dataset, none"],
        ),
        ({"detector": {"npr": {"size": 3}}}, ["[detector.npr]", "'size'", "size_px"]),
        ({"detector": {"npr": {"size_px": "big"}}}, ["detector.npr.size_px = 'big'"]),
        ({"detector": {"npr": {"size_px": 63}}}, ["detector npr: size_px = 63", "a multiple of 2"]),
        (
            {"detector": {"clip_adapter": {"prompts": "facez"}}},
            ["unknown prompts 'facez'", "did you mean 'faces'"],
        ),
        ({"detector": {"npr": {"lr": "fast"}}}, ["[detector.npr]: lr = 'fast'", "above 0"]),
        ({"detector": {"npr": {"batch_size": [32, 1]}}}, ["[detector.npr]: batch_size = 1"]),
        ({"detector": {"npr": {"lr": [0.1, 0.1]}}}, ["[detector.npr]: lr: choices", "different"]),
        ({"detector": {"npr": {"lr": []}}}, ["[detector.npr]: lr: choices = []"]),
        ({"detector": {"npr": {"schedule": "head"}}}, ["[detector.npr]", "'head'", "full"]),
        ({"detector": {"spectrum": {"lr": 0.1}}}, ["[detector.spectrum]: unknown key 'lr'"]),
        ({"detector": {CLIP: {"lr": 0.1}}}, [f"[detector.{CLIP}]: unknown key 'lr'"]),
        ({"detector": {"nprr": {}}}, ["unknown detector 'nprr'"]),
        (
            {"detectors": ["npr", "ensembel"]},
            ["unknown detector 'ensembel'", "did you mean 'ensemble'?"],
        ),
        (
            {"detectors": ["npr", "ensemble"]},
            ["'ensemble' has 1 member (npr)", "at least two trained detectors"],
        ),
        (
            {"detectors": ["ensemble_stacked", "clip_zero_shot"]},
            ["'ensemble_stacked' has 0 members (none)"],
        ),
        (
            {
                "detectors": ["npr", "spectrum", "ensemble"],
                "detector": {"ensemble": {"members": ["npr", "spectrun"]}},
            },
            [
                "[detector.ensemble]: unknown member 'spectrun'",
                "did you mean 'spectrum'?",
                "the trained detectors of this study",
            ],
        ),
        (
            {
                "detectors": ["npr", "spectrum", "clip_zero_shot", "ensemble"],
                "detector": {"ensemble": {"members": ["clip_zero_shot"]}},
            },
            ["unknown member 'clip_zero_shot'", "Valid: npr, spectrum"],
        ),
        (
            {
                "detectors": ["npr", "spectrum", "ensemble"],
                "detector": {"ensemble": {"members": ["npr"]}},
            },
            ["'ensemble' has 1 member (npr)"],
        ),
        (
            {"detector": {"ensemble": {"members": ["npr", "npr"]}}},
            ["detector.ensemble.members names 'npr' twice"],
        ),
        (
            {"detector": {"ensemble": {"membres": ["npr"]}}},
            ["[detector.ensemble]", "'membres'", "members"],
        ),
        ({"detector": {"ensemble": ["npr"]}}, ["detector.ensemble must be a table"]),
        ({"train_on": ["a", "(none)"]}, ["'(none)': in the matrix, parentheses stand for"]),
    ],
)
def test_refusals_name_key_value_and_remedy(
    change: dict[str, object], fragments: list[str]
) -> None:
    message = refused({**GOOD, **change})
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("train_on", "test_on", "expanded"),
    [
        (["all-but"], ["a", "b", "c"], ("b+c", "a+c", "a+b")),
        (["a", "all-but"], ["a", "b", "c"], ("a", "b+c", "a+c", "a+b")),
        (["all-but:b"], ["a", "b", "c"], ("a+c",)),
        (
            ["all-but:ffpp:FaceSwap"],
            ["ffpp:FaceSwap", "ffpp:NeuralTextures", "a"],
            ("ffpp:NeuralTextures+a",),
        ),
        (
            ["all-but"],
            ["d?method=m1", "d:m2", "d?method=m3,m4"],
            ("d:m2+d?method=m3,m4", "d?method=m1+d?method=m3,m4", "d?method=m1+d:m2"),
        ),
        (
            ["all-but"],
            ["f:S?c=23", "f:S?c=40", "e"],
            ("f:S?c=40+e", "f:S?c=23+e", "f:S?c=23+f:S?c=40"),
        ),
        (["all-but"], ["a", "b"], ("b", "a")),  # of two, all but one is the other
        (["b", "all-but"], ["a", "b"], ("b", "a")),
        # b+c is there already
        (["c+b", "all-but", "all-but:c"], ["a", "b", "c"], ("c+b", "a+c", "a+b")),
    ],
)
def test_leave_one_out_is_written_out(
    train_on: list[str], test_on: list[str], expanded: tuple[str, ...]
) -> None:
    import tomllib

    study = parse_study({**GOOD, "train_on": train_on, "test_on": test_on}, where="s.toml")
    assert (study.train_on, study.test_on) == (expanded, tuple(test_on))
    # of two detectors
    assert [pairing.train_on for pairing in study.pairings()] == [*expanded, *expanded]
    resolved = to_toml(study)
    assert "all-but" not in resolved
    assert parse_study(tomllib.loads(resolved), where="again") == study


@pytest.mark.parametrize(
    ("train_on", "test_on", "fragments"),
    [
        (["all-but"], None, ["no test_on", 'write for example test_on = ["a", "b", "c"]']),
        (["all-but:a"], None, ["no test_on"]),
        (["all-but"], ["a"], ["needs two datasets in test_on", "'a' alone"]),
        (
            ["all-but:cc"],
            ["a", "b", "cifake"],
            ["all-but:cc", "unknown dataset 'cc'", "a, b, cifake"],
        ),
        (["all-but:"], ["a", "b"], ["unknown dataset ''"]),
        (
            ["all-but"],
            ["cifake", "cifake?method=sd1.4"],
            ["cannot leave out", "cifake?method=sd1.4", "share images"],
        ),
        (
            ["all-but"],
            ["d?method=m1", "d?method=m1,m2", "d?method=m3"],
            ["cannot leave out 'd?method=m1'", "'d?method=m1,m2' stays"],
        ),
        (["all-but"], ["d:m1", "d?method=m1", "e"], ["cannot leave out 'd:m1'", "share images"]),
        (
            ["all-but"],
            ["f:S?c=23", "f?method=S&c=23", "e"],
            ["cannot leave out 'f:S?c=23'", "share images"],
        ),
        (
            ["all-but:e"],
            ["d", "d:m1", "e"],
            ["train_on: dataset 'd+d:m1'", "'d' and 'd:m1' share images"],
        ),
        (["all-but"], ["d?m", "e"], ["test_on: dataset 'd?m'", "NAME?KEY=VALUE"]),
        (["a"], ["all-but"], ["test_on", "'all-but' stands for training sets only"]),
    ],
)
def test_leave_one_out_needs_something_to_leave_out(
    train_on: list[str], test_on: list[str] | None, fragments: list[str]
) -> None:
    table = {**GOOD, "train_on": train_on, **({"test_on": test_on} if test_on else {})}
    for fragment in fragments:
        assert fragment in refused(table)


@pytest.mark.parametrize(
    "union", ["d+d:m1", "d:m1+e+d?method=m1", "d?method=m1,m2+d?method=m2,m3", "d:m1+d?c=1"]
)
def test_a_union_whose_members_share_fakes_is_refused(union: str) -> None:
    assert f"train_on: dataset '{union}': " in refused({**GOOD, "train_on": [union]})
    assert "share images, which would count twice" in refused({**GOOD, "train_on": ["e", union]})


def test_leave_one_out_is_cross_domain_for_what_was_left_out_alone() -> None:
    from study.data.names import is_in_domain

    study = parse_study(
        {**GOOD, "train_on": ["all-but"], "test_on": ["a", "b", "c"]}, where="s.toml"
    )
    across = [(x, y) for x in study.train_on for y in study.test_on if not is_in_domain(x, y)]
    assert across == [("b+c", "a"), ("a+c", "b"), ("a+b", "c")]


@pytest.mark.parametrize("key", ["name", "detectors", "train_on"])
def test_a_missing_key_is_named(key: str) -> None:
    assert f"'{key}' is missing" in refused({k: v for k, v in GOOD.items() if k != key})


def test_resolved_form_reads_back_equal() -> None:
    import tomllib

    table = {
        **ALL_KINDS,
        "detector": {"npr": {"size_px": 32}, "ensemble": {"members": ["spectrum", "npr"]}},
        "data": {"class_folders": {"Real youtube": 0, "😀\x7f": 1}, "root": 'C:\\a "b"'},
    }
    study = parse_study(table, where="s.toml")
    assert parse_study(tomllib.loads(to_toml(study)), where="again") == study
    odd = dataclasses.replace(study, detector={"😀\x7f": {"size_px": 32}}, ensembles={})
    assert tomllib.loads(to_toml(odd))["detector"] == odd.detector


ALL_KINDS = {
    **GOOD,
    "detectors": ["ensemble", "spectrum", "clip_zero_shot", "npr", "ensemble_stacked"],
}


def test_what_is_not_trained_has_one_pairing_and_what_is_not_searched_no_trials() -> None:
    study = parse_study(ALL_KINDS, where="s.toml")
    assert study.ensembles == {
        "ensemble": ("npr", "spectrum"),
        "ensemble_stacked": ("npr", "spectrum"),
    }
    by_detector = {
        d: [p.train_on for p in study.pairings() if p.detector == d] for d in study.detectors
    }
    assert by_detector == {
        d: ["(none)"] if d == CLIP else ["a", "b", "a+b"] for d in study.detectors
    }
    assert [p.name for p in study.searched()] == [
        f"{d} @ {x}" for d in ("spectrum", "npr") for x in ("a", "b", "a+b")
    ]
    assert [(p.name, study.seeds_of(p)) for p in study.untrained()] == [
        ("clip_zero_shot @ (none)", 1)
    ]
    assert {study.seeds_of(p) for p in study.pairings() if p.detector != "clip_zero_shot"} == {3}


def test_members_may_be_named_and_one_ensemble_is_no_member_of_another() -> None:
    named = {
        "ensemble": {"members": ["spectrum", "resnet50"]},
        "ensemble_stacked": {"members": ["npr", "ensemble"]},
    }
    table = {
        **ALL_KINDS,
        "detectors": ["ensemble", "spectrum", "npr", "resnet50"],
        "detector": named,
    }
    # the other is not in the study
    assert parse_study(table, where="s.toml").ensembles == {"ensemble": ("resnet50", "spectrum")}
    with pytest.raises(ConfigError, match="unknown member 'ensemble'"):
        parse_study(
            {**table, "detectors": [*table["detectors"], "ensemble_stacked"]}, where="s.toml"
        )


def test_models_of_a_library_are_detectors_by_name() -> None:
    import tomllib

    name = "timm:resnet18.a1_in1k"
    study = parse_study(
        {**GOOD, "detectors": ["npr", name], "detector": {name: {"head_width": 8}}}, where="s.toml"
    )
    assert parse_study(tomllib.loads(to_toml(study)), where="again") == study
    assert "unknown detector 'timm:resnet18.a1_in1l'" in refused(
        {**GOOD, "detectors": ["timm:resnet18.a1_in1l"]}
    )


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid(preset: str) -> None:
    assert load_study(preset).name == preset


def test_overrides_and_data_root() -> None:
    study = load_study(
        "quick",
        ["budget.trials=7", "name=mine", 'detectors=["npr"]', "run.threads=2"],
        data_root="/d",
    )
    assert (
        study.budget.trials,
        study.name,
        study.detectors,
        study.run.threads,
        study.data.root,
    ) == (7, "mine", ("npr",), 2, "/d")


@pytest.mark.parametrize("override", ["budget.trials", "=3", "budget.trails=3", "name.x=1"])
def test_bad_overrides_are_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        load_study("quick", [override])


def test_a_file_is_read_and_a_missing_or_broken_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(ConfigError, match=r"does not exist. Presets need no file: .*quick"):
        load_study(str(path))
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_study(str(path))
    path.write_bytes(b'\xef\xbb\xbfname = "s"\ndetectors = ["npr"]\ntrain_on = ["a"]\n')
    assert load_study(str(path)).detectors == ("npr",)
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        load_study("quik")


def test_an_override_takes_keys_apart_as_toml_does(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        'name = "s"\ndetectors = ["timm:resnet18.a1_in1k"]\ntrain_on = ["a"]\n', encoding="utf-8"
    )
    study = load_study(
        str(path),
        ['detector."timm:resnet18.a1_in1k".head_width=8', "budget . trials = 5", "name=t"],
    )
    assert study.detector == {"timm:resnet18.a1_in1k": {"head_width": 8}}
    assert (study.budget.trials, study.name) == (5, "t")
    odd = ("detector.timm:resnet18.head_width=8", "a..b=1", "=3", "budget.=1", "#a=1", "[a]\n#=1")
    for override in odd:
        with pytest.raises(ConfigError, match="--set"):
            load_study(str(path), [override])


def test_degradations_are_suites_and_members_and_may_be_given_in_their_place() -> None:
    study = parse_study({**GOOD, "degradations": ["sidbench", "jpeg40", "jpeg50"]}, where="s.toml")
    assert study.conditions()[:3] == ("none", "jpeg95", "jpeg90")
    assert study.conditions()[-1] == "jpeg40" and len(study.conditions()) == 1 + 7 + 1
    assert parse_study(GOOD, where="s.toml").conditions() == ("none",)
    assert load_study("quick", ['degradations=["wang"]'], degradations=["blur1"]).conditions() == (
        "none",
        "blur1",
    )
    assert load_study("quick", ['degradations=["wang"]'], degradations=None).degradations == (
        "wang",
    )


@pytest.mark.parametrize(
    ("budget", "epochs"),
    [
        # images of a training set -> epochs: as many as see 12,000 images, 12 to 60 of them
        ({}, {100_000: 12, 1000: 12, 999: 13, 831: 15, 566: 22, 100: 60, 1: 60}),
        ({"max_epochs": 20}, {1000: 12, 566: 20}),
        ({"max_epochs": 5}, {1000: 5, 566: 5}),
        ({"epochs": 4, "max_epochs": 2}, {1000: 4, 10: 4}),
        ({"epochs": "auto"}, {1000: 60, 10: 60}),
    ],
)
def test_the_default_epochs_see_enough_images(
    budget: dict[str, object], epochs: dict[int, int]
) -> None:
    study = parse_study({**GOOD, "budget": budget}, where="s.toml")
    assert {images: study.budget.epochs_on(images) for images in epochs} == epochs
    assert parse_study(tomllib.loads(to_toml(study)), where="again") == study


def test_what_is_said_of_every_detector_is_said_of_those_that_have_the_setting() -> None:
    """--lr and --batch-size are short for it; the order of the overrides does not matter."""
    lr, names = "detector.*.lr=1e-4", 'detectors=["npr", "spectrum", "resnet18"]'
    study = load_study("quick", [lr, names, "detector.*.batch_size=[16, 64]"])
    assert study.given_of("npr") == study.given_of("resnet18")
    assert study.given_of("npr") == {"lr": 1e-4, "batch_size": (16, 64)}
    assert study.given_of("spectrum") == {} == study.options_of("resnet18")
    again = tomllib.loads(to_toml(study))
    assert parse_study(again, where="s.toml") == study
    with pytest.raises(ConfigError, match="unknown training setting of these detectors 'lr'"):
        load_study("quick", [lr, 'detectors=["spectrum"]'])


def test_a_setting_that_is_an_option_of_the_detector_stays_one() -> None:
    table = {**GOOD, "detector": {"npr": {"size_px": 32, "lr": 1}}}
    study = parse_study(table, where="s.toml")
    assert study.options_of("npr") == {"size_px": 32} and study.given_of("npr") == {"lr": 1}


def test_weights_lie_where_the_option_says_then_the_study_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argparse import Namespace

    from study import cli

    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path / "environment"))
    study = parse_study({**GOOD, "weights_root": str(tmp_path / "study")}, where="s.toml")
    assert parse_study(tomllib.loads(to_toml(study)), where="again") == study
    given, none = Namespace(weights_root=str(tmp_path / "option")), Namespace(weights_root=None)
    assert cli.weights_root(given, study) == tmp_path / "option"
    assert cli.weights_root(none, study) == tmp_path / "study"
    plain = parse_study(GOOD, where="s.toml")
    assert cli.weights_root(none, plain) == cli.weights_root(none) == tmp_path / "environment"

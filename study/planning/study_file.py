"""The study file: a TOML of few keys becomes a `Study`, every default filled in and every name
checked.

An unknown key, a wrong type or an impossible value is a `ConfigError` that names the key,
the value and what is valid; no dataset is touched here, so that a misspelt key costs nothing. The
resolved form is written back as `study.toml` (`to_toml`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from study.core.errors import ConfigError, located, unknown_name
from study.core.records import is_given
from study.core.validation import check_keys, check_once, read_toml, toml_names, validated
from study.data.images.degradations import members_of
from study.data.names import check_apart, split_union
from study.detectors import registry
from study.planning.key_names import check_places
from study.planning.leave_one_out import expand_all_but
from study.planning.study import TRAINED, Names, Study
from study.search.spaces import load_space
from study.training.recipe import settings

EVERY = "detector.*."  # begins an override of a training setting of every detector that has it
RESERVED = ("cache", "tracked", "mlartifacts")  # folders below the results that are no study's


def preset_names() -> list[str]:
    """Return the names of the studies that ship with the package."""
    return toml_names(resources.files("study.planning.presets"))


def load_study(
    name_or_path: str,
    overrides: Sequence[str] = (),
    *,
    data_root: str | None = None,
    degradations: Sequence[str] | None = None,
) -> Study:
    """Read a preset by its name or a study file by its path, apply `KEY=VALUE` overrides, and check
    everything.

    data_root, degradations: in place of `data.root` and `degradations`, where they are not None.

    Raises ConfigError for anything that is not as it must be.
    """
    text, where = _read(name_or_path)
    with located(where):
        table = read_toml(text)
    # what is said of every detector is said of those that the other overrides leave
    for override in sorted(overrides, key=lambda one: one.strip().startswith(EVERY)):
        _override(table, override)
    if data_root is not None and isinstance(table.setdefault("data", {}), dict):
        table["data"]["root"] = data_root
    if degradations is not None:
        table["degradations"] = list(degradations)
    return parse_study(table, where=where)


def _read(name_or_path: str) -> tuple[str, str]:
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if not path.is_file():
            raise ConfigError(
                f"study file '{path}' does not exist. Presets need no file:"
                f" {', '.join(preset_names())}"
            )
        try:
            return path.read_text(encoding="utf-8-sig"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"study file '{path}' cannot be read: {error}") from None
    if name_or_path not in preset_names():
        here = Path(f"{name_or_path}.toml")
        meant = f"unknown study '{name_or_path}': did you mean the file '{here}'? Or a preset:"
        raise ConfigError(
            f"{meant} {', '.join(preset_names())}"
            if here.is_file()
            else unknown_name("study", name_or_path, preset_names())
            + "; or the path of a study file, ending in .toml (that of a run is study.toml in its"
            " results folder)"
        )
    return (resources.files("study.planning.presets") / f"{name_or_path}.toml").read_text(
        encoding="utf-8"
    ), f"preset {name_or_path}"


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r} is not KEY=VALUE; for example --set budget.trials=5")
    try:
        value = read_toml(f"v = {text}")["v"]
    except ConfigError:
        value = text.strip()  # a bare word: --set name=mine
    if key.strip().startswith(EVERY):
        _override_all(table, key.strip().removeprefix(EVERY), value)
        return
    *folders, last = _key_parts(key.strip(), override)
    for name in folders:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: '{name}' is not a table of the study file")
    table[last] = value


def _override_all(table: dict[str, Any], setting: str, value: Any) -> None:
    """Give a training setting to every detector of the file that has it."""
    named = [name for name in table.get("detectors", ()) if isinstance(name, str)]
    trained = [name for name in named if registry.learner_of(name) in TRAINED]
    mine = [name for name in trained if setting in settings(registry.learner_of(name))]
    if not mine:
        known = dict.fromkeys(s for name in trained for s in settings(registry.learner_of(name)))
        raise ConfigError(unknown_name("training setting of these detectors", setting, known))
    for name in mine:
        table.setdefault("detector", {}).setdefault(name, {})[setting] = value


def _key_parts(key: str, override: str) -> list[str]:
    """Take a key apart as TOML does: `detector."timm:resnet18.a1_in1k".size_px` has three parts."""
    parts: list[str] = []
    with contextlib.suppress(ConfigError):
        table: Any = read_toml(f"{key} = 0")
        while isinstance(table, dict) and len(table) == 1:
            ((name, table),) = table.items()
            parts.append(name)
        if table == 0:
            return parts
    raise ConfigError(
        f"--set {override!r}: '{key}' is no key; names with other signs than letters, digits, _"
        " and - are quoted, "
        """as in 'detector."timm:resnet18".size_px=96'"""
    )


def parse_study(table: Mapping[str, Any], *, where: str) -> Study:
    """Turn a parsed TOML table into a `Study`. `where` opens every message. Raises ConfigError."""
    with located(where):
        check_places(table)
        options = table.get("detector", {})
        of_ensembles = {}
        if isinstance(options, dict):
            of_ensembles = {k: v for k, v in options.items() if k in registry.ENSEMBLES}
            options = {k: v for k, v in options.items() if k not in registry.ENSEMBLES}
        written = validated(Study, {**table, "detector": options}, given={"ensembles": {}})
        _check_values(written)
        train_on = expand_all_but(written.train_on, written.test_on)
        members = dict.fromkeys(member for name in train_on for member in split_union(name))
        study = dataclasses.replace(
            written,
            train_on=train_on,
            test_on=written.test_on or tuple(members),
            ensembles=_ensembles(of_ensembles, written.detectors),
        )
        _check_datasets(study)
    return study


def _check_values(study: Study) -> None:
    """Hold what the file names to what there is, and values to each other."""
    if not study.train_on and any(registry.learner_of(name) in TRAINED for name in study.detectors):
        raise ConfigError("the key 'train_on' is missing")
    if not study.train_on and not study.test_on:
        raise ConfigError("the key 'test_on' is missing: no detector is trained on anything")
    if study.name in RESERVED:
        raise ConfigError(
            f"name = {study.name!r} is a folder of its own below the results; choose another"
        )
    for key in ("detectors", "train_on", "test_on", "degradations"):
        check_once(getattr(study, key), key=key)
    check_once(study.search.warm_start, key="search.warm_start")
    for name in study.detectors:
        registry.check_name(name)
    for name, options in study.detector.items():
        with located(f"[detector.{name}]"):
            registry.check_name(name)
            _check_options(name, options)
    members_of(study.degradations)
    if study.data.folds > 1 and study.budget.searches > 1:
        raise ConfigError(
            f"budget.searches = {study.budget.searches} with data.folds = {study.data.folds}: every"
            " fold has a search of its own, so its interval counts another search already; take"
            " budget.searches = 1"
        )
    if (study.search.mode, study.search.sampler) == ("async", "cmaes"):
        raise ConfigError(
            "search.sampler = 'cmaes' learns from whole generations; take search.mode ="
            " 'generations' with it"
        )


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    valid, trained = registry.detector_options(name), registry.learner_of(name) in TRAINED
    training = settings(registry.learner_of(name)) if trained else ()
    check_keys(options, [*valid, *training])
    given = {k: v for k, v in options.items() if k not in valid or isinstance(v, tuple)}
    if given:
        check_keys(given, training, noun="training setting")
        load_space(name).with_given(given)
    options = {key: value for key, value in options.items() if key not in given}
    for key, value in options.items():
        if type(value) is not type(valid[key]):
            raise ConfigError(
                f"detector.{name}.{key} = {value!r} must be like its default, {valid[key]!r}"
            )
    registry.check_options(name, options)


def _check_datasets(study: Study) -> None:
    for name in (*study.train_on, *study.test_on):
        if is_given(name):
            raise ConfigError(
                f"'{name}': in the matrix, parentheses stand for what the study does not train on;"
                " give the dataset another name"
            )
    for name in study.test_on:
        if len(split_union(name)) > 1:
            raise ConfigError(
                f"test_on: '{name}' is a union; a test set is one dataset, name its members instead"
            )
    sets = [frozenset(split_union(name)) for name in study.train_on]
    for name, members in zip(study.train_on, sets, strict=True):
        with located("train_on"):
            check_apart(name)
        if sets.count(members) > 1:
            raise ConfigError(f"train_on names the union '{name}' twice, in another order")


@dataclasses.dataclass(frozen=True)
class _EnsembleOptions:
    """What a file may say of an ensemble. members: () for all trained detectors of the study."""

    members: Names = ()


def _ensembles(
    tables: Mapping[str, Any], detectors: Sequence[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return the members of each ensemble, sorted: those that the study names, else all trained."""
    trained = tuple(d for d in detectors if registry.learner_of(d) in TRAINED)
    named: dict[str, tuple[str, ...]] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"detector.{name} must be a table ([detector.{name}]), not {table!r}")
        with located(f"[detector.{name}]"):
            named[name] = validated(_EnsembleOptions, table).members
        check_once(named[name], key=f"detector.{name}.members")
    used = {name: named.get(name) or trained for name in detectors if name in registry.ENSEMBLES}
    for name, members in used.items():
        _check_members(name, members, trained)
    return {name: tuple(sorted(members)) for name, members in used.items()}


def _check_members(name: str, members: Sequence[str], trained: Sequence[str]) -> None:
    for member in members:
        if member not in trained:
            known = unknown_name("member", member, trained, where=f"[detector.{name}]")
            raise ConfigError(f"{known} (the trained detectors of this study)")
    if len(members) < 2:
        raise ConfigError(
            f"'{name}' has {len(members)} member{'s' * (len(members) != 1)}"
            f" ({', '.join(members) or 'none'}); an ensemble needs at least two trained detectors"
            " of the study"
        )


def to_toml(study: Study) -> str:
    """Return the study as TOML with every default; `parse_study` of it gives the same study."""
    table = dataclasses.asdict(study)
    lines = [
        f"{key} = {_toml_value(value)}"
        for key, value in table.items()
        if not isinstance(value, dict)
    ]
    for key in ("budget", "search", "data", "run"):
        lines += ["", f"[{key}]"] + [
            f"{name} = {_toml_value(value)}" for name, value in table[key].items()
        ]
    ensembles = {name: {"members": members} for name, members in study.ensembles.items()}
    for name, options in {**table["detector"], **ensembles}.items():
        lines += ["", f"[detector.{toml_text(name)}]"] + [
            f"{key} = {_toml_value(value)}" for key, value in options.items()
        ]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{toml_text(k)} = {_toml_value(v)}" for k, v in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    if isinstance(value, str):
        return toml_text(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def toml_text(text: str) -> str:
    """Return a text or key as TOML has it: JSON's form, without surrogates, and DEL escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

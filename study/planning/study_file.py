"""The study file: a TOML of few keys becomes a `Study`, every default filled in and every name
checked.

An unknown key, a wrong type or an impossible value is a `ConfigError` that names the key,
the value and what is valid; no dataset is touched here, so that a misspelt key costs nothing. The
resolved form is written back as `study.toml` (`to_toml`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

from study.core.errors import ConfigError, unknown_name
from study.core.records import BALANCES, ELSEWHERE, NO_TRAINING, Balance, Params
from study.data.images.degradations import members_of
from study.data.images.videos import FRAMES_PER_VIDEO
from study.data.names import check_apart, split_union
from study.detectors import registry
from study.planning.leave_one_out import expand_all_but
from study.planning.study import TRAINED, Budget, Data, Run, Search, Study

RESERVED = ("cache", "tracked", "mlartifacts")  # folders below the results that are no study's
PRECISIONS = ("auto", "float32", "bfloat16")
SEARCH_CHOICES = {  # the first is the default
    "sampler": ("tpe", "random", "gp", "cmaes", "grid"),
    "mode": ("generations", "async"),
    "scheduler": ("patience", "asha"),
}
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def preset_names() -> list[str]:
    """Return the names of the studies that ship with the package."""
    folder = resources.files("study.planning.presets")
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


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
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    for override in overrides:
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
        raise ConfigError(
            unknown_name("study", name_or_path, preset_names())
            + "; or the path of a study file, ending in .toml"
        )
    return (resources.files("study.planning.presets") / f"{name_or_path}.toml").read_text(
        encoding="utf-8"
    ), f"preset {name_or_path}"


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r} is not KEY=VALUE; for example --set budget.trials=5")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word: --set name=mine
    *folders, last = _key_parts(key.strip(), override)
    for name in folders:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: '{name}' is not a table of the study file")
    table[last] = value


def _key_parts(key: str, override: str) -> list[str]:
    """Take a key apart as TOML does: `detector."timm:resnet18.a1_in1k".size_px` has three parts."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise ConfigError(
            f"--set {override!r}: '{key}' is no key; names with other signs than letters, digits, _"
            " and - are quoted, "
            """as in 'detector."timm:resnet18".size_px=96'"""
        ) from None
    parts = []
    while isinstance(table, dict):
        ((name, table),) = table.items()
        parts.append(name)
    return parts


def parse_study(table: Mapping[str, Any], *, where: str) -> Study:
    """Turn a parsed TOML table into a `Study`. `where` opens every message. Raises ConfigError."""
    _known_keys(
        table, [f.name for f in dataclasses.fields(Study) if f.name != "ensembles"], where=where
    )
    for key in ("name", "detectors", "train_on"):
        if key not in table:
            raise ConfigError(f"{where}: the key '{key}' is missing")
    written = _names(table["train_on"], key="train_on", where=where)
    test_on = _names(table["test_on"], key="test_on", where=where) if "test_on" in table else ()
    train_on = expand_all_but(written, test_on, where=where)
    detectors = _names(table["detectors"], key="detectors", where=where)
    for name in detectors:
        registry.check_name(name, where=where)
    options = _section(table, "detector", where=where)
    study = Study(
        name=_name(table["name"], where=where),
        detectors=detectors,
        train_on=train_on,
        test_on=test_on or _members(train_on),
        degradations=_degradations(table.get("degradations", []), where=where),
        seed=_integer(table.get("seed", 0), key="seed", low=0, where=where),
        budget=_budget(_section(table, "budget", where=where), where=where),
        search=_search(_section(table, "search", where=where), where=where),
        data=_data(_section(table, "data", where=where), where=where),
        run=_run(_section(table, "run", where=where), where=where),
        detector=_detector_options(
            {k: v for k, v in options.items() if k not in registry.ENSEMBLES}, where=where
        ),
        ensembles=_ensembles(options, detectors, where=where),
    )
    _check_names(study, where=where)
    return study


def _members(train_on: Sequence[str]) -> tuple[str, ...]:
    """The training sets, unions taken apart, each once: what `test_on` is when nothing is said."""
    return tuple(dict.fromkeys(member for name in train_on for member in split_union(name)))


def _degradations(value: Any, *, where: str) -> tuple[str, ...]:
    names = _names(value, key="degradations", where=where) if value != [] else ()
    try:
        members_of(names)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return names


def _check_names(study: Study, *, where: str) -> None:
    for name in (NO_TRAINING, ELSEWHERE):
        if name in (*study.train_on, *study.test_on):
            raise ConfigError(
                f"{where}: '{name}' stands for no training set in the matrix; give the dataset"
                " another name"
            )
    for name in study.test_on:
        if len(split_union(name)) > 1:
            raise ConfigError(
                f"{where}: test_on: '{name}' is a union; a test set is one dataset, name its"
                " members instead"
            )
    for name in study.train_on:
        try:
            check_apart(name)
        except ConfigError as error:
            raise ConfigError(f"{where}: train_on: {error}") from None
    sets = [frozenset(split_union(name)) for name in study.train_on]
    for name, members in zip(study.train_on, sets, strict=True):
        if sets.count(members) > 1:
            raise ConfigError(f"{where}: train_on names the union '{name}' twice, in another order")


def _known_keys(table: Mapping[str, Any], valid: Sequence[str], *, where: str) -> None:
    for key in table:
        if key not in valid:
            raise ConfigError(unknown_name("key", key, valid, where=where))


def _section(table: Mapping[str, Any], key: str, *, where: str) -> Mapping[str, Any]:
    section = table.get(key, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: '{key}' must be a table ([{key}]), not {section!r}")
    return section


def _name(value: Any, *, where: str) -> str:
    if value in RESERVED:
        raise ConfigError(
            f"{where}: name = {value!r} is a folder of its own below the results; choose another"
        )
    if not isinstance(value, str) or not STUDY_NAME.fullmatch(value):
        raise ConfigError(
            f"{where}: name = {value!r} must be letters, digits, '.', '_' or '-' (it names the"
            " folder of the results)"
        )
    return value


def _names(value: Any, *, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise ConfigError(
            f"{where}: {key} = {value!r} must be a list of names, in quotes and brackets"
        )
    doubled = sorted({v for v in value if value.count(v) > 1})
    if doubled:
        raise ConfigError(f"{where}: {key} names '{doubled[0]}' twice")
    return tuple(value)


def _integer(value: Any, *, key: str, low: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{where}: {key} = {value!r} must be a whole number of at least {low}")
    return value


def _number(value: Any, *, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"{where}: {key} = {value!r} must be a number from 0 on")
    return float(value)


def _switch(value: Any, *, key: str, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {key} = {value!r} must be true or false")
    return value


def _one_of(value: Any, valid: Sequence[str], *, key: str, where: str) -> str:
    if value not in valid:
        raise ConfigError(
            unknown_name(key.rpartition(".")[2], str(value), valid, where=f"{where}: {key}")
        )
    return str(value)


def _budget(section: Mapping[str, Any], *, where: str) -> Budget:
    _known_keys(section, [f.name for f in dataclasses.fields(Budget)], where=f"{where}: [budget]")
    others = ("gpu_seconds", "default_winners", "transfer")
    whole = {
        k: _integer(v, key=f"budget.{k}", low=1, where=where)
        for k, v in section.items()
        if k not in others
    }
    return Budget(
        **whole,
        gpu_seconds=_number(section.get("gpu_seconds", 0), key="budget.gpu_seconds", where=where),
        default_winners=_switch(
            section.get("default_winners", True), key="budget.default_winners", where=where
        ),
        transfer=_switch(section.get("transfer", False), key="budget.transfer", where=where),
    )


def _search(section: Mapping[str, Any], *, where: str) -> Search:
    _known_keys(section, [f.name for f in dataclasses.fields(Search)], where=f"{where}: [search]")
    chosen = {
        key: _one_of(section.get(key, valid[0]), valid, key=f"search.{key}", where=where)
        for key, valid in SEARCH_CHOICES.items()
    }
    warm_start = (
        _names(section["warm_start"], key="search.warm_start", where=where)
        if section.get("warm_start")
        else ()
    )
    if chosen["mode"] == "async" and chosen["sampler"] == "cmaes":
        raise ConfigError(
            f"{where}: search.sampler = 'cmaes' learns from whole generations; take search.mode ="
            " 'generations' with it"
        )
    return Search(**chosen, warm_start=warm_start)


def _data(section: Mapping[str, Any], *, where: str) -> Data:
    _known_keys(section, [f.name for f in dataclasses.fields(Data)], where=f"{where}: [data]")
    root, folders = section.get("root", ""), section.get("class_folders", {})
    if not isinstance(root, str):
        raise ConfigError(f"{where}: data.root = {root!r} must be a path in quotes")
    if not isinstance(folders, dict) or any(
        type(label) is not int or label not in (0, 1) for label in folders.values()
    ):
        raise ConfigError(
            f"{where}: data.class_folders = {folders!r} must map folder names to 0 (real) or 1"
            " (fake)"
        )
    limit = _integer(section.get("max_per_class", 0), key="data.max_per_class", low=0, where=where)
    frames = _integer(
        section.get("frames_per_video", FRAMES_PER_VIDEO),
        key="data.frames_per_video",
        low=1,
        where=where,
    )
    balance = _one_of(
        section.get("balance", BALANCES[0]), BALANCES, key="data.balance", where=where
    )
    return Data(
        root=root,
        max_per_class=limit,
        frames_per_video=frames,
        class_folders=folders,
        balance=cast(Balance, balance),
        unify=_switch(section.get("unify", False), key="data.unify", where=where),
        shuffle_labels=_switch(
            section.get("shuffle_labels", False), key="data.shuffle_labels", where=where
        ),
    )


def _run(section: Mapping[str, Any], *, where: str) -> Run:
    _known_keys(section, [f.name for f in dataclasses.fields(Run)], where=f"{where}: [run]")
    gpus = _number(section.get("gpus_per_trial", 0), key="run.gpus_per_trial", where=where)
    if gpus > 1:
        raise ConfigError(
            f"{where}: run.gpus_per_trial = {gpus:g} must be at most 1; several GPUs are"
            " run.workers_per_trial"
        )
    return Run(
        threads=_integer(section.get("threads", 1), key="run.threads", low=1, where=where),
        precision=_one_of(
            section.get("precision", "auto"), PRECISIONS, key="run.precision", where=where
        ),
        workers_per_trial=_integer(
            section.get("workers_per_trial", 1), key="run.workers_per_trial", low=1, where=where
        ),
        gpus_per_trial=gpus,
        keep_epochs=_switch(section.get("keep_epochs", False), key="run.keep_epochs", where=where),
    )


def _detector_options(section: Mapping[str, Any], *, where: str) -> Mapping[str, Params]:
    options: dict[str, Params] = {}
    for name, table in section.items():
        registry.check_name(name, where=f"{where}: [detector.{name}]")
        if not isinstance(table, dict):
            raise ConfigError(
                f"{where}: detector.{name} must be a table ([detector.{name}]), not {table!r}"
            )
        valid = registry.detector_options(name)
        _known_keys(table, list(valid), where=f"{where}: [detector.{name}]")
        for key, value in table.items():
            if type(value) is not type(valid[key]):
                raise ConfigError(
                    f"{where}: detector.{name}.{key} = {value!r} must be like its default,"
                    f" {valid[key]!r}"
                )
        try:
            registry.check_options(name, table)
        except ConfigError as error:
            raise ConfigError(f"{where}: [detector.{name}]: {error}") from None
        options[name] = dict(table)
    return options


def _ensembles(
    section: Mapping[str, Any], detectors: Sequence[str], *, where: str
) -> Mapping[str, tuple[str, ...]]:
    """Return the members of each ensemble among `detectors`, sorted: those that the study names,
    else all that are trained.
    """
    named: dict[str, tuple[str, ...]] = {}
    for name in registry.ENSEMBLES:
        table = section.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(
                f"{where}: detector.{name} must be a table ([detector.{name}]), not {table!r}"
            )
        _known_keys(table, ("members",), where=f"{where}: [detector.{name}]")
        if "members" in table:
            named[name] = _names(table["members"], key=f"detector.{name}.members", where=where)
    trained = tuple(d for d in detectors if registry.learner_of(d) in TRAINED)
    used = {name: named.get(name, trained) for name in detectors if name in registry.ENSEMBLES}
    for name, members in used.items():
        _check_members(name, members, trained, where=where)
    return {name: tuple(sorted(members)) for name, members in used.items()}


def _check_members(
    name: str, members: Sequence[str], trained: Sequence[str], *, where: str
) -> None:
    for member in members:
        if member not in trained:
            known = unknown_name("member", member, trained, where=f"{where}: [detector.{name}]")
            raise ConfigError(f"{known} (the trained detectors of this study)")
    if len(members) < 2:
        raise ConfigError(
            f"{where}: '{name}' has {len(members)} member{'s' * (len(members) != 1)}"
            f" ({', '.join(members) or 'none'}); an ensemble needs at least two trained detectors"
            " of the study"
        )


def to_toml(study: Study) -> str:
    """Return the study as TOML with every default written out; `parse_study` of it gives the same
    study.
    """
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
    """Return a text or key as TOML writes it: as JSON does, but without its pairs of surrogates,
    and with DEL escaped.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

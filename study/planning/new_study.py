"""The text of a new study file: a first look at some datasets, with comments that say what to
change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.core.validation import read_toml
from study.planning.study import Budget
from study.planning.study_file import parse_study, toml_text

# what needs no weights, so that a first study needs no download
DETECTORS = ("spectrum", "npr", "resnet18_scratch")
FIRST_LOOK = {"trials": 3, "epochs": 4, "seeds": 2, "generation": 2, "replicates": 3}
MANY = 2000  # images of a class; of more a first look takes so many


@dataclass(frozen=True, kw_only=True)
class NewDataset:
    """A dataset of a new study. about: a line. splits: those that it has. largest: images of its
    larger class. tested: how many reals and fakes there are to test on.
    """

    name: str
    about: str
    splits: frozenset[str]
    largest: int
    tested: tuple[int, int] = (0, 0)


def new_study_text(
    name: str,
    datasets: Sequence[NewDataset],
    *,
    root: Path,
    class_folders: Mapping[str, int],
    commands: Sequence[str],
) -> str:
    """Return a study file as text. root: the folder of the datasets. commands: those that run it,
    in their order. Raises ConfigError where it would be no study.
    """
    trained = [one.name for one in datasets if "train" in one.splits]
    tested = [one.name for one in datasets if "test" in one.splits]
    lines = [
        f"# {name}: a first look, to be edited.",
        *(_comment(f"  {command}") for command in commands),
        *(_comment(f"{one.name}: {one.about}") for one in datasets),
        f"name = {toml_text(name)}",
        "",
        "# Trained from scratch: no download. python -m study.ls detectors has all, such as",
        "# resnet50 and clip_linear.",
        f"detectors = {_list(DETECTORS)}",
        "",
        "# Every detector is trained on each of these and tested on each of those.",
        *_union(trained),
        f"train_on = {_list(trained)}",
        f"test_on = {_list(tested)}",
        "",
        "# Small, for a first look. A study that is to be believed has the default budget:",
        f"# {', '.join(f'{key} = {json.dumps(getattr(Budget(), key))}' for key in FIRST_LOOK)}.",
        "[budget]",
        *(f"{key} = {value}" for key, value in FIRST_LOOK.items()),
        "",
        "[data]",
        f"root = {toml_text(str(root))}",
    ]
    if class_folders:
        table = ", ".join(f"{toml_text(key)} = {value}" for key, value in class_folders.items())
        lines += [
            "# What class folders hold: 0 is real, 1 is fake.",
            f"class_folders = {{ {table} }}",
        ]
    if max(one.largest for one in datasets) > MANY:
        lines += [
            "# Images of each class, for a first look. 0 takes all.",
            f"max_per_class = {MANY}",
        ]
    lines += [
        "# Where the audit says that formats or sizes tell the classes apart, a second study with",
        "# another name and this line says what is left without them.",
        "# unify = true",
    ]
    text = "\n".join(lines) + "\n"
    parse_study(read_toml(text), where="the new study")
    return text


def _comment(words: str) -> str:
    """A comment. What cannot be printed can stand in the name of a folder, and in no TOML."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return f"# {''.join(shown)}"


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(toml_text, names))}]"


def _union(trained: Sequence[str]) -> list[str]:
    if len(trained) < 2:
        return []
    return [f'# {toml_text("+".join(trained[:2]))} is both as one; "all-but" leaves each out.']

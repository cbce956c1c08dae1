"""Dataset cards: what is known of a published dataset before a file of it is read. One TOML a
dataset, in `study/data/sources/cards/`.

The keys of a card are the fields of `records.DatasetCard` except `name`, which is the
file's name. To add a dataset, add a card.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from study.core.errors import ConfigError, unknown_name
from study.core.records import SPLITS, DatasetCard
from study.data.layouts.folders import CLASS_WORDS, segment_pattern
from study.data.layouts.reals import REALS_KEYS

SOURCES = ("kaggle", "huggingface", "demo", "folder")
HANDLE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_KEYS = {f.name: f for f in dataclasses.fields(DatasetCard) if f.name != "name"}


def card_names() -> list[str]:
    """Return the names of all cards, sorted."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in _folder().iterdir()
        if entry.name.endswith(".toml")
    )


def load_card(name: str) -> DatasetCard:
    """Read the card of a dataset. Raises ConfigError for an unknown name and for a card that is not
    as it must be.
    """
    if name not in card_names():
        raise ConfigError(unknown_name("dataset card", name, card_names()))
    return parse_card((_folder() / f"{name}.toml").read_text(encoding="utf-8"), name=name)


def parse_card(text: str, *, name: str) -> DatasetCard:
    """Turn the TOML text of a card into a `DatasetCard`. Raises ConfigError naming the card, the
    key and the value.
    """
    where = f"card {name}"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigError(unknown_name("key", key, _KEYS, where=where))
        _check_type(key, value, where=where)
    for key in ("title", "source"):
        if key not in table:
            raise ConfigError(f"{where}: the key '{key}' is missing")
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    card = DatasetCard(name=name, **fields)
    _check_card(card, where=where)
    return card


def _folder() -> Traversable:
    """The folder of cards; it is no package, for this module has its name."""
    return resources.files("study.data.sources") / "cards"


def _check_type(key: str, value: Any, *, where: str) -> None:
    valid = {
        "size_gb": type(value) in (int, float) and value >= 0,
        "hazards": isinstance(value, list) and all(isinstance(v, str) for v in value),
        "holds": isinstance(value, list) and all(isinstance(v, str) for v in value),
        "folders": isinstance(value, list) and all(_is_entry(v) for v in value),
        "splits": isinstance(value, dict) and all(v in SPLITS for v in value.values()),
        "reals": (
            isinstance(value, dict)
            and {*value} == {*REALS_KEYS}
            and all(isinstance(v, str) and v for v in value.values())
        ),
        "class_folders": (
            isinstance(value, dict) and all(type(v) is int and v in (0, 1) for v in value.values())
        ),
        "methods": (
            isinstance(value, dict) and all(isinstance(v, str) and v for v in value.values())
        ),
    }.get(key, isinstance(value, str))
    if not valid:
        wanted = {
            "size_gb": "a number of gigabytes",
            "hazards": "a list of sentences",
            "holds": "a list of folders",
            "folders": (
                "a list of tables of texts with a path each; a label is real or fake, a split"
                " train, val or test"
            ),
            "splits": "folder names with train, val or test",
            "reals": (
                "a table of three texts, a file in each folder of fakes and its columns path and"
                " target"
            ),
            "class_folders": "folder names with 0 (real) or 1 (fake)",
            "methods": "class folder names with a method each",
        }
        raise ConfigError(f"{where}: {key} = {value!r} must be {wanted.get(key, 'a text')}")


def _is_entry(entry: Any) -> bool:
    """Whether an entry of `folders` is one: texts, and those words that are understood with a value
    that is.
    """
    if not isinstance(entry, dict) or not all(isinstance(v, str) and v for v in entry.values()):
        return False
    path = entry.get("path", "")
    labelled = entry.get("label") in CLASS_WORDS.values() or (
        "label" not in entry and "{class" in path
    )
    return bool(path) and _stays_inside(path) and labelled and entry.get("split", "train") in SPLITS


def _check_card(card: DatasetCard, *, where: str) -> None:
    if card.source not in SOURCES:
        raise ConfigError(unknown_name("source", card.source, SOURCES, where=where))
    if card.source in ("kaggle", "huggingface") and not HANDLE.fullmatch(card.handle):
        raise ConfigError(
            f"{where}: handle = {card.handle!r} must be OWNER/DATASET, as in the address of its"
            " page"
        )
    for entry in card.folders:
        for segment in entry["path"].split("/"):
            try:
                re.compile(segment_pattern(segment))
            except (re.error, ConfigError) as error:
                raise ConfigError(f"{where}: folders: path = {entry['path']!r}: {error}") from None
    if card.reals and not _stays_inside(card.reals["file"]):
        raise ConfigError(
            f"{where}: reals: file = {card.reals['file']!r} must be a relative path inside a folder"
            " of fakes"
        )
    if card.subfolder and not _stays_inside(card.subfolder):
        raise ConfigError(
            f"{where}: subfolder = {card.subfolder!r} must be a relative path inside the dataset"
        )
    if card.group_pattern:
        try:
            names: Mapping[str, int] = re.compile(card.group_pattern).groupindex
        except re.error as error:
            raise ConfigError(
                f"{where}: group_pattern = {card.group_pattern!r} is no regular expression: {error}"
            ) from None
        if "group" not in names:
            raise ConfigError(
                f"{where}: group_pattern = {card.group_pattern!r} has no group named 'group',"
                " written (?P<group>...)"
            )


def _stays_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")

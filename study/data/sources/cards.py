"""Dataset cards: what is known of a published dataset before a file of it is read. One TOML a
dataset, in `study/data/sources/cards/`.

The keys of a card are the fields of `records.DatasetCard` except `name`, which is the
file's name. To add a dataset, add a card.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from study.core.errors import ConfigError, located, unknown_name
from study.core.records import SPLITS, DatasetCard
from study.core.validation import read_toml, toml_names, validated
from study.data.layouts.folders import CLASS_WORDS, segment_pattern

HANDLE = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def card_names() -> list[str]:
    """Return the names of all cards, sorted."""
    return toml_names(_folder())


def load_card(name: str) -> DatasetCard:
    """Read the card of a dataset. Raises ConfigError for an unknown name and for a broken card."""
    if name not in card_names():
        raise ConfigError(unknown_name("dataset card", name, card_names()))
    return parse_card((_folder() / f"{name}.toml").read_text(encoding="utf-8"), name=name)


def parse_card(text: str, *, name: str) -> DatasetCard:
    """Read the TOML text of a card. Raises ConfigError naming the card, the key and the value."""
    with located(f"card {name}"):
        card = validated(DatasetCard, read_toml(text), given={"name": name})
        _check_card(card)
    return card


def _folder() -> Traversable:
    """The folder of cards; it is no package, for this module has its name."""
    return resources.files("study.data.sources") / "cards"


def _check_card(card: DatasetCard) -> None:
    if card.source in ("kaggle", "huggingface") and not HANDLE.fullmatch(card.handle):
        raise ConfigError(
            f"handle = {card.handle!r} must be OWNER/DATASET, as in the address of its page"
        )
    for entry in card.folders:
        _check_entry(entry)
    if card.reals and not _stays_inside(card.reals["file"]):
        raise ConfigError(
            f"reals: file = {card.reals['file']!r} must be a relative path inside a folder of fakes"
        )
    if not _stays_inside(card.subfolder):
        raise ConfigError(
            f"subfolder = {card.subfolder!r} must be a relative path inside the dataset"
        )
    try:
        named = re.compile(card.group_pattern).groupindex
    except re.error as error:
        raise ConfigError(
            f"group_pattern = {card.group_pattern!r} is no regular expression: {error}"
        ) from None
    if card.group_pattern and "group" not in named:
        raise ConfigError(
            f"group_pattern = {card.group_pattern!r} has no group named 'group', written"
            " (?P<group>...)"
        )


def _check_entry(entry: Mapping[str, str]) -> None:
    """Refuse an entry of `folders` whose words are not understood: it has a path inside, and a
    label or a path that says it.
    """
    path = entry.get("path", "")
    labelled = entry.get("label") in CLASS_WORDS.values() or (
        "label" not in entry and "{class" in path
    )
    known = labelled and entry.get("split", "train") in SPLITS and all(entry.values())
    if not path or not _stays_inside(path) or not known:
        raise ConfigError(
            f"folders: {entry!r} must be a table of texts with a path each; a label is real or"
            " fake, a split train, val or test"
        )
    for segment in path.split("/"):
        try:
            re.compile(segment_pattern(segment))
        except (re.error, ConfigError) as error:
            raise ConfigError(f"folders: path = {path!r}: {error}") from None


def _stays_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")

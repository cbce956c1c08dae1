"""The names of all keys of a study file, and the key that somebody meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from study.core.errors import ConfigError, nearest
from study.planning.study import Study

MADE = "ensembles"  # a field of the record, and no key of the file


@cache
def dotted_keys() -> tuple[str, ...]:
    """Return every key of a study file: `name`, `budget.trials`, ..."""
    hints, names = get_type_hints(Study), []
    for field in fields(Study):
        kind = hints[field.name]
        inner = [one.name for one in fields(kind)] if is_dataclass(kind) else []
        names += [f"{field.name}.{name}" for name in inner] or [field.name]
    return tuple(name for name in names if name != MADE)


def meant_key(name: str) -> str | None:
    """Return the key that a bare name stands for, or the one nearest to it in spelling.

    >>> meant_key("trials"), meant_key("epoch"), meant_key("xyz")
    ('budget.trials', 'budget.epochs', None)
    """
    by_last = {key.rpartition(".")[2]: key for key in reversed(dotted_keys())}
    name = name.rpartition(".")[2].replace("-", "_")
    close = name if name in by_last else nearest(name, by_last)
    return by_last[close] if close else None


def check_places(table: Mapping[str, Any]) -> None:
    """Raise ConfigError for a key that stands in the wrong table of a study file, and name the
    right place. A key that is misspelt in its own table is left to the check of that table.
    """
    known = dotted_keys()
    tables = {key.partition(".")[0] for key in known}
    last = {key.rpartition(".")[2] for key in known}
    for name, value in table.items():
        if name not in tables and nearest(name, [*tables, *last]) not in tables:
            _refuse(name)
        if isinstance(value, dict) and any(key.startswith(f"{name}.") for key in known):
            for key in value:
                if f"{name}.{key}" not in known and key in last:
                    _refuse(f"{name}.{key}")


def _refuse(key: str) -> None:
    if right := meant_key(key):
        raise ConfigError(
            f"unknown key '{key}': did you mean '{right}'? Valid: {', '.join(dotted_keys())}"
        )

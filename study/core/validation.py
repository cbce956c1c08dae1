"""What people write in TOML (study files, cards, search spaces, prompts, recipes) becomes a record.

pydantic checks a table against the annotations of the record itself, so a default stands there
alone. Its errors become one line: the key, its value, and what it must be. pydantic is imported
with the first table that is checked, because records travel to places that check nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from study.core.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from _typeshed import DataclassInstance
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails

T = TypeVar("T", bound="DataclassInstance")


class MustBe:
    """Annotates a field with what its value must be, in words, and with limits that pydantic holds
    it to: `Annotated[int, MustBe("a whole number from 2 on", ge=2)]`.

    A number, and `true` or `false`, counts as it is written: `1` is not `true`, `"3"` is no number.
    limits: keywords of the type's schema in pydantic_core: ge, gt, le, lt, min_length, pattern.
    """

    def __init__(self, text: str, **limits: Any) -> None:
        self.text, self.limits = text, limits

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the annotated type, with the limits and with the text as its only
        error.
        """
        from pydantic_core import core_schema

        schema: Any = {**handler(source), **self.limits}
        if schema["type"] in ("int", "float", "bool"):
            schema["strict"] = True
        return core_schema.custom_error_schema(schema, "must_be", custom_error_message=self.text)


Switch = Annotated[bool, MustBe("true or false")]
Plain = Annotated[float | int | str | bool, MustBe("a number, a text, true or false")]


def validated(
    kind: type[T],
    table: Mapping[str, Any],
    *,
    given: Mapping[str, Any] | None = None,
    verb: str = " must be ",
) -> T:
    """Return the record that a table writes down: `kind` is a dataclass, its fields are the keys.

    Lists become tuples, tables in it become records, and a whole number may stand for a real one.
    given: fields that are no keys of the table. verb: what stands between a value and the text of
    `MustBe`. Raises ConfigError for an unknown key (with the nearest one), a missing key, and a
    value that the field does not take.
    """
    from pydantic import ValidationError

    given = given or {}
    check_keys(table, [field.name for field in fields(kind) if field.name not in given])
    try:
        record: T = _adapter(kind).validate_python({**table, **given})
        return record
    except ValidationError as refusal:
        # what is misspelt is why something else is missing
        order = ("unexpected_keyword_argument", "missing")
        error = min(
            refusal.errors(include_url=False),
            key=lambda e: order.index(e["type"]) if e["type"] in order else len(order),
        )
    raise ConfigError(_line(kind, error, verb))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter, with_config

    return TypeAdapter(with_config(extra="forbid", allow_inf_nan=False)(kind))


def _line(kind: Any, error: ErrorDetails, verb: str) -> str:
    *path, key = map(str, error["loc"])
    dotted, value = ".".join([*path, key]), error["input"]
    match error["type"]:
        case "unexpected_keyword_argument":
            for part in path:
                kind = get_type_hints(kind)[part]
            valid = [field.name for field in fields(kind)]
            return unknown_name("key", key, valid, where=f"[{'.'.join(path)}]")
        case "missing":
            return f"the key '{key}' is missing"
        case "dataclass_type" | "dict_type":
            return f"'{dotted}' must be a table ([{dotted}]), not {value!r}"
        case "literal_error":
            valid = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            return unknown_name(key, str(value), valid, where=dotted if path else "")
        case plain:
            text = {"string_type": "a text", "tuple_type": "a list"}.get(plain, error["msg"])
            return f"{dotted} = {value!r}{verb}{text}"


def check_keys(
    table: Iterable[str], valid: Iterable[str], *, noun: str = "key", where: str = ""
) -> None:
    """Raise ConfigError for a key that is none of the valid ones, with the nearest of them."""
    valid = [*valid]
    for key in table:
        if key not in valid:
            raise ConfigError(unknown_name(noun, key, valid, where=where))


def check_once(names: Sequence[str], *, key: str) -> None:
    """Raise ConfigError where a list of names has one of them twice. key: what the list is."""
    doubled = next((name for name in sorted(names) if names.count(name) > 1), None)
    if doubled is not None:
        raise ConfigError(f"{key} names '{doubled}' twice")


def read_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(
            "not valid TOML: its lists or tables lie in each other too deep"
        ) from None


def toml_names(folder: Traversable) -> list[str]:
    """Return the names of the TOML files of a folder, without their ending, sorted."""
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))

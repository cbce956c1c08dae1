"""Files of a store: each carries a schema number, and one that cannot be read says what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.core.errors import StoreError

SCHEMA = 1
AGAIN = "remove it and run the command again"
_SCHEMA_KEY = b"study_schema"


class DamagedFileError(StoreError):
    """A file of a store cannot be read."""

    def __init__(self, path: Path | str, error: Exception, instead: str = AGAIN) -> None:
        """instead: what to do."""
        super().__init__(f"'{path}' cannot be read ({error}); {instead}")


def json_text(table: Mapping[str, Any]) -> str:
    """Return a JSON file of today's schema. A record in it is written field by field."""
    return json.dumps({"schema": SCHEMA, **table}, indent=2, default=vars) + "\n"


def read_json(path: Path, instead: str = AGAIN) -> dict[str, Any]:
    """Return what a JSON file holds. Raises StoreError, with what to do `instead`, where it cannot
    be read or has another schema.
    """
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedFileError(path, error, instead) from None
    check_schema(str(table.get("schema", "")), path)
    return table


def write_table(path: Path, table: pa.Table, metadata: Mapping[bytes, str] | None = None) -> None:
    """Write a Parquet file of today's schema."""
    schema = {_SCHEMA_KEY: str(SCHEMA), **(metadata or {})}
    pq.write_table(table.replace_schema_metadata(schema), path)


def read_table(path: Path, name: str = "") -> pa.Table:
    """Return a Parquet file. name: for a person, if it is not the path.

    Raises DamagedFileError where it cannot be read, and StoreError where it has another schema.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(name or path, error) from None
    check_schema((table.schema.metadata or {}).get(_SCHEMA_KEY, b"").decode(), name or path)
    return table


def check_schema(found: str, path: Path | str) -> None:
    """Refuse a file of another schema by name. Raises StoreError."""
    if found != str(SCHEMA):
        raise StoreError(
            f"'{path}' has schema {found or '(none)'}, this version reads {SCHEMA}; use --results"
            " with another folder"
        )

"""Files of a store: each carries a schema number and the SHA-256 of its content, most of them the
key of what they are of. All that is checked at every read. One that fails says what to do.

Files of versions that wrote no sums are read without that check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.core.errors import StoreError
from study.core.failures import Failure

SCHEMA = 1
AGAIN = "remove it and run the command again"
SUM = "sha256"
_SCHEMA_KEY = b"study_schema"


class DamagedFileError(StoreError):
    """A file of a store cannot be read."""

    def __init__(self, path: Path | str, error: Exception, instead: str = AGAIN) -> None:
        """instead: what to do."""
        self.what = f"'{path}' cannot be read ({error})"
        super().__init__(f"{self.what}; {instead}")


def not_of(key: str, found: str) -> bool:
    """Tell whether a file is of another key than it should be; "" is not known."""
    return bool(key and found and key != found)


def unreadable(path: Path | str, error: OSError) -> StoreError:
    """Return the error for a file that the system does not give: it may be as it was written."""
    return StoreError(f"'{path}' cannot be read ({error.strerror or error})")


def json_text(table: Mapping[str, Any]) -> str:
    """Return a JSON file of today's schema. A record in it is written field by field."""
    plain = json.loads(json.dumps({"schema": SCHEMA, **table}, default=vars))
    return json.dumps({**plain, SUM: content_sum(plain)}, indent=2) + "\n"


def read_json(path: Path, instead: str = AGAIN) -> dict[str, Any]:
    """Return what a JSON file holds. Raises StoreError, with what to do `instead`, where it cannot
    be read, is not what was written, or has another schema.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError("it holds no table")
    except OSError as error:
        raise unreadable(path, error) from None
    except (RecursionError, ValueError) as error:  # the first where lists lie in each other deep
        raise DamagedFileError(path, error, instead) from None
    expected = table.pop(SUM, None)
    if expected is None and _is_sum(next(reversed(table.values()), None)):
        raise DamagedFileError(path, ValueError("the name of its sum is not what was written"))
    check_schema(str(table.get("schema", "")), path)
    check_sum(expected, table, path, instead)
    return table


def _is_sum(value: Any) -> bool:
    """Tell whether a value looks like a sum, which `json_text` writes last."""
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def content_sum(*content: Any) -> str:
    """Return the SHA-256 of values of JSON, and of bytes."""
    hasher = hashlib.sha256()
    for one in content:
        plain = one if isinstance(one, bytes) else json.dumps(one, sort_keys=True).encode()
        hasher.update(b"%d " % len(plain) + plain)
    return hasher.hexdigest()


def check_sum(expected: str | None, content: Any, path: Path | str, instead: str = AGAIN) -> None:
    """Refuse content that is not what was written; None is of a version that wrote no sums."""
    if expected is not None and expected != content_sum(content):
        raise DamagedFileError(path, ValueError("it holds what was not written"), instead)


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
    except OSError as error:
        # Arrow says so of damaged pages too; the system's own errors have a number
        if error.errno is not None:
            raise unreadable(name or path, error) from None
        raise DamagedFileError(name or path, error) from None
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, ValueError) as error:
        raise DamagedFileError(name or path, error) from None
    check_schema(
        (table.schema.metadata or {}).get(_SCHEMA_KEY, b"").decode(errors="replace"), name or path
    )
    return table


def check_schema(found: str, path: Path | str) -> None:
    """Refuse a file of another schema by name. Raises StoreError."""
    if found != str(SCHEMA):
        raise StoreError(
            f"'{path}' has schema {found or '(none)'}, this version reads {SCHEMA}; use --results"
            " with another folder"
        )


def said(table: pa.Table, name: bytes) -> str | None:
    """Return what a table's file says of itself under a name; None where it says nothing."""
    found = (table.schema.metadata or {}).get(name)
    return None if found is None else found.decode(errors="replace")


def failure_columns(failure: Failure) -> dict[str, str]:
    """Return a failure as the store has it; of its file the name, because stores are moved."""
    file = failure.traceback_file
    return {
        "reason": failure.message,
        "failure_type": failure.type,
        "traceback_file": file.name if file else "",
    }


def failure_from(columns: Mapping[str, str], tracebacks: Path) -> Failure:
    """Return the failure of `failure_columns`. Older stores have its type before its message."""
    if not columns["failure_type"]:
        return Failure.parse(columns["reason"])
    name = columns["traceback_file"]
    return Failure(
        type=columns["failure_type"],
        message=columns["reason"],
        traceback_file=tracebacks / name if name else None,
    )

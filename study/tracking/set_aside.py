"""Views of a results folder that are damaged: MLflow's database and Optuna's journal."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from study.tracking.mlflow_address import own_database
from study.tracking.optuna_record import own_journal, writing_alone


def set_aside_damaged(results: Path) -> list[Path]:
    """Rename what is damaged, so that it can be made anew; return what it is called now. Those at
    an address of the user's stay.
    """
    database, journal = own_database(results), own_journal(results)
    found = []
    if database and _is_damaged_database(database):
        found.append(_renamed(database))
    # Another study's command may be in the middle of a line, so look again while nobody writes.
    if journal and _is_damaged_journal(journal):
        with writing_alone(journal):
            if _is_damaged_journal(journal):
                found.append(_renamed(journal))
    return found


def _is_damaged_database(path: Path) -> bool:
    """Tell whether SQLite says so. A database that is locked or out of reach is none."""
    if not path.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            found = database.execute("pragma quick_check").fetchone()
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True
    return bool(found != ("ok",))


def _is_damaged_journal(path: Path) -> bool:
    """Tell whether a line is no JSON, as Optuna reads them."""
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        try:
            for line in lines:
                json.loads(line)
        except ValueError:
            return True
    return False


def _renamed(path: Path) -> Path:
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return path.rename(target)

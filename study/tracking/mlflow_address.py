"""Where MLflow keeps its runs: MLFLOW_TRACKING_URI, or a SQLite file in the results folder.

Knows no mlflow.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from study.core.errors import StoreError

SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def tracking_uri(results: Path) -> str:
    """Return MLFLOW_TRACKING_URI where it is set, else the SQLite file of the results folder; a
    file's path is always absolute.

    Raises StoreError, naming the address and the valid kinds, for a folder of files, which MLflow
    has given up, and for anything else that is neither a server nor a database.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not given:
        return f"sqlite:///{results.absolute()}/mlflow.db"
    scheme = urlsplit(given).scheme.split("+")[0]
    if scheme not in (*SERVERS, *DATABASES):
        raise StoreError(
            f"MLFLOW_TRACKING_URI is '{without_password(given)}', and MLflow keeps runs in a server"
            " or a database only: unset it, or give http://HOST:PORT, sqlite:///FILE,"
            " postgresql://... or mysql://..."
        )
    head, _, path = given.partition(":///")
    return f"{head}:///{Path(path).absolute()}" if scheme == "sqlite" and path else given


def is_server(uri: str) -> bool:
    """Say whether an address is that of a tracking server, which decides for itself where files
    go.
    """
    return urlsplit(uri).scheme in SERVERS


def without_password(uri: str) -> str:
    """Return a text with the user and password of every address in it replaced by stars."""
    return re.sub(r"//[^@/\s]*@", "//***@", uri)

"""Where MLflow keeps its runs: MLFLOW_TRACKING_URI, or a SQLite file in the results folder.

Knows no mlflow.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from study.core.errors import StoreError

SERVERS = ("http", "https")
HERE = "http://127.0.0.1:5000"  # where the command below serves
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def tracking_uri(results: Path) -> str:
    """Return MLFLOW_TRACKING_URI where it is set, else the SQLite file of the results folder; a
    file's path is always absolute.

    Raises StoreError, naming the address and the valid kinds, for a folder of files, which MLflow
    has given up, and for anything else that is neither a server nor a database.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not given:
        return _sqlite(results / "mlflow.db")
    scheme = urlsplit(given).scheme.split("+")[0]
    if scheme not in (*SERVERS, *DATABASES):
        raise StoreError(
            f"MLFLOW_TRACKING_URI is '{without_password(given)}', and MLflow keeps runs in a server"
            " or a database only: unset it, or give http://HOST:PORT, sqlite:///FILE,"
            " postgresql://... or mysql://..."
        )
    head, _, rest = given.partition(":///")
    path, mark, query = rest.partition("?")
    if scheme != "sqlite" or not path:
        return given
    return f"{_sqlite(Path(unquote(path)), head)}{mark}{query}"


def own_database(results: Path) -> Path | None:
    """Return the SQLite file of the results folder; None where MLFLOW_TRACKING_URI names a place of
    the user's.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return None if given else results.absolute() / "mlflow.db"


def _sqlite(file: Path, driver: str = "sqlite") -> str:
    """The address of a SQLite file: they are percent-decoded, and end at a question mark.

    Where a path has to be encoded its address names the driver too. MLflow would otherwise make the
    folder that the encoded path spells.
    """
    path = str(file.absolute())
    if path == unquote(path) and "?" not in path:
        return f"{driver}:///{path}"
    driver = "sqlite+pysqlite" if driver == "sqlite" else driver
    return f"{driver}:///{path.replace('%', '%25').replace('?', '%3F')}"


def is_server(uri: str) -> bool:
    """Say whether an address is that of a tracking server, which decides for itself where files
    go.
    """
    return urlsplit(uri).scheme in SERVERS


def without_password(uri: str) -> str:
    """Return a text with the user and password of every address in it replaced by stars."""
    return re.sub(r"//[^@/\s]*@", "//***@", uri)


def ui_command(results: Path) -> str:
    """Return the command that shows the runs in a browser; for a server, its address, where nothing
    has to be started.
    """
    uri = tracking_uri(results)
    if is_server(uri):
        return without_password(uri)
    # An address with a password in it is not printed.
    address = shlex.quote(uri) if without_password(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    return f"mlflow ui --backend-store-uri {address} --host 127.0.0.1 --port 5000 --workers 1"


def page_line(results: Path, page: str) -> str:
    """Return what to say of where the matrix is. page: in MLflow's own pages."""
    uri = tracking_uri(results)
    if is_server(uri):
        return f"matrix in MLflow: {without_password(uri).rstrip('/')}{page}"
    return f"matrix in MLflow: {HERE}{page} (start its UI first: README.md has the command)"

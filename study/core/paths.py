"""Paths and URLs as people give them, and sizes as they read them."""

from __future__ import annotations

import re
from pathlib import Path

from study.core.errors import ConfigError

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def given_path(text: str | Path) -> Path:
    """Return a path with `~` and `~user` expanded. Raises ConfigError where there is no such user,
    or it is no UTF-8.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0].removeprefix("~")
        why = f"there is no user '{user}'" if user else "your home folder is not known, set HOME"
        raise ConfigError(f"'{text}': {why}") from None
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        shown = (
            str(path.absolute()).encode(errors="surrogateescape").decode(errors="backslashreplace")
        )
        raise ConfigError(f"'{shown}' is not valid UTF-8; rename what of it is not") from None
    return path


def is_url(text: str) -> bool:
    """Whether a text is a URL and no path."""
    return bool(_URL.match(text))


def bytes_text(size: float) -> str:
    """Return a number of bytes as a person reads it, e.g. `1.5 GB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"

"""matplotlib as files of figures need it, whatever the environment says of windows and of styles.

A notebook sets MPLBACKEND to a backend that other environments lack, and with it matplotlib
does not even import. A `matplotlibrc` of the user's may ask for LaTeX. Figures need neither.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from study.core.errors import ConfigError
from study.core.log import FILE_ONLY

LOG = logging.getLogger(__name__)
BACKEND = "MPLBACKEND"


@contextlib.contextmanager
def headless(style: Path | None = None) -> Iterator[None]:
    """Import matplotlib without the backend that the environment names, and draw in its own style,
    or with the settings of a file of the user's. Raises ConfigError where that cannot be read.

    Afterwards whoever uses matplotlib in this process has the backend and the style as before.
    """
    named = os.environ.pop(BACKEND, None) if "matplotlib" not in sys.modules else None
    try:
        import matplotlib
    finally:
        if named is not None:
            os.environ[BACKEND] = named
    if named:
        with contextlib.suppress(ValueError):  # it is of another environment
            matplotlib.rcParams["backend"] = named
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["pdf.fonttype"] = 42  # letters that a journal's tools can read
        if style is not None:
            _apply(style)
        yield


def _apply(style: Path) -> None:
    import matplotlib.style

    try:
        matplotlib.style.use(str(style))
    except OSError as error:
        raise ConfigError(f"--style {style}: it cannot be read as matplotlib's settings") from error


@contextlib.contextmanager
def costs_only(what: str) -> Iterator[None]:
    """Go on where something cannot be drawn: a line says so, and `run.log` has the traceback."""
    try:
        yield
    except Exception as error:  # whatever a drawing library raises, the tables do not depend on it
        text = " ".join(str(error).split())[:300] or type(error).__name__
        LOG.warning(f"warning: {what} not drawn: {text}")
        LOG.info("its traceback:", exc_info=True, extra=FILE_ONLY)

"""The plotting library that the report carries: Vega, Vega-Lite and Vega-Embed as one script.

It comes out of the package `vl-convert-python`, which its makers keep, and is no file of ours.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import cast

from study.core import child
from study.core.cache import Cache
from study.core.errors import StoreError

PACKAGE = "vl-convert-python"
EXPORTS = "window.vegaEmbed = vegaEmbed;"


def bundled() -> str:
    """Return the script, minified (0.9 MB). To make it takes two seconds in which nothing else of a
    process runs, not even its life sign: so a process of its own makes it.
    """
    with child.start(__name__, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as maker:
        made, said = maker.communicate()
    if maker.returncode:
        reason = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise StoreError(f"{PACKAGE} cannot make the plotting library: {reason}")
    return made.decode("utf-8")


BUNDLES = Cache("report_library", [bundled], libraries=(PACKAGE,))


def library(cache: Path) -> str:
    """Return the script, from the folder of the cache where that has it. Raises StoreError where
    the cache cannot be written.
    """
    return cast(str, BUNDLES.get(cache, EXPORTS, bundled))


@contextmanager
def library_ahead(cache: Path) -> Iterator[None]:
    """Put the script into the cache beside the block, whose end waits for it. Where it cannot be
    made, whoever needs it says why. An error in the block does not wait.
    """

    def make() -> None:
        with suppress(Exception):  # the next who asks meets it, too
            library(cache)

    maker = threading.Thread(target=make, daemon=True)
    maker.start()
    yield
    maker.join()


def main() -> None:
    """Print the script."""
    import vl_convert

    sys.stdout.buffer.write(vl_convert.javascript_bundle(EXPORTS).encode("utf-8"))


def named() -> str:
    """Return what it is, with its version and licence."""
    return f"Vega-Lite, by {PACKAGE} {metadata.version(PACKAGE)} (BSD 3-Clause)"


if __name__ == "__main__":
    main()

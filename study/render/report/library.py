"""The plotting library that the report carries: Vega, Vega-Lite and Vega-Embed as one script.

It comes out of the package `vl-convert-python`, which its makers keep, and is no file of ours.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import cast

from study.core.cache import Cache

PACKAGE = "vl-convert-python"
EXPORTS = "window.vegaEmbed = vegaEmbed;"


def bundled() -> str:
    """Return the script, minified (0.9 MB); to make it takes two seconds."""
    import vl_convert

    return vl_convert.javascript_bundle(EXPORTS)


BUNDLES = Cache("report_library", [bundled], libraries=(PACKAGE,))


def library(cache: Path) -> str:
    """Return the script, from the folder of the cache where that has it. Raises StoreError where
    the cache cannot be written.
    """
    return cast(str, BUNDLES.get(cache, EXPORTS, bundled))


def named() -> str:
    """Return what it is, with its version and licence."""
    return f"Vega-Lite, by {PACKAGE} {metadata.version(PACKAGE)} (BSD 3-Clause)"

"""A page that scores an image in a browser, with the model and all that runs it inside: one file
that asks for nothing.

What runs the model is ONNX Runtime Web, of which whoever makes the page has a copy: npm's package
`onnxruntime-web`. Nothing of it is kept here.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from study.core.errors import ConfigError
from study.core.identity import whole_file

LIBRARY, ENGINE = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
LARGEST = 64_000_000  # bytes of a model


def runtime_files(folder: Path) -> tuple[Path, Path]:
    """Return the library and the engine below the folder of npm's package. Raises ConfigError."""
    for place in (folder / "dist", folder):
        found = place / LIBRARY, place / ENGINE
        if all(path.is_file() for path in found):
            return found
    raise ConfigError(
        f"--page {folder}: there is no {LIBRARY} and {ENGINE} in it; give the folder of npm's"
        " package onnxruntime-web, which `npm install onnxruntime-web` puts into"
        " node_modules/onnxruntime-web"
    )


def check_size(model: Path) -> None:
    """Raise ConfigError for a model that is too large for a page."""
    size = model.stat().st_size
    if size > LARGEST:
        raise ConfigError(
            f"--page: the model has {size / 1e6:.0f} MB, and a page holds {LARGEST / 1e6:.0f} MB at"
            " most; export a smaller detector"
        )


def write_page(
    path: Path, model: Path, runtime: Path, title: str, about: Mapping[str, Any], no: Sequence[str]
) -> None:
    """Write the page. about: `threshold`, `threshold_name`, `temperature` (None for none),
    `train_on`. no: sentences that say what a score is not.

    Raises ConfigError for a model that is too large for a page, and where the runtime is not there.
    """
    check_size(model)
    library, engine = runtime_files(runtime)
    filled = {
        "title": escape(title),
        "version": escape(_version(library)),
        "not": "".join(f"<li>{escape(line)}</li>" for line in no),
        "about": json.dumps(dict(about)).replace("<", "\\u003c"),
        "library": _packed(library),
        "engine": _packed(engine),
        "model": _packed(model),
    }
    template = files("study.exporting").joinpath("page.html").read_text("utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda slot: filled[slot[1]], template)
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")


def _packed(path: Path) -> str:
    return base64.b64encode(gzip.compress(path.read_bytes(), mtime=0)).decode()


def _version(library: Path) -> str:
    """The version that the package says, or "" where its package.json did not come along."""
    said = library.parent.parent / "package.json"
    if not said.is_file():
        return ""
    return str(json.loads(said.read_text(encoding="utf-8")).get("version", ""))

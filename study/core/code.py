"""The digest of code: what of this project decides a result, by its syntax tree.

The digest of a function covers its own tree and those of all that it names: functions, classes and
assignments at the top of its module, what these name, and so on through every module of the
project. Comments, docstrings, annotations, layout and the file that something stands in do not
count. Other libraries count by their version.

A name that is made while the program runs (`getattr`, `importlib`) is not followed. The class of an
argument is, where its annotation names it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from study.core.identity import digest

Place = tuple[str, str]
"""A module, and a name at its top: `ALL` for all of them, "" for statements that bind none."""

ALL = "*"
PACKAGE = Path(__file__).parents[1]
# Python 3.11 counts the depth of a tree in one place for all threads, and fails where two parse
_PARSING = threading.Lock()
_NOT_RUN = {"annotation", "returns", "type_params", "type_comment", "ctx", "kind"}


def place_of(definition: Callable[..., Any]) -> Place:
    """Return where a function or class is defined."""
    return definition.__module__, definition.__qualname__.split(".")[0]


@functools.cache
def code_digest(places: tuple[Place, ...], libraries: tuple[str, ...] = ()) -> str:
    """Return the key of the code at some places, of all that it names, and of libraries by their
    versions ("" where one is not installed).

    What only some versions of Python have in a tree does not count. It takes 2 to 30 ms, once in a
    process.
    """
    todo, seen, texts = list(places), set(places), set()
    assert all(_read(*place) for place in places), f"no such definition: {places}"
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


@functools.cache
def _read(module: str, name: str) -> list[tuple[str, set[Place]]]:
    """What stands at a place: a digest of each statement, and the places that it names."""
    statements = _statements(module)
    if statements is None:  # of another library
        return [(f"{module}.{name}", set())]
    if name == ALL:
        return [("", {(module, one) for one in statements})]
    return [_digest(module, statement) for statement in statements.get(name, ())]


@functools.cache
def _statements(module: str) -> dict[str, list[ast.stmt]] | None:
    """The statements at the top of a module by the names that they bind; None where it is not of
    the project.
    """
    file = _file(module)
    if file is None:
        return None
    found: dict[str, list[ast.stmt]] = {"": []}
    with _PARSING:
        tree = ast.parse(file.read_bytes())
    for statement in tree.body:
        for name, binding in _bindings(statement):
            found.setdefault(name, []).append(binding)
    return found


@functools.cache
def _file(module: str) -> Path | None:
    package, *names = module.split(".")
    file = PACKAGE.joinpath(*names).with_suffix(".py")
    return file if package == PACKAGE.name and names and file.is_file() else None


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """Every name that a statement binds, with it, or with the one import that does."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name, statement
        return
    names = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import):
            for one in node.names:
                yield one.asname or one.name.split(".")[0], ast.Import([one])
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                yield one.asname or one.name, ast.ImportFrom(node.module, [one], 0)
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from ((name, statement) for name in names or {""})


def _digest(module: str, statement: ast.stmt) -> tuple[str, set[Place]]:
    named = {(module, "")}
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            named.add((module, node.id))
        elif isinstance(node, ast.Import):
            named |= {(one.name, ALL) for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                inside = f"{node.module}.{one.name}"
                named.add((inside, ALL) if _file(inside) else (str(node.module), one.name))
    words: list[str] = []
    _spell(statement, words)
    return hashlib.sha256("\0".join(words).encode(errors="surrogatepass")).hexdigest(), named


def _spell(node: Any, words: list[str]) -> None:
    """Spell a tree out, without what does not run. Imports count by what they name alone."""
    if isinstance(node, list):
        for one in node:
            _spell(one, words)
        words.append("]")
    elif not isinstance(node, ast.AST):
        words.append(repr(node))
    elif not isinstance(node, (ast.Import, ast.ImportFrom)) and not (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ):
        words.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in _NOT_RUN:
                words.append(name)
                _spell(value, words)

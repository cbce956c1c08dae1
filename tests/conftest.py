"""What all tests share: one Ray cluster a test process, started by the first test that asks for
it.
"""

from __future__ import annotations

import ast
import logging
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from study.core import code
from study.core.log import LAST


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of the session's Ray cluster of two CPUs. This process stays connected to it;
    launchers find the connection.
    """
    from study.runtime.cluster import Cluster

    cluster = Cluster(cpus=2)
    assert cluster._watch is not None
    cluster._watch.close()  # a lost cluster fails its tests; it does not end those of this process
    yield cluster.address
    cluster.close()


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell starts background jobs deaf to SIGINT, `nohup` to SIGHUP, and Python leaves it so;
    tests of interruption need them heard.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to a server that somebody's environment names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True)
def _a_line_was_just_said() -> None:
    """The silence after which a sign of life is due begins with each test, not with the process:
    else it would stand in what a test that comes late has printed.
    """
    LAST[0] = time.monotonic()


@pytest.fixture(scope="session", autouse=True)
def _views_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands of this process write MLflow and Optuna's storage in a thread of it."""
    from study.tracking import mlflow_tracker, views
    from tests.views_here import ViewsHere, copied_database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "start", ViewsHere)
        make = copied_database(tmp_path_factory.mktemp("empty_database"))
        patch.setattr(mlflow_tracker, "_make_database", make)
        yield


@pytest.fixture
def other_code(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Let every function of a source file, by its name, or a library be another one, as far as the
    keys of caches know.
    """

    def change(changed: str) -> None:
        copy = tmp_path_factory.mktemp("code") / code.PACKAGE.name
        for file in code.PACKAGE.rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            target = copy / file.relative_to(code.PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(otherwise(text) if file.name == changed else text, encoding="utf-8")
        version = code.version
        monkeypatch.setattr(
            code, "version", lambda name: "other" if name == changed else version(name)
        )
        monkeypatch.setattr(code, "PACKAGE", copy)
        forget_code()

    yield change
    forget_code()


@pytest.fixture
def cache_said() -> Iterator[list[str]]:
    """What the cache says, line by line, whatever a command of this process made of the log."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("study.core.cache")
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def otherwise(text: str) -> str:
    """Return a module whose functions and classes do one thing more."""
    tree = ast.parse(text)
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            statement.body += ast.parse("more = 1").body
    return ast.unparse(tree)


def forget_code() -> None:
    """Have code be read from the disk again, as a new process does."""
    for remembered in (code.code_digest, code._statements, code._read, code._file):
        remembered.cache_clear()

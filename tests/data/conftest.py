"""A catalog over a temporary data root, and a machine without network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.data.catalog import Catalog, DataConfig

MakeCatalog = Callable[..., Catalog]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def make_catalog(tmp_path: Path, root: Path) -> MakeCatalog:
    """Return a new catalog, as another process would have it: nothing is remembered but the cache
    folder.
    """

    def make(*, firewall: bool = False, progress: Any = None, **options: Any) -> Catalog:
        config = DataConfig(**{"root": root, "cache": tmp_path / "cache", **options})
        return Catalog(config, firewall=firewall, **({"progress": progress} if progress else {}))

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(101, "Network is unreachable")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)

"""What all tests share: one Ray cluster a test process, started by the first test that asks for
it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from study.core import identity


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of the session's Ray cluster of two CPUs. This process stays connected to it;
    launchers find the connection.
    """
    from study.runtime.cluster import Cluster

    cluster = Cluster(cpus=2)
    yield cluster.address
    cluster.close()


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell starts background jobs deaf to SIGINT, and Python leaves it so; tests of interruption
    need it heard.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def other_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let a source file, by its name, or a library be another one, as far as the keys of caches
    know.
    """

    def change(changed: str) -> None:
        sha256, version = identity.file_sha256, identity.version
        monkeypatch.setattr(
            identity, "file_sha256", lambda path: "other" if path.name == changed else sha256(path)
        )
        monkeypatch.setattr(
            identity, "version", lambda name: "other" if name == changed else version(name)
        )
        identity.code_digest.cache_clear()

    yield change
    identity.code_digest.cache_clear()

"""What all tests share: one Ray cluster a test process, started by the first test that asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of the session's Ray cluster of two CPUs. This process stays connected to it; launchers find the connection."""
    from study.runtime.cluster import Cluster

    cluster = Cluster(cpus=2)
    yield cluster.address
    cluster.close()


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """A shell starts background jobs deaf to SIGINT, and Python leaves it so; tests of interruption need it heard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""The process that measures for an audit: what it leaves in the cache, and that it hurts nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.data.audit.ahead import measured_ahead
from study.data.audit.dataset import audit_dataset
from study.data.audit.transfer import control_logits
from study.data.leaks.find import find_leaks, shared_images
from tests.data.conftest import MakeCatalog
from tests.factories import write_dataset


def entries(cache: Path) -> dict[str, int]:
    """Every entry of the cache with the time it was written. The log and locks are left out."""
    files = (p for p in cache.rglob("*") if p.is_file() and ".locks" not in p.parts)
    return {str(p.relative_to(cache)): p.stat().st_mtime_ns for p in files}


def test_whoever_asks_after_it_finds_everything_in_the_cache(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_dataset(root / "a", n=40, size=16)
    write_dataset(root / "b", n=40, size=16)
    config = make_catalog().config
    with measured_ahead(config, ["a", "b"], only_tested=["b"], pairs=[("a", "a"), ("a", "b")]):
        pass
    written = entries(config.cache)
    kinds = {"audits", "control_logits", "leaks", "prints", "traits"}
    assert {name.split("/")[0] for name in written} >= kinds
    catalog = make_catalog()
    audit_dataset(catalog, "a")
    audit_dataset(catalog, "b", only_tested=True)
    for name in "ab":
        find_leaks(catalog, "a", name)
    shared_images(catalog, "a", "b", only_tested=True)
    control_logits(catalog, "a", ["a", "b"])
    assert entries(config.cache) == written


def test_what_it_cannot_read_is_left_to_who_asks(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "a", n=40, size=16)
    config = make_catalog().config
    with measured_ahead(config, ["a", "missing"], only_tested=[], pairs=[]) as process:
        pass  # nothing is raised here
    assert process.returncode == 1
    assert any(name.startswith("audits/") for name in entries(config.cache))  # of what it could


def test_an_error_in_the_block_leaves_no_process(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "a", n=40, size=16)
    config = make_catalog().config
    with (
        pytest.raises(ZeroDivisionError),
        measured_ahead(config, ["a"], only_tested=[], pairs=[]) as process,
    ):
        _ = 1 / 0
    assert process.returncode is not None

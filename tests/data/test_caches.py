"""Every cache of a study, filled by what uses it: a flipped bit in any file is found, and what was
there is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from study.analysis.estimates import cached_estimates
from study.core import cache as core_cache
from study.core.records import Geometry, Scores
from study.data.audit.dataset import audit_dataset
from study.data.leaks.find import find_leaks
from study.data.leaks.prints import read_prints
from study.search.proposals import PastTrial
from study.search.remembered import remembered
from study.search.spaces import load_space
from study.statistics.likelihood_ratio import Evidence
from tests.data.conftest import MakeCatalog
from tests.factories import write_dataset

KINDS = ["audits", "estimates", "index", "leaks", "packs", "prints", "proposals", "traits"]


@pytest.fixture
def use(root: Path, make_catalog: MakeCatalog) -> Callable[[], str]:
    """Uses every cache as a new process does, and returns all that they gave as text."""
    write_dataset(root / "d", n=40, size=16)
    space = load_space("npr")
    history = [PastTrial(number=0, params=space.default(), value=0.6)]
    ids = np.array([f"d/{i}" for i in range(20)])
    scores = Scores(
        sample_id=ids,
        group=ids,
        unit=ids,
        method=ids,
        label=(np.arange(20) % 2).astype(np.uint8),
        logit=np.random.default_rng(0).normal(size=20).astype(np.float32),
        listed=20,
    )

    def run() -> str:
        core_cache._checked.clear()
        catalog = make_catalog()
        cache = catalog.config.cache
        images = catalog.open("d", "train", Geometry(size_px=16, mode="squash"))
        parts = (
            images.gather(np.arange(len(images))).tobytes().hex(),
            catalog.dataset("d").samples.to_pylist(),
            audit_dataset(catalog, "d"),
            read_prints(catalog.dataset("d"), cache=cache),
            find_leaks(catalog, "d", "d"),
            cached_estimates(
                cache, [scores], [{"fixed": 0.0}], [1.0], [Evidence()], rng_seed=0, brief=True
            ),
            remembered(cache)(space, history, count=1, seed=4, sampler="gp"),
        )
        return repr(parts)

    return run


def test_processes_that_index_at_once_lose_nothing(root: Path, make_catalog: MakeCatalog) -> None:
    write_dataset(root / "d", n=40, size=16)
    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(lambda _: make_catalog().dataset("d").digest, range(4)))
    told: list[str] = []
    again = make_catalog(progress=lambda what, *_: told.append(what)).dataset("d")
    assert digests == {again.digest}
    assert told == []


def test_a_flipped_bit_anywhere_is_found(
    use: Callable[[], str], tmp_path: Path, cache_said: list[str]
) -> None:
    expected = use()
    folder = tmp_path / "cache"
    assert sorted(path.name for path in folder.iterdir()) == KINDS

    def files() -> list[Path]:
        return sorted(p for p in folder.rglob("*") if p.is_file() and ".locks" not in p.parts)

    assert len(files()) >= len(KINDS) + 2
    for number in range(len(files())):
        file = files()[number]
        data = bytearray(file.read_bytes())
        data[(0, len(data) // 2, -1)[number % 3]] ^= 16
        file.write_bytes(data)
        cache_said.clear()
        assert use() == expected
        assert len(cache_said) == 1, file
    cache_said.clear()
    assert use() == expected
    assert cache_said == []

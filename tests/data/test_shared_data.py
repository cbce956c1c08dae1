"""The three real datasets that developers have beside the repository; skipped where they are
not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from study.core.records import Geometry
from tests.data.conftest import MakeCatalog

SHARED = Path(__file__).parents[3] / "shared" / "data"
COUNTS = {"faces_140k": (600, 600), "dfdc_faces224": (900, 900), "shoes_midjourney": (400, 400)}

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real datasets are not in ../shared/data"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_real_datasets_split_by_group_and_decode(name: str, make_catalog: MakeCatalog) -> None:
    catalog = make_catalog(root=SHARED)
    dataset, summary = catalog.dataset(name), catalog.describe(name)
    assert (summary.images(label=0), summary.images(label=1)) == COUNTS[name]
    assert summary.excluded == ()
    assert summary.straddling == 0
    shares = [summary.images(split) / summary.images() for split in ("train", "val", "test")]
    assert np.abs(np.array(shares) - [0.70, 0.15, 0.15]).max() < 0.03
    if name == "dfdc_faces224":  # every fake stays with the real it was made from
        pairs = {(s["group"], s["split"]) for s in dataset.samples.to_pylist()}
        assert len(pairs) == 900
    images = catalog.open(name, "val", Geometry(size_px=32, mode="squash"))
    assert len(images) == images.listed
    assert images.gather(np.arange(len(images))).reshape(len(images), -1).std(axis=1).min() > 5

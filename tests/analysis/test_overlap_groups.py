"""Parts of one dataset are a family of test sets by their images' content; datasets of other
folders are not.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from study.analysis.overlap_groups import Images, identities_of, overlap_groups
from study.data.catalog import DataConfig
from study.jobs.workspace import open_catalog
from tests.factories import write_cifake, write_ffpp


def test_parts_of_one_dataset_share_reals_whatever_their_ids(tmp_path: Path) -> None:
    write_ffpp(tmp_path / "ffpp", frames=1)
    write_cifake(tmp_path / "cifake")
    config = DataConfig(root=tmp_path, cache=tmp_path / "cache")
    setup = SimpleNamespace(workspace=SimpleNamespace(data=config, firewall=False))
    catalog = open_catalog(config, firewall=False)
    names = ("ffpp:FaceSwap", "cifake", "ffpp:NeuralTextures")
    images = {}
    for name in names:
        rows = catalog.dataset(name).rows("test")
        ids, group = (
            np.array(rows[column].to_pylist(), dtype=np.str_) for column in ("id", "group")
        )
        images[name] = Images(
            sample_id=ids, group=group, label=rows["label"].to_numpy().astype(np.uint8)
        )
    assert not set(images[names[0]].sample_id) & set(images[names[2]].sample_id)
    found = overlap_groups(images, identities_of(cast(Any, setup)))
    assert [list(family) for family in found] == [[names[0], names[2]], ["cifake"]]
    one, other = (found[0][name][images[name].label == 0] for name in (names[0], names[2]))
    assert set(one) == set(other)

"""Subgroups: how a manifest's columns `subgroup:NAME` divide a dataset's images into levels.

They decide nothing that is trained or scored, and are in no key: results are shown by level.
"""

from __future__ import annotations

from collections.abc import Mapping

from study.data.datasets import Dataset
from study.data.images.inside import file_of
from study.data.images.videos import split_frame
from study.data.layouts.manifest import MANIFEST, manifest_subgroups

Subgroups = Mapping[str, Mapping[str, str]]  # name -> sample id -> level


def subgroups_of(dataset: Dataset) -> Subgroups:
    """Return the levels of a dataset's test images, as far as its manifest has them. Raises
    DataError where it cannot be read.
    """
    if dataset.layout != MANIFEST:
        return {}
    named = manifest_subgroups(dataset.root, dataset.manifest)
    if not named:
        return {}
    rows = dataset.rows("test", ("id", "path"))
    ids, paths = rows["id"].to_pylist(), rows["path"].to_pylist()
    files = [(split_frame(path) or (file_of(path),))[0] for path in paths]
    return {
        name: {
            sample: level
            for sample, path, file in zip(ids, paths, files, strict=True)
            if (level := of.get(path) or of.get(file))
        }
        for name, of in named.items()
    }

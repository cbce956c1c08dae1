"""Where the faces of a dataset's images are: found once, kept, the same step for both classes.

`<cache>/faces/`, one table a dataset folder and detector, one row a content: the largest face, or
none. An image without a face is left out with that reason, and counted. A dataset in which one
class has a face in less than half of its images is refused: what is left of it would be a
selection, and most likely it is no dataset of faces. A look at up to 200 images of each class comes
first, so that a large dataset without faces costs seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.errors import DataError
from study.core.records import FAKE, REAL
from study.data.datasets import labels, usable, with_columns
from study.data.file_index import Progress, quiet
from study.data.images.decode import READERS
from study.data.images.faces import NO_FACE, STEPS, Face, face_detector, region_of, region_text
from study.data.images.originals import map_originals, originals_of
from study.data.names import parse_name
from study.data.row_cache import RowCache
from study.statistics.exact import clopper_pearson

PART = 2048  # images whose faces a killed run may lose at most
FEWEST = 0.5  # of each class must have a face
PROBED = 200  # images of each class that are looked at first
CLASSES = ("real", "fake")
NUMBERS = Face._fields


class FaceFinder:
    """The step of a study, on the listed images of one dataset after another."""

    def __init__(self, step: str, *, cache: Path, progress: Progress = quiet) -> None:
        self.step, self.cache, self.progress = step, cache, progress

    def on(self, table: pa.Table, root: Path, name: str) -> pa.Table:
        """Return listed images with a column `face`, the region that stands for each, and a problem
        where there is none.

        table: columns path, sha256, label, problem. Raises DataError where too few of a class have
        a face, or a file changed since it was indexed, StoreError where the cache cannot be
        written.
        """
        rows = usable(table)
        label = labels(rows)
        probed = _probed(label)
        if len(probed) < len(label):
            found = self._faces(rows.take(pa.array(probed)), root, name)
            self._refuse(found, label[probed], name, of=len(label))
        found = self._faces(rows, root, name)
        self._refuse(found, label, name, of=len(label))
        face = pc.if_else(
            pc.equal(found["problem"], ""), pa.array(self._regions(found), pa.string()), ""
        )
        good = np.asarray(pc.equal(table["problem"], ""))
        place = pa.array(np.cumsum(good) - 1, mask=~good)
        problem = pc.if_else(
            pa.array(good), pc.fill_null(found["problem"].take(place), ""), table["problem"]
        )
        return with_columns(table, {"face": pc.fill_null(face.take(place), ""), "problem": problem})

    def _faces(self, rows: pa.Table, root: Path, name: str) -> pa.Table:
        return FACES.rows(
            self.cache,
            parse_name(name).base,
            (os.path.realpath(root), face_detector().identity),
            rows,
            partial(_made, root),
            part=PART,
            progress=self.progress,
            doing=f"finding faces in {name}",
        )

    def _regions(self, found: pa.Table) -> list[str]:
        step, texts = STEPS[self.step], []
        for *numbers, width, height, problem in zip(
            *(found[name].to_pylist() for name in (*NUMBERS, "image_width", "image_height")),
            found["problem"].to_pylist(),
            strict=True,
        ):
            region = "" if problem else region_text(region_of(Face(*numbers), step, width, height))
            texts.append(region)
        return texts

    def _refuse(self, found: pa.Table, label: NDArray[np.uint8], name: str, *, of: int) -> None:
        """Raise DataError where a class has too few faces. of: all images, of which some may not
        have been looked at yet: then only where that cannot be by chance.
        """
        has = np.asarray(pc.equal(found["problem"], ""))
        counts = {
            value: (int(has[label == value].sum()), int((label == value).sum()))
            for value in (REAL, FAKE)
            if (label == value).any()
        }
        few = [
            faces < FEWEST * images
            if len(label) == of
            else clopper_pearson(faces, images)[1] < FEWEST
            for faces, images in counts.values()
        ]
        if not any(few):
            return
        each = ", ".join(f"{n:,} of {all_:,} {CLASSES[v]}" for v, (n, all_) in counts.items())
        looked = "" if len(label) == of else f" looked at first, of {of:,}"
        raise DataError(
            f"data.faces = \"{self.step}\": dataset '{name}' has a face in {has.sum():,} of"
            f" {len(label):,} images{looked} ({each}), and half of each class are needed; take"
            " it out of the study, or leave data.faces out"
        )


def _probed(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows of both classes, at even distances, in order."""
    parts = []
    for value in (REAL, FAKE):
        mine = np.flatnonzero(label == value)
        parts.append(
            mine[np.unique(np.linspace(0, max(len(mine) - 1, 0), PROBED).astype(int))]
            if len(mine)
            else mine
        )
    return np.sort(np.concatenate(parts))


def _made(root: Path, rows: pa.Table) -> Iterator[dict[str, Any]]:
    return map_originals(_found, originals_of(rows, root))


def _found(pixels: NDArray[np.uint8] | str) -> dict[str, Any]:
    if isinstance(pixels, str):
        return {"problem": pixels}
    face = face_detector().find(pixels)
    size = {"image_width": pixels.shape[1], "image_height": pixels.shape[0]}
    return (
        {**size, "problem": NO_FACE} if face is None else {**size, **face._asdict(), "problem": ""}
    )


def faceless(samples: pa.Table) -> pa.Table:
    """Return the samples that were left out because no face was found in them."""
    return samples.filter(pc.equal(samples["problem"], NO_FACE))


def faces_found(samples: pa.Table) -> str:
    """Say in how many images of each class a face was found; "" where none was looked for."""
    if "face" not in samples.column_names:
        return ""
    looked = samples.filter(
        pc.or_(pc.not_equal(samples["face"], ""), pc.equal(samples["problem"], NO_FACE))
    )
    has, label = np.asarray(pc.not_equal(looked["face"], "")), labels(looked)
    each = ", ".join(
        f"{has[label == value].sum():,} of {(label == value).sum():,} {word}"
        for value, word in enumerate(CLASSES)
        if (label == value).any()
    )
    return f"a face in {each}"


FACES = RowCache(
    "faces",
    [_found],
    pa.schema(
        [
            ("sha256", pa.string()),
            *((name, pa.float64()) for name in NUMBERS),
            ("image_width", pa.int32()),
            ("image_height", pa.int32()),
            ("problem", pa.string()),
        ]
    ),
    of=("sha256",),
    libraries=READERS,
)

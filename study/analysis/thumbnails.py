"""Small pictures of the images that cells are most wrong on, for the report. They are made on
request alone, as data may not travel.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from study.analysis.cell_curves import CellCurves
from study.core.errors import DataError
from study.data.catalog import Catalog

SIDE, QUALITY = 72, 70  # pixels; of JPEG
MOST_BYTES = 2_000_000  # all pictures of a page: beyond, images have names alone


def thumbnails(catalog: Catalog, curves: Iterable[CellCurves]) -> Mapping[str, Mapping[str, bytes]]:
    """Return test set -> id -> a JPEG, of the worst images of cells, those of the first cells
    first. An image that is on no disk any more has none.
    """
    wanted: dict[str, dict[str, None]] = {}
    for one in curves:
        wanted.setdefault(one.test_on, {}).update((image.sample_id, None) for image in one.worst)
    found: dict[str, dict[str, bytes]] = {}
    left = MOST_BYTES
    for test_on, names in wanted.items():
        images = catalog.originals(test_on, "test")
        for name in names:
            at = int(np.searchsorted(images.sample_id, name))
            if left <= 0 or at == len(images) or images.sample_id[at] != name:
                continue
            try:
                small = Image.fromarray(images.read(at))
            except (DataError, OSError):
                continue
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            file = io.BytesIO()
            small.save(file, "JPEG", quality=QUALITY)
            left -= file.tell()
            found.setdefault(test_on, {})[name] = file.getvalue()
    return found

"""Figures that an earlier run drew and this one did not: beside the new ones they would be taken
for figures of the same matrix.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from study.core.errors import StoreError

# what `cross_eval` draws
DRAWN = (
    "heat_map_*.png",
    "robustness_*.png",
    "roc.png",
    "best_so_far.png",
    "critical_difference.png",
)


def remove_stale(folder: Path, drawn: Collection[Path]) -> list[str]:
    """Delete the figures in a folder that are not among those just drawn; return their names,
    sorted. Other files stay.

    Raises StoreError where one cannot be deleted.
    """
    stale = sorted({path for pattern in DRAWN for path in folder.glob(pattern)} - {*drawn})
    for path in stale:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot delete '{path}', which is of an earlier matrix: {error.strerror or error}"
            ) from error
    return [path.name for path in stale]

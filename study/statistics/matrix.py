"""What a matrix is summarised by: in domain, across domains, the gap between them, and the worst
cell (PROTOCOL section 6).

Numpy only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class MatrixSummary:
    """Summary of one detector's matrix. Means are over defined cells, each counting once; NaN where
    there is none.

    in_domain_mean: the test set is a member of the training set. cross_domain_mean: it is not, and
    shares no images with it.
    gap: how much worse cross domain is than in domain; positive when worse, also for a metric of
    which less is better.
    worst, worst_cell: the value farthest on the bad side (of chance, where that is known), and its
    (train_on, test_on). ..._above_chance: the same after taking each cell's chance level away; NaN
    for a metric without one.
    n_...: defined cells of each kind; n_shared: in neither mean, because images are shared;
    n_undefined: left out because NaN.
    """

    in_domain_mean: float
    cross_domain_mean: float
    gap: float
    worst: float
    worst_cell: tuple[str, str] | None
    in_domain_above_chance: float
    cross_domain_above_chance: float
    gap_above_chance: float
    worst_above_chance: float
    n_in_domain: int
    n_cross_domain: int
    n_shared: int
    n_undefined: int


def summarise(
    values: Mapping[tuple[str, str], float],
    members: Mapping[str, Collection[str]],
    chance: float | Mapping[tuple[str, str], float] | None = None,
    *,
    greater_is_better: bool = True,
    shared: Collection[tuple[str, str]] = (),
) -> MatrixSummary:
    """Summarise a matrix: values (train_on, test_on) -> number, NaN where undefined; members:
    train_on -> its datasets.

    chance: the metric's chance level, or one per cell (AP: the prevalence among its images), or
    None where the metric has none.
    shared: cells whose test set shares images with the training set: no member of it, and not
    cross-domain either.
    """
    cells = [cell for cell, value in values.items() if not np.isnan(value)]
    inside = [cell for cell in cells if cell[1] in members[cell[0]]]
    outside = [cell for cell in cells if cell[1] not in members[cell[0]]]
    across = [cell for cell in outside if cell not in shared]
    above = {cell: values[cell] - _chance_at(cell, chance) for cell in cells}
    sign = 1 if greater_is_better else -1
    known = cells and not any(np.isnan(above[cell]) for cell in cells)
    worst = min(cells, key=lambda cell: sign * (above if known else values)[cell], default=None)
    return MatrixSummary(
        in_domain_mean=_mean(values, inside),
        cross_domain_mean=_mean(values, across),
        gap=sign * (_mean(values, inside) - _mean(values, across)),
        worst=values[worst] if worst else NAN,
        worst_cell=worst,
        in_domain_above_chance=_mean(above, inside),
        cross_domain_above_chance=_mean(above, across),
        gap_above_chance=sign * (_mean(above, inside) - _mean(above, across)),
        worst_above_chance=above[worst] if worst else NAN,
        n_in_domain=len(inside),
        n_cross_domain=len(across),
        n_shared=len(outside) - len(across),
        n_undefined=len(values) - len(cells),
    )


def _chance_at(
    cell: tuple[str, str], chance: float | Mapping[tuple[str, str], float] | None
) -> float:
    if chance is None:
        return NAN
    return chance[cell] if isinstance(chance, Mapping) else chance


def _mean(values: Mapping[tuple[str, str], float], cells: Collection[tuple[str, str]]) -> float:
    return float(np.mean([values[cell] for cell in cells])) if cells else NAN

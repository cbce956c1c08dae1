"""What the audit's classifiers, trained on one dataset, say of another's test images.

A detector is held against them cell by cell (analysis/controls.py). `<cache>/control_logits/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from study.core.cache import Cache
from study.core.records import CONTROLS
from study.data.audit.classifiers import Floats, trained_control
from study.data.audit.traits import TRAITS, Traits, joined, traits_of
from study.data.catalog import Catalog
from study.data.images.decode import READERS
from study.data.names import split_union

Logits = dict[str, tuple[NDArray[np.str_], Floats]]
LOGITS = Cache(
    "control_logits",
    [trained_control, *TRAITS.made_by],
    libraries=(*READERS, "scikit-learn"),
)


def control_logits(catalog: Catalog, x: str, test_on: Sequence[str]) -> dict[str, Logits]:
    """Return test set -> control -> (ids, logits) of its images, sorted by id, by classifiers that
    are trained on the train split of a training set. What was computed once is in the cache.

    Raises what `traits_of` raises.
    """
    of_x = split_union(x)

    def traits(names: Sequence[str], split: str) -> Traits:
        found = [traits_of(catalog.dataset(one), cache=catalog.config.cache) for one in names]
        return joined([one.of_split(split) for one in found])

    @cache
    def trained() -> dict[str, Callable[[Traits], Floats]]:
        train = traits(of_x, "train")
        return {name: trained_control(name, train) for name in CONTROLS}

    def made(y: str) -> dict[str, object]:
        test = traits([y], "test")
        order = np.argsort(test.sample_id)
        logits = {name: logits_of(test)[order].tolist() for name, logits_of in trained().items()}
        return {"ids": test.sample_id[order].tolist(), **logits}

    return {y: _kept(catalog, x, y, partial(made, y)) for y in test_on}


def _kept(catalog: Catalog, x: str, y: str, made: Callable[[], dict[str, object]]) -> Logits:
    content = [catalog.key(x, ("train",)), catalog.key(y, ("test",)), y]
    sides = [catalog.dataset(name).unified_px for name in split_union(x)]
    kept = LOGITS.get(catalog.config.cache, (content, sides), made)
    ids: NDArray[np.str_] = np.array(kept["ids"], dtype=np.str_)
    return {name: (ids, np.array(kept[name], dtype=np.float64)) for name in CONTROLS}

"""The last layer of authors who give two logits, real and fake: the one logit is their difference,
whose sigmoid is the softmax of the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

REAL, FAKE = 0, 1


def one_logit(state: Mapping[str, Tensor], layer: str) -> dict[str, Tensor]:
    """Return a state in which `layer`, linear to two logits, is one to their difference. Raises
    ValueError where it has another number of outputs, KeyError where it is not there.
    """
    found = dict(state)
    for name in (f"{layer}.weight", f"{layer}.bias"):
        both = found[name]
        if len(both) != 2:
            raise ValueError(f"{name} has {len(both)} outputs, not two")
        found[name] = (both[FAKE] - both[REAL])[None]
    return found

"""Leave-one-out: the training sets that a study names by what they leave out.

`all-but` in `train_on` stands for one union for each dataset of `test_on`, of all the
others there; `all-but:NAME` for the one that leaves NAME out. Everything after the study file sees
the members, in the order of `test_on`: keys, plan and matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

from study.core.errors import ConfigError, located, unknown_name
from study.data.names import UNION, overlap, split_union

ALL_BUT = "all-but"


def expand_all_but(train_on: Sequence[str], test_on: Sequence[str]) -> tuple[str, ...]:
    """Return the training sets with every `all-but` written out; test_on: as the study file has it,
    () where it does not.

    Of two datasets, all but one is the other's name. A union that `train_on` has already, in
    whatever order, is not added again. Raises ConfigError where there is nothing to leave out, or
    where images of what is left out stay in another dataset.
    """
    if any(_leaves_out(name) is not None for name in test_on):
        raise ConfigError(
            f"test_on: '{ALL_BUT}' stands for training sets only; a test set is one dataset"
        )
    known = {frozenset(split_union(name)) for name in train_on if _leaves_out(name) is None}
    expanded: list[str] = []
    for name in train_on:
        left_out = _leaves_out(name)
        if left_out is None:
            expanded.append(name)
            continue
        for union in (_all_but(dataset, test_on) for dataset in left_out or test_on or ("",)):
            members = frozenset(split_union(union))
            expanded += [union] if members not in known else []
            known.add(members)
    return tuple(expanded)


def _leaves_out(name: str) -> tuple[str, ...] | None:
    """What a name leaves out: () for each dataset in turn; None for a name that is no `all-but`."""
    word, colon, dataset = name.partition(":")
    if word != ALL_BUT:
        return None
    return (dataset,) if colon else ()


def _all_but(left_out: str, test_on: Sequence[str]) -> str:
    if not test_on:
        raise ConfigError(
            f"train_on: '{ALL_BUT}' leaves out datasets of test_on, and there is no test_on; "
            f'write for example test_on = ["a", "b", "c"], which trains on b+c, a+c and a+b'
        )
    if left_out not in test_on:
        raise ConfigError(
            unknown_name(
                "dataset", left_out, test_on, where=f"train_on: {ALL_BUT}:{left_out}: test_on"
            )
        )
    kept = [name for name in test_on if name != left_out]
    if not kept:
        raise ConfigError(
            f"train_on: '{ALL_BUT}' needs two datasets in test_on at least; it has '{left_out}'"
            " alone"
        )
    for name in kept:
        with located("test_on"):
            together = overlap(name, left_out)
        if together:
            raise ConfigError(
                f"train_on: '{ALL_BUT}' cannot leave out '{left_out}' while '{name}' stays: they"
                " share images; name datasets in test_on that share no fakes, or write the unions"
                " out"
            )
    return UNION.join(kept)

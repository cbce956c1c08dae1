"""Names of datasets: `BASE`, `BASE:MEMBER`, and a subset of either, `NAME?KEY=VALUE`.

So `genimage:sd1.4` is one dataset of a folder that holds several, and
`ffpp:FaceSwap?compression=c40` a part of one. A name is for people and for records; as part of a
path it goes through `file_name`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from urllib.parse import quote

from study.core.errors import ConfigError, DataError
from study.core.identity import digest
from study.core.records import ELSEWHERE, NO_TRAINING, is_given

UNION = "+"
# what a folder's name may not hold if it is to be a dataset's: union, member, subset
RESERVED = "+:?"
# characters of a name in a file's, which has 255 bytes, some for a key, a suffix and a temporary
# name
LONGEST = 100
_NAME = re.compile(r"(?P<base>[^:?]+)(?::(?P<member>[^:?]+))?(?:\?(?P<where>.+))?", re.DOTALL)
_CONDITION = re.compile(r"(?P<key>\w+)=(?P<value>[^=&]+)")


@dataclass(frozen=True, kw_only=True)
class DatasetName:
    """A name in its parts. where: the key of every condition, with the values that meet it."""

    base: str
    member: str = ""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse_name(name: str) -> DatasetName:
    """Return a name's parts.

    Raises ConfigError for one that is not spelled as the header of this file says, DataError for
    bytes that are no text.
    """
    if not is_text(name):
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise DataError(f"dataset '{shown}': its name is not valid UTF-8; rename its folder")
    match = _NAME.fullmatch(name)
    conditions = (
        [_CONDITION.fullmatch(part) for part in match["where"].split("&")]
        if match and match["where"]
        else []
    )
    if not match or not all(conditions):
        raise ConfigError(
            f"dataset '{name}': a name is BASE or BASE:MEMBER, and a subset of it"
            " NAME?KEY=VALUE[,VALUE][&KEY=VALUE]"
        )
    where: dict[str, tuple[str, ...]] = {}
    for condition in conditions:
        assert condition is not None
        if condition["key"] in where:
            raise ConfigError(
                f"dataset '{name}' gives {condition['key']} twice; join the values with commas"
            )
        where[condition["key"]] = tuple(condition["value"].split(","))
    return DatasetName(base=match["base"], member=match["member"] or "", where=where)


def is_text(name: str) -> bool:
    """Whether a file's name is valid UTF-8; Python has other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def can_name(folder: str) -> bool:
    """Whether a folder of that name can be a dataset of that name."""
    return not set(RESERVED) & set(folder) and not folder.startswith(".") and is_text(folder)


def overlap(one: str, other: str) -> bool:
    """Whether the names of two datasets say that they share fakes: `d` and `d:m1`, `d:m1` and
    `d?method=m1,m2`.

    Datasets of one folder may share its reals. A member counts as a method, since where a folder
    has no members it is one; what differs in another condition (`compression=c23`, `c40`) is apart.
    Raises ConfigError for a name that is none.
    """
    first, second = parse_name(one), parse_name(other)
    if first.base != second.base:
        return False
    apart = (
        not set(values) & set(second.where[key])
        for key, values in first.where.items()
        if key != "method" and key in second.where
    )
    return not any(apart) and _meet(_methods(first), _methods(second))


def _methods(name: DatasetName) -> set[str]:
    """The methods of which it has the fakes, none for all."""
    return {*name.where.get("method", ()), *([name.member] if name.member else [])}


def _meet(one: set[str], other: set[str]) -> bool:
    return not one or not other or bool(one & other)


def file_name(name: str) -> str:
    """Return a name as one that every file system holds, different for every name: all but letters,
    digits, `_.-~` as `%XX`.

    Where that is longer than `LONGEST`, its start, `=`, and a digest of all of it.
    """
    quoted = quote(name, safe="")
    if len(quoted) <= LONGEST:
        return quoted
    key = digest("name", name)
    return f"{quoted[: LONGEST - len(key) - 1]}={key}"


def split_union(name: str) -> tuple[str, ...]:
    """Return the members of a training set's name: `a+b` gives ("a", "b"). Raises ConfigError for
    an empty or repeated member.
    """
    members = tuple(name.split(UNION))
    if not all(members):
        raise ConfigError(f"dataset '{name}': an empty name; datasets are joined as a{UNION}b")
    doubled = next((member for member in members if members.count(member) > 1), None)
    if doubled:
        raise ConfigError(f"dataset '{name}' names '{doubled}' twice")
    return members


def check_apart(name: str) -> None:
    """Raise ConfigError for a union of which two members share fakes (`d+d:m1`): counted twice."""
    for one, other in combinations(split_union(name), 2):
        if overlap(one, other):
            raise ConfigError(
                f"dataset '{name}': '{one}' and '{other}' share images, which would count twice;"
                " join datasets that share no fakes"
            )


def is_in_domain(train_on: str, test_on: str) -> bool:
    """Say whether all of a test set is a member of a training set, or a part of one. The training
    set of a published detector is named in parentheses.
    """
    if is_given(train_on) and train_on not in (NO_TRAINING, ELSEWHERE):
        train_on = train_on[1:-1]
    return all(
        any(_holds(one, test) for one in split_union(train_on)) for test in split_union(test_on)
    )


def _holds(train_on: str, test_on: str) -> bool:
    """Say whether one name is another or holds it: by member, or by wider conditions."""
    if train_on == test_on or is_given(train_on) or is_given(test_on):
        return train_on == test_on
    whole, part = parse_name(train_on), parse_name(test_on)
    narrower = all(
        key in part.where and set(part.where[key]) <= set(values)
        for key, values in whole.where.items()
    )
    return whole.base == part.base and whole.member in ("", part.member) and narrower

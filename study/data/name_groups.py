"""Groups that names of files carry: the id of the photograph, person or video that a fake was made
of.

A proposal, for a person to look at: a pattern is taken where it fits nearly all images, and tells
some of them to belong together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NEARLY_ALL = 0.9
# what an id is of -> where it stands in a path
PATTERNS = {
    "ids of COCO photographs": r"(?:^|[/_-])(\d{12})(?=[_.-])",
    "ids of RAISE photographs": r"(?:^|[/_-])(r[0-9a-f]{8})t?(?=[_.-])",
    "persons of Celeb-DF": r"(?:^|[/_-])(id\d{1,3})_(?:id\d{1,3}_)?\d{4}(?=[/_.-])",
    "videos of DFDC": r"(?:^|/)([a-z]{10})(?=[/_.-])",
}


@dataclass(frozen=True, kw_only=True)
class NameGroups:
    """What names propose. what: of what they carry the id. groups: of every path, "" where its name
    has none.
    """

    what: str
    groups: tuple[str, ...]


def name_groups(paths: Sequence[str]) -> NameGroups | None:
    """Return the groups that the names of some images propose, None where they propose none."""
    for what, pattern in PATTERNS.items():
        compiled = re.compile(pattern)
        ids = [match[1] if (match := compiled.search(path)) else "" for path in paths]
        given = [one for one in ids if one]
        if len(given) >= NEARLY_ALL * len(paths) and len(set(given)) < len(given):
            return NameGroups(what=what, groups=tuple(ids))
    return None

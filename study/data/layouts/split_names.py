"""The names that people give to splits: folders, and the split column of a manifest.

Some words say more than which split it is (`eval`, `holdout`): held out from training. Beside other
splits they are what is not there yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HELD_OUT = "held out"
_WORDS = {
    "train": "train training trn",
    "val": "val vali valid validation validate dev devel development",
    "test": "test testing tst",
    HELD_OUT: "eval evaluation evaluate holdout hold_out heldout held_out",
}
SPLIT_OF_WORD = {word: split for split, words in _WORDS.items() for word in words.split()}
# training_set, Test-Images, train2017
_NAME = re.compile(
    rf"({'|'.join(sorted(SPLIT_OF_WORD, key=len, reverse=True))})"
    r"(_?(set|split|data|dataset|images?|imgs|pics|folder))?(_?(19|20)\d\d)?"
)


def split_of(name: str) -> str:
    """Return `train`, `val`, `test` or `HELD_OUT` by a name in any case; "" where it is no split's.

    >>> split_of("Training"), split_of("dev-set"), split_of("eval"), split_of("trainer")
    ('train', 'val', 'held out', '')
    """
    found = _NAME.fullmatch(re.sub(r"[-. ]", "_", name.strip().lower()))
    return SPLIT_OF_WORD[found[1]] if found else ""


def splits_among(names: Iterable[str]) -> dict[str, str]:
    """Return the split of each of some names that stand side by side, without those of none.

    What is held out is the test split where no other name is, else val where no other is. Where
    both are there, or several are held out, nobody knows which it is, and it is none.
    """
    read = {name: split_of(name) for name in names}
    found = {name: split for name, split in read.items() if split not in ("", HELD_OUT)}
    held_out = [name for name, split in read.items() if split == HELD_OUT]
    free = [split for split in ("test", "val") if split not in found.values()]
    return {**found, held_out[0]: free[0]} if len(held_out) == 1 and free else found


def joint_name(name: str, classes: Iterable[str]) -> tuple[str, str] | None:
    """Return the split's and the class' words of a folder's name that says both; None for others.

    >>> joint_name("train_real", ["real", "fake"]), joint_name("Fake-Testing", ["Fake"])
    (('train', 'real'), ('testing', 'Fake'))
    """
    for word in classes:
        pattern = re.escape(word.lower())
        found = re.fullmatch(rf"(.+)[-_. ]+{pattern}|{pattern}[-_. ]+(.+)", name.lower())
        if found and split_of(split := found[1] or found[2]):
            return split, word
    return None

"""What class a folder may hold, guessed from its name: a suggestion for a person to decide on."""

from __future__ import annotations

from collections.abc import Sequence

from study.core.records import FAKE, REAL

_WORDS = {
    REAL: "real authentic original genuine human natural nature pristine live true photo camera",
    FAKE: "fake generated generator synth ai gan diffusion deepfake spoof tamper forged manipul",
}


def class_guesses(names: Sequence[str]) -> dict[str, int]:
    """Return a class for each of some folders, of which one at least is real. A word at the
    beginning of a part of the name decides; a name that says nothing is of the class that is not
    there yet, else fake.

    >>> class_guesses(["flux", "my_photos"]), class_guesses(["a", "b"])
    ({'flux': 1, 'my_photos': 0}, {'a': 0, 'b': 1})
    """
    known = {name: label for name in names if (label := _guess(name)) is not None}
    guesses: dict[str, int] = {}
    for name in names:
        taken = {*known.values(), *guesses.values()}
        guesses[name] = known.get(name, FAKE if REAL in taken else REAL)
    return guesses


def _guess(name: str) -> int | None:
    """The class that a name's own words say, None where they say none, or both."""
    parts = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    said = {
        label
        for label, words in _WORDS.items()
        for word in words.split()
        if any(part == word if len(word) < 4 else part.startswith(word) for part in parts)
    }
    return said.pop() if len(said) == 1 else None

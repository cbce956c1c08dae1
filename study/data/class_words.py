"""Words that say a class, as they stand in names of folders and files and in columns of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.records import FAKE, REAL

_CLEARLY_REAL = "real|original|authentic|genuine|pristine|bonafide"
_REAL = f"{_CLEARLY_REAL}|natural|nature|human|photo|camera"  # what a picture shows, too
_FAKE = (
    "fake|deepfake|synth|synthetic|synthesis|synthesi[sz]ed|generated|manipulated|forged|forgery"
    "|tampered|spoof|ai|gan|diffusion"
)
SILENT = -1
STRETCH = 1 << 14  # texts at a time, so that memory does not grow with their number


def _word(words: str) -> str:
    """A pattern of any of the words, in any case between what is no letter, or `LikeThis`."""
    capital = "|".join(word.capitalize() for word in words.split("|"))
    return rf"(?:^|[^A-Za-z])(?i:(?:{words})s?)(?:[^A-Za-z]|$)|(?:{capital})s?(?:[^a-z]|$)"


# a class is said by a word of a name; `only`: by the whole name
_LOOSELY = {REAL: _word(_REAL), FAKE: _word(_FAKE)}
_WHOLE = ((REAL, _CLEARLY_REAL), (FAKE, _FAKE))
_ONLY = {label: rf"(?i)^(?:[01]_)?(?:{words})s?$" for label, words in _WHOLE}
_DENIED = rf"(?i)(?:^|[^a-z])(?:not|non|no|un)[^a-z]?(?:{_REAL}|{_FAKE})"


@lru_cache(maxsize=1 << 16)
def class_said(name: str, *, only: bool = False) -> int:
    """Return the class that a name says; `SILENT` where it says none, both, or denies one.

    >>> class_said("training_fake"), class_said("AI-generated"), class_said("real_vs_fake")
    (1, 1, -1)
    """
    said = [k for k, pattern in (_ONLY if only else _LOOSELY).items() if re.search(pattern, name)]
    return said[0] if len(said) == 1 and not re.search(_DENIED, name) else SILENT


def classes_said(texts: pa.ChunkedArray, *, only: bool = False) -> NDArray[np.int8]:
    """Return the class that each path or text says, (N,): by its folders, where these do not
    contradict each other, else by the file's name.
    """
    said = np.empty(len(texts), np.int8)
    of_folder: dict[str, int] = {}
    for start in range(0, len(texts), STRETCH):
        paths = pa.concat_arrays(texts.slice(start, STRETCH).chunks)
        said[start : start + STRETCH] = _said(paths, only, of_folder)
    return said


def _said(paths: pa.StringArray, only: bool, of_folder: dict[str, int]) -> NDArray[np.int8]:
    """The classes that a stretch of paths says. of_folder: what folders say, to be added to."""
    paths = pc.replace_substring(paths, "\\", "/")
    folders = pc.replace_substring_regex(paths, r"/?[^/]*$", "").dictionary_encode()
    for folder in folders.dictionary.to_pylist():
        if folder not in of_folder:
            of_folder[folder] = _folder_says(folder, only=only)
    known = np.array([of_folder[name] for name in folders.dictionary.to_pylist()], np.int8)
    said: NDArray[np.int8] = np.take(known, np.asarray(folders.indices))
    if (said != SILENT).all():
        return said
    names = pc.replace_substring_regex(paths, r"^.*/|\.[A-Za-z0-9]*$", "")
    patterns = _ONLY if only else _LOOSELY
    real, fake, denied = (
        np.asarray(pc.match_substring_regex(names, pattern)).astype(bool)
        for pattern in (patterns[REAL], patterns[FAKE], _DENIED)
    )
    by_name = np.where((real == fake) | denied, SILENT, np.where(fake, FAKE, REAL)).astype(np.int8)
    return np.where(said == SILENT, by_name, said)


def _folder_says(folder: str, *, only: bool) -> int:
    said = {class_said(name, only=only) for name in folder.split("/")} - {SILENT}
    return said.pop() if len(said) == 1 else SILENT


def guessed_classes(names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return a class for each of some class folders, of which one at least is real and one fake,
    and the names that leave it open. Where names say one class only, the others are of the other.

    >>> guessed_classes(["FaceSwap", "Real_youtube"]), guessed_classes(["stylegan", "ffhq"])
    (({'FaceSwap': 1, 'Real_youtube': 0}, []), ({}, ['stylegan', 'ffhq']))
    """
    said = {name: label for name in names if (label := class_said(name)) != SILENT}
    silent = [name for name in names if name not in said]
    classes = {*said.values()}
    if len(classes) == 1:
        other = 1 - classes.pop()
        return {name: said.get(name, other) for name in names}, []
    return said, silent

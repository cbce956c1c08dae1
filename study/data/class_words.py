"""Words that say a class, as they stand in names of folders and files and in columns of text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from study.core.records import FAKE, REAL

_REAL = "real|original|authentic|genuine|pristine|natural|nature|human|bonafide"
_FAKE = "fake|deepfake|synthetic|synthesis|synthesi[sz]ed|generated|manipulated|forged|spoof|ai"
SILENT = -1


def _word(words: str) -> str:
    """A pattern of any of the words, in any case between what is no letter, or `LikeThis`."""
    capital = "|".join(word.capitalize() for word in words.split("|"))
    return rf"(?:^|[^A-Za-z])(?i:{words})s?(?:[^A-Za-z]|$)|(?:{capital})s?(?:[^a-z]|$)"


# as a word of it; as the whole name of a folder
LOOSELY = {REAL: _word(_REAL), FAKE: _word(_FAKE)}
ONLY = {
    label: rf"(?i)(?:^|/)(?:[01]_)?(?:{words})s?(?:/|$)"
    for label, words in ((REAL, _REAL), (FAKE, _FAKE))
}
_DENIED = rf"(?i)(?:^|[^a-z])(?:not|non|no|un)[^a-z]?(?:{_REAL}|{_FAKE})"


def said(texts: pa.ChunkedArray, patterns: Mapping[int, str] = LOOSELY) -> NDArray[np.int8]:
    """Return the class that each text says, (N,); `SILENT` for none, for both, and for a denial."""
    encoded = pa.concat_arrays(texts.chunks).dictionary_encode()
    real, fake, denied = (
        np.asarray(pc.match_substring_regex(encoded.dictionary, pattern)).astype(bool)
        for pattern in (patterns[REAL], patterns[FAKE], _DENIED)
    )
    meant = np.where((real == fake) | denied, SILENT, np.where(fake, FAKE, REAL)).astype(np.int8)
    return np.take(meant, np.asarray(encoded.indices))


def class_said(name: str) -> int | None:
    """Return the class that a folder's name says.

    >>> class_said("training_fake"), class_said("AI-generated"), class_said("stylegan")
    (1, 1, None)
    """
    found = int(said(pa.chunked_array([[name]]))[0])
    return None if found == SILENT else found


def by_path(texts: pa.ChunkedArray, patterns: Mapping[int, str] = LOOSELY) -> NDArray[np.int8]:
    """What paths say: their folders, and the file's name where these are silent."""
    plain = pc.replace_substring(texts, "\\", "/")
    folders = said(pc.replace_substring_regex(plain, r"/?[^/]*$", ""), patterns)
    if (folders != SILENT).all():
        return folders
    names = said(pc.replace_substring_regex(plain, r"^.*/|\.[A-Za-z0-9]*$", ""), patterns)
    return np.where(folders == SILENT, names, folders)

"""Datasets from Kaggle, through kagglehub: downloaded once, then found without network.

The only `kagglehub`. kagglehub asks Kaggle for the newest version before it looks into its
cache, so a complete copy there (`$KAGGLEHUB_CACHE/datasets/OWNER/DATASET/versions/N`, marked by
`N.complete` beside `versions`) is taken without asking it.
"""

from __future__ import annotations

import os
from pathlib import Path

from study.core.errors import DataError, in_a_line
from study.core.records import DatasetCard
from study.data.sources.by_hand import by_hand


def cached(card: DatasetCard) -> Path | None:
    """Return the newest complete copy of a card's dataset in kagglehub's cache, or None."""
    folder = _cache_folder() / "datasets" / card.handle
    versions = [
        version
        for version in (folder / "versions").glob("*")
        if version.name.isdecimal() and (folder / f"{version.name}.complete").exists()
    ]
    return max(versions, key=lambda version: int(version.name), default=None)


def fetch(card: DatasetCard, *, data_root: Path | None) -> Path:
    """Return the folder of a card's dataset: kagglehub's cached copy, else downloaded (resumed,
    checked, with a progress bar).

    Raises DataError where there is neither, saying which page to download by hand and where to put
    it.
    """
    copy = cached(card)
    if copy:
        return copy
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(card.handle))
    # requests, urllib3, kagglehub and the file system each raise their own
    except Exception as error:
        raise DataError(
            by_hand(card, data_root=data_root, why=f"could not be downloaded: {_reason(error)}")
        ) from None


def _cache_folder() -> Path:
    return Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return "Kaggle cannot be reached"
    return in_a_line(error)

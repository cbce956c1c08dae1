"""Datasets from Hugging Face, through huggingface_hub: downloaded once, then found without network.

Floor 1. The library resumes what was interrupted and shows its progress; its token is `HF_TOKEN` or that of `hf auth login`. A copy
in its cache (`$HF_HUB_CACHE/datasets--OWNER--DATASET/snapshots/COMMIT`) is taken without asking the hub, if nothing is unfinished.
"""

from __future__ import annotations

import os
from pathlib import Path

from study.data.by_hand import by_hand
from study.errors import DataError
from study.records import DatasetCard


def cached(card: DatasetCard) -> Path | None:
    """Return the snapshot of a card's dataset in the hub's cache, or None where there is none or it is not complete."""
    if not _repository(card).is_dir() or _unfinished(card):
        return None
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(card.handle, repo_type="dataset", cache_dir=_cache_folder(), local_files_only=True))
    except (OSError, ValueError):  # nothing there, or known to lack files
        return None


def fetch(card: DatasetCard, *, data_root: Path | None) -> Path:
    """Return the folder of a card's dataset: the cached copy, else downloaded.

    Raises DataError where there is neither, saying what to accept, which page to download by hand and where to put it.
    """
    copy = cached(card)
    if copy:
        return copy
    from huggingface_hub import snapshot_download

    try:
        copy = Path(snapshot_download(card.handle, repo_type="dataset", cache_dir=_cache_folder()))
    except Exception as error:  # httpx, the hub's client and the file system each raise their own
        raise DataError(by_hand(card, data_root=data_root, why=f"could not be downloaded: {_reason(error)}")) from None
    if _unfinished(card):  # without network the library gives what there is
        why = f"is not complete in '{_repository(card)}': run this again with network, or delete blobs/*.incomplete there"
        raise DataError(by_hand(card, data_root=data_root, why=why))
    return copy


def _repository(card: DatasetCard) -> Path:
    return _cache_folder() / f"datasets--{card.handle.replace('/', '--')}"


def _unfinished(card: DatasetCard) -> bool:
    return any(_repository(card).glob("blobs/*.incomplete"))


def _cache_folder() -> Path:
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return "Hugging Face gives it to those who accepted its terms, by their token (HF_TOKEN, or hf auth login)"
    if isinstance(error, RepositoryNotFoundError):
        return "Hugging Face does not show it without a valid token (HF_TOKEN, or hf auth login)"
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, (LocalEntryNotFoundError, ConnectionError)) or library.startswith(("http", "requests")):
        return "Hugging Face cannot be reached"
    text = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}"

"""Datasets from Hugging Face, through huggingface_hub: downloaded once, then found without network.

The library resumes what was interrupted and shows its progress; its token is `HF_TOKEN` or
that of `hf auth login`. A copy in its cache
(`$HF_HUB_CACHE/datasets--OWNER--DATASET/snapshots/COMMIT`) is taken without asking the hub, if it
holds every file, in its size, of the list that the library keeps of that commit
(`trees/COMMIT.json`). Without such a list nobody knows here what belongs to it (a single file may
have been fetched by another program), and the hub is asked.
"""

from __future__ import annotations

import os
from pathlib import Path

from study.core.errors import DataError, in_a_line
from study.core.paths import given_path
from study.core.records import DatasetCard
from study.data.sources.by_hand import by_hand


def cached(card: DatasetCard) -> Path | None:
    """Return the snapshot of a card's dataset in the hub's cache, or None where there is none or it
    is not known to be complete.
    """
    snapshot = _snapshot(card)
    return snapshot if snapshot and _is_whole(card, snapshot) else None


def fetch(card: DatasetCard, *, data_root: Path | None) -> Path:
    """Return the folder of a card's dataset: the cached copy, else downloaded.

    Raises DataError where there is neither, saying what to accept, which page to download by hand
    and where to put it.
    """
    copy = cached(card)
    if copy:
        return copy
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    try:
        copy = Path(snapshot_download(card.handle, repo_type="dataset", cache_dir=_cache_folder()))
    except IncompleteSnapshotError:  # without network: of its list, not all is here
        raise DataError(
            by_hand(card, data_root=data_root, why=_partial(_snapshot(card) or _repository(card)))
        ) from None
    except Exception as error:  # httpx, the hub's client and the file system each raise their own
        raise DataError(
            by_hand(card, data_root=data_root, why=f"could not be downloaded: {_reason(error)}")
        ) from None
    if not _is_whole(card, copy):  # without network the library gives what there is
        raise DataError(by_hand(card, data_root=data_root, why=_partial(copy)))
    return copy


def _snapshot(card: DatasetCard) -> Path | None:
    """The newest snapshot that was asked for, whole or not."""
    try:
        commit = (_repository(card) / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return _repository(card) / "snapshots" / commit


def _is_whole(card: DatasetCard, snapshot: Path) -> bool:
    """Whether a snapshot holds all files of its commit, each in its size. Asks nobody; what is not
    known is not so.
    """
    if not snapshot.is_dir():
        return False
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        listed = get_cached_repo_tree(
            card.handle, repo_type="dataset", revision=snapshot.name, cache_dir=_cache_folder()
        )
        return all((snapshot / file.path).stat().st_size == file.size for file in listed)
    except (CachedRepoTreeNotFoundError, OSError):  # there is no list, or a file of it is not here
        return False


def _partial(snapshot: Path) -> str:
    files = [path for path in snapshot.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e9
    return (
        f"may be here only in part ({len(files)} files, {size:.2f} GB, in '{snapshot}'), and"
        " Hugging Face cannot be reached to compare: run this again with network, which fetches"
        " only what is missing, or, where all of it is here, link that folder to where it is"
        " expected by hand"
    )


def _repository(card: DatasetCard) -> Path:
    return _cache_folder() / f"datasets--{card.handle.replace('/', '--')}"


def _cache_folder() -> Path:
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    return given_path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            "Hugging Face gives it to those who accepted its terms, by their token (HF_TOKEN, or hf"
            " auth login)"
        )
    if isinstance(error, RepositoryNotFoundError):
        return "Hugging Face does not show it without a valid token (HF_TOKEN, or hf auth login)"
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, (LocalEntryNotFoundError, ConnectionError)) or library.startswith(
        ("http", "requests")
    ):
        return "Hugging Face cannot be reached"
    return in_a_line(error)

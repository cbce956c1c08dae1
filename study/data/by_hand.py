"""What to do where a dataset cannot be had by itself: which page, what to accept first, where to put it.

Floor 1.
"""

from __future__ import annotations

from pathlib import Path

from study.records import DatasetCard


def by_hand(card: DatasetCard, *, data_root: Path | None, why: str) -> str:
    """Return how to get a dataset, in one line. why: what is the matter, as the end of "dataset 'x' (1 GB)"."""
    folder = (data_root or Path("DIR")) / card.name
    named = "" if data_root else " and name that folder with --data-root DIR"
    first = f"{card.access}; then " if card.access else ""
    size = f" ({card.size_gb:g} GB)" if card.size_gb else ""
    return (
        f"dataset '{card.name}'{size} {why}. By hand: {first}download {card.homepage or 'it'} "
        f"and unpack it into '{folder}'{_holds(card, folder)}{named}"
    )


def _holds(card: DatasetCard, folder: Path) -> str:
    """What the folder then holds, so that a wrong level of folders is seen."""
    if card.subfolder:
        return f", so that '{folder / card.subfolder}' exists"
    return f", so that it holds {' and '.join(card.holds)}" if card.holds else ""

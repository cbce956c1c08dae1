"""What to do where a dataset cannot be had by itself: which page, what to accept first, where to
put it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.core.records import DatasetCard


def by_hand(card: DatasetCard, *, data_root: Path | None, why: str) -> str:
    """Return how to get a dataset, in a line. why: what is wrong, as the end of "dataset 'x'"."""
    folder = (data_root or Path("DIR")) / card.name
    named = (
        ""
        if data_root
        else (
            ", and say --data-root DIR (or data.root in the study file; DIR is any folder of yours)"
        )
    )
    first = f" ({card.access})" if card.access else ""
    size = f" ({card.size_gb:g} GB)" if card.size_gb else ""
    packed = " or put its archives there as they are" if card.archives else ""
    return (
        f"dataset '{card.name}'{size} {why}. By hand: get it from"
        f" {card.homepage or 'its authors'}{first}; unpack it into"
        f" '{folder}'{packed}{_holds(card, folder)}{named}"
    )


def _holds(card: DatasetCard, folder: Path) -> str:
    """What the folder then holds, so that a wrong level of folders is seen."""
    if card.subfolder:
        return f", so that '{folder / card.subfolder}' holds {listed(card.holds)}"
    return f", so that it holds {listed(card.holds)}" if card.holds else ""


def listed(names: Sequence[str]) -> str:
    """Return names as a person lists them: `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)

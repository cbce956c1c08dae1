"""What the cards say of their datasets, in words: the notes below the table of `python -m study.ls
datasets`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from study.core.records import DatasetCard

WIDTH = 120
_KEY = 9  # characters of the longest key and a space


def cards_text(cards: Iterable[DatasetCard]) -> str:
    """Return for every card where it comes from, what to do first, its licence and hazards; of
    these what several share, once.
    """
    places: dict[tuple[str, str], list[str]] = {}
    blocks: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for card in cards:
        way = [("from", card.homepage), ("first", card.access)]
        blocks[(card.name,)] = [fact for fact in way if fact[1]]
        for fact in [("licence", card.licence), *(("note", hazard) for hazard in card.hazards)]:
            places.setdefault(fact, []).append(card.name)
    for fact, names in places.items():
        if fact[1]:
            blocks.setdefault(tuple(names), []).append(fact)
    return "\n\n".join(_block(names, blocks[names]) for names in sorted(blocks) if blocks[names])


def _block(names: Sequence[str], facts: Sequence[tuple[str, str]]) -> str:
    lines = [", ".join(names)]
    before = ""
    for key, sentence in facts:
        lines += textwrap.wrap(
            sentence,
            width=WIDTH,
            initial_indent=f"  {key if key != before else '':<{_KEY}}",
            subsequent_indent=" " * (_KEY + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        before = key
    return "\n".join(lines)

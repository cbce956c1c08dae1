"""What is printed of the cards: everything a user must know, each sentence once, in lines of a
readable width.
"""

from __future__ import annotations

from study.core.records import DatasetCard
from study.data.sources.cards import card_names, load_card
from study.render.card_text import WIDTH, cards_text


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_sentence_of_every_card_is_there_once() -> None:
    cards = [load_card(name) for name in card_names()]
    text = cards_text(cards)
    facts = {fact for card in cards for fact in (card.licence, *card.hazards) if fact}
    for sentence in map(words, facts):  # a short one may stand in a longer one, too
        inside = sum(words(fact).count(sentence) for fact in facts)
        assert words(text).count(sentence) == inside
    assert all(
        f"from {card.homepage}" in words(text) and words(card.access) in words(text)
        for card in cards
        if card.homepage
    )
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_what_two_cards_share_stands_under_both_names() -> None:
    cards = [
        DatasetCard(
            name=name,
            title="T",
            source="folder",
            licence="MIT",
            hazards=("Shared.", f"Of {name} alone."),
        )
        for name in ("a", "b")
    ]
    assert cards_text(cards).split("\n\n") == [
        "a\n  note     Of a alone.",
        "a, b\n  licence  MIT\n  note     Shared.",
        "b\n  note     Of b alone.",
    ]

"""Dataset cards: every one that ships is read, and a broken one says what is wrong with it."""

from __future__ import annotations

import pytest

from study.core.errors import ConfigError
from study.data.sources.cards import card_names, load_card, parse_card

GOOD = 'title = "T"\nsource = "kaggle"\nhandle = "someone/some-set"\n'


@pytest.mark.parametrize("name", card_names())
def test_every_card_is_complete(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert card.title
    assert card.licence
    assert card.hazards
    if card.source == "kaggle":
        assert card.homepage == f"https://www.kaggle.com/datasets/{card.handle}"
        assert card.citation
        assert card.size_gb > 0


def test_the_two_kaggle_cards() -> None:
    assert {"cifake", "faces_140k"} <= set(card_names())
    assert load_card("cifake").handle == "birdy654/cifake-real-and-ai-generated-synthetic-images"
    assert load_card("faces_140k").subfolder == "real_vs_fake/real-vs-fake"


def test_unknown_card_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cifake'"):
        load_card("cifke")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + 'licens = "MIT"', "card x: unknown key 'licens': did you mean 'licence'"),
        (GOOD + 'name = "y"', "unknown key 'name'"),
        ('source = "demo"', "the key 'title' is missing"),
        ('title = "T"\nsource = "web"', "unknown source 'web'"),
        ('title = "T"\nsource = "kaggle"\nhandle = "nothing"', "must be OWNER/DATASET"),
        (GOOD + "size_gb = -1", "size_gb = -1 must be a number"),
        (GOOD + 'hazards = "one"', "must be a list of sentences"),
        (GOOD + "class_folders = { A = 2 }", "0 .real. or 1 .fake."),
        (GOOD + 'methods = { A = "" }', "a method each"),
        (GOOD + 'subfolder = "../x"', "inside the dataset"),
        (GOOD + "group_pattern = '('", "no regular expression"),
        (GOOD + "group_pattern = 'a(.*)'", "no group named 'group'"),
        (GOOD + "title", "not valid TOML"),
        ('title = "T"\nsource = "huggingface"\nhandle = "nothing"', "must be OWNER/DATASET"),
        (GOOD + 'holds = "real/"', "a list of folders"),
        (GOOD + 'splits = { val = "tset" }', "folder names with train, val or test"),
        (GOOD + 'reals = { file = "x.csv", path = "p" }', "a table of three texts"),
        (
            GOOD + 'reals = { file = "../x.csv", path = "p", target = "t" }',
            "inside a folder of fakes",
        ),
        (GOOD + 'folders = [{ path = "real", label = "genuine" }]', "a label is real or fake"),
        (GOOD + 'folders = [{ path = "real" }]', "a label is real or fake"),
        (GOOD + 'folders = [{ label = "real" }]', "a path each"),
        (GOOD + 'folders = [{ path = "../real", label = "real" }]', "a path each"),
        (
            GOOD + 'folders = [{ path = "x", label = "real", split = "dev" }]',
            "a split train, val or test",
        ),
        (
            GOOD + 'folders = [{ path = "{class", label = "real" }]',
            "a brace without its other half",
        ),
        (GOOD + 'folders = [{ path = "{a}{a}", label = "real" }]', "redefinition of group name"),
    ],
)
def test_a_broken_card_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        parse_card(text, name="x")
    assert "\n" not in str(error.value)

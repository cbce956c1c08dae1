"""The ledger of claims: each verdict, and what is said of why."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCardData

from study.analysis.ledger import Ledger, images_sha256, ledger
from study.analysis.results import ResultRow
from study.core.records import Scores
from study.detectors.entry import Claim
from study.detectors.published import PUBLISHED
from study.render.ledger import NOTHING, as_json, as_text, ledger_markdown, model_cards
from tests.render.synthetic_matrix import row

CARD = PUBLISHED["ferretnet_s"].published
LIST = "ab" * 32
CLAIM = Claim(
    metric="ap",
    value=0.9,
    data="all of a",
    source="table 1",
    test_set="a",
    n_real=100,
    n_fake=80,
    images_sha256=LIST,
)


def numbers(low: float = 0.85, high: float = 0.95) -> list[ResultRow]:
    return [
        row("ferretnet_s", "(x)", "a", 0.88, metric="ap", low=low, high=high, n_fake=80),
        row("ferretnet_s", "(x)", "a", 0.91, low=0.86, high=0.96, n_fake=80),
        row("ferretnet_s", "(x)", "b", 0.5, metric="ap", low=0.4, high=0.6),
        row("npr", "b", "a", 0.5, metric="ap", low=0.4, high=0.6),
    ]


def held(claim: Claim, rows: list[ResultRow] | None = None, **how: Any) -> Ledger:
    assert CARD is not None
    cards = {"ferretnet_s": replace(CARD, claims=(claim,))}
    images = {"a": LIST, "b": "cd" * 32}
    return ledger(numbers() if rows is None else rows, images, cards, **how)


@pytest.mark.parametrize(
    ("change", "verdict", "because"),
    [
        ({}, "reproduced", "same list of images"),
        ({"value": 0.97}, "not reproduced", "same list of images"),
        ({"value": 0.9504}, "reproduced", "same list of images"),  # .950 as reported
        ({"value": 0.9506}, "not reproduced", "same list of images"),
        ({"images_sha256": ""}, "reproduced", "same name and number of images"),
        ({"images_sha256": "", "value": 0.97}, "untestable here", "only the number is known"),
        ({"images_sha256": "00" * 32}, "untestable here", "other test data: another list"),
        (
            {"images_sha256": "", "n_fake": 100},
            "untestable here",
            "100 real and 80 fake images, where the claim has 100 and 100",
        ),
        ({"images_sha256": "", "n_real": 0}, "untestable here", "which images the claim is of"),
        ({"test_set": ""}, "untestable here", "other test data"),
        ({"test_set": "c"}, "untestable here", "other test data"),
        ({"metric": "eer"}, "untestable here", "the study has no eer"),
        ({"threshold": "fixed"}, "untestable here", "the study has no ap fixed"),
        ({"of": "another version"}, "untestable here", "the claim is of another version"),
        ({"preprocessing": "ten crops"}, "untestable here", "the claim's is ten crops"),
    ],
)
def test_a_verdict_rests_on_the_same_test_alone(
    change: dict[str, Any], verdict: str, because: str
) -> None:
    (line,) = held(replace(CLAIM, **change)).lines
    assert line.verdict == verdict and because in line.because
    sets = {"a"} if verdict != "untestable here" else {"a", "b"}
    assert {r.test_on for r in line.ours} <= sets and {r.detector for r in line.ours} == {
        "ferretnet_s"
    }


def test_re_encoded_images_are_another_preprocessing() -> None:
    (line,) = held(CLAIM, prepared=["re-encodes its images (data.unify)"]).lines
    assert (line.verdict, "data.unify" in line.because) == ("untestable here", True)
    chosen = {"ferretnet_s": ["takes geometry = 'pad'"], "npr": ["takes crops = 5"]}
    (line,) = held(CLAIM, chosen=chosen).lines
    assert line.because == "other preprocessing: the study takes geometry = 'pad'"


def test_without_an_interval_nothing_is_said() -> None:
    (line,) = held(CLAIM, numbers(low=float("nan"))).lines
    assert line.verdict == "untestable here" and "no interval" in line.because


def test_the_digest_is_of_labels_and_names_in_any_order() -> None:
    names = np.array(["y.png", "x.png"])
    scores = Scores(
        sample_id=names,
        group=names,
        unit=names,
        method=names,
        label=np.array([1, 0], np.uint8),
        logit=np.zeros(2, np.float32),
        listed=2,
    )
    assert images_sha256(scores) == hashlib.sha256(b"0\tx.png\n1\ty.png\n").hexdigest()


def test_every_form_says_the_same() -> None:
    found = held(replace(CLAIM, test_set=""))
    text = as_text(found)
    assert text.startswith("ferretnet_s: untestable here: other test data")
    assert "claimed: AP 0.9, all of a (table 1)" in text and "on other data:" in text
    assert "a AUC 0.910 [0.860, 0.960]" in text and "b AP 0.500 [0.400, 0.600]" in text
    assert "| untestable here | other test data |" in ledger_markdown(found)
    (line,) = json.loads(as_json(found))["lines"]
    assert (line["verdict"], line["claim"]["value"]) == ("untestable here", 0.9)
    assert [(one["test_set"], one["value"]) for one in line["ours"]] == [
        ("a", 0.88),
        ("a", 0.91),
        ("b", 0.5),
    ]
    assert as_text(Ledger(images={})) == NOTHING and ledger_markdown(Ledger(images={})) == ""


def test_the_model_card_is_read_by_its_own_library() -> None:
    card = ModelCardData(**yaml.safe_load(model_cards(held(CLAIM))))
    assert card.license == "apache-2.0" and card.eval_results is not None
    read = {(one.dataset_name, one.metric_type): one for one in card.eval_results}
    assert {place: one.metric_value for place, one in read.items()} == {
        ("a", "average_precision"): 0.88,
        ("a", "roc_auc"): 0.91,
        ("b", "average_precision"): 0.5,
    }
    assert read["a", "roc_auc"].metric_args == {"interval_95": [0.86, 0.96]}
    assert read["a", "roc_auc"].dataset_args == {"images_sha256": LIST}

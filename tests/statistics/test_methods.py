"""A test set taken apart by method: which images belong to which level."""

from __future__ import annotations

import numpy as np

from study.statistics.methods import POOLED, by_method, part, without

LABEL = [0, 0, 0, 1, 1, 1, 1]


def test_each_method_of_the_fakes_stands_against_all_reals(make_scores):
    scores = make_scores(
        LABEL, range(7), method=["real"] * 3 + ["gan", "diffusion", "gan", "diffusion"]
    )
    found = by_method(scores)
    assert {level: places.tolist() for level, places in found.items()} == {
        "method:diffusion": [0, 1, 2, 4, 6],
        "method:gan": [0, 1, 2, 3, 5],
    }
    gan = part(scores, found["method:gan"])
    assert (
        gan.logit.tolist() == [0, 1, 2, 3, 5]
        and gan.label.tolist() == [0, 0, 0, 1, 1]
        and gan.listed == 5
    )
    assert gan.sample_id.tolist() == [f"set/{i:05d}.png" for i in (0, 1, 2, 3, 5)]


def test_reals_of_several_sources_stand_against_all_fakes_and_a_shared_name_is_two_levels(
    make_scores,
):
    scores = make_scores(
        LABEL, range(7), method=["web", "phone", "web", "gan", "gan", "web", "gan"]
    )
    found = {level: places.tolist() for level, places in by_method(scores).items()}
    assert found == {
        "method:gan": [0, 1, 2, 3, 4, 6],
        "method:web": [0, 1, 2, 5],
        "reals:phone": [1, 3, 4, 5, 6],
        "reals:web": [0, 2, 3, 4, 5, 6],
    }
    assert not set(found) & set(POOLED)


def test_single_methods_and_missing_classes_give_nothing(make_scores):
    assert by_method(make_scores(LABEL, range(7), method=["real"] * 3 + ["fake"] * 4)) == {}
    assert by_method(make_scores([], [], method=[])) == {}
    one_class = by_method(make_scores([1, 1], [0, 1], method=["a", "b"]))
    assert {k: v.tolist() for k, v in one_class.items()} == {"method:a": [0], "method:b": [1]}
    assert np.intersect1d(one_class["method:a"], one_class["method:b"]).size == 0


def test_images_can_be_left_out_by_name(make_scores):
    scores = make_scores(LABEL, range(7))
    left = without(scores, {"set/00001.png", "set/00005.png", "other/00002.png"})
    assert left.logit.tolist() == [0, 2, 3, 4, 6] and left.listed == 5
    assert len(without(scores, set(scores.sample_id.tolist())).logit) == 0
    assert without(scores, ()).logit.tolist() == scores.logit.tolist()

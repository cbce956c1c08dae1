"""Heads on a frozen body: any layer of it by one forward, on features of length 1, and nearest
neighbours. Oracles are networks cut short, scikit-learn, and calculations by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor

from study.core.errors import ConfigError
from study.core.identity import digest
from study.data.images.geometry import fit_geometry
from study.detectors import registry
from study.detectors.base import Detector, Head
from study.detectors.frozen_heads import Neighbours, Reading
from study.explaining import maps as maps_module
from study.explaining.maps import explain
from study.exporting.onnx_model import onnx_model
from study.search.spaces import load_space
from study.training import head_fit
from study.training.contract import CHECKS, Subject, made_images
from study.training.features import FrozenBody, features_in
from study.training.fit import fit
from study.training.recipe import Recipe
from study.training.score import evaluating, score, to_input
from tests.contract.stand_ins import Case, make_case
from tests.factories import picture
from tests.training.fakes import FakeSession
from tests.training.small_fits import RUNTIME

# Eva with rotary embedding, attention pooling without a class token, open_clip
FAMILIES = ("dinov3_small_linear", "siglip_linear", "clip_linear")
QUICK = "clip_linear"  # has the fewest tokens
HEADS: dict[str, dict[str, Any]] = {
    "layer": {"layer": 1, "C": 1.0},
    "cosine": {"head": "cosine", "C": 10.0},
    "knn": {"head": "knn", "neighbours": 3},
    "knn of a layer": {"head": "knn", "neighbours": 1, "layer": 1},
}


def case_of(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Case:
    return make_case(name, folder, patch)


def built(case: Case, params: dict[str, Any], **options: Any) -> Detector:
    spec = registry.resolve(case.name, options=options, weights_root=case.folder, download=False)
    spec = registry.with_head(spec, params)
    return registry.build(spec, weights_root=case.folder, seed=0).eval()


def fitted(detector: Detector, params: dict[str, Any], **how: Any) -> Any:
    size = detector.spec.geometry.size_px
    train, val = made_images(20, size, seed=1), made_images(7, size, seed=2)
    recipe = Recipe.from_params(params, learner="logistic")
    how = {"epochs": 1, "seed": 0, "runtime": RUNTIME, "session": FakeSession(), **how}
    return fit(detector, train, val, recipe, **how), train, val


def features_of(detector: Detector, images: Any) -> Tensor:
    with evaluating(detector):
        return detector.features(to_input(detector, images.pixels, "cpu"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == QUICK else pytest.mark.slow) for n in FAMILIES]
)
def test_each_layer_is_the_output_of_the_network_cut_short(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(name, tmp_path, monkeypatch)
    usual, layered = built(case, {}), built(case, {"layer": 1})
    assert layered.layers == 2 and layered.feature_width == 2 * usual.n_features
    x = usual.prepare(torch.from_numpy(made_images(3, usual.spec.geometry.size_px, seed=0).pixels))
    with torch.no_grad():
        found = layered.features(x).split(usual.n_features, dim=1)
        torch.testing.assert_close(found[0], usual.features(x), rtol=0, atol=1e-6)
        owner: Any = usual.backbone
        at, blocks = (
            (owner, "blocks") if hasattr(owner, "blocks") else (owner.transformer, "resblocks")
        )
        setattr(at, blocks, getattr(at, blocks)[:1])
        torch.testing.assert_close(found[1], usual.features(x), rtol=0, atol=1e-6)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


# check_fit says what a regression moves; that of neighbours is held against a hand computation
CONTRACT = [
    pytest.param(head, check, id=f"{check.__name__}-{head}")
    for check in CHECKS
    for head in HEADS
    if not ("knn" in head and check.__name__ == "check_fit")
]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "check"), CONTRACT)
def test_the_contract_holds_for_every_head(
    head: str,
    check: Callable[[Subject], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = case_of(QUICK, tmp_path, monkeypatch)

    def build(seed: int) -> Detector:
        made = built(case, HEADS[head])
        if isinstance(made.head, Neighbours):
            draws = torch.Generator().manual_seed(0)
            label = torch.tensor([0, 1, 0, 1])
            made.head.remember(torch.randn(4, made.n_features, generator=draws), label)
        return made

    check(Subject(name=case.name, build=build, default=HEADS[head]))


@pytest.mark.parametrize("layer", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_cosine_head_is_scikit_learns_regression_on_features_of_length_1(
    layer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(QUICK, tmp_path, monkeypatch)
    params = {"head": "cosine", "layer": layer, "C": 0.5}
    detector = built(case, params)
    result, train, val = fitted(detector, params)
    whole = built(case, {"layer": 1})  # gives both layers
    own = slice(layer * whole.n_features, (layer + 1) * whole.n_features)
    read = [normalize(features_of(whole, one).numpy()[:, own]) for one in (train, val)]
    scaler = StandardScaler().fit(read[0])
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
    theirs.fit(scaler.transform(read[0]), train.label)
    expected = theirs.decision_function(scaler.transform(read[1]))
    np.testing.assert_allclose(result.val_logit, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("neighbours", [1, 3, pytest.param(25, marks=pytest.mark.slow)])
def test_neighbours_vote_as_by_hand(
    neighbours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a class with fewer images all vote."""
    case = case_of(QUICK, tmp_path, monkeypatch)
    params = {"head": "knn", "neighbours": neighbours}
    detector = built(case, params)
    session = FakeSession()
    result, train, val = fitted(detector, params, session=session)
    read = [features_of(built(case, {}), one).numpy() for one in (train, val)]
    votes = []
    for label in (0, 1):
        mine = read[0][train.label == label]
        k = min(neighbours, len(mine))
        near = NearestNeighbors(n_neighbors=k, metric="cosine").fit(mine)
        distance, _ = near.kneighbors(read[1])
        votes.append(np.log(np.exp((1 - distance) / 0.07).sum(axis=1)))
    np.testing.assert_allclose(result.val_logit, votes[1] - votes[0], rtol=1e-3, atol=1e-3)
    assert np.array_equal(score(detector, val, runtime=RUNTIME), result.val_logit)
    (record,) = session.records
    assert (record.phase, record.val_auc) == ("neighbours", result.val_auc)
    state = {name: held.clone() for name, held in detector.state_dict().items()}
    assert len(state["head.real"]) + len(state["head.fake"]) == len(train)
    restored = registry.restore(detector.spec, state)
    assert np.array_equal(score(restored, val, runtime=RUNTIME), result.val_logit)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("crops", [1, 5, 10])
def test_the_head_alone_gives_the_detectors_logits(
    head: str, crops: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(QUICK, tmp_path, monkeypatch)
    cut = {"square_px": 240, "geometry": "resize", "crops": crops} if crops > 1 else {}
    detector = built(case, HEADS[head], **cut)
    result, _, val = fitted(detector, HEADS[head])
    features = features_of(detector, val)
    assert features.shape[1] == detector.feature_width
    held = {n.removeprefix("head."): t for n, t in detector.state_dict().items() if "head." in n}
    alone = Head(detector.spec, features.shape[1], held).eval()
    with torch.no_grad():
        found = alone.classify(features).numpy()
    assert np.ptp(found) > 1e-3
    np.testing.assert_allclose(found, result.val_logit, rtol=1e-5, atol=1e-5)


def test_layers_share_a_body_and_settings_at_their_default_change_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = case_of(QUICK, tmp_path, monkeypatch).resolve()
    same = {"layer": 0, "head": "logistic", "C": 1.0}
    assert registry.with_head(spec, same) == spec
    plain = Recipe(C=1.0)
    as_before = {f: getattr(plain, f) for f in vars(plain)}
    for later in ("head", "neighbours", "layer"):
        del as_before[later]
    assert digest(plain) == digest(as_before) != digest(replace(plain, layer=1))
    bodies = {registry.body_key(registry.with_head(spec, {"layer": k})) for k in (0, 1)}
    assert len(bodies) == 2
    every = registry.with_layers(spec)
    one = {
        registry.body_key(registry.with_head(every, {"layer": k, "head": "knn"})) for k in (0, 1)
    }
    assert one == bodies - {registry.body_key(spec)}


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("dinov3_base_linear", {"layer": 12}, "layer = 12: dinov3_base_linear has layers 0 to 11"),
        ("efficientnet_lite0_linear", {"layer": 1}, "has layer 0 alone"),
        ("spectrum", {"head": "knn"}, "C is of a linear head"),
        ("clip_linear", {"head": "knm"}, "unknown head 'knm'"),
    ],
)
def test_what_cannot_be_is_refused(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_space(name).with_given(given)


def test_a_layer_is_searched_where_there_is_one() -> None:
    assert load_space("dinov3_large_linear", ("layer",)).names() == ["C", "layer"]
    wide = {p.name: p for p in load_space("clip_huge_linear", "wide").parameters}
    assert (wide["layer"].low, wide["layer"].high) == (0, 31)
    assert "layer" not in load_space("efficientnet_lite0_linear", "wide").names()
    assert load_space("pe_linear").names() == ["C"], "unless it is asked for"


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_exported_graph_gives_the_networks_logits(
    name: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(name, tmp_path, monkeypatch)
    detector = built(case, HEADS[head])
    fitted(detector, HEADS[head])
    images = np.stack([picture(n % 2, size=130, seed=n)[:97, :130] for n in range(3)])
    squares = np.stack([fit_geometry(image, detector.spec.geometry) for image in images])
    with evaluating(detector):
        expected = detector(to_input(detector, squares, "cpu")).numpy()
    assert np.ptp(expected) > 1e-4
    model = onnx_model(detector, {}).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for count in (3, 1):
        (found,) = session.run(None, {"image": images[:count]})
        np.testing.assert_allclose(found, expected[:count], rtol=1e-3, atol=1e-3)


def test_a_reading_of_crops_is_the_mean_of_theirs() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 2 * 4)).astype(np.float32)  # 2 crops of 2 x 2
    reading = Reading(width=2, layer=1, unit=True, crops=2)
    expected = (normalize(rows[:, 2:4]) + normalize(rows[:, 6:8])) / 2
    np.testing.assert_allclose(reading(torch.from_numpy(rows)).numpy(), expected, atol=1e-6)


def test_a_generation_over_layers_is_one_fit_on_one_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each trial is what it is alone, bit for bit."""
    case = case_of(QUICK, tmp_path, monkeypatch)
    proposed = [{"layer": k, "head": h, "C": 0.1} for k in (0, 1) for h in ("logistic", "cosine")]
    recipes = [Recipe.from_params(one, learner="logistic") for one in proposed]
    spec = registry.with_layers(case.resolve())  # as a study that searches layers has it
    detectors = [
        registry.build(registry.with_head(spec, one), weights_root=case.folder, seed=0)
        for one in proposed
    ]
    fits, looked = [], []
    solve, look = head_fit.fit_logistic, type(detectors[0]).features

    def counted(body: Any, train: Any, val: Any, asked: Any, **how: Any) -> Any:
        fits.append(len(asked))
        return solve(body, train, val, asked, **how)

    def seen(self: Any, x: Tensor) -> Tensor:
        looked.append(len(x))
        return look(self, x)

    monkeypatch.setattr(head_fit, "fit_logistic", counted)
    monkeypatch.setattr(type(detectors[0]), "features", seen)

    def found(cache: Path, number: int, beside: Any) -> Any:
        detector = detectors[number]
        body = FrozenBody(key="b", name="b", load=lambda: detector, store=features_in(cache))
        result, *sets = fitted(detector, proposed[number], body=body, beside=beside)
        return result.val_logit, sum(map(len, sets))

    together = [found(tmp_path / "together", n, recipes) for n in range(4)]
    assert fits == [4] and sum(looked) == together[0][1] == 27
    alone = [found(tmp_path / "alone", n, ()) for n in range(4)]
    assert fits == [4, 1, 1, 1, 1] and sum(looked) == 2 * 27
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert len({logits.tobytes() for logits, _ in together}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_map_shows_what_the_head_reads(
    name: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = built(case_of(name, tmp_path, monkeypatch), HEADS[head])
    _, _, val = fitted(detector, HEADS[head])
    before = score(detector, val, runtime=RUNTIME)
    found = explain(detector, val.pixels)
    assert all(maps.min() >= 0 and 0 < maps.max() <= 1 for maps in found.values())
    assert np.array_equal(score(detector, val, runtime=RUNTIME), before), "it is left as it was"
    short = maps_module._cut_short(copy.deepcopy(detector))
    assert len(list(short.parameters())) < len(list(detector.parameters())) or "layer" not in head
    np.testing.assert_allclose(score(short, val, runtime=RUNTIME), before, rtol=1e-4, atol=1e-4)

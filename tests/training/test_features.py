"""Kept features: keyed on everything they follow from, within their limit."""

from __future__ import annotations

import torch

from study.detectors import registry
from study.training.features import FeatureCache, body_digest
from study.training.runtime import TorchRuntime
from tests.training.fakes import images, tiny


def test_features_are_read_once_per_body_images_and_view(runtime: TorchRuntime) -> None:
    cache, pictures, detector = FeatureCache(), images(10), tiny()
    body = body_digest(detector)
    first = cache.get(detector, body, pictures, runtime=runtime)
    assert cache.get(detector, body, pictures, runtime=runtime) is first and pictures.read == 10
    with torch.no_grad():
        detector.head.weight.fill_(3.0)
    assert body_digest(detector) == body, "the head is no part of the body"
    cache.get(detector, body, pictures, runtime=runtime, flip=True)
    assert pictures.read == 20
    cache.get(detector, body, images(10, seed=1), runtime=runtime)
    assert len(cache._kept) == 3


def test_detectors_that_differ_in_their_head_alone_share_features(runtime: TorchRuntime) -> None:
    cache, pictures = FeatureCache(), images(10)
    linear, wide = tiny(), tiny()
    wide.spec = registry.with_head(wide.spec, {"head_width": 4, "head_dropout": 0.5, "lr": 0.1})
    assert wide.spec.options == {"head_width": 4, "head_dropout": 0.5} and linear.spec != wide.spec
    first = cache.get(linear, body_digest(linear), pictures, runtime=runtime)
    assert (
        cache.get(wide, body_digest(wide), pictures, runtime=runtime) is first
        and pictures.read == 10
    )


def test_another_body_is_another_key() -> None:
    detector = tiny()
    seen = {body_digest(detector)}
    for tensor in (
        detector.stem[0].weight,
        detector.block2[1].running_mean,
        detector.block1[1].bias,
    ):
        with torch.no_grad():
            tensor.view(-1)[0] += 1e-7
        seen.add(body_digest(detector))
    assert len(seen) == 4


def test_the_least_recently_used_is_forgotten(runtime: TorchRuntime) -> None:
    detector = tiny()
    body, size = body_digest(detector), 10 * detector.n_features * 4
    cache = FeatureCache(limit_bytes=2 * size)
    a, b, c = (images(10, seed=seed) for seed in range(3))
    for pictures in (a, b, a, c):
        cache.get(detector, body, pictures, runtime=runtime)
    assert (a.read, b.read, c.read) == (10, 10, 10)
    cache.get(detector, body, a, runtime=runtime)
    cache.get(detector, body, b, runtime=runtime)
    assert (a.read, b.read) == (10, 20)
    assert cache.fits(detector, a, b) and not cache.fits(detector, a, b, c)

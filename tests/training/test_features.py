"""Features: keyed on everything they follow from, kept on the disk for all, within limits."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.core import cache as core_cache
from study.core.errors import StoreError
from study.detectors import registry
from study.training import features
from study.training.features import FeatureStore, FrozenBody, body_digest, compute_features
from study.training.runtime import TorchRuntime
from tests.training.fakes import FakeImages, Tiny, images, tiny

OF = functools.partial(FrozenBody.of)


def test_features_are_read_once_per_body_images_and_view(runtime: TorchRuntime) -> None:
    store, pictures, detector = FeatureStore(), images(10), tiny()
    body = OF(detector)
    first = store.get(body, pictures, runtime=runtime)
    assert store.get(body, pictures, runtime=runtime) is first and pictures.read == 10
    with torch.no_grad():
        detector.head.weight.fill_(3.0)
    assert OF(detector).key == body.key, "the head is no part of the body"
    store.get(body, pictures, runtime=runtime, flip=True)
    assert pictures.read == 20
    store.get(body, images(10, seed=1), runtime=runtime)
    assert len(store._kept) == 3


def test_detectors_that_differ_in_their_head_alone_share_features(runtime: TorchRuntime) -> None:
    store, pictures = FeatureStore(), images(10)
    linear, wide = tiny(), tiny()
    wide.spec = registry.with_head(wide.spec, {"head_width": 4, "head_dropout": 0.5, "lr": 0.1})
    assert wide.spec.options == {"head_width": 4, "head_dropout": 0.5} and linear.spec != wide.spec
    first = store.get(OF(linear), pictures, runtime=runtime)
    assert store.get(OF(wide), pictures, runtime=runtime) is first and pictures.read == 10


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
    body, size = OF(detector), 10 * detector.n_features * 4
    store = FeatureStore(limit_bytes=2 * size)
    a, b, c = (images(10, seed=seed) for seed in range(3))
    for pictures in (a, b, a, c):
        store.get(body, pictures, runtime=runtime)
    assert (a.read, b.read, c.read) == (10, 10, 10)
    store.get(body, a, runtime=runtime)
    store.get(body, b, runtime=runtime)
    assert (a.read, b.read) == (10, 20)
    views = [(pictures, False) for pictures in (a, b, c)]
    assert store.fits(body, *views[:2], runtime=runtime)
    assert not store.fits(body, *views, runtime=runtime)


def test_another_process_finds_them_on_the_disk(runtime: TorchRuntime, tmp_path: Path) -> None:
    pictures, detector = images(70), tiny()
    for flip in (False, True):
        first = FeatureStore(tmp_path).get(OF(detector), pictures, runtime=runtime, flip=flip)
        read = pictures.read
        # a new store is what a new process has
        again = FeatureStore(tmp_path).get(OF(detector), pictures, runtime=runtime, flip=flip)
        assert pictures.read == read and torch.equal(first, again)
        assert torch.equal(again, compute_features(detector, pictures, runtime=runtime, flip=flip))
    assert len(list(tmp_path.glob("features/*/*/float32.npy"))) == 2


@pytest.mark.parametrize("change", ["threads", "pixels", "body"])
def test_what_decides_features_makes_another_entry(
    change: str, runtime: TorchRuntime, tmp_path: Path
) -> None:
    other = TorchRuntime.resolve(device="cpu", threads=2, precision="float32")
    FeatureStore(tmp_path).get(OF(tiny()), images(9), runtime=runtime)
    FeatureStore(tmp_path).get(
        OF(tiny(seed=change == "body")),
        images(9, seed=change == "pixels"),
        runtime=other if change == "threads" else runtime,
    )
    assert len(list(tmp_path.glob("features/*/*/float32.npy"))) == 2


def test_a_damaged_file_is_made_again(
    runtime: TorchRuntime, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures, detector = images(30), tiny()
    first = FeatureStore(tmp_path).get(OF(detector), pictures, runtime=runtime).clone()
    (file,) = tmp_path.glob("features/*/*/float32.npy")
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    core_cache._checked.clear()  # as in a new process
    with caplog.at_level(logging.WARNING):
        again = FeatureStore(tmp_path).get(OF(detector), pictures, runtime=runtime)
    assert torch.equal(first, again) and pictures.read == 60 and "damaged" in caplog.text


def test_what_is_mapped_is_not_changed_on_the_disk(runtime: TorchRuntime, tmp_path: Path) -> None:
    store, pictures, detector = FeatureStore(tmp_path), images(9), tiny()
    store.get(OF(detector), pictures, runtime=runtime).fill_(7.0)
    (file,) = tmp_path.glob("features/*/*/float32.npy")
    assert not (np.load(file) == 7.0).any()


class Union(FakeImages):
    """The images of two sets, those of the second first."""

    def __init__(self, first: FakeImages, second: FakeImages) -> None:
        self.members = first, second
        both = [np.concatenate([b, a]) for a, b in (self._both(n) for n in ("pixels", "label"))]
        names = np.array([f"union/{i:04d}" for i in range(len(first) + len(second))])
        super().__init__(names, both[1], both[0], f"{second.key}+{first.key}")

    def _both(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return getattr(self.members[0], name), getattr(self.members[1], name)

    def parts(self) -> list:
        first, second = (np.arange(len(one)) for one in self.members)
        return [
            (self.members[0], first, first + len(second)),
            (self.members[1], second, second),
        ]


def test_a_union_uses_the_features_of_its_members(runtime: TorchRuntime, tmp_path: Path) -> None:
    first, second, detector = images(20), images(30, seed=1), tiny()
    store = FeatureStore(tmp_path)
    alone = store.get(OF(detector), first, runtime=runtime)
    union = Union(first, second)
    found = store.get(OF(detector), union, runtime=runtime)
    assert (first.read, second.read, union.read) == (20, 30, 0)
    assert torch.equal(found[30:], alone)
    expected = compute_features(detector, union, runtime=runtime)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_full_disk_keeps_nothing_and_says_so_once(
    runtime: TorchRuntime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, body, view = FeatureStore(tmp_path), OF(tiny()), (images(10), False)
    full = type("Usage", (), {"free": 10 * 8 * 4})  # what they need, and nothing in reserve
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(features.shutil, "disk_usage", lambda _: full)
        assert not store.fits(body, view, runtime=runtime)
        assert not store.fits(body, view, runtime=runtime)
    assert caplog.text.count("computed anew") == 1 and str(tmp_path) in caplog.text
    store.get(body, view[0], runtime=runtime)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: full)
    assert store.fits(body, view, runtime=runtime), "they are there"


def test_a_disk_that_fills_meanwhile_is_an_error_and_no_death(
    runtime: TorchRuntime, tmp_path: Path
) -> None:
    """By the limit of a file's size, at which a write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written: File too large"):
            FeatureStore(tmp_path).get(OF(tiny()), images(200), runtime=runtime)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("features/*/[!.]*"))
    FeatureStore(tmp_path).get(OF(tiny()), images(200), runtime=runtime)


def test_a_union_that_memory_has_no_room_for_is_computed_anew(
    runtime: TorchRuntime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = images(20), images(30, seed=1)
    store, body = FeatureStore(tmp_path), OF(tiny())
    monkeypatch.setattr(features, "_memory", lambda _: 2 * 50 * 8 * 4 - 2)
    assert store.fits(body, (first, False), (second, False), runtime=runtime), "these are mapped"
    with caplog.at_level(logging.WARNING):
        assert not store.fits(body, (Union(first, second), False), runtime=runtime)
    assert "memory has room for" in caplog.text


def _ask(cache: Path, log: Path, barrier: Any, dies: bool = False) -> None:
    """A process that wants features, and notes each forward; it may die of the second."""

    class Noting(Tiny):
        def features(self, x: torch.Tensor) -> torch.Tensor:
            with log.open("a") as file:
                file.write(f"{len(x)}\n")
            if dies and log.read_text().count("\n") > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().features(x)

    detector = tiny()
    detector.__class__ = Noting
    runtime = TorchRuntime.resolve(device="cpu", threads=1, precision="float32")
    runtime.apply()
    barrier.wait()
    FeatureStore(cache).get(OF(detector), images(200), runtime=runtime)


def test_processes_that_come_together_compute_once(tmp_path: Path) -> None:
    log, context = tmp_path / "forwards", multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [
        context.Process(target=_ask, args=(tmp_path / "cache", log, barrier)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sum(map(int, log.read_text().split())) == 200


def test_a_kill_while_they_are_made_does_no_harm(runtime: TorchRuntime, tmp_path: Path) -> None:
    context, cache = multiprocessing.get_context("spawn"), tmp_path / "cache"
    barrier = context.Barrier(1)
    worker = context.Process(target=_ask, args=(cache, tmp_path / "log", barrier, True))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert not list(cache.glob("features/*/[!.]*/float32.npy"))
    pictures, detector = images(200), tiny()
    found = FeatureStore(cache).get(OF(detector), pictures, runtime=runtime)
    assert torch.equal(found, compute_features(detector, pictures, runtime=runtime))
    (code,) = (cache / "features").iterdir()
    assert len([entry for entry in code.iterdir() if entry.name != ".locks"]) == 1

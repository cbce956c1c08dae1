"""Scoring: every image, its own logit, in order, whatever the batch; broken ones named."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from study.core.errors import ScoreError
from study.detectors import registry
from study.training.features import compute_features, head_logits
from study.training.memory import in_pieces
from study.training.runtime import TorchRuntime
from study.training.score import BATCH_SIZE, compute_side_by_side, score
from tests.training.fakes import FakeImages, images, tiny


@pytest.mark.parametrize("batch_size", [1, 2, 7, 20, 21, 64])
def test_scores_do_not_depend_on_the_batch_size(batch_size: int, runtime: TorchRuntime) -> None:
    detector, pictures = tiny(), images(21)
    expected = score(detector, pictures, runtime=runtime)
    found = score(detector, pictures, runtime=runtime, batch_size=batch_size)
    assert found.shape == (21,) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert pictures.read == 2 * 21


@pytest.mark.parametrize("name", ["npr", "resnet18_scratch", "spectrum"])
def test_scores_of_real_detectors_do_not_depend_on_the_batch_size(
    name: str, runtime: TorchRuntime
) -> None:
    spec = registry.resolve(name, options={"size_px": 16}, weights_root=None)
    detector = registry.build(spec, weights_root=None, seed=0)
    pictures = images(9, size_px=16)
    one, all_together = (score(detector, pictures, runtime=runtime, batch_size=b) for b in (1, 9))
    np.testing.assert_allclose(one, all_together, rtol=0, atol=1e-4)


def test_scores_are_the_forward_pass_in_evaluation_mode(runtime: TorchRuntime) -> None:
    detector, pictures = tiny(), images(5)
    detector.train()
    detector.block1.eval()
    modes = [module.training for module in detector.modules()]
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    found = score(detector, pictures, runtime=runtime)
    assert [module.training for module in detector.modules()] == modes, "modes are put back"
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items()), (
        "no statistic moves"
    )
    with torch.no_grad():
        expected = detector.eval()(detector.prepare(torch.from_numpy(pictures.pixels)))
    assert np.array_equal(found, expected.numpy())


def test_a_score_that_is_not_finite_names_its_image(runtime: TorchRuntime) -> None:
    detector, pictures = tiny(), images(9)
    pictures.pixels[6:8] = 255
    detector.register_forward_hook(
        lambda module, inputs, output: torch.where(
            inputs[0].mean(dim=(1, 2, 3)) > 0.99, torch.nan, output
        )
    )
    with pytest.raises(ScoreError, match=r"score of set/0006\.png is nan, 2 of 9 are not finite"):
        score(detector, pictures, runtime=runtime, batch_size=4)


def test_no_images_have_no_scores(runtime: TorchRuntime) -> None:
    assert score(tiny(), images(0), runtime=runtime).shape == (0,)


def test_heads_on_kept_features_score_bit_for_bit_as_images_do(runtime: TorchRuntime) -> None:
    runtime.apply()
    detector, pictures = tiny(), images(BATCH_SIZE + 9)
    runtime.place(detector)
    features = compute_features(detector, pictures, runtime=runtime)
    assert np.array_equal(
        np.concatenate(head_logits(detector, features)), score(detector, pictures, runtime=runtime)
    )


@pytest.mark.parametrize(
    ("size_px", "pieces"), [(64, [64, 13]), (112, [64, 13]), (160, [16, 16, 16, 16, 13])]
)
def test_convolutions_see_as_many_images_at_a_time_as_memory_should_hold(
    size_px: int, pieces: list[int], runtime: TorchRuntime
) -> None:
    """77 images in batches of 64 and 13: the logits are those of whole batches, bit for bit."""
    runtime.apply()
    spec = registry.resolve("npr", options={"size_px": size_px}, weights_root=None)
    detector = registry.build(spec, weights_root=None, seed=0)
    runtime.place(detector)
    pictures, seen = images(77, size_px=size_px), []
    detector.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    found = score(detector, pictures, runtime=runtime)
    assert sorted(seen) == sorted(pieces)  # batches may be computed side by side
    prepared = detector.prepare(torch.from_numpy(pictures.pixels))
    with torch.no_grad():
        expected = torch.cat([detector.eval()(batch) for batch in prepared.split(64)])
    assert np.array_equal(found, expected.numpy())


@pytest.mark.parametrize("n", [17, 20, 31, 40, 64])
def test_a_network_with_squeeze_and_excitation_has_the_same_bits_in_pieces(
    n: int, runtime: TorchRuntime
) -> None:
    """In pieces of 8, or of 16 and a shorter rest, it has not. Nor has a wide layer."""
    runtime.apply()
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv3_small_050", pretrained=False, num_classes=64).eval()
    network.to(memory_format=torch.channels_last)
    x = torch.rand(n, 3, 160, 160).to(memory_format=torch.channels_last)
    with torch.no_grad():
        found = in_pieces(
            lambda index: network(x[torch.from_numpy(index)]), np.arange(n), "cpu", 16
        )
        assert torch.equal(found, network(x))


def test_mirrored_features_are_those_of_mirrored_images(runtime: TorchRuntime) -> None:
    detector, pictures = tiny(), images(11)
    mirrored = images(11)
    mirrored.pixels = np.ascontiguousarray(mirrored.pixels[:, :, ::-1])
    found = compute_features(detector, pictures, runtime=runtime, flip=True)
    assert torch.equal(found, compute_features(detector, mirrored, runtime=runtime))
    assert not torch.equal(found, compute_features(detector, pictures, runtime=runtime))


class Watched(FakeImages):
    """Images that say which thread asked for each batch, and how many threads torch has there."""

    threads: list[tuple[str, int]]
    together: threading.Barrier | None = None

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.threads.append((threading.current_thread().name, torch.get_num_threads()))
        if self.together:
            self.together.wait(60)  # breaks where nobody else is at a batch meanwhile
        return super().gather(index)


def watched(n: int) -> Watched:
    pictures = images(n, size_px=16)
    found = Watched(pictures.sample_id, pictures.label, pictures.pixels, pictures.key)
    found.threads = []
    return found


@pytest.fixture
def two_batches_at_a_time() -> Iterator[None]:
    compute_side_by_side(2)
    yield
    compute_side_by_side(1)


@pytest.mark.usefixtures("two_batches_at_a_time")
@pytest.mark.parametrize("threads", [1, 2])
def test_batches_side_by_side_have_the_bits_of_a_plain_forward(threads: int) -> None:
    runtime = TorchRuntime.resolve(device="cpu", threads=threads, precision="float32")
    runtime.apply()
    spec = registry.resolve("npr", options={"size_px": 16}, weights_root=None)
    detector, pictures = registry.build(spec, weights_root=None, seed=0), watched(32)
    runtime.place(detector)
    pictures.together = threading.Barrier(2)
    found = score(detector, pictures, runtime=runtime, batch_size=8)
    assert {torch_threads for _, torch_threads in pictures.threads} == {threads}
    with torch.no_grad():
        parts = [
            detector.eval()(detector.prepare(torch.from_numpy(part)))
            for part in np.split(pictures.pixels, 4)
        ]
    assert np.array_equal(found, torch.cat(parts).numpy())


@pytest.mark.usefixtures("two_batches_at_a_time")
def test_a_detector_that_does_not_allow_it_computes_one_batch_at_a_time(
    runtime: TorchRuntime,
) -> None:
    detector, pictures = tiny(), watched(20)
    score(detector, pictures, runtime=runtime, batch_size=5)
    assert [name for name, _ in pictures.threads] == [threading.current_thread().name] * 4

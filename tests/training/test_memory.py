"""Running out of memory: the work goes on in smaller pieces, gives what it would have given, and
says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from study.detectors.base import Detector
from study.training import features
from study.training import fit as module
from study.training.augment import Batch
from study.training.features import compute_features
from study.training.fit import fit
from study.training.memory import in_pieces
from study.training.process_group import ALONE
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import phases
from study.training.score import score
from study.training.session import FitResult
from study.training.steps import Steps
from tests.training.fakes import FakeSession, InterruptedError, images, limit_memory, plain, tiny

RUNTIME = TorchRuntime(device="cpu", threads=1, precision="float32")
NOTE = "micro-batch {} of 16 after running out of memory"


def recipe(**settings: Any) -> Recipe:
    return Recipe.from_params({"batch_size": 16, "lr": 0.02, "patience": 0, **settings})


def run(
    detector: Detector,
    session: FakeSession | None = None,
    *,
    n: int = 40,
    epochs: int = 3,
    **settings: Any,
) -> FitResult:
    train, val = images(n), images(15, seed=1)
    return fit(
        detector,
        train,
        val,
        recipe(**settings),
        epochs=epochs,
        seed=0,
        runtime=RUNTIME,
        session=session or FakeSession(),
    )


def trained_on(detector: Detector) -> list[torch.Tensor]:
    """Return the list of what the body is trained on, piece by piece, which grows; attempts that
    fail before it are not in it.
    """
    seen: list[torch.Tensor] = []

    def look(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append(inputs[0].clone())

    detector.get_submodule("stem").register_forward_pre_hook(look)
    return seen


# training


@pytest.mark.parametrize(("at_most", "micro"), [(9, 8), (8, 8), (7, 4), (3, 2), (1, 1)])
def test_training_goes_on_in_micro_batches_and_gives_the_same(at_most: int, micro: int) -> None:
    free, tight = plain(), plain()
    limit_memory(tight.stem, at_most)  # before the look: what is refused is not seen
    seen_free, seen_tight = trained_on(free), trained_on(tight)
    expected, found = run(free), run(tight)
    assert torch.equal(torch.cat(seen_free), torch.cat(seen_tight)), (
        "the same images, mirrored alike, in the same order"
    )
    assert max(map(len, seen_tight)) <= at_most and sum(map(len, seen_tight)) == 3 * 40
    assert (expected.note, found.note) == ("", NOTE.format(micro))
    np.testing.assert_allclose(found.val_logit, expected.val_logit, rtol=0, atol=1e-4)
    losses = [[record.train_loss for record in result.history] for result in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_gradient_of_micro_batches_is_that_of_the_batch() -> None:
    """Against plain autograd on the whole batch; 7 images in pieces of 2, the last of 1."""
    detector, reference, pictures = plain(), plain(), images(21)
    steps = Steps(
        detector, pictures, recipe(clip_norm=0.0), seed=0, runtime=RUNTIME, processes=ALONE
    )
    steps.begin(phases(recipe(), n_stages=4, epochs=1)[0])
    steps.micro_batch = 2
    loss = steps.backward(
        Batch(torch.arange(7), torch.arange(7), torch.zeros(7, dtype=torch.bool)), of=7
    )
    p = torch.sigmoid(reference(reference.prepare(torch.from_numpy(pictures.pixels[:7]))))
    y = torch.from_numpy(pictures.label[:7].astype(np.float32))
    mean = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    mean.backward()
    assert loss.item() == pytest.approx(mean.item(), abs=1e-6)
    for (name, found), expected in zip(
        detector.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-6, msg=name)


def test_a_failed_attempt_leaves_no_trace() -> None:
    """It fails at the head, when dropout is drawn and BatchNorm has seen the batch: then all is as
    if cut up from the start.
    """
    tight, cut = tiny(), tiny()
    seen = limit_memory(tight.head, 8)
    found = run(tight, dropout=0.3)
    assert seen[:3] == [16, 8, 8]
    whole = module._Run(
        cut,
        images(40),
        images(15, seed=1),
        recipe(dropout=0.3),
        epochs=3,
        seed=0,
        runtime=RUNTIME,
        session=FakeSession(),
        processes=ALONE,
    )
    whole.steps.micro_batch = 8
    while not whole.finished():
        whole.epoch()
    expected = whole.result()
    assert np.array_equal(found.val_logit, expected.val_logit) and found.note == expected.note
    assert all(
        torch.equal(value, cut.state_dict()[name]) for name, value in tight.state_dict().items()
    )


def test_batchnorm_counts_a_repeated_step_once() -> None:
    """By hand: momentum 0.1 over two micro-batches of 8, from 0, at the first weights."""
    tight, before = tiny(), tiny()
    limit_memory(tight.block2, 8)
    train = images(16)
    settings = recipe(flip=0.0, lr=1e-6)
    fit(
        tight,
        train,
        images(15, seed=1),
        settings,
        epochs=1,
        seed=0,
        runtime=RUNTIME,
        session=FakeSession(),
    )
    order = torch.randperm(16, generator=RUNTIME.seed_epoch(0, 0))
    with torch.no_grad():
        seen = before.stem[0](before.prepare(torch.from_numpy(train.pixels)))[order]
    expected = 0.9 * 0.1 * seen[:8].mean(dim=(0, 2, 3)) + 0.1 * seen[8:].mean(dim=(0, 2, 3))
    torch.testing.assert_close(tight.stem[1].running_mean, expected, rtol=0, atol=1e-6)
    assert tight.stem[1].num_batches_tracked.item() == 2


def test_the_smaller_micro_batch_and_the_note_outlast_an_interruption() -> None:
    def tight() -> Detector:
        detector = plain()
        limit_memory(detector.stem, 5)
        return detector

    whole = tight()
    expected = run(whole)
    session, detector = FakeSession(stop_after=1), plain()
    with pytest.raises(InterruptedError):
        run(tight(), session)
    found = run(detector, session)  # on a machine with more memory
    assert found.note == expected.note == NOTE.format(4)
    assert np.array_equal(found.val_logit, expected.val_logit)


@pytest.mark.parametrize(("make", "tried"), [(plain, [16, 8, 4, 2, 1]), (tiny, [16, 8, 4, 2])])
def test_where_the_least_is_too_much_it_raises(make: Any, tried: list[int]) -> None:
    """One image; two where a BatchNorm is trained."""
    detector = make()
    seen = limit_memory(detector.stem, 0)
    with pytest.raises(torch.OutOfMemoryError, match=f"no memory for {tried[-1]} images"):
        run(detector, n=32)
    assert seen == tried


def test_a_frozen_batchnorm_allows_micro_batches_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)
    detector = tiny()
    limit_memory(detector.head, 1)
    assert run(detector, schedule="head").note == NOTE.format(1)


def test_pieces_never_leave_batchnorm_a_single_image() -> None:
    detector = tiny(size_px=1)  # one value a channel where a piece has one image
    limit_memory(detector.stem, 3)
    train, val = images(21, size_px=1), images(10, size_px=1)
    settings = recipe(batch_size=5)
    result = fit(
        detector, train, val, settings, epochs=1, seed=0, runtime=RUNTIME, session=FakeSession()
    )
    assert result.note == "micro-batch 2 of 5 after running out of memory"


# scoring


@pytest.mark.parametrize("at_most", [1, 5, 33, 64])
def test_scores_and_features_are_computed_in_halves(at_most: int) -> None:
    pictures, tight = images(70), tiny()
    seen = limit_memory(tight.stem, at_most)
    np.testing.assert_allclose(
        score(tight, pictures, runtime=RUNTIME),
        score(tiny(), pictures, runtime=RUNTIME),
        rtol=0,
        atol=1e-6,
    )
    assert sum(size for size in seen if size <= at_most) == 70
    found, expected = (
        compute_features(detector, pictures, runtime=RUNTIME, flip=True)
        for detector in (tight, tiny())
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_an_image_too_large_to_score_raises() -> None:
    detector = tiny()
    seen = limit_memory(detector.stem, 0)
    with pytest.raises(torch.OutOfMemoryError):
        score(detector, images(4), runtime=RUNTIME)
    assert seen == [4, 2, 1]


def test_halves_keep_the_order_and_other_errors_pass() -> None:
    def doubled(index: np.ndarray) -> torch.Tensor:
        if len(index) > 3:
            raise torch.OutOfMemoryError
        return torch.from_numpy(2 * index)

    assert in_pieces(doubled, np.arange(3, 16), "cpu", 4).tolist() == list(range(6, 32, 2))
    calls = []

    def broken(index: np.ndarray) -> torch.Tensor:
        calls.append(len(index))
        raise RuntimeError("another reason")

    with pytest.raises(RuntimeError, match="another reason"):
        in_pieces(broken, np.arange(8), "cpu", 8)
    assert calls == [8]

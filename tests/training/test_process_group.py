"""Several workers train one detector: the batch is theirs together, every image is scored once, all
decide alike.

Tolerances against one worker: 1e-6 for a gradient of one step, 1e-4 in a logit after 20 steps
without BatchNorm and dropout (the order of float additions differs), no bit for scores and
features.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from study.training.features import compute_features
from study.training.process_group import ALONE, ProcessGroup, even_parts
from study.training.score import score
from study.training.session import FitResult
from tests.training.fakes import images, plain, tiny
from tests.training.ranks import (
    BATCHES,
    RUNTIME,
    SPLITS,
    FileSession,
    fits,
    identities,
    logistic,
    outcome,
    run_group,
    seeds,
    train,
)

pytestmark = pytest.mark.slow
Ranks = list[dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The answers of a group of a size, or its error; it runs when first asked for, and once."""
    folder = tmp_path_factory.mktemp("ranks")

    @cache
    def run(size: int) -> Ranks | Exception:
        try:
            return run_group(size, folder)
        except Exception as error:
            return error

    return run


@pytest.fixture(params=[2, 3])
def ranks(request: pytest.FixtureRequest, groups: Any) -> Ranks:
    found: Ranks | Exception = groups(request.param)
    if isinstance(found, Exception):
        raise found
    return found


def alone(tmp_path: Path) -> dict[str, Any]:
    return fits(ALONE, tmp_path)


def history(result: FitResult) -> list[object]:
    return [dataclasses.replace(record, seconds=0.0) for record in result.history]


def same_bits(
    one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], *, but: str = "-"
) -> bool:
    return all(
        torch.equal(value, two[name]) for name, value in one.items() if not name.endswith(but)
    )


# what is shared out


@settings(deadline=None)
@given(st.integers(2, 70), st.integers(1, 9))
def test_shares_are_the_batch_in_order_and_none_is_a_single_image(n: int, size: int) -> None:
    batch = torch.randperm(n)
    shares = [ProcessGroup(rank, size).share(batch) for rank in range(size)]
    assert torch.equal(torch.cat(shares), batch)
    sizes = [len(share) for share in shares if len(share)]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 2 and len(shares[0])
    assert len(sizes) == min(size, n // 2)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 3))
def test_even_parts_are_as_many_as_asked_for_where_the_least_allows_it(
    n: int, count: int, least: int
) -> None:
    parts = even_parts(torch.arange(n), count, least=least)
    assert sum(map(len, parts)) == n and len(parts) == (min(count, max(1, n // least)) if n else 0)
    assert all(len(part) >= min(least, n) and len(part) <= len(parts[0]) for part in parts)


def test_items_are_dealt_round_robin() -> None:
    assert [ProcessGroup(rank, 3).deal("abcdefg") for rank in range(3)] == [
        ["a", "d", "g"],
        ["b", "e"],
        ["c", "f"],
    ]


def test_without_a_group_one_is_alone() -> None:
    assert ProcessGroup.current() == ALONE == ProcessGroup(rank=0, size=1)
    assert (ALONE.each(2.5), ALONE.sum(2.5), ALONE.deal("ab")) == ([2.5], 2.5, ["a", "b"])


def test_what_comes_together(ranks: Ranks) -> None:
    size = len(ranks)
    for rank, answers in enumerate(ranks):
        found = answers["primitives"]
        assert found["world"] == ProcessGroup(rank, size)
        assert found["each"] == [0.1 * (r + 1) for r in range(size)]
        first, second, third = found["gradients"]
        assert torch.equal(first, torch.full((2, 3), size * (size + 1) / 2))
        assert second.tolist() == [5.0, 7.0] and third is None, (
            "no gradient anywhere is none, and not zero"
        )
        assert found["means"][0].tolist() == ([0.0, 4.0] if size == 2 else [1.0, 4.0]), (
            "a rank without weight counts for nothing"
        )
        assert found["means"][1].tolist() == [2.0]
        expected = torch.cat(
            [torch.tensor([[-0.0, torch.inf], [torch.nan, 1e-45]]) * (r + 1) for r in range(size)]
        )
        assert torch.equal(found["joined"].view(torch.int32), expected.view(torch.int32)), (
            "bit for bit"
        )


# training


@pytest.mark.parametrize("n", BATCHES)
def test_the_gradient_of_a_batch_is_one_workers(n: int, ranks: Ranks) -> None:
    """Against plain autograd: the mean cross-entropy of the whole batch."""
    reference, pictures = plain(), images(21)
    p = torch.sigmoid(reference(reference.prepare(torch.from_numpy(pictures.pixels[:n]))))
    loss = F.binary_cross_entropy(p, torch.from_numpy(pictures.label[:n].astype(np.float32)))
    loss.backward()
    for answers in ranks:
        found, gradients = answers["gradients"][str(n)]
        assert found == pytest.approx(loss.item(), abs=1e-6)
        for name, parameter in reference.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-6, msg=name)


def test_a_fit_is_one_workers(ranks: Ranks, tmp_path: Path) -> None:
    expected = alone(tmp_path)
    for answers in ranks:
        for name in ("plain", "head", "balanced", "low rank"):
            found, one = answers["fits"][name]["result"], expected[name]["result"]
            np.testing.assert_allclose(found.val_logit, one.val_logit, rtol=0, atol=1e-4)
            assert (found.best_epoch, found.note, len(found.history)) == (one.best_epoch, "", 4)
            for mine, theirs in zip(found.history, one.history, strict=True):
                assert (mine.phase, mine.learning_rate) == (theirs.phase, theirs.learning_rate)
                assert mine.train_loss == pytest.approx(theirs.train_loss, abs=1e-5)
                assert mine.val_nll == pytest.approx(theirs.val_nll, abs=1e-4)


@pytest.mark.parametrize("name", ["plain", "head", "balanced", "low rank", "tiny"])
def test_all_workers_have_the_same_and_the_first_alone_reports_and_saves(
    name: str, ranks: Ranks
) -> None:
    first, *others = [answers["fits"][name] for answers in ranks]
    assert (first["told"], first["saves"]) == ([0, 1, 2, 3], 4)
    for other in others:
        assert (other["told"], other["saves"]) == ([], 0)
        assert history(other["result"]) == history(first["result"])
        assert np.array_equal(other["result"].val_logit, first["result"].val_logit)
        # How many batches a BatchNorm has seen is each rank's own, and nothing reads it.
        assert same_bits(other["state"], first["state"], but="num_batches_tracked")


def test_each_worker_has_dropout_of_its_own_and_the_first_that_of_one_worker(
    ranks: Ranks, tmp_path: Path
) -> None:
    found = [answers["seeds"]["seen"] for answers in ranks]
    assert len({seed for seen in found for seed in seen}) == 2 * len(ranks)
    assert found[0] == seeds(ALONE, tmp_path)["seen"]


def test_batchnorm_is_averaged_over_images(ranks: Ranks) -> None:
    """By hand: the images' mean, at momentum 0.1 from 0, though the shares of 23 images differ in
    size.
    """
    detector = tiny()
    with torch.no_grad():
        seen = detector.stem[0](detector.prepare(torch.from_numpy(images(23).pixels)))
    for answers in ranks:
        torch.testing.assert_close(
            answers["statistics"]["mean"], 0.1 * seen.mean(dim=(0, 2, 3)), rtol=0, atol=1e-6
        )


def test_a_stopped_fit_goes_on_bit_for_bit_and_reports_its_history_first(ranks: Ranks) -> None:
    """Every worker is stopped where the first one's report is; with BatchNorm, dropout and
    phases.
    """
    for rank, answers in enumerate(ranks):
        again, whole = answers["resumed"], answers["fits"]["tiny"]
        assert again["stopped"] == (
            "by the scheduler" if rank == 0 else "the first worker of this trial was told to stop"
        )
        assert [record.epoch for record in again["first"]] == ([0, 1] if rank == 0 else [])
        assert (again["told"], again["saves"]) == (([0, 1, 2, 3], 2) if rank == 0 else ([], 0))
        assert history(again["result"]) == history(whole["result"])
        assert np.array_equal(again["result"].val_logit, whole["result"].val_logit)
        assert same_bits(again["state"], whole["state"], but="num_batches_tracked")


def test_one_worker_may_be_short_of_memory(ranks: Ranks, tmp_path: Path) -> None:
    """Its micro-batches are its own affair; all say so, and the result is as without."""
    detector, session = plain(), FileSession(tmp_path / "whole")
    expected = outcome(detector, train(detector, session, ALONE), session)["result"]
    for answers in ranks:
        found = answers["short_of_memory"]["result"]
        assert found.note == "micro-batch 1 of 5 after running out of memory"
        np.testing.assert_allclose(found.val_logit, expected.val_logit, rtol=0, atol=1e-4)


def test_an_error_is_everyones(ranks: Ranks) -> None:
    counts = " and ".join(["4"] + ["0"] * (len(ranks) - 1))
    for answers in ranks:
        assert "the loss is" in answers["refused"]["diverged"]
        assert (
            f"found checkpoints of {counts} epochs: put the results on a disk"
            in answers["refused"]["not shared"]
        )


def test_one_workers_checkpoint_is_none_for_several(ranks: Ranks, tmp_path: Path) -> None:
    first = ranks[0]["identities"]
    assert (first["told"], first["saves"]) == ([0], 1), "it began anew, and saved over it"
    assert identities(ALONE, tmp_path)["saves"] == 0, "while one worker finds its own"


# scoring


@pytest.mark.parametrize("n", SPLITS)
def test_every_image_is_scored_once_and_bit_for_bit_as_by_one_worker(n: int, ranks: Ranks) -> None:
    RUNTIME.apply()
    logit = score(tiny(), images(n), runtime=RUNTIME)
    features = compute_features(tiny(), images(n), runtime=RUNTIME, flip=True)
    assert logit.shape == (n,)
    answers = [answers["scores"][str(n)] for answers in ranks]
    assert sum(read for _, read, _ in answers) == n
    assert [read > 0 for _, read, _ in answers] == [
        rank < -(-n // 64) for rank in range(len(ranks))
    ]
    for found, _, rows in answers:
        assert np.array_equal(found, logit) and torch.equal(rows, features)


def test_the_closed_form_is_one_workers_bit_for_bit(ranks: Ranks, tmp_path: Path) -> None:
    expected = logistic(ALONE, tmp_path)
    for rank, answers in enumerate(ranks):
        found = answers["logistic"]
        assert np.array_equal(found["result"].val_logit, expected["result"].val_logit)
        assert same_bits(found["state"], expected["state"])
        assert found["told"] == ([0] if rank == 0 else [])
    assert sum(answers["logistic"]["read"] for answers in ranks) == expected["read"] == 160

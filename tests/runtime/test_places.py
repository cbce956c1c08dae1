"""How a cluster is shared out among jobs, and how a training group's jobs are taken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from study.core.errors import ConfigError
from study.core.failures import Failure
from study.runtime.places import Places, share_out


@pytest.mark.parametrize(
    ("nodes", "threads", "slots", "expected"),
    [
        ([{"CPU": 2}], 1, None, (2, 1, 0)),
        ([{"CPU": 2}], 2, None, (1, 2, 0)),
        ([{"CPU": 2}], 4, None, (1, 2, 0)),  # more threads than cores: one at a time
        ([{"CPU": 7}], 2, None, (3, 2, 0)),
        ([{"CPU": 16}], 1, 3, (3, 1, 0)),
        ([{"CPU": 2}], 1, 64, (2, 1, 0)),  # nothing oversubscribes
        ([{"CPU": 16, "GPU": 1}], 1, None, (1, 1, 1)),
        ([{"CPU": 16, "GPU": 8}], 1, None, (8, 1, 1)),
        ([{"CPU": 16, "GPU": 8}], 4, None, (4, 4, 1)),  # the cores are what is short
        ([{"CPU": 16, "GPU": 2}, {"CPU": 16}], 1, None, (2, 1, 1)),
        ([{"CPU": 3}, {"CPU": 3}], 2, None, (2, 2, 0)),  # a job does not span nodes
        ([{"CPU": 4}, {"CPU": 1, "GPU": 1}], 1, None, (1, 1, 1)),
    ],
)
def test_places(
    nodes: list[dict[str, float]], threads: int, slots: int | None, expected: tuple[int, int, int]
) -> None:
    places = share_out(nodes, threads=threads, slots=slots)
    assert (places.slots, places.cpus, places.gpus) == expected
    assert places.resources == {"cpu": places.cpus} | ({"gpu": 1} if places.gpus else {})


@pytest.mark.parametrize(
    ("node", "gpus", "expected"),
    [
        ({"CPU": 16, "GPU": 1}, 0.5, (2, 1, 0.5)),
        ({"CPU": 16, "GPU": 2}, 0.5, (4, 1, 0.5)),
        ({"CPU": 16, "GPU": 2}, 0.6, (2, 1, 0.6)),  # a part never spans two GPUs
        ({"CPU": 16, "GPU": 2}, 1.0, (2, 1, 1.0)),
        ({"CPU": 3, "GPU": 2}, 0.25, (3, 1, 0.25)),  # the cores are what is short
        ({"CPU": 16, "GPU": 1}, 0.1, (10, 1, 0.1)),
        # Ray counts in ten-thousandths; a third rounded down fits three times
        ({"CPU": 16, "GPU": 1}, 1 / 3, (3, 1, 0.3333)),
        ({"CPU": 16, "GPU": 1}, 1 / 7, (7, 1, 0.1428)),
    ],
)
def test_parts_of_a_gpu(
    node: dict[str, float], gpus: float, expected: tuple[int, int, float]
) -> None:
    places = share_out([node], threads=1, slots=None, gpus_per_trial=gpus)
    assert (places.slots, places.cpus, places.gpus) == expected
    assert places.slots * places.gpus <= node["GPU"]


@pytest.mark.parametrize(
    ("nodes", "threads", "workers", "slots", "expected"),
    [
        ([{"CPU": 2}], 1, 2, None, (1, 1, 0)),
        ([{"CPU": 8}], 2, 2, None, (2, 2, 0)),
        ([{"CPU": 8}], 1, 3, None, (2, 1, 0)),  # whole trials
        ([{"CPU": 8}], 1, 2, 3, (3, 1, 0)),
        # a trial may span nodes, a worker does not
        ([{"CPU": 3}, {"CPU": 3}], 2, 2, None, (1, 2, 0)),
        ([{"CPU": 16, "GPU": 8}], 1, 4, None, (2, 1, 1)),
        ([{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 2}], 4, 4, None, (1, 4, 1)),
    ],
)
def test_places_of_several_workers(
    nodes: list[dict[str, float]],
    threads: int,
    workers: int,
    slots: int | None,
    expected: tuple[int, int, int],
) -> None:
    places = share_out(nodes, threads=threads, slots=slots, workers=workers)
    assert (places.slots, places.cpus, places.gpus) == expected
    assert places.workers == workers
    assert places.slots * workers * places.cpus <= sum(node["CPU"] for node in nodes)


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        (
            [{"CPU": 2}],
            {"threads": 2, "workers": 2},
            (
                "one trial needs 2 workers with 2 CPUs each; the cluster has a node with 2 CPU and"
                " 0 GPU: lower run.workers_per_trial"
            ),
        ),
        (
            [{"CPU": 16, "GPU": 1}],
            {"threads": 1, "workers": 2},
            (
                "one trial needs 2 workers with 1 CPU and 1 GPU each; the cluster has a node with"
                " 16 CPU and 1 GPU: lower"
            ),
        ),
        (
            [{"CPU": 4}, {"CPU": 2}],
            {"threads": 1, "gpus_per_trial": 0.5},
            (
                "one trial needs 1 CPU and 0.5 GPU; the cluster has a node with 4 CPU and 0 GPU, a"
                " node with 2 CPU and 0 GPU: leave "
            ),
        ),
        (
            [{"CPU": 4}, {"GPU": 1}],
            {"threads": 1},
            "one trial needs 1 CPU and 1 GPU; the cluster has a node with 4 CPU and 0 GPU, ",
        ),
        (
            [{"CPU": 0}],
            {"threads": 1},
            (
                "one trial needs 1 CPU; the cluster has a node with 0 CPU and 0 GPU: join another"
                " cluster"
            ),
        ),
    ],
)
def test_a_cluster_too_small_for_one_trial_is_refused(
    nodes: list[dict[str, float]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        share_out(nodes, slots=None, **options)
    assert str(caught.value).startswith(message)


def test_a_worker_keeps_to_its_share_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from study.runtime.tune import keep_to_share

    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    for present in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        for gpus in (0.0, 0.25, 1.0):
            keep_to_share(gpus)
    assert shares == [0.25]


def test_places_are_plain_values() -> None:
    assert Places(slots=1, cpus=2, gpus=0) == share_out(
        [{"CPU": 2.0, "memory": 1e9}], threads=2, slots=1
    )


def test_a_job_is_taken_once_however_many_try(tmp_path: Path) -> None:
    from study.runtime.train import Ledger

    ledger = Ledger(tmp_path / "ledger")
    with ThreadPoolExecutor(8) as pool:
        for index in range(20):
            assert sum(pool.map(lambda rank, index=index: ledger.take(index, rank), range(8))) == 1


def test_the_ledger_tells_who_holds_what_and_how_it_ended(tmp_path: Path) -> None:
    from study.runtime.train import Ledger

    ledger = Ledger(tmp_path)
    assert [ledger.take(0, 1), ledger.take(1, 0), ledger.take(2, 1), ledger.take(2, 0)] == [
        True,
        True,
        True,
        False,
    ]
    failures = {"one": Failure(type="ValueError", message="x")}
    ledger.end(0, {})
    ledger.end(1, failures)
    other = Ledger(tmp_path)  # another process
    assert [other.failures(index) for index in range(4)] == [{}, failures, None, None]
    assert (other.held_by(0, 4), other.held_by(1, 4), other.held_by(2, 4)) == (None, 2, None)
    other.close()
    assert not ledger.take(3, 0)


def test_a_train_worker_computes_on_the_gpu_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray.train.torch
    import torch

    from study.runtime.group import use_own_gpu

    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cuda:3"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    use_own_gpu()
    assert chosen == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    use_own_gpu()
    assert chosen == [torch.device("cuda:3")]

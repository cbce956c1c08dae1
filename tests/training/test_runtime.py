"""Where torch computes: wishes turned into what the machine has, or one-line errors."""

from __future__ import annotations

import pytest
import torch

from study.core.errors import ConfigError
from study.training import runtime as module
from study.training.runtime import TorchRuntime


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"threads": 0}, "threads = 0"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
    ],
)
def test_what_cannot_be_had_is_an_error(wish: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TorchRuntime.resolve(**wish)  # type: ignore[arg-type]


def test_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: False)
    assert TorchRuntime.resolve(device="cpu").precision == "float32"
    with pytest.raises(ConfigError, match="precision 'bfloat16' is not in this machine's cpu"):
        TorchRuntime.resolve(device="cpu", precision="bfloat16")
    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: True)
    assert TorchRuntime.resolve(device="cpu").precision == "bfloat16"
    assert TorchRuntime.resolve(device="cpu", precision="float32").precision == "float32"


def test_applying_sets_threads_and_determinism() -> None:
    TorchRuntime.resolve(device="cpu", threads=2).apply()
    assert torch.get_num_threads() == 2 and torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32


def test_an_epochs_generators_follow_from_seed_and_epoch() -> None:
    def draws(seed: int, epoch: int) -> tuple[float, float]:
        generator = TorchRuntime.seed_epoch(seed, epoch)
        return torch.rand(1).item(), torch.rand(1, generator=generator).item()

    assert draws(1, 2) == draws(1, 2)
    assert len({draws(seed, epoch) for seed in (1, 2, 3) for epoch in (0, 1, 2)}) == 9
    assert draws(1, 2)[0] != draws(1, 2)[1]


def test_workers_share_the_order_and_have_dropout_of_their_own() -> None:
    def draws(*rank: int) -> tuple[float, float]:
        generator = TorchRuntime.seed_epoch(1, 2, *rank)
        return torch.rand(1).item(), torch.rand(1, generator=generator).item()

    assert draws(0) == draws()
    layers, order = zip(*(draws(rank) for rank in range(4)), strict=True)
    assert len(set(layers)) == 4 and len(set(order)) == 1

"""Where and how torch computes: device, threads, precision, determinism.

Threads and precision change results in the last digits, so both belong to what identifies a trial;
neither is ever derived from how many trials run side by side. So does the kind of device. It is
known where a trial runs alone (the plan may be made on a node without a GPU), so it is in no
trial's key but in its record, and a checkpoint of another kind is begun anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from study.core.errors import ConfigError, unknown_name
from study.core.identity import derive_seed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from study.detectors.base import Detector

PRECISIONS = ("auto", "float32", "bfloat16")
# x86: without them bfloat16 is emulated, and slower than float32
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


@cache
def cpu_has_bfloat16() -> bool:
    """Say whether this processor multiplies bfloat16 matrices (Linux on x86; elsewhere False)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(BF16_FLAGS & set(flags.split()))


@cache
def keep_memory() -> None:
    """Let this process keep the memory that large tensors give back (glibc; elsewhere nothing).

    By default glibc maps each large block anew and gives it back at once, and the kernel clears
    every page again. Activations of a convolution are such blocks: an image of 224 pixels took
    MobileNet 11.4 ms, and takes 2.9 ms so, with the same bits. The process stays at its peak.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class TorchRuntime:
    """device: `cpu`, `cuda` or `cuda:N`. threads: on the CPU. precision: of forward passes."""

    device: str
    threads: int
    precision: Literal["float32", "bfloat16"]

    @classmethod
    def resolve(
        cls, device: str = "auto", threads: int = 1, precision: str = "auto"
    ) -> TorchRuntime:
        """Turn wishes into what this machine has. `auto`: CUDA where there is one; bfloat16 where
        the hardware multiplies it.

        Raises ConfigError for a device, a number of threads or a precision that cannot be had.
        """
        if device != "auto" and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise ConfigError(unknown_name("device", device, ("auto", "cpu", "cuda", "cuda:N")))
        present = torch.cuda.is_available()
        chosen = ("cuda" if present else "cpu") if device == "auto" else device
        if chosen.startswith("cuda") and (
            not present or int(chosen.partition(":")[2] or 0) >= torch.cuda.device_count()
        ):
            raise ConfigError(
                f"device '{chosen}' is not there ({torch.cuda.device_count()} CUDA devices): choose"
                " 'cpu' or 'auto'"
            )
        if threads < 1:
            raise ConfigError(f"threads = {threads}: give a whole number from 1 on")
        if precision not in PRECISIONS:
            raise ConfigError(unknown_name("precision", precision, PRECISIONS))
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if chosen != "cpu"
            else cpu_has_bfloat16()
        )
        if precision == "bfloat16" and not fast:
            raise ConfigError(
                f"precision 'bfloat16' is not in this machine's {chosen}: choose 'float32' or"
                " 'auto'"
            )
        bf16 = fast if precision == "auto" else precision == "bfloat16"
        return cls(device=chosen, threads=threads, precision="bfloat16" if bf16 else "float32")

    @property
    def kind(self) -> str:
        """Return the kind of device, `cpu` or `cuda`: on one kind a fit always gives one result."""
        return torch.device(self.device).type

    def apply(self) -> None:
        """Set this process's torch: threads, deterministic algorithms, float32 without TF32."""
        # cuBLAS is deterministic with this setting alone, and reads it at its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_num_threads(self.threads)
        if self.device == "cpu":
            keep_memory()
        # On a GPU an operation without a deterministic kernel warns instead of ending the study. Of
        # the detectors that ship none is known to have one; a network of timm or open_clip may, and
        # then a repetition on a GPU differs in its last digits.
        # (`use_deterministic_algorithms` does the same, and imports torch's compiler for 1.4 s.)
        torch.set_deterministic_debug_mode("error" if self.device == "cpu" else "warn")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over every tensor
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False

    def place(self, detector: Detector) -> None:
        """Move a detector to the device, in channels_last where convolutions dominate; in place."""
        detector.to(self.device)
        if detector.channels_last:
            detector.to(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of training's forward passes: bfloat16 autocast, or float32."""
        return torch.autocast(self.kind, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    @staticmethod
    def seed_epoch(seed: int, epoch: int, rank: int = 0) -> torch.Generator:
        """Seed torch's own generators for one epoch (dropout) and return another for the order of
        images and flips.

        Everything random follows from (seed, epoch), so that an epoch run after an interruption is
        the same epoch. Workers that train together have the same order and flips; each has the
        dropout of its `rank`.
        """
        torch.manual_seed(derive_seed("layers", seed, epoch, *([rank] if rank else [])))
        return torch.Generator().manual_seed(derive_seed("images", seed, epoch))

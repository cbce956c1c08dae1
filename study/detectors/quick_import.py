"""Importing torchvision, timm and open_clip without torch's compiler.

At their import torchvision asks torch._dynamo for one function, and timm marks one class as not to
be compiled. Each loads the whole compiler: 1.3 s of a processor, in every process. Nothing here is
ever compiled.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

HEAVY = "torch._dynamo.utils"


class _Later(ModuleType):
    """In the place of the heavy module. Any name but the one that torchvision asks for loads it."""

    @staticmethod
    def is_compile_supported(device_type: Any) -> bool:
        """Answer as torch._dynamo does; called by functions that are compiled."""
        return bool(importlib.import_module(HEAVY).is_compile_supported(device_type))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _give_way()
        return getattr(importlib.import_module(HEAVY), name)


def _give_way() -> None:
    if isinstance(sys.modules.get(HEAVY), _Later):
        del sys.modules[HEAVY]


def _as_it_is(function: Any = None, **_: Any) -> Any:
    return function if function is not None else _as_it_is


@contextmanager
def without_compiler() -> Iterator[None]:
    """Import within the block; where the compiler is loaded already, as ever."""
    if "torch._dynamo" in sys.modules:
        yield
        return
    import torch  # names and spaces are read without it

    disable = torch.compiler.disable
    sys.modules[HEAVY] = _Later(HEAVY)
    torch.compiler.disable = _as_it_is  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = disable
        _give_way()

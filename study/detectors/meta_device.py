"""Networks without numbers: what a weights file has to bring is on torch's meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

META = torch.device("meta")
# what starting values are drawn by
DRAWS = (
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
)


class _NothingDrawn(TorchFunctionMode):
    """Random starting values are not drawn into tensors that hold no numbers. On the meta device
    torch runs each draw in Python, and loads its compiler for it: 0.5 to 1.5 s for a network.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.device == META:
                return tensor
        return func(*args, **kwargs)


def empty(build: Callable[[], nn.Module]) -> nn.Module:
    """Return what `build` makes, without memory for parameters and saved buffers: they stay empty
    until a file fills them.

    What a network computes when it is built and never saves (indices of relative positions, rotary
    frequencies) has its numbers. A network that has such tensors is built twice: on the meta
    device, to learn of them, and then with them in memory.
    """
    with META, _NothingDrawn():
        network = build()
    if not any(True for _ in _computed(network)):
        return network
    network = _in_memory(build)
    kept = [
        (module, name, tensor)
        for module, name, tensor in _computed(network)
        if name in module._buffers
    ]
    network.to(META)
    for module, name, tensor in kept:
        module._buffers[name] = tensor
    return network


def _in_memory(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network whose computed tensors have numbers, without drawing random parameters where
    these do not depend on them.
    """
    try:
        with _parameters_left_empty():
            network = build()
    except NotImplementedError:  # it computes from a parameter, or on the device of one
        return build()
    return build() if any(tensor.device == META for _, _, tensor in _computed(network)) else network


@contextmanager
def _parameters_left_empty() -> Iterator[None]:
    """Put every parameter on the meta device as a module takes it: none is drawn for nothing."""
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        # one that two modules share stays one
        if parameter is not None and parameter.device != META:
            parameter = nn.Parameter(
                parameter.detach().to(META), requires_grad=parameter.requires_grad
            )
        register(module, name, parameter)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _computed(network: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Every tensor that the state of a network does not hold: (module, attribute, tensor)."""
    for module in network.modules():
        unsaved = module._non_persistent_buffers_set
        yield from (
            (module, name, b)
            for name, b in module._buffers.items()
            if b is not None and name in unsaved
        )
        yield from (
            (module, name, value)
            for name, value in vars(module).items()
            if isinstance(value, Tensor)
        )


def is_convolutional(network: nn.Module) -> bool:
    """Say whether a network works on maps. A transformer has one convolution, on its patches."""
    return sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 1

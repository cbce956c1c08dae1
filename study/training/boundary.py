"""A network in two: what is below the frozen boundary is computed once, what is above it learns.

While a schedule trains the last stages alone, everything below them gives an image the same values
in every epoch and trial, as a frozen body gives features. The network's own forward is traced
(torch.fx) as far down as modules whose parameters are all trained or all frozen. What depends on a
trained parameter is above the boundary. What crosses it must be one tensor with a row an image, or
the same for every batch, as the rotary positions of a transformer are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from study.detectors.base import Detector
from study.training.features import Layer
from study.training.runtime import TorchRuntime


@dataclass(frozen=True)
class Boundary:
    """A detector's features in two steps. Its modules are the detector's own.

    below: prepared images (B, 3, S, S) to what crosses the boundary (B, ...). above: that to
    features (B, D). row_bytes: of what crosses for an image, in float32.
    """

    below: nn.Module
    above: nn.Module
    row_bytes: int

    def layer(self, stages: int, runtime: TorchRuntime) -> Layer:
        """Return what crosses, as something to keep, in the precision of `runtime`. stages: that
        are above it.
        """

        def run(_: Detector, x: Tensor) -> Tensor:
            with runtime.autocast():
                return cast(Tensor, self.below(x))

        size, name = self.row_bytes, f"below {stages} stages, {runtime.precision}"
        return Layer(name, run, lambda _: size, made_by=(find_boundary, Boundary))


class _Features(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Tensor:
        return self.detector.features(x)


class _Tracer(fx.Tracer):
    """Does not look into a module whose parameters are all trained, or all frozen."""

    def __init__(self, trained: set[int]) -> None:
        super().__init__()
        self.trained = trained

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return len({id(p) in self.trained for p in m.parameters()}) < 2


def find_boundary(detector: Detector, stages: int, example: Tensor) -> Boundary | None:
    """Cut a detector whose first `stages` stages (from the head on) are trained; None where its
    forward cannot be traced, or more than one tensor crosses.

    example: two prepared images (2, 3, S, S), on the detector's device. The detector is as
    `schedules.freeze` left it: tracing writes down what its layers do in their mode.
    """
    learning = (p for stage in detector.stages()[:stages] for p in stage.all_parameters())
    trained = {id(parameter) for parameter in learning}
    root = _Features(detector)
    try:
        graph = _Tracer(trained).trace(root)
    except Exception:  # a forward that decides by the values of tensors fails in any way
        return None
    above = _above(graph, root, trained)
    if not above:
        return None
    crossing = [
        node for node in graph.nodes if node not in above and any(u in above for u in node.users)
    ]
    values = _values(root, graph, crossing, example)
    if values is None:
        return None
    rows = [node for node, constant in zip(crossing, values, strict=True) if constant is None]
    if len(rows) != 1:
        return None
    constants = dict(zip(crossing, values, strict=True))
    below, above_it = _halves(root, graph, above, rows[0], constants)
    with torch.no_grad():
        one = below(example[:1])
    return Boundary(below, above_it, one.numel() * 4)


def _above(graph: fx.Graph, root: nn.Module, trained: set[int]) -> set[fx.Node]:
    """The nodes that depend on a trained parameter, the output among them."""
    modules, found = dict(root.named_modules()), set()
    for node in graph.nodes:
        own: Sequence[Any] = ()
        if node.op == "call_module":
            module = modules[str(node.target)]
            # a layer without parameters learns too where it is in training, as dropout is
            live = any(one.training for one in module.modules())
            own = list(module.parameters())
            if live:
                found.add(node)
        elif node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            own = [getattr(modules[owner], name)]
        if any(id(one) in trained for one in own) or any(i in found for i in node.all_input_nodes):
            found.add(node)
    return found


@torch.no_grad()
def _values(
    root: nn.Module, graph: fx.Graph, crossing: Sequence[fx.Node], example: Tensor
) -> list[Any] | None:
    """What crosses and is the same for one image and for two; None in its place for a tensor with a
    row an image. None for all where something is neither.
    """
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.op != "output":
            copies[node] = part.node_copy(node, lambda one: copies[one])
        if all(one in copies for one in crossing):
            break
    part.output(tuple(copies[node] for node in crossing))
    run = fx.GraphModule(root, part)
    found: list[Any] = []
    for one, two in zip(run(example[:1]), run(example), strict=True):
        if not isinstance(one, Tensor):
            return None  # a size, perhaps that of the batch
        if one.shape == two.shape and torch.equal(one, two):
            found.append(one)
        elif one.ndim and (len(one), len(two)) == (1, 2) and one.shape[1:] == two.shape[1:]:
            found.append(None)
        else:
            return None
    return found


def _halves(
    root: nn.Module,
    graph: fx.Graph,
    above: set[fx.Node],
    row: fx.Node,
    constants: dict[fx.Node, Any],
) -> tuple[nn.Module, nn.Module]:
    lower, upper = fx.Graph(), fx.Graph()
    low: dict[fx.Node, fx.Node] = {}
    high: dict[fx.Node, fx.Node] = {row: upper.placeholder("crossing")}
    held = nn.Module()
    held.detector = root.detector
    for number, (node, value) in enumerate(constants.items()):
        if node is not row:
            held.register_buffer(f"constant{number}", value, persistent=False)
            high[node] = upper.get_attr(f"constant{number}")
    for node in graph.nodes:
        if node in above:
            high[node] = upper.node_copy(node, lambda one: high[one])
        elif node.op != "output" and row not in low:
            low[node] = lower.node_copy(node, lambda one: low[one])
    lower.output(low[row])
    return (
        fx.GraphModule(root, cast("Any", lower)),
        fx.GraphModule(held, cast("Any", upper)),
    )

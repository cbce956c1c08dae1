"""Stages found from a network's own structure: parameters grouped by depth become modules that are
frozen or trained as one.

The grouping comes from the library (timm's `group_matcher`) or from a function of a
parameter's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from study.detectors.base import Stage

CLASSIFIER = "(classifier)"


class _BesideClassifier:
    """A network's parameter names, then one that no `group_matcher` names, as a classifier's."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def named_parameters(self) -> Iterator[tuple[str, object]]:
        yield from self.network.named_parameters()
        yield CLASSIFIER, None


def timm_depths(network: nn.Module) -> dict[str, int]:
    """Map every parameter name of a headless timm network to its depth, 0 for the stem.

    The depth is that of timm's own coarse `group_matcher`. Where a network has none, or one that
    leaves parameters out, it is the place among the modules that its `feature_info` names, and
    without those among its children.
    """
    depths = _matched_depths(network)
    names = [name for name, _ in network.named_parameters()]
    if depths.keys() == set(names) and len(set(depths.values())) > 1:
        return depths
    info = getattr(network, "feature_info", None) or []
    modules = dict.fromkeys(
        str(level["module"]) for level in info if isinstance(level, dict) and level.get("module")
    )
    by_features = depths_in_order(names, list(modules))
    if len(set(by_features.values())) > 1:
        return by_features
    return depths_in_order(
        names,
        [name for name, child in network.named_children() if any(True for _ in child.parameters())][
            1:
        ],
    )


def _matched_depths(network: nn.Module) -> dict[str, int]:
    """Depths by `group_matcher`, or {} where it has none that can be used.

    timm puts what no rule names into one last group, with the classifier: a norm between the last
    block and the classifier is there. Here it goes with the last block, since a detector's head is
    its linear layer alone.
    """
    from timm.models import group_parameters

    try:
        matcher = network.group_matcher(coarse=True)  # type: ignore[operator]
        depths: dict[str, int] = group_parameters(_BesideClassifier(network), matcher, reverse=True)  # type: ignore[arg-type]
    except (AttributeError, AssertionError):  # it has no rules, or none for whole stages
        return {}
    classifier = depths.pop(CLASSIFIER)
    return {name: min(depth, classifier - 1) for name, depth in depths.items()}


def depths_in_order(names: Sequence[str], modules: Sequence[str]) -> dict[str, int]:
    """Depth per parameter name, in the order they were registered: 0 until the first of `modules`
    begins, then one more for each.

    What stands between two modules goes with the one before it, and what follows the last one with
    that.
    """
    depths, depth = {}, 0
    for name in names:
        begun = [
            place for place, module in enumerate(modules, start=1) if name.startswith(f"{module}.")
        ]
        depth = max([depth, *begun])
        depths[name] = depth
    return depths


def stages_by_depth(network: nn.Module, depth: Mapping[str, int]) -> tuple[Stage, ...]:
    """Turn a depth per parameter name (0 = stem) into stages, the deepest first.

    A stage holds the largest modules whose parameters all share its depth, so that BatchNorm,
    dropout and stochastic depth inside them follow the stage, and apart from them the parameters
    that a larger module owns directly. A module that stands in two places is taken once, where it
    comes first.
    """
    depth_of = {id(parameter): depth[name] for name, parameter in network.named_parameters()}
    seen: set[int] = set()
    modules: dict[int, list[nn.Module]] = {}
    loose: dict[int, list[nn.Parameter]] = {}
    names: dict[int, str] = {}

    def visit(module: nn.Module, prefix: str) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        depths = {depth_of[id(parameter)] for parameter in module.parameters()}
        if len(depths) == 1:
            (value,) = depths
            modules.setdefault(value, []).append(module)
            names.setdefault(value, prefix.rstrip(".") or type(module).__name__.lower())
            return
        for parameter in module.parameters(recurse=False):
            loose.setdefault(depth_of[id(parameter)], []).append(parameter)
        for name, child in module.named_children():
            visit(child, f"{prefix}{name}.")

    visit(network, "")
    order = sorted(set(depth.values()), reverse=True)
    named = {
        value: (
            "stem" if value == order[-1] and len(order) > 1 else names.get(value, f"depth{value}")
        )
        for value in order
    }
    return tuple(Stage(named[d], tuple(modules.get(d, ())), tuple(loose.get(d, ()))) for d in order)


def part_alone(network: nn.Module, name: str, kind: type[nn.Module]) -> tuple[Stage, Stage]:
    """Return a stage of all modules of a class, and the stem with every other parameter: for a
    network of which the first alone are trained, wherever they stand.
    """
    modules = tuple(module for module in network.modules() if isinstance(module, kind))
    inside = {id(p) for module in modules for p in module.parameters()}
    rest = tuple(p for p in network.parameters() if id(p) not in inside)
    return Stage(name, modules), Stage("stem", (), rest)

"""A detector's geometry as a graph of ONNX: the same pixels that `fit_geometry` gives, bit for bit.

ONNX's own `Resize` rounds its weights otherwise than Pillow, and is a grey level off in one pixel
of a thousand. So the weights are computed in the graph as Pillow computes them: in float64, then as
whole numbers of 22 bits. They are cut into parts of 7 bits, which `MatMulInteger` multiplies with
pixels without loss on every processor, and put together as int64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from study.core.records import Geometry

IMAGE, SQUARE = "image", "square"
BITS = 22  # of Pillow's weights
PART_BITS, PARTS = 7, 4
Constant = Callable[[float], str]  # gives the name of a constant, float64
CUBIC = -0.5  # Pillow's parameter of the bicubic kernel


class Nodes:
    """Nodes of a graph, in order. Calling it adds one and gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._numbers = itertools.count()

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        name = f"prepare_{next(self._numbers)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Add a constant; return its name."""
        name = f"prepare_{next(self._numbers)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name


def preparation(geometry: Geometry) -> GraphProto:
    """Return the graph from `image`, uint8 RGB (N, H, W, 3) of any size, to `square`, what the
    detector sees of it: uint8 (N, size_px, size_px, 3).
    """
    add = Nodes()
    size = geometry.size_px
    shape = add("Shape", IMAGE)
    height, width = (add("Gather", shape, add.constant(axis)) for axis in (1, 2))
    if geometry.mode == "squash":
        sides = (add.constant(size), add.constant(size))
        square = _resized(add, IMAGE, (height, width), sides, geometry.interpolation)
    else:
        image, sides = IMAGE, (height, width)
        if geometry.mode == "resize_crop":
            short, wanted = add("Min", height, width), add.constant(geometry.resize_px)
            target = tuple(add("Div", add("Mul", wanted, side), short) for side in sides)
            sides = (target[0], target[1])
            image = _resized(add, IMAGE, (height, width), sides, geometry.interpolation)
        if geometry.mode == "pad":
            long, wanted = add("Max", height, width), add.constant(size)
            one, other = (add("Div", add("Mul", wanted, side), long) for side in sides)
            sides = add("Max", one, add.constant(1)), add("Max", other, add.constant(1))
            image = _resized(add, IMAGE, (height, width), sides, geometry.interpolation)
        black = geometry.mode in ("crop_black", "pad", "native")
        square = image
        for axis, length in zip((1, 2), sides, strict=True):
            square = _centred(add, square, axis, length, size, black=black)
    add.nodes.append(helper.make_node("Identity", [square], [SQUARE]))
    return helper.make_graph(
        add.nodes,
        "preparation",
        [_pixels(IMAGE, "height", "width")],
        [_pixels(SQUARE, size, size)],
        initializer=add.constants,
    )


def _pixels(name: str, height: int | str, width: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", height, width, 3])


def _resized(
    add: Nodes, image: str, sides: tuple[str, str], wanted: tuple[str, str], interpolation: str
) -> str:
    """Images (N, H, W, 3) resized as Pillow does it: rows first, rounded, then columns."""
    (height, width), (new_height, new_width) = sides, wanted
    rows = add("Transpose", image, perm=[0, 3, 1, 2])
    wide = _along_last(add, rows, width, new_width, interpolation)
    columns = add("Transpose", wide, perm=[0, 1, 3, 2])
    both = _along_last(add, columns, height, new_height, interpolation)
    return add("Transpose", both, perm=[0, 3, 2, 1])


def _along_last(add: Nodes, pixels: str, length: str, wanted: str, interpolation: str) -> str:
    """Pixels (..., length) to (..., wanted) uint8."""
    weights = _weights(add, length, wanted, interpolation)
    parts, rest = [], weights
    base, half = add.constant(1 << PART_BITS), add.constant(1 << (PART_BITS - 1))
    for _ in range(PARTS):
        part = add("Sub", add("Mod", add("Add", rest, half), base), half)
        parts.append(add("Cast", part, to=TensorProto.INT8))
        rest = add("Div", add("Sub", rest, part), base)
    total = add.constant(1 << (BITS - 1))
    for number, part in enumerate(parts):
        product = add("Cast", add("MatMulInteger", pixels, part), to=TensorProto.INT64)
        scaled = add("Mul", product, add.constant(1 << (PART_BITS * number)))
        total = add("Add", total, scaled)
    zero, most = add.constant(0), add.constant(255)
    # what is below 0 is cut before it is divided: the division rounds towards 0
    level = add("Div", add("Max", total, zero), add.constant(1 << BITS))
    return add("Cast", add("Min", level, most), to=TensorProto.UINT8)


def _weights(add: Nodes, length: str, wanted: str, interpolation: str) -> str:
    """Pillow's weights (length, wanted) in units of 2^-22, int64."""

    def number(value: float) -> str:
        return add.constant(value, np.float64)

    def steps(count: str, axis: int) -> str:
        whole = add("Range", add.constant(0), count, add.constant(1))
        middle = add("Add", add("Cast", whole, to=TensorProto.DOUBLE), number(0.5))
        return add("Unsqueeze", middle, add.constant([axis]))

    ends = (add("Cast", one, to=TensorProto.DOUBLE) for one in (length, wanted))
    scale = add("Div", *ends)
    narrow = add("Div", number(1), add("Max", scale, number(1)))
    apart = add("Sub", steps(length, 1), add("Mul", steps(wanted, 0), scale))
    far = add("Abs", add("Mul", apart, narrow))
    weight = (_cubic if interpolation == "bicubic" else _triangle)(add, far, number)
    share = add("Div", weight, add("ReduceSum", weight, add.constant([0])))
    nearest = add("Floor", add("Add", add("Mul", share, number(1 << BITS)), number(0.5)))
    return add("Cast", nearest, to=TensorProto.INT64)


def _triangle(add: Nodes, far: str, number: Constant) -> str:
    return add("Max", add("Sub", number(1), far), number(0))


def _cubic(add: Nodes, far: str, number: Constant) -> str:
    """The bicubic kernel of Keys (1981) at distances `far`."""

    def polynomial(*coefficients: float) -> str:
        found = number(coefficients[0])
        for one in coefficients[1:]:
            found = add("Add", add("Mul", found, far), number(one))
        return found

    near = polynomial(CUBIC + 2, -(CUBIC + 3), 0, 1)
    beyond = polynomial(CUBIC, -5 * CUBIC, 8 * CUBIC, -4 * CUBIC)
    inside = add("Where", add("Less", far, number(2)), beyond, number(0))
    return add("Where", add("Less", far, number(1)), near, inside)


def _centred(add: Nodes, image: str, axis: int, length: str, size: int, *, black: bool) -> str:
    """The `size` places in the middle of an axis; beyond the border mirrored, or black."""
    zero, one, two = (add.constant(value) for value in (0, 1, 2))
    spare = add("Sub", length, add.constant(size))
    left = add("Div", spare, two)  # towards 0, so that what is missing is halved too
    # the middle of an odd rest is rounded to the even number
    odd = add("Mul", add("Mod", spare, two), add("Mod", left, two))
    first = add("Where", add("Less", spare, zero), left, add("Add", left, odd))
    places = add("Add", add.constant(np.arange(size)), first)
    last = add("Sub", length, one)
    if black:
        held = add("Gather", image, add("Max", add("Min", places, last), zero), axis=axis)
        inside = add("And", add("Less", places, length), add("Less", add.constant(-1), places))
        shape = [1, 1, 1, 1]
        shape[axis] = size
        mask = add("Reshape", inside, add.constant(shape))
        return add("Where", mask, held, add.constant(0, np.uint8))
    period = add("Mul", last, two)
    # of one pixel the period is 0: every place is the first
    folded = add("Mod", places, add("Max", period, one))
    return add("Gather", image, add("Min", folded, add("Sub", period, folded)), axis=axis)

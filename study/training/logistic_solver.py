"""Logistic regressions on the same features, one or a thousand, each to its minimum.

Newton's method in float64. Each of its steps is solved by conjugate gradients in float32, for all
problems at once: one multiplication by the features serves them all. A direct method would make and
factor a D x D matrix for each problem and step, which costs as much as hundreds of those
multiplications.

What makes the conjugate gradients few depends on how many problems there are
(benchmarks/README.md):

* For many the features are turned to their principal axes. A few large directions, and where there
  are fewer images than features most of the width, then cost nothing more.
* For a few the axes would cost more than they save. Their largest are found by random projection,
  where there are more images than features and the penalty is small.

So the same problem has the same solution, bit for bit, in the same call, and up to rounding in
another.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-10
"""Of the mean loss's gradient. At scikit-learn's 1e-4, where the classes can be parted and C is
large, L-BFGS stops after a dozen steps, at the same head for every such C."""
TILE = 16  # the features' width is padded to a multiple, for the processor's sake
MANY = 16  # problems for which the principal axes pay
AT_ONCE = 64  # problems: their margins then stay in a processor's cache
NEWTON_STEPS, INNER_STEPS, LINE_STEPS = 100, 2000, 30
RANK = 128  # axes found by random projection
# Above it, of the features' squares over the penalty, finding these is worth it.
ILL_CONDITIONED = 2e4
_LOG = logging.getLogger(__name__)


def solve(
    features: Tensor, label: Tensor, strength: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the weights (K, D) and biases (K,) of K logistic regressions on features (N, D).

    All are float64, on one device. label: (K, N) in {0, 1}. strength: (K,), inverse L2 strengths C.
    weight: of the images, (N,) or (K, N), 1 each if None.
    Each minimises C x the weighted sum of the images' losses + half the squared norm of its
    weights, as scikit-learn's does. The bias is not penalised.
    """
    data = _Data.of(features, float(strength.max()), many=len(label) >= MANY)
    weight = torch.ones_like(label) if weight is None else weight.expand(label.shape)
    heads = data.x.new_zeros(len(label), data.x.shape[1])
    order = torch.argsort(strength, stable=True)  # those of one chunk take alike many steps
    for chunk in torch.split(order, AT_ONCE):
        heads[chunk] = _Newton(data, label[chunk], strength[chunk], weight[chunk]).run()
    weights = heads[:, : data.width]
    return weights if data.axes is None else weights @ data.axes.T, heads[:, data.width]


@dataclass(frozen=True)
class _Data:
    """Features and a column of ones for the bias, padded: (N, D') in float64 and float32.

    width: of the features as they are here, where the column of ones is. axes: (D, width) that
    they were turned to, or None. squares: (D',) of the columns, as the preconditioner takes them.
    largest: (D', R) orthonormal, the largest axes where they were not turned; above: (R,) their
    squares.
    """

    x: Tensor
    single: Tensor
    width: int
    squares: Tensor
    axes: Tensor | None = None
    largest: Tensor | None = None
    above: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, strength: float, *, many: bool) -> _Data:
        images, width = features.shape
        total = float(torch.linalg.vector_norm(features)) ** 2
        axes = _axes(features) if many else None
        turned = features if axes is None else features @ axes
        wide = turned.shape[1]
        x = features.new_zeros(images, wide + 1 + (-wide - 1) % TILE)
        x[:, :wide], x[:, wide] = turned, 1.0
        single = x.float()
        if axes is not None:
            return cls(x, single, wide, (single * single).sum(dim=0), axes)
        flat = single.new_full((x.shape[1],), total / width)
        if images < width or strength * total <= ILL_CONDITIONED:
            return cls(x, single, width, flat)
        largest, above = _largest(single, width)
        tail = 2 * max(0.0, total - float(above.sum())) / max(1, width - len(above))
        return cls(x, single, width, flat.fill_(tail), None, largest, above)


def _axes(x: Tensor) -> Tensor:
    """Return the principal axes (D, R) of features (N, D) along which they vary at all."""
    few = len(x) < x.shape[1]
    squares, turn = torch.linalg.eigh(x @ x.T if few else x.T @ x)
    kept = squares > 1e-13 * squares[-1].clamp(min=1e-300)
    turn = turn[:, kept]
    axes: Tensor = x.T @ (turn / squares[kept].sqrt()) if few else turn
    return axes


def _largest(x: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the axes (D', R) along which features (N, D'), the bias left out, are largest, and
    their squares (R,), by random projection (Halko et al., SIAM Review 2011).
    """
    draws = torch.Generator().manual_seed(0)
    test = torch.randn(x.shape[1], min(RANK, width), generator=draws).to(x.device)
    features = torch.arange(x.shape[1], device=x.device) < width
    basis = torch.linalg.qr(features[:, None] * (x.T @ (x @ test)))[0]
    small = x @ basis
    squares, turn = torch.linalg.eigh(small.T @ small)
    return basis @ turn, squares.clamp(min=0)


class _Newton:
    """A chunk of problems under way. Rows are problems; those that have reached their minimum are
    left out of the next step.
    """

    def __init__(self, data: _Data, label: Tensor, strength: Tensor, weight: Tensor) -> None:
        self.data = data
        total = weight.sum(dim=1, keepdim=True)
        self.label, self.weight = label, weight / total
        self.columns = torch.arange(data.x.shape[1], device=label.device)
        penalty = (1 / (strength[:, None] * total)).expand(-1, len(self.columns))
        self.penalty = torch.where(self.columns == data.width, 0.0, penalty)
        self.head, self.margin = torch.zeros_like(self.penalty), torch.zeros_like(label)
        self.first: Tensor | None = None  # the largest entry of the gradient at 0

    def run(self) -> Tensor:
        """Return the heads (K, D')."""
        found, places = self.head.clone(), torch.arange(len(self.head), device=self.head.device)
        for _ in range(NEWTON_STEPS):
            error = self.weight * (torch.sigmoid(self.margin) - self.label)
            gradient = error @ self.data.x + self.penalty * self.head
            largest = gradient.abs().amax(dim=1)
            self.first = largest if self.first is None else self.first
            left = largest > TOLERANCE
            found[places] = self.head
            if not left.all():
                for name in ("label", "weight", "penalty", "head", "margin", "first"):
                    setattr(self, name, getattr(self, name)[left])
                places, gradient, largest = places[left], gradient[left], largest[left]
            if not len(places):
                return found
            self._step(gradient, largest)
        _LOG.warning("%d logistic regressions stopped short of their minimum", len(places))
        return found

    def _step(self, gradient: Tensor, largest: Tensor) -> None:
        assert self.first is not None
        scale = gradient.norm(dim=1, keepdim=True)
        share = torch.sigmoid(self.margin)
        curvature = (self.weight * share * (1 - share)).float()
        # the nearer, the better solved, but no better than the last step needs
        wanted = (largest / self.first).sqrt().clamp(max=0.1)
        wanted = torch.maximum(wanted, 0.3 * TOLERANCE / largest).clamp(1e-4, 0.5)
        move = self._conjugate((-gradient / scale).float(), curvature, wanted.float()[:, None])
        move = move.double() * scale
        change = move @ self.data.x.T
        length = self._length(move, change, _dot(gradient, move).abs())
        self.head = self.head + length * move
        self.margin = self.margin + length * change

    def _preconditioner(self, curvature: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the inverse of a model of the Hessian: a diagonal (K, D'), and what is added along
        the largest axes (K, R).
        """
        mean, data = curvature.mean(dim=1, keepdim=True), self.data
        penalty = self.penalty[:, :1].float()
        of_bias = curvature.sum(dim=1, keepdim=True).clamp(min=1e-30)
        model = torch.where(self.columns == data.width, of_bias, mean * data.squares + penalty)
        if data.above is None:
            return 1 / model, None
        return 1 / model, 1 / (mean * data.above + penalty) - 1 / model[:, :1]

    def _conjugate(self, right: Tensor, curvature: Tensor, wanted: Tensor) -> Tensor:
        """Solve Hessian x = right (K, D') to a share `wanted` (K, 1) of its norm."""
        x, penalty = self.data.single, self.penalty.float()
        diagonal, along = self._preconditioner(curvature)
        axes = self.data.largest

        def precondition(left: Tensor) -> Tensor:
            if axes is None or along is None:
                return left * diagonal
            return left * diagonal + ((left @ axes) * along) @ axes.T

        solution, left = torch.zeros_like(right), right.clone()
        way = conjugate = precondition(left)
        product = _dot(left, way)
        goal = wanted * left.norm(dim=1, keepdim=True)
        going = torch.ones_like(goal, dtype=torch.bool)
        for _ in range(INNER_STEPS):
            bent = ((conjugate @ x.T) * curvature) @ x + penalty * conjugate
            bend = _dot(conjugate, bent)
            going = going & (bend > 0)  # float32 has its end
            size = torch.where(going, product / bend, 0.0)
            solution += size * conjugate
            left -= size * bent
            going = going & (left.norm(dim=1, keepdim=True) > goal)
            if not going.any():
                break
            way = precondition(left)
            before, product = product, _dot(left, way)
            conjugate = way + (product / before) * conjugate
        return solution

    def _length(self, move: Tensor, change: Tensor, steepest: Tensor) -> Tensor:
        """Return how far to go along a move (K, 1): 1 where that is near the minimum on the way,
        else found by Newton's method within bounds.

        change: of the margins. steepest: the slope at the beginning.
        """
        slope_of_penalty = _dot(self.penalty * self.head, move)
        bend_of_penalty = _dot(self.penalty * move, move)

        def slope_at(length: Tensor) -> tuple[Tensor, Tensor]:
            share = torch.sigmoid(self.margin + length * change)
            slope = _dot(self.weight * (share - self.label), change) + slope_of_penalty
            bend = _dot(self.weight * share * (1 - share) * change, change) + bend_of_penalty
            return slope + length * bend_of_penalty, bend

        low = torch.zeros_like(slope_of_penalty)
        high, length = torch.full_like(low, torch.inf), torch.ones_like(low)
        for _ in range(LINE_STEPS):
            slope, bend = slope_at(length)
            going = slope.abs() > 0.1 * steepest
            if not going.any():
                break
            low = torch.where(slope < 0, length, low)
            high = torch.where(slope < 0, high, length)
            guess = length - slope / bend
            middle = torch.where(high.isinf(), 2 * length, (low + high) / 2)
            better = torch.where((guess > low) & (guess < high), guess, middle)
            length = torch.where(going, better, length)
        return length


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products of rows, (K, 1)."""
    return (a * b).sum(dim=1, keepdim=True)

"""A fit of a linear head on a frozen body, by gradient or to the minimum of a logistic regression.

The features come from the body (features.py) and the outcome from the cache where that has it
(outcomes.py). A fit by gradient takes along others that can be trained in the same matrix
(head_stack.py). Reports come epoch by epoch when the training is over; it takes a tenth of a
second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from study.detectors.base import Detector
from study.detectors.geometries import crops_of
from study.training.balance import Strata, strata_key
from study.training.checkpoints import copies
from study.training.features import FrozenBody
from study.training.head_stack import Head, train_heads
from study.training.logistic import fit_logistic, fit_neighbours
from study.training.outcomes import Trained, once
from study.training.process_group import ALONE, ProcessGroup
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.session import FitResult, Images, Session, report_epoch


def fit_head(
    detector: Detector,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    runtime: TorchRuntime,
    session: Session,
    processes: ProcessGroup = ALONE,
    strata: Strata | None = None,
    body: FrozenBody | None = None,
    beside: Sequence[Recipe] = (),
) -> FitResult | None:
    """Do what `fit` does where that is a linear head alone; None, and nothing done, where it is
    not, and where there is no room for its features or several workers train it by gradient.
    """
    trained: Trained | None = None
    how: dict[str, Any] = {"runtime": runtime, "strata": strata}
    if detector.spec.learner == "logistic":
        how |= {"body": body or FrozenBody.of(detector), "processes": processes}
        if recipe.head == "knn":
            return _neighbours(detector, train, val, session, **how)
        trained = logistic_head(detector, train, val, recipe, beside=beside, **how)
    elif processes.size == 1 and _is_linear_alone(detector, recipe):
        how |= {"body": body or FrozenBody.of(detector), "epochs": epochs, "seed": seed}
        trained = gradient_head(detector, train, val, recipe, beside=beside, **how)
    return None if trained is None else _adopt(detector, trained, session, processes)


def _is_linear_alone(detector: Detector, recipe: Recipe) -> bool:
    linear = isinstance(detector.head, nn.Linear) and detector.head.out_features == 1
    return linear and recipe.trains_head_alone and len(detector.stages()) > 1


def gradient_head(
    detector: Detector,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    runtime: TorchRuntime,
    body: FrozenBody,
    strata: Strata | None = None,
    beside: Sequence[Recipe] = (),
) -> Trained | None:
    """Train a linear head by gradient; None where there is no room for its features.

    beside: recipes that are wanted of the same detector, seed and epochs too. They are trained
    along where they draw the same images.
    """
    wanted = [(val, False), *((train, flip) for flip in recipe.views)]
    if not body.fits(*wanted, runtime=runtime):
        return None
    weight, bias = detector.head.weight.detach().cpu()[0], detector.head.bias.detach().cpu()
    first = Head(
        recipe=recipe, seed=seed, weight=weight, bias=float(bias), label=train.label, strata=strata
    )
    others = [r for r in dict.fromkeys(beside) if r != recipe and _goes_with(r, recipe)]

    def fit(heads: Sequence[Head]) -> list[Trained]:
        looked = [body.of_images(images, flip=flip, runtime=runtime) for images, flip in wanted]
        return train_heads(looked[1:], looked[0], val.label, heads, epochs=epochs, runtime=runtime)

    def inputs(head: Head) -> list[Any]:
        built = hashlib.sha256(weight.numpy().tobytes() + bias.numpy().tobytes()).hexdigest()
        same = [*_inputs(train, val, head.recipe, runtime, strata), epochs, seed]
        return [*same, runtime.precision, built]

    heads = [first, *(replace(first, recipe=other) for other in others)]
    return once(body, fit, heads, inputs, made_by=train_heads)


def logistic_head(
    detector: Detector,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    runtime: TorchRuntime,
    body: FrozenBody,
    processes: ProcessGroup = ALONE,
    strata: Strata | None = None,
    beside: Sequence[Recipe] = (),
) -> Trained:
    """Fit a linear head by logistic regression. Several workers share out the features, and each
    solves the problem.

    beside: recipes that are wanted of the same body too, of other layers for example, and are
    solved along.
    """
    how: dict[str, Any] = {"width": detector.n_features, "crops": crops_of(detector.spec)}
    how |= {"runtime": runtime, "strata": strata}

    def fit(recipes: Sequence[Recipe]) -> list[Trained]:
        return fit_logistic(body, train, val, recipes, processes=processes, **how)

    if processes.size > 1:
        return fit([recipe])[0]
    others = [one for one in dict.fromkeys(beside) if one != recipe and one.head != "knn"]
    return once(
        body,
        fit,
        [recipe, *others],
        lambda one: _inputs(train, val, one, runtime, strata),
        made_by=fit_logistic,
    )


def _neighbours(
    detector: Detector,
    train: Images,
    val: Images,
    session: Session,
    *,
    runtime: TorchRuntime,
    body: FrozenBody,
    processes: ProcessGroup,
    strata: Strata | None,  # a class has as many neighbours as the other, however many images
) -> FitResult:
    """Fit nearest neighbours and tell a session of their one epoch."""
    how: dict[str, Any] = {"crops": crops_of(detector.spec), "processes": processes}
    result = fit_neighbours(body, detector, train, val, runtime=runtime, **how)
    if processes.rank == 0:
        state = {f"head.{name}": held for name, held in detector.head.state_dict().items()}
        session.keep_epoch(0, copies(state))
    report_epoch(session, result.history[0], processes)
    detector.eval()
    return result


def _goes_with(one: Recipe, other: Recipe) -> bool:
    heads = one.trains_head_alone and one.head_width == other.head_width
    return heads and one.draws == other.draws


def _inputs(
    train: Images, val: Images, recipe: Recipe, runtime: TorchRuntime, strata: Strata | None
) -> list[Any]:
    return [train.key, val.key, recipe, runtime.kind, runtime.threads, *strata_key(strata)]


def _adopt(
    detector: Detector, trained: Trained, session: Session, processes: ProcessGroup
) -> FitResult:
    """Tell a session of the epochs that a head had, with each one's in the detector, and leave the
    best one's there.

    Raises DivergedError where its training ended so, and what the session raises.
    """

    def put(epoch: int) -> dict[str, Tensor]:
        weight, bias = torch.from_numpy(trained.weights[epoch]), float(trained.biases[epoch])
        with torch.no_grad():
            detector.head.weight.copy_(weight[None])
            detector.head.bias.fill_(bias)
        return {f"head.{name}": value.detach() for name, value in detector.head.named_parameters()}

    for record in trained.history:
        state = copies(put(record.epoch))
        if processes.rank == 0:
            session.keep_epoch(record.epoch, state)
        report_epoch(session, record, processes)
    trained.check()
    best = trained.history[trained.best_epoch]
    put(best.epoch)
    detector.eval()
    return FitResult(
        history=trained.history,
        best_epoch=trained.best_epoch,
        val_auc=best.val_auc,
        val_nll=best.val_nll,
        val_logit=trained.logit,
    )

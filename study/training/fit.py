"""The training loop: phases of unfreezing, epochs, a checkpoint after each, the best epoch by source val. Floor 2.

It knows neither Ray nor MLflow; whoever runs it is a `Session`. Everything that decides the outcome is in its arguments: the
detector as built, the images, the recipe, epochs, seed, threads and precision.

* The best epoch has the highest source-val AUC; ties go to the lower NLL, then to the earlier epoch.
* Patience counts within the last phase, from its first epoch: a phase with a share of the epochs always gets it, as unfreezing
  usually costs an epoch or two before it pays.
* The last batch is what is left, smaller; a single image left over joins the batch before it, since BatchNorm has no variance
  over one value. No image is dropped or seen twice in an epoch, unless strata are drawn alike often (study/training/balance.py).
* While the head alone is trained, the frozen body's features are computed once (study/training/features.py).
* A checkpoint holds the tensors that the schedule ever trains, not the frozen ones: those are as built.
* Several workers (study/training/world.py) share out each batch: `batch_size` is that of all together, gradients and losses are
  summed with the same weight for every image, and every worker takes the same step. Live BatchNorm normalises over a worker's own
  share; its running statistics are averaged over workers, weighted by images, at the end of each epoch. We do not use torch's
  DistributedDataParallel: phases change what is trained, a share may be empty or cut up by its own worker alone, and it gives
  shares, not images, the same weight.
* Where memory runs out in a step, the step is done again in micro-batches of half the size, and so are all after it. The gradient
  is that of the whole batch, but live BatchNorm then normalises over the micro-batch: the result says so in its `note`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from study.detectors.base import Detector
from study.errors import ConfigError, DataError, DivergedError, ScoreError, StoreError
from study.identity import derive_seed, digest
from study.records import EpochRecord
from study.statistics.metrics import auc, nll
from study.training.augment import Batch, Draws, changes_pixels, mix
from study.training.balance import Strata, epoch_order, strata_key
from study.training.features import SHARED, body_digest, head_logits
from study.training.memory import Before, free
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import Phase, freeze, learning_rate, phases, plateau_factor, warmed_up
from study.training.score import finite_logits, score, to_input
from study.training.session import FitResult, Images, Session, tell
from study.training.world import ALONE, World, even_parts

__all__ = ["FitResult", "Session", "fit"]

CHECKPOINT_SCHEMA = 2
SGD_MOMENTUM = 0.9


def fit(
    detector: Detector,
    train: Images,
    val: Images,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    runtime: TorchRuntime,
    session: Session,
    world: World = ALONE,
    strata: Strata | None = None,
) -> FitResult:
    """Train a detector in place and leave the best epoch's weights in it.

    detector: as `registry.build` gives it. train, val: the source's splits, both classes in each, in the detector's geometry.
    epochs: at least 1; a `logistic` detector is fitted in closed form and has one. seed: of order, flips and dropout.
    world: the workers that train it together; each calls this with the same arguments, and each has the result.
    strata: the stratum of each training image (N,), where all are to be drawn alike often (study/training/balance.py).

    Sets this process's torch to `runtime`. Continues from the session's checkpoint, bit for bit as if never interrupted, and first
    reports the epochs before it again; a checkpoint of another fit or version counts as none. Raises DivergedError for a loss or a
    val logit that is not finite; DataError for a split without both classes; ConfigError for images of another size; StoreError
    where the workers do not see the same checkpoint; TrialStopped, on every worker, where a report does;
    torch.OutOfMemoryError where memory does not suffice for one image, or for two where a BatchNorm is trained.
    """
    if epochs < 1:
        raise ConfigError(f"epochs = {epochs}: give a whole number from 1 on")
    check_images(detector, train, "train")
    check_images(detector, val, "val")
    runtime.apply()
    runtime.place(detector)
    if detector.spec.learner == "logistic":
        from study.training.logistic import fit_logistic

        return fit_logistic(detector, train, val, recipe, runtime=runtime, session=session, world=world, strata=strata)
    run = _Run(detector, train, val, recipe, epochs=epochs, seed=seed, runtime=runtime, session=session, world=world, strata=strata)
    run.tell_again()
    while not run.finished():
        run.epoch()
    return run.result()


def check_images(detector: Detector, images: Images, split: str) -> None:
    """Raise ConfigError for images of another size than the detector's, DataError for a split without both classes."""
    size_px = detector.spec.geometry.size_px
    if images.size_px != size_px:
        raise ConfigError(f"{detector.spec.name} sees {size_px} px, the {split} images have {images.size_px}: pack them anew")
    fakes = int(np.count_nonzero(images.label))
    if fakes in (0, len(images)):
        raise DataError(f"split {split} has {len(images) - fakes} real and {fakes} fake images: both classes are needed")


def batches(n: int, batch_size: int, order: Tensor) -> list[Tensor]:
    """Cut an order of images (N,) into batches; a single image left over joins the batch before it."""
    parts = list(torch.split(order, batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    assert sum(map(len, parts)) == n
    return parts


def make_optimizer(detector: Detector, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Return the optimizer of one phase over the trainable parameters; biases, norms and scales are not decayed.

    Each group has its `factor` of the phase's rate: layer_decay^k for a stage k steps below the head.
    """
    below = {id(p): k for k, stage in enumerate(detector.stages()) for p in stage.all_parameters()}
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for p in detector.parameters():
        if p.requires_grad:
            members.setdefault((recipe.layer_decay ** below[id(p)], p.ndim > 1), []).append(p)
    groups = [
        {"params": params, "weight_decay": recipe.weight_decay if decayed else 0.0, "factor": factor, "lr": lr * factor}
        for (factor, decayed), params in members.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=SGD_MOMENTUM, nesterov=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=lr)


def bce(logits: Tensor, label: Tensor, smoothing: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy from logits (B,) and labels (B,) in {0, 1}, mean over images; e turns targets into e/2 and 1 - e/2.

    weight: (B,) of each image's loss; the mean is still over the number of images.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), label * (1 - smoothing) + smoothing / 2, weight)


def class_weights(label: Tensor) -> Tensor:
    """Return weights (N,) of a split's images with labels (N,) in {0, 1}: both classes count alike, and their mean is 1."""
    fakes = label.mean()
    return torch.where(label > 0, 0.5 / fakes, 0.5 / (1 - fakes))


class _Run:
    """One fit under way. `history` and the tensors of `movable` are its state; all else follows from the arguments."""

    def __init__(
        self,
        detector: Detector,
        train: Images,
        val: Images,
        recipe: Recipe,
        *,
        epochs: int,
        seed: int,
        runtime: TorchRuntime,
        session: Session,
        world: World,
        strata: Strata | None = None,
    ) -> None:
        self.detector, self.train, self.val, self.recipe, self.strata = detector, train, val, recipe, strata
        self.seed, self.runtime, self.session, self.world = seed, runtime, session, world
        self.plan = phases(recipe, n_stages=len(detector.stages()), epochs=epochs)
        workers = [world.size] if world.size > 1 else []
        self.identity = digest(
            detector.spec,
            train.key,
            val.key,
            recipe,
            epochs,
            seed,
            runtime.threads,
            runtime.precision,
            *workers,
            *strata_key(strata),
        )
        self.movable = _tensors(detector, max(phase.stages for phase in self.plan))
        self.label = torch.from_numpy(train.label.astype(np.float32)).to(runtime.device)
        self.weight = class_weights(self.label) if recipe.loss == "balanced_bce" and strata is None else None
        self.draws: Draws | None = None  # of the epoch under way
        self.history: list[EpochRecord] = []
        self.best_epoch = -1
        self.best_logit = np.empty(0, dtype=np.float32)
        self.best_state: dict[str, Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None
        self.views: list[Tensor] = []  # training features, straight and mirrored, while the head alone is trained
        self.val_features: Tensor | None = None
        self.norms: list[_BatchNorm] = []  # those that are trained in this phase
        self.micro_batch = 0  # images at a time on this rank since memory ran out; 0: its whole share
        self.micro_batches = [0] * world.size  # of all ranks, as of the last checkpoint
        self._resume()

    # where the run stands

    def phase(self, epoch: int) -> tuple[Phase, int]:
        """Return the phase of an epoch, and the epoch it began with."""
        start = 0
        for phase in self.plan:
            if epoch < start + phase.epochs:
                return phase, start
            start += phase.epochs
        raise AssertionError(epoch)

    def finished(self) -> bool:
        """Say whether all epochs ran, or patience ran out in the last phase."""
        done = len(self.history)
        total = sum(phase.epochs for phase in self.plan)
        if done == total:
            return True
        last_start = total - self.plan[-1].epochs
        since = done - 1 - max(self.best_epoch, last_start - 1)
        return bool(self.recipe.patience) and done > last_start and since >= self.recipe.patience

    def result(self) -> FitResult:
        """Put the best epoch's weights into the detector and say what was reached."""
        _fill(self.movable, self.best_state)
        self.detector.eval()
        best = self.history[self.best_epoch]
        return FitResult(
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            val_auc=best.val_auc,
            val_nll=best.val_nll,
            val_logit=self.best_logit,
            note=self._note(),
        )

    def _note(self) -> str:
        smallest = min((size for size in self.micro_batches if size), default=0)
        return f"micro-batch {smallest} of {self.recipe.batch_size} after running out of memory" if smallest else ""

    def tell_again(self) -> None:
        """Report the epochs that a checkpoint brought."""
        for record in self.history:
            tell(self.session, record, self.world)

    # one epoch

    def epoch(self) -> None:
        """Train one epoch, look at val, report, save."""
        began = time.perf_counter()
        epoch = len(self.history)
        phase, start = self.phase(epoch)
        if self.optimizer is None:
            self._enter(phase)
        loss, rate = self._train_epoch(phase, epoch, start)
        logit = self._val_logit(epoch)
        record = EpochRecord(
            epoch=epoch, phase=phase.name, train_loss=loss, val_auc=auc(self.val.label, logit), val_nll=nll(self.val.label, logit),
            learning_rate=rate, seconds=time.perf_counter() - began,
        )  # fmt: skip
        self.history.append(record)
        if self.best_epoch < 0 or _goodness(record) > _goodness(self.history[self.best_epoch]):
            self.best_epoch, self.best_logit, self.best_state = epoch, logit, _copies(self.movable)
        if epoch + 1 == start + phase.epochs:
            self._leave()
        self._save()
        tell(self.session, record, self.world)  # the other ranks wait here until the checkpoint is on disk

    def _enter(self, phase: Phase) -> None:
        """Freeze, make the phase's optimizer, and the features where the head alone is trained."""
        freeze(self.detector, phase.stages)
        self.norms = [m for m in self.detector.modules() if isinstance(m, _BatchNorm) and m.training]
        self.optimizer = make_optimizer(self.detector, self.recipe, phase.lr)
        flips = [False, True] if self.recipe.flip else [False]
        if (
            phase.stages == 1
            and not changes_pixels(self.recipe)
            and len(self.detector.stages()) > 1
            and SHARED.fits(self.detector, self.val, *[self.train for _ in flips])
        ):
            body = body_digest(self.detector)

            def kept(images: Images, flip: bool) -> Tensor:
                return SHARED.get(self.detector, body, images, runtime=self.runtime, flip=flip, world=self.world)

            self.views = [kept(self.train, flip) for flip in flips]
            self.val_features = kept(self.val, False)

    def _leave(self) -> None:
        self.optimizer, self.views, self.val_features = None, [], None

    def _train_epoch(self, phase: Phase, epoch: int, start: int) -> tuple[float, float]:
        """Return (mean loss over images, highest learning rate)."""
        assert self.optimizer is not None
        generator = self.runtime.seed_epoch(self.seed, epoch, self.world.rank)
        n = len(self.train)
        order = epoch_order(n, self.strata, generator)
        flip = torch.rand(n, generator=generator) < self.recipe.flip
        self.draws = Draws.draw(self.recipe, n, generator)
        parts = batches(n, self.recipe.batch_size, order)
        steps = len(parts) * phase.epochs
        total, highest, mine = 0.0, 0.0, 0
        for number, index in enumerate(parts, start=(epoch - start) * len(parts)):
            rate = self._rate(phase, number, steps, start)
            batch = mix(self.recipe, Batch(index, flip[index]), derive_seed("mixup", self.seed, epoch, number))
            loss = self._step(batch, rate)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} in epoch {epoch} ({phase.name}, learning rate {rate:.2g}): lower lr or clip_norm"
                )
            total += loss * len(index)
            highest = max(highest, rate)
            mine += len(self.world.share(index))
        self.world.average([b for norm in self.norms for b in norm.buffers() if b.is_floating_point()], weight=mine)
        return total / n, highest

    def _rate(self, phase: Phase, step: int, steps: int, start: int) -> float:
        """Learning rate of a phase's step; on a plateau it follows from the val AUC of the phase's epochs so far."""
        if self.recipe.lr_schedule == "cosine":
            return learning_rate(phase.lr, step, steps, self.recipe.warmup_share)
        factor = plateau_factor([record.val_auc for record in self.history[start:]])
        return warmed_up(phase.lr, step, steps, self.recipe.warmup_share) * factor

    def _step(self, batch: Batch, rate: float) -> float:
        """Train on one batch, here on this rank's share of it, and return the batch's loss before the step."""
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        (share,) = batch.cut(lambda tensor: [self.world.share(tensor)])
        loss = self._backward(share, of=len(batch))
        trained = [p for p in self.detector.parameters() if p.requires_grad]
        self.world.sum_gradients(trained)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(trained, self.recipe.clip_norm)
        self.optimizer.step()
        return self.world.sum(float(loss))

    def _backward(self, batch: Batch, *, of: int) -> Tensor:
        """Leave the gradient of some images in the parameters; return what they add to the loss of a batch of `of` images.

        Where memory runs out it is done again with half the micro-batch, from the same random state: dropout is drawn alike.
        """
        assert self.optimizer is not None
        while True:
            before = Before(self.runtime.device, [b for norm in self.norms for b in norm.buffers()])
            try:
                return self._accumulate(batch, of)
            except torch.OutOfMemoryError:
                smaller = self._smaller(len(batch))
                if not smaller:
                    raise
            self.micro_batch = smaller
            self.optimizer.zero_grad(set_to_none=True)
            before.restore()
            free(self.runtime.device)

    def _accumulate(self, batch: Batch, of: int) -> Tensor:
        """Do `_backward` in the micro-batches of now."""
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.label.device)
        for part in batch.cut(self._pieces):
            with self.runtime.autocast():
                features = F.dropout(self._features(part), self.recipe.dropout, training=self.recipe.dropout > 0)
                logits = self.detector.classify(features)
            mean = part.keep * self._loss(logits, part.index)
            if part.partner is not None:
                mean = mean + (1 - part.keep) * self._loss(logits, part.partner)
            loss = mean * (len(part) / of)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _pieces(self, batch: Tensor) -> list[Tensor]:
        """Cut this rank's share (B,) into micro-batches; a BatchNorm that is trained needs two images in each."""
        count = math.ceil(len(batch) / self.micro_batch) if self.micro_batch else 1
        return even_parts(batch, count, least=2 if self.norms else 1)

    def _smaller(self, images: int) -> int:
        """Return half of what a share was just tried in, or 0 where it cannot be less."""
        tried = len(self._pieces(torch.empty(images))[0])  # no piece is larger than the first
        smaller = max(2 if self.norms else 1, tried // 2)
        return smaller if smaller < (self.micro_batch or tried) else 0

    def _loss(self, logits: Tensor, index: Tensor) -> Tensor:
        """The mean loss of logits (B,) if they were those of the images of `index` (B,)."""
        index = index.to(self.label.device)
        return bce(logits, self.label[index], self.recipe.label_smoothing, None if self.weight is None else self.weight[index])

    def _input(self, index: Tensor, flip: Tensor) -> Tensor:
        """The network's input for some training images (B,), augmented, then mirrored where `flip` (B,) says so."""
        pixels = self.train.gather(index.numpy())
        if self.draws is not None:
            pixels = self.draws.apply(torch.from_numpy(pixels), index).numpy()
        return to_input(self.detector, pixels, self.runtime.device, flip)

    def _features(self, batch: Batch) -> Tensor:
        """Features (B, D) of a batch."""
        index, flip = batch.index, batch.flip
        if not self.views:
            x = self._input(index, flip)
            if batch.partner is not None:
                x = batch.keep * x + (1 - batch.keep) * self._input(batch.partner, flip)
            return self.detector.features(x)
        index = index.to(self.views[0].device)
        if len(self.views) == 1:
            return self.views[0][index]
        return torch.where(flip.to(index.device)[:, None], self.views[1][index], self.views[0][index])

    def _val_logit(self, epoch: int) -> NDArray[np.float32]:
        try:
            if self.val_features is None:
                return score(self.detector, self.val, runtime=self.runtime, world=self.world)
            return finite_logits(head_logits(self.detector, self.val_features, world=self.world), self.val)
        except ScoreError as error:
            raise DivergedError(f"a logit on source val is not finite after epoch {epoch}: lower lr or clip_norm") from error

    # checkpoints

    def _save(self) -> None:
        self.micro_batches = [int(size) for size in self.world.each(self.micro_batch)]
        if self.world.rank != 0:
            return
        # The same tensors twice are written once by torch.save.
        state = self.best_state if self.best_epoch == len(self.history) - 1 else _copies(self.movable)
        self.session.save(
            {
                "schema": CHECKPOINT_SCHEMA,
                "identity": self.identity,
                "history": [asdict(record) for record in self.history],
                "best_epoch": self.best_epoch,
                "best_logit": torch.from_numpy(self.best_logit),
                "best_state": self.best_state,
                "state": state,
                # None at a phase's end: the next one begins with a fresh optimizer.
                "optimizer": copy.deepcopy(self.optimizer.state_dict()) if self.optimizer else None,
                "micro_batches": self.micro_batches,
            }
        )

    def _resume(self) -> None:
        state = self.session.load()
        if state is not None and (state.get("schema") != CHECKPOINT_SCHEMA or state.get("identity") != self.identity):
            state = None
        seen = self.world.each(len(state["history"]) if state else 0)
        if len(set(seen)) > 1:
            raise StoreError(
                f"the workers of one trial found checkpoints of {' and '.join(f'{n:.0f}' for n in seen)} epochs: "
                "put the results on a disk that all nodes share"
            )
        if state is None:
            return
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.best_epoch = int(state["best_epoch"])
        self.best_logit = state["best_logit"].numpy()
        self.best_state = dict(state["best_state"])
        self.micro_batches = list(state["micro_batches"])
        self.micro_batch = self.micro_batches[self.world.rank]
        _fill(self.movable, state["state"])
        if state["optimizer"] is not None:
            self._enter(self.phase(len(self.history) - 1)[0])
            assert self.optimizer is not None
            self.optimizer.load_state_dict(state["optimizer"])


def _goodness(record: EpochRecord) -> tuple[float, float]:
    """What the best epoch has most of; a strict comparison leaves a tie to the earlier epoch."""
    return record.val_auc, -record.val_nll


def _tensors(detector: Detector, stages: int) -> dict[str, Tensor]:
    """The parameters and saved buffers of the first stages, by name: what training can move."""
    chosen = detector.stages()[:stages]
    parts: Iterable[Tensor] = (p for stage in chosen for p in stage.all_parameters())
    buffers: Iterable[Tensor] = (b for stage in chosen for module in stage.modules for b in module.buffers())
    movable = {id(tensor) for tensor in (*parts, *buffers)}
    saved = set(detector.state_dict())
    return {name: tensor for name, tensor in _named(detector) if id(tensor) in movable and name in saved}


def _named(detector: Detector) -> Iterator[tuple[str, Tensor]]:
    yield from detector.named_parameters()
    yield from detector.named_buffers()


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _fill(tensors: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Copy saved values into live tensors."""
    assert tensors.keys() == values.keys()
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(values[name])

"""What is below the frozen boundary is computed once; what is above it learns as in the whole."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage
from study.training import features, fit
from study.training.boundary import find_boundary
from study.training.features import FeatureStore, FrozenBody
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import freeze
from study.training.session import FitResult
from tests.training.fakes import FakeSession, Tiny, images, tiny

PIXELS = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)


def run(detector: Detector, body: FrozenBody | None = None, **settings: object) -> FitResult:
    given = {"schedule": "last_stage", "batch_size": 5, "lr": 0.02, "patience": 0, **settings}
    return fit.fit(
        detector,
        images(),
        images(15, seed=1),
        Recipe.from_params(given),
        epochs=4,
        seed=3,
        runtime=TorchRuntime.resolve(device="cpu", threads=1, precision="float32"),
        session=FakeSession(),
        body=body,
    )


@pytest.mark.parametrize("stages", [2, 3])
def test_two_steps_are_the_whole_network(stages: int) -> None:
    detector = tiny()
    freeze(detector, stages)
    x = detector.prepare(PIXELS)
    boundary = find_boundary(detector, stages, x[:2])
    assert boundary is not None
    detector.eval()
    crossing = boundary.below(x)
    assert torch.equal(boundary.above(crossing), detector.features(x))
    assert boundary.row_bytes == crossing[0].numel() * 4
    boundary.above(crossing).sum().backward()
    trained = {id(p) for s in detector.stages()[1:stages] for p in s.all_parameters()}
    for name, parameter in detector.named_parameters():
        if not name.startswith("head."):
            assert (parameter.grad is not None) == (id(parameter) in trained), name


@pytest.mark.parametrize("flip", [0.0, 0.5])
@pytest.mark.parametrize("schedule", ["last_stage", "progressive"])
def test_kept_rows_give_what_computing_them_anew_gives(
    schedule: str, flip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, anew = tiny(), tiny()
    one = run(kept, schedule=schedule, flip=flip)
    features.SHARED.clear()
    monkeypatch.setattr(features.FeatureStore, "fits", lambda *_, **__: False)
    two = run(anew, schedule=schedule, flip=flip)
    np.testing.assert_allclose(one.val_logit, two.val_logit, rtol=0, atol=1e-5)
    losses = [record.train_loss for record in two.history]
    assert [record.train_loss for record in one.history] == pytest.approx(losses, abs=1e-6)
    for name, tensor in anew.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], tensor, rtol=0, atol=1e-4)


def test_each_image_and_view_goes_through_the_frozen_part_once(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    class Noting(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            looked.append(len(x))
            return super().forward(x)

    store = FeatureStore(tmp_path)  # type: ignore[arg-type]
    for lr in (0.02, 0.01):  # of the second trial the disk has all
        detector = tiny()
        detector.stem[0].__class__ = Noting
        body = FrozenBody(key="tiny", name="tiny", load=lambda d=detector: d, store=store)
        run(detector, body, lr=lr, flip=0.5)
    # the cut looks at one image and two, then one for its size, at the start of each fit
    assert sum(looked) == 2 * 21 + 15 + 2 * (1 + 2 + 1)


class Rotary(Tiny):
    """What crosses are the rows of the images, and a table that every batch has alike."""

    def features(self, x: Tensor) -> Tensor:
        table = self.stem[0].weight.mean() * torch.ones(8, 1, 1)
        x = F.relu(self.block1(F.relu(self.stem(x))))
        return (F.relu(self.block2(x)) + table).mean(dim=(2, 3))


class Skipping(Tiny):
    """Two tensors with a row an image cross."""

    def features(self, x: Tensor) -> Tensor:
        stem = F.relu(self.stem(x))
        block = F.relu(self.block1(stem))
        return F.relu(self.block2(block)).mean(dim=(2, 3)) + stem.mean(dim=(1, 2, 3))[:, None]


class Deciding(Tiny):
    """Cannot be traced."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x if x.sum() > 0 else -x)


def test_a_table_that_crosses_is_kept_with_the_upper_part() -> None:
    detector = tiny()
    detector.__class__ = Rotary
    freeze(detector, 2)
    x = detector.prepare(PIXELS)
    boundary = find_boundary(detector, 2, x[:2])
    assert boundary is not None
    detector.eval()
    assert torch.equal(boundary.above(boundary.below(x)), detector.features(x))


@pytest.mark.parametrize("kind", [Skipping, Deciding])
def test_what_cannot_be_cut_is_computed_whole(kind: type[Tiny]) -> None:
    detector = tiny()
    detector.__class__ = kind
    freeze(detector, 2)
    assert find_boundary(detector, 2, detector.prepare(PIXELS)[:2]) is None
    assert len(run(detector).history) == 4


class Network(Detector):
    """A small network of timm, random."""

    def __init__(self, spec: DetectorSpec, name: str, **arguments: object) -> None:
        backbone = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
        super().__init__(spec, backbone.num_features)
        self.backbone = backbone

    def features(self, x: Tensor) -> Tensor:
        return self.backbone(x)

    def body_stages(self) -> tuple[Stage, ...]:
        from study.detectors.stages import stages_by_depth, timm_depths

        return stages_by_depth(self.backbone, timm_depths(self.backbone))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mobilenetv2_035", {}),
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"depth": 3, "img_size": 64}),
        ("eva02_tiny_patch14_224", {"depth": 3, "img_size": 56}),
        ("convnext_atto", {}),
    ],
)
def test_networks_of_timm_can_be_cut(name: str, arguments: dict[str, object]) -> None:
    torch.manual_seed(0)
    detector = Network(tiny().spec, name, **arguments)
    size = int(arguments.get("img_size", 64))  # type: ignore[call-overload]
    x = torch.randn(4, 3, size, size)
    for stages in (2, 3):
        freeze(detector, stages)
        boundary = find_boundary(detector, stages, x[:2])
        assert boundary is not None, stages
        detector.eval()
        with torch.no_grad():
            assert torch.equal(boundary.above(boundary.below(x)), detector.features(x))

"""What every detector that is built must do. A new line of the registry is held to it by its name
alone.

Checkpoints are small ones in the libraries' real formats (stand_ins.py). Preprocessing is checked
on the detector as shipped.
Not here: ensembles, which are not built but made of other detectors' logits
(tests/jobs/test_ensemble.py); the thousands of names of the two libraries but `LIBRARY_NAMES`.
What is not trained (`clip_zero_shot`, published detectors) passes the tests of training by having
no head to train; a logistic regression has no seed, no schedule and no choice of a head, loss or
optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load, save
from timm.data import create_transform, resolve_data_config
from torch import Tensor
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
)

from study.core.errors import WeightsError
from study.core.identity import digest, file_sha256
from study.core.records import Pairing, Scores, TrainedDetector, Trial
from study.data.catalog import Catalog, DataConfig
from study.data.images.geometry import check_geometry, fit_geometry
from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.probes import PROBES
from study.jobs.cell import load_detector
from study.search.spaces import load_space, parse_space
from study.store.store import Store
from study.training import contract
from study.training.contract import CHECKS
from study.training.fit import fit
from study.training.lora import LowRank, adapt
from study.training.losses import bce
from study.training.optimizers import make_optimizer
from study.training.recipe import Recipe
from study.training.runtime import TorchRuntime
from study.training.schedules import freeze
from study.training.score import score
from tests.contract.stand_ins import LIBRARY_NAMES, Case, make_case
from tests.factories import picture, write_dataset
from tests.training.fakes import FakeSession, images

# Of the large probes one of each family: the others are too large for a forward pass here. What
# needs no numbers is tested of all of them (tests/detectors/test_probes.py, test_stages.py).
LEFT = set(PROBES) - {"dinov3_small_linear", "clip_large_linear", "efficientnet_lite0_linear"}
# As large as they are, and of a class that is tested anyhow.
HEAVY = {"cnnspot", "efficientnet_b4", "ladeda", "xception"}
# Networks of timm as published: one of them is tested always, and all against their authors' own
# (tests/detectors/test_published.py).
HEAVY |= {"b_free", "dda", "gend_dinov3", "gend_pe"}
# published detectors that resize: both sides, or the shorter one
RESIZED: dict[str, int | tuple[int, int]] = {
    "npr_published": (256, 256),
    "ladeda": (256, 256),
    "tiny_ladeda": (256, 256),
    "community_forensics": 440,
    "gend_clip": 224,
    "gend_dinov3": (224, 224),
    "gend_pe": 224,
}
NAMES = (
    *(
        pytest.param(name, marks=[pytest.mark.slow] if name in HEAVY else [])
        for name in registry.names()
        if name not in LEFT
    ),
    *LIBRARY_NAMES,
)


@pytest.fixture(scope="module", params=NAMES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    with pytest.MonkeyPatch.context() as patch:
        yield make_case(request.param, tmp_path_factory.mktemp("weights"), patch)


@pytest.fixture(scope="module")
def detector(case: Case) -> Detector:
    return case.build()


@pytest.fixture(scope="module")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A dataset of 32 px images."""
    root = tmp_path_factory.mktemp("data")
    write_dataset(root / "mine", n=24, size=32)
    return Catalog(DataConfig(root=root, cache=root / "cache"), firewall=True)


def prepared(detector: Detector, n: int = 5) -> Tensor:
    """Images in the detector's geometry, larger than it before, as the network sees them."""
    size = detector.spec.geometry.size_px + 20
    squares = [
        fit_geometry(picture(i % 2, size=size, seed=i), detector.spec.geometry) for i in range(n)
    ]
    return detector.prepare(torch.from_numpy(np.stack(squares)))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_does_what_every_detector_must(
    case: Case, check: Callable[[contract.Subject], None]
) -> None:
    """The checks that `study.check` runs on a detector of one's own."""
    check(
        contract.Subject(name=case.name, build=case.build, default=load_space(case.name).default())
    )


def test_the_seed_moves_the_head_and_no_pretrained_tensor(case: Case, detector: Detector) -> None:
    if detector.spec.learner != "gradient":
        return  # what is not trained by gradient starts from no random number that would matter
    state, other = detector.state_dict(), case.build(seed=1).state_dict()
    moved = {key for key in state if not torch.equal(state[key], other[key])}
    assert moved and (case.source is None or all(key.startswith("head.") for key in moved))


def test_gradient_reaches_exactly_what_is_unfrozen(case: Case) -> None:
    """Of low-rank matrices; the other schedules are in the checks."""
    line = registry.entry(case.name)
    assert bool(line.schedules) == (line.learner == "gradient")
    if "lora" in registry.schedules_of(case.name):
        detector = case.build()
        _leave_zeros(detector)
        _check_low_rank_step(detector)


def _leave_zeros(detector: Detector) -> None:
    """A branch that begins at 0 (as the last norm of a new ResNet's residual block) gives what is
    before it no gradient yet.
    """
    with torch.no_grad():
        for parameter in detector.parameters():
            if parameter.ndim and not bool((parameter != 0).any()):
                parameter.add_(0.05)


def _check_low_rank_step(detector: Detector) -> None:
    """One step: of all that is below the head, the low-rank matrices alone have a gradient and
    move; the features follow.
    """
    x = prepared(detector, 4)
    with torch.no_grad():
        features = detector.features(x)
    adapt(detector, rank=2, alpha=4.0, blocks=0, seed=0)
    freeze(detector, 1, adapters=True)
    trained = {
        f"{name}.{half}"
        for name, m in detector.named_modules()
        if isinstance(m, LowRank)
        for half in ("down", "up")
    }
    before = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    assert torch.equal(detector.features(x), features), "it starts from the pretrained network"
    optimizer = make_optimizer(detector, Recipe(schedule="lora", weight_decay=0.5), 1e-2)
    bce(detector(x), torch.tensor([0.0, 1.0, 0.0, 1.0]), 0.0).backward()
    having = {name for name, p in detector.named_parameters() if p.grad is not None}
    assert trained and having == trained | {name for name in before if name.startswith("head.")}
    silent = [
        name
        for name in trained
        if name.endswith(".up") and not bool((detector.get_parameter(name).grad != 0).any())
    ]
    assert not silent, (
        f"no gradient reaches {silent}: the network reads other weights than the adapted ones"
    )
    optimizer.step()
    moved = {
        key for key, tensor in detector.state_dict().items() if not torch.equal(tensor, before[key])
    }
    assert moved == having
    with torch.no_grad():
        assert not torch.equal(detector.features(x), features)


def test_low_rank_matrices_end_in_the_weights_and_the_logits_stay(case: Case) -> None:
    """Trained, written as safetensors and read into a network that knows nothing of them."""
    if "lora" not in registry.schedules_of(case.name):
        return
    detector, runtime = (
        case.build(),
        TorchRuntime.resolve(device="cpu", threads=1, precision="float32"),
    )
    before = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    train, val = (images(n, seed=n, size_px=detector.spec.geometry.size_px) for n in (8, 6))
    recipe = Recipe.from_params(
        {"schedule": "lora", "lr": 0.01, "weight_decay": 0.5, "batch_size": 4, "lora_rank": 2}
    )
    result = fit(
        detector, train, val, recipe, epochs=2, seed=0, runtime=runtime, session=FakeSession()
    )
    after = detector.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert after.keys() == before.keys() and any(not key.startswith("head.") for key in moved)
    assert all(key.startswith("head.") or before[key].ndim == 2 for key in moved)
    restored = registry.restore(
        detector.spec, load(save({key: tensor.contiguous() for key, tensor in after.items()}))
    )
    runtime.place(restored)
    assert np.array_equal(score(restored, val, runtime=runtime), result.val_logit)


def test_any_head_loss_and_optimizer_can_be_searched(case: Case) -> None:
    """What a search space may name of them, in one configuration; a winner is restored from its
    spec and its tensors alone.
    """
    line = registry.entry(case.name)
    if line.learner != "gradient":
        return
    head = {} if line.own_head else {"head_width": 6, "head_dropout": 0.5}
    searched = {
        "optimizer": ["adam", "adamw", "sgd"],
        "loss": ["bce", "balanced_bce"],
        "dropout": [0.0, 0.2],
    }
    table = {
        name: {"kind": "categorical", "choices": choices, "default": choices[-1]}
        for name, choices in searched.items()
    }
    if head:
        table["head_width"] = {"kind": "int", "low": 0, "high": 6, "default": 6}
        table["head_dropout"] = {"kind": "float", "low": 0.0, "high": 0.9, "default": 0.5}
    constants = {"schedule": line.schedules[0], "lr": 0.01, "batch_size": 4}
    params = parse_space(
        {"schema": 1, "constants": constants, "space": table}, detector=case.name, where="x.toml"
    ).default()
    spec = registry.with_head(case.resolve(), params)
    assert {**case.resolve().options, **head} == spec.options
    detector, runtime = (
        registry.build(spec, weights_root=case.folder, seed=0),
        TorchRuntime.resolve(device="cpu", threads=1),
    )
    if head:
        assert (
            sum(p.numel() for p in detector.head.parameters())
            == 6 * detector.n_features + 6 + 6 + 1
        )
    train, val = (images(n, seed=n, size_px=spec.geometry.size_px) for n in (8, 6))
    result = fit(
        detector,
        train,
        val,
        Recipe.from_params(params),
        epochs=1,
        seed=0,
        runtime=runtime,
        session=FakeSession(),
    )
    restored = registry.restore(spec, detector.state_dict())
    runtime.place(restored)
    assert np.array_equal(score(restored, val, runtime=runtime), result.val_logit)


def test_comes_back_from_the_store_bit_for_bit(
    case: Case, detector: Detector, tmp_path: Path
) -> None:
    trial = Trial(
        key="k",
        pairing=Pairing(detector=case.name, train_on="a"),
        number=0,
        params={},
        seed=0,
        epochs=1,
    )
    trained = TrainedDetector(
        key="k",
        trial=trial,
        spec=detector.spec,
        winner_seed=0,
        winner_trial=0,
        thresholds={"fixed": 0.0},
        temperature=1.0,
        val_auc=0.5,
        val_nll=0.7,
        best_epoch=0,
        provenance={},
    )
    words = np.array(["a/1.png", "a/2.png"])
    scores = Scores(
        sample_id=words,
        group=words,
        unit=words,
        method=words,
        label=np.array([0, 1], np.uint8),
        logit=np.array([0.0, 1.0], np.float32),
        listed=2,
    )
    store = Store(tmp_path / "results", "mine")
    store.prepare()
    store.save_model(trained, detector.state_dict(), scores, (), 0.0)
    restored = load_detector(store.model_folder("k"))
    assert restored.spec == detector.spec and digest(restored.spec) == digest(detector.spec)
    assert {t.device.type for t in (*restored.parameters(), *restored.buffers())} == {"cpu"}
    x = prepared(detector, 3)
    with torch.no_grad():
        assert torch.equal(restored(x), detector(x))


def test_works_at_its_own_size_and_on_images_of_32_px(
    detector: Detector, small_images: Catalog
) -> None:
    geometry = detector.spec.geometry
    check_geometry(geometry)
    pixels = small_images.open("mine", "train", geometry).gather(np.arange(2))
    assert pixels.shape == (2, geometry.size_px, geometry.size_px, 3)
    native = fit_geometry(picture(1, size=geometry.size_px), geometry)
    assert native.shape == pixels.shape[1:]
    with torch.no_grad():
        logits = detector(detector.prepare(torch.from_numpy(np.stack([*pixels, native]))))
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize("shape", [(256, 256), (300, 400), (417, 251), (32, 32)])
def test_pixels_are_those_of_the_librarys_own_preprocessing(
    case: Case, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(shape)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        shape[::-1], Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse, dtype=np.int64) + rng.integers(-20, 21, (*shape, 3))
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    line = case.line
    spec = replace(
        registry.spec_of(case.name), geometry=line.geometry, mean=line.mean, std=line.std
    )
    square = fit_geometry(np.asarray(image), spec.geometry)
    ours = Detector(spec, 1).prepare(torch.from_numpy(square[None].copy()))[0]
    torch.testing.assert_close(ours, library_transform(case)(image), rtol=0, atol=1e-5)


def library_transform(case: Case) -> Callable[[Image.Image], Tensor]:
    """What the library does to an image before this very checkpoint; for what no library has, the
    definition in PIL and numpy.
    """
    line, source = case.line, case.line.source
    size = line.geometry.size_px
    if line.published and line.geometry.mode != "crop":
        sides = RESIZED.get(case.name)
        way = InterpolationMode(line.geometry.interpolation)
        first = [Resize(sides, interpolation=way)] if sides else []
        theirs_said = [*first, CenterCrop(size), ToTensor(), Normalize(line.mean, line.std)]
        published: Callable[[Image.Image], Tensor] = Compose(theirs_said)
        return published
    if line.geometry.mode == "crop":  # never resized, whatever the library does
        return lambda image: _by_definition(image, size, line)
    if source is not None and source.prefix:
        cfg = open_clip.get_pretrained_cfg(source.backbone, source.pretrained)
        kept = {key: cfg[key] for key in ("mean", "std", "interpolation", "resize_mode")}
        transform: Callable[[Image.Image], Tensor] = open_clip.image_transform(
            size, is_train=False, **kept
        )
        return transform
    if source is not None and timm.is_model_pretrained(source.stem):
        theirs = timm.get_pretrained_cfg(source.stem)
        assert theirs is not None
        # A transformer may be read at another size than its last training's, which timm is told the
        # same way.
        asked = {"input_size": (3, size, size)} if line.arguments.get("dynamic_img_size") else {}
        timms: Callable[[Image.Image], Tensor] = create_transform(
            **resolve_data_config(asked, pretrained_cfg=theirs.to_dict())
        )
        return timms
    return lambda image: _by_definition(image, size, line)


def _by_definition(image: Image.Image, size: int, line: registry.Entry) -> Tensor:
    if line.geometry.mode == "squash":
        square: NDArray[np.uint8] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    else:
        pixels = np.asarray(image)
        missing = [max(0, size - length) for length in pixels.shape[:2]]
        pixels = np.pad(pixels, [*((m // 2, m - m // 2) for m in missing), (0, 0)], mode="reflect")
        top, left = (round((length - size) / 2) for length in pixels.shape[:2])
        square = pixels[top : top + size, left : left + size]
    scaled = (square.astype(np.float64) / 255 - line.mean) / line.std
    return torch.from_numpy(scaled.transpose(2, 0, 1)).float()


def test_random_weights_are_refused_where_pretrained_ones_were_asked_for(
    case: Case, tmp_path: Path
) -> None:
    if case.source is None:
        assert (
            case.resolve().weights == ""
            and registry.weights_status(case.name, tmp_path) == "none needed"
        )
        return
    spec = case.resolve()
    assert spec.weights == "+".join(map(file_sha256, case.files))
    with pytest.raises(WeightsError) as caught:
        registry.resolve(case.name, options={}, weights_root=tmp_path, download=False)
    message = str(caught.value)
    assert case.source.origin in message and str(tmp_path / case.file.stem) in message
    assert "\n" not in message
    with pytest.raises(WeightsError):
        registry.build(replace(spec, weights=""), weights_root=case.folder, seed=0)
    (tmp_path / case.file.name).write_bytes(case.file.read_bytes()[:-1])
    with pytest.raises(WeightsError):
        registry.build(spec, weights_root=tmp_path, seed=0)
    empty = registry.create(spec, 0)
    assert {t.device.type for t in empty.backbone.state_dict().values()} == {"meta"}  # type: ignore[union-attr]


def test_has_a_search_space_whose_default_it_can_be_trained_with(case: Case) -> None:
    space, line = load_space(case.name), registry.entry(case.name)
    recipe = Recipe.from_params(space.default(), learner=line.learner)
    assert not line.schedules or recipe.schedule in registry.schedules_of(case.name)

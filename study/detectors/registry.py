"""Every detector by name, as data: what it is built from, how it wants its images, what may be
chosen.

No torch here: names, options and specs serve commands that only list and plan. To add a
detector, add one line to `DETECTORS`, one file `study/detectors/FAMILY.py` unless the family
exists, and one `search_spaces/NAME.toml`.

Beside these names, every checkpoint of two libraries is one: `timm:<name>` and
`open_clip:<model>/<pretrained>` (study/detectors/library.py); and so is a detector of a file of
one's own, `py:<module>:<factory>` (study/detectors/own.py). Asking for such a name imports the
library, and torch with it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from study.core.errors import ConfigError, WeightsError
from study.core.identity import digest
from study.core.records import DetectorSpec, Geometry, Learner, Params
from study.core.validation import check_keys
from study.detectors import weights
from study.detectors.entry import (
    CLIP_MEAN,
    CLIP_STD,
    HEAD_WIDTH,
    LAYER,
    LAYERS,
    Entry,
    Option,
    Schedule,
)
from study.detectors.geometries import CHOSEN, at_size, check_chosen, cut_of, geometry_of
from study.detectors.probes import IMAGENET_MEAN, IMAGENET_STD, PROBES
from study.detectors.prompts import prompt_options
from study.detectors.published import PUBLISHED
from study.detectors.quick_import import without_compiler
from study.detectors.trained import TRAINED
from study.detectors.weights import Source

if TYPE_CHECKING:
    from torch import Tensor

    from study.detectors.base import Detector

LIBRARIES = ("timm", "open_clip")
BEFORE_COLON = (*LIBRARIES, "py")  # what may stand before the colon of a name
SOURCE = "source_sha256"  # the option of a detector of one's own that has its file's digest
# of a detector's weights, the worst last
STATUSES = ("local", "cached", "to download", "to rename", "missing")
# what a configuration may say of the head: by gradient, and on a frozen body
HIDDEN_LAYER = ("head_width", "head_dropout")
HEAD_SETTINGS = (*HIDDEN_LAYER, "head", "neighbours", LAYER)
# whose frozen bodies may compute in bfloat16: families of networks, and names of backbones, so that
# a key needs no network
_OF_LIBRARIES = ("timm_network", "clip", "clip_adapter", "rine_trained")
_VISION_TRANSFORMER = re.compile(
    r"(?<![a-z])(?<!tiny_)(vit|deit3?|beit(v2)?|eva(02)?)(?![a-z])", re.IGNORECASE
)


def _timm(backbone: str, tag: str, classifier: str) -> Source:
    return Source.on_hub(
        f"timm/{backbone}.{tag}",
        backbone=backbone,
        pretrained=tag,
        classifier=(classifier,),
    )


# What several lines share.
_IMAGENET: dict[str, Any] = {
    "family": "timm_network",
    "geometry": Geometry(size_px=224, mode="resize_crop", resize_px=256),
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "options": HEAD_WIDTH,
}
_BILINEAR = Geometry(size_px=224, mode="resize_crop", resize_px=256, interpolation="bilinear")
# timm offers no weights for this width. These inputs are the checkpoint's own (pixels in [-1, 1]),
# not timm's default.
_MOBILENET: dict[str, Any] = {
    "family": "timm_network",
    "geometry": Geometry(size_px=224, mode="squash"),
    "arguments": {"pad_type": "same"},
    "source": Source(
        backbone="mobilenetv2_035",
        pretrained="keras_in1k",
        classifier=("classifier",),
        only=True,
        origin="MobileNetV2 0.35 at 224 px of Keras Applications (ImageNet), converted to timm's"
        " names",
    ),
}
_CLIP_B32: dict[str, Any] = {
    "geometry": Geometry(size_px=224, mode="resize_crop", resize_px=224),
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
    "source": Source.on_hub(
        "timm/vit_base_patch32_clip_224.openai",
        "open_clip_model.safetensors",
        backbone="ViT-B-32",
        pretrained="openai",
        prefix="visual.",
    ),
    "arguments": {"force_quick_gelu": True},
}
# A linear probe: the body stays frozen, and the head, a convex problem, is solved to its minimum
# (study/training/logistic.py).
_PROBE: dict[str, Any] = {"learner": "logistic", "schedules": ()}

DETECTORS: Mapping[str, Entry] = {
    "spectrum": Entry(
        about="azimuthally averaged log power spectrum, logistic regression (Durall et al. 2020)",
        family="spectrum",
        geometry=Geometry(size_px=128, mode="crop"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        learner="logistic",
        options={"size_px": Option(default=128, low=16, high=1024)},
        schedules=(),
    ),
    "npr": Entry(
        about=(
            "neighbouring pixel relationships into a small ResNet, from scratch (Tan et al., CVPR"
            " 2024)"
        ),
        family="npr",
        geometry=Geometry(size_px=64, mode="crop"),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        schedules=("full",),
        options={"size_px": Option(default=64, low=16, high=512, multiple=2)},
    ),
    "resnet18_scratch": Entry(
        about="ResNet-18 from scratch; CIFAR stem below 64 px",
        family="resnet_scratch",
        schedules=("full",),
        geometry=Geometry(size_px=64, mode="squash"),
        options={"size_px": Option(default=64, low=16, high=512)},
    ),
    "mobilenetv2_035": Entry(
        about="MobileNetV2 0.35, ImageNet weights",
        options=HEAD_WIDTH,
        **_MOBILENET,
    ),
    "mobilenetv2_035_linear": Entry(
        about="frozen MobileNetV2 0.35, linear head",
        **_MOBILENET,
        **_PROBE,
    ),
    "resnet18": Entry(
        about="ResNet-18, torchvision's ImageNet weights",
        source=_timm("resnet18", "tv_in1k", "fc"),
        **{**_IMAGENET, "geometry": _BILINEAR},
    ),
    "resnet50": Entry(
        about="ResNet-50, torchvision's first ImageNet weights",
        source=_timm("resnet50", "tv_in1k", "fc"),
        **{**_IMAGENET, "geometry": _BILINEAR},
    ),
    "convnext_tiny": Entry(
        about="ConvNeXt-Tiny, its authors' ImageNet weights",
        source=_timm("convnext_tiny", "fb_in1k", "head.fc"),
        **_IMAGENET,
    ),
    "clip_zero_shot": Entry(
        about="OpenAI's CLIP ViT-B/32 and a fixed ensemble of prompts, no training",
        family="clip_zero_shot",
        learner="none",
        schedules=(),
        prompts="images",
        own_head=True,
        **_CLIP_B32,
    ),
    "clip_linear": Entry(
        about="frozen CLIP ViT-B/32 visual encoder of OpenAI, linear head",
        blocks=12,
        family="clip",
        **_PROBE,
        **_CLIP_B32,
    ),
    "clip_finetune": Entry(
        about="CLIP ViT-B/32 visual encoder of OpenAI, unfrozen by a schedule",
        family="clip",
        options=HEAD_WIDTH,
        schedules=("last_stage", "full", "progressive", "lp_ft", "lora"),
        **_CLIP_B32,
    ),
    "clip_adapter": Entry(
        about=(
            "frozen CLIP ViT-B/32, adapter and similarities to prompts (clip-deepfake-detection,"
            " 2025)"
        ),
        family="clip_adapter",
        schedules=("head",),
        prompts="faces",
        own_head=True,
        **_CLIP_B32,
    ),
    "dinov2_linear": Entry(
        about="frozen DINOv2 ViT-B/14, linear head",
        blocks=12,
        family="timm_network",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=224),
        **_PROBE,
        source=_timm("vit_base_patch14_dinov2", "lvd142m", "head"),
        arguments={"dynamic_img_size": True},
        options={"size_px": Option(default=224, low=98, high=518, multiple=14)},
    ),
    "siglip_linear": Entry(
        about="frozen SigLIP 2 ViT-B/16 visual encoder, linear head",
        blocks=12,
        family="timm_network",
        **_PROBE,
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=248),
        source=_timm("vit_base_patch16_siglip_224", "v2_webli", "head"),
    ),
    "pe_linear": Entry(
        about="frozen Perception Encoder (PE-Core) ViT-B/16, linear head",
        blocks=12,
        family="timm_network",
        **_PROBE,
        geometry=Geometry(size_px=224, mode="resize_crop", resize_px=224),
        source=_timm("vit_pe_core_base_patch16_224", "fb", "head"),
    ),
    **TRAINED,
    **PROBES,
    **PUBLISHED,
}


# Not built at all: their logits are made of other detectors' (study/jobs/ensemble.py).
ENSEMBLES: Mapping[str, str] = {
    "ensemble": "mean of its members' logits, each divided by its own temperature",
    "ensemble_stacked": "logistic regression on its members' logits, fitted on source val",
}


def names() -> list[str]:
    """Return the names of all detectors that are built and have a name of their own, sorted: no
    library's models, no ensembles.
    """
    return sorted(DETECTORS)


def library_of(name: str) -> str:
    """Return the library that a name is of (`timm` of `timm:resnet18.a1_in1k`; `py` of a detector
    of one's own), "" for none.
    """
    library, colon, _ = name.partition(":")
    return library if colon and library in BEFORE_COLON else ""


def check_name(name: str) -> None:
    """Raise ConfigError for a name that is no detector's, no ensemble's, and no library's."""
    if library_of(name):
        entry(name)
    else:
        libraries = [f"{library}:..." for library in BEFORE_COLON]
        check_keys([name], [*DETECTORS, *ENSEMBLES, *libraries], noun="detector")


def learner_of(name: str) -> Learner:
    """Return how a detector is fitted, `members` for an ensemble. Raises ConfigError."""
    return "members" if name in ENSEMBLES else entry(name).learner


def entry(name: str) -> Entry:
    """Return the line of a detector that is built. Raises ConfigError for an unknown name, with the
    nearest ones, and for an ensemble.
    """
    if library_of(name) == "py":
        from study.detectors.own import own_entry

        return own_entry(name)
    if library_of(name):
        from study.detectors.library import library_entry

        return library_entry(name)
    check_name(name)
    if name in ENSEMBLES:
        raise ConfigError(f"'{name}' is made of its members' scores and is not built")
    return DETECTORS[name]


def detector_options(name: str) -> dict[str, int | str]:
    """Return the options of a detector with their defaults.

    `size_px`: the side of the square it sees, in pixels. `geometry`, `square_px`, `crops`: how
    images become it (study/detectors/geometries.py); every detector has them. `head_width`: of the
    head's hidden layer, 0 for a linear head. `prompts`: a set of prompts by name, or the path of a
    file of one's own (study/detectors/prompts.py).
    """
    line = entry(name)
    options: dict[str, int | str] = {key: option.default for key, option in line.options.items()}
    options = {**options, **CHOSEN}
    return {**options, "prompts": line.prompts} if line.prompts else options


def weights_status(name: str, weights_root: Path | None) -> str:
    """Say, without network, where a detector's weights are: `none needed`, `local`, `cached`, `to
    download` or `missing`.

    `to rename`: a local file whose name says the backbone alone.
    """
    found = [_status(source, weights_root) for source in sources(entry(name))]
    return max(found, key=STATUSES.index, default="none needed")


def _status(source: Source, weights_root: Path | None) -> str:
    if weights.local_file(source, weights_root):
        return "local"
    if weights.unnamed_file(source, weights_root):
        return "to rename"
    if weights.cached_file(source):
        return "cached"
    return "to download" if source.repository else "missing"


def why_missing(name: str, weights_root: Path | None) -> str:
    """Return what a study would say of the first of a detector's weights files that is not here,
    without network: what to fetch, and where to put it. "" where all are here.
    """
    for source in sources(entry(name)):
        try:
            weights.find(source, weights_root, download=False)
        except WeightsError as error:
            return str(error)
    return ""


def sources(line: Entry) -> list[Source]:
    """Return the weights files that a detector is built from, with their licences: a backbone's,
    its authors' head's.
    """
    if line.published is None:
        return [replace(line.source, licence=line.licence)] if line.source else []
    head, licence = line.published.head, line.published.licence
    body = line.source and replace(line.source, licence=line.licence if head else licence)
    return [one for one in (body, head and replace(head, licence=licence)) if one]


def _weights_digest(line: Entry, weights_root: Path | None, *, download: bool = True) -> str:
    """What stands in a spec for all its weights files; "" for none."""
    return "+".join(
        weights.found_digest(source, weights_root, download=download) for source in sources(line)
    )


def resolve(
    name: str, *, options: Params, weights_root: Path | None, download: bool = True
) -> DetectorSpec:
    """Return the spec of a detector: its options checked, its pretrained file found and digested.
    Builds nothing.

    Raises ConfigError for an unknown name, option or value; WeightsError where weights are wanted
    and not to be had (with `download` False the hub's cache is looked at, its servers are not
    asked).
    """
    line, spec, chosen = entry(name), spec_of(name), check_options(name, options)
    if line.prompts:
        from study.detectors.clip_text import check_lengths

        prompts = [str(chosen[f"prompts_{label}"]).split("\n") for label in ("real", "fake")]
        check_lengths(spec.backbone, [text for texts in prompts for text in texts])
    found = _weights_digest(line, weights_root, download=download)
    own = at_size(line.geometry, int(chosen.get("size_px", line.geometry.size_px)))
    return replace(spec, geometry=geometry_of(own, chosen), weights=found, options=chosen)


def spec_of(name: str) -> DetectorSpec:
    """Return a detector's spec without its weights: options at their defaults, no digest."""
    line = entry(name)
    return DetectorSpec(
        name=name,
        family=line.family,
        geometry=line.geometry,
        mean=line.mean,
        std=line.std,
        learner=line.learner,
        backbone=line.source.backbone if line.source else "",
        pretrained=line.source.pretrained if line.source else "",
        options=check_options(name, {}),
    )


def with_head(spec: DetectorSpec, params: Params) -> DetectorSpec:
    """Return a detector's spec with the head that a configuration asks for: what is built, and what
    a winner is restored by.

    A configuration that says nothing of the head leaves it as the study's options have it.
    """
    usual = {"head": "logistic", LAYER: 0}  # what a spec that says nothing stands for
    chosen = {key: params[key] for key in HEAD_SETTINGS if key in params}
    chosen = {key: value for key, value in chosen.items() if value != usual.get(key, "")}
    spec = with_layers(spec) if LAYER in chosen else spec
    return replace(spec, options={**spec.options, **chosen})


def with_layers(spec: DetectorSpec) -> DetectorSpec:
    """Return the spec of a frozen body that gives the outputs of all its blocks."""
    return replace(spec, options={**spec.options, LAYERS: entry(spec.name).blocks})


def without_head(spec: DetectorSpec) -> DetectorSpec:
    """Return a spec as far as it decides a detector's features."""
    options = {key: value for key, value in spec.options.items() if key not in HEAD_SETTINGS}
    return replace(spec, options=options)


def reduces_frozen(spec: DetectorSpec) -> bool:
    """Tell whether the body of a detector may compute in bfloat16 where no fit touches it: vision
    transformers of libraries.

    Small convolutional networks lose much by it (MobileNetV2 0.35 had features 7 to 21 % off, and
    EfficientNet-Lite0 6 %) and gain little. None with its authors' logits, no code of one's own.
    """
    fits = spec.family in _OF_LIBRARIES and spec.learner in ("logistic", "gradient")
    return fits and _VISION_TRANSFORMER.search(spec.backbone) is not None


def body_key(spec: DetectorSpec) -> str:
    """Return the identity of what is below a detector's head, as built; "" where it is random.

    Detectors with the same one have the same features, whatever their names and heads.
    """
    line = entry(spec.name)
    if line.source is None and line.learner == "gradient":
        return ""
    same = replace(without_head(spec), name="", learner="none")
    return digest("body", same, line.arguments)


@cache
def n_features(name: str, size_px: int) -> int:
    """Return D, the width of what a detector's head reads. size_px: of its images. Builds the
    network, empty.
    """
    spec = spec_of(name)
    return create(replace(spec, geometry=at_size(spec.geometry, size_px)), 0).n_features


def create_function(spec: DetectorSpec) -> Callable[..., Detector]:
    """Return what builds a detector's network: the `create` of its family's file, or a factory of
    one's own. Raises ConfigError where the latter's file is another than that of the spec.
    """
    if library_of(spec.name) == "py":
        from study.detectors.own import own_factory, source_sha256

        if source_sha256(spec.name) != spec.options.get(SOURCE):
            raise ConfigError(
                f"the file of detector '{spec.name}' is not the one that it was resolved or trained"
                " with; a changed file is another detector: run the command again"
            )
        return own_factory(spec.name)
    with without_compiler():
        family = importlib.import_module(f"study.detectors.{spec.family}")
    return cast("Callable[..., Detector]", family.create)


def schedules_of(name: str) -> tuple[Schedule, ...]:
    """Return the schedules that a detector can be trained by.

    A library's model is built for it, empty: `lora` is for one with attention, all of it known
    (study/detectors/attention.py).
    """
    schedules = entry(name).schedules
    if library_of(name) in ("", "py"):
        return schedules
    from study.detectors.attention import projections, unknown_attention

    network = create(spec_of(name), 0)
    adaptable = bool(projections(network)) and not unknown_attention(network)
    return schedules if adaptable else tuple(s for s in schedules if s != "lora")


def check_options(name: str, options: Params) -> dict[str, int | str]:
    """Return what the options of a spec are, given some of a detector's (`detector_options`);
    prompts become their texts.

    Raises ConfigError for an unknown option, a value that it cannot have, and prompts that cannot
    be read.
    """
    line = entry(name)
    known, chosen = line.options, detector_options(name)
    check_keys(options, chosen, noun="option", where=f"detector {name}")
    chosen = {key: value for key, value in chosen.items() if key not in CHOSEN}
    for key, value in options.items():
        if key in CHOSEN:
            continue
        chosen[key] = _whole(name, key, value, known[key]) if key in known else str(value)
    texts = prompt_options(str(chosen.pop("prompts"))) if "prompts" in chosen else {}
    size = int(chosen.get("size_px", line.geometry.size_px))
    cut = check_chosen(name, line, options, size)
    return {**chosen, **texts, **_own_source(name), **cut}


def _own_source(name: str) -> dict[str, str]:
    """The digest of the file of a detector of one's own, by which a changed file is another
    detector.
    """
    if library_of(name) != "py":
        return {}
    from study.detectors.own import source_sha256

    return {SOURCE: source_sha256(name)}


def _whole(name: str, key: str, value: object, option: Option) -> int:
    allowed = range(option.low, option.high + 1)
    if type(value) is not int or value not in allowed or value % option.multiple:
        multiple = f", a multiple of {option.multiple}" if option.multiple > 1 else ""
        raise ConfigError(
            f"detector {name}: {key} = {value!r}: give a whole number from {option.low} to"
            f" {option.high}{multiple}"
        )
    return value


def build(spec: DetectorSpec, *, weights_root: Path | None, seed: int) -> Detector:
    """Build a detector ready to be trained: what is random follows from `seed` alone, what is
    pretrained from the file.

    Raises WeightsError where the file is gone, damaged, of another network, or no longer the one
    that `spec` was resolved with.
    """
    line = entry(spec.name)
    detector = create(spec, seed)
    found = sources(line)
    if found and _weights_digest(line, weights_root) != spec.weights:
        path = weights.find(found[0], weights_root)
        raise WeightsError(
            f"weights file {path} is not the one that {spec.name} was resolved with; resolve it"
            " anew"
        )
    for source in found:
        is_body = line.source is not None and source is found[0]
        load = detector.load_pretrained if is_body else detector.load_head
        load(weights.find(source, weights_root), source)
    return detector


def restore(spec: DetectorSpec, state: Mapping[str, Tensor]) -> Detector:
    """Build a trained detector from all of its tensors (its `state_dict()`); no pretrained file is
    needed.

    Raises WeightsError where a tensor is missing, foreign, or of another shape.
    """
    detector = create(spec, 0)
    aligned = {name: weights.aligned(tensor) for name, tensor in state.items()}
    try:
        detector.load_state_dict(aligned, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"trained weights do not fit {spec.name}: {' '.join(str(error).split())[:300]}"
        ) from error
    return detector


def create(spec: DetectorSpec, seed: int) -> Detector:
    """Build a network from `seed`; a backbone that a file is to fill stays empty."""
    import torch

    line = entry(spec.name)
    cut = cut_of(spec, line)
    size = cut.size_px if cut else spec.geometry.size_px
    seen = replace(spec, geometry=replace(spec.geometry, size_px=size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = create_function(spec)(seen, **line.arguments)
    if cut is None:
        return made
    from study.detectors.crops import cropping

    made.spec = spec
    return cropping(made, cut)

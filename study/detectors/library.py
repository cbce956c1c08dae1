"""Detectors that are named by a library's own name: `timm:resnet18.a1_in1k`,
`open_clip:ViT-B-32/laion2b_s34b_b79k`.

Names, checkpoints and preprocessing are what the installed library says. Only here is a library
asked for them, and importing one takes seconds: a name of ours never comes here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, cast

from study.core.errors import ConfigError
from study.core.records import Geometry
from study.detectors.entry import HEAD_WIDTH, SCHEDULES, Entry
from study.detectors.weights import Source

INTERPOLATIONS = ("bicubic", "bilinear")
SHOWN = 3


@cache
def library_entry(name: str) -> Entry:
    """Return the line of `timm:<name>` or `open_clip:<model>/<pretrained>`, made from what the
    library knows.

    Raises ConfigError for a name that the library has no weights for, with the nearest ones, and
    for a checkpoint whose preprocessing is none of ours (`Geometry`).
    """
    library, _, rest = name.partition(":")
    return _timm_entry(rest) if library == "timm" else _open_clip_entry(rest)


def _timm_entry(name: str) -> Entry:
    import timm

    if not timm.is_model_pretrained(name) or name not in _timm_names():
        raise ConfigError(_unknown("timm", name, _timm_names(), "timm.list_pretrained()"))
    config: Any = timm.get_pretrained_cfg(name)
    classifier = config.classifier or ()
    known: dict[str, Any] = {
        "backbone": config.architecture,
        "pretrained": config.tag or "",
        "classifier": (classifier,) if isinstance(classifier, str) else tuple(classifier),
    }
    source = (
        Source.on_hub(config.hf_hub_id, fallback="pytorch_model.bin", **known)
        if config.hf_hub_id
        else Source(origin=config.url, **known)
    )
    return Entry(
        about=f"{config.architecture} of timm, weights {config.tag}",
        family="timm_network",
        geometry=_timm_geometry(name, config),
        mean=config.mean,
        std=config.std,
        source=source,
        options=HEAD_WIDTH,
        schedules=SCHEDULES,
    )


def _timm_geometry(name: str, config: Any) -> Geometry:
    """Timm's preprocessing of a checkpoint for evaluation (`timm.data.create_transform`)."""
    channels, size, width = config.input_size
    interpolation = config.interpolation
    resize = math.floor(size / config.crop_pct)
    known = interpolation in INTERPOLATIONS and channels == 3 and size == width
    # of a smaller one timm pads the border
    if known and config.crop_mode == "center" and resize >= size:
        return Geometry(
            size_px=size, mode="resize_crop", resize_px=resize, interpolation=interpolation
        )
    if known and config.crop_mode == "squash" and resize == size:
        return Geometry(size_px=size, mode="squash", interpolation=interpolation)
    said = f"{config.crop_mode} crop of {config.crop_pct:g}, {interpolation}"
    raise ConfigError(_not_offered(f"timm:{name}", f"input {config.input_size}, {said}"))


@cache
def _timm_names() -> frozenset[str]:
    """Every name that timm has weights for: with its tag, and without it for timm's default tag."""
    import timm

    tagged = timm.list_pretrained()
    return frozenset(tagged) | frozenset(name.partition(".")[0] for name in tagged)


def _open_clip_entry(name: str) -> Entry:
    import open_clip

    known = [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
    if name not in known:
        raise ConfigError(_unknown("open_clip", name, known, "open_clip.list_pretrained()"))
    model, _, tag = name.partition("/")
    config = cast(Mapping[str, Any], open_clip.get_pretrained_cfg(model, tag))
    size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    return Entry(
        about=f"visual encoder of open_clip's {model}, weights {tag}",
        family="clip",
        source=_open_clip_source(model, tag, config),
        geometry=_open_clip_geometry(name, config, size),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        options=HEAD_WIDTH,
        schedules=SCHEDULES,
        arguments={"force_quick_gelu": True} if config.get("quick_gelu") else {},
    )


def _open_clip_source(model: str, tag: str, config: Mapping[str, Any]) -> Source:
    """open_clip writes a repository as `owner/name/`, or `owner/name/file` where it names one."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    known: dict[str, Any] = {"backbone": model, "pretrained": tag, "prefix": "visual."}
    repository, _, file = str(config.get("hf_hub") or "").rpartition("/")
    if not repository:
        return Source(origin=str(config.get("url", "")), **known)
    name, fallback = (file, "") if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    return Source.on_hub(repository, name, fallback=fallback, **known)


def _open_clip_geometry(name: str, config: Mapping[str, Any], size: Any) -> Geometry:
    """open_clip's preprocessing of a checkpoint for evaluation (`open_clip.image_transform`)."""
    mode, interpolation = config.get("resize_mode"), config.get("interpolation")
    if isinstance(size, int) and interpolation in INTERPOLATIONS and mode in ("shortest", "squash"):
        if mode == "squash":
            return Geometry(size_px=size, mode="squash", interpolation=interpolation)
        return Geometry(
            size_px=size, mode="resize_crop", resize_px=size, interpolation=interpolation
        )
    raise ConfigError(_not_offered(f"open_clip:{name}", f"{size} px, {mode}, {interpolation}"))


def _not_offered(name: str, preprocessing: str) -> str:
    return (
        f"detector {name}: its preprocessing ({preprocessing}) is not offered here: choose another"
        " checkpoint"
    )


def _unknown(library: str, name: str, known: Collection[str], how: str) -> str:
    """The message for a name that a library lacks: the nearest, since it has thousands."""
    close = difflib.get_close_matches(name, sorted(known), n=SHOWN, cutoff=0.4)
    hint = f": did you mean {', '.join(repr(f'{library}:{c}') for c in close)}?" if close else "."
    return (
        f"unknown detector '{library}:{name}'{hint} {library} has weights for {len(known)} names;"
        f" {how} lists them"
    )

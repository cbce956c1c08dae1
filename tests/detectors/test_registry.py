"""The registry as data: names, options, specs; and what it builds from them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from study.core.errors import ConfigError, WeightsError
from study.core.identity import digest
from study.core.records import Geometry
from study.data.images.geometry import check_geometry
from study.detectors import registry
from study.detectors.entry import SCHEDULES
from study.detectors.geometries import CHOSEN
from study.detectors.probes import PROBES
from study.detectors.published import PUBLISHED

SCRATCH = ("ferretnet", "npr", "resnet18_scratch", "safe", "spectrum", "srm")
PRETRAINED = (
    "clip_adapter",
    "clip_finetune",
    "clip_linear",
    "clip_zero_shot",
    "cnnspot",
    "convnext_tiny",
    "dinov2_linear",
    "efficientnet_b4",
    "effort",
    "ln",
    "mobilenetv2_035",
    "mobilenetv2_035_linear",
    "pe_linear",
    "resnet18",
    "resnet50",
    "rine_trained",
    "siglip_linear",
    "xception",
)


def test_all_detectors_of_the_first_matrix_are_there() -> None:
    assert registry.names() == sorted((*SCRATCH, *PRETRAINED, *PROBES, *PUBLISHED))
    assert {*PUBLISHED} == {
        "b_free",
        "community_forensics",
        "dda",
        "ferretnet_s",
        "gend_clip",
        "gend_dinov3",
        "gend_pe",
        "ladeda",
        "npr_published",
        "rine",
        "safe_published",
        "tiny_ladeda",
        "univfd",
    }


@pytest.mark.parametrize("name", registry.names())
def test_every_line_holds_together(name: str) -> None:
    line = registry.entry(name)
    check_geometry(line.geometry)
    assert importlib.util.find_spec(f"study.detectors.{line.family}") is not None
    assert set(line.schedules) <= set(SCHEDULES)
    assert bool(line.schedules) == (line.learner == "gradient")
    assert name != "clip_zero_shot" or line.learner == "none"
    assert (name in PUBLISHED) == (line.learner == "published") == bool(line.published)
    assert (line.source is None) == (name in SCRATCH)
    assert all(option.low <= option.default <= option.high for option in line.options.values())
    assert (
        registry.detector_options(name).get("size_px", line.geometry.size_px)
        == line.geometry.size_px
    )


def test_listing_and_resolving_import_no_torch(tmp_path: Path) -> None:
    (tmp_path / "mobilenetv2_035.safetensors").write_bytes(
        b"any bytes: only their digest is asked for"
    )
    program = (
        "import sys; from pathlib import Path; from study.detectors import registry; import"
        " study.training.recipe\nregistry.resolve('npr', options={},"
        " weights_root=None)\nregistry.resolve('mobilenetv2_035', options={},"
        f" weights_root=Path({str(tmp_path)!r}))\n[registry.weights_status(n, None) for n in"
        " registry.names()]\nsys.exit(', '.join(m for m in ('torch', 'timm', 'open_clip',"
        " 'sklearn') if m in sys.modules) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown detector 'nprr': did you mean 'npr'"):
        registry.resolve("nprr", options={}, weights_root=None)


@pytest.mark.parametrize("name", SCRATCH)
def test_size_px_overrides_the_geometry(name: str) -> None:
    default = registry.resolve(name, options={}, weights_root=None)
    other = registry.resolve(name, options={"size_px": 32}, weights_root=None)
    assert default.options == {"size_px": default.geometry.size_px}
    assert registry.detector_options(name) == {**default.options, **CHOSEN}
    assert other.geometry == Geometry(size_px=32, mode=default.geometry.mode)
    assert digest(default) != digest(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 64}, "unknown option 'size': did you mean 'size_px'"),
        ({"size_px": 63}, "size_px = 63: give a whole number from 16 to 512, a multiple of 2"),
        ({"size_px": 8}, "size_px = 8"),
        ({"size_px": 64.0}, "size_px = 64.0"),
        ({"size_px": True}, "size_px = True"),
        ({"size_px": "64"}, "size_px = '64'"),
    ],
)
def test_a_wrong_option_is_one_line_that_says_what_is_valid(
    options: dict[str, float | int | str | bool], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^detector npr: .*{re.escape(message)}") as caught:
        registry.resolve("npr", options=options, weights_root=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_detectors_do_not_resolve_without_their_weights(
    name: str, tmp_path: Path
) -> None:
    source = registry.entry(name).source
    assert source is not None
    assert registry.weights_status(name, tmp_path) == (
        "missing" if name.startswith(("mobilenetv2_035", "xception")) else "to download"
    )
    with pytest.raises(WeightsError) as caught:
        registry.resolve(name, options={}, weights_root=tmp_path)
    message, ending = str(caught.value), ".pth" if name == "xception" else ".safetensors"
    assert (
        source.origin in message
        and str(tmp_path / f"{source.stem}{ending}") in message
        and "\n" not in message
    )


@pytest.mark.parametrize("name", SCRATCH)
def test_building_follows_from_the_seed_alone(name: str) -> None:
    spec = registry.resolve(name, options={"size_px": 16}, weights_root=None)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = registry.build(spec, weights_root=None, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before), (
        "building must not touch the caller's generator"
    )
    torch.manual_seed(2)
    again = registry.build(spec, weights_root=None, seed=5).state_dict()
    other = registry.build(spec, weights_root=None, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("name", SCRATCH)
def test_a_trained_detector_comes_back_bit_for_bit(name: str) -> None:
    spec = registry.resolve(name, options={"size_px": 16}, weights_root=None)
    trained = registry.build(spec, weights_root=None, seed=3).eval()
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    images = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    restored = registry.restore(spec, state).eval()
    with torch.no_grad():
        assert torch.equal(restored(restored.prepare(images)), trained(trained.prepare(images)))
    del state["head.bias"]
    with pytest.raises(WeightsError, match=r"trained weights do not fit .*head\.bias"):
        registry.restore(spec, state)

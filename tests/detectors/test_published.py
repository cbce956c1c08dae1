"""Published detectors with their authors' files: the logits that the authors' own code gives."""

from __future__ import annotations

import csv
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.ndimage import correlate
from sklearn.metrics import roc_auc_score
from torchvision.models import resnet50

from study.core.errors import WeightsError
from study.core.identity import file_sha256
from study.data.images.geometry import fit_geometry
from study.detectors import registry, weights
from study.detectors.ferretnet import median_residual
from study.detectors.published import PUBLISHED
from study.detectors.weights import Source, load_backbone, read_state
from tests.contract.stand_ins import VIT, make_case
from tests.detectors import authors

SHARED = Path(__file__).parents[3] / "shared"
ROOT, DATA = SHARED / "published", SHARED / "data"
here = pytest.mark.skipif(not ROOT.is_dir(), reason="../shared/published is not here")


def test_the_residual_is_that_of_a_sorted_neighbourhood() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 5)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    expected = np.empty_like(x)
    for *of, row, column in np.ndindex(*x.shape):
        window = padded[(*of, slice(row, row + 3), slice(column, column + 3))].copy()
        window[1, 1] = 0
        expected[(*of, row, column)] = x[(*of, row, column)] - np.sort(window.ravel())[4]
    np.testing.assert_array_equal(median_residual(torch.from_numpy(x)).numpy(), expected)


@here
def test_ferretnet_gives_the_logits_of_its_authors_code() -> None:
    spec = registry.resolve("ferretnet_s", options={}, weights_root=ROOT)
    detector = registry.build(spec, weights_root=ROOT, seed=0).eval()
    assert sum(p.numel() for p in detector.parameters()) == 126_289
    detector = detector.to(memory_format=torch.channels_last)
    with (ROOT / "ferretnet_s" / "expected_logits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    squares = [_square(DATA / row["dataset"] / row["path"], spec.geometry) for row in rows]
    with torch.no_grad():
        batches = torch.from_numpy(np.stack(squares)).split(24)
        found = torch.cat([detector(detector.prepare(batch)) for batch in batches]).numpy()
    expected = np.array([float(row["logit"]) for row in rows])
    assert len(rows) == 240
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    aucs = {"faces_140k": 0.505, "shoes_midjourney": 0.471, "dfdc_faces224": 0.439}
    for name, auc in aucs.items():
        mine = [number for number, row in enumerate(rows) if row["dataset"] == name]
        fake = [rows[number]["label"] == "fake" for number in mine]
        assert roc_auc_score(fake, found[mine]) == pytest.approx(auc, abs=5e-4)


def _square(file: Path, geometry: Any) -> np.ndarray[Any, Any]:
    with Image.open(file) as image:
        return fit_geometry(np.asarray(image.convert("RGB")), geometry)


@here
@pytest.mark.parametrize(("name", "shape"), [("univfd", (8, 768)), ("rine", (8, 24, 1024))])
def test_a_head_gives_the_logits_of_its_authors_code(name: str, shape: tuple[int, ...]) -> None:
    """On CLIP ViT-L/14 as it is, whose file is not needed for that: it stays on the meta device."""
    detector: Any = registry.create(registry.spec_of(name), 0)
    assert {p.device.type for p in detector.parameters()} == {"meta"}
    assert detector.n_features == np.prod(shape[1:])
    card = PUBLISHED[name].published
    assert card is not None and card.head is not None
    file = ROOT / name / card.head.file
    assert file_sha256(file) == card.head.sha256
    load_backbone(detector.published, file, card.head)
    given = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    features = torch.from_numpy(given).flatten(1)
    with torch.no_grad():
        found = detector.eval().classify(features).numpy()
    expected = json.loads((ROOT / "heads_expected.json").read_text())[name]["logits"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_rine_reads_the_class_token_of_every_second_norm() -> None:
    """Against open_clip's own blocks, run one by one."""
    line = registry.entry("rine")
    assert line.source is not None
    spec = replace(registry.spec_of("rine"), backbone="ViT-B-32")
    from study.detectors import rine

    detector: Any = rine.create(spec).to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in detector.state_dict().values():
            tensor.normal_(0.0, 0.02)
        x = torch.rand(2, 3, 224, 224)
        tower, taken = detector.backbone, []
        tokens = tower._embeds(x)
        for block in tower.transformer.resblocks:
            attended = tokens + block.ls_1(block.attention(q_x=block.ln_1(tokens)))
            taken.append(block.ln_2(attended)[:, 0])
            tokens = attended + block.ls_2(block.mlp(block.ln_2(attended)))
        found = detector.features(x)
    torch.testing.assert_close(found, torch.cat(taken, dim=1), rtol=0, atol=1e-5)


def test_a_licence_is_told_before_weights_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def download(source: Source) -> Path:
        assert "licence: MIT; of the encoder the DINOv3 License" in caplog.text
        raise TimeoutError

    monkeypatch.setattr(weights, "_download", download)
    with (
        caplog.at_level("INFO", "study"),
        pytest.raises(WeightsError, match=r"TimeoutError.*licence: MIT; of the encoder"),
    ):
        registry.resolve("gend_dinov3", options={}, weights_root=tmp_path)


def test_another_file_under_the_published_name_is_refused(tmp_path: Path) -> None:
    source = PUBLISHED["ferretnet_s"].source
    assert source is not None
    said = r"are not on this machine: fetch checkpoints/4cls_ckpt.*\(licence: Apache-2.0\)"
    with pytest.raises(WeightsError, match=said):
        registry.resolve("ferretnet_s", options={}, weights_root=tmp_path)
    folder = tmp_path / "ferretnet_s"
    folder.mkdir()
    (folder / source.file).write_bytes(b"another")
    with pytest.raises(WeightsError, match="is not the published one of ferretnet_s: its SHA-256"):
        registry.resolve("ferretnet_s", options={}, weights_root=tmp_path)


def filled(name: str, patch: pytest.MonkeyPatch, folder: Path) -> Any:
    return make_case(name, folder, patch).build()


def test_published_npr_is_half_of_torchvisions_resnet_50(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = filled("npr_published", monkeypatch, tmp_path)
    theirs = resnet50()
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
    half = torch.nn.Sequential(
        theirs.conv1, theirs.bn1, theirs.relu, theirs.maxpool, theirs.layer1, theirs.layer2
    ).eval()
    state = detector.backbone.state_dict()
    fc = state.pop("fc1.weight"), state.pop("fc1.bias")
    assert theirs.load_state_dict(state, strict=False).unexpected_keys == []
    assert sum(p.numel() for p in detector.parameters()) == pytest.approx(1.44e6, rel=0.01)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    corners = x[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    with torch.no_grad():
        expected = half((x - corners) * 2 / 3).mean(dim=(2, 3)) @ fc[0].T + fc[1]
        torch.testing.assert_close(detector(x), expected[:, 0], rtol=1e-4, atol=1e-4)


def test_published_safe_is_half_a_resnet_50_on_the_diagonal_detail_of_bior13(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the filter that PyWavelets names, and torchvision's blocks under the authors' names."""
    detector = filled("safe_published", monkeypatch, tmp_path)
    file = tmp_path / "checkpoint-best.pth"
    assert {"model", "optimizer", "scaler", "args"} < torch.load(file, weights_only=False).keys()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    detail = _diagonal_band(x.numpy().astype(np.float64))
    assert detail.shape == (2, 3, 34, 34)
    enlarged = torch.from_numpy(_enlarged(_enlarged(detail, 64).swapaxes(2, 3), 64).swapaxes(2, 3))
    torch.testing.assert_close(detector.traces(x), enlarged.float(), rtol=0, atol=1e-6)
    real, fake = authors.half_resnet_50(authors.safe_checkpoint()["model"], enlarged.float()).T
    with torch.no_grad():
        found = detector(x)
    assert float(np.ptp(found.numpy())) > 1e-3
    torch.testing.assert_close(found, fake - real, rtol=1e-4, atol=1e-4)


def _diagonal_band(x: Any) -> Any:
    """One level of a transform whose high-pass filter has six taps, continued symmetrically."""
    taps = np.array([0, 0, 1, -1, 0, 0]) / np.sqrt(2)
    for axis in (2, 3):
        edge = [(4, 4) if place == axis else (0, 0) for place in range(4)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, edge, "symmetric"), 6, axis)
        x = np.take(windows @ taps, range(0, windows.shape[axis], 2), axis)
    return x


def _enlarged(x: Any, size: int) -> Any:
    """Linear interpolation along the last axis between centres of cells."""
    held = x.shape[-1]
    place = np.clip((np.arange(size) + 0.5) * held / size - 0.5, 0, held - 1)
    low = np.minimum(place.astype(int), held - 2)
    share = place - low
    return x[..., low] * (1 - share) + x[..., low + 1] * share


def test_a_file_with_anything_but_arrays_and_options_is_refused(tmp_path: Path) -> None:
    content = {**authors.safe_checkpoint(), "run": subprocess.Popen}
    torch.save(content, tmp_path / "checkpoint-best.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path / "checkpoint-best.pth")


@pytest.mark.parametrize("name", ["ladeda", "tiny_ladeda"])
def test_ladeda_is_the_mean_of_what_patches_of_9_pixels_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = filled(name, monkeypatch, tmp_path)
    x = torch.randn(1, 3, 26, 26, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        traces = detector.traces(x)
        step, side = (2, 5) if detector.tiny else (8, 9)
        patches = traces.unfold(2, side, step).unfold(3, side, step)
        alone = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, side, side)
        each = detector.backbone(alone)
        assert each.shape[2:] == (1, 1) and len(alone) == (121 if detector.tiny else 9)
        said = detector.classify(each.flatten(1)).mean()
        torch.testing.assert_close(detector(x)[0], said, rtol=1e-4, atol=1e-4)


def test_tiny_ladeda_has_1297_parameters_and_reads_a_diagonal_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, large = (filled(n, monkeypatch, tmp_path) for n in ("tiny_ladeda", "ladeda"))
    counts = [sum(p.numel() for p in one.parameters()) for one in (tiny, large)]
    assert counts[0] == 1297 and counts[1] / counts[0] == pytest.approx(10_000, rel=0.1)
    x = np.random.default_rng(0).normal(size=(3, 6, 7)).astype(np.float32)
    kernel = [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]
    expected = np.stack([correlate(one, kernel, mode="constant") for one in x])
    found = tiny.traces(torch.from_numpy(x)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_community_forensics_is_timms_network_below_a_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = filled("community_forensics", monkeypatch, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    assert file.name == "vit_small_patch16_384.commfor.safetensors"
    held = {name.removeprefix("vit."): tensor for name, tensor in load_file(file).items()}
    theirs = timm.create_model("vit_small_patch16_384", num_classes=1, **VIT).eval()
    theirs.load_state_dict(held)
    x = torch.randn(2, 3, 384, 384, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(detector(x), theirs(x)[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gend_clip", "gend_dinov3", "gend_pe"])
def test_gend_is_its_authors_network_under_their_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = filled(name, monkeypatch, tmp_path)
    x = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    real, fake = getattr(authors, name)(authors.FILES[name](), x).T
    with torch.no_grad():
        torch.testing.assert_close(detector(x), fake - real, rtol=1e-4, atol=1e-5)
        lengths = detector.features(x).square().sum(dim=1)
    torch.testing.assert_close(lengths, torch.ones(3), rtol=0, atol=1e-5)
    assert float(np.ptp((fake - real).numpy())) > 1e-3


@pytest.mark.parametrize(("name", "side"), [("dda", 336), ("b_free", 504)])
def test_dinov2_below_one_logit_is_its_authors_network_under_their_names(
    name: str, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DDA's low-rank matrices, here part of the weights, are there beside them."""
    detector = filled(name, monkeypatch, tmp_path)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected = getattr(authors, name)(authors.FILES[name]()["model"], x)[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(detector(x), expected, rtol=1e-4, atol=1e-4)
    assert float(np.ptp(expected.numpy())) > 1e-3


def test_b_free_has_as_many_numbers_as_its_authors_file() -> None:
    """86,526,721 in 177 arrays, as others counted who had the file."""
    backbone = registry.create(registry.spec_of("b_free"), 0).backbone
    assert backbone is not None
    state = backbone.state_dict()
    assert len(state) == 177 and sum(one.numel() for one in state.values()) == 86_526_721


@pytest.mark.parametrize(
    ("name", "eps"),
    [
        *(("gend_clip", 1e-5), ("gend_pe", 1e-5), ("gend_dinov3", 1e-5)),
        *(("dda", 1e-6), ("b_free", 1e-6)),
    ],
)
def test_layer_norms_add_what_the_encoders_authors_add(name: str, eps: float) -> None:
    """OpenAI's CLIP, the Perception Encoder and DINOv3 have 1e-5, DINOv2 1e-6. No comparison of
    logits is fine enough to see it.
    """
    backbone = registry.create(registry.spec_of(name), 0).backbone
    assert backbone is not None
    assert {m.eps for m in backbone.modules() if isinstance(m, torch.nn.LayerNorm)} == {eps}


def test_gend_refuses_a_file_of_another_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = filled("gend_clip", monkeypatch, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    whole, source = load_file(file), registry.entry("gend_clip").source
    for change in (
        {"model.linear.weight": torch.zeros(3, 32)},
        {"feature_extractor.vision_model.encoder.layers.2.layer_norm1.bias": torch.zeros(32)},
    ):
        save_file({**whole, **change}, file)
        with pytest.raises(WeightsError, match="does not fit vit_large_patch14_clip_quickgelu"):
            detector.load_pretrained(file, source)


def test_gend_is_as_large_as_its_authors_say() -> None:
    """On the meta device, as large as it is: .03 % of CLIP are its norms."""
    detector = registry.create(registry.spec_of("gend_clip"), 0)
    assert {p.device.type for p in detector.parameters()} == {"meta"}
    sizes = {name: p.numel() for name, p in detector.named_parameters()}
    norms = sum(size for name, size in sizes.items() if ".norm" in name)
    assert norms / sum(sizes.values()) == pytest.approx(0.0003, abs=5e-5)
    assert sum(sizes.values()) == pytest.approx(303e6, rel=0.01) and detector.n_features == 1024


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dda", "fetch ckpt.pth of https://modelscope.cn/datasets/roych1997/Dual_Data_Alignment"),
        ("b_free", "fetch BFREE_dino2reg4/model_epoch_best.pth in the archive of https://www.grip"),
        (
            "gend_clip",
            "fetch https://huggingface.co/yermandy/GenD_CLIP_L_14/resolve/main/model.safetensors",
        ),
        ("npr_published", "fetch NPR.pth of https://github.com/chuangchuangtan"),
        ("safe_published", "fetch checkpoint/checkpoint-best.pth of https://github.com/Ouxiang-Li"),
        ("tiny_ladeda", "fetch weights/Tiny_LaDeDa/WildRF_Tiny_LaDeDa.pth of https://github.com"),
        (
            "community_forensics",
            "fetch https://huggingface.co/OwensLab/commfor-model-384/resolve/main/model.safetensors"
            ", put it at .*/vit_small_patch16_384.commfor.safetensors",
        ),
    ],
)
def test_what_is_missing_is_named(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=said):
        registry.resolve(name, options={}, weights_root=tmp_path, download=False)


def test_a_claim_that_can_be_tested_is_of_a_file_whose_digest_is_known() -> None:
    for name, line in PUBLISHED.items():
        assert line.published is not None
        source = line.published.head or line.source
        testable = any(claim.test_set for claim in line.published.claims)
        assert source is not None and (source.sha256 or not testable), name

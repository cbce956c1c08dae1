"""Pretrained weights: found by name, read whole, fitted exactly, or refused. Checkpoints are
written in the libraries' formats.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from study.core.errors import WeightsError
from study.core.identity import file_sha256
from study.detectors import registry, weights
from study.detectors.base import Detector
from tests.detectors.tiny import (
    CLASSIFIERS,
    CLIP_NAME,
    SIZE_PX,
    TIMM_NAMES,
    clip_entry,
    clip_model,
    register,
    timm_entry,
    timm_network,
    write_timm,
)

NAME = "test_resnet"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    register(monkeypatch, NAME, timm_entry(NAME))
    return NAME


def build(name: str, folder: Path, seed: int = 0) -> Detector:
    spec = registry.resolve(name, options={}, weights_root=folder)
    return registry.build(spec, weights_root=folder, seed=seed)


@pytest.mark.parametrize("name", TIMM_NAMES)
@pytest.mark.parametrize("suffix", weights.EXTENSIONS)
def test_a_timm_checkpoint_gives_timms_own_features(
    name: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, name, timm_entry(name))
    path = write_timm(tmp_path, name, suffix=suffix)
    spec = registry.resolve(name, options={}, weights_root=tmp_path)
    assert spec.weights == file_sha256(path) and (spec.backbone, spec.pretrained) == (name, "tests")
    detector = registry.build(spec, weights_root=tmp_path, seed=0).eval()
    theirs = timm_network(name).eval()
    x = torch.randn(2, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        assert torch.equal(detector.features(x), expected)


def test_a_clip_checkpoint_gives_open_clips_own_embeddings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, "tiny_clip", clip_entry(tmp_path))
    model = clip_model().eval()
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        tmp_path / f"{CLIP_NAME}.tests.safetensors",
    )
    detector = build("tiny_clip", tmp_path).eval()
    x = torch.randn(3, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        assert torch.allclose(detector.features(x), model.encode_image(x), rtol=0, atol=1e-6)
    assert any(type(module).__name__ == "QuickGELU" for module in detector.modules())
    assert not any("text" in name or "token_embedding" in name for name in detector.state_dict())


def test_half_precision_checkpoints_become_float32(tiny: str, tmp_path: Path) -> None:
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in timm_network(tiny).state_dict().items()
    }
    torch.save({"state_dict": state}, tmp_path / f"{tiny}.pth")  # as training scripts wrap it
    detector = build(tiny, tmp_path)
    assert {p.dtype for p in detector.parameters()} == {torch.float32}
    assert torch.equal(
        detector.state_dict()["backbone.layer1.0.conv1.weight"],
        state["layer1.0.conv1.weight"].float(),
    )


def test_the_seed_moves_the_head_and_never_the_backbone(tiny: str, tmp_path: Path) -> None:
    write_timm(tmp_path, tiny)
    one, two = (build(tiny, tmp_path, seed).state_dict() for seed in (0, 1))
    differ = {key for key in one if not torch.equal(one[key], two[key])}
    assert differ == {"head.weight"}


def test_the_more_specific_file_is_taken_and_then_the_first_extension(
    tiny: str, tmp_path: Path
) -> None:
    source = timm_entry(tiny).source
    assert source is not None and weights.local_file(source, tmp_path) is None
    for name in (f"{tiny}.bin", f"{tiny}.safetensors", f"{tiny}.tests.pth"):
        (tmp_path / name).touch()
        assert weights.local_file(source, tmp_path) == tmp_path / name


def test_a_file_that_does_not_say_which_weights_it_holds_is_refused(tmp_path: Path) -> None:
    """One resnet18.safetensors cannot be tv_in1k and a1_in1k, nor ViT-B-32.safetensors OpenAI's and
    LAION's.
    """
    for backbone, names in {
        "resnet18": {"resnet18": "tv_in1k", "timm:resnet18.a1_in1k": "a1_in1k"},
        "ViT-B-32": {
            "clip_linear": "openai",
            "open_clip:ViT-B-32/laion2b_s34b_b79k": "laion2b_s34b_b79k",
        },
    }.items():
        (tmp_path / f"{backbone}.safetensors").write_bytes(b"some weights")
        for name, tag in names.items():
            with pytest.raises(WeightsError, match=re.escape(f"'{tag}'")) as caught:
                registry.resolve(name, options={}, weights_root=tmp_path)
            assert f"rename it to {backbone}.{tag}.safetensors" in str(caught.value)
            assert registry.weights_status(name, tmp_path) == "to rename"
            (tmp_path / f"{backbone}.{tag}.safetensors").write_text(tag)
            found = registry.resolve(name, options={}, weights_root=tmp_path).weights
            assert found == hashlib.sha256(tag.encode()).hexdigest()


def test_the_place_to_put_a_file_has_the_ending_of_what_is_fetched(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = timm_entry(tiny)
    assert line.source is not None
    register(
        monkeypatch,
        tiny,
        replace(line, source=replace(line.source, origin="https://example.org/x.pth")),
    )
    with pytest.raises(WeightsError, match=r"put it at <folder>/test_resnet\.tests\.pth"):
        registry.resolve(tiny, options={}, weights_root=None)


def test_the_environment_names_the_folder_where_no_option_does(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_timm(tmp_path, tiny)
    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path))
    assert registry.weights_status(tiny, None) == "local"
    assert registry.resolve(tiny, options={}, weights_root=None).weights
    assert registry.weights_status(tiny, tmp_path / "elsewhere") == "missing"


def test_without_a_folder_the_error_says_how_to_name_one(tiny: str) -> None:
    with pytest.raises(
        WeightsError,
        match=r"fetch https://example.org/test_resnet.*--weights-root or STUDY_WEIGHTS",
    ):
        registry.resolve(tiny, options={}, weights_root=None)


def test_the_hub_is_asked_by_the_librarys_own_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, filename: str) -> str:
        asked.append((repository, filename))
        raise TimeoutError("no answer")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(
        WeightsError,
        match=r"TimeoutError.*model\.safetensors, put it at .*resnet50\.tv_in1k\.safetensors",
    ):
        registry.resolve("resnet50", options={}, weights_root=tmp_path)
    assert asked == [("timm/resnet50.tv_in1k", "model.safetensors")]
    with pytest.raises(WeightsError):
        registry.resolve("resnet50", options={}, weights_root=tmp_path, download=False)
    assert len(asked) == 1


def test_a_downloaded_file_goes_the_same_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_timm(tmp_path, NAME)
    entry = timm_entry(NAME)
    assert entry.source is not None
    hub = {
        **vars(entry.source),
        "repository": "timm/test_resnet.tests",
        "filename": "model.safetensors",
    }
    register(monkeypatch, NAME, registry.Entry(**{**vars(entry), "source": weights.Source(**hub)}))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, filename: str(path))
    spec = registry.resolve(NAME, options={}, weights_root=None)
    assert spec.weights == file_sha256(path)
    detector = registry.build(spec, weights_root=None, seed=0)
    assert torch.equal(
        detector.state_dict()["backbone.layer1.0.conv1.weight"],
        load_file(path)["layer1.0.conv1.weight"],
    )


def edited(name: str, **changes: Any) -> dict[str, torch.Tensor]:
    """A tiny checkpoint with tensors replaced, or removed where None."""
    state = {**timm_network(name).state_dict(), **changes}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layer1.0.conv1.weight": None},
            "does not fit test_resnet: it lacks layer1.0.conv1.weight;",
        ),
        ({"bn1.running_var": None}, "it lacks bn1.running_var;"),
        ({"layer9.weight": torch.zeros(2)}, "it has unknown layer9.weight;"),
        (
            {"layer1.0.conv1.weight": torch.zeros(3, 3, 3, 3)},
            "it has another shape for layer1.0.conv1.weight;",
        ),
        (
            {"bn1.weight": torch.full((32,), float("nan"))},
            "values that are not finite in bn1.weight;",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    tiny: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_file(edited(tiny, **changes), tmp_path / f"{tiny}.safetensors")
    with pytest.raises(WeightsError, match=re.escape(message)):
        build(tiny, tmp_path)


def test_another_networks_checkpoint_is_refused(tiny: str, tmp_path: Path) -> None:
    write_timm(tmp_path, "test_convnext").rename(tmp_path / f"{tiny}.safetensors")
    with pytest.raises(
        WeightsError,
        match=(
            r"lacks bn1.bias, bn1.running_mean, bn1.running_var, bn1.weight and \d+ more; has"
            r" unknown"
        ),
    ):
        build(tiny, tmp_path)


def test_classifier_and_batch_counts_may_be_absent_or_of_any_shape(
    tiny: str, tmp_path: Path
) -> None:
    classifier = CLASSIFIERS[tiny]
    state = {
        k: v
        for k, v in timm_network(tiny).state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    del state[f"{classifier}.bias"]
    state[f"{classifier}.weight"] = torch.zeros(7, 5)
    save_file(state, tmp_path / f"{tiny}.safetensors")
    assert torch.equal(
        build(tiny, tmp_path).state_dict()["backbone.bn1.weight"], state["bn1.weight"]
    )


@pytest.mark.parametrize("suffix", weights.EXTENSIONS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tiny: str, suffix: str, share: float, tmp_path: Path) -> None:
    path = write_timm(tmp_path, tiny, suffix=suffix)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=re.escape(str(path))) as caught:
        build(tiny, tmp_path)
    assert "\n" not in str(caught.value)


class Harmful:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_executed(tiny: str, tmp_path: Path) -> None:
    torch.save({"conv1.weight": Harmful(tmp_path / "executed")}, tmp_path / f"{tiny}.pth")
    with pytest.raises(WeightsError):
        build(tiny, tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [{}, [1, 2], {"conv1.weight": 3.0}, torch.zeros(2)])
def test_a_file_of_something_else_is_refused(tiny: str, content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / f"{tiny}.pth")
    with pytest.raises(WeightsError, match="holds no state dict of tensors"):
        build(tiny, tmp_path)


def test_a_file_that_changed_since_it_was_resolved_is_refused(tiny: str, tmp_path: Path) -> None:
    write_timm(tmp_path, tiny, seed=0)
    spec = registry.resolve(tiny, options={}, weights_root=tmp_path)
    write_timm(tmp_path, tiny, seed=1)
    with pytest.raises(WeightsError, match="is not the one that test_resnet was resolved with"):
        registry.build(spec, weights_root=tmp_path, seed=0)


def test_a_spec_without_a_digest_builds_nothing_random(tiny: str, tmp_path: Path) -> None:
    write_timm(tmp_path, tiny)
    spec = registry.resolve(tiny, options={}, weights_root=tmp_path)
    with pytest.raises(WeightsError):
        registry.build(type(spec)(**{**vars(spec), "weights": ""}), weights_root=tmp_path, seed=0)


def test_a_backbone_is_empty_until_it_is_filled(tiny: str, tmp_path: Path) -> None:
    """No code path can leave random numbers in a pretrained backbone: before the file it has no
    numbers at all.
    """
    write_timm(tmp_path, tiny)
    spec = registry.resolve(tiny, options={}, weights_root=tmp_path)
    empty = registry.create(spec, 0)
    assert {p.device.type for p in empty.backbone.parameters()} == {"meta"}
    filled = registry.build(spec, weights_root=tmp_path, seed=0)
    assert {t.device.type for t in (*filled.parameters(), *filled.buffers())} == {"cpu"}


def test_a_trained_pretrained_detector_is_restored_without_its_file(
    tiny: str, tmp_path: Path
) -> None:
    path = write_timm(tmp_path, tiny)
    trained = build(tiny, tmp_path).eval()
    path.unlink()
    restored = registry.restore(trained.spec, trained.state_dict()).eval()
    x = torch.randn(2, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        assert torch.equal(restored(x), trained(x))


def test_open_clip_is_not_told_to_be_silent_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging

    register(monkeypatch, "tiny_clip", clip_entry(tmp_path))
    save_file(
        {k: v.contiguous() for k, v in clip_model().state_dict().items()},
        tmp_path / f"{CLIP_NAME}.safetensors",
    )
    build("tiny_clip", tmp_path)
    assert logging.root.manager.disable == logging.NOTSET
    assert CLIP_NAME in open_clip.list_models()

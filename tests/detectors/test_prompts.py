"""Detectors that read prompts: the sets, what is embedded, and what clip_adapter and clip_zero_shot
compute from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.core.errors import ConfigError
from study.core.identity import digest
from study.detectors import registry
from study.detectors.base import Detector
from study.detectors.clip_adapter import similarity_features
from study.detectors.clip_text import PromptedClip, _embed
from study.detectors.prompts import prompt_options, prompt_sets, read_prompts
from tests.contract.stand_ins import CLIP_NAME, Case, make_case, whole_clip

SEED_001 = [  # (real, fake) pairs, as its model lists them
    ("a genuine photograph of a face", "a computer-generated image of a face"),
    ("an authentic person's portrait", "a digitally manipulated face"),
    ("a real person", "a synthetic AI-generated face"),
]


@pytest.fixture(scope="module", params=["clip_adapter", "clip_zero_shot"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    with pytest.MonkeyPatch.context() as patch:
        yield make_case(request.param, tmp_path_factory.mktemp("weights"), patch)


def embedded(case: Case, texts: list[str]) -> Tensor:
    """By open_clip's own model, whole."""
    whole = whole_clip(force_quick_gelu=True).eval()
    with torch.no_grad():
        return F.normalize(whole.encode_text(open_clip.get_tokenizer(CLIP_NAME)(texts)), dim=-1)


def test_prompts_are_embedded_by_the_text_tower_of_the_same_file(case: Case) -> None:
    detector = case.build()
    assert isinstance(detector, PromptedClip)
    real, fake = read_prompts(case.line.prompts)
    torch.testing.assert_close(detector.text, embedded(case, [*real, *fake]), rtol=0, atol=1e-6)
    whole = whole_clip(force_quick_gelu=True)
    torch.testing.assert_close(detector.text_scale, whole.logit_scale.exp().detach())
    assert not any(
        "token_embedding" in key or key.startswith("backbone.text") for key in detector.state_dict()
    )
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = F.normalize(whole.eval().encode_image(x), dim=-1)
        torch.testing.assert_close(detector.features(x), expected, rtol=0, atol=1e-6)


def test_embeddings_are_kept_for_the_threads_that_made_them(case: Case) -> None:
    before, threads = _embed.cache_info().misses, torch.get_num_threads()
    try:
        for count in (threads + 1, threads + 2, threads + 2):
            torch.set_num_threads(count)
            case.build()
    finally:
        torch.set_num_threads(threads)
    assert _embed.cache_info().misses == before + 2


def test_other_prompts_make_another_spec_and_another_detector(case: Case, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('real = ["a photo"]\nfake = ["a drawing", "a rendering"]\n', encoding="utf-8")
    spec = registry.resolve(case.name, options={"prompts": str(own)}, weights_root=case.folder)
    shipped = case.resolve()
    assert (
        spec.options["prompts_real"] == "a photo"
        and spec.options["prompts_fake"] == "a drawing\na rendering"
    )
    assert spec.options["prompts_digest"] != shipped.options["prompts_digest"] and digest(
        spec
    ) != digest(shipped)
    own.unlink()  # the texts are in the spec: whoever builds it needs no file
    detector = registry.build(spec, weights_root=case.folder, seed=0)
    assert isinstance(detector, PromptedClip) and detector.text.shape[0] == 3


def test_the_texts_alone_decide_and_not_where_they_lie(case: Case, tmp_path: Path) -> None:
    real, fake = read_prompts(case.line.prompts)
    quoted = [", ".join(f'"{text}"' for text in texts) for texts in (real, fake)]
    specs = [case.resolve()]
    for name in ("one.toml", "two.toml"):
        (tmp_path / name).write_text(
            f"real = [{quoted[0]}]\nfake = [{quoted[1]}]\n", encoding="utf-8"
        )
        specs.append(
            registry.resolve(
                case.name, options={"prompts": str(tmp_path / name)}, weights_root=case.folder
            )
        )
    assert len({digest(spec) for spec in specs}) == 1


def test_a_prompt_that_the_text_tower_would_cut_is_refused(case: Case, tmp_path: Path) -> None:
    """It reads 77 tokens, of which two begin and end the text; `photo` is one."""
    for words, fits in ((75, True), (76, False)):
        own = tmp_path / "own.toml"
        own.write_text(
            f'real = ["{" ".join(["photo"] * words)}"]\nfake = ["a drawing"]\n', encoding="utf-8"
        )
        if fits:
            registry.resolve(case.name, options={"prompts": str(own)}, weights_root=case.folder)
            continue
        with pytest.raises(ConfigError, match=r"prompt 'photo photo.*has 78 tokens.*reads 77"):
            registry.resolve(case.name, options={"prompts": str(own)}, weights_root=case.folder)


def test_similarities_are_float32_under_autocast_too(case: Case) -> None:
    detector = case.build()
    assert isinstance(detector, PromptedClip)
    features = F.normalize(torch.randn(4, detector.n_features), dim=-1)
    with torch.no_grad():
        expected = detector.classify(features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cosines, logits = (
                torch.cat(detector.similarities(features), dim=1),
                detector.classify(features),
            )
    assert torch.equal(cosines, features @ detector.text.T) and torch.equal(logits, expected)


def test_the_sets_that_ship() -> None:
    assert prompt_sets() == ["faces", "images"]
    real, fake = read_prompts("faces")
    assert list(zip(real, fake, strict=True)) == SEED_001
    assert prompt_options("faces")["prompts_digest"] != prompt_options("images")["prompts_digest"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('real = ["a"]', ["fake = None"]),
        ('real = []\nfake = ["b"]', ["real = []", "at least one"]),
        ('real = ["a", "a"]\nfake = ["b"]', ["different"]),
        ('real = ["a\\nb"]\nfake = ["b"]', ["one line"]),
        ('real = "a"\nfake = ["b"]', ["must be a list"]),
        ('real = ["a"]\nfakes = ["b"]', ["'fakes'", "did you mean 'fake'"]),
        ("real = [", ["not valid TOML"]),
    ],
)
def test_a_wrong_file_is_one_line(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        read_prompts(str(path))
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)


def test_an_unknown_set_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown prompts 'face': did you mean 'faces'"):
        registry.resolve("clip_adapter", options={"prompts": "face"}, weights_root=None)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_prompts(str(tmp_path / "absent.toml"))


# clip_adapter


def trainable(detector: Detector) -> int:
    return sum(p.numel() for p in detector.stages()[0].all_parameters())


def test_clip_adapters_trained_part_has_the_shapes_and_the_count_of_its_source() -> None:
    """By hand, weights and biases of each layer; its log (results/run.log of seed 001) prints
    215,362, with two logits.
    """
    detector = registry.create(registry.spec_of("clip_adapter"), 0)
    layers = [
        tuple(m.weight.shape[::-1]) for m in detector.head.modules() if isinstance(m, nn.Linear)
    ]
    assert layers == [(512, 256), (256, 128), (134, 256), (256, 64), (64, 1)]
    by_hand = (512 * 256 + 256) + (256 * 128 + 128) + (134 * 256 + 256) + (256 * 64 + 64)
    assert by_hand + (64 * 2 + 2) == 215_362
    assert trainable(detector) == by_hand + (64 * 1 + 1) == 215_297
    # One output fewer of a layer that reads 64: nothing else differs.
    assert 215_362 - trainable(detector) == 64 + 1
    assert [m.p for m in detector.head.modules() if isinstance(m, nn.Dropout)] == [
        0.1,
        0.1,
        0.2,
        0.1,
    ]
    assert [stage.name for stage in detector.stages()][:2] == ["head", "transformer.resblocks.11"]


def test_the_six_similarities_are_those_of_their_names() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    expected = []
    for row_real, row_fake in zip(real, fake, strict=True):
        both = [*row_real, *row_fake]
        mean_real, mean_fake, mean = sum(row_real) / 3, sum(row_fake) / 2, sum(both) / 5
        # sample standard deviation, as torch.std's default
        deviation = (sum((value - mean) ** 2 for value in both) / 4) ** 0.5
        expected.append([mean_real, mean_fake, mean, mean_real - mean_fake, deviation, max(both)])
    found = similarity_features(torch.from_numpy(real), torch.from_numpy(fake))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_clip_adapter_is_its_layers_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case("clip_adapter", tmp_path, monkeypatch)
    detector = case.build()
    assert isinstance(detector, PromptedClip)
    x = torch.randn(3, 3, 224, 224)
    with torch.no_grad():
        image = F.normalize(detector.backbone(x), dim=-1)
        cosines = image @ detector.text.T
        linear = [m for m in detector.head.modules() if isinstance(m, nn.Linear)]
        hidden = F.relu(linear[1](F.relu(linear[0](image))))
        six = similarity_features(cosines[:, :3], cosines[:, 3:])
        logit = linear[4](F.relu(linear[3](F.relu(linear[2](torch.cat([hidden, six], 1))))))
        torch.testing.assert_close(detector(x), logit[:, 0], rtol=0, atol=1e-6)


# clip_zero_shot


def test_zero_shot_is_clips_own_softmax_over_two_ensembles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Radford et al., section 3.1.4: mean of an ensemble's embeddings, at unit length; softmax of
    scaled cosines.
    """
    case = make_case("clip_zero_shot", tmp_path, monkeypatch)
    detector = case.build()
    real, fake = read_prompts("images")
    classes = torch.stack(
        [F.normalize(embedded(case, list(texts)).mean(0), dim=0) for texts in (real, fake)]
    )
    whole = whole_clip(force_quick_gelu=True).eval()
    x = torch.randn(4, 3, 224, 224)
    with torch.no_grad():
        image = F.normalize(whole.encode_image(x), dim=-1)
        probability = (whole.logit_scale.exp() * image @ classes.T).double().softmax(dim=1)[:, 1]
        found = detector(x).double().sigmoid()
    torch.testing.assert_close(found, probability, rtol=0, atol=1e-5)


def test_zero_shot_has_nothing_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("clip_zero_shot", tmp_path, monkeypatch)
    detector = case.build(seed=0)
    assert (
        detector.spec.learner == "none"
        and detector.spec.options["prompts_digest"]
        and trainable(detector) == 0
    )
    other = case.build(seed=1).state_dict()
    assert all(torch.equal(tensor, other[key]) for key, tensor in detector.state_dict().items())


# heads


def test_the_heads_hidden_layer_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case("clip_finetune", tmp_path, monkeypatch)
    linear = case.build()
    spec = registry.resolve("clip_finetune", options={"head_width": 8}, weights_root=tmp_path)
    deep = registry.build(spec, weights_root=tmp_path, seed=0)
    assert (trainable(linear), trainable(deep)) == (24 + 1, (24 * 8 + 8) + (8 + 1))
    with torch.no_grad():
        features = torch.randn(5, 24)
        first, last = deep.head[0], deep.head[2]
        expected = last(F.gelu(first(features)))[:, 0]
        assert torch.equal(deep.classify(features), expected)
    with pytest.raises(ConfigError, match="head_width = -1: give a whole number from 0 to 8192"):
        registry.resolve("clip_finetune", options={"head_width": -1}, weights_root=tmp_path)

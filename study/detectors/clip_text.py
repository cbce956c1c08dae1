"""CLIP detectors that compare an image with prompts, which are embedded when one is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.core.errors import ConfigError
from study.core.records import DetectorSpec
from study.detectors.clip import ClipDetector, empty_tower, parts
from study.detectors.meta_device import empty
from study.detectors.weights import Source, file_digest, load_backbone


class PromptedClip(ClipDetector):
    """A CLIP image encoder beside the embeddings of the spec's prompts.

    text: (P, D) float32, unit length, the real prompts first; text_scale: () float32, the factor on
    cosines that CLIP was trained with. Both are saved with the detector, so that it scores without
    a text tower.
    """

    text: Tensor
    text_scale: Tensor

    def __init__(
        self, spec: DetectorSpec, head: nn.Module, *, force_quick_gelu: bool = False
    ) -> None:
        super().__init__(spec, empty_tower(spec.backbone, force_quick_gelu=force_quick_gelu), head)
        self.real, self.fake = (
            str(spec.options[f"prompts_{label}"]).split("\n") for label in ("real", "fake")
        )
        self.register_buffer(
            "text", torch.empty(len(self.real) + len(self.fake), self.n_features, device="meta")
        )
        self.register_buffer("text_scale", torch.empty((), device="meta"))
        self._force_quick_gelu = force_quick_gelu

    def load_pretrained(self, path: Path, source: Source) -> None:
        """Fill the image encoder, and embed the prompts with the text encoder of the same file."""
        super().load_pretrained(path, source)
        texts = (*self.real, *self.fake)
        text, scale = _embed(
            path, file_digest(path), source, texts, self._force_quick_gelu, torch.get_num_threads()
        )
        self.text, self.text_scale = text.clone(), scale.clone()

    def features(self, x: Tensor) -> Tensor:
        """Prepared images (B, 3, S, S) to image embeddings (B, D) of unit length."""
        return F.normalize(super().features(x), dim=-1)

    def similarities(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines of embeddings (B, D) with the real prompts (B, P real) and with the fake ones (B,
        P fake), in float32 always.
        """
        # they differ in the third digit, which bfloat16 does not have
        with torch.autocast(features.device.type, enabled=False):
            cosines = features.float() @ self.text.T
        return cosines[:, : len(self.real)], cosines[:, len(self.real) :]


def check_lengths(model: str, texts: Sequence[str]) -> None:
    """Raise ConfigError for a prompt that an open_clip model's tokenizer would cut silently."""
    tokenizer = open_clip.get_tokenizer(model)
    for text in texts:
        tokens = len(tokenizer.encode(text)) + 2  # and those that begin and end a text
        if tokens > tokenizer.context_length:
            raise ConfigError(
                f"prompt '{text[:60]}...' has {tokens} tokens: {model} reads"
                f" {tokenizer.context_length}; shorten it"
            )


@lru_cache(maxsize=8)
def _embed(
    path: Path,
    digest: str,
    source: Source,
    texts: Sequence[str],
    force_quick_gelu: bool,
    threads: int,
) -> tuple[Tensor, Tensor]:
    """Embed prompts with the text tower of a file of this digest: unit vectors (P, D), and the
    factor on cosines ().

    threads: torch's, as they are set; the last bits follow from them.
    """
    model = source.backbone
    network = cast(
        open_clip.CLIP,
        empty(lambda: open_clip.CLIP(**parts(model, force_quick_gelu=force_quick_gelu))),
    )
    network.visual = nn.Identity()
    load_backbone(network, path, replace(source, prefix="", classifier=("visual",)))
    with torch.no_grad():
        text = network.eval().encode_text(
            open_clip.get_tokenizer(model)(list(texts)), normalize=True
        )
        return text, network.logit_scale.exp()

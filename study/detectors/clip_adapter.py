"""A frozen CLIP image encoder, a small adapter, and six similarities to prompts
(clip-deepfake-detection, 2025).

As in the authors' code (github.com/mark81806/clip-deepfake-detection): image embedding of unit
length -> MLP 512-256-128; cosines with the prompts -> their mean over the real prompts, over the
fake ones and over all, the difference of the first two, their standard deviation and their maximum;
both together -> MLP 134-256-64-1. There the last layer has two outputs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.base import near_zero_
from study.detectors.clip import embedding_width
from study.detectors.clip_text import PromptedClip

ADAPTER = (256, 128)
CLASSIFIER = (256, 64)
SIMILARITIES = 6
DROPOUT = {"adapter": (0.1, 0.1), "classifier": (0.2, 0.1)}


class AdapterHead(nn.Module):
    """What is trained: embeddings (B, D) and similarity features (B, 6) to (B, 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.adapter = nn.Sequential(*_layers((width, *ADAPTER), DROPOUT["adapter"]))
        hidden = _layers((ADAPTER[-1] + SIMILARITIES, *CLASSIFIER), DROPOUT["classifier"])
        self.classifier = nn.Sequential(*hidden, near_zero_(nn.Linear(CLASSIFIER[-1], 1)))

    def forward(self, embedding: Tensor, similarity: Tensor) -> Tensor:
        """Embeddings (B, D) and similarity features (B, 6) to (B, 1)."""
        return cast(
            Tensor, self.classifier(torch.cat([self.adapter(embedding), similarity], dim=1))
        )


def _layers(widths: tuple[int, ...], dropout: tuple[float, ...]) -> list[nn.Module]:
    steps = zip(widths, widths[1:], dropout, strict=False)
    return [
        layer
        for below, above, p in steps
        for layer in (nn.Linear(below, above), nn.ReLU(), nn.Dropout(p))
    ]


class ClipAdapter(PromptedClip):
    """The adapter and its classifier are the head; the image encoder below it stays frozen."""

    def classify(self, features: Tensor) -> Tensor:
        """Embeddings of unit length (B, D) to logits (B,), in float32 under autocast too."""
        with torch.autocast(features.device.type, enabled=False):
            six = similarity_features(*self.similarities(features))
            return cast(Tensor, self.head(features.float(), six)).squeeze(1)


def similarity_features(real: Tensor, fake: Tensor) -> Tensor:
    """Cosines with the real prompts (B, R) and the fake ones (B, F) to the six features (B, 6), in
    the order of the file's head.
    """
    both = torch.cat([real, fake], dim=1)
    mean_real, mean_fake = real.mean(dim=1), fake.mean(dim=1)
    six = (
        mean_real,
        mean_fake,
        both.mean(dim=1),
        mean_real - mean_fake,
        both.std(dim=1),
        both.amax(dim=1),
    )
    return torch.stack(six, dim=1)


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> ClipAdapter:
    """Build the detector of `spec`; a file fills its encoder and its prompts' embeddings."""
    return ClipAdapter(
        spec, AdapterHead(embedding_width(spec.backbone)), force_quick_gelu=force_quick_gelu
    )

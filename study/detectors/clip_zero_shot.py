"""CLIP as its authors use it without training (Radford et al., ICML 2021): which prompts is an
image nearer to?

An ensemble of prompts for each class, fixed beforehand: the mean of their embeddings, at unit
length. Of the softmax over the two classes the logit of "fake" is CLIP's own factor times the
difference of the two cosines. Its sign is what the words say; no data turn it round.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.core.records import DetectorSpec
from study.detectors.clip_text import PromptedClip


class ClipZeroShot(PromptedClip):
    """Nothing is trained: the head has no parameters."""

    def classify(self, features: Tensor) -> Tensor:
        """Embeddings of unit length (B, D) to logits (B,), in float32 always: scale x (cosine with
        "fake" - cosine with "real").
        """
        n_real = len(self.real)
        real, fake = (
            F.normalize(part.mean(dim=0), dim=0)
            for part in (self.text[:n_real], self.text[n_real:])
        )
        with torch.autocast(features.device.type, enabled=False):
            return self.text_scale * (features.float() @ (fake - real))


def create(spec: DetectorSpec, *, force_quick_gelu: bool = False) -> ClipZeroShot:
    """Build the detector of `spec`; a file fills its encoder and its prompts' embeddings."""
    return ClipZeroShot(spec, nn.Identity(), force_quick_gelu=force_quick_gelu)

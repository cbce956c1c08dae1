"""The azimuthally averaged power spectrum and a logistic regression (Durall et al. 2020).

Up-convolutions cannot reproduce the spectral distribution of photographs: the profile of log power
over spatial frequency shows it. Durall, Keuper, Keuper, "Watch your up-convolution" (CVPR 2020) and
"Unmasking DeepFakes with simple features" (2020).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from study.core.records import DetectorSpec
from study.detectors.base import Detector, Stage

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what JPEG and PIL call luminance
# added to the power, on luminance in [0, 1]: below one grey level's rounding noise at every size
FLOOR = 1e-8


def _rings(size_px: int) -> tuple[Tensor, Tensor]:
    """Return for every frequency of a half spectrum (S, S // 2 + 1) its ring and its weight in that
    ring's mean.

    The ring is the whole part of the distance from zero frequency, in cycles per image. A frequency
    that the half spectrum leaves out is the complex conjugate of one it holds, and has the same
    power: that one counts twice.
    """
    rows = torch.fft.fftfreq(size_px, d=1 / size_px, dtype=torch.float64)[:, None]
    columns = torch.arange(size_px // 2 + 1, dtype=torch.float64)[None, :]
    ring = torch.hypot(rows, columns).floor().long()
    own = (columns == 0) | ((columns == size_px / 2) & (size_px % 2 == 0))
    count = torch.where(own, 1.0, 2.0).expand(ring.shape).to(torch.float64)
    total = torch.zeros(int(ring.max()) + 1, dtype=torch.float64).index_add_(
        0, ring.flatten(), count.flatten()
    )
    return ring, count / total[ring]


class Spectrum(Detector):
    """D rings: mean log power of the luminance by whole distance from zero, corners included."""

    channels_last = False
    side_by_side = True

    def __init__(self, spec: DetectorSpec) -> None:
        ring, weight = _rings(spec.geometry.size_px)
        rings = int(ring.max()) + 1
        super().__init__(spec, rings)
        self.register_buffer("_ring", ring.flatten(), persistent=False)
        self.register_buffer(
            "_weight", weight.flatten().to(torch.float32)[:, None], persistent=False
        )
        self.register_buffer("_luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] to profiles (B, D), natural logarithm of power."""
        luminance = (x * cast(Tensor, self._luma)).sum(dim=1)
        spectrum = torch.fft.rfft2(luminance, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        # (frequencies, B)
        weighted = torch.log(power + FLOOR).flatten(1).T * cast(Tensor, self._weight)
        profile = weighted.new_zeros(self.n_features, len(x)).index_add_(
            0, cast(Tensor, self._ring), weighted
        )
        return profile.T.contiguous()

    def body_stages(self) -> tuple[Stage, ...]:
        """None: nothing below the head is trained."""
        return ()


def create(spec: DetectorSpec) -> Spectrum:
    """Build the detector of `spec`."""
    return Spectrum(spec)

"""Detectors of the literature on networks of the libraries: what these say of each checkpoint, the
real architecture on the meta device, and what is trained of it by which losses.
"""

from __future__ import annotations

import itertools
import math
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from study.detectors import registry
from study.detectors.effort import Residual
from study.detectors.library import library_entry
from study.detectors.metric_losses import alignment, contrast, uniformity
from study.detectors.trained import TRAINED

WIDTHS = {"cnnspot": 2048, "xception": 2048, "efficientnet_b4": 1792}


@pytest.mark.parametrize("name", WIDTHS)
def test_the_network_of_a_short_name_is_timms(name: str) -> None:
    line = TRAINED[name]
    assert line.source is not None
    theirs = library_entry(f"timm:{line.source.backbone}.{line.source.pretrained}")
    assert theirs.source is not None
    assert (line.mean, line.std) == (theirs.mean, theirs.std)
    found = (line.source.origin, line.source.repository, line.source.classifier)
    of_library = (theirs.source.origin, theirs.source.repository, theirs.source.classifier)
    assert found == of_library
    if name != "cnnspot":  # whose crops are never resized
        assert line.geometry == theirs.geometry
    detector = registry.create(registry.spec_of(name), 0)
    assert detector.n_features == WIDTHS[name]
    body = [p for key, p in detector.named_parameters() if not key.startswith("head.")]
    assert {p.device.type for p in body} == {"meta"}


@pytest.mark.parametrize(
    ("name", "trained"),
    # of 24 blocks: four weights a block with one component each; two norms a block, and two more
    [("effort", 24 * 4 * (1024 + 1 + 1024)), ("ln", (24 * 2 + 2) * 2 * 1024)],
)
def test_a_thousandth_of_clip_is_trained(name: str, trained: int) -> None:
    detector = registry.create(registry.spec_of(name), 0)
    assert detector.n_features == 768
    _, part, stem = detector.stages()
    sizes = [sum(p.numel() for p in stage.all_parameters()) for stage in (part, stem)]
    assert sizes[0] == trained and sizes[0] < sum(sizes) / 1000


def test_a_residual_is_what_the_smallest_singular_value_makes() -> None:
    """Of queries, keys and values each; its losses are those of the whole matrices."""
    torch.manual_seed(0)
    whole = torch.randn(15, 5, dtype=torch.float64)
    residual = Residual(whole)
    frozen = residual.take(whole)
    torch.testing.assert_close(residual(frozen), whole, rtol=0, atol=1e-12)
    kept = []
    for part, left in zip(whole.numpy().reshape(3, 5, 5), frozen.reshape(3, 5, 5), strict=True):
        up, size, down = np.linalg.svd(part)
        kept.append((up[:, :4], down[:4], np.linalg.norm(part)))
        np.testing.assert_allclose(left, up[:, :4] * size[:4] @ down[:4], atol=1e-12)
    assert residual.losses(whole).item() == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        for parameter in residual.parameters():
            parameter.add_(torch.randn_like(parameter))
    expected = 0.0
    for number, (up, down, norm) in enumerate(kept):
        u, v = (one[number].detach().numpy() for one in (residual.up, residual.down))
        all_up, all_down = np.hstack([up, u]), np.vstack([down, v])
        turned = [
            np.sum((one - np.eye(5)) ** 2) for one in (all_up.T @ all_up, all_down @ all_down.T)
        ]
        now = residual(frozen).detach().numpy().reshape(3, 5, 5)[number]
        expected += (sum(turned) / 2 + abs(np.sum(now**2) - norm**2)) / 3
    assert residual.losses(residual(frozen)).item() == pytest.approx(expected, rel=1e-9)


def test_a_file_is_decomposed_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights again are not, other ones are, and what is kept is not what is trained."""
    asked = []
    svd = torch.linalg.svd

    def counted(matrix: torch.Tensor, **how: bool) -> tuple[torch.Tensor, ...]:
        asked.append(matrix.shape)
        return cast(tuple[torch.Tensor, ...], svd(matrix, **how))

    monkeypatch.setattr(torch.linalg, "svd", counted)
    torch.manual_seed(3)
    whole, other = torch.randn(2, 15, 5, dtype=torch.float64)
    first, again, third = (Residual(whole) for _ in range(3))
    left = first.take(whole)
    with torch.no_grad():
        first.up.add_(1)
    assert torch.equal(again.take(whole), left) and len(asked) == 1
    third.take(other)
    assert len(asked) == 2
    torch.testing.assert_close(again(left), whole, rtol=0, atol=1e-12)


def test_alignment_and_uniformity_are_means_over_pairs() -> None:
    torch.manual_seed(0)
    points = nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1)
    label = torch.tensor([0.0, 1, 1, 0, 0, 1])
    pairs = list(itertools.combinations(range(6), 2))
    apart = {(i, j): math.dist(points[i].tolist(), points[j].tolist()) ** 2 for i, j in pairs}
    same = [apart[i, j] for i, j in pairs if label[i] == label[j]]
    assert float(alignment(points, label)) == pytest.approx(np.mean(same))
    spread = math.log(np.mean([math.exp(-2 * d) for d in apart.values()]))
    assert float(uniformity(points)) == pytest.approx(spread)
    one = points[:1]
    assert float(alignment(one, label[:1])) == float(uniformity(one)) == 0


def test_contrast_is_the_mean_log_share_of_ones_own_class() -> None:
    """By the formula of Khosla et al. (2020), image by image; one without a partner has no part."""
    torch.manual_seed(0)
    points, label = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0.0, 1, 1, 1, 0])
    unit = (points / points.norm(dim=1, keepdim=True)).numpy()

    def of(images: list[int]) -> float:
        found = []
        for i in images:
            others = [j for j in images if j != i]
            all_of = sum(math.exp(unit[i] @ unit[j] / 0.07) for j in others)
            mine = [
                math.log(math.exp(unit[i] @ unit[j] / 0.07) / all_of)
                for j in others
                if label[j] == label[i]
            ]
            found += [-float(np.mean(mine))] if mine else []
        return float(np.mean(found))

    assert float(contrast(points, label)) == pytest.approx(of([0, 1, 2, 3, 4]))
    assert float(contrast(points[:4], label[:4])) == pytest.approx(of([0, 1, 2, 3]))
    assert float(contrast(points[:2], label[:2])) == 0

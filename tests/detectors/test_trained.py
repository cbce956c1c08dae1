"""Detectors of the literature on networks of the libraries: what these say of each checkpoint, and
the real architecture on the meta device.
"""

from __future__ import annotations

import pytest

from study.detectors import registry
from study.detectors.library import library_entry
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

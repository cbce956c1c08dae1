"""How wide the interval of an AUC will be, against simulated AUCs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from study.render.study_text import few_images_text
from study.statistics.sample_size import expected_auc_interval


@pytest.mark.parametrize(("n_real", "n_fake"), [(40, 40), (20, 60)])
def test_the_width_is_that_of_simulated_aucs(n_real: int, n_fake: int) -> None:
    """Normal scores with an AUC of .8: 1.96 standard deviations of its logit, within a sixth."""
    rng, label = np.random.default_rng(0), np.repeat([0, 1], [n_real, n_fake])
    shift = label * norm.ppf(0.8) * np.sqrt(2)
    aucs = [roc_auc_score(label, rng.normal(size=len(label)) + shift) for _ in range(400)]
    low, high = expected_auc_interval(0.8, n_real, n_fake)
    assert (logit(high) - logit(low)) / 2 == pytest.approx(1.96 * np.std(logit(aucs)), rel=1 / 6)


def test_few_images_are_told_with_the_interval_that_they_make() -> None:
    """By hand, of Hanley and McNeil's equations for 9 and 9 images: 0.8 +- 1.96 x 0.108 on the
    logit scale.
    """
    said = few_images_text(9, 9)
    assert said.startswith("few test images: on 9 reals and 9 fakes an AUC of 0.80 has")
    assert "about [0.52, 0.94]" in said
    assert few_images_text(200, 200) == few_images_text(0, 9) == ""

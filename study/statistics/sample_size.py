"""How exact an AUC can be on so many test images, before anything is trained.

Numpy and scipy only.
"""

from __future__ import annotations

import math

from scipy.special import expit, logit

Z95 = 1.959963984540054


def expected_auc_interval(auc: float, n_real: int, n_fake: int) -> tuple[float, float]:
    """Return the 95 % interval that an AUC in (0, 1) has of so many independent images of each
    class, at least 1: Hanley and McNeil's standard error (Radiology 143, 1982, equations 1 and 2),
    on the logit scale. Test images alone count.

    >>> [round(end, 2) for end in expected_auc_interval(0.8, 100, 100)]
    [0.73, 0.85]
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_fake - 1) * (q1 - auc**2) + (n_real - 1) * (q2 - auc**2)
    error = math.sqrt(variance / (n_real * n_fake))
    reach = Z95 * error / (auc * (1 - auc))
    low, high = expit(logit(auc) - reach), expit(logit(auc) + reach)
    return float(low), float(high)

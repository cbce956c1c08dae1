"""The report of a cell is scikit-learn's, to the letter."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from sklearn.metrics import classification_report

from study.statistics.class_report import class_report, report_text

COUNTS = [
    (50, 3, 7, 40),
    (1, 0, 0, 1),
    (0, 5, 0, 7),  # everything is called fake
    (5, 0, 7, 0),  # nothing is
    (0, 0, 2, 9),  # a test set of one class
    (4, 3, 0, 0),
    (0, 0, 5, 0),
    (0, 3, 2, 0),
    (123456, 1, 22, 3333),
    (0, 0, 0, 1),
]


@pytest.mark.parametrize("counts", COUNTS)
def test_the_report_is_that_of_scikit_learn(counts: tuple[int, int, int, int]) -> None:
    tn, fp, fn, tp = counts
    label = np.repeat([0, 0, 1, 1], counts)
    called = np.repeat([0, 1, 0, 1], counts)
    names = ("real", "fake")
    how = {"labels": [0, 1], "target_names": names, "zero_division": np.nan}
    found = class_report(names, tn=tn, fp=fp, fn=fn, tp=tp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = classification_report(label, called, output_dict=True, **how)
        text = classification_report(label, called, digits=3, **how)
    assert list(found) == list(expected)
    for name, row in expected.items():
        np.testing.assert_equal(found[name], row)
    # where no image at all is called rightly, scikit-learn writes counts as 5.0
    assert report_text(found) == re.sub(r"(\d)\.0\n", r"  \1\n", text)

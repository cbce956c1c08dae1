"""Train every fake-image detector on X, test it on every Y: the Python API.

    import study

    results = study.load("results/my_study")
    results.matrix(metric="auc", detector="npr")   # a table of pandas
    results.detector("npr", train_on="lab_a").score(["photo.jpg"])
    study.evaluate(labels, scores, groups=videos)  # every metric with its interval

Only names stand here. What they need is imported at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api.evaluate import evaluate
    from study.api.load import LoadedDetector, StudyResults, load

_HOME = {
    "evaluate": "study.api.evaluate",
    "load": "study.api.load",
    "LoadedDetector": "study.api.load",
    "StudyResults": "study.api.load",
}
__all__ = ["LoadedDetector", "StudyResults", "evaluate", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'study' has no attribute '{name}'; it has {', '.join(_HOME)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

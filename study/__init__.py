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
import os
import signal
import sys
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


if (
    os.path.basename(sys.argv[0] if sys.argv else "") in ("-m", "study")  # noqa: PTH119 - no import
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    # A command begins. Until it listens, Ctrl-C ends it as it does later: without a traceback.
    signal.signal(signal.SIGINT, lambda number, _: os._exit(128 + number))


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'study' has no attribute '{name}'; it has {', '.join(_HOME)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

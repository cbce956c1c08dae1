"""How work travels to Ray's workers, as bytes, with functions that they could not import packed
along; and under which names a trial's results travel back.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import cloudpickle

PACKAGE = __name__.partition(".")[0]
# what a trial reports to Tune: an EpochRecord after each epoch, its TrialResult at the end
RECORD, RESULT = "record", "result"


@dataclass(frozen=True, repr=False)
class Payload:
    """Pickled objects. Its representation is short because Tune makes names of what a configuration
    holds.
    """

    data: bytes

    def __repr__(self) -> str:
        return "payload"

    def open(self) -> Any:
        """Return what was packed."""
        return cloudpickle.loads(self.data)


def pack(*things: Any) -> Payload:
    """Pack a tuple of things.

    Functions of this package go by name: workers have it installed, or find it in the folder that
    the driver was started in. Those of any other module (a script, a test) go by value with what
    they use from it, since workers may not be able to import it.
    """
    for thing in things:
        if callable(thing):
            _by_value(thing)
    return Payload(cloudpickle.dumps(things))


def _by_value(function: Callable[..., Any]) -> None:
    while isinstance(function, functools.partial):
        for given in filter(callable, function.args):
            _by_value(given)
        function = function.func
    module = sys.modules.get(function.__module__)
    if (
        module is not None
        and module.__name__ not in ("__main__", "builtins")
        and module.__name__.partition(".")[0] != PACKAGE
    ):
        cloudpickle.register_pickle_by_value(module)

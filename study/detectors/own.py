"""Detectors of a file of one's own, without a line in the registry: `py:MODULE:FACTORY`.

    # my_detectors.py
    from study.detectors.own import Geometry, detector

    @detector(about="a small network on residuals", geometry=Geometry(size_px=64, mode="crop"))
    def residual(spec):
        return Residual(spec)  # a study.detectors.base.Detector

`py:my_detectors:residual` is then a name in studies. The module is imported from the folder where
the command runs, or from wherever Python finds it. The digest of its file is in the spec, and so in
every key: a changed file is another detector. What the file imports of others does not count.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.core.errors import ConfigError
from study.core.identity import file_sha256
from study.core.records import Geometry, Learner
from study.detectors.entry import HALF, RGB, Entry, Option, Schedule
from study.detectors.quick_import import without_compiler
from study.detectors.weights import Source

if TYPE_CHECKING:
    from study.detectors.base import Detector

    Factory = Callable[..., Detector]

__all__ = ["Geometry", "Option", "Source", "detector", "own_entry", "own_factory", "source_sha256"]
OWN = "py"
MARK = "study_entry"  # the attribute by which a factory is known
READ = "__study_sha256__"  # that of a module which has the digest of the file it was read from
LEARNERS: tuple[Learner, ...] = ("gradient", "logistic", "none")


def detector(
    *,
    about: str,
    geometry: Geometry,
    mean: RGB = HALF,
    std: RGB = HALF,
    learner: Learner = "gradient",
    schedules: tuple[Schedule, ...] = ("full",),
    source: Source | None = None,
    options: Mapping[str, Option] | None = None,
    own_head: bool = False,
    space: str = "",
) -> Callable[[Factory], Factory]:
    """Mark a function of a spec as what builds a detector. The arguments are those of a line of the
    registry (`study.detectors.entry.Entry`).

    space: the file of search_spaces/ that it is searched by, without its ending. By default that of
    `npr` where the only schedule is `full`, of `timm` where there are others, and of `probe` for a
    logistic regression.
    """
    if learner not in LEARNERS:
        raise ConfigError(f"learner = {learner!r} must be one of {', '.join(LEARNERS)}")
    by_gradient = learner == "gradient"
    usual = "npr" if schedules == ("full",) else "timm"
    shared = {"gradient": usual, "logistic": "probe"}.get(learner, "")
    fields: dict[str, Any] = {
        "about": about,
        "geometry": geometry,
        "mean": mean,
        "std": std,
        "learner": learner,
        "schedules": schedules if by_gradient else (),
        "source": source,
        "options": options or {},
        "own_head": own_head,
        "space": space or shared,
    }

    def marked(factory: Factory) -> Factory:
        setattr(factory, MARK, fields)
        return factory

    return marked


def own_entry(name: str) -> Entry:
    """Return the line of `py:MODULE:FACTORY`. Raises ConfigError where there is none."""
    return Entry(family=name, **getattr(own_factory(name), MARK))


def own_factory(name: str) -> Factory:
    """Return what builds a detector of one's own. Raises ConfigError for a name of another form, a
    module that cannot be imported, and a function that `detector` does not mark.
    """
    module, factory = _parts(name)
    found = getattr(_imported(name), factory, None)
    if found is None or not hasattr(found, MARK):
        raise ConfigError(
            f"detector '{name}': '{factory}' of module '{module}' is no factory of a detector; put"
            " @detector(...) of study.detectors.own before it"
        )
    made: Factory = found
    return made


def source_sha256(name: str) -> str:
    """Return the digest of the file that a detector of one's own is written in. Raises ConfigError
    where it has changed since this process imported it.
    """
    module = _imported(name)
    found = file_sha256(Path(str(module.__file__)))
    if vars(module).setdefault(READ, found) != found:
        raise ConfigError(
            f"detector '{name}': '{module.__file__}' has changed since it was imported; run the"
            " command again"
        )
    return found


def _parts(name: str) -> tuple[str, str]:
    parts = name.split(":")
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"detector '{name}' is not of the form py:MODULE:FACTORY")
    return parts[1], parts[2]


def _imported(name: str) -> Any:
    module, _ = _parts(name)
    here = str(Path.cwd())
    if here not in sys.path:  # a command that is run by its name does not look there
        sys.path.append(here)
    try:
        with without_compiler():
            return importlib.import_module(module)
    except Exception as error:  # whatever somebody's file raises
        raise ConfigError(
            f"detector '{name}': module '{module}' cannot be imported from '{here}':"
            f" {type(error).__name__}: {error}"
        ) from error

"""Degradations: what happens to images on their way through the world, done to decoded pixels
(PROTOCOL section 7).

A member is one degradation and has a name that says what it does; a suite is a named list of
members. A member is a step of steps.py with its number, or several joined by `+`:

    jpeg75         JPEG at quality 75 (1 to 100) by Pillow, chroma subsampled 4:2:0, its default;
                   the pixels that come back
    blur1.5        Gaussian blur with that sigma in pixels
    down0.5        both sides times that factor, below 1
    long112        the long edge to that many pixels; an image whose long edge is shorter would be
                   enlarged: not applicable
    blur2+jpeg50   both, in the order of `STEPS`: resizing, blur, JPEG; each at most once
    crop5          a delivery (deliveries.py): another geometry than the detector's own, after all
                   steps; alone or as the last part (`jpeg50+crop5`)

It is applied to the image at its original resolution, before a detector's crop or resize, to both
classes alike, and nothing of it is random. Resizing is Pillow's bicubic, antialiased.

`DEGRADATION_VERSION` is part of every key of degraded scores: raise it when any of this changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.core.errors import ConfigError, unknown_name
from study.data.images.deliveries import DELIVERIES
from study.data.images.steps import STEPS, Pixels

DEGRADATION_VERSION = 1
SUITES: dict[str, tuple[str, ...]] = {
    "default": (
        *(f"jpeg{q}" for q in (95, 90, 75, 65, 50, 30)),
        "blur1",
        "blur3",
        "down0.5",
        "blur2+jpeg50",
    ),
    "genimage": ("long112", "long64", "jpeg65", "jpeg30", "blur3", "blur5"),
    "wang": (*(f"jpeg{q}" for q in range(100, 20, -10)), "blur1", "blur2", "blur3", "blur4"),
    "delivery": tuple(DELIVERIES),
    "sidbench": ("jpeg95", "jpeg90", "jpeg50", "jpeg30", "blur2", "blur4", "blur2+jpeg50"),
}
_STEP = re.compile(rf"({'|'.join(STEPS)})(\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """One member: the names of its steps, each with its number, in the order of `STEPS`; and its
    delivery, "" for the detector's own geometry.
    """

    steps: tuple[tuple[str, float], ...]
    delivery: str = ""

    @property
    def name(self) -> str:
        """The one name of this degradation, "" for none."""
        steps = [f"{step}{number:g}" for step, number in self.steps]
        return "+".join([*steps, *([self.delivery] if self.delivery else [])])


def parse_degradation(name: str) -> Degradation:
    """Return the degradation of a member's name. Raises ConfigError for a wrong name or number."""
    *before, last = name.split("+")
    delivery = last if last in DELIVERIES else ""
    found = [_STEP.fullmatch(part) for part in (before if delivery else [*before, last])]
    steps = tuple((match[1], float(match[2])) for match in found if match)
    if len(steps) < len(found):
        known = dict.fromkeys([*SUITES, *(member for of in SUITES.values() for member in of)])
        any_of = ", ".join(f"{step}{entry.parameter}" for step, entry in STEPS.items())
        hint = (
            f"; or any {any_of}, joined by + in the order {_in_words(_stages())}, and last a"
            f" delivery ({', '.join(DELIVERIES)})"
        )
        raise ConfigError(unknown_name("degradation", name, known) + hint)
    order = list(_stages())
    places = [order.index(STEPS[step].stage) for step, _ in steps]
    if places != sorted(set(places)):
        raise ConfigError(
            f"degradation '{name}': each step at most once, in the order {_in_words(_stages())}"
        )
    for step, number in steps:
        entry = STEPS[step]
        if not entry.is_valid(number) or (entry.whole and not number.is_integer()):
            raise ConfigError(f"degradation '{name}': {step} by {number:g}, and {entry.rule}")
    return Degradation(steps=steps, delivery=delivery)


def _stages() -> dict[str, list[str]]:
    """The stages in their order, with the steps of each."""
    stages: dict[str, list[str]] = {}
    for step, entry in STEPS.items():
        stages.setdefault(entry.stage, []).append(step)
    return stages


def _in_words(stages: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(
        f"{stage} ({' or '.join(steps)})" if len(steps) > 1 else stage
        for stage, steps in stages.items()
    )


def members_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the members that suites and members name, each once, in the order given. Raises
    ConfigError for an unknown name.
    """
    found = [member for name in names for member in SUITES.get(name, (name,))]
    return tuple(dict.fromkeys(parse_degradation(member).name for member in found))


def number_of(name: str, step: str) -> float | None:
    """Return the number of a degradation that is that step alone, else None."""
    match = _STEP.fullmatch(name)
    return float(match[2]) if match and match[1] == step else None


def degrade(pixels: Pixels, degradation: Degradation) -> Pixels:
    """Return an image (H, W, 3) uint8 degraded, (H', W', 3) uint8, but not delivered: that is what
    a detector's geometry would do.

    Raises NotApplicableError with the reason: a long edge that would enlarge it, or a JPEG side
    beyond 65,500 pixels.
    """
    for step, number in degradation.steps:
        pixels = STEPS[step].run(pixels, number)
    return pixels

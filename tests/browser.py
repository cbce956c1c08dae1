"""What tests in Chromium share."""

from __future__ import annotations

from typing import Any


def until(tab: Any, condition: str) -> None:
    """Wait until an expression of JavaScript holds in a page.

    `wait_for_function` evaluates a string inside the page, which the pages' own policy forbids.
    """
    looking = f"({condition}) ? done() : left-- ? requestAnimationFrame(look) : fail('never')"
    tab.evaluate(
        "() => new Promise((done, fail) => { let left = 3000;"
        f" const look = () => {looking}; look(); }})"
    )

"""Traits and prints from one decoding: the same as apart, and each image decoded once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from study.data.audit import traits as traits_module
from study.data.audit.one_pass import read_once
from study.data.audit.traits import traits_of
from study.data.images import decode, videos
from study.data.leaks.prints import read_prints
from tests.data.conftest import MakeCatalog
from tests.data.leaks.pictures import scene
from tests.factories import write_image


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an entry for every image that is decoded."""
    found: list[int] = []
    original = decode.decode_image

    def counted(data: bytes) -> NDArray[np.uint8]:
        found.append(1)
        return original(data)

    for module in (traits_module, videos):
        monkeypatch.setattr(module, "decode_image", counted)
    return found


def write(folder: Path, n: int = 20) -> None:
    """Pictures of several sizes, some with bars."""
    for number in range(n):
        pixels = scene(number, 40 + 8 * (number % 3))
        if number % 4 == 0:
            pixels[:6] = 9
        suffix = ("png", "jpg")[number % 2]
        write_image(folder / ("real", "fake")[number % 2] / f"{number}.{suffix}", pixels)


def everything(of: Any) -> dict[str, Any]:
    """All arrays of a dataclass, flat."""
    found = dataclasses.asdict(of)
    for name in ("kinds", "numbers"):
        found |= found.pop(name, {})
    return found


def test_both_tables_are_filled_by_one_decoding_with_what_each_has_alone(
    root: Path, tmp_path: Path, make_catalog: MakeCatalog, decoded: list[int]
) -> None:
    write(root / "mine")
    dataset, together, apart = make_catalog().dataset("mine"), tmp_path / "one", tmp_path / "two"
    decoded.clear()
    read_once(dataset, cache=together)
    assert len(decoded) == 20
    held = traits_of(dataset, cache=together), read_prints(dataset, cache=together)
    assert len(decoded) == 20
    alone = traits_of(dataset, cache=apart), read_prints(dataset, cache=apart)
    assert len(decoded) == 60
    for one, other in zip(held, alone, strict=True):
        a, b = everything(one), everything(other)
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    read_once(dataset, cache=apart)
    assert len(decoded) == 60, "nothing is left to do"


def test_an_interrupted_pass_keeps_what_it_has_read(
    root: Path,
    tmp_path: Path,
    make_catalog: MakeCatalog,
    decoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(root / "mine")
    dataset, cache = make_catalog().dataset("mine"), tmp_path / "one"
    decoded.clear()
    original = traits_module.read_traits

    def dying(*given: Any) -> Any:
        if len(decoded) == 13:
            raise KeyboardInterrupt
        return original(*given)

    # in this thread, so that the interruption comes where it is said
    monkeypatch.setattr(videos, "ordered_map", lambda function, items, **_: map(function, items))
    with monkeypatch.context() as patched:
        patched.setattr(traits_module, "read_traits", dying)
        with pytest.raises(KeyboardInterrupt):
            read_once(dataset, cache=cache)
    read_once(dataset, cache=cache)
    assert len(decoded) == 20

"""The page's plotting library, made beside other work."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.core.errors import StoreError
from study.render.report import library as module
from study.render.report.library import library, library_ahead


def test_it_is_there_after_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(module, "bundled", lambda: made.append(1) or "the script")
    with library_ahead(tmp_path):
        pass
    assert library(tmp_path) == "the script" and made == [1]


@pytest.mark.parametrize("error", [StoreError("no maker"), RuntimeError("broken")])
def test_who_needs_it_is_told_why_it_cannot_be_made(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bundled() -> str:
        raise error

    monkeypatch.setattr(module, "bundled", bundled)
    with library_ahead(tmp_path):
        pass
    assert capsys.readouterr().err == ""
    with pytest.raises(type(error), match=str(error)):
        library(tmp_path)

"""Detectors in listings and figures: one may be named as its library names it, which is no name for
a file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from study import ls
from study.analysis.results import Results
from study.core.errors import ConfigError
from study.detectors import registry
from study.render.files import draw
from tests.render.synthetic_matrix import row

NAMES = ("npr", "timm:resnet18.a1_in1k", "open_clip:ViT-B-32/openai", "open_clip:ViT-B-32-openai")


def test_heat_maps_of_any_detector_lie_in_the_figures_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(
        "study.render.figures.heat_map.heat_map",
        lambda rows, detector, metric, path: drawn.append(path),
    )
    monkeypatch.setattr("study.render.figures.roc.roc_curves", lambda curves, path, **_: None)
    draw(Results(rows=tuple(row(name) for name in NAMES)), [], {}, tmp_path)
    assert [path.parent for path in drawn] == [tmp_path] * len(NAMES)
    assert (
        len({path.name for path in drawn}) == len(NAMES) and drawn[0].name == "heat_map_npr_auc.png"
    )
    assert not any(set(path.name) & set(":/\\") for path in drawn)


def test_ls_shows_what_the_default_schedule_trains(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mobilenetv2_035.safetensors").touch()
    ls.main(["detectors", "--weights-root", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}
    assert f"local (in {tmp_path})" in printed and all(
        f"{word}:" in rows for word in ("parameters", "learner")
    )
    # ResNet-18 has 11,689,512 parameters with its classifier of 512 x 1000 + 1000; ours has 512 +
    # 1.
    whole = f"{11_689_512 - 513_000 + 513:,}"
    assert rows["resnet18"][:3] == [whole, whole, "224"]
    # CLIP's ViT-B/32 has 87,849,216 in its visual tower; a head on its embedding has 512 + 1.
    assert rows["clip_linear"][:3] == [f"{87_849_216 + 513:,}", "513", "224"]
    assert rows["clip_zero_shot"][:2] == ["87,849,216", "0"]
    assert rows["clip_adapter"][1] == "215,297"
    # 91 rings of 128 px, from 0 to the corner at 64 x sqrt(2) = 90.5, and the bias
    assert rows["spectrum"][:2] == ["92", "92"]
    assert rows["mobilenetv2_035"][3] == "local" and rows["npr"][3:5] == ["none", "needed"]
    assert [rows[name][5] for name in ("npr", "spectrum")] == ["gradient", "logistic"]
    assert (
        rows["ensemble"][:6]
        == rows["ensemble_stacked"][:6]
        == ["-", "-", "-", "none", "needed", "members"]
    )


def test_ls_spaces_shows_those_of_the_libraries_and_of_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ls.main(["spaces"])
    titles = [
        line.partition(" (search_spaces/")[0]
        for line in capsys.readouterr().out.splitlines()
        if " (search_spaces/" in line
    ]
    # of published detectors nothing is searched
    own = [name for name in registry.names() if not registry.entry(name).published]
    assert titles == [*own, "timm:<name>", "open_clip:<model>/<pretrained>"]
    ls.main(["spaces", "spectrum", "timm:resnet18"])
    printed = capsys.readouterr().out
    assert (
        "spectrum (search_spaces/spectrum.toml): 1 settings" in printed
        and "timm:resnet18 (search_spaces/timm.toml)" in printed
    )
    assert "npr" not in printed and "lora" not in printed
    with pytest.raises(ConfigError, match="unknown search space 'npq': did you mean 'npr'"):
        ls.main(["spaces", "npq"])

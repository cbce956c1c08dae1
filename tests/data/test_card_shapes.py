"""The cards of tests/published.py: listed, grouped, split, and held to what was published."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study import prepare
from study.core.errors import DataError
from study.data.sources.cards import load_card, parse_card
from tests.data.conftest import MakeCatalog
from tests.published import SHAPES, fill

pytestmark = pytest.mark.usefixtures("no_network")
# card -> (usable images, methods of fakes) of its dataset in SHAPES
HOLDS: dict[str, tuple[int, set[str]]] = {
    "aigibench": (24 * 12, {"progan", "sdv1.4", "FLUX1-dev", "InSwap"}),
    "wildrf": (24 * 10, {"posted_fake", "reddit", "twitter", "facebook"}),
    "aigcdetectbenchmark": (48, {"ADM"}),
    "universalfakedetect": (48, {"ldm_200"}),
    "self_synthesis": (48, {"AttGAN"}),
    "drct_2m": (128, {"stable-diffusion-v1-4"}),
    "synthbuster": (80, {"dalle2"}),
    "truefake": (80, {"FLUX.1"}),
    "ntire_2026": (120, {"ntire_fake"}),
    "celeb_df": (144, {"celeb_synthesis"}),
    "dfdc": (60, {"dfdc_deepfake"}),
    "dfdcp": (90, {"method_A", "method_B"}),
    "df40": (48, {"fsgan"}),
    "mnw": (80, {"flux-pro"}),
    "community_forensics": (80, {"org/sd-model"}),
    "openfake": (90, {"flux.1-dev"}),
    "opensdi": (80, {"fake"}),
    "defactify": (120, {"sd2.1", "sdxl", "sd3", "dalle3", "midjourney6"}),
}
OFFICIAL = {
    *("aigibench", "wildrf", "aigcdetectbenchmark", "universalfakedetect", "self_synthesis"),
    *("drct_2m", "celeb_df", "dfdcp", "community_forensics", "openfake", "defactify"),
}


@pytest.mark.parametrize("card", SHAPES)
def test_its_shape_is_understood(card: str, root: Path, make_catalog: MakeCatalog) -> None:
    write, name = SHAPES[card]
    write(root / card)
    dataset = make_catalog().dataset(name)
    rows = dataset.samples.to_pylist()
    images, methods = HOLDS[card]
    assert not [row for row in rows if row["problem"]]
    assert len(rows) == images
    assert {row["method"] for row in rows if row["label"]} == methods
    assert dataset.official is (card in OFFICIAL)
    assert set(load_card(card).released) <= set(dataset.released)
    assert re.fullmatch(r"20\d\d(-\d\d){0,2}", dataset.released["dataset"])


def groups(catalog: Any, name: str) -> dict[str, set[int]]:
    """The labels of every group."""
    found: dict[str, set[int]] = {}
    for row in catalog.dataset(name).samples.to_pylist():
        found.setdefault(row["group"], set()).add(row["label"])
    return found


@pytest.mark.parametrize(
    ("card", "name", "number"),
    [
        ("drct_2m", "drct_2m", 64),  # COCO ids
        ("synthbuster", "synthbuster:dalle2", 40),  # RAISE ids
        ("dfdc", "dfdc", 30),  # originals
        ("dfdcp", "dfdcp", 30),  # actors
        ("df40", "df40:fsgan?source=ff", 24),  # pairs of videos
        ("df40", "df40:fsgan?source=cdf", 24),  # persons
        ("defactify", "defactify", 60),  # captions
    ],
)
def test_a_fake_is_in_the_group_of_what_it_was_made_of(
    card: str, name: str, number: int, root: Path, make_catalog: MakeCatalog
) -> None:
    SHAPES[card][0](root / card)
    found = groups(make_catalog(), name)
    assert len(found) == number
    assert all(labels == {0, 1} for labels in found.values())


def test_reals_are_shared_by_the_members_that_a_card_names(
    root: Path, make_catalog: MakeCatalog
) -> None:
    SHAPES["universalfakedetect"][0](root / "universalfakedetect")
    catalog = make_catalog()
    reals = {
        member: {
            r["path"]
            for r in catalog.dataset(f"universalfakedetect:{member}").samples.to_pylist()
            if not r["label"]
        }
        for member in ("guided", "ldm_200", "dalle")
    }
    assert reals["ldm_200"] == reals["dalle"] != reals["guided"]
    assert all("laion" in path for path in reals["dalle"])
    assert catalog.describe("universalfakedetect").images(None, 0) == 48


def test_the_test_list_of_celeb_df_is_the_split(root: Path, make_catalog: MakeCatalog) -> None:
    SHAPES["celeb_df"][0](root / "celeb_df")
    rows = make_catalog().dataset("celeb_df").samples.to_pylist()
    test = Counter(row["method"] for row in rows if row["split"] == "test")
    assert test == {"celebrity": 16, "celeb_synthesis": 16}
    (root / "celeb_df" / "List_of_testing_videos.txt").unlink()
    summary = make_catalog().describe("celeb_df")
    assert not summary.official and summary.straddling == 0
    assert "the split is made by group" in dict(summary.skipped)["List_of_testing_videos.txt"]


def test_what_a_list_names_and_is_not_there_is_said(root: Path, make_catalog: MakeCatalog) -> None:
    SHAPES["celeb_df"][0](root / "celeb_df")
    path = root / "celeb_df" / "List_of_testing_videos.txt"
    path.write_text(path.read_text("utf-8") + "\n1 Celeb-real/id77_0000.mp4\n", encoding="utf-8")
    (line,) = make_catalog().dataset("celeb_df").incomplete
    assert line == ("1 of the 17 in List_of_testing_videos.txt are missing: Celeb-real/id77_0000")


EXPECTED = """
title = "t"
source = "folder"
[expected]
"test/real" = 30
"test/fake/a" = 10
"test/fake/b" = 10
"test/fake/c" = 10
[[folders]]
path = "{member}/{class:0_real|1_fake}"
split = "test"
"""


def test_what_is_missing_of_the_published_is_counted_and_named(
    root: Path,
    tmp_path: Path,
    make_catalog: MakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = parse_card(EXPECTED, name="mine")
    monkeypatch.setattr("study.data.sources.locate.card_names", lambda: ["mine"])
    monkeypatch.setattr("study.data.sources.locate.load_card", lambda name: card)
    for name in "abc":
        fill(root / "mine", {f"{name}/0_real": 0, f"{name}/1_fake": 1}, n=10)
    assert make_catalog().dataset("mine").incomplete == ()
    for number in range(10):
        (root / "mine" / "c" / "1_fake" / f"{number:04d}.png").unlink()
    for number in range(3):
        (root / "mine" / "a" / "1_fake" / f"{number:04d}.png").unlink()
    (line,) = make_catalog().dataset("mine").incomplete
    assert line == (
        "1 of 3 generators, 13 of 60 images are missing: test/fake/c (all 10), test/fake/a (3)"
    )
    assert make_catalog().dataset("mine?method=b").incomplete == ()
    assert make_catalog().dataset("mine?method=a").incomplete == (
        "3 of 40 images are missing: test/fake/a (3)",
    )
    study = tmp_path / "s.toml"
    fill(root / "plain", {"real": 0, "fake": 1}, n=40)
    study.write_text(
        f'name = "s"\ndetectors = ["spectrum"]\ntrain_on = ["plain"]\ntest_on = ["mine"]\n'
        f'[data]\nroot = "{root}"\n[detector.spectrum]\nsize_px = 16\n',
        encoding="utf-8",
    )
    assert prepare.main([str(study), "--results", str(tmp_path / "results")]) == 0
    assert f"warning: this is not all that was published: {line}" in capsys.readouterr().out


def test_names_are_held_to_the_digest_of_the_published_list(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root / "mine", {"a/0_real": 0, "a/1_fake": 1}, n=30)
    paths = sorted(str(p.relative_to(root / "mine")) for p in (root / "mine").rglob("*.png"))
    digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()
    text = EXPECTED.partition("[expected]")[0] + f'names_sha256 = "{digest}"\n[expected]\n'
    text += 'test = 60\n[[folders]]\npath = "{member}/{class:0_real|1_fake}"\nsplit = "test"\n'
    monkeypatch.setattr("study.data.sources.locate.card_names", lambda: ["mine"])
    monkeypatch.setattr(
        "study.data.sources.locate.load_card", lambda name: parse_card(text, name=name)
    )
    assert make_catalog().dataset("mine").incomplete == ()
    (root / "mine" / "a" / "0_real" / "0000.png").rename(root / "mine" / "a" / "0_real" / "x.png")
    assert make_catalog().dataset("mine").incomplete == (
        "as many images as were published, but with other names",
    )


def test_a_set_without_photographs_says_what_to_do(root: Path, make_catalog: MakeCatalog) -> None:
    fill(root / "mnw", {"AI_Images/flux-pro": 1})
    with pytest.raises(DataError, match="no real images"):
        make_catalog().dataset("mnw")
    assert "real/" in load_card("mnw").access


def test_an_empty_method_of_df40_is_said(root: Path, make_catalog: MakeCatalog) -> None:
    SHAPES["df40"][0](root / "df40")
    with pytest.raises(DataError, match="no fake images"):
        make_catalog().dataset("df40:e4s?source=ff")
    with pytest.raises(DataError, match=r"has source cdf, ff; name one: df40:fsgan\?source=cdf"):
        make_catalog().dataset("df40:fsgan")


def test_a_broken_metadata_of_dfdc_is_named(root: Path, make_catalog: MakeCatalog) -> None:
    SHAPES["dfdc"][0](root / "dfdc")
    path = root / "dfdc" / "dfdc_train_part_0" / "metadata.json"
    path.write_text('{"a.mp4": {"kind": "REAL"}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"metadata.json' must be a JSON object .* 'label' each"):
        make_catalog().dataset("dfdc")
    path.write_text('{"a.mp4": {"label": "MAYBE"}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"'a.mp4': label 'MAYBE' must be"):
        make_catalog().dataset("dfdc")

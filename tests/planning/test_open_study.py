"""What a study's resolved set-up searches."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from study.core.errors import ConfigError, DataError
from study.core.validation import read_toml
from study.planning.open_study import open_study
from study.planning.study_file import parse_study, to_toml
from tests.contract.stand_ins import make_case
from tests.factories import write_dataset

NAME = "timm:test_vit.r160_in1k"


@pytest.mark.parametrize(
    ("options", "width"), [({}, None), ({"head_width": 256}, 256), ({"head_width": 0}, 0)]
)
def test_a_head_that_the_study_chooses_is_not_searched(
    options: dict[str, int], width: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(NAME, tmp_path, monkeypatch)
    write_dataset(tmp_path / "data" / "mine", n=24, size=16)
    table = {
        "name": "s",
        "detectors": [NAME],
        "train_on": ["mine"],
        "detector": {NAME: options},
        "search": {"space": "wide"},
        "data": {"root": str(tmp_path / "data")},
    }
    setup = open_study(
        parse_study(table, where="s.toml"),
        results=tmp_path / "results",
        weights_root=case.folder,
        firewall=True,
    )
    (space,) = [search.space for search in setup.searches.values()]
    assert ("head_width" in space.names()) == (width is None)
    assert space.constants.get("head_width") == width
    assert setup.keys.specs[NAME].options["head_width"] == (width or 0)
    assert space.default()["head_width"] == (width or 0)


def test_a_recipe_that_is_given_whole_has_one_trial(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data" / "mine", n=24, size=16)
    table = {
        "name": "s",
        "detectors": ["npr", "spectrum"],
        "train_on": ["mine"],
        "detector": {"npr": {"lr": 5e-5, "batch_size": 32}},
        "data": {"root": str(tmp_path / "data")},
    }
    study = parse_study(table, where="s.toml")
    setup = open_study(study, results=tmp_path / "r", weights_root=None, firewall=True)
    npr, spectrum = setup.searches.values()
    assert (npr.trials, spectrum.trials) == (1, study.budget.trials)
    (first,) = npr.first
    assert (first["lr"], first["batch_size"], first["schedule"]) == (5e-5, 32, "full")


def test_a_manifest_that_the_study_names_is_checked_first(tmp_path: Path) -> None:
    """Of a dataset that the study has, and a file that is there; no result depends on its place."""
    folder = write_dataset(tmp_path / "data" / "mine", layout="manifest", n=24, size=16)
    keys = []
    for place in ("a.csv", "b.csv"):
        shutil.copy(folder / "manifest.csv", tmp_path / place)
        table = {
            "name": "s",
            "detectors": ["spectrum"],
            "train_on": ["mine"],
            "data": {
                "root": str(tmp_path / "data"),
                "manifests": {"mine": str(tmp_path / place)},
            },
        }
        study = parse_study(table, where="s.toml")
        assert dict(parse_study(read_toml(to_toml(study)), where="it").data.manifests) == {
            "mine": str(tmp_path / place)
        }
        setup = open_study(study, results=tmp_path / "r", weights_root=None, firewall=True)
        keys.append(setup.keys.data)
    assert keys[0] == keys[1]
    for named, error in (({"mien": "a.csv"}, "mien.*mine"), ({"mine": "gone.csv"}, "no file")):
        table["data"] = {"root": str(tmp_path / "data"), "manifests": named}
        with pytest.raises((ConfigError, DataError), match=error):
            open_study(
                parse_study(table, where="s.toml"),
                results=tmp_path / "r",
                weights_root=None,
                firewall=True,
            )


def test_a_run_whose_detector_is_gone_is_gone_on_with(tmp_path: Path) -> None:
    """Its precision stays; the file of its own detector may have changed."""
    write_dataset(tmp_path / "data" / "mine", n=24, size=16)
    table = {
        "name": "s",
        "detectors": ["spectrum"],
        "train_on": ["mine"],
        "data": {"root": str(tmp_path / "data")},
    }
    study = parse_study(table, where="s.toml")
    ran = tmp_path / "r" / "s" / "study.toml"
    ran.parent.mkdir(parents=True)
    text = to_toml(study).replace('"spectrum"', '"py:no_such_module:gone"')
    ran.write_text(text.replace('precision = "auto"', 'precision = "float32"'), encoding="utf-8")
    assert "gone" in text and 'precision = "auto"' in text
    setup = open_study(study, results=tmp_path / "r", weights_root=None, firewall=True)
    assert setup.study.run.precision == "float32"
    ran.write_text("[run", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"study.toml.*not valid TOML"):
        open_study(study, results=tmp_path / "r", weights_root=None, firewall=True)

"""Kaggle through kagglehub: a cached copy needs no network, and without either the error is enough
to mend it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.core.errors import DataError
from study.core.records import Geometry
from study.data.sources import kaggle
from study.data.sources.cards import load_card
from tests.data.conftest import MakeCatalog
from tests.factories import kaggle_copy, write_cifake, write_faces_140k

SMALL = Geometry(size_px=32, mode="squash")
WRITERS = {"cifake": write_cifake, "faces_140k": write_faces_140k}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Path:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "no credentials"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("name", WRITERS)
def test_a_cached_copy_needs_no_network(name: str, hub: Path, make_catalog: MakeCatalog) -> None:
    WRITERS[name](kaggle_copy(hub, load_card(name).handle, version=2), n=60)
    catalog = make_catalog(root=None)
    assert catalog.available(name)
    images = catalog.open(name, "test", SMALL)
    assert len(images) == {"cifake": 30, "faces_140k": 24}[name]
    assert set(images.method) == set(load_card(name).methods.values())
    assert (
        str(images.sample_id[0])
        == {"cifake": "cifake/test/FAKE/0045.jpg", "faces_140k": "faces_140k/test/fake/0048.jpg"}[
            name
        ]
    )


def test_our_copy_is_what_kagglehub_takes_for_complete(hub: Path) -> None:
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    handle = load_card("cifake").handle
    for version in (1, 12, 9):
        folder = kaggle_copy(hub, handle, version=version)
        assert Cache().load_from_cache(parse_dataset_handle(f"{handle}/versions/{version}")) == str(
            folder
        )
    assert kaggle.cached(load_card("cifake")) == hub / "datasets" / handle / "versions" / "12"


def test_an_unfinished_download_is_no_copy(hub: Path) -> None:
    from kagglehub.cache import Cache
    from kagglehub.handle import parse_dataset_handle

    card = load_card("cifake")
    folder = kaggle_copy(hub, card.handle)
    Cache().mark_as_incomplete(parse_dataset_handle(f"{card.handle}/versions/1"))
    assert folder.is_dir()
    assert kaggle.cached(card) is None


def test_without_a_cache_folder_there_is_no_copy() -> None:
    assert kaggle.cached(load_card("faces_140k")) is None


@pytest.mark.parametrize("name", WRITERS)
def test_without_network_the_error_says_what_to_do_by_hand(
    name: str, root: Path, make_catalog: MakeCatalog
) -> None:
    catalog = make_catalog()
    assert not catalog.available(name)
    with pytest.raises(DataError) as error:
        catalog.dataset(name)
    message = str(error.value)
    assert "Kaggle cannot be reached" in message
    assert load_card(name).homepage in message
    assert f"unpack it into '{root / name}'" in message
    assert "\n" not in message
    assert len(message) < 600
    if name == "faces_140k":
        assert (
            f"so that '{root / name / 'real_vs_fake' / 'real-vs-fake'}' holds train/, valid/ and"
            " test/" in message
        )


def test_doing_what_the_error_says_mends_it(root: Path, make_catalog: MakeCatalog) -> None:
    with pytest.raises(DataError):
        make_catalog().dataset("faces_140k")
    write_faces_140k(root / "faces_140k", n=10, size=8)
    assert make_catalog().describe("faces_140k").images("train") == 12


def test_without_a_data_root_the_error_asks_for_one(make_catalog: MakeCatalog) -> None:
    with pytest.raises(
        DataError, match=r"unpack it into 'DIR/cifake', so that it holds .* say --data-root DIR"
    ):
        make_catalog(root=None).dataset("cifake")


def test_what_kagglehub_downloads_is_used(
    hub: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kagglehub

    asked: list[str] = []

    def download(handle: str) -> str:
        asked.append(handle)
        return str(write_cifake(kaggle_copy(hub, handle), n=40))

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    assert make_catalog().describe("cifake").images("test") == 20
    make_catalog().dataset("cifake")
    assert asked == [load_card("cifake").handle]


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines   of text"), KeyError(), RuntimeError("x" * 1000)]
)
def test_any_error_of_the_download_is_one_line(
    error: Exception, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kagglehub

    def fail(_: str) -> Any:
        raise error

    monkeypatch.setattr(kagglehub, "dataset_download", fail)
    with pytest.raises(DataError) as raised:
        make_catalog().dataset("cifake")
    assert "\n" not in str(raised.value)
    assert type(error).__name__ in str(raised.value)
    assert len(str(raised.value)) < 600

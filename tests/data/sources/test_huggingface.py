"""Hugging Face through its library: a cached copy needs no network, and without either the error is
enough to mend it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from study.core.errors import DataError
from study.data.sources import huggingface
from study.data.sources.cards import load_card
from tests.factories import hub_copy

CARD = load_card("wilddeepfake")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Path:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files" / "deepfake_in_the_wild" / "real_train"
    folder.mkdir(parents=True)
    (folder / "0.tar.gz").write_bytes(b"shard")
    return tmp_path / "files"


def test_a_snapshot_in_the_cache_is_found(hub: Path, files: Path) -> None:
    assert huggingface.cached(CARD) is None
    snapshot = hub_copy(hub, CARD.handle, files)
    assert huggingface.cached(CARD) == huggingface.fetch(CARD, data_root=None) == snapshot
    assert (snapshot / "deepfake_in_the_wild" / "real_train" / "0.tar.gz").read_bytes() == b"shard"


def test_our_copy_is_where_the_library_looks(hub: Path, files: Path) -> None:
    from huggingface_hub import hf_hub_download

    snapshot = hub_copy(hub, CARD.handle, files)
    name = "deepfake_in_the_wild/real_train/0.tar.gz"
    found = hf_hub_download(
        CARD.handle, name, repo_type="dataset", cache_dir=hub, local_files_only=True
    )
    assert Path(found) == snapshot / name


@pytest.mark.parametrize("home", ["HF_HOME", "XDG_CACHE_HOME"])
def test_the_cache_folder_is_that_of_the_library(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv(home, str(tmp_path / "home"))
    below = {"HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[home]
    assert huggingface.cached(CARD) is None
    snapshot = hub_copy(tmp_path / "home" / below, CARD.handle, files)
    assert huggingface.cached(CARD) == snapshot


def test_what_the_library_downloads_is_used(
    hub: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, Any]] = []

    def download(handle: str, **options: Any) -> str:
        asked.append((handle, options["repo_type"]))
        return str(hub_copy(Path(options["cache_dir"]), handle, files))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert huggingface.fetch(CARD, data_root=None).is_dir()
    assert asked == [("xingjunm/WildDeepfake", "dataset")]


@pytest.mark.parametrize("lacks", ["a list", "a file", "bytes"])
def test_a_part_of_a_dataset_is_not_taken_for_the_whole(
    lacks: str, hub: Path, files: Path, tmp_path: Path
) -> None:
    """One file that another program fetched; a file that was deleted or cut."""
    (files / "more.tar.gz").write_bytes(b"more")
    snapshot = hub_copy(hub, CARD.handle, files, listed=lacks != "a list")
    if lacks == "a file":
        (snapshot / "more.tar.gz").unlink()
    elif lacks == "bytes":
        (snapshot / "more.tar.gz").resolve().write_bytes(b"mo")
    assert huggingface.cached(CARD) is None
    with pytest.raises(DataError) as error:
        huggingface.fetch(CARD, data_root=tmp_path)
    message = str(error.value)
    assert f"in part ({1 if lacks == 'a file' else 2} files, 0.00 GB, in '{snapshot}')" in message
    assert "run this again with network" in message
    assert f"unpack it into '{tmp_path / 'wilddeepfake'}'" in message


def test_what_is_not_known_to_be_whole_is_compared_and_completed(
    hub: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    snapshot = hub_copy(hub, CARD.handle, files, listed=False)

    def download(*_: Any, **__: Any) -> str:  # with network: what is missing, and the list
        (files / "more.tar.gz").write_bytes(b"more")
        shutil.rmtree(hub)
        return str(hub_copy(hub, CARD.handle, files))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert huggingface.fetch(CARD, data_root=None) == snapshot
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked again")
    )
    assert huggingface.fetch(CARD, data_root=None) == huggingface.cached(CARD) == snapshot


def refusal(kind: str) -> Exception:
    from huggingface_hub import errors

    # as the library's client raises it
    no_route = type("ConnectError", (Exception,), {"__module__": "httpx2._exceptions"})
    return {
        # an answer of the hub cannot be had here
        "gated": lambda: errors.GatedRepoError.__new__(errors.GatedRepoError),
        "hidden": lambda: errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError),
        "offline": lambda: errors.LocalEntryNotFoundError("no"),
        "no route": lambda: no_route("no"),
        "disk": lambda: OSError(28, "No space left on device"),
        "two lines": lambda: ValueError("one\ntwo " + "x" * 1000),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("gated", "accepted its terms, by their token (HF_TOKEN"),
        ("hidden", "without a valid token (HF_TOKEN"),
        ("offline", "Hugging Face cannot be reached"),
        ("no route", "Hugging Face cannot be reached"),
        ("disk", "No space left on device"),
        ("two lines", "ValueError: one two"),
    ],
)
def test_every_failure_says_what_to_accept_where_to_get_it_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    import huggingface_hub

    def fail(*_: Any, **__: Any) -> Any:
        raise refusal(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(DataError) as error:
        huggingface.fetch(CARD, data_root=tmp_path)
    message = str(error.value)
    assert words in message
    assert "accept its terms and set HF_TOKEN" in message
    assert CARD.homepage in message
    assert f"unpack it into '{tmp_path / 'wilddeepfake'}'" in message
    assert "\n" not in message
    assert len(message) < 800

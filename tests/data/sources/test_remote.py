"""Datasets elsewhere: fetched by URL once, gone on with after an interruption, checked, then used
without asking anybody.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from study import prepare
from study.core.errors import ConfigError, DataError
from study.core.paths import is_url
from study.data.catalog import data_root
from study.data.sources import remote
from study.data.sources.cards import load_card
from study.data.sources.copies import local_path
from study.data.sources.remote import RemoteFile, RemoteFolder, look_up
from tests.data.conftest import MakeCatalog
from tests.factories import files_of, write_cifake, write_dataset, write_manifest

URL = "memory://bucket/data"
Put = Callable[..., None]


@pytest.fixture
def bucket() -> Iterator[Any]:
    """Fsspec's file system in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def put(bucket: Any) -> Put:
    def upload(folder: Path, place: str = "/bucket/data") -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            bucket.pipe(f"{place}/{path.relative_to(folder)}", path.read_bytes())

    return upload


def everything(catalog: Any, name: str) -> list[Any]:
    samples = catalog.dataset(name).samples
    return [samples[column].to_pylist() for column in samples.column_names]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_remote_root_gives_what_a_local_one_gives(
    kind: str, put: Put, bucket: Any, make_catalog: MakeCatalog, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    write_dataset(there / "mine", n=24, size=8)
    write_cifake(there / "cifake", n=24)
    (there / "a+b").mkdir()
    (there / "a+b" / "x.txt").touch()
    put(there)
    url = URL if kind == "memory" else there.as_uri()
    local, away = make_catalog(root=there), make_catalog(root=None, url=url)
    assert {"mine", "cifake"} <= set(away.names()) and "a+b" not in away.names()
    assert not away.available("mine")
    for name in ("mine", "cifake"):  # cifake is read by its card
        assert everything(away, name) == everything(local, name)
        assert away.dataset(name).digest == local.dataset(name).digest
    assert away.available("mine")


def test_what_was_fetched_needs_nobody(
    put: Put, bucket: Any, make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: Any
) -> None:
    put(write_dataset(tmp_path / "there" / "mine", n=24, size=8).parent)
    found = make_catalog(root=None, url=URL).dataset("mine").digest

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(101, "Network is unreachable")

    for name in ("ls", "find", "info", "get_file", "open"):
        monkeypatch.setattr(type(bucket), name, refuse)
    again = make_catalog(root=None, url=URL)
    assert again.dataset("mine").digest == found
    assert again.names() == sorted({"mine", *make_catalog(root=None).names()})
    with pytest.raises(
        DataError,
        match=r"memory://bucket/data.* cannot be reached: OSError.*Network is unreachable",
    ):
        again.dataset("other")


def test_an_interrupted_fetch_goes_on(
    put: Put, bucket: Any, make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: Any
) -> None:
    put(write_dataset(tmp_path / "there" / "mine", n=24, size=8).parent)
    fetched: list[str] = []
    real = type(bucket).get_file

    def stops(self: Any, source: str, target: str, **options: Any) -> None:
        if len(fetched) == 20:
            raise ConnectionError("connection reset")
        fetched.append(source)
        real(self, source, target, **options)

    monkeypatch.setattr(type(bucket), "get_file", stops)
    with pytest.raises(
        DataError,
        match=(
            r"'memory://bucket/data/mine/.*\.png' cannot be fetched: ConnectionError: connection"
            r" reset"
        ),
    ):
        make_catalog(root=None, url=URL).dataset("mine")
    assert [
        path.suffix for path in (tmp_path / "cache" / "remote").iterdir() if path.name != ".locks"
    ] == [".partial"]
    first, fetched[:] = list(fetched), []
    monkeypatch.setattr(
        type(bucket),
        "get_file",
        lambda self, source, target, **_: (fetched.append(source), real(self, source, target))[1],
    )
    catalog = make_catalog(root=None, url=URL)
    assert catalog.describe("mine").images() == 48
    assert len(first) == 20 and len(fetched) == 28 and not set(first) & set(fetched)


def interrupted(
    bucket: Any, file: RemoteFile, target: Path, here: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetch a file so that the connection breaks after some bytes."""

    def breaks(_: Any, source: str, part: str, **__: Any) -> None:
        Path(part).write_bytes(here)
        raise ConnectionError("connection reset")

    with monkeypatch.context() as patch, pytest.raises(DataError, match="what is here is kept"):
        patch.setattr(type(bucket), "get_file", breaks)
        remote.fetch(file, target)


def test_a_large_file_goes_on_at_its_byte(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The half that is here is kept, which is seen by its content; one that is too long is another
    file's, and thrown away.
    """
    bucket.pipe("/bucket/x.bin", b"0123456789")
    file = RemoteFile(url="memory://bucket/x.bin", size=10, tag="1")
    for here, expected in ((b"abcde", b"abcde56789"), (b"abcdefghijkl", b"0123456789")):
        interrupted(bucket, file, tmp_path / "x.bin", here, monkeypatch)
        remote.fetch(file, tmp_path / "x.bin")
        assert (tmp_path / "x.bin").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]
    with pytest.raises(DataError, match="has 10 bytes and was listed with 11: it changed"):
        remote.fetch(RemoteFile(url="memory://bucket/x.bin", size=11, tag=""), tmp_path / "y.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


@pytest.mark.parametrize(
    "tags", [("1", "2"), ("", "")], ids=["another version", "no telling which"]
)
def test_two_versions_of_a_file_are_not_joined(
    tags: tuple[str, str], bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (RemoteFile(url="memory://bucket/x.csv", size=10, tag=tag) for tag in tags)
    interrupted(bucket, old, tmp_path / "x.csv", b"abcde", monkeypatch)
    bucket.pipe("/bucket/x.csv", b"0123456789")
    remote.fetch(new, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == b"0123456789"


def test_a_folder_that_changes_meanwhile_is_refused_and_then_fetched_anew(
    put: Put, bucket: Any, make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: Any
) -> None:
    put(write_dataset(tmp_path / "there" / "mine", n=24, size=8).parent)
    real = remote.fetch_all

    def meanwhile(wanted: Any, folder: Path, progress: Any) -> None:
        real(wanted, folder, progress)
        bucket.pipe(
            "/bucket/data/mine/real/more.png", files_of(tmp_path / "there").__next__().read_bytes()
        )

    monkeypatch.setattr("study.data.sources.copies.fetch_all", meanwhile)
    with pytest.raises(
        DataError,
        match="'memory://bucket/data/mine' changed while it was fetched; run the command again",
    ):
        make_catalog(root=None, url=URL).dataset("mine")
    monkeypatch.setattr("study.data.sources.copies.fetch_all", real)
    assert make_catalog(root=None, url=URL).describe("mine").images() == 49


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_urls_in_a_manifest(
    kind: str, put: Put, make_catalog: MakeCatalog, root: Path, tmp_path: Path
) -> None:
    there = write_dataset(tmp_path / "there", n=24, size=8, layout="manifest")
    put(there, "/bucket/pool")
    start = "memory://bucket/pool" if kind == "memory" else there.as_uri()
    plain = [
        line.split(",")
        for line in (there / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    rows: list[dict[str, object]] = [
        {"path": f"{start}/{path}", "label": label, "group": group} for path, label, group in plain
    ]
    rows.append({"path": f"{start}/gone.png", "label": "real", "group": "none"})
    write_manifest(root / "mine", rows, bom=True)
    catalog = make_catalog()
    summary = catalog.describe("mine")
    assert summary.images() == 48
    assert [reason for _, reason in summary.excluded] == ["file is missing"]
    local = make_catalog(root=tmp_path).dataset("there").samples
    assert sorted(catalog.dataset("mine").samples["sha256"].to_pylist()) == sorted(
        ["", *local["sha256"].to_pylist()]
    )
    by_group = dict(zip(local["group"].to_pylist(), local["split"].to_pylist(), strict=True))
    samples = catalog.dataset("mine").samples
    assert all(
        by_group.get(g, s) == s
        for g, s in zip(samples["group"].to_pylist(), samples["split"].to_pylist(), strict=True)
    )


def pool(put: Put, tmp_path: Path) -> list[dict[str, object]]:
    """The rows of a manifest of URLs."""
    there = write_dataset(tmp_path / "pool", n=24, size=8, layout="manifest")
    put(there, "/bucket/pool")
    plain = [
        line.split(",")
        for line in (there / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]
    ]
    return [
        {"path": f"memory://bucket/pool/{path}", "label": label, "group": group}
        for path, label, group in plain
    ]


def test_urls_with_turned_labels_are_refused_and_mended_as_said(
    put: Put, bucket: Any, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file of the user, also when the images are here already, and what is
    written has the URLs.
    """
    turned = {"real": "1", "fake": "0"}
    rows = [{**row, "label": turned[str(row["label"])]} for row in pool(put, tmp_path)]
    write_manifest(root / "mine", rows)
    places = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    for mended in (False, True):
        with pytest.raises(DataError) as error:
            prepare.main(["--describe", str(root / "mine"), *places])
        said = str(error.value)
        assert f"{root / 'mine' / 'manifest.csv'}, line 2: label '" in said
        command = shlex.split(said.split("way round. ")[1].split(" writes ", maxsplit=1)[0])
        assert command[3:] == ["--describe", str(root / "mine"), "--fake-label", "0"]
        assert mended or prepare.main([*command[3:], *places]) == 0
    written = tmp_path / "out" / "mine-manifest.csv"
    assert (
        f"({len(rows)} rows: those of {root / 'mine' / 'manifest.csv'}" in capsys.readouterr().out
    )
    assert written.read_text(encoding="utf-8").count("memory://bucket/pool/") == len(rows)
    written.replace(root / "mine" / "manifest.csv")
    assert prepare.main(["--describe", str(root / "mine"), *places]) == 0
    assert "24 real and 24 fake images" in capsys.readouterr().out


@pytest.mark.parametrize("inner", ["inner", "archive/inner"])
def test_urls_in_a_manifest_of_a_lone_folder(
    inner: str, put: Put, bucket: Any, make_catalog: MakeCatalog, root: Path, tmp_path: Path
) -> None:
    write_manifest(root / "mine" / inner, pool(put, tmp_path))
    catalog = make_catalog()
    assert "mine" in catalog.names()
    assert not catalog.available("mine")
    assert catalog.describe("mine").images() == 48
    assert make_catalog().available("mine")


def test_an_edited_manifest_counts_and_fetches_nothing_again(
    put: Put, bucket: Any, make_catalog: MakeCatalog, root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Labels, groups and splits are those of now, also when an earlier manifest comes back."""
    rows = pool(put, tmp_path)
    # every other one: all of them would contradict their folders, and be refused
    other = {"real": "fake", "fake": "real"}
    swapped = [
        {**row, "label": other[str(row["label"])]} if number % 2 else row
        for number, row in enumerate(rows)
    ]
    renamed = [{**row, "group": f"other {row['group']}"} for row in rows]
    fetched: list[str] = []
    real = type(bucket).get_file
    monkeypatch.setattr(
        type(bucket),
        "get_file",
        lambda self, source, target, **_: (fetched.append(source), real(self, source, target))[1],
    )
    digests = []
    for manifest in (rows, swapped, rows, renamed, rows):
        write_manifest(root / "mine", manifest)
        samples = make_catalog().dataset("mine").samples
        digests.append(make_catalog().dataset("mine").digest)
        expected = {
            local_path(str(row["path"])): (row["label"] == "fake", row["group"]) for row in manifest
        }
        columns = (samples[name].to_pylist() for name in ("path", "label", "group"))
        assert {
            path: (bool(label), group) for path, label, group in zip(*columns, strict=True)
        } == expected
    assert len(fetched) == len(rows)
    assert digests[0] == digests[2] == digests[4] and len(set(digests)) == 3


def test_a_manifest_killed_while_it_is_rewritten_is_rewritten(
    put: Put, make_catalog: MakeCatalog, root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    rows = pool(put, tmp_path)
    write_manifest(root / "mine", rows)
    first = make_catalog().dataset("mine").digest
    write_manifest(
        root / "mine",
        [{**row, "group": "g"} if number < 2 else row for number, row in enumerate(rows)],
    )
    real = Path.write_text

    def dies(self: Path, *arguments: Any, **options: Any) -> int:
        if self.name == ".manifest.sha256":
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "write_text", dies)
        make_catalog().dataset("mine")
    write_manifest(root / "mine", rows)  # what the mark of the first still names, were it there
    assert make_catalog().dataset("mine").digest == first


def test_a_url_that_exists_later_is_fetched_later(
    put: Put, bucket: Any, make_catalog: MakeCatalog, root: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    rows = pool(put, tmp_path)
    late = bucket.store.pop(str(rows[0]["path"]).removeprefix("memory:/"))
    write_manifest(root / "mine", rows)
    without = make_catalog().describe("mine")
    assert without.images() == len(rows) - 1 and [reason for _, reason in without.excluded] == [
        "file is missing"
    ]
    digest = make_catalog().dataset("mine").digest
    with monkeypatch.context() as patch:

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(101, "Network is unreachable")

        patch.setattr(type(bucket), "info", refuse)
        # what is here is enough where nobody can be asked
        assert make_catalog().dataset("mine").digest == digest
    bucket.store[late.path] = late
    assert make_catalog().describe("mine").images() == len(rows)
    monkeypatch.setattr(type(bucket), "info", refuse)
    assert make_catalog().describe("mine").images() == len(rows)  # and now nobody is


def test_a_presigned_url_is_longer_than_a_files_name(
    put: Put, make_catalog: MakeCatalog, root: Path, tmp_path: Path
) -> None:
    rows = [
        {**row, "path": f"{row['path']}?X-Amz-Signature={'0' * 300}"}
        for row in pool(lambda *_: None, tmp_path)
    ]
    for row, path in zip(rows, pool(put, tmp_path), strict=True):
        fsspec.filesystem("memory").cp_file(
            str(path["path"]).removeprefix("memory:/"), str(row["path"]).removeprefix("memory:/")
        )
    write_manifest(root / "mine", rows)
    assert make_catalog().describe("mine").images() == len(rows)


def test_what_is_too_long_for_a_files_name_keeps_its_extension() -> None:
    query = "?X-Amz-Signature=" + "0" * 300
    for name, suffix in (
        ("clip.mp4", ".mp4"),
        ("PHOTO.JPG", ".JPG"),
        ("x." + "y" * 300, ""),
        ("x", ""),
    ):
        first, other = (local_path(f"https://host/a/{name}{query}{end}") for end in "12")
        assert first != other
        assert first.startswith("https/host/a/") and first.endswith(suffix)
        assert all(len(segment.encode()) <= 255 for segment in first.split("/"))
    deep = local_path(f"s3://bucket/{'é' * 200}/x.png")
    assert (
        deep.endswith("/x.png") and max(len(segment.encode()) for segment in deep.split("/")) <= 255
    )
    # as it ever was
    assert local_path(f"s3://bucket/{'x' * 251}.png") == f"s3/bucket/{'x' * 251}.png"


@pytest.fixture
def unreached(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A bucket that does not answer. Gives what it was asked."""
    asked: list[str] = []

    def refuse(_: Any, path: str, **__: Any) -> None:
        asked.append(path)
        raise OSError(101, "Network is unreachable")

    for name in ("ls", "find", "info", "get_file", "open"):
        monkeypatch.setattr(type(bucket), name, refuse)
    return asked


def test_a_card_that_is_here_is_used_where_the_root_cannot_be_reached(
    unreached: list[str], make_catalog: MakeCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    copy = tmp_path / "kaggle" / "datasets" / load_card("cifake").handle
    away = make_catalog(root=None, url=URL)
    assert (
        not away.available("cifake")
        and not away.available("mine")
        and not away.parts("mine")
        and not unreached
    )
    with pytest.raises(DataError, match="cannot be reached"):
        away.dataset("cifake")
    write_cifake(copy / "versions" / "1", n=24)
    (copy / "1.complete").touch()
    unreached.clear()
    assert away.members("cifake+demo_recapture") == ("cifake", "demo_recapture")
    assert away.available("cifake") and not unreached
    assert away.dataset("cifake").digest == make_catalog(root=None).dataset("cifake").digest
    with pytest.raises(DataError, match="cannot be reached"):
        away.dataset("mine")


def test_a_demo_is_made_where_the_root_cannot_be_reached(
    unreached: list[str], make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.data.sources import demo

    monkeypatch.setattr(demo, "build", lambda name, folder, _: write_dataset(folder, n=24, size=8))
    away = make_catalog(root=None, url=URL)
    assert not away.available("demo_recapture")
    assert away.describe("demo_recapture").images() == 48
    assert away.available("demo_recapture")


def test_mistakes_beside_urls_are_named_before_anything_is_fetched(
    root: Path, make_catalog: MakeCatalog, bucket: Any
) -> None:
    for text, message in (
        (
            "path,label\nmemory://b/a.png,0\nx.png,1\n",
            "line 3: path 'x.png' is no URL, and the first row's is",
        ),
        (
            "path,label\nx.png,0\nmemory://b/a.png,1\n",
            "line 3: path 'memory://b/a.png' is a URL, and the first row's is none",
        ),
        ("path,label\nmemory://b/a.png,0\nmemory://b/c.png,2\n", "line 3: label '2' must be"),
        (
            "path,label\nmemory://b/a.png,0\nmemory://b/a.png,1\n",
            "line 3: path 'memory://b/a.png' is listed already in line 2",
        ),
        ("path,label\nmemory://b/a.png,0\nmemory://,1\n", "the URL 'memory://' names no file"),
    ):
        (root / "mine").mkdir(exist_ok=True)
        (root / "mine" / "manifest.csv").write_text(text, encoding="utf-8")
        with pytest.raises(DataError) as error:
            make_catalog().dataset("mine")
        assert message in str(error.value)


def test_a_missing_driver_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    for use in (
        lambda: RemoteFolder("s3://bucket/data"),
        lambda: look_up(["s3://bucket/a.png"], lambda *_: None),
    ):
        with pytest.raises(
            ConfigError, match=r"needs a driver that is not installed: pip install s3fs .*\[s3\]"
        ):
            use()
    with pytest.raises(ConfigError, match=r"nope://.*known are s3://, gs://"):
        RemoteFolder("nope://bucket")


def test_words_about_urls(tmp_path: Path) -> None:
    assert [
        is_url(text) for text in ("s3://b/x", "HTTPS://h/x", "/abs/x", "a/b://c", "C:/x", "a:b")
    ] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert local_path("s3://bucket/deep//x.png") == "s3/bucket/deep/x.png"
    for url in ("s3://bucket/../../x", "s3://bucket/x/", "s3://"):
        with pytest.raises(DataError, match="names no file"):
            local_path(url)
    assert data_root("s3://b/data/") == (None, "s3://b/data")
    assert data_root(str(tmp_path)) == (tmp_path, "")
    with pytest.raises(DataError, match="does not exist"):
        data_root(str(tmp_path / "none"))


def test_two_colons_in_a_name_are_part_of_it(make_catalog: MakeCatalog, tmp_path: Path) -> None:
    """In fsspec's own URLs they join one file system to another."""
    folder = write_dataset(tmp_path / "there" / "mine", n=24, size=8)
    (folder / "real" / "0000.png").rename(folder / "real" / "a::b.png")
    url = folder.parent.as_uri()
    assert everything(make_catalog(root=None, url=url), "mine") == everything(
        make_catalog(root=folder.parent), "mine"
    )
    (found,) = look_up([f"{url}/mine/real/a::b.png"], lambda *_: None)
    assert found is not None and found.size == (folder / "real" / "a::b.png").stat().st_size


def test_names_that_leave_the_folder_are_refused(bucket: Any) -> None:
    bucket.store["/bucket/data/mine/../up.png"] = bucket.store.get("x")
    folder = RemoteFolder(f"{URL}/mine")
    folder._system = type(
        "Listing",
        (),
        {
            "invalidate_cache": lambda *_: None,
            "find": lambda *_, **__: {"/bucket/data/mine/../up.png": {}},
        },
    )()
    with pytest.raises(DataError, match=r"holds '\.\./up\.png'"):
        folder.files()

"""Archives are unpacked whole or not at all, and nothing of them lands outside their folder."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from study.core.errors import DataError, StoreError
from study.core.parallel import try_lock
from study.data.sources import archives
from study.data.sources.archives import find_archives, unpack, unpack_all, unpacked


def tar_of(path: Path, *members: tarfile.TarInfo | str) -> Path:
    """Write a tar.gz of members; a text is the path of a file that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w" if path.name.endswith(".tar") else "w:gz") as tar:
        for member in members:
            entry = tarfile.TarInfo(member) if isinstance(member, str) else member
            data = entry.name.encode() if entry.isreg() else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def left_in(cache: Path) -> list[Path]:
    """What of archives lies in a cache, half or whole."""
    files = (path for path in cache.glob("unpacked/*/**/*") if path.parent.name != ".locks")
    return [path for path in files if path.is_file() or path.name.endswith(".tmp")]


def test_files_and_folders_come_out_as_they_are(tmp_path: Path) -> None:
    archive = tar_of(
        tmp_path / "a.tar.gz", special("./1", tarfile.DIRTYPE), "./1/real/3/0.png", "2/x.png"
    )
    into = tmp_path / "out"
    into.mkdir()
    unpack(archive, into)
    assert everything(into) == {"1", "1/real", "1/real/3", "1/real/3/0.png", "2", "2/x.png"}
    assert (into / "2" / "x.png").read_bytes() == b"2/x.png"


def test_a_zip_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("1/x.png", b"pixels")
        file.mkdir("empty")
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert everything(tmp_path / "out") == {"1", "1/x.png", "empty"}
    assert (tmp_path / "out" / "1" / "x.png").read_bytes() == b"pixels"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../evil.png", "holds '../evil.png', which would leave its folder"),
        ("a/../../evil.png", "which would leave its folder"),
        ("/tmp/evil.png", "which would leave its folder"),
        ("..", "which would leave its folder"),
        ("a\\..\\..\\evil.png", "which would leave its folder"),
        ("C:/evil.png", "which would leave its folder"),
        (
            special("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            "holds 'link.png', a link and no file",
        ),
        (special("link.png", tarfile.SYMTYPE, "good.png"), "a link and no file"),
        (special("link.png", tarfile.LNKTYPE, "good.png"), "a link and no file"),
        (special("pipe.png", tarfile.FIFOTYPE), "holds 'pipe.png', a device and no file"),
        (special("disk.png", tarfile.BLKTYPE), "a device and no file"),
        ("good.png", "holds 'good.png' twice"),
        ("good.png/below.png", "as file and folder"),
        (f"{300 * 'a'}/x.png", "a name that no file can have here (File name too long)"),
    ],
)
def test_a_member_that_is_refused_refuses_the_archive(
    tmp_path: Path, member: tarfile.TarInfo | str, message: str
) -> None:
    folder = tmp_path / "source"
    archive = tar_of(folder / "shards" / "0.tar.gz", "good.png", member)
    before = everything(tmp_path)
    with pytest.raises(DataError) as error:
        unpack_all(folder, [archive], cache=tmp_path / "cache", name="x")
    assert message in str(error.value)
    assert str(archive) in str(error.value)
    assert "\n" not in str(error.value)
    assert not left_in(tmp_path / "cache")
    assert {path for path in everything(tmp_path) if not path.startswith("cache")} == before


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link.png")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"holds 'link.png', a link and no file"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not everything(tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
def test_a_broken_archive_is_named_and_leaves_nothing(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = tmp_path / "source" / f"0{suffix}"
    if suffix == ".zip":
        path.parent.mkdir()
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.png", bytes(range(256)) * 40)
    else:
        tar_of(path, *(f"{number}.png" for number in range(200)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(
        DataError, match=r"archive '.*' is broken \(.*\); delete it and get it again"
    ):
        unpack_all(tmp_path / "source", [path], cache=tmp_path / "cache", name="x")
    assert not left_in(tmp_path / "cache")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_itself_is_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 MB of zeros in 5 kB; what came out before the limit is removed."""
    monkeypatch.setattr(archives, "FREE_BYTES", 4 << 20)
    archive = tmp_path / "data" / f"bomb.{suffix}"
    archive.parent.mkdir()
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("real/0.png", bytes(5 << 20))
    else:
        entry = tarfile.TarInfo("real/0.png")
        entry.size = 5 << 20
        archive.write_bytes(gzip.compress(entry.tobuf() + bytes(entry.size + 1024)))
    with pytest.raises(DataError, match="more than 100 times its size and 4 MB") as error:
        unpack_all(archive.parent, [archive], cache=tmp_path / "cache", name="d")
    assert str(archive) in str(error.value) and "nothing is unpacked" in str(error.value)
    assert left_in(tmp_path / "cache") == []


def test_an_archive_of_more_files_than_any_set_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    into = tmp_path / "out"
    into.mkdir()
    unpack(tar_of(tmp_path / "three.tar", "0", "1", "2"), into)
    assert everything(into) == {"0", "1", "2"}
    with pytest.raises(DataError, match=r"four\.tar' holds more than 3 files"):
        unpack(tar_of(tmp_path / "four.tar", "a", "b", "c", "d"), into)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header of a length that it lies about, written in binary, as GNU does."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (size % 2**96).to_bytes(12, "big")
    block[124] = 0xFF if size < 0 else 0x80
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        header("real/0.png", -512),  # whose end is its own beginning
        header("real/0.png", -1024),
        header("././@LongLink", 2**40, tarfile.GNUTYPE_LONGNAME),
        header("././@LongLink", -512, tarfile.GNUTYPE_LONGNAME),
        header("pax", 2**40, tarfile.XHDTYPE),
        header("pax", -512, tarfile.XHDTYPE),
    ],
)
def test_lengths_that_lie_are_refused_at_once(content: bytes, tmp_path: Path) -> None:
    into = tmp_path / "out"
    into.mkdir()
    (tmp_path / "a.tar").write_bytes(header("first.png", 0) + content + bytes(10 * 512))
    with pytest.raises(DataError, match=r"a\.tar' is broken"):
        unpack(tmp_path / "a.tar", into)


def test_an_interrupted_unpacking_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = tmp_path / "source", tmp_path / "cache"
    for number in range(3):
        tar_of(folder / "real_train" / f"{number}.tar.gz", f"{number}/x.png")
    good = (folder / "real_train" / "2.tar.gz").read_bytes()
    (folder / "real_train" / "2.tar.gz").write_bytes(bytes(len(good)))
    found = find_archives(tmp_path, "*_*/*.tar.gz")
    # also in a folder below
    assert found == [folder / "real_train" / f"{number}.tar.gz" for number in range(3)]
    with pytest.raises(DataError, match=r"2\.tar\.gz' is broken"):
        unpack_all(folder, found, cache=cache, name="x:y?")
    assert unpacked(folder, found, cache=cache, name="x:y?") is None
    (folder / "real_train" / "2.tar.gz").write_bytes(good)
    monkeypatch.setattr(
        "study.data.sources.archives.unpack",
        lambda *of: (of[0] in found[:2] and pytest.fail("again"), unpack(*of)),
    )
    history: list[tuple[str, int, int]] = []
    place = unpack_all(
        folder, found, cache=cache, name="x:y?", progress=lambda *report: history.append(report)
    )
    assert history[-1] == ("unpacking x:y?", 3, 3)
    assert place == unpacked(folder, found, cache=cache, name="x:y?")
    assert sorted(
        path.as_posix() for path in (p.relative_to(place) for p in place.rglob("*.png"))
    ) == [f"real_train/{number}/{number}/x.png" for number in range(3)]
    assert ":" not in str(place.relative_to(tmp_path))


def unpacks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, bytes], list[str], Path]:
    """Unpack what a folder holds by now: the files, the archives that were unpacked for it, and
    where.
    """
    done: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            "study.data.sources.archives.unpack", lambda *of: (done.append(of[0].name), unpack(*of))
        )
        place = unpack_all(
            folder, find_archives(folder, "*.tar"), cache=folder.parent / "cache", name="x"
        )
    files = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }
    assert (
        unpacked(folder, find_archives(folder, "*.tar"), cache=folder.parent / "cache", name="x")
        == place
    )
    return files, done, place


def test_every_archive_counts_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is unpacked alone, another of the same size replaces what the first gave, one that
    is gone takes it along.
    """
    folder = tmp_path / "source"
    size = tar_of(folder / "0.tar", "x.png").stat().st_size
    first = unpacks(folder, monkeypatch)
    assert first[:2] == ({"0/x.png": b"x.png"}, ["0.tar"])
    tar_of(folder / "1.tar", "y.png")
    assert unpacks(folder, monkeypatch) == (
        {"0/x.png": b"x.png", "1/y.png": b"y.png"},
        ["1.tar"],
        first[2],
    )
    assert tar_of(folder / "0.tar", "other.png").stat().st_size == size
    found = find_archives(folder, "*.tar")
    assert unpacked(folder, found, cache=tmp_path / "cache", name="x") is None
    assert unpacks(folder, monkeypatch) == (
        {"0/other.png": b"other.png", "1/y.png": b"y.png"},
        ["0.tar"],
        first[2],
    )
    (folder / "0.tar").unlink()
    assert unpacks(folder, monkeypatch) == ({"1/y.png": b"y.png"}, [], first[2])
    content = (folder / "1.tar").read_bytes()
    (folder / "1.tar").unlink()
    (folder / "1.tar").write_bytes(content)  # a copy of itself
    assert unpacks(folder, monkeypatch)[1] == []
    shutil.rmtree(first[2] / "1")  # by hand
    assert (
        unpacked(folder, find_archives(folder, "*.tar"), cache=tmp_path / "cache", name="x") is None
    )
    assert unpacks(folder, monkeypatch) == ({"1/y.png": b"y.png"}, ["1.tar"], first[2])


@pytest.mark.parametrize("ledger", [None, "", "[]"])
def test_what_nobody_knows_the_origin_of_is_not_used(
    ledger: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "source"
    for number in range(2):
        tar_of(folder / f"{number}.tar", "x.png")
    place = unpacks(folder, monkeypatch)[2]
    place.with_name(f"{place.name}.json").unlink()
    if ledger is not None:
        place.with_name(f"{place.name}.json").write_text(ledger, encoding="utf-8")
    (folder / "0.tar").unlink()
    tar_of(folder / "1.tar", "y.png")
    assert unpacks(folder, monkeypatch)[0] == {"1/y.png": b"y.png"}


@pytest.mark.parametrize("removing", [True, False])
def test_killed_while_an_archive_is_replaced_nothing_of_the_old_one_stays(
    removing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "source"
    tar_of(folder / "0.tar", "x.png")
    tar_of(folder / "1.tar", "y.png")
    unpacks(folder, monkeypatch)
    (folder / "1.tar").unlink()
    tar_of(folder / "0.tar", "other.png")
    real = shutil.rmtree

    def dies(path: Path, **options: Any) -> None:
        if not removing:
            real(path, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("study.data.sources.archives.shutil.rmtree", dies)
        unpacks(folder, monkeypatch)
    assert (
        unpacked(folder, find_archives(folder, "*.tar"), cache=tmp_path / "cache", name="x") is None
    )
    assert unpacks(folder, monkeypatch)[0] == {"0/other.png": b"other.png"}


def test_one_process_at_a_time_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "source"
    tar_of(folder / "0.tar", "x.png")
    held: list[bool] = []

    def meanwhile(archive: Path, into: Path) -> None:
        (lock,) = (tmp_path / "cache" / "unpacked" / ".locks").iterdir()
        with lock.open("w") as file:
            held.append(not try_lock(file))
        unpack(archive, into)

    monkeypatch.setattr("study.data.sources.archives.unpack", meanwhile)
    unpack_all(folder, find_archives(folder, "*.tar"), cache=tmp_path / "cache", name="x")
    assert held == [True]


def test_hidden_files_are_no_archives(tmp_path: Path) -> None:
    """What macOS leaves: `._1.tar.gz` beside `1.tar.gz` on other file systems."""
    for path in ("a_b/1.tar.gz", "a_b/._1.tar.gz", ".a_b/2.tar.gz", ".c/a_b/3.tar.gz"):
        tar_of(tmp_path / path, "x.png")
    assert find_archives(tmp_path, "*_*/*.tar.gz") == [tmp_path / "a_b" / "1.tar.gz"]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "source" / "0.tar.gz", "x.png")
    (tmp_path / "cache").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        unpack_all(tmp_path / "source", [archive], cache=tmp_path / "cache", name="x")


def test_a_full_disk_is_not_called_a_broken_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar_of(tmp_path / "source" / "0.tar.gz", "x.png", "y.png")
    real_open = Path.open

    def on_a_full_disk(path: Path, mode: str = "r", **options: Any) -> Any:
        return (
            real_open(Path("/dev/full"), "wb") if mode == "xb" else real_open(path, mode, **options)
        )

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(
        StoreError, match=r"cache folder .* cannot be written: No space left on device"
    ):
        unpack_all(tmp_path / "source", [archive], cache=tmp_path / "cache", name="x")
    assert unpacked(tmp_path / "source", [archive], cache=tmp_path / "cache", name="x") is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_an_archive_that_cannot_be_read_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    archive = tar_of(tmp_path / "source" / "0.tar.gz", "x.png")

    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("gzip.open", refuse)
    with pytest.raises(
        DataError, match=rf"archive '.*0.tar.gz' cannot be read: {os.strerror(number)}$"
    ):
        unpack_all(tmp_path / "source", [archive], cache=tmp_path / "cache", name="x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_nothing_is_deleted_while_a_folder_of_archives_cannot_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "source"
    for name in ("a_b", "c_d"):
        tar_of(folder / name / "0.tar", "x.png")
    place = unpack_all(
        folder, find_archives(folder, "*_*/*.tar"), cache=tmp_path / "cache", name="x"
    )
    before, real = everything(place), os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path) == folder / "c_d":
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(
            DataError, match=rf"folder '{folder}/c_d' cannot be read: {os.strerror(number)}$"
        ):
            unpack_all(
                folder, find_archives(folder, "*_*/*.tar"), cache=tmp_path / "cache", name="x"
            )
    assert everything(place) == before


@pytest.mark.parametrize("link", ["a_b/0.tar", "c_d"])
def test_links_that_lead_nowhere_are_refused(link: str, tmp_path: Path) -> None:
    """Such as those to a disk that is not mounted: what was unpacked from it stays."""
    folder, disk = tmp_path / "source", tmp_path / "disk"
    tar_of(folder / "a_b" / "1.tar", "x.png")
    tar_of(disk / "0.tar", "y.png")
    (folder / link).symlink_to(disk / "0.tar" if link.endswith(".tar") else disk)
    found = find_archives(folder, "*_*/*.tar")
    assert len(found) == 2
    place = unpack_all(folder, found, cache=tmp_path / "cache", name="x")
    before = everything(place)
    disk.rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataError, match=rf"'{folder}/{link}' cannot be read: No such file or directory"
    ):
        unpack_all(folder, find_archives(folder, "*_*/*.tar"), cache=tmp_path / "cache", name="x")
    assert everything(place) == before
    (folder / link).unlink()
    unpack_all(folder, find_archives(folder, "*_*/*.tar"), cache=tmp_path / "cache", name="x")
    assert everything(place) == {"a_b", "a_b/1", "a_b/1/x.png"} | ({"c_d"} & everything(place))


def test_other_links_that_lead_nowhere_are_nobodys_archives(tmp_path: Path) -> None:
    (tmp_path / "a_b").mkdir()
    for name in ("notes", "a_b/0.png", "c_d"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
    assert find_archives(tmp_path, "*_*/*.tar") == []


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("1.tar", "1.tar.gz", "would be unpacked into one folder"),
        ("a/1.zip", "a/1.tgz", "would be unpacked into one folder"),
        ("a.tar.gz", "a/b.tar.gz", "would be unpacked into the folder of"),
        ("a.tar.gz", "a/b/c.tar.gz", "would be unpacked into the folder of"),
    ],
)
def test_archives_that_would_be_unpacked_into_one_folder_are_refused(
    first: str, second: str, message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    found = [tar_of(folder / name, "top.png") for name in (first, "a-.tar", second)]
    for look in (unpacked, unpack_all):
        with pytest.raises(DataError, match=message) as error:
            look(folder, sorted(found), cache=tmp_path / "cache", name="x")
        assert f"'{folder / first}'" in str(error.value)
        assert f"'{folder / second}'" in str(error.value)
    assert not left_in(tmp_path / "cache")


def test_a_folder_that_is_in_the_way_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger says nothing of it: what it holds is not what the archive gives."""
    folder = tmp_path / "source"
    tar_of(folder / "0.tar", "x.png")
    place = unpacks(folder, monkeypatch)[2]
    (place / "1").mkdir()
    (place / "1" / "strange.png").touch()
    tar_of(folder / "1.tar", "y.png")
    assert unpacks(folder, monkeypatch)[0] == {"0/x.png": b"x.png", "1/y.png": b"y.png"}

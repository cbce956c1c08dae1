"""Video files as datasets: which frames, their pixels, groups, units, and what happens to broken
ones. The videos are made here.
"""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.core.cache import read_entry
from study.core.errors import DataError
from study.core.identity import file_sha256
from study.core.records import Geometry
from study.data.audit.traits import traits_of
from study.data.images import videos
from study.data.images.decode import pixel_digest
from study.data.images.originals import Original, Originals, map_originals
from study.data.images.videos import (
    decode_frames,
    frame_path,
    frame_sha256,
    inspect_video,
    read_indexed,
    runs,
    sampled,
    split_frame,
)
from study.data.leaks.prints import read_prints
from tests.data.conftest import MakeCatalog
from tests.factories import (
    MANIPULATIONS,
    picture,
    truncate,
    write_ffpp,
    write_image,
    write_manifest,
    write_video,
)

SPLITS = ("train", "val", "test")
SMALL = Geometry(size_px=16, mode="squash")


def numbered(path: Path, frames: int = 20, **options: Any) -> Path:
    """A video whose frame number i is grey, of level 10 i: readable off its pixels after any lossy
    coding.
    """
    return write_video(
        path,
        [np.full((16, 32, 3), 10 * number, dtype=np.uint8) for number in range(frames)],
        **options,
    )


def clips(folder: Path, *, n: int = 24, frames: int = 4, suffix: str = ".mp4") -> Path:
    """`n` real and `n` fake videos, told apart by a checkerboard: SPLIT/CLASS/NUMBER, by turns in
    train, val and test.
    """
    for label, word in enumerate(("real", "fake")):
        for number in range(n):
            pictures = [
                picture(label, size=16, seed=1000 * number + frame) for frame in range(frames)
            ]
            write_video(
                folder / SPLITS[number % 3] / word / f"{number:02d}{suffix}",
                pictures,
                codec="ffv1" if suffix == ".mkv" else "mpeg4",
            )
    return folder


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [(10, 5, [1, 3, 5, 7, 9]), (3, 32, [0, 1, 2]), (100, 1, [50]), (7, 2, [1, 5])],
)
def test_frames_are_the_middles_of_equal_stretches(
    total: int, wanted: int, expected: list[int]
) -> None:
    assert sampled(total, wanted) == expected


def test_names_of_frames() -> None:
    assert split_frame("a/clip.mp4#frame=000012") == ("a/clip.mp4", 12)
    assert split_frame("a/clip.MKV#frame=1234567") == ("a/clip.MKV", 1234567)
    assert split_frame("a/x#frame=000012") is None
    assert split_frame("a/clip.mp4") is None
    names = ["a.png", "b.mp4#frame=000000", "b.mp4#frame=000003", "c.mp4#frame=000001", "d.png"]
    assert [run[:2] for run in runs(names)] == [
        ("a.png", ()),
        ("b.mp4", (0, 3)),
        ("c.mp4", (1,)),
        ("d.png", ()),
    ]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "mpeg4"),
        ("a.mp4", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.mov", "mjpeg"),
        ("a.mkv", "ffv1"),
        ("a.webm", "libvpx"),
    ],
)
def test_every_container_gives_the_frames_asked_for(name: str, codec: str, tmp_path: Path) -> None:
    path = numbered(tmp_path / name, codec=codec)
    assert inspect_video(path).frames == 20
    wanted = [0, 7, 8, 19]
    for number, pixels in zip(wanted, decode_frames(path, wanted), strict=True):
        assert isinstance(pixels, np.ndarray)
        assert pixels.shape == (16, 32, 3)
        assert abs(float(pixels.mean()) - 10 * number) < 4


def test_a_lossless_frame_is_the_picture_that_was_put_in(tmp_path: Path) -> None:
    pictures = [picture(1, size=16, seed=seed) for seed in range(6)]
    path = write_video(tmp_path / "a.mkv", pictures, codec="ffv1", pixel_format="bgr0")
    assert all(
        np.array_equal(a, b) for a, b in zip(pictures, decode_frames(path, range(6)), strict=True)
    )


def test_a_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:8, :8] = 255  # bright in the upper left
    path = write_video(tmp_path / "a.mp4", [pixels] * 3)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 0x10000
    assert data[matrix : matrix + 4] == one.to_bytes(4, "big")
    # x' = -y, y' = x: a quarter turn clockwise, as phones write it
    turned = (0, one, 0, -one, 0, 0, 0, 0, 0x40000000)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    path.write_bytes(data)
    (shown,) = decode_frames(path, [1])
    assert isinstance(shown, np.ndarray)
    assert shown.shape == (32, 16, 3)
    assert shown[:6, -6:].mean() > 230  # now in the upper right
    assert shown[10:].mean() < 20


def test_a_folder_of_videos_is_a_dataset_by_video(root: Path, make_catalog: MakeCatalog) -> None:
    clips(root / "clips")
    shutil.copy(
        root / "clips" / "train" / "real" / "00.mp4",
        root / "clips" / "train" / "real" / "again.mp4",
    )
    dataset = make_catalog(frames_per_video=3).dataset("clips")
    rows = dataset.samples.to_pylist()
    assert len(rows) == 49 * 3
    assert [row["id"] for row in rows[:3]] == [
        f"clips/test/fake/02.mp4#frame=00000{number}" for number in sampled(4, 3)
    ]
    assert {row["unit"] for row in rows[:3]} == {"clips/fake/test/fake/02.mp4"}
    assert len({row["unit"] for row in rows}) == 49
    assert len({row["group"] for row in rows}) == 48  # a copy is the same video
    assert all(
        len({row["split"] for row in rows if row["group"] == group}) == 1
        for group in {row["group"] for row in rows}
    )
    assert {row["problem"] for row in rows} == {""}


def test_packed_frames_are_those_of_the_video(root: Path, make_catalog: MakeCatalog) -> None:
    clips(root / "clips", suffix=".mkv")
    write_image(root / "clips" / "train" / "real" / "still.png", picture(0, size=16))
    images = make_catalog(frames_per_video=2).open("clips", "train", SMALL)
    assert images.excluded == ()
    for place, sample in enumerate(images.sample_id.tolist()):
        if "#frame=" in sample:
            file, number = split_frame(sample.removeprefix("clips/")) or ("", 0)
            seed = 1000 * int(Path(file).stem) + number
            expected = picture(int("/fake/" in file), size=16, seed=seed)
            # colour is stored at half size
            assert np.abs(images.gather(np.array([place]))[0].astype(int) - expected).mean() < 20
    again = make_catalog(frames_per_video=2).open("clips", "train", SMALL)
    assert again.key == images.key
    assert make_catalog(frames_per_video=4).open("clips", "train", SMALL).key != images.key


def test_nothing_is_decoded_twice_and_a_changed_video_is_noticed(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips(root / "clips", frames=2)
    before = make_catalog().dataset("clips")
    with monkeypatch.context() as patched:
        for name in (
            "study.data.file_index.decode_frames",
            "study.data.layouts.frames.inspect_video",
        ):
            patched.setattr(name, lambda *_: pytest.fail("decoded again"))
        assert make_catalog().dataset("clips").digest == before.digest
    catalog = make_catalog()
    catalog.dataset("clips")
    write_video(root / "clips" / "train" / "real" / "03.mp4", [picture(0, size=16, seed=9)] * 2)
    with pytest.raises(DataError, match=r"03.mp4' changed since it was indexed"):
        catalog.open("clips", "train", SMALL)
    assert make_catalog().dataset("clips").digest != before.digest


def failing(path: Path, error: Exception, *, counting: bool) -> Callable[[str], Any]:
    """PyAV's `open`, to which a video is an error: when its frames are counted, or when they are
    decoded.
    """
    import av

    real, calls = av.open, list[str]()

    def fails(file: str) -> Any:
        calls.extend([file] if file == str(path) else [])
        if file == str(path) and len(calls) == (1 if counting else 2):
            raise error
        return real(file)

    return fails


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EACCES, "Permission denied")])
@pytest.mark.parametrize("counting", [True, False])
def test_a_video_that_cannot_be_read_once_is_read_the_next_time(
    error: Exception,
    counting: bool,
    root: Path,
    make_catalog: MakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips(root / "clips", frames=2)
    with monkeypatch.context() as patched:
        patched.setattr(
            "av.open",
            failing(root / "clips" / "train" / "real" / "03.mp4", error, counting=counting),
        )
        once = make_catalog()
        assert {name.partition("#")[0] for name, _ in once.describe("clips").excluded} == {
            "clips/train/real/03.mp4"
        }
    again = make_catalog()
    assert again.describe("clips").excluded == ()
    assert again.dataset("clips").digest != once.dataset("clips").digest


@pytest.mark.parametrize("where", ["study.data.images.videos", "study.data.file_index"])
def test_a_disk_that_does_not_answer_stops_the_command(
    where: str, root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips(root / "clips", frames=2)
    victim = root / "clips" / "train" / "real" / "03.mp4"

    def fails(path: Path) -> str:
        if path == victim:
            raise OSError(errno.EIO, "Input/output error")
        return file_sha256(path)

    with monkeypatch.context() as patched:
        patched.setattr(f"{where}.file_sha256", fails)
        with pytest.raises(
            DataError,
            match=(
                rf"'{victim}' could not be read now \(Input/output error\); run the command again"
            ),
        ):
            make_catalog().dataset("clips")
    assert make_catalog().describe("clips").excluded == ()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("counting", [True, False])
def test_a_disk_that_fails_after_the_video_was_hashed_stops_the_command(
    counting: bool,
    number: int,
    root: Path,
    make_catalog: MakeCatalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips(root / "clips", frames=2)
    victim, error = (
        root / "clips" / "train" / "real" / "03.mp4",
        OSError(number, os.strerror(number)),
    )
    opens, failed = failing(victim, error, counting=counting), list[Path]()

    def opened(file: str) -> Any:
        try:
            return opens(file)
        except OSError:
            failed.append(victim)
            raise

    def sha256(path: Path) -> str:
        if path in failed and number == errno.EIO:
            raise error
        return file_sha256(path)

    with monkeypatch.context() as patched:
        patched.setattr("av.open", opened)
        for where in ("study.data.images.videos", "study.data.file_index"):
            patched.setattr(f"{where}.file_sha256", sha256)
        with pytest.raises(
            DataError,
            match=(
                rf"'{victim}' could not be read now \({os.strerror(number)}\); run the command"
                r" again"
            ),
        ):
            make_catalog().dataset("clips")
    assert failed == [victim]
    assert make_catalog().describe("clips").excluded == ()


@pytest.mark.parametrize("counting", [True, False])
def test_a_video_that_its_disk_reads_well_and_ffmpeg_does_not_is_broken(
    counting: bool, root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg says `Input/output error` of some broken files, too: they are left out, and that is
    remembered.
    """
    clips(root / "clips", frames=2)
    victim = root / "clips" / "train" / "real" / "03.mp4"
    with monkeypatch.context() as patched:
        patched.setattr(
            "av.open", failing(victim, OSError(errno.EIO, "Input/output error"), counting=counting)
        )
        once = make_catalog().describe("clips")
    assert {(name.partition("#")[0], why) for name, why in once.excluded} == {
        ("clips/train/real/03.mp4", "no readable video: Input/output error")
    }
    monkeypatch.setattr("av.open", lambda *_: pytest.fail("opened again"))
    assert make_catalog().describe("clips").excluded == once.excluded


def test_broken_videos_are_listed_with_their_reasons(root: Path, make_catalog: MakeCatalog) -> None:
    folder = clips(root / "clips")
    # its table of contents, which is at the end, is gone
    truncate(folder / "train" / "real" / "00.mp4", 0.3)
    (folder / "val" / "real" / "01.mp4").write_bytes(b"")
    (folder / "train" / "fake" / "02.webm").write_text("no video at all", encoding="utf-8")
    excluded = dict(make_catalog().describe("clips").excluded)
    assert set(excluded) == {
        "clips/train/fake/02.webm",
        "clips/train/real/00.mp4",
        "clips/val/real/01.mp4",
    }
    assert all(reason.startswith("no readable video: ") for reason in excluded.values())
    assert not any(str(root) in reason for reason in excluded.values())


def test_a_damaged_frame_is_left_out_and_the_others_stay(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder = clips(root / "clips", frames=6, suffix=".mkv")
    path = folder / "test" / "fake" / "05.mkv"
    data = bytearray(path.read_bytes())
    for place in range(int(len(data) * 0.45), int(len(data) * 0.55)):
        data[place] ^= 0xFF
    path.write_bytes(data)
    rows = [
        row
        for row in make_catalog(frames_per_video=6).dataset("clips").samples.to_pylist()
        if "fake/05.mkv" in row["path"]
    ]
    bad = [row for row in rows if row["problem"]]
    assert bad
    assert len(bad) < len(rows)


def test_one_frame_is_read_as_it_was_indexed(root: Path, make_catalog: MakeCatalog) -> None:
    clips(root / "clips", n=3, suffix=".mkv")
    write_image(root / "clips" / "train" / "real" / "still.png", picture(0, size=16))
    dataset = make_catalog(frames_per_video=2).dataset("clips")
    for row in dataset.samples.to_pylist():
        pixels = read_indexed(f"{dataset.root}/{row['path']}", row["sha256"])
        assert pixel_digest(pixels) == row["pixels"]
        with pytest.raises(DataError, match="changed since it was indexed"):
            read_indexed(f"{dataset.root}/{row['path']}", "0" * 64)


def test_frames_are_read_in_any_order(tmp_path: Path) -> None:
    """From the millionth on, which has a digit more, frames in the order of their paths are not in
    that of their numbers.
    """
    million = [frame_path("a.mp4", number) for number in (999_999, 1_000_000)]
    assert [run[:2] for run in runs(sorted(million))] == [
        ("a.mp4", (1_000_000,)),
        ("a.mp4", (999_999,)),
    ]
    path = numbered(tmp_path / "a.mkv", codec="ffv1")
    wanted = [2, 5, 3, 9, 9, 0]
    items = [
        Original(frame_path(str(path), number), frame_sha256(file_sha256(path), number))
        for number in wanted
    ]
    levels = list(
        map_originals(
            lambda pixels: pixels if isinstance(pixels, str) else round(float(pixels.mean()) / 10),
            items,
        )
    )
    assert levels == wanted


def test_frames_after_the_end_say_so(tmp_path: Path) -> None:
    assert (
        list(decode_frames(numbered(tmp_path / "a.mp4", frames=3), [3, 4]))
        == ["the video ends before this frame"] * 2
    )


def test_a_manifest_lists_videos_and_its_groups_win(root: Path, make_catalog: MakeCatalog) -> None:
    clips(root / "clips", n=24, frames=2)
    rows: list[dict[str, object]] = [
        {
            "path": f"{SPLITS[number % 3]}/{word}/{number:02d}.mp4",
            "label": word,
            "method": ("camera", "swap")[label],
            "group": f"scene {number}",
        }
        for label, word in enumerate(("real", "fake"))
        for number in range(24)
    ]
    write_manifest(root / "clips", rows)
    samples = make_catalog().dataset("clips").samples.to_pylist()
    assert {row["group"] for row in samples} == {f"scene {number}" for number in range(24)}
    assert len(samples) == 48 * 2
    assert len({row["unit"] for row in samples}) == 48


def test_the_videos_of_faceforensics_have_the_groups_of_their_frames(
    root: Path, make_catalog: MakeCatalog
) -> None:
    write_ffpp(root / "ffpp", pairs=24, frames=1)
    by_frames = make_catalog().dataset("ffpp:FaceSwap").samples.to_pylist()
    for folder in (root / "ffpp").glob("*/*/c40/images"):
        for video in folder.iterdir():
            write_video(
                folder.parent / "videos" / f"{video.name}.mp4",
                [picture(0, size=16, seed=int(video.name[:3]))],
            )
    with pytest.raises(
        DataError, match=r"has kind images, videos; name one: ffpp:FaceSwap\?kind=images"
    ):
        make_catalog().dataset("ffpp:FaceSwap")
    by_videos = make_catalog().dataset("ffpp:FaceSwap?kind=videos").samples.to_pylist()
    assert {(row["group"], row["video"], row["split"]) for row in by_videos} == {
        (row["group"], row["video"], row["split"]) for row in by_frames
    }


def test_the_datasets_of_one_folder_count_its_videos_once(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for video in range(48):
        for folder, name in (
            ("Real_youtube", f"{video:03d}"),
            *((one, f"{video:03d}_{video ^ 1:03d}") for one in MANIPULATIONS),
        ):
            write_video(root / "ffpp" / folder / f"{name}.mp4", [picture(0, size=16, seed=video)])
    for name in ("ffpp:FaceSwap", "ffpp:NeuralTextures"):
        make_catalog().dataset(name)
    monkeypatch.setattr(
        "study.data.layouts.frames.inspect_video", lambda _: pytest.fail("counted again")
    )
    for name in ("ffpp:FaceSwap", "ffpp:NeuralTextures", "ffpp"):
        make_catalog().dataset(name)


def test_without_pyav_the_error_names_the_package(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips(root / "clips", n=1, frames=1)
    real_import = builtins.__import__

    def no_av(name: str, *rest: Any, **options: Any) -> Any:
        if name == "av":
            raise ImportError("No module named 'av'")
        return real_import(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", no_av)
    with pytest.raises(
        DataError, match=r"holds 2 videos \('.*mp4'\).*pip install av \(the extra \[video\]"
    ):
        make_catalog().dataset("clips")


def videos_known(cache: Path) -> int:
    """How many rows the tables of videos have, in all their parts."""
    contents = [read_entry(file) for file in cache.glob("videos/*/*/*")]
    return sum(pq.read_table(pa.BufferReader(content)).num_rows for content in contents)


def test_an_interrupted_count_keeps_what_it_has(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips(root / "clips", n=24, frames=1)
    catalog = make_catalog()
    seen: list[Path] = []

    def stop_after_ten(path: Path) -> videos.VideoInfo:
        seen.append(path)
        if len(seen) > 10:
            raise KeyboardInterrupt
        return inspect_video(path)

    monkeypatch.setattr("study.data.layouts.frames.inspect_video", stop_after_ten)
    with pytest.raises(KeyboardInterrupt):
        catalog.dataset("clips")
    assert 1 <= videos_known(catalog.config.cache) <= 10


def test_a_killed_count_keeps_what_it_has(root: Path, make_catalog: MakeCatalog) -> None:
    """By SIGKILL at the tenth of 48 videos, with four to a part: the first two parts are known."""
    clips(root / "clips", n=24, frames=1)
    cache = make_catalog().config.cache
    code = f"""
import os, signal
from pathlib import Path
from study.data.layouts import frames
from study.data.catalog import Catalog, DataConfig

def told(what, done, total):
    if done == 10:
        os.kill(os.getpid(), signal.SIGKILL)

frames.PART = 4
config = DataConfig(root=Path({str(root)!r}), cache=Path({str(cache)!r}))
Catalog(config, firewall=False, progress=told).dataset("clips")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert videos_known(cache) == 8
    history: list[tuple[str, int, int]] = []
    make_catalog(progress=lambda *report: history.append(report)).dataset("clips")
    assert [of for what, _, of in history if what.startswith("counting")][-1] == 40


def test_frames_are_unified_and_read_at_their_original_size_as_images_are(
    root: Path, make_catalog: MakeCatalog
) -> None:
    clips(root / "clips", n=6)
    plain = make_catalog(frames_per_video=2)
    originals = Originals([plain.dataset("clips")], "train")
    assert originals.read(0).shape == (16, 16, 3)
    unified = make_catalog(frames_per_video=2, unify=True)
    assert unified.dataset("clips").unified_px == 8  # half the short side
    assert len(unified.open("clips", "train", SMALL)) == len(originals) == 2 * 2 * 2


def test_a_video_is_decoded_once_for_its_prints_its_traits_and_its_degraded_frames(
    root: Path, make_catalog: MakeCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips(root / "clips", n=6, suffix=".mkv")
    write_image(root / "clips" / "train" / "real" / "still.png", picture(0, size=16))
    catalog = make_catalog(frames_per_video=3)
    dataset, cache = catalog.dataset("clips"), catalog.config.cache
    opened: list[str] = []
    monkeypatch.setattr(
        videos,
        "decode_frames",
        lambda path, frames: opened.append(path.name) or decode_frames(path, frames),
    )
    read_prints(dataset, cache=cache)
    assert len(opened) == 12  # all videos of all splits
    opened.clear()
    found = traits_of(dataset, cache=cache)
    assert (len(opened), len(found)) == (12, 37)
    opened.clear()
    originals = Originals([dataset], "train")
    rows = dataset.rows("train").to_pylist()
    order = np.arange(len(originals))
    for row, read in zip(rows, originals.readers(order), strict=True):
        assert pixel_digest(read()) == row["pixels"]
    assert len(opened) == 4
    assert [pixel_digest(read()) for read in originals.readers(order[[5, 2]])] == [
        rows[5]["pixels"],
        rows[2]["pixels"],
    ]
    (root / "clips" / "train" / "fake" / "00.mkv").unlink()
    with pytest.raises(DataError, match=r"00.mkv' changed since it was indexed \(cannot be read"):
        list(originals.readers(order))


def test_the_traits_of_a_frame_are_those_of_its_video(
    root: Path, make_catalog: MakeCatalog
) -> None:
    folder, still = clips(root / "clips", n=6), picture(0, size=16)
    path = numbered(folder / "train" / "real" / "wide.mkv", codec="ffv1")
    write_image(folder / "train" / "real" / "still.png", still)
    catalog = make_catalog(frames_per_video=2)
    dataset = catalog.dataset("clips")
    found = traits_of(dataset, cache=catalog.config.cache)
    paths = dataset.samples["path"].to_pylist()
    at = paths.index(f"train/real/wide.mkv#frame={sampled(20, 2)[1]:06d}")
    words = {name: str(column[at]) for name, column in found.kinds.items()}
    none = dict.fromkeys(("subsampling", "tables", "progressive"), "none")
    assert words == {
        "format": "ffv1 video in Matroska / WebM",
        "mode": "yuv420p",
        "profile": "no",
        "exif": "no",
        **none,
    }
    numbers = {name: float(column[at]) for name, column in found.numbers.items()}
    assert (numbers["width"], numbers["height"], numbers["aspect"]) == (32, 16, 2)
    assert np.isnan(numbers["jpeg_quality"])
    assert abs(numbers["brightness"] - 10 * sampled(20, 2)[1]) < 4
    size = path.stat().st_size  # of which the container's own words are no frame's
    assert 0.3 * size < numbers["bytes_per_pixel"] * 20 * 32 * 16 < size
    assert set(found.kinds["format"]) == {
        "mpeg4 video in QuickTime / MOV",
        "ffv1 video in Matroska / WebM",
        "PNG",
    }
    unified = traits_of(
        make_catalog(frames_per_video=2, unify=True).dataset("clips"), cache=catalog.config.cache
    )
    assert set(unified.kinds["format"]) == {"JPEG"}
    assert set(unified.numbers["width"]) == {8}
    assert np.isnan(unified.numbers["bytes_per_pixel"]).all()

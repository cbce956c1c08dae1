"""Small image folders for tests, in every layout, with fakes that a detector can learn to tell:
they carry a faint checkerboard.

Everything is deterministic in `seed`. `write_dataset(tmp_path / "mine")` gives a folder that a data
root may hold.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

REAL, FAKE = 0, 1
LAYOUTS = (
    "real_fake",
    "REAL_FAKE",
    "0_real_1_fake",
    "train_test",
    "train_valid_test",
    "methods",
    "named",
    "manifest",
)
# class folders that have to be named
NAMED = {"Real_youtube": REAL, "FaceSwap": FAKE, "NeuralTextures": FAKE}


def picture(label: int, *, size: int = 32, seed: int = 0, amplitude: int = 14) -> NDArray[np.uint8]:
    """A smooth random image, (size, size, 3) uint8; on a fake (label 1) lies a checkerboard of
    `amplitude` levels.
    """
    rng = np.random.default_rng(
        [seed, label, 16]
    )  # 16: with it the first seeds give every hash split both classes, see write_dataset
    coarse = Image.fromarray(rng.integers(50, 206, (4, 4, 3), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(coarse, dtype=np.int16) + rng.integers(
        -6, 7, (size, size, 1), dtype=np.int16
    )
    if label == FAKE:
        rows, columns = np.indices((size, size))
        pixels = pixels + (amplitude * ((rows + columns) % 2 * 2 - 1))[:, :, None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_image(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write pixels in the format of the path's suffix (JPEG at quality 95), making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(pixels).save(path, **options)
    return path


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    *,
    codec: str = "mpeg4",
    pixel_format: str = "yuv420p",
) -> Path:
    """Write pictures (H, W, 3) uint8 as the frames of a video in the container of the path's
    suffix, making its folder.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    # no random identity in the file
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else pixel_format
        stream.bit_rate = 2_000_000
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file of Pillow's format `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, rows: bytes, *, interlaced: bool = False) -> bytes:
    """A grey PNG that says it is so large, and whose data are `rows`, each with its filter byte."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_dataset(
    folder: Path,
    *,
    layout: str = "real_fake",
    n: int = 40,
    size: int = 32,
    seed: int = 0,
    suffix: str = ".png",
) -> Path:
    """Write `n` real and `n` fake images into `folder` in one of `LAYOUTS`, and return it.

    `train_test` (75/25, CIFAKE's shape) and `train_valid_test` (60/20/20, 140k-faces') divide the n
    among the splits; `methods` puts fakes into fake/gan_a and fake/gan_b; `named` halves the fakes
    between FaceSwap and NeuralTextures; `manifest` adds manifest.csv, in which the i-th real and
    the i-th fake share a group. An image depends on seed, index, label and size only.

    Without official splits the split follows a hash of the pixels, and a small class may miss one.
    Both classes are in every split for seeds 0 to 2 at n >= 24 (PNG) or 40 (JPEG) and the sizes 16,
    24, 32, 48 and 64.
    """
    rows = []
    for label in (REAL, FAKE):
        for number in range(n):
            path = Path(_place(layout, label, number, n)) / f"{number:04d}{suffix}"
            write_image(folder / path, picture(label, size=size, seed=seed * 1_000_000 + number))
            rows.append(
                {
                    "path": str(path),
                    "label": ("real", "fake")[label],
                    "group": f"source-{seed}-{number}",
                }
            )
    if layout == "manifest":
        write_manifest(folder, rows)
    return folder


def write_manifest(folder: Path, rows: list[dict[str, object]], *, bom: bool = False) -> Path:
    """Write manifest.csv with the columns of the first row."""
    path = folder / "manifest.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_cifake(folder: Path, *, n: int = 40, seed: int = 0) -> Path:
    """Write a folder of CIFAKE's exact shape: {train,test}/{REAL,FAKE}/*.jpg, 32 x 32 pixels."""
    return write_dataset(folder, layout="train_test", n=n, size=32, seed=seed, suffix=".jpg")


def write_faces_140k(folder: Path, *, n: int = 40, size: int = 64, seed: int = 0) -> Path:
    """Write a folder of 140k-faces' shape, smaller pictures:
    real_vs_fake/real-vs-fake/{train,valid,test}/{real,fake}/*.jpg.
    """
    write_dataset(
        folder / "real_vs_fake" / "real-vs-fake",
        layout="train_valid_test",
        n=n,
        size=size,
        seed=seed,
        suffix=".jpg",
    )
    for split in ("train", "valid", "test"):
        (folder / f"{split}.csv").write_text(
            ",original_path,id,label,label_str,path\n", encoding="utf-8"
        )
    return folder


def kaggle_copy(cache: Path, handle: str, *, version: int = 1) -> Path:
    """Return the folder that kagglehub would keep a dataset in, below its cache folder, marked as
    complete.
    """
    folder = cache / "datasets" / handle / "versions" / str(version)
    folder.mkdir(parents=True)
    (folder.parent.parent / f"{version}.complete").touch()
    return folder


def hub_copy(
    cache: Path,
    handle: str,
    files: Path,
    *,
    commit: str = "c0ffee0123456789c0ffee0123456789c0ffee01",
    listed: bool = True,
) -> Path:
    """Put a folder's files where huggingface_hub keeps a dataset (blobs, and a snapshot of links);
    return the snapshot.

    listed: whether the list of the commit's files is there, as after a download of the whole.
    """
    repository = cache / f"datasets--{handle.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(path for path in files.rglob("*") if path.is_file())):
        place = snapshot / path.relative_to(files)
        place.parent.mkdir(parents=True, exist_ok=True)
        blob = repository / "blobs" / f"{number:040x}"
        shutil.copy(path, blob)
        place.symlink_to(os.path.relpath(blob, place.parent))
    if listed:
        sizes = {
            str(path.relative_to(files)): path.stat().st_size
            for path in files.rglob("*")
            if path.is_file()
        }
        tree = {
            "format_version": 1,
            "files": {path: {"size": size, "blob_id": "0" * 40} for path, size in sizes.items()},
        }
        (repository / "trees").mkdir()
        (repository / "trees" / f"{commit}.json").write_text(json.dumps(tree), encoding="utf-8")
    return snapshot


IMAGE = {"_type": "Image"}


def write_parquet(
    path: Path,
    columns: Mapping[str, Sequence[Any]],
    *,
    image: str = "image",
    classes: Mapping[str, Sequence[str]] | None = None,
    rows: int = 16,
) -> Path:
    """Write a table as the library datasets does: the image column holds bytes, as (bytes, path) or
    alone; the schema has the names of classes. rows: of a row group.
    """
    kinds = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {
        name: pa.array(values, kinds if isinstance(next(iter(values)), dict) else None)
        for name, values in columns.items()
    }
    named = {name: {"names": [*of], "_type": "ClassLabel"} for name, of in (classes or {}).items()}
    features = {"info": {"features": {image: IMAGE, **named}}}
    table = pa.table(arrays).replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


def embedded(label: int, *, size: int = 16, seed: int = 0, name: str = "") -> dict[str, Any]:
    """An image as the library datasets keeps it in a table."""
    data = encode(Image.fromarray(picture(label, size=size, seed=seed)), "PNG")
    return {"bytes": data, "path": name or f"{seed}.png"}


def write_shard(path: Path, samples: Sequence[Mapping[str, bytes]], *, first: int = 0) -> Path:
    """Write a WebDataset shard: members KEY.SUFFIX of every sample, by suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples, start=first):
            for suffix, data in sample.items():
                entry = tarfile.TarInfo(f"{number:06d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return path


def write_wilddeepfake(folder: Path, *, shards: int = 4, frames: int = 2, size: int = 32) -> Path:
    """Write WildDeepfake as its repository holds it:
    deepfake_in_the_wild/{real,fake}_{train,test}/N.tar.gz, two sequences a shard.

    In a shard lies ./N/real/SEQUENCE/FRAME.png. A test set has half as many shards.
    """
    for label, word in enumerate(("real", "fake")):
        for split, count in (("train", shards), ("test", max(shards // 2, 1))):
            for shard in range(count):
                path = folder / "deepfake_in_the_wild" / f"{word}_{split}" / f"{shard}.tar.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                with tarfile.open(path, "w:gz") as tar:
                    for sequence in range(2):
                        for frame in range(frames):
                            seed = (((split == "test") * 100 + shard) * 10 + sequence) * 100 + frame
                            data = encode(
                                Image.fromarray(picture(label, size=size, seed=seed)), "PNG"
                            )
                            entry = tarfile.TarInfo(
                                f"./{shard}/{word}/{shard * 2 + sequence}/{frame * 7}.png"
                            )
                            entry.size = len(data)
                            tar.addfile(entry, io.BytesIO(data))
    (folder / "README.md").write_text("# WildDeepfake\n", encoding="utf-8")
    return folder


MANIPULATIONS = ("FaceSwap", "NeuralTextures")


def write_ffpp(
    folder: Path,
    *,
    pairs: int = 40,
    frames: int = 2,
    size: int = 8,
    flat: bool = False,
    compressions: tuple[str, ...] = ("c40",),
) -> Path:
    """Write FaceForensics++ frames of the videos 000 to 2 * pairs - 1, of which 2n and 2n + 1 are a
    pair, manipulated both ways.

    As its scripts lay it out, or (flat) as class folders Real_youtube, FaceSwap, NeuralTextures of
    files 000_0.png, 000_001_0.png.
    """
    for video in range(2 * pairs):
        real, fake = f"{video:03d}", f"{video:03d}_{video ^ 1:03d}"
        for frame in range(frames):
            for compression in compressions:
                for method in ("", *MANIPULATIONS):
                    name = fake if method else real
                    if flat:
                        path = folder / (method or "Real_youtube") / f"{name}_{frame}.png"
                    else:
                        kind = (
                            f"manipulated_sequences/{method}"
                            if method
                            else "original_sequences/youtube"
                        )
                        path = folder / kind / compression / "images" / name / f"{frame:04d}.png"
                    seed = (video * 10 + frame) * 10 + len(method) % 10
                    write_image(path, picture(int(bool(method)), size=size, seed=seed))
    return folder


FORCED = ("seed_faceswap", "seed_neuraltextures")


def write_ffpp_forced_split(root: Path, *, pairs: int = 20, frames: int = 1, size: int = 8) -> int:
    """Write FaceForensics++ split as clip-deepfake-detection splits it, as two datasets below a
    data root (`FORCED`).

    It trains on all of Real_youtube and FaceSwap and tests on all of Real_youtube and
    NeuralTextures: `seed_faceswap` has a train and a val, `seed_neuraltextures` a test, and every
    real is in both. Returns the number of reals that are shared.
    """
    for name, method in zip(FORCED, MANIPULATIONS, strict=True):
        write_ffpp(root / name, pairs=pairs, frames=frames, size=size, flat=True)
        rows: list[dict[str, object]] = []
        for folder in ("Real_youtube", method):
            for path in sorted((root / name / folder).iterdir()):
                video = int(path.name[:3])
                split = (
                    "test" if method == "NeuralTextures" else "val" if video % 10 < 2 else "train"
                )
                group = f"{video // 2 * 2:03d}_{video // 2 * 2 + 1:03d}"
                label = int(folder == method)
                rows.append(
                    {
                        "path": f"{folder}/{path.name}",
                        "label": label,
                        "method": folder,
                        "group": group,
                        "split": split,
                    }
                )
        write_manifest(root / name, rows)
    return 2 * pairs * frames


def write_genimage(folder: Path, *, n: int = 40, size: int = 32) -> Path:
    """Write GenImage of two generators: GENERATOR[/imagenet_...]/{train,val}/{ai,nature}, JPEG and
    PNG; val is n / 4.
    """
    for number, generator in enumerate(
        ("BigGAN/imagenet_ai_0419_biggan", "stable_diffusion_v_1_4/imagenet_ai_0419_sdv4")
    ):
        for split, count in (("train", n), ("val", n // 4)):
            for index in range(count):
                seed = number * 100_000 + (split == "val") * 10_000 + index
                place = folder / generator / split
                write_image(
                    place / "nature" / f"n01440764_{seed}.JPEG", picture(0, size=size, seed=seed)
                )
                write_image(
                    place / "ai" / f"{index:03d}_{number}_{seed}.png",
                    picture(1, size=size, seed=seed),
                )
    return folder


def write_cnnspot(folder: Path, *, n: int = 8, size: int = 8) -> Path:
    """Write CNNDetection's dataset folder: train and val by category, test of progan (by category)
    and biggan (without).
    """
    places = [
        f"{split}/{category}"
        for split in ("train", "val", "test/progan")
        for category in ("airplane", "cat")
    ]
    for number, place in enumerate((*places, "test/biggan")):
        for label, word in enumerate(("0_real", "1_fake")):
            for index in range(n):
                write_image(
                    folder / place / word / f"{index:05d}.png",
                    picture(label, size=size, seed=number * 1000 + index),
                )
    return folder


def write_open_images(
    folder: Path, *, n: int = 40, size: int = 8, splits: tuple[str, ...] = ("",)
) -> Path:
    """Write photographs of Open Images (16 hexadecimal digits, two folders deep) beside two
    generators, one with the same names.

    splits: folders above them, "" for none.
    """
    for number, split in enumerate(splits):
        above = folder / split
        for index in range(n):
            seed = 1000 * number + index
            name = f"{0x0A1B2C3D4E5F0000 + seed:016x}"
            write_image(
                above / "open_images" / "validation" / "data" / f"{name}.jpg",
                picture(0, size=size, seed=seed),
            )
            write_image(above / "sd-inpainting" / f"{name}_0.png", picture(1, size=size, seed=seed))
            write_image(
                above / "flux" / "batch 1" / f"{seed:05d}.png",
                picture(1, size=size, seed=500_000 + seed),
            )
    return folder


def write_artifact(folder: Path, *, n: int = 40, size: int = 8) -> Path:
    """Write ArtiFact as Kaggle ships it, of two collections and three generators, each with its
    metadata.csv.

    A target of 0 is real, any other fake. Of `cycle_gan` the second half is real.
    """
    places = {
        "coco": "train2017",
        "ffhq": "images/00000",
        "big_gan": "big/biggan-data/0",
        "pro_gan": "airplane/1_fake",
    }
    for number, (name, below) in enumerate({**places, "cycle_gan": "horse2zebra"}.items()):
        lines = ["filename,image_path,target,category"]
        for index in range(n):
            label = int(number > 1 and (name != "cycle_gan" or index < n // 2))
            path = folder / name / below / f"img{index:06d}.jpg"
            write_image(path, picture(label, size=size, seed=number * 1000 + index))
            target = label * (1 + index % 6 if name == "big_gan" else 1)
            lines.append(f"{path.name},{below}/{path.name},{target},{below.partition('/')[0]}")
        (folder / name / "metadata.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def truncate(path: Path, share: float = 0.6) -> Path:
    """Cut a file short, to `share` of its bytes."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def files_of(folder: Path) -> Iterator[Path]:
    """Every image below a folder, sorted."""
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in (".png", ".jpg", ".jpeg")
    )


def _place(layout: str, label: int, number: int, n: int) -> str:
    """The folder of the number-th of n images of a class."""
    word = ("real", "fake")[label]
    if layout == "train_test":
        return f"{'train' if number < 0.75 * n else 'test'}/{word.upper()}"
    if layout == "train_valid_test":
        return f"{'train' if number < 0.6 * n else 'valid' if number < 0.8 * n else 'test'}/{word}"
    return {
        "real_fake": word,
        "manifest": f"{word}/pool",
        "REAL_FAKE": word.upper(),
        "0_real_1_fake": ("0_real", "1_fake")[label],
        "methods": ("real", f"fake/gan_{'ab'[number % 2]}")[label],
        "named": ("Real_youtube", ("FaceSwap", "NeuralTextures")[number % 2])[label],
    }[layout]

"""Published datasets in their shapes, with few small generated pictures, for the cards that are not
in factories.py. `SHAPES`: card -> what writes it, and a dataset of it to train and test on, or to
test on alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

from tests.factories import (
    embedded,
    encode,
    picture,
    write_image,
    write_parquet,
    write_video,
)

SIZE = 16


def fill(folder: Path, places: Mapping[str, int], *, n: int = 24, name: str = "{:04d}.png") -> None:
    """Write n pictures into each place, of its label; the same numbers everywhere."""
    for place, label in places.items():
        for number in range(n):
            seed = sum(map(ord, place)) * 1000 + number
            path = folder / place / name.format(number, number + 1)
            write_image(path, picture(label, size=SIZE, seed=seed))


def both(*places: str) -> dict[str, int]:
    return {f"{place}/{name}": k for place in places for k, name in ((0, "0_real"), (1, "1_fake"))}


def aigibench(folder: Path) -> None:
    splits = [f"{split}/{name}" for split in ("train", "val") for name in ("car", "sdv1.4")]
    fill(folder, both(*splits, "test/FLUX1-dev", "test/InSwap"))


def wildrf(folder: Path) -> None:
    fill(folder, both("train", "val", "test/reddit", "test/twitter", "test/facebook"))


def aigcdetectbenchmark(folder: Path) -> None:
    fill(folder, both("test/progan/airplane", "test/progan/car", "test/ADM", "test/Midjourney"))


def universalfakedetect(folder: Path) -> None:
    places = {"imagenet/0_real": 0, "laion/0_real": 0, "guided/1_fake": 1}
    places |= {"ldm_200/1_fake": 1, "dalle/1_fake": 1}
    fill(folder / "diffusion_datasets", places)


def self_synthesis(folder: Path) -> None:
    fill(folder, both("test/AttGAN", "test/BEGAN"))


def drct_2m(folder: Path) -> None:
    for split, n in (("train2017", 40), ("val2017", 24)):
        places = {f"MSCOCO/{split}": 0, f"stable-diffusion-v1-4/{split}": 1}
        fill(folder, places, n=n, name=f"0000{len(split)}" + "{:07d}.jpg")


def synthbuster(folder: Path) -> None:
    fill(folder, {"RAISE-1k": 0}, n=40, name="r{:08x}t.tif")
    fill(folder, {"synthbuster/dalle2": 1, "synthbuster/glide": 1}, n=40, name="r{:08x}t.png")


def truefake(folder: Path) -> None:
    places = {}
    for network in ("PreSocial", "Facebook"):
        places |= {f"{network}/Real/FORLAB/D01": 0, f"{network}/Fake/FLUX.1/faces": 1}
    fill(folder, places, n=40, name="{:04d}.jpg")


def ntire_2026(folder: Path) -> None:
    for shard in range(2):
        lines = ["image_name,label"]
        for number in range(60):
            name, label = f"{shard}_{number:05d}.jpg", number % 2
            pixels = picture(label, size=SIZE, seed=shard * 100 + number)
            write_image(folder / f"shard_{shard}" / "images" / name, pixels)
            lines.append(f"{name},{label}")
        (folder / f"shard_{shard}" / "labels.csv").write_text("\n".join(lines), encoding="utf-8")


def celeb_df(folder: Path) -> None:
    """Frames of videos; two persons a fake, its video's first."""
    for person in range(24):
        for place, name, label in (
            ("Celeb-real/frames", f"id{person}_0000", 0),
            ("YouTube-real/frames", f"{person:05d}", 0),
            ("Celeb-synthesis/frames", f"id{person}_id{(person + 1) % 24}_0000", 1),
        ):
            fill(folder, {f"{place}/{name}": label}, n=2)
    listed = [f"1 Celeb-real/id{p}_0000.mp4" for p in range(0, 24, 3)]
    listed += [f"0 Celeb-synthesis/id{p}_id{p + 1}_0000.mp4" for p in range(0, 23, 3)]
    (folder / "List_of_testing_videos.txt").write_text("\n".join(listed), encoding="utf-8")


def dfdc(folder: Path) -> None:
    """Videos: one original and a fake made of it, 30 times."""
    for part in range(2):
        told = {}
        for number in range(15):
            for kind, label in (("real", 0), ("fake", 1)):
                name, original = f"{kind}{part}{number:02d}.mp4", f"real{part}{number:02d}.mp4"
                pixels = picture(label, size=32, seed=part * 100 + number, amplitude=40)
                write_video(folder / f"dfdc_train_part_{part}" / name, [pixels])
                told[name] = {"label": kind.upper(), "split": "train"}
                told[name] |= {"original": original} if label else {}
        path = folder / f"dfdc_train_part_{part}" / "metadata.json"
        path.write_text(json.dumps(told), encoding="utf-8")


def dfdcp(folder: Path) -> None:
    sets = {}
    for actor in range(30):
        for method, label in (("original_videos", 0), ("method_A", 1), ("method_B", 1)):
            place = f"{method}/{1000 + actor}"
            fill(folder, {f"{place}/{actor}_A_001": label}, n=1)
            kind = "test" if actor % 3 == 0 else "train"
            sets[f"{place}/{actor}_A_001.mp4"] = {"label": "real", "set": kind}
    (folder / "dataset.json").write_text(json.dumps(sets), encoding="utf-8")


def df40(folder: Path) -> None:
    for video in range(0, 48, 2):
        real, fake = f"{video:03d}", f"{video:03d}_{video + 1:03d}"
        fill(folder, {f"original_sequences/youtube/c23/frames/{real}": 0}, n=1)
        fill(folder, {f"fsgan/ff/frames/{fake}": 1, f"sadtalker/ff/frames/{real}": 1}, n=1)
        person = f"id{video}_0000"
        fill(folder, {f"Celeb-real/frames/{person}": 0}, n=1)
        fill(folder, {f"fsgan/cdf/frames/id{video}_id{video + 1}_0000": 1}, n=1)
    (folder / "e4s" / "ff" / "frames").mkdir(parents=True)


def mnw(folder: Path) -> None:
    fill(folder, {"AI_Images/flux-pro": 1, "AI_Images/imagen-4": 1, "real": 0}, n=40)


def table(folder: Path, name: str, n: int, **columns: Callable[[int, int], object]) -> None:
    """A Parquet file of n images, with columns of what a function says of (number, label)."""
    seed = 1000 * len(name)
    images = [embedded(k % 2, size=SIZE, seed=seed + k) for k in range(n)]
    made: dict[str, list[object]] = {
        key: [say(k, k % 2) for k in range(n)] for key, say in columns.items()
    }
    if "image_data" in made:
        made["image_data"] = [image["bytes"] for image in images]
    else:
        made["Image" if "Image" in made else "image"] = [*images]
    write_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", made)


def community_forensics(folder: Path) -> None:
    table(
        folder,
        "systematic",
        80,
        image_data=lambda n, k: None,
        label=lambda n, k: k,
        model_name=lambda n, k: "org/sd-model" if k else "",
        architecture=lambda n, k: "LatDiff" if k else "real",
        real_source=lambda n, k: "" if k else "ffhq",
        subset=lambda n, k: "Systematic",
        split=lambda n, k: "test" if n < 24 else "train",
    )


def openfake(folder: Path) -> None:
    for split, n in (("train", 60), ("test", 30)):
        table(
            folder,
            split,
            n,
            prompt=lambda n, k: f"a real person, {n}",
            label=lambda n, k: ("real", "fake")[k],
            model=lambda n, k: "flux.1-dev" if k else "real",
            type=lambda n, k: "base" if k else "real",
            release_date=lambda n, k: "2024-08-01" if k else None,
        )


def opensdi(folder: Path) -> None:
    mask = {"bytes": encode(Image.new("L", (4, 4)), "PNG"), "path": None}
    table(
        folder,
        "sd15",
        80,
        key=lambda n, k: f"key{n}",
        mask=lambda n, k: mask,
        label=lambda n, k: k,
    )


def defactify(folder: Path) -> None:
    for split, n in (("train", 60), ("validation", 30), ("test", 30)):
        table(
            folder,
            split,
            n,
            Image=lambda n, k: None,
            Caption=lambda n, k, split=split: f"{split}: a photo of {n // 2} dogs",  # type: ignore[misc]
            Label_A=lambda n, k: k,
            Label_B=lambda n, k: 1 + n % 5 if k else 0,
        )


SHAPES: dict[str, tuple[Callable[[Path], None], str]] = {
    "aigibench": (aigibench, "aigibench"),
    "wildrf": (wildrf, "wildrf"),
    "aigcdetectbenchmark": (aigcdetectbenchmark, "aigcdetectbenchmark:ADM"),
    "universalfakedetect": (universalfakedetect, "universalfakedetect:ldm_200"),
    "self_synthesis": (self_synthesis, "self_synthesis:AttGAN"),
    "drct_2m": (drct_2m, "drct_2m"),
    "synthbuster": (synthbuster, "synthbuster:dalle2"),
    "truefake": (truefake, "truefake:PreSocial"),
    "ntire_2026": (ntire_2026, "ntire_2026"),
    "celeb_df": (celeb_df, "celeb_df"),
    "dfdc": (dfdc, "dfdc"),
    "dfdcp": (dfdcp, "dfdcp"),
    "df40": (df40, "df40:fsgan?source=ff"),
    "mnw": (mnw, "mnw:flux-pro"),
    "community_forensics": (community_forensics, "community_forensics"),
    "openfake": (openfake, "openfake"),
    "opensdi": (opensdi, "opensdi"),
    "defactify": (defactify, "defactify"),
}

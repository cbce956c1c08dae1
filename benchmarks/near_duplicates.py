"""Which changed copies the leak search finds, what it wrongly takes for copies, and its cost.

    python -m benchmarks.near_duplicates ../shared/data    # 60 copies of every kind
    python -m benchmarks.near_duplicates ../shared/data --images 100000 --sheet pairs.png

The first changes 60 pictures in each of the ways named and looks for them among all. The second
compares every image of the folder and generated ones (thirds of those images, pictures with the
spectrum of photographs, drawn faces), 100,000 in all, each with all others. Pairs of one group of
the manifest, and copies made on purpose, are not counted. It draws the pairs found, for a person
to look at.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from study.data.leaks.near_duplicates import near_duplicates
from study.data.leaks.prints import Prints, parts, prints_of
from tests.data.leaks.pictures import aligned_face, scene

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]
COPIES, BATCH, GENERATED_PX = 60, 512, 48


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Encode a picture as JPEG, and decode it."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize a picture, bicubic."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def cropped(share: float, *, high: float = 0.0, back: bool = False) -> Change:
    """Cut a window out somewhere, of a share of the width (and height: high); `back` to size."""

    def change(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = pixels.shape[:2]
        rows, columns = round(height * (high or share)), round(width * share)
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        cut = pixels[top : top + rows, left : left + columns]
        return resized(cut, height, width) if back else cut

    return change


def padded(share: float, colour: tuple[int, int, int], axes: tuple[int, ...] = (0, 1)) -> Change:
    """Put a border of one colour around a picture."""

    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        down, across = (round(pixels.shape[a] * share) * (a in axes) for a in (0, 1))
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(ImageOps.expand(image, (across, down, across, down), fill=colour))

    return change


def barred(share: float, axis: int) -> Change:
    """Lay black bars over two sides of a picture."""

    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        n, made = round(pixels.shape[axis] * share), pixels.copy().swapaxes(0, axis)
        made[:n] = made[-n:] = 0
        return made.swapaxes(0, axis)

    return change


def grey(pixels: Pixels, _: np.random.Generator) -> Pixels:
    """Take the colour away."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L").convert("RGB"))


def then_jpeg(change: Change, quality: int = 75) -> Change:
    """Save what a change makes as JPEG."""
    return lambda pixels, rng: jpeg(change(pixels, rng), quality)


CHANGES: dict[str, Change] = {
    "JPEG 40": lambda p, _: jpeg(p, 40),
    "half the size": lambda p, _: resized(p, p.shape[0] // 2, p.shape[1] // 2),
    "a quarter of the size": lambda p, _: resized(p, p.shape[0] // 4, p.shape[1] // 4),
    "crop of 95 %": cropped(0.95),
    "crop of 90 %": cropped(0.9),
    "crop of 85 %": cropped(0.85),
    "crop of 80 %": cropped(0.8),
    "crop of 80 %, back to size": cropped(0.8, back=True),
    "crop of 80 %, JPEG 75": then_jpeg(cropped(0.8)),
    "80 % of the height": cropped(1.0, high=0.8),
    "90 % of the height, back to size": cropped(1.0, high=0.9, back=True),
    "80 % of the height, back to size": cropped(1.0, high=0.8, back=True),
    "padding of 10 %, black": padded(0.1, (0, 0, 0)),
    "padding of 10 %, white, JPEG 75": then_jpeg(padded(0.1, (255, 255, 255))),
    "padding of 25 %, grey": padded(0.25, (128, 128, 128)),
    "black bars above and below": padded(0.12, (0, 0, 0), (0,)),
    "black bars over 10 % at both sides, JPEG 75": then_jpeg(barred(0.1, 1)),
    "black bars over 10 % above and below": barred(0.1, 0),
    "quarter turn": lambda p, _: np.rot90(p),
    "half turn": lambda p, _: np.rot90(p, 2),
    "three quarters, JPEG 75": lambda p, _: jpeg(np.rot90(p, 3), 75),
    "mirrored left to right": lambda p, _: p[:, ::-1],
    "mirrored top to bottom": lambda p, _: p[::-1],
    "grey": grey,
    "grey, JPEG 75": then_jpeg(grey),
    "grey crop of 80 %, JPEG 75": then_jpeg(lambda p, rng: grey(cropped(0.8)(p, rng), rng)),
    "quarter turn, crop of 80 %, JPEG 75": then_jpeg(lambda p, r: cropped(0.8)(np.rot90(p), r)),
}


def shared_images(folder: Path) -> Iterator[tuple[str, str, Pixels]]:
    """Yield (name, group, pixels) of every image of the datasets of a folder."""
    for manifest in sorted(folder.glob("*/manifest.csv")):
        with manifest.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                path = manifest.parent / row["path"]
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                yield str(path), f"{manifest.parent.name} {row['group']}", pixels


def generated(folder: Path) -> Iterator[tuple[str, str, Pixels]]:
    """Yield ninths of the shared images, and made-up pictures, in turn, without end."""

    def ninths() -> Iterator[tuple[str, str, Pixels]]:
        for name, group, pixels in shared_images(folder):
            side = min(pixels.shape[:2]) // 3
            for y, x in itertools.product(range(0, 3 * side, side), repeat=2):
                place = f"{y} {x}"
                yield f"{name} {place}", f"{group} {place}", pixels[y : y + side, x : x + side]

    real = ninths()
    for number in itertools.count():
        made = ("scene", scene) if number % 2 else ("face", aligned_face)
        name = f"{made[0]} {number}"
        yield name, name, made[1](number, GENERATED_PX)
        yield from itertools.islice(real, 1)


def prints(pictures: list[Pixels]) -> Prints:
    """Return the prints of pictures."""
    return prints_of([parts(np.ascontiguousarray(one)) for one in pictures])


def joined(all_of: list[Prints]) -> Prints:
    """Return the prints of several as one."""
    before = np.cumsum([0, *map(len, all_of)])
    return Prints(
        sides=np.concatenate([one.sides for one in all_of]),
        thumbnail=np.concatenate([one.thumbnail for one in all_of]),
        picture=np.concatenate([p.picture + n for p, n in zip(all_of, before, strict=False)]),
        records=np.concatenate([one.records for one in all_of]),
    )


def found_again(folder: Path) -> None:
    """Print how many of 60 pictures are found of every kind of copy."""
    images = list(shared_images(folder))
    every = joined([prints([p for *_, p in block]) for block in batches(iter(images))])
    chosen = np.random.default_rng(0).choice(len(images), COPIES, replace=False)
    print(f"{'copy':46}{'of 64 px':>10}{'as they are':>12}   of {COPIES}, among {len(images):,}")
    for name, change in CHANGES.items():
        counts = []
        for px in (64, 0):
            rng = np.random.default_rng(1)
            originals = [images[k][2] for k in chosen.tolist()]
            if px:
                originals = [resized(p, px, px) for p in originals]
            i, j, _ = near_duplicates(prints([change(p, rng) for p in originals]), every, all_pairs)
            counts.append(len(set(i[chosen[i] == j].tolist())))
        print(f"{name:46}{counts[0]:>10}{counts[1]:>12}", flush=True)


def all_pairs(i: NDArray[np.intp], _: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Want every pair."""
    return np.ones(len(i), dtype=np.bool_)


def batches(of: Iterator[tuple[str, str, Pixels]]) -> Iterator[list[tuple[str, str, Pixels]]]:
    """Yield images in lists."""
    while block := list(itertools.islice(of, BATCH)):
        yield block


def false_pairs(folder: Path, images: int, sheet: Path | None) -> None:
    """Compare all with all; print what was found and what it took, and draw it."""
    every = itertools.islice(itertools.chain(shared_images(folder), generated(folder)), images)
    names, groups, made, pictures, seconds = [], [], [], {}, 0.0
    for block in batches(every):
        began = time.process_time()
        made.append(prints([pixels for *_, pixels in block]))
        seconds += time.process_time() - began
        for name, group, pixels in block:
            names.append(name)
            groups.append(group)
            pictures[name] = Image.fromarray(np.ascontiguousarray(pixels)).resize((96, 96))
    codes = np.unique(groups, return_inverse=True)[1]
    print(f"prints of {len(names):,} images: {1e3 * seconds / len(names):.2f} ms of CPU an image")
    began, cpu = time.perf_counter(), time.process_time()
    held = joined(made)
    i, j, correlation = near_duplicates(held, held, lambda a, b: (b < a) & (codes[a] != codes[b]))
    cpu, began = time.process_time() - cpu, time.perf_counter() - began
    print(f"comparing: {cpu:.0f} s of CPU, {began:.0f} s; pairs of different groups: {len(i)}")
    order = np.argsort(correlation)
    for a, b in zip(i[order].tolist(), j[order].tolist(), strict=True):
        print(f"  {names[a]}  {names[b]}")
    if sheet and len(i):
        drawn = Image.new("RGB", (8 * 200, 100 * -(-len(i) // 8)), "white")
        for place, k in enumerate(order.tolist()):
            corner = (place % 8 * 200, place // 8 * 100)
            drawn.paste(pictures[names[i[k]]], corner)
            drawn.paste(pictures[names[j[k]]], (corner[0] + 98, corner[1]))
        drawn.save(sheet)


def main() -> None:
    """Count what is found, or what is found wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="datasets with a manifest.csv each")
    parser.add_argument("--images", type=int, help="compare so many with each other")
    parser.add_argument("--sheet", type=Path, help="draw the pairs found into this file")
    options = parser.parse_args()
    if options.images:
        false_pairs(options.folder, options.images, options.sheet)
    else:
        found_again(options.folder)


if __name__ == "__main__":
    main()

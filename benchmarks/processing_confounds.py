"""Does the audit see how images were processed? One class of real photographs is processed, and the
reference row (for corners and brightness: the border row) is asked; and labels dealt out at random.

    python benchmarks/processing_confounds.py --data ../shared/data/faces_140k/real

Every image is decoded, processed where it is of the second class, and saved as JPEG of quality 90.
Each line of `processing_confounds.jsonl` is one audit. What stands there is not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from study.data.audit.classifiers import border_brightness_auc, processing_auc
from study.data.audit.traits import Traits, traits_of
from study.data.catalog import Catalog, DataConfig

EACH, RELABELINGS, QUALITY = 300, 50, 90
MARK = 0.6  # the whole interval lies above it
Pixels = NDArray[np.uint8]


def main() -> None:
    """Audit what is missing in the file of results, and print all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a folder of photographs")
    default = Path(__file__).with_suffix(".jsonl")
    parser.add_argument("--out", type=Path, default=default, help="where results are appended")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.open()] if options.out.exists() else []
    done = {(row["data"], row["case"]) for row in rows}
    name = "/".join(options.data.resolve().parts[-2:])
    images = photographs(options.data)
    with options.out.open("a", encoding="utf-8") as file:
        for row in audits(images, {case for data, case in done if data == name}):
            rows.append({"data": name, "each": len(images) // 2, **row})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
    report([row for row in rows if row["data"] == name])


def photographs(folder: Path) -> list[Pixels]:
    """The pixels of twice `EACH` photographs, drawn by a fixed seed, or of all where fewer."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    order = np.random.default_rng(0).permutation(len(files))[: 2 * EACH]
    return [np.asarray(Image.open(files[i]).convert("RGB")) for i in order[: len(order) // 2 * 2]]


def audits(images: list[Pixels], done: set[str]) -> Iterator[dict[str, object]]:
    """Audit each confound, and each relabeling of the images as they are."""
    for case, (process, row) in CONFOUNDS.items():
        if case not in done:
            yield {"case": case, "row": row, **asked(audited(images, process), row)}
    numbers = [k for k in range(RELABELINGS) if f"relabeling {k}" not in done]
    plain = audited(images, lambda pixels: pixels) if numbers else None
    for k in numbers:
        label = np.random.default_rng(k).permutation(np.arange(len(images)) % 2).astype(np.uint8)
        assert plain is not None
        relabeled = replace(plain, label=label)
        for row in ROWS:
            yield {"case": f"relabeling {k}", "row": row, **asked(relabeled, row)}


def asked(traits: Traits, row: str) -> dict[str, float]:
    """What a row says: its AUC and interval."""
    found = ROWS[row](traits)
    return {"auc": found.value, "low": found.low, "high": found.high}


def audited(images: list[Pixels], process: Callable[[Pixels], Pixels]) -> Traits:
    """The traits of images of which every second one is processed."""
    with tempfile.TemporaryDirectory() as folder:
        data, lines = Path(folder) / "data" / "made", ["path,label,group,split"]
        data.mkdir(parents=True)
        for i, pixels in enumerate(images):
            made = process(pixels) if i % 2 else pixels
            (data / f"{i:04d}.jpg").write_bytes(encoded(made, QUALITY))
            lines.append(f"{i:04d}.jpg,{i % 2},g{i},test")
        (data / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        cache = Path(folder) / "cache"
        catalog = Catalog(DataConfig(root=data.parent, cache=cache), firewall=False)
        return traits_of(catalog.dataset("made"), cache=cache)


def encoded(pixels: Pixels, quality: int) -> bytes:
    """A picture as the bytes of a JPEG."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def twice(pixels: Pixels) -> Pixels:
    """A picture that was a JPEG of quality 60 before."""
    return np.asarray(Image.open(BytesIO(encoded(pixels, 60))))


def blurred(pixels: Pixels) -> Pixels:
    """A picture blurred by a Gaussian of sigma .6."""
    soft = gaussian_filter(pixels.astype(np.float64), (0.6, 0.6, 0))
    return np.clip(np.rint(soft), 0, 255).astype(np.uint8)


def zoomed(pixels: Pixels) -> Pixels:
    """A picture enlarged by 10 %, and cut to its size."""
    height, width = pixels.shape[:2]
    left, top = width * 0.05 / 1.1, height * 0.05 / 1.1
    box = (left, top, left + width / 1.1, top + height / 1.1)
    large = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(large)


def sharpened(pixels: Pixels) -> Pixels:
    """A picture after a weak unsharp mask."""
    mask = ImageFilter.UnsharpMask(radius=1, percent=30, threshold=0)
    return np.asarray(Image.fromarray(pixels).filter(mask))


def labelled(pixels: Pixels) -> Pixels:
    """A picture with a label in the pixels of a corner: 4 x 4 of them, 24 levels brighter."""
    made = pixels.astype(np.int16)
    made[:4, :4] += 24
    return np.clip(made, 0, 255).astype(np.uint8)


def brighter(pixels: Pixels) -> Pixels:
    """A picture three levels brighter."""
    return np.clip(pixels.astype(np.int16) + 3, 0, 255).astype(np.uint8)


ROWS = {"processing history": processing_auc, "border and brightness": border_brightness_auc}
CONFOUNDS: dict[str, tuple[Callable[[Pixels], Pixels], str]] = {
    "double JPEG": (twice, "processing history"),
    "blur sigma .6": (blurred, "processing history"),
    "10 % zoom": (zoomed, "processing history"),
    "weak sharpening": (sharpened, "processing history"),
    "label in the corner": (labelled, "border and brightness"),
    "brightness +3": (brighter, "border and brightness"),
}


def report(rows: list[dict[str, object]]) -> None:
    """Print a line a confound, and how often a relabeling is called a confound."""
    for row in rows:
        if row["case"] in CONFOUNDS:
            seen = "seen" if float(str(row["low"])) > MARK else "NOT seen"
            words = f"{row['auc']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            print(f"{row['case']:20} ({row['row']}) {words} {seen}")
    for name in ROWS:
        lows = [
            float(str(r["low"])) for r in rows if r["row"] == name and r["case"] not in CONFOUNDS
        ]
        print(f"{name}: {sum(low > MARK for low in lows)} of {len(lows)} relabelings above {MARK}")


if __name__ == "__main__":
    main()

"""The traits of every image of a dataset: how its file was made, how large it is, and a few
statistics of its pixels.

`<cache>/traits/`, one table a dataset folder, one row a content: a file's traits depend on its
bytes alone, so a row holds wherever the file lies. An image that cannot be decoded has no traits.
The dataset lists it with its reason.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import ExifTags, Image

from study.core.errors import DataError
from study.data.audit.jpeg import estimate_quality, subsampling
from study.data.audit.pixels import STATISTICS, reduce_picture, statistics
from study.data.audit.processing import FEATURES, processing_features
from study.data.datasets import (
    Dataset,
    columns_digest,
    labels,
    strings,
    unusable,
    usable,
    with_columns,
    words,
)
from study.data.file_index import Progress, quiet
from study.data.images.decode import (
    FORMATS,
    READERS,
    UndecodableError,
    UnreadableError,
    decode_image,
    image_sha256,
)
from study.data.images.light_png import light_png
from study.data.images.originals import Original, originals_of
from study.data.images.packed_tiff import PackedTiff, packed_tiff
from study.data.images.unify import QUALITY
from study.data.images.videos import Run, changed, map_files, read_indexed_frames, stored_as
from study.data.names import parse_name
from study.data.row_cache import RowCache

PART = 2048  # images whose traits a killed run may lose at most

KINDS = ("format", "mode", "subsampling", "tables", "progressive", "profile", "exif")  # words
NO_JPEG = "none"  # the subsampling, tables and progression of what is no JPEG
SIZES = ("jpeg_quality", "width", "height", "aspect", "bytes_per_pixel")  # numbers
METADATA = (*KINDS, *SIZES)
COLUMNS = (*METADATA, *STATISTICS)
UNIFIED: dict[str, str | float] = {
    **dict.fromkeys(("progressive", "profile", "exif"), "no"),
    **{
        "format": "JPEG",
        "mode": "RGB",
        "subsampling": "4:2:0",
        "tables": "standard",
        "jpeg_quality": float(QUALITY),
    },
}
AS_IT_IS = Original("", "")
Row = dict[str, str | float | bytes | None]  # the traits of one image, and why it has none
Seen = Callable[[NDArray[np.uint8], Image.Image], object]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The traits of the N usable images of a dataset.

    kinds: (N,) str of each of `KINDS`. numbers: (N,) float64 of each of `SIZES` and `STATISTICS`;
    NaN is the quality of what is no JPEG. processing (N, FEATURES) float16, what processing left
    (processing.py). label (N,) uint8, 1 = fake; group, method (N,) str.
    unread: (path, reason) of the images without traits. sample_id, split: (N,) str.
    """

    kinds: dict[str, NDArray[np.str_]]
    numbers: dict[str, NDArray[np.float64]]
    processing: NDArray[np.float16]
    label: NDArray[np.uint8]
    group: NDArray[np.str_]
    method: NDArray[np.str_]
    unread: tuple[tuple[str, str], ...] = ()
    sample_id: NDArray[np.str_] = field(default_factory=lambda: np.array([], np.str_))
    split: NDArray[np.str_] = field(default_factory=lambda: np.array([], np.str_))

    def of_split(self, split: str) -> Traits:
        """Return those of one split."""
        mine = self.split == split
        columns = ("processing", "label", "group", "method", "sample_id", "split")
        return replace(
            self,
            kinds={name: values[mine] for name, values in self.kinds.items()},
            numbers={name: values[mine] for name, values in self.numbers.items()},
            **{name: getattr(self, name)[mine] for name in columns},
        )

    def __len__(self) -> int:
        return len(self.label)


def traits_of(dataset: Dataset, *, cache: Path, progress: Progress = quiet) -> Traits:
    """Return the traits of all images of a dataset, of every split it holds; what the cache knows
    is not read again.

    Raises DataError where a file changed since it was indexed, StoreError where the cache cannot be
    written.
    """
    rows = dataset.usable
    table = TRAITS.rows(
        cache,
        *traits_place(dataset),
        rows,
        partial(_made, dataset.root, dataset.unified_px),
        part=PART,
        progress=progress,
        doing=f"reading traits of {dataset.name}",
    )
    now = with_columns(rows, {"problem": table["problem"]})
    unread = (*unusable(dataset.samples, "path"), *unusable(now, "path"))
    table, rows = usable(table), usable(now)
    return Traits(
        kinds={name: strings(table[name]) for name in KINDS},
        numbers={name: np.array(table[name], np.float64) for name in (*SIZES, *STATISTICS)},
        processing=_processing(table["processing"]),
        label=labels(rows),
        group=strings(rows["group"]),
        method=strings(rows["method"]),
        unread=unread,
        sample_id=strings(rows["id"]),
        split=words(rows["split"]),
    )


def traits_place(dataset: Dataset) -> tuple[str, tuple[str | int | None, ...]]:
    """Return by which name and inputs the table of a dataset's traits is found."""
    rows = dataset.usable
    faces = [columns_digest(rows, ("path", "face"), by_path=True)] if dataset.faces else []
    return (
        parse_name(dataset.name).base,
        (os.path.realpath(dataset.root), dataset.unified_px, *faces),
    )


def joined(parts: Sequence[Traits]) -> Traits:
    """Return the traits of several datasets as of one."""

    def column(field: str, name: str = "") -> Any:
        found = [getattr(part, field) for part in parts]
        return np.concatenate([one[name] for one in found] if name else found)

    alone = ("processing", "label", "group", "method", "sample_id", "split")
    return Traits(
        kinds={name: column("kinds", name) for name in KINDS},
        numbers={name: column("numbers", name) for name in (*SIZES, *STATISTICS)},
        **{name: column(name) for name in alone},
    )


def _processing(column: pa.ChunkedArray) -> NDArray[np.float16]:
    rows = b"".join(column.to_pylist())
    return np.frombuffer(rows, dtype="<f2").reshape(len(column), FEATURES)


def _made(root: Path, unified_px: int | None, rows: pa.Table) -> Iterator[Row]:
    """Read the traits of images, rows of `Dataset.samples`, in order."""
    files = originals_of(rows, root, unified_px)
    return map_files(_rows_of_file, [(one.path, one) for one in files])


def _rows_of_file(file: Run, of: Sequence[Original]) -> list[Row]:
    return _rows_of_video(file, of) if file.frames else [row_of_image(file, of[0])]


def _rows_of_video(file: Run, of: Sequence[Original]) -> list[Row]:
    wanted = [(number, one.sha256) for number, one in zip(file.frames, of, strict=True)]
    header, frame_bytes = _video_header(Path(file.path))
    rows: list[Row] = []
    for one, pixels in zip(of, read_indexed_frames(file.path, wanted), strict=True):
        found: Row = {}
        if not isinstance(pixels, str):
            found = _all_traits(pixels, Image.fromarray(pixels), header, frame_bytes, one)
        rows.append(
            {
                "sha256": one.sha256,
                **(found or dict.fromkeys(KINDS, "")),
                "problem": pixels if isinstance(pixels, str) else "",
            }
        )
    return rows


def row_of_image(file: Run, one: Original, seen: Seen = lambda pixels, image: None) -> Row:
    """Return the traits of an image, or the reason why it has none, as a row of the table. seen: is
    given what was decoded.

    Raises DataError where the file changed since it was indexed.
    """
    sha256 = one.sha256
    try:
        data = file.read()
    except UndecodableError as error:
        raise changed(file.path, f" ({error})") from None
    if image_sha256(data) != sha256:
        raise changed(file.path)
    try:
        return {"sha256": sha256, **read_traits(data, one, seen), "problem": ""}
    except UnreadableError as error:
        raise DataError(f"'{file.path}' {error}; run the command again") from None
    except UndecodableError as error:
        return {"sha256": sha256, **dict.fromkeys(KINDS, ""), "problem": str(error)}


def read_traits(
    data: bytes, one: Original = AS_IT_IS, seen: Seen = lambda pixels, image: None
) -> Row:
    """Return the traits of an image file, from its bytes: one entry for each of `COLUMNS`, and
    `processing`, the bytes of the numbers of processing.py.

    format, mode: as Pillow calls them. subsampling, tables (`standard` are libjpeg's, else
    `other`), progressive, jpeg_quality (1 to
        100): of a JPEG, else "none" and NaN. profile, exif: `yes` or `no`, whether there is a
        colour profile, an EXIF block.
    width, height: of the upright picture, in pixels; aspect: width / height; bytes_per_pixel: of
    the file. A video's frame has those of its file: codec and container, pixel format as FFmpeg
    calls it, bytes per frame on average.
    one: what the study makes of the image. Of a face the sizes and statistics are those of the
    square that is cut out. Where all images are re-encoded alike (images/unify.py) nothing of the
    file is left: the traits are those of what it becomes, and there are no bytes per pixel (NaN).
    seen: is given the decoded pixels, (H, W, 3), and the same of Pillow, before all else.
    Raises UndecodableError with the reason.
    """
    pixels = decode_image(data)
    image = Image.fromarray(pixels)
    seen(pixels, image)
    header = {} if one.unified_px else _header(data)
    return _all_traits(pixels, image, header, len(data), one)


def _all_traits(
    pixels: NDArray[np.uint8],
    image: Image.Image,
    header: dict[str, str | float],
    n_bytes: float,
    one: Original,
) -> Row:
    per_pixel = n_bytes / (pixels.shape[0] * pixels.shape[1])
    if one.unified_px:
        header, per_pixel = UNIFIED, float("nan")
    prepared = one.prepared(pixels)
    if prepared is not pixels:
        pixels, image = prepared, Image.fromarray(prepared)
    height, width = pixels.shape[:2]
    sizes = {
        "width": width,
        "height": height,
        "aspect": width / height,
        "bytes_per_pixel": per_pixel,
    }
    reduced = reduce_picture(image)
    found: Row = {**header, **sizes}
    found |= zip(STATISTICS, statistics(pixels, image, reduced), strict=True)
    found["processing"] = processing_features(pixels, reduced).astype("<f2").tobytes()
    return found


def _video_header(path: Path) -> tuple[dict[str, str | float], float]:
    """Return the traits that all frames of a video have of its file, and how many bytes of it a
    frame has on average.
    """
    stored = stored_as(path)
    words: dict[str, str | float] = {
        "format": stored.format,
        "mode": stored.pixel_format,
        "profile": "no",
        "exif": "no",
    }
    no_jpeg = dict.fromkeys(("subsampling", "tables", "progressive"), NO_JPEG)
    return {**words, **no_jpeg, "jpeg_quality": float("nan")}, stored.frame_bytes


def _header(data: bytes) -> dict[str, str | float]:
    data, dropped = light_png(data)
    if packed := packed_tiff(data):
        return _packed_header(packed)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        found: dict[str, str | float] = {
            "format": (
                "JPEG" if image.format == "MPO" else image.format or ""
            ),  # several JPEGs in one file, of which we read the first
            "mode": image.mode,
            "profile": _yes("icc_profile" in image.info or b"iCCP" in dropped),
            "exif": _yes(_has_exif(image)),
            **dict.fromkeys(("subsampling", "tables", "progressive"), NO_JPEG),
            "jpeg_quality": float("nan"),
        }
        tables = getattr(image, "quantization", None)
        if tables:
            quality, standard = estimate_quality(tables)
            found |= {"jpeg_quality": float(quality), "tables": "standard" if standard else "other"}
            # Pillow sets `layer` on JPEG images only, and its stubs leave it out.
            found |= {
                "subsampling": subsampling(image.layer),  # type: ignore[attr-defined]
                "progressive": _yes("progressive" in image.info),
            }
        return found


def _packed_header(packed: PackedTiff) -> dict[str, str | float]:
    return {
        "format": "TIFF",
        "mode": f"{packed.bits} bits",
        "profile": _yes(34675 in packed.tags),
        "exif": _yes(ExifTags.IFD.Exif in packed.tags),
        **dict.fromkeys(("subsampling", "tables", "progressive"), NO_JPEG),
        "jpeg_quality": float("nan"),
    }


def _has_exif(image: Image.Image) -> bool:
    if image.format == "TIFF":  # its own header is one; a camera's block depends on this tag
        # Pillow sets `tag_v2` on TIFF images only, and the type here is that of any image.
        return ExifTags.IFD.Exif in image.tag_v2  # type: ignore[attr-defined]
    if image.format == "PNG":
        image.load()  # the block may stand behind the pixels
    return bool({"exif", "Raw profile type exif"} & image.info.keys())


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


TRAITS = RowCache(
    "traits",
    [_made],
    pa.schema(
        [
            ("sha256", pa.string()),
            *((name, pa.string()) for name in KINDS),
            *((name, pa.float64()) for name in (*SIZES, *STATISTICS)),
            ("processing", pa.binary()),
            ("problem", pa.string()),
        ]
    ),
    of=("sha256",),
    libraries=READERS,
)

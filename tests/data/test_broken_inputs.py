"""More than two hundred broken or odd inputs. None stops a run: each image is listed with its
reason or handled as documented, each folder or manifest that cannot be used is refused in one line
that names it.

The image cases lie in one dataset beside good images and are opened once; every case then looks up
what became of its file.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.core.errors import DataError
from study.core.records import Geometry
from study.data.catalog import Catalog, DataConfig
from study.data.images.packs import ImageSet
from study.data.layouts.folders import find_layout, read_layout
from tests.factories import encode, picture, png, write_dataset, write_image

FINE = ""  # the expected reason of an image that is handled as documented
SMALL = Geometry(size_px=16, mode="squash")
pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns of much that it then refuses
KINDS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
}
PHOTO = Image.fromarray(picture(0, size=48, seed=9))
LEAVES = "symbolic link that leaves the dataset's folder"


def truncated() -> Iterator[tuple[str, bytes, str]]:
    """Every format cut at many points, down to the last byte but one."""
    for kind, suffix in KINDS.items():
        data = encode(PHOTO, kind)
        for percent in (1, 3, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95):
            yield f"cut/{kind}-{percent}{suffix}", data[: len(data) * percent // 100], "."
    progressive = encode(PHOTO, "JPEG", progressive=True, quality=90)
    for percent in (10, 30, 50, 70, 90):
        yield (
            f"cut/progressive-{percent}.jpg",
            progressive[: len(progressive) * percent // 100],
            ".",
        )
    interlaced = encode(PHOTO, "TIFF", compression="tiff_lzw")
    for percent in (10, 30, 50, 70, 90):
        yield f"cut/lzw-{percent}.tif", interlaced[: len(interlaced) * percent // 100], "."


def no_images() -> Iterator[tuple[str, bytes, str]]:
    """What has an image's name and is none."""
    contents = {
        "zero": (b"", "empty file"),
        "one": (b"\0", "not a JPEG"),
        "text": (b"hello", "not a JPEG"),
        "page": (b"<!DOCTYPE html><html>404</html>", "not a JPEG"),
        "vector": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        "zeros": (bytes(4096), "not a JPEG"),
        "archive": (b"PK\x03\x04" + bytes(60), "not a JPEG"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
        "camera": (b"\0\0\0\x18ftypheic" + bytes(60), "not a JPEG"),
    }
    for word, (data, reason) in contents.items():
        for suffix in (".jpg", ".png", ".gif"):
            yield f"none/{word}{suffix}", data, reason
    for kind, start in {
        "jpg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "gif": b"GIF89a",
        "bmp": b"BM",
        "tif": b"II*\0",
    }.items():
        yield f"none/only-magic.{kind}", start, "."
        yield f"none/magic-and-noise.{kind}", start + np.random.default_rng(3).bytes(500), "."


def wrong_extensions() -> Iterator[tuple[str, bytes, str]]:
    """The content tells the format, not the name."""
    for kind, own in KINDS.items():
        for suffix in (".jpg", ".jpeg", ".png", ".webp", ".JPG", ".tiff"):
            if suffix != own:
                yield f"named/{kind}-as-{suffix[1:]}{suffix}", encode(PHOTO, kind), FINE


def odd_pixels() -> Iterator[tuple[str, bytes, str]]:
    """Kinds of pixels that a collection off the web holds."""
    grey, palette = PHOTO.convert("L"), PHOTO.convert("P")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = PHOTO.convert("RGBA")
    clear.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [PHOTO.rotate(90)]}
    yield "odd/cmyk.jpg", encode(PHOTO.convert("CMYK"), "JPEG"), FINE
    yield "odd/cmyk.tif", encode(PHOTO.convert("CMYK"), "TIFF"), FINE
    yield "odd/wide.png", encode(wide, "PNG"), FINE
    yield "odd/wide.tif", encode(wide, "TIFF"), FINE
    for kind in ("PNG", "TIFF", "WEBP", "GIF"):
        yield f"odd/alpha{KINDS[kind]}", encode(clear, kind), FINE
        yield f"odd/grey{KINDS[kind]}", encode(grey, kind), FINE
    for kind in ("PNG", "TIFF", "GIF", "BMP"):
        yield f"odd/palette{KINDS[kind]}", encode(palette, kind), FINE
        yield f"odd/bilevel{KINDS[kind]}", encode(PHOTO.convert("1"), kind), FINE
    for kind in ("GIF", "WEBP", "PNG"):
        yield f"odd/animated{KINDS[kind]}", encode(PHOTO, kind, **frames), FINE
    yield "odd/pages.tif", encode(PHOTO, "TIFF", compression="tiff_lzw", **frames), FINE
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        yield f"odd/turned{KINDS[kind]}", encode(PHOTO, kind, exif=exif), FINE
    yield "odd/phone.jpg", encode(PHOTO, "MPO", **frames), FINE
    yield "odd/broken-exif.jpg", encode(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), FINE
    yield "odd/trailing-bytes.jpg", encode(PHOTO, "JPEG") + bytes(900), FINE
    yield "odd/one-pixel.png", encode(Image.new("RGB", (1, 1)), "PNG"), FINE
    yield "odd/one-row.png", encode(Image.new("RGB", (3000, 1)), "PNG"), FINE
    yield "odd/integers.tif", encode(Image.new("I", (4, 4)), "TIFF"), "32 bits a channel"
    yield "odd/floats.tif", encode(Image.new("F", (4, 4)), "TIFF"), "32 bits a channel"
    # the first frame is whole
    yield "odd/cut-second-frame.gif", encode(PHOTO, "GIF", **frames)[:-40], FINE


def huge() -> Iterator[tuple[str, bytes, str]]:
    """Sizes that are refused from the header, before memory is taken; and headers that lie."""
    for width, height in (
        (8193, 8192),
        (2**16, 2**16),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (2**31 - 1, 2**31 - 1),
        (10**6, 100),
    ):
        yield f"huge/{width}x{height}.png", png(width, height, b""), "."
    # 81 MB of zeros in 80 kB
    yield "huge/bomb.png", png(9000, 9000, bytes(9001 * 9000)), "pixels are more than"
    for width, height in ((0, 4), (4, 0), (0, 0)):
        yield f"huge/{width}x{height}.png", png(width, height, b"\0"), "."
    yield "huge/longer-than-its-data.png", png(500, 500, bytes(501)), "fewer rows"
    yield (
        "huge/bmp.bmp",
        b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
        ".",
    )
    yield "huge/gif.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", "."
    yield (
        "huge/negative.bmp",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, -5, 5, 1, 24, 0, 0, 0, 0, 0, 0),
        ".",
    )


def damaged() -> Iterator[tuple[str, bytes, str]]:
    """A checksum that is wrong, and a stream that is noise in the middle."""
    data = bytearray(encode(PHOTO, "PNG"))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    yield "damaged/checksum.png", bytes(data), "."
    yield "damaged/header.png", data[:18] + b"\xff" + data[19:], "."
    yield "damaged/no-table.jpg", encode(PHOTO, "JPEG").replace(b"\xff\xdb", b"\xff\xfe"), "."
    # the standard tables are taken
    yield "damaged/no-huffman.jpg", encode(PHOTO, "JPEG").replace(b"\xff\xc4", b"\xff\xfe"), FINE
    rows = np.asarray(PHOTO.convert("L"))
    short = b"".join(b"\0" + row.tobytes() for row in rows[:40])
    yield "damaged/rows-missing.png", png(48, 48, short), "fewer rows than its header says"
    yield "damaged/interlaced-rows-missing.png", png(48, 48, short, interlaced=True), "."
    yield "damaged/black-rows.png", png(48, 48, short + bytes(8 * 49)), FINE


FILES = [
    case
    for make in (truncated, no_images, wrong_extensions, odd_pixels, huge, damaged)
    for case in make()
]
MANIFEST = "path,label\na.png,0\nb.png,0\nc.png,1\nd.png,1\n"

# How labels may be spelled, and how not.
SPELLINGS = dict.fromkeys(
    ("0,1", "real,fake", "REAL,FAKE", "Real,Fake", " real , fake ", "rEaL,1"), True
)
SPELLINGS |= dict.fromkeys(
    ("true,false", "r,f", "0.0,1.0", "authentic,generated", "-1,1", "2,1", "echt,falsch", "real,"),
    False,
)


def spelled(words: str) -> str:
    """The manifest with its labels spelled otherwise."""
    real, fake = words.rsplit(",", 1)
    return MANIFEST.replace(",0", f",{real}").replace(",1", f",{fake}")


# A manifest's text (or bytes), and what its refusal must say, or "" where it is read.
MANIFESTS: dict[str, tuple[str | bytes, str]] = {
    "plain": (MANIFEST, ""),
    "byte-order mark": ("\ufeff" + MANIFEST, ""),
    "CRLF": (MANIFEST.replace("\n", "\r\n"), ""),
    "CRLF and a byte-order mark": ("\ufeff" + MANIFEST.replace("\n", "\r\n"), ""),
    "old Mac line ends": (MANIFEST.replace("\n", "\r"), ""),
    "no last line end": (MANIFEST.rstrip(), ""),
    "blank lines": (MANIFEST.replace("\n", "\n\n"), ""),
    "quoted fields": ('"path","label"\n"a.png","0"\nb.png,0\n"c.png","1"\nd.png,1\n', ""),
    "columns in capitals": (MANIFEST.replace("path,label", "PATH,Label"), ""),
    "more columns": ("note,path,x,label\n,a.png,,0\n,b.png,,0\n,c.png,,1\n,d.png,,1\n", ""),
    "a row too long": (MANIFEST.replace("b.png,0", "b.png,0,and,more"), ""),
    "dots in a path": (MANIFEST.replace("a.png", "./x/../a.png"), ""),
    "a file that is missing": (MANIFEST + "gone.png,1\n", ""),
    "a folder as a file": (MANIFEST + "sub,1\n", ""),
    "a path with a line end": (MANIFEST + '"a\nb.png",1\n', ""),
    "empty": ("", "no column 'path'"),
    "header only": ("path,label\n", "lists no images"),
    "no header": ("a.png,0\nb.png,1\n", "no column 'path'"),
    "no label": ("path\na.png\n", "no column 'label'"),
    "no path": ("file,label\na.png,0\n", "no column 'path'"),
    "semicolons": (MANIFEST.replace(",", ";"), "line 1: the file is separated by ';'"),
    "tabs": (MANIFEST.replace(",", "\t"), ""),
    "a column twice": (
        MANIFEST.replace("path,label", "path,label,label").replace("0", "0,0").replace("1", "1,1"),
        "stands there twice",
    ),
    "a row too short": (MANIFEST.replace("b.png,0", "b.png"), "line 3: 1 fields"),
    "a row twice": (MANIFEST + "a.png,0\n", "line 6: path 'a.png' is listed already in line 2"),
    "a row twice, other label": (MANIFEST + "a.png,1\n", "is listed already"),
    "a row twice, other spelling": (MANIFEST + "x/../a.png,0\n", "is listed already"),
    "an absolute path": (MANIFEST + "/etc/passwd.png,1\n", "must be a file below"),
    "a path upwards": (MANIFEST + "../x.png,1\n", "must be a file below"),
    "a path upwards, hidden": (MANIFEST + "y/../../x.png,1\n", "must be a file below"),
    "an empty path": (MANIFEST + ",1\n", "path is empty"),
    "the folder itself": (MANIFEST + ".,1\n", "must be a file below"),
    "a zero byte": (MANIFEST + "a\0.png,1\n", "."),
    "a split for some": (
        "path,label,split\na.png,0,train\nb.png,0,\nc.png,1,train\nd.png,1,test\n",
        "split is empty",
    ),
    "an unknown split": (
        "path,label,split\na.png,0,third\nb.png,0,third\nc.png,1,third\nd.png,1,third\n",
        "split 'third'",
    ),
    "one class": ("path,label\na.png,0\nb.png,0\n", "no fake images"),
    "UTF-16": (MANIFEST.encode("utf-16"), ""),
    "Latin-1": (MANIFEST.encode() + "é.png,1\n".encode("latin-1"), "is not UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "."),
    "an endless quote": (MANIFEST.replace("a.png", '"a.png'), "."),
    "a field of a megabyte": ("path,label\n" + "a" * 2**20 + ",0\n", "field"),
} | {
    f"labels {word}": (spelled(word), "" if good else "must be 0 or real, 1 or fake")
    for word, good in SPELLINGS.items()
}


def link(path: Path, target: str) -> None:
    path.symlink_to(target)


def copy(path: Path, name: str | bytes, *, label: int = 1) -> None:
    """Write a good image under an odd name."""
    path.mkdir(parents=True, exist_ok=True)
    (path / os.fsdecode(name)).write_bytes(
        encode(Image.fromarray(picture(label, size=8, seed=77)), "PNG")
    )


def outside(folder: Path) -> str:
    """An image beside the data root, which no dataset may reach."""
    return str(write_image(folder.parent.parent / "outside" / "secret.png", picture(1, size=8)))


# What is done to a sound folder `train|valid|test / real|fake`, and what follows: a refusal, or
# {image or folder: reason}; a reason of FINE is an image that is used.
Outcome = str | dict[str, str]
Deed = Callable[[Path], Any]
FOLDERS: dict[str, tuple[Deed, Outcome]] = {
    "a link to itself": (
        lambda f: link(f / "train/fake/x.png", "x.png"),
        {"train/fake/x.png": "cannot be read"},
    ),
    "two links to each other": (
        lambda f: (link(f / "train/fake/x.png", "y.png"), link(f / "train/fake/y.png", "x.png")),
        {"train/fake/x.png": "cannot be read", "train/fake/y.png": "cannot be read"},
    ),
    "a link to nothing": (
        lambda f: link(f / "train/fake/x.png", "gone.png"),
        {"train/fake/x.png": "file is missing"},
    ),
    "a link to an image inside": (
        lambda f: link(f / "train/fake/x.png", "0000.png"),
        {"train/fake/x.png": FINE},
    ),
    "a link to an image outside": (
        lambda f: link(f / "train/fake/x.png", outside(f)),
        {"train/fake/x.png": LEAVES},
    ),
    "a link to a folder outside": (
        lambda f: link(f / "train/fake/x", str(Path(outside(f)).parent)),
        {"train/fake/x": LEAVES},
    ),
    "a link to its own folder": (
        lambda f: link(f / "train/fake/x", "."),
        {"train/fake/x": "folder that it lies in"},
    ),
    "a link upwards": (
        lambda f: link(f / "train/fake/x", ".."),
        {"train/fake/x": "folder that it lies in"},
    ),
    "a link to the root": (lambda f: link(f / "train/fake/x", "/"), {"train/fake/x": LEAVES}),
    "a class as a link outside": (
        lambda f: (
            (f / "train/fake").rename(f.parent.parent / "away"),
            link(f / "train/fake", str(f.parent.parent / "away")),
        ),
        "train split has no fake images",
    ),
    "a name that is not UTF-8": (
        lambda f: copy(f / "train/fake", b"\xff\xfe.png"),
        {"train/fake/\\xff\\xfe.png": "not valid UTF-8"},
    ),
    "a folder that is not UTF-8": (
        lambda f: copy(f / os.fsdecode(b"train/fake/\xe9t\xe9"), "x.png"),
        {"train/fake/\\xe9t\\xe9/x.png": "not valid UTF-8"},
    ),
    "a name in Latin-1 beside its UTF-8": (
        lambda f: (copy(f / "train/fake", "\u00e9.png"), copy(f / "train/fake", b"\xe9.png")),
        {"train/fake/\u00e9.png": FINE, "train/fake/\\xe9.png": "not valid UTF-8"},
    ),
    "one name, other suffixes": (
        lambda f: [
            write_image(f / f"train/fake/x{s}", picture(1, size=8, seed=n))
            for n, s in enumerate((".png", ".jpg", ".bmp"))
        ],
        {"train/fake/x.png": FINE, "train/fake/x.jpg": FINE, "train/fake/x.bmp": FINE},
    ),
    "one name in other case": (
        lambda f: (copy(f / "train/fake", "x.png"), copy(f / "train/fake", "X.PNG")),
        {"train/fake/x.png": FINE, "train/fake/X.PNG": FINE},
    ),
    "one picture in both classes": (
        lambda f: (copy(f / "train/fake", "x.png"), copy(f / "train/real", "x.png")),
        {"train/fake/x.png": FINE, "train/real/x.png": FINE},
    ),
    "a folder named as an image": (
        lambda f: copy(f / "train/fake/x.png", "y.png"),
        {"train/fake/x.png/y.png": FINE},
    ),
    "a pipe named as an image": (
        lambda f: os.mkfifo(f / "train/fake/x.png"),
        {"train/fake/x.png": "not a regular file"},
    ),
    "a device named as an image": (
        lambda f: link(f / "train/fake/x.png", "/dev/zero"),
        {"train/fake/x.png": LEAVES},
    ),
    "a hidden image": (
        lambda f: copy(f / "train/fake", ".x.png"),
        {"hidden files": "1 file that a system or a program left behind"},
    ),
    "a suffix only": (
        lambda f: copy(f / "train/fake", ".png"),
        {"hidden files": "1 file that a system or a program left behind"},
    ),
    "no suffix": (
        lambda f: copy(f / "train/fake", "x"),
        {"files without a suffix": "1 in class folders"},
    ),
    "another suffix": (
        lambda f: copy(f / "train/fake", "x.png.part"),
        {"*.part": "1 in class folders"},
    ),
    "files of the system": (
        lambda f: [copy(f / "train/fake", n) for n in ("Thumbs.db", "._0000.png", "desktop.ini")],
        {
            "Thumbs.db": "1 file that a system or a program left behind",
            "._*": "1 file that a system or a program left behind",
            "desktop.ini": "1 file that a system or a program left behind",
        },
    ),
    "an image in no class": (
        lambda f: [copy(f / "train", "x.png"), copy(f, "y.png"), copy(f, "z.txt")],
        {
            "1 image at the top": "in no class folder",
            "1 image in 'train'": "in no class folder",
        },
    ),
    "fifty folders deep": (
        lambda f: copy(f / "train/fake" / "/".join("d" * 50), "x.png"),
        {f"train/fake/{'d/' * 50}x.png": FINE},
    ),
    "a folder beside the classes": (
        lambda f: copy(f / "train/unsure", "x.png"),
        {"train/unsure": "neither a split nor a class"},
    ),
    "an empty folder beside the splits": (
        lambda f: (f / "notes").mkdir(),
        {"notes": "neither a split nor a class"},
    ),
    "a manifest that is a folder": (
        lambda f: (f / "manifest.csv").mkdir(),
        {"manifest.csv": "neither a split nor a class"},
    ),
    "a class that is empty": (
        lambda f: [p.unlink() for p in (f / "train/fake").iterdir()],
        "train split has no fake images",
    ),
    "a class that is a file": (
        lambda f: (
            [p.unlink() for p in (f / "train/fake").iterdir()],
            (f / "train/fake").rmdir(),
            (f / "train/fake").touch(),
        ),
        "train split has no fake images",
    ),
    "a class that is all broken": (
        lambda f: [p.write_bytes(b"x") for p in (f / "train/fake").iterdir()],
        "train split has no fake images",
    ),
    "splits and classes side by side": (lambda f: copy(f / "real", "x.png"), "side by side"),
    "a broken manifest beside folders": (
        lambda f: (f / "manifest.csv").write_text("x"),
        "no column 'path'",
    ),
    "a manifest that is a broken link": (
        lambda f: link(f / "manifest.csv", "gone.csv"),
        "manifest.csv' is a link to nothing",
    ),
    "a video on both sides": (
        lambda f: (f / "manifest.csv").write_text(
            "path,label,video,split\n"
            + "".join(
                f"{place}/{c}/{n:04d}.png,{c},v{c},{split}\n"
                for place, split, n in SIDES
                for c in ("real", "fake")
            )
        ),
        "more than one split",
    ),
}
ODD_NAMES = (
    "a b.png",
    "-rf.png",
    "a'b\".png",
    "a\\b.png",
    "100%.png",
    "a\nb.png",
    "\U0001f600.png",
    "a:b?.png",
    f"{'x' * 240}.png",
)
FOLDERS |= {
    f"the name {name!r}": (
        lambda f, name=name: copy(f / "train/fake", name),
        {f"train/fake/{name}": FINE},
    )  # type: ignore[misc]
    for name in (
        "a b.png",
        "-rf.png",
        "a'b\".png",
        "a\\b.png",
        "100%.png",
        "a\nb.png",
        "\U0001f600.png",
        "a:b?.png",
        "x" * 240 + ".png",
        "~.png",
    )
}
# folder, split, number of the image
SIDES = (("train", "train", 0), ("valid", "val", 6), ("test", "test", 8))


def test_there_are_two_hundred() -> None:
    names = [name for name, _, _ in FILES]
    assert len(set(names)) == len(names)
    assert len(FILES) + len(MANIFESTS) + len(FOLDERS) >= 200


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """All files as images of one train split."""
    place = tmp_path_factory.mktemp("broken")
    write_dataset(place / "data" / "odd", layout="train_valid_test", n=10, size=8)
    for name, data, _ in FILES:
        path = place / "data" / "odd" / "train" / "fake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    catalog = Catalog(DataConfig(root=place / "data", cache=place / "cache"), firewall=True)
    return catalog.open("odd", "train", SMALL)


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, _, reason in FILES])
def test_an_image_is_usable_or_left_out_with_its_reason(
    images: ImageSet, name: str, reason: str
) -> None:
    sample = f"odd/train/fake/{name}"
    why = dict(images.excluded).get(sample)
    if reason == FINE:
        assert why is None
        assert images.gather(np.flatnonzero(images.sample_id == sample)).shape == (1, 16, 16, 3)
    else:
        assert why is not None
        assert sample not in images.sample_id
        assert re.search(reason, why)
        assert "\n" not in why


def test_what_is_left_out_is_counted(images: ImageSet) -> None:
    broken = sum(reason != FINE for _, _, reason in FILES)
    assert images.listed == 12 + len(FILES)
    assert len(images) == images.listed - broken


@pytest.mark.parametrize(("text", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_is_read_or_refused_in_one_line(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    for number, name in enumerate("abcd"):
        write_image(tmp_path / f"{name}.png", picture(number // 2, size=8, seed=number))
    (tmp_path / "sub").mkdir()
    (tmp_path / "manifest.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    layout = find_layout(tmp_path)
    assert layout is not None
    if message:
        with pytest.raises(DataError, match=message) as error:
            read_layout(layout, name="listed")
        assert "\n" not in str(error.value)
    else:
        sound = [
            row
            for row in read_layout(layout, name="listed").table.to_pylist()
            if not row["problem"]
        ]
        assert [(row["path"], row["label"]) for row in sound] == [
            ("a.png", 0),
            ("b.png", 0),
            ("c.png", 1),
            ("d.png", 1),
        ]


@pytest.mark.parametrize(("deed", "outcome"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_read_or_refused_in_one_line(
    tmp_path: Path, deed: Deed, outcome: Outcome
) -> None:
    folder = write_dataset(tmp_path / "data" / "odd", layout="train_valid_test", n=10, size=8)
    try:
        deed(folder)
    except OSError as error:
        pytest.skip(f"this file system holds no such name: {error}")
    catalog = Catalog(DataConfig(root=tmp_path / "data", cache=tmp_path / "cache"), firewall=False)
    assert "odd" in catalog.names()
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome) as error:
            catalog.describe("odd")
        assert "\n" not in str(error.value)
        return
    summary = catalog.describe("odd")
    history = {sample.removeprefix("odd/"): reason for sample, reason in summary.excluded} | dict(
        summary.skipped
    )
    assert summary.images() == 20 + sum(reason == FINE for reason in outcome.values())
    assert set(history) == {path for path, reason in outcome.items() if reason != FINE}
    for path, reason in history.items():
        assert outcome[path] in reason

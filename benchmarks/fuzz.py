"""What do broken inputs do? Files that people write, images, archives: right, or refused in a line.

    python -m benchmarks.fuzz --number 1000000 --hard 100000

Makes inputs from good ones (bits flipped, cut, pieces doubled, moved and put in, odd words and
numbers), and gives each to what reads it. Appends a line to `benchmarks/fuzz.jsonl` (`--out`) for
every chunk and goes on where it was stopped. `--only KIND` for one kind, `--minutes` ends in time.
Exit code 1 where a line is bad.

Cheap kinds share `--number` evenly, hard ones (images, archives) share `--hard`. Each chunk is a
process of its own, so that a crash ends no show. An input is bad where it raises what is no error
of ours (`raw`), computes for 20 s or waits for 10 minutes (`hangs`), ends the process (`crash`),
leaves a file outside its folder (`outside`), or where the chunk's memory passes 1 GB (with that of
the imports).
The files of a store are fuzzed by `survives.py readers`.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import logging
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

CHUNK = {"easy": 5_000, "hard": 1_000}
SECONDS, MEMORY_MB = 20, 1024
ODD = [
    *(b"", b"0", b"-1", b"1e400", b"nan", b"inf", b"-inf", b"0x10", b"1_0", b"9" * 40, b"1e-400"),
    *(b"true", b"null", b"None", b"NaN", b"-0", b"3.5", b"''", b'""', b'"', b"'", b'"""'),
    *(b"[", b"]", b"{", b"}", b"[[", b"=", b",", b";", b"\t", b"\r", b"\n", b"\r\n", b"#", b"\\"),
    *(b"\0", b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"\xe2\x80\xae"),
    *(
        b"../../x",
        b"/etc/passwd",
        b"a" * 5000,
        b"[" * 3000,
        b'{"a":' * 3000,
        b"%00",
        b"=1+1",
        b"a.b.",
    ),
    *(b"real", b"fake", b"label", b"score", b"path", b"group", b"alpha", b"spectrum", b"all"),
]
STUDY = b"""name = "mine"
detectors = ["spectrum", "npr"]
train_on = ["alpha", "beta", "alpha+beta", "alpha:one?n=10"]
test_on = ["alpha", "gamma"]
degradations = ["jpeg50", "down0.5+jpeg90"]
[data]
root = "/nowhere"
balance = "class"
unify = true
[budget]
trials = 12
epochs = 3
seeds = 3
gpu_seconds = 900
[search]
sampler = "tpe"
[run]
threads = 2
precision = "float32"
workers_per_trial = 1
[detector.spectrum]
size_px = 64
[detector.npr]
lr = 0.001
batch_size = 32
[detector.ensemble]
members = ["spectrum", "npr"]
"""
MANIFEST = b"""path,label,method,group,split,released
real/0.png,real,camera,a,train,2020-01-01
real/1.png,0,camera,b,val,2021
real/2.png,Real,"a, b",c,test,
fake/0.png,fake,gan,d,train,2022-05
fake/1.png,1,gan,e,val,2022-05-06
"fake/2.png",FAKE,gan,f,test,
"""
PREDICTIONS = b"""path,label,score,group,method
a.png,0,-1.5,x,real
b.png,1,2.25,y,gan
"c.png",real,1e-3,x,real
d.png,fake,.5,,
e.png,fake,99,z,diffusion
"""


class Hangs(BaseException):
    """An input takes too long."""


# inputs


def mutated(content: bytes, rng: random.Random, words: list[bytes]) -> bytes:
    """Return other content: one to eight changes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 4, 16, 100)))
        match rng.randrange(8):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                data[at:to] = rng.randbytes(to - at)
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = data[at:to] * rng.choice((1, 2, 50))
            case 4:
                del data[at:]
            case 5:
                data[at:at] = rng.choice(words)
            case 6:
                data[at:to] = rng.choice(words)
            case _:
                piece = data[at:to]
                del data[at:to]
                there = rng.randrange(len(data) + 1)
                data[there:there] = piece
    return bytes(data)


def by_lines(content: bytes, rng: random.Random) -> bytes:
    """Return a text whose lines or fields are doubled, moved, or have odd words in them."""
    lines = content.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        case 1:
            del lines[at]
        case 2:
            rng.shuffle(lines)
        case _:
            mark = b"," if b"," in lines[at] else b"="
            fields = lines[at].rstrip(b"\n").split(mark)
            fields[rng.randrange(len(fields))] = rng.choice(ODD)
            lines[at] = mark.join(fields) + b"\n"
    text = b"".join(lines)
    return mutated(text, rng, ODD) if rng.random() < 0.3 else text


def text_of(good: bytes, rng: random.Random) -> bytes:
    return by_lines(good, rng) if rng.random() < 0.5 else mutated(good, rng, ODD)


# what reads them: each takes the random numbers of an input and an empty folder, and raises nothing
# but errors of ours


def study_files(rng: random.Random, folder: Path) -> None:
    from study.planning.study_file import load_study, to_toml

    file = folder / "s.toml"
    file.write_bytes(text_of(STUDY, rng))
    study = load_study(str(file))
    file.write_text(to_toml(study), encoding="utf-8")
    assert load_study(str(file)) == study, "what is written is not what was read"


def overrides(rng: random.Random, folder: Path) -> None:
    from study.planning.study_file import load_study

    good = [b"budget.trials=5", b'detector."npr".size_px=96', b"detector.*.lr=1e-3"]
    given = text_of(rng.choice([*good, b"name=mine", b'train_on=["alpha", "all"]']), rng)
    load_study("quick", [given.decode(errors="replace")])


def manifests(rng: random.Random, folder: Path) -> None:
    from study.data.layouts.manifest import read_manifest

    for place in ("real", "fake"):
        (folder / place).mkdir()
        for number in range(3):
            (folder / place / f"{number}.png").touch()
    (folder / "manifest.csv").write_bytes(text_of(MANIFEST, rng))
    read_manifest(folder)


def predictions(rng: random.Random, folder: Path) -> None:
    from study.data.predictions import UNITS, read_predictions

    (folder / "p.csv").write_bytes(text_of(PREDICTIONS, rng))
    read_predictions(folder / "p.csv", {}, unit=rng.choice(UNITS), by_folder=rng.random() < 0.2)


def json_files(rng: random.Random, folder: Path) -> None:
    from study.store.files import json_text, read_json
    from study.store.trials import read_trials

    table = {"key": "0f", "thresholds": {"fixed": 0.0, "source": 1.5}, "history": [1, [2, None]]}
    text = json_text(table)
    good = json.dumps(json.loads(text)).encode() if rng.random() < 0.5 else text.encode()
    file = folder / "a.json"
    file.write_bytes(mutated(good, rng, ODD))
    if rng.random() < 0.3:
        read_trials(file, folder)
    else:
        read_json(file)


def dataset_names(rng: random.Random, folder: Path) -> None:
    from study.data.names import split_union

    good = rng.choice([b"alpha:one?n=10&seed=3", b"alpha+beta", b"a b:c/d?split=val"])
    split_union(mutated(good, rng, [*ODD, b"+", b":", b"?", b"&"]).decode(errors="replace"))


@cache
def pictures() -> list[bytes]:
    """Good images of every format and many kinds."""
    from PIL import Image

    from tests.factories import encode, picture

    photo = Image.fromarray(picture(0, size=24, seed=9))
    grey, palette, clear = photo.convert("L"), photo.convert("P"), photo.convert("RGBA")
    clear.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = [encode(photo, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")]
    found += [encode(one, "PNG") for one in (grey, palette, clear, photo.convert("1"))]
    found += [encode(one, "TIFF", compression="tiff_lzw") for one in (grey, photo, clear)]
    found += [encode(photo, "JPEG", progressive=True, exif=exif), encode(palette, "GIF")]
    found += [encode(photo.convert("CMYK"), "JPEG"), encode(clear, "WEBP", lossless=True)]
    more = {"save_all": True, "append_images": [photo.rotate(90)]}
    return [*found, *(encode(photo, kind, **more) for kind in ("GIF", "WEBP", "PNG", "TIFF"))]


def images(rng: random.Random, folder: Path) -> None:
    from study.data.images.decode import decode_image, read_header

    data = mutated(rng.choice(pictures()), rng, [*ODD, *pictures()])
    read_header(data)  # never raises
    pixels = decode_image(data)
    assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == "uint8"


NAMES = ["real/0.png", "fake/1.png", "../x", "/fuzzed", "a/../../x", "a\nb", "\x1b[31m", "a" * 300]
NAMES += ["real", "real/0.png/x", "b" * 5000, "C:x", "..\\x", "é\u202e", ".", "", "a/./b", "con\0x"]


def tar_bytes(rng: random.Random) -> bytes:
    """A tar archive of odd members, of which some headers say what is not so."""
    content = io.BytesIO()
    kinds = [tarfile.REGTYPE] * 8 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE]
    formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    with tarfile.open(fileobj=content, mode="w", format=rng.choice(formats)) as tar:
        for number in range(rng.randrange(1, 6)):
            odd = rng.random() < 0.4
            member = tarfile.TarInfo(rng.choice(NAMES) if odd else f"real/{number}.png")
            member.type, member.linkname = rng.choice(kinds), rng.choice(NAMES)
            data = rng.randbytes(rng.choice((0, 5, 512, 2000))) if member.isreg() else b""
            member.size = len(data)
            with contextlib.suppress(ValueError):  # too long for its format
                tar.addfile(member, io.BytesIO(data))
    raw = bytearray(content.getvalue())
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = 512 * rng.randrange(len(raw) // 512)
        lies = at + rng.choice((rng.randrange(512), 124, 156, 100, 257))
        raw[lies : lies + rng.choice((1, 4, 12))] = rng.randbytes(rng.choice((1, 4, 12)))
        if rng.random() < 0.7:
            raw[at + 148 : at + 156] = b" " * 8
            raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    return bytes(raw)


def zip_bytes(rng: random.Random) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", rng.choice((0, zipfile.ZIP_DEFLATED))) as file:
        for number in range(rng.randrange(1, 5)):
            odd = rng.random() < 0.4
            info = zipfile.ZipInfo(rng.choice(NAMES) if odd else f"real/{number}.png")
            info.external_attr = rng.choice(
                (0, 0o100644 << 16, 0o120777 << 16, rng.getrandbits(32))
            )
            with contextlib.suppress(UserWarning):
                file.writestr(info, rng.randbytes(rng.choice((0, 5, 2000))))
    return content.getvalue()


def archives(rng: random.Random, folder: Path) -> None:
    from study.data.sources.archives import unpack

    suffix = rng.choice(("tar", "tar.gz", "zip", "zip"))
    data = zip_bytes(rng) if suffix == "zip" else tar_bytes(rng)
    if rng.random() < 0.5:
        data = mutated(data, rng, ODD)
    if suffix == "tar.gz":
        data = gzip.compress(data, 1)
        data = mutated(data, rng, ODD) if rng.random() < 0.3 else data
    (folder / f"a.{suffix}").write_bytes(data)
    (folder / "in").mkdir()
    unpack(folder / f"a.{suffix}", folder / "in")


EASY = {f.__name__: f for f in (study_files, overrides, manifests, predictions, json_files)}
EASY[dataset_names.__name__] = dataset_names
HARD: dict[str, Callable[[random.Random, Path], None]] = {"images": images, "archives": archives}


# the show


def outside(folder: Path) -> list[str]:
    """Files that lie where none should."""
    mine = ("s.toml", "manifest.csv", "p.csv", "a.json", "a.tar", "a.tar.gz", "a.zip")
    found = [p for p in folder.parent.iterdir() if p != folder]
    found += [p for p in folder.iterdir() if p.name not in (*mine, "in", "real", "fake")]
    found += [p for p in (Path("/fuzzed"), Path("/x")) if p.exists()]
    return [str(path) for path in found]


def chunk(kind: str, first: int, count: int) -> dict[str, Any]:
    """Give a chunk of inputs to their reader; say what came of them."""
    from study.core.errors import StudyError

    def alarm(number: int, frame: FrameType | None) -> None:
        raise Hangs

    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, alarm)
    logging.disable(logging.CRITICAL)
    import warnings

    warnings.simplefilter("ignore")
    read = (EASY | HARD)[kind]
    counts, bad = Counter[str](), []
    for index in range(first, first + count):
        place = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))
        folder = place / "here"
        folder.mkdir()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor, whatever else runs
        signal.alarm(30 * SECONDS)
        try:
            read(random.Random(f"{kind} {index}"), folder)
            end = "read"
        except StudyError:
            end = "refused"
        except Hangs:
            end = "hangs"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            end = f"raw {type(error).__name__} at {Path(where.filename).name}:{where.lineno}:"
            end += f" {error}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
        if there := outside(folder):
            end = f"outside {there}"
        shutil.rmtree(place, ignore_errors=True)
        counts[end.split()[0].rstrip(":")] += 1
        if end not in ("read", "refused"):
            bad.append([index, end[:300]])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {**counts, "memory_mb": memory, "bad": bad[:20], "number_bad": len(bad)}


def lines_of(kind: str, total: int, done: set[int], size: int) -> list[tuple[str, int, int]]:
    firsts = range(0, total, size)
    return [(kind, one, min(size, total - one)) for one in firsts if one not in done]


def main() -> int:
    """Run what is left; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=1_000_000)
    parser.add_argument("--hard", type=int, default=100_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--chunk", nargs=3, metavar=("KIND", "FIRST", "COUNT"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    if options.chunk:
        kind, first, count = options.chunk
        print(json.dumps(chunk(kind, int(first), int(count))))
        return 0
    text = options.out.read_text(encoding="utf-8") if options.out.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    todo = []
    for kinds, total, size in ((EASY, options.number, "easy"), (HARD, options.hard, "hard")):
        for kind in kinds:
            done = {line["first"] for line in lines if line["kind"] == kind}
            todo += lines_of(kind, total // len(kinds), done, CHUNK[size])
    todo.sort(key=lambda one: one[1])  # some of each kind first
    began = time.monotonic()
    for kind, first, count in todo:
        if options.only in ("", kind) and time.monotonic() - began < 60 * options.minutes:
            words = [
                sys.executable,
                "-m",
                "benchmarks.fuzz",
                "--chunk",
                kind,
                str(first),
                str(count),
            ]
            start = time.monotonic()
            done_ = subprocess.run(words, capture_output=True, text=True, check=False)
            line = {"kind": kind, "first": first, "count": count}
            line["seconds"] = round(time.monotonic() - start, 1)
            if done_.returncode:
                line |= {"crash": done_.returncode, "number_bad": 1, "bad": [done_.stderr[-500:]]}
            else:
                line |= json.loads(done_.stdout.splitlines()[-1])
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            lines.append(line)
    bad = [line for line in lines if line["number_bad"] or line.get("memory_mb", 0) > MEMORY_MB]
    print(f"{sum(line['count'] for line in lines)} inputs, {len(bad)} of {len(lines)} chunks bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Does a study survive damaged files, kills and signals? Long shows, each of which can be resumed.

    python -m benchmarks.survives readers  --work DIR --number 10000
    python -m benchmarks.survives table    --work DIR
    python -m benchmarks.survives commands --work DIR --number 100
    python -m benchmarks.survives kills    --work DIR --number 60
    python -m benchmarks.survives signals  --work DIR --number 100
    python -m benchmarks.survives together --work DIR --number 20
    python -m benchmarks.survives disks    --work DIR
    python -m benchmarks.survives thousand --work DIR --number 1

Appends a line to `benchmarks/survives.jsonl` (`--out`) for each piece and goes on where it was
stopped. DIR gets a small finished study, of which every piece takes a copy. Exit code 1 where
a line is bad.

    readers   flips a bit of a stored file, or cuts it, and reads it by its reader: the same
              content, or refused. `silent` is other content, `raw` an error that is not ours
    table     each damage that once gave another matrix, through the commands
    commands  random files damaged, four at a time, through the commands: in the end the same matrix
    kills     kill -9 of a process at a random moment, of the sort that was killed least, and on
              with the same results: three times a sweep, twice a cross_eval. Then the same matrix
    signals   SIGINT at a random moment: exit code 130, within 5 s. cpu: what all processes of the
              command computed in that time, which other programs do not change
    together  two studies begin at once in one new results folder: both end well, with the matrices
              and the runs in MLflow that they have alone
    disks     a study on a full disk of 2, 8 and 20 MB (as root): one sentence, and the same matrix
              once the disk has grown
    thousand  a search of 1,000 trials: the driver's memory, and what store, MLflow and Optuna hold
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.factories import write_dataset

STUDY = """
name = "small"
detectors = ["spectrum", "npr"]
train_on = ["alpha", "beta"]
[budget]
trials = 2
epochs = 2
seeds = 1
generation = 1
replicates = 1
null_models = 1
default_winners = false
[run]
keep_epochs = true
[detector.spectrum]
size_px = 32
[detector.npr]
size_px = 32
"""
ONE, OTHER = (
    f"""
name = "{name}"
detectors = ["spectrum"]
train_on = ["{train_on}"]
[budget]
trials = 2
seeds = 1
replicates = 1
null_models = 1
[detector.spectrum]
size_px = 32
"""
    for name, train_on in (("one", "alpha"), ("other", "beta"))
)
WORKERS = """
name = "workers"
detectors = ["npr"]
train_on = ["alpha"]
[budget]
trials = 1
epochs = 12
seeds = 1
replicates = 0
null_models = 0
[detector.npr]
size_px = 64
"""
THOUSAND = """
name = "thousand"
detectors = ["spectrum"]
train_on = ["alpha"]
[budget]
trials = 1000
seeds = 1
replicates = 0
null_models = 0
[search]
sampler = "random"
[detector.spectrum]
size_px = 32
"""
CHUNK = 500  # damages of readers to a line
ENDS_SECONDS = 400  # how long a command that is interrupted is waited for
SOON_SECONDS = 5.0  # in which it is to end
QUIET_SECONDS = 600  # without a change of any file of the results, a command hangs
FLAT = 1.1  # times its memory after 300 trials that a driver may have after 1,000
AT_ONCE = 4  # damages of a whole command
MARK = "STUDY_SURVIVES"
Lines = list[dict[str, Any]]  # what was found before, of the part
STORED = (
    *("models/*/detector.json", "models/*/*.safetensors", "models/*/val_scores.parquet"),
    *("epochs/*/*.safetensors", "scores/*.parquet", "draws/*.safetensors"),
    *("draw_scores/*.parquet", "trials.jsonl", "search.json", "failures.json"),
)
CACHED = "packs", "features", "heads", "estimates", "index", "prints", "traits", "leaks", "audits"


def python(
    command: str, folder: Path, *more: str, study: str = "small", **how: Any
) -> subprocess.Popen[str]:
    """Start a command on a study in a folder, with a home and a working folder of its own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    words = [sys.executable, "-m", f"study.{command}", str(folder.parent / f"{study}.toml"), *more]
    path = str(Path(__file__).parents[1])
    # what libraries keep at home is theirs
    theirs = {"MPLCONFIGDIR": str(folder.parent / "mpl"), "HF_HOME": str(folder.parent / "hf")}
    places = {"HOME": str(home), "PYTHONPATH": path, MARK: str(folder), **theirs}
    return subprocess.Popen(
        [*words, "--results", str(folder / "results")],
        cwd=home,
        env={**os.environ, **places},
        stderr=subprocess.STDOUT,
        text=True,
        **({"stdout": subprocess.PIPE} | how),
    )


def run(command: str, folder: Path, *more: str, study: str = "small") -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said."""
    process = python(command, folder, *more, study=study)
    said, hangs = to_its_end(process, folder)
    return process.returncode, said + hangs * "\nHANGS"


def to_its_end(process: subprocess.Popen[str], folder: Path) -> tuple[str, bool]:
    """Wait for a command, however slow the machine is; return what it said, and whether it hangs,
    as it does that changes no file for long.
    """
    seen, since = None, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=5)[0], False
        if (now := changes(folder / "results")) != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > QUIET_SECONDS:
            process.kill()
            return process.communicate()[0], True


def changes(folder: Path) -> list[tuple[str, int, int]]:
    """The files of a folder, each with its time and size."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found.append((str(path), path.stat().st_mtime_ns, path.stat().st_size))
    return sorted(found)


def base(work: Path) -> Path:
    """Return the folder of the finished study, made at first."""
    folder = work / "base"
    if not (folder / "done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for seed, (name, suffix) in enumerate((("alpha", ".png"), ("beta", ".jpg")), start=1):
            shutil.rmtree(work / "data" / name, ignore_errors=True)
            write_dataset(work / "data" / name, n=30, size=32, seed=seed, suffix=suffix)
        for text in (STUDY, ONE, OTHER, WORKERS, THOUSAND):
            name = text.split('"')[1]
            root = f'[data]\nroot = "{work / "data"}"\n'
            (work / f"{name}.toml").write_text(text + root, encoding="utf-8")
        for command in ("sweep", "cross_eval"):
            code, said = run(command, folder, "--local")
            assert code == 0, said
        (folder / "done").touch()
    return folder


def copied(work: Path, name: str) -> Path:
    """Return a copy of the finished study."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "home").mkdir(parents=True)
    shutil.copytree(base(work) / "results", folder / "results")
    return folder


def matrix(folder: Path, study: str = "small") -> str:
    file = folder / "results" / study / "matrix.csv"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def damage(path: Path, rng: random.Random) -> str:
    """Flip a bit of a file, or cut it; say which."""
    content = bytearray(path.read_bytes())
    at = rng.randrange(max(1, len(content)))
    if content and rng.random() < 0.5:
        content[at] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        return f"bit {at}"
    path.write_bytes(content[:at])
    return f"cut at {at}"


# readers


def stored_content(path: Path, study: Path) -> Any:
    """What the reader of a stored file gives, as text."""
    from study.store.files import read_json
    from study.store.store import read_trained
    from study.store.tables import read_draw_scores, read_scores
    from study.store.trials import read_trials
    from study.store.weights_file import read_weights

    key = path.stem if path.parent.parent == study else path.parent.name
    if path.name == "trials.jsonl":
        return [repr(row) for row in read_trials(path, study / "failures").trials]
    if path.name == "detector.json":
        return repr(read_trained(path.parent))
    if path.suffix == ".safetensors":
        of = f"{key} epoch {path.stem}" if path.parent.parent.name == "epochs" else key
        return {name: one.numpy().tobytes() for name, one in read_weights(path, of).items()}
    if path.suffix == ".json":
        return read_json(path)
    read: Callable[[Path, str], Any] = (
        read_draw_scores if path.parent.name == "draw_scores" else read_scores
    )
    found = read(path, key)
    return {
        name: repr(
            getattr(found, name).tolist()
            if hasattr(getattr(found, name), "tolist")
            else getattr(found, name)
        )
        for name in found.__dataclass_fields__
    }


def cached_content(path: Path) -> Any:
    """What the cache gives of an entry: its content, or that of its folder; None for a damaged."""
    from study.core import cache

    entry = next((p for p in path.parents if (p / cache.SUMS).is_file()), None)
    if entry is None:
        return cache.read_entry(path)
    cache._checked.clear()
    if cache._damage(entry):
        return None
    return {str(p): p.read_bytes() for p in sorted(entry.rglob("*")) if p.name != cache.SUMS}


def judged(path: Path, study: Path, good: Any) -> str:
    """Read a damaged file; say what came of it."""
    from study.core.errors import StoreError

    try:
        found = stored_content(path, study) if study in path.parents else cached_content(path)
    except StoreError:
        return "refused"
    except Exception as error:
        return f"raw {type(error).__name__}: {error}"[:200]
    if path.name == "trials.jsonl":
        return "same" if found == good else "refused" if {*found} <= {*good} else "silent"
    return "refused" if found is None else "same" if found == good else "silent"


def readers(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    import logging

    logging.getLogger("study").setLevel(logging.CRITICAL)
    folder = copied(work, "readers")
    study, cache = folder / "results" / "small", folder / "results" / "cache"
    kinds = {pattern: sorted(study.glob(pattern)) for pattern in STORED}
    for name in CACHED:
        found = (p for p in (cache / name).rglob("*") if is_stored(p))
        kinds[f"cache/{name}"] = sorted(found)
    kinds = {kind: files for kind, files in kinds.items() if files}
    good: dict[Path, Any] = {}
    for first in range(len(lines) * CHUNK, number, CHUNK):
        counts, bad = Counter[str](), []
        for index in range(first, min(first + CHUNK, number)):
            rng = random.Random(index)
            kind = rng.choice(sorted(kinds))
            path = rng.choice(kinds[kind])
            if path not in good:
                results = study in path.parents
                good[path] = stored_content(path, study) if results else cached_content(path)
            content = path.read_bytes()
            how = damage(path, rng)
            end = judged(path, study, good[path])
            path.write_bytes(content)
            counts[end.split()[0]] += 1
            if end.split()[0] in ("silent", "raw"):
                bad.append([str(path.relative_to(folder)), how, end])
        yield {"first": first, "kinds": len(kinds), **counts, "bad": bad}


# through whole commands


def mended(folder: Path, expected: str) -> dict[str, Any]:
    """Run the commands as their messages say until the matrix is there; say how that went."""
    codes, said_all = list[str](), ""
    for command in ("cross_eval", *("sweep", "cross_eval") * 3):
        if command == "sweep" and codes[-1].endswith(" 0"):
            break
        code, said = run(command, folder, "--local")
        codes.append(f"{command} {code}")
        said_all += said
        if command == "cross_eval" and code == 0 and matrix(folder) != expected:
            return {"end": "silent", "codes": codes}
    end = "same" if codes[-1] == "cross_eval 0" else "stuck"
    if "Traceback" in said_all:
        end = "raw"
    return {"end": end, "codes": codes, "said": said_all[-1500:] if end != "same" else ""}


def commands(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    expected = matrix(base(work))
    for index in range(len(lines), -(-number // AT_ONCE)):
        rng = random.Random(index)
        folder = copied(work, "commands")
        study, cache = folder / "results" / "small", folder / "results" / "cache"
        kinds = [(study, kind) for kind in STORED]
        kinds += [(cache / name, "**/*") for name in CACHED]
        kinds += [(folder / "results", name) for name in ("mlflow.db", "optuna.journal")]
        groups = [[p for p in sorted(place.glob(kind)) if is_stored(p)] for place, kind in kinds]
        damaged = {}
        for files in rng.sample([files for files in groups if files], AT_ONCE):
            path = rng.choice(files)
            damaged[str(path.relative_to(folder / "results"))] = damage(path, rng)
        again = rng.random() < 0.5  # so that weights, packs and features are read
        if again:
            shutil.rmtree(study / "scores")
        yield {"damaged": damaged, "again": again} | mended(folder, expected)


def is_stored(path: Path) -> bool:
    return path.is_file() and ".locks" not in path.parts


def swap(first: Path, second: Path) -> None:
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def table(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    """The damages of which it was found that they gave another matrix, or a dead end."""
    expected = matrix(base(work))
    for name, again, do in DAMAGES[len(lines) :]:
        folder = copied(work, "table")
        do(folder / "results" / "small", folder / "results" / "cache")
        if again:
            shutil.rmtree(folder / "results" / "small" / "scores")
        yield {"row": name} | mended(folder, expected)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-len(content) // 4] ^= 1
    path.write_bytes(content)


def nth(folder: Path, pattern: str, number: int = 0) -> Path:
    return sorted(folder.glob(pattern))[number]


def digit(path: Path, after: str) -> None:
    """Change the last digit of the first number after a word."""
    text = path.read_text(encoding="utf-8")
    at = text.index(after) + len(after)
    while not text[at].isdigit():
        at += 1
    while text[at + 1].isdigit() or text[at + 1] in ".e-":
        at += 1
    path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :], encoding="utf-8")


def pack_zeroed(study: Path, cache: Path) -> None:
    for path in cache.glob("packs/*/*/images.u8"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def packs_swapped(study: Path, cache: Path) -> None:
    one, two, *_ = sorted(cache.glob("packs/*/[!.]*/"))
    one.rename(cache / "x")
    two.rename(one)
    (cache / "x").rename(two)


def checkpoint(study: Path, cache: Path) -> None:
    """A winner is to be trained again, and its checkpoint is damaged."""
    folder = nth(study, "models/*/")
    shutil.rmtree(folder)
    (study / "checkpoints").mkdir(exist_ok=True)
    (study / "checkpoints" / f"{folder.name}.pt").write_bytes(b"PK no checkpoint")


WEIGHTS, RECORD, SCORES = "models/*/*.safetensors", "models/*/detector.json", "scores/*.parquet"
DAMAGES: list[tuple[str, bool, Callable[[Path, Path], object]]] = [
    ("one bit of detector.safetensors", True, lambda s, c: flip(nth(s, WEIGHTS))),
    (
        "weights of two winners swapped",
        True,
        lambda s, c: swap(nth(s, WEIGHTS), nth(s, WEIGHTS, 1)),
    ),
    ("detector.json swapped", True, lambda s, c: swap(nth(s, RECORD), nth(s, RECORD, 1))),
    ("a digit of a threshold", False, lambda s, c: digit(nth(s, RECORD), '"thresholds"')),
    ("a bit in one score file", False, lambda s, c: flip(nth(s, SCORES))),
    (
        "score files of two cells swapped",
        False,
        lambda s, c: swap(nth(s, SCORES), nth(s, SCORES, 1)),
    ),
    ("score files swapped, others", False, lambda s, c: swap(nth(s, SCORES), nth(s, SCORES, -1))),
    ("packs half zeroed", True, pack_zeroed),
    ("packs swapped", True, packs_swapped),
    (
        "a digit in cache/estimates",
        False,
        lambda s, c: digit(nth(c, "estimates/*/*.json"), "value"),
    ),
    ("weights truncated", True, lambda s, c: os.truncate(nth(s, WEIGHTS), 999)),
    ("weights deleted", True, lambda s, c: nth(s, WEIGHTS).unlink()),
    ("a damaged checkpoint", False, checkpoint),
    ("a truncated pack", True, lambda s, c: os.truncate(nth(c, "packs/*/*/images.u8"), 999)),
    ("trials.jsonl truncated", False, lambda s, c: os.truncate(s / "trials.jsonl", 999)),
    ("failures.json = []", False, lambda s, c: (s / "failures.json").write_text("[]")),
    ("MLflow's database damaged", False, lambda s, c: os.truncate(s.parent / "mlflow.db", 9999)),
]


# kills and signals


def of_folder(folder: Path) -> dict[int, str]:
    """The processes that a command on a folder has started, by their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={folder}".encode() in (process / "environ").read_bytes():
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                if words and int(process.name) != os.getpid():
                    found[int(process.name)] = words.decode(errors="replace")
        except OSError:
            continue
    return found


SELDOM = "dashboard", "guard", "monitor", "view_process"  # a command ends well without them
SORTS = {  # what stands in the command line of each sort of process, the first that does
    "gcs_server": "gcs_server",
    "raylet": "raylet/raylet",
    "agent": "agent",  # Ray's, by its title or its file
    "monitor": "monitor",
    "dashboard": "dashboard",
    "view_process": "view_process",
    "guard": "guard",
    "audit": "audit",
    "train_worker": "trainworker",
    "idle_worker": "ray::idle",
    "worker": "ray::",
    "begun_worker": "default_worker",
    "driver": "-m study.",
}


def sort_of(words: str) -> str:
    return next((sort for sort, word in SORTS.items() if word in words.lower()), "other")


def outside(folder: Path) -> list[str]:
    """Files that lie where none should: at home, in the working folder, beside the results."""
    home = (p for p in (folder / "home").rglob("*") if p.is_file())
    left = [p.name for p in folder.iterdir() if p.name not in ("home", "results")]
    return sorted([*(str(p.relative_to(folder)) for p in home), *left])


def of_ray(driver: int) -> list[str]:
    """The folders of clusters that a command has left."""
    return sorted(map(str, Path("/tmp").glob(f"study-*-{driver}-*")))


LOCAL, TWO = ("--local",), ("--set", "run.workers_per_trial=2")
# no words of a command: it is killed while MLflow's database is first made, or one of its training
# workers is after the first epoch of a fit, of which there is a checkpoint then
DATABASE, EPOCH = "database", "epoch"
# what is killed one after the other in one results folder, and of which study: with two workers
# every trial begins a group, so that it is a small one
CHAINS: list[tuple[str, list[tuple[str, ...]]]] = [
    ("small", [("sweep",), ("sweep",), ("sweep",), ("cross_eval",), ("cross_eval",)]),
    (
        "small",
        [
            *(("prepare",), ("sweep", *LOCAL, DATABASE), ("sweep", *LOCAL), ("sweep", *LOCAL)),
            *(("cross_eval", *LOCAL), ("cross_eval", *LOCAL), ("report",)),
        ],
    ),
    ("workers", [("sweep", *TWO, EPOCH)] * 3 + [("sweep", *TWO), ("cross_eval", *TWO)]),
]
RESTS_ON = {"cross_eval": "sweep", "report": "cross_eval"}
FIRST = 1.0  # by then Python has begun with a command
LASTS: dict[tuple[str, ...], float] = {}  # how long a command takes, as far as was seen


def renew(folder: Path, command: str, study: str = "small") -> None:
    """Take away what a command makes, so that all of its work is to be done."""
    if command in ("sweep", "prepare"):
        shutil.rmtree(folder / "results", ignore_errors=True)
    elif command == "cross_eval":
        shutil.rmtree(folder / "results" / study / "scores", ignore_errors=True)


def under_way(
    folder: Path,
    way: tuple[str, ...],
    rng: random.Random,
    before: Callable[[], object],
    study: str = "small",
) -> tuple[subprocess.Popen[str], float]:
    """Start a command; return it at a random moment of its work, with the seconds since its start.
    One that ends sooner tells how long it takes, and is begun again after `before`.
    """
    words = [word for word in way if word not in (DATABASE, EPOCH)]
    made = "mlflow.db" if DATABASE in way else f"{study}/checkpoints/*.pt"
    while True:
        began, process = time.monotonic(), python(words[0], folder, *words[1:], study=study)
        moment = rng.uniform(FIRST, LASTS.get(way, 40.0 if way[1:] == LOCAL else 90.0))
        if words != [*way]:
            while process.poll() is None and not [*(folder / "results").glob(made)]:
                time.sleep(0.005)
            moment = time.monotonic() - began + rng.uniform(0, 1)
        try:
            process.wait(moment - (time.monotonic() - began))
        except subprocess.TimeoutExpired:
            return process, time.monotonic() - began
        LASTS[way] = time.monotonic() - began
        said = process.communicate()[0]
        assert process.returncode == 0, said
        before()


def kill_one(
    folder: Path, killed: Counter[str], rng: random.Random, wanted: str = ""
) -> tuple[str, str]:
    """Kill a process of a command, of the wanted sort or that of which the fewest were: its sort
    and words.
    """
    while there := of_folder(folder):
        sorts = sorted({sort_of(words) for words in there.values()})
        sort = min(sorts, key=lambda one: (killed[one] * (1 + 3 * (one in SELDOM)), rng.random()))
        sort = wanted if wanted in sorts else sort
        pid = rng.choice(sorted(pid for pid, words in there.items() if sort_of(words) == sort))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed[sort] += 1
            return sort, there[pid][:100]
    return "", ""


def expected_of(work: Path, study: str, more: tuple[str, ...]) -> str:
    """The matrix that a study gives where nothing is killed; with two workers a trial, its own."""
    alone = base(work)
    if study == "small":
        return matrix(alone)
    folder = work / "two"
    if not matrix(folder, study):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for command in ("sweep", "cross_eval"):
            code, said = run(command, folder, *more, study=study)
            assert code == 0, said
    return matrix(folder, study)


def killed_once(
    folder: Path, study: str, way: tuple[str, ...], killed: Counter[str], rng: random.Random
) -> dict[str, Any]:
    """Kill a process of a command; say how the command ended, and what it left after 10 s."""

    def again() -> None:
        renew(folder, way[0], study)

    sort = ""
    while not sort:
        process, moment = under_way(folder, way, rng, again, study)
        begun = len([*(folder / "results" / study / "checkpoints").glob("*.pt")])
        sort, words = kill_one(folder, killed, rng, "train_worker" if EPOCH in way else "")
        if not sort:  # it has ended in the meantime
            process.communicate()
            again()
    began = time.monotonic()
    said, hangs = to_its_end(process, folder)
    ended = time.monotonic()
    while (
        left := [*of_folder(folder).values(), *of_ray(process.pid)]
    ) and time.monotonic() - ended < 10:
        time.sleep(0.2)
    traceback = "Traceback" in said
    return {
        "command": " ".join(way),
        "killed": sort,
        "words": words.strip(),
        "fits_begun": begun,
        "load": round(os.getloadavg()[0], 1),
        "at": round(moment, 1),
        "code": process.returncode,
        "ended_after": round(ended - began, 1),
        "left": sorted(left),
        "hangs": hangs,
        "traceback": traceback,
        "outside": outside(folder),
        "said": said[-1500:]
        if hangs or traceback or left or process.returncode not in (0, -9, 3)
        else "",
    }


def gone_on(folder: Path, study: str, more: tuple[str, ...], expected: str) -> dict[str, Any]:
    """Give the commands again until the matrix is there; say how that went."""
    codes = []
    for again in ("sweep", "cross_eval"):
        for _ in range(3):
            code, text = run(again, folder, *more, study=study)
            codes.append(f"{again} {code}")
            if code == 0:
                break
    records = (folder / "results" / study / "trials.jsonl").read_text().splitlines()
    keys = [json.loads(record)["key"] for record in records]
    end = "same" if matrix(folder, study) == expected else "another"
    twice, then = len(keys) - len({*keys}), text[-1500:] if end != "same" else ""
    return {"codes": codes, "trained_twice": twice, "end": end, "then": then}


def kills(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    done, chain = len(lines), max((line.get("chain", -1) for line in lines), default=-1)
    killed = Counter(line["killed"] for line in lines)
    while done < number:
        chain += 1
        rng, (study, ways) = random.Random(chain), CHAINS[chain % len(CHAINS)]
        more = TWO if study == "workers" else LOCAL
        expected = expected_of(work, study, more)
        folder, found = work / "kills", list[dict[str, Any]]()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for place, way in enumerate(ways):
            if found and found[-1]["code"] == 0:
                renew(folder, way[0], study)
            if way[0] in RESTS_ON and ways[place - 1][0] != way[0]:
                run(RESTS_ON[way[0]], folder, *more, study=study)
            found.append({"chain": chain} | killed_once(folder, study, way, killed, rng))
        how = gone_on(folder, study, more, expected)
        done += len(found)
        yield from (line | how for line in found)


def signals(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    ways = [("sweep", *LOCAL), ("cross_eval", *LOCAL), ("prepare",), ("sweep",)]
    base(work)
    for index in range(len(lines), number):
        rng, way = random.Random(index), ways[index % len(ways)]
        folder = copied(work, "signals")

        def begin(folder: Path = folder, command: str = way[0]) -> None:
            renew(folder, command)

        begin()
        process, moment = under_way(folder, way, rng, begin)
        before = cpu_seconds(folder)
        process.send_signal(signal.SIGINT)
        sent, computed = time.monotonic(), before
        while process.poll() is None and time.monotonic() < sent + ENDS_SECONDS:
            computed = max(computed, cpu_seconds(folder))
            time.sleep(0.02)
        seconds = time.monotonic() - sent
        said, _ = process.communicate(timeout=10)
        yield {
            "command": " ".join(way),
            "at": round(moment, 1),
            "code": process.returncode,
            "seconds": round(seconds, 2),
            "cpu": round(computed - before, 2),
            "load": round(os.getloadavg()[0], 1),
            "said": said[-500:] if process.returncode != 130 else "",
        }


def cpu_seconds(folder: Path) -> float:
    """What the processes of a command have computed, with those of them that have ended."""
    ticks = 0
    for pid in of_folder(folder):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


# more than one study, many trials, and what it costs


def runs_of(folder: Path) -> dict[str, Any]:
    """How many runs of each kind MLflow has of each study, read in SQL."""
    import sqlite3

    query = (
        "select e.name, t.value, count(*) from runs r join experiments e"
        " on e.experiment_id = r.experiment_id join tags t on t.run_uuid = r.run_uuid"
        " where t.key = 'study.kind' and r.lifecycle_stage = 'active' group by 1, 2"
    )
    with contextlib.closing(sqlite3.connect(folder / "results" / "mlflow.db")) as database:
        return {f"{study} {kind}": number for study, kind, number in database.execute(query)}


def together(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    base(work)
    names, alone = ("one", "other"), work / "alone"
    for name in names:
        if not matrix(alone, name):
            alone.mkdir(exist_ok=True)
            for command in ("sweep", "cross_eval"):
                code, said = run(command, alone, "--local", study=name)
                assert code == 0, said
    expected = {name: matrix(alone, name) for name in names}, runs_of(alone)
    for index in range(len(lines), number):
        folder = work / "together"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        codes, said = [], ""
        for command in ("sweep", "cross_eval"):
            both = [python(command, folder, "--local", study=name) for name in names]
            for process in both:
                text, hangs = to_its_end(process, folder)
                codes.append(process.returncode)
                said += text + hangs * "\nHANGS"
        found = {name: matrix(folder, name) for name in names}, runs_of(folder)
        well = codes == [0] * 4 and found == expected and "nothing more is written" not in said
        end = "same" if well and "Traceback" not in said else "another"
        line = {"index": index, "codes": codes, "runs": found[1], "end": end}
        yield line | ({} if end == "same" else {"said": said[-3000:]})


def disks(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    """`quick` with one detector on a disk in memory of so many megabytes, and once it has grown."""
    preset = Path(__file__).parents[1] / "study/planning/presets/quick.toml"
    text = preset.read_text(encoding="utf-8").replace('["spectrum", "npr"]', '["spectrum"]')
    text = text.replace("[detector.npr]\nsize_px = 32\n", "")
    work.mkdir(parents=True, exist_ok=True)
    (work / "quick.toml").write_text(text, encoding="utf-8")
    folder, disk = work / "quick", work / "disk"
    if not matrix(folder, "quick"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        both_on(folder)
    for size in (2, 8, 20)[len(lines) :]:
        place = disk / "results"
        shutil.rmtree(disk, ignore_errors=True)
        place.mkdir(parents=True)
        mount = ("mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place))
        subprocess.run(mount, check=True)
        try:
            full, said = both_on(disk)
            subprocess.run(("mount", "-o", "remount,size=2g", str(place)), check=True)
            grown, _ = both_on(disk)
            same = matrix(disk, "quick") == matrix(folder, "quick")
        finally:
            subprocess.run(("umount", str(place)), check=True)
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        well = grown == [0, 0] and same and len(errors) == sum(map(bool, full))
        end, traceback = "same" if well else "another", "Traceback" in said
        line = {"mb": size, "full": full, "errors": errors, "grown": grown, "traceback": traceback}
        yield line | {"end": end, "said": "" if well else said[-3000:]}


def both_on(folder: Path) -> tuple[list[int], str]:
    """Run both commands of `quick`, or the first alone where that fails."""
    codes, said = [], ""
    for command in ("sweep", "cross_eval"):
        code, text = run(command, folder, "--local", study="quick")
        codes.append(code)
        said += text
        if code:
            break
    return codes, said


def thousand(work: Path, number: int, lines: Lines) -> Iterator[dict[str, Any]]:
    from optuna import get_all_study_summaries
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    base(work)
    for _ in range(len(lines), number):
        folder = work / "thousand"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with (work / "thousand.txt").open("w") as said:
            process = python("sweep", folder, "--local", study="thousand", stdout=said)
            memory, began = dict[int, int](), time.monotonic()
            record = folder / "results" / "thousand" / "trials.jsonl"
            while process.poll() is None:
                trials = record.read_bytes().count(b"\n") if record.is_file() else 0
                with contextlib.suppress(OSError, ValueError):
                    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
                    memory[trials] = int(pages) * os.sysconf("SC_PAGE_SIZE") >> 20
                time.sleep(0.5)
        keys = {json.loads(line)["key"] for line in record.read_text().splitlines()}
        storage = JournalStorage(JournalFileBackend(str(folder / "results" / "optuna.journal")))
        (summary,) = get_all_study_summaries(storage)
        counts = len(keys), runs_of(folder)["thousand trial"], summary.n_trials
        early, late = (
            max(m for n, m in memory.items() if low <= n <= high)
            for low, high in ((100, 300), (900, 1000))
        )
        end = "same" if counts == (1000,) * 3 and late <= FLAT * early else "another"
        yield {
            "code": process.returncode,
            "seconds": round(time.monotonic() - began),
            "in_store_mlflow_optuna": counts,
            "memory_mb": {n: memory[n] for n in sorted(memory)[:: max(1, len(memory) // 12)]},
            "early_and_late_mb": [early, late],
            "end": end if process.returncode == 0 else "failed",
        }


def is_bad(line: dict[str, Any]) -> bool:
    if line["part"] == "readers":
        return bool(line["bad"])
    if line["part"] == "signals":
        return bool(line["code"] != 130 or line["seconds"] > SOON_SECONDS)
    bad = "left", "trained_twice", "outside", "traceback"
    return bool(line["end"] != "same" or any(line.get(name) for name in bad))


PARTS = {
    one.__name__: one
    for one in (readers, table, commands, kills, signals, together, disks, thousand)
}


def main() -> int:
    """Run a part; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    # a shell starts background jobs deaf to it, and they their children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    text = options.out.read_text(encoding="utf-8") if options.out.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line["part"] == options.part]
    for line in PARTS[options.part](options.work.absolute(), options.number, [*mine]):
        found = {"part": options.part, **line}
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)
        mine.append(found)
    bad = [line for line in mine if is_bad(line)]
    print(f"{options.part}: {len(mine)} lines, {len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

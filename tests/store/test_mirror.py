"""Results elsewhere: what a machine finished is there for another, whole and in an order that any
kill leaves readable.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import pytest

from study import cross_eval, sweep
from study.core.errors import ConfigError, DataError, StoreError
from study.core.log import set_up
from study.core.records import Pairing, Trial, TrialResult
from study.store.files import content_sum
from study.store.mirror import Mirror, local_results, pushing
from study.store.store import Store
from tests.factories import write_dataset

STUDY = """
name = "small"
detectors = ["spectrum"]
train_on = ["alpha"]
[budget]
trials = 2
replicates = 0
null_models = 0
epochs = 1
seeds = 1
[data]
root = "{root}"
[detector.spectrum]
size_px = 16
"""
Machine = Callable[[str], None]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A results folder elsewhere, empty."""
    store = fsspec.filesystem("memory").store
    store.clear()
    yield "memory://bucket/results" if request.param == "memory" else (tmp_path / "there").as_uri()
    store.clear()


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Go on, on a machine of this name: one with a cache folder of its own."""
    return lambda name: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def put(mirror: Mirror, path: str, text: str) -> None:
    (mirror.folder / path).parent.mkdir(parents=True, exist_ok=True)
    (mirror.folder / path).write_text(text, encoding="utf-8")


def held(mirror: Mirror) -> dict[str, str]:
    """The visible files of a local copy."""
    files = (
        path
        for path in mirror.folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    return {
        str(path.relative_to(mirror.folder)): path.read_text(encoding="utf-8") for path in files
    }


MODEL = {
    "models/k1/detector.safetensors": "weights",
    "models/k1/val_scores.parquet": "val",
    "models/k1/detector.json": "record",
}
FILES = {
    **MODEL,
    "scores/s1.parquet": "scores",
    "trials.jsonl": "trials 1",
    "study.toml": "study",
    "figures/roc.png": "picture",
}


def test_another_machine_has_what_was_pushed(url: str, on: Machine) -> None:
    on("first")
    first = Mirror(url, "small")
    assert first.pull() == 0
    for path, text in {
        **FILES,
        "checkpoints/k2.pt": "local",
        "ray/x": "local",
        ".lock": "",
        "scores/.s2.parquet.1.tmp": "half",
    }.items():
        put(first, path, text)
    assert first.push() == len(FILES)
    assert first.push() == 0
    on("second")
    second = Mirror(url, "small")
    assert second.folder != first.folder
    assert second.pull() == 5  # a model is one
    assert held(second) == FILES
    assert second.pull() == second.push() == 0
    put(second, "trials.jsonl", "trials 1, 2")
    put(second, "scores/s2.parquet", "more")
    assert second.push() == 2
    on("first")
    assert Mirror(url, "small").pull() == 2
    assert held(first)["trials.jsonl"] == "trials 1, 2"
    assert Mirror(url, "other").pull() == 0


def test_what_was_not_pushed_stays_unless_it_changed_there(url: str, on: Machine) -> None:
    on("first")
    first = Mirror(url, "small")
    put(first, "trials.jsonl", "a")
    first.push()
    put(first, "trials.jsonl", "a, b")  # and killed before it was pushed
    assert Mirror(url, "small").pull() == 0
    assert held(first) == {"trials.jsonl": "a, b"}
    on("second")
    second = Mirror(url, "small")
    second.pull()
    put(second, "trials.jsonl", "a, c, d")
    second.push()
    on("first")
    assert Mirror(url, "small").pull() == 1
    assert held(first) == {"trials.jsonl": "a, c, d"}


def test_what_is_damaged_there_is_replaced(url: str, on: Machine) -> None:
    """A machine sets its copy aside, makes it anew, and pushes that; others never see the damaged
    one's remains.
    """
    on("first")
    first = Mirror(url, "small")
    for name in ("scores/s.parquet", "models/k/detector.safetensors", "models/k/detector.json"):
        put(first, name, "damaged")
    first.push()
    on("second")
    second = Mirror(url, "small")
    second.pull()
    for place in ("scores/s.parquet", "models/k"):
        (second.folder / "damaged").mkdir(exist_ok=True)
        (second.folder / place).rename(second.folder / "damaged" / f"{Path(place).name}-1a2b3c")
    assert Mirror(url, "small").pull() == 0
    assert not (second.folder / "scores" / "s.parquet").exists()
    assert not (second.folder / "models" / "k").exists()
    for name in ("scores/s.parquet", "models/k/detector.safetensors", "models/k/detector.json"):
        put(second, name, "made anew")
    assert Mirror(url, "small").push() == 3
    on("third")
    third = Mirror(url, "small")
    third.pull()
    assert set(held(third).values()) == {"made anew"}


@pytest.mark.parametrize("puts", range(len(FILES) + 1))
def test_killed_after_any_push_a_reader_sees_no_model_without_its_weights(
    puts: int, url: str, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    on("first")
    first, real = Mirror(url, "small"), Mirror(url, "small")._remote.put
    for path, text in FILES.items():
        put(first, path, text)
    done: list[str] = []

    def dies(source: Path, path: str) -> Any:
        if len(done) == puts:
            raise KeyboardInterrupt
        done.append(path)
        return real(source, path)

    monkeypatch.setattr(first._remote, "put", dies)
    if puts < len(FILES):
        with pytest.raises(KeyboardInterrupt):
            first.push()
    else:
        first.push()
    on("second")
    second = Mirror(url, "small")
    second.pull()
    there = held(second)
    assert there.items() <= FILES.items()
    assert not any(path in there for path in MODEL) or set(MODEL) <= set(there)
    assert "trials.jsonl" not in there or "scores/s1.parquet" in there
    on("first")
    again = Mirror(url, "small")
    assert again.pull() == 0
    assert again.push() == len(FILES) - min(puts, len(FILES))


def there_of(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path there."""
    system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


def test_what_was_deleted_there_is_pushed_again(url: str, on: Machine) -> None:
    on("first")
    first = Mirror(url, "small")
    for path, text in FILES.items():
        put(first, path, text)
    first.push()
    system, path = there_of(url)
    system.rm(f"{path}/small", recursive=True)
    again = Mirror(url, "small")
    assert again.pull() == 0
    assert held(again) == FILES
    assert again.push() == len(FILES)
    assert again.pull() == again.push() == 0
    on("second")
    second = Mirror(url, "small")
    second.pull()
    assert held(second) == FILES


def trial(number: int, state: Literal["done", "failed"] = "done") -> tuple[Trial, TrialResult]:
    pairing = Pairing(detector="d", train_on="s")
    named = Trial(pairing=pairing, number=number, key=f"k{number}", params={}, seed=0, epochs=1)
    return named, TrialResult(key=f"k{number}", state=state, val_auc=0.5 + number / 10, val_nll=0.5)


def test_an_older_backup_there_loses_nothing(url: str, on: Machine) -> None:
    """Of models, scores and trials what the backup lacks, or has otherwise, comes from this
    machine.
    """
    on("first")
    first, store = Mirror(url, "small"), Store(local_results(url), "small")
    for path, text in FILES.items():
        put(first, path, text)
    store.save_trials([trial(0)])
    first.push()
    system, path = there_of(url)
    backup = {name: system.cat_file(name) for name in system.find(f"{path}/small")}
    put(first, "scores/s2.parquet", "more")
    store.save_trials([trial(0), trial(1)])
    first.push()
    newest = {
        name.removeprefix(path): system.cat_file(name) for name in system.find(f"{path}/small")
    }
    system.rm(f"{path}/small", recursive=True)
    for name, content in backup.items():
        system.makedirs(name.rpartition("/")[0], exist_ok=True)
        system.pipe_file(name, b"half" if name.endswith("s1.parquet") else content)
    again = Mirror(url, "small")
    again.pull()
    assert store.trials() == [trial(0), trial(1)]
    again.push()
    now = {name.removeprefix(path): system.cat_file(name) for name in system.find(f"{path}/small")}
    assert now.keys() == newest.keys()
    assert all(now[name] == newest[name] for name in newest if not name.endswith("trials.jsonl"))
    on("second")
    Mirror(url, "small").pull()
    assert Store(local_results(url), "small").trials() == [trial(0), trial(1)]


def test_the_trials_of_two_machines_are_joined_and_what_was_done_again_is_taken(
    url: str, on: Machine
) -> None:
    stores = {}
    for name in ("first", "second"):
        on(name)
        Mirror(url, "small").pull()
        stores[name] = Store(local_results(url), "small")
    stores["first"].save_trials([trial(0, "failed"), trial(1)])
    stores["second"].save_trials([trial(0), trial(2)])
    for name in ("first", "second"):  # neither has seen what the other wrote
        on(name)
        Mirror(url, "small").push()
    on("first")
    first = Mirror(url, "small")
    assert first.pull() == 1
    assert stores["first"].trials() == [trial(0), trial(2), trial(1)]
    assert first.push() == 1
    on("second")
    Mirror(url, "small").pull()
    assert stores["second"].trials() == [trial(0), trial(2), trial(1)]


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every line of a record of trials, as another version would have written it."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        del row["sha256"]
        change(row)
        lines.append(json.dumps({**row, "sha256": content_sum(row)}) + "\n")
    file.write_text("".join(lines), encoding="utf-8")


@pytest.mark.parametrize("older", ["first", "second"])
def test_trials_of_a_version_with_fewer_fields_are_joined(
    older: str, url: str, on: Machine
) -> None:
    """`device_kind` came without a new schema number: whichever of the two records lacks it, no
    trial is lost.
    """
    for number, name in enumerate(("first", "second")):
        on(name)
        Mirror(url, "small").pull()
        store = Store(local_results(url), "small")
        store.save_trials([trial(number)])
        if name == older:
            rewrite(store.trials_file, lambda row: row.pop("device_kind"))
    for name in ("first", "second"):
        on(name)
        Mirror(url, "small").push()
    on("first")
    first, store = Mirror(url, "small"), Store(local_results(url), "small")
    assert first.pull() == 1
    assert store.trials() == [trial(1), trial(0)]
    assert first.push() == 1


@pytest.mark.parametrize("other", ["here", "there"])
def test_trials_of_another_schema_are_refused_and_stay(other: str, url: str, on: Machine) -> None:
    for number, name in enumerate(("here", "there")):
        on(name)
        mirror, store = Mirror(url, "small"), Store(local_results(url), "small")
        store.save_trials([trial(number)])
        if name == other:
            rewrite(store.trials_file, lambda row: row.update(schema=7))
        if name == "there":
            mirror.push()
    on("here")
    mirror = Mirror(url, "small")
    before = (mirror.folder / "trials.jsonl").read_bytes()
    with pytest.raises(
        StoreError, match=r"trials.jsonl' has schema 7, this version reads 1"
    ) as error:
        mirror.pull()
    assert (url if other == "there" else str(mirror.folder)) in str(error.value)
    assert (mirror.folder / "trials.jsonl").read_bytes() == before


def there_is(url: str) -> dict[str, str]:
    """The files of the study there."""
    system, path = there_of(url)
    return {
        name.removeprefix(f"{path}/small/"): system.cat_file(name).decode()
        for name in system.find(f"{path}/small")
    }


def test_what_is_under_way_does_not_stay_there(url: str, on: Machine) -> None:
    """Parts of a cell go as its scores come, and epochs come when all of them are here."""
    parts = {
        "parts/s1/0-8.npz": "first",
        "parts/s1/8-16.npz": "second",
        "parts/s2/0-8.npz": "other",
    }
    on("first")
    first, store = Mirror(url, "small"), Store(local_results(url), "small")
    for path, text in {**parts, "epochs/k1.part/0.safetensors": "epoch"}.items():
        put(first, path, text)
    first.push()
    assert there_is(url) == parts
    on("second")
    second = Mirror(url, "small")
    second.pull()
    assert held(second) == parts
    on("first")
    put(first, "scores/s1.parquet", "scores")
    first.push()  # the parts are still here
    store.drop_parts("s1")
    store.close_epochs("k1")
    first.push()
    final = {
        "parts/s2/0-8.npz": "other",
        "scores/s1.parquet": "scores",
        "epochs/k1/0.safetensors": "epoch",
    }
    assert there_is(url) == held(first) == final
    assert first.push() == first.pull() == 0
    on("second")
    put(second, "parts/s1/16-24.npz", "third")  # of a cell that is whole elsewhere
    second.push()
    again = Mirror(url, "small")
    again.pull()
    again.push()
    assert there_is(url) == final
    on("third")
    third = Mirror(url, "small")
    third.pull()
    assert held(third) == final


def test_parts_that_a_reader_needs_no_more_are_not_fetched(
    url: str, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing may be deleted, which is no reason to fail."""
    on("first")
    first = Mirror(url, "small")
    put(first, "parts/s1/0-8.npz", "part")
    first.push()

    def refuse(*_: Any) -> None:
        raise DataError("AccessDenied")

    monkeypatch.setattr(type(first._remote), "remove", refuse)
    put(first, "scores/s1.not_applicable.json", "reason")
    assert first.push() == 1
    assert set(there_is(url)) == {"parts/s1/0-8.npz", "scores/s1.not_applicable.json"}
    on("second")
    second = Mirror(url, "small")
    assert second.pull() == 1
    assert held(second) == {"scores/s1.not_applicable.json": "reason"}
    assert second.push() == 0


@pytest.mark.parametrize("moment", ["_here", "put"])
def test_a_file_that_goes_while_it_is_pushed_keeps_no_other_from_it(
    moment: str, url: str, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    on("first")
    first = Mirror(url, "small")
    put(first, "parts/s1/0-8.npz", "part")
    put(first, "trials.jsonl", "trials")
    of: Any = first if moment == "_here" else first._remote
    real = getattr(of, moment)

    def meanwhile(*arguments: Any) -> Any:
        if arguments[-1].endswith(".npz"):
            (first.folder / "parts" / "s1" / "0-8.npz").unlink(missing_ok=True)
        return real(*arguments)

    monkeypatch.setattr(of, moment, meanwhile)
    first.push()
    assert there_is(url) == {"trials.jsonl": "trials"}


def test_two_versions_are_not_joined(
    url: str, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull that is cut off, and another version of the same size there when it is repeated."""
    on("first")
    first = Mirror(url, "small")
    put(first, "matrix.csv", "a" * 10)
    first.push()
    on("second")
    second = Mirror(url, "small")

    def breaks(_: Any, source: str, part: str, **__: Any) -> None:
        Path(part).write_bytes(b"a" * 5)
        raise ConnectionError("connection reset")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="connection reset"):
        patch.setattr(type(second._remote._system), "get_file", breaks)
        second.pull()
    on("first")
    put(first, "matrix.csv", "b" * 10)
    assert first.push() == 1
    on("second")
    second.pull()
    assert held(second) == {"matrix.csv": "b" * 10}
    assert not list(second.folder.rglob(".*.part"))


def test_a_file_system_without_locks_is_not_a_study_in_use(
    url: str, on: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    on("first")
    first = Mirror(url, "small")
    put(first, "trials.jsonl", "a")
    first.push()
    on("second")

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    assert Mirror(url, "small").pull() == 1


KILLED = """
import os, signal, sys
from study.store.files import content_sum
from study.store.mirror import Mirror
mirror = Mirror(sys.argv[1], "small")
real, done = mirror._remote.put, []
def put(source, path):
    found = real(source, path)
    done.append(path)
    if len(done) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return found
mirror._remote.put = put
mirror.push()
"""


@pytest.mark.parametrize("puts", [1, 3, 5])
def test_killed_in_the_middle_the_same_machine_goes_on(
    puts: int, tmp_path: Path, on: Machine
) -> None:
    """SIGKILL, after the file is there and before that is written down here."""
    url = (tmp_path / "there").as_uri()
    on("first")
    first, store = Mirror(url, "small"), Store(local_results(url), "small")
    for path, text in FILES.items():
        put(first, path, text)
    store.save_trials([trial(0)])
    done = subprocess.run([sys.executable, "-c", KILLED, url, str(puts)], check=False)
    assert done.returncode == -signal.SIGKILL
    # as if it had ended while the table of before was on its way
    store.save_trials([trial(0), trial(1)])
    again = Mirror(url, "small")
    again.pull()
    again.push()
    assert store.trials() == [trial(0), trial(1)]
    expected = {path: (first.folder / path).read_bytes() for path in FILES}
    assert expected["scores/s1.parquet"] == b"scores"
    there = tmp_path / "there" / "small"
    assert {
        str(p.relative_to(there)): p.read_bytes() for p in there.rglob("*") if p.is_file()
    } == expected
    assert Mirror(url, "small").push() == 0


def test_a_study_that_is_being_written_is_not_pulled(url: str, on: Machine) -> None:
    on("first")
    mirror, store = Mirror(url, "small"), Store(local_results(url), "small")
    put(mirror, "trials.jsonl", "a")
    mirror.push()
    put(mirror, "trials.jsonl", "a, b")
    mirror._file.unlink()  # nothing is known of what was pushed: what is there would be taken
    with store.lock():
        assert Mirror(url, "small").pull() == 0
        assert held(mirror) == {"trials.jsonl": "a, b"}
    assert Mirror(url, "small").pull() == 1
    assert held(mirror) == {"trials.jsonl": "a"}


def test_a_place_that_cannot_be_reached_says_so(
    url: str, on: Machine, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    on("first")
    set_up()
    mirror = Mirror(url, "small")
    put(mirror, "trials.jsonl", "a")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(101, "Network is unreachable")

    for name in ("find", "put_file"):
        monkeypatch.setattr(type(mirror._remote._system), name, refuse)
    for work in (mirror.pull, mirror.push):
        with pytest.raises(
            StoreError,
            match=r"results at '.*' cannot be reached: .*unreachable.*; what this machine has is",
        ):
            work()
    with pytest.raises(StoreError, match="cannot be reached"), pushing(mirror):
        pass
    with pytest.raises(ZeroDivisionError), pushing(mirror):
        raise ZeroDivisionError
    assert "warning: results at" in capsys.readouterr().err


def test_nodes_that_do_not_see_the_copy_are_refused(tmp_path: Path) -> None:
    study = tmp_path / "small.toml"
    study.write_text(STUDY.format(root=tmp_path), encoding="utf-8")
    with pytest.raises(ConfigError, match="which the nodes of --address do not see"):
        sweep.main(
            [str(study), "--results", "memory://bucket/results", "--address", "10.0.0.1:6379"]
        )


def test_a_study_goes_on_from_another_machine(
    on: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    write_dataset(tmp_path / "data" / "alpha", n=24, size=16)
    study, url = tmp_path / "small.toml", (tmp_path / "there").as_uri()
    study.write_text(STUDY.format(root=tmp_path / "data"), encoding="utf-8")
    arguments = [str(study), "--results", url, "--local"]
    on("first")
    assert sweep.main(arguments) == 0
    first = Store(local_results(url), "small")
    shutil.rmtree(tmp_path / "first" / "fake-image-study")  # the machine is gone
    on("second")
    capsys.readouterr()
    assert sweep.main(arguments) == 0
    assert "Nothing to train: 2 trials and all their winners" in capsys.readouterr().out
    assert cross_eval.main(arguments) == 0
    second, there = Store(local_results(url), "small"), Store(tmp_path / "there", "small")
    assert second.folder != first.folder
    assert there.trials() == second.trials()
    (key,) = (path.name for path in (there.folder / "models").iterdir())
    (scores,) = (path.stem for path in (there.folder / "scores").iterdir())
    assert there.model(key).trial.pairing.name == "spectrum @ alpha"
    assert np.array_equal(there.scores(scores).logit, second.scores(scores).logit)
    assert there.matrix_file.read_bytes() == second.matrix_file.read_bytes()
    assert {path.name for path in there.folder.iterdir()} >= {
        "study.toml",
        "trials.jsonl",
        "matrix.csv",
        "tables.md",
    }

"""What is stored is checked when it is read: no damaged or swapped file gives another number."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from study.core.errors import StoreError
from study.core.failures import Failure
from study.core.records import Trial, TrialResult
from study.store.files import content_sum
from study.store.store import Store
from tests.store.test_store import EPOCH, RESULT, TRAINED, TRIAL, equal, some_scores

FLIPS = 150  # single bits, and as many truncations, of each kind of file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a file of every kind, twice, under two keys."""
    store = Store(tmp_path / "results", "mine")
    store.prepare()
    for number, key in enumerate(("m1", "m2")):
        trained = replace(TRAINED, key=key, temperature=1.5 + number)
        weights = {"head.weight": torch.arange(6.0) + number, "stem.bias": torch.ones(3) * number}
        store.save_model(trained, weights, moved(number), (EPOCH,), 2.5)
        store.save_scores(key, moved(number))
        store.save_part(key, 0, np.array([0.5 + number, 1.0], np.float32), [("a", "b")])
        store.save_epoch(key, 0, weights)
        store.close_epochs(key)
    return store


def moved(by: float) -> Any:
    scores = some_scores()
    return replace(scores, logit=scores.logit + np.float32(by))


@dataclass(frozen=True)
class Kind:
    """A kind of stored file: where it is for a key, and all that its reader gives, as text."""

    file: Callable[[Store, str], Path]
    read: Callable[[Store, str], Any]


def shown(scores: Any) -> Any:
    return [np.asarray(getattr(scores, name)).tolist() for name in scores.__dataclass_fields__]


def tensors(found: dict[str, torch.Tensor]) -> Any:
    return {name: tensor.tolist() for name, tensor in found.items()}


KINDS = {
    "scores": Kind(lambda s, k: s.scores_file(k), lambda s, k: shown(s.scores(k))),
    "val scores": Kind(
        lambda s, k: s.model_folder(k) / "val_scores.parquet", lambda s, k: shown(s.val_scores(k))
    ),
    "record": Kind(lambda s, k: s.model_folder(k) / "detector.json", lambda s, k: s.model(k)),
    "weights": Kind(
        lambda s, k: s.model_folder(k) / "detector.safetensors",
        lambda s, k: tensors(s.weights(k)),
    ),
    "head": Kind(
        lambda s, k: s.model_folder(k) / "detector.safetensors",
        lambda s, k: tensors(s.weights(k, prefix="head.")),
    ),
    "epoch": Kind(lambda s, k: s.epoch_file(k, 0), lambda s, k: tensors(s.epoch_weights(k, 0))),
    "part": Kind(
        lambda s, k: s.part_file(k, 0, 2),
        lambda s, k: [s.part(k, 0, 2)[0].tolist(), s.part(k, 0, 2)[1]],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_and_truncations_are_refused_or_do_no_harm(kind: str, store: Store) -> None:
    one = KINDS[kind]
    file, rng = one.file(store, "m1"), np.random.default_rng(0)
    expected, good = repr(one.read(store, "m1")), file.read_bytes()
    refused = 0
    for number in range(2 * FLIPS):
        content = bytearray(good)
        if number < FLIPS:
            content[rng.integers(len(good))] ^= 1 << int(rng.integers(8))
        else:
            del content[int(rng.integers(len(good))) :]
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {p: p.read_bytes() for p in file.parent.iterdir() if p.is_file()}
        file.write_bytes(content)
        try:
            assert repr(one.read(store, "m1")) == expected, (number, bytes(content))
        except StoreError:
            refused += 1
            for path, bytes_ in kept.items():  # what stood beside it was set aside with it
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes_)
        shutil.rmtree(store.folder / "damaged", ignore_errors=True)
    assert refused > FLIPS, "all truncations, and most flips"


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_of_another_key_is_refused(kind: str, store: Store) -> None:
    one = KINDS[kind]
    first, second = one.file(store, "m1"), one.file(store, "m2")
    assert repr(one.read(store, "m1")) != repr(one.read(store, "m2"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    for key in ("m1", "m2"):
        with pytest.raises(StoreError, match=r"set aside as .*damaged"):
            one.read(store, key)


def test_what_is_damaged_is_set_aside_and_no_result_any_more(store: Store) -> None:
    store.scores_file("m1").write_bytes(b"not parquet")
    with pytest.raises(StoreError, match="run the command again, which makes it anew"):
        store.scores("m1")
    assert not store.has_scores("m1") and store.has_scores("m2")
    file = store.model_folder("m1") / "detector.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError, match="run the sweep again, which trains it anew"):
        store.weights("m1")
    assert not store.has_model("m1") and store.has_model("m2")
    assert len(list((store.folder / "damaged").iterdir())) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_system_does_not_give_is_not_set_aside(
    kind: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files, a network file system that is away: the results may be whole."""
    one = KINDS[kind]
    file = one.file(store, "m1")

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(file))

    with monkeypatch.context() as patch:
        for place in ("pyarrow.parquet.read_table", "safetensors.safe_open", "numpy.load"):
            patch.setattr(place, refuse)
        patch.setattr(Path, "read_text", refuse)
        with pytest.raises(StoreError, match=r"cannot be read .Too many open files") as raised:
            one.read(store, "m1")
    assert "set aside" not in str(raised.value) and file.is_file()
    one.read(store, "m1")


@pytest.mark.parametrize("kind", ["weights", "head", "val scores"])
def test_a_detector_of_which_a_file_is_gone_is_set_aside(kind: str, store: Store) -> None:
    """Else it would be held to be trained for ever."""
    one = KINDS[kind]
    one.file(store, "m1").unlink()
    with pytest.raises(StoreError, match=r"it is missing.*run the sweep again"):
        one.read(store, "m1")
    assert not store.has_model("m1") and store.has_model("m2")


def test_files_of_a_version_that_wrote_no_sums_are_read(store: Store) -> None:
    import pyarrow.parquet as pq
    from safetensors.torch import save_file

    table = pq.read_table(store.scores_file("m1"))
    older = (b"study_schema", b"study_scores")
    metadata = {name: table.schema.metadata[name] for name in older}
    pq.write_table(table.replace_schema_metadata(metadata), store.scores_file("m1"))
    assert equal(store.scores("m1"), moved(0))
    file = store.model_folder("m1") / "detector.safetensors"
    save_file({"w": torch.ones(2)}, file)
    assert store.weights("m1")["w"].tolist() == [1.0, 1.0]
    record = store.model_folder("m1") / "detector.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    del content["sha256"]
    record.write_text(json.dumps(content), encoding="utf-8")
    assert store.model("m1").key == "m1"


@pytest.mark.parametrize("content", ["[]", "{", '{"schema": 1}', "flipped"])
def test_a_damaged_list_of_failures_is_set_aside_and_begun_anew(
    content: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.save_failures(["a"], {"a": Failure(type="ValueError", message="x")})
    good = store.failures_file.read_text(encoding="utf-8")
    flipped = good.replace('"sha256"', '"sha256 "')  # then nothing would say what was written
    store.failures_file.write_text(flipped if content == "flipped" else content, encoding="utf-8")
    if content == '{"schema": 1}':  # of a version that wrote no sums
        assert store.failures() == {}
        return
    assert store.failures() == {} and not store.failures_file.exists()
    assert "what failed is tried again" in caplog.text
    store.save_failures(["a"], {"a": Failure(type="ValueError", message="x")})
    assert store.failures_file.read_text(encoding="utf-8") == good


def recorded(store: Store, numbers: range = range(4)) -> list[tuple[Trial, TrialResult]]:
    """Record some trials, one after the other."""
    rows = [
        (replace(TRIAL, key=f"k{number}", number=number), replace(RESULT, key=f"k{number}"))
        for number in numbers
    ]
    for row in rows:
        store.add_trial(*row)
    return rows


def test_a_damaged_line_of_the_record_costs_its_own_trials(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped line feed joins or splits lines: two trials then. Whatever is lost is said."""
    rows, rng = recorded(store), np.random.default_rng(0)
    good, lost = store.trials_file.read_bytes(), 0
    for _ in range(2 * FLIPS):
        content = bytearray(good)
        content[rng.integers(len(good))] ^= 1 << int(rng.integers(8))
        store.trials_file.write_bytes(content)
        caplog.clear()
        found = Store(store.results, "mine").trials()
        assert len(found) >= len(rows) - 2 and all(row in rows for row in found)
        if found != rows:
            lost += 1
            assert "its trial is lost, and the next sweep of mine runs it again" in caplog.text
    assert lost > FLIPS


def test_a_record_cut_anywhere_holds_the_trials_before_the_cut(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    rows, rng = recorded(store), np.random.default_rng(1)
    good = store.trials_file.read_bytes()
    ends = [at + 1 for at, byte in enumerate(good) if byte == ord("\n")]
    for cut in [*ends, *rng.integers(len(good), size=FLIPS).tolist()]:
        store.trials_file.write_bytes(good[:cut])
        caplog.clear()
        whole = sum(end <= cut for end in ends)
        assert Store(store.results, "mine").trials() == rows[:whole]
        assert ("is not whole" in caplog.text) == (cut not in (0, *ends))


@pytest.mark.parametrize("damage", ["a line", "the end"])
def test_a_damaged_record_is_kept_aside_and_goes_on(damage: str, store: Store) -> None:
    rows = recorded(store)
    good = store.trials_file.read_bytes()
    bad = good[:-9] if damage == "the end" else good.replace(b'"k1"', b'"k7"', 1)
    store.trials_file.write_bytes(bad)
    kept = rows[:3] if damage == "the end" else [rows[0], *rows[2:]]
    assert [*store.open_trials()] == kept
    (aside,) = (store.folder / "damaged").iterdir()
    assert aside.read_bytes() == bad
    (again,) = (row for row in rows if row not in kept)
    store.add_trial(*again)
    assert store.trials() == [*kept, again]
    assert [*Store(store.results, "mine").open_trials()] == [*kept, again]
    assert len(list((store.folder / "damaged").iterdir())) == 1


def test_a_trial_that_is_run_again_takes_the_place_of_the_lost_one(store: Store) -> None:
    """Of one number and one rule: the same trial, or one that was lost by accident. Others stay."""
    killed = replace(RESULT, state="failed", failure=Failure(type="WorkerDiedError", message="x"))
    diverged = replace(killed, failure=Failure(type="DivergedError", message="x"))
    assert not killed.permanent and diverged.permanent
    other_rule = replace(TRIAL, search="other")
    proposed_anew, anew = replace(TRIAL, key="anew"), replace(RESULT, key="anew")
    for row in ((TRIAL, killed), (other_rule, RESULT), (TRIAL, RESULT)):
        store.add_trial(*row)
    assert store.trials() == [(other_rule, RESULT), (TRIAL, RESULT)]
    store.save_trials([(TRIAL, killed), (proposed_anew, anew)])
    assert store.trials() == [(proposed_anew, anew)]
    store.save_trials([(TRIAL, diverged), (proposed_anew, anew)])
    assert store.trials() == [(TRIAL, diverged), (proposed_anew, anew)]


def test_the_table_of_an_older_version_is_read_and_goes_on(store: Store) -> None:
    """Versions before had one Parquet table, whose columns are the fields of a line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = recorded(store)
    lines = store.trials_file.read_text(encoding="utf-8").splitlines()
    store.trials_file.unlink()
    plain = [json.loads(line) for line in lines]
    columns = [
        {name: value for name, value in row.items() if name not in ("schema", "sha256")}
        for row in plain
    ]
    table = pa.Table.from_pylist(columns)
    older = {"study_schema": "1", "study_sha256": content_sum(columns)}
    pq.write_table(table.replace_schema_metadata(older), store.folder / "trials.parquet")
    assert store.has_trials() and store.trials() == rows
    assert [*store.open_trials()] == rows and store.trials_file.is_file()
    (store.folder / "trials.parquet").write_bytes(b"of no use any more")
    assert store.trials() == rows
    store.trials_file.unlink()
    with pytest.raises(StoreError, match=r"trials\.parquet' cannot be read"):
        store.trials()

"""Detectors that were run elsewhere: their scores of a test set, given as a file, become cells of
the matrix.

The store keeps a copy of the matched scores under the key of their content, and
predictions.json says whose they are; so a row stays in the matrix until its name is given anew, or
taken out. Where the test set has changed since, the cell is stale.

What such a detector was trained on is not known here: its training set is `ELSEWHERE`, it has the
thresholds `fixed` and `oracle` only, and it is compared with the others cell by cell, but has no
in-domain or cross-domain mean and no rank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.core.errors import ConfigError, unknown_name
from study.core.identity import digest
from study.core.records import ELSEWHERE, NO_DEGRADATION, Cell, Pairing, Scores
from study.data.match_predictions import match_predictions
from study.jobs.workspace import open_catalog
from study.planning.cells import PlannedCell, test_content
from study.planning.open_study import OpenStudy
from study.planning.study import STUDY_NAME
from study.store.files import read_json

FILE = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class ExternalScores:
    """Scores that a study was given. file: where they came from. data_key: the content of the test
    split they were matched to.
    """

    name: str
    test_on: str
    file: str
    probability: bool
    scores_key: str
    data_key: str


def ask_for(
    setup: OpenStudy,
    predictions: Sequence[str],
    test_on: Sequence[str],
    *,
    unit: str = "",
    higher_is_real: bool = False,
) -> list[str]:
    """Take in what `--predictions NAME=FILE.csv` and `--test-on Y` say; return notes on it.

    One Y serves every file, as many as files go in pairs. `NAME=` without a file takes the detector
    out again. Raises ConfigError for words that do not fit, DataError for a file that does not (see
    `match_predictions`); nothing is kept of it then.
    """
    if test_on and not predictions:
        raise ConfigError(
            "--test-on belongs to --predictions NAME=FILE.csv; the study's test sets stand in its"
            " file"
        )
    if len(test_on) not in (1, len(predictions)) and any(
        not word.endswith("=") for word in predictions
    ):
        raise ConfigError(
            f"--predictions {len(predictions)} times and --test-on {len(test_on)} times: give one,"
            " or one for each"
        )
    for name in test_on:
        if name not in setup.study.test_on:
            raise ConfigError(
                unknown_name("test set", name, setup.study.test_on, where="--test-on")
            )
    kept, notes = {(one.name, one.test_on): one for one in remembered(setup)}, []
    for number, word in enumerate(predictions):
        name, file = _name_and_file(setup, word)
        if not file:
            if name not in {one for one, _ in kept}:
                raise ConfigError(
                    unknown_name(
                        "detector run elsewhere",
                        name,
                        {one for one, _ in kept},
                        where="--predictions",
                    )
                )
            kept = {place: one for place, one in kept.items() if place[0] != name}
            continue
        given, said = _take_in(
            setup,
            name,
            Path(file),
            test_on[number if len(test_on) > 1 else 0],
            unit=unit,
            higher_is_real=higher_is_real,
        )
        kept[name, given.test_on] = given
        notes += [f"{name} on {given.test_on}: {note}" for note in said]
    if predictions:
        setup.store.save_json(setup.store.folder / FILE, {"predictions": list(kept.values())})
    return notes


def _name_and_file(setup: OpenStudy, word: str) -> tuple[str, str]:
    name, equals, file = word.partition("=")
    if not equals or not STUDY_NAME.fullmatch(name):
        raise ConfigError(
            f"--predictions {word!r} is not NAME=FILE.csv, with a name of letters, digits, '.', '_'"
            " or '-'"
        )
    if name in setup.study.detectors:
        raise ConfigError(
            f"--predictions: '{name}' is a detector of the study; give the one that was run"
            " elsewhere another name"
        )
    return name, file


def _take_in(
    setup: OpenStudy, name: str, file: Path, test_on: str, *, unit: str, higher_is_real: bool
) -> tuple[ExternalScores, tuple[str, ...]]:
    """Match a file, keep its scores, and return what to remember, and notes."""
    dataset = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall).dataset(test_on)
    matched = match_predictions(file, dataset, unit=unit, higher_is_real=higher_is_real)
    data_key = test_content(setup, test_on)
    key = digest("predictions", data_key, _content(matched.scores))
    if not setup.store.has_scores(key):
        setup.store.save_scores(key, matched.scores)
    given = ExternalScores(
        name=name,
        test_on=test_on,
        file=str(file),
        probability=unit in ("probability", "percent"),
        scores_key=key,
        data_key=data_key,
    )
    return given, matched.notes


def _content(scores: Scores) -> str:
    """The digest of which images have which scores."""
    found = hashlib.sha256("\0".join(scores.sample_id.tolist()).encode())
    found.update(np.ascontiguousarray(scores.logit, dtype="<f8").tobytes())
    return found.hexdigest()


def remembered(setup: OpenStudy) -> list[ExternalScores]:
    """Return what the study was given on any test set, by name in the order of giving. Raises
    StoreError.
    """
    path = setup.store.folder / FILE
    if not path.is_file():
        return []
    table = read_json(path, "remove it and give --predictions again")
    return [ExternalScores(**entry) for entry in table["predictions"]]


def external_cells(setup: OpenStudy) -> list[PlannedCell]:
    """Return the cells of detectors run elsewhere, on the study's test sets: done, or stale where
    the test set has changed.
    """
    return [_cell(setup, one) for one in remembered(setup) if one.test_on in setup.study.test_on]


def _cell(setup: OpenStudy, given: ExternalScores) -> PlannedCell:
    fresh = given.data_key == test_content(setup, given.test_on) and setup.store.has_scores(
        given.scores_key
    )
    cell = Cell(
        pairing=Pairing(detector=given.name, train_on=ELSEWHERE),
        winner_seed=0,
        test_on=given.test_on,
        degradation=NO_DEGRADATION,
        state="done" if fresh else "stale",
        reason=(
            ""
            if fresh
            else (
                f"'{given.test_on}' has changed since: give --predictions {given.name}=FILE.csv"
                " again"
            )
        ),
        scores_key=given.scores_key,
    )
    return PlannedCell(cell=cell, winner=None, job=None)

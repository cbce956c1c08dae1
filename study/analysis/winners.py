"""Which winner of a finished study is meant: by its name, or the best by its test sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from study.analysis.cells_csv import CellFile, read_cells
from study.analysis.headline import CHANCE
from study.analysis.results import ResultRow, Results
from study.analysis.results_csv import read_results
from study.core.errors import ConfigError, StoreError, unknown_name
from study.core.records import Pairing
from study.data.names import split_union

NO_SKILL = "It is not shown to be more than chance there: do not rely on its verdicts"
BEST = "best"


@dataclass(frozen=True, kw_only=True)
class Winner:
    """A trained detector of a study. how: why it was taken, where nobody named it."""

    folder: Path
    model: str
    pairing: Pairing
    seed: int
    how: str = ""

    @property
    def name(self) -> str:
        """How it is shown."""
        return f"{self.pairing.name} seed {self.seed}"


def find_winner(folder: Path, name: str, seed: int = 0) -> Winner:
    """Return a winner by its name, `detector @ training set`, by its detector where that was
    trained on one set alone, or the best.

    The best is that of `best_winner`. It was chosen on these test sets, so that its AUC there
    flatters it. Raises ConfigError, StoreError.
    """
    cells = [cell for cell in read_cells(folder / "cells.csv") if cell.model]
    if not cells:
        raise StoreError(
            f"'{folder}' holds no scored winner; first run sweep and cross_eval on that study"
        )
    named = {Pairing(detector=c.detector, train_on=c.train_on).name: c for c in cells}
    how = ""
    if name == BEST:
        name, how = best_winner(read_results(folder), named)
    of_detector = [full for full, cell in named.items() if cell.detector == name]
    name = of_detector[0] if len(of_detector) == 1 else name
    if name not in named:
        raise ConfigError(unknown_name("winner", name, [BEST, *named]))
    mine = {c.seed: c for c in cells if _pairing(c).name == name}
    if seed not in mine:
        raise ConfigError(unknown_name("seed", str(seed), map(str, mine)))
    cell = mine[seed]
    return Winner(folder=folder, model=cell.model, pairing=_pairing(cell), seed=seed, how=how)


def _pairing(cell: CellFile) -> Pairing:
    return Pairing(detector=cell.detector, train_on=cell.train_on)


def best_winner(results: Results, named: Collection[str]) -> tuple[str, str]:
    """Return the winner with the highest mean AUC, and over what it was compared. named: the
    winners, as `Pairing.name`.

    The mean is over a winner's own cross-domain cells on test sets that the audit does not mark,
    those on which every other cross-domain winner has a number too. Where no winner has such a
    cell, it is over the unmarked test sets on which all have a number, else over all of those.
    A winner without a cell in the mean is left out, and that is said. Raises StoreError where no
    test set has an AUC of all.
    """
    aucs: dict[str, dict[str, ResultRow]] = {name: {} for name in named}
    for row in results.rows:
        name = Pairing(detector=row.detector, train_on=row.train_on).name
        mean_auc = row.is_plain and row.metric == "auc" and row.seed == "mean"
        if name in aucs and mean_auc:
            aucs[name][row.test_on] = row
    for said, held in _deciding(results, aucs):
        means = {name: fmean(of.values()) for name, of in held.items() if of}
        if not means:
            continue
        best = max(means, key=lambda name: means[name])
        left, many = len(named) - len(means), "s" * (len(means) != 1)
        mine = held[best]
        unsure = all(aucs[best][y].estimate.low <= CHANCE for y in mine)
        return best, "".join(
            (
                f"the highest mean AUC of {len(means)} winner{many} on {said}: {means[best]:.3f}",
                f", on {', '.join(mine)}",
                f" ({left} of all {len(named)} have no such test set)" * bool(left),
                ". It was chosen by these, so expect less on new images",
                f". {NO_SKILL}" * unsure,
                _marked_source(results, best),
            )
        )
    raise StoreError("no test set has an AUC of every winner; name the winner to take")


def _marked_source(results: Results, name: str) -> str:
    """Say that the audit marks what a winner was trained on; "" where it does not."""
    _, _, source = name.partition(" @ ")
    marked = [one for one in split_union(source) if one in results.warnings()]
    if not marked:
        return ""
    sets, it = " and ".join(marked), "it" if len(marked) == 1 else "them"
    return (
        f". It was trained on {sets}, and the audit marks {it} (!): it may have learned what gives"
        " the classes away there, and not what makes a fake"
    )


Aucs = dict[str, dict[str, float]]  # winner -> test set -> AUC


def champion(results: Results) -> str:
    """Return the winner that `best_winner` names of all in the matrix; "" where there is none."""
    named = [
        Pairing(detector=row.detector, train_on=row.train_on).name
        for row in results.rows
        if row.role == "detector"
    ]
    try:
        return best_winner(results, dict.fromkeys(named))[0]
    except StoreError:
        return ""


def _deciding(
    results: Results, rows: Mapping[str, Mapping[str, ResultRow]]
) -> Iterator[tuple[str, Aucs]]:
    """Yield what winners may be compared by, in words and as numbers, the best way first. rows: of
    each winner, by test set.
    """
    warned, leaky = results.warnings(), results.leaky()

    def is_clean(row: ResultRow) -> bool:
        return row.test_on not in warned and (row.train_on, row.test_on) not in leaky

    across = _of_all(rows, lambda row: row.domain == "cross" and is_clean(row))
    yield "their own cross-domain test sets without a mark", across
    for said, held in (
        ("the test sets without a mark", _of_all(rows, is_clean)),
        ("all test sets", _of_all(rows, lambda row: True)),
    ):
        sets = [set(of) for of in held.values() if of]
        shared = set.intersection(*sets) if sets else set()
        yield said, {n: {y: v for y, v in of.items() if y in shared} for n, of in held.items()}


def _of_all(
    rows: Mapping[str, Mapping[str, ResultRow]], counts: Callable[[ResultRow], bool]
) -> Aucs:
    """The AUCs of the rows that count, without the test sets on which one of them has no number; a
    winner without any number takes no part.
    """
    mine = {name: [row for row in of.values() if counts(row)] for name, of in rows.items()}
    mine = {name: of for name, of in mine.items() if any(row.has_number for row in of)}
    gone = {row.test_on for of in mine.values() for row in of if not row.has_number}
    return {
        name: {row.test_on: row.estimate.value for row in of if row.test_on not in gone}
        for name, of in mine.items()
    }

"""Made-up scores as the score set of a study, shared by tests and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from study.analysis.leakage import NO_LEAKS, Leakage
from study.analysis.overlap_groups import Identities, own_names
from study.analysis.score_set import DrawnFile, ScoreSet
from study.core.records import Cell, Draw, DrawKind, DrawScores, Pairing, Scores
from study.data.subgroups import Subgroups

CellScores = tuple[str, Pairing, Scores, int]  # test set, pairing, the scores of a winner, its seed


def clean_cell(pairing: Pairing, test_on: str, seed: int, key: str) -> Cell:
    """A scored cell of a clean test set."""
    return Cell(
        pairing=pairing,
        winner_seed=seed,
        test_on=test_on,
        degradation="none",
        state="done",
        scores_key=key,
    )


def score_set(
    scores: Iterable[CellScores],
    *,
    leakage: Leakage = NO_LEAKS,
    identities: Identities = own_names,
    drawn: Mapping[tuple[Pairing, str], Sequence[DrawnFile]] = MappingProxyType({}),
    subgroups: Mapping[str, Subgroups] = MappingProxyType({}),
) -> tuple[ScoreSet, list[Cell]]:
    """A score set of those scores, and their cells in that order. subgroups: by test set."""
    given = list(scores)
    cells = [clean_cell(p, y, seed, str(i)) for i, (y, p, _, seed) in enumerate(given)]
    files = [(cell.scores_key, one) for cell, (_, _, one, _) in zip(cells, given, strict=True)]
    opened = ScoreSet(
        files,
        rng_seed=len,
        leakage=leakage,
        identities=identities,
        drawn=drawn,
        subgroups=lambda test_on: subgroups.get(test_on, {}),
    )
    return opened, cells


def drawn_file(kind: DrawKind, scores: Scores, logits: NDArray[np.float64]) -> DrawnFile:
    """Logits of models of draws on the images of `scores`: (R, 2, N) of halves, (P, 1, N) of
    permutations.
    """
    draws = tuple(
        Draw(kind=kind, number=number, half=half)
        for number in range(logits.shape[0])
        for half in range(logits.shape[1])
    )
    flat = logits.reshape(len(draws), -1).astype(np.float32)
    return draws, DrawScores(sample_id=scores.sample_id, logits=flat)

"""Ensembles: cells whose scores are made of other detectors' scores of the same images. No image is
looked at, nothing is searched.

An ensemble of one training set and one winner seed s is a linear function of the logits of
its members, which are the winners of that training set with seed s:

    ensemble            the mean of the members' logits, each divided by its member's temperature
    (fitted on source val, as for
                        the calibration metrics): without that, the member with the largest logits
                        would decide alone
    ensemble_stacked    scikit-learn's logistic regression on the members' logits of source val,
    standardised there, with C = 1

Its weights, its thresholds and its temperature come from the members' scores on source val, so they
are behind the firewall too. What `ensemble_stacked` scores on source val is what it was fitted on:
its thresholds are chosen on scores that flatter it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from study.core.records import DetectorSpec, Geometry, Pairing, Scores, TrainedDetector, Trial
from study.jobs.workspace import FACES, Workspace, now, provenance
from study.statistics.methods import part
from study.statistics.metrics import auc, nll
from study.statistics.thresholds import fit_temperature, source_thresholds

STACKED = "ensemble_stacked"
WEIGHT = "weight_"  # before the names of options that hold the members' weights
C = 1.0  # inverse L2 strength of the stacked one, scikit-learn's default
NO_NETWORK = DetectorSpec(
    name="",
    family="ensemble",
    geometry=Geometry(size_px=0, mode="crop"),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    learner="members",
)


@dataclass(frozen=True, kw_only=True)
class EnsembleJob:
    """A cell to be derived from its members'. members: their names, sorted; models, scores: their
    keys, in the same order.

    key: of the ensemble, decided by its members. scores_key: of the cell's scores.
    """

    workspace: Workspace
    pairing: Pairing
    winner_seed: int
    members: tuple[str, ...]
    models: tuple[str, ...]
    scores: tuple[str, ...]
    key: str
    scores_key: str

    @property
    def result_key(self) -> str:
        """The key of its scores."""
        return self.scores_key

    def is_done(self) -> bool:
        """Tell whether the store has the ensemble's record and the cell's scores."""
        store = self.workspace.store
        return store.has_model(self.key) and store.has_scores(self.scores_key)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What an ensemble does: bias + logits (N, M) @ weights (M,), in float64."""

    weights: NDArray[np.float64]
    bias: float

    def of(self, members: Sequence[Scores]) -> Scores:
        """Return the scores of an ensemble, made of its members' scores, on the images that all of
        them scored.
        """
        common = on_common_images(members)
        return replace(
            common[0], logit=(self.bias + logits_of(common) @ self.weights).astype(np.float32)
        )


def on_common_images(members: Sequence[Scores]) -> list[Scores]:
    """Return the members' scores of the images that all of them scored: an elongated image may be
    too much for some geometries.

    What any of them left out is among the `excluded` of each, with the first reason given, and so
    counts in the coverage.
    """
    common = functools.reduce(np.intersect1d, [one.sample_id for one in members])
    excluded = {sample: reason for one in reversed(members) for sample, reason in one.excluded}
    kept = [part(one, np.flatnonzero(np.isin(one.sample_id, common))) for one in members]
    return [
        replace(one, listed=members[0].listed, excluded=tuple(sorted(excluded.items())))
        for one in kept
    ]


def logits_of(members: Sequence[Scores]) -> NDArray[np.float64]:
    """Return the logits of M members, which have the same images, as (N, M)."""
    first = members[0]
    for other in members[1:]:
        assert np.array_equal(first.sample_id, other.sample_id), (
            "the members of an ensemble scored different images"
        )
        assert np.array_equal(first.label, other.label), (
            "the members of an ensemble saw different labels"
        )
    return np.stack([one.logit for one in members], axis=1).astype(np.float64)


def mean_of(temperatures: Sequence[float]) -> Combination:
    """Return the mean of logits, each divided by its temperature, > 0."""
    return Combination(
        weights=1 / (len(temperatures) * np.asarray(temperatures, dtype=np.float64)), bias=0.0
    )


def stacked(label: ArrayLike, logit: NDArray[np.float64]) -> Combination:
    """Fit a logistic regression on logits (N, M), standardised, and labels (N,); return it as a
    function of the raw logits.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(logit)
    model = LogisticRegression(C=C, tol=1e-10, max_iter=1000).fit(
        scaler.transform(logit), np.asarray(label)
    )
    weights = model.coef_[0] / scaler.scale_
    return Combination(weights=weights, bias=float(model.intercept_[0] - weights @ scaler.mean_))


def run_ensemble(job: EnsembleJob) -> None:
    """Derive a cell and write its scores, and the ensemble's record where this is its first cell.

    Raises StoreError where a member's record or scores are missing.
    """
    if job.is_done():
        return
    store = job.workspace.store
    if not store.has_model(job.key):
        _make(job)
    options = store.model(job.key).spec.options
    weights = np.array([options[f"{WEIGHT}{name}"] for name in job.members], dtype=np.float64)
    combination = Combination(weights=weights, bias=float(options["bias"]))
    store.save_scores(job.scores_key, combination.of([store.scores(key) for key in job.scores]))


def _make(job: EnsembleJob) -> None:
    """Derive an ensemble from its members' scores on source val and write its record. Its weights
    are what it has for a configuration; its trial has no epoch, and a seed for nothing.
    """
    store = job.workspace.store
    began = time.perf_counter()
    parts = on_common_images([store.val_scores(key) for key in job.models])
    if job.pairing.detector == STACKED:
        combination = stacked(parts[0].label, logits_of(parts))
    else:
        combination = mean_of([store.model(key).temperature for key in job.models])
    val = combination.of(parts)
    weights = zip(job.members, combination.weights, strict=True)
    options = {f"{WEIGHT}{name}": float(weight) for name, weight in weights}
    options |= {"bias": combination.bias}
    members = zip(job.members, job.models, strict=True)
    trial = Trial(
        key=job.key,
        pairing=job.pairing,
        number=-1 - job.winner_seed,
        params=options,
        seed=0,
        epochs=0,
        origin=f"the winners {', '.join(job.members)} with seed {job.winner_seed}",
    )
    trained = TrainedDetector(
        key=job.key,
        trial=trial,
        spec=replace(NO_NETWORK, name=job.pairing.detector, options=options),
        winner_seed=job.winner_seed,
        thresholds=source_thresholds(val.label, val.logit),
        temperature=fit_temperature(val.label, val.logit),
        val_auc=auc(val.label, val.logit),
        val_nll=nll(val.label, val.logit),
        provenance={
            **provenance(),
            "members": ", ".join(f"{name} {key}" for name, key in members),
            **({FACES: step} if (step := job.workspace.data.faces) else {}),
            "made": now(),
        },
    )
    store.save_model(trained, None, val, (), time.perf_counter() - began)

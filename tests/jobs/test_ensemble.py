"""Ensembles from hand-made stores: the mean against numpy, the stacked one against scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.core.errors import StoreError
from study.core.records import DetectorSpec, Geometry, Pairing, Scores, TrainedDetector, Trial
from study.data.catalog import DataConfig
from study.jobs.cell import load_detector
from study.jobs.ensemble import EnsembleJob, run_ensemble
from study.jobs.workspace import Workspace
from study.planning.keys import ensemble_cell_key, ensemble_key
from study.statistics.methods import part
from study.store.store import Store

MEMBERS = {"npr": 4.0, "resnet18": 0.5, "spectrum": 25.0}  # with their temperatures
N = 60


def some_scores(seed: int, *, scale: float, split: str, n: int = N) -> Scores:
    """The same images and labels for every seed; logits that know a little of the label, of any
    scale.
    """
    rng = np.random.default_rng([seed, len(split)])
    label = (np.arange(n) % 3 > 0).astype(np.uint8)
    names = np.array([f"a/{split}/{i:03d}.png" for i in range(n)])
    logit = (scale * (rng.normal(size=n) + label - 0.3)).astype(np.float32)
    method = np.where(label == 1, "gan", "real")
    return Scores(
        sample_id=names,
        group=names,
        unit=names,
        method=method,
        label=label,
        logit=logit,
        listed=n + 1,
    )


def trained(name: str, temperature: float) -> TrainedDetector:
    trial = Trial(
        key=f"model-{name}",
        pairing=Pairing(detector=name, train_on="a"),
        number=-1,
        params={},
        seed=0,
        epochs=1,
    )
    spec = DetectorSpec(
        name=name,
        family=name,
        geometry=Geometry(size_px=8, mode="crop"),
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        learner="gradient",
    )
    return TrainedDetector(
        key=trial.key,
        trial=trial,
        spec=spec,
        winner_seed=0,
        winner_trial=0,
        thresholds={"fixed": 0.0},
        temperature=temperature,
        val_auc=0.5,
        val_nll=0.7,
        best_epoch=0,
        provenance={},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three members of one training set and seed, scored on two test sets."""
    store = Store(tmp_path / "results", "mine")
    store.prepare()
    for seed, (name, temperature) in enumerate(MEMBERS.items()):
        scale = temperature
        store.save_model(
            trained(name, temperature), {}, some_scores(seed, scale=scale, split="val"), (), 1.0
        )
        for test in ("here", "there"):
            store.save_scores(f"{name} {test}", some_scores(seed, scale=scale, split=test))
    return store


def job(
    store: Store,
    detector: str = "ensemble",
    test: str = "here",
    members: tuple[str, ...] = tuple(MEMBERS),
    models: tuple[str, ...] = (),
    scores: tuple[str, ...] = (),
) -> EnsembleJob:
    workspace = Workspace(
        results=store.results,
        study="mine",
        data=DataConfig(root=None, cache=store.results),
        weights_root=None,
        threads=1,
        precision="float32",
        firewall=False,
    )
    models = models or tuple(f"model-{name}" for name in members)
    scores = scores or tuple(f"{name} {test}" for name in members)
    key = ensemble_key(detector, members, models)
    return EnsembleJob(
        workspace=workspace,
        pairing=Pairing(detector=detector, train_on="a"),
        winner_seed=0,
        members=members,
        models=models,
        scores=scores,
        key=key,
        scores_key=ensemble_cell_key(key, scores),
    )


def columns(scores: list[Scores]) -> np.ndarray:
    return np.stack([s.logit for s in scores], axis=1).astype(np.float64)


def test_the_mean_is_that_of_logits_divided_by_their_temperatures(store: Store) -> None:
    run_ensemble(job(store))
    parts = [store.scores(f"{name} here") for name in MEMBERS]
    by_hand = (parts[0].logit / 4.0 + parts[1].logit / 0.5 + parts[2].logit / 25.0) / 3
    made = store.scores(job(store).scores_key)
    np.testing.assert_allclose(made.logit, by_hand, rtol=1e-5, atol=1e-6)
    assert made.logit.dtype == np.float32 and made.coverage == N / (N + 1)
    for column in ("sample_id", "group", "unit", "method", "label"):
        assert np.array_equal(getattr(made, column), getattr(parts[0], column))


def test_the_scale_of_a_member_has_no_say(store: Store) -> None:
    """A member whose logits and temperature are a thousand times larger is the same member."""
    run_ensemble(job(store))
    larger = some_scores(0, scale=4000.0, split="val")
    store.save_model(replace(trained("npr", 4000.0), key="large"), {}, larger, (), 1.0)
    store.save_scores("large here", some_scores(0, scale=4000.0, split="here"))
    other = job(
        store,
        models=("large", *job(store).models[1:]),
        scores=("large here", *job(store).scores[1:]),
    )
    run_ensemble(other)
    assert other.key != job(store).key
    np.testing.assert_allclose(
        store.scores(other.scores_key).logit,
        store.scores(job(store).scores_key).logit,
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_stacked_one_is_scikit_learns_on_standardised_val_logits(store: Store) -> None:
    for test in ("here", "there"):
        run_ensemble(job(store, "ensemble_stacked", test))
    val = [store.val_scores(f"model-{name}") for name in MEMBERS]
    theirs = make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12)
    ).fit(columns(val), val[0].label)
    for test in ("here", "there"):
        expected = theirs.decision_function(
            columns([store.scores(f"{name} {test}") for name in MEMBERS])
        )
        made = store.scores(job(store, "ensemble_stacked", test).scores_key)
        np.testing.assert_allclose(made.logit, expected, rtol=1e-4, atol=1e-5)
    options = store.model(job(store, "ensemble_stacked").key).spec.options
    raw = theirs[-1].coef_[0] / theirs[0].scale_
    assert [options[f"weight_{name}"] for name in MEMBERS] == pytest.approx(list(raw), rel=1e-4)
    assert options["bias"] == pytest.approx(theirs.decision_function(np.zeros((1, 3)))[0], rel=1e-4)


@pytest.mark.parametrize("detector", ["ensemble", "ensemble_stacked"])
def test_thresholds_temperature_and_val_metrics_are_those_of_its_own_val_scores(
    store: Store, detector: str
) -> None:
    run_ensemble(job(store, detector))
    record = store.model(job(store, detector).key)
    val = store.val_scores(record.key)
    label, logit = val.label, val.logit.astype(np.float64)
    candidates = [-np.inf, *np.sort(logit) + 1e-9]
    best = max(balanced_accuracy_score(label, logit >= cut) for cut in candidates)
    assert balanced_accuracy_score(label, logit >= record.thresholds["source"]) == pytest.approx(
        best
    )
    rates = {cut: np.mean(logit[label == 0] >= cut) for cut in candidates}
    assert np.mean(logit[label == 0] >= record.thresholds["source_fpr5"]) == max(
        r for r in rates.values() if r <= 0.05
    )
    assert record.thresholds["fixed"] == 0.0
    assert record.val_auc == pytest.approx(roc_auc_score(label, logit))
    assert record.val_nll == pytest.approx(log_loss(label, 1 / (1 + np.exp(-logit))), rel=1e-6)
    fitted = {
        t: log_loss(label, 1 / (1 + np.exp(-logit / t)))
        for t in record.temperature * np.array([0.5, 1.0, 2.0])
    }
    assert min(fitted, key=fitted.__getitem__) == record.temperature


def test_its_record_says_what_it_is_made_of_and_is_no_network(store: Store) -> None:
    one = job(store)
    assert not one.is_done()
    run_ensemble(one)
    assert one.is_done()
    record = store.model(one.key)
    assert (
        record.provenance["members"]
        == "npr model-npr, resnet18 model-resnet18, spectrum model-spectrum"
    )
    assert (record.spec.learner, record.winner_trial, record.trial.pairing) == (
        "members",
        -1,
        one.pairing,
    )
    assert record.spec.options == {
        "weight_npr": 1 / 12,
        "weight_resnet18": 2 / 3,
        "weight_spectrum": 1 / 75,
        "bias": 0.0,
    }
    assert not (store.model_folder(one.key) / "detector.safetensors").exists()
    with pytest.raises(
        StoreError, match=r"is an ensemble .* load its members \(npr model-npr, resnet18"
    ):
        load_detector(store.model_folder(one.key))


def test_keys_hold_the_rule_the_members_and_their_scores(store: Store) -> None:
    jobs = [
        job(store),
        job(store, "ensemble_stacked"),
        job(store, members=("npr", "spectrum")),
        job(store, models=("x", "y", "z")),
    ]
    assert len({j.key for j in jobs}) == len(jobs)
    assert job(store).key == job(store, test="there").key
    assert len({j.scores_key for j in (*jobs, job(store, test="there"))}) == len(jobs) + 1


def test_what_is_there_is_not_made_again_and_what_is_missing_is_named(store: Store) -> None:
    run_ensemble(job(store))
    files = {p: p.stat().st_mtime_ns for p in store.folder.rglob("*") if p.is_file()}
    run_ensemble(job(store))
    assert files == {p: p.stat().st_mtime_ns for p in store.folder.rglob("*") if p.is_file()}
    with pytest.raises(StoreError, match="spectrum elsewhere"):
        run_ensemble(job(store, test="elsewhere", members=("spectrum", "npr")))


def lacking(scores: Scores, places: list[int], reason: str) -> Scores:
    """The scores without some images, which could not be scored."""
    kept = np.setdiff1d(np.arange(len(scores.logit)), places)
    excluded = tuple((str(sample), reason) for sample in scores.sample_id[places])
    return replace(part(scores, kept), listed=scores.listed, excluded=excluded)


@pytest.mark.parametrize("detector", ["ensemble", "ensemble_stacked"])
def test_members_that_scored_other_images_are_combined_on_those_of_all(
    store: Store, detector: str
) -> None:
    """Some images are too elongated for one member, one image for another: in a test set, and in
    source val.
    """
    whole = {name: store.scores(f"{name} here") for name in MEMBERS}
    store.save_scores("npr here", lacking(whole["npr"], [3, 4], "too elongated for npr"))
    store.save_scores(
        "spectrum here", lacking(whole["spectrum"], [4, 9], "too elongated for spectrum")
    )
    val = {name: store.val_scores(f"model-{name}") for name in MEMBERS}
    models = []
    for name, scores in val.items():
        mine = lacking(scores, [5, 6] if name == "resnet18" else [], "too elongated")
        store.save_model(
            replace(trained(name, MEMBERS[name]), key=f"new-{name}"), {}, mine, (), 1.0
        )
        models.append(f"new-{name}")
    one = job(store, detector, models=tuple(models))
    run_ensemble(one)
    made = store.scores(one.scores_key)
    kept = np.setdiff1d(np.arange(N), [3, 4, 9])
    assert made.sample_id.tolist() == whole["npr"].sample_id[kept].tolist()
    assert made.coverage == (N - 3) / (N + 1)
    ids = whole["npr"].sample_id
    assert made.excluded == (
        (str(ids[3]), "too elongated for npr"),
        (str(ids[4]), "too elongated for npr"),
        (str(ids[9]), "too elongated for spectrum"),
    )
    fitted = np.setdiff1d(np.arange(N), [5, 6])
    logits = columns([whole[name] for name in MEMBERS])[kept]
    if detector == "ensemble":
        expected = (logits / list(MEMBERS.values())).mean(axis=1)
    else:
        theirs = make_pipeline(
            StandardScaler(), LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12)
        )
        theirs.fit(columns([val[name] for name in MEMBERS])[fitted], val["npr"].label[fitted])
        expected = theirs.decision_function(logits)
    np.testing.assert_allclose(made.logit, expected, rtol=1e-4, atol=1e-5)
    assert len(store.val_scores(one.key).logit) == N - 2


def test_members_that_saw_other_labels_are_not_combined(store: Store) -> None:
    scores = store.scores("npr here")
    store.save_scores("npr here", replace(scores, label=1 - scores.label))
    with pytest.raises(AssertionError, match="different labels"):
        run_ensemble(job(store))
    assert not job(store).is_done()

"""Three classifiers that stand beside a dataset's column: one of a file's metadata, one of a few
statistics of its border, corners and brightness, and one of what processing left in its pixels.

What the first two can tell, a detector can learn instead of what it is meant to. Both are
gradient-boosted trees: a cue need not be monotone (qualities 85 and 95 against 90), nor stand in
one trait alone. They are shallow, and their leaves hold ten images at least, so that they learn
little where there is nothing to learn; and a mistake costs no alarm, because their AUC is that of
folds they never saw.

The third is a reference alone: it cannot tell processing from a generator's trace, and so it warns
of nothing. It is a logistic regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.core.identity import derive_seed
from study.core.records import CONTROLS, Estimate
from study.data.audit.pixels import STATISTICS
from study.data.audit.traits import KINDS, SIZES, Traits
from study.statistics.cross_validated import cross_validated_auc, folds_by_group, undefined

Floats = NDArray[np.float64]
Model = Callable[[int], Any]  # a classifier for so many images
SEED = derive_seed("audit")
SHRINKAGE = 0.1  # of the logistic regression, scikit-learn's C
ROUNDS, LEAVES, LEAF_IMAGES, RATE = 40, 6, 10, 0.15
# so with `unify`, for the files
CONSTANT = "no interval: constant by construction, no trait varies"


def metadata_auc(traits: Traits) -> Estimate:
    """Return the cross-validated AUC of a classifier of file traits alone."""
    return _classifier_auc(traits, _of_file(traits, traits), _trees)


def border_brightness_auc(traits: Traits) -> Estimate:
    """Return the cross-validated AUC of a classifier of brightness, colour, border, corners and
    centre.
    """
    return _classifier_auc(traits, _of_border(traits, traits), _trees)


def processing_auc(traits: Traits) -> Estimate:
    """Return the cross-validated AUC of a classifier of what processing leaves in pixels."""
    return _classifier_auc(traits, _of_processing(traits, traits), _regression)


def trained_control(control: str, train: Traits) -> Callable[[Traits], Floats]:
    """Train a classifier on some images; return what gives (N,) its logits of N others, the same of
    all where it has nothing to learn. control: one of `CONTROLS`.
    """
    features_of, model = KINDS_OF_CONTROL[control]
    features = features_of(train, train)
    varies = [len(np.unique(column)) > 1 for column in features.T]
    if not any(varies) or len(np.unique(train.label)) < 2:
        return lambda test: np.zeros(len(test))
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        fitted = model(len(train)).fit(features[:, varies], train.label)

    def logits(test: Traits) -> Floats:
        with threadpool_limits(1):
            others = features_of(test, train)[:, varies]
            return np.asarray(fitted.decision_function(others), dtype=np.float64)

    return logits


def _of_file(traits: Traits, like: Traits) -> Floats:
    """The traits of files as columns: a word that others have, and numbers."""
    words = {name: np.unique(like.kinds[name]) for name in KINDS}
    columns = [
        (traits.kinds[name] == word).astype(np.float64)
        for name, known in words.items()
        for word in known
        if len(known) > 1
    ]
    return np.stack([*columns, *(traits.numbers[name] for name in SIZES)], axis=1)


def _of_border(traits: Traits, _: Traits) -> Floats:
    return np.stack([traits.numbers[name] for name in STATISTICS], axis=1)


def _of_processing(traits: Traits, _: Traits) -> Floats:
    return traits.processing.astype(np.float64)


def _classifier_auc(traits: Traits, features: Floats, model: Model) -> Estimate:
    label, group = traits.label, traits.group
    fold = folds_by_group(label, group, rng_seed=SEED)
    folds = int(fold.max(initial=0)) + 1
    if folds < 2:
        return undefined(
            "too few groups to cross-validate: two folds with two groups of each class are needed",
            label,
        )
    score = _out_of_fold(features, label, fold, model)
    found = cross_validated_auc(label, score, group, fold)
    varies = any(len(np.unique(column)) > 1 for column in features.T)
    return found if varies else replace(found, note=CONSTANT)


def _out_of_fold(
    features: Floats, label: NDArray[np.uint8], fold: NDArray[np.intp], model: Model
) -> NDArray[np.float64]:
    """Return, (N,), each image's logit by the model that was fitted on the other folds."""
    from threadpoolctl import threadpool_limits

    score = np.zeros(len(label))
    # its threads wait for each other longer than they work, the more so where others run
    with threadpool_limits(1):
        for held_out in range(int(fold.max()) + 1):
            inside = fold != held_out
            varies = [len(np.unique(column)) > 1 for column in features[inside].T]
            if any(varies):  # else there is nothing to fit, and every score is the same
                fitted = model(int(inside.sum())).fit(features[inside][:, varies], label[inside])
                score[~inside] = fitted.decision_function(features[~inside][:, varies])
    return score


def _regression(images: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    del images
    return make_pipeline(StandardScaler(), LogisticRegression(C=SHRINKAGE, max_iter=300))


def _trees(images: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=max(min(LEAF_IMAGES, images // 8), 2),
        learning_rate=RATE,
        early_stopping=False,
        random_state=SEED,
    )


KINDS_OF_CONTROL: dict[str, tuple[Callable[[Traits, Traits], Floats], Model]] = dict(
    zip(
        CONTROLS,
        ((_of_file, _trees), (_of_border, _trees), (_of_processing, _regression)),
        strict=True,
    )
)

"""A study in words: what is said of it before it is searched, and what the search selected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from study.analysis.flags import course
from study.core.records import Pairing, TrialResult
from study.data.images.faces import STEPS
from study.planning.selection import SearchHistory
from study.planning.study import Study
from study.render.numbers import between, counted
from study.render.table import fold
from study.search.driver import PairingSearch
from study.statistics.sample_size import expected_auc_interval

TYPICAL, WIDE = 0.8, 0.1  # an AUC, and how far below it an interval may begin without a word


def study_lines(study: Study, size: str, further: Sequence[str] = ()) -> list[str]:
    """Return what is said of a study before anything is done. size: how much there is to do, in a
    line. further: lines of this machine's.
    """
    trained = dict.fromkeys(pairing.detector for pairing in study.searched())
    search = study.search
    mode = (
        f"in generations of {study.budget.generation}"
        if search.mode == "generations"
        else "one by one (async)"
    )
    return [
        f"study {study.name}: {counted(len(trained), 'detector')} x"
        f" {counted(len(study.train_on), 'training set')} ="
        f" {counted(len(study.searched()), 'pairing')}",
        f"search: {search.sampler}, {mode}, {search.scheduler},"
        f" {counted(study.budget.trials, 'trial')} (docs/search.md has these words)",
        size,
        *_what_else(study),
        *further,
        *(f"note: {note}" for note in study_notes(study)),
    ]


def _what_else(study: Study) -> list[str]:
    """What is trained besides the winners, what needs no training, and how images are drawn."""
    said = []
    if study.searched() and study.budget.default_winners:
        said.append(
            "also trained: the default configuration with the winners' seeds, where the search"
            " selects another (budget.default_winners)"
        )
    if study.searched() and study.budget.transfer:
        said.append(
            "also trained: the configuration found best on each training set, on all the others"
            " (budget.transfer)"
        )
    said += _draws(study)
    for pairing in study.untrained():
        name = pairing.detector
        said.append(f"{name}: nothing to train for it; cross_eval builds and scores it")
    for name, members in study.ensembles.items():
        made_of = ", ".join(members)
        said.append(f"{name}: nothing to train for it; cross_eval makes it of {made_of}")
    drawn = {"class": "real and fake images", "dataset": "real and fake images of every dataset"}
    if study.data.balance in drawn:
        said.append(f"drawn alike often in training: {drawn[study.data.balance]}")
    return said


def _draws(study: Study) -> list[str]:
    """What is trained to see how much the training sample decides, and what nothing gives."""
    trained = dict.fromkeys(pairing.detector for pairing in study.searched())
    pairs = {name: study.replicates_of(name) for name in trained}
    said, nulls = [], study.null_models_of(heads=True)
    if not trained:
        return []
    if any(pairs.values()):
        each = ", ".join(f"{name} {count}" for name, count in pairs.items())
        said.append(
            "also trained: each winner's configuration on pairs of halves of its training set, so"
            f" that intervals count the training sample (budget.replicates): {each}. A pair takes"
            " as long as one trial"
        )
    else:
        said.append(
            "the training sample is not counted (budget.replicates = 0): nothing is claimed of"
            " detectors trained on other samples"
        )
    if nulls:
        networks = study.null_models_of(heads=False)
        kinds = "every detector" if networks else "linear heads on fixed features alone"
        said.append(
            f"also trained: {nulls} models on permuted labels, which show what chance gives, for"
            f" {kinds} (budget.null_models)"
        )
    return said


def study_notes(study: Study) -> list[str]:
    """Return what a reader of a study's numbers must know of how it was made; nothing of an
    ordinary one.
    """
    found = []
    if study.order_dependent():
        found.append(
            f"{', '.join(study.order_dependent())}: the search depends on the machine and on which"
            " trial ends first; another run may select other configurations"
        )
    if study.data.face_step:
        found.append(faces_words(study.data.face_step))
    if study.data.unify:
        found.append(
            "unified: both classes were re-encoded alike before training and testing (same size,"
            " same JPEG quality)"
        )
    if study.data.shuffle_labels:
        found.append(
            "null control: the labels of train and val were shuffled before training; any AUC away"
            " from .5 is no skill"
        )
    return found


def few_images_text(n_real: int, n_fake: int) -> str:
    """Say how wide an interval so few test images make; "" where they are enough for a first look,
    and where a class has none.
    """
    if not n_real or not n_fake:
        return ""
    low, high = expected_auc_interval(TYPICAL, n_real, n_fake)
    if low >= TYPICAL - WIDE:
        return ""
    return (
        f"few test images: on {n_real} reals and {n_fake} fakes an AUC of {TYPICAL:.2f} has a 95 %"
        f" interval of about {between(low, high, places=2)}. More images, or data.folds = 5, make"
        " it narrower"
    )


def faces_words(name: str) -> str:
    """Say what the step by which every image becomes its face does."""
    step = STEPS[name]
    turned = ", turned so that the eyes are level" if step.level else ""
    return (
        f"faces: every image became the largest face in it before training and testing ({name}: a"
        f" square of {step.margin} times the longer side of the face{turned}). Images without a"
        " face are left out, and counted as coverage"
    )


def selection_text(
    history: Mapping[Pairing, SearchHistory],
    searches: Mapping[Pairing, PairingSearch],
    winners: Mapping[Pairing, Sequence[float]],
    characters: int,
) -> str:
    """Return what each search selected, a line a pairing: the AUC on source val of the default's
    trial and of the selected one, its settings, how the search went, and the mean AUC of the
    `winners`, which are trained anew with it. A line longer than `characters` is broken.
    """
    lines = ["selected on source val (AUC of the default's trial -> of the selected trial):"]
    width = max(len(pairing.name) for pairing in history)
    for pairing, searched in history.items():
        text = "none: see FAILED"
        if searched.best is not None:
            winner, result = searched.best
            settings = searches[pairing].space.names()
            chosen = ", ".join(
                f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}"
                for k, v in winner.params.items()
                if k in settings
            )
            before = _auc(next((r for t, r in searched.trials if t.number == 0), None))
            text = f"{before} -> {result.val_auc:.3f}  trial {winner.number}  {chosen}"
            text += f"; {course(searched)}" if searched.complete else ""
            if aucs := winners.get(pairing):
                text += (
                    f"; its {counted(len(aucs), 'winner')}, trained anew: mean {fmean(aucs):.3f}"
                )
        lines.append(fold(f"  {pairing.name:<{width}}  {text}", characters, " " * 6))
    return "\n".join(lines)


def _auc(result: TrialResult | None) -> str:
    if result is None:
        return "not run"
    return result.state if result.state == "failed" else f"{result.val_auc:.3f}"


def devices_note(history: Mapping[Pairing, SearchHistory]) -> str:
    """Say where trials ran on several kinds of device: run again on one of them, they would differ
    in their last digits. "" where they did not.
    """
    results = (result for searched in history.values() for _, result in searched.trials)
    kinds = Counter(result.device_kind for result in results if result.device_kind)
    counts = ", ".join(f"{count} on {kind}" for kind, count in sorted(kinds.items()))
    if len(kinds) < 2:
        return ""
    return (
        f"note: trials ran on several kinds of device ({counts}); run again on one kind, some"
        " differ in their last digits"
    )

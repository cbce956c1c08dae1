"""A folder as a hub of models takes it: the files of an exported detector, and a card with the
numbers that the study has of it. Nothing is uploaded.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from study.analysis.results import ResultRow, Results
from study.core.identity import whole_file
from study.core.records import TrainedDetector
from study.detectors import registry
from study.render.numbers import with_interval

UNKNOWN = "unknown"
SHOWN = (("auc", ""), ("balanced_accuracy", "source"))
AUDIT, LEAKS = "marked by the audit", "leaks from training"
LEAK_FREE = "without leaking images"


def write_folder(
    folder: Path,
    models: Sequence[Path],
    stored: Path,
    record: TrainedDetector,
    results: Results,
    *,
    no: Sequence[str],
    preparation: str,
) -> None:
    """Write models, the detector's own files and README.md into a folder. stored: the detector's
    folder in the store. no: sentences that say what a score is not. preparation: what has to be
    done to an image before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*models, *sorted(stored.glob("detector.*"))):
        with whole_file(folder / path.name) as file:
            shutil.copyfile(path, file)
    with whole_file(folder / "README.md") as file:
        file.write_text(card(record, results, no=no, preparation=preparation), encoding="utf-8")


def card(record: TrainedDetector, results: Results, *, no: Sequence[str], preparation: str) -> str:
    """Return README.md: the head that a hub reads, and the text."""
    pairing, spec = record.trial.pairing, record.spec
    mine = _rows(record, results)
    marks = _marks(record, results)
    licence = registry.entry(spec.name).licence or UNKNOWN
    head = ModelCardData(
        license="other",
        license_name=licence,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["fake-image-detection", spec.name],
        model_name=pairing.name,
        eval_results=[_result(row, marks.get(row.test_on, {})) for row in mine],
    )
    lines = [_line(row, marks.get(row.test_on, {})) for row in mine]
    tests = dict.fromkeys(row.test_on for row in mine)
    explained = [
        f"* `{name}` is {mark}: {why}" if mark == AUDIT else f"* `{name}` has {mark}: {why}"
        for name in tests
        for mark, why in marks.get(name, {}).items()
    ]
    weights = f"`{spec.backbone}` ({spec.pretrained})" if spec.backbone else "none"
    of_weights = f"Of the pretrained weights: {licence}. " if spec.backbone else ""
    return "\n".join(
        [
            f"---\n{head.to_yaml()}\n---",
            f"# {pairing.name}\n",
            f"A detector of fake images. It gives an image one logit. Trained on"
            f" `{pairing.train_on}`, seed {record.winner_seed}. Pretrained weights: {weights}.\n",
            "## What a score is not\n",
            *(f"* {line}" for line in no),
            "\n## Use\n",
            "`model.onnx` takes `image`, uint8 RGB (N, height, width, 3) of any size, and gives"
            f" `logit` (N,). Preparation is inside the graph. {preparation}\n",
            "`detector.json` and `detector.safetensors` are the same detector as the study keeps"
            " it.\n",
            "## Results\n",
            "Of this one trained model. Intervals are of 95 %.\n",
            "| test set | domain | metric | value [low, high] | reals | fakes | marks |",
            "|---|---|---|---|---|---|---|",
            *lines,
            "\nA number of a marked test set may be too good:\n" if explained else "",
            *explained,
            "",
            "## Licence\n",
            f"{of_weights}The images that it was trained on have licences of their own. Whoever"
            " publishes this folder has to look at them, and to replace `license` above.",
            "",
        ]
    )


def _rows(record: TrainedDetector, results: Results) -> list[ResultRow]:
    """The numbers of this one model on single, clean images; without those that leak, too."""
    pairing = record.trial.pairing
    return [
        row
        for row in results.every_row
        if row.is_first
        and (row.detector, row.train_on) == (pairing.detector, pairing.train_on)
        and row.seed == str(record.winner_seed)
        and (row.is_plain or row.is_plain_leak_free)
        and row.has_number
        and (row.metric, row.threshold) in SHOWN
    ]


def _marks(record: TrainedDetector, results: Results) -> dict[str, dict[str, str]]:
    """Test set -> what marks the model's numbers on it -> why."""
    found: dict[str, dict[str, str]] = {}
    for name, why in results.warnings().items():
        found.setdefault(name, {})[AUDIT] = why
    for pair in results.pairs:
        if pair.train_on == record.trial.pairing.train_on and pair.leak:
            found.setdefault(pair.test_on, {})[LEAKS] = pair.leak
    return found


def _metric(row: ResultRow) -> str:
    name = f"{row.metric} at {row.threshold}" if row.threshold else row.metric
    return f"{name}, {LEAK_FREE}" if row.leak_free else name


def _line(row: ResultRow, marks: Iterable[str]) -> str:
    """A row of the table of results."""
    found = row.estimate
    counts = f"{found.n_real} | {found.n_fake} | {', '.join(marks)}"
    return f"| {row.test_on} | {row.domain} | {_metric(row)} | {_number(row)} | {counts} |"


def _number(row: ResultRow) -> str:
    found = row.estimate
    return with_interval(found.value, found.low, found.high)


def _result(row: ResultRow, marks: Iterable[str]) -> EvalResult:
    found = row.estimate
    ends = {"low": round(found.low, 6), "high": round(found.high, 6), "confidence": 0.95}
    has_interval = math.isfinite(found.low) and math.isfinite(found.high)
    return EvalResult(
        task_type="image-classification",
        task_name="fake image detection",
        dataset_type=row.test_on,
        dataset_name=f"{row.test_on} ({', '.join([f'{row.domain}-domain', *marks])})",
        dataset_split="test",
        metric_type=row.metric,
        metric_name=_metric(row),
        metric_value=round(found.value, 6),
        metric_args=ends if has_interval else None,
    )

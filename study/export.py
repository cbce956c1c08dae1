"""Export a trained detector of a study as ONNX, and check that it says the same.

    python -m study.export quick

The model takes the pixels of an image of any size: what the detector does to an image is inside.
It is run on the study's test images, and its scores stand beside the stored ones.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study import cli

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.analysis.winners import Winner
    from study.core.records import TrainedDetector
    from study.exporting.agreement import Checked
    from study.planning.open_study import OpenStudy
    from study.store.store import Store

EXAMPLES = """
python -m study.export quick
python -m study.export quick --with "npr @ lab_a" --int8
python -m study.export quick --page node_modules/onnxruntime-web
python -m study.export quick --hf my_detector
"""
FOLDER = "export"
CALIBRATED_ON = 128  # images of source val by which ranges of 8-bit numbers are measured
THRESHOLD = "source"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("export", __doc__, EXAMPLES)
    cli.add_winner_options(parser)
    what = "the format (default, and the only one: onnx)"
    parser.add_argument("--format", choices=["onnx"], default="onnx", help=what)
    what = "also write a model of 8-bit numbers, and say what it lost"
    parser.add_argument("--int8", action="store_true", help=what)
    what = "check on N images of each test set, evenly spread (default: all)"
    parser.add_argument("--images", type=int, metavar="N", help=what)
    what = "also write a page that scores images in a browser. DIR: a copy of npm's package"
    parser.add_argument("--page", type=Path, metavar="DIR", help=f"{what} onnxruntime-web")
    what = "also write a folder for a hub of models: files and a card. Nothing is uploaded"
    parser.add_argument("--hf", type=Path, metavar="DIR", help=what)
    what = "where to write (default: the folder export in the folder of the study)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=what)
    cli.add_place_options(parser)
    cli.add_log_options(parser)
    return export(cli.parse(parser, arguments))


def export(options: argparse.Namespace) -> int:
    """Write the model and check it; return the exit code."""
    from study.core.environment import need_extra
    from study.core.errors import ConfigError

    need_extra("export", ("onnx", "onnxruntime", "onnxscript"))
    if options.images is not None and options.images < 1:
        raise ConfigError(f"--images {options.images} must be at least 1")
    if options.page:
        from study.exporting.page import check_size, runtime_files

        runtime_files(options.page)
    store, winner = cli.stored_winner(options)
    record = store.model(winner.model)
    _refuse(record, options)
    opened = cli.open_stored(store, options)
    name = f"{winner.pairing.detector}-{winner.pairing.train_on}-seed{winner.seed}"
    folder = options.out or store.folder / FOLDER / name.replace(":", "_").replace("/", "_")
    models = _write_models(opened, winner, record, folder, options)
    if options.page:
        check_size(models["fp32"])
    from study.exporting.agreement import check_models

    checked = check_models(
        opened, winner.model, models, most=options.images, progress=cli.show_progress
    )
    _write_check(folder / "check.json", checked, models)
    print(f"{winner.name}\n" + (f"  taken because it has {winner.how}\n" if winner.how else ""))
    print(_table(checked, models))
    for line in _beside(opened, winner, record, folder, list(models.values()), options):
        print(line)
    exact = [one for one in checked.agreements if one.model == "fp32"]
    if all(one.agrees for one in exact):
        return cli.DONE
    cli.LOG.error("the model does not say what the detector says: do not use it")
    return cli.SOME_FAILED


def _refuse(record: TrainedDetector, options: argparse.Namespace) -> None:
    """Raise ConfigError for what cannot be exported, before anything is done."""
    from study.core.errors import ConfigError

    name = record.trial.pairing.name
    if record.members:
        raise ConfigError(
            f"'{name}' is an ensemble and has no network: export its members"
            f" ({', '.join(name for name, _ in record.members)})"
        )
    unified = int(record.provenance.get("unified_px", 0))
    if options.page and (step := record.provenance.get("faces", "")):
        raise ConfigError(
            f"--page: the images of this study are faces, cut out by {step}, and a page finds none;"
            " export a detector of a study without data.faces"
        )
    if unified and options.page:
        raise ConfigError(
            f"--page: the images of this study are unified to {unified} px, by way of a JPEG,"
            " before a detector sees them, and a browser makes another JPEG; export a detector of a"
            " study without data.unify"
        )


def _write_models(
    opened: OpenStudy,
    winner: Winner,
    record: TrainedDetector,
    folder: Path,
    options: argparse.Namespace,
) -> dict[str, Path]:
    """Write the model, and that of 8-bit numbers; return them by name."""
    from study.core import live
    from study.core.errors import ConfigError
    from study.core.identity import whole_file
    from study.exporting.onnx_model import onnx_model
    from study.jobs.cell import stored_detector

    live.show("writing the model")
    detector = stored_detector(opened.store, winner.model)
    if options.int8 and not detector.body_stages():
        raise ConfigError(
            f"--int8: {record.spec.name} has no weights but its head's: nothing becomes smaller"
        )
    models = {"fp32": folder / "model.onnx"}
    with whole_file(models["fp32"]) as file:
        file.write_bytes(
            onnx_model(detector, _about(opened.store, winner, record)).SerializeToString()
        )
    if options.int8:
        from study.exporting.onnx_scorer import to_int8

        live.show("making 8-bit numbers")
        models["int8"] = folder / "model.int8.onnx"
        shown = _source_val(opened, record) if detector.channels_last else None
        to_int8(models["fp32"], models["int8"], shown)
    live.clear()
    return models


def _about(store: Store, winner: Winner, record: TrainedDetector) -> dict[str, str]:
    """What the model says of itself, in its metadata."""
    cut = record.thresholds.get(THRESHOLD, math.nan)
    return {
        "study": store.folder.name,
        "detector": winner.pairing.detector,
        "train_on": winner.pairing.train_on,
        "seed": str(winner.seed),
        "key": record.key,
        "faces": record.provenance.get("faces", ""),
        "unified_px": str(record.provenance.get("unified_px", 0)),
        "threshold_source": repr(cut),
        "temperature": repr(record.temperature),
        "meaning": "logit of an image: higher is more fake. No verdict, and no proof",
    }


def _source_val(opened: OpenStudy, record: TrainedDetector) -> Iterator[NDArray[np.uint8]]:
    """Images of the training set's val split, evenly spread. Raises ConfigError where there is
    none.
    """
    import numpy as np

    from study.core.errors import ConfigError
    from study.core.records import is_given

    if is_given(record.trial.pairing.train_on):
        raise ConfigError(
            f"--int8: {record.spec.name} is made of convolutions, whose ranges are measured on"
            " source val, and it was not trained here"
        )
    images = opened.workspace.catalog.originals(record.trial.pairing.train_on, "val")
    count = min(CALIBRATED_ON, len(images))
    index = np.unique(np.linspace(0, len(images) - 1, count).round().astype(np.int64))
    return (read() for read in images.readers(index))


def _write_check(path: Path, checked: Checked, models: dict[str, Path]) -> None:
    from platform import machine

    from study.core.identity import whole_file
    from study.render.numbers import json_number

    rows = [
        {
            "model": one.model,
            "test_on": one.test_on,
            "images": one.images,
            "largest_difference": json_number(one.largest),
            "auc_before": json_number(one.before),
            "auc_after": json_number(one.after),
            "change": {k: json_number(getattr(one.change, k)) for k in ("value", "low", "high")},
        }
        for one in checked.agreements
    ]
    table: dict[str, Any] = {
        "tolerance": checked.agreements[0].tolerance,
        "bytes": {name: path.stat().st_size for name, path in models.items()},
        "milliseconds_an_image": dict(checked.milliseconds),
        "timed": {"images": dict(checked.runs), "threads": checked.threads, "machine": machine()},
        "test_sets": rows,
    }
    with whole_file(path) as file:
        file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _table(checked: Checked, models: dict[str, Path]) -> str:
    """What was found, for a terminal."""
    from study.render.table import Column, table, text

    columns: list[str | Column] = [
        *("model", "test set", Column("images", "count"), Column("largest", "text")),
        *(Column("AUC before", "number", places=4), Column("after", "number", places=4)),
        Column("change", "interval", signed=True),
    ]
    rows = []
    for one in checked.agreements:
        change = (one.change.value, one.change.low, one.change.high)
        aucs = one.before, one.after
        rows.append((one.model, one.test_on, one.images, f"{one.largest:.1e}", *aucs, change))
    lines = [text(table(columns, rows)), ""]
    lines.append(
        f"largest: difference of two logits (of their size, above 1); fp32 must be within"
        f" {checked.agreements[0].tolerance:g}"
    )
    return "\n".join([*lines, *_times(checked, models)])


def _times(checked: Checked, models: dict[str, Path]) -> Iterator[str]:
    """How large and how fast each model is, and how that was measured."""
    from study.render.numbers import counted

    times, of_images = checked.milliseconds, counted(checked.runs["fp32"], "image")
    for name, path in models.items():
        share = "" if name == "fp32" else f", {times[name] / times['fp32']:.2f} of fp32's time"
        size = path.stat().st_size / 1e6
        yield f"{name}: {path} ({size:.1f} MB, {times[name]:.2f} ms an image{share})"
    yield (
        f"times: on this machine, {counted(checked.threads, 'thread')}, one image at a time, median"
        f" over {of_images}; the study's own code takes {times['study']:.2f} ms"
        f" ({counted(checked.runs['study'], 'image')})"
    )


def _beside(
    opened: OpenStudy,
    winner: Winner,
    record: TrainedDetector,
    folder: Path,
    models: Sequence[Path],
    options: argparse.Namespace,
) -> Iterator[str]:
    """Write the page and the folder that were asked for; yield where they are."""
    no = _what_it_is_not(opened.store, winner, record)
    unified = int(record.provenance.get("unified_px", 0))
    step = record.provenance.get("faces", "")
    steps = [f"become their largest face by {step} (data.faces)"] if step else []
    steps += [f"be unified to {unified} px (data.unify)"] if unified else []
    before = (
        f"Images have to {', then '.join(steps)} before, as the study's were."
        if steps
        else "Nothing has to be done to an image before but decoding it."
    )
    yield before
    if options.page:
        from study.exporting.page import write_page

        cut = record.thresholds.get(THRESHOLD, math.nan)
        trained = math.isfinite(cut)
        about = {
            "threshold": cut if trained else 0.0,
            "threshold_name": THRESHOLD if trained else "fixed",
            "temperature": record.temperature if trained else None,
            "train_on": winner.pairing.train_on,
        }
        path = folder / "page.html"
        write_page(path, models[0], options.page, winner.name, about, no)
        yield f"page: {path} ({path.stat().st_size / 1e6:.1f} MB; it opens without a network)"
    if options.hf:
        from study.analysis.results_csv import read_results
        from study.exporting.card import write_folder

        stored = opened.store.model_folder(winner.model)
        results = read_results(opened.store.folder)
        write_folder(options.hf, models, stored, record, results, no=no, preparation=before)
        yield f"folder for a hub: {options.hf}; nothing was uploaded"


def _what_it_is_not(store: Store, winner: Winner, record: TrainedDetector) -> list[str]:
    """What a score is not, in sentences, with how often the threshold is wrong on real images."""
    from study.analysis.predictions import rule_of
    from study.render.predictions import NO_PROOF

    trained = not math.isnan(record.temperature)
    name = THRESHOLD if trained else "fixed"
    rates = [
        f"At the threshold '{name}', {one.rate:.0%} of real images of {one.where} are called fake"
        f" [{one.low:.0%}, {one.high:.0%}; {one.n_real} images]."
        for one in rule_of(store, record, winner, name, "image").rates
        if math.isfinite(one.rate)
    ]
    return [
        "No proof. " + NO_PROOF.replace("the rates above say", "the rates below say"),
        "No probability that holds elsewhere: it was calibrated on images like"
        f" {winner.pairing.train_on}."
        if trained
        else "No probability: the detector was not trained, and nothing calibrated it.",
        "No statement on other images: of another camera, generator, size or compression the score"
        " may say nothing.",
        *rates,
    ]


if __name__ == "__main__":
    cli.run(main)

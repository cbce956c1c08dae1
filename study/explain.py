"""Show where in images a trained detector looks, and whether that depends on what it learned.

    python -m study.explain quick photo.jpg --out maps

Grad-CAM for networks of convolutions and transformers, attention rollout for the latter as well.
Pictures are written into the folder that is named, and nowhere else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study import cli

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.analysis.winners import Winner
    from study.detectors.base import Detector
    from study.store.store import Store

EXAMPLES = """
python -m study.explain quick photo.jpg --out maps
python -m study.explain quick --with "npr @ lab_a" --test-on lab_b --worst 12 --out maps
"""
OF_EACH_CLASS = 32  # images of a test set that mean maps are made of
MOST = 200  # rows of a sheet: a picture ends at 65,536 pixels
CLASSES = {0: "real", 1: "fake"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("explain", __doc__, EXAMPLES)
    cli.add_winner_options(parser)
    what = "files, folders or globs in quotes"
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=what)
    what = "images of a test set: the worst errors, and mean maps of each class"
    parser.add_argument("--test-on", default="", metavar="DATASET", help=what)
    what = "with --test-on: how many of the worst errors (default: 12)"
    parser.add_argument("--worst", type=int, default=12, metavar="N", help=what)
    what = "the folder that pictures are written into"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=what)
    cli.add_place_options(parser)
    cli.add_log_options(parser)
    return explain(cli.parse(parser, arguments))


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """Images to explain: names, and pixels as decoded (and prepared). labels: None for images of
    which no class is known.
    """

    names: list[str]
    pixels: list[NDArray[np.uint8]]
    labels: list[int] | None = None

    def titles(self, logits: NDArray[np.float64]) -> list[str]:
        """What stands over each image."""
        classes = [CLASSES[label] for label in self.labels] if self.labels else None
        said = [f", {one}" for one in classes] if classes else [""] * len(self.names)
        each = zip(self.names, said, logits, strict=True)
        return [f"{name[-32:]}{of}\nlogit {logit:.2f}" for name, of, logit in each]


def explain(options: argparse.Namespace) -> int:
    """Write the maps and say what they are worth; return the exit code."""
    from study.core.environment import need_extra
    from study.core.errors import ConfigError
    from study.core.identity import whole_file
    from study.jobs.cell import stored_detector

    need_extra("explain", ("pytorch_grad_cam",))
    if bool(options.images) == bool(options.test_on):
        raise ConfigError("give images, or --test-on DATASET: one of the two")
    if not 1 <= options.worst <= MOST:
        raise ConfigError(f"--worst {options.worst} must be from 1 to {MOST}")
    store, winner = cli.stored_winner(options)
    record = store.model(winner.model)
    if record.members:
        raise ConfigError(f"'{winner.pairing.name}' is an ensemble: explain its members")
    detector = stored_detector(store, winner.model)
    print(f"{winner.name}\n" + (f"  taken because it has {winner.how}\n" if winner.how else ""))
    said: dict[str, Any] = {"study": store.folder.name, "winner": winner.name}
    if options.images:
        shown = _given(options, store, winner)
    else:
        shown, every = _of_test_set(options, store, winner)
        said["mean_of"] = _write_means(detector, every, options.out)
    said |= _write_sheet(detector, shown, options.out)
    with whole_file(options.out / "maps.json") as file:
        file.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    means = "mean_maps.png, " if options.test_on else ""
    print(f"files: maps.json, {means}sheet.png in {options.out}")
    return cli.DONE


def _given(options: argparse.Namespace, store: Store, winner: Winner) -> _Shown:
    """The images that were named; those that cannot be read are said."""
    from study.core.errors import ConfigError, DataError
    from study.data.given_images import find_images
    from study.data.images.videos import load_image
    from study.jobs.score_images import as_studied

    record = store.model(winner.model)
    given = find_images(options.images, cache=store.results / "cache", frames_per_video=4)
    if len(given.images) > MOST:
        raise ConfigError(
            f"{len(given.images)} images are too many for a sheet; give {MOST} at most"
        )
    names, pixels = [], []
    for name, path in given.images:
        try:
            one = as_studied(load_image(path), record)
        except DataError as error:
            cli.LOG.warning(f"REFUSED {name}: {error}")
            continue
        names.append(name)
        pixels.append(one)
    for name, reason in given.refused:
        cli.LOG.warning(f"REFUSED {name}: {reason}")
    if not names:
        raise DataError("none of the images can be read")
    return _Shown(names=names, pixels=pixels)


def _of_test_set(
    options: argparse.Namespace, store: Store, winner: Winner
) -> tuple[_Shown, _Shown]:
    """The images of a test set that the winner is most wrong on, and some of each class, evenly
    spread. Raises ConfigError for a test set that it is not scored on.
    """
    import numpy as np

    from study.analysis.cells_csv import read_cells
    from study.core.errors import ConfigError, DataError, unknown_name
    from study.core.records import NO_DEGRADATION

    cells = {
        cell.test_on: cell.scores
        for cell in read_cells(store.folder / "cells.csv")
        if (cell.model, cell.degradation, cell.state) == (winner.model, NO_DEGRADATION, "done")
    }
    if options.test_on not in cells:
        raise ConfigError(unknown_name("test set of this winner", options.test_on, cells))
    scores = store.scores(cells[options.test_on])
    images = cli.open_stored(store, options).workspace.catalog.originals(options.test_on, "test")
    if not np.array_equal(images.sample_id, scores.sample_id):
        raise DataError(
            f"the test images of '{options.test_on}' are not those that the study scored; put them"
            " back, or run cross_eval again"
        )
    wrong = np.where(scores.label == 1, -scores.logit, scores.logit)
    worst = np.argsort(-wrong, kind="stable")[: options.worst]
    evenly = [
        of[np.unique(np.linspace(0, len(of) - 1, OF_EACH_CLASS).round().astype(int))]
        for of in (np.flatnonzero(scores.label == label) for label in CLASSES)
        if len(of)
    ]

    def read(index: NDArray[np.intp]) -> _Shown:
        return _Shown(
            names=images.sample_id[index].tolist(),
            pixels=[images.read(int(at)) for at in index],
            labels=scores.label[index].tolist(),
        )

    return read(worst), read(np.concatenate(evenly))


def _squares(detector: Detector, shown: _Shown) -> NDArray[np.uint8]:
    import numpy as np

    from study.data.images.geometry import fit_geometry

    return np.stack([fit_geometry(one, detector.spec.geometry) for one in shown.pixels])


def _write_sheet(detector: Detector, shown: _Shown, out: Path) -> dict[str, Any]:
    """Write the sheet, and say how much of the maps is left when the weights are in random
    order.
    """
    import numpy as np
    import torch

    from study.explaining import maps
    from study.render.figures.maps import write_sheet

    squares = _squares(detector, shown)
    found = maps.explain(detector, squares)
    with torch.no_grad():
        prepared = detector.prepare(torch.from_numpy(squares))
        logits = detector(prepared).numpy().astype(np.float64)
    write_sheet(out / "sheet.png", squares, found, shown.titles(logits))
    other = maps.explain(maps.randomised(detector), squares)
    checks = {}
    for method, of in found.items():
        alike = maps.rank_correlations(of, other[method])
        known = alike[np.isfinite(alike)]
        checks[method] = {
            "mean": float(known.mean()) if len(known) else None,
            "largest": float(known.max()) if len(known) else None,
            "images": len(alike),
            "constant": int(np.isnan(alike).sum()),
        }
        _say(method, checks[method])
    images = [
        {"name": name, "logit": float(logit)}
        for name, logit in zip(shown.names, logits, strict=True)
    ]
    return {"images": images, "rank_correlation_with_random_weights": checks}


def _say(method: str, check: Mapping[str, Any]) -> None:
    """Print what the comparison with random weights came to."""
    if check["mean"] is None:
        print(f"{method}: every map is empty, no place speaks for what the detector says")
        return
    kept = "as little as it should" if check["mean"] < 0.5 else "much: the map shows the image more"
    kept += "" if check["mean"] < 0.5 else " than what was learned, so do not read it"
    empty = f" ({check['constant']} maps are empty)" if check["constant"] else ""
    print(
        f"{method}: with weights in random order the maps of {check['images']} images correlate"
        f" by {check['mean']:.2f} on average, {check['largest']:.2f} at most{empty}: {kept}"
    )
    if method == "attention rollout":
        print("  it shows what attention reaches, whatever the head makes of it")


def _write_means(detector: Detector, every: _Shown, out: Path) -> dict[str, int]:
    """Write the mean map of each class; return how many images each is of."""
    import numpy as np

    from study.explaining import maps
    from study.render.figures.maps import write_means

    found = maps.explain(detector, _squares(detector, every))
    labels = np.array(every.labels)
    of_class = {name: labels == label for label, name in CLASSES.items() if (labels == label).any()}
    means = {
        name: {method: of[rows].mean(axis=0) for method, of in found.items()}
        for name, rows in of_class.items()
    }
    write_means(out / "mean_maps.png", means)
    return {name: int(rows.sum()) for name, rows in of_class.items()}


if __name__ == "__main__":
    cli.run(main)

"""Score new images with a trained detector of a study: logit, probability, verdict.

    python -m study.predict quick photo.jpg shots/

It applies what the study applied, and says how often its threshold is wrong on real images. A
verdict that a resized or re-encoded copy does not get is `unsure`, and so is that of a video with
which more than half of its frames disagree.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from study import cli

EXAMPLES = """
python -m study.predict quick photo.jpg
python -m study.predict quick shots/ 'more/*.png' --with "npr @ lab_a" --threshold source_fpr5
python -m study.predict my_study clip.mp4 --frames 16 --csv predictions.csv
python -m study.predict my_study https://example.org/photo.jpg --json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("predict", __doc__, EXAMPLES)
    cli.add_winner_options(parser)
    what = "files, folders, globs in quotes, videos or URLs"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=what)
    what = "the threshold of the verdict: fixed, source, source_fpr1, source_fpr5 (default: source,"
    what += " and fixed for a detector that is not trained)"
    parser.add_argument("--threshold", default="", metavar="NAME", help=what)
    what = "of a study with data.unify: the dataset whose size images get (default: training set)"
    parser.add_argument("--prepare-as", default="", metavar="DATASET", help=what)
    what = "frames taken of a video, evenly (default: as many as the study took)"
    parser.add_argument("--frames", type=int, metavar="N", help=what)
    what = "write a line per image to a file"
    parser.add_argument("--csv", metavar="FILE", help=what)
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    what = "where the store is kept, or the URL of that (default: results)"
    parser.add_argument("--results", default="results", metavar="DIR", help=what)
    cli.add_log_options(parser)
    options = cli.parse(parser, arguments)
    return predict(options)


def predict(options: argparse.Namespace) -> int:
    """Score the images and print what is found; return the exit code."""
    from study.analysis import predictions
    from study.analysis.winners import find_winner
    from study.core.errors import ConfigError
    from study.core.identity import whole_file
    from study.core.paths import given_path
    from study.data.given_images import find_images
    from study.render.predictions import as_csv, as_json, as_text

    folder = cli.study_folder(options, "cells.csv", "cross_eval writes them")
    winner = find_winner(folder, options.winner, options.seed)
    if options.frames is not None and options.frames < 1:
        raise ConfigError(f"--frames {options.frames} must be at least 1")
    given = find_images(
        options.images,
        cache=folder.parent / "cache",
        frames_per_video=options.frames or _frames(folder),
    )
    found = predictions.predict(
        winner,
        given.images,
        threshold=options.threshold,
        prepared_as=options.prepare_as,
        refused=given.refused,
        progress=cli.show_progress,
    )
    if options.csv:
        with whole_file(given_path(options.csv)) as file:
            file.write_text(as_csv(found), encoding="utf-8")
    print(as_json(found) if options.json else as_text(found), end="" if options.json else "\n")
    if options.csv and not options.json:
        print(f"\npredictions: {options.csv}")
    return cli.SOME_FAILED if found.refused else cli.DONE


def _frames(folder: Path) -> int:
    """How many frames the study took of a video."""
    from study.core.validation import read_toml

    study = read_toml((folder / "study.toml").read_text(encoding="utf-8"))
    return int(study["data"]["frames_per_video"])


if __name__ == "__main__":
    cli.run(main)

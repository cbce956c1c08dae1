"""Compute every metric and interval for anybody's predictions, from a CSV file.

    python -m study.score predictions.csv

The file has a label and a score per image. The same metrics, intervals and undefined cases as in
the matrix.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from study import cli

EXAMPLES = """
python -m study.score predictions.csv
python -m study.score predictions.csv --label is_fake --score p_fake --probability --group video
python -m study.score predictions.csv --json > numbers.json
python -m study.score predictions.csv --fake-label 0
python -m study.score frames.csv --group-by-folder
"""
COLUMNS = ("label", "score", "group", "method")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("score", __doc__, EXAMPLES)
    parser.add_argument(
        "file", metavar="FILE.csv", help="one line an image, after a line with the columns' names"
    )
    parser.add_argument("--label", metavar="COLUMN", help="0 or real, 1 or fake (default: label)")
    parser.add_argument(
        "--score", metavar="COLUMN", help="a logit, higher = more fake (default: score)"
    )
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument(
        "--group",
        metavar="COLUMN",
        help="images that belong together: a video, a person (default: group, if there)",
    )
    groups.add_argument(
        "--group-by-folder",
        action="store_true",
        help="images in one folder, by the column of paths, belong together",
    )
    parser.add_argument(
        "--method", metavar="COLUMN", help="what made the image (default: method, if there)"
    )
    cli.add_unit_options(parser)
    parser.add_argument(
        "--fake-label",
        default="",
        metavar="VALUE",
        help="the value of the label that means fake. Its other value then means real",
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    print(score(cli.parse(parser, arguments)))
    return cli.DONE


def score(options: argparse.Namespace) -> str:
    """Return the numbers of a file as text or JSON. Raises DataError."""
    from study.analysis.scored_file import score_file
    from study.data.predictions import read_predictions
    from study.render.scored_file import as_json, as_text

    columns = {
        name: getattr(options, name) for name in COLUMNS if getattr(options, name) is not None
    }
    read = read_predictions(
        Path(options.file),
        columns,
        unit=options.unit,
        fake_label=options.fake_label,
        higher_is_real=options.higher_is_real,
        by_folder=options.group_by_folder,
    )
    found = score_file(options.file, read)
    return as_json(found) if options.json else as_text(found)


if __name__ == "__main__":
    cli.run(main)

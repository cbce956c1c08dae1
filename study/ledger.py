"""Hold what authors of published detectors claim against what a study has.

    python -m study.ledger my_study

A claim is reproduced or not only on its own test: the same weights, images, preprocessing, metric
and threshold. Else it is untestable here, which says why, and the study's numbers stand beside it.
Reads results alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from study import cli

EXAMPLES = """
python -m study.ledger my_study
python -m study.ledger my_study --json
python -m study.ledger results/my_study --model-card
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("ledger", __doc__, EXAMPLES)
    parser.add_argument(
        "study", metavar="STUDY", help="a study's name, its file, or the folder of its results"
    )
    what = "where the store is kept, or the URL of that (default: results)"
    parser.add_argument("--results", default="results", metavar="DIR", help=what)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument(
        "--model-card",
        action="store_true",
        help="print the evaluation results of a Hugging Face model card (model-index, YAML)",
    )
    options = cli.parse(parser, arguments)
    from study.analysis.ledger import read_ledger
    from study.render.ledger import as_json, as_text, model_cards

    folder = cli.study_folder(options, "cells.csv", "cross_eval writes them")
    found = read_ledger(folder)
    if options.json or options.model_card:
        print(as_json(found) if options.json else model_cards(found), end="")
    else:
        print(as_text(found))
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)

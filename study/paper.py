"""Draw a study's figures for a paper, as PDF, SVG and PNG. Write its tables as LaTeX and Markdown.

    python -m study.paper quick

Nothing is trained or scored. Everything goes into results/<study>/paper/. Lines have colours that
the colour-blind tell apart, numbers stand beside them, and bold stands only where a difference is
more than noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study import cli

EXAMPLES = """
python -m study.paper quick
python -m study.paper my_study.toml --formats pdf --style lab.mplstyle
python -m study.paper my_study.toml --out ~/paper/figures
"""
FOLDER = "paper"
FORMATS = ("pdf", "svg", "png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("paper", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_log_options(parser)
    what = "of the figures (default: pdf svg png)"
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS, help=what)
    what = "settings of matplotlib, as a file (fonts, sizes of letters, widths of lines)"
    parser.add_argument("--style", metavar="FILE.mplstyle", type=Path, help=what)
    what = "where to write (default: the folder paper in the folder of the study)"
    parser.add_argument("--out", metavar="DIR", type=Path, help=what)
    options = cli.parse(parser, arguments)
    from study.analysis.cell_curves import cell_curves
    from study.analysis.search_curves import epoch_points
    from study.core.errors import ConfigError
    from study.render.figures.paper import Paper, write_paper
    from study.report import MOST_CURVES, analysed

    if options.style and not options.style.is_file():
        raise ConfigError(f"--style {options.style}: there is no such file")
    with analysed(options) as (opened, found, cells, history):
        plain = [planned.cell for planned in cells]
        paper = Paper(
            results=found.results,
            comparisons=found.comparisons,
            robustness=found.robustness,
            curves=cell_curves(found.scores, plain, MOST_CURVES),
            epochs=epoch_points(history),
            later=found.choices.later,
        )
        folder = options.out or opened.store.folder / FOLDER
        files = write_paper(paper, folder, options.formats, options.style)
    print(f"{len(files)} files in {folder}: {', '.join(dict.fromkeys(f.stem for f in files))}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)

"""Write a study as one page of HTML, with charts and a heat map to click, that can be sent around.

    python -m study.report quick

Nothing is trained or scored: the page is made of what the store has. cross_eval writes it too. The
page fetches nothing, so it opens without a network. No image is in it but with --images.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.analysis.analyses import Analyses
    from study.core.records import Pairing
    from study.planning.cells import PlannedCell
    from study.planning.open_study import OpenStudy
    from study.planning.selection import SearchHistory
    from study.render.report.page import Report

EXAMPLES = """
python -m study.report quick
python -m study.report my_study.toml --results ~/results --out my_study.html
python -m study.report results/tracked/unfreezing --out unfreezing.html
"""
REPORT = "report.html"
TEXTS = ("comparisons.md", "tables.md", "controls.md", "tuning.md")
MOST_CURVES = 512  # cells whose curves are on a page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("report", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_log_options(parser)
    what = "where to write the page (default: report.html in the folder of the study)"
    parser.add_argument("--out", metavar="FILE.html", help=what)
    what = "put small pictures of the worst errors into the page, at most 12 a cell (2 MB)"
    parser.add_argument("--images", action="store_true", help=what)
    options = cli.parse(parser, arguments)
    folder = Path(options.study)
    path = report_on_tables(folder, options) if _has_tables(options) else report_on(options)
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return cli.DONE


def _has_tables(options: argparse.Namespace) -> bool:
    """Whether a folder of tables is meant, and no study. Raises ConfigError for the folder of a
    study with scores: a page of its tables would take the place of the whole one.
    """
    from study.core.errors import ConfigError

    folder = Path(options.study)
    is_name = folder.name == options.study and (cli.results_folder(options) / folder).is_dir()
    if not folder.is_dir() or is_name:
        return False
    if (folder / "scores").is_dir() and not options.out:
        whole = folder.resolve()
        command = f"python -m study.report {shlex.quote(whole.name)}"
        raise ConfigError(
            f"'{folder}' is the folder of a study with its scores: make its whole page with"
            f" {command} --results {shlex.quote(str(whole.parent))}, or give --out"
            " FILE.html for one of its tables alone"
        )
    return True


def report_on(options: argparse.Namespace) -> Path:
    """Write the page of a study; return it. Raises StoreError where nothing of it is scored."""
    from study.planning.repeats import repeats_note
    from study.render.study_text import study_notes

    with analysed(options) as (opened, found, cells, history):
        path = Path(options.out) if options.out else opened.store.folder / REPORT
        notes = [note for note in (repeats_note(opened), *study_notes(opened.study)) if note]
        return write_report(opened, options, found, cells, history, notes, path)


@contextlib.contextmanager
def analysed(
    options: argparse.Namespace,
) -> Iterator[tuple[OpenStudy, Analyses, Sequence[PlannedCell], Mapping[Pairing, SearchHistory]]]:
    """Open a study, and derive everything of what the store has of the cells of its last matrix;
    nothing is scored. Raises StoreError where there is no matrix.
    """
    from study.analysis.analyses import analyse
    from study.analysis.external import external_cells
    from study.analysis.leak_price import kept_epochs
    from study.analysis.repeats import stored_repeats
    from study.analysis.results_csv import degradations_in
    from study.audit import write_audit
    from study.core import live
    from study.core.errors import StoreError
    from study.planning.cells import plan_cells
    from study.planning.searches import replay
    from study.planning.study_file import load_study, to_toml
    from study.planning.variants import draw_cells, variant_cells, variants

    options.study = _named_run(options)
    study = load_study(options.study, options.set)
    matrix = cli.results_folder(options, study) / study.name / "matrix.csv"
    if not matrix.is_file():
        raise StoreError(f"there is no '{matrix}'; first run: {cli.again(options, 'cross_eval')}")
    options.degradations = degradations_in(matrix) or None
    opened = cli.open_study(options, firewall=False)
    ran = opened.store.study_file
    if ran.is_file() and ran.read_text(encoding="utf-8") != to_toml(opened.study):
        cli.LOG.warning(
            "warning: the study was last run with other settings than these, so what is made here"
            f" may differ from its matrix.csv; its own settings are those of '{ran}'"
        )
    with opened.store.lock():
        history = replay(opened)
        cells = plan_cells(opened, history)
        tried = variant_cells(opened.jobs, variants(opened.jobs, history))
        drawn = [job for job in draw_cells(opened.jobs, history) if job.is_done()]
        epochs = [one for one in kept_epochs(opened, cells) if one.job.is_done()]
        cells += external_cells(opened)
        live.show("computing numbers and intervals")
        audit, again = write_audit(opened), stored_repeats(opened)
        found = analyse(opened, cells, tried, epochs, drawn, audit, history, again)
        live.clear()
        yield opened, found, cells, history


def _named_run(options: argparse.Namespace) -> str:
    """Return the study that is given; where it is the name of a run that no preset has, the file in
    its folder of results.
    """
    from study.planning.study_file import preset_names

    ran = cli.results_folder(options) / options.study / "study.toml"
    is_name = Path(options.study).name == options.study and not options.study.endswith(".toml")
    is_run = is_name and options.study not in preset_names() and ran.is_file()
    return str(ran) if is_run else options.study


def report_on_tables(folder: Path, options: argparse.Namespace) -> Path:
    """Write the page of a folder that has the tables of a study and no scores; return it. Raises
    StoreError where there is no matrix.csv.
    """
    from study.analysis.results_csv import read_results
    from study.render.report.page import Report, write_page
    from study.tracking.descriptions import answer_in

    results = read_results(folder)
    files = [folder / name for name in TEXTS if (folder / name).is_file()]
    texts = [file.read_text(encoding="utf-8") for file in files]
    report = Report(
        name=folder.resolve().name,
        results=results,
        answer="\n".join(answer_in(texts[0])) if texts else "",
        texts=texts,
        provenance=[
            ("made of", "the tables alone: curves and searches are not among them"),
            *_written(folder),
        ],
    )
    path = Path(options.out) if options.out else folder / REPORT
    return write_page(report, path, cli.results_folder(options) / "cache")


def write_report(
    opened: OpenStudy,
    options: argparse.Namespace,
    found: Analyses,
    cells: Sequence[PlannedCell],
    history: Mapping[Pairing, SearchHistory],
    notes: Sequence[str],
    path: Path,
) -> Path:
    """Write the page of a study whose tables are made; return it. Raises StoreError."""
    from study.render.report.page import write_page

    report = _report(opened, options, found, cells, history, notes)
    return write_page(report, path, opened.workspace.data.cache)


def _report(
    opened: OpenStudy,
    options: argparse.Namespace,
    found: Analyses,
    cells: Sequence[PlannedCell],
    history: Mapping[Pairing, SearchHistory],
    notes: Sequence[str],
) -> Report:
    from study.analysis.cell_curves import cell_curves
    from study.analysis.ledger import read_ledger
    from study.analysis.search_curves import epoch_points, trial_points
    from study.analysis.thumbnails import thumbnails
    from study.render.answer import answer
    from study.render.cell_files import PREDICTIONS
    from study.render.comparisons import comparisons_markdown
    from study.render.controls import controls_lines, controls_markdown
    from study.render.files import tables_text
    from study.render.report.page import Report
    from study.render.tuning import tuning_markdown

    plain = [planned.cell for planned in cells]
    curves = cell_curves(found.scores, plain, MOST_CURVES)
    shown = getattr(options, "images", False)  # an option of this command alone
    flags, contrasts = found.results.flags, found.choices.contrasts
    said = [*answer(found.comparisons, flags).splitlines()[1:], *controls_lines(found.controls)]
    return Report(
        name=opened.study.name,
        results=found.results,
        answer="\n".join(said),
        texts=(
            comparisons_markdown(found.comparisons, flags),
            tables_text(
                found.results,
                found.choices,
                found.robustness,
                read_ledger(opened.store.folder),
                notes,
            ),
            controls_markdown(found.controls),
            tuning_markdown(contrasts) if contrasts else "",
        ),
        comparisons=found.comparisons,
        robustness=found.robustness,
        later=found.choices.later,
        deliveries=found.choices.deliveries,
        contrasts=contrasts,
        evidence=found.choices.evidence,
        curves=curves,
        images=thumbnails(opened.workspace.catalog, curves) if shown else {},
        importances=_importances(opened),
        trials=trial_points(history),
        epochs=epoch_points(history),
        provenance=_provenance(opened, options, cells),
        again=f"{cli.again(options, 'cross_eval')} --predictions-csv",
        predictions=str(Path(options.results) / opened.study.name / PREDICTIONS),
    )


def _importances(opened: OpenStudy) -> list[tuple[str, str]]:
    """Which settings mattered in each search, the first first, as search.json says; why that is not
    known, where it is not.
    """
    import json

    path = opened.store.folder / "search.json"
    if not path.is_file():
        return []
    found = []
    for name, searched in json.loads(path.read_text(encoding="utf-8"))["pairings"].items():
        shares = sorted((searched["importances"] or {}).items(), key=lambda one: -one[1])
        words = "; ".join(f"{setting} {share:.2f}" for setting, share in shares)
        found.append((name, words or searched["importances_reason"]))
    return found


def _provenance(
    opened: OpenStudy, options: argparse.Namespace, cells: Sequence[PlannedCell]
) -> list[tuple[str, str]]:
    """What the numbers were made of: commands, versions, digests, seeds."""
    from study.planning.cells import test_content
    from study.planning.frozen import frozen_line
    from study.planning.study_file import to_toml

    study = opened.study
    winners = {one.winner.key: one.winner for one in cells if one.winner is not None}
    made_by = {
        f"{name} {what}"
        for one in winners.values()
        for name, what in one.provenance.items()
        if what and name != "made"  # the time, of which every winner has its own
    }
    tests = dict.fromkeys(one.cell.test_on for one in cells)
    weights = {name: spec.weights for name, spec in opened.keys.specs.items() if spec.weights}
    seeds = f"study {study.seed}; {study.budget.seeds} winners a pairing"
    return [
        ("frozen plan", frozen_line(opened) or "none: no plan was frozen (study.plan --freeze)"),
        *_written(opened.store.folder),
        ("sweep", cli.again(options, "sweep")),
        ("matrix", cli.again(options, "cross_eval")),
        ("winners were made by", "; ".join(sorted(made_by)) or "none"),
        ("seeds", seeds),
        *((f"train and val of {name}", digest) for name, digest in opened.keys.data.items()),
        *((f"test split of {name}", test_content(opened, name)) for name in tests),
        *((f"weights of {name}", digest) for name, digest in weights.items()),
        *(
            (f"{one.trial.pairing.name}, seed {one.winner_seed}", key)
            for key, one in winners.items()
        ),
        ("the study, every setting written out", to_toml(study)),
    ]


def _written(folder: Path) -> list[tuple[str, str]]:
    """When the page is made, and the root digest of the folder's manifest, where it has one."""
    from datetime import UTC, datetime

    from study.store.manifest import NAME, read_manifest, root_of

    made, path = [("page of", f"{datetime.now(UTC):%Y-%m-%d} (UTC)")], folder / NAME
    if path.is_file():
        when = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        said = f"{root_of(read_manifest(path))}, by {NAME} of {when:%Y-%m-%d %H:%M} UTC"
        made.append(("root digest of all files", f"{said}; study.verify tells whether it holds"))
    return made


if __name__ == "__main__":
    cli.run(main)

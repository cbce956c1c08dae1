"""Show in MLflow and in Optuna's storage all that a study's store has.

    python -m study.track quick

Writes what they lack, or with --rebuild all of MLflow's anew. A database or a journal of the
results folder that is damaged is renamed and made anew. Nothing is trained or scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.planning.open_study import OpenStudy
    from study.tracking.views import Views

EXAMPLES = """
python -m study.track quick
python -m study.track my_study.toml --results ~/results
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("track", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_log_options(parser)
    what = "set aside what MLflow has of the study, and write all of it anew"
    parser.add_argument("--rebuild", action="store_true", help=what)
    options = cli.parse(parser, arguments)
    with cli.views() as views:
        opened = cli.open_study(options, firewall=False)
        with opened.store.lock():
            again = cli.again(options, "track")
            return track(opened, views, again, rebuild=options.rebuild)


def track(opened: OpenStudy, views: Views, again: str, *, rebuild: bool = False) -> int:
    """Write what the views lack, or all of MLflow's anew, and print where they are. Returns the
    exit code.
    """
    from study.analysis.results_csv import read_results
    from study.analysis.winners import champion
    from study.planning.cells import plan_cells
    from study.planning.searches import replay
    from study.tracking.mlflow_address import page_line, ui_command
    from study.tracking.optuna_record import dashboard_command, without_dashboard
    from study.tracking.set_aside import set_aside_damaged

    store, results = opened.store, opened.workspace.results
    for path in set_aside_damaged(results):
        cli.LOG.warning(
            f"warning: it was damaged and is made anew; the old one is '{path}'. Other studies of"
            f" '{results}' are not in the new one: run study.track for each"
        )
    data = opened.keys.data
    views.open(opened.study.name, results, remedy=again, rebuild=rebuild, data=data)
    history = replay(opened)
    trials = [pair for searched in history.values() for pair in searched.trials]
    for trial, result in trials:
        views.add_trial(trial, result, opened.searches[trial.pairing].space)
    cells = plan_cells(opened, history)
    winners = {cell.winner.key: cell.winner for cell in cells if cell.winner is not None}
    for winner in winners.values():
        views.add_winner(winner, store.model_folder(winner.key))
    has_matrix = store.matrix_file.is_file()
    if has_matrix:
        tables = read_results(store.folder)
        views.add_matrix(tables.every_row, store.shown_files(), champion(tables))
    whole = views.wait()
    print(f"{len(trials)} trials, {len(winners)} winners, {'the' if has_matrix else 'no'} matrix")
    print(f"mlflow: {ui_command(results)}")
    print(f"optuna: {dashboard_command(results)}{without_dashboard()}")
    if views.matrix_page:
        print(page_line(results, views.matrix_page))
    return cli.DONE if whole else cli.SOME_FAILED


if __name__ == "__main__":
    cli.run(main)

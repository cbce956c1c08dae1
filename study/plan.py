"""Show what a study would run: pairings, trials, cells, their states, and its size and time.

    python -m study.plan quick

Trains nothing, scores nothing, downloads nothing.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.planning.cost import Outlook
    from study.planning.study import Run, Study

EXAMPLES = """
python -m study.plan quick
python -m study.plan quick --set budget.trials=20
python -m study.plan my_study.toml --data-root ~/datasets
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("plan", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_budget_option(parser)
    cli.add_slots_option(parser)
    options = cli.parse(parser, arguments)
    from study.analysis.flags import few_trials_lines
    from study.planning.cost import look
    from study.planning.missing import missing
    from study.planning.study_file import load_study

    study = load_study(options.study, options.set, data_root=options.data_root)
    _print_size(study)
    places = {"results": cli.results_folder(options), "weights_root": cli.weights_root(options)}
    absent = [*missing(study, **places)]
    if absent:
        get = cli.again(options, "prepare")
        print(f"\nnot on this machine yet; this gets what can be downloaded: {get}")
        print("\n".join(f"  {line}" for line in absent))
        print("\nstates, images and disk are known once these are here")
        return cli.DONE
    opened = cli.open_study(options, firewall=False)
    outlook = look(opened)
    _print_outlook(outlook, study.test_on)
    _print_time(outlook, study.run, options)
    for line in few_trials_lines(opened.searches.values()):
        print(f"note:  {line}")
    cli.refuse_over_budget(outlook.pairings, study, options)
    return cli.DONE


def _print_size(study: Study) -> None:
    from study.render.study_text import study_lines

    budget, winners = study.budget, sum(study.seeds_of(pairing) for pairing in study.pairings())
    conditions, tests = len(study.conditions()), f"{len(study.test_on)} test sets"
    if conditions > 1:
        tests += f", clean and under {conditions - 1} degradation{'s' * (conditions > 2)}"
    first, *lines = study_lines(
        study,
        f"{len(study.searched()) * budget.trials} trials ({budget.trials} a pairing,"
        f" {budget.epochs_text}), {winners} winners ({budget.seeds} seeds),"
        f" {winners * len(study.test_on) * conditions} cells ({tests})",
    )
    print("\n  ".join([first, *lines]))


def _print_outlook(outlook: Outlook, tested: Sequence[str]) -> None:
    from study.core.records import SPLITS
    from study.render.table import Column, table, text

    datasets = [
        [
            one.name,
            *(one.images(split) for split in SPLITS),
            f"{one.images('test')} of {one.images()}" if one.name in tested else "-",
            len(one.excluded),
            sum(one.groups.values()),
            _bytes(one.n_bytes),
        ]
        for one in outlook.datasets
    ]
    counts = [Column(name, "count") for name in SPLITS]
    more = [Column(name, "count") for name in ("excluded", "groups", "files")]
    print(f"\n{text(table(['dataset', *counts, 'tested of all', *more], datasets))}")
    rows = []
    for p in outlook.pairings:
        cells = [c.cell.state for c in outlook.cells if c.cell.pairing == p.pairing]
        rows.append(
            [
                p.pairing.name,
                f"{p.done}/{p.trials}" if p.trials else "-",
                p.failed,
                f"{p.trained}/{p.winners}",
                f"{p.drawn}/{p.draws}" if p.draws else "-",
                f"{cells.count('done')}/{len(cells)}",
                "-" if math.isnan(p.val_auc) else p.val_auc,
                _left(p.seconds_left),
            ]
        )
    names = ("trials", "failed", "winners", "draws", "scored", "best val AUC", "left")
    columns = [Column(name, "number" if name.endswith("AUC") else "count") for name in names]
    print(f"\n{text(table(['pairing', *columns], rows))}")
    states = Counter(c.cell.state for c in outlook.cells)
    packs = f"packs {_bytes(outlook.packs_bytes)}, of which {_bytes(outlook.packs_to_make)} to make"
    print(f"\ncells: {', '.join(f'{n} {state}' for state, n in states.items())}")
    features = (
        f"features at most {_bytes(outlook.features_bytes)}, of which"
        f" {_bytes(outlook.features_to_make)} to make; "
        if outlook.features_bytes
        else ""
    )
    print(f"disk:  {packs}; {features}models so far {_bytes(outlook.models_bytes)}")


def _print_time(outlook: Outlook, run: Run, options: argparse.Namespace) -> None:
    """Print how long the rest takes; on this machine, if it can run it at all."""
    from study.core.errors import ConfigError

    left, most = outlook.seconds_left, outlook.seconds_at_most
    if math.isnan(left):
        print("time:  unknown until the first trials of every detector have run")
    elif left:
        most_words = f"at most {_left(most)} if fits use all epochs, or are as long as the longest"
        print(f"time:  {_left(left)} of training on one slot, {most_words}")
    else:
        print("time:  nothing left to train")
    try:
        slots = cli.slots_here(run, options)
    except ConfigError as error:
        print(f"       not on this machine alone: {error}")
        return
    if left and not math.isnan(left):
        print(
            f"       on this machine, {slots} at a time: about {_left(left / slots)}, at most"
            f" {_left(most / slots)}"
        )


def _left(seconds: float) -> str:
    if math.isnan(seconds):
        return "not timed yet"
    return cli.seconds_text(seconds) if seconds else "-"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    cli.run(main)

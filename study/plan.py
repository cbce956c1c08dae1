"""Show what a study would run: pairings, trials, cells, their states, and its size and time.

    python -m study.plan quick

Trains nothing, scores nothing, downloads nothing. Before any trial has run, a few steps on random
images tell how long it will take.
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
    from study.planning.open_study import OpenStudy
    from study.planning.study import Run, Study

EXAMPLES = """
python -m study.plan quick
python -m study.plan quick --set budget.trials=20
python -m study.plan my_study.toml --data-root ~/datasets
python -m study.plan my_study.toml --hourly-price 2.50
python -m study.plan my_study.toml --freeze
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("plan", __doc__, EXAMPLES)
    cli.add_study_options(parser)
    cli.add_budget_option(parser)
    cli.add_slots_option(parser)
    what = "write the plan down before the study runs. The answer says whether the run matches it"
    parser.add_argument("--freeze", action="store_true", help=what)
    what = "also say what the rest costs, by the price of one slot (a GPU, or its CPUs) for an hour"
    parser.add_argument("--hourly-price", type=float, metavar="PRICE", help=what)
    options = cli.parse(parser, arguments)
    _check_price(options.hourly_price)
    from study.analysis.flags import few_trials_lines
    from study.planning.cost import look, of_all
    from study.planning.missing import missing
    from study.planning.repeats import repeats_line, repeats_of
    from study.planning.study_file import load_study

    study = load_study(options.study, options.set, data_root=options.data_root)
    _print_size(study)
    places = {
        "results": cli.results_folder(options),
        "weights_root": cli.weights_root(options, study),
    }
    absent = [*missing(study, **places)]
    if absent:
        get = cli.again(options, "prepare")
        print(f"\nnot on this machine yet; this gets what can be downloaded: {get}")
        print("\n".join(f"  {line}" for line in absent))
        print("\nstates, images and disk are known once these are here")
        if options.freeze:
            print("a plan can be frozen once these are here")
            return cli.SOME_FAILED
        return cli.DONE
    opened = cli.open_study(options, firewall=False)
    repeats = repeats_of(opened)
    # what a budget of hours is held against was measured by trials
    how = {"guess": options.budget_hours is None, "progress": cli.show_progress}
    each = [look(one, **how) for one in repeats]
    outlook = of_all(each, splits=study.data.folds > 1)
    _print_datasets(outlook, study.test_on)
    _print_pairings(each[0])
    if len(each) > 1:
        print(f"\n{repeats_line(opened)}. The table above is of {opened.name}. The others:")
        for one, found in zip(repeats[1:], each[1:], strict=True):
            print(f"  {one.name}: {_progress(found)}")
    _print_disk(outlook)
    _print_time(outlook, study.run, options)
    if options.hourly_price is not None:
        _print_cost(outlook, options.hourly_price)
    for line in few_trials_lines(opened.searches.values()):
        print(f"note:  {line}")
    cli.refuse_over_budget(outlook.pairings, study, options)
    if options.freeze:
        _freeze(opened)
    return cli.DONE


def _check_price(price: float | None) -> None:
    from study.core.errors import ConfigError

    if price is not None and not (price >= 0 and math.isfinite(price)):
        raise ConfigError(f"--hourly-price {price:g} must be a price, from 0 on")


def _freeze(opened: OpenStudy) -> None:
    from study.planning.frozen import freeze

    with opened.store.lock():
        plan, is_new = freeze(opened)
    print(f"\n{'frozen' if is_new else 'frozen before, and unchanged'}: {opened.store.frozen_file}")
    print(f"digest: {plan.digest} (publish it, and anybody can check the plan)")
    print("\n".join(f"  tests: {line}" for line in plan.hypotheses))


def _print_size(study: Study) -> None:
    from study.planning.open_study import spaces_of
    from study.planning.variants import fits_of
    from study.render.study_text import study_lines

    given = [name for name, space in spaces_of(study).items() if not space.names()]
    whole = sum(pairing.detector in given for pairing in study.searched())
    trials = (len(study.searched()) - whole) * study.budget.trials + whole
    each = f"{study.budget.trials} a pairing"
    each += f", 1 of a recipe that is given whole ({', '.join(given)})" if given else ""
    budget, winners = study.budget, sum(study.seeds_of(pairing) for pairing in study.pairings())
    times = f"; all of it {study.repeats} times" if study.repeats > 1 else ""
    conditions, tests = len(study.conditions()), f"{len(study.test_on)} test sets"
    other = len(study.test_on) * sum(fits_of(study, pairing) for pairing in study.searched())
    more = f" and at most {other} of other configurations" if other else ""
    if conditions > 1:
        tests += f", clean and under {conditions - 1} degradation{'s' * (conditions > 2)}"
    first, *lines = study_lines(
        study,
        f"{trials} trials ({each}, {budget.epochs_text}), {winners} winners ({budget.seeds} seeds),"
        f" {winners * len(study.test_on) * conditions} cells{more} ({tests}){times}",
    )
    print("\n  ".join([first, *lines]))


def _progress(outlook: Outlook) -> str:
    """How far a repeat has come, in a line."""
    counts = [
        (sum(p.done for p in outlook.pairings), sum(p.trials for p in outlook.pairings), "trials"),
        (
            sum(p.trained for p in outlook.pairings),
            sum(p.winners for p in outlook.pairings),
            "winners",
        ),
        (sum(p.drawn for p in outlook.pairings), sum(p.draws for p in outlook.pairings), "draws"),
        (sum(c.cell.state == "done" for c in outlook.cells), len(outlook.cells), "cells"),
    ]
    return ", ".join(f"{done}/{every} {what}" for done, every, what in counts if every)


def _print_datasets(outlook: Outlook, tested: Sequence[str]) -> None:
    from study.core.paths import bytes_text
    from study.core.records import SPLITS
    from study.render.table import Column, table, text

    datasets = [
        [
            one.name,
            *(one.images(split) for split in SPLITS),
            f"{one.images('test')} of {one.images()}" if one.name in tested else "-",
            len(one.excluded),
            sum(one.groups.values()),
            bytes_text(one.n_bytes),
        ]
        for one in outlook.datasets
    ]
    found = [f"{one.name}: {one.faces}" for one in outlook.datasets if one.faces]
    counts = [Column(name, "count") for name in SPLITS]
    more = [Column(name, "count") for name in ("excluded", "groups", "files")]
    print(f"\n{text(table(['dataset', *counts, 'tested of all', *more], datasets))}")
    print("\n".join(found), end="\n" if found else "")


def _print_pairings(outlook: Outlook) -> None:
    from study.render.table import Column, table, text

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


def _print_disk(outlook: Outlook) -> None:
    from study.core.paths import bytes_text

    states = Counter(c.cell.state for c in outlook.cells)
    whole, missing = bytes_text(outlook.packs_bytes), bytes_text(outlook.packs_to_make)
    packs = f"packs {whole}, of which {missing} to make"
    print(f"\ncells: {', '.join(f'{n} {state}' for state, n in states.items())}")
    features = (
        f"features at most {bytes_text(outlook.features_bytes)}, of which"
        f" {bytes_text(outlook.features_to_make)} to make; "
        if outlook.features_bytes
        else ""
    )
    print(f"disk:  {packs}; {features}{_models(outlook)}")


def _models(outlook: Outlook) -> str:
    from study.core.paths import bytes_text

    most, made = outlook.models_at_most, outlook.models_bytes
    return f"models at most {bytes_text(most)}, of which {bytes_text(made)} are made"


def _print_time(outlook: Outlook, run: Run, options: argparse.Namespace) -> None:
    """Print how long the rest takes; on this machine, if it can run it at all."""
    from study.core.errors import ConfigError

    left, most = outlook.seconds_left, outlook.seconds_at_most
    if math.isnan(left):
        print("time:  unknown until the first trials of every detector have run")
    elif left:
        print(
            f"time:  {_left(left)} of training on one slot"
            + f", at most {_left(most)} if fits use all epochs, or are as long as the longest"
            * (most > left)
        )
        if outlook.guessed:
            named = ", ".join(outlook.guessed)
            print(f"       by a few steps on random images, until trials have run: {named}")
    else:
        print("time:  nothing left to train")
    try:
        slots = cli.slots_here(run, options)
    except ConfigError as error:
        print(f"       not on this machine alone: {error}")
        return
    if left and not math.isnan(left):
        print(
            f"       on this machine, {slots} at a time: about {_left(left / slots)}"
            + f", at most {_left(most / slots)}" * (most > left)
        )


def _print_cost(outlook: Outlook, price: float) -> None:
    """Print what the rest of the training costs, by the price of a slot for an hour."""
    left, most = (one * price / 3600 for one in (outlook.seconds_left, outlook.seconds_at_most))
    if not math.isnan(left):
        print(
            f"cost:  about {left:.2f}, at most {most:.2f}, at {price:g} an hour of one slot,"
            " however many run side by side; scoring comes on top"
        )


def _left(seconds: float) -> str:
    if math.isnan(seconds):
        return "not timed yet"
    return cli.seconds_text(seconds) if seconds else "-"


if __name__ == "__main__":
    cli.run(main)

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
    from study.planning.open_study import OpenStudy
    from study.planning.study import Study

EXAMPLES = """
python -m study.plan quick
python -m study.plan quick --set budget.trials=20
python -m study.plan my_study.toml --data-root ~/datasets
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("plan", __doc__.splitlines()[0], EXAMPLES)
    cli.add_study_options(parser)
    cli.add_budget_option(parser)
    parser.add_argument(
        "--slots",
        type=int,
        metavar="N",
        help="how many trials run side by side (default: as the machine allows)",
    )
    options = cli.parse(parser, arguments)
    from study.planning.cost import look
    from study.planning.study_file import load_study

    study = load_study(options.study, options.set, data_root=options.data_root)
    _print_size(study)
    absent = _absent(study, options)
    if absent:
        print("\nnot on this machine yet (python -m study.prepare gets what can be downloaded):")
        print("\n".join(f"  {line}" for line in absent))
        print("\nstates, images and disk are known once these are here")
        return cli.DONE
    opened = cli.open_study(options, firewall=False)
    outlook = look(opened)
    _print_outlook(outlook)
    _print_time(outlook, opened, options)
    cli.refuse_over_budget(outlook.pairings, opened, options)
    return cli.DONE


def _print_size(study: Study) -> None:
    budget, winners = study.budget, sum(study.seeds_of(pairing) for pairing in study.pairings())
    conditions = len(study.conditions())
    degraded = (
        f", clean and under {conditions - 1} degradation{'s' * (conditions > 2)}"
        if conditions > 1
        else ""
    )
    cells = (
        f"{winners * len(study.test_on) * conditions} cells ({len(study.test_on)} test"
        f" sets{degraded})"
    )
    print(f"study {study.name}: {cli.pairings_text(study)}")
    print(f"  search: {study.search_words()}")
    print(
        f"  {len(study.searched()) * budget.trials} trials ({budget.trials} a pairing,"
        f" {budget.epochs} epochs at most), {winners} winners ({budget.seeds} seeds), {cells}"
    )
    for line in (*cli.variant_lines(study), *cli.untrained_lines(study), *cli.balance_lines(study)):
        print(f"  {line}")
    for note in cli.notes(study):
        print(f"  note: {note}")


def _absent(study: Study, options: argparse.Namespace) -> list[str]:
    """What must be downloaded or put in place before states are known; raises for names that
    nothing has.
    """
    from study.data.catalog import Catalog
    from study.data.names import parse_name
    from study.data.sources.cards import card_names, load_card
    from study.detectors import registry
    from study.planning.open_study import data_config

    catalog = Catalog(data_config(study, cli.results_folder(options)), firewall=False)
    lines = []
    for name in dict.fromkeys(
        member for x in (*study.train_on, *study.test_on) for member in catalog.members(x)
    ):
        base = parse_name(name).base
        card = load_card(base) if base in card_names() else None
        if not catalog.available(name) and not (card and card.source == "demo"):
            lines.append(
                f"dataset {name}: {card.title}, {card.size_gb:g} GB, {card.homepage}"
                if card
                else f"dataset {name}"
            )
    for name in (name for name in study.detectors if name not in study.ensembles):
        status = registry.weights_status(name, cli.weights_root(options))
        if status in ("to download", "missing"):
            lines.append(f"weights of {name}: {status}")
    return lines


def _print_outlook(outlook: Outlook) -> None:
    print(
        f"\n{'dataset':<24}{'train':>8}{'val':>8}{'test':>8}{'excluded':>10}{'groups':>8}{'files':>10}"
    )
    for d in outlook.datasets:
        print(
            f"{d.name:<24}{d.images('train'):>8}{d.images('val'):>8}{d.images('test'):>8}"
            f"{len(d.excluded):>10}{sum(d.groups.values()):>8}{_bytes(d.n_bytes):>10}"
        )
    width = max(len(p.pairing.name) for p in outlook.pairings) + 2
    print(
        f"\n{'pairing':<{width}}{'trials':>9}{'failed':>8}{'winners':>9}{'scored':>9}"
        f"{'best val AUC':>14}{'left':>14}"
    )
    for p in outlook.pairings:
        cells = [c.cell.state for c in outlook.cells if c.cell.pairing == p.pairing]
        auc = "-" if math.isnan(p.val_auc) else f"{p.val_auc:.3f}"
        trials = f"{p.done}/{p.trials}" if p.trials else "-"
        winners, scored = f"{p.trained}/{p.winners}", f"{cells.count('done')}/{len(cells)}"
        print(
            f"{p.pairing.name:<{width}}{trials:>9}{p.failed:>8}{winners:>9}{scored:>9}{auc:>14}{_left(p.seconds_left):>14}"
        )
    states = Counter(c.cell.state for c in outlook.cells)
    packs = f"packs {_bytes(outlook.packs_bytes)}, of which {_bytes(outlook.packs_to_make)} to make"
    print(f"\ncells: {', '.join(f'{n} {state}' for state, n in states.items())}")
    print(f"disk:  {packs}; models so far {_bytes(outlook.models_bytes)}")


def _print_time(outlook: Outlook, opened: OpenStudy, options: argparse.Namespace) -> None:
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
        slots = cli.slots_here(opened, options)
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

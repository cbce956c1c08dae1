"""Find or download a study's datasets, split them by group, and decode them once into packs.

    python -m study.prepare quick

Floor 5. The other commands make what is missing too; this one does it beforehand and shows what it found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.data.catalog import Catalog, DatasetSummary
    from study.planning.setup import Setup

EXAMPLES = """
python -m study.prepare quick
python -m study.prepare my_study.toml --data-root ~/datasets
"""
SHOWN = 20  # excluded images named on the terminal; the pack's index has all


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("prepare", __doc__.splitlines()[0], EXAMPLES)
    cli.add_study_options(parser)
    options = parser.parse_args(arguments)
    setup = cli.open_setup(options, firewall=False)
    prepare(setup)
    print(f"\nnext: {cli.again(options, 'sweep')}")
    return cli.DONE


def prepare(setup: Setup) -> None:
    """Describe every dataset of the study and build every pack it needs."""
    from study.data.catalog import Catalog, split_union

    catalog = Catalog(setup.workspace.data, firewall=False, progress=cli.show_progress)
    trained_on = (member for x in setup.study.train_on for member in split_union(x))
    for name in dict.fromkeys((*trained_on, *setup.study.test_on)):
        _print_dataset(catalog.describe(name))
        _print_excluded(_pack(setup, catalog, name))


def _pack(setup: Setup, catalog: Catalog, name: str) -> dict[str, str]:
    """Build a dataset's packs; return sample id -> reason of what cannot be decoded."""
    excluded: dict[str, str] = {}
    for split, geometry in setup.packs_of(name):
        excluded |= dict(catalog.open(name, split, geometry).excluded)
    return excluded


def _print_dataset(summary: DatasetSummary) -> None:
    from study.records import SPLITS

    single = sum(summary.groups.values()) == summary.images()
    grouped = (
        "split by image: no groups known, give a manifest with a group column if images belong together"
        if single
        else "split by group"
    )
    official = "official split" if summary.official else grouped
    print(f"\n{summary.name}: {summary.title or summary.root} ({summary.layout}, {official})")
    for split, groups in sorted(summary.groups.items(), key=lambda item: SPLITS.index(item[0])):
        real, fake = summary.images(split, 0), summary.images(split, 1)
        methods = sorted({c.method for c in summary.counts if c.split == split and c.label == 1})
        print(f"  {split:<6}{real:>8} real{fake:>8} fake{groups:>8} groups   fakes by {', '.join(methods)}")
    if summary.straddling:
        print(f"  warning: {summary.straddling} groups are in more than one of the official splits")
    for folder, reason in summary.skipped:
        print(f"  not used: {folder}: {reason}")


def _print_excluded(excluded: dict[str, str]) -> None:
    if excluded:
        print(f"  {len(excluded)} images are left out and counted as coverage:")
    for sample, reason in sorted(excluded.items())[:SHOWN]:
        print(f"    {sample}: {reason}")
    if len(excluded) > SHOWN:
        print(f"    and {len(excluded) - SHOWN} more")


if __name__ == "__main__":
    cli.run(main)

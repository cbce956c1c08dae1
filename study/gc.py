"""List, and on request remove, what nothing refers to: old caches, set-aside files, old results.

    python -m study.gc

Nothing is removed that --delete does not name. What a study in the results folder would read
if it were run again stays, and so do all trials and all copies of datasets.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.analysis.unused import Unused
    from study.planning.open_study import OpenStudy

EXAMPLES = """
python -m study.gc
python -m study.gc --results ~/results --delete damaged leftovers
python -m study.gc my_study.toml --delete cache
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("gc", __doc__, EXAMPLES)
    what = "a study file that has not been run yet, whose packs and features stay too"
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=what)
    kinds = "cache, damaged, leftovers, results"
    what = f"remove what is listed of these kinds ({kinds}). Results take long to make again"
    parser.add_argument("--delete", nargs="+", default=[], metavar="KIND", help=what)
    cli.add_place_options(parser)
    options = cli.parse(parser, arguments)
    from study.analysis.unused import KINDS
    from study.core.errors import ConfigError, StoreError, unknown_name
    from study.core.paths import is_url
    from study.store.store import nobody_else

    for kind in options.delete:
        if kind not in KINDS:
            raise ConfigError(unknown_name("kind", kind, KINDS, where="--delete"))
    if is_url(options.results):
        raise ConfigError(
            f"--results {options.results} is elsewhere, and what is not used there is not known"
            f" here; its copy on this machine is '{cli.results_folder(options)}'"
        )
    results = Path(options.results).absolute()
    if not results.is_dir():
        raise StoreError(f"there is no results folder '{results}'; name one with --results")
    with nobody_else(results) if options.delete else contextlib.nullcontext():
        return gc(results, options)


def gc(results: Path, options: argparse.Namespace) -> int:
    """List what is not used, and remove what --delete names of it. Returns the exit code."""
    from study.analysis.unused import KINDS, unused
    from study.core.paths import bytes_text

    studies, unknown = _opened(results, options)
    found = unused(results, studies, unknown=unknown)
    gone, failed = 0, 0
    for kind in KINDS:
        mine = [one for one in found if one.kind == kind]
        if not mine:
            continue
        print(f"{kind}: {bytes_text(sum(one.n_bytes for one in mine))}")
        for one in mine:
            removed = kind in options.delete and _removed(one)
            failed += kind in options.delete and not removed
            gone += one.n_bytes * removed
            mark = "removed" if removed else ""
            print(
                f"  {bytes_text(one.n_bytes):>9}  {mark:>{8 if options.delete else 0}}"
                f" {one.path.relative_to(results)}  ({one.what})"
            )
    if not found:
        print(f"Everything in '{results}' is used.")
    elif options.delete:
        print(f"\nremoved {bytes_text(gone)}")
    else:
        print(f"\nNothing was removed. --delete KIND does it: {', '.join(KINDS)}.")
    return cli.SOME_FAILED if failed else cli.DONE


def _opened(results: Path, options: argparse.Namespace) -> tuple[list[OpenStudy], list[str]]:
    """Open every study of the folder, and those that are named; return them, and the names of
    those that cannot be opened.
    """
    from study.core.errors import StudyError
    from study.planning.open_study import open_study
    from study.planning.study_file import load_study
    from study.store.store import Store

    studies, unknown = [], []
    for file in sorted(results.glob("*/study.toml")):
        store = Store(results, file.parent.name)
        try:
            studies.append(cli.open_stored(store, options))
        except StudyError as error:
            unknown.append(store.folder.name)
            cli.LOG.warning(
                f"warning: the study {store.folder.name} cannot be opened ({error}): its results"
                " are not looked at, nor what it may have of packs and features"
            )
    for name in options.studies:
        study = load_study(name, [], data_root=options.data_root)
        root = cli.weights_root(options, study)
        studies.append(
            open_study(
                study,
                results=results,
                weights_root=root,
                firewall=False,
                progress=cli.show_progress,
            )
        )
    return studies, unknown


def _removed(one: Unused) -> bool:
    """Remove a file or folder; say so where that cannot be."""
    try:
        one.remove()
    except OSError as error:
        cli.LOG.error(f"error: '{one.path}' cannot be removed ({error.strerror or error})")
        return False
    return True


if __name__ == "__main__":
    cli.run(main)

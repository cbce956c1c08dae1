"""Check that a study's results are as they were written, and prove a copy of them.

    python -m study.verify quick

Reads every record of the study (weights, scores, trials) and checks its digest and its key. Writes
`results/<study>/manifest.json`, the digest of every file, to go with a published result.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.store.store import Store

EXAMPLES = """
python -m study.verify quick
python -m study.verify quick --deep 3
python -m study.verify copies/quick --against manifest.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("verify", __doc__, EXAMPLES)
    what = "a study that has been run: its name below the results, its file, or its folder"
    parser.add_argument("study", metavar="STUDY", help=what)
    what = "compare the folder with a manifest, and write none"
    parser.add_argument("--against", metavar="FILE", help=what)
    what = "also score N cells anew, chosen at random, and compare every logit"
    parser.add_argument("--deep", type=int, default=0, metavar="N", help=what)
    cli.add_place_options(parser)
    cli.add_log_options(parser)
    options = cli.parse(parser, arguments)
    return verify(options)


def verify(options: argparse.Namespace) -> int:
    """Check the study and print what was found; return the exit code."""
    from study.core.errors import ConfigError
    from study.store import manifest
    from study.store.store import Store

    if options.deep < 0:
        raise ConfigError(f"--deep {options.deep}: give a number of cells, from 0 on")
    folder = cli.study_folder(options, "study.toml", "sweep writes them")
    expected = manifest.read_manifest(Path(options.against)) if options.against else None
    store = Store(folder.parent, folder.name)
    if expected is not None:  # a copy may be one that cannot be written to
        return _checked(store, options, expected)
    with store.lock():
        return _checked(store, options, None)


def _checked(store: Store, options: argparse.Namespace, expected: Mapping[str, str] | None) -> int:
    """Check a study that nobody writes to, against a manifest if there is one."""
    from study.store import manifest

    folder = store.folder
    checked = manifest.check_records(store)
    problems = list(checked.problems)
    read = ", ".join(f"{count} {kind}" for kind, count in checked.counts.items())
    print(f"{folder}\n\nread      {read}")
    if options.deep:
        problems += _deep(store, options)
    files = manifest.digests(folder)
    if expected is not None:
        problems += manifest.differences(expected, files)
        print(f"compared  {len(files)} files with {options.against}")
    print(f"root      {manifest.root_of(files)}  ({len(files)} files)")
    if problems:
        print(f"\n{len(problems)} not as written:")
        for file, what in problems:
            print(f"  {file}: {what}")
        return cli.SOME_FAILED
    if expected is None:
        print(f"manifest  {manifest.write_manifest(store, files)}")
    print("\nEverything is as it was written.")
    return cli.DONE


def _deep(store: Store, options: argparse.Namespace) -> list[tuple[str, str]]:
    """Score a sample of cells anew; return (file, what is wrong) of those that differ."""
    from study.analysis.rescored import rescored

    opened = cli.open_stored(store, options)
    wrong = []
    found = rescored(opened, options.deep)
    for one in found:
        if not one.agrees:
            what = f"{one.name} scored anew: logits differ by up to {one.largest:.3g}"
            wrong.append((f"scores/{one.key}.parquet", what))
    largest = max((one.largest for one in found), default=0.0)
    print(f"scored    {len(found)} cells anew; logits differ by at most {largest:.3g}")
    return wrong


if __name__ == "__main__":
    cli.run(main)

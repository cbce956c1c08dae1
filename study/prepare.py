"""Find or download a study's datasets, split them by group, and decode them once into packs.

    python -m study.prepare quick
    python -m study.prepare --describe FOLDER

The other commands make what is missing too; this one does it beforehand and shows what it
found. With --describe it shows how one folder is understood, with a contact sheet and a manifest to
edit.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.data.catalog import DatasetSummary
    from study.data.describe import Description
    from study.planning.open_study import OpenStudy

EXAMPLES = """
python -m study.prepare quick
python -m study.prepare my_study.toml --data-root ~/datasets
python -m study.prepare --describe ~/datasets/my_photos
python -m study.prepare --describe my_photos --class-folder authentic=real --class-folder made=fake
"""
# excluded images, and folders passed over, named on the terminal; the pack's index has all images
SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("prepare", __doc__, EXAMPLES)
    cli.add_study_options(parser, optional=True)
    cli.add_log_options(parser)
    parser.add_argument(
        "--describe",
        metavar="FOLDER",
        help="show how a folder is understood. Write a contact sheet and a manifest",
    )
    cli.add_class_folder_option(parser, "--describe")
    parser.add_argument(
        "--fake-label",
        default="",
        metavar="VALUE",
        help="with --describe: the value of the manifest's label that means fake",
    )
    what = (
        "with --describe: write groups into the manifest: those that names carry (COCO, RAISE ids),"
        " and one for near duplicates (a fake and its source)"
    )
    parser.add_argument("--propose-groups", action="store_true", help=what)
    parser.add_argument(
        "--out",
        default=".",
        metavar="DIR",
        help="with --describe: where sheet and manifest are written (default: here)",
    )
    options = cli.parse(parser, arguments)
    _check_options(options)
    if options.describe:
        describe(options)
        return cli.DONE
    from study.store.store import in_use

    opened = cli.open_study(options, firewall=False)
    with in_use(opened.store.results):
        prepare(opened)
    print("\nThe audit looks for confounds and near duplicates, sweep trains.")
    print(f"audit: {cli.again(options, 'audit')}\nnext:  {cli.again(options, 'sweep')}")
    return cli.DONE


def _check_options(options: argparse.Namespace) -> None:
    from study.core.errors import ConfigError

    if bool(options.study) == bool(options.describe):
        raise ConfigError(
            "name either a study (python -m study.prepare STUDY) or a folder (python -m"
            " study.prepare --describe FOLDER)"
        )
    of_describe = (options.class_folder, options.fake_label, options.propose_groups)
    if options.study and (any(of_describe) or options.out != "."):
        raise ConfigError(
            "--class-folder, --fake-label, --propose-groups and --out belong to --describe; a study"
            " names class folders in data.class_folders"
        )
    for option, value in (
        ("--set", options.set),
        ("--data-root", options.data_root),
        ("--weights-root", options.weights_root),
    ):
        if options.describe and value:
            raise ConfigError(
                f"{option} belongs to a study; with --describe the folder is all that is looked at"
            )


def prepare(opened: OpenStudy) -> None:
    """Describe every dataset of the study and build every pack it needs."""
    from study.planning.cost import packs_of

    catalog = opened.workspace.catalog  # which has opened the datasets already
    catalog.progress = cli.show_progress
    for name in opened.study.datasets():
        _print_dataset(catalog.describe(name), opened.study.test_on)
        excluded: dict[str, str] = {}  # sample id -> why it cannot be decoded
        for split, geometry in packs_of(opened.study, opened.keys.specs, name):
            excluded |= dict(catalog.pack(name, split, geometry))
        if excluded:
            print(f"  {len(excluded)} images are left out and counted as coverage:")
        _print_first([f"{one}: {reason}" for one, reason in sorted(excluded.items())], "    ")


def _print_dataset(summary: DatasetSummary, tested: Collection[str]) -> None:
    from study.core.records import SPLITS
    from study.render.study_text import few_images_text

    by_image = (
        "split by image, each its own group; give a manifest with a group column if images belong"
        " together"
    )
    grouped = "split by group" if summary.grouped else by_image
    official = "official split" if summary.official else grouped
    if not summary.official and set(summary.groups) == {"test"}:
        official = "tested whole"
    print(f"\n{summary.name}: {summary.title or summary.root} ({summary.layout}, {official})")
    for split, groups in sorted(summary.groups.items(), key=lambda item: SPLITS.index(item[0])):
        real, fake = summary.images(split, 0), summary.images(split, 1)
        methods = sorted({c.method for c in summary.counts if c.split == split and c.label == 1})
        named = f"   fakes by {', '.join(methods)}" * (methods not in ([], ["fake"]))
        print(f"  {split:<6}{real:>8} real{fake:>8} fake{groups:>8} groups{named}")
    if summary.name in tested and (few := few_images_text(*_tested(summary))):
        print(f"  {few}")
    if summary.faces:
        print(f"  {summary.faces}")
    for line in summary.incomplete:
        print(f"  warning: this is not all that was published: {line}")
    if summary.straddling:
        print(f"  warning: {summary.straddling} groups are in more than one of the official splits")
    _print_first([f"{folder}: {reason}" for folder, reason in summary.skipped], "  not used: ")


def _tested(summary: DatasetSummary) -> tuple[int, int]:
    """The test images of each class; of what belongs together one."""
    real, fake = summary.images("test", 0), summary.images("test", 1)
    share = min(1.0, summary.groups.get("test", 0) / max(real, fake, 1))
    return max(1, round(real * share)), max(1, round(fake * share))


def _print_first(lines: Sequence[str], before: str) -> None:
    """Print the first lines, and how many more there are."""
    for line in lines[:SHOWN]:
        print(f"{before}{line}")
    if len(lines) > SHOWN:
        print(f"{before}and {len(lines) - SHOWN} more")


def describe(options: argparse.Namespace) -> None:
    """Print how a folder is understood, write its contact sheet and manifest, and say what to do
    next.
    """
    from study.core.paths import given_path
    from study.data.describe import describe_folder
    from study.render.figures.headless import costs_only
    from study.render.folder_text import describe_text

    folder = Path(os.path.abspath(given_path(options.describe)))  # noqa: PTH100 - a link keeps its name
    class_folders = cli.class_folders(options.class_folder)
    out = given_path(options.out)
    _check_out(out)
    cache = cli.results_folder(options).absolute() / "cache"
    found = describe_folder(
        folder,
        class_folders=class_folders,
        cache=cache,
        fake_label=options.fake_label,
        progress=cli.show_progress,
    )
    print(describe_text(found), end="\n\n")
    found = _proposed(found, options)
    with costs_only("the contact sheet is"):
        _write_sheet(found, out / f"{found.name}-contact-sheet.png")
    _write_manifest(found, out / f"{found.name}-manifest.csv", folder)
    if options.fake_label:
        print(f"\nnext, when the manifest is in its place: {_same_again(options)}")
    elif found.refusal:
        print(
            f"\nnot usable as it is: {found.refusal}\nnext, when it is mended:"
            f" {_same_again(options)}"
        )
    else:
        print("\nThe next command writes a study file. Name all folders of the study in it.")
        print(f"next: {_init_on(folder, options)}")


def _check_out(out: Path) -> None:
    """Raise ConfigError where nothing can be written there, before anything is read."""
    from study.core.errors import ConfigError
    from study.core.identity import whole_file

    try:
        with whole_file(out / ".writable") as temporary:
            temporary.touch()
        (out / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: contact sheet and manifest cannot be written into"
            f" '{out.absolute()}' ({error.strerror}); name another folder with --out DIR"
        ) from None


def _write_sheet(found: Description, path: Path) -> None:
    from study.data.describe import examples, load_example
    from study.data.images.contact_sheet import SHEET_COLUMNS, SHEET_ROWS, Row, write_sheet

    chosen = examples(found, SHEET_COLUMNS)
    rows = []
    for (label, method), (total, paths) in list(chosen.items())[:SHEET_ROWS]:
        above = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - strings, of another system too
        captions = [os.path.relpath(path, above) for path in paths]
        images = [load_example(found, path) for path in paths]
        rows.append(Row(label=label, method=method, total=total, images=images, captions=captions))
    if rows:
        write_sheet(rows, path, title=found.name)
        more = (
            f" (the first {SHEET_ROWS} of {len(chosen)} methods)"
            if len(chosen) > SHEET_ROWS
            else ""
        )
        print(f"contact sheet: {path}{more}")


def _write_manifest(found: Description, path: Path, folder: Path) -> None:
    """Write the manifest and say where it belongs."""
    from study.data.describe import write_manifest
    from study.render.numbers import counted

    if path.exists() or path.is_symlink():
        print(
            f"manifest: {path} is there already and kept as it is; move it away, or use --out DIR,"
            " for a new one"
        )
        return
    number = write_manifest(found, path)
    if not number:
        print("manifest: none is written, as no image of the folder can be read")
        return
    place = found.own_manifest or found.layout.root / "manifest.csv"
    wrote = f"manifest: {path} ({counted(number, 'row')}"
    if left := found.files - number:
        wrote += f", without {counted(left, 'file')} that cannot be read"
    if found.own_manifest:
        print(
            f"{wrote}: those of {place}, with labels as words and paths as the disk has them). Edit"
            " it and copy it there: it then decides instead of that which lies there"
        )
    elif place.is_relative_to(folder):
        print(f"{wrote}). Edit it and copy it to {place}: it then decides instead of the folders")
        print(
            "  (where that cannot be written, name it in the study: data.manifests, docs/data.md)"
        )
    else:
        print(f"{wrote}, for reading: its paths are of the unpacked archives in {place.parent})")
    if found.layout.members:
        print(
            f"  (it makes the folder one dataset; {found.name}:METHOD is then a part of it, and no"
            " other condition is)"
        )


def _proposed(found: Description, options: argparse.Namespace) -> Description:
    """The description with the groups that names carry and those of near duplicates, where they
    are asked for; else say that names carry some.
    """
    from study.data.describe import proposed, with_groups

    # of a manifest of its own the groups that it has say more than names do
    groups = None if found.own_manifest else proposed(found)
    if groups:
        number = len(set(filter(None, groups.groups)))
        print(f"proposed groups: {number:,}, as the names carry {groups.what}")
        if not options.propose_groups:
            print("  (--propose-groups writes them into the manifest, to be looked at)\n")
            return found
        found = with_groups(found, groups)
    return _near(found, options, named=bool(groups)) if options.propose_groups else found


def _near(found: Description, options: argparse.Namespace, *, named: bool) -> Description:
    """The description with groups of near duplicates. named: whether names have given some."""
    from study.core.errors import DataError
    from study.data.leaks.propose import near_groups, with_near_groups
    from study.render.numbers import counted

    cache = cli.results_folder(options).absolute() / "cache"
    near = near_groups(found, cache=cache, progress=cli.show_progress)
    if not near.images and not named:
        raise DataError(
            f"--propose-groups: nothing is proposed for '{found.name}': no picture is a near"
            " duplicate of one in another group, and names carry no id that is known; where images"
            " belong together, write a group column by hand"
        )
    if near.images:
        fakes = f", {near.sources:,} of the pairs a real and a fake" if near.sources else ""
        print(f"proposed groups: near duplicates join {counted(near.images, 'image')}{fakes}")
    return with_near_groups(found, near.groups)


def _same_again(options: argparse.Namespace) -> str:
    words = ["python", "-m", "study.prepare", "--describe", options.describe]
    for text in options.class_folder:
        words += ["--class-folder", text]
    # of a manifest that has been turned no label needs an option any more
    words += ["--results", options.results] if options.results != "results" else []
    words += ["--out", options.out] if options.out != "." else []
    words += ["--propose-groups"] if options.propose_groups else []
    return shlex.join(words)


def _init_on(folder: Path, options: argparse.Namespace) -> str:
    """The command that writes a study file over the folder."""
    words = ["python", "-m", "study.init", str(folder)]
    for text in options.class_folder:
        words += ["--class-folder", text]
    words += ["--results", options.results] if options.results != "results" else []
    return shlex.join(words)


if __name__ == "__main__":
    cli.run(main)

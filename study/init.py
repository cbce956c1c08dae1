"""Write a study file over some folders of images: a first look, to be edited.

    python -m study.init ~/datasets/my_photos ~/datasets/theirs

Each folder is a dataset (it holds real/ and fake/, or class folders of other names), holds several,
or is one class of a dataset. What a class folder holds is told by its name, and asked for where
that does not say it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.data.describe import Description
    from study.planning.new_study import NewDataset

EXAMPLES = """
python -m study.init ~/datasets/my_photos ~/datasets/theirs
python -m study.init photos midjourney --class-folder photos=real --class-folder midjourney=fake
python -m study.init ~/datasets --out first_look.toml
"""
NEXT = ("prepare", "sweep", "cross_eval")
MUCH = 0.5  # of an image's side; a detector that sees more of it is not named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("init", __doc__, EXAMPLES)
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="a dataset, or a class folder of one"
    )
    cli.add_class_folder_option(parser, "FOLDER")
    what = "the study file, whose name is that of the study (default: my_study.toml)"
    parser.add_argument("--out", default="my_study.toml", metavar="FILE", help=what)
    what = "where the store will be kept (default: results)"
    parser.add_argument("--results", default="results", metavar="DIR", help=what)
    cli.add_log_options(parser)
    options = cli.parse(parser, arguments)
    from study.core.paths import given_path
    from study.data.named_folders import check_folder
    from study.planning.new_study import FIRST_LOOK, new_study_text
    from study.render.numbers import counted

    for folder in options.folders:
        check_folder(given_path(folder))
    out = _checked_out(options)
    datasets, class_folders = _datasets(options)
    found = {folder: _described(folder, class_folders, options) for folder in datasets}
    new = [_new_dataset(one) for one in found.values()]
    root = _root(datasets, out)
    commands = [_command(step, out, options) for step in NEXT]
    text = new_study_text(out.stem, new, root=root, class_folders=class_folders, commands=commands)
    _write(out, text, root, datasets)
    print(f"{out} is written: a study of {counted(len(new), 'dataset')} in {root}")
    for one in new:
        print(f"  {one.name}: {one.about}")
    for name, label in class_folders.items():
        print(f"  class folder {name}: {('real', 'fake')[label]}")
    for line in (*_few_lines(new), *_crop_lines(found.values())):
        print(line)
    small = ", ".join(f"{key} = {value}" for key, value in FIRST_LOOK.items())
    print(f"Its budget is for a first look ({small}). The file names the one to believe.")
    print("edit it, or run it as it is:")
    for step, command in zip(("next", "then", "then"), commands, strict=True):
        print(f"{step}: {command}")
    return cli.DONE


def _checked_out(options: argparse.Namespace) -> Path:
    """The study file's path. Raises ConfigError for one that is there, or can be no study's."""
    from study.core.errors import ConfigError
    from study.core.paths import given_path
    from study.planning.study import STUDY_NAME

    text = options.out
    out = given_path(text)
    if out.suffix != ".toml" or not STUDY_NAME.fullmatch(out.stem):
        raise ConfigError(
            f"--out {text}: the file of a study is NAME.toml, with letters, digits, '.', '_' or '-'"
            " in the name"
        )
    results = cli.results_folder(options) / out.stem
    for path in (out, _links(out), results):
        if os.path.lexists(path):
            raise ConfigError(
                f"'{path}' exists and is not written over; move it away, or name another study with"
                " --out NAME.toml"
            )
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {text}: '{out.parent}' is no folder; make it, or name another")
    return out


def _datasets(options: argparse.Namespace) -> tuple[tuple[Path, ...], Mapping[str, int]]:
    """The folders of the datasets, and what their class folders hold; asked for in a terminal.
    Raises ConfigError where nobody can be asked.
    """
    from study.core.errors import ConfigError
    from study.core.paths import given_path
    from study.data.named_folders import answered, named_folders

    # a link keeps its name
    given = [Path(os.path.abspath(given_path(text))) for text in options.folders]  # noqa: PTH100
    found = named_folders(given, cli.class_folders(options.class_folder))
    ask = _ask if sys.stdin.isatty() else _ask_nobody
    classes, unclear = answered(found, ask)
    if not unclear:
        return found.datasets, classes
    names = {name: likely for of in unclear.values() for name, likely in of.items()}
    where = ", ".join(f"'{folder / name}'" for folder, of in unclear.items() for name in of)
    words = [f"--class-folder {shlex.quote(f'{name}=real')}" for name in names]
    if None in names.values():
        raise ConfigError(
            f"real or fake? The names of {where} do not say; say it with {' '.join(words)}, or"
            " =fake where one holds fakes"
        )
    likely = [
        f"{name}={('real', 'fake')[label]}" for name, label in names.items() if label in (0, 1)
    ]
    raise ConfigError(
        f"real or fake? The names of {where} do not say. If they are what the other folders are"
        f" not: {_again(options, likely)}"
    )


def _ask_nobody(dataset: Path, name: str, likely: int | None) -> int | None:
    return None


def _ask(dataset: Path, name: str, likely: int | None) -> int | None:
    """Ask in the terminal what a class folder holds; None where the input ends."""
    words = {"r": 0, "real": 0, "f": 1, "fake": 1, **({} if likely is None else {"": likely})}
    hint = "" if likely is None else f" [{('real', 'fake')[likely]}]"
    while True:
        try:
            answer = input(f"{dataset / name}: real or fake?{hint} ").strip().lower()
        except EOFError:
            return None
        if answer in words:
            return words[answer]
        print("please answer real or fake (or r, f); Ctrl-C ends it")


def _again(options: argparse.Namespace, classes: Sequence[str]) -> str:
    """The same command with more class folders said."""
    words = ["python", "-m", "study.init", *options.folders]
    for text in (*options.class_folder, *classes):
        words += ["--class-folder", text]
    words += ["--out", options.out] if options.out != "my_study.toml" else []
    words += ["--results", options.results] if options.results != "results" else []
    return shlex.join(words)


def _described(
    folder: Path, class_folders: Mapping[str, int], options: argparse.Namespace
) -> Description:
    """What a dataset is. Raises DataError for one that no study can use."""
    from study.core.errors import DataError
    from study.data.describe import describe_folder

    found = describe_folder(
        folder,
        class_folders=class_folders,
        cache=cli.results_folder(options).absolute() / "cache",
        progress=cli.show_progress,
    )
    if found.refusal:
        named = [f"{name}={('real', 'fake')[label]}" for name, label in class_folders.items()]
        words = ["python", "-m", "study.prepare", "--describe", str(folder)]
        for text in named:
            words += ["--class-folder", text]
        raise DataError(f"{found.refusal}; to look at it: {shlex.join(words)}")
    return found


def _new_dataset(found: Description) -> NewDataset:
    from collections import Counter

    from study.data.datasets import usable
    from study.planning.new_study import NewDataset
    from study.render.folder_text import usable_name

    table = usable(found.table)
    images = Counter(table["label"].to_pylist())
    of_test = zip(table["label"].to_pylist(), table["split"].to_pylist(), strict=True)
    tested = Counter(label for label, split in of_test if split == "test")
    published = f", read as the published {found.card.title}" if found.card else ""
    origin = "official split" if found.official else "split 70/15/15"
    return NewDataset(
        name=usable_name(found, whole=True),
        about=f"{images[0]:,} real, {images[1]:,} fake, {origin}{published}",
        splits=frozenset(table["split"].to_pylist()),
        largest=max(images.values()),
        tested=(tested[0], tested[1]),
    )


def _few_lines(new: Sequence[NewDataset]) -> Iterator[str]:
    """Say which datasets have few test images, and that one dataset alone has no answer."""
    from study.render.study_text import few_images_text

    for one in new:
        if few := few_images_text(*one.tested):
            yield f"{one.name}: {few}"
    if len(new) == 1:
        yield f"{new[0].name} alone has no cross-domain cell: name a second dataset to have one"


def _crop_lines(found: Iterable[Description]) -> Iterator[str]:
    """Say of every detector that crops how much it sees of a dataset's images, where that is less
    than a half of the side.
    """
    from study.data.audit.resolution import Native, share_seen
    from study.detectors.registry import spec_of
    from study.planning.new_study import DETECTORS

    for name in DETECTORS:
        geometry, seen = spec_of(name).geometry, {}
        for one in found:
            sides = [min(w, h) for (_, _, w, h), n in one.formats.items() if w for _ in range(n)]
            if not sides:
                continue
            side = float(median(sides))
            native = Native(width=side, height=side, short_side=(side, side, side))
            if (share := share_seen(native, geometry)) < MUCH:
                seen[one.name] = share
        if seen:
            shares = ", ".join(f"{share:.0%} of {dataset}" for dataset, share in seen.items())
            yield (
                f"{name} crops {geometry.size_px} x {geometry.size_px} px and never resizes. Share"
                f" of an image's side that it sees: {shares} (docs/geometry.md has other ways)"
            )


def _links(out: Path) -> Path:
    """The folder of links that stands for a data root, where datasets lie in several folders."""
    return out.with_name(f"{out.stem}_data")


def _root(datasets: Sequence[Path], out: Path) -> Path:
    """The folder that holds all datasets: their own, or one of links to be made. Raises DataError
    for two of a name.
    """
    from study.core.errors import DataError

    names = [folder.name for folder in datasets]
    for name in names:
        if names.count(name) > 1:
            first, second, *_ = [str(folder) for folder in datasets if folder.name == name]
            raise DataError(
                f"'{first}' and '{second}' have one name, by which a study would know both; rename"
                " one, or name a link to it (ln -s FOLDER OTHER_NAME)"
            )
    if len({folder.parent for folder in datasets}) == 1:
        return datasets[0].parent
    return _links(out).absolute()


def _command(step: str, out: Path, options: argparse.Namespace) -> str:
    places = {"results": options.results, "set": []}
    return cli.again(argparse.Namespace(study=_spelled(out), **places), step)


def _spelled(out: Path) -> str:
    """The study file as a command names it; a leading dash would be an option."""
    return f"./{out}" if str(out).startswith("-") else str(out)


def _write(out: Path, text: str, root: Path, datasets: Sequence[Path]) -> None:
    """Write the study file, and before it the folder of links where there is to be one."""
    from study.core.identity import whole_file, whole_folder

    if root == _links(out).absolute():
        with whole_folder(root) as temporary:
            for folder in datasets:
                (temporary / folder.name).symlink_to(folder)
    with whole_file(out) as file:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)

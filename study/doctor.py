"""Show what this machine has: versions, devices, weights, datasets, disk, addresses.

    python -m study.doctor

With a study, it also says what that study needs and this machine lacks. Downloads nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.planning.study import Study

EXAMPLES = """
python -m study.doctor
python -m study.doctor my_study.toml
python -m study.doctor quick --results /scratch/results --data-root ~/datasets
"""
GIB = 2**30
LOW_DISK = 5 * GIB
ADDRESSES = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "STUDY_WEIGHTS", "HF_HOME", "HF_ENDPOINT")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("doctor", __doc__, EXAMPLES)
    cli.add_study_options(parser, optional=True)
    options = cli.parse(parser, arguments)
    from study.core.errors import ConfigError
    from study.planning.study_file import load_study

    if options.set and not options.study:
        raise ConfigError(f"--set {options.set[0]} changes a study, and none is named")
    study = None
    if options.study:
        study = load_study(options.study, options.set, data_root=options.data_root)
    problems: list[str] = []
    for title, lines in (
        ("versions", _versions(problems)),
        ("devices", _devices()),
        ("weights", _weights(options)),
        ("datasets", _datasets(options, study)),
        ("disk", _disk(options, problems)),
        ("addresses", _addresses(options)),
    ):
        print(f"{title}\n" + "\n".join(f"  {line}" for line in lines))
    return _verdict(options, study, problems)


def _verdict(options: argparse.Namespace, study: Study | None, problems: list[str]) -> int:
    """Print what is wrong, and what a study lacks; return the exit code."""
    lacking = []
    if study is not None:
        from study.planning.missing import missing

        results, weights = cli.results_folder(options), cli.weights_root(options, study)
        lacking = [*missing(study, results=results, weights_root=weights)]
    for line in problems:
        print(f"problem: {line}")
    if study is None:
        print("everything the package needs is here" if not problems else "")
        return cli.SOME_FAILED if problems else cli.DONE
    for line in lacking:
        print(f"missing for {study.name}: {line}")
    if lacking:
        print(f"next: {cli.again(options, 'prepare')}")
    else:
        print(f"{study.name} has all it needs\nnext: {cli.again(options, 'sweep')}")
    return cli.SOME_FAILED if problems or lacking else cli.DONE


def _versions(problems: list[str]) -> Iterator[str]:
    """Yield the versions of Python, this package and what it needs. What is not installed, or not
    in the range that is needed, is a problem.
    """
    from importlib import metadata

    from packaging.requirements import Requirement

    yield f"python {platform.python_version()}, {platform.platform()}"
    name = "fake-image-study"
    yield f"{name} {metadata.version(name)}"
    found = []
    for text in metadata.requires(name) or []:
        wanted = Requirement(text)
        if wanted.name == name:  # an extra that names another
            continue
        extra = re.search(r"extra == [\"'](\w+)[\"']", text)
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            if not extra:
                problems.append(f"{wanted.name} is not installed; pip install '{wanted}'")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            problems.append(f"{wanted.name} is {version}, and {wanted.specifier} is needed")
        found.append(f"{wanted.name} {version}")
    yield from _wrapped(dict.fromkeys(found))


def _devices() -> Iterator[str]:
    import torch

    from study.core.parallel import cpu_count

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield f"{cpu_count()} CPUs, {memory:.1f} GiB of memory"
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield f"GPU {number}: {about.name}, {about.total_memory / GIB:.0f} GiB"
    if not torch.cuda.is_available():
        yield "no CUDA GPU: everything runs on the CPUs"


def _weights(options: argparse.Namespace) -> Iterator[str]:
    from study.detectors import registry

    root = cli.weights_root(options)
    yield f"folder: {root or '(none given: --weights-root or STUDY_WEIGHTS)'}"
    by_status: dict[str, list[str]] = {}
    for name in registry.DETECTORS:
        by_status.setdefault(registry.weights_status(name, root), []).append(name)
    for status, names in by_status.items():
        yield from _wrapped([f"{status}: {names[0]}", *names[1:]])


def _datasets(options: argparse.Namespace, study: Study | None) -> Iterator[str]:
    from study.core.errors import DataError
    from study.data.catalog import Catalog, DataConfig, data_root

    given = options.data_root or (study.data.root if study else "")
    root, url = data_root(given)
    cache = cli.results_folder(options).absolute() / "cache"
    catalog = Catalog(DataConfig(root=root, url=url, cache=cache), firewall=True)
    yield f"folder: {root or url or '(none given: --data-root or data.root)'}"
    here = []
    for name in catalog.names():
        try:
            here += [name] if catalog.available(name) else []
        except DataError as error:
            yield f"refused: {name}: {error}"
    yield from _wrapped([f"here: {here[0]}", *here[1:]] if here else ["here: none"])


def _disk(options: argparse.Namespace, problems: list[str]) -> Iterator[str]:
    from study.core.paths import is_url

    places = {"temporary files": Path(os.environ.get("TMPDIR", "/tmp"))}
    if not is_url(options.results):
        places = {"results": Path(options.results)} | places
    for what, path in places.items():
        there = next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())
        free = shutil.disk_usage(there).free
        yield f"{what}: {free / GIB:.0f} GiB free in {path}"
        if free < LOW_DISK:
            problems.append(f"only {free / GIB:.1f} GiB are free in {path}")
        if not os.access(there, os.W_OK):
            problems.append(f"{there} cannot be written ({what})")


def _addresses(options: argparse.Namespace) -> Iterator[str]:
    from study.core.paths import is_url
    from study.tracking.mlflow_address import tracking_uri, without_password

    if not is_url(options.results):
        yield f"MLflow: {without_password(tracking_uri(Path(options.results)))}"
    for name in ADDRESSES:
        if os.environ.get(name):
            yield f"{name}={without_password(os.environ[name])}"


def _wrapped(words: Iterator[str] | Sequence[str] | dict[str, None]) -> Iterator[str]:
    """Join words by commas, in lines that fit a terminal."""
    import textwrap

    yield from textwrap.wrap(", ".join(words), 96, subsequent_indent="  ", break_on_hyphens=False)


if __name__ == "__main__":
    cli.run(main)

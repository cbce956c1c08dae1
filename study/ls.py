"""List detectors, datasets, search spaces, presets, runs, or what differs between two runs.

python -m study.ls detectors
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study import cli

if TYPE_CHECKING:
    from study.core.records import DatasetCard
    from study.detectors.base import Detector
    from study.search.spaces import Space

EXAMPLES = """
python -m study.ls detectors
python -m study.ls datasets --data-root ~/datasets
python -m study.ls spaces
python -m study.ls spaces npr timm:resnet18
python -m study.ls runs --results results
python -m study.ls diff older_study newer_study
python -m study.ls presets
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = cli.command_parser("ls", __doc__, EXAMPLES)
    listings = {"detectors": _detectors, "datasets": _datasets, "spaces": _spaces}
    listings |= {"presets": _presets, "runs": _runs, "diff": _diff}
    parser.add_argument("what", metavar="WHAT", help=", ".join(listings))
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="two studies for diff, by name or folder. Detectors for spaces",
    )
    parser.add_argument(
        "--json", action="store_true", help="of diff: print everything as one JSON object"
    )
    cli.add_place_options(parser)
    options = cli.parse(parser, arguments)
    from study.core.errors import ConfigError, unknown_name

    if options.what not in listings:
        raise ConfigError(unknown_name("listing", options.what, listings))
    if options.what != "spaces" and len(options.names) != (2 if options.what == "diff" else 0):
        raise ConfigError(
            f"ls {options.what} with {len(options.names)} names: diff takes two studies, spaces"
            " detectors, every other listing none"
        )
    listings[options.what](options)
    return cli.DONE


def _detectors(options: argparse.Namespace) -> None:
    from study.detectors import registry
    from study.detectors.weights import ENVIRONMENT, data_until
    from study.render.table import Cell, Column, table, text
    from study.search.spaces import load_space

    root = cli.weights_root(options)
    rows: list[list[Cell]] = []
    for name, line in registry.DETECTORS.items():
        detector = registry.create(registry.spec_of(name), 0)
        total = sum(p.numel() for p in detector.parameters())
        sizes = [total, _trained(detector, load_space(name)), line.geometry.size_px]
        weights = registry.weights_status(name, root)
        until = data_until(line.source) if line.source else ""
        known = [
            line.published.licence if line.published else line.licence,
            f"images until {until}" if until else "",
        ]
        said = "; ".join(filter(None, known))
        about = f"{line.about} ({said})" if said else line.about
        rows.append([name, *sizes, weights, line.learner, about])
    rows += [
        [name, "-", "-", "-", "none needed", registry.learner_of(name), about]
        for name, about in registry.ENSEMBLES.items()
    ]
    counts = [Column(name, "count") for name in ("parameters", "trained", "input px")]
    print(text(table(("detector", *counts, "weights here", "learner", "what"), rows)))
    print(
        f"""
parameters: all that make the score, backbone and head. trained: those that the default
configuration ever trains.
weights here: local (in {root or f"the folder of --weights-root or {ENVIRONMENT}"}),
  cached (by the Hugging Face hub's client), to download (from the hub, when a study first needs
  it), missing (on no hub: a study says which file to get and where to put it), to rename (a file
  is there that does not say which weights of its backbone it holds: a study says its name).
learner: gradient (the training loop), logistic (a head solved to its minimum), none (not trained),
  published (its authors' weights), members (of others' scores).
Besides these: timm:<name> and open_clip:<model>/<pretrained>, any model that these libraries have
weights for."""
    )


def _trained(detector: Detector, space: Space) -> int:
    """How many parameters the default configuration of a detector's space trains."""
    from study.core.records import UNTRAINED
    from study.training.recipe import Recipe
    from study.training.schedules import trained_size

    learner = detector.spec.learner
    if learner in UNTRAINED:
        return 0
    if learner == "logistic":
        return sum(p.numel() for p in detector.head.parameters())
    return trained_size(detector, Recipe.from_params(space.default(), learner=learner))


def _datasets(options: argparse.Namespace) -> None:
    from study.core.errors import DataError
    from study.data.catalog import Catalog, DataConfig, data_root
    from study.data.sources.cards import card_names, load_card
    from study.render.card_text import cards_text
    from study.render.table import table, text

    root, url = data_root(options.data_root or "")
    cache = cli.results_folder(options).absolute() / "cache"
    catalog = Catalog(DataConfig(root=root, url=url, cache=cache), firewall=True)
    cards = {name: load_card(name) for name in catalog.names() if name in card_names()}
    rows = []
    for name in catalog.names():
        card = cards.get(name)
        try:
            here = "yes" if catalog.available(name) else _how(card)
        except DataError as error:  # one folder that is not as it must be does not hide the others
            here = f"refused: {error}"
        about = card.title if card else f"folder {name} of the data root"
        parts = catalog.parts(name)
        about += f" ({', '.join(parts)})" if parts else ""
        rows.append((name, here, _size_text(card), about))
    print(text(table(("dataset", "here", "size", "what"), rows)))
    print(f"\n{cards_text(cards.values())}")


def _size_text(card: DatasetCard | None) -> str:
    if card is None or not card.size_gb:
        return "-"
    return f"{card.size_gb:g} GB" if card.size_gb >= 0.1 else f"{card.size_gb * 1000:g} MB"


def _how(card: DatasetCard | None) -> str:
    """How a dataset comes here that is not: in few words."""
    if card is None:
        return "from the data root"
    ways = {"demo": "made when used", "folder": "by hand"}
    ways |= {"kaggle": "from Kaggle", "huggingface": "from Hugging Face"}
    unpacked = card.archives and ways[card.source].startswith("from")
    return ways[card.source] + (", then unpacked" if unpacked else "")


SHARED = {
    "timm:<name>": "timm:test_vit.r160_in1k",
    "open_clip:<model>/<pretrained>": "open_clip:ViT-B-32/openai",
}
"""A model of each library that can be trained by every schedule of the file that all of its models
share."""


def _spaces(options: argparse.Namespace) -> None:
    from study.detectors import registry
    from study.render.table import table, text
    from study.search.spaces import WIDE, load_space, space_file

    searched = [name for name in registry.names() if space_file(name)]
    titles = {name: name for name in options.names or searched}
    titles |= {} if options.names else SHARED
    for title, name in titles.items():
        space = load_space(name)
        shared = space_file(name)
        file = f"search_spaces/{shared}.toml" if shared else "no file: nothing is searched"
        note = "; lora where all attention of the model is known" if title in SHARED else ""
        print(f"\n{title} ({file}): {_size(space)}{note}")
        settings = [
            (f"  {p.name}", str(p.default), "wide" if p.wide else "yes", p.text())
            for p in load_space(name, WIDE).parameters
        ]
        settings += [(f"  {key}", str(value), "-", "") for key, value in space.constants.items()]
        print(text(table(("  setting", "default", "searched", "range"), settings)))
    print(
        '\nsearched: yes, in every study; wide, where the study says search.space = "wide" or names'
        ' it\n(search.space = ["weight_decay"]), else its default is a constant; -, never.'
    )


def _size(space: Space) -> str:
    searched = [parameter for parameter in space.parameters if not parameter.fixed]
    ranges = sum(parameter.kind != "categorical" for parameter in searched)
    return (
        f"{len(searched)} settings searched, {ranges} of them ranges; a grid has"
        f" {space.grid_size():,} points"
    )


def _presets(_: argparse.Namespace) -> None:
    from importlib import resources

    from study.planning.study_file import preset_names
    from study.render.table import table, text

    rows = []
    for name in preset_names():
        file = resources.files("study.planning.presets") / f"{name}.toml"
        first = file.read_text(encoding="utf-8").splitlines()[0]
        rows.append((name, first.removeprefix("#").split(":", 1)[-1].strip()))
    print(text(table(("preset", "what"), rows)))


def _runs(options: argparse.Namespace) -> None:
    from study.render.table import Column, table, text
    from study.store.store import Store

    results = cli.results_folder(options)
    rows = []
    for file in sorted(results.glob("*/study.toml")):
        store = Store(results, file.parent.name)
        patterns = ("models/*/detector.json", "scores/*.parquet")
        files = (len(list(store.folder.glob(pattern))) for pattern in patterns)
        matrix = "yes" if store.matrix_file.exists() else "no"
        rows.append((file.parent.name, len(store.trials()), *files, matrix))
    if not rows:
        there = argparse.Namespace(study="quick", set=[], results=options.results)
        print(f"no runs in '{results}'; start one: {cli.again(there, 'sweep')}")
        return
    counts = [Column(name, "count") for name in ("trials", "models", "scored cells")]
    print(text(table(("study", *counts, "matrix"), rows)))


def _diff(options: argparse.Namespace) -> None:
    from study.analysis.diff import compare_versions, open_version
    from study.render.diff import as_json, as_text

    results = cli.results_folder(options)
    found = compare_versions(*(open_version(word, results) for word in options.names))
    print(as_json(found) if options.json else as_text(found))


if __name__ == "__main__":
    cli.run(main)

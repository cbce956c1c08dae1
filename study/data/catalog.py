"""The catalog: datasets by name, their identity, and their images.

A `DataConfig` is all that another process needs to open the same data. A catalog with the
firewall up (PROTOCOL section 3) drops the rows of every test split before it hands anything out,
and refuses to open one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import ConfigError, DataError, FirewallError, unknown_name
from study.core.identity import digest
from study.core.paths import given_path, is_url
from study.core.records import SPLITS, Balance, Geometry, Split
from study.data import datasets, splits
from study.data.datasets import Dataset
from study.data.draws import can_be_halved
from study.data.face_regions import FaceFinder, faces_found
from study.data.file_index import Progress, quiet
from study.data.images import packs
from study.data.images.decode import DECODE_VERSION
from study.data.images.faces import FACES_VERSION
from study.data.images.originals import Originals
from study.data.images.packs import ImageSet
from study.data.images.unify import UNIFY_VERSION, common_side
from study.data.images.videos import FRAMES_PER_VIDEO
from study.data.names import UNION, check_apart, parse_name, split_union
from study.data.shuffled import SHUFFLE_VERSION, SHUFFLED, shuffled
from study.data.sources.cards import card_names
from study.data.sources.locate import Sources


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where data comes from and how much of it is used; picklable.

    root: a folder with one folder per dataset, or None. url: that folder elsewhere
    (`s3://bucket/data`), or "".
    cache: folder for the index, the packs and the demo's images; made when needed.
    max_per_class: images per class and dataset, None (or 0) for all of them.
    class_folders: label (0 or 1) of class folders that are named otherwise than real/fake.
    frames_per_video: how many frames are taken of a video, evenly.
    balance: what training draws alike often (`ImageSet.strata`); no split, key or score depends on
    it.
    faces: the step by which each image becomes its face, "" for none (images/faces.py).
    unify: whether the images of both classes are re-encoded alike before anything else
    (images/unify.py).
    shuffle_seed: where it is given, images are opened with shuffled labels of train and val
    (shuffled.py).
    whole: datasets that are only tested on, by name: without a split of their own all their images
    are in test, and one class suffices.
    manifests: dataset -> its manifest, where that does not lie in its folder.
    fold: which split is drawn of a dataset that comes without one.
    """

    root: Path | None
    cache: Path
    max_per_class: int | None = None
    frames_per_video: int = FRAMES_PER_VIDEO
    class_folders: Mapping[str, int] = field(default_factory=dict)
    balance: Balance = "none"
    url: str = ""
    faces: str = ""
    unify: bool = False
    shuffle_seed: int | None = None
    whole: tuple[str, ...] = ()
    manifests: Mapping[str, Path] = field(default_factory=dict)
    fold: int = 0


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many usable images of one split, class and method there are."""

    split: str
    label: int
    method: str
    images: int


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What a dataset holds, for a person.

    groups: distinct group keys per split. grouped: whether any image's group is another than its
    own picture.
    straddling: groups in more than one split, possible only where the splits are official.
    excluded: (sample id, reason) of images that are listed and cannot be used. skipped: (folder,
    reason). n_bytes: of the files. faces: in how many images of each class one was found, "" where
    none was looked for. incomplete: sentences that say what of the published is missing.
    """

    name: str
    title: str
    root: Path
    layout: str
    official: bool
    digest: str
    counts: tuple[Count, ...]
    groups: Mapping[str, int]
    grouped: bool
    straddling: int
    excluded: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    n_bytes: int
    faces: str = ""
    incomplete: tuple[str, ...] = ()

    def images(self, split: str | None = None, label: int | None = None) -> int:
        """Return the number of usable images, of one split and class where these are given."""
        return sum(
            c.images for c in self.counts if split in (None, c.split) and label in (None, c.label)
        )


def data_root(text: str) -> tuple[Path | None, str]:
    """Return the data root as a person gives it, as `root` and `url` of a `DataConfig`. Raises
    DataError, ConfigError.
    """
    if is_url(text):
        return None, text.rstrip("/")
    root = given_path(text).absolute() if text else None
    if root is not None and not root.is_dir():
        raise DataError(
            f"data folder '{root}' does not exist; give another with --data-root or data.root in"
            " the study file"
        )
    return root, ""


class Catalog:
    """Datasets by name. What was opened once is kept: a process sees one state of the data, and its
    next job opens nothing anew.
    """

    def __init__(self, config: DataConfig, *, firewall: bool, progress: Progress = quiet) -> None:
        """firewall: True for search and selection; no row of a test split leaves the catalog.
        progress: told of long work.
        """
        self.config, self.firewall = config, firewall
        self.progress = progress
        self._sources = Sources(
            root=config.root,
            cache=config.cache,
            class_folders=config.class_folders,
            url=config.url,
            manifests=config.manifests,
            progress=self._report,
        )
        self._datasets: dict[str, Dataset] = {}
        self._has_test: dict[str, bool] = {}
        self._contents: dict[tuple[str, tuple[Split, ...]], str] = {}
        self._opened: dict[tuple[str, str, Geometry], ImageSet] = {}

    def _report(self, what: str, done: int, total: int) -> None:
        """Tell whoever listens now of long work."""
        self.progress(what, done, total)

    def names(self) -> list[str]:
        """Return all dataset names, sorted: folders below the data root, and cards. Raises
        DataError for a missing data root.
        """
        return self._sources.names()

    def members(self, name: str) -> tuple[str, ...]:
        """Return the datasets of a union, every name checked. Raises ConfigError or DataError."""
        members = split_union(name)
        check_apart(name)
        known = cache(self.names)
        for member in members:
            base = parse_name(member).base
            if member not in card_names() and (base in card_names() or member not in known()):
                # a folder that is not recognised says so; any other name is unknown
                self._sources.find(member, download=False)
        return members

    def parts(self, name: str) -> list[str]:
        """Return the datasets that a dataset's folder holds (`ffpp:FaceSwap`, ...), none where it
        is one or is not here.
        """
        return self._sources.parts(name)

    def available(self, name: str) -> bool:
        """Whether a dataset can be opened without downloading or making anything. Asks no network.

        Raises DataError for an unknown name; of a data root elsewhere that was not looked at yet,
        every name may be one.
        """
        return self._sources.find(name, download=False) is not None

    def dataset(self, name: str) -> Dataset:
        """Return one dataset, downloaded or made where needed, indexed, grouped and split.

        Behind the firewall it comes without its test split. Raises DataError (unknown, missing,
        empty, not recognised, no download, a split without both classes) and StoreError (the cache
        cannot be written).
        """
        if name not in self._datasets:
            dataset = self._load(name)
            self._has_test[name] = bool(pc.any(pc.equal(dataset.samples["split"], "test")).as_py())
            self._datasets[name] = dataset.without("test") if self.firewall else dataset
        return self._datasets[name]

    def has_test(self, name: str) -> bool:
        """Tell whether a dataset has a test split, also where it is hidden. Raises as `dataset`."""
        self.dataset(name)
        return self._has_test[name]

    def is_split_by_us(self, name: str) -> bool:
        """Tell whether a dataset's splits are drawn here, and so anew in each fold. Raises as
        `dataset`.
        """
        return not self.dataset(name).official and name not in self.config.whole

    def key(self, name: str, splits: Sequence[Split]) -> str:
        """Return the identity of the content of some splits of a dataset or union: paths, labels,
        methods, groups, videos, bytes, where faces are, how they are unified, how labels are
        shuffled.

        The same data have the same key wherever they lie and whatever their names; so have a+b and
        b+a.
        Raises what `dataset` raises, and FirewallError for a test split behind the firewall.
        """
        for split in splits:
            self._check_split(name, split)
        wanted = tuple(sorted(set(splits)))
        return digest(
            "data",
            DECODE_VERSION,
            wanted,
            sorted(self._content(member, wanted) for member in split_union(name)),
        )

    def open(self, name: str, split: Split, geometry: Geometry) -> ImageSet:
        """Return the images of one split of a dataset or union in a detector's geometry; missing
        packs are built.

        Raises what `dataset` raises, FirewallError for a test split behind the firewall,
        ConfigError for an impossible geometry.
        """
        self._check_split(name, split)
        key = (name, split, geometry)
        if key not in self._opened:
            cache, progress = self.config.cache, self.progress
            members = [self.dataset(member) for member in split_union(name)]
            parts = [
                packs.open_pack(member, split, geometry, cache=cache, progress=progress)
                for member in members
            ]
            seed = self.config.shuffle_seed
            parts = (
                parts
                if seed is None
                else [(shuffled(rows, split, seed), pack) for rows, pack in parts]
            )
            self._opened[key] = ImageSet(parts)
        return self._opened[key]

    def can_be_halved(self, name: str) -> bool:
        """Tell whether the training groups of a dataset or union can be parted into halves with
        both classes. Raises what `dataset` raises.
        """
        seed = self.config.shuffle_seed
        members = [self.dataset(member).rows("train") for member in split_union(name)]
        dealt = (rows if seed is None else shuffled(rows, "train", seed) for rows in members)
        table = pa.concat_tables(
            [datasets.usable(rows).select(["group", "label"]) for rows in dealt]
        )
        return can_be_halved(datasets.strings(table["group"]), datasets.labels(table))

    def pack(self, name: str, split: Split, geometry: Geometry) -> list[tuple[str, str]]:
        """Build the packs that `open` opens where they are missing; return (id, reason) of the
        images that have no row. Raises as `open`.
        """
        self._check_split(name, split)
        cache, progress = self.config.cache, self.progress
        members = [self.dataset(member) for member in split_union(name)]
        made = [
            packs.open_pack(one, split, geometry, cache=cache, progress=progress)[1]
            for one in members
        ]
        return sorted(entry for pack in made for entry in pack.excluded)

    def originals(self, name: str, split: Split) -> Originals:
        """Return the images of one split of a dataset or union as they are, decoded when they are
        read.

        Raises what `dataset` raises, and FirewallError for a test split behind the firewall.
        """
        self._check_split(name, split)
        return Originals([self.dataset(member) for member in split_union(name)], split)

    def pack_key(self, name: str, split: Split, geometry: Geometry) -> str:
        """Return the key of the pack of one dataset's split. Raises what `dataset` raises."""
        self._check_split(name, split)
        return packs.pack_key(self.dataset(name), split, geometry)

    def packed(self, name: str, split: Split, geometry: Geometry) -> bool:
        """Whether `open` would find every pack already built. Raises what `dataset` raises."""
        self._check_split(name, split)
        cache, members = self.config.cache, map(self.dataset, split_union(name))
        return all(packs.is_packed(member, split, geometry, cache=cache) for member in members)

    def describe(self, name: str) -> DatasetSummary:
        """Return what one dataset holds, behind the firewall without test. Raises as `dataset`."""
        dataset = self.dataset(name)
        samples = dataset.samples
        codes, _ = datasets.group_codes(samples, named=False)
        split = datasets.words(samples["split"])
        return DatasetSummary(
            name=name,
            title=dataset.card.title if dataset.card else "",
            root=dataset.root,
            layout=dataset.layout,
            official=dataset.official,
            digest=dataset.digest,
            counts=_counts(dataset.usable),
            groups={str(one): len(np.unique(codes[split == one])) for one in np.unique(split)},
            grouped=not pc.all(pc.equal(samples["group"], datasets.own_groups(samples))).as_py(),
            straddling=splits.straddling(codes, split),
            excluded=tuple(datasets.unusable(samples)),
            skipped=dataset.skipped,
            incomplete=dataset.incomplete,
            faces=faces_found(samples),
            n_bytes=pc.sum(pc.max_element_wise(samples["size"], 0)).as_py() or 0,
        )

    def _content(self, name: str, wanted: tuple[Split, ...]) -> str:
        """The digest of some splits of one dataset, as they are or unified: asked for with every
        job, and a second's work for a million images.
        """
        if (name, wanted) not in self._contents:
            dataset = self.dataset(name)
            content = datasets.content_digest(
                pa.concat_tables([dataset.rows(split, datasets.IDENTITY) for split in wanted])
            )
            unified = dataset.unified_px
            content = digest("unified", UNIFY_VERSION, unified, content) if unified else content
            if dataset.faces:
                regions = [
                    datasets.columns_digest(dataset.rows(split, ("face",)), ("face",))
                    for split in wanted
                ]
                content = digest("faces", FACES_VERSION, dataset.faces, regions, content)
            if self.config.shuffle_seed is not None and set(wanted) & set(SHUFFLED):
                content = digest("shuffled", SHUFFLE_VERSION, self.config.shuffle_seed, content)
            self._contents[name, wanted] = content
        return self._contents[name, wanted]

    def _check_split(self, name: str, split: str) -> None:
        if split not in SPLITS:
            raise ConfigError(unknown_name("split", split, SPLITS))
        if split == "test" and self.firewall:
            raise FirewallError(
                f"the test split of '{name}' cannot be opened here: search and selection see train"
                " and val only (PROTOCOL section 3); test splits are scored by study.cross_eval"
            )

    def _load(self, name: str) -> Dataset:
        if UNION in name:
            raise DataError(
                f"'{name}' is a union; ask for its members ({', '.join(split_union(name))}) one"
                " by one"
            )
        found = self._sources.find(name)
        assert found is not None, "with download=True a source is found or an error raised"
        only_tested = name in self.config.whole
        folder = datasets.list_folder(
            name,
            *found,
            cache=self.config.cache,
            frames_per_video=self.config.frames_per_video,
            one_class=only_tested,
            progress=self.progress,
        )
        dataset = datasets.assemble(
            folder,
            max_per_class=self.config.max_per_class,
            whole=only_tested,
            fold=self.config.fold,
            faces=FaceFinder(self.config.faces, cache=self.config.cache, progress=self.progress)
            if self.config.faces
            else None,
        )
        if not self.config.unify:
            return dataset
        return replace(dataset, unified_px=common_side(dataset.samples, dataset.root))


def _counts(usable: pa.Table) -> tuple[Count, ...]:
    table = usable.group_by(["split", "label", "method"]).aggregate([([], "count_all")])
    counts = [Count(images=row.pop("count_all"), **row) for row in table.to_pylist()]
    return tuple(sorted(counts, key=lambda c: (SPLITS.index(c.split), c.label, c.method)))

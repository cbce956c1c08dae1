"""Where a dataset is: a folder below the data root, here or by URL, the embedded demo, Kaggle, or
Hugging Face.

A folder below the data root wins over a card of the same name, and is still read by that
card's layout and methods. Archives that a card's dataset comes in are unpacked into the cache.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from study.core.cache import writing
from study.core.errors import DataError, unknown_name
from study.core.identity import digest, whole_folder
from study.core.records import DatasetCard
from study.data.class_words import guessed_classes
from study.data.file_index import Progress, quiet
from study.data.images.decode import EXTENSIONS
from study.data.layouts.folders import BY_MANIFEST, CLASS_WORDS, Layout, choose, find_layout
from study.data.layouts.left_behind import left_behind
from study.data.layouts.listing import Walker
from study.data.layouts.manifest import MANIFEST
from study.data.layouts.split_names import splits_among
from study.data.names import UNION, can_name, parse_name
from study.data.sources import archives, huggingface, kaggle
from study.data.sources.by_hand import by_hand, listed
from study.data.sources.cards import card_names, load_card
from study.data.sources.copies import RemoteRoot, manifest_copy

SHOWN = 6  # folders named in an error
_OUT_OF_TABLES = (
    "Parquet files at most two folders deep and WebDataset shards are read as they are; else write"
    " the bytes of every row's image to a file below real/ or fake/ (with pandas or the"
    " library datasets), or list such files in a manifest.csv"
)
_UNPACKED = "unpack the archives there, so that the folder holds real/ and fake/, and try again"
# what images may lie inside of, and what to do then
INSIDE = {
    **dict.fromkeys((".parquet", ".arrow", ".tfrecord", ".h5", ".hdf5", ".npz"), _OUT_OF_TABLES),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"), _UNPACKED),
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everywhere a dataset may be: the data root, the cards, and `cache` for the demo's images and
    for copies.

    root: the data root on this machine, or None. url: the data root elsewhere, "" where there is
    none. fake_label: the value that means fake in a manifest, "" for 1 and `fake`. manifests:
    dataset -> its manifest, where that lies elsewhere.
    """

    root: Path | None
    cache: Path
    class_folders: Mapping[str, int]
    url: str = ""
    fake_label: str = ""
    manifests: Mapping[str, Path] = field(default_factory=dict)
    progress: Progress = quiet

    @cached_property
    def remote(self) -> RemoteRoot | None:
        """The data root elsewhere."""
        return RemoteRoot(self.url, cache=self.cache, progress=self.progress) if self.url else None

    def names(self) -> list[str]:
        """Return the names of all datasets, below the data root and cards. Downloads nothing."""
        return sorted({*self.folder_names(), *card_names(), *self.manifests})

    def folder_names(self) -> list[str]:
        """Return the recognised folders below the data root. A name with `+`, `:` or `?` is passed
        over: these mean something; so is one that is no text.

        Of a data root elsewhere, all its folders. Raises DataError where the data root is no folder
        or cannot be reached.
        """
        if self.remote:
            return self.remote.names()
        root = self._checked_root()
        # a dataset may be a link to where it lies
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root else []
        names = [name for name in names if can_name(name) and not left_behind(name)]
        return [name for name in names if self._recognised(name)]

    def _checked_root(self) -> Path | None:
        if self.root is not None and not self.root.is_dir():
            raise DataError(
                f"the data root '{self.root}' is not a folder; name one that holds a folder per"
                " dataset"
            )
        return self.root

    def find(self, name: str, *, download: bool = True) -> tuple[DatasetCard | None, Layout] | None:
        """Return a dataset's card, if it has one, and how its folder is laid out.

        download: whether to fetch or make what is not there yet; otherwise None is returned for it,
        and no network is asked. Raises DataError for an unknown name, an unrecognised layout, or a
        download that fails.
        """
        parsed = parse_name(name)
        found = self.whole(parsed.base, shown=name, download=download)
        return (found[0], choose(found[1], parsed, shown=name)) if found else None

    def whole(
        self, base: str, *, shown: str, download: bool = True
    ) -> tuple[DatasetCard | None, Layout] | None:
        """What `find` returns, of all that a folder holds. shown: the name as it was written."""
        card = self.card(base)
        if named := self.manifests.get(base):
            listed = self._by_named_manifest(base, named, fetch=download)
            return (card, listed) if listed else None
        folder = self._folder(base)
        remote = self.remote
        if not folder and remote and self._is_elsewhere(remote, base, card, ask=download):
            folder = remote.fetch(base) if download else None
        elif not folder and card is None:
            raise DataError(unknown_name("dataset", shown, self.names(), where=self._where()))
        elif not folder and card:
            folder = self._card_folder(card, download=download)
        folder = self._unpacked(folder, card, unpack=download) if folder and card else folder
        if folder is None:
            return None
        layout = find_layout(folder, card=card, class_folders=self.class_folders)
        if layout is None:
            raise DataError(unrecognised(shown, folder, card, self.class_folders))
        if layout.parts:
            return card, layout
        if layout.tables:
            return card, replace(layout, fake_label=self.fake_label)
        root = self._listed(base, layout.root, layout.root / MANIFEST, fetch=download)
        return (card, replace(layout, root=root, fake_label=self.fake_label)) if root else None

    def _listed(self, base: str, folder: Path, manifest: Path, *, fetch: bool) -> Path | None:
        """Where the images of a manifest lie."""
        return manifest_copy(
            folder,
            manifest,
            name=base,
            cache=self.cache,
            fetch=fetch,
            fake_label=self.fake_label,
            progress=self.progress,
        )

    def _by_named_manifest(self, base: str, manifest: Path, *, fetch: bool) -> Layout | None:
        """The layout of a dataset whose manifest lies elsewhere, as the study names it. Its paths
        are relative to the dataset's folder, where there is none to the data root.
        """
        if self.remote:
            raise DataError(
                f"data.manifests: '{manifest}' is of dataset '{base}', and the data root"
                f" '{self.url}' is not on this machine; put the list into that folder as {MANIFEST}"
            )
        folder = self._folder(base) or self._checked_root() or manifest.parent
        root = self._listed(base, folder, manifest, fetch=fetch)
        if root is None:
            return None
        made = Layout(root=root, parts=(), rule=BY_MANIFEST, way=(root,))
        return made if root != folder else replace(made, manifest=manifest)

    def _is_elsewhere(
        self, remote: RemoteRoot, base: str, card: DatasetCard | None, *, ask: bool
    ) -> bool:
        """Whether a dataset that is not here is below the data root elsewhere.

        Where that may not be asked or does not answer, a dataset with a card that is here is none
        of it, and one without a card is.
        """
        if not ask and not remote.is_listed:
            return card is None
        try:
            return remote.holds(base)
        except DataError:
            if card and self._card_folder(card, download=card.source == "demo"):
                return False
            raise

    def _unpacked(self, folder: Path, card: DatasetCard, *, unpack: bool) -> Path | None:
        """The folder itself, or where the archives that it holds are unpacked to; None where they
        are not, and shall not be.

        A manifest in the folder decides instead of the archives. Raises DataError for images beside
        archives.
        """
        found = archives.find_archives(folder, card.archives)
        if not found:
            return folder
        beside = find_layout(folder, card=card, class_folders=self.class_folders)
        if beside and not (beside.parts or beside.tables):
            return folder
        if beside:
            _refuse_mixture(beside, found, name=card.name, folder=folder)
        if not unpack:
            return archives.unpacked(folder, found, cache=self.cache, name=card.name)
        return archives.unpack_all(
            folder, found, cache=self.cache, name=card.name, progress=self.progress
        )

    def parts(self, name: str) -> list[str]:
        """Return the names of the datasets that one folder holds, none where it is not here."""
        try:
            found = self.whole(parse_name(name).base, shown=name, download=False)
        except DataError:
            return []
        return [f"{name}:{member}" for member in found[1].members] if found else []

    def _where(self) -> str:
        root = self.url or self.root
        return f"data root '{root}' and cards" if root else "cards (no data root is given)"

    def _folder(self, name: str) -> Path | None:
        if self.remote:
            return self.remote.copy(name)
        if name.startswith(".") or Path(name).name != name:
            return None
        root = self._checked_root()
        return root / name if root and (root / name).is_dir() else None

    def _recognised(self, name: str) -> bool:
        folder, card = self._folder(name) or Path(), self.card(name)
        try:
            return bool(find_layout(folder, card=card, class_folders=self.class_folders))
        except DataError:  # it is a dataset, and what is wrong with it is said when it is opened
            return True

    @staticmethod
    def card(name: str) -> DatasetCard | None:
        """Return the card of a name, or of the Kaggle dataset that unpacks into such a folder."""
        if name in card_names():
            return load_card(name)
        cards = map(load_card, card_names())
        return next((card for card in cards if card.handle.partition("/")[2] == name), None)

    def _card_folder(self, card: DatasetCard, *, download: bool) -> Path | None:
        if card.source == "demo":
            return self._demo_folder(card.name, make=download)
        if card.source == "kaggle":
            return kaggle.fetch(card, data_root=self.root) if download else kaggle.cached(card)
        if card.source == "huggingface":
            hub = huggingface
            return hub.fetch(card, data_root=self.root) if download else hub.cached(card)
        if not download:
            return None
        why = "is not here, and is not downloaded by itself"
        raise DataError(by_hand(card, data_root=self.root, why=why))

    def _demo_folder(self, name: str, *, make: bool) -> Path | None:
        from study.data.sources import demo

        folder = self.cache / "demo" / f"{name}-{digest('demo', name, demo.VERSION)}"
        if not folder.is_dir() and not make:
            return None
        if not folder.is_dir():
            with writing(self.cache), whole_folder(folder) as temporary:
                demo.build(name, temporary, self.progress)
        return folder


def _refuse_mixture(beside: Layout, found: Sequence[Path], *, name: str, folder: Path) -> None:
    """Images beside archives: of these, or those of others that are gone? Nobody knows, and one of
    them would be left out.
    """
    walker = Walker(beside.root)
    image = next((image for part in beside.parts for image in walker.images(part.folder)), None)
    if image:
        raise DataError(
            f"dataset '{name}': '{folder}' holds archives ('{found[0].relative_to(folder)}',"
            f" {len(found)} in all) and images beside them ('{image.path}'): unpack all archives"
            " there and move them away, or put all archives there and move the images away, or"
            " list the images in a manifest.csv"
        )


def unrecognised(
    name: str, folder: Path, card: DatasetCard | None, class_folders: Mapping[str, int]
) -> str:
    """Return what was seen in a folder that is not understood, and what would be."""
    walker = Walker(folder)
    below = walker.folders("")
    holds = [f"{path}/ ({_images(sum(1 for _ in walker.images(path)))})" for path in below[:SHOWN]]
    holds += [f"{len(below) - SHOWN} more folders"] if len(below) > SHOWN else []
    holds += [f"{path} ({why})" for path, why in walker.skipped[:2]]
    files = [entry.name for entry in folder.iterdir() if entry.is_file()]
    loose = sum(file.lower().endswith(EXTENSIONS) for file in files)
    holds += [f"{_images(loose)} in no folder"] if loose else []
    suffixes = walker.ignored + Counter(Path(file).suffix.lower() for file in files)
    inside = [suffix for suffix in INSIDE if suffixes[suffix]]
    holds += [f"{suffixes[suffix]} *{suffix}" for suffix in inside]
    saw = (
        f"dataset '{name}': the layout of '{folder}' is not recognised (it holds:"
        f" {', '.join(holds) or 'nothing'}); "
    )
    if card and card.holds:
        return f"{saw}it must hold {listed(card.holds)}, or a manifest.csv"
    layouts = {path: _layout_in(folder / path, class_folders) for path in below}
    if several := {path: layout for path, layout in layouts.items() if layout}:
        return f"{saw}{_several(folder, several, class_folders)}"
    if inside:
        return f"{saw}images are read as files only: {INSIDE[inside[0]]}"
    return (
        f"{saw}expected manifest.csv (path,label[,method,group,split]), real/ fake/, 0_real/"
        f" 1_fake/, or train/ test/ (and val/) with those below; {_named_classes(walker, below)}"
    )


def _named_classes(walker: Walker, below: Sequence[str]) -> str:
    """What to write where class folders have other names: those of the folder at hand."""
    splits = splits_among(below)
    names = [n for split in splits for n in walker.folders(split)] if splits else below
    guesses, silent = guessed_classes(list(dict.fromkeys(names))[:SHOWN])
    table = ", ".join(f"{json.dumps(name)} = {label}" for name, label in guesses.items())
    options = _class_options(guesses)
    text = (
        f"class folders of other names go into data.class_folders{', as in' if guesses else ''}"
        f"{f' {{ {table} }}' if guesses else ' (0 real, 1 fake)'}, or, with prepare --describe and"
        f" audit --datasets, into {' '.join(options or ['--class-folder NAME=real or NAME=fake'])}"
    )
    if guesses:
        text += " (which of them is real is for you to say)"
    return f"{text}; {', '.join(silent)}: real or fake? The names do not say" if silent else text


def _class_options(classes: Mapping[str, int]) -> list[str]:
    return [f"--class-folder {shlex.quote(f'{n}={CLASS_WORDS[k]}')}" for n, k in classes.items()]


def _layout_in(folder: Path, class_folders: Mapping[str, int]) -> Layout | None:
    try:
        return find_layout(folder, class_folders=class_folders)
    except DataError:  # what is wrong with it is said when it is named
        return Layout(root=folder, parts=(), rule="")


def _several(folder: Path, found: Mapping[str, Layout], class_folders: Mapping[str, int]) -> str:
    """What to do where a folder holds datasets, each in a layout of its own."""
    usable = [name for name in found if can_name(name)] or list(found)
    root = f"--data-root {shlex.quote(str(folder))}"
    command = f"python -m study.prepare --describe {shlex.quote(str(folder / usable[0]))}"
    look = f"; to look at the first: {' '.join([command, *_class_options(class_folders)])}"
    if len(found) > 1 and len({_files(layout) for layout in found.values()}) == 1:
        return (
            f"{' and '.join(found)} hold the same files, as of an archive that holds itself: use"
            f" {root} and name '{usable[0]}' alone, or move the other away{look}"
        )
    several = len(found) > 1
    named = f"them in the study, together as the union '{UNION.join(usable[:SHOWN])}'"
    return (
        f"{'each of these folders' if several else 'the folder below'} is a dataset by"
        f" itself ({', '.join([*found][:SHOWN])}): use {root} and name"
        f" {named if several else 'it in the study'}; or list all images in one manifest.csv{look}"
    )


def _files(layout: Layout) -> frozenset[tuple[str, int]]:
    """The images below a layout's root, by path and size."""
    return frozenset((image.path, image.size) for image in Walker(layout.root).images(""))


def _images(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"

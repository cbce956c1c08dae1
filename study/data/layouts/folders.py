"""Folder layouts: which folders of a dataset are splits, which are classes, and which are methods.

Recognised, in this order:

    manifest.csv             overrides guessing (manifest.py)
    SPLIT / CLASS            official splits
    CLASS / SPLIT            the same, where all folders in the class folders are splits
    CLASS                    no splits: they are made by group (splits.py)
    SPLIT_CLASS, CLASS-SPLIT official splits, of folders whose names say both

    Parquet, shards          images inside other files (tables.py), where nothing of this is found

where SPLIT is `train`, `val` or `test` by one of many names (split_names.py), and CLASS is
`real`/`fake` in any case, `0_real`/`1_fake`, or a folder named in the study's or the card's
`class_folders`. A folder below a recognised class is a method (`fake/stylegan/x.jpg`); otherwise
the method is the class folder's name, or what the card's `methods` calls it. A named class folder
(`FaceSwap`) is itself a method: folders below it (a video each) are not. Where none of this is
found and the folder holds a single folder, as unpacked archives do, that one is looked at. What
systems leave behind (left_behind.py) is not there.

A card's `folders` are looked for before the last two, and in a lone folder (`GenImage/sd/...`)
before `{member}` takes it. Each says where class folders lie and what the names on the way mean:

    { path = "manipulated_sequences/{member:FaceSwap|NeuralTextures}/{compression}/frames|images",
      label = "fake" }

Between slashes stands one folder's name; `a|b` is either, `*` any text, `{word}` any text that is
kept, `{word:a|b}` one of those. The words `class`, `split`, `member` and `method` are understood:
class is a class folder's name, split one of a split, a member is a dataset of its own
(`ffpp:FaceSwap`), to which images without a member belong as well; a member that is given outright
may be several, with `|` between them. Any other word is what a name
may ask for (`?compression=c40`). The other keys of an entry give a word outright; label is `real`
or `fake`. Where the card has `reals`, a file in a folder of fakes says which of its images are real
(reals.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from study.core.errors import ConfigError, DataError, unknown_name
from study.core.records import FAKE, REAL, DatasetCard
from study.data.class_words import SILENT, class_said
from study.data.images.inside import TABLE
from study.data.layouts.left_behind import left_beside, left_words
from study.data.layouts.listing import (
    LISTING_SCHEMA,
    Listing,
    Walker,
    column_blocks,
    in_blocks,
    joined,
)
from study.data.layouts.manifest import MANIFEST, has_manifest, misnamed_manifests, read_manifest
from study.data.layouts.reals import read_reals, relabelled
from study.data.layouts.split_names import HELD_OUT, joint_name, split_of, splits_among
from study.data.layouts.tables import Tables, read_tables, table_files
from study.data.layouts.unreached import ignored_files, unreached
from study.data.names import DatasetName

CLASS_NAMES = {"real": REAL, "fake": FAKE, "0_real": REAL, "1_fake": FAKE}
CLASS_WORDS = {REAL: "real", FAKE: "fake"}

BY_MANIFEST = f"{MANIFEST} lists the images"
BY_SPLITS = "split folders with class folders in them"
BY_CLASS_SPLITS = "class folders with split folders in them"
BY_CLASSES = "class folders"
FLAT_SPLIT = "a split folder without class folders in it"
BY_JOINT_NAMES = "folders whose names say split and class"
BY_TABLES = "files with images inside"

_DEEPEST_WRAPPER = 3


@dataclass(frozen=True, kw_only=True)
class Part:
    """A class folder: where it lies below the root, the split it belongs to ("" for none), and what
    its images are.

    member: the dataset of the folder that it belongs to, or several with `|` between them, "" for
    all of them. words: what else a
    card's folders say of it. reals: the card's, of a folder of fakes; the label of an image is then
    what that file says.
    """

    folder: str
    split: str
    label: int
    method: str
    methods_below: bool
    member: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    reals: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a folder is understood. `root` is what paths are relative to; no parts means that there
    is a manifest, or that images lie inside `tables`.

    rule: which of the rules of this file's header matched, for a person. skipped: (folder, reason)
    of folders beside the classes that hold no part of the dataset. others: class folders that a
    member or subset leaves out. methods: the only methods of fakes that it has, none for all. way:
    the folders from the dataset's own down to the class folders, these too, or to that which holds
    the manifest. What else lies there, such as the lists of an official split, is the dataset's.
    fake_label: the value of the manifest's label that means fake, "" for 1 and `fake`. manifest:
    that which the study names, where it lies elsewhere.
    """

    root: Path
    parts: tuple[Part, ...]
    rule: str
    skipped: tuple[tuple[str, str], ...] = ()
    others: tuple[Part, ...] = ()
    methods: tuple[str, ...] = ()
    way: tuple[Path, ...] = ()
    fake_label: str = ""
    tables: Tables | None = None
    manifest: Path | None = None

    @property
    def members(self) -> list[str]:
        """The datasets that the folder holds, sorted; none where it is one dataset."""
        parts = (*self.parts, *self.others)
        return sorted({name for part in parts for name in part.member.split("|") if name})

    @property
    def text(self) -> str:
        """The layout in a few words, for a person."""
        if not self.parts:
            return self.rule if self.tables else MANIFEST
        class_first = self.rule == BY_CLASS_SPLITS
        names = [(part, part.folder.split("/")) for part in self.parts]
        splits = [name[-1 if class_first else 0] for part, name in names if part.split]
        splits = [] if self.rule == BY_JOINT_NAMES else splits
        classes = [
            f"{name[0 if class_first else -1]} ({CLASS_WORDS[part.label]})" for part, name in names
        ]
        words = [", ".join(dict.fromkeys(found)) for found in (splits, classes) if found]
        files = {part.reals["file"] for part in self.parts if part.reals}
        return " / ".join(reversed(words) if class_first else words) + "".join(
            f"; real among fakes by {file}" for file in files
        )


def find_layout(
    folder: Path, *, card: DatasetCard | None = None, class_folders: Mapping[str, int] | None = None
) -> Layout | None:
    """Return how a dataset's folder is laid out, or None where it is not recognised. Reads names
    only.

    class_folders: label of class folders named otherwise than real/fake; they win over the card's.
    Raises DataError for a folder that holds split folders and class folders side by side, or others
    with class folders in them beside these, or a class in two ways that the card knows; for class
    folders that hold split folders and others;
    and for a manifest that is no file, or nearly has the name of one.
    """
    _refuse_reversed(class_folders or {})
    classes = {**(card.class_folders if card else {}), **(class_folders or {})}
    layout = _find(folder, card, classes) or _by_tables(folder, card, classes)
    if layout is None:
        return None
    ends = [layout.root, *(layout.root / part.folder for part in layout.parts)]
    way = {above for end in ends for above in (end, *end.parents) if above.is_relative_to(folder)}
    return replace(layout, way=tuple(sorted(way, key=lambda path: (len(path.parts), path))))


def _refuse_reversed(class_folders: Mapping[str, int]) -> None:
    """Raise ConfigError for a folder `fake` that is to hold reals: 0 is real, and 1 is fake."""
    for name, label in class_folders.items():
        said = class_said(name, only=True)
        if said not in (SILENT, label):
            raise ConfigError(
                f"class folder '{name}' is given as {CLASS_WORDS[label]} ({label}), and its name"
                f" says {CLASS_WORDS[said]}: in data.class_folders 0 is real and 1 is fake. If it"
                " is meant so, rename the folder"
            )


def _find(folder: Path, card: DatasetCard | None, named: Mapping[str, int]) -> Layout | None:
    if card and card.subfolder and (folder / card.subfolder).is_dir() and not has_manifest(folder):
        folder = folder / card.subfolder
    for _ in range(_DEEPEST_WRAPPER + 1):
        if has_manifest(folder):
            return _by_manifest(folder)
        walker = Walker(folder)
        layout = _by_card_within(folder, card, named) if card and card.folders else None
        layout = layout or _recognise(walker, named, card.methods if card else {})
        below = walker.folders("")
        if layout or len(below) != 1:
            return layout
        folder = folder / below[0]
    return None


def _by_manifest(folder: Path) -> Layout:
    return Layout(root=folder, parts=(), rule=BY_MANIFEST)


def _by_tables(folder: Path, card: DatasetCard | None, classes: Mapping[str, int]) -> Layout | None:
    files = table_files(folder)
    known = (card.columns, card.methods, card.splits) if card else ({}, {}, {})
    columns, methods, splits = known
    tables = Tables(files=files, columns=columns, classes=classes, methods=methods, splits=splits)
    return Layout(root=folder, parts=(), rule=BY_TABLES, tables=tables) if files else None


def choose(layout: Layout, name: DatasetName, *, shown: str) -> Layout:
    """Return the layout of a member or subset of what lies in a folder. shown: the name as it was
    written.

    Raises DataError for a member that is not there, and where a word of the folders has several
    values and none is asked for; ConfigError for a condition on what the folders do not say.
    """
    parts, methods = layout.parts, name.where.get("method", ())
    if name.member and layout.members:
        if name.member not in layout.members:
            members = [f"{name.base}:{member}" for member in layout.members]
            raise DataError(unknown_name("dataset", shown, members))
        parts = tuple(p for p in parts if not p.member or name.member in p.member.split("|"))
    elif name.member:
        methods = (*methods, name.member)
    words = sorted({word for part in parts for word in part.words})
    for key, values in name.where.items():
        if key not in ("method", *words):
            valid = ["method", *words]
            raise ConfigError(unknown_name("condition", key, valid, where=f"dataset '{shown}'"))
        if key != "method":
            parts = tuple(part for part in parts if part.words.get(key) in (*values, None))
    for word in words:
        left = {part.words[word] for part in parts if word in part.words}
        if not left or (len(left) > 1 and word not in name.where):
            valid = sorted({part.words[word] for part in layout.parts if word in part.words})
            raise DataError(
                f"dataset '{shown}' has {word} {', '.join(valid)}; name one:"
                f" {shown.split('?', maxsplit=1)[0]}?{word}={valid[0]}"
            )
    others = tuple(part for part in layout.parts if part not in parts)
    return replace(layout, parts=parts, others=others, methods=methods)


def other_paths(layout: Layout, listing: Listing) -> Iterator[str]:
    """Yield the paths of the images that a member or subset leaves out. listing: what `read_layout`
    returned for the layout.
    """
    for block in column_blocks(listing.others):
        yield from block
    walker = Walker(layout.root)
    for part in layout.others:
        yield from (image.path for image in walker.images(part.folder))


def read_layout(layout: Layout, *, name: str, one_class: bool = False) -> Listing:
    """List the images of a layout. one_class: whether one suffices. Raises DataError for an
    unreadable folder, a broken manifest or a class without images.
    """
    if layout.tables:
        listing = read_tables(layout.root, layout.tables, fake_label=layout.fake_label)
    elif not layout.parts:
        listing = read_manifest(layout.root, file=layout.manifest, fake_label=layout.fake_label)
    else:
        walker = Walker(layout.root)
        tables = [table for part in layout.parts for table in _list_part(walker, part)]
        table = pa.concat_tables([LISTING_SCHEMA.empty_table(), *tables])
        listing = Listing(table=table, layout=layout.text, skipped=_skipped(layout, walker))
    if layout.methods:
        listing = _with_methods(listing, layout.methods, name=name)
    if not (one_class and listing.table.num_rows):
        _check_classes(listing, name=name, root=layout.root)
    return listing


def _skipped(layout: Layout, walker: Walker) -> tuple[tuple[str, str], ...]:
    """What was passed over: folders, links, images in no class, other files."""
    skipped = dict.fromkeys((*layout.skipped, *walker.skipped))
    for flat in [(folder, why) for folder, why in skipped if why == FLAT_SPLIT]:
        number = sum(1 for _ in Walker(layout.root).images(flat[0]))
        skipped[flat[0], f"{FLAT_SPLIT}: {number:,} images of no class"] = skipped.pop(flat)
    named = {path for path, _ in skipped}
    reached = {part.folder for part in (*layout.parts, *layout.others)}
    beside = [found for found in unreached(Walker(layout.root), reached) if found[0] not in named]
    read = Counter(Path(part.reals["file"]).suffix.lower() for part in layout.parts if part.reals)
    classes = {layout.root / folder for folder in reached}
    way = [folder for folder in layout.way if folder not in classes]
    left = walker.left + left_beside(way)
    beside += _tables_beside(layout.root)
    misnamed = [(name, f"not read: only {MANIFEST} is") for name in misnamed_manifests(way)]
    return (*skipped, *beside, *misnamed, *left_words(left), *ignored_files(walker.ignored - read))


def _tables_beside(root: Path) -> list[tuple[str, str]]:
    files = [file for file in table_files(root) if file.lower().endswith(TABLE)]
    what = f"{len(files)} Parquet file{'' if len(files) == 1 else 's'}"
    return [(what, "not read: the class folders decide")] if files else []


def _with_methods(listing: Listing, methods: tuple[str, ...], *, name: str) -> Listing:
    """Keep all reals, and the fakes by some methods."""
    fake = pc.equal(listing.table["label"], FAKE)
    known = pc.unique(listing.table["method"].filter(fake)).to_pylist()
    for method in methods:
        if method not in known:
            raise DataError(unknown_name("method", method, known, where=f"dataset '{name}'"))
    kept = pc.or_(pc.invert(fake), pc.is_in(listing.table["method"], value_set=pa.array(methods)))
    others = listing.table["path"].filter(pc.invert(kept))
    return replace(listing, table=listing.table.filter(kept), others=others)


def _by_card_within(
    folder: Path, card: DatasetCard, named: Mapping[str, int], *, deepest: int = _DEEPEST_WRAPPER
) -> Layout | None:
    """What `_by_card` finds, looking through a lone folder that it takes for a member where both
    classes are in there.
    """
    walker = Walker(folder)
    layout = _by_card(walker, card, named)
    below = walker.folders("")
    if layout is None or not deepest or len(below) != 1 or below[0] in card.methods:
        return layout
    if any(part.member != below[0] for part in layout.parts):
        return layout
    if has_manifest(folder / below[0]):
        return _by_manifest(folder / below[0])
    within = _by_card_within(folder / below[0], card, named, deepest=deepest - 1)
    return within if within and (not within.parts or _both_classes(within.parts)) else layout


def _both_classes(parts: Sequence[Part]) -> bool:
    return len({part.label for part in parts}) == len(CLASS_WORDS)


def _by_card(walker: Walker, card: DatasetCard, named: Mapping[str, int]) -> Layout | None:
    """Find the class folders that a card names. The first entry that reaches a folder says what it
    is.

    A folder that holds class folders is none itself: `{member}` does not take the split folders for
    datasets.
    """
    classes = {**CLASS_NAMES, **{name.lower(): label for name, label in named.items()}}
    splits: dict[str, str] = {**card.splits}
    found: dict[str, Part] = {}
    for entry in card.folders:
        segments = [re.compile(segment_pattern(segment)) for segment in entry["path"].split("/")]
        given = {key: value for key, value in entry.items() if key != "path"}
        no_split = None if "{split" in entry["path"] else ""
        for folder, words in _descend(walker, "", segments, given):
            label = classes.get(words.pop("label", words.pop("class", "")).lower())
            called = words.pop("split", "").lower()
            read = split_of(called).replace(HELD_OUT, "")
            split = splits.get(called) or splits.get(read, read) or no_split
            is_member = not split_of(words.get("member", ""))  # a split is no generator
            if label is not None and split is not None and is_member:
                found.setdefault(folder, _part(folder, label, split, words, card))
    parts = tuple(
        found[folder]
        for folder in sorted(found)
        if not any(other.startswith(f"{folder}/") for other in found)
    )
    _refuse_two_ways(walker, parts)
    used = {part.folder.split("/")[0] for part in parts}
    why = "holds no class folder that the card knows"
    beside = [(name, why) for name in walker.folders("") if name not in used]
    rule = f"the folders of the card {card.name}"
    skipped = (*walker.skipped, *beside)
    return Layout(root=walker.root, parts=parts, rule=rule, skipped=skipped) if parts else None


def _refuse_two_ways(walker: Walker, parts: Sequence[Part]) -> None:
    """Refuse a class that lies there in two ways that a card knows, such as published and in class
    folders side by side: images would count twice, or be of two compressions.
    """
    ways: dict[tuple[str, int], dict[tuple[str, ...], str]] = {}
    for part in parts:
        words = tuple(sorted(part.words))
        ways.setdefault((part.member, part.label), {}).setdefault(words, part.folder)
    for (_, label), folders in ways.items():
        if len(folders) > 1:
            first, second, *_ = sorted(folders.values())
            raise DataError(
                f"'{walker.root}' holds {CLASS_WORDS[label]} images of one dataset in two layouts,"
                f" '{first}' and '{second}'; move one of them away, or list the images in"
                f" {MANIFEST}"
            )


def _part(folder: str, label: int, split: str, words: dict[str, str], card: DatasetCard) -> Part:
    member = words.pop("member", "")
    member = card.methods.get(member, member)
    method = words.pop("method", "") or (member if label == FAKE else "")
    method = method or folder.rsplit("/", maxsplit=1)[-1]
    return Part(
        folder=folder,
        split=split,
        label=label,
        method=card.methods.get(method, method),
        methods_below=False,
        member=member,
        words=words,
        reals=card.reals if label == FAKE else {},
    )


def _descend(
    walker: Walker, folder: str, segments: list[re.Pattern[str]], words: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every folder that the segments lead to, with the words read on the way."""
    if not segments:
        yield folder, dict(words)
        return
    for name in walker.folders(folder):
        match = segments[0].fullmatch(name)
        if match:
            both = {**words, **match.groupdict()}
            yield from _descend(walker, joined(folder, name), segments[1:], both)


def segment_pattern(segment: str) -> str:
    """Return the regular expression of one folder's name in a card's `folders`. Raises ConfigError
    for a lonely brace.
    """
    pattern = ""
    for word, among, text in re.findall(r"\{(\w+)(?::([^{}]*))?\}|([^{}]+|.)", segment):
        if word:
            pattern += f"(?P<{word}>{_either(among or '*')})"
        elif text in "{}":
            raise ConfigError(f"folders: '{segment}' has a brace without its other half")
        else:
            pattern += f"(?:{_either(text)})"
    return pattern


def _either(text: str) -> str:
    return "|".join(re.escape(choice).replace(r"\*", ".*") for choice in text.split("|"))


def _recognise(
    walker: Walker, named: Mapping[str, int], methods: Mapping[str, str]
) -> Layout | None:
    def class_parts(above: str, split: str) -> dict[str, Part]:
        """The class folders in a folder, by their names."""
        return {
            name: Part(
                folder=joined(above, name),
                split=split,
                label=label,
                method=methods.get(name, name),
                methods_below=name not in named,
            )
            for name in walker.folders(above)
            if (label := named.get(name, CLASS_NAMES.get(name.lower()))) is not None
        }

    top = walker.folders("")
    classes = class_parts("", "")
    holding = [name for name in top if name not in classes and class_parts(name, "")]
    names = splits_among(holding)
    by_split = {name: class_parts(name, split) for name, split in names.items()}
    splits = [part for parts in by_split.values() for part in parts.values()]
    if splits and classes:
        raise DataError(
            f"'{walker.root}' holds split folders ({splits[0].folder}) and class folders"
            f" ({next(iter(classes))}) side by side; keep one kind, or list the images in"
            f" {MANIFEST}"
        )
    if not splits and not classes:
        return _by_joint_names(walker, {**CLASS_NAMES, **named}, methods)
    _refuse_others(walker, [name for name in holding if name not in names], by_split or classes)
    ignored = [
        f"{split}/{name}"
        for split, parts in by_split.items()
        for name in walker.folders(split)
        if name not in parts
    ]
    ignored += [name for name in top if name not in classes and name not in by_split]
    skipped = (*walker.skipped, *((folder, _why_ignored(folder)) for folder in ignored))
    within = _splits_within(walker, list(classes.values()))
    rule = BY_SPLITS if splits else BY_CLASS_SPLITS if within else BY_CLASSES
    found = tuple(splits or within or classes.values())
    return Layout(root=walker.root, parts=found, rule=rule, skipped=skipped)


def _by_joint_names(
    walker: Walker, classes: Mapping[str, int], methods: Mapping[str, str]
) -> Layout | None:
    """`train_real`, `train_fake`, `test_real`, ...; None where these are not of both classes."""
    top = walker.folders("")
    read = {name: pair for name in top if (pair := joint_name(name, classes))}
    splits = splits_among({split for split, _ in read.values()})
    parts = tuple(
        Part(
            folder=name,
            split=splits[split],
            label=classes[word],
            method=methods.get(word, word),
            methods_below=True,
        )
        for name, (split, word) in read.items()
        if split in splits
    )
    if not _both_classes(parts):
        return None
    names = [part.folder for part in parts]
    others = [name for name in top if name not in names]
    _refuse_others(walker, [name for name in others if name in read], names)
    skipped = (*walker.skipped, *((name, _why_ignored(name)) for name in others))
    return Layout(root=walker.root, parts=parts, rule=BY_JOINT_NAMES, skipped=skipped)


def _why_ignored(folder: str) -> str:
    if "/" not in folder and split_of(folder):
        return FLAT_SPLIT
    return "neither a split nor a class folder"


def _refuse_others(walker: Walker, others: Sequence[str], understood: Iterable[str]) -> None:
    """Refuse folders that hold class folders with images and are no split: these would be lost."""
    for name in others:
        number = sum(1 for _ in Walker(walker.root).images(name))
        if number:
            known = ", ".join(f"'{folder}'" for folder in understood)
            raise DataError(
                f"'{walker.root}' holds {known}, and beside them '{name}' with images of classes"
                f" ({number:,} images), which is not known as a split; rename it to train, val or"
                " test, move it away (where it is a dataset by itself, to the data root), or list"
                f" the images in {MANIFEST}"
            )


def _splits_within(walker: Walker, classes: Sequence[Part]) -> list[Part]:
    """The split folders in class folders; none where there are none, or only in some that
    `class_folders` names.

    Raises DataError where folders of both kinds are mixed: a split would be lost, or taken for a
    method.
    """
    below = [(part, name) for part in classes for name in walker.folders(part.folder)]
    splits = splits_among(dict.fromkeys(name for _, name in below))
    parts = [
        replace(part, folder=f"{part.folder}/{name}", split=splits[name])
        for part, name in below
        if name in splits
    ]
    others = [f"'{p.folder}/{n}' is none" for p, n in below if n not in splits]
    others += [
        f"'{part.folder}' holds images that are in none"
        for part in classes
        if walker.loose(part.folder)
    ]
    holding = [part for part, _ in below]
    others += [f"'{part.folder}' holds none" for part in classes if part not in holding]
    if parts and not others:
        return parts
    if any(part.methods_below for part in parts) or _both_classes(parts):
        raise DataError(
            f"'{walker.root}': class folders hold split folders ({parts[0].folder}), and"
            f" {others[0]}; make every folder in the class folders train, val or test, or rename"
            f" those that are no splits, or list the images in {MANIFEST}"
        )
    return []


def _list_part(walker: Walker, part: Part) -> Iterator[pa.Table]:
    """Yield the images of a class folder, `BLOCK` at a time: no more are ever Python objects."""
    below = len(part.folder) + 1
    listed = read_reals(walker.root / part.folder, part.reals) if part.reals else {}
    for found in in_blocks(walker.images(part.folder)):
        paths, size, changed_ns, problem = zip(*found, strict=True)
        nested = [path[below:].partition("/") for path in paths] if part.methods_below else []
        names = [name.strip() if slash else "" for name, slash, _ in nested] or [""] * len(paths)
        # as of a manifest
        method = [name or part.method.strip() for name in names]
        read = {"path": paths, "method": method, "problem": problem}
        read |= {"size": size, "changed_ns": changed_ns}
        same = {"label": part.label, "split": part.split, "group": "", "video": ""}
        columns = read | {name: [value] * len(found) for name, value in same.items()}
        table = pa.table(columns, schema=LISTING_SCHEMA)
        if part.reals:
            table = relabelled(table, listed, folder=part.folder, file=part.reals["file"])
        yield table


def _check_classes(listing: Listing, *, name: str, root: Path) -> None:
    """Every class needs an image; which split it is in is checked where splits are made."""
    n_fake = pc.sum(listing.table["label"]).as_py() or 0
    counts = {REAL: listing.table.num_rows - n_fake, FAKE: n_fake}
    empty = next((CLASS_WORDS[label] for label, count in counts.items() if not count), None)
    if empty:
        unused = ", ".join(f"{folder} ({reason})" for folder, reason in listing.skipped[:4])
        hint = (
            f"; not used: {unused}; class folders of other names go into data.class_folders or"
            " --class-folder"
        )
        raise DataError(
            f"dataset '{name}' has no {empty} images ({counts[REAL]} real, {counts[FAKE]} fake;"
            f" understood as: {listing.layout}) in '{root}'{hint if unused else ''}"
        )

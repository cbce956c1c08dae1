"""Folders as a person names them for a new study: which are datasets, and which are one class of a
dataset.

A folder in which both classes are recognised is a dataset. Another may hold several, may hold class
folders of other names, or may be a class folder itself, of the folder that it lies in. What a class
folder's own name says is taken for its class. All else is for the person to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.core.errors import DataError, unknown_name
from study.data.class_words import SILENT, class_said, guessed_classes
from study.data.layouts.folders import CLASS_NAMES, find_layout
from study.data.layouts.listing import Walker
from study.data.layouts.split_names import splits_among
from study.data.sources.locate import Sources, unrecognised

_DEEPEST = 3  # folders that hold one folder alone, as unpacked archives do


@dataclass(frozen=True, kw_only=True)
class NamedFolders:
    """What a person's folders are. datasets: a folder each. class_folders: the label of those that
    are named otherwise than real and fake.

    unclear: dataset -> its class folders whose names do not say what they hold, each with the
    likely label, or None.
    """

    datasets: tuple[Path, ...]
    class_folders: Mapping[str, int]
    unclear: Mapping[Path, Mapping[str, int | None]]


def named_folders(folders: Sequence[Path], given: Mapping[str, int]) -> NamedFolders:
    """Tell what some folders are. given: the label of class folders, as a person said it.

    Raises DataError for a folder that is not there or holds no images, for one that is named twice,
    and for class folders beside which lie others that would count as well.
    """
    found: dict[Path, list[str]] = {}  # dataset -> its class folders, where these are to be named
    of_parent: dict[Path, list[str]] = {}
    for folder in folders:
        check_folder(folder)
        for dataset, classes in _look_into(folder, given):
            if dataset == folder.parent:
                of_parent.setdefault(dataset, []).extend(classes)
            elif dataset in found:
                raise DataError(f"'{dataset}' is named twice")
            else:
                found[dataset] = classes
    for parent, classes in of_parent.items():
        if parent in found:
            raise DataError(f"'{parent}' is named, and '{classes[0]}' of it too; name one of them")
        if len(classes) == 1:
            raise DataError(
                f"'{parent / classes[0]}' holds images and no class folders: it is one class. Name"
                " the folder of the other class too; both must lie in one folder"
            )
        found = {**found, parent: classes}
    for dataset in found:
        _refuse_within(dataset, found)
    return _judged(found, of_parent, given)


def _refuse_within(dataset: Path, others: Iterable[Path]) -> None:
    """Refuse a dataset that lies in another: its images would count twice."""
    above = next((one for one in others if one != dataset and dataset.is_relative_to(one)), None)
    if above:
        raise DataError(f"'{dataset}' lies in '{above}', which is named too; name one of them")


def check_folder(folder: Path) -> None:
    """Raise DataError for a folder that is not there, with the nearest that is."""
    if folder.is_dir():
        return
    if folder.exists():
        raise DataError(f"'{folder}' is a file; name the folder that it lies in")
    above = folder.parent
    beside = [path.name for path in above.iterdir() if path.is_dir()] if above.is_dir() else []
    raise DataError(unknown_name("folder", folder.name, beside, where=f"'{above}'"))


def _look_into(folder: Path, given: Mapping[str, int]) -> list[tuple[Path, list[str]]]:
    """The datasets that a folder is or holds, each with the class folders that are to be named;
    where it is a class folder, its parent with it.
    """
    if _is_recognised(folder, given):
        return [(folder, [])]
    walker, inner = Walker(folder), folder
    below = walker.folders("")
    for _ in range(_DEEPEST):
        if len(below) != 1 or walker.loose(""):
            break
        inner = inner / below[0]
        walker = Walker(inner)
        below = walker.folders("")
    if inside := [inner / name for name in below if _is_recognised(inner / name, given)]:
        return [(path, []) for path in inside]
    splits = splits_among(below)
    names = [n for split in splits for n in walker.folders(split)] if splits else below
    names = list(dict.fromkeys(names))
    said = {_label(name, given) for name in names} - {SILENT}
    if len(said) == 2:
        return [(folder, names)]
    if next(walker.images(""), None) is None:
        raise DataError(unrecognised(folder.name, folder, None, given))
    is_class = walker.loose("") or len(names) < 2 or _label(folder.name, given) != SILENT
    return [(folder.parent, [folder.name])] if is_class else [(folder, names)]


def _is_recognised(folder: Path, given: Mapping[str, int]) -> bool:
    """Whether a folder is a dataset, with both classes."""
    layout = find_layout(folder, card=Sources.card(folder.name), class_folders=given)
    if layout is None or not layout.parts:
        return layout is not None
    labels = {part.label for part in layout.parts}
    return len(labels) == 2 or any(part.reals for part in layout.parts)


def _label(name: str, given: Mapping[str, int]) -> int:
    """The label of a class folder: as given, as every dataset has it, else as its name says."""
    return given.get(name, CLASS_NAMES.get(name.lower(), class_said(name)))


def _judged(
    found: Mapping[Path, Sequence[str]],
    of_parent: Mapping[Path, Sequence[str]],
    given: Mapping[str, int],
) -> NamedFolders:
    classes = dict(given)
    unclear: dict[Path, dict[str, int | None]] = {}
    for dataset, names in found.items():
        guesses, _ = guessed_classes(names)
        for name in names:
            label = _label(name, given)
            if label == SILENT:
                unclear.setdefault(dataset, {})[name] = guesses.get(name)
            elif name.lower() not in CLASS_NAMES:
                classes[name] = label
    for parent, names in of_parent.items():
        layout = None if parent in unclear else find_layout(parent, class_folders=classes)
        others = [p.folder for p in layout.parts if p.folder not in names] if layout else []
        if others:
            raise DataError(
                f"beside {', '.join(map(repr, names))}, '{parent}' holds '{others[0]}', which is a"
                f" class folder too and would count: name it as well, or name '{parent}', or move"
                " it away"
            )
    return NamedFolders(datasets=tuple(found), class_folders=classes, unclear=unclear)


def answered(
    found: NamedFolders, ask: Callable[[Path, str, int | None], int | None]
) -> tuple[Mapping[str, int], Mapping[Path, Mapping[str, int | None]]]:
    """Return the class folders with the answers of `ask`, by dataset, class folder and likely
    label, and what stays unclear: where it answered None.
    """
    classes = dict(found.class_folders)
    left: dict[Path, dict[str, int | None]] = {}
    for dataset, names in found.unclear.items():
        for name, likely in names.items():
            label = classes.get(name, ask(dataset, name, likely))
            if label is None:
                left.setdefault(dataset, {})[name] = likely
            else:
                classes[name] = label
    return classes, left

"""Repeats of a study: all of it again in the same store, by other keys.

Two kinds. With `data.folds` each repeat draws the splits anew, with `budget.searches` it keeps
them. Both search and train with other seeds. Repeat 0 is the study itself, with the keys that it
has without repeats, so that nothing is lost where they are added later. Halves of training sets are
drawn by the study's own seed, and so of the same groups in all repeats.
"""

from __future__ import annotations

from dataclasses import replace

from study.core.errors import ConfigError, DataError
from study.core.identity import derive_seed
from study.jobs.workspace import open_catalog
from study.planning.open_study import OpenStudy, keys_of, look_up_data, searches_of, spaces_of


def repeats_of(opened: OpenStudy) -> tuple[OpenStudy, ...]:
    """Return a study and its further repeats, in order.

    Raises ConfigError where folds would all train on the same images, DataError where one of them
    is left without a class.
    """
    folds, members = opened.study.data.folds, opened.study.members()
    if folds > 1 and not set(members) & {*split_anew(opened)}:
        raise ConfigError(
            f"data.folds = {folds}: no training set is split here ({', '.join(members) or 'none'}:"
            " they come with their splits), so that all folds would train on the same images; set"
            " data.folds = 1, and budget.searches for repeats with other seeds"
        )
    return opened, *(_repeat(opened, number) for number in range(1, opened.study.repeats))


def split_anew(opened: OpenStudy) -> tuple[str, ...]:
    """Return the datasets that each fold splits anew: those without a split of their own that are
    not tested whole. Behind the firewall those that are trained on alone are looked at.
    """
    catalog = opened.workspace.catalog
    return tuple(name for name in _looked_at(opened) if catalog.is_split_by_us(name))


def _looked_at(opened: OpenStudy) -> tuple[str, ...]:
    study = opened.study
    return study.members() if opened.workspace.firewall else study.datasets()


def repeats_line(opened: OpenStudy) -> str:
    """Return what is repeated, in a sentence; "" where nothing is."""
    study = opened.study
    if study.repeats == 1:
        return ""
    if study.data.folds == 1:
        return (
            f"{study.repeats} searches (budget.searches): everything is searched and trained"
            f" {study.repeats} times, with other seeds, on the same splits"
        )
    anew = split_anew(opened)
    same = ", ".join(name for name in _looked_at(opened) if name not in anew)
    others = f". One split for all folds, as it comes with the data or all is tested: {same}"
    return (
        f"{study.repeats} folds (data.folds): everything is searched and trained in each, with"
        f" other seeds. Split anew: {', '.join(anew)}{others if same else ''}"
    )


def repeats_note(opened: OpenStudy) -> str:
    """Return what a reader of the numbers must know of repeats; "" where there are none."""
    line = repeats_line(opened)
    return line and (
        f"{line}. The matrix and the comparisons of detectors are means over them; null bands,"
        f" tuning, robustness, controls and figures of curves are of {opened.name} alone"
    )


def _repeat(opened: OpenStudy, number: int) -> OpenStudy:
    base, workspace = opened.study, opened.workspace
    study = replace(base, seed=derive_seed(base.seed, "repeat", number))
    if base.data.folds > 1:
        workspace = replace(workspace, data=replace(workspace.data, fold=number))
        catalog = open_catalog(workspace.data, firewall=workspace.firewall)
        catalog.progress = opened.workspace.catalog.progress
        try:
            look_up_data(study, catalog)
        except DataError as error:
            raise DataError(
                f"fold {number} of data.folds = {base.data.folds}: {error}; or take fewer folds"
            ) from None
    specs = opened.keys.specs
    keys = replace(keys_of(study, specs, workspace.catalog), own_seed=base.seed)
    return replace(
        opened,
        study=study,
        workspace=workspace,
        keys=keys,
        searches=searches_of(study, specs, spaces_of(study), opened.starts, keys.epochs),
        repeat=number,
    )

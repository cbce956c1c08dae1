"""What stands in a study's folder to be read: its texts are written here, and figures that are out
of date are deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from study.analysis.comparisons import Comparisons
from study.analysis.tuning import Contrast
from study.core.errors import StoreError
from study.core.identity import whole_file
from study.render.comparisons import comparisons_csv, comparisons_markdown
from study.render.tuning import tuning_csv, tuning_markdown

# what `cross_eval` draws
DRAWN = (
    "heat_map_*.png",
    "robustness_*.png",
    "roc.png",
    "best_so_far.png",
    "critical_difference.png",
)


def write_comparisons(found: Comparisons, folder: Path) -> list[Path]:
    """Write comparisons.md, comparisons.csv and, where ranks exist, the diagram among the figures;
    return the files. Raises StoreError.
    """
    from study.render.figures import critical_difference

    texts = {
        "comparisons.md": comparisons_markdown(found),
        "comparisons.csv": comparisons_csv(found),
    }
    files = _write(folder, texts)
    if found.ranks.n > 1 and len(found.cross_domain) > 1:
        files.append(folder / "figures" / "critical_difference.png")
        critical_difference(tuple(found.cross_domain), found.ranks, files[-1])
    return files


def write_tuning(found: Sequence[Contrast], folder: Path) -> list[Path]:
    """Write tuning.md and tuning.csv, where there is anything to write; return the files. Raises
    StoreError.
    """
    texts = {"tuning.md": tuning_markdown(found), "tuning.csv": tuning_csv(found)}
    return _write(folder, texts) if found else []


def _write(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    for name, text in texts.items():
        try:
            with whole_file(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"cannot write '{folder / name}': {error.strerror or error}; choose another"
                " --results folder"
            ) from error
    return [folder / name for name in texts]


def remove_stale(folder: Path, drawn: Collection[Path]) -> list[str]:
    """Delete the figures in a folder that are not among those just drawn: beside the new ones they
    would be taken for figures of the same matrix. Return their names, sorted. Other files stay.

    Raises StoreError where one cannot be deleted.
    """
    stale = sorted({path for pattern in DRAWN for path in folder.glob(pattern)} - {*drawn})
    for path in stale:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot delete '{path}', which is of an earlier matrix: {error.strerror or error}"
            ) from error
    return [path.name for path in stale]

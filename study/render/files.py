"""What stands in a study's folder to be read: its texts and figures are written here, and figures
that are out of date are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from study.analysis.choices import Choices
from study.analysis.comparisons import Comparisons
from study.analysis.controls import ControlRow
from study.analysis.evidence import EvidenceRow
from study.analysis.ledger import Ledger
from study.analysis.results import Flag, Results
from study.analysis.robustness import Robustness
from study.analysis.roc import RocCurve
from study.analysis.tuning import Contrast
from study.core.errors import StoreError
from study.core.identity import whole_file
from study.core.records import Pairing
from study.render.comparisons import comparisons_csv, comparisons_markdown
from study.render.controls import controls_csv, controls_markdown
from study.render.deliveries import FILES as DELIVERED
from study.render.deliveries import deliveries_markdown, flips_csv, ranks_csv
from study.render.evidence import evidence_markdown, tippett_csv
from study.render.exposure import exposure_markdown
from study.render.figures.headless import costs_only, headless
from study.render.flags import flags_markdown
from study.render.floors import markdown_floors
from study.render.leak_price import markdown_prices
from study.render.ledger import ledger_markdown
from study.render.other_test_sets import other_test_sets_markdown
from study.render.repeats import repeats_markdown
from study.render.robustness import robustness_markdown
from study.render.search_cost import search_cost_markdown
from study.render.selection_gap import markdown_gaps
from study.render.subgroups import subgroups_markdown
from study.render.tables import markdown_tables
from study.render.thresholds import markdown_transfer
from study.render.tuning import tuning_csv, tuning_markdown
from study.tracking.metric_names import slug

# what `cross_eval` draws
DRAWN = (
    "heat_map_*.png",
    "robustness_*.png",
    "roc.png",
    "tippett.png",
    "best_so_far.png",
    "critical_difference.png",
)


def write_tables(
    results: Results,
    choices: Choices,
    degraded: Sequence[Robustness],
    claims: Ledger,
    notes: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Write tables.md, tippett.csv where there are likelihood ratios, and deliveries.csv with
    delivery_ranks.csv where there are deliveries; return them. Raises StoreError.
    """
    texts = {"tables.md": tables_text(results, choices, degraded, claims, notes)}
    if choices.evidence:
        texts["tippett.csv"] = tippett_csv(choices.evidence)
    if choices.deliveries.flips:
        made = flips_csv(choices.deliveries.flips), ranks_csv(choices.deliveries.ranks)
        texts |= dict(zip(DELIVERED, made, strict=True))
    return write_texts(folder, texts)


def tables_text(
    results: Results,
    choices: Choices,
    degraded: Sequence[Robustness],
    claims: Ledger,
    notes: Sequence[str],
) -> str:
    """Return tables.md. Ends with a newline."""
    parts = [
        markdown_tables(results),
        repeats_markdown(results),
        flags_markdown(results.flags),
        markdown_floors(choices.floors),
        markdown_transfer(results),
        markdown_gaps(choices.gaps),
        markdown_prices(choices.prices),
        other_test_sets_markdown(choices.others),
        subgroups_markdown(choices.subgroups),
        exposure_markdown(choices.exposures, choices.later),
        evidence_markdown(choices.evidence),
        search_cost_markdown(choices.costs, choices.agreement),
        robustness_markdown(degraded),
        deliveries_markdown(choices.deliveries),
        ledger_markdown(claims),
        "\n".join(f"Note: {note}.\n" for note in notes),
    ]
    return "\n".join(filter(None, parts))


def write_comparisons(found: Comparisons, folder: Path, flags: Sequence[Flag] = ()) -> list[Path]:
    """Write comparisons.md, comparisons.csv and, where ranks exist, the diagram among the figures;
    return the files. A diagram that fails is left out, with a warning. Raises StoreError.
    """
    texts = {
        "comparisons.md": comparisons_markdown(found, flags),
        "comparisons.csv": comparisons_csv(found),
    }
    files = write_texts(folder, texts)
    if found.ranks.n > 1:  # else there is nothing to draw, and matplotlib takes long to import
        path = folder / "figures" / "critical_difference"
        with costs_only(f"'{path}.png' is"), headless():
            from study.render.figures.canvas import save_as
            from study.render.figures.ranks import critical_difference

            figure = critical_difference(tuple(found.cross_domain), found.ranks)
            files += save_as(figure, path, ["png"]) if figure else []
    return files


def write_controls(found: Sequence[ControlRow], folder: Path) -> list[Path]:
    """Write controls.md and controls.csv, where there is anything to write; return the files.
    Raises StoreError.
    """
    texts = {"controls.md": controls_markdown(found), "controls.csv": controls_csv(found)}
    return write_texts(folder, texts) if found else []


def write_tuning(found: Sequence[Contrast], folder: Path) -> list[Path]:
    """Write tuning.md and tuning.csv, where there is anything to write; return the files. Raises
    StoreError.
    """
    texts = {"tuning.md": tuning_markdown(found), "tuning.csv": tuning_csv(found)}
    return write_texts(folder, texts) if found else []


def draw(
    results: Results,
    curves: Sequence[RocCurve],
    searches: Mapping[Pairing, Sequence[float | None]],
    folder: Path,
    evidence: Sequence[EvidenceRow] = (),
) -> list[Path]:
    """Draw each detector's heat map and robustness curves, the ROC curves, Tippett plots, and how
    the searches went, where there were any (see `best_so_far`); return the files. A figure that
    fails is left out, with a warning.
    """
    drawn = []
    with costs_only("the figures are"), headless():
        for name, figure in _figures(results, curves, searches, evidence).items():
            with costs_only(f"'{folder / name}' is"):
                if figure(folder / name) is not False:
                    drawn.append(folder / name)
    return drawn


def _figures(
    results: Results,
    curves: Sequence[RocCurve],
    searches: Mapping[Pairing, Sequence[float | None]],
    evidence: Sequence[EvidenceRow],
) -> dict[str, Callable[[Path], bool | None]]:
    """What draws each figure, by the name of its file; it answers False where there is none."""
    from study.render.figures.heat_map import heat_map
    from study.render.figures.robustness import FAMILIES, robustness_curves
    from study.render.figures.roc import roc_curves
    from study.render.figures.search import best_so_far
    from study.render.figures.tippett import tippett_plots

    figures: dict[str, Callable[[Path], bool | None]] = {}
    for detector in dict.fromkeys(row.detector for row in results.rows if row.role == "detector"):
        name = slug(detector)
        figures[f"heat_map_{name}_auc.png"] = partial(heat_map, results, detector, "auc")
        for family in FAMILIES:
            curve = partial(robustness_curves, results, detector, family)
            figures[f"robustness_{name}_{family}.png"] = curve
    figures["roc.png"] = partial(roc_curves, curves, warned=results.warnings())
    if any(row.has_ratios for row in evidence):
        figures["tippett.png"] = partial(tippett_plots, evidence)
    if searches:
        figures["best_so_far.png"] = partial(best_so_far, searches)
    return figures


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by the names of their files; return the files. Raises StoreError."""
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


def remove_stale(folder: Path, patterns: Iterable[str], kept: Collection[Path]) -> list[str]:
    """Delete the files of some patterns in a folder that are not among those of this matrix: beside
    them they would be taken for its own. Return their names, sorted. Other files stay.

    Raises StoreError where one cannot be deleted.
    """
    stale = sorted({path for pattern in patterns for path in folder.glob(pattern)} - {*kept})
    for path in stale:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot delete '{path}', which is of an earlier matrix: {error.strerror or error}"
            ) from error
    return [path.name for path in stale]

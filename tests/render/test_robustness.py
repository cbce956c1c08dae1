"""The robustness table: means of the same cells, in domain and across, folded to the terminal,
honest about what is missing.
"""

from __future__ import annotations

from study.analysis.robustness import Robustness
from study.render.robustness import robustness_markdown, robustness_text

NAN = float("nan")


def cell(
    detector: str, place: str, degradation: str, auc: float, clean: float = 0.9, **changes: object
) -> Robustness:
    domain = "in" if place[0] == place[1] else "cross"
    own = {"images": 100, "left_out": 0, "state": "done", "reason": "", "domain": domain}
    return Robustness(
        detector=detector,
        train_on=place[0],
        test_on=place[1],
        degradation=degradation,
        auc=auc,
        clean=clean,
        **own | changes,
    )


def test_in_domain_and_cross_domain_cells_have_tables_of_their_own() -> None:
    found = [
        cell("npr", "aa", "blur1", 0.8),
        cell("npr", "ab", "blur1", 0.5, 0.6),
        cell("npr", "bb", "blur1", 0.6, 0.7),
        cell("npr", "ba", "blur1", NAN, NAN, state="failed", reason="no"),
        cell("other", "aa", "blur1", 0.9, 0.90001),
    ]
    inside, across = robustness_text(found, width=120).split("\n\nRobustness, cross-domain cells")
    assert inside.splitlines()[2:] == [
        "degradation  npr             other",
        "blur1        0.700 (-0.100)  0.900 (+0.000)",
    ]
    assert across.splitlines()[2:] == [
        "degradation  npr",
        "blur1        0.500 (-0.100, 1 of 2 cells)",
    ]
    markdown = robustness_markdown(found)
    assert "| blur1 | 0.700 (-0.100) | 0.900 (+0.000) |" in markdown
    assert "| blur1 | 0.500 (-0.100, 1 of 2 cells) |" in markdown


def test_many_detectors_are_folded() -> None:
    found = [cell(f"detector_{i}", "aa", "blur1", 0.8) for i in range(6)]
    lines = robustness_text(found, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("blur1") for line in lines) == 2
    assert all(f"detector_{i}" in "\n".join(lines) for i in range(6))


def test_what_is_not_applicable_is_said_once() -> None:
    reason = "none of its 9 real images can be so degraded"
    found = [
        *(
            cell(d, "aa", "long112", NAN, NAN, images=0, state="not_applicable", reason=reason)
            for d in ("npr", "other")
        ),
        *(cell(d, "aa", "long64", 0.8, left_out=5) for d in ("npr", "other")),
    ]
    text = robustness_text(found, width=120)
    assert "long112      not applicable  not applicable" in text
    assert text.count(f"long112 is not applicable to a: {reason}.") == 1
    assert (
        text.count(
            "long64 is not applicable to 5 of 105 images of a; they are left out, of the clean AUC"
            " too."
        )
        == 1
    )


def test_nothing_degraded_is_nothing_said() -> None:
    assert robustness_text([]) == robustness_markdown([]) == ""


def test_cells_with_images_of_the_training_set_are_in_neither_table() -> None:
    found = [
        cell("npr", "aa", "jpeg50", 0.9, 0.95),
        cell("npr", "ab", "jpeg50", 0.6, 0.7),
        cell("npr", "ac", "jpeg50", 0.8, 0.9, domain="neither"),
    ]
    text = robustness_text(found, width=100)
    tables = dict(zip(("in", "cross", "neither"), text.split("Robustness, ")[1:], strict=True))
    assert tables["in"].startswith("in-domain cells") and "0.900 (-0.050)" in tables["in"]
    assert tables["cross"].startswith("cross-domain cells") and "0.600 (-0.100)" in tables["cross"]
    assert (
        tables["neither"].startswith("neither: images of the training set")
        and "0.800 (-0.100)" in tables["neither"]
    )

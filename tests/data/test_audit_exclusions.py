"""Whether what is left out depends on the class: by hand, under chance, and through the audit."""

from __future__ import annotations

import functools
import json
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from study import audit
from study.data.audit.exclusions import exclusion_findings, exclusion_p, units_by_class
from tests.factories import write_dataset


def by_hand(lost: tuple[int, int], every: tuple[int, int]) -> float:
    """Of all ways to lose as many, the share of those that are no likelier than this one."""
    total = sum(lost)

    def ways(real: int) -> int:
        return comb(every[0], real) * comb(every[1], total - real)

    possible = range(max(0, total - every[1]), min(total, every[0]) + 1)
    return sum(ways(k) for k in possible if ways(k) <= ways(lost[0])) / comb(sum(every), total)


@pytest.mark.parametrize(
    ("lost", "every"),
    [
        ((0, 5), (30, 30)),
        ((3, 30), (30, 30)),
        ((2, 3), (40, 50)),
        ((1, 0), (7, 900)),
        ((4, 4), (9, 9)),
    ],
)
def test_the_exact_test_by_hand(lost: tuple[int, int], every: tuple[int, int]) -> None:
    assert exclusion_p(lost, every) == pytest.approx(by_hand(lost, every), rel=1e-9)
    assert exclusion_p(lost[::-1], every[::-1]) == pytest.approx(by_hand(lost, every), rel=1e-9)


def share_warned(rates: tuple[float, float], n: tuple[int, int], draws: int = 1000) -> float:
    rng = np.random.default_rng(5)
    lost = np.stack([rng.binomial(size, rate, draws) for size, rate in zip(n, rates, strict=True)])
    p = functools.cache(lambda real, fake: exclusion_p((real, fake), n))
    return float(np.mean([p(real, fake) < 0.05 for real, fake in lost.T.tolist()]))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("n", [(100, 100), (300, 60)])
def test_chance_is_called_a_difference_in_at_most_one_of_twenty(
    rate: float, n: tuple[int, int]
) -> None:
    # 3 standard errors of 1,000 draws are .02
    assert share_warned((rate, rate), n) <= 0.07


def test_a_difference_is_found() -> None:
    assert share_warned((0.02, 0.15), (200, 200)) > 0.95
    assert share_warned((0.15, 0.02), (200, 200)) > 0.95
    assert share_warned((0.0, 1.0), (10, 4)) == 1.0


def samples(
    lost: tuple[int, int], of: int = 40, frames: int = 1
) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Samples of both classes, each unit of some frames; and the first units of each left out."""
    rows, unread = [], []
    for label in (0, 1):
        for unit in range(of):
            for frame in range(frames):
                path = f"{label}/{unit}.mp4#{frame}"
                rows.append({"path": path, "label": label, "unit": f"{label} {unit}"})
                if unit < lost[label]:
                    unread.append((path, "empty file" if label else "cut"))
    return pa.Table.from_pylist(rows), unread


def test_the_sentence_has_both_counts_the_test_and_the_reason() -> None:
    (info, warning) = exclusion_findings(*samples((1, 12)))
    assert (info.code, info.severity) == ("unreadable", "info")
    assert (warning.code, warning.severity) == ("exclusions", "warning")
    p = f"{by_hand((1, 12), (40, 40)):.1e}"
    assert (
        f"1 of 40 real and 12 of 40 fake (Fisher's exact test, p = {p}), of the fake ones mostly"
        " because: empty file." in warning.sentence
    )
    (_, other) = exclusion_findings(*samples((12, 1)))
    assert "of the real ones mostly because: cut." in other.sentence
    assert [found.code for found in exclusion_findings(*samples((3, 5)))] == ["unreadable"]
    assert not list(exclusion_findings(*samples((0, 0))))


def test_the_frames_of_one_video_count_once() -> None:
    """Three videos of one class are chance; their 90 frames would be none."""
    rows, unread = samples((0, 3), of=20, frames=30)
    assert units_by_class(rows) == (20, 20) and len(unread) == 90
    assert [found.code for found in exclusion_findings(rows, unread)] == ["unreadable"]


@pytest.mark.parametrize("lost", [{"fake": 9}, {"real": 9}, {"real": 3, "fake": 3}])
def test_an_audit_warns_of_a_class_that_loses_more(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lost: dict[str, int],
) -> None:
    folder = write_dataset(root / "mine", n=30, size=16)
    for name, number in lost.items():
        for path in sorted((folder / name).glob("*.png"))[:number]:
            path.write_bytes(path.read_bytes()[:-30])
    places = ["--data-root", str(root), "--results", str(tmp_path / "results")]
    audit.main(["--datasets", "mine", *places, "--json"])
    (one,) = json.loads(capsys.readouterr().out)["datasets"]
    codes = {finding["code"]: finding["severity"] for finding in one["findings"]}
    assert codes.get("exclusions") == ("warning" if len(lost) == 1 else None)
    audit.main(["--datasets", "mine", *places])
    said = " ".join(capsys.readouterr().out.split())
    assert ("More of one class is left out than by chance" in said) == (len(lost) == 1)

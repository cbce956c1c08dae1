"""What a run of MLflow says of itself: the answer in sentences, and the AUCs as a table. It stands
at the top of the run's page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from study.analysis.results import ResultRow

ANSWER = "comparisons.md"  # the file that begins with it
LONGEST = 5000  # characters that every store of MLflow takes


def description(rows: Iterable[ResultRow], files: Iterable[Path]) -> str:
    """Return a description in Markdown. rows: of the matrix, means over seeds. files: those that go
    with it.
    """
    texts = (file.read_text(encoding="utf-8") for file in files if file.name == ANSWER)
    said = [line for text in texts for line in answer_in(text)]
    head, lines = _table([row for row in rows if row.metric == "auc" and row.is_plain])
    parts = [*said, head]
    text, room = "\n\n".join(parts)[:LONGEST], LONGEST - 60
    for at, line in enumerate(lines):
        if len(text) + len(line) > room:
            return f"{text}\n\nand {len(lines) - at} rows more in tables.md"
        text += f"\n{line}"
    return text


def answer_in(text: str) -> list[str]:
    """Return the sentences that comparisons.md begins with: before its first heading."""
    top = text.partition("\n## ")[0]
    return [line[2:] for line in top.splitlines() if line.startswith("* ")]


def _table(rows: Sequence[ResultRow]) -> tuple[str, list[str]]:
    """The head of a table of the detectors' AUCs, and its lines."""
    mine = [row for row in rows if row.role in ("detector", "external")]
    tests = list(dict.fromkeys(row.test_on for row in mine))
    cells = {(row.detector, row.train_on, row.test_on): _shown(row) for row in mine}
    head = f"| {' | '.join(_plain(name) for name in ('AUC, trained on', *tests))} |"
    lines = [
        f"| {_plain(f'{detector} @ {source}')} | "
        + " | ".join(cells.get((detector, source, y), "-") for y in tests)
        + " |"
        for detector, source in dict.fromkeys((row.detector, row.train_on) for row in mine)
    ]
    return f"{head}\n{'|---' * (len(tests) + 1)}|", lines


def _shown(row: ResultRow) -> str:
    found = row.estimate
    if not row.has_number:
        return "undefined" if row.state == "done" else row.state.replace("_", " ")
    if not math.isfinite(found.low):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"


def _plain(name: str) -> str:
    return name.replace("|", "\\|")

"""What a study needs and this machine lacks: datasets, and pretrained weights. Nothing is opened,
downloaded or trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study.data.catalog import Catalog
from study.data.names import parse_name
from study.data.sources.cards import card_names, load_card
from study.detectors import registry
from study.planning.open_study import data_config
from study.planning.study import Study


def missing(study: Study, *, results: Path, weights_root: Path | None) -> Iterator[str]:
    """Yield a line for each dataset that must be downloaded or put in place, and for each detector
    whose weights are not here. Raises StudyError for a dataset that nobody knows.
    """
    catalog = Catalog(data_config(study, results), firewall=False)
    members = (name for x in (*study.train_on, *study.test_on) for name in catalog.members(x))
    for name in dict.fromkeys(members):
        base = parse_name(name).base
        card = load_card(base) if base in card_names() else None
        if not catalog.available(name) and not (card and card.source == "demo"):
            about = f": {card.title}, {card.size_gb:g} GB, {card.homepage}" if card else ""
            yield f"dataset {name}{about}"
    for name in (name for name in study.detectors if name not in study.ensembles):
        status = registry.weights_status(name, weights_root)
        if status in ("to download", "missing", "to rename"):
            yield f"weights of {name}: {status}: {registry.why_missing(name, weights_root)}"

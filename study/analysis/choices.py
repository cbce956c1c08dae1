"""What the choices made on source val were worth: tuned minus default, the selection gap, the leak
price. What the searches took, and whether source val is worth selecting by. What scores are worth
as evidence, what would hold on other test sets, and on subgroups of these. What dates say of the
cells, and what deliveries change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from study.analysis.deliveries import Deliveries
from study.analysis.evidence import EvidenceRow
from study.analysis.exposure import Exposure, LaterRow, Place
from study.analysis.floors import Floor
from study.analysis.leak_price import LeakPrice
from study.analysis.other_test_sets import OtherTestSets
from study.analysis.search_cost import SearchCost, ValAgreement
from study.analysis.selection_gap import SelectionGap
from study.analysis.subgroups import SubgroupRow
from study.analysis.tuning import Contrast


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Of a study's scored cells; each () where the study does not ask for it, or nothing of it is
    scored.
    """

    gaps: tuple[SelectionGap, ...]
    contrasts: tuple[Contrast, ...]
    prices: tuple[LeakPrice, ...]
    floors: tuple[Floor, ...] = ()
    costs: tuple[SearchCost, ...] = ()
    agreement: tuple[ValAgreement, ...] = ()
    evidence: tuple[EvidenceRow, ...] = ()
    others: tuple[OtherTestSets, ...] = ()
    subgroups: tuple[SubgroupRow, ...] = ()
    exposures: Mapping[Place, Exposure] = field(default_factory=dict)
    later: tuple[LaterRow, ...] = ()
    deliveries: Deliveries = field(default_factory=Deliveries)

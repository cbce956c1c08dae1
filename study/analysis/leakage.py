"""What training sets and test sets share: cells with leaked images, and which cells are in-domain,
cross-domain or neither (PROTOCOL sections 6 and 8).

The catalog must be open to test splits: this is asked by `study.cross_eval` and
`study.audit`, never by search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product

from study.analysis.results import Domain, PairRow
from study.core.records import ELSEWHERE, FAKE, NO_TRAINING, REAL
from study.data.audit.dataset import leak_findings
from study.data.leaks.find import Leaks, find_leaks, is_same_domain, shared_images
from study.data.names import is_in_domain
from study.jobs.workspace import open_catalog
from study.planning.open_study import OpenStudy

Place = tuple[str, str]  # train_on, test_on


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What a matrix has to say about its cells.

    leaks: the leaked test images of every cell that has some. related: the common images of every
    cell that has so many of them that it is not cross-domain, though its names do not make it
    in-domain.
    """

    leaks: Mapping[Place, Leaks] = field(default_factory=dict)
    related: Mapping[Place, Leaks] = field(default_factory=dict)

    def leaked(self, train_on: str, test_on: str) -> tuple[str, ...]:
        """Return the ids of a cell's leaked images, sorted."""
        found = self.leaks.get((train_on, test_on))
        return found.ids() if found else ()

    def domain(self, train_on: str, test_on: str) -> Domain:
        """Return what a cell counts as: the only place where that is decided.

        `in`: the test set is a member of the training set, or a part of one, by its name.
        `neither`: at least 1 % of a class of the test set's dataset are copies of training images.
        `unknown`: the detector was trained elsewhere. `cross`: everything else.
        """
        if train_on == ELSEWHERE:
            return "unknown"
        if is_in_domain(train_on, test_on):
            return "in"
        return "neither" if (train_on, test_on) in self.related else "cross"

    def pair(self, train_on: str, test_on: str) -> PairRow:
        """Return what is known of a training set and a test set: a row of pairs.csv."""
        found = self.leaks.get((train_on, test_on))
        serious = [f for f in leak_findings(found) if f.severity != "info"] if found else []
        row = PairRow(
            train_on=train_on,
            test_on=test_on,
            domain=self.domain(train_on, test_on),
            leaked=len(self.leaked(train_on, test_on)),
            warnings=" ".join(finding.sentence for finding in serious),
        )
        shared = self.related.get((train_on, test_on))
        if shared is None:
            return row
        return replace(
            row,
            overlap=max(shared.copies(REAL), shared.copies(FAKE)),
            n_real=shared.real,
            n_fake=shared.fake,
            note="not cross-domain: " + "; ".join(shared.sentences(kinds=("exact", "near"))),
        )


NO_LEAKS = Leakage()


def pair_rows(setup: OpenStudy, leakage: Leakage) -> tuple[PairRow, ...]:
    """Return the pairs of a study: every training set with every test set, in the study's order."""
    return tuple(leakage.pair(*place) for place in product(_trained_on(setup), setup.study.test_on))


def leakage_of(setup: OpenStudy) -> Leakage:
    """Compare every training set of a study with every test set. What was compared once is in the
    cache.

    Raises what `Catalog.dataset` raises, StoreError where the cache cannot be written.
    """
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    places = list(product(_trained_on(setup), setup.study.test_on))
    leaks = {place: find_leaks(catalog, *place) for place in places}
    only = setup.study.only_tested()
    shared = {
        (x, y): shared_images(catalog, x, y, only_tested=y in only)
        for x, y in places
        if not is_in_domain(x, y)
    }
    return Leakage(
        leaks={place: found for place, found in leaks.items() if found.found},
        related={place: found for place, found in shared.items() if is_same_domain(found)},
    )


def _trained_on(setup: OpenStudy) -> list[str]:
    return [name for name in dict.fromkeys(setup.study.train_on) if name != NO_TRAINING]

"""What training sets and test sets share: cells with leaked images, and cells that are not
cross-domain (PROTOCOL section 8).

The catalog must be open to test splits: this is asked by `study.cross_eval` and
`study.audit`, never by search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from study.core.records import NO_TRAINING
from study.data.leaks.find import Leaks, find_leaks, is_same_domain, shared_images
from study.data.names import is_in_domain
from study.jobs.workspace import open_catalog
from study.planning.setup import Setup

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


NO_LEAKS = Leakage()


def leakage_of(setup: Setup) -> Leakage:
    """Compare every training set of a study with every test set. What was compared once is in the
    cache.

    Raises what `Catalog.dataset` raises, StoreError where the cache cannot be written.
    """
    catalog = open_catalog(setup.workspace.data, firewall=setup.workspace.firewall)
    trained_on = [train_on for train_on in setup.study.train_on if train_on != NO_TRAINING]
    places = list(product(dict.fromkeys(trained_on), setup.study.test_on))
    leaks = {place: find_leaks(catalog, *place) for place in places}
    shared = {place: shared_images(catalog, *place) for place in places if not is_in_domain(*place)}
    return Leakage(
        leaks={place: found for place, found in leaks.items() if found.found},
        related={place: found for place, found in shared.items() if is_same_domain(found)},
    )

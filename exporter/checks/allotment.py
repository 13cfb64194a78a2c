"""Which endpoints one check probes, where DNS leads to more than it may.

Pure: decides and starts nothing. The order is such that no answer, however it varies, can take the place of
what was probed before: expected hosts come first, then what is known, then the others, of which every
host has its first address before any has its second.
"""

import collections
import math
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from exporter.model import Endpoint, Host

_ADDRESSES = 2  # for each expected host, one of each family, room is kept


class Allotment:
    """Up to `limit` endpoints: some as they come in, and of those that wait the first in order at the end.

    They come from several DNS servers: of what is new, each may fill an equal share of what is left at once,
    lest the first to answer leaves nothing to the others.
    """

    def __init__(self, limit: int, *, expected: AbstractSet[Host], known: Iterable[Endpoint]) -> None:
        self._limit = limit
        self._expected = expected
        self._known = frozenset(known)
        self._kept_free = min(limit // 2, _ADDRESSES * len(expected))
        self._taken: set[Endpoint] = set()
        self._taken_by_expected = 0
        self._waiting: set[Endpoint] = set()

    def take(self, endpoints: Iterable[Endpoint], *, sources: int = 1) -> list[Endpoint]:
        """Say which to probe now, the others wait; `sources` are the DNS servers that bring some."""
        offered = set(endpoints)
        fresh = offered - self._taken
        share = math.ceil((self._limit - len(self._taken)) / sources)
        if len(fresh) <= min(share, self._limit - len(self._taken) - self._kept_free):  # room for all of them
            return self._take_all(fresh)
        new = [endpoint for endpoint in self._in_order(offered) if endpoint not in self._taken]
        now = [endpoint for endpoint in new[:share] if self._fits(endpoint)]
        self._waiting.update(new)
        self._waiting.difference_update(now)
        return now

    def take_rest(self) -> list[Endpoint]:
        """Say which of those that wait to probe, once no more will come in."""
        self._kept_free = 0
        if not self._waiting:
            return []
        now = [endpoint for endpoint in self._in_order(self._waiting) if self._fits(endpoint)]
        self._waiting.difference_update(now)
        return now

    @property
    def left(self) -> tuple[Endpoint, ...]:
        """Those that wait."""
        return tuple(sorted(self._waiting))

    def _take_all(self, endpoints: AbstractSet[Endpoint]) -> list[Endpoint]:
        self._taken |= endpoints
        self._waiting -= endpoints
        if self._expected:
            self._taken_by_expected += sum(endpoint.host in self._expected for endpoint in endpoints)
        return list(self._in_order(endpoints))

    def _fits(self, endpoint: Endpoint) -> bool:
        """Take a place if there is one; room for expected hosts is theirs until all have come in."""
        expected = endpoint.host in self._expected
        free = self._limit - len(self._taken)
        if not expected:
            free -= max(0, self._kept_free - self._taken_by_expected)
        if free <= 0:
            return False
        self._taken.add(endpoint)
        self._taken_by_expected += expected
        return True

    def _in_order(self, endpoints: AbstractSet[Endpoint]) -> Iterable[Endpoint]:
        alike = not self._expected and endpoints <= self._known
        if alike and len({endpoint.target for endpoint in endpoints}) == len(endpoints):
            return sorted(endpoints)
        return self._ranked(endpoints)

    def _ranked(self, endpoints: AbstractSet[Endpoint]) -> Iterator[Endpoint]:
        turns: collections.Counter[Host] = collections.Counter()
        ranked = []
        for endpoint in sorted(endpoints):
            rank = 0 if endpoint.host in self._expected else 1 if endpoint in self._known else 2
            ranked.append((rank, turns[endpoint.host], endpoint))
            turns[endpoint.host] += 1
        return (endpoint for _, _, endpoint in sorted(ranked))

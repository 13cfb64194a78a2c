"""What a check found, split into what repeats from check to check and the times, which never do.

Pure. The checks of a zone in which nothing happens differ in their times alone. Those take a few hundred
bytes as an array, which is quicker to make than any other form; the rest is kept once for all of them.
"""

import itertools
import math
import operator
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from exporter.model import (
    ClientCheck,
    Found,
    HostCheck,
    ProbeResult,
    Queries,
    Query,
    ServerCheck,
    SrvLookup,
    TargetLookup,
    ZoneCheck,
)

Times: TypeAlias = "array[float]"
"""All times of what was found, in the order in which it has them; NaN where there is none."""

_QUERY_TIMES = operator.attrgetter("asked_at", "duration_seconds")
_QUERY_FACTS = operator.attrgetter(
    "dns_server", "name", "rdtype", "transport", "outcome", "edns", "answers", "authoritative"
)
_PROBE_TIMES = operator.attrgetter(
    "finished_at", "started_at", "connected_at", "connect_seconds", "rpc_bind_seconds", "syn_retransmits"
)
_PROBE_FACTS = operator.attrgetter("endpoint", "failure", "ignored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What several checks found alike: an example, with all that a trace shows.

    `facts` are what can be told of it quickly: what is neither a time nor an address of a target.
    """

    facts: list[object]
    example: Found

    def with_times(self, times: Times) -> Found:
        """Give what the check found that had these times, as far as a trace shows it."""
        return _Restorer(times).restore(self.example)

    def has_targets_of(self, found: Found) -> bool:
        """Tell whether the addresses of all targets are the same, too."""
        return [*_targets(self.example)] == [*_targets(found)]


def split(found: Found) -> tuple[list[object], Times]:
    """Give the facts of what was found, and the times."""
    facts: list[object] = []
    times: list[Any] = []
    chain = itertools.chain.from_iterable
    for part in _parts(found):
        places = _places(part)
        queries = [*chain(places)]
        facts += _facts(part)
        facts += map(len, places)
        facts += map(_QUERY_FACTS, queries)
        facts += map(_PROBE_FACTS, part.probes)
        times += (part.finished_at, part.duration_seconds)
        times += chain(map(_QUERY_TIMES, queries))
        times += chain(map(_PROBE_TIMES, part.probes))
    try:
        return facts, array("d", times)
    except TypeError:  # some of them are None
        return facts, array("d", [math.nan if time is None else time for time in times])


def outline(found: Found, facts: list[object]) -> Outline:
    """Make the outline of what was found, of which these are the facts."""
    return Outline(facts=facts, example=_plain(found))


def _parts(found: Found) -> tuple[ZoneCheck | HostCheck, ...]:
    return found.suffixes if isinstance(found, ClientCheck) else (found,)


def _facts(part: ZoneCheck | HostCheck) -> tuple[object, ...]:
    if isinstance(part, HostCheck):
        return part.host, part.refused, len(part.probes), *part.targets
    servers = [(each.dns_server, each.asked, each.lookup.status, len(each.targets)) for each in part.servers]
    return part.zone, part.refused, len(part.probes), *servers


def _places(part: ZoneCheck | HostCheck) -> list[Queries]:
    """List the queries of a check, place by place."""
    if isinstance(part, HostCheck):
        return [part.queries, *[target.queries for target in part.targets.values()]]
    places = [part.queries]
    for server in part.servers:
        places.append(server.lookup.queries)
        places += [target.queries for target in server.targets]
    return places


def _targets(found: Found) -> Iterator[TargetLookup]:
    for part in _parts(found):
        if isinstance(part, HostCheck):
            yield from part.targets.values()
        else:
            yield from itertools.chain.from_iterable(server.targets for server in part.servers)


def _plain(found: Found) -> Found:
    """Leave out what no trace shows."""
    match found:
        case ClientCheck():
            return replace(found, suffixes=tuple(map(_plain_zone, found.suffixes)))
        case ZoneCheck():
            return _plain_zone(found)
        case HostCheck():
            return replace(found, groups={})


def _plain_zone(check: ZoneCheck) -> ZoneCheck:
    return replace(check, servers=tuple(map(_plain_server, check.servers)), groups={})


def _plain_server(server: ServerCheck) -> ServerCheck:
    lookup = SrvLookup(
        status=server.lookup.status, duration_seconds=0.0, fingerprint=0, queries=server.lookup.queries
    )
    return replace(server, lookup=lookup)


class _Restorer:
    """Puts times in their places, in the order of `split`.

    What was one query or probe in several places is one again: a trace has one step of it.
    """

    def __init__(self, times: Times) -> None:
        self._times = iter(times)
        self._queries: dict[Query, Query] = {}
        self._probes: dict[ProbeResult, ProbeResult] = {}

    def restore(self, found: Found) -> Found:
        match found:
            case ClientCheck():
                return replace(found, suffixes=tuple(map(self._zone, found.suffixes)))
            case ZoneCheck():
                return self._zone(found)
            case HostCheck():
                return self._host(found)

    def _zone(self, check: ZoneCheck) -> ZoneCheck:
        finished_at, duration_seconds = self._next(), self._next()
        queries = self._restore_queries(check.queries)
        servers = tuple(map(self._server, check.servers))
        return replace(
            check,
            finished_at=finished_at,
            duration_seconds=duration_seconds,
            queries=queries,
            servers=servers,
            probes=tuple(map(self._probe, check.probes)),
        )

    def _host(self, check: HostCheck) -> HostCheck:
        finished_at, duration_seconds = self._next(), self._next()
        queries = self._restore_queries(check.queries)
        targets = {label: self._target(target) for label, target in check.targets.items()}
        return replace(
            check,
            finished_at=finished_at,
            duration_seconds=duration_seconds,
            queries=queries,
            targets=targets,
            probes=tuple(map(self._probe, check.probes)),
        )

    def _server(self, server: ServerCheck) -> ServerCheck:
        lookup = server.lookup._replace(queries=self._restore_queries(server.lookup.queries))
        return replace(server, lookup=lookup, targets=tuple(map(self._target, server.targets)))

    def _target(self, target: TargetLookup) -> TargetLookup:
        return replace(target, queries=self._restore_queries(target.queries))

    def _restore_queries(self, queries: Queries) -> Queries:
        return tuple(map(self._query, queries))

    def _query(self, query: Query) -> Query:
        found = query._replace(asked_at=self._next(), duration_seconds=self._next_if_any())
        return self._queries.setdefault(found, found)

    def _probe(self, probe: ProbeResult) -> ProbeResult:
        found = probe._replace(
            finished_at=self._next(),
            started_at=self._next_if_any(),
            connected_at=self._next_if_any(),
            connect_seconds=self._next_if_any(),
            rpc_bind_seconds=self._next_if_any(),
            syn_retransmits=round(self._next()),
        )
        return self._probes.setdefault(found, found)

    def _next(self) -> float:
        return next(self._times)

    def _next_if_any(self) -> float | None:
        time = next(self._times)
        return None if math.isnan(time) else time

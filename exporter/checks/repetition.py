"""A check that does at once all that the last one came to, for it will hardly come to anything else.

Where an answer is not what it was, or is not plain, or there is no room for all at the same time, `Run` makes
the check, and goes on from what was begun here. So nothing is decided here but that nothing has changed; and
that costs half of a check.
"""

import asyncio
import functools
import time
from collections.abc import Hashable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from exporter.checks.deadline import Deadline
from exporter.checks.means import Followed, Means
from exporter.checks.serials import Serials
from exporter.checks.turns import all_done
from exporter.discovery import Budget, Question
from exporter.model import (
    DnsServer,
    Endpoint,
    Memory,
    ProbeFailure,
    ProbeResult,
    ServerCheck,
    ServerSelector,
    SrvLookup,
    ZoneCheck,
)
from exporter.probe import not_probed

_PATIENCE_SECONDS = 1.0
_MOST_KEPT = 20_000


class Routine(NamedTuple):
    """What a check of a zone did that asked only DNS servers given by address, all of which gave glue."""

    selectors: Sequence[ServerSelector]
    memory: Memory
    followed: Mapping[DnsServer, Followed]
    endpoints: tuple[Endpoint, ...]


class Routines:
    """The routine of each owner, if its last check was one."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Routine] = {}

    def take(self, owner: Hashable, selectors: Sequence[ServerSelector], memory: Memory) -> Routine | None:
        """Give the routine of a check with these; it holds both, so that nothing else can be the same."""
        routine = self._kept.pop(owner, None)
        return routine if routine and routine.selectors is selectors and routine.memory is memory else None

    def keep(self, owner: Hashable, routine: Routine | None) -> None:
        """Keep what was routine, for the next check."""
        if len(self._kept) >= _MOST_KEPT:  # so many are not watched: most are of what was once
            self._kept.clear()
        if routine:
            self._kept[owner] = routine


def find_routine(
    selectors: Sequence[ServerSelector],
    memory: Memory,
    check: ZoneCheck,
    followed: Mapping[DnsServer, Followed],
    *,
    at_once: int,
) -> Routine | None:
    """Tell what a check did, if the next can do it all again: at most `at_once` probes, and all allowed."""
    servers = [selector for selector in dict.fromkeys(selectors) if isinstance(selector, DnsServer)]
    if len(servers) < len(set(selectors)) or followed.keys() != set(servers):
        return None
    if len(check.probes) > at_once or any(probe.ignored for probe in check.probes):
        return None
    return Routine(
        selectors,
        memory,
        {server: followed[server] for server in servers},
        tuple(probe.endpoint for probe in check.probes),
    )


class Repetition:
    """The check of a zone that repeats a routine; as a context, for as long as its `questions` are of use."""

    def __init__(
        self, means: Means, routine: Routine, *, owner: Hashable, zone: str, deadline: Deadline
    ) -> None:
        self.questions: dict[DnsServer, Question] = {}
        self._means = means
        self._routine = routine
        self._owner = owner
        self._zone = zone
        self._deadline = deadline
        self._probes: dict[Endpoint, asyncio.Future[ProbeResult]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for question in self.questions.values():
            question.heard.cancel()

    async def make(self) -> ZoneCheck | None:
        """Check the zone; None if anything is not as it was, as soon as that is known."""
        lookups = self._read_all() if self._begin() and await self._all_answered() else None
        if lookups is None:
            if any(
                probe.cancelled() for probe in self._probes.values()
            ):  # as all are when their owner closes
                raise asyncio.CancelledError
            return None
        servers = await self._with_serials(lookups)
        await all_done(self._probes.values(), self._deadline.left_seconds)
        return ZoneCheck(
            zone=self._zone,
            finished_at=time.time(),
            duration_seconds=self._deadline.elapsed_seconds,
            servers=servers,
            probes=tuple(
                [
                    probe.result() if probe.done() else not_probed(endpoint, ProbeFailure.TIMEOUT)
                    for endpoint, probe in self._probes.items()
                ]
            ),
        )

    def _begin(self) -> bool:
        """Ask all servers, and probe all endpoints; not if there is no room to ask."""
        discovery, probes, room = self._means.discovery, self._means.probes, self._means.probe_slots
        for server in self._routine.followed:
            question = discovery.begin_srv(self._zone, server)
            if question is None:
                return False
            self.questions[server] = question
        self._probes = {
            endpoint: probes.start(endpoint, self._owner, room.run) for endpoint in self._routine.endpoints
        }
        return True

    async def _all_answered(self) -> bool:
        """Wait for the answers, but not for long: somewhere else may be news meanwhile."""
        answers = [question.heard for question in self.questions.values()]
        return await all_done(answers, min(_PATIENCE_SECONDS, self._deadline.left_seconds / 4))

    def _read_all(self) -> dict[DnsServer, SrvLookup] | None:
        """See whether all answers lead where the last ones did."""
        limit = self._means.settings.records_per_zone
        lookups: dict[DnsServer, SrvLookup] = {}
        for server, known in self._routine.followed.items():
            lookup = self._means.discovery.read_plain_srv(self.questions[server], limit=limit)
            if lookup is None or not known.is_of(lookup, self._routine.memory):
                return None
            lookups[server] = lookup
        return lookups

    async def _with_serials(self, lookups: Mapping[DnsServer, SrvLookup]) -> tuple[ServerCheck, ...]:
        serials = Serials(self._means, self._deadline, owner=self._owner, zone=self._zone)
        discovery = functools.cache(lambda: self._means.discovery.within(Budget()))
        begun = [serials.begin(server, lookup, discovery) for server, lookup in lookups.items()]
        checks = []
        for (server, lookup), serial in zip(lookups.items(), begun, strict=True):
            known = self._routine.followed[server]
            seen = await serials.finish(server, lookup, serial)
            checks.append(ServerCheck(dns_server=server.label, lookup=seen, targets=known.targets))
        return tuple(checks)

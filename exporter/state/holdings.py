"""Hosts, the addresses of their targets, and the state of their endpoints, while somebody holds them.

An owner is a zone, a static host, or a host that a zone does not publish, but did or should. Several may
lead to the same endpoint, which then is one thing with one history: what one owner's check finds out about it
is news to all.
"""

import contextlib
import itertools
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from exporter.model import (
    NOT_AVAILABLE,
    Endpoint,
    Host,
    IgnoredReason,
    Memory,
    ProbeFailure,
    ProbeResult,
    TargetLookup,
    endpoints_of,
)
from exporter.state.changes import Change, endpoint_changes, target_changes
from exporter.state.revisions import NO_REVISION, next_revision
from exporter.state.table import HeldTable
from exporter.state.views import EndpointView, count_probe


class Holdings:
    """What owners lead to: hosts, targets by the DNS server that resolves them, endpoints."""

    def __init__(self) -> None:
        self._hosts: HeldTable[Host, None] = HeldTable()
        self._targets: HeldTable[tuple[str, str], tuple[str, TargetLookup]] = HeldTable()
        self._asked: HeldTable[tuple[str, str], tuple[Hashable, float]] = HeldTable()
        self._endpoints: HeldTable[Endpoint, EndpointView] = HeldTable()
        self._revisions: HeldTable[str, int] = HeldTable()
        self.latest = NO_REVISION
        """The last of all revisions; while it stays, all do."""

    def hold(
        self, owner: Hashable, views: Iterable[tuple[str, Iterable[Host], Iterable[TargetLookup]]]
    ) -> None:
        """Let `owner` hold hosts, and what each DNS server gives for their targets."""
        held: set[Host] = set()
        targets: set[tuple[str, str]] = set()
        endpoints: set[Endpoint] = set()
        for dns_server, hosts, lookups in views:
            wanted = [host for host in hosts if host.target != NOT_AVAILABLE]
            held.update(wanted)
            targets.update((dns_server, host.target) for host in wanted)
            endpoints |= endpoints_of(wanted, lookups)
        self._hosts.hold(owner, held)
        self._asked.hold(owner, targets)
        self._revisions.hold(owner, (target for _, target in targets))
        self._touch(target for _, target in self._targets.hold(owner, targets))
        self._touch(endpoint.target for endpoint in self._endpoints.hold(owner, endpoints))

    def release(self, owner: Hashable) -> None:
        """Let `owner` hold nothing any more."""
        self.hold(owner, ())

    def revision(self, owners: Iterable[Hashable]) -> int:
        """Tell when anything changed last that is known of the targets that owners hold.

        It is kept by the name of the target, for its addresses and for every endpoint of that name: what one
        owner finds out is seen by the others, and be it an endpoint that they do not hold (yet). Times and
        counters are no change.
        """
        numbers = itertools.chain.from_iterable(map(self._revisions.values_of, owners))
        return max(filter(None, numbers), default=NO_REVISION)

    def _touch(self, targets: Iterable[str]) -> None:
        for target in targets:
            self.latest = self._revisions[target] = next_revision()

    @contextlib.contextmanager
    def handing_over(self) -> Iterator[None]:
        """Drop nothing before the end, so that what goes from one owner to another keeps its values."""
        keeper = object()
        for table in self._tables():
            table.hold(keeper, table.keys())
        try:
            yield
        finally:
            self.release(keeper)

    def apply_targets(
        self, owner: Hashable, seen: Iterable[tuple[str, Iterable[TargetLookup]]], *, now: float, fresh: float
    ) -> list[Change]:
        """Take over what `owner` saw of the targets that are held, by DNS server, and tell what changed.

        A server that was not asked for the target this time does not undo what another owner got from it
        less than two times `fresh` seconds ago; nor does one whose answer came too late for the check.
        """
        changes: list[Change] = []
        asked = (owner, now)
        for dns_server, lookups in seen:
            for lookup in lookups:
                key = (dns_server, lookup.target)
                known = self._targets.get(key)
                if (known is None and key not in self._targets) or self._is_known_better(
                    key, lookup, owner, after=now - 2 * fresh
                ):
                    continue
                before = known[1] if known else None
                if lookup is not before and lookup != before:  # the former is quicker, and most frequent
                    changes += target_changes(dns_server, before, lookup)
                    self._targets[key] = (dns_server, lookup)
                    self._touch([lookup.target])
                if lookup.asked:
                    self._asked[key] = asked
        return changes

    def _is_known_better(
        self, key: tuple[str, str], lookup: TargetLookup, owner: Hashable, *, after: float
    ) -> bool:
        """Tell whether another owner was given, `after` some time, what this one did not ask for."""
        if lookup.asked:
            return False
        asker, asked_at = self._asked.get(key) or (owner, after)
        return asker != owner and asked_at >= after

    def apply_probes(self, results: Iterable[ProbeResult], *, fresh: float) -> list[Change]:
        """Count results; one that several zones share, or an older one, counts once.

        An endpoint that was one too many for one check, or that it did not come to in time, does not undo
        what another found out about it less than two times `fresh` seconds ago.
        """
        changes: list[Change] = []
        for result in results:
            before = self._endpoints.get(result.endpoint)
            last = before.last if before else None
            if last is None:
                if result.endpoint not in self._endpoints:
                    continue
            elif result is last or not self._is_news(result, last, patience=2 * fresh):
                continue
            after = self._endpoints[result.endpoint] = count_probe(before, result)
            if last is None or last.failure is not result.failure or last.ignored is not result.ignored:
                changes += endpoint_changes(before, after)
                self._touch([result.endpoint.target])
        return changes

    def _is_news(self, result: ProbeResult, before: ProbeResult, *, patience: float) -> bool:
        """Tell whether a result takes the place of the one before, seconds counted by the monotonic clock.

        What a probe found counts for more than that there were too many, and that for more than that it came
        too late, which has the time of the end of its check.
        """
        age_seconds = result.finished_monotonic - before.finished_monotonic
        if result.failure is None and before.failure is None:  # most frequent, and plain
            return age_seconds > 0
        if _is_late(before):
            return age_seconds > (0 if _is_late(result) else -patience)
        late = _is_late(result) and self._endpoints.is_shared(result.endpoint)
        cut = result.ignored is IgnoredReason.PROBES_PER_CHECK and before.ignored is not result.ignored
        return age_seconds > (patience if late or cut else 0)

    def memory(self, owners: Iterable[Hashable]) -> Memory:
        """Recall the addresses and endpoints that owners hold, of the latter not those that were left out."""
        addresses: dict[tuple[str, str], tuple[str, ...]] = {}
        endpoints: set[Endpoint] = set()
        for owner in owners:
            endpoints.update(filter(self._is_probed, self._endpoints.held_by(owner)))
            for key in self._targets.held_by(owner):
                if seen := self._targets.get(key):
                    addresses[key] = seen[1].probed
        return Memory(addresses=addresses, endpoints=tuple(sorted(endpoints)))

    def _is_probed(self, endpoint: Endpoint) -> bool:
        view = self._endpoints.get(endpoint)
        return view is None or view.last.ignored is None

    def _tables(self) -> tuple[HeldTable[Any, Any], ...]:
        return self._hosts, self._targets, self._asked, self._endpoints, self._revisions

    def targets_of(self, owners: Iterable[Hashable]) -> tuple[tuple[str, TargetLookup], ...]:
        """List what is known of the targets that owners hold, as `targets` does of all."""
        held = {key for owner in owners for key in self._targets.held_by(owner)}
        return tuple(seen for key in held if (seen := self._targets.get(key)))

    def endpoints_of(self, owners: Iterable[Hashable]) -> tuple[EndpointView, ...]:
        """List the endpoints that owners hold, of those that have been probed."""
        held = {endpoint for owner in owners for endpoint in self._endpoints.held_by(owner)}
        return tuple(view for endpoint in held if (view := self._endpoints.get(endpoint)))

    def hosts(self) -> tuple[Host, ...]:
        """List the hosts."""
        return tuple(self._hosts.keys())

    def targets(self) -> tuple[tuple[str, TargetLookup], ...]:
        """List what is known of the targets, each with the label of the DNS server."""
        return tuple(self._targets.values())

    def endpoints(self) -> tuple[EndpointView, ...]:
        """List the endpoints that have been probed."""
        return tuple(self._endpoints.values())


def _is_late(result: ProbeResult) -> bool:
    """Tell whether the check ended before the probe did, which says nothing of the endpoint."""
    return result.failure is ProbeFailure.TIMEOUT and result.started_at is None

"""The last checks of everything that is configured with their traces, and since when each verdict holds.

Owns a bounded ring of checks for each zone, static host and kind of client. Hardly one of their traces is
ever read: so they are worked out when they are, and kept until then as their times and what repeats. Used
from the event loop alone; what it gives out is immutable. Keeps nothing of what is not configured any more.

| module | holds |
| --- | --- |
| outline | what a check found, as what repeats and its times |
| packing | traces as compressed bytes |
"""

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from exporter.diagnosis import Verdict, diagnose
from exporter.history.outline import Outline, Times, outline, split
from exporter.history.packing import MAX_STEPS, pack, unpack
from exporter.model import ClientCheck, Found, HostCheck, ZoneCheck, host_port
from exporter.state import NO_REVISION, Snapshot, State
from exporter.trace import Step, trace_of

__all__ = [
    "FAILED_CHECKS",
    "MAX_STEPS",
    "RECENT_CHECKS",
    "CheckRecord",
    "History",
    "Streak",
    "Tally",
    "name_of_client",
    "pack",
    "unpack",
]

RECENT_CHECKS = 10
FAILED_CHECKS = 30
_MAX_FACTS = 128  # more take more room than a packed trace, and malice can see to it that none repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRecord:
    """One check: when it was finished (Unix time), what clients of each DNS server met, and its trace.

    `verdicts` are by the label of the DNS server, as the diagnosis after the check had them. A check has
    `failed` when any of them is not `ok`, unless it is just as it should be: nothing is expected there, and
    nothing is published.
    """

    finished_at: float
    duration_seconds: float
    verdicts: Mapping[str, Verdict]
    failed: bool
    trace: bytes | tuple[Outline, Times] = field(repr=False)

    def steps(self) -> tuple[Step, ...]:
        """Work the trace out: its steps in order of time, MAX_STEPS of them at most."""
        if isinstance(self.trace, bytes):
            return unpack(self.trace)
        repeated, times = self.trace
        return trace_of(repeated.with_times(times))


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """A verdict, and since when it has not changed: when the first check with it was finished (Unix time)."""

    verdict: Verdict
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How much has failed its last check, and when the last of all checks was finished (Unix time)."""

    failing: int
    last_check: float | None


class _Log:
    """The checks that are kept of one subject, and the verdicts as they are now.

    `revision` is that of the subject at its last check.
    """

    def __init__(self) -> None:
        self.streaks: dict[str, Streak] = {}
        self.revision = NO_REVISION
        self._recent: collections.deque[CheckRecord] = collections.deque()
        self._failed: collections.deque[CheckRecord] = collections.deque(maxlen=FAILED_CHECKS)

    @property
    def last(self) -> CheckRecord:
        """The last check; a log is made for one."""
        return self._recent[-1]

    def add(self, found: Found, verdicts: Mapping[str, Verdict], *, failed: bool, revision: int) -> None:
        finished_at, duration_seconds = _times(found)
        trace = self._keep(found, revision)
        if self._recent and verdicts == self.last.verdicts:
            verdicts = self.last.verdicts  # which takes room but once
        else:
            self._count_streaks(verdicts, finished_at)
        self.revision = revision
        self._recent.append(
            CheckRecord(
                finished_at=finished_at,
                duration_seconds=duration_seconds,
                verdicts=verdicts,
                failed=failed,
                trace=trace,
            )
        )
        if len(self._recent) > RECENT_CHECKS and (oldest := self._recent.popleft()).failed:
            self._failed.append(oldest)

    def _keep(self, found: Found, revision: int) -> bytes | tuple[Outline, Times]:
        """Keep what a check found, sharing the outline of another that found the same.

        While the revision is the same, so are the addresses of targets.
        """
        facts, times = split(found)
        if len(facts) > _MAX_FACTS:
            return pack(trace_of(found))
        for record in reversed(self._recent):
            if isinstance(record.trace, bytes) or record.trace[0].facts != facts:
                continue
            is_last = record is self.last and revision == self.revision
            if is_last or record.trace[0].has_targets_of(found):
                return record.trace[0], times
        return outline(found, facts), times

    def _count_streaks(self, verdicts: Mapping[str, Verdict], finished_at: float) -> None:
        before = self.streaks
        self.streaks = {
            label: streak
            if (streak := before.get(label)) and streak.verdict is verdict
            else Streak(verdict=verdict, since=finished_at)
            for label, verdict in verdicts.items()
        }

    def newest_first(self) -> tuple[CheckRecord, ...]:
        return *reversed(self._recent), *reversed(self._failed)


class History:
    """The last checks of everything that is configured in a state, and since when each verdict holds.

    Of each zone, static host and kind of client it keeps the last RECENT_CHECKS checks, and of those before
    them the last FAILED_CHECKS that failed.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._configurations = state.configurations
        self._logs: dict[str, _Log] = {}

    def note(self, found: Found) -> None:
        """Take note of a check that is in the state by now; of nothing that is not configured any more."""
        self._forget()
        revision = self._state.revision_of(found)
        if revision == NO_REVISION:
            return
        name = _name(found)
        log = self._logs.get(name)
        if log and log.revision == revision:
            log.add(found, log.last.verdicts, failed=log.last.failed, revision=revision)
            return
        verdicts, failed = _judge(self._state.snapshot_of(found))
        if verdicts:
            log = self._logs.setdefault(name, _Log())
            log.add(found, MappingProxyType(verdicts), failed=failed, revision=revision)

    def checks(self, name: str) -> tuple[CheckRecord, ...]:
        """List the checks that are kept of a zone, `host:port` or `client NAME`, newest first."""
        self._forget()
        log = self._logs.get(name)
        return log.newest_first() if log else ()

    def streaks(self) -> Mapping[tuple[str, str], Streak]:
        """Tell since when each verdict holds, by what was checked (named as for `checks`) and DNS server."""
        self._forget()
        return MappingProxyType(
            {
                (name, label): streak
                for name, log in self._logs.items()
                for label, streak in log.streaks.items()
            }
        )

    def tally(self) -> Tally:
        """Count what is in trouble."""
        self._forget()
        last = [log.last for log in self._logs.values()]
        return Tally(
            failing=sum(record.failed for record in last),
            last_check=max((record.finished_at for record in last), default=None),
        )

    def _forget(self) -> None:
        """Forget what is not configured any more."""
        if self._configurations != self._state.configurations:
            self._configurations = self._state.configurations
            names = _names(self._state.snapshot())
            self._logs = {name: log for name, log in self._logs.items() if name in names}


def name_of_client(client: str) -> str:
    """Tell a kind of client from a zone or host of that name."""
    return f"client {client}"


def _judge(snapshot: Snapshot) -> tuple[dict[str, Verdict], bool]:
    """Give the verdicts of the one thing in a snapshot by DNS server, and whether its check has failed."""
    diagnosis = diagnose(snapshot)
    seen = [
        *((each.dns_server, each.verdict, each.as_expected) for z in diagnosis.zones for each in z.servers),
        *((each.dns_server, each.verdict, False) for each in diagnosis.static_hosts),
        *((each.dns_server, each.verdict, each.server.as_expected) for each in diagnosis.clients),
    ]
    failed = any(verdict is not Verdict.OK and not as_expected for _, verdict, as_expected in seen)
    return {label: verdict for label, verdict, _ in seen}, failed


def _times(found: Found) -> tuple[float, float]:
    """Give when a check was finished, and how long it took."""
    if not isinstance(found, ClientCheck):
        return found.finished_at, found.duration_seconds
    parts = found.suffixes
    return max(each.finished_at for each in parts), max(each.duration_seconds for each in parts)


def _name(found: Found) -> str:
    match found:
        case ZoneCheck():
            return found.zone
        case HostCheck():
            return host_port(found.host.target, found.host.port)
        case ClientCheck():
            return name_of_client(found.client)


def _names(snapshot: Snapshot) -> frozenset[str]:
    """Name all that is configured, as `_name` does what was found of it."""
    zones = (each.zone for each in snapshot.zones)
    hosts = (host_port(each.host.target, each.host.port) for each in snapshot.static_hosts)
    return frozenset((*zones, *hosts, *(name_of_client(each.client) for each in snapshot.clients)))

"""The last checks of everything that is configured with their traces, and since when each verdict holds.

Owns a bounded ring of checks for each zone, static host and kind of client. A trace is kept as compressed
bytes: there are thousands of them, and hardly one is ever read. Used from the event loop alone; what it gives
out is immutable. Keeps nothing of what is not configured any more.
"""

import collections
import itertools
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from exporter.diagnosis import Verdict, diagnose
from exporter.model import ClientCheck, Found, HostCheck, ZoneCheck, host_port
from exporter.state import Snapshot, State
from exporter.trace import Step, trace_of

RECENT_CHECKS = 10
FAILED_CHECKS = 30
MAX_STEPS = 500
_MICROSECONDS_PER_SECOND = 1_000_000
_PHRASES = (
    b' (in another check) kept from before came along with the SRV answer not_allowed unfinished", without '
    b"EDNS)SYN retransmits servfail refused bad_response unreachable connection_reset connection_refused "
    b'rpc_timeout timeout","nodata","nxdomain, authoritative","ok, 1 record, authoritative","accepted in '
    b'connected in  ms"," (tcp)"," (udp)","SOA ","SRV _vlmcs._tcp. at AAAA connect RPC bind '
)
"""What nearly every trace holds, the most frequent last (RFC 1950, 2.2, FDICT): one alone is short."""


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
    packed: bytes = field(repr=False)

    def steps(self) -> tuple[Step, ...]:
        """Unpack the trace: its steps in order of time, MAX_STEPS of them at most."""
        return unpack(self.packed)


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
    """The checks that are kept of one subject, and the verdicts as they are now."""

    def __init__(self) -> None:
        self.streaks: dict[str, Streak] = {}
        self._recent: collections.deque[CheckRecord] = collections.deque()
        self._failed: collections.deque[CheckRecord] = collections.deque(maxlen=FAILED_CHECKS)

    @property
    def last(self) -> CheckRecord:
        """The last check; a log is made for one."""
        return self._recent[-1]

    def add(self, record: CheckRecord) -> None:
        self._recent.append(record)
        if len(self._recent) > RECENT_CHECKS and (oldest := self._recent.popleft()).failed:
            self._failed.append(oldest)
        before = self.streaks
        self.streaks = {
            label: streak
            if (streak := before.get(label)) and streak.verdict is verdict
            else Streak(verdict=verdict, since=record.finished_at)
            for label, verdict in record.verdicts.items()
        }

    def share(self, verdicts: Mapping[str, Verdict]) -> Mapping[str, Verdict]:
        """Give the verdicts of the last check instead, if they are the same: they take room but once."""
        last = self._recent[-1].verdicts if self._recent else None
        return last if last == verdicts else MappingProxyType(verdicts)

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
        verdicts, failed = _judge(self._state.snapshot_of(found))
        if not verdicts:
            return
        log = self._logs.setdefault(_name(found), _Log())
        finished_at, duration_seconds = _times(found)
        log.add(
            CheckRecord(
                finished_at=finished_at,
                duration_seconds=duration_seconds,
                verdicts=log.share(verdicts),
                failed=failed,
                packed=pack(trace_of(found)),
            )
        )

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


def pack(steps: Sequence[Step]) -> bytes:
    """Pack a trace, times rounded to microseconds; of a long one the beginning."""
    kept = list(steps[:MAX_STEPS])
    if cut := len(steps) - len(kept):
        kept[-1] = Step(
            at=kept[-1].at,
            duration_seconds=None,
            what="the rest of the trace",
            outcome=f"{cut + 1} more steps, not kept",
            good=True,
        )
    start = kept[0].at if kept else 0.0
    offsets = [_microseconds(step.at - start) for step in kept]
    columns = (
        start,
        [after - before for before, after in itertools.pairwise((0, *offsets))],
        [None if (taken := step.duration_seconds) is None else _microseconds(taken) for step in kept],
        [step.what for step in kept],
        [step.outcome for step in kept],
        [int(step.good) for step in kept],
    )
    packer = zlib.compressobj(zdict=_PHRASES)
    return packer.compress(json.dumps(columns, separators=(",", ":")).encode()) + packer.flush()


def unpack(packed: bytes) -> tuple[Step, ...]:
    """Unpack a trace."""
    start, gaps, durations, whats, outcomes, goods = json.loads(
        zlib.decompressobj(zdict=_PHRASES).decompress(packed)
    )
    return tuple(
        Step(
            at=start + offset / _MICROSECONDS_PER_SECOND,
            duration_seconds=None if taken is None else taken / _MICROSECONDS_PER_SECOND,
            what=what,
            outcome=outcome,
            good=bool(good),
        )
        for offset, taken, what, outcome, good in zip(
            itertools.accumulate(gaps), durations, whats, outcomes, goods, strict=True
        )
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * _MICROSECONDS_PER_SECOND)


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
    parts = found.suffixes if isinstance(found, ClientCheck) else (found,)
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

"""One check as a list of steps: each query, connect and bind, when it was, how long it took, what came of it.

Pure functions of what a check found. This is what a person reads instead of a packet capture. Names stand in
it in canonical form, which is plain ASCII whatever a DNS answer holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from exporter.model import (
    TRUNCATED,
    UNFINISHED,
    ClientCheck,
    Family,
    Found,
    HostCheck,
    IgnoredReason,
    LookupStatus,
    ProbeFailure,
    ProbeResult,
    Query,
    ServerCheck,
    ServerGroup,
    TargetLookup,
    ZoneCheck,
    family_of,
    host_port,
)

_ADDRESS_TYPES = {Family.IPV4: "A", Family.IPV6: "AAAA"}
_ANSWERED = frozenset({LookupStatus.OK.value, TRUNCATED})
_ANSWERED_OR_ABSENT = _ANSWERED | {LookupStatus.NXDOMAIN.value, LookupStatus.NODATA.value}
_CLOCKS_DIFFER_SECONDS = 0.001  # the start of a check is worked out from a monotonic clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: when it began (Unix time), how long it took, what was done, and what came of it.

    `duration_seconds` is None for a step that did not take place, or whose time nobody took.
    """

    at: float
    duration_seconds: float | None
    what: str
    outcome: str
    good: bool


def trace_of(found: Found) -> tuple[Step, ...]:
    """List the steps of a check of any kind in order of time."""
    match found:
        case ZoneCheck():
            return trace(found)
        case HostCheck():
            return trace_host(found)
        case ClientCheck():
            return trace_client(found)


def trace(check: ZoneCheck) -> tuple[Step, ...]:
    """List the steps of a zone's check in order of time.

    A step that began before the check was made by another one, with which it shares the result.
    """
    return _in_order(_zone_steps([check]), check.finished_at - check.duration_seconds)


def trace_client(check: ClientCheck) -> tuple[Step, ...]:
    """List the steps of the check of all that a kind of client searches, as `trace` does."""
    starts = [each.finished_at - each.duration_seconds for each in check.suffixes]
    return _in_order(_zone_steps(check.suffixes), min(starts, default=0.0))


def trace_host(check: HostCheck) -> tuple[Step, ...]:
    """List the steps of a static host's check in order of time, as `trace` does."""
    steps = [*_query_steps(check.queries, check.targets.values())]
    start = check.finished_at - check.duration_seconds
    steps += _refused_servers(check, start)
    for label, target in check.targets.items():
        if label:  # an address leads to itself
            steps += _unasked(target, label, _end(target.queries, start))
    return _in_order([*steps, *_probe_steps(check.probes)], start)


def show_trace(steps: Iterable[Step]) -> str:
    """Write steps as text: a line for each, with the time since the first, and `!` before what went wrong."""
    steps = tuple(steps)
    width = max((len(step.what) for step in steps), default=0)
    return "".join(
        f"{'' if step.good else '!':1} {step.at - steps[0].at:+9.4f} s  {_column(step.duration_seconds)}  "
        f"{step.what:{width}}  {step.outcome}\n"
        for step in steps
    )


def _zone_steps(checks: Sequence[ZoneCheck]) -> list[Step]:
    """List the steps of checks that may share queries and probes; each stands once."""
    servers = [(check, server) for check in checks for server in check.servers]
    asked = [query for check in checks for query in check.queries]
    asked += [query for _, server in servers for query in server.lookup.queries]
    steps = [*_query_steps(asked, (target for _, server in servers for target in server.targets))]
    for check in checks:
        steps += _refused_servers(check, check.finished_at - check.duration_seconds)
    for check, server in servers:
        steps += _server_steps(check.zone, server, check.finished_at - check.duration_seconds)
    probes = {id(probe): probe for check in checks for probe in check.probes}
    return [*steps, *_probe_steps(probes.values())]


def _refused_servers(check: ZoneCheck | HostCheck, start: float) -> Iterator[Step]:
    name = check.zone if isinstance(check, ZoneCheck) else check.host.target
    for server in check.refused:
        yield Step(
            at=start,
            duration_seconds=None,
            what=f"DNS servers of {name} ({ServerGroup.AUTHORITATIVE}): {server.label}",
            outcome=str(IgnoredReason.NOT_ALLOWED),
            good=False,
        )


def _server_steps(zone: str, server: ServerCheck, start: float) -> Iterator[Step]:
    """Tell of what was not asked: it has the time of the answer because of which it was not."""
    if not server.asked:
        yield Step(
            at=start,
            duration_seconds=None,
            what=f"DNS servers of {zone} ({server.dns_server})",
            outcome=f"none found: {server.lookup.status}",
            good=False,
        )
    at = _end((query for query in server.lookup.queries if query.rdtype == "SRV"), start)
    for target in server.targets:
        yield from _unasked(target, server.dns_server, at)


def _unasked(target: TargetLookup, dns_server: str, at: float) -> Iterator[Step]:
    """Tell where those addresses of a target come from that no query brought."""
    asked = {query.rdtype for query in target.queries}
    glue = [each for each in target.addresses if _ADDRESS_TYPES[family_of(each)] not in asked]
    kept = [each for each in target.probed if each not in target.addresses]
    outcomes = []
    if not target.asked and not target.queries:
        outcomes.append(f"not asked, since the server had just failed: {target.failure}")
    if glue:
        outcomes.append(f"{', '.join(glue)} came along with the SRV answer")
    if kept:
        outcomes.append(f"{', '.join(kept)} kept from before")
    if outcomes:
        yield Step(
            at=at,
            duration_seconds=None,
            what=f"addresses of {target.target} at {dns_server}",
            outcome="; ".join(outcomes),
            good=target.failure is None and not kept,
        )


def _query_steps(queries: Iterable[Query], targets: Iterable[TargetLookup]) -> Iterator[Step]:
    """Tell of queries, each once; what is absent is a fault where a target has no address for it."""
    needed: dict[int, tuple[Query, bool]] = {id(query): (query, False) for query in queries}
    for target in targets:
        for query in target.queries:
            _, before = needed.get(id(query), (query, False))
            needed[id(query)] = query, before or target.failure is not None
    return (
        Step(
            at=query.asked_at,
            duration_seconds=query.duration_seconds,
            what=f"{query.rdtype} {query.name} at {query.dns_server} ({_show_transport(query)})",
            outcome=_show_outcome(query),
            good=query.outcome in (_ANSWERED if is_needed or query.rdtype == "SRV" else _ANSWERED_OR_ABSENT),
        )
        for query, is_needed in needed.values()
    )


def _show_transport(query: Query) -> str:
    return query.transport if query.edns else f"{query.transport}, without EDNS"


def _show_outcome(query: Query) -> str:
    parts = [query.outcome]
    if query.answers:
        parts.append(_count(query.answers, "record"))
    if query.authoritative:
        parts.append("authoritative")
    return ", ".join(parts)


def _probe_steps(probes: Iterable[ProbeResult]) -> Iterator[Step]:
    for probe in probes:
        yield _connect_step(probe)
        if probe.connected_at is not None and (probe.failure or probe.rpc_bind_seconds is not None):
            yield _bind_step(probe, probe.connected_at)


def _connect_step(probe: ProbeResult) -> Step:
    what = f"connect {_show_endpoint(probe)}"
    if probe.started_at is None:
        outcome = UNFINISHED if probe.failure is ProbeFailure.TIMEOUT else str(probe.failure)
        if probe.ignored is IgnoredReason.PROBES_PER_CHECK:
            outcome += f" (limits.{probe.ignored})"
        return Step(at=probe.finished_at, duration_seconds=None, what=what, outcome=outcome, good=False)
    again = f", {_count(probe.syn_retransmits, 'SYN retransmit')}" if probe.syn_retransmits else ""
    ended_at = probe.finished_at if probe.connected_at is None else probe.connected_at
    seconds = max(0.0, ended_at - probe.started_at)
    if probe.connected_at is None:
        outcome = f"{probe.failure}{again}"
    else:
        round_trip = seconds if probe.connect_seconds is None else probe.connect_seconds
        outcome = f"connected in {show_milliseconds(round_trip)}{again}"
        seconds = seconds if again else round_trip  # the kernel's, which no event loop delays
    return Step(
        at=probe.started_at,
        duration_seconds=seconds,
        what=what,
        outcome=outcome,
        good=probe.connected_at is not None,
    )


def _bind_step(probe: ProbeResult, connected_at: float) -> Step:
    seconds = probe.rpc_bind_seconds
    return Step(
        at=connected_at,
        duration_seconds=max(0.0, probe.finished_at - connected_at) if seconds is None else seconds,
        what=f"RPC bind {_show_endpoint(probe)}",
        outcome=str(probe.failure) if seconds is None else f"accepted in {show_milliseconds(seconds)}",
        good=probe.up,
    )


def _show_endpoint(probe: ProbeResult) -> str:
    endpoint = probe.endpoint
    place = host_port(endpoint.address, endpoint.port)
    return place if endpoint.target == endpoint.address else f"{endpoint.target} {place}"


def _in_order(steps: Iterable[Step], start: float) -> tuple[Step, ...]:
    return tuple(sorted((_mark_earlier(step, start) for step in steps), key=lambda step: step.at))


def _mark_earlier(step: Step, start: float) -> Step:
    """Say of a step that another check made it."""
    if step.at >= start - _CLOCKS_DIFFER_SECONDS:
        return step
    return Step(
        at=step.at,
        duration_seconds=step.duration_seconds,
        what=step.what,
        outcome=f"{step.outcome} (in another check)",
        good=step.good,
    )


def _end(queries: Iterable[Query], start: float) -> float:
    return max((query.asked_at + (query.duration_seconds or 0.0) for query in queries), default=start)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _column(seconds: float | None) -> str:
    return f"{'' if seconds is None else show_milliseconds(seconds):>12}"


def show_milliseconds(seconds: float) -> str:
    """Write a duration as a person reads it."""
    return f"{seconds * 1000:.2f} ms"

"""The ladder as a person climbs it: rung by rung, how far clients get and where they stop.

Pure functions of a diagnosis. The rungs are those of KB 929826, each with how many of the hosts that reached
it pass it.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.diagnosis.findings import ServerDiagnosis, StaticDiagnosis
from exporter.diagnosis.verdicts import HostSight, Verdict
from exporter.model import IgnoredReason, LookupStatus, is_address
from exporter.trace import show_milliseconds


class Mark(enum.StrEnum):
    """How a rung holds."""

    PASSED = "passed"
    PARTLY = "partly"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung: what is asked of it, how it holds, and the particulars in a few words."""

    name: str
    mark: Mark
    detail: str = ""


def zone_ladder(server: ServerDiagnosis, *, rpc_bind: bool) -> tuple[Rung, ...]:
    """Give the rungs of a zone at one DNS server; `rpc_bind` tells whether probes ask for KMS itself."""
    usable = server.lookup.status.usable
    hosts = server.hosts if usable else ()
    return (_dns_rung(server), _records_rung(server), *_host_rungs(hosts, rpc_bind=rpc_bind))


def static_ladder(static: StaticDiagnosis, *, rpc_bind: bool) -> tuple[Rung, ...]:
    """Give the rungs of a static host: those of a zone from the name on, or from the port for an address."""
    rungs = _host_rungs([static.sight], rpc_bind=rpc_bind)
    return rungs[1:] if is_address(static.sight.host.target) else rungs


def _dns_rung(server: ServerDiagnosis) -> Rung:
    name, lookup = "DNS server answers", server.lookup
    if lookup.status is LookupStatus.LOCAL_ERROR:
        return Rung(name=name, mark=Mark.UNKNOWN, detail="this machine could not ask (local_error)")
    if not lookup.status.usable:
        return Rung(name=name, mark=Mark.FAILED, detail=lookup.status)
    source = "authoritative" if lookup.authoritative else "from a cache"
    return Rung(name=name, mark=Mark.PASSED, detail=f"{show_milliseconds(lookup.duration_seconds)}, {source}")


def _records_rung(server: ServerDiagnosis) -> Rung:
    name, lookup = "SRV records", server.lookup
    if not lookup.status.usable:
        return Rung(name=name, mark=Mark.NOT_REACHED)
    if lookup.status is not LookupStatus.OK:
        return Rung(name=name, mark=Mark.FAILED, detail=f"none ({lookup.status})")
    if server.verdict is Verdict.SRV_DECLINED:
        return Rung(name=name, mark=Mark.FAILED, detail='the target is ".": no service here')
    mark = Mark.FAILED if not lookup.records else Mark.PARTLY if lookup.portless else Mark.PASSED
    cut = lookup.ignored.get(IgnoredReason.RECORDS_PER_ZONE, 0)
    unusable = lookup.record_count - len(lookup.records) - cut
    details = [
        f"{lookup.record_count}",
        f"TTL {lookup.ttl_seconds} s",
        *([f"{unusable} of them unusable"] if unusable > 0 else []),
        *([f"{cut} of them cut by limits.records_per_zone"] if cut else []),
    ]
    return Rung(name=name, mark=mark, detail=", ".join(details))


def _host_rungs(hosts: Sequence[HostSight], *, rpc_bind: bool) -> tuple[Rung, ...]:
    resolved = [host for host in hosts if host.lookup and host.lookup.addresses]
    connected = [host for host in resolved if any(probe.connect_seconds is not None for probe in host.probes)]
    serving = [host for host in connected if any(probe.up for probe in host.probes)]
    kms = Rung(name="KMS answers", mark=Mark.UNKNOWN, detail="not asked: probe.rpc_bind is off")
    return (
        _share_of_seen("Targets resolve", resolved, hosts),
        _share_of_seen("TCP port is open", connected, resolved),
        _share("KMS answers", serving, connected) if rpc_bind or not connected else kms,
    )


def _share_of_seen(name: str, passed: Sequence[HostSight], reached: Sequence[HostSight]) -> Rung:
    """Give a rung that is left open where nobody could look at any of the hosts that reached it."""
    if reached and all(host.verdict is Verdict.UNKNOWN for host in reached) and not passed:
        return Rung(name=name, mark=Mark.UNKNOWN, detail="nobody could look")
    return _share(name, passed, reached)


def _share(name: str, passed: Sequence[HostSight], reached: Sequence[HostSight]) -> Rung:
    if not reached:
        return Rung(name=name, mark=Mark.NOT_REACHED)
    mark = Mark.PASSED if len(passed) == len(reached) else Mark.PARTLY if passed else Mark.FAILED
    return Rung(name=name, mark=mark, detail=f"{len(passed)} of {len(reached)}")

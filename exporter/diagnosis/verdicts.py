"""The ladder: what a Windows client meets that follows one DNS server to the hosts it names.

Pure functions of what was observed. The rungs are those of Microsoft's KB 929826: a DNS answer, SRV records,
an address for a target, an open port, and a KMS service behind it.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.model import (
    NOT_AVAILABLE,
    Host,
    IgnoredReason,
    LookupStatus,
    ProbeFailure,
    ProbeResult,
    SrvLookup,
    TargetLookup,
)


class Verdict(enum.StrEnum):
    """What a client meets; the closed vocabulary of `kms_client_verdict`."""

    OK = "ok"
    DEGRADED = "degraded"
    DNS_FAILED = "dns_failed"
    SRV_MISSING = "srv_missing"
    SRV_DECLINED = "srv_declined"
    TARGET_UNRESOLVABLE = "target_unresolvable"
    PORT_FILTERED = "port_filtered"
    PORT_CLOSED = "port_closed"
    KMS_SILENT = "kms_silent"
    NOT_KMS = "not_kms"
    UNKNOWN = "unknown"

    @property
    def works(self) -> bool:
        """Whether a client finds a host that serves it, be it not at the first attempt."""
        return self in {Verdict.OK, Verdict.DEGRADED}


_RUNGS = {
    ProbeFailure.LOCAL_ERROR: Verdict.UNKNOWN,
    ProbeFailure.NOT_ALLOWED: Verdict.UNKNOWN,
    ProbeFailure.TIMEOUT: Verdict.PORT_FILTERED,
    ProbeFailure.UNREACHABLE: Verdict.PORT_FILTERED,
    ProbeFailure.CONNECTION_REFUSED: Verdict.PORT_CLOSED,
    ProbeFailure.CONNECTION_RESET: Verdict.PORT_CLOSED,
    ProbeFailure.RPC_TIMEOUT: Verdict.KMS_SILENT,
    ProbeFailure.RPC_CLOSED: Verdict.KMS_SILENT,
    ProbeFailure.RPC_BUSY: Verdict.KMS_SILENT,
    ProbeFailure.NOT_RPC: Verdict.NOT_KMS,
    ProbeFailure.INTERFACE_UNKNOWN: Verdict.NOT_KMS,
    ProbeFailure.RPC_REJECTED: Verdict.NOT_KMS,
}
_UPWARDS = (
    Verdict.UNKNOWN,
    Verdict.TARGET_UNRESOLVABLE,
    Verdict.PORT_FILTERED,
    Verdict.PORT_CLOSED,
    Verdict.KMS_SILENT,
    Verdict.NOT_KMS,
)
_HEIGHT = {verdict: height for height, verdict in enumerate(_UPWARDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSight:
    """A host as one DNS server leads to it: the addresses given there, and the last probe of each.

    `lookup` is None, and a probe is missing, where there is no result yet.
    """

    host: Host
    lookup: TargetLookup | None
    probes: tuple[ProbeResult, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """How far a client gets with this host alone: `ok`, or the furthest rung that an address reached."""
        if self.lookup is None or self.lookup.failure is LookupStatus.LOCAL_ERROR:
            return Verdict.UNKNOWN
        if not self.lookup.addresses:
            return Verdict.TARGET_UNRESOLVABLE
        if any(probe.up for probe in self.probes):
            return Verdict.OK
        if any(probe.ignored is IgnoredReason.PROBES_PER_CHECK for probe in self.probes):  # it may be up
            return Verdict.UNKNOWN
        return _furthest(_RUNGS[probe.failure] for probe in self.probes if probe.failure)

    @property
    def works(self) -> bool | None:
        """Whether the host serves a client; None where nobody could look."""
        verdict = self.verdict
        return None if verdict is Verdict.UNKNOWN else verdict is Verdict.OK


def judge(lookup: SrvLookup, hosts: Sequence[HostSight]) -> Verdict:
    """Give the verdict of a zone at one DNS server, `hosts` being those that its records name.

    A record that names nothing to connect to, for its port is 0, counts as a host whose port is closed. A
    lookup that this machine could not make says nothing of what clients meet.
    """
    if lookup.status is LookupStatus.LOCAL_ERROR:
        return Verdict.UNKNOWN
    if not lookup.status.usable:
        return Verdict.DNS_FAILED
    if lookup.status is not LookupStatus.OK:
        return Verdict.SRV_MISSING
    if not lookup.portless and all(record.target == NOT_AVAILABLE for record in lookup.records):
        return Verdict.SRV_DECLINED
    verdicts = {host.verdict for host in hosts} | {Verdict.PORT_CLOSED for _ in lookup.portless}
    if verdicts == {Verdict.OK}:
        return Verdict.OK
    return Verdict.DEGRADED if Verdict.OK in verdicts else _furthest(verdicts)


def _furthest(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=_HEIGHT.__getitem__, default=Verdict.UNKNOWN)

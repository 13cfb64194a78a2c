"""One check as a report: what was found, how bad it is, and what to do next, in three forms.

Pure but for what is printed. Takes a snapshot and decides nothing about DNS or KMS: that is `diagnosis`.

| module | holds |
| --- | --- |
| text | the ladder for a person, with rich |
| machine | JSON for scripts, one line for Nagios |
| words | what a person reads in any of them |
"""

import enum
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from exporter.diagnosis import (
    ClientDiagnosis,
    NextStep,
    Rung,
    ServerDiagnosis,
    StaticDiagnosis,
    Verdict,
    ZoneDiagnosis,
    advise,
    advise_static,
    diagnose,
    remark,
    static_ladder,
    zone_ladder,
)
from exporter.model import Host
from exporter.state import Snapshot

D = TypeVar("D")


class Status(enum.IntEnum):
    """How bad it is, as exit status; the numbers are those of the Nagios plugin interface.

    https://nagios-plugins.org/doc/guidelines.html
    """

    OK = 0
    DEGRADED = 1
    FAILED = 2
    UNKNOWN = 3


_BY_URGENCY = (Status.OK, Status.UNKNOWN, Status.DEGRADED, Status.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[D]):
    """One diagnosis with how bad it is, the ladder to it, and what to do next."""

    diagnosis: D
    status: Status
    ladder: tuple[Rung, ...]
    steps: tuple[NextStep, ...]


ServerReport: TypeAlias = Part[ServerDiagnosis]
"""A zone at one DNS server."""

StaticReport: TypeAlias = Part[StaticDiagnosis]
"""A static host through one DNS server."""

ClientReport: TypeAlias = Part[ClientDiagnosis]
"""A kind of client through one DNS server; ladder and steps are about the suffix that decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneReport:
    """A zone; `remarks` are what is not as it should be whatever the DNS server: then it is not `ok`."""

    diagnosis: ZoneDiagnosis
    status: Status
    servers: tuple[ServerReport, ...]
    remarks: tuple[NextStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was looked at."""

    zones: tuple[ZoneReport, ...]
    static_hosts: tuple[StaticReport, ...]
    clients: tuple[ClientReport, ...]

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The status of everything, in the order in which it is printed."""
        return (
            *(zone.status for zone in self.zones),
            *(static.status for static in self.static_hosts),
            *(client.status for client in self.clients),
        )

    @property
    def status(self) -> Status:
        """The status of the worst."""
        return worst(self.statuses)


def make_report(snapshot: Snapshot, *, hosts: Container[Host]) -> Report:
    """Report on a snapshot: on its zones, its clients, and those of its static hosts that are in `hosts`.

    The other static hosts are witnesses: they take part in the advice and in nothing else.
    """
    diagnosis = diagnose(snapshot)
    rpc_bind = snapshot.rpc_bind
    return Report(
        zones=tuple(_zone(zone, diagnosis.static_hosts, rpc_bind=rpc_bind) for zone in diagnosis.zones),
        static_hosts=tuple(
            Part(
                diagnosis=static,
                status=status_of(static.verdict),
                ladder=static_ladder(static, rpc_bind=rpc_bind),
                steps=advise_static(static, diagnosis.static_hosts),
            )
            for static in diagnosis.static_hosts
            if static.sight.host in hosts
        ),
        clients=tuple(
            Part(
                diagnosis=client,
                status=status_of(client.verdict),
                ladder=zone_ladder(client.server, rpc_bind=rpc_bind),
                steps=advise(client.server, client.zone, diagnosis.static_hosts),
            )
            for client in diagnosis.clients
        ),
    )


def status_of(verdict: Verdict) -> Status:
    """Tell how bad a verdict is."""
    match verdict:
        case Verdict.OK:
            return Status.OK
        case Verdict.DEGRADED:
            return Status.DEGRADED
        case Verdict.UNKNOWN:
            return Status.UNKNOWN
        case _:
            return Status.FAILED


def worst(statuses: Iterable[Status]) -> Status:
    """Give the most urgent status: failed, then degraded, then unknown; unknown for nothing at all."""
    return max(statuses, key=_BY_URGENCY.index, default=Status.UNKNOWN)


def _zone(zone: ZoneDiagnosis, static: tuple[StaticDiagnosis, ...], *, rpc_bind: bool) -> ZoneReport:
    servers = tuple(
        Part(
            diagnosis=server,
            status=Status.OK if server.as_expected else status_of(server.verdict),
            ladder=zone_ladder(server, rpc_bind=rpc_bind),
            steps=advise(server, zone, static),
        )
        for server in zone.servers
    )
    remarks = remark(zone)
    status = worst(server.status for server in servers)
    return ZoneReport(
        diagnosis=zone,
        status=worst((status, Status.DEGRADED)) if remarks else status,
        servers=servers,
        remarks=remarks,
    )

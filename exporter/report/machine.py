"""The report for programs: JSON with everything in it, and one line for Nagios and its kin.

Pure functions. The JSON's keys are a public interface; seconds and numbers are as on /metrics, null is "not
known". The line follows https://nagios-plugins.org/doc/guidelines.html.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from exporter.diagnosis import HostSight, LikelyError, NextStep, Rung, ServerDiagnosis
from exporter.model import Host, ProbeResult, SrvLookup, host_port
from exporter.report import ClientReport, Report, ServerReport, StaticReport, Status, ZoneReport

_NAGIOS = {
    Status.OK: "OK",
    Status.DEGRADED: "WARNING",
    Status.FAILED: "CRITICAL",
    Status.UNKNOWN: "UNKNOWN",
}


def as_json(report: Report) -> str:
    """Write the report as JSON."""
    document = {
        "status": report.status.name.lower(),
        "exit_status": int(report.status),
        "zones": [zone_document(zone) for zone in report.zones],
        "static_hosts": [static_document(static) for static in report.static_hosts],
        "clients": [client_document(client) for client in report.clients],
    }
    return json.dumps(document, indent=2)


def as_nagios(report: Report) -> str:
    """Write the report as one line: status, what is wrong, and performance data."""
    summary = "; ".join(_troubles(report)) or f"{len(report.statuses)} checked, all as they should be"
    return f"{nagios_line(report.status, summary)} | {' '.join(_performance(report))}".rstrip(" |")


def nagios_line(status: Status, summary: str) -> str:
    """Write a line without performance data; nothing in it can be taken for the start of such."""
    return f"KMS {_NAGIOS[status]} - {summary.replace('|', '/')}"


def zone_document(zone: ZoneReport) -> dict[str, Any]:
    """Give a zone as it stands in the JSON."""
    view = zone.diagnosis.view
    return {
        "zone": view.zone,
        "status": zone.status.name.lower(),
        "dns_servers_agree": zone.diagnosis.agree,
        "expected": None if view.expected is None else _hosts(view.expected),
        "missing": _hosts(view.missing),
        "unexpected": _hosts(view.unexpected),
        "remarks": [_step(step) for step in zone.remarks],
        "dns_servers": [_server(server) for server in zone.servers],
    }


def _server(server: ServerReport) -> dict[str, Any]:
    found = server.diagnosis
    return {
        "dns_server": found.dns_server,
        "status": server.status.name.lower(),
        "verdict": found.verdict.value,
        "likely_error": _error(found.error),
        "first_attempt_success_ratio": {
            selection.value: chance for selection, chance in found.first_attempt.items()
        },
        "ladder": _ladder(server.ladder),
        "lookup": _lookup(found.lookup),
        "hosts": [_host(sight) for sight in found.hosts],
        "absent_hosts": [_host(sight) for sight in found.absent],
        "next_steps": [_step(step) for step in server.steps],
    }


def static_document(static: StaticReport) -> dict[str, Any]:
    """Give a static host through one DNS server as it stands in the JSON."""
    found = static.diagnosis
    return {
        **_host(found.sight),
        "dns_server": found.dns_server,
        "status": static.status.name.lower(),
        "likely_error": _error(found.error),
        "ladder": _ladder(static.ladder),
        "next_steps": [_step(step) for step in static.steps],
    }


def client_document(client: ClientReport) -> dict[str, Any]:
    """Give a kind of client through one DNS server as it stands in the JSON."""
    found = client.diagnosis
    return {
        "client": found.client,
        "dns_server": found.dns_server,
        "status": client.status.name.lower(),
        "verdict": found.verdict.value,
        "zone": found.dns_zone,
        "likely_error": _error(found.error),
        "ladder": _ladder(client.ladder),
        "next_steps": [_step(step) for step in client.steps],
    }


def _lookup(lookup: SrvLookup) -> dict[str, Any]:
    return {
        "status": lookup.status.value,
        "duration_seconds": lookup.duration_seconds,
        "authoritative": lookup.authoritative,
        "ttl_seconds": lookup.ttl_seconds,
        "soa_serial": lookup.soa_serial,
        "record_count": lookup.record_count,
        "records": [record._asdict() for record in lookup.records],
    }


def _host(sight: HostSight) -> dict[str, Any]:
    failure = sight.lookup.failure if sight.lookup else None
    return {
        "target": sight.host.target,
        "port": sight.host.port,
        "verdict": sight.verdict.value,
        "lookup_failure": failure.value if failure else None,
        "alias_of": sight.lookup.alias_of if sight.lookup else None,
        "addresses": list(sight.lookup.addresses) if sight.lookup else [],
        "endpoints": [_endpoint(probe) for probe in sight.probes],
    }


def _endpoint(probe: ProbeResult) -> dict[str, Any]:
    return {
        "address": probe.endpoint.address,
        "up": probe.up,
        "failure": probe.failure.value if probe.failure else None,
        "connect_seconds": probe.connect_seconds,
        "rpc_bind_seconds": probe.rpc_bind_seconds,
        "syn_retransmits": probe.syn_retransmits,
    }


def _error(error: LikelyError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "code": error.shown.code,
        "symbol": error.shown.symbol,
        "certainty": error.certainty.value,
        "cause": {"code": error.cause.code, "symbol": error.cause.symbol} if error.cause else None,
        "elsewhere": error.elsewhere,
    }


def _ladder(rungs: Sequence[Rung]) -> list[dict[str, str]]:
    return [{"rung": rung.name, "state": rung.mark.value, "detail": rung.detail} for rung in rungs]


def _step(step: NextStep) -> dict[str, Any]:
    return {"place": step.place.value, "text": step.text, "commands": list(step.commands)}


def _hosts(hosts: frozenset[Host]) -> list[str]:
    return [host_port(host.target, host.port) for host in sorted(hosts)]


def _troubles(report: Report) -> Iterator[str]:
    """Say in a few words what is wrong, the worst first."""
    bad: list[tuple[Status, str]] = []
    for zone in report.zones:
        name = zone.diagnosis.view.zone
        bad += [(server.status, f"{name} {_why(server.diagnosis)}") for server in zone.servers]
        bad += [(Status.DEGRADED, f"{name} lacks {host}") for host in _hosts(zone.diagnosis.view.missing)]
        bad += [
            (Status.DEGRADED, f"{name} has unexpected {host}")
            for host in _hosts(zone.diagnosis.view.unexpected)
        ]
        if zone.diagnosis.agree is False:
            bad.append((Status.DEGRADED, f"{name} differs between DNS servers"))
    for static in report.static_hosts:
        host = static.diagnosis.sight.host
        place = f" at {static.diagnosis.dns_server}" if static.diagnosis.dns_server else ""
        bad.append((static.status, f"{host_port(host.target, host.port)} {static.diagnosis.verdict}{place}"))
    bad += [
        (client.status, f"client {client.diagnosis.client} {_why(client.diagnosis.server)}")
        for client in report.clients
    ]
    for status in (Status.FAILED, Status.DEGRADED, Status.UNKNOWN):
        yield from (text for each, text in bad if each is status)


def _why(server: ServerDiagnosis) -> str:
    code = f", likely {server.error.shown.code}" if server.error else ""
    return f"{server.verdict} at {server.dns_server}{code}"


def _performance(report: Report) -> Iterator[str]:
    """Give times in seconds and counts; a label is quoted, and no name can hold a quote."""
    for zone in report.zones:
        name = zone.diagnosis.view.zone
        for server in zone.servers:
            place = f"{name} {server.diagnosis.dns_server}"
            up = sum(bool(sight.works) for sight in server.diagnosis.hosts)
            yield f"'{place} hosts_up'={up};;;0;{len(server.diagnosis.hosts)}"
            yield f"'{place} lookup'={server.diagnosis.lookup.duration_seconds:.6f}s;;;0"
    probes = {
        probe.endpoint: probe
        for sight in _sights(report)
        for probe in sight.probes
        if probe.connect_seconds is not None
    }
    for endpoint, probe in sorted(probes.items()):
        place = f"{host_port(endpoint.target, endpoint.port)} {endpoint.address}"
        yield f"'{place} connect'={probe.connect_seconds:.6f}s;;;0"
        if probe.rpc_bind_seconds is not None:
            yield f"'{place} rpc_bind'={probe.rpc_bind_seconds:.6f}s;;;0"


def _sights(report: Report) -> Iterator[HostSight]:
    for zone in report.zones:
        for server in zone.servers:
            yield from server.diagnosis.hosts
    for static in report.static_hosts:
        yield static.diagnosis.sight

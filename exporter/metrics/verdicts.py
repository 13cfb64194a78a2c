"""Families about what clients meet: verdicts, likely errors, chances."""

from collections.abc import Iterator, Sequence

from exporter.diagnosis import ClientDiagnosis, Diagnosis, ServerDiagnosis, StaticDiagnosis, Verdict
from exporter.metrics.family import CLIENT_SERVER, HOST, ZONE, ZONE_SERVER, Family, gauge, info, states


def verdict_families(diagnosis: Diagnosis, *, note: str) -> Iterator[Family]:
    """Show a diagnosis; `note` is for the help of the verdicts."""
    yield gauge(
        "kms_dns_servers_agree",
        "1 when all authoritative answers for the zone hold the same records, be it none; absent below two.",
        ZONE,
        (((zone.view.zone,), float(zone.agree)) for zone in diagnosis.zones if zone.agree is not None),
    )
    at_servers = [(zone.view.zone, server) for zone in diagnosis.zones for server in zone.servers]
    yield from _clients(at_servers, note)
    yield from _static_hosts(diagnosis.static_hosts, note)
    yield from _profiles(diagnosis.clients, note)


def _clients(views: Sequence[tuple[str, ServerDiagnosis]], note: str) -> Iterator[Family]:
    yield states(
        "kms_client_verdict",
        "1 for what a Windows client would meet that looks for KMS in this zone through this DNS server."
        + note,
        (*ZONE_SERVER, "verdict"),
        Verdict,
        (((zone, view.dns_server), view.verdict) for zone, view in views),
    )
    yield info(
        "kms_client_likely_error_info",
        "1, with the error that such a client is likely to show, and how sure that is; absent without one.",
        (*ZONE_SERVER, "code", "symbol", "certainty"),
        (
            (zone, view.dns_server, error.shown.code, error.shown.symbol, error.certainty.value)
            for zone, view in views
            if (error := view.error)
        ),
    )
    yield gauge(
        "kms_client_first_attempt_success_ratio",
        "Chance that the first host works that such a client picks: by priority and weight (rfc2782), or "
        "any (random), as old clients do; absent without hosts, or where one could not be looked at.",
        (*ZONE_SERVER, "selection"),
        (
            ((zone, view.dns_server, selection.value), chance)
            for zone, view in views
            for selection, chance in view.first_attempt.items()
        ),
    )


def _static_hosts(views: Sequence[StaticDiagnosis], note: str) -> Iterator[Family]:
    yield states(
        "kms_static_host_verdict",
        "1 for what a client would meet that is assigned this host and resolves its name at this DNS server."
        + note,
        (*HOST, "dns_server", "verdict"),
        Verdict,
        (
            ((view.sight.host.target, str(view.sight.host.port), view.dns_server), view.verdict)
            for view in views
        ),
    )


def _profiles(views: Sequence[ClientDiagnosis], note: str) -> Iterator[Family]:
    yield states(
        "kms_client_profile_verdict",
        "1 for what this kind of client would meet that searches its suffixes through this DNS server."
        + note,
        (*CLIENT_SERVER, "verdict"),
        Verdict,
        (((view.client, view.dns_server), view.verdict) for view in views),
    )
    yield info(
        "kms_client_profile_zone_info",
        "1, with the suffix in which this kind of client finds records first; absent where it finds none.",
        (*CLIENT_SERVER, "dns_zone"),
        ((view.client, view.dns_server, view.dns_zone) for view in views if view.dns_zone),
    )

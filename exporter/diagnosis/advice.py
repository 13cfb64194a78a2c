"""What to do next, in words that a Windows administrator can act on: where, why, and the command to type.

Pure functions of a diagnosis. The steps are those of Microsoft's KB 929826 and of the activation documents
(https://learn.microsoft.com/en-us/windows-server/get-started/activation-troubleshoot-kms-general), the
commands those of slmgr.vbs, nslookup and PowerShell. Nothing is done here: it is a person who acts.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.diagnosis.findings import ServerDiagnosis, StaticDiagnosis, ZoneDiagnosis
from exporter.diagnosis.repairs import NextStep, Place, could_not_send, nslookup, repair_host, show_host
from exporter.diagnosis.verdicts import HostSight, Verdict
from exporter.model import NOT_AVAILABLE, Host, LookupStatus, hosts_of
from exporter.names import SRV_PREFIX

_PUBLISH = ("slmgr /dlv", "slmgr /sdns", "net stop sppsvc", "net start sppsvc")
_DNS_FAULTS: Mapping[LookupStatus, str] = {
    LookupStatus.SERVFAIL: "fails when it is asked for {zone}: see that the zone is loaded there, and that "
    "the servers it forwards to answer.",
    LookupStatus.REFUSED: "refuses questions for {zone}: let clients ask it, or give them another server.",
    LookupStatus.BAD_RESPONSE: "answers with something that cannot be understood: see what it is, and "
    "whether it is a DNS server at all.",
}
_SILENT = "does not answer: see that it runs, that clients use it, and that no firewall closes its port."


def advise(
    server: ServerDiagnosis, zone: ZoneDiagnosis, static_hosts: Sequence[StaticDiagnosis]
) -> tuple[NextStep, ...]:
    """Say what to do about a zone at one DNS server; nothing where all is well.

    Static hosts, and hosts that are not published any more, are witnesses: one that works shows that the
    fault lies in what leads to it.
    """
    if server.as_expected:
        return ()
    if server.lookup.status is LookupStatus.LOCAL_ERROR:
        return (could_not_send(f"Nobody asked DNS server {server.dns_server}"),)
    return tuple(_steps(server, zone, _witnesses(static_hosts, server.dns_server)))


def advise_static(static: StaticDiagnosis, static_hosts: Sequence[StaticDiagnosis]) -> tuple[NextStep, ...]:
    """Say what to do about a static host, the other ones being witnesses; nothing where all is well."""
    others = [each for each in static_hosts if each is not static]
    witnesses = _witnesses(others, static.dns_server)
    return tuple(repair_host(static.sight, static.dns_server, witnesses, assigned=True))


def _witnesses(static_hosts: Sequence[StaticDiagnosis], dns_server: str) -> list[StaticDiagnosis]:
    """Choose the static hosts as this DNS server leads to them, and those that are addresses."""
    return [each for each in static_hosts if each.dns_server in {dns_server, ""}]


def remark(zone: ZoneDiagnosis) -> tuple[NextStep, ...]:
    """Say what is not as it should be in a zone, whatever a single DNS server's clients meet."""
    return (*_missing(zone), *_unexpected(zone), *_disagreement(zone))


def _steps(
    server: ServerDiagnosis, zone: ZoneDiagnosis, witnesses: Sequence[StaticDiagnosis]
) -> Iterator[NextStep]:
    if server.verdict is Verdict.DNS_FAILED:
        yield _repair_dns(server, zone)
    elif server.verdict is Verdict.SRV_MISSING:
        yield from _publish(server, zone)
    else:
        yield from _repair_records(server, zone)
        for sight in server.hosts:
            yield from repair_host(sight, server.dns_server, witnesses)
    if not server.verdict.works:
        if server.lookup.status.usable:
            yield from _unnamed(server, zone, witnesses)
        yield from _stop_gap(server, zone, witnesses)
    if server.verdict is not Verdict.OK and server.lookup.authoritative is False:
        yield _cached(server, zone)


def _repair_dns(server: ServerDiagnosis, zone: ZoneDiagnosis) -> NextStep:
    fault = _DNS_FAULTS.get(server.lookup.status, _SILENT).format(zone=zone.view.zone)
    commands = ("ipconfig /all", _nslookup_srv(zone, server.dns_server))
    return NextStep(place=Place.CLIENT, text=f"DNS server {server.dns_server} {fault}", commands=commands)


def _publish(server: ServerDiagnosis, zone: ZoneDiagnosis) -> Iterator[NextStep]:
    yield NextStep(
        place=Place.CLIENT,
        text=f"{server.dns_server} has no SRV record {SRV_PREFIX}{zone.view.zone}. Ask it yourself:",
        commands=(_nslookup_srv(zone, server.dns_server),),
    )
    elsewhere = [each.dns_server for each in zone.servers if hosts_of(each.lookup.records)]
    if elsewhere:
        cached = server.lookup.authoritative is False
        mend = "its cache has yet to learn of it" if cached else "see that the zone replicates to it"
        yield NextStep(
            place=Place.DNS,
            text=f"{_list(elsewhere)} has the record, {server.dns_server} has not: {mend}.",
            commands=() if cached else ("repadmin /replsummary",),
        )
        return
    for sight in server.absent:
        if sight.works:
            text = f"{show_host(sight.host)} {_answers(sight)}: the record is gone, the host is not."
            yield NextStep(place=Place.HOST, text=text)
    yield NextStep(
        place=Place.HOST,
        text="See whether DNS publishing is enabled, enable it, and restart the service, which publishes at "
        "once. Event 12293 with 0x80072338 says that the host may not change the record: grant it the right. "
        f"A host publishes in its own domain, and in those of DnsDomainPublishList: is {zone.view.zone} one?",
        commands=_PUBLISH,
    )


def _repair_records(server: ServerDiagnosis, zone: ZoneDiagnosis) -> Iterator[NextStep]:
    name = zone.view.zone
    if server.lookup.portless:
        yield NextStep(
            place=Place.DNS,
            text=f"A record in {name} names port 0, to which nothing can connect: "
            f"{_list([record.target for record in server.lookup.portless])}. Correct it; slmgr /dlv on the "
            "host shows its port.",
        )
    if any(record.target == NOT_AVAILABLE for record in server.lookup.records):
        yield NextStep(
            place=Place.DNS,
            text=f'The target of a record is ".": somebody declared that {name} has no KMS host. Delete '
            "that record if clients should find one.",
        )


def _missing(zone: ZoneDiagnosis) -> Iterator[NextStep]:
    sources = {server.lookup.authoritative for server in zone.servers if server.lookup.status.usable}
    whose = "by what caches say, which may lag, " if sources == {False} else ""
    for host in sorted(zone.view.missing):
        sights = [sight for server in zone.servers for sight in server.absent if sight.host == host]
        working = next((sight for sight in sights if sight.works), None)
        failing = next((sight for sight in sights if sight.works is False), None)
        if working:
            what = f"yet it {_answers(working)}: the record is gone, the host is not."
        elif failing:
            what = f"and a client that is assigned it would not be served either: {failing.verdict}."
        else:
            what = "and nobody could look at the host."
        yield NextStep(
            place=Place.HOST,
            text=f"{show_host(host)} is expected in {zone.view.zone}, but {whose}no DNS server publishes it, "
            f"{what}",
            commands=_PUBLISH,
        )


def _unexpected(zone: ZoneDiagnosis) -> Iterator[NextStep]:
    for host in sorted(zone.view.unexpected):
        yield NextStep(
            place=Place.HOST,
            text=f"{show_host(host)} is published in {zone.view.zone}, and nobody expects it. Usually "
            "somebody has typed a KMS host key on an ordinary machine: remove the key there, and delete "
            "the record. If it is meant to serve, expect it in the configuration.",
            commands=("slmgr /dlv", "slmgr /upk", "slmgr /cdns"),
        )


def _disagreement(zone: ZoneDiagnosis) -> Iterator[NextStep]:
    if zone.agree is False:
        servers = [server.dns_server for server in zone.servers if server.lookup.authoritative]
        yield NextStep(
            place=Place.DNS,
            text=f"The DNS servers hold different records for {zone.view.zone}, and clients meet either. "
            "Compare them; where the zone is in Active Directory, see that it replicates.",
            commands=(*(_nslookup_srv(zone, label) for label in servers), "repadmin /replsummary"),
        )


def _unnamed(
    server: ServerDiagnosis, zone: ZoneDiagnosis, witnesses: Sequence[StaticDiagnosis]
) -> Iterator[NextStep]:
    """Tell of hosts of the zone that work when they are assigned, and that no record names."""
    named = {record.target for record in (*server.lookup.records, *server.lookup.portless)}
    for host in _working_in(zone, witnesses):
        if host.target not in named:
            text = f"Assigned by name, {show_host(host)} works: the record is at fault, for none names it."
            yield NextStep(place=Place.CLIENT, text=text)


def _stop_gap(
    server: ServerDiagnosis, zone: ZoneDiagnosis, witnesses: Sequence[StaticDiagnosis]
) -> Iterator[NextStep]:
    """Name a host that can be assigned meanwhile: one of the zone, if there is any."""
    known = [sight.host for sight in (*server.absent, *server.hosts) if sight.works]
    others = [witness.sight.host for witness in witnesses if witness.verdict is Verdict.OK]
    working = next(iter((*known, *_working_in(zone, witnesses), *others)), None)
    if working:
        yield NextStep(
            place=Place.CLIENT,
            text=f"Until that is mended, a client can be assigned {show_host(working)}, which is up; "
            "slmgr /ckms goes back to DNS.",
            commands=(f"slmgr /skms {show_host(working)}", "slmgr /ato"),
        )


def _working_in(zone: ZoneDiagnosis, witnesses: Iterable[StaticDiagnosis]) -> list[Host]:
    """List the static hosts that work and belong to a zone by their names."""
    hosts = [witness.sight.host for witness in witnesses if witness.verdict is Verdict.OK]
    return [host for host in hosts if host.target.endswith(f".{zone.view.zone}")]


def _cached(server: ServerDiagnosis, zone: ZoneDiagnosis) -> NextStep:
    ttl = server.lookup.ttl_seconds
    age = "" if ttl is None else f", which keeps it for up to {ttl} s more"
    return NextStep(
        place=Place.DNS,
        text=f"This answer came from a cache{age}: what is published by now may differ. Ask a server with "
        f"authority for {zone.view.zone}.",
        commands=(f"nslookup -type=ns {zone.view.zone}",),
    )


def _answers(sight: HostSight) -> str:
    """Say how a host that is up answers; without the bind, nobody asked whether it is KMS."""
    asked = any(probe.rpc_bind_seconds is not None for probe in sight.probes)
    return "answers as KMS" if asked else "accepts connections"


def _list(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else f"{unique[0]} (and {len(unique) - 1} more)"


def _nslookup_srv(zone: ZoneDiagnosis, dns_server: str) -> str:
    return nslookup(SRV_PREFIX + zone.view.zone, dns_server, "-type=srv")

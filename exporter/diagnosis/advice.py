"""What to do next, in words that a Windows administrator can act on: where, why, and the command to type.

Pure functions of a diagnosis. The steps are those of Microsoft's KB 929826 and of the activation documents
(https://learn.microsoft.com/en-us/windows-server/get-started/activation-troubleshoot-kms-general), the
commands those of slmgr.vbs, nslookup and PowerShell. Nothing is done here: it is a person who acts.
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.diagnosis.findings import ServerDiagnosis, StaticDiagnosis, ZoneDiagnosis
from exporter.diagnosis.verdicts import HostSight, Verdict
from exporter.model import Host, LookupStatus, ProbeFailure, host_port, is_address
from exporter.names import SRV_PREFIX

_PUBLISH = ("slmgr /dlv", "slmgr /sdns", "net stop sppsvc", "net start sppsvc")


class Place(enum.StrEnum):
    """Where a step is done."""

    CLIENT = "client"
    HOST = "KMS host"
    DNS = "DNS"
    EXPORTER = "exporter"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """One thing to do or to know: a sentence, where it is done, and the commands in their order."""

    place: Place
    text: str
    commands: tuple[str, ...] = ()


def advise(
    server: ServerDiagnosis, zone: ZoneDiagnosis, static_hosts: Sequence[StaticDiagnosis]
) -> tuple[NextStep, ...]:
    """Say what to do about a zone at one DNS server; nothing where all is well.

    Static hosts, and hosts that are not published any more, are witnesses: one that works shows that the
    fault lies in what leads to it (KB 929826, step 5).
    """
    unpublished = server.verdict in {Verdict.SRV_MISSING, Verdict.SRV_DECLINED}
    if unpublished and zone.view.expected == frozenset():
        text = f"Nothing is expected to be published in {zone.view.zone}, so this is as it should be."
        return (NextStep(place=Place.DNS, text=text),)
    return tuple(_steps(server, zone, static_hosts))


def _steps(
    server: ServerDiagnosis, zone: ZoneDiagnosis, static_hosts: Sequence[StaticDiagnosis]
) -> Iterator[NextStep]:
    witnesses = [each for each in static_hosts if each.dns_server in {server.dns_server, ""}]
    if server.verdict is Verdict.DNS_FAILED:
        yield from _repair_dns(server, zone)
    elif server.verdict is Verdict.SRV_MISSING:
        yield from _publish(server, zone, witnesses)
    elif server.verdict is Verdict.SRV_DECLINED:
        yield NextStep(
            place=Place.DNS,
            text=f"The record's target is `.`: somebody declared that {zone.view.zone} has no KMS host. "
            "Delete that record if clients should find one.",
        )
    elif not server.hosts:
        yield NextStep(
            place=Place.DNS,
            text=f"The records in {zone.view.zone} name port 0, to which nothing can connect. Correct them; "
            "the KMS host shows its port.",
            commands=("slmgr /dlv",),
        )
    if server.lookup.status.usable:
        for sight in server.hosts:
            yield from _repair_host(sight, server.dns_server, witnesses)
    if not server.verdict.works:
        yield from _stop_gap(server, zone, witnesses)
    if server.verdict is not Verdict.OK and server.lookup.authoritative is False:
        yield _cached(server, zone)


def advise_static(static: StaticDiagnosis, static_hosts: Sequence[StaticDiagnosis]) -> tuple[NextStep, ...]:
    """Say what to do about a static host, the other ones being witnesses; nothing where all is well."""
    others = [
        each for each in static_hosts if each is not static and each.dns_server in {static.dns_server, ""}
    ]
    return tuple(_repair_host(static.sight, static.dns_server, others))


def remark(zone: ZoneDiagnosis) -> tuple[NextStep, ...]:
    """Say what is not as it should be in a zone, whatever a single DNS server's clients meet."""
    return tuple(_remarks(zone))


def _remarks(zone: ZoneDiagnosis) -> Iterator[NextStep]:
    absent = {sight.host: sight for server in zone.servers for sight in server.absent}
    for host in sorted(zone.view.missing):
        sight = absent.get(host)
        if sight and sight.works:
            what = "yet it answers as KMS: the record is gone, the host is not."
        elif sight and sight.works is False:
            what = f"and a client that is assigned it would not be served either: {sight.verdict}."
        else:
            what = "and nobody could look at the host."
        yield NextStep(
            place=Place.HOST,
            text=f"{_show(host)} is expected in {zone.view.zone}, but no DNS server publishes it, {what}",
            commands=_PUBLISH,
        )
    for host in sorted(zone.view.unexpected):
        yield NextStep(
            place=Place.HOST,
            text=f"{_show(host)} is published in {zone.view.zone}, and nobody expects it. Usually somebody "
            "has typed a KMS host key on an ordinary machine: remove the key there, and delete the record. "
            "If it is meant to serve, expect it in the configuration.",
            commands=("slmgr /dlv", "slmgr /upk", "slmgr /cdns"),
        )
    if zone.agree is False:
        servers = [server.dns_server for server in zone.servers if server.lookup.authoritative]
        yield NextStep(
            place=Place.DNS,
            text=f"The DNS servers hold different records for {zone.view.zone}, and clients meet either. "
            "Compare them; where the zone is in Active Directory, see that it replicates.",
            commands=(*(_nslookup_srv(zone, label) for label in servers), "repadmin /replsummary"),
        )


_DNS_FAULTS: Mapping[LookupStatus, str] = {
    LookupStatus.SERVFAIL: "fails on every question for {zone}: see that the zone is loaded there, and that "
    "the servers it forwards to answer.",
    LookupStatus.REFUSED: "refuses questions for {zone}: let clients ask it, or give them another server.",
    LookupStatus.BAD_RESPONSE: "answers with something that cannot be understood: see what it is, and "
    "whether it is a DNS server at all.",
}
_SILENT = "does not answer: see that it runs, that clients use it, and that no firewall closes port 53."


def _repair_dns(server: ServerDiagnosis, zone: ZoneDiagnosis) -> Iterator[NextStep]:
    fault = _DNS_FAULTS.get(server.lookup.status, _SILENT).format(zone=zone.view.zone)
    commands: tuple[str, ...] = ("ipconfig /all", _nslookup_srv(zone, server.dns_server))
    yield NextStep(place=Place.CLIENT, text=f"DNS server {server.dns_server} {fault}", commands=commands)


def _publish(
    server: ServerDiagnosis, zone: ZoneDiagnosis, witnesses: Sequence[StaticDiagnosis]
) -> Iterator[NextStep]:
    yield NextStep(
        place=Place.CLIENT,
        text=f"{server.dns_server} has no SRV record {SRV_PREFIX}{zone.view.zone}. Ask it yourself:",
        commands=(_nslookup_srv(zone, server.dns_server),),
    )
    elsewhere = [each.dns_server for each in zone.servers if each.lookup.records]
    if elsewhere:
        yield NextStep(
            place=Place.DNS,
            text=f"{_list(elsewhere)} has the record: see that the zone replicates to {server.dns_server}.",
            commands=("repadmin /replsummary",),
        )
        return
    for sight in server.absent:
        if sight.works:
            text = f"{_show(sight.host)} answers as KMS: the record is gone, the host is not."
            yield NextStep(place=Place.HOST, text=text)
    for host in _working_in(zone, witnesses):
        text = f"{_show(host)} works when it is assigned by name: the record is at fault, not the host."
        yield NextStep(place=Place.CLIENT, text=text)
    yield NextStep(
        place=Place.HOST,
        text="See whether DNS publishing is enabled, enable it, and restart the service, which publishes at "
        "once. Event 12293 with 0x80072338 says that the host may not change the record: grant it the right. "
        f"A host publishes in its own domain, and in those of DnsDomainPublishList: is {zone.view.zone} one?",
        commands=_PUBLISH,
    )


def _repair_host(
    sight: HostSight, dns_server: str, witnesses: Sequence[StaticDiagnosis]
) -> Iterator[NextStep]:
    if sight.lookup and sight.lookup.alias_of:
        yield NextStep(
            place=Place.DNS,
            text=f"{sight.host.target} is an alias of {sight.lookup.alias_of}. RFC 2782 forbids that for the "
            "target of a record, and clients may refuse it: name the host itself.",
        )
    repair = _REPAIRS.get(sight.verdict)
    if repair:
        yield repair(sight, dns_server)
        yield from _compare(sight, witnesses)


def _repair_name(sight: HostSight, dns_server: str) -> NextStep:
    target = sight.host.target
    reason = f" ({sight.lookup.failure})" if sight.lookup and sight.lookup.failure else ""
    return NextStep(
        place=Place.DNS,
        text=f"{target} has no address{reason}. If that host was retired, delete the record that names it; "
        "else restore its address: on the host, ipconfig /registerdns.",
        commands=(_nslookup(target, dns_server),),
    )


def _open_port(sight: HostSight, _dns_server: str) -> NextStep:
    return NextStep(
        place=Place.HOST,
        text=f"Nothing comes back from {_show(sight.host)}: the host is off, or a firewall is in the way. "
        "The exception in the host's own firewall is off by default; then see the way to it from a client.",
        commands=(
            'netsh advfirewall firewall set rule name="Key Management Service (TCP-In)" new enable=yes',
            _test_connection(sight.host),
        ),
    )


def _start_service(sight: HostSight, _dns_server: str) -> NextStep:
    return NextStep(
        place=Place.HOST,
        text=f"{_show(sight.host)} refuses connections: nothing listens there. See on which port the host "
        "serves, start its service, and try again from a client.",
        commands=("slmgr /dlv", "net start sppsvc", _test_connection(sight.host)),
    )


def _wake_service(sight: HostSight, _dns_server: str) -> NextStep:
    busy = any(probe.failure is ProbeFailure.RPC_BUSY for probe in sight.probes)
    how = "says that it is too busy" if busy else "accepts connections and then says nothing useful"
    return NextStep(
        place=Place.HOST,
        text=f"{_show(sight.host)} {how}: restart the service there. A firewall that answers in the host's "
        "place looks the same.",
        commands=("net stop sppsvc", "net start sppsvc", "slmgr /dlv"),
    )


def _find_impostor(sight: HostSight, _dns_server: str) -> NextStep:
    rpc = any(probe.failure is not ProbeFailure.NOT_RPC for probe in sight.probes)
    what = (
        "an RPC server without the KMS interface: is a KMS host key installed, and does the service run?"
        if rpc
        else "some other program: see which one has the port."
    )
    return NextStep(
        place=Place.HOST,
        text=f"What answers at {_show(sight.host)} is not KMS but {what}",
        commands=("slmgr /dlv", f"netstat -abno | findstr :{sight.host.port}"),
    )


def _look_again(sight: HostSight, _dns_server: str) -> NextStep:
    refused = any(probe.failure is ProbeFailure.NOT_ALLOWED for probe in sight.probes)
    why = (
        "the configuration does not allow its address or port: see probe.networks and probe.ports."
        if refused
        else "this machine could not send: see its addresses, source_addresses and open files."
    )
    return NextStep(place=Place.EXPORTER, text=f"Nobody looked at {_show(sight.host)}: {why}")


_REPAIRS: Mapping[Verdict, Callable[[HostSight, str], NextStep]] = {
    Verdict.TARGET_UNRESOLVABLE: _repair_name,
    Verdict.PORT_FILTERED: _open_port,
    Verdict.PORT_CLOSED: _start_service,
    Verdict.KMS_SILENT: _wake_service,
    Verdict.NOT_KMS: _find_impostor,
    Verdict.UNKNOWN: _look_again,
}


def _compare(sight: HostSight, witnesses: Sequence[StaticDiagnosis]) -> Iterator[NextStep]:
    """Tell a fault of the name from one of the port, where the host is assigned statically too."""
    addresses = sight.lookup.addresses if sight.lookup else ()
    for witness in witnesses:
        host = witness.sight.host
        by_address = is_address(host.target)
        same = host == sight.host or (host.target in addresses and host.port == sight.host.port)
        if sight.verdict is Verdict.TARGET_UNRESOLVABLE and by_address and witness.verdict is Verdict.OK:
            text = f"{_show(host)} works: if that is {sight.host.target}, its name is at fault, not its port."
        elif same and by_address and witness.verdict is sight.verdict:
            text = f"Assigned by address, {_show(host)} fails in the same way: the port is at fault, not DNS."
        elif same and witness.verdict is sight.verdict:
            text = f"Assigned by name, {_show(host)} fails in the same way: the record is not at fault."
        else:
            continue
        yield NextStep(place=Place.CLIENT, text=text)


def _working_in(zone: ZoneDiagnosis, witnesses: Sequence[StaticDiagnosis]) -> list[Host]:
    """List the static hosts that work and belong to a zone by their names."""
    hosts = [witness.sight.host for witness in witnesses if witness.verdict is Verdict.OK]
    return [host for host in hosts if host.target.endswith(f".{zone.view.zone}")]


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
            text=f"Until that is mended, a client can be assigned {_show(working)}, which works; "
            "slmgr /ckms goes back to DNS.",
            commands=(f"slmgr /skms {_show(working)}", "slmgr /ato"),
        )


def _cached(server: ServerDiagnosis, zone: ZoneDiagnosis) -> NextStep:
    ttl = server.lookup.ttl_seconds
    age = "" if ttl is None else f" for up to {ttl} s more"
    return NextStep(
        place=Place.DNS,
        text=f"This answer came from a cache, which keeps it{age}: what is published by now may differ. "
        f"Ask a server with authority for {zone.view.zone}.",
        commands=(f"nslookup -type=ns {zone.view.zone}",),
    )


def _show(host: Host) -> str:
    return host_port(host.target, host.port)


def _list(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return unique[0] if len(unique) == 1 else f"{unique[0]} (and {len(unique) - 1} more)"


def _test_connection(host: Host) -> str:
    return f"Test-NetConnection {host.target} -Port {host.port}"


def _nslookup_srv(zone: ZoneDiagnosis, dns_server: str) -> str:
    return _nslookup(SRV_PREFIX + zone.view.zone, dns_server, "-type=srv")


def _nslookup(name: str, dns_server: str, *options: str) -> str:
    """Spell out a question to one DNS server; the words of a group stand for the client's own server."""
    address, port = dns_server, ""
    if not is_address(dns_server):
        address, _, port = dns_server.rpartition(":")
    ports = [f"-port={port}"] if address and port else []
    return " ".join(["nslookup", *options, *ports, name, *([address.strip("[]")] if address else [])])

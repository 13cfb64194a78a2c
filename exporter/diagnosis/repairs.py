"""What to do about one host that does not serve clients, by how far they get with it.

Pure functions. What static hosts tell takes part: one that works, or fails alike, shows whether the record,
the name or the port is at fault (KB 929826, step 5).
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exporter.diagnosis.findings import StaticDiagnosis
from exporter.diagnosis.verdicts import HostSight, Verdict
from exporter.model import KMS_PORT, Host, IgnoredReason, ProbeFailure, host_port, is_address


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


def repair_host(
    sight: HostSight, dns_server: str, witnesses: Sequence[StaticDiagnosis], *, assigned: bool = False
) -> Iterator[NextStep]:
    """Say what to do about a host; nothing where it serves clients by its own name.

    `assigned` says that no record leads to it, but a client's own setting.
    """
    if sight.lookup and sight.lookup.alias_of:
        yield NextStep(
            place=Place.DNS,
            text=f"{sight.host.target} is an alias of {sight.lookup.alias_of}. RFC 2782 forbids that for the "
            "target of a record, and clients may refuse it: name the host itself.",
        )
    repair = _REPAIRS.get(sight.verdict)
    if repair:
        yield from repair(sight, dns_server)
        yield from _compare(sight, witnesses, "setting" if assigned else "record")
    if sight.verdict is Verdict.TARGET_UNRESOLVABLE:
        yield from _blame_name(sight, witnesses)


def _repair_name(sight: HostSight, dns_server: str) -> Iterator[NextStep]:
    target, failure = sight.host.target, sight.lookup.failure if sight.lookup else None
    if failure and not failure.usable:
        text = f"Nobody knows whether {target} has an address, for its lookup failed ({failure}): mend that."
    else:
        text = (
            f"{target} has no address ({failure}). If that host was retired, delete the record that names "
            "it; else restore its address: on the host, ipconfig /registerdns."
        )
    yield NextStep(place=Place.DNS, text=text, commands=(nslookup(target, dns_server),))


def _open_port(sight: HostSight, _dns_server: str) -> Iterator[NextStep]:
    host = show_host(sight.host)
    if not any(probe.failure is ProbeFailure.TIMEOUT for probe in sight.probes):
        yield NextStep(
            place=Place.CLIENT,
            text=f"{host} cannot be reached, says a router or firewall on the way. See how far it goes:",
            commands=(f"Test-NetConnection {sight.host.target} -TraceRoute",),
        )
        return
    opened = (
        "Enable-NetFirewallRule -Name SPPSVC-In-TCP"
        if sight.host.port == KMS_PORT
        else f"New-NetFirewallRule -DisplayName KMS -Direction Inbound -Protocol TCP "
        f"-LocalPort {sight.host.port} -Action Allow"
    )
    yield NextStep(
        place=Place.HOST,
        text=f"Nothing comes back from {host}: the host is off, or a firewall is in the way. The exception "
        "in the host's own firewall is off by default.",
        commands=(opened,),
    )
    yield _try_again(sight.host)


def _start_service(sight: HostSight, _dns_server: str) -> Iterator[NextStep]:
    yield NextStep(
        place=Place.HOST,
        text=f"{show_host(sight.host)} refuses connections: nothing listens there. See on which port the "
        "host serves, and start its service.",
        commands=("slmgr /dlv", "net start sppsvc"),
    )
    yield _try_again(sight.host)


def _try_again(host: Host) -> NextStep:
    return NextStep(
        place=Place.CLIENT,
        text="Then see from a client whether the port is open to it.",
        commands=(f"Test-NetConnection {host.target} -Port {host.port}",),
    )


def _wake_service(sight: HostSight, _dns_server: str) -> Iterator[NextStep]:
    busy = any(probe.failure is ProbeFailure.RPC_BUSY for probe in sight.probes)
    how = "says that it is too busy" if busy else "accepts connections and then says nothing useful"
    yield NextStep(
        place=Place.HOST,
        text=f"{show_host(sight.host)} {how}: restart the service there. A firewall that answers in the "
        "host's place looks the same.",
        commands=("net stop sppsvc", "net start sppsvc", "slmgr /dlv"),
    )


def _find_impostor(sight: HostSight, _dns_server: str) -> Iterator[NextStep]:
    rpc_failures = {ProbeFailure.INTERFACE_UNKNOWN, ProbeFailure.RPC_REJECTED}
    rpc = any(probe.failure in rpc_failures for probe in sight.probes)
    what = (
        "an RPC server without the KMS interface: is a KMS host key installed, and does the service run?"
        if rpc
        else "some other program: see which one has the port."
    )
    listening = f"Get-NetTCPConnection -State Listen -LocalPort {sight.host.port}"
    yield NextStep(
        place=Place.HOST,
        text=f"What answers at {show_host(sight.host)} is not KMS but {what}",
        commands=("slmgr /dlv", f"Get-Process -Id ({listening}).OwningProcess"),
    )


def _look_again(sight: HostSight, _dns_server: str) -> Iterator[NextStep]:
    nobody_looked = f"Nobody looked at {show_host(sight.host)}"
    if any(probe.ignored is IgnoredReason.PROBES_PER_CHECK for probe in sight.probes):
        why = (
            "DNS leads to more endpoints than one check probes. Delete the records and addresses that do not "
            "belong there, or raise limits.probes_per_check."
        )
        yield NextStep(place=Place.EXPORTER, text=f"{nobody_looked}: {why}")
    elif any(probe.failure is ProbeFailure.NOT_ALLOWED for probe in sight.probes):
        why = "the configuration does not allow its address or port: see probe.networks and probe.ports."
        yield NextStep(place=Place.EXPORTER, text=f"{nobody_looked}: {why}")
    else:
        yield could_not_send(nobody_looked)


def could_not_send(what: str) -> NextStep:
    """Say where to look when it was this machine that failed; `what` is what came to nothing."""
    text = (
        f"{what}: this machine could not send, which says nothing of the network. See how many files the "
        "exporter may open, its source_addresses, and the packet filter of this machine."
    )
    return NextStep(place=Place.EXPORTER, text=text)


_REPAIRS: Mapping[Verdict, Callable[[HostSight, str], Iterator[NextStep]]] = {
    Verdict.TARGET_UNRESOLVABLE: _repair_name,
    Verdict.PORT_FILTERED: _open_port,
    Verdict.PORT_CLOSED: _start_service,
    Verdict.KMS_SILENT: _wake_service,
    Verdict.NOT_KMS: _find_impostor,
    Verdict.UNKNOWN: _look_again,
}


def _compare(sight: HostSight, witnesses: Sequence[StaticDiagnosis], guide: str) -> Iterator[NextStep]:
    """Tell faults of record (or setting), name and port apart, where a host is assigned statically too."""
    target = sight.host.target
    addresses = sight.lookup.addresses if sight.lookup else ()
    for witness in witnesses:
        host = witness.sight.host
        if host.target not in {target, *addresses}:
            continue
        by_name = host.target == target
        assigned = f"Assigned by {'name' if by_name else 'address'}, {show_host(host)}"
        if witness.verdict is Verdict.OK:
            text = f"{assigned} works: the {guide} is at fault, not the host."
        elif witness.verdict is sight.verdict and host.port == sight.host.port:
            fault = f"the {guide} is not at fault" if by_name else "the port is at fault, not DNS"
            text = f"{assigned} fails in the same way: {fault}."
        else:
            continue
        yield NextStep(place=Place.CLIENT, text=text)


def _blame_name(sight: HostSight, witnesses: Sequence[StaticDiagnosis]) -> Iterator[NextStep]:
    """Tell that only the name may be at fault, where some host works when it is assigned by address."""
    for witness in witnesses:
        host = witness.sight.host
        if witness.verdict is Verdict.OK and is_address(host.target):
            yield NextStep(
                place=Place.CLIENT,
                text=f"Assigned by address, {show_host(host)} works: if that is {sight.host.target}, its "
                "name is at fault, not its port.",
            )
            return


def show_host(host: Host) -> str:
    """Write a host as one types it."""
    return host_port(host.target, host.port)


def nslookup(name: str, dns_server: str, *options: str) -> str:
    """Spell out a question to one DNS server; the word of a group stands for the client's own server."""
    address, port = dns_server, ""
    if not is_address(dns_server):
        address, _, port = dns_server.rpartition(":")
    ports = [f"-port={port}"] if address and port else []
    return " ".join(["nslookup", *options, *ports, name, *([address.strip("[]")] if address else [])])

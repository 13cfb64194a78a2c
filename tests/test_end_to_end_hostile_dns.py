"""The real exporter among DNS servers that mean harm, and one zone of an honest server beside them.

Every kind of malice has a zone and a server of its own, all of them watched by one process: each ends in the
status that is documented for it, and none is seen in the results of the neighbour, which a real BIND serves.
"""

import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.fake_dns import LOOPBACK as HOME
from tests.fake_dns import Connection, Datagrams, FakeDns, Query, hangs, respond, says, silence, streams
from tests.services import Exporter, Lab, Named, Samples, config, srv, zone, zone_file

ENEMY, FORGER = "127.0.0.2", "127.0.0.3"
NEIGHBOUR = "neighbour.test"
HOSTS = (f"kms1.{NEIGHBOUR}", f"kms2.{NEIGHBOUR}")
TIMEOUT_SECONDS = 2.0
RECORDS_PER_ZONE, VANISHED_PER_ZONE, ADDRESSES_PER_TARGET = 8, 6, 2
TARGET = f"kms.hostile.test. 60 IN A {HOME}"
CLOSED_PORT = 1
MOST_BYTES = 65535

# --- What they say


def record(rdata: bytes, *, rdtype: int, owner: bytes = b"\xc0\x0c", ttl: int = 60) -> bytes:
    """Build a record in wire format; its name is that of the question, unless told otherwise."""
    return owner + struct.pack("!HHIH", rdtype, 1, ttl, len(rdata)) + rdata


def srv_record(target: bytes, port: int = CLOSED_PORT, *, ttl: int = 60) -> bytes:
    """Build an SRV record in wire format."""
    return record(struct.pack("!HHH", 0, 0, port) + target, rdtype=33, ttl=ttl)


def raw(*records: bytes, additional: int = 0, claimed: int | None = None) -> Datagrams:
    """Answer with these bytes; `additional` of the records are no answers, and `claimed` may be a lie."""

    def datagrams(query: Query) -> Iterable[bytes]:
        wire = dns.message.make_query(
            query.question[0].name, query.question[0].rdtype, id=query.id, use_edns=False
        ).to_wire()
        answers = len(records) - additional if claimed is None else claimed
        header = struct.pack("!HHHHHH", query.id, 0x8400, 1, answers, 0, additional)
        return [header + wire[12:] + b"".join(records)]

    return datagrams


def only_srv(step: Datagrams) -> Datagrams:
    """Answer so when asked for the records, and honestly when asked for an address."""

    def datagrams(query: Query) -> Iterable[bytes]:
        if query.question[0].name.to_text().startswith("_vlmcs."):
            return step(query)
        name = query.question[0].name.to_text()
        return says(f"{name} 60 IN A {HOME}")(query)

    return datagrams


def at_name(*lines: str) -> Datagrams:
    """Answer with records, in which @ stands for the name that was asked for."""
    return lambda query: says(*(line.replace("@", query.question[0].name.to_text()) for line in lines))(query)


def changed(edit: Callable[[dns.message.Message], object]) -> Datagrams:
    """Answer well, but for what `edit` changes."""

    def datagrams(query: Query) -> Iterable[bytes]:
        name = query.question[0].name.to_text()
        return says(f"{name} SRV 0 0 {CLOSED_PORT} kms.hostile.test.", TARGET, edit=edit)(query)

    return datagrams


def cut(query: Query) -> Iterable[bytes]:
    """Say that the answer is cut, and to ask over TCP."""
    return [respond(query, flags=dns.flags.TC).to_wire()]


def other_question(name: str, rdtype: str) -> Datagrams:
    """Answer a question that was not asked."""
    return lambda query: [respond(dns.message.make_query(name, rdtype, id=query.id)).to_wire()]


def wrong_id(message: dns.message.Message) -> None:
    """Answer somebody else."""
    message.id ^= 1


def query_bit(message: dns.message.Message) -> None:
    """Make it look like a query."""
    message.flags &= ~dns.flags.QR


def aliases(length: int, *, end: str) -> list[str]:
    """List a chain of aliases from the name that was asked for to `end`."""
    names = ["@", *(f"alias{number}.hostile.test." for number in range(length - 1)), end]
    return [f"{name} 60 IN CNAME {to}" for name, to in itertools.pairwise(names)]


def late(query: Query) -> Iterable[bytes]:
    """Answer when nobody waits any more."""
    time.sleep(2 * TIMEOUT_SECONDS)
    return changed(lambda _: None)(query)


def flood(query: Query) -> Iterable[bytes]:
    """Send strays, the answer, and the answer again and again."""
    [answer] = changed(lambda _: None)(query)
    return [*changed(wrong_id)(query)] * 50 + [answer] * 50


def byte_by_byte(connection: socket.socket, query: Query) -> None:
    """Send a byte now and then, for ever."""
    connection.sendall(b"\x20\x00")
    while True:
        connection.sendall(b"\x00")
        time.sleep(TIMEOUT_SECONDS / 8)


def sends(data: bytes) -> Connection:
    """Send these bytes over TCP, and hang up."""
    return lambda connection, query: connection.sendall(data)


def lies(connection: socket.socket, query: Query) -> None:
    """Announce more than there is, and wait."""
    [wire] = changed(lambda _: None)(query)
    connection.sendall(struct.pack("!H", len(wire) + 1) + wire)
    hangs(connection, query)


LABELS = b"\1a" * 110 + b"\0"


def many_labels(query: Query) -> Iterable[bytes]:
    """Answer with a thousand targets of as many labels as there can be."""
    held = 12 + len(query.question[0].name.to_wire() or b"") + 4 + 12
    to = struct.pack("!H", 0xC000 + held)
    return raw(record(LABELS, rdtype=65280), *(srv_record(to, n) for n in range(1, 999)))(query)


def equal_hashes(query: Query) -> Iterable[bytes]:
    """Answer with addresses that came along, of names that were made to share a hash."""
    names = (
        b"".join(bytes([size]) + b"a" * size for size in (first, second, 52 - first - second))
        for first in range(1, 25)
        for second in range(1, 25)
    )
    glue = [record(b"\x7f\0\0\1", owner=name + b"\0", rdtype=1) for name in names]
    return raw(srv_record(b"\0"), *glue, additional=len(glue))(query)


def unknown_types(query: Query) -> Iterable[bytes]:
    """Answer with the record, and with hundreds of types that nobody knows, others each time."""
    known = (list(changed(lambda _: None)(query)), query.id)
    records = [record(b"", rdtype=256 + (known[1] + n) % 60_000) for n in range(800)]
    return raw(srv_record(b"\3kms\7hostile\4test\0"), *records)(query)


def chain_of_pointers(query: Query) -> Iterable[bytes]:
    """Answer with a target behind hundreds of pointers, each to the one before."""
    held = 12 + len(query.question[0].name.to_wire() or b"") + 4 + 12
    links = b"".join(struct.pack("!H", 0xC000 + held + max(0, 2 * n - 1)) for n in range(300))
    target = struct.pack("!H", 0xC000 + held + 1 + 2 * 299)
    return raw(record(b"\0" + links, rdtype=65280), srv_record(target))(query)


@dataclass(frozen=True, slots=True)
class Malice:
    """What a server does over UDP and TCP, and the status that a lookup there has to have."""

    status: str
    udp: Datagrams
    tcp: Connection | None = None


GOOD = changed(lambda _: None)
TOO_MANY = raw(*(srv_record(b"\0", n % 65535) for n in range(3400)))
MALICE = {
    "full": Malice("bad_response", cut, streams(TOO_MANY)),
    "thousand": Malice(
        "ok", only_srv(cut), streams(raw(*(srv_record(b"\3kms\7hostile\4test\0", n) for n in range(1, 1000))))
    ),
    "claimed": Malice("bad_response", raw(srv_record(b"\0"), claimed=5000)),
    "claimed-tcp": Malice("bad_response", cut, streams(raw(srv_record(b"\0"), claimed=5000))),
    "loop": Malice("bad_response", raw(srv_record(b"\1a\xc0\x3a"))),
    "forward": Malice("bad_response", raw(srv_record(b"\xff\xff"))),
    "chain": Malice("bad_response", raw(), None),
    "labels": Malice("bad_response", cut, streams(many_labels)),
    "hashes": Malice("bad_response", cut, streams(equal_hashes)),
    "types": Malice("ok", only_srv(cut), streams(unknown_types)),
    "other-id": Malice("timeout", changed(wrong_id)),
    "other-name": Malice("bad_response", other_question("_vlmcs._tcp.fabrikam.com.", "SRV")),
    "other-type": Malice("bad_response", other_question("_vlmcs._tcp.other-type.test.", "A")),
    "no-answer-bit": Malice("bad_response", changed(query_bit)),
    "cut-for-ever": Malice("bad_response", cut, streams(cut)),
    "ttl-0": Malice("ok", only_srv(raw(srv_record(b"\3kms\7hostile\4test\0", ttl=0)))),
    "ttl-31": Malice("ok", only_srv(raw(srv_record(b"\3kms\7hostile\4test\0", ttl=2**31)))),
    "ttl-32": Malice("ok", only_srv(raw(srv_record(b"\3kms\7hostile\4test\0", ttl=2**32 - 1)))),
    "port-0": Malice("ok", raw(srv_record(b"\3kms\7hostile\4test\0", 0))),
    "alias": Malice(
        "ok", at_name(*aliases(3, end="kms.hostile.test."), f"kms.hostile.test. SRV 0 0 {CLOSED_PORT} .")
    ),
    "long-alias": Malice(
        "bad_response", at_name(*aliases(20, end="end.hostile.test."), "end.hostile.test. SRV 0 0 1 .")
    ),
    "alias-circle": Malice("bad_response", at_name(*aliases(3, end="@"))),
    "slow-pieces": Malice("timeout", cut, byte_by_byte),
    "small-pieces": Malice("ok", only_srv(cut), streams(GOOD, chunk_bytes=1)),
    "hang": Malice("timeout", cut, hangs),
    "hang-up": Malice("bad_response", cut, sends(b"\x01\x00\x00")),
    "too-short": Malice("bad_response", cut, sends(b"\x00\x05hello")),
    "lie": Malice("timeout", cut, lies),
    "silence": Malice("timeout", silence),
    "flood": Malice("ok", flood),
    "late": Malice("timeout", late),
}
MALICE["chain"] = Malice("bad_response", chain_of_pointers)


class Forger:
    """Answers in the name of a server that is silent, from its address or that of another machine."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.silent = FakeDns(silence, address=ENEMY)

    def __enter__(self) -> FakeDns:
        self.silent._udp = (self._answer,)  # the script knows who asked only by way of the server
        return self.silent.__enter__()

    def __exit__(self, *exception: object) -> None:
        self.silent.__exit__(*exception)
        self._socket.close()

    def _answer(self, query: Query) -> Iterable[bytes]:
        asked = self.silent.asked[-1]
        for wire in GOOD(query):
            self._socket.sendto(wire, (asked.address, asked.port))
        return ()


def rotating_targets() -> Datagrams:
    """Answer with targets and addresses that were never seen before, twenty at a time."""
    numbers = itertools.count()

    def datagrams(query: Query) -> Iterable[bytes]:
        name = query.question[0].name.to_text()
        if name.startswith("_vlmcs."):
            fresh = [next(numbers) for _ in range(20)]
            return says(*(f"{name} SRV {n % 3} 0 {1 + n % 9} new{n}.rotating.test." for n in fresh))(query)
        if query.question[0].rdtype != 1:
            return says()(query)
        fresh = [next(numbers) for _ in range(5)]
        return says(*(f"{name} 1 IN A 127.9.{n // 250 % 250}.{1 + n % 250}" for n in fresh))(query)

    return datagrams


TARGET_ALIASES = {
    "short": [*aliases(3, end="end.hostile.test."), f"end.hostile.test. A {HOME}"],
    "long": [*aliases(20, end="end.hostile.test."), f"end.hostile.test. A {HOME}"],
    "circle": aliases(3, end="@"),
}


def alias_targets(query: Query) -> Iterable[bytes]:
    """Answer with targets that are aliases: of something, of too much, and of themselves."""
    name = query.question[0].name.to_text()
    if name.startswith("_vlmcs."):
        return says(*(f"{name} SRV 0 0 {CLOSED_PORT} {each}.aliases.test." for each in TARGET_ALIASES))(query)
    lines = TARGET_ALIASES.get(name.partition(".")[0])
    return at_name(*lines)(query) if lines else says(rcode=dns.rcode.NXDOMAIN)(query)


# --- Who watches them


@pytest.fixture(scope="module")
def servers(module_lab: Lab) -> dict[str, FakeDns]:
    """Start the server of each zone."""
    fakes = {name: FakeDns(malice.udp, tcp=malice.tcp, address=ENEMY) for name, malice in MALICE.items()}
    fakes["rotating"] = FakeDns(rotating_targets(), address=ENEMY)
    fakes["aliases"] = FakeDns(alias_targets, tcp=streams(alias_targets), address=ENEMY)
    started = {name: module_lab.enter_context(fake) for name, fake in fakes.items()}
    for name, address in (("forged-port", ENEMY), ("forged-address", FORGER)):
        started[name] = module_lab.enter_context(Forger(address))
    return started


@pytest.fixture(scope="module")
def named(module_lab: Lab) -> Named:
    """Serve the neighbour, a zone of two hosts that answer."""
    port = module_lab.listener().port
    records = [f"{host} A {HOME}" for host in ("kms1", "kms2")] + [
        srv(host, port) for host in ("kms1", "kms2")
    ]
    return module_lab.named({NEIGHBOUR: zone_file(*records)})


@pytest.fixture(scope="module")
def exporter(module_lab: Lab, named: Named, servers: dict[str, FakeDns]) -> Exporter:
    """Watch them all with one process."""
    zones = [zone(f"{name}.test", fake.server.label) for name, fake in servers.items()]
    [port] = {record.port for record in named.ask(f"_vlmcs._tcp.{NEIGHBOUR}", "SRV").answer[0]}
    expected = [f"{host}:{port}" for host in HOSTS]
    return module_lab.exporter(
        config(
            zone(NEIGHBOUR, named.server, expected=expected),
            *zones,
            interval="4s",
            timeout=f"{TIMEOUT_SECONDS:.0f}s",
            dns={"attempts": 1},
            probe={"networks": ["127.0.0.0/8"], "address_families": ["ipv4"]},
            limits={
                "records_per_zone": RECORDS_PER_ZONE,
                "vanished_per_zone": VANISHED_PER_ZONE,
                "addresses_per_target": ADDRESSES_PER_TARGET,
            },
        )
    )


def shown_of_neighbour(seen: Samples, server: str, port: str) -> dict[str, object]:
    """Collect all that is shown of the neighbour."""
    here = {"dns_zone": NEIGHBOUR}
    ignored = seen.series("kms_exporter_records_ignored_total", **here)
    return {
        "status": seen.status(NEIGHBOUR),
        "verdict": seen.state("kms_client_verdict", "verdict", **here),
        "records": seen.value("kms_srv_records", **here, dns_server=server),
        "targets": seen.labels("kms_srv_record_info", "target", **here),
        "published": [sample.value for sample in seen.series("kms_srv_record_published", **here)],
        "hosts": seen.value("kms_zone_hosts", **here),
        "up": seen.value("kms_zone_hosts_up", **here),
        "addresses": seen.labels("kms_host_address_info", "address", dns_server=server),
        "endpoints": {
            sample.labels["target"]: sample.value for sample in seen.series("kms_endpoint_up", port=port)
        },
        "failures": seen.series("kms_endpoint_failure", port=port),
        "ignored": sum(sample.value for sample in ignored),
    }


UNTOUCHED = {
    "status": "ok",
    "verdict": "ok",
    "records": 2,
    "targets": set(HOSTS),
    "published": [1, 1],
    "hosts": 2,
    "up": 2,
    "addresses": {HOME},
    "endpoints": dict.fromkeys(HOSTS, 1),
    "failures": [],
    "ignored": 0,
}
"""What is shown of the neighbour when it is alone."""


def last_check(seen: Samples, name: str) -> float:
    """Read when a zone was checked last; 0 before it was."""
    return seen.value("kms_exporter_last_check_timestamp_seconds", dns_zone=name) or 0.0


@pytest.mark.parametrize("name", [*MALICE, "forged-port", "forged-address"])
def test_status(exporter: Exporter, name: str) -> None:
    """Each kind of malice comes to the status that stands for it."""
    malice = MALICE.get(name)
    exporter.wait_for_status(malice.status if malice else "timeout", f"{name}.test")


def test_neighbour(exporter: Exporter, named: Named, servers: dict[str, FakeDns]) -> None:
    """While all of them go on and on, the neighbour is checked, and everything said of it is right."""
    seen = exporter.wait_for(lambda seen: all(last_check(seen, f"{name}.test") for name in servers))
    [port] = seen.labels("kms_srv_record_info", "port", dns_zone=NEIGHBOUR)
    for _ in range(2):
        before = last_check(exporter.metrics(), NEIGHBOUR)
        exporter.wait_for(
            lambda seen, before=before: (  # type: ignore[misc]
                last_check(seen, NEIGHBOUR) > before
                and shown_of_neighbour(seen, named.server, port) == UNTOUCHED
            )
        )
    assert exporter.metrics().value("kms_exporter_internal_errors_total") == 0


@pytest.mark.parametrize("name", ["ttl-0", "ttl-31", "ttl-32"])
def test_ttl(exporter: Exporter, name: str) -> None:
    """A TTL with its highest bit set is 0 (RFC 2181, 8)."""
    exporter.wait_for_value(0, "kms_srv_record_ttl_seconds", dns_zone=f"{name}.test")


def test_port_0(exporter: Exporter) -> None:
    """A record with port 0 is there, malformed, and leads nowhere."""
    name = {"dns_zone": "port-0.test"}
    seen = exporter.wait_for_value(1, "kms_srv_records", **name)
    assert (seen.value("kms_exporter_records_ignored_total", **name, reason="malformed") or 0) >= 1
    assert not seen.series("kms_srv_record_published", **name)
    assert seen.value("kms_zone_hosts", **name) == 0


def test_thousand_records(exporter: Exporter) -> None:
    """Of a thousand records all are counted, and only as many as the limit says are followed."""
    name = {"dns_zone": "thousand.test"}
    seen = exporter.wait_for_value(999, "kms_srv_records", **name)
    assert len(seen.series("kms_srv_record_info", **name)) == RECORDS_PER_ZONE
    assert len(seen.series("kms_srv_record_published", **name)) == RECORDS_PER_ZONE


def test_targets_that_are_aliases(exporter: Exporter) -> None:
    """An alias is followed some steps, and shown; one without end is no address."""
    seen = exporter.wait_for(
        lambda seen: (
            seen.series("kms_host_alias_info", target="short.aliases.test", alias_of="end.hostile.test")
            and seen.value("kms_host_lookup_failure", target="long.aliases.test", reason="bad_response")
            and seen.value("kms_host_lookup_failure", target="circle.aliases.test", reason="bad_response")
        )
    )
    assert seen.labels("kms_host_address_info", "address", target="short.aliases.test") == {HOME}


def test_targets_that_are_always_new(exporter: Exporter) -> None:
    """However many hosts come and go, no more are kept, shown and probed than the limits say.

    That memory stays bounded too is for the soak to see, which has the time to tell growth from noise.
    """
    hosts = RECORDS_PER_ZONE + VANISHED_PER_ZONE
    most = {
        "kms_srv_record_info": RECORDS_PER_ZONE,
        "kms_srv_record_published": hosts,
        "kms_host_up": hosts,
        "kms_host_address_info": hosts * ADDRESSES_PER_TARGET,
        "kms_endpoint_up": hosts * ADDRESSES_PER_TARGET,
        "kms_endpoint_probes_total": hosts * ADDRESSES_PER_TARGET,
    }
    totals = []
    for _ in range(4):
        lookups = {"dns_zone": "rotating.test"}
        seen = exporter.wait_for_growth("kms_srv_lookups_total", 1, **lookups)
        for family, limit in most.items():
            found = [
                sample
                for sample in seen.series(family)
                if sample.labels.get("target", "").endswith(".rotating.test")
            ]
            assert len(found) <= limit, family
        totals.append(len(seen.samples))
    assert max(totals) - min(totals) < 20 * hosts * ADDRESSES_PER_TARGET

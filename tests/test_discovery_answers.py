"""Tests of what DNS answers mean, as tables over messages: no sockets, no clock."""

import itertools
import random
from collections.abc import Iterable
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.discovery.answers import (
    read_addresses,
    read_authority,
    read_name_servers,
    read_srv,
    read_status,
    show_name,
)
from exporter.discovery.published import Authority
from exporter.model import (
    AddressLookup,
    Family,
    Host,
    IgnoredReason,
    LookupStatus,
    Record,
    SrvLookup,
    fingerprint,
)
from tests.fake_dns import TTL_SECONDS, Query, respond

NAME = "_vlmcs._tcp.contoso.com."
ELSEWHERE = "_vlmcs._tcp.fabrikam.com."
SOA = "contoso.com. 3600 SOA ns1.contoso.com. admin.contoso.com. 2024010101 900 600 86400 60"
FOREIGN_SOA = "fabrikam.com. 3600 SOA ns1.fabrikam.com. admin.fabrikam.com. 7 900 600 86400 60"
NS = "contoso.com. NS ns1.contoso.com."
KMS1 = f"{NAME} SRV 0 0 1688 kms1.contoso.com."
IPV4, IPV6 = Family.IPV4, Family.IPV6
ANY_LIMIT = 64
KNOWN_RCODES = {
    dns.rcode.NOERROR: LookupStatus.NODATA,
    dns.rcode.NXDOMAIN: LookupStatus.NXDOMAIN,
    dns.rcode.SERVFAIL: LookupStatus.SERVFAIL,
    dns.rcode.REFUSED: LookupStatus.REFUSED,
}


def query(name: str = NAME, rdtype: str = "SRV") -> Query:
    """Make a query as the exporter sends it."""
    return dns.message.make_query(name, rdtype, payload=1232)


def srv(
    *answer: str,
    expected: Iterable[Host] = (),
    known: Iterable[Host] = (),
    limit: int = ANY_LIMIT,
    **sections: object,
) -> SrvLookup:
    """Read the answer to an SRV query that holds these records."""
    message = respond(query(), *answer, **sections)  # type: ignore[arg-type]
    return read(message, expected=expected, known=known, limit=limit)


def read(
    message: Query, *, expected: Iterable[Host] = (), known: Iterable[Host] = (), limit: int = ANY_LIMIT
) -> SrvLookup:
    """Read an SRV answer after its way through the wire format, where it is as a server sends it."""
    return read_srv(
        over_the_wire(message),
        duration_seconds=0.25,
        expected=frozenset(expected),
        known=frozenset(known),
        limit=limit,
    )


def over_the_wire(message: Query) -> Query:
    """Write a message and parse it again."""
    parsed = dns.message.from_wire(message.to_wire(max_size=65535))
    assert isinstance(parsed, Query)
    return parsed


def record(target: str, *, priority: int = 0, weight: int = 0, port: int = 1688) -> Record:
    """Make a record of which mostly the target matters."""
    return Record(priority=priority, weight=weight, port=port, target=target)


def chain(length: int, *, end: str, name: str = NAME) -> list[str]:
    """Make a chain of so many aliases from a name to another."""
    names = [name, *(f"alias{n}.contoso.com." for n in range(1, length)), end]
    return [f"{alias} CNAME {target}" for alias, target in itertools.pairwise(names)]


# --- Status


@pytest.mark.parametrize("rcode", range(24))
def test_status_of_rcode(rcode: int) -> None:
    """Each response code has its status; those that say nothing about the name are bad responses."""
    message = respond(query(), rcode=dns.rcode.Rcode(rcode), authority=[SOA])
    expected = KNOWN_RCODES.get(dns.rcode.Rcode(rcode), LookupStatus.BAD_RESPONSE)
    assert read(message).status is read_status(message) is expected


@given(rcode=st.integers(24, 4095))
def test_status_of_unassigned_rcode(rcode: int) -> None:
    """A response code that nobody assigned yet, as EDNS makes possible, is a bad response."""
    message = respond(query(), rcode=dns.rcode.Rcode(rcode))
    assert read(message).status is LookupStatus.BAD_RESPONSE


@pytest.mark.parametrize(
    ("answer", "authority", "rcode", "status"),
    [
        ([KMS1], [], dns.rcode.NOERROR, "ok"),
        ([KMS1], [NS], dns.rcode.NOERROR, "ok"),
        ([], [SOA], dns.rcode.NXDOMAIN, "nxdomain"),
        ([], [], dns.rcode.NXDOMAIN, "nxdomain"),
        ([], [NS], dns.rcode.NXDOMAIN, "nxdomain"),
        ([], [SOA], dns.rcode.NOERROR, "nodata"),
        ([], [SOA, NS], dns.rcode.NOERROR, "nodata"),
        ([], [], dns.rcode.NOERROR, "nodata"),
        ([], [NS], dns.rcode.NOERROR, "bad_response"),
        ([KMS1], [SOA], dns.rcode.NXDOMAIN, "bad_response"),
        ([KMS1], [], dns.rcode.SERVFAIL, "servfail"),
        ([KMS1], [], dns.rcode.REFUSED, "refused"),
        ([f"{NAME} A 192.0.2.1"], [], dns.rcode.NOERROR, "nodata"),
        ([f"{ELSEWHERE} SRV 0 0 1688 kms1.contoso.com."], [], dns.rcode.NOERROR, "nodata"),
        ([f"{NAME} CH TXT other-class"], [], dns.rcode.NOERROR, "nodata"),
    ],
)
def test_status(answer: list[str], authority: list[str], rcode: dns.rcode.Rcode, status: str) -> None:
    """NXDOMAIN, NODATA and a referral are three things; only records of the name itself are its answer."""
    lookup = srv(*answer, authority=authority, rcode=rcode)
    assert lookup.status is LookupStatus(status)
    assert lookup.duration_seconds == 0.25
    assert (lookup.record_count, len(lookup.records)) == ((1, 1) if status == "ok" else (0, 0))


def test_name_in_another_case() -> None:
    """A server may write the name in its own case."""
    assert srv("_VLMCS._TCP.Contoso.COM. SRV 0 0 1688 kms1.contoso.com.").status is LookupStatus.OK


@pytest.mark.parametrize(
    ("answer", "authority", "rcode", "status"),
    [
        ([*chain(1, end=ELSEWHERE), f"{ELSEWHERE} SRV 0 0 1688 kms1.contoso.com."], [], 0, "ok"),
        ([*chain(15, end=ELSEWHERE), f"{ELSEWHERE} SRV 0 0 1688 kms1.contoso.com."], [], 0, "ok"),
        ([*chain(16, end=ELSEWHERE), f"{ELSEWHERE} SRV 0 0 1688 kms1.contoso.com."], [], 0, "bad_response"),
        (chain(40, end=ELSEWHERE), [], 0, "bad_response"),
        (chain(1, end=NAME), [], 0, "bad_response"),
        (chain(3, end=NAME), [SOA], 0, "bad_response"),
        (chain(3, end=NAME), [SOA], 3, "bad_response"),
        (chain(1, end=ELSEWHERE), [FOREIGN_SOA], 0, "nodata"),
        (chain(1, end=ELSEWHERE), [FOREIGN_SOA], 3, "nxdomain"),
        ([*chain(1, end=ELSEWHERE), f"{ELSEWHERE} SRV 0 0 1688 kms1.contoso.com."], [SOA], 3, "bad_response"),
    ],
)
def test_status_behind_an_alias(answer: list[str], authority: list[str], rcode: int, status: str) -> None:
    """An alias is followed as far as the answer goes; a loop or a chain without end is a bad response."""
    lookup = srv(*answer, authority=authority, rcode=dns.rcode.Rcode(rcode))
    assert lookup.status is LookupStatus(status)


@pytest.mark.parametrize("questions", [0, 2])
def test_answer_without_its_one_question(questions: int) -> None:
    """An answer that does not repeat the one question cannot be read."""
    message = respond(query(), KMS1)
    message.question *= questions
    assert read(message).status is LookupStatus.BAD_RESPONSE


# --- Authority: the AA bit and the SOA serial


@pytest.mark.parametrize("answer", [[KMS1], []], ids=["records", "none"])
@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
@pytest.mark.parametrize(("flags", "authoritative"), [(dns.flags.AA, True), (dns.flags.RA, False)])
def test_authoritative_answer(
    *, flags: dns.flags.Flag, authoritative: bool, rcode: dns.rcode.Rcode, answer: list[str]
) -> None:
    """The AA bit of a usable answer, be it a negative one, tells an authority from a cache."""
    lookup = srv(*answer, rcode=rcode, flags=flags)
    assert lookup.authoritative is (authoritative if lookup.status.usable else None)


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
def test_unusable_answer_has_no_authority(rcode: dns.rcode.Rcode) -> None:
    """An answer that is not usable has neither an AA bit nor a serial, whatever is in it."""
    lookup = srv(rcode=rcode, authority=[SOA])
    assert (lookup.authoritative, lookup.soa_serial) == (None, None)


@pytest.mark.parametrize("rcode", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
@pytest.mark.parametrize(
    ("authority", "serial"),
    [
        ([SOA], 2024010101),
        ([NS, SOA], 2024010101),
        (["com. SOA a.gtld-servers.net. nstld.verisign-grs.com. 4294967295 1 1 1 1"], 4294967295),
        ([". SOA a.root-servers.net. nstld.verisign-grs.com. 0 1 1 1 1"], 0),
        ([], None),
        ([FOREIGN_SOA], None),
        (["sub._vlmcs._tcp.contoso.com. SOA ns1.contoso.com. admin.contoso.com. 9 1 1 1 1"], None),
    ],
)
def test_serial_of_negative_answer(authority: list[str], serial: int | None, rcode: dns.rcode.Rcode) -> None:
    """A negative answer brings the serial of the zone that encloses the name, and of no other."""
    lookup = srv(rcode=rcode, authority=authority)
    assert lookup.status.usable or authority == [NS]
    assert lookup.soa_serial == serial


@pytest.mark.parametrize(
    ("name", "answer", "authority", "expected"),
    [
        ("contoso.com.", [SOA], [NS], ("contoso.com", 2024010101)),
        ("CONTOSO.com.", [SOA], [], ("contoso.com", 2024010101)),
        ("emea.contoso.com.", [], [SOA], ("contoso.com", 2024010101)),
        ("contoso.com.", [], [FOREIGN_SOA], None),
        ("alias.contoso.com.", ["alias.contoso.com. CNAME fabrikam.com.", FOREIGN_SOA], [], None),
        (
            "alias.contoso.com.",
            ["alias.contoso.com. CNAME kms1.contoso.com."],
            [SOA],
            ("contoso.com", 2024010101),
        ),
        ("contoso.com.", [NS], [], None),
        ("contoso.com.", [], [], None),
    ],
)
def test_authority(
    name: str, answer: list[str], authority: list[str], expected: tuple[str, int] | None
) -> None:
    """The zone of a name is the one whose SOA record is the answer or the authority for having none."""
    message = over_the_wire(respond(query(name, "SOA"), *answer, authority=authority))
    assert read_authority(message) == (Authority(*expected) if expected else None)


# --- TTL


@pytest.mark.parametrize(
    ("answer", "ttl_seconds"),
    [
        ([f"{NAME} 60 SRV 0 0 1688 kms1.contoso.com."], 60),
        ([f"{NAME} 0 SRV 0 0 1688 kms1.contoso.com."], 0),
        ([f"{NAME} 90 SRV 0 0 1688 kms1.contoso.com.", f"{NAME} 30 SRV 0 0 1688 kms2.contoso.com."], 30),
        ([f"{NAME} 30 SRV 0 0 1688 kms1.contoso.com.", f"{NAME} 90 SRV 0 0 1688 kms2.contoso.com."], 30),
        ([f"{NAME} 20 CNAME {ELSEWHERE}", f"{ELSEWHERE} 90 SRV 0 0 1688 kms1.contoso.com."], 20),
        ([f"{NAME} 90 CNAME {ELSEWHERE}", f"{ELSEWHERE} 20 SRV 0 0 1688 kms1.contoso.com."], 20),
        ([f"{NAME} 90 SRV 0 0 1688 kms1.contoso.com.", "other.contoso.com. 5 A 192.0.2.1"], 90),
        ([f"{NAME} 2147483647 SRV 0 0 1688 kms1.contoso.com."], 2147483647),
    ],
)
def test_smallest_ttl(answer: list[str], ttl_seconds: int) -> None:
    """The TTL is the smallest of all that the answer is made of, aliases included."""
    assert srv(*answer).ttl_seconds == ttl_seconds


def test_ttl_with_the_highest_bit() -> None:
    """A TTL with its highest bit set counts as 0 (RFC 2181, 8)."""
    wire = respond(query(), f"{NAME} 2147483647 SRV 0 0 1688 kms1.contoso.com.").to_wire()
    message = dns.message.from_wire(wire.replace(b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00"))
    assert isinstance(message, Query)
    assert read(message).ttl_seconds == 0


def test_negative_answer_has_no_record_ttl() -> None:
    """A negative answer has no records and so no TTL of records."""
    assert srv(authority=[SOA]).ttl_seconds is None


# --- Records


def test_record() -> None:
    """A record keeps its four fields, each in its place."""
    assert srv(f"{NAME} SRV 1 2 3 kms1.contoso.com.").records == (
        Record(priority=1, weight=2, port=3, target="kms1.contoso.com"),
    )


@pytest.mark.parametrize(
    ("rdata", "records", "malformed"),
    [
        ("0 0 0 kms1.contoso.com.", [], 1),
        ("0 0 1 kms1.contoso.com.", [record("kms1.contoso.com", port=1)], 0),
        ("0 0 65535 kms1.contoso.com.", [record("kms1.contoso.com", port=65535)], 0),
        ("0 0 0 .", [record(".", port=0)], 0),
        ("0 0 1688 .", [record(".")], 0),
        (
            "65535 65535 1688 kms1.contoso.com.",
            [record("kms1.contoso.com", priority=65535, weight=65535)],
            0,
        ),
        ("0 0 1688 kms1.", [record("kms1")], 0),
        ("0 0 1688 KMS1.Contoso.COM.", [record("kms1.contoso.com")], 0),
        ("0 0 1688 192.0.2.1.", [record("192.0.2.1")], 0),
    ],
)
def test_unusual_record(rdata: str, records: list[Record], malformed: int) -> None:
    """Port 0 makes a record malformed, unless its target says that there is no service anyway."""
    lookup = srv(f"{NAME} SRV {rdata}")
    assert lookup.status is LookupStatus.OK
    assert lookup.record_count == 1
    assert lookup.records == tuple(records)
    assert len(lookup.portless) == lookup.ignored[IgnoredReason.MALFORMED] == malformed
    assert lookup.ignored[IgnoredReason.RECORDS_PER_ZONE] == 0


def test_malformed_record_beside_good_ones() -> None:
    """A malformed record counts as one of the answer, takes nobody's place and hides no other."""
    lookup = srv(
        f"{NAME} SRV 0 0 0 kms0.contoso.com.",
        KMS1,
        f"{NAME} SRV 0 0 1688 kms2.contoso.com.",
        limit=2,
    )
    assert [r.target for r in lookup.records] == ["kms1.contoso.com", "kms2.contoso.com"]
    assert lookup.portless == (record("kms0.contoso.com", port=0),)
    assert lookup.record_count == 3
    assert lookup.ignored == {IgnoredReason.MALFORMED: 1, IgnoredReason.RECORDS_PER_ZONE: 0}


def test_malformed_records_are_kept_within_the_limit() -> None:
    """Records of port 0 are kept in a stable order within the limit of the others, and all are counted."""
    bad = [f"{NAME} SRV {priority} 0 0 kms{priority}.contoso.com." for priority in (3, 1, 2)]
    for answer in (bad, bad[::-1]):
        lookup = srv(*answer, KMS1, limit=2)
        assert [r.priority for r in lookup.portless] == [1, 2]
        assert [r.target for r in lookup.records] == ["kms1.contoso.com"]
        assert lookup.record_count == 4
        assert lookup.ignored == {IgnoredReason.MALFORMED: 3, IgnoredReason.RECORDS_PER_ZONE: 0}


def test_equal_records_are_one() -> None:
    """Records that differ only in case are one record."""
    lookup = srv(KMS1, KMS1, f"{NAME} SRV 0 0 1688 KMS1.CONTOSO.COM.")
    assert lookup.records == (record("kms1.contoso.com"),)
    assert lookup.record_count == 1


def test_records_of_one_host() -> None:
    """Records that differ in priority or weight are several records of one host."""
    lookup = srv(*(f"{NAME} SRV {p} {w} 1688 kms1.contoso.com." for p in (1, 0) for w in (5, 3)))
    assert [(r.priority, r.weight) for r in lookup.records] == [(0, 3), (0, 5), (1, 3), (1, 5)]
    assert {r.host for r in lookup.records} == {Host(target="kms1.contoso.com", port=1688)}


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([b"KMS-1", b"Contoso", b"COM"], "kms-1.contoso.com"),
        ([b"_kms_"], "_kms_"),
        ([b'a"b', b"com"], r"a\034b.com"),
        ([b"a\nb"], r"a\010b"),
        ([b"a\\b"], r"a\092b"),
        ([b"a.b", b"com"], r"a\046b.com"),
        ([b"a b", b"\0"], r"a\032b.\000"),
        ([b"{evil}", b"=1#"], r"\123evil\125.\0611\035"),
        (["ü".encode()], r"\195\188"),
        ([b"\xff\x80\xdf"], r"\255\128\223"),
        ([b"\x7f\x1b[31m"], r"\127\027\09131m"),
        ([b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61], ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])),
        ([b"\xff" * 63] * 3, ".".join([r"\255" * 63] * 3)),
        ([b"@"], r"\064"),
        ([b"*", b"com"], r"\042.com"),
        ([], "."),
    ],
)
def test_hostile_target(labels: list[bytes], shown: str) -> None:
    r"""Upper case is folded, and bytes outside letters, digits, `-` and `_` are shown as `\DDD`."""
    target = dns.name.Name([*labels, b""])
    message = respond(query())
    wire = b"\0\0\0\0\x06\x98" + b"".join(bytes([len(label)]) + label for label in target.labels)
    rdata = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.SRV, wire, 0, len(wire))
    message.answer = [dns.rrset.from_rdata(NAME, TTL_SECONDS, rdata)]
    assert read(message).records == (record(shown),)
    assert dns.name.from_text(shown) == target  # and so can be asked for


@given(labels=st.lists(st.binary(min_size=1, max_size=63), max_size=3))
def test_any_name_can_be_asked_for(labels: list[bytes]) -> None:
    """The form in which a name is shown leads back to the same name, and is safe to print."""
    name = dns.name.Name([*labels, b""])
    shown = show_name(name)
    assert dns.name.from_text(shown) == name
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(shown) & set(" \"'{}")
    assert shown == shown.lower()


# --- The limit


def many(count: int) -> list[Record]:
    """Make so many different records, in the order of priority, target and port."""
    return [
        record(f"kms{n // 10 % 100:02}.contoso.com", priority=n // 1000, weight=n % 3, port=1 + n % 10)
        for n in range(count)
    ]


def lines(records: list[Record]) -> list[str]:
    """Write records as in a zone file."""
    return [f"{NAME} SRV {r.priority} {r.weight} {r.port} {r.target}." for r in records]


@pytest.mark.parametrize(
    ("limit", "expected", "known", "kept"),
    [
        (3, [], [], [(0, "b", 1), (0, "b", 2), (0, "c", 1)]),
        (9, [], [], [(0, "b", 1), (0, "b", 2), (0, "c", 1), (1, "a", 1), (2, "z", 9)]),
        (1, [], [("z", 9)], [(2, "z", 9)]),
        (3, [], [("z", 9), ("a", 1)], [(0, "b", 1), (1, "a", 1), (2, "z", 9)]),
        (2, [], [("z", 1), ("y", 9)], [(0, "b", 1), (0, "b", 2)]),
        (2, [], [("z", 9), ("a", 1), ("c", 1)], [(0, "c", 1), (1, "a", 1)]),
        (0, [("z", 9)], [("z", 9)], []),
        (1, [("z", 9)], [], [(2, "z", 9)]),
        (1, [("z", 9)], [("b", 1)], [(2, "z", 9)]),
        (2, [("z", 9)], [("a", 1)], [(1, "a", 1), (2, "z", 9)]),
        (3, [("z", 9)], [("a", 1)], [(0, "b", 1), (1, "a", 1), (2, "z", 9)]),
        (1, [("z", 9), ("c", 1)], [("z", 9)], [(2, "z", 9)]),
        (2, [("z", 1), ("missing", 9)], [], [(0, "b", 1), (0, "b", 2)]),
        (1, [("z", 9), ("a", 1)], [], [(1, "a", 1)]),
    ],
)
def test_limit(
    limit: int,
    expected: list[tuple[str, int]],
    known: list[tuple[str, int]],
    kept: list[tuple[int, str, int]],
) -> None:
    """Expected hosts stay first, then known ones; priority, target and port decide among equals."""
    published = [(2, "z", 9), (0, "c", 1), (1, "a", 1), (0, "b", 2), (0, "b", 1)]
    lookup = srv(
        *(f"{NAME} SRV {priority} 0 {port} {target}." for priority, target, port in published),
        expected=[Host(target=target, port=port) for target, port in expected],
        known=[Host(target=target, port=port) for target, port in known],
        limit=limit,
    )
    assert sorted((r.priority, r.target, r.port) for r in lookup.records) == kept
    assert lookup.records == tuple(sorted(lookup.records))
    assert lookup.record_count == len(published)
    assert lookup.ignored[IgnoredReason.RECORDS_PER_ZONE] == len(published) - len(kept)


@pytest.mark.parametrize("seed", range(3))
def test_rotation_changes_nothing(seed: int) -> None:
    """A server that shuffles 5,000 records, more than a message can hold, invents no change."""
    records = many(5000)
    known = frozenset({records[4999].host, Host(target="retired.contoso.com", port=1688)})
    answer = lines(records)
    random.Random(seed).shuffle(answer)
    lookup = read_srv(
        respond(query(), *answer), duration_seconds=0, expected=frozenset(), known=known, limit=64
    )
    expected = [r for r in records if r.host in known] + [r for r in records if r.host not in known]
    assert lookup.records == tuple(sorted(expected[:64]))
    assert lookup.record_count == 5000
    assert lookup.ignored[IgnoredReason.RECORDS_PER_ZONE] == 5000 - 64


@given(order=st.permutations(range(12)), limit=st.integers(0, 14), known=st.sets(st.integers(0, 14)))
def test_order_never_matters(order: list[int], limit: int, known: set[int]) -> None:
    """Any order of the same records reads the same, whatever the limit and whoever is known."""
    records = many(15)[:12]
    hosts = tuple(many(15)[n].host for n in known)
    shuffled = srv(*lines([records[n] for n in order]), known=hosts, limit=limit)
    assert shuffled == srv(*lines(records), known=hosts, limit=limit)


# --- The fingerprint

KMS2 = f"{NAME} SRV 0 0 1688 kms2.contoso.com."
ANSWER = [KMS1, KMS2]
MALFORMED = f"{NAME} SRV 0 0 0 kms9.contoso.com."


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        pytest.param([KMS2, KMS1], {}, id="order"),
        pytest.param([f"{NAME} 7 SRV 0 0 1688 kms1.contoso.com.", KMS2], {}, id="TTL"),
        pytest.param([f"{NAME} SRV 0 0 1688 KMS1.Contoso.COM.", KMS2], {}, id="case"),
        pytest.param(ANSWER, {"additional": ["kms1.contoso.com. A 192.0.2.1"]}, id="glue"),
        pytest.param(ANSWER, {"flags": dns.flags.RA}, id="from a cache"),
        pytest.param(ANSWER, {"limit": 1}, id="limit"),
        pytest.param(ANSWER, {"limit": 0}, id="nothing kept"),
        pytest.param(
            [f"{NAME} CNAME x.test.", *(a.replace(NAME, "x.test.") for a in ANSWER)], {}, id="alias"
        ),
    ],
)
def test_same_fingerprint(answer: list[str], options: dict[str, Any]) -> None:
    """The same set of records has one fingerprint, however it is sent, and however much of it is kept."""
    assert srv(*answer, **options).fingerprint == srv(*ANSWER).fingerprint


def test_fingerprint_of_repeated_records() -> None:
    """A record that is sent more than once, be it in another case, is one record."""
    message = respond(query(), *ANSWER)
    for again in ("kms1.contoso.com.", "KMS2.CONTOSO.COM."):
        message.answer.append(dns.rrset.from_text(NAME, 7, "IN", "SRV", f"0 0 1688 {again}"))
    assert len(message.answer) == 3
    lookup = read(message)
    assert lookup.fingerprint == srv(*ANSWER).fingerprint
    assert lookup.record_count == len(lookup.records) == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([], id="none"),
        pytest.param([KMS1], id="fewer"),
        pytest.param([*ANSWER, f"{NAME} SRV 0 0 1688 kms3.contoso.com."], id="more"),
        pytest.param([*ANSWER, MALFORMED], id="malformed"),
        pytest.param([f"{NAME} SRV 1 0 1688 kms1.contoso.com.", KMS2], id="priority"),
        pytest.param([f"{NAME} SRV 0 1 1688 kms1.contoso.com.", KMS2], id="weight"),
        pytest.param([f"{NAME} SRV 0 0 1689 kms1.contoso.com.", KMS2], id="port"),
        pytest.param([f"{NAME} SRV 0 0 1688 kms9.contoso.com.", KMS2], id="target"),
    ],
)
def test_other_fingerprint(answer: list[str]) -> None:
    """Any difference in what is published makes another fingerprint, also where no record of it is kept."""
    assert srv(*answer, limit=0).fingerprint != srv(*ANSWER, limit=0).fingerprint


def test_fingerprint_of_nothing() -> None:
    """That there are no records is the same whichever way it is said, and a malformed one is not nothing."""
    nxdomain, nodata = srv(authority=[SOA], rcode=dns.rcode.NXDOMAIN), srv(authority=[SOA])
    assert nxdomain.fingerprint == nodata.fingerprint == fingerprint([])
    assert srv(MALFORMED).fingerprint != nodata.fingerprint
    assert srv(f"{NAME} SRV 0 0 0 .").fingerprint != nodata.fingerprint


# --- Glue


@pytest.mark.parametrize(
    ("additional", "glue"),
    [
        ([], {}),
        (["kms1.contoso.com. 60 A 192.0.2.1"], {("kms1.contoso.com", IPV4): (["192.0.2.1"], 60)}),
        (["KMS1.Contoso.com. 60 A 192.0.2.1"], {("kms1.contoso.com", IPV4): (["192.0.2.1"], 60)}),
        (["kms1.contoso.com. 60 AAAA 2001:DB8:0::1"], {("kms1.contoso.com", IPV6): (["2001:db8::1"], 60)}),
        (
            ["kms1.contoso.com. 60 A 192.0.2.2", "kms1.contoso.com. 30 A 192.0.2.1"],
            {("kms1.contoso.com", IPV4): (["192.0.2.1", "192.0.2.2"], 30)},
        ),
        (
            ["kms1.contoso.com. 60 A 192.0.2.1", "kms1.contoso.com. 30 AAAA 2001:db8::1"],
            {
                ("kms1.contoso.com", IPV4): (["192.0.2.1"], 60),
                ("kms1.contoso.com", IPV6): (["2001:db8::1"], 30),
            },
        ),
        (["ns1.contoso.com. A 192.0.2.53", "kms9.contoso.com. A 192.0.2.9"], {}),
        (["kms1.contoso.com. CNAME other.contoso.com.", "other.contoso.com. A 192.0.2.1"], {}),
        (["kms1.contoso.com. TXT A"], {}),
        (["kms1.contoso.com. CH A a. 1"], {}),
        ([r"kms1.contoso.com. HS A \# 4 c0000201"], {}),
    ],
)
def test_glue(additional: list[str], glue: dict[tuple[str, Family], tuple[list[str], int]]) -> None:
    """Glue is for targets in the answer only, each family by itself, with its own TTL."""
    assert srv(KMS1, additional=additional).glue == {
        key: AddressLookup(status=LookupStatus.OK, addresses=tuple(addresses), ttl_seconds=ttl_seconds)
        for key, (addresses, ttl_seconds) in glue.items()
    }


def test_no_glue_for_records_that_are_not_kept() -> None:
    """Glue of a record that is malformed or beyond the limit is left out with it."""
    lookup = srv(
        f"{NAME} SRV 0 0 0 kms0.contoso.com.",
        KMS1,
        f"{NAME} SRV 0 0 1688 kms2.contoso.com.",
        additional=[f"kms{n}.contoso.com. A 192.0.2.{n + 1}" for n in range(3)],
        limit=1,
    )
    assert set(lookup.glue) == {("kms1.contoso.com", IPV4)}


def test_glue_of_the_answer_section_is_none() -> None:
    """Addresses outside of the additional section are not what a server sends as glue."""
    assert srv(KMS1, "kms1.contoso.com. A 192.0.2.1", authority=["kms1.contoso.com. A 192.0.2.2"]).glue == {}


# --- Addresses


HOST = "kms1.contoso.com."


def addresses(rdtype: str, *answer: str, **sections: object) -> AddressLookup:
    """Read the answer to a query for the addresses of a target."""
    message = respond(query(HOST, rdtype), *answer, **sections)  # type: ignore[arg-type]
    return read_addresses(over_the_wire(message))


@pytest.mark.parametrize(
    ("rdtype", "answer", "expected"),
    [
        ("A", [f"{HOST} 60 A 192.0.2.1"], (["192.0.2.1"], None, 60)),
        (
            "A",
            [f"{HOST} 60 A 192.0.2.10", f"{HOST} 30 A 192.0.2.1"],
            (["192.0.2.1", "192.0.2.10"], None, 30),
        ),
        ("A", [f"{HOST} 60 A 0.0.0.0"], (["0.0.0.0"], None, 60)),
        ("AAAA", [f"{HOST} 60 AAAA 2001:0DB8:0:0:0:0:0:1"], (["2001:db8::1"], None, 60)),
        ("AAAA", [f"{HOST} 60 AAAA ::ffff:192.0.2.1"], (["::ffff:192.0.2.1"], None, 60)),
        ("A", [f"{HOST} 60 A 192.0.2.1", f"{HOST} 5 AAAA 2001:db8::1"], (["192.0.2.1"], None, 60)),
        (
            "A",
            [f"{HOST} 20 CNAME Real.Contoso.com.", "real.contoso.com. 60 A 192.0.2.1"],
            (["192.0.2.1"], "real.contoso.com", 20),
        ),
        (
            "A",
            [f"{HOST} CNAME a.com.", "a.com. CNAME b.com.", "b.com. A 192.0.2.1"],
            (["192.0.2.1"], "b.com", TTL_SECONDS),
        ),
        (
            "AAAA",
            [rf"{HOST} CNAME a\"b.com.", r"a\"b.com. AAAA 2001:db8::1"],
            (["2001:db8::1"], r"a\034b.com", TTL_SECONDS),
        ),
    ],
)
def test_addresses(rdtype: str, answer: list[str], expected: tuple[list[str], str | None, int]) -> None:
    """Addresses come sorted and in canonical form, with the smallest TTL, and an alias is noticed."""
    found, alias_of, ttl_seconds = expected
    assert addresses(rdtype, *answer) == AddressLookup(
        status=LookupStatus.OK, addresses=tuple(found), alias_of=alias_of, ttl_seconds=ttl_seconds
    )


@pytest.mark.parametrize("rdtype", ["A", "AAAA"])
@pytest.mark.parametrize(
    ("answer", "authority", "rcode", "expected"),
    [
        ([], [SOA], 3, AddressLookup(status=LookupStatus.NXDOMAIN, ttl_seconds=60)),
        ([], [SOA], 0, AddressLookup(status=LookupStatus.NODATA, ttl_seconds=60)),
        ([], [SOA.replace("3600", "7")], 0, AddressLookup(status=LookupStatus.NODATA, ttl_seconds=7)),
        ([], [NS], 0, AddressLookup(status=LookupStatus.BAD_RESPONSE)),
        ([], [SOA], 2, AddressLookup(status=LookupStatus.SERVFAIL)),
        ([], [], 5, AddressLookup(status=LookupStatus.REFUSED)),
        ([], [], 4, AddressLookup(status=LookupStatus.BAD_RESPONSE)),
        ([f"{HOST} CNAME {HOST}"], [], 0, AddressLookup(status=LookupStatus.BAD_RESPONSE)),
        (
            [f"{HOST} CNAME real.contoso.com."],
            [SOA],
            3,
            AddressLookup(status=LookupStatus.NXDOMAIN, alias_of="real.contoso.com", ttl_seconds=60),
        ),
        (
            [f"{HOST} 20 CNAME real.contoso.com."],
            [SOA],
            0,
            AddressLookup(status=LookupStatus.NODATA, alias_of="real.contoso.com", ttl_seconds=20),
        ),
    ],
)
def test_no_addresses(
    rdtype: str, answer: list[str], authority: list[str], rcode: int, expected: AddressLookup
) -> None:
    """A name without addresses keeps the reason, the negative TTL of RFC 2308, and what it is an alias of."""
    assert addresses(rdtype, *answer, authority=authority, rcode=dns.rcode.Rcode(rcode)) == expected


# --- Name servers


@pytest.mark.parametrize(
    ("answer", "authority", "rcode", "names"),
    [
        ([NS], [], 0, ["ns1.contoso.com"]),
        (["contoso.com. NS NS2.Contoso.com.", NS], [], 0, ["ns1.contoso.com", "ns2.contoso.com"]),
        ([], [NS], 0, []),
        ([], [SOA], 0, []),
        ([], [SOA], 3, []),
        ([NS], [], 2, []),
        (["contoso.com. CNAME fabrikam.com.", "fabrikam.com. NS ns1.fabrikam.com."], [], 0, []),
    ],
)
def test_name_servers(answer: list[str], authority: list[str], rcode: int, names: list[str]) -> None:
    """Name servers are those in the answer about the name itself, sorted; an alias has none of its own."""
    message = respond(query("contoso.com.", "NS"), *answer, authority=authority, rcode=dns.rcode.Rcode(rcode))
    assert read_name_servers(over_the_wire(message)) == tuple(names)

"""Properties of what strangers can send, on inputs that are built and not found: nearly right, then damaged.

The promises are those of the fuzzer's targets, in `fuzz/`. The examples are the same at every run: to search
is the fuzzer's part.
"""

import struct
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config import ConfigError, parse
from exporter.config.webfile import parse_web
from exporter.rpc import NDR
from tests.fuzz import configurations, dns_answers, queries, rpc_answers, texts
from tests.fuzz.requests import REQUEST
from tests.fuzz.target import Run

SAME_EVERY_TIME = settings(derandomize=True, deadline=None, max_examples=100)
OUTCOMES = {False, True}

Damage = tuple[int, int, bytes]
DAMAGES = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 40), st.binary(max_size=4)), max_size=3)
"""Where, how many bytes go, and what takes their place."""


def damaged(data: bytes, damages: list[Damage]) -> bytes:
    """Do damage to bytes, one after the other; where nothing takes their place, they stand twice."""
    for place, length, insert in damages:
        at = place % (len(data) + 1)
        data = data[:at] + (insert or data[at : at + length] * 2) + data[at + length :]
    return data


# --- DNS

ASKED = "_vlmcs._tcp.contoso.com."
OWNERS = st.sampled_from(
    [
        *(ASKED, "_VLMCS._tcp.Contoso.com.", "alias.contoso.com.", "kms1.contoso.com.", "kms2.contoso.com."),
        *("contoso.com.", "com.", ".", "fabrikam.com.", "a\\.b\\000\\255.contoso.com.", "x" * 63 + ".test."),
    ]
)
U16 = st.sampled_from([0, 1, 1688, 65535])
TTLS = st.sampled_from([0, 1, 3600, 2**31 - 1])
RDATA = st.one_of(
    st.builds("SRV {} {} {} {}".format, U16, U16, U16, OWNERS),
    st.builds("{} {}".format, st.sampled_from(["CNAME", "NS", "DNAME", "PTR"]), OWNERS),
    st.builds("SOA {} {} {} 1 2 3 4".format, OWNERS, OWNERS, st.sampled_from([0, 7, 2**32 - 1])),
    st.builds("A {}".format, st.sampled_from(["192.0.2.1", "0.0.0.0", "127.0.0.1", "255.255.255.255"])),
    st.builds(
        "AAAA {}".format, st.sampled_from(["::", "::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::1"])
    ),
    st.just('TXT "kms"'),
)
RecordText = tuple[str, int, str]
RECORDS: st.SearchStrategy[list[RecordText]] = st.lists(st.tuples(OWNERS, TTLS, RDATA), max_size=6)
KINDS = ("SRV", "A", "AAAA", "NS", "SOA")


def section(records: list[RecordText]) -> list[dns.rrset.RRset]:
    """Make a section of a message, records of the same name and type together."""
    found = dict[tuple[dns.name.Name, str], dns.rrset.RRset]()
    for owner, ttl, text in records:
        rdtype, _, rdata = text.partition(" ")
        one = dns.rrset.from_text(owner, ttl, "IN", rdtype, rdata)
        found.setdefault((one.name, rdtype), one).add(one[0], ttl)
    return list(found.values())


def message(kind: int, flags: int, rcode: dns.rcode.Rcode, *sections: list[RecordText]) -> bytes:
    """Make an input of the target: a whole answer to one of our questions."""
    answer = dns.message.make_response(dns.message.make_query(ASKED, KINDS[kind], payload=1232, id=0))
    answer.flags |= flags
    answer.set_rcode(rcode)
    own, others, authority, additional = sections
    answer.answer = section([*((ASKED, ttl, rdata) for _, ttl, rdata in own), *others])
    answer.authority, answer.additional = section(authority), section(additional)
    return bytes([kind | dns_answers.WHOLE_MESSAGE]) + answer.to_wire(max_size=65535)


MESSAGES = st.tuples(
    st.integers(0, len(KINDS) - 1),
    st.sampled_from([0, dns.flags.AA, dns.flags.RA, dns.flags.TC]),
    st.sampled_from(
        [dns.rcode.NOERROR, dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.REFUSED, dns.rcode.BADVERS]
    ),
    *[RECORDS] * 4,
)
"""What `message` takes: it puts records of a set in any order, as servers do."""


@SAME_EVERY_TIME
@given(MESSAGES)
def test_any_answer(parts: Any) -> None:
    """Whatever records a server puts together, they are an answer, and what is read of it is sound."""
    assert dns_answers.feed(message(*parts))


@SAME_EVERY_TIME
@given(MESSAGES, DAMAGES)
def test_any_damaged_answer(parts: Any, damages: list[Damage]) -> None:
    """However an answer is damaged, it is refused, or what is read of it is sound."""
    data = message(*parts)
    assert dns_answers.feed(data[:1] + damaged(data[1:], damages)) in OUTCOMES


# --- RPC

ORDERS = st.sampled_from("<>")
U32 = st.sampled_from([0, 1, 2, 0x1C010003, 0x1C010014, 2**32 - 1])
CODES = st.sampled_from([0, 1, 2, 3, 4, 8, 0x100, 0xFFFF])


@st.composite
def pdus(draw: st.DrawFn) -> bytes:
    """Draw a PDU in which each field is right more often than not."""
    order, kind = draw(ORDERS), draw(st.sampled_from([12, 12, 13, 3, 11, 2]))
    address = draw(st.sampled_from([b"", b"1688\0", b"x" * 300]))
    uuid = NDR.bytes_le if order == "<" else NDR.bytes
    bodies = {
        3: struct.pack(order + "IHBBI4x", 32, 0, 0, 0, draw(U32)),
        12: struct.pack(order + "HHIH", 5840, 5840, 1, len(address))
        + address
        + bytes(-(26 + len(address)) % 4)
        + bytes([draw(st.sampled_from([1, 1, 1, 0, 2, 255])), 0, 0, 0])
        + struct.pack(
            order + "HH16sI", draw(CODES), draw(CODES), draw(st.sampled_from([uuid, bytes(16)])), 2
        ),
        13: struct.pack(order + "H", draw(CODES)) + draw(st.sampled_from([b"", b"\1\5\0", b"\xff\5\0"])),
    }
    body = bodies.get(kind, bytes(40))
    size = draw(st.sampled_from([16 + len(body)] * 4 + [0, 15, 16, 5840, 5841, 65535]))
    drep = b"\x10\0\0\0" if order == "<" else bytes(4)
    lengths = struct.pack(
        order + "HHI", size, draw(st.sampled_from([0, 0, 0, 8])), draw(st.sampled_from([1, 1, 1, 2]))
    )
    return bytes([5, 0, kind, draw(st.sampled_from([3, 3, 0x23, 1]))]) + drep + lengths + body


@SAME_EVERY_TIME
@given(pdus(), st.binary(max_size=15), st.just([]) | DAMAGES)
@example(b"", b"", [])
def test_any_pdu(pdu: bytes, sizes: bytes, damages: list[Damage]) -> None:
    """However the fields of a PDU are set, damaged and cut into pieces, one judgement comes of it."""
    data = bytes([len(sizes)]) + sizes + damaged(pdu, damages) * 2
    assert rpc_answers.feed(data) in OUTCOMES


# --- Configuration

SERVERS = ["10.0.0.10", "[2001:db8::53]:5353", "authoritative"]
GOOD: Mapping[str, Any] = {
    "interval": "60s",
    "timeout": "5s",
    "forget_after": "24h",
    "source_addresses": ["10.0.0.1"],
    "dns": {"servers": SERVERS, "attempts": 2},
    "probe": {
        "rpc_bind": True,
        "address_families": ["ipv4"],
        "max_concurrency": 9,
        "networks": ["10.0.0.0/8"],
        "ports": [1688],
    },
    "web": {"probe_allow": ["allowed.test", "10.0.0.0/8"], "probe_only": False},
    "limits": {"records_per_zone": 9, "addresses_per_target": 9, "vanished_per_zone": 9},
    "zones": [
        {
            "name": "contoso.com",
            "dns_servers": SERVERS,
            "expected": ["kms1.contoso.com", "kms2.contoso.com:1689"],
            "labels": {"site": "ams"},
        }
    ],
    "hosts": ["kms-dr.contoso.com:1688", "10.1.2.3"],
    "clients": [{"name": "branch", "suffixes": ["contoso.com"], "dns_servers": SERVERS}],
}

Steps = tuple[str | int, ...]


def places(value: object, path: Steps = ()) -> Iterator[Steps]:
    """List the paths of all values in plain data, the whole apart."""
    inside = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, each in inside:
        yield (*path, step)
        yield from places(each, (*path, step))


def replaced(value: Any, path: Steps, new: object) -> Any:
    """Copy plain data with another value at a path."""
    if not path:
        return new
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    copied = {step: replaced(each, path[1:], new) if step == path[0] else each for step, each in items}
    return copied if isinstance(value, Mapping) else list(copied.values())


def shown(path: Steps) -> str:
    """Write a path as problems do."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


PLACES = list(places(GOOD))
WRONG: tuple[Any, ...] = (
    {"wrong": 1},
    [["wrong"]],
    None,
    -1,
    1e308,
    "\N{SNOWMAN}\u200d",
    "x y",
    "",
    [],
    {},
    True,
    "9" * 5000,
)


@pytest.mark.parametrize("path", PLACES, ids=shown)
def test_misplaced_value_is_found(path: Steps) -> None:
    """Whichever value is something else altogether, the problem that is told is there, or in it."""
    text = yaml.safe_dump(replaced(GOOD, path, {"wrong": [1]})).encode()
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert any(problem.path.startswith(shown(path)) for problem in refused.value.problems)


@SAME_EVERY_TIME
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(WRONG)), min_size=1, max_size=3))
@example([])
def test_any_wrong_values(changes: list[tuple[Steps, object]]) -> None:
    """Whatever several values are, the file is a configuration, or refused with what is wrong where."""
    data = dict(GOOD)
    for path, value in changes:
        data = replaced(data, path, value) if path in set(places(data)) else data
    text = yaml.safe_dump(data, allow_unicode=True).encode()
    assert configurations.feed_config(text) in OUTCOMES
    assert changes or configurations.feed_config(text)


@SAME_EVERY_TIME
@given(DAMAGES.filter(bool))
def test_any_damaged_file(damages: list[Damage]) -> None:
    """However a file is damaged, it is a configuration, or refused with what is wrong where."""
    assert configurations.feed_config(damaged(yaml.safe_dump(GOOD).encode(), damages)) in OUTCOMES


# --- Web configuration

HASH = "$2b$10$eTx1JvNmtAlq2pxpppZ.heO9IXDTmwpPY.Kf4mfJir2M1q37/IJjG"
WEB = f"""\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_ca_file: ca.crt
  client_auth_type: RequireAndVerifyClientCert
  min_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
http_server_config:
  headers: {{X-Frame-Options: deny}}
basic_auth_users:
  alice: {HASH}
basic_auth_excluded_paths: [/-/healthy]
"""


@SAME_EVERY_TIME
@given(DAMAGES)
def test_any_damaged_web_file(damages: list[Damage]) -> None:
    """However a web configuration is damaged, it is one, or refused with what is wrong where."""
    assert configurations.feed_web_config(damaged(WEB.encode(), damages)) in OUTCOMES


@SAME_EVERY_TIME
@given(
    st.text(alphabet=" \n\t[]{}:,-?!&*<>|'\"%@#=~.\\x01\x85", min_size=1, max_size=4),
    st.integers(WEB.index("basic_auth_users"), WEB.index(HASH)),
    st.sampled_from([HASH, HASH[:40], HASH.replace("$", "&")]),
)
def test_no_secret_is_told(sign: str, place: int, secret: str) -> None:
    """Whatever slips into a file before a hash, and whatever the hash is, no problem shows a part of it."""
    text = WEB.replace(HASH, secret)
    try:
        parse_web((text[:place] + sign + text[place:]).encode())
    except ConfigError as error:
        told = str(error)
    else:
        return
    assert not any(secret[at : at + 6] in told for at in range(len(secret) - 5))


# --- What is asked for over HTTP


@pytest.fixture(scope="module")
def server() -> Iterator[Run]:
    """Serve for all examples."""
    with REQUEST.open() as run:
        yield run


ANY_TEXT = st.text(max_size=30) | st.sampled_from(
    [
        *("contoso.com", "CONTOSO.com", "a.allowed.test", "10.1.2.3:1688", "kms9.contoso.com", "a/b <evil>"),
        *(
            "\r\nX-Evil: 1",
            "<evil>",
            "//evil.test/",
            "..",
            "%0d%0a",
            "\0",
            "\u202e",
            "x" * 400,
            "trouble",
            "notallowed.test",
        ),
    ]
)
PARAMETERS = st.sampled_from(
    ["target", "dns_server", "debug", "q", "verdict", "dns_zone", "part", "check", "x"]
)
PAGES = st.sampled_from(
    ["/", "/probe", "/sd", "/metrics", "/api/v1/status", "/config", "/zones/", "/-/ready"]
)
PATHS = PAGES | st.builds(
    "{}{}".format,
    st.sampled_from(["/zones/", "/hosts/", "/clients/", "/static/", "/"]),
    ANY_TEXT.map(lambda text: urllib.parse.quote(text, safe="/")),
)
HEADERS = st.sampled_from(
    [
        *("Accept: text/html", "Accept: application/openmetrics-text", 'Accept: text/plain;version="x";q=y'),
        *("Accept-Encoding: gzip", "X-Prometheus-Scrape-Timeout-Seconds: nan", "Content-Length: 1"),
        *("Expect: 100-continue", "If-None-Match: *", "Range: bytes=0-", "Authorization: Basic Og=="),
    ]
)


@settings(SAME_EVERY_TIME, max_examples=60)
@given(
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "<evil>"]),
    path=PATHS,
    parameters=st.lists(st.tuples(PARAMETERS, ANY_TEXT), max_size=3),
    headers=st.lists(HEADERS, max_size=3),
)
def test_any_request(
    server: Run, method: str, path: str, parameters: list[tuple[str, str]], headers: list[str]
) -> None:
    """Whatever is asked for, the answer is whole, has a status it may have, and no markup of a stranger."""
    query = urllib.parse.urlencode(parameters, errors="surrogatepass")
    lines = [f"{method} {path}{f'?{query}' if query else ''} HTTP/1.1", "Host: a", *headers]
    assert server("\r\n".join(lines).encode()) in OUTCOMES


@SAME_EVERY_TIME
@given(st.lists(ANY_TEXT.filter(lambda text: "\n" not in text), max_size=8))
def test_any_parameters(fields: list[str]) -> None:
    """Whatever parameters and headers hold, they are read or refused, and what is let in may be looked at."""
    assert queries.feed("\n".join(fields).encode()) in OUTCOMES


# --- Text

ODD = st.text(alphabet=".-_aZ0xn\u3002\uff0e\u200d\u00df\u0130\u05d0\u0661\u00ad\\ ", max_size=80)


@SAME_EVERY_TIME
@given(ODD | ODD.map(lambda text: f"{text or 'a'}." * 40))
def test_any_odd_name(text: str) -> None:
    """Whatever mixture of scripts, dots and joiners a name is, it is refused or brought into one form."""
    assert texts.feed_name(text.encode()) in OUTCOMES


@SAME_EVERY_TIME
@given(st.lists(st.tuples(st.sampled_from(["search", "domain", "nameserver", "#", "x"]), ODD), max_size=4))
def test_any_resolv_conf(lines: list[tuple[str, str]]) -> None:
    """Whatever suffixes a machine has, zones are made of those that can be, or it is said what is wrong."""
    text = "\n".join(f"{keyword} {rest}" for keyword, rest in lines)
    assert texts.feed_resolv_conf(f"exporter.contoso.com\0{text}".encode()) in OUTCOMES

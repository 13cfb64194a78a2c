"""What pages read from a URL and from headers, function by function, without a server.

An input is lines: target, DNS server, text searched for, verdict, scrape timeout, Accept, Accept-Encoding,
and a URL.
"""

import ipaddress
import urllib.parse

from prometheus_client import CollectorRegistry

from exporter.config import Zone, parse
from exporter.discovery import ResolvConf
from exporter.model import DnsServer, Host, is_address
from exporter.narrowing import is_configured
from exporter.ondemand import OnDemand, Refusal
from exporter.web.errors import prefers_html
from exporter.web.exposition import accepts_gzip, normalize_accept, render
from exporter.web.pages.finding import BadQueryError, parse_query
from exporter.web.paths import make_paths
from exporter.web.probing import check_seconds
from tests.fuzz.target import pure

_FIELDS = 8
_FORMATS = ("text/plain; version=", "application/openmetrics-text; version=")
_EMPTY = CollectorRegistry()
_ALLOWED = "allowed.test"
_NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "2001:db8::/32")))
_CONFIG = parse(
    b"dns: {servers: [system, '192.0.2.53:5353']}\n"
    b"web: {probe_allow: [allowed.test, 10.0.0.0/8, '2001:db8::/32']}\n"
    b"zones: [{name: contoso.com}, {name: kms.contoso.com}]\n"
    b"hosts: [kms1.contoso.com, 192.0.2.7, '[2001:db8:1::5]:1689']\n"
)
_SYSTEM = ResolvConf(servers=(DnsServer(address="192.0.2.54"),))
_ONDEMAND = OnDemand(_CONFIG, system=lambda: _SYSTEM)


def feed(data: bytes) -> bool:
    """Read every parameter and header; taken is what a check may be made of."""
    fields = (data.split(b"\n", _FIELDS - 1) + [b""] * _FIELDS)[:_FIELDS]
    target, server, text, verdict, url = (each.decode(errors="replace") for each in (*fields[:4], fields[7]))
    timeout, accept, encoding = (each.decode(errors="surrogateescape") for each in fields[4:7])  # as aiohttp
    _check_search(text, verdict)
    assert 0 < check_seconds(timeout, _CONFIG) <= _CONFIG.interval
    page = render(_EMPTY, accept=normalize_accept(accept), gzip=accepts_gzip(encoding))
    assert page.headers["Content-Type"].startswith(_FORMATS)
    assert prefers_html(accept) in {False, True}
    _check_paths(url)
    return _is_admitted(target, server or None)


def _is_admitted(target: str, server: str | None) -> bool:
    wanted = _ONDEMAND.admit(target, server)
    if isinstance(wanted, Refusal):
        assert wanted.reason.isprintable()
        return False
    assert is_configured(wanted.subject, _CONFIG) or _is_allowed(wanted.subject)
    if isinstance(wanted.server, DnsServer):
        ours = {"192.0.2.53:5353", "192.0.2.54"}
        assert wanted.server.label in ours or _is_inside(wanted.server.address)
    return True


def _is_allowed(subject: Zone | Host) -> bool:
    name = subject.target if isinstance(subject, Host) else subject.name
    if is_address(name):
        return _is_inside(name)
    return name == _ALLOWED or name.endswith(f".{_ALLOWED}")


def _is_inside(address: str) -> bool:
    return any(ipaddress.ip_address(address.partition("%")[0]) in network for network in _NETWORKS)


def _check_search(text: str, verdict: str) -> None:
    try:
        query = parse_query({"q": text, "verdict": verdict})
    except BadQueryError:
        return
    assert query.finds_name("contoso.com") in {False, True}
    back = urllib.parse.parse_qs(query.parameters.removeprefix("?"), max_num_fields=2)
    assert parse_query({key: values[0] for key, values in back.items()}) == query


def _check_paths(url: str) -> None:
    for external_url, prefix in ((url, None), (None, url)):
        try:
            paths = make_paths(external_url=external_url, route_prefix=prefix)
        except ValueError:
            continue
        for path in (paths.link("/"), paths.route("/")):
            assert path.startswith("/")
            assert path == urllib.parse.quote(path)
            assert "//" not in path


QUERY = pure(
    feed,
    (
        *(
            b"\n",
            b"contoso.com",
            b"kms1.contoso.com:1688",
            b"kms.contoso.com",
            b"allowed.test",
            b".allowed.test",
            b"notallowed.test",
        ),
        *(
            b"10.1.2.3",
            b"[2001:db8::5]:1689",
            b"::ffff:10.0.0.1",
            b"64:ff9b::a00:1",
            b"192.0.2.53:5353",
            b"fe80::1%eth0",
        ),
        *(
            b"system",
            b"authoritative",
            b"trouble",
            b"unchecked",
            b"port_filtered",
            b"degraded",
            b"xn--bcher-kva",
        ),
        *(b"nan", b"inf", b"-1", b"1e308", b"0.001", b"1_0", b"\xd9\xa1"),
        *(
            b"application/openmetrics-text; version=1.0.0",
            b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            b"text/html",
        ),
        *(
            b"escaping=allow-utf-8",
            b";q=",
            b"gzip",
            b"gzip;q=0",
            b"https://monitoring.contoso.com/kms/",
            b"/kms",
            b"%2f",
        ),
        *(b"\x00", b"\xff", b"\xe2\x80\xae", b"\xed\xa0\x80"),
    ),
    longest=1500,
)

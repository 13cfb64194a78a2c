"""Tests of the report: how bad what was seen is, and its three forms, on snapshots made by hand."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from exporter.diagnosis import Mark, Verdict
from exporter.model import Host, LookupStatus, ProbeFailure, Record, SrvLookup, fingerprint, is_address
from exporter.report import Report, Status, make_report, status_of, worst
from exporter.report.machine import as_json, as_nagios, nagios_line
from exporter.report.text import write_text
from exporter.state import ServerView, Snapshot, ZoneView
from tests.builders import (
    TARGET,
    ZONE,
    addresses,
    answer,
    client_view,
    endpoint,
    endpoint_view,
    host,
    probed,
    record,
    static_host_view,
    zone_view,
)

A, B = "192.0.2.53", "192.0.2.54"
OTHER, THIRD = "kms2.contoso.test", "kms3.contoso.test"
SITE = "branch.contoso.test"
OK, DEGRADED, FAILED, UNKNOWN = Status.OK, Status.DEGRADED, Status.FAILED, Status.UNKNOWN
ADDRESSES = {TARGET: "192.0.2.1", OTHER: "192.0.2.2", THIRD: "192.0.2.3"}
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
PERFDATA = re.compile(rf"'[^'=]+'={NUMBER.pattern}(s|%|[KMGT]?B|c)?(;({NUMBER.pattern})?){{0,4}}")
"""One value of performance data: https://nagios-plugins.org/doc/guidelines.html#AEN200"""


def aa(*records: Record, **fields: Any) -> SrvLookup:
    """Build an authoritative answer."""
    ttl_seconds = 60 if records else None
    more = {"authoritative": True, "ttl_seconds": ttl_seconds, "fingerprint": fingerprint(records)}
    return answer(*records, **more | fields)


def published(
    zone: str, lookups: Mapping[str, SrvLookup], expected: Iterable[Host] | None = None
) -> ZoneView:
    """Show a zone with one lookup at each of these DNS servers."""
    servers = [ServerView(dns_server=label).after(lookup) for label, lookup in lookups.items()]
    return zone_view(zone, *servers, expected=None if expected is None else frozenset(expected))


def snapshot(
    *zones: ZoneView,
    clients: Mapping[str, Sequence[ZoneView]] | None = None,
    static_hosts: Sequence[Host] = (),
    probes: Mapping[str, str | None] | None = None,
    **fields: Any,
) -> Snapshot:
    """Show zones, clients and static hosts; `probes` has the failure, or None, of each target.

    A target that is not in `probes` has no address.
    """
    outcomes = probes or {}
    targets = {*ADDRESSES, *(one.target for one in static_hosts if not is_address(one.target))}
    literals = [one.target for one in static_hosts if is_address(one.target)]
    found = {target: ADDRESSES.get(target, target) for target in outcomes}
    names = [
        (label, addresses(target, *([found[target]] if target in found else [])))
        for label in (A, B)
        for target in sorted(targets)
    ]
    return Snapshot(
        zones=zones,
        clients=tuple(client_view(*suffixes, client=name) for name, suffixes in (clients or {}).items()),
        targets=(*names, *(("", addresses(literal, literal)) for literal in literals)),
        endpoints=tuple(
            endpoint_view(probed(endpoint(target, address=address), _failure(outcomes[target])))
            for target, address in found.items()
        ),
        static_hosts=tuple(
            static_host_view(one, "" if is_address(one.target) else A) for one in static_hosts
        ),
        **fields,
    )


def _failure(outcome: str | None) -> ProbeFailure | None:
    return ProbeFailure(outcome) if outcome else None


def report_of(seen: Snapshot) -> Report:
    """Report on all static hosts too."""
    return make_report(seen, hosts={view.host for view in seen.static_hosts})


def zone_at(*records: Record, expected: Iterable[Host] | None = None, **fields: Any) -> ZoneView:
    """Show the usual zone at one DNS server."""
    return published(ZONE, {A: aa(*records, **fields)}, expected)


MIXED = snapshot(
    published(
        ZONE,
        {
            A: aa(record(weight=1), record(OTHER, weight=3), soa_serial=7, duration_seconds=0.002),
            B: answer(status=LookupStatus.REFUSED, duration_seconds=0.001),
        },
        [host(), host(THIRD)],
    ),
    published(SITE, {A: aa(status=LookupStatus.NXDOMAIN)}, []),
    clients={"laptop": [published(SITE, {A: aa(status=LookupStatus.NODATA)}), zone_at(record())]},
    static_hosts=[host("192.0.2.9", 1689), host(THIRD)],
    probes={TARGET: None, OTHER: "connection_refused"},
)
"""Something of everything: two hosts of which one is down, a rogue, one that is missing, a failing server."""


def text_of(report: Report, encoding: str = "utf-8", *, terminal: bool = False) -> str:
    """Print a report as text to a stream with this encoding."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    write_text(report, stream)
    stream.flush()
    return raw.getvalue().decode(encoding)


# --- How bad it is


@pytest.mark.parametrize("verdict", list(Verdict))
def test_status_of_a_verdict(verdict: Verdict) -> None:
    """Every verdict but these three is a failure."""
    special = {Verdict.OK: OK, Verdict.DEGRADED: DEGRADED, Verdict.UNKNOWN: UNKNOWN}
    assert status_of(verdict) is special.get(verdict, FAILED)


def test_status_is_the_exit_status() -> None:
    """The numbers are those of the Nagios plugin interface."""
    assert {status.name: int(status) for status in Status} == {
        "OK": 0,
        "DEGRADED": 1,
        "FAILED": 2,
        "UNKNOWN": 3,
    }


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], UNKNOWN),
        ([OK], OK),
        ([OK, OK], OK),
        ([OK, UNKNOWN], UNKNOWN),
        ([UNKNOWN, DEGRADED, OK], DEGRADED),
        ([DEGRADED, FAILED, UNKNOWN], FAILED),
        ([FAILED, OK], FAILED),
    ],
)
def test_worst(statuses: list[Status], expected: Status) -> None:
    """What is known to be bad is more urgent than what is not known; nothing at all is unknown."""
    assert worst(statuses) is expected
    assert worst(reversed(statuses)) is expected


@pytest.mark.parametrize(
    ("zone", "probes", "expected", "remarks"),
    [
        (zone_at(record()), {TARGET: None}, OK, 0),
        (zone_at(record(), record(OTHER)), {TARGET: None, OTHER: "timeout"}, DEGRADED, 0),
        (zone_at(record()), {TARGET: "timeout"}, FAILED, 0),
        (zone_at(record()), {}, FAILED, 0),
        (zone_at(record()), {TARGET: "not_allowed"}, UNKNOWN, 0),
        (zone_at(status=LookupStatus.NXDOMAIN), {}, FAILED, 0),
        (zone_at(status=LookupStatus.TIMEOUT), {}, FAILED, 0),
        # nothing is expected
        (zone_at(status=LookupStatus.NXDOMAIN, expected=[]), {}, OK, 0),
        (zone_at(record(".", 0), expected=[]), {}, OK, 0),
        (zone_at(status=LookupStatus.SERVFAIL, expected=[]), {}, FAILED, 0),
        (zone_at(record(), expected=[]), {TARGET: None}, DEGRADED, 1),
        (zone_at(record(), expected=[]), {TARGET: "timeout"}, FAILED, 1),
        # these are expected
        (zone_at(record(), expected=[host()]), {TARGET: None}, OK, 0),
        (zone_at(record(), expected=[host(), host(THIRD)]), {TARGET: None}, DEGRADED, 1),
        (zone_at(record(), record(OTHER), expected=[host()]), {TARGET: None, OTHER: None}, DEGRADED, 1),
        (zone_at(record(), expected=[host(OTHER)]), {TARGET: None}, DEGRADED, 2),
        (zone_at(record(), expected=[host(OTHER)]), {TARGET: "not_allowed"}, DEGRADED, 2),
        (zone_at(status=LookupStatus.NODATA, expected=[host()]), {}, FAILED, 1),
        # DNS servers
        (published(ZONE, {A: aa(record()), B: aa(record())}), {TARGET: None}, OK, 0),
        (published(ZONE, {A: aa(record()), B: aa()}), {TARGET: None}, FAILED, 1),
        (
            published(ZONE, {A: aa(record()), B: aa(record(weight=1))}),
            {TARGET: None},
            DEGRADED,
            1,
        ),
        # no result yet
        (zone_view(ZONE, ServerView(dns_server=A)), {}, UNKNOWN, 0),
    ],
)
def test_zone(zone: ZoneView, probes: Mapping[str, str | None], expected: Status, remarks: int) -> None:
    """A zone is as bad as what clients meet at the worst DNS server, and never well with a remark."""
    report = report_of(snapshot(zone, probes=probes))
    [found] = report.zones
    assert (found.status, len(found.remarks)) == (expected, remarks)
    assert report.status is expected


def test_nothing_to_report() -> None:
    """A report on nothing is unknown."""
    report = make_report(Snapshot(), hosts=())
    assert report == Report(zones=(), static_hosts=(), clients=())
    assert report.status is UNKNOWN


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [([], OK), ([host(THIRD)], FAILED), ([host("192.0.2.9")], UNKNOWN), ([host(OTHER)], OK)],
)
def test_static_hosts(wanted: list[Host], expected: Status) -> None:
    """Only the static hosts that were asked for count."""
    hosts = [host(THIRD), host("192.0.2.9"), host(OTHER)]
    probes = {TARGET: None, OTHER: None, "192.0.2.9": "not_allowed"}
    seen = snapshot(zone_at(record()), static_hosts=hosts, probes=probes)
    report = make_report(seen, hosts=wanted)
    assert [static.diagnosis.sight.host for static in report.static_hosts] == wanted
    assert report.status is expected


def test_witnesses() -> None:
    """A static host that was not asked for still tells what is at fault, and serves as a stop-gap."""
    seen = snapshot(zone_at(), static_hosts=[host(OTHER)], probes={OTHER: None})
    report = make_report(seen, hosts=())
    assert report.static_hosts == ()
    steps = report.zones[0].servers[0].steps
    assert f"slmgr /skms {OTHER}:1688" in [command for step in steps for command in step.commands]

    name, address = host(THIRD), host("192.0.2.9")
    seen = snapshot(static_hosts=[name, address], probes={"192.0.2.9": None})
    [static] = make_report(seen, hosts={name}).static_hosts
    assert [step for step in static.steps if "192.0.2.9:1688" in step.text]


@pytest.mark.parametrize(
    ("suffixes", "expected"),
    [
        ([zone_at(record())], OK),
        ([published(SITE, {A: aa(status=LookupStatus.NXDOMAIN)}), zone_at(record())], OK),
        ([published(SITE, {A: aa(record(OTHER))}), zone_at(record())], FAILED),
        ([published(SITE, {A: aa(status=LookupStatus.NXDOMAIN)})], FAILED),
    ],
)
def test_clients(suffixes: Sequence[ZoneView], expected: Status) -> None:
    """A kind of client is as bad as what it meets at the suffix that it ends up with."""
    report = report_of(snapshot(clients={"laptop": suffixes}, probes={TARGET: None, OTHER: "timeout"}))
    assert [client.status for client in report.clients] == [expected]
    assert report.status is expected


def test_probes_without_rpc_bind() -> None:
    """Where probes do not ask for KMS, the ladders do not say that it answers."""
    hosts = [host(OTHER)]
    report = report_of(
        snapshot(zone_at(record()), static_hosts=hosts, probes={TARGET: None, OTHER: None}, rpc_bind=False)
    )
    ladders = [report.zones[0].servers[0].ladder, report.static_hosts[0].ladder]
    assert [ladder[-1].mark for ladder in ladders] == [Mark.UNKNOWN] * 2
    assert report.status is OK


# --- JSON


def test_json_of_everything() -> None:
    """JSON has all that was found, under keys that are a public interface."""
    document = json.loads(as_json(report_of(MIXED)))
    steps = [step for step in _steps(document) if step.keys() == {"place", "text", "commands"}]
    assert steps == list(_steps(document))
    assert {key: document[key] for key in ("status", "exit_status")} == {"status": "failed", "exit_status": 2}
    assert document.keys() == {"status", "exit_status", "zones", "static_hosts", "clients"}
    zone, site = document["zones"]
    at_a, at_b = zone.pop("dns_servers")
    assert [step["place"] for step in zone.pop("remarks")] == ["KMS host", "KMS host"]
    assert zone == {
        "zone": ZONE,
        "status": "failed",
        "dns_servers_agree": None,
        "expected": [f"{TARGET}:1688", f"{THIRD}:1688"],
        "missing": [f"{THIRD}:1688"],
        "unexpected": [f"{OTHER}:1688"],
    }
    assert [step["place"] for step in at_a.pop("next_steps")] == ["KMS host", "client"]
    assert at_a.pop("ladder")[3] == {"rung": "TCP port is open", "state": "partly", "detail": "1 of 2"}
    assert at_a == {
        "dns_server": A,
        "status": "degraded",
        "verdict": "degraded",
        "likely_error": None,
        "first_attempt_success_ratio": {"rfc2782": pytest.approx(0.3), "random": 0.5},
        "lookup": {
            "status": "ok",
            "duration_seconds": 0.002,
            "authoritative": True,
            "ttl_seconds": 60,
            "soa_serial": 7,
            "record_count": 2,
            "records": [
                {"priority": 0, "weight": 1, "port": 1688, "target": TARGET},
                {"priority": 0, "weight": 3, "port": 1688, "target": OTHER},
            ],
        },
        "hosts": [
            _host(TARGET, "ok", _endpoint(ADDRESSES[TARGET], connect_seconds=0.003, rpc_bind_seconds=0.004)),
            _host(OTHER, "port_closed", _endpoint(ADDRESSES[OTHER], failure="connection_refused")),
        ],
        "absent_hosts": [_host(THIRD, "target_unresolvable")],
    }
    assert (at_b["dns_server"], at_b["status"], at_b["verdict"]) == (B, "failed", "dns_failed")
    assert at_b["likely_error"] == {
        "code": "0x8007232D",
        "symbol": "DNS_ERROR_RCODE_REFUSED",
        "certainty": "medium",
        "cause": None,
        "elsewhere": None,
    }
    assert at_b["lookup"] == {
        "status": "refused",
        "duration_seconds": 0.001,
        "authoritative": None,
        "ttl_seconds": None,
        "soa_serial": None,
        "record_count": 0,
        "records": [],
    }
    [at_site] = site["dns_servers"]
    assert (site["status"], site["expected"], site["remarks"]) == ("ok", [], [])
    assert (at_site["status"], at_site["verdict"], at_site["next_steps"]) == ("ok", "srv_missing", [])
    assert at_site["likely_error"]["elsewhere"] == "0x80092328 in the activation wizard of Windows 7"


def test_json_of_static_hosts_and_clients() -> None:
    """JSON has static hosts like those of a zone, and which zone a kind of client ends up with."""
    document = json.loads(as_json(report_of(MIXED)))
    literal, name = document["static_hosts"]
    assert len(literal.pop("ladder")) == 2
    assert literal.pop("next_steps")
    unseen = _host("192.0.2.9", "unknown") | {"lookup_failure": None, "addresses": ["192.0.2.9"]}
    assert literal == unseen | {"port": 1689, "dns_server": "", "status": "unknown", "likely_error": None}
    assert len(name.pop("ladder")) == 3
    assert name.pop("next_steps")
    assert name == _host(THIRD, "target_unresolvable") | {
        "dns_server": A,
        "status": "failed",
        "likely_error": {
            "code": "0xC004F074",
            "symbol": "SL_E_VL_BINDING_SERVICE_UNAVAILABLE",
            "certainty": "medium",
            "cause": {"code": "0x800706BA", "symbol": "RPC_S_SERVER_UNAVAILABLE"},
            "elsewhere": None,
        },
    }
    [client] = document["clients"]
    assert [rung["state"] for rung in client.pop("ladder")] == ["passed"] * 5
    assert [client] == [
        {
            "client": "laptop",
            "dns_server": A,
            "status": "ok",
            "verdict": "ok",
            "zone": ZONE,
            "likely_error": None,
            "next_steps": [],
        }
    ]


def test_json_of_a_client_that_is_not_served() -> None:
    """JSON has of a client the ladder and the steps of the suffix that decided, and null where none won."""
    suffixes = [zone_at(status=LookupStatus.NODATA), published(SITE, {A: aa(status=LookupStatus.SERVFAIL)})]
    seen = snapshot(clients={"laptop": suffixes, "desk": [zone_at(record())]}, probes={TARGET: "timeout"})
    laptop, desk = json.loads(as_json(report_of(seen)))["clients"]
    assert (laptop["verdict"], laptop["zone"], laptop["status"]) == ("dns_failed", None, "failed")
    assert laptop["likely_error"]["code"] == "0x8007232A"
    assert [rung["state"] for rung in laptop["ladder"]] == ["failed", *["not_reached"] * 4]
    [step] = laptop["next_steps"]
    assert f"nslookup -type=srv _vlmcs._tcp.{SITE} {A}" in step["commands"]
    assert (desk["verdict"], desk["zone"], desk["status"]) == ("port_filtered", ZONE, "failed")
    assert [rung["state"] for rung in desk["ladder"]] == [*["passed"] * 3, "failed", "not_reached"]
    assert [step["place"] for step in desk["next_steps"]] == ["KMS host", "client"]


def test_json_counts_records_that_it_does_not_show() -> None:
    """JSON tells how many records the answer had, those that nobody can use included."""
    report = report_of(snapshot(zone_at(record(), record(OTHER, 0)), probes={TARGET: None}))
    [server] = json.loads(as_json(report))["zones"][0]["dns_servers"]
    assert server["lookup"]["record_count"] == 2
    assert [each["target"] for each in server["lookup"]["records"]] == [TARGET]
    assert (server["verdict"], server["first_attempt_success_ratio"]) == (
        "degraded",
        {"rfc2782": 0.5, "random": 0.5},
    )
    assert len(server["next_steps"]) == 1


@pytest.mark.parametrize("records", [[record(".", 0)], [record(), record(".", 0)]])
def test_record_that_declines_is_no_rogue(records: Sequence[Record]) -> None:
    """A target `.` that nobody expects is not told of as a host that nobody expects."""
    seen = snapshot(zone_at(*records, expected=[host()]), probes={TARGET: None})
    report = report_of(seen)
    assert "nobody expects it" not in text_of(report)
    assert "unexpected" not in as_nagios(report)


def test_json_without_opinion() -> None:
    """What nobody has said or looked up is null, which is something else than none."""
    [zone] = json.loads(as_json(report_of(snapshot(zone_at(record()), static_hosts=()))))["zones"]
    assert (zone["expected"], zone["missing"], zone["unexpected"]) == (None, [], [])
    unseen = Snapshot(zones=(zone_at(record()),))
    [found] = json.loads(as_json(make_report(unseen, hosts=())))["zones"][0]["dns_servers"][0]["hosts"]
    assert found == _host(TARGET, "unknown") | {"lookup_failure": None}


def _steps(document: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for zone in document["zones"]:
        yield from zone["remarks"]
        for server in zone["dns_servers"]:
            yield from server["next_steps"]
    for each in (*document["static_hosts"], *document["clients"]):
        yield from each["next_steps"]


def _host(target: str, verdict: str, *endpoints: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "target": target,
        "port": 1688,
        "verdict": verdict,
        "lookup_failure": None if endpoints else "nxdomain",
        "alias_of": None,
        "addresses": [each["address"] for each in endpoints],
        "endpoints": list(endpoints),
    }


def _endpoint(address: str, **fields: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("failure", "connect_seconds", "rpc_bind_seconds"))
    return {"address": address, "up": "failure" not in fields, "syn_retransmits": 0} | unknown | fields


# --- Nagios


def test_nagios_line_of_everything() -> None:
    """The line says what is wrong, the worst first, and measures what could be measured."""
    line = as_nagios(report_of(MIXED))
    summary, _, performance = line.partition(" | ")
    assert summary == (
        f"KMS CRITICAL - {ZONE} dns_failed at {B}, likely 0x8007232D; "
        f"{THIRD}:1688 target_unresolvable at {A}; "
        f"{ZONE} degraded at {A}; {ZONE} lacks {THIRD}:1688; {ZONE} has unexpected {OTHER}:1688; "
        "192.0.2.9:1689 unknown"
    )
    assert performance == (
        f"'{ZONE} {A} hosts_up'=1;;;0;2 '{ZONE} {A} lookup'=0.002000s;;;0 "
        f"'{ZONE} {B} hosts_up'=0;;;0;0 '{ZONE} {B} lookup'=0.001000s;;;0 "
        f"'{SITE} {A} hosts_up'=0;;;0;0 '{SITE} {A} lookup'=0.020000s;;;0 "
        f"'{TARGET}:1688 192.0.2.1 connect'=0.003000s;;;0 '{TARGET}:1688 192.0.2.1 rpc_bind'=0.004000s;;;0"
    )
    assert re.fullmatch(f"{PERFDATA.pattern}( {PERFDATA.pattern})*", performance)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (snapshot(zone_at(record()), probes={TARGET: None}), "KMS OK - 1 checked"),
        (
            snapshot(
                zone_at(status=LookupStatus.NXDOMAIN, expected=[]),
                clients={"laptop": [zone_at(record())]},
                probes={TARGET: None},
            ),
            "KMS OK - 2 checked",
        ),
        (
            snapshot(published(ZONE, {A: aa(record()), B: aa(record(weight=1))}), probes={TARGET: None}),
            f"KMS WARNING - {ZONE} differs between DNS servers",
        ),
        (
            snapshot(zone_at(record()), probes={TARGET: "not_allowed"}),
            f"KMS UNKNOWN - {ZONE} unknown at {A}",
        ),
        (
            snapshot(clients={"a|b": [zone_at(record())]}, probes={TARGET: "timeout"}),
            f"KMS CRITICAL - client a/b port_filtered at {A}, likely 0xC004F074",
        ),
        (
            snapshot(clients={"laptop": [zone_at(status=LookupStatus.NXDOMAIN)]}),
            f"KMS CRITICAL - client laptop srv_missing at {A}, likely 0x8007232B",
        ),
        (
            snapshot(clients={"laptop": [zone_at(record())]}, probes={TARGET: "not_allowed"}),
            f"KMS UNKNOWN - client laptop unknown at {A}",
        ),
        (
            snapshot(static_hosts=[host("192.0.2.9")], probes={"192.0.2.9": "timeout"}),
            "KMS CRITICAL - 192.0.2.9:1688 port_filtered",
        ),
        (
            snapshot(static_hosts=[host()], probes={TARGET: "rpc_busy"}),
            f"KMS CRITICAL - {TARGET}:1688 kms_silent at {A} | ",
        ),
        (Snapshot(), "KMS UNKNOWN - "),
    ],
)
def test_nagios_line(seen: Snapshot, expected: str) -> None:
    """The line begins with its status, and has at most one bar, before the performance data."""
    line = as_nagios(report_of(seen))
    assert line.startswith(expected)
    summary, bar, performance = line.partition("|")
    assert "|" not in performance
    assert line == line.strip()
    if bar:
        assert summary.endswith(" ")
        assert re.fullmatch(f" {PERFDATA.pattern}( {PERFDATA.pattern})*", performance)


def test_nagios_measures_handshakes_that_lead_nowhere() -> None:
    """A handshake is measured also where no KMS answered after it."""
    line = as_nagios(report_of(snapshot(zone_at(record()), probes={TARGET: "rpc_timeout"})))
    assert f"'{TARGET}:1688 192.0.2.1 connect'=0.003000s" in line
    assert "rpc_bind'" not in line


def test_nagios_line_of_a_summary() -> None:
    """A bar in a summary does not begin performance data."""
    assert nagios_line(UNKNOWN, "a | b") == "KMS UNKNOWN - a / b"


# --- Text


def test_text_of_everything() -> None:
    """The text has a part for each zone at each DNS server, static host and client, and counts them."""
    text = text_of(report_of(MIXED))
    lines = text.splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings == [
        f"{ZONE} at {A}",
        f"{ZONE} at {B}",
        f"{ZONE} is not as it should be",
        f"{SITE} at {A}",
        "192.0.2.9:1689, assigned by hand",
        f"{THIRD}:1688, assigned by hand at {A}",
        f"client laptop at {A}: {ZONE}",
        "5 checked: 2 ok, 2 failed, 1 unknown",
    ]
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in text


def test_text_of_a_zone() -> None:
    """A zone has its ladder, its records with what became of them, the verdict, and what to do."""
    report = report_of(
        snapshot(
            zone_at(record(weight=1), record(OTHER, weight=3), record(THIRD), record(".", 0)),
            probes={TARGET: None, OTHER: "rpc_timeout"},
        )
    )
    rows = [re.split(r"\s{2,}", line.strip()) for line in text_of(report).splitlines()]
    assert rows[:6] == [
        [f"{ZONE} at {A}"],
        ["✓", "DNS server answers", "20.00 ms, authoritative"],
        ["✓", "SRV records", "4, TTL 60 s"],
        ["!", "Targets resolve", "2 of 3"],
        ["✓", "TCP port is open", "2 of 2"],
        ["!", "KMS answers", "1 of 2"],
    ]
    assert rows[7:12] == [
        ["priority", "weight", "port", "target", "address", "TCP", "KMS"],
        ["0", "0", "0", "."],
        ["0", "0", "1688", THIRD, "none (nxdomain)"],
        ["0", "1", "1688", TARGET, "192.0.2.1", "3.00 ms", "4.00 ms"],
        ["0", "3", "1688", OTHER, "192.0.2.2", "3.00 ms", "rpc_timeout"],
    ]
    text = text_of(report)
    assert "Verdict: degraded," in text
    assert "First attempts that work: 20% by priority and weight, 25% of clients" in text
    assert "        net stop sppsvc\n" in text


def test_text_where_only_some_chances_are_known() -> None:
    """A backup that nobody could look at leaves the chance open that a client takes any record."""
    seen = snapshot(
        zone_at(record(), record(THIRD), record(OTHER, priority=10)),
        probes={TARGET: None, OTHER: "not_allowed"},
    )
    report = report_of(seen)
    assert report.status is DEGRADED
    text = text_of(report)
    assert "Verdict: degraded," in text
    assert "First attempts that work: 50% by priority and weight\n" in text
    assert json.loads(as_json(report))["zones"][0]["dns_servers"][0]["first_attempt_success_ratio"] == {
        "rfc2782": 0.5
    }


@pytest.mark.parametrize(
    ("records", "verdict", "chances"),
    [
        ([record(), record(".", 0)], "ok", "50% by priority and weight, 50% of clients that take any record"),
        (
            [record(), record(".", 0, priority=1)],
            "ok",
            "100% by priority and weight, 50% of clients that take any record",
        ),
        (
            [record(), record(OTHER, 0)],
            "degraded",
            "50% by priority and weight, 50% of clients that take any record",
        ),
        ([record()], "ok", None),
        ([record(port=0)], "port_closed", None),
    ],
)
def test_text_of_chances(records: Sequence[Record], verdict: str, chances: str | None) -> None:
    """The chances of a first attempt are told where clients are served, but not all of them at once."""
    text = text_of(report_of(snapshot(zone_at(*records), probes={TARGET: None})))
    assert f"Verdict: {verdict}," in text
    told = [line.strip() for line in text.splitlines() if "First attempts" in line]
    assert told == ([f"First attempts that work: {chances}"] if chances else [])


def test_text_of_dot_beside_a_host() -> None:
    """A zone where a client may take a record that declines is well, and is told what to do about it."""
    report = report_of(snapshot(zone_at(record(), record(".", 0)), probes={TARGET: None}))
    assert report.status is OK
    [step] = report.zones[0].servers[0].steps
    assert f"    [DNS] {step.text}\n" in text_of(report)


@pytest.mark.parametrize(
    "lookup",
    [aa(status=LookupStatus.NXDOMAIN), aa(status=LookupStatus.NODATA), aa(record(".", 0))],
)
def test_nothing_expected_and_nothing_published(lookup: SrvLookup) -> None:
    """A zone where nothing should be published, and nothing is, is well, and no error is spoken of."""
    report = report_of(snapshot(published(ZONE, {A: lookup}, [])))
    [server] = report.zones[0].servers
    assert (report.status, server.status, server.steps, report.zones[0].remarks) == (OK, OK, (), ())
    text = text_of(report)
    assert "as it should be" in text
    assert "Likely on" not in text
    assert "What to do next" not in text
    assert as_nagios(report).startswith("KMS OK - 1 checked")
    assert "as it should be" not in text_of(report_of(snapshot(published(ZONE, {A: lookup}))))


def test_text_of_a_client_that_is_served() -> None:
    """A client that is served is shown with the suffix that won and the verdict, and no more."""
    seen = snapshot(
        clients={"laptop": [published(SITE, {A: aa(status=LookupStatus.NXDOMAIN)}), zone_at(record())]},
        probes={TARGET: None},
    )
    assert text_of(report_of(seen)) == (f"client laptop at {A}: {ZONE}\n  Verdict: ok, every host is up\n\n")


@pytest.mark.parametrize(
    ("suffixes", "title", "rungs", "said"),
    [
        (
            [published(SITE, {A: aa(status=LookupStatus.NXDOMAIN)}), zone_at(record(), record(OTHER))],
            ZONE,
            "✓✓✓!✓",
            ["Verdict: degraded,", f"{OTHER}:1688 refuses", "First attempts that work: 50%"],
        ),
        (
            [zone_at(record(OTHER))],
            ZONE,
            "✓✓✓✗-",
            [
                "Verdict: port_closed,",
                "0xC004F074 (SL_E",
                "192.0.2.2  connection_refused",
                "net start sppsvc",
            ],
        ),
        (
            [zone_at(status=LookupStatus.NODATA), published(SITE, {A: aa(status=LookupStatus.SERVFAIL)})],
            f"no record, {SITE} decides",
            "✗----",
            ["Verdict: dns_failed,", "0x8007232A (DNS_ERROR", f"_vlmcs._tcp.{SITE} {A}"],
        ),
        (
            [zone_at(status=LookupStatus.NXDOMAIN), published(SITE, {A: aa(status=LookupStatus.NODATA)})],
            f"no record, {ZONE} decides",
            "✓✗---",
            ["Verdict: srv_missing,", "0x8007232B (DNS_ERROR", "0x80092328", f"_vlmcs._tcp.{ZONE} {A}"],
        ),
    ],
)
def test_text_of_a_client_that_is_not_served(
    suffixes: Sequence[ZoneView], title: str, rungs: str, said: Sequence[str]
) -> None:
    """A client that is not served, or not always, is shown the suffix that decided, in full."""
    seen = snapshot(clients={"laptop": suffixes}, probes={TARGET: None, OTHER: "connection_refused"})
    text = text_of(report_of(seen))
    lines = text.splitlines()
    assert lines[0] == f"client laptop at {A}: {title}"
    assert "".join(line.split()[0] for line in lines[1:6]) == rungs
    assert [phrase for phrase in said if phrase not in text] == []
    assert "What to do next:" in text


@pytest.mark.parametrize(
    ("probes", "rows"),
    [
        ({TARGET: "timeout"}, [["192.0.2.1", "timeout"]]),
        ({TARGET: "not_rpc"}, [["192.0.2.1", "3.00 ms", "not_rpc"]]),
        ({}, [["none (nxdomain)"]]),
    ],
)
def test_text_of_a_static_host(probes: Mapping[str, str], rows: list[list[str]]) -> None:
    """A static host has its addresses with how far each probe got."""
    text = text_of(report_of(snapshot(static_hosts=[host()], probes=probes)))
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert lines[0] == [f"{TARGET}:1688, assigned by hand at {A}"]
    assert [line for line in lines if line in rows] == rows
    assert "0xC004F074 (SL_E_VL_BINDING_SERVICE_UNAVAILABLE)" in text
    assert "checked:" not in text


def test_text_of_what_was_not_looked_at() -> None:
    """A host or address without a result is shown as that."""
    unseen = Snapshot(zones=(zone_at(record()),))
    assert re.search(rf"{TARGET}  unknown$", text_of(make_report(unseen, hosts=())), re.MULTILINE)
    silent = snapshot(static_hosts=[host("192.0.2.9")])
    assert re.search(r"^  192\.0\.2\.9$", text_of(report_of(silent)), re.MULTILINE)


def test_text_without_rpc_bind() -> None:
    """A probe that ended with the handshake shows its time, and nothing of KMS."""
    seen = snapshot(zone_at(record()), rpc_bind=False, probes={TARGET: None})
    up = endpoint_view(probed(endpoint(), rpc_bind_seconds=None))
    text = text_of(
        report_of(Snapshot(zones=seen.zones, targets=seen.targets, endpoints=(up,), rpc_bind=False))
    )
    assert re.search(r"192\.0\.2\.1  3\.00 ms$", text, re.MULTILINE)
    assert re.search(r"\? +KMS answers", text)


@pytest.mark.parametrize(
    ("encoding", "marks"),
    [("utf-8", {"✓", "✗", "-"}), ("ascii", {"+", "x", "-"}), ("cp1252", {"+", "x", "-"})],
)
def test_marks(encoding: str, marks: set[str]) -> None:
    """The marks of the ladder are such as the stream can carry."""
    text = text_of(report_of(snapshot(zone_at(record()), probes={TARGET: "timeout"})), encoding)
    assert {line.split()[0] for line in text.splitlines()[1:6]} == marks


def test_stream_without_encoding() -> None:
    """A stream that does not say what it can carry gets plain marks."""
    stream = io.StringIO()
    write_text(report_of(snapshot(zone_at(record()), probes={TARGET: None})), stream)
    assert "  +  KMS answers" in stream.getvalue()


def test_what_looks_like_markup() -> None:
    """Names are shown as they are, whatever they would mean to the library that draws."""
    name = "[red]x[/] :smile: {0} \\["
    report = report_of(snapshot(clients={name: [zone_at(record())]}, probes={TARGET: None}))
    for terminal in (False, True):
        assert name in text_of(report, terminal=terminal)


def test_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the verdict is coloured, and lines are as wide as it is, but for commands."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen = snapshot(zone_at(record()), probes={TARGET: "timeout"})
    text = text_of(report_of(seen), terminal=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    report = report_of(seen)
    typed = {command for step in report.zones[0].servers[0].steps for command in step.commands}
    lines = [line for line in plain.splitlines() if line.strip() not in typed]
    assert max(map(len, lines)) <= 40
    assert {line.strip() for line in plain.splitlines()} >= typed
    assert max(map(len, typed)) > 40
    assert "\x1b[1;31mport_filtered\x1b[0m" in text


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_pipe(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """What is no terminal gets no escape codes, whatever the environment says, and its lines whole."""
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("COLUMNS", "40")
    text = text_of(report_of(MIXED))
    assert "\x1b" not in text
    assert text == text_of(report_of(MIXED), "utf-8")
    assert max(map(len, text.splitlines())) > 100

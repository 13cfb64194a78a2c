"""Tests of what the status page shows, as values: words, drawings, order, filters, records and endpoints."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from exporter.diagnosis import Verdict
from exporter.history import Streak
from exporter.model import Host, IgnoredReason, LookupStatus, ProbeFailure
from exporter.report import make_report
from exporter.state import ServerView, Snapshot, ZoneView
from exporter.web.pages.cards import Cards, make_cards
from exporter.web.pages.detail import Detail, make_detail
from exporter.web.pages.finding import BadQueryError, Query, parse_query
from exporter.web.pages.overview import MAX_UNFOLDED, Overview, make_overview
from exporter.web.pages.sparkline import sparkline
from exporter.web.words import Tone, in_words, moment
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
OTHER = "kms2.contoso.test"
NOW = 1_700_000_000.0


def at(dns_server: str, *records: Any, **fields: Any) -> ServerView:
    """Show what a zone's DNS server answered."""
    return ServerView(dns_server=dns_server).after(answer(*records, **fields))


def snapshot(*zones: ZoneView, down: Sequence[str] = (), **fields: Any) -> Snapshot:
    """Show zones whose targets kms1 and kms2 have an address each; those in `down` time out."""
    found = {TARGET: "192.0.2.1", OTHER: "192.0.2.2"}
    probes = [
        probed(endpoint(target, address=address), ProbeFailure.TIMEOUT if target in down else None)
        for target, address in found.items()
    ]
    defaults: dict[str, Any] = {
        "targets": tuple(
            (label, addresses(target, address)) for label in (A, B) for target, address in found.items()
        ),
        "endpoints": tuple(endpoint_view(probe) for probe in probes),
    }
    return Snapshot(zones=zones, **defaults | fields)


def cards_of(seen: Snapshot, streaks: dict[tuple[str, str], Streak] | None = None) -> Cards:
    """List all that a snapshot shows."""
    report = make_report(seen, hosts={view.host for view in seen.static_hosts})
    return make_cards(seen, report, streaks or {}, now=NOW)


def overview_of(seen: Snapshot, query: Query | None = None) -> Overview:
    """Show a snapshot as the status page does."""
    return make_overview(cards_of(seen), seen, query or Query(), now=NOW)


def detail_of(seen: Snapshot) -> Detail:
    """Unfold the only zone of a snapshot."""
    [card] = cards_of(seen).zones
    return make_detail(card, {view.endpoint: view for view in seen.endpoints}, now=NOW)


GOOD = zone_view("good.test", at(A, record()))
HALF = zone_view("half.test", at(A, record(), record(OTHER)))
GONE = zone_view("gone.test", at(A, status=LookupStatus.NXDOMAIN))
ROGUE = zone_view("rogue.test", at(A, record()), expected=frozenset[Host]())
LOCAL = zone_view("local.test", at(A, record("kms9.test")))
MAK = zone_view("mak.test", at(A, status=LookupStatus.NXDOMAIN), expected=frozenset[Host]())
NEW = zone_view("new.test", ServerView(dns_server=A))


# --- Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (3 * 3600 + 12 * 60 + 59, "3 h 12 min"),
        (86400 + 60, "1 d"),
        (400 * 86400 + 7200, "400 d 2 h"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    """A duration is written in its two largest units."""
    assert in_words(seconds) == words


def test_moment() -> None:
    """A time is told in UTC, and one that lies in the future by the clock is now."""
    then = moment(NOW - 90, now=NOW)
    assert (then.iso, then.clock) == ("2023-11-14T22:11:50Z", "2023-11-14 22:11:50 UTC")
    assert then.lasted == "1 min 30 s"
    assert moment(NOW + 90, now=NOW).lasted == "0 s"


# --- Drawing


@pytest.mark.parametrize(
    ("seconds", "line", "misses", "label"),
    [
        ([0.001], "M118 2h0", "", "the last probe, 1.00 ms"),
        ([math.nan], "", "M118 24v-8", "the last probe, 1 failed"),
        ([0.001, 0.002], "M114 12L118 2", "", "the last 2 probes, 1.00 to 2.00 ms"),
        ([0.0, 0.0], "M114 22L118 22", "", "the last 2 probes, 0.00 ms"),
        (
            [0.004, math.nan, 0.002, 0.001],
            "M106 2h0M114 12L118 17",
            "M110 24v-8",
            "the last 4 probes, 1.00 to 4.00 ms, 1 failed",
        ),
    ],
)
def test_sparkline(seconds: list[float], line: str, misses: str, label: str) -> None:
    """Round trips make a line from 0 up, newest at the right, which breaks where a probe failed."""
    drawing = sparkline(seconds)
    assert drawing
    assert (drawing.line, drawing.misses, drawing.label) == (line, misses, label)


def test_sparkline_of_nothing() -> None:
    """There is no drawing before the first probe, and of many probes the last thirty are drawn."""
    assert sparkline([]) is None
    drawing = sparkline([math.nan] * 40)
    assert drawing
    assert drawing.misses.count("M") == 30
    assert drawing.misses.startswith("M2 ")


# --- Order and sentences


def test_order() -> None:
    """Trouble comes first, the worst at the top; then what is not checked yet, then what is well."""
    refused = probed(endpoint("kms9.test", address="192.0.2.9"), ProbeFailure.NOT_ALLOWED)
    known = snapshot(GOOD, NEW, HALF, LOCAL, GONE, replace(GONE, zone="a.test"), ROGUE, down=[OTHER])
    seen = replace(
        known,
        targets=(*known.targets, (A, addresses("kms9.test", "192.0.2.9"))),
        endpoints=(*known.endpoints, endpoint_view(refused)),
    )
    found = [(card.name, card.tone.value) for card in cards_of(seen).zones]
    assert found == [
        ("a.test", "failed"),
        ("gone.test", "failed"),
        ("local.test", "unknown"),
        ("half.test", "degraded"),
        ("rogue.test", "degraded"),
        ("new.test", "unchecked"),
        ("good.test", "ok"),
    ]


@pytest.mark.parametrize(
    ("zones", "sentence", "tone"),
    [
        ([], "No zones are watched", Tone.UNCHECKED),
        ([NEW], "Not checked yet: 1 zone", Tone.UNCHECKED),
        ([NEW, replace(NEW, zone="newer.test")], "Not checked yet: 2 zones", Tone.UNCHECKED),
        ([GOOD], "The zone is as it should be", Tone.OK),
        ([GOOD, MAK], "All 2 zones are as they should be", Tone.OK),
        ([GOOD, NEW], "1 of 2 zones is as it should be, 1 is not checked yet", Tone.UNCHECKED),
        ([GONE], "1 of 1 zone has trouble", Tone.FAILED),
        ([GONE, ROGUE, GOOD], "2 of 3 zones have trouble", Tone.FAILED),
        ([ROGUE, NEW], "1 of 2 zones has trouble, 1 is not checked yet", Tone.DEGRADED),
    ],
)
def test_sentence(zones: list[ZoneView], sentence: str, tone: Tone) -> None:
    """One sentence says how many zones have trouble, and its symbol how bad the worst is."""
    shown = overview_of(snapshot(*zones))
    assert (shown.sentence, shown.tone) == (sentence, tone)


def test_static_hosts_and_clients_have_sentences() -> None:
    """Static hosts and kinds of clients are summed up apart from zones, where there are any."""
    seen = snapshot(
        GOOD,
        static_hosts=(static_host_view(host(), A), static_host_view(host("kms8.test"))),
        clients=(client_view(GONE, GOOD),),
    )
    shown = overview_of(seen)
    assert shown.asides == (
        "1 of 2 static hosts is as it should be, 1 is not checked yet",
        "The kind of client is as it should be",
    )
    assert overview_of(snapshot(GOOD)).asides == ()


# --- Rows


def test_row_of_trouble() -> None:
    """A row has the verdict, the likely code, since when, and the first step without its colon."""
    streak = Streak(verdict=Verdict.SRV_MISSING, since=NOW - 60)
    [card] = cards_of(snapshot(GONE), {("gone.test", A): streak}).zones
    [row] = card.rows
    assert (row.verdict, row.tone, row.dns_server) == ("srv_missing", Tone.FAILED, A)
    assert row.error
    assert row.error.shown.code == "0x8007232B"
    assert row.since
    assert row.since.lasted == "1 min"
    assert row.step.endswith("Ask it yourself.")
    assert row.more == 1


def test_row_of_nothing_expected() -> None:
    """Nothing published where nothing should be is as it should be, and has no code."""
    [card] = cards_of(snapshot(MAK)).zones
    [row] = card.rows
    assert (row.verdict, row.tone, row.error, row.step) == ("srv_missing", Tone.OK, None, "")
    assert row.meaning == "nothing is published, as it should be"


def test_streak_of_another_verdict() -> None:
    """A streak that has not caught up with the verdict says nothing of it."""
    streak = Streak(verdict=Verdict.OK, since=NOW - 60)
    [card] = cards_of(snapshot(GONE), {("gone.test", A): streak}).zones
    assert card.rows[0].since is None


def test_rows_before_the_first_check() -> None:
    """Each DNS server has a row before it is asked, and a zone whose servers are not known yet has one."""
    half_checked = zone_view("a.test", at(A, record()), ServerView(dns_server=B))
    seen = snapshot(half_checked, NEW, zone_view("zzz.test"))
    rows = {card.name: [(row.dns_server, row.verdict) for row in card.rows] for card in cards_of(seen).zones}
    assert rows == {
        "a.test": [(A, "ok"), (B, "not checked yet")],
        "new.test": [(A, "not checked yet")],
        "zzz.test": [("", "not checked yet")],
    }


def test_client_row() -> None:
    """A kind of client says which suffix it finds, or which one decides that it finds none."""
    seen = snapshot(clients=(client_view(GONE, GOOD, client="finds"), client_view(GONE, client="finds-none")))
    rows = {card.name: card.rows[0].meaning for card in cards_of(seen).clients}
    assert rows == {
        "finds": "finds good.test: every host is up",
        "finds-none": "gone.test decides: no host is published",
    }


def test_identities() -> None:
    """Whatever the name, the element of a card has an id without spaces, and no two have the same."""
    seen = snapshot(
        zone_view("x"),
        static_hosts=(static_host_view(host("2001:db8::1")), static_host_view(host("x", 1))),
        clients=tuple(client_view(GOOD, client=name) for name in ("x", "a b", "a%20b", "\u05d0\u202e")),
    )
    cards = cards_of(seen)
    found = [card.identity for card in (*cards.zones, *cards.static_hosts, *cards.clients)]
    assert len(set(found)) == len(found) == 7
    assert not [each for each in found if any(char.isspace() for char in each)]


# --- Looking for something


SEEN = snapshot(
    zone_view("contoso.test", at(A, record()), labels={"team": "Workplace EMEA"}),
    zone_view("xn--mnchen-3ya.test", at(B, record(OTHER, 1689), record("kms5.test", 0))),
    zone_view("gone.test", at(A), vanished=frozenset({host("old.test")})),
    static_hosts=(static_host_view(host("2001:db8::5"), ""),),
    clients=(client_view(zone_view("Branch.test", at(A, record())), client="\u05d0 Laptop"),),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("contoso", {"contoso.test", "xn--mnchen-3ya.test", "\u05d0 Laptop"}),
        ("CONTOSO.TEST", {"contoso.test", "xn--mnchen-3ya.test", "\u05d0 Laptop"}),
        ("emea", {"contoso.test"}),
        ("workplace e", {"contoso.test"}),
        ("192.0.2.54", {"xn--mnchen-3ya.test"}),
        ("192.0.2.2", {"xn--mnchen-3ya.test"}),
        (":1689", {"xn--mnchen-3ya.test"}),
        ("kms5", {"xn--mnchen-3ya.test"}),
        ("M\u00dcNCH", {"xn--mnchen-3ya.test"}),
        ("m\u00fcnchen.test", {"xn--mnchen-3ya.test"}),
        ("XN--mnchen", {"xn--mnchen-3ya.test"}),
        ("old.test", {"gone.test"}),
        ("[2001:db8", {"[2001:db8::5]:1688"}),
        ("laptop", {"\u05d0 Laptop"}),
        ("branch.test", {"\u05d0 Laptop"}),
        ("no such thing", set()),
        ("\u2603", set()),
    ],
)
def test_search(text: str, found: set[str]) -> None:
    """A text is found in names, hosts, addresses, DNS servers and labels; a name in either spelling."""
    cards = cards_of(SEEN)
    everything = (*cards.zones, *cards.static_hosts, *cards.clients)
    assert {card.name for card in everything if Query(text=text).finds(card)} == found


@pytest.mark.parametrize(
    ("verdict", "found"),
    [
        ("", {"good.test", "half.test", "gone.test", "mak.test", "new.test", "rogue.test"}),
        ("trouble", {"half.test", "gone.test", "rogue.test"}),
        ("ok", {"good.test", "rogue.test"}),
        ("degraded", {"half.test"}),
        ("srv_missing", {"gone.test", "mak.test"}),
        ("unchecked", {"new.test"}),
        ("not_kms", set()),
    ],
)
def test_filter(verdict: str, found: set[str]) -> None:
    """A verdict leaves the zones that have it at some DNS server; trouble, all that have any."""
    seen = snapshot(GOOD, HALF, GONE, MAK, NEW, ROGUE, down=[OTHER])
    shown = overview_of(seen, Query(verdict=verdict))
    assert {card.name for card in shown.zones.cards} == found
    numbers = {each.query.verdict: each.number for each in shown.filters}
    assert numbers[verdict] == len(found)
    assert [each.query.verdict for each in shown.filters if each.current] == [verdict]


def test_filters_keep_the_text() -> None:
    """Filters combine with what is searched for: they count what it finds, and their links keep it."""
    seen = snapshot(GOOD, GONE, zone_view("good.example", at(A)))
    shown = overview_of(seen, Query(text="good", verdict="ok"))
    assert shown.shown == "Shown: 1 of 3 zones"
    assert [(each.query.parameters, each.number) for each in shown.filters] == [
        ("?q=good", 2),
        ("?q=good&verdict=trouble", 1),
        ("?q=good&verdict=ok", 1),
        ("?q=good&verdict=srv_missing", 1),
    ]


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ({}, Query()),
        ({"q": "  a b ", "verdict": "", "other": "x"}, Query(text="a b")),
        ({"q": "<&>", "verdict": "port_closed"}, Query(text="<&>", verdict="port_closed")),
    ],
)
def test_parse_query(parameters: dict[str, str], query: Query) -> None:
    """What is looked for is read from the URL, spaces around it cut off."""
    assert parse_query(parameters) == query


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"verdict": "bad"}, "verdict must be one of degraded, dns_failed, kms_silent, not_kms, ok, "),
        ({"q": "x" * 301}, "q is longer than 300 characters"),
    ],
)
def test_bad_query(parameters: dict[str, str], why: str) -> None:
    """A verdict that there is not, or too long a text, is refused with the reason."""
    with pytest.raises(BadQueryError) as refused:
        parse_query(parameters)
    assert str(refused.value).startswith(why)


def test_quoting() -> None:
    """Whatever is searched for stands in a link as data."""
    assert Query(text='a&b="<\u05d0').parameters == "?q=a%26b%3D%22%3C%D7%90"


# --- What a card unfolds to


def test_records() -> None:
    """Records are listed once, with who publishes them and whether that is expected; then what is gone."""
    view = zone_view(
        ZONE,
        at(A, record(), record("rogue.test", priority=5, weight=7)),
        at(B, record()),
        expected=frozenset({host(), host(OTHER)}),
        vanished=frozenset({host("old.test")}),
        vanished_at={host("old.test"): NOW - 3600},
    )
    rows = detail_of(snapshot(view)).records
    assert [(row.target, row.priority, row.weight, row.servers) for row in rows] == [
        (TARGET, "0", "0", ()),
        ("rogue.test", "5", "7", (A,)),
        (OTHER, "", "", ()),
        ("old.test", "", "", ()),
    ]
    notes = {
        row.target: [(note.text, note.since and note.since.lasted) for note in row.notes] for row in rows
    }
    assert notes == {
        TARGET: [("expected", None)],
        "rogue.test": [("unexpected", None)],
        OTHER: [("expected, and missing", None), ("record gone, host answers", None)],
        "old.test": [("vanished", "1 h")],
    }


def test_records_of_the_last_usable_answer() -> None:
    """While lookups fail, records are marked as those of the last usable answer; port 0 leads nowhere."""
    failing = at(A, record()).after(answer(status=LookupStatus.SERVFAIL))
    portless = at(A, record("kms5.test", 0))
    notes = [
        [note.text for row in detail_of(snapshot(zone_view(ZONE, view))).records for note in row.notes]
        for view in (failing, portless, at(A, record()))
    ]
    assert notes == [["by the last usable answer"], ["port 0 leads nowhere"], []]


def test_endpoint_that_was_one_too_many() -> None:
    """An endpoint that no check had room for is not said to have failed, but which limit it was."""
    cut = probed(endpoint(), ProbeFailure.NOT_ALLOWED, ignored=IgnoredReason.PROBES_PER_CHECK)
    seen = snapshot(GOOD, endpoints=(endpoint_view(cut),))
    note = detail_of(seen).endpoints[0].note
    assert (note.tone, note.text) == (Tone.UNKNOWN, "not probed: limits.probes_per_check")


def test_endpoints() -> None:
    """Each address of a host has its times, its state and who gave it; a host without one says why."""
    view = zone_view(ZONE, at(A, record(), record(OTHER)), at(B, record(), record(OTHER)))
    seen = snapshot(
        view,
        targets=(
            (A, addresses(TARGET, "192.0.2.1", "192.0.2.7")),
            (B, addresses(TARGET, "192.0.2.1")),
            (A, addresses(OTHER)),
        ),
        endpoints=(
            endpoint_view(probed(endpoint(address="192.0.2.1")), recent=[0.003, math.nan]),
            endpoint_view(probed(endpoint(address="192.0.2.7"), ProbeFailure.RPC_TIMEOUT)),
        ),
    )
    rows = [
        (row.host, row.address, row.servers, row.connect, row.bind, row.note.text)
        for row in detail_of(seen).endpoints
    ]
    assert rows == [
        (f"{TARGET}:1688", "192.0.2.1", (), "3.00 ms", "4.00 ms", "up"),
        (f"{TARGET}:1688", "192.0.2.7", (A,), "3.00 ms", "", "rpc_timeout"),
        (f"{OTHER}:1688", "", (A,), "", "", "no address (nxdomain)"),
        (f"{OTHER}:1688", "", (B,), "", "", "not looked up yet"),
    ]
    drawn = detail_of(seen).endpoints[0].recent
    assert drawn
    assert drawn.label == "the last 2 probes, 3.00 ms, 1 failed"


def test_static_host_unfolds() -> None:
    """A static host unfolds to its addresses and the rungs from its name on; it has no records."""
    seen = snapshot(static_hosts=(static_host_view(host(), A, B),), down=[TARGET])
    shown = overview_of(seen)
    [card] = shown.static_hosts.cards
    detail = shown.static_hosts.details[card.identity]
    assert detail.records == ()
    assert [row.address for row in detail.endpoints] == ["192.0.2.1"]
    assert [server.rungs[0].rung.name for server in detail.servers] == ["Targets resolve"] * 2
    assert {server.rungs[1].word for server in detail.servers} == {"fails"}
    assert detail.servers[0].steps


def test_only_the_first_unfold_in_place() -> None:
    """Of very many zones only the first carry what they unfold to."""
    zones = [zone_view(f"site{number:03}.test", at(A, record())) for number in range(500)]
    shown = overview_of(snapshot(*zones))
    assert list(shown.zones.details) == [card.identity for card in shown.zones.cards[:MAX_UNFOLDED]]

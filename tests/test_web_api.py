"""Tests of the status as JSON: its shape is that of the schema, and it says what the page says."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import jsonschema
import pytest

from exporter.diagnosis import Verdict
from exporter.history import History, Streak
from exporter.model import Host, LookupStatus, ProbeFailure
from exporter.report import make_report
from exporter.report.machine import as_json
from exporter.state import ServerView, Snapshot, State, ZoneView
from exporter.web import Backend
from exporter.web.pages.api import status_document
from exporter.web.pages.cards import Streaks
from exporter.web.pages.finding import Query
from tests.builders import (
    TARGET,
    ZONE,
    addresses,
    answer,
    at_server,
    client_view,
    configure,
    endpoint,
    endpoint_view,
    host,
    probed,
    record,
    static_host_view,
    zone_check,
    zone_view,
)
from tests.services import ROOT
from tests.test_report import MIXED
from tests.test_web import Client, backend, visit

A, B = "192.0.2.53", "192.0.2.54"
NOW = 1_700_000_000.0
SCHEMA = json.loads((ROOT / "deploy/status.schema.json").read_text(encoding="utf-8"))
HOSTILE = "<script>\"\\'&\u202e\u05d0\u2028\x00\n"


def document(seen: Snapshot, query: Query | None = None, streaks: Streaks | None = None) -> dict[str, Any]:
    """Make the document of a snapshot, held to the schema."""
    made = status_document(seen, streaks or {}, query or Query(), ready=True, now=NOW)
    read: dict[str, Any] = json.loads(json.dumps(made))
    jsonschema.Draft202012Validator(SCHEMA).validate(read)
    return read


def zone_at(name: str, *records: Any, **fields: Any) -> ZoneView:
    """Show a zone as one DNS server answered for it."""
    status = fields.pop("status", None)
    return zone_view(name, ServerView(dns_server=A).after(answer(*records, status=status)), **fields)


def test_schema_is_strict() -> None:
    """The schema is valid, and every object in it says exactly which keys it has."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    loose = [
        each
        for each in objects(SCHEMA)
        if each.get("type") == "object" and "additionalProperties" not in each
    ]
    assert loose == []


def objects(value: object) -> list[dict[str, Any]]:
    """List all objects in a JSON value."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if isinstance(value, dict) else []), *(each for one in below for each in objects(one))]


FAILURES = [
    zone_at(f"{status}.test", status=status) for status in LookupStatus if status is not LookupStatus.OK
]
PROBES = {f"{failure}.test": failure for failure in ProbeFailure}


@pytest.mark.parametrize(
    "seen",
    [
        Snapshot(),
        MIXED,
        Snapshot(zones=(zone_view(ZONE), zone_view("new.test", ServerView(dns_server=A)))),
        Snapshot(zones=tuple(FAILURES)),
        Snapshot(
            zones=tuple(zone_at(f"zone.{name}", record(name)) for name in PROBES),
            targets=tuple((A, addresses(name, "192.0.2.1", alias_of="x.test")) for name in PROBES),
            endpoints=tuple(
                endpoint_view(probed(endpoint(name), failure)) for name, failure in PROBES.items()
            ),
        ),
        Snapshot(
            zones=(
                zone_at(
                    ZONE,
                    record("."),
                    expected=frozenset({host()}),
                    vanished=frozenset({host(), host("kms7.test")}),
                    vanished_at={host(): NOW},
                    last_check=NOW,
                    check_duration_seconds=0.5,
                ),
            ),
            static_hosts=(static_host_view(host("2001:db8::5"), "", last_check=NOW),),
            targets=(("", addresses("2001:db8::5", "2001:db8::5")),),
        ),
    ],
    ids=["nothing", "something of everything", "not checked", "lookups", "probes", "gone"],
)
def test_shape(seen: Snapshot) -> None:
    """Whatever was seen, the document has the documented shape."""
    found = document(seen)
    assert found["summary"]["zones"] == len(seen.zones)
    assert len(found["zones"]) == len(seen.zones)


def test_same_as_check() -> None:
    """A zone, static host or client has all that the check command says of it, with the same values."""
    report = make_report(MIXED, hosts={view.host for view in MIXED.static_hosts})
    checked, running = json.loads(as_json(report)), document(MIXED)
    for kind, name in (("zones", "zone"), ("static_hosts", "target"), ("clients", "client")):
        more = {each[name]: each for each in running[kind]}
        assert len(more) == len(checked[kind])
        for each in checked[kind]:
            assert holds(more[each[name]], each)


def holds(more: object, less: object) -> bool:
    """Tell whether a value has all that another has."""
    if isinstance(more, Mapping) and isinstance(less, Mapping):
        return all(key in more and holds(more[key], value) for key, value in less.items())
    if isinstance(more, list) and isinstance(less, list):
        return len(more) == len(less) and all(map(holds, more, less))
    return more == less


def test_what_only_a_running_exporter_knows() -> None:
    """A zone has its labels, when it was checked, what vanished when, and since when each verdict holds."""
    zone = zone_at(
        ZONE,
        labels={"team": "workplace"},
        vanished=frozenset({host()}),
        vanished_at={host(): NOW - 60},
        last_check=NOW - 5,
        check_duration_seconds=0.25,
    )
    streaks = {(ZONE, A): Streak(verdict=Verdict.SRV_MISSING, since=NOW - 90)}
    [found] = document(Snapshot(zones=(zone,)), streaks=streaks)["zones"]
    assert found["labels"] == {"team": "workplace"}
    assert (found["last_check"], found["check_duration_seconds"]) == (NOW - 5, 0.25)
    assert found["vanished"] == [{"host": f"{TARGET}:1688", "since": NOW - 60}]
    assert [each["since"] for each in found["dns_servers"]] == [NOW - 90]


def test_order_and_summary() -> None:
    """Trouble comes first, and the summary is about all zones whatever is looked for."""
    seen = Snapshot(
        zones=(
            zone_at("good.test", record()),
            zone_at("b.test"),
            zone_at("a.test"),
            zone_view("new.test"),
        ),
        targets=((A, addresses(TARGET, "192.0.2.1")),),
        endpoints=(endpoint_view(probed(endpoint())),),
        static_hosts=(static_host_view(host(), A), static_host_view(host("a.test"), A)),
    )
    summary = {"zones": 4, "trouble": 2, "by_verdict": {"ok": 1, "srv_missing": 2}}
    found = document(seen)
    assert [each["zone"] for each in found["zones"]] == ["a.test", "b.test", "new.test", "good.test"]
    assert found["summary"] == summary
    narrowed = document(seen, Query(text="a.test", verdict="trouble"))
    assert [each["zone"] for each in narrowed["zones"]] == ["a.test"]
    assert narrowed["summary"] == summary


def test_clients() -> None:
    """A kind of client has its suffixes in order and the one that won; both are found by name."""
    seen = Snapshot(
        clients=tuple(
            client_view(zone_at("gone.test"), zone_at("b.test", record()), client=name) for name in "xy"
        )
    )
    found = document(seen)["clients"]
    assert [(each["client"], each["suffixes"], each["zone"]) for each in found] == [
        (name, ["gone.test", "b.test"], "b.test") for name in "xy"
    ]
    streaks = {("client y", A): Streak(verdict=Verdict.UNKNOWN, since=NOW)}
    assert [each["since"] for each in document(seen, streaks=streaks)["clients"]] == [None, NOW]


def served() -> Backend:
    """Serve a zone with text of every unpleasant kind, as a state knows it after a check."""
    state = State()
    configure(state)
    history = History(state)
    check = zone_check(at_server(A, answer(record("\\060b\\062.test"))), at=NOW)
    state.apply_zone(check)
    history.note(check)
    snapshot = state.snapshot()
    [zone] = snapshot.zones
    hostile = replace(snapshot, zones=(replace(zone, labels={"team": HOSTILE}),))
    return replace(backend(snapshot=lambda: hostile, is_ready=lambda: False), history=history)


def test_answer() -> None:
    """The answer is JSON whatever the names hold, is not kept, and is compressed for who takes gzip."""

    async def get(client: Client) -> None:
        plain = await client.get("/api/v1/status?q=b")
        assert plain.status == HTTPStatus.OK
        assert (plain.content_type, plain.charset) == ("application/json", "utf-8")
        assert plain.headers["Cache-Control"] == "no-store"
        text = await plain.text()
        assert text.isascii()
        found = json.loads(text)
        jsonschema.Draft202012Validator(SCHEMA).validate(found)
        assert found["ready"] is False
        assert found["zones"][0]["labels"] == {"team": HOSTILE}
        assert found["zones"][0]["dns_servers"][0]["hosts"][0]["target"] == "\\060b\\062.test"
        assert found["zones"][0]["dns_servers"][0]["since"] == NOW
        packed = await client.get("/api/v1/status", headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(await packed.read()))["zones"] == found["zones"]
        head = await client.head("/api/v1/status?q=b")
        assert (head.status, await head.read()) == (HTTPStatus.OK, b"")

    visit(get, served())


def test_bad_query() -> None:
    """What cannot be looked for is refused in JSON too."""

    async def get(client: Client) -> None:
        refused = await client.get("/api/v1/status?verdict=bad")
        assert refused.status == HTTPStatus.BAD_REQUEST
        assert (await refused.json())["error"].startswith("verdict must be one of")

    visit(get)


@pytest.mark.parametrize("expected", [frozenset[Host](), frozenset({host()})])
def test_expected(expected: frozenset[Host]) -> None:
    """What should be published is a list, be it empty."""
    [found] = document(Snapshot(zones=(zone_at(ZONE, expected=expected),)))["zones"]
    assert found["expected"] == [f"{each.target}:{each.port}" for each in expected]

"""Every query of the dashboards, asked of a real Prometheus that scraped a real exporter.

The exporter looks at the embedded lab, which plays every standing situation, and at a zone on two BINDs in
which things change: records vanish, return and appear, a DNS server and a host fail and recover, a
configuration is refused. Every query is asked about several parts of that history, as Grafana would ask it.
"""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from exporter.demo import Lab as Situations
from tests.services import (
    LOOPBACK,
    ROOT,
    Exporter,
    Lab,
    Named,
    Prometheus,
    free_port,
    hurried_rules,
    srv,
    wait_until,
    zone,
    zone_file,
)

Json = dict[str, Any]

DASHBOARDS: dict[str, Json] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana").glob("kms-*.json"))
}
STEP_SECONDS = 1
RATE_INTERVAL_SECONDS = 10
ZONE = "contoso.test"


# --- The history


@contextlib.contextmanager
def situations() -> Iterator[Json]:
    """Play the lab on a thread of its own; gives the configuration that watches it."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    texts = []

    async def play() -> None:
        async with Situations() as lab:
            texts.append(lab.config_text)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(play()))
    thread.start()
    try:
        assert ready.wait(60)
        yield yaml.safe_load(texts[0])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A part of the history, in Unix time."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """How long it is."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A Prometheus with a past, and the parts of it that somebody may look at."""

    prometheus: Prometheus
    ranges: tuple[Range, ...]
    answers: dict[tuple[str, Range, bool], list[Json]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What there is to look at, and who looks."""

    prometheus: Prometheus
    exporter: Exporter
    servers: tuple[Named, Named]
    config: Json

    def see(self, expression: str) -> None:
        """Wait until Prometheus has seen something."""
        wait_until(lambda: self.prometheus.query(expression) or None, expression)


def configuration(played: Json, servers: tuple[Named, Named], silent: str, port: int) -> Json:
    """Let the exporter watch the lab and the changing zone, quickly, and with every kind of trouble."""
    asked = [server.server for server in servers]
    both = next(each["dns_servers"] for each in played["zones"] if "dns_servers" in each)
    agreeing = "healthy.kms.test"
    zones = [
        *(each | ({"dns_servers": both} if each["name"] == agreeing else {}) for each in played["zones"]),
        zone(ZONE, *asked, labels={"team": "workplace", "site": "ams"}),
        zone("unasked.test", silent),
    ]
    clients = [
        *played["clients"],
        {"name": "lost", "suffixes": ["nxdomain.kms.test"]},
        {"name": "second-best", "suffixes": ["degraded.kms.test"]},
        {"name": "moved", "suffixes": [ZONE], "dns_servers": asked},
    ]
    return played | {
        "interval": "1s",
        "timeout": "500ms",
        "limits": {"records_per_zone": 50},
        "zones": zones,
        "hosts": [*played["hosts"], f"{LOOPBACK}:{port}", "192.0.2.1:1688"],
        "clients": clients,
    }


@pytest.fixture(scope="module")
def history(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Make the history."""
    start = next_second()
    exporter_port = free_port()
    rules = hurried_rules(tmp_path_factory.mktemp("rules"))
    prometheus = module_lab.prometheus((LOOPBACK, exporter_port), rules=rules)
    wait_until(lambda: prometheus.query("up == 0") or None, "nothing there to scrape yet")
    unborn = next_second()

    refusing = module_lab.closed_port()
    always_up = module_lab.listener()
    hosts = (f"kms1 A {LOOPBACK}", f"kms2 A {LOOPBACK}", f"kms3 A {LOOPBACK}")
    records = (srv("kms1", refusing.port), srv("kms2", always_up.port))
    servers = (
        module_lab.named({ZONE: zone_file(*hosts, *records)}),
        module_lab.named({ZONE: zone_file(*hosts)}),
    )
    silent = module_lab.silent_dns_server().server
    with situations() as played:
        config = configuration(played, servers, silent, refusing.port)
        exporter = module_lab.exporter(config, port=exporter_port)
        world = World(prometheus=prometheus, exporter=exporter, servers=servers, config=config)
        world.see("up == 1")
        born = next_second()
        begin(world)
        whole = next_second()
        break_things(world, always_up.port)
        broken = next_second()
        refusing.close()
        module_lab.listener(port=refusing.port)
        mend_things(world, refusing.port, always_up.port)
        parts = ((start, unborn), (born, whole), (start, broken), (start, next_second()))
        yield History(prometheus=prometheus, ranges=tuple(Range(start=a, end=b) for a, b in parts))


def next_second() -> int:
    """Wait for the next full second, and tell which it is: whatever was seen until now was so by then."""
    second = int(time.time()) + 1
    time.sleep(max(0.0, second - time.time()))
    return second


def begin(world: World) -> None:
    """Wait until everything was looked at, for longer than a rate looks back, and alerts fire."""
    world.see(f'kms_dns_servers_agree{{dns_zone="{ZONE}"}} == 0')
    world.see(f'kms_host_up{{target="kms1.{ZONE}"}} == 0')
    world.see(f'kms_client_verdict{{dns_zone="{ZONE}"}} offset {RATE_INTERVAL_SECONDS}s')
    world.see('kms_client_profile_verdict{client="lost",verdict="srv_missing"} == 1')
    for alert in ("KmsHostDown", "KmsLastDnsServerDown", "KmsZoneWithoutWorkingHost"):
        world.see(f'ALERTS{{alertname="{alert}",alertstate="firing"}}')


def break_things(world: World, port: int) -> None:
    """Stop a DNS server, delete a record, and have a configuration refused."""
    first, second = world.servers
    second.kill()
    first.update(ZONE, f"delete _vlmcs._tcp.{ZONE} SRV 0 0 {port} kms2.{ZONE}.")
    world.exporter.write_config("zones: 1")
    world.see("kms_exporter_config_last_reload_successful == 0")
    world.see(f'kms_srv_record_published{{target="kms2.{ZONE}"}} == 0')
    world.see(f'kms_srv_lookup_status{{dns_server="{second.server}",status=~"timeout|unreachable"}} == 1')


def mend_things(world: World, first_port: int, second_port: int) -> None:
    """Undo all of it, with one record more than there was, and let both DNS servers agree."""
    first, second = world.servers
    second.restart()
    name = f"_vlmcs._tcp.{ZONE} 60 SRV 0 0"
    missing = (f"add {name} {second_port} kms2.{ZONE}.", f"add {name} {second_port} kms3.{ZONE}.")
    first.update(ZONE, *missing)
    second.update(ZONE, f"add {name} {first_port} kms1.{ZONE}.", *missing)
    world.exporter.write_config(world.config)
    world.see("kms_exporter_config_last_reload_successful == 1")
    world.see(f'kms_dns_servers_agree{{dns_zone="{ZONE}"}} == 1')
    for server in world.servers:
        world.see(f'kms_client_verdict{{dns_zone="{ZONE}",dns_server="{server.server}",verdict="ok"}} == 1')
    world.see('kms_client_profile_verdict{client="moved",verdict="ok"} == 1')
    world.see(f'kms_static_host_verdict{{target="{LOOPBACK}",verdict="ok"}} == 1')


# --- Asking as Grafana does


def interpolate(text: str, part: Range, choices: Mapping[str, str]) -> str:
    """Put values in the place of variables."""
    values = {
        "__rate_interval": f"{RATE_INTERVAL_SECONDS}s",
        "__interval": f"{STEP_SECONDS}s",
        "__interval_ms": str(1000 * STEP_SECONDS),
        "__range": f"{part.seconds}s",
        "__range_s": str(part.seconds),
        **choices,
    }
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], text)


def everything(dashboard: Json) -> dict[str, str]:
    """Choose All of every variable."""
    return {
        variable["name"]: variable["allValue"]
        if variable["type"] == "query"
        else variable["current"]["value"]
        for variable in dashboard["templating"]["list"]
        if variable["type"] != "datasource"
    }


def one_by_one(values: list[str]) -> str:
    """Write several values as a regular expression within a PromQL string."""
    escaped = [re.sub(r"[\\^$*+?.()|\[\]{}]", lambda match: "\\\\" + match[0], value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def ask(history: History, expression: str, part: Range, *, instant: bool) -> list[Json]:
    """Ask for what is at the end of a part of the history, or for a graph of it; the past does not change."""
    key = (expression, part, instant)
    if key not in history.answers:
        path = "/api/v1/query" if instant else "/api/v1/query_range"
        when = {"time": part.end} if instant else {"start": part.start, "end": part.end, "step": STEP_SECONDS}
        history.answers[key] = history.prometheus.get(path, query=expression, **when)["result"]
    return history.answers[key]


def ask_at_every_time(
    history: History, expression: str, choices: Mapping[str, str], *, instant: bool
) -> list[list[Json]]:
    """Collect what a query gives for each part of the history."""
    return [
        ask(history, interpolate(expression, part, choices), part, instant=instant) for part in history.ranges
    ]


PANELS = [
    pytest.param(dashboard, panel, id=f"{uid}-{panel['title']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
TIMELINES = [each for each in PANELS if each.values[1]["type"] == "state-timeline"]  # type: ignore[index]
TABLES = [each for each in PANELS if each.values[1]["type"] == "table"]  # type: ignore[index]
ALL_DASHBOARDS = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


def test_dashboards_are_found() -> None:
    """There are three dashboards with panels."""
    assert sorted(DASHBOARDS) == ["kms-exporter", "kms-overview", "kms-zone"]
    assert len(PANELS) > 50


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_panel_has_something_to_show(history: History, dashboard: Json, panel: Json) -> None:
    """Every query of every panel is valid, and gives something in the situation that it is made for."""
    choices = everything(dashboard)
    empty = [
        target["refId"]
        for target in panel["targets"]
        if not any(ask_at_every_time(history, target["expr"], choices, instant=target["instant"]))
    ]
    assert empty == []


def label_values(history: History, dashboard: Json, name: str, choices: Mapping[str, str]) -> list[str]:
    """Ask for the values of a variable, as Grafana does."""
    [query] = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["name"] == name]
    match = re.fullmatch(r"label_values\((.+),(\w+)\)", query)
    assert match
    part = history.ranges[-1]
    selector = interpolate(match[1], part, choices)
    found: list[str] = history.prometheus.get(
        f"/api/v1/label/{match[2]}/values", **{"match[]": selector, "start": part.start, "end": part.end}
    )
    return found


@ALL_DASHBOARDS
def test_variables_have_values(history: History, dashboard: Json) -> None:
    """Every variable has the values that there are, be it narrowed by those before it or not."""
    choices = everything(dashboard)
    for _ in range(2):
        values = {
            name: label_values(history, dashboard, name, choices)
            for name in ("job", "instance", "dns_zone", "dns_server")
        }
        assert values["job"] == ["kms"]
        assert len(values["instance"]) == 1
        assert {ZONE, "healthy.kms.test"} <= set(values["dns_zone"])
        assert len(values["dns_server"]) == 5
        choices |= {name: one_by_one(found) for name, found in values.items()}
    choices |= {"dns_zone": one_by_one([ZONE])}
    assert len(label_values(history, dashboard, "dns_server", choices)) == 2


@ALL_DASHBOARDS
def test_choosing_all_by_name(history: History, dashboard: Json) -> None:
    """Every value chosen by name gives the same as All, but for a host that is assigned by its address."""
    everyone = everything(dashboard) | {"top": "1000"}
    named = everyone | {
        name: one_by_one(label_values(history, dashboard, name, everyone))
        for name in ("job", "instance", "dns_zone", "dns_server")
    }
    part = history.ranges[-1]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            by_all, by_name = (
                {
                    frozenset(series["metric"].items())
                    for series in ask(
                        history, interpolate(target["expr"], part, choices), part, instant=target["instant"]
                    )
                    if series["metric"].get("dns_server") not in {None, "by address"}
                }
                for choices in (everyone, named)
            )
            assert by_all == by_name, panel["title"]


@pytest.mark.parametrize(("dashboard", "panel"), TIMELINES)
def test_timeline_has_trouble_first(history: History, dashboard: Json, panel: Json) -> None:
    """Every row of a timeline is there once, and the rows that end worst come first."""
    for part in history.ranges:
        rows = [
            ask(history, interpolate(target["expr"], part, everything(dashboard)), part, instant=False)
            for target in panel["targets"]
        ]
        names = [tuple(sorted(row["metric"].items())) for target in rows for row in target]
        assert len(set(names)) == len(names)
        worst = [
            max(
                (float(value) for row in target for second, value in row["values"] if second == part.end),
                default=None,
            )
            for target in rows
        ]
        now = [value for value in worst[:-2] if value is not None]
        others = [value for value in worst[-2:] if value is not None]
        assert now == sorted(now, reverse=True)
        assert max(others, default=-1.0) < min(now, default=1000.0)


@pytest.mark.parametrize(("dashboard", "panel"), TABLES)
def test_table_has_one_row_for_each_subject(history: History, dashboard: Json, panel: Json) -> None:
    """No query of a table gives two rows that Grafana would have to merge into one."""
    by_query = [
        ask(history, interpolate(target["expr"], part, everything(dashboard)), part, instant=True)
        for part in history.ranges
        for target in panel["targets"]
    ]
    shared = (
        set.intersection(*({*row["metric"]} for rows in by_query for row in rows)) if any(by_query) else set()
    )
    for rows in by_query:
        names = [tuple(sorted(row["metric"].items())) for row in rows]
        assert len(set(names)) == len(names)
    assert shared


# --- What some of them show


def first_target(uid: str, title: str, number: int = 0) -> str:
    """Find the expression of a query."""
    [panel] = [panel for panel in DASHBOARDS[uid]["panels"] if panel["title"] == title]
    expression: str = panel["targets"][number]["expr"]
    return expression


def now(history: History, uid: str, title: str, number: int = 0, **choices: str) -> list[Json]:
    """Ask a query of a panel for what is at the end of the history."""
    part = history.ranges[-1]
    values = everything(DASHBOARDS[uid]) | choices
    return ask(history, interpolate(first_target(uid, title, number), part, values), part, instant=True)


def numbers(rows: list[Json], *labels: str) -> dict[tuple[str, ...], float]:
    """Give the values of a result by some of its labels."""
    return {tuple(row["metric"].get(label, "") for label in labels): float(row["value"][1]) for row in rows}


def test_zones_with_trouble(history: History) -> None:
    """Zones with trouble are those that are not ok somewhere, without the one where nothing is expected."""
    part = history.ranges[-1]
    query = 'count by (dns_zone) (kms_client_verdict{verdict!="ok"} == 1)'
    troubled = {row["metric"]["dns_zone"] for row in ask(history, query, part, instant=True)}
    assert "mak.kms.test" in troubled
    [row] = now(history, "kms-overview", "Zones with trouble")
    assert float(row["value"][1]) == len(troubled) - 1
    table = numbers(now(history, "kms-overview", "Zones, those with trouble first"), "dns_zone")
    assert {zone for (zone,), number in table.items() if number >= 2} == troubled - {"mak.kms.test"}
    assert table["mak.kms.test",] == 1
    assert table["healthy.kms.test",] == 0


def test_since(history: History) -> None:
    """A verdict that changed within the time range tells since when, and one that did not tells nothing."""
    start, broken, end = history.ranges[0].start, history.ranges[2].end, history.ranges[3].end
    for uid, title in (
        ("kms-overview", "Zones, those with trouble first"),
        ("kms-zone", "What each DNS server's clients meet"),
    ):
        since = numbers(now(history, uid, title, 2), "dns_zone", "dns_server")
        found = {zone for zone, _ in since}
        assert {1000 * start < value < 1000 * end for value in since.values()} == {True}
        assert min(value for (zone, _), value in since.items() if zone == ZONE) >= 1000 * broken
        assert "nxdomain.kms.test" not in found


def test_hosts_down(history: History) -> None:
    """Hosts that are down are those that are published or assigned, each once, whatever zones they are in."""
    [down] = now(history, "kms-overview", "Hosts down")
    query = "count(kms_host_up == 0)"
    [every] = ask(history, query, history.ranges[-1], instant=True)
    assert 0 < float(down["value"][1]) <= float(every["value"][1])
    [one] = now(history, "kms-overview", "Hosts down", 1, dns_zone="closed.kms.test")
    [all_of_them] = now(history, "kms-overview", "Hosts down", 1)
    assert float(one["value"][1]) < float(all_of_them["value"][1])


def test_likely_code(history: History) -> None:
    """A zone without a record has the code that its clients are likely to show, and no other."""
    codes = now(history, "kms-overview", "Zones, those with trouble first", 1)
    found = {row["metric"]["dns_zone"]: row["metric"]["code"] for row in codes}
    assert found["nxdomain.kms.test"] == "0x8007232B"
    assert not {"mak.kms.test", "healthy.kms.test"} & set(found)


def test_records_have_priority_and_weight(history: History) -> None:
    """Every record is listed with its fields, whether its host is up, and whether it was expected."""
    records = now(history, "kms-zone", "Records at each DNS server", dns_zone="weighted.kms.test")
    fields = {tuple(row["metric"][name] for name in ("priority", "weight", "target")) for row in records}
    assert fields == {
        ("0", "90", "kms1.weighted.kms.test"),
        ("0", "10", "kms2.weighted.kms.test"),
        ("10", "0", "backup.weighted.kms.test"),
    }
    up = now(history, "kms-zone", "Records at each DNS server", 1, dns_zone="weighted.kms.test")
    assert numbers(up, "target", "weight") == {
        ("kms1.weighted.kms.test", "90"): 1,
        ("kms2.weighted.kms.test", "10"): 0,
        ("backup.weighted.kms.test", "0"): 1,
    }
    expected = now(history, "kms-zone", "Records at each DNS server", 2, dns_zone="rogue.kms.test")
    assert sorted(numbers(expected, "target").values()) == [0, 1]


def test_changes_of_records(history: History) -> None:
    """What vanished, returned and is new is counted, with the time."""
    vanished, returned, since, new = (
        numbers(now(history, "kms-zone", "Changes of records", number), "target") for number in (2, 3, 4, 5)
    )
    [one, two, three] = [(f"kms{number}.{ZONE}",) for number in (1, 2, 3)]
    assert (vanished[one], vanished[two], vanished[three]) == (0, 1, 0)
    assert (returned[one], returned[two], returned[three]) == (0, 1, 0)
    assert [since.get(one), since.get(three)] == [None, None]
    assert 1000 * history.ranges[2].end <= since[two] <= 1000 * history.ranges[3].end
    assert three in new
    assert new[three] / 1000 >= history.ranges[2].end


def annotation(history: History, name: str, **choices: str) -> list[Json]:
    """Ask for the marks of an annotation over the whole history."""
    dashboard = DASHBOARDS["kms-zone"]
    [found] = [each for each in dashboard["annotations"]["list"] if each["name"] == name]
    part = history.ranges[-1]
    return ask(
        history, interpolate(found["expr"], part, everything(dashboard) | choices), part, instant=False
    )


@pytest.mark.parametrize(
    ("name", "target"), [("Record vanished", "kms2"), ("Record returned", "kms2"), ("New record", "kms3")]
)
def test_marks_of_records(history: History, name: str, target: str) -> None:
    """A record that vanishes, returns or is new is marked for a moment, by a value that Grafana shows."""
    [mark] = annotation(history, name, dns_zone=one_by_one([ZONE]))
    assert (mark["metric"]["dns_zone"], mark["metric"]["target"]) == (ZONE, f"{target}.{ZONE}")
    assert {float(value) for _, value in mark["values"]} == {1}
    seconds = [second for second, _ in mark["values"]]
    assert max(seconds) - min(seconds) <= RATE_INTERVAL_SECONDS
    assert min(seconds) > history.ranges[1].end


def test_marks_of_alerts(history: History) -> None:
    """Alerts about a chosen zone, its hosts and its DNS servers are marked, and no others."""
    marks = annotation(history, "Firing alert", dns_zone=one_by_one(["closed.kms.test"]))
    names = {mark["metric"]["alertname"] for mark in marks}
    assert {"KmsZoneWithoutWorkingHost", "KmsHostDown"} <= names
    assert {mark["metric"].get("dns_zone", "closed.kms.test") for mark in marks} == {"closed.kms.test"}
    assert {float(value) for mark in marks for _, value in mark["values"]} == {1}
    assert "kms.closed.kms.test" in {
        target for mark in marks for target in mark["metric"]["about"].split() if "kms" in target
    }
    assert "KmsLastDnsServerDown" not in names
    silent = annotation(history, "Firing alert", dns_zone=one_by_one(["unasked.test"]))
    assert "KmsLastDnsServerDown" in {mark["metric"]["alertname"] for mark in silent}

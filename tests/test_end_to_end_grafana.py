"""Every query of the dashboards, asked of a real Prometheus that scraped a real exporter.

The exporter looks at the embedded lab, which plays every standing situation, and at a zone on two BINDs in
which things change: records vanish, return and appear, a DNS server and a host fail and recover, a
configuration is refused. Every query is asked about several parts of that history, as Grafana would ask it.

What takes hours, or a second exporter that disagrees, is asked of a past that is written: `grafana_past.py`.
"""

import asyncio
import contextlib
import json
import math
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo import Lab as Situations
from tests import grafana_past as past
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
Points = dict[int, float]
"""Values by time."""

DASHBOARDS: dict[str, Json] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana").glob("kms-*.json"))
}
STEP_SECONDS = 1
RATE_INTERVAL_SECONDS = 10
LATE_SECONDS = 2
"""By how much rules may be evaluated after the time that the result bears, with one evaluation a second."""
ZONE = "contoso.test"
ITSELF = "prometheus"
"""A job that is no exporter."""
ALERTS_THAT_FIRE = ("KmsHostDown", "KmsLastDnsServerDown", "KmsZoneWithoutWorkingHost")
AT_THE_END = (
    'kms_client_verdict{dns_zone="healthy.kms.test",verdict="ok"} == 1',
    'kms_client_verdict{dns_zone="mak.kms.test",verdict="srv_missing"} == 1',
    'kms_client_likely_error_info{dns_zone="nxdomain.kms.test",code="0x8007232B"}',
    'count(kms_srv_record_info{dns_zone="weighted.kms.test"}) == 3',
    'count(kms_host_up{target=~".+[.]weighted[.]kms[.]test"} == 1) == 2',
    'count(kms_srv_record_expected{dns_zone="rogue.kms.test"}) == 2',
    'kms_host_up{target="kms.closed.kms.test"} == 0',
    'ALERTS{alertname="KmsLastDnsServerDown",alertstate="firing"}',
    'ALERTS{alertname="KmsZoneWithoutWorkingHost",alertstate="firing",dns_zone="closed.kms.test"}',
)
"""What the lab plays all the time, and tests ask for at the end of the history."""


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
    """A part of the history, in Unix time, with the time between two points and that over which a rate is."""

    start: int
    end: int
    step: int = STEP_SECONDS
    rate: int = RATE_INTERVAL_SECONDS

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


def second_of(prometheus: Prometheus, *expressions: str) -> int:
    """Wait for a second of which Prometheus will say for ever that all of this was so, and tell which it is.

    That it is so now does not do: the next scrape may fail, and what is stored late changes what was so.
    """
    second = next_second()

    def look() -> int | None:
        nonlocal second
        until = settled(prometheus)
        while second <= until:
            if all(was_so(prometheus, expression, second) for expression in expressions):
                return second
            second += 1
        return None

    return wait_until(look, f"at one time: {' and '.join(expressions)}")


def next_second() -> int:
    """Tell which full second is the next: whatever was seen until now was so by then."""
    return int(time.time()) + 1


def settled(prometheus: Prometheus) -> float:
    """Tell until when the past is complete: whatever Prometheus has yet to store is of later times.

    A sample bears the time at which its scrape or evaluation was begun, and is stored when that has ended.
    """
    targets = prometheus.get("/api/v1/targets", state="active")["activeTargets"]
    groups = prometheus.get("/api/v1/rules")["groups"]
    scraped = [unix_time(target["lastScrape"]) for target in targets]
    evaluated = [unix_time(group["lastEvaluation"]) - LATE_SECONDS for group in groups]
    return min(*scraped, *evaluated) if scraped and evaluated else 0.0


def unix_time(written: str) -> float:
    """Read a time as Prometheus writes it: RFC 3339, with nanoseconds."""
    return datetime.fromisoformat(written).timestamp()


def was_so(prometheus: Prometheus, expression: str, second: int) -> bool:
    """Tell whether an expression gave anything at this time."""
    return bool(prometheus.get("/api/v1/query", query=expression, time=second)["result"])


def configuration(played: Json, servers: tuple[Named, Named], silent: str, port: int) -> Json:
    """Let the exporter watch the lab and the changing zone, often, and with every kind of trouble.

    There is time for a busy machine to answer: a lookup that it lets fail is trouble that no test asks for.
    """
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
        "interval": "3s",
        "timeout": "2s",
        "limits": {"records_per_zone": 50},
        "zones": zones,
        "hosts": [*played["hosts"], f"{LOOPBACK}:{port}", "192.0.2.1:1688"],
        "clients": clients,
    }


@pytest.fixture(scope="module")
def history(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Make the history. Of all that made it, Prometheus alone goes on."""
    start = next_second()
    exporter_port = free_port()
    directory, port = tmp_path_factory.mktemp("rules"), free_port()
    scraped = scrapes(hurried_rules(directory), {"kms": exporter_port, ITSELF: port})
    (directory / "prometheus.yml").write_text(yaml.safe_dump(scraped))
    prometheus = module_lab.prometheus(config_file=directory / "prometheus.yml", port=port)
    unborn = second_of(prometheus, 'up{job="kms"} == 0', f'up{{job="{ITSELF}"}} == 1')
    with Lab(tmp_path_factory.mktemp("living")) as lab:
        born, whole, broken, mended = live(lab, prometheus, exporter_port)
    parts = ((start, unborn), (born, whole), (start, broken), (start, mended))
    return History(prometheus=prometheus, ranges=tuple(Range(start=a, end=b) for a, b in parts))


def live(lab: Lab, prometheus: Prometheus, exporter_port: int) -> tuple[int, int, int, int]:
    """Let things happen; gives the times when the exporter was there, all was seen, broken, and mended."""
    refusing = lab.closed_port()
    always_up = lab.listener()
    hosts = (f"kms1 A {LOOPBACK}", f"kms2 A {LOOPBACK}", f"kms3 A {LOOPBACK}")
    records = (srv("kms1", refusing.port), srv("kms2", always_up.port))
    servers = (
        lab.named({ZONE: zone_file(*hosts, *records)}),
        lab.named({ZONE: zone_file(*hosts)}),
    )
    silent = lab.silent_dns_server().server
    with situations() as played:
        config = configuration(played, servers, silent, refusing.port)
        exporter = lab.exporter(config, port=exporter_port)
        world = World(prometheus=prometheus, exporter=exporter, servers=servers, config=config)
        world.see('up{job="kms"} == 1')
        born = next_second()
        whole = begin(world)
        broken = break_things(world, always_up.port)
        refusing.close()
        lab.listener(port=refusing.port)
        return born, whole, broken, mend_things(world, refusing.port, always_up.port)


def scrapes(rules: Path, ports: Mapping[str, int]) -> Json:
    """Write a configuration of Prometheus that scrapes these ports every 2 s, each as a job of its own."""
    return {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
            for job, port in ports.items()
        ],
    }


def begin(world: World) -> int:
    """Wait until everything was looked at, for longer than a rate looks back, and alerts fire."""
    world.see(f'kms_dns_servers_agree{{dns_zone="{ZONE}"}} == 0')
    world.see(f'kms_client_verdict{{dns_zone="{ZONE}"}} offset {RATE_INTERVAL_SECONDS}s')
    firing = (f'ALERTS{{alertname="{alert}",alertstate="firing"}}' for alert in ALERTS_THAT_FIRE)
    return second_of(
        world.prometheus,
        f'kms_dns_servers_agree{{dns_zone="{ZONE}"}} == 0',
        f'kms_host_up{{target="kms1.{ZONE}"}} == 0',
        f'kms_client_verdict{{dns_zone="{ZONE}"}} offset {RATE_INTERVAL_SECONDS}s',
        'kms_client_profile_verdict{client="lost",verdict="srv_missing"} == 1',
        *firing,
    )


def break_things(world: World, port: int) -> int:
    """Stop a DNS server, delete a record, and have a configuration refused."""
    first, second = world.servers
    second.kill()
    first.update(ZONE, f"delete _vlmcs._tcp.{ZONE} SRV 0 0 {port} kms2.{ZONE}.")
    world.exporter.write_config("zones: 1")
    world.exporter.send_signal(signal.SIGHUP)
    return second_of(
        world.prometheus,
        "kms_exporter_config_last_reload_successful == 0",
        f'kms_srv_record_published{{target="kms2.{ZONE}"}} == 0',
        f'kms_srv_lookup_status{{dns_server="{second.server}",status=~"timeout|unreachable"}} == 1',
    )


def mend_things(world: World, first_port: int, second_port: int) -> int:
    """Undo all of it, with one record more than there was, and let both DNS servers agree."""
    first, second = world.servers
    second.restart()
    name = f"_vlmcs._tcp.{ZONE} 60 SRV 0 0"
    missing = (f"add {name} {second_port} kms2.{ZONE}.", f"add {name} {second_port} kms3.{ZONE}.")
    first.update(ZONE, *missing)
    second.update(ZONE, f"add {name} {first_port} kms1.{ZONE}.", *missing)
    world.exporter.write_config(world.config)
    world.exporter.send_signal(signal.SIGHUP)
    ok = (
        f'kms_client_verdict{{dns_zone="{ZONE}",dns_server="{server.server}",verdict="ok"}} == 1'
        for server in world.servers
    )
    return second_of(
        world.prometheus,
        "kms_exporter_config_last_reload_successful == 1",
        f'kms_dns_servers_agree{{dns_zone="{ZONE}"}} == 1',
        *ok,
        'kms_client_profile_verdict{client="moved",verdict="ok"} == 1',
        f'kms_static_host_verdict{{target="{LOOPBACK}",verdict="ok"}} == 1',
        *AT_THE_END,
    )


# --- Asking as Grafana does


def interpolate(text: str, part: Range, choices: Mapping[str, str]) -> str:
    """Put values in the place of variables."""
    values = {
        "__rate_interval": f"{part.rate}s",
        "__interval": f"{part.step}s",
        "__interval_ms": str(1000 * part.step),
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
        when = {"time": part.end} if instant else {"start": part.start, "end": part.end, "step": part.step}
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
def test_panel_has_something_to_show(
    history: History, written: History, dashboard: Json, panel: Json
) -> None:
    """Every query of every panel is valid, and gives something in the situation that it is made for."""
    choices = everything(dashboard)
    empty = [
        target["refId"]
        for target in panel["targets"]
        if not any(
            any(ask_at_every_time(each, target["expr"], choices, instant=target["instant"]))
            for each in (history, written)
        )
    ]
    assert empty == []


def label_values(history: History, dashboard: Json, name: str, choices: Mapping[str, str]) -> list[str]:
    """Ask for the values of a variable in the last part of the history, as Grafana does."""
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


Row = tuple[str, ...]


def rows_by_query(history: History, dashboard: Json, panel: Json, part: Range) -> list[list[Row]]:
    """Give the rows of every query of a table, as far as Grafana compares them to make one row of several.

    Those are the labels that the answers of all queries have. Without an answer, a query adds nothing.
    """
    answers = [
        ask(history, interpolate(target["expr"], part, everything(dashboard)), part, instant=True)
        for target in panel["targets"]
    ]
    labels = [set().union(*(row["metric"] for row in rows)) for rows in answers if rows]
    shared = sorted(set.intersection(*labels)) if labels else []
    return [[tuple(row["metric"].get(label, "") for label in shared) for row in rows] for rows in answers]


@pytest.mark.parametrize(("dashboard", "panel"), TABLES)
def test_table_has_one_row_for_each_subject(
    history: History, written: History, dashboard: Json, panel: Json
) -> None:
    """No query gives a subject two rows, or one that the first query has not, which would have no state.

    That holds where two exporters disagree, where a zone was removed, and where an exporter is down.
    """
    compared = 0
    for each, part in [*((history, part) for part in history.ranges), *((written, part) for part in PARTS)]:
        first, *others = rows_by_query(each, dashboard, panel, part)
        for rows in (first, *others):
            assert len(set(rows)) == len(rows)
            assert set(rows) <= set(first)
            compared += len(rows)
    assert compared


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
    start, whole, broken, end = history.ranges[0].start, *(part.end for part in history.ranges[1:])
    for uid, title in (
        ("kms-overview", "Zones, those with trouble first"),
        ("kms-zone", "What each DNS server's clients meet"),
    ):
        since = numbers(now(history, uid, title, 2), "dns_zone", "dns_server")
        found = {zone for zone, _ in since}
        assert {1000 * start < value < 1000 * end for value in since.values()} == {True}
        assert min(value for (zone, _), value in since.items() if zone == ZONE) >= 1000 * broken
        assert "nxdomain.kms.test" in found
        part = Range(start=whole, end=end)
        query = interpolate(first_target(uid, title, 2), part, everything(DASHBOARDS[uid]))
        later = {row["metric"]["dns_zone"] for row in ask(history, query, part, instant=True)}
        assert ZONE in later
        assert not steady_zones(history, part) & later


def steady_zones(history: History, part: Range) -> set[str]:
    """Tell in which zones no verdict changed; on a busy machine, those are not all zones of the lab."""
    query = f"max by (dns_zone) (changes(kms_client_verdict[{part.seconds}s])) == 0"
    found = {row["metric"]["dns_zone"] for row in ask(history, query, part, instant=True)}
    assert found
    return found


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


@pytest.mark.parametrize("uid", ["kms-overview", "kms-zone"])
def test_alert_without_a_zone_leads_to_all(history: History, uid: str) -> None:
    """An alert about no zone leads to all of them, by their name to Grafana, and not to an empty one."""
    for number in range(2):
        rows = now(history, uid, "Alerts that fire", number)
        zones = {(row["metric"]["alertname"], row["metric"]["dns_zone"]) for row in rows}
        assert {("KmsLastDnsServerDown", "All"), ("KmsZoneWithoutWorkingHost", "closed.kms.test")} <= zones


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
    silent = annotation(history, "Firing alert", dns_zone=one_by_one(["unasked.test"]))
    subjects = {
        mark["metric"]["about"] for mark in silent if mark["metric"]["alertname"] == "KmsLastDnsServerDown"
    }
    assert len(subjects) == 1
    assert not subjects & {mark["metric"]["about"] for mark in marks}


# --- A past that is written

EXPORTERS = 4
EVERY_MINUTE = Range(start=past.seconds(299), end=past.seconds(past.END - 1), step=60, rate=75)
COARSE = Range(start=past.seconds(295), end=past.seconds(past.END - 5), step=300, rate=240)
"""Three hours, once with steps that are longer than what a rate looks back."""
PARTS = (EVERY_MINUTE, COARSE)
EACH_STEP = pytest.mark.parametrize("part", PARTS, ids=["minute", "coarse"])


@pytest.fixture(scope="module")
def written(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> History:
    """Have a Prometheus that knows a written past."""
    prometheus = past.PastPrometheus(tmp_path_factory.mktemp("past") / "prometheus")
    return History(prometheus=module_lab.enter_context(prometheus), ranges=PARTS)


def at_the_end(
    history: History, uid: str, title: str, number: int = 0, part: Range = EVERY_MINUTE
) -> list[Json]:
    """Ask a query of a panel for what is at the end of a part."""
    expression = interpolate(first_target(uid, title, number), part, everything(DASHBOARDS[uid]))
    return ask(history, expression, part, instant=True)


def over_time(
    history: History, uid: str, title: str, part: Range
) -> list[tuple[int, dict[str, str], Points]]:
    """Ask all queries of a panel for a graph: the number of the query, labels, and values by time."""
    [panel] = [panel for panel in DASHBOARDS[uid]["panels"] if panel["title"] == title]
    choices = everything(DASHBOARDS[uid])
    return [
        (number, row["metric"], {second: float(value) for second, value in row["values"]})
        for number, target in enumerate(panel["targets"])
        for row in ask(history, interpolate(target["expr"], part, choices), part, instant=False)
    ]


def first_step(part: Range, minute: int) -> int:
    """Give the first step of a part at which something of this minute is seen."""
    return part.start - (part.start - past.seconds(minute)) // part.step * part.step


@EACH_STEP
def test_record_lost_while_the_exporter_was_away(written: History, part: Range) -> None:
    """A record deleted while the exporter was away is gone since it was last seen, and others are not."""
    state, _, vanished, returned, since, new = (
        numbers(at_the_end(written, "kms-zone", "Changes of records", number, part), "target")
        for number in range(6)
    )
    assert state["deleted-while-away",] == 0
    assert {target for (target,), value in state.items() if value == 0} == {"deleted-while-away"}
    assert ("of-removed",) not in state
    assert {target for (target,), count in vanished.items() if count} == {"deleted-while-away", "back"}
    assert {target for (target,), count in returned.items() if count} == {"back"}
    assert set(vanished.values()) == {0, 1}
    found = {target: value / 1000 for (target,), value in since.items()}
    assert found.keys() == {"deleted-while-away", "back"}
    assert 0 <= past.seconds(past.AWAY) - found["deleted-while-away"] <= part.step
    assert 0 <= past.seconds(past.RETURNED) - found["back"] <= part.step
    assert {target: value / 1000 for (target,), value in new.items()} == {
        "added-while-away": first_step(part, past.BACK)
    }


@EACH_STEP
def test_lost_record_over_time(written: History, part: Range) -> None:
    """A record is shown as gone from when the exporter is back, and not at all where the zone was removed."""
    rows = {
        labels["target"]: row for _, labels, row in over_time(written, "kms-zone", "Records over time", part)
    }
    lost = rows["deleted-while-away"]
    assert {second for second, value in lost.items() if value} == {
        second for second in lost if second >= past.seconds(past.BACK)
    }
    assert lost[part.end] == 1
    assert "of-yesterday" not in rows
    assert set(rows["of-removed"].values()) == {0}
    assert max(rows["of-removed"]) < past.seconds(past.REMOVED)
    assert {second for second, value in rows["back"].items() if value} == {
        second
        for second in rows["back"]
        if past.seconds(past.VANISHED) <= second < past.seconds(past.RETURNED)
    }


@EACH_STEP
@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("Record vanished", {"back": past.VANISHED, "deleted-while-away": past.BACK}),
        ("Record returned", {"back": past.RETURNED}),
        ("New record", {"added-while-away": past.BACK}),
    ],
)
def test_every_change_has_one_mark(
    written: History, part: Range, name: str, marks: Mapping[str, int]
) -> None:
    """Every change is marked once, at the first step after it, and nothing else is, however long a step."""
    [found] = [each for each in DASHBOARDS["kms-zone"]["annotations"]["list"] if each["name"] == name]
    expression = interpolate(found["expr"], part, everything(DASHBOARDS["kms-zone"]))
    rows = ask(written, expression, part, instant=False)
    assert {row["metric"]["target"]: row["values"] for row in rows} == {
        target: [[first_step(part, minute), "1"]] for target, minute in marks.items()
    }


ZONE_TABLES = pytest.mark.parametrize(
    ("uid", "title"),
    [
        ("kms-overview", "Zones, those with trouble first"),
        ("kms-zone", "What each DNS server's clients meet"),
    ],
)


@ZONE_TABLES
def test_zones_that_nobody_looks_at_are_not_listed(written: History, uid: str, title: str) -> None:
    """A zone that was removed, or whose only exporter is down, is in no query of the tables of zones."""
    seen = {"removed.contoso.com", "lost.contoso.com"}
    query = f"count by (dns_zone) (last_over_time(kms_client_verdict[{EVERY_MINUTE.seconds}s]))"
    assert seen <= {row["metric"]["dns_zone"] for row in ask(written, query, EVERY_MINUTE, instant=True)}
    for number in range(4):
        rows = at_the_end(written, uid, title, number)
        assert rows
        assert not seen & {row["metric"]["dns_zone"] for row in rows}


@ZONE_TABLES
def test_since_of_a_young_zone(written: History, uid: str, title: str) -> None:
    """A zone that is younger than the time range is as it is since it was first seen, not for longer."""
    since = numbers(at_the_end(written, uid, title, 2), "dns_zone", "dns_server")
    assert since["young.contoso.com", past.FINE] == 1000 * first_step(EVERY_MINUTE, past.BORN)
    split = since["split.contoso.com", past.FINE] / 1000
    assert 0 <= past.seconds(past.BROKEN) - split <= EVERY_MINUTE.step
    assert not {"steady.contoso.com", "shared.contoso.com"} & {zone for zone, _ in since}


@ZONE_TABLES
def test_worse_code_is_likely(written: History, uid: str, title: str) -> None:
    """Where two exporters of a job see different errors, the code is that of the worse verdict."""
    codes = [
        row["metric"]["code"]
        for row in at_the_end(written, uid, title, 1)
        if row["metric"]["dns_zone"] == "split.contoso.com"
    ]
    assert codes == [past.CODES["dns_failed"][0]]


@pytest.mark.parametrize(
    ("title", "counted", "everything_"),
    [
        ("Zones with trouble", 3, 7),
        ("DNS servers not answering", 1, 3),
        ("Hosts down", 1, 3),
        ("Kinds of clients without service", 1, 3),
        ("Exporters down", 1, EXPORTERS),
    ],
)
def test_each_counts_once(written: History, title: str, counted: int, everything_: int) -> None:
    """What two vantage points see counts once, and an exporter that is down is seen at once."""
    for number, expected in enumerate((counted, everything_)):
        [row] = at_the_end(written, "kms-overview", title, number)
        assert (row["metric"], float(row["value"][1])) == ({}, expected)


@pytest.mark.parametrize(
    ("title", "label", "expected"),
    [
        ("Likely error codes", "code", {"0x8007232A": 2, "0xC004F074": 1}),
        ("Addresses that fail, by reason", "reason", {"connection_refused": 1}),
    ],
)
def test_each_is_in_a_bar_once(written: History, title: str, label: str, expected: dict[str, int]) -> None:
    """Graphs that count over all vantage points count nothing twice."""
    rows = over_time(written, "kms-overview", title, EVERY_MINUTE)
    assert {labels[label]: values[EVERY_MINUTE.end] for _, labels, values in rows} == expected


@ALL_DASHBOARDS
def test_every_vantage_point_can_be_chosen(written: History, dashboard: Json) -> None:
    """Jobs are those of exporters, also of one that is down, and those that scrape /probe; no others."""
    choices = everything(dashboard)
    jobs = label_values(written, dashboard, "job", choices)
    assert jobs == ["branch", "kms", "lost", past.PROBED]
    chosen = choices | {"job": past.PROBED}
    assert label_values(written, dashboard, "instance", chosen) == ["steady.contoso.com"]


@pytest.mark.parametrize(("dashboard", "panel"), PANELS)
def test_other_programs_are_not_shown(
    history: History, written: History, dashboard: Json, panel: Json
) -> None:
    """No panel shows a target of Prometheus that is no exporter, be it one that has the same metrics."""
    asked = [(history, part) for part in history.ranges] + [(written, EVERY_MINUTE)]
    for each, part in asked:
        for target in panel["targets"]:
            expression = interpolate(target["expr"], part, everything(dashboard))
            rows = ask(each, expression, part, instant=target["instant"])
            assert not {row["metric"].get("job") for row in rows} & {past.FOREIGN, ITSELF}


def test_other_programs_are_there(history: History, written: History) -> None:
    """There are such targets, one of which is down."""
    assert ask(history, f'up{{job="{ITSELF}"}} == 1', history.ranges[-1], instant=True)
    for metric in ("up == 0", "process_open_fds", "python_gc_collections_total", "scrape_samples_scraped"):
        expression = f'{{job="{past.FOREIGN}"}} and {metric}'
        assert ask(written, expression, EVERY_MINUTE, instant=True), metric


def trouble_of(panel: Json) -> float:
    """Tell from which number on the words of a timeline are of trouble."""
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]
    return min(int(number) for number, word in mapping["options"].items() if not word["text"].startswith("✓"))


@pytest.mark.parametrize(("dashboard", "panel"), TIMELINES)
def test_timeline_tells_past_trouble_from_none(written: History, dashboard: Json, panel: Json) -> None:
    """Rows with trouble at the end come first, then those with trouble in the range, then all others."""
    rows = over_time(written, dashboard["uid"], panel["title"], EVERY_MINUTE)
    trouble, others = trouble_of(panel), len(panel["targets"]) - 1
    wanted, found = {}, {}
    for number, labels, values in rows:
        name = tuple(sorted(labels.items()))
        assert name not in found
        found[name] = min(max(number, others - 2), others)
        ends_badly = values.get(EVERY_MINUTE.end, 0) >= trouble
        wanted[name] = others - 2 if ends_badly else others - (max(values.values()) >= trouble)
    assert found == wanted
    assert set(found.values()) == {others - 2, others - 1, others}


def step_of(panel: Json, part: Range) -> Range:
    """Give the part with the step that Grafana takes for a panel of 300 points, and data each 15 s."""
    interval = panel.get("interval", f"{past.SCRAPE_SECONDS}s")
    shortest = {"s": 1, "m": 60}[interval[-1]] * int(interval[:-1])
    step = max(shortest, -(-part.seconds // 300 // 5) * 5)
    return replace(part, step=step, rate=max(step + past.SCRAPE_SECONDS, 4 * past.SCRAPE_SECONDS))


RATES = [
    each
    for each in PANELS
    if any("$__rate_interval" in target["expr"] for target in each.values[1]["targets"])  # type: ignore[index]
]


@pytest.mark.parametrize(("dashboard", "panel"), RATES)
def test_rates_are_numbers(written: History, dashboard: Json, panel: Json) -> None:
    """A graph of a rate has a value wherever the exporter looked, though it looks once in a minute only."""
    part = step_of(panel, replace(EVERY_MINUTE, start=past.seconds(past.BACK + 10)))
    rows = over_time(written, dashboard["uid"], panel["title"], part)
    assert rows or panel["title"] in {"Records ignored", "Lag of the event loop", "SYNs sent again"}
    for _, _, values in rows:
        assert not [second for second, value in values.items() if math.isnan(value)]


@EACH_STEP
def test_every_new_serial_is_shown(written: History, part: Range) -> None:
    """A change of a zone's serial is in the graph once, however long a step is."""
    [(_, labels, values)] = over_time(written, "kms-zone", "Changes of the zones' serials", part)
    assert labels["dns_zone"] == "steady.contoso.com"
    assert {second for second, value in values.items() if value} == {first_step(part, past.SERIAL_CHANGED)}

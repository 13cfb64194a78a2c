"""The dashboards as files: current, well formed, by the rules of Grafana's dashboard linter, and readable.

The rules are those of https://github.com/grafana/dashboard-linter, stricter where that costs nothing:
they hold for every kind of panel, and for counters with matchers too. Whether PromQL is valid is asked of
Prometheus itself, in `test_end_to_end_grafana.py`.
"""

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import runtime
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from exporter.diagnosis import Verdict
from exporter.model import LookupStatus, ProbeFailure
from grafana.source.__main__ import main
from tests.builders import metric_labels

Json = dict[str, Any]

GRAFANA = Path(__file__).resolve().parent.parent / "grafana"
UIDS = ("kms-overview", "kms-zone", "kms-exporter")
VARIABLES = ["datasource", "job", "instance", "dns_zone", "dns_server", "top"]
GRID_COLUMNS = 24


def load(uid: str) -> Json:
    """Read the file of a dashboard."""
    dashboard: Json = json.loads((GRAFANA / f"{uid}.json").read_text())
    return dashboard


def panels_of(dashboard: Json) -> list[Json]:
    """List the panels that show something; rows are only headings here."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets_of(dashboard: Json) -> list[tuple[Json, Json]]:
    """List every panel with each of its targets."""
    return [(panel, target) for panel in panels_of(dashboard) for target in panel["targets"]]


def expressions_of(dashboard: Json) -> list[str]:
    """List every PromQL expression."""
    annotations = [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    return [target["expr"] for _, target in targets_of(dashboard)] + annotations


ALL_DASHBOARDS = pytest.mark.parametrize("uid", UIDS)


# --- The files are current, and what Grafana's own types can hold


def test_files_are_what_the_script_builds(tmp_path: Path) -> None:
    """The dashboards that are checked in are those that the script builds, and there is no other."""
    main([str(tmp_path)])
    built = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(built) == sorted(f"{uid}.json" for uid in UIDS)
    assert {path.name: path.read_text() for path in GRAFANA.glob("*.json")} == built


def test_build_is_deterministic(tmp_path: Path) -> None:
    """Building twice gives the same bytes."""
    texts = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        main([str(tmp_path / name)])
        texts.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert texts[0] == texts[1]


OF_THE_DATA_SOURCE = ("titleFormat", "textFormat")
"""Fields of an annotation that belong to the Prometheus data source, and that the SDK's type has not."""


@ALL_DASHBOARDS
def test_sdk_reads_the_file(uid: str) -> None:
    """The SDK's types hold all of the file but two fields of annotations, and write it back unchanged."""
    register_default_plugins()
    dashboard = load(uid)
    for annotation in dashboard["annotations"]["list"]:
        for field in OF_THE_DATA_SOURCE:
            annotation.pop(field)
    read = Dashboard.from_json(copy.deepcopy(dashboard))
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == dashboard
    assert read.panels is not None
    known = {panel.type_val for panel in read.panels} - {"row"}
    assert [kind for kind in sorted(known) if runtime.panelcfg_config(kind) is None] == []


# --- Reading PromQL: as much of it as these tests need


@dataclass(frozen=True, slots=True)
class Selector:
    """A vector selector: metric, matchers, and what stands right before and after it."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    function: str
    window: str


_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
_SELECTOR = re.compile(r'(?:(\w+)\s*\(\s*)?\b([a-zA-Z_]\w*)\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\}(\[[^]]*\])?')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABEL_LIST = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\(([^)]*)\)")
_KEYWORDS = frozenset(
    {"by", "on", "ignoring", "without", "group_left", "group_right", "and", "or", "unless", "offset", "bool"}
)


def selectors(expression: str) -> list[Selector]:
    """List the vector selectors of an expression."""
    return [
        Selector(match[2], tuple(_MATCHER.findall(match[3])), match[1] or "", match[4] or "")
        for match in _SELECTOR.finditer(expression)
    ]


def bare_metrics(expression: str) -> list[str]:
    """List metrics without matchers: names that are no function, no keyword and no label."""
    text = _STRING.sub('""', expression)
    text = _LABEL_LIST.sub(" ", text)
    text = re.sub(r"\{[^}]*\}", "{", text)
    text = re.sub(r"\[[^]]*\]|@\s*end\(\)|\$\w+", " ", text)
    names = re.finditer(r"(?<![\w.])([a-zA-Z_]\w*)(?!\w)\s*([({]?)", text)
    return [match[1] for match in names if not match[2] and match[1] not in _KEYWORDS]


def labels_named(expression: str) -> set[str]:
    """Collect the labels that an expression groups or joins by."""
    return {
        label.strip()
        for found in _LABEL_LIST.findall(expression)
        for label in found.split(",")
        if label.strip()
    }


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('up{job="a"}', [Selector("up", (("job", "=", "a"),), "", "")]),
        ('rate(a_total{b=~"c}d"}[5m])', [Selector("a_total", (("b", "=~", "c}d"),), "rate", "[5m]")]),
        ("a{} + sum by (x) (b{})", [Selector("a", (), "", ""), Selector("b", (), "", "")]),
    ],
)
def test_selectors(expression: str, expected: list[Selector]) -> None:
    """Selectors are found with their matchers, window and function."""
    assert selectors(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('sum by (x) (rate(a{b="c"}[5m])) and on (y) group_left (z) d{}', []),
        ("topk($top, max_over_time((a{})[$__range:$__interval] @ end())) > 0.5", []),
        ("up == 0", ["up"]),
        ("sum(up) / time()", ["up"]),
    ],
)
def test_bare_metrics(expression: str, expected: list[str]) -> None:
    """A metric without matchers is found, and nothing else is taken for one."""
    assert bare_metrics(expression) == expected


# --- The linter's rules: each gives the places where a dashboard breaks it

Place = tuple[str, str]
"""A panel by its title, or `""`, and what is wrong there: a refId, a variable, or a word."""
Rule = Callable[[Json], Iterator[Place]]

UNITS = frozenset(
    {"none", "string", "short", "percentunit", "s", "bytes", "dateTimeFromNow", "pps", "reqps", "ops", "cps"}
)
"""Those of the units known to the linter that are used here."""
LOKI = "loki"


def variable(dashboard: Json, name: str) -> Json:
    """Find a variable, empty if there is none."""
    return next((each for each in dashboard["templating"]["list"] if each["name"] == name), {})


def data_sources(dashboard: Json) -> list[Json]:
    """List the variables that choose a data source."""
    return [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]


def template_datasource(dashboard: Json) -> Iterator[Place]:
    """There is one variable for the data source, a Prometheus, under the names that the linter asks for."""
    found = [(each["name"], each["label"], each["query"]) for each in data_sources(dashboard)]
    if found != [("datasource", "Data source", "prometheus")]:
        yield "", f"datasource {found}"


def template_common(dashboard: Json, name: str) -> Iterator[Place]:
    """A variable is a query with several values and All."""
    found = variable(dashboard, name)
    wanted = {"label": name.title(), "type": "query", "multi": True, "allValue": ".+"}
    for key, value in wanted.items():
        if found.get(key) != value:
            yield "", f"{name} {key}"
    if found.get("datasource", {}).get("uid") not in {"$datasource", "${datasource}"}:
        yield "", f"{name} datasource"


def template_label_promql(dashboard: Json) -> Iterator[Place]:
    """Queries of variables use a function that the data source has, on a series and a label."""
    for each in dashboard["templating"]["list"]:
        if each["type"] == "query":
            query = each["query"]["query"]
            match = re.fullmatch(r"label_values\((.+),(\w+)\)", query)
            series = match and re.fullmatch(r"\w+(\{.*\})?|\{.*\}", match[1])
            if not series:
                yield "", each["name"]


def template_reload(dashboard: Json) -> Iterator[Place]:
    """Variables are asked for again when the time range changes."""
    for each in dashboard["templating"]["list"]:
        if each["type"] == "query" and each["refresh"] != 2:
            yield "", each["name"]


def panel_datasource(dashboard: Json) -> Iterator[Place]:
    """Panels and their targets use the data source that is chosen."""
    for panel in panels_of(dashboard):
        for each in (panel, *panel["targets"]):
            if each.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
                yield panel["title"], "datasource"


def panel_title_description(dashboard: Json) -> Iterator[Place]:
    """Panels have a title and a description."""
    for panel in panels_of(dashboard):
        for key in ("title", "description"):
            if not panel.get(key):
                yield panel.get("title", ""), key


def units_of(panel: Json) -> Iterator[str | None]:
    """List the units of a panel and of its fields; value mappings stand for one."""
    config = panel["fieldConfig"]
    defaults = config["defaults"]
    yield "none" if defaults.get("mappings") else defaults.get("unit")
    for override in config["overrides"]:
        for each in override["properties"]:
            if each["id"] == "unit":
                yield each["value"]
    if panel["type"] == "heatmap":
        yield panel["options"]["yAxis"]["unit"]


def panel_units(dashboard: Json) -> Iterator[Place]:
    """Panels have a unit that Grafana knows, or words for their values."""
    for panel in panels_of(dashboard):
        for unit in units_of(panel):
            if unit not in UNITS:
                yield panel["title"], f"unit {unit}"


def panel_no_targets(dashboard: Json) -> Iterator[Place]:
    """Panels have queries."""
    for panel in panels_of(dashboard):
        if not panel.get("targets"):
            yield panel["title"], "targets"


def no_loki(dashboard: Json) -> Iterator[Place]:
    """There is no query for Loki, so what the linter says of LogQL holds."""
    if any(each["query"] == LOKI for each in data_sources(dashboard)):
        yield "", LOKI
    for panel, target in targets_of(dashboard):
        if target.get("datasource", {}).get("type") == LOKI:
            yield panel["title"], target["refId"]


def no_logql_window(dashboard: Json) -> Iterator[Place]:
    """There is no query for Loki with a window of its own, for there is none at all."""
    yield from no_loki(dashboard)


def balanced(expression: str) -> bool:
    """Tell whether brackets close as they open."""
    closes, opened = {")": "(", "]": "[", "}": "{"}, []
    for character in _STRING.sub("", expression):
        if character in closes.values():
            opened.append(character)
        elif character in closes and (not opened or opened.pop() != closes[character]):
            return False
    return not opened


def target_promql(dashboard: Json) -> Iterator[Place]:
    """Queries look like PromQL; that they are valid is for Prometheus to say."""
    for panel, target in targets_of(dashboard):
        if not target.get("expr", "").strip() or not balanced(target["expr"]):
            yield panel["title"], target["refId"]


def target_rate_interval(dashboard: Json) -> Iterator[Place]:
    """Rates and increases look back by `$__rate_interval`, and only they have a window of their own."""
    for panel, target in targets_of(dashboard):
        for selector in selectors(target["expr"]):
            rate = selector.function in {"rate", "irate", "increase"}
            if rate and selector.window != "[$__rate_interval]":
                yield panel["title"], target["refId"]


def target_matcher(dashboard: Json, label: str) -> Iterator[Place]:
    """Every selector matches a label by the variable of its name."""
    for panel, target in targets_of(dashboard):
        found = [(label, "=~", f"${label}") in selector.matchers for selector in selectors(target["expr"])]
        if not found or not all(found) or bare_metrics(target["expr"]):
            yield panel["title"], target["refId"]


def target_counter_agg(dashboard: Json) -> Iterator[Place]:
    """Counters are shown as rates or increases only."""
    for panel, target in targets_of(dashboard):
        for selector in selectors(target["expr"]):
            counts = re.search(r"_(total|bucket|count|sum)$", selector.metric)
            if counts and selector.function not in {"rate", "irate", "increase"}:
                yield panel["title"], target["refId"]


def uneditable(dashboard: Json) -> Iterator[Place]:
    """Nobody edits a dashboard in place."""
    if dashboard.get("editable") is not False:
        yield "", "editable"


RULES: dict[str, Rule] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": lambda dashboard: template_common(dashboard, "job"),
    "template-instance-rule": lambda dashboard: template_common(dashboard, "instance"),
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-logql-rule": no_loki,
    "target-logql-auto-rule": no_logql_window,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": lambda dashboard: target_matcher(dashboard, "job"),
    "target-instance-rule": lambda dashboard: target_matcher(dashboard, "instance"),
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard": uneditable,
}

ALERTS_HAVE_NO_INSTANCE = "the rules aggregate `instance` away, so an alert has none to match"
EXCEPTIONS = {
    ("target-instance-rule", "kms-overview", "Firing alerts"): ALERTS_HAVE_NO_INSTANCE,
    ("target-instance-rule", "kms-overview", "Alerts that fire"): ALERTS_HAVE_NO_INSTANCE,
    ("target-instance-rule", "kms-zone", "Alerts that fire"): ALERTS_HAVE_NO_INSTANCE,
}
"""Where a rule does not fit, by rule, dashboard and panel, and why."""


def broken_places(rule: str, uid: str, dashboard: Json) -> list[Place]:
    """List where a dashboard breaks a rule, apart from the exceptions."""
    return [place for place in RULES[rule](dashboard) if (rule, uid, place[0]) not in EXCEPTIONS]


def test_there_are_seventeen_rules() -> None:
    """Every rule of the linter has its test."""
    assert len(RULES) == len(MUTATIONS) == 17
    assert RULES.keys() == MUTATIONS.keys()


@ALL_DASHBOARDS
@pytest.mark.parametrize("rule", RULES)
def test_rule_holds(uid: str, rule: str) -> None:
    """A dashboard keeps a rule of the linter, but for the exceptions."""
    assert broken_places(rule, uid, load(uid)) == []


@pytest.mark.parametrize(("rule", "uid", "title"), EXCEPTIONS)
def test_exception_is_needed(rule: str, uid: str, title: str) -> None:
    """Every exception is for something that is there, and breaks the rule only in what it says of alerts."""
    assert title in {place[0] for place in RULES[rule](load(uid))}
    panel = next(panel for panel in panels_of(load(uid)) if panel["title"] == title)
    assert {
        selector.metric
        for target in panel["targets"]
        for selector in selectors(target["expr"])
        if ("instance", "=~", "$instance") not in selector.matchers
    } <= {"ALERTS", "ALERTS_FOR_STATE"}


# --- The tests of the rules fail when a dashboard breaks the rule

Mutation = Callable[[Json], None]


def first_panel(dashboard: Json, kind: str = "timeseries") -> Json:
    """Find a panel to spoil."""
    return next(panel for panel in panels_of(dashboard) if panel["type"] == kind)


def first_target(dashboard: Json) -> Json:
    """Find a target to spoil."""
    target: Json = first_panel(dashboard)["targets"][0]
    return target


def change(item: Json, **values: Any) -> None:
    """Change or add what an object says."""
    item.update(values)


MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "template-datasource-rule": (
        lambda d: change(variable(d, "datasource"), name="prom"),
        lambda d: change(variable(d, "datasource"), label="Prometheus"),
        lambda d: d["templating"]["list"].pop(0),
    ),
    "template-job-rule": (
        lambda d: change(variable(d, "job"), allValue=".*"),
        lambda d: change(variable(d, "job"), multi=False),
        lambda d: change(variable(d, "job"), label="Vantage point"),
        lambda d: change(variable(d, "job"), type="custom"),
        lambda d: change(variable(d, "job"), datasource={"uid": "prometheus"}),
        lambda d: change(variable(d, "job"), name="jobs"),
    ),
    "template-instance-rule": (
        lambda d: change(variable(d, "instance"), allValue=""),
        lambda d: change(variable(d, "instance"), name="exporter"),
    ),
    "template-label-promql-rule": (
        lambda d: change(variable(d, "dns_zone"), query={"query": "values(up,job)"}),
        lambda d: change(variable(d, "dns_zone"), query={"query": "label_values(sum(,job)"}),
    ),
    "template-on-time-change-reload-rule": (lambda d: change(variable(d, "dns_zone"), refresh=1),),
    "panel-datasource-rule": (
        lambda d: change(first_panel(d), datasource={"type": "prometheus", "uid": "prometheus"}),
        lambda d: change(first_target(d), datasource={"type": "prometheus", "uid": "prometheus"}),
        lambda d: first_panel(d).pop("datasource"),
    ),
    "panel-title-description-rule": (
        lambda d: change(first_panel(d), title=""),
        lambda d: first_panel(d, "state-timeline").pop("description"),
    ),
    "panel-units-rule": (
        lambda d: first_panel(d)["fieldConfig"]["defaults"].pop("unit"),
        lambda d: change(first_panel(d)["fieldConfig"]["defaults"], unit="seconds"),
        lambda d: first_panel(d, "state-timeline")["fieldConfig"]["defaults"].pop("mappings"),
    ),
    "panel-no-targets-rule": (lambda d: change(first_panel(d), targets=[]),),
    "target-logql-rule": (lambda d: change(first_target(d), datasource={"type": LOKI, "uid": "x"}),),
    "target-logql-auto-rule": (
        lambda d: change(first_target(d), datasource={"type": LOKI, "uid": "x"}, expr="rate({a=`b`}[5m])"),
    ),
    "target-promql-rule": (
        lambda d: change(first_target(d), expr=""),
        lambda d: change(first_target(d), expr=first_target(d)["expr"] + ")"),
    ),
    "target-rate-interval-rule": (
        lambda d: change(first_target(d), expr='rate(process_cpu_seconds_total{job=~"$job"}[5m])'),
        lambda d: change(first_target(d), expr='increase(a_total{job=~"$job"}[$__interval])'),
    ),
    "target-job-rule": (
        lambda d: change(first_target(d), expr='up{instance=~"$instance"}'),
        lambda d: change(first_target(d), expr='up{job="$job",instance=~"$instance"}'),
        lambda d: change(first_target(d), expr=first_target(d)["expr"] + " and up"),
    ),
    "target-instance-rule": (
        lambda d: change(first_target(d), expr='up{job=~"$job"}'),
        lambda d: change(first_target(d), expr="vector(1)"),
    ),
    "target-counter-agg-rule": (
        lambda d: change(first_target(d), expr='kms_srv_lookups_total{job=~"$job",instance=~"$instance"}'),
        lambda d: change(first_target(d), expr='max_over_time(a_total{job=~"$job"}[$__rate_interval])'),
    ),
    "uneditable-dashboard": (
        lambda d: change(d, editable=True),
        lambda d: d.pop("editable"),
    ),
}


@ALL_DASHBOARDS
@pytest.mark.parametrize(
    ("rule", "mutation"),
    [
        pytest.param(rule, mutation, id=f"{rule}-{number}")
        for rule, mutations in MUTATIONS.items()
        for number, mutation in enumerate(mutations)
    ],
)
def test_rule_notices(uid: str, rule: str, mutation: Mutation) -> None:
    """A dashboard that breaks a rule is found out."""
    dashboard = load(uid)
    mutation(dashboard)
    assert broken_places(rule, uid, dashboard) != []


# --- What every dashboard has


@ALL_DASHBOARDS
def test_settings(uid: str) -> None:
    """Dashboards are refreshed as often as the exporter looks, show six hours, and share the crosshair."""
    dashboard = load(uid)
    assert dashboard["uid"] == uid
    assert dashboard["title"] == uid.replace("-", " ").replace("kms", "KMS")
    assert (dashboard["refresh"], dashboard["time"]) == ("1m", {"from": "now-6h", "to": "now"})
    assert (dashboard["tags"], dashboard["timezone"], dashboard["graphTooltip"]) == (["kms"], "browser", 1)
    assert "version" not in dashboard
    assert [each["name"] for each in dashboard["templating"]["list"]] == VARIABLES
    for name in ("dns_zone", "dns_server"):
        found = variable(dashboard, name)
        assert (found["multi"], found["includeAll"]) == (True, True)
        assert found["current"]["value"] == "$__all"


def links_of(dashboard: Json) -> list[str]:
    """List where values of a dashboard lead to."""
    found = []
    for panel in panels_of(dashboard):
        config = panel["fieldConfig"]
        found += [link["url"] for link in config["defaults"].get("links", [])]
        for override in config["overrides"]:
            for each in override["properties"]:
                if each["id"] == "links":
                    found += [link["url"] for link in each["value"]]
    return found


@ALL_DASHBOARDS
def test_links_between_dashboards(uid: str) -> None:
    """A dashboard links to the other two, and takes variables and time range along."""
    links = load(uid)["links"]
    assert {link["url"] for link in links} == {f"/d/{other}" for other in UIDS if other != uid}
    for link in links:
        assert (link["type"], link["includeVars"], link["keepTime"], link["targetBlank"]) == (
            *("link", True, True),
            False,
        )
        assert link["title"] == load(link["url"].removeprefix("/d/"))["title"]


@ALL_DASHBOARDS
def test_links_of_values(uid: str) -> None:
    """A value leads to the dashboard of its zone, and takes the other choices and the time range along."""
    for url in links_of(load(uid)):
        match = re.fullmatch(
            r"/d/kms-zone\?\$\{__url_time_range\}&((?:\$\{\w+:queryparam\}&)+)"
            r"var-dns_zone=\$\{__(?:field\.labels\.dns_zone|data\.fields\.Zone)\}",
            url,
        )
        assert match, url
        assert re.findall(r"\$\{(\w+):", match[1]) == ["datasource", "job", "instance", "top"]


def test_zones_lead_to_their_dashboard() -> None:
    """Both the table and the status grid of the overview lead to the dashboard of a zone."""
    overview = load("kms-overview")
    kinds = {panel["type"] for panel in panels_of(overview) if links_of({"panels": [panel]})}
    assert {"table", "state-timeline"} <= kinds


# --- The grid


@ALL_DASHBOARDS
def test_panels_fill_the_grid(uid: str) -> None:
    """Panels do not overlap, leave no hole, and stand in lines that are as wide as the grid."""
    lines: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for panel in load(uid)["panels"]:
        place = panel["gridPos"]
        lines.setdefault((place["y"], place["h"]), []).append((place["x"], place["w"]))
    below = 0
    for (y, height), line in sorted(lines.items()):
        assert y == below
        below = y + height
        right = 0
        for x, width in sorted(line):
            assert x == right
            right = x + width
        assert right == GRID_COLUMNS


@ALL_DASHBOARDS
def test_ids_are_unique(uid: str) -> None:
    """No two panels share an id or a title, and no two queries of a panel a refId."""
    dashboard = load(uid)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    titles = [panel["title"] for panel in panels_of(dashboard)]
    assert len(set(titles)) == len(titles)
    for panel in panels_of(dashboard):
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


# --- Readable with many zones, and without colours


@ALL_DASHBOARDS
def test_many_rows_come_in_pages(uid: str) -> None:
    """Tables and timelines show many rows in pages; one of a timeline fills its height, by rows to be read.

    A unit of the grid is 38 pixels high; title, time axis and the choice of pages take 120 of them.
    """
    for panel in panels_of(load(uid)):
        if panel["type"] == "table":
            assert panel["options"]["footer"]["enablePagination"] is True
        if panel["type"] == "state-timeline":
            pixels = 38 * panel["gridPos"]["h"] - 120
            assert pixels / panel["options"]["perPage"] >= 16
            assert pixels / (panel["options"]["perPage"] + 1) < 20


BY_SUBJECT = frozenset({"instance", "dns_zone", "dns_server", "target", "address", "reason", "code"})
FEW = ("count by (code, symbol)", "count by (reason)")
"""Graphs whose lines are as few as the words they are about."""


@ALL_DASHBOARDS
def test_graphs_have_few_lines(uid: str) -> None:
    """A graph with a line for every zone, host, server or exporter shows the `$top` of them, and says so."""
    for panel, target in targets_of(load(uid)):
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        if panel["type"] != "timeseries" or not labels & BY_SUBJECT or target["expr"].startswith(FEW):
            continue
        assert re.search(r"\b(topk|bottomk)\(\$top, ", target["expr"]), panel["title"]
        assert "at most as many lines as chosen at the top" in panel["description"].lower(), panel["title"]


@ALL_DASHBOARDS
def test_legends_have_values(uid: str) -> None:
    """Graphs list their lines in a table with the last value."""
    for panel in panels_of(load(uid)):
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert (legend["displayMode"], legend["showLegend"]) == ("table", True)
            assert "lastNotNull" in legend["calcs"]


def mappings_of(dashboard: Json) -> Iterator[tuple[str, Json]]:
    """List all value mappings, each with the title of its panel: value → text and colour."""
    for panel in panels_of(dashboard):
        config = panel["fieldConfig"]
        found = list(config["defaults"].get("mappings", []))
        for override in config["overrides"]:
            for each in override["properties"]:
                if each["id"] == "mappings":
                    found += each["value"]
        for mapping in found:
            assert mapping["type"] == "value"
            yield panel["title"], mapping["options"]


@ALL_DASHBOARDS
def test_colours_have_words(uid: str) -> None:
    """Whatever a colour says, a sign and a word say too, and no two values share a text."""
    for title, options in mappings_of(load(uid)):
        texts = [result["text"] for result in options.values()]
        assert len(set(texts)) == len(texts), title
        for result in options.values():
            assert result["color"], title
            assert re.fullmatch(r"[✓✗!?~i] [a-z][a-z_ ]*", result["text"]), result["text"]


def number_of(word: str, label: str, expression: str) -> str:
    """Find the number that a query gives to a word."""
    [number] = set(re.findall(rf'vector\((\d+)\), "{label}", "{word}"', expression))
    return str(number)


@pytest.mark.parametrize(
    ("uid", "title", "vocabulary"),
    [
        ("kms-overview", "Verdicts over time", Verdict),
        ("kms-overview", "Zones, those with trouble first", Verdict),
        ("kms-overview", "Assigned hosts", Verdict),
        ("kms-overview", "Kinds of clients", Verdict),
        ("kms-zone", "Verdicts over time", Verdict),
        ("kms-zone", "Lookups over time", LookupStatus),
    ],
)
def test_every_word_is_shown(uid: str, title: str, vocabulary: type[Verdict | LookupStatus]) -> None:
    """Every verdict and every status has a number of its own in the query, and its word in the mapping."""
    shown = dict(next(options for name, options in mappings_of(load(uid)) if name == title))
    panel = next(panel for panel in panels_of(load(uid)) if panel["title"] == title)
    expression = panel["targets"][0]["expr"]
    label = "verdict" if vocabulary is Verdict else "status"
    for word in vocabulary:
        assert shown[number_of(word, label, expression)]["text"].split(" ", 1)[1] == word


def test_every_failure_is_shown() -> None:
    """Every reason why a probe fails has a number of its own in the query, and its word in the mapping."""
    title = "Addresses of hosts over time"
    shown = dict(next(options for name, options in mappings_of(load("kms-zone")) if name == title))
    panel = next(panel for panel in panels_of(load("kms-zone")) if panel["title"] == title)
    for word in ProbeFailure:
        number = number_of(word, "reason", panel["targets"][0]["expr"])
        assert shown[number]["text"].split(" ", 1)[1] == word


# --- Metrics and labels are those that there are

OF_PROMETHEUS = {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
OF_THE_CLIENT_LIBRARY = {
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
    "process_max_fds": set[str](),
    "process_start_time_seconds": set[str](),
    "python_gc_collections_total": {"generation"},
}
OF_ALERTS = {
    *("alertname", "alertstate", "severity", "job"),
    *("dns_zone", "dns_server", "target", "port", "address", "client"),
}
OF_EVERY_SCRAPE = {"job", "instance"}


def known_labels() -> dict[str, set[str]]:
    """Give the labels of every metric that there may be."""
    known = {name: set[str]() for name in OF_PROMETHEUS} | OF_THE_CLIENT_LIBRARY | metric_labels()
    known = {name: labels | OF_EVERY_SCRAPE for name, labels in known.items()}
    return known | {"ALERTS": OF_ALERTS, "ALERTS_FOR_STATE": OF_ALERTS}


def made_labels(expression: str) -> set[str]:
    """Collect the labels that an expression makes."""
    return set(re.findall(r'label_(?:join|replace)\(.*?, "(\w+)", "', expression, re.DOTALL))


@ALL_DASHBOARDS
def test_metrics_and_labels_exist(uid: str) -> None:
    """Every metric in a dashboard exists, and so does every label that is matched, grouped or joined by."""
    known = known_labels()
    dashboard = load(uid)
    queries = [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    for expression in expressions_of(dashboard):
        available = made_labels(expression)
        for selector in selectors(expression):
            labels = known[selector.metric]
            assert {name for name, _, _ in selector.matchers} <= labels, selector
            available |= labels
        assert labels_named(expression) <= available, expression
        assert bare_metrics(expression) == []
    for query in queries:
        match = re.fullmatch(r"label_values\((\w*)(?:\{(.*)\})?,(\w+)\)", query)
        assert match
        matchers = {name: value for name, _, value in _MATCHER.findall(match[2] or "")}
        metrics = matchers.pop("__name__", match[1]).split("|")
        for metric in metrics:
            assert {*matchers, match[3]} <= known[metric]


@ALL_DASHBOARDS
def test_names_of_lines_are_labels(uid: str) -> None:
    """The name of a line has only labels that its query keeps."""
    dashboard = load(uid)
    texts = [(target["expr"], target["legendFormat"]) for _, target in targets_of(dashboard)]
    texts += [(each["expr"], each["textFormat"]) for each in dashboard["annotations"]["list"]]
    for expression, text in texts:
        kept = labels_named(expression) | made_labels(expression)
        assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= kept, text


NOT_CHOSEN = {
    "kms_srv_record_published": {"dns_zone"},  # to tell hosts of other zones from those of none
    "kms_static_host_verdict": {"dns_server"},  # to tell that a host is assigned, be it anywhere
    "ALERTS": {"dns_zone", "dns_server"},  # an alert may be about a host, or about nothing of the kind
    "ALERTS_FOR_STATE": {"dns_zone", "dns_server"},  # comes with ALERTS
}
"""Metrics that some queries have to see whole."""


@ALL_DASHBOARDS
def test_choices_are_heeded(uid: str) -> None:
    """What has a zone or a DNS server follows the choice of it."""
    known = known_labels()
    for expression in expressions_of(load(uid)):
        found = selectors(expression)
        for selector in found:
            matched = {label for label, _, _ in selector.matchers}
            unmatched = known[selector.metric] & {"dns_zone", "dns_server"} - matched
            assert unmatched <= NOT_CHOSEN.get(selector.metric, set()), expression
        for label in ("dns_zone", "dns_server"):
            values = {value for each in found for name, _, value in each.matchers if name == label}
            assert values <= {f"${label}", f"${label}|", ""}, expression


COLUMN = re.compile(r"Value #([A-Z])|Value")


@ALL_DASHBOARDS
def test_columns_of_tables_exist(uid: str) -> None:
    """A table names and sorts by columns that its queries give, which all have the same rows."""
    for panel in panels_of(load(uid)):
        if panel["type"] != "table":
            continue
        organize = panel["transformations"][-1]["options"]
        refs = {target["refId"] for target in panel["targets"]}
        kept = [labels_of_result(target["expr"]) for target in panel["targets"]]
        titles = organize["renameByName"]
        assert list(organize["indexByName"]) == sorted(titles)
        for name in titles:
            match = COLUMN.fullmatch(name)
            assert (
                (match[1] in refs or len(refs) == 1) if match else any(name in labels for labels in kept)
            ), name
        overridden = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
        assert set(overridden) == set(titles.values())
        assert {each["displayName"] for each in panel["options"]["sortBy"]} <= set(titles.values())
        shared = set.intersection(*kept)
        assert shared in kept, panel["title"]
        assert set().union(*kept) <= set(titles), panel["title"]


@ALL_DASHBOARDS
def test_empty_cells(uid: str) -> None:
    """What a table says when it is empty stands in no cell of a table that is not."""
    for panel in panels_of(load(uid)):
        if panel["type"] == "table" and "noValue" in panel["fieldConfig"]["defaults"]:
            may_be_empty = {"Zone", "About"}
            own = {
                override["matcher"]["options"]
                for override in panel["fieldConfig"]["overrides"]
                for each in override["properties"]
                if each["id"] == "noValue"
            }
            assert may_be_empty <= own


@ALL_DASHBOARDS
def test_labels_are_text(uid: str) -> None:
    """Labels in a table are text to Grafana, which would show a hexadecimal code as a decimal number."""
    for panel in panels_of(load(uid)):
        if panel["type"] != "table":
            continue
        titles = panel["transformations"][-1]["options"]["renameByName"]
        labels = {title for name, title in titles.items() if not COLUMN.fullmatch(name)}
        for override in panel["fieldConfig"]["overrides"]:
            units = [each["value"] for each in override["properties"] if each["id"] == "unit"]
            assert (units == ["string"]) == (override["matcher"]["options"] in labels)


def labels_of_result(expression: str) -> set[str]:
    """Tell which labels the result of a query of a table has: those of its outermost aggregation."""
    match = re.match(r"(?:1000 \* \()?(?:(?:max|min|sum|group) by \(([^)]*)\))", expression)
    joined = re.search(r"group_right \(\) (?:max|group) by \(([^)]*)\)", expression)
    found = joined or match or re.search(r"(?:max|min) by \(([^)]*)\)", expression)
    assert found, expression
    return {label.strip() for label in found[1].split(",")}


# --- PromQL of 2.42

FUNCTIONS = frozenset(
    {
        *("max", "min", "sum", "count", "group", "quantile", "topk", "bottomk"),
        *("rate", "increase", "changes", "resets", "histogram_quantile", "time", "timestamp", "vector"),
        *("max_over_time", "min_over_time", "last_over_time", "label_join", "label_replace", "end"),
    }
)
"""All of them in Prometheus 2.42, the Prometheus of Debian 12."""


@ALL_DASHBOARDS
def test_functions_are_old_enough(uid: str) -> None:
    """Queries use functions only that Prometheus has had for long."""
    for expression in expressions_of(load(uid)):
        text = _STRING.sub('""', expression)
        used = set(re.findall(r"\b([a-z_]+)\s*\(", text)) - _KEYWORDS
        assert used <= FUNCTIONS


def subqueries(expression: str) -> Iterator[str]:
    """List what stands in the parentheses before each subquery."""
    for match in re.finditer(r"\)\[[^]]*:[^]]*\]", expression):
        depth = 0
        for start in range(match.start(), -1, -1):
            depth += {")": 1, "(": -1}.get(expression[start], 0)
            if depth == 0:
                yield expression[start : match.start()]
                break


@ALL_DASHBOARDS
def test_no_modifier_within_a_subquery(uid: str) -> None:
    """No subquery holds `@ end()`: in a query for a graph, Prometheus 2.42 finds nothing there."""
    found = list(itertools.chain.from_iterable(subqueries(each) for each in expressions_of(load(uid))))
    assert [inner for inner in found if "@" in inner] == []


def test_subqueries_are_found() -> None:
    """What a subquery is made of is found between its parentheses."""
    assert list(subqueries("max(a) + b((c(d) or e)[5m:1m]) and f((g)[1h:])")) == ["(c(d) or e", "(g"]
    assert list(itertools.chain.from_iterable(subqueries(each) for each in expressions_of(load("kms-zone"))))


# --- Annotations


def test_annotations() -> None:
    """The dashboard of a zone marks records that vanish, return or are new, and alerts, each with a text."""
    annotations = load("kms-zone")["annotations"]["list"]
    names = [annotation["name"] for annotation in annotations]
    assert names == ["Record vanished", "Record returned", "New record", "Firing alert"]
    for annotation in annotations:
        assert annotation["enable"] is True
        assert annotation["datasource"]["uid"] == "${datasource}"
        assert annotation["titleFormat"] == annotation["name"]
        assert "{{" in annotation["textFormat"]
    assert len({annotation["iconColor"] for annotation in annotations}) == len(annotations)


@ALL_DASHBOARDS
def test_annotations_compare_steps(uid: str) -> None:
    """No annotation looks back by a window: where a step is longer, what happens in between has no mark."""
    for annotation in load(uid)["annotations"]["list"]:
        assert "$__rate_interval" not in annotation["expr"]


@ALL_DASHBOARDS
def test_rates_have_two_checks(uid: str) -> None:
    """Panels with rates have steps of two intervals of checks: a share of none is no number."""
    for panel in panels_of(load(uid)):
        rate = any("$__rate_interval" in target["expr"] for target in panel["targets"])
        assert (panel.get("interval") == "2m") == rate, panel["title"]


# --- Provisioning


def provisioning(name: str) -> Json:
    """Read a provisioning file."""
    parsed: Json = yaml.safe_load((GRAFANA / "provisioning" / name).read_text())
    assert parsed["apiVersion"] == 1
    return parsed


def test_provisioned_data_source() -> None:
    """The data source is a Prometheus whose address comes from the environment."""
    [source] = provisioning("datasources/prometheus.yml")["datasources"]
    assert (source["type"], source["uid"], source["url"]) == ("prometheus", "prometheus", "$PROMETHEUS_URL")


def test_scrape_interval_is_that_of_the_example() -> None:
    """The data source knows how often the example of Prometheus scrapes, from which rates follow."""
    [source] = provisioning("datasources/prometheus.yml")["datasources"]
    example = yaml.safe_load((GRAFANA.parent / "deploy/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == example["global"]["scrape_interval"]


def test_provisioned_dashboards() -> None:
    """The dashboards come from a folder of files, which the README says to fill with those here."""
    [provider] = provisioning("dashboards/kms-exporter.yml")["providers"]
    assert (provider["type"], provider["folder"]) == ("file", "KMS")
    path = provider["options"]["path"]
    readme = (GRAFANA / "README.md").read_text()
    assert path in readme
    for uid in UIDS:
        assert f"({uid}.json)" in readme
    for file in (GRAFANA / "provisioning").rglob("*.yml"):
        assert f"({file.relative_to(GRAFANA)})" in readme

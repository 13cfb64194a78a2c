"""The alert rules: what fires, what stays silent, and that every name in them is one that the exporter has.

Cases are tables in `alert_cases_*.py`; promtool judges them, see `alert_promtool.py`.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.build import read_build_info
from exporter.state import Snapshot
from tests import (
    alert_cases_clients,
    alert_cases_dns,
    alert_cases_exporter,
    alert_cases_hosts,
    alert_cases_records,
    alert_cases_unwatched,
)
from tests.alert_promtool import (
    ALERTS,
    BUDGET,
    GROUPS,
    RECORDED,
    Case,
    Outcome,
    Pace,
    Run,
    evaluate,
    outcome,
    run_promtool,
)
from tests.builders import families
from tests.services import ROOT, RULES, need

TABLES: dict[str, list[Case]] = {
    "KmsZoneSrvRecordsMissing": alert_cases_dns.ZONE_RECORDS,
    "KmsDnsServerSrvRecordsMissing": alert_cases_dns.SERVER_RECORDS,
    "KmsSrvRecordGone": alert_cases_records.RECORD_GONE,
    "KmsSrvRecordChanged": alert_cases_records.RECORD_CHANGED,
    "KmsExpectedHostMissing": alert_cases_records.EXPECTED_HOSTS,
    "KmsUnexpectedHostPublished": alert_cases_records.UNEXPECTED_HOSTS,
    "KmsLastDnsServerDown": alert_cases_dns.DEAD_SERVERS,
    "KmsDnsServerDown": alert_cases_dns.DEAD_SERVERS,
    "KmsSrvLookupFailing": alert_cases_dns.LOOKUPS,
    "KmsDnsServersDisagree": alert_cases_dns.AGREEMENT,
    "KmsZoneWithoutWorkingHost": alert_cases_hosts.NO_WORKING_HOST,
    "KmsZoneNotWatched": alert_cases_unwatched.ZONES,
    "KmsHostNotWatched": alert_cases_unwatched.HOSTS,
    "KmsHostDown": alert_cases_hosts.HOST_DOWN,
    "KmsServiceSilent": alert_cases_hosts.SERVICE,
    "KmsPortNotKms": alert_cases_hosts.SERVICE,
    "KmsHostAddressDown": alert_cases_hosts.ADDRESS_DOWN,
    "KmsTargetUnresolvable": alert_cases_clients.TARGETS,
    "KmsFirstAttemptsFailing": alert_cases_clients.FIRST_ATTEMPTS,
    "KmsClientProfileUnserved": alert_cases_clients.CLIENTS,
    "KmsHandshakeSlow": alert_cases_clients.HANDSHAKE,
    "KmsHandshakeSynLoss": alert_cases_clients.SYN_LOSS,
    "KmsZoneErrorBudgetBurningFast": alert_cases_exporter.BUDGETS,
    "KmsZoneErrorBudgetBurningSlowly": alert_cases_exporter.BUDGETS,
    "KmsExporterDown": alert_cases_exporter.EXPORTER_DOWN,
    "KmsExporterRestarting": alert_cases_exporter.EXPORTER_RESTARTING,
    "KmsExporterStale": alert_cases_exporter.EXPORTER_STALE,
    "KmsExporterCannotLook": alert_cases_exporter.CANNOT_LOOK,
    "KmsExporterLocalErrors": alert_cases_exporter.CANNOT_LOOK,
    "KmsExporterConfigReloadFailed": alert_cases_exporter.EXPORTER_HEALTH,
    "KmsExporterInternalErrors": alert_cases_exporter.EXPORTER_HEALTH,
    "KmsExporterChecksOverrun": alert_cases_exporter.EXPORTER_HEALTH,
    "KmsExporterRecordsIgnored": alert_cases_exporter.EXPORTER_HEALTH,
}
CAUSES = alert_cases_exporter.CAUSES
CASES = list({each.job: each for table in [*TABLES.values(), CAUSES] for each in table}.values())
RUNBOOKS = ROOT / "deploy/runbooks"
ABOUT_MANY = {"README.md", "repairs.md"}
MAX_CAUSE_PAGES = 1

EVERY_ALERT = pytest.mark.parametrize("name", ALERTS)


# --- What fires and what does not


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Pace], Run]:
    """Let promtool judge all cases of one pace, once."""
    need("promtool")
    runs: dict[Pace, Run] = {}

    def at(pace: Pace) -> Run:
        if pace not in runs:
            cases = [each for each in CASES if each.pace is pace]
            runs[pace] = evaluate(tmp_path_factory.mktemp("rules"), pace, cases)
        return runs[pace]

    return at


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.job)
def test_case(run: Callable[[Pace], Run], case: Case) -> None:
    """Exactly the alerts fire that the case calls for, with labels and annotations as they should be."""
    jobs = {case.job + timeline.view for timeline in case.timelines}
    got = [
        each
        for each in run(case.pace).alerts
        if dict(each.labels)["job"] in jobs and (case.budget or each.name not in BUDGET)
    ]
    if case.either:
        assert len(got) == 1
        assert got[0] in [outcome(each, case.job) for each in case.either]
        return
    expected = [outcome(each, case.job) for each in case.alerts]
    assert sorted(map(show, got)) == sorted(map(show, expected))
    for each in expected:
        rendered = next(other.annotations for other in got if other == each)
        assert {name: rendered[name] for name in each.annotations} == each.annotations


def show(alert: Outcome) -> str:
    """Show the labels of an alert."""
    return " ".join(f"{name}={value}" for name, value in sorted(alert.labels))


@pytest.mark.parametrize("pace", Pace)
def test_nothing_depends_on_the_instance(run: Callable[[Pace], Run], pace: Pace) -> None:
    """No alert and no recorded series names an exporter instance, and all of them name the vantage point."""
    assert run(pace).with_instance == []
    for alert in run(pace).alerts:
        assert "instance" not in dict(alert.labels)
        assert dict(alert.labels)["job"]


def test_cases_are_told_apart() -> None:
    """No two cases share a vantage point."""
    jobs = [each.job for each in CASES]
    assert len({id(each) for table in [*TABLES.values(), CAUSES] for each in table}) == len(jobs)


@EVERY_ALERT
def test_every_alert_is_tried(name: str) -> None:
    """Every alert has a case where it fires with a description, and several where it does not though near."""
    fires = [[alert.name for alert in each.alerts if alert.description] for each in TABLES[name]]
    assert any(name in each for each in fires)
    assert sum(name not in [alert.name for alert in each.alerts] for each in TABLES[name]) > 1


@pytest.mark.parametrize("case", CAUSES, ids=lambda case: case.job)
def test_a_cause_pages_once(case: Case) -> None:
    """One cause gets nobody up twice."""
    severities = [ALERTS[alert.name]["labels"]["severity"] for alert in case.alerts]
    assert severities.count("critical") <= MAX_CAUSE_PAGES


@pytest.mark.parametrize("is_exporter", [True, False])
def test_another_program_may_restart(tmp_path: Path, *, is_exporter: bool) -> None:
    """A program that restarts again and again is our concern only if it is an exporter."""
    need("promtool")
    series = [{"series": 'process_start_time_seconds{job="kms",instance="a"}', "values": "0+60x60"}]
    if is_exporter:
        series.append({"series": 'kms_exporter_build_info{job="kms",instance="a"}', "values": "1x60"})
    test = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": "1h", "alertname": "KmsExporterRestarting", "exp_alerts": []}],
    }
    assert ("FAILED" in run_promtool(tmp_path, 1, test)) == is_exporter


# --- Availability

HOURS = 31 * 24
LONG_OUTAGE = 36
LAST_OUTAGE = 6
AVAILABLE = {
    # At the last of the hourly samples; both ends of a range count, so an hour has two, a day 25.
    "avg5m": 0.0,
    "avg1h": 0.0,
    "avg2h": 0.0,
    "avg6h": 1 / 7,
    "avg1d": 19 / 25,
    "avg3d": 1 - (LAST_OUTAGE - 0.5) / 73,
    "avg30d": 1 - (LONG_OUTAGE + LAST_OUTAGE - 0.5) / 721,
}


def test_availability(tmp_path: Path) -> None:
    """Availability is the share of time with a host that works; what was not looked at counts neither way."""
    need("promtool")
    before = 20 * 24
    between = HOURS + 1 - before - LONG_OUTAGE - LAST_OUTAGE
    working = f"1x{before - 1} 0x{LONG_OUTAGE - 1} 1x{between - 1} 0x{LAST_OUTAGE - 1}"
    labels = 'dns_zone="contoso.com",dns_server="10.0.0.10",job="kms"'
    test = {
        "interval": "1h",
        "input_series": [
            {"series": f'kms_client_verdict{{{labels},instance="a",verdict="ok"}}', "values": working},
            {"series": f'kms_client_verdict{{{labels},instance="a",verdict="degraded"}}', "values": "0x800"},
            {"series": f'kms_client_verdict{{{labels},instance="a",verdict="unknown"}}', "values": "0x800"},
        ],
        "promql_expr_test": [
            {
                "eval_time": f"{HOURS}h",
                "expr": f"round(zone:kms_available:{window} * 100000)",
                "exp_samples": [
                    {"labels": '{dns_zone="contoso.com",job="kms"}', "value": round(value * 100000)}
                ],
            }
            for window, value in AVAILABLE.items()
        ],
    }
    objective = [group for group in GROUPS if group["name"] == "kms-exporter-objective"]
    rules = tmp_path / "objective.yml"
    rules.write_text(yaml.safe_dump({"groups": objective}))
    assert "FAILED" not in run_promtool(tmp_path, 60, test, rules=rules)


# --- What promtool says of the files


@pytest.mark.parametrize(
    ("kind", "file"), [("rules", RULES), ("config", ROOT / "deploy/prometheus/prometheus.yml")]
)
def test_promtool_accepts(kind: str, file: Path) -> None:
    """The rules and the example configuration of Prometheus are valid."""
    need("promtool")
    done = subprocess.run(["promtool", "check", kind, str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"WARNING" not in done.stdout + done.stderr


# --- How alerts are written


@EVERY_ALERT
def test_alert_is_complete(name: str) -> None:
    """Every alert has a name of ours, a known severity, a static summary and a description with values."""
    rule = ALERTS[name]
    assert re.fullmatch(r"Kms([A-Z][a-z0-9]+)+", name)
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert re.fullmatch(r"[A-Z][^{}]*\.", rule["annotations"]["summary"])
    assert re.search(r"\{\{ .*\$(labels|value)", rule["annotations"]["description"])


@EVERY_ALERT
def test_alert_has_a_runbook_and_a_dashboard(name: str) -> None:
    """The page and the dashboard that an alert links to are in this repository."""
    annotations = ALERTS[name]["annotations"]
    assert annotations["runbook_url"].endswith(f"/deploy/runbooks/{name}.md")
    assert (RUNBOOKS / f"{name}.md").is_file()
    link = re.fullmatch(r"https?://[^/]+/d/([a-z-]+)\?var-job=\{\{ .*", annotations["dashboard_url"])
    assert link
    assert link[1] in dashboards()


@EVERY_ALERT
def test_dashboard_has_the_variables_of_the_link(name: str) -> None:
    """What an alert's link sets is a variable of the dashboard."""
    url = ALERTS[name]["annotations"]["dashboard_url"]
    dashboard = dashboards()[url.partition("/d/")[2].partition("?")[0]]
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"[?&]var-(\w+)=", url)) <= variables


def dashboards() -> dict[str, Any]:
    """Read the dashboards, by uid."""
    read = (json.loads(path.read_text()) for path in sorted((ROOT / "grafana").glob("*.json")))
    return {dashboard["uid"]: dashboard for dashboard in read}


def test_every_runbook_has_an_alert() -> None:
    """No runbook is left of an alert that is gone."""
    assert {path.name for path in RUNBOOKS.glob("*.md")} - ABOUT_MANY == {f"{name}.md" for name in ALERTS}


@EVERY_ALERT
def test_alert_carries_the_labels_that_its_texts_name(name: str) -> None:
    """A label in an annotation is one that the alert has."""
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(ALERTS[name]["annotations"].values())))
    carried = {
        label for each in CASES for alert in each.alerts if alert.name == name for label in alert.labels
    }
    assert named <= carried | {"job"}


# --- The names in the rules

SELECTOR = re.compile(r"\b((?:[a-z_]+:)?kms_[a-z_0-9]+(?::[a-z0-9]+)?|process_[a-z_]+|up)\b(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")
MADE_UP = {"family"}
"""Labels that rules make themselves, with label_replace."""
TEXTS = {
    **RECORDED,
    **{name: rule["expr"] for name, rule in ALERTS.items()},
    **{
        f"{name}, description": " ".join(re.findall(r'printf "([^"]*)"', rule["annotations"]["description"]))
        for name, rule in ALERTS.items()
    },
}
EVERY_TEXT = pytest.mark.parametrize("name", TEXTS)


@pytest.fixture
def shown(run: Callable[[Pace], Run]) -> Mapping[str, set[str]]:
    """Give the metrics that the exporter shows in the cases, each with its labels."""
    return run(Pace.MINUTES).shown


def metrics_of(text: str) -> Iterator[str]:
    """Tell which of the exporter's metrics an expression comes down to."""
    for name, _ in SELECTOR.findall(text):
        if name in RECORDED:
            yield from metrics_of(RECORDED[name])
        else:
            yield name


@EVERY_TEXT
def test_names_exist(shown: Mapping[str, set[str]], name: str) -> None:
    """Every metric and every label in an expression is one that the exporter shows, or that is recorded."""
    text = TEXTS[name]
    assert [metric for metric in metrics_of(text) if metric not in shown] == []
    for selected, matchers in SELECTOR.findall(text):
        labels = {label for metric in metrics_of(selected) for label in shown[metric]}
        assert set(re.findall(r"(\w+)[=!]", matchers)) <= labels
    labels = {label for metric in metrics_of(text) for label in shown[metric]}
    grouped = {label.strip() for group in GROUPING.findall(text) for label in group.split(",")}
    assert grouped <= labels | MADE_UP | {"job", "instance"}


def test_every_recorded_series_is_used() -> None:
    """Nothing is recorded for nobody: alerts, dashboards or the documents name it."""
    texts = [rule["expr"] for group in GROUPS for rule in group["rules"]]
    texts += [path.read_text() for path in (ROOT / "grafana").glob("*.json")]
    texts += [path.read_text() for path in ROOT.glob("*.md")]
    assert [name for name in RECORDED if not any(name in text for text in texts)] == []


def test_rules_about_zones_work_with_probe() -> None:
    """Alerts about zones use only gauges, and none that /probe has not; the zone's labels may be absent."""
    gauges = {each.name for each in families(Snapshot(), read_build_info()) if each.type == "gauge"}
    about_zones = {
        alert.name
        for each in CASES
        for alert in each.alerts
        if "dns_zone" in alert.labels and not alert.name.startswith("KmsExporter")
    }
    for name in about_zones:
        used = set(metrics_of(ALERTS[name]["expr"]))
        assert used <= gauges
        assert not any(metric.startswith("kms_exporter_") for metric in used)
        assert "kms_zone_info" not in ALERTS[name]["expr"].replace("zone:kms_zone_info:labels", "")
    assert "or on (job, dns_zone)" in RECORDED["zone:kms_zone_info:labels"]

"""Expressions, columns and panels that more than one dashboard has."""

from collections.abc import Callable
from dataclasses import replace

from grafana_foundation_sdk.builders import table

from exporter.diagnosis import Verdict
from grafana.source.frame import zone_url
from grafana.source.panels import link
from grafana.source.queries import (
    EXPORTER,
    RANGE,
    ZONE,
    ZONE_SERVER,
    Query,
    alternatives,
    appeared,
    largest,
    milliseconds,
    of_zone_servers,
    on,
    smallest,
)
from grafana.source.selections import about, none_expected
from grafana.source.states import verdict_numbers, zone_verdict
from grafana.source.tables import Column, listing
from grafana.source.words import VERDICT_WORDS, Word

ZONE_ROW = "{{dns_zone}} @ {{dns_server}} · {{job}}"
ENDPOINT_LINE = "{{target}}:{{port}} {{address}} · {{job}}"
LONGER = "longer than shown"
"""Stands for a time before the range, within which nothing changed."""

_CLICK = "Open this zone"
TO_ZONE = link(_CLICK, zone_url("${__field.labels.dns_zone}"))

ZONE_COLUMN = Column(source="dns_zone", title="Zone", url=zone_url("${__data.fields.Zone}"), click=_CLICK)
SERVER_COLUMN = Column(source="dns_server", title="DNS server")
JOB_COLUMN = Column(source="job", title="Job")

_SEVERITIES = {
    "critical": Word(number=3, text="✗ critical", colour="red"),
    "warning": Word(number=2, text="! warning", colour="orange"),
    "info": Word(number=1, text="i info", colour="blue"),
}


def likely_error() -> str:
    """Give the likely error of every zone at every DNS server; none where nothing is expected.

    Where exporters see different ones, it is that of the worse verdict, for a table has one row for both.
    """
    info = of_zone_servers("kms_client_likely_error_info")
    same = (*EXPORTER, "dns_zone", "dns_server")
    ranked = f"{info} * {on(same)} group_left () {largest(same, verdict_numbers())}"
    errors = largest((*ZONE_SERVER, "code", "symbol"), ranked)
    return f"topk by ({', '.join(ZONE_SERVER)}) (1, {errors})\nunless {on(ZONE)} {none_expected()}"


def first_attempt(selection: str = "rfc2782") -> str:
    """Give the chance that the first host works that a client picks."""
    ratio = of_zone_servers("kms_client_first_attempt_success_ratio", f'selection="{selection}"')
    return smallest(ZONE_SERVER, ratio)


def verdict_since() -> str:
    """Give when another verdict than the present one was last the verdict, in the range of time.

    Where there was no other, it is when the zone was seen first, if that is in the range.
    """
    labels = (*ZONE_SERVER, "verdict")
    current = f"{of_zone_servers('kms_client_verdict')} == 1"
    seen = largest(labels, f"max_over_time(timestamp({current}){RANGE})")
    other = largest(ZONE_SERVER, f"{seen} unless {largest(labels, current)}")
    any_verdict = of_zone_servers("kms_client_verdict", alternatives("verdict", [Verdict.OK]))  # 1 or 0
    first = f"{appeared(ZONE_SERVER, any_verdict)} > time() - $__range_s + 2 * $__interval_ms / 1000"
    present = largest(ZONE_SERVER, current)
    return milliseconds(f"({other}\nor {first})\nand {on(ZONE_SERVER)} {present}")


def verdict_queries() -> tuple[list[Query], list[Column]]:
    """Give what begins a table of zones at DNS servers: four queries, and columns for them."""
    queries = [zone_verdict(ZONE_SERVER)(""), likely_error(), verdict_since(), first_attempt()]
    columns = [
        ZONE_COLUMN,
        SERVER_COLUMN,
        Column(source="A", title="Verdict", words=VERDICT_WORDS, width=190),
        Column(source="C", title="Since", unit="dateTimeFromNow", missing=LONGER, width=150),
        Column(source="code", title="Likely code", width=120),
        Column(source="symbol", title="Symbol"),
        Column(source="D", title="First attempt works", unit="percentunit", missing="-", width=110),
    ]
    return [Query(expr=expr) for expr in queries], columns


def _leading_somewhere(alerts: str) -> str:
    """Have an alert about no zone lead to all of them: in links, that is their name to Grafana."""
    return f'label_replace({alerts}, "dns_zone", "All", "dns_zone", "")'


def alert_table(alerts: Callable[..., str]) -> table.Panel:
    """List the alerts that fire, the most severe first; `alerts` selects them, with more matchers."""
    labels = ("alertname", "job", "dns_zone", "about")
    numbers = [(word.number, alerts(f'severity="{name}"')) for name, word in _SEVERITIES.items()]
    severity = "\n or ".join(f"{number} * {firing}" for number, firing in numbers)
    since = f'ALERTS_FOR_STATE{{job=~"$job",alertname=~"Kms.*"}} and ignoring (alertstate) {alerts()}'
    return listing(
        "Alerts that fire",
        "Alerts of kms-exporter that fire now, and since when their condition has held. They come from "
        "Prometheus' rules (deploy/prometheus/kms-exporter.rules.yml): without these it is empty.",
        [
            Query(expr=largest(labels, _leading_somewhere(about(f"({severity})")))),
            Query(expr=milliseconds(largest(labels, _leading_somewhere(about(f"({since})"))))),
        ],
        [
            Column(source="A", title="Severity", words=[*_SEVERITIES.values()], width=110),
            Column(source="alertname", title="Alert", width=270),
            replace(ZONE_COLUMN, missing="-"),
            Column(source="about", title="About", missing="-"),
            Column(source="B", title="Since", unit="dateTimeFromNow", width=150),
            JOB_COLUMN,
        ],
        worst=["Severity"],
        then=["Alert", "Zone"],
        no_value="✓ none",
    )

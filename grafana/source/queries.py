"""PromQL: selectors, and the few forms that many panels share. Text in, text out.

Every selector matches `$job` and `$instance`. Two exporters of one job are one view by two eyes, so panels
about what they see aggregate `instance` away and keep `job`, the vantage point.

Prometheus is taken to be as old as 2.42.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

END = " @ end()"
"""A modifier: as at the end of the time range. Makes a choice of series that holds for the whole range."""
RANGE = "[$__range:$__interval]"
RATE = "[$__rate_interval]"
BEFORE = " offset $__interval"
"""A modifier: as one step before. Nothing is lost between two steps, as between windows of a rate."""
TOP = "$top"

ZONE = ("job", "dns_zone")
ZONE_SERVER = (*ZONE, "dns_server")
RECORD = (*ZONE, "target", "port")
HOST = ("job", "target", "port")
ENDPOINT = (*HOST, "address")
SERVER = ("job", "dns_server")
CLIENT = ("job", "client", "dns_server")
STATIC = (*HOST, "dns_server")
EXPORTER = ("job", "instance")

_OWN = ('job=~"$job"', 'instance=~"$instance"')
_SELECTED_ZONES = 'dns_zone=~"$dns_zone"'
_SELECTED_SERVERS = 'dns_server=~"$dns_server"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel: an expression, and the name of its series."""

    expr: str
    legend: str = ""


def of_exporter(metric: str, *matchers: str) -> str:
    """Select by job and instance alone."""
    return f"{metric}{{{','.join((*_OWN, *matchers))}}}"


def of_zones(metric: str, *matchers: str) -> str:
    """Select a metric with a zone, and no DNS server."""
    return of_exporter(metric, _SELECTED_ZONES, *matchers)


def of_servers(metric: str, *matchers: str) -> str:
    """Select a metric with a DNS server, and no zone."""
    return of_exporter(metric, _SELECTED_SERVERS, *matchers)


def of_zone_servers(metric: str, *matchers: str) -> str:
    """Select a metric with a zone and a DNS server."""
    return of_exporter(metric, _SELECTED_ZONES, _SELECTED_SERVERS, *matchers)


def alternatives(label: str, words: Iterable[str]) -> str:
    """Make a matcher for any of these words, none of which has a character that is special in a regex."""
    several = tuple(words)
    return f'{label}{"=" if len(several) == 1 else "=~"}"{"|".join(several)}"'


def largest(labels: Sequence[str], expr: str) -> str:
    """Keep these labels only, and the largest value: what any exporter of the job saw."""
    return f"max by ({', '.join(labels)}) ({expr})"


def smallest(labels: Sequence[str], expr: str) -> str:
    """Keep these labels only, and the smallest value."""
    return f"min by ({', '.join(labels)}) ({expr})"


def total(labels: Sequence[str], expr: str) -> str:
    """Keep these labels only, and the sum."""
    return f"sum by ({', '.join(labels)}) ({expr})"


def on(labels: Sequence[str]) -> str:
    """Match both sides of a set operation by these labels."""
    return f"on ({', '.join(labels)})"


Choice = Callable[[str], str]
"""Keeps some of the series of an expression.

It may look at the end of the range, so it never goes into a subquery: in one, Prometheus 2.42 finds nothing
by `@ end()`.
"""


def all_series(expr: str) -> str:
    """Keep every series."""
    return expr


def highest_series(expr: str, choice: Choice = all_series) -> str:
    """Keep the `$top` series of a choice that were highest at any time of the range."""
    chosen = choice(f"max_over_time(({expr}){RANGE}{END})")
    return f"{expr}\nand topk({TOP}, {chosen})"


def lowest_series(expr: str) -> str:
    """Keep the `$top` series that were lowest at any time of the range."""
    return f"{expr}\nand bottomk({TOP}, min_over_time(({expr}){RANGE}{END}))"


def changing_series(expr: str) -> str:
    """Keep the `$top` series that changed most often in the range, and none that did not."""
    return f"{expr}\nand topk({TOP}, changes(({expr}){RANGE}{END}) > 0)"


def counted(condition: str, everything: str) -> str:
    """Count series: 0 where none meets the condition, nothing at all where there is nothing to count."""
    return f"count({condition}) or 0 * count({everything})"


def appeared(labels: Sequence[str], expr: str) -> str:
    """Give when each series was there for the first time in the range."""
    return smallest(labels, f"min_over_time(timestamp({expr}){RANGE})")


def milliseconds(expr: str) -> str:
    """Turn Unix time into what Grafana shows as a date."""
    return f"1000 * ({expr})"

"""How families are made of samples, and the label names that many of them share."""

import enum
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from exporter.state import Histogram

Sample: TypeAlias = tuple[Sequence[str], float]
"""The values of the labels, and the value."""

ZONE = ("dns_zone",)
ZONE_SERVER = ("dns_zone", "dns_server")
RECORD = ("dns_zone", "target", "port")
TARGET_SERVER = ("target", "dns_server")
HOST = ("target", "port")
ENDPOINT = ("target", "port", "address")
CLIENT_SERVER = ("client", "dns_server")


def gauge(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    """Make a family of gauges."""
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def states(
    name: str,
    help_text: str,
    labels: Sequence[str],
    vocabulary: type[enum.StrEnum],
    current: Iterable[tuple[Sequence[str], enum.StrEnum]],
) -> Metric:
    """Make a family of state gauges: one series for every word, 1 for the current; the last label has it."""
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, word in current:
        for state in vocabulary:
            family.add_metric((*values, state.value), float(state is word))
    return family


def counter(name: str, help_text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    """Make a family of counters."""
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def histogram(
    name: str, help_text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], Histogram]]
) -> Metric:
    """Make a family of histograms."""
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for values, histogram in samples:
        buckets = [(_bound(bound), count) for bound, count in histogram.cumulative()]
        family.add_metric(values, buckets, histogram.sum)
    return family


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)

"""Families as objects of prometheus_client, for whoever works with those."""

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from exporter.metrics.family import Family, Histograms
from exporter.state import Histogram


def to_metric(family: Family) -> Metric:
    """Give the same family as prometheus_client has it."""
    content = family.content
    if isinstance(content, Histograms):
        return _histograms(family, content)
    kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in content.samples():
        metric.add_metric(list(map(str, labels)), value)
    return metric


def _histograms(family: Family, content: Histograms) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, histogram in zip(content.rows, content.histograms, strict=True):
        metric.add_metric(list(map(str, labels)), _buckets(histogram), histogram.sum)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    return [
        ("+Inf" if bound == float("inf") else str(bound), count) for bound, count in histogram.cumulative()
    ]

"""From a snapshot to metric families: the only place that knows a metric's name.

Pure but for the collector that hands families to prometheus_client, and for what is kept of the last page.
Names, labels and meaning are a public interface; they follow https://prometheus.io/docs/practices/naming/ and
https://prometheus.io/docs/instrumenting/writing_exporters/. Values are those of the last check, not of the
moment of the scrape: the exporter looks on its own timer.

| module | holds |
| --- | --- |
| zones | what DNS servers say of zones |
| hosts | hosts and their endpoints |
| verdicts | what clients meet |
| own | the exporter itself |
| family | how families are made |
| convert | families as objects of prometheus_client |
| layout, text, chunk | families as text, and what is kept of it for the next time |
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.build import BuildInfo
from exporter.diagnosis import Diagnosis, diagnose, diagnosing
from exporter.metrics.chunk import Chunk, compress, join
from exporter.metrics.convert import to_metric
from exporter.metrics.family import Family
from exporter.metrics.hosts import host_families
from exporter.metrics.layout import Encode
from exporter.metrics.own import check_families, own_families
from exporter.metrics.text import Writer
from exporter.metrics.verdicts import verdict_families
from exporter.metrics.zones import zone_families
from exporter.state import Snapshot
from exporter.steps import Steps

_NO_BIND = " probe.rpc_bind is off: probes end with the TCP handshake."
_ZONE_INFO = "kms_zone_info"
_KEPT_FOR = 2

__all__ = [
    "Chunk",
    "Encode",
    "Exposition",
    "ProbeCollector",
    "compress",
    "families",
    "join",
    "probe_families",
]


class ProbeCollector(Collector):
    """Hands what one check made on demand found to prometheus_client; usable in any thread."""

    def __init__(self, snapshot: Snapshot, *, configured: bool) -> None:
        self._snapshot = snapshot
        self._configured = configured

    def collect(self) -> Iterable[Metric]:
        """Give the families of the check."""
        return probe_families(self._snapshot, configured=self._configured)


class Exposition:
    """Writes one snapshot after the other, and keeps what the next is likely to have in common with the last.

    One is done with, or given up, before the next is begun.
    """

    def __init__(self, build: BuildInfo) -> None:
        self._build = build
        self._diagnosis: Diagnosis | None = None
        self._writers: dict[str, tuple[int, Writer]] = {}
        self._written = 0

    def write(self, snapshot: Snapshot, encode: Encode, *, content_type: str) -> Steps[list[Chunk]]:
        """Write the families of a snapshot as `encode` would, which gives what `content_type` names.

        What is kept for another type goes with the second page in a row that is not of it.
        """
        self._written += 1
        _, writer = self._writers.get(content_type, (0, Writer(encode)))
        self._writers[content_type] = (self._written, writer)
        self._writers = {
            kept: (last, each)
            for kept, (last, each) in self._writers.items()
            if last > self._written - _KEPT_FOR
        }
        self._diagnosis = yield from diagnosing(snapshot, self._diagnosis)
        return (yield from writer.write(families(snapshot, self._build, self._diagnosis)))


def families(snapshot: Snapshot, build: BuildInfo, diagnosis: Diagnosis) -> Iterator[Family]:
    """Turn a snapshot and its diagnosis into families, in the order in which a reader would want them."""
    yield from _findings(snapshot, diagnosis)
    yield from own_families(snapshot, build)


def probe_families(snapshot: Snapshot, *, configured: bool) -> Iterator[Metric]:
    """Turn the snapshot of one check into metric families: what is true of this moment, and nothing else.

    No counters and no histograms, which would have to remember; nothing that has no sample; nothing of the
    configuration when what was looked at is not `configured`.
    """
    for family in (*_findings(snapshot, diagnose(snapshot)), *check_families(snapshot)):
        if family.type == "gauge" and (configured or family.name != _ZONE_INFO):
            metric = to_metric(family)
            if metric.samples:
                yield metric


def _findings(snapshot: Snapshot, diagnosis: Diagnosis) -> Iterator[Family]:
    yield from zone_families(snapshot)
    note = "" if snapshot.rpc_bind else _NO_BIND
    yield from host_families(snapshot, note=note)
    yield from verdict_families(diagnosis, note=note)

"""From a snapshot to metric families: the only place that knows a metric's name.

Pure but for the collector classes that hand the families to prometheus_client. Names, labels and meaning are
a public interface; they follow https://prometheus.io/docs/practices/naming/ and
https://prometheus.io/docs/instrumenting/writing_exporters/. Values are those of the last check, not of the
moment of the scrape: the exporter looks on its own timer.

| module | holds |
| --- | --- |
| zones | what DNS servers say of zones |
| hosts | hosts and their endpoints |
| verdicts | what clients meet |
| own | the exporter itself |
| family | how families are made |
"""

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from exporter.build import BuildInfo
from exporter.diagnosis import diagnose
from exporter.metrics.hosts import host_families
from exporter.metrics.own import check_families, own_families
from exporter.metrics.verdicts import verdict_families
from exporter.metrics.zones import zone_families
from exporter.state import Snapshot

_NO_BIND = " probe.rpc_bind is off: probes end with the TCP handshake."
_ZONE_INFO = "kms_zone_info"

__all__ = ["ProbeCollector", "SnapshotCollector", "families", "probe_families"]


class ProbeCollector(Collector):
    """Hands what one check made on demand found to prometheus_client; usable in any thread."""

    def __init__(self, snapshot: Snapshot, *, configured: bool) -> None:
        self._snapshot = snapshot
        self._configured = configured

    def collect(self) -> Iterable[Metric]:
        """Give the families of the check."""
        return probe_families(self._snapshot, configured=self._configured)


class SnapshotCollector(Collector):
    """Hands one snapshot to prometheus_client; usable in any thread."""

    def __init__(self, snapshot: Snapshot, build: BuildInfo) -> None:
        self._snapshot = snapshot
        self._build = build

    def collect(self) -> Iterable[Metric]:
        """Give the families of the snapshot."""
        return families(self._snapshot, self._build)


def families(snapshot: Snapshot, build: BuildInfo) -> Iterator[Metric]:
    """Turn a snapshot into metric families, in the order in which a reader would want them."""
    yield from _findings(snapshot)
    yield from own_families(snapshot, build)


def probe_families(snapshot: Snapshot, *, configured: bool) -> Iterator[Metric]:
    """Turn the snapshot of one check into metric families: what is true of this moment, and nothing else.

    No counters and no histograms, which would have to remember; nothing that has no sample; nothing of the
    configuration when what was looked at is not `configured`.
    """
    for family in (*_findings(snapshot), *check_families(snapshot)):
        if family.type == "gauge" and family.samples and (configured or family.name != _ZONE_INFO):
            yield family


def _findings(snapshot: Snapshot) -> Iterator[Metric]:
    yield from zone_families(snapshot)
    note = "" if snapshot.rpc_bind else _NO_BIND
    yield from host_families(snapshot, note=note)
    yield from verdict_families(diagnose(snapshot), note=note)

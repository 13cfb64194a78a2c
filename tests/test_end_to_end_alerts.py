"""From a record deleted in BIND to a page: exporter, Prometheus, Alertmanager and an HTTP receiver, all real.

They run in a network namespace, where the ports that the examples name are free, so that `prometheus.yml` and
`alertmanager.yml` are used as they are. Only the waits of the alert rules are shortened.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.services import (
    LOOPBACK,
    PROMETHEUS_EXAMPLE,
    ROOT,
    Exporter,
    Lab,
    Named,
    Namespace,
    Notification,
    Prometheus,
    Webhook,
    config,
    hurried_rules,
    srv,
    wait_until,
    zone,
    zone_file,
)

DEAD_SERVER = "127.0.0.2"
DEAD_ZONES = ("dead1.test", "dead2.test", "dead3.test")
RECORD = "_vlmcs._tcp.contoso.test. 60 SRV 0 0 1688 kms1.contoso.test."


@dataclass(frozen=True, slots=True)
class Monitoring:
    """All that runs in the namespace."""

    lab: Lab
    namespace: Namespace
    named: Named
    prometheus: Prometheus
    receiver: Webhook

    def exporter(self) -> Exporter:
        """Start the exporter where prometheus.yml looks for it."""
        zones = [
            zone("contoso.test", LOOPBACK),
            zone("pair.test", LOOPBACK),
            *(zone(name, DEAD_SERVER) for name in DEAD_ZONES),
        ]
        labelled = [each | {"labels": {"team": "workplace"}} for each in zones]
        return self.lab.exporter(config(*labelled), port=11688, namespace=self.namespace)

    def pages(self) -> list[Notification]:
        """List the notifications that page somebody, so far."""
        return self.receiver.to("page")

    def wait_for_page(self, alertname: str, status: str) -> Notification:
        """Wait until somebody is paged for this, or told that it is over."""

        def look() -> Notification | None:
            found = [page for page in self.pages() if page.body["groupLabels"]["alertname"] == alertname]
            return next((page for page in found if page.body["status"] == status), None)

        return wait_until(look, f"a page: {alertname} is {status}; so far {self.pages()}")


@pytest.fixture
def monitoring(lab: Lab, tmp_path: Path) -> Monitoring:
    """Start everything but the exporter."""
    namespace = lab.namespace()
    namespace.call(lambda: lab.listener(port=1688))
    zones = {
        "contoso.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", 1688)),
        "pair.test": zone_file(
            f"kms1 A {LOOPBACK}", f"kms2 A {LOOPBACK}", srv("kms1", 1688), srv("kms2", 1688)
        ),
    }
    named = lab.named(zones, namespace=namespace)
    receiver = lab.webhook(5001, namespace=namespace)
    lab.alertmanager(port=9093, namespace=namespace)
    hurried_rules(tmp_path)
    config_file = Path(shutil.copy(PROMETHEUS_EXAMPLE, tmp_path))
    prometheus = lab.prometheus(config_file=config_file, port=9090, namespace=namespace)
    return Monitoring(lab, namespace, named, prometheus, receiver)


def only_alert(page: Notification) -> dict[str, Any]:
    """Return the one alert of a notification."""
    [alert] = page.alerts
    return alert


def test_vanished_records_page_once(monitoring: Monitoring) -> None:
    """Records deleted by dynamic update page once, with zone, server and runbook; their return resolves it.

    Meanwhile a DNS server is dead that three zones depend on, which is one more page and not three; and a
    record that vanishes while the exporter is away is missed all the same, by what Prometheus remembers.
    """
    exporter = monitoring.exporter()
    recorded = 'record:kms_srv_record_info:max{dns_zone=~"contoso.test|pair.test"}'
    monitoring.prometheus.wait_until(
        lambda: len(monitoring.prometheus.query(recorded)) == 3 or None, "the records are recorded"
    )
    monitoring.named.update("contoso.test", f"delete {RECORD}")
    alert = only_alert(monitoring.wait_for_page("KmsZoneSrvRecordsMissing", "firing"))
    assert alert["labels"] == {
        "alertname": "KmsZoneSrvRecordsMissing",
        "dns_zone": "contoso.test",
        "job": "kms",
        "severity": "critical",
        "team": "workplace",
    }
    annotations = alert["annotations"]
    assert f"has no SRV record at {LOOPBACK}, seen from kms" in annotations["description"]
    assert "0x8007232B" in annotations["description"]
    assert annotations["dashboard_url"].endswith("/kms-zone?var-job=kms&var-dns_zone=contoso.test")
    runbook = annotations["runbook_url"].partition("/blob/main/")[2]
    assert (ROOT / runbook).is_file()

    exporter.stop()
    monitoring.named.update("pair.test", "delete _vlmcs._tcp.pair.test. SRV 0 0 1688 kms2.pair.test.")
    monitoring.named.update("contoso.test", f"add {RECORD}")
    monitoring.exporter()
    monitoring.prometheus.wait_until(
        lambda: "KmsSrvRecordGone" in monitoring.prometheus.firing(target="kms2.pair.test") or None,
        "the record that vanished while the exporter was away is missed",
    )
    resolved = only_alert(monitoring.wait_for_page("KmsZoneSrvRecordsMissing", "resolved"))
    assert (resolved["status"], resolved["labels"]) == ("resolved", alert["labels"])

    dead = only_alert(monitoring.wait_for_page("KmsLastDnsServerDown", "firing"))
    assert dead["labels"]["dns_server"] == DEAD_SERVER
    assert "unreachable for 3" in dead["annotations"]["description"]
    told = [(page.body["groupLabels"]["alertname"], page.body["status"]) for page in monitoring.pages()]
    assert sorted(told) == [
        ("KmsLastDnsServerDown", "firing"),
        ("KmsZoneSrvRecordsMissing", "firing"),
        ("KmsZoneSrvRecordsMissing", "resolved"),
    ]
    assert not any(name in str(monitoring.pages()) for name in DEAD_ZONES)

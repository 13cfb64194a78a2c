"""The real exporter, BIND and Prometheus: a job whose targets are the KMS hosts that /sd lists."""

import subprocess
from pathlib import Path

from tests.services import (
    LOOPBACK,
    ROOT,
    Exporter,
    Lab,
    Prometheus,
    config,
    http_request,
    need,
    parse_metrics,
    srv,
    wait_until,
    which,
    zone,
    zone_file,
)

EXAMPLE = ROOT / "deploy/prometheus/discovery.yml"
ZONE = "contoso.test"


def followed(prometheus: Prometheus) -> set[str]:
    """Collect the targets of the job that follows /sd."""
    active = prometheus.get("/api/v1/targets")["activeTargets"]
    return {each["labels"]["instance"] for each in active if each["labels"]["job"] == "windows"}


def dropped(prometheus: Prometheus) -> set[str]:
    """Collect what that job discovers, and drops."""
    found = [each["discoveredLabels"] for each in prometheus.get("/api/v1/targets")["droppedTargets"]]
    return {labels["__address__"] for labels in found if labels["job"] == "windows"}


def failures(prometheus: Prometheus) -> float:
    """Count how often Prometheus could not refresh its targets."""
    metrics = parse_metrics(http_request(prometheus.web, "/metrics").text)
    return metrics.value("prometheus_sd_http_failures_total") or 0


def wait_for_failure(prometheus: Prometheus) -> None:
    """Wait until Prometheus has asked in vain once more: then it goes on with what it has."""
    before = failures(prometheus)
    wait_until(lambda: failures(prometheus) > before or None, "Prometheus cannot refresh")


def hurried_example(directory: Path, exporter: Exporter) -> Path:
    """Copy the example for this exporter, which stands in for windows_exporter too, with short intervals."""
    address = "{}:{}".format(*exporter.web)
    text = EXAMPLE.read_text()
    for old, new in (
        ("localhost:11688", address),
        ("refresh_interval: 60s", "refresh_interval: 1s"),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("$1:9182", f"$1:{exporter.web[1]}"),
    ):
        assert old in text
        text = text.replace(old, new)
    copy = directory / EXAMPLE.name
    copy.write_text(text)
    return copy


def test_example_is_valid() -> None:
    """Prometheus' own checker takes the example as it is."""
    need("promtool")
    subprocess.run([which("promtool") or "", "check", "config", str(EXAMPLE)], check=True)


def test_job_follows_dns(lab: Lab, tmp_path: Path) -> None:
    """Targets come and go with their records, and stay while the exporter is away or not ready."""
    named = lab.named(
        {
            ZONE: zone_file(f"kms1 A {LOOPBACK}", srv("localhost.", 1688), srv("kms1", 1688)),
            "localhost": zone_file(f"@ A {LOOPBACK}"),
        }
    )
    expected = ["localhost", f"kms1.{ZONE}", f"kms2.{ZONE}"]
    watched = zone(ZONE, named.server, expected=expected, labels={"team": "workplace"})
    exporter = lab.exporter(config(watched))
    exporter.wait_until(lambda: exporter.get("/-/ready").status == 200 or None, "everything is checked")
    port = exporter.web[1]
    prometheus = lab.prometheus(config_file=hurried_example(tmp_path, exporter))

    up = f'up{{job="windows", instance="localhost:{port}"}} == 1'
    [(labels, _)] = wait_until(lambda: prometheus.query(up) or None, "the host is scraped")
    assert (labels["dns_zone"], labels["team"]) == (ZONE, "workplace")
    assert followed(prometheus) == {f"localhost:{port}", f"kms1.{ZONE}:{port}"}

    named.update(
        ZONE,
        f"delete _vlmcs._tcp.{ZONE}. 60 SRV 0 0 1688 kms1.{ZONE}.",
        f"add _vlmcs._tcp.{ZONE}. 60 SRV 0 0 1688 kms2.{ZONE}.",
        f"add _vlmcs._tcp.{ZONE}. 60 SRV 0 0 1688 stranger.{ZONE}.",
    )
    there = {f"localhost:{port}", f"kms2.{ZONE}:{port}"}
    wait_until(lambda: followed(prometheus) == there or None, "targets follow the records")
    assert dropped(prometheus) == {f"stranger.{ZONE}:1688"}

    exporter.stop()
    wait_for_failure(prometheus)
    assert followed(prometheus) == there
    watched["dns_servers"] = [lab.silent_dns_server().server]
    unready = lab.exporter(config(watched, interval="1h", timeout="30m"), port=port)
    assert unready.get("/sd").status == 503
    wait_for_failure(prometheus)
    assert followed(prometheus) == there

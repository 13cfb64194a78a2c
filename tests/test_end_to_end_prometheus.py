"""The real exporter and real Prometheus: it is scraped, and its metrics are as Prometheus wants them."""

import http
import subprocess

import pytest

from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    config,
    need,
    srv,
    wait_until,
    zone,
    zone_file,
)

FAMILIES = {
    "kms_zone_info",
    "kms_srv_lookup_status",
    "kms_srv_lookup_seconds",
    "kms_srv_lookup_duration_seconds",
    "kms_srv_lookups_total",
    "kms_srv_lookup_failures_total",
    "kms_srv_records",
    "kms_srv_record_info",
    "kms_srv_record_ttl_seconds",
    "kms_dns_answer_authoritative",
    "kms_srv_record_published",
    "kms_srv_record_expected",
    "kms_zone_hosts_expected",
    "kms_dns_servers_agree",
    "kms_dns_soa_serial",
    "kms_host_address_info",
    "kms_host_lookup_failure",
    "kms_host_alias_info",
    "kms_host_up",
    "kms_endpoint_up",
    "kms_endpoint_connect_seconds",
    "kms_endpoint_syn_retransmits_total",
    "kms_endpoint_rpc_bind_seconds",
    "kms_endpoint_failure",
    "kms_endpoint_probes_total",
    "kms_endpoint_probe_failures_total",
    "kms_endpoint_last_success_timestamp_seconds",
    "kms_zone_hosts",
    "kms_zone_hosts_up",
    "kms_client_verdict",
    "kms_client_likely_error_info",
    "kms_client_first_attempt_success_ratio",
    "kms_static_host_verdict",
    "kms_client_profile_verdict",
    "kms_client_profile_zone_info",
    "kms_exporter_last_check_timestamp_seconds",
    "kms_exporter_log_lines_dropped_total",
    "kms_exporter_check_duration_seconds",
    "kms_exporter_static_host_last_check_timestamp_seconds",
    "kms_exporter_checks_overrun_total",
    "kms_exporter_records_ignored_total",
    "kms_exporter_internal_errors_total",
    "kms_exporter_http_connections_rejected_total",
    "kms_exporter_event_loop_lag_seconds",
    "kms_exporter_tasks",
    "kms_exporter_config_last_reload_successful",
    "kms_exporter_config_last_reload_success_timestamp_seconds",
    "kms_exporter_build_info",
}


@pytest.fixture
def exporter(lab: Lab) -> Exporter:
    """Start the exporter where every metric has something to say, and wait until it does."""
    records = zone_file(
        f"kms1 A {LOOPBACK}",
        "www CNAME kms1",
        srv("kms1", lab.listener().port),
        srv("www", lab.closed_port().port),
        srv("gone", 1688),
        srv("kms1", 65535, priority=9),
    )
    servers = [lab.named({"contoso.test": records}).server for _ in range(2)]
    expected = ["kms1.contoso.test", "gone.contoso.test"]
    zones = [
        zone("contoso.test", *servers, labels={"team": "workplace"}, expected=expected),
        zone("refused.test", *servers, labels={"team": "none"}),
    ]
    clients = [{"name": "branch", "suffixes": ["refused.test", "contoso.test"], "dns_servers": servers}]
    exporter = lab.exporter(
        config(*zones, hosts=[f"{LOOPBACK}:1"], clients=clients, limits={"records_per_zone": 3})
    )
    exporter.wait_for(
        lambda seen: (
            seen.series("kms_host_alias_info")
            and seen.series("kms_host_lookup_failure")
            and seen.series("kms_endpoint_rpc_bind_seconds")
            and len(seen.series("kms_client_profile_zone_info")) == len(servers)
            and seen.series("kms_exporter_static_host_last_check_timestamp_seconds")
            and all(seen.status("refused.test", dns_server=each) == "refused" for each in servers)
        )
    )
    return exporter


def families(text: str) -> set[str]:
    """Collect the names of the families in the text format."""
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}


def test_promtool_has_nothing_to_say(exporter: Exporter) -> None:
    """`promtool check metrics` is silent with every family of the interface there, and no other."""
    need("promtool")
    answer = exporter.get("/metrics")
    assert answer.status == http.HTTPStatus.OK
    found = {name for name in families(answer.text) if name.startswith("kms_")}
    assert found == FAMILIES
    with_samples = {line.split("{")[0].split()[0] for line in answer.text.splitlines() if line[0] != "#"}
    assert {name for name in FAMILIES if not any(sample.startswith(name) for sample in with_samples)} == set()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=answer.body, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_prometheus_scrapes_the_exporter(lab: Lab, exporter: Exporter) -> None:
    """Prometheus finds the exporter up, and can join what it says about a host with its zone."""
    prometheus = lab.prometheus(exporter.web)
    wait_until(lambda: prometheus.query("up == 1") or None, "the exporter is up in Prometheus")

    wait_until(lambda: prometheus.query('kms_zone_hosts_up{dns_zone="contoso.test"}') or None, "hosts are up")
    assert prometheus.query("scrape_samples_scraped")[0][1] > len(FAMILIES)
    [(labels, value)] = wait_until(
        lambda: (
            prometheus.query(
                "kms_endpoint_up * on(target, port) group_left(dns_zone) kms_srv_record_published == 1"
            )
            or None
        ),
        "an endpoint is up",
    )
    assert (labels["target"], labels["address"], labels["dns_zone"], value) == (
        *("kms1.contoso.test", LOOPBACK, "contoso.test"),
        1,
    )
    by_team = "kms_zone_hosts_up * on(dns_zone) group_left(team) kms_zone_info"
    assert [labels["team"] for labels, _ in prometheus.query(by_team)] == ["workplace"]
    rate = "rate(kms_endpoint_probes_total[30s]) > 0"
    assert wait_until(lambda: prometheus.query(rate) or None, "probes are counted")

"""Tests of what a snapshot looks like on /metrics: names, labels, values, and what is absent."""

import subprocess
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.build import BuildInfo
from exporter.metrics import SnapshotCollector, families
from exporter.model import Host, IgnoredReason, LookupStatus, ProbeFailure
from exporter.names import show_labels
from exporter.state import EndpointView, ExporterView, Histogram, ServerView, Snapshot, State
from tests.builders import (
    ADDRESS,
    SERVER,
    TARGET,
    ZONE,
    addresses,
    answer,
    at_server,
    configure,
    endpoint,
    endpoint_view,
    host,
    host_check,
    probed,
    record,
    zone_check,
    zone_settings,
    zone_view,
)
from tests.services import need

BUILD = BuildInfo(version="1.2.3", revision="abc", python="3.11.7")

AT_ZONE = ("dns_zone",)
AT_SERVER = ("dns_zone", "dns_server")
AT_TARGET = ("target", "dns_server")
AT_HOST = ("target", "port")
AT_ENDPOINT = ("target", "port", "address")

CONTRACT: dict[str, tuple[str, tuple[str, ...]]] = {
    "kms_zone_info": ("gauge", ("dns_zone", "site", "team")),
    "kms_srv_lookup_status": ("gauge", (*AT_SERVER, "status")),
    "kms_srv_lookup_seconds": ("gauge", AT_SERVER),
    "kms_srv_lookup_duration_seconds": ("histogram", ("dns_server",)),
    "kms_srv_lookups_total": ("counter", AT_SERVER),
    "kms_srv_lookup_failures_total": ("counter", AT_SERVER),
    "kms_srv_records": ("gauge", AT_SERVER),
    "kms_srv_record_info": ("gauge", (*AT_SERVER, "target", "port", "priority", "weight")),
    "kms_srv_record_ttl_seconds": ("gauge", AT_SERVER),
    "kms_dns_answer_authoritative": ("gauge", AT_SERVER),
    "kms_srv_record_published": ("gauge", ("dns_zone", "target", "port")),
    "kms_dns_soa_serial": ("gauge", AT_SERVER),
    "kms_host_address_info": ("gauge", (*AT_TARGET, "address")),
    "kms_host_lookup_failure": ("gauge", (*AT_TARGET, "reason")),
    "kms_host_alias_info": ("gauge", (*AT_TARGET, "alias_of")),
    "kms_host_up": ("gauge", AT_HOST),
    "kms_endpoint_up": ("gauge", AT_ENDPOINT),
    "kms_endpoint_connect_seconds": ("gauge", AT_ENDPOINT),
    "kms_endpoint_syn_retransmits_total": ("counter", AT_ENDPOINT),
    "kms_endpoint_failure": ("gauge", (*AT_ENDPOINT, "reason")),
    "kms_endpoint_probes_total": ("counter", AT_ENDPOINT),
    "kms_endpoint_probe_failures_total": ("counter", AT_ENDPOINT),
    "kms_endpoint_last_success_timestamp_seconds": ("gauge", AT_ENDPOINT),
    "kms_zone_hosts": ("gauge", AT_ZONE),
    "kms_zone_hosts_up": ("gauge", AT_ZONE),
    "kms_exporter_last_check_timestamp_seconds": ("gauge", AT_ZONE),
    "kms_exporter_check_duration_seconds": ("gauge", AT_ZONE),
    "kms_exporter_static_host_last_check_timestamp_seconds": ("gauge", AT_HOST),
    "kms_exporter_checks_overrun_total": ("counter", ()),
    "kms_exporter_records_ignored_total": ("counter", ("dns_zone", "reason")),
    "kms_exporter_internal_errors_total": ("counter", ()),
    "kms_exporter_event_loop_lag_seconds": ("histogram", ()),
    "kms_exporter_config_last_reload_successful": ("gauge", ()),
    "kms_exporter_config_last_reload_success_timestamp_seconds": ("gauge", ()),
    "kms_exporter_build_info": ("gauge", ("version", "revision", "python")),
}
"""The public interface: every metric with its type and labels."""

HOSTILE = 'kms"1\\\n.contoso.test'
STALE = "stale.contoso.test"
OTHER_SERVER = "[2001:db8::53]:5353"

VIEW = ServerView(dns_server=SERVER).after(
    answer(
        record(priority=5, weight=10),
        record(HOSTILE, 1689),
        record_count=3,
        duration_seconds=0.25,
        ttl_seconds=600,
        authoritative=True,
        soa_serial=2024010101,
    )
)
FAILING = (
    ServerView(dns_server=OTHER_SERVER)
    .after(answer(record(STALE)))
    .after(answer(status=LookupStatus.SERVFAIL, duration_seconds=0.5))
    .after(answer(status=LookupStatus.TIMEOUT, duration_seconds=5.0))
)
GOLDEN_SNAPSHOT = Snapshot(
    zones=(
        zone_view(
            ZONE,
            VIEW,
            FAILING,
            labels={"site": "ams", "team": "workplace"},
            vanished=frozenset({host("gone.contoso.test")}),
            ignored={IgnoredReason.MALFORMED: 1, IgnoredReason.RECORDS_PER_ZONE: 0},
            last_check=1700000000.5,
            check_duration_seconds=0.75,
        ),
        zone_view("new.test", ServerView(dns_server=SERVER), labels={"site": 'a "b" \\ c', "team": "d\ne"}),
    ),
    targets=(
        (SERVER, addresses(TARGET, ADDRESS, "2001:db8::1", alias_of="cluster.contoso.test")),
        (SERVER, addresses(HOSTILE, ADDRESS)),
        (OTHER_SERVER, addresses(STALE)),
        ("", addresses("10.1.2.3", "10.1.2.3")),
    ),
    hosts=(host(), host(HOSTILE, 1689), host(STALE), host("gone.contoso.test"), host("10.1.2.3")),
    endpoints=(
        endpoint_view(
            probed(endpoint(), at=1700000000.25, connect_seconds=0.0015),
            probes=7,
            failures=2,
            syn_retransmits=1,
        ),
        endpoint_view(
            probed(endpoint(address="2001:db8::1"), ProbeFailure.UNREACHABLE), last_success=1600000000.0
        ),
        endpoint_view(probed(endpoint(HOSTILE, 1689), ProbeFailure.CONNECTION_REFUSED)),
    ),
    static_hosts=((host("10.1.2.3"), 1700000001.0), (host("kms-dr"), None)),
    lookup_durations=((SERVER, Histogram().observe(0.25)), (OTHER_SERVER, Histogram())),
    exporter=ExporterView(
        overruns=3,
        last_reload_successful=True,
        last_reload_success=1700000000.0,
        event_loop_lag=Histogram().observe(0.002).observe(60.0),
    ),
)
GOLDEN_TEXT = """\
# HELP kms_zone_info 1 for every configured zone, with the labels that the configuration gives it.
# TYPE kms_zone_info gauge
kms_zone_info{dns_zone="contoso.test",site="ams",team="workplace"} 1.0
kms_zone_info{dns_zone="new.test",site="a \\"b\\" \\\\ c",team="d\\ne"} 1.0
# HELP kms_srv_lookup_status 1 for the outcome of the last SRV lookup of the zone at this DNS server, 0 for all others.
# TYPE kms_srv_lookup_status gauge
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="ok"} 1.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="nxdomain"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="nodata"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="servfail"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="refused"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="bad_response"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="timeout"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="unreachable"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="ok"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="nxdomain"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="nodata"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="servfail"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="refused"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="bad_response"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="timeout"} 1.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="unreachable"} 0.0
# HELP kms_srv_lookup_seconds Duration of the last SRV lookup that got an answer.
# TYPE kms_srv_lookup_seconds gauge
kms_srv_lookup_seconds{dns_server="192.0.2.53",dns_zone="contoso.test"} 0.25
kms_srv_lookup_seconds{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test"} 0.5
# HELP kms_srv_lookup_duration_seconds Duration of every SRV lookup at this DNS server, answered or not.
# TYPE kms_srv_lookup_duration_seconds histogram
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.001"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.0025"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.005"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.01"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.025"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.05"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.1"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.25"} 1.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="0.5"} 1.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="1.0"} 1.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="2.5"} 1.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="5.0"} 1.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="10.0"} 1.0
kms_srv_lookup_duration_seconds_bucket{dns_server="192.0.2.53",le="+Inf"} 1.0
kms_srv_lookup_duration_seconds_count{dns_server="192.0.2.53"} 1.0
kms_srv_lookup_duration_seconds_sum{dns_server="192.0.2.53"} 0.25
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.001"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.0025"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.005"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.01"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.025"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.05"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.1"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.25"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="0.5"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="1.0"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="2.5"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="5.0"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="10.0"} 0.0
kms_srv_lookup_duration_seconds_bucket{dns_server="[2001:db8::53]:5353",le="+Inf"} 0.0
kms_srv_lookup_duration_seconds_count{dns_server="[2001:db8::53]:5353"} 0.0
kms_srv_lookup_duration_seconds_sum{dns_server="[2001:db8::53]:5353"} 0.0
# HELP kms_srv_lookups_total SRV lookups made.
# TYPE kms_srv_lookups_total counter
kms_srv_lookups_total{dns_server="192.0.2.53",dns_zone="contoso.test"} 1.0
kms_srv_lookups_total{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test"} 3.0
kms_srv_lookups_total{dns_server="192.0.2.53",dns_zone="new.test"} 0.0
# HELP kms_srv_lookup_failures_total SRV lookups without a usable answer (which ok, nxdomain and nodata are).
# TYPE kms_srv_lookup_failures_total counter
kms_srv_lookup_failures_total{dns_server="192.0.2.53",dns_zone="contoso.test"} 0.0
kms_srv_lookup_failures_total{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test"} 2.0
kms_srv_lookup_failures_total{dns_server="192.0.2.53",dns_zone="new.test"} 0.0
# HELP kms_srv_records SRV records in the last answer; 0 for nxdomain and nodata, absent while there is no usable answer.
# TYPE kms_srv_records gauge
kms_srv_records{dns_server="192.0.2.53",dns_zone="contoso.test"} 3.0
# HELP kms_srv_record_info 1 for every SRV record of the last answer, while it is usable.
# TYPE kms_srv_record_info gauge
kms_srv_record_info{dns_server="192.0.2.53",dns_zone="contoso.test",port="1689",priority="0",target="kms\\"1\\\\\\n.contoso.test",weight="0"} 1.0
kms_srv_record_info{dns_server="192.0.2.53",dns_zone="contoso.test",port="1688",priority="5",target="kms1.contoso.test",weight="10"} 1.0
# HELP kms_srv_record_ttl_seconds Smallest TTL in the last answer that held records; counts down where a cache answers.
# TYPE kms_srv_record_ttl_seconds gauge
kms_srv_record_ttl_seconds{dns_server="192.0.2.53",dns_zone="contoso.test"} 600.0
# HELP kms_dns_answer_authoritative 1 when the last usable answer came from a server with authority for the zone, 0 from a cache.
# TYPE kms_dns_answer_authoritative gauge
kms_dns_answer_authoritative{dns_server="192.0.2.53",dns_zone="contoso.test"} 1.0
# HELP kms_dns_soa_serial Serial of the zone's SOA record at this DNS server. Never compare it across servers: each domain controller counts its own.
# TYPE kms_dns_soa_serial gauge
kms_dns_soa_serial{dns_server="192.0.2.53",dns_zone="contoso.test"} 2.024010101e+09
# HELP kms_srv_record_published 1 while any DNS server publishes the record, by its last usable answer; 0 after it vanished, until it is forgotten.
# TYPE kms_srv_record_published gauge
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="gone.contoso.test"} 0.0
kms_srv_record_published{dns_zone="contoso.test",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 1.0
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="kms1.contoso.test"} 1.0
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="stale.contoso.test"} 1.0
# HELP kms_host_address_info 1 for every address of a target as this DNS server gave it last.
# TYPE kms_host_address_info gauge
kms_host_address_info{address="192.0.2.1",dns_server="192.0.2.53",target="kms1.contoso.test"} 1.0
kms_host_address_info{address="2001:db8::1",dns_server="192.0.2.53",target="kms1.contoso.test"} 1.0
kms_host_address_info{address="192.0.2.1",dns_server="192.0.2.53",target="kms\\"1\\\\\\n.contoso.test"} 1.0
# HELP kms_host_lookup_failure 1 while this DNS server gives no address for the target, with the reason; absent otherwise.
# TYPE kms_host_lookup_failure gauge
kms_host_lookup_failure{dns_server="[2001:db8::53]:5353",reason="nxdomain",target="stale.contoso.test"} 1.0
# HELP kms_host_alias_info 1 for a target that is an alias (CNAME), which RFC 2782 forbids and clients may refuse.
# TYPE kms_host_alias_info gauge
kms_host_alias_info{alias_of="cluster.contoso.test",dns_server="192.0.2.53",target="kms1.contoso.test"} 1.0
# HELP kms_endpoint_up 1 when the last probe of this address of the host went all the way.
# TYPE kms_endpoint_up gauge
kms_endpoint_up{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_up{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 0.0
kms_endpoint_up{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 0.0
# HELP kms_endpoint_connect_seconds Round trip of the last TCP handshake as the kernel measured it; absent when it failed.
# TYPE kms_endpoint_connect_seconds gauge
kms_endpoint_connect_seconds{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 0.0015
# HELP kms_endpoint_syn_retransmits_total SYNs sent again because no answer came: loss that the round trip does not show.
# TYPE kms_endpoint_syn_retransmits_total counter
kms_endpoint_syn_retransmits_total{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_syn_retransmits_total{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 0.0
kms_endpoint_syn_retransmits_total{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 0.0
# HELP kms_endpoint_failure 1 while the last probe failed, with the reason; absent otherwise.
# TYPE kms_endpoint_failure gauge
kms_endpoint_failure{address="2001:db8::1",port="1688",reason="unreachable",target="kms1.contoso.test"} 1.0
kms_endpoint_failure{address="192.0.2.1",port="1689",reason="connection_refused",target="kms\\"1\\\\\\n.contoso.test"} 1.0
# HELP kms_endpoint_probes_total Probes made.
# TYPE kms_endpoint_probes_total counter
kms_endpoint_probes_total{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 7.0
kms_endpoint_probes_total{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_probes_total{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 1.0
# HELP kms_endpoint_probe_failures_total Probes that failed.
# TYPE kms_endpoint_probe_failures_total counter
kms_endpoint_probe_failures_total{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 2.0
kms_endpoint_probe_failures_total{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_probe_failures_total{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 1.0
# HELP kms_endpoint_last_success_timestamp_seconds When a probe last went all the way, in Unix time.
# TYPE kms_endpoint_last_success_timestamp_seconds gauge
kms_endpoint_last_success_timestamp_seconds{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 1.70000000025e+09
kms_endpoint_last_success_timestamp_seconds{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 1.6e+09
# HELP kms_host_up 1 when an endpoint of the host is up; 0 also when it has no address.
# TYPE kms_host_up gauge
kms_host_up{port="1688",target="kms1.contoso.test"} 1.0
kms_host_up{port="1689",target="kms\\"1\\\\\\n.contoso.test"} 0.0
kms_host_up{port="1688",target="stale.contoso.test"} 0.0
kms_host_up{port="1688",target="gone.contoso.test"} 0.0
kms_host_up{port="1688",target="10.1.2.3"} 0.0
# HELP kms_zone_hosts Hosts in the last usable answers of all DNS servers; absent until there is one.
# TYPE kms_zone_hosts gauge
kms_zone_hosts{dns_zone="contoso.test"} 3.0
# HELP kms_zone_hosts_up Those of kms_zone_hosts that are up.
# TYPE kms_zone_hosts_up gauge
kms_zone_hosts_up{dns_zone="contoso.test"} 1.0
# HELP kms_exporter_last_check_timestamp_seconds When the last check of the zone was finished, in Unix time.
# TYPE kms_exporter_last_check_timestamp_seconds gauge
kms_exporter_last_check_timestamp_seconds{dns_zone="contoso.test"} 1.7000000005e+09
# HELP kms_exporter_check_duration_seconds Duration of the last check of the zone.
# TYPE kms_exporter_check_duration_seconds gauge
kms_exporter_check_duration_seconds{dns_zone="contoso.test"} 0.75
# HELP kms_exporter_static_host_last_check_timestamp_seconds When the last check of the static host was finished, in Unix time.
# TYPE kms_exporter_static_host_last_check_timestamp_seconds gauge
kms_exporter_static_host_last_check_timestamp_seconds{port="1688",target="10.1.2.3"} 1.700000001e+09
# HELP kms_exporter_records_ignored_total Records and addresses left out of results because they were malformed or over a limit.
# TYPE kms_exporter_records_ignored_total counter
kms_exporter_records_ignored_total{dns_zone="contoso.test",reason="malformed"} 1.0
kms_exporter_records_ignored_total{dns_zone="contoso.test",reason="records_per_zone"} 0.0
# HELP kms_exporter_checks_overrun_total Checks that were still running when the next one was due.
# TYPE kms_exporter_checks_overrun_total counter
kms_exporter_checks_overrun_total 3.0
# HELP kms_exporter_internal_errors_total Bugs caught; the log has a traceback of each.
# TYPE kms_exporter_internal_errors_total counter
kms_exporter_internal_errors_total 0.0
# HELP kms_exporter_event_loop_lag_seconds How much later than asked for the event loop woke up.
# TYPE kms_exporter_event_loop_lag_seconds histogram
kms_exporter_event_loop_lag_seconds_bucket{le="0.001"} 0.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.0025"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.005"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.01"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.025"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.05"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.1"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.25"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="0.5"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="1.0"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="2.5"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="5.0"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="10.0"} 1.0
kms_exporter_event_loop_lag_seconds_bucket{le="+Inf"} 2.0
kms_exporter_event_loop_lag_seconds_count 2.0
kms_exporter_event_loop_lag_seconds_sum 60.002
# HELP kms_exporter_config_last_reload_successful 1 when the last attempt to load the configuration succeeded.
# TYPE kms_exporter_config_last_reload_successful gauge
kms_exporter_config_last_reload_successful 1.0
# HELP kms_exporter_config_last_reload_success_timestamp_seconds When the configuration was last loaded, in Unix time.
# TYPE kms_exporter_config_last_reload_success_timestamp_seconds gauge
kms_exporter_config_last_reload_success_timestamp_seconds 1.7e+09
# HELP kms_exporter_build_info 1, with what is running in the labels.
# TYPE kms_exporter_build_info gauge
kms_exporter_build_info{python="3.11.7",revision="abc",version="1.2.3"} 1.0
"""  # noqa: E501 - as it goes over the wire


def registry_of(snapshot: Snapshot) -> CollectorRegistry:
    """Put a snapshot into a registry of its own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot, BUILD))
    return registry


def render(snapshot: Snapshot) -> str:
    """Render a snapshot in the Prometheus text format."""
    return generate_latest(registry_of(snapshot)).decode()


def parse(text: str) -> list[Sample]:
    """Parse the Prometheus text format."""
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def openmetrics(snapshot: Snapshot) -> list[Sample]:
    """Render a snapshot as OpenMetrics, whose parser is strict, and parse that."""
    text = generate_openmetrics(registry_of(snapshot)).decode()  # type: ignore[no-untyped-call]
    assert text.endswith("# EOF\n")
    return [sample for family in parse_openmetrics(text) for sample in family.samples]  # type: ignore[no-untyped-call]


def series(snapshot: Snapshot, name: str) -> list[Sample]:
    """Pick the samples of one name."""
    return [s for family in families(snapshot, BUILD) for s in family.samples if s.name == name]


def values(snapshot: Snapshot, name: str) -> list[float]:
    """Pick the values of one name."""
    return [sample.value for sample in series(snapshot, name)]


def test_golden_text() -> None:
    """A snapshot becomes exactly this text."""
    assert render(GOLDEN_SNAPSHOT) == GOLDEN_TEXT


def test_contract() -> None:
    """The metrics are those of the public interface, with its types and labels, and no others."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for family in families(GOLDEN_SNAPSHOT, BUILD):
        name = family.name + "_total" * (family.type == "counter")
        assert family.samples, f"{name} is not covered by the snapshot"
        for sample in family.samples:
            labels = tuple(label for label in sample.labels if label != "le")
            assert found.setdefault(name, (family.type, labels)) == (family.type, labels), name
    assert found == CONTRACT


@pytest.mark.parametrize("name", [name for name, (kind, _) in CONTRACT.items() if kind == "counter"])
def test_counters_end_in_total(name: str) -> None:
    """A counter is named as Prometheus wants it."""
    assert name.endswith("_total")


# --- Nothing is claimed before there is a result


def test_fresh_state() -> None:
    """Before the first check counters are 0, and there is no gauge that would be a claim."""
    state = State()
    configure(state, {ZONE: zone_settings(SERVER)}, hosts=[host("kms-dr")])
    found = {
        sample.name: sample.value
        for family in families(state.snapshot(), BUILD)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }
    assert found == {
        "kms_zone_info": 1,
        "kms_srv_lookup_duration_seconds_count": 0,
        "kms_srv_lookup_duration_seconds_sum": 0,
        "kms_srv_lookups_total": 0,
        "kms_srv_lookup_failures_total": 0,
        "kms_exporter_checks_overrun_total": 0,
        "kms_exporter_records_ignored_total": 0,
        "kms_exporter_internal_errors_total": 0,
        "kms_exporter_event_loop_lag_seconds_count": 0,
        "kms_exporter_event_loop_lag_seconds_sum": 0,
        "kms_exporter_build_info": 1,
    }
    reasons = {s.labels["reason"] for s in series(state.snapshot(), "kms_exporter_records_ignored_total")}
    assert reasons == set(IgnoredReason)


def test_nothing_configured() -> None:
    """Without anything to watch there is the exporter itself, and no series of a zone or host."""
    names = {s.name for family in families(Snapshot(), BUILD) for s in family.samples}
    assert all(name.startswith("kms_exporter_") for name in names)


@pytest.mark.parametrize("status", LookupStatus)
def test_lookup_status(status: LookupStatus) -> None:
    """There is one series per status, 1 for the current one."""
    view = ServerView(dns_server=SERVER).after(answer(status=status))
    found = {
        s.labels["status"]: s.value
        for s in series(Snapshot(zones=(zone_view(ZONE, view),)), "kms_srv_lookup_status")
    }
    assert found == {each.value: float(each is status) for each in LookupStatus}


NEVER = ServerView(dns_server=SERVER)
PUBLISHED = NEVER.after(answer(record(), authoritative=False, ttl_seconds=5, soa_serial=0))


@pytest.mark.parametrize(
    ("view", "found"),
    [
        pytest.param(NEVER, {"answered": [], "records": [], "info": 0, "hosts": []}, id="no lookup yet"),
        pytest.param(
            NEVER.after(answer(status=LookupStatus.TIMEOUT)),
            {"answered": [], "records": [], "info": 0, "hosts": []},
            id="no answer yet",
        ),
        pytest.param(
            NEVER.after(answer(status=LookupStatus.REFUSED)),
            {"answered": [0.02], "records": [], "info": 0, "hosts": []},
            id="no usable answer yet",
        ),
        pytest.param(
            NEVER.after(answer(status=LookupStatus.NXDOMAIN)),
            {"answered": [0.02], "records": [0], "info": 0, "hosts": [0]},
            id="nxdomain",
        ),
        pytest.param(
            NEVER.after(answer(status=LookupStatus.NODATA)),
            {"answered": [0.02], "records": [0], "info": 0, "hosts": [0]},
            id="nodata",
        ),
        pytest.param(PUBLISHED, {"answered": [0.02], "records": [1], "info": 1, "hosts": [1]}, id="ok"),
        pytest.param(
            PUBLISHED.after(answer(status=LookupStatus.TIMEOUT, duration_seconds=5.0)),
            {"answered": [0.02], "records": [], "info": 0, "hosts": [1]},
            id="last usable answer",
        ),
        pytest.param(
            NEVER.after(answer(record(".", 0))),
            {"answered": [0.02], "records": [1], "info": 1, "hosts": [0]},
            id="declined",
        ),
        pytest.param(
            NEVER.after(answer(record(), record_count=70)),
            {"answered": [0.02], "records": [70], "info": 1, "hosts": [1]},
            id="over the limit",
        ),
    ],
)
def test_lookup(view: ServerView, found: dict[str, object]) -> None:
    """Records and hosts are absent, not 0, while no usable answer says how many there are."""
    snapshot = Snapshot(zones=(zone_view(ZONE, view),))
    assert {
        "answered": values(snapshot, "kms_srv_lookup_seconds"),
        "records": values(snapshot, "kms_srv_records"),
        "info": len(series(snapshot, "kms_srv_record_info")),
        "hosts": values(snapshot, "kms_zone_hosts"),
    } == found


@pytest.mark.parametrize(
    ("name", "value"),
    [("kms_srv_record_ttl_seconds", 5), ("kms_dns_answer_authoritative", 0), ("kms_dns_soa_serial", 0)],
)
def test_what_an_answer_says(name: str, value: float) -> None:
    """What only an answer can say is shown even where it is 0, and is absent when the lookup fails."""
    assert values(Snapshot(zones=(zone_view(ZONE, PUBLISHED),)), name) == [value]
    failed = PUBLISHED.after(answer(status=LookupStatus.SERVFAIL))
    assert values(Snapshot(zones=(zone_view(ZONE, failed),)), name) == []


UP = endpoint_view(probed(endpoint(), at=5.0))
DOWN = endpoint_view(probed(endpoint(address="2001:db8::1"), ProbeFailure.TIMEOUT))


@pytest.mark.parametrize(
    ("endpoints", "host_up", "connect", "failure", "last_success"),
    [
        pytest.param([], [0], [], [], [], id="no address"),
        pytest.param([UP], [1], [0.003], [], [5], id="up"),
        pytest.param([DOWN], [0], [], ["timeout"], [], id="never up"),
        pytest.param([replace(DOWN, last_success=4.0)], [0], [], ["timeout"], [4], id="not any more"),
        pytest.param([DOWN, UP], [1], [0.003], ["timeout"], [5], id="one of two"),
    ],
)
def test_host_and_endpoints(
    endpoints: Sequence[EndpointView],
    host_up: list[float],
    connect: list[float],
    failure: list[str],
    last_success: list[float],
) -> None:
    """A host is up when one of its endpoints is; times are there only where they were measured."""
    zone = zone_view(ZONE, NEVER.after(answer(record())))
    snapshot = Snapshot(zones=(zone,), hosts=(host(),), endpoints=tuple(endpoints))
    assert values(snapshot, "kms_host_up") == values(snapshot, "kms_zone_hosts_up") == host_up
    assert values(snapshot, "kms_endpoint_connect_seconds") == connect
    assert [s.labels["reason"] for s in series(snapshot, "kms_endpoint_failure")] == failure
    assert values(snapshot, "kms_endpoint_last_success_timestamp_seconds") == last_success


def test_hosts_of_a_zone() -> None:
    """A zone's hosts are those of all servers' last usable answers, each once, without the vanished."""
    one = NEVER.after(answer(record(), record("kms2.contoso.test")))
    two = ServerView(dns_server="192.0.2.54").after(answer(record(priority=9), record(port=1689)))
    zone = zone_view(ZONE, one, two, vanished=frozenset({host("gone.contoso.test")}))
    gone = endpoint_view(probed(endpoint("gone.contoso.test")))
    snapshot = Snapshot(zones=(zone,), endpoints=(UP, gone))
    assert values(snapshot, "kms_zone_hosts") == [3]
    assert values(snapshot, "kms_zone_hosts_up") == [1]
    published = {s.labels["target"]: s.value for s in series(snapshot, "kms_srv_record_published")}
    assert published == {TARGET: 1, "kms2.contoso.test": 1, "gone.contoso.test": 0}


@pytest.mark.parametrize("successful", [True, False])
def test_reload(successful: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """The last reload shows as 1 or 0, beside the time of the last one that succeeded."""
    state = State()
    state.record_reload(successful=True, at=7.0)
    state.record_reload(successful=successful, at=8.0)
    snapshot = state.snapshot()
    assert values(snapshot, "kms_exporter_config_last_reload_successful") == [successful]
    (at,) = values(snapshot, "kms_exporter_config_last_reload_success_timestamp_seconds")
    assert at == (8.0 if successful else 7.0)


# --- The formats


@pytest.mark.parametrize("snapshot", [Snapshot(), GOLDEN_SNAPSHOT], ids=["empty", "golden"])
def test_promtool(snapshot: Snapshot) -> None:
    """`promtool check metrics` has nothing to say."""
    need("promtool")
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=render(snapshot),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_formats_agree() -> None:
    """The text format and OpenMetrics hold the same samples."""
    text = sorted(map(value_of, parse(render(GOLDEN_SNAPSHOT))))
    assert sorted(map(value_of, openmetrics(GOLDEN_SNAPSHOT))) == text


Identity = tuple[str, tuple[tuple[str, str], ...]]


def identity(sample: Sample) -> Identity:
    """Tell what makes a series: its name and labels."""
    return sample.name, tuple(sorted(sample.labels.items()))


def value_of(sample: Sample) -> tuple[Identity, float]:
    """Tell a series and its value."""
    return identity(sample), sample.value


NAMES = st.one_of(
    st.sampled_from(["a", "A", "a.b", ".", ""]),
    st.lists(st.binary(min_size=1, max_size=4), max_size=3).map(show_labels),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
LITERALS = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:DB8::1"])


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Draw the snapshot of a state that has been told anything by zones and servers of any name."""
    state = State()
    servers = draw(st.lists(NAMES, min_size=1, max_size=2, unique=True))
    labels = st.dictionaries(st.sampled_from(["site", "team"]), NAMES)
    zones = {
        zone: zone_settings(*servers, labels=draw(labels))
        for zone in draw(st.lists(NAMES, max_size=2, unique=True))
    }
    hosts = [Host(target=name, port=1) for name in draw(st.lists(NAMES, max_size=2, unique=True))]
    configure(state, zones, hosts=hosts)
    found = st.dictionaries(NAMES, st.lists(LITERALS, unique=True), max_size=3)
    for number, zone in enumerate(zones):
        for _ in range(draw(st.integers(0, 2))):
            checks = []
            for label in servers:
                targets = draw(found)
                weights = draw(st.lists(st.integers(0, 2), max_size=2, unique=True))
                records = {record(name, 1, weight=weight) for name in targets for weight in weights}
                checks.append(at_server(label, answer(*records), targets))
            state.apply_zone(zone_check(*checks, zone=zone, at=number))
    for one in hosts:
        state.apply_host(host_check(one, *draw(st.lists(LITERALS, unique=True)), dns_server=draw(NAMES)))
    return state.snapshot()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(snapshots())
def test_hostile_snapshots(snapshot: Snapshot) -> None:
    """Whatever names come along, both formats parse, say the same, and repeat no series."""
    ours = {value_of(sample) for family in families(snapshot, BUILD) for sample in family.samples}
    for found in (parse(render(snapshot)), openmetrics(snapshot)):
        assert {value_of(sample) for sample in found} == ours
        assert len({identity(sample) for sample in found}) == len(found)

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
from exporter.diagnosis import Verdict
from exporter.model import Host, IgnoredReason, LookupStatus, ProbeFailure, TargetLookup, ZoneCheck
from exporter.names import show_labels
from exporter.state import EndpointView, ExporterView, Histogram, Rejection, ServerView, Snapshot, State
from tests.builders import (
    ADDRESS,
    CLIENT,
    SERVER,
    TARGET,
    ZONE,
    SnapshotCollector,
    addresses,
    answer,
    at_server,
    client_check,
    client_settings,
    client_view,
    configure,
    endpoint,
    endpoint_view,
    families,
    host,
    host_check,
    probed,
    record,
    static_host_view,
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
AT_CLIENT = ("client", "dns_server")

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
    "kms_srv_record_expected": ("gauge", ("dns_zone", "target", "port")),
    "kms_zone_hosts_expected": ("gauge", AT_ZONE),
    "kms_dns_servers_agree": ("gauge", AT_ZONE),
    "kms_dns_soa_serial": ("gauge", AT_SERVER),
    "kms_host_address_info": ("gauge", (*AT_TARGET, "address")),
    "kms_host_lookup_failure": ("gauge", (*AT_TARGET, "reason")),
    "kms_host_alias_info": ("gauge", (*AT_TARGET, "alias_of")),
    "kms_host_up": ("gauge", AT_HOST),
    "kms_endpoint_up": ("gauge", AT_ENDPOINT),
    "kms_endpoint_connect_seconds": ("gauge", AT_ENDPOINT),
    "kms_endpoint_syn_retransmits_total": ("counter", AT_ENDPOINT),
    "kms_endpoint_rpc_bind_seconds": ("gauge", AT_ENDPOINT),
    "kms_endpoint_failure": ("gauge", (*AT_ENDPOINT, "reason")),
    "kms_endpoint_probes_total": ("counter", AT_ENDPOINT),
    "kms_endpoint_probe_failures_total": ("counter", AT_ENDPOINT),
    "kms_endpoint_last_success_timestamp_seconds": ("gauge", AT_ENDPOINT),
    "kms_zone_hosts": ("gauge", AT_ZONE),
    "kms_zone_hosts_up": ("gauge", AT_ZONE),
    "kms_client_verdict": ("gauge", (*AT_SERVER, "verdict")),
    "kms_client_likely_error_info": ("gauge", (*AT_SERVER, "code", "symbol", "certainty")),
    "kms_client_first_attempt_success_ratio": ("gauge", (*AT_SERVER, "selection")),
    "kms_static_host_verdict": ("gauge", (*AT_HOST, "dns_server", "verdict")),
    "kms_client_profile_verdict": ("gauge", (*AT_CLIENT, "verdict")),
    "kms_client_profile_zone_info": ("gauge", (*AT_CLIENT, "dns_zone")),
    "kms_exporter_last_check_timestamp_seconds": ("gauge", AT_ZONE),
    "kms_exporter_check_duration_seconds": ("gauge", AT_ZONE),
    "kms_exporter_static_host_last_check_timestamp_seconds": ("gauge", AT_HOST),
    "kms_exporter_checks_overrun_total": ("counter", ()),
    "kms_exporter_records_ignored_total": ("counter", ("dns_zone", "reason")),
    "kms_exporter_internal_errors_total": ("counter", ()),
    "kms_exporter_http_connections_rejected_total": ("counter", ("reason",)),
    "kms_exporter_event_loop_lag_seconds": ("histogram", ()),
    "kms_exporter_log_lines_dropped_total": ("counter", ()),
    "kms_exporter_tasks": ("gauge", ()),
    "kms_exporter_config_last_reload_successful": ("gauge", ()),
    "kms_exporter_config_last_reload_success_timestamp_seconds": ("gauge", ()),
    "kms_exporter_build_info": ("gauge", ("version", "revision", "python")),
}
"""The public interface: every metric with its type and labels."""

HOSTILE = 'kms"1\\\n.contoso.test'
STALE = "stale.contoso.test"
GONE = "gone.contoso.test"
MISSING = "missing.contoso.test"
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
LAGGING = ServerView(dns_server="192.0.2.54").after(
    answer(record(), record_count=1, duration_seconds=0.125, authoritative=True)
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
            LAGGING,
            FAILING,
            labels={"site": "ams", "team": "workplace"},
            vanished=frozenset({host(GONE)}),
            expected=frozenset({host(), host(MISSING)}),
            ignored={IgnoredReason.MALFORMED: 1, IgnoredReason.RECORDS_PER_ZONE: 0},
            last_check=1700000000.5,
            check_duration_seconds=0.75,
        ),
        zone_view("new.test", ServerView(dns_server=SERVER), labels={"site": 'a "b" \\ c', "team": "d\ne"}),
    ),
    clients=(
        client_view(
            zone_view("branch.test", ServerView(dns_server=SERVER).after(answer())),
            zone_view(ZONE, VIEW),
            client='branch "1"',
        ),
    ),
    targets=(
        (SERVER, addresses(TARGET, ADDRESS, "2001:db8::1", alias_of="cluster.contoso.test")),
        (SERVER, addresses(HOSTILE, ADDRESS)),
        (SERVER, addresses(MISSING, "192.0.2.7")),
        (SERVER, addresses(GONE)),
        ("192.0.2.54", addresses(TARGET, ADDRESS)),
        (OTHER_SERVER, addresses(STALE)),
        ("", addresses("10.1.2.3", "10.1.2.3")),
    ),
    hosts=(host(), host(HOSTILE, 1689), host(STALE), host(GONE), host(MISSING), host("10.1.2.3")),
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
        endpoint_view(probed(endpoint(MISSING, address="192.0.2.7"), ProbeFailure.RPC_TIMEOUT)),
        endpoint_view(probed(endpoint("10.1.2.3", address="10.1.2.3"), ProbeFailure.NOT_RPC)),
    ),
    static_hosts=(
        static_host_view(host("10.1.2.3"), "", last_check=1700000001.0),
        static_host_view(host("kms-dr")),
    ),
    lookup_durations=((SERVER, Histogram().observe(0.25)), (OTHER_SERVER, Histogram())),
    exporter=ExporterView(
        overruns=3,
        last_reload_successful=True,
        last_reload_success=1700000000.0,
        rejected={Rejection.LIMIT: 5, Rejection.NO_RESOURCES: 0},
        event_loop_lag=Histogram().observe(0.002).observe(60.0),
        tasks=17,
        log_lines_dropped=2,
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
kms_srv_lookup_status{dns_server="192.0.2.53",dns_zone="contoso.test",status="local_error"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="ok"} 1.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="nxdomain"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="nodata"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="servfail"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="refused"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="bad_response"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="timeout"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="unreachable"} 0.0
kms_srv_lookup_status{dns_server="192.0.2.54",dns_zone="contoso.test",status="local_error"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="ok"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="nxdomain"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="nodata"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="servfail"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="refused"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="bad_response"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="timeout"} 1.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="unreachable"} 0.0
kms_srv_lookup_status{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",status="local_error"} 0.0
# HELP kms_srv_lookup_seconds Duration of the last SRV lookup that got an answer.
# TYPE kms_srv_lookup_seconds gauge
kms_srv_lookup_seconds{dns_server="192.0.2.53",dns_zone="contoso.test"} 0.25
kms_srv_lookup_seconds{dns_server="192.0.2.54",dns_zone="contoso.test"} 0.125
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
kms_srv_lookups_total{dns_server="192.0.2.54",dns_zone="contoso.test"} 1.0
kms_srv_lookups_total{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test"} 3.0
kms_srv_lookups_total{dns_server="192.0.2.53",dns_zone="new.test"} 0.0
# HELP kms_srv_lookup_failures_total SRV lookups without a usable answer (which ok, nxdomain and nodata are).
# TYPE kms_srv_lookup_failures_total counter
kms_srv_lookup_failures_total{dns_server="192.0.2.53",dns_zone="contoso.test"} 0.0
kms_srv_lookup_failures_total{dns_server="192.0.2.54",dns_zone="contoso.test"} 0.0
kms_srv_lookup_failures_total{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test"} 2.0
kms_srv_lookup_failures_total{dns_server="192.0.2.53",dns_zone="new.test"} 0.0
# HELP kms_srv_records SRV records in the last answer; 0 for nxdomain and nodata, absent while there is no usable answer.
# TYPE kms_srv_records gauge
kms_srv_records{dns_server="192.0.2.53",dns_zone="contoso.test"} 3.0
kms_srv_records{dns_server="192.0.2.54",dns_zone="contoso.test"} 1.0
# HELP kms_srv_record_info 1 for every SRV record of the last answer, while it is usable.
# TYPE kms_srv_record_info gauge
kms_srv_record_info{dns_server="192.0.2.53",dns_zone="contoso.test",port="1689",priority="0",target="kms\\"1\\\\\\n.contoso.test",weight="0"} 1.0
kms_srv_record_info{dns_server="192.0.2.53",dns_zone="contoso.test",port="1688",priority="5",target="kms1.contoso.test",weight="10"} 1.0
kms_srv_record_info{dns_server="192.0.2.54",dns_zone="contoso.test",port="1688",priority="0",target="kms1.contoso.test",weight="0"} 1.0
# HELP kms_srv_record_ttl_seconds Smallest TTL in the last answer that held records; counts down where a cache answers.
# TYPE kms_srv_record_ttl_seconds gauge
kms_srv_record_ttl_seconds{dns_server="192.0.2.53",dns_zone="contoso.test"} 600.0
# HELP kms_dns_answer_authoritative 1 when the last usable answer came from a server with authority for the zone, 0 from a cache.
# TYPE kms_dns_answer_authoritative gauge
kms_dns_answer_authoritative{dns_server="192.0.2.53",dns_zone="contoso.test"} 1.0
kms_dns_answer_authoritative{dns_server="192.0.2.54",dns_zone="contoso.test"} 1.0
# HELP kms_dns_soa_serial Serial of the zone's SOA record at this DNS server. Never compare it across servers: each domain controller counts its own.
# TYPE kms_dns_soa_serial gauge
kms_dns_soa_serial{dns_server="192.0.2.53",dns_zone="contoso.test"} 2.024010101e+09
# HELP kms_srv_record_published 1 while any DNS server publishes the record, by its last usable answer; 0 while it is expected and missing, and after it vanished, until it is forgotten.
# TYPE kms_srv_record_published gauge
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="gone.contoso.test"} 0.0
kms_srv_record_published{dns_zone="contoso.test",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 1.0
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="kms1.contoso.test"} 1.0
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="missing.contoso.test"} 0.0
kms_srv_record_published{dns_zone="contoso.test",port="1688",target="stale.contoso.test"} 1.0
# HELP kms_srv_record_expected 1 for a record that the configuration expects, 0 for one that nobody asked for; absent for a zone where nothing is said of it.
# TYPE kms_srv_record_expected gauge
kms_srv_record_expected{dns_zone="contoso.test",port="1688",target="gone.contoso.test"} 0.0
kms_srv_record_expected{dns_zone="contoso.test",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 0.0
kms_srv_record_expected{dns_zone="contoso.test",port="1688",target="kms1.contoso.test"} 1.0
kms_srv_record_expected{dns_zone="contoso.test",port="1688",target="missing.contoso.test"} 1.0
kms_srv_record_expected{dns_zone="contoso.test",port="1688",target="stale.contoso.test"} 0.0
# HELP kms_zone_hosts_expected Hosts that the configuration expects in the zone, where it says so.
# TYPE kms_zone_hosts_expected gauge
kms_zone_hosts_expected{dns_zone="contoso.test"} 2.0
# HELP kms_host_address_info 1 for every address of a target as this DNS server gave it last.
# TYPE kms_host_address_info gauge
kms_host_address_info{address="192.0.2.1",dns_server="192.0.2.53",target="kms1.contoso.test"} 1.0
kms_host_address_info{address="2001:db8::1",dns_server="192.0.2.53",target="kms1.contoso.test"} 1.0
kms_host_address_info{address="192.0.2.1",dns_server="192.0.2.53",target="kms\\"1\\\\\\n.contoso.test"} 1.0
kms_host_address_info{address="192.0.2.7",dns_server="192.0.2.53",target="missing.contoso.test"} 1.0
kms_host_address_info{address="192.0.2.1",dns_server="192.0.2.54",target="kms1.contoso.test"} 1.0
# HELP kms_host_lookup_failure 1 while this DNS server gives no address for the target, with the reason; absent otherwise.
# TYPE kms_host_lookup_failure gauge
kms_host_lookup_failure{dns_server="192.0.2.53",reason="nxdomain",target="gone.contoso.test"} 1.0
kms_host_lookup_failure{dns_server="[2001:db8::53]:5353",reason="nxdomain",target="stale.contoso.test"} 1.0
# HELP kms_host_alias_info 1 for a target that is an alias (CNAME), which RFC 2782 forbids and clients may refuse.
# TYPE kms_host_alias_info gauge
kms_host_alias_info{alias_of="cluster.contoso.test",dns_server="192.0.2.53",target="kms1.contoso.test"} 1.0
# HELP kms_endpoint_up 1 when the last probe of this address of the host went all the way.
# TYPE kms_endpoint_up gauge
kms_endpoint_up{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_up{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 0.0
kms_endpoint_up{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 0.0
kms_endpoint_up{address="192.0.2.7",port="1688",target="missing.contoso.test"} 0.0
kms_endpoint_up{address="10.1.2.3",port="1688",target="10.1.2.3"} 0.0
# HELP kms_endpoint_connect_seconds Round trip of the last TCP handshake as the kernel measured it; absent when it failed.
# TYPE kms_endpoint_connect_seconds gauge
kms_endpoint_connect_seconds{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 0.0015
kms_endpoint_connect_seconds{address="192.0.2.7",port="1688",target="missing.contoso.test"} 0.003
kms_endpoint_connect_seconds{address="10.1.2.3",port="1688",target="10.1.2.3"} 0.003
# HELP kms_endpoint_syn_retransmits_total SYNs sent again because no answer came: loss that the round trip does not show.
# TYPE kms_endpoint_syn_retransmits_total counter
kms_endpoint_syn_retransmits_total{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_syn_retransmits_total{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 0.0
kms_endpoint_syn_retransmits_total{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 0.0
kms_endpoint_syn_retransmits_total{address="192.0.2.7",port="1688",target="missing.contoso.test"} 0.0
kms_endpoint_syn_retransmits_total{address="10.1.2.3",port="1688",target="10.1.2.3"} 0.0
# HELP kms_endpoint_rpc_bind_seconds From the RPC bind sent to its acceptance; absent when it failed.
# TYPE kms_endpoint_rpc_bind_seconds gauge
kms_endpoint_rpc_bind_seconds{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 0.004
# HELP kms_endpoint_failure 1 while the last probe failed, with the reason; absent otherwise.
# TYPE kms_endpoint_failure gauge
kms_endpoint_failure{address="2001:db8::1",port="1688",reason="unreachable",target="kms1.contoso.test"} 1.0
kms_endpoint_failure{address="192.0.2.1",port="1689",reason="connection_refused",target="kms\\"1\\\\\\n.contoso.test"} 1.0
kms_endpoint_failure{address="192.0.2.7",port="1688",reason="rpc_timeout",target="missing.contoso.test"} 1.0
kms_endpoint_failure{address="10.1.2.3",port="1688",reason="not_rpc",target="10.1.2.3"} 1.0
# HELP kms_endpoint_probes_total Probes made.
# TYPE kms_endpoint_probes_total counter
kms_endpoint_probes_total{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 7.0
kms_endpoint_probes_total{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_probes_total{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 1.0
kms_endpoint_probes_total{address="192.0.2.7",port="1688",target="missing.contoso.test"} 1.0
kms_endpoint_probes_total{address="10.1.2.3",port="1688",target="10.1.2.3"} 1.0
# HELP kms_endpoint_probe_failures_total Probes that failed.
# TYPE kms_endpoint_probe_failures_total counter
kms_endpoint_probe_failures_total{address="192.0.2.1",port="1688",target="kms1.contoso.test"} 2.0
kms_endpoint_probe_failures_total{address="2001:db8::1",port="1688",target="kms1.contoso.test"} 1.0
kms_endpoint_probe_failures_total{address="192.0.2.1",port="1689",target="kms\\"1\\\\\\n.contoso.test"} 1.0
kms_endpoint_probe_failures_total{address="192.0.2.7",port="1688",target="missing.contoso.test"} 1.0
kms_endpoint_probe_failures_total{address="10.1.2.3",port="1688",target="10.1.2.3"} 1.0
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
kms_host_up{port="1688",target="missing.contoso.test"} 0.0
kms_host_up{port="1688",target="10.1.2.3"} 0.0
# HELP kms_zone_hosts Hosts in the last usable answers of all DNS servers; absent until there is one.
# TYPE kms_zone_hosts gauge
kms_zone_hosts{dns_zone="contoso.test"} 3.0
# HELP kms_zone_hosts_up Those of kms_zone_hosts that are up.
# TYPE kms_zone_hosts_up gauge
kms_zone_hosts_up{dns_zone="contoso.test"} 1.0
# HELP kms_dns_servers_agree 1 when all authoritative answers for the zone hold the same records, be it none; absent below two.
# TYPE kms_dns_servers_agree gauge
kms_dns_servers_agree{dns_zone="contoso.test"} 0.0
# HELP kms_client_verdict 1 for what a Windows client would meet that looks for KMS in this zone through this DNS server.
# TYPE kms_client_verdict gauge
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="ok"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="degraded"} 1.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="dns_failed"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="srv_missing"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="srv_declined"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="target_unresolvable"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="port_filtered"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="port_closed"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="kms_silent"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="not_kms"} 0.0
kms_client_verdict{dns_server="192.0.2.53",dns_zone="contoso.test",verdict="unknown"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="ok"} 1.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="degraded"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="dns_failed"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="srv_missing"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="srv_declined"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="target_unresolvable"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="port_filtered"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="port_closed"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="kms_silent"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="not_kms"} 0.0
kms_client_verdict{dns_server="192.0.2.54",dns_zone="contoso.test",verdict="unknown"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="ok"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="degraded"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="dns_failed"} 1.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="srv_missing"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="srv_declined"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="target_unresolvable"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="port_filtered"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="port_closed"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="kms_silent"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="not_kms"} 0.0
kms_client_verdict{dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",verdict="unknown"} 0.0
# HELP kms_client_likely_error_info 1, with the error that such a client is likely to show, and how sure that is; absent without one.
# TYPE kms_client_likely_error_info gauge
kms_client_likely_error_info{certainty="medium",code="0x8007232A",dns_server="[2001:db8::53]:5353",dns_zone="contoso.test",symbol="DNS_ERROR_RCODE_SERVER_FAILURE"} 1.0
# HELP kms_client_first_attempt_success_ratio Chance that the first host works that such a client picks: by priority and weight (rfc2782), or any (random), as old clients do; absent without hosts, or where one could not be looked at.
# TYPE kms_client_first_attempt_success_ratio gauge
kms_client_first_attempt_success_ratio{dns_server="192.0.2.53",dns_zone="contoso.test",selection="rfc2782"} 0.0
kms_client_first_attempt_success_ratio{dns_server="192.0.2.53",dns_zone="contoso.test",selection="random"} 0.5
kms_client_first_attempt_success_ratio{dns_server="192.0.2.54",dns_zone="contoso.test",selection="rfc2782"} 1.0
kms_client_first_attempt_success_ratio{dns_server="192.0.2.54",dns_zone="contoso.test",selection="random"} 1.0
# HELP kms_static_host_verdict 1 for what a client would meet that is assigned this host and resolves its name at this DNS server.
# TYPE kms_static_host_verdict gauge
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="ok"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="degraded"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="dns_failed"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="srv_missing"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="srv_declined"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="target_unresolvable"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="port_filtered"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="port_closed"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="kms_silent"} 0.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="not_kms"} 1.0
kms_static_host_verdict{dns_server="",port="1688",target="10.1.2.3",verdict="unknown"} 0.0
# HELP kms_client_profile_verdict 1 for what this kind of client would meet that searches its suffixes through this DNS server.
# TYPE kms_client_profile_verdict gauge
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="ok"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="degraded"} 1.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="dns_failed"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="srv_missing"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="srv_declined"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="target_unresolvable"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="port_filtered"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="port_closed"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="kms_silent"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="not_kms"} 0.0
kms_client_profile_verdict{client="branch \\"1\\"",dns_server="192.0.2.53",verdict="unknown"} 0.0
# HELP kms_client_profile_zone_info 1, with the suffix in which this kind of client finds records first; absent where it finds none.
# TYPE kms_client_profile_zone_info gauge
kms_client_profile_zone_info{client="branch \\"1\\"",dns_server="192.0.2.53",dns_zone="contoso.test"} 1.0
# HELP kms_exporter_last_check_timestamp_seconds When the last check of the zone was finished, in Unix time.
# TYPE kms_exporter_last_check_timestamp_seconds gauge
kms_exporter_last_check_timestamp_seconds{dns_zone="contoso.test"} 1.7000000005e+09
# HELP kms_exporter_check_duration_seconds Duration of the last check of the zone.
# TYPE kms_exporter_check_duration_seconds gauge
kms_exporter_check_duration_seconds{dns_zone="contoso.test"} 0.75
# HELP kms_exporter_static_host_last_check_timestamp_seconds When the last check of the static host was finished, in Unix time.
# TYPE kms_exporter_static_host_last_check_timestamp_seconds gauge
kms_exporter_static_host_last_check_timestamp_seconds{port="1688",target="10.1.2.3"} 1.700000001e+09
# HELP kms_exporter_records_ignored_total Records, endpoints and name servers left out: malformed, over a limit, or not allowed.
# TYPE kms_exporter_records_ignored_total counter
kms_exporter_records_ignored_total{dns_zone="contoso.test",reason="malformed"} 1.0
kms_exporter_records_ignored_total{dns_zone="contoso.test",reason="records_per_zone"} 0.0
# HELP kms_exporter_checks_overrun_total Checks that were still running when the next one was due.
# TYPE kms_exporter_checks_overrun_total counter
kms_exporter_checks_overrun_total 3.0
# HELP kms_exporter_internal_errors_total Bugs caught; the log has a traceback of each.
# TYPE kms_exporter_internal_errors_total counter
kms_exporter_internal_errors_total 0.0
# HELP kms_exporter_log_lines_dropped_total Lines of the log that nobody read in time, or that could not be written.
# TYPE kms_exporter_log_lines_dropped_total counter
kms_exporter_log_lines_dropped_total 2.0
# HELP kms_exporter_http_connections_rejected_total Connections to the pages that could not be taken, and tries to take one that failed.
# TYPE kms_exporter_http_connections_rejected_total counter
kms_exporter_http_connections_rejected_total{reason="limit"} 5.0
kms_exporter_http_connections_rejected_total{reason="no_resources"} 0.0
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
# HELP kms_exporter_tasks Tasks on the event loop: of checks, lookups that take more than a datagram, and connections.
# TYPE kms_exporter_tasks gauge
kms_exporter_tasks 17.0
# HELP kms_exporter_config_last_reload_successful 1 when the configuration was loaded at the last attempt, and that of the web side with it.
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
    clients = {"branch": client_settings()}
    configure(state, {ZONE: zone_settings(SERVER)}, hosts=[host("kms-dr")], clients=clients)
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
        "kms_exporter_log_lines_dropped_total": 0,
        "kms_exporter_records_ignored_total": 0,
        "kms_exporter_internal_errors_total": 0,
        "kms_exporter_http_connections_rejected_total": 0,
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
NO_BIND = endpoint_view(probed(endpoint(), at=5.0, rpc_bind_seconds=None))
DOWN = endpoint_view(probed(endpoint(address="2001:db8::1"), ProbeFailure.TIMEOUT))
SILENT = endpoint_view(probed(endpoint(), ProbeFailure.RPC_TIMEOUT))


@pytest.mark.parametrize(
    ("endpoints", "host_up", "connect", "rpc_bind", "failure", "last_success"),
    [
        pytest.param([], [0], [], [], [], [], id="no address"),
        pytest.param([UP], [1], [0.003], [0.004], [], [5], id="up"),
        pytest.param([NO_BIND], [1], [0.003], [], [], [5], id="up, as far as asked"),
        pytest.param([DOWN], [0], [], [], ["timeout"], [], id="never up"),
        pytest.param([SILENT], [0], [0.003], [], ["rpc_timeout"], [], id="silent"),
        pytest.param([DOWN._replace(last_success=4.0)], [0], [], [], ["timeout"], [4], id="not any more"),
        pytest.param([DOWN, UP], [1], [0.003], [0.004], ["timeout"], [5], id="one of two"),
    ],
)
def test_host_and_endpoints(
    endpoints: Sequence[EndpointView],
    host_up: list[float],
    connect: list[float],
    rpc_bind: list[float],
    failure: list[str],
    last_success: list[float],
) -> None:
    """A host is up when one of its endpoints is; times are there only where they were measured."""
    zone = zone_view(ZONE, NEVER.after(answer(record())))
    targets = ((SERVER, addresses(TARGET, *(view.endpoint.address for view in endpoints))),)
    snapshot = Snapshot(zones=(zone,), hosts=(host(),), targets=targets, endpoints=tuple(endpoints))
    assert values(snapshot, "kms_host_up") == values(snapshot, "kms_zone_hosts_up") == host_up
    assert values(snapshot, "kms_endpoint_connect_seconds") == connect
    assert values(snapshot, "kms_endpoint_rpc_bind_seconds") == rpc_bind
    assert [s.labels["reason"] for s in series(snapshot, "kms_endpoint_failure")] == failure
    assert values(snapshot, "kms_endpoint_last_success_timestamp_seconds") == last_success


@pytest.mark.parametrize("failure", ProbeFailure)
def test_endpoint_failure(failure: ProbeFailure) -> None:
    """Every reason has its own word, in one series that is there only while the probe fails."""
    snapshot = Snapshot(endpoints=(endpoint_view(probed(endpoint(), failure)),))
    [sample] = series(snapshot, "kms_endpoint_failure")
    assert (sample.labels["reason"], sample.value) == (failure.value, 1)
    assert values(snapshot, "kms_endpoint_up") == [0]


def test_hosts_of_a_zone() -> None:
    """A zone's hosts are those of all servers' last usable answers, each once, without the vanished."""
    one = NEVER.after(answer(record(), record("kms2.contoso.test")))
    two = ServerView(dns_server="192.0.2.54").after(answer(record(priority=9), record(port=1689)))
    zone = zone_view(ZONE, one, two, vanished=frozenset({host("gone.contoso.test")}))
    gone = endpoint_view(probed(endpoint("gone.contoso.test")))
    targets = ((SERVER, addresses(TARGET, ADDRESS)),)
    snapshot = Snapshot(zones=(zone,), targets=targets, endpoints=(UP, gone))
    assert values(snapshot, "kms_zone_hosts") == [3]
    assert values(snapshot, "kms_zone_hosts_up") == [1]
    published = {s.labels["target"]: s.value for s in series(snapshot, "kms_srv_record_published")}
    assert published == {TARGET: 1, "kms2.contoso.test": 1, "gone.contoso.test": 0}


def test_hosts_of_a_zone_that_another_zone_names() -> None:
    """What the server of one zone says of a host that another publishes does not make it up there."""
    zone = zone_view(ZONE, NEVER.after(answer(record())))
    liar = zone_view("fabrikam.test", ServerView(dns_server="192.0.2.66").after(answer(record())))
    elsewhere = endpoint_view(probed(endpoint(address="192.0.2.99")))
    down = endpoint_view(probed(endpoint(), ProbeFailure.TIMEOUT))
    snapshot = Snapshot(
        zones=(zone, liar),
        targets=((SERVER, addresses(TARGET, ADDRESS)), ("192.0.2.66", addresses(TARGET, "192.0.2.99"))),
        endpoints=(down, elsewhere),
    )
    up = {s.labels["dns_zone"]: s.value for s in series(snapshot, "kms_zone_hosts_up")}
    assert up == {ZONE: 0, "fabrikam.test": 1}


EXPECTED_HOST = frozenset({host()})
NOTHING = frozenset[Host]()


@pytest.mark.parametrize(
    ("expected", "view", "vanished", "published", "asked_for"),
    [
        pytest.param(None, PUBLISHED, NOTHING, {TARGET: 1}, {}, id="no opinion"),
        pytest.param(EXPECTED_HOST, NEVER, NOTHING, {}, {}, id="no answer yet"),
        pytest.param(
            EXPECTED_HOST, NEVER.after(answer(status=LookupStatus.REFUSED)), NOTHING, {}, {}, id="refused"
        ),
        pytest.param(EXPECTED_HOST, PUBLISHED, NOTHING, {TARGET: 1}, {TARGET: 1}, id="as it should be"),
        pytest.param(EXPECTED_HOST, NEVER.after(answer()), NOTHING, {TARGET: 0}, {TARGET: 1}, id="missing"),
        pytest.param(
            EXPECTED_HOST,
            PUBLISHED.after(answer()),
            frozenset({host(), host(GONE)}),
            {TARGET: 0, GONE: 0},
            {TARGET: 1, GONE: 0},
            id="vanished",
        ),
        pytest.param(
            EXPECTED_HOST,
            NEVER.after(answer(record(STALE))),
            NOTHING,
            {TARGET: 0, STALE: 1},
            {TARGET: 1, STALE: 0},
            id="another in its place",
        ),
        pytest.param(
            EXPECTED_HOST,
            NEVER.after(answer(record("."))),
            NOTHING,
            {TARGET: 0, ".": 1},
            {TARGET: 1, ".": 0},
            id="declined",
        ),
        pytest.param(NOTHING, PUBLISHED, NOTHING, {TARGET: 1}, {TARGET: 0}, id="nobody asked for it"),
        pytest.param(NOTHING, NEVER.after(answer()), NOTHING, {}, {}, id="nothing, as it should be"),
        pytest.param(
            NOTHING, NEVER.after(answer(record("."))), NOTHING, {".": 1}, {".": 1}, id="declined too"
        ),
    ],
)
def test_expected(
    expected: frozenset[Host] | None,
    view: ServerView,
    vanished: frozenset[Host],
    published: dict[str, float],
    asked_for: dict[str, float],
) -> None:
    """Where the configuration says what should be published, every known record shows whether it should."""
    snapshot = Snapshot(zones=(zone_view(ZONE, view, expected=expected, vanished=vanished),))
    for name, found in (("kms_srv_record_published", published), ("kms_srv_record_expected", asked_for)):
        assert {s.labels["target"]: s.value for s in series(snapshot, name)} == found
        assert {(s.labels["dns_zone"], s.labels["port"]) for s in series(snapshot, name)} <= {(ZONE, "1688")}
    assert values(snapshot, "kms_zone_hosts_expected") == ([] if expected is None else [len(expected)])


@pytest.mark.parametrize(
    ("lookups", "found"),
    [
        pytest.param([], [], id="no lookup"),
        pytest.param([addresses(TARGET, ADDRESS)], [], id="an address"),
        pytest.param([addresses(TARGET), addresses(TARGET, ADDRESS)], [], id="an address at one server"),
        pytest.param([addresses(TARGET, probed=(ADDRESS,))], [], id="an older address"),
        pytest.param([addresses(TARGET)], [0], id="no address"),
        pytest.param([addresses(TARGET), addresses(TARGET)], [0], id="no address anywhere"),
        pytest.param([addresses(TARGET, failure=LookupStatus.TIMEOUT)], [0], id="a failing lookup"),
    ],
)
def test_host_before_its_first_probe(lookups: Sequence[TargetLookup], found: list[float]) -> None:
    """A host that has an address is neither up nor down until that is probed."""
    targets = tuple((f"192.0.2.{number}", each) for number, each in enumerate(lookups))
    assert values(Snapshot(hosts=(host(),), targets=targets), "kms_host_up") == found


def test_new_port_of_a_known_host() -> None:
    """A host that comes on a new port has no kms_host_up before the first probe of that: a 0 would lie."""
    state = State()
    configure(state, hosts=[host(), host(port=1689)])
    state.apply_host(host_check(host(), ADDRESS))
    ports = {sample.labels["port"]: sample.value for sample in series(state.snapshot(), "kms_host_up")}
    assert ports == {"1688": 1}
    late = replace(host_check(host(port=1689), ADDRESS), probes=())
    state.apply_host(late)
    assert [sample.labels["port"] for sample in series(state.snapshot(), "kms_host_up")] == ["1688"]
    refused = probed(endpoint(port=1689), ProbeFailure.CONNECTION_REFUSED)
    state.apply_host(replace(late, probes=(refused,)))
    ports = {sample.labels["port"]: sample.value for sample in series(state.snapshot(), "kms_host_up")}
    assert ports == {"1688": 1, "1689": 0}


def test_expected_host_before_the_first_check() -> None:
    """An expected host has no kms_host_up before the first check: a 0 would lie."""
    state = State()
    configure(state, {ZONE: zone_settings(expected=[host()])})
    assert series(state.snapshot(), "kms_host_up") == []


# --- What clients meet

AUTHORITATIVE = NEVER.after(answer(record(), authoritative=True))
AUTHORITATIVE_TOO = replace(AUTHORITATIVE, dns_server="192.0.2.54")


@pytest.mark.parametrize(
    ("views", "agree"),
    [
        pytest.param([AUTHORITATIVE], [], id="one"),
        pytest.param([AUTHORITATIVE, AUTHORITATIVE_TOO], [1], id="alike"),
        pytest.param(
            [AUTHORITATIVE, AUTHORITATIVE_TOO.after(answer(authoritative=True))], [0], id="not alike"
        ),
        pytest.param([AUTHORITATIVE, AUTHORITATIVE_TOO.after(answer(authoritative=False))], [], id="a cache"),
        pytest.param(
            [AUTHORITATIVE, AUTHORITATIVE_TOO.after(answer(status=LookupStatus.TIMEOUT))], [], id="a failure"
        ),
        pytest.param([AUTHORITATIVE, NEVER], [], id="one not asked yet"),
        pytest.param(
            [
                NEVER.after(answer(status=LookupStatus.NXDOMAIN, authoritative=True)),
                AUTHORITATIVE_TOO.after(answer(authoritative=True)),
            ],
            [1],
            id="nothing",
        ),
    ],
)
def test_agreement(views: list[ServerView], agree: list[float]) -> None:
    """Authoritative answers are compared with one another, where there are at least two."""
    assert values(Snapshot(zones=(zone_view(ZONE, *views),)), "kms_dns_servers_agree") == agree


def seen(view: ServerView, *failures: ProbeFailure | None) -> Snapshot:
    """Give the snapshot of a zone at one server whose usual target has an address for each probe."""
    literals = [f"192.0.2.{number}" for number in range(1, len(failures) + 1)]
    endpoints = [
        endpoint_view(probed(endpoint(address=literal), failure))
        for literal, failure in zip(literals, failures, strict=True)
    ]
    return Snapshot(
        zones=(zone_view(ZONE, view),),
        clients=(client_view(zone_view("empty.test", NEVER.after(answer())), zone_view(ZONE, view)),),
        hosts=(host(),),
        static_hosts=(static_host_view(host(), SERVER),),
        targets=((SERVER, addresses(TARGET, *literals)),),
        endpoints=tuple(endpoints),
    )


def current(snapshot: Snapshot, name: str) -> list[str]:
    """Tell the verdicts that are current, and see that there is one series per verdict."""
    samples = series(snapshot, name)
    assert [s.labels["verdict"] for s in samples] == [v.value for v in Verdict] * (
        len(samples) // len(Verdict)
    )
    assert {s.value for s in samples} <= {0, 1}
    return [s.labels["verdict"] for s in samples if s.value]


@pytest.mark.parametrize(
    ("view", "failures", "verdict", "error"),
    [
        (PUBLISHED, [None], "ok", None),
        (PUBLISHED, [None, ProbeFailure.TIMEOUT], "ok", None),
        (
            PUBLISHED.after(answer(status=LookupStatus.SERVFAIL)),
            [None],
            "dns_failed",
            ("0x8007232A", "DNS_ERROR_RCODE_SERVER_FAILURE", "high"),
        ),
        (
            NEVER.after(answer(status=LookupStatus.NXDOMAIN)),
            [],
            "srv_missing",
            ("0x8007232B", "DNS_ERROR_RCODE_NAME_ERROR", "high"),
        ),
        (NEVER.after(answer()), [], "srv_missing", ("0x8007251D", "DNS_INFO_NO_RECORDS", "high")),
        (
            NEVER.after(answer(record(".", 0))),
            [],
            "srv_declined",
            ("0xC004F074", "SL_E_VL_BINDING_SERVICE_UNAVAILABLE", "low"),
        ),
        (
            PUBLISHED,
            [ProbeFailure.NOT_RPC],
            "not_kms",
            ("0xC004F074", "SL_E_VL_BINDING_SERVICE_UNAVAILABLE", "low"),
        ),
        (PUBLISHED, [ProbeFailure.NOT_ALLOWED], "unknown", None),
    ],
)
def test_client_verdict(
    view: ServerView,
    failures: list[ProbeFailure | None],
    verdict: str,
    error: tuple[str, str, str] | None,
) -> None:
    """A zone at a DNS server has one verdict, and a likely error only where the verdict has one."""
    snapshot = seen(view, *failures)
    assert current(snapshot, "kms_client_verdict") == [verdict]
    samples = series(snapshot, "kms_client_likely_error_info")
    at = {"dns_zone": ZONE, "dns_server": SERVER}
    names = ("code", "symbol", "certainty")
    assert [s.labels for s in samples] == ([at | dict(zip(names, error, strict=True))] if error else [])
    assert {s.value for s in samples} <= {1}


@pytest.mark.parametrize(
    ("view", "failures", "found"),
    [
        pytest.param(PUBLISHED, [None], {"rfc2782": 1, "random": 1}, id="works"),
        pytest.param(PUBLISHED, [ProbeFailure.TIMEOUT], {"rfc2782": 0, "random": 0}, id="does not"),
        pytest.param(
            NEVER.after(answer(record(), record(STALE, priority=1))),
            [None],
            {"rfc2782": 1, "random": 0.5},
            id="by priority",
        ),
        pytest.param(NEVER.after(answer()), [], {}, id="no hosts"),
        pytest.param(PUBLISHED, [ProbeFailure.LOCAL_ERROR], {}, id="nobody could look"),
    ],
)
def test_first_attempt(
    view: ServerView, failures: list[ProbeFailure | None], found: dict[str, float]
) -> None:
    """The chance that the first attempt works is given for both kinds of clients, where there are hosts."""
    snapshot = seen(view, *failures)
    unresolvable = (SERVER, addresses(STALE))
    snapshot = replace(snapshot, targets=(*snapshot.targets, unresolvable))
    samples = series(snapshot, "kms_client_first_attempt_success_ratio")
    assert {s.labels["selection"]: s.value for s in samples} == found


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [
        ([None], "ok"),
        ([ProbeFailure.INTERFACE_UNKNOWN], "not_kms"),
        ([ProbeFailure.RPC_CLOSED, ProbeFailure.TIMEOUT], "kms_silent"),
        ([], "target_unresolvable"),
    ],
)
def test_static_host_verdict(failures: list[ProbeFailure | None], verdict: str) -> None:
    """A static host has a verdict for each DNS server that resolves it; an address for the server ""."""
    snapshot = seen(NEVER, *failures)
    assert current(snapshot, "kms_static_host_verdict") == [verdict]
    assert {s.labels["dns_server"] for s in series(snapshot, "kms_static_host_verdict")} == {SERVER}


def test_static_address_verdict() -> None:
    """A static host that is an address has one verdict, with an empty DNS server, once it was checked."""
    one = host("10.1.2.3")
    assert current(Snapshot(static_hosts=(static_host_view(one),)), "kms_static_host_verdict") == []
    snapshot = Snapshot(
        static_hosts=(static_host_view(one, ""),),
        targets=(("", addresses("10.1.2.3", "10.1.2.3")),),
        endpoints=(endpoint_view(probed(endpoint("10.1.2.3", address="10.1.2.3"))),),
    )
    assert current(snapshot, "kms_static_host_verdict") == ["ok"]
    labels = series(snapshot, "kms_static_host_verdict")[0].labels
    assert labels == {"target": "10.1.2.3", "port": "1688", "dns_server": "", "verdict": "ok"}


@pytest.mark.parametrize(
    ("view", "failures", "verdict", "zones"),
    [
        (PUBLISHED, [None], "ok", [ZONE]),
        (PUBLISHED, [ProbeFailure.CONNECTION_REFUSED], "port_closed", [ZONE]),
        (NEVER.after(answer()), [], "srv_missing", []),
        (NEVER.after(answer(status=LookupStatus.REFUSED)), [], "dns_failed", []),
    ],
)
def test_client_profile(
    view: ServerView, failures: list[ProbeFailure | None], verdict: str, zones: list[str]
) -> None:
    """A kind of client has one verdict per DNS server, and the suffix in which it finds records."""
    snapshot = seen(view, *failures)
    assert current(snapshot, "kms_client_profile_verdict") == [verdict]
    [labels] = {
        (s.labels["client"], s.labels["dns_server"]) for s in series(snapshot, "kms_client_profile_verdict")
    }
    assert labels == (CLIENT, SERVER)
    samples = series(snapshot, "kms_client_profile_zone_info")
    assert [(s.labels, s.value) for s in samples] == [
        ({"client": CLIENT, "dns_server": SERVER, "dns_zone": zone}, 1) for zone in zones
    ]


def test_searched_suffixes_are_no_zones() -> None:
    """What only clients search shows in their verdicts, their hosts and their endpoints, but as no zone."""
    snapshot = replace(seen(PUBLISHED, None), zones=())
    names = {
        s.labels["dns_zone"] for f in families(snapshot, BUILD) for s in f.samples if "dns_zone" in s.labels
    }
    assert names == {ZONE}
    assert {f.name for f in families(snapshot, BUILD) if any("dns_zone" in s.labels for s in f.samples)} == {
        "kms_client_profile_zone_info"
    }
    assert values(snapshot, "kms_host_up") == values(snapshot, "kms_endpoint_up") == [1]


@pytest.mark.parametrize("rpc_bind", [True, False])
def test_help_tells_how_far_probes_go(rpc_bind: bool) -> None:  # noqa: FBT001 - a setting
    """Where probes end with the handshake, the help of all that depends on it says so."""
    found = families(Snapshot(rpc_bind=rpc_bind), BUILD)
    noted = {family.name for family in found if "rpc_bind is off" in family.documentation}
    assert noted == (set() if rpc_bind else AFFECTED)


AFFECTED = {
    "kms_host_up",
    "kms_endpoint_up",
    "kms_endpoint_rpc_bind_seconds",
    "kms_client_verdict",
    "kms_static_host_verdict",
    "kms_client_profile_verdict",
}


# --- The exporter itself


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


@pytest.mark.parametrize(
    "snapshot",
    [Snapshot(), GOLDEN_SNAPSHOT, replace(GOLDEN_SNAPSHOT, rpc_bind=False)],
    ids=["empty", "golden", "handshake"],
)
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
    several = st.lists(NAMES, max_size=2, unique=True)
    expected = st.none() | several.map(lambda names: [Host(target=name, port=1) for name in names])
    zones = {
        zone: zone_settings(*servers, labels=draw(labels), expected=draw(expected)) for zone in draw(several)
    }
    hosts = [Host(target=name, port=1) for name in draw(several)]
    clients = {name: client_settings("a.b", "a", servers=servers) for name in draw(several)}
    configure(state, zones, hosts=hosts, clients=clients, rpc_bind=draw(st.booleans()))
    found = st.dictionaries(NAMES, st.lists(LITERALS, unique=True), max_size=3)

    def look(zone: str, number: int) -> ZoneCheck:
        checks = []
        for label in servers:
            targets = draw(found)
            weights = draw(st.lists(st.integers(0, 2), max_size=2, unique=True))
            records = {record(name, 1, weight=weight) for name in targets for weight in weights}
            checks.append(at_server(label, answer(*records), targets))
        return zone_check(*checks, zone=zone, at=number)

    for number, zone in enumerate(zones):
        for _ in range(draw(st.integers(0, 2))):
            state.apply_zone(look(zone, number))
    for number, client in enumerate(clients):
        state.apply_client(client_check(look("a.b", number), look("a", number), client=client))
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

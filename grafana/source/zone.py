"""KMS zone: what each DNS server says of a zone, the hosts it leads to, and what changed when."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.changes import (
    EXPECTED,
    agreement,
    annotations,
    record_changes,
    records_over_time,
    serials,
)
from grafana.source.frame import ZONE_UID, Row, frame
from grafana.source.hosts import addresses, binds, endpoints, failed_probes, handshakes, retransmits
from grafana.source.panels import Panel, lines, timeline
from grafana.source.queries import (
    HOST,
    RECORD,
    ZONE_SERVER,
    Query,
    highest_series,
    largest,
    lowest_series,
    of_exporter,
    of_zone_servers,
    of_zones,
    on,
    smallest,
)
from grafana.source.selections import alerts_of_chosen_zones
from grafana.source.shared import (
    JOB_COLUMN,
    SERVER_COLUMN,
    ZONE_COLUMN,
    ZONE_ROW,
    alert_table,
    first_attempt,
    verdict_queries,
)
from grafana.source.states import lookup_status, worst_rows_first, zone_had_trouble, zone_verdict
from grafana.source.tables import Column, listing
from grafana.source.words import FAILED, STATUS_WORDS, TROUBLE, UNUSABLE, VERDICT_WORDS, flag

_TOP = "At most as many lines as chosen at the top"
_UP = flag("✗ down", "✓ up")
_AUTHORITY = flag("~ a cache", "✓ authority", no_colour="blue")


def zone() -> Dashboard:
    """Build the dashboard."""
    return frame(
        ZONE_UID,
        "What each DNS server says of the chosen zones, the hosts they lead to, and what changed when.",
        [
            Row(height=8, panels=[(24, _views())]),
            Row(height=8, panels=[(12, _verdicts()), (12, _statuses())]),
            Row(height=7, panels=[(12, agreement()), (12, alert_table(alerts_of_chosen_zones))]),
            Row(height=8, panels=[(12, _lookups()), (12, _first_attempts())]),
            Row(title="Records, and what changed", height=10, panels=[(24, _records())]),
            Row(height=10, panels=[(24, record_changes())]),
            Row(height=9, panels=[(24, records_over_time())]),
            Row(height=8, panels=[(12, _record_counts()), (12, serials())]),
            Row(title="Hosts", height=10, panels=[(24, endpoints())]),
            Row(height=9, panels=[(12, handshakes()), (12, binds())]),
            Row(height=9, panels=[(12, retransmits()), (12, failed_probes())]),
            Row(height=9, panels=[(24, addresses())]),
        ],
        annotations(),
    )


def _views() -> Panel:
    queries, columns = verdict_queries()
    more = [
        lookup_status(ZONE_SERVER)(""),
        largest(ZONE_SERVER, of_zone_servers("kms_srv_lookup_seconds")),
        largest(ZONE_SERVER, of_zone_servers("kms_srv_records")),
        smallest(ZONE_SERVER, of_zone_servers("kms_srv_record_ttl_seconds")),
        smallest(ZONE_SERVER, of_zone_servers("kms_dns_answer_authoritative")),
        largest(ZONE_SERVER, of_zone_servers("kms_dns_soa_serial")),
    ]
    return listing(
        "What each DNS server's clients meet",
        "The verdict on the zone at each DNS server, with the answer that it rests on. The code is what a "
        "client there is likely to show, unless it is activated through Active Directory. A time to live "
        "that counts down is that of a cache.",
        [*queries, *(Query(expr=expr) for expr in more)],
        [
            *columns,
            Column(source="E", title="Lookup", words=STATUS_WORDS, width=130),
            Column(source="F", title="Took", unit="s", missing="-", width=80),
            Column(source="G", title="Records", missing="-", width=80),
            Column(source="H", title="TTL", unit="s", missing="-", width=80),
            Column(source="I", title="Answer from", words=_AUTHORITY, missing="-", width=110),
            Column(source="J", title="Serial", missing="-", width=110),
            JOB_COLUMN,
        ],
        worst=["Verdict"],
        then=["Zone", "DNS server"],
    )


def _verdicts() -> Panel:
    return timeline(
        "Verdicts over time",
        "What a client met in the zone at each DNS server. Those with trouble come first.",
        worst_rows_first(zone_verdict(ZONE_SERVER), ZONE_ROW, FAILED, TROUBLE, ever=zone_had_trouble()),
        VERDICT_WORDS,
    )


def _statuses() -> Panel:
    return timeline(
        "Lookups over time",
        "How the SRV lookup of the zone ended at each DNS server. Those without a usable answer come "
        "first, then those without a record.",
        worst_rows_first(lookup_status(ZONE_SERVER), ZONE_ROW, UNUSABLE, 1),
        STATUS_WORDS,
    )


def _lookups() -> Panel:
    seconds = largest(ZONE_SERVER, of_zone_servers("kms_srv_lookup_seconds"))
    return lines(
        "Duration of lookups",
        f"Duration of the last SRV lookup that got an answer. {_TOP}, the slowest of the time range.",
        [Query(expr=highest_series(seconds), legend=ZONE_ROW)],
        unit="s",
    )


def _first_attempts() -> Panel:
    return lines(
        "First attempts that work",
        "Chance that the first host works that a client picks: by priority and weight (RFC 2782), or any "
        f"of them, as old clients do. {_TOP} for either, the lowest of the time range.",
        [
            Query(expr=lowest_series(first_attempt(selection)), legend=f"{ZONE_ROW} · {name}")
            for selection, name in (("rfc2782", "by weight"), ("random", "any"))
        ],
        unit="percentunit",
        calcs=("lastNotNull", "min"),
    )


def _records() -> Panel:
    labels = (*ZONE_SERVER, "target", "port", "priority", "weight")
    records = largest(labels, of_zone_servers("kms_srv_record_info"))
    up = f"{largest(HOST, of_exporter('kms_host_up'))} * {on(HOST)} group_right () {records}"
    expected = (
        f"{largest(RECORD, of_zones('kms_srv_record_expected'))} * {on(RECORD)} group_right () {records}"
    )
    return listing(
        "Records at each DNS server",
        "The SRV records of the last usable answer. A lower priority is tried first; within one, a host is "
        "picked in proportion to its weight. A record that is gone is in the next table.",
        [Query(expr=records), Query(expr=up), Query(expr=expected)],
        [
            ZONE_COLUMN,
            SERVER_COLUMN,
            Column(source="priority", title="Priority", width=80),
            Column(source="weight", title="Weight", width=80),
            Column(source="port", title="Port", width=80),
            Column(source="target", title="Target"),
            Column(source="B", title="Host", words=_UP, missing="-", width=100),
            Column(source="C", title="Expected", words=EXPECTED, missing="no opinion", width=180),
            JOB_COLUMN,
        ],
        then=["Zone", "DNS server", "Priority", "Target"],
    )


def _record_counts() -> Panel:
    return lines(
        "Number of records",
        f"Records in the answer of each DNS server; a gap where there is no usable answer. {_TOP}, the "
        "highest of the time range.",
        [
            Query(
                expr=highest_series(largest(ZONE_SERVER, of_zone_servers("kms_srv_records"))), legend=ZONE_ROW
            )
        ],
        unit="none",
        calcs=("lastNotNull", "min", "max"),
    )

"""KMS overview: what is wrong in the whole fleet, and since when."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.counts import counts
from grafana.source.frame import OVERVIEW_UID, Row, frame
from grafana.source.panels import Panel, lines, timeline
from grafana.source.queries import (
    CLIENT,
    ENDPOINT,
    HOST,
    RECORD,
    SERVER,
    STATIC,
    ZONE,
    ZONE_SERVER,
    Query,
    changing_series,
    highest_series,
    largest,
    lowest_series,
    of_exporter,
    of_zone_servers,
    of_zones,
    on,
)
from grafana.source.selections import alerts_of_all, current
from grafana.source.shared import (
    ENDPOINT_LINE,
    TO_ZONE,
    ZONE_ROW,
    alert_table,
    first_attempt,
    likely_error,
    verdict_queries,
)
from grafana.source.states import (
    USABLE,
    other_verdict,
    worst_rows_first,
    zone_had_trouble,
    zone_verdict,
)
from grafana.source.tables import Column, listing
from grafana.source.words import FAILED, TROUBLE, VERDICT_WORDS, flag

_TOP = "At most as many lines as chosen at the top"


def overview() -> Dashboard:
    """Build the dashboard."""
    return frame(
        OVERVIEW_UID,
        "What Windows clients meet that look for a KMS host, in all zones and at all DNS servers.",
        [
            Row(height=4, panels=counts()),
            Row(height=10, panels=[(24, _zones())]),
            Row(height=14, panels=[(24, _grid())]),
            Row(height=8, panels=[(12, alert_table(alerts_of_all)), (12, _servers())]),
            Row(title="Clients", height=9, panels=[(12, _codes()), (12, _first_attempts())]),
            Row(title="Records", height=9, panels=[(12, _records()), (12, _record_changes())]),
            Row(title="Hosts", height=9, panels=[(12, _hosts()), (12, _failures())]),
            Row(height=9, panels=[(12, _latency()), (12, _slowest())]),
            Row(
                title="Assigned hosts and kinds of clients",
                height=10,
                panels=[(12, _static_hosts()), (12, _profiles())],
            ),
        ],
    )


def _zones() -> Panel:
    queries, columns = verdict_queries()
    at_servers = f"group by ({', '.join(ZONE_SERVER)}) ({of_zone_servers('kms_client_verdict')})"
    more = [
        largest(ZONE_SERVER, of_zone_servers("kms_srv_records")),
        *(
            f"{largest(ZONE, of_zones(metric))} * {on(ZONE)} group_right () {at_servers}"
            for metric in ("kms_zone_hosts_up", "kms_zone_hosts")
        ),
    ]
    return listing(
        "Zones, those with trouble first",
        "What a client meets in each zone at each DNS server, since when it has been so, and the error code "
        "that it is likely to show, unless it is activated through Active Directory. Hosts are those of the "
        "zone at all DNS servers.",
        [*queries, *(Query(expr=expr) for expr in more)],
        [
            *columns,
            Column(source="E", title="Records", missing="-", width=80),
            Column(source="F", title="Hosts up", missing="-", width=80),
            Column(source="G", title="Hosts", missing="-", width=80),
            Column(source="job", title="Job", width=120),
        ],
        worst=["Verdict"],
        then=["Zone", "DNS server"],
    )


def _grid() -> Panel:
    return timeline(
        "Verdicts over time",
        "What a client met in each zone at each DNS server. From the top: nobody served at the end of the "
        "time range, other trouble at the end, trouble within the range, all others.",
        worst_rows_first(zone_verdict(ZONE_SERVER), ZONE_ROW, FAILED, TROUBLE, ever=zone_had_trouble()),
        VERDICT_WORDS,
        links=[TO_ZONE],
    )


def _servers() -> Panel:
    def silent(at: str) -> str:
        return f"1 - {largest(SERVER, of_zone_servers('kms_srv_lookup_status', USABLE) + at)}"

    return timeline(
        "DNS servers over time",
        "Whether each DNS server gave a usable answer for any of the chosen zones. Those that do not answer "
        "come first.",
        worst_rows_first(silent, "{{dns_server}} · {{job}}", 1),
        flag("✓ answers", "✗ no usable answer", no_colour="green", yes_colour="red"),
    )


def _codes() -> Panel:
    errors = largest(("dns_zone", "dns_server", "code", "symbol"), likely_error())
    return lines(
        "Likely error codes",
        "Pairs of zone and DNS server by the error that clients there are likely to show, unless they are "
        "activated through Active Directory. Zones where nothing is expected are left out.",
        [Query(expr=f"count by (code, symbol) ({errors})", legend="{{code}} {{symbol}}")],
        unit="none",
        bars=True,
    )


def _first_attempts() -> Panel:
    return lines(
        "First attempts that work, the worst",
        "Chance that the first host works that a client picks by priority and weight (RFC 2782). "
        f"{_TOP}, those that were lowest in the time range.",
        [Query(expr=lowest_series(first_attempt()), legend=ZONE_ROW)],
        unit="percentunit",
        calcs=("lastNotNull", "min"),
    )


def _records() -> Panel:
    published = largest(RECORD, of_zones("kms_srv_record_published"))
    return lines(
        "Records",
        "Records that some DNS server publishes, and those that are gone: vanished within the time that "
        "the exporter remembers (`forget_after`), or expected and missing.",
        [
            Query(expr=f"sum by (job) ({published})", legend="published · {{job}}"),
            Query(expr=f"count by (job) ({published} == 0)", legend="gone · {{job}}"),
        ],
        unit="none",
        calcs=("lastNotNull", "min", "max"),
    )


def _record_changes() -> Panel:
    return lines(
        "Zones whose number of records changed",
        f"Records in the answer of each DNS server, where their number changed in the time range. {_TOP}, "
        "those that changed most often.",
        [
            Query(
                expr=changing_series(largest(ZONE_SERVER, of_zone_servers("kms_srv_records"))),
                legend=ZONE_ROW,
            )
        ],
        unit="none",
        calcs=("lastNotNull", "min", "max"),
    )


def _hosts() -> Panel:
    up = largest(HOST, current(of_exporter("kms_host_up")))
    return lines(
        "Hosts up",
        "Hosts that are published or assigned statically, each counted once, and those of them that are up.",
        [
            Query(expr=f"sum by (job) ({up})", legend="up · {{job}}"),
            Query(expr=f"count by (job) ({up})", legend="all · {{job}}"),
        ],
        unit="none",
        calcs=("lastNotNull", "min", "max"),
    )


def _failures() -> Panel:
    failing = largest(("target", "port", "address", "reason"), current(of_exporter("kms_endpoint_failure")))
    return lines(
        "Addresses that fail, by reason",
        "Addresses of hosts whose last probe failed, by the reason.",
        [Query(expr=f"count by (reason) ({failing})", legend="{{reason}}")],
        unit="none",
        bars=True,
    )


def _connect() -> str:
    return largest(ENDPOINT, current(of_exporter("kms_endpoint_connect_seconds")))


def _latency() -> Panel:
    return lines(
        "Handshake of all hosts",
        "Round trip of the last TCP handshake with each address: median, 90 % and slowest of all.",
        [
            Query(expr=f"quantile by (job) (0.5, {_connect()})", legend="median · {{job}}"),
            Query(expr=f"quantile by (job) (0.9, {_connect()})", legend="90 % · {{job}}"),
            Query(expr=f"max by (job) ({_connect()})", legend="slowest · {{job}}"),
        ],
        unit="s",
    )


def _slowest() -> Panel:
    return lines(
        "Slowest handshakes",
        "Round trip of the last TCP handshake, where it took longest. "
        f"{_TOP}, those that were slowest at any time of the time range.",
        [Query(expr=highest_series(_connect()), legend=ENDPOINT_LINE)],
        unit="s",
    )


def _static_hosts() -> Panel:
    state = other_verdict("kms_static_host_verdict", STATIC)

    def named(at: str) -> str:
        return f'label_replace({state(at)}, "dns_server", "by address", "dns_server", "")'

    return timeline(
        "Assigned hosts",
        "What a client meets that is assigned this host (`slmgr /skms`), which resolves its name at this "
        "DNS server. Those with trouble come first.",
        worst_rows_first(named, "{{target}}:{{port}} @ {{dns_server}} · {{job}}", FAILED, TROUBLE),
        VERDICT_WORDS,
    )


def _profiles() -> Panel:
    return timeline(
        "Kinds of clients",
        "What each kind of client meets that searches its suffixes in order through this DNS server. Those "
        "with trouble come first.",
        worst_rows_first(
            other_verdict("kms_client_profile_verdict", CLIENT),
            "{{client}} @ {{dns_server}} · {{job}}",
            FAILED,
            TROUBLE,
        ),
        VERDICT_WORDS,
    )

"""What changed in the chosen zones, and when: records that vanish, return or are new, and serials."""

from grafana.source.frame import Annotation
from grafana.source.panels import Panel, lines, timeline
from grafana.source.queries import (
    RANGE,
    RATE,
    RECORD,
    ZONE,
    ZONE_SERVER,
    Query,
    highest_series,
    largest,
    milliseconds,
    of_zone_servers,
    of_zones,
    on,
)
from grafana.source.selections import about, alerts_of_chosen_zones
from grafana.source.shared import JOB_COLUMN, LONGER, ZONE_COLUMN, ZONE_ROW
from grafana.source.states import worst_rows_first
from grafana.source.tables import Column, listing
from grafana.source.words import flag

_RECORD = "{{target}}:{{port}} in {{dns_zone}} · {{job}}"
PUBLISHED = flag("✗ gone or missing", "✓ published")
EXPECTED = flag("! nobody asked for it", "✓ expected", no_colour="orange")


def _published(at: str = "") -> str:
    return largest(RECORD, of_zones("kms_srv_record_published") + at)


def records_over_time() -> Panel:
    """Show when each record was published."""

    def gone(at: str) -> str:
        return f"1 - {_published(at)}"

    return timeline(
        "Records over time",
        "Whether any DNS server published the record. One that is gone stays here while the exporter "
        "remembers it (`forget_after`), or for as long as it is expected. Those that are gone come first, "
        "then those that were.",
        worst_rows_first(gone, _RECORD, 1),
        flag("✓ published", "✗ gone or missing", no_colour="green", yes_colour="red"),
    )


def record_changes() -> Panel:
    """List every record, with what became of it in the time range."""
    record = _published()
    ups_and_downs = f"changes({record}{RANGE})"
    vanished = f"resets({record}{RANGE})"
    last_other = " or ".join(
        f"(max_over_time(timestamp({record} == {before}){RANGE}) and {record} == {now})"
        for before, now in ((0, 1), (1, 0))
    )
    first_seen = (
        f"min_over_time(timestamp({record}){RANGE}) > time() - $__range_s + 2 * $__interval_ms / 1000"
    )
    expected = largest(RECORD, of_zones("kms_srv_record_expected"))
    queries = [
        record,
        expected,
        vanished,
        f"{ups_and_downs} - {vanished}",
        milliseconds(last_other),
        milliseconds(first_seen),
    ]
    return listing(
        "Changes of records",
        "Each record with how often it vanished and returned in the time range, since when it has been as "
        "it is, and when it was first seen if that is in the range.",
        [Query(expr=expr) for expr in queries],
        [
            ZONE_COLUMN,
            Column(source="target", title="Target"),
            Column(source="port", title="Port", width=70),
            Column(source="A", title="Published", words=PUBLISHED, width=160),
            Column(source="B", title="Expected", words=EXPECTED, missing="no opinion", width=180),
            Column(source="C", title="Vanished", width=90),
            Column(source="D", title="Returned", width=90),
            Column(source="E", title="Since", unit="dateTimeFromNow", missing=LONGER, width=150),
            Column(source="F", title="New", unit="dateTimeFromNow", missing="-", width=150),
            JOB_COLUMN,
        ],
        worst=["Vanished"],
        then=["Published", "Zone", "Target"],
    )


def serials() -> Panel:
    """Show when zones changed on their servers."""
    changes = largest(ZONE_SERVER, f"changes({of_zone_servers('kms_dns_soa_serial')}{RATE})")
    return lines(
        "Changes of the zones' serials",
        "How often the serial of the zone changed on each DNS server: something in the zone was edited or "
        "replicated, be it another record. Domain controllers each count their own, so serials of two "
        "servers say nothing together. At most as many lines as chosen at the top.",
        [Query(expr=highest_series(changes), legend=ZONE_ROW)],
        unit="none",
        bars=True,
    )


def agreement() -> Panel:
    """Show when the DNS servers of a zone gave different answers."""

    def apart(at: str) -> str:
        return f"1 - min by ({', '.join(ZONE)}) ({of_zones('kms_dns_servers_agree')}{at})"

    return timeline(
        "Agreement of DNS servers",
        "Whether all authoritative answers for the zone hold the same records. Only for zones with two "
        "such answers. Apart for longer than replication takes means that a server is cut off, or that "
        "somebody edits it.",
        worst_rows_first(apart, "{{dns_zone}} · {{job}}", 1),
        flag("✓ agree", "✗ disagree", no_colour="green", yes_colour="red"),
    )


def annotations() -> list[Annotation]:
    """Mark on every graph what happened. The value of a mark has to be 1 or more: Grafana drops others."""
    published = of_zones("kms_srv_record_published")
    vanished = largest(RECORD, f"resets({published}{RATE})")
    returned = largest(RECORD, f"changes({published}{RATE}) - resets({published}{RATE})")
    before = "offset $__rate_interval"
    checked = f"(group by ({', '.join(ZONE)}) ({of_zone_servers('kms_client_verdict')} {before}))"
    new = f"{_published()} == 1 unless {_published(f' {before}')} and {on(ZONE)} {checked}"
    alerts = largest(("alertname", "job", "dns_zone", "about"), about(alerts_of_chosen_zones()))
    return [
        Annotation("Record vanished", f"{vanished} > 0", text=_RECORD, colour="red"),
        Annotation("Record returned", f"{returned} > 0", text=_RECORD, colour="green"),
        Annotation("New record", new, text=_RECORD, colour="blue"),
        Annotation("Firing alert", alerts, text="{{alertname}} {{about}} · {{job}}", colour="orange"),
    ]

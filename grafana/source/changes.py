"""What changed in the chosen zones, and when: records that vanish, return or are new, and serials."""

from grafana.source.frame import Annotation
from grafana.source.panels import Panel, lines, timeline
from grafana.source.queries import (
    BEFORE,
    END,
    RANGE,
    RECORD,
    ZONE,
    ZONE_SERVER,
    Query,
    appeared,
    highest_series,
    largest,
    milliseconds,
    of_zone_servers,
    of_zones,
    on,
    smallest,
)
from grafana.source.selections import about, alerts_of_chosen_zones
from grafana.source.shared import JOB_COLUMN, LONGER, ZONE_COLUMN, ZONE_ROW
from grafana.source.states import worst_rows_first
from grafana.source.tables import Column, listing
from grafana.source.words import flag

_RECORD = "{{target}}:{{port}} in {{dns_zone}} · {{job}}"
PUBLISHED = flag("✗ gone or missing", "✓ published")
EXPECTED = flag("! nobody asked for it", "✓ expected", no_colour="orange")
_SERIES = of_zones("kms_srv_record_published")


def _published(at: str = "") -> str:
    return largest(RECORD, _SERIES + at)


def _looked_up(at: str = "") -> str:
    return f"group by ({', '.join(ZONE)}) ({of_zone_servers('kms_srv_records')}{at})"


def _state(at: str = "") -> str:
    """Give 1 for a record that is published, and 0 for one that is gone.

    An exporter that was started anew knows nothing of the records before. One that was seen within the
    length of the range is gone then, if the zone is looked up: where the zone left the configuration, nobody
    knows.
    """
    seen = largest(RECORD, f"last_over_time({_SERIES}[$__range]{at})")
    return f"({_published(at)} or 0 * {seen} and {on(ZONE)} {_looked_up(at)})"


def _seen_in_range(rows: str) -> str:
    return f"({rows} and {on(RECORD)} last_over_time({_SERIES}[$__range]{END}))"


def records_over_time() -> Panel:
    """Show when each record was published."""

    def gone(at: str) -> str:
        return f"1 - {_state(at)}"

    return timeline(
        "Records over time",
        "Whether any DNS server published the record. One that is gone stays here until the end of the "
        "range, be the exporter started anew, unless its zone is no longer looked up. Those that are gone "
        "come first, then those that were.",
        worst_rows_first(gone, _RECORD, 1, choice=_seen_in_range),
        flag("✓ published", "✗ gone or missing", no_colour="green", yes_colour="red"),
    )


def record_changes() -> Panel:
    """List every record, with what became of it in the time range."""
    record = _state()
    vanished, changed = (f"{function}({record}{RANGE})" for function in ("resets", "changes"))
    last_other = " or ".join(
        f"(max_over_time(timestamp({record} == {before}){RANGE}) and {record} == {now})"
        for before, now in ((0, 1), (1, 0))
    )
    by_then = f"{appeared(ZONE, _looked_up())} + 2 * $__interval_ms / 1000"
    first_seen = f"{appeared(RECORD, _published())} > {on(ZONE)} group_left () ({by_then})"
    expected = largest(RECORD, of_zones("kms_srv_record_expected"))
    queries = [
        record,
        expected,
        f"{vanished} and {record}",
        f"{changed} - {vanished} and {record}",
        milliseconds(last_other),
        milliseconds(f"({first_seen}) and {record}"),
    ]
    return listing(
        "Changes of records",
        "Each record with how often it vanished and returned in the time range, since when it has been as "
        "it is, and when it was first seen if its zone was looked up before that in the range. What happened "
        "while no exporter looked counts when one looks again.",
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
    serial = of_zone_servers("kms_dns_soa_serial")
    changed = largest(ZONE_SERVER, f"{serial} != bool last_over_time({serial}[$__range]{BEFORE})")
    return lines(
        "Changes of the zones' serials",
        "Whether the serial of the zone changed on each DNS server from one step to the next: something in "
        "the zone was edited or replicated, be it another record. Domain controllers each count their own, "
        "so serials of two servers say nothing together. At most as many lines as chosen at the top.",
        [Query(expr=highest_series(changed), legend=ZONE_ROW)],
        unit="none",
        bars=True,
    )


def agreement() -> Panel:
    """Show when the DNS servers of a zone gave different answers."""

    def apart(at: str) -> str:
        return f"1 - {smallest(ZONE, of_zones('kms_dns_servers_agree') + at)}"

    return timeline(
        "Agreement of DNS servers",
        "Whether all authoritative answers for the zone hold the same records. Only for zones with two "
        "such answers. Apart for longer than replication takes means that a server is cut off, or that "
        "somebody edits it.",
        worst_rows_first(apart, "{{dns_zone}} · {{job}}", 1),
        flag("✓ agree", "✗ disagree", no_colour="green", yes_colour="red"),
    )


def annotations() -> list[Annotation]:
    """Mark on every graph what happened. The value of a mark has to be 1 or more: Grafana drops others.

    What is so now is compared with what was last known one step before. A window of another length than the
    step, as that of a rate, would miss what happens between two of them.
    """
    record = _state()
    known, looked_up = (
        f"last_over_time({series}{RANGE}{BEFORE})" for series in (record, f"({_looked_up()})")
    )
    vanished = f"{known} == 1 and {record} == 0"
    returned = f"{record} == 1 and {known} == 0"
    new = f"{record} == 1 unless {known} and {on(ZONE)} {looked_up}"
    alerts = largest(("alertname", "job", "dns_zone", "about"), about(alerts_of_chosen_zones()))
    return [
        Annotation("Record vanished", vanished, text=_RECORD, colour="red"),
        Annotation("Record returned", returned, text=_RECORD, colour="green"),
        Annotation("New record", new, text=_RECORD, colour="blue"),
        Annotation("Firing alert", alerts, text="{{alertname}} {{about}} · {{job}}", colour="orange"),
    ]

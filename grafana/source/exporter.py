"""KMS exporter: whether the exporter itself is well, and what it costs."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.frame import EXPORTER_UID, Row, frame
from grafana.source.panels import Panel, lines, spread, timeline
from grafana.source.queries import (
    EXPORTER,
    RATE,
    Query,
    highest_series,
    largest,
    milliseconds,
    of_exporter,
    of_servers,
    of_zone_servers,
    of_zones,
    smallest,
    total,
)
from grafana.source.selections import of_exporters
from grafana.source.states import worst_rows_first
from grafana.source.tables import Column, listing
from grafana.source.words import flag

_LINE = "{{job}} {{instance}}"
_TOP = "At most as many lines as chosen at the top, the highest of the time range."


def exporter() -> Dashboard:
    """Build the dashboard."""
    return frame(
        EXPORTER_UID,
        "Whether kms-exporter itself is well, and what it costs.",
        [
            Row(height=7, panels=[(12, _instances()), (12, _up())]),
            Row(title="Checks", height=8, panels=[(12, _durations()), (12, _ages())]),
            Row(height=8, panels=[(8, _overruns()), (8, _ignored()), (8, _lag())]),
            Row(title="DNS", height=8, panels=[(12, _lookups()), (12, _failures())]),
            Row(height=9, panels=[(12, _lookup_spread()), (12, _lookup_durations())]),
            Row(title="Process", height=8, panels=[(8, _processor()), (8, _memory()), (8, _descriptors())]),
            Row(
                height=8,
                panels=[(6, _tasks()), (6, _scrape_duration()), (6, _scrape_samples()), (6, _garbage())],
            ),
            Row(title="Configuration", height=6, panels=[(12, _reloads()), (12, _subjects())]),
        ],
    )


def _instances() -> Panel:
    build = largest((*EXPORTER, "version", "revision", "python"), of_exporter("kms_exporter_build_info"))
    reloaded = of_exporter("kms_exporter_config_last_reload_success_timestamp_seconds")
    queries = [
        largest(EXPORTER, of_exporters(of_exporter("up"))),
        build,
        largest(EXPORTER, of_exporter("kms_exporter_config_last_reload_successful")),
        milliseconds(largest(EXPORTER, reloaded)),
        milliseconds(largest(EXPORTER, of_exporters(of_exporter("process_start_time_seconds")))),
    ]
    return listing(
        "Exporters",
        "Every exporter of the chosen jobs that was seen in the time range: whether Prometheus can scrape "
        "it, what runs there and since when, and whether the last configuration was accepted. A refused one "
        "leaves the running one in place.",
        [Query(expr=expr) for expr in queries],
        [
            Column(source="job", title="Job"),
            Column(source="instance", title="Instance"),
            Column(source="A", title="Scrape", words=flag("✗ fails", "✓ works"), width=90),
            Column(
                source="C",
                title="Configuration",
                words=flag("✗ refused", "✓ accepted"),
                missing="-",
                width=120,
            ),
            Column(source="D", title="Loaded", unit="dateTimeFromNow", missing="-", width=130),
            Column(source="E", title="Started", unit="dateTimeFromNow", missing="-", width=130),
            Column(source="version", title="Version", width=90),
            Column(source="revision", title="Revision", width=90),
            Column(source="python", title="Python", width=80),
        ],
        then=["Scrape", "Configuration", "Job", "Instance"],
    )


def _up() -> Panel:
    def unreachable(at: str) -> str:
        return f"1 - {largest(EXPORTER, of_exporters(of_exporter('up') + at, at))}"

    return timeline(
        "Scrapes over time",
        "Whether Prometheus could scrape the exporter. Those that fail come first.",
        worst_rows_first(unreachable, _LINE, 1),
        flag("✓ works", "✗ fails", no_colour="green", yes_colour="red"),
    )


def _durations() -> Panel:
    seconds = largest((*EXPORTER, "dns_zone"), of_zones("kms_exporter_check_duration_seconds"))
    return lines(
        "Duration of checks",
        "Duration of the last check of a zone. A zone that is dead takes the longest, for every step of "
        f"its check waits for its timeout. {_TOP}",
        [Query(expr=highest_series(seconds), legend=f"{{{{dns_zone}}}} · {_LINE}")],
        unit="s",
    )


def _ages() -> Panel:
    zones = largest((*EXPORTER, "dns_zone"), of_zones("kms_exporter_last_check_timestamp_seconds"))
    stamp = of_exporter("kms_exporter_static_host_last_check_timestamp_seconds")
    hosts = largest((*EXPORTER, "target", "port"), stamp)
    return lines(
        "Age of the last checks",
        "How long ago the last check of a zone was finished, and that of an assigned host: normally up to "
        f"one interval. {_TOP}",
        [
            Query(expr=highest_series(f"time() - {zones}"), legend=f"{{{{dns_zone}}}} · {_LINE}"),
            Query(expr=highest_series(f"time() - {hosts}"), legend=f"{{{{target}}}}:{{{{port}}}} · {_LINE}"),
        ],
        unit="s",
    )


def _increase(metric: str) -> str:
    return highest_series(total(EXPORTER, f"increase({of_exporter(metric)}{RATE})"))


def _overruns() -> Panel:
    return lines(
        "Overruns and internal errors",
        "Checks that were still running when the next one was due: the interval is too short, or the "
        "exporter has too much to do. An internal error is a bug that was caught; the log has its "
        f"traceback. {_TOP}",
        [
            Query(expr=_increase("kms_exporter_checks_overrun_total"), legend=f"overruns · {_LINE}"),
            Query(expr=_increase("kms_exporter_internal_errors_total"), legend=f"internal errors · {_LINE}"),
        ],
        unit="none",
        calcs=("lastNotNull", "max"),
    )


def _ignored() -> Panel:
    rate = total(
        ("job", "dns_zone", "reason"), f"rate({of_zones('kms_exporter_records_ignored_total')}{RATE})"
    )
    return lines(
        "Records ignored",
        "Records and addresses that were left out, for they were malformed or over one of the limits of "
        f"the configuration. {_TOP}",
        [Query(expr=f"{highest_series(rate)} > 0", legend="{{dns_zone}} {{reason}} · {{job}}")],
        unit="cps",
    )


def _lag() -> Panel:
    buckets = total(
        (*EXPORTER, "le"), f"rate({of_exporter('kms_exporter_event_loop_lag_seconds_bucket')}{RATE})"
    )
    return lines(
        "Lag of the event loop",
        "How much later than asked for the exporter's event loop woke up, in the median and in the worst "
        "of a hundred cases. Much lag makes the times of the RPC bind and of lookups too long; the "
        f"handshake is measured by the kernel. {_TOP}",
        [
            Query(expr=highest_series(f"histogram_quantile({share}, {buckets})"), legend=f"{name} · {_LINE}")
            for share, name in (("0.5", "median"), ("0.99", "99 %"))
        ],
        unit="s",
    )


def _lookups() -> Panel:
    rate = total(("job", "dns_server"), f"rate({of_zone_servers('kms_srv_lookups_total')}{RATE})")
    return lines(
        "SRV lookups",
        f"SRV lookups at each DNS server, of the chosen zones. {_TOP}",
        [Query(expr=highest_series(rate), legend="{{dns_server}} · {{job}}")],
        unit="reqps",
    )


def _failures() -> Panel:
    failures, lookups = (
        total(("job", "dns_server"), f"rate({of_zone_servers(f'kms_srv_{counter}_total')}{RATE})")
        for counter in ("lookup_failures", "lookups")
    )
    return lines(
        "SRV lookups that fail",
        "Share of the SRV lookups at each DNS server that gave no usable answer, which records, NXDOMAIN "
        f"and an empty answer are. {_TOP}",
        [Query(expr=highest_series(f"({failures} / {lookups})"), legend="{{dns_server}} · {{job}}")],
        unit="percentunit",
    )


_BUCKETS = f"{of_servers('kms_srv_lookup_duration_seconds_bucket')}{RATE}"


def _lookup_spread() -> Panel:
    return spread(
        "Duration of SRV lookups, all DNS servers",
        "How many SRV lookups took how long, answered or not. Those that were given up are in the row of "
        "the timeout.",
        Query(expr=total(("le",), f"increase({_BUCKETS})"), legend="{{le}}"),
        unit="s",
    )


def _lookup_durations() -> Panel:
    quantile = f"histogram_quantile(0.95, {total(('job', 'dns_server', 'le'), f'rate({_BUCKETS})')})"
    return lines(
        "Duration of SRV lookups, the slowest DNS servers",
        f"95 of 100 SRV lookups at the DNS server took less than this, answered or not. {_TOP}",
        [Query(expr=highest_series(quantile), legend="{{dns_server}} · {{job}}")],
        unit="s",
    )


def _processor() -> Panel:
    rate = f"rate({of_exporter('process_cpu_seconds_total')}{RATE})"
    return _of_process("CPU", "Share of one core that the exporter uses.", rate, unit="percentunit")


def _memory() -> Panel:
    memory = of_exporter("process_resident_memory_bytes")
    return _of_process("Memory", "Resident memory of the exporter.", memory, unit="bytes")


def _descriptors() -> Panel:
    return _of_process(
        "File descriptors",
        "Share of the file descriptors that the exporter may open and has open. At the limit its own "
        "probes fail, as local_error.",
        f"{of_exporter('process_open_fds')} / {of_exporter('process_max_fds')}",
        unit="percentunit",
    )


def _tasks() -> Panel:
    return _of_process(
        "Tasks",
        "How much the exporter has under way at a time: checks, lookups, probes and connections. What only "
        "ever grows is a leak.",
        of_exporter("kms_exporter_tasks"),
        unit="short",
    )


def _scrape_duration() -> Panel:
    duration = of_exporter("scrape_duration_seconds")
    return _of_process("Duration of scrapes", "How long Prometheus takes to scrape.", duration, unit="s")


def _scrape_samples() -> Panel:
    return _of_process(
        "Samples of a scrape",
        "How many samples a scrape gives: what Prometheus has to store.",
        of_exporter("scrape_samples_scraped"),
        unit="short",
    )


def _garbage() -> Panel:
    return _of_process(
        "Garbage collections",
        "How often Python collects garbage, by generation; the oldest one is the expensive one.",
        f"rate({of_exporter('python_gc_collections_total')}{RATE})",
        unit="ops",
        kind="generation",
    )


def _of_process(title: str, description: str, series: str, *, unit: str, kind: str = "") -> Panel:
    """Build a graph of what programs have that are no exporters, too; `kind` is a label of the series."""
    labels, legend = ((*EXPORTER, kind), f"{kind} {{{{{kind}}}}} · {_LINE}") if kind else (EXPORTER, _LINE)
    highest = highest_series(largest(labels, of_exporters(series)))
    return lines(title, f"{description} {_TOP}", [Query(expr=highest, legend=legend)], unit=unit)


def _reloads() -> Panel:
    def refused(at: str) -> str:
        return f"1 - {smallest(EXPORTER, of_exporter('kms_exporter_config_last_reload_successful') + at)}"

    return timeline(
        "Configuration over time",
        "Whether the last configuration was accepted. While it is refused, the one before it stays in place.",
        worst_rows_first(refused, _LINE, 1),
        flag("✓ accepted", "✗ refused", no_colour="green", yes_colour="red"),
    )


def _subjects() -> Panel:
    return lines(
        "What is looked at",
        "Zones of the configuration, records that are published or should be, and addresses that are probed. "
        f"{_TOP[:-1]}, for each of the three.",
        [
            Query(
                expr=highest_series(f"count by ({', '.join(EXPORTER)}) ({series})"),
                legend=f"{name} · {_LINE}",
            )
            for series, name in (
                (of_zones("kms_zone_info"), "zones"),
                (of_zones("kms_srv_record_published"), "records"),
                (of_exporter("kms_endpoint_up"), "addresses"),
            )
        ],
        unit="none",
    )

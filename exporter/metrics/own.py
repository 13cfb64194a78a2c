"""Families about the exporter itself: its checks, its configuration, its health."""

from collections.abc import Iterator

from exporter.build import BuildInfo
from exporter.metrics.family import HOST, ZONE, Blocks, Family, Sample, counter, gauge, histogram, info
from exporter.state import ExporterView, Snapshot, ZoneView


def own_families(snapshot: Snapshot, build: BuildInfo) -> Iterator[Family]:
    """Show the checks and the health of the exporter."""
    yield from check_families(snapshot)
    yield from _exporter(snapshot.exporter, build)


def check_families(snapshot: Snapshot) -> Iterator[Family]:
    """Show when checks were made, how long they took, and what they left out."""
    zones = [zone for zone in snapshot.zones if zone.last_check is not None]
    yield gauge(
        "kms_exporter_last_check_timestamp_seconds",
        "When the last check of the zone was finished, in Unix time.",
        ZONE,
        (((zone.zone,), zone.last_check) for zone in zones if zone.last_check is not None),
    )
    yield gauge(
        "kms_exporter_check_duration_seconds",
        "Duration of the last check of the zone.",
        ZONE,
        (((zone.zone,), zone.check_duration_seconds or 0.0) for zone in zones),
    )
    yield gauge(
        "kms_exporter_static_host_last_check_timestamp_seconds",
        "When the last check of the static host was finished, in Unix time.",
        HOST,
        (
            ((view.host.target, str(view.host.port)), view.last_check)
            for view in snapshot.static_hosts
            if view.last_check is not None
        ),
    )
    yield Family(
        name="kms_exporter_records_ignored_total",
        help="Records, endpoints and name servers left out: malformed, over a limit, or not allowed.",
        type="counter",
        labels=(*ZONE, "reason"),
        content=Blocks(
            parts=[(zone.zone, zone) for zone in snapshot.zones],
            expand=_ignored,
            basis=lambda zone: tuple(zone.ignored.items()),
        ),
    )


def _ignored(name: str, zone: ZoneView) -> Iterator[Sample]:
    return (((name, reason.value), count) for reason, count in zone.ignored.items())


def _exporter(view: ExporterView, build: BuildInfo) -> Iterator[Family]:
    yield counter(
        "kms_exporter_checks_overrun_total",
        "Checks that were still running when the next one was due.",
        (),
        [((), view.overruns)],
    )
    yield counter(
        "kms_exporter_internal_errors_total",
        "Bugs caught; the log has a traceback of each.",
        (),
        [((), view.internal_errors)],
    )
    yield counter(
        "kms_exporter_log_lines_dropped_total",
        "Lines of the log that nobody read in time, or that could not be written.",
        (),
        [((), view.log_lines_dropped)],
    )
    yield counter(
        "kms_exporter_http_connections_rejected_total",
        "Connections to the pages that could not be taken, and tries to take one that failed.",
        ("reason",),
        [((reason.value,), count) for reason, count in view.rejected.items()],
    )
    yield histogram(
        "kms_exporter_event_loop_lag_seconds",
        "How much later than asked for the event loop woke up.",
        (),
        [((), view.event_loop_lag)],
    )
    yield gauge(
        "kms_exporter_tasks",
        "Tasks on the event loop: of checks, lookups that take more than a datagram, and connections.",
        (),
        [((), view.tasks)] if view.tasks is not None else [],
    )
    yield gauge(
        "kms_exporter_config_last_reload_successful",
        "1 when the configuration was loaded at the last attempt, and that of the web side with it.",
        (),
        [((), view.last_reload_successful)] if view.last_reload_successful is not None else [],
    )
    yield gauge(
        "kms_exporter_config_last_reload_success_timestamp_seconds",
        "When the configuration was last loaded, in Unix time.",
        (),
        [((), view.last_reload_success)] if view.last_reload_success is not None else [],
    )
    yield info(
        "kms_exporter_build_info",
        "1, with what is running in the labels.",
        ("version", "revision", "python"),
        [(build.version, build.revision, build.python)],
    )

"""PromQL for what the chosen zones lead to: metrics of hosts and many alerts have no label of a zone."""

from collections.abc import Sequence

from grafana.source.queries import (
    END,
    EXPORTER,
    HOST,
    RANGE,
    SERVER,
    of_exporter,
    of_zone_servers,
    of_zones,
    on,
)

_FIRING = ('job=~"$job"', 'alertname=~"Kms.*"', 'alertstate="firing"')


def current(hosts: str) -> str:
    """Keep hosts that clients may be led to.

    That is those which are published in a chosen zone, assigned statically, or known from no zone at all. A
    host whose record vanished is not among them, though it is still probed.
    """
    known = of_exporter("kms_srv_record_published")
    published = of_zones("kms_srv_record_published")
    static = of_exporter("kms_static_host_verdict")
    unless = f"unless {on(HOST)}"
    return f"({hosts} {unless} ({known} {unless} ({published} == 1) {unless} {static}))"


def of_exporters(series: str, at: str = "") -> str:
    """Keep what is known of exporters, be they down: other targets have `up` and `process_*`, too.

    Exporters are those that said within the range that they are.
    """
    build = of_exporter("kms_exporter_build_info")
    return f"({series} and {on(EXPORTER)} last_over_time({build}[$__range]{at}))"


def of_chosen_zones(series: str, labels: Sequence[str] = HOST) -> str:
    """Keep hosts that the chosen zones published or expected at some time of the range."""
    published = f"last_over_time({of_zones('kms_srv_record_published')}{RANGE}{END})"
    return f"({series} and {on(labels)} {published})"


def none_expected(at: str = "") -> str:
    """Give zones where the configuration says that nothing may be published."""
    return f"({of_zones('kms_zone_hosts_expected')}{at} == 0)"


def alerts(*matchers: str) -> str:
    """Select the alerts that fire. Rules aggregate `instance` away, so an alert has none."""
    return f"ALERTS{{{','.join((*_FIRING, *matchers))}}}"


def alerts_of_all(*matchers: str) -> str:
    """Select the alerts that fire about the chosen zones, and all those that are about no zone."""
    return alerts('dns_zone=~"$dns_zone|"', *matchers)


def alerts_of_chosen_zones(*matchers: str) -> str:
    """Select the alerts that fire about the chosen zones, about their hosts, and about their DNS servers."""
    zones = alerts('dns_zone=~"$dns_zone"', *matchers)
    hosts = of_chosen_zones(alerts('dns_zone=""', 'target!=""', *matchers))
    servers = alerts('dns_zone=""', 'target=""', 'dns_server!=""', *matchers)
    asked = f"last_over_time({of_zone_servers('kms_client_verdict')}{RANGE}{END})"
    return f"({zones}\n or {hosts}\n or ({servers} and {on(SERVER)} {asked}))"


def about(alert: str) -> str:
    """Put into the label `about` what an alert names beside its zone."""
    labels = ", ".join(f'"{label}"' for label in ("dns_server", "client", "target", "port", "address"))
    return f'label_join({alert}, "about", " ", {labels})'

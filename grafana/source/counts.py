"""The numbers at the top of the overview.

What they count counts once, from however many vantage points it is seen: as in trouble, if any sees it so.
"""

from grafana.source.panels import Panel, number, thresholds
from grafana.source.queries import (
    HOST,
    SERVER,
    ZONE,
    Query,
    counted,
    largest,
    of_exporter,
    of_servers,
    of_zone_servers,
    of_zones,
    smallest,
)
from grafana.source.selections import alerts_of_all, current, of_exporters
from grafana.source.states import UNSERVED, USABLE, zone_verdict
from grafana.source.words import TROUBLE


def counts() -> list[tuple[int, Panel]]:
    """Build the panels, each with its width."""
    trouble = [(4, _bad_zones()), (4, _silent_servers()), (3, _down()), (3, _unserved()), (4, _alerts())]
    return [*trouble, (3, _exporters()), (3, _age())]


def _of(everything: str, condition: str, name: str) -> list[Query]:
    """Count what meets a condition, and out of how many."""
    return [
        Query(expr=counted(f"{everything} {condition}", everything), legend=name),
        Query(expr=f"count({everything})", legend="of"),
    ]


def _bad_zones() -> Panel:
    worst = zone_verdict(("dns_zone",))("")
    return number(
        "Zones with trouble",
        "Zones in which a client meets anything but ok at some DNS server, seen from any vantage point. A "
        "zone where nothing is expected and nothing is published has no trouble.",
        _of(worst, f">= {TROUBLE}", "with trouble"),
    )


def _silent_servers() -> Panel:
    usable = largest(SERVER, of_zone_servers("kms_srv_lookup_status", USABLE))
    usable = smallest(("dns_server",), usable)
    return number(
        "DNS servers not answering",
        "DNS servers that give no usable answer for any of the chosen zones, to one vantage point or more. "
        "Records, NXDOMAIN and an empty answer are usable.",
        _of(usable, "== 0", "not answering"),
    )


def _down() -> Panel:
    up = smallest(("target", "port"), largest(HOST, current(of_exporter("kms_host_up"))))
    return number(
        "Hosts down",
        "Hosts that are published or assigned statically, and work at none of their addresses, seen from any "
        "vantage point. Each counts once, however many zones publish it; those whose record vanished do not.",
        _of(up, "== 0", "down"),
    )


def _unserved() -> Panel:
    verdict = largest(("client", "dns_server"), of_servers("kms_client_profile_verdict", UNSERVED))
    return number(
        "Kinds of clients without service",
        "Kinds of clients (`clients` in the configuration) at a DNS server, for whom no suffix leads to a "
        "host that works, seen from any vantage point.",
        _of(verdict, "== 1", "unserved"),
        no_value="none configured",
    )


def _alerts() -> Panel:
    critical = alerts_of_all('severity="critical"')
    return number(
        "Firing alerts",
        "Alerts of kms-exporter that fire now: critical, and of any severity. Without its rules in "
        "Prometheus there is none.",
        [
            Query(expr=f"count({critical}) or vector(0)", legend="critical"),
            Query(expr=f"count({alerts_of_all()}) or vector(0)", legend="in all"),
        ],
    )


def _exporters() -> Panel:
    up = of_exporters(of_exporter("up"))
    return number(
        "Exporters down",
        "Exporters that Prometheus cannot scrape: what only they see is missing here, or no longer true. "
        "Those that were seen in the time range count.",
        _of(up, "== 0", "down"),
        no_value="none seen",
    )


def _age() -> Panel:
    zones = largest(ZONE, of_zones("kms_exporter_last_check_timestamp_seconds"))
    hosts = largest(HOST, of_exporter("kms_exporter_static_host_last_check_timestamp_seconds"))
    return number(
        "Oldest check",
        "How long ago the zone or assigned host was checked whose check is the oldest. Much longer than "
        "the interval of the configuration means that what is shown here is no longer true.",
        [Query(expr=f"time() - min({zones} or {hosts})")],
        unit="s",
        colours=thresholds((180, "orange"), (600, "red")),
    )

"""Panels about the hosts of the chosen zones, and their addresses."""

from grafana.source.panels import Panel, lines, timeline
from grafana.source.queries import (
    ENDPOINT,
    RATE,
    Query,
    highest_series,
    largest,
    of_exporter,
    of_servers,
    on,
)
from grafana.source.selections import of_chosen_zones
from grafana.source.shared import ENDPOINT_LINE, JOB_COLUMN, SERVER_COLUMN
from grafana.source.states import endpoint_state, worst_rows_first
from grafana.source.tables import Column, listing
from grafana.source.words import FAILURE_WORDS

_TARGET_SERVER = ("job", "target", "dns_server")
_TOP = "At most as many lines as chosen at the top, the highest of the time range."


def endpoints() -> Panel:
    """Show the state of every address over time."""
    return timeline(
        "Addresses of hosts over time",
        "Whether each address of the hosts of these zones worked, or why not. Hosts that vanished or are "
        "missing are here too: they go on being probed. Those that fail come first.",
        worst_rows_first(endpoint_state(ENDPOINT), ENDPOINT_LINE, 1, choice=of_chosen_zones),
        FAILURE_WORDS,
    )


def handshakes() -> Panel:
    """Show how long TCP handshakes took."""
    return _seconds(
        "Handshake",
        f"Round trip of the last TCP handshake, as the kernel measured it. {_TOP}",
        "connect_seconds",
    )


def binds() -> Panel:
    """Show how long the RPC bind took."""
    return _seconds(
        "RPC bind",
        "From the RPC bind sent to its acceptance: slow where the host is busy. Empty where "
        f"`probe.rpc_bind` is off. {_TOP}",
        "rpc_bind_seconds",
    )


def _seconds(title: str, description: str, metric: str) -> Panel:
    series = highest_series(largest(ENDPOINT, of_exporter(f"kms_endpoint_{metric}")), of_chosen_zones)
    return lines(title, description, [Query(expr=series, legend=ENDPOINT_LINE)], unit="s")


def retransmits() -> Panel:
    """Show how many SYNs were sent again."""
    rate = f"rate({of_exporter('kms_endpoint_syn_retransmits_total')}{RATE})"
    return lines(
        "SYNs sent again",
        "SYNs that got no answer at first: packets are lost on the way, which the round trip does not "
        f"show. {_TOP}",
        [Query(expr=highest_series(largest(ENDPOINT, rate), of_chosen_zones), legend=ENDPOINT_LINE)],
        unit="pps",
    )


def failed_probes() -> Panel:
    """Show the share of probes that failed."""
    failures, probes = (
        f"rate({of_exporter(f'kms_endpoint_{counter}_total')}{RATE})"
        for counter in ("probe_failures", "probes")
    )
    return lines(
        "Probes that failed",
        f"Share of the probes of each address that failed. {_TOP}",
        [
            Query(
                expr=highest_series(largest(ENDPOINT, f"{failures} / {probes}"), of_chosen_zones),
                legend=ENDPOINT_LINE,
            )
        ],
        unit="percentunit",
    )


def addresses() -> Panel:
    """List what each DNS server says of the targets."""
    info, alias, failure = (
        of_servers(f"kms_host_{name}") for name in ("address_info", "alias_info", "lookup_failure")
    )
    by_target = on(("job", "instance", "target", "dns_server"))
    aliased = f"{info} * {by_target} group_left (alias_of) {alias}"
    named = f"{aliased}\n or ({info} unless {by_target} {alias})\n or {failure}"
    labels = (*_TARGET_SERVER, "address", "alias_of", "reason")
    return listing(
        "Addresses of targets",
        "The addresses that each DNS server gives for the targets of these zones, or why it gives none. An "
        "alias is a target that is a CNAME, which RFC 2782 forbids and clients may refuse.",
        [Query(expr=largest(labels, of_chosen_zones(f"(\n {named}\n)", ("job", "target"))))],
        [
            Column(source="target", title="Target"),
            SERVER_COLUMN,
            Column(source="address", title="Address"),
            Column(source="reason", title="No address"),
            Column(source="alias_of", title="Alias of"),
            JOB_COLUMN,
        ],
        then=["Target", "DNS server", "Address"],
    )

"""Dead weight: does one host in ten that drops every SYN slow the other nine, or blow the interval?

The dead hosts are behind a TUN device that nobody reads. Every zone has one of them, so that every check has
to wait for one. How often the others are probed is counted by the listener, which the dead never reach.
"""

import contextlib
import time
from dataclasses import dataclass

from tests.bench_lab import (
    Bench,
    configuration,
    loopback_address,
    records,
    scrape,
    start_named,
    start_sink,
    total,
    values,
    wait_for_endpoints,
    zone_name,
)
from tests.bench_rows import CannotCompareError, Row
from tests.bench_tun import Tun

GROUP = "dead"
HOSTS = 10
LEAST = 0.99
_NETWORK = "10.63.0.1/16"
_OVERRUNS = "kms_exporter_checks_overrun_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of the live hosts in one window."""

    probes_per_second: float
    overruns: float
    longest_check_seconds: float


def measure(bench: Bench) -> list[Row]:
    """Measure without the dead and with them."""
    alive, mixed = (_run(bench, dead=dead) for dead in (False, True))
    zones = bench.sizes.dead_zones
    what = f"{zones} of {zones * HOSTS} endpoints drop SYNs: "
    return [
        Row(
            group=GROUP,
            what=f"{what}probes of the others",
            unit="1/s",
            ours=mixed.probes_per_second,
            peer=alive.probes_per_second,
            least=LEAST,
            note="the peer is the exporter itself, where nobody drops anything",
        ),
        Row(group=GROUP, what=f"{what}checks overrun", unit="", ours=mixed.overruns, most=0),
        Row(
            group=GROUP,
            what=f"{what}longest check",
            unit="s",
            ours=mixed.longest_check_seconds,
            most=bench.sizes.dead_interval_seconds,
            note=f"{alive.longest_check_seconds:.2f} where nobody drops anything",
        ),
    ]


def _run(bench: Bench, *, dead: bool) -> Run:
    sizes = bench.sizes
    live = sizes.dead_zones * (HOSTS - 1)
    with bench.lab() as lab:
        sink = start_sink(lab)
        lab.enter_context(contextlib.closing(Tun("dead", _NETWORK)))
        start_named(lab, records(sizes.dead_zones, HOSTS if dead else HOSTS - 1, sink.port, _address))
        exporter = lab.exporter(
            configuration(
                map(zone_name, range(sizes.dead_zones)),
                interval_seconds=sizes.dead_interval_seconds,
                rpc_bind=True,
            )
        )
        wait_for_endpoints(exporter, sizes.dead_zones * HOSTS if dead else live, up=live)
        time.sleep(sizes.dead_interval_seconds)
        before, accepted, start = scrape(exporter), sink.accepted, time.monotonic()
        time.sleep(sizes.dead_interval_seconds * sizes.dead_cycles)
        accepted, seconds, after = sink.accepted - accepted, time.monotonic() - start, scrape(exporter)
    failures = total(after, "kms_endpoint_probe_failures_total")
    if bool(failures) != dead or sum(values(after, "kms_endpoint_up")) != live:
        raise CannotCompareError("not just the dead hosts drop SYNs")
    return Run(
        probes_per_second=accepted / seconds,
        overruns=total(after, _OVERRUNS) - total(before, _OVERRUNS),
        longest_check_seconds=max(values(after, "kms_exporter_check_duration_seconds")),
    )


def _address(zone: int, host: int) -> str:
    """Give the last host of a zone an address behind the device, and the others one of loopback."""
    if host == HOSTS - 1:
        return f"10.63.{1 + zone // 250}.{zone % 250 + 1}"
    return loopback_address(zone * (HOSTS - 1) + host)

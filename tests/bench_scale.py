"""How far it goes: 1,000 zones of ten hosts on one core, while it is scraped and asked whether it is well.

And how it grows: what a tenth of the zones cost, and what all of them do, both above what one zone costs.
The exporter has one core for itself as far as the machine has another; all others run elsewhere.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench_lab import (
    MIB,
    Bench,
    Sink,
    Spent,
    configuration,
    loopback_address,
    records,
    scrape,
    spend,
    start_named,
    start_sink,
    total,
    wait_for_endpoints,
    zone_name,
)
from tests.bench_rows import Row, percentile
from tests.bench_watch import Seen, watching

GROUP = "scale"
HOSTS = 10
GROWTH = 10
MOST_GROWTH = 11
MOST_CORE_PERCENT = 15
MOST_MIB = 300
MOST_SCRAPE_SECONDS = 1
MOST_HEALTH_MS = 50
LEAST_DONE = 0.98
PERCENT, MILLISECONDS = 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One exporter in one window; `probes_done` is their share of those that were due."""

    spent: Spent
    seen: Seen
    overruns: float
    probes_done: float

    @property
    def core(self) -> float:
        """The share of one core that it took."""
        return self.spent.cpu_seconds / self.spent.wall_seconds


def measure(bench: Bench) -> list[Row]:
    """Measure one zone, a tenth of the zones and all of them."""
    sizes = bench.sizes
    with bench.lab() as lab, _one_core() as core:
        start_named(lab, _records(bench, start_sink(lab)))
        base, small = (
            _run(bench, core, zones, sizes.growth_window_seconds)
            for zones in (1, sizes.scale_zones // GROWTH)
        )
        large = _run(bench, core, sizes.scale_zones, sizes.scale_window_seconds)
    return [*_rows(bench, large), *_growth(base, small, large)]


def _records(bench: Bench, sink: Sink) -> Iterator[str]:
    return records(
        bench.sizes.scale_zones, HOSTS, sink.port, lambda zone, host: loopback_address(zone * HOSTS + host)
    )


@contextlib.contextmanager
def _one_core() -> Iterator[int]:
    """Give the number of one core, and keep off it whatever is started meanwhile, where there is another."""
    usable = os.sched_getaffinity(0)
    core = max(usable)
    os.sched_setaffinity(0, usable - {core} or usable)
    try:
        yield core
    finally:
        os.sched_setaffinity(0, usable)


def _run(bench: Bench, core: int, zones: int, seconds: float) -> Run:
    sizes = bench.sizes
    watched = configuration(
        map(zone_name, range(zones)), interval_seconds=sizes.scale_interval_seconds, rpc_bind=True
    )
    with bench.lab() as lab:
        exporter = lab.exporter(watched, before=["taskset", "--cpu-list", str(core)])
        wait_for_endpoints(exporter, zones * HOSTS)
        time.sleep(sizes.scale_interval_seconds)
        before = scrape(exporter)
        with watching(exporter.web, sizes.scrape_interval_seconds) as seen:
            (spent,) = spend([exporter], seconds)
        after = scrape(exporter)
    overruns, probes = (
        total(after, name) - total(before, name)
        for name in ("kms_exporter_checks_overrun_total", "kms_endpoint_probes_total")
    )
    due = zones * HOSTS * spent.wall_seconds / sizes.scale_interval_seconds
    return Run(spent=spent, seen=seen, overruns=overruns, probes_done=probes / due)


def _rows(bench: Bench, run: Run) -> list[Row]:
    """Say how the largest run did."""
    what = f"{bench.sizes.scale_zones} zones of {HOSTS} hosts: "
    health_ms = percentile(run.seen.health_checks, 99) * MILLISECONDS
    bind = "with RPC bind and scrapes"
    found: list[tuple[str, str, float, float | None, str]] = [
        ("checks overrun", "", run.overruns, 0, ""),
        ("share of one core", "%", run.core * PERCENT, MOST_CORE_PERCENT, bind),
        ("largest resident size", "MiB", run.spent.peak_bytes / MIB, MOST_MIB, bind),
        (
            "longest scrape",
            "s",
            max(run.seen.scrapes),
            MOST_SCRAPE_SECONDS,
            f"{len(run.seen.scrapes)} scrapes",
        ),
        (
            "/-/healthy during scrapes, 99th percentile",
            "ms",
            health_ms,
            MOST_HEALTH_MS,
            f"{len(run.seen.health_checks)} requests",
        ),
        ("samples on /metrics", "", run.seen.samples, None, ""),
    ]
    done = Row(
        group=GROUP, what=f"{what}probes done of those due", unit="", ours=run.probes_done, least=LEAST_DONE
    )
    return [
        done,
        *(
            Row(group=GROUP, what=what + name, unit=unit, ours=value, most=most, note=note)
            for name, unit, value, most, note in found
        ),
    ]


def _growth(base: Run, small: Run, large: Run) -> list[Row]:
    """Say how much more ten times the zones cost, above what one zone costs."""
    what = f"{GROWTH} times the hosts: "

    def memory(run: Run) -> float:
        return (run.spent.peak_bytes - base.spent.peak_bytes) / MIB

    def cpu(run: Run) -> float:
        return (run.core - base.core) * PERCENT

    return [
        Row(
            group=GROUP,
            what=f"{what}{name} above base",
            unit=unit,
            ours=cost(large),
            peer=cost(small),
            most=MOST_GROWTH,
            note="the peer is the exporter itself, with a tenth of the zones; base is one zone",
        )
        for name, unit, cost in (("CPU", "% of a core", cpu), ("memory", "MiB", memory))
    ]

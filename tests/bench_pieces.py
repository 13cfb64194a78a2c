"""The pieces: CPU time of the exporter per lookup, probe, zone and page, beside bare loops in the same run.

The CPU time of the exporter is the kernel's account of it, less what it uses with one zone. The peer is what
the step costs in a bare loop over dnspython's asyncquery.udp or loop.sock_connect, and the bytes of a bind
back and forth; for pages it is /metrics. So machines and days can be compared by the ratio.
"""

import asyncio
import http
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.message

from exporter import rpc
from tests.bench_lab import (
    PARENT,
    Bench,
    configuration,
    cpu_seconds,
    loopback_address,
    records,
    scrape,
    spend,
    start_named,
    start_sink,
    total,
    wait_for,
    zone_name,
)
from tests.bench_rows import Row
from tests.services import LOOPBACK, Exporter, Lab

GROUP = "pieces"
HOSTS = 4
PAGES = ("/metrics", "/", "/api/v1/status", "/sd", f"/zones/{zone_name(0)}")
PAGE_REPETITIONS = 5
MICROSECONDS, MILLISECONDS = 1e6, 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU time that the exporter spent in the window, and how much it did with it."""

    cpu_seconds: float
    lookups: float
    probes: float


def measure(bench: Bench) -> list[Row]:
    """Measure each piece, and each page."""
    zones, interval = bench.sizes.piece_zones, bench.sizes.piece_interval_seconds
    full = [zone_name(number) for number in range(zones)]
    empty = [f"empty{number}.{PARENT}" for number in range(zones)]

    def watched(
        names: Sequence[str] = (), *, every: int = interval, rpc_bind: bool = False, **keys: Any
    ) -> dict[str, Any]:
        return configuration(names, interval_seconds=every, rpc_bind=rpc_bind, **keys)

    with bench.lab() as lab:
        port = start_sink(lab).port
        start_named(lab, _records(zones, port))
        addresses = [f"{loopback_address(number)}:{port}" for number in range(zones)]
        idle = _measure(bench, watched(empty[:1]))
        looked_up = _measure(bench, watched(empty))
        probed = _measure(bench, watched(hosts=addresses))
        bound = _measure(bench, watched(hosts=addresses, rpc_bind=True))
        checked = _measure(bench, watched(full))
        pages = _measure_pages(bench, watched(full, every=3600))
        lookup = asyncio.run(_bare(bench, _look_up))
        connect = asyncio.run(_bare(bench, lambda: _connect(port)))
        bind = asyncio.run(_bare(bench, lambda: _connect(port, rpc_bind=True)))
    found = (
        ("lookup of a zone without records", looked_up, looked_up.lookups, lookup),
        ("handshake with a static address", probed, probed.probes, connect),
        ("handshake and RPC bind", bound, bound.probes, bind),
        (f"check of a zone of {HOSTS} hosts", checked, checked.lookups, lookup + HOSTS * connect),
    )
    rows = [
        Row(
            group=GROUP,
            what=what,
            unit="us CPU",
            ours=(cost.cpu_seconds - idle.cpu_seconds) / units * MICROSECONDS,
            peer=bare,
            note="the peer is a bare loop",
        )
        for what, cost, units, bare in found
    ]
    return [*rows, *_page_rows(zones, pages)]


def _page_rows(zones: int, pages: dict[str, tuple[float, int]]) -> list[Row]:
    return [
        Row(
            group=GROUP,
            what=f"page {path}, {zones} zones of {HOSTS} hosts",
            unit="ms CPU",
            ours=spent_seconds * MILLISECONDS,
            peer=pages["/metrics"][0] * MILLISECONDS,
            note=f"{size / 1000:.0f} kB of gzip; the peer is /metrics",
        )
        for path, (spent_seconds, size) in pages.items()
    ]


def _records(zones: int, port: int) -> Iterator[str]:
    yield from records(zones, HOSTS, port, lambda zone, host: loopback_address(zone * HOSTS + host))
    yield from (f"empty{number} TXT nothing" for number in range(zones))


def _start(lab: Lab, watched: dict[str, Any]) -> Exporter:
    """Start the exporter, and wait until it has looked at all."""
    exporter = lab.exporter(watched)
    wait_for(
        lambda: exporter.get("/-/ready").status == http.HTTPStatus.OK or None, "the first checks are done"
    )
    return exporter


def _measure(bench: Bench, watched: dict[str, Any]) -> Cost:
    """Run the exporter on a configuration, and take stock of a window after the first checks are over."""
    with bench.lab() as lab:
        exporter = _start(lab, watched)
        time.sleep(bench.sizes.piece_interval_seconds)
        before = scrape(exporter)
        (spent,) = spend([exporter], bench.sizes.piece_window_seconds)
        after = scrape(exporter)
    lookups, probes = (
        total(after, name) - total(before, name)
        for name in ("kms_srv_lookups_total", "kms_endpoint_probes_total")
    )
    return Cost(cpu_seconds=spent.cpu_seconds, lookups=lookups, probes=probes)


def _measure_pages(bench: Bench, watched: dict[str, Any]) -> dict[str, tuple[float, int]]:
    """Ask for pages between two checks; gives the CPU time of each in seconds, and its size, compressed."""
    with bench.lab() as lab:
        exporter = _start(lab, watched)
        costs = {}
        for path in PAGES:
            size, before = len(exporter.get(path, accept_encoding="gzip").body), cpu_seconds(exporter.pid)
            for _ in range(PAGE_REPETITIONS):
                exporter.get(path, accept_encoding="gzip")
            costs[path] = (cpu_seconds(exporter.pid) - before) / PAGE_REPETITIONS, size
    return costs


async def _bare(bench: Bench, step: Callable[[], Awaitable[object]]) -> float:
    """Give the CPU time of a step, in microseconds, run alone again and again."""
    start = time.process_time()
    for _ in range(bench.sizes.bare_repetitions):
        await step()
    return (time.process_time() - start) / bench.sizes.bare_repetitions * MICROSECONDS


async def _look_up() -> None:
    query = dns.message.make_query(f"_vlmcs._tcp.empty0.{PARENT}", "SRV")
    await dns.asyncquery.udp(query, LOOPBACK)


async def _connect(port: int, *, rpc_bind: bool = False) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, (loopback_address(0), port))
        if rpc_bind:
            await loop.sock_sendall(sock, rpc.BIND)
            await loop.sock_recv(sock, rpc.MAX_FRAGMENT_BYTES)

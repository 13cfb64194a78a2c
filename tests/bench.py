"""What looking costs, and being looked at: CPU time of the real exporter per lookup, probe, zone and page.

Run by `make bench`; decides no test. The exporter runs as its own process against a real BIND and real
listeners on loopback; its CPU time is the kernel's account of it (proc(5), /proc/PID/stat), less what it uses
with one zone. Beside each number stands what the step costs in a bare loop over dnspython's asyncquery.udp or
loop.sock_connect, and the bytes of a bind back and forth, in the same run, so that machines and days can be
compared by the ratio. Pages are compared with /metrics.
"""

import asyncio
import contextlib
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message

from exporter import rpc
from tests.services import Lab, Named, config, wait_until, zone, zone_file

ZONES = 500
HOSTS_PER_ZONE = 4
INTERVAL_SECONDS = 5
WINDOW_SECONDS = 20
BARE_REPETITIONS = 2000
PAGES = ("/metrics", "/", "/api/v1/status", "/sd", "/zones/full0.bench.test")
PAGE_REPETITIONS = 10
MICROSECONDS = 1e6
_PARENT = "bench.test"
_ACCEPTANCE = bytes.fromhex(
    "05000c03 10000000 3c000000 01000000"  # bind_ack, little-endian, 60 bytes, call 1 (C706, 12.6.4.4)
    "d016d016 34120000 0500 3136383800 00"  # fragments of 5840 bytes, an association, the port 1688
    "01000000 0000 0000 045d888aeb1cc9119fe808002b104860 02000000"  # one context, accepted in NDR
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU time that the exporter spent in the window, and how much it did with it."""

    cpu_seconds: float
    lookups: float
    probes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCost:
    """CPU time of one page, and how large it is, compressed."""

    cpu_seconds: float
    size_bytes: int


def main() -> None:
    """Measure and print a table."""
    with _sink() as port, tempfile.TemporaryDirectory() as directory, Lab(Path(directory)) as lab:
        named = lab.named({_PARENT: zone_file(*_records(port))})
        empty, full = (
            [zone(f"{kind}{number}.{_PARENT}", named.server) for number in range(ZONES)]
            for kind in ("empty", "full")
        )
        addresses = [f"{_address(number)}:{port}" for number in range(ZONES)]
        idle = _measure(lab, _config(zones=empty[:1]))
        looked_up = _measure(lab, _config(zones=empty))
        probed = _measure(lab, _config(hosts=addresses))
        checked = _measure(lab, _config(zones=full))
        bound = _measure(lab, _config(rpc_bind=True, hosts=addresses))
        pages = _measure_pages(lab, _config(zones=full, interval="1h"))
        lookup = asyncio.run(_bare(lambda: _look_up(named)))
        connect = asyncio.run(_bare(lambda: _connect(port)))
        bind = asyncio.run(_bare(lambda: _connect(port, rpc_bind=True)))
    rows = (
        ("lookup of a zone without records", looked_up.lookups, looked_up, lookup),
        ("handshake with a static address", probed.probes, probed, connect),
        ("handshake and RPC bind", bound.probes, bound, bind),
        (
            f"check of a zone of {HOSTS_PER_ZONE} hosts",
            checked.lookups,
            checked,
            lookup + HOSTS_PER_ZONE * connect,
        ),
    )
    print(f"{'CPU time in microseconds':36}{'exporter':>10}{'bare loop':>11}{'ratio':>7}")
    for name, units, cost, bare in rows:
        ours = _microseconds_per(units, cost, idle)
        print(f"{name:36}{ours:10.0f}{bare:11.0f}{ours / bare:7.1f}")
    heading = f"page, {ZONES} zones of {HOSTS_PER_ZONE} hosts"
    print(f"\n{heading:36}{'CPU in ms':>10}{'kB, gzip':>11}{'ratio':>7}")
    for path, page in pages.items():
        ratio = page.cpu_seconds / pages["/metrics"].cpu_seconds
        print(f"{path:36}{page.cpu_seconds * 1000:10.0f}{page.size_bytes / 1000:11.0f}{ratio:7.2f}")


@contextlib.contextmanager
def _sink() -> Iterator[int]:
    """Listen on one port of every loopback address, in a process of its own, and accept any bind."""
    with socket.create_server(("", 0), backlog=1024) as listener:
        child = multiprocessing.get_context("fork").Process(target=_accept, args=(listener,), daemon=True)
        child.start()
        try:
            yield listener.getsockname()[1]
        finally:
            child.kill()
            child.join()


def _accept(listener: socket.socket) -> None:
    while True:
        with listener.accept()[0] as connection, contextlib.suppress(ConnectionError):
            if connection.recv(len(rpc.BIND)):  # nobody keeps it waiting: one who does not bind hangs up
                connection.sendall(_ACCEPTANCE)


def _records(port: int) -> Iterator[str]:
    for number in range(ZONES):
        yield f"empty{number} TXT nothing"
        for host in range(HOSTS_PER_ZONE):
            yield f"_vlmcs._tcp.full{number} SRV 0 0 {port} kms{host}.full{number}"
            yield f"kms{host}.full{number} A {_address(number * HOSTS_PER_ZONE + host)}"


def _address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def _config(*, rpc_bind: bool = False, **keys: Any) -> dict[str, Any]:
    probe = {"networks": ["127.0.0.0/8"], "address_families": ["ipv4"], "rpc_bind": rpc_bind}
    return config(interval=f"{INTERVAL_SECONDS}s", probe=probe) | keys


def _measure(lab: Lab, configuration: dict[str, Any]) -> Cost:
    """Run the exporter on a configuration, and take stock of a window after the first checks are over."""
    with lab.exporter(configuration) as exporter:
        wait_until(
            lambda: exporter.get("/-/ready").status == HTTPStatus.OK or None, "the first checks are done"
        )
        time.sleep(INTERVAL_SECONDS)
        before, cpu_before = exporter.metrics(), _cpu_seconds(exporter.pid)
        time.sleep(WINDOW_SECONDS)
        cpu_after, after = _cpu_seconds(exporter.pid), exporter.metrics()
    lookups, probes = (
        sum(sample.value for sample in after.series(name))
        - sum(sample.value for sample in before.series(name))
        for name in ("kms_srv_lookups_total", "kms_endpoint_probes_total")
    )
    return Cost(cpu_seconds=cpu_after - cpu_before, lookups=lookups, probes=probes)


def _measure_pages(lab: Lab, configuration: dict[str, Any]) -> dict[str, PageCost]:
    """Run the exporter on a configuration, and ask for pages between two checks."""
    with lab.exporter(configuration) as exporter:
        wait_until(
            lambda: exporter.get("/-/ready").status == HTTPStatus.OK or None, "the first checks are done"
        )
        costs = {}
        for path in PAGES:
            answer, before = exporter.get(path, accept_encoding="gzip"), _cpu_seconds(exporter.pid)
            for _ in range(PAGE_REPETITIONS):
                exporter.get(path, accept_encoding="gzip")
            spent = (_cpu_seconds(exporter.pid) - before) / PAGE_REPETITIONS
            costs[path] = PageCost(cpu_seconds=spent, size_bytes=len(answer.body))
    return costs


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _microseconds_per(units: float, cost: Cost, idle: Cost) -> float:
    return (cost.cpu_seconds - idle.cpu_seconds) / units * MICROSECONDS


async def _bare(step: Callable[[], Awaitable[object]]) -> float:
    """Give the CPU time of a step, in microseconds, run alone again and again."""
    start = time.process_time()
    for _ in range(BARE_REPETITIONS):
        await step()
    return (time.process_time() - start) / BARE_REPETITIONS * MICROSECONDS


async def _look_up(named: Named) -> None:
    query = dns.message.make_query(f"_vlmcs._tcp.empty0.{_PARENT}", "SRV")
    await dns.asyncquery.udp(query, named.address, port=named.port)


async def _connect(port: int, *, rpc_bind: bool = False) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, (_address(0), port))
        if rpc_bind:
            await loop.sock_sendall(sock, rpc.BIND)
            await loop.sock_recv(sock, rpc.MAX_FRAGMENT_BYTES)


if __name__ == "__main__":
    main()

"""Is the reported round trip that of the kernel? Against a packet capture, and a TUN peer of known delays.

Each zone has up to 256 hosts, all of which are probed at once, while somebody scrapes again and again. What
/metrics says of a probe is compared with that very handshake in the capture, which tcpdump takes on loopback
or on the TUN device. What is captured there cannot be shorter than the peer held the SYN by its own clock.
"""

import contextlib
import http.client
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from tests.bench_lab import (
    FORK,
    Bench,
    configuration,
    loopback_address,
    records,
    start_child,
    start_named,
    start_sink,
    wait_for_endpoints,
    zone_name,
)
from tests.bench_pcap import Seen, handshakes, match, most_at_once, segments
from tests.bench_rows import CannotCompareError, Row, percentile
from tests.bench_tun import DelayingPeer, Tun
from tests.services import Lab, Process

GROUP = "truth"
DELAYS = (0.001, 0.005, 0.02, 0.1)
INTERVAL_SECONDS = 2
MOST_SECONDS, MOST_SHARE = 50e-6, 0.01
MICROSECONDS = 1e6
_BASE = 64
_WITH_BIND = {False: "", True: ", RPC bind"}
_PORT = 1688
_UNMATCHED_SHARE = 0.01
_SETTLE_SECONDS = 1  # for the last packets to be written
_SERIES = re.compile(
    rb'^kms_endpoint_(connect|last_success_timestamp)_seconds\{[^}]*address="([^"]+)"[^}]*\} (\S+)$',
    re.MULTILINE,
)

Reports = list[tuple[str, float, float]]
"""Address, Unix time and duration in seconds."""


def measure(bench: Bench) -> list[Row]:
    """Compare on loopback and over the TUN device, each with the RPC bind and, unless quick, without it."""
    rows = []
    for rpc_bind in bench.sizes.truth_binds:
        rows += _on_loopback(bench, rpc_bind=rpc_bind)
        rows += _over_tun(bench, rpc_bind=rpc_bind)
    return rows


def _on_loopback(bench: Bench, *, rpc_bind: bool) -> list[Row]:
    hosts = bench.sizes.truth_hosts // len(DELAYS)
    with bench.lab() as lab:
        port = start_sink(lab).port
        lines = records(len(DELAYS), hosts, port, lambda zone, host: loopback_address(zone * hosts + host))
        start_named(lab, lines)
        reports, seen = _watch(bench, lab, "lo", port, rpc_bind=rpc_bind)
    return [_row("loopback" + _WITH_BIND[rpc_bind], reports, seen)]


def _over_tun(bench: Bench, *, rpc_bind: bool) -> list[Row]:
    hosts = bench.sizes.truth_hosts // len(DELAYS)
    with bench.lab() as lab:
        tun = lab.enter_context(contextlib.closing(Tun("bench", f"10.{_BASE - 1}.0.1/8")))
        peer = lab.enter_context(contextlib.closing(DelayingPeer(tun, base=_BASE, delays=DELAYS)))
        start_named(lab, records(len(DELAYS), hosts, _PORT, _tun_address))
        reports, seen = _watch(bench, lab, tun.name, _PORT, rpc_bind=rpc_bind)
        held = peer.stop()
    rows = []
    for number, delay in enumerate(DELAYS):
        prefix = f"10.{_BASE + number}."
        of_delay = [each for each in seen if each.address.startswith(prefix)]
        if min(held[number]) < delay or min(each.seconds for each in of_delay) < delay:
            raise CannotCompareError(f"a SYN was answered before {delay} s were over")
        rows.append(
            _row(
                f"TUN, {delay * 1000:.0f} ms{_WITH_BIND[rpc_bind]}",
                [report for report in reports if report[0].startswith(prefix)],
                of_delay,
                held=held[number],
            )
        )
    return rows


def _tun_address(zone: int, host: int) -> str:
    return f"10.{_BASE + zone}.{host // 250}.{host % 250 + 1}"


def _row(where: str, reports: Reports, seen: Sequence[Seen], *, held: Sequence[float] = ()) -> Row:
    pairs, unmatched = match(reports, seen, within_seconds=INTERVAL_SECONDS / 2)
    if not pairs or unmatched > len(reports) * _UNMATCHED_SHARE:
        raise CannotCompareError(f"{where}: {unmatched} of {len(reports)} probes are not in the capture")
    captured = statistics.median(one.seconds for _, one in pairs)
    error = percentile([abs(reported - one.seconds) for reported, one in pairs], 99)
    peer = f", peer held it {statistics.median(held) * MICROSECONDS:.0f} us" if held else ""
    return Row(
        group=GROUP,
        what=f"|reported - captured|, 99th percentile, {where}",
        unit="us",
        ours=error * MICROSECONDS,
        most=max(MOST_SECONDS, captured * MOST_SHARE) * MICROSECONDS,
        note=f"{len(pairs)} probes, {most_at_once(seen)} under way at once at most,"
        f" median captured {captured * MICROSECONDS:.0f} us{peer}",
    )


def _watch(
    bench: Bench, lab: Lab, interface: str, port: int, *, rpc_bind: bool
) -> tuple[Reports, list[Seen]]:
    """Run an exporter under the eyes of tcpdump and a scraper; gives what either saw."""
    hosts = bench.sizes.truth_hosts
    limits = {"records_per_zone": hosts, "probes_per_check": hosts}
    watched: Mapping[str, Any] = configuration(
        map(zone_name, range(len(DELAYS))),
        interval_seconds=INTERVAL_SECONDS,
        rpc_bind=rpc_bind,
        max_concurrency=hosts,  # of which one check has a quarter: all hosts of its zone
        limits=limits,
    )
    capture = bench.directory() / "capture"
    exporter = lab.exporter(watched)
    wait_for_endpoints(exporter, hosts // len(DELAYS) * len(DELAYS))
    with _tcpdump(capture, interface, port):
        with _collecting(exporter.web) as reports:
            time.sleep(bench.sizes.truth_seconds)
        time.sleep(_SETTLE_SECONDS)
    return reports, handshakes(segments(capture.read_bytes()))


@contextlib.contextmanager
def _tcpdump(capture: Path, interface: str, port: int) -> Iterator[None]:
    """Capture SYNs and SYN-ACKs; one that was lost on the way to the file makes the capture useless."""
    command = [
        *("tcpdump", "--interface", interface, "--time-stamp-precision=nano", "--snapshot-length=96"),
        *(
            "--buffer-size=16384",
            "--packet-buffered",
            "--relinquish-privileges=root",
            "-n",
            "-w",
            str(capture),
        ),
        f"tcp port {port} and tcp[tcpflags] & tcp-syn != 0",
    ]
    with Process(command) as tcpdump:
        tcpdump.wait_until(
            lambda: any("listening on" in line for line in tcpdump.lines) or None, "tcpdump listens"
        )
        yield
        tcpdump.stop()
    lost = re.search(r"^(\d+) packets dropped by kernel", "\n".join(tcpdump.lines), re.MULTILINE)
    if not lost or int(lost[1]):
        raise CannotCompareError(f"tcpdump missed packets\n{tcpdump.report()}")


@contextlib.contextmanager
def _collecting(web: tuple[str, int]) -> Iterator[Reports]:
    """Scrape without a pause in another process, and collect what was reported meanwhile."""
    reports, stop = Reports(), FORK.Event()
    received, written = FORK.Pipe(duplex=False)
    child = start_child(_collect, web, stop, written)
    written.close()
    try:
        yield reports
        stop.set()
        reports += received.recv()
    except EOFError as error:
        raise CannotCompareError("a scrape got no answer") from error
    finally:
        child.kill()
        child.join()


def _collect(web: tuple[str, int], stop: Event, results: Connection) -> None:
    found, start = set[tuple[str, float, float]](), time.time()
    while not stop.is_set():
        connection = http.client.HTTPConnection(*web)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            found.update(_reports(connection.getresponse().read()))
    results.send([report for report in found if report[1] > start])  # the capture has none from before


def _reports(page: bytes) -> Iterator[tuple[str, float, float]]:
    """Read the last handshake of each endpoint off a page."""
    durations, times = dict[str, float](), dict[str, float]()
    for kind, address, value in _SERIES.findall(page):
        (durations if kind == b"connect" else times)[address.decode()] = float(value)
    for address in durations.keys() & times.keys():
        yield address, times[address], durations[address]

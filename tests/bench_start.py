"""How soon it is there: the version, and the first page that has all of ten zones.

Time is that of a clock on the wall, from before the program is executed, as whoever waits for it sees it.
"""

import contextlib
import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.bench_lab import (
    Bench,
    configuration,
    loopback_address,
    records,
    start_named,
    start_sink,
    total,
    values,
    zone_name,
)
from tests.bench_rows import CannotCompareError, Row
from tests.services import DEADLINE_SECONDS, LOOPBACK, free_port

GROUP = "start"
ZONES, HOSTS = 10, 4
MOST_SECONDS, MOST_VERSION_SECONDS = 2, 0.3
_PAUSE_SECONDS = 0.02
_PROGRAM = str(Path(sys.executable).with_name("kms-exporter"))


def measure(bench: Bench) -> list[Row]:
    """Measure both, again and again."""
    with bench.lab() as lab:
        port = start_sink(lab).port
        lines = records(ZONES, HOSTS, port, lambda zone, host: loopback_address(zone * HOSTS + host))
        start_named(lab, lines)
        watched = configuration(map(zone_name, range(ZONES)), interval_seconds=60, rpc_bind=True)
        file = bench.directory() / "kms-exporter.yml"
        file.write_text(yaml.safe_dump(watched))
        pages = _repeat(bench, lambda: _seconds_to_page(file))
        versions = _repeat(bench, _seconds_to_version)
    return [
        Row(
            group=GROUP,
            what=what,
            unit="s",
            ours=statistics.median(times),
            most=most,
            note=f"median of {len(times)}, {min(times):.2f} to {max(times):.2f}",
        )
        for what, times, most in (
            (f"first complete /metrics of {ZONES} zones of {HOSTS} hosts", pages, MOST_SECONDS),
            ("kms-exporter --version", versions, MOST_VERSION_SECONDS),
        )
    ]


def _repeat(bench: Bench, take: Callable[[], float]) -> list[float]:
    """Take the time again and again, and not the first time, when nothing is in memory yet."""
    take()
    return [take() for _ in range(bench.sizes.starts)]


def _seconds_to_version() -> float:
    start = time.monotonic()
    subprocess.run([_PROGRAM, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def _seconds_to_page(file: Path) -> float:
    web = (LOOPBACK, free_port())
    command = [_PROGRAM, "run", f"--config.file={file}", "--web.listen-address={}:{}".format(*web)]
    start = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as exporter:
        try:
            while not _complete(web):
                if exporter.poll() is not None or time.monotonic() - start > DEADLINE_SECONDS:
                    raise CannotCompareError("the exporter did not get ready")
                time.sleep(_PAUSE_SECONDS)
            return time.monotonic() - start
        finally:
            exporter.terminate()


def _complete(web: tuple[str, int]) -> bool:
    """Whether every zone and every host has a result."""
    connection = http.client.HTTPConnection(*web, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        connection.request("GET", "/metrics")
        page = connection.getresponse().read()
        return total(page, "kms_endpoint_up") == ZONES * HOSTS == total(page, "kms_zone_hosts_up") and (
            len(values(page, "kms_srv_lookup_seconds")) == ZONES
        )
    return False

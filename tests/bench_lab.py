"""The world of the benchmarks: BIND, listeners, peers and the exporter, in a network namespace of their own.

`tests.bench` starts itself anew in a namespace for the network, for mounts and for processes (unshare(1)).
So nothing in here reaches another machine, names are looked up at BIND on port 53 by whoever reads
resolv.conf, and with the first process in there all others end, however it ends. What a process costs is the
kernel's account of it: proc(5).
"""

import contextlib
import ctypes
import multiprocessing.process
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter import rpc
from tests.bench_rows import CannotCompareError
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    Exporter,
    Lab,
    Named,
    Namespace,
    Process,
    Prometheus,
    T,
    config,
    http_request,
    zone,
    zone_file,
)

PARENT = "contoso.com"
MIB = 1024 * 1024
PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 says it accepts."""
RPC_ACCEPTANCE = bytes.fromhex(
    "05000c03 10000000 3c000000 01000000"  # bind_ack, little-endian, 60 bytes, call 1 (C706, 12.6.4.4)
    "d016d016 34120000 0500 3136383800 00"  # fragments of 5840 bytes, an association, the port 1688
    "01000000 0000 0000 045d888aeb1cc9119fe808002b104860 02000000"  # one context, accepted in NDR
)
FORK = multiprocessing.get_context("fork")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_WORK_TOLERANCE = 0.03
_POLL_SECONDS = 0.3
_TIMEOUT_MS = 3000
_SINKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything there is; `quick` numbers are for a look, not for a comparison over time."""

    quick: bool
    pair_zones: int
    pair_interval_seconds: int
    pair_window_seconds: int
    scale_zones: int
    scale_interval_seconds: int
    scale_window_seconds: int
    growth_window_seconds: int
    scrape_interval_seconds: int
    truth_hosts: int
    truth_seconds: int
    truth_binds: tuple[bool, ...]
    starts: int
    dead_zones: int
    dead_interval_seconds: int
    dead_cycles: int
    piece_zones: int
    piece_interval_seconds: int
    piece_window_seconds: int
    bare_repetitions: int


FULL = Sizes(
    quick=False,
    pair_zones=500,
    pair_interval_seconds=15,
    pair_window_seconds=60,
    scale_zones=1000,
    scale_interval_seconds=30,
    scale_window_seconds=300,
    growth_window_seconds=120,
    scrape_interval_seconds=15,
    truth_hosts=1024,
    truth_seconds=30,
    truth_binds=(False, True),
    starts=7,
    dead_zones=1000,
    dead_interval_seconds=30,
    dead_cycles=3,
    piece_zones=500,
    piece_interval_seconds=5,
    piece_window_seconds=20,
    bare_repetitions=2000,
)
QUICK = Sizes(
    quick=True,
    pair_zones=100,
    pair_interval_seconds=3,
    pair_window_seconds=6,
    scale_zones=60,
    scale_interval_seconds=2,
    scale_window_seconds=6,
    growth_window_seconds=4,
    scrape_interval_seconds=2,
    truth_hosts=256,
    truth_seconds=3,
    truth_binds=(True,),
    starts=3,
    dead_zones=40,
    dead_interval_seconds=3,
    dead_cycles=1,
    piece_zones=100,
    piece_interval_seconds=1,
    piece_window_seconds=2,
    bare_repetitions=500,
)


# --- What processes cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a process spent in a window: CPU time of all its threads, and its largest resident size so far."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int


def cpu_seconds(pid: int) -> float:
    """Read the CPU time of a process so far, user and system, with the threads that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def peak_bytes(pid: int) -> int:
    """Read the largest resident set that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if not found:
        raise CannotCompareError(f"the kernel does not tell how large process {pid} was")
    return int(found[1]) * 1024


def spend(processes: Sequence[Process], seconds: float) -> list[Spent]:
    """Let processes run, and take stock of each before and after."""
    pids = [process.pid for process in processes]
    cpu_before, start = [cpu_seconds(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    cpu_after, end = [cpu_seconds(pid) for pid in pids], time.monotonic()
    return [
        Spent(cpu_seconds=after - before, wall_seconds=end - start, peak_bytes=peak_bytes(pid))
        for pid, before, after in zip(pids, cpu_before, cpu_after, strict=True)
    ]


def demand_work(what: str, done: float, due: Sequence[float]) -> None:
    """Refuse a comparison in which less or more was done than the least and the most of `due`."""
    least, most = min(due) * (1 - _WORK_TOLERANCE), max(due) * (1 + _WORK_TOLERANCE)
    if not least <= done <= most:
        raise CannotCompareError(f"{what}: {done:,.0f} were done, not {least:,.0f} to {most:,.0f}")


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """Look seldom, for looking costs more here than elsewhere, until there is something to see."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise CannotCompareError(f"waited {DEADLINE_SECONDS:.0f} s in vain: {what}")
        time.sleep(_POLL_SECONDS)
    return found


# --- What an exporter shows


def scrape(exporter: Exporter) -> bytes:
    """Get /metrics as it is."""
    return exporter.get("/metrics").body


def values(body: bytes, name: str) -> list[float]:
    """List the values of a metric on a page of them, whatever its labels."""
    found = re.findall(rb"^%b(?:\{.*\})? (\S+)$" % name.encode(), body, re.MULTILINE)
    return [float(value) for value in found]


def total(body: bytes, name: str) -> float:
    """Add up the values of a metric."""
    return sum(values(body, name))


def wait_for_endpoints(exporter: Exporter, count: int, *, up: int | None = None) -> None:
    """Wait until so many endpoints are on /metrics, and `up` of them (by default all) are up."""
    wanted, found = (count, count if up is None else up), (0, 0)

    def look() -> bool | None:
        nonlocal found
        shown = values(scrape(exporter), "kms_endpoint_up")
        found = len(shown), int(sum(shown))
        return found == wanted or None

    try:
        wait_for(look, "the endpoints are known and up")
    except CannotCompareError as error:
        raise CannotCompareError(f"{error}: {found} of {wanted} are known and up") from error


# --- Who is there


class Here(Namespace):
    """The namespace that the benchmark is in itself."""

    def __init__(self) -> None:
        """Make nothing: it is there."""

    def __exit__(self, *exception: object) -> None:
        """Remove nothing."""

    @property
    def command(self) -> list[str]:
        """Run commands as they are."""
        return []

    def ip(self, *arguments: str) -> None:
        """Run `ip`."""
        subprocess.run(["ip", *arguments], check=True)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function."""
        return function()


def start_child(function: Callable[..., object], *arguments: object) -> multiprocessing.process.BaseProcess:
    """Start a function in a process of its own, which leaves it to its parent to be interrupted."""

    def run() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        function(*arguments)

    child = FORK.Process(target=run, daemon=True)
    child.start()
    return child


class Sink:
    """Processes that listen on one port of every address, accept any bind, and count connections.

    There are a few of them, so that one who is slow to bind does not keep all others waiting.
    """

    def __init__(self) -> None:
        self._accepted = [FORK.Value("Q", 0, lock=False) for _ in range(_SINKS)]
        with socket.create_server(("", 0), backlog=4096) as listener:
            self.port: int = listener.getsockname()[1]
            self._children = [start_child(_accept, listener, accepted) for accepted in self._accepted]

    @property
    def accepted(self) -> int:
        """How many connections came so far."""
        return sum(accepted.value for accepted in self._accepted)

    def close(self) -> None:
        """Stop listening."""
        for child in self._children:
            child.kill()
            child.join()


def _accept(listener: socket.socket, accepted: ctypes.c_ulonglong) -> None:
    while True:
        with listener.accept()[0] as connection, contextlib.suppress(ConnectionError):
            accepted.value += 1
            if connection.recv(len(rpc.BIND)):  # one who does not bind hangs up
                connection.sendall(RPC_ACCEPTANCE)


class Blackbox(Process):
    """Debian's blackbox_exporter with one module, which connects by IPv4."""

    def __init__(self, directory: Path, port: int) -> None:
        directory.mkdir(parents=True)
        file = directory / "blackbox.yml"
        tcp = {"preferred_ip_protocol": "ip4"}
        file.write_text(yaml.safe_dump({"modules": {"tcp_connect": {"prober": "tcp", "tcp": tcp}}}))
        self.web = (LOOPBACK, port)
        listen = f"--web.listen-address={LOOPBACK}:{port}"
        super().__init__(
            ["prometheus-blackbox-exporter", f"--config.file={file}", listen, "--log.level=warn"]
        )
        self.wait_until(lambda: self._healthy() or None, "blackbox_exporter listens")

    def _healthy(self) -> bool:
        try:
            return http_request(self.web, "/-/healthy").status == 200
        except OSError:
            return False


class Bench:
    """What each benchmark is given: the sizes, and labs whose servers end with them."""

    def __init__(self, sizes: Sizes, directory: Path) -> None:
        self.sizes = sizes
        self._directory = directory
        self._count = 0

    @contextlib.contextmanager
    def lab(self) -> Iterator[Lab]:
        """Open a lab, and close all in it in the end."""
        with Lab(self.directory()) as lab:
            yield lab

    def directory(self) -> Path:
        """Make a directory that nobody else uses."""
        self._count += 1
        made = self._directory / f"bench{self._count}"
        made.mkdir(parents=True)
        return made


def start_sink(lab: Lab) -> Sink:
    """Start a listener on every address."""
    return lab.enter_context(contextlib.closing(Sink()))


def start_named(lab: Lab, records: Iterable[str]) -> Named:
    """Start BIND on port 53 with one zone of these records, be they hundreds of one type at a name."""
    options = "recursion no; max-records-per-type 0;"
    return lab.named({PARENT: zone_file(*records)}, namespace=Here(), options=options)


def start_prometheus(lab: Lab, directory: Path, *scrapes: Mapping[str, Any]) -> Prometheus:
    """Start Prometheus with these scrapes and nothing else."""
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": list(scrapes)}))
    return lab.prometheus(config_file=file)


def zone_name(number: int) -> str:
    """Name one of the zones."""
    return f"z{number}.{PARENT}"


def records(zones: int, hosts: int, port: int, address: Callable[[int, int], str]) -> Iterator[str]:
    """Make the lines of zones of so many hosts each, with their addresses along with the SRV records."""
    for number in range(zones):
        for host in range(hosts):
            yield f"_vlmcs._tcp.z{number} SRV 0 0 {port} kms{host}.z{number}"
            yield f"kms{host}.z{number} A {address(number, host)}"


def loopback_address(number: int) -> str:
    """Give one of many addresses of loopback."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def configuration(
    zones: Iterable[str], *, interval_seconds: int, rpc_bind: bool, max_concurrency: int = 256, **keys: Any
) -> dict[str, Any]:
    """Build a configuration that watches zones at BIND and may probe what is in the namespace."""
    probe = {
        "networks": ["127.0.0.0/8", "10.0.0.0/8"],
        "address_families": ["ipv4"],
        "rpc_bind": rpc_bind,
        "max_concurrency": max_concurrency,
    }
    timeout_ms = min(_TIMEOUT_MS, interval_seconds * 1000 // 2)
    watched = [zone(name, f"{LOOPBACK}:53") for name in zones]
    return config(*watched, interval=f"{interval_seconds}s", timeout=f"{timeout_ms}ms", probe=probe) | keys

"""Faults of the process and of what it runs on: clock, limits, log, storms of requests, signals."""

import contextlib
import functools
import http
import itertools
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults import (
    TARGET,
    ZONE,
    Fault,
    S,
    Scene,
    Unheard,
    begin_to_start,
    failing,
    keep,
    proc_status,
    still_right,
    table,
    wait_closely,
    watch,
)
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    Exporter,
    Lab,
    Process,
    Samples,
    config,
    free_port,
    need,
    need_file,
    wait_until,
    zone,
)

HOURS = 5
CLIENTS, REQUESTS = 16, 20
SOME_ZONES, MANY_ZONES = 150, 1500
FAKETIME = "*/faketime/libfaketimeMT.so.1"


# --- What happens to a process in the long run


def hold_up(scene: Scene) -> None:
    """Stop the process for longer than two intervals."""
    scene.exporter.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    scene.exporter.send_signal(signal.SIGCONT)


def lag_and_overruns(scene: Scene, seen: Samples) -> bool:
    """See that the event loop was late by more than a second, and that checks were."""
    lag = "kms_exporter_event_loop_lag_seconds"
    late = (seen.value(f"{lag}_count") or 0) - (seen.value(f"{lag}_bucket", le="1.0") or 0)
    return (
        late > 0 and (seen.value("kms_exporter_checks_overrun_total") or 0) > 0 and still_right(scene, seen)
    )


def take_descriptors(scene: Scene) -> None:
    """Let the process open nothing any more, and look through a connection made before."""
    limit = ["prlimit", "--pid", str(scene.exporter.pid)]
    before = Path(f"/proc/{scene.exporter.pid}/limits").read_text()
    soft = re.findall(r"Max open files\s+(\d+)", before)[0]
    fails = failing("local_error", verdict="unknown")
    with keep(scene.exporter) as kept:
        subprocess.run([*limit, "--nofile=3:"], check=True)
        try:
            kept.wait_for(lambda seen: fails(scene, seen), "no file descriptor is left")
        finally:
            subprocess.run([*limit, f"--nofile={soft}:"], check=True)


def send_hangups(scene: Scene) -> None:
    """Ask for a reload hundreds of times, and see that the last of them counts."""
    for _ in range(300):
        scene.exporter.send_signal(signal.SIGHUP)
    asked_at = time.time()
    scene.exporter.send_signal(signal.SIGHUP)
    reloaded_at = "kms_exporter_config_last_reload_success_timestamp_seconds"
    scene.exporter.wait_for(lambda seen: (seen.value(reloaded_at) or 0) >= asked_at, "it was loaded")


def storm(ask: Callable[[Exporter], int]) -> Callable[[Scene], None]:
    """Let many clients ask at once, again and again, and see that each gets its answer."""

    def rage(scene: Scene) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = clients.map(lambda _: ask(scene.exporter), range(CLIENTS * REQUESTS))
            assert set(answers) == {http.HTTPStatus.OK}

    return rage


ENDURED: list[Fault[Scene]] = [
    Fault(name="Process held up for seconds", done=hold_up, seen=lag_and_overruns),
    Fault(name="No file descriptors left", done=take_descriptors),
    Fault(name="SIGHUP storm", done=send_hangups),
    Fault(name="Reload storm", done=storm(lambda exporter: exporter.post("/-/reload").status)),
    Fault(name="Scrape storm", done=storm(lambda exporter: exporter.get("/metrics").status)),
]


@pytest.fixture(scope="module")
def scene(module_lab: Lab) -> Scene:
    """Start the exporter that lives through all of them."""
    return watch(module_lab, Scene)


@table(ENDURED)
def test_endured(scene: Scene, fault: Fault[Scene]) -> None:
    """What a process meets in the long run, it lives through."""
    need("prlimit")
    fault.happen(scene)


# --- The clock


@dataclass(slots=True, kw_only=True)
class Clocked(Scene):
    """An exporter whose clock can be set, by a library that stands between it and the kernel's."""

    clock_file: Path
    numbers: Iterator[int]

    def set_clock(self, hours: int) -> None:
        """Set the clock so many hours off; the monotonic one runs on."""
        fresh = self.clock_file.with_suffix(".new")
        fresh.write_text(f"{hours:+d}h\n")
        fresh.replace(self.clock_file)

    def wait_for_a_check(self) -> None:
        """Wait for the end of a check that began after this call: the second to end is sure to be one."""
        at = {"dns_zone": ZONE, "dns_server": self.dns_server}
        self.exporter.wait_for_growth("kms_srv_lookups_total", 2, **at)

    def step(self, hours: int) -> None:
        """Set the clock while a record is missed, and look for whatever a wrong difference would show in."""
        gone = f"gone{next(self.numbers)}.{ZONE}"
        self.named.update(ZONE, f"add _vlmcs._tcp.{ZONE} 1 SRV 0 0 {self.listener.port} {gone}")
        published = {"name": "kms_srv_record_published", "target": gone}
        self.exporter.wait_for_value(1, **published)
        self.named.update(ZONE, f"delete _vlmcs._tcp.{ZONE} SRV 0 0 {self.listener.port} {gone}")
        self.exporter.wait_for_value(0, **published)
        self.set_clock(hours)
        self.wait_for_a_check()
        seen = self.exporter.metrics()
        assert seen.value(**published) == 0, "remembered for forget_after, whatever the clock says"
        assert (seen.value("kms_exporter_checks_overrun_total") or 0) < HOURS * 360
        for sample in seen.samples:
            assert sample.value >= 0, sample
            if re.search(r"(?<!timestamp)_seconds(_sum)?$", sample.name) and sample.name.startswith("kms_"):
                assert sample.value < 3600, sample
        for page in ("/", f"/zones/{ZONE}", "/api/v1/status"):
            answer = self.exporter.get(page)
            assert answer.status == http.HTTPStatus.OK
            date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            assert abs(date - time.time() - 3600 * hours) < 600

    def is_off_by(self, hours: int, seen: Samples) -> bool:
        """Tell whether timestamps are those of a clock that is so many hours off."""
        stamps = (
            seen.value("kms_exporter_last_check_timestamp_seconds", dns_zone=ZONE),
            seen.value("kms_endpoint_last_success_timestamp_seconds", target=TARGET),
        )
        return all(abs((stamp or 0) - time.time() - 3600 * hours) < 600 for stamp in stamps)


def clock_off_by(hours: int) -> Callable[[Clocked, Samples], bool]:
    """See the new time, and all well."""
    return lambda scene, seen: scene.is_off_by(hours, seen) and still_right(scene, seen)


def stepped(name: str, hours: int) -> Fault[Clocked]:
    """Make the row for a clock that is set so many hours off."""
    return Fault(
        name=name,
        done=lambda scene: scene.step(hours),
        seen=clock_off_by(hours),
        undone=lambda scene: scene.set_clock(0),
    )


STEPPED = [stepped("Clock put forward by hours", HOURS), stepped("Clock put back by hours", -HOURS)]


@pytest.fixture(scope="module")
def clocked(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Clocked:
    """Start an exporter whose clock can be set."""
    library = need_file("libfaketime", Path("/usr/lib"), FAKETIME)
    clock_file = tmp_path_factory.mktemp("clock") / "offset"
    clock_file.write_text("+0h\n")
    faked = [
        "env",
        f"LD_PRELOAD={library}",
        f"FAKETIME_TIMESTAMP_FILE={clock_file}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "FAKETIME_FORCE_MONOTONIC_FIX=0",  # else threads that wait for the interpreter's lock do so busily
    ]
    keys = {"forget_after": "1h"}
    return watch(
        module_lab, Clocked, before=faked, keys=keys, clock_file=clock_file, numbers=itertools.count(1)
    )


@table(STEPPED)
def test_clock(clocked: Clocked, fault: Fault[Clocked]) -> None:
    """A clock that is set shows in timestamps, and nowhere else."""
    fault.happen(clocked)


# --- The log and the memory


def unheard(lab: Lab, kind: type[S], directory: Path, redirection: str, **more: Any) -> S:
    """Start an exporter that logs elsewhere, as a shell redirects it."""
    need("sh")

    def start(configuration: dict[str, object], *, before: Sequence[str]) -> Exporter:
        exporter = Unheard(directory / "exporter", configuration, port=free_port(), before=before)
        return lab.enter_context(exporter)

    return watch(lab, kind, start=start, before=["sh", "-c", f'exec "$@" {redirection}', "sh"], **more)


def have_something_to_log(scene: Scene) -> None:
    """Make it write some lines."""
    for _ in range(5):
        assert scene.exporter.post("/-/reload").status == http.HTTPStatus.OK


def lines_are_lost(scene: Scene, seen: Samples) -> bool:
    """See lines counted that could not be written, and all well."""
    return (seen.value("kms_exporter_log_lines_dropped_total") or 0) > 0 and still_right(scene, seen)


def limit_memory(scene: Scene) -> None:
    """Give the process no more memory than it has, and ask for what takes some."""
    size = int(proc_status(scene.exporter.pid, "VmSize").split()[0]) * 1024
    subprocess.run(["prlimit", "--pid", str(scene.exporter.pid), f"--as={size}:"], check=True)
    assert scene.exporter.get("/metrics").status == http.HTTPStatus.OK
    assert scene.exporter.post("/-/reload").status == http.HTTPStatus.OK


def lift_memory_limit(scene: Scene) -> None:
    """Let it have what it wants again."""
    subprocess.run(["prlimit", "--pid", str(scene.exporter.pid), "--as=unlimited:"], check=True)


POOR: list[Fault[Scene]] = [
    Fault(name="Log on a full disk", done=have_something_to_log, seen=lines_are_lost),
    Fault(name="Memory limit hit", done=limit_memory, undone=lift_memory_limit),
]


@pytest.fixture(scope="module")
def poor(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Start an exporter that cannot write its log, for the disk is full."""
    return unheard(module_lab, Scene, tmp_path_factory.mktemp("poor"), "2>/dev/full")


@table(POOR)
def test_poverty(poor: Scene, fault: Fault[Scene]) -> None:
    """Without room on disk or in memory, it goes on."""
    need("prlimit")
    fault.happen(poor)


@dataclass(slots=True, kw_only=True)
class Piped(Scene):
    """An exporter that logs into a pipe; `reader` is the end of it that nobody reads from."""

    pipe: Path
    reader: int

    def fill(self) -> None:
        """Fill the pipe, and let more be logged."""
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.reader, b"full\n" * 100)
        have_something_to_log(self)

    def close(self) -> None:
        """Let the reader go, and more be logged."""
        os.close(self.reader)
        have_something_to_log(self)

    def open(self) -> None:
        """Let a reader come."""
        self.reader = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK)


PIPED: list[Fault[Piped]] = [
    Fault(name="Log that nobody reads", done=Piped.fill),
    Fault(name="Reader of the log gone", done=Piped.close, seen=lines_are_lost, undone=Piped.open),
]


@pytest.fixture(scope="module")
def piped(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Piped:
    """Start an exporter that logs into a pipe."""
    directory = tmp_path_factory.mktemp("piped")
    pipe = directory / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    return unheard(module_lab, Piped, directory, f"2>'{pipe}'", pipe=pipe, reader=reader)


@table(PIPED)
def test_pipe(piped: Piped, fault: Fault[Piped]) -> None:
    """Whoever should read the log and does not holds up nothing."""
    fault.happen(piped)


CLOSED: list[Fault[Scene]] = [Fault(name="Standard error closed", done=have_something_to_log)]


@table(CLOSED)
def test_closed(lab: Lab, tmp_path: Path, fault: Fault[Scene]) -> None:
    """Without a log, it does all the rest."""
    fault.happen(unheard(lab, Scene, tmp_path, "2>&-"))


# --- The end


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A moment at which the process is told to stop; `begin` starts it and waits until then."""

    name: str
    begin: Callable[[Lab, Path], Process]


def begin_to_check(lab: Lab, directory: Path) -> Process:
    """Start the process, and wait until a check of it asks a server that will not answer."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))
        server.settimeout(DEADLINE_SECONDS)
        where = f"{LOOPBACK}:{server.getsockname()[1]}"
        exporter = lab.exporter(config(zone(ZONE, where), interval="60s", timeout="30s"))
        server.recv(512)
    return exporter


def begin_to_reload(lab: Lab, ask: Callable[[Exporter], object], *, zones: int) -> Process:
    """Start the process, and wait until it reads a configuration that takes a while to read."""
    exporter = lab.exporter(config(hosts=[f"{LOOPBACK}:1"]))
    wait_until(lambda: exporter.get("/-/ready").status == http.HTTPStatus.OK or None, "it is ready")
    names = (f"zone{number}.test" for number in range(zones))
    exporter.write_config(config(*(zone(name, f"{LOOPBACK}:1") for name in names), interval="60s"))
    threads, lines = int(proc_status(exporter.pid, "Threads")), len(exporter.lines)
    ask(exporter)
    wait_closely(
        exporter,
        lambda: int(proc_status(exporter.pid, "Threads")) > threads or len(exporter.lines) > lines,
    )
    return exporter


def by_hangup(lab: Lab, _: Path) -> Process:
    """Ask by SIGHUP for what takes longer than a stop."""
    return begin_to_reload(lab, lambda exporter: exporter.send_signal(signal.SIGHUP), zones=MANY_ZONES)


def by_post(lab: Lab, _: Path) -> Process:
    """Ask by POST for what is read while the process stops, which does not cut off requests at once."""
    client = lab.enter_context(ThreadPoolExecutor(1))
    return begin_to_reload(lab, lambda exporter: client.submit(exporter.post, "/-/reload"), zones=SOME_ZONES)


ENDS = [
    End(name="SIGTERM during the start", begin=functools.partial(begin_to_start, until=signal.SIGTERM)),
    End(name="SIGTERM during a check", begin=begin_to_check),
    End(name="SIGTERM during a reload", begin=by_hangup),
    End(name="SIGTERM during a reload by POST", begin=by_post),
]


@pytest.mark.parametrize("end", [pytest.param(end, id=end.name) for end in ENDS])
def test_end(lab: Lab, tmp_path: Path, end: End) -> None:
    """Told to stop, it stops with exit status 0 and without a traceback, whatever it is about."""
    process = end.begin(lab, tmp_path)
    assert process.stop() == 0, process.report()
    assert "Traceback" not in "\n".join(process.lines)

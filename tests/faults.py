"""Faults that are done to the running exporter: one row each, what is seen meanwhile, and how it is undone.

The rows are in the modules `test_end_to_end_faults_*`, what is promised for each in deploy/RELIABILITY.md.
What follows every row is the same: the next check is right, the process is healthy, and no bug was met.
"""

import contextlib
import http.client
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    PAUSE_SECONDS,
    ROOT,
    Exporter,
    Lab,
    Listener,
    Named,
    Namespace,
    Process,
    Samples,
    config,
    parse_metrics,
    srv,
    wait_until,
    zone,
    zone_file,
)

ZONE = "contoso.test"
TARGET = f"kms1.{ZONE}"
DOCUMENT = ROOT / "deploy/RELIABILITY.md"

S = TypeVar("S", bound="Scene")


@dataclass(slots=True, kw_only=True)
class Scene:
    """The exporter, which watches one zone through one DNS server; `named` is that server."""

    lab: Lab
    exporter: Exporter
    named: Named
    listener: Listener
    dns_server: str

    def status(self, seen: Samples) -> str | None:
        """Tell how the last lookup ended."""
        return seen.status(ZONE, dns_server=self.dns_server)

    def verdict(self, seen: Samples) -> str | None:
        """Tell what a client would meet."""
        at = {"dns_zone": ZONE, "dns_server": self.dns_server}
        return seen.state("kms_client_verdict", "verdict", **at)

    def looks_right(self, seen: Samples) -> bool:
        """Tell whether the last check found the zone in order."""
        hosts_up = seen.value("kms_zone_hosts_up", dns_zone=ZONE)
        return (self.status(seen), self.verdict(seen), hosts_up) == ("ok", "ok", 1)

    def wait_for_a_check(self) -> None:
        """Wait for the end of a check that began after this call."""
        called_at = time.time()
        self.exporter.wait_for(lambda seen: (began(seen) or 0) >= called_at, "a check ends")

    def wait_until_right(self) -> Samples:
        """Wait until a check that began after this call was right, and find the process sound."""
        self.wait_for_a_check()
        seen = self.exporter.wait_for(self.looks_right, "the check is right")
        self.assert_sound()
        return seen

    def assert_sound(self) -> None:
        """Find the process healthy, and no bug caught."""
        assert self.exporter.get("/-/healthy").status == http.HTTPStatus.OK
        errors = self.exporter.metrics().value("kms_exporter_internal_errors_total")
        assert errors == 0, self.exporter.report()


def began(seen: Samples) -> float | None:
    """Tell when the last check of the zone began."""
    ended = seen.value("kms_exporter_last_check_timestamp_seconds", dns_zone=ZONE)
    took = seen.value("kms_exporter_check_duration_seconds", dns_zone=ZONE)
    return None if ended is None or took is None else ended - took


def nothing(_scene: Any) -> None:
    """Do nothing: the fault is over by itself."""


def still_right(scene: Scene, seen: Samples) -> bool:
    """See nothing of it in lookups and verdicts."""
    return scene.looks_right(seen)


def failing(*statuses: str, verdict: str) -> Callable[[Scene, Samples], bool]:
    """See lookups end with one of these statuses, and that clients meet this."""
    return lambda scene, seen: scene.status(seen) in statuses and scene.verdict(seen) == verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Generic[S]):
    """A fault: what is done, what is seen of it from the next check on, and how it is undone.

    `done` may look at more than `/metrics` shows.
    """

    name: str
    done: Callable[[S], object]
    seen: Callable[[S, Samples], object] = still_right
    undone: Callable[[S], object] = nothing

    def happen(self, scene: S) -> None:
        """Let it happen to a scene where all is well, and see all well again when it is over."""
        try:
            self.done(scene)
            if self.seen is still_right:
                scene.wait_for_a_check()
            scene.exporter.wait_for(lambda seen: self.seen(scene, seen), f"{self.name} is seen")
            scene.assert_sound()
        finally:
            self.undone(scene)
        scene.wait_until_right()


def table(faults: Sequence[Fault[Any]]) -> pytest.MarkDecorator:
    """Run a test for each fault, under its name."""
    return pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in faults])


def promised() -> list[str]:
    """List the faults that the document has a row for, in its order."""
    rows: list[str] = re.findall(r"(?m)^\| \*\*([^|*]+)\*\*", DOCUMENT.read_text())
    return rows


# --- Scenes


def watch(
    lab: Lab,
    kind: type[S],
    *,
    start: Callable[..., Exporter] | None = None,
    before: Sequence[str] = (),
    keys: Mapping[str, Any] | None = None,
    **more: Any,
) -> S:
    """Start BIND, a KMS host and the exporter on loopback, and make a scene of this kind of them.

    `start` starts the exporter where `lab` does not, `before` is put before its command, `keys` go into its
    configuration; the scene has `more` fields than others.
    """
    listener = lab.listener()
    records = zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port), ttl_seconds=1)
    named = lab.named({ZONE: records})
    exporter = (start or lab.exporter)(config(zone(ZONE, named.server), **(keys or {})), before=before)
    scene = kind(lab=lab, exporter=exporter, named=named, listener=listener, dns_server=named.server, **more)
    exporter.wait_for(scene.looks_right, "all is well")
    return scene


def begin_to_start(
    lab: Lab,
    directory: Path,
    *,
    until: signal.Signals,
    program: Sequence[str] = ("-m", "exporter"),
    command: str = "run",
    arguments: Sequence[str] = (),
) -> Process:
    """Start a service of the program, which asks nobody, and wait until it handles this signal itself."""
    file = directory / "kms-exporter.yml"
    file.write_text(f"hosts: ['{LOOPBACK}:1']\n")
    flags = [f"--web.listen-address={LOOPBACK}:0", *([f"--config.file={file}"] if command == "run" else [])]
    process = lab.enter_context(Process([sys.executable, *program, command, *flags, *arguments]))
    bit = 1 << (until - 1)
    wait_closely(process, lambda: int(proc_status(process.pid, "SigCgt"), 16) & bit)
    return process


def wait_closely(process: Process, look: Callable[[], object]) -> None:
    """Wait for a moment in the life of a process, for those right after it are what matters."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not look():
        assert process.running, process.report()
        assert time.monotonic() < deadline, process.report()
        time.sleep(PAUSE_SECONDS / 150)


def proc_status(pid: int, key: str) -> str:
    """Read a value of /proc/PID/status (proc(5))."""
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines())[key]


class Unheard(Exporter):
    """An exporter whose log goes elsewhere: that it listens shows on its port, which has to be given."""

    def _listening(self) -> tuple[str, int] | None:
        at = next(each for each in self.command if each.startswith("--web.listen-address="))
        web = LOOPBACK, int(at.rpartition(":")[2])
        with contextlib.suppress(OSError), socket.create_connection(web):
            return web
        return None


class Kept:
    """A connection that stays open, for when the exporter can accept no other, or nobody can make one."""

    def __init__(self, exporter: Exporter) -> None:
        self._connection = http.client.HTTPConnection(*exporter.web, timeout=DEADLINE_SECONDS / 4)
        self._namespace: Namespace | None = exporter.namespace
        self.metrics()

    def metrics(self) -> Samples:
        """Scrape /metrics."""
        return self._namespace.call(self._scrape) if self._namespace else self._scrape()

    def _scrape(self) -> Samples:
        self._connection.request("GET", "/metrics")
        with self._connection.getresponse() as answer:
            return parse_metrics(answer.read().decode())

    def wait_for(self, seen: Callable[[Samples], object], what: str) -> None:
        """Scrape until this is seen."""
        wait_until(lambda: seen(self.metrics()) or None, what)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextlib.contextmanager
def keep(exporter: Exporter) -> Iterator[Kept]:
    """Keep a connection open for a while."""
    with contextlib.closing(Kept(exporter)) as kept:
        yield kept

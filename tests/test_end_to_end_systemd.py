"""The real program as a service of systemd, which the test plays: notifications, watchdog, and the unit."""

import contextlib
import http
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests import sandbox
from tests.services import (
    LOOPBACK,
    ROOT,
    Exporter,
    Lab,
    Process,
    config,
    free_port,
    http_request,
    kms_exporter,
    need,
    srv,
    wait_until,
    zone,
    zone_file,
)

UNIT = ROOT / "deploy/systemd/kms-exporter.service"
DROP_IN = ROOT / "deploy/systemd/kms-exporter.service.d/tls.conf"
INSTALLED = "/opt/kms-exporter/bin/kms-exporter"
QUIET = config(hosts=[f"{LOOPBACK}:1"])
"""A configuration that asks nobody outside of this machine."""
WATCHDOG_SECONDS = 0.3

Message = Mapping[str, str]


class Manager:
    """Plays the service manager: what it is told, and what it puts before a command so that it is."""

    def __init__(self, directory: str) -> None:
        self.told: list[Message] = []
        self._path = f"{directory}/notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self._path)
        Path(self._path).chmod(0o777)

    def before(self, *, watchdog: bool = True) -> list[str]:
        """Give what sets the environment of a service, for the process id that the command will have."""
        variables = [f"NOTIFY_SOCKET={self._path}"]
        if watchdog:
            variables.append(f"WATCHDOG_USEC={WATCHDOG_SECONDS * 1e6:.0f}")
        return ["env", *variables, "sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh"]

    def listen(self) -> list[Message]:
        """Take what has arrived, and give it."""
        fresh: list[Message] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).decode().split("\n")
                fresh.append({name: value for name, _, value in (line.partition("=") for line in lines)})
        self.told += fresh
        return fresh

    def hears(self, seconds: float) -> bool:
        """Tell whether anything arrives within a time."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def wait_for(self, wanted: Callable[[Message], object], what: str) -> Message:
        """Listen until it is told this, and give the message; later ones are left for later."""
        while True:
            while self.told:
                message = self.told[0]
                self.told = self.told[1:]
                if wanted(message):
                    return message
            wait_until(lambda: self.listen() or None, what)

    def wait_for_line(self, name: str, value: str = "1") -> Message:
        """Listen until a message has this variable."""
        return self.wait_for(lambda message: message.get(name) == value, f"{name}={value}")

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    """Play systemd; in a directory with a short name, for the address of a socket must be short."""
    with tempfile.TemporaryDirectory() as directory, contextlib.closing(Manager(directory)) as manager:
        yield manager


# --- Notifications


def test_ready_before_the_first_check(lab: Lab, manager: Manager) -> None:
    """The service is ready when it listens, however long its first check takes, and says when it stops."""
    slow = zone("slow.test", lab.silent_dns_server().server)
    watching = config(slow, interval="60s", timeout="29s")
    exporter = lab.exporter(watching, before=manager.before(watchdog=False))
    ready = manager.wait_for_line("READY")
    assert ready["STATUS"] == "watching 1 zone; no check is done yet"
    assert exporter.get("/-/ready").status == http.HTTPStatus.SERVICE_UNAVAILABLE
    assert exporter.stop() == 0
    manager.wait_for_line("STOPPING")
    assert manager.listen() == manager.told == [], "nothing after that"


def test_reloads(lab: Lab, manager: Manager) -> None:
    """Every reload is told before and after, by signal, request or change of the file, refused or not."""
    exporter = lab.exporter(QUIET, before=manager.before(watchdog=False))
    manager.wait_for_line("READY")

    for reload in (lambda: exporter.send_signal(signal.SIGHUP), lambda: exporter.post("/-/reload")):
        before = time.monotonic_ns() // 1000
        reload()
        begun = manager.wait_for_line("RELOADING")
        assert before <= int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.wait_for_line("READY")["STATUS"].startswith("watching 1 static host; ")

    exporter.write_config("interval: soon\nhosts: [kms-dr.contoso.com]\n")
    assert exporter.post("/-/reload").status == http.HTTPStatus.INTERNAL_SERVER_ERROR
    manager.wait_for_line("RELOADING")
    refused = manager.wait_for_line("READY")["STATUS"]
    assert refused.startswith("configuration refused: line 1: interval")
    assert "watching 1 static host; " in refused

    exporter.write_config(config(hosts=[f"{LOOPBACK}:1", f"{LOOPBACK}:2"]))  # found by the poll
    manager.wait_for_line("RELOADING")
    manager.wait_for(
        lambda message: "READY" in message and message["STATUS"].startswith("watching 2 static hosts; "),
        "the file is taken over",
    )


# --- Watchdog


@pytest.mark.parametrize(
    ("web", "status"),
    [
        ({}, "watching 1 static host; 1 in trouble; last check "),
        ({"probe_only": True}, "checking on demand only"),
    ],
    ids=["on a timer", "on demand"],
)
def test_watchdog(lab: Lab, manager: Manager, web: Mapping[str, object], status: str) -> None:
    """The watchdog is fed again and again, also where nothing is checked but on demand."""
    exporter = lab.exporter(QUIET | {"web": web}, before=manager.before())
    manager.wait_for_line("READY")
    for _ in range(5):
        manager.wait_for(
            lambda message: "WATCHDOG" in message and message["STATUS"].startswith(status), "it goes on"
        )
    assert exporter.get("/-/healthy").status == http.HTTPStatus.OK


def test_stopped_process(lab: Lab, manager: Manager) -> None:
    """A process that is stopped does not feed the watchdog, and does again when it goes on."""
    exporter = lab.exporter(QUIET, before=manager.before())
    manager.wait_for_line("WATCHDOG")
    exporter.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{exporter.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T" or None, "it is stopped")
    manager.listen()
    manager.told = []
    assert not manager.hears(2 * WATCHDOG_SECONDS)
    exporter.send_signal(signal.SIGCONT)
    manager.wait_for_line("WATCHDOG")


STALLING = """
import asyncio, sys
from exporter import checks, cli, scheduler

async def never(self, host, selectors, memory):
    await asyncio.Event().wait()

checks.Checker.check_host = never
scheduler._LEAST_PATIENCE_SECONDS = 0.0
sys.exit(cli.main())
"""
"""The program with a bug: the check of a static host never ends."""


def test_check_that_never_ends(manager: Manager, tmp_path: Path) -> None:
    """While a check makes no progress the watchdog is not fed, and the exporter is not healthy."""
    file = tmp_path / "kms-exporter.yml"
    file.write_text(f"interval: 1s\ntimeout: 500ms\nhosts: ['{LOOPBACK}:1']\n")
    web = (LOOPBACK, free_port())
    flags = [f"--config.file={file}", "--web.listen-address={}:{}".format(*web)]
    with Process([*manager.before(), sys.executable, "-c", STALLING, "run", *flags]) as process:
        manager.wait_for_line("WATCHDOG")
        stalled = manager.wait_for(lambda message: message["STATUS"].startswith("stalled: "), "it stalls")
        assert stalled.keys() == {"STATUS"}
        assert stalled["STATUS"].startswith(f"stalled: {LOOPBACK}:1; watching 1 static host; ")
        answer = http_request(web, "/-/healthy")
        assert answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.text == f"Checks have stalled: {LOOPBACK}:1\n"
        for _ in range(5):
            assert manager.wait_for(lambda _: True, "it goes on telling").keys() == {"STATUS"}
        lines = process.wait_until(
            lambda: [line for line in list(process.lines) if "checks stalled" in line] or None, "it is logged"
        )
        assert len(lines) == 1


def test_abort_by_the_watchdog(tmp_path: Path) -> None:
    """The signal by which the watchdog ends it leaves in the log where every thread was."""
    [environment] = sandbox.settings(UNIT)["Environment"]
    file = tmp_path / "kms-exporter.yml"
    file.write_text(f"hosts: ['{LOOPBACK}:1']\n")
    flags = [f"--config.file={file}", f"--web.listen-address={LOOPBACK}:0"]
    process = Process(["env", environment, sys.executable, "-m", "exporter", "run", *flags])
    process.wait_until(lambda: any("listening" in line for line in process.lines) or None, "it listens")
    assert process.stop(signal.SIGABRT) == -signal.SIGABRT
    assert any(line.startswith("Current thread ") for line in process.lines), process.report()
    outermost = re.compile(r'  File ".+/exporter/__main__\.py", line [0-9]+ in <module>')
    assert any(outermost.fullmatch(line) for line in process.lines), process.report()  # the main thread too


# --- The unit


def installed_here(directory: Path) -> Path:
    """Copy the unit and its drop-in, with the program of this checkout in the place of the installed one."""
    copy = directory / UNIT.name
    for source, target in ((UNIT, copy), (DROP_IN, directory / f"{UNIT.name}.d" / DROP_IN.name)):
        target.parent.mkdir(exist_ok=True)
        assert INSTALLED in source.read_text()
        target.write_text(
            source.read_text().replace(INSTALLED, str(Path(sys.executable).parent / "kms-exporter"))
        )
    return copy


@pytest.mark.parametrize("with_drop_in", [False, True], ids=["alone", "with TLS"])
def test_unit_is_accepted(tmp_path: Path, *, with_drop_in: bool) -> None:
    """There is nothing that systemd has to say about the unit, with and without what serves TLS."""
    need("systemd-analyze")
    unit = installed_here(tmp_path)
    if not with_drop_in:
        shutil.rmtree(f"{unit}.d")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unit_is_safe() -> None:
    """The exposure of the service is at most 1.1 of 10, as systemd rates it."""
    need("systemd-analyze")
    rated = ["systemd-analyze", "security", "--offline=true", "--threshold=11", "--no-pager", str(UNIT)]
    done = subprocess.run(rated, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout


def commands(file: Path, key: str) -> list[list[str]]:
    """List the exporter's own arguments in the commands of a unit."""
    found = [shlex.split(command) for command in sandbox.settings(file)[key]]
    return [command[1:] for command in found if command[0] == INSTALLED]


@pytest.mark.parametrize(
    ("file", "key"),
    [(UNIT, "ExecStart"), (UNIT, "ExecReload"), (DROP_IN, "ExecStart")],
    ids=["start", "reload", "start with TLS"],
)
def test_commands_of_the_unit(tmp_path: Path, file: Path, key: str) -> None:
    """The commands of the unit are commands of the exporter, with flags and files that it takes."""
    (tmp_path / "kms-exporter.yml").write_text((ROOT / "deploy/kms-exporter.yml").read_text())
    (tmp_path / "web.yml").write_text("basic_auth_users: {}\n")
    [arguments] = commands(file, key)
    here = [
        each.replace("/etc/kms-exporter", str(tmp_path)).replace("%d", str(tmp_path)) for each in arguments
    ]
    assert here != arguments
    done = kms_exporter(*here, *(["--config.check"] if key == "ExecStart" else []))
    assert done.returncode == 0, done.stderr


def test_reload_by_signal() -> None:
    """`systemctl reload` checks the file first, and then sends the signal that loads it."""
    check, signalled = sandbox.settings(UNIT)["ExecReload"]
    assert check.startswith(f"{INSTALLED} check-config ")
    assert signalled == "/bin/kill -HUP $MAINPID"


# --- The sandbox


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Make a directory that everybody may read, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_sandbox_holds() -> None:
    """What the next test runs the exporter in forbids what the unit does, or it would prove nothing."""
    script = """
import os, resource, socket, mmap, errno, pathlib
def refused(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "allowed"
print(refused(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)))
print(refused(lambda: os.nice(1)))
print(refused(lambda: os.chroot("/")))
print(refused(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)))
print(refused(lambda: open("/tmp/kms-exporter-sandbox", "w")))
print(resource.getrlimit(resource.RLIMIT_NOFILE))
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(*(status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")))
"""
    command = [*sandbox.sandboxed(UNIT), sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout.splitlines() == [
        "EAFNOSUPPORT",
        "EPERM",
        "EPERM",
        "EPERM",
        "EROFS",
        "(8192, 8192)",
        f"{0:016x} {0:016x} 1 2",
    ], done.stderr


def test_life_in_the_sandbox(lab: Lab, manager: Manager, open_directory: Path) -> None:
    """Under what the unit forbids it starts, checks, is scraped, reloads, feeds the watchdog and stops."""
    listener, closed, dead = lab.listener(), lab.closed_port(), lab.closed_port()
    zones = {
        "good.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port)),
        "closed.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", closed.port)),
    }
    server = lab.named(zones).server
    watched = config(*(zone(name, server) for name in zones), zone("dead.test", f"{LOOPBACK}:{dead.port}"))
    exporter = _sandboxed(lab, manager, open_directory, watched)

    manager.wait_for_line("READY")
    seen = exporter.wait_for_status("unreachable", "dead.test")  # by ICMP
    exporter.wait_for_value(1, "kms_host_up", target="kms1.good.test")
    exporter.wait_for_value(1, "kms_endpoint_failure", target="kms1.closed.test", reason="connection_refused")
    seen = exporter.wait_for(lambda seen: seen.value("kms_endpoint_connect_seconds", target="kms1.good.test"))
    assert seen.value("process_start_time_seconds")
    assert seen.value("process_max_fds") == 8192
    assert (seen.value("kms_exporter_tasks") or 0) >= 4

    exporter.write_config(config(zone("good.test", server)))
    exporter.send_signal(signal.SIGHUP)
    manager.wait_for_line("RELOADING")
    assert manager.wait_for_line("READY")["STATUS"].startswith("watching 1 zone; ")
    manager.wait_for_line("WATCHDOG")
    manager.listen()
    manager.told = []
    assert exporter.stop() == 0
    manager.wait_for_line("STOPPING")


def _sandboxed(lab: Lab, manager: Manager, directory: Path, watched: Mapping[str, object]) -> Exporter:
    """Start the exporter in the sandbox, where it listens on names too, which getaddrinfo(3) looks up."""
    before: Sequence[str] = [*manager.before(), *sandbox.sandboxed(UNIT)]
    exporter = Exporter(
        directory / "service", watched, before=before, arguments=["--web.listen-address=localhost:0"]
    )
    return lab.enter_context(exporter)

"""The real program when it is its own machine that fails: no descriptors, no address, nobody to read the log.

What this machine cannot do is said of this machine, and of nothing else; and the program goes on, or ends
when it is told to, at any moment.
"""

import contextlib
import http
import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest
import yaml

from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    PAUSE_SECONDS,
    ROOT,
    Exporter,
    Lab,
    Samples,
    config,
    free_port,
    http_request,
    kms_exporter,
    parse_metrics,
    srv,
    wait_until,
    zone,
    zone_file,
)

ZONE = "contoso.test"
NOT_OURS = "192.0.2.1"  # TEST-NET-1, RFC 5737: no socket can be bound to it, so nothing is sent
QUIET = config(hosts=[f"{LOOPBACK}:1"])
"""A configuration that asks nobody outside of this machine."""
MANY_PROBLEMS = f"hosts: {['?'] * 3000}\n"
"""A configuration whose problems make a line of 200 kB, more than a pipe holds."""


def watched(lab: Lab, **keys: object) -> dict[str, object]:
    """Set up a zone with a host that works, and give a configuration that watches both."""
    listener = lab.listener()
    named = lab.named({ZONE: zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))})
    return config(zone(ZONE, named.server), hosts=[f"{LOOPBACK}:{listener.port}"], **keys)


# --- File descriptors


class Kept:
    """One connection to the pages of an exporter, made while there was a descriptor for it."""

    def __init__(self, exporter: Exporter) -> None:
        self._connection = http.client.HTTPConnection(*exporter.web, timeout=DEADLINE_SECONDS / 4)
        self._connection.connect()

    def metrics(self) -> Samples:
        """Scrape /metrics."""
        self._connection.request("GET", "/metrics")
        return parse_metrics(self._connection.getresponse().read().decode())

    def wait_for(self, verdict: str) -> Samples:
        """Scrape until the zone and the static host have this verdict."""

        def look() -> Samples | None:
            seen = self.metrics()
            found = seen.state("kms_client_verdict", "verdict", dns_zone=ZONE)
            static = seen.state("kms_static_host_verdict", "verdict")
            return seen if found == static == verdict else None

        return wait_until(look, f"the verdicts are {verdict}")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def test_no_file_descriptors(lab: Lab) -> None:
    """Without a descriptor nobody looks, and that is said; with one again, the next check is right."""
    exporter = lab.exporter(watched(lab))
    with contextlib.closing(Kept(exporter)) as kept:
        kept.wait_for("ok")
        soft, hard = resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE, (3, hard))
        seen = kept.wait_for("unknown")
        assert seen.status(ZONE) == "local_error"
        assert seen.labels("kms_endpoint_failure", "reason") == {"local_error"}
        assert seen.series("kms_client_likely_error_info") == []
        assert seen.series("kms_client_first_attempt_success_ratio") == []
        assert seen.series("kms_srv_records") == []
        assert seen.value("kms_srv_record_published", dns_zone=ZONE) == 1, "what was seen last still counts"
        resource.prlimit(exporter.pid, resource.RLIMIT_NOFILE, (soft, hard))
        seen = kept.wait_for("ok")
        assert seen.status(ZONE) == "ok"
        assert seen.series("kms_endpoint_failure") == []
    exporter.wait_for_value(1, "kms_exporter_config_last_reload_successful")
    changes = [entry for entry in exporter.log() if entry["event"] == "srv lookup status changed"]
    assert [entry["status"] for entry in changes] == ["local_error", "ok"]


def test_few_file_descriptors(lab: Lab) -> None:
    """A limit too low for what the configuration allows is told once, with the numbers."""
    few = lab.exporter(QUIET, before=["prlimit", "--nofile=300:300", "--"])
    warnings = [entry for entry in few.log() if entry["event"] == "few file descriptors"]
    assert [(entry["limit"], entry["wanted"]) for entry in warnings] == [(300, 2 * 256 + 512 + 32)]
    thrifty = config(hosts=[f"{LOOPBACK}:1"], probe={"networks": ["127.0.0.0/8"], "max_concurrency": 8})
    enough = lab.exporter(thrifty, before=["prlimit", "--nofile=600:600", "--"])
    assert [entry for entry in enough.log() if entry["event"] == "few file descriptors"] == []


# --- What `check` says


@pytest.fixture(scope="module")
def elsewhere(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a configuration that sends from an address of another machine."""
    path = tmp_path_factory.mktemp("local") / "kms-exporter.yml"
    path.write_text(yaml.safe_dump(watched(module_lab, source_addresses=[NOT_OURS])))
    return f"--config.file={path}"


@pytest.mark.parametrize("form", ["text", "json", "nagios"])
def test_check(elsewhere: str, form: str) -> None:
    """A check that this machine could not make has the status unknown, and says where to look."""
    done = kms_exporter("check", elsewhere, f"--format={form}")
    assert (done.returncode, done.stderr) == (3, "")
    if form == "text":
        assert "Verdict: unknown" in done.stdout
        assert "this machine could not send" in done.stdout
        assert "source_addresses" in done.stdout
        assert "0x8" not in done.stdout, "no code: nobody knows what clients meet"
    elif form == "nagios":
        assert done.stdout.startswith("KMS UNKNOWN - ")
    else:
        [server] = json.loads(done.stdout)["zones"][0]["dns_servers"]
        assert (server["verdict"], server["likely_error"]) == ("unknown", None)
        assert server["lookup"]["status"] == "local_error"
        assert [rung["state"] for rung in server["ladder"]] == ["unknown", *["not_reached"] * 4]


# --- Standard error


class Bare:
    """The program, with a standard error of the test's own making."""

    def __init__(self, directory: Path, *, stderr: int | IO[bytes], before: Sequence[str] = ()) -> None:
        directory.mkdir(exist_ok=True)
        self.config_file = directory / "kms-exporter.yml"
        self.config_file.write_text(yaml.safe_dump(QUIET))
        self.web = (LOOPBACK, free_port())
        flags = [f"--config.file={self.config_file}", f"--web.listen-address={LOOPBACK}:{self.web[1]}"]
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "exporter", "run", *flags],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )

    def wait_until_it_listens(self) -> None:
        """Wait until it answers."""

        def answers() -> bool | None:
            assert self.process.poll() is None, "ended by itself"
            with contextlib.suppress(OSError):
                return http_request(self.web, "/-/healthy").status == http.HTTPStatus.OK
            return None

        wait_until(answers, "the exporter answers")

    def dropped(self) -> float:
        """Tell how many lines of its log are lost."""
        samples = parse_metrics(http_request(self.web, "/metrics").text)
        return samples.value("kms_exporter_log_lines_dropped_total") or 0

    def stop(self) -> int:
        """Tell it to stop, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()


def test_log_that_nobody_reads(tmp_path: Path) -> None:
    """A full pipe stops nothing: the exporter answers, counts what is lost, and stops when it is told to."""
    reading, writing = os.pipe()
    with contextlib.closing(Bare(tmp_path, stderr=writing)) as bare:
        os.close(writing)
        bare.wait_until_it_listens()
        assert bare.dropped() == 0
        bare.config_file.write_text(MANY_PROBLEMS)

        def refuse() -> bool | None:
            answer = http_request(bare.web, "/-/reload", method="POST")
            assert answer.status == http.HTTPStatus.INTERNAL_SERVER_ERROR
            return bare.dropped() > 0 or None

        wait_until(refuse, "lines are lost")
        assert http_request(bare.web, "/-/healthy").status == http.HTTPStatus.OK
        assert bare.stop() == 0
    os.close(reading)


@pytest.mark.parametrize("how", ["closed", "full", "gone"])
def test_log_that_cannot_be_written(tmp_path: Path, how: str) -> None:
    """With standard error closed, on a full disk or without a reader, the exporter runs and stops as ever."""
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, writing)
        stderr = stack.enter_context(Path("/dev/full").open("wb")) if how == "full" else writing
        before = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if how == "closed" else []
        bare = stack.enter_context(contextlib.closing(Bare(tmp_path, stderr=stderr, before=before)))
        bare.wait_until_it_listens()
        if how != "closed":
            wait_until(lambda: bare.dropped() > 0 or None, "the loss is counted")
        assert bare.stop() == 0


def test_start_that_fails_and_nobody_reads(tmp_path: Path) -> None:
    """A configuration with more problems than a pipe holds ends the start, be they read or not."""
    path = tmp_path / "kms-exporter.yml"
    path.write_text(MANY_PROBLEMS)
    command = [sys.executable, "-m", "exporter", "run", f"--config.file={path}"]
    reading, writing = os.pipe()
    process = subprocess.Popen([*command, f"--web.listen-address={LOOPBACK}:0"], cwd=ROOT, stderr=writing)
    os.close(writing)
    try:
        assert process.wait(DEADLINE_SECONDS) == 2
        assert os.read(reading, 4096)
    finally:
        process.kill()
        process.wait()
        os.close(reading)


# --- Signals before the service listens to them

DELAYS_SECONDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.5)
AS_MODULE = ("-m", "exporter")
AS_SCRIPT = ("-c", "import sys; from exporter.cli import main; sys.exit(main())")


@contextlib.contextmanager
def started(
    path: Path, command: str, program: Sequence[str] = AS_MODULE
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program, and wait until the first lines of ours have run: until it handles SIGHUP."""
    arguments = [f"--web.listen-address={LOOPBACK}:0", "--log.level=error"]
    if command == "run":
        path.write_text(yaml.safe_dump(QUIET))
        arguments.append(f"--config.file={path}")
    process = subprocess.Popen(
        [sys.executable, *program, command, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        while not handles(process.pid, signal.SIGHUP):
            assert process.poll() is None, process.communicate()
            time.sleep(PAUSE_SECONDS / 50)
        yield process
    finally:
        process.kill()
        process.communicate()


def handles(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process handles a signal, as proc(5) has it."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) & 1 << (number - 1))


@pytest.mark.parametrize("delay_seconds", DELAYS_SECONDS)
def test_told_to_stop_at_any_moment(tmp_path: Path, delay_seconds: float) -> None:
    """SIGTERM ends the service as one that was told to stop, wherever it has got to."""
    with started(tmp_path / "kms-exporter.yml", "run") as process:
        time.sleep(delay_seconds)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE_SECONDS)
        assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize(
    ("command", "number", "delay_seconds", "program"),
    [
        ("run", signal.SIGINT, 0.0, AS_MODULE),
        ("run", signal.SIGINT, 0.3, AS_MODULE),
        ("run", signal.SIGINT, 0.9, AS_MODULE),
        ("run", signal.SIGINT, 0.1, AS_SCRIPT),
        ("run", signal.SIGTERM, 0.1, AS_SCRIPT),
        ("demo", signal.SIGTERM, 0.2, AS_MODULE),
        ("demo", signal.SIGINT, 0.7, AS_MODULE),
    ],
)
def test_interrupted_at_any_moment(
    tmp_path: Path, command: str, number: signal.Signals, delay_seconds: float, program: Sequence[str]
) -> None:
    """Both entries of the program and both services end without a traceback, by SIGINT as interrupted."""
    with started(tmp_path / "kms-exporter.yml", command, program) as process:
        time.sleep(delay_seconds)
        process.send_signal(number)
        _, said = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode in ({0} if number == signal.SIGTERM else {0, 130})
        assert said == b""


def test_told_to_reload_too_early(tmp_path: Path) -> None:
    """SIGHUP before the service listens to it does no harm: the configuration is loaded anyway."""
    with contextlib.closing(Bare(tmp_path, stderr=subprocess.DEVNULL)) as bare:
        wait_until(lambda: handles(bare.process.pid, signal.SIGHUP) or None, "SIGHUP is handled")
        for _ in range(20):
            bare.process.send_signal(signal.SIGHUP)
            time.sleep(PAUSE_SECONDS)
        bare.wait_until_it_listens()
        assert bare.stop() == 0

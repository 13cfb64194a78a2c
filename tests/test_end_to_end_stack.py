"""What `make stack` runs, as it is: the real programs on their real ports, in a network of their own."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.parts import (
    ALERTMANAGER_PORT,
    EXPORTER_PORT,
    LOOPBACK,
    PROMETHEUS_CONFIG,
    PROMETHEUS_PORT,
    RECEIVER_PORT,
)
from tests.services import DEADLINE_SECONDS, ROOT, Lab, Namespace, Process, need, wait_until, which

PORTS = (EXPORTER_PORT, RECEIVER_PORT, ALERTMANAGER_PORT, PROMETHEUS_PORT)
UP = "All of it is up, on this machine alone:"
ALERT = {
    "labels": {
        "alertname": "KmsZoneSrvRecordsMissing",
        "severity": "critical",
        "job": "kms-branch",
        "dns_zone": "emea.contoso.com",
    },
    "annotations": {
        "summary": "A zone has no KMS record left.",
        "runbook_url": "https://example.com/page",
    },
    "generatorURL": "http://localhost:9090/graph",
}


def command(temporary: Path, *arguments: str, path: str = "") -> list[str]:
    """Build the command that runs the stack, with its temporary files in `temporary`."""
    need("prometheus", "prometheus-alertmanager", "setpriv")
    temporary.mkdir(exist_ok=True)
    settings = [f"TMPDIR={temporary}", f"PATH={path or os.environ['PATH']}"]
    return ["env", *settings, sys.executable, "-m", "deploy.stack", *arguments]


def run(namespace: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a network namespace until it ends by itself."""
    return subprocess.run(
        [*namespace.command, *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )


class Stack(Process):
    """The program, in a network namespace. Once it has ended, `left` is what it left running there."""

    def __init__(self, namespace: Namespace, temporary: Path, *arguments: str) -> None:
        self.network = namespace
        self.left: list[list[str]] = []
        super().__init__(command(temporary, *arguments), namespace=namespace)

    def kill(self) -> None:
        """End whatever is left; parts that outlive the program would keep its terminal open."""
        if not self.running:
            self.left = list(processes(self.network).values())
        for pid in processes(self.network):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        super().kill()

    def wait_until_up(self) -> None:
        """Wait until it says that all parts are ready."""
        self.wait_for_line(re.escape(UP))

    def wait_for_line(self, pattern: str) -> str:
        """Wait for a line, and return it."""
        return self.wait_until(
            lambda: next((line for line in list(self.lines) if re.search(pattern, line)), None),
            f"it prints {pattern}",
        )

    def runs(self, word: str) -> bool:
        """Whether a process has this word in its command line."""
        return any(word in line for line in processes(self.network).values())

    def ask(self, port: int, path: str, body: object = None) -> Any:
        """GET a path of a part, or POST JSON to it; what comes back is JSON, or nothing."""
        return self.network.call(lambda: request(port, path, body))


def processes(namespace: Namespace) -> dict[int, list[str]]:
    """List what runs in a network namespace: command lines by process id."""
    listed = subprocess.run(["ip", "netns", "pids", namespace.name], capture_output=True, check=True)
    found = {}
    for pid in map(int, listed.stdout.split()):
        with contextlib.suppress(OSError):  # it has ended just now
            if line := Path(f"/proc/{pid}/cmdline").read_text():  # a zombie has none
                found[pid] = line.rstrip("\0").split("\0")
    return found


def request(port: int, path: str, body: object) -> Any:
    """Make one request to a port of loopback."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection):
        method = "GET" if body is None else "POST"
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == http.HTTPStatus.OK, text
        is_json = "json" in answer.headers.get("Content-Type", "")
        return json.loads(text) if is_json and text else None


@pytest.fixture(scope="module")
def stack(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Run the stack on the lab, until all of it is up; in the end it stops, and nothing is left.

    It has an alert at once, which it holds back for as long as the routes say: the last test looks for it.
    """
    temporary = tmp_path_factory.mktemp("stack")
    with Stack(module_lab.namespace(), temporary) as stack:
        stack.wait_until_up()
        stack.ask(ALERTMANAGER_PORT, "/api/v2/alerts", [ALERT])
        yield stack
    assert stack.left == []
    assert list(temporary.iterdir()) == []


def test_says_where_to_look(stack: Stack) -> None:
    """Once all parts are ready, the terminal has their addresses and the place of their logs."""
    stack.wait_for_line("Notifications:$")
    text = "\n".join(stack.lines)
    assert [port for port in PORTS if f"http://localhost:{port}/" not in text] == []
    [logs] = re.findall(r"^Data and logs: (\S+) \((.+)\)$", text, re.MULTILINE)
    assert [name for name in logs[1].split(", ") if not Path(logs[0], name).exists()] == []


def test_listens_on_loopback_alone(stack: Stack) -> None:
    """Whatever the stack listens on for TCP is an address of loopback."""
    listed = stack.network.call(lambda: Path("/proc/thread-self/net/tcp").read_text() + "\n")
    listed6 = stack.network.call(lambda: Path("/proc/thread-self/net/tcp6").read_text())
    rows = [line.split() for line in listed.splitlines()[1:] if line]
    listening = [socket.inet_ntoa(bytes.fromhex(row[1][:8])[::-1]) for row in rows if row[3] == "0A"]
    assert len(listening) >= len(PORTS)
    assert [address for address in listening if not address.startswith("127.")] == []
    assert [row for row in listed6.splitlines()[1:] if row.split()[3] == "0A"] == []


def test_prometheus_has_the_rules(stack: Stack) -> None:
    """Prometheus evaluates every group and alert of the rule file."""
    rules = yaml.safe_load((PROMETHEUS_CONFIG.parent / "kms-exporter.rules.yml").read_text())["groups"]
    found = stack.ask(PROMETHEUS_PORT, "/api/v1/rules")["data"]["groups"]
    assert {group["name"]: len(group["rules"]) for group in found} == {
        group["name"]: len(group["rules"]) for group in rules
    }
    assert found


def test_prometheus_scrapes_the_exporter(stack: Stack) -> None:
    """Prometheus scrapes the exporter, and finds the zones of the lab."""

    def scraped() -> list[Any] | None:
        found = stack.ask(PROMETHEUS_PORT, "/api/v1/query?query=kms_zone_info")["data"]["result"]
        return found or None

    zones = stack.wait_until(scraped, "the zones are in Prometheus")
    assert ("kms", "healthy.kms.test") in {
        (zone["metric"]["job"], zone["metric"]["dns_zone"]) for zone in zones
    }
    [target] = stack.ask(PROMETHEUS_PORT, "/api/v1/targets")["data"]["activeTargets"]
    assert (target["scrapeUrl"], target["health"]) == (f"http://localhost:{EXPORTER_PORT}/metrics", "up")


def test_prometheus_knows_alertmanager(stack: Stack) -> None:
    """Alertmanager is where Prometheus sends alerts to."""

    def known() -> list[Any] | None:
        found = stack.ask(PROMETHEUS_PORT, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        return found or None

    [alertmanager] = stack.wait_until(known, "Prometheus knows Alertmanager")
    assert alertmanager["url"].startswith(f"http://localhost:{ALERTMANAGER_PORT}/")


@pytest.mark.parametrize("flag", ["--config.file", "--config"])
def test_runs_a_configuration(lab: Lab, tmp_path: Path, flag: str) -> None:
    """The exporter runs on a configuration if there is one, and `--data` keeps data and logs."""
    config = tmp_path / "my.yml"
    config.write_text("hosts: [127.0.0.1:1]\n")
    data = tmp_path / "kept" / "data"
    arguments = (f"{flag}={config}", f"--data={data}")
    with Stack(lab.namespace(), tmp_path / "temporary", *arguments) as stack:
        stack.wait_until_up()
        assert stack.runs(f"--config.file={config}")
    assert stack.left == []
    log = (data / "kms-exporter.log").read_text()
    assert "event=listening" in log
    assert "event=stopping" in log  # asked to, not killed
    assert (data / "prometheus" / "wal").is_dir()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_part_that_ends_ends_all(lab: Lab, tmp_path: Path) -> None:
    """When a part ends by itself, its last lines are shown, all others stop, and the exit status is 1."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "alertmanager"  # by the name that it has outside of Debian
    program.write_text("#!/bin/sh\necho starting\necho the disk is full >&2\nexit 3\n")
    program.chmod(0o755)
    for name in ("setpriv", "prometheus"):
        (directory / name).symlink_to(str(which(name)))
    namespace = lab.namespace()
    done = run(namespace, *command(tmp_path / "temporary", path=str(directory)))
    assert done.returncode == 1
    assert done.stderr == (
        "Alertmanager ended by itself (exit status 3). The last it wrote:\n  starting\n  the disk is full\n"
    )
    assert processes(namespace) == {}


def test_nothing_outlives_it(lab: Lab, tmp_path: Path) -> None:
    """When the program itself is killed, every part goes with it."""
    namespace = lab.namespace()
    stack = Stack(namespace, tmp_path / "temporary")
    stack.wait_until_up()
    assert len(processes(namespace)) == 1 + len(PORTS)
    try:
        stack.send_signal(signal.SIGKILL)
        wait_until(lambda: not processes(namespace) or None, "no process is left")
    finally:
        stack.kill()


def test_stops_before_it_is_up(lab: Lab, tmp_path: Path) -> None:
    """A signal while the parts still start stops them as well, with exit status 0."""
    with Stack(lab.namespace(), tmp_path / "temporary") as stack:
        stack.wait_until(lambda: stack.runs("exporter") or None, "the exporter is started")
        assert stack.stop(signal.SIGINT) == 0
    assert stack.left == []


def test_port_that_is_taken(lab: Lab, tmp_path: Path) -> None:
    """Each port that is taken is named, with the service that may be there; nothing is started."""
    namespace = lab.namespace()
    with contextlib.ExitStack() as opened:
        for host, port in (("", PROMETHEUS_PORT), (LOOPBACK, RECEIVER_PORT)):
            taken = namespace.call(lambda address=(host, port): socket.create_server(address))  # type: ignore[misc]
            opened.enter_context(contextlib.closing(taken))
        done = run(namespace, *command(tmp_path, f"--data={tmp_path / 'data'}"))
    assert done.returncode == 1
    assert done.stderr == (
        "Port 5001 of 127.0.0.1, for receiver, is taken: stop what listens there.\n"
        "Port 9090 of 127.0.0.1, for Prometheus, is taken: stop what listens there."
        " If it is Debian's service: systemctl stop prometheus\n"
    )
    assert list((tmp_path / "data").iterdir()) == []


def test_alert_is_printed(stack: Stack) -> None:
    """A critical alert goes the way of the routes, and is printed as a page on the terminal."""
    stack.wait_for_line(r"^\S+ \S+ emea-page: FIRING critical KmsZoneSrvRecordsMissing$")
    stack.wait_for_line(r"^    dns_zone=emea.contoso.com job=kms-branch, since \d")
    stack.wait_for_line(r"^    Runbook: https://example.com/page$")

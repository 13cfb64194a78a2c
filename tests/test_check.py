"""Tests of `kms-exporter check` as people and scripts run it: by its arguments, and at real servers.

Most look at the embedded lab, which plays every situation; the others at BIND. What is about terminals,
pipes, signals, machines and exit statuses is run as a process of its own; the rest by the same entry of the
program in this process, for starting Python costs more than a check. Nothing here asserts how long a check
takes; a deadline only ends a test that cannot succeed.
"""

import io
import json
import logging
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from exporter.cli import main
from exporter.demo.configuration import configuration
from exporter.demo.situations import situations
from exporter.demo.zones import CLOSED, DNS_ADDRESS, SECOND_DNS_ADDRESS, UP, Schedule
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    ROOT,
    Lab,
    Listener,
    config,
    kms_exporter,
    need_ipv6,
    srv,
    zone,
    zone_file,
)

CHECK = [sys.executable, "-m", "exporter", "check"]
RUNGS = ["DNS server answers", "SRV records", "Targets resolve", "TCP port is open", "KMS answers"]
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|9[0-7])(?:;[0-9;]*)?m")
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
PERFDATA = rf"'[^'=]+'={NUMBER}(?:s|%|[KMGT]?B|c)?(?:;(?:{NUMBER})?){{0,4}}"
NAGIOS = re.compile(rf"KMS (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(?: \| {PERFDATA}(?: {PERFDATA})*)?\n")
"""One line with performance data: https://nagios-plugins.org/doc/guidelines.html#AEN200"""
FORMS = pytest.mark.parametrize("form", ["text", "json", "nagios"])
Done = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of this machine's environment decide how things are shown."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The embedded lab as it runs: the ports that it got, and the configuration that watches it."""

    config_file: Path
    port: int
    dns_port: int

    @property
    def server(self) -> str:
        """The first DNS server."""
        return f"{DNS_ADDRESS}:{self.dns_port}"

    @property
    def second_server(self) -> str:
        """The DNS server that has older records in some zones."""
        return f"{SECOND_DNS_ADDRESS}:{self.dns_port}"

    def check(self, *arguments: str) -> Done:
        """Run a check with the configuration of the lab."""
        return check(f"--config.file={self.config_file}", *arguments)

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run a check with the configuration of the lab, and give what it found."""
        return parse(self.check("--format=json", *arguments))


@pytest.fixture(scope="module")
def demo(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the embedded lab, and write the configuration that watches it."""
    seen = module_lab.exporter(None, command="demo").wait_for(
        lambda seen: (
            seen.series("kms_endpoint_up", address=CLOSED)
            and seen.series("kms_srv_lookup_status", dns_zone="healthy.kms.test")
        ),
        "the lab has been looked at",
    )
    [port] = seen.labels("kms_endpoint_up", "port", address=CLOSED)
    [server] = seen.labels("kms_srv_lookup_status", "dns_server", dns_zone="healthy.kms.test")
    found = {"port": int(port), "dns_port": int(server.rpartition(":")[2])}
    schedule = Schedule(present_seconds=1, absent_seconds=1)
    path = tmp_path_factory.mktemp("check") / "lab.yml"
    path.write_text(configuration(situations(port=found["port"], schedule=schedule), **found))
    return Demo(config_file=path, **found)


def check(*arguments: str) -> Done:
    """Run a check in this process, as if by a shell: to files, in the encoding that the environment says."""
    encoding = os.environ["PYTHONIOENCODING"]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdout = io.TextIOWrapper(out, encoding=encoding, newline="")
        stderr = io.TextIOWrapper(err, encoding=encoding, errors="backslashreplace", newline="")
        with _logging_put_back(err.fileno()), redirect_stdout(stdout), redirect_stderr(stderr):
            with pytest.raises(SystemExit) as left:
                main(["check", *arguments])
            stdout.flush()
            stderr.flush()
        shown = []
        for stream in (out, err):
            stream.seek(0)
            shown.append(stream.read().decode(encoding))
        assert isinstance(left.value.code, int)
    return subprocess.CompletedProcess(["check", *arguments], left.value.code, *shown)


@contextmanager
def _logging_put_back(descriptor: int) -> Iterator[None]:
    """Let this be standard error, to which the log is written past Python's stream, and undo its set-up."""
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    handlers, levels = root.handlers, (root.level, server.level)
    root.handlers = []
    before = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        os.dup2(before, 2)
        os.close(before)
        root.handlers = handlers
        root.setLevel(levels[0])
        server.setLevel(levels[1])
        structlog.reset_defaults()


def written(path: Path, *zones: str | Mapping[str, Any], **keys: Any) -> str:
    """Write a configuration whose timeouts nothing reaches that answers, and give the flag that names it."""
    path.write_text(json.dumps(config(*zones, **{"interval": "1h", "timeout": "10s"} | keys)))
    return f"--config.file={path}"


def parse(done: Done) -> dict[str, Any]:
    """Read the JSON that a check printed, and find it in step with its exit status."""
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    assert document["exit_status"] == done.returncode
    return document


def rows(text: str) -> list[list[str]]:
    """Split what was printed into lines, and these where two blanks or more are."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


# --- What it says of a zone


def test_zone_that_fails(demo: Demo) -> None:
    """A zone is shown rung by rung, with its records, the verdict, the likely error and what to do next."""
    done = demo.check("closed.kms.test")
    assert (done.returncode, done.stderr) == (2, "")
    shown = rows(done.stdout)
    assert shown[0] == [f"closed.kms.test at {demo.server}"]
    assert [(row[0], row[1]) for row in shown[1:6]] == list(zip("✓✓✓✗-", RUNGS, strict=True))
    assert re.fullmatch(r"[0-9]+\.[0-9]{2} ms, authoritative", shown[1][2])
    assert [row[2:] for row in shown[2:6]] == [["1, TTL 60 s"], ["1 of 1"], ["0 of 1"], []]
    host = f"kms.closed.kms.test:{demo.port}"
    assert ["priority", "weight", "port", "target", "address", "TCP", "KMS"] in shown
    assert ["0", "100", str(demo.port), "kms.closed.kms.test", CLOSED, "connection_refused"] in shown
    assert "Verdict: port_closed," in done.stdout
    code = "0xC004F074 (SL_E_VL_BINDING_SERVICE_UNAVAILABLE) over 0x800706BA (RPC_S_SERVER_UNAVAILABLE)"
    assert code in done.stdout
    assert "certainty high" in done.stdout
    assert f"[KMS host] {host} " in done.stdout
    for command in (
        "net start sppsvc",
        f"Test-NetConnection kms.closed.kms.test -Port {demo.port}",
        f"slmgr /skms kms-static.healthy.kms.test:{demo.port}",
        "slmgr /ato",
    ):
        assert [command] in shown
    assert "checked:" not in done.stdout


def test_zone_that_is_well(demo: Demo) -> None:
    """A zone that is well passes every rung, and there is nothing to do."""
    done = demo.check("healthy.kms.test")
    assert (done.returncode, done.stderr) == (0, "")
    shown = rows(done.stdout)
    assert [(row[0], row[1]) for row in shown[1:6]] == [("✓", rung) for rung in RUNGS]
    assert [row[3:5] for row in shown if len(row) == 7 and row[0].isdigit()] == [
        [f"kms{number}.healthy.kms.test", UP[number - 1]] for number in (1, 2)
    ]
    assert "Verdict: ok," in done.stdout
    assert "What to do next" not in done.stdout
    assert "0x" not in done.stdout


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("healthy.kms.test", 0, "Verdict: ok,"),
        ("mak.kms.test", 0, "as it should be"),
        ("degraded.kms.test", 1, "Verdict: degraded,"),
        ("weighted.kms.test", 1, "First attempts that work: "),
        ("missing.kms.test", 1, "kms2.missing.kms.test"),
        ("rogue.kms.test", 1, "desktop-4f7k2q9.rogue.kms.test"),
        ("disagreeing.kms.test", 2, "repadmin /replsummary"),
        ("nxdomain.kms.test", 2, "0x8007232B"),
        ("refused.kms.test", 2, "0x8007232D"),
        ("declined.kms.test", 2, "Verdict: srv_declined,"),
        (f"{LOOPBACK}:1", 2, "Verdict: port_closed,"),
    ],
)
def test_exit_status(demo: Demo, name: str, status: int, said: str) -> None:
    """The exit status tells how bad it is, and the text why."""
    done = demo.check(name)
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout


def test_whole_configuration(demo: Demo) -> None:
    """Without a NAME, everything that is configured is checked, and the worst of it is the exit status."""
    document = demo.json()
    verdicts = {
        each["zone"]: [server["verdict"] for server in each["dns_servers"]] for each in document["zones"]
    }
    del verdicts["vanishing.kms.test"]  # which comes and goes
    assert verdicts == {
        f"{name}.kms.test": found
        for found, names in (
            (["ok"], "healthy amsterdam berlin large partly alias rogue missing"),
            (["degraded"], "degraded weighted"),
            (["ok", "port_closed"], "disagreeing"),
            (["port_closed"], "closed"),
            (["port_filtered"], "filtered"),
            (["target_unresolvable"], "stale"),
            (["not_kms"], "othersvc banner"),
            (["kms_silent"], "hung"),
            (["srv_declined"], "declined"),
            (["srv_missing"], "nxdomain nodata mak"),
            (["dns_failed"], "servfail refused silent"),
        )
        for name in names.split()
    }
    assert {each["target"]: each["verdict"] for each in document["static_hosts"]} == {
        "kms-static.healthy.kms.test": "ok",
        UP[3]: "ok",
        "kms.closed.kms.test": "port_closed",
        CLOSED: "port_closed",
    }
    assert {each["client"]: (each["verdict"], each["zone"]) for each in document["clients"]} == {
        "roaming-laptop": ("ok", "healthy.kms.test"),
        "branch-workgroup": ("ok", "branch.kms.test"),
    }
    assert (document["status"], document["exit_status"]) == ("failed", 2)
    for each in document["zones"]:
        for server in each["dns_servers"]:
            assert (server["status"] == "ok") == (not server["next_steps"]) or server["verdict"] == "ok"
    assert [client["next_steps"] for client in document["clients"]] == [[], []]


def test_several_names(demo: Demo) -> None:
    """Several NAMEs are shown one after the other, and counted; one given twice is shown once."""
    names = ["healthy.kms.test", "Degraded.KMS.test.", "closed.kms.test", "healthy.kms.test", LOOPBACK]
    done = demo.check(*names)
    assert (done.returncode, done.stderr) == (2, "")
    headings = [line for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert headings == [
        f"healthy.kms.test at {demo.server}",
        f"degraded.kms.test at {demo.server}",
        f"closed.kms.test at {demo.server}",
        f"{LOOPBACK}:1688, assigned by hand",
        headings[-1],
    ]
    assert re.fullmatch("4 checked: 1 ok, 1 degraded, 2 failed|4 checked: 2 ok, .*", headings[-1])


# --- Where it looks


def test_configured_zone_keeps_its_configuration(demo: Demo) -> None:
    """A zone that is configured is looked up at its own DNS servers, and held against what it expects."""
    [missing, disagreeing] = demo.json("missing.kms.test", "disagreeing.kms.test")["zones"]
    expected = [f"kms{number}.missing.kms.test:{demo.port}" for number in (1, 2)]
    assert (missing["expected"], missing["missing"]) == (expected, expected[1:])
    assert [server["dns_server"] for server in missing["dns_servers"]] == [demo.server]
    assert [server["dns_server"] for server in disagreeing["dns_servers"]] == [
        demo.server,
        demo.second_server,
    ]
    assert disagreeing["dns_servers_agree"] is False


def test_name_that_is_not_configured(demo: Demo) -> None:
    """A zone that is not configured is looked up at the usual DNS servers, and nothing is expected of it."""
    [found] = demo.json("branch.kms.test")["zones"]
    assert (found["zone"], found["status"], found["expected"]) == ("branch.kms.test", "ok", None)
    assert [server["dns_server"] for server in found["dns_servers"]] == [demo.server]


@pytest.mark.parametrize("configured", [True, False])
def test_dns_servers(demo: Demo, *, configured: bool) -> None:
    """DNS servers that are given are asked, each once, in place of those that are configured."""
    flags = [f"--config.file={demo.config_file}"] if configured else []
    for servers in ([demo.second_server], [demo.second_server, demo.server, demo.second_server]):
        given = [f"--dns.server={server}" for server in servers]
        done = check("--format=json", *flags, *given, "disagreeing.kms.test")
        [found] = parse(done)["zones"]
        asked = [server["dns_server"] for server in found["dns_servers"]]
        assert sorted(asked) == sorted(set(servers))


def test_without_configuration_loopback_is_not_probed(demo: Demo) -> None:
    """By default nobody looks at hosts on loopback, so what clients meet there is unknown."""
    done = check(f"--dns.server={demo.server}", "healthy.kms.test")
    assert (done.returncode, done.stderr) == (3, "")
    assert "Verdict: unknown," in done.stdout
    assert "not_allowed" in done.stdout
    assert "probe.networks" in done.stdout


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (LOOPBACK, f"{LOOPBACK}:1688"),
        (f"{LOOPBACK}:1689", f"{LOOPBACK}:1689"),
        ("::1", "[::1]:1688"),
        ("[::1]", "[::1]:1688"),
        ("[::1]:1689", "[::1]:1689"),
    ],
)
def test_address_without_configuration(name: str, shown: str) -> None:
    """An address is a static host, port 1688 unless given."""
    done = check(name)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(f"{shown}, assigned by hand\n")
    assert [row[1] for row in rows(done.stdout)[1:3]] == RUNGS[3:]


def test_static_host_by_name(demo: Demo) -> None:
    """`host:port` is a static host, whose name is looked up but no zone."""
    name = f"kms-static.healthy.kms.test:{demo.port}"
    done = demo.check(name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name}, assigned by hand at {demo.server}\n")
    assert [row[1] for row in rows(done.stdout)[1:4]] == RUNGS[2:]
    assert UP[2] in done.stdout


def test_static_host_by_ipv6_address(lab: Lab, tmp_path: Path) -> None:
    """An IPv6 address with a port stands in brackets."""
    need_ipv6()
    flag = written(tmp_path / "c.yml", hosts=[LOOPBACK], probe={"networks": ["::1/128"]})
    name = f"[::1]:{lab.listener('::1').port}"
    done = check(flag, name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{name}, assigned by hand\n")


def test_witnesses_are_not_shown(demo: Demo) -> None:
    """The other static hosts of the configuration tell what is at fault, and are not shown themselves."""
    document = demo.json("closed.kms.test")
    assert (len(document["zones"]), document["static_hosts"], document["clients"]) == (1, [], [])
    [server] = document["zones"][0]["dns_servers"]
    texts = [step["text"] for step in server["next_steps"]]
    assert [text for text in texts if f"{CLOSED}:{demo.port}" in text and "the port is at fault" in text]


def test_machine_of_its_own(lab: Lab) -> None:
    """Without configuration and NAME, the search suffixes of the machine are checked at its DNS servers."""
    resolv_conf = f"nameserver {LOOPBACK}\nsearch contoso.test fabrikam.test\n"
    namespace = lab.namespace(resolv_conf=resolv_conf)
    namespace.ip("address", "add", "192.0.2.1/32", "dev", "lo")
    listener = lab.enter_context(closing(namespace.call(lambda: Listener("192.0.2.1"))))
    zones = {"contoso.test": zone_file(srv("kms", listener.port), "kms A 192.0.2.1")}
    lab.named(zones, namespace=namespace)

    done = kms_exporter("check", namespace=namespace)
    assert (done.returncode, done.stderr) == (2, "")
    assert f"contoso.test at {LOOPBACK}\n" in done.stdout
    assert f"fabrikam.test at {LOOPBACK}\n" in done.stdout
    assert "2 checked: 1 ok, 1 failed" in done.stdout

    done = kms_exporter("check", "contoso.test", namespace=namespace)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("resolv_conf", "lacking"),
    [("search contoso.test\n", "name server"), (f"nameserver {LOOPBACK}\nsearch .\n", "search suffix")],
)
def test_machine_that_has_nothing_to_go_by(lab: Lab, resolv_conf: str, lacking: str) -> None:
    """Without configuration, NAME and search suffixes there is nothing to check, which is an error."""
    done = kms_exporter("check", namespace=lab.namespace(resolv_conf=resolv_conf))
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert lacking in line


def test_silent_dns_server(lab: Lab) -> None:
    """A DNS server that never answers is waited for as long as was said, and no longer."""
    server = lab.silent_dns_server().server
    done = check(f"--dns.server={server}", "--timeout=50ms", "contoso.test")
    assert (done.returncode, done.stderr) == (2, "")
    assert rows(done.stdout)[1] == ["✗", RUNGS[0], "timeout"]
    assert "0x8007232A" in done.stdout


def test_silent_port(lab: Lab, tmp_path: Path) -> None:
    """A port that accepts and says nothing is waited for as long as was said, and no longer."""
    flag = written(tmp_path / "c.yml", hosts=[LOOPBACK])
    name = f"{LOOPBACK}:{lab.silent_port().port}"
    done = check(flag, "--timeout=200ms", name)
    assert (done.returncode, done.stderr) == (2, "")
    assert "rpc_timeout" in done.stdout


# --- What it cannot do


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--config.fil=x"], "--config.fil"),
        (["--web.listen-address=:1"], "--web.listen-address"),
        (["--format=xml"], "--format"),
        (["--format=JSON"], "--format"),
        (["--timeout"], "--timeout"),
        (["--dns.server"], "--dns.server"),
    ],
)
def test_unusable_flags(arguments: list[str], complaint: str) -> None:
    """Flags that make no sense end with exit status 3, the usage, and one line that names them."""
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("usage: kms-exporter check")
    assert complaint in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["contoso.test", "a..b"], "NAME 'a..b'"),
        (["contoso.test:65536"], "NAME 'contoso.test:65536'"),
        (["10.1.2.300"], "NAME '10.1.2.300'"),
        (["--", "--no-such-flag"], "NAME '--no-such-flag'"),
        (["contoso.test", "--dns.server=ns1.contoso.test"], "--dns.server 'ns1.contoso.test'"),
        (["contoso.test", "--timeout=soon"], "--timeout 'soon'"),
        (["contoso.test", "--timeout=60s"], "--timeout '60s'"),
    ],
)
def test_unusable_request(arguments: list[str], complaint: str) -> None:
    """What cannot be looked at ends with exit status 3 and one line that quotes it."""
    done = check(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(complaint)


@pytest.mark.parametrize(
    "command", [["run", "--no-such-flag"], ["demo", "--timeout=1s"], ["check-config"], ["--format=json"], []]
)
def test_other_commands_keep_their_exit_status(command: list[str]) -> None:
    """What another command does not understand is exit status 2, as ever."""
    done = kms_exporter(*command)
    assert (done.returncode, done.stdout) == (2, "")


def test_help() -> None:
    """`check -h` names all that it takes, and the exit statuses."""
    done = kms_exporter("check", "-h")
    assert (done.returncode, done.stderr) == (0, "")
    mentioned = ["--config.file", "--dns.server", "--timeout", "--format", "NAME", "Exit status", "nagios"]
    assert [text for text in mentioned if text not in done.stdout] == []


@pytest.mark.parametrize("arguments", [["--version"], ["-h"], ["check", "-h"]])
def test_quick_answers(arguments: list[str]) -> None:
    """What needs neither log nor drawing does not wait for the libraries of either."""
    program = "import runpy, sys\ntry: runpy.run_module('exporter', run_name='__main__')\nfinally: "
    program += "print(*{'structlog', 'rich', 'dns', 'aiohttp', 'yaml'} & sys.modules.keys(), file=sys.stderr)"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert done.stdout


@FORMS
def test_missing_configuration(tmp_path: Path, form: str) -> None:
    """A configuration that is not there is told where the reader of that form looks, in one line."""
    path = tmp_path / "missing.yml"
    done = check(f"--config.file={path}", f"--format={form}")
    assert done.returncode == 3
    reason = f"{path}: cannot be read: No such file or directory\n"
    expected = (f"KMS UNKNOWN - {reason}", "") if form == "nagios" else ("", reason)
    assert (done.stdout, done.stderr) == expected


@FORMS
def test_invalid_configuration(tmp_path: Path, form: str) -> None:
    """Every problem of a configuration is shown, with its line and key path."""
    path = tmp_path / "bad.yml"
    path.write_text("interval: soon\nzones:\n  - name: contoso.test\n  - name: a..b\nno_such_key: 1\n")
    done = check(f"--config.file={path}", f"--format={form}", "contoso.test")
    assert done.returncode == 3
    places = ["line 1: interval: ", "line 4: zones[1].name: ", "line 5: no_such_key: "]
    if form == "nagios":
        assert done.stderr == ""
        assert NAGIOS.fullmatch(done.stdout)
        assert [place for place in places if place not in done.stdout] == []
    else:
        assert done.stdout == ""
        found = [line for line in done.stderr.splitlines() if line.startswith(f"{path}: ")]
        assert len(found) == len(done.stderr.splitlines()) == len(places)
        assert [place for place, line in zip(places, found, strict=True) if place not in line] == []


# --- For programs


def test_json_keys(demo: Demo) -> None:
    """The keys of the JSON are a public interface."""
    document = demo.json("degraded.kms.test", f"{CLOSED}:{demo.port}")
    assert document.keys() == {"status", "exit_status", "zones", "static_hosts", "clients"}
    [found], [static] = document["zones"], document["static_hosts"]
    assert found.keys() == {
        "zone",
        "status",
        "dns_servers_agree",
        "expected",
        "missing",
        "unexpected",
        "remarks",
        "dns_servers",
    }
    [server] = found["dns_servers"]
    of_server = {"dns_server", "status", "verdict", "likely_error", "ladder", "next_steps"}
    of_host = {"target", "port", "verdict", "lookup_failure", "alias_of", "addresses", "endpoints"}
    assert server.keys() == of_server | {"first_attempt_success_ratio", "lookup", "hosts", "absent_hosts"}
    assert static.keys() == of_server | of_host
    assert [host.keys() for host in server["hosts"]] == [of_host] * 2
    assert server["lookup"].keys() == {
        "status",
        "duration_seconds",
        "authoritative",
        "ttl_seconds",
        "soa_serial",
        "record_count",
        "records",
    }


def test_json_of_a_client(demo: Demo, tmp_path: Path) -> None:
    """The JSON has of a kind of client what it has of a zone's DNS server: ladder, error and next steps."""
    flag = written(
        tmp_path / "c.yml",
        clients=[
            {"name": "laptop", "suffixes": ["nxdomain.kms.test", "closed.kms.test"]},
            {"name": "desk", "suffixes": ["nxdomain.kms.test"]},
        ],
        dns={"servers": [demo.server]},
        zones=[],
        probe={"networks": ["127.0.0.0/8"]},
    )
    laptop, desk = parse(check(flag, "--format=json"))["clients"]
    keys = {"client", "dns_server", "status", "verdict", "zone", "likely_error", "ladder", "next_steps"}
    assert laptop.keys() == desk.keys() == keys
    assert (laptop["zone"], laptop["verdict"]) == ("closed.kms.test", "port_closed")
    assert [rung["state"] for rung in laptop["ladder"]] == [*["passed"] * 3, "failed", "not_reached"]
    assert any("net start sppsvc" in step["commands"] for step in laptop["next_steps"])
    assert (desk["zone"], desk["verdict"]) == (None, "srv_missing")
    assert desk["likely_error"]["code"] == "0x8007232B"
    assert "0x80092328" in desk["likely_error"]["elsewhere"]

    text = check(flag)
    assert (text.returncode, text.stderr) == (2, "")
    assert f"client laptop at {demo.server}: closed.kms.test\n" in text.stdout
    assert f"client desk at {demo.server}: no record, nxdomain.kms.test decides\n" in text.stdout
    assert ["net start sppsvc"] in rows(text.stdout)

    nagios = check(flag, "--format=nagios")
    assert nagios.stdout == (
        f"KMS CRITICAL - client laptop port_closed at {demo.server}, likely 0xC004F074; "
        f"client desk srv_missing at {demo.server}, likely 0x8007232B\n"
    )


def test_json_values(demo: Demo) -> None:
    """The JSON has what was found: the answer, each host with its endpoints, and what follows from them."""
    [server] = demo.json("degraded.kms.test")["zones"][0]["dns_servers"]
    assert (server["dns_server"], server["verdict"], server["status"]) == (demo.server, *["degraded"] * 2)
    assert server["first_attempt_success_ratio"] == {"rfc2782": 0.5, "random": 0.5}
    lookup = server["lookup"]
    assert (lookup["status"], lookup["authoritative"], lookup["ttl_seconds"]) == ("ok", True, 60)
    assert lookup["duration_seconds"] > 0
    assert lookup["records"] == [
        {"priority": 0, "weight": 100, "port": demo.port, "target": f"kms{number}.degraded.kms.test"}
        for number in (1, 2)
    ]
    up, down = server["hosts"]
    assert (up["verdict"], up["addresses"], up["lookup_failure"]) == ("ok", [UP[0]], None)
    assert (down["verdict"], down["addresses"], down["alias_of"]) == ("port_closed", [CLOSED], None)
    [alive], [dead] = up["endpoints"], down["endpoints"]
    assert (alive["up"], alive["failure"]) == (True, None)
    assert alive["connect_seconds"] > 0
    assert alive["rpc_bind_seconds"] > 0
    assert dead == {
        "address": CLOSED,
        "up": False,
        "failure": "connection_refused",
        "connect_seconds": None,
        "rpc_bind_seconds": None,
        "syn_retransmits": 0,
    }
    assert [(rung["rung"], rung["state"]) for rung in server["ladder"]] == list(
        zip(RUNGS, ["passed", "passed", "passed", "partly", "passed"], strict=True)
    )


def test_nagios_line(demo: Demo) -> None:
    """For Nagios there is exactly one line, with performance data as its guidelines have it."""
    done = demo.check("--format=nagios", "degraded.kms.test", "missing.kms.test", "refused.kms.test")
    assert (done.returncode, done.stderr) == (2, "")
    assert NAGIOS.fullmatch(done.stdout)
    summary, _, performance = done.stdout.partition(" | ")
    assert summary.startswith(
        f"KMS CRITICAL - refused.kms.test dns_failed at {demo.server}, likely 0x8007232D;"
    )
    assert f"missing.kms.test lacks kms2.missing.kms.test:{demo.port}" in summary
    assert f"'degraded.kms.test {demo.server} hosts_up'=1;;;0;2 " in performance
    assert re.search(
        rf"'kms1\.degraded\.kms\.test:{demo.port} {re.escape(UP[0])} rpc_bind'={NUMBER}s;", performance
    )


@pytest.mark.parametrize(
    ("name", "status", "word"),
    [
        ("healthy.kms.test", 0, "OK"),
        ("mak.kms.test", 0, "OK"),
        ("rogue.kms.test", 1, "WARNING"),
        ("silent.kms.test", 2, "CRITICAL"),
    ],
)
def test_nagios_status(demo: Demo, name: str, status: int, word: str) -> None:
    """The first word of the line and the exit status say the same."""
    done = demo.check("--format=nagios", name)
    assert (done.returncode, done.stderr) == (status, "")
    assert NAGIOS.fullmatch(done.stdout)
    assert done.stdout.startswith(f"KMS {word} - ")


def test_nagios_line_of_everything(demo: Demo) -> None:
    """However much there is to say, it is one line."""
    done = demo.check("--format=nagios")
    assert done.returncode == 2
    assert NAGIOS.fullmatch(done.stdout)


# --- Terminals, pipes and signals


def on_terminal(
    command: Sequence[str], *, stdout: bool = False, stderr: bool = False, columns: int = 80
) -> tuple[str, Done]:
    """Run a command with some of its streams on a terminal; gives what it shows, and what the others got."""
    far, near = pty.openpty()
    termios.tcsetwinsize(near, (24, columns))
    with os.fdopen(far, "rb", buffering=0) as screen:
        with os.fdopen(near, "wb", buffering=0) as its_end:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=its_end if stdout else subprocess.PIPE,
                stderr=its_end if stderr else subprocess.PIPE,
                env=dict(os.environ),  # without what readline sets behind Python's back: COLUMNS
                encoding="utf-8",
            )
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody has it open any more (EIO)
            while chunk := screen.read(4096):
                shown += chunk
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    done = subprocess.CompletedProcess(command, process.returncode, out or "", err or "")
    return shown.decode("utf-8"), done


@pytest.mark.parametrize("variable", [None, "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_plain_output(demo: Demo, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    """What does not go to a terminal has no escape codes, no blanks at the end, and no progress beside it."""
    if variable:
        monkeypatch.setenv(variable, "1")
    done = demo.check("degraded.kms.test", "rogue.kms.test")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []
    assert done.stderr == ""


@pytest.mark.parametrize("coloured", [True, False])
def test_colours(demo: Demo, monkeypatch: pytest.MonkeyPatch, *, coloured: bool) -> None:
    """A terminal shows colours, unless NO_COLOR is set."""
    if not coloured:
        monkeypatch.setenv("NO_COLOR", "1")
    shown, done = on_terminal([*CHECK, f"--config.file={demo.config_file}", "degraded.kms.test"], stdout=True)
    assert done.returncode == 1
    assert "degraded" in shown
    assert bool(COLOUR.search(shown)) is coloured
    assert done.stderr == ""


def test_narrow_terminal(demo: Demo) -> None:
    """Lines are as long as the terminal is wide, but for commands and headings: these are printed whole."""
    arguments = [f"--config.file={demo.config_file}", "closed.kms.test"]
    shown, done = on_terminal([*CHECK, *arguments], stdout=True, columns=40)
    assert done.returncode == 2
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\r\n")
    [server] = demo.json("closed.kms.test")["zones"][0]["dns_servers"]
    commands = [command for step in server["next_steps"] for command in step["commands"]]
    assert max(map(len, commands)) > 40
    assert [command for command in commands if f"        {command}" not in lines] == []
    assert [line for line in lines[1:] if len(line) > 40 and line.strip() not in commands] == []


@FORMS
def test_progress(demo: Demo, form: str) -> None:
    """Whoever looks on sees that it is at work, and what is printed elsewhere is none the worse for it."""
    arguments = [f"--config.file={demo.config_file}", "--format", form, "rogue.kms.test"]
    shown, done = on_terminal([*CHECK, *arguments], stderr=True)
    assert done.returncode == 1
    assert re.search("Checking|[0-9] of [0-9] checked", shown)
    assert "\x1b" not in done.stdout
    match form:
        case "json":
            assert json.loads(done.stdout)["exit_status"] == 1
        case "nagios":
            assert NAGIOS.fullmatch(done.stdout)
        case _:
            assert "rogue.kms.test is not as it should be\n" in done.stdout


@pytest.mark.parametrize(
    ("form", "name", "status"),
    [
        ("text", "healthy.kms.test", 0),
        ("text", "closed.kms.test", 2),
        ("json", "degraded.kms.test", 1),
        ("nagios", "closed.kms.test", 2),
        ("nagios", "no..name", 3),
    ],
)
def test_reader_that_has_gone(demo: Demo, form: str, name: str, status: int) -> None:
    """A pipe that nobody reads is no trouble: the exit status tells what was found."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        command = [*CHECK, f"--config.file={demo.config_file}", "--format", form, name]
        done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("text", "healthy.kms.test"),
        ("json", "healthy.kms.test"),
        ("nagios", "healthy.kms.test"),
        ("nagios", "no..name"),
    ],
)
def test_full_disk(demo: Demo, form: str, name: str) -> None:
    """What cannot be written is exit status 3, with a reason."""
    command = [*CHECK, f"--config.file={demo.config_file}", "--format", form, name]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3
    [line] = done.stderr.decode().splitlines()
    assert "No space left on device" in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("text", "healthy.kms.test"),
        ("text", "no..name"),
        ("json", "closed.kms.test"),
        ("json", "no..name"),
        ("nagios", "closed.kms.test"),
        ("nagios", "no..name"),
    ],
)
def test_closed_output(demo: Demo, form: str, name: str) -> None:
    """Without standard output there is no report, which is exit status 3, with a reason."""
    done = shell(f"--config.file={demo.config_file}", "--format", form, name, redirect=">&-")
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    complaint = name == "no..name" and form != "nagios"
    assert line == (
        "NAME 'no..name': has an empty label" if complaint else "cannot print: standard output is closed"
    )


@FORMS
def test_no_output_at_all(demo: Demo, form: str) -> None:
    """Where nothing can be printed anywhere, the exit status tells so."""
    done = shell(
        f"--config.file={demo.config_file}", "--format", form, "healthy.kms.test", redirect=">&- 2>&-"
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def shell(*arguments: str, redirect: str) -> Done:
    """Run a check as a shell does that redirects its output."""
    command = f"{shlex.join([*CHECK, *arguments])} {redirect}"
    return subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


def test_complaint_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was typed is quoted, in every encoding."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    quoted = r"NAME 'm\xfcnchen..test': has an empty label" + "\n"
    nagios = check("--format=nagios", "münchen..test")
    assert (nagios.returncode, nagios.stdout, nagios.stderr) == (3, f"KMS UNKNOWN - {quoted}", "")
    text = check("münchen..test")
    assert (text.returncode, text.stdout, text.stderr) == (3, "", quoted)


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends a check at once, without a word."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as dns_server:
            dns_server.bind((LOOPBACK, 0))
            dns_server.settimeout(DEADLINE_SECONDS)
            server = f"{LOOPBACK}:{dns_server.getsockname()[1]}"
            patient = written(tmp_path / "c.yml", zone("contoso.test", server), timeout="30m")
            with subprocess.Popen(
                [*CHECK, patient],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                start_new_session=True,
            ) as process:
                try:
                    dns_server.recvfrom(512)  # it is in the middle of its check
                    process.send_signal(signal.SIGINT)
                    out, err = process.communicate(timeout=DEADLINE_SECONDS)
                finally:
                    process.kill()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (process.returncode, out, err) == (130, "", "")


# --- Names that are not harmless


def test_plain_marks(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only ASCII can be shown, the marks of the ladder are ASCII."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = demo.check("closed.kms.test")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.isascii()
    assert [row[0] for row in rows(done.stdout)[1:6]] == list("+++x-")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_with_odd_bytes(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Whatever a record's target or a client's name holds is shown as text, in every form."""
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    listener = lab.listener()
    labels = [
        r"\091red\093x\091\047red\093",
        r"a\046b\032c\255\027\09131m",
        r"\039pipe\124\061",
        r"\036\040reboot\041",
    ]
    records = [
        *(srv(label, listener.port) for label in labels),
        *(f"{label} A {LOOPBACK}" for label in labels),
    ]
    named = lab.named({"contoso.test": zone_file(*records)})
    client = "[red]x[/red] :smile: é | 'b' = \\["
    flag = written(
        tmp_path / "c.yml",
        zone("contoso.test", named.server),
        clients=[{"name": client, "suffixes": ["contoso.test"], "dns_servers": [named.server]}],
    )
    targets = {f"{label}.contoso.test" for label in labels}
    shown = client if encoding == "utf-8" else client.replace("é", r"\xe9")

    text = check(flag)
    assert (text.returncode, text.stderr) == (0, "")
    assert {row[3] for row in rows(text.stdout) if len(row) == 7 and row[0] == "0"} == targets
    assert shown in text.stdout
    assert "\x1b" not in text.stdout

    document = parse(check(flag, "--format=json"))
    [server] = document["zones"][0]["dns_servers"]
    assert {host["target"] for host in server["hosts"]} == targets
    assert [each["client"] for each in document["clients"]] == [client]

    listener.close()
    nagios = check(flag, "--format=nagios")
    assert (nagios.returncode, nagios.stderr) == (2, "")
    assert NAGIOS.fullmatch(nagios.stdout)
    assert f"client {shown.replace('|', '/')} port_closed at {named.server}, likely 0x" in nagios.stdout

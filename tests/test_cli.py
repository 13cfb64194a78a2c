"""Tests of the command line: what it accepts, what it prints, and its exit statuses.

Commands that only print run in this process, those that serve or must fail to do so in one of their own.
"""

import http
import json
import platform
import re
import socket
from pathlib import Path

import bcrypt
import pytest

import exporter
from exporter.build import BuildInfo, read_build_info
from exporter.cli import main
from tests.certificates import Authority
from tests.services import LOOPBACK, Lab, config, http_request, kms_exporter, need_ipv6

GOOD = "zones:\n  - name: contoso.test\n  - name: fabrikam.test\nhosts: [kms-dr.contoso.test]\n"
BAD = "interval: soon\nzones:\n  - name: contoso.test\n  - name: Contoso.test.\nno_such_key: 1\n"
CHECKS = pytest.mark.parametrize(
    "command", [["check-config"], ["run", "--config.check", "--config.file"]], ids=" ".join
)
QUIET = config(hosts=[f"{LOOPBACK}:1"])
"""A configuration that asks nobody outside of this machine."""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    """Run a command that only prints, and give its exit status and what it printed."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    printed = capsys.readouterr()
    return left.value.code, printed.out, printed.err


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Write a valid configuration."""
    path = tmp_path / "good.yml"
    path.write_text(GOOD)
    return path


# --- What it says of itself


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` tells the version, the revision and the version of Python, in one line."""
    status, out, err = run(capsys, "--version")
    assert (status, err) == (0, "")
    revision = read_build_info().revision
    assert out == (
        f"kms-exporter, version {exporter.__version__} "
        f"(revision: {revision}, Python {platform.python_version()})\n"
    )


def test_revision_outside_a_build() -> None:
    """What is running is known also where no build left a revision behind."""
    build = read_build_info()
    assert build == BuildInfo(
        version=exporter.__version__, revision=build.revision, python=platform.python_version()
    )
    assert re.fullmatch(r"unknown|[0-9a-f]+(-dirty)?", build.revision)


@pytest.mark.parametrize(
    ("command", "mentioned"),
    [
        ([], ["run", "check-config", "demo", "--version"]),
        (
            ["run"],
            [
                "--config.file",
                "--config.check",
                "--web.listen-address",
                "--web.config.file",
                "--web.external-url",
                "--web.route-prefix",
                "--log.level",
                "--log.format",
                ":11688",
            ],
        ),
        (["check-config"], ["F", "--web.config.file", "line and key path"]),
        (
            ["demo"],
            ["--web.listen-address", "--web.config.file", "--log.level", "--log.format", "{logfmt,json}"],
        ),
    ],
)
def test_help(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    mentioned: list[str],
) -> None:
    """`-h` of every command names all that it takes."""
    monkeypatch.setenv("COLUMNS", "200")
    status, out, err = run(capsys, *command, "-h")
    assert (status, err) == (0, "")
    assert out.startswith(" ".join(["usage: kms-exporter", *command]))
    assert [text for text in mentioned if text not in out] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["no-such-command"], "no-such-command"),
        (["check-config"], "F"),
        (["run", "--no-such-flag"], "--no-such-flag"),
        (["run", "--config.fil=x"], "--config.fil"),
        (["run", "--log.level=loud"], "--log.level"),
        (["demo", "--log.format=xml"], "--log.format"),
        (["demo", "--config.file=x"], "--config.file"),
        (["demo", "--web.external-url=contoso.com"], "is not a URL such as"),
        (["run", "--web.route-prefix=/a b"], "'/a b' is not a plain path"),
        *(
            (
                ["run", f"--web.listen-address={address}"],
                f"argument --web.listen-address: {address!r} is not HOST:PORT, :PORT or [IPV6]:PORT",
            )
            for address in (
                "",
                "11688",
                "::1:80",
                "localhost",
                ":",
                "h:",
                ":-1",
                ":65536",
                ":x",
                ":1_0",
                ":\u0661",
                "[::1]",
            )
        ),
    ],
)
def test_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str) -> None:
    """Arguments that make no sense end with exit status 2, the usage, and one line that names them."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: kms-exporter")
    assert complaint in err.splitlines()[-1]


# --- Checking a configuration


@CHECKS
def test_check_of_a_good_configuration(
    capsys: pytest.CaptureFixture[str], good: Path, command: list[str]
) -> None:
    """A valid configuration gives one line about what it holds, and exit status 0."""
    assert run(capsys, *command, str(good)) == (0, f"{good}: valid, zones: 2, hosts: 1\n", "")


@CHECKS
def test_check_of_a_bad_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    """Every problem is a line with file, line and key path, in the order of the file; exit status 1."""
    path = tmp_path / "bad.yml"
    path.write_text(BAD)
    status, out, err = run(capsys, *command, str(path))
    assert (status, out) == (1, "")
    assert [line.partition(f"{path}: ")[2].split(": ")[:2] for line in err.splitlines()] == [
        ["line 1", "interval"],
        ["line 4", "zones[1].name"],
        ["line 5", "no_such_key"],
    ]


@CHECKS
@pytest.mark.parametrize(
    ("name", "message"), [("missing.yml", "No such file or directory"), (".", "Is a directory")]
)
def test_check_of_an_unreadable_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str], name: str, message: str
) -> None:
    """A file that cannot be read is one line and exit status 1."""
    path = tmp_path / name
    assert run(capsys, *command, str(path)) == (1, "", f"{path}: cannot be read: {message}\n")


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Write a web configuration with a certificate and a user."""
    Authority("servers").issue("localhost").write(tmp_path, "server")
    path = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    path.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f"basic_auth_users: {{alice: {hashed}}}\n"
    )
    return path


def test_check_of_a_web_configuration(capsys: pytest.CaptureFixture[str], good: Path, locked: Path) -> None:
    """With a web configuration both files are validated, each with a line of its own."""
    flag = f"--web.config.file={locked}"
    lines = f"{good}: valid, zones: 2, hosts: 1\n{locked}: valid, TLS: on, users: 1\n"
    for command in (["check-config"], ["run", "--config.check", "--config.file"]):
        assert run(capsys, *command, str(good), flag) == (0, lines, "")


def test_check_of_an_expired_certificate(
    capsys: pytest.CaptureFixture[str], good: Path, locked: Path
) -> None:
    """A certificate that has expired is a warning, for it serves all the same."""
    Authority("servers").issue("localhost", expired=True).write(locked.parent, "server")
    status, _, err = run(capsys, "check-config", f"--web.config.file={locked}", str(good))
    assert status == 0
    assert err == f"{locked}: warning: clients may refuse the certificate: certificate has expired\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate_limit: {}\n", "line 1: rate_limit: is not supported by kms-exporter: leave it out"),
        (None, "cannot be read: No such file or directory"),
        (
            "tls_server_config:\n  cert_file: missing.crt\n  key_file: server.key\n",
            "line 2: tls_server_config.cert_file: cannot be read: {}/missing.crt: No such file or directory",
        ),
    ],
)
def test_check_of_a_bad_web_configuration(
    capsys: pytest.CaptureFixture[str], good: Path, locked: Path, text: str | None, problem: str
) -> None:
    """A web configuration that cannot be used is exit status 1, whatever the other file is like."""
    locked.unlink() if text is None else locked.write_text(text)
    arguments = ["check-config", f"--web.config.file={locked}", str(good)]
    expected = f"{locked}: {problem.format(locked.parent)}\n"
    assert run(capsys, *arguments) == (1, f"{good}: valid, zones: 2, hosts: 1\n", expected)
    good.write_text("interval: soon\n")
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (1, "")
    assert err.startswith(f"{good}: ")
    assert err.endswith(expected)


# --- Serving, or saying in one line why not


@pytest.mark.parametrize("command", ["run", "demo"])
def test_bad_web_configuration(good: Path, locked: Path, command: str) -> None:
    """A web configuration that cannot be used ends with exit status 2, with the problems of both files."""
    locked.write_text("tls: {}\n")
    arguments = [f"--web.config.file={locked}", f"--web.listen-address={LOOPBACK}:0", "--log.level=error"]
    if command == "run":
        good.write_text("interval: soon\n")
        arguments.append(f"--config.file={good}")
    done = kms_exporter(command, *arguments)
    assert done.returncode == 2
    found = [source for source in (good, locked) if f"source={source} " in done.stderr]
    assert found == ([good, locked] if command == "run" else [locked])
    assert f'problems="{locked}: line 1: tls: unknown key"' in done.stderr


def test_missing_configuration(tmp_path: Path) -> None:
    """`run` without the file it was given ends with exit status 2 and one line of the log."""
    path = tmp_path / "missing.yml"
    done = kms_exporter(
        "run", f"--config.file={path}", f"--web.listen-address={LOOPBACK}:0", "--log.format=json"
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    fields = json.loads(line)
    assert fields.pop("ts")
    assert fields == {
        "level": "error",
        "event": "configuration refused",
        "source": str(path),
        "problems": "cannot be read: No such file or directory",
    }


@pytest.mark.parametrize("command", ["run", "demo"])
def test_taken_port(good: Path, command: str) -> None:
    """A port that is taken ends with exit status 2 and one line that says which."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        address = f"{LOOPBACK}:{taken.getsockname()[1]}"
        arguments = [f"--config.file={good}"] if command == "run" else ["--log.level=error"]
        done = kms_exporter(command, *arguments, f"--web.listen-address={address}")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert (
        f' level=error event="cannot start" reason="cannot listen on {address}: Address already in use"'
        in line
    )


def test_second_address_is_taken(good: Path) -> None:
    """One address of several that is taken is enough not to start."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        addresses = [f"{LOOPBACK}:0", f"{LOOPBACK}:{taken.getsockname()[1]}"]
        done = kms_exporter(
            "run", f"--config.file={good}", *(f"--web.listen-address={address}" for address in addresses)
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert addresses[1] in line


@pytest.mark.parametrize(
    "address", ["[::1%nowhere]:0", f"{'a' * 70}:0", "a..b:0", "[2001:db8::1]:0", "192.0.2.1:0"]
)
def test_address_of_somebody_else(good: Path, address: str) -> None:
    """An address that is not this machine's ends with exit status 2 and one line that says which."""
    done = kms_exporter("run", f"--config.file={good}", f"--web.listen-address={address}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"cannot listen on {address}: " in line


def test_several_listen_addresses(lab: Lab) -> None:
    """Every address that is given is served, IPv6 in brackets, and port 0 is one that was free."""
    need_ipv6()
    more = [f"--web.listen-address={address}" for address in ("[::1]:0", f"{LOOPBACK}:0")]
    running = lab.exporter(QUIET, arguments=more)
    found = running.wait_until(
        lambda: (
            [line["address"] for line in running.log() if line["event"] == "listening"][2:]
            and [line["address"] for line in running.log() if line["event"] == "listening"]
        ),
        "all addresses are listened on",
    )
    listening = [address.rpartition(":") for address in found]
    assert [host for host, _, _ in listening] == [LOOPBACK, "[::1]", LOOPBACK]
    assert len(set(found)) == 3
    for host, _, port in listening:
        answer = http_request((host.strip("[]"), int(port)), "/metrics")
        assert answer.status == http.HTTPStatus.OK
        assert "kms_exporter_build_info{" in answer.text


def test_behind_a_reverse_proxy(lab: Lab) -> None:
    """Pages are below the path of the external URL, and there alone."""
    external_url = "--web.external-url=https://monitoring.contoso.com/kms/"
    running = lab.exporter(QUIET, arguments=[external_url], prefix="/kms")
    assert running.get("/metrics").status == http.HTTPStatus.OK
    assert http_request(running.web, "/metrics").status == http.HTTPStatus.NOT_FOUND

"""Tests of one check: what is left of a configuration by what was asked for, and a look at real servers."""

import asyncio
import contextlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import pytest

from exporter.config import Config, parse
from exporter.model import DnsServer, Host, LookupStatus, ServerGroup
from exporter.once import Form, Request, RequestError, asked_for, check, look
from exporter.reload import file_source
from exporter.report import Status
from tests.services import LOOPBACK, Lab, srv, zone_file

CONFIG = """
interval: 30s
timeout: 4s
dns:
  servers: [192.0.2.53, system]
probe:
  networks: [10.0.0.0/8]
zones:
  - name: contoso.test
  - name: emea.contoso.test
    dns_servers: [192.0.2.10]
    expected: [kms1.contoso.test]
    labels: {site: ams}
  - name: both.test
hosts:
  - kms.contoso.test
  - kms.contoso.test:1689
  - both.test
  - 10.1.2.3
  - "[2001:db8::5]:1690"
clients:
  - name: laptop
    suffixes: [contoso.test]
    dns_servers: [192.0.2.11]
"""
BY_NAME, BY_PORT, BOTH, IPV4, IPV6 = (
    Host(target="kms.contoso.test", port=1688),
    Host(target="kms.contoso.test", port=1689),
    Host(target="both.test", port=1688),
    Host(target="10.1.2.3", port=1688),
    Host(target="2001:db8::5", port=1690),
)
HOSTS = (BY_NAME, BY_PORT, BOTH, IPV4, IPV6)


def config() -> Config:
    """Give a configuration with something of everything."""
    return parse(CONFIG.encode())


def host(text: str, port: int = 1688) -> Host:
    """Build a host."""
    return Host(target=text, port=port)


def servers_of(config: Config, zone: str) -> list[str]:
    """Tell where a zone is looked up."""
    [found] = [each for each in config.zones if each.name == zone]
    return [
        server if isinstance(server, ServerGroup) else server.label for server in config.servers_of(found)
    ]


# --- What was asked for


def test_everything() -> None:
    """Without a NAME, all that is configured is asked for."""
    narrowed, wanted = asked_for(config(), Request())
    assert narrowed == config()
    assert wanted == set(HOSTS)


@pytest.mark.parametrize(
    ("names", "zones", "wanted"),
    [
        (["contoso.test"], ["contoso.test"], []),
        (["Contoso.Test."], ["contoso.test"], []),
        (["emea.contoso.test", "contoso.test"], ["emea.contoso.test", "contoso.test"], []),
        (["contoso.test", "CONTOSO.test", "contoso.test."], ["contoso.test"], []),
        (["fabrikam.test"], ["fabrikam.test"], []),
        (["münchen.test"], ["xn--mnchen-3ya.test"], []),
        (["contoso"], ["contoso"], []),
        # a zone goes before a host, and a host that is configured before a zone that is not
        (["both.test"], ["both.test"], []),
        (["both.test:1688"], [], [BOTH]),
        (["kms.contoso.test"], [], [BY_NAME]),
        (["KMS.contoso.test."], [], [BY_NAME]),
        (["contoso.test:1688"], [], [host("contoso.test")]),
        # hosts
        (["kms.contoso.test:1688"], [], [BY_NAME]),
        (["kms.contoso.test:1689"], [], [BY_PORT]),
        (["kms.contoso.test:1690"], [], [host("kms.contoso.test", 1690)]),
        (["kms.contoso.test", "kms.contoso.test:1688"], [], [BY_NAME]),
        (["10.1.2.3"], [], [IPV4]),
        (["10.1.2.3:1688"], [], [IPV4]),
        (["10.1.2.4"], [], [host("10.1.2.4")]),
        (["[2001:db8::5]:1690"], [], [IPV6]),
        (["2001:DB8:0::5"], [], [host("2001:db8::5")]),
        (["[2001:db8::6]"], [], [host("2001:db8::6")]),
        (["contoso.test", "10.1.2.3"], ["contoso.test"], [IPV4]),
    ],
)
def test_names(names: Sequence[str], zones: Sequence[str], wanted: Sequence[Host]) -> None:
    """A NAME is a zone or a static host, once; the other static hosts stay as witnesses, clients do not."""
    narrowed, hosts = asked_for(config(), Request(names=names))
    assert [zone.name for zone in narrowed.zones] == zones
    assert hosts == set(wanted)
    assert len(narrowed.hosts) == len(set(narrowed.hosts))
    assert set(narrowed.hosts) == {*HOSTS, *wanted}
    assert narrowed.clients == ()


def test_what_is_configured_holds_for_a_name() -> None:
    """A zone that is asked for keeps its DNS servers, what it expects, and all that holds for every zone."""
    narrowed, _ = asked_for(config(), Request(names=["emea.contoso.test"]))
    assert narrowed.zones == (config().zones[1],)
    for key in ("dns", "probe", "interval", "timeout", "limits"):
        assert getattr(narrowed, key) == getattr(config(), key)


def test_what_is_not_configured_has_defaults() -> None:
    """A zone that is not in the configuration is looked up at the usual servers, and expects nothing."""
    narrowed, _ = asked_for(config(), Request(names=["fabrikam.test"]))
    assert servers_of(narrowed, "fabrikam.test") == ["192.0.2.53", "system"]
    assert narrowed.zones[0].expected is None


def test_without_configuration() -> None:
    """Without a configuration, only what was asked for is there, at the servers of this machine."""
    narrowed, hosts = asked_for(Config(), Request(names=["contoso.test", "10.1.2.3"]))
    assert servers_of(narrowed, "contoso.test") == ["system"]
    assert narrowed.hosts == (IPV4,)
    assert hosts == {IPV4}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["192.0.2.1"], ["192.0.2.1"]),
        (["192.0.2.1:5353", "[2001:db8::53]:5353"], ["192.0.2.1:5353", "[2001:db8::53]:5353"]),
        (["192.0.2.2", "192.0.2.1", "192.0.2.2:53"], ["192.0.2.2", "192.0.2.1"]),
        (["system"], ["system"]),
        (["authoritative", "192.0.2.1"], ["authoritative", "192.0.2.1"]),
    ],
)
@pytest.mark.parametrize("names", [[], ["contoso.test", "emea.contoso.test"]])
def test_dns_servers(names: Sequence[str], given: Sequence[str], expected: Sequence[str]) -> None:
    """DNS servers that are given stand in for those of every zone, host and client, each once."""
    narrowed, _ = asked_for(config(), Request(names=names, dns_servers=given))
    assert servers_of(narrowed, "contoso.test") == expected
    assert servers_of(narrowed, "emea.contoso.test") == expected
    assert len(narrowed.dns.servers) == len(expected)
    assert [narrowed.servers_of(client) for client in narrowed.clients] == (
        [] if names else [narrowed.dns.servers]
    )
    assert narrowed.dns.attempts == config().dns.attempts
    assert (narrowed.zones[1].expected, narrowed.zones[1].labels) == (
        config().zones[1].expected,
        config().zones[1].labels,
    )


def test_dns_server_as_a_value() -> None:
    """A DNS server that is given is read as in the configuration."""
    narrowed, _ = asked_for(Config(), Request(names=["contoso.test"], dns_servers=["192.0.2.1:5353"]))
    assert narrowed.dns.servers == (DnsServer(address="192.0.2.1", port=5353),)


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 4), ("1ms", 0.001), ("250ms", 0.25), ("2s", 2), ("29s999ms", 29.999)]
)
def test_timeout(given: str | None, seconds: float) -> None:
    """A timeout that is given stands in for the one of the configuration."""
    narrowed, _ = asked_for(config(), Request(timeout=given))
    assert narrowed.timeout == seconds
    assert narrowed.interval == config().interval


def test_the_configuration_itself_stays() -> None:
    """Narrowing makes a new configuration."""
    before = config()
    asked_for(before, Request(names=["10.9.9.9"], dns_servers=["192.0.2.1"], timeout="1s"))
    assert before == config()


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (Request(names=[""]), "NAME ''"),
        (Request(names=["contoso.test", "a..b"]), "NAME 'a..b'"),
        (Request(names=["-contoso.test"]), "NAME '-contoso.test'"),
        (Request(names=["con toso.test"]), "NAME 'con toso.test'"),
        (Request(names=["x" * 64]), "NAME 'xxx"),
        (Request(names=["contoso.test:0"]), "NAME 'contoso.test:0'"),
        (Request(names=["contoso.test:65536"]), "NAME 'contoso.test:65536'"),
        (Request(names=["contoso.test:kms"]), "NAME 'contoso.test:kms'"),
        (Request(names=["https://contoso.test"]), "NAME 'https://contoso.test'"),
        (Request(names=["[2001:db8::5"]), "NAME '[2001:db8::5'"),
        (Request(names=["0.0.0.0"]), "NAME '0.0.0.0'"),
        (Request(names=["10.1.2.300"]), "NAME '10.1.2.300': ends in a number"),
        (Request(names=["10.1.2"]), "NAME '10.1.2': ends in a number"),
        (Request(names=["10.1.2.300:1688"]), "NAME '10.1.2.300:1688': '10.1.2.300' is not an IP address"),
        (Request(names=["224.0.0.1:1688"]), "NAME '224.0.0.1:1688'"),
        (Request(dns_servers=["ns1.contoso.test"]), "--dns.server 'ns1.contoso.test'"),
        (Request(dns_servers=["192.0.2.1", ""]), "--dns.server ''"),
        (Request(dns_servers=["192.0.2.1:0"]), "--dns.server '192.0.2.1:0'"),
        (Request(dns_servers=["System"]), "--dns.server 'System'"),
        (Request(timeout="soon"), "--timeout 'soon'"),
        (Request(timeout=""), "--timeout ''"),
        (Request(timeout="5"), "--timeout '5'"),
        (Request(timeout="-1s"), "--timeout '-1s'"),
        (Request(timeout="0s"), "--timeout '0s'"),
        (Request(timeout="30s"), "--timeout '30s'"),
        (Request(timeout="1h"), "--timeout '1h'"),
    ],
)
def test_what_cannot_be_done(request_: Request, complaint: str) -> None:
    """What makes no sense is told in a line that quotes it."""
    with pytest.raises(RequestError) as refused:
        asked_for(config(), request_)
    assert str(refused.value).startswith(complaint)
    assert len(str(refused.value).splitlines()) == 1


# --- A look


def lab_config(lab: Lab) -> str:
    """Start a DNS server and a host, and write a configuration with something of everything."""
    listener, closed = lab.listener(), lab.closed_port()
    zones = {
        "contoso.test": zone_file(srv("kms1", listener.port), srv("kms2", closed.port), "kms1 A 127.0.0.1"),
        "branch.test": zone_file(srv("kms1.contoso.test.", listener.port)),
    }
    return f"""
interval: 30s
timeout: 20s
dns: {{servers: ["{lab.named(zones).server}"]}}
probe: {{networks: [127.0.0.0/8]}}
zones:
  - name: contoso.test
  - name: empty.contoso.test
hosts: ["{LOOPBACK}:{closed.port}", "kms1.contoso.test:{listener.port}"]
clients:
  - name: laptop
    suffixes: [contoso.test, branch.test]
"""


def test_look(lab: Lab) -> None:
    """A look has a result of everything that is configured, and tells how far it has got."""
    told: list[tuple[int, int]] = []
    snapshot = asyncio.run(
        look(parse(lab_config(lab).encode()), lambda done, total: told.append((done, total)))
    )
    assert told == [(done, 5) for done in range(1, 6)]
    statuses = [server.lookup.status for zone in snapshot.zones for server in zone.servers if server.lookup]
    assert statuses == [LookupStatus.OK, LookupStatus.NXDOMAIN]
    assert all(zone.last_check for zone in snapshot.zones)
    assert all(static.last_check for static in snapshot.static_hosts)
    assert [suffix.zone for client in snapshot.clients for suffix in client.suffixes] == [
        "contoso.test",
        "branch.test",
    ]
    assert sorted((view.endpoint.target, view.last.up) for view in snapshot.endpoints) == [
        (LOOPBACK, False),
        ("kms1.contoso.test", True),
    ]


def test_look_at_nothing() -> None:
    """There is an end to looking also where there is nothing to look at."""
    snapshot = asyncio.run(look(Config(), lambda _done, _total: pytest.fail("nothing was checked")))
    assert (snapshot.zones, snapshot.static_hosts, snapshot.clients) == ((), (), ())


def test_bug_while_looking(lab: Lab) -> None:
    """A bug ends the look: it travels, and is not taken for something that was seen."""

    def progress(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(look(parse(lab_config(lab).encode()), progress))
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("form", list(Form))
def test_check_into_a_stream(lab: Lab, tmp_path: Path, form: Form) -> None:
    """A check can print to any stream, and gives its status."""
    path = tmp_path / "config.yml"
    path.write_text(lab_config(lab))
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        status = check(file_source(path), Request(names=["contoso.test"], form=form))
    assert status is Status.DEGRADED
    assert complained.getvalue() == ""
    match form:
        case Form.TEXT:
            assert "Verdict: degraded" in printed.getvalue()
        case Form.JSON:
            assert json.loads(printed.getvalue())["status"] == "degraded"
        case Form.NAGIOS:
            assert printed.getvalue().startswith("KMS WARNING - contoso.test degraded at ")


# --- A report that nobody gets


@pytest.mark.parametrize("form", list(Form))
def test_reader_that_has_gone(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Form
) -> None:
    """A report for a reader that has gone keeps the status of what was found."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        assert check_into(pipe, lab, tmp_path, form) is Status.FAILED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", list(Form))
def test_full_disk(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Form) -> None:
    """A report that cannot be written is unknown to whoever wanted it, and the reason is told."""
    with Path("/dev/full").open("w") as full:
        assert check_into(full, lab, tmp_path, form) is Status.UNKNOWN
    [line] = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("form", list(Form))
def test_closed_output(
    lab: Lab,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    form: Form,
) -> None:
    """A report for which there is no standard output is unknown to whoever wanted it, and that is told."""
    path = tmp_path / "config.yml"
    path.write_text(down(lab))
    monkeypatch.setattr("sys.stdout", None)
    assert check(file_source(path), Request(form=form)) is Status.UNKNOWN
    assert capsys.readouterr().err == "cannot print: standard output is closed\n"


@pytest.mark.parametrize("form", list(Form))
def test_closed_error_output(
    lab: Lab,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    form: Form,
) -> None:
    """A report needs no standard error, and a complaint that nobody can see has its status."""
    path = tmp_path / "config.yml"
    path.write_text(down(lab))
    monkeypatch.setattr("sys.stderr", None)
    assert check(file_source(path), Request(form=form)) is Status.FAILED
    assert "port_closed" in capsys.readouterr().out
    assert check(file_source(path), Request(names=["a..b"], form=form)) is Status.UNKNOWN


def check_into(stream: TextIO, lab: Lab, directory: Path, form: Form) -> Status:
    """Check a host that is down, with this stream as standard output."""
    path = directory / "config.yml"
    path.write_text(down(lab))
    with contextlib.redirect_stdout(stream):
        return check(file_source(path), Request(form=form))


def down(lab: Lab) -> str:
    """Write a configuration with a host that is down."""
    return f"hosts: ['{LOOPBACK}:{lab.closed_port().port}']\nprobe: {{networks: [127.0.0.0/8]}}\n"


@pytest.mark.parametrize("gone", [True, False])
def test_complaint_that_nobody_gets(capsys: pytest.CaptureFixture[str], *, gone: bool) -> None:
    """A complaint for Nagios that cannot be written is status unknown all the same, without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "w") as pipe,
        Path("/dev/full").open("w") as full,
        contextlib.redirect_stdout(pipe if gone else full),
    ):
        assert check(None, Request(names=["a..b"], form=Form.NAGIOS)) is Status.UNKNOWN
    complaint = capsys.readouterr().err
    assert complaint == ("" if gone else "cannot print: No space left on device\n")


def test_complaint_in_ascii(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A complaint quotes what was typed also where it cannot be shown as it was."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as stream, contextlib.redirect_stdout(stream):
        assert check(None, Request(names=["münchen..test"], form=Form.NAGIOS)) is Status.UNKNOWN
        assert raw.getvalue() == rb"KMS UNKNOWN - NAME 'm\xfcnchen..test': has an empty label" + b"\n"
    assert capsysbinary.readouterr() == (b"", b"")


@pytest.mark.parametrize("form", list(Form))
def test_what_cannot_be_done_is_told(capsys: pytest.CaptureFixture[str], form: Form) -> None:
    """What makes no sense is told where the reader of that form looks."""
    assert check(None, Request(names=["a..b"], form=form)) is Status.UNKNOWN
    told = capsys.readouterr()
    (line, nothing) = (told.out, told.err) if form is Form.NAGIOS else (told.err, told.out)
    assert nothing == ""
    assert line.startswith("KMS UNKNOWN - " if form is Form.NAGIOS else "NAME 'a..b'")
    assert "NAME 'a..b'" in line


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        (None, ["cannot be read: No such file"]),
        ("hosts: [a..b]\nzone: x\n", ["line 1: hosts[0]: ", "line 2: zone: "]),
    ],
)
def test_unusable_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, complaints: list[str]
) -> None:
    """Each problem of a configuration is a line that names the file."""
    path = tmp_path / "config.yml"
    if text is not None:
        path.write_text(text)
    assert check(file_source(path), Request()) is Status.UNKNOWN
    lines = capsys.readouterr().err.splitlines()
    assert [line for line, said in zip(lines, complaints, strict=True) if f"{path}: {said}" not in line] == []

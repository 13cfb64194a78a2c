"""The real program as a process: arguments, exit statuses, reload, readiness, stop, HTTP and log."""

import contextlib
import gzip
import http
import platform
import signal
import socket
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import exporter as package
from tests.services import (
    LOOPBACK,
    Exporter,
    Lab,
    Samples,
    config,
    http_request,
    kms_exporter,
    parse_metrics,
    srv,
    wait_until,
    zone,
    zone_file,
)

GOOD = "zones: [{name: contoso.test}]\n"
BAD = """\
interval: soon
no_such_key: 1
zones:
  - name: contoso.test
  - name: contoso.test
"""
HANGING = 200
QUIET = config(hosts=[f"{LOOPBACK}:1"])
"""A configuration that asks nobody outside of this machine."""


def write(directory: Path, text: str) -> str:
    """Write a configuration file."""
    path = directory / "kms-exporter.yml"
    path.write_text(text)
    return str(path)


# --- Arguments and exit statuses


def test_version() -> None:
    """`--version` tells the version and the Python it runs on."""
    done = kms_exporter("--version")
    assert done.returncode == 0
    assert package.__version__ in done.stdout
    assert platform.python_version() in done.stdout


@pytest.mark.parametrize("command", [[], ["run"], ["check-config"], ["demo"]])
def test_help(command: list[str]) -> None:
    """`-h` is there on every sub-command."""
    done = kms_exporter(*command, "-h")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: kms-exporter")


@pytest.mark.parametrize("arguments", [["check-config", "{}"], ["run", "--config.check", "--config.file={}"]])
def test_check_of_good_config(tmp_path: Path, arguments: list[str]) -> None:
    """A valid configuration gives exit status 0."""
    done = kms_exporter(*(argument.format(write(tmp_path, GOOD)) for argument in arguments))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["check-config", "{}"], 1),
        (["run", "--config.check", "--config.file={}"], 1),
        (["run", "--web.listen-address=127.0.0.1:0", "--config.file={}"], 2),
    ],
    ids=["check-config", "run --config.check", "run"],
)
def test_bad_config(tmp_path: Path, arguments: list[str], status: int) -> None:
    """Every problem of a configuration is on a line of its own, with line and key path."""
    done = kms_exporter(*(argument.format(write(tmp_path, BAD)) for argument in arguments))
    assert done.returncode == status
    for line, key in [(1, "interval"), (2, "no_such_key"), (5, "zones[1]")]:
        wanted = [text for text in done.stderr.splitlines() if f"line {line}" in text and key in text]
        assert len(wanted) == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["[]", "text", "1", ""])
def test_config_that_is_no_mapping(tmp_path: Path, content: str) -> None:
    """An empty file, a list, a text or a number is no configuration, and that is said in one line."""
    done = kms_exporter("check-config", write(tmp_path, content))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("kind", ["missing", "directory", "not YAML", "not UTF-8"])
def test_unreadable_config(tmp_path: Path, kind: str) -> None:
    """A configuration that cannot be read ends `run` with one line and exit status 2."""
    path = tmp_path / "kms-exporter.yml"
    if kind == "directory":
        path.mkdir()
    elif kind == "not YAML":
        path.write_text("zones: [\n")
    elif kind == "not UTF-8":
        path.write_bytes(b"zones: [\xff]\n")
    done = kms_exporter("run", f"--config.file={path}", "--web.listen-address=127.0.0.1:0")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(path) in done.stderr
    assert kms_exporter("check-config", str(path)).returncode == 1


@pytest.mark.parametrize("kind", ["taken", "not ours", "no port"])
def test_unusable_listen_address(tmp_path: Path, kind: str) -> None:
    """An address that cannot be listened on ends `run` with one line and exit status 2."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        addresses = {
            "taken": f"{LOOPBACK}:{taken.getsockname()[1]}",
            "not ours": "192.0.2.1:11688",  # TEST-NET-1, RFC 5737
            "no port": LOOPBACK,
        }
        flags = [f"--config.file={write(tmp_path, GOOD)}", f"--web.listen-address={addresses[kind]}"]
        done = kms_exporter("run", *flags)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert addresses[kind] in done.stderr
    assert len(done.stderr.splitlines()) == 1 or done.stderr.startswith("usage: "), done.stderr


def test_two_listen_addresses(lab: Lab) -> None:
    """The exporter listens on every address that is given."""
    exporter = lab.exporter(QUIET, arguments=[f"--web.listen-address={LOOPBACK}:0"])
    listening = exporter.wait_until(
        lambda: [entry for entry in exporter.log() if entry["event"] == "listening"][1:] or None,
        "the second address is listened on",
    )
    host, _, port = listening[0]["address"].rpartition(":")
    assert int(port) != exporter.web[1]
    assert http_request((host, int(port)), "/-/healthy").status == http.HTTPStatus.OK


# --- Reload


def _signal(exporter: Exporter) -> None:
    exporter.send_signal(signal.SIGHUP)


def _post(exporter: Exporter) -> None:
    answer = exporter.post("/-/reload")
    assert answer.status == http.HTTPStatus.OK, answer.text


def _leave_it_to_the_poll(exporter: Exporter) -> None:
    assert exporter.running


RELOADS = pytest.mark.parametrize(
    "reload", [_signal, _post, _leave_it_to_the_poll], ids=["SIGHUP", "POST", "file"]
)


@RELOADS
def test_reload(lab: Lab, reload: Callable[[Exporter], None]) -> None:
    """What is new appears, what left is gone at once, and what stayed keeps its counters."""
    names = ["stays.test", "leaves.test", "appears.test"]
    listener = lab.listener()
    records = zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))
    server = lab.named(dict.fromkeys(names, records)).server
    stays, leaves, appears = (zone(name, server) for name in names)
    static = f"127.0.0.1:{lab.closed_port().port}"
    exporter = lab.exporter(config(stays, leaves, hosts=[static]))
    before = exporter.wait_for_growth("kms_srv_lookups_total", 3, dns_zone="stays.test")
    assert before.value("kms_zone_hosts_up", dns_zone="leaves.test") == 1
    assert before.value("kms_host_up", target="127.0.0.1") == 0
    assert before.value("kms_exporter_config_last_reload_successful") == 1

    exporter.write_config(config(stays, {**appears, "labels": {"team": "workplace"}}))
    reload(exporter)

    seen = exporter.wait_for_value(1, "kms_zone_info", dns_zone="appears.test")
    gone = [s for s in seen.samples if s.labels.get("dns_zone") == "leaves.test"]
    assert gone == []
    assert [s for s in seen.samples if s.labels.get("target") in {"127.0.0.1", "kms1.leaves.test"}] == []
    for name, labels in [
        ("kms_srv_lookups_total", {"dns_zone": "stays.test"}),
        ("kms_endpoint_probes_total", {"target": "kms1.stays.test"}),
    ]:
        assert (seen.value(name, **labels) or 0) >= (before.value(name, **labels) or 0)
    assert seen.value("kms_zone_hosts_up", dns_zone="stays.test") == 1
    assert seen.value("kms_zone_info", dns_zone="appears.test", team="workplace") == 1
    exporter.wait_for_value(1, "kms_zone_hosts_up", dns_zone="appears.test")


@RELOADS
def test_refused_reload(lab: Lab, reload: Callable[[Exporter], None]) -> None:
    """A bad file is refused whole and visibly, and the old zones go on."""
    server = lab.silent_dns_server().server
    exporter = lab.exporter(config(zone("contoso.test", server)))
    before = exporter.wait_for_value(1, "kms_exporter_config_last_reload_successful")
    timestamp = before.value("kms_exporter_config_last_reload_success_timestamp_seconds")
    assert (timestamp or 0) > 0

    bad = config(zone("contoso.test", server), zone("new.test", server), interval="soon", no_such_key=1)
    exporter.write_config(bad)
    if reload is _post:
        answer = exporter.post("/-/reload")
        assert answer.status == http.HTTPStatus.INTERNAL_SERVER_ERROR
        assert "interval" in answer.text
        assert "no_such_key" in answer.text
    else:
        reload(exporter)

    exporter.wait_for_value(0, "kms_exporter_config_last_reload_successful")
    seen = exporter.wait_for_growth("kms_srv_lookups_total", 2, dns_zone="contoso.test")
    assert seen.labels("kms_zone_info", "dns_zone") == {"contoso.test"}
    assert seen.value("kms_exporter_config_last_reload_success_timestamp_seconds") == timestamp
    assert [entry for entry in exporter.log() if "no_such_key" in str(entry)]

    exporter.write_config(config(zone("contoso.test", server), zone("new.test", server)))
    reload(exporter)
    seen = exporter.wait_for_value(1, "kms_exporter_config_last_reload_successful")
    assert seen.labels("kms_zone_info", "dns_zone") == {"contoso.test", "new.test"}
    assert (seen.value("kms_exporter_config_last_reload_success_timestamp_seconds") or 0) > (timestamp or 0)


# --- HTTP


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["TLS", "version", "long"],
)
def test_malformed_request(lab: Lab, request_bytes: bytes) -> None:
    """A request that is none is refused without a word in the log; others are served as before."""
    exporter = lab.exporter(QUIET)
    wait_until(lambda: any(e["event"] == "endpoint down" for e in exporter.log()) or None, "it has checked")
    lines = len(exporter.log())
    with socket.create_connection(exporter.web) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request_bytes)
        connection.recv(1)
    assert exporter.get("/-/healthy").status == http.HTTPStatus.OK
    assert len(exporter.log()) == lines


def test_readiness(lab: Lab) -> None:
    """The exporter is healthy at once, but ready only when every zone has been checked."""
    listener = lab.listener()
    zones = {"quick.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))}
    quick = zone("quick.test", lab.named(zones).server)
    slow = zone("slow.test", lab.silent_dns_server().server)
    exporter = lab.exporter(config(quick, slow, interval="60s", timeout="4s"))

    assert exporter.get("/-/healthy").status == http.HTTPStatus.OK
    assert exporter.get("/-/ready").status == http.HTTPStatus.SERVICE_UNAVAILABLE
    seen = exporter.wait_for_value(1, "kms_zone_hosts_up", dns_zone="quick.test")
    assert seen.status("slow.test") is None, "one slow zone delays no other"
    wait_until(lambda: exporter.get("/-/ready").status == http.HTTPStatus.OK or None, "it is ready")
    assert exporter.metrics().status("slow.test") == "timeout"


def test_before_the_first_result(lab: Lab) -> None:
    """Counters start at 0; what would be a claim is absent until there is something to claim."""
    server = lab.silent_dns_server().server
    exporter = lab.exporter(config(zone("contoso.test", server), interval="60s", timeout="10s"))

    seen = exporter.metrics()
    at = {"dns_zone": "contoso.test", "dns_server": server}
    assert seen.value("kms_zone_info", dns_zone="contoso.test") == 1
    assert seen.value("kms_srv_lookups_total", **at) == 0
    assert seen.value("kms_srv_lookup_failures_total", **at) == 0
    assert seen.value("kms_srv_lookup_duration_seconds_count", dns_server=server) == 0
    assert seen.value("kms_exporter_checks_overrun_total") == 0
    assert seen.value("kms_exporter_internal_errors_total") == 0
    for name in (
        "kms_srv_lookup_status",
        "kms_srv_lookup_seconds",
        "kms_srv_records",
        "kms_zone_hosts",
        "kms_dns_answer_authoritative",
        "kms_exporter_last_check_timestamp_seconds",
        "kms_exporter_check_duration_seconds",
    ):
        assert seen.series(name) == [], name


def test_reload_is_no_get(lab: Lab) -> None:
    """A reload has to be posted; a link must not do it."""
    exporter = lab.exporter(QUIET)
    answer = exporter.get("/-/reload")
    assert answer.status == http.HTTPStatus.METHOD_NOT_ALLOWED
    assert answer.headers["Allow"] == "POST"
    assert exporter.get("/no-such-page").status == http.HTTPStatus.NOT_FOUND


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.extend(value or "" for name, value in attributes if tag == "a" and name == "href")


def test_landing_page(lab: Lab) -> None:
    """The first page is HTML, and each of its links to this server works."""
    exporter = lab.exporter(QUIET)
    wait_until(lambda: exporter.get("/-/ready").status == http.HTTPStatus.OK or None, "it is ready")
    page = exporter.get("/")
    assert page.status == http.HTTPStatus.OK
    assert page.headers.get_content_type() == "text/html"
    links = _Links()
    links.feed(page.text)
    ours = [link for link in links.found if not link.startswith(("http:", "https:"))]
    assert "/metrics" in {f"/{link.removeprefix('/')}" for link in ours}
    for link in ours:
        assert exporter.get(f"/{link.removeprefix('/')}").status == http.HTTPStatus.OK, link


def test_plain_metrics(lab: Lab) -> None:
    """Without a wish, /metrics is the Prometheus text format."""
    answer = lab.exporter(QUIET).get("/metrics")
    assert answer.headers.get_content_type() == "text/plain"
    assert "Content-Encoding" not in answer.headers
    seen = parse_metrics(answer.text)
    version = {"version": package.__version__, "python": platform.python_version()}
    assert seen.value("kms_exporter_build_info", **version) == 1
    assert (seen.value("process_cpu_seconds_total") or 0) > 0
    assert seen.series("python_info")


def test_compressed_metrics(lab: Lab) -> None:
    """/metrics is compressed for a client that says it can read that."""
    answer = lab.exporter(QUIET).get("/metrics", accept_encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(answer.body).decode()
    assert parse_metrics(text).series("kms_exporter_build_info")


def test_openmetrics(lab: Lab) -> None:
    """/metrics is valid OpenMetrics for a client that prefers it."""
    listener = lab.listener()
    zones = {"contoso.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))}
    exporter = lab.exporter(config(zone("contoso.test", lab.named(zones).server)))
    exporter.wait_for_value(1, "kms_zone_hosts_up")

    answer = exporter.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers.get_content_type() == "application/openmetrics-text"
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}  # type: ignore[no-untyped-call]
    assert families["kms_endpoint_probes"].type == "counter"
    assert families["kms_srv_lookup_duration_seconds"].type == "histogram"
    assert families["kms_zone_hosts_up"].samples[0].value == 1


# --- Stop


def connecting(port: int) -> int:
    """Count the connections of this machine to a port whose SYN was not answered yet, as proc(5) has them."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_with_hanging_probes(lab: Lab, number: signal.Signals) -> None:
    """The exporter stops at once and with exit status 0, also with many probes in flight."""
    filtered = lab.filtered_port("0.0.0.0")
    hosts = [f"127.0.1.{last}:{filtered.port}" for last in range(1, HANGING + 1)]
    exporter = lab.exporter(config(hosts=hosts, interval="60s", timeout="30s"))
    wait_until(lambda: connecting(filtered.port) >= HANGING or None, f"{HANGING} probes hang")

    started = time.monotonic()
    assert exporter.stop(number) == 0
    assert time.monotonic() - started < 30, "it waited for the probes"
    assert "Traceback" not in "\n".join(exporter.lines)
    assert exporter.log()


def test_stop_with_a_hanging_lookup(lab: Lab) -> None:
    """The exporter stops at once while DNS queries are unanswered, and clients neither send on nor read."""
    zones = [zone(f"zone{number}.test", lab.silent_dns_server().server) for number in range(20)]
    exporter = lab.exporter(config(*zones, interval="60s", timeout="30s"))
    with socket.create_connection(exporter.web) as half, socket.socket() as deaf:
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(exporter.web)
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: kms\r\n\r\n" * 100)
        assert deaf.recv(1, socket.MSG_PEEK)
        started = time.monotonic()
        assert exporter.stop() == 0
        assert time.monotonic() - started < 5


# --- Log


def test_log_of_changes(lab: Lab) -> None:
    """The log has a line for each change of state, and none for a probe that finds nothing new."""
    listener = lab.listener()
    named = lab.named({"contoso.test": zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port))})
    exporter = lab.exporter(config(zone("contoso.test", named.server)))
    probes = {"name": "kms_endpoint_probes_total", "target": "kms1.contoso.test"}
    exporter.wait_for_value(1, "kms_zone_hosts_up")
    exporter.wait_for_growth(probes["name"], 1, target=probes["target"])

    def lines_of_probes() -> list[dict[str, object]]:
        """Let three probes pass without news, and return the log."""
        exporter.wait_for_growth(probes["name"], 2, target=probes["target"])
        before = exporter.log()
        exporter.wait_for_growth(probes["name"], 3, target=probes["target"])
        after = exporter.log()
        assert after == before
        return after

    first = lines_of_probes()
    listener.close()
    exporter.wait_for_value(0, "kms_endpoint_up")
    second = lines_of_probes()
    news = second[len(first) :]
    assert [entry for entry in news if "kms1.contoso.test" in str(entry)]
    assert [entry for entry in news if "connection_refused" in str(entry)]
    assert len(news) <= 2, news  # the endpoint, and its host with it

    assert named.stop() == 0
    exporter.wait_for(lambda seen: seen.status("contoso.test") in {"timeout", "unreachable"})
    third = lines_of_probes()
    news = third[len(second) :]
    assert [entry for entry in news if "contoso.test" in str(entry) and named.server in str(entry)]


def test_logfmt(tmp_path: Path) -> None:
    """The log is logfmt unless JSON is asked for."""
    done = kms_exporter("run", "--web.listen-address=192.0.2.1:1", f"--config.file={write(tmp_path, GOOD)}")
    assert "192.0.2.1:1" in done.stderr
    assert not done.stderr.lstrip().startswith("{")


# --- The demo


def outcomes(seen: Samples) -> set[str]:
    """Collect every status of a lookup, reason of a failure, and the fact that something works."""
    statuses = {
        sample.labels["status"] for sample in seen.series("kms_srv_lookup_status") if sample.value == 1
    }
    reasons = seen.labels("kms_endpoint_failure", "reason")
    return statuses | reasons


def test_demo(lab: Lab) -> None:
    """`demo` shows every situation, without any configuration."""
    exporter = lab.exporter(None, command="demo")

    situations = {"ok", "nxdomain", "nodata", "servfail", "timeout", "connection_refused"}
    seen = exporter.wait_for(lambda seen: situations <= outcomes(seen), f"{situations} are seen")
    exporter.wait_for(lambda seen: seen.series("kms_endpoint_failure", reason="timeout"), "one is filtered")
    seen = exporter.wait_for(lambda seen: seen.series("kms_host_lookup_failure"), "one target is stale")
    up: dict[tuple[str, str], set[float]] = {}
    for sample in seen.series("kms_endpoint_up"):
        up.setdefault((sample.labels["target"], sample.labels["port"]), set()).add(sample.value)
    assert {0.0, 1.0} in up.values(), "a host with a good and a dead address"
    zones_by_target: dict[str, set[str]] = {}
    for sample in seen.series("kms_srv_record_info"):
        zones_by_target.setdefault(sample.labels["target"], set()).add(sample.labels["dns_zone"])
    assert max(len(zones) for zones in zones_by_target.values()) > 1, "a host in several zones"
    wait_until(lambda: exporter.get("/-/ready").status == http.HTTPStatus.OK or None, "it is ready")


def test_demo_takes_no_configuration(tmp_path: Path) -> None:
    """`demo` has its own configuration and refuses another."""
    done = kms_exporter("demo", f"--config.file={write(tmp_path, GOOD)}")
    assert done.returncode == 2

"""What runs the whole picture: the operator's manifests, the compose file, the stack, the receiver."""

import contextlib
import http
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.kubernetes import generate
from deploy.stack import receiver
from deploy.stack.__main__ import DASHBOARDS
from deploy.stack.parts import ALERTMANAGER_CONFIG, LOOPBACK, PROMETHEUS_CONFIG, ROOT, Part, parts
from exporter.cli.arguments import DEFAULT_LISTEN_ADDRESS
from tests.services import (
    DEADLINE_SECONDS,
    RULES,
    Lab,
    Process,
    config,
    free_port,
    http_request,
    need,
    wait_until,
    which,
)

COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"
GRAFANA_PORT = 3000


def read(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text())


def addresses_in_configs() -> dict[str, set[int]]:
    """Tell which ports of localhost Prometheus and Alertmanager are told to talk to, by what is there."""
    prometheus, alertmanager = read(PROMETHEUS_CONFIG), read(ALERTMANAGER_CONFIG)
    found = {
        "exporter": [target for job in prometheus["scrape_configs"] for target in targets(job)],
        "alertmanager": [
            target for entry in prometheus["alerting"]["alertmanagers"] for target in targets(entry)
        ],
        "receiver": [
            urlsplit(hook["url"]).netloc
            for entry in alertmanager["receivers"]
            for hook in entry["webhook_configs"]
        ],
    }
    named = {what: {tuple(address.split(":")) for address in those} for what, those in found.items()}
    assert {host for those in named.values() for host, _ in those} == {"localhost"}
    return {what: {int(port) for _, port in those} for what, those in named.items()}


def targets(entry: Mapping[str, Any]) -> list[str]:
    """List the static targets of a part of Prometheus' configuration."""
    return [target for group in entry["static_configs"] for target in group["targets"]]


# --- Manifests for the Prometheus operator


@pytest.mark.parametrize("name", ["prometheus-rule.yaml", "service-monitor.yaml"])
def test_manifest_is_current(name: str, tmp_path: Path) -> None:
    """A manifest is what `make manifests` writes, to the byte."""
    subprocess.run([sys.executable, generate.__file__, str(tmp_path)], cwd=tmp_path, check=True)
    assert (generate.OPERATOR / name).read_bytes() == (tmp_path / name).read_bytes()


def test_prometheus_rule_has_the_rules() -> None:
    """The PrometheusRule has the groups of the rule file, and nothing else."""
    manifest = read(generate.OPERATOR / "prometheus-rule.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert manifest["spec"] == read(RULES)
    assert manifest["spec"]["groups"]


def test_prometheus_rule_fits_the_resource() -> None:
    """Groups and rules have the fields that the operator's PrometheusRule knows, each a text."""
    groups = read(generate.OPERATOR / "prometheus-rule.yaml")["spec"]["groups"]
    assert {key for group in groups for key in group} <= {"name", "interval", "limit", "rules"}
    assert len({group["name"] for group in groups}) == len(groups)
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule.keys() <= {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
        texts = [value for key, value in rule.items() if key not in {"labels", "annotations"}]
        texts += [*rule.get("labels", {}).values(), *rule.get("annotations", {}).values()]
        assert all(isinstance(text, str) and text for text in texts), rule


def test_prometheus_rule_is_accepted(tmp_path: Path) -> None:
    """Prometheus' own checker takes the rules of the manifest."""
    need("promtool")
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(read(generate.OPERATOR / "prometheus-rule.yaml")["spec"]))
    subprocess.run([which("promtool") or "", "check", "rules", str(rules)], check=True)


def test_service_monitor_scrapes_as_prometheus_does() -> None:
    """The ServiceMonitor gives the targets the job and the interval that prometheus.yml gives them."""
    manifest, config = read(generate.OPERATOR / "service-monitor.yaml"), read(PROMETHEUS_CONFIG)
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    spec = manifest["spec"]
    assert spec["selector"] == {"matchLabels": {"app.kubernetes.io/name": "kms-exporter"}}
    [job], [endpoint] = config["scrape_configs"], spec["endpoints"]
    assert endpoint == {
        "port": "http",
        "interval": config["global"]["scrape_interval"],
        "relabelings": [{"targetLabel": "job", "replacement": job["job_name"]}],
    }


def test_service_monitor_carries_settings_over() -> None:
    """Settings of the job go before those for all jobs, under the names that the operator has for them."""
    config = {
        "global": {"scrape_interval": "1m", "scrape_timeout": "9s"},
        "scrape_configs": [
            {"job_name": "kms", "scrape_interval": "30s", "metrics_path": "/kms/metrics", "scheme": "https"}
        ],
    }
    [endpoint] = yaml.safe_load(generate.service_monitor(yaml.safe_dump(config)))["spec"]["endpoints"]
    del endpoint["relabelings"]
    expected = {"port": "http", "path": "/kms/metrics", "scheme": "https"}
    assert endpoint == expected | {"interval": "30s", "scrapeTimeout": "9s"}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"job_name": "other"}, "prometheus.yml has no job kms"),
        (
            {"job_name": "kms", "basic_auth": {}, "params": {}},
            "basic_auth, params of job kms in prometheus.yml would get lost",
        ),
    ],
)
def test_service_monitor_loses_nothing(config: dict[str, Any], problem: str) -> None:
    """What a ServiceMonitor would not say is refused, not left out."""
    with pytest.raises(generate.UnsupportedError, match=f"^{re.escape(problem)}$"):
        generate.service_monitor(yaml.safe_dump({"scrape_configs": [config]}))


@pytest.mark.parametrize("rules", ["# none\nrules: []\n", "# two\ngroups:\n  - name: a\nmore: 1\n"])
def test_prometheus_rule_of_something_else(rules: str) -> None:
    """A file that is not a list of groups alone is refused."""
    with pytest.raises(generate.UnsupportedError, match="is not a list of groups and nothing else"):
        generate.prometheus_rule(rules)


# --- The compose file


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Read the services of the compose file."""
    found: dict[str, Any] = read(COMPOSE)["services"]
    assert set(found) == {"exporter", "prometheus", "alertmanager", "receiver", "grafana"}
    return found


def mounts(service: Mapping[str, Any]) -> dict[str, tuple[Path, str]]:
    """List what is mounted from the checkout: path in the container, path here, and mode."""
    split = [volume.split(":") for volume in service.get("volumes", ()) if volume.startswith(".")]
    return {target: ((COMPOSE.parent / source).resolve(), *mode) for source, target, *mode in split}


def on_this_side(service: Mapping[str, Any], path: str) -> Path:
    """Find the file here that a container sees at a path."""
    [(target, source)] = [
        (target, source)
        for target, (source, _) in mounts(service).items()
        if path == target or path.startswith(f"{target}/")
    ]
    return source / path[len(target) :].lstrip("/")


def flag(service: Mapping[str, Any], name: str) -> str:
    """Give the value of a flag in the command of a service."""
    [value] = [item.partition("=")[2] for item in service["command"] if item.startswith(f"--{name}=")]
    return str(value)


def test_compose_mounts(services: Mapping[str, Any]) -> None:
    """What is mounted from the checkout exists and cannot be written to; all other volumes are declared."""
    found = [mount for service in services.values() for mount in mounts(service).values()]
    assert len(found) == 5
    assert [(path, mode) for path, mode in found if not path.exists() or mode != "ro"] == []
    volumes = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert {volume for volume in volumes if not volume.startswith(".")} == set(read(COMPOSE)["volumes"])


def test_compose_uses_the_configs_unchanged(services: Mapping[str, Any]) -> None:
    """Prometheus and Alertmanager run on the very files in deploy/, and the rules are beside them."""
    prometheus = services["prometheus"]
    config_file = flag(prometheus, "config.file")
    assert on_this_side(prometheus, config_file) == PROMETHEUS_CONFIG
    rule_files = [str(Path(config_file).parent / name) for name in read(PROMETHEUS_CONFIG)["rule_files"]]
    assert [on_this_side(prometheus, name) for name in rule_files] == [RULES]
    alertmanager = services["alertmanager"]
    assert on_this_side(alertmanager, flag(alertmanager, "config.file")) == ALERTMANAGER_CONFIG


def test_waits_outlive_a_restart_of_prometheus(services: Mapping[str, Any]) -> None:
    """With or without containers, and as the example says, Prometheus keeps its waits over a restart."""
    keeps = "--rules.alert.for-grace-period=1m"
    assert keeps in services["prometheus"]["command"]
    stack = parts(prometheus="/p", alertmanager="/a", data=Path("/data"), config=None)
    assert [part.name for part in stack if keeps in part.command] == ["Prometheus"]
    assert keeps in PROMETHEUS_CONFIG.read_text()


def test_compose_addresses(services: Mapping[str, Any]) -> None:
    """All containers share one network, where each listens on the port under which the others know it."""
    named = addresses_in_configs()
    assert named["exporter"] == {int(DEFAULT_LISTEN_ADDRESS.removeprefix(":"))}
    assert named["receiver"] == {int(flag(services["receiver"], "listen-address").rpartition(":")[2])}
    others = [service for name, service in services.items() if name != "exporter"]
    assert {service["network_mode"] for service in others} == {"service:exporter"}
    for name, ports in named.items():
        [port] = ports
        assert f":{port}/" in " ".join(services[name]["healthcheck"]["test"])


@pytest.mark.parametrize("name", ["exporter", "receiver"])
def test_compose_health_without_a_proxy(services: Mapping[str, Any], lab: Lab, name: str) -> None:
    """Docker may give a container the proxy of its own configuration, which a health check does not use."""
    exporter = lab.exporter(config(hosts=[f"{LOOPBACK}:1"]))
    kind, _, *arguments = services[name]["healthcheck"]["test"]
    patient = re.sub(r"timeout=\d+", f"timeout={DEADLINE_SECONDS:.0f}", arguments[-1])
    assert patient != arguments[-1]
    command = re.sub(r"//[\d.]+:\d+/[^']*", f"//{LOOPBACK}:{exporter.web[1]}/-/healthy", patient)
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY"), f"http://{LOOPBACK}:1")
    done = subprocess.run([sys.executable, *arguments[:-1], command], env=proxies, check=False)
    assert (kind, done.returncode) == ("CMD", 0)


def test_compose_wget_without_a_proxy(services: Mapping[str, Any]) -> None:
    """The wget of BusyBox takes the proxy that the container is given, unless told not to."""
    commands = [service["healthcheck"]["test"][1:] for service in services.values()]
    options = [command[1:5] for command in commands if command[0] == "wget"]
    assert options == [["-q", "-Y", "off", "-O"]] * 3


def test_compose_publishes_for_this_machine_alone(services: Mapping[str, Any]) -> None:
    """What a person looks at is published on loopback, under the port that links to it name."""
    assert [name for name, service in services.items() if "ports" in service] == ["exporter"]
    published = [entry.split(":") for entry in services["exporter"]["ports"]]
    assert [entry for entry in published if entry[0] != LOOPBACK or entry[1] != entry[2]] == []
    links = [flag(services[name], "web.external-url") for name in ("prometheus", "alertmanager")]
    links += [
        rule["annotations"]["dashboard_url"]
        for group in read(RULES)["groups"]
        for rule in group["rules"]
        if "dashboard_url" in rule.get("annotations", {})
    ]
    linked = {urlsplit(link).netloc for link in links} | {f"localhost{DEFAULT_LISTEN_ADDRESS}"}
    assert {f"localhost:{entry[1]}" for entry in published} == linked


def test_compose_pins_and_hardens(services: Mapping[str, Any]) -> None:
    """An image is built here or has the tag of one release, and no container has rights that it needs not."""
    built = services["exporter"]["image"]
    assert (COMPOSE.parent / services["exporter"]["build"]["context"] / "Dockerfile").exists()
    for service in services.values():
        assert service["image"] == built or re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["healthcheck"]["test"][0] == "CMD"
    assert services["receiver"]["image"] == built


def test_compose_grafana(services: Mapping[str, Any]) -> None:
    """Grafana finds its data source and its dashboards, and shows them to anybody, without an account."""
    grafana, provisioning = services["grafana"], ROOT / "grafana" / "provisioning"
    environment = grafana["environment"]
    assert on_this_side(grafana, "/etc/grafana/provisioning/dashboards").samefile(provisioning / "dashboards")
    [provider] = [
        entry for path in provisioning.glob("dashboards/*.yml") for entry in read(path)["providers"]
    ]
    assert provider["options"]["path"] == DASHBOARDS
    assert list(on_this_side(grafana, DASHBOARDS).glob("*.json"))
    assert on_this_side(grafana, environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).exists()
    [source] = [
        entry for path in provisioning.glob("datasources/*.yml") for entry in read(path)["datasources"]
    ]
    prometheus = urlsplit(flag(services["prometheus"], "web.external-url"))
    assert f"http://{prometheus.netloc}" == environment[source["url"].removeprefix("$")]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


# --- The parts of the stack


def part(name: str, *, config: Path | None = None) -> Part:
    """Give one part of the stack."""
    found = parts(prometheus="/p", alertmanager="/a", data=Path("/data"), config=config)
    return next(each for each in found if each.name == name)


def test_stack_ports() -> None:
    """Each part has the port under which the configurations know it."""
    named = addresses_in_configs()
    assert {part("kms-exporter").port} == named["exporter"]
    assert {part("Alertmanager").port} == named["alertmanager"]
    assert {part("receiver").port} == named["receiver"]
    assert named["receiver"] == {int(receiver.DEFAULT_LISTEN_ADDRESS.rpartition(":")[2])}


@pytest.mark.parametrize("name", ["kms-exporter", "receiver", "Alertmanager", "Prometheus"])
def test_stack_listens_on_loopback(name: str) -> None:
    """A part listens on its port of loopback, and on nothing else."""
    listening = [flag for flag in part(name).command if "listen-address" in flag]
    addresses = {flag.partition("=")[2] for flag in listening} - {""}  # Alertmanager alone has no cluster
    assert addresses == {f"{LOOPBACK}:{part(name).port}"}


def test_stack_uses_the_configs_unchanged() -> None:
    """Prometheus and Alertmanager run on the very files in deploy/."""
    assert f"--config.file={ROOT}/deploy/prometheus/prometheus.yml" in part("Prometheus").command
    assert f"--config.file={ROOT}/deploy/alertmanager/alertmanager.yml" in part("Alertmanager").command


def test_stack_exporter() -> None:
    """The exporter runs on its lab, or on a configuration, which is found from any directory."""
    assert part("kms-exporter").command[1:4] == (*("-m", "exporter"), "demo")
    configured = part("kms-exporter", config=Path("my.yml")).command
    assert configured[1:5] == ("-m", "exporter", "run", f"--config.file={Path.cwd()}/my.yml")


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ((), "setpriv is not installed; on Debian: apt-get install util-linux"),
        (("setpriv",), "prometheus is not installed; on Debian: apt-get install prometheus"),
        (
            ("setpriv", "prometheus"),
            "alertmanager is not installed; on Debian: apt-get install prometheus-alertmanager",
        ),
    ],
)
def test_stack_names_what_is_missing(tmp_path: Path, there: tuple[str, ...], missing: str) -> None:
    """A program that is not installed is named, with the package that has it."""
    for name in there:
        (tmp_path / name).symlink_to("/bin/true")
    done = subprocess.run(
        [sys.executable, "-m", "deploy.stack"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{missing}\n")


# --- What the receiver prints

NOW = datetime(2026, 5, 4, 14, 3, 22, tzinfo=timezone(timedelta(hours=2)))
RUNBOOK = "https://example.com/KmsZoneSrvRecordsMissing.md"


def alert(zone: str = "contoso.com", *, status: str = "firing", **annotations: str) -> dict[str, Any]:
    """Build an alert as Alertmanager sends it."""
    labels = {"alertname": "KmsZoneSrvRecordsMissing", "severity": "critical", "job": "kms", "dns_zone": zone}
    texts = {"summary": "A zone has no KMS record left.", "runbook_url": RUNBOOK}
    return {
        "status": status,
        "labels": labels,
        "annotations": texts | annotations,
        "startsAt": "2026-05-04T12:02:07.123456789Z",
        "endsAt": "2026-05-04T12:10:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://localhost:9090/graph",
        "fingerprint": "9a3f6f0c1f2e4b5d",
    }


def notification(*alerts: Any) -> bytes:
    """Build the body of a notification."""
    return json.dumps({"version": "4", "status": "firing", "alerts": alerts}).encode()


def rendered(*alerts: Any) -> str:
    """Render a notification to the receiver `page`."""
    return receiver.render("page", receiver.parse(notification(*alerts)), NOW)


def test_page_of_one_alert() -> None:
    """A notification says when, to whom, how bad, what, where, since when, and what to do."""
    body = alert(description="No SRV record at 10.0.0.10.", dashboard_url="http://localhost:3000/d/kms-zone")
    assert rendered(body) == (
        "2026-05-04 14:03:22 page: FIRING critical KmsZoneSrvRecordsMissing\n"
        "    A zone has no KMS record left.\n"
        "    dns_zone=contoso.com job=kms, since 2026-05-04 14:02:07\n"
        "        No SRV record at 10.0.0.10.\n"
        "        Dashboard: http://localhost:3000/d/kms-zone\n"
        f"    Runbook: {RUNBOOK}\n"
        "\n"
    )


def test_page_of_several_alerts() -> None:
    """Alerts of one kind share a heading, in the order in which they came; resolved ones have their own."""
    gone = alert("a.contoso.com", status="resolved")
    assert rendered(alert("c.contoso.com"), gone, alert("b.contoso.com")) == (
        "2026-05-04 14:03:22 page: FIRING critical KmsZoneSrvRecordsMissing\n"
        "    A zone has no KMS record left.\n"
        "    dns_zone=c.contoso.com job=kms, since 2026-05-04 14:02:07\n"
        "    dns_zone=b.contoso.com job=kms, since 2026-05-04 14:02:07\n"
        f"    Runbook: {RUNBOOK}\n"
        "\n"
        "2026-05-04 14:03:22 page: RESOLVED critical KmsZoneSrvRecordsMissing\n"
        "    A zone has no KMS record left.\n"
        "    dns_zone=a.contoso.com job=kms, from 2026-05-04 14:02:07 to 2026-05-04 14:10:00\n"
        f"    Runbook: {RUNBOOK}\n"
        "\n"
    )


def test_page_of_a_bare_alert() -> None:
    """An alert of somebody else's rules, with little to say, is printed all the same."""
    bare = {"status": "firing", "labels": {"alertname": "Watchdog"}, "startsAt": "yesterday"}
    assert rendered(bare) == "2026-05-04 14:03:22 page: FIRING Watchdog\n    since yesterday\n\n"


def test_page_puts_the_place_first() -> None:
    """Labels that say where stand first, in the order of the way from a zone to an address."""
    body = alert()
    body["labels"] |= {
        "address": "10.1.2.3",
        "category": "security",
        "port": "1688",
        "target": "kms1.contoso.com",
    }
    assert "    dns_zone=contoso.com target=kms1.contoso.com port=1688 address=10.1.2.3" in rendered(body)


def test_page_breaks_lines_between_words() -> None:
    """A long text is broken into lines that fit, but a name or an address never is."""
    name, url = "kms-" + "x" * 150, "https://example.com/" + "y-" * 80
    lines = rendered(alert(description=f"{'some words ' * 30}{name}", runbook_url=url)).splitlines()
    assert f"        {name}" in lines
    assert f"    Runbook: {url}" in lines
    long = [line for line in lines if len(line) > receiver.WIDTH]
    assert long == [f"        {name}", f"    Runbook: {url}"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("one\r\ntwo\t three\x0b", "one two three"),
        ("\x9b2J and \u202eright to left", "\\x9b2J and \\u202eright to left"),
        ("\ud800 alone", "\\ud800 alone"),
        ("Zürich 京都 → 10", "Zürich 京都 → 10"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """Nothing that a terminal might act on is left of a text, and all that can be read is."""
    assert receiver.printable(text) == shown


def test_page_has_no_control_characters() -> None:
    """No part of a notification gets a control character onto the terminal, nor a line of its own."""
    evil = "\x1b[2J\nFIRING"
    body = alert(evil, status=evil, description=evil, summary=evil, runbook_url=evil, dashboard_url=evil)
    body |= {"startsAt": evil, "labels": body["labels"] | {"alertname": evil, "severity": evil, evil: evil}}
    text = receiver.render(evil, receiver.parse(notification(body)), NOW)
    assert text.count("\\x1b[2J") == 12
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 7


# --- The receiver on the network


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    """Run a receiver, and give its address."""
    with receiver.Receiver(LOOPBACK, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield LOOPBACK, server.server_port
        server.shutdown()
        thread.join()


def post(address: tuple[str, int], body: bytes, path: str = "/page") -> tuple[int, str]:
    """POST a body, and return status and text of the answer."""
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_receiver_prints(listening: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    """A notification is printed under the name that its path has."""
    assert post(listening, notification(alert()), "/emea-page") == (http.HTTPStatus.OK, "Printed.\n")
    printed = capsys.readouterr().out
    assert " emea-page: FIRING critical KmsZoneSrvRecordsMissing\n" in printed
    assert "    dns_zone=contoso.com job=kms, since " in printed


def test_receiver_says_what_it_is(listening: tuple[str, int]) -> None:
    """A look with a browser finds a sentence."""
    answer = http_request(listening, "/-/ready")
    assert (answer.status, answer.text) == (200, "Alertmanager's notifications are to be POSTed here.\n")


NO_NOTIFICATION = "The body is not a notification of Alertmanager: it has no list of alerts."


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "The body is not JSON."),
        (b"\xff\xfe\xff", "The body is not JSON."),
        (b"[" * 100_000, "The body is not JSON."),
        (b"[]", NO_NOTIFICATION),
        (b"{}", NO_NOTIFICATION),
        (b'{"alerts": {}}', NO_NOTIFICATION),
        (notification(), NO_NOTIFICATION),
        (notification(alert(), 7), "Alert 2 is not an object."),
        (notification(alert() | {"labels": ["a"]}), "labels of alert 1 is not an object of texts."),
        (
            notification(alert() | {"annotations": {"a": 1}}),
            "annotations of alert 1 is not an object of texts.",
        ),
        (notification(alert() | {"startsAt": None}), "startsAt of alert 1 is not a text."),
    ],
)
def test_receiver_refuses(
    listening: tuple[str, int], capsys: pytest.CaptureFixture[str], body: bytes, problem: str
) -> None:
    """What is no notification gets status 400 and a sentence, prints nothing, and does no harm."""
    assert post(listening, body) == (http.HTTPStatus.BAD_REQUEST, f"{problem}\n")
    assert capsys.readouterr().out == ""
    assert post(listening, notification(alert()))[0] == http.HTTPStatus.OK


@pytest.mark.parametrize(
    ("header", "status", "problem"),
    [
        ("Accept: */*", 411, "The request has no Content-Length."),
        ("Content-Length: -1", 411, "The request has no Content-Length."),
        ("Content-Length: \u00b2", 411, "The request has no Content-Length."),
        (
            f"Content-Length: {receiver.MAX_BYTES + 1}",
            413,
            f"The body is larger than {receiver.MAX_BYTES} bytes.",
        ),
        (f"Content-Length: {'9' * 5000}", 413, f"The body is larger than {receiver.MAX_BYTES} bytes."),
        ("Content-Length: 100", 400, "The body ends too soon."),
    ],
)
def test_receiver_bounds_a_request(
    listening: tuple[str, int], header: str, status: int, problem: str
) -> None:
    """A body without a length, too long, or shorter than its length is refused with a sentence."""
    with socket.create_connection(listening, DEADLINE_SECONDS) as peer, peer.makefile("rb") as answer:
        peer.sendall(f"POST /page HTTP/1.1\r\n{header}\r\n\r\n".encode("latin-1"))
        peer.shutdown(socket.SHUT_WR)
        text = answer.read().decode()
    assert text.split(" ")[1] == str(status)
    assert text.endswith(f"\r\n\r\n{problem}\n")


def test_receiver_outlives_its_peers(listening: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    """Peers that stall, hang up or reset keep nobody else from being served."""
    half = b"POST /page HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf"
    with socket.create_connection(listening) as stalling, socket.create_connection(listening) as resetting:
        for peer in (stalling, resetting):
            peer.sendall(half)
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        resetting.close()
        assert post(listening, notification(alert()))[0] == http.HTTPStatus.OK
    serving = "process_request_thread"
    wait_until(
        lambda: not any(serving in thread.name for thread in threading.enumerate()) or None, "all are served"
    )
    captured = capsys.readouterr()
    assert "FIRING" in captured.out
    assert "Traceback" not in captured.err


def test_receiver_is_a_program_of_its_own(tmp_path: Path) -> None:
    """The receiver runs with the standard library alone, anywhere, until it is told to stop."""
    program = tmp_path / "receiver.py"
    program.symlink_to(receiver.__file__)
    address = (LOOPBACK, free_port())
    command = [sys.executable, "-I", "-S", str(program), "--listen-address={}:{}".format(*address)]
    with Process(command) as process:

        def posted() -> bool | None:
            try:
                return post(address, notification(alert()))[0] == http.HTTPStatus.OK
            except OSError:
                return None

        process.wait_until(posted, "the receiver answers")
        process.wait_until(lambda: process.lines or None, "the notification is printed")
        assert "page: FIRING critical KmsZoneSrvRecordsMissing" in process.lines[0]


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.0.1:{taken}", "Cannot listen on 127.0.0.1:{taken}: Address already in use."),
        ("127.0.0.1:70000", "Cannot listen on 127.0.0.1:70000: "),
        ("5001", "not HOST:PORT: 5001"),
        ("localhost:http", "not HOST:PORT: localhost:http"),
    ],
)
def test_receiver_says_why_it_cannot_listen(address: str, problem: str) -> None:
    """An address that cannot be listened on ends the receiver with one sentence."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, receiver.__file__, f"--listen-address={address.format(taken=port)}"],
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode != 0
    assert problem.format(taken=port) in done.stderr
    assert "Traceback" not in done.stderr

"""A locked exporter, end to end: who gets in and who does not, by real curl and by a real Prometheus.

One exporter asks for TLS 1.3, for a client certificate with an allowed name, and for a password; each test or
scrape job lacks one of them. One Prometheus scrapes it with a job per case.
"""

import contextlib
import http.client
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from tests.certificates import Authority, Pair
from tests.services import DEADLINE_SECONDS, LOOPBACK, Exporter, Lab, Response, config, need

USER, PASSWORD = "prometheus", "correct horse"
ALLOWED = "spiffe://contoso.com/prometheus"
POLICY: dict[str, Any] = {
    "tls_server_config": {
        "cert_file": "server.crt",
        "key_file": "server.key",
        "client_ca_file": "clients.crt",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_allowed_sans": [ALLOWED],
        "min_version": "TLS13",
    },
    "http_server_config": {"headers": {"Strict-Transport-Security": "max-age=60", "X-Frame-Options": "deny"}},
    "basic_auth_users": {
        USER: bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(6)).decode(),
        "other": bcrypt.hashpw(b"other", bcrypt.gensalt(5)).decode(),
    },
    "basic_auth_excluded_paths": ["/-/healthy"],
}


class LockedExporter(Exporter):
    """The real program with a web configuration; it is spoken to with all that it asks for."""

    def __init__(self, directory: Path, pki: "Pki", policy: Mapping[str, Any]) -> None:
        self.pki = pki
        self.web_file = pki.directory / "web.yml"
        self.use(policy)
        arguments = [f"--web.config.file={self.web_file}"]
        super().__init__(directory, config(hosts=[f"{LOOPBACK}:1"]), arguments=arguments)

    def use(self, policy: Mapping[str, Any]) -> None:
        """Write another web configuration."""
        fresh = self.web_file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(dict(policy)))
        fresh.replace(self.web_file)

    def connect(self) -> http.client.HTTPSConnection:
        """Open a connection with everything in order."""
        return http.client.HTTPSConnection(*self.web, context=self.pki.client(), timeout=DEADLINE_SECONDS / 4)

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, path, method)


def ask(connection: http.client.HTTPConnection, path: str, method: str = "GET") -> Response:
    """Make one request, with the password."""
    connection.request(method, path, headers={"Authorization": AUTHORIZATION})
    answer = connection.getresponse()
    return Response(answer.status, answer.headers, answer.read())


AUTHORIZATION = "Basic cHJvbWV0aGV1czpjb3JyZWN0IGhvcnNl"


class Pki:
    """Two authorities, and a directory with what they issued."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers, self.clients, stranger = (
            Authority("servers"),
            Authority("clients"),
            Authority("stranger"),
        )
        (directory / "ca.crt").write_bytes(self.servers.pem)
        (directory / "clients.crt").write_bytes(self.clients.pem)
        (directory / "stranger.crt").write_bytes(stranger.pem)
        self.new_server().write(directory, "server")
        self.clients.issue("prometheus.contoso.com", ALLOWED).write(directory, "allowed")
        self.clients.issue("prometheus.contoso.com").write(directory, "nameless")
        stranger.issue(ALLOWED).write(directory, "strange")

    def new_server(self) -> Pair:
        """Issue a certificate for the exporter."""
        return self.servers.issue("localhost", LOOPBACK)

    def client(self) -> ssl.SSLContext:
        """Give what a client connects with that is let in."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        context.load_cert_chain(self.directory / "allowed.crt", self.directory / "allowed.key")
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Make the certificates."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def locked(module_lab: Lab, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> LockedExporter:
    """Start the exporter that all tests share."""
    return module_lab.enter_context(LockedExporter(tmp_path_factory.mktemp("locked") / "x", pki, POLICY))


@pytest.fixture
def restored(locked: LockedExporter) -> Iterator[LockedExporter]:
    """Put everything back in its place after a test that changes something."""
    yield locked
    before = len(outcomes(locked))
    locked.use(POLICY)
    locked.pki.new_server().write(locked.pki.directory, "server")
    locked.send_signal(signal.SIGHUP)
    locked.wait_until(
        lambda: outcomes(locked)[before:][-1:] == ["configuration loaded"] or None, "all is as it was"
    )


def outcomes(locked: LockedExporter) -> list[str]:
    """Tell how the web configuration was met each time."""
    return [str(line["event"]) for line in locked.log() if line.get("source") == str(locked.web_file)]


# --- curl


def curl(locked: LockedExporter, path: str, *arguments: str, scheme: str = "https") -> tuple[int, int]:
    """Ask for a page with curl, and give its exit status and that of HTTP, 0 without an answer."""
    need("curl")
    url = "{}://{}:{}{}".format(scheme, *locked.web, path)
    done = subprocess.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30", *arguments, url],
        cwd=locked.pki.directory,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, int(done.stdout or 0)


TRUST = ["--cacert", "ca.crt"]
CERTIFICATE = ["--cert", "allowed.crt", "--key", "allowed.key"]
RIGHT = ["--user", f"{USER}:{PASSWORD}"]
TLS_REFUSED = {35, 52, 56}
"""The peer hung up: in the handshake, without an answer, or, with TLS 1.3, after its end."""


@pytest.mark.parametrize(
    ("path", "arguments", "status"),
    [
        ("/metrics", RIGHT, HTTPStatus.OK),
        ("/metrics", ["--tlsv1.3", *RIGHT], HTTPStatus.OK),
        ("/", RIGHT, HTTPStatus.OK),
        ("/metrics", [], HTTPStatus.UNAUTHORIZED),
        ("/metrics", ["--user", f"{USER}:wrong"], HTTPStatus.UNAUTHORIZED),
        ("/metrics", ["--user", f"nobody:{PASSWORD}"], HTTPStatus.UNAUTHORIZED),
        ("/metrics", ["--user", f"other:{PASSWORD}"], HTTPStatus.UNAUTHORIZED),
        ("/metrics", ["--oauth2-bearer", "token"], HTTPStatus.UNAUTHORIZED),
        ("/no-such-page", [], HTTPStatus.UNAUTHORIZED),
        ("/-/reload", ["--request", "POST"], HTTPStatus.UNAUTHORIZED),
        ("/-/healthy", [], HTTPStatus.OK),
        ("/-/healthy", ["--request", "POST"], HTTPStatus.UNAUTHORIZED),
        ("/-/ready", [], HTTPStatus.UNAUTHORIZED),
    ],
)
def test_password(locked: LockedExporter, path: str, arguments: list[str], status: HTTPStatus) -> None:
    """Every page but those that are excluded needs the right name with the right password."""
    assert curl(locked, path, *TRUST, *CERTIFICATE, *arguments) == (0, status)


@pytest.mark.parametrize(
    ("arguments", "exits"),
    [
        (["--cacert", "stranger.crt", *CERTIFICATE], {60}),
        ([*TRUST], TLS_REFUSED),
        ([*TRUST, "--cert", "strange.crt", "--key", "strange.key"], TLS_REFUSED),
        ([*TRUST, "--cert", "nameless.crt", "--key", "nameless.key"], TLS_REFUSED),
        ([*TRUST, *CERTIFICATE, "--tls-max", "1.2"], {35}),
    ],
)
def test_refused_by_tls(locked: LockedExporter, arguments: list[str], exits: set[int]) -> None:
    """Another authority, a client without an allowed certificate, and an older TLS end without an answer."""
    status, answered = curl(locked, "/-/healthy", *arguments)
    assert (status in exits, answered) == (True, 0), status


def test_plain_http_is_refused(locked: LockedExporter) -> None:
    """Who speaks no TLS gets no answer."""
    status, answered = curl(locked, "/-/healthy", scheme="http")
    assert (status != 0, answered) == (True, 0)


def test_headers(locked: LockedExporter) -> None:
    """The headers of the configuration are in every answer, refusals and errors included."""
    with contextlib.closing(locked.connect()) as connection:
        for path, status in (("/metrics", HTTPStatus.OK), ("/no-such-page", HTTPStatus.NOT_FOUND)):
            answer = ask(connection, path)
            assert answer.status == status
            assert answer.headers["Strict-Transport-Security"] == "max-age=60"
            assert answer.headers.get_all("X-Frame-Options") == ["deny"]
        connection.request("GET", "/metrics")
        refused = connection.getresponse()
        refused.read()
        assert refused.status == HTTPStatus.UNAUTHORIZED
        assert refused.headers["WWW-Authenticate"].startswith('Basic realm="')
        assert refused.headers["Strict-Transport-Security"] == "max-age=60"


# --- Prometheus


def job(name: str, pki: Pki, port: int, **changes: Any) -> dict[str, Any]:
    """Build a scrape job with everything in order but for some changes."""
    files = {"ca_file": "ca.crt", "cert_file": "allowed.crt", "key_file": "allowed.key"}
    tls = files | changes.pop("tls", {})
    return {
        "job_name": name,
        "scheme": "https",
        "tls_config": {
            key: str(pki.directory / value) if key.endswith("_file") else value
            for key, value in tls.items()
            if value
        },
        "basic_auth": {"username": USER, "password": PASSWORD},
        "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}],
    } | changes


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "good": ({}, ""),
    "another authority": ({"tls": {"ca_file": "stranger.crt"}}, "certificate"),
    "no certificate": ({"tls": {"cert_file": "", "key_file": ""}}, ""),
    "strange certificate": (
        {"tls": {"cert_file": "strange.crt", "key_file": "strange.key"}},
        "",
    ),
    "no allowed name": ({"tls": {"cert_file": "nameless.crt", "key_file": "nameless.key"}}, ""),
    "older TLS": ({"tls": {"max_version": "TLS12"}}, ""),
    "wrong password": ({"basic_auth": {"username": USER, "password": "wrong"}}, "401"),
    "wrong user": ({"basic_auth": {"username": "nobody", "password": PASSWORD}}, "401"),
    "no password": ({"basic_auth": None}, "401"),
    "plain HTTP": ({"scheme": "http"}, ""),
}


def test_prometheus(module_lab: Lab, locked: LockedExporter, tmp_path: Path) -> None:
    """A job with the matching http_config scrapes; each job that lacks something does not, and says why."""
    jobs = [job(name, locked.pki, locked.web[1], **changes) for name, (changes, _) in CASES.items()]
    file = tmp_path / "prometheus.yml"
    times = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    file.write_text(yaml.safe_dump({"global": times, "scrape_configs": jobs}))
    with Lab(tmp_path / "lab") as lab:
        prometheus = lab.prometheus(config_file=file)

        def scraped() -> dict[str, dict[str, Any]] | None:
            targets = {
                target["scrapePool"]: target for target in prometheus.get("/api/v1/targets")["activeTargets"]
            }
            done = all(target["health"] != "unknown" for target in targets.values())
            return targets if targets.keys() == CASES.keys() and done else None

        found = prometheus.wait_until(scraped, "every job has been tried")
        healths = {name: target["health"] for name, target in found.items()}
        assert healths == {name: "up" if name == "good" else "down" for name in CASES}
        wrong = {
            name: found[name]["lastError"]
            for name, (_, error) in CASES.items()
            if error not in found[name]["lastError"]
        }
        assert wrong == {}
        assert prometheus.query('kms_exporter_build_info{job="good"}')


# --- Changes


def test_rotation(restored: LockedExporter) -> None:
    """New handshakes see a certificate that was replaced; a connection that was open before goes on."""
    with contextlib.closing(restored.connect()) as old:
        assert ask(old, "/-/healthy").status == HTTPStatus.OK
        before = peer(old)
        restored.pki.new_server().write(restored.pki.directory, "server")

        def rotated() -> bool | None:
            with contextlib.closing(restored.connect()) as new:
                new.connect()
                return peer(new) != before or None

        restored.wait_until(rotated, "the new certificate is served")
        assert ask(old, "/-/healthy").status == HTTPStatus.OK
        assert peer(old) == before
    assert restored.metrics().value("kms_exporter_config_last_reload_successful") == 1


def peer(connection: http.client.HTTPSConnection) -> bytes | None:
    """Give the certificate that the exporter showed."""
    assert isinstance(connection.sock, ssl.SSLSocket)
    return connection.sock.getpeercert(binary_form=True)


def test_bad_replacement(restored: LockedExporter) -> None:
    """A key that does not belong to the certificate is refused everywhere, and the old pair serves on."""
    fresh = restored.pki.new_server()
    key = restored.pki.directory / "server.key"
    key.write_bytes(fresh.key)
    answer = restored.post("/-/reload")
    assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
    problem = "tls_server_config.key_file: does not belong to the certificate"
    assert f"{restored.web_file}: line " in answer.text
    assert problem in answer.text
    assert restored.metrics().value("kms_exporter_config_last_reload_successful") == 0
    assert any(problem in line.get("problems", "") for line in restored.log())
    assert restored.get("/-/healthy").status == HTTPStatus.OK

    (restored.pki.directory / "server.crt").write_bytes(fresh.certificate)
    restored.wait_for_value(1, "kms_exporter_config_last_reload_successful")


def test_problems_of_both_files(restored: LockedExporter) -> None:
    """A reload names the problems of both files, and a good one is taken over whatever the other is like."""
    good = restored.config_file.read_text()
    restored.web_file.write_text("rate_limit: {burst: 1}\n")
    restored.write_config("interval: soon\n")
    answer = restored.post("/-/reload")
    assert answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert f"{restored.web_file}: line 1: rate_limit: is not supported by kms-exporter" in answer.text
    assert "line 1: interval: " in answer.text
    restored.use(POLICY)
    assert restored.post("/-/reload").status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert restored.metrics().value("kms_exporter_config_last_reload_successful") == 0
    restored.write_config(good)
    assert restored.post("/-/reload").status == HTTPStatus.OK
    assert restored.metrics().value("kms_exporter_config_last_reload_successful") == 1


def test_change_of_terms(restored: LockedExporter) -> None:
    """When clients have to meet other terms, a connection from before is closed, and a new one meets them."""
    with contextlib.closing(restored.connect()) as old:
        assert ask(old, "/-/healthy").status == HTTPStatus.OK
        tls = POLICY["tls_server_config"] | {"client_allowed_sans": ["nobody.contoso.com"]}
        restored.use(POLICY | {"tls_server_config": tls})
        restored.send_signal(signal.SIGHUP)
        assert old.sock.recv(1) == b""
        assert curl(restored, "/-/healthy", *TRUST, *CERTIFICATE)[1] == 0
    restored.use({})
    restored.send_signal(signal.SIGHUP)
    restored.wait_until(
        lambda: curl(restored, "/metrics", scheme="http") == (0, HTTPStatus.OK) or None, "the lock is off"
    )


def test_broken_off(locked: LockedExporter) -> None:
    """Scrapes and handshakes that are broken off leave no descriptor open."""
    name = "process_open_fds"
    before = locked.metrics().value(name)
    assert before
    for number in range(20):
        with contextlib.closing(locked.connect()) as connection:
            if number % 2:
                connection.request("GET", "/metrics", headers={"Authorization": AUTHORIZATION})
            else:
                connection.connect()
        socket.create_connection(locked.web).close()
    locked.wait_for(lambda seen: (seen.value(name) or 0) <= before, "nothing is left open")


def test_nothing_secret_is_logged(locked: LockedExporter) -> None:
    """No user name, password or hash is in the log, whatever was tried before."""
    text = "\n".join(locked.lines)
    for secret in (PASSWORD, "nobody", *POLICY["basic_auth_users"].values(), AUTHORIZATION):
        assert secret not in text

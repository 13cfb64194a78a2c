"""Real servers for the tests: BIND, Prometheus, Alertmanager, TCP peers, namespaces, and the exporter itself.

This module starts them, waits until they answer, and stops them; it asserts nothing about what the
exporter shows. Every child process leads a session of its own and dies with the test run, every port
is chosen by the machine, every file is in a directory that the caller gives.

Deadlines are generous: they end a test that cannot succeed, they measure nothing.
"""

import contextlib
import ctypes
import http.client
import http.server
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, Self, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.query
import pytest
import yaml
from impacket.dcerpc.v5.rpcrt import DCERPCServer  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter import rpc

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
DEADLINE_SECONDS = 120.0
PAUSE_SECONDS = 0.15
PORTS = (20_000, 32_000)

T = TypeVar("T")
Config = Mapping[str, Any]


# --- What the machine must have


def need(*programs: str) -> None:
    """Skip the test where a program is missing; on CI, where all must run, fail it."""
    missing = [program for program in programs if which(program) is None]
    if missing:
        _lacking(f"not installed: {', '.join(missing)}")


def need_file(what: str, directory: Path, pattern: str) -> Path:
    """Find a file of the machine; without it skip the test, or on CI fail it."""
    found = sorted(directory.glob(pattern))
    if not found:
        _lacking(f"not installed: {what}")
    return found[0]


def need_library(name: str) -> None:
    """Skip the test where a shared library cannot be loaded; on CI, fail it."""
    try:
        ctypes.CDLL(name)
    except OSError:
        _lacking(f"not installed: {name}")


def need_axe() -> Path:
    """Find axe-core, which `make` takes from npm; without it skip the test, or on CI fail it."""
    script = ROOT / ".venv/npm/node_modules/axe-core/axe.min.js"
    if not script.exists():
        _lacking("not installed: axe-core from npm (make .venv/.npm)")
    return script


def need_namespaces() -> None:
    """Skip the test where no network namespace can be made, for want of root; on CI, fail it."""
    need("ip", "unshare")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        _lacking("network namespaces need root")


def need_ipv6() -> None:
    """Skip the test where even loopback has no IPv6; on CI, fail it."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            _lacking("no IPv6 on loopback")


def _lacking(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def which(program: str) -> str | None:
    """Find a program, also where only root's PATH would."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def wait_until(look: Callable[[], T | None], what: str) -> T:
    """Look again and again until there is something to see, and return it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            pytest.fail(f"waited {DEADLINE_SECONDS:.0f} s in vain: {what}")
        time.sleep(PAUSE_SECONDS)
    return found


def free_port() -> int:
    """Find a port of 127.0.0.1 that is free for TCP and UDP.

    It is below those that the kernel gives away (ip_local_port_range, ip(7)): nobody gets it meanwhile.
    """
    while True:
        port = random.randrange(*PORTS)
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        with tcp, udp, contextlib.suppress(OSError):
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
            return port


# --- Network namespaces


class Namespace:
    """A network namespace with its loopback up, and with a resolv.conf of its own if one is given."""

    _numbers = itertools.count(1)

    def __init__(self, *, resolv_conf: str | None = None) -> None:
        self.name = f"kms-test-{os.getpid()}-{next(self._numbers)}"
        self._etc = Path("/etc/netns") / self.name
        if resolv_conf is not None:
            self._etc.mkdir(parents=True)
            (self._etc / "resolv.conf").write_text(resolv_conf)
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name, initializer=self._enter)
        self.ip("link", "set", "lo", "up")

    def __enter__(self) -> Self:
        """Return the namespace, which is there already."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the namespace; what still runs in it keeps the kernel's part alive."""
        self._thread.shutdown()
        subprocess.run(["ip", "netns", "delete", self.name], check=True)
        shutil.rmtree(self._etc, ignore_errors=True)

    @property
    def command(self) -> list[str]:
        """What to put before a command to run it in here."""
        return ["ip", "netns", "exec", self.name]

    def ip(self, *arguments: str) -> None:
        """Run `ip` in here."""
        subprocess.run(["ip", "-netns", self.name, *arguments], check=True)

    def set(self, key: str, value: int) -> None:
        """Set a kernel parameter by its path under /proc/sys/net."""
        self.call(lambda: Path("/proc/sys/net", key).write_text(f"{value}\n"))

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on a thread that is in here; sockets that it opens stay in here."""
        return self._thread.submit(function).result()

    def join(self, other: "Namespace", ours: Iterable[str], theirs: Iterable[str]) -> None:
        """Lay a cable between `eth0` here and there, with these addresses (with prefix length)."""
        self.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other.name)
        for namespace, addresses in ((self, ours), (other, theirs)):
            for address in addresses:
                tentative = ["nodad"] if ":" in address else []
                namespace.ip("address", "add", address, "dev", "eth0", *tentative)
            namespace.ip("link", "set", "eth0", "up")

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", self.name).open() as namespace:
            if libc.setns(namespace.fileno(), 0x40000000):  # CLONE_NEWNET
                raise OSError(ctypes.get_errno(), "setns")


# --- Processes


class Process:
    """A child process with its output; it is killed when the test run dies.

    Its parent's death kills it even when no finalizer runs, by prctl(2) PR_SET_PDEATHSIG.
    """

    def __init__(self, command: Sequence[str], *, namespace: Namespace | None = None) -> None:
        self.command = list(command)
        self.namespace = namespace
        self.lines: list[str] = []
        self._start()

    def _start(self) -> None:
        within = self.namespace.command if self.namespace else []
        mortal = ["setpriv", "--pdeathsig", "KILL", "--"] if which("setpriv") else []
        self._process = subprocess.Popen(
            [*within, *mortal, *self.command],
            cwd=ROOT,
            env=os.environ | {"SSL_CERT_FILE": os.devnull},  # an import of 0.1 s that nothing here trusts by
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self.stopped = False

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            self.lines.extend(line.rstrip("\n") for line in process.stdout)

    def __enter__(self) -> Self:
        """Return the process, which runs already."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop it, unless that was done; that it ended by itself is an error."""
        if self.stopped:
            return
        if not self.running:
            self.kill()
            pytest.fail(f"ended by itself\n{self.report()}")
        assert self.stop() == 0, self.report()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit status when it and all its children have ended."""
        self.send_signal(number)
        try:
            status = self._process.wait(DEADLINE_SECONDS)
            with pytest.raises(ProcessLookupError):  # whatever is left of its session
                os.killpg(self._process.pid, 0)
        finally:
            self.kill()
        return status

    def kill(self) -> None:
        """End it and its children at once."""
        self.stopped = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def restart(self) -> None:
        """Start it again after it has ended, with the same command and what it kept."""
        self._start()

    def wait_until(self, look: Callable[[], T | None], what: str) -> T:
        """Look until there is something to see, or the process has ended."""

        def look_while_it_runs() -> T | None:
            if not self.running:
                self._reader.join()
                pytest.fail(f"ended before {what}\n{self.report()}")
            return look()

        try:
            return wait_until(look_while_it_runs, what)
        except BaseException:
            self.kill()
            raise

    def report(self) -> str:
        """Describe the process for a failed assertion."""
        return "\n".join([f"$ {' '.join(self.command)}", *self.lines[-40:]])


# --- DNS


def zone_file(*records: str, serial: int = 1, ttl_seconds: int = 60) -> str:
    """Build a zone file; names without a trailing dot are in the zone, which is its own name server."""
    lines = [
        f"$TTL {ttl_seconds}",
        f"@ SOA ns hostmaster {serial} 3600 600 86400 {ttl_seconds}",
        "@ NS ns",
        f"ns A {LOOPBACK}",
        *records,
    ]
    return "\n".join(lines) + "\n"


def srv(target: str, port: int, *, priority: int = 0, weight: int = 0) -> str:
    """Build the line of a zone file for one SRV record; a target with a trailing dot is absolute."""
    return f"_vlmcs._tcp SRV {priority} {weight} {port} {target}"


@dataclass(frozen=True, slots=True)
class Query:
    """A query as BIND logs it; `flags` has a T for one over TCP."""

    name: str
    rdtype: str
    flags: str


class Named(Process):
    """BIND's named, primary for some zones, which anybody on loopback may update.

    `zones` maps a name to the text of its zone file. `options` goes into BIND's `options` statement.
    In a namespace it listens on port 53 of every address, elsewhere on a free port of 127.0.0.1.
    """

    def __init__(
        self,
        directory: Path,
        zones: Mapping[str, str],
        *,
        options: str = "",
        namespace: Namespace | None = None,
    ) -> None:
        need("named", "nsupdate")
        self.address = LOOPBACK
        self.port = 53 if namespace else free_port()
        self._directory = directory
        directory.mkdir(parents=True)
        for name, text in zones.items():
            (directory / f"{name}.zone").write_text(text)
        config = directory / "named.conf"
        listen = ("any", "any") if namespace else (self.address, "none")
        config.write_text(self._config(zones, listen, options or "recursion no;"))
        super().__init__([which("named") or "", "-g", "-n", "1", "-c", str(config)], namespace=namespace)

    def _config(self, zones: Iterable[str], listen: tuple[str, str], options: str) -> str:
        own_files = "\n".join(
            f'{key} "{self._directory / name}";'
            for key, name in (
                ("directory", ""),
                ("managed-keys-directory", ""),
                ("pid-file", "named.pid"),
                ("session-keyfile", "session.key"),
            )
        )
        statements = [
            f"""options {{
{own_files}
listen-on port {self.port} {{ {listen[0]}; }};
listen-on-v6 port {self.port} {{ {listen[1]}; }};
allow-query {{ any; }};
allow-update {{ 127.0.0.0/8; }};
check-integrity no;
check-names primary ignore;
dnssec-validation no;
empty-zones-enable no;
notify no;
querylog yes;
{options}
}};
controls {{ }};""",
            *(f'zone "{name}" {{ type primary; file "{self._directory}/{name}.zone"; }};' for name in zones),
        ]
        return "\n".join(statements) + "\n"

    def _start(self) -> None:
        started_at = len(self.lines)
        super()._start()
        self.wait_until(lambda: self._answers(started_at) or None, "named answers")

    def _answers(self, started_at: int) -> bool:
        if not any(line.endswith(" running") for line in self.lines[started_at:]):
            return False
        try:
            self.ask("version.bind", "SOA")
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def ask(self, name: str, rdtype: str) -> dns.message.Message:
        """Ask it, and return the answer."""
        query = dns.message.make_query(name, rdtype)
        look = self.namespace.call if self.namespace else lambda function: function()
        return look(lambda: dns.query.udp(query, self.address, timeout=1, port=self.port))

    @property
    def server(self) -> str:
        """The server as configuration and label `dns_server` have it."""
        return f"{self.address}:{self.port}"

    def update(self, zone: str, *lines: str) -> None:
        """Change a zone by dynamic update; a line is `add NAME TTL TYPE DATA` or `delete NAME TYPE DATA`."""
        script = [
            f"server {self.address} {self.port}",
            f"zone {zone}",
            "check-names no",
            *(f"update {line}" for line in lines),
            "send",
        ]
        within = self.namespace.command if self.namespace else []
        done = subprocess.run(
            [*within, "nsupdate", "-t", "20"],
            input="\n".join(script) + "\n",
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"

    def serial(self, zone: str) -> int:
        """Ask for the serial of a zone."""
        return int(self.ask(zone, "SOA").answer[0][0].serial)

    def queries(self) -> list[Query]:
        """List the queries that it was asked so far."""
        found = (re.search(r" query: (\S+) IN (\S+) (\S+)", line) for line in list(self.lines))
        return [Query(match[1].lower(), match[2], match[3]) for match in found if match]


class SilentDnsServer:
    """A UDP port of 127.0.0.1 that takes queries and never answers."""

    def __init__(self) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.server = f"{LOOPBACK}:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()


# --- TCP peers


class Peer:
    """A port that accepts every connection, counts it, and serves it on a thread of its own.

    `serve` is given the connection, which is closed when it returns.
    """

    def __init__(
        self, serve: Callable[[socket.socket], None], address: str = LOOPBACK, port: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family, backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self.accepted = 0
        self._serve = serve
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            self.accepted += 1
            connection.settimeout(DEADLINE_SECONDS)
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # whatever the exporter does is its business
            self._serve(connection)

    def close(self) -> None:
        """Stop listening: the port refuses from now on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes up accept()
        self._thread.join()
        self._socket.close()


class Listener(Peer):
    """An RPC server that takes binds to `interface` 1.0, by an implementation that is not ours.

    It answers one PDU per connection and hangs up. It implements no call of any interface. With `reset` it
    resets every connection at once instead.
    """

    def __init__(
        self,
        address: str = LOOPBACK,
        port: int = 0,
        *,
        interface: uuid.UUID = rpc.KMS_INTERFACE,
        reset: bool = False,
    ) -> None:
        self._interface = str(interface)
        super().__init__(_reset if reset else self._answer, address, port)

    def _answer(self, connection: socket.socket) -> None:
        server = DCERPCServer(client_socket=connection)
        server.addCallbacks((self._interface, "1.0"), "1688", {})
        with contextlib.suppress(Exception):  # it knows no closed connection, and no PDU that is none
            if data := server.recv():
                server.processRequest(data)


class BannerPeer(Peer):
    """A service that is no RPC: it speaks first, and waits for the other side to hang up."""

    def __init__(self, banner: bytes = b"SSH-2.0-OpenSSH_9.6\r\n") -> None:
        self._banner = banner
        super().__init__(self._greet)

    def _greet(self, connection: socket.socket) -> None:
        connection.sendall(self._banner)
        _drain(connection)


class SilentPeer(Peer):
    """A port that accepts, as a hung service does or a firewall in its place, and never says a word."""

    def __init__(self) -> None:
        super().__init__(_drain)


def _drain(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class ClosedPort:
    """A port that refuses: bound, so that nobody else gets it, but not listening."""

    def __init__(self, address: str = LOOPBACK) -> None:
        self._socket = socket.socket()
        self._socket.bind((address, 0))
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Let go of the port."""
        self._socket.close()


class FilteredPort:
    """A port that drops every SYN, as a packet filter would: its accept queue is full and stays so."""

    def __init__(self, address: str = LOOPBACK) -> None:
        self._sockets = [socket.create_server((address, 0), backlog=0)]
        self.port: int = self._sockets[0].getsockname()[1]
        while self._connects():
            pass

    def _connects(self) -> bool:
        client = socket.socket()
        self._sockets.append(client)
        client.settimeout(0.2)
        try:
            client.connect((LOOPBACK, self.port))
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Let go of the port and of the connections that fill it."""
        for held in self._sockets:
            held.close()


# --- HTTP


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer; nothing is decoded and no redirect followed."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")


def http_request(
    address: tuple[str, int],
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    namespace: Namespace | None = None,
) -> Response:
    """Make one request on a connection of its own, from within a namespace if one is given."""

    def request() -> Response:
        connection = http.client.HTTPConnection(*address, timeout=DEADLINE_SECONDS / 4)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())

    return namespace.call(request) if namespace else request()


@dataclass(frozen=True, slots=True)
class Samples:
    """One scrape: every sample of /metrics at one time."""

    samples: tuple[Sample, ...] = field(repr=False)

    def series(self, name: str, **labels: object) -> list[Sample]:
        """List the samples of this name that have these labels, among others."""
        wanted = {label: str(value) for label, value in labels.items()}.items()
        return [sample for sample in self.samples if sample.name == name and wanted <= sample.labels.items()]

    def value(self, name: str, **labels: object) -> float | None:
        """Return the value of the one sample of this name with these labels, None without one."""
        found = self.series(name, **labels)
        assert len(found) <= 1, f"{name}{labels} is not one series: {found}"
        return found[0].value if found else None

    def labels(self, name: str, label: str, **labels: object) -> set[str]:
        """Collect the values that one label has in these series."""
        return {sample.labels[label] for sample in self.series(name, **labels)}

    def state(self, name: str, label: str, **labels: object) -> str | None:
        """Return the current state of a family with one series per state, None without one."""
        current = [sample for sample in self.series(name, **labels) if sample.value]
        assert len(current) <= 1, f"{name}{labels} has more than one state: {current}"
        return current[0].labels[label] if current else None

    def status(self, zone: str, **labels: object) -> str | None:
        """Return how the last SRV lookup of a zone ended."""
        return self.state("kms_srv_lookup_status", "status", dns_zone=zone, **labels)

    def report(self) -> str:
        """Show what the exporter found, for a failed assertion."""
        return "\n".join(
            f"{sample.name}{sample.labels} {sample.value}"
            for sample in self.samples
            if sample.name.startswith("kms_") and not sample.name.endswith("_bucket")
        )


def parse_metrics(text: str) -> Samples:
    """Parse the Prometheus text format."""
    families = text_string_to_metric_families(text)
    return Samples(tuple(sample for family in families for sample in family.samples))


# --- The exporter


def config(*zones: str | Config, **keys: Any) -> dict[str, Any]:
    """Build a configuration that is quick, and that may probe loopback."""
    base = {
        "interval": "1s",
        "timeout": "500ms",
        "probe": {"networks": ["127.0.0.0/8"]},
        "zones": [{"name": zone} if isinstance(zone, str) else dict(zone) for zone in zones],
    }
    return base | keys


def zone(name: str, *servers: str, **keys: Any) -> dict[str, Any]:
    """Build the configuration of one zone, looked up at these DNS servers, or at those for all zones."""
    own_servers = {"dns_servers": list(servers)} if servers else {}
    return {"name": name} | own_servers | keys


def kms_exporter(*arguments: str, namespace: Namespace | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program until it ends by itself."""
    within = namespace.command if namespace else []
    return subprocess.run(
        [*within, sys.executable, "-m", "exporter", *arguments],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
        check=False,
    )


class Exporter(Process):
    """The real program, on a port of its own unless one is given.

    It runs `command` with the configuration, if one is given, and more `arguments`. `before` is put
    before the command. `prefix` is in front of every page. Stopping it asserts that it wrote nothing but its
    log and caught no bug of its own.
    """

    def __init__(
        self,
        directory: Path,
        configuration: Config | None,
        *,
        command: str = "run",
        arguments: Sequence[str] = (),
        before: Sequence[str] = (),
        port: int = 0,
        namespace: Namespace | None = None,
        prefix: str = "",
    ) -> None:
        directory.mkdir(parents=True)
        self.prefix = prefix
        self.config_file = directory / "kms-exporter.yml"
        config_flag = []
        if configuration is not None:
            self.write_config(configuration)
            config_flag = [f"--config.file={self.config_file}"]
        super().__init__(
            [
                *before,
                *(sys.executable, "-W", "default::ResourceWarning", "-m", "exporter", command),
                *config_flag,
                f"--web.listen-address={LOOPBACK}:{port}",
                "--log.format=json",
                *arguments,
            ],
            namespace=namespace,
        )
        self.web = self.wait_until(self._listening, "the exporter listens")

    def _listening(self) -> tuple[str, int] | None:
        for entry in self.log():
            if entry["event"] == "listening":
                host, _, port = str(entry["address"]).rpartition(":")
                return host, int(port)
        return None

    def __exit__(self, *exception: object) -> None:
        """Stop it, and find no bug and nothing but a log."""
        if not self.stopped and self.running:
            assert self.metrics().value("kms_exporter_internal_errors_total") == 0, self.report()
        super().__exit__(*exception)
        self.log()

    def log(self) -> list[dict[str, Any]]:
        """Parse the log so far; anything else that was written is an error."""
        try:
            return [json.loads(line) for line in list(self.lines)]
        except ValueError:
            pytest.fail(f"not a log line\n{self.report()}")

    def write_config(self, configuration: Config | str) -> None:
        """Put another configuration in the place of the file, in one step."""
        text = configuration if isinstance(configuration, str) else yaml.safe_dump(dict(configuration))
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config_file)

    def get(self, path: str, **headers: str) -> Response:
        """GET a path; `accept_encoding="gzip"` is the header Accept-Encoding."""
        return self._request("GET", path, headers)

    def post(self, path: str, **headers: str) -> Response:
        """POST nothing to a path."""
        return self._request("POST", path, headers)

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        where = self.prefix + path
        return http_request(self.web, where, method=method, headers=named, namespace=self.namespace)

    def metrics(self) -> Samples:
        """Scrape /metrics."""
        answer = self.get("/metrics")
        assert answer.status == http.HTTPStatus.OK, answer.text
        return parse_metrics(answer.text)

    def wait_for(self, seen: Callable[[Samples], object], what: str = "") -> Samples:
        """Scrape until this is seen, and return that scrape."""
        scraped = Samples(())

        def look() -> Samples | None:
            nonlocal scraped
            scraped = self.metrics()
            return scraped if seen(scraped) else None

        try:
            return self.wait_until(look, what or "to see it on /metrics")
        except BaseException:
            sys.stderr.write(f"{self.report()}\n{scraped.report()}\n")  # pytest shows it for a failed test
            raise

    def wait_for_value(self, expected: float | None, name: str, **labels: object) -> Samples:
        """Scrape until a series has this value, or is absent for None."""
        return self.wait_for(
            lambda seen: seen.value(name, **labels) == expected, f"{name}{labels} is {expected}"
        )

    def wait_for_status(self, expected: str, zone: str, **labels: object) -> Samples:
        """Scrape until the SRV lookup of a zone ends like this."""
        return self.wait_for(lambda seen: seen.status(zone, **labels) == expected, f"{zone} is {expected}")

    def wait_for_growth(self, name: str, by: float, **labels: object) -> Samples:
        """Scrape until a counter has grown by this much."""
        start = self.metrics().value(name, **labels)
        assert start is not None, f"{name}{labels} is absent\n{self.report()}"
        return self.wait_for(
            lambda seen: (seen.value(name, **labels) or 0) >= start + by, f"{name}{labels} grows"
        )


# --- Prometheus and Alertmanager

RULES = ROOT / "deploy/prometheus/kms-exporter.rules.yml"
PROMETHEUS_EXAMPLE = ROOT / "deploy/prometheus/prometheus.yml"
ALERTMANAGER_EXAMPLE = ROOT / "deploy/alertmanager/alertmanager.yml"


UPTIME = re.compile(r"(kms_exporter_uptime_seconds:max\[\w+\]\) <) (\d+)")
"""The one wait that is in an expression: how many seconds an exporter has to run."""


def hurried_rules(directory: Path, wait: str = "1s") -> Path:
    """Copy the alert rules with every wait and interval shortened, and nothing else changed."""
    copy = directory / RULES.name
    text = re.sub(r"(?m)^(\s+(?:for|keep_firing_for|interval):) \w+$", rf"\1 {wait}", RULES.read_text())
    text, uptimes = UPTIME.subn(r"\1 1", text)
    assert uptimes == 1
    copy.write_text(text)
    return copy


class Server(Process):
    """A program with an HTTP interface that tells when it is ready, as those of the Prometheus project do."""

    def __init__(
        self, command: Sequence[str], web: tuple[str, int], *, namespace: Namespace | None = None
    ) -> None:
        self.web = web
        super().__init__(command, namespace=namespace)
        self.wait_until(lambda: self._ready() or None, f"{Path(command[0]).name} is ready")

    def _ready(self) -> bool:
        try:
            return self.request("/-/ready").status == http.HTTPStatus.OK
        except OSError:
            return False

    def request(self, path: str, **options: Any) -> Response:
        """Make one request."""
        return http_request(self.web, path, namespace=self.namespace, **options)


class Prometheus(Server):
    """A Prometheus server that scrapes one address every second, or runs on a configuration file as it is."""

    def __init__(
        self,
        directory: Path,
        target: tuple[str, int] | None = None,
        *,
        rules: Path | None = None,
        config_file: Path | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        need("prometheus")
        directory.mkdir(parents=True)
        if target is not None:
            config_file = directory / "prometheus.yml"
            config_file.write_text(yaml.safe_dump(self._config(target, rules)))
        web = (LOOPBACK, port or free_port())
        command = [
            which("prometheus") or "",
            f"--config.file={config_file}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--web.listen-address={}:{}".format(*web),
            "--log.level=warn",
            *arguments,
        ]
        super().__init__(command, web, namespace=namespace)

    @staticmethod
    def _config(target: tuple[str, int], rules: Path | None) -> dict[str, Any]:
        scrape = {"job_name": "kms", "static_configs": [{"targets": ["{}:{}".format(*target)]}]}
        each_second = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
        files = [] if rules is None else [str(rules)]
        return {"global": each_second, "rule_files": files, "scrape_configs": [scrape]}

    def get(self, path: str, **parameters: object) -> Any:
        """Ask its HTTP API, and return the data of the answer."""
        answer = json.loads(self.request(f"{path}?{urllib.parse.urlencode(parameters, doseq=True)}").body)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression now, and return labels and value of each series."""
        found = self.get("/api/v1/query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def firing(self, **labels: str) -> set[str]:
        """Collect the names of the alerts that are firing now and have these labels, among others."""
        alerts = self.get("/api/v1/alerts")["alerts"]
        return {
            alert["labels"]["alertname"]
            for alert in alerts
            if alert["state"] == "firing" and labels.items() <= alert["labels"].items()
        }


class Alertmanager(Server):
    """An Alertmanager on a configuration file as it is; the example by default."""

    def __init__(
        self,
        directory: Path,
        *,
        config_file: Path = ALERTMANAGER_EXAMPLE,
        port: int | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        need("prometheus-alertmanager")
        directory.mkdir(parents=True)
        web = (LOOPBACK, port or free_port())
        command = [
            which("prometheus-alertmanager") or "",
            f"--config.file={config_file}",
            f"--storage.path={directory}",
            "--web.listen-address={}:{}".format(*web),
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        super().__init__(command, web, namespace=namespace)

    def alerts(self) -> list[dict[str, Any]]:
        """List the alerts that it knows of, as its API gives them."""
        found: list[dict[str, Any]] = json.loads(self.request("/api/v2/alerts").body)
        return found

    def post(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Tell it of alerts, as Prometheus does."""
        body = json.dumps(list(alerts)).encode()
        headers = {"Content-Type": "application/json"}
        answer = self.request("/api/v2/alerts", method="POST", headers=headers, body=body)
        assert answer.status == http.HTTPStatus.OK, answer.text


@dataclass(frozen=True, slots=True)
class Notification:
    """What Alertmanager sent to one receiver: the path of its URL, and the body."""

    receiver: str
    body: Mapping[str, Any]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """List its alerts, each with `status`, `labels` and `annotations`."""
        return list(self.body["alerts"])


class Webhook:
    """An HTTP server that keeps what Alertmanager sends to it; the paths name the receivers."""

    def __init__(self, port: int, *, namespace: Namespace | None = None) -> None:
        received = self.received = list[Notification]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                received.append(Notification(self.path.strip("/"), body))
                self.send_response(http.HTTPStatus.NO_CONTENT)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: the test asks what came."""

        def listen() -> http.server.ThreadingHTTPServer:
            return http.server.ThreadingHTTPServer((LOOPBACK, port), Handler)

        self._server = namespace.call(listen) if namespace else listen()
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def to(self, receiver: str) -> list[Notification]:
        """List what came for one receiver so far."""
        return [each for each in list(self.received) if each.receiver == receiver]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


# --- All of them together


class Lab(contextlib.ExitStack):
    """Starts servers, each in a directory of its own, and stops them all, the last one first."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directories = (directory / str(number) for number in itertools.count(1))

    def named(self, zones: Mapping[str, str], **options: Any) -> Named:
        """Start BIND."""
        return self.enter_context(Named(next(self._directories), zones, **options))

    def exporter(self, configuration: Config | None, **options: Any) -> Exporter:
        """Start the exporter."""
        return self.enter_context(Exporter(next(self._directories), configuration, **options))

    def prometheus(self, target: tuple[str, int] | None = None, **options: Any) -> Prometheus:
        """Start Prometheus, which scrapes this address, or does what its configuration file says."""
        return self.enter_context(Prometheus(next(self._directories), target, **options))

    def alertmanager(self, **options: Any) -> Alertmanager:
        """Start Alertmanager, on the example unless `options` say otherwise."""
        return self.enter_context(Alertmanager(next(self._directories), **options))

    def webhook(self, port: int, *, namespace: Namespace | None = None) -> Webhook:
        """Listen for what Alertmanager sends."""
        return self.enter_context(contextlib.closing(Webhook(port, namespace=namespace)))

    def namespace(self, *, resolv_conf: str | None = None) -> Namespace:
        """Make a network namespace."""
        need_namespaces()
        return self.enter_context(Namespace(resolv_conf=resolv_conf))

    def listener(self, address: str = LOOPBACK, port: int = 0, **options: Any) -> Listener:
        """Listen on a port where a KMS host seems to be, unless `options` say otherwise."""
        return self.enter_context(contextlib.closing(Listener(address, port, **options)))

    def banner(self) -> BannerPeer:
        """Listen on a port of a service that is no RPC and speaks first."""
        return self.enter_context(contextlib.closing(BannerPeer()))

    def silent_port(self) -> SilentPeer:
        """Listen on a port that accepts and says nothing."""
        return self.enter_context(contextlib.closing(SilentPeer()))

    def closed_port(self) -> ClosedPort:
        """Reserve a port that refuses."""
        return self.enter_context(contextlib.closing(ClosedPort()))

    def filtered_port(self, address: str = LOOPBACK) -> FilteredPort:
        """Listen on a port that drops every SYN."""
        return self.enter_context(contextlib.closing(FilteredPort(address)))

    def silent_dns_server(self) -> SilentDnsServer:
        """Open a port that takes DNS queries and never answers."""
        return self.enter_context(contextlib.closing(SilentDnsServer()))

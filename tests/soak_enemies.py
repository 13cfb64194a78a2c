"""What is done to the exporter during a soak: each enemy acts again and again, on a thread of its own.

An enemy that meets what it may not meet (a page that fails, a refusal that does not come) raises, and that is
a problem of the run. What it may meet, such as a connection that is closed on it, it passes over.
"""

import collections
import contextlib
import gzip
import random
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

import pytest

from tests.services import DEADLINE_SECONDS
from tests.soak_world import World

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
HELD = 30
"""How many connections that lead nowhere are kept open at the same time."""
BAD_CONFIGURATIONS = ("zones: [", "interval: soon\n", "zones: [{name: a.test}, {name: a.test}]\n", "\x00", "")
GARBAGE = (
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 70_000,
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
)


class Enemy(threading.Thread):
    """Acts at random moments, `pause` (least, most) seconds apart, until it is told to stop."""

    def __init__(
        self,
        act: Callable[[], object],
        pause: tuple[float, float],
        dice: random.Random,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=act.__name__.strip("_"), daemon=True)
        self.acts = 0
        self.problems: list[str] = []
        self._act, self._pause, self._dice, self._stopping = act, pause, dice, stop

    def run(self) -> None:
        """Act, and keep what went wrong."""
        while not self._stopping.wait(self._dice.uniform(*self._pause)):
            try:
                self._act()
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 (the run fails for it, not this thread)
                self.problems.append(f"{self.name}: {traceback.format_exc(limit=-3)}")
            self.acts += 1


class Enemies:
    """All of them, each with dice of its own from one seed; as a context, they are at work."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self._world, self._exporter, self._dice = world, world.exporter, dice
        self._held = collections.deque[socket.socket]()
        self._stop = threading.Event()
        self._editing = threading.Lock()  # a reload is refused for either file
        self.refusals = collections.Counter[int]()
        acts: list[tuple[Callable[[], object], tuple[float, float]]] = [
            (self._flap_records, (0.3, 1.0)),
            (self._kill_dns_server, (3.0, 8.0)),
            (self._move_hosts, (0.5, 2.0)),
            (self._reload, (2.0, 5.0)),
            (self._renew_certificate, (8.0, 15.0)),
            (self._scrape, (1.0, 3.0)),
            (self._scrape_too, (1.0, 3.0)),
            (self._read_pages, (1.0, 3.0)),
            (self._probe_on_demand, (1.0, 3.0)),
            (self._send_garbage, (1.0, 3.0)),
            (self._hold_connections, (0.5, 1.5)),
            (self._abort_scrapes, (1.0, 3.0)),
        ]
        self.all = [Enemy(act, pause, random.Random(dice.random()), self._stop) for act, pause in acts]

    def __enter__(self) -> Self:
        self._world.rage()
        for enemy in self.all:
            enemy.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for enemy in self.all:
            enemy.join(DEADLINE_SECONDS)
            if enemy.is_alive():
                enemy.problems.append(f"{enemy.name}: does not end")
        while self._held:
            self._held.popleft().close()

    @property
    def problems(self) -> list[str]:
        """List what went wrong so far."""
        return [problem for enemy in self.all for problem in enemy.problems]

    # --- DNS and hosts

    def _flap_records(self) -> None:
        name = self._dice.choice([*self._world.flapping_zones, "both.test"])
        owner, parent = f"_vlmcs._tcp.{name}.", "flap.test" if "flap" in name else name
        port = self._dice.choice([self._world.hosts[0].port, self._world.closed.port])
        target = self._dice.choice(["alive", "alias", "nowhere", f"k{self._dice.randrange(10**6)}"])
        priority, weight = self._dice.randrange(4), self._dice.randrange(100)
        added = f"add {owner} 60 SRV {priority} {weight} {port} {target}.flap.test."
        match self._dice.choice(["delete", "add", "replace", "mend"]):
            case "delete":
                self._world.flapping.update(parent, f"delete {owner} SRV")
            case "add":
                self._world.flapping.update(parent, added)
            case "replace":
                self._world.flapping.update(parent, f"delete {owner} SRV", added)
            case "mend":
                self._world.mend(name)

    def _kill_dns_server(self) -> None:
        self._world.kill()
        self._stop.wait(self._dice.uniform(1, 5))
        self._world.revive()

    def _move_hosts(self) -> None:
        host = self._dice.choice(self._world.fleeting)
        self._dice.choice([host.come, host.go])()

    # --- Configuration

    def _reload(self) -> None:
        """Change the file, and let it be noticed by a signal, by POST or later; or write a bad one."""
        with self._editing:
            self._change_configuration()

    def _change_configuration(self) -> None:
        if self._dice.random() < 0.3:
            self._exporter.write_config(self._dice.choice(BAD_CONFIGURATIONS))
            answer = self._exporter.post("/-/reload")
            assert answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}, answer.text
            self.refusals[answer.status] += 1
        without = self._dice.sample(self._world.flapping_zones, self._dice.randrange(4))
        keys = {"probe": {"networks": ["127.0.0.0/8"], "max_concurrency": self._dice.choice([128, 256])}}
        self._exporter.write_config(self._world.config(without=without, **keys if self._coin() else {}))
        match self._dice.choice(["signal", "post", "notice"]):
            case "signal":
                for _ in range(self._dice.choice([1, 1, 20])):
                    self._exporter.send_signal(signal.SIGHUP)
            case "post":
                answer = self._exporter.post("/-/reload")
                assert answer.status == HTTPStatus.OK, answer.text

    def _renew_certificate(self) -> None:
        with self._editing:
            if self._coin():
                self._exporter.write_web({"tls_server_config": {"cert_file": "no.crt", "key_file": "no.key"}})
                answer = self._exporter.post("/-/reload")
                assert answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}, answer.text
                self.refusals[answer.status] += 1
            self._exporter.renew_certificate()

    # --- Readers

    def _scrape(self) -> None:
        compressed = self._coin()
        accept = self._dice.choice(["text/plain", OPENMETRICS])
        encoding = "gzip" if compressed else "identity"
        answer = self._exporter.get("/metrics", accept=accept, accept_encoding=encoding)
        body = gzip.decompress(answer.body) if compressed else answer.body
        assert answer.status == HTTPStatus.OK, body
        assert b"kms_exporter_build_info{" in body
        assert body.endswith(b"# EOF\n") == (accept == OPENMETRICS)

    def _scrape_too(self) -> None:
        self._scrape()

    def _read_pages(self) -> None:
        name = self._dice.choice(self._world.steady_zones)
        pages = ["/", f"/zones/{name}", "/api/v1/status", "/sd", "/config", "/-/healthy", "/?verdict=ok&q=a"]
        self._ask(self._dice.choice(pages), HTTPStatus.OK)
        missing = self._dice.choice(["/zones/no.test", "/nothing", "/hosts/a:1"])
        self._ask(missing, HTTPStatus.NOT_FOUND)

    def _probe_on_demand(self) -> None:
        allowed = [*self._world.steady_zones, *(each.name for each in self._world.hostile), "both.test"]
        self._ask(f"/probe?target={self._dice.choice(allowed)}", HTTPStatus.OK)
        forbidden = self._dice.choice(["elsewhere.test", "10.6.6.6:1688", "[2001:db8::6]:1688"])
        self._ask(f"/probe?target={forbidden}", HTTPStatus.FORBIDDEN)
        self._ask("/probe?target=%00", HTTPStatus.BAD_REQUEST)

    def _ask(self, path: str, expected: HTTPStatus) -> None:
        answer = self._exporter.get(path)
        assert answer.status == expected, f"{path}: {answer.status} {answer.body[:500]!r}"

    # --- Vandals

    def _send_garbage(self) -> None:
        """Send what is no request, within TLS or without, and read what comes: never an error of ours."""
        with contextlib.suppress(OSError), contextlib.closing(self._connection()) as connection:
            connection.sendall(self._dice.choice([*GARBAGE, self._dice.randbytes(300)]))
            status = connection.recv(65536).partition(b" ")[2][:3]
            assert not status.startswith(b"5") or status == b"505", status

    def _hold_connections(self) -> None:
        """Begin requests and never end them; a byte comes now and then, and the oldest are given up."""
        with contextlib.suppress(OSError):
            held = self._connection()
            self._held.append(held)
            begun = [b"G", b"GET /metrics HTT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "]
            held.sendall(self._dice.choice(begun))
        for each in tuple(self._held):
            with contextlib.suppress(OSError):
                each.send(b"a")
        while len(self._held) > HELD:
            self._held.popleft().close()

    def _abort_scrapes(self) -> None:
        """Ask for pages, and reset the connection instead of reading."""
        for _ in range(self._dice.randrange(1, 5)):
            with contextlib.suppress(OSError), contextlib.closing(self._connection(tls=True)) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                if self._coin():
                    connection.recv(10)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def _connection(self, *, tls: bool | None = None) -> socket.socket:
        if tls or (tls is None and self._coin()):
            return self._exporter.connect()
        return socket.create_connection(self._exporter.web, timeout=DEADLINE_SECONDS / 4)

    def _coin(self) -> bool:
        return self._dice.random() < 0.5

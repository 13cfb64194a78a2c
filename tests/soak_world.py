"""The world of a soak: three BIND servers, hostile DNS servers, KMS hosts of every mood, and the exporter.

Everything listens on loopback, and every address that a record may lead to is either there or one that the
configuration forbids. `calm()` ends all malice: from then on each zone is as it should be.
"""

import http.client
import itertools
import random
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dns.flags
import dns.rcode
import dns.rdatatype
import yaml

from tests.certificates import Authority
from tests.fake_dns import FakeDns, Query, hangs, respond, says, streams
from tests.services import (
    DEADLINE_SECONDS,
    LOOPBACK,
    Exporter,
    Lab,
    Listener,
    Response,
    config,
    free_port,
    srv,
    wait_until,
    zone,
    zone_file,
)

INTERVAL_SECONDS = 3.0
FORGET_SECONDS = 15
STEADY, FLAPPING, DYING, MOODY = 6, 8, 4, 3
AT_REST = {"interval": "1h"}
"""Everything is checked once, and then nothing is under way, however busy the machine is."""
FORBIDDEN = "10.6.6.6"
"""An address that no configuration here lets anybody connect to."""


# --- DNS servers that mean harm


class HostileDns(FakeDns):
    """Answers for one zone whatever is worst today, and what is right once it is `calm`."""

    def __init__(self, name: str, port: int, dice: random.Random) -> None:
        self.name = name
        self.calm = True
        self._port = port
        self._dice = dice
        super().__init__(self._say, tcp=self._converse)

    def _note(self, *_: object) -> int:
        return 0  # it runs for too long to remember every query

    def _say(self, query: Query) -> Iterable[bytes]:
        question = query.question[0]
        if self.calm:
            return self._right()(query)
        if question.rdtype == dns.rdatatype.SRV:
            return self._dice.choice(self._harms())(query)
        return self._dice.choice([says(rcode=dns.rcode.NXDOMAIN), self._somewhere])(query)

    def _converse(self, connection: socket.socket, query: Query) -> None:
        if self.calm:
            streams(self._right())(connection, query)
            return
        large = says(*self._rotating(count=self._dice.randrange(20, 400)))
        choices = (hangs, streams(large), streams(large, chunk_bytes=7), lambda *_: None)
        self._dice.choice(choices)(connection, query)

    def _right(self) -> Callable[[Query], Iterable[bytes]]:
        def answer(query: Query) -> Iterable[bytes]:
            rdtype = query.question[0].rdtype
            records = {
                dns.rdatatype.SRV: f"{query.question[0].name} SRV 0 0 {self._port} kms.{self.name}.",
                dns.rdatatype.A: f"kms.{self.name}. A {LOOPBACK}",
            }
            return says(*[records[rdtype]] if rdtype in records else [])(query)

        return answer

    def _harms(self) -> list[Callable[[Query], Iterable[bytes]]]:
        truncated = says(flags=dns.flags.AA | dns.flags.TC)
        return [
            lambda _: (),
            lambda _: (self._dice.randbytes(self._dice.randrange(1, 600)),),
            says(edit=lambda message: setattr(message, "id", message.id ^ 1)),
            says(rcode=self._dice.choice([dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NXDOMAIN])),
            truncated,
            says(*self._rotating(count=12)),
            says(*self._rotating(count=3), "_vlmcs._tcp.elsewhere.test. SRV 0 0 1688 kms.elsewhere.test."),
            lambda query: itertools.chain.from_iterable(
                self._right()(query) for _ in range(self._dice.randrange(2, 60))
            ),
        ]

    def _rotating(self, *, count: int) -> Iterator[str]:
        """Make records with targets that nobody has seen before."""
        for _ in range(count):
            ttl, port = self._dice.choice([0, 60, 2**31 - 1]), self._dice.choice([0, self._port])
            target = f"{self._dice.randbytes(self._dice.choice([4, 30])).hex()}.{self.name}."
            yield f"_vlmcs._tcp.{self.name}. {ttl} SRV {self._dice.randrange(3)} 0 {port} {target}"

    def _somewhere(self, query: Query) -> Iterable[bytes]:
        if query.question[0].rdtype != dns.rdatatype.A:
            return says()(query)
        address = self._dice.choice([FORBIDDEN, "127.6.6.6", "0.0.0.0"])
        response = respond(query, f"{query.question[0].name} A {address}")
        return (response.to_wire(),)


# --- KMS hosts


class MoodyHost(Listener):
    """A KMS host that does something else with each connection, until it is `calm`."""

    def __init__(self, dice: random.Random) -> None:
        self.calm = True
        self._dice = dice
        super().__init__()
        self._serve = self._follow_mood

    def _follow_mood(self, connection: socket.socket) -> None:
        moods = (self._answer, self._hang, self._drown, self._speak, self._reset, lambda _: None)
        (self._answer if self.calm else self._dice.choice(moods))(connection)

    def _hang(self, connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    def _drown(self, connection: socket.socket) -> None:
        connection.recv(4096)
        for _ in range(32):
            connection.sendall(self._dice.randbytes(32 * 1024))

    def _speak(self, connection: socket.socket) -> None:
        greetings = [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"]
        connection.sendall(self._dice.choice(greetings))

    def _reset(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class FleetingHost:
    """A KMS host that goes and comes back on the same port, which nobody else gets meanwhile."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = free_port()
        self._holder.bind((LOOPBACK, self.port))  # and never listens
        self._listener: Listener | None = None
        self.come()

    def come(self) -> None:
        """Listen, if it does not."""
        self._listener = self._listener or Listener(port=self.port)

    def go(self) -> None:
        """Listen no more."""
        if self._listener:
            self._listener.close()
        self._listener = None

    def close(self) -> None:
        """Let go of the port."""
        self.go()
        self._holder.close()


# --- The exporter, with TLS


class LockedExporter(Exporter):
    """The exporter behind TLS, whose certificate can be renewed while it runs."""

    def __init__(self, directory: Path, configuration: Mapping[str, Any]) -> None:
        self._authority = Authority("soak")
        self._served = directory.with_name(f"{directory.name}-web")
        self._served.mkdir()
        self._web_file = self._served / "web.yml"
        self.renew_certificate()
        self.context = ssl.create_default_context(cadata=self._authority.pem.decode())
        super().__init__(directory, configuration, arguments=[f"--web.config.file={self._web_file}"])

    def renew_certificate(self) -> None:
        """Put a new certificate and a web configuration that names it in place."""
        name = f"{time.monotonic_ns()}"
        for old in self._served.glob("*.crt"):
            if self._web_file.exists() and old.stem not in self._web_file.read_text():
                old.with_suffix(".key").unlink()
                old.unlink()
        self._authority.issue(LOOPBACK).write(self._served, name)
        self.write_web({"tls_server_config": {"cert_file": f"{name}.crt", "key_file": f"{name}.key"}})

    def write_web(self, content: Mapping[str, Any]) -> None:
        """Write another web configuration, in one step."""
        fresh = self._web_file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(dict(content)))
        shutil.move(fresh, self._web_file)

    def connect(self) -> ssl.SSLSocket:
        """Open a connection, for requests that no library would make."""
        plain = socket.create_connection(self.web, timeout=DEADLINE_SECONDS / 4)
        return self.context.wrap_socket(plain, server_hostname=LOOPBACK)

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection = http.client.HTTPSConnection(
            *self.web, context=self.context, timeout=DEADLINE_SECONDS / 4
        )
        try:
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


# --- All of it


class World:
    """Starts everything, at peace and at rest; `lab` stops it."""

    def __init__(self, lab: Lab, directory: Path, dice: random.Random) -> None:
        self._keeper = lab.enter_context(
            ThreadPoolExecutor(1)
        )  # a child dies with the thread that started it
        self.hosts = [lab.listener(), lab.listener()]
        self.moody = [_kept(lab, MoodyHost(random.Random(dice.random()))) for _ in range(MOODY)]
        self.fleeting = [_kept(lab, FleetingHost()) for _ in range(2)]
        self.closed = lab.closed_port()
        self.steady = lab.named({"steady.test": zone_file(*self._steady()), "both.test": self._both()})
        self.flapping = lab.named({"flap.test": zone_file(*self._flapping()), "both.test": self._both()})
        self.dying = lab.named({"dying.test": zone_file(*self._names("dying", DYING))})
        self.hostile = [
            lab.enter_context(
                HostileDns(f"hostile{number}.test", self.hosts[0].port, random.Random(dice.random()))
            )
            for number in range(5)
        ]
        self.steady_zones = [f"steady{number}.steady.test" for number in range(STEADY)]
        self.flapping_zones = [f"flap{number}.flap.test" for number in range(FLAPPING)]
        self.exporter = lab.enter_context(LockedExporter(directory / "exporter", self.config(**AT_REST)))
        wait_until(self._ready, "the first checks are done")

    def _ready(self) -> bool | None:
        return self.exporter.get("/-/ready").status == http.HTTPStatus.OK or None

    def _names(self, kind: str, count: int) -> Iterator[str]:
        for number in range(count):
            name = f"{kind}{number}"
            for place, host in enumerate(self.hosts):
                yield f"_vlmcs._tcp.{name} SRV {place} 0 {host.port} kms{place}.{name}"
                yield f"kms{place}.{name} A {LOOPBACK}"

    def _steady(self) -> Iterator[str]:
        yield from self._names("steady", STEADY)
        for number, moody in enumerate(self.moody):
            fleeting = self.fleeting[number % len(self.fleeting)]
            yield f"_vlmcs._tcp.moody{number} SRV 0 0 {moody.port} kms"
            yield f"_vlmcs._tcp.moody{number} SRV 0 0 {fleeting.port} kms"
        yield f"kms A {LOOPBACK}"

    def _flapping(self) -> Iterator[str]:
        yield from self._names("flap", FLAPPING)
        yield f"alive A {LOOPBACK}"
        yield "alias CNAME alive"

    def _both(self) -> str:
        return zone_file(srv("kms1", self.hosts[0].port), f"kms1 A {LOOPBACK}")

    def config(self, *, without: Iterable[str] = (), **keys: Any) -> dict[str, Any]:
        """Build the configuration, without some of the zones, and with other values of some keys."""
        steady, flapping, dying = (each.server for each in (self.steady, self.flapping, self.dying))
        zones = [
            *(zone(name, steady, labels={"team": "workplace"}) for name in self.steady_zones),
            *(zone(name, flapping) for name in self.flapping_zones),
            *(zone(f"dying{number}.dying.test", dying) for number in range(DYING)),
            *(zone(f"moody{number}.steady.test", steady) for number in range(MOODY)),
            zone("both.test", steady, flapping),
            *(zone(each.name, each.server.label) for each in self.hostile),
        ]
        gone = set(without)
        base = {
            "interval": f"{INTERVAL_SECONDS:.0f}s",
            "timeout": "800ms",
            "forget_after": f"{FORGET_SECONDS}s",
            "limits": {"vanished_per_zone": 16, "records_per_zone": 32},
            "dns": {"servers": [steady]},
            "hosts": [f"{LOOPBACK}:{each.port}" for each in (self.hosts[0], *self.moody)],
            "clients": [{"name": "laptop", "suffixes": [self.flapping_zones[0], self.steady_zones[0]]}],
        }
        return config(*(each for each in zones if each["name"] not in gone), **base | keys)

    def load(self, **keys: Any) -> None:
        """Let the exporter load the configuration, with other values of some keys."""
        self.exporter.write_config(self.config(**keys))
        answer = self.exporter.post("/-/reload")
        assert answer.status == http.HTTPStatus.OK, answer.text

    def rage(self) -> None:
        """Let all hosts and servers that can be hostile be so."""
        for each in (*self.hostile, *self.moody):
            each.calm = False

    def calm(self) -> None:
        """Put everything right again."""
        for each in (*self.hostile, *self.moody):
            each.calm = True
        for host in self.fleeting:
            host.come()
        for name in self.flapping_zones:
            self.mend(name)
        self.mend("both.test")
        self.revive()
        self.exporter.renew_certificate()
        self.load()

    def mend(self, name: str) -> None:
        """Give a zone at the flapping server the records that it had at first."""
        owner, parent = f"_vlmcs._tcp.{name}", name.partition(".")[2] if "flap" in name else name
        records = [f"add {owner}. 60 SRV 0 0 {self.hosts[0].port} kms1.{name}."]
        if name in self.flapping_zones:
            records = [
                f"add {owner}. 60 SRV {place} 0 {host.port} kms{place}.{name}."
                for place, host in enumerate(self.hosts)
            ]
        self.flapping.update(parent, f"delete {owner}. SRV", *records)

    def kill(self) -> None:
        """Kill the dying DNS server, if it lives."""
        self._keeper.submit(lambda: None if self.dying.stopped else self.dying.kill()).result()

    def revive(self) -> None:
        """Start the dying DNS server again, if it is dead."""
        self._keeper.submit(lambda: self.dying.restart() if self.dying.stopped else None).result()


def _kept(lab: Lab, host: Any) -> Any:
    lab.callback(host.close)
    return host

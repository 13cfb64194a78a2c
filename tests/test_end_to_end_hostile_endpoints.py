"""The real exporter against endpoints that mean harm: each has its reason, and nothing of them is left.

One process watches an honest host all the time; the others come with one reload and go with the next. What it
has open then is what it had before.
"""

import contextlib
import functools
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from exporter import rpc
from tests.fake_dns import FakeDns, Query, respond, streams
from tests.services import LOOPBACK, Exporter, Lab, Peer, Samples, config, wait_until, zone

TIMEOUT_SECONDS = 3.0
ZONES, HOSTS_PER_ZONE = 16, 64
HANGING = ZONES * HOSTS_PER_ZONE
MAX_CONCURRENCY = HANGING // 2
DESCRIPTORS_FOR_THE_REST = 128  # lookups of all zones at once, and what is open in any case
MEGABYTE = 1024 * 1024
CLOSE_WAIT = "08"

Serve = Callable[[socket.socket], None]

# --- What they do


def header(kind: int, *, frag_len: int, flags: int = 3) -> bytes:
    """Build the header of an answer to a bind (C706, 12.6.3.1)."""
    return struct.pack("<BBBBB3xHHI", 5, 0, kind, flags, 0x10, frag_len, 0, rpc.CALL_ID)


def after_bind(*parts: bytes, pause_seconds: float = 0.0) -> Serve:
    """Wait for a bind, send this, and wait for the other side to hang up."""

    def serve(connection: socket.socket) -> None:
        connection.recv(len(rpc.BIND), socket.MSG_WAITALL)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_seconds)
        drain(connection)

    return serve


def drain(connection: socket.socket) -> None:
    """Take what comes until the other side hangs up."""
    while connection.recv(65536):
        pass


def for_ever(data: bytes, *, pause_seconds: float = 0.0) -> Serve:
    """Wait for a bind, and send this for as long as somebody takes it."""

    def serve(connection: socket.socket) -> None:
        connection.recv(len(rpc.BIND), socket.MSG_WAITALL)
        while True:
            connection.sendall(data)
            time.sleep(pause_seconds)

    return serve


def drips(data: bytes) -> Serve:
    """Send a byte each time just before one gives up hope."""
    return after_bind(*(bytes([byte]) for byte in data), pause_seconds=TIMEOUT_SECONDS / 2)


def speaks_first(data: bytes) -> Serve:
    """Greet whoever connects, as other services do."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(data)
        drain(connection)

    return serve


def resets_after(size: int, data: bytes = b"") -> Serve:
    """Take some bytes of a bind, send some, and reset the connection."""

    def serve(connection: socket.socket) -> None:
        connection.recv(size, socket.MSG_WAITALL)
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return serve


def hangs_up_after_bind(connection: socket.socket) -> None:
    """Take the bind, and say nothing."""
    connection.recv(len(rpc.BIND), socket.MSG_WAITALL)


def half_closes(connection: socket.socket) -> None:
    """Say that nothing will come, and go on to listen."""
    connection.shutdown(socket.SHUT_WR)
    drain(connection)


ACK, NAK = 12, 13
WHOLE_NAK = header(NAK, frag_len=18) + b"\0\0"
HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
TLS_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + b"\x55" * 116
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x32"


@dataclass(frozen=True, slots=True)
class Malice:
    """What an endpoint does, and the reason that has to be given for it."""

    reason: str
    serve: Serve


MALICE = {
    "tarpit": Malice("rpc_timeout", drips(header(ACK, frag_len=rpc.MAX_FRAGMENT_BYTES) + b"\0" * 9000)),
    "tarpit of anything": Malice("not_rpc", drips(b"SSH-2.0-")),
    "reset in the bind": Malice("rpc_closed", resets_after(10)),
    "reset after the bind": Malice("rpc_closed", resets_after(len(rpc.BIND))),
    "reset in the answer": Malice("rpc_closed", resets_after(len(rpc.BIND), header(ACK, frag_len=60)[:9])),
    "megabyte": Malice("not_rpc", after_bind(b"\0" * MEGABYTE)),
    "megabyte at once": Malice("not_rpc", speaks_first(b"x" * MEGABYTE)),
    "megabyte of a fragment": Malice("rpc_rejected", after_bind(WHOLE_NAK + b"\0" * MEGABYTE)),
    "TLS hello": Malice("not_rpc", after_bind(TLS_HELLO)),
    "TLS alert": Malice("not_rpc", after_bind(TLS_ALERT)),
    "SSH": Malice("not_rpc", speaks_first(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "HTTP": Malice("not_rpc", after_bind(HTTP)),
    "hang-up": Malice("rpc_closed", lambda _: None),
    "hang-up after the bind": Malice("rpc_closed", hangs_up_after_bind),
    "half-close": Malice("rpc_closed", half_closes),
    "65535 bytes": Malice("not_rpc", after_bind(header(ACK, frag_len=65535))),
    "most bytes": Malice("rpc_timeout", after_bind(header(ACK, frag_len=rpc.MAX_FRAGMENT_BYTES))),
    "endless answer": Malice("rpc_rejected", for_ever(WHOLE_NAK)),
    "endless fragments": Malice("not_rpc", for_ever(header(ACK, frag_len=16, flags=0))),
    "endless bytes": Malice("not_rpc", for_ever(b"\0" * 65536)),
}


class Swarm:
    """A port that takes every connection, and never says a word; one thread holds them all."""

    def __init__(self) -> None:
        self._listening = socket.create_server((LOOPBACK, 0), backlog=4096)
        self._listening.setblocking(False)  # noqa: FBT003
        self.port: int = self._listening.getsockname()[1]
        self.accepted, self.held = 0, 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="swarm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for key in tuple(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._listening:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and not _more(key.fileobj):
                    self._selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.held -= 1

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listening.accept()
                connection.setblocking(False)  # noqa: FBT003
                self._selector.register(connection, selectors.EVENT_READ)
                self.accepted += 1
                self.held += 1


def _more(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return bool(connection.recv(4096))
    return False


# --- Who watches them


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process has open."""

    descriptors: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Siege:
    """The exporter among all of them, what it had open before they came, and at most as they came."""

    exporter: Exporter
    quiet: dict[str, Any]
    before: Footprint
    ports: dict[str, int]
    swarm: Swarm
    most_descriptors: int

    def leave(self) -> None:
        """Have it watch the honest host alone again."""
        configure(self.exporter, self.quiet)


def configure(exporter: Exporter, configuration: dict[str, Any]) -> None:
    """Have the exporter run on another configuration from now on."""
    exporter.write_config(configuration)
    answer = exporter.post("/-/reload")
    assert answer.status == 200, answer.text


def footprint(exporter: Exporter) -> Footprint:
    """Ask the exporter what it has open."""
    seen = exporter.metrics()
    descriptors, tasks = seen.value("process_open_fds"), seen.value("kms_exporter_tasks")
    assert descriptors is not None
    assert tasks is not None
    return Footprint(int(descriptors), int(tasks))


def cut(query: Query) -> Iterable[bytes]:
    """Say that the answer does not fit, and to ask over TCP."""
    return [respond(query, flags=dns.flags.TC).to_wire()]


def hosts_of_zone(query: Query) -> Iterable[bytes]:
    """Answer with as many hosts as the limit allows, all of them at the port that the zone is named after."""
    return [query.id.to_bytes(2, "big") + _answer(query.question[0].name.to_text(), query.question[0].rdtype)]


@functools.cache
def _answer(name: str, rdtype: dns.rdatatype.RdataType) -> bytes:
    query = dns.message.make_query(name, rdtype)
    if rdtype != dns.rdatatype.SRV:
        return respond(query).to_wire()[2:]
    port, number = name.split(".")[2].split("-")[1:]
    targets = [f"kms{host}.zone{number}.test." for host in range(HOSTS_PER_ZONE)]
    records = [f"{name} SRV 0 0 {port} {target}" for target in targets]
    glue = [f"{target} A {LOOPBACK}" for target in targets]
    return respond(query, *records, additional=glue).to_wire(max_size=65535)[2:]


@pytest.fixture(scope="module")
def siege(module_lab: Lab) -> Iterator[Siege]:
    """Start the exporter on one honest host, take its measure, and then let all the others come."""
    honest = f"{LOOPBACK}:{module_lab.listener().port}"
    common = {
        "interval": "20s",  # a thousand binds at once take a slow machine some seconds
        "timeout": f"{TIMEOUT_SECONDS:.0f}s",
        "probe": {
            "networks": ["127.0.0.0/8"],
            "address_families": ["ipv4"],
            "max_concurrency": MAX_CONCURRENCY,
        },
    }
    quiet = config(hosts=[honest], **common)
    exporter = module_lab.exporter(quiet)
    exporter.wait_for_value(1, "kms_endpoint_up")
    exporter.wait_for_growth("kms_exporter_event_loop_lag_seconds_count", 11)  # tasks are counted then
    before = footprint(exporter)
    with contextlib.ExitStack() as enemies:
        swarm = enemies.enter_context(Swarm())
        dns = enemies.enter_context(FakeDns(cut, tcp=streams(hosts_of_zone)))
        ports = {
            name: enemies.enter_context(contextlib.closing(Peer(malice.serve))).port
            for name, malice in MALICE.items()
        }
        zones = [zone(f"at-{swarm.port}-{number}.test", dns.server.label) for number in range(ZONES)]
        hosts = [honest, *(f"{LOOPBACK}:{port}" for port in ports.values())]
        configure(exporter, config(*zones, hosts=hosts, **common))
        yield Siege(exporter, quiet, before, ports, swarm, watch_them_come(exporter, swarm))


def watch_them_come(exporter: Exporter, swarm: Swarm) -> int:
    """Wait until all of the thousand have been connected to, and count the descriptors open at most.

    The first check of each zone is at once, so all of them are wanted at the same time.
    """
    most = 0

    def look(seen: Samples) -> bool:
        nonlocal most
        most = max(most, int(seen.value("process_open_fds") or 0))
        return swarm.accepted >= HANGING

    exporter.wait_for(look, "each has been connected to")
    return most


@pytest.mark.parametrize("name", MALICE)
def test_reason(siege: Siege, name: str) -> None:
    """Each kind of malice is down, and for the reason that stands for it."""
    at = {"target": LOOPBACK, "port": siege.ports[name]}
    seen = siege.exporter.wait_for_value(1, "kms_endpoint_failure", **at, reason=MALICE[name].reason)
    assert seen.value("kms_endpoint_up", **at) == 0


def test_thousand_that_hang(siege: Siege) -> None:
    """A thousand endpoints that say nothing are each a timeout of the bind, and only so many at a time."""
    seen = siege.exporter.wait_for(
        lambda seen: (
            len(seen.series("kms_endpoint_failure", port=siege.swarm.port, reason="rpc_timeout")) == HANGING
        )
    )
    assert len(seen.series("kms_endpoint_up", port=siege.swarm.port)) == HANGING
    assert siege.most_descriptors <= siege.before.descriptors + MAX_CONCURRENCY + DESCRIPTORS_FOR_THE_REST


def test_honest_host(siege: Siege) -> None:
    """Among all of them, the honest host is checked as ever, and is up."""
    honest = {"target": LOOPBACK, "port": siege.quiet["hosts"][0].rpartition(":")[2]}
    before = last_check(siege.exporter.metrics(), honest)
    siege.exporter.wait_for(
        lambda seen: last_check(seen, honest) > before and seen.value("kms_endpoint_up", **honest) == 1
    )
    assert siege.exporter.metrics().value("kms_exporter_internal_errors_total") == 0


def last_check(seen: Samples, host: dict[str, object]) -> float:
    """Read when a static host was checked last; 0 before it was."""
    return seen.value("kms_exporter_static_host_last_check_timestamp_seconds", **host) or 0.0


def test_nothing_is_left(siege: Siege) -> None:
    """When they are gone, so are their sockets and tasks. Memory is for the soak to watch, with its time."""
    exporter, probes = siege.exporter, {"target": LOOPBACK, "port": siege.ports["megabyte"]}
    exporter.wait_for(lambda seen: (seen.value("kms_endpoint_probes_total", **probes) or 0) >= 2)

    siege.leave()

    exporter.wait_for(lambda seen: len(seen.series("kms_endpoint_up")) == 1)
    wait_until(lambda: is_within(footprint(exporter), siege.before) or None, "all that was opened is closed")
    wait_until(lambda: not connections(exporter.pid, CLOSE_WAIT) or None, "nobody waits for a close")
    wait_until(lambda: siege.swarm.held == 0 or None, "the swarm holds no connection any more")


def is_within(now: Footprint, before: Footprint) -> bool:
    """Tell whether there is no more than there was."""
    return now.descriptors <= before.descriptors and now.tasks <= before.tasks


def connections(pid: int, state: str) -> list[str]:
    """List the TCP connections of a process that are in this state of the kernel's (proc(5))."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            own.add(str(link.readlink()))
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[3] == state and f"socket:[{line.split()[9]}]" in own]

"""A TCP handshake and an RPC bind: every outcome with real sockets, timed with the kernel as the witness.

What a single machine cannot play is played in a network namespace. Nothing is concluded from how long
anything takes: where a test needs a moment to have passed, it has caused it.
"""

import asyncio
import contextlib
import ctypes
import queue
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from exporter import rpc
from exporter.model import Endpoint, ProbeFailure, ProbeResult
from exporter.probe import not_probed, start_probe
from tests.services import LOOPBACK, Lab, Namespace, Peer, need_ipv6, need_namespaces, wait_until

T = TypeVar("T")

DEADLINE_SECONDS = 30.0
"""Only ends a test that would hang."""
AT_ONCE_SECONDS = 0.05
"""For a peer that never answers: any other time would do."""
BLOCKED_SECONDS = 0.2
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario on an event loop of its own, and end it if it hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await scenario

    return asyncio.run(bounded())


async def probe(endpoint: Endpoint, **options: Any) -> ProbeResult:
    """Probe an endpoint, as something that a task can be made of."""
    return await start_probe(endpoint, **options)


def at(port: int, address: str = LOOPBACK) -> Endpoint:
    """Build an endpoint of the host of the tests."""
    return Endpoint(target="kms.contoso.test", port=port, address=address)


def probe_now(
    port: int,
    address: str = LOOPBACK,
    *,
    timeout_seconds: float = DEADLINE_SECONDS,
    rpc_bind: bool = False,
) -> ProbeResult:
    """Probe one endpoint on an event loop of its own; only the handshake, unless told otherwise."""
    return run(probe(at(port, address), timeout_seconds=timeout_seconds, rpc_bind=rpc_bind))


@contextlib.contextmanager
def listening(address: str = LOOPBACK, *, backlog: int = 16) -> Iterator[socket.socket]:
    """Open a port whose connections are left to the test to accept."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, backlog=backlog) as listener:
        listener.settimeout(DEADLINE_SECONDS)
        yield listener


def port_of(listener: socket.socket) -> int:
    """Tell the port that a socket is bound to."""
    port: int = listener.getsockname()[1]
    return port


def open_descriptors() -> set[str]:
    """List the file descriptors of this process, with what each one is."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one of the listing itself
            found.add(f"{descriptor.name} {descriptor.readlink()}")
    return found


# --- The outcomes of a handshake


def test_accepting_port() -> None:
    """A handshake that completes is a success with a round trip, and ends in a hang-up without a byte."""
    with listening() as listener:
        before = time.time(), time.monotonic()
        result = probe_now(port_of(listener))
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b""
    assert result.endpoint == at(result.endpoint.port)
    assert result.up
    assert result.connect_seconds is not None
    assert 0 < result.connect_seconds < DEADLINE_SECONDS
    assert result.rpc_bind_seconds is None
    assert result.syn_retransmits == 0
    assert result.started_at is not None
    assert result.connected_at is not None
    assert before[0] <= result.started_at <= result.connected_at <= result.finished_at <= time.time()
    assert before[1] <= result.finished_monotonic <= time.monotonic()


def test_ipv6() -> None:
    """An IPv6 address is probed as such."""
    need_ipv6()
    with listening("::1") as listener:
        result = probe_now(port_of(listener), "::1")
    assert result.up
    assert result.connect_seconds is not None


def test_closed_port(lab: Lab) -> None:
    """A closed port is refused, and has no round trip."""
    result = probe_now(lab.closed_port().port)
    assert result.failure is ProbeFailure.CONNECTION_REFUSED
    assert not result.up
    assert result.connect_seconds is None
    assert result.started_at is not None
    assert result.connected_at is None


def test_filtered_port(lab: Lab) -> None:
    """A port that drops SYNs is a timeout."""
    result = probe_now(lab.filtered_port().port, timeout_seconds=AT_ONCE_SECONDS)
    assert result.failure is ProbeFailure.TIMEOUT
    assert result.connect_seconds is None


def test_retransmits_of_a_filtered_port(lab: Lab) -> None:
    """SYNs sent again before the timeout are counted: Linux sends the first one after a second."""
    result = probe_now(lab.filtered_port().port, timeout_seconds=1.5)
    assert result.failure is ProbeFailure.TIMEOUT
    assert result.syn_retransmits >= 1


def test_retransmits_of_a_success() -> None:
    """A handshake whose first SYN was lost succeeds, and the one sent again is counted."""

    async def scenario(listener: socket.socket) -> ProbeResult:
        with socket.create_connection(listener.getsockname()):  # fills the queue
            probing = await started(handshake(at(port_of(listener))))
            listener.accept()[0].close()
            return await probing

    with listening(backlog=0) as listener:
        result = run(scenario(listener))
    assert result.up
    assert result.syn_retransmits >= 1


@pytest.mark.parametrize(
    ("rpc_bind", "failure"),
    [(False, ProbeFailure.CONNECTION_RESET), (True, ProbeFailure.RPC_CLOSED)],
)
def test_reset(rpc_bind: bool, failure: ProbeFailure) -> None:  # noqa: FBT001 -- a column of a table
    """A reset right after the handshake, before anybody looked, is told from a refusal."""

    async def scenario(listener: socket.socket) -> ProbeResult:
        probing = await started(handshake(at(port_of(listener)), rpc_bind=rpc_bind))
        connection, _ = listener.accept()  # the event loop stands still meanwhile, so the reset is first
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()
        return await probing

    with listening() as listener:
        result = run(scenario(listener))
    assert result.failure is failure
    assert (result.connect_seconds, result.rpc_bind_seconds) == (None, None)


@pytest.mark.parametrize("hang_up", [False, True], ids=["open", "hung-up"])
@pytest.mark.parametrize("rpc_bind", [False, True], ids=["handshake", "bind"])
def test_late_process(rpc_bind: bool, hang_up: bool) -> None:  # noqa: FBT001 -- two columns of a table
    """A handshake that was done in time is no timeout, however late this process is to look at it."""

    async def scenario(listener: socket.socket) -> ProbeResult:
        timeout_seconds = BLOCKED_SECONDS / 4
        probing = await started(
            probe(at(port_of(listener)), timeout_seconds=timeout_seconds, rpc_bind=rpc_bind)
        )
        with listener.accept()[0] as connection:
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 -- the point of the test
            return await probing

    with listening() as listener:
        result = run(scenario(listener))
    after_bind = ProbeFailure.RPC_CLOSED if hang_up else ProbeFailure.RPC_TIMEOUT
    assert result.failure is (after_bind if rpc_bind else None)
    assert result.connect_seconds is not None


def handshake(
    endpoint: Endpoint, *, source_address: str | None = None, rpc_bind: bool = False
) -> Coroutine[Any, Any, ProbeResult]:
    """Probe an endpoint with all the time in the world; only the handshake, unless told otherwise."""
    return probe(endpoint, timeout_seconds=DEADLINE_SECONDS, rpc_bind=rpc_bind, source_address=source_address)


async def started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start work and run it up to where it first waits: a probe has sent its SYN then."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


# --- The RPC bind

Serve = Callable[[socket.socket], None]

OTHER_INTERFACE = uuid.UUID("12345678-1234-abcd-ef00-0123456789ab")


def pdu(kind: int, body: bytes, *, order: str = "<", frag_len: int | None = None) -> bytes:
    """Build what a server sends: a header (C706, 12.6.3.1), in either byte order, and a body."""
    drep = 0x10 if order == "<" else 0
    length = 16 + len(body) if frag_len is None else frag_len
    return struct.pack(order + "BBBBB3xHHI", 5, 0, kind, 3, drep, length, 0, rpc.CALL_ID) + body


def bind_ack(*, result: int = 0, reason: int = 0, order: str = "<") -> bytes:
    """Build a bind_ack (C706, 12.6.4.4) for the port 1688; with a result of 0 it accepts."""
    syntax = rpc.NDR.bytes_le if order == "<" else rpc.NDR.bytes
    association = struct.pack(order + "HHI", 5840, 5840, 0x1234) + struct.pack(order + "H", 5) + b"1688\0\0"
    outcome = struct.pack(order + "B3xHH", 1, result, reason) + syntax + struct.pack(order + "I", 2)
    return pdu(12, association + b"\0" * (-len(association) % 4) + outcome, order=order)


def bind_nak(reason: int) -> bytes:
    """Build a bind_nak (C706, 12.6.4.5) that names one version."""
    return pdu(13, struct.pack("<HBBB", reason, 1, 5, 0))


def fault(status: int) -> bytes:
    """Build a fault (C706, 12.6.4.7)."""
    return pdu(3, struct.pack("<IHBxI4x", 0, 0, 0, status))


def answering(*parts: bytes, received: "queue.SimpleQueue[bytes] | None" = None) -> Serve:
    """Play a server that waits for a bind, answers part by part, and waits for the other side to hang up."""

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard = connection.recv(len(rpc.BIND), socket.MSG_WAITALL)
        for part in parts:
            connection.sendall(part)
        while more := connection.recv(4096):
            heard += more
        if received:
            received.put(heard)

    return serve


def hanging_up(answer: bytes = b"", *, at_once: bool = False) -> Serve:
    """Play a server that sends `answer` and hangs up, after it read the bind or at once."""

    def serve(connection: socket.socket) -> None:
        if not at_once:
            connection.recv(len(rpc.BIND), socket.MSG_WAITALL)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    return serve


def probe_peer(serve: Serve, *, timeout_seconds: float = DEADLINE_SECONDS) -> ProbeResult:
    """Probe a peer up to the bind, and see that no file descriptor is left of it."""
    before = open_descriptors()
    with contextlib.closing(Peer(serve)) as peer:
        result = probe_now(peer.port, timeout_seconds=timeout_seconds, rpc_bind=True)
    wait_until(lambda: open_descriptors() <= before or None, "the peer and the probe have let go")
    return result


@pytest.mark.parametrize("address", [LOOPBACK, "::1"])
def test_accepted_bind(lab: Lab, address: str) -> None:
    """A server that takes binds to the KMS interface is up, with the time of each of the two steps."""
    if address != LOOPBACK:
        need_ipv6()
    result = probe_now(lab.listener(address).port, address, rpc_bind=True)
    assert result.up
    assert result.connect_seconds is not None
    assert result.rpc_bind_seconds is not None
    assert 0 < result.rpc_bind_seconds < DEADLINE_SECONDS


def test_interface_of_something_else(lab: Lab) -> None:
    """An RPC server without the KMS interface says so."""
    result = probe_now(lab.listener(interface=OTHER_INTERFACE).port, rpc_bind=True)
    assert result.failure is ProbeFailure.INTERFACE_UNKNOWN
    assert result.connect_seconds is not None
    assert result.rpc_bind_seconds is None


@pytest.mark.parametrize(
    ("parts", "failure"),
    [
        pytest.param([bind_ack()], None, id="bind_ack"),
        pytest.param([bind_ack(order=">")], None, id="bind_ack, big-endian"),
        pytest.param([bytes([byte]) for byte in bind_ack()], None, id="bind_ack, byte by byte"),
        pytest.param([bind_ack() + b"and more"], None, id="bind_ack, and more"),
        pytest.param([bind_ack(result=2, reason=1)], ProbeFailure.INTERFACE_UNKNOWN, id="provider rejection"),
        pytest.param([bind_ack(result=1, reason=1)], ProbeFailure.INTERFACE_UNKNOWN, id="user rejection"),
        pytest.param([bind_ack(result=2, reason=3)], ProbeFailure.RPC_BUSY, id="local limit"),
        pytest.param([bind_ack(result=2, reason=2)], ProbeFailure.RPC_REJECTED, id="transfer syntax"),
        pytest.param([bind_nak(1)], ProbeFailure.RPC_BUSY, id="bind_nak, congestion"),
        pytest.param([bind_nak(2)], ProbeFailure.RPC_BUSY, id="bind_nak, local limit"),
        pytest.param([bind_nak(4)], ProbeFailure.RPC_REJECTED, id="bind_nak, version"),
        pytest.param([fault(0x1C010014)], ProbeFailure.RPC_BUSY, id="fault, too busy"),
        pytest.param([fault(5)], ProbeFailure.RPC_REJECTED, id="fault, access denied"),
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], ProbeFailure.NOT_RPC, id="HTTP"),
        pytest.param([b"\x15\x03\x01\x00\x02\x02\x46"], ProbeFailure.NOT_RPC, id="TLS alert"),
        pytest.param([b"?"], ProbeFailure.NOT_RPC, id="one byte"),
        pytest.param([pdu(2, bytes(8))], ProbeFailure.NOT_RPC, id="response"),
        pytest.param([rpc.BIND], ProbeFailure.NOT_RPC, id="echo"),
    ],
)
def test_answer_to_a_bind(parts: list[bytes], failure: ProbeFailure | None) -> None:
    """Each answer has its meaning, whatever pieces it comes in; only an acceptance has a time."""
    result = probe_peer(answering(*parts))
    assert result.failure is failure
    assert result.connect_seconds is not None
    assert (result.rpc_bind_seconds is None) is (failure is not None)


def test_banner(lab: Lab) -> None:
    """A service that speaks first is no RPC, and nobody waits for more of it."""
    assert probe_now(lab.banner().port, rpc_bind=True).failure is ProbeFailure.NOT_RPC


def test_silence(lab: Lab) -> None:
    """A bind that nobody answers times out, and has the round trip of the handshake."""
    result = probe_now(lab.silent_port().port, timeout_seconds=AT_ONCE_SECONDS, rpc_bind=True)
    assert result.failure is ProbeFailure.RPC_TIMEOUT
    assert result.connect_seconds is not None
    assert result.rpc_bind_seconds is None


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(hanging_up(at_once=True), id="at once"),
        pytest.param(hanging_up(), id="without a byte"),
        pytest.param(hanging_up(bind_ack()[:1]), id="after a byte"),
        pytest.param(hanging_up(bind_ack()[:16]), id="after the header"),
        pytest.param(hanging_up(bind_ack()[:-1]), id="before the last byte"),
        pytest.param(hanging_up(bind_ack()[:20], at_once=True), id="in the middle, unasked"),
    ],
)
def test_hang_up(serve: Serve) -> None:
    """A connection that ends before the answer does is closed, after a handshake that has its time."""
    result = probe_peer(serve)
    assert result.failure is ProbeFailure.RPC_CLOSED
    assert result.connect_seconds is not None
    assert result.rpc_bind_seconds is None


def test_reset_in_place_of_an_answer() -> None:
    """A connection that is reset once the bind is there is closed."""

    def serve(connection: socket.socket) -> None:
        connection.recv(len(rpc.BIND), socket.MSG_WAITALL)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    result = probe_peer(serve)
    assert result.failure is ProbeFailure.RPC_CLOSED
    assert result.connect_seconds is not None


def test_trickle() -> None:
    """An answer that comes a byte at a time has one timeout for all of it, not one for each byte."""

    def serve(connection: socket.socket) -> None:
        for byte in pdu(12, bytes(rpc.MAX_FRAGMENT_BYTES - 16)):
            connection.sendall(bytes([byte]))
            time.sleep(AT_ONCE_SECONDS / 4)  # all of it takes longer than `run` lets a scenario take

    assert probe_peer(serve, timeout_seconds=AT_ONCE_SECONDS).failure is ProbeFailure.RPC_TIMEOUT


@pytest.mark.parametrize(
    ("start", "most"),
    [
        pytest.param(b"", 16, id="no header"),
        pytest.param(pdu(12, b"", frag_len=100), 100, id="fragment"),
        pytest.param(pdu(12, b"", frag_len=5840), 5840, id="longest fragment"),
        pytest.param(pdu(12, b"", frag_len=5841), 16, id="fragment that is too long"),
        pytest.param(pdu(12, b"", frag_len=0xFFFF), 16, id="fragment as long as can be"),
    ],
)
def test_flood(monkeypatch: pytest.MonkeyPatch, start: bytes, most: int) -> None:
    """Of a megabyte of junk no more is read than one fragment, and it is no RPC."""
    sizes: list[int] = []

    class Witness(socket.socket):
        def recvmsg(self, *arguments: Any) -> Any:
            message = super().recvmsg(*arguments)
            sizes.append(len(message[0]))
            return message

    def serve(connection: socket.socket) -> None:
        connection.sendall(start + b"\xff" * 2**20)

    async def scenario(port: int) -> ProbeResult:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Witness)
            return await handshake(at(port), rpc_bind=True)

    with contextlib.closing(Peer(serve)) as peer:
        result = run(scenario(peer.port))
    assert result.failure is ProbeFailure.NOT_RPC
    assert 0 < sum(sizes) <= most


def test_late_process_after_an_answer() -> None:
    """An answer that was there in time is no timeout, however late this process is to read it."""

    async def scenario(listener: socket.socket) -> ProbeResult:
        probing = await started(
            probe(at(port_of(listener)), timeout_seconds=5 * BLOCKED_SECONDS, rpc_bind=True)
        )
        async with answered(listener):
            time.sleep(6 * BLOCKED_SECONDS)  # noqa: ASYNC251 -- the point of the test
            return await probing

    with listening() as listener:
        assert run(scenario(listener)).up


@pytest.mark.parametrize("answer", [bind_ack(), bind_nak(1), b"?"], ids=["accepted", "refused", "junk"])
def test_all_that_a_peer_hears(answer: bytes) -> None:
    """A peer is sent a bind and nothing else, whatever it answers: no request, so no activation."""
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    probe_peer(answering(answer, received=received))
    heard = received.get(timeout=DEADLINE_SECONDS)
    assert heard == rpc.BIND
    assert len(heard) == 72


def test_time_of_a_bind_with_a_blocked_event_loop() -> None:
    """An event loop that stands still once the answer is there does not add to the time of the bind."""

    async def scenario(listener: socket.socket) -> tuple[ProbeResult, float, float]:
        start = time.perf_counter()
        probing = await started(handshake(at(port_of(listener)), rpc_bind=True))
        async with answered(listener):
            bind_seconds = time.perf_counter() - start
            time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 -- the point of the test
            result = await probing
        return result, bind_seconds, time.perf_counter() - start

    with listening() as listener, stamping():
        result, bind_seconds, clock_seconds = run(scenario(listener))
    assert result.rpc_bind_seconds is not None
    assert 0 < result.rpc_bind_seconds <= bind_seconds <= clock_seconds - BLOCKED_SECONDS


@contextlib.contextmanager
def stamping() -> Iterator[None]:
    """Have the kernel note when packets arrive, which it begins to do a moment after it was asked."""
    with listening() as listener, socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        connection, _ = listener.accept()
        with connection:

            def is_stamped() -> bool | None:
                connection.sendall(b"?")
                return bool(client.recvmsg(1, 64)[1]) or None

            wait_until(is_stamped, "what arrives is stamped")
            yield


@contextlib.asynccontextmanager
async def answered(listener: socket.socket) -> AsyncIterator[None]:
    """Accept a connection, wait for its bind, and accept that; it is not known to the other side yet."""
    with listener.accept()[0] as connection:
        connection.settimeout(0)
        assert await asyncio.get_running_loop().sock_recv(connection, len(rpc.BIND)) == rpc.BIND
        connection.sendall(bind_ack())
        yield


def timestamp(seconds: int, *, kind: int = 35) -> tuple[int, int, bytes]:
    """Build what the kernel says of the time when something arrived (SO_TIMESTAMPNS, socket(7))."""
    return socket.SOL_SOCKET, kind, struct.pack("@ll", seconds, 0)


@pytest.mark.parametrize(
    "ancillary",
    [
        pytest.param([], id="nothing"),
        pytest.param([timestamp(10**9, kind=29)], id="something-else"),
        pytest.param([(socket.SOL_SOCKET, 35, bytes(8))], id="short"),
        pytest.param([timestamp(10**9)], id="clock-set-forward-since"),
        pytest.param([timestamp(10**10)], id="clock-set-back-since"),
    ],
)
def test_time_of_a_bind_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, ancillary: list[tuple[int, int, bytes]]
) -> None:
    """Where the kernel does not say when the answer arrived, or no clock agrees, another one measures it."""
    clock = iter([1.0, 1.5, 5.0, 5.25])

    class Socket(socket.socket):
        def recvmsg(self, *arguments: Any) -> Any:
            data, _, *rest = super().recvmsg(*arguments)
            return data, ancillary, *rest

    async def scenario(port: int) -> ProbeResult:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Socket)
            patch.setattr(
                "exporter.probe.time",
                SimpleNamespace(perf_counter=lambda: next(clock), time=time.time, monotonic=time.monotonic),
            )
            return await handshake(at(port), rpc_bind=True)

    with contextlib.closing(Peer(answering(bind_ack()))) as peer:
        assert run(scenario(peer.port)).rpc_bind_seconds == 0.25


def test_bind_without_timestamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose kernel knows no timestamps of what arrives can bind all the same."""

    class Socket(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            if arguments[1] == 35:
                refuse()
            super().setsockopt(*arguments)

    async def scenario(port: int) -> ProbeResult:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Socket)
            return await handshake(at(port), rpc_bind=True)

    with contextlib.closing(Peer(answering(bind_ack()))) as peer:
        assert run(scenario(peer.port)).up


# --- What is the fault of this machine


def test_no_file_descriptors() -> None:
    """Being out of file descriptors is a local error."""
    script = """
import asyncio, os, resource
from exporter.model import Endpoint
from exporter.probe import start_probe

async def main():
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    endpoint = Endpoint(target="kms", port=1688, address="127.0.0.1")
    return await start_probe(endpoint, timeout_seconds=5, rpc_bind=True)

print(asyncio.run(main()).failure)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == f"{ProbeFailure.LOCAL_ERROR}\n", done.stderr


@pytest.mark.parametrize(
    ("address", "source_address"),
    [
        (LOOPBACK, "192.0.2.1"),  # not ours
        (LOOPBACK, "::1"),  # of the other family
        ("fe80::1", None),  # link-local without an interface
    ],
)
def test_unusable_address(address: str, source_address: str | None) -> None:
    """A source address that is not ours, or an address that cannot be sent to, is a local error."""
    result = run(handshake(at(1688, address), source_address=source_address))
    assert result.failure is ProbeFailure.LOCAL_ERROR


def test_source_address() -> None:
    """The probe comes from the source address."""
    with listening() as listener:
        source = "127.0.0.9"
        result = run(handshake(at(port_of(listener)), source_address=source))
        connection, peer = listener.accept()
        connection.close()
    assert result.up
    assert peer[0] == source


# --- What takes a network of one's own


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Make a machine that has loopback and nothing else."""
    need_namespaces()
    with Namespace() as namespace:
        yield namespace


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        (None, ProbeFailure.UNREACHABLE),  # network unreachable
        ("unreachable", ProbeFailure.UNREACHABLE),  # host unreachable
        ("prohibit", ProbeFailure.UNREACHABLE),  # as if a firewall on the way had said so
        ("blackhole", ProbeFailure.LOCAL_ERROR),  # of which only this machine tells
    ],
)
@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_routes(namespace: Namespace, address: str, kind: str | None, failure: ProbeFailure) -> None:
    """Where no route leads, or only one that says so, is unreachable."""
    if kind:
        namespace.ip("route", "add", kind, address)
    assert namespace.call(lambda: probe_now(1688, address)).failure is failure


def test_no_local_port(namespace: Namespace) -> None:
    """Being out of local ports is a local error, and over as soon as one is free again."""

    def scenario() -> list[ProbeFailure | None]:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("50000 50000\n")
        with socket.create_server((LOOPBACK, 1688)):
            with socket.create_connection((LOOPBACK, 1688)) as holder:
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                first = probe_now(1688)
            return [first.failure, probe_now(1688).failure]

    assert namespace.call(scenario) == [ProbeFailure.LOCAL_ERROR, None]


# --- The round trip


class TcpInfo(ctypes.Structure):
    """The beginning of `struct tcp_info`, field by field as in include/uapi/linux/tcp.h."""

    _fields_ = [
        *((f"tcpi_{name}", ctypes.c_uint8) for name in ("state", "ca_state", "retransmits", "probes")),
        *((f"tcpi_{name}", ctypes.c_uint8) for name in ("backoff", "options", "wscale", "flags")),
        *((f"tcpi_{name}", ctypes.c_uint32) for name in ("rto", "ato", "snd_mss", "rcv_mss")),
        *((f"tcpi_{name}", ctypes.c_uint32) for name in ("unacked", "sacked", "lost", "retrans", "fackets")),
        *((f"tcpi_last_{name}", ctypes.c_uint32) for name in ("data_sent", "ack_sent", "data_recv")),
        *((f"tcpi_{name}", ctypes.c_uint32) for name in ("last_ack_recv", "pmtu", "rcv_ssthresh")),
        *((f"tcpi_{name}", ctypes.c_uint32) for name in ("rtt", "rttvar", "snd_ssthresh", "snd_cwnd")),
        *((f"tcpi_{name}", ctypes.c_uint32) for name in ("advmss", "reordering", "rcv_rtt", "rcv_space")),
        ("tcpi_total_retrans", ctypes.c_uint32),
    ]

    tcpi_rtt: int
    tcpi_total_retrans: int


def test_round_trip_is_that_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The round trip and the count of SYNs are what another reading of the same structure says."""
    readings = []

    class Witness(socket.socket):
        def close(self) -> None:
            if self.fileno() >= 0 and self.family == socket.AF_INET:
                raw = self.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ctypes.sizeof(TcpInfo))
                readings.append(TcpInfo.from_buffer_copy(raw))
            super().close()

    async def scenario(port: int) -> ProbeResult:
        monkeypatch.setattr(socket, "socket", Witness)
        return await handshake(at(port))

    with listening() as listener:
        result = run(scenario(port_of(listener)))
        monkeypatch.undo()
    [reading] = readings
    assert reading.tcpi_rtt > 0
    assert result.connect_seconds == pytest.approx(reading.tcpi_rtt / 1e6)
    assert result.syn_retransmits == reading.tcpi_total_retrans


def test_round_trip_with_a_blocked_event_loop() -> None:
    """An event loop that stands still after the handshake does not add to the round trip."""

    async def scenario(listener: socket.socket) -> tuple[ProbeResult, float, float]:
        start = time.perf_counter()
        probing = await started(handshake(at(port_of(listener))))
        with listener.accept()[0]:
            handshake_seconds = time.perf_counter() - start
            time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 -- the point of the test
            result = await probing
        return result, handshake_seconds, time.perf_counter() - start

    with listening() as listener:
        result, handshake_seconds, clock_seconds = run(scenario(listener))
    assert result.connect_seconds is not None
    assert 0 < result.connect_seconds <= handshake_seconds <= clock_seconds - BLOCKED_SECONDS


def refuse(*_: object) -> bytes:
    """Stand in for a kernel that does not know the option."""
    raise OSError(92, "Protocol not available")


@pytest.mark.parametrize(
    "tcp_info",
    [
        pytest.param(lambda *_: bytes(104), id="no-round-trip"),
        pytest.param(lambda *_: bytes(60), id="short"),
        pytest.param(refuse, id="unknown"),
        pytest.param(None, id="not-linux"),
    ],
)
def test_clock_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tcp_info: Callable[..., bytes] | None
) -> None:
    """Where TCP_INFO has no round trip, or is not there, a clock measures it."""
    option = socket.TCP_INFO
    clock = iter([5.0, 5.25])

    class Socket(socket.socket):
        def getsockopt(self, *arguments: Any) -> Any:
            if tcp_info and arguments[1] == option:
                return tcp_info(*arguments)
            return super().getsockopt(*arguments)

    async def scenario(port: int) -> ProbeResult:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Socket)
            patch.setattr(
                "exporter.probe.time",
                SimpleNamespace(perf_counter=lambda: next(clock), time=time.time, monotonic=time.monotonic),
            )
            if tcp_info is None:
                patch.delattr(socket, "TCP_INFO")
            return await handshake(at(port))

    with listening() as listener:
        result = run(scenario(port_of(listener)))
    assert result.up
    assert result.connect_seconds == 0.25
    assert result.syn_retransmits == 0


# --- The socket


def test_socket_is_closed(lab: Lab) -> None:
    """However a probe ends, it leaves no file descriptor behind."""
    closed, filtered = lab.closed_port().port, lab.filtered_port().port

    async def cancelled(port: int, *, rpc_bind: bool = False) -> None:
        task = await started(handshake(at(port), rpc_bind=rpc_bind))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def scenario(listener: socket.socket) -> None:
        accepting = at(port_of(listener))
        ends: list[Callable[[], Awaitable[object]]] = [
            lambda: handshake(accepting),
            lambda: handshake(accepting, source_address="192.0.2.1"),
            lambda: handshake(at(closed)),
            lambda: probe(at(filtered), timeout_seconds=AT_ONCE_SECONDS, rpc_bind=True),
            lambda: probe(accepting, timeout_seconds=AT_ONCE_SECONDS, rpc_bind=True),
            lambda: cancelled(filtered),
            lambda: cancelled(accepting.port, rpc_bind=True),
        ]
        for end in ends:
            before = open_descriptors()
            await end()
            assert open_descriptors() == before

    with listening() as listener:
        run(scenario(listener))


def test_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a probe fails with that is not of the network is the caller's to know, and nothing stays open."""

    class Socket(socket.socket):
        def recvmsg(self, *arguments: Any) -> Any:
            raise MemoryError

    async def scenario(port: int) -> None:
        before = open_descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Socket)
            with pytest.raises(MemoryError):
                await handshake(at(port), rpc_bind=True)
        while open_descriptors() != before:  # noqa: ASYNC110 -- the peer's end is in this process too
            await asyncio.sleep(0.01)

    with contextlib.closing(Peer(answering(bind_ack()))) as peer:
        run(scenario(peer.port))


# --- What does not take place


def test_not_probed() -> None:
    """A probe that did not take place has a reason, a time, and nothing measured."""
    result = not_probed(at(1688), ProbeFailure.NOT_ALLOWED)
    assert (result.endpoint, result.failure) == (at(1688), ProbeFailure.NOT_ALLOWED)
    assert (result.up, result.connect_seconds, result.syn_retransmits) == (False, None, 0)
    assert (result.started_at, result.connected_at) == (None, None)
    assert result.finished_at > 0

"""One TCP handshake: every outcome with real sockets, and how long it took with the kernel as the witness.

What a single machine cannot play is played in a network namespace. Nothing is concluded from how long
anything takes: where a test needs a moment to have passed, it has caused it.
"""

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from exporter.model import Endpoint, ProbeFailure, ProbeResult
from exporter.probe import Network, is_allowed, not_probed, probe
from tests.services import LOOPBACK, Lab, Namespace, need_namespaces

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


def at(port: int, address: str = LOOPBACK) -> Endpoint:
    """Build an endpoint of the host of the tests."""
    return Endpoint(target="kms.contoso.test", port=port, address=address)


def probe_now(
    port: int, address: str = LOOPBACK, *, timeout_seconds: float = DEADLINE_SECONDS
) -> ProbeResult:
    """Probe one endpoint on an event loop of its own."""
    return run(probe(at(port, address), timeout_seconds=timeout_seconds))


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


# --- The outcomes


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
    assert result.syn_retransmits == 0
    assert before[0] <= result.finished_at <= time.time()
    assert before[1] <= result.finished_monotonic <= time.monotonic()


def test_ipv6() -> None:
    """An IPv6 address is probed as such."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no IPv6 on loopback")
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
            probing = await started(probe(at(port_of(listener)), timeout_seconds=DEADLINE_SECONDS))
            listener.accept()[0].close()
            return await probing

    with listening(backlog=0) as listener:
        result = run(scenario(listener))
    assert result.up
    assert result.syn_retransmits >= 1


def test_reset() -> None:
    """A reset right after the handshake, before anybody looked, is told from a refusal."""

    async def scenario(listener: socket.socket) -> ProbeResult:
        probing = await started(probe(at(port_of(listener)), timeout_seconds=DEADLINE_SECONDS))
        connection, _ = listener.accept()  # the event loop stands still meanwhile, so the reset is first
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()
        return await probing

    with listening() as listener:
        result = run(scenario(listener))
    assert result.failure is ProbeFailure.CONNECTION_RESET
    assert result.connect_seconds is None


async def started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start work and run it up to where it first waits: a probe has sent its SYN then."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


# --- What is the fault of this machine


def test_no_file_descriptors() -> None:
    """Being out of file descriptors is a local error."""
    script = """
import asyncio, os, resource
from exporter.model import Endpoint
from exporter.probe import probe

async def main():
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return await probe(Endpoint(target="kms", port=1688, address="127.0.0.1"), timeout_seconds=5)

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
    result = run(probe(at(1688, address), timeout_seconds=DEADLINE_SECONDS, source_address=source_address))
    assert result.failure is ProbeFailure.LOCAL_ERROR


def test_source_address() -> None:
    """The probe comes from the source address."""
    with listening() as listener:
        source = "127.0.0.9"
        result = run(probe(at(port_of(listener)), timeout_seconds=DEADLINE_SECONDS, source_address=source))
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
        return await probe(at(port), timeout_seconds=DEADLINE_SECONDS)

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
        probing = await started(probe(at(port_of(listener)), timeout_seconds=DEADLINE_SECONDS))
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
            return await probe(at(port), timeout_seconds=DEADLINE_SECONDS)

    with listening() as listener:
        result = run(scenario(port_of(listener)))
    assert result.up
    assert result.connect_seconds == 0.25
    assert result.syn_retransmits == 0


# --- The socket


def test_socket_is_closed(lab: Lab) -> None:
    """However a probe ends, it leaves no file descriptor behind."""
    closed, filtered = lab.closed_port().port, lab.filtered_port().port

    async def cancelled(port: int) -> None:
        task = await started(probe(at(port), timeout_seconds=DEADLINE_SECONDS))
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def scenario(listener: socket.socket) -> None:
        accepting = at(port_of(listener))
        ends: list[Callable[[], Awaitable[object]]] = [
            lambda: probe(accepting, timeout_seconds=DEADLINE_SECONDS),
            lambda: probe(accepting, timeout_seconds=DEADLINE_SECONDS, source_address="192.0.2.1"),
            lambda: probe(at(closed), timeout_seconds=DEADLINE_SECONDS),
            lambda: probe(at(filtered), timeout_seconds=AT_ONCE_SECONDS),
            lambda: cancelled(filtered),
        ]
        for end in ends:
            before = open_descriptors()
            await end()
            assert open_descriptors() == before

    with listening() as listener:
        run(scenario(listener))


# --- What does not take place


def test_not_probed() -> None:
    """A probe that did not take place has a reason, a time, and nothing measured."""
    result = not_probed(at(1688), ProbeFailure.NOT_ALLOWED)
    assert (result.endpoint, result.failure) == (at(1688), ProbeFailure.NOT_ALLOWED)
    assert (result.up, result.connect_seconds, result.syn_retransmits) == (False, None, 0)
    assert result.finished_at > 0


def networks(*texts: str) -> tuple[Network, ...]:
    """Parse networks."""
    return tuple(ipaddress.ip_network(text) for text in texts)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("198.51.100.1", True),
        ("8.8.8.8", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("0.0.0.0", False),
        ("2001:db8::5", True),
        ("fd00::5", True),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:0.0.0.0", False),
    ],
)
def test_allowed_without_networks(address: str, allowed: bool) -> None:  # noqa: FBT001 -- a column of a table
    """Unless networks are given, anywhere may be probed but loopback, link-local, multicast, unspecified."""
    assert is_allowed(address, 1688, networks=(), ports=()) is allowed


@pytest.mark.parametrize(
    ("address", "port", "given", "ports", "allowed"),
    [
        ("10.1.2.3", 1688, ["10.0.0.0/8"], [], True),
        ("11.1.2.3", 1688, ["10.0.0.0/8"], [], False),
        ("11.1.2.3", 1688, ["10.0.0.0/8", "11.1.2.3/32"], [], True),
        ("127.0.0.1", 1688, ["127.0.0.0/8"], [], True),
        ("169.254.0.1", 1688, ["169.254.0.0/16"], [], True),
        ("::1", 1688, ["127.0.0.0/8"], [], False),
        ("::1", 1688, ["::1/128"], [], True),
        ("2001:db8::5", 1688, ["2001:db8::/32"], [], True),
        ("2001:db9::5", 1688, ["2001:db8::/32", "10.0.0.0/8"], [], False),
        ("10.1.2.3", 1688, ["::/0"], [], False),
        ("::ffff:10.1.2.3", 1688, ["10.0.0.0/8"], [], True),
        ("::ffff:10.1.2.3", 1688, ["::/0"], [], False),
        ("10.1.2.3", 1688, [], [1688], True),
        ("10.1.2.3", 1689, [], [1688, 1689], True),
        ("10.1.2.3", 22, [], [1688], False),
        ("127.0.0.1", 1688, [], [1688], False),
        ("10.1.2.3", 1688, ["10.0.0.0/8"], [1688], True),
        ("10.1.2.3", 22, ["10.0.0.0/8"], [1688], False),
        ("11.1.2.3", 1688, ["10.0.0.0/8"], [1688], False),
    ],
)
def test_allowed_with_networks_and_ports(
    address: str,
    port: int,
    given: list[str],
    ports: list[int],
    allowed: bool,  # noqa: FBT001 -- a column of a table
) -> None:
    """Networks that are given say all there is to say about addresses, and ports about ports."""
    assert is_allowed(address, port, networks=networks(*given), ports=ports) is allowed

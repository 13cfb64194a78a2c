"""One endpoint: does a TCP handshake complete, does KMS answer an RPC bind, how long did it take, or why not.

Takes a literal address and gives a value object; resolves no names, keeps no memory, registers no metric.
Whatever a peer sends, it costs a timeout for each step at most, and a buffer of one RPC fragment. It never
gets a request, so it cannot be made to activate anything.

The round trip comes from `struct tcp_info` (tcp(7), https://man7.org/linux/man-pages/man7/tcp.7.html; the
layout is that of include/uapi/linux/tcp.h), and the arrival of an answer from SO_TIMESTAMPNS (socket(7)),
because a clock in user space also measures the event loop.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Iterable
from typing import NamedTuple

from exporter import rpc
from exporter.failures import classify_bind, classify_probe
from exporter.model import Endpoint, ProbeFailure, ProbeResult
from exporter.sockets import SocketAddress, open_socket, socket_address

_TCP_INFO = struct.Struct("=B67xI28xI")  # tcpi_state, tcpi_rtt at byte 68, tcpi_total_retrans at byte 100
_CONNECTED = frozenset({1, 8})  # TCP_ESTABLISHED, and TCP_CLOSE_WAIT where the peer has hung up since
_MICROSECONDS_PER_SECOND = 1e6
_SO_TIMESTAMPNS = 35  # of Linux (socket(7)): the kernel says when what is received had arrived
_TIMESPEC = struct.Struct("@ll")
_NANOSECONDS_PER_SECOND = 1e9


class Handshake(NamedTuple):
    """What a TCP handshake came to; `seconds` is None when it failed."""

    failure: ProbeFailure | None
    seconds: float | None
    syn_retransmits: int


async def probe(
    endpoint: Endpoint, *, timeout_seconds: float, rpc_bind: bool, source_address: str | None = None
) -> ProbeResult:
    """Connect to one endpoint, bind to the KMS interface if `rpc_bind` says so, and hang up.

    `timeout_seconds` is for each of the two steps. The socket is closed when this returns or is cancelled,
    whatever happened. Never raises for a failure of the network or of this machine's resources: that is the
    result's `failure`.
    """
    started_at, connected_at = time.time(), None
    try:
        with open_socket(endpoint.address, socket.SOCK_STREAM, source_address=source_address) as sock:
            address = socket_address(endpoint.address, endpoint.port)
            if rpc_bind:
                _ask_for_timestamps(sock)
            handshake = await _connect(sock, address, timeout_seconds)
            if handshake.failure is None:
                connected_at = time.time()
            if rpc_bind and connected_at:
                failure, rpc_bind_seconds = await _bind(sock, timeout_seconds)
            else:
                failure, rpc_bind_seconds = handshake.failure, None
    except OSError as error:
        return not_probed(endpoint, classify_probe(error))
    if rpc_bind and failure is ProbeFailure.CONNECTION_RESET:  # after the handshake: before, it is a refusal
        failure = ProbeFailure.RPC_CLOSED
    return ProbeResult(
        endpoint=endpoint,
        finished_at=time.time(),
        finished_monotonic=time.monotonic(),
        started_at=started_at,
        connected_at=connected_at,
        failure=failure,
        connect_seconds=handshake.seconds,
        rpc_bind_seconds=rpc_bind_seconds,
        syn_retransmits=handshake.syn_retransmits,
    )


def not_probed(endpoint: Endpoint, failure: ProbeFailure) -> ProbeResult:
    """Make the result of a probe that did not take place."""
    return ProbeResult(
        endpoint=endpoint, finished_at=time.time(), finished_monotonic=time.monotonic(), failure=failure
    )


async def _connect(sock: socket.socket, address: SocketAddress, timeout_seconds: float) -> Handshake:
    failure = None
    start = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_seconds):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as error:
        failure = classify_probe(error)
    elapsed_seconds = time.perf_counter() - start
    state, rtt_seconds, syn_retransmits = _read_tcp_info(sock)
    if failure is ProbeFailure.TIMEOUT and state in _CONNECTED:  # it was this process that was late
        failure = None
    return Handshake(failure, None if failure else rtt_seconds or elapsed_seconds, syn_retransmits)


async def _bind(sock: socket.socket, timeout_seconds: float) -> tuple[ProbeFailure | None, float | None]:
    """Bind to the KMS interface on a new connection; gives what it failed with, or how long it took.

    Follows C706, 12.6.4: https://pubs.opengroup.org/onlinepubs/9629399/chap12.htm.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    try:
        sent, start = time.time(), time.perf_counter()
        async with asyncio.timeout_at(deadline):
            await loop.sock_sendall(sock, rpc.BIND)
        answer, arrived = await _receive_answer(sock, deadline)
        elapsed_seconds = time.perf_counter() - start
    except OSError as error:
        return classify_bind(error), None
    failure = rpc.judge(answer) if answer else ProbeFailure.RPC_CLOSED
    if failure:
        return failure, None
    if arrived and 0 < arrived - sent < elapsed_seconds:  # else the clock was set meanwhile
        return None, arrived - sent
    return None, elapsed_seconds


async def _receive_answer(sock: socket.socket, deadline: float) -> tuple[bytes | None, float | None]:
    """Receive one fragment, or as much of something else as shows that it is none; None if it ends early.

    Gives also when the last of it arrived, in Unix time, where the kernel tells. What is there at the
    deadline, in loop time, still counts: it may be this process that is late. Raises TimeoutError when
    more is needed.
    """
    received, arrived = b"", None
    while missing := rpc.bytes_missing(received):
        try:
            part, ancillary, _, _ = sock.recvmsg(missing, socket.CMSG_SPACE(_TIMESPEC.size))
        except BlockingIOError:
            await _readable(sock, deadline)
            continue
        if not part:
            return None, None
        received += part
        arrived = _read_timestamp(ancillary)
    return received, arrived


async def _readable(sock: socket.socket, deadline: float) -> None:
    """Wait until there is something to receive, or it is the deadline; raises TimeoutError beyond that."""
    loop = asyncio.get_running_loop()
    if loop.time() >= deadline:
        raise TimeoutError
    readable = loop.create_future()
    loop.add_reader(sock, lambda: None if readable.done() else readable.set_result(None))
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await readable
    finally:
        loop.remove_reader(sock)


def _ask_for_timestamps(sock: socket.socket) -> None:
    """Let the kernel note when something arrives; where nobody else asked for that, it takes it a moment."""
    with contextlib.suppress(OSError):  # a kernel that tells no times
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def _read_timestamp(ancillary: Iterable[tuple[int, int, bytes]]) -> float | None:
    for level, kind, data in ancillary:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / _NANOSECONDS_PER_SECOND)
    return None


def _read_tcp_info(sock: socket.socket) -> tuple[int, float, int]:
    """Read the state of a connection, its round trip in seconds and the SYNs sent again; 0 where unknown."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, rtt_microseconds, retransmits = _TCP_INFO.unpack(info)
    except (AttributeError, OSError, struct.error):  # not Linux, or a kernel that tells less
        return 0, 0.0, 0
    return state, rtt_microseconds / _MICROSECONDS_PER_SECOND, retransmits

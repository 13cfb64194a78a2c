"""One endpoint: does a TCP handshake complete, does KMS answer an RPC bind, how long did it take, or why not.

Takes a literal address and gives a value object; resolves no names, keeps no memory, registers no metric.
Whatever a peer sends, it costs a timeout for each step at most, and a buffer of one RPC fragment. It never
gets a request, so it cannot be made to activate anything.

The round trip comes from `struct tcp_info` (tcp(7), https://man7.org/linux/man-pages/man7/tcp.7.html; the
layout is that of include/uapi/linux/tcp.h), and the arrival of an answer from SO_TIMESTAMPNS (socket(7)),
because a clock in user space also measures the event loop.
"""

import asyncio
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable

from exporter import rpc
from exporter.failures import classify_bind, classify_probe
from exporter.model import Endpoint, ProbeFailure, ProbeResult
from exporter.sockets import (
    Errand,
    ask_for_timestamps,
    open_socket,
    receive_stamped,
    seconds_until,
    socket_address,
)

_TCP_INFO = struct.Struct("=B67xI28xI")  # tcpi_state, tcpi_rtt at byte 68, tcpi_total_retrans at byte 100
_CONNECTED = frozenset({1, 8})  # TCP_ESTABLISHED, and TCP_CLOSE_WAIT where the peer has hung up since
_SYN_SENT = 2
_UNDER_WAY = frozenset({0, errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN})
_MICROSECONDS_PER_SECOND = 1e6


def start_probe(
    endpoint: Endpoint,
    *,
    timeout_seconds: float,
    rpc_bind: bool,
    source_address: str | None = None,
    ended: Callable[[], None] | None = None,
) -> asyncio.Future[ProbeResult]:
    """Begin to probe one endpoint: connect, bind to the KMS interface if `rpc_bind` says so, hang up.

    `timeout_seconds` is for each of the two steps. Nothing stays open once there is a result or the future
    is cancelled; `ended` is called then. Never fails for what the network or this machine's resources do:
    that is the result's `failure`. There is no task behind it: a probe is a handful of system calls, and a
    task costs more.
    """
    probing = _Probing(
        endpoint,
        timeout_seconds=timeout_seconds,
        rpc_bind=rpc_bind,
        source_address=source_address,
        ended=ended,
    )
    probing.begin()
    return probing


class _Probing(Errand[ProbeResult]):
    """One probe under way, from one event of its socket to the next; what it comes to is its own result.

    First the handshake is waited for, then, with `rpc_bind`, the answer to a bind on the new connection
    (C706, 12.6.4: https://pubs.opengroup.org/onlinepubs/9629399/chap12.htm).
    """

    __slots__ = (
        "_arrived",
        "_bind_sent",
        "_bind_start",
        "_connect_start",
        "_connected_at",
        "_endpoint",
        "_received",
        "_rpc_bind",
        "_seconds",
        "_source_address",
        "_started_at",
        "_syn_retransmits",
        "_timeout_seconds",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_seconds: float,
        rpc_bind: bool,
        source_address: str | None,
        ended: Callable[[], None] | None,
    ) -> None:
        super().__init__(ended)
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._rpc_bind = rpc_bind
        self._source_address = source_address
        self._connected_at: float | None = None
        self._seconds: float | None = None
        self._syn_retransmits = 0
        self._received = b""
        self._arrived: float | None = None

    def begin(self) -> None:
        """Send the SYN."""
        self._started_at = time.time()
        try:
            self._connect()
        except OSError as error:
            self._end(not_probed(self._endpoint, classify_probe(error)))
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            self._break(error)

    def _connect(self) -> None:
        endpoint = self._endpoint
        sock = self._sock = open_socket(
            endpoint.address, socket.SOCK_STREAM, source_address=self._source_address
        )
        address = socket_address(endpoint.address, endpoint.port)
        if self._rpc_bind:
            ask_for_timestamps(sock)
        self._connect_start = time.perf_counter()
        number = sock.connect_ex(address)
        if number not in _UNDER_WAY:
            _, rtt_seconds, syn_retransmits = _read_tcp_info(sock)
            failure = classify_probe(OSError(number, os.strerror(number)))
            self._end_handshake(failure, rtt_seconds, syn_retransmits)
            return
        self._readiness.watch(
            sock, select.EPOLLIN | select.EPOLLOUT, self._on_event, timeout_seconds=self._timeout_seconds
        )

    def _on_event(self, events: int) -> None:
        if self._sock is None or self.done():  # the end of it is on its way
            return
        try:
            if self._connected_at is None:
                self._look_at_handshake(self._sock, late=not events)
            else:
                self._receive()
                if not events and not self.done():
                    self._finish(ProbeFailure.RPC_TIMEOUT)
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            self._break(error)

    def _look_at_handshake(self, sock: socket.socket, *, late: bool) -> None:
        """See whether the handshake is over; what came in time counts, though this process may be `late`."""
        state, rtt_seconds, syn_retransmits = _read_tcp_info(sock)
        failure = None
        if state not in _CONNECTED:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                failure = classify_probe(OSError(number, ""))
            elif late:
                failure = ProbeFailure.TIMEOUT
            elif state == _SYN_SENT:
                return
        self._end_handshake(failure, rtt_seconds, syn_retransmits)

    def _end_handshake(self, failure: ProbeFailure | None, rtt_seconds: float, syn_retransmits: int) -> None:
        elapsed_seconds = time.perf_counter() - self._connect_start
        self._syn_retransmits = syn_retransmits
        if failure:
            reset = self._rpc_bind and failure is ProbeFailure.CONNECTION_RESET
            self._finish(ProbeFailure.RPC_CLOSED if reset else failure)  # before the handshake: a refusal
            return
        self._seconds = rtt_seconds or elapsed_seconds
        self._connected_at = time.time()
        if self._rpc_bind:
            self._send_bind()
        else:
            self._finish(None)

    def _send_bind(self) -> None:
        if self._sock is None:
            return
        self._readiness.prolong(self._sock, self._timeout_seconds)
        self._bind_sent, self._bind_start = time.time(), time.perf_counter()
        try:
            self._sock.sendall(rpc.BIND)
        except OSError as error:
            self._finish(classify_bind(error))
            return
        self._receive()

    def _receive(self) -> None:
        """Receive of the answer what there is: one fragment, or as much as shows that it is none."""
        sock = self._sock
        while sock and (missing := rpc.bytes_missing(self._received)):
            try:
                part, arrived = receive_stamped(sock, missing)
            except BlockingIOError:
                return
            except OSError as error:
                self._finish(classify_bind(error))
                return
            if not part:
                self._finish(ProbeFailure.RPC_CLOSED)
                return
            self._received += part
            self._arrived = arrived
        self._end_bind()

    def _end_bind(self) -> None:
        elapsed_seconds = time.perf_counter() - self._bind_start
        if failure := rpc.judge(self._received):
            self._finish(failure)
            return
        bind_seconds = seconds_until(self._arrived, since=self._bind_sent, at_most=elapsed_seconds)
        self._finish(None, rpc_bind_seconds=bind_seconds)

    def _finish(self, failure: ProbeFailure | None, *, rpc_bind_seconds: float | None = None) -> None:
        self._end(
            ProbeResult(
                endpoint=self._endpoint,
                finished_at=time.time(),
                finished_monotonic=time.monotonic(),
                started_at=self._started_at,
                connected_at=self._connected_at,
                failure=failure,
                connect_seconds=self._seconds,
                rpc_bind_seconds=rpc_bind_seconds,
                syn_retransmits=self._syn_retransmits,
            )
        )


def not_probed(endpoint: Endpoint, failure: ProbeFailure) -> ProbeResult:
    """Make the result of a probe that did not take place."""
    return ProbeResult(
        endpoint=endpoint, finished_at=time.time(), finished_monotonic=time.monotonic(), failure=failure
    )


def _read_tcp_info(sock: socket.socket) -> tuple[int, float, int]:
    """Read the state of a connection, its round trip in seconds and the SYNs sent again; 0 where unknown."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, rtt_microseconds, retransmits = _TCP_INFO.unpack(info)
    except (AttributeError, OSError, struct.error):  # not Linux, or a kernel that tells less
        return 0, 0.0, 0
    return state, rtt_microseconds / _MICROSECONDS_PER_SECOND, retransmits

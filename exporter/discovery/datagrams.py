"""One question over UDP, from the first datagram that asks to the one that answers, without a task.

Owns a socket for as long as that takes, and knows of the messages only that an answer begins with the id of
its question (RFC 1035, 4.1.1). When an answer arrived, the kernel says: a clock in user space would measure
the event loop too.
"""

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from exporter.discovery.queries import EDNS_PAYLOAD_BYTES
from exporter.failures import classify_lookup
from exporter.model import DnsServer, Family, LookupStatus, family_of
from exporter.sockets import (
    Errand,
    ask_for_timestamps,
    open_socket,
    receive_stamped,
    seconds_until,
    socket_address,
)

_RECEIVE_ERRORS = {Family.IPV4: (socket.IPPROTO_IP, 11), Family.IPV6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR of Linux (ip(7), ipv6(7)): hear of ICMP "host unreachable", too."""
_ID_BYTES = 2


class Attempt(NamedTuple):
    """One datagram that asked: when (Unix time), how long it was waited, and why it got no answer.

    Not with what it failed: an error leads to whoever met it, and back to here.
    """

    asked_at: float
    duration_seconds: float
    failure: LookupStatus | None


class Heard(NamedTuple):
    """What a question came to: the message that answers it, None if no attempt was answered; and those."""

    wire: bytes | None
    attempts: tuple[Attempt, ...]

    def failure(self) -> LookupStatus:
        """Give the one reason why no attempt was answered; silence says least."""
        failures = [attempt.failure for attempt in self.attempts if attempt.failure]
        return next((each for each in failures if each is not LookupStatus.TIMEOUT), failures[0])


def begin_asking(
    server: DnsServer,
    query: bytes,
    *,
    source_address: str | None,
    attempts: int,
    timeout_seconds: float,
    ended: Callable[[], None],
) -> asyncio.Future[Heard]:
    """Send a query until something answers it, at most `attempts` times; `timeout_seconds` is for each.

    Nothing stays open once there is a result or the future is cancelled; `ended` is called then. What the
    network or this machine's resources do is part of the result.
    """
    asking = _Asking(query, attempts=attempts, timeout_seconds=timeout_seconds, ended=ended)
    asking.begin(server, source_address)
    return asking


class _Asking(Errand[Heard]):
    """A question under way, from one event of its socket to the next; what it comes to is its own result."""

    __slots__ = (
        "_asked_at",
        "_attempts",
        "_is_reading_on",
        "_most_attempts",
        "_query",
        "_start",
        "_timeout_seconds",
    )

    def __init__(
        self, query: bytes, *, attempts: int, timeout_seconds: float, ended: Callable[[], None]
    ) -> None:
        super().__init__(ended)
        self._is_reading_on = False
        self._query = query
        self._most_attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._attempts: list[Attempt] = []
        self._asked_at, self._start = time.time(), time.perf_counter()

    def begin(self, server: DnsServer, source_address: str | None) -> None:
        """Send the query for the first time."""
        self._try(lambda: self._open(server, source_address))
        self._try(self._send)

    def _on_event(self, events: int) -> None:
        attempts = len(self._attempts)
        if self._sock and not self.done() and not (events and self._is_reading_on):
            self._try(self._receive)
        if self._sock and not self.done() and not events and len(self._attempts) == attempts:
            self._try(lambda: self._fail(LookupStatus.TIMEOUT))

    def _try(self, step: Callable[[], None]) -> None:
        """Go on; a bug, or want of memory, is an end of it too."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            self._break(error)

    def _open(self, server: DnsServer, source_address: str | None) -> None:
        try:
            self._sock = _connected(server, source_address)
            self._readiness.watch(self._sock, select.EPOLLIN, self._on_event)
        except OSError as error:
            self._attempts.append(Attempt(self._asked_at, 0.0, classify_lookup(error)))
            self._end(Heard(None, tuple(self._attempts)))

    def _send(self) -> None:
        if self._sock is None:
            return
        self._readiness.prolong(self._sock, self._timeout_seconds)
        self._asked_at, self._start = time.time(), time.perf_counter()
        try:
            self._sock.send(self._query)
        except OSError as error:
            self._fail(classify_lookup(error))

    def _receive(self) -> None:
        """Receive what there is; what has another id is a stray, and passed over."""
        if self._sock is None or self.done():
            return
        try:
            wire, arrived = receive_stamped(self._sock, EDNS_PAYLOAD_BYTES)
        except BlockingIOError:
            return
        except OSError as error:  # an ICMP error about this or an earlier attempt
            self._fail(classify_lookup(error))
            return
        if wire[:_ID_BYTES] != self._query[:_ID_BYTES]:  # nothing waits while there is a flood of them
            self._is_reading_on = True
            asyncio.get_running_loop().call_soon(self._try, self._read_on)
            return
        self._note(None, arrived)
        self._end(Heard(wire, tuple(self._attempts)))

    def _read_on(self) -> None:
        self._is_reading_on = False
        self._receive()

    def _fail(self, failure: LookupStatus) -> None:
        """Ask again after an attempt that failed, if that is not the last one."""
        self._note(failure, None)
        if self._sock:
            drain_errors(self._sock)
        if len(self._attempts) < self._most_attempts:
            self._send()
        else:
            self._end(Heard(None, tuple(self._attempts)))

    def _note(self, failure: LookupStatus | None, arrived: float | None) -> None:
        elapsed_seconds = time.perf_counter() - self._start
        waited_seconds = seconds_until(arrived, since=self._asked_at, at_most=elapsed_seconds)
        self._attempts.append(Attempt(self._asked_at, waited_seconds, failure))


def _connected(server: DnsServer, source_address: str | None) -> socket.socket:
    sock = open_socket(server.address, socket.SOCK_DGRAM, source_address=source_address)
    try:
        sock.setsockopt(*_RECEIVE_ERRORS[family_of(server.address)], 1)
        ask_for_timestamps(sock)
        sock.connect(socket_address(server.address, server.port))
    except (OSError, MemoryError):
        sock.close()
        raise
    return sock


def drain_errors(sock: socket.socket) -> None:
    """Empty the queue of ICMP errors: the socket would fail for as long as it holds any."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)

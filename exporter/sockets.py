"""Non-blocking sockets to literal addresses, which is what both lookups and probes send from.

Knows no names and no protocol above the transport; every failure is an OSError, and leaves nothing open.
"""

import asyncio
import collections
import contextlib
import select
import socket
import struct
import weakref
from collections.abc import Callable
from typing import TypeVar

from exporter.model import Family, family_of

T = TypeVar("T")

Ready = Callable[[int], None]
"""Is told which events (EPOLLIN, EPOLLOUT, ...) there are, or 0 when the time is over."""

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""An address as connect takes it: for IPv6 with flow label and scope where it has a scope."""

_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_SO_TIMESTAMPNS = 35  # of Linux (socket(7)): the kernel says when what is received had arrived
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_NANOSECONDS_PER_SECOND = 1e9
_BIND_ADDRESS_NO_PORT = (socket.IPPROTO_IP, 24)
"""IP_BIND_ADDRESS_NO_PORT of Linux (ip(7)): connect chooses the port, so one serves many destinations."""


def open_socket(address: str, kind: socket.SocketKind, *, source_address: str | None) -> socket.socket:
    """Open a socket fit to talk to `address`, bound to `source_address` where there is one."""
    sock = socket.socket(_FAMILIES[family_of(address)], kind | socket.SOCK_NONBLOCK)
    if source_address:
        try:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(*_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source_address, 0))
        except OSError:
            sock.close()
            raise
    return sock


def socket_address(address: str, port: int) -> SocketAddress:
    """Give the address as connect takes it; a scope such as `%eth0` (RFC 4007, 11) goes apart."""
    host, _, scope = address.partition("%")
    if not scope:
        return host, port
    return host, port, 0, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)


class _Watch:
    """One socket that somebody waits for; `deadline` is in loop time, None where there is none."""

    __slots__ = ("deadline", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.deadline: float | None = None


class Readiness:
    """Tells when sockets are ready: once each time that the state of one changes (EPOLLET of epoll(7)).

    Hundreds of sockets live for one packet back and forth. To the event loop all that wait here are one
    entry and one timer, which costs half of what they do for each of them. Nothing is open while nobody
    waits. Whoever is told has to read all that there is, and may be told more often than there is something
    new.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._waiting: dict[int, _Watch] = {}
        # By how long they wait: so each queue is in the order of the deadlines. What was forgotten stays in.
        self._queues: dict[float, collections.deque[tuple[float, int, _Watch]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(
        self, sock: socket.socket, events: int, ready: Ready, *, timeout_seconds: float | None = None
    ) -> None:
        """Call `ready` at each of these events, and when the socket fails; the first time maybe at once.

        After `timeout_seconds` it is called with 0, once.

        Raises:
            OSError: There is no descriptor or no memory left to wait with.
        """
        descriptor = sock.fileno()
        epoll = self._epoll or self._open()
        try:
            epoll.register(descriptor, events | select.EPOLLET)
        except OSError:
            self._close_if_idle()
            raise
        watch = self._waiting[descriptor] = _Watch(ready)
        if timeout_seconds is not None:
            self._set_deadline(descriptor, watch, timeout_seconds)

    def prolong(self, sock: socket.socket, timeout_seconds: float) -> None:
        """Wait for another `timeout_seconds` from now."""
        descriptor = sock.fileno()
        self._set_deadline(descriptor, self._waiting[descriptor], timeout_seconds)

    def forget(self, sock: socket.socket) -> None:
        """Tell of a socket no more, before it is closed: that takes it from the kernel's list."""
        self._waiting.pop(sock.fileno(), None)
        self._close_if_idle()

    def _open(self) -> select.epoll:
        epoll, loop = select.epoll(), asyncio.get_running_loop()
        try:
            loop.add_reader(epoll.fileno(), self._tell)
        except OSError:
            epoll.close()
            raise
        self._epoll = epoll
        return epoll

    def _tell(self) -> None:
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0, len(self._waiting) + 1):
            if watch := self._waiting.get(descriptor):  # else one of those before made an end of it
                _call(watch.ready, events)

    def _set_deadline(self, descriptor: int, watch: _Watch, timeout_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        watch.deadline = deadline = loop.time() + timeout_seconds
        queue = self._queues.get(timeout_seconds)
        if queue is None:
            queue = self._queues[timeout_seconds] = collections.deque()
        queue.append((deadline, descriptor, watch))
        if self._timer is None or deadline < self._timer.when():
            self._set_timer(deadline)

    def _set_timer(self, deadline: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Tell those whose time is over."""
        now = asyncio.get_running_loop().time()
        for queue in list(self._queues.values()):
            while queue:
                deadline, descriptor, watch = queue[0]
                current = self._waiting.get(descriptor) is watch and watch.deadline == deadline
                if current and deadline > now:
                    break
                queue.popleft()
                if current:
                    _call(watch.ready, 0)
        self._set_timer(min((queue[0][0] for queue in self._queues.values() if queue), default=None))

    def _close_if_idle(self) -> None:
        if self._waiting or self._epoll is None:
            return
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._epoll = None
        self._queues.clear()
        self._set_timer(None)


def _call(ready: Ready, events: int) -> None:
    try:
        ready(events)
    except Exception as error:  # noqa: BLE001 (a bug of one is not to cost the others their events)
        _report(error)


def _report(error: Exception) -> None:
    context = {"message": "a socket was ready for somebody who failed", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


_latest: tuple[weakref.ref[asyncio.AbstractEventLoop], Readiness] | None = None


def readiness() -> Readiness:
    """Give the one of the running event loop, of which there is one at a time."""
    global _latest  # noqa: PLW0603 (a cache of one)
    loop = asyncio.get_running_loop()
    if _latest is None or _latest[0]() is not loop:
        _latest = weakref.ref(loop), Readiness()
    return _latest[1]


class Errand(asyncio.Future[T]):
    """What one socket is opened for, without a task: its steps are events of that socket.

    Nothing stays open once there is a result or an error, or nobody wants one any more; `ended` is called
    then.
    """

    __slots__ = ("_ended", "_readiness", "_sock")

    def __init__(self, ended: Callable[[], None] | None) -> None:
        super().__init__()
        self._ended = ended
        self._readiness = readiness()
        self._sock: socket.socket | None = None

    def cancel(self, msg: object = None) -> bool:
        """Close the socket at once."""
        self._close()
        return super().cancel(msg)

    def _end(self, result: T) -> None:
        if not self.done():
            self.set_result(result)
        self._close()

    def _break(self, error: Exception) -> None:
        """Hand a bug, or want of memory, to the one who waits."""
        if not self.done():
            self.set_exception(error)
        self._close()

    def _close(self) -> None:
        """Let go of everything; the first time, tell."""
        sock, self._sock = self._sock, None
        if sock:
            self._readiness.forget(sock)
            sock.close()
        ended, self._ended = self._ended, None
        if ended:
            ended()


def ask_for_timestamps(sock: socket.socket) -> None:
    """Let the kernel note when something arrives; where nobody else asked for that, it takes it a moment."""
    with contextlib.suppress(OSError):  # a kernel that tells no times
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def receive_stamped(sock: socket.socket, size: int) -> tuple[bytes, float | None]:
    """Receive at most `size` bytes, and when they had arrived (Unix time); None where nobody says.

    Raises:
        OSError: As recvmsg(2) fails.
    """
    received, ancillary, _, _ = sock.recvmsg(size, _ANCILLARY_BYTES)
    for level, kind, data in ancillary:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return received, float(seconds + nanoseconds / _NANOSECONDS_PER_SECOND)
    return received, None


def seconds_until(arrived: float | None, *, since: float, at_most: float) -> float:
    """Give the time from `since` to `arrived`, or `at_most` where that is unknown or the clock was set."""
    stamped_seconds = arrived - since if arrived else 0.0
    return stamped_seconds if 0 < stamped_seconds < at_most else at_most

"""Tells the service manager how the process is: the client's side of sd_notify(3).

A datagram with lines of NAME=value to the socket that $NOTIFY_SOCKET names, and not a word without it.
Written here because it is no more than that, and the libraries for it are hardly looked after. It never
raises and never waits: a monitor does not stop because nobody takes note of it.
https://www.freedesktop.org/software/systemd/man/252/sd_notify.html, sd_watchdog_enabled.html
"""

import collections
import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Self

_MICROSECONDS_PER_SECOND = 1_000_000
_NANOSECONDS_PER_MICROSECOND = 1_000
_UNSENT = 8
MAX_STATUS = 500


class Notifier:
    """Sends the notifications to `address`, a path or `@` and an abstract name; nothing when it is neither.

    `watchdog_seconds` is within how long the manager wants to hear of progress, None when it does not. What a
    full queue of the manager does not take is sent before what comes next; a status alone is lost.
    """

    def __init__(self, address: str = "", *, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = _open() if address.startswith(("/", "@")) else None
        self._unsent: collections.deque[bytes] = collections.deque(maxlen=_UNSENT)
        self._ended = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, pid: int) -> Self:
        """Make the one that the service manager asks for in the environment of the process `pid`."""
        address = environment.get("NOTIFY_SOCKET", "")
        return cls(address, watchdog_seconds=_watchdog_seconds(environment, pid))

    def ready(self, status: str) -> None:
        """Tell that the process does its work, for the first time or again after `reloading`."""
        self._tell("READY=1", f"STATUS={_one_line(status)}", keep=True)

    def reloading(self) -> None:
        """Tell that the configuration is being loaded again; `ready` has to follow."""
        now = time.monotonic_ns() // _NANOSECONDS_PER_MICROSECOND
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}", keep=True)

    def status(self, status: str, *, progress: bool) -> None:
        """Tell in a line how things are; with `progress`, that the watchdog may wait once more."""
        self._tell(*(["WATCHDOG=1"] if progress else []), f"STATUS={_one_line(status)}", keep=False)

    def stopping(self) -> None:
        """Tell that the process is about to end; whatever comes after it is not sent."""
        self._tell("STOPPING=1", "STATUS=stopping", keep=True)
        self._ended = True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str, keep: bool) -> None:
        if self._socket is None or self._ended:
            return
        self._unsent.append("\n".join(lines).encode(errors="replace"))
        try:
            while self._unsent:
                self._socket.sendto(self._unsent[0], self._address)
                self._unsent.popleft()
        except BlockingIOError:
            if not keep:  # of progress nobody must hear later
                self._unsent.pop()
        except (OSError, ValueError):  # nobody is there; an address that cannot be one
            self._unsent.clear()


def _open() -> socket.socket | None:
    """Open the one socket for all notifications: later there may be no descriptor left for another."""
    with contextlib.suppress(OSError):
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    return None


def _watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    try:
        period = int(environment.get("WATCHDOG_USEC", "0"))
        meant = int(environment.get("WATCHDOG_PID", pid))
    except ValueError:
        return None
    return period / _MICROSECONDS_PER_SECOND if period > 0 and meant == pid else None


def _one_line(text: str) -> str:
    """Keep a text from being taken for more than one value."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_STATUS else f"{line[: MAX_STATUS - 1]}…"

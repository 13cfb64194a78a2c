"""Tests of what the service manager is told; the test plays the manager, on a real socket."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.notify import MAX_STATUS, Notifier
from tests.services import wait_until

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Listen where a service manager would, and give the address as it is in the environment."""
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(name.replace("@", "\0", 1))
        yield listening, name


@pytest.fixture
def notifier(manager: tuple[socket.socket, str]) -> Iterator[Notifier]:
    """Make the notifier for that manager."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager[1]}, pid=PID)
    yield notifier
    notifier.close()


def received(listening: socket.socket) -> list[str]:
    """Take what has arrived."""
    found = []
    while True:
        try:
            found.append(listening.recv(4096).decode())
        except BlockingIOError:
            return found


def test_what_is_told(manager: tuple[socket.socket, str], notifier: Notifier) -> None:
    """Each notification is one datagram with the variables of sd_notify(3); the end is the last one."""
    before = time.monotonic_ns() // 1000
    notifier.ready("watching")
    notifier.status("still watching", progress=True)
    notifier.status("stalled", progress=False)
    notifier.reloading()
    notifier.stopping()
    notifier.ready("too late")
    ready, progress, stalled, reloading, stopping = received(manager[0])
    assert ready == "READY=1\nSTATUS=watching"
    assert progress == "WATCHDOG=1\nSTATUS=still watching"
    assert stalled == "STATUS=stalled"
    first, _, microseconds = reloading.partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000
    assert stopping == "STOPPING=1\nSTATUS=stopping"


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ("two\nlines\r\nREADY=1", "two lines READY=1"),
        ("x" * 10_000, "x" * (MAX_STATUS - 1) + "…"),
        ("\udcff", "?"),
    ],
)
def test_status_is_one_line(
    manager: tuple[socket.socket, str], notifier: Notifier, status: str, seen: str
) -> None:
    """Whatever a status holds, it is one short line of UTF-8, and no other variable."""
    notifier.status(status, progress=False)
    assert received(manager[0]) == [f"STATUS={seen}"]


def test_full_queue(manager: tuple[socket.socket, str], notifier: Notifier) -> None:
    """A full queue keeps nobody waiting; what has to arrive is sent with what comes next, progress is not."""
    listening, name = manager
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as chatty:
        with contextlib.suppress(BlockingIOError):
            while True:
                chatty.sendto(b"", name.replace("@", "\0", 1))
        notifier.status("lost", progress=True)
        notifier.ready("kept")
        notifier.status("lost", progress=True)
        assert set(received(listening)) == {""}
        notifier.status("next", progress=True)
        assert received(listening) == ["READY=1\nSTATUS=kept", "WATCHDOG=1\nSTATUS=next"]


def test_manager_that_goes_away(manager: tuple[socket.socket, str], notifier: Notifier) -> None:
    """Without a manager nothing is raised or kept, and a new one in its place hears of what comes then."""
    listening, name = manager
    notifier.ready("first")
    listening.close()
    if not name.startswith("@"):
        Path(name).unlink()
    notifier.status("nobody hears it", progress=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as another:
        another.bind(name.replace("@", "\0", 1))
        notifier.status("again", progress=True)
        assert wait_until(lambda: received(another) or None, "it is told") == ["WATCHDOG=1\nSTATUS=again"]


@pytest.mark.parametrize(
    "address", ["", "relative/path", "vsock:2:1234", "/" + "x" * 200, "/nowhere/at\0all"]
)
def test_no_manager(address: str) -> None:
    """Without an address, or with one that is of no use, nothing happens."""
    notifier = Notifier(address)
    notifier.ready("ready")
    notifier.stopping()
    notifier.close()
    notifier.close()
    notifier.status("closed", progress=True)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog(environment: dict[str, str], seconds: float | None) -> None:
    """The watchdog's period is taken from the environment, if it is meant for this process."""
    assert Notifier.from_environment(environment, pid=PID).watchdog_seconds == seconds

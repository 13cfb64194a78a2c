"""Tests of the sockets that lookups and probes send from."""

import asyncio
import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from exporter.sockets import open_socket, readiness, socket_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 1688)),
        ("2001:db8::1", ("2001:db8::1", 1688)),
        ("fe80::1%3", ("fe80::1", 1688, 0, 3)),
        ("fe80::1%lo", ("fe80::1", 1688, 0, socket.if_nametoindex("lo"))),
    ],
)
def test_socket_address(address: str, expected: tuple[str | int, ...]) -> None:
    """The scope of a link-local address is a number of its own."""
    assert socket_address(address, 1688) == expected


def test_scope_without_interface() -> None:
    """A scope that names no interface of this machine is an OSError like any other."""
    with pytest.raises(OSError, match="interface"):
        socket_address("fe80::1%nowhere", 1688)


def test_source_address() -> None:
    """A socket leaves from the source address, does not block, and has the kind that was asked for."""
    with open_socket("127.0.0.1", socket.SOCK_DGRAM, source_address="127.0.0.2") as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
        assert not sock.getblocking()
        assert sock.type == socket.SOCK_DGRAM


def test_source_address_that_is_not_ours() -> None:
    """Nothing stays open when the source address cannot be had; the test run fails on a leaked socket."""
    with pytest.raises(OSError, match="assign"):
        open_socket("127.0.0.1", socket.SOCK_STREAM, source_address="192.0.2.1")


def test_port_is_left_to_connect() -> None:
    """A source address does not take a local port of its own: probes of many hosts can share one."""
    with open_socket("127.0.0.1", socket.SOCK_STREAM, source_address="127.0.0.2") as sock:
        assert sock.getsockname() == ("127.0.0.2", 0)


# --- Many sockets at once


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected sockets, the first of which does not block."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    return ours, theirs


def descriptors() -> int:
    """Count what this process has open."""
    return len(list(os.scandir("/proc/self/fd")))


def test_readiness() -> None:
    """Each socket's events go to its own watcher, until it is forgotten; nothing stays open then."""

    async def scenario() -> None:
        before = descriptors()
        (first, other), (second, another) = pair(), pair()
        told: list[tuple[str, int]] = []
        with first, other, second, another:
            readiness().watch(first, select.EPOLLIN, lambda events: told.append(("first", events)))
            readiness().watch(second, select.EPOLLIN, lambda events: told.append(("second", events)))
            other.send(b"1")
            await until(lambda: len(told) == 1)
            another.send(b"2")
            await until(lambda: len(told) == 2)
            readiness().forget(first)
            other.send(b"3")
            another.send(b"4")
            await until(lambda: len(told) == 3)
            readiness().forget(second)
        assert told == [("first", select.EPOLLIN), ("second", select.EPOLLIN), ("second", select.EPOLLIN)]
        assert descriptors() == before

    asyncio.run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the event loop brings about."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- what is waited for sets no event
            await asyncio.sleep(0.001)


class StoppedClock(asyncio.SelectorEventLoop):
    """An event loop on which no time passes but what a test adds to `now`."""

    now = 1000.0

    def time(self) -> float:
        """Tell the time that the test has set."""
        return self.now


def test_deadlines() -> None:
    """Each watcher hears of the end of its own time, once, unless it is prolonged or forgotten."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StoppedClock)
        told: list[str] = []
        with contextlib.ExitStack() as stack:

            def watch(name: str, seconds: float | None) -> socket.socket:
                ours, theirs = (stack.enter_context(each) for each in pair())
                others.append(theirs)

                def ready(events: int) -> None:
                    told.append(f"{name} {events}")

                readiness().watch(ours, select.EPOLLIN, ready, timeout_seconds=seconds)
                return ours

            async def at(seconds: float) -> list[str]:
                loop.now = 1000.0 + seconds
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                heard, told[:] = sorted(told), []
                return heard

            others: list[socket.socket] = []
            long, forgotten, prolonged = (watch(name, 5) for name in ("long", "forgotten", "prolonged"))
            short, patient = watch("short", 2), watch("patient", None)
            assert await at(1.9) == []
            assert await at(2) == ["short 0"]
            readiness().forget(forgotten)
            readiness().prolong(prolonged, 5)
            assert await at(4.9) == []
            assert await at(5) == ["long 0"]
            others[0].send(b"!")
            assert await at(6) == [f"long {select.EPOLLIN}"]
            assert await at(6.9) == []
            assert await at(60) == ["prolonged 0"]
            assert await at(600) == []
            for sock in (long, prolonged, short, patient):
                readiness().forget(sock)

    with asyncio.Runner(loop_factory=StoppedClock) as runner:
        runner.run(scenario())


def test_one_that_makes_an_end_of_another() -> None:
    """A watcher that forgets and closes another socket is the last to hear of both."""

    async def scenario() -> None:
        told = []
        sockets = pair(), pair()
        ours = [each[0] for each in sockets]

        def end_all(_: int) -> None:
            told.append(1)
            for sock in ours:
                readiness().forget(sock)
                sock.close()

        for sock, other in sockets:
            readiness().watch(sock, select.EPOLLIN, end_all)
            other.send(b"?")
        await until(lambda: bool(told))
        await asyncio.sleep(0)
        assert told == [1]
        for _, other in sockets:
            other.close()

    asyncio.run(scenario())


def fail(_: int) -> None:
    """Be a watcher with a bug."""
    raise ValueError("a bug")


def test_watcher_that_fails() -> None:
    """A bug in one watcher is reported, and costs no other its event."""

    async def scenario() -> None:
        told: list[int] = []
        reported: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        broken, whole = pair(), pair()
        with broken[0], broken[1], whole[0], whole[1]:
            readiness().watch(broken[0], select.EPOLLIN, fail)
            readiness().watch(whole[0], select.EPOLLIN, told.append)
            broken[1].send(b"?")
            whole[1].send(b"?")
            await until(lambda: bool(told and reported))
            for sock in (broken[0], whole[0]):
                readiness().forget(sock)
        assert [repr(context["exception"]) for context in reported] == ["ValueError('a bug')"]

    asyncio.run(scenario())


def test_no_descriptor_to_wait_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """That there is nothing left to wait with is an OSError, and the next one may be luckier."""

    class Full:
        """An epoll instance that takes nobody."""

        def __init__(self) -> None:
            self.real = select.epoll()
            self.fileno = self.real.fileno
            self.close = self.real.close

        def register(self, *_: object) -> None:
            """Refuse, as the kernel does that has no memory or too many watches."""
            raise OSError(errno.ENOSPC, "full")

    async def scenario() -> None:
        before = descriptors()
        ours, theirs = pair()
        with ours, theirs:
            with monkeypatch.context() as patch:
                patch.setattr("exporter.sockets.select", SimpleNamespace(epoll=Full, EPOLLET=select.EPOLLET))
                with pytest.raises(OSError, match="full"):
                    readiness().watch(ours, select.EPOLLIN, lambda _: None)
            told: list[int] = []
            readiness().watch(ours, select.EPOLLIN, told.append)
            theirs.send(b"!")
            await until(lambda: bool(told))
            readiness().forget(ours)
        assert descriptors() == before

    asyncio.run(scenario())

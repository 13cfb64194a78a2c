"""Tests of one question over UDP: attempts, cancellation, bugs on the way, and whose clock tells the time.

The server is a socket of the test, which says what it does; time passes when a test says so.
"""

import asyncio
import errno
import os
import select
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import dns.rdatatype
import pytest

from exporter.discovery.datagrams import Heard, begin_asking
from exporter.discovery.exchange import Exchange
from exporter.discovery.transport import Question, Transport
from exporter.model import DnsServer, LookupStatus
from exporter.sockets import ask_for_timestamps, receive_stamped
from tests.fake_dns import DEADLINE_SECONDS, LOOPBACK, FakeDns, says

NAME = "_vlmcs._tcp.contoso.com"
KMS1 = f"{NAME}. SRV 0 0 1688 kms1.contoso.com."
SRV = dns.rdatatype.SRV
QUERY = b"idquestion"
ANSWER = b"idanswer"
TIMEOUT_SECONDS = 5.0
HELD_SECONDS = 0.5
MUCH_LESS_SECONDS = 0.4


class StoppedClock(asyncio.SelectorEventLoop):
    """An event loop on which no time passes but what a test adds to `now`."""

    now = 1000.0

    def time(self) -> float:
        """Tell the time that the test has set."""
        return self.now


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on a clock of its own, and see that it leaves nothing open."""
    with asyncio.Runner(loop_factory=StoppedClock) as runner:
        runner.get_loop()
        before = descriptors()
        runner.run(scenario)
        assert descriptors() == before


def advance(seconds: float) -> None:
    """Let time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StoppedClock)
    loop.now += seconds


async def settle() -> None:
    """Let everything happen that is due."""
    for _ in range(10):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the event loop brings about."""
    give_up = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0)


async def end_of(asking: asyncio.Future[Heard]) -> Heard:
    """Wait for what a question comes to."""
    await until(asking.done)
    return asking.result()


def descriptors() -> set[str]:
    """List what this process has open."""
    return {entry.name for entry in os.scandir("/proc/self/fd")}


class Server:
    """A DNS server that answers when a test says so."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((LOOPBACK, 0))
        self.sock.settimeout(DEADLINE_SECONDS)
        self.address = DnsServer(address=LOOPBACK, port=self.sock.getsockname()[1])
        self.ended = 0

    def ask(self, *, attempts: int = 1) -> asyncio.Future[Heard]:
        """Begin to ask this server, and count how often that ends."""
        return begin_asking(
            self.address,
            QUERY,
            source_address=None,
            attempts=attempts,
            timeout_seconds=TIMEOUT_SECONDS,
            ended=self._end,
        )

    def _end(self) -> None:
        self.ended += 1

    def receive(self) -> Any:
        """Receive a query, and tell where it came from."""
        query, peer = self.sock.recvfrom(512)
        assert query == QUERY
        return peer

    def answer(self, wire: bytes = ANSWER) -> None:
        """Answer the next query."""
        self.sock.sendto(wire, self.receive())


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server."""
    server = Server()
    with server.sock:
        yield server


def failures(heard: Heard) -> list[LookupStatus | None]:
    """Tell how each attempt ended."""
    return [attempt.failure for attempt in heard.attempts]


# --- Attempts


@pytest.mark.parametrize("early", [True, False], ids=["before anybody waits", "later"])
def test_answer(server: Server, *, early: bool) -> None:
    """The answer is what comes under the id of the question, and the end of it is told once."""

    async def scenario() -> None:
        before = time.time()
        asking = server.ask(attempts=3)
        if not early:
            await settle()
            assert not asking.done()
        server.answer()
        heard = await end_of(asking)
        assert heard.wire == ANSWER
        [attempt] = heard.attempts
        assert before <= attempt.asked_at <= time.time()
        assert attempt.duration_seconds > 0
        assert server.ended == 1
        assert not asking.cancel()
        assert server.ended == 1

    run(scenario())


def test_late_answer(server: Server) -> None:
    """An answer to the first attempt that comes during the second one ends that."""

    async def scenario() -> None:
        asking = server.ask(attempts=3)
        first = server.receive()
        advance(TIMEOUT_SECONDS)
        await settle()
        assert server.receive() == first, "from the same port"
        server.sock.sendto(ANSWER, first)
        heard = await end_of(asking)
        assert heard.wire == ANSWER
        assert failures(heard) == [LookupStatus.TIMEOUT, None]
        assert server.ended == 1

    run(scenario())


def test_silence(server: Server) -> None:
    """Each attempt has its own time, and after the last one that is the result."""

    async def scenario() -> None:
        asking = server.ask(attempts=2)
        for _ in range(2):
            advance(TIMEOUT_SECONDS * 0.9)
            await settle()
            assert not asking.done()
            server.receive()
            advance(TIMEOUT_SECONDS * 0.1 + 0.001)
            await settle()
        heard = await end_of(asking)
        assert heard.wire is None
        assert failures(heard) == [LookupStatus.TIMEOUT] * 2
        assert heard.failure() is LookupStatus.TIMEOUT
        assert server.ended == 1

    run(scenario())


def test_answer_in_time_to_a_late_process(server: Server) -> None:
    """An answer that is there when the time is over counts: this process was late, and the server was not."""

    async def scenario() -> None:
        asking = server.ask()
        server.answer()
        advance(2 * TIMEOUT_SECONDS)
        heard = await end_of(asking)
        assert heard.wire == ANSWER
        assert failures(heard) == [None]

    run(scenario())


def test_strays_take_no_time(server: Server) -> None:
    """What has another id is passed over, and does not put off the end of the attempt."""

    async def scenario() -> None:
        asking = server.ask()
        advance(TIMEOUT_SECONDS * 0.9)
        server.answer(b"otheranswer")
        await settle()
        advance(TIMEOUT_SECONDS * 0.2)
        assert failures(await end_of(asking)) == [LookupStatus.TIMEOUT]

    run(scenario())


def test_nobody_listens(server: Server) -> None:
    """An error that the network reports ends an attempt at once."""

    async def scenario() -> None:
        heard = await end_of(server.ask(attempts=2))
        assert failures(heard) == [LookupStatus.UNREACHABLE] * 2
        assert heard.failure() is LookupStatus.UNREACHABLE
        assert server.ended == 1

    server.sock.close()
    run(scenario())


def test_error_when_the_time_is_over(server: Server) -> None:
    """An error that was on its way when the time of an attempt was over ends that one, and not the next."""

    async def scenario() -> None:
        asking = server.ask(attempts=3)
        asking._on_event(0)  # type: ignore[attr-defined]
        assert len(asking._attempts) == 1  # type: ignore[attr-defined]
        assert failures(await end_of(asking)) == [LookupStatus.UNREACHABLE] * 3

    server.sock.close()
    run(scenario())


def test_flood_of_strays_is_read_once_a_turn(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a flood makes the socket ready, one stray is read in each turn of the event loop."""
    read: list[int] = []

    def receive(*_: object) -> tuple[bytes, None]:
        read.append(1)
        return b"stray", None

    async def scenario() -> None:
        asking = server.ask()
        monkeypatch.setattr("exporter.discovery.datagrams.receive_stamped", receive)
        for turn in range(1, 6):
            for _ in range(3):
                asking._on_event(select.EPOLLIN)  # type: ignore[attr-defined]
            assert len(read) == turn
            await asyncio.sleep(0)
        asking.cancel()

    run(scenario())


def test_no_socket(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there is no socket to be had is a result too, and there is no second attempt."""

    def fail(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EMFILE, "full")

    monkeypatch.setattr("exporter.discovery.datagrams.open_socket", fail)

    async def scenario() -> None:
        heard = await end_of(server.ask(attempts=2))
        assert failures(heard) == [LookupStatus.LOCAL_ERROR]
        assert server.ended == 1

    run(scenario())


# --- Ends that nobody wants


def test_cancelled_question(server: Server) -> None:
    """A question that is cancelled closes its socket at once, and what comes after that is nobody's."""

    async def scenario() -> None:
        before = descriptors()
        asking = server.ask(attempts=3)
        peer = server.receive()
        assert len(descriptors()) == len(before) + 2, "a socket, and what is waited with"
        assert asking.cancel()
        assert descriptors() == before
        assert server.ended == 1
        server.sock.sendto(ANSWER, peer)
        advance(10 * TIMEOUT_SECONDS)
        await settle()
        assert asking.cancelled()
        assert server.ended == 1

    run(scenario())


@pytest.mark.parametrize("bug", [ValueError("a bug"), MemoryError()], ids=["bug", "no memory"])
@pytest.mark.parametrize("place", ["receive", "send", "send again"])
def test_bug_in_an_event(server: Server, monkeypatch: pytest.MonkeyPatch, bug: Exception, place: str) -> None:
    """A bug, or want of memory, is an error for the one who waits: he does not wait for ever."""

    def fail(*_: object) -> Any:
        raise bug

    async def scenario() -> None:
        if place == "send":
            monkeypatch.setattr(socket.socket, "send", fail)
        asking = server.ask(attempts=2)
        monkeypatch.setattr(socket.socket, "send", fail)
        monkeypatch.setattr("exporter.discovery.datagrams.receive_stamped", fail)
        if place == "receive":
            server.answer()
        elif place == "send again":
            monkeypatch.setattr("exporter.discovery.datagrams.receive_stamped", nothing_there)
            advance(TIMEOUT_SECONDS)
        await until(asking.done)
        assert asking.exception() is bug
        assert server.ended == 1

    run(scenario())


def nothing_there(*_: object) -> Any:
    """Receive nothing."""
    raise BlockingIOError


# --- Whose clock


@pytest.fixture
def _stamps() -> Iterator[None]:
    """Wait until the kernel notes when something arrives: it begins a moment after it was asked to."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        ask_for_timestamps(ours)
        ours.bind((LOOPBACK, 0))
        ours.settimeout(DEADLINE_SECONDS)
        give_up = time.monotonic() + DEADLINE_SECONDS
        while True:
            theirs.sendto(b"?", ours.getsockname())
            sent = time.time()
            time.sleep(0.01)
            _, arrived = receive_stamped(ours, 1)
            if arrived is None:
                pytest.skip("this kernel tells no times")
            if arrived < sent + 0.005:
                break
            assert time.monotonic() < give_up
        yield


@pytest.mark.usefixtures("_stamps")
def test_event_loop_that_is_held_up(server: Server) -> None:
    """How long an answer took does not depend on how long this process took to look at it."""

    async def scenario() -> None:
        start = time.perf_counter()
        asking = server.ask()
        server.answer()
        until_sent_seconds = time.perf_counter() - start
        time.sleep(HELD_SECONDS)  # noqa: ASYNC251 -- the point of the test
        [attempt] = (await end_of(asking)).attempts
        assert 0 < attempt.duration_seconds < until_sent_seconds + MUCH_LESS_SECONDS

    run(scenario())


@pytest.mark.parametrize("asked_for", [0x7FFF, None], ids=["refused", "ignored"])
def test_kernel_without_timestamps(
    server: Server, monkeypatch: pytest.MonkeyPatch, asked_for: int | None
) -> None:
    """Where the kernel does not say when an answer arrived, it is when this process sees it."""
    if asked_for is None:
        monkeypatch.setattr("exporter.discovery.datagrams.ask_for_timestamps", lambda _: None)
    else:
        monkeypatch.setattr("exporter.sockets._SO_TIMESTAMPNS", asked_for)

    async def scenario() -> None:
        start = time.perf_counter()
        asking = server.ask()
        server.answer()
        time.sleep(0.05)  # noqa: ASYNC251 -- the point of the test
        [attempt] = (await end_of(asking)).attempts
        assert 0.05 <= attempt.duration_seconds <= time.perf_counter() - start

    run(scenario())


@pytest.mark.parametrize("ahead_seconds", [1000.0, -1000.0])
def test_clock_that_is_set(server: Server, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float) -> None:
    """A clock that is set between question and answer makes no duration negative, nor hours long."""
    times = SimpleNamespace(time=lambda: time.time() + ahead_seconds, perf_counter=time.perf_counter)
    monkeypatch.setattr("exporter.discovery.datagrams.time", times)

    async def scenario() -> None:
        start = time.perf_counter()
        asking = server.ask()
        server.answer()
        [attempt] = (await end_of(asking)).attempts
        assert 0 < attempt.duration_seconds <= time.perf_counter() - start

    run(scenario())


# --- A question that was begun, and the transport


def transport(**options: Any) -> Transport:
    """Make a transport with room for one query."""
    defaults = {"timeout_seconds": TIMEOUT_SECONDS, "attempts": 1, "source_addresses": {}, "max_in_flight": 1}
    return Transport(**{**defaults, **options})


def begin(bounded: Transport, server: DnsServer) -> Question:
    """Begin a question for which there is room."""
    question = bounded.begin(server, NAME, SRV)
    assert question
    return question


def test_cancelled_question_gives_its_place_back(server: Server) -> None:
    """Room at a server is what is not taken by questions under way; one that was cancelled is not."""

    async def scenario() -> None:
        bounded = transport()
        question = begin(bounded, server.address)
        assert bounded.begin(server.address, NAME, SRV) is None
        waiting = asyncio.create_task(bounded.ask(server.address, NAME, SRV), name="waits for room")
        await settle()
        server.sock.recv(512)
        question.heard.cancel()
        await settle()
        assert server.sock.recv(512), "that of the one who waited"
        assert bounded.begin(server.address, NAME, SRV) is None
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        begin(bounded, server.address).heard.cancel()

    run(scenario())


def test_cancelled_while_another_began(server: Server) -> None:
    """Whoever waits for a question that was begun takes it with him when he is cancelled."""

    async def scenario() -> None:
        bounded = transport()
        question = begin(bounded, server.address)
        work = bounded.ask(server.address, NAME, SRV, begun=question)
        waiting = asyncio.create_task(work, name="waits for an answer")
        await settle()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert question.heard.cancelled()
        begin(bounded, server.address).heard.cancel()

    run(scenario())


def exchange(work: Callable[[Transport], Coroutine[Any, Any, Exchange]], **options: Any) -> Exchange:
    """Ask in some way, on an event loop of its own."""

    async def asking() -> Exchange:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await work(transport(**options))

    return asyncio.run(asking())


def test_begun_question() -> None:
    """A question that was begun is asked once, whoever reads the answer."""
    with FakeDns(says(KMS1)) as fake:

        async def ask_begun(bounded: Transport) -> Exchange:
            question = begin(bounded, fake.server)
            asked = await bounded.ask(fake.server, NAME, SRV, begun=question)
            assert bounded.read_plain(question) == asked
            return asked

        found = exchange(ask_begun)
        assert len(fake.asked) == 1
    assert not isinstance(found.reply, LookupStatus)
    assert [query.outcome for query in found.queries] == ["ok"]


async def _ask(bounded: Transport, server: DnsServer) -> Exchange:
    return await bounded.ask(server, NAME, SRV)


async def _ask_begun(bounded: Transport, server: DnsServer) -> Exchange:
    return await bounded.ask(server, NAME, SRV, begun=begin(bounded, server))


@pytest.mark.parametrize("ask", [_ask, _ask_begun])
def test_no_memory_to_receive_with(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Transport, DnsServer], Coroutine[Any, Any, Exchange]]
) -> None:
    """Want of memory is this machine's own failure, whoever began the question, and the query shows it."""

    def fail(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr("exporter.discovery.datagrams.receive_stamped", fail)
    with FakeDns(says(KMS1)) as fake:
        found = exchange(lambda bounded: ask(bounded, fake.server))
    assert found.reply is LookupStatus.LOCAL_ERROR
    assert [query.outcome for query in found.queries] == ["local_error"]


@pytest.mark.parametrize("missing", ["open_socket", "ask_for_timestamps", "_Asking"])
def test_no_memory_to_begin_with(server: Server, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A question that could not be begun for want of memory keeps no place."""

    def fail(*_: object, **__: object) -> Any:
        raise MemoryError

    async def scenario() -> None:
        bounded = transport(max_in_flight=2)
        other = begin(bounded, server.address)
        with monkeypatch.context() as patch:
            patch.setattr(f"exporter.discovery.datagrams.{missing}", fail)
            try:
                failed = bounded.begin(server.address, NAME, SRV)
            except MemoryError:
                pass
            else:
                assert failed is None or failed.heard.exception()
        begin(bounded, server.address).heard.cancel()
        other.heard.cancel()

    run(scenario())

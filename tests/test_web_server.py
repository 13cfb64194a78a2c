"""Tests of serving: what a connection may take, and that one that takes more is closed."""

import asyncio
import contextlib
import dataclasses
import errno
import gc
import os
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from exporter.config.webfile import parse_web
from exporter.state import Rejection
from exporter.web.serving import server as server_module
from exporter.web.serving.door import Manners
from exporter.web.serving.listen import listen
from exporter.web.serving.sending import PIECE_BYTES, Sending
from exporter.web.serving.server import Server
from exporter.web.serving.tls import Tls, make_tls
from tests.certificates import Authority
from tests.services import DEADLINE_SECONDS, LOOPBACK

LARGE = b"x" * (8 * 1024 * 1024)
NEVER = 1000.0
PATIENT = Manners(head_seconds=NEVER, idle_seconds=NEVER, stalled_seconds=NEVER, handshake_seconds=NEVER)
SHORT = 0.05
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Site:
    """A server on a port of loopback, and what it keeps."""

    server: Server
    sending: Sending
    port: int
    may_answer: asyncio.Event
    bugs: list[str]
    rejected: list[Rejection]
    streams: list[Stream]

    async def connect(self, *, small: bool = False) -> Stream:
        """Connect; a small client has room for very little that it did not ask to read."""
        sock = socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)  # noqa: FBT003
        await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, self.port))
        self.streams.append(await asyncio.open_connection(sock=sock, limit=4096 if small else 2**16))
        return self.streams[-1]

    async def get(self, path: bytes, stream: Stream | None = None) -> tuple[int, bytes]:
        """Ask for a page, on a connection of its own unless one is given."""
        reader, writer = stream or await self.connect()
        writer.write(GET % path)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:] if line)
        body = await reader.readexactly(int(fields[b"content-length"]))
        if stream is None:
            writer.close()
        return int(head.split()[1]), body

    async def emptied(self) -> None:
        """Wait until no connection and no task of one is left."""
        await until(
            lambda: (
                not self.server._connections
                and not self.sending.held_bytes()
                and not any(task.get_name() == "connection" for task in asyncio.all_tasks())
            )
        )

    async def hang_up(self) -> None:
        """Close what the clients left open."""
        for _, writer in self.streams:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def until(reached: Callable[[], bool]) -> None:
    """Let everything else run until a condition is reached."""
    while not reached():  # noqa: ASYNC110 - what is waited for knows nothing of events
        await asyncio.sleep(0.001)


def application(sending: Sending, may_answer: asyncio.Event) -> web.Application:
    """Build an application with a small page, a large one, and one that waits."""

    async def small(_request: web.Request) -> web.Response:
        return web.Response(text="small")

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=LARGE, headers={"Content-Type": "text/plain"})

    async def slow(_request: web.Request) -> web.Response:
        await may_answer.wait()
        return web.Response(text="slow")

    async def medium(_request: web.Request) -> web.Response:
        return web.Response(body=LARGE[: PIECE_BYTES - 1])

    made = web.Application(middlewares=[sending.middleware])
    made.add_routes(
        [
            web.get("/", small),
            web.get("/large", large),
            web.get("/slow", slow),
            web.get("/medium", medium),
            web.post("/", small),
        ]
    )
    return made


@contextlib.asynccontextmanager
async def serving(manners: Manners, tls: Tls | None, sending: Sending | None) -> AsyncIterator[Site]:
    """Serve the application."""
    sending = sending or Sending(seconds=NEVER)
    may_answer = asyncio.Event()
    bugs: list[str] = []
    rejected: list[Rejection] = []
    with listen(LOOPBACK, 0) as listening:
        server = Server(
            [listening],
            application(sending, may_answer),
            count_internal_error=lambda: bugs.append("bug"),
            count_rejected=rejected.append,
            manners=manners,
        )
        server.use(tls)
        async with server:
            site = Site(server, sending, listening.getsockname()[1], may_answer, bugs, rejected, [])
            yield site
    await site.hang_up()
    assert bugs == []


def visit(
    visitor: Callable[[Site], Awaitable[None]],
    manners: Manners = PATIENT,
    *,
    tls: Tls | None = None,
    sending: Sending | None = None,
) -> None:
    """Let a visitor come by, and see that nothing of the visit is left."""

    async def serve() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            async with serving(manners, tls, sending) as site:
                await visitor(site)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(serve())


def patient(**seconds: Any) -> Manners:
    """Build manners that wait for ever but for what is given."""
    return dataclasses.replace(PATIENT, **seconds)


# --- Requests


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n", b"\r\n"])
def test_head_that_never_ends(sent: bytes) -> None:
    """A connection without a whole request is closed, and nothing is left of it."""

    async def look(site: Site) -> None:
        reader, writer = await site.connect()
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await site.emptied()

    visit(look, patient(head_seconds=SHORT))


def test_second_head_that_never_ends() -> None:
    """The beginning of a second request gets no more time than that of the first."""

    async def look(site: Site) -> None:
        stream = await site.connect()
        assert await site.get(b"/", stream) == (HTTPStatus.OK, b"small")
        stream[1].write(b"GET /")
        assert await stream[0].read() == b""
        stream[1].close()

    visit(look, patient(head_seconds=2 * SHORT))


def test_trickle() -> None:
    """A head that comes byte by byte has no more time than one that does not come."""

    async def look(site: Site) -> None:
        reader, writer = await site.connect()
        writer.write(b"GET / HTTP/1.1\r\nX: ")

        async def trickle() -> None:
            while not reader.at_eof():
                writer.write(b"x")
                await asyncio.sleep(SHORT / 10)

        trickling = asyncio.create_task(trickle())
        with contextlib.suppress(ConnectionError):  # which is as good as an end in order
            assert await reader.read() == b""
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
        writer.close()

    visit(look, patient(head_seconds=SHORT))


def test_idle() -> None:
    """A connection may wait between requests, but not for ever."""

    async def look(site: Site) -> None:
        stream = await site.connect()
        for _ in range(3):
            assert await site.get(b"/", stream) == (HTTPStatus.OK, b"small")
        assert await stream[0].read() == b""
        stream[1].close()
        await site.emptied()

    visit(look, patient(idle_seconds=4 * SHORT))


def test_a_page_may_take_its_time() -> None:
    """Neither the time for a head nor that between requests ends a request that is under way."""

    async def look(site: Site) -> None:
        answer = asyncio.create_task(site.get(b"/slow"))
        await asyncio.sleep(5 * SHORT)
        assert not answer.done()
        site.may_answer.set()
        assert await answer == (HTTPStatus.OK, b"slow")

    visit(look, patient(head_seconds=SHORT, idle_seconds=SHORT))


@pytest.mark.parametrize("pieces", [1, 40])
def test_head_that_is_too_large(pieces: int) -> None:
    """A head that is larger than any that is needed is refused."""

    async def look(site: Site) -> None:
        reader, writer = await site.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        status = 0
        for number in range(pieces):
            writer.write(b"X-%d: %s\r\n" % (number, b"x" * (8000 if pieces > 1 else 200_000)))
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):  # what was not read may break the answer off
            status = int((await reader.readline()).split()[1])
        assert status in {0, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE}
        await site.emptied()

    visit(look)


def test_body_that_is_too_large() -> None:
    """No page takes a body, so that one of some size is refused."""

    async def look(site: Site) -> None:
        for size, status in ((1000, HTTPStatus.OK), (10**9, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)):
            reader, writer = await site.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (size, b"x" * 1000))
            assert int((await reader.readline()).split()[1]) == status
            writer.transport.abort()
        await until(lambda: not any("RequestHandler" in repr(task) for task in asyncio.all_tasks()))

    visit(look, patient(linger_seconds=SHORT))


def test_pipelining() -> None:
    """Requests that come at once are answered one after the other."""

    async def look(site: Site) -> None:
        reader, writer = await site.connect()
        writer.write((GET % b"/") * 20 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).count(b"small") == 21
        writer.close()

    visit(look)


# --- Readers


def test_large_page() -> None:
    """A large page arrives whole, once more on the same connection, and HEAD gives its length alone."""

    async def look(site: Site) -> None:
        stream = await site.connect()
        for _ in range(2):
            assert await site.get(b"/large", stream) == (HTTPStatus.OK, LARGE)
        stream[1].write(b"HEAD /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await stream[0].read()
        assert b"Content-Length: %d\r\n" % len(LARGE) in answer
        assert answer.endswith(b"\r\n\r\n")
        stream[1].close()

    visit(look)


async def begin_to_read(site: Site, path: bytes = b"/large", times: int = 1) -> Stream:
    """Ask for a page and read only its first line."""
    reader, writer = await site.connect(small=True)
    writer.write((GET % path) * times)
    assert (await reader.readline()).split()[1] == b"200"
    return reader, writer


def test_slow_reader() -> None:
    """A reader that takes nothing is cut off, holds little meanwhile, and holds up nobody."""

    async def look(site: Site) -> None:
        readers = [await begin_to_read(site) for _ in range(5)]
        assert site.sending.held_bytes() == len(LARGE), "one page, for it is the same"
        assert await site.get(b"/") == (HTTPStatus.OK, b"small")
        buffered = [
            door._transport.get_write_buffer_size()  # the memory that it takes
            for door in site.server._doors.values()
            if door._transport is not None
        ]
        assert max(buffered) <= 4 * PIECE_BYTES
        await site.emptied()
        for _, writer in readers:
            writer.transport.abort()

    visit(look, sending=Sending(seconds=4 * SHORT))


def test_slow_readers_of_small_pages() -> None:
    """A client that asks again and again and reads nothing is cut off too."""

    async def look(site: Site) -> None:
        _, writer = await site.connect(small=True)
        writer.write((GET % b"/medium") * 500)
        await site.emptied()

    visit(look, patient(stalled_seconds=SHORT, idle_seconds=SHORT, head_seconds=SHORT))


def test_the_slowest_gives_way() -> None:
    """When readers hold too much together, the oldest is cut off, and the newest is served."""

    async def look(site: Site) -> None:
        _, first = await begin_to_read(site)
        _, second = await begin_to_read(site)
        site.sending._most_bytes = len(LARGE) - 1
        assert await site.get(b"/large") == (HTTPStatus.OK, LARGE)
        await site.emptied()
        for writer in (first, second):
            writer.transport.abort()

    visit(look)


@pytest.mark.parametrize("path", [b"/large", b"/slow"])
def test_reader_that_goes_away(path: bytes) -> None:
    """A scrape that is broken off leaves no task, no connection and no page."""

    async def look(site: Site) -> None:
        for _ in range(10):
            _, writer = await site.connect(small=True)
            writer.write(GET % path)
            await asyncio.sleep(SHORT / 10)
            writer.transport.abort()
        site.may_answer.set()
        await site.emptied()

    visit(look)


# --- Connections


def test_cap() -> None:
    """A connection too many is closed, counted, and logged once; when one ends there is room again."""

    async def look(site: Site) -> None:
        held = [await site.connect() for _ in range(3)]
        for _, writer in held:
            writer.write(GET % b"/slow")
        await until(lambda: all(door.quiet_since is None for door in site.server._doors.values()))
        with capture_logs() as log:
            for _ in range(5):
                reader, writer = await site.connect()
                assert await reader.read() == b""
                writer.close()
        assert [(line["event"], line["most"], line["times"]) for line in log] == [
            ("too many connections", 3, 1)
        ]
        assert site.rejected == [Rejection.LIMIT] * 5
        held[0][1].close()
        await until(lambda: len(site.server._connections) < 3)
        assert await site.get(b"/") == (HTTPStatus.OK, b"small")
        site.may_answer.set()
        for _, writer in held[1:]:
            writer.close()

    visit(look, patient(connections=3))


def test_idle_connections_give_way() -> None:
    """Where all are taken, the connection that has been idle for longest ends for a new one."""

    async def look(site: Site) -> None:
        held = [await site.connect() for _ in range(3)]
        for stream in (held[1], held[0], held[2]):
            await site.get(b"/", stream)
        assert await site.get(b"/") == (HTTPStatus.OK, b"small")
        assert await held[1][0].read() == b""
        assert site.rejected == []
        for stream in (held[0], held[2]):
            assert await site.get(b"/", stream) == (HTTPStatus.OK, b"small")
        for _, writer in held:
            writer.close()

    visit(look, patient(connections=3))


def test_handshake_that_never_ends(tmp_path: Path) -> None:
    """A client that says nothing while TLS is waited for counts, and is closed."""

    async def look(site: Site) -> None:
        streams = [await site.connect() for _ in range(3)]
        for reader, writer in streams:
            assert await reader.read() == b""
            writer.close()
        await site.emptied()

    visit(look, patient(handshake_seconds=2 * SHORT, connections=3), tls=self_signed(tmp_path))


def self_signed(directory: Path) -> Tls:
    """Make what serves TLS."""
    return make_certificate(Authority("servers"), directory)


def make_certificate(authority: Authority, directory: Path) -> Tls:
    """Make what serves TLS with a certificate of an authority."""
    authority.issue("localhost").write(directory, "server")
    text = b"tls_server_config: {cert_file: server.crt, key_file: server.key}"
    tls = make_tls(parse_web(text), directory, Path.read_bytes)
    assert tls is not None
    return tls


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""])
def test_handshake_that_fails(tmp_path: Path, sent: bytes) -> None:
    """A failed handshake leaves nothing for the garbage collector, which comes late for buffers so large."""

    def count() -> int:
        return sum(isinstance(each, SSLProtocol) for each in gc.get_objects())

    async def look(site: Site) -> None:
        before = count()
        for _ in range(3):
            reader, writer = await site.connect()
            writer.write(sent)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            await site.emptied()
        assert count() == before

    gc.collect()
    gc.disable()
    try:
        visit(look, tls=self_signed(tmp_path))
    finally:
        gc.enable()


def test_tls_is_turned_on(tmp_path: Path) -> None:
    """When TLS is turned on, idle connections without it end, and one that is busy after its answer."""

    async def look(site: Site) -> None:
        idle, busy = await site.connect(), await site.connect()
        await site.get(b"/", idle)
        answer = asyncio.create_task(site.get(b"/slow", busy))
        await until(lambda: any(door._requests for door in site.server._doors.values()))
        site.server.use(self_signed(tmp_path))
        assert await idle[0].read() == b""
        site.may_answer.set()
        assert await answer == (HTTPStatus.OK, b"slow")
        assert await busy[0].read() == b""
        for _, writer in (idle, busy):
            writer.close()
        reader, writer = await site.connect()
        writer.write(GET % b"/")
        assert b"HTTP" not in await reader.read()
        writer.close()

    visit(look)


def test_change_of_terms_during_a_handshake(tmp_path: Path) -> None:
    """A client whose handshake began under other terms is not let in when it is done."""

    async def look(site: Site) -> None:
        trusting = ssl.create_default_context(cadata=authority.pem.decode())
        reader, writer = await site.connect()
        await until(lambda: bool(site.server._doors))
        site.server.use(None)
        with contextlib.suppress(OSError):  # it may be cut off before its side of the handshake is done
            await writer.start_tls(trusting, server_hostname="localhost")
            writer.write(GET % b"/")
            assert await reader.read(1) == b""
        writer.close()
        await site.emptied()

    authority = Authority("servers")
    visit(look, tls=make_certificate(authority, tmp_path))


def test_stop_with_open_connections() -> None:
    """A stop ends idle connections, waits a little for requests, and leaves no task."""

    async def look(site: Site) -> None:
        await site.get(b"/", await site.connect())
        await begin_to_read(site)
        _, writer = await site.connect()
        writer.write(GET % b"/slow")
        await asyncio.sleep(SHORT)

    visit(look)


@pytest.mark.parametrize(
    ("code", "counted"),
    [(errno.EMFILE, 3), (errno.ENFILE, 3), (errno.ENOBUFS, 3), (errno.ENOMEM, 3), (errno.ECONNABORTED, 0)],
    ids=errno.errorcode.get,
)
def test_no_room_for_a_connection(monkeypatch: pytest.MonkeyPatch, code: int, counted: int) -> None:
    """When the machine has no descriptor left it is counted and tried again, and logged once a minute."""
    monkeypatch.setattr(server_module, "_PAUSE_SECONDS", 0.001)

    async def look(site: Site) -> None:
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, iter([OSError(code, os.strerror(code))] * 3)

        async def failing(sock: socket.socket) -> tuple[socket.socket, Any]:
            for failure in failures:
                raise failure
            return await accept(sock)

        monkeypatch.setattr(loop, "sock_accept", failing)
        with capture_logs() as log:
            for _ in range(4):
                assert await site.get(b"/") == (HTTPStatus.OK, b"small")
        assert [(line["reason"], line["times"]) for line in log] == [(os.strerror(code), 1)]
        assert site.rejected == [Rejection.NO_RESOURCES] * counted
        monkeypatch.undo()

    visit(look)


def test_what_goes_on_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on for more than a minute is logged again, with how often it happened meanwhile."""
    monkeypatch.setattr(server_module, "_QUIET_SECONDS", 0.0)

    async def look(site: Site) -> None:
        held = await site.connect()
        held[1].write(GET % b"/slow")
        await until(lambda: any(door.quiet_since is None for door in site.server._doors.values()))

        async def turned_away() -> None:
            reader, writer = await site.connect()
            assert await reader.read() == b""
            writer.close()

        with capture_logs() as log:
            await turned_away()
            monkeypatch.setattr(server_module, "_QUIET_SECONDS", NEVER)
            for _ in range(3):
                await turned_away()
            monkeypatch.setattr(server_module, "_QUIET_SECONDS", 0.0)
            await turned_away()
        assert [line["times"] for line in log] == [1, 4]
        site.may_answer.set()

    visit(look, patient(connections=1))

"""Tests of basic authentication: who is let in, what a refusal costs, and that guesses stay bounded."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import bcrypt
import pytest
from aiohttp import ClientSession, TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer

from exporter.config.webfile import WebConfig
from exporter.web import Paths
from exporter.web.serving import access
from exporter.web.serving.access import Access, Accounts
from tests.services import DEADLINE_SECONDS

Client = TestClient[web.Request, web.Application]


def hashed(password: bytes, cost: int = 4) -> str:
    """Hash a password."""
    return bcrypt.hashpw(password, bcrypt.gensalt(cost)).decode()


USERS = {"alice": hashed(b"secret"), "bób": hashed("pässwörd".encode()), "long": hashed(b"x" * 72)}


def header(user: str, password: str) -> Mapping[str, str]:
    """Build the header that a browser sends."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def visit(visitor: Callable[[Client, Access], Awaitable[None]], prefix: str = "", **settings: Any) -> None:
    """Serve a few pages behind a lock, and let a visitor come by."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="seen", headers={"X-Frame-Options": "sameorigin"})

    async def serve() -> None:
        paths = Paths(routes=prefix)
        lock = Access(paths)
        lock.use(WebConfig(**{"basic_auth_users": USERS} | settings))
        application = web.Application(middlewares=[lock.middleware])
        application.on_response_prepare.append(lock.add_headers)
        application.add_routes([web.get(paths.route(path), page) for path in ("/", "/-/healthy", "/-/ready")])
        async with asyncio.timeout(DEADLINE_SECONDS), TestClient(TestServer(application)) as client:
            await visitor(client, lock)

    asyncio.run(serve())


@pytest.mark.parametrize(
    ("headers", "is_in"),
    [
        (header("alice", "secret"), True),
        (header("bób", "pässwörd"), True),
        (header("long", "x" * 72), True),
        (header("long", "x" * 80), True),
        (header("long", "x" * 71), False),
        ({"Authorization": header("alice", "secret")["Authorization"].replace("Basic ", "bASIC  ")}, True),
        (header("alice", "secret "), False),
        (header("alice", ""), False),
        (header("alice", "secret\0"), False),
        (header("alice", "\0"), False),
        (header("", "secret"), False),
        (header("bób", "secret"), False),
        (header("nobody", "secret"), False),
        (header("alice\0", "secret"), False),
        ({}, False),
        ({"Authorization": ""}, False),
        ({"Authorization": "Basic"}, False),
        ({"Authorization": "Basic !!!"}, False),
        ({"Authorization": "Basic YWxpY2U="}, False),
        ({"Authorization": "Basic \u00e9"}, False),
        ({"Authorization": "Bearer YWxpY2U6c2VjcmV0"}, False),
    ],
)
def test_password(headers: Mapping[str, str], is_in: bool) -> None:  # noqa: FBT001 - one of two outcomes
    """The right name with the right password sees the page, anything else is asked for them."""

    async def look(client: Client, _lock: Access) -> None:
        for _ in range(2):
            answer = await client.get("/", headers=headers)
            if is_in:
                assert (answer.status, await answer.text()) == (HTTPStatus.OK, "seen")
            else:
                assert answer.status == HTTPStatus.UNAUTHORIZED
                assert answer.headers["WWW-Authenticate"] == 'Basic realm="kms-exporter", charset="UTF-8"'

    visit(look)


@pytest.mark.parametrize("prefix", ["", "/kms"])
def test_excluded_paths(prefix: str) -> None:
    """Only what the configuration excludes needs no password, and only that page itself."""

    async def look(client: Client, _lock: Access) -> None:
        for path, status in (
            ("/-/healthy", HTTPStatus.OK),
            ("/-/ready", HTTPStatus.UNAUTHORIZED),
            ("/", HTTPStatus.UNAUTHORIZED),
            ("/-/healthy/", HTTPStatus.UNAUTHORIZED),
            ("/-/healthy/../../", HTTPStatus.UNAUTHORIZED),
            ("/no-such-page", HTTPStatus.UNAUTHORIZED),
        ):
            assert (await client.get(prefix + path)).status == status, path
        assert (await client.post(f"{prefix}/-/healthy")).status == HTTPStatus.UNAUTHORIZED

    visit(look, prefix, basic_auth_excluded_paths=("/-/healthy",))


def test_without_users() -> None:
    """Without users everybody is let in."""

    async def look(client: Client, _lock: Access) -> None:
        assert (await client.get("/")).status == HTTPStatus.OK

    visit(look, basic_auth_users={})


def test_change_of_users() -> None:
    """A user who is taken away is refused at once, one who is added let in."""

    async def look(client: Client, lock: Access) -> None:
        assert (await client.get("/", headers=header("alice", "secret"))).status == HTTPStatus.OK
        lock.use(WebConfig(basic_auth_users={"carol": hashed(b"new")}))
        assert (await client.get("/", headers=header("alice", "secret"))).status == HTTPStatus.UNAUTHORIZED
        assert (await client.get("/", headers=header("carol", "new"))).status == HTTPStatus.OK

    visit(look)


def test_other_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was let in stays in while the users are the same: a reload during a flood locks nobody out."""

    async def look(client: Client, lock: Access) -> None:
        right = header("alice", "secret")
        assert (await client.get("/", headers=right)).status == HTTPStatus.OK
        monkeypatch.setattr(access, "MOST_WAITING", 0)
        lock.use(WebConfig(basic_auth_users=dict(USERS), basic_auth_excluded_paths=("/-/healthy",)))
        assert (await client.get("/-/healthy")).status == HTTPStatus.OK
        assert (await client.get("/", headers=right)).status == HTTPStatus.OK
        lock.use(WebConfig(basic_auth_users=USERS | {"carol": hashed(b"new")}))
        assert (await client.get("/", headers=right)).status == HTTPStatus.SERVICE_UNAVAILABLE

    visit(look)


def test_headers() -> None:
    """The headers of the configuration replace those of a page, in refusals too; empty ones are none."""
    headers = {"X-Frame-Options": "deny", "Content-Security-Policy": ""}

    async def look(client: Client, _lock: Access) -> None:
        for answer in (await client.get("/"), await client.get("/", headers=header("alice", "secret"))):
            assert answer.headers.getall("X-Frame-Options") == ["deny"]
            assert "Content-Security-Policy" not in answer.headers

    visit(look, http_server_config={"headers": headers})


class Bcrypt:
    """Counts what is computed, in units of the cheapest hash."""

    def __init__(self) -> None:
        self.work: list[int] = []

    def checkpw(self, password: bytes, hash_: bytes) -> bool:
        """Verify a password."""
        self.work.append(2 ** int(hash_.split(b"$")[2]))
        return bcrypt.checkpw(password, hash_)

    def hashpw(self, password: bytes, salt: bytes) -> bytes:
        """Hash a password."""
        self.work.append(2 ** int(salt.split(b"$")[2]))
        return bcrypt.hashpw(password, salt)

    gensalt = staticmethod(bcrypt.gensalt)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Bcrypt:
    """Count the work of bcrypt."""
    counting = Bcrypt()
    monkeypatch.setattr(access, "bcrypt", counting)
    return counting


@pytest.mark.parametrize("user", [b"cheap", b"dear", b"nobody", b""])
@pytest.mark.parametrize("password", [b"right", b"wrong", b"", b"a\0b", b"x" * 100])
def test_every_answer_costs_the_same(counted: Bcrypt, user: bytes, password: bytes) -> None:
    """Whatever the name and the password, as much is computed as for the most expensive hash."""
    accounts = Accounts({"cheap": hashed(b"right", 4), "dear": hashed(b"right", 8)})
    assert accounts.verify((user, password)) == (user in {b"cheap", b"dear"} and password == b"right")
    assert sum(counted.work) == 2**8


def test_right_passwords_are_remembered(counted: Bcrypt) -> None:
    """A scraper that comes again costs no hash, nor do several at once; a guess always does."""

    async def look(client: Client, _lock: Access) -> None:
        right = header("alice", "secret")
        answers = await asyncio.gather(*(client.get("/", headers=right) for _ in range(10)))
        assert {answer.status for answer in answers} == {HTTPStatus.OK}
        assert len(counted.work) == 1
        for number in range(3):
            await client.get("/", headers=header("alice", "wrong"))
            assert len(counted.work) == 2 + number
        await client.get("/", headers=right)
        assert len(counted.work) == 4

    visit(look)


def test_memory_is_bounded() -> None:
    """Not more than a few credentials are remembered, those used lately."""
    accounts = Accounts(USERS)
    keep = (b"alice", b"keep")
    accounts.remember(keep)
    for number in range(access.MOST_REMEMBERED * 2):
        accounts.remember((b"alice", str(number).encode()))
        assert accounts.remembers(keep)
    remembered = [accounts.remembers((b"alice", str(n).encode())) for n in range(access.MOST_REMEMBERED * 2)]
    assert sum(remembered) == access.MOST_REMEMBERED - 1


def test_digest_is_of_both() -> None:
    """A name and a password that are the same text as another pair together are not taken for it."""
    accounts = Accounts(USERS)
    accounts.remember((b"alice", b"secret"))
    assert accounts.remembers((b"alice", b"secret"))
    assert not accounts.remembers((b"alic", b"esecret"))
    assert not Accounts(USERS).remembers((b"alice", b"secret"))


def test_flood_of_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """More guesses than may wait are told to come back; who is known, or comes from elsewhere, is let in."""
    may_go_on = asyncio.Event()
    at_once = most_at_once = 0

    async def aside(work: Callable[[], bool]) -> bool:
        nonlocal at_once, most_at_once
        at_once += 1
        most_at_once = max(at_once, most_at_once)
        await may_go_on.wait()
        at_once -= 1
        return work()

    async def look(client: Client, _lock: Access) -> None:
        right = header("alice", "secret")
        assert (await client.get("/", headers=right)).status == HTTPStatus.OK
        monkeypatch.setattr(access, "run_aside", aside)
        guesses = [
            asyncio.create_task(client.get("/", headers=header("alice", f"guess {number}")))
            for number in range(access.MOST_WAITING_OF_ONE + 5)
        ]
        for _, answered in zip(range(5), asyncio.as_completed(guesses), strict=False):
            answer = await answered
            assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
            assert answer.headers["Retry-After"] == "1"
        assert (await client.get("/", headers=right)).status == HTTPStatus.OK
        elsewhere = TCPConnector(local_addr=("127.0.0.2", 0))
        async with ClientSession(client.make_url("/"), connector=elsewhere) as other:
            first = asyncio.create_task(other.get("/", headers=header("bób", "pässwörd")))
            await asyncio.wait([first], timeout=0.05)  # to get in line, or to be turned away
            may_go_on.set()
            assert (await first).status == HTTPStatus.OK
        statuses = [answer.status for answer in await asyncio.gather(*guesses)]
        assert statuses.count(HTTPStatus.UNAUTHORIZED) == access.MOST_WAITING_OF_ONE
        assert most_at_once == 1

    visit(look)

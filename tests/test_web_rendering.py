"""Tests of pages that take a while to make: who shares them, and which are not worth making."""

import asyncio
import functools
import threading
from collections.abc import Callable

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from exporter.steps import Steps
from exporter.web.exposition import Page
from exporter.web.rendering import SharedPages, accepted
from tests.services import DEADLINE_SECONDS


class Visitor:
    """A request whose client can hang up."""

    def __init__(self) -> None:
        self.transport: object | None = object()

    @property
    def request(self) -> web.Request:
        """Be taken for a request, of which nothing but the transport is looked at."""
        return self  # type: ignore[return-value]


class Kitchen:
    """Makes pages, the first of them not before it is told to."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.go = threading.Event()

    def prepare(self, name: str) -> Callable[[], Callable[[], Page]]:
        """Take the order for a page."""

        def make() -> Page:
            assert self.go.wait(DEADLINE_SECONDS)
            self.made.append(name)
            return Page(body=name.encode(), headers={})

        return lambda: make


async def started(pages: SharedPages, kitchen: Kitchen, visitor: Visitor, name: str) -> asyncio.Task[Page]:
    """Ask for a page, and return once the question has been asked."""
    task = asyncio.create_task(pages.page(visitor.request, name, kitchen.prepare(name)))
    await asyncio.sleep(0)
    return task


def test_who_asks_meanwhile_shares_a_page() -> None:
    """Requests for one page get it from one making; a later one gets a page of its own."""

    async def ask() -> None:
        pages, kitchen = SharedPages("test"), Kitchen()
        first, second = [await started(pages, kitchen, Visitor(), "a") for _ in range(2)]
        kitchen.go.set()
        assert (await first) is (await second)
        assert (await pages.page(Visitor().request, "a", kitchen.prepare("a"))).body == b"a"
        assert kitchen.made == ["a", "a"]

    asyncio.run(ask())


def test_page_for_nobody_is_not_made() -> None:
    """Pages whose clients have all hung up before their turn cost nothing, and leave nothing behind."""

    async def ask() -> None:
        pages, kitchen = SharedPages("test"), Kitchen()
        first = await started(pages, kitchen, Visitor(), "first")
        gone, stays = Visitor(), Visitor()
        tasks = [await started(pages, kitchen, gone, f"page {number}") for number in range(100)]
        shared = [await started(pages, kitchen, visitor, "shared") for visitor in (gone, stays)]
        gone.transport = None
        kitchen.go.set()
        assert (await first).body == b"first"
        await asyncio.gather(*tasks)
        assert {(await task).body for task in shared} == {b"shared"}
        assert kitchen.made == ["first", "shared"]
        assert (await pages.page(stays.request, "page 1", kitchen.prepare("page 1"))).body == b"page 1"

    asyncio.run(ask())


def test_page_in_steps() -> None:
    """A page whose work comes in steps is shared as well; so is an error in it, but by nobody later."""

    def made(name: str) -> Steps[Page]:
        yield
        if name == "broken":
            raise ZeroDivisionError
        return Page(body=name.encode(), headers={})

    async def ask() -> None:
        pages, visitor = SharedPages("test"), Visitor()
        for key, name in ((1, "broken"), (1, "a"), (2, "broken"), (2, "b")):
            prepare = functools.partial(made, name)
            asked = [pages.page(visitor.request, key, prepare) for _ in range(3)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert all(answer is answers[0] for answer in answers)
            found = answers[0]
            assert found.body.decode() == name if isinstance(found, Page) else name == "broken"

    asyncio.run(ask())


def test_several_accept_headers_are_one() -> None:
    """Headers that come in several lines mean what they mean in one (RFC 9110, 5.3)."""
    headers = [("Accept", "text/html"), ("Accept", "text/plain;q=0.5")]
    request = make_mocked_request("GET", "/", headers=headers)
    assert accepted(request) == "text/html,text/plain;q=0.5"

"""Tests of the room that all checks share."""

import asyncio
from collections.abc import Callable

import pytest

from exporter.checks.slots import Slots


class Pieces:
    """Pieces of work that a test ends one by one."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[int]] = []

    def begin(self, _: str, ended: Callable[[], None]) -> asyncio.Future[int]:
        """Begin one."""
        piece: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        piece.add_done_callback(lambda _: ended())
        self.begun.append(piece)
        return piece


async def settle() -> None:
    """Let all callbacks run that are due, and those that they lead to."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_more_than_there_is_room_for() -> None:
    """Work begins at once while there is room, then in the order of asking, each as soon as another ends."""

    async def scenario() -> None:
        pieces = Pieces()
        slots = Slots(2, pieces.begin)
        asked = [slots.run("work") for _ in range(5)]
        assert len(pieces.begun) == 2
        for number in range(5):
            pieces.begun[number].set_result(number)
            await settle()
            assert len(pieces.begun) == min(5, 3 + number)
        assert [future.result() for future in asked] == list(range(5))

    asyncio.run(scenario())


def test_work_that_ends_at_once() -> None:
    """However much of what waits ends as soon as it is begun, all of it has its turn."""

    async def scenario() -> None:
        pieces = Pieces()

        def begin(key: str, ended: Callable[[], None]) -> asyncio.Future[int]:
            if key == "work":
                return pieces.begin(key, ended)
            failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            failed.set_result(0)
            ended()
            return failed

        slots = Slots(1, begin)
        slots.run("work")
        asked = [slots.run("in vain") for _ in range(5000)]
        last = slots.run("work")
        pieces.begun[0].set_result(0)
        await settle()
        assert all(future.done() for future in asked)
        pieces.begun[1].set_result(1)
        await settle()
        assert last.result() == 1

    asyncio.run(scenario())


def test_error() -> None:
    """What work fails with reaches who waited for a slot, and the slot is free again."""

    async def scenario() -> None:
        pieces = Pieces()
        slots = Slots(1, pieces.begin)
        first, second, third = (slots.run("work") for _ in range(3))
        pieces.begun[0].set_exception(ValueError("first"))
        await settle()
        pieces.begun[1].set_exception(ValueError("second"))
        await settle()
        pieces.begun[2].set_result(3)
        await settle()
        assert [str(future.exception()) for future in (first, second)] == ["first", "second"]
        assert third.result() == 3

    asyncio.run(scenario())


@pytest.mark.parametrize("waits", [False, True])
def test_work_that_cannot_begin(waits: bool) -> None:  # noqa: FBT001 -- a column of a table
    """That work cannot even begin is its result, and its slot goes to the next."""

    async def scenario() -> None:
        pieces = Pieces()

        def begin(key: str, ended: Callable[[], None]) -> asyncio.Future[int]:
            if key == "impossible":
                raise MemoryError
            return pieces.begin(key, ended)

        slots = Slots(1, begin)
        if waits:
            slots.run("work")
        impossible, after = slots.run("impossible"), slots.run("work")
        if waits:
            pieces.begun[0].set_result(0)
            await settle()
        assert isinstance(impossible.exception(), MemoryError)
        pieces.begun[-1].set_result(1)
        await settle()
        assert after.result() == 1

    asyncio.run(scenario())


def test_cancelled_while_it_waits() -> None:
    """What nobody wants any more before it has a slot is not begun."""

    async def scenario() -> None:
        pieces = Pieces()
        slots = Slots(1, pieces.begin)
        first, second, third = (slots.run("work") for _ in range(3))
        second.cancel()
        pieces.begun[0].set_result(1)
        await settle()
        assert len(pieces.begun) == 2
        pieces.begun[1].set_result(3)
        await settle()
        assert (first.result(), third.result()) == (1, 3)

    asyncio.run(scenario())


@pytest.mark.parametrize("waited", [False, True])
def test_cancelled_under_way(waited: bool) -> None:  # noqa: FBT001 -- a column of a table
    """Work that is cancelled by either end makes room, whether or not it had to wait for its slot."""

    async def scenario() -> None:
        pieces = Pieces()
        slots = Slots(1, pieces.begin)
        if waited:
            slots.run("work")
        by_asker, by_itself, last = (slots.run("work") for _ in range(3))
        if waited:
            pieces.begun[0].set_result(0)
            await settle()
        by_asker.cancel()
        await settle()
        assert pieces.begun[-2].cancelled()
        pieces.begun[-1].cancel()
        await settle()
        assert by_itself.cancelled()
        pieces.begun[-1].set_result(3)
        await settle()
        assert last.result() == 3

    asyncio.run(scenario())

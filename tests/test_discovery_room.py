"""Tests of the room for so much at the same time: order, and that no place is lost however one goes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.discovery.room import Room
from tests.fake_dns import DEADLINE_SECONDS


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on an event loop of its own, and end what hangs."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await scenario

    asyncio.run(bounded())


def free_places(room: Room) -> int:
    """Count the places that are free, by taking them."""
    count = 0
    while room.try_enter():
        count += 1
    for _ in range(count):
        room.leave()
    return count


class Guests:
    """Those who want in; each stays until it is told to leave or cancelled."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.entered: list[int] = []
        self.inside = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.leaves: list[asyncio.Event] = []

    def come(self) -> asyncio.Task[None]:
        """Let one more come."""
        self.leaves.append(asyncio.Event())
        task = asyncio.create_task(self._visit(len(self.tasks)), name=f"guest {len(self.tasks)}")
        self.tasks.append(task)
        return task

    async def _visit(self, number: int) -> None:
        await self.room.enter()
        self.entered.append(number)
        self.inside += 1
        try:
            await self.leaves[number].wait()
        finally:
            self.inside -= 1
            self.room.leave()


async def settle() -> None:
    """Let everything happen that is due."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ended(task: asyncio.Task[None]) -> None:
    """Wait for the end of a task that was cancelled."""
    with pytest.raises(asyncio.CancelledError):
        await task


def test_order() -> None:
    """Whoever finds no place gets one in the order of asking, one for each that is given up."""

    async def scenario() -> None:
        guests = Guests(Room(2))
        for _ in range(5):
            guests.come()
        await settle()
        assert guests.entered == [0, 1]
        guests.leaves[1].set()
        await settle()
        assert guests.entered == [0, 1, 2]
        guests.leaves[0].set()
        guests.leaves[2].set()
        await settle()
        assert guests.entered == [0, 1, 2, 3, 4]
        for leave in guests.leaves:
            leave.set()
        await asyncio.gather(*guests.tasks)
        assert free_places(guests.room) == 2

    run(scenario())


def test_nobody_overtakes() -> None:
    """A place that is given up belongs to who waits, though he has not got to it yet."""

    async def scenario() -> None:
        room = Room(1)
        assert room.try_enter()
        assert not room.try_enter()
        guests = Guests(room)
        guests.come()
        await settle()
        room.leave()
        assert not room.try_enter(), "it was given already"
        guests.come()
        await settle()
        assert guests.entered == [0]
        for leave in guests.leaves:
            leave.set()
        await asyncio.gather(*guests.tasks)
        assert guests.entered == [0, 1]
        assert free_places(room) == 1

    run(scenario())


def test_one_who_waits_is_cancelled() -> None:
    """Who is cancelled while he waits loses his turn to the next, and no place."""

    async def scenario() -> None:
        guests = Guests(Room(1))
        inside, gone, _ = (guests.come() for _ in range(3))
        await settle()
        gone.cancel()
        await ended(gone)
        guests.leaves[0].set()
        await inside
        await settle()
        assert guests.entered == [0, 2]
        guests.leaves[2].set()
        await guests.tasks[2]
        assert free_places(guests.room) == 1

    run(scenario())


@pytest.mark.parametrize("first", ["leaves", "is cancelled"])
@pytest.mark.parametrize("next_one", [True, False], ids=["one more waits", "nobody else waits"])
def test_one_is_cancelled_as_his_place_is_given(first: str, *, next_one: bool) -> None:
    """Who is cancelled in the moment that a place is given up hands it on, whichever came first."""

    async def scenario() -> None:
        room = Room(1)
        assert room.try_enter()
        guests = Guests(room)
        gone = guests.come()
        if next_one:
            guests.come()
        await settle()
        steps: list[Callable[[], object]] = [room.leave, gone.cancel]
        for step in steps if first == "leaves" else reversed(steps):
            step()
        await ended(gone)
        await settle()
        assert guests.entered == [1] * next_one
        for leave in guests.leaves:
            leave.set()
        await asyncio.gather(*guests.tasks[1:])
        assert free_places(room) == 1

    run(scenario())


STEPS = st.one_of(
    st.sampled_from([("come", 0), ("try", 0), ("untry", 0), ("settle", 0), ("tick", 0)]),
    st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, 20)),
)


async def step(guests: Guests, what: str, number: int) -> int:
    """Do one thing at random; give how many places were taken without a wait."""
    chosen = number % len(guests.tasks) if guests.tasks else None
    match what:
        case "come":
            guests.come()
        case "try":
            return int(guests.room.try_enter())
        case "leave" if chosen is not None:
            guests.leaves[chosen].set()
        case "cancel" if chosen is not None:
            guests.tasks[chosen].cancel()
        case "tick":
            await asyncio.sleep(0)
        case _:
            await settle()
    return 0


@settings(deadline=None, max_examples=200)
@given(places=st.integers(1, 3), steps=st.lists(STEPS, max_size=40))
def test_any_sequence(places: int, steps: list[tuple[str, int]]) -> None:
    """However many come, go and are cancelled, no more are inside than may be, and no place is lost."""

    async def scenario() -> None:
        guests = Guests(Room(places))
        tried = 0
        for what, number in steps:
            if what == "untry" and tried:
                tried -= 1
                guests.room.leave()
            else:
                tried += await step(guests, what, number)
            assert guests.inside + tried <= places
        await settle()
        kept_out = sum(not task.done() for task in guests.tasks) - guests.inside
        assert not kept_out or guests.inside + tried == places, "nobody waits while a place is free"
        for _ in range(tried):
            guests.room.leave()
        for leave in guests.leaves:
            leave.set()
        await asyncio.gather(*guests.tasks, return_exceptions=True)
        assert guests.entered == sorted(guests.entered)
        assert free_places(guests.room) == places

    run(scenario())

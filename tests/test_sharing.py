"""Work that is shared: who does it, who reuses it and for how long, on a clock that only the test moves."""

import asyncio
import math
import weakref
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

import pytest

from exporter.sharing import SharedResults

INTERVAL_SECONDS = 60.0
HALF_SECONDS = INTERVAL_SECONDS / 2
KEY = "endpoint"


class StoppedClock(asyncio.SelectorEventLoop):
    """An event loop on which no time passes but what a test adds to `now`; there are no timers."""

    now = 1000.0

    def time(self) -> float:
        """Tell the time that the test has set."""
        return self.now


class Works:
    """Work that counts how often it was begun, and gives that number; `gate` holds it up while closed."""

    def __init__(self, *, lifetime: Callable[[int], float] = lambda _: math.inf) -> None:
        self.begun = 0
        self.cancelled = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.shared = SharedResults[Hashable, int](
            "work", interval_seconds=INTERVAL_SECONDS, lifetime=lifetime
        )

    async def work(self, _: Hashable) -> int:
        """Do one piece of work."""
        self.begun += 1
        number = self.begun
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return number

    async def get(self, owner: Hashable, key: Hashable = KEY) -> int:
        """Ask for a result on behalf of an owner."""
        return await asyncio.shield(self.shared.start(key, owner, self.work))


def advance(seconds: float) -> None:
    """Let time pass."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StoppedClock)
    loop.now += seconds


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on a clock of its own."""
    with asyncio.Runner(loop_factory=StoppedClock) as runner:
        runner.run(scenario)


def test_several_at_once() -> None:
    """What several owners ask for at the same time is done once, for all of them."""

    async def scenario() -> None:
        works = Works()
        works.gate.clear()
        waiting = [asyncio.create_task(works.get(owner)) for owner in "abcde"]
        await asyncio.sleep(0)
        advance(10 * INTERVAL_SECONDS)  # work under way is joined whatever its age
        waiting.append(asyncio.create_task(works.get("a")))
        await asyncio.sleep(0)
        works.gate.set()
        assert await asyncio.gather(*waiting) == [1] * 6
        assert works.begun == 1

    run(scenario())


def test_keys_are_apart() -> None:
    """What is asked for under another key is other work."""

    async def scenario() -> None:
        works = Works()
        assert [await works.get("a", 1), await works.get("a", 2), await works.get("a", 1)] == [1, 2, 1]

    run(scenario())


def test_tags() -> None:
    """What was begun under another tag is not reused, be it under way, nor is what was there before it."""

    async def scenario() -> None:
        works = Works()

        async def get(tag: str) -> int:
            return await asyncio.shield(works.shared.start(KEY, "owner", works.work, tag=tag))

        assert [await get(tag) for tag in "aabbab"] == [1, 1, 2, 2, 3, 4]
        works.gate.clear()
        first, same, other = (works.shared.start(KEY, "owner", works.work, tag=tag) for tag in "ccd")
        assert first is same
        assert other is not first
        works.gate.set()
        assert (await first, await other) == (5, 6)

    run(scenario())


@pytest.mark.parametrize(
    ("owner", "age_seconds", "reused"),
    [
        ("owner", 0.0, True),
        ("owner", HALF_SECONDS - 1, True),
        ("owner", HALF_SECONDS, False),
        ("owner", INTERVAL_SECONDS, False),
        ("other", 0.0, True),
        ("other", HALF_SECONDS, True),
        ("other", INTERVAL_SECONDS - 1, True),
        ("other", INTERVAL_SECONDS, False),
        ("other", 10 * INTERVAL_SECONDS, False),
    ],
)
def test_reuse(owner: str, age_seconds: float, reused: bool) -> None:  # noqa: FBT001 -- a column of a table
    """The owner reuses its own result for half an interval, others for a whole one."""

    async def scenario() -> None:
        works = Works()
        await works.get("owner")
        advance(age_seconds)
        assert await works.get(owner) == (1 if reused else 2)

    run(scenario())


def test_once_per_interval() -> None:
    """Owners that come back every interval, each on its own phase, make one result per interval."""

    async def scenario() -> None:
        works = Works()
        phases = {"a": 0.2, "b": 0.5, "c": 0.9}
        for owner in phases:
            await works.get(owner)  # all at once at the start
        for _ in range(10):
            clock = 0.0
            for owner, phase in phases.items():
                advance((phase - clock) * INTERVAL_SECONDS)
                clock = phase
                await works.get(owner)
            advance((1 - clock) * INTERVAL_SECONDS)
        assert 10 <= works.begun <= 11

    run(scenario())


def test_owner_that_left() -> None:
    """When the owner does not come back, another takes over, and the others reuse its results."""

    async def scenario() -> None:
        works = Works()
        await works.get("gone")
        advance(INTERVAL_SECONDS)
        assert await works.get("heir") == 2
        advance(HALF_SECONDS)
        assert await works.get("other") == 2
        assert await works.get("gone") == 2
        assert await works.get("heir") == 3

    run(scenario())


@pytest.mark.parametrize(
    ("lifetime_seconds", "age_seconds", "reused"),
    [
        (20.0, 19.0, True),
        (20.0, 20.0, False),
        (0.0, 0.0, False),
        (math.inf, INTERVAL_SECONDS - 1, True),
        (1e6, INTERVAL_SECONDS, False),
    ],
)
def test_lifetime(
    lifetime_seconds: float,
    age_seconds: float,
    reused: bool,  # noqa: FBT001 -- a column of a table
) -> None:
    """A result is reused by nobody beyond its own lifetime, and never longer than an interval."""

    async def scenario() -> None:
        works = Works(lifetime=lambda _: lifetime_seconds)
        await works.get("owner")
        advance(age_seconds)
        assert await works.get("other") == (1 if reused else 2)

    run(scenario())


def test_lifetime_counts_from_the_start() -> None:
    """A result ages from when its work began, whether or not somebody waited for it."""

    async def scenario() -> None:
        works = Works(lifetime=lambda _: 20.0)
        works.gate.clear()
        task = works.shared.start(KEY, "owner", works.work)
        await asyncio.sleep(0)
        advance(20)
        works.gate.set()
        await asyncio.wait([task])
        assert await works.get("other") == 2

    run(scenario())


def test_failure_is_not_reused() -> None:
    """Work that fails does so for all who wait for it, and is done again for the next one."""

    async def scenario() -> None:
        works = Works()
        works.error = RuntimeError("a bug")
        first, second = await asyncio.gather(works.get("a"), works.get("b"), return_exceptions=True)
        assert first is second is works.error
        assert works.begun == 1
        works.error = None
        assert await works.get("b") == 2

    run(scenario())


def test_cancelled_waiter() -> None:
    """A waiter that is cancelled leaves the work running for the others, and for those who come later."""

    async def scenario() -> None:
        works = Works()
        works.gate.clear()
        first, second = (asyncio.create_task(works.get(owner)) for owner in "ab")
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        works.gate.set()
        assert await second == 1
        assert await works.get("c") == 1
        assert works.cancelled == 0

    run(scenario())


def test_cancelled_work() -> None:
    """Work that was cancelled is done again for the next one."""

    async def scenario() -> None:
        works = Works()
        works.gate.clear()
        task = works.shared.start(KEY, "a", works.work)
        task.cancel()
        await asyncio.wait([task])
        works.gate.set()
        assert await works.get("a") == 1

    run(scenario())


def test_close() -> None:
    """Closing cancels what is under way, waits until it has ended, and forgets every result."""

    async def scenario() -> None:
        works = Works()
        await works.get("a", "done")
        works.gate.clear()
        waiting = asyncio.create_task(works.get("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert works.begun == 2
        await works.shared.close()
        assert works.cancelled == 1
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert asyncio.all_tasks() == {asyncio.current_task()}
        works.gate.set()
        assert await works.get("a", "done") == 3

    run(scenario())


class Result:
    """A result that can be seen to be forgotten."""


def test_bounded_memory() -> None:
    """Results that nobody may reuse any more are forgotten, while work under way is not."""
    remembered = weakref.WeakSet[Result]()

    async def work(_: int) -> Result:
        result = Result()
        remembered.add(result)
        return result

    async def scenario() -> None:
        works = Works()
        works.gate.clear()
        slow = works.shared.start(KEY, "owner", works.work)
        shared = SharedResults[int, Result]("work", interval_seconds=INTERVAL_SECONDS)
        for key in range(200):
            await shared.start(key, "owner", work)
            works.shared.start(key, "owner", works.work)
            advance(INTERVAL_SECONDS / 10)
            assert len(remembered) <= 20  # of this interval, and of the one before
        assert works.shared.start(KEY, "other", works.work) is slow
        await works.shared.close()

    run(scenario())

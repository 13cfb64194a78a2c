"""Tests of long work in steps on the event loop."""

import asyncio
import contextlib

import pytest

from exporter import steps
from exporter.steps import Steps, finish, run_in_steps


class Work:
    """Work of some steps, which tells how far it has come."""

    def __init__(self, length: int, *, fails: bool = False) -> None:
        self.done = 0
        self.closed = False
        self._length = length
        self._fails = fails

    def steps(self) -> Steps[str]:
        """Do it."""
        try:
            for _ in range(self._length):
                yield
                self.done += 1
            if self._fails:
                raise ZeroDivisionError
        finally:
            self.closed = True
        return "result"


async def watch(work: Work, seen: set[int]) -> None:
    """Note at every turn of the event loop how far the work has come."""
    while not work.closed:
        seen.add(work.done)
        await asyncio.sleep(0)


async def run_watched(work: Work) -> set[int]:
    """Do the work, and tell how far it had come whenever others had their turn."""
    seen = set[int]()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(work, seen), name="watch")
        await asyncio.sleep(0)
        assert await run_in_steps(work.steps()) == "result"
    return seen


def test_finish() -> None:
    """Work can be done in one go."""
    work = Work(3)
    assert finish(work.steps()) == "result"
    assert work.done == 3


def test_others_have_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time of a step is over, others on the event loop have their turn before the next."""
    monkeypatch.setattr(steps, "STEP_SECONDS", 0)
    assert asyncio.run(run_watched(Work(100))) == set(range(100))


def test_steps_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes no time does not give way again and again."""
    monkeypatch.setattr(steps, "STEP_SECONDS", 3600)
    assert asyncio.run(run_watched(Work(1000))) == {0}


@pytest.mark.parametrize("step_seconds", [0, 3600])
def test_error(monkeypatch: pytest.MonkeyPatch, step_seconds: float) -> None:
    """An error of the work is raised where its result is awaited."""
    monkeypatch.setattr(steps, "STEP_SECONDS", step_seconds)
    work = Work(3, fails=True)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_in_steps(work.steps()))
    assert (work.done, work.closed) == (3, True)


def test_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work whose result nobody waits for any more ends where it is, and tidies up at once."""
    monkeypatch.setattr(steps, "STEP_SECONDS", 0)

    async def scenario() -> None:
        work = Work(100)
        waiting = asyncio.create_task(run_in_steps(work.steps()), name="waiting")
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert work.closed
        assert 0 < work.done < 100

    asyncio.run(scenario())

"""Tests of long work in a thread."""

import _thread
import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from exporter.threads import run_aside


def test_result() -> None:
    """The result is that of the work, which another thread does while the event loop goes on."""
    here = threading.get_ident()
    going_on = threading.Event()

    def work() -> int:
        assert going_on.wait(30)
        return threading.get_ident()

    async def scenario() -> int:
        waiting = asyncio.create_task(run_aside(work), name="waiting")
        await asyncio.sleep(0)
        going_on.set()
        return await waiting

    assert asyncio.run(scenario()) != here


def test_error() -> None:
    """An error of the work is raised where its result is awaited."""
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_aside(lambda: 1 // 0))


def refuse(_run: object, _arguments: object) -> int:
    """Start no thread, as when there are too many."""
    raise RuntimeError("can't start new thread")


def lose(_run: object, _arguments: object) -> int:
    """Start a thread that never begins, as when there is no memory for it."""
    return 0


@pytest.mark.parametrize("start", [refuse, lose])
def test_no_more_threads(monkeypatch: pytest.MonkeyPatch, start: Callable[[object, object], int]) -> None:
    """Where no thread can be had, the work is done all the same, by the event loop's own."""

    async def scenario() -> int:
        with monkeypatch.context() as patched:
            patched.setattr(_thread, "start_new_thread", start)
            return await run_aside(threading.get_ident, start_seconds=0.01)

    assert asyncio.run(scenario()) == threading.get_ident()


def test_no_memory_to_tell_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that finds no memory to tell that it is done tries again: somebody waits for that."""

    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        tell, refusals = loop.call_soon_threadsafe, [MemoryError(), MemoryError()]

        def tell_in_the_end(*arguments: Any) -> asyncio.Handle:
            if refusals:
                raise refusals.pop()
            return tell(*arguments)

        monkeypatch.setattr(loop, "call_soon_threadsafe", tell_in_the_end)
        return await run_aside(threading.get_ident)

    assert asyncio.run(scenario()) != threading.get_ident()


def test_work_is_done_once() -> None:
    """A thread that begins after the event loop has given it up does nothing."""
    done = []
    late: list[Callable[[], None]] = []

    def put_off(run: Callable[[], None], _arguments: object) -> int:
        late.append(run)
        return 0

    async def scenario() -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_thread, "start_new_thread", put_off)
            await run_aside(lambda: done.append(1), start_seconds=0.01)
        late[0]()

    asyncio.run(scenario())
    assert done == [1]


def test_stop_does_not_wait() -> None:
    """The end of the event loop does not wait for the work, whose late result or error troubles nobody."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(30)
        ended.set()
        raise RuntimeError("too late for anybody to hear")

    async def scenario() -> None:
        waiting = asyncio.create_task(run_aside(work), name="waiting")
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(scenario())
    assert begun.wait(30)
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(30)
    gc.collect()

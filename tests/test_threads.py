"""Tests of long work in a thread."""

import asyncio
import gc
import threading

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


def test_stop_does_not_wait() -> None:
    """The end of the event loop does not wait for the work, whose late result or error troubles nobody."""
    may_end = threading.Event()
    threads = set(threading.enumerate())

    def work() -> None:
        may_end.wait(30)
        raise RuntimeError("too late for anybody to hear")

    async def scenario() -> None:
        waiting = asyncio.create_task(run_aside(work), name="waiting")
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(scenario())
    (left,) = set(threading.enumerate()) - threads
    assert left.daemon
    may_end.set()
    left.join()
    gc.collect()

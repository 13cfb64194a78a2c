"""Long work of the processor in a thread, away from the event loop and from the end of the process.

Like asyncio.to_thread, except that a stop does not wait for what is still under way, and that nothing hangs
on a thread which finds no memory to begin: threading.Thread.start waits for it, and the event loop with it.
"""

import _thread
import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

START_SECONDS = 2.0  # a starved machine may take long to begin one

T = TypeVar("T")


async def run_aside(work: Callable[[], T], *, start_seconds: float = START_SECONDS) -> T:
    """Run `work` in a daemon thread and wait for its result, or for the error that it raises.

    Where there can be no more threads, or a new one does not begin within `start_seconds`, it is done here:
    the event loop is held up by it, but nobody goes without.
    """
    loop = asyncio.get_running_loop()
    began: asyncio.Future[None] = loop.create_future()
    done: asyncio.Future[T] = loop.create_future()

    def tell(event: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(event)

    def begin() -> None:
        if not began.done():
            began.set_result(None)

    def run() -> None:
        tell(begin)
        if done.cancelled():  # too late: it is done elsewhere
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            failure = error
            tell(lambda: None if done.done() else done.set_exception(failure))
        else:
            tell(lambda: None if done.done() else done.set_result(result))

    try:
        _start(run)
        async with asyncio.timeout(start_seconds):
            await began
    except (RuntimeError, TimeoutError):  # all that Python says of it
        done.cancel()
        return work()
    return await done


def _start(run: Callable[[], None]) -> None:
    """Start a daemon thread and do not wait for it; raises RuntimeError when there can be none."""

    def traced() -> None:
        sys.settrace(threading.gettrace())  # by debuggers and coverage, as those of `threading` are
        run()

    _thread.start_new_thread(traced, ())

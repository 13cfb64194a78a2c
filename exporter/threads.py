"""Long work of the processor in a thread, away from the event loop and from the end of the process.

Like asyncio.to_thread, except that a stop does not wait for what is still under way, and that nothing hangs
on a thread which finds no memory to begin: threading.Thread.start waits for it, and the event loop with it.
"""

import _thread
import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

START_SECONDS = 2.0  # a starved machine may take long to begin one
_PAUSE_SECONDS = 0.1

T = TypeVar("T")


async def run_aside(work: Callable[[], T], *, start_seconds: float = START_SECONDS) -> T:
    """Run `work` in a daemon thread and wait for its result, or for the error that it raises.

    Where there can be no more threads, or a new one does not begin within `start_seconds`, it is done here:
    the event loop is held up by it, but nobody goes without.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    begun = threading.Lock()  # held by the one who does it

    def run() -> None:
        if not begun.acquire(blocking=False):
            return
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            failure = error
            _tell(loop, lambda: None if done.done() else done.set_exception(failure))
        else:
            _tell(loop, lambda: None if done.done() else done.set_result(result))

    try:
        _start(run)
    except RuntimeError:  # all that Python says of it
        return work()
    try:
        await asyncio.wait([done], timeout=start_seconds)
        if begun.acquire(blocking=False):
            return work()
        return await done
    finally:
        done.cancel()


def _tell(loop: asyncio.AbstractEventLoop, event: Callable[[], None]) -> None:
    """Have the event loop call this; without it somebody would wait for ever."""
    while True:
        try:
            loop.call_soon_threadsafe(event)
        except MemoryError:
            time.sleep(_PAUSE_SECONDS)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
        else:
            return


def _start(run: Callable[[], None]) -> None:
    """Start a daemon thread and do not wait for it; raises RuntimeError when there can be none."""

    def traced() -> None:
        sys.settrace(threading.gettrace())  # by debuggers and coverage, as those of `threading` are
        run()

    _thread.start_new_thread(traced, ())

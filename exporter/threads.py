"""Long work of the processor in a thread, away from the event loop and from the end of the process.

Like asyncio.to_thread, except that a stop does not wait for what is still under way.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_aside(work: Callable[[], T]) -> T:
    """Run `work` in a daemon thread and wait for its result, or for the error that it raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(settle_future: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if done.done() else settle_future())

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            failure = error
            settle(lambda: done.set_exception(failure))
        else:
            settle(lambda: done.set_result(result))

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await done

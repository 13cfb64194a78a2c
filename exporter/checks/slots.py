"""Room for so much work at the same time, whoever wants it done."""

import asyncio
import collections
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Slots(Generic[K, V]):
    """Begins work while fewer than `at_once` pieces of it are under way, the rest in the order of asking.

    `begin` begins the work on a key, and calls what it is given besides as soon as that has ended, however it
    did. What waits here for a slot costs a future and no task.
    """

    def __init__(self, at_once: int, begin: Callable[[K, Callable[[], None]], asyncio.Future[V]]) -> None:
        self._free = at_once
        self._begin = begin
        self._advancing = False
        self._waiting: collections.deque[tuple[K, asyncio.Future[V]]] = collections.deque()

    def run(self, key: K) -> asyncio.Future[V]:
        """Begin the work on a key, now or later; cancel the future to do without it."""
        if self._free:
            return self._occupy(key)
        later: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, later))
        return later

    def _occupy(self, key: K) -> asyncio.Future[V]:
        self._free -= 1
        try:
            return self._begin(key, self._vacate)
        except Exception as error:  # noqa: BLE001 (handed to the one who waits)
            self._free += 1
            failed: asyncio.Future[V] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _vacate(self) -> None:
        self._free += 1
        if self._advancing:  # what was begun here has ended at once
            return
        self._advancing = True
        try:
            while self._free and self._waiting:
                key, later = self._waiting.popleft()
                if not later.done():
                    _follow(later, self._occupy(key))
        finally:
            self._advancing = False


def _follow(later: asyncio.Future[V], work: asyncio.Future[V]) -> None:
    """Let a future come to what the work that was begun for it comes to, and be cancelled together."""

    def finish(work: asyncio.Future[V]) -> None:
        if later.done():
            return
        if work.cancelled():
            later.cancel()
        elif error := work.exception():
            later.set_exception(error)
        else:
            later.set_result(work.result())

    work.add_done_callback(finish)
    later.add_done_callback(lambda _: work.cancel())

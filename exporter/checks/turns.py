"""Work that one check wants done, some of it at a time, and all of it shared with other checks.

Knows nothing of the work. What waits here for its turn has not begun, so another check that wants the same
begins it: nobody waits behind the many dead ends of a zone that also names his host.
"""

import asyncio
import collections
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Turns(Generic[K, V]):
    """Has `start` begin or join the work on each key, for at most `at_once` keys at the same time.

    Once one was cancelled, as all are when their owner closes, nothing more is begun.
    """

    def __init__(self, at_once: int, start: Callable[[K], asyncio.Future[V]]) -> None:
        self.begun: dict[K, asyncio.Future[V]] = {}
        self.waiting: collections.deque[K] = collections.deque()
        self._at_once = at_once
        self._start = start
        self._under_way: list[asyncio.Future[V]] = []
        self._watched: set[asyncio.Future[V]] = set()

    def stop(self) -> None:
        """Begin nothing more; what is under way goes on, for whoever shares it."""
        self._at_once = 0

    def add(self, keys: Iterable[K]) -> None:
        """Put keys in line that are not there yet."""
        self.waiting.extend(keys)
        if self.waiting and any(work.cancelled() for work in self.begun.values()):
            self.stop()
        self._begin()

    async def finish(self, within_seconds: float) -> None:
        """Wait until all is done, but no longer than this."""
        if not await all_done(iter(self._next_under_way, None), within_seconds):
            self.stop()

    def _next_under_way(self) -> asyncio.Future[V] | None:
        return next((work for work in self._under_way if not work.done()), None)

    def _begin(self) -> None:
        while self.waiting and self._has_room():
            key = self.waiting.popleft()
            work = self.begun[key] = self._start(key)
            if not work.done():
                self._under_way.append(work)
        if self.waiting:
            for work in set(self._under_way) - self._watched:
                self._watched.add(work)
                work.add_done_callback(self._end)

    def _has_room(self) -> bool:
        """Tell whether one more may begin; only if it seems not is it counted what has ended since."""
        if len(self._under_way) >= self._at_once:
            self._under_way = [work for work in self._under_way if not work.done()]
        return len(self._under_way) < self._at_once

    def _end(self, work: asyncio.Future[V]) -> None:
        self._watched.discard(work)
        if work.cancelled():
            self.stop()
        self._begin()


async def all_done(works: Iterable[asyncio.Future[V]], within_seconds: float) -> bool:
    """Wait until all of this is done, but no longer than that; tell whether it is.

    What asyncio.wait does, at a third of the price: where several are under way, most end together.
    """
    loop = asyncio.get_running_loop()
    late = False
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    def expire() -> None:
        nonlocal late
        late = True
        wake()

    timer: asyncio.TimerHandle | None = None
    try:
        for work in works:
            while not work.done():
                if late:
                    return False
                timer = timer or loop.call_later(within_seconds, expire)
                woken = loop.create_future()
                work.add_done_callback(wake)
                await woken
    finally:
        if timer:
            timer.cancel()
    return True

"""Work that several loops ask for and one does: an endpoint in five zones is probed once, not five times.

Owns the work under way, and its results while they may be reused. Knows nothing of the work.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    owner: Hashable
    tag: Hashable
    started: float
    work: asyncio.Future[V]


class SharedResults(Generic[K, V]):
    """Results by key, each made by one owner and reused by others for at most one interval.

    An owner comes back once per interval and makes its result afresh; half an interval of grace keeps the
    check at the start from being repeated by the first one on schedule. Whoever finds a result older than
    an interval (its owner left) makes it and owns it from then on. `lifetime` gives the seconds after which
    a result is too old for anybody; with 0, only work that is under way is shared.
    """

    def __init__(
        self, name: str, *, interval_seconds: float, lifetime: Callable[[V], float] = lambda _: math.inf
    ) -> None:
        self._name = name
        self._interval_seconds = interval_seconds
        self._lifetime = lifetime
        self._entries: dict[K, _Entry[V]] = {}
        self._next_sweep = 0.0

    def start(
        self,
        key: K,
        owner: Hashable,
        begin: Callable[[K], asyncio.Future[V] | Coroutine[Any, Any, V]],
        *,
        tag: Hashable = None,
    ) -> asyncio.Future[V]:
        """Give what the result of `key` will be in, beginning the work on it if there is none to reuse.

        `begin` gets the key. What it begins is under way already, as a future, or becomes a task. That is of
        all who wait for it: wait with asyncio.wait or asyncio.shield, never cancel it. What was begun under
        another `tag` is of no use.
        """
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(key)
        if entry is None or entry.tag != tag or not self._reusable(entry, owner, now):
            self._sweep(now)
            begun = begin(key)
            work = begun if isinstance(begun, asyncio.Future) else asyncio.create_task(begun, name=self._name)
            entry = self._entries[key] = _Entry(owner, tag, now, work)
        return entry.work

    async def close(self) -> None:
        """Cancel what is still under way: first what began last, which may wait for what began before."""
        under_way = [entry.work for entry in reversed(self._entries.values())]
        self._entries.clear()
        for work in under_way:
            work.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _reusable(self, entry: _Entry[V], owner: Hashable, now: float) -> bool:
        work = entry.work
        if not work.done():
            return True
        age_seconds = now - entry.started
        if age_seconds >= (self._interval_seconds / 2 if owner == entry.owner else self._interval_seconds):
            return False
        if work.cancelled() or work.exception():
            return False
        return age_seconds < self._lifetime(work.result())

    def _sweep(self, now: float) -> None:
        """Forget, once per interval, what nobody may reuse any more."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._interval_seconds
        for key, entry in list(self._entries.items()):
            if entry.work.done() and now - entry.started >= self._interval_seconds:
                del self._entries[key]

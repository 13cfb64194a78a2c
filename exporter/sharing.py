"""Work that several loops ask for and one does: an endpoint in five zones is probed once, not five times.

Owns the tasks that do the work, and their results while they may be reused. Knows nothing of the work.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry(Generic[V]):
    owner: Hashable
    started: float
    task: asyncio.Task[V]


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

    def start(self, key: K, owner: Hashable, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        """Give the task that makes the result of `key`, starting `work` if there is none to reuse.

        The task belongs to all who wait for it: wait with asyncio.wait or asyncio.shield, never cancel it.
        """
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(key)
        if entry is None or not self._reusable(entry, owner, now):
            self._sweep(now)
            task = asyncio.create_task(work(), name=self._name)
            entry = self._entries[key] = _Entry(owner=owner, started=now, task=task)
        return entry.task

    async def close(self) -> None:
        """Cancel what is still under way."""
        tasks = [entry.task for entry in self._entries.values()]
        self._entries.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reusable(self, entry: _Entry[V], owner: Hashable, now: float) -> bool:
        task = entry.task
        if not task.done():
            return True
        if task.cancelled() or task.exception():
            return False
        grace = self._interval_seconds / 2 if owner == entry.owner else self._interval_seconds
        return now - entry.started < min(grace, self._lifetime(task.result()))

    def _sweep(self, now: float) -> None:
        """Forget, once per interval, what nobody may reuse any more."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._interval_seconds
        for key, entry in list(self._entries.items()):
            if entry.task.done() and now - entry.started >= self._interval_seconds:
                del self._entries[key]

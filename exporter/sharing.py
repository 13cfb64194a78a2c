"""Work that several loops ask for and one does: an endpoint in five zones is probed once, not five times.

Owns results for as long as they may be reused, and the tasks that make them. Knows nothing of the work.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class _Entry(Generic[V]):
    owner: Hashable
    started: float
    expires: float
    task: asyncio.Task[V]


class SharedResults(Generic[K, V]):
    """Results by key, each made by one owner and reused by others for at most one interval.

    An owner comes back once per interval and makes its result afresh; half an interval of grace keeps the
    check at the start from being repeated by the first one on schedule. Whoever finds a result older than
    an interval (its owner left) makes it and owns it from then on.
    """

    def __init__(self, name: str, *, interval_seconds: float) -> None:
        self._name = name
        self._interval_seconds = interval_seconds
        self._entries: dict[K, _Entry[V]] = {}
        self._next_sweep = 0.0

    async def get(
        self,
        key: K,
        owner: Hashable,
        work: Callable[[], Coroutine[Any, Any, V]],
        *,
        lifetime: Callable[[V], float] = lambda _: math.inf,
    ) -> V:
        """Wait for the result of `key`, starting `work` if there is none to reuse.

        `lifetime` gives the seconds after which a result is too old for anybody. A waiter that is
        cancelled leaves the work running for the others.
        """
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(key)
        if entry is None or not self._reusable(entry, owner, now):
            self._sweep(now)
            task = asyncio.create_task(work(), name=f"{self._name} {key}")
            entry = _Entry(owner=owner, started=now, expires=math.inf, task=task)
            self._entries[key] = entry
        result = await asyncio.shield(entry.task)
        entry.expires = entry.started + lifetime(result)
        return result

    async def close(self) -> None:
        """Cancel what is still under way."""
        tasks = [entry.task for entry in self._entries.values()]
        self._entries.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reusable(self, entry: _Entry[V], owner: Hashable, now: float) -> bool:
        if not entry.task.done():
            return True
        if entry.task.cancelled() or entry.task.exception():
            return False
        age = now - entry.started
        grace = self._interval_seconds / 2 if owner == entry.owner else self._interval_seconds
        return age < grace and now < entry.expires

    def _sweep(self, now: float) -> None:
        """Forget, once per interval, what nobody may reuse any more."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._interval_seconds
        for key, entry in list(self._entries.items()):
            if entry.task.done() and now - entry.started >= self._interval_seconds:
                del self._entries[key]

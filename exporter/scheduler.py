"""When to look: one loop per zone, static host and kind of client, kept in step with the configuration.

Owns the loops and their phases, and decides nothing about what a check is. The phase is a hash of
the name, so checks spread over the interval, and a restart does not move them. There is one every half
second (ten at least), for checks that begin together cost a fifth less than one by one. Knows which of the
loops do not get on, and restarts none of them: that takes a bug, and the state of the process is not to be
trusted.
"""

import asyncio
import collections
import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from exporter.changelog import ChangeLog
from exporter.checks import Checker
from exporter.config import Config
from exporter.model import Found, ServerSelector
from exporter.state import State
from exporter.subjects import Check, Subject, check_of, check_settings, configure, show, subjects

log = structlog.get_logger(__name__)

_MOMENT_SECONDS = 0.5
_LEAST_MOMENTS = 10
_WOKEN_AT_ONCE = 4
_HASHES_KEPT = 10_000
_PATIENCE_INTERVALS = 2
_LEAST_PATIENCE_SECONDS = 30.0


@dataclass(slots=True, kw_only=True)
class _Pace:
    """How a loop gets on: since when its check has been under way, or when the next one is due.

    The time of the event loop. A check ends within an interval, and the next one is due within another.
    """

    interval_seconds: float
    due: float

    def has_stalled(self, now: float) -> bool:
        """Tell whether the next step is so late that only a bug explains it.

        After a pause of the whole machine all loops are late for a moment.
        """
        return now - self.due > max(_PATIENCE_INTERVALS * self.interval_seconds, _LEAST_PATIENCE_SECONDS)


class _Moments:
    """Wakes those who wait for the same moment, by one timer; a few at a time, so that others get a turn."""

    def __init__(self) -> None:
        self._waiting: dict[float, collections.deque[asyncio.Future[None]]] = {}

    async def reach(self, when: float) -> None:
        """Wait until the time of the event loop is `when`."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(when)
        if waiting is None:
            waiting = self._waiting[when] = collections.deque()
            loop.call_at(when, self._wake, when)
        woken = loop.create_future()
        waiting.append(woken)
        await woken

    def _wake(self, when: float) -> None:
        waiting = self._waiting[when]
        for _ in range(min(_WOKEN_AT_ONCE, len(waiting))):
            woken = waiting.popleft()
            if not woken.done():  # cancelled
                woken.set_result(None)
        if waiting:
            asyncio.get_running_loop().call_soon(self._wake, when)
        else:
            del self._waiting[when]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    selectors: tuple[ServerSelector, ...]
    pace: _Pace
    task: asyncio.Task[None]


class Scheduler:
    """Runs the checks that the configuration asks for, puts results into the state, and tells `note`."""

    def __init__(
        self, state: State, tasks: asyncio.TaskGroup, *, note: Callable[[Found], None] = lambda _: None
    ) -> None:
        self._state = state
        self._note = note
        self._tasks = tasks
        self._loops: dict[Subject, _Loop] = {}
        self._checker: Checker | None = None
        self._is_closed = False
        self._moments = _Moments()

    async def reconcile(self, config: Config) -> None:
        """Stop the loops that `config` no longer asks for, then start those that are missing.

        A loop that goes on as before is left alone, with its results and its phase. A change of what holds
        for every check starts all of them anew.
        """
        wanted = subjects(config)
        settings = check_settings(config)
        checker = self._checker
        anew = checker is None or checker.settings != settings
        redundant = [
            subject for subject, loop in self._loops.items() if anew or wanted.get(subject) != loop.selectors
        ]
        await self._stop(redundant)
        if checker is None or anew:
            if checker is not None:
                await checker.close()
            checker = self._checker = Checker(settings)
        if self._is_closed:  # while this waited
            return
        configure(self._state, config)
        for subject, selectors in wanted.items():
            if subject not in self._loops:
                name = show(subject)
                check = check_of(checker, self._state, subject, selectors, note=self._note)
                now = asyncio.get_running_loop().time()
                pace = _Pace(interval_seconds=settings.interval_seconds, due=now)
                task = self._tasks.create_task(self._run(name, check, pace), name=f"checks of {name}")
                self._loops[subject] = _Loop(selectors=selectors, pace=pace, task=task)

    def stalled(self) -> tuple[str, ...]:
        """Name what has not been checked for about three intervals, or 30 seconds if that is longer.

        A check has a deadline, so it takes a bug for one to stall, or for its loop to have ended.
        """
        now = asyncio.get_running_loop().time()
        return tuple(
            show(subject)
            for subject, loop in self._loops.items()
            if loop.task.done() or loop.pace.has_stalled(now)
        )

    async def close(self) -> None:
        """Stop every loop and whatever it is waiting for, and start none any more."""
        self._is_closed = True
        await self._stop(list(self._loops))
        if self._checker is not None:
            await self._checker.close()

    async def _stop(self, subjects: list[Subject]) -> None:
        tasks = [self._loops.pop(subject).task for subject in subjects]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, check: Check, pace: _Pace) -> None:
        loop = asyncio.get_running_loop()
        interval_seconds = pace.interval_seconds
        changelog = ChangeLog(name)
        due = loop.time()
        while True:
            pace.due = loop.time()
            try:
                changelog.write(await check())
            except Exception:
                self._state.count_internal_error()
                log.exception("internal error", check=name)
            missed = math.floor((loop.time() - due) / interval_seconds)
            if missed:  # the next one is due already
                self._state.count_overruns(missed)
                due += missed * interval_seconds
                continue
            pace.due = due = next_due(loop.time(), name=name, interval_seconds=interval_seconds)
            await self._moments.reach(due)


def next_due(now: float, *, name: str, interval_seconds: float) -> float:
    """Give the first moment after `now` that lies on the phase of `name`; times in seconds."""
    phase_seconds = _phase_seconds(_hash(name), interval_seconds)
    periods = math.floor((now - phase_seconds) / interval_seconds) + 1
    if phase_seconds + periods * interval_seconds <= now:  # the division was rounded down
        periods += 1
    return phase_seconds + periods * interval_seconds


def _phase_seconds(share: float, interval_seconds: float) -> float:
    """Give a phase: in the middle of one of the moments that the interval has."""
    moments = max(_LEAST_MOMENTS, round(interval_seconds / _MOMENT_SECONDS))
    return (math.floor(share * moments) + 0.5) * interval_seconds / moments


@functools.lru_cache(maxsize=_HASHES_KEPT)
def _hash(name: str) -> float:
    """Give a number from 0 to 1, the same one for a name for ever."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64

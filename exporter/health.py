"""Whether the exporter does its work, and who is told: the log, and the service manager with its watchdog.

Works nothing out by itself: which checks have stalled comes from the scheduler, and /-/healthy asks the same.
The watchdog hears only of real progress, so that a manager restarts what lives and does not work.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import structlog

from exporter.notify import Notifier

log = structlog.get_logger(__name__)

_BEATS_PER_PERIOD = 3
_LONGEST_PAUSE_SECONDS = 10.0
_SHORTEST_PAUSE_SECONDS = 0.01
_NAMED = 5

Stalled = Callable[[], tuple[str, ...]]
"""Names what makes no progress, nothing if all is well."""


class Health:
    """Looks at what has stalled, and tells the log once and `notifier` always.

    `describe` gives in a few words what the exporter is doing.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        stalled: Stalled,
        describe: Callable[[], str],
        count_internal_error: Callable[[], None],
    ) -> None:
        self._notifier = notifier
        self._stalled = stalled
        self._describe = describe
        self._count_internal_error = count_internal_error
        self._known: tuple[str, ...] = ()
        self._suspected: tuple[str, ...] = ()
        self._refused = ""

    def begin(self) -> None:
        """Tell that it listens, and that all its loops run.

        The first check need not be done: DNS servers that are down must not keep the service from having
        started, for it is there to show just that. Who wants to wait for results asks /-/ready.
        """
        self._notifier.ready(self._status())

    @contextlib.contextmanager
    def reloading(self, problems: Sequence[object]) -> Iterator[None]:
        """Tell that a reload is under way, and how it went; `problems` are complete in the end."""
        self._notifier.reloading()
        try:
            yield
            self._refused = f"configuration refused: {name_some(map(str, problems))}" if problems else ""
        finally:
            self._notifier.ready(self._status())

    async def run(self) -> None:
        """Look again and again: three times in each period of the watchdog, and at least every 10 seconds."""
        watchdog_seconds = self._notifier.watchdog_seconds or _LONGEST_PAUSE_SECONDS * _BEATS_PER_PERIOD
        pause_seconds = min(watchdog_seconds / _BEATS_PER_PERIOD, _LONGEST_PAUSE_SECONDS)
        while True:
            try:
                self._look()
            except Exception:
                self._count_internal_error()
                log.exception("internal error", during="health")
            await asyncio.sleep(max(pause_seconds, _SHORTEST_PAUSE_SECONDS))
            await asyncio.sleep(0)  # after a pause of the machine, whatever else is due goes first

    def _look(self) -> None:
        """Look, and believe what is found twice: after a pause of this machine, all else is late but this."""
        found = self._stalled()
        before, now = self._known, tuple(name for name in found if name in self._suspected)
        self._known, self._suspected = now, found
        if fresh := [name for name in now if name not in before]:
            log.error("checks stalled", checks=name_some(fresh))
        if resumed := [name for name in before if name not in now]:
            log.info("checks go on", checks=name_some(resumed))
        self._notifier.status(self._status(), progress=not found)

    def _status(self) -> str:
        stalled = f"stalled: {name_some(self._known)}" if self._known else ""
        return "; ".join(part for part in (stalled, self._refused, self._describe()) if part)


def name_some(names: Iterable[str]) -> str:
    """List the first few of any number of names or sentences."""
    names = tuple(names)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def summarize(watched: Mapping[str, int], *, failing: int, last_check: float | None) -> str:
    """Say how much of each kind is watched, how much of it is in trouble, and as of when (Unix time)."""
    counts = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in watched.items() if count]
    if not counts:
        return "checking on demand only"
    seen = "no check is done yet"
    if last_check is not None:
        clock = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(last_check))
        seen = f"{failing or 'none'} in trouble; last check {clock}"
    return f"watching {', '.join(counts)}; {seen}"

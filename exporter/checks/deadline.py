"""The time that one check may take: what is not finished by then is replaced by what says so."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from exporter.model import UNFINISHED, Queries, Query

T = TypeVar("T")


class Deadline:
    """Begins with the check, and ends `within_seconds` later."""

    def __init__(self, within_seconds: float) -> None:
        self.within_seconds = within_seconds
        self._started = asyncio.get_running_loop().time()

    @property
    def elapsed_seconds(self) -> float:
        """The time since the check began."""
        return asyncio.get_running_loop().time() - self._started

    @property
    def left_seconds(self) -> float:
        """The time that is left, 0 if none is."""
        return max(0.0, self.within_seconds - self.elapsed_seconds)

    async def keep(self, work: Awaitable[T], *, late: Callable[[], T]) -> T:
        """Wait for `work`, but give what `late` says in its place if it is not done by then."""
        try:
            async with asyncio.timeout_at(self._started + self.within_seconds):
                return await work
        except TimeoutError:
            return late()


def unfinished(dns_server: str, name: str, rdtype: str) -> Queries:
    """Make what stands for a query that begins now, should the deadline cut it off."""
    return (
        Query(
            dns_server=dns_server,
            name=name,
            rdtype=rdtype,
            transport="udp",
            asked_at=time.time(),
            outcome=UNFINISHED,
        ),
    )

"""Checks made now, because somebody asked: each on a state of its own, beside the schedule and apart from it.

Decides what may be asked for, by the configuration, and bounds what is under way. Nothing is kept: no result
is used twice, save that those who ask for the same thing at the same time share one check.
"""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from exporter.checks import Checker
from exporter.config import Config, Zone, parse_server
from exporter.discovery import ResolvConf
from exporter.discovery.system import read_resolv_conf
from exporter.model import Found, Host, ServerSelector
from exporter.narrowing import find, is_configured, isolate, refuse_server, refuse_subject
from exporter.state import Snapshot, State
from exporter.subjects import check_of, check_settings, configure, subjects

MAX_UNDER_WAY = 256


class Refused(enum.Enum):
    """Why there is no check."""

    INVALID = enum.auto()
    FORBIDDEN = enum.auto()
    BUSY = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """That there is no check, and why, in a line."""

    why: Refused
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for and may be looked at; `server` is None for those that are configured."""

    subject: Zone | Host
    server: ServerSelector | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a check found, and how it came to that; `config` is what was asked for and nothing else.

    `configured` tells whether the zone or host is one of the configuration.
    """

    config: Config
    configured: bool
    snapshot: Snapshot
    found: Found


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    ends_at: float
    task: asyncio.Task[Look]


_Key: TypeAlias = tuple[str | Host, ServerSelector | None]


class OnDemand:
    """Makes checks on demand, with slots of its own, so that a burst of them cannot delay the schedule."""

    def __init__(
        self, config: Config | None = None, *, system: Callable[[], ResolvConf] = read_resolv_conf
    ) -> None:
        self.config = config or Config()
        self._system = system
        self._checker = _checker(self.config)
        self._shared: dict[_Key, _UnderWay] = {}
        self._checks: set[asyncio.Task[Look]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def reconcile(self, config: Config) -> None:
        """Go by this configuration from now on; checks that are under way end as they began."""
        self.config = config
        self._shared.clear()
        if self._is_closed or check_settings(config) == self._checker.settings:
            return
        retiring = asyncio.create_task(_retire(self._checker, set(self._checks)), name="retire a checker")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._checker = _checker(config)

    def admit(self, target: str, dns_server: str | None) -> Wanted | Refusal:
        """Find what is asked for, as the command `check` would, and tell whether it may be looked at."""
        try:
            subject = find(target, self.config)
        except ValueError as error:
            return Refusal(why=Refused.INVALID, reason=f"target: {error}")
        try:
            server = None if dns_server is None else parse_server(dns_server)
        except ValueError as error:
            return Refusal(why=Refused.INVALID, reason=f"dns_server: {error}")
        reason = refuse_subject(subject, self.config)
        if reason is None and server is not None:
            reason = refuse_server(server, self.config, self._system().servers)
        if reason is not None:
            return Refusal(why=Refused.FORBIDDEN, reason=reason)
        return Wanted(subject=subject, server=server)

    async def look(self, wanted: Wanted, within_seconds: float) -> Look | Refusal:
        """Check now what `admit` let in, or share a check of it that is under way and ends in time.

        Whoever stops waiting leaves the check to the others, and to its own deadline.
        """
        key = _key(wanted)
        ends_at = asyncio.get_running_loop().time() + within_seconds
        shared = self._shared.get(key)
        if shared is None or shared.ends_at > ends_at:
            if self._is_closed:
                return Refusal(why=Refused.BUSY, reason="the exporter is stopping")
            if len(self._checks) >= MAX_UNDER_WAY:
                return Refusal(why=Refused.BUSY, reason=f"{MAX_UNDER_WAY} checks are under way already")
            shared = self._shared[key] = _UnderWay(ends_at=ends_at, task=self._start(wanted, within_seconds))
            shared.task.add_done_callback(lambda task: self._forget(key, task))
        return await asyncio.shield(shared.task)

    async def close(self) -> None:
        """Cancel what is under way, and begin nothing more."""
        self._is_closed = True
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)
        await asyncio.gather(*self._retiring)
        await self._checker.close()

    def _start(self, wanted: Wanted, within_seconds: float) -> asyncio.Task[Look]:
        work = _look(
            self._checker.within(within_seconds),
            isolate(self.config, wanted.subject, wanted.server),
            configured=is_configured(wanted.subject, self.config),
        )
        task = asyncio.create_task(work, name=f"check of {_key(wanted)[0]} on demand")
        self._checks.add(task)
        return task

    def _forget(self, key: _Key, task: asyncio.Task[Look]) -> None:
        self._checks.discard(task)
        if (shared := self._shared.get(key)) is not None and shared.task is task:
            del self._shared[key]


def _key(wanted: Wanted) -> _Key:
    subject = wanted.subject
    return (subject if isinstance(subject, Host) else subject.name), wanted.server


def _checker(config: Config) -> Checker:
    return Checker(check_settings(config), reuse=False)


async def _retire(checker: Checker, checks: set[asyncio.Task[Look]]) -> None:
    """Close a checker once the checks that use it have ended."""
    await asyncio.gather(*checks, return_exceptions=True)
    await checker.close()


async def _look(checker: Checker, config: Config, *, configured: bool) -> Look:
    state = State()
    configure(state, config)
    found: list[Found] = []
    for subject, selectors in subjects(config).items():
        await check_of(checker, state, subject, selectors, note=found.append)()
    return Look(config=config, configured=configured, snapshot=state.snapshot(), found=found[0])

"""When to look: one loop per zone and per static host, kept in step with the configuration.

Owns the loops and their phases, and decides nothing about what a check is. A zone's phase is a hash of its
name, so checks spread over the interval, and a restart does not move them.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from exporter.checks import Checker, CheckSettings
from exporter.config import Config
from exporter.model import Host, ServerGroup, ServerSelector, family_of, host_port
from exporter.state import Change, State, ZoneSettings

log = structlog.get_logger(__name__)

Subject = str | Host
"""What a loop checks: a zone by name, or a static host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    selectors: tuple[ServerSelector, ...]
    task: asyncio.Task[None]


class Scheduler:
    """Runs the checks that the configuration asks for, and puts their results into the state."""

    def __init__(self, state: State, tasks: asyncio.TaskGroup) -> None:
        self._state = state
        self._tasks = tasks
        self._loops: dict[Subject, _Loop] = {}
        self._checker: Checker | None = None

    async def reconcile(self, config: Config) -> None:
        """Stop the loops that `config` no longer asks for, then start those that are missing.

        A loop that goes on as before is left alone, with its results and its phase. A change of what holds
        for every check starts all of them anew.
        """
        wanted = _subjects(config)
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
        _configure(self._state, config)
        for subject, selectors in wanted.items():
            if subject not in self._loops:
                check = _check_of(checker, self._state, subject, selectors)
                task = self._tasks.create_task(
                    self._run(_name(subject), check, settings.interval_seconds),
                    name=f"checks of {_name(subject)}",
                )
                self._loops[subject] = _Loop(selectors=selectors, task=task)

    async def close(self) -> None:
        """Stop every loop and whatever it is waiting for."""
        await self._stop(list(self._loops))
        if self._checker is not None:
            await self._checker.close()

    async def _stop(self, subjects: list[Subject]) -> None:
        tasks = [self._loops.pop(subject).task for subject in subjects]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(
        self, name: str, check: Callable[[], Awaitable[list[Change]]], interval_seconds: float
    ) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                _log_changes(await check())
            except Exception:
                self._state.count_internal_error()
                log.exception("internal error", check=name)
            missed = math.floor((loop.time() - due) / interval_seconds)
            if missed:  # the next one is due already
                self._state.count_overruns(missed)
                due += missed * interval_seconds
                continue
            due = next_due(loop.time(), name=name, interval_seconds=interval_seconds)
            await asyncio.sleep(due - loop.time())


def next_due(now: float, *, name: str, interval_seconds: float) -> float:
    """Give the first moment after `now` that lies on the phase of `name`; times in seconds."""
    digest = hashlib.sha256(name.encode()).digest()
    phase_seconds = int.from_bytes(digest[:8], "big") / 2**64 * interval_seconds
    periods = math.floor((now - phase_seconds) / interval_seconds) + 1
    if phase_seconds + periods * interval_seconds <= now:  # the division was rounded down
        periods += 1
    return phase_seconds + periods * interval_seconds


def check_settings(config: Config) -> CheckSettings:
    """Pick from the configuration what holds for every check alike."""
    return CheckSettings(
        interval_seconds=config.interval,
        timeout_seconds=config.timeout,
        attempts=config.dns.attempts,
        source_addresses={family_of(address): address for address in config.source_addresses},
        address_families=config.probe.address_families,
        max_concurrency=config.probe.max_concurrency,
        networks=config.probe.networks,
        ports=config.probe.ports,
        records_per_zone=config.limits.records_per_zone,
        addresses_per_target=config.limits.addresses_per_target,
    )


def _name(subject: Subject) -> str:
    return host_port(subject.target, subject.port) if isinstance(subject, Host) else subject


def _subjects(config: Config) -> Mapping[Subject, tuple[ServerSelector, ...]]:
    zones: dict[Subject, tuple[ServerSelector, ...]] = {
        zone.name: config.servers_of(zone) for zone in config.zones
    }
    return zones | dict.fromkeys(config.hosts, config.dns.servers)


def _configure(state: State, config: Config) -> None:
    settings = {}
    for zone in config.zones:
        selectors = config.servers_of(zone)
        settings[zone.name] = ZoneSettings(
            labels=zone.labels,
            dns_servers=tuple(s.label for s in selectors if not isinstance(s, ServerGroup)),
            open_ended=any(isinstance(s, ServerGroup) for s in selectors),
        )
    state.configure(
        zones=settings,
        static_hosts=config.hosts,
        interval_seconds=config.interval,
        forget_after_seconds=config.forget_after,
        vanished_per_zone=config.limits.vanished_per_zone,
    )


def _check_of(
    checker: Checker, state: State, subject: Subject, selectors: tuple[ServerSelector, ...]
) -> Callable[[], Awaitable[list[Change]]]:
    """Bind a subject to its check: what to recall before, and where the result goes."""

    async def check_zone(zone: str) -> list[Change]:
        return state.apply_zone(await checker.check_zone(zone, selectors, state.memory_of_zone(zone)))

    async def check_host(host: Host) -> list[Change]:
        return state.apply_host(await checker.check_host(host, selectors, state.memory_of_host(host)))

    if isinstance(subject, Host):
        return lambda: check_host(subject)
    return lambda: check_zone(subject)


def _log_changes(changes: list[Change]) -> None:
    for change in changes:
        (log.info if change.good else log.warning)(change.event, **change.fields)

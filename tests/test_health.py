"""Tests of whether all is well: what the log and the service manager hear of it."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.health import Health, name_some, summarize
from exporter.notify import Notifier
from tests.services import DEADLINE_SECONDS


class World:
    """Plays the scheduler and the service manager around the health of a process."""

    def __init__(self, path: Path, *, watchdog_seconds: float | None = 0.03) -> None:
        self.stalled: tuple[str, ...] = ()
        self.findings: Iterator[tuple[str, ...]] = iter(())  # before that
        self.broken = False
        self.errors: asyncio.Queue[None] = asyncio.Queue()
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.manager.bind(str(path))
        self.notifier = Notifier(str(path), watchdog_seconds=watchdog_seconds)
        self.health = Health(
            self.notifier,
            stalled=self._look,
            describe=lambda: "watching",
            count_internal_error=self._count,
        )

    def _look(self) -> tuple[str, ...]:
        if self.broken:
            raise RuntimeError("a bug")
        return next(self.findings, self.stalled)

    def _count(self) -> None:
        self.errors.put_nowait(None)

    def told(self) -> list[str]:
        """Take what the manager has been told so far."""
        found = []
        while True:
            try:
                found.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return found

    async def wait(self, seen: Callable[[Sequence[str]], bool]) -> list[str]:
        """Take what the manager is told until it is this."""
        found: list[str] = []
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not seen(found):
                found += self.told()
                await asyncio.sleep(0.001)
        return found

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a scenario while the health is looked at."""

        async def both() -> None:
            looking = asyncio.create_task(self.health.run(), name="health")
            await scenario()
            looking.cancel()

        asyncio.run(both())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world of which nothing is left over."""
    world = World(tmp_path / "notify")
    with world.manager:
        yield world
        world.notifier.close()


def test_beats_while_all_is_well(world: World) -> None:
    """The watchdog is fed again and again as long as nothing has stalled."""

    async def scenario() -> None:
        beats = await world.wait(lambda told: len(told) >= 5)
        assert set(beats) == {"WATCHDOG=1\nSTATUS=watching"}

    world.run(scenario)


def test_what_stalls_starves_the_watchdog(world: World) -> None:
    """While a check has stalled the watchdog is not fed; the log says so once, and once that it goes on."""

    async def scenario() -> None:
        await world.wait(lambda told: len(told) >= 1)
        world.stalled = ("contoso.test",)
        world.told()  # nothing runs meanwhile: what comes now is of after that
        first, *starved = await world.wait(lambda told: len(told) >= 5)
        assert (first, set(starved)) == ("STATUS=watching", {"STATUS=stalled: contoso.test; watching"})
        world.stalled = ("contoso.test", "fabrikam.test")
        world.told()
        await world.wait(lambda told: "STATUS=stalled: contoso.test, fabrikam.test; watching" in told)
        world.stalled = ()
        world.told()
        await world.wait(lambda told: "WATCHDOG=1\nSTATUS=watching" in told)

    with capture_logs() as log:
        world.run(scenario)
    assert [(line["event"], line["log_level"], line["checks"]) for line in log] == [
        ("checks stalled", "error", "contoso.test"),
        ("checks stalled", "error", "fabrikam.test"),
        ("checks go on", "info", "contoso.test, fabrikam.test"),
    ]


def test_what_is_late_for_a_moment(world: World) -> None:
    """What is late once, as after a pause of the machine, has not stalled, but is no progress either."""
    world.findings = iter([("contoso.test",), (), ("contoso.test",), ()])

    async def scenario() -> None:
        told = await world.wait(lambda told: len(told) >= 6)
        assert told[:4] == ["STATUS=watching", "WATCHDOG=1\nSTATUS=watching"] * 2

    with capture_logs() as log:
        world.run(scenario)
    assert log == []


def test_a_bug_is_no_progress(world: World) -> None:
    """A bug while looking is logged and counted, does not feed the watchdog, and does not end the looking."""

    async def scenario() -> None:
        world.broken = True
        async with asyncio.timeout(DEADLINE_SECONDS):
            for _ in range(3):
                await world.errors.get()
        assert world.told() == []
        world.broken = False
        await world.wait(lambda told: len(told) >= 1)

    with capture_logs() as log:
        world.run(scenario)
    assert {line["event"] for line in log} == {"internal error"}


def test_ready(world: World) -> None:
    """That everything runs is told with the status."""
    world.health.begin()
    assert world.told() == ["READY=1\nSTATUS=watching"]


def test_reload(world: World) -> None:
    """A reload is told before and after; a refused one stays in the status until one succeeds."""
    problems: list[str] = []
    with world.health.reloading(problems):
        [begun] = world.told()
        problems += ["line 1: no", "line 2: nor"]
    assert begun.startswith("RELOADING=1\nMONOTONIC_USEC=")
    refused = "STATUS=configuration refused: line 1: no, line 2: nor; watching"
    assert world.told() == [f"READY=1\n{refused}"]

    async def scenario() -> None:
        assert await world.wait(lambda told: len(told) >= 1) == [f"WATCHDOG=1\n{refused}"]

    world.run(scenario)
    with world.health.reloading([]):
        world.told()
    assert world.told() == ["READY=1\nSTATUS=watching"]


def test_reload_that_meets_a_bug(world: World) -> None:
    """However a reload ends, the manager is told that it has ended; what was refused before is so still."""
    with world.health.reloading(["line 1: no"]):
        pass
    with pytest.raises(RuntimeError), world.health.reloading([]):
        raise RuntimeError
    assert world.told()[-1] == "READY=1\nSTATUS=configuration refused: line 1: no; watching"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (list("abcde"), "a, b, c, d, e"),
        (list("abcdefg"), "a, b, c, d, e and 2 more"),
    ],
)
def test_name_some(names: list[str], text: str) -> None:
    """Of many names the first few are listed, and the rest is counted."""
    assert name_some(names) == text


@pytest.mark.parametrize(
    ("watched", "failing", "last_check", "text"),
    [
        ({"zone": 0, "static host": 0}, 0, None, "checking on demand only"),
        ({"zone": 1, "static host": 0}, 0, None, "watching 1 zone; no check is done yet"),
        (
            {"zone": 14, "static host": 1},
            2,
            1_700_000_000.5,
            "watching 14 zones, 1 static host; 2 in trouble; last check 2023-11-14 22:13:20 UTC",
        ),
        ({"zone": 2}, 0, 0.0, "watching 2 zones; none in trouble; last check 1970-01-01 00:00:00 UTC"),
    ],
)
def test_summarize(watched: dict[str, int], failing: int, last_check: float | None, text: str) -> None:
    """The status says what is watched, how much of it is in trouble, and as of when."""
    assert summarize(watched, failing=failing, last_check=last_check) == text

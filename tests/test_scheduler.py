"""When checks run, and which: the real scheduler and state on a clock that jumps to what is next.

The checks themselves are played by a stand-in that takes as long, or fails, as a test wants it.
"""

import asyncio
import collections
import ipaddress
import json
import selectors
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.boundaries import Boundaries
from exporter.checks import CheckSettings
from exporter.config import Config, parse
from exporter.health import Health
from exporter.model import (
    ClientCheck,
    DnsServer,
    Endpoint,
    Family,
    Host,
    HostCheck,
    LookupStatus,
    Memory,
    ProbeFailure,
    ProbeResult,
    Search,
    ServerCheck,
    ServerGroup,
    ServerSelector,
    SrvLookup,
    TargetLookup,
    ZoneCheck,
)
from exporter.notify import Notifier
from exporter.scheduler import Scheduler, next_due
from exporter.state import State
from exporter.subjects import Subject, check_settings, show

INTERVAL_SECONDS = 60.0
SERVER = "192.0.2.53"
ZONES = [f"zone{number}.test" for number in range(1, 6)]
"""Their phases are all far from the beginning of the interval, so a test has time to act before."""
HOST = Host(target="kms-dr.test", port=1688)
HOST_NAME = "kms-dr.test:1688"
BRANCH = {"name": "branch", "suffixes": ["branch.test", "zone1.test"]}
SEARCH = Search(client="branch", suffixes=("branch.test", "zone1.test"))


class JumpingSelector(selectors.SelectSelector):
    """A selector that, where it would have to wait, moves its clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Give what is ready, or let the time pass that there is to wait."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing is left to wait for"
            self.now += max(0.0, timeout)
        return ready


class JumpingClock(asyncio.SelectorEventLoop):
    """An event loop on which time passes only when there is nothing else to do."""

    def __init__(self) -> None:
        self._clock = JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Tell the time of this loop alone; it begins at 0."""
        return self._clock.now

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing of what is due can run."""
        self._clock.now += seconds


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on a clock of its own."""
    with asyncio.Runner(loop_factory=JumpingClock) as runner:
        runner.run(scenario)


def now() -> float:
    """Tell the time of the running loop."""
    return asyncio.get_running_loop().time()


class Checks:
    """What stands in for every checker, and keeps the times of all checks by subject."""

    def __init__(self) -> None:
        self.begun: dict[Subject, list[float]] = collections.defaultdict(list)
        self.ended: dict[Subject, list[float]] = collections.defaultdict(list)
        self.selectors: dict[Subject, tuple[ServerSelector, ...]] = {}
        self.memories: dict[Subject, list[Memory | Mapping[str, Memory]]] = collections.defaultdict(list)
        self.seconds: dict[Subject, float] = {}
        self.broken: set[Subject] = set()
        self.probes: tuple[ProbeResult, ...] = ()
        self.checkers: list[Checker] = []

    def make_checker(self, settings: CheckSettings) -> "Checker":
        """Make what the scheduler takes for a checker."""
        checker = Checker(self, settings)
        self.checkers.append(checker)
        return checker

    @asynccontextmanager
    async def check(
        self,
        subject: Subject,
        selectors: Iterable[ServerSelector],
        memory: Memory | Mapping[str, Memory],
    ) -> AsyncIterator[None]:
        """Take the time that a check of this subject takes."""
        assert len(self.begun[subject]) == len(self.ended[subject]), "the one before is still running"
        self.selectors[subject] = tuple(selectors)
        self.memories[subject].append(memory)
        self.begun[subject].append(now())
        try:
            await asyncio.sleep(self.seconds.get(subject, 0.1))
            if subject in self.broken:
                raise RuntimeError("a bug")
            yield
        finally:
            self.ended[subject].append(now())


class Checker:
    """Plays `exporter.checks.Checker`."""

    def __init__(self, checks: Checks, settings: CheckSettings) -> None:
        self.settings = settings
        self.closed = False
        self._checks = checks

    async def check_zone(self, zone: str, selectors: Iterable[ServerSelector], memory: Memory) -> ZoneCheck:
        """Play the check of a zone."""
        async with self._checks.check(zone, selectors, memory):
            return _nothing_in(zone)

    async def check_search(
        self, search: Search, selectors: Iterable[ServerSelector], memories: Mapping[str, Memory]
    ) -> ClientCheck:
        """Play the check of a client's search."""
        async with self._checks.check(search, selectors, memories):
            return ClientCheck(client=search.client, suffixes=tuple(map(_nothing_in, search.suffixes)))

    async def check_host(self, host: Host, selectors: Iterable[ServerSelector], memory: Memory) -> HostCheck:
        """Play the check of a static host."""
        async with self._checks.check(host, selectors, memory):
            addresses = ("192.0.2.1",)
            target = TargetLookup(target=host.target, addresses=addresses, probed=addresses)
            return HostCheck(
                host=host, finished_at=now(), targets={SERVER: target}, probes=self._checks.probes
            )

    async def close(self) -> None:
        """Note that nobody uses this checker any more."""
        self.closed = True


def _nothing_in(zone: str) -> ZoneCheck:
    lookup = SrvLookup(status=LookupStatus.NXDOMAIN, duration_seconds=0.01)
    return ZoneCheck(
        zone=zone,
        finished_at=now(),
        duration_seconds=0.1,
        servers=(ServerCheck(dns_server=SERVER, lookup=lookup),),
        probes=(),
    )


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Let the scheduler run the stand-in in place of real checks."""
    checks = Checks()
    monkeypatch.setattr("exporter.scheduler.Checker", checks.make_checker)
    return checks


@asynccontextmanager
async def scheduling(config: Config) -> AsyncIterator[tuple[Scheduler, State]]:
    """Run a scheduler that has been told a configuration, and close it in the end."""
    state = State(monotonic=now)
    async with asyncio.TaskGroup() as tasks:
        scheduler = Scheduler(state, tasks)
        await scheduler.reconcile(config)
        yield scheduler, state
        await scheduler.close()


def configure(*zones: str | dict[str, Any], **keys: Any) -> Config:
    """Build a configuration; a zone that is just a name has no settings of its own."""
    data = {
        "interval": f"{INTERVAL_SECONDS:.0f}s",
        "dns": {"servers": [SERVER]},
        "zones": [{"name": zone} if isinstance(zone, str) else zone for zone in zones],
    }
    return parse(json.dumps(data | keys).encode())


def loop_tasks() -> dict[str, asyncio.Task[Any]]:
    """List the tasks of the scheduler's loops by subject."""
    prefix = "checks of "
    tasks = {task.get_name(): task for task in asyncio.all_tasks()}
    return {name.removeprefix(prefix): task for name, task in tasks.items() if name.startswith(prefix)}


# --- The phases

SUBJECTS = st.text(max_size=30)
INTERVALS = st.floats(min_value=1, max_value=1e6)


@pytest.mark.parametrize(
    ("subject", "phase_seconds"),
    [("contoso.com", 12.25), ("emea.contoso.com", 52.75), ("zone0.test", 0.75)],
)
def test_phase(subject: str, phase_seconds: float) -> None:
    """The phase of a zone is the same for ever, whatever program and machine computes it."""
    due = next_due(0, name=subject, interval_seconds=60)
    assert due == pytest.approx(phase_seconds, abs=0.001)
    assert next_due(59, name=subject, interval_seconds=60) == pytest.approx(due + 60)


@given(st.floats(min_value=0, max_value=1e9), SUBJECTS, INTERVALS)
@settings(deadline=None)
def test_next_due(time: float, subject: str, interval_seconds: float) -> None:
    """The next check is due later than now, and not later than in one interval."""
    due = next_due(time, name=subject, interval_seconds=interval_seconds)
    assert time < due <= time + interval_seconds * (1 + 1e-9) + 1e-6


@given(st.floats(min_value=0, max_value=1e7), SUBJECTS, INTERVALS, st.integers(1, 5))
@settings(deadline=None)
def test_next_due_is_periodic(time: float, subject: str, interval_seconds: float, count: int) -> None:
    """From one check to the next is one interval, wherever one begins to count."""
    first = next_due(time, name=subject, interval_seconds=interval_seconds)
    due = first
    for _ in range(count):
        due = next_due(due, name=subject, interval_seconds=interval_seconds)
    assert due == pytest.approx(first + count * interval_seconds)


@given(st.floats(min_value=0, max_value=1e9), SUBJECTS)
@settings(deadline=None)
def test_phase_survives_a_restart(time: float, subject: str) -> None:
    """Where in the interval a subject is checked depends on its name alone."""
    first, later = (next_due(start, name=subject, interval_seconds=64) for start in (0.0, time))
    periods = (later - first) / 64
    assert periods == pytest.approx(round(periods), abs=1e-6)


def test_phases_are_spread() -> None:
    """Many zones are checked evenly over the interval."""
    phases = [next_due(0, name=f"zone{n}.test", interval_seconds=10) for n in range(2000)]
    counts = collections.Counter(int(phase) for phase in phases)
    assert set(counts) == set(range(10))
    assert all(150 <= count <= 250 for count in counts.values())


# --- The loops


def test_first_check_at_once(checks: Checks) -> None:
    """Everything is checked at once at the start, and then each subject on its phase."""

    async def scenario() -> None:
        async with scheduling(configure(*ZONES, hosts=["kms-dr.test"], clients=[BRANCH])) as (_, state):
            await asyncio.sleep(3 * INTERVAL_SECONDS)
            assert state.is_ready()
        assert checks.begun.keys() == {*ZONES, HOST, SEARCH}
        for subject, times in checks.begun.items():
            first = next_due(0.1, name=show(subject), interval_seconds=INTERVAL_SECONDS)
            assert times == pytest.approx([0, first, first + INTERVAL_SECONDS, first + 2 * INTERVAL_SECONDS])
        assert state.exporter.overruns == 0
        assert state.exporter.internal_errors == 0

    run(scenario())


def test_results_at_once(checks: Checks) -> None:
    """The result of a check is there as soon as it is done, whatever others still do."""

    async def scenario() -> None:
        checks.seconds[ZONES[0]] = INTERVAL_SECONDS / 2
        async with scheduling(configure(*ZONES[:2])) as (_, state):
            await asyncio.sleep(1)
            assert {view.zone: view.last_check for view in state.snapshot().zones} == {
                ZONES[0]: None,
                ZONES[1]: pytest.approx(0.1),
            }
            assert not state.is_ready()

    run(scenario())


def test_slow_check_delays_no_other(checks: Checks) -> None:
    """While the check of one zone takes many intervals, the others are checked as ever."""

    async def scenario() -> None:
        slow, *others = ZONES
        checks.seconds[slow] = 20 * INTERVAL_SECONDS
        async with scheduling(configure(*ZONES)):
            await asyncio.sleep(10 * INTERVAL_SECONDS)
        assert len(checks.begun[slow]) == 1
        for zone in others:
            first = next_due(0.1, name=zone, interval_seconds=INTERVAL_SECONDS)
            expected = [0.0, *(first + n * INTERVAL_SECONDS for n in range(10))]
            assert checks.begun[zone] == pytest.approx(expected[: len(checks.begun[zone])])
            assert len(checks.begun[zone]) >= 10

    run(scenario())


def test_overruns(checks: Checks) -> None:
    """A check never overlaps the one before: what came due meanwhile is counted, and made up for once."""

    async def scenario() -> None:
        zone = ZONES[0]
        checks.seconds[zone] = 2.5 * INTERVAL_SECONDS
        async with scheduling(configure(zone)) as (_, state):
            await asyncio.sleep(1)
            checks.seconds[zone] = 0.1
            await asyncio.sleep(4 * INTERVAL_SECONDS)
            end = checks.ended[zone][0]
            due = next_due(end, name=zone, interval_seconds=INTERVAL_SECONDS)
            assert checks.begun[zone] == pytest.approx([0, end, due, due + INTERVAL_SECONDS])
            assert state.exporter.overruns == 2
            assert state.exporter.internal_errors == 0  # as an overlap would be

    run(scenario())


def test_checks_that_reach_their_deadline(checks: Checks) -> None:
    """Checks that take up all of their interval are made once per interval all the same."""

    async def scenario() -> None:
        zone = ZONES[0]
        checks.seconds[zone] = INTERVAL_SECONDS
        async with scheduling(configure(zone)) as (_, state):
            await asyncio.sleep(3.5 * INTERVAL_SECONDS)
            assert checks.begun[zone] == pytest.approx([n * INTERVAL_SECONDS for n in range(4)])
            assert state.exporter.overruns == 3
            assert state.exporter.internal_errors == 0

    run(scenario())


def test_check_that_raises(checks: Checks) -> None:
    """A bug in a check is logged and counted; its loop goes on, and others do not notice."""

    async def scenario() -> None:
        broken, sound = ZONES[:2]
        checks.broken.add(broken)
        with structlog.testing.capture_logs() as logs:
            async with scheduling(configure(broken, sound)) as (_, state):
                await asyncio.sleep(2 * INTERVAL_SECONDS)
                errors = state.exporter.internal_errors
                assert errors == len(checks.ended[broken]) == 3
                checks.broken.clear()
                await asyncio.sleep(INTERVAL_SECONDS)
                assert state.exporter.internal_errors == errors
                assert state.is_ready()
        assert len(checks.begun[sound]) == 4
        lines = [line for line in logs if line["event"] == "internal error"]
        assert [line["check"] for line in lines] == [broken] * errors
        assert all(line["exc_info"] for line in lines)

    run(scenario())


def test_memory(checks: Checks) -> None:
    """Each check is given what the one before has seen."""

    async def scenario() -> None:
        async with scheduling(configure(hosts=["kms-dr.test"])):
            await asyncio.sleep(INTERVAL_SECONDS + 1)
        first, second, *_ = checks.memories[HOST]
        assert first == Memory()
        assert isinstance(second, Memory)
        assert second.addresses == {(SERVER, "kms-dr.test"): ("192.0.2.1",)}

    run(scenario())


def test_changes_are_logged(checks: Checks) -> None:
    """What a check changes is one line in the log, a warning where it is for the worse; sameness is none."""

    def result(failure: ProbeFailure | None) -> tuple[ProbeResult, ...]:
        endpoint = Endpoint(target="kms-dr.test", port=1688, address="192.0.2.1")
        return (ProbeResult(endpoint=endpoint, finished_at=now(), finished_monotonic=now(), failure=failure),)

    async def scenario() -> None:
        checks.probes = result(ProbeFailure.TIMEOUT)
        with structlog.testing.capture_logs() as logs:
            async with scheduling(configure(hosts=["kms-dr.test"])):
                await asyncio.sleep(2 * INTERVAL_SECONDS)
                checks.probes = result(None)
                await asyncio.sleep(2 * INTERVAL_SECONDS)
        assert [(line["event"], line["log_level"]) for line in logs] == [
            ("endpoint down", "warning"),
            ("endpoint up", "info"),
        ]

    run(scenario())


# --- Reconciliation


def test_what_is_unchanged_goes_on(checks: Checks) -> None:
    """A new configuration leaves alone the loops that it has in common with the old one."""

    async def scenario() -> None:
        async with scheduling(configure(*ZONES[:3], hosts=["kms-dr.test"])) as (scheduler, state):
            await asyncio.sleep(1)
            before = loop_tasks()
            await scheduler.reconcile(
                configure(*ZONES[1:4], hosts=["kms-dr.test", "kms2.test"], forget_after="1h")
            )
            after = loop_tasks()
            await asyncio.sleep(1)

            kept = {ZONES[1], ZONES[2], HOST_NAME}
            assert before.keys() & after.keys() == kept
            assert all(after[subject] is before[subject] for subject in kept)
            assert before[ZONES[0]].cancelled()
            assert after.keys() - before.keys() == {ZONES[3], "kms2.test:1688"}
            begun = {show(subject): times for subject, times in checks.begun.items()}
            assert begun.keys() == before.keys() | after.keys()
            assert {subject for subject, times in begun.items() if times == [0]} == before.keys()
            assert {subject for subject, times in begun.items() if times == [1]} == after.keys() - kept
            assert [view.zone for view in state.snapshot().zones] == ZONES[1:4]
            assert len(checks.checkers) == 1

    run(scenario())


def test_other_dns_servers(checks: Checks) -> None:
    """A zone whose DNS servers change is checked anew at once, at the new ones; others are left alone."""

    async def scenario() -> None:
        changed, same = ZONES[:2]
        async with scheduling(configure(changed, same)) as (scheduler, _):
            await asyncio.sleep(1)
            before = loop_tasks()
            await scheduler.reconcile(configure({"name": changed, "dns_servers": ["authoritative"]}, same))
            await asyncio.sleep(1)
            after = loop_tasks()
            assert after[same] is before[same]
            assert after[changed] is not before[changed]
            assert before[changed].cancelled()
            assert checks.begun == {changed: [0, 1], same: [0]}
            assert checks.selectors[changed] == (ServerGroup.AUTHORITATIVE,)
            assert checks.selectors[same] == (DnsServer(address=SERVER),)

    run(scenario())


def test_labels_only(checks: Checks) -> None:
    """New labels of a zone show at once, and are no reason to check it again."""

    async def scenario() -> None:
        async with scheduling(configure(ZONES[0])) as (scheduler, state):
            await asyncio.sleep(1)
            before = loop_tasks()
            await scheduler.reconcile(configure({"name": ZONES[0], "labels": {"team": "x"}}))
            [view] = state.snapshot().zones
            assert view.labels == {"team": "x"}
            assert view.last_check is not None
            assert loop_tasks() == before

    run(scenario())


def test_expected_only(checks: Checks) -> None:
    """What should be published shows at once, and is told to the next check, which comes in its turn."""

    async def scenario() -> None:
        zone = ZONES[0]
        async with scheduling(configure(zone)) as (scheduler, state):
            await asyncio.sleep(1)
            before = loop_tasks()
            await scheduler.reconcile(configure({"name": zone, "expected": ["kms1.test"]}))
            [view] = state.snapshot().zones
            assert view.missing == {Host(target="kms1.test", port=1688)}
            assert view.last_check is not None
            assert loop_tasks() == before
            await asyncio.sleep(1)
            assert checks.begun[zone] == [0]
            await asyncio.sleep(INTERVAL_SECONDS)
            first, second = checks.memories[zone]
            assert first == Memory()
            assert second == Memory(expected=(Host(target="kms1.test", port=1688),))
            assert len(checks.checkers) == 1

    run(scenario())


@pytest.mark.parametrize(
    "change",
    [
        {"timeout": "1s"},
        {"probe": {"rpc_bind": False}},
        {"probe": {"ports": [1688]}},
        {"limits": {"records_per_zone": 5}},
    ],
    ids=str,
)
def test_other_settings(checks: Checks, change: dict[str, Any]) -> None:
    """A change of what holds for every check starts all loops anew, with a new checker."""

    async def scenario() -> None:
        changed = configure(*ZONES[:2], clients=[BRANCH], **change)
        async with scheduling(configure(*ZONES[:2], clients=[BRANCH])) as (scheduler, state):
            await asyncio.sleep(1)
            before = loop_tasks()
            await scheduler.reconcile(changed)
            assert {view.last_check is None for view in state.snapshot().zones} == {False}
            await asyncio.sleep(1)
            after = loop_tasks()
            assert after.keys() == before.keys()
            assert all(before[subject].cancelled() for subject in before)
            assert checks.begun == {ZONES[0]: [0, 1], ZONES[1]: [0, 1], SEARCH: [0, 1]}
            assert [checker.closed for checker in checks.checkers] == [True, False]
            assert checks.checkers[1].settings == check_settings(changed) != checks.checkers[0].settings
            assert state.snapshot().rpc_bind is changed.probe.rpc_bind

    run(scenario())


def test_search_of_a_client(checks: Checks) -> None:
    """A kind of client is checked on its own, at its DNS servers, with the memory of each suffix."""

    async def scenario() -> None:
        at_head = {"name": "head", "suffixes": [ZONES[0]], "dns_servers": ["system", "192.0.2.9"]}
        async with scheduling(configure(clients=[BRANCH, at_head])) as (_, state):
            assert loop_tasks().keys() == {"client branch", "client head"}
            await asyncio.sleep(1)
            views = {
                view.client: [each.last_check for each in view.suffixes] for view in state.snapshot().clients
            }
            assert views == {"branch": [pytest.approx(0.1)] * 2, "head": [pytest.approx(0.1)]}
            assert state.is_ready()
        head = Search(client="head", suffixes=(ZONES[0],))
        assert checks.selectors[SEARCH] == (DnsServer(address=SERVER),)
        assert checks.selectors[head] == (ServerGroup.SYSTEM, DnsServer(address="192.0.2.9"))
        assert checks.memories[SEARCH] == [dict.fromkeys(SEARCH.suffixes, Memory())]
        assert checks.memories[head] == [{ZONES[0]: Memory()}]

    run(scenario())


@pytest.mark.parametrize(
    "change",
    [{"suffixes": ["zone1.test", "branch.test"]}, {"suffixes": ["zone1.test"]}, {"dns_servers": ["system"]}],
    ids=str,
)
def test_other_search(checks: Checks, change: dict[str, Any]) -> None:
    """A client whose suffixes, their order or DNS servers change is checked anew at once; a zone is not."""

    async def scenario() -> None:
        async with scheduling(configure(ZONES[0], clients=[BRANCH])) as (scheduler, _):
            await asyncio.sleep(1)
            before = loop_tasks()
            await scheduler.reconcile(configure(ZONES[0], clients=[BRANCH | change]))
            await asyncio.sleep(1)
            after = loop_tasks()
            assert after.keys() == before.keys() == {ZONES[0], "client branch"}
            assert after[ZONES[0]] is before[ZONES[0]]
            assert before["client branch"].cancelled()
            searches = {subject: times for subject, times in checks.begun.items() if subject != ZONES[0]}
            assert sorted(time for times in searches.values() for time in times) == [0, 1]

    run(scenario())


def test_client_that_is_removed(checks: Checks) -> None:
    """A client that leaves the configuration is not checked any more."""

    async def scenario() -> None:
        async with scheduling(configure(ZONES[0], clients=[BRANCH])) as (scheduler, state):
            await asyncio.sleep(1)
            await scheduler.reconcile(configure(ZONES[0]))
            await asyncio.sleep(2 * INTERVAL_SECONDS)
            assert checks.begun[SEARCH] == [0]
            assert state.snapshot().clients == ()

    run(scenario())


@pytest.mark.parametrize("end", ["removed", "closed"])
def test_stop_in_the_middle_of_a_check(checks: Checks, end: str) -> None:
    """A check that is under way ends with its loop, and leaves no result."""

    async def scenario() -> None:
        gone, stays = ZONES[:2]
        checks.seconds[gone] = INTERVAL_SECONDS / 2
        async with scheduling(configure(gone, stays)) as (scheduler, state):
            await asyncio.sleep(1)
            stop: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {
                "removed": lambda: scheduler.reconcile(configure(stays)),
                "closed": scheduler.close,
            }
            await stop[end]()
            assert checks.ended[gone] == [1]
            assert gone not in loop_tasks()
            assert {view.zone for view in state.snapshot().zones if view.last_check is not None} == {stays}
            assert checks.checkers[0].closed is (end == "closed")
            await asyncio.sleep(2 * INTERVAL_SECONDS)
            assert checks.begun[gone] == [0]
            assert state.exporter.internal_errors == 0

    run(scenario())


def test_close_before_the_start(checks: Checks) -> None:
    """A scheduler that was never told a configuration has nothing to close."""

    async def scenario() -> None:
        async with asyncio.TaskGroup() as tasks:
            await Scheduler(State(), tasks).close()
        assert checks.checkers == []

    run(scenario())


def test_zone_that_returns(checks: Checks) -> None:
    """A zone that is taken out and put back starts afresh."""

    async def scenario() -> None:
        async with scheduling(configure(*ZONES[:2])) as (scheduler, state):
            await asyncio.sleep(1)
            await scheduler.reconcile(configure(*ZONES[:1]))
            await scheduler.reconcile(configure(*ZONES[:2]))
            assert [view.last_check is None for view in state.snapshot().zones] == [False, True]
            await asyncio.sleep(1)
            assert checks.begun[ZONES[1]] == [0, 1]

    run(scenario())


# --- What does not get on


@pytest.mark.parametrize(("interval_seconds", "patience_seconds"), [(60, 120), (1, 30)])
def test_check_that_never_ends(checks: Checks, interval_seconds: int, patience_seconds: int) -> None:
    """A check that is not done after two intervals, or 30 seconds if that is more, is named as stalled."""

    async def scenario() -> None:
        hung, sound = ZONES[:2]
        checks.seconds[hung] = 1e9
        times = {"interval": f"{interval_seconds}s", "timeout": "500ms"}
        async with scheduling(configure(hung, sound, **times)) as (scheduler, _):
            assert scheduler.stalled() == ()
            await asyncio.sleep(patience_seconds - 0.5)
            assert scheduler.stalled() == ()
            await asyncio.sleep(1)
            assert scheduler.stalled() == (hung,)
            await scheduler.reconcile(configure(sound, **times))
            assert scheduler.stalled() == ()

    run(scenario())


def test_what_gets_on_does_not_stall(checks: Checks) -> None:
    """Neither the wait for the next check, nor one as long as an interval, nor one that fails is a stall."""

    async def scenario() -> None:
        slow, broken, usual = ZONES[:3]
        checks.seconds[slow] = INTERVAL_SECONDS
        checks.broken.add(broken)
        async with scheduling(configure(slow, broken, usual, hosts=["kms-dr.test"])) as (scheduler, _):
            for _ in range(100):
                await asyncio.sleep(INTERVAL_SECONDS / 7)
                assert scheduler.stalled() == ()

    with structlog.testing.capture_logs():
        run(scenario())


def test_new_loop_has_not_stalled(checks: Checks) -> None:
    """What a reload adds has as much time for its first check as everything had."""

    async def scenario() -> None:
        old, new = ZONES[:2]
        checks.seconds = dict.fromkeys((old, new), 1e9)
        async with scheduling(configure(old)) as (scheduler, _):
            await asyncio.sleep(2 * INTERVAL_SECONDS)
            await scheduler.reconcile(configure(old, new))
            await asyncio.sleep(INTERVAL_SECONDS)
            assert scheduler.stalled() == (old,)
            await asyncio.sleep(INTERVAL_SECONDS + 1)
            assert scheduler.stalled() == (old, new)

    run(scenario())


def test_loop_that_has_ended(checks: Checks) -> None:
    """A loop that is gone has stalled, at once and whatever it was about to do."""

    async def scenario() -> None:
        async with scheduling(configure(*ZONES, clients=[BRANCH], hosts=["kms-dr.test"])) as (scheduler, _):
            await asyncio.sleep(1)
            for name in (ZONES[3], "client branch", HOST_NAME):
                loop_tasks()[name].cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert set(scheduler.stalled()) == {ZONES[3], "client branch", HOST_NAME}

    run(scenario())


def test_no_loop_begins_after_the_end(checks: Checks) -> None:
    """A reload that is under way when the scheduler closes starts nothing any more."""

    async def scenario() -> None:
        async with scheduling(configure(*ZONES[:2])) as (scheduler, _):
            await asyncio.sleep(1)
            reload = asyncio.create_task(scheduler.reconcile(configure(*ZONES[2:])), name="reload")
            await asyncio.sleep(0)
            await scheduler.close()
            await reload
            assert loop_tasks() == {}

    run(scenario())


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen where a service manager would; its address is that of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(tmp_path / "notify"))
        yield manager


@asynccontextmanager
async def watching(scheduler: Scheduler, manager: socket.socket) -> AsyncIterator[None]:
    """Let the manager hear of the scheduler's progress, by a watchdog that waits for an interval."""
    notifier = Notifier(manager.getsockname(), watchdog_seconds=INTERVAL_SECONDS)
    health = Health(
        notifier, stalled=scheduler.stalled, describe=lambda: "", count_internal_error=lambda: None
    )
    looking = asyncio.create_task(health.run(), name="health")
    yield
    looking.cancel()
    notifier.close()


def beats(manager: socket.socket) -> set[bool]:
    """Take what the manager has been told: whether it was of progress."""
    found = set()
    while True:
        try:
            found.add("WATCHDOG=1" in manager.recv(4096).decode().splitlines())
        except BlockingIOError:
            return found


def test_watchdog_and_checks(checks: Checks, manager: socket.socket) -> None:
    """The watchdog is fed for as long as all checks end, and no longer."""

    async def scenario() -> None:
        hung, sound = ZONES[:2]
        async with (
            scheduling(configure(hung, sound)) as (scheduler, _),
            watching(scheduler, manager),
        ):
            seen = []
            for number in range(12):
                checks.seconds[hung] = 0.1 if number < 4 else 1e9  # its check in the fifth interval hangs
                await asyncio.sleep(INTERVAL_SECONDS)
                seen.append(beats(manager))
            assert seen[:6] == [{True}] * 6
            assert seen[8:] == [{False}] * 4

    with structlog.testing.capture_logs() as logs:
        run(scenario())
    stalled = [line for line in logs if line["event"].startswith("checks ")]
    assert [(line["event"], line["checks"]) for line in stalled] == [("checks stalled", ZONES[0])]


def test_pause_of_the_machine(checks: Checks, manager: socket.socket) -> None:
    """After a pause in which nothing could run, checks go on before anybody takes them for stalled."""

    async def scenario() -> None:
        async with scheduling(configure(*ZONES)) as (scheduler, _), watching(scheduler, manager):
            clock = asyncio.get_running_loop()
            assert isinstance(clock, JumpingClock)
            for _ in range(20):
                await asyncio.sleep(INTERVAL_SECONDS * 0.377)  # never at the moment in which anybody looks
                clock.jump(100 * INTERVAL_SECONDS)
                assert set(scheduler.stalled()) == set(ZONES)
                await asyncio.sleep(1)
                assert scheduler.stalled() == ()
                assert beats(manager) == {True}

    with structlog.testing.capture_logs() as logs:
        run(scenario())
    assert "checks stalled" not in {line["event"] for line in logs}


# --- What a check is told


def test_check_settings() -> None:
    """Everything of the configuration that holds for every check alike reaches the checks."""
    text = """
interval: 90s
timeout: 3s
source_addresses: [192.0.2.7, "2001:db8::7"]
dns: {attempts: 4}
probe:
  rpc_bind: false
  address_families: [ipv6]
  max_concurrency: 9
  networks: [127.0.0.0/8]
  ports: [1688, 1689]
  nat64_prefixes: ["2001:db8:64::/96"]
limits: {records_per_zone: 5, addresses_per_target: 6, probes_per_check: 7}
zones: [{name: contoso.test}]
"""
    assert check_settings(parse(text.encode())) == CheckSettings(
        interval_seconds=90,
        timeout_seconds=3,
        attempts=4,
        source_addresses={Family.IPV4: "192.0.2.7", Family.IPV6: "2001:db8::7"},
        address_families=(Family.IPV6,),
        max_concurrency=9,
        boundaries=Boundaries(
            networks=(ipaddress.IPv4Network("127.0.0.0/8"),),
            ports=(1688, 1689),
            nat64_prefixes=(ipaddress.IPv6Network("2001:db8:64::/96"),),
        ),
        records_per_zone=5,
        addresses_per_target=6,
        probes_per_check=7,
        rpc_bind=False,
    )
    assert check_settings(parse(b"zones: [{name: contoso.test}]")).rpc_bind

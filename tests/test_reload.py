"""Tests of when the configuration is loaded again, and of what happens to a bad one."""

import asyncio
import contextlib
import dataclasses
import errno
import os
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter import reload
from exporter.config import Config, ConfigError, Problem, parse
from exporter.reload import Loader, Part, Reloader, Source, file_source, load_source
from exporter.state import ExporterView, State
from tests.services import DEADLINE_SECONDS

GOOD = b"zones: [{name: contoso.test}]\n"
OTHER = b"zones: [{name: fabrikam.test}]\n"
BAD = b"interval: soon\nno_such_key: 1\nzones: [{name: contoso.test}]\n"

Log = list[MutableMapping[str, Any]]


@pytest.fixture
def state() -> State:
    """Give a state to take note of reloads."""
    return State()


@pytest.fixture
def log() -> Iterator[Log]:
    """Collect what is logged."""
    with capture_logs() as lines:
        yield lines


class Content:
    """A source that can be changed at will, and that counts how often it was read."""

    def __init__(self, content: bytes | OSError) -> None:
        self.content = content
        self.reads = 0
        self.source = Source(name="here", read=self._read, load=parse)

    def _read(self) -> bytes:
        self.reads += 1
        if isinstance(self.content, OSError):
            raise self.content
        return self.content


def events(log: Log) -> list[str]:
    """Tell the events in the log."""
    return [line["event"] for line in log]


def exporter_of(state: State) -> ExporterView:
    """Tell what is known of the exporter itself."""
    return state.snapshot().exporter


# --- Loading


def test_good_configuration(state: State, log: Log) -> None:
    """A configuration that is loaded shows in the state, with the time, and in one line of the log."""
    before = time.time()
    config = load(Loader(Content(GOOD).source, state))
    assert [zone.name for zone in config.zones] == ["contoso.test"]
    exporter = exporter_of(state)
    assert exporter.last_reload_successful is True
    assert before <= (exporter.last_reload_success or 0) <= time.time()
    assert log == [{"event": "configuration loaded", "log_level": "info", "source": "here"}]


def test_bad_configuration(state: State, log: Log) -> None:
    """A bad configuration is refused with all its problems, in the state and in one line of the log."""
    content = Content(GOOD)
    loader = Loader(content.source, state)
    load(loader)
    loaded_at = exporter_of(state).last_reload_success
    log.clear()
    content.content = BAD

    with pytest.raises(ConfigError) as refused:
        load(loader)

    assert [problem.path for problem in refused.value.problems] == ["interval", "no_such_key"]
    exporter = exporter_of(state)
    assert (exporter.last_reload_successful, exporter.last_reload_success) == (False, loaded_at)
    (line,) = log
    assert (line["event"], line["log_level"]) == ("configuration refused", "error")
    assert line["problems"] == "; ".join(map(str, refused.value.problems))


def _delete(path: Path) -> None:
    path.unlink()


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (_delete, errno.ENOENT),
        (_replace_by_directory, errno.EISDIR),
        (_replace_by_loop, errno.ELOOP),
    ],
)
def test_unreadable_file(
    tmp_path: Path, state: State, log: Log, spoil: Callable[[Path], None], error: int
) -> None:
    """A file that cannot be read is a problem like any other, until it can be read again."""
    path = tmp_path / "kms-exporter.yml"
    path.write_bytes(GOOD)
    loader = Loader(file_source(path), state)
    load(loader)
    spoil(path)

    assert loader.has_changed()
    with pytest.raises(ConfigError, match=f"^cannot be read: {os.strerror(error)}$"):
        load(loader)
    assert not loader.has_changed(), "that has been reported"
    assert exporter_of(state).last_reload_successful is False
    assert log[-1]["source"] == str(path)

    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    path.write_bytes(GOOD)
    assert loader.has_changed()
    load(loader)
    assert exporter_of(state).last_reload_successful is True


def test_forbidden_file(state: State, log: Log) -> None:
    """A file that may not be read is reported as such, and differs from one that is not there."""
    content = Content(PermissionError(errno.EACCES, "Permission denied"))
    loader = Loader(content.source, state)
    with pytest.raises(ConfigError, match=r"^cannot be read: Permission denied$"):
        load(loader)
    assert not loader.has_changed()
    content.content = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert loader.has_changed()


def test_change_is_one_of_content(tmp_path: Path, state: State) -> None:
    """A file has changed when its content has, whatever its times and its inode say."""
    path = tmp_path / "kms-exporter.yml"
    path.write_bytes(GOOD)
    loader = Loader(file_source(path), state)
    assert loader.has_changed(), "it was never loaded"
    load(loader)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)

    os.utime(path, ns=(0, 0))
    assert not loader.has_changed()
    fresh = tmp_path / "fresh.yml"
    fresh.write_bytes(GOOD)
    fresh.replace(path)
    assert not loader.has_changed()

    path.write_bytes(GOOD.replace(b"contoso", b"CONTOSO"))
    os.utime(path, ns=times)
    assert loader.has_changed()
    path.write_bytes(GOOD)
    assert not loader.has_changed(), "it is as it was"


# --- Loading again


async def _ignore(config: Config) -> None:
    pass


@pytest.fixture
def busy_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file be looked at all the time."""
    monkeypatch.setattr(reload, "POLL_SECONDS", 0.001)


def load(loader: Loader[Config]) -> Config:
    """Load as the program does at its start."""
    with loader.noted():
        return loader.load()


def run(reloader: Reloader, story: Callable[[], Awaitable[None]]) -> None:
    """Let a reloader run while a story is told."""

    async def tell() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            running = asyncio.create_task(reloader.run())
            await story()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert running.cancelled()

    asyncio.run(tell())


async def until(reached: Callable[[], int], number: int = 1) -> None:
    """Let everything else run until a number, or a condition, is reached."""
    while reached() < number:  # noqa: ASYNC110 - what is waited for knows nothing of events
        await asyncio.sleep(0)


async def polls(content: Content) -> None:
    """Let the file be looked at ten times more."""
    await until(lambda: content.reads, content.reads + 10)


@pytest.mark.usefixtures("busy_poll")
def test_poll(state: State, log: Log) -> None:
    """A file that changes is loaded once per change, and an old one is left alone."""
    content = Content(GOOD)
    loader = Loader(content.source, state)
    load(loader)
    applied: list[str] = []

    async def apply(config: Config) -> None:
        applied.append(config.zones[0].name)

    async def story() -> None:
        await polls(content)
        assert applied == []
        for number, change in enumerate([OTHER, GOOD], start=1):
            content.content = change
            await until(lambda: len(applied), number)
            await polls(content)
        assert applied == ["fabrikam.test", "contoso.test"]

    run(Reloader(loader, state, apply, asyncio.Event()), story)
    assert events(log) == ["configuration loaded"] * 3


@pytest.mark.usefixtures("busy_poll")
@pytest.mark.parametrize(
    "broken", [BAD, b"", b"zones: [\n", b"\xff", FileNotFoundError(errno.ENOENT, "No such file")]
)
def test_bad_file_is_reported_once(state: State, log: Log, broken: bytes | OSError) -> None:
    """A bad file is refused once per content, not per poll, and what ran before runs on."""
    content = Content(GOOD)
    loader = Loader(content.source, state)
    load(loader)

    async def never(config: Config) -> None:
        pytest.fail("took over a bad configuration")

    async def story() -> None:
        for number, bad in enumerate([broken, b"interval: never\n", broken], start=1):
            content.content = bad
            await until(lambda: events(log).count("configuration refused"), number)
            await polls(content)
        assert exporter_of(state).last_reload_successful is False

    run(Reloader(loader, state, never, asyncio.Event()), story)
    assert events(log) == ["configuration loaded", *["configuration refused"] * 3]


@pytest.mark.usefixtures("busy_poll")
def test_good_file_after_a_bad_one(state: State, log: Log) -> None:
    """The file that ran before the bad one is loaded again when it comes back."""
    content = Content(GOOD)
    loader = Loader(content.source, state)
    load(loader)

    async def story() -> None:
        content.content = BAD
        await until(lambda: exporter_of(state).last_reload_successful is False)
        content.content = GOOD
        await until(lambda: exporter_of(state).last_reload_successful is True)

    run(Reloader(loader, state, _ignore, asyncio.Event()), story)
    assert events(log) == ["configuration loaded", "configuration refused", "configuration loaded"]


def test_storm_of_requests(state: State, log: Log) -> None:
    """Any number of requests before a reload are one, and any number during it are one more."""
    content = Content(GOOD)
    may_go_on = asyncio.Event()
    applied = 0

    async def apply(config: Config) -> None:
        nonlocal applied
        applied += 1
        await may_go_on.wait()

    requested = asyncio.Event()
    reloader = Reloader(Loader(content.source, state), state, apply, requested)

    async def story() -> None:
        for _ in range(1000):
            requested.set()
        await until(lambda: applied, 1)
        for _ in range(1000):
            requested.set()
            await asyncio.sleep(0)
        assert applied == 1, "the first one is not finished"
        may_go_on.set()
        await until(lambda: applied, 2)
        for _ in range(100):
            await asyncio.sleep(0)

    run(reloader, story)
    assert (applied, content.reads) == (2, 2)


def test_request_reloads_what_has_not_changed(state: State, log: Log) -> None:
    """A request is a reload, also of a file that has not changed."""
    content = Content(GOOD)
    loader = Loader(content.source, state)
    load(loader)
    requested = asyncio.Event()
    reloader = Reloader(loader, state, _ignore, requested)

    async def story() -> None:
        requested.set()
        await until(lambda: events(log).count("configuration loaded"), 2)

    run(reloader, story)


@pytest.mark.parametrize(
    ("content", "paths", "zones"),
    [
        (OTHER, [], ["fabrikam.test"]),
        (BAD, ["interval", "no_such_key"], []),
        (FileNotFoundError(errno.ENOENT, "No such file"), [""], []),
    ],
)
def test_reload(state: State, log: Log, content: bytes | OSError, paths: list[str], zones: list[str]) -> None:
    """A reload takes a good configuration over, or gives every problem and takes over nothing."""
    applied: list[str] = []

    async def apply(config: Config) -> None:
        applied.extend(zone.name for zone in config.zones)

    problems = asyncio.run(
        Reloader(Loader(Content(content).source, state), state, apply, asyncio.Event()).reload()
    )
    assert [problem.path for problem in problems] == paths
    assert applied == zones
    assert exporter_of(state).last_reload_successful is not bool(paths)


@pytest.mark.parametrize("content", [GOOD, BAD, OSError(errno.EIO, "Input/output error")])
def test_what_goes_on_during_a_reload(state: State, log: Log, content: bytes | OSError) -> None:
    """The context of a reload is left when all is taken over, and knows the same problems as who asked."""
    seen: list[object] = []

    @contextlib.contextmanager
    def during(problems: Sequence[Problem]) -> Iterator[None]:
        seen.append("begun")
        yield
        seen.extend(["ended", tuple(problems)])

    async def apply(config: Config) -> None:
        seen.append("applied")

    loader = Loader(Content(content).source, state)
    problems = asyncio.run(Reloader(loader, state, apply, asyncio.Event(), during=during).reload())
    applied = ["applied"] if content is GOOD else []
    assert bool(problems) is not bool(applied)
    assert seen == ["begun", *applied, "ended", problems]


def test_reloads_do_not_overlap(state: State, log: Log) -> None:
    """Reloads that are asked for at the same time happen one after the other."""
    busy = False
    applied = 0

    async def apply(config: Config) -> None:
        nonlocal busy, applied
        assert not busy
        busy = True
        for _ in range(5):
            await asyncio.sleep(0)
        busy = False
        applied += 1

    requested = asyncio.Event()
    reloader = Reloader(Loader(Content(GOOD).source, state), state, apply, requested)

    async def story() -> None:
        requested.set()
        assert await asyncio.gather(*(reloader.reload() for _ in range(5))) == [()] * 5
        await until(lambda: applied, 6)

    run(reloader, story)


def test_bug_while_applying(state: State, log: Log) -> None:
    """A bug in taking over a configuration is logged and counted, and the next reload works."""
    applied = 0

    async def apply(config: Config) -> None:
        nonlocal applied
        applied += 1
        if applied == 1:
            raise RuntimeError("a bug")

    requested = asyncio.Event()
    reloader = Reloader(Loader(Content(GOOD).source, state), state, apply, requested)

    async def story() -> None:
        for number in (1, 2):
            requested.set()
            await until(lambda: applied, number)

    run(reloader, story)
    assert exporter_of(state).internal_errors == 1
    (line,) = (line for line in log if line["event"] == "internal error")
    assert line["exc_info"]


def test_pipe(tmp_path: Path, state: State, log: Log) -> None:
    """A pipe in the place of the file is refused at once instead of waited for."""
    path = tmp_path / "kms-exporter.yml"
    os.mkfifo(path)
    loader = Loader(file_source(path), state)
    with pytest.raises(ConfigError, match="is a pipe, not a file"):
        load(loader)
    assert not loader.has_changed()
    path.unlink()
    path.write_bytes(GOOD)
    assert loader.has_changed()
    assert load(loader).zones


def test_file_without_end(state: State, log: Log) -> None:
    """A file larger than any configuration is refused before it fills the memory."""
    with pytest.raises(ConfigError, match="is larger than 16 MiB"):
        load(Loader(file_source(Path("/dev/zero")), state))


# --- Two files


class Beside:
    """Another source, which is text, and bad when it says so; it depends on something else too."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.depends_on = b"one"
        self.applied: list[bytes] = []
        self.source = Source(
            name="there",
            read=lambda: self.content,
            load=self._load,
            read_beside=lambda _content: self.depends_on,
            shown_as="there",
        )

    def _load(self, content: bytes) -> bytes:
        if content == b"bad":
            raise ConfigError([Problem(line=3, path="key", message="is bad")])
        return content

    async def apply(self, content: bytes) -> None:
        """Take note of what was taken over."""
        self.applied.append(content)


@pytest.mark.parametrize(
    ("here", "there", "taken_over", "told"),
    [
        (GOOD, b"good", (["contoso.test"], [b"good"]), []),
        (GOOD, b"bad", (["contoso.test"], []), ["there: line 3: key: is bad"]),
        (b"zones: []\n", b"good", ([], [b"good"]), ["there is nothing to watch"]),
        (b"zones: []\n", b"bad", ([], []), ["there is nothing to watch", "there: line 3: key: is bad"]),
    ],
)
def test_two_files(
    state: State,
    log: Log,
    here: bytes,
    there: bytes,
    taken_over: tuple[list[str], list[bytes]],
    told: list[str],
) -> None:
    """Each file is taken over or refused by itself; both are told of, and one outcome is shown."""
    applied: list[str] = []
    beside, refused = Beside(there), set[str]()

    async def apply(config: Config) -> None:
        applied.extend(zone.name for zone in config.zones)

    part = Part(loader=Loader(beside.source, state, refused), apply=beside.apply)
    loader = Loader(Content(here).source, state, refused)
    problems = asyncio.run(Reloader(loader, state, apply, asyncio.Event(), [part]).reload())
    assert (applied, beside.applied) == taken_over
    assert [str(problem)[: len(text)] for problem, text in zip(problems, told, strict=True)] == told
    assert exporter_of(state).last_reload_successful is not bool(told)


@pytest.mark.usefixtures("busy_poll")
def test_poll_of_what_is_beside(state: State, log: Log) -> None:
    """A change of a file that the other one names loads it again, and good again is good."""
    beside, refused = Beside(b"good"), set[str]()
    part = Part(loader=Loader(beside.source, state, refused), apply=beside.apply)
    loader = Loader(Content(GOOD).source, state, refused)
    load(loader)
    with part.loader.noted():
        part.loader.load()

    async def story() -> None:
        beside.depends_on = b"two"
        await until(lambda: len(beside.applied), 1)
        beside.content = b"bad"
        await until(lambda: exporter_of(state).last_reload_successful is False)
        beside.content = b"good"
        await until(lambda: exporter_of(state).last_reload_successful is True)
        assert beside.applied == [b"good"] * 2

    run(Reloader(loader, state, _ignore, asyncio.Event(), [part]), story)


def test_problems_name_the_other_file() -> None:
    """Every problem of a source that is not the main one says where it is, also that it cannot be read."""
    with pytest.raises(ConfigError, match=r"^there: line 3: key: is bad$"):
        load_source(Beside(b"bad").source)
    missing = file_source(Path("/no/such/file"))
    with pytest.raises(ConfigError, match=r"^x: cannot be read: No such file or directory$"):
        load_source(dataclasses.replace(missing, shown_as="x"))

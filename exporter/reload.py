"""When to load the configuration again, and keeping the last good one.

A bad file is refused whole: what was loaded from it before stays, and the failure shows in the metrics, the
log and the HTTP answer. Where there are two files, each stands for itself; one outcome is shown for both.
Knows neither how a configuration is parsed nor what is done with it.
"""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from exporter.config import Config, ConfigError, Problem, default, parse
from exporter.discovery import RESOLV_CONF, parse_resolv_conf
from exporter.files import read_file
from exporter.state import State
from exporter.threads import run_aside

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0

T = TypeVar("T")


def _nothing_beside(_content: bytes) -> bytes:
    return b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Generic[T]):
    """Where a configuration comes from: `read` gives its bytes, `load` makes a configuration of them.

    `read` raises OSError, `load` ConfigError. `read_beside` gives what changes with the other files that the
    bytes name. `shown_as` goes in front of problems where they stand beside those of another source.
    """

    name: str
    read: Callable[[], bytes]
    load: Callable[[bytes], T]
    read_beside: Callable[[bytes], bytes] = _nothing_beside
    shown_as: str = ""


def load_source(source: Source[T]) -> T:
    """Load a configuration; raises ConfigError, also when the source cannot be read."""
    with _located(source):
        try:
            content = source.read()
        except OSError as error:
            raise _cannot_be_read(error) from error
        return source.load(content)


@contextlib.contextmanager
def _located(source: Source[Any]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        problems = [dataclasses.replace(problem, file=source.shown_as) for problem in error.problems]
        raise ConfigError(problems) from error


def _cannot_be_read(error: OSError) -> ConfigError:
    message = f"cannot be read: {error.strerror or error}"
    return ConfigError((Problem(line=None, path="", message=message),))


def file_source(path: Path) -> Source[Config]:
    """Take the configuration from a file."""
    return Source(name=str(path), read=functools.partial(read_file, path), load=parse)


def system_source() -> Source[Config]:
    """Take the configuration from this machine: its search suffixes are the zones, its servers are asked."""
    return Source(name=str(RESOLV_CONF), read=functools.partial(read_file, RESOLV_CONF), load=_system_config)


def _system_config(content: bytes) -> Config:
    system = parse_resolv_conf(content.decode(errors="replace"), hostname=socket.gethostname())
    missing = "search suffix" if not system.search else "name server" if not system.servers else None
    if missing:
        message = f"no configuration file given, and this machine has no DNS {missing} to go by"
        raise ConfigError((Problem(line=None, path="", message=message),))
    return default(system.search)


class Loader(Generic[T]):
    """Loads a configuration, and takes note of how that went.

    `refused` are the names of the sources that were refused last: it is shared by loaders whose outcome is
    shown as one.
    """

    def __init__(self, source: Source[T], state: State, refused: set[str] | None = None) -> None:
        self.source = source
        self._state = state
        self._refused = set() if refused is None else refused
        self._last_seen = ""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Take note of whether the configuration was loaded, and taken over, without an error."""
        self._refused.add(self.source.name)
        try:
            yield
            self._refused.discard(self.source.name)
            log.info("configuration loaded", source=self.source.name)
        except ConfigError as error:
            problems = "; ".join(map(str, error.problems))
            log.error("configuration refused", source=self.source.name, problems=problems)  # noqa: TRY400 (no bug of ours)
            raise
        finally:
            self._state.record_reload(successful=not self._refused, at=time.time())

    def load(self) -> T:
        """Load the configuration now; raises ConfigError, also when the source cannot be read."""
        with _located(self.source):
            try:
                content = self.source.read()
            except OSError as error:
                self._last_seen = _unreadable(error)
                raise _cannot_be_read(error) from error
            self._last_seen = self._checksum(content)
            return self.source.load(content)

    def has_changed(self) -> bool:
        """Tell whether the source holds something else than when it was last loaded."""
        try:
            return self._checksum(self.source.read()) != self._last_seen
        except OSError as error:
            return _unreadable(error) != self._last_seen

    def _checksum(self, content: bytes) -> str:
        return hashlib.sha256(content + self.source.read_beside(content)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[T]):
    """A configuration that can change while the program runs: how to load it, and what to do with it."""

    loader: Loader[T]
    apply: Callable[[T], Awaitable[None]]


def _untold(_problems: Sequence[Problem]) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class Reloader:
    """Loads the configuration again when told or when it has changed, and hands a good one to `apply`.

    `requested` is set to ask for a reload soon; any number of requests before it are one. What is `beside`
    the configuration is loaded along with it. `during` makes a context for each reload out of the list of its
    problems, which is complete in the end.
    """

    def __init__(
        self,
        loader: Loader[Config],
        state: State,
        apply: Callable[[Config], Awaitable[None]],
        requested: asyncio.Event,
        beside: Sequence[Part[Any]] = (),
        during: Callable[[Sequence[Problem]], contextlib.AbstractContextManager[None]] = _untold,
    ) -> None:
        self._parts: tuple[Part[Any], ...] = (Part(loader=loader, apply=apply), *beside)
        self._state = state
        self._busy = asyncio.Lock()
        self._requested = requested
        self._during = during

    async def reload(self) -> tuple[Problem, ...]:
        """Load the configuration now; the problems say why it was refused, none that it was taken over."""
        problems: list[Problem] = []
        async with self._busy:
            with self._during(problems):
                for part in self._parts:
                    problems += await _renew(part)
        return tuple(problems)

    async def run(self) -> None:
        """Reload on request and whenever the content of the source has changed."""
        while True:
            try:
                if await self._is_due():
                    self._requested.clear()
                    await self.reload()
            except Exception:
                self._state.count_internal_error()
                log.exception("internal error", during="reload")

    async def _is_due(self) -> bool:
        """Wait for a request, but no longer than until it is time to look at the source again."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                return await self._requested.wait()
        except TimeoutError:
            return await run_aside(lambda: any(part.loader.has_changed() for part in self._parts))


async def _renew(part: Part[Any]) -> tuple[Problem, ...]:
    try:
        with part.loader.noted():
            await part.apply(await run_aside(part.loader.load))  # a large file takes long to read
    except ConfigError as error:
        return error.problems
    return ()


def _unreadable(error: OSError) -> str:
    return f"unreadable: {error.errno}"

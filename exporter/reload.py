"""When to load the configuration again, and keeping the last good one.

A bad file is refused whole: the running configuration stays, and the failure shows in the metrics, the log
and the HTTP answer. Knows neither how a configuration is parsed nor what is done with it.
"""

import asyncio
import contextlib
import errno
import functools
import hashlib
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from exporter.config import Config, ConfigError, Problem, default, parse
from exporter.discovery import RESOLV_CONF, parse_resolv_conf
from exporter.state import State
from exporter.threads import run_aside

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the configuration comes from: `read` gives its bytes, `load` makes a configuration of them.

    `read` raises OSError, `load` ConfigError.
    """

    name: str
    read: Callable[[], bytes]
    load: Callable[[bytes], Config] = parse


def load_source(source: Source) -> Config:
    """Load a configuration; raises ConfigError, also when the source cannot be read."""
    try:
        content = source.read()
    except OSError as error:
        raise _cannot_be_read(error) from error
    return source.load(content)


def _cannot_be_read(error: OSError) -> ConfigError:
    message = f"cannot be read: {error.strerror or error}"
    return ConfigError((Problem(line=None, path="", message=message),))


def file_source(path: Path) -> Source:
    """Take the configuration from a file."""
    return Source(name=str(path), read=functools.partial(_read_file, path))


def _read_file(path: Path) -> bytes:
    """Read a file that can be read again and again; a pipe would keep the reader waiting for ever."""
    if stat.S_ISFIFO(path.stat().st_mode):
        raise OSError(errno.EINVAL, "is a pipe, not a file")
    return path.read_bytes()


def system_source() -> Source:
    """Take the configuration from this machine: its search suffixes are the zones, its servers are asked."""
    return Source(name=str(RESOLV_CONF), read=RESOLV_CONF.read_bytes, load=_system_config)


def _system_config(content: bytes) -> Config:
    system = parse_resolv_conf(content.decode(errors="replace"), hostname=socket.gethostname())
    missing = "search suffix" if not system.search else "name server" if not system.servers else None
    if missing:
        message = f"no configuration file given, and this machine has no DNS {missing} to go by"
        raise ConfigError((Problem(line=None, path="", message=message),))
    return default(system.search)


class Loader:
    """Loads the configuration, and takes note of how that went."""

    def __init__(self, source: Source, state: State) -> None:
        self.source = source
        self._state = state
        self._last_seen = ""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Take note of whether the configuration was loaded, and taken over, without an error."""
        successful = False
        try:
            yield
            successful = True
            log.info("configuration loaded", source=self.source.name)
        except ConfigError as error:
            problems = "; ".join(map(str, error.problems))
            log.error("configuration refused", source=self.source.name, problems=problems)  # noqa: TRY400 (no bug of ours)
            raise
        finally:
            self._state.record_reload(successful=successful, at=time.time())

    def load(self) -> Config:
        """Load the configuration now; raises ConfigError, also when the source cannot be read."""
        try:
            content = self.source.read()
        except OSError as error:
            self._last_seen = _unreadable(error)
            raise _cannot_be_read(error) from error
        self._last_seen = _checksum(content)
        return self.source.load(content)

    def has_changed(self) -> bool:
        """Tell whether the source holds something else than when it was last loaded."""
        try:
            return _checksum(self.source.read()) != self._last_seen
        except OSError as error:
            return _unreadable(error) != self._last_seen


class Reloader:
    """Loads the configuration again when told or when it has changed, and hands a good one to `apply`.

    `requested` is set to ask for a reload soon; any number of requests before it are one.
    """

    def __init__(
        self,
        loader: Loader,
        state: State,
        apply: Callable[[Config], Awaitable[None]],
        requested: asyncio.Event,
    ) -> None:
        self._loader = loader
        self._state = state
        self._apply = apply
        self._busy = asyncio.Lock()
        self._requested = requested

    async def reload(self) -> tuple[Problem, ...]:
        """Load the configuration now; the problems say why it was refused, none that it was taken over."""
        async with self._busy:
            try:
                with self._loader.noted():
                    await self._apply(await run_aside(self._loader.load))  # a large file takes long to read
            except ConfigError as error:
                return error.problems
            return ()

    async def run(self) -> None:
        """Reload on request and whenever the content of the source has changed."""
        while True:
            try:
                if await self._is_due():
                    self._requested.clear()
                    await self.reload()
            except Exception:
                self._state.count_internal_error()
                log.exception("internal error", source=self._loader.source.name)

    async def _is_due(self) -> bool:
        """Wait for a request, but no longer than until it is time to look at the source again."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                return await self._requested.wait()
        except TimeoutError:
            return await run_aside(self._loader.has_changed)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _unreadable(error: OSError) -> str:
    return f"unreadable: {error.errno}"

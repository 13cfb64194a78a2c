"""The composition root: builds the parts, ties them together, and takes them down on a signal.

Decides nothing about DNS, probing or metrics. Everything that runs is a task of one group.
"""

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from exporter.build import read_build_info
from exporter.config import Config, parse
from exporter.demo import Lab
from exporter.files import read_file
from exporter.health import Health, summarize
from exporter.history import History
from exporter.model import host_port
from exporter.narrowing import watched
from exporter.notify import Notifier
from exporter.ondemand import OnDemand
from exporter.reload import Loader, Part, Reloader, Source
from exporter.scheduler import Scheduler
from exporter.state import State
from exporter.web import Backend, Paths, make_application
from exporter.web.serving.access import Access
from exporter.web.serving.door import Manners
from exporter.web.serving.listen import listen
from exporter.web.serving.server import Server
from exporter.web.serving.setup import Setup, load_setup, read_beside

log = structlog.get_logger(__name__)

LAG_SAMPLE_SECONDS = 0.5
GARBAGE_SECONDS = 1.0
_LAG_SAMPLES_PER_COUNT = 10  # to count tasks is to look at each of them, and there may be thousands
_GARBAGE_THRESHOLDS = 100_000, 20, 20  # of what gc.set_threshold tells: if there is very much at once
_MIDDLE_AGED_EACH, _OLD_EACH = 20, 3600  # collections of what is young
_OPEN_IN_ANY_CASE = 32

T = TypeVar("T")

Count = Callable[[], int]


class StartError(Exception):
    """The service cannot start; the text says why, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """How the pages are served: on which addresses, at which paths, and by which web configuration."""

    addresses: Sequence[tuple[str, int]]
    paths: Paths = field(default_factory=Paths)
    config_file: Path | None = None


def web_source(path: Path) -> Source[Setup]:
    """Take the web configuration from a file, and from those that it names."""
    return Source(
        name=str(path),
        shown_as=str(path),
        read=functools.partial(read_file, path),
        load=functools.partial(load_setup, path=path, read=read_file),
        read_beside=functools.partial(read_beside, path=path, read=read_file),
    )


async def serve(source: Source[Config], web_settings: WebSettings, lines_dropped: Count) -> None:
    """Run the exporter on a configuration until SIGTERM or SIGINT.

    `lines_dropped` tells how many lines the log has lost so far.
    Raises StartError when an address cannot be listened on, and ConfigError, which has been logged by then,
    when the configuration is unusable.
    """
    _raise_descriptor_limit()
    state = State(log_lines_dropped=lines_dropped)
    loaders = _loaders(source, web_settings, state)
    with contextlib.ExitStack() as opened:
        orders = _Orders(opened.enter_context(contextlib.closing(_notifier())))
        sockets = [opened.enter_context(_listen(host, port)) for host, port in web_settings.addresses]
        config, setup = loaders.load()
        _warn_of_few_descriptors(config)
        async with asyncio.TaskGroup() as tasks:
            service = _Service(state, tasks, loaders, sockets, web_settings.paths, orders)
            await service.take_over(setup)
            await service.apply(config)
            async with service:
                await orders.stop.wait()
                log.info("stopping")


class _Orders:
    """The signals that this process takes, and the notifier that answers to whoever manages it."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier
        self.stop, self.reload = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _stop(self) -> None:
        self.notifier.stopping()
        self.stop.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaders:
    """What loads the configuration, and that of the web side if there is one."""

    main: Loader[Config]
    web: Loader[Setup] | None

    def load(self) -> tuple[Config, Setup]:
        """Load both; raises ConfigError when either is unusable, with the problems of both in the log."""
        try:
            config = _load(self.main)
        finally:
            setup = _load(self.web) if self.web else Setup()
        return config, setup


class _Service:
    """The parts of the exporter, tied together; as a context it serves, and looks for changed files."""

    def __init__(
        self,
        state: State,
        tasks: asyncio.TaskGroup,
        loaders: _Loaders,
        sockets: Sequence[socket.socket],
        paths: Paths,
        orders: _Orders,
    ) -> None:
        self._state = state
        self._tasks = tasks
        self._history = History(state)
        self._scheduler = Scheduler(state, tasks, note=self._history.note)
        self._ondemand = OnDemand()
        self._health = Health(
            orders.notifier,
            stalled=self._scheduler.stalled,
            describe=self._describe,
            count_internal_error=state.count_internal_error,
        )
        beside = [Part(loader=loaders.web, apply=self.take_over)] if loaders.web else []
        self._reloader = Reloader(
            loaders.main, state, self.apply, orders.reload, beside, during=self._health.reloading
        )
        self._access = Access(paths)
        application = make_application(self._backend(paths), self._access)
        self._server = Server(
            sockets,
            application,
            count_internal_error=state.count_internal_error,
            count_rejected=state.count_rejected,
        )
        self._background: list[asyncio.Task[None]] = []

    async def apply(self, config: Config) -> None:
        """Watch, and look on demand at, what this configuration says."""
        await self._scheduler.reconcile(watched(config))
        self._ondemand.reconcile(config)

    async def take_over(self, setup: Setup) -> None:
        """Serve the pages as this web configuration says."""
        self._access.use(setup.config)
        self._server.use(setup.tls)
        for warning in setup.tls.warnings if setup.tls else ():
            log.warning("doubtful web configuration", reason=warning)

    async def __aenter__(self) -> None:
        self._background = [
            self._tasks.create_task(self._reloader.run(), name="reload"),
            self._tasks.create_task(_measure_loop(self._state), name="event loop lag"),
            self._tasks.create_task(self._health.run(), name="health"),
            self._tasks.create_task(_collect_garbage(self._state), name="garbage"),
        ]
        await self._server.__aenter__()
        self._health.begin()

    async def __aexit__(self, *exception: object) -> None:
        for task in self._background:
            task.cancel()
        await self._ondemand.close()  # and the scheduler before the pages end: they need the processor for it
        await self._scheduler.close()
        await self._server.__aexit__(*exception)

    def _describe(self) -> str:
        config, tally = watched(self._ondemand.config), self._history.tally()
        kinds = {"zone": config.zones, "static host": config.hosts, "client profile": config.clients}
        counts = {kind: len(each) for kind, each in kinds.items()}
        return summarize(counts, failing=tally.failing, last_check=tally.last_check)

    def _backend(self, paths: Paths) -> Backend:
        return Backend(
            snapshot=self._state.snapshot,
            is_ready=self._state.is_ready,
            reload=self._reloader.reload,
            count_internal_error=self._state.count_internal_error,
            build=read_build_info(),
            paths=paths,
            history=self._history,
            config=lambda: self._ondemand.config,
            ondemand=self._ondemand,
            stalled=self._scheduler.stalled,
        )


async def serve_lab(web_settings: WebSettings, lines_dropped: Count) -> None:
    """Run the exporter on the embedded lab."""
    async with Lab() as lab:
        for zone, situation in lab.describe():
            log.info("lab zone", dns_zone=zone, situation=situation)
        source = Source(name="the embedded lab", read=lambda: lab.config_text, load=parse)
        await serve(source, web_settings, lines_dropped)


def _loaders(source: Source[Config], web_settings: WebSettings, state: State) -> _Loaders:
    refused: set[str] = set()
    file = web_settings.config_file
    return _Loaders(
        main=Loader(source, state, refused),
        web=Loader(web_source(file), state, refused) if file else None,
    )


def _notifier() -> Notifier:
    return Notifier.from_environment(os.environ, pid=os.getpid())


def _load(loader: Loader[T]) -> T:
    with loader.noted():
        return loader.load()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except UnicodeError as error:
        raise StartError(f"cannot listen on {host_port(host, port)}: not a host name") from error
    except OSError as error:
        number = error.errno or 0  # below 0 for an error of name resolution
        reason = os.strerror(number) if number > 0 else error.strerror
        raise StartError(f"cannot listen on {host_port(host, port)}: {reason}") from error


async def _collect_garbage(state: State) -> None:
    """Take what is there after the first checks out of the collection of garbage, and collect by the clock.

    Most of it stays. With ten thousand hosts, to look through all of it holds the process up for half a
    second again and again; and through what has been replaced since it last looked, for a tenth. Of what a
    check leaves behind, hardly anything is in circles: those are found within a second, half a minute, or an
    hour at most.
    """
    while not state.is_ready():  # noqa: ASYNC110 (which sets no event, and nobody is in a hurry)
        await asyncio.sleep(LAG_SAMPLE_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    for number in itertools.count(1):
        await asyncio.sleep(GARBAGE_SECONDS)
        gc.collect(2 if number % _OLD_EACH == 0 else 1 if number % _MIDDLE_AGED_EACH == 0 else 0)


async def _measure_loop(state: State) -> None:
    loop = asyncio.get_running_loop()
    for sample in itertools.count():
        if sample % _LAG_SAMPLES_PER_COUNT == 0:
            state.observe_tasks(len(asyncio.all_tasks()))
        due = loop.time() + LAG_SAMPLE_SECONDS
        await asyncio.sleep(LAG_SAMPLE_SECONDS)
        state.observe_lag(max(0.0, loop.time() - due))


def _raise_descriptor_limit() -> None:
    """Use as many file descriptors as this process may have: every query and connect takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _warn_of_few_descriptors(config: Config) -> None:
    """Tell when not all can be under way at once that may be: what finds no descriptor is `local_error`.

    Probes and the lookups at one DNS server are each as many as `probe.max_concurrency`; then there are the
    connections to the pages, and the few files that are open in any case.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * config.probe.max_concurrency + Manners().connections + _OPEN_IN_ANY_CASE
    if limit != resource.RLIM_INFINITY and limit < wanted:
        log.warning("few file descriptors", limit=limit, wanted=wanted)

"""The composition root: builds the parts, ties them together, and takes them down on a signal.

Decides nothing about DNS, probing or metrics. Everything that runs is a task of one group.
"""

import asyncio
import contextlib
import functools
import os
import resource
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from exporter.build import read_build_info
from exporter.config import Config, parse
from exporter.demo import Lab
from exporter.history import History
from exporter.model import host_port
from exporter.narrowing import watched
from exporter.ondemand import OnDemand
from exporter.reload import Loader, Part, Reloader, Source, read_file
from exporter.scheduler import Scheduler
from exporter.state import State
from exporter.web import Backend, Paths, make_application
from exporter.web.access import Access
from exporter.web.listen import listen
from exporter.web.server import Server
from exporter.web.setup import Setup, load_setup, read_beside

log = structlog.get_logger(__name__)

LAG_SAMPLE_SECONDS = 0.5

T = TypeVar("T")


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


async def serve(source: Source[Config], web_settings: WebSettings) -> None:
    """Run the exporter on a configuration until SIGTERM or SIGINT.

    Raises StartError when an address cannot be listened on, and ConfigError, which has been logged by then,
    when the configuration is unusable.
    """
    _raise_descriptor_limit()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reload_requested = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
    state = State()
    refused: set[str] = set()
    loader = Loader(source, state, refused)
    web_loader = _web_loader(web_settings, state, refused)
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(_listen(host, port)) for host, port in web_settings.addresses]
        try:
            config = _load(loader)
        finally:  # the log has the problems of both files
            setup = _load(web_loader) if web_loader else Setup()
        async with asyncio.TaskGroup() as tasks:
            history = History(state)
            scheduler = Scheduler(state, tasks, note=history.note)
            ondemand = OnDemand(config)

            async def apply(config: Config) -> None:
                await scheduler.reconcile(watched(config))
                ondemand.reconcile(config)

            async def take_over(setup: Setup) -> None:
                access.use(setup.config)
                server.use(setup.tls)
                _warn(setup)

            beside = [Part(loader=web_loader, apply=take_over)] if web_loader else []
            reloader = Reloader(loader, state, apply, reload_requested, beside)
            backend = Backend(
                snapshot=state.snapshot,
                is_ready=state.is_ready,
                reload=reloader.reload,
                count_internal_error=state.count_internal_error,
                build=read_build_info(),
                paths=web_settings.paths,
                history=history,
                config=lambda: ondemand.config,
                ondemand=ondemand,
            )
            access = Access(web_settings.paths)
            server = Server(
                sockets, make_application(backend, access), count_internal_error=state.count_internal_error
            )
            await take_over(setup)
            await apply(config)
            background = [
                tasks.create_task(reloader.run(), name="reload"),
                tasks.create_task(_measure_lag(state), name="event loop lag"),
            ]
            async with server:
                await stop.wait()
                log.info("stopping")
            for task in background:
                task.cancel()
            await ondemand.close()
            await scheduler.close()


async def serve_lab(web_settings: WebSettings) -> None:
    """Run the exporter on the embedded lab."""
    async with Lab() as lab:
        for zone, situation in lab.describe():
            log.info("lab zone", dns_zone=zone, situation=situation)
        source = Source(name="the embedded lab", read=lambda: lab.config_text, load=parse)
        await serve(source, web_settings)


def _web_loader(settings: WebSettings, state: State, refused: set[str]) -> Loader[Setup] | None:
    if settings.config_file is None:
        return None
    return Loader(web_source(settings.config_file), state, refused)


def _load(loader: Loader[T]) -> T:
    with loader.noted():
        return loader.load()


def _warn(setup: Setup) -> None:
    for warning in setup.tls.warnings if setup.tls else ():
        log.warning("doubtful web configuration", reason=warning)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except UnicodeError as error:
        raise StartError(f"cannot listen on {host_port(host, port)}: not a host name") from error
    except OSError as error:
        number = error.errno or 0  # below 0 for an error of name resolution
        reason = os.strerror(number) if number > 0 else error.strerror
        raise StartError(f"cannot listen on {host_port(host, port)}: {reason}") from error


async def _measure_lag(state: State) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SAMPLE_SECONDS
        await asyncio.sleep(LAG_SAMPLE_SECONDS)
        state.observe_lag(max(0.0, loop.time() - due))


def _raise_descriptor_limit() -> None:
    """Use as many file descriptors as this process may have: every query and connect takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

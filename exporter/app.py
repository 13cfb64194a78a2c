"""The composition root: builds the parts, ties them together, and takes them down on a signal.

Decides nothing about DNS, probing or metrics. Everything that runs is a task of one group.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from exporter.build import read_build_info
from exporter.demo import Lab
from exporter.model import host_port
from exporter.reload import Loader, Reloader, Source
from exporter.scheduler import Scheduler
from exporter.state import State
from exporter.web import Backend, Paths, make_application
from exporter.web.listen import listen

log = structlog.get_logger(__name__)

LAG_SAMPLE_SECONDS = 0.5
SHUTDOWN_SECONDS = 0.4  # for requests under way; aiohttp may take it twice, and a stop at most 2 s


class StartError(Exception):
    """The service cannot start; the text says why, in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """How the pages are served: on which addresses, and at which paths."""

    addresses: Sequence[tuple[str, int]]
    paths: Paths = field(default_factory=Paths)


async def serve(source: Source, web_settings: WebSettings) -> None:
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
    loader = Loader(source, state)
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(_listen(host, port)) for host, port in web_settings.addresses]
        with loader.noted():
            config = loader.load()
        async with asyncio.TaskGroup() as tasks:
            scheduler = Scheduler(state, tasks)
            reloader = Reloader(loader, state, scheduler.reconcile, reload_requested)
            background = [
                tasks.create_task(reloader.run(), name="reload"),
                tasks.create_task(_measure_lag(state), name="event loop lag"),
            ]
            await scheduler.reconcile(config)
            backend = Backend(
                snapshot=state.snapshot,
                is_ready=state.is_ready,
                reload=reloader.reload,
                count_internal_error=state.count_internal_error,
                build=read_build_info(),
                paths=web_settings.paths,
            )
            async with _serving(sockets, backend):
                await stop.wait()
                log.info("stopping")
            for task in background:
                task.cancel()
            await scheduler.close()


async def serve_lab(web_settings: WebSettings) -> None:
    """Run the exporter on the embedded lab."""
    async with Lab() as lab:
        for zone, situation in lab.describe():
            log.info("lab zone", dns_zone=zone, situation=situation)
        await serve(Source(name="the embedded lab", read=lambda: lab.config_text), web_settings)


@contextlib.asynccontextmanager
async def _serving(sockets: Sequence[socket.socket], backend: Backend) -> AsyncIterator[None]:
    runner = web.AppRunner(
        make_application(backend), handle_signals=False, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        for sock in sockets:
            await web.SockSite(runner, sock).start()
            log.info("listening", address=host_port(*sock.getsockname()[:2]))
        yield
    finally:
        await runner.cleanup()


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

"""One check for a person at a terminal, or for a script: the same engine as the service, run once.

The composition root of `kms-exporter check`: narrows the configuration to what was asked for, checks it, and
prints the report. Keeps nothing; what was seen before is not known here.
"""

import asyncio
import contextlib
import enum
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO, TypeVar

from rich.console import Console

from exporter.checks import Checker
from exporter.config import Config, ConfigError, parse_duration, parse_server
from exporter.model import Host
from exporter.narrowing import find, narrow
from exporter.reload import Source, load_source
from exporter.report import Status, make_report
from exporter.report.machine import as_json, as_nagios, nagios_line
from exporter.report.text import write_text
from exporter.state import Snapshot, State
from exporter.subjects import Check, check_of, check_settings, configure, subjects

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Is told how many of how many checks are done."""


class Form(enum.StrEnum):
    """The forms in which a check is printed."""

    TEXT = "text"
    JSON = "json"
    NAGIOS = "nagios"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asked for, as typed; without `names` it is all that the configuration has."""

    names: Sequence[str] = ()
    dns_servers: Sequence[str] = ()
    timeout: str | None = None
    form: Form = Form.TEXT


class RequestError(Exception):
    """What was asked for cannot be done; the text says why, in a line for each problem."""


def check(source: Source[Config] | None, request: Request) -> Status:
    """Check once what was asked for, print the report to standard output, and give its status.

    What neither `source` nor the request says has its default. A configuration or a request that cannot be
    used is told, and is the status `unknown`; so is a report that cannot be printed.
    """
    try:
        config, hosts = asked_for(_load(source), request)
    except RequestError as error:
        return _complain(error, request.form)
    with _progress() as progress:
        snapshot = asyncio.run(look(config, progress))
    report = make_report(snapshot, hosts=hosts)
    match request.form:
        case Form.TEXT:
            printed = _print(lambda stream: write_text(report, stream))
        case Form.JSON:
            printed = _print(lambda stream: stream.write(as_json(report) + "\n"))
        case Form.NAGIOS:
            printed = _print(lambda stream: stream.write(as_nagios(report) + "\n"))
    return report.status if printed else Status.UNKNOWN


def asked_for(config: Config, request: Request) -> tuple[Config, frozenset[Host]]:
    """Restrict a configuration to what was asked for; gives also the static hosts that were.

    A NAME that is not in the configuration is looked at with its defaults. Raises RequestError.
    """
    find_name = functools.partial(find, config=config)
    names = [_parse("NAME", find_name, name) for name in request.names]
    servers = [_parse("--dns.server", parse_server, server) for server in request.dns_servers]
    narrowed, hosts = narrow(config, names or None, servers)
    if request.timeout is not None:
        narrowed = narrowed.model_copy(update={"timeout": _timeout(request.timeout, config)})
    return narrowed, hosts


def _parse(what: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise RequestError(f"{what} {text!r}: {error}") from error


def _timeout(text: str, config: Config) -> float:
    seconds = _parse("--timeout", parse_duration, text)
    if not 0 < seconds < config.interval:
        raise RequestError(f"--timeout {text!r}: must be longer than 0s and shorter than the interval")
    return seconds


def _load(source: Source[Config] | None) -> Config:
    if source is None:
        return Config()
    try:
        return load_source(source)
    except ConfigError as error:
        raise RequestError("\n".join(f"{source.name}: {problem}" for problem in error.problems)) from error


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Show on standard error how far it has got, where somebody is there to see it."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    with Console(stderr=True).status("Checking") as status:
        yield lambda done, total: status.update(f"{done} of {total} checked")


def _print(write: Callable[[TextIO], object]) -> bool:
    """Write to standard output, and tell whether that was possible; a reader that has gone wants no more."""
    stream = sys.stdout
    if stream is None:  # what Python makes of one that is closed
        _tell("cannot print: standard output is closed")
        return False
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a client may have any name
    try:
        write(stream)
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the flush at the end would fail again
        if isinstance(error, BrokenPipeError):
            return True
        _tell(f"cannot print: {error.strerror}")
        return False
    return True


def _complain(error: RequestError, form: Form) -> Status:
    if form is Form.NAGIOS:  # which shows standard output only
        line = nagios_line(Status.UNKNOWN, "; ".join(str(error).splitlines()))
        _print(lambda stream: stream.write(f"{line}\n"))
    else:
        _tell(str(error))
    return Status.UNKNOWN


def _tell(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")


async def look(config: Config, progress: Progress) -> Snapshot:
    """Check everything that is configured, once and at the same time."""
    state = State()
    configure(state, config)
    checker = Checker(check_settings(config))
    wanted = subjects(config)
    done = 0

    async def run(check_one: Check) -> None:
        nonlocal done
        await check_one()
        done += 1
        progress(done, len(wanted))

    try:
        async with asyncio.TaskGroup() as tasks:
            for subject, selectors in wanted.items():
                tasks.create_task(run(check_of(checker, state, subject, selectors)))
    finally:
        await checker.close()
    return state.snapshot()

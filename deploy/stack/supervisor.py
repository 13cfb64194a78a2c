"""Runs the parts as child processes: starts them, waits until they are ready, and stops all when one ends.

A child gets a session of its own, so that Ctrl-C reaches this process alone, and is killed by the kernel when
this process dies without a word (prctl(2), PR_SET_PDEATHSIG, by way of setpriv). Knows no flag of any part.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deploy.stack.parts import LOOPBACK, ROOT, Part

READY_SECONDS = 120
STOP_SECONDS = 10
_PAUSE_SECONDS = 0.1
_LAST_LINES = 15


class StackError(Exception):
    """The stack cannot start or cannot go on; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    part: Part
    process: asyncio.subprocess.Process
    log: Path

    def last_lines(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()[-_LAST_LINES:]
        return "\n".join(["", *(f"  {line}" for line in lines)])


async def supervise(parts: Sequence[Part], logs: Path, *, ready: Callable[[], None]) -> None:
    """Run the parts until SIGTERM or SIGINT; `ready` is called when all of them are.

    Raises StackError when a port is taken, or a part ends by itself or does not get ready.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _check_ports(parts)
    async with contextlib.AsyncExitStack() as started:
        children = [await started.enter_async_context(_child(part, logs)) for part in parts]
        await _first(stop.wait(), _get_ready(children, ready), *(_end_of(child) for child in children))


def _check_ports(parts: Iterable[Part]) -> None:
    if problems := [_port_taken(part) for part in parts if not _is_free(part.port)]:
        raise StackError("\n".join(problems))


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def _port_taken(part: Part) -> str:
    hint = f" If it is Debian's service: systemctl stop {part.service}" if part.service else ""
    return f"Port {part.port} of {LOOPBACK}, for {part.name}, is taken: stop what listens there.{hint}"


@contextlib.asynccontextmanager
async def _child(part: Part, logs: Path) -> AsyncIterator[_Child]:
    child = await _start(part, logs)
    try:
        yield child
    finally:
        if child.process.returncode is None:
            await _stop(child.process)


async def _start(part: Part, logs: Path) -> _Child:
    log = logs / part.log
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *part.command,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=None if part.prints else output,
            stderr=output,
            start_new_session=True,
        )
    return _Child(part=part, process=process, log=log)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, and kill it if it does not."""
    with contextlib.suppress(ProcessLookupError):  # it has ended just now
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _first(*awaited: Coroutine[Any, Any, object]) -> None:
    """Wait until one of these has ended, cancel the others, and raise what it raised."""
    tasks = [asyncio.create_task(each) for each in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    next(task for task in tasks if task in done).result()


async def _get_ready(children: Iterable[_Child], ready: Callable[[], None]) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_SECONDS)) as session:
        for child in children:
            await _wait_for(child, session)
    ready()
    await asyncio.Event().wait()


async def _wait_for(child: _Child, session: aiohttp.ClientSession) -> None:
    url = f"http://{LOOPBACK}:{child.part.port}/-/ready"
    try:
        async with asyncio.timeout(READY_SECONDS):
            while True:
                if await _answers(url, session):
                    return
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError as error:
        late = f"{child.part.name} is not ready after {READY_SECONDS} s. The last it wrote:"
        raise StackError(late + child.last_lines()) from error


async def _answers(url: str, session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.ok
    except aiohttp.ClientError:
        return False


async def _end_of(child: _Child) -> None:
    status = await child.process.wait()
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    raise StackError(f"{child.part.name} ended by itself ({how}). The last it wrote:{child.last_lines()}")

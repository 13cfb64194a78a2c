"""Long work of the processor on the event loop, in steps between which everything else there has its turn.

For what is all Python a thread is no help: while one computes, the event loop waits for the interpreter again
after each of its own system calls, up to 5 ms each time (sys.getswitchinterval).
"""

import asyncio
import contextlib
import time
from collections.abc import Generator
from typing import TypeAlias, TypeVar

STEP_SECONDS = 0.005
_TURNS = 6  # of the event loop: as many as a request takes from its connection to its answer

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Work that yields wherever something else may have its turn, and has its result in the end."""


def finish(steps: Steps[T]) -> T:
    """Do all of the work in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def run_in_steps(steps: Steps[T]) -> T:
    """Do the work a few milliseconds at a time, and give its result; one who is cancelled gives it up."""
    with contextlib.closing(steps):
        while True:
            until = time.monotonic() + STEP_SECONDS
            try:
                next(steps)
                while time.monotonic() < until:
                    next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            await _give_way()


async def _give_way() -> None:
    """Let others have some turns, and fewer where each takes long: the work has to get on as well."""
    until = time.monotonic() + STEP_SECONDS
    for _ in range(_TURNS):
        await asyncio.sleep(0)
        if time.monotonic() >= until:
            break

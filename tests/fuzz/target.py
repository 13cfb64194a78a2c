"""What a target of the fuzzer is: one way in for bytes that nobody vouches for."""

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

CORPUS = Path(__file__).parent / "corpus"

Run: TypeAlias = Callable[[bytes], bool]
"""Feeds an input to the exporter, and tells whether it was taken (True) or refused (False).

Whatever is not as documented is raised: an error that may not be, or an AssertionError.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One way in: what to open before the first input, and what inputs are made of.

    `words` are what the fuzzer puts into inputs beside single bytes; `longest` is their size in bytes.
    """

    open: Callable[[], AbstractContextManager[Run]]
    words: tuple[bytes, ...]
    longest: int


def pure(run: Run, words: Iterable[bytes], *, longest: int) -> Target:
    """Make a target of a function that needs nothing to be opened."""
    return Target(open=lambda: contextlib.nullcontext(run), words=tuple(words), longest=longest)


def corpus_of(name: str) -> list[Path]:
    """List the inputs that are kept for a target."""
    return sorted((CORPUS / name).iterdir())

"""What is wrong with a configuration file, and where."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where a value sits: the keys and list indices that lead to it."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}|<<")
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; `line` counts from 1, `path` is empty for the file as a whole.

    `file` is the name of the file where it is not the main one.
    """

    line: int | None
    path: str
    message: str
    file: str = ""

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        where += [f"line {self.line}"] if self.line is not None else []
        where += [self.path] if self.path else []
        return ": ".join([*where, self.message])


class ConfigError(Exception):
    """A configuration that cannot be used, with all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        super().__init__("\n".join(map(str, self.problems)))


def show_path(path: Sequence[str | int]) -> str:
    """Write a path as a person would: `zones[1].name`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{show(step)}]"
    return text


def show(value: object) -> str:
    """Quote a value from the file, cut so that a huge one makes no huge message."""
    if isinstance(value, str) and len(value) > _SHOWN:
        value = value[:_SHOWN] + "…"
    return repr(value)

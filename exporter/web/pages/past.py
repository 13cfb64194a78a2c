"""The last checks of a zone as values for a template: when, how long, what came of them, and their traces.

Pure but for unpacking the traces that are shown; a page holds a bounded number of their steps.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from exporter.history import CheckRecord
from exporter.trace import Step, show_milliseconds
from exporter.web.words import Moment, Tone, moment

MAX_STEPS = 1000
"""How many steps a page holds before the traces of older checks have to be asked for one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A step of a trace: how long after the first, how long it took, what was done, what came of it."""

    offset: str
    took: str
    what: str
    outcome: str
    good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """A check; `steps` is None for one whose trace is not in this page, `asked` for the one asked for."""

    key: str
    tone: Tone
    at: Moment
    took: str
    verdicts: tuple[tuple[str, str], ...]
    steps: tuple[StepRow, ...] | None
    asked: bool


def make_past(records: Iterable[CheckRecord], *, asked: str, now: float) -> Iterator[CheckRow]:
    """Show checks, newest first; `asked` is the key of the one whose trace is wanted in any case."""
    left = MAX_STEPS
    for record in records:
        key = f"{record.finished_at:.3f}"
        steps = _steps(record.steps()) if left > 0 or key == asked else None
        left -= len(steps or ())
        yield CheckRow(
            key=key,
            tone=Tone.FAILED if record.failed else Tone.OK,
            at=moment(record.finished_at, now=now),
            took=show_milliseconds(record.duration_seconds),
            verdicts=tuple((server, verdict.value) for server, verdict in record.verdicts.items()),
            steps=steps,
            asked=key == asked,
        )


def _steps(steps: tuple[Step, ...]) -> tuple[StepRow, ...]:
    start = min((step.at for step in steps), default=0.0)
    return tuple(
        StepRow(
            offset=f"+{show_milliseconds(step.at - start)}",
            took="" if step.duration_seconds is None else show_milliseconds(step.duration_seconds),
            what=step.what,
            outcome=step.outcome,
            good=step.good,
        )
        for step in steps
    )

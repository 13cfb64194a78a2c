"""The words for states, with their numbers: 0 is the best.

A state family has one series for every word. A timeline or a table wants one number, and the worst of them
first: here each word of the exporter's vocabularies gets a number by severity, a text and a colour. The text
always has the word and a sign, so colour is never the only carrier of meaning.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from exporter.diagnosis import Verdict
from exporter.model import LookupStatus, ProbeFailure

Vocabulary = TypeVar("Vocabulary", bound=enum.StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A state: its number, and how it is shown."""

    number: int
    text: str
    colour: str


_RED = (
    "light-orange",
    "light-red",
    "semi-dark-orange",
    "orange",
    "dark-orange",
    "semi-dark-red",
    "red",
    "dark-red",
)
_PURPLE = ("purple", "light-purple")
_ORANGE = ("orange", "light-orange")

NONE_EXPECTED = Word(number=1, text="✓ none expected", colour="blue")
"""A zone without records where there should be none: as it should be. The number is what its series have."""
TROUBLE = 2
"""The least number of a verdict that is trouble."""


def _words(
    first: int, states: Iterable[Vocabulary], sign: str, colours: Sequence[str]
) -> dict[Vocabulary, Word]:
    return {
        state: Word(number=first + index, text=f"{sign} {state}", colour=colours[index % len(colours)])
        for index, state in enumerate(states)
    }


# Degraded clients are served, unknown ones may be. Of the others, those who get stuck soonest on the way to a
# host have the highest numbers, and so come first.
_SERVED = [verdict for verdict in Verdict if verdict.works and verdict is not Verdict.OK]
_LOST = [verdict for verdict in reversed(Verdict) if not verdict.works and verdict is not Verdict.UNKNOWN]
FAILED = TROUBLE + len(_SERVED) + 1
"""The least number of a verdict with which nobody is served."""
VERDICTS: Mapping[Verdict, Word] = {
    **_words(0, [Verdict.OK], "✓", ["green"]),
    **_words(TROUBLE, _SERVED, "!", ["yellow"]),
    **_words(FAILED - 1, [Verdict.UNKNOWN], "?", _PURPLE),
    **_words(FAILED, _LOST, "✗", _RED),
}
VERDICT_WORDS = (*VERDICTS.values(), NONE_EXPECTED)

_EMPTY = [status for status in LookupStatus if status.usable and status is not LookupStatus.OK]
_NOT_ASKED = [LookupStatus.LOCAL_ERROR]
_UNUSABLE = [status for status in LookupStatus if not status.usable and status not in _NOT_ASKED]
STATUSES: Mapping[LookupStatus, Word] = {
    **_words(0, [LookupStatus.OK], "✓", ["green"]),
    **_words(1, _EMPTY, "!", _ORANGE),
    **_words(1 + len(_EMPTY), _NOT_ASKED, "?", _PURPLE),
    **_words(1 + len(_EMPTY) + len(_NOT_ASKED), _UNUSABLE, "✗", _RED),
}
STATUS_WORDS = tuple(STATUSES.values())
UNUSABLE = 1 + len(_EMPTY)
"""The least number of a status without a usable answer."""

_OUR_OWN = [ProbeFailure.LOCAL_ERROR, ProbeFailure.NOT_ALLOWED]
_FAILURES = [failure for failure in reversed(ProbeFailure) if failure not in _OUR_OWN]
FAILURES: Mapping[ProbeFailure, Word] = {
    **_words(1, _OUR_OWN, "?", _PURPLE),
    **_words(1 + len(_OUR_OWN), _FAILURES, "✗", _RED),
}
FAILURE_WORDS = (Word(number=0, text="✓ up", colour="green"), *FAILURES.values())


def flag(no: str, yes: str, *, no_colour: str = "red", yes_colour: str = "green") -> tuple[Word, ...]:
    """Name the two values of a 0/1 gauge."""
    return (Word(number=0, text=no, colour=no_colour), Word(number=1, text=yes, colour=yes_colour))

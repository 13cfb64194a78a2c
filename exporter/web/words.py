"""Times, durations and states as the pages put them. Pure."""

import datetime as dt
import enum
from dataclasses import dataclass

from exporter.report import Status

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Tone(enum.StrEnum):
    """How something stands, in the order in which a page lists it: trouble first."""

    FAILED = "failed"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    UNCHECKED = "unchecked"
    OK = "ok"

    @property
    def symbol(self) -> str:
        """A symbol that says the same as the colour does; a word is always beside it."""
        return _SYMBOLS[self]

    @property
    def is_trouble(self) -> bool:
        """Whether somebody should look."""
        return self not in {Tone.OK, Tone.UNCHECKED}

    @property
    def urgency(self) -> int:
        """The place in the order, 0 for the worst."""
        return _ORDER[self]


_SYMBOLS = {
    Tone.FAILED: "\N{BALLOT X}",
    Tone.UNKNOWN: "?",
    Tone.DEGRADED: "!",
    Tone.UNCHECKED: "\N{EN DASH}",
    Tone.OK: "\N{CHECK MARK}",
}
_ORDER = {tone: place for place, tone in enumerate(Tone)}


def tone_of(status: Status) -> Tone:
    """Give the tone of what has been checked."""
    return Tone(status.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A Unix time, and how long ago that is for whoever reads the page."""

    at: float
    ago_seconds: float

    @property
    def iso(self) -> str:
        """The time for programs (RFC 3339)."""
        return f"{_utc(self.at):%Y-%m-%dT%H:%M:%SZ}"

    @property
    def clock(self) -> str:
        """The time for people."""
        return f"{_utc(self.at):%Y-%m-%d %H:%M:%S} UTC"

    @property
    def lasted(self) -> str:
        """How long ago, in words."""
        return in_words(self.ago_seconds)


def moment(at: float, *, now: float) -> Moment:
    """Place a Unix time relative to now; one that a corrected clock put into the future is now."""
    return Moment(at=at, ago_seconds=max(0.0, now - at))


def in_words(seconds: float) -> str:
    """Write a duration in its two largest units, rounded down: `3 h 12 min`."""
    left, words = int(seconds), list[str]()
    for unit, size in _UNITS:
        count, rest = divmod(left, size)
        if count or words:
            words.append(f"{count} {unit}" if count else "")
            left = rest
        if len(words) == 2:  # noqa: PLR2004 (a third says nothing that anybody acts on)
            break
    return " ".join(word for word in words if word) or "0 s"


def count(number: int, one: str, many: str) -> str:
    """Count things in words."""
    return f"{number} {one if number == 1 else many}"


def _utc(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, tz=dt.UTC)

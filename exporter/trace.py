"""One check as a list of steps: each query, connect and bind, when it was, how long it took, what came of it.

Pure functions of what a check found. This is what a person reads instead of a packet capture.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: when it began (Unix time), how long it took, what was done, and what came of it.

    `duration_seconds` is None for a step that did not take place, or whose time nobody took.
    """

    at: float
    duration_seconds: float | None
    what: str
    outcome: str
    good: bool

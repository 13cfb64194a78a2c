"""Writes what changed from check to check to the log, within an allowance.

DNS decides how much changes: an answer with new records every time could fill a disk. So each subject has
lines to spend, saved while little changes, and what is beyond them is one line with a count.
"""

from collections.abc import Sequence

import structlog

from exporter.state import Change

log = structlog.get_logger(__name__)

LINES_PER_CHECK = 20
LINES_SAVED = 60
LINES_EARNED = 5
"""By each check: what changes like this for ever is still seen in full."""


class ChangeLog:
    """The log of the changes of one subject, `name`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._allowance = LINES_SAVED

    def write(self, changes: Sequence[Change]) -> None:
        """Log what one check changed; if that is too much, changes for the worse go first."""
        allowed = min(self._allowance, LINES_PER_CHECK)
        if len(changes) > allowed:
            changes = sorted(changes, key=lambda change: change.good)
        for change in changes[:allowed]:
            (log.info if change.good else log.warning)(change.event, **change.fields)
        if more := changes[allowed:]:
            all_good = all(change.good for change in more)
            (log.info if all_good else log.warning)("more changes", check=self._name, count=len(more))
        spent = min(len(changes), allowed)
        self._allowance = min(LINES_SAVED, self._allowance - spent + LINES_EARNED)

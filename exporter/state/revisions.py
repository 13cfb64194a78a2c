"""Numbers that tell whether anything has changed that a finding rests on.

Each is given out once in the life of the process, and each is higher than all before it. So what has the same
name and the same number is the same, be it of another moment, configuration or state; and the highest number
of several things tells whether any of them has changed.
"""

import itertools

NO_REVISION = 0
"""The revision of what nobody keeps: it is never the same as anything."""

_numbers = itertools.count(NO_REVISION + 1)


def next_revision() -> int:
    """Give a number that nothing has had."""
    return next(_numbers)

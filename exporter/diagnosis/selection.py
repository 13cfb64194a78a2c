"""Which host a client tries first, as exact probabilities.

Pure arithmetic over records. Current clients follow RFC 2782, "Usage rules"
(https://www.rfc-editor.org/rfc/rfc2782); old ones (Windows Vista, Server 2008) take any record.
"""

import enum
from collections.abc import Mapping, Sequence

from exporter.model import Host, Record, hosts_of


class Selection(enum.StrEnum):
    """How a client chooses among records."""

    RFC2782 = "rfc2782"
    RANDOM = "random"


def first_attempt(records: Sequence[Record], works: Mapping[Host, bool | None]) -> Mapping[Selection, float]:
    """Give the chance that the first host a client picks works, by the way in which it picks.

    `works` tells of each host whether it does, None where nobody could look. Nothing is given without
    hosts, nor where a host that may be picked first is one of those. A record with the target `.` beside
    others can be picked and leads nowhere.
    """
    if not hosts_of(records):
        return {}
    chances = {
        Selection.RFC2782: _by_weight(_preferred(records), works),
        Selection.RANDOM: _share(dict.fromkeys(records, 1), works),
    }
    return {selection: chance for selection, chance in chances.items() if chance is not None}


def _preferred(records: Sequence[Record]) -> list[Record]:
    lowest = min(record.priority for record in records)
    return [record for record in records if record.priority == lowest]


def _by_weight(records: Sequence[Record], works: Mapping[Host, bool | None]) -> float | None:
    """Draw among records of one priority.

    The client draws a whole number from 0 to the sum of the weights, and takes the first record in its list
    at which the running sum of weights reaches it. So each record is hit by as many numbers as its weight,
    and 0 hits the first in the list: one of those without weight, which stand in front, or else any, since
    the order of the others is left open.
    """
    front = [record for record in records if record.weight == 0] or list(records)
    tickets = {record: record.weight * len(front) for record in records}
    for record in front:
        tickets[record] += 1
    return _share(tickets, works)


def _share(tickets: Mapping[Record, int], works: Mapping[Host, bool | None]) -> float | None:
    """Give the share of tickets that are with records whose host works; None where that cannot be known."""
    held = [(count, works.get(record.host, False)) for record, count in tickets.items()]
    if any(up is None for _, up in held):
        return None
    return sum(count for count, up in held if up) / sum(count for count, _ in held)

"""What a kind of client meets that searches several suffixes: the first with records wins.

Pure. The order of suffixes is the client's own: its primary suffix or domain, then its search list
(KB 929826).
"""

from collections.abc import Sequence
from typing import NamedTuple

from exporter.diagnosis.findings import ServerDiagnosis, ZoneDiagnosis
from exporter.model import LookupStatus

_ENDS = frozenset({LookupStatus.OK, LookupStatus.LOCAL_ERROR})


class SuffixSight(NamedTuple):
    """One suffix at one DNS server."""

    zone: ZoneDiagnosis
    server: ServerDiagnosis


def deciding_suffix(suffixes: Sequence[SuffixSight | None]) -> SuffixSight | None:
    """Find the suffix whose verdict is that of the whole search, `suffixes` being in its order.

    That is the first with records. One whose lookup fails is skipped, and decides only if no later one has
    records. One that this machine could not look up may have records or not, so nobody knows how the search
    goes on from there: it decides, and its verdict is `unknown`. None where that hangs on a suffix without
    a result yet, which is None itself.
    """
    skipped: list[SuffixSight] = []
    for sight in suffixes:
        if sight is None or sight.server.lookup.status in _ENDS:
            return sight
        skipped.append(sight)
    return next((sight for sight in skipped if not sight.server.lookup.status.usable), skipped[0])

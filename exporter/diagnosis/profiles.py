"""What a kind of client meets that searches several suffixes: the first with records wins.

Pure functions. The order of suffixes is the client's own: its primary suffix or domain, then its search list
(KB 929826).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.diagnosis.verdicts import Verdict
from exporter.model import LookupStatus, SrvLookup


@dataclass(frozen=True, slots=True, kw_only=True)
class SuffixSight:
    """One suffix at one DNS server: the lookup there, and the verdict on it."""

    dns_zone: str
    lookup: SrvLookup
    verdict: Verdict

    @property
    def has_records(self) -> bool:
        """Whether a client stops searching here."""
        return self.lookup.status is LookupStatus.OK


def deciding_suffix(suffixes: Sequence[SuffixSight | None]) -> SuffixSight | None:
    """Find the suffix whose verdict is that of the whole search, `suffixes` being in its order.

    That is the first with records. One whose lookup fails is skipped, and decides only if no later one has
    records. None where that hangs on a suffix without a result yet, which is None itself.
    """
    skipped: list[SuffixSight] = []
    for sight in suffixes:
        if sight is None or sight.has_records:
            return sight
        skipped.append(sight)
    return next((sight for sight in skipped if not sight.lookup.status.usable), skipped[0])

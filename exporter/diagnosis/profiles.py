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


def judge_profile(suffixes: Sequence[SuffixSight]) -> tuple[Verdict, SuffixSight | None]:
    """Give the verdict on suffixes in the order of search, and the suffix that won, if one did.

    One whose lookup fails is skipped; that shows only if no later one has records.
    """
    winner = next((sight for sight in suffixes if sight.lookup.status is LookupStatus.OK), None)
    if winner:
        return winner.verdict, winner
    failed = any(not sight.lookup.status.usable for sight in suffixes)
    return Verdict.DNS_FAILED if failed else Verdict.SRV_MISSING, None

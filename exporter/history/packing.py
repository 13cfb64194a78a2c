"""Traces as compressed bytes.

There are thousands of them, and hardly one is ever read: so they take as little room as they can.
"""

import itertools
import json
import zlib
from collections.abc import Sequence

from exporter.trace import Step

MAX_STEPS = 500
_MICROSECONDS_PER_SECOND = 1_000_000
_PHRASES = (
    b' (in another check) kept from before came along with the SRV answer not_allowed unfinished", without '
    b"EDNS)SYN retransmits servfail refused bad_response unreachable connection_reset connection_refused "
    b'rpc_timeout timeout","nodata","nxdomain, authoritative","ok, 1 record, authoritative","accepted in '
    b'connected in  ms"," (tcp)"," (udp)","SOA ","SRV _vlmcs._tcp. at AAAA connect RPC bind '
)
"""What nearly every trace holds, the most frequent last (RFC 1950, 2.2, FDICT): one alone is short."""


def pack(steps: Sequence[Step]) -> bytes:
    """Pack a trace, times rounded to microseconds; of a long one the beginning."""
    kept = list(steps[:MAX_STEPS])
    if cut := len(steps) - len(kept):
        kept[-1] = Step(
            at=kept[-1].at,
            duration_seconds=None,
            what="the rest of the trace",
            outcome=f"{cut + 1} more steps, not kept",
            good=True,
        )
    start = kept[0].at if kept else 0.0
    offsets = [_microseconds(step.at - start) for step in kept]
    columns = (
        start,
        [after - before for before, after in itertools.pairwise((0, *offsets))],
        [None if (taken := step.duration_seconds) is None else _microseconds(taken) for step in kept],
        [step.what for step in kept],
        [step.outcome for step in kept],
        [int(step.good) for step in kept],
    )
    packer = zlib.compressobj(zdict=_PHRASES)
    return packer.compress(json.dumps(columns, separators=(",", ":")).encode()) + packer.flush()


def unpack(packed: bytes) -> tuple[Step, ...]:
    """Unpack a trace."""
    start, gaps, durations, whats, outcomes, goods = json.loads(
        zlib.decompressobj(zdict=_PHRASES).decompress(packed)
    )
    return tuple(
        Step(
            at=start + offset / _MICROSECONDS_PER_SECOND,
            duration_seconds=None if taken is None else taken / _MICROSECONDS_PER_SECOND,
            what=what,
            outcome=outcome,
            good=bool(good),
        )
        for offset, taken, what, outcome, good in zip(
            itertools.accumulate(gaps), durations, whats, outcomes, goods, strict=True
        )
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * _MICROSECONDS_PER_SECOND)

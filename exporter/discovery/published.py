"""What an answer publishes, whoever read it: the part of a lookup that the answer alone decides.

Pure values; no message, no limit that a configuration sets before `within`. Follows RFC 2782 (SRV).
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import NamedTuple

from exporter.model import NOT_AVAILABLE, Glue, Host, IgnoredReason, Record, fingerprint


class Authority(NamedTuple):
    """The zone of authority that an answer names by its SOA record: its apex, and its serial there."""

    apex: str
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The records of an SRV answer, and what came along; the fields are those of `SrvLookup`."""

    records: tuple[Record, ...]
    portless: tuple[Record, ...]
    record_count: int
    fingerprint: int
    ttl_seconds: int
    glue: Glue
    ignored: Mapping[IgnoredReason, int]

    def within(self, limit: int, expected: AbstractSet[Host], known: AbstractSet[Host]) -> "Published":
        """Keep at most `limit` records, and glue for their targets.

        Hosts in `expected` come first, then those in `known`, then priority, target and port decide.
        """
        if len(self.records) <= limit and len(self.portless) <= limit:
            return self

        def order(r: Record) -> tuple[bool, bool, int, str, int, int]:
            return (r.host not in expected, r.host not in known, r.priority, r.target, r.port, r.weight)

        kept = sorted(self.records, key=order)[:limit]
        left_out = len(self.records) - len(kept)
        return replace(
            self,
            records=tuple(sorted(kept)),
            portless=self.portless[:limit],
            glue=_glue_for(kept, self.glue),
            ignored={**self.ignored, IgnoredReason.RECORDS_PER_ZONE: left_out},
        )

    def renewed(self, *, ttl_seconds: int, glue: Glue) -> "Published":
        """Give the same records with other TTLs and glue."""
        return replace(self, ttl_seconds=ttl_seconds, glue=_glue_for(self.records, glue))


def publish(found: AbstractSet[Record], *, ttl_seconds: int, glue: Glue) -> Published:
    """Sort out the records of an answer: one that names port 0 leads nowhere, unless it says just that."""
    valid = tuple(sorted(r for r in found if r.port or r.target == NOT_AVAILABLE))
    return Published(
        records=valid,
        portless=tuple(sorted(found - set(valid))) if len(valid) < len(found) else (),
        record_count=len(found),
        fingerprint=fingerprint(found),
        ttl_seconds=ttl_seconds,
        glue=_glue_for(valid, glue),
        ignored={IgnoredReason.MALFORMED: len(found) - len(valid), IgnoredReason.RECORDS_PER_ZONE: 0},
    )


def _glue_for(records: Iterable[Record], glue: Glue) -> Glue:
    targets = {record.target for record in records}
    return {key: lookup for key, lookup in glue.items() if key[0] in targets}

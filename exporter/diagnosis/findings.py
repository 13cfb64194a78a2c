"""What a diagnosis consists of: values, and nothing that works them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.diagnosis.errors import LikelyError, likely_error
from exporter.diagnosis.selection import Selection
from exporter.diagnosis.verdicts import HostSight, Verdict
from exporter.model import SrvLookup
from exporter.state import NO_REVISION, ZoneView


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDiagnosis:
    """A zone at one DNS server: the last lookup, and what a client meets that uses this server.

    `as_expected` says that nothing is published and that nothing should be. `hosts` are those of the last
    usable answer, in the order of its records; while lookups fail they are older than `lookup`. `absent` are
    those that were or should be published, and nowhere are.
    """

    dns_server: str
    lookup: SrvLookup
    verdict: Verdict
    as_expected: bool
    error: LikelyError | None
    first_attempt: Mapping[Selection, float]
    hosts: tuple[HostSight, ...]
    absent: tuple[HostSight, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneDiagnosis:
    """A zone at all of its DNS servers.

    `agree` tells whether all authoritative answers hold the same records, None below two of them.
    """

    view: ZoneView
    servers: tuple[ServerDiagnosis, ...]
    agree: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticDiagnosis:
    """A static host as one DNS server leads to it; `dns_server` is empty for an address.

    `revision` is that of the view of the host.
    """

    dns_server: str
    sight: HostSight
    revision: int = field(default=NO_REVISION, compare=False)

    @property
    def verdict(self) -> Verdict:
        """What a client meets that is assigned the host."""
        return self.sight.verdict

    @property
    def error(self) -> LikelyError | None:
        """What the client is likely to show."""
        return likely_error(self.verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDiagnosis:
    """A kind of client at one of its DNS servers.

    `dns_zone` is the suffix that won, None if none did. `server` of `zone` is the suffix that decided, be it
    the one that won or one whose failure shows. `revision` is that of the view of the client.
    """

    client: str
    dns_server: str
    dns_zone: str | None
    zone: ZoneDiagnosis
    server: ServerDiagnosis
    revision: int = field(default=NO_REVISION, compare=False)

    @property
    def verdict(self) -> Verdict:
        """What the client meets: the verdict on the suffix that decided."""
        return self.server.verdict

    @property
    def error(self) -> LikelyError | None:
        """What the client is likely to show."""
        return self.server.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All that can be said of a snapshot."""

    zones: tuple[ZoneDiagnosis, ...]
    static_hosts: tuple[StaticDiagnosis, ...]
    clients: tuple[ClientDiagnosis, ...]

"""What the lab plays: its zones, and its TCP endpoints by address. Data only: no I/O, no clock.

A zone is written as the records of a master file (RFC 1035, 5.1, https://www.rfc-editor.org/rfc/rfc1035),
names relative to the zone; SOA, NS and the name server's own address come with the server. All names are
under `.test`, which no real DNS serves (RFC 6761, 6.2), all addresses are loopback. A new situation is one
more entry here, and a new kind of misconduct one more member of `Conduct` or `Behaviour`.
"""

import enum
from dataclasses import dataclass

DNS_ADDRESS = "127.16.88.53"
UP = ("127.16.88.1", "127.16.88.2", "127.16.88.3", "127.16.88.4")
CLOSED = "127.16.88.101"
FILTERED = "127.16.88.102"

STATIC_NAME = "kms-static.healthy.kms.test"
STATIC_ADDRESS = UP[3]

_LARGE_COUNT = 60


class Conduct(enum.Enum):
    """How the name server treats every query for a zone."""

    ANSWERS = enum.auto()
    FAILS = enum.auto()
    REFUSES = enum.auto()
    KEEPS_SILENT = enum.auto()


class Behaviour(enum.Enum):
    """What a TCP endpoint does with those who connect."""

    ACCEPTS = enum.auto()
    REFUSES = enum.auto()
    DROPS = enum.auto()


ENDPOINTS = dict.fromkeys(UP, Behaviour.ACCEPTS) | {CLOSED: Behaviour.REFUSES, FILTERED: Behaviour.DROPS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When records come and go: present first, then absent, and so on."""

    present_seconds: float
    absent_seconds: float

    def changes(self, now: float) -> int:
        """Count the comings and goings until `now`, in seconds since the start; odd means absent."""
        cycles, rest = divmod(now, self.present_seconds + self.absent_seconds)
        return 2 * int(cycles) + (rest >= self.present_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One zone and what it stands for; `schedule` tells when its SRV records come and go, if they do."""

    zone: str
    summary: str
    records: tuple[str, ...] = ()
    conduct: Conduct = Conduct.ANSWERS
    schedule: Schedule | None = None


def situations(*, port: int, schedule: Schedule) -> tuple[Situation, ...]:
    """List every zone, with the TCP port of all endpoints and the schedule of the one that flaps."""
    return (*_published(port, schedule), *_dead(port), *_unpublished(), *_unanswered())


def _published(port: int, schedule: Schedule) -> tuple[Situation, ...]:
    return (
        Situation(
            zone="healthy.kms.test",
            summary="two hosts, both up; the second is asked only when the first fails",
            records=(
                f"_vlmcs._tcp SRV 0 100 {port} kms1",
                f"_vlmcs._tcp SRV 10 100 {port} kms2",
                f"kms1 A {UP[0]}",
                f"kms2 A {UP[1]}",
                f"kms-static A {UP[2]}",
            ),
        ),
        Situation(
            zone="amsterdam.kms.test",
            summary="a site that shares a host with healthy.kms.test; no glue, so its address is asked for",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms1.healthy.kms.test.",),
        ),
        Situation(
            zone="berlin.kms.test",
            summary="another site with the same host, and one of its own",
            records=(
                f"_vlmcs._tcp SRV 0 100 {port} kms1.healthy.kms.test.",
                f"_vlmcs._tcp SRV 0 100 {port} kms",
                f"kms A {UP[2]}",
            ),
        ),
        Situation(
            zone="large.kms.test",
            summary=f"{_LARGE_COUNT} hosts, all up: the answer is too large for UDP and comes over TCP",
            records=_large(port),
        ),
        Situation(
            zone="partly.kms.test",
            summary="a host with two addresses, of which one is dead",
            records=(
                f"_vlmcs._tcp SRV 0 100 {port} kms",
                f"kms A {UP[3]}",
                f"kms A {CLOSED}",
            ),
        ),
        Situation(
            zone="vanishing.kms.test",
            summary="a record that vanishes every few minutes and comes back, its host up all the while",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {UP[1]}"),
            schedule=schedule,
        ),
    )


def _large(port: int) -> tuple[str, ...]:
    names = [f"kms{number:02}" for number in range(1, _LARGE_COUNT + 1)]
    services = [f"_vlmcs._tcp SRV 0 100 {port} {name}" for name in names]
    addresses = [f"{name} A {UP[number % len(UP)]}" for number, name in enumerate(names)]
    return (*services, *addresses)


def _dead(port: int) -> tuple[Situation, ...]:
    return (
        Situation(
            zone="degraded.kms.test",
            summary="two hosts, of which one has nothing listening on the port",
            records=(
                f"_vlmcs._tcp SRV 0 100 {port} kms1",
                f"_vlmcs._tcp SRV 0 100 {port} kms2",
                f"kms1 A {UP[0]}",
                f"kms2 A {CLOSED}",
            ),
        ),
        Situation(
            zone="closed.kms.test",
            summary="nothing listens on the host's port: connections are refused",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {CLOSED}"),
        ),
        Situation(
            zone="filtered.kms.test",
            summary="the host never answers a connect, as behind a firewall",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {FILTERED}"),
        ),
        Situation(
            zone="stale.kms.test",
            summary="a record left behind: its target has no address any more",
            records=(f"_vlmcs._tcp SRV 0 100 {port} retired",),
        ),
    )


def _unpublished() -> tuple[Situation, ...]:
    return (
        Situation(
            zone="declined.kms.test",
            summary="the only target is `.`: the service is decidedly not available",
            records=("_vlmcs._tcp SRV 0 0 0 .",),
        ),
        Situation(
            zone="nxdomain.kms.test",
            summary="the name does not exist",
        ),
        Situation(
            zone="nodata.kms.test",
            summary="the name exists, but has no SRV record",
            records=('_vlmcs._tcp TXT "kms moved away"',),
        ),
    )


def _unanswered() -> tuple[Situation, ...]:
    return (
        Situation(
            zone="servfail.kms.test",
            summary="the DNS server fails",
            conduct=Conduct.FAILS,
        ),
        Situation(
            zone="refused.kms.test",
            summary="the DNS server refuses to answer",
            conduct=Conduct.REFUSES,
        ),
        Situation(
            zone="silent.kms.test",
            summary="the DNS server never answers",
            conduct=Conduct.KEEPS_SILENT,
        ),
    )

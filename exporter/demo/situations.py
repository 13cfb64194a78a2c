"""What the lab plays: every zone, the hosts that are assigned by hand, and how clients search. Data only.

All names are under `.test`, which no real DNS serves (RFC 6761, 6.2). A new situation is one more entry here.
"""

from exporter.demo.zones import (
    CLOSED,
    FILTERED,
    HUNG,
    MAIL,
    OTHER_SERVICE,
    UP,
    Conduct,
    Schedule,
    Situation,
)
from exporter.model import host_port

STATIC_HOSTS = ("kms-static.healthy.kms.test", UP[3], "kms.closed.kms.test", CLOSED)
"""A name and an address of each host, as KB 929826 has them tried one after the other (slmgr /skms)."""

CLIENTS = {
    "roaming-laptop": ("nxdomain.kms.test", "healthy.kms.test"),
    "branch-workgroup": ("silent.kms.test", "branch.kms.test", "partly.kms.test"),
}
"""The suffixes that each kind of client searches, in order."""

_LARGE_COUNT = 60


def situations(*, port: int, schedule: Schedule) -> tuple[Situation, ...]:
    """List every zone, with the TCP port of all endpoints and the schedule of the one that flaps."""
    return (
        *_published(port, schedule),
        *_peculiar(port),
        *_unexpected(port),
        *_dead(port),
        *_not_kms(port),
        *_unpublished(),
        *_unanswered(),
    )


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
            zone="branch.kms.test",
            summary="only a suffix that a kind of client searches, its host up; not watched as a zone",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {UP[3]}"),
            watched=False,
        ),
        Situation(
            zone="large.kms.test",
            summary=f"{_LARGE_COUNT} hosts, all up: the answer is too large for UDP and comes over TCP",
            records=_large(port),
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


def _peculiar(port: int) -> tuple[Situation, ...]:
    old_and_new = (f"kms-old A {CLOSED}", f"kms-new A {UP[1]}")
    return (
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
            zone="weighted.kms.test",
            summary="one host in ten tries is closed, by the weights; a backup of lower priority is up",
            records=(
                f"_vlmcs._tcp SRV 0 90 {port} kms1",
                f"_vlmcs._tcp SRV 0 10 {port} kms2",
                f"_vlmcs._tcp SRV 10 0 {port} backup",
                f"kms1 A {UP[0]}",
                f"kms2 A {CLOSED}",
                f"backup A {UP[2]}",
            ),
        ),
        Situation(
            zone="alias.kms.test",
            summary="the record names an alias, which no record may, of a host that is up",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", "kms CNAME server7", f"server7 A {UP[2]}"),
        ),
        Situation(
            zone="disagreeing.kms.test",
            summary="two DNS servers, of which the second still publishes the old host, now closed",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms-new", *old_and_new),
            elsewhere=(f"_vlmcs._tcp SRV 0 100 {port} kms-old", *old_and_new),
        ),
    )


def _unexpected(port: int) -> tuple[Situation, ...]:
    return (
        Situation(
            zone="rogue.kms.test",
            summary="beside the expected host a desktop that somebody put a KMS key on, both up",
            records=(
                f"_vlmcs._tcp SRV 0 0 {port} kms1",
                f"_vlmcs._tcp SRV 0 0 {port} desktop-4f7k2q9",
                f"kms1 A {UP[0]}",
                f"desktop-4f7k2q9 A {UP[1]}",
            ),
            expected=(host_port("kms1.rogue.kms.test", port),),
        ),
        Situation(
            zone="missing.kms.test",
            summary="of two expected hosts one was never published, though both are up",
            records=(
                f"_vlmcs._tcp SRV 0 0 {port} kms1",
                f"kms1 A {UP[0]}",
                f"kms2 A {UP[1]}",
            ),
            expected=(host_port("kms1.missing.kms.test", port), host_port("kms2.missing.kms.test", port)),
        ),
        Situation(
            zone="mak.kms.test",
            summary="a site that activates by MAK: nothing is published, as it should be",
            expected=(),
        ),
    )


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


def _not_kms(port: int) -> tuple[Situation, ...]:
    return (
        Situation(
            zone="othersvc.kms.test",
            summary="an RPC service answers on the host's port, but not the one of KMS",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {OTHER_SERVICE}"),
        ),
        Situation(
            zone="banner.kms.test",
            summary="a mail server answers on the host's port",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {MAIL}"),
        ),
        Situation(
            zone="hung.kms.test",
            summary="the host accepts connections and then says nothing, as a hung service does",
            records=(f"_vlmcs._tcp SRV 0 100 {port} kms", f"kms A {HUNG}"),
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

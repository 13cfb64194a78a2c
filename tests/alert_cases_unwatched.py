"""Where the exporter may not connect, and the alerts that this calls for: what nobody watches.

Whoever changes DNS can lead it to loopback, out of what it may probe, or to more than it may, and would end
the watch in silence. A silent case comes beside the firing one that it differs from in a single thing.
"""

from typing import Any

from exporter.model import Host, IgnoredReason, LookupStatus, ProbeFailure
from tests.alert_cases_dns import (
    DC2_DEAD,
    HEALTHY,
    KMS1,
    KMS12,
    LABELS,
    NEXT,
    NO_ZONE,
    NXDOMAIN,
    OTHER_ZONE,
    SERVFAIL,
    TIMEOUT,
    zones,
)
from tests.alert_cases_hosts import (
    BOTH_FAMILIES,
    DROPS,
    DUAL,
    KMS1_ADDRESS,
    KMS1_IPV6,
    KMS2_ADDRESS,
    REFUSES,
    about,
    failing,
)
from tests.alert_promtool import Alert, Case, case, fires
from tests.alert_worlds import (
    DC1,
    DC2,
    ZONE,
    Answer,
    Timeline,
    World,
    Zone,
    down,
    hosts,
    records,
    sees,
    world,
)

LOOPBACK = "127.0.0.1"
LINK_LOCAL = "169.254.7.7"
WHY = (
    "Either DNS leads to loopback, link-local and the like, or out of probe.networks or probe.ports, or to "
    "more than limits.probes_per_check."
)
LOCAL = LookupStatus.LOCAL_ERROR
NO_MEANS = ProbeFailure.LOCAL_ERROR


def zone_unwatched(refused: str | None = None, **labels: str) -> Alert:
    """Expect the alert about a zone, with what may not be connected to."""
    told = "Clients of contoso.com may find no KMS host that works, and nobody would see it from {job}: "
    told += f"the exporter may not connect to {refused}. {WHY}"
    return fires("KmsZoneNotWatched", told if refused else None, **{"dns_zone": ZONE} | labels)


def host_unwatched(target: str, refused: str | None = None, port: str = "1688") -> Alert:
    """Expect the alert about a host, with its addresses that may not be connected to."""
    told = f"Whether {target}.contoso.com:{port} works is not known, seen from {{job}}: the exporter may not "
    told += f"connect to it at {refused}. {WHY}"
    return about("KmsHostNotWatched", target, told if refused else None, port)


def refused(*addresses: str) -> dict[str, IgnoredReason]:
    """Let addresses be out of bounds."""
    return dict.fromkeys(addresses, IgnoredReason.NOT_ALLOWED)


def too_many(*addresses: str) -> dict[str, IgnoredReason]:
    """Let addresses be more than one check probes."""
    return dict.fromkeys(addresses, IgnoredReason.PROBES_PER_CHECK)


ASTRAY = {"kms1.contoso.com": (LOOPBACK,), "kms2.contoso.com": (LINK_LOCAL,)}
AT_LOOPBACK = refused(LOOPBACK, LINK_LOCAL)
MISLED = world(KMS12, KMS12, addresses=ASTRAY, left_out=AT_LOOPBACK)
UNWATCHED = zone_unwatched("kms1.contoso.com:1688 at 127.0.0.1, kms2.contoso.com:1688 at 169.254.7.7")
OUT_OF_BOUNDS = world(KMS12, KMS12, left_out=refused(KMS1_ADDRESS, KMS2_ADDRESS))
MANY = tuple(f"10.8.0.{number}" for number in range(1, 9))
BY_HAND = Host(target="10.1.0.9", port=1688)
WITH_LABELS = world(KMS12, addresses=ASTRAY, left_out=AT_LOOPBACK, labels=LABELS)


def _misled(*others: LookupStatus, **fields: Any) -> World:
    """Let one DNS server lead astray, and others have no records."""
    return world(KMS12, *others, addresses=ASTRAY, left_out=AT_LOOPBACK, **fields)


def _half(*answers: Answer, **fields: Any) -> World:
    """Let kms1 lead to loopback beside kms2 at its usual address."""
    only = {"kms1.contoso.com": (LOOPBACK,)}
    return world(*(answers or (KMS12, KMS12)), addresses=only, left_out=refused(LOOPBACK), **fields)


ZONES: list[Case] = [
    case("All hosts lead to loopback", sees(HEALTHY, 10), sees(MISLED, 16), alerts=[UNWATCHED]),
    case("All hosts led to loopback for less than the wait", sees(HEALTHY, 10), sees(MISLED, 15)),
    case("All hosts led to loopback", sees(MISLED, 30), sees(HEALTHY, 6)),
    case("All hosts led to loopback until just now", sees(MISLED, 30), sees(HEALTHY, 5), alerts=[UNWATCHED]),
    case("All hosts lead to loopback and a restart", sees(MISLED, 14), down(1), sees(MISLED, 15)),
    case(
        "All hosts lead to loopback, through a restart",
        sees(MISLED, 20),
        down(2),
        sees(MISLED, 2),
        alerts=[UNWATCHED],
    ),
    case(
        "All hosts are where no probe may go",
        sees(HEALTHY, 10),
        sees(OUT_OF_BOUNDS, 16),
        alerts=[zone_unwatched("kms1.contoso.com:1688 at 10.1.0.1, kms2.contoso.com:1688 at 10.1.0.2")],
    ),
    case(
        "All hosts are more than a check may probe",
        sees(world(KMS12, left_out=too_many(KMS1_ADDRESS, KMS2_ADDRESS)), 16),
        alerts=[zone_unwatched()],
    ),
    case(
        "Some addresses of the only host are dead, and one was one too many to probe",
        sees(
            world(KMS1, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: DROPS}, left_out=too_many(KMS1_IPV6)),
            25,
        ),
        alerts=[zone_unwatched("kms1.contoso.com:1688 at 2001:db8::1")],
    ),
    case(
        "The only host has many addresses where no probe may go",
        sees(world(KMS1, addresses={"kms1.contoso.com": MANY}, left_out=refused(*MANY)), 16),
        alerts=[
            zone_unwatched(", ".join(f"kms1.contoso.com:1688 at {each}" for each in MANY[:5]) + " and others")
        ],
    ),
    case(
        "Only one family of addresses may be probed",
        sees(DUAL, 10),
        sees(world(KMS1, addresses=BOTH_FAMILIES, left_out=refused(KMS1_IPV6)), 40),
    ),
    case(
        "Only one family of addresses may be probed, and that one is dead",
        sees(
            world(KMS1, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: DROPS}, left_out=refused(KMS1_IPV6)),
            16,
        ),
        alerts=[fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE), about("KmsHostDown", "kms1")],
    ),
    case(
        "One host leads to loopback and the other is down",
        sees(_half(failing=failing(kms2=REFUSES)), 16),
        alerts=[
            fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE),
            host_unwatched("kms1"),
            about("KmsHostDown", "kms2"),
        ],
    ),
    case("A zone that leads to loopback leaves the configuration", sees(MISLED, 30), sees(NO_ZONE, 6)),
    case("Hosts that led to loopback leave DNS with their zone", sees(MISLED, 14), sees(NO_ZONE, 1)),
    case(
        "All hosts lead to loopback where none is expected",
        sees(_misled(expected=[]), 16),
        alerts=[about("KmsUnexpectedHostPublished", host, dns_zone=ZONE) for host in ("kms1", "kms2")],
    ),
    case(
        "All hosts of a zone with labels lead to loopback",
        sees(WITH_LABELS, 16),
        alerts=[zone_unwatched(**LABELS)],
    ),
    case(
        "All hosts of a zone that is probed on demand lead to loopback",
        Timeline((sees(MISLED, 16),), on_demand=True),
        alerts=[UNWATCHED],
    ),
    case(
        "One of two zones leads to loopback",
        sees(
            World(
                zones={ZONE: Zone(servers={DC1: KMS12}), OTHER_ZONE: Zone(servers={DC1: records("kms3")})},
                addresses=ASTRAY,
                left_out=AT_LOOPBACK,
            ),
            16,
        ),
        alerts=[UNWATCHED],
    ),
    case(
        "One of two exporters may probe the hosts",
        Timeline((sees(OUT_OF_BOUNDS, 30),)),
        Timeline((sees(HEALTHY, 30),), NEXT),
    ),
    case(
        "Neither of two exporters may probe the hosts",
        Timeline((sees(MISLED, 16),)),
        Timeline((sees(MISLED, 16),), NEXT),
        alerts=[UNWATCHED],
    ),
    case(
        "All hosts lead to loopback and one server is dead",
        sees(_misled(TIMEOUT), 16),
        alerts=[UNWATCHED, DC2_DEAD],
    ),
    case(
        "All hosts lead to loopback and no server answers any more",
        sees(MISLED, 14),
        sees(world(TIMEOUT, TIMEOUT, addresses=ASTRAY, left_out=AT_LOOPBACK), 5),
    ),
    case(
        "All hosts lead to loopback and one server has no record",
        sees(_misled(NXDOMAIN), 16),
        alerts=[UNWATCHED],
    ),
    case(
        "All hosts lead to loopback and one server fails for the zone",
        sees(
            World(
                zones={
                    ZONE: Zone(servers={DC1: KMS12, DC2: SERVFAIL}),
                    OTHER_ZONE: Zone(servers={DC2: records("kms3")}),
                },
                addresses=ASTRAY,
                left_out=AT_LOOPBACK,
            ),
            16,
        ),
        alerts=[
            UNWATCHED,
            fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE),
            fires("KmsSrvLookupFailing", dns_zone=ZONE, dns_server=DC2),
        ],
    ),
    case(
        "All hosts lead to loopback and one server cannot be asked",
        sees(_misled(LOCAL), 16),
        alerts=[UNWATCHED],
    ),
    case(
        "Lookups are not possible any more, nor may the hosts be probed",
        sees(OUT_OF_BOUNDS, 1),
        sees(world(LOCAL, LOCAL, left_out=refused(KMS1_ADDRESS, KMS2_ADDRESS)), 5),
    ),
    case(
        "An exporter without means, which may probe one family only",
        sees(
            world(
                KMS1, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: NO_MEANS}, left_out=refused(KMS1_IPV6)
            ),
            16,
        ),
        alerts=[
            fires("KmsExporterCannotLook"),
            fires("KmsExporterLocalErrors"),
        ],
    ),
    case(
        "An exporter without IPv6, and the other addresses lead to loopback",
        sees(
            world(
                records("kms1", "kms3"),
                addresses={"kms1.contoso.com": (LOOPBACK, KMS1_IPV6), "kms3.contoso.com": (LINK_LOCAL,)},
                failing={KMS1_IPV6: NO_MEANS},
                left_out=AT_LOOPBACK,
                hosts=(BY_HAND,),
            ),
            16,
        ),
        alerts=[
            zone_unwatched("kms1.contoso.com:1688 at 127.0.0.1, kms3.contoso.com:1688 at 169.254.7.7"),
            fires("KmsExporterLocalErrors"),
        ],
    ),
    case(
        "An exporter without IPv6, and the other address of the only host leads to loopback",
        sees(
            world(
                KMS1,
                addresses={"kms1.contoso.com": (LOOPBACK, KMS1_IPV6)},
                failing={KMS1_IPV6: NO_MEANS},
                left_out=refused(LOOPBACK),
            ),
            16,
        ),
        alerts=[
            zone_unwatched("kms1.contoso.com:1688 at 127.0.0.1"),
            fires("KmsExporterCannotLook"),
            fires("KmsExporterLocalErrors"),
        ],
    ),
    case(
        "An exporter without IPv6, and there are no other addresses",
        sees(
            world(
                KMS1,
                addresses={"kms1.contoso.com": (KMS1_IPV6,)},
                failing={KMS1_IPV6: NO_MEANS},
                hosts=(BY_HAND,),
            ),
            16,
        ),
        alerts=[fires("KmsExporterLocalErrors")],
    ),
    case(
        "One host cannot be resolved for want of means, and the other leads to loopback",
        sees(_misled(unresolved={(DC1, "kms1.contoso.com"): LOCAL}), 16),
        alerts=[host_unwatched("kms2")],
    ),
]

ONE_MISLED = _half()
KMS1_UNWATCHED = host_unwatched("kms1", LOOPBACK)


def _shared(**fields: Zone) -> World:
    """Let kms1, a host of two zones, lead to loopback, and kms3 to a link-local address."""
    astray = {"kms1.contoso.com": (LOOPBACK,), "kms3.contoso.com": (LINK_LOCAL,)}
    return World(zones=zones(**fields).zones, addresses=astray, left_out=AT_LOOPBACK)


HOSTS: list[Case] = [
    case(
        "One of two hosts leads to loopback", sees(HEALTHY, 10), sees(ONE_MISLED, 16), alerts=[KMS1_UNWATCHED]
    ),
    case("One of two hosts led to loopback for less than the wait", sees(HEALTHY, 10), sees(ONE_MISLED, 15)),
    case("One of two hosts led to loopback", sees(ONE_MISLED, 30), sees(HEALTHY, 1)),
    case(
        "One of two hosts leads to loopback and a restart",
        sees(ONE_MISLED, 14),
        down(1),
        sees(ONE_MISLED, 15),
    ),
    case("A host that leads to loopback leaves the configuration", sees(ONE_MISLED, 30), sees(NO_ZONE, 1)),
    case(
        "A host that led to loopback was taken out of DNS",
        sees(ONE_MISLED, 30),
        sees(_half(*[records("kms2")] * 2), 4),
    ),
    case(
        "One of two hosts is more than a check may probe",
        sees(world(KMS12, left_out=too_many(KMS2_ADDRESS)), 16),
        alerts=[host_unwatched("kms2", KMS2_ADDRESS)],
    ),
    case(
        "An address of a host is dead, and the other was one too many to probe",
        sees(
            world(
                KMS12, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: DROPS}, left_out=too_many(KMS1_IPV6)
            ),
            16,
        ),
        alerts=[host_unwatched("kms1", KMS1_IPV6)],
    ),
    case(
        "An address of a host is dead, and no probe may go to the other",
        sees(
            world(KMS12, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: DROPS}, left_out=refused(KMS1_IPV6)),
            16,
        ),
        alerts=[about("KmsHostDown", "kms1")],
    ),
    case(
        "A host may be probed on one address of two",
        sees(world(KMS12, addresses=BOTH_FAMILIES, left_out=refused(KMS1_IPV6)), 40),
    ),
    case(
        "A host cannot be probed on one address, and may not on the other",
        sees(
            world(
                KMS12, addresses=BOTH_FAMILIES, failing={KMS1_IPV6: NO_MEANS}, left_out=refused(KMS1_ADDRESS)
            ),
            16,
        ),
        alerts=[fires("KmsExporterLocalErrors")],
    ),
    case(
        "A host on a port where no probe may go",
        sees(_half(records("kms1:1689", "kms2")), 16),
        alerts=[host_unwatched("kms1", LOOPBACK, "1689")],
    ),
    case(
        "A host that is only expected leads to loopback",
        sees(_half(*[records("kms2")] * 2, expected=hosts("kms1", "kms2")), 16),
        alerts=[KMS1_UNWATCHED, about("KmsExpectedHostMissing", "kms1", dns_zone=ZONE)],
    ),
    case(
        "A host of two zones leads to loopback, and one of them has no other",
        sees(_shared(own=Zone(servers={DC1: KMS1}), other=Zone(servers={DC1: KMS12})), 16),
        alerts=[zone_unwatched("kms1.contoso.com:1688 at 127.0.0.1")],
    ),
    case(
        "A host of two zones leads to loopback, and one of them expects none",
        sees(_shared(own=Zone(servers={DC1: KMS1}, expected=()), other=Zone(servers={DC1: KMS12})), 16),
        alerts=[KMS1_UNWATCHED, about("KmsUnexpectedHostPublished", "kms1", dns_zone=ZONE)],
    ),
    case(
        "A host of two zones leads to loopback, and both of them expect none",
        sees(
            _shared(
                own=Zone(servers={DC1: KMS1}, expected=()), other=Zone(servers={DC1: KMS12}, expected=())
            ),
            16,
        ),
        alerts=[
            about("KmsUnexpectedHostPublished", host, dns_zone=zone)
            for host, zone in (("kms1", ZONE), ("kms1", OTHER_ZONE), ("kms2", OTHER_ZONE))
        ],
    ),
    case(
        "A host of two zones leads to loopback, and one of them has it no more and no other",
        sees(_shared(own=Zone(servers={DC1: KMS1}), other=Zone(servers={DC1: KMS12})), 1),
        sees(
            _shared(own=Zone(servers={DC1: records("kms3")}), other=Zone(servers={DC1: KMS12})),
            16,
        ),
        alerts=[
            KMS1_UNWATCHED,
            zone_unwatched("kms3.contoso.com:1688 at 169.254.7.7"),
            about("KmsSrvRecordChanged", "kms1", dns_zone=ZONE),
        ],
    ),
    case(
        "A host that is assigned by hand is where no probe may go",
        sees(world(KMS1, KMS1, hosts=(BY_HAND,), left_out=refused(BY_HAND.target)), 16),
        alerts=[fires("KmsHostNotWatched", target=BY_HAND.target, port="1688")],
    ),
    case(
        "One of two exporters may probe the host",
        Timeline((sees(ONE_MISLED, 30),)),
        Timeline((sees(HEALTHY, 30),), NEXT),
    ),
    case(
        "A host of a zone that is probed on demand leads to loopback",
        Timeline((sees(ONE_MISLED, 16),), on_demand=True),
        alerts=[KMS1_UNWATCHED],
    ),
    case(
        "A host led to loopback and no server answers any more",
        sees(ONE_MISLED, 14),
        sees(_half(TIMEOUT, TIMEOUT), 5),
    ),
]

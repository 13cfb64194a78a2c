"""What DNS servers may say of a zone, and the alerts that this calls for.

A silent case comes beside the firing one that it differs from in a single thing. Waits are counted in
scrapes: an alert with `for: 5m` fires at the sixth minute's.
"""

from dataclasses import replace

from exporter.model import LookupStatus, Record
from tests.alert_promtool import Case, Pace, case, fires
from tests.alert_worlds import (
    DC1,
    DC2,
    GROUP_WITHOUT_MEMBERS,
    ZONE,
    Phase,
    Timeline,
    World,
    Zone,
    down,
    gap,
    hosts,
    records,
    removed,
    repeat,
    sees,
    world,
)

NXDOMAIN = LookupStatus.NXDOMAIN
NODATA = LookupStatus.NODATA
SERVFAIL = LookupStatus.SERVFAIL
REFUSED = LookupStatus.REFUSED
TIMEOUT = LookupStatus.TIMEOUT

KMS1 = records("kms1")
KMS12 = records("kms1", "kms2")
KMS13 = records("kms1", "kms3")
DECLINED = (Record(priority=0, weight=0, port=0, target="."),)
OTHER_ZONE = "emea.contoso.com"
LABELS = {"team": "workplace", "site": "ams"}

HEALTHY = world(KMS12, KMS12)
EMPTY = world(NXDOMAIN, NODATA)
NO_ZONE = World(zones={})
ONE_OF_TWO = world(KMS1, KMS1)
NEXT = "10.0.5.2:11688"


def through_restart(seen: World, scrapes: int = 20) -> tuple[Phase, ...]:
    """See the same before and after a restart of the exporter."""
    return sees(seen, scrapes), down(2), sees(seen, 2)


def zones(**fields: Zone) -> World:
    """Build a world of contoso.com (`own`) and emea.contoso.com (`other`)."""
    return World(zones={{"own": ZONE, "other": OTHER_ZONE}[name]: zone for name, zone in fields.items()})


ALL_GONE = fires(
    "KmsZoneSrvRecordsMissing",
    "_vlmcs._tcp.contoso.com has no SRV record at 10.0.0.10, 10.0.0.11, seen from {job}. New machines "
    "likely fail with 0x8007232B or 0x8007251D, unless activated through Active Directory.",
    dns_zone=ZONE,
)
ALL_GONE_WITH_LABELS = replace(ALL_GONE, labels={"dns_zone": ZONE, **LABELS})
ZONE_RECORDS: list[Case] = [
    case("All records are gone", sees(HEALTHY, 10), sees(EMPTY, 6), alerts=[ALL_GONE]),
    case("All records were gone for less than the wait", sees(HEALTHY, 10), sees(EMPTY, 5)),
    case("All records were gone and came back", sees(EMPTY, 20), sees(HEALTHY, 6)),
    case("All records were gone until just now", sees(EMPTY, 20), sees(HEALTHY, 5), alerts=[ALL_GONE]),
    case(
        "All records are gone, through a restart", sees(EMPTY, 20), down(2), sees(EMPTY, 2), alerts=[ALL_GONE]
    ),
    case("All records are gone, and a scrape", sees(EMPTY, 20), gap(1), sees(EMPTY, 1), alerts=[ALL_GONE]),
    case("All records are gone now and then", *repeat([sees(EMPTY, 5), sees(HEALTHY, 1)], 3), sees(EMPTY, 5)),
    case("A zone never had records", sees(EMPTY, 6), alerts=[ALL_GONE]),
    case("No record is expected and there is none", sees(world(NXDOMAIN, NODATA, expected=[]), 20)),
    case(
        "Records are expected and there are none",
        sees(world(NXDOMAIN, NODATA, expected=hosts("kms1")), 20),
        alerts=[ALL_GONE],
    ),
    case("A zone without records leaves the configuration", sees(EMPTY, 20), sees(NO_ZONE, 6)),
    case(
        "A server without an answer has no say",
        sees(HEALTHY, 10),
        sees(world(NXDOMAIN, TIMEOUT), 6),
        alerts=[
            fires(
                "KmsZoneSrvRecordsMissing",
                "_vlmcs._tcp.contoso.com has no SRV record at 10.0.0.10, seen from {job}. New machines "
                "likely fail with 0x8007232A or 0x8007232B, unless activated through Active Directory.",
                dns_zone=ZONE,
            )
        ],
    ),
    case(
        "The labels of a zone arrive",
        sees(world(NXDOMAIN, NODATA, labels=LABELS), 6),
        alerts=[ALL_GONE_WITH_LABELS],
    ),
    case(
        "Two exporters disagree about the labels of a zone",
        Timeline((sees(world(NXDOMAIN, NODATA, labels=LABELS), 6),)),
        Timeline((sees(world(NXDOMAIN, NODATA, labels={"team": "workplace"}), 6),), NEXT),
        either=(ALL_GONE_WITH_LABELS, replace(ALL_GONE, labels={"dns_zone": ZONE, "team": "workplace"})),
    ),
    case(
        "A zone is only probed on demand",
        Timeline((sees(world(NXDOMAIN, NODATA, labels=LABELS), 6),), on_demand=True),
        alerts=[ALL_GONE],
    ),
    case(
        "Records are gone at one vantage point",
        Timeline((sees(HEALTHY, 20),)),
        Timeline((sees(EMPTY, 20),), view="-branch"),
        alerts=[replace(ALL_GONE, labels={"dns_zone": ZONE, "view": "-branch"})],
    ),
    case("A restart while records are gone begins the wait anew", sees(EMPTY, 4), down(1), sees(EMPTY, 5)),
    case("A scrape gap while records are gone", sees(EMPTY, 2), gap(2), sees(EMPTY, 2), alerts=[ALL_GONE]),
    case(
        "An exporter is replaced while records are gone",
        Timeline((sees(HEALTHY, 10), sees(EMPTY, 3), removed(3))),
        Timeline((sees(EMPTY, 3),), NEXT),
        alerts=[ALL_GONE],
    ),
    case(
        "One of two exporters dies while records are gone",
        Timeline((sees(HEALTHY, 10), sees(EMPTY, 3), down(10))),
        Timeline((sees(HEALTHY, 10), sees(EMPTY, 13)), NEXT),
        alerts=[ALL_GONE],
    ),
]

GONE_AT_DC2 = fires(
    "KmsDnsServerSrvRecordsMissing",
    "10.0.0.11 says that _vlmcs._tcp.contoso.com has no SRV record, seen from {job}; there are at 10.0.0.10 "
    "(2).",
    dns_zone=ZONE,
    dns_server=DC2,
)
SERVER_RECORDS: list[Case] = [
    case(
        "One server lost all records", sees(HEALTHY, 10), sees(world(KMS12, NODATA), 21), alerts=[GONE_AT_DC2]
    ),
    case(
        "One server lacked all records for less than the wait",
        sees(HEALTHY, 10),
        sees(world(KMS12, NODATA), 20),
    ),
    case(
        "One server lost all records of a zone with labels",
        sees(world(KMS12, NODATA, labels=LABELS), 21),
        alerts=[fires("KmsDnsServerSrvRecordsMissing", dns_zone=ZONE, dns_server=DC2, **LABELS)],
    ),
    case("One server fails and another has records", sees(world(KMS12, SERVFAIL), 10)),
    case(
        "One server lacks all records, through a restart",
        *through_restart(world(KMS12, NODATA), 30),
        alerts=[GONE_AT_DC2],
    ),
    case(
        "A server without records leaves the configuration",
        sees(world(KMS12, NODATA), 30),
        sees(world(KMS12), 6),
    ),
    case(
        "One server lacks all records after a restart",
        sees(world(KMS12, NODATA), 15),
        down(1),
        sees(world(KMS12, NODATA), 20),
    ),
    case(
        "One server has a record where none is expected",
        sees(world(KMS1, NODATA, expected=[]), 30),
        alerts=[
            fires(
                "KmsUnexpectedHostPublished",
                "kms1.contoso.com:1688 is published in contoso.com, and the configuration does not expect "
                "it there, seen from {job}. Clients may use it.",
                dns_zone=ZONE,
                target="kms1.contoso.com",
                port="1688",
            )
        ],
    ),
]


def _dead(server: str, status: str, zones_without: int) -> str:
    return (
        f"{server} gives no usable answer for any zone, seen from {{job}} ({status}). Zones without any DNS "
        f"server that answers: {zones_without}."
    )


ONLY_SERVER_DEAD = fires("KmsLastDnsServerDown", _dead(DC1, "timeout for 1", 1), dns_server=DC1)
DC2_DEAD = fires(
    "KmsDnsServerDown",
    "10.0.0.11 gives no usable answer for any zone, seen from {job} (timeout for 1). No zone depends on it, "
    "unless nothing is expected there: the others have another DNS server that answers.",
    dns_server=DC2,
)
IPV6 = "2001:db8::53"
WITH_IPV6_TIMEOUT = zones(own=Zone(servers={DC1: KMS12, IPV6: TIMEOUT}))
STATIC = hosts("kms1")
CLIENTS = {"laptop": (ZONE,)}
DEAD_SERVERS: list[Case] = [
    case("The only server dies", sees(world(KMS12), 10), sees(world(TIMEOUT), 6), alerts=[ONLY_SERVER_DEAD]),
    case("The only server was dead for less than the wait", sees(world(KMS12), 10), sees(world(TIMEOUT), 5)),
    case(
        "The only server is dead, through a restart",
        *through_restart(world(TIMEOUT)),
        alerts=[ONLY_SERVER_DEAD],
    ),
    case(
        "The only server dies that answers for a zone",
        sees(zones(own=Zone(servers={DC1: KMS12, DC2: REFUSED}), other=Zone(servers={DC2: KMS12})), 20),
        sees(zones(own=Zone(servers={DC1: TIMEOUT, DC2: REFUSED}), other=Zone(servers={DC2: KMS12})), 9),
        alerts=[
            ONLY_SERVER_DEAD,
            fires("KmsSrvLookupFailing", dns_zone=ZONE, dns_server=DC2),
        ],
    ),
    case(
        "The only server of a zone where nothing is expected is dead",
        sees(world(TIMEOUT, expected=[]), 11),
        alerts=[fires("KmsDnsServerDown", dns_server=DC1)],
    ),
    case("A server is dead by an address of a family that never worked", sees(WITH_IPV6_TIMEOUT, 30)),
    case(
        "A server is dead by an address of a family that did work",
        sees(zones(own=Zone(servers={DC1: KMS12, IPV6: KMS12})), 2),
        sees(WITH_IPV6_TIMEOUT, 11),
        alerts=[fires("KmsDnsServerDown", dns_server=IPV6)],
    ),
    case("The only server came back", sees(world(TIMEOUT), 20), sees(world(KMS12), 6)),
    case(
        "The only server leaves the configuration with its zone", sees(world(TIMEOUT), 20), sees(NO_ZONE, 6)
    ),
    case(
        "A dead server is replaced in the configuration",
        sees(world(TIMEOUT), 20),
        sees(zones(own=Zone(servers={DC2: KMS12})), 6),
    ),
    case(
        "The only server of many zones dies",
        sees(
            World(
                zones={
                    f"z{number}.contoso.com": Zone(servers={DC1: TIMEOUT if number else REFUSED})
                    for number in range(7)
                },
                hosts=STATIC,
                clients={"laptop": ("z1.contoso.com",)},
            ),
            30,
        ),
        alerts=[fires("KmsLastDnsServerDown", _dead(DC1, "refused for 1, timeout for 6", 7), dns_server=DC1)],
    ),
    case(
        "Both servers die",
        sees(HEALTHY, 10),
        sees(world(TIMEOUT, TIMEOUT), 6),
        alerts=[
            ONLY_SERVER_DEAD,
            fires("KmsLastDnsServerDown", _dead(DC2, "timeout for 1", 1), dns_server=DC2),
        ],
    ),
    case(
        "A dead server is the last one of one zone among others",
        sees(zones(own=Zone(servers={DC1: KMS12, DC2: TIMEOUT}), other=Zone(servers={DC2: TIMEOUT})), 6),
        alerts=[fires("KmsLastDnsServerDown", _dead(DC2, "timeout for 2", 1), dns_server=DC2)],
    ),
    case(
        "One of two exporters reaches the server",
        Timeline((sees(world(TIMEOUT), 20),)),
        Timeline((sees(world(KMS12), 20),), NEXT),
    ),
    case(
        "One of two servers dies",
        sees(world(KMS12, KMS12, hosts=STATIC, clients=CLIENTS), 10),
        sees(world(KMS12, TIMEOUT, hosts=STATIC, clients=CLIENTS), 31),
        alerts=[DC2_DEAD],
    ),
    case(
        "One of two servers was dead for less than the wait",
        sees(HEALTHY, 10),
        sees(world(KMS12, TIMEOUT), 10),
    ),
    case(
        "One of two servers is dead for the wait",
        sees(HEALTHY, 10),
        sees(world(KMS12, TIMEOUT), 11),
        alerts=[DC2_DEAD],
    ),
    case("A dead server leaves the configuration", sees(world(KMS12, TIMEOUT), 20), sees(world(KMS12), 1)),
    case(
        "A dead server and a restart",
        sees(world(KMS12, TIMEOUT), 8),
        down(1),
        sees(world(KMS12, TIMEOUT), 10),
    ),
    case(
        "A dead server of a zone that is probed on demand",
        Timeline((sees(world(KMS12, TIMEOUT), 11),), on_demand=True),
        alerts=[DC2_DEAD],
    ),
]


def _other(own: Zone) -> World:
    """Build a world where another zone is looked up well at both servers."""
    return zones(own=own, other=Zone(servers={DC1: KMS1, DC2: KMS1}))


REFUSED_AT_DC2 = fires(
    "KmsSrvLookupFailing",
    "SRV lookups of _vlmcs._tcp.contoso.com at 10.0.0.11 end in refused, seen from {job}.",
    dns_zone=ZONE,
    dns_server=DC2,
)
PARTLY_REFUSED = _other(Zone(servers={DC1: KMS12, DC2: REFUSED}))
NOWHERE_FOUND = {GROUP_WITHOUT_MEMBERS: SERVFAIL}
LOOKUPS: list[Case] = [
    case("A server refuses one zone", sees(PARTLY_REFUSED, 11), alerts=[REFUSED_AT_DC2]),
    case("A server refused one zone for less than the wait", sees(PARTLY_REFUSED, 10)),
    case(
        "A server fails for one zone and a restart",
        sees(PARTLY_REFUSED, 9),
        down(1),
        sees(PARTLY_REFUSED, 10),
    ),
    case(
        "A refused zone leaves the configuration",
        sees(PARTLY_REFUSED, 20),
        sees(zones(other=Zone(servers={DC1: KMS1})), 1),
    ),
    case(
        "Two exporters are told different things",
        Timeline((sees(PARTLY_REFUSED, 11),)),
        Timeline((sees(_other(Zone(servers={DC1: KMS12, DC2: SERVFAIL})), 11),), NEXT),
        alerts=[
            replace(
                REFUSED_AT_DC2,
                description="SRV lookups of _vlmcs._tcp.contoso.com at 10.0.0.11 end in refused, servfail, "
                "seen from {job}.",
            )
        ],
    ),
    case(
        "A server refuses a zone with labels",
        sees(_other(Zone(servers={DC1: KMS12, DC2: REFUSED}, labels=LABELS)), 11),
        alerts=[fires("KmsSrvLookupFailing", dns_zone=ZONE, dns_server=DC2, **LABELS)],
    ),
    case(
        "The name servers of a zone cannot be found out",
        sees(_other(Zone(servers=NOWHERE_FOUND)), 11),
        alerts=[
            fires("KmsSrvLookupFailing", dns_zone=ZONE, dns_server=GROUP_WITHOUT_MEMBERS),
            fires(
                "KmsZoneWithoutWorkingHost",
                "Clients of contoso.com find no KMS host that works, seen from {job}: dns_failed through "
                "authoritative. New machines likely fail with 0x8007232A, unless activated through Active "
                "Directory.",
                dns_zone=ZONE,
            ),
        ],
    ),
]

DISAGREE = fires(
    "KmsDnsServersDisagree",
    "The authoritative answers for _vlmcs._tcp.contoso.com differ, seen from {job}; records by server: "
    "10.0.0.10 2, 10.0.0.11 1.",
    dns_zone=ZONE,
)
LAGGING = world(KMS12, KMS1)
AGREEMENT: list[Case] = [
    case("Servers disagree", sees(LAGGING, 25), alerts=[DISAGREE], pace=Pace.TENS),
    case("Servers disagreed for less than the wait", sees(LAGGING, 24), pace=Pace.TENS),
    case("Servers disagreed and agree again", sees(LAGGING, 40), sees(HEALTHY, 1), pace=Pace.TENS),
    case("Caches disagree", sees(world(KMS12, KMS1, authoritative=False), 40), pace=Pace.TENS),
    case("Servers disagree about a zone that leaves", sees(LAGGING, 40), sees(NO_ZONE, 1), pace=Pace.TENS),
    case(
        "Servers disagree and the exporter is down",
        sees(LAGGING, 12),
        down(1),
        sees(LAGGING, 24),
        pace=Pace.TENS,
    ),
    case(
        "Servers disagree about a zone with labels",
        sees(world(KMS12, KMS1, labels=LABELS), 25),
        alerts=[fires("KmsDnsServersDisagree", dns_zone=ZONE, **LABELS)],
        pace=Pace.TENS,
    ),
]

"""What may be behind the records, and the alerts that this calls for: hosts, their addresses, their service.

A silent case comes beside the firing one that it differs from in a single thing.
"""

from exporter.model import Host, IgnoredReason, ProbeFailure
from tests.alert_cases_dns import (
    DECLINED,
    HEALTHY,
    KMS1,
    KMS12,
    LABELS,
    NEXT,
    NO_ZONE,
    NXDOMAIN,
    REFUSED,
    TIMEOUT,
    zones,
)
from tests.alert_promtool import Alert, Case, Pace, case, fires
from tests.alert_worlds import (
    DC1,
    DC2,
    ZONE,
    Timeline,
    World,
    Zone,
    down,
    hosts,
    records,
    sees,
    world,
)

KMS1_ADDRESS = "10.1.0.1"
KMS2_ADDRESS = "10.1.0.2"
KMS1_IPV6 = "2001:db8::1"
BOTH_FAMILIES = {"kms1.contoso.com": (KMS1_ADDRESS, KMS1_IPV6)}


def failing(**hosts_down: ProbeFailure) -> dict[str, ProbeFailure]:
    """Say how hosts fail at their usual address: `kms1=...`."""
    return {f"10.1.0.{name.removeprefix('kms')}": failure for name, failure in hosts_down.items()}


def about(name: str, target: str, description: str | None = None, port: str = "1688", **labels: str) -> Alert:
    """Expect an alert about a host of contoso.com."""
    return fires(name, description, target=f"{target}.contoso.com", port=port, **labels)


REFUSES = ProbeFailure.CONNECTION_REFUSED
DROPS = ProbeFailure.TIMEOUT
HUNG = ProbeFailure.RPC_TIMEOUT
FOREIGN = ProbeFailure.INTERFACE_UNKNOWN
NOBODY_LOOKED = ProbeFailure.NOT_ALLOWED

# Until the alerts about each host have waited long enough, too.
ALL_DOWN = world(KMS12, KMS12, failing=failing(kms1=REFUSES, kms2=DROPS))
NO_HOST = fires(
    "KmsZoneWithoutWorkingHost",
    "Clients of contoso.com find no KMS host that works, seen from {job}: port_closed through 10.0.0.10, "
    "port_closed through 10.0.0.11. New machines likely fail with 0xC004F074, unless activated through "
    "Active Directory.",
    dns_zone=ZONE,
)
ONE_SERVER_MISLEADS = World(
    zones={ZONE: Zone(servers={DC1: KMS1, DC2: records("kms2")})}, failing=failing(kms2=REFUSES)
)
NO_WORKING_HOST: list[Case] = [
    case("All hosts are down", sees(HEALTHY, 10), sees(ALL_DOWN, 6), alerts=[NO_HOST]),
    case("All hosts were down for less than the wait", sees(HEALTHY, 10), sees(ALL_DOWN, 5)),
    case(
        "All hosts were down and one is up again",
        sees(ALL_DOWN, 9),
        sees(world(KMS12, failing=failing(kms1=DROPS)), 6),
        alerts=[about("KmsHostDown", "kms1")],
    ),
    case("Through one server there is a host that works", sees(ONE_SERVER_MISLEADS, 9)),
    case(
        "All hosts are down, through a restart",
        sees(ALL_DOWN, 9),
        down(2),
        sees(ALL_DOWN, 2),
        alerts=[NO_HOST],
    ),
    case("A zone without a working host leaves the configuration", sees(ALL_DOWN, 9), sees(NO_ZONE, 6)),
    case("All hosts are down and a restart", sees(ALL_DOWN, 4), down(1), sees(ALL_DOWN, 5)),
    case(
        "All hosts are down where none is expected",
        sees(world(KMS1, expected=[], failing=failing(kms1=REFUSES)), 9),
        alerts=[about("KmsUnexpectedHostPublished", "kms1", dns_zone=ZONE)],
    ),
    case(
        "All hosts of a zone with labels are down",
        sees(world(KMS12, failing=failing(kms1=REFUSES, kms2=DROPS), labels=LABELS), 6),
        alerts=[fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE, **LABELS)],
    ),
    case(
        "All hosts of a zone that is probed on demand are down",
        Timeline((sees(ALL_DOWN, 6),), on_demand=True),
        alerts=[NO_HOST],
    ),
    case(
        "One of two exporters reaches a host",
        Timeline((sees(ALL_DOWN, 20),)),
        Timeline((sees(HEALTHY, 20),), NEXT),
    ),
    case(
        "The service is declined",
        sees(world(DECLINED, DECLINED), 6),
        alerts=[
            fires(
                "KmsZoneWithoutWorkingHost",
                "Clients of contoso.com find no KMS host that works, seen from {job}: srv_declined through "
                "10.0.0.10, srv_declined through 10.0.0.11. New machines likely fail with 0xC004F074, "
                "unless activated through Active Directory.",
                dns_zone=ZONE,
            )
        ],
    ),
    case(
        "One server has no record and another leads nowhere",
        sees(world(NXDOMAIN, KMS1, failing=failing(kms1=HUNG)), 6),
        alerts=[
            fires(
                "KmsZoneWithoutWorkingHost",
                "Clients of contoso.com find no KMS host that works, seen from {job}: srv_missing through "
                "10.0.0.10, kms_silent through 10.0.0.11. New machines likely fail with 0x8007232B or "
                "0xC004F074, unless activated through Active Directory.",
                dns_zone=ZONE,
            )
        ],
    ),
    case(
        "All hosts are down and one server is dead",
        sees(world(KMS12, TIMEOUT, failing=failing(kms1=REFUSES, kms2=REFUSES)), 9),
        alerts=[fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE)],
    ),
    case(
        "Lookups of one zone fail everywhere",
        sees(zones(own=Zone(servers={DC1: REFUSED}), other=Zone(servers={DC1: KMS1})), 9),
        alerts=[fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE)],
    ),
]

KMS2_DOWN = about(
    "KmsHostDown",
    "kms2",
    "No address of kms2.contoso.com takes a connection on port 1688, seen from {job}: 10.1.0.2 "
    "connection_refused. Zones that publish it: contoso.com.",
)
ONE_DOWN = world(KMS12, KMS12, failing=failing(kms2=REFUSES))
ADDRESS = Host(target="10.1.0.9", port=1688)
GONE_AND_DOWN = world(KMS1, KMS1, failing=failing(kms2=DROPS))
HOST_DOWN: list[Case] = [
    case("One of two hosts is down", sees(HEALTHY, 10), sees(ONE_DOWN, 11), alerts=[KMS2_DOWN]),
    case("One of two hosts was down for less than the wait", sees(HEALTHY, 10), sees(ONE_DOWN, 10)),
    case("One of two hosts is up again", sees(ONE_DOWN, 29), sees(HEALTHY, 1)),
    case("One of two hosts is down and a restart", sees(ONE_DOWN, 9), down(1), sees(ONE_DOWN, 10)),
    case("One of two hosts is down and leaves DNS with its zone", sees(ONE_DOWN, 29), sees(NO_ZONE, 1)),
    case(
        "A host vanished and is down",
        sees(HEALTHY, 10),
        sees(GONE_AND_DOWN, 40),
        alerts=[about("KmsSrvRecordGone", "kms2", dns_zone=ZONE)],
    ),
    case(
        "A host that was not expected vanished and is down",
        sees(world(KMS12, KMS12, expected=hosts("kms1")), 1),
        sees(world(KMS1, KMS1, expected=hosts("kms1"), failing=failing(kms2=DROPS)), 40),
    ),
    case(
        "A host that is only expected is down",
        sees(world(KMS1, KMS1, expected=hosts("kms1", "kms2"), failing=failing(kms2=DROPS)), 12),
    ),
    case(
        "One of two exporters reaches the host",
        Timeline((sees(ONE_DOWN, 20),)),
        Timeline((sees(HEALTHY, 20),), NEXT),
    ),
    case(
        "A host is down that is assigned by hand",
        sees(world(KMS1, KMS1, hosts=(ADDRESS,), failing={ADDRESS.target: DROPS}), 11),
        alerts=[
            fires(
                "KmsHostDown",
                "No address of 10.1.0.9 takes a connection on port 1688, seen from {job}: 10.1.0.9 timeout. "
                "Zones that publish it: none, it is assigned by hand.",
                target="10.1.0.9",
                port="1688",
            )
        ],
    ),
    case(
        "A host that is assigned by hand leaves the configuration",
        sees(world(KMS1, KMS1, hosts=(ADDRESS,), failing={ADDRESS.target: DROPS}), 20),
        sees(world(KMS1, KMS1), 1),
    ),
    case(
        "No address of a host takes a connection",
        sees(world(KMS12, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: DROPS, KMS1_IPV6: REFUSES}), 11),
        alerts=[
            about(
                "KmsHostDown",
                "kms1",
                "No address of kms1.contoso.com takes a connection on port 1688, seen from {job}: 10.1.0.1 "
                "timeout, 2001:db8::1 connection_refused. Zones that publish it: contoso.com.",
            )
        ],
    ),
]

SILENT = world(KMS12, failing=failing(kms2=HUNG))
NOT_KMS = world(KMS12, failing=failing(kms2=FOREIGN))
KMS2_SILENT = about(
    "KmsServiceSilent",
    "kms2",
    "kms2.contoso.com:1688 takes connections and gives no useful answer to an RPC bind, seen from {job}: "
    "10.1.0.2 rpc_timeout.",
)
KMS2_FOREIGN = about(
    "KmsPortNotKms",
    "kms2",
    "kms2.contoso.com:1688 answers, but not as KMS, seen from {job}: 10.1.0.2 interface_unknown.",
)


def _both(first: ProbeFailure, second: ProbeFailure) -> World:
    """Let kms1 fail differently at its two addresses, beside kms2 that works."""
    return world(KMS12, addresses=BOTH_FAMILIES, failing={KMS1_ADDRESS: first, KMS1_IPV6: second})


SERVICE: list[Case] = [
    case("A service is silent", sees(SILENT, 11), alerts=[KMS2_SILENT]),
    case("A service was silent for less than the wait", sees(SILENT, 10)),
    case("A service answers again", sees(SILENT, 29), sees(HEALTHY, 1)),
    case("A silent service and a restart", sees(SILENT, 9), down(1), sees(SILENT, 10)),
    case("A silent host leaves the configuration", sees(SILENT, 29), sees(NO_ZONE, 1)),
    case(
        "A service was silent and is dead",
        sees(SILENT, 9),
        sees(world(KMS12, failing=failing(kms2=REFUSES)), 9),
    ),
    case("Something else answers", sees(NOT_KMS, 11), alerts=[KMS2_FOREIGN]),
    case("Something else answered for less than the wait", sees(NOT_KMS, 10)),
    case("Something else answers and a restart", sees(NOT_KMS, 9), down(1), sees(NOT_KMS, 10)),
    case("A host that is not KMS leaves the configuration", sees(NOT_KMS, 29), sees(NO_ZONE, 1)),
    case(
        "One address is silent and one dead",
        sees(_both(HUNG, DROPS), 11),
        alerts=[about("KmsServiceSilent", "kms1")],
    ),
    case(
        "One address is silent and one foreign",
        sees(_both(HUNG, FOREIGN), 11),
        alerts=[about("KmsPortNotKms", "kms1")],
    ),
    case(
        "One address is dead and one foreign",
        sees(_both(DROPS, FOREIGN), 11),
        alerts=[about("KmsPortNotKms", "kms1")],
    ),
]

DUAL = world(KMS1, addresses=BOTH_FAMILIES)
IPV6_DEAD = world(KMS1, addresses=BOTH_FAMILIES, failing={KMS1_IPV6: DROPS})
IPV6_REFUSES = world(KMS1, addresses=BOTH_FAMILIES, failing={KMS1_IPV6: REFUSES})
IPV6_EXCLUDED = world(KMS1, addresses=BOTH_FAMILIES, left_out={KMS1_IPV6: IgnoredReason.NOT_ALLOWED})
IPV6_DOWN = about(
    "KmsHostAddressDown",
    "kms1",
    "kms1.contoso.com:1688 does not work on 2001:db8::1 (timeout), and does on another address, seen from "
    "{job}. Clients that try it first are slow to activate.",
    address=KMS1_IPV6,
)
ADDRESS_DOWN: list[Case] = [
    case("An address dies", sees(DUAL, 10), sees(IPV6_DEAD, 31), alerts=[IPV6_DOWN]),
    case("An address was dead for less than the wait", sees(DUAL, 10), sees(IPV6_DEAD, 30)),
    case("An address is back", sees(DUAL, 5), sees(IPV6_DEAD, 40), sees(DUAL, 1)),
    case("A family of addresses never worked", sees(IPV6_DEAD, 40)),
    case("An address may not be probed any more", sees(DUAL, 10), sees(IPV6_EXCLUDED, 40)),
    case(
        "A family of addresses worked before a restart",
        sees(DUAL, 10),
        down(5),
        sees(IPV6_DEAD, 31),
        alerts=[IPV6_DOWN],
    ),
    case(
        "An address is dead and a restart", sees(DUAL, 10), sees(IPV6_DEAD, 29), down(1), sees(IPV6_DEAD, 30)
    ),
    case(
        "A host with a dead address leaves the configuration",
        sees(DUAL, 9),
        sees(IPV6_DEAD, 40),
        sees(NO_ZONE, 1),
    ),
    case(
        "Two exporters fail differently at an address",
        Timeline((sees(DUAL, 10), sees(IPV6_DEAD, 31))),
        Timeline((sees(DUAL, 10), sees(IPV6_REFUSES, 31)), NEXT),
        alerts=[
            about(
                "KmsHostAddressDown",
                "kms1",
                "kms1.contoso.com:1688 does not work on 2001:db8::1 (connection_refused, timeout), and does "
                "on another address, seen from {job}. Clients that try it first are slow to activate.",
                address=KMS1_IPV6,
            )
        ],
    ),
    case(
        "Another host works by that family",
        sees(
            world(
                KMS12,
                addresses=BOTH_FAMILIES | {"kms2.contoso.com": ("2001:db8::2",)},
                failing={KMS1_IPV6: DROPS},
            ),
            31,
        ),
        alerts=[IPV6_DOWN],
    ),
    case(
        "The family worked six days ago",
        sees(DUAL, 2),
        sees(IPV6_DEAD, 144),
        alerts=[IPV6_DOWN],
        pace=Pace.HOURS,
    ),
    case("The family worked more than a week ago", sees(DUAL, 2), sees(IPV6_DEAD, 170), pace=Pace.HOURS),
]

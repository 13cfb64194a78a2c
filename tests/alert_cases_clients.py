"""What clients meet on their way to a host, and the alerts that this calls for.

A silent case comes beside the firing one that it differs from in a single thing.
"""

from collections.abc import Iterable
from dataclasses import replace

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
    TIMEOUT,
)
from tests.alert_cases_hosts import DROPS, KMS1_ADDRESS, NOBODY_LOOKED, REFUSES, about, failing
from tests.alert_promtool import Alert, Case, Pace, case, fires
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
    removed,
    repeat,
    sees,
    world,
)

UNRESOLVED = {(DC2, "kms2.contoso.com"): LookupStatus.NXDOMAIN}
STALE_AT_DC2 = world(KMS12, KMS12, unresolved=UNRESOLVED)
REFUSED_AT_DC2 = world(KMS12, KMS12, unresolved={(DC2, "kms2.contoso.com"): LookupStatus.REFUSED})
NO_ADDRESS = fires(
    "KmsTargetUnresolvable",
    "10.0.0.11 does not resolve kms2.contoso.com (nxdomain), seen from {job}.",
    target="kms2.contoso.com",
    dns_server=DC2,
)
TARGETS: list[Case] = [
    case("A target has no address", sees(STALE_AT_DC2, 11), alerts=[NO_ADDRESS]),
    case("A target had no address for less than the wait", sees(STALE_AT_DC2, 10)),
    case("A target has an address again", sees(STALE_AT_DC2, 29), sees(HEALTHY, 1)),
    case("A target without an address and a restart", sees(STALE_AT_DC2, 9), down(1), sees(STALE_AT_DC2, 10)),
    case("A target without an address leaves the configuration", sees(STALE_AT_DC2, 29), sees(NO_ZONE, 1)),
    case(
        "A target cannot be resolved at a dead server",
        sees(HEALTHY, 1),
        sees(world(KMS12, TIMEOUT), 11),
        alerts=[DC2_DEAD],
    ),
    case(
        "A target without an address that is only expected",
        sees(world(KMS1, KMS1, expected=hosts("kms1", "kms2"), unresolved=UNRESOLVED), 12),
    ),
    case(
        "One of two exporters resolves the target",
        Timeline((sees(STALE_AT_DC2, 20),)),
        Timeline((sees(HEALTHY, 20),), NEXT),
    ),
    case(
        "Two exporters are told different reasons for a target",
        Timeline((sees(STALE_AT_DC2, 11),)),
        Timeline((sees(REFUSED_AT_DC2, 11),), NEXT),
        alerts=[
            replace(
                NO_ADDRESS,
                description="10.0.0.11 does not resolve kms2.contoso.com (nxdomain, refused), seen from "
                "{job}.",
            )
        ],
    ),
    case(
        "A host that is assigned by hand has no address",
        sees(world(KMS1, KMS1, hosts=hosts("kms2"), unresolved=UNRESOLVED), 11),
        alerts=[NO_ADDRESS],
    ),
]

HALF = world(KMS12, failing=failing(kms2=DROPS))
FOUR = records("kms1", "kms2", "kms3", "kms4")
FIRST_HALF = fires(
    "KmsFirstAttemptsFailing",
    "Of the clients of contoso.com that use 10.0.0.10, 50% reach a KMS host at their first attempt, seen "
    "from {job}; the others have to wait and try again.",
    dns_zone=ZONE,
    dns_server=DC1,
)
FIRST_ATTEMPTS: list[Case] = [
    case(
        "Half of the first attempts fail", sees(HALF, 31), alerts=[FIRST_HALF, about("KmsHostDown", "kms2")]
    ),
    case(
        "Half of the first attempts failed for less than the wait",
        sees(HALF, 30),
        alerts=[about("KmsHostDown", "kms2")],
    ),
    case("Half of the first attempts failed until now", sees(HALF, 40), sees(HEALTHY, 1)),
    case("Half of the first attempts fail after a restart", sees(HALF, 25), down(1), sees(HALF, 9)),
    case(
        "A quarter of the first attempts fail",
        sees(world(FOUR, failing=failing(kms4=DROPS)), 40),
        alerts=[about("KmsHostDown", "kms4")],
    ),
    case("A zone where attempts fail leaves the configuration", sees(HALF, 40), sees(NO_ZONE, 1)),
    case(
        "One of two exporters reaches both hosts",
        Timeline((sees(HALF, 40),)),
        Timeline((sees(world(KMS12), 40),), NEXT),
    ),
    case(
        "All of the attempts fail",
        sees(world(KMS1, failing=failing(kms1=DROPS)), 40),
        alerts=[fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE), about("KmsHostDown", "kms1")],
    ),
    case(
        "Half of the first attempts fail in a zone with labels",
        sees(world(KMS12, failing=failing(kms2=DROPS), labels=LABELS), 31),
        alerts=[
            fires("KmsFirstAttemptsFailing", dns_zone=ZONE, dns_server=DC1, **LABELS),
            about("KmsHostDown", "kms2"),
        ],
    ),
]

LOOPBACK = "127.0.0.1"
LAPTOP = {"laptop": (ZONE,)}
ROAMING = {"laptop": (ZONE, OTHER_ZONE)}
UNSERVED = world(NXDOMAIN, KMS1, clients=LAPTOP, expected=[])
NOTHING_FOR_LAPTOPS = fires(
    "KmsClientProfileUnserved",
    "Clients of the kind laptop that use 10.0.0.10 meet srv_missing, seen from {job}.",
    client="laptop",
    dns_server=DC1,
)
KMS1_UNEXPECTED = about("KmsUnexpectedHostPublished", "kms1", dns_zone=ZONE)


def _roaming(second: Zone) -> World:
    """Let laptops search a zone where nothing is, and then another one."""
    return World(
        zones={ZONE: Zone(servers={DC1: NXDOMAIN}, expected=()), OTHER_ZONE: second}, clients=ROAMING
    )


def _in_trouble(failure: ProbeFailure) -> World:
    """Let the only host of laptops fail, in a zone that has no other alert for that."""
    return world(KMS1, clients=LAPTOP, expected=[], failing=failing(kms1=failure))


def _astray(
    said: Answer = KMS1, *, configured: bool = False, expected: Iterable[Host] | None = None
) -> World:
    """Let the only host of laptops lead to loopback, in a suffix that is a zone too or is not."""
    hosts_expected = None if expected is None else tuple(expected)
    suffix = Zone(servers={DC1: said}, configured=configured, expected=hosts_expected)
    return World(
        zones={ZONE: suffix, OTHER_ZONE: Zone(servers={DC1: records("kms2")})},
        addresses={"kms1.contoso.com": (LOOPBACK,)},
        left_out={LOOPBACK: IgnoredReason.NOT_ALLOWED},
        clients=LAPTOP,
    )


NOBODY_KNOWS = replace(
    NOTHING_FOR_LAPTOPS,
    description="Clients of the kind laptop that use 10.0.0.10 meet unknown (the exporter may not connect to "
    "where DNS leads them), seen from {job}.",
)
CLIENTS: list[Case] = [
    case("Clients are unserved", sees(UNSERVED, 11), alerts=[NOTHING_FOR_LAPTOPS, KMS1_UNEXPECTED]),
    case("Clients were unserved for less than the wait", sees(UNSERVED, 10), alerts=[KMS1_UNEXPECTED]),
    case(
        "Clients are unserved and a restart",
        sees(UNSERVED, 9),
        down(1),
        sees(UNSERVED, 10),
        alerts=[KMS1_UNEXPECTED],
    ),
    case(
        "Clients are served again",
        sees(UNSERVED, 29),
        sees(world(KMS1, KMS1, clients=LAPTOP), 1),
    ),
    case(
        "Clients leave the configuration", sees(UNSERVED, 29), sees(world(NXDOMAIN, NXDOMAIN, expected=[]), 1)
    ),
    case(
        "Clients find a host in no suffix",
        sees(_roaming(Zone(servers={DC1: NXDOMAIN}, expected=())), 11),
        alerts=[NOTHING_FOR_LAPTOPS],
    ),
    case("Clients find a host in their second suffix", sees(_roaming(Zone(servers={DC1: KMS1})), 20)),
    case(
        "Nobody could look for the clients",
        sees(world(KMS1, clients=LAPTOP, failing=failing(kms1=NOBODY_LOOKED)), 15),
    ),
    case(
        "Clients are led to loopback in a suffix that is no zone", sees(_astray(), 11), alerts=[NOBODY_KNOWS]
    ),
    case("Clients were led to loopback for less than the wait", sees(_astray(), 10)),
    case(
        "Clients are led to loopback in a suffix that is a zone",
        sees(_astray(configured=True), 16),
        alerts=[fires("KmsZoneNotWatched", dns_zone=ZONE)],
    ),
    case(
        "Clients are led to loopback in a zone that expects no host",
        sees(_astray(configured=True, expected=[]), 16),
        alerts=[NOBODY_KNOWS, KMS1_UNEXPECTED],
    ),
    case("Clients are led to a host that works beside loopback", sees(_astray(KMS12), 16)),
    case("No suffix of the clients can be looked up", sees(_astray(LookupStatus.LOCAL_ERROR), 16)),
    case(
        "The only host of clients, in a suffix that is no zone, cannot be probed for want of means",
        sees(replace(_astray(), left_out={}, failing={LOOPBACK: ProbeFailure.LOCAL_ERROR}), 16),
        alerts=[fires("KmsExporterLocalErrors")],
    ),
    case(
        "Clients are led to loopback, and one of two exporters may go there",
        Timeline((sees(_astray(), 20),)),
        Timeline((sees(replace(_astray(), left_out={}), 20),), NEXT),
    ),
    case(
        "Two exporters find different trouble for the clients",
        Timeline((sees(_in_trouble(DROPS), 11),)),
        Timeline((sees(_in_trouble(REFUSES), 11),), NEXT),
        alerts=[
            replace(
                NOTHING_FOR_LAPTOPS,
                description="Clients of the kind laptop that use 10.0.0.10 meet port_closed, port_filtered, "
                "seen from {job}.",
            ),
            about("KmsHostDown", "kms1"),
            KMS1_UNEXPECTED,
        ],
    ),
    case(
        "One of two exporters finds a host for the clients",
        Timeline((sees(world(KMS1, clients=LAPTOP, failing=failing(kms1=DROPS)), 20),)),
        Timeline((sees(world(KMS1, clients=LAPTOP), 20),), NEXT),
    ),
]


def _handshake(milliseconds: float) -> World:
    return world(KMS1, handshake_seconds={KMS1_ADDRESS: milliseconds / 1000})


def _slow(description: str | None = None) -> Alert:
    return about("KmsHandshakeSlow", "kms1", description, address=KMS1_ADDRESS)


HANDSHAKE: list[Case] = [
    case(
        "Handshakes are slow",
        sees(_handshake(4), 20),
        sees(_handshake(40), 3),
        alerts=[
            _slow(
                "The handshake with kms1.contoso.com:1688 at 10.1.0.1 takes 40ms, more than three times its "
                "median of the day before, seen from {job}."
            )
        ],
        pace=Pace.TENS,
    ),
    case(
        "Handshakes were slow for less than the wait",
        sees(_handshake(4), 20),
        sees(_handshake(40), 2),
        pace=Pace.TENS,
    ),
    case(
        "Handshakes were slow",
        sees(_handshake(4), 20),
        sees(_handshake(40), 5),
        sees(_handshake(4), 3),
        pace=Pace.TENS,
    ),
    case("Handshakes are slower by little", sees(_handshake(2), 20), sees(_handshake(11), 5), pace=Pace.TENS),
    case("Handshakes take twice as long", sees(_handshake(40), 20), sees(_handshake(100), 5), pace=Pace.TENS),
    case("Handshakes always were slow", sees(_handshake(40), 25), pace=Pace.TENS),
    case(
        "Handshakes are slow at the beginning",
        sees(_handshake(4), 5),
        sees(_handshake(40), 5),
        pace=Pace.TENS,
    ),
    case(
        "A slow host leaves the configuration",
        sees(_handshake(4), 20),
        sees(_handshake(40), 5),
        sees(NO_ZONE, 1),
        pace=Pace.TENS,
    ),
    case(
        "Handshakes are slow after a restart",
        sees(_handshake(4), 20),
        down(1),
        sees(_handshake(40), 5),
        alerts=[_slow()],
        pace=Pace.TENS,
    ),
    case(
        "Handshakes are slow from the exporter's successor",
        Timeline((sees(_handshake(4), 20), removed(5))),
        Timeline((sees(_handshake(40), 5),), NEXT),
        alerts=[_slow()],
        pace=Pace.TENS,
    ),
]

CLEAN = world(KMS1)
LOSSY = world(KMS1, retransmits={KMS1_ADDRESS: 1})
LOSSES = about(
    "KmsHandshakeSynLoss",
    "kms1",
    "50% of the SYNs to kms1.contoso.com:1688 at 10.1.0.1 within an hour were sent again, seen from {job}.",
    address=KMS1_ADDRESS,
)
REBOOTS = world(KMS1, failing={KMS1_ADDRESS: DROPS}, retransmits={KMS1_ADDRESS: 2})
SYN_LOSS: list[Case] = [
    case("Every second SYN is lost", sees(LOSSY, 80), alerts=[LOSSES]),
    case(
        "SYNs begin to be lost",
        sees(CLEAN, 60),
        sees(LOSSY, 25),
        alerts=[about("KmsHandshakeSynLoss", "kms1", address=KMS1_ADDRESS)],
    ),
    case("SYNs were lost for less than the wait", sees(CLEAN, 60), sees(LOSSY, 17)),
    case(
        "One SYN in eleven is lost",
        *repeat([sees(CLEAN, 9), sees(LOSSY, 1)], 9),
        alerts=[about("KmsHandshakeSynLoss", "kms1", address=KMS1_ADDRESS)],
    ),
    case("One SYN in thirty-one is lost", *repeat([sees(CLEAN, 29), sees(LOSSY, 1)], 3)),
    case(
        "SYNs were lost before a restart too",
        sees(LOSSY, 50),
        down(2),
        sees(LOSSY, 30),
        alerts=[about("KmsHandshakeSynLoss", "kms1", address=KMS1_ADDRESS)],
    ),
    case(
        "A port is filtered and loses every SYN",
        sees(world(KMS1, failing={KMS1_ADDRESS: DROPS}, retransmits={KMS1_ADDRESS: 2}), 9),
        sees(CLEAN, 60),
    ),
    case("An endpoint where SYNs were lost leaves the configuration", sees(LOSSY, 80), sees(NO_ZONE, 5)),
    case("A host was away for four minutes", sees(CLEAN, 40), sees(REBOOTS, 4), sees(CLEAN, 30)),
]

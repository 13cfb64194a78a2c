"""Records that go, change, are missing or were not asked for, and the alerts that this calls for.

Records are told apart by target and port. What was there before comes from Prometheus' own history, so an
exporter that begins anew changes nothing.
"""

from dataclasses import replace

from exporter.model import ProbeFailure
from tests.alert_cases_dns import (
    DECLINED,
    HEALTHY,
    KMS1,
    KMS12,
    KMS13,
    LABELS,
    NEXT,
    NO_ZONE,
    ONE_OF_TWO,
    SERVFAIL,
)
from tests.alert_promtool import Case, Pace, case, fires
from tests.alert_worlds import ZONE, Timeline, down, gap, hosts, records, removed, sees, world

KMS2_GONE = fires(
    "KmsSrvRecordGone",
    "The record of kms2.contoso.com:1688 in contoso.com is gone, seen from {job}, at 10.0.0.10, 10.0.0.11. "
    "Others are left in the zone.",
    dns_zone=ZONE,
    target="kms2.contoso.com",
    port="1688",
)
KMS2_GONE_ON_DC2 = replace(
    KMS2_GONE,
    description="The record of kms2.contoso.com:1688 in contoso.com is gone, seen from {job}, at 10.0.0.11. "
    "Others are left in the zone.",
)
RECORD_GONE: list[Case] = [
    case("One of two records is gone", sees(HEALTHY, 10), sees(ONE_OF_TWO, 6), alerts=[KMS2_GONE]),
    case("One of two records was gone for less than the wait", sees(HEALTHY, 10), sees(ONE_OF_TWO, 5)),
    case(
        "One of two records was gone and came back", sees(HEALTHY, 10), sees(ONE_OF_TWO, 9), sees(HEALTHY, 1)
    ),
    case("A record was never there", sees(ONE_OF_TWO, 20)),
    case("A record is new", sees(ONE_OF_TWO, 10), sees(HEALTHY, 10)),
    case(
        "One of two records is gone at one server",
        sees(HEALTHY, 10),
        sees(world(KMS12, KMS1), 6),
        alerts=[KMS2_GONE_ON_DC2],
    ),
    case(
        "An expected record is gone at one server",
        sees(world(KMS12, KMS12, expected=hosts("kms1", "kms2")), 10),
        sees(world(KMS12, KMS1, expected=hosts("kms1", "kms2")), 6),
        alerts=[KMS2_GONE_ON_DC2],
    ),
    case(
        "A record that nobody expects is gone at one server",
        sees(world(KMS12, KMS12, expected=hosts("kms1")), 10),
        sees(world(KMS12, KMS1, expected=hosts("kms1")), 6),
        alerts=[fires("KmsUnexpectedHostPublished", dns_zone=ZONE, target="kms2.contoso.com", port="1688")],
    ),
    case(
        "A record went while the exporter was away",
        sees(HEALTHY, 10),
        down(3),
        sees(ONE_OF_TWO, 6),
        alerts=[KMS2_GONE],
    ),
    case(
        "A record went while the exporter was replaced",
        Timeline((sees(HEALTHY, 10), removed(9))),
        Timeline((sees(ONE_OF_TWO, 6),), NEXT),
        alerts=[KMS2_GONE],
    ),
    case(
        "A record went in a scrape gap",
        sees(HEALTHY, 10),
        gap(6),
        sees(ONE_OF_TWO, 6),
        alerts=[KMS2_GONE],
    ),
    case(
        "A record of a zone that is probed on demand is gone",
        Timeline((sees(HEALTHY, 10), sees(ONE_OF_TWO, 6)), on_demand=True),
        alerts=[KMS2_GONE],
    ),
    case(
        "One of two exporters does not see the record that is gone elsewhere",
        Timeline((sees(HEALTHY, 20),)),
        Timeline((sees(HEALTHY, 10), sees(ONE_OF_TWO, 10)), NEXT),
    ),
    case(
        "A record of a zone with labels is gone",
        sees(world(KMS12, KMS12, labels=LABELS), 10),
        sees(world(KMS1, KMS1, labels=LABELS), 6),
        alerts=[fires("KmsSrvRecordGone", dns_zone=ZONE, target="kms2.contoso.com", port="1688", **LABELS)],
    ),
    case(
        "A record is gone at one server and lookups fail at the other",
        sees(HEALTHY, 10),
        sees(world(SERVFAIL, KMS1), 6),
        alerts=[KMS2_GONE_ON_DC2],
    ),
    case("Lookups fail and no record is gone", sees(HEALTHY, 10), sees(world(SERVFAIL, KMS12), 9)),
    case(
        "A server with more records leaves the configuration",
        sees(world(KMS1, KMS12), 10),
        sees(world(KMS1), 9),
    ),
    case("A zone leaves the configuration", sees(HEALTHY, 10), sees(NO_ZONE, 9)),
    case(
        "A record is gone that was expected",
        sees(world(KMS12, KMS12, expected=hosts("kms1", "kms2")), 10),
        sees(world(KMS1, KMS1, expected=hosts("kms1", "kms2")), 9),
    ),
    case(
        "A record is gone and the exporter leaves Prometheus' configuration",
        Timeline((sees(HEALTHY, 10), sees(ONE_OF_TWO, 9), removed(4))),
    ),
    case(
        "A record went most of a day ago",
        sees(HEALTHY, 5),
        sees(ONE_OF_TWO, 143),
        alerts=[KMS2_GONE],
        pace=Pace.TENS,
    ),
    case("A record went more than a day ago", sees(HEALTHY, 5), sees(ONE_OF_TWO, 146), pace=Pace.TENS),
]

KMS2_CHANGED = fires(
    "KmsSrvRecordChanged",
    "kms2.contoso.com:1688 is no longer published in contoso.com, and another host is in its place, seen "
    "from {job}. Now published: kms1.contoso.com:1688, kms3.contoso.com:1688.",
    dns_zone=ZONE,
    target="kms2.contoso.com",
    port="1688",
)
NO_HOST = fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE)
OTHER_PORT = world(records("kms1", "kms2:1689"), records("kms1", "kms2:1689"))
RECORD_CHANGED: list[Case] = [
    case("A record was replaced", sees(HEALTHY, 10), sees(world(KMS13, KMS13), 6), alerts=[KMS2_CHANGED]),
    case("A record was replaced for less than the wait", sees(HEALTHY, 10), sees(world(KMS13, KMS13), 5)),
    case(
        "A record was replaced and came back",
        sees(HEALTHY, 10),
        sees(world(KMS13, KMS13), 3),
        sees(HEALTHY, 3),
    ),
    case(
        "A record has another port",
        sees(HEALTHY, 10),
        sees(OTHER_PORT, 6),
        alerts=[
            replace(
                KMS2_CHANGED,
                description="kms2.contoso.com:1688 is no longer published in contoso.com, and another host "
                "is in its place, seen from {job}. Now published: kms1.contoso.com:1688, "
                "kms2.contoso.com:1689.",
            )
        ],
    ),
    case("A service was declined and is there", sees(world(DECLINED), 10), sees(world(KMS1), 9)),
    case("A service is declined", sees(world(KMS1), 10), sees(world(DECLINED), 9), alerts=[NO_HOST]),
    case(
        "A record has another weight",
        sees(HEALTHY, 10),
        sees(world(*[tuple(each._replace(weight=5) for each in KMS12)] * 2), 20),
    ),
    case(
        "A record changed while the exporter was away",
        sees(HEALTHY, 10),
        down(3),
        sees(world(KMS13, KMS13), 6),
        alerts=[KMS2_CHANGED],
    ),
    case(
        "A record changed where others are expected",
        sees(world(KMS12, KMS12, expected=hosts("kms1", "kms3")), 10),
        sees(world(KMS13, KMS13, expected=hosts("kms1", "kms3")), 6),
    ),
    case(
        "A record of a zone with labels was replaced",
        sees(world(KMS12, KMS12, labels=LABELS), 10),
        sees(world(KMS13, KMS13, labels=LABELS), 6),
        alerts=[
            fires("KmsSrvRecordChanged", dns_zone=ZONE, target="kms2.contoso.com", port="1688", **LABELS)
        ],
    ),
    case(
        "A record was replaced more than a day ago",
        sees(HEALTHY, 5),
        sees(world(KMS13, KMS13), 146),
        pace=Pace.TENS,
    ),
    case(
        "A record was replaced most of a day ago",
        sees(HEALTHY, 5),
        sees(world(KMS13, KMS13), 143),
        alerts=[KMS2_CHANGED],
        pace=Pace.TENS,
    ),
]

EXPECTED = hosts("kms1", "kms2")
KMS2_MISSING = fires(
    "KmsExpectedHostMissing",
    "kms2.contoso.com:1688 is expected in contoso.com, and no DNS server publishes it, seen from {job}. The "
    "host itself answers: the record is gone, the host is not.",
    dns_zone=ZONE,
    target="kms2.contoso.com",
    port="1688",
)
LACKS_KMS2 = world(KMS1, KMS1, expected=EXPECTED)
HAS_BOTH = world(KMS12, KMS12, expected=EXPECTED)
EXPECTED_HOSTS: list[Case] = [
    case("An expected host is missing", sees(HAS_BOTH, 10), sees(LACKS_KMS2, 16), alerts=[KMS2_MISSING]),
    case("An expected host was missing for less than the wait", sees(HAS_BOTH, 10), sees(LACKS_KMS2, 15)),
    case("An expected host is back", sees(LACKS_KMS2, 30), sees(HAS_BOTH, 1)),
    case("An expected host was never there", sees(LACKS_KMS2, 16), alerts=[KMS2_MISSING]),
    case("An expected host is published by one server", sees(world(KMS12, KMS1, expected=EXPECTED), 30)),
    case(
        "An expected host is missing and down",
        sees(world(KMS1, KMS1, expected=EXPECTED, failing={"10.1.0.2": ProbeFailure.TIMEOUT}), 40),
        alerts=[
            replace(
                KMS2_MISSING,
                description="kms2.contoso.com:1688 is expected in contoso.com, and no DNS server publishes "
                "it, seen from {job}. The host itself does not answer either.",
            )
        ],
    ),
    case(
        "A missing host is expected no longer",
        sees(LACKS_KMS2, 30),
        sees(world(KMS1, KMS1, expected=hosts("kms1")), 1),
    ),
    case("A missing host and a restart", sees(LACKS_KMS2, 14), down(1), sees(LACKS_KMS2, 15)),
    case(
        "An expected host of a zone with labels is missing",
        sees(world(KMS1, KMS1, expected=EXPECTED, labels=LABELS), 16),
        alerts=[
            fires("KmsExpectedHostMissing", dns_zone=ZONE, target="kms2.contoso.com", port="1688", **LABELS),
        ],
    ),
    case(
        "An expected host is missing where lookups fail",
        sees(HAS_BOTH, 10),
        sees(world(SERVFAIL, KMS12, expected=EXPECTED), 10),
    ),
    case(
        "An expected host of a zone that is probed on demand is missing",
        Timeline((sees(LACKS_KMS2, 16),), on_demand=True),
        alerts=[KMS2_MISSING],
    ),
]

KMS3_UNEXPECTED = fires(
    "KmsUnexpectedHostPublished",
    "kms3.contoso.com:1688 is published in contoso.com, and the configuration does not expect it there, "
    "seen from {job}. Clients may use it.",
    dns_zone=ZONE,
    target="kms3.contoso.com",
    port="1688",
)
ROGUE = world(KMS13, KMS1, expected=hosts("kms1"))
UNEXPECTED_HOSTS: list[Case] = [
    case("An unexpected host is published", sees(ROGUE, 2), alerts=[KMS3_UNEXPECTED]),
    case("An unexpected host was published for less than the wait", sees(ROGUE, 1)),
    case(
        "An unexpected host is gone again", sees(ROGUE, 9), sees(world(KMS1, KMS1, expected=hosts("kms1")), 1)
    ),
    case(
        "An unexpected host is expected from now on",
        sees(ROGUE, 9),
        sees(world(KMS13, KMS1, expected=hosts("kms1", "kms3")), 1),
    ),
    case("Nobody said what is expected", sees(world(KMS13, KMS1), 9)),
    case("An unexpected host and a restart", sees(ROGUE, 1), down(1), sees(ROGUE, 1)),
    case(
        "An unexpected host is published where none is expected",
        sees(world(records("kms3"), records("kms3"), expected=[]), 2),
        alerts=[KMS3_UNEXPECTED],
    ),
    case(
        "An expected host has another port",
        sees(world(records("kms1:1689"), expected=hosts("kms1")), 2),
        alerts=[fires("KmsUnexpectedHostPublished", dns_zone=ZONE, target="kms1.contoso.com", port="1689")],
    ),
    case(
        "A service that is declined where none is expected", sees(world(DECLINED, DECLINED, expected=[]), 30)
    ),
    case(
        "A service that is declined where a host is expected",
        sees(world(DECLINED, DECLINED, expected=hosts("kms1")), 5),
    ),
    case(
        "An unexpected host in a zone with labels",
        sees(world(KMS13, KMS1, expected=hosts("kms1"), labels=LABELS), 2),
        alerts=[
            fires(
                "KmsUnexpectedHostPublished", dns_zone=ZONE, target="kms3.contoso.com", port="1688", **LABELS
            )
        ],
    ),
    case(
        "One of two exporters expects the host already",
        Timeline((sees(ROGUE, 9),)),
        Timeline((sees(world(KMS13, KMS1, expected=hosts("kms1", "kms3")), 9),), NEXT),
    ),
]

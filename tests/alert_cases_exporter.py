"""What may become of the exporter and of error budgets, and every alert that one cause calls for.

The table of causes has one trouble in each case and every alert that comes of it, error budgets too: so many
notifications does a person get, before Alertmanager inhibits some, and at most one of them is a page.
"""

from dataclasses import replace

from exporter.model import LookupStatus, ProbeFailure
from tests.alert_cases_dns import (
    ALL_GONE,
    DC2_DEAD,
    EMPTY,
    GONE_AT_DC2,
    HEALTHY,
    KMS1,
    KMS12,
    KMS13,
    LABELS,
    NEXT,
    NO_ZONE,
    NODATA,
    NXDOMAIN,
    ONE_OF_TWO,
    TIMEOUT,
    zones,
)
from tests.alert_cases_hosts import (
    ADDRESS,
    ALL_DOWN,
    BOTH_FAMILIES,
    DROPS,
    FOREIGN,
    HUNG,
    IPV6_DOWN,
    KMS1_IPV6,
    NO_HOST,
    REFUSES,
    about,
    failing,
)
from tests.alert_cases_unwatched import (
    KMS1_UNWATCHED,
    MISLED,
    ONE_MISLED,
    OUT_OF_BOUNDS,
    UNWATCHED,
    refused,
    too_many,
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
    gap,
    hosts,
    records,
    removed,
    repeat,
    sees,
    wedged,
    world,
)

NOBODY_THERE = fires(
    "KmsExporterDown",
    "Prometheus gets no metrics from any exporter of the job {job}. Outages of KMS go unseen from there.",
)
EXPORTER_DOWN: list[Case] = [
    case("The exporter is down", sees(HEALTHY, 10), down(6), alerts=[NOBODY_THERE]),
    case("The exporter was down for less than the wait", sees(HEALTHY, 10), down(4)),
    case("The exporter is back", sees(HEALTHY, 10), down(20), sees(HEALTHY, 8)),
    case("The exporter is just back", sees(HEALTHY, 10), down(20), sees(HEALTHY, 7), alerts=[NOBODY_THERE]),
    case("KMS exporter that was never up", down(30), alerts=[NOBODY_THERE]),
    case("What is down never was an exporter", down(30)),
    case("Prometheus was away", sees(HEALTHY, 10), gap(20), sees(HEALTHY, 8)),
    case(
        "The exporter was replaced",
        Timeline((sees(HEALTHY, 10), removed(20))),
        Timeline((sees(HEALTHY, 18),), NEXT),
    ),
    case(
        "One of two exporters is down",
        Timeline((sees(HEALTHY, 10), down(20))),
        Timeline((sees(HEALTHY, 30),), NEXT),
    ),
    case(
        "The exporter is down at one vantage point",
        Timeline((sees(HEALTHY, 10), down(20)), view="-branch"),
        Timeline((sees(HEALTHY, 30),)),
        alerts=[fires("KmsExporterDown", view="-branch")],
    ),
    case("The exporter's target is lost", sees(HEALTHY, 10), removed(6), alerts=[NOBODY_THERE]),
    case(
        "The exporter's target is lost for hours",
        sees(HEALTHY, 10),
        removed(35),
        alerts=[NOBODY_THERE],
        pace=Pace.TENS,
    ),
    case("The exporter's target was given up", sees(HEALTHY, 10), removed(38), pace=Pace.TENS),
    case(
        "The exporter is down for days", sees(HEALTHY, 2), down(160), alerts=[NOBODY_THERE], pace=Pace.HOURS
    ),
    case("The exporter is down for more than a week", sees(HEALTHY, 2), down(172), pace=Pace.HOURS),
]


def _restarting(at_most: str | None = None, view: str = "") -> Alert:
    told = "No exporter of the job {job} has run for 7 minutes on end lately, at most "
    told += f"{at_most} in the last five minutes. Outages of KMS may go unseen from there."
    return fires("KmsExporterRestarting", told if at_most else None, **({"view": view} if view else {}))


def _pods(lives: int, *, scrapes: int, apart: int) -> list[Timeline]:
    """Let exporters follow each other, each with an instance of its own, up to the end."""
    return [
        Timeline(
            (sees(HEALTHY, scrapes), removed(1 + number * (scrapes + apart))), f"10.0.5.{9 + number}:11688"
        )
        for number in range(lives)
    ]


LOOP = (down(1), sees(HEALTHY, 3))
EXPORTER_RESTARTING: list[Case] = [
    case(
        "The exporter restarts for long", sees(HEALTHY, 10), *repeat(LOOP, 6), alerts=[_restarting("2m 0s")]
    ),
    case("The exporter restarts, but not for long", sees(HEALTHY, 10), *repeat(LOOP, 4), down(1)),
    case("The exporter restarts from the start", *repeat(LOOP, 5), alerts=[_restarting()]),
    case("The exporter was restarted thrice", sees(HEALTHY, 10), *repeat(LOOP, 3), sees(HEALTHY, 12)),
    case(
        "The exporter was restarted twice when it was new",
        *repeat([sees(HEALTHY, 3), down(1)], 2),
        sees(HEALTHY, 12),
    ),
    case(
        "The exporter was restarted when it was back",
        sees(HEALTHY, 10),
        down(20),
        *repeat([sees(HEALTHY, 3), down(1)], 2),
        sees(HEALTHY, 12),
    ),
    case(
        "The exporter restarts during an outage",
        sees(HEALTHY, 10),
        *repeat([down(1), sees(EMPTY, 5)], 4),
        alerts=[_restarting("4m 0s")],
    ),
    case(
        "The exporter restarts so rarely that the outage pages",
        sees(HEALTHY, 10),
        *repeat([down(1), sees(EMPTY, 8)], 4),
        alerts=[ALL_GONE],
    ),
    case(
        "The exporter is there now and then",
        sees(HEALTHY, 10),
        *repeat([down(4), sees(HEALTHY, 1)], 5),
        alerts=[_restarting("0s")],
    ),
    case(
        "The exporter is hardly ever there",
        sees(HEALTHY, 10),
        *repeat([down(6), sees(HEALTHY, 1)], 4),
        alerts=[NOBODY_THERE],
    ),
    case("The exporter has ceased to restart", sees(HEALTHY, 10), *repeat(LOOP, 6), sees(HEALTHY, 14)),
    case(
        "The exporter has just ceased to restart",
        sees(HEALTHY, 10),
        *repeat(LOOP, 6),
        sees(HEALTHY, 8),
        alerts=[_restarting()],
    ),
    case("The exporter is replaced again and again", *_pods(6, scrapes=3, apart=1), alerts=[_restarting()]),
    case("The exporter was replaced thrice", *_pods(4, scrapes=9, apart=0)),
    case(
        "One of two exporters restarts",
        Timeline((sees(HEALTHY, 10), *repeat(LOOP, 6))),
        Timeline((sees(HEALTHY, 34),), NEXT),
    ),
    case(
        "Both exporters restart",
        Timeline((sees(HEALTHY, 10), *repeat(LOOP, 6))),
        Timeline((sees(HEALTHY, 10), *repeat([sees(HEALTHY, 2), down(2)], 6)), NEXT),
        alerts=[_restarting()],
    ),
    case(
        "The exporter restarts at one vantage point",
        Timeline((sees(HEALTHY, 10), *repeat(LOOP, 6)), view="-branch"),
        Timeline((sees(HEALTHY, 34),)),
        alerts=[_restarting(view="-branch")],
    ),
    case("Scrapes are missing now and then", *repeat([sees(HEALTHY, 3), gap(1)], 6)),
]


def _stale(count: int) -> Alert:
    return fires(
        "KmsExporterStale",
        f"{count} zones or static hosts have not been checked for 10 minutes by an exporter of the job "
        "{job}; what its metrics say of them is old.",
    )


WITH_STATIC = world(KMS12, KMS12, hosts=(ADDRESS,))
EXPORTER_STALE: list[Case] = [
    case("The exporter is wedged", sees(HEALTHY, 10), wedged(16), alerts=[_stale(1)]),
    case("The exporter was wedged for less than the wait", sees(HEALTHY, 10), wedged(15)),
    case("The exporter is wedged no more", sees(HEALTHY, 10), wedged(30), sees(HEALTHY, 1)),
    case(
        "The exporter was wedged until its restart", sees(HEALTHY, 10), wedged(14), down(1), sees(HEALTHY, 5)
    ),
    case("The exporter is wedged with a static host", sees(WITH_STATIC, 10), wedged(16), alerts=[_stale(2)]),
    case(
        "A zone is never checked",
        sees(HEALTHY, 10),
        wedged(6, zones(other=Zone(servers={DC1: KMS1}))),
        alerts=[_stale(1)],
    ),
    case("A zone is new", sees(HEALTHY, 10), wedged(5, zones(other=Zone(servers={DC1: KMS1})))),
    case(
        "One of two exporters is wedged",
        Timeline((sees(HEALTHY, 10), wedged(30))),
        Timeline((sees(HEALTHY, 40),), NEXT),
        alerts=[_stale(1)],
    ),
    case(
        "One of two exporters is wedged, and what it saw hides what the other sees",
        Timeline((sees(HEALTHY, 10), wedged(30))),
        Timeline((sees(HEALTHY, 10), sees(EMPTY, 30)), NEXT),
        alerts=[_stale(1)],
    ),
    case("Everything leaves the configuration", sees(WITH_STATIC, 10), wedged(30), wedged(9, NO_ZONE)),
]

CANNOT_LOOK_AT_ALL = fires(
    "KmsExporterCannotLook",
    "Every lookup or every probe of the job {job} ends in local_error: the machine that the exporter runs on "
    "could not send. Outages of KMS go unseen from there.",
)


def _cannot_look_at(count: int) -> Alert:
    return fires(
        "KmsExporterLocalErrors",
        f"{count} zones or hosts of the job {{job}} are not looked at: every lookup or probe for them ends "
        "in local_error.",
    )


LOCAL = LookupStatus.LOCAL_ERROR
NO_MEANS = ProbeFailure.LOCAL_ERROR
NO_LOOKUPS = world(LOCAL, LOCAL)
NO_PROBES = world(KMS12, KMS12, failing=failing(kms1=NO_MEANS, kms2=NO_MEANS))
NEITHER = world(LOCAL, LOCAL, failing=failing(kms1=NO_MEANS, kms2=NO_MEANS))
ONE_UNSEEN = world(KMS12, KMS12, failing=failing(kms2=NO_MEANS))
NAMED = hosts("kms1")
CANNOT_LOOK: list[Case] = [
    case("No lookup is possible", sees(HEALTHY, 10), sees(NO_LOOKUPS, 6), alerts=[CANNOT_LOOK_AT_ALL]),
    case("No lookup was possible for less than the wait", sees(HEALTHY, 10), sees(NO_LOOKUPS, 5)),
    case("Lookups are possible again", sees(NO_LOOKUPS, 20), sees(HEALTHY, 7)),
    case(
        "No lookup is possible, from the start",
        sees(NO_LOOKUPS, 16),
        alerts=[CANNOT_LOOK_AT_ALL, _cannot_look_at(1)],
    ),
    case(
        "No probe is possible",
        sees(HEALTHY, 10),
        sees(NO_PROBES, 16),
        alerts=[CANNOT_LOOK_AT_ALL, _cannot_look_at(2)],
    ),
    case(
        "Neither lookup nor probe is possible",
        sees(HEALTHY, 10),
        sees(NEITHER, 16),
        alerts=[CANNOT_LOOK_AT_ALL, _cannot_look_at(3)],
    ),
    case(
        "A static host cannot be looked up, and nothing else is watched",
        sees(World(zones={ZONE: Zone(servers={DC1: LOCAL})}, hosts=NAMED), 6),
        alerts=[CANNOT_LOOK_AT_ALL],
    ),
    case(
        "No lookup is possible on demand",
        Timeline((sees(NO_LOOKUPS, 6),), on_demand=True),
        alerts=[CANNOT_LOOK_AT_ALL],
    ),
    case("Some lookups are possible", sees(HEALTHY, 10), sees(world(KMS12, LOCAL), 40)),
    case(
        "One zone cannot be looked up",
        sees(zones(own=Zone(servers={DC1: KMS12}), other=Zone(servers={DC2: LOCAL})), 16),
        alerts=[_cannot_look_at(1)],
    ),
    case(
        "One of two hosts cannot be probed",
        sees(HEALTHY, 10),
        sees(ONE_UNSEEN, 16),
        alerts=[_cannot_look_at(1)],
    ),
    case(
        "One of two hosts could not be probed for less than the wait", sees(HEALTHY, 10), sees(ONE_UNSEEN, 15)
    ),
    case(
        "An exporter without IPv6",
        sees(world(KMS1, KMS1, addresses=BOTH_FAMILIES, failing={KMS1_IPV6: NO_MEANS}), 40),
    ),
    case("A DNS server is dead and another cannot be asked", sees(world(TIMEOUT, LOCAL), 5)),
    case(
        "One of two exporters cannot look",
        Timeline((sees(HEALTHY, 10), sees(NEITHER, 16))),
        Timeline((sees(HEALTHY, 26),), NEXT),
        alerts=[_cannot_look_at(3)],
    ),
    case(
        "The only exporter that can look sees that all is lost",
        Timeline((sees(HEALTHY, 10), sees(NEITHER, 10))),
        Timeline((sees(HEALTHY, 10), sees(EMPTY, 10)), NEXT),
        alerts=[ALL_GONE],
    ),
    case(
        "An exporter that cannot look is restarted",
        sees(NEITHER, 20),
        down(1),
        sees(NEITHER, 3),
        alerts=[CANNOT_LOOK_AT_ALL],
    ),
]

REFUSED_FILE = world(KMS12, KMS12, reloads=False)
BUGGY = world(KMS12, KMS12, bugs=1)
SLOW = world(KMS12, KMS12, overruns=1)
MALFORMED = world(KMS12, malformed=1)
TOO_MANY = world(KMS12, addresses=BOTH_FAMILIES, left_out=too_many(KMS1_IPV6))
EXCLUDED = world(KMS12, addresses=BOTH_FAMILIES, left_out=refused(KMS1_IPV6))
NOT_LOADED = fires(
    "KmsExporterConfigReloadFailed",
    "The last reload of the configuration, or of the web configuration with its certificates, failed at an "
    "exporter of the job {job}. Its log says what is wrong; a restart would fail.",
)
BUG = fires(
    "KmsExporterInternalErrors",
    "An exporter of the job {job} caught 1 internal errors within an hour; the tracebacks are in its log.",
)
OVERRUN = fires(
    "KmsExporterChecksOverrun",
    "10 checks of the job {job} were still running when the next was due, within 10 minutes.",
)
IGNORED = fires(
    "KmsExporterRecordsIgnored",
    "About 30 records or addresses of contoso.com were left out within 30 minutes (malformed), seen from "
    "{job}.",
    dns_zone=ZONE,
    reason="malformed",
)
CUT = fires(
    "KmsExporterRecordsIgnored",
    "About 30 records or addresses of contoso.com were left out within 30 minutes (probes_per_check), seen "
    "from {job}.",
    dns_zone=ZONE,
    reason="probes_per_check",
)
EXPORTER_HEALTH: list[Case] = [
    case("A configuration was refused", sees(HEALTHY, 10), sees(REFUSED_FILE, 6), alerts=[NOT_LOADED]),
    case("A configuration was refused a moment ago", sees(HEALTHY, 10), sees(REFUSED_FILE, 5)),
    case("A configuration was refused and mended", sees(REFUSED_FILE, 20), sees(HEALTHY, 1)),
    case("A refused configuration and a restart", sees(REFUSED_FILE, 4), down(1), sees(REFUSED_FILE, 5)),
    case(
        "One of two exporters refused its configuration",
        Timeline((sees(REFUSED_FILE, 6),)),
        Timeline((sees(HEALTHY, 6),), NEXT),
        alerts=[NOT_LOADED],
    ),
    case("A bug was caught", sees(HEALTHY, 61), sees(BUGGY, 1), alerts=[BUG]),
    case("A bug was caught an hour ago", sees(HEALTHY, 5), sees(BUGGY, 1), sees(HEALTHY, 61)),
    case("A bug was caught before the restart", sees(BUGGY, 1), sees(HEALTHY, 5), down(1), sees(HEALTHY, 9)),
    case("Checks overrun", sees(HEALTHY, 10), sees(SLOW, 30), alerts=[OVERRUN]),
    case("Checks overran for a moment", sees(HEALTHY, 10), sees(SLOW, 2), sees(HEALTHY, 14)),
    case("Checks overran before a restart", sees(HEALTHY, 10), sees(SLOW, 14), down(1), sees(HEALTHY, 9)),
    case("Records are malformed", sees(MALFORMED, 61), alerts=[IGNORED]),
    case("A record was malformed once", sees(world(KMS12), 10), sees(MALFORMED, 1), sees(world(KMS12), 45)),
    case("Records were malformed before a restart", sees(MALFORMED, 29), down(1), sees(world(KMS12), 9)),
    case("A zone with malformed records leaves the configuration", sees(MALFORMED, 61), sees(NO_ZONE, 1)),
    case("More endpoints than a check probes", sees(TOO_MANY, 61), alerts=[CUT]),
    case("Addresses that the configuration excludes", sees(EXCLUDED, 61)),
    case(
        "Records of a zone with labels are malformed",
        sees(world(KMS12, malformed=1, labels=LABELS), 61),
        alerts=[replace(IGNORED, labels={**IGNORED.labels, **LABELS})],
    ),
]

FAST = fires("KmsZoneErrorBudgetBurningFast", dns_zone=ZONE)
SLOWLY = fires("KmsZoneErrorBudgetBurningSlowly", dns_zone=ZONE)
BUDGETS: list[Case] = [
    case(
        "A budget burns",
        sees(HEALTHY, 45),
        *repeat([sees(EMPTY, 4), sees(HEALTHY, 1)], 3),
        alerts=[
            replace(
                FAST,
                description="Clients of contoso.com had no working KMS host for 20% of the last hour or six, "
                "seen from {job}; the objective leaves 0.1 % over 30 days.",
            )
        ],
        budget=True,
    ),
    case(
        "A budget burned for less than the wait",
        sees(HEALTHY, 45),
        *repeat([sees(EMPTY, 4), sees(HEALTHY, 1)], 2),
        budget=True,
    ),
    case(
        "A budget burned and goes on more slowly",
        sees(HEALTHY, 36),
        sees(EMPTY, 4),
        sees(HEALTHY, 40),
        alerts=[
            replace(
                SLOWLY,
                description="Clients of contoso.com had no working KMS host for 5% of the last day or "
                "three, seen from {job}; the objective leaves 0.1 % over 30 days.",
            )
        ],
        budget=True,
    ),
    case(
        "An outage comes back",
        *repeat([sees(HEALTHY, 30), sees(EMPTY, 1)], 5),
        sees(HEALTHY, 5),
        alerts=[SLOWLY],
        pace=Pace.TENS,
        budget=True,
    ),
    case(
        "An outage was long ago",
        sees(HEALTHY, 30),
        sees(EMPTY, 1),
        sees(HEALTHY, 50),
        pace=Pace.TENS,
        budget=True,
    ),
    case(
        "A zone that burned its budget leaves",
        sees(HEALTHY, 57),
        sees(EMPTY, 3),
        sees(NO_ZONE, 1),
        budget=True,
    ),
    case("Nobody could look for a while", sees(HEALTHY, 20), sees(OUT_OF_BOUNDS, 15), budget=True),
    case("The exporter was away for a while", sees(HEALTHY, 20), down(4), sees(HEALTHY, 20), budget=True),
    case(
        "There is no budget where no host is expected",
        sees(world(NXDOMAIN, NODATA, expected=[]), 40),
        budget=True,
    ),
    case(
        "A zone with labels burns its budget",
        *repeat([sees(world(NXDOMAIN, NODATA, labels=LABELS), 4), sees(world(KMS12, labels=LABELS), 1)], 3),
        alerts=[fires("KmsZoneErrorBudgetBurningFast", dns_zone=ZONE, **LABELS)],
        budget=True,
    ),
    case(
        "A zone that is probed on demand burns its budget",
        Timeline((*repeat([sees(EMPTY, 4), sees(HEALTHY, 1)], 3),), on_demand=True),
        alerts=[FAST],
        budget=True,
    ),
]

LAPTOPS = {"laptop": (ZONE,)}
MANY = {f"z{number}.contoso.com": Zone(servers={DC1: KMS12}) for number in range(3)}
MANY_UNHEARD = {name: Zone(servers={DC1: TIMEOUT}) for name in MANY}
RICH = world(KMS12, KMS12, addresses=BOTH_FAMILIES, hosts=hosts("kms1"), clients=LAPTOPS)
NOBODY_SERVED = [
    fires("KmsClientProfileUnserved", client="laptop", dns_server=server)
    for server in ("10.0.0.10", "10.0.0.11")
]


def _cause(what: str, trouble: World, *alerts: Alert, before: World = RICH) -> Case:
    """Let all be well for an hour, and then not for longer than alerts wait that do not wait for hours."""
    return case(f"Cause: {what}", sees(before, 60), sees(trouble, 35), alerts=alerts, budget=True)


CAUSES: list[Case] = [
    _cause("nothing", RICH),
    _cause("all records deleted", replace(RICH, zones=EMPTY.zones), ALL_GONE, FAST, SLOWLY, *NOBODY_SERVED),
    _cause("one server lost all", world(KMS12, NODATA), GONE_AT_DC2, before=HEALTHY),
    _cause(
        "only server dead",
        World(zones=MANY_UNHEARD, hosts=hosts("kms1"), clients={"laptop": tuple(MANY)}),
        fires("KmsLastDnsServerDown", dns_server=DC1),
        *(replace(each, labels={"dns_zone": name}) for name in MANY for each in (FAST, SLOWLY)),
        before=World(zones=MANY, hosts=hosts("kms1"), clients={"laptop": tuple(MANY)}),
    ),
    _cause("one of two servers dead", replace(RICH, zones=world(KMS12, TIMEOUT).zones), DC2_DEAD),
    _cause(
        "only host dead",
        world(KMS1, KMS1, failing=failing(kms1=DROPS)),
        fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE),
        about("KmsHostDown", "kms1"),
        FAST,
        SLOWLY,
        before=world(KMS1, KMS1),
    ),
    _cause(
        "all hosts dead",
        ALL_DOWN,
        NO_HOST,
        about("KmsHostDown", "kms1"),
        about("KmsHostDown", "kms2"),
        FAST,
        SLOWLY,
        before=HEALTHY,
    ),
    _cause("all hosts lead to loopback", MISLED, UNWATCHED, before=HEALTHY),
    _cause("one host leads to loopback", ONE_MISLED, KMS1_UNWATCHED, before=HEALTHY),
    _cause(
        "only service hung",
        world(KMS1, KMS1, failing=failing(kms1=HUNG)),
        fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE),
        about("KmsServiceSilent", "kms1"),
        FAST,
        SLOWLY,
        before=world(KMS1, KMS1),
    ),
    _cause(
        "port of the host changed",
        world(KMS1, KMS1, failing=failing(kms1=REFUSES)),
        fires("KmsZoneWithoutWorkingHost", dns_zone=ZONE),
        about("KmsHostDown", "kms1"),
        FAST,
        SLOWLY,
        before=world(KMS1, KMS1),
    ),
    _cause(
        "port of the record changed",
        world(*[records("kms1", "kms2:1689")] * 2),
        about("KmsSrvRecordChanged", "kms2", dns_zone=ZONE),
        before=HEALTHY,
    ),
    _cause(
        "record replaced",
        world(KMS13, KMS13),
        about("KmsSrvRecordChanged", "kms2", dns_zone=ZONE),
        before=HEALTHY,
    ),
    _cause(
        "one of two records gone",
        ONE_OF_TWO,
        about("KmsSrvRecordGone", "kms2", dns_zone=ZONE),
        before=HEALTHY,
    ),
    _cause("IPv6 of a host dead", replace(RICH, failing={KMS1_IPV6: DROPS}), IPV6_DOWN),
    _cause(
        "something else on the port",
        world(KMS12, KMS12, failing=failing(kms2=FOREIGN)),
        about("KmsPortNotKms", "kms2"),
        *(
            fires("KmsFirstAttemptsFailing", dns_zone=ZONE, dns_server=each)
            for each in ("10.0.0.10", "10.0.0.11")
        ),
        before=HEALTHY,
    ),
    _cause(
        "zone delegated away",
        zones(own=Zone(servers={DC1: NXDOMAIN}), other=Zone(servers={DC1: KMS1})),
        fires("KmsZoneSrvRecordsMissing", dns_zone=ZONE),
        FAST,
        SLOWLY,
        before=zones(own=Zone(servers={DC1: KMS1}), other=Zone(servers={DC1: KMS1})),
    ),
    _cause(
        "exporter without means",
        replace(NEITHER, hosts=NAMED, clients=LAPTOPS),
        CANNOT_LOOK_AT_ALL,
        _cannot_look_at(3),
    ),
    case("Cause: exporter dead", sees(RICH, 60), down(35), alerts=[NOBODY_THERE], budget=True),
    case("Cause: exporter wedged", sees(RICH, 60), wedged(35), alerts=[_stale(2)], budget=True),
]

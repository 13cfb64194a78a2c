"""The Alertmanager example: who is told of which alert, and which alerts keep quiet because of others.

amtool tells the routes; a real Alertmanager with the file as it is tells what is inhibited.
"""

import itertools
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.alert_promtool import ALERTS
from tests.services import ALERTMANAGER_EXAMPLE, Alertmanager, Lab, need, wait_until

ZONE = "contoso.com"
EMEA = "ams.emea.contoso.com"
LAB = "lab.contoso.com"
DC1 = "10.0.0.10"
DC2 = "10.0.0.11"
FAR_FUTURE = "2999-01-01T00:00:00Z"
CONFIG: dict[str, Any] = yaml.safe_load(ALERTMANAGER_EXAMPLE.read_text())

Labels = Mapping[str, str]


# --- Routes


def receivers(labels: Labels) -> list[str]:
    """Tell who is notified of an alert with these labels."""
    need("amtool")
    command = ["amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER_EXAMPLE}"]
    done = subprocess.run(
        [*command, *(f"{name}={value}" for name, value in labels.items())],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout.strip().split(",")


CRITICAL = {"severity": "critical"}
WARNING = {"severity": "warning"}
INFO = {"severity": "info"}
SECURITY = {"severity": "warning", "category": "security"}
ROUTES: list[tuple[Labels, list[str]]] = [
    (CRITICAL, ["page"]),
    (WARNING, ["ticket"]),
    (INFO, ["digest"]),
    ({"severity": "unheard-of"}, ["ticket"]),
    ({}, ["ticket"]),
    (SECURITY, ["security", "ticket"]),
    (CRITICAL | {"dns_zone": ZONE}, ["page"]),
    (WARNING | {"dns_zone": ZONE}, ["ticket"]),
    (INFO | {"dns_zone": ZONE}, ["digest"]),
    (CRITICAL | {"dns_zone": EMEA}, ["emea-page"]),
    (WARNING | {"dns_zone": EMEA}, ["emea-ticket"]),
    (INFO | {"dns_zone": EMEA}, ["digest"]),
    (SECURITY | {"dns_zone": EMEA}, ["security", "emea-ticket"]),
    (CRITICAL | {"dns_zone": "emea.contoso.com"}, ["emea-page"]),
    (CRITICAL | {"dns_zone": "notemea.contoso.com"}, ["page"]),
    (CRITICAL | {"dns_zone": LAB}, ["digest"]),
    (CRITICAL | {"dns_zone": f"kms.{LAB}"}, ["digest"]),
    (SECURITY | {"dns_zone": LAB}, ["digest"]),
    (CRITICAL | {"dns_zone": "collab.contoso.com"}, ["page"]),
    ({"severity": "warning", "target": f"kms1.{LAB}"}, ["digest"]),
]


def test_amtool_accepts_the_example() -> None:
    """The example is a valid configuration."""
    need("amtool")
    done = subprocess.run(
        ["amtool", "check-config", str(ALERTMANAGER_EXAMPLE)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("labels", "expected"), ROUTES)
def test_route(labels: Labels, expected: list[str]) -> None:
    """An alert goes to those whom its severity, category and zone concern."""
    assert receivers(labels) == expected


def test_every_receiver_is_told_of_something() -> None:
    """No receiver of the example stands idle."""
    told = set(itertools.chain.from_iterable(expected for _, expected in ROUTES))
    assert told == {receiver["name"] for receiver in CONFIG["receivers"]}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_goes_where_its_severity_says(name: str) -> None:
    """A critical alert is a page, a warning a ticket, and info something to read once in a while."""
    labels = ALERTS[name]["labels"]
    found = receivers({"alertname": name, "job": "kms", "dns_zone": ZONE} | labels)
    by_severity = {"critical": "page", "warning": "ticket", "info": "digest"}[labels["severity"]]
    assert found == ["security"] * (labels.get("category") == "security") + [by_severity]


# --- Inhibition


@dataclass(frozen=True, slots=True)
class Inhibition:
    """An alert, others that it silences and others that it does not; labels besides these are `job=kms`."""

    about: str
    source: Labels
    silenced: tuple[Labels, ...]
    heard: tuple[Labels, ...]


def alert(name: str, **labels: str) -> Labels:
    """Build the labels of an alert."""
    return {"alertname": name, "job": "kms", **labels}


def zone(name: str, dns_zone: str = ZONE, **labels: str) -> Labels:
    """Build the labels of an alert about a zone."""
    return alert(name, dns_zone=dns_zone, **labels)


ZONE_GONE = zone("KmsZoneSrvRecordsMissing")
NO_HOST = zone("KmsZoneWithoutWorkingHost")
HOST_DOWN = alert("KmsHostDown", target="kms1.contoso.com", port="1688")
UNWATCHED = zone("KmsZoneNotWatched")
HOST_UNWATCHED = alert("KmsHostNotWatched", target="kms1.contoso.com", port="1688")
ROGUE = zone("KmsUnexpectedHostPublished", target="kms9.contoso.com", port="1688")
GONE = zone("KmsSrvRecordGone", target="kms2.contoso.com", port="1688")
CHANGED = zone("KmsSrvRecordChanged", target="kms2.contoso.com", port="1688")
DISAGREE = zone("KmsDnsServersDisagree")
EMPTY_AT_DC2 = zone("KmsDnsServerSrvRecordsMissing", dns_server=DC2)
LAST_DEAD = alert("KmsLastDnsServerDown", dns_server=DC2)
ONE_DEAD = alert("KmsDnsServerDown", dns_server=DC2)
BURNING = (zone("KmsZoneErrorBudgetBurningFast"), zone("KmsZoneErrorBudgetBurningSlowly"))
UNKNOWN_TO_US = alert("NodeDown")


def at_server(server: str) -> tuple[Labels, ...]:
    """Build the alerts that follow from a dead DNS server."""
    return (
        zone("KmsSrvLookupFailing", dns_server=server),
        zone("KmsDnsServerSrvRecordsMissing", dns_server=server),
        alert("KmsTargetUnresolvable", target="kms1.contoso.com", dns_server=server),
        alert("KmsClientProfileUnserved", client="laptop", dns_server=server),
        zone("KmsFirstAttemptsFailing", dns_server=server),
    )


def in_zone(dns_zone: str) -> tuple[Labels, ...]:
    """Build alerts about a zone that can wait while it has no host at all."""
    return (
        zone("KmsDnsServerSrvRecordsMissing", dns_zone, dns_server=DC2),
        zone("KmsSrvRecordGone", dns_zone, target="kms2.contoso.com", port="1688"),
        zone("KmsSrvRecordChanged", dns_zone, target="kms2.contoso.com", port="1688"),
        zone("KmsExpectedHostMissing", dns_zone, target="kms2.contoso.com", port="1688"),
        zone("KmsSrvLookupFailing", dns_zone, dns_server=DC2),
        zone("KmsDnsServersDisagree", dns_zone),
        zone("KmsFirstAttemptsFailing", dns_zone, dns_server=DC2),
        zone("KmsZoneErrorBudgetBurningFast", dns_zone),
        zone("KmsZoneErrorBudgetBurningSlowly", dns_zone),
        zone("KmsZoneNotWatched", dns_zone),
        zone("KmsExporterRecordsIgnored", dns_zone, reason="malformed"),
    )


def elsewhere(*alerts: Labels) -> tuple[Labels, ...]:
    """Build the same alerts as seen from another vantage point."""
    return tuple({**labels, "job": "kms-branch"} for labels in alerts)


OWN = (
    *("Restarting", "CannotLook", "LocalErrors", "ConfigReloadFailed"),
    *("InternalErrors", "RecordsIgnored", "ChecksOverrun"),
)
BLIND = {"KmsExporterCannotLook", "KmsExporterLocalErrors"}
OF_THE_EXPORTER = tuple(alert(f"KmsExporter{name}") for name in OWN)
FROM_LOOKING = (
    ZONE_GONE,
    NO_HOST,
    HOST_DOWN,
    HOST_UNWATCHED,
    ROGUE,
    LAST_DEAD,
    ONE_DEAD,
    *in_zone(ZONE)[:-1],
    *at_server(DC1),
)
INHIBITIONS = [
    Inhibition(
        "nobody looks",
        alert("KmsExporterDown"),
        (*FROM_LOOKING, alert("KmsExporterStale"), *OF_THE_EXPORTER),
        (UNKNOWN_TO_US, *elsewhere(*FROM_LOOKING, alert("KmsExporterStale"), *OF_THE_EXPORTER)),
    ),
    Inhibition(
        "the exporter can look at nothing",
        alert("KmsExporterCannotLook"),
        (alert("KmsExporterLocalErrors"),),
        (
            *elsewhere(alert("KmsExporterLocalErrors")),
            *(
                ZONE_GONE,
                NO_HOST,
                UNWATCHED,
                HOST_DOWN,
                HOST_UNWATCHED,
                ROGUE,
                LAST_DEAD,
                alert("KmsExporterDown"),
            ),
            *(each for each in OF_THE_EXPORTER if each["alertname"] not in BLIND),
        ),
    ),
    Inhibition(
        "the last DNS server of a zone is dead",
        LAST_DEAD,
        (*at_server(DC2), *BURNING),
        (
            *at_server(DC1),
            *elsewhere(*at_server(DC2), *BURNING),
            *(ZONE_GONE, NO_HOST, UNWATCHED, HOST_DOWN, HOST_UNWATCHED, ROGUE, GONE, CHANGED, DISAGREE),
            *OF_THE_EXPORTER,
            alert("KmsLastDnsServerDown", dns_server=DC1),
        ),
    ),
    Inhibition(
        "one of several DNS servers is dead",
        ONE_DEAD,
        at_server(DC2),
        (
            *at_server(DC1),
            *elsewhere(*at_server(DC2)),
            *BURNING,
            *(ZONE_GONE, NO_HOST, HOST_DOWN, ROGUE, GONE, CHANGED, DISAGREE),
            alert("KmsLastDnsServerDown", dns_server=DC1),
        ),
    ),
    Inhibition(
        "a zone has no record",
        ZONE_GONE,
        (NO_HOST, *in_zone(ZONE)),
        (
            *in_zone(EMEA),
            zone("KmsZoneWithoutWorkingHost", EMEA),
            zone("KmsZoneSrvRecordsMissing", EMEA),
            *elsewhere(NO_HOST, *in_zone(ZONE)),
            *(HOST_DOWN, HOST_UNWATCHED, ROGUE, LAST_DEAD, ONE_DEAD),
            alert("KmsExporterDown"),
        ),
    ),
    Inhibition(
        "a zone has no host that works",
        NO_HOST,
        in_zone(ZONE),
        (
            *in_zone(EMEA),
            zone("KmsZoneWithoutWorkingHost", EMEA),
            *elsewhere(*in_zone(ZONE)),
            *(ZONE_GONE, HOST_DOWN, HOST_UNWATCHED, ROGUE, LAST_DEAD, ONE_DEAD),
        ),
    ),
    Inhibition(
        "one DNS server has no record",
        EMPTY_AT_DC2,
        (DISAGREE, GONE, CHANGED),
        (
            zone("KmsDnsServersDisagree", EMEA),
            *elsewhere(DISAGREE, GONE, CHANGED),
            zone("KmsDnsServerSrvRecordsMissing", dns_server=DC1),
            *(ZONE_GONE, NO_HOST, HOST_DOWN, ROGUE, *BURNING),
            zone("KmsSrvRecordGone", EMEA, target="kms2.contoso.com", port="1688"),
        ),
    ),
    Inhibition(
        "a record is gone",
        GONE,
        (DISAGREE,),
        (
            zone("KmsDnsServersDisagree", EMEA),
            *elsewhere(DISAGREE),
            CHANGED,
            EMPTY_AT_DC2,
            ZONE_GONE,
            HOST_DOWN,
        ),
    ),
    Inhibition(
        "a record changed",
        CHANGED,
        (DISAGREE,),
        (zone("KmsDnsServersDisagree", EMEA), *elsewhere(DISAGREE), GONE, EMPTY_AT_DC2, ZONE_GONE, HOST_DOWN),
    ),
]


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and one other alert, at a vantage point where there is nothing else."""

    about: str
    source: Labels
    other: Labels
    silenced: bool


def pairs() -> Iterator[Pair]:
    """Give each alert of each case a place where only the source can inhibit it."""
    number = itertools.count()
    for case in INHIBITIONS:
        for other in (*case.silenced, *case.heard):
            place = f"{next(number)}-"
            yield Pair(case.about, _at(place, case.source), _at(place, other), other in case.silenced)


def _at(place: str, labels: Labels) -> Labels:
    return {**labels, "job": place + labels["job"]}


PAIRS = list(pairs())
LAST_SILENCED = [pair for pair in PAIRS if pair.silenced][-1]


@pytest.fixture(scope="module")
def inhibited(module_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> list[Labels]:
    """Tell which alerts an Alertmanager inhibits that knows the sources of all cases.

    It takes alerts to heart one after the other, so once the last source inhibits, all of them do. It runs
    on the example, but for the port of the receivers: whoever listens there on this machine is not paged.
    """
    config_file = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yml"
    nobody = module_lab.closed_port().port
    config_file.write_text(ALERTMANAGER_EXAMPLE.read_text().replace("localhost:5001", f"localhost:{nobody}"))
    alertmanager = module_lab.alertmanager(config_file=config_file)
    last = next(index for index, pair in enumerate(PAIRS) if pair is LAST_SILENCED)
    in_order = [*PAIRS[:last], *PAIRS[last + 1 :], LAST_SILENCED]
    alertmanager.post(posted(pair.other for pair in in_order))
    alertmanager.post(posted(pair.source for pair in in_order))
    return wait_until(lambda: _inhibited(alertmanager), "the last source inhibits")


def posted(alerts: Iterable[Labels]) -> list[dict[str, Any]]:
    """Give alerts the form in which Prometheus posts them."""
    return [{"labels": dict(labels), "endsAt": FAR_FUTURE} for labels in alerts]


def _inhibited(alertmanager: Alertmanager) -> list[Labels] | None:
    found = [each["labels"] for each in alertmanager.alerts() if each["status"]["inhibitedBy"]]
    return found if LAST_SILENCED.other in found else None


@pytest.mark.parametrize("case", INHIBITIONS, ids=lambda case: case.about)
def test_inhibition(inhibited: list[Labels], case: Inhibition) -> None:
    """An alert silences what follows from it at the same place, and nothing else."""
    others = [pair for pair in PAIRS if pair.about == case.about]
    assert [pair.other for pair in others if pair.other in inhibited] == [
        pair.other for pair in others if pair.silenced
    ]


def test_every_rule_has_a_case() -> None:
    """Each name that a rule of the example inhibits by is the source of a case."""
    sources = " ".join(matcher for rule in CONFIG["inhibit_rules"] for matcher in rule["source_matchers"])
    named = {name for name in ALERTS if name in sources.replace('"', "|").split("|")}
    assert named == {case.source["alertname"] for case in INHIBITIONS}


@pytest.mark.parametrize("case", INHIBITIONS, ids=lambda case: case.about)
def test_names_of_alerts_are_right(case: Inhibition) -> None:
    """The cases are about alerts that there are, but for the one that is not ours."""
    names = {labels["alertname"] for labels in (case.source, *case.silenced, *case.heard)}
    assert names - {"NodeDown"} <= ALERTS.keys()

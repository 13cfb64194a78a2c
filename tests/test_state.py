"""Tests of the state: what it keeps, for how long, and what a snapshot shows of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.diagnosis import Diagnosis, diagnose
from exporter.model import (
    ClientCheck,
    DnsServer,
    Endpoint,
    Found,
    Host,
    IgnoredReason,
    LookupStatus,
    Memory,
    ProbeFailure,
    ProbeResult,
    Query,
    Record,
    Search,
    ServerCheck,
    ServerGroup,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
)
from exporter.state import (
    ClientSettings,
    ClientView,
    EndpointView,
    Histogram,
    ServerView,
    Snapshot,
    State,
    ZoneSettings,
    ZoneView,
)
from exporter.state.table import HeldTable
from exporter.state.views import RECENT_PROBES
from tests.builders import (
    ADDRESS,
    CLIENT,
    FORGET_AFTER_SECONDS,
    INTERVAL_SECONDS,
    SERVER,
    TARGET,
    ZONE,
    Clock,
    addresses,
    answer,
    at_server,
    client_check,
    client_settings,
    configure,
    endpoint,
    host,
    host_check,
    probed,
    record,
    static_host_view,
    zone_check,
    zone_settings,
)

FAILURES = [status for status in LookupStatus if not status.usable]
EMPTY = [LookupStatus.OK, LookupStatus.NXDOMAIN, LookupStatus.NODATA]
OTHER_SERVER = "192.0.2.54"
OTHER_TARGET = "kms2.contoso.test"
OTHER_ADDRESS = "192.0.2.2"
OTHER_ZONE = "emea.contoso.test"


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def state(clock: Clock) -> State:
    """Give a state that watches one zone at one server."""
    state = State(monotonic=clock)
    configure(state)
    return state


def zone_of(snapshot: Snapshot, name: str = ZONE) -> ZoneView:
    """Pick a zone of a snapshot."""
    return next(zone for zone in snapshot.zones if zone.zone == name)


def server_of(snapshot: Snapshot, dns_server: str = SERVER, *, zone: str = ZONE) -> ServerView:
    """Pick a zone at a server."""
    return next(view for view in zone_of(snapshot, zone).servers if view.dns_server == dns_server)


def endpoint_of(snapshot: Snapshot, one: Endpoint) -> EndpointView:
    """Pick an endpoint."""
    return next(view for view in snapshot.endpoints if view.endpoint == one)


def endpoints_in(snapshot: Snapshot) -> set[Endpoint]:
    """Tell which endpoints there are."""
    return {view.endpoint for view in snapshot.endpoints}


def targets_in(snapshot: Snapshot) -> set[tuple[str, str]]:
    """Tell which targets there are, each with its DNS server."""
    return {(label, lookup.target) for label, lookup in snapshot.targets}


def assert_nothing_held(snapshot: Snapshot) -> None:
    """See that there is no host, target or endpoint."""
    assert not snapshot.hosts
    assert not snapshot.targets
    assert not snapshot.endpoints


def published() -> ServerCheck:
    """Give a check that finds the usual record."""
    return at_server(SERVER, answer(record()))


def gone() -> ServerCheck:
    """Give a check that finds no record, but still the address of the usual target."""
    return at_server(SERVER, answer(), {TARGET: [ADDRESS]})


# --- What is configured


def test_counters_start_at_zero(state: State) -> None:
    """Before the first check a zone has counters at 0, and nothing else."""
    snapshot = state.snapshot()
    zone = zone_of(snapshot)
    assert zone.servers == (ServerView(dns_server=SERVER, lookups=0, failures=0),)
    assert zone.ignored == dict.fromkeys(IgnoredReason, 0)
    assert (zone.last_check, zone.check_duration_seconds) == (None, None)
    assert snapshot.lookup_durations == ((SERVER, Histogram()),)
    assert_nothing_held(snapshot)


def test_zone_that_leaves_the_configuration(state: State) -> None:
    """A zone that is not configured any more is gone at once, with all that only it led to."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings(OTHER_SERVER)})
    state.apply_zone(zone_check(published()))
    other = at_server(OTHER_SERVER, answer(record(), record(OTHER_TARGET)), {OTHER_TARGET: [OTHER_ADDRESS]})
    state.apply_zone(zone_check(other, zone=OTHER_ZONE))
    state.apply_zone(zone_check(at_server(OTHER_SERVER, answer(record())), zone=OTHER_ZONE))

    configure(state)

    snapshot = state.snapshot()
    assert [zone.zone for zone in snapshot.zones] == [ZONE]
    assert snapshot.hosts == (host(),)
    assert endpoints_in(snapshot) == {endpoint()}
    assert targets_in(snapshot) == {(SERVER, TARGET)}
    assert [label for label, _ in snapshot.lookup_durations] == [SERVER]
    assert state.memory_of_zone(OTHER_ZONE) == Memory()


def test_server_that_leaves_the_configuration(state: State, clock: Clock) -> None:
    """A DNS server that is not configured any more is gone at once, with all that only it led to."""
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER)})
    ours = at_server(SERVER, answer(record(), record("old.contoso.test")))
    theirs = at_server(
        OTHER_SERVER,
        answer(record(), record("old.contoso.test"), record(OTHER_TARGET)),
        {TARGET: [ADDRESS, "192.0.2.9"], OTHER_TARGET: [OTHER_ADDRESS]},
    )
    state.apply_zone(zone_check(ours, theirs))
    without_old = answer(record(), record(OTHER_TARGET))
    old = {"old.contoso.test": [ADDRESS]}
    ours = at_server(SERVER, answer(record()), old)
    theirs = at_server(OTHER_SERVER, without_old, {**old, TARGET: [ADDRESS, "192.0.2.9"]})
    state.apply_zone(zone_check(ours, theirs, at=2.0))
    assert zone_of(state.snapshot()).vanished == {host("old.contoso.test")}

    configure(state, {ZONE: zone_settings(SERVER)})

    snapshot = state.snapshot()
    zone = zone_of(snapshot)
    assert [view.dns_server for view in zone.servers] == [SERVER]
    assert zone.published == frozenset({host()})
    assert zone.vanished == {host("old.contoso.test")}, "that nobody asked for the server is no reason"
    assert set(snapshot.hosts) == {host(), host("old.contoso.test")}
    assert endpoints_in(snapshot) == {endpoint(), endpoint("old.contoso.test")}
    assert targets_in(snapshot) == {(SERVER, TARGET), (SERVER, "old.contoso.test")}
    assert [label for label, _ in snapshot.lookup_durations] == [SERVER]
    assert endpoint_of(snapshot, endpoint()).probes == 2, "what stays keeps its counters"


def test_server_that_leaves_one_of_two_zones(state: State) -> None:
    """A zone that loses a DNS server keeps what the others gave it, whatever they gave another zone since."""
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER), OTHER_ZONE: zone_settings()})
    state.apply_zone(zone_check(published(), at_server(OTHER_SERVER, answer(record()))))
    moved = at_server(SERVER, answer(record()), {TARGET: [OTHER_ADDRESS]})
    state.apply_zone(zone_check(moved, zone=OTHER_ZONE))
    configure(state, {ZONE: zone_settings(SERVER)})
    assert endpoints_in(state.snapshot()) == {endpoint()}


def test_server_that_comes_back(state: State) -> None:
    """A DNS server that left the configuration and came back starts anew, with nothing of what it gave."""
    both = {ZONE: zone_settings(SERVER, OTHER_SERVER)}
    configure(state, both)
    for records in ([record(), record(OTHER_TARGET)], [record()]):
        theirs = at_server(OTHER_SERVER, answer(*records), {OTHER_TARGET: [OTHER_ADDRESS]})
        state.apply_zone(zone_check(published(), theirs))
    assert endpoint(OTHER_TARGET, address=OTHER_ADDRESS) in endpoints_in(state.snapshot())

    configure(state, {ZONE: zone_settings(SERVER)})
    configure(state, both)

    snapshot = state.snapshot()
    assert server_of(snapshot, OTHER_SERVER) == ServerView(dns_server=OTHER_SERVER)
    assert targets_in(snapshot) == {(SERVER, TARGET)}
    assert endpoints_in(snapshot) == set(state.memory_of_zone(ZONE).endpoints) == {endpoint()}


def test_server_that_enters_the_configuration(state: State) -> None:
    """A DNS server that is new in the configuration starts at 0 beside the results of the others."""
    state.apply_zone(zone_check(published()))
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER)})

    snapshot = state.snapshot()
    assert server_of(snapshot).lookups == 1
    assert server_of(snapshot, OTHER_SERVER) == ServerView(dns_server=OTHER_SERVER)
    assert dict(snapshot.lookup_durations)[OTHER_SERVER] == Histogram()


def test_configuration_that_stays(state: State) -> None:
    """What stays in the configuration keeps its results and counters, under its new labels."""
    state.apply_zone(zone_check(published()))
    before = state.snapshot()
    configure(state, {ZONE: zone_settings(labels={"team": "workplace"}), OTHER_ZONE: zone_settings()})

    after = state.snapshot()
    assert zone_of(after).labels == {"team": "workplace"}
    assert zone_of(after).servers == zone_of(before).servers
    assert after.endpoints == before.endpoints
    assert after.targets == before.targets
    assert after.lookup_durations == before.lookup_durations


def test_check_of_a_zone_that_left(state: State) -> None:
    """The check of a zone that left the configuration while it ran is dropped."""
    configure(state, {OTHER_ZONE: zone_settings()})
    before = state.snapshot()
    assert state.apply_zone(zone_check(published())) == []
    assert state.snapshot() == before


def test_servers_found_at_each_check(state: State) -> None:
    """Where servers are found out at each check, they come and go with the check that asks them."""
    configure(state, {})
    configure(state, {ZONE: zone_settings(open_ended=True)})
    assert zone_of(state.snapshot()).servers == ()
    state.apply_zone(zone_check(published()))
    assert [view.dns_server for view in zone_of(state.snapshot()).servers] == [SERVER]
    configure(state, {ZONE: zone_settings(open_ended=True)})
    assert server_of(state.snapshot()).lookups == 1

    state.apply_zone(zone_check(at_server(OTHER_SERVER, answer(record())), at=2.0))

    snapshot = state.snapshot()
    assert [view.dns_server for view in zone_of(snapshot).servers] == [OTHER_SERVER]
    assert targets_in(snapshot) == {(OTHER_SERVER, TARGET)}
    assert [label for label, _ in snapshot.lookup_durations] == [OTHER_SERVER]
    assert endpoint_of(snapshot, endpoint()).probes == 2


def test_readiness(state: State) -> None:
    """The state is ready once everything has been checked, and what is added later changes nothing."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings()}, hosts=[host("kms-dr")])
    assert not state.is_ready()
    state.apply_zone(zone_check(published()))
    state.apply_host(host_check(host("kms-dr"), ADDRESS))
    assert not state.is_ready()
    state.apply_zone(zone_check(published(), zone=OTHER_ZONE))
    assert state.is_ready()
    new = {"branch": client_settings("new.test")}
    configure(state, {ZONE: zone_settings(), "new.test": zone_settings()}, clients=new)
    assert state.is_ready()


# --- Lookups


def test_lookups_are_counted(state: State) -> None:
    """Every lookup counts, those without a usable answer also as failures, and those sent by duration."""
    for status in LookupStatus:
        state.apply_zone(zone_check(at_server(SERVER, answer(status=status, duration_seconds=0.002))))
    snapshot = state.snapshot()
    view = server_of(snapshot)
    assert (view.lookups, view.failures) == (len(LookupStatus), len(FAILURES))
    histogram = dict(snapshot.lookup_durations)[SERVER]
    assert histogram.cumulative()[:2] == ((0.001, 0), (0.0025, len(LookupStatus) - 1))


def test_lookup_durations_are_those_of_the_server(state: State) -> None:
    """The durations at a DNS server are those of all zones, for as long as one is looked up there."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings()})
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(published(), zone=OTHER_ZONE))
    configure(state, {ZONE: zone_settings()})
    ((label, histogram),) = state.snapshot().lookup_durations
    assert (label, sum(histogram.counts)) == (SERVER, 2)


def test_time_of_the_last_answer(state: State) -> None:
    """The time that the last answer took stays while there is none, and an error is an answer."""
    for status, seconds in [(LookupStatus.SERVFAIL, 0.5), (LookupStatus.TIMEOUT, 5.0)]:
        state.apply_zone(zone_check(at_server(SERVER, answer(status=status, duration_seconds=seconds))))
    assert server_of(state.snapshot()).answered_seconds == 0.5


def test_ignored_records_are_counted(state: State) -> None:
    """Records and addresses that were left out add up over checks and servers, by reason."""
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER)})
    lookup = answer(record(), ignored={IgnoredReason.MALFORMED: 2, IgnoredReason.RECORDS_PER_ZONE: 1})
    targets = (addresses(TARGET, ADDRESS, ignored=4),)
    servers = [
        ServerCheck(dns_server=label, lookup=lookup, targets=targets) for label in (SERVER, OTHER_SERVER)
    ]
    probes = [
        probed(endpoint(address=f"192.0.2.{number}"), ProbeFailure.NOT_ALLOWED, ignored=reason)
        for number, reason in enumerate([IgnoredReason.PROBES_PER_CHECK] * 2 + [IgnoredReason.NOT_ALLOWED])
    ]
    refused = (DnsServer(address="127.0.0.1"), DnsServer(address="127.0.0.2"))
    for _ in range(3):
        state.apply_zone(zone_check(*servers, probes=probes, refused=refused))
    assert zone_of(state.snapshot()).ignored == {
        IgnoredReason.MALFORMED: 12,
        IgnoredReason.PROBES_PER_CHECK: 6,
        IgnoredReason.NOT_ALLOWED: 9,
        IgnoredReason.RECORDS_PER_ZONE: 6,
        IgnoredReason.ADDRESSES_PER_TARGET: 24,
        IgnoredReason.VANISHED_PER_ZONE: 0,
    }


@pytest.mark.parametrize("status", FAILURES)
def test_last_usable_answer_stays_while_lookups_fail(
    state: State, clock: Clock, status: LookupStatus
) -> None:
    """While lookups fail, the records of the last usable answer stay published and probed, however long."""
    state.apply_zone(zone_check(published()))
    for at in range(2, 5):
        clock.now += FORGET_AFTER_SECONDS
        failed = at_server(SERVER, answer(status=status), {TARGET: [ADDRESS]})
        state.apply_zone(zone_check(failed, probes=[probed(endpoint(), at=at)]))

    snapshot = state.snapshot()
    zone = zone_of(snapshot)
    assert zone.published == frozenset({host()})
    assert not zone.vanished
    assert server_of(snapshot).records == (record(),)
    assert server_of(snapshot).failures == 3
    assert snapshot.hosts == (host(),)
    assert endpoint_of(snapshot, endpoint()).probes == 4
    assert state.memory_of_zone(ZONE).records == {SERVER: (record(),)}


@pytest.mark.parametrize("status", EMPTY)
def test_usable_answer_unpublishes(state: State, status: LookupStatus) -> None:
    """Only a usable answer that lacks a record unpublishes it, also after failed lookups."""
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(at_server(SERVER, answer(status=LookupStatus.TIMEOUT))))
    others = [record(OTHER_TARGET)] if status is LookupStatus.OK else []
    state.apply_zone(zone_check(at_server(SERVER, answer(*others, status=status))))
    zone = zone_of(state.snapshot())
    assert zone.vanished == {host()}
    assert zone.published == frozenset(one.host for one in others)


def test_record_published_at_one_server_only(state: State) -> None:
    """A record is published while any DNS server publishes it, and vanishes with the last one."""
    configure(state, {ZONE: zone_settings(SERVER, OTHER_SERVER)})
    without = at_server(OTHER_SERVER, answer())
    failing = at_server(SERVER, answer(status=LookupStatus.SERVFAIL), {TARGET: [ADDRESS]})
    for check in (published(), failing):
        state.apply_zone(zone_check(check, without))
        zone = zone_of(state.snapshot())
        assert zone.published == frozenset({host()})
    assert not zone.vanished
    state.apply_zone(zone_check(gone(), without))
    zone = zone_of(state.snapshot())
    assert not zone.published
    assert zone.vanished == {host()}


def test_priority_and_weight_do_not_make_another_record(state: State) -> None:
    """A record whose priority and weight change is the same record, and does not vanish."""
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(at_server(SERVER, answer(record(priority=5, weight=9)))))
    zone = zone_of(state.snapshot())
    assert zone.published == frozenset({host()})
    assert not zone.vanished


def test_declined_service(state: State) -> None:
    """The target `.` is a published record, but no host and no target."""
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(at_server(SERVER, answer(record(".", 0)))))
    snapshot = state.snapshot()
    assert zone_of(snapshot).published == frozenset({host(".", 0)})
    assert snapshot.hosts == (host(),), "the one that vanished"
    state.apply_zone(zone_check(published()))
    snapshot = state.snapshot()
    assert zone_of(snapshot).vanished == {host(".", 0)}
    assert state.memory_of_zone(ZONE).vanished == ()
    assert snapshot.hosts == (host(),)
    assert targets_in(snapshot) == {(SERVER, TARGET)}


# --- Vanished records


def test_target_that_was_not_asked_for(state: State, clock: Clock) -> None:
    """A zone that spares a server the question does not undo what another zone has just got from it."""
    configure(state, {name: zone_settings() for name in (ZONE, "other.test")})
    state.apply_zone(zone_check(published(), zone=ZONE))
    state.apply_zone(zone_check(published(), zone="other.test"))
    spared = addresses(TARGET, failure=LookupStatus.TIMEOUT, probed=(ADDRESS,), asked=False)
    silent = zone_check(
        ServerCheck(dns_server=SERVER, lookup=answer(status=LookupStatus.TIMEOUT), targets=(spared,)),
        zone=ZONE,
    )
    clock.now += 1
    assert not [change for change in state.apply_zone(silent) if change.event.startswith("target")]
    assert state.snapshot().targets == ((SERVER, addresses(TARGET, ADDRESS)),)
    clock.now += 2 * INTERVAL_SECONDS
    assert [change.event for change in state.apply_zone(silent)] == ["target unresolvable"]
    assert state.snapshot().targets == ((SERVER, spared),)


def test_group_without_a_server(state: State) -> None:
    """Where nobody could be asked there is a status, but no lookup is counted or timed."""
    configure(state, {ZONE: zone_settings(open_ended=True)})
    stand_in = ServerCheck(
        dns_server="system", lookup=answer(status=LookupStatus.UNREACHABLE, duration_seconds=0.0), asked=False
    )
    state.apply_zone(zone_check(stand_in))
    snapshot = state.snapshot()
    ((view,),) = (zone.servers for zone in snapshot.zones)
    assert view.lookup == stand_in.lookup
    assert (view.lookups, view.failures, view.answered_seconds) == (0, 0, None)
    assert snapshot.lookup_durations == ()


def test_vanished_record_until_it_is_forgotten(state: State, clock: Clock) -> None:
    """A vanished record and its host stay until `forget_after`, and are gone at once then."""
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(gone()))
    vanished_at = clock.now
    clock.now = math.nextafter(vanished_at + FORGET_AFTER_SECONDS, 0)
    state.apply_zone(zone_check(gone(), probes=[probed(endpoint(), ProbeFailure.TIMEOUT, at=2.0)]))
    snapshot = state.snapshot()
    assert zone_of(snapshot).vanished == {host()}
    assert snapshot.hosts == (host(),)
    assert targets_in(snapshot) == {(SERVER, TARGET)}
    view = endpoint_of(snapshot, endpoint())
    assert (view.probes, view.failures) == (2, 1), "it goes on being probed"

    clock.now = vanished_at + FORGET_AFTER_SECONDS
    snapshot = state.snapshot()
    assert zone_of(snapshot).vanished == frozenset()
    assert_nothing_held(snapshot)


def test_time_of_vanishing(state: State, clock: Clock) -> None:
    """A vanished host has the Unix time of the first check that missed it, and none once it is back."""
    gone = zone_check(at_server(SERVER, answer()), at=200.0)
    state.apply_zone(zone_check(at_server(SERVER, answer(record())), at=100.0))
    state.apply_zone(gone)
    state.apply_zone(replace(gone, finished_at=300.0))
    assert state.snapshot().zones[0].vanished_at == {host(): 200.0}
    state.apply_zone(zone_check(at_server(SERVER, answer(record())), at=400.0))
    assert state.snapshot().zones[0].vanished_at == {}
    state.apply_zone(replace(gone, finished_at=500.0))
    clock.now += FORGET_AFTER_SECONDS
    assert state.snapshot().zones[0].vanished_at == {}


def test_memory_of_the_vanished(state: State, clock: Clock) -> None:
    """The next check follows vanished hosts and their endpoints, until they are forgotten."""
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(gone()))
    assert state.memory_of_zone(ZONE) == Memory(
        records={},
        vanished=(host(),),
        addresses={(SERVER, TARGET): (ADDRESS,)},
        endpoints=(endpoint(),),
    )
    clock.now += FORGET_AFTER_SECONDS
    assert state.memory_of_zone(ZONE) == Memory()


def test_return_of_a_vanished_record(state: State, clock: Clock) -> None:
    """A vanished record that returns is published again, with the counters of its endpoint."""
    for at, check in enumerate([published(), gone(), published(), gone(), published()], start=1):
        state.apply_zone(zone_check(check, probes=[probed(endpoint(), at=at)]))
        zone = zone_of(state.snapshot())
        is_published = at % 2 == 1
        assert zone.published == ({host()} if is_published else frozenset())
        assert zone.vanished == (frozenset() if is_published else {host()})
        assert endpoint_of(state.snapshot(), endpoint()).probes == at
        clock.now += FORGET_AFTER_SECONDS * 0.75
    clock.now += FORGET_AFTER_SECONDS
    assert zone_of(state.snapshot()).published == frozenset({host()}), (
        "it returned: there is nothing to forget"
    )


def test_every_absence_has_its_full_time(state: State, clock: Clock) -> None:
    """A record that vanishes once more is remembered from then on, not from the first time."""
    for check in (published(), gone(), published(), gone()):
        clock.now += FORGET_AFTER_SECONDS * 0.75
        state.apply_zone(zone_check(check))
    clock.now += FORGET_AFTER_SECONDS * 0.75
    assert zone_of(state.snapshot()).vanished == {host()}


def test_host_in_two_zones_vanishes_from_one(state: State, clock: Clock) -> None:
    """A host that vanished from one zone stays in another, whatever the first forgets."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings()})
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(published(), zone=OTHER_ZONE))
    state.apply_zone(zone_check(gone(), probes=[]))
    clock.now += FORGET_AFTER_SECONDS
    snapshot = state.snapshot()
    assert zone_of(snapshot).vanished == frozenset()
    assert zone_of(snapshot, OTHER_ZONE).published == frozenset({host()})
    assert (snapshot.hosts, endpoints_in(snapshot)) == ((host(),), {endpoint()})


def test_vanished_records_are_limited(state: State, clock: Clock) -> None:
    """Of more vanished records than `vanished_per_zone`, the oldest are forgotten early, and counted."""
    names = [f"kms{number}.contoso.test" for number in range(6)]
    for number in range(len(names) + 1):
        clock.now += 1
        records = [record(name) for name in names[number:]]
        state.apply_zone(zone_check(at_server(SERVER, answer(*records))))
    snapshot = state.snapshot()
    zone = zone_of(snapshot)
    assert zone.vanished == {host(name) for name in names[3:]}
    assert zone.ignored[IgnoredReason.VANISHED_PER_ZONE] == 3
    assert set(snapshot.hosts) == zone.vanished


@pytest.mark.parametrize(("limit", "names"), [(2, ["c", "d"]), (0, [])])
def test_records_that_vanish_together(state: State, limit: int, names: list[str]) -> None:
    """Of records that vanish at once it is the last by name that are kept, so chance decides nothing."""
    configure(state, vanished_per_zone=limit)
    state.apply_zone(zone_check(at_server(SERVER, answer(*map(record, "dbca")))))
    state.apply_zone(zone_check(at_server(SERVER, answer())))
    zone = zone_of(state.snapshot())
    assert zone.vanished == set(map(host, names))
    assert zone.ignored[IgnoredReason.VANISHED_PER_ZONE] == 4 - limit


def test_ever_new_targets_are_bounded(state: State, clock: Clock) -> None:
    """A server that invents new targets and addresses at every check fills nothing up."""
    per_check = 5
    for number in range(200):
        clock.now += 0.1
        fresh = {f"kms{number}-{one}.contoso.test": [f"2001:db8::{number:x}"] for one in range(per_check)}
        memory = state.memory_of_zone(ZONE)
        followed = {*memory.vanished, *(one.host for one in memory.records.get(SERVER, ()))}
        known = {one.target: [f"2001:db8:1::{number:x}"] for one in followed}
        check = at_server(SERVER, answer(*map(record, fresh)), known | fresh)
        probes = [
            probed(one, at=number)
            for one in endpoints_of([host(name) for name in known | fresh], check.targets)
        ]
        state.apply_zone(zone_check(check, probes=probes))
    snapshot = state.snapshot()
    most = per_check + 3
    assert len(zone_of(snapshot).vanished) == 3
    assert len(snapshot.hosts) == len(snapshot.targets) == most
    assert len(snapshot.endpoints) == most
    memory = state.memory_of_zone(ZONE)
    assert len(memory.endpoints) == len(memory.addresses) == most
    assert table_sizes(state) == [(most, 3 + 1)] * 5 + [(1, 1)]


# --- What should be published


def expecting(*hosts: Host) -> dict[str, ZoneSettings]:
    """Give the settings of a zone that should publish these hosts and no others."""
    return {ZONE: zone_settings(expected=hosts)}


def without_records(
    target: str = TARGET, address: str = ADDRESS, status: LookupStatus | None = None
) -> ServerCheck:
    """Give a check that finds no record, but the address of a host that should be published."""
    return at_server(SERVER, answer(status=status), {target: [address]})


def test_no_opinion(state: State) -> None:
    """Where nobody said what should be published, nothing is missing and nothing unexpected."""
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(gone()))
    zone = zone_of(state.snapshot())
    assert zone.expected is None
    assert not zone.missing | zone.unexpected
    assert state.memory_of_zone(ZONE).expected == ()


@pytest.mark.parametrize("status", LookupStatus)
def test_missing_host(state: State, status: LookupStatus) -> None:
    """A host that should be published is followed from the first check, and missing from the first answer."""
    configure(state, expecting(host()))
    assert state.memory_of_zone(ZONE) == Memory(expected=(host(),))
    zone = zone_of(state.snapshot())
    assert zone.published is None
    assert zone.expected == frozenset({host()})
    assert not zone.missing

    check = without_records(status=status)
    state.apply_zone(zone_check(check, probes=[probed(endpoint(), ProbeFailure.TIMEOUT)]))

    snapshot = state.snapshot()
    zone = zone_of(snapshot)
    assert zone.published == (frozenset() if status.usable else None)
    assert zone.missing == ({host()} if status.usable else frozenset())
    assert not zone.vanished
    assert snapshot.hosts == (host(),)
    assert targets_in(snapshot) == {(SERVER, TARGET)}
    assert endpoint_of(snapshot, endpoint()).failures == 1
    assert state.memory_of_zone(ZONE) == Memory(
        expected=(host(),), addresses={(SERVER, TARGET): (ADDRESS,)}, endpoints=(endpoint(),)
    )


def test_missing_host_is_never_forgotten(state: State, clock: Clock) -> None:
    """A host that should be published is followed for as long as it should, not only until `forget_after`."""
    configure(state, expecting(host()))
    for number, check in enumerate([published(), without_records(), without_records()], start=1):
        state.apply_zone(zone_check(check, probes=[probed(endpoint(), at=number)]))
        clock.now += FORGET_AFTER_SECONDS
    snapshot = state.snapshot()
    zone = zone_of(snapshot)
    assert not zone.vanished
    assert zone.missing == {host()}
    assert snapshot.hosts == (host(),)
    assert endpoint_of(snapshot, endpoint()).probes == 3, "all the while"
    assert state.memory_of_zone(ZONE).vanished == ()
    assert state.memory_of_zone(ZONE).expected == (host(),)
    assert state.memory_of_zone(ZONE).endpoints == (endpoint(),)


def test_vanished_and_missing(state: State) -> None:
    """A host that should be published and was has both vanished and is missing, until it returns."""
    configure(state, expecting(host()))
    for check, absent in ((published(), False), (without_records(), True), (published(), False)):
        state.apply_zone(zone_check(check))
        zone = zone_of(state.snapshot())
        assert zone.missing == zone.vanished == ({host()} if absent else frozenset())


def test_missing_hosts_are_not_limited(state: State) -> None:
    """The limit of vanished records takes away nothing that should be published."""
    hosts = [host(f"kms{number}.contoso.test") for number in range(6)]
    configure(state, expecting(*hosts), vanished_per_zone=2)
    for records in ([record(one.target) for one in hosts], []):
        check = at_server(SERVER, answer(*records), {one.target: [ADDRESS] for one in hosts})
        state.apply_zone(zone_check(check))
    snapshot = state.snapshot()
    assert len(zone_of(snapshot).vanished) == 2
    assert zone_of(snapshot).missing == set(snapshot.hosts) == set(hosts)


def test_unexpected_host(state: State) -> None:
    """A host that is published although nobody asked for it is unexpected; one that vanished is not."""
    configure(state, expecting(host()))
    both = at_server(SERVER, answer(record(), record(OTHER_TARGET), record(port=1689)))
    state.apply_zone(zone_check(both))
    zone = zone_of(state.snapshot())
    assert not zone.missing
    assert zone.unexpected == {host(OTHER_TARGET), host(port=1689)}
    state.apply_zone(zone_check(published()))
    zone = zone_of(state.snapshot())
    assert not zone.unexpected
    assert zone.vanished == {host(OTHER_TARGET), host(port=1689)}


@pytest.mark.parametrize(
    ("records", "unexpected"),
    [([], []), ([record()], [host()]), ([record(".", 0)], []), ([record(), record(".", 0)], [host()])],
)
def test_nothing_expected(state: State, records: list[Record], unexpected: list[Host]) -> None:
    """Where nothing should be published nothing is missing, any host is unexpected, and `.` is welcome."""
    configure(state, expecting())
    state.apply_zone(zone_check(at_server(SERVER, answer(*records))))
    zone = zone_of(state.snapshot())
    assert zone.expected == frozenset()
    assert zone.missing == frozenset()
    assert zone.unexpected == set(unexpected)
    assert zone.is_expected(host(".", 0))
    assert not zone.is_expected(host())


def test_declined_where_a_host_is_expected(state: State) -> None:
    """Where a host should be published, the target `.` is not what was asked for."""
    configure(state, expecting(host()))
    state.apply_zone(zone_check(at_server(SERVER, answer(record(".", 0)), {TARGET: [ADDRESS]})))
    zone = zone_of(state.snapshot())
    assert zone.missing == {host()}
    assert not zone.unexpected  # it is no host
    assert not zone.is_expected(host(".", 0))


def test_host_that_goes_from_one_zone_to_another(state: State) -> None:
    """A result survives a reload by which one zone lets go of an endpoint that another comes to expect."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings()})
    state.apply_zone(zone_check(at_server(SERVER, answer(), {TARGET: [ADDRESS]}), zone=OTHER_ZONE, probes=[]))
    state.apply_zone(zone_check(at_server(SERVER, answer(record()))))
    assert endpoints_in(state.snapshot()) == {endpoint()}

    configure(state, {OTHER_ZONE: zone_settings(expected=[host()])})
    assert endpoints_in(state.snapshot()) == {endpoint()}


def test_host_that_is_not_expected_any_more(state: State) -> None:
    """A missing host that the configuration drops is gone at once, with its endpoint."""
    configure(state, expecting(host(), host(OTHER_TARGET)))
    check = at_server(SERVER, answer(), {TARGET: [ADDRESS], OTHER_TARGET: [OTHER_ADDRESS]})
    both = [endpoint(), endpoint(OTHER_TARGET, address=OTHER_ADDRESS)]
    state.apply_zone(zone_check(check, probes=[probed(one) for one in both]))
    assert endpoints_in(state.snapshot()) == set(both)

    configure(state, expecting(host(OTHER_TARGET)))
    snapshot = state.snapshot()
    assert snapshot.hosts == (host(OTHER_TARGET),)
    assert targets_in(snapshot) == {(SERVER, OTHER_TARGET)}
    assert endpoints_in(snapshot) == {both[1]}
    assert state.memory_of_zone(ZONE).expected == (host(OTHER_TARGET),)

    configure(state)
    assert_nothing_held(state.snapshot())
    assert state.memory_of_zone(ZONE) == Memory()


def test_vanished_host_that_is_not_expected_any_more(state: State, clock: Clock) -> None:
    """A host that vanished stays until `forget_after`, whether or not it should still be published."""
    configure(state, expecting(host()))
    state.apply_zone(zone_check(published()))
    state.apply_zone(zone_check(without_records()))
    configure(state)
    assert endpoints_in(state.snapshot()) == {endpoint()}
    clock.now += FORGET_AFTER_SECONDS
    assert_nothing_held(state.snapshot())


def test_only_other_expectations(state: State) -> None:
    """A configuration that differs only in what should be published keeps all results and counters."""
    state.apply_zone(zone_check(published()))
    before = state.snapshot()
    configure(state, expecting(host(OTHER_TARGET)))

    after = state.snapshot()
    assert zone_of(after).servers == zone_of(before).servers
    assert zone_of(after).last_check == zone_of(before).last_check
    assert after.endpoints == before.endpoints
    assert after.targets == before.targets
    assert after.lookup_durations == before.lookup_durations
    assert zone_of(after).missing == {host(OTHER_TARGET)}
    assert zone_of(after).unexpected == {host()}
    assert state.memory_of_zone(ZONE).expected == (host(OTHER_TARGET),)


# --- What a kind of client searches

SUFFIXES = (OTHER_ZONE, ZONE)
BRANCH = {CLIENT: client_settings(*SUFFIXES)}


def client_of(snapshot: Snapshot, name: str = CLIENT) -> ClientView:
    """Pick a client of a snapshot."""
    return next(view for view in snapshot.clients if view.client == name)


def published_in(views: Iterable[ZoneView]) -> list[set[Host] | None]:
    """Tell what each of some zones publishes."""
    return [None if view.published is None else set(view.published) for view in views]


def search(name: str = CLIENT, *suffixes: str) -> Search:
    """Build the search of a client; it tries the usual suffixes unless told otherwise."""
    return Search(client=name, suffixes=suffixes or SUFFIXES)


def found_in_second() -> ClientCheck:
    """Give a check that finds no record in the first suffix, and the usual one in the second."""
    return client_check(zone_check(at_server(SERVER, answer()), zone=OTHER_ZONE), zone_check(published()))


def test_client(state: State) -> None:
    """A kind of client shows its suffixes in their order, and what they lead to, but is no zone."""
    configure(state, {}, clients=BRANCH)
    snapshot = state.snapshot()
    assert (snapshot.zones, [view.zone for view in client_of(snapshot).suffixes]) == ((), [*SUFFIXES])
    assert {view.last_check for view in client_of(snapshot).suffixes} == {None}
    assert state.memory_of_search(search()) == dict.fromkeys(SUFFIXES, Memory())
    assert_nothing_held(snapshot)

    state.apply_client(found_in_second())

    snapshot = state.snapshot()
    assert snapshot.zones == ()
    assert published_in(client_of(snapshot).suffixes) == [set(), {host()}]
    assert snapshot.hosts == (host(),)
    assert targets_in(snapshot) == {(SERVER, TARGET)}
    assert endpoints_in(snapshot) == {endpoint()}
    assert state.memory_of_search(search()) == {
        OTHER_ZONE: Memory(),
        ZONE: Memory(
            records={SERVER: (record(),)},
            addresses={(SERVER, TARGET): (ADDRESS,)},
            endpoints=(endpoint(),),
        ),
    }


def test_suffix_and_zone_of_one_name(state: State) -> None:
    """A zone, and suffixes of the same name, are things apart, each with its own servers and memory."""
    clients = {CLIENT: client_settings(servers=[OTHER_SERVER]), "head": client_settings()}
    configure(state, {ZONE: zone_settings(expected=[host()])}, clients=clients)
    state.apply_zone(zone_check(published()))
    elsewhere = at_server(OTHER_SERVER, answer(record(OTHER_TARGET)), {OTHER_TARGET: [OTHER_ADDRESS]})
    state.apply_client(client_check(zone_check(elsewhere)))

    snapshot = state.snapshot()
    [branch], [head] = (client_of(snapshot, name).suffixes for name in clients)
    assert published_in([*snapshot.zones, branch, head]) == [{host()}, {host(OTHER_TARGET)}, None]
    assert [view.expected for view in (branch, head)] == [None, None]
    assert [view.dns_server for view in zone_of(snapshot).servers] == [SERVER]
    assert [view.dns_server for view in branch.servers] == [OTHER_SERVER]
    assert endpoints_in(snapshot) == {endpoint(), endpoint(OTHER_TARGET, address=OTHER_ADDRESS)}
    assert state.memory_of_zone(ZONE).records == {SERVER: (record(),)}
    assert state.memory_of_search(search(CLIENT, ZONE))[ZONE].records == {
        OTHER_SERVER: (record(OTHER_TARGET),)
    }
    assert state.memory_of_search(search("head", ZONE)) == {ZONE: Memory()}


def test_client_that_leaves_the_configuration(state: State) -> None:
    """A client that is not configured any more is gone at once, with all that only it led to."""
    configure(state, clients=BRANCH)
    state.apply_client(found_in_second())
    configure(state)
    snapshot = state.snapshot()
    assert snapshot.clients == ()
    assert_nothing_held(snapshot)
    assert snapshot.lookup_durations == ((SERVER, sum_of(snapshot)),)
    assert state.memory_of_search(search()) == dict.fromkeys(SUFFIXES, Memory())
    assert state.apply_client(found_in_second()) == []
    assert state.snapshot() == snapshot


def sum_of(snapshot: Snapshot) -> Histogram:
    """Give the only histogram there is."""
    [(_, histogram)] = snapshot.lookup_durations
    return histogram


def test_client_that_shares_with_a_zone(state: State) -> None:
    """An endpoint to which both a client and a zone lead is one, and stays with either of them."""
    configure(state, clients={CLIENT: client_settings()})
    check = zone_check(published())
    state.apply_zone(check)
    state.apply_client(client_check(check))
    assert endpoint_of(state.snapshot(), endpoint()).probes == 1, "one probe, whoever brings it"
    configure(state)
    assert endpoints_in(state.snapshot()) == {endpoint()}
    configure(state, clients={CLIENT: client_settings()})
    state.apply_client(client_check(zone_check(published(), at=2.0)))
    configure(state, {}, clients={CLIENT: client_settings()})
    assert endpoint_of(state.snapshot(), endpoint()).probes == 2


def test_suffix_that_leaves_a_client(state: State) -> None:
    """A client that loses a suffix, or gets them in another order, keeps what the others led to."""
    configure(state, {}, clients=BRANCH)
    other = at_server(SERVER, answer(record(OTHER_TARGET)), {OTHER_TARGET: [OTHER_ADDRESS]})
    state.apply_client(client_check(zone_check(other, zone=OTHER_ZONE), zone_check(published())))

    configure(state, {}, clients={CLIENT: client_settings(ZONE, OTHER_ZONE)})
    assert published_in(client_of(state.snapshot()).suffixes) == [
        {host()},
        {host(OTHER_TARGET)},
    ]
    configure(state, {}, clients={CLIENT: client_settings(ZONE)})
    snapshot = state.snapshot()
    assert published_in(client_of(snapshot).suffixes) == [{host()}]
    assert endpoints_in(snapshot) == {endpoint()}


def test_vanished_record_of_a_client(state: State, clock: Clock) -> None:
    """A record that vanishes from a suffix is followed until `forget_after`, as it is in a zone."""
    configure(state, {}, clients={CLIENT: client_settings()})
    state.apply_client(client_check(zone_check(published())))
    state.apply_client(client_check(zone_check(gone())))
    [view] = client_of(state.snapshot()).suffixes
    assert view.vanished == {host()}
    assert state.memory_of_search(search(CLIENT, ZONE))[ZONE].vanished == (host(),)
    clock.now += FORGET_AFTER_SECONDS
    assert state.memory_of_search(search(CLIENT, ZONE)) == {ZONE: Memory()}
    assert_nothing_held(state.snapshot())


def test_changes_of_a_client(state: State) -> None:
    """A client tells what changed as a zone does, and whose view it is."""
    configure(state, {}, clients={CLIENT: client_settings()})
    assert state.apply_client(client_check(zone_check(published()))) == []
    status, vanished = state.apply_client(client_check(zone_check(gone())))
    assert (status.event, vanished.event) == ("srv lookup status changed", "srv record vanished")
    assert {change.fields["client"] for change in (status, vanished)} == {CLIENT}
    assert {change.fields["dns_zone"] for change in (status, vanished)} == {ZONE}


def test_readiness_waits_for_clients(state: State) -> None:
    """The state is not ready before every suffix of every client has been checked."""
    configure(state, clients={**BRANCH, "head": client_settings()})
    state.apply_zone(zone_check(published()))
    state.apply_client(found_in_second())
    assert not state.is_ready()
    state.apply_client(client_check(zone_check(published()), client="head"))
    assert state.is_ready()


def test_lookups_of_a_client_are_timed(state: State) -> None:
    """The lookups of clients count among the durations at a DNS server, like those of zones."""
    clients = {CLIENT: client_settings(servers=[OTHER_SERVER]), "head": client_settings(*SUFFIXES)}
    configure(state, clients=clients)
    assert dict(state.snapshot().lookup_durations) == {SERVER: Histogram(), OTHER_SERVER: Histogram()}
    state.apply_zone(zone_check(published()))
    state.apply_client(client_check(zone_check(at_server(OTHER_SERVER, answer()))))
    in_two = [zone_check(at_server(SERVER, answer()), zone=suffix) for suffix in SUFFIXES]
    state.apply_client(client_check(*in_two, client="head"))
    counts = {label: sum(found.counts) for label, found in state.snapshot().lookup_durations}
    assert counts == {SERVER: 3, OTHER_SERVER: 1}
    configure(state)
    assert [label for label, _ in state.snapshot().lookup_durations] == [SERVER]


def test_probes_beyond_the_handshake(state: State) -> None:
    """A snapshot tells whether probes go beyond the handshake, as configured."""
    assert state.snapshot().rpc_bind
    configure(state, rpc_bind=False)
    assert not state.snapshot().rpc_bind


# --- Targets and endpoints


def test_shared_result_counts_once(state: State) -> None:
    """The result of one probe that several zones share is counted once."""
    configure(state, {ZONE: zone_settings(), OTHER_ZONE: zone_settings(OTHER_SERVER)}, hosts=[host()])
    result = probed(endpoint(), ProbeFailure.TIMEOUT, syn_retransmits=3)
    changes = state.apply_zone(zone_check(published(), probes=[result]))
    changes += state.apply_zone(
        zone_check(at_server(OTHER_SERVER, answer(record())), zone=OTHER_ZONE, probes=[result])
    )
    changes += state.apply_host(host_check(host(), ADDRESS, probes=(result,)))
    view = endpoint_of(state.snapshot(), endpoint())
    assert (view.probes, view.failures, view.syn_retransmits) == (1, 1, 3)
    assert [change.event for change in changes] == ["endpoint down"]


def test_older_result_is_dropped(state: State) -> None:
    """A result that is older than the one at hand neither overwrites it nor counts."""
    newer = probed(endpoint(), at=5.0)
    older = probed(endpoint(), ProbeFailure.CONNECTION_REFUSED, at=4.0)
    clock_set_back = probed(endpoint(), finished_at=1.0, finished_monotonic=6.0)
    state.apply_zone(zone_check(published(), probes=[newer]))
    assert state.apply_zone(zone_check(published(), probes=[older])) == []
    view = endpoint_of(state.snapshot(), endpoint())
    assert (view.last, view.probes, view.failures) == (newer, 1, 0)

    state.apply_zone(zone_check(published(), probes=[clock_set_back]))
    assert endpoint_of(state.snapshot(), endpoint()).last == clock_set_back


CUT = IgnoredReason.PROBES_PER_CHECK


def cut(at: float) -> ProbeResult:
    """Build the result of the usual endpoint, of which a check had one too many."""
    return probed(endpoint(), ProbeFailure.NOT_ALLOWED, at=at, ignored=CUT)


def late(at: float) -> ProbeResult:
    """Build the result of the usual endpoint, to which a check did not come in time."""
    return probed(endpoint(), ProbeFailure.TIMEOUT, at=at)._replace(started_at=None)


def test_endpoint_that_one_check_left_out(state: State) -> None:
    """What one zone has too many of goes on as another sees it, and only without that is not known."""
    configure(state, {ZONE: zone_settings(), "other.test": zone_settings()})
    state.apply_zone(zone_check(published(), zone="other.test", at=10.0))

    def last() -> ProbeFailure | None:
        [view] = state.snapshot().endpoints
        return view.last.failure

    for at in (11.0, 10.0 + 2 * INTERVAL_SECONDS):
        state.apply_zone(zone_check(published(), probes=[cut(at)]))
        assert last() is None
    assert state.snapshot().hosts_up() == {host(): True}
    for at in (11.0 + 2 * INTERVAL_SECONDS, 12.0 + 2 * INTERVAL_SECONDS):
        state.apply_zone(zone_check(published(), probes=[cut(at)]))
        assert last() is ProbeFailure.NOT_ALLOWED
    assert state.snapshot().hosts_up() == {}
    state.apply_zone(zone_check(published(), zone="other.test", at=13.0 + 2 * INTERVAL_SECONDS))
    assert last() is None


def test_endpoint_that_one_check_came_to_too_late(state: State) -> None:
    """A check that ends before its probe undoes no finding of another zone; for one alone it is a timeout."""
    configure(state, {ZONE: zone_settings(), "other.test": zone_settings()})

    def last() -> ProbeFailure | None:
        return endpoint_of(state.snapshot(), endpoint()).last.failure

    state.apply_zone(zone_check(published(), zone="other.test", at=10.0))
    for at in (11.0, 10.0 + 2 * INTERVAL_SECONDS):
        state.apply_zone(zone_check(published(), probes=[late(at)]))
        assert last() is None
    state.apply_zone(zone_check(published(), probes=[late(11.0 + 2 * INTERVAL_SECONDS)]))
    assert last() is ProbeFailure.TIMEOUT
    state.apply_zone(zone_check(published(), zone="other.test", at=12.0 + 2 * INTERVAL_SECONDS))
    assert last() is None
    configure(state, {ZONE: zone_settings()})
    state.apply_zone(zone_check(published(), probes=[late(13.0 + 2 * INTERVAL_SECONDS)]))
    assert last() is ProbeFailure.TIMEOUT


@pytest.mark.parametrize(
    ("results", "last"),
    [
        ([late(70), probed(endpoint(), at=50)], None),
        (
            [probed(endpoint(), at=50), late(51 + 2 * INTERVAL_SECONDS), probed(endpoint(), at=50)],
            ProbeFailure.TIMEOUT,
        ),
        ([late(70), cut(50)], ProbeFailure.NOT_ALLOWED),
        ([cut(50), late(70)], ProbeFailure.NOT_ALLOWED),
        ([probed(endpoint(), ProbeFailure.TIMEOUT, at=50), late(70), probed(endpoint(), at=71)], None),
        ([late(70), late(60)], ProbeFailure.TIMEOUT),
    ],
    ids=["earlier find", "counted before", "cut after late", "late after cut", "find", "earlier"],
)
def test_what_says_more(state: State, results: list[ProbeResult], last: ProbeFailure | None) -> None:
    """What a probe found comes before what was too many, and that before what was too late."""
    configure(state, {ZONE: zone_settings(), "other.test": zone_settings()})
    state.apply_zone(zone_check(published(), zone="other.test", probes=[]))
    for result in results:
        state.apply_zone(zone_check(published(), probes=[result]))
    assert endpoint_of(state.snapshot(), endpoint()).last.failure is last


@pytest.mark.parametrize(
    ("reason", "up"), [(CUT, {}), (IgnoredReason.NOT_ALLOWED, {host(): False})], ids=["cut", "not allowed"]
)
def test_host_of_which_an_address_was_left_out(
    state: State, reason: IgnoredReason, up: dict[Host, bool]
) -> None:
    """A host is not said to be down while an address of it was one too many; it is up by any other."""
    server = at_server(SERVER, answer(record()), {TARGET: (ADDRESS, OTHER_ADDRESS)})
    left_out = probed(endpoint(), ProbeFailure.NOT_ALLOWED, ignored=reason)
    other = endpoint(address=OTHER_ADDRESS)
    state.apply_zone(zone_check(server, probes=[left_out, probed(other, ProbeFailure.TIMEOUT)]))
    assert state.snapshot().hosts_up() == up
    state.apply_zone(zone_check(server, probes=[probed(other, at=2.0)]))
    assert state.snapshot().hosts_up() == {host(): True}


@pytest.mark.parametrize("reason", [CUT, IgnoredReason.NOT_ALLOWED])
def test_memory_without_what_was_left_out(state: State, reason: IgnoredReason) -> None:
    """What was not probed is not known, so that it does not go before what is new."""
    server = at_server(SERVER, answer(record()), {TARGET: (ADDRESS, OTHER_ADDRESS)})
    left_out = probed(endpoint(), ProbeFailure.NOT_ALLOWED, ignored=reason)
    state.apply_zone(zone_check(server, probes=[left_out, probed(endpoint(address=OTHER_ADDRESS))]))
    memory = state.memory_of_zone(ZONE)
    assert memory.endpoints == (endpoint(address=OTHER_ADDRESS),)
    assert memory.addresses == {(SERVER, TARGET): (ADDRESS, OTHER_ADDRESS)}


def test_endpoint_counters(state: State) -> None:
    """An endpoint counts probes, failures and SYNs sent again, and keeps the time of the last success."""
    for result in [
        probed(endpoint(), ProbeFailure.TIMEOUT, at=1.0, syn_retransmits=2),
        probed(endpoint(), at=2.0, syn_retransmits=1),
        probed(endpoint(), ProbeFailure.CONNECTION_RESET, at=3.0),
    ]:
        state.apply_zone(zone_check(published(), probes=[result]))
        view = endpoint_of(state.snapshot(), endpoint())
        assert view.last_success == (2.0 if result.finished_at > 1 else None)
    assert (view.probes, view.failures, view.syn_retransmits) == (3, 2, 3)
    assert view.last.failure is ProbeFailure.CONNECTION_RESET


def test_recent_round_trips(state: State) -> None:
    """An endpoint has the round trips of its last 30 probes, oldest first; a probe that failed has none."""
    for number in range(40):
        failure = ProbeFailure.RPC_TIMEOUT if number == 38 else None
        probe = probed(endpoint(), failure, at=float(number), connect_seconds=number / 1000)
        state.apply_zone(zone_check(at_server(SERVER, answer(record())), probes=[probe]))
    [view] = state.snapshot().endpoints
    assert len(view.recent) == RECENT_PROBES == 30
    assert [number for number, seconds in enumerate(view.recent) if math.isnan(seconds)] == [28]
    assert [view.recent[0], view.recent[-1]] == pytest.approx([0.010, 0.039])


def test_recent_round_trips_of_an_old_snapshot(state: State) -> None:
    """What a snapshot shows of an endpoint stays as it was."""
    state.apply_zone(zone_check(at_server(SERVER, answer(record())), at=1.0))
    [view] = state.snapshot().endpoints
    state.apply_zone(zone_check(at_server(SERVER, answer(record())), at=2.0))
    assert len(view.recent) == 1


def test_address_that_leaves_a_target(state: State) -> None:
    """An address that a target has no more takes its endpoint along at once."""
    state.apply_zone(zone_check(at_server(SERVER, answer(record()), {TARGET: [ADDRESS, OTHER_ADDRESS]})))
    late = probed(endpoint(address=OTHER_ADDRESS), at=2.0)
    state.apply_zone(zone_check(published(), probes=[probed(endpoint(), at=2.0), late]))
    assert endpoints_in(state.snapshot()) == {endpoint()}


def test_host_without_address(state: State) -> None:
    """A host whose target has no address is a host all the same."""
    state.apply_zone(zone_check(at_server(SERVER, answer(record()), {TARGET: []})))
    snapshot = state.snapshot()
    assert (snapshot.hosts, snapshot.endpoints) == ((host(),), ())
    ((_, lookup),) = snapshot.targets
    assert lookup.failure is LookupStatus.NXDOMAIN


def test_memory_of_a_zone(state: State) -> None:
    """The next check of a zone knows the records, addresses, endpoints and servers of the last one."""
    assert state.memory_of_zone(ZONE) == Memory()
    groups = {ServerGroup.AUTHORITATIVE: (DnsServer(address=SERVER),)}
    state.apply_zone(zone_check(published(), groups=groups))
    assert state.memory_of_zone(ZONE) == Memory(
        records={SERVER: (record(),)},
        addresses={(SERVER, TARGET): (ADDRESS,)},
        endpoints=(endpoint(),),
        groups=groups,
    )


# --- Static hosts


@pytest.mark.parametrize(
    ("target", "dns_server"), [("kms-dr.contoso.test", SERVER), ("kms-dr", SERVER), (ADDRESS, "")]
)
def test_static_host(state: State, target: str, dns_server: str) -> None:
    """A static host is there from its first check until it leaves the configuration, name or address."""
    one = host(target)
    configure(state, hosts=[one])
    snapshot = state.snapshot()
    assert snapshot.static_hosts == (static_host_view(one),)
    assert_nothing_held(snapshot)
    assert state.memory_of_host(one) == Memory()

    state.apply_host(host_check(one, ADDRESS, dns_server=dns_server, at=7.0))
    snapshot = state.snapshot()
    assert snapshot.static_hosts == (static_host_view(one, dns_server, last_check=7.0),)
    assert snapshot.hosts == (one,)
    assert endpoints_in(snapshot) == {endpoint(target)}
    assert targets_in(snapshot) == {(dns_server, target)}
    assert state.memory_of_host(one) == Memory(
        addresses={(dns_server, target): (ADDRESS,)}, endpoints=(endpoint(target),)
    )

    configure(state)
    snapshot = state.snapshot()
    assert not snapshot.static_hosts
    assert_nothing_held(snapshot)
    assert state.memory_of_host(one) == Memory()
    assert state.apply_host(host_check(one, ADDRESS)) == []
    assert state.snapshot() == snapshot


def test_servers_of_a_static_host(state: State) -> None:
    """A static host shows the DNS servers that were asked for its name last, in order."""
    one = host("kms-dr")
    configure(state, hosts=[one])
    for asked in ([OTHER_SERVER, SERVER], [SERVER]):
        state.apply_host(host_check(one, targets={label: addresses("kms-dr", ADDRESS) for label in asked}))
        [view] = state.snapshot().static_hosts
        assert view.dns_servers == tuple(sorted(asked))


def test_host_that_is_static_and_published(state: State) -> None:
    """A host that is both static and published keeps its results when it is only one of them."""
    configure(state, hosts=[host()])
    state.apply_host(host_check(host(), ADDRESS))
    state.apply_zone(zone_check(published(), at=2.0))
    assert state.snapshot().hosts == (host(),)

    configure(state)
    assert endpoint_of(state.snapshot(), endpoint()).probes == 2
    configure(state, hosts=[host()])
    state.apply_host(host_check(host(), ADDRESS, at=3.0))
    configure(state, {}, hosts=[host()])
    snapshot = state.snapshot()
    assert endpoint_of(snapshot, endpoint()).probes == 3
    assert (snapshot.zones, targets_in(snapshot)) == ((), {(SERVER, TARGET)})


def test_changes_of_a_static_host(state: State) -> None:
    """A static host tells what changed as a zone does."""
    one = host("kms-dr")
    configure(state, hosts=[one])
    assert state.apply_host(host_check(one, ADDRESS)) == []
    (lost, down) = state.apply_host(
        host_check(
            one,
            targets={SERVER: addresses("kms-dr", failure=LookupStatus.TIMEOUT, probed=(ADDRESS,))},
            probes=(probed(endpoint("kms-dr"), ProbeFailure.TIMEOUT, at=2.0),),
        )
    )
    assert (lost.event, down.event) == ("target unresolvable", "endpoint down")


# --- The exporter itself


def test_exporter_counters(state: State) -> None:
    """Overruns, bugs and lag of the event loop add up; of the tasks the last count shows."""
    assert state.snapshot().exporter.last_reload_successful is None
    assert state.snapshot().exporter.tasks is None
    state.count_overruns(0)
    state.count_overruns(2)
    state.count_overruns(1)
    state.count_internal_error()
    state.observe_lag(0.3)
    state.observe_lag(0.0)
    state.observe_tasks(9)
    state.observe_tasks(7)
    exporter = state.snapshot().exporter
    assert (exporter.overruns, exporter.internal_errors) == (3, 1)
    assert (sum(exporter.event_loop_lag.counts), exporter.event_loop_lag.sum) == (2, 0.3)
    assert exporter.tasks == 7


def test_reloads(state: State) -> None:
    """A refused configuration shows, and leaves the time of the last success as it was."""
    state.record_reload(successful=False, at=1.0)
    exporter = state.snapshot().exporter
    assert (exporter.last_reload_successful, exporter.last_reload_success) == (False, None)
    state.record_reload(successful=True, at=2.0)
    state.record_reload(successful=False, at=3.0)
    exporter = state.snapshot().exporter
    assert (exporter.last_reload_successful, exporter.last_reload_success) == (False, 2.0)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0.001), (0.001, 0.001), (0.0010001, 0.0025), (10.0, 10.0), (10.1, math.inf), (math.inf, math.inf)],
)
def test_histogram(seconds: float, bucket: float) -> None:
    """An observation is in the first bucket whose bound it does not exceed, and in all above."""
    histogram = Histogram().observe(seconds)
    assert histogram.sum == seconds
    assert next(bound for bound, count in histogram.cumulative() if count) == bucket
    assert histogram.cumulative()[-1] == (math.inf, 1)


# --- Snapshots


def test_snapshot_of_a_check(state: State) -> None:
    """What was checked can be had alone, with all that it leads to, as the whole snapshot has it."""
    static = host("kms9.contoso.test")
    zones = {ZONE: zone_settings(expected=[host(OTHER_TARGET)]), OTHER_ZONE: zone_settings()}
    configure(state, zones, hosts=[static], clients={CLIENT: client_settings(OTHER_ZONE)})
    seen = zone_check(at_server(SERVER, answer(record()), {OTHER_TARGET: [OTHER_ADDRESS]}))
    other = zone_check(at_server(SERVER, answer(record("kms3.contoso.test"))), zone=OTHER_ZONE)
    found: list[Found] = [seen, other, host_check(static, "192.0.2.9"), client_check(other)]
    for each in (
        seen,
        replace(seen, probes=(*seen.probes, probed(endpoint(OTHER_TARGET, address=OTHER_ADDRESS)))),
    ):
        state.apply_zone(each)
    state.apply_zone(other)
    state.apply_host(host_check(static, "192.0.2.9"))
    state.apply_client(client_check(other))
    whole = diagnose(state.snapshot())
    alone = [diagnose(state.snapshot_of(each)) for each in found]
    assert len(alone[0].zones[0].servers[0].absent[0].probes) == 1
    assert alone == [
        Diagnosis(zones=(whole.zones[0],), static_hosts=(), clients=()),
        Diagnosis(zones=(whole.zones[1],), static_hosts=(), clients=()),
        Diagnosis(zones=(), static_hosts=whole.static_hosts, clients=()),
        Diagnosis(zones=(), static_hosts=(), clients=whole.clients),
    ]
    assert len(state.snapshot_of(seen).endpoints) == 2

    configure(state, {}, hosts=(), clients={})
    assert [state.snapshot_of(each) for each in found] == [Snapshot()] * 4


def test_queries_are_not_kept(state: State) -> None:
    """The state keeps what lookups found, and not the queries that it took."""
    static = host("kms9.contoso.test")
    configure(state, hosts=[static])
    sent = (Query(dns_server=SERVER, name=ZONE, rdtype="SRV", transport="udp", asked_at=1.0, outcome="ok"),)
    target = addresses(TARGET, ADDRESS, queries=sent)
    state.apply_zone(
        zone_check(
            ServerCheck(dns_server=SERVER, lookup=answer(record(), queries=sent), targets=(target,)),
            probes=(),
        )
    )
    state.apply_host(host_check(static, targets={SERVER: replace(target, target=static.target)}))
    snapshot = state.snapshot()
    assert [lookup.queries for _, lookup in snapshot.targets] == [(), ()]
    assert [server.lookup.queries for server in snapshot.zones[0].servers if server.lookup] == [()]


def test_snapshot_stays_as_it_was(state: State, clock: Clock) -> None:
    """A snapshot does not change while the state goes on."""
    one = host("kms-dr")
    configure(state, {ZONE: zone_settings(labels={"team": "workplace"})}, hosts=[one])
    state.apply_zone(zone_check(published()))
    state.apply_host(host_check(one, ADDRESS))
    snapshot = state.snapshot()
    before = repr(snapshot)

    ignored = {IgnoredReason.MALFORMED: 1}
    state.apply_zone(zone_check(at_server(SERVER, answer(record(OTHER_TARGET), ignored=ignored)), at=2.0))
    state.apply_host(host_check(one, OTHER_ADDRESS, at=2.0))
    state.count_internal_error()
    state.observe_lag(1.0)
    state.record_reload(successful=True, at=1.0)
    clock.now += FORGET_AFTER_SECONDS
    configure(state, {})
    assert state.snapshot() != snapshot
    assert repr(snapshot) == before


# --- Any sequence of events

NAMES = st.sampled_from(["a", "b", "c", "."])
LABELS = ("s1", "s2")
ZONES = ("z1", "z2")
CLIENTS = ("c1", "c2")
SERVERS = st.lists(st.sampled_from(LABELS), min_size=1, unique=True)
EXPECTED = st.none() | st.frozensets(st.sampled_from("abc")).map(
    lambda names: tuple(host(name, 1) for name in sorted(names))
)

Place = tuple[str, str | None]
"""A zone of its own, or a suffix that a client searches."""


@dataclass(frozen=True)
class Watch:
    """What is configured."""

    zones: Mapping[str, ZoneSettings] = field(default_factory=dict)
    clients: Mapping[str, ClientSettings] = field(default_factory=dict)
    hosts: tuple[Host, ...] = ()

    def places(self) -> Mapping[Place, ZoneSettings]:
        """List all that is looked up."""
        return {(name, None): settings for name, settings in self.zones.items()} | {
            (suffix, name): zone_settings(*client.dns_servers)
            for name, client in self.clients.items()
            for suffix in client.suffixes
        }


@dataclass
class Reckoning:
    """What an outsider knows of a zone: who published what last, and where the last check led to."""

    records: dict[str, frozenset[Host]] = field(default_factory=dict)
    last: tuple[ServerCheck, ...] = ()

    def after(self, check: ZoneCheck) -> None:
        """Take note of a check."""
        self.last = check.servers
        for server in check.servers:
            if server.lookup.status.usable:
                self.records[server.dns_server] = frozenset(one.host for one in server.lookup.records)

    def drop_all_but(self, servers: Iterable[str]) -> None:
        """Take note of the servers that are left."""
        self.records = {label: found for label, found in self.records.items() if label in servers}
        self.last = tuple(server for server in self.last if server.dns_server in servers)

    def published(self) -> frozenset[Host] | None:
        """Tell what is published, None while nobody said."""
        return frozenset().union(*self.records.values()) if self.records else None

    def led_to(self, unpublished: frozenset[Host] = frozenset()) -> set[Endpoint]:
        """Tell which endpoints the last check led to."""
        found: set[Endpoint] = set()
        for server in self.last:
            published = self.records.get(server.dns_server, frozenset())
            found |= endpoints_of(published | unpublished, server.targets)
        return found


@st.composite
def watches(draw: st.DrawFn) -> Watch:
    """Draw any configuration."""
    zones = draw(st.dictionaries(st.sampled_from(ZONES), st.tuples(SERVERS, EXPECTED)))
    suffixes = st.lists(st.sampled_from(ZONES), min_size=1, unique=True)
    clients = draw(st.dictionaries(st.sampled_from(CLIENTS), st.tuples(SERVERS, suffixes)))
    return Watch(
        zones={name: zone_settings(*servers, expected=wanted) for name, (servers, wanted) in zones.items()},
        clients={
            name: client_settings(*searched, servers=servers) for name, (servers, searched) in clients.items()
        },
        hosts=tuple(host(name, 1) for name in draw(st.frozensets(st.sampled_from("ab")))),
    )


@st.composite
def checks(draw: st.DrawFn, zone: str, servers: tuple[str, ...], number: int) -> ZoneCheck:
    """Draw any check of a zone at these servers, with a probe of every endpoint it leads to."""
    found = []
    for label in servers:
        names = draw(st.frozensets(NAMES))
        status = draw(st.sampled_from([None, LookupStatus.TIMEOUT, LookupStatus.NXDOMAIN]))
        records = [] if status else [record(name, 0 if name == "." else 1) for name in sorted(names)]
        targets = {name: draw(st.lists(st.sampled_from("123"), unique=True)) for name in "abc"}
        found.append(at_server(label, answer(*records, status=status), targets))
    everything = [host(name, 1) for name in "abc"]
    probes = [
        probed(one, at=number)
        for one in sorted({one for s in found for one in endpoints_of(everything, s.targets)})
    ]
    return zone_check(*found, zone=zone, probes=probes)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_sequence_of_events(data: st.DataObject) -> None:
    """After any sequence of checks and configurations, all that is shown is led to by something."""
    clock = Clock()
    state = State(monotonic=clock)
    watch = Watch()
    places: dict[Place, Reckoning] = {}
    hosts: dict[Host, TargetLookup] = {}
    seen: set[Endpoint] = set()
    for number in range(data.draw(st.integers(1, 12), label="events")):
        clock.now += data.draw(st.sampled_from([0.0, 1.0, FORGET_AFTER_SECONDS / 2, FORGET_AFTER_SECONDS]))
        event = data.draw(st.sampled_from(["configure", "zone", "zone", "zone", "client", "client", "host"]))
        if event == "configure":
            watch = data.draw(watches())
            configure(state, watch.zones, clients=watch.clients, hosts=watch.hosts)
            wanted = watch.places()
            places = {place: reckoning for place, reckoning in places.items() if place in wanted}
            for place, reckoning in places.items():
                reckoning.drop_all_but(wanted[place].dns_servers)
            hosts = {one: lookup for one, lookup in hosts.items() if one in watch.hosts}
        elif event == "zone":
            name = data.draw(st.sampled_from(ZONES))
            servers = watch.zones[name].dns_servers if name in watch.zones else LABELS
            check = data.draw(checks(name, servers, number))
            state.apply_zone(check)
            if name in watch.zones:
                places.setdefault((name, None), Reckoning()).after(check)
                seen |= {result.endpoint for result in check.probes}
        elif event == "client":
            name = data.draw(st.sampled_from(CLIENTS))
            client = watch.clients.get(name, client_settings(*ZONES, servers=LABELS))
            found = [data.draw(checks(each, client.dns_servers, number)) for each in client.suffixes]
            state.apply_client(client_check(*found, client=name))
            for check in found if name in watch.clients else ():
                places.setdefault((check.zone, name), Reckoning()).after(check)
                seen |= {result.endpoint for result in check.probes}
        elif watch.hosts:
            one = data.draw(st.sampled_from(watch.hosts))
            literals = data.draw(st.lists(st.sampled_from("123"), unique=True))
            state.apply_host(host_check(one, *literals, dns_server="s1", at=number))
            hosts[one] = addresses(one.target, *literals)
            seen |= endpoints_of([one], [hosts[one]])
        assert_consistent(state, watch, places, hosts, seen)
    configure(state, {})
    snapshot = state.snapshot()
    assert snapshot == Snapshot(exporter=snapshot.exporter)
    assert table_sizes(state) == [(0, 0)] * 6


def assert_consistent(
    state: State,
    watch: Watch,
    places: Mapping[Place, Reckoning],
    static: Mapping[Host, TargetLookup],
    seen: set[Endpoint],
) -> None:
    """Hold a snapshot against what an outsider knows; `seen` has the endpoints with a result."""
    snapshot = state.snapshot()
    assert [zone.zone for zone in snapshot.zones] == [*watch.zones]
    assert {client.client: tuple(s.zone for s in client.suffixes) for client in snapshot.clients} == {
        name: client.suffixes for name, client in watch.clients.items()
    }
    shown: dict[Place, ZoneView] = {(zone.zone, None): zone for zone in snapshot.zones} | {
        (zone.zone, client.client): zone for client in snapshot.clients for zone in client.suffixes
    }
    led_to = set(endpoints_of(static, static.values()))
    wanted = set(static)
    at: set[tuple[str, str]] = {("s1", one.target) for one in static}
    for place, configured in watch.places().items():
        zone, known = shown[place], places.get(place, Reckoning())
        published = known.published()
        expected = frozenset(configured.expected or ())
        assert {view.dns_server for view in zone.servers} == set(configured.dns_servers)
        assert zone.published == published
        assert not (published or frozenset()) & zone.vanished
        assert len(zone.vanished) <= 3
        assert zone.missing == (frozenset() if published is None else expected - published)
        unpublished = (zone.vanished | expected) - (published or frozenset())
        hosts = frozenset(one for one in (published or frozenset()) | unpublished if one.target != ".")
        wanted |= hosts
        led_to |= known.led_to(unpublished)
        at |= {(label, one.target) for label in configured.dns_servers for one in hosts}
    assert set(snapshot.hosts) == wanted
    seen &= led_to  # what nobody leads to any more is forgotten at once
    assert endpoints_in(snapshot) == seen
    assert targets_in(snapshot) <= at
    assert len(snapshot.endpoints) == len(endpoints_in(snapshot))
    assert len(snapshot.targets) == len(targets_in(snapshot))
    assert {label for label, _ in snapshot.lookup_durations} == {
        label for configured in watch.places().values() for label in configured.dns_servers
    }
    assert_counts(state)


def tables(state: State) -> list[HeldTable[Any, Any]]:
    """List the tables; what is left behind in them is not to be seen from outside."""
    return [*state._holdings._tables(), state._zones.lookup_durations]


def table_sizes(state: State) -> list[tuple[int, int]]:
    """Tell how many keys and owners each table has."""
    return [(len(table._holders), len(table._held)) for table in tables(state)]


def assert_counts(state: State) -> None:
    """See that every table counts exactly the owners that hold a key."""
    for table in tables(state):
        held = [key for keys in table._held.values() for key in keys]
        assert sum(table._holders.values()) == len(held)
        assert set(table._values) <= set(table._holders) == set(held)

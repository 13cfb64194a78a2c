"""Tests of revisions: that nothing stale is taken for new, and nothing worked out again for nothing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.diagnosis import Diagnosis, Verdict, diagnose
from exporter.history import History
from exporter.model import (
    DnsServer,
    Found,
    Host,
    HostCheck,
    IgnoredReason,
    LookupStatus,
    ProbeFailure,
    ServerCheck,
    TargetLookup,
    ZoneCheck,
    endpoints_of,
    fingerprint,
)
from exporter.state import NO_REVISION, State
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
    zone_check,
    zone_settings,
)

OTHER_ZONE = "emea.contoso.test"
OTHER_TARGET = "kms2.contoso.test"
OTHER_ADDRESS = "192.0.2.2"
DOWN = ProbeFailure.CONNECTION_REFUSED


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands still."""
    return Clock()


@pytest.fixture
def state(clock: Clock) -> State:
    """Give a state with two zones at one server, a static host and a kind of client that share one host."""
    state = State(monotonic=clock)
    watch(state)
    up = zone_check(at_server(SERVER, answer(record())))
    state.apply_zone(up)
    state.apply_zone(replace(up, zone=OTHER_ZONE))
    state.apply_host(host_check(host(), ADDRESS))
    state.apply_client(client_check(up))
    return state


def watch(state: State, **fields: Any) -> None:
    """Configure both zones, the static host and the client."""
    zones = {ZONE: zone_settings(**fields), OTHER_ZONE: zone_settings()}
    configure(state, zones, hosts=[host()], clients={CLIENT: client_settings()})


def revisions(state: State) -> dict[str, int]:
    """Give the revisions of all there is."""
    snapshot = state.snapshot()
    return (
        {view.zone: view.revision for view in snapshot.zones}
        | {view.host.target: view.revision for view in snapshot.static_hosts}
        | {view.client: view.revision for view in snapshot.clients}
    )


def verdicts(diagnosis: Diagnosis) -> dict[tuple[str, str], Verdict]:
    """Give all verdicts by what they are about."""
    return (
        {(zone.view.zone, each.dns_server): each.verdict for zone in diagnosis.zones for each in zone.servers}
        | {(each.sight.host.target, each.dns_server): each.verdict for each in diagnosis.static_hosts}
        | {(each.client, each.dns_server): each.verdict for each in diagnosis.clients}
    )


def said(diagnosis: Diagnosis) -> tuple[object, ...]:
    """Give all that a diagnosis says, but for the times and counters of what was seen."""
    return (
        verdicts(diagnosis),
        [(zone.view.zone, zone.agree) for zone in diagnosis.zones],
        [
            (each.dns_server, each.error, each.first_attempt, each.as_expected)
            for zone in diagnosis.zones
            for each in zone.servers
        ],
        [(each.sight.host, each.dns_server, each.error) for each in diagnosis.static_hosts],
        [(each.client, each.dns_server, each.dns_zone, each.error) for each in diagnosis.clients],
    )


def test_nothing_but_times(state: State) -> None:
    """A check that differs in times, TTLs, serials and counters alone is no change: verdicts stay."""
    before, diagnosis = revisions(state), diagnose(state.snapshot())
    again = zone_check(
        at_server(SERVER, answer(record(), duration_seconds=0.5, ttl_seconds=7, soa_serial=8)),
        at=2.0,
        probes=[probed(endpoint(), at=2.0, connect_seconds=0.9, syn_retransmits=3)],
    )
    state.apply_zone(again)
    state.apply_host(host_check(host(), ADDRESS, at=3.0))
    state.apply_client(client_check(replace(again, probes=(probed(endpoint(), at=4.0),))))
    snapshot = state.snapshot()
    assert revisions(state) == before
    assert NO_REVISION not in before.values()
    after = diagnose(snapshot, diagnosis)
    assert all(one is other for one, other in zip(after.zones, diagnosis.zones, strict=True))
    assert after.static_hosts[0] is diagnosis.static_hosts[0]
    assert after.clients[0] is diagnosis.clients[0]
    assert snapshot.zones[0].servers[0].lookups == 2, "it counts all the same"
    assert snapshot.endpoints[0].probes == 4


MOVED = at_server(SERVER, answer(record()), {TARGET: [OTHER_ADDRESS]})
UNRESOLVED = at_server(SERVER, answer(record()), {TARGET: []})
LEFT_OUT = probed(endpoint(), DOWN, at=10.0, ignored=IgnoredReason.NOT_ALLOWED)

SAME: dict[str, Any] = {"fingerprint": fingerprint([record()])}


@pytest.mark.parametrize(
    ("found", "shared"),
    [
        (zone_check(at_server(SERVER, answer(record())), probes=[probed(endpoint(), DOWN, at=9.0)]), True),
        (zone_check(at_server(SERVER, answer(record())), probes=[LEFT_OUT]), True),
        (zone_check(MOVED, at=9.0), True),
        (zone_check(UNRESOLVED, at=9.0), True),
        (zone_check(at_server(SERVER, answer(record(weight=3), **SAME)), at=9.0), False),
        (zone_check(at_server(SERVER, answer(record(), record("kms3", 0), **SAME)), at=9.0), False),
        (zone_check(at_server(SERVER, answer(record(), authoritative=True)), at=9.0), False),
        (zone_check(at_server(SERVER, answer(record(), fingerprint=1)), at=9.0), False),
        (zone_check(at_server(SERVER, answer(), {TARGET: [ADDRESS]}), at=9.0), False),
        (zone_check(at_server("192.0.2.54", answer(record())), at=9.0), True),
    ],
    ids=[
        "endpoint down",
        "endpoint not allowed",
        "another address",
        "no address",
        "weight",
        "record of port 0",
        "authority",
        "records left out",
        "record vanished",
        "another server",
    ],
)
def test_change(state: State, found: ZoneCheck, shared: bool) -> None:  # noqa: FBT001
    """What changes a zone has a new revision, and what was found out of a shared host has one everywhere."""
    before = revisions(state)
    state.apply_zone(found)
    after = revisions(state)
    changed = {name for name, revision in after.items() if revision != before[name]}
    assert changed == ({ZONE, OTHER_ZONE, TARGET, CLIENT} if shared else {ZONE})
    assert all(after[name] > before[name] for name in changed)


def test_shared_endpoint(state: State) -> None:
    """When an endpoint goes down by the check of one, the next scrape is right about all that lead to it."""
    before = diagnose(state.snapshot())
    state.apply_zone(
        zone_check(at_server(SERVER, answer(record())), probes=[probed(endpoint(), DOWN, at=9.0)])
    )
    after = diagnose(state.snapshot(), before)
    assert set(verdicts(before).values()) == {Verdict.OK}
    assert verdicts(after) == dict.fromkeys(verdicts(before), Verdict.PORT_CLOSED)


def test_endpoint_of_another(state: State) -> None:
    """An address that one zone found for a shared target is seen by another that does not hold it yet."""
    moved = zone_check(MOVED, at=9.0)
    state.apply_zone(moved)
    before = diagnose(state.snapshot())
    state.apply_zone(replace(moved, probes=(probed(endpoint(address=OTHER_ADDRESS), DOWN, at=10.0),)))
    snapshot = state.snapshot()
    assert verdicts(diagnose(snapshot, before)) == verdicts(diagnose(snapshot))
    assert verdicts(diagnose(snapshot, before))[OTHER_ZONE, SERVER] is Verdict.PORT_CLOSED


@pytest.mark.parametrize("waits", [False, True], ids=["not followed", "forgotten"])
def test_endpoint_that_leaves(state: State, clock: Clock, waits: bool) -> None:  # noqa: FBT001
    """An endpoint that its only holder lets go of is gone for those, too, that saw it without holding it."""
    state.apply_zone(zone_check(MOVED, probes=[probed(endpoint(address=OTHER_ADDRESS), DOWN, at=9.0)]))
    before = diagnose(state.snapshot())
    assert verdicts(before)[OTHER_ZONE, SERVER] is Verdict.PORT_CLOSED
    followed = {TARGET: [OTHER_ADDRESS]} if waits else {}
    state.apply_zone(zone_check(at_server(SERVER, answer(), followed), at=10.0, probes=[]))
    clock.now += FORGET_AFTER_SECONDS if waits else 0
    after = diagnose(state.snapshot(), before)
    assert verdicts(after)[OTHER_ZONE, SERVER] is Verdict.UNKNOWN


def test_endpoint_that_is_left_out_for_another_reason(state: State) -> None:
    """Why an endpoint was left out counts: one too many may be up, one that is not allowed says nothing."""
    server = at_server(SERVER, answer(record()), {TARGET: [ADDRESS, OTHER_ADDRESS]})
    other = probed(endpoint(address=OTHER_ADDRESS), ProbeFailure.TIMEOUT, at=500.0)
    left_out = probed(endpoint(), ProbeFailure.NOT_ALLOWED, at=500.0, ignored=IgnoredReason.NOT_ALLOWED)
    state.apply_zone(zone_check(server, probes=[left_out, other]))
    before = diagnose(state.snapshot())
    assert verdicts(before)[ZONE, SERVER] is Verdict.PORT_FILTERED
    too_many = left_out._replace(ignored=IgnoredReason.PROBES_PER_CHECK, finished_monotonic=1000.0)
    state.apply_zone(zone_check(server, probes=[too_many]))
    assert verdicts(diagnose(state.snapshot(), before))[ZONE, SERVER] is Verdict.UNKNOWN


@pytest.mark.parametrize("expected", [[host()], [], [host(OTHER_TARGET)]], ids=["it", "nothing", "another"])
def test_reload(state: State, expected: list[Any]) -> None:
    """A reload that changes what should be published shows in the next diagnosis."""
    state.apply_zone(zone_check(at_server(SERVER, answer()), at=9.0))
    before = diagnose(state.snapshot())
    watch(state, expected=expected)
    snapshot = state.snapshot()
    after = diagnose(snapshot, before)
    assert after.zones[0] == diagnose(snapshot).zones[0]
    assert after.zones[0].servers[0].as_expected == (not expected)


def test_vanished_host_that_is_forgotten(state: State, clock: Clock) -> None:
    """A vanished host that is forgotten leaves the next diagnosis, though no check took place."""
    state.apply_zone(zone_check(at_server(SERVER, answer(), {TARGET: [ADDRESS]}), at=9.0))
    before = diagnose(state.snapshot())
    assert len(before.zones[0].servers[0].absent) == 1
    clock.now += FORGET_AFTER_SECONDS
    assert diagnose(state.snapshot(), before).zones[0].servers[0].absent == ()


def test_local_error(state: State) -> None:
    """A lookup that this machine could not make says nothing, and is no news of the hosts."""
    before = diagnose(state.snapshot())
    failed = at_server(SERVER, answer(status=LookupStatus.LOCAL_ERROR), {TARGET: [ADDRESS]})
    state.apply_zone(zone_check(failed, at=9.0, probes=[]))
    after = verdicts(diagnose(state.snapshot(), before))
    assert after.pop((ZONE, SERVER)) is Verdict.UNKNOWN
    assert set(after.values()) == {Verdict.OK}


def test_diagnosis_of_another_state(state: State) -> None:
    """A diagnosis of another state is of no use, be its zones of the same names and all else the same."""
    down = State()
    watch(down)
    down.apply_zone(zone_check(at_server(SERVER, answer(record())), probes=[probed(endpoint(), DOWN)]))
    other, snapshot = diagnose(down.snapshot()), state.snapshot()
    assert verdicts(diagnose(snapshot, other)) == verdicts(diagnose(snapshot))


def test_what_has_no_revision(state: State) -> None:
    """What comes from no state is worked out each time."""
    snapshot = state.snapshot()
    bare = replace(
        snapshot,
        zones=tuple(replace(view, revision=NO_REVISION) for view in snapshot.zones),
        static_hosts=tuple(replace(view, revision=NO_REVISION) for view in snapshot.static_hosts),
        clients=tuple(replace(view, revision=NO_REVISION) for view in snapshot.clients),
    )
    before = diagnose(bare)
    empty = replace(bare, endpoints=())
    assert verdicts(diagnose(empty, before)) == verdicts(diagnose(empty)) != verdicts(before)


def test_revision_of_a_check(state: State) -> None:
    """What was checked has the revision of its view, and none once it is not configured."""
    check = zone_check(at_server(SERVER, answer(record())))
    found: list[Found] = [check, host_check(host(), ADDRESS), client_check(check)]
    shown = revisions(state)
    assert [state.revision_of(each) for each in found] == [shown[ZONE], shown[TARGET], shown[CLIENT]]
    configure(state, {})
    assert [state.revision_of(each) for each in found] == [NO_REVISION] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda check: replace(check, groups={"authoritative": (DnsServer(address=SERVER),)}),
        lambda check: replace(check, servers=(MOVED,)),
        lambda check: replace(check, servers=(at_server(SERVER, answer(record(), record(OTHER_TARGET))),)),
        lambda check: replace(check, probes=(LEFT_OUT,)),
    ],
    ids=["groups", "addresses", "records", "left out"],
)
def test_memory(state: State, change: Callable[[ZoneCheck], ZoneCheck]) -> None:
    """The memory of a zone is kept until something changes that it is made of, by whomever."""
    before = state.memory_of_zone(ZONE), state.memory_of_zone(OTHER_ZONE)
    check = zone_check(at_server(SERVER, answer(record())), at=9.0)
    state.apply_zone(check)
    assert state.memory_of_zone(ZONE) is before[0]
    state.apply_zone(change(check))
    fresh = State()
    watch(fresh)
    fresh.apply_zone(change(check))
    assert state.memory_of_zone(ZONE) == fresh.memory_of_zone(ZONE) != before[0]


def test_smaller_limit_of_vanished_hosts(state: State) -> None:
    """A smaller limit of vanished records takes effect at the next check, though that finds nothing new."""
    gone = zone_check(at_server(SERVER, answer(), {TARGET: [ADDRESS]}), at=9.0)
    state.apply_zone(gone)
    configure(state, vanished_per_zone=0)
    state.apply_zone(gone)
    [zone] = state.snapshot().zones
    assert not zone.vanished


# --- Any sequence of events

NAMES = ("a", "b")
LABELS = ("s1", "s2")
STATUSES = [None, None, LookupStatus.TIMEOUT, LookupStatus.NXDOMAIN, LookupStatus.LOCAL_ERROR]
FAILURES = [None, None, ProbeFailure.TIMEOUT, DOWN, ProbeFailure.NOT_ALLOWED]
REASONS = [None, IgnoredReason.PROBES_PER_CHECK, IgnoredReason.NOT_ALLOWED]
STEPS = [0.0, 1.0, 2 * INTERVAL_SECONDS, FORGET_AFTER_SECONDS]


@dataclass
class World:
    """A state, the history of it, the diagnoses that there have been, and which hosts were up by revision."""

    clock: Clock = field(default_factory=Clock)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    up: dict[tuple[str, int], frozenset[Host]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = State(monotonic=self.clock)
        self.history = History(self.state)

    def apply(self, found: Found) -> None:
        """Put what was found into the state and the history."""
        if isinstance(found, ZoneCheck):
            self.state.apply_zone(found)
        elif isinstance(found, HostCheck):
            self.state.apply_host(found)
        else:
            self.state.apply_client(found)
        self.history.note(found)


@st.composite
def seen_at(draw: st.DrawFn, label: str) -> ServerCheck:
    """Draw what one server says of a zone."""
    status = draw(st.sampled_from(STATUSES))
    names = [] if status else sorted(draw(st.frozensets(st.sampled_from(NAMES))))
    weight, authoritative = draw(st.sampled_from([0, 1])), draw(st.booleans())
    lookup = answer(
        *(record(name, 1, weight=weight) for name in names), status=status, authoritative=authoritative
    )
    return ServerCheck(dns_server=label, lookup=lookup, targets=tuple(draw(targets(name)) for name in NAMES))


@st.composite
def targets(draw: st.DrawFn, name: str) -> TargetLookup:
    """Draw the addresses of a target."""
    literals = sorted(draw(st.frozensets(st.sampled_from("12"))))
    return addresses(name, *literals, asked=draw(st.sampled_from([True, True, False])))


@st.composite
def probes_of(draw: st.DrawFn, lookups: Iterable[TargetLookup], number: int) -> list[Any]:
    """Draw a probe of every endpoint of the hosts that there are."""
    results = []
    for one in sorted(endpoints_of([host(name, 1) for name in NAMES], lookups)):
        failure = draw(st.sampled_from(FAILURES))
        ignored = draw(st.sampled_from(REASONS)) if failure is ProbeFailure.NOT_ALLOWED else None
        late = failure is ProbeFailure.TIMEOUT and draw(st.booleans())
        result = probed(one, failure, at=float(number), ignored=ignored)
        results.append(result._replace(started_at=None) if late else result)
    return results


@st.composite
def zone_checks(draw: st.DrawFn, zone: str, number: int) -> ZoneCheck:
    """Draw any check of a zone."""
    servers = [draw(seen_at(label)) for label in LABELS]
    lookups = [lookup for server in servers for lookup in server.targets]
    return zone_check(*servers, zone=zone, at=float(number), probes=draw(probes_of(lookups, number)))


@st.composite
def settings_of(draw: st.DrawFn) -> Mapping[str, Any]:
    """Draw what is configured."""
    expected = draw(st.sampled_from([None, [], [host("a", 1)]]))
    return {
        "zones": {ZONE: zone_settings(*LABELS, expected=expected), OTHER_ZONE: zone_settings(*LABELS)},
        "hosts": draw(st.sampled_from([[], [host("a", 1)]])),
        "clients": {CLIENT: client_settings(OTHER_ZONE, ZONE, servers=LABELS)},
    }


def assert_nothing_stale(world: World, data: st.DataObject) -> None:
    """Hold what was taken from a diagnosis before against one that was worked out anew."""
    snapshot = world.state.snapshot()
    before = data.draw(st.sampled_from([None, *world.diagnoses]))
    anew = diagnose(snapshot)
    assert said(diagnose(snapshot, before)) == said(anew)
    world.diagnoses.append(diagnose(snapshot, before))
    for each in (anew, world.diagnoses[-1]):
        assert said(diagnose(snapshot, each)) == said(anew)
    hosts_up_in = snapshot.hosts_up_in()
    for zone in snapshot.zones:
        up = hosts_up_in(zone)
        assert up <= (zone.published or frozenset())
        assert world.up.setdefault((zone.zone, zone.revision), up) == up


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_sequence(data: st.DataObject) -> None:
    """After any sequence of checks and reloads, what was not worked out again is what it would be anew."""
    world = World()
    configure(world.state, **data.draw(settings_of()))
    last: dict[str, Any] = {}
    for number in range(1, data.draw(st.integers(2, 8), label="events") + 1):
        world.clock.now += data.draw(st.sampled_from(STEPS))
        match data.draw(st.sampled_from(["zone", "other zone", "again", "client", "host", "reload"])):
            case "reload":
                configure(world.state, **data.draw(settings_of()))
                assert_nothing_stale(world, data)
                continue
            case "host":
                lookups = {label: data.draw(targets("a")) for label in LABELS}
                probes = data.draw(probes_of(lookups.values(), number))
                found: Any = host_check(host("a", 1), targets=lookups, probes=tuple(probes), at=number)
            case "client":
                suffixes = [data.draw(zone_checks(name, number)) for name in (OTHER_ZONE, ZONE)]
                found = client_check(*suffixes)
            case "again" if last:
                check = data.draw(st.sampled_from(list(last.values())))
                lookups_again = [lookup for server in check.servers for lookup in server.targets]
                found = replace(check, probes=tuple(data.draw(probes_of(lookups_again, number))))
            case which:
                found = data.draw(zone_checks(OTHER_ZONE if which == "other zone" else ZONE, number))
        if isinstance(found, ZoneCheck):
            last[found.zone] = found
        world.apply(found)
        assert_history_is_right(world, found)
        assert_nothing_stale(world, data)


def assert_history_is_right(world: World, found: Found) -> None:
    """Hold the last record of what was checked against a diagnosis of it alone."""
    alone = verdicts(diagnose(world.state.snapshot_of(found)))
    if not alone:
        return
    name = {ZoneCheck: getattr(found, "zone", ""), HostCheck: "a:1"}.get(type(found), f"client {CLIENT}")
    kept = world.history.checks(name)[0]
    assert {label: verdict for (_, label), verdict in alone.items()} == kept.verdicts

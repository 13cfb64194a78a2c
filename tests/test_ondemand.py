"""Tests of checks on demand: what may be asked for, what is shared, and what is left behind."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import dns.rcode
import dns.rdatatype
import pytest

from exporter import ondemand
from exporter.config import Config, parse
from exporter.discovery import ResolvConf
from exporter.metrics import probe_families
from exporter.model import DnsServer, Host, LookupStatus, ProbeFailure, ServerGroup
from exporter.ondemand import Look, OnDemand, Refusal, Refused, Wanted
from exporter.state import Snapshot
from tests.builders import families, zone_view
from tests.fake_dns import FakeDns, Query, says, silence
from tests.services import DEADLINE_SECONDS, LOOPBACK, Lab, srv, zone_file
from tests.test_web import BUILD

LONG_SECONDS = 50.0  # nothing waits for it
ZONE = "contoso.test"


def config(*servers: str, **keys: Any) -> Config:
    """Build the configuration of two zones and a static host, patient enough for any machine."""
    text = {
        "interval": "60s",
        "timeout": "40s",
        "dns": {"servers": list(servers) or ["192.0.2.53"]},
        "probe": {"networks": ["127.0.0.0/8"]},
        "web": {"probe_allow": ["allowed.test"]},
        "zones": [{"name": ZONE, "labels": {"site": "ams"}}, {"name": "other.test"}],
        "hosts": ["kms.contoso.test"],
    } | keys
    return parse(str(text).encode())  # Python writes plain data as YAML may be written


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test on an event loop, and see that it leaves no task behind."""

    async def watch() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await work()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watch())


def wanted(demand: OnDemand, target: str, dns_server: str | None = None) -> Wanted:
    """Ask for something that may be looked at."""
    found = demand.admit(target, dns_server)
    assert isinstance(found, Wanted), found
    return found


async def look(
    demand: OnDemand, target: str, dns_server: str | None = None, seconds: float = LONG_SECONDS
) -> Look:
    """Look at something that may be looked at."""
    found = await demand.look(wanted(demand, target, dns_server), seconds)
    assert isinstance(found, Look), found
    return found


def statuses(look: Look) -> list[LookupStatus]:
    """Tell how the lookups of a zone ended."""
    [zone] = look.snapshot.zones
    return [server.lookup.status for server in zone.servers if server.lookup]


# --- What may be asked for


@pytest.mark.parametrize(
    ("target", "dns_server", "why", "reason"),
    [
        ("a..b", None, Refused.INVALID, "target: has an empty label"),
        ("", None, Refused.INVALID, "target: has an empty label"),
        ("kms:0", None, Refused.INVALID, "target: has a port that is not between 1 and 65535: '0'"),
        (ZONE, "ns1.contoso.test", Refused.INVALID, "dns_server: 'ns1.contoso.test' is neither"),
        (ZONE, "", Refused.INVALID, "dns_server: '' is neither"),
        ("a..b", "x", Refused.INVALID, "target: "),
        ("fabrikam.test", "x", Refused.INVALID, "dns_server: "),
        ("fabrikam.test", None, Refused.FORBIDDEN, "zone fabrikam.test is not configured"),
        ("fabrikam.test", "192.0.2.1", Refused.FORBIDDEN, "zone fabrikam.test is not configured"),
        (ZONE, "192.0.2.1", Refused.FORBIDDEN, "DNS server 192.0.2.1 is not configured"),
        (ZONE, "system", Refused.FORBIDDEN, "the DNS servers `system` are not configured"),
    ],
)
def test_refused(target: str, dns_server: str | None, why: Refused, reason: str) -> None:
    """What makes no sense is invalid, what is not allowed is forbidden, and either says why."""
    found = OnDemand(config()).admit(target, dns_server)
    assert isinstance(found, Refusal)
    assert found.why is why
    assert found.reason.startswith(reason)


@pytest.mark.parametrize("dns_server", ["system", "192.0.2.7"])
def test_servers_of_this_machine(dns_server: str) -> None:
    """Where `system` is configured, it may be asked for, and so may each server that it stands for now."""
    machine = ResolvConf(servers=(DnsServer(address="192.0.2.7"),))
    demand = OnDemand(config("system"), system=lambda: machine)
    assert isinstance(demand.admit(ZONE, dns_server), Wanted)
    assert isinstance(demand.admit(ZONE, "192.0.2.8"), Refusal)


def test_a_new_configuration_decides() -> None:
    """From a reload on, the new configuration says what may be looked at."""

    async def work() -> None:
        demand = OnDemand(config())
        assert isinstance(demand.admit("fabrikam.test", None), Refusal)
        demand.reconcile(config(zones=[{"name": "fabrikam.test"}]))
        assert isinstance(demand.admit("fabrikam.test", None), Wanted)
        assert isinstance(demand.admit(ZONE, None), Refusal)
        await demand.close()

    run(work)


# --- What a check finds


def test_look_at_a_zone(lab: Lab) -> None:
    """A zone is looked at as configured, alone, with nothing of the configuration beside it."""
    listener = lab.listener()
    named = lab.named(
        {ZONE: zone_file(f"kms1 A {LOOPBACK}", srv("kms1", listener.port)), "allowed.test": zone_file()}
    )
    expected = [f"kms1.{ZONE}:{listener.port}", f"kms9.{ZONE}"]

    async def work() -> None:
        zones = [{"name": ZONE, "labels": {"site": "ams"}, "expected": expected}, {"name": "other.test"}]
        demand = OnDemand(config(named.server, zones=zones))
        found = await look(demand, ZONE)
        [view] = found.snapshot.zones
        assert (view.zone, view.labels) == (ZONE, {"site": "ams"})
        assert view.published == frozenset([Host(target=f"kms1.{ZONE}", port=listener.port)])
        assert view.missing == {Host(target=f"kms9.{ZONE}", port=1688)}
        assert statuses(found) == [LookupStatus.OK]
        assert [(each.endpoint.address, each.last.up) for each in found.snapshot.endpoints] == [
            (LOOPBACK, True)
        ]
        assert (found.snapshot.static_hosts, found.snapshot.clients) == ((), ())
        assert found.configured
        allowed = await look(demand, "allowed.test")
        assert (statuses(allowed), allowed.configured) == ([LookupStatus.NXDOMAIN], False)
        await demand.close()

    run(work)
    assert not any("other.test" in query.name for query in named.queries())


def test_look_at_a_host(lab: Lab) -> None:
    """A static host is looked at alone, at the DNS server that was asked for."""
    named = lab.named({ZONE: zone_file(f"kms A {LOOPBACK}")})
    listener = lab.listener()

    async def work() -> None:
        demand = OnDemand(config("192.0.2.1", named.server, hosts=[f"kms.{ZONE}:{listener.port}"]))
        found = await look(demand, f"kms.{ZONE}:{listener.port}", named.server)
        [view] = found.snapshot.static_hosts
        assert (view.host.port, view.dns_servers) == (listener.port, (named.server,))
        assert [each.last.up for each in found.snapshot.endpoints] == [True]
        assert (found.snapshot.zones, found.configured) == ((), True)
        await demand.close()

    run(work)


def test_networks_hold_for_what_is_allowed(lab: Lab) -> None:
    """A host that web.probe_allow allows is still not probed where probe.networks does not allow it."""
    listener = lab.listener()
    target = f"{LOOPBACK}:{listener.port}"

    async def work() -> None:
        demand = OnDemand(config(web={"probe_allow": ["127.0.0.0/8"]}, probe={"networks": ["10.0.0.0/8"]}))
        found = await look(demand, target)
        assert [each.last.failure for each in found.snapshot.endpoints] == [ProbeFailure.NOT_ALLOWED]
        await demand.close()

    run(work)
    assert listener.accepted == 0


def test_deadline(lab: Lab) -> None:
    """What is not finished in the time for the check is a timeout, however patient the configuration is."""
    silent = lab.silent_dns_server()

    async def work() -> None:
        demand = OnDemand(config(silent.server))
        found = await look(demand, ZONE, seconds=0.2)
        assert statuses(found) == [LookupStatus.TIMEOUT]
        [view] = found.snapshot.zones
        assert view.check_duration_seconds is not None
        assert 0.2 <= view.check_duration_seconds < 40
        await demand.close()

    run(work)


# --- What is shared


class Gate:
    """A step of the fake DNS server that answers only once it is opened."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, query: Query) -> Iterable[bytes]:
        """Wait, then say that there is no such zone."""
        assert self._opened.wait(DEADLINE_SECONDS), "nobody opened the gate"
        return says(rcode=dns.rcode.NXDOMAIN)(query)

    def open(self) -> None:
        """Let answers pass from now on."""
        self._opened.set()


def test_shared_at_the_same_time() -> None:
    """Whoever asks for the same thing while it is looked at gets the same look; any other gets its own."""
    gate = Gate()

    async def work() -> None:
        with FakeDns(gate) as fake:
            demand = OnDemand(config(fake.server.label))
            first = [asyncio.create_task(look(demand, ZONE)) for _ in range(5)]
            await asyncio.to_thread(fake.wait_for, 1)
            first += [asyncio.create_task(look(demand, ZONE.upper(), seconds=59.0)) for _ in range(5)]
            other = asyncio.create_task(look(demand, ZONE, fake.server.label))
            another = asyncio.create_task(look(demand, "other.test"))
            gate.open()
            found = await asyncio.gather(*first)
            assert len({id(each) for each in found}) == 1
            assert await other is not found[0]
            await another
            questions = [each.query.question[0] for each in fake.asked]
            asked = [str(each.name) for each in questions if each.rdtype == dns.rdatatype.SRV]
            assert sorted(set(asked)) == ["_vlmcs._tcp.contoso.test.", "_vlmcs._tcp.other.test."]
            assert asked.count("_vlmcs._tcp.contoso.test.") == 2
            await demand.close()

    run(work)


def test_not_shared_when_it_would_come_too_late() -> None:
    """Who has less time than a look under way may take gets one of its own; who has more shares either."""
    gate = Gate()

    async def work() -> None:
        with FakeDns(gate) as fake:
            demand = OnDemand(config(fake.server.label))
            slow = asyncio.create_task(look(demand, ZONE))
            await asyncio.to_thread(fake.wait_for, 1)
            assert statuses(await look(demand, ZONE, seconds=0.1)) == [LookupStatus.TIMEOUT]
            assert not slow.done()
            gate.open()
            assert statuses(await slow) == [LookupStatus.NXDOMAIN]
            await demand.close()

    run(work)


def test_nothing_is_used_twice(lab: Lab) -> None:
    """Every look asks and probes anew: none is answered from one that has ended, be it of another zone."""
    listener = lab.listener()
    zones = {name: zone_file(srv(f"kms1.{ZONE}.", listener.port)) for name in ("a.test", "b.test")}
    zones[ZONE] = zone_file(f"kms1 A {LOOPBACK}", ttl_seconds=3600)
    named = lab.named(zones)

    async def work() -> None:
        demand = OnDemand(config(named.server, zones=[{"name": "a.test"}, {"name": "b.test"}]))
        for name in ("a.test", "b.test", "a.test"):
            await look(demand, name)
        await demand.close()

    run(work)
    asked = [query.name for query in named.queries() if query.rdtype == "A"]
    assert asked.count(f"kms1.{ZONE}") == 3
    assert listener.accepted == 3


# --- What is left behind


def test_who_leaves_takes_nothing_along() -> None:
    """A look goes on for the others when one stops waiting for it."""
    gate = Gate()

    async def work() -> None:
        with FakeDns(gate) as fake:
            demand = OnDemand(config(fake.server.label))
            impatient, patient = (asyncio.create_task(look(demand, ZONE)) for _ in range(2))
            await asyncio.to_thread(fake.wait_for, 1)
            impatient.cancel()
            with pytest.raises(asyncio.CancelledError):
                await impatient
            gate.open()
            assert statuses(await patient) == [LookupStatus.NXDOMAIN]
            await demand.close()

    run(work)


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many checks are under way and no more; who can share one is not refused."""
    monkeypatch.setattr(ondemand, "MAX_UNDER_WAY", 2)
    gate = Gate()

    async def work() -> None:
        with FakeDns(gate) as fake:
            demand = OnDemand(config(fake.server.label))
            first = [asyncio.create_task(look(demand, name)) for name in (ZONE, "other.test")]
            await asyncio.to_thread(fake.wait_for, 1)
            refused = await demand.look(wanted(demand, "allowed.test"), LONG_SECONDS)
            assert refused == Refusal(why=Refused.BUSY, reason="2 checks are under way already")
            sharing = asyncio.create_task(look(demand, ZONE, seconds=59.0))
            gate.open()
            await asyncio.gather(*first, sharing)
            await look(demand, "allowed.test")
            await demand.close()

    run(work)


@pytest.mark.parametrize("keys", [{}, {"timeout": "39s"}], ids=["zones", "settings"])
def test_reload_while_looking(keys: dict[str, str]) -> None:
    """A look under way ends as it began; who comes after a reload does not share it."""
    gate = Gate()

    async def work() -> None:
        with FakeDns(gate) as fake:
            demand = OnDemand(config(fake.server.label))
            before = asyncio.create_task(look(demand, ZONE))
            await asyncio.to_thread(fake.wait_for, 1)
            demand.reconcile(
                config(fake.server.label, zones=[{"name": ZONE, "labels": {"site": "b"}}], **keys)
            )
            after = asyncio.create_task(look(demand, ZONE))
            gate.open()
            labels = [found.snapshot.zones[0].labels for found in (await before, await after)]
            assert labels == [{"site": "ams"}, {"site": "b"}]
            await demand.close()

    run(work)


def test_close_while_looking() -> None:
    """At the end, whatever is under way is cancelled, before and after a reload."""

    async def work() -> None:
        with FakeDns(silence) as fake:
            demand = OnDemand(config(fake.server.label))
            tasks = [asyncio.create_task(look(demand, ZONE))]
            await asyncio.to_thread(fake.wait_for, 1)
            demand.reconcile(config(fake.server.label, timeout="39s"))
            tasks.append(asyncio.create_task(look(demand, ZONE)))
            await asyncio.to_thread(fake.wait_for, 2)
            await demand.close()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
            wanted = demand.admit(ZONE, None)
            assert isinstance(wanted, Wanted)
            late = await demand.look(wanted, 1.0)
            assert isinstance(late, Refusal)
            assert (late.why, late.reason) == (Refused.BUSY, "the exporter is stopping")

    run(work)


# --- What is shown of it


def test_gauges_only() -> None:
    """A look is shown by gauges that have something to say, and of the exporter only what is of the check."""
    zone = zone_view("a.test", last_check=5.0, check_duration_seconds=0.5)
    snapshot = Snapshot(zones=(zone,), lookup_durations=())
    shown = {family.name: family for family in probe_families(snapshot, configured=True)}
    everything = {family.name for family in families(snapshot, BUILD)}
    assert shown.keys() < everything
    assert {family.type for family in shown.values()} == {"gauge"}
    assert all(family.samples for family in shown.values())
    assert {name for name in shown if name.startswith("kms_exporter_")} == {
        "kms_exporter_last_check_timestamp_seconds",
        "kms_exporter_check_duration_seconds",
    }
    assert "kms_zone_info" in shown


def test_no_info_about_what_is_not_configured() -> None:
    """kms_zone_info is there for configured zones, which one that is only allowed is not."""
    snapshot = Snapshot(zones=(zone_view("a.test"),))
    assert "kms_zone_info" not in {each.name for each in probe_families(snapshot, configured=False)}


def test_word_for_servers() -> None:
    """The words for DNS servers stand for themselves in what is wanted."""
    demand = OnDemand(config("authoritative"))
    assert wanted(demand, ZONE, "authoritative").server is ServerGroup.AUTHORITATIVE

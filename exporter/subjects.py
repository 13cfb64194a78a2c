"""What there is to check, by the configuration: zones, static hosts, and the searches of clients.

The one place that knows both the configuration and what checks and state are made of: it turns the former
into the values that the latter take. Keeps nothing and starts nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, TypeVar

from exporter.boundaries import Boundaries
from exporter.checks import Checker, CheckSettings
from exporter.config import Client, Config, Zone
from exporter.model import Found, Host, Search, ServerGroup, ServerSelector, family_of, host_port
from exporter.state import Change, ClientSettings, State, ZoneSettings

F = TypeVar("F", bound=Found)

Subject: TypeAlias = str | Host | Search
"""What is checked on its own: a zone by name, a static host, or what a kind of client searches."""

Check: TypeAlias = Callable[[], Awaitable[list[Change]]]
"""Makes a check, puts its result into the state, and gives what changed."""


def subjects(config: Config) -> Mapping[Subject, tuple[ServerSelector, ...]]:
    """List what is to be checked, each with the DNS servers to ask."""
    found: dict[Subject, tuple[ServerSelector, ...]] = {
        zone.name: config.servers_of(zone) for zone in config.zones
    }
    found |= dict.fromkeys(config.hosts, config.dns.servers)
    found |= {_search(client): config.servers_of(client) for client in config.clients}
    return found


def show(subject: Subject) -> str:
    """Name a subject as a person would: no two of a configuration have the same name."""
    match subject:
        case Host():
            return host_port(subject.target, subject.port)
        case Search():
            return f"client {subject.client}"
        case _:
            return subject


def check_settings(config: Config) -> CheckSettings:
    """Pick from the configuration what holds for every check alike."""
    return CheckSettings(
        interval_seconds=config.interval,
        timeout_seconds=config.timeout,
        attempts=config.dns.attempts,
        source_addresses={family_of(address): address for address in config.source_addresses},
        address_families=config.probe.address_families,
        max_concurrency=config.probe.max_concurrency,
        boundaries=Boundaries(
            networks=config.probe.networks,
            ports=config.probe.ports,
            nat64_prefixes=config.probe.nat64_prefixes,
        ),
        records_per_zone=config.limits.records_per_zone,
        addresses_per_target=config.limits.addresses_per_target,
        probes_per_check=config.limits.probes_per_check,
        rpc_bind=config.probe.rpc_bind,
    )


def configure(state: State, config: Config) -> None:
    """Tell the state what is configured."""
    state.configure(
        zones={
            zone.name: ZoneSettings(
                labels=zone.labels,
                expected=zone.expected,
                dns_servers=_named(config, zone),
                open_ended=_is_open_ended(config, zone),
            )
            for zone in config.zones
        },
        static_hosts=config.hosts,
        clients={
            client.name: ClientSettings(
                suffixes=client.suffixes,
                dns_servers=_named(config, client),
                open_ended=_is_open_ended(config, client),
            )
            for client in config.clients
        },
        interval_seconds=config.interval,
        forget_after_seconds=config.forget_after,
        vanished_per_zone=config.limits.vanished_per_zone,
        rpc_bind=config.probe.rpc_bind,
    )


def check_of(
    checker: Checker,
    state: State,
    subject: Subject,
    selectors: tuple[ServerSelector, ...],
    *,
    note: Callable[[Found], None] = lambda _: None,
) -> Check:
    """Bind a subject to its check: what to recall before, and where the result goes.

    `note` is told what was found, once it is in the state.
    """

    async def run(look: Awaitable[F], apply: Callable[[F], list[Change]]) -> list[Change]:
        found = await look
        changes = apply(found)
        note(found)
        return changes

    match subject:
        case Host() as host:
            return lambda: run(
                checker.check_host(host, selectors, state.memory_of_host(host)), state.apply_host
            )
        case Search() as search:
            return lambda: run(
                checker.check_search(search, selectors, state.memory_of_search(search)), state.apply_client
            )
        case zone:
            return lambda: run(
                checker.check_zone(zone, selectors, state.memory_of_zone(zone)), state.apply_zone
            )


def _search(client: Client) -> Search:
    return Search(client=client.name, suffixes=client.suffixes)


def _named(config: Config, subject: Zone | Client) -> tuple[str, ...]:
    selectors = config.servers_of(subject)
    return tuple(s.label for s in selectors if not isinstance(s, ServerGroup))


def _is_open_ended(config: Config, subject: Zone | Client) -> bool:
    return any(isinstance(s, ServerGroup) for s in config.servers_of(subject))
